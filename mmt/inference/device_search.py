"""Beam search on a model's device: what ``mmt.inference.search.search`` does in NumPy, in tensors.

A GPU computes while the host queues its next steps, until the host reads a number: then both wait. Here all that
the search knows stays on the device. The host reads how many sentences are unfinished every few steps, and at the
end the hypotheses.

Legend: N sentences, M those still in the batch, B beams, T tokens written so far, W candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmt.data.tokenizer import EOS
from mmt.inference.search import COMPACT_BELOW, Hypothesis, SearchOptions

if TYPE_CHECKING:
    from mmt.inference.beam import TorchState

_READ_EVERY = 4  # steps; a batch whose sentences are all finished takes at most so many in vain


@torch.inference_mode()
def device_search(
    state: TorchState,
    limits: Sequence[int],
    options: SearchOptions,
    prompts: Sequence[Sequence[int]],
    *,
    read_every: int = _READ_EVERY,
) -> list[list[Hypothesis]]:
    """Translates a batch; arguments and result are those of ``mmt.inference.search.search``.

    ``read_every``: with 1 sentences leave the batch in the same steps as there, so that all numbers are the same.
    """
    beams, longest, ends_here = options.beam_size, max(limits), set(limits)

    def moved(numbers: Sequence[object]) -> Tensor:
        return torch.tensor(numbers).to(state.device, non_blocking=True)

    prompt, limit = moved(prompts), moved(limits)
    for position in range(prompt.size(1) - 1):
        state.feed(prompt[:, position : position + 1])
    tokens = prompt[:, None, -1:]  # (M, B, 1 + T): the prompt's last token, and those written
    scores = torch.zeros(len(limits), 1, device=state.device)  # (M, B)
    rows = torch.arange(len(limits), device=state.device)  # the sentences in the batch
    live = torch.ones_like(rows, dtype=torch.bool)  # those among them that are unfinished
    finished = _Finished(len(limits), beams, longest, state.device)
    for step in range(longest):
        best, beam_of, token_of, ends = state.candidates(tokens[:, :, -1], scores, 2 * beams)
        if step + 1 in ends_here:  # all beams of these sentences end here
            at_limit = limit <= step + 1
            order = (-ends).argsort(dim=1, stable=True)
            counted = (live & at_limit).unsqueeze(1).expand_as(ends)
            finished.add(rows, counted, ends.gather(1, order), _taken(tokens, order))
            live = live & ~at_limit
        ended = token_of == EOS
        if step >= options.min_length:  # only an ending among the B best counts
            first = beam_of[:, :beams]
            finished.add(rows, ended[:, :beams] & live.unsqueeze(1), best[:, :beams], _taken(tokens, first))
            live = live & (finished.count[rows] < beams)
        if step + 1 == longest:
            break
        num_live = int(live.sum()) if (step + 1) % read_every == 0 else len(rows)  # what the host waits for
        if not num_live:
            break
        # The first B candidates that continue, in order: a stable sort puts the ended ones last.
        onward = ended.to(torch.uint8).argsort(dim=1, stable=True)[:, :beams]
        scores = best.masked_fill(ended, -torch.inf).gather(1, onward)
        parents, new = beam_of.gather(1, onward), token_of.gather(1, onward)
        tokens = torch.cat([_taken(tokens, parents), new.unsqueeze(2)], dim=2)
        state.reorder(parents)
        if num_live <= COMPACT_BELOW * len(rows):
            stay = (~live).to(torch.uint8).argsort(stable=True)[:num_live]
            rows, tokens, scores, live, limit = (one[stay] for one in (rows, tokens, scores, live, limit))
            state.select(stay)
    return finished.hypotheses(options.length_penalty)


def _taken(tokens: Tensor, beams: Tensor) -> Tensor:
    """(M, B, 1 + T) the tokens of these ``beams`` (M, any)."""
    return tokens.gather(1, beams.unsqueeze(2).expand(-1, -1, tokens.size(2)))


class _Finished:
    """The hypotheses of each sentence, at most B, in the order in which they ended.

    ``count``: (N) how many there are. A place behind the B-th takes those that are not counted.
    """

    def __init__(self, num: int, beams: int, longest: int, device: torch.device) -> None:
        self.count = torch.zeros(num, dtype=torch.int64, device=device)
        self._beams = beams
        self._scores = torch.zeros(num, beams + 1, device=device)
        self._lens = torch.zeros(num, beams + 1, dtype=torch.int64, device=device)
        self._ids = torch.zeros(num, beams + 1, longest, dtype=torch.int64, device=device)

    def add(self, rows: Tensor, counted: Tensor, scores: Tensor, tokens: Tensor) -> None:
        """Adds the ``counted`` of some candidates, in their order.

        Args:
            rows: (M) the sentences.
            counted: (M, any) bool; a score of -inf is not counted, nor what is more than B.
            scores: (M, any) log-probabilities.
            tokens: (M, any, 1 + T), the prompt's last token first.
        """
        counted = counted & (scores > -torch.inf)
        place = self.count[rows].unsqueeze(1) + counted.cumsum(dim=1) - 1
        counted = counted & (place < self._beams)
        where = rows.unsqueeze(1).expand_as(place), place.masked_fill(~counted, self._beams)
        ids = tokens[:, :, 1:]
        self._scores[where] = scores
        self._lens[where] = torch.full_like(place, ids.size(2))
        self._ids[:, :, : ids.size(2)][where] = ids
        self.count.index_add_(0, rows, counted.sum(dim=1))

    def hypotheses(self, length_penalty: float) -> list[list[Hypothesis]]:
        """Of each sentence, best first."""
        parts = [one.cpu().tolist() for one in (self.count, self._scores, self._lens, self._ids)]
        found = []
        for count, *of_sentence in zip(*parts, strict=True):
            best = [
                Hypothesis(ids[:length], score / (length + 1) ** length_penalty)
                for score, length, ids in list(zip(*of_sentence, strict=True))[:count]
            ]
            found.append(sorted(best, key=lambda h: -h.score))
        return found
