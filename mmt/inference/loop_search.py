"""Runs an exported model's search graph: many steps of beam search in one call of ONNX Runtime. No torch.

``mmt.inference.onnx_search`` writes the graph. A call ends when so many sentences are finished that the others
continue without them, or when one may be at its limit.

Legend: N sentences in the batch, B beams, W candidates, P positions in the KV cache, T steps of a call, L tokens
written before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmt.data.tokenizer import EOS
from mmt.inference.search import COMPACT_BELOW, FloatArray, Hypothesis, IntArray, SearchOptions


class SearchGraph:
    """The session of a search graph."""

    def __init__(self, session: Any) -> None:
        self._session = session
        past = {one.name: one.shape for one in session.get_inputs() if one.name.startswith("first_past_")}
        self._past = list(past)
        _, self._heads, _, self._width = past[self._past[0]]
        self._outputs = [one.name for one in session.get_outputs()]

    def run(
        self, encoded: dict[str, Any], limits: Sequence[int], options: SearchOptions, first_tokens: IntArray
    ) -> list[list[Hypothesis]]:
        """Translates a batch; the result is that of ``mmt.inference.search.search``.

        Args:
            encoded: the encoder's outputs, as ``OrtValue``, by their names in the graph.
            limits: the most tokens of each sentence, eos among them; at least 1.
            first_tokens: (N, 1) what the decoder reads first.
        """
        from onnxruntime import OrtValue  # an optional package, imported when the graph was opened

        value, beams = OrtValue.ortvalue_from_numpy, options.beam_size
        constant = {
            "own_beams": value(own_mask(beams)),
            "beams": value(np.array([beams])),
            "min_length": value(np.array(options.min_length)),
        }
        num = len(limits)
        state: dict[str, Any] = {  # one beam at first: the others would equal it
            "first_tokens": value(first_tokens),
            "first_scores": value(np.zeros((num, 1), np.float32)),
            "first_mask": value(np.zeros((num, 1, 0), np.float32)),
            "first_own": value(own_mask(1)),
            "first_ends_before": value(np.zeros((num, 1), np.float32)),
            **dict.fromkeys(self._past, value(np.zeros((num, self._heads, 0, self._width), np.float32))),
        }
        finished = _Finished(limits, options)
        written = np.zeros((num, 1, 0), np.int64)  # (N, B, L)
        while True:
            control = {
                "first_count": finished.counts(),
                "begun": np.array(finished.num_steps),
                "num_steps": np.array(finished.next_limit() - finished.num_steps),
                "least": np.array(int(COMPACT_BELOW * len(finished.rows))),
            }
            inputs = encoded | constant | state | {name: value(array) for name, array in control.items()}
            found = self._session.run_with_ort_values(self._outputs, inputs)
            output = dict(zip(self._outputs, found, strict=True))
            score, beam, token = (output[f"all_{name}"].numpy() for name in ("score", "beam", "token"))
            path = _Path(beam, token, beams, written)
            finished.add(score, beam, token, output["last_ends_before"], path)
            if not finished.live.any():
                return [sorted(hypotheses, key=lambda h: -h.score) for hypotheses in finished.hypotheses]
            written = path.all_ids()
            state = {name: output[name.replace("first_", "last_")] for name in state}
            if finished.live.sum() <= COMPACT_BELOW * len(finished.rows):
                stay = finished.select_live()
                written = written[stay]
                kept = {name: one for name, one in state.items() if name != "first_own"}
                state |= {name: value(one.numpy()[stay]) for name, one in kept.items()}
                encoded = {name: value(one.numpy()[stay]) for name, one in encoded.items()}


class _Finished:
    """The hypotheses of each sentence, at most B, in the order in which they ended.

    rows: the sentences in the batch. live: those among them that are unfinished. num_steps: so far.
    """

    def __init__(self, limits: Sequence[int], options: SearchOptions) -> None:
        self._limit, self._options, self.num_steps = np.array(limits), options, 0
        self.rows, self.live = np.arange(len(limits)), np.ones(len(limits), bool)
        self.hypotheses: list[list[Hypothesis]] = [[] for _ in limits]

    def counts(self) -> IntArray:
        """(N) how many there are; B where the sentence is finished."""
        found = [len(self.hypotheses[row]) for row in self.rows]
        return np.where(self.live, found, self._options.beam_size)

    def next_limit(self) -> int:
        """The step at which the first of the live sentences ends at the latest."""
        return int(self._limit[self.rows][self.live].min())

    def add(self, score: FloatArray, beam: IntArray, token: IntArray, ends: Any, path: _Path) -> None:
        """Adds what ended in the steps of a call: (T, N, W) its candidates, and (N, B) ends of its last step."""
        beams, last, before = self._options.beam_size, len(score) - 1, self.num_steps
        self.num_steps += len(score)
        at_limit = self.live & (self._limit[self.rows] <= self.num_steps)
        # Only an ending among the B best counts: a worse one would not have stayed in the beam.
        ended = (token[:, :, :beams] == EOS) & self.live[:, None]
        ended[last, at_limit] = False
        ended[: max(self._options.min_length - before, 0)] = False
        for step, row, rank in np.argwhere(ended).tolist():
            self._finish(row, path, step, int(beam[step, row, rank]), float(score[step, row, rank]))
        self.live = self.counts() < beams
        for row in np.nonzero(at_limit & self.live)[0].tolist():  # all beams of these sentences end here
            of_row = ends.numpy()[row]
            for one in (-of_row).argsort(kind="stable").tolist():
                self._finish(row, path, last, one, float(of_row[one]))
        self.live &= ~at_limit

    def _finish(self, row: int, path: _Path, step: int, beam: int, score: float) -> None:
        hypotheses = self.hypotheses[self.rows[row]]
        if len(hypotheses) < self._options.beam_size and score > -np.inf:
            ids = path.ids(step, row, beam)
            hypotheses.append(Hypothesis(ids, score / (len(ids) + 1) ** self._options.length_penalty))

    def select_live(self) -> IntArray:
        """Drops the finished sentences from the batch, and returns which stay."""
        stay = np.nonzero(self.live)[0]
        self.rows, self.live = self.rows[stay], self.live[stay]
        return stay


class _Path:
    """What the beams of a call have written."""

    def __init__(self, beam: IntArray, token: IntArray, beams: int, written: IntArray) -> None:
        """
        Args:
            beam, token: (T, N, W) of the candidates.
            written: (N, B, L) by the beams before.
        """
        onward = (token == EOS).argsort(axis=2, kind="stable")[:, :, :beams]
        self._parents = np.take_along_axis(beam, onward, 2)  # (T, N, B)
        self._tokens = np.take_along_axis(token, onward, 2)
        self._written = written
        self._rows: dict[int, tuple[list[list[int]], list[list[int]]]] = {}

    def ids(self, step: int, row: int, beam: int) -> list[int]:
        """The tokens of a beam as it was before a step of the call."""
        if row not in self._rows:
            self._rows[row] = self._parents[:, row].tolist(), self._tokens[:, row].tolist()
        parents, tokens = self._rows[row]
        found = []
        for at in range(step - 1, -1, -1):
            found.append(tokens[at][beam])
            beam = parents[at][beam]
        before: list[int] = self._written[row, beam].tolist()
        return before + found[::-1]

    def all_ids(self) -> IntArray:
        """(N, B, L + T) the tokens of all beams after the call."""
        num, beams = self._parents.shape[1:]
        beam, found = np.tile(np.arange(beams), (num, 1)), []
        for parents, tokens in zip(self._parents[::-1], self._tokens[::-1], strict=True):
            found.append(np.take_along_axis(tokens, beam, 1))
            beam = np.take_along_axis(parents, beam, 1)
        before = np.take_along_axis(self._written, beam[:, :, None], 1)
        return np.concatenate([before, np.stack(found[::-1], axis=2)], axis=2)


def own_mask(beams: int) -> FloatArray:
    """(1, B, B) 0 where a beam attends to its own last token, else -inf."""
    mask = np.full((1, beams, beams), -np.inf, np.float32)
    mask[:, range(beams), range(beams)] = 0
    return mask
