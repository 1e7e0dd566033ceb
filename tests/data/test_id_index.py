"""Laws of the id index: it finds what a dictionary finds, holds no id in memory, and never another row."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import mmt.data.id_index
import mmt.features.writer
from mmt.data.feature_signature import FeatureSignature
from mmt.data.feature_store import FeatureStore, open_features
from mmt.data.id_index import IndexedIds, write_id_index
from mmt.errors import MMTError
from mmt.features.writer import FeatureWriter

IDS = [f"{number * 7919 % 1000:03}/ä \u2028 {number}.jpg" for number in range(501)] + ["\udcff.png", "x"]
SIGNATURE = FeatureSignature("tiny", "pool", "none", "ab" * 32, 1, 2)


def indexed(folder: Path, ids: list[str] = IDS) -> IndexedIds:
    folder.mkdir(exist_ok=True)
    (folder / "ids.txt").write_bytes("".join(f"{one}\n" for one in ids).encode("utf-8", "surrogateescape"))
    write_id_index(folder / "ids.txt", folder / "ids.index", ids, len(ids))
    return IndexedIds(folder / "ids.txt", folder / "ids.index")


def store(folder: Path, ids: list[str], seed: int = 0) -> FeatureStore:
    rows = np.random.default_rng(seed).normal(size=(len(ids), 1, 2)).astype(np.float32)
    with FeatureWriter(folder, SIGNATURE, "float32") as writer:
        writer.append([one for one in ids if one not in writer], rows[[one not in writer for one in ids]])
        return writer.finish()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Indices from 100 ids on."""
    monkeypatch.setattr(mmt.features.writer, "INDEXED_FROM", 100)


@pytest.mark.parametrize("num", [1, 2, 503])
def test_it_is_the_sequence_of_the_ids(num: int, tmp_path: Path) -> None:
    ids = indexed(tmp_path, IDS[:num])
    assert list(ids) == IDS[:num] == [ids[row] for row in range(len(ids))] == ids[:]
    assert ids[-1] == IDS[num - 1]
    assert ids.find(IDS[:num]).tolist() == list(range(num))
    with pytest.raises(IndexError):
        ids[num]


def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    ids = indexed(tmp_path)
    assert ids.find(["", "nothing", IDS[3] + " ", IDS[5]]).tolist() == [-1, -1, -1, 5]
    assert "x" in ids
    assert "y" not in ids
    assert 5 not in ids


def test_equal_hashes_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A collision of 64 bits does not happen by itself."""
    monkeypatch.setattr(mmt.data.id_index.hashlib, "blake2b", lambda raw, digest_size: Constant())
    ids = indexed(tmp_path, IDS[:20])
    assert ids.find([*IDS[:20], "nothing"]).tolist() == [*range(20), -1]


class Constant:
    def digest(self) -> bytes:
        return bytes(8)


def test_an_id_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MMTError, match=r"image id 'x' occurs twice"):
        indexed(tmp_path, [*IDS, "x"])
    assert not (tmp_path / "ids.index").exists()


def test_a_store_with_an_index_is_the_store_without(tmp_path: Path, small: None) -> None:
    with_index = store(tmp_path / "with", IDS)
    shutil.copytree(tmp_path / "with", tmp_path / "old")
    (tmp_path / "old" / "ids.index").unlink()
    without = FeatureStore.open(tmp_path / "old")
    assert isinstance(with_index.ids, IndexedIds)
    assert not isinstance(without.ids, IndexedIds)
    assert list(with_index.ids) == list(without.ids)
    wanted = [IDS[7], IDS[500], IDS[7], IDS[-1]]
    assert np.array_equal(with_index.get(wanted), without.get(wanted))
    assert IDS[9] in with_index
    with_index.verify()
    with pytest.raises(MMTError, match="no features for image 'nothing'"):
        with_index.get([IDS[0], "nothing"])
    joined = open_features([tmp_path / "with", tmp_path / "with"])
    assert joined.ids[5] == IDS[5]
    assert joined.get(wanted).shape == (4, 2, 2)


def test_a_store_grows_across_the_first_index(tmp_path: Path, small: None) -> None:
    """A reader that was there before reads what it read."""
    before = store(tmp_path / "store", IDS[:50])
    middle = store(tmp_path / "store", IDS[:200])
    after = store(tmp_path / "store", IDS)
    for one, num in ((before, 50), (middle, 200), (after, 503)):
        assert len(one) == num
        assert np.array_equal(one.get(IDS[:50]), before.get(IDS[:50]))


def test_an_index_of_rows_that_are_being_added_is_left_alone(tmp_path: Path, small: None) -> None:
    store(tmp_path / "store", IDS[:150])
    meta = (tmp_path / "store" / "meta.json").read_bytes()
    store(tmp_path / "store", IDS)
    (tmp_path / "store" / "meta.json").write_bytes(meta)  # as a kill leaves it before the last step
    there = FeatureStore.open(tmp_path / "store")
    assert list(there.ids) == IDS[:150]


@pytest.mark.parametrize("damage", ["cut", "magic", "ids", "hashes"])
def test_damage_is_refused_or_finds_nothing(damage: str, tmp_path: Path, small: None) -> None:
    store(tmp_path / "store", IDS)
    path = tmp_path / "store" / ("ids.txt" if damage == "ids" else "ids.index")
    raw = bytearray(path.read_bytes())
    if damage == "cut":
        raw = raw[:-1]
    elif damage == "hashes":
        raw[64 : 64 + 8 * len(IDS)] = bytes(8 * len(IDS))
    else:
        raw[0] ^= 1
    path.write_bytes(raw)
    if damage != "hashes":
        with pytest.raises(MMTError, match="damaged"):
            FeatureStore.open(tmp_path / "store")
        return
    opened = FeatureStore.open(tmp_path / "store")
    with pytest.raises(MMTError, match="no features for image"):
        opened.get(IDS[:3])
    with pytest.raises(MMTError, match=r"ids\.index: damaged"):
        opened.verify()
