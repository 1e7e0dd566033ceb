"""A run that was written down can be repeated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from eval.result import main as result_command
from mmt.cli.main import main
from mmt.data.dataset import DatasetInfo, write_dataset
from mmt.errors import MMTError
from mmt.experiments.reproduce import Agreement, read_result, write_result
from mmt.training.config_file import read_config
from mmt.training.recipe import train
from tests.worlds import make_dataset, tiny_folder

RESULTS = sorted((Path(__file__).parents[2] / "recipes" / "results").glob("*/result.json"))
TRANSLATION = [path for path in RESULTS if "hypotheses_sha256" in json.loads(path.read_text())]

SETTINGS = [
    "text.vocab_size=330",
    "data.max_tokens=120",
    "model.model_dim=16",
    "model.ffn_dim=32",
    "model.num_heads=2",
    "model.num_encoder_layers=1",
    "model.num_decoder_layers=1",
    "model.fusion=gated",
    "model.norm_order=pre",
    "optimizer.lr=0.02",
    "optimizer.num_warmup_steps=5",
    "regime.num_steps=40",
    "regime.report_every=20",
    "regime.validate_every=20",
    "decoding.export=false",
    "threads=1",
]


@pytest.fixture(scope="module")
def written(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result.json of a short training."""
    folder = tmp_path_factory.mktemp("written")
    where = [f"data.path={world / 'data'}", f"images.features={world / 'features'}"]
    model = train(folder / "run", read_config(None, [*where, *SETTINGS]))
    write_result(model, world / "data", "test", folder / "result", [world / "features"])
    return folder / "result" / "result.json"


def reproduce(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["reproduce", *(str(one) for one in arguments)])


def test_a_repeated_run_agrees_to_the_byte(written: Path, world: Path, tmp_path: Path) -> None:
    told = json.loads(written.read_text())
    assert told["training"]["config"]["optimizer"]["lr"] == 0.02
    done = reproduce(written, tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "agrees: the same translations, byte for byte" in done.output
    hypotheses = "result/test.hyp.de"
    assert (tmp_path / "out" / hypotheses).read_bytes() == (written.parent.parent / hypotheses).read_bytes()
    assert len(set((tmp_path / "out" / hypotheses).read_text().splitlines())) > 1

    # Another seed is another run, and no torch of that version made this one.
    told["training"]["config"]["seed"] = told["training"]["seed"] = 2
    told["versions"]["torch"] = "1.0"
    (tmp_path / "other.json").write_text(json.dumps(told))
    done = reproduce(tmp_path / "other.json", tmp_path / "other")
    assert done.exit_code == 1
    assert "does not agree to the byte" in done.output
    assert "torch 1.0 was, 2.9.1 is now" in done.output
    assert "BLEU" in done.output


@pytest.mark.parametrize("exact", [True, False])
def test_a_quiet_reproduction_says_by_its_exit_code_alone(
    exact: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agreement = Agreement(exact, "from the recipe", [("BLEU", 10.0, 11.0)], [("torch", "1", "2")])
    monkeypatch.setattr("mmt.experiments.reproduce.reproduce", lambda *_: agreement)
    done = reproduce(tmp_path / "result.json", tmp_path / "out", "--quiet")
    assert (done.exit_code, done.output) == (0 if exact else 1, "")
    assert "10.00 was" in reproduce(tmp_path / "result.json", tmp_path / "out").output


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ("[]", "the file has no split"),
        ('{"scores": {}}', "the file has no split, split_checksum, hypotheses_sha256"),
    ],
)
def test_what_is_no_result_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "result.json").write_text(content)
    done = reproduce(tmp_path / "result.json", tmp_path / "out")
    assert done.exit_code == 2
    assert message in done.output


@pytest.mark.parametrize(
    ("lang", "target", "scores"),
    [
        ("ar", "كلب يرى القطة في الثلج العميق.", ["bleu", "chrf", "ter"]),
        ("ja", "犬が雪の中で猫を見ている。", ["bleu", "chrf", "ter"]),
        ("th", "สุนัขเห็นแมวในหิมะ", ["chrf"]),
        ("de", "hund sieht katze , wie sie läuft .", ["chrf", "ter", "bleu_lc_tok"]),  # tokenised
    ],
)
def test_a_result_has_the_scores_that_the_language_and_the_text_allow(
    world: Path, tmp_path: Path, lang: str, target: str, scores: list[str]
) -> None:
    row = {"id": "1", "image": "", "source": "A dog sees the cat.", "target": target, "has_image": False}
    write_dataset(tmp_path / "data", DatasetInfo("tiny", "en", lang, ""), {"test": [row, {**row, "id": "2"}]})
    model = tiny_folder(tmp_path / "model", world, target_lang=lang)
    done = CliRunner().invoke(result_command, [*map(str, (model, tmp_path / "data", "test", tmp_path / "out"))])
    assert done.exit_code == 0, done.output
    told = json.loads((tmp_path / "out" / "result.json").read_text())
    assert list(told["scores"]) == scores
    assert {*told["scores"], *told["scores_left_out"]} == {"bleu", "chrf", "ter", "bleu_lc_tok"}
    assert done.output.count("omitted: ") == 4 - len(scores)


def test_no_code_of_a_language_is_refused_before_anything_is_translated(world: Path, tmp_path: Path) -> None:
    row = {"id": "1", "image": "", "source": "A dog.", "target": "Hund.", "has_image": False}
    write_dataset(tmp_path / "data", DatasetInfo("tiny", "en", "german", ""), {"test": [row]})
    model = tiny_folder(tmp_path / "model", world, target_lang="german")
    with pytest.raises(MMTError, match="expected a code such as de"):
        write_result(model, tmp_path / "data", "test", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_results_without_settings_and_other_data_are_refused(written: Path, tmp_path: Path) -> None:
    told = json.loads(written.read_text())
    del told["training"]["config"]
    (tmp_path / "old.json").write_text(json.dumps(told))
    assert "the file has no config" in reproduce(tmp_path / "old.json", tmp_path / "out").output
    make_dataset(tmp_path / "data", {"test": 4, "val": 6, "train": 50})
    done = reproduce(written, tmp_path / "out", "--data", tmp_path / "data")
    assert done.exit_code == 2
    assert f"{tmp_path / 'data'}: train: expected the training data of {written}, checksum" in done.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("path", TRANSLATION, ids=lambda path: path.parent.name)
def test_every_result_of_a_translation_can_be_reproduced(path: Path) -> None:
    """As far as can be told without its data: the settings are there, valid, and those of its model.

    A model of several datasets is refused, with the reason: a recipe's script makes it anew. So is an ensemble.
    """
    training = json.loads(path.read_text())["training"]
    if "members" in training or training["config"]["data"].get("datasets"):
        with pytest.raises(MMTError, match="several models" if "members" in training else "several datasets"):
            read_result(path)
        return
    told, config = read_result(path)
    assert config.regime.num_steps == told["training"]["updates"]
    assert (config.images.features is None) == (told["features"] is None)
    assert {"multi30k_en_de_none", "multi30k_en_de_gated"} <= {one.parent.name for one in TRANSLATION}


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("model", "num_heads", 2),
        ("decoding", "beam_size", 4),
        ("regime", "num_steps", 4300),
        ("regime", "num_steps", 4500),
        ("text", "vocab_size", 9000),
        ("", "seed", 3),
    ],
)
def test_settings_that_are_not_the_models_are_refused(
    tmp_path: Path, section: str, key: str, value: object
) -> None:
    told = json.loads(next(path for path in TRANSLATION if path.parent.name == "multi30k_en_de_none").read_text())
    config = told["training"]["config"]
    (config[section] if section else config)[key] = value
    (tmp_path / "result.json").write_text(json.dumps(told))
    with pytest.raises(MMTError, match=rf"its settings say {section}\.?{key} .*Correct the file"):
        read_result(tmp_path / "result.json")


def test_a_published_result_says_which_data_it_wants(tmp_path: Path) -> None:
    path = next(path for path in TRANSLATION if path.parent.name == "multi30k_en_de_gated")
    done = reproduce(path, tmp_path / "out", "--data", make_dataset(tmp_path / "data", {"train": 4, "val": 2}))
    assert done.exit_code == 2
    assert f"expected the training data of {path}, checksum 3bc93e96aeb2" in done.output
