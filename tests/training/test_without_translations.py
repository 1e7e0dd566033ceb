"""Captions with images and without translations: what can be learned from them, and what cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmt.data.dataset import DatasetInfo, read_info, read_split, write_dataset
from mmt.errors import MMTError
from mmt.model.card import read_card
from mmt.training.checkpoints import load_weights
from mmt.training.recipe import train
from tests.worlds import config

MASKED = ("objectives.translation=0", "objectives.masked=1")


@pytest.fixture(params=["", "de"])
def captions(world: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Without a target language, and with one."""
    splits = {
        split: [{**row, "target": ""} for row in read_split(world / "data", split)] for split in ("train", "val")
    }
    images = read_info(world / "data").images
    write_dataset(tmp_path / "captions", DatasetInfo("captions", "en", request.param, images), splits)
    return tmp_path / "captions"


def test_masked_words_are_learned_and_the_last_checkpoint_is_the_model(
    captions: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = (f"data.path={captions}", *MASKED, "regime.patience=null", "regime.num_steps=6", "decoding.export=true")
    model = train(tmp_path / "run", config(world, *more))
    card = read_card(model)
    assert card.training["weights"] == "last checkpoint (step 6)"
    assert "validation_bleu" not in card.training
    assert card.target_lang == read_info(captions).target_lang
    said = capsys.readouterr().err
    assert "without translations, their precisions were not compared" in said
    assert "validation BLEU" not in said
    assert load_weights(tmp_path / "run", 6)


def test_a_translation_model_learns_masked_words_and_remains_one(
    captions: Path, world: Path, tmp_path: Path
) -> None:
    start = train(tmp_path / "start", config(world, "regime.num_steps=3", fusion="none"))
    more = (f"data.path={captions}", f"start.model={start}", *MASKED, "regime.patience=null", "regime.num_steps=3")
    card = read_card(train(tmp_path / "run", config(world, *more)))
    assert (card.source_lang, card.target_lang) == ("en", "de")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            ("regime.patience=null",),
            "'train' has no translations, which objectives.translation and objectives.faithful",
        ),
        (MASKED, r"no validation score can end the training early\. Set regime\.patience: null"),
        ((*MASKED, "regime.patience=null", "decoding.length_penalty=val"), "to choose the length penalty by"),
    ],
)
def test_what_needs_translations_is_refused(
    captions: Path, world: Path, tmp_path: Path, more: tuple[str, ...], said: str
) -> None:
    with pytest.raises(MMTError, match=said):
        train(tmp_path / "run", config(world, f"data.path={captions}", *more))
    assert not (tmp_path / "run" / "run.json").exists()


def test_each_split_counts_for_what_it_is_used_for(captions: Path, world: Path, tmp_path: Path) -> None:
    """The training split for learning translations, the validation split for choosing checkpoints by them."""
    for split, more in (("val", MASKED), ("train", ())):  # that has translations
        rows = {
            name: list(read_split(world / "data" if name == split else captions, name))
            for name in ("train", "val")
        }
        data = tmp_path / split
        write_dataset(data, DatasetInfo("tiny", "en", "de", read_info(world / "data").images), rows)
        settings = config(world, f"data.path={data}", *more, "regime.num_steps=3", "decoding.length_penalty=val")
        if split == "val":
            assert "validation_bleu" in read_card(train(tmp_path / "run", settings)).training
        else:
            with pytest.raises(MMTError, match=r"'val' has no translations, so that no validation score"):
                train(tmp_path / "run2", settings)
