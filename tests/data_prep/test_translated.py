"""A dataset with other targets: captions and what a text model makes of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from data_prep import translated
from data_prep.translated import prepare
from mmt.data.dataset import DatasetInfo, image_folder, read_info, read_split, write_dataset
from mmt.errors import MMTError


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    made = tmp_path / "made"
    made.mkdir()
    Image.new("RGB", (4, 4)).save(made / "0.png")
    rows = [
        {"id": str(n), "image": f"{n}.png", "source": text, "target": "", "has_image": n == 0, "caption": n}
        for n, text in enumerate(["A dog.", "A cat.", "A cow."])
    ]
    info = DatasetInfo("captions", "en", "", "images")
    write_dataset(tmp_path / "captions", info, {"train": rows, "val": rows}, images_from=made)
    return tmp_path / "captions"


def test_captions_get_their_translations_and_keep_all_else(captions: Path, tmp_path: Path) -> None:
    (tmp_path / "a.de").write_text("Ein Hund.\n\nEine Kuh.\n")
    texts = [{"translations": [{"text": text}]} for text in ("Hund", "Katze", "Kuh")]
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(text) + "\n" for text in texts))
    arguments = [tmp_path / "out", captions, "--target", "de"]
    arguments += ["--text", f"train={tmp_path / 'a.de'}", "--text", f"val={tmp_path / 'b.jsonl'}"]
    with pytest.raises(SystemExit) as stop:
        translated.main([*map(str, arguments)], prog_name="translated")
    assert stop.value.code == 0
    info = read_info(tmp_path / "out")
    assert (info.name, info.source_lang, info.target_lang) == ("captions_translated", "en", "de")
    before = list(read_split(captions, "train"))
    assert list(read_split(tmp_path / "out", "train")) == [
        {**before[0], "target": "Ein Hund."}, {**before[2], "target": "Eine Kuh."}
    ]  # fmt: skip
    assert list(read_split(tmp_path / "out", "val")["target"]) == ["Hund", "Katze", "Kuh"]
    assert (image_folder(tmp_path / "out") / "0.png").is_file()


def test_what_does_not_fit_is_refused(captions: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.de"
    short.write_text("Ein Hund.\n")
    with pytest.raises(MMTError, match=r"expected 3 translations.* found 1"):
        prepare(tmp_path / "out", captions, "de", {"train": short})
    with pytest.raises(MMTError, match=r"no split 'trian'\. Did you mean 'train'"):
        prepare(tmp_path / "out", captions, "de", {"trian": short})
    with pytest.raises(MMTError, match="a folder of its own"):
        prepare(captions, captions, "de", {"train": short})
    assert read_info(captions).target_lang == ""
