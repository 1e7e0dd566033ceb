"""Beam search in an exported model: the choice of candidates, and the search graph, a loop around the decoder.

With one sentence, about 40 % of the time is the search between two steps in Python, and calling the decoder. In
the search graph many steps are one call; ``mmt.inference.loop_search`` runs it. Starting an operator takes about
as long as most of these operators do, so a step has as few as possible.

Legend: N sentences, B beams, P positions in the KV cache, Q = P + B, W candidates, T steps of a call,
V vocabulary.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper, parser

from mmt.data.tokenizer import BOS, EOS, PAD
from mmt.inference.onnx_runtime import LOG_P

# The best continuations: ``mmt.inference.beam.select_candidates`` in operators, without pad and bos. As these may
# raise the maxima of two blocks of each beam, 2 B more blocks are sorted than there are candidates. A block is a
# part of the vocabulary in one beam.
_CANDIDATES = """
candidates (float[N,B,V] log_p, float[N,B] scores, int64[W] ranks) => (int64[N,W] token) {
  beams = Shape <start=1> (scores)
  two_beams = Add (beams, beams)
  width = Shape (ranks)
  num_sorted = Add (width, two_beams)
  scores_3 = Unsqueeze (scores, two)
  log_p_4 = Reshape (log_p, shape_4)
  block_log_p = ReduceMax <keepdims=0> (log_p_4, three)
  block_scores = Add (block_log_p, scores_3)
  flat_block_scores = Flatten (block_scores)
  best_block_scores, best_blocks = TopK (flat_block_scores, num_sorted)
  blocks = Reshape (log_p, shape_3)
  best_blocks_3 = Unsqueeze (best_blocks, two)
  best_log_p = GatherND <batch_dims=1> (blocks, best_blocks_3)
  beam_of_block = Div (best_blocks, num_blocks)
  part_of_block = Mod (best_blocks, num_blocks)
  score_before = GatherElements <axis=1> (scores, beam_of_block)
  score_before_3 = Unsqueeze (score_before, two)
  block_mask = Gather (mask, part_of_block)
  allowed_log_p = Add (best_log_p, block_mask)
  total = Add (allowed_log_p, score_before_3)
  flat_total = Flatten (total)
  score, index = TopK (flat_total, width)
  block_rank = Div (index, block)
  beam = GatherElements <axis=1> (beam_of_block, block_rank)
  part = GatherElements <axis=1> (part_of_block, block_rank)
  first_of_part = Mul (part, block)
  offset = Mod (index, block)
  token = Add (first_of_part, offset)
  eos_log_p = Gather <axis=2> (log_p, eos)
  ends = Add (eos_log_p, scores)
}"""

# What precedes the decoder's step in the loop. ``iter`` is the number of the step in this call.
_BEFORE = """
before (int64 iter) => (int64[1] position) {
  position = Add (iter, begun_1)
}"""

# What follows it: ``mmt.inference.search.search`` in operators. Of the candidates the B best that continue, in
# order, and how many hypotheses of each sentence have ended. An ending counts only among the B best.
_AFTER = """
after (int64[N,W] token) => (bool go_on) {
  is_eos = Equal (token, eos)
  continued_score = Where (is_eos, never, score)
  next_scores, continued = TopK (continued_score, beams)
  parents = GatherElements <axis=1> (beam, continued)
  next_tokens = GatherElements <axis=1> (token, continued)
  parents_3 = Unsqueeze (parents, two)
  parents_unseen = GatherND <batch_dims=1> (unseen, parents_3)
  next_unseen = Concat <axis=2> (parents_unseen, own)
  next_ends = Identity (ends)
  ends_here = Cast <to=1> (is_eos)
  counted_here = Gather (counted, iter)
  num_ended = MatMul (ends_here, counted_here)
  next_count = Add (count, num_ended)
  is_live = Less (next_count, all_beams)
  live = Cast <to=1> (is_live)
  num_live = ReduceSum <keepdims=0> (live)
  go_on = Greater (num_live, least_live)
}"""

# Once a call. ``counted``, (T, W), is 1 where an ending is a hypothesis: late enough, and among the B best.
_ONCE = """
once (int64[1] beams) => (int64[W] ranks) {
  shape_n = Shape <start=0, end=1> (first_tokens)
  shape_n11 = Concat <axis=0> (shape_n, one, one)
  own = Expand (own_beams, shape_n11)
  width = Mul (beams, two)
  width_0 = Squeeze (width)
  ranks = Range (zero_0, width_0, one_0)
  begun_1 = Reshape (begun, one)
  stop = Add (begun, num_steps)
  steps = Range (begun, stop, one_0)
  is_late = LessOrEqual (min_length, steps)
  late = Cast <to=1> (is_late)
  late_2 = Unsqueeze (late, one)
  is_best = Less (ranks, beams)
  best = Cast <to=1> (is_best)
  counted = Mul (late_2, best)
  first_count_float = Cast <to=1> (first_count)
  all_beams = Cast <to=1> (beams)
  least_live = Cast <to=1> (least)
}"""

_CARRIED = ("tokens", "scores", "unseen", "count", "ends_before")
_COLLECTED = ("score", "beam", "token")
_INPUTS: dict[str, list[int | str]] = {
    "first_tokens": ["N", "B"],
    "first_scores": ["N", "B"],
    "first_unseen": ["N", "B", "Q"],
    "first_count": ["N"],
    "first_ends_before": ["N", "B"],
    "own_beams": [1, "A", "A"],
    "beams": [1],
    "begun": [],
    "num_steps": [],
    "min_length": [],
    "least": [],
}
_INTEGERS = {"tokens", "first_count", "beam", "token", "ranks", "beams", "begun", "num_steps", "min_length"}
_INTEGERS |= {"least", "iter"}
_CONSTANTS: dict[str, NDArray[Any]] = {
    "one": np.array([1]),
    "two": np.array([2]),
    "zero_0": np.array(0),
    "one_0": np.array(1),
    "eos": np.array(EOS),
    "never": np.array(-np.inf, np.float32),
}


def add_candidates(decoder: Path, block: int, vocabulary: NDArray[np.int64] | None) -> None:
    """Adds to a graph of log-probabilities, in place, what chooses among them: score, beam, token and ends.

    Args:
        decoder: its weights may lie beside it. It gets the inputs scores and ranks.
        block: tokens of a block, see ``mmt.inference.beam.select_candidates``.
        vocabulary: the ids that the graph writes with, in order; None: all.
    """
    model = onnx.load(decoder, load_external_data=False)
    graph = model.graph
    num, beams, vocab_size = next(one for one in graph.output if one.name == LOG_P).type.tensor_type.shape.dim
    mask = np.zeros(vocab_size.dim_value, np.float32)
    mask[[PAD, BOS]] = -np.inf
    constants: dict[str, NDArray[Any]] = {
        "two": np.array([2]),
        "three": np.array([3]),
        "eos": np.array(EOS),
        "block": np.array(block),
        "num_blocks": np.array(len(mask) // block),
        "shape_3": np.array([0, -1, block]),
        "shape_4": np.array([0, 0, -1, block]),
        "mask": mask.reshape(-1, block),
    }
    nodes = list(parser.parse_graph(_CANDIDATES).node)
    chosen = ("score", "beam", "token", "ends")
    if vocabulary is not None:
        constants["ids"] = vocabulary
        nodes[[node.output[0] for node in nodes].index("token")].output[0] = "token_index"
        nodes.append(helper.make_node("Gather", ["ids", "token_index"], ["token"]))
    _rename(nodes, {LOG_P, "scores", "ranks", *chosen}, "candidates")
    graph.node.extend(nodes)
    graph.initializer.extend(
        numpy_helper.from_array(value, f"candidates/{name}") for name, value in constants.items()
    )
    shape = [num.dim_param, beams.dim_param]
    graph.input.extend([_value("scores", shape), _value("ranks", ["W"])])
    decoder_outputs = list(graph.output)
    del graph.output[:]
    graph.output.extend(_value(name, shape if name == "ends" else [shape[0], "W"]) for name in chosen)
    graph.output.extend(decoder_outputs)
    onnx.save(model, decoder)


def write_search(decoder: Path, out: Path) -> None:
    """Writes the search graph ``out`` of a decoder's graph, which has its weights in its own file."""
    model = onnx.load(decoder)
    graph = model.graph
    kept = {one.name for one in (*graph.input, *graph.output)} | {""}
    _rename(graph.node, kept, "decoder")
    for tensor in graph.initializer:
        tensor.name = f"decoder/{tensor.name}"
    inputs = {one.name: one for one in graph.input}
    past = [name for name in inputs if name.startswith("past_")]
    carried = [*_CARRIED, *past]
    carried_on = [
        *(f"next_{name.removesuffix('_before')}" for name in _CARRIED),
        *(f"later_{number}" for number in range(len(past))),
    ]
    before, after, once = (parser.parse_graph(text).node for text in (_BEFORE, _AFTER, _ONCE))
    loop = helper.make_node(
        "Loop",
        ["num_steps", "", *(f"first_{name}_float" if name == "count" else f"first_{name}" for name in carried)],
        [*(f"last_{name}" for name in carried), *(f"all_{name}" for name in _COLLECTED)],
        body=helper.make_graph(
            [*before, *graph.node, *after],
            "step",
            # With the decoder's own shapes, it is optimized as the decoder's graph is.
            [
                _value("iter", []),
                _value("go_on_before", [], "bool"),
                *(copy.copy(inputs[name]) if name in inputs else _value(name) for name in carried),
            ],
            [_value("go_on", [], "bool"), *map(_value, [*carried_on, *_COLLECTED])],
        ),
    )
    for name in past:
        inputs[name].name = f"first_{name}"
    search_graph = helper.make_graph(
        [*once, loop],
        "search",
        [
            *(_value(name, shape) for name, shape in _INPUTS.items()),
            *(one for name, one in inputs.items() if name.startswith(("past_", "seen_"))),
        ],
        [
            *(_value(f"all_{name}", ["T", "N", "W"]) for name in _COLLECTED),
            *(_value(f"last_{name}") for name in carried if name != "count"),
        ],
        [
            *graph.initializer,
            *(numpy_helper.from_array(value, name) for name, value in _CONSTANTS.items()),
        ],
    )
    onnx.save(helper.make_model(search_graph, opset_imports=model.opset_import, ir_version=model.ir_version), out)


def _rename(nodes: Iterable[Any], kept: set[str], prefix: str) -> None:
    """Gives all names but those in ``kept`` a prefix, as others may have them, too."""
    for node in nodes:
        for names in (node.input, node.output):
            names[:] = [name if name in kept else f"{prefix}/{name}" for name in names]


def _value(name: str, shape: Sequence[int | str] | None = None, kind: str = "") -> Any:
    kind = kind or ("int64" if {name, re.sub("^(first|next|last|all)_", "", name)} & _INTEGERS else "float32")
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(kind)), shape)
