"""Beam search with images, for a model in torch. Legend: N sentences, B beams, V vocabulary, W candidates."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from mmt.data.batch import Batch
from mmt.data.tokenizer import BOS, EOS, PAD
from mmt.inference.device_search import device_search
from mmt.inference.search import (
    MAX_LENGTH,
    Candidates,
    DecodingState,
    FloatArray,
    Hypothesis,
    IntArray,
    SearchOptions,
    length_limits,
)
from mmt.model.model import MMTModel
from mmt.model.stepping import StepDecoder

# Sizes of the vocabulary's blocks in ``select_candidates``, in the order of preference: the first that divides it.
_BLOCKS = (100, 80, 125, 64, 160, 50, 200, 40, 32, 25, 20, 16)


@torch.inference_mode()
def beam_search(
    model: MMTModel | StepDecoder,
    batch: Batch,
    options: SearchOptions = SearchOptions(),  # noqa: B008  # it is frozen
    *,
    max_length: tuple[float, int] = MAX_LENGTH,
    guidance: float = 1.0,
) -> list[list[Hypothesis]]:
    """Translates a batch; its targets are ignored. See ``mmt.inference.search.search``.

    Args:
        model: a ``StepDecoder`` saves making one, and may have another precision.
        max_length: (a, b): at most a * source tokens + b target tokens.
        guidance: gamma of classifier-free guidance, logits = text + gamma * (multimodal - text), where text are
            the logits without the image, Futeral et al. (2024): 1 is the model as it is, 0 drops the image, more
            than 1 amplifies its effect. Any value but 1 takes twice the time.
    Returns:
        For each sentence, in the batch's order, its hypotheses, best first; at least one, at most B.
    """
    decoder = model if isinstance(model, StepDecoder) else StepDecoder(model)
    prompt_len = batch.prompt_len
    limits = length_limits(batch.source_lens, max_length, decoder.model.text.sizes.max_length, prompt_len)
    state = TorchState(decoder, batch, options.beam_size, max(limits) + prompt_len - 1, guidance)
    return state.search(limits, options, batch.target[:, :prompt_len].tolist())


class TorchState(DecodingState):
    """``mmt.inference.search.DecodingState`` of a model in torch.

    Its methods work outside of ``torch.inference_mode``, too, and take tensors in place of arrays.
    """

    @torch.inference_mode()
    def __init__(self, decoder: StepDecoder, batch: Batch, beams: int, limit: int, guidance: float = 1.0) -> None:
        """Encodes the batch.

        Args:
            beams: of each sentence, at most.
            limit: tokens of each beam, the prompt's among them but for the last, which is never read.
            guidance: as of ``beam_search``.
        """
        model = decoder.model
        memories = [model.encode(batch.source, batch.source_lens, batch.image, batch.image_pad)]
        if guidance != 1.0 and batch.image is not None:
            memories.append(model.encode(batch.source, batch.source_lens))  # the same sentences without images
        self._caches = [decoder.begin(memory, beams, limit) for memory in memories]
        self._project, self._guidance = decoder.project, guidance
        self._vocabulary = decoder.vocabulary
        self.device = decoder.embed.device

    def search(
        self, limits: Sequence[int], options: SearchOptions, prompts: Sequence[Sequence[int]]
    ) -> list[list[Hypothesis]]:
        """On a CPU in NumPy, on a GPU in tensors."""
        if self.device.type == "cpu":
            return super().search(limits, options, prompts)
        return device_search(self, limits, options, prompts)

    @torch.inference_mode()
    def feed(self, tokens: IntArray | Tensor) -> None:
        for cache in self._caches:
            cache.step(self._tensor(tokens))

    @torch.inference_mode()
    def log_probs(self, tokens: IntArray) -> FloatArray:
        return self._log_probs(tokens).cpu().numpy()

    def _log_probs(self, tokens: IntArray | Tensor) -> Tensor:
        last = self._tensor(tokens)
        logits = [self._project(cache.step(last)).float() for cache in self._caches]
        mixed = logits[0] if len(logits) == 1 else torch.lerp(logits[1], logits[0], self._guidance)
        return torch.log_softmax(mixed, dim=-1).view(*tokens.shape, -1)

    @torch.inference_mode()
    def step(self, tokens: IntArray, scores: FloatArray, width: int) -> Candidates:
        return Candidates(*(part.cpu().numpy() for part in self.candidates(tokens, scores, width)))

    def candidates(
        self, tokens: IntArray | Tensor, scores: FloatArray | Tensor, width: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """``step`` on the device: score, beam and token (N, W), and ends (N, B)."""
        log_p, before = self._log_probs(tokens), self._tensor(scores)
        log_p[:, :, PAD] = log_p[:, :, BOS] = -torch.inf
        ends = log_p[:, :, EOS] + before
        score, beam, token = best_candidates(log_p, before, width)
        if self._vocabulary is not None:
            token = self._vocabulary[token]
        return score, beam, token, ends

    @torch.inference_mode()
    def reorder(self, parents: IntArray | Tensor) -> None:
        for cache in self._caches:
            cache.reorder(self._tensor(parents))

    @torch.inference_mode()
    def select(self, sentences: IntArray | Tensor) -> None:
        for cache in self._caches:
            cache.select(self._tensor(sentences))

    def _tensor(self, array: IntArray | FloatArray | Tensor) -> Tensor:
        return array if isinstance(array, Tensor) else torch.from_numpy(array).to(self.device)


def best_candidates(log_p: Tensor, scores: Tensor, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """``select_candidates`` for any vocabulary; W is ``width``, or B * (V - 1) if that is less."""
    beams, vocab_size = log_p.shape[1:]
    width = min(width, beams * (vocab_size - 1))
    block = next((size for size in _BLOCKS if vocab_size % size == 0), _BLOCKS[0])
    if vocab_size % block:
        log_p = pad(log_p, (0, -vocab_size % block), value=-torch.inf)
    num_blocks = min(width, beams * (log_p.size(2) // block))
    score, beam, token = select_candidates(log_p, scores, width, block, num_blocks)
    # A candidate from the padding scores -inf and is never continued, but it needs an id that exists.
    return score, beam, token.clamp(max=vocab_size - 1)


def select_candidates(
    log_p: Tensor, scores: Tensor, width: int, block: int, num_blocks: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The best continuations of each sentence.

    Exported models do the same in ONNX operators: ``mmt.inference.onnx_search._CANDIDATES``.

    The best tokens lie in those blocks of the vocabulary whose maxima are highest, so only these are sorted.

    Args:
        log_p: (N, B, V) of the next token.
        scores: (N, B) of the beams.
        width: W, at most B * V.
        block: tokens of a block; it divides V.
        num_blocks: blocks to sort, of each sentence's B * V / block: W, or all where there are fewer.
    Returns:
        score, beam and token, (N, W) each, best first.
    """
    num, beams, vocab_size = log_p.shape
    blocks_of_beam = vocab_size // block
    blocks = log_p.view(num, beams * blocks_of_beam, block)
    before = scores.unsqueeze(2).expand(-1, -1, blocks_of_beam).flatten(1)  # (N, B * V / block)
    where = (blocks.amax(dim=2) + before).topk(num_blocks, dim=1).indices
    inside = blocks.gather(1, where.unsqueeze(2).expand(-1, -1, block)) + before.gather(1, where).unsqueeze(2)
    score, place = inside.flatten(1).topk(width, dim=1)
    chosen = where.gather(1, place // block)
    return score, chosen // blocks_of_beam, chosen % blocks_of_beam * block + place % block
