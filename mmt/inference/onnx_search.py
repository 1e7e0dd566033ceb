"""The search graph of an exported model: beam search as a loop around the decoder's step.

With one sentence, about 40 % of the time is the search between two steps in Python, and calling the decoder. Here
many steps are one call. ``mmt.inference.loop_search`` runs the graph.

Legend: N sentences, B beams, P positions in the KV cache, W candidates, T steps of a call.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper, parser

from mmt.data.tokenizer import EOS

# What precedes the decoder's step in the loop. ``iter`` is the number of the step in this call.
_BEFORE = """
before (int64 iter, float[N,B,P] mask, float[M,B,B] own) => (float[N,B,Q] unseen) {
  number = Add (iter, begun)
  position = Reshape (number, one)
  own_mask = Expand (own, shape_n11)
  unseen = Concat <axis=2> (mask, own_mask)
}"""

# What follows it: ``mmt.inference.search.search`` in operators. Of the candidates the B best that continue, in
# order, and how many hypotheses of each sentence have ended. An ending counts only among the B best.
_AFTER = """
after (int64[N,W] token) => (bool go_on) {
  is_eos = Equal (token, eos)
  ended = Cast <to=7> (is_eos)
  late = Mul (ended, width)
  order = Add (late, ranks)
  in_order, onward = TopK <axis=1, largest=0> (order, beams)
  next_scores = GatherElements <axis=1> (score, onward)
  parents = GatherElements <axis=1> (beam, onward)
  next_tokens = GatherElements <axis=1> (token, onward)
  parents_3 = Unsqueeze (parents, two)
  next_mask = GatherND <batch_dims=1> (unseen, parents_3)
  next_own = Identity (own_beams)
  next_ends = Identity (ends)
  among_best = Slice (ended, zero, beams, one)
  num_ended = ReduceSum <keepdims=0> (among_best, one)
  number_after = Add (number, one_0)
  is_late = Less (min_length, number_after)
  counts = Cast <to=7> (is_late)
  num_counted = Mul (num_ended, counts)
  next_count = Add (count, num_counted)
  is_live = Less (next_count, beams)
  live = Cast <to=7> (is_live)
  num_live = ReduceSum <keepdims=0> (live)
  go_on = Greater (num_live, least)
}"""

# Once a call.
_ONCE = """
once (int64[1] beams) => (int64[W] ranks) {
  shape_n = Shape <start=0, end=1> (first_tokens)
  shape_n11 = Concat <axis=0> (shape_n, one, one)
  width = Mul (beams, two)
  width_0 = Squeeze (width)
  ranks = Range (zero_0, width_0, one_0)
}"""

_CARRIED = ("tokens", "scores", "mask", "own", "count", "ends_before")
_COLLECTED = ("score", "beam", "token")
_INPUTS: dict[str, list[int | str]] = {
    "first_tokens": ["N", "B"],
    "first_scores": ["N", "B"],
    "first_mask": ["N", "B", "P"],
    "first_own": [1, "B", "B"],
    "first_count": ["N"],
    "first_ends_before": ["N", "B"],
    "own_beams": [1, "A", "A"],
    "beams": [1],
    "begun": [],
    "num_steps": [],
    "min_length": [],
    "least": [],
}
_INTEGERS = {"tokens", "count", "beam", "token", "beams", "begun", "num_steps", "min_length", "least", "iter"}
_CONSTANTS = {"zero": [0], "one": [1], "two": [2], "eos": EOS, "zero_0": 0, "one_0": 1}


def write_search(decoder: Path, out: Path) -> None:
    """Writes the search graph ``out`` of a decoder's graph, which has its weights in its own file."""
    model = onnx.load(decoder)
    graph = model.graph
    _rename_inner(graph)
    inputs = {one.name: one for one in graph.input}
    past = [name for name in inputs if name.startswith("past_")]
    carried = [*_CARRIED, *past]
    later = [
        *(f"next_{name.removesuffix('_before')}" for name in _CARRIED),
        *(f"later_{number}" for number in range(len(past))),
    ]
    before, after, once = (parser.parse_graph(text).node for text in (_BEFORE, _AFTER, _ONCE))
    loop = helper.make_node(
        "Loop",
        ["num_steps", "", *(f"first_{name}" for name in carried)],
        [*(f"last_{name}" for name in carried), *(f"all_{name}" for name in _COLLECTED)],
        body=helper.make_graph(
            [*before, *graph.node, *after],
            "step",
            [_value("iter", []), _value("go_on_before", [], "bool"), *map(_value, carried)],
            [_value("go_on", [], "bool"), *map(_value, [*later, *_COLLECTED])],
        ),
    )
    for name in past:
        inputs[name].name = f"first_{name}"
    searches = helper.make_graph(
        [*once, loop],
        "search",
        [
            *(_value(name, shape) for name, shape in _INPUTS.items()),
            *(one for name, one in inputs.items() if name.startswith(("past_", "seen_"))),
        ],
        [
            *(_value(f"all_{name}", ["T", "N", "W"]) for name in _COLLECTED),
            *(_value(f"last_{name}") for name in carried),
        ],
        [
            *graph.initializer,
            *(numpy_helper.from_array(np.array(value, np.int64), name) for name, value in _CONSTANTS.items()),
        ],
    )
    onnx.save(helper.make_model(searches, opset_imports=model.opset_import, ir_version=model.ir_version), out)


def _rename_inner(graph: Any) -> None:
    """Gives all names but those of inputs and outputs a prefix, as others may stand in the texts above."""
    outer = {one.name for one in (*graph.input, *graph.output)} | {""}
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [name if name in outer else f"decoder/{name}" for name in names]
    for tensor in graph.initializer:
        tensor.name = f"decoder/{tensor.name}"


def _value(name: str, shape: Sequence[int | str] | None = None, kind: str = "") -> Any:
    kind = kind or ("int64" if re.sub("^(first|next|last|all)_", "", name) in _INTEGERS else "float32")
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(kind)), shape)
