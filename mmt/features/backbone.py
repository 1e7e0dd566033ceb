"""A frozen network that turns images into features, and the transform that it was trained with."""

from __future__ import annotations

import copy
import hashlib
import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import InterpolationMode, v2

from mmt.data.feature_signature import CROPS, PRECISIONS, FeatureSignature, Precision
from mmt.errors import MMTError
from mmt.features.decoding import Pixels, decode_image
from mmt.features.images import IMAGE_SUFFIXES
from mmt.features.resize import ResizeCrop, parts_of

Layer = Literal["pool", "grid"]
LAYERS: tuple[Layer, ...] = ("pool", "grid")

Regions = Callable[[Any, Tensor], Tensor]
"""Takes a network and normalised images (N, 3, C, C), and gives (N, R, D)."""


# --- transforms -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Transform:
    """The transform that a backbone's weights were trained with. Its ``str`` is part of the signature."""

    resize: int  # to this length of the shorter side; 0 squashes to the crop's size
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
        """The resize and crop: (3, H, W) uint8 -> (3, crop, crop) uint8."""
        size = self.resize or (self.crop, self.crop)
        resize = v2.Resize(size, interpolation=self.interpolation, antialias=True)
        return v2.Compose([resize, v2.CenterCrop(self.crop)])


Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 as shares of the upright image's width and height; (0, 0) is its upper left corner."""


def region_boxes(signature: FeatureSignature, width: int, height: int) -> list[Box] | None:
    """Where the regions of features lie in the image from which they were made.

    Args:
        signature: of the features; its transform tells which square of the image the backbone saw.
        width, height: of the upright image, in pixels.
    Returns:
        R boxes, row by row; None if the transform is not a ``Transform``, or R is not a square number.
    """
    side = math.isqrt(signature.num_regions)
    if side**2 != signature.num_regions:
        return None
    return boxes_between(range(side + 1), signature.transform, width, height)


def boxes_between(edges: Sequence[int], transform: str, width: int, height: int) -> list[Box] | None:
    """Boxes of a grid over the square of the image that a backbone saw.

    Args:
        edges: of the grid's columns, and likewise of its rows: from 0 to the square's side, in any unit.
        transform: a feature signature's.
        width, height: of the upright image, in pixels.
    Returns:
        (len(edges) - 1) ** 2 boxes, row by row; None if the transform is not a ``Transform``.
    """
    pixels = ResizeCrop.of(transform)
    if pixels is None:
        return None
    resize, crop = pixels.resize, pixels.crop
    if not resize:
        left, top, wide, high = 0.0, 0.0, 1.0, 1.0  # the square in the image
    else:
        # rounded like torchvision's Resize and CenterCrop
        longer = int(resize * max(width, height) / min(width, height))
        new_width, new_height = (resize, longer) if width <= height else (longer, resize)
        left, top = round((new_width - crop) / 2) / new_width, round((new_height - crop) / 2) / new_height
        wide, high = crop / new_width, crop / new_height
    # clipped to the image: a larger crop was padded
    x, y = (
        np.clip([start + size * edge / edges[-1] for edge in edges], 0.0, 1.0).tolist()
        for start, size in ((left, wide), (top, high))
    )
    return [(x0, y0, x1, y1) for y0, y1 in itertools.pairwise(y) for x0, x1 in itertools.pairwise(x)]


# --- backbones --------------------------------------------------------------------------------------------


class Backbone(nn.Module):
    """A frozen network that turns images into features.

    Attributes:
        signature: which backbone makes the features, and how.
        transform: torchvision pipeline, (3, H, W) uint8 -> (3, C, C) uint8 with the backbone's crop size C.
        things: what it reads, for messages: ``images``, or ``recordings`` (``mmt.features.speech``).
        notes: what was done to some of the recordings, and to how many; empty for images.
    """

    things = "images"
    notes: Counter[str]
    _dtype = torch.float32
    _crops = 1
    _side: int
    _fitting: Transform | None = None

    def __init__(
        self,
        name: str,
        layer: Layer,
        network: nn.Module,
        regions: Regions,
        transform: Transform,
        fold: bool = False,
    ) -> None:
        """Use ``load_backbone``. ``regions`` maps the network and normalised images to (N, R, D)."""
        super().__init__()
        self.notes = Counter()
        self._fitting = transform
        self.transform = transform.pipeline()
        self._regions = regions
        self._side = transform.resize or transform.crop
        network = network.float()  # before the checksum: a file of half precision has the same numbers
        weights = checksum(network.state_dict())
        if fold:
            fold_batch_norm(network)
        network = network.requires_grad_(False)
        self.network: nn.Module = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.register_buffer("mean", 255 * torch.tensor(transform.mean), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(transform.std), persistent=False)
        self.eval()
        with torch.inference_mode():
            _, num_regions, dim = self(torch.zeros(1, 3, transform.crop, transform.crop, dtype=torch.uint8)).shape
        self.signature = FeatureSignature(name, layer, str(transform), weights, num_regions, dim)

    def train(self, mode: bool = True) -> Backbone:
        """Stays in evaluation mode: features must not depend on the module that contains the backbone."""
        return super().train(False)

    def normalise(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) uint8 -> (N, 3, H, W) float32, channels last, as the weights expect it."""
        floats = images.to(self.get_buffer("mean").device).to(
            torch.float32, memory_format=torch.channels_last, copy=True
        )
        # Whole rows of pixels at once: three numbers at a time are six times as slow.
        mean, std = (self.get_buffer(name).repeat(images.size(3)) for name in ("mean", "std"))
        floats.permute(0, 2, 3, 1).view(len(images), images.size(2), -1).sub_(mean).div_(std)
        return floats

    def features(self, images: Tensor) -> Tensor:
        """The network alone: (N, 3, K * C, C) normalised float32, K crops of an image -> (N, R, D) float32."""
        if self._crops == 1:
            return self._regions(self.network, images.to(self._dtype)).float()
        crops = torch.unflatten(images, 2, (self._crops, -1)).transpose(1, 2).flatten(0, 1)  # (N * K, 3, C, C)
        found = self._regions(self.network, crops.to(self._dtype)).float()  # (N * K, 1, D)
        return torch.unflatten(found, 0, (-1, self._crops)).flatten(1, 2)

    def in_precision(self, precision: Precision) -> Backbone:
        """This backbone, or a copy whose network computes in bfloat16; its signature says so.

        Raises:
            MMTError: this backbone has no network, or has rounded its weights; there is no such precision.
        """
        if precision == self.signature.precision:
            return self
        if self.signature.precision != "float32":
            raise MMTError(
                f"{self.signature}: its weights are rounded, so it cannot compute in {precision}. Load the "
                "backbone again (load_backbone)."
            )
        if precision not in PRECISIONS:
            raise MMTError(f"precision must be one of {', '.join(PRECISIONS)}, but is '{precision}' instead.")
        rounded = copy.deepcopy(self)
        rounded.network.to(torch.bfloat16)
        rounded._dtype = torch.bfloat16
        rounded.signature = replace(self.signature, precision=precision)
        return rounded

    def in_crops(self, crops: int) -> Backbone:
        """This backbone, or a copy that makes one vector of each of so many crops of an image: R is ``crops``.

        Five are the whole image and its quarters. Each quarter goes through the transform as an image of its own
        would, so the network sees what is small twice as large. ``Backbone.transform`` is that of one crop.

        Raises:
            MMTError: another number of crops, or a backbone that does not give one vector of a square of pixels.
        """
        if crops == self.signature.crops:
            return self
        if self.signature.crops != 1 or crops not in CROPS:
            known = ", ".join(map(str, CROPS))
            raise MMTError(f"{self.signature}: cannot make {crops} crops. Expected one of {known}, chosen once.")
        if self.signature.layer != "pool" or ResizeCrop.of(self.signature.transform) is None:
            raise MMTError(
                f"{self.signature}: crops are for networks that make one vector of a square of pixels. "
                "Use --layer pool and a classifier, CLIP or colours as backbone, or leave --crops out."
            )
        several = copy.copy(self)  # with the same network
        several._crops = crops
        several.signature = replace(self.signature, crops=crops, num_regions=crops)
        return several

    def squashed(self) -> Backbone:
        """This backbone if it squashes images already; else a copy that sees whole images, squashed to a square.

        Raises:
            MMTError: it does not read a square of pixels.
        """
        fitting = self._fitting
        if fitting is None:
            raise MMTError(
                f"{self.signature}: only a network that reads a square of pixels can see an image squashed. "
                "Leave --squash out."
            )
        return self._fitted(replace(fitting, resize=0)) if fitting.resize else self

    def at_size(self, side: int) -> Backbone:
        """This backbone if it reads squares of this side already; else a copy that resizes images to them.

        A larger square gives a grid more regions, of smaller parts of the image. But a network works best on
        things of the size that it was trained on.

        Args:
            side: in pixels.
        Raises:
            MMTError: it does not read a square of pixels, or not one of this size.
        """
        fitting = self._fitting
        if fitting is None:
            raise MMTError(
                f"{self.signature}: only a network that reads a square of pixels has an image size. "
                "Leave --image-size out."
            )
        if side == fitting.crop:
            return self
        resized = self._fitted(replace(fitting, resize=round(fitting.resize * side / fitting.crop), crop=side))
        try:
            with torch.inference_mode():
                found = resized(torch.zeros(1, 3, self._crops * side, side, dtype=torch.uint8))
        except (RuntimeError, AssertionError, ValueError) as error:  # each network refuses in its own way
            reason = str(error).strip().partition("\n")[0]
            raise MMTError(
                f"{self.signature}: cannot read images of {side} x {side} pixels ({reason}). Expected "
                f"--image-size {fitting.crop}, its own, or another one that fits."
            ) from None
        resized.signature = replace(resized.signature, num_regions=found.size(1))
        return resized

    def _fitted(self, fitting: Transform) -> Backbone:
        """A copy with the same network and another transform."""
        other = copy.copy(self)
        other._modules = dict(self._modules)  # its transform is one of them
        other._fitting = fitting
        other.transform, other._side = fitting.pipeline(), fitting.resize or fitting.crop
        other.signature = replace(self.signature, transform=str(fitting))
        return other

    def read(self, source: Path | bytes | Image.Image) -> Tensor:
        """Decodes and transforms a file, its bytes, or an opened image -> (3, K * C, C) uint8, for ``stack``.

        K crops stand one below the other.

        torchvision decodes 8-bit JPEGs to the same pixels as PIL, twice as fast. In reduced precision, large JPEGs
        are decoded at a fraction of their size.

        Raises:
            ImageError: (an MMTError) naming the file, see ``mmt.features.decoding.decode_image``.
        """
        across = 1 if self._crops == 1 else 2  # crops of a row
        smallest_side = None if self._dtype == torch.float32 else 2 * self._side * across
        pixels = as_tensor(decode_image(source, _decode_jpeg, smallest_side))
        parts = parts_of(self._crops, *pixels.shape[1:])
        pictures: list[Tensor] = [self.transform(pixels[:, rows, columns]) for rows, columns in parts]
        return torch.cat([picture.permute(1, 2, 0) for picture in pictures]).permute(2, 0, 1)

    def stack(self, read: Sequence[Tensor]) -> Tensor:
        """Batches at least one result of ``read`` -> (N, 3, K * C, C) uint8, for ``forward``."""
        # resized images are channels last in memory: stacked like this, nothing is reordered
        return torch.stack([picture.permute(1, 2, 0) for picture in read]).permute(0, 3, 1, 2)

    def forward(self, images: Tensor) -> Tensor:
        """Computes features.

        Args:
            images: (N, 3, K * C, C) uint8, from ``stack``.
        Returns:
            (N, R, D) float32.
        """
        return self.features(self.normalise(images))


def as_tensor(pixels: Pixels) -> Tensor:
    """(H, W, 3) of ``mmt.features.decoding.decode_image`` -> (3, H, W), as ``Backbone.transform`` takes it."""
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _decode_jpeg(data: bytes) -> Pixels | None:
    try:
        encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        upright: Tensor = decode_jpeg(encoded, ImageReadMode.RGB, apply_exif_orientation=True)
    except RuntimeError:  # an unsupported or damaged JPEG
        return None
    pixels: Pixels = upright.permute(1, 2, 0).numpy()
    return pixels


def checksum(state: Mapping[str, Tensor]) -> str:
    """SHA-256 (hex) of the names, types, shapes and bytes of a network's tensors, for its signature."""
    digest = hashlib.sha256()
    for name in sorted(state):
        if name.endswith("num_batches_tracked"):  # counts training steps; no feature depends on it
            continue
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def fold_batch_norm(module: nn.Module) -> None:
    """Folds each batch norm into the convolution registered before it: the same numbers, 1.35 times as fast.

    Only for networks known to call them in that order (EfficientNet, ResNet).
    """
    children = list(module.named_children())
    for (name, conv), (after, norm) in itertools.pairwise([*children, ("", nn.Identity())]):
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(module, name, fuse_conv_bn_eval(conv.eval(), norm.eval()))
            setattr(module, after, getattr(norm, "act", nn.Identity()))  # timm's batch norm has an activation
        else:
            fold_batch_norm(conv)


@dataclass(frozen=True)
class BackboneLoader:
    """How a backbone is loaded, and the suffixes of the files that it reads.

    ``load`` takes the backbone's name, the layer (None is the backbone's own default) and a weights file or None.
    """

    load: Callable[[str, Layer | None, Path | None], Backbone]
    suffixes: tuple[str, ...] = IMAGE_SUFFIXES
