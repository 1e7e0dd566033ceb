"""Beam search that looks at the image, of a model in torch. Legend: N sentences, B beams, V vocabulary."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mmt.data.batch import Batch
from mmt.data.tokenizer import BOS, EOS, PAD
from mmt.inference.search import MAX_LENGTH, Candidates, Hypothesis, Numbers, Places, lengths_allowed, search
from mmt.model.model import MMTModel
from mmt.model.stepping import StepDecoder, Stepping

# Words of the vocabulary searched as one, in the order of preference: what divides it.
_BLOCKS = (100, 80, 125, 64, 160, 50, 200, 40, 32, 25, 20, 16)


@torch.inference_mode()
def beam_search(
    model: MMTModel | StepDecoder,
    batch: Batch,
    *,
    beam_size: int = 5,
    length_penalty: float = 1.0,
    max_length: tuple[float, int] = MAX_LENGTH,
    min_length: int = 0,
    guidance: float = 1.0,
    on_step: Callable[[list[int], Places], None] | None = None,
) -> list[list[Hypothesis]]:
    """Translates a batch; its target is not looked at. See ``mmt.inference.search.search``.

    Args:
        model: a ``StepDecoder`` of it spares making one, and may have another precision.
        max_length: (a, b): at most a * source tokens + b target tokens.
        guidance: gamma in logits = text + gamma * (multimodal - text), where text is what the model says without
            the image, Futeral et al. (2024): 1 is the model as it is, 0 leaves the image out, more than 1
            exaggerates what it changes. Anything but 1 takes twice the time.
        beam_size, length_penalty, min_length, on_step: as of ``search``.
    Returns:
        For each sentence, in the batch's order, its hypotheses, best first; at least one, at most B.
    """
    decoder = model if isinstance(model, StepDecoder) else StepDecoder(model)
    model = decoder.model
    memories = [model.encode(batch.source, batch.source_lens, batch.image, batch.image_pad)]
    if guidance != 1.0 and batch.image is not None:
        memories.append(model.encode(batch.source, batch.source_lens))  # the same sentences without image
    limits = lengths_allowed(batch.source_lens, max_length, model.config.max_length)
    streams = [decoder.begin(memory, beam_size, max(limits)) for memory in memories]
    return search(
        _Steps(decoder, streams, guidance),
        limits,
        beam_size=beam_size,
        length_penalty=length_penalty,
        min_length=min_length,
        on_step=on_step,
    )


class _Steps:
    """Of a model in torch; of two streams the second has not seen the image."""

    def __init__(self, decoder: StepDecoder, streams: list[Stepping], guidance: float) -> None:
        self._project, self._streams, self._guidance = decoder.project, streams, guidance
        self._device = decoder.embed.device

    def step(self, tokens: Places, scores: Numbers, width: int) -> Candidates:
        given, before = self._tensor(tokens), self._tensor(scores)
        logits = [self._project(stream.step(given)).float() for stream in self._streams]
        mixed = logits[0] if len(logits) == 1 else torch.lerp(logits[1], logits[0], self._guidance)
        log_p = torch.log_softmax(mixed, dim=-1).view(*before.shape, -1)
        log_p[:, :, PAD] = log_p[:, :, BOS] = -torch.inf
        ends = log_p[:, :, EOS] + before
        return Candidates(*(part.cpu().numpy() for part in (*_best(log_p, before, width), ends)))

    def choose(self, parents: Places) -> None:
        for stream in self._streams:
            stream.choose(self._tensor(parents))

    def keep(self, sentences: Places) -> None:
        for stream in self._streams:
            stream.keep(self._tensor(sentences))

    def _tensor(self, numbers: Places | Numbers) -> Tensor:
        return torch.from_numpy(numbers).to(self._device)


def _best(log_p: Tensor, scores: Tensor, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """The best continuations of each sentence.

    Args:
        log_p: (N, B, V) of the next token.
        scores: (N, B) of the beams.
    Returns:
        (N, at most ``width``) each: score, beam and token, best first.
    """
    num, beams, vocab_size = log_p.shape
    width = min(width, beams * (vocab_size - 1))
    block = next((size for size in _BLOCKS if vocab_size % size == 0), 1)
    # The best lie in those blocks of the vocabulary whose own best are best: of them alone a sorted list is made.
    blocks = log_p.view(num, beams, -1, block)
    tops = (blocks.amax(dim=3) + scores.unsqueeze(2)).flatten(1)  # (N, B * V / block)
    best, where = tops.topk(width if block == 1 else min(width, tops.size(1)), dim=1)
    if block > 1:
        inside = blocks.flatten(1, 2).gather(1, where.unsqueeze(2).expand(-1, -1, block))
        inside = inside + scores.gather(1, where // (vocab_size // block)).unsqueeze(2)
        best, place = inside.flatten(1).topk(width, dim=1)
        where = where.gather(1, place // block) * block + place % block
    return best, where // vocab_size, where % vocab_size
