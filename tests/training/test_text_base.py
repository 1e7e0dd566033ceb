"""Laws of training on a base: its weights stay where they are, and what is trained is all that is saved."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from fairseq2.gang import create_fake_gangs
from huggingface_hub.utils import reset_sessions
from safetensors.torch import load_file, save_file
from torch import Tensor

from mmt.data.batch import Example, collate
from mmt.data.feature_store import FeatureStore
from mmt.data.vocabulary import VOCABULARY, pieces_of_file
from mmt.errors import MMTError
from mmt.inference.beam import beam_search
from mmt.inference.onnx_export import export_model
from mmt.inference.onnx_runtime import ExportedTranslator
from mmt.inference.search import SearchOptions
from mmt.inference.torch_runtime import Translator
from mmt.io.hub import hub_model
from mmt.model.card import CARD, WEIGHTS, read_card
from mmt.model.folder import load_model
from mmt.model.frozen import freeze_text
from mmt.model.model import MMTModel
from mmt.model.pretrained.base import open_base
from mmt.model.pretrained.find import find_base
from mmt.model.stepping import StepDecoder
from mmt.training.checkpoints import checkpoint_steps
from mmt.training.config_file import dump_config, read_config
from mmt.training.recipe import train
from mmt.training.run import Run
from tests.hub_server import HubServer
from tests.worlds import STILL, assert_same_weights, base_folder, config, settings, weights

SENTENCES = ["A dog sees the cat.", "A boat finds the ball."]


@pytest.fixture(scope="module")
def base(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return base_folder(tmp_path_factory.mktemp("bases") / "base", world)


def on(base: Path, *more: str) -> tuple[str, ...]:
    return (f"model.text=mmt:{base}", "start.freeze_text=true", *more)


@pytest.fixture(scope="module")
def run(base: Path, world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve updates of a gated fusion on a frozen base."""
    output = tmp_path_factory.mktemp("runs") / "run"
    train(output, config(world, *on(base)))
    return output


def text_of(model: MMTModel) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in model.named_parameters() if model.is_of_text(name)}


def test_only_what_is_trained_is_saved(run: Path, base: Path) -> None:
    saved = load_file(run / "model" / WEIGHTS)
    assert saved
    assert not [name for name in saved if name.startswith("text.")]  # of gated fusion, nothing is in the layers
    for step in checkpoint_steps(run):
        assert weights(run, step).keys() == saved.keys()
    model, _, card = load_model(run / "model")
    frozen, _, _ = load_model(base)
    assert card.text["name"] == f"mmt:{base}"
    assert_same_weights(text_of(model), text_of(frozen))
    assert saved.keys() == model.state_dict().keys()
    assert_same_weights(saved, dict(model.state_dict()))


def test_a_sentence_without_an_image_is_translated_as_the_base_does(run: Path, base: Path, world: Path) -> None:
    (taught, tokenizer, _), (alone, _, _) = load_model(run / "model"), load_model(base)
    batch = collate([Example(tokenizer.encode(line), []) for line in SENTENCES])
    expected = beam_search(alone, batch, SearchOptions(beam_size=3))
    assert beam_search(taught, batch, SearchOptions(beam_size=3)) == expected
    batch.add_images([0], FeatureStore.open(world / "features").get(["train-0.png"]))
    found = beam_search(taught, batch, SearchOptions(beam_size=3))
    assert found[0] != expected[0]
    assert [one.ids for one in found[1]] == [one.ids for one in expected[1]]


def test_a_run_resumes_exactly(run: Path, base: Path, world: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    train(output, config(world, *on(base, "regime.num_steps=6")))
    train(output, config(world, *on(base)))
    assert_same_weights(weights(output, 12), weights(run, 12))
    assert (output / "model" / WEIGHTS).read_bytes() == (run / "model" / WEIGHTS).read_bytes()


def test_gradient_checkpointing_changes_no_weight(run: Path, base: Path, world: Path, tmp_path: Path) -> None:
    """Dropout included: of the fusion, and of a text model that is trained."""
    output = tmp_path / "run"
    layerwise = "stack.trainer.activation_checkpointing={mode: layerwise}"
    train(output, config(world, *on(base, layerwise)))
    assert_same_weights(weights(output, 12), weights(run, 12))
    some = (f"model.text=mmt:{base}", "regime.num_steps=3")
    train(tmp_path / "all", config(world, *some))
    train(tmp_path / "again", config(world, *some, layerwise))
    assert_same_weights(weights(tmp_path / "again", 3), weights(tmp_path / "all", 3))


def test_a_fine_tuned_base_is_saved_whole(base: Path, world: Path, tmp_path: Path) -> None:
    own = tmp_path / "base"
    shutil.copytree(base, own)
    (tmp_path / "de.txt").write_text("Ein Hund sieht das Boot.\n", encoding="utf-8")
    more = ("regime.num_steps=3", f"decoding.vocabulary={tmp_path / 'de.txt'}")
    train(tmp_path / "run", config(world, f"model.text=mmt:{own}", *more, fusion="none"))
    shutil.rmtree(own)
    model, _, card = load_model(tmp_path / "run" / "model")
    assert card.text == {}
    assert card.training["text"]["frozen"] is False
    before = text_of(load_model(base)[0])
    changed = [name for name, weight in text_of(model).items() if not torch.equal(weight, before[name])]
    assert "text.encoder.layers.0.ffn.inner_proj.weight" in changed
    assert all(torch.allclose(weight, before[name], atol=0.2) for name, weight in text_of(model).items())
    translator = Translator.from_dir(tmp_path / "run" / "model")
    ids = pieces_of_file(tmp_path / "de.txt", translator.tokenizer)
    assert translator.decoder.vocabulary is not None
    assert translator.decoder.vocabulary.tolist() == ids.tolist()
    damaged = tmp_path / "run" / "model" / VOCABULARY
    np.save(damaged, ids[::-1])
    with pytest.raises(MMTError, match="checksum is another"):
        Translator.from_dir(tmp_path / "run" / "model")


def test_an_exported_model_needs_no_base_and_can_write_with_a_part_of_the_vocabulary(
    run: Path, base: Path, world: Path, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    (tmp_path / "de.txt").write_text("Ein Hund sieht das Boot.\n", encoding="utf-8")
    export_model(run / "model", tmp_path / "onnx", ["float32"], text=tmp_path / "de.txt", backbone=None)
    assert "text" not in json.loads((tmp_path / "onnx" / CARD).read_text())
    images = ["train-0.png", None]
    exported = ExportedTranslator.from_dir(tmp_path / "onnx", world / "features")
    translator = Translator.from_dir(run / "model", world / "features")
    several: Any = {"images": images, "beam_size": 5, "n_best": 5}
    whole = translator.hypotheses(SENTENCES, **several)
    translator.restrict_vocabulary(tmp_path / "de.txt")
    expected = translator.hypotheses(SENTENCES, **several)
    assert [[one.text for one in found] for found in expected] != [[one.text for one in found] for found in whole]
    for ours, theirs in zip(exported.hypotheses(SENTENCES, **several), expected, strict=True):
        assert [one.text for one in ours] == [one.text for one in theirs]
        assert [one.score for one in ours] == pytest.approx([one.score for one in theirs], abs=1e-4)


# --- memory -----------------------------------------------------------------------------------------------


def test_all_models_of_a_run_share_the_weights_of_the_base(base: Path, world: Path, tmp_path: Path) -> None:
    prepared = Run.prepare(tmp_path / "run", config(world, *on(base)))
    trained, finished = prepared.new_model(create_fake_gangs(torch.device("cpu"))), prepared.finished_model()
    places = {f"text.{name}": weight.data_ptr() for name, weight in prepared.base_weights.items()}
    for model in (trained, finished):
        assert {name: weight.data_ptr() for name, weight in text_of(model).items()} == places
        assert model.text.final_proj.weight is model.text.frontend.embed.weight
    decoder = StepDecoder(finished)
    assert decoder.embed.data_ptr() == places["text.frontend.embed.weight"]
    assert StepDecoder(trained).embed.data_ptr() != places["text.frontend.embed.weight"]  # not frozen yet


def test_weights_of_a_base_that_is_trained_are_copied(base: Path, world: Path, tmp_path: Path) -> None:
    prepared = Run.prepare(tmp_path / "run", config(world, f"model.text=mmt:{base}"))
    model = prepared.new_model(create_fake_gangs(torch.device("cpu")))
    places = {weight.data_ptr() for weight in prepared.base_weights.values()}
    assert not places & {weight.data_ptr() for weight in model.parameters()}
    given = {f"text.{name}": weight for name, weight in prepared.base_weights.items()}
    assert_same_weights(text_of(model), given)


def test_a_frozen_text_model_has_no_dropout(base: Path, world: Path, tmp_path: Path) -> None:
    """So that the model without its image is its own teacher; the fusion's dropout stays."""
    prepared = Run.prepare(tmp_path / "run", config(world, *on(base, "model.dropout_p=0.5")))
    model = prepared.new_model(create_fake_gangs(torch.device("cpu")))
    batch = collate([Example(prepared.tokenizer.encode(line), [7, 8]) for line in SENTENCES])
    model.train()
    assert not torch.equal(model.logits(batch), model.logits(batch))
    freeze_text(model, saved=False)
    model.train()
    frozen, _, _ = load_model(base)
    with torch.no_grad():
        assert torch.equal(model.logits(batch), frozen.logits(batch))
    assert model.fusion is not None
    assert model.fusion.training
    assert {name for name, p in model.named_parameters() if not p.requires_grad} == set(text_of(model))


# --- settings ---------------------------------------------------------------------------------------------


def test_sizes_are_those_of_the_base(base: Path, world: Path) -> None:
    """The configuration that a run writes has them, and can be read again."""
    plain = [one for one in settings(world, *on(base)) if not one.startswith(("model.", "text."))]
    made = read_config(None, [*plain, f"model.text=mmt:{base}", "model.fusion=gated"])
    assert (made.model.model_dim, made.model.ffn_dim, made.model.norm_order) == (16, 32, "pre")
    assert made.text.vocab_size == 330
    assert made.model.dropout_p == 0.3  # the user's


def test_a_written_configuration_is_read_again(base: Path, world: Path, tmp_path: Path) -> None:
    made = config(world, *on(base))
    (tmp_path / "again.yaml").write_text(dump_config(made))
    assert read_config(tmp_path / "again.yaml") == made


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["model.ffn_dim=64"], r"model\.ffn_dim is 64, but mmt:.* has 32\. Leave it out"),
        (["text.vocab_size=400"], r"text\.vocab_size is 400, but mmt:.* has 330"),
        (["model.text_encoder=lstm"], r"model\.text_encoder is lstm, but .* has transformer"),
        (["model.fusion=none", "images.features=null"], r"start\.freeze_text: nothing is left to train"),
        (["model.text=scratch"], r"start\.freeze_text: there is no text model to freeze"),
        (["model.text=mnt:somewhere"], r"model\.text: expected .* found 'mnt:somewhere'\. Did you mean 'mmt'"),
        (["model.text=mmt:nowhere"], r"nowhere: no mmt\.json, so no model folder"),
    ],
)
def test_settings_that_do_not_fit_a_base_are_refused(
    changes: list[str], message: str, base: Path, world: Path, tmp_path: Path
) -> None:
    with pytest.raises(MMTError, match=message):
        Run.prepare(tmp_path / "run", config(world, *on(base, *changes)))


def test_sentences_longer_than_the_positions_are_left_out(
    base: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = tmp_path / "base"
    shutil.copytree(base, short)
    card = json.loads((short / CARD).read_text())
    card["config"]["max_length"] = 7
    (short / CARD).write_text(json.dumps(card))
    prepared = Run.prepare(tmp_path / "run", config(world, *on(short)))
    assert isinstance(prepared.train_set, list)
    assert 0 < len(prepared.train_set) < 60
    assert f"{60 - len(prepared.train_set)} too long left out" in capsys.readouterr().err.replace("\n", " ")
    model = prepared.finished_model()
    assert max(max(len(one.source), len(one.target)) + 1 for one in prepared.train_set) == 7
    model.cross_entropy(collate(prepared.train_set))


# --- the base is found again, and no other ----------------------------------------------------------------


@pytest.fixture
def moved(run: Path, base: Path, tmp_path: Path) -> Path:
    """A folder with ``base`` and ``model``, whose base is no longer where it was."""
    place = tmp_path / "here"
    shutil.copytree(run / "model", place / "model")
    shutil.copytree(base, place / "base")
    card = json.loads((place / "model" / CARD).read_text())
    card["text"] |= {"name": f"mmt:{tmp_path / 'gone'}", "folder": "../gone"}
    (place / "model" / CARD).write_text(json.dumps(card))
    return place


def test_a_base_is_found_where_it_is_now(moved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MMTError, match=r"has only what was trained on mmt:.*found none .*Set MMT_BASE to the fol"):
        load_model(moved / "model")
    monkeypatch.setenv("MMT_BASE", os.pathsep.join(["nowhere", str(moved / "base")]))
    load_model(moved / "model")


def test_a_base_is_found_beside_the_model_with_which_it_moved(run: Path, base: Path, tmp_path: Path) -> None:
    card = read_card(run / "model")
    assert (run / "model" / card.text["folder"]).resolve() == base.resolve()
    place = tmp_path / "a" / "b"
    shutil.copytree(run / "model", place / "model")
    shutil.copytree(base, tmp_path / "a" / "base")
    raw = json.loads((place / "model" / CARD).read_text())
    raw["text"] |= {"name": "mmt:gone", "folder": "../../base"}
    (place / "model" / CARD).write_text(json.dumps(raw))
    load_model(place / "model")


def test_another_base_is_refused_by_name(moved: Path, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = base_folder(moved / "other", world, seed=1)
    monkeypatch.setenv("MMT_BASE", str(other))
    with pytest.raises(MMTError, match=rf"sha256 begins with [0-9a-f]{{12}}; another base is there \({other} has"):
        load_model(moved / "model")


def test_a_folder_with_weights_of_its_base_is_damaged(moved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading them would change the base of every model that shares it."""
    monkeypatch.setenv("MMT_BASE", str(moved / "base"))
    path = moved / "model" / WEIGHTS
    save_file({**load_file(path), "text.encoder.layer_norm.bias": torch.zeros(16)}, path)
    card = json.loads((moved / "model" / CARD).read_text())
    del card["sha256"][WEIGHTS]
    (moved / "model" / CARD).write_text(json.dumps(card))
    with pytest.raises(MMTError, match="has weights of the text model, which are its base's"):
        load_model(moved / "model")


def test_a_run_goes_on_with_its_own_base_only(run: Path, base: Path, world: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    shutil.copytree(run, output)
    other = base_folder(tmp_path / "other", world, seed=1)
    with pytest.raises(MMTError, match="holds a run on other text"):
        train(output, config(world, *on(other, "regime.num_steps=15")))
    shutil.copytree(base, tmp_path / "same")
    train(output, config(world, *on(tmp_path / "same", "regime.num_steps=15")))
    assert checkpoint_steps(output)[-1] == 15


def test_a_folder_on_a_base_is_no_base(run: Path) -> None:
    with pytest.raises(MMTError, match=r"has only what was trained on the base mmt:.*start\.model"):
        open_base(f"mmt:{run / 'model'}").settings()


# --- a start on the same base -----------------------------------------------------------------------------


def test_a_start_on_the_same_base_gives_its_fusion(run: Path, base: Path, world: Path, tmp_path: Path) -> None:
    start = f"start.model={run / 'model'}"
    train(tmp_path / "run", config(world, *on(base, start, *STILL, "regime.num_steps=3")))
    assert_same_weights(load_file(tmp_path / "run/model" / WEIGHTS), load_file(run / "model" / WEIGHTS))


def test_a_start_on_another_base_is_refused(run: Path, base: Path, world: Path, tmp_path: Path) -> None:
    other = base_folder(tmp_path / "other", world, seed=1)
    start = f"start.model={run / 'model'}"
    with pytest.raises(MMTError, match=rf"was trained on mmt:.*Set model\.text: mmt:{base}"):
        train(tmp_path / "run", config(world, *on(other, start)))
    with pytest.raises(MMTError, match=rf"was trained on mmt:.*Set model\.text: mmt:{base}"):
        train(tmp_path / "run", config(world, start))
    with pytest.raises(MMTError, match=r"has a text model of its own.*Set model\.text: mmt:"):
        train(tmp_path / "run", config(world, *on(base, f"start.model={base}")))


def test_a_base_of_the_hub_is_downloaded_once_and_found_offline(
    hub: HubServer, base: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {path.name: path.read_bytes() for path in base.iterdir()}
    hub.commit("org/base", files)
    named = ("model.text=mmt:hub:org/base", "start.freeze_text=true", "regime.num_steps=3")
    trained = train(tmp_path / "run", config(world, *named))
    assert read_card(trained).text["name"] == "mmt:hub:org/base"
    assert read_card(trained).text["sha256"] == open_base(f"mmt:{base}").sha256
    here = train(tmp_path / "here", config(world, *on(base, "regime.num_steps=3")))
    assert_same_weights(load_file(trained / WEIGHTS), load_file(here / WEIGHTS))
    assert hub.gets(WEIGHTS) == [""]
    expected = Translator.from_dir(here).translate(SENTENCES)
    hub_model.cache_clear()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    reset_sessions()
    hub.asked.clear()
    assert Translator.from_dir(trained).translate(SENTENCES) == expected
    assert open_base("mmt:hub:org/base").sha256 == open_base(f"mmt:{base}").sha256
    assert hub.asked == []


def test_a_model_never_asks_the_hub_for_its_base(hub: HubServer, base: Path, world: Path, tmp_path: Path) -> None:
    hub.commit("org/base", {path.name: path.read_bytes() for path in base.iterdir()})
    card = {"name": "mmt:hub:org/base", "family": "mmt", "sha256": open_base(f"mmt:{base}").sha256}
    with pytest.raises(MMTError, match=r"has only what was trained on mmt:hub:org/base\. Expected that base"):
        find_base(card, tmp_path / "model")
    with pytest.raises(MMTError, match="mmt info hub:org/base downloads it"):
        find_base(card, tmp_path / "model")
    (tmp_path / "model").mkdir()
    assert hub.asked == []
    assert find_base(card | {"folder": os.path.relpath(base, tmp_path / "model")}, tmp_path / "model").folder


@pytest.mark.parametrize(
    ("name", "told"),
    [("mmt:hub:org/none", "hub:org/none: the Hugging Face hub gave no such model"),
     ("mmt:hub:none", "hub:none: expected OWNER/NAME"),
     ("mmt:hub:org/damaged", "hub:org/damaged: wrong checksum of model.safetensors, twice")],
)  # fmt: skip
def test_a_base_that_the_hub_lacks_is_one_line(hub: HubServer, base: Path, name: str, told: str) -> None:
    hub.commit("org/damaged", {path.name: path.read_bytes() for path in base.iterdir()})
    hub.objects[f"wrong {WEIGHTS}"] = bytes((base / WEIGHTS).stat().st_size)
    with pytest.raises(MMTError, match=told):
        open_base(name)
