"""Beam search that looks at the image. Legend: N sentences, B beams, T target tokens, V vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mmt.data import Batch
from mmt.model import MMTModel
from mmt.stepping import StepDecoder
from mmt.text import BOS, EOS, PAD

_CROWD = 0.85  # finished sentences leave when so few are left: leaving means copying what the others have seen
# Words of the vocabulary searched as one, in the order of preference: what divides it.
_BLOCKS = (100, 80, 125, 64, 160, 50, 200, 40, 32, 25, 20, 16)


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """Target ids without bos and eos, and the length-normalised log-probability by which it was ranked."""

    ids: list[int]
    score: float


@torch.inference_mode()
def beam_search(
    model: MMTModel | StepDecoder,
    batch: Batch,
    *,
    beam_size: int = 5,
    length_penalty: float = 1.0,
    max_length: tuple[float, int] = (1.5, 20),
    min_length: int = 0,
    guidance: float = 1.0,
    on_step: Callable[[list[int], Tensor], None] | None = None,
) -> list[list[Hypothesis]]:
    """Translates a batch; its target is not looked at.

    A hypothesis of L tokens, eos among them, is ranked by log P / L ** ``length_penalty``. A sentence is done when
    ``beam_size`` hypotheses have ended, Sutskever et al. (2014) with fairseq's stopping rule.

    Args:
        model: a ``StepDecoder`` of it spares making one, and may have another precision.
        beam_size: B; 1 is greedy search.
        max_length: (a, b): at most a * source tokens + b target tokens.
        min_length: target tokens before eos, at least; ``max_length`` comes first.
        guidance: gamma in logits = text + gamma * (multimodal - text), where text is what the model says without
            the image, Futeral et al. (2024): 1 is the model as it is, 0 leaves the image out, more than 1
            exaggerates what it changes. Anything but 1 takes twice the time.
        on_step: called after each step with the sentences still translated and their beams, (M, B, T) from bos on.
    Returns:
        For each sentence, in the batch's order, its hypotheses, best first; at least one, at most B.
    """
    decoder = model if isinstance(model, StepDecoder) else StepDecoder(model)
    model = decoder.model
    memory = model.encode(batch.source, batch.source_lens, batch.image, batch.image_pad)
    num_sentences, device = len(batch.source), batch.source.device
    beams, longest = beam_size, max(batch.source_lens)
    limit = min(int(max_length[0] * longest) + max_length[1], model.config.max_length - 1)
    limits = [min(int(max_length[0] * length) + max_length[1], limit) for length in batch.source_lens]

    memories = [memory]
    if guidance != 1.0 and batch.image is not None:
        memories.append(model.encode(batch.source, batch.source_lens))  # the same sentences without image
    streams = [decoder.begin(memory, beams, limit) for memory in memories]

    # At first one beam: the others would be like it.
    tokens = torch.full((num_sentences, 1, 1), BOS, device=device)  # (N, B, T)
    scores = torch.zeros((num_sentences, 1), device=device)  # (N, B)
    rows = list(range(num_sentences))  # the sentences that are still computed
    live = set(rows)  # and those among them that still want hypotheses
    done: list[list[Hypothesis]] = [[] for _ in range(num_sentences)]

    for step in range(limit):
        logits = [decoder.project(stream.step(tokens[:, :, -1])).float() for stream in streams]
        mixed = logits[0] if len(logits) == 1 else torch.lerp(logits[1], logits[0], guidance)
        log_p = torch.log_softmax(mixed, dim=-1)  # (N * B, V)
        log_p[:, PAD] = log_p[:, BOS] = -torch.inf
        forced = [number for number, sentence in enumerate(rows) if step + 1 >= limits[sentence]]
        log_p = log_p.view(*scores.shape, -1)
        ends = log_p[:, :, EOS].clone()
        if step < min_length:
            log_p[:, :, EOS] = -torch.inf
        if forced:  # out of room: end here
            at = torch.tensor(forced, device=device)
            log_p[at] = -torch.inf
            log_p[at, :, EOS] = ends[at]
        # Each beam can end in one way only, so 2 B candidates hold at least B that go on.
        best, beam_of, id_of = _best(log_p, scores, 2 * beams)
        ended = (id_of == EOS) & (best > -torch.inf)
        # Only an ending among the B best counts, as a worse one would not have stayed in the beam.
        for number, rank in ended[:, :beams].nonzero().tolist():
            hypotheses = done[rows[number]]
            if len(hypotheses) < beams and rows[number] in live:
                value = float(best[number, rank]) / (step + 1) ** length_penalty
                hypotheses.append(Hypothesis(tokens[number, beam_of[number, rank], 1:].tolist(), value))
        live -= {rows[number] for number in forced}
        live -= {sentence for sentence in rows if len(done[sentence]) >= beams}
        if not live:
            break
        # The first B candidates that go on, in order: a stable sort puts the ended ones last.
        onward = ended.to(torch.int8).sort(dim=1, stable=True).indices[:, :beams]
        scores, parents = best.gather(1, onward), beam_of.gather(1, onward)
        tokens = torch.cat(
            [
                tokens.gather(1, parents.unsqueeze(2).expand(-1, -1, step + 1)),
                id_of.gather(1, onward).unsqueeze(2),
            ],
            dim=2,
        )
        for stream in streams:
            stream.choose(parents)
        if on_step is not None:
            on_step(rows, tokens)
        if len(live) <= _CROWD * len(rows):
            stay = torch.tensor(
                [number for number, sentence in enumerate(rows) if sentence in live], device=device
            )
            rows = [sentence for sentence in rows if sentence in live]
            tokens, scores = tokens[stay], scores[stay]
            for stream in streams:
                stream.keep(stay)
    return [sorted(hypotheses, key=lambda h: -h.score) for hypotheses in done]


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
