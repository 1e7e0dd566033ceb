"""Laws of the index: what is nearest is found, in order, and never with another model's vectors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import mmt.inference.compressed
import mmt.inference.index
from mmt.data.tokenizer import TOKENIZER
from mmt.errors import MMTError
from mmt.inference.index import check_place, model_checksum, open_index, write_index
from mmt.model.card import WEIGHTS


def unit(num: int, dim: int = 12, seed: int = 0) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).normal(size=(num, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The two files of a model folder that a checksum is made of."""
    (tmp_path / "model").mkdir()
    for name in (WEIGHTS, TOKENIZER):
        (tmp_path / "model" / name).write_bytes(name.encode())
    return tmp_path / "model"


def test_exact_search_gives_what_sorting_all_cosines_gives(model: Path, tmp_path: Path) -> None:
    vectors, queries = unit(300), unit(20, seed=1)
    items = [f"{n}.jpg" for n in range(300)]
    index = write_index(tmp_path / "index", "images", items, vectors, model, "photos")
    rows, cosines = index.search(queries, 7)
    everything = queries @ vectors.T
    assert np.array_equal(rows, np.argsort(-everything, axis=1)[:, :7])
    assert np.allclose(cosines, -np.sort(-everything, axis=1)[:, :7], atol=1e-6)
    assert (index.kind, index.items, index.images, index.method) == ("images", items, "photos", "exact search")


def test_equals_come_in_the_order_of_the_index(model: Path, tmp_path: Path) -> None:
    vectors = np.tile(unit(1), (9, 1))
    index = write_index(tmp_path / "index", "sentences", list("abcdefghi"), vectors, model)
    assert index.search(vectors[:1], 9)[0].tolist() == [list(range(9))]


def test_an_index_reads_back_as_it_was_written_even_moved(model: Path, tmp_path: Path) -> None:
    items = ["a\nb", "ä\u2028", "\ud800"]
    written = write_index(tmp_path / "index", "sentences", items, unit(3), model)
    (tmp_path / "index").rename(tmp_path / "moved")
    model.rename(tmp_path / "model2")
    read = open_index(tmp_path / "moved", tmp_path / "model2")
    assert (read.kind, read.items) == (written.kind, items)
    assert np.array_equal(read.search(unit(2, seed=1), 3)[1], written.search(unit(2, seed=1), 3)[1])


def test_more_are_asked_for_than_there_are(model: Path, tmp_path: Path) -> None:
    index = write_index(tmp_path / "index", "sentences", ["a", "b"], unit(2), model)
    assert index.search(unit(1), 10)[0].shape == (1, 2)


def test_a_large_index_finds_nearly_all_of_the_nearest(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, queries = unit(2000), unit(50, seed=1)
    items = [str(n) for n in range(2000)]
    exact = write_index(tmp_path / "exact", "images", items, vectors, model).search(queries, 10)[0]
    monkeypatch.setattr(mmt.inference.index, "EXACT_BELOW", 2000)
    write_index(tmp_path / "large", "images", items, vectors, model)
    large = open_index(tmp_path / "large", model)
    assert large.method == "approximate search by HNSW"
    rows, cosines = large.search(queries, 10)
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact, rows, strict=True)]) > 0.98
    assert np.allclose(cosines, np.take_along_axis(queries @ vectors.T, rows, 1), atol=1e-6)


@pytest.fixture
def compressed(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index of 3,000 vectors, built in blocks."""
    for name in ("EXACT_BELOW", "COMPRESSED_FROM"):
        monkeypatch.setattr(mmt.inference.index, name, 3000)
    monkeypatch.setattr(mmt.inference.compressed, "BLOCK", 700)
    vectors = unit(3000)
    blocks = (vectors[first : first + 1100] for first in range(0, 3000, 1100))
    write_index(tmp_path / "compressed", "images", [str(n) for n in range(3000)], blocks, model)
    return tmp_path / "compressed"


def test_a_compressed_index_finds_most_of_the_nearest_with_their_exact_cosines(
    compressed: Path, model: Path
) -> None:
    vectors, queries = unit(3000), unit(50, seed=1)
    index = open_index(compressed, model)
    assert "IVF-PQ" in index.method
    assert np.array_equal(np.load(compressed / "vectors.npy"), vectors)
    rows, cosines = index.search(queries, 10)
    exact = np.argsort(-(queries @ vectors.T), axis=1)[:, :10]
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact, rows, strict=True)]) > 0.95
    assert np.allclose(cosines, np.take_along_axis(queries @ vectors.T, rows, 1), atol=1e-6)
    assert (np.diff(cosines, axis=1) <= 0).all()


def test_a_compressed_index_takes_its_lists_from_the_disk(compressed: Path, model: Path) -> None:
    """The file stays mapped, so that its lists are not in memory."""
    index = open_index(compressed, model)
    assert str(compressed / "search.faiss") in Path("/proc/self/maps").read_text()
    assert index.size == "3,000 images"


def test_a_compressed_index_of_other_vectors_is_refused(compressed: Path, model: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    write_index(other, "images", [str(n) for n in range(3100)], unit(3100), model)
    info = json.loads((compressed / "index.json").read_text())
    info["sha256"]["search.faiss"] = json.loads((other / "index.json").read_text())["sha256"]["search.faiss"]
    (compressed / "index.json").write_text(json.dumps(info))
    (compressed / "search.faiss").write_bytes((other / "search.faiss").read_bytes())
    with pytest.raises(MMTError, match=r"search\.faiss is of another index"):
        open_index(compressed, model)
    (compressed / "search.faiss").write_bytes(b"no index")
    with pytest.raises(MMTError, match=r"the checksum of search\.faiss is another"):
        open_index(compressed, model)


def test_blocks_that_are_not_the_items_are_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(MMTError, match="a vector for each item, found 3 and 4"):
        write_index(tmp_path / "index", "sentences", ["a", "b", "c"], iter([unit(2), unit(2)]), model)
    assert not (tmp_path / "index").exists()


def test_another_models_index_is_refused(model: Path, tmp_path: Path) -> None:
    write_index(tmp_path / "index", "images", ["a"], unit(1), model)
    other = tmp_path / "other"
    other.mkdir()
    for name in (WEIGHTS, TOKENIZER):
        (other / name).write_bytes((model / name).read_bytes())
    assert open_index(tmp_path / "index", other).items == ["a"]  # the same model elsewhere
    for name in (WEIGHTS, TOKENIZER):
        before = model_checksum(other)
        (other / name).write_bytes(b"changed")
        assert model_checksum(other) != before
        with pytest.raises(MMTError, match=r"another model made this index, .*model"):
            open_index(tmp_path / "index", other)


def test_a_folder_with_something_else_is_left_as_it_is(model: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("mine")
    with pytest.raises(MMTError, match="something else"):
        write_index(tmp_path / "mine", "images", ["a"], unit(1), model)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]
    (tmp_path / "empty").mkdir()
    check_place(tmp_path / "empty")


def test_an_older_index_is_replaced_whole(model: Path, tmp_path: Path) -> None:
    write_index(tmp_path / "index", "images", ["a", "b"], unit(2), model)
    write_index(tmp_path / "index", "sentences", ["c"], unit(1), model)
    assert open_index(tmp_path / "index", model).items == ["c"]
    assert {path.name for path in tmp_path.iterdir()} == {"index", "model"}


def test_what_cannot_be_opened_says_why(model: Path, tmp_path: Path) -> None:
    write_index(tmp_path / "photos", "images", ["a", "b"], unit(2), model)
    with pytest.raises(MMTError, match=r"no index there\. Did you mean 'photos'\?"):
        open_index(tmp_path / "fotos", model)
    (tmp_path / "photos" / "items.json").write_text(json.dumps(["a"]))
    with pytest.raises(MMTError, match=r"damaged \(the checksum of items\.json"):
        open_index(tmp_path / "photos", model)
    (tmp_path / "photos" / "items.json").write_text(json.dumps(["a", "b"]))
    (tmp_path / "photos" / "vectors.npy").unlink()
    with pytest.raises(MMTError, match=r"no vectors\.npy\. Build the index again"):
        open_index(tmp_path / "photos", model)
    (tmp_path / "photos" / "index.json").write_text("{")
    with pytest.raises(MMTError, match="damaged"):
        open_index(tmp_path / "photos", model)


def test_vectors_that_do_not_fit_are_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(MMTError, match="a vector for each item, found 0 and 0"):
        write_index(tmp_path / "index", "images", [], unit(1)[:0], model)
    with pytest.raises(MMTError, match="not finite"):
        write_index(tmp_path / "index", "images", ["a"], np.full((1, 4), np.nan, np.float32), model)
    index = write_index(tmp_path / "index", "images", ["a"], unit(1), model)
    with pytest.raises(MMTError, match="vectors of 12 numbers, the query of 5"):
        index.search(unit(1, 5), 1)
