"""Runs an exported model's search graph: many steps of beam search in one call of ONNX Runtime. No torch.

``mmt.inference.onnx_search`` writes the graph. A call ends when so many sentences are finished that the others
continue without them, or when one may be at its limit.

Legend: N sentences in the batch, B beams, W candidates, P positions in the KV cache, T steps of a call, L tokens
written before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from mmt.data.tokenizer import EOS
from mmt.inference.search import COMPACT_BELOW, FloatArray, Hypothesis, IntArray, SearchOptions


class SearchGraph:
    """The session of a search graph."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self._inputs = tuple((one.name, tuple(one.shape)) for one in session.get_inputs())
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
        beams = options.beam_size
        constant = {
            "own_beams": _own_beams(beams),
            "beams": _number(beams, 1),
            "min_length": _number(options.min_length),
        }
        state = {"first_tokens": _value(first_tokens), **_first_state(len(limits), self._inputs)}
        finished = _Finished(limits, options)
        written = np.zeros((len(limits), 1, 0), np.int64)  # (N, B, L)
        while True:
            control = {
                "first_count": _value(finished.counts()),
                "begun": _number(finished.num_steps),
                "num_steps": _number(finished.next_limit() - finished.num_steps),
                "least": _number(finished.least_live()),
            }
            found = self.session.run_with_ort_values(self._outputs, encoded | constant | state | control)
            output = dict(zip(self._outputs, found, strict=True))
            score, beam, token = (output[f"all_{name}"].numpy() for name in ("score", "beam", "token"))
            path = _Path(beam, token, beams, written)
            finished.add(score, beam, token, output["last_ends_before"], path)
            if not finished.num_live:
                return [sorted(hypotheses, key=lambda h: -h.score) for hypotheses in finished.hypotheses]
            written = path.all_ids()
            state = {name: output[name.replace("first_", "last_")] for name in state}
            if finished.num_live <= finished.least_live():
                stay = finished.select_live()
                written = written[stay]
                kept = {name: one for name, one in state.items() if name != "first_own"}
                state |= {name: _value(one.numpy()[stay]) for name, one in kept.items()}
                encoded = {name: _value(one.numpy()[stay]) for name, one in encoded.items()}


def _value(array: FloatArray | IntArray) -> Any:
    from onnxruntime import OrtValue  # an optional package, imported when the graph was opened

    return OrtValue.ortvalue_from_numpy(array)


# The same inputs of each call are kept: with one sentence, making them takes as long as a step.
@lru_cache(1024)
def _number(number: int, axes: int = 0) -> Any:
    return _value(np.full((1,) * axes, number))


@lru_cache(64)
def _first_state(num: int, inputs: tuple[tuple[str, tuple[Any, ...]], ...]) -> dict[str, Any]:
    """The state before the first step, for a graph with these inputs (name and shape).

    It has one beam: the others would equal it. A function of the module, as a cached method would keep its session
    in memory.
    """
    zeros = np.zeros((num, 1), np.float32)
    arrays: dict[str, FloatArray] = {
        "first_scores": zeros,
        "first_unseen": zeros[:, :, None],
        "first_ends_before": zeros,
    }
    # In graphs of earlier versions, in place of first_unseen.
    arrays |= {"first_mask": np.zeros((num, 1, 0), np.float32), "first_own": own_mask(1)}
    for name, shape in inputs:
        if name.startswith("first_past_"):
            arrays[name] = np.zeros((num, shape[1], 0, shape[3]), np.float32)
    return {name: _value(arrays[name]) for name, _ in inputs if name in arrays}


@lru_cache(64)
def _own_beams(beams: int) -> Any:
    return _value(own_mask(beams))


class _Finished:
    """The hypotheses of each sentence, at most B, in the order in which they ended.

    rows: the sentences in the batch. live: whether they are unfinished. num_steps: so far.

    Lists and loops: with one sentence, each call of NumPy takes longer than they do.
    """

    def __init__(self, limits: Sequence[int], options: SearchOptions) -> None:
        self._limits, self._options, self.num_steps = list(limits), options, 0
        self._rows, self._live = list(range(len(limits))), [True] * len(limits)
        self.hypotheses: list[list[Hypothesis]] = [[] for _ in limits]

    @property
    def num_live(self) -> int:
        """How many sentences are unfinished."""
        return sum(self._live)

    def least_live(self) -> int:
        """The batch is compacted when this many sentences or fewer are unfinished."""
        return int(COMPACT_BELOW * len(self._rows))

    def counts(self) -> IntArray:
        """(N) how many there are; B where the sentence is finished."""
        found = [len(self.hypotheses[row]) for row in self._rows]
        full = self._options.beam_size
        return np.array([num if live else full for num, live in zip(found, self._live, strict=True)])

    def next_limit(self) -> int:
        """The step at which the first of the unfinished sentences ends at the latest."""
        return min(self._limits[row] for row, live in zip(self._rows, self._live, strict=True) if live)

    def add(self, score: FloatArray, beam: IntArray, token: IntArray, ends: Any, path: _Path) -> None:
        """Adds what ended in the steps of a call: (T, N, W) its candidates, and (N, B) ends of its last step."""
        beams, last, before = self._options.beam_size, len(score) - 1, self.num_steps
        self.num_steps += len(score)
        live, at_limit = self._live, [self._limits[row] <= self.num_steps for row in self._rows]
        # Only an ending among the B best counts: a worse one would not have stayed in the beam.
        ended = (one.tolist() for one in (token[:, :, :beams] == EOS).nonzero())
        for step, row, rank in zip(*ended, strict=True):
            at_end = step == last and at_limit[row]
            if live[row] and not at_end and before + step >= self._options.min_length:
                self._finish(row, path, step, int(beam[step, row, rank]), float(score[step, row, rank]))
        for row, sentence in enumerate(self._rows):
            live[row] = live[row] and len(self.hypotheses[sentence]) < beams
            if live[row] and at_limit[row]:  # all its beams end here
                of_row = ends.numpy()[row].tolist()
                for one, score_of_one in sorted(enumerate(of_row), key=lambda pair: -pair[1]):
                    self._finish(row, path, last, one, score_of_one)
                live[row] = False

    def _finish(self, row: int, path: _Path, step: int, beam: int, score: float) -> None:
        hypotheses = self.hypotheses[self._rows[row]]
        if len(hypotheses) < self._options.beam_size and score > -np.inf:
            ids = path.ids(step, row, beam)
            hypotheses.append(Hypothesis(ids, score / (len(ids) + 1) ** self._options.length_penalty))

    def select_live(self) -> IntArray:
        """Drops the finished sentences from the batch, and returns which stay."""
        stay = [row for row, live in enumerate(self._live) if live]
        self._rows, self._live = [self._rows[row] for row in stay], [True] * len(stay)
        return np.array(stay)


class _Path:
    """What the beams of a call have written."""

    def __init__(self, beam: IntArray, token: IntArray, beams: int, written: IntArray) -> None:
        """
        Args:
            beam, token: (T, N, W) of the candidates.
            written: (N, B, L) by the beams before.
        """
        self._beam, self._token, self._beams, self._written = beam, token, beams, written
        self._rows: dict[int, tuple[list[list[int]], list[list[int]]]] = {}

    def _onward(self, row: int) -> tuple[list[list[int]], list[list[int]]]:
        """Of each step, the beams' parents and tokens: of the B best candidates that do not end."""
        parents, tokens = self._beam[:, row].tolist(), self._token[:, row].tolist()
        for step, of_step in enumerate(tokens):
            if EOS in of_step[: self._beams]:
                onward = [rank for rank, one in enumerate(of_step) if one != EOS]
                tokens[step] = [of_step[rank] for rank in onward]
                parents[step] = [parents[step][rank] for rank in onward]
        return parents, tokens

    def ids(self, step: int, row: int, beam: int) -> list[int]:
        """The tokens of a beam as it was before a step of the call."""
        if row not in self._rows:
            self._rows[row] = self._onward(row)
        parents, tokens = self._rows[row]
        found = []
        for at in range(step - 1, -1, -1):
            found.append(tokens[at][beam])
            beam = parents[at][beam]
        before: list[int] = self._written[row, beam].tolist()
        return before + found[::-1]

    def all_ids(self) -> IntArray:
        """(N, B, L + T) the tokens of all beams after the call."""
        onward = (self._token == EOS).argsort(axis=2, kind="stable")[:, :, : self._beams]
        all_parents, all_tokens = (np.take_along_axis(one, onward, 2) for one in (self._beam, self._token))
        beam, found = np.tile(np.arange(self._beams), (self._token.shape[1], 1)), []
        for parents, tokens in zip(all_parents[::-1], all_tokens[::-1], strict=True):
            found.append(np.take_along_axis(tokens, beam, 1))
            beam = np.take_along_axis(parents, beam, 1)
        before = np.take_along_axis(self._written, beam[:, :, None], 1)
        return np.concatenate([before, np.stack(found[::-1], axis=2)], axis=2)


def own_mask(beams: int) -> FloatArray:
    """(1, B, B) 0 where a beam attends to its own last token, else -inf."""
    mask = np.full((1, beams, beams), -np.inf, np.float32)
    mask[:, range(beams), range(beams)] = 0
    return mask
