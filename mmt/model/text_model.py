"""The text model: embedding, encoder, decoder and output projection, which know nothing of images.

Legend: N sentences, S source tokens, T target tokens, M positions of the memory, D model width, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from fairseq2.models.transformer import (
    StandardTransformerDecoder,
    StandardTransformerEncoder,
    TransformerEmbeddingFrontend,
)
from fairseq2.nn import (
    BatchLayout,
    IncrementalStateBag,
    LearnedPositionEncoder,
    SinusoidalPositionEncoder,
    StandardLayerNorm,
    TiedProjection,
)
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from mmt.data.tokenizer import EOS, PAD
from mmt.model.attention import layout_of
from mmt.model.padding import Lens


@dataclass(frozen=True, kw_only=True)
class TextSizes:
    """A text model's sizes. They follow from its weights: other parts read them, and none sets them."""

    model_dim: int
    num_heads: int
    vocab_size: int
    max_length: int
    """Positions of the longest sentence, eos or prompt included."""


class TextModel(nn.Module):
    """A translation model without images, of parts that ``mmt.model.build`` makes.

    The ids 0 to 3 are pad, unk, bos and eos. With no decoder it is an encoder alone.

    Args:
        frontend: embeds the source, and the target unless there is a ``target_frontend``.
        encoder: fairseq2's Transformer encoder or ``LSTMEncoder``.
        decoder: its layers may have an attention of their own to what ``decode`` is given as memory.
        final_proj: output projection, by the target's embedding; its bias, if there is one, counts in the logits.
        target_frontend: embeds the target, of a model with two vocabularies.
        word_dropout_p: with which probability ``embed`` hides a piece in training.
    """

    def __init__(
        self,
        sizes: TextSizes,
        frontend: TransformerEmbeddingFrontend,
        encoder: StandardTransformerEncoder | LSTMEncoder,
        decoder: StandardTransformerDecoder | None,
        final_proj: TiedProjection,
        target_frontend: TransformerEmbeddingFrontend | None = None,
        *,
        word_dropout_p: float = 0.0,
    ) -> None:
        super().__init__()
        self.sizes, self.target_frontend, self._word_dropout_p = sizes, target_frontend, word_dropout_p
        self.frontend, self.encoder, self.decoder, self.final_proj = frontend, encoder, decoder, final_proj

    frozen = False
    """Whether its weights are not trained: it then stays in evaluation mode (``mmt.model.frozen``)."""

    num_tags = 0
    """Pieces at the beginning of each source sentence that are no text: word dropout does not hide them."""

    tags: tuple[int, ...] = ()
    """Ids of pieces that are no text, wherever they stand."""

    def train(self, mode: bool = True) -> Self:
        return super().train(mode and not self.frozen)

    @property
    def decoder_frontend(self) -> TransformerEmbeddingFrontend:
        """Embeds the target."""
        return self.frontend if self.target_frontend is None else self.target_frontend

    def tie(self) -> None:
        """Makes the output projection's weight the target's embedding again, after either was replaced."""
        weight: Any = self.decoder_frontend.embed.weight
        self.final_proj.weight = weight

    def embed(self, ids: Tensor, lens: Lens) -> Tensor:
        """(N, S) ids to (N, S, D) embedded tokens, with positions; in training, without some of the pieces."""
        if self.training and self._word_dropout_p:
            hidden = (torch.rand(ids.shape, device=ids.device) < self._word_dropout_p) & (ids > EOS)
            hidden[:, : self.num_tags] = False
            if self.tags:
                hidden &= torch.isin(ids, torch.tensor(self.tags, device=ids.device), invert=True)
            # Where a sentence ends is in ``lens``, so padding may stand inside it.
            ids = ids.masked_fill(hidden, PAD)
        tokens, _ = self.frontend(ids, layout_of(ids, lens))
        return tokens

    def encode(self, tokens: Tensor, lens: Lens, active: Tensor | None = None) -> Tensor:
        """(N, S, D) embedded tokens, image regions among them where a fusion adds some, to (N, S, D) states.

        ``active``: (N, 1, 1) bool, the sentences for which adapters are active; None: none.
        """
        states: Tensor = self.encoder(tokens, layout_of(tokens, lens, active))
        return states

    def decode(
        self,
        target: Tensor,
        layout: BatchLayout,
        memory: Any,
        memory_layout: BatchLayout,
        state_bag: IncrementalStateBag | None = None,
    ) -> Tensor:
        """(N, T) ids, each row beginning with its prompt, to (N, T, D) states; with ``state_bag`` step by step.

        Args:
            memory: (N, M, D) encoder states, or what else the decoder's layers attend to: they get it as it is.
            memory_layout: how many positions of each row are real.
        """
        assert self.decoder is not None  # noqa: S101
        states, layout = self.decoder_frontend(target, layout, state_bag=state_bag)
        return self.decoder(states, layout, memory, memory_layout, state_bag=state_bag)

    def project(self, states: Tensor) -> Tensor:
        """(..., D) decoder states to (..., V) logits."""
        return self.final_proj(states)


class LSTMEncoder(nn.Module):
    """Reads a sentence from left to right: the text encoder of the classic image and text classifiers.

    Hochreiter and Schmidhuber (1997). In place of fairseq2's Transformer encoder, with its arguments.
    """

    def __init__(self, model_dim: int, num_layers: int, dropout_p: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.LSTM(model_dim, model_dim, batch_first=True) for _ in range(num_layers))
        self.dropout = nn.Dropout(dropout_p)

    def forward(self, tokens: Tensor, layout: BatchLayout) -> Tensor:
        """(N, S, D) embedded tokens to (N, S, D) states, 0 in padding."""
        states = tokens
        for layer in self.layers:
            packed = pack_padded_sequence(states, list(layout.seq_lens), batch_first=True, enforce_sorted=False)
            states, _ = pad_packed_sequence(layer(packed)[0], batch_first=True, total_length=tokens.size(1))
            states = self.dropout(states)
        return states


class PretrainedPositions(SinusoidalPositionEncoder):  # type: ignore[misc]  # final for type checkers only
    """The sinusoidal positions of a family of pretrained models: sines in the first half, cosines in the second.

    ``m2m100`` (NLLB, too): position p is row p + 2 of fairseq's table, with frequencies 10000^(-i / (D/2 - 1)).
    ``marian``: position p is row p of the table of Vaswani et al. (2017), with 10000^(-2 i / D).
    """

    def __init__(self, model_dim: int, max_length: int, family: Literal["m2m100", "marian"]) -> None:
        self._family = family
        super().__init__(model_dim, max_length)

    def reset_non_persistent_buffers(self) -> None:
        """Fills ``freqs``, whose first row is for padding."""
        half = self.encoding_dim // 2
        if self._family == "marian":
            steps = torch.arange(self.max_seq_len, dtype=torch.float64)
            frequencies = 10000 ** (-torch.arange(half, dtype=torch.float64) / half)
        else:  # in float32, as the family's own code computes it
            steps = torch.arange(2, self.max_seq_len + 2, dtype=torch.float32)
            frequencies = torch.exp(torch.arange(half, dtype=torch.float32) * -(math.log(10000) / (half - 1)))
        angles = steps[:, None] * frequencies
        self.freqs[0] = 0.0
        self.freqs[1:, :half], self.freqs[1:, half:] = angles.sin(), angles.cos()


class LearnedPositions(LearnedPositionEncoder):  # type: ignore[misc]  # final for type checkers only
    """Learned positions, and a layer normalisation of the sum with the embeddings: those of BERT.

    Devlin et al. (2019), https://aclanthology.org/N19-1423. The embedding of the first segment, which every
    position of a single sentence gets, is part of ``weight``, whose first row is for padding.
    """

    def __init__(self, model_dim: int, max_length: int, norm_eps: float) -> None:
        super().__init__(model_dim, max_length)
        self.norm = StandardLayerNorm(model_dim, bias=True, eps=norm_eps)

    def forward(
        self, seqs: Tensor, seqs_layout: BatchLayout, *, state_bag: IncrementalStateBag | None = None
    ) -> Tensor:
        """(N, S, D) embedded tokens to the same with their positions, normalised."""
        return self.norm(super().forward(seqs, seqs_layout, state_bag=state_bag))
