"""The model that comes with mmt, and ``mmt demo``: in the small install, without torch."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import mmt
from data_prep.pictures.scenes import SIZES, draw_scene, plan
from mmt.cli.main import main
from mmt.errors import MMTError
from mmt.inference.describe import describe
from mmt.inference.named import BUILT_IN, EXAMPLES, examples
from mmt.inference.open import open_translator
from recipes.box import PICTURES
from tests.worlds import without_torch

BOX = EXAMPLES.parent
MEGABYTES = 11
ROWS = examples()

PROGRAM = """
import sys
from mmt.cli.main import main
main(sys.argv[1:])
"""


def test_the_demo_shows_what_pictures_change_and_needs_no_torch(tmp_path: Path) -> None:
    done = without_torch(PROGRAM, "demo", cwd=tmp_path, env=utf8())
    assert done.returncode == 0, done.stderr
    lines = [line.strip("│ ") for line in done.stdout.splitlines()]
    for row in ROWS:
        assert [line for line in lines if line.startswith(row["shows"]) and line.endswith(row["translation"])], row
    assert sum(line.startswith("none") for line in lines) == len(ROWS) // 2
    assert [line for line in done.stdout.splitlines() if len(line) > 80 and str(EXAMPLES) not in line] == []
    assert list(tmp_path.iterdir()) == []


def utf8() -> dict[str, str]:
    import os

    return os.environ | {"PYTHONIOENCODING": "utf-8", "COLUMNS": "80"}


def test_the_examples_are_drawn_and_translated_as_mmt_does(tmp_path: Path) -> None:
    """No photograph is among them, and the files can be translated as the demo says."""
    contrastive = plan(1, {"contrastive": SIZES["contrastive"]})["contrastive"]
    assert len(ROWS) == len(PICTURES)
    for row, (shows, number) in zip(ROWS, PICTURES.items(), strict=True):
        drawn = contrastive[number]
        assert (row["shows"], row["source"], row["translation"]) == (shows, drawn.source, drawn.target)
        found = np.asarray(Image.open(BOX / row["image"]), dtype=float)
        assert np.abs(found - np.asarray(draw_scene(drawn.scene))).mean() < 3  # of 255: a JPEG
    output = tmp_path / "out.txt"
    command = ["translate", "--model", "pictures-en-de", "--input", EXAMPLES, "--output", output]
    result = CliRunner().invoke(main, [str(one) for one in command])
    assert result.exit_code == 0, result.output
    assert output.read_text(encoding="utf-8").splitlines() == [row["translation"] for row in ROWS]


def test_the_box_is_small_and_has_nothing_else() -> None:
    files = {path.relative_to(BOX).as_posix(): path.stat().st_size for path in BOX.rglob("*") if path.is_file()}
    assert sum(files.values()) < MEGABYTES * 1e6
    pictures = {row["image"] for row in ROWS}
    own = {name for name in files if not name.startswith(tuple(f"{name}/" for name in BUILT_IN))}
    assert own == {*pictures, "examples.tsv", "NOTICE.md", "LICENSE-APACHE-2.0.txt"}
    found = describe(Path("pictures-en-de"))
    assert (found["kind"], found["languages"], found["reads image files"]) == ("exported model", "en-de", True)


def test_models_are_opened_by_name() -> None:
    translator = mmt.Translator.from_pretrained("pictures-en-de", threads=1)
    picture = Image.open(io.BytesIO((BOX / ROWS[0]["image"]).read_bytes()))
    assert translator.translate([ROWS[0]["source"]], [picture]) == [ROWS[0]["translation"]]
    with pytest.raises(MMTError, match=r"no model 'pictures-en-fr'; there is pictures-en-de\. Did you mean"):
        mmt.Translator.from_pretrained("pictures-en-fr")


def test_a_folder_comes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures-en-de").mkdir()
    with pytest.raises(MMTError, match=r"no mmt\.json"):
        open_translator("pictures-en-de")
