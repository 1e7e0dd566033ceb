"""Training on each family of published models: what is trained changes nothing without an image."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from mmt.inference.beam import beam_search
from mmt.inference.search import SearchOptions
from mmt.model.card import WEIGHTS
from mmt.model.folder import load_model
from mmt.model.pretrained.base import load_base
from mmt.training.config import TrainConfig
from mmt.training.config_file import read_config
from mmt.training.recipe import train
from tests.model.pretrained.checkpoints import Checkpoint, batch_of, m2m100, marian, nllb
from tests.worlds import assert_same_weights, settings, weights

KINDS: dict[str, Callable[[Path], Checkpoint]] = {
    "marian": marian,
    "marian, two vocabularies": partial(marian, two_vocabularies=True),
    "nllb": nllb,
    "m2m100": m2m100,
}
PAIRS = [("A dog sees the cat.", "Hund sieht Katze."), ("A boat finds the ball.", "Boot findet Ball.")]


def on(checkpoint: Checkpoint, world: Path, *more: str) -> TrainConfig:
    """The usual settings, without sizes: those are the base's."""
    plain = [one for one in settings(world) if not one.startswith(("model.", "text."))]
    every = [*plain, "model.fusion=gated", f"model.text={checkpoint.base}", "regime.validate_every=1", *more]
    return read_config(None, [*every, "regime.report_every=1"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_frozen_base_is_as_before_without_an_image(kind: str, world: Path, tmp_path: Path) -> None:
    checkpoint = KINDS[kind](tmp_path / "base")
    train(tmp_path / "run", on(checkpoint, world, "start.freeze_text=true", "regime.num_steps=1"))
    train(tmp_path / "run", on(checkpoint, world, "start.freeze_text=true", "regime.num_steps=2"))
    train(tmp_path / "whole", on(checkpoint, world, "start.freeze_text=true", "regime.num_steps=2"))
    assert_same_weights(weights(tmp_path / "run", 2), weights(tmp_path / "whole", 2))
    assert not [name for name in weights(tmp_path / "run", 2) if name.startswith("text.")]
    assert (tmp_path / "run/model" / WEIGHTS).stat().st_size < 20_000
    taught, tokenizer, card = load_model(tmp_path / "run" / "model")
    alone, same, _ = load_base(checkpoint.base, *checkpoint.languages)
    assert card.text["name"] == checkpoint.base
    batch = batch_of(tokenizer, PAIRS)  # bound to the languages of the data
    assert batch.source.tolist() == batch_of(same, PAIRS).source.tolist()
    assert batch.target.tolist() == batch_of(same, PAIRS).target.tolist()
    with torch.no_grad():
        assert torch.equal(taught.logits(batch), alone.logits(batch))
    found, expected = (beam_search(model, batch, SearchOptions(beam_size=3)) for model in (taught, alone))
    assert found == expected


def test_ids_that_are_no_words_remain_so_when_a_base_is_trained(world: Path, tmp_path: Path) -> None:
    checkpoint = nllb(tmp_path / "base")
    train(tmp_path / "run", on(checkpoint, world, "regime.num_steps=2", "optimizer.lr=0.001"))
    trained, tokenizer, card = load_model(tmp_path / "run" / "model")
    alone, _, _ = load_base(checkpoint.base, *checkpoint.languages)
    assert card.text == {}
    ours, theirs = trained.text.final_proj.bias, alone.text.final_proj.bias
    assert ours is not None
    assert theirs is not None
    assert theirs.isneginf().any()
    assert torch.equal(ours.isneginf(), theirs.isneginf())
    assert not torch.equal(ours, theirs)
    batch = batch_of(tokenizer, PAIRS)
    assert trained.cross_entropy(batch)[1].isfinite()
