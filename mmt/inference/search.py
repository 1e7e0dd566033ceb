"""Beam search in any runtime, without torch. Legend: N sentences, B beams, T target tokens, W candidates.

A new search rule goes here: it may ask for more candidates (``width``), and drops those that it does not allow.
``onnx_search`` and ``loop_search`` are the same search as a graph, and ``device_search`` on a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mmt.data.tokenizer import EOS

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

MAX_LENGTH = (1.5, 20)
"""Default limit of a translation's length, see ``length_limits``."""

COMPACT_BELOW = 0.85
"""Finished sentences leave the batch when at most this share is unfinished, as it copies the others' KV cache."""


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How ``search`` ranks and when it ends.

    beam_size: B; 1 is greedy search.
    length_penalty: a hypothesis of L tokens, eos among them, is ranked by log P / L ** ``length_penalty``.
    min_length: least number of target tokens before eos; a sentence's length limit takes precedence.
    """

    beam_size: int = 5
    length_penalty: float = 1.0
    min_length: int = 0


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """Target ids without prompt and eos, and the length-normalised log-probability that ranks it."""

    ids: list[int]
    score: float


class Candidates(NamedTuple):
    """The best continuations of each sentence's beams, and what each beam scores if it ends here.

    score, beam, token: (N, W) each, best first, without pad and bos; ends: (N, B). A score is the log-probability
    of all tokens so far.
    """

    score: FloatArray
    beam: IntArray
    token: IntArray
    ends: FloatArray


class DecodingState(Protocol):
    """A batch of partly translated sentences, in any runtime: ``mmt.inference.beam``, ``onnx_runtime``."""

    def search(
        self, limits: Sequence[int], options: SearchOptions, prompts: Sequence[Sequence[int]]
    ) -> list[list[Hypothesis]]:
        """Translates the batch, once: ``search``, or what gives the same where the runtime has its own."""
        return search(self, limits, options, prompts)

    def feed(self, tokens: IntArray) -> None:
        """Appends a given token, (N, 1), to each sentence's only beam: one of the prompt, before its last."""

    def log_probs(self, tokens: IntArray) -> FloatArray:
        """Appends a token to each beam, (N, B), and returns (N, B, V) log-probabilities of the next one.

        V are the ids that the model writes with; ``step`` chooses among them. For ensembles.
        """

    def step(self, tokens: IntArray, scores: FloatArray, width: int) -> Candidates:
        """Appends a token to each beam and returns the candidates for the next one.

        Args:
            tokens: (N, B) the last token of each beam; in the first step there is one beam.
            scores: (N, B) of the beams.
            width: W, candidates of each sentence; there are fewer where the vocabulary is small.
        """

    def reorder(self, parents: IntArray) -> None:
        """Continues each sentence's beams ``parents`` (N, B)."""

    def select(self, sentences: IntArray) -> None:
        """Continues only these sentences (M)."""


def length_limits(
    source_lens: Sequence[int], max_length: tuple[float, int], positions: int, prompt_len: int = 1
) -> list[int]:
    """The most tokens of each translation, eos among them.

    Args:
        source_lens: tokens of each source sentence, eos among them.
        max_length: (a, b): a * source tokens + b.
        positions: that the model has, the prompt's ``prompt_len`` among them.
    """
    most = positions - prompt_len
    return [min(int(max_length[0] * length) + max_length[1], most) for length in source_lens]


def search(
    state: DecodingState,
    limits: Sequence[int],
    options: SearchOptions,
    prompts: Sequence[Sequence[int]],
) -> list[list[Hypothesis]]:
    """Translates a batch.

    A sentence is finished when ``beam_size`` hypotheses have ended, Sutskever et al. (2014) with the stopping rule
    of fairseq.

    Args:
        limits: the most tokens of each sentence, eos among them.
        prompts: (N, P) what the decoder reads before the first token that it writes, see ``Tokenizer.prompt``.
    Returns:
        For each sentence, in order, its hypotheses, best first; at least one, at most B.
    """
    beams, limit = options.beam_size, np.array(limits)
    # One beam at first: the others would equal it.
    tokens = np.array(prompts)[:, None]  # (N, B, P + T)
    prompt_len = tokens.shape[2]
    for position in range(prompt_len - 1):
        state.feed(np.ascontiguousarray(tokens[:, :, position]))
    scores = np.zeros((len(limits), 1), np.float32)  # (N, B)
    rows = np.arange(len(limits))  # the sentences in the batch
    live = np.ones(len(limits), bool)  # those among them that are unfinished
    finished: list[list[Hypothesis]] = [[] for _ in limits]

    def finish(row: int, beam: int, score: float) -> None:
        hypotheses = finished[rows[row]]
        if len(hypotheses) < beams and score > -np.inf:
            ids = tokens[row, beam, prompt_len:].tolist()
            hypotheses.append(Hypothesis(ids, float(score) / (len(ids) + 1) ** options.length_penalty))

    for step in range(max(limits)):
        # Each beam can end in one way only, so at least B of 2 B candidates continue.
        best, beam_of, token_of, ends = state.step(np.ascontiguousarray(tokens[:, :, -1]), scores, 2 * beams)
        at_limit = limit[rows] <= step + 1  # all their beams end here
        for row in np.nonzero(live & at_limit)[0].tolist():
            for beam in (-ends[row]).argsort(kind="stable"):
                finish(row, beam, ends[row, beam])
        live &= ~at_limit
        ended = token_of == EOS
        if step >= options.min_length:
            # Only an ending among the B best counts: a worse one would not have stayed in the beam.
            for row, rank in zip(*np.nonzero(ended[:, :beams] & live[:, None]), strict=True):
                finish(row, beam_of[row, rank], best[row, rank])
            live &= np.array([len(finished[row]) < beams for row in rows])
        if not live.any():
            break
        # The first B candidates that continue, in order: a stable sort puts the ended ones last.
        best[ended] = -np.inf
        onward = ended.argsort(axis=1, kind="stable")[:, :beams]
        scores = np.take_along_axis(best, onward, 1)
        parents, new = np.take_along_axis(beam_of, onward, 1), np.take_along_axis(token_of, onward, 1)
        tokens = np.concatenate([np.take_along_axis(tokens, parents[:, :, None], 1), new[:, :, None]], axis=2)
        state.reorder(parents)
        if live.sum() <= COMPACT_BELOW * len(rows):
            stay = np.nonzero(live)[0]
            rows, tokens, scores, live = rows[stay], tokens[stay], scores[stay], live[stay]
            state.select(stay)
    return [sorted(hypotheses, key=lambda h: -h.score) for hypotheses in finished]
