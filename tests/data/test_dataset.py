"""The prepared dataset: what was written comes back, and a killed write breaks nothing."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from mmt.data.dataset import (
    DatasetInfo,
    first_test_split,
    image_folder,
    open_split,
    read_info,
    read_rows,
    read_split,
    write_dataset,
)
from mmt.data.splits import print_splits
from mmt.errors import MMTError

INFO = DatasetInfo("tiny", "en", "de", "")
INSIDE = DatasetInfo("tiny", "en", "de", "images")


def _rows(number: int = 3, text: str = "a dog", **more: Any) -> list[dict[str, Any]]:
    return [
        {"id": f"train-{i}", "image": f"{i}.png", "source": text, "target": "ein Hund", "has_image": i > 0} | more
        for i in range(number)
    ]


def _draw(folder: Path, content: str = "picture", number: int = 3) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(number):
        (folder / f"{i}.png").write_text(content)


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    rows = _rows(answer="Hund")
    written = write_dataset(tmp_path / "deep" / "data", INFO, {"train": rows, "val": rows[:1]})
    assert read_info(tmp_path / "deep" / "data") == written
    assert list(read_split(tmp_path / "deep" / "data", "train")) == rows
    assert list(read_split(tmp_path / "deep" / "data", "val")) == rows[:1]
    split = written.splits["train"]
    assert (split.sentences, split.images_found, split.images_missing) == (3, 2, 1)


def test_the_whole_folder_is_a_dataset_dict(tmp_path: Path) -> None:
    from datasets import load_from_disk

    write_dataset(tmp_path / "data", INFO, {"train": _rows(), "val": _rows(1)})
    assert {name: len(table) for name, table in load_from_disk(str(tmp_path / "data")).items()} == {
        "train": 3,
        "val": 1,
    }


def test_equal_rows_have_equal_checksums_and_other_rows_others(tmp_path: Path) -> None:
    def checksum(rows: list[dict[str, Any]]) -> str:
        return write_dataset(tmp_path / "data", INFO, {"train": rows}).splits["train"].checksum

    rows = _rows(answer="Hund")
    first = checksum(rows)
    assert checksum([dict(reversed(row.items())) for row in rows]) == first
    changed = [
        rows[::-1],
        rows[:2],
        _rows(answer="Hunde"),
        _rows(text="a cat", answer="Hund"),
        [row | {"has_image": False} for row in rows],
    ]
    assert len({first, *map(checksum, changed)}) == len(changed) + 1


class _KilledError(BaseException):
    """Not an Exception, as a signal is not one."""


def _kill_at(monkeypatch: pytest.MonkeyPatch, step: int) -> list[int]:
    """Stops the writer before its ``step``-th change to the file system; returns the count of changes."""
    steps = [0]

    def watch(where: Any, name: str) -> None:
        real = getattr(where, name)

        def killed(*args: Any, **kwargs: Any) -> Any:
            steps[0] += 1
            if steps[0] == step:
                raise _KilledError
            return real(*args, **kwargs)

        monkeypatch.setattr(where, name, killed)

    watch(Path, "rename")
    watch(Path, "write_text")
    watch(os, "link")
    watch(os, "unlink")  # every file that shutil.rmtree deletes
    watch(shutil, "rmtree")
    watch(shutil, "copytree")
    return steps


def test_killed_at_any_moment_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    seen = set()
    for step in range(1, 200):
        for path in tmp_path.iterdir():
            shutil.rmtree(path)
        _draw(folder / "images")
        old = write_dataset(folder, INSIDE, {"train": _rows(), "val": _rows(1)})
        with pytest.MonkeyPatch.context() as monkeypatch:
            steps = _kill_at(monkeypatch, step)
            with contextlib.suppress(_KilledError):
                write_dataset(folder, INSIDE, {"train": _rows(text="a cat")})
        now = read_info(folder)
        sources = {row["source"] for row in read_split(folder, "train")}
        assert sources == ({"a dog"} if now == old else {"a cat"})
        assert sorted(path.name for path in image_folder(folder).iterdir()) == ["0.png", "1.png", "2.png"]
        seen.add(now == old)
        # and the next run is not in its way
        third = write_dataset(folder, INSIDE, {"train": _rows(text="a cow")})
        assert read_info(folder) == third
        assert len(list(image_folder(folder).iterdir())) == 3
        assert [path.name for path in tmp_path.iterdir()] == ["data"]
        if steps[0] < step:
            break
    else:
        pytest.fail("the writer never came to its end")
    assert seen == {True, False}
    assert step > 10


def test_images_inside_are_kept_even_where_links_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: Any) -> None:
        raise OSError("not on this file system")

    _draw(tmp_path / "data" / "images", number=4)
    monkeypatch.setattr(os, "link", no_links)
    info = write_dataset(tmp_path / "data", INSIDE, {"train": _rows()})
    assert image_folder(tmp_path / "data", info) == tmp_path / "data" / "images"
    assert sorted(path.name for path in image_folder(tmp_path / "data").iterdir()) == [
        f"{i}.png" for i in range(4)
    ]


def test_made_images_replace_those_of_an_older_data_set(tmp_path: Path) -> None:
    folder, made = tmp_path / "data", tmp_path / "made"
    for content, number in (("old", 4), ("new", 3)):
        shutil.rmtree(made, ignore_errors=True)
        _draw(made, content, number)
        write_dataset(folder, INSIDE, {"train": _rows()}, images_from=made)
        assert {path.name: path.read_text() for path in image_folder(folder).iterdir()} == {
            f"{i}.png": content for i in range(number)
        }
    with pytest.raises(MMTError, match="cannot be written"):
        write_dataset(folder, INSIDE, {"train": _rows()}, images_from=tmp_path / "nope")
    with pytest.raises(MMTError, match="made images go inside"):
        write_dataset(folder, INFO, {"train": _rows()}, images_from=made)
    assert len(list(image_folder(folder).iterdir())) == 3


def test_killed_while_images_are_replaced_leaves_no_mixture(tmp_path: Path) -> None:
    folder, made = tmp_path / "data", tmp_path / "made"
    for step in range(1, 200):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(made, ignore_errors=True)
        _draw(made, "a dog")
        write_dataset(folder, INSIDE, {"train": _rows()}, images_from=made)
        shutil.rmtree(made)
        _draw(made, "a cat")
        with pytest.MonkeyPatch.context() as monkeypatch:
            steps = _kill_at(monkeypatch, step)
            with contextlib.suppress(_KilledError):
                write_dataset(folder, INSIDE, {"train": _rows(text="a cat")}, images_from=made)
        pictures = {path.read_text() for path in image_folder(folder).iterdir()}
        assert pictures == {row["source"] for row in read_split(folder, "train")}
        if steps[0] < step:
            return
    pytest.fail("the writer never came to its end")


def test_the_folder_can_be_moved_with_its_images(tmp_path: Path) -> None:
    _draw(tmp_path / "data" / "images")
    write_dataset(tmp_path / "data", INSIDE, {"train": _rows()})
    (tmp_path / "data").rename(tmp_path / "moved")
    assert image_folder(tmp_path / "moved") == tmp_path / "moved" / "images"
    assert image_folder(tmp_path / "moved").is_dir()
    assert image_folder(tmp_path, DatasetInfo("x", "en", "de", "/photos")) == Path("/photos")


@pytest.mark.parametrize("foreign", ["notes.txt", "features", "images"])
@pytest.mark.parametrize("prepared", [False, True])
def test_what_somebody_else_put_there_is_never_deleted(tmp_path: Path, foreign: str, prepared: bool) -> None:
    folder = tmp_path / "data"
    if prepared:
        write_dataset(folder, INFO, {"train": _rows()})
    _draw(folder / foreign)
    before = sorted(folder.rglob("*"))
    with pytest.raises(MMTError, match=f"found '{foreign}' in it"):
        write_dataset(folder, INFO, {"val": _rows()})
    assert sorted(folder.rglob("*")) == before


def test_a_linked_folder_is_written_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    for text in ("a dog", "a cat"):
        write_dataset(tmp_path / "data", INFO, {"train": _rows(text=text)})
        assert read_split(tmp_path / "disk", "train")["source"][0] == text
    assert (tmp_path / "data").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "disk"]


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("mine")
    with pytest.raises(MMTError, match="found 'data'"):
        write_dataset(tmp_path / "data", INFO, {"train": _rows()})
    with pytest.raises(MMTError, match="cannot be made a folder"):
        write_dataset(tmp_path / "data" / "below", INFO, {"train": _rows()})
    assert (tmp_path / "data").read_text() == "mine"


@pytest.mark.parametrize("images", ["a/images", "..", "train", "dataset.json", "../images"])
def test_an_image_folder_inside_has_a_name_of_its_own(tmp_path: Path, images: str) -> None:
    with pytest.raises(MMTError, match="one folder name"):
        write_dataset(tmp_path / "data", DatasetInfo("x", "en", "de", images), {"train": _rows()})


def test_bad_rows_are_refused(tmp_path: Path) -> None:
    rows = _rows()
    without: list[dict[str, Any]] = [{key: value for key, value in row.items() if key != "target"} for row in rows]
    cases: list[tuple[dict[str, list[dict[str, Any]]], str]] = [
        ({}, "at least one split"),
        ({"train": []}, "found none"),
        ({"train": without}, "row 1: no column 'target'"),
        ({"train": [rows[0], rows[1], rows[0]]}, "'train-0' occurs in rows 1 and 3"),
        ({"train": [rows[0], rows[1] | {"answer": "Hund"}]}, "row 2: a column 'answer'"),
        ({"train": [rows[0] | {"answer": "Hund"}, rows[1]]}, "row 2: no column 'answer'"),
    ]
    for splits, said in cases:
        with pytest.raises(MMTError, match=said):
            write_dataset(tmp_path / "data", INFO, splits)
    assert not (tmp_path / "data").exists()


def test_unreadable_data_sets_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with pytest.raises(MMTError, match="expected a prepared dataset"):
        read_info(folder)
    write_dataset(folder, INFO, {"train": _rows()})
    with pytest.raises(MMTError, match="Did you mean 'train'"):
        read_split(folder, "trian")
    with pytest.raises(MMTError, match="expected a prepared dataset"):
        read_info(folder / "dataset.json")
    for arrow in (folder / "train").glob("*.arrow"):
        arrow.write_bytes(b"nothing")
    with pytest.raises(MMTError, match="Prepare the data again"):
        read_split(folder, "train")
    for broken in ("{", "[]", json.dumps({"name": "x", "splits": {}}), '{"splits": {"a": {}}}'):
        (folder / "dataset.json").write_text(broken)
        with pytest.raises(MMTError, match="not a dataset description"):
            read_info(folder)


def test_the_table_has_every_count_in_eighty_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    info = write_dataset(tmp_path / "data", INFO, {"test_2017_mscoco": _rows(1234)})
    print_splits(info)
    out = capsys.readouterr().out
    for expected in ("test_2017_mscoco", "1,234", "1,233", "en-de", info.splits["test_2017_mscoco"].checksum[:12]):
        assert expected in out
    assert max(map(len, out.splitlines())) <= 80


def test_the_first_test_split_is_the_default(tmp_path: Path) -> None:
    rows = [{"id": "1", "image": "", "source": "a", "target": "b", "has_image": False}]
    info = DatasetInfo("tiny", "en", "de", "")
    write_dataset(tmp_path / "data", info, {"train": rows, "test_2016": rows, "test_2017": rows})
    assert first_test_split(tmp_path / "data") == "test_2016"
    write_dataset(tmp_path / "none", info, {"train": rows})
    with pytest.raises(MMTError, match="no split begins with 'test'; it has train"):
        first_test_split(tmp_path / "none")


# --- rows read as needed ----------------------------------------------------------------------------------


def test_rows_are_those_of_the_split(world: Path) -> None:
    whole = read_split(world / "data", "train")
    rows = open_split(world / "data", "train")
    found = read_rows(rows, ("source", "image"), 7, 19)
    assert found == {name: list(whole[name])[7:19] for name in ("source", "image")}


@pytest.mark.parametrize(("name", "value"), [("target", None), ("source", 3), ("has_image", "yes")])
def test_a_value_of_another_kind_is_named(name: str, value: object) -> None:
    from datasets import Dataset

    row = {"image": "", "source": "a", "target": "b", "has_image": False}
    columns = {key: [row[key]] * 3 for key in row} | {name: [value] * 3}
    if value is None:
        columns[name] = ["b", "b", None]
    with pytest.raises(MMTError, match=rf"row 1[23]: expected a \w+ as '{name}', found {value!r}"):
        read_rows(
            Dataset.from_dict({key: [columns[key][0]] * 11 + values[-2:] for key, values in columns.items()}),
            list(row),
            11,
            13,
        )


def test_damaged_rows_are_refused(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world / "data", tmp_path / "data")
    info = json.loads((tmp_path / "data" / "dataset.json").read_text())
    info["splits"]["train"]["sentences"] += 1
    (tmp_path / "data" / "dataset.json").write_text(json.dumps(info))
    with pytest.raises(MMTError, match=r"train: damaged .* not as many rows"):
        open_split(tmp_path / "data", "train")
