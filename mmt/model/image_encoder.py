"""The image encoder: features of images, or of recordings, to regions of the model's width.

Legend: N sentences, R regions (a recording's frames), D model width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from fairseq2.models.transformer import TransformerEncoder
from fairseq2.nn import SinusoidalPositionEncoder
from torch import Tensor, nn
from torch.nn.functional import layer_norm, relu

from mmt.model.attention import layout_of
from mmt.model.fusion import mean_region
from mmt.model.padding import beyond

_CHANNELS = (16, 32, 64)
_STRIDES = ((2, 2), (2, 2), (1, 2))  # of frames and of bins
_MAX_BAND = 15  # of 80 bins: SpecAugment's F, which is 27
_MAX_GAP = 0.15  # of the frames: SpecAugment's p


class ImageEncoder(nn.Module):
    """Projects each set of features to regions of the model's width.

    Args:
        projections: of each set, a linear layer, ``two_layers`` or a ``FrameEncoder``.
        sets: regions and width of each set.
        pooled: whether each set becomes one region, the mean of its real ones.
        merged: whether the sets, which have the same number of regions, become one, the sum of their projections.
        normalised: whether features have mean 0 and variance 1 before their projection.
    """

    def __init__(
        self,
        projections: Sequence[nn.Module],
        sets: Sequence[tuple[int, int]],
        *,
        pooled: bool,
        merged: bool = False,
        normalised: bool = False,
    ) -> None:
        super().__init__()
        self.projections = nn.ModuleList(projections)
        self.sets, self.pooled = tuple(sets), pooled
        self._merged, self._normalised = merged, normalised

    def forward(self, image: Tensor, image_pad: Tensor | None) -> tuple[Tensor, Tensor]:
        """
        Args:
            image: (N, R, dim) features; several sets side by side, R the sum of their regions, dim the width of
                the widest.
            image_pad: (N, R) bool, True where there is no region; None if every region is real.
        Returns:
            (N, R, D) projected regions of all sets, one a set if ``pooled``, and their (N, R) padding. If
            ``merged``, R is of one set, and a region is real if it is in every set.
        """
        parts, pads = [], []
        for (features, pad), projection in zip(
            split_sets(image, image_pad, self.sets), self.projections, strict=True
        ):
            if self._normalised:
                features = layer_norm(features, features.shape[-1:])
            if isinstance(projection, FrameEncoder):
                states, pad = projection(features, pad)
                if self.pooled:
                    states, pad = mean_region(states, pad), pad.all(dim=1, keepdim=True)
            else:  # the projection of the mean is the mean of the projections, and cheaper
                if self.pooled:
                    features, pad = mean_region(features, pad), pad.all(dim=1, keepdim=True)
                states = projection(features)
            parts.append(states)
            pads.append(pad)
        if self._merged:
            return torch.stack(parts).sum(0), torch.stack(pads).any(0)
        return torch.cat(parts, 1), torch.cat(pads, 1)


def two_layers(dim: int, model_dim: int, dropout_p: float) -> nn.Module:
    """(..., dim) features to (..., D): W_2 gelu(W_1 x + b_1) + b_2, 2 D wide between, with dropout before each."""
    first, second = nn.Linear(dim, 2 * model_dim), nn.Linear(2 * model_dim, model_dim)
    return nn.Sequential(nn.Dropout(dropout_p), first, nn.GELU(), nn.Dropout(dropout_p), second)


def split_sets(
    image: Tensor, image_pad: Tensor | None, sets: Sequence[tuple[int, int]]
) -> list[tuple[Tensor, Tensor]]:
    """(N, R, dim) features to those of each set in its own width, each with its (N, R) padding.

    Args:
        sets: regions and width of each set; of a single one, all regions that there are.
    """
    if image_pad is None:
        image_pad = torch.zeros(image.shape[:2], dtype=torch.bool, device=image.device)
    regions = [num for num, _ in sets] if len(sets) > 1 else [image.size(1)]
    parts = zip(torch.split(image, regions, 1), torch.split(image_pad, regions, 1), strict=True)
    return [(part[:, :, :dim], pad) for (part, pad), (_, dim) in zip(parts, sets, strict=True)]


class FrameEncoder(nn.Module):
    """Reads a recording's frames: strided convolutions, which leave a quarter of them, and a Transformer.

    After the Speech-Transformer, Dong et al. (2018), https://doi.org/10.1109/ICASSP.2018.8462506, with batch
    normalisation, without which 400 recordings are too few to learn from, and one convolution more; in training
    with SpecAugment's masks of time and frequency, Park et al. (2019),
    https://arxiv.org/abs/1904.08779.

    Args:
        dim: width of a frame.
        encoder: what reads the shortened frames; of no layers, the encoder is convolutional.
        num_masks: bands of bins, and stretches of frames, that are masked in training.
        warp: how far the bins are stretched or squeezed in training, as a share.
    """

    def __init__(
        self,
        dim: int,
        model_dim: int,
        encoder: TransformerEncoder,
        *,
        dropout_p: float,
        num_masks: int,
        warp: float,
    ) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, kernel_size=3, stride=stride, padding=1)
            for before, after, stride in zip((1, *_CHANNELS), _CHANNELS, _STRIDES, strict=False)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for channels in _CHANNELS)
        for _, stride in _STRIDES:
            dim = (dim + stride - 1) // stride
        self.project = nn.Linear(_CHANNELS[-1] * dim, model_dim)
        self.norm = nn.LayerNorm(model_dim)
        self.positions = SinusoidalPositionEncoder(model_dim, 4096)
        self.dropout = nn.Dropout(dropout_p)
        self.encoder = encoder
        self._num_masks, self._warp = num_masks, warp

    def forward(self, frames: Tensor, pad: Tensor) -> tuple[Tensor, Tensor]:
        """
        Args:
            frames: (N, R, dim), each recording's own first.
            pad: (N, R) bool, True where there is no frame; a row of True is a sentence without a recording.
        Returns:
            (N, R/4, D) states, rounded up, without what no row needs, and their padding.
        """
        lens = (~pad).sum(dim=1)  # (N)
        longest = max(int(lens.max()), 1)
        states = frames[:, :longest].masked_fill(pad[:, :longest, None], 0)
        if self.training and self._warp:
            states = warped_bins(states, self._warp)
        if self.training and self._num_masks:
            states = masked_frames(states, lens, self._num_masks)
        maps = states.unsqueeze(1)  # (N, 1, R, dim)
        padding = pad[:, :longest]
        for convolution, norm, (stride, _) in zip(self.convolutions, self.norms, _STRIDES, strict=True):
            lens = (lens + stride - 1) // stride
            maps = relu(norm(convolution(maps)))  # (N, C, R/2, dim/2)
            padding = beyond(lens, maps.size(2))
            maps = maps.masked_fill(padding[:, None, :, None], 0)  # or the next would see the bias in padding
        states = self.project(maps.transpose(1, 2).flatten(2))  # (N, R/4, D)
        # attention cannot do with no frame at all; what it makes of one in padding is not looked at
        lens = lens.clamp(min=1)
        layout = layout_of(states, lens.tolist() if lens.device.type == "cpu" else lens)
        states = self.dropout(self.positions(self.norm(states), layout))
        return self.encoder(states, layout), padding


def warped_bins(frames: Tensor, max_share: float) -> Tensor:
    """(N, R, dim), each row's bins stretched by a factor of its own, from 1 - ``max_share`` to 1 + ``max_share``.

    Vocal tract length perturbation, Jaitly and Hinton (2013), on bins that are mel already; what would come from
    beyond the last bin is the last bin.
    """
    num, _, dim = frames.shape
    factor = 1 + (2 * torch.rand(num, 1, device=frames.device) - 1) * max_share
    places = (torch.arange(dim, device=frames.device) * factor).clamp(max=dim - 1)  # (N, dim)
    below = places.floor().long().clamp(max=dim - 2)
    share = (places - below).unsqueeze(1)  # (N, 1, dim)
    below = below.unsqueeze(1).expand_as(frames)
    return frames.gather(2, below) * (1 - share) + frames.gather(2, below + 1) * share


def masked_frames(frames: Tensor, lens: Tensor, num_masks: int) -> Tensor:
    """(N, R, dim) with ``num_masks`` bands of bins and stretches of frames set to 0, in each row others."""
    num, longest, dim = frames.shape
    bins, places = torch.arange(dim, device=frames.device), torch.arange(longest, device=frames.device)
    for _ in range(num_masks):
        for axis, room, limit in (
            (bins, torch.full_like(lens, dim), torch.full_like(lens, min(_MAX_BAND, dim // 4))),
            (places, lens, (lens * _MAX_GAP).long()),
        ):
            width = (torch.rand(num, device=frames.device) * (limit + 1)).long()
            first = (torch.rand(num, device=frames.device) * (room - width + 1).clamp(min=1)).long()
            hidden = (axis >= first.unsqueeze(1)) & (axis < (first + width).unsqueeze(1))  # (N, dim or R)
            frames = frames.masked_fill(hidden.unsqueeze(1) if axis is bins else hidden.unsqueeze(2), 0)
    return frames
