"""JSON lines -> a prepared dataset: references, images in subfolders, contrastive items."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from data_prep import jsonl
from mmt.data.dataset import read_info, read_split
from mmt.evidence.contrastive import mirrored_pairs, read_contrastive
from mmt.features.images import find_images

Run = Callable[..., tuple[int, str]]
LINES: list[dict[str, Any]] = [
    {"source": "A bat.", "image": "cave/bat.jpg", "references": ["Eine Fledermaus.", "Ein Flattertier."]},
    {"source": "A dog.", "image": None, "reference": "Ein Hund.", "id": 17, "more": [1]},
    {"caption": "A cat.", "image_path": "none.jpg", "target": "Eine\n Katze."},
]
READINGS = [("cave/bat.jpg", "Fledermaus", "Schläger"), ("club.jpg", "Schläger", "Fledermaus")]
ITEMS = [
    {"source": "A bat.", "image": image, "contrastive": {"correct": correct, "incorrect": incorrect}}
    for image, correct, incorrect in READINGS
]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "cave").mkdir(parents=True)
    for name in ("cave/bat.jpg", "club.jpg"):
        Image.new("RGB", (8, 8), "red").save(folder / name)
    return folder


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as stop:
            jsonl.main([str(tmp_path / "out"), *map(str, arguments)], prog_name="jsonl")
        return int(stop.value.code or 0), capsys.readouterr().err

    return run


def _write(path: Path, lines: list[Any]) -> Path:
    text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def test_each_file_is_a_split(tmp_path: Path, photos: Path, run: Run) -> None:
    train, items = _write(tmp_path / "train.jsonl.gz", LINES), _write(tmp_path / "items.jsonl", ITEMS)
    files = ["--data", train, "--data", f"{items}=contrastive", "--source", "en", "--target", "de"]
    status, said = run(*files, "--images", photos)
    assert status == 0, said
    info = read_info(tmp_path / "out")
    assert (list(info.splits), info.name, info.images) == (["train", "contrastive"], "out", str(photos))
    assert (info.source_lang, info.target_lang) == ("en", "de")
    rows = list(read_split(tmp_path / "out", "train"))
    assert [row["id"] for row in rows] == ["train-00000", "17", "train-00002"]
    assert [row["source"] for row in rows] == ["A bat.", "A dog.", "A cat."]
    assert [row["target"] for row in rows] == ["Eine Fledermaus.", "Ein Hund.", "Eine Katze."]
    assert rows[0]["references"] == ["Eine Fledermaus.", "Ein Flattertier."]
    assert "contrast" not in rows[0]
    assert [row["image"] for row in rows] == ["cave/bat.jpg", "", "none.jpg"]
    assert [row["has_image"] for row in rows] == [True, False, False]
    assert "missing, 1 of 3 images: 'none.jpg'" in said
    found = read_contrastive(tmp_path / "out", "contrastive")
    assert [(item.correct, item.incorrect) for item in found] == [
        ("Fledermaus", "Schläger"),
        ("Schläger", "Fledermaus"),
    ]
    assert mirrored_pairs(found) == [(0, 1)]
    assert "references" not in read_split(tmp_path / "out", "contrastive").column_names


def test_images_in_subfolders_of_several_folders(tmp_path: Path, photos: Path, run: Run) -> None:
    (tmp_path / "more" / "cave").mkdir(parents=True)
    Image.new("RGB", (8, 8), "blue").save(tmp_path / "more" / "cave" / "bat.jpg")
    lines = [*LINES, {"source": "A club.", "target": "Ein Schläger.", "image": str(photos / "club.jpg")}]
    folders = ["--images", photos, "--images", tmp_path / "more"]
    status, said = run("--data", _write(tmp_path / "a.jsonl", lines), "--source", "en", "--target", "de", *folders)
    assert status == 0, said
    images = find_images(tmp_path / "out")
    assert list(images) == ["cave/bat.jpg", "club.jpg"]
    assert images["cave/bat.jpg"].resolve() == tmp_path / "more" / "cave" / "bat.jpg"


def test_captions_need_no_translation(tmp_path: Path, run: Run) -> None:
    data = _write(tmp_path / "train.jsonl", [{"source": "A dog."}, {"source": "A cat."}])
    assert run("--data", data, "--source", "en", "--no-images")[0] == 0
    assert list(read_split(tmp_path / "out", "train")["target"]) == ["", ""]
    assert read_info(tmp_path / "out").target_lang == ""
    status, said = run("--data", data, "--source", "en", "--target", "de", "--no-images")
    assert status == 2
    assert "split 'train' line 1: expected a translation, found none" in said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ([1], "line 2: expected an object such as"),
        ({"source": " "}, "line 2: expected a text as source, found ' '"),
        ({"target": "a"}, "line 2: expected a text as source, found None"),
        ({"source": "a", "references": {"de": "b"}}, "line 2: expected references as a list of texts"),
        ({"source": "a", "references": ["b", 3]}, "line 2: expected a text as references, found 3"),
        ({"source": "a", "target": "b", "id": "train-00000"}, "line 2: the id 'train-00000' is line 1's, too"),
        ({"source": "a", "target": "b", "id": None}, "line 2: expected id as a text or a number"),
        ({"source": "a", "target": "b", "image": 7}, "line 2: expected the image's path or null, found 7"),
        ({"source": "a", "target": "b", "image": "../x.jpg"}, "line 2: image id '../x.jpg': expected a file name"),
        ({"source": "a", "target": "b", "image": "/etc/x.jpg"}, "line 2: image id '/etc/x.jpg'"),
        ({"source": "a", "target": "b", "image": "http://a.b/x.jpg"}, "line 2: http://a.b/x.jpg"),
        ({"source": "a", "contrastive": ["b", "c"]}, "line 2: expected contrastive as"),
        ({"source": "a", "contrastive": {"correct": "b"}}, "line 2: expected a text as contrastive.incorrect"),
        (
            {"source": "a", "target": "b", "contrastive": {"correct": "c", "incorrect": "d"}},
            "line 2: the first reference and contrastive.correct differ",
        ),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, photos: Path, run: Run, line: Any, said: str) -> None:
    data = _write(tmp_path / "train.jsonl", [LINES[0], line])
    status, complaint = run("--data", data, "--source", "en", "--target", "de", "--images", photos)
    assert status == 2
    assert f"{data}: {said}" in complaint
    assert not (tmp_path / "out").exists()


def test_options_that_do_not_fit_are_refused(tmp_path: Path, photos: Path, run: Run) -> None:
    data = _write(tmp_path / "train.jsonl", LINES)
    cases: list[tuple[list[object], str]] = [
        ([], "expected --images with the folder of the images"),
        (["--images", photos, "--no-images"], "expected --images with the folder of the images"),
        (["--images", tmp_path / "nope"], "--images: no folder"),
        (["--no-images", "--data", f"{data}=train"], "the split 'train' is named twice"),
        (["--no-images", "--data", f"{data}=a/b"], "letters, digits and '_'"),
        (["--no-images"], "--target: expected the language of the translations, as 'train' has some"),
    ]
    for options, said in cases:
        status, complaint = run("--data", data, "--source", "en", *options)
        assert status == 2
        assert said in complaint
