"""Beam search over whatever computes a step. Legend: N sentences, B beams, T target tokens, W candidates.

Without torch: the same search serves a model in torch and an exported one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mmt.data.tokenizer import BOS, EOS

Numbers = NDArray[np.float32]
Places = NDArray[np.int64]

MAX_LENGTH = (1.5, 20)
"""Of a translation, unless told otherwise, see ``lengths_allowed``."""

_CROWD = 0.85  # finished sentences leave when so few are left: leaving means copying what the others have seen


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """Target ids without bos and eos, and the length-normalised log-probability by which it was ranked."""

    ids: list[int]
    score: float


class Candidates(NamedTuple):
    """score, beam, token: (N, W), of each sentence the continuations that are best, best first, without pad and
    bos; ends: (N, B), the score of each beam if it ended here.

    A score is the log-probability of all tokens so far.
    """

    score: Numbers
    beam: Places
    token: Places
    ends: Numbers


class Steps(Protocol):
    """A batch of sentences in the middle of being translated."""

    def step(self, tokens: Places, scores: Numbers, width: int) -> Candidates:
        """
        Args:
            tokens: (N, B) the last token of each beam; at first there is one beam.
            scores: (N, B) of the beams.
            width: W, candidates wanted of a sentence; there are fewer where the vocabulary is small.
        """

    def choose(self, parents: Places) -> None:
        """Goes on with ``parents`` (N, B), the beams of each sentence that are continued."""

    def keep(self, sentences: Places) -> None:
        """Goes on with some sentences (M) alone."""


def lengths_allowed(source_lens: Sequence[int], max_length: tuple[float, int], room: int) -> list[int]:
    """Tokens that each translation may have, eos among them.

    Args:
        source_lens: tokens of each source sentence, eos among them.
        max_length: (a, b): a * source tokens + b.
        room: positions that the model has, bos among them.
    """
    return [min(int(max_length[0] * length) + max_length[1], room - 1) for length in source_lens]


def search(
    steps: Steps,
    limits: Sequence[int],
    *,
    beam_size: int,
    length_penalty: float = 1.0,
    min_length: int = 0,
    on_step: Callable[[list[int], Places], None] | None = None,
) -> list[list[Hypothesis]]:
    """Translates a batch.

    A hypothesis of L tokens, eos among them, is ranked by log P / L ** ``length_penalty``. A sentence is done when
    ``beam_size`` hypotheses have ended, Sutskever et al. (2014) with fairseq's stopping rule.

    Args:
        limits: tokens that each sentence may have, eos among them.
        beam_size: B; 1 is greedy search.
        min_length: target tokens before eos, at least; a limit comes first.
        on_step: called after each step with the sentences still translated and their beams, (M, B, T) from bos on.
    Returns:
        For each sentence, in order, its hypotheses, best first; at least one, at most B.
    """
    beams, last = beam_size, np.array(limits)
    # At first one beam: the others would be like it.
    tokens = np.full((len(limits), 1, 1), BOS)  # (N, B, T)
    scores = np.zeros((len(limits), 1), np.float32)  # (N, B)
    rows = np.arange(len(limits))  # the sentences that are still computed
    live = np.ones(len(limits), bool)  # those among them that still want hypotheses
    done: list[list[Hypothesis]] = [[] for _ in limits]

    def end(number: int, beam: int, score: float) -> None:
        hypotheses = done[rows[number]]
        if len(hypotheses) < beams and score > -np.inf:
            ids = tokens[number, beam, 1:].tolist()
            hypotheses.append(Hypothesis(ids, float(score) / tokens.shape[2] ** length_penalty))

    for step in range(max(limits)):
        # Each beam can end in one way only, so 2 B candidates hold at least B that go on.
        best, beam_of, id_of, ends = steps.step(np.ascontiguousarray(tokens[:, :, -1]), scores, 2 * beams)
        forced = last[rows] <= step + 1  # out of room: they end here, whatever is best
        for number in np.nonzero(live & forced)[0].tolist():
            for beam in (-ends[number]).argsort(kind="stable"):
                end(number, beam, ends[number, beam])
        live &= ~forced
        ended = id_of == EOS
        if step >= min_length:
            # Only an ending among the B best counts, as a worse one would not have stayed in the beam.
            for number, rank in zip(*np.nonzero(ended[:, :beams] & live[:, None]), strict=True):
                end(number, beam_of[number, rank], best[number, rank])
            live &= np.array([len(done[row]) < beams for row in rows])
        if not live.any():
            break
        # The first B candidates that go on, in order: a stable sort puts the ended ones last.
        best[ended] = -np.inf
        onward = ended.argsort(axis=1, kind="stable")[:, :beams]
        scores = np.take_along_axis(best, onward, 1)
        parents, new = np.take_along_axis(beam_of, onward, 1), np.take_along_axis(id_of, onward, 1)
        tokens = np.concatenate([np.take_along_axis(tokens, parents[:, :, None], 1), new[:, :, None]], axis=2)
        steps.choose(parents)
        if on_step is not None:
            on_step(rows.tolist(), tokens)
        if live.sum() <= _CROWD * len(rows):
            stay = np.nonzero(live)[0]
            rows, tokens, scores, live = rows[stay], tokens[stay], scores[stay], live[stay]
            steps.keep(stay)
    return [sorted(hypotheses, key=lambda h: -h.score) for hypotheses in done]
