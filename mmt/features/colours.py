"""The colours of an image: histograms, a backbone without weights.

An ImageNet classifier's last layer tells breeds and tools apart, and forgets the colour of a shirt. A histogram
keeps it. As a second feature set beside a classifier's it helps to translate colours (recipes/README.md).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode

from mmt.errors import MMTError
from mmt.features.backbone import Backbone, BackboneLoader, Layer, Transform

_SIDE, _CELL = 112, 16  # pixels of a side: of the image, and of a cell of the grid
_HUES, _SHADES = 12, 4  # bins of the hue; of the saturation and of the value each
_GREY = 1e-6  # smallest difference between the channels of a pixel with a hue


class ColourHistogram(nn.Module):
    """Square roots of histograms of hue, saturation and value (HSV), 12 x 4 x 4 bins.

    A pixel counts in the two nearest bins of each of the three, the more the nearer: so a pixel that is a little
    darker changes the histogram a little. The square roots make sure that a bin with few pixels counts, too
    (their Euclidean distance is Hellinger's). ``pool``: of the whole image, and of its middle, half as wide and
    high, (N, 1, 2 * 192). ``grid``: of each cell of 16 x 16 pixels, (N, 49, 192) of 112 x 112.
    """

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self._layer = layer
        # buffers, so that the signature's checksum covers them
        self.register_buffer("hues", torch.arange(_HUES) / _HUES)
        self.register_buffer("shades", torch.arange(_SHADES) / (_SHADES - 1))

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, C, C) in [0, 1] -> (N, R, D). Raises ValueError if C is no multiple of 16."""
        side = images.size(2)
        if side % _CELL:
            raise ValueError(f"expected a multiple of {_CELL}")
        hue, saturation, value = _hsv(images)
        hues, shades = self.get_buffer("hues"), self.get_buffer("shades")
        around = (hue[..., None] - hues).abs()
        by_hue = (1 - torch.minimum(around, 1 - around) * _HUES).clamp(min=0)  # (N, C, C, 12)
        by_saturation, by_value = (
            (1 - (channel[..., None] - shades).abs() * (_SHADES - 1)).clamp(min=0)
            for channel in (saturation, value)
        )
        by_shade = (by_saturation[..., :, None] * by_value[..., None, :]).flatten(3)  # (N, C, C, 16)
        if self._layer == "grid":
            return _histogram(_in_cells(by_hue), _in_cells(by_shade))
        middle = slice(side // 4, side - side // 4)
        parts = [
            _histogram(*(part.flatten(1, 2).unsqueeze(1) for part in pair))
            for pair in ((by_hue, by_shade), (by_hue[:, middle, middle], by_shade[:, middle, middle]))
        ]
        return torch.cat(parts, dim=2)


def _hsv(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(N, 3, C, C) in [0, 1] -> hue, saturation and value in [0, 1], (N, C, C) each; the hue of grey is 0."""
    red, green, blue = images.unbind(1)
    value, least = images.amax(1), images.amin(1)
    spread = value - least
    divisor = spread.clamp(min=_GREY)
    sixths = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    sixths = torch.where(sixths < 0, sixths + 6, sixths)
    return sixths / 6, spread / value.clamp(min=_GREY), value


def _in_cells(pixels: Tensor) -> Tensor:
    """(N, C, C, K) -> (N, R, 256, K), row by row."""
    rows = torch.unflatten(torch.unflatten(pixels, 2, (-1, _CELL)), 1, (-1, _CELL))
    return rows.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def _histogram(by_hue: Tensor, by_shade: Tensor) -> Tensor:
    """(N, R, P, 12) and (N, R, P, 16) of P pixels -> (N, R, 192)."""
    shares = by_hue.transpose(2, 3) @ by_shade / by_hue.size(2)
    return shares.flatten(2).sqrt()


def load_colours(name: str, layer: Layer | None, weights: Path | None) -> Backbone:
    """``colours``; ``layer`` None is ``pool``. The whole image is squashed to a square.

    Raises:
        MMTError: ``weights`` are given.
    """
    if weights is not None:
        raise MMTError(f"{name}: has no weights to load from {weights}. Leave --weights out.")
    layer = layer or "pool"
    transform = Transform(0, _SIDE, InterpolationMode.BILINEAR, (0.0,) * 3, (1.0,) * 3)
    return Backbone(name, layer, ColourHistogram(layer), lambda network, images: network(images), transform)


BACKBONES = {"colours": BackboneLoader(load_colours)}
"""The loader of this module by name, see ``mmt.features.load``."""
