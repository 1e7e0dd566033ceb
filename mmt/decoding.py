"""Beam search that looks at the image. Legend: N sentences, B beams, T target tokens, V vocabulary."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from fairseq2.nn import BatchLayout, IncrementalStateBag
from torch import Tensor

from mmt.data import Batch
from mmt.fusion import Memory
from mmt.model import MMTModel
from mmt.text import BOS, EOS, PAD

_CACHE_STEP = 16  # decoding caches grow by so many positions at a time


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """Target ids without bos and eos, and the length-normalised log-probability by which it was ranked."""

    ids: list[int]
    score: float


@torch.inference_mode()
def beam_search(
    model: MMTModel,
    batch: Batch,
    *,
    beam_size: int = 5,
    length_penalty: float = 1.0,
    max_length: tuple[float, int] = (1.5, 20),
    guidance: float = 1.0,
) -> list[list[Hypothesis]]:
    """Translates a batch; its target is not looked at.

    A hypothesis of L tokens, eos among them, is ranked by log P / L ** ``length_penalty``. A sentence is done when
    ``beam_size`` hypotheses have ended, Sutskever et al. (2014) with fairseq's stopping rule.

    Args:
        beam_size: B; 1 is greedy search.
        max_length: (a, b): at most a * source tokens + b target tokens.
        guidance: gamma in logits = text + gamma * (multimodal - text), where text is what the model says without
            the image, Futeral et al. (2024): 1 is the model as it is, 0 leaves the image out, more than 1
            exaggerates what it changes. Anything but 1 takes twice the time.
    Returns:
        For each sentence, in the batch's order, its hypotheses, best first; at least one, at most B.
    """
    memory = model.encode(batch.source, batch.source_lens, batch.image, batch.image_pad)
    num_sentences, device = len(batch.source), batch.source.device
    beams, longest = beam_size, max(batch.source_lens)
    limit = min(int(max_length[0] * longest) + max_length[1], model.config.max_length - 1)
    limits = [min(int(max_length[0] * length) + max_length[1], limit) for length in batch.source_lens]

    streams = [memory]
    if guidance != 1.0 and batch.image is not None:
        streams.append(model.encode(batch.source, batch.source_lens))  # the same sentences without image

    rows = torch.arange(num_sentences, device=device).repeat_interleave(beams)
    streams = [stream.take(rows) for stream in streams]
    states = [IncrementalStateBag(limit + 1, capacity_increment=_CACHE_STEP) for _ in streams]
    tokens = torch.full((num_sentences * beams, 1), BOS, device=device)  # (N * B, T)
    # At first the beams of a sentence are all alike: only the first may be continued.
    scores = torch.full((num_sentences, beams), -torch.inf, device=device)
    scores[:, 0] = 0.0
    live = list(range(num_sentences))  # the sentences that the rows still stand for
    done: list[list[Hypothesis]] = [[] for _ in range(num_sentences)]

    for step in range(limit):
        last = tokens[:, -1:]
        logits = [_next_logits(model, last, *stream) for stream in zip(streams, states, strict=True)]
        mixed = logits[0] if len(logits) == 1 else torch.lerp(logits[1], logits[0], guidance)
        log_p = torch.log_softmax(mixed, dim=-1)  # (N * B, V)
        log_p[:, PAD] = log_p[:, BOS] = -torch.inf
        vocab_size = log_p.size(1)
        forced = [number for number, sentence in enumerate(live) if step + 1 >= limits[sentence]]
        log_p = log_p.view(len(live), beams, vocab_size)
        if forced:  # out of room: end here
            at = torch.tensor(forced, device=device)
            ends = log_p[at, :, EOS]
            log_p[at] = -torch.inf
            log_p[at, :, EOS] = ends
        # Each beam can end in one way only, so 2 B candidates hold at least B that go on.
        width = min(2 * beams, beams * (vocab_size - 1))
        best, where = (log_p + scores.unsqueeze(-1)).view(len(live), -1).topk(width, dim=1)  # (N, 2 B)
        beam_of, id_of = where // vocab_size, where % vocab_size
        ended = (id_of == EOS) & (best > -torch.inf)
        # Only an ending among the B best counts, as a worse one would not have stayed in the beam.
        for number, rank in ended[:, :beams].nonzero().tolist():
            hypotheses = done[live[number]]
            if len(hypotheses) < beams:
                row = number * beams + int(beam_of[number, rank])
                value = float(best[number, rank]) / (step + 1) ** length_penalty
                hypotheses.append(Hypothesis(tokens[row, 1:].tolist(), value))
        keep = [n for n, sentence in enumerate(live) if len(done[sentence]) < beams and n not in forced]
        if not keep:
            break
        # The first B candidates that go on, in order: a stable sort puts the ended ones last.
        onward = ended.to(torch.int8).sort(dim=1, stable=True).indices[:, :beams]
        chosen = torch.tensor(keep, device=device)
        onward = onward[chosen]
        scores = best[chosen].gather(1, onward)
        beam_rows = (chosen.unsqueeze(1) * beams + beam_of[chosen].gather(1, onward)).flatten()
        tokens = torch.cat([tokens[beam_rows], id_of[chosen].gather(1, onward).view(-1, 1)], dim=1)
        if len(keep) < len(live):
            live = [live[n] for n in keep]
            streams = [stream.take(beam_rows) for stream in streams]
        for state in states:
            state.reorder(beam_rows)
    return [sorted(hypotheses, key=lambda h: -h.score) for hypotheses in done]


def _next_logits(model: MMTModel, last: Tensor, memory: Memory, state: IncrementalStateBag) -> Tensor:
    """(N * B, V) float32 logits of the token after ``last`` (N * B, 1); ``state`` moves on by one."""
    decoded = model.decode(last, BatchLayout.of(last), memory, state)
    state.increment_step_nr()
    return model.final_proj(decoded[:, -1]).float()
