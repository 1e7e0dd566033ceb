"""Laws of the model folder: those of every format are read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mmt.data.batch import Example, collate
from mmt.errors import MMTError
from mmt.inference.beam import beam_search
from mmt.inference.search import SearchOptions
from mmt.model.card import CARD, WEIGHTS, read_card
from mmt.model.folder import load_model, save_model
from mmt.model.weights import renamed

FOLDERS = Path(__file__).with_name("folders")
EXPECTED = json.loads((FOLDERS / "expected.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", EXPECTED)
def test_a_folder_of_every_format_translates_as_it_did(name: str) -> None:
    """Version 0.1 wrote format 2 and these results. Format 1 it could only read: its folder was made of one of
    format 2, with one width of features in the card, no number in the projection's name, and no checksums."""
    assert json.loads((FOLDERS / name / CARD).read_text(encoding="utf-8"))["format"] == int(name[-1])
    model, _, card = load_model(FOLDERS / name)
    assert card.format == 4
    assert card.features is not None
    batch = collate([Example([5, 6, 7], [8, 9]), Example([310, 311], [12, 13, 14, 15]), Example([16], [17])])
    batch.add_images([0, 1], np.linspace(-1, 1, 24, dtype=np.float32).reshape(2, 2, 6))
    with torch.no_grad():
        assert model.cross_entropy(batch)[1].item() == pytest.approx(EXPECTED[name]["nll"], rel=1e-5)
    best = [
        hypotheses[0].ids
        for hypotheses in beam_search(model, batch, SearchOptions(beam_size=2), max_length=(1.0, 4))
    ]
    assert best == EXPECTED[name]["ids"]


@pytest.mark.parametrize("name", EXPECTED)
def test_a_folder_that_is_saved_again_has_the_names_of_today(name: str, tmp_path: Path) -> None:
    model, tokenizer, card = load_model(FOLDERS / name)
    save_model(tmp_path / "model", model.state_dict(), tokenizer.path, card)
    again, _, read = load_model(tmp_path / "model")
    assert read.config == read_card(FOLDERS / name).config
    saved = load_file(tmp_path / "model" / WEIGHTS)
    assert renamed(saved).keys() == saved.keys()
    assert set(saved) | {"text.final_proj.weight"} == set(again.state_dict())
    assert all(torch.equal(weight, again.state_dict()[name]) for name, weight in model.state_dict().items())


def test_a_format_that_is_not_known_is_refused(tmp_path: Path) -> None:
    shutil.copytree(FOLDERS / "format_2", tmp_path / "model")
    card = json.loads((tmp_path / "model" / CARD).read_text(encoding="utf-8"))
    (tmp_path / "model" / CARD).write_text(json.dumps(card | {"format": 5}), encoding="utf-8")
    with pytest.raises(MMTError, match="expected format 4, found 5"):
        load_model(tmp_path / "model")
