"""The backbones by name. A new one is a loader in a file of its own, and its row here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mmt.errors import MMTError, nearest
from mmt.features.backbone import LAYERS, Backbone, Layer
from mmt.features.images import IMAGE_SUFFIXES
from mmt.features.speech import AUDIO_SUFFIXES, load_logmel
from mmt.features.vision import load_clip, load_lite0, load_timm, load_torchvision
from mmt.io import runtime


@dataclass(frozen=True)
class BackboneLoader:
    """How a backbone is loaded, and the suffixes of the files that it reads.

    ``load`` takes the backbone's name, the layer (None is the backbone's own default) and a weights file or None.
    """

    load: Callable[[str, Layer | None, Path | None], Backbone]
    suffixes: tuple[str, ...] = IMAGE_SUFFIXES


DEFAULT_BACKBONE = "efficientnet_lite0"

BACKBONES: dict[str, BackboneLoader] = {
    "efficientnet_lite0": BackboneLoader(load_lite0),
    "resnet50": BackboneLoader(load_torchvision),
    "vgg16": BackboneLoader(load_torchvision),
    "vit_b_16": BackboneLoader(load_torchvision),
    "timm:NAME": BackboneLoader(load_timm),
    "clip:NAME_OR_FOLDER": BackboneLoader(load_clip),
    "logmel80": BackboneLoader(load_logmel, AUDIO_SUFFIXES),
    "logmel80:SECONDS": BackboneLoader(load_logmel, AUDIO_SUFFIXES),
}
"""By name; a key with a colon stands for all names that begin as it does up to the colon."""


def load_backbone(name: str = DEFAULT_BACKBONE, layer: str | None = None, weights: Path | None = None) -> Backbone:
    """Loads a backbone with trained weights, never with random ones.

    ==================== ==================================== ===========================================
    name                 weights                              ``pool`` / ``grid``
    ==================== ==================================== ===========================================
    efficientnet_lite0   package efficientnet-lite0-pytorch-  mean of / last feature map, 1280, 7 x 7
                         model (no download)
    resnet50, vgg16      torchvision's (download)             mean of / last feature map, 2048 / 512, 7 x 7
    vit_b_16             torchvision's (download)             class token / patch tokens, 768, 14 x 14
    timm:NAME            timm's (download)                    timm's own pooling / last feature map or patches
    clip:NAME_OR_FOLDER  Hugging Face hub, or the folder      projected image embedding / patch tokens
    logmel80             none: log-mel frames of recordings   mean and deviation over time, 160 / frames, 80
    logmel80:SECONDS     the same with another limit than     the same
                         10 s
    ==================== ==================================== ===========================================

    Args:
        name: see the table.
        layer: ``pool``, one vector per image, or ``grid``, one vector per region, row by row. None is ``pool``
            for images and ``grid`` for recordings.
        weights: a state dict (.pth, .pt, .safetensors) to use in place of the download, with the name's own
            transform. Not for CLIP, which takes a folder.
    Raises:
        MMTError: unknown name or layer; weights that are unavailable or do not fit.
    """
    runtime.start()
    loader = _loader(name)
    if layer is not None and layer not in LAYERS:
        raise MMTError(f"layer must be one of {', '.join(LAYERS)}, but is '{layer}' instead.")
    return loader.load(name, next((known for known in LAYERS if known == layer), None), weights)


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
