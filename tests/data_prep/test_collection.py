"""Collections: tars and Parquet become a prepared dataset, row by row, and a dataset becomes these."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep import collection, export
from mmt.data.dataset import DatasetInfo, read_info, read_split, write_dataset
from mmt.errors import MMTError
from mmt.features.extract import extract_features
from mmt.features.images import find_images
from mmt.features.stored_images import find_sources
from tests.features.pictures import make_folder
from tests.features.test_stored_images import parquet_of, tar_of
from tests.features.tiny import tiny_backbone

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "80")

    def run(command: Any, *arguments: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as stop:
            command.main([*map(str, arguments)], prog_name="it")
        said = capsys.readouterr()
        return int(stop.value.code or 0), said.out + said.err

    return run


def prepare(run: Run, out: Path, *data: object, more: tuple[str, ...] = ()) -> tuple[int, str]:
    given = [word for one in data for word in ("--data", one)]
    return run(collection, out, *given, "--source", "en", "--target", "de", *more)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A prepared dataset: images, one of them twice, and rows without."""
    make_folder(tmp_path / "photos" / "sub", 5)
    splits = {}
    for split, num in (("train", 7), ("val", 3)):
        rows = []
        for number in range(num):
            image = f"sub/{min(number, 4):03}.jpg" if number % 3 else ""
            text = {"source": f"A {number} of {split}.", "target": f"Ein {number}, süß."}
            rows.append(
                {"id": f"{number}", "image": image, **text, "has_image": bool(image), "pair": f"p{number}"}
            )
        splits[split] = rows
    write_dataset(tmp_path / "data", DatasetInfo("mine", "en", "de", str(tmp_path / "photos")), splits)
    return tmp_path / "data"


@pytest.mark.parametrize(("kind", "suffix"), [("webdataset", "tar"), ("parquet", "parquet")])
@pytest.mark.parametrize("where", ["{}", "file://{}", "memory:/{}"])
def test_what_is_exported_is_read_again(
    kind: str, suffix: str, where: str, data: Path, run: Run, tmp_path: Path
) -> None:
    shared = where.format(tmp_path / "shared")
    assert run(export, data, shared, "--format", kind)[0] == 0
    code, said = prepare(
        run, tmp_path / "again", f"{shared}/train-*.{suffix}=train", f"{shared}/val-00000.{suffix}"
    )
    assert code == 0, said
    assert read_info(tmp_path / "again").images == ""
    for split in ("train", "val"):
        before, after = read_split(data, split), read_split(tmp_path / "again", split)
        for column in ("source", "target", "has_image"):
            assert list(after[column]) == list(before[column])
        assert list(after["id"]) == [f"{split}-{one}" for one in before["id"]]
        assert list(after["image"]) == [f"{split}-{row['id']}" if row["has_image"] else "" for row in before]
    backbone = tiny_backbone()
    extract_features(find_images(data), backbone, tmp_path / "a", progress=False)
    extract_features(find_sources(shared), backbone, tmp_path / "b", progress=False)
    from mmt.data.feature_store import FeatureStore

    a, b = FeatureStore.open(tmp_path / "a"), FeatureStore.open(tmp_path / "b")
    for split in ("train", "val"):
        for one, other in zip(read_split(data, split), read_split(tmp_path / "again", split), strict=True):
            if one["has_image"]:
                assert (a.get([one["image"]]) == b.get([other["image"]])).all()
    code, said = run(export, data, shared, "--format", kind)
    assert code == 2
    assert "expected a new folder" in said


@pytest.mark.parametrize("kind", ["webdataset", "parquet"])
def test_equal_data_gives_equal_files_of_the_size_asked(kind: str, data: Path, run: Run, tmp_path: Path) -> None:
    for name in ("one", "two"):
        run(export, data, tmp_path / name, "--format", kind)
    one, two = (sorted((tmp_path / name).iterdir()) for name in ("one", "two"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
    run(export, data, tmp_path / "few", "--format", kind, "--shard-megabytes", 0.0015)
    assert len([path for path in (tmp_path / "few").iterdir() if path.name.startswith("train-")]) == 3


def test_datasets_reads_the_parquet_as_images(data: Path, run: Run, tmp_path: Path) -> None:
    from datasets import Dataset

    run(export, data, tmp_path / "shared", "--format", "parquet")
    table = Dataset.from_parquet(
        str(tmp_path / "shared" / "train-00000.parquet"), cache_dir=str(tmp_path / "cache")
    )
    assert table[1]["image"].size == (40, 30)
    assert table[0]["image"] is None


def test_an_image_that_is_gone_is_named(data: Path, run: Run, tmp_path: Path) -> None:
    (tmp_path / "photos/sub/002.jpg").unlink()
    code, said = run(export, data, tmp_path / "shared", "--format", "webdataset")
    assert code == 2
    assert "sub/002.jpg: cannot be read" in said
    assert not (tmp_path / "shared").exists()
    assert run(export, data, tmp_path / "shared", "--format", "parquet", "--no-images")[0] == 0
    assert pq.read_schema(tmp_path / "shared" / "train-00000.parquet").names == ["id", "source", "target", "pair"]


@pytest.mark.parametrize("kind", ["webdataset", "parquet"])
def test_exported_ids_stay_distinct(kind: str, run: Run, tmp_path: Path) -> None:
    ids = ["00000001", "a.b", "5", "train-5", "train_00000001", "ü"]
    splits = {
        split: [{"id": one, "image": "", "source": "A.", "target": "Ein.", "has_image": False} for one in ids]
        for split in ("train", "train_5")
    }
    write_dataset(tmp_path / "data", DatasetInfo("mine", "en", "de", ""), splits)
    assert run(export, tmp_path / "data", tmp_path / "shared", "--format", kind)[0] == 0
    code, said = prepare(run, tmp_path / "again", f"{tmp_path}/shared=train")
    assert code == 0, said
    found = list(read_split(tmp_path / "again", "train")["id"])
    assert found[:4] == ["train-00000001", "train_00000001", "train-5", "train-train-5"]
    assert len({*found}) == 12


@pytest.mark.parametrize("left", ["val-00000.parquet", "x-00007.tar", "collection.json"])
def test_files_of_another_export_in_a_store_are_refused(left: str, data: Path, run: Run, tmp_path: Path) -> None:
    import fsspec

    system, where = fsspec.filesystem("memory"), f"memory:/{tmp_path}/shared"
    system.pipe_file(f"{tmp_path}/shared/{left}", b"x")
    code, said = run(export, data, where, "--format", "webdataset")
    assert (code, said.count("\n")) == (2, 1)
    assert f"expected a new folder, found {left} there" in said
    assert len(system.find(f"{tmp_path}/shared")) == 1


def test_a_dataset_without_an_image_folder_is_exported_as_text(run: Run, tmp_path: Path) -> None:
    tar_of(tmp_path / "a.tar", {"a.txt": b"A.", "a.de.txt": b"Ein.", "a.jpg": b"x"})
    assert prepare(run, tmp_path / "data", f"{tmp_path}/a.tar=train")[0] == 0
    code, said = run(export, tmp_path / "data", tmp_path / "shared", "--format", "parquet")
    assert (code, "its images are not in a folder, but in the tars" in said) == (2, True), said
    assert run(export, tmp_path / "data", tmp_path / "shared", "--format", "parquet", "--no-images")[0] == 0


def test_a_full_disk_leaves_nothing(data: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("mmt.io.webdataset.write_sample", full)
    code, said = run(export, data, tmp_path / "shared", "--format", "webdataset")
    assert (code, "(No space left on device). Free some space" in said) == (2, True), said
    assert not (tmp_path / "shared").exists()


def test_texts_of_a_tar_are_members(run: Run, tmp_path: Path) -> None:
    files = {
        "a.txt": b"A  bat.\n", "a.de.txt": b"Eine\nFledermaus.", "a.jpg": b"...",
        "b.json": b'{"caption": "A dog.", "Translation": "Ein Hund.", "id": 17}',
        "sub/c.en.txt": b"A cat.", "sub/c.de.txt": b"Eine Katze.", "sub/c.cls": b"3",
    }  # fmt: skip
    tar_of(tmp_path / "train-000.tar", files)
    tar_of(tmp_path / "train-001.tar", {"d.txt": b"A", "d.de.txt": b"Ein", "d.webp": b""})
    code, said = prepare(run, tmp_path / "out", tmp_path / "train-{000..001}.tar")
    assert code == 0, said
    assert [
        (row["id"], row["image"], row["source"], row["target"]) for row in read_split(tmp_path / "out", "train")
    ] == [
        ("a", "a", "A bat.", "Eine Fledermaus."),
        ("17", "", "A dog.", "Ein Hund."),
        ("sub/c", "", "A cat.", "Eine Katze."),
        ("d", "d", "A", "Ein"),
    ]
    with pytest.raises(MMTError, match="not in a folder, but in the tars"):
        find_images(tmp_path / "out")


def test_a_column_translation_holds_both(run: Run, tmp_path: Path) -> None:
    pairs = [{"en": "A bat.", "de": "Eine Fledermaus."}, {"en": "A dog.", "de": "Ein Hund."}]
    pq.write_table(pa.table({"translation": pairs, "more": [1, 2]}), tmp_path / "val.parquet")
    assert prepare(run, tmp_path / "out", tmp_path / "val.parquet")[0] == 0
    rows = read_split(tmp_path / "out", "val")
    assert list(rows["id"]) == ["val-00000", "val-00001"]
    assert list(rows["target"]) == ["Eine Fledermaus.", "Ein Hund."]


@pytest.mark.parametrize("kind", ["json", "txt", "columns", "translation"])
def test_codes_of_languages_match_in_any_case(kind: str, run: Run, tmp_path: Path) -> None:
    texts = {"en": "A bat.", "pt-BR": "Um morcego."}
    data = tmp_path / ("a.tar" if kind in ("json", "txt") else "a.parquet")
    if kind == "json":
        tar_of(data, {"1.json": json.dumps(texts).encode()})
    elif kind == "txt":
        tar_of(data, {f"1.{code}.txt": text.encode() for code, text in texts.items()})
    else:
        parquet_of(data, {name: [text] for name, text in texts.items()} if kind == "columns" else {kind: [texts]})
    for code in ("pt-BR", "pt-br"):
        code_, said = run(
            collection, tmp_path / code, "--data", f"{data}=train", "--source", "EN", "--target", code
        )
        assert code_ == 0, said
        assert read_split(tmp_path / code, "train")[0]["target"] == "Um morcego."


def test_an_existing_folder_is_not_split_at_an_equals_sign(run: Run, tmp_path: Path) -> None:
    tar_of(tmp_path / "part=a" / "a.tar", {"a.txt": b"A.", "a.de.txt": b"Ein."})
    for data, split in ((f"{tmp_path}/part=a", "part_a"), (f"{tmp_path}/part=a=val", "val")):
        code, said = prepare(run, tmp_path / split, data)
        assert code == 0, said
        assert list(read_info(tmp_path / split).splits) == [split]


def test_bytes_of_a_fixed_size_are_no_image(run: Run, tmp_path: Path) -> None:
    columns = {"en": ["A."], "de": ["Ein."], "uuid": pa.array([b"x" * 16], pa.binary(16))}
    code, said = prepare(run, tmp_path / "out", parquet_of(tmp_path / "val.parquet", columns))
    assert code == 0, said


def refused(run: Run, tmp_path: Path, *data: object, reason: str) -> None:
    code, said = prepare(run, tmp_path / "out", *data)
    assert code == 2
    assert reason in said.replace("\n", " "), said
    assert not (tmp_path / "out").exists()


def test_bad_collections_are_refused(run: Run, tmp_path: Path) -> None:
    good = {"a.txt": b"A.", "a.de.txt": b"Ein."}
    tar = tar_of(tmp_path / "a.tar", good | {"b.txt": b"B.", "b.jpg": b"x"})
    refused(run, tmp_path, tar, reason="a.tar: sample 'b': has no target")
    code, said = prepare(run, tmp_path / "skip", tar, more=("--incomplete", "skip"))
    assert (code, "left out, 1 incomplete row" in said) == (0, True)
    tar_of(tmp_path / "b.tar", good)
    refused(run, tmp_path, f"{tmp_path}/{{b,b}}*.tar=x", f"{tmp_path}/b.tar=x", reason="is named twice")
    tar_of(tmp_path / "two/1.tar", good)
    tar_of(tmp_path / "two/2.tar", good)
    refused(run, tmp_path, f"{tmp_path}/two=train", reason="split 'train': the id 'a' occurs in rows 1 and 2")
    refused(
        run, tmp_path, tar_of(tmp_path / "c.tar", {"a.txt": b"\xff"}), reason="'a.txt': expected text in UTF-8"
    )
    refused(run, tmp_path, tar_of(tmp_path / "c.tar", {"a.json": b"[1]"}), reason="'a.json': expected an object")
    refused(run, tmp_path, tar_of(tmp_path / "c.tar", {"a.json": b"{"}), reason="'a.json': not JSON")
    refused(
        run, tmp_path, tar_of(tmp_path / "c.tar", {"a.txt": b"A", "a.TXT": b"B"}), reason="'a.txt' occurs twice"
    )
    apart = good | {"b.txt": b"B.", "b.de.txt": b"Zwei.", "a.jpg": b"x"}
    refused(run, tmp_path, tar_of(tmp_path / "d.tar", apart), reason="d.tar: the members of 'a' are not together")
    tar_of(tmp_path / "d.tar", {name: apart[name] for name in ("a.jpg", "b.txt", "a.txt", "a.de.txt", "b.de.txt")})
    code, said = prepare(run, tmp_path / "out", tmp_path / "d.tar", more=("--incomplete", "skip"))
    assert (code, "d.tar: the members of 'a' are not together" in said) == (2, True), said
    refused(run, tmp_path, tar_of(tmp_path / "e.tar", {"../a.jpg": b"x", "../a.txt": b"A", "../a.de.txt": b"E"}),
            reason="expected a name without '..'")  # fmt: skip
    whole = tar.read_bytes()
    tar.write_bytes(whole + whole)
    refused(run, tmp_path, tar, reason="a.tar: other bytes follow the end of the tar")
    tar.write_bytes(whole[:1200])
    refused(run, tmp_path, tar, reason="a.tar: not a tar, or cut off")
    refused(run, tmp_path, tmp_path / "nowhere", reason="no such file or folder")
    refused(run, tmp_path, f"{tmp_path}/*.tar", reason="expected the split's name after it")
    table = tmp_path / "t.parquet"
    pq.write_table(pa.table({"en": ["A"], "fr": ["Un"]}), table)
    refused(run, tmp_path, table, reason="expected a column 'target' or")
    pq.write_table(pa.table({"en": ["A"], "de": ["Ein"], "image": [b"x"]}), table)
    refused(run, tmp_path, table, reason="expected a column of ids")
    for ids, reason in (
        ([1.5], "column 'id': expected texts or integers as ids, found double"),
        ([["a"]], "column 'id': expected texts or integers as ids, found list<"),
        ([b"\xff"], "row 1: column 'id': expected an id in UTF-8"),
    ):
        parquet_of(table, {"en": ["A"], "de": ["Ein"], "id": ids})
        refused(run, tmp_path, table, reason=reason)
    pq.write_table(pa.table({"en": [3], "de": ["Ein"]}), table)
    refused(run, tmp_path, table, reason="row 1: source: expected text, found int '3'")
    table.write_bytes(table.read_bytes()[:-20])
    refused(run, tmp_path, table, reason="t.parquet: not a Parquet file")


def test_a_bucket_holds_what_is_exported(bucket: str, data: Path, run: Run, tmp_path: Path) -> None:
    for kind in ("webdataset", "parquet"):
        shared = f"{bucket}/{kind}"
        assert run(export, data, shared, "--format", kind)[0] == 0
        code, said = prepare(run, tmp_path / kind, f"{shared}/train-*=train", f"{shared}/val-*=val")
        assert code == 0, said
        assert read_info(tmp_path / kind).splits["train"].images_found == 4
        assert run(export, data, shared, "--format", kind)[1].startswith(f"error: {shared}: expected a new folder")
    one, other = (read_info(tmp_path / kind).splits for kind in ("webdataset", "parquet"))
    assert one == other
    code, said = run(export, data, "s3://no-such-bucket/x", "--format", "parquet")
    assert (code, "s3://no-such-bucket/x: " in said, said.count("\n")) == (2, True, 1)


def test_rows_are_written_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dataset is that of the same rows in a list, and no more than a part of them is alive at once."""
    monkeypatch.setattr("mmt.data.row_stream.ROWS", 10)
    alive, most = [0], [0]

    class Text(str):
        def __init__(self, _: str) -> None:
            alive[0] += 1
            most[0] = max(most[0], alive[0])

        def __del__(self) -> None:
            alive[0] -= 1

    def rows() -> Iterator[dict[str, Any]]:
        for number in range(95):
            text = {"source": Text(f"A {number}."), "target": f"Ein {number}."}
            yield {"id": f"{number}", "image": "", **text, "has_image": False}

    info = DatasetInfo("mine", "en", "de", "")
    streamed = write_dataset(tmp_path / "streamed", info, {"train": rows()})
    assert most[0] <= 22
    assert streamed == write_dataset(tmp_path / "listed", info, {"train": list(rows())})
    assert (
        read_split(tmp_path / "streamed", "train").to_list() == read_split(tmp_path / "listed", "train").to_list()
    )
    assert {path.name for path in (tmp_path / "streamed").iterdir()} == {
        "train",
        "dataset.json",
        "dataset_dict.json",
    }
    assert json.loads((tmp_path / "streamed/dataset.json").read_text())["splits"]["train"]["sentences"] == 95
    with pytest.raises(MMTError, match="expected sentences, found none"):
        write_dataset(tmp_path / "none", info, {"train": iter(())})
