"""The search graph gives what the search in Python gives, to the last digit."""

from __future__ import annotations

import gc
import shutil
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper, parser
from torch.nn.functional import scaled_dot_product_attention

from mmt.data.feature_store import FeatureStore
from mmt.data.tokenizer import BOS, EOS, PAD
from mmt.errors import MMTError
from mmt.inference import onnx_runtime
from mmt.inference.loop_search import SearchGraph
from mmt.inference.onnx_runtime import ExportedTranslator, Graphs
from mmt.inference.onnx_search import add_candidates, write_search
from mmt.inference.runtime_model import ImageFeatures
from mmt.inference.search import (
    Candidates,
    DecodingState,
    FloatArray,
    IntArray,
    SearchOptions,
    search,
)
from mmt.inference.translator import SentenceBatch
from mmt.io.onnx import open_session
from mmt.model.card import read_card
from mmt.model.onnx_attention import exported_attend

V = 40
DECODER = """
decoder (int64[N,B] tokens, int64[one] position, float[N,B] scores, int64[W] ranks, float[N,B,Q] unseen,
         float[N,1,P,1] past_0, float[N,1,1,1] seen_0)
    => (float[N,W] score, int64[N,W] beam, int64[N,W] token, float[N,B] ends, float[N,1,Q,1] later_0) {
  own = Cast <to=1> (tokens)
  own_4 = Unsqueeze (own, axes)
  later_0 = Concat <axis=2> (past_0, own_4)
  cache = Squeeze (later_0, axes)
  cache_3 = Unsqueeze (cache, last)
  is_seen = Exp (unseen)
  sums = MatMul (is_seen, cache_3)
  start = Squeeze (seen_0, axes)
  start_3 = Unsqueeze (start, last)
  all_sums = Add (sums, start_3)
  whole = Cast <to=7> (all_sums)
  at = Add (whole, position)
  place_in_table = Mod (at, size)
  which = Squeeze (place_in_table, last)
  log_p = Gather (table, which)
  scores_3 = Unsqueeze (scores, last)
  totals = Add (log_p, scores_3)
  ends = Gather <axis=2> (totals, end)
  flat = Flatten <axis=1> (totals)
  width_in = Shape (ranks)
  score, place = TopK <axis=1> (flat, width_in)
  beam = Div (place, size)
  first = Mul (beam, size)
  token = Sub (place, first)
}"""
"""A decoder whose next token depends on the sum of its past, its position and its source, by a table (V, V)."""


class Counting:
    """A session that counts its calls."""

    def __init__(self, session: Any, path: Path | None = None) -> None:
        self._session, self.path, self.calls = session, path, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run_with_ort_values(self, *arguments: object) -> Any:
        self.calls += 1
        return self._session.run_with_ort_values(*arguments)


class Table(DecodingState):
    """The same decoder without a cache: the past is in the beams."""

    def __init__(self, table: FloatArray, starts: IntArray) -> None:
        self._table, self._sums, self._position = table, starts[:, None].copy(), 0

    def step(self, tokens: IntArray, scores: FloatArray, width: int) -> Candidates:
        self._sums = self._sums + tokens
        totals = self._table[(self._sums + self._position) % V] + scores[:, :, None]
        self._position += 1
        flat = totals.reshape(len(totals), -1)
        best = (-flat).argsort(axis=1, kind="stable")[:, :width]
        return Candidates(np.take_along_axis(flat, best, 1), best // V, best % V, totals[:, :, EOS])

    def feed(self, tokens: IntArray) -> None:
        raise NotImplementedError

    def log_probs(self, tokens: IntArray) -> FloatArray:
        raise NotImplementedError

    def reorder(self, parents: IntArray) -> None:
        self._sums = np.take_along_axis(self._sums, parents, 1)

    def select(self, sentences: IntArray) -> None:
        self._sums = self._sums[sentences]


@pytest.fixture
def table() -> FloatArray:
    logits = np.random.default_rng(3).normal(size=(V, V)).astype(np.float32) * 2
    logits[:, EOS] += 1.5
    logits[:, [PAD, BOS]] = -np.inf
    return np.asarray(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)), np.float32)


@pytest.fixture
def searches(table: FloatArray, tmp_path: Path) -> Counting:
    graph = parser.parse_graph(DECODER)
    constants = {"axes": [1, 3], "last": [2], "size": V, "end": EOS}
    for name, value in constants.items():
        graph.initializer.append(numpy_helper.from_array(np.array(value, np.int64), name))
    graph.initializer.append(numpy_helper.from_array(table, "table"))
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), tmp_path / "one"
    )
    write_search(tmp_path / "one", tmp_path / "many")
    return Counting(open_session(tmp_path / "many"), tmp_path / "many")


@pytest.mark.parametrize("beams", [1, 2, 5, 9])
@pytest.mark.parametrize(("penalty", "min_length", "spread"), [(1.0, 0, 0), (0.6, 4, 1), (1.6, 2, 4)])
def test_all_that_the_search_does(
    table: FloatArray, searches: Counting, beams: int, penalty: float, min_length: int, spread: int
) -> None:
    """Endings, limits, sentences that leave the batch at any time: hypotheses and scores to the last digit."""
    options, generator = SearchOptions(beams, penalty, min_length), np.random.default_rng(beams)
    graph, lengths = SearchGraph(searches), set()
    for num in (1, 2, 7, 20):
        starts = generator.integers(0, V, num)
        limits = [13 - spread * (row % 4) for row in range(num)]
        seen = onnxruntime.OrtValue.ortvalue_from_numpy(starts.astype(np.float32).reshape(num, 1, 1, 1))
        prompts = BOS + np.arange(num)[:, None] % 5  # each sentence has its own
        expected = search(Table(table, starts), limits, options, prompts.tolist())
        calls = searches.calls
        assert graph.run({"seen_0": seen}, limits, options, prompts) == expected
        assert searches.calls == calls + 1 or num > 1
        lengths |= {len(one.ids) for of_sentence in expected for one in of_sentence}
    assert searches.calls > 8
    assert len(lengths) > 3


@pytest.mark.parametrize("beams", [2, 5])
def test_where_few_tokens_are_possible(table: FloatArray, searches: Counting, beams: int) -> None:
    """Fewer than there are beams: the others are impossible, and none of them is a hypothesis."""
    possible = np.full_like(table, -np.inf)
    possible[:, [EOS, 5, 9]] = table[:, [EOS, 5, 9]]
    path = searches.path
    assert path is not None
    model = onnx.load(path)
    (place,) = [number for number, one in enumerate(model.graph.initializer) if one.name == "decoder/table"]
    model.graph.initializer[place].CopyFrom(numpy_helper.from_array(possible, "decoder/table"))
    onnx.save(model, path)
    starts, limits, options = np.array([3, 8, 21]), [6, 9, 9], SearchOptions(beams, min_length=1)
    seen = onnxruntime.OrtValue.ortvalue_from_numpy(starts.astype(np.float32).reshape(-1, 1, 1, 1))
    expected = search(Table(possible, starts), limits, options, [[BOS]] * 3)
    assert SearchGraph(open_session(path)).run({"seen_0": seen}, limits, options, np.full((3, 1), BOS)) == expected
    assert all(len(of_sentence) == beams for of_sentence in expected)


def test_graphs_of_an_earlier_version_are_read() -> None:
    """One in which the mask has two inputs.

    The code of commit 8d5d8ae wrote it: the fixture ``searches`` of this file as it was there, whose file ``many``
    was copied.
    """
    path = Path(__file__).parent / "earlier_search.onnx"
    (table,) = [
        numpy_helper.to_array(one) for one in onnx.load(path).graph.initializer if one.name == "decoder/table"
    ]
    session = Counting(open_session(path))
    assert "first_own" in [one.name for one in session.get_inputs()]
    starts, limits, options = np.arange(5, 12), [5, 9, 13, 13, 13, 13, 13], SearchOptions(3)
    seen = onnxruntime.OrtValue.ortvalue_from_numpy(starts.astype(np.float32).reshape(-1, 1, 1, 1))
    expected = search(Table(table, starts), limits, options, [[BOS]] * 7)
    assert SearchGraph(session).run({"seen_0": seen}, limits, options, np.full((7, 1), BOS)) == expected
    assert session.calls > 2


@pytest.mark.parametrize("vocabulary", [None, np.arange(5, 405, 2)])
def test_the_best_candidates_are_found(vocabulary: IntArray | None, tmp_path: Path) -> None:
    """Pad and bos are the best of their beams, and raise the maxima of two blocks of each above all others."""
    graph = parser.parse_graph(
        "step (float[N,B,200] logits) => (float[N,B,200] log_p) {log_p = Identity (logits)}"
    )
    imports = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=10), tmp_path / "step.onnx")
    add_candidates(tmp_path / "step.onnx", 2, vocabulary)
    session, generator = open_session(tmp_path / "step.onnx"), np.random.default_rng(0)
    for beams in (1, 3):
        log_p = generator.normal(size=(5, beams, 200)).astype(np.float32)
        scores = generator.normal(size=(5, beams)).astype(np.float32)
        log_p[:, :, PAD], log_p[:, :, BOS] = 20, 10
        inputs = {"logits": log_p, "scores": scores, "ranks": np.zeros(6, np.int64)}
        score, beam, token, ends = session.run(["score", "beam", "token", "ends"], inputs)
        log_p[:, :, [PAD, BOS]] = -np.inf
        totals = (log_p + scores[:, :, None]).reshape(5, -1)
        best = (-totals).argsort(axis=1, kind="stable")[:, :6]
        ids = best % 200 if vocabulary is None else vocabulary[best % 200]
        assert np.array_equal(score, np.take_along_axis(totals, best, 1))
        assert np.array_equal(beam, best // 200)
        assert np.array_equal(token, ids)
        assert np.array_equal(ends, log_p[:, :, EOS] + scores)


def test_attention_is_one_operator(exported_gated: Path) -> None:
    """Starting operators takes most of the time of one sentence. The model has one layer on each side."""
    for name, count in (("encoder", 1), ("decoder", 2)):
        nodes = onnx.load(exported_gated / "graphs" / f"{name}.float32.onnx").graph.node
        operators = [node.op_type for node in nodes]
        assert operators.count("MultiHeadAttention") == count
        assert "Softmax" not in operators


class Attending(torch.nn.Module):
    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, lens: torch.Tensor) -> torch.Tensor:
        return exported_attend(q, k, v, lens, 1)


def test_padding_is_masked_whatever_the_scores_are(tmp_path: Path) -> None:
    """Those of the real keys are about -40,000, less than what ONNX Runtime adds to masked scores by default."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 5, 4, generator=generator) for _ in "qkv")
    q, k, lens = q - 200, k + 200, torch.tensor([5, 3], dtype=torch.int32)
    k[1, 3:] = 0
    traced = torch.export.export(Attending(), (q, k, v, lens))
    torch.onnx.export(traced, opset_version=20, dynamo=True, verbose=False).save(tmp_path / "attend.onnx")
    session = open_session(tmp_path / "attend.onnx")
    inputs = zip((one.name for one in session.get_inputs()), (q, k, v, lens), strict=True)
    (found,) = session.run(None, {name: one.numpy() for name, one in inputs})
    for row, length in enumerate(lens.tolist()):
        expected = scaled_dot_product_attention(q[row], k[row, :length], v[row, :length])
        assert found[row] == pytest.approx(expected.numpy(), abs=0.05)  # scores of 80,000 have few digits left


def test_a_sum_and_the_norm_after_it_are_one_operator_in_the_encoder_alone(
    exported_gated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime accepts unknown names of optimizers to disable, so the graphs that it runs are looked at."""
    of_session, written = onnxruntime.SessionOptions, []

    def options() -> Any:
        made = of_session()
        written.append(tmp_path / str(len(written)))
        made.optimized_model_filepath = str(written[-1])
        return made

    monkeypatch.setattr(onnxruntime, "SessionOptions", options)
    graphs = Graphs(exported_gated / "graphs", read_card(exported_gated / "graphs"))
    _ = graphs.decoder
    assert [b"SkipLayerNormalization" in path.read_bytes() for path in written] == [True, False, False]


def test_the_target_embedding_is_not_rounded(exported_gated: Path) -> None:
    """A step reads few of its rows."""
    graph = onnx.load(exported_gated / "graphs" / "decoder.int8.onnx").graph
    types = {one.name: one.data_type for one in graph.initializer}
    (gather,) = [node for node in graph.node if node.op_type == "Gather" and node.input[1] == "tokens"]
    assert types[gather.input[0]] == onnx.TensorProto.FLOAT
    assert onnx.TensorProto.INT8 in types.values()


def test_a_search_graph_is_freed_when_it_is_dropped(searches: Counting) -> None:
    """Not when the collector of cycles runs next: its session may have 64 MiB."""
    graph, seen = (
        SearchGraph(searches),
        onnxruntime.OrtValue.ortvalue_from_numpy(np.ones((1, 1, 1, 1), np.float32)),
    )
    graph.run({"seen_0": seen}, [5], SearchOptions(2), np.array([[BOS]]))
    gc.disable()
    try:
        freed = weakref.ref(graph)
        del graph
        assert freed() is None
    finally:
        gc.enable()


OPTIONS = [SearchOptions(1), SearchOptions(5), SearchOptions(3, length_penalty=0.6, min_length=4)]


@pytest.fixture
def session(exported_gated: Path) -> Counting:
    found = Graphs(exported_gated / "graphs", read_card(exported_gated / "graphs")).search
    assert found is not None
    return Counting(found.session)


@pytest.fixture
def graphs(exported_gated: Path, session: Counting) -> Graphs:
    folder = exported_gated / "graphs"
    found = Graphs(folder, read_card(folder))
    found.search = SearchGraph(session)
    return found


@pytest.fixture
def batch(world: Path) -> SentenceBatch:
    """Sentences of unlike lengths, every other one with an image."""
    generator = np.random.default_rng(2)
    store = FeatureStore.open(world / "features")
    sources = [generator.integers(4, 330, size).tolist() for size in (3, 9, 5, 1, 7, 12, 4, 6, 8, 2, 11, 10)]
    features = store.get(["test-0.png"])[0]
    images: list[ImageFeatures | None] = [features if row % 2 else None for row in range(len(sources))]
    return SentenceBatch(sources, images, (BOS,))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("spread", [0, 3])
def test_the_graph_finds_what_the_search_finds(
    graphs: Graphs, session: Counting, batch: SentenceBatch, options: SearchOptions, spread: int
) -> None:
    """With one limit for all sentences, and with several, at which they leave the batch at different times."""
    limits = [14 - spread * (row % 5) for row in range(len(batch.sources))]
    prompts = [batch.prompt] * len(limits)
    expected = search(graphs.begin(batch), limits, options, prompts)
    assert session.calls == 0
    assert graphs.begin(batch).search(limits, options, prompts) == expected
    assert session.calls >= (3 if spread else 1)


def test_a_limit_of_nothing_is_that_of_the_search(graphs: Graphs, batch: SentenceBatch) -> None:
    limits, prompts = [0, *[6] * (len(batch.sources) - 1)], [batch.prompt] * len(batch.sources)
    expected = search(graphs.begin(batch), limits, SearchOptions(2), prompts)
    assert graphs.begin(batch).search(limits, SearchOptions(2), prompts) == expected


def test_one_sentence_is_one_call(
    graphs: Graphs, session: Counting, batch: SentenceBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_runtime, "open_session", None)  # nor is the decoder's file opened
    one = SentenceBatch(batch.sources[1:2], batch.images[1:2], batch.prompt)
    assert graphs.begin(one).search([20], SearchOptions(5), [batch.prompt])[0]
    assert session.calls == 1


def test_threads_open_the_decoder_once(graphs: Graphs, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, together = [], threading.Barrier(4)

    def slowly(path: Path, **_: object) -> object:
        time.sleep(0.05)
        opened.append(path)
        return object()

    monkeypatch.setattr(onnx_runtime, "open_session", slowly)

    def first_use(number: int) -> object:
        together.wait()
        return graphs.decoder

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(first_use, range(4)))) == 1
    assert len(opened) == 1


def test_exports_without_a_search_graph_translate_alike(
    exported_gated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(exported_gated / "graphs", tmp_path / "graphs"))
    lines = ["A dog runs.", "A red ball and two cats.", "Hello"]
    expected = ExportedTranslator.from_dir(folder).hypotheses(lines, beam_size=4, n_best=4)
    (folder / "search.float32.onnx").unlink()
    monkeypatch.setattr(onnx_runtime, "SearchGraph", None)
    assert ExportedTranslator.from_dir(folder).hypotheses(lines, beam_size=4, n_best=4) == expected
    (folder / "search.float32.onnx").write_bytes(b"none")
    with pytest.raises(MMTError, match=r"search.float32.onnx: damaged"):
        ExportedTranslator.from_dir(folder)


def test_weights_beside_a_graph_are_not_written_twice(exported_text: Path) -> None:
    names = {path.name for path in (exported_text / "graphs").iterdir()}
    assert "decoder.float32.onnx.data" in names
    assert not any(name.startswith("search") for name in names)


def test_a_prompt_of_several_tokens_is_read_whole(graphs: Graphs, batch: SentenceBatch) -> None:
    prompts, limits = [(BOS, 7)] * len(batch.sources), [9] * len(batch.sources)
    found = graphs.begin(batch).search(limits, SearchOptions(3), prompts)
    assert found == search(graphs.begin(batch), limits, SearchOptions(3), prompts)
    assert found != graphs.begin(batch).search(limits, SearchOptions(3), [(BOS,)] * len(batch.sources))
