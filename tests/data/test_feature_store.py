"""Laws of the feature store."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmt.data.feature_signature import FeatureSignature, JoinedSignature, signature_from
from mmt.data.feature_store import FeatureStore, JoinedStore, open_features
from mmt.errors import MMTError
from mmt.features.writer import FeatureWriter
from mmt.io.terminal import quiet

SIGNATURE = FeatureSignature("efficientnet_lite0", "grid", "resize4-crop4-bicubic-mean0-std1", "ab" * 32, 3, 5)
ODD_IDS = [
    "ein bild.jpg",
    "a/b.png",
    "tab\there",
    "\u2028line",
    "\x0bvt",
    "é",
    "日本.jpg",
    "\udcff.jpg",
    " ",
    "\r",
]


def rows(num: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num, 3, 5)).astype(np.float32)


def write(folder: Path, ids: list[str], features: np.ndarray, dtype: str = "float32") -> FeatureStore:
    with FeatureWriter(folder, SIGNATURE, dtype) as writer:
        writer.append(ids, features)
        return writer.finish()


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_what_goes_in_comes_out(tmp_path: Path, dtype: str) -> None:
    features = rows(len(ODD_IDS))
    write(tmp_path / "s", ODD_IDS, features, dtype)
    store = FeatureStore.open(tmp_path / "s")
    assert (store.ids, len(store), store.dtype, store.signature) == (ODD_IDS, 10, dtype, SIGNATURE)
    order = [7, 0, 7, 3]
    found = store.get([ODD_IDS[i] for i in order])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, features[order].astype(dtype).astype(np.float32))
    assert store.get([]).shape == (0, 3, 5)
    assert "a/b.png" in store
    assert "nobody" not in store
    assert sorted(files(tmp_path / "s")) == ["features.bin", "ids.txt", "meta.json"]


def test_what_get_gives_is_a_copy(tmp_path: Path) -> None:
    store = write(tmp_path / "s", ["a"], rows(1))
    store.get(["a"])[:] = 0
    np.testing.assert_array_equal(store.get(["a"]), rows(1))


def test_missing_id_is_named_with_remedy(tmp_path: Path) -> None:
    with FeatureWriter(tmp_path / "s", SIGNATURE, "float16") as writer:
        writer.append(["a"], rows(1), {"bad": "damaged"})
        store = writer.finish()
    with pytest.raises(MMTError, match=r"no features for image 'b' in .*s \(1 ids\)\. Run mmt features, or set"):
        store.get(["a", "b"])
    with pytest.raises(MMTError, match=r"'bad'.*left out: damaged"):
        store.get(["bad"])


@pytest.mark.parametrize("field", ["backbone", "layer", "transform", "weights", "num_regions", "dim"])
def test_other_signature_is_refused_by_name(tmp_path: Path, field: str) -> None:
    value = 7 if field in ("num_regions", "dim") else "other"
    other = replace(SIGNATURE, **{field: value})
    with pytest.raises(MMTError, match=f"features/x: expected .*They differ in {field} .*{value}") as caught:
        SIGNATURE.check(other, "features/x")
    assert str(SIGNATURE) in str(caught.value)
    assert str(other) in str(caught.value)
    write(tmp_path / "s", ["a"], rows(1))
    before = files(tmp_path / "s")
    with pytest.raises(MMTError, match=field):
        FeatureWriter(tmp_path / "s", other, "float32")
    assert files(tmp_path / "s") == before


def test_equal_signature_passes_and_survives_json() -> None:
    again = FeatureSignature.from_dict(json.loads(json.dumps(SIGNATURE.to_dict())))
    assert again == SIGNATURE
    SIGNATURE.check(again, "x")
    with pytest.raises(MMTError, match="dim"):
        FeatureSignature.from_dict({**SIGNATURE.to_dict(), "dim": "5"})
    with pytest.raises(MMTError, match="nonsense"):
        FeatureSignature.from_dict({**SIGNATURE.to_dict(), "nonsense": 1})


def test_another_precision_is_noted_unless_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    rounded = replace(SIGNATURE, precision="bfloat16")
    with quiet():
        SIGNATURE.check(rounded, "x")
    assert capsys.readouterr().err == ""
    SIGNATURE.check(rounded, "x")
    assert "x: its features are of precision bfloat16" in capsys.readouterr().err


def test_files_have_the_signature_in_float32() -> None:
    rounded = replace(SIGNATURE, precision="bfloat16")
    assert rounded.in_float32() == SIGNATURE.in_float32() == SIGNATURE
    assert JoinedSignature.of([rounded, SIGNATURE]).in_float32() == JoinedSignature.of([SIGNATURE, SIGNATURE])


def test_moved_clip_folder_is_the_same_backbone() -> None:
    here, there = (replace(SIGNATURE, backbone=f"clip:{folder}/tiny") for folder in ("/a", "b/c"))
    here.check(there, "x")
    with pytest.raises(MMTError, match="weights"):
        here.check(replace(there, weights="cd" * 32), "x")
    with pytest.raises(MMTError, match="backbone"):
        here.check(replace(there, backbone="clip:b/c/large"), "x")


def test_other_number_type_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "s", ["a"], rows(1), "float16")
    with pytest.raises(MMTError, match="holds float16, but float32"):
        FeatureWriter(tmp_path / "s", SIGNATURE, "float32")


@pytest.mark.parametrize("torn", [b"", b'{"ids": ["c"', b'{"ids": ["c"]}\n'])
def test_kill_at_any_point_of_a_batch_loses_only_that_batch(tmp_path: Path, torn: bytes) -> None:
    features = rows(4)
    whole = tmp_path / "whole"
    with FeatureWriter(whole, SIGNATURE, "float16") as writer:
        for i in range(4):
            writer.append([f"{i}"], features[i : i + 1], {"bad": "damaged"} if i == 1 else None)
        writer.finish()
    half = tmp_path / "half"
    with FeatureWriter(half, SIGNATURE, "float16") as writer:
        for i in range(2):
            writer.append([f"{i}"], features[i : i + 1], {"bad": "damaged"} if i == 1 else None)
    with open(half / "features.bin", "ab") as file:
        file.write(b"part of a row"[: 0 if torn.endswith(b"\n") else None])
    with open(half / "journal.jsonl", "ab") as file:
        file.write(torn)
    with pytest.raises(MMTError, match=r"half-written.*mmt features"):
        FeatureStore.open(half)
    with FeatureWriter(half, SIGNATURE, "float16") as writer:
        assert (writer.ids, writer.left_out) == (["0", "1"], {"bad": "damaged"})
        for i in (2, 3):
            writer.append([f"{i}"], features[i : i + 1])
        writer.finish()
    assert files(half) == files(whole)


def test_half_written_store_refuses_another_signature(tmp_path: Path) -> None:
    with FeatureWriter(tmp_path / "s", SIGNATURE, "float16") as writer:
        writer.append(["a"], rows(1))
    with pytest.raises(MMTError, match="backbone"):
        FeatureWriter(tmp_path / "s", replace(SIGNATURE, backbone="vgg16"), "float16")
    with pytest.raises(MMTError, match="float32 was requested"):
        FeatureWriter(tmp_path / "s", SIGNATURE, "float32")


def test_adding_leaves_the_store_readable_until_finished(tmp_path: Path) -> None:
    features = rows(3)
    first = write(tmp_path / "s", ["a"], features[:1])
    with FeatureWriter(tmp_path / "s", SIGNATURE, "float32") as writer:
        writer.append(["b"], features[1:2])
        assert FeatureStore.open(tmp_path / "s").ids == ["a"]
    # a kill here: the finished part is still a store, and the rest is not lost
    assert FeatureStore.open(tmp_path / "s").ids == ["a"]
    with FeatureWriter(tmp_path / "s", SIGNATURE, "float32") as writer:
        assert writer.ids == ["a", "b"]
        writer.append(["c"], features[2:])
        store = writer.finish()
    np.testing.assert_array_equal(store.get(["a", "b", "c"]), features)
    np.testing.assert_array_equal(first.get(["a"]), features[:1])


def test_kill_between_description_and_end_loses_nothing(tmp_path: Path) -> None:
    with FeatureWriter(tmp_path / "s", SIGNATURE, "float32") as writer:
        writer.append(["a"], rows(1))
        journal = (tmp_path / "s/journal.jsonl").read_bytes()
        writer.finish()
    (tmp_path / "s/journal.jsonl").write_bytes(journal)  # as if killed before it was removed
    with open(tmp_path / "s/features.bin", "ab") as file:
        file.write(bytes(60))  # and room for the journal's row to be taken twice
    with FeatureWriter(tmp_path / "s", SIGNATURE, "float32") as writer:
        assert writer.ids == ["a"]
        writer.append(["b"], rows(1, 1))
        store = writer.finish()
    np.testing.assert_array_equal(store.get(["a", "b"]), np.concatenate([rows(1), rows(1, 1)]))


def test_kill_between_ids_and_description_loses_nothing(tmp_path: Path) -> None:
    features = rows(2)
    write(tmp_path / "s", ["a"], features[:1])
    meta = (tmp_path / "s/meta.json").read_bytes()
    with FeatureWriter(tmp_path / "s", SIGNATURE, "float32") as writer:
        writer.append(["b"], features[1:])
        journal = (tmp_path / "s/journal.jsonl").read_bytes()
        writer.finish()
    (tmp_path / "s/meta.json").write_bytes(meta)  # as if killed before it was replaced
    (tmp_path / "s/journal.jsonl").write_bytes(journal)
    assert FeatureStore.open(tmp_path / "s").ids == ["a"]
    with FeatureWriter(tmp_path / "s", SIGNATURE, "float32") as writer:
        assert writer.ids == ["a", "b"]
        np.testing.assert_array_equal(writer.finish().get(["a", "b"]), features)


def test_nothing_added_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path / "s", ["a"], rows(1))
    before, stamp = files(tmp_path / "s"), (tmp_path / "s/meta.json").stat().st_mtime_ns
    with FeatureWriter(tmp_path / "s", SIGNATURE, "float32") as writer:
        writer.finish()
    with FeatureWriter(tmp_path / "s", SIGNATURE, "float32"):
        pass
    assert files(tmp_path / "s") == before
    assert (tmp_path / "s/meta.json").stat().st_mtime_ns == stamp


def test_mended_image_is_no_longer_left_out(tmp_path: Path) -> None:
    with FeatureWriter(tmp_path / "s", SIGNATURE, "float32") as writer:
        writer.append(["a"], rows(1), {"b": "damaged", "c": "empty"})
        writer.finish()
    with FeatureWriter(tmp_path / "s", SIGNATURE, "float32") as writer:
        writer.append(["b"], rows(1))
        assert writer.finish().left_out == {"c": "empty"}


def test_second_writer_is_refused(tmp_path: Path) -> None:
    with (
        FeatureWriter(tmp_path / "s", SIGNATURE, "float32"),
        pytest.raises(MMTError, match="another FeatureWriter of this process is writing"),
    ):
        FeatureWriter(tmp_path / "s", SIGNATURE, "float32")


def test_bad_rows_are_refused_by_name(tmp_path: Path) -> None:
    with FeatureWriter(tmp_path / "s", SIGNATURE, "float16") as writer:
        for value in (np.nan, np.inf, 1e6):
            features = rows(2)
            features[1, 2, 3] = value
            with pytest.raises(MMTError, match=r"image 'b'.*float16"):
                writer.append(["a", "b"], features)
        with pytest.raises(MMTError, match=r"image 'a'.*not a number"):
            writer.append(["a"], np.full_like(rows(1), np.nan))
        with pytest.raises(MMTError, match="line breaks"):
            writer.append(["a\nb"], rows(1))
        with pytest.raises(MMTError, match="'a' occurs twice"):
            writer.append(["a", "a"], rows(2))
        with pytest.raises(ValueError, match="shape"):
            writer.append(["a"], rows(2))
        assert len(writer) == 0
        with pytest.raises(MMTError, match="nothing to store"):
            writer.finish()


def test_damaged_stores_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MMTError, match="no such folder"):
        FeatureStore.open(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    for broken in (tmp_path, tmp_path / "file"):
        with pytest.raises(MMTError, match=r"no meta\.json"):
            FeatureStore.open(broken)
    broken_files = (("features.bin", b"short"), ("ids.txt", b"a\n"), ("ids.txt", b"a\na\n"))
    for number, (name, content) in enumerate(broken_files):
        folder = tmp_path / f"store{number}"
        write(folder, ["a", "b"], rows(2))
        (folder / name).write_bytes(content)
        with pytest.raises(MMTError, match=r"expected 2 ids and 120 bytes|ids\.txt: damaged"):
            FeatureStore.open(folder)
    for content in ("", "[]", "{}", '{"format": 2, "dtype": "float16"}'):
        (folder / "meta.json").write_text(content)
        with pytest.raises(MMTError, match="not a feature store's description"):
            FeatureStore.open(folder)
    with pytest.raises(MMTError, match=r"found '.*' in it"):
        FeatureWriter(tmp_path, SIGNATURE, "float16")
    with pytest.raises(MMTError, match="found a file"):
        FeatureWriter(tmp_path / "file", SIGNATURE, "float16")
    with pytest.raises(MMTError, match="dtype must be one of"):
        FeatureWriter(tmp_path / "s", SIGNATURE, "int8")  # type: ignore[arg-type]


def test_opening_a_store_does_not_load_torch() -> None:
    code = "import sys, mmt.data.feature_store; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- several sets side by side ---------------------------------------------------------------------------

WIDE = FeatureSignature("wide", "pool", "none", "w" * 64, 1, 5)
GRID = FeatureSignature("grid", "grid", "none", "g" * 64, 2, 3)


def store(folder: Path, signature: FeatureSignature, ids: list[str], start: float = 1.0) -> Path:
    shape = (len(ids), signature.num_regions, signature.dim)
    with FeatureWriter(folder, signature, "float32") as writer:
        writer.append(ids, np.arange(start, start + np.prod(shape)).reshape(shape), {"broken.jpg": "truncated"})
        writer.finish()
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    return [store(tmp_path / "a", WIDE, ["x", "y", "z"]), store(tmp_path / "b", GRID, ["z", "x"], 100.0)]


def test_sets_are_joined_by_id_and_padded_with_zeros(folders: list[Path]) -> None:
    joined = open_features(folders)
    one, other = (FeatureStore.open(folder) for folder in folders)
    rows = joined.get(["z", "x", "z"])
    assert rows.shape == (3, 3, 5)
    np.testing.assert_array_equal(rows[:, :1], one.get(["z", "x", "z"]))
    np.testing.assert_array_equal(rows[:, 1:, :3], other.get(["z", "x", "z"]))
    assert not rows[:, 1:, 3:].any()


def test_an_image_counts_if_every_set_has_it(folders: list[Path]) -> None:
    joined = open_features(folders)
    assert (len(joined), "x" in joined, "y" in joined) == (2, True, False)
    with pytest.raises(MMTError, match=r"no features for image 'y' in .*/b \(2 ids\)"):
        joined.get(["x", "y"])


def test_one_set_is_the_store_itself(folders: list[Path]) -> None:
    assert type(open_features(folders[:1])) is FeatureStore
    assert JoinedSignature.of([WIDE]) is WIDE


def test_a_joined_signature_survives_json(folders: list[Path]) -> None:
    signature = open_features(folders).signature
    assert (signature.num_regions, signature.dim) == (3, 5)
    assert signature_from(json.loads(json.dumps(signature.to_dict()))) == signature
    assert signature.sets == (WIDE, GRID)
    assert signature_from(json.loads(json.dumps(WIDE.to_dict()))) == WIDE
    assert str(signature) == f"{WIDE} + {GRID}"


def test_other_sets_or_another_order_are_refused(folders: list[Path]) -> None:
    signature = open_features(folders).signature
    signature.check(open_features(folders).signature, "here")
    with pytest.raises(MMTError, match=r"here: expected features made by wide.*found grid"):
        signature.check(open_features(folders[::-1]).signature, "here")
    with pytest.raises(MMTError, match=r"here: expected 2 set\(s\) of features.*found 1"):
        signature.check(WIDE, "here")
    with pytest.raises(MMTError, match=r"here: expected 1 set\(s\) of features.*found 2"):
        WIDE.check(signature, "here")


def test_stores_of_different_images_are_refused(tmp_path: Path) -> None:
    folders = [store(tmp_path / "a", WIDE, ["x"]), store(tmp_path / "b", GRID, ["y"])]
    with pytest.raises(MMTError, match="no image is in all of them"):
        open_features(folders)
    with pytest.raises(MMTError, match="no image is in all of them"):
        JoinedStore([FeatureStore.open(folder) for folder in folders])
