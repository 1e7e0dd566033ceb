"""Data for the classic classifier: sentences that match their image or not, and topics of the pictures."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from data_prep.classes import main, match, topic, topics
from data_prep.pictures.scenes import DRAWINGS
from mmt.data.dataset import read_info, read_split
from mmt.errors import MMTError


def test_every_sentence_and_every_image_stands_once_in_each_class(world: Path, tmp_path: Path) -> None:
    match(world / "data", tmp_path / "match", seed=1)
    for split, size in (("train", 30), ("val", 5), ("test", 4)):  # every second sentence has an image
        rows = list(read_split(tmp_path / "match", split))
        own = {row["id"]: row["image"] for row in read_split(world / "data", split)}
        assert Counter(row["label"] for row in rows) == {"match": size, "mismatch": size}
        for label in ("match", "mismatch"):
            named = [row for row in rows if row["label"] == label]
            assert len({row["image"] for row in named}) == size
            assert all((own[row["id"][:-1]] == row["image"]) == (label == "match") for row in named)


def test_the_seed_decides_which_image_does_not_match(world: Path, tmp_path: Path) -> None:
    infos = [match(world / "data", tmp_path / name, seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))]
    sums = [info.splits["train"].checksum for info in infos]
    assert sums[0] == sums[1] != sums[2]


def test_topics_are_of_the_drawing(tmp_path: Path) -> None:
    info = topics(tmp_path / "topics", 1, {"train": 40, "val": 16, "test": 16})
    assert {name: split.sentences for name, split in info.splits.items()} == {"train": 40, "val": 16, "test": 16}
    rows = list(read_split(tmp_path / "topics", "train"))
    assert set(Counter(row["label"] for row in rows)) == {"living", "places", "things"}
    assert all((tmp_path / "topics" / "images" / row["image"]).is_file() for row in rows)
    assert not list(tmp_path.glob("*.drawing"))


def test_every_drawing_has_a_topic_of_its_own() -> None:
    from data_prep import classes

    assert {*classes.LIVING, *classes.PLACES} <= set(DRAWINGS)
    assert not set(classes.LIVING) & set(classes.PLACES)
    assert topic("bat") == "living" != topic("bat_club")  # the same English word


def test_a_folder_of_something_else_is_refused(world: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("x")
    with pytest.raises(MMTError, match="something else"):
        topics(tmp_path / "mine", 1, {"train": 16, "val": 16, "test": 16})
    result = CliRunner().invoke(main, ["match", str(tmp_path / "out"), "--data", str(tmp_path)])
    assert result.exit_code == 2
    assert "dataset.json" in result.output
    assert read_info(world / "data").name == "tiny"
