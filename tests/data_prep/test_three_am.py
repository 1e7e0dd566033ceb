"""3AM -> a prepared dataset, in the layout of its repository."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from data_prep import three_am
from mmt.data.dataset import read_info, read_split

ENGLISH = ["A warning sign .", "A man 's red bike.", "Two people."]
CHINESE = ["一个警告牌。", "一个人的红色自行车。", "两个人。"]
IMAGES = ["000000204435.jpg", "cc12m_1287762797.jpg", "sbu_2919668516.jpg"]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    data = tmp_path / "3AM" / "data"
    data.mkdir(parents=True)
    for split in three_am.SPLITS:
        (data / f"{split}.en").write_text("".join(f"{line}\n" for line in ENGLISH))
        (data / f"{split}.zh").write_text("".join(f"{line}\n" for line in CHINESE))
        (data / f"images-{split}.txt").write_text("".join(f"{line}\n" for line in IMAGES))
    (tmp_path / "photos").mkdir()
    for name in IMAGES[:2]:
        Image.new("RGB", (8, 8)).save(tmp_path / "photos" / name)
    return tmp_path / "3AM"


def _run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        three_am.main([*map(str, arguments)], prog_name="three_am")
    return int(stop.value.code or 0)


@pytest.mark.parametrize("source", ["en", "zh"])
def test_every_sentence_has_its_translation_and_image(repository: Path, tmp_path: Path, source: str) -> None:
    photos = tmp_path / "photos"
    assert _run(tmp_path / "out", "--three-am", repository, "--images", photos, "--source", source) == 0
    info = read_info(tmp_path / "out")
    assert (info.name, list(info.splits)) == ("3am", ["train", "val", "test"])
    assert {info.source_lang, info.target_lang} == {"en", "zh"}
    assert info.source_lang == source
    rows = read_split(tmp_path / "out", "val")
    sides = [list(rows["source"]), list(rows["target"])]
    assert sides == ([ENGLISH, CHINESE] if source == "en" else [CHINESE, ENGLISH])
    assert list(rows["image"]) == IMAGES
    assert list(rows["has_image"]) == [True, True, False]


def test_the_folder_data_is_found_and_text_alone_is_taken(repository: Path, tmp_path: Path) -> None:
    assert _run(tmp_path / "out", "--three-am", repository / "data", "--no-images") == 0
    assert read_info(tmp_path / "out").splits["train"].images_found == 0


def test_what_is_missing_is_named(repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(tmp_path / "out", "--three-am", repository) == 2
    assert "expected --images" in capsys.readouterr().err
    assert _run(tmp_path / "out", "--three-am", tmp_path / "nope", "--no-images") == 2
    assert "--three-am: no folder" in capsys.readouterr().err
    (repository / "data" / "val.zh").unlink()
    assert _run(tmp_path / "out", "--three-am", repository, "--no-images") == 2
    assert "no split 'val' with both languages" in capsys.readouterr().err
