"""Multi30K's captions -> a dataset for retrieval: every caption keeps its image, and no image is guessed."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from data_prep import captions
from data_prep.captions import SPLITS, prepare
from mmt.data.dataset import image_folder, read_info, read_split
from mmt.errors import MMTError
from mmt.io.text_files import read_lines
from tests.worlds import data_root

LANGUAGES = ("en", "de")
FIVE = (1, 2, 3, 4, 5)
REAL = data_root() / "multi30k"


@pytest.fixture
def multi30k(tmp_path: Path) -> Path:
    """Three images a split, the second of which is missing; a text names its split, line, language and number."""
    folder = tmp_path / "multi30k"
    for name in ("raw", "image_splits", "images", "captions_en"):
        (folder / name).mkdir(parents=True)
    for split, task2 in SPLITS.items():
        (folder / "image_splits" / f"{split}.txt").write_text("".join(f"{split}_{i}.jpg\n" for i in range(3)))
        for language in LANGUAGES:
            _write(folder / "raw" / f"{split}.{language}.gz", [f"{split} {i} {language}" for i in range(3)])
        for k in range(1, 6):
            _write(folder / "captions_en" / f"{task2}.{k}.en.gz", [f"{split} {i} en {k}" for i in range(3)])
        for i in (0, 2):
            (folder / "images" / f"{split}_{i}.jpg").touch()
    return folder


def _write(path: Path, lines: list[str]) -> None:
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))


def test_every_caption_comes_with_its_image(multi30k: Path, tmp_path: Path) -> None:
    """And the captions of a missing image are left out."""
    info = prepare(tmp_path / "out", multi30k, ["en"], descriptions=FIVE)
    assert list(info.splits) == list(SPLITS)
    for split in SPLITS:
        assert list(read_split(tmp_path / "out", split)) == [
            {
                "id": f"{split}_{i}.jpg#{k}",
                "image": f"{split}_{i}.jpg",
                "source": f"{split} {i} en {k + 1}",
                "target": "",
                "has_image": True,
                "lang": "en",
                "caption": k,
            }
            for i in (0, 2)
            for k in range(5)
        ]


def test_each_language_is_a_caption(multi30k: Path, tmp_path: Path) -> None:
    prepare(tmp_path / "out", multi30k, LANGUAGES)
    rows = list(read_split(tmp_path / "out", "val"))
    assert [(row["id"], row["lang"], row["source"]) for row in rows] == [
        (f"val_{i}.jpg#{k}", language, f"val {i} {language}")
        for i in (0, 2)
        for k, language in enumerate(LANGUAGES)
    ]
    assert read_info(tmp_path / "out").source_lang == "mul"


def test_some_descriptions_with_the_images_of_several_folders(multi30k: Path, tmp_path: Path) -> None:
    more = tmp_path / "more"
    more.mkdir()
    (more / "val_1.jpg").touch()
    folders = [argument for folder in (multi30k / "images", more) for argument in ("--images", str(folder))]
    options = ["--multi30k", str(multi30k), "--description", "4", "--description", "2", *folders]
    with pytest.raises(SystemExit) as stop:
        captions.main([str(tmp_path / "out"), *options], prog_name="captions")
    assert stop.value.code == 0
    rows = list(read_split(tmp_path / "out", "val"))
    assert [(row["id"], row["source"]) for row in rows] == [
        (f"val_{i}.jpg#{k}", f"val {i} en {number}") for i in range(3) for k, number in enumerate((2, 4))
    ]
    assert {row["target"] for row in rows} == {""}
    assert (image_folder(tmp_path / "out") / "val_1.jpg").resolve() == more / "val_1.jpg"
    with pytest.raises(SystemExit) as stop:
        captions.main([str(tmp_path / "out"), *options, "--five"], prog_name="captions")
    assert stop.value.code == 2


def test_one_language_is_the_source_language(multi30k: Path, tmp_path: Path) -> None:
    assert prepare(tmp_path / "out", multi30k, ["de"]).source_lang == "de"


def test_the_layout_of_the_repository_gives_the_same(multi30k: Path, tmp_path: Path) -> None:
    first = prepare(tmp_path / "first", multi30k, ["en"], descriptions=FIVE)
    for task in ("task1", "task2"):
        (multi30k / "data" / task).mkdir(parents=True)
    (multi30k / "captions_en").rename(multi30k / "data" / "task2" / "raw")
    for name in ("raw", "image_splits"):
        (multi30k / name).rename(multi30k / "data" / "task1" / name)
    assert prepare(tmp_path / "second", multi30k, ["en"], descriptions=FIVE).splits == first.splits


def test_missing_images_are_counted(multi30k: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        captions.main([str(tmp_path / "out"), "--multi30k", str(multi30k)], prog_name="captions")
    assert stop.value.code == 0
    assert "val: 1 of 3 images missing" in capsys.readouterr().err


def test_descriptions_that_are_not_parallel_are_refused(multi30k: Path, tmp_path: Path) -> None:
    _write(multi30k / "captions_en" / "val.4.en.gz", ["one", "two"])
    with pytest.raises(MMTError, match=r"val\.4\.en\.gz: expected 3 lines.* it has 2"):
        prepare(tmp_path / "out", multi30k, ["en"], descriptions=FIVE)
    _write(multi30k / "captions_en" / "val.4.en.gz", ["one", "", "three"])
    with pytest.raises(MMTError, match=r"val\.4\.en\.gz: .*line 2 is blank"):
        prepare(tmp_path / "out", multi30k, ["en"], descriptions=FIVE)


def test_what_is_not_there_is_named(multi30k: Path, tmp_path: Path) -> None:
    with pytest.raises(MMTError, match=r"no descriptions in 'de'; looked for .*captions_de"):
        prepare(tmp_path / "out", multi30k, ["de"], descriptions=FIVE)
    with pytest.raises(MMTError, match="is named twice"):
        prepare(tmp_path / "out", multi30k, ["en", "en"])
    for i in (0, 2):
        (multi30k / "images" / f"val_{i}.jpg").unlink()
    with pytest.raises(MMTError, match=r"none of the images of 'val' is there: 'val_0\.jpg', "):
        prepare(tmp_path / "out", multi30k, ["en"])


@pytest.mark.skipif(not (REAL / "captions_en").is_dir(), reason="no real captions: MMT_DATA/multi30k/captions_en")
def test_both_tasks_have_their_images_in_the_same_order() -> None:
    """Task 2's first description has more words of task 1's sentence in its own line than in any next one."""
    own, next_line = 0, 0
    one = [set(line.lower().split()) for line in read_lines(REAL / "raw" / "test_2016_flickr.en.gz")]
    two = [set(line.lower().split()) for line in read_lines(REAL / "captions_en" / "test_2016.1.en.gz")]
    for line, words in enumerate(two):
        own += len(words & one[line])
        next_line += len(words & one[(line + 1) % len(one)])
    assert own > 1.5 * next_line
