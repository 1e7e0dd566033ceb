"""What reads the text and the recording, beside fairseq2's Transformer encoder.

Legend: N sentences, S source tokens, R regions (a recording's frames), D model width.
"""

from __future__ import annotations

import torch
from fairseq2.models.transformer import TransformerEncoder
from fairseq2.nn import BatchLayout, SinusoidalPositionEncoder
from torch import Tensor, nn
from torch.nn.functional import relu
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from mmt.model.attention import beyond
from mmt.model.config import ModelSizes

_CHANNELS = (16, 32, 64)
_STRIDES = ((2, 2), (2, 2), (1, 2))  # of frames and of bins
_WIDEST_BAND = 15  # of 80 bins: SpecAugment's F, which is 27
_LONGEST_GAP = 0.15  # of the frames: SpecAugment's p


class LSTMEncoder(nn.Module):
    """Reads a sentence from left to right: the text encoder of the classic image and text classifiers.

    Hochreiter and Schmidhuber (1997). In place of fairseq2's Transformer encoder, with its arguments.
    """

    def __init__(self, sizes: ModelSizes) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.LSTM(sizes.model_dim, sizes.model_dim, batch_first=True) for _ in range(sizes.num_encoder_layers)
        )
        self.dropout = nn.Dropout(sizes.dropout_p)

    def forward(self, tokens: Tensor, layout: BatchLayout) -> Tensor:
        """(N, S, D) embedded tokens to (N, S, D) states, 0 in padding."""
        states = tokens
        for layer in self.layers:
            packed = pack_padded_sequence(states, list(layout.seq_lens), batch_first=True, enforce_sorted=False)
            states, _ = pad_packed_sequence(layer(packed)[0], batch_first=True, total_length=tokens.size(1))
            states = self.dropout(states)
        return states


class FrameEncoder(nn.Module):
    """Reads a recording's frames: strided convolutions, which leave a quarter of them, and a Transformer.

    After the Speech-Transformer, Dong et al. (2018), https://doi.org/10.1109/ICASSP.2018.8462506, with batch
    normalisation, without which 400 recordings are too few to learn from, and one convolution more; in training
    with SpecAugment's masks of time and frequency, Park et al. (2019),
    https://arxiv.org/abs/1904.08779.

    Args:
        dim: width of a frame.
        encoder: what reads the shortened frames; of no layers, the encoder is convolutional.
    """

    def __init__(self, dim: int, sizes: ModelSizes, encoder: TransformerEncoder) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, kernel_size=3, stride=stride, padding=1)
            for before, after, stride in zip((1, *_CHANNELS), _CHANNELS, _STRIDES, strict=False)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for channels in _CHANNELS)
        for _, stride in _STRIDES:
            dim = (dim + stride - 1) // stride
        self.project = nn.Linear(_CHANNELS[-1] * dim, sizes.model_dim)
        self.norm = nn.LayerNorm(sizes.model_dim)
        self.positions = SinusoidalPositionEncoder(sizes.model_dim, 4096)
        self.dropout = nn.Dropout(sizes.dropout_p)
        self.encoder = encoder
        self._num_masks, self._warp = sizes.num_frame_masks, sizes.frame_warp

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
            states = _warped(states, self._warp)
        if self.training and self._num_masks:
            states = _with_masks(states, lens, self._num_masks)
        maps = states.unsqueeze(1)  # (N, 1, R, dim)
        padding = pad[:, :longest]
        for convolution, norm, (stride, _) in zip(self.convolutions, self.norms, _STRIDES, strict=True):
            lens = (lens + stride - 1) // stride
            maps = relu(norm(convolution(maps)))  # (N, C, R/2, dim/2)
            padding = beyond(lens, maps.size(2))
            maps = maps.masked_fill(padding[:, None, :, None], 0)  # or the next would see the bias in padding
        states = self.project(maps.transpose(1, 2).flatten(2))  # (N, R/4, D)
        # attention cannot do with no frame at all; what it makes of one in padding is not looked at
        layout = BatchLayout.of(states, lens.clamp(min=1).tolist())
        states = self.dropout(self.positions(self.norm(states), layout))
        return self.encoder(states, layout), padding


def _warped(frames: Tensor, widest: float) -> Tensor:
    """(N, R, dim) with each row's bins stretched by a factor of its own, from 1 - ``widest`` to 1 + ``widest``.

    Vocal tract length perturbation, Jaitly and Hinton (2013), on bins that are mel already; what would come from
    beyond the last bin is the last bin.
    """
    num, _, dim = frames.shape
    factor = 1 + (2 * torch.rand(num, 1, device=frames.device) - 1) * widest
    places = (torch.arange(dim, device=frames.device) * factor).clamp(max=dim - 1)  # (N, dim)
    below = places.floor().long().clamp(max=dim - 2)
    share = (places - below).unsqueeze(1)  # (N, 1, dim)
    below = below.unsqueeze(1).expand_as(frames)
    return frames.gather(2, below) * (1 - share) + frames.gather(2, below + 1) * share


def _with_masks(frames: Tensor, lens: Tensor, num_masks: int) -> Tensor:
    """(N, R, dim) with ``num_masks`` bands of bins and stretches of frames set to 0, in each row others."""
    num, longest, dim = frames.shape
    bins, places = torch.arange(dim, device=frames.device), torch.arange(longest, device=frames.device)
    for _ in range(num_masks):
        for axis, room, limit in (
            (bins, torch.full_like(lens, dim), torch.full_like(lens, min(_WIDEST_BAND, dim // 4))),
            (places, lens, (lens * _LONGEST_GAP).long()),
        ):
            width = (torch.rand(num, device=frames.device) * (limit + 1)).long()
            first = (torch.rand(num, device=frames.device) * (room - width + 1).clamp(min=1)).long()
            hidden = (axis >= first.unsqueeze(1)) & (axis < (first + width).unsqueeze(1))  # (N, dim or R)
            frames = frames.masked_fill(hidden.unsqueeze(1) if axis is bins else hidden.unsqueeze(2), 0)
    return frames
