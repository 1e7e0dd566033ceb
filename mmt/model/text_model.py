"""The text model: embedding, encoder, decoder and output projection, which know nothing of images.

Legend: N sentences, S source tokens, T target tokens, M positions of the memory, D model width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fairseq2.models.transformer import (
    StandardTransformerDecoder,
    StandardTransformerEncoder,
    TransformerEmbeddingFrontend,
)
from fairseq2.nn import BatchLayout, IncrementalStateBag, TiedProjection
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from mmt.model.attention import Lens, layout_of


@dataclass(frozen=True, kw_only=True)
class TextSizes:
    """A text model's sizes. They follow from its weights: other parts read them, and none sets them."""

    model_dim: int
    num_heads: int
    vocab_size: int
    max_length: int
    """Positions of the longest sentence, eos or bos included."""


class TextModel(nn.Module):
    """A translation model without images, of parts that ``mmt.model.build`` makes.

    The ids 0 to 3 are pad, unk, bos and eos. With no decoder it is an encoder alone.

    Args:
        frontend: embeds source and target.
        encoder: fairseq2's Transformer encoder or ``LSTMEncoder``.
        decoder: its layers may have an attention of their own to what ``decode`` is given as memory.
        final_proj: output projection; its bias, if there is one, counts in the logits.
    """

    def __init__(
        self,
        sizes: TextSizes,
        frontend: TransformerEmbeddingFrontend,
        encoder: StandardTransformerEncoder | LSTMEncoder,
        decoder: StandardTransformerDecoder | None,
        final_proj: TiedProjection,
    ) -> None:
        super().__init__()
        self.sizes = sizes
        self.frontend, self.encoder, self.decoder, self.final_proj = frontend, encoder, decoder, final_proj

    def embed(self, ids: Tensor, lens: Lens) -> Tensor:
        """(N, S) ids to (N, S, D) embedded tokens, with their positions."""
        tokens, _ = self.frontend(ids, layout_of(ids, lens))
        return tokens

    def encode(self, tokens: Tensor, lens: Lens) -> Tensor:
        """(N, S, D) embedded tokens, image regions among them where a fusion adds some, to (N, S, D) states."""
        states: Tensor = self.encoder(tokens, layout_of(tokens, lens))
        return states

    def decode(
        self,
        target: Tensor,
        layout: BatchLayout,
        memory: Any,
        memory_layout: BatchLayout,
        state_bag: IncrementalStateBag | None = None,
    ) -> Tensor:
        """(N, T) ids, each row beginning with bos, to (N, T, D) states; with ``state_bag`` step by step.

        Args:
            memory: (N, M, D) encoder states, or what else the decoder's layers attend to: they get it as it is.
            memory_layout: how many positions of each row are real.
        """
        assert self.decoder is not None  # noqa: S101
        states, layout = self.frontend(target, layout, state_bag=state_bag)
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
