"""The model: a text model, an image encoder, a fusion of the two, heads.

Legend: N sentences, S source tokens, T target tokens, R image regions, D model width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Self

import torch
from fairseq2.nn import BatchLayout, IncrementalStateBag
from torch import Tensor, nn

from mmt.data.batch import Batch
from mmt.data.tokenizer import BOS, EOS, PAD
from mmt.model.adapters import LowRankLinear, has_adapters, is_of_adapters
from mmt.model.attention import layout_of
from mmt.model.config import MMTConfig
from mmt.model.fusion import Fusion, Look, Memory, has_region, mean_region, real_first
from mmt.model.image_encoder import ImageEncoder
from mmt.model.losses import label_smoothed_nll
from mmt.model.padding import Lens, beyond, on_device
from mmt.model.text_model import TextModel


class MMTModel(nn.Module):
    """Composes the parts that it is given, and builds none: see ``mmt.model.build``.

    With no decoder it is an encoder: for vectors of sentences and images, or labels read from its states.

    Args:
        config: what the parts were built from.
        image: None if nothing reads projected images.
        fusion: None for a text-only model, which has nowhere to put an image.
        heads: by name.
    """

    def __init__(
        self,
        config: MMTConfig,
        text: TextModel,
        image: ImageEncoder | None,
        fusion: Fusion | None,
        heads: Mapping[str, nn.Module],
    ) -> None:
        super().__init__()
        self.config = config
        self.text, self.image, self.fusion = text, image, fusion
        self.heads = nn.ModuleDict(heads)
        self._fuses_in_decoder = fusion is not None and "decoder" in fusion.places()
        self._has_adapters = has_adapters(config)

    def named_modules(
        self, memo: set[nn.Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Module]]:
        """In the order of computation: the image and the fusion come before the text's decoder.

        The order of the parameters follows. An optimizer's saved state is numbered by it, and the last bit of the
        gradient's norm depends on it, so that a run is repeated exactly only in the same order.
        """
        before = f"{prefix}." if prefix else ""
        late = ((f"{before}text.decoder", f"{before}text.final_proj"), (f"{before}heads",))

        def rank(named: tuple[str, nn.Module]) -> int:
            return next((n for n, names in enumerate(late, 1) if named[0].startswith(names)), 0)

        return iter(sorted(super().named_modules(memo, prefix, remove_duplicate), key=rank))

    def train(self, mode: bool = True) -> Self:
        """A frozen text model stays in evaluation mode; LoRA's dropout, which is in its layers, does not."""
        super().train(mode)
        for module in self.text.modules():
            if isinstance(module, LowRankLinear):
                module.dropout.train(mode)
        return self

    def is_of_text(self, name: str) -> bool:
        """Whether the weight of this name is one that a text-only model has, too."""
        if not name.startswith("text.") or is_of_adapters(name):
            return False
        return self.fusion is None or not self.fusion.owns(name)

    @property
    def uses_images(self) -> bool:
        """False for a text-only model, which has nowhere to put an image."""
        return self.fusion is not None

    @property
    def fuses_between(self) -> bool:
        """Whether its fusion does something between encoder and decoder, which ``look`` shows."""
        return self.fusion is not None and "between" in self.fusion.places()

    def encode(
        self,
        source: Tensor,
        source_lens: Lens,
        image: Tensor | None = None,
        image_pad: Tensor | None = None,
    ) -> Memory:
        """
        Args:
            source: (N, S) ids, ending in eos.
            source_lens: how many of each sentence's ids are real.
            image: (N, R, dim) features, or None if no sentence has an image, see ``ImageEncoder``.
            image_pad: (N, R) bool, True where there is no region; None if every region is real.
        Returns:
            What the decoder attends to.
        """
        if image is None or self.fusion is None:
            source, source_lens = self._visible(source, source_lens)
            return Memory(self.text.encode(self.text.embed(source, source_lens), source_lens), source_lens)
        regions, pad = self._regions(image, image_pad)
        states, lens, look = self._fuse(self.fusion, source, source_lens, regions, pad)
        if look is not None:
            states = look.states
        active = self._active(pad)
        if not self._fuses_in_decoder:
            return Memory(states, lens, active=active)
        return Memory(states, lens, *real_first(regions, pad), active)

    def look(
        self, source: Tensor, source_lens: Lens, image: Tensor, image_pad: Tensor | None = None
    ) -> Look | None:
        """What the fusion of a model that ``uses_images`` does between encoder and decoder; None if nothing.

        The arguments are ``encode``'s.
        """
        assert self.fusion is not None  # noqa: S101
        return self._fuse(self.fusion, source, source_lens, *self._regions(image, image_pad))[2]

    def _fuse(
        self, fusion: Fusion, source: Tensor, source_lens: Lens, regions: Tensor, pad: Tensor
    ) -> tuple[Tensor, Lens, Look | None]:
        """Encoder states and their lengths, and what the fusion makes of them before the decoder."""
        source, source_lens = self._visible(source, source_lens)
        tokens = self.text.embed(source, source_lens)
        tokens, lens = fusion.before_encoder(tokens, source_lens, regions, pad)
        states = self.text.encode(tokens, lens, self._active(pad))
        states, lens = fusion.after_encoder(states, lens, source_lens, source.size(1))
        return states, lens, fusion.look(states, regions, pad)

    def _regions(self, image: Tensor, image_pad: Tensor | None) -> tuple[Tensor, Tensor]:
        assert self.image is not None  # noqa: S101
        regions, pad = self.image(image, image_pad)
        return regions, pad

    def _active(self, image_pad: Tensor) -> Tensor | None:
        """(N, 1, 1) bool, the sentences for which adapters are active: those with a real region."""
        return has_region(image_pad) if self._has_adapters else None

    def _visible(self, source: Tensor, lens: Lens) -> tuple[Tensor, Lens]:
        """The source as the model may see it: eos alone where it does not read text."""
        if self.config.reads_text:
            return source, lens
        one = lens.clamp(max=1) if isinstance(lens, Tensor) else [1] * len(source)
        return torch.full_like(source[:, :1], EOS), one

    def represent(
        self,
        source: Tensor,
        source_lens: Lens,
        image: Tensor | None = None,
        image_pad: Tensor | None = None,
    ) -> Tensor:
        """(N, D), one vector for each sentence and its image, from which labels and scores are read.

        The arguments are ``encode``'s.
        """
        memory = self.encode(source, source_lens, image, image_pad)
        states, kind = memory.states, self.config.readout
        if kind == "decoder":
            begin = torch.full((len(states), 1), BOS, device=states.device)
            return self.decode(begin, layout_of(begin, [1] * len(begin)), memory)[:, 0]
        lens = on_device(memory.lens, states.device)
        if kind == "last":
            return states[torch.arange(len(states), device=states.device), lens - 1]
        return mean_region(states, beyond(lens, states.size(1)))[:, 0]

    def sentence_means(self, batch: Batch) -> Tensor:
        """(N, D) mean encoder states of the sentences, without their images; with ``pooling: first`` the first."""
        states = self.encode(batch.source, batch.source_lens).states
        if self.config.pooling == "first":
            return states[:, 0]
        return mean_region(states, batch.source == PAD)[:, 0]

    def image_means(self, batch: Batch) -> Tensor:
        """(N, D) mean projected regions of the images; 0 where a sentence has none."""
        assert batch.image is not None  # noqa: S101
        return mean_region(*self._regions(batch.image, batch.image_pad))[:, 0]

    def decode(
        self,
        target: Tensor,
        target_layout: BatchLayout,
        memory: Memory,
        state_bag: IncrementalStateBag | None = None,
    ) -> Tensor:
        """(N, T) target ids, each row beginning with its prompt, to (N, T, D); with ``state_bag`` step by step."""
        attended: Any = memory if self._fuses_in_decoder else memory.states
        return self.text.decode(target, target_layout, attended, memory.layout, state_bag)

    def decode_targets(self, batch: Batch) -> Tensor:
        """(N, T, D) decoder states from which ``batch.labels`` are predicted (teacher forcing)."""
        return self.decode_after(batch, self.encode(batch.source, batch.source_lens, batch.image, batch.image_pad))

    def decode_after(self, batch: Batch, memory: Memory) -> Tensor:
        """``decode_targets`` with a memory that was made from the batch otherwise."""
        target = batch.target[:, :-1]
        return self.decode(target, layout_of(target, batch.target_lens), memory)[:, batch.prompt_len - 1 :]

    def logits(self, batch: Batch) -> Tensor:
        """(N, T, V) logits of ``batch.labels``."""
        return self.text.project(self.decode_targets(batch))

    def cross_entropy(
        self,
        batch: Batch,
        label_smoothing: float = 0.0,
        *,
        states: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Label-smoothed loss and negative log-likelihood, in nats, summed over the batch's target tokens.

        Args:
            states: (N, T, D) of ``decode_targets``, where they are known already.
            weights: (N, T) weight of each token's loss, see ``label_smoothed_nll``; None is 1 everywhere.
        """
        states = self.decode_targets(batch) if states is None else states
        targets, output = batch.labels, self.text.final_proj
        places = batch.target_places()
        states, targets = states.flatten(0, 1)[places], targets.flatten()[places]
        weights = None if weights is None else weights.flatten()[places]
        return label_smoothed_nll(states, output.weight, targets, label_smoothing, output.bias, weights)

    def forward(self, batch: Batch, objectives: Iterable[Objective]) -> dict[str, Tensor]:
        """Computes ``objectives`` on ``batch``, and gives what they give, by name.

        One call a step computes them all, as the wrappers of distributed training (DDP, FSDP2) require.
        """
        found: dict[str, Tensor] = {}
        for objective in objectives:
            found |= objective(self, batch)
        return found


Objective = Callable[[MMTModel, Batch], dict[str, Tensor]]
"""Computes scalars of a model on a batch, by name: losses, which have gradients, and what is reported beside."""
