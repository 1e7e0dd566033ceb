"""The backbones by name. A new one is a loader and its row in ``BACKBONES`` of a module, as in ``vision.py``."""

from __future__ import annotations

from pathlib import Path

from mmt.data.feature_signature import FeatureSignature
from mmt.errors import MMTError, nearest
from mmt.features import colours, objects, speech, vision, whisper
from mmt.features.backbone import LAYERS, Backbone, BackboneLoader
from mmt.features.images import IMAGE_SUFFIXES
from mmt.features.resize import ResizeCrop
from mmt.io import runtime

DEFAULT_BACKBONE = "efficientnet_lite0"

BACKBONES: dict[str, BackboneLoader] = (
    vision.BACKBONES | colours.BACKBONES | objects.BACKBONES | speech.BACKBONES | whisper.BACKBONES
)
"""By name; a key with a colon stands for all names that begin as it does up to the colon."""


def load_backbone(name: str = DEFAULT_BACKBONE, layer: str | None = None, weights: Path | None = None) -> Backbone:
    """Loads a backbone with trained weights, never with random ones.

    ==================== ==================================== ===========================================
    name                 weights                              ``pool`` / ``grid``, at its own image size
    ==================== ==================================== ===========================================
    efficientnet_lite0   package efficientnet-lite0-pytorch-  mean of / last feature map, 1280, 7 x 7
                         model (no download)
    efficientnet_lite2   package efficientnet-lite2-pytorch-  the same, 1280, 9 x 9
                         model (extra ``lite2``)
    resnet50, vgg16      torchvision's (download)             mean of / last feature map, 2048 / 512, 7 x 7
    vit_b_16             torchvision's (download)             class token / patch tokens, 768, 14 x 14
    timm:NAME            timm's (download)                    timm's own pooling / last feature map or patches
    clip:NAME_OR_FOLDER  Hugging Face hub, or the folder      projected image embedding / patch tokens
    colours              none: histograms of colours          of the whole and its middle, 384 / of 7 x 7
                                                              cells, 192
    objects:NAME         torchvision's detector (download)    highest score of each class / the best objects, one
                                                              row each; ``,top=``, ``,score=``
    logmel80             none: log-mel frames of recordings   mean and deviation over time, 160 / frames, 80
    logmel80:SECONDS     the same with another limit than     the same
                         10 s
    whisper:NAME         Hugging Face hub, or a folder        mean and deviation over time / states of Whisper's
                                                              encoder, 50 a second; the options ``,layer=``,
                                                              ``,seconds=``, ``,stride=``, ``,context=``:
                                                              see ``mmt.features.whisper``
    ==================== ==================================== ===========================================

    Args:
        name: see the table.
        layer: ``pool``, one vector per image, or ``grid``, one vector per region, row by row. None is ``pool``
            for images and ``grid`` for recordings.
        weights: a state dict (.pth, .pt, .safetensors) to use in place of the download, with the name's own
            transform. Not for CLIP and Whisper, which take a folder.
    Raises:
        MMTError: unknown name or layer; weights that are unavailable or do not fit.
    """
    runtime.start()
    loader = _loader(name)
    if layer is not None and layer not in LAYERS:
        raise MMTError(f"layer must be one of {', '.join(LAYERS)}, but is '{layer}' instead.")
    return loader.load(name, next((known for known in LAYERS if known == layer), None), weights)


def load_backbones(signature: FeatureSignature) -> list[Backbone]:
    """The backbones that made features, one for each set; they compute in float32, whatever precision that was.

    Raises:
        MMTError: one is missing, or differs from the one that made the features.
    """
    backbones = []
    for one in signature.in_float32().sets:
        backbone = load_backbone(one.backbone, one.layer)
        if pixels := ResizeCrop.of(one.transform):
            backbone = backbone if pixels.resize else backbone.squashed()
            if backbone.signature.weights == one.weights:  # another network is refused below, whatever it can read
                backbone = backbone.at_size(pixels.crop)
        backbone = backbone.in_crops(one.crops)
        one.check(backbone.signature, "this machine's backbone")
        backbones.append(backbone)
    return backbones


def media_suffixes(name: str) -> tuple[str, ...]:
    """The suffixes of the files that a backbone reads, such as ``.jpg``; those of images for an unknown name."""
    return BACKBONES[key].suffixes if (key := _key(name)) else IMAGE_SUFFIXES


def _loader(name: str) -> BackboneLoader:
    key = _key(name)
    if key is None:
        raise MMTError(f"no backbone '{name}'; there are {', '.join(BACKBONES)}.{nearest(name, BACKBONES)}")
    return BACKBONES[key]


def _key(name: str) -> str | None:
    kind, colon, _ = name.partition(":")
    return next((key for key in BACKBONES if key == name or (colon and key.startswith(f"{kind}:"))), None)
