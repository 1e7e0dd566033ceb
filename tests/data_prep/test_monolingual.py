"""Multi30K's descriptions as text to translate: nothing of validation and test, and each text once."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from data_prep import monolingual
from data_prep.captions import SPLITS
from data_prep.image_folders import ImageFolders
from data_prep.monolingual import prepare
from mmt.data.dataset import read_info, read_split
from mmt.errors import MMTError
from mmt.io.text_files import read_lines
from mmt.metrics.moses import unescape
from mmt.metrics.translation import tokenize_as_papers
from tests.worlds import data_root

REAL = data_root() / "multi30k"
IMAGES = {"train": ["a", "b", "c"], "val": ["v"], "test_2016_flickr": ["t"]}


def _write(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))


@pytest.fixture
def multi30k(tmp_path: Path) -> Path:
    """Five different descriptions of each of three training images, in capitals and with punctuation."""
    folder = tmp_path / "multi30k"
    (folder / "image_splits").mkdir(parents=True)
    (folder / "images").mkdir()
    (folder / "images" / "b.jpg").touch()
    for split, names in IMAGES.items():
        (folder / "image_splits" / f"{split}.txt").write_text("".join(f"{name}.jpg\n" for name in names))
        _write(folder / "raw" / f"{split}.de.gz", [f"Satz {name} von {split}." for name in names])
        for k in range(1, 6):
            lines = [f"Bild {name}, {k} ({split})" + "." * (k % 2) for name in names]
            _write(folder / "captions_de" / f"{SPLITS[split]}.{k}.de.gz", lines)
    return folder


def _replace(multi30k: Path, number: int, line: int, text: str) -> None:
    path = multi30k / "captions_de" / f"train.{number}.de.gz"
    lines = read_lines(path)
    lines[line] = text
    _write(path, lines)


def test_only_images_leaves_out_what_has_none(multi30k: Path, tmp_path: Path) -> None:
    prepare(tmp_path / "out", multi30k, "de", images=ImageFolders([multi30k / "images"]), only_images=True)
    assert {(row["image"], row["has_image"]) for row in read_split(tmp_path / "out", "train")} == {("b.jpg", True)}
    assert len(read_split(tmp_path / "out", "train")) == 5
    with pytest.raises(MMTError, match="only_images: expected image folders"):
        prepare(tmp_path / "again", multi30k, "de", only_images=True)


def test_each_description_comes_with_its_image(multi30k: Path, tmp_path: Path) -> None:
    prepare(tmp_path / "out", multi30k, "de", images=ImageFolders([multi30k / "images"]))
    info = read_info(tmp_path / "out")
    assert (info.source_lang, info.target_lang, list(info.splits)) == ("de", "", ["train"])
    assert list(read_split(tmp_path / "out", "train")) == [
        {
            "id": f"{name}.jpg#{k}",
            "image": f"{name}.jpg",
            "source": f"Bild {name}, {k} (train)" + "." * (k % 2),
            "target": "",
            "has_image": name == "b",
        }
        for name in "abc"
        for k in range(1, 6)
    ]


def test_text_as_the_papers_have_it(multi30k: Path, tmp_path: Path) -> None:
    prepare(tmp_path / "out", multi30k, "de", descriptions=[1, 2], moses=True, full_stop=True)
    assert list(read_split(tmp_path / "out", "train")["source"])[:2] == [
        "bild a , 1 ( train ) .", "bild a , 2 ( train ) ."
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("satz c von train", "equal to a sentence of task 1"),
        ("SATZ v von val .", "equal to a sentence of task 1"),
        ("satz t von test_2016_flickr!", "equal to a sentence of task 1"),
        ("bild v, 4 ( val ).", "equal to a description of a validation image"),
        ("bild c, 1 (train)", "repeated"),
    ],
)
def test_known_texts_are_left_out_and_counted(
    multi30k: Path, tmp_path: Path, text: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever their case and the punctuation at their end."""
    _replace(multi30k, 5, 2, text)
    info = prepare(tmp_path / "out", multi30k, "de")
    assert info.splits["train"].sentences == 14
    assert text not in list(read_split(tmp_path / "out", "train")["source"])
    assert f"left out: 1 {reason}" in capsys.readouterr().err


def test_images_of_validation_and_test_are_left_out(
    multi30k: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (multi30k / "image_splits" / "train.txt").write_text("a.jpg\nv.jpg\nt.jpg\n")
    prepare(tmp_path / "out", multi30k, "de")
    assert {row["image"] for row in read_split(tmp_path / "out", "train")} == {"a.jpg"}
    assert "left out: 10 whose image belongs to validation or test" in capsys.readouterr().err


def test_what_does_not_fit_is_refused(multi30k: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(tmp_path / "out"), "--multi30k", str(multi30k), "--language", "de"]
    for more, said in [
        (["--no-images", "--images", str(tmp_path)], "--no-images contradicts --images"),
        (["--no-images", "--only-images"], "--no-images contradicts --only-images"),
        (["--images", str(tmp_path / "none")], "--images: no folder"),
        (["--images", str(multi30k / "raw")], "none of the 3 images is there"),
    ]:
        with pytest.raises(SystemExit) as stop:
            monolingual.main([*arguments, *more], prog_name="monolingual")
        assert stop.value.code == 2
        assert said in capsys.readouterr().err
    (multi30k / "captions_de" / "train.3.de.gz").unlink()
    with pytest.raises(MMTError, match=r"train\.3\.de\.gz"):
        prepare(tmp_path / "out", multi30k, "de")


@pytest.mark.skipif(not (REAL / "tok").is_dir(), reason="needs the real Multi30K")
@pytest.mark.parametrize(("language", "least"), [("de", 0.9995), ("en", 1.0)])
def test_moses_writes_the_text_of_the_papers(language: str, least: float) -> None:
    """The share of training sentences that are those of ``tok/``; 28,993 of 29,000 in German, all in English."""
    raw, tok = (read_lines(REAL / kind / f"train.{language}.gz")[:6000] for kind in ("raw", "tok"))
    found = tokenize_as_papers(raw, language)
    assert sum(a == unescape(b) for a, b in zip(found, tok, strict=True)) >= least * len(tok)
