"""Several language pairs in one model: tags, temperature sampling, validation of each pair."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from fairseq2.gang import create_fake_gangs
from PIL import Image

from eval import commute, hf_baseline
from mmt.cli.main import main
from mmt.data.batch import Example
from mmt.data.dataset import DatasetInfo, read_split, write_dataset
from mmt.data.pretrained_tokenizer import open_tokenizer
from mmt.data.reader import BatchReader
from mmt.data.sampling import EpochSampling, sampling_shares, temperature_counts
from mmt.data.tagged_tokenizer import TaggedTokenizer, language_tag, write_languages
from mmt.data.tokenizer import TOKENIZER, Tokenizer, train_tokenizer
from mmt.errors import MMTError
from mmt.experiments.reproduce import write_result
from mmt.inference.torch_runtime import Translator
from mmt.model.card import read_card
from mmt.training.config import TrainConfig
from mmt.training.config_file import read_config
from mmt.training.recipe import train
from mmt.training.run import Run
from tests.worlds import (
    SETTINGS,
    assert_close_weights,
    assert_same_weights,
    begin_training,
    finish,
    make_features,
    reports,
    sentences,
    tiny_folder,
    weights,
)

FRENCH = {"dog": "chien", "cat": "chat", "house": "maison", "tree": "arbre", "ball": "ballon", "boat": "bateau"}
FRENCH |= {"sees": "voit", "finds": "trouve", "paints": "peint"}


def _french(english: str) -> str:
    return " ".join(FRENCH.get(word.strip("."), "le") for word in english.split()[1:]).capitalize() + "."


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``en_de``, ``de_en`` and the smaller ``en_fr``, with features of their images."""
    folder = tmp_path_factory.mktemp("many")
    sizes = {"train": 60, "val": 8}
    images = folder / "images"
    images.mkdir()
    names = [f"{split}-{n}.png" for split, size in sizes.items() for n in range(0, size, 2)]
    for name in names:
        Image.new("RGB", (8, 8), "red").save(images / name)
    make_features(folder / "features", names)
    for pair, num in {"en-de": 60, "de-en": 60, "en-fr": 15}.items():
        source, target = pair.split("-")
        splits = {}
        for seed, (split, size) in enumerate(sizes.items()):
            rows = []
            for number, (english, german) in enumerate(sentences(size, seed)[: num if split == "train" else size]):
                texts = {"en": english, "de": german, "fr": _french(english)}
                image = f"{split}-{number}.png"
                row = {"id": f"{split}-{number}", "image": image, "has_image": image in names}
                rows.append(row | {"source": texts[source], "target": texts[target]})
            splits[split] = rows
        name = pair.replace("-", "_")
        write_dataset(folder / name, DatasetInfo("tiny", source, target, str(images)), splits)
    return folder


PAIRS = ("en_de", "de_en", "en_fr")


def _settings(many: Path, *more: str, pairs: tuple[str, ...] = PAIRS) -> list[str]:
    datasets = ", ".join(str(many / pair) for pair in pairs)
    every = [f"data.datasets=[{datasets}]", *SETTINGS, "text.vocab_size=340", "data.temperature=5", *more]
    return list({one.partition("=")[0]: one for one in every}.values())


def _config(many: Path, *more: str) -> TrainConfig:
    return read_config(None, _settings(many, *more))


GATED = ("model.fusion=gated", "images.features={many}/features")


def _gated(many: Path, *more: str) -> TrainConfig:
    return _config(many, *(one.format(many=many) for one in GATED), *more)


@pytest.fixture(scope="module")
def trained(many: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("run") / "many"
    plain = ("model.dropout_p=0", "optimizer.label_smoothing=0", "model.model_dim=32", "data.max_tokens=400")
    long = ("regime.num_steps=240", "regime.validate_every=80", "regime.report_every=80")
    train(output, _gated(many, *plain, *long, "optimizer.lr=0.01", "optimizer.num_warmup_steps=60"))
    return output


def test_one_model_translates_in_every_direction(trained: Path, many: Path) -> None:
    model = Translator.from_dir(trained / "model", many / "features")
    english, german = zip(*sentences(60, 0)[:20], strict=True)
    french = [_french(line) for line in english]
    for (source, target), lines, expected in [
        (("en", "de"), english, german), (("de", "en"), german, english), (("en", "fr"), english[:15], french[:15])
    ]:  # fmt: skip
        model.tokenizer = open_tokenizer(trained / "model").for_languages(source, target)
        found = model.translate(list(lines))
        right = sum(a == b for a, b in zip(found, expected, strict=True))
        assert right >= 0.7 * len(found), (source, target, found[:3], expected[:3])
    model.tokenizer = open_tokenizer(trained / "model")
    with pytest.raises(MMTError, match="of several languages \\(de, en, fr\\)"):
        model.translate(["A dog sees the cat."])


def test_a_run_tells_the_model_which_pieces_are_tags(many: Path, tmp_path: Path) -> None:
    """Word dropout leaves them."""
    run = Run.prepare(tmp_path / "run", _config(many))
    tags = run.new_model(create_fake_gangs(torch.device("cpu"))).text.tags
    assert run.tokenizer.pieces(tags) == ["<2de>", "<2en>", "<2fr>"]


def test_the_card_and_the_reports_have_every_pair(trained: Path) -> None:
    card = read_card(trained / "model")
    assert (card.source_lang, card.target_lang) == ("mul", "mul")
    assert card.training["pairs"] == ["en-de", "de-en", "en-fr"]
    card.check_languages(("de", "en"), "model", "data")
    with pytest.raises(MMTError, match="expected en-de or de-en or en-fr, what model translates, found fr-en"):
        card.check_languages(("fr", "en"), "model", "data")
    last = reports(trained, "valid")[-1]
    scores = [last[f"bleu_{pair}"] for pair in ("en-de", "de-en", "en-fr")]
    assert last["BLEU"] == pytest.approx(np.mean(scores))
    assert len({round(score, 6) for score in scores}) == 3


def test_each_pair_is_scored_by_itself(trained: Path, many: Path, tmp_path: Path) -> None:
    results = {}
    for pair in PAIRS:
        results[pair] = write_result(trained / "model", many / pair, "val", tmp_path / pair, [many / "features"])
        assert (tmp_path / pair / f"val.hyp.{pair[-2:]}").is_file()
    assert [results[pair]["languages"] for pair in PAIRS] == ["en-de", "de-en", "en-fr"]
    assert len({result["hypotheses_sha256"] for result in results.values()}) == 3
    splits = {"val": list(read_split(many / "en_fr", "val"))}
    write_dataset(tmp_path / "fr_en", DatasetInfo("tiny", "fr", "en", str(many / "images")), splits)
    with pytest.raises(MMTError, match="fr_en: expected en-de or de-en or en-fr"):
        write_result(trained / "model", tmp_path / "fr_en", "val", tmp_path / "none", [many / "features"])


def test_commands_take_the_languages_from_the_dataset(trained: Path, many: Path) -> None:
    def run(command: str, pair: str, *options: str) -> str:
        images = ["--images", str(many / "features"), "--runtime", "torch"]
        read = ["--data", str(many / pair), "--split", "val", *images]
        result = CliRunner().invoke(main, [command, "--model", str(trained / "model"), *read, *options])
        assert result.exit_code == 0, result.output
        return result.stdout

    for command in ("translate", "score-pairs"):
        found = {pair: run(command, pair) for pair in PAIRS}
        for pair, (source, target) in ((pair, pair.split("_")) for pair in PAIRS):
            assert found[pair] == run(command, pair, "--source-lang", source, "--target-lang", target)
        other = run(command, "en_de", "--target-lang", "fr")
        assert other != found["en_de"]


@pytest.mark.parametrize("command", ["translate", "score-pairs"])
def test_commands_refuse_data_in_other_languages(
    trained: Path, many: Path, world: Path, tmp_path: Path, command: str
) -> None:
    splits = {"val": list(read_split(many / "en_fr", "val"))}
    model = ["--model", str(trained / "model"), "--images", str(many / "features"), "--split", "val"]
    for pair, said in (("fr-en", "expected en-de or de-en or en-fr"), ("en-", "Name one: --target-lang")):
        data = tmp_path / pair
        write_dataset(data, DatasetInfo("tiny", *pair.split("-"), str(many / "images")), splits)
        result = CliRunner().invoke(main, [command, *model, "--data", str(data)])
        assert result.exit_code == 2, result.output
        assert said in result.output
    one_pair, data = tiny_folder(tmp_path / "one", world), tmp_path / "fr-en"
    result = CliRunner().invoke(main, [command, "--model", str(one_pair), *model[4:], "--data", str(data)])
    assert result.exit_code == 2, result.output
    assert "expected 'en'" in result.output


def test_evaluations_take_the_languages_from_the_dataset(trained: Path, many: Path, tmp_path: Path) -> None:
    model, features = str(trained / "model"), str(many / "features")
    english, german = zip(*sentences(60, 0)[:4], strict=True)
    for name, lines in (("src.en", english), ("correct.de", german), ("incorrect.de", german[::-1])):
        (tmp_path / "en-de").mkdir(exist_ok=True)
        (tmp_path / "en-de" / name).write_text("".join(f"{line}\n" for line in lines))
    (tmp_path / "en-de" / "img.order").write_text("train-0.png\n" * 4)
    found = CliRunner().invoke(commute.main, [model, str(tmp_path / "en-de"), "--images", features])
    assert found.exit_code == 0, found.output
    shown = Translator.from_dir(model, features, source_lang="en", target_lang="de")
    files = ["--source", str(tmp_path / "en-de" / "src.en"), "--reference", str(tmp_path / "en-de" / "correct.de")]
    languages = ["--source-lang", "en", "--target-lang", "de", "--threads", "1"]
    out = tmp_path / "out.de"
    found = CliRunner().invoke(hf_baseline.main, [model, *files, *languages, "--output", str(out)])
    assert found.exit_code == 0, found.output
    assert out.read_text().splitlines() == shown.translate(list(english))


def test_one_language_of_two_is_too_few(trained: Path) -> None:
    with pytest.raises(MMTError, match=r"expected the source language, too.* --source-lang"):
        Translator.from_dir(trained / "model", target_lang="de")


def test_an_interrupted_run_resumes_exactly(many: Path, tmp_path: Path) -> None:
    train(tmp_path / "whole", _gated(many))
    train(tmp_path / "parts", _gated(many, "regime.num_steps=6"))
    train(tmp_path / "parts", _gated(many))
    assert_same_weights(weights(tmp_path / "parts", 12), weights(tmp_path / "whole", 12))
    with pytest.raises(MMTError, match=r"data\.temperature = 5"):
        train(tmp_path / "whole", _gated(many, "data.temperature=1"))
    settings = _settings(many, *(one.format(many=many) for one in GATED), pairs=PAIRS[::-1])
    with pytest.raises(MMTError, match="holds a run on other data"):
        train(tmp_path / "whole", read_config(None, settings))


def test_two_processes_train_as_one(many: Path, tmp_path: Path) -> None:
    plain = ("model.dropout_p=0", "regime.keep_last=4", "regime.num_steps=6")
    train(tmp_path / "one", _config(many, *plain, "optimizer.num_accumulate=2"))
    process = begin_training(tmp_path / "two", _settings(many, *plain))
    said = finish(process)
    assert process.returncode == 0, said
    assert_close_weights(tmp_path / "one", tmp_path / "two", 6)
    ours, theirs = (reports(tmp_path / name, "valid")[-1] for name in ("one", "two"))
    assert {k: v for k, v in ours.items() if "bleu" in k.lower()} == pytest.approx(
        {k: v for k, v in theirs.items() if "bleu" in k.lower()}
    )


def test_a_pair_is_fine_tuned_from_the_model_of_all(trained: Path, many: Path, tmp_path: Path) -> None:
    settings = [*SETTINGS, f"data.path={many / 'en_fr'}", f"start.model={trained / 'model'}", "regime.num_steps=3"]
    settings += [one.format(many=many) for one in GATED] + ["model.model_dim=32"]
    config = read_config(None, list({one.partition("=")[0]: one for one in settings}.values()))
    model = train(tmp_path / "run", config)
    assert (model / "tokenizer.json").is_file()
    card = read_card(model)
    assert (card.source_lang, card.target_lang) == ("en", "fr")
    both = Path(f"{model}+{trained / 'model'}")  # the second one has to be told the languages
    assert (
        write_result(both, many / "en_fr", "val", tmp_path / "both", [many / "features"])["languages"] == "en-fr"
    )


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["data.streams=2"], "data.datasets: expected datasets to translate, read whole, found data.streams"),
        (["data.path=x"], "data.path and data.datasets exclude each other"),
    ],
)
def test_settings_that_do_not_fit_are_refused(many: Path, more: list[str], said: str) -> None:
    with pytest.raises(MMTError, match=said):
        _config(many, *more)
    with pytest.raises(MMTError, match=r"data\.temperature: expected data\.datasets"):
        read_config(None, ["data.path=x", "data.temperature=2"])
    with pytest.raises(MMTError, match=r"data\.datasets: expected a list of at least 2"):
        read_config(None, ["data.datasets=[x]"])


def test_datasets_that_do_not_fit_are_refused(many: Path, tmp_path: Path) -> None:
    with pytest.raises(MMTError, match=r"en_de: no split 'vall'.* Did you mean 'val'"):
        train(tmp_path / "run", _config(many, "data.valid_split=vall"))


# --- sampling ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0, 1000.0])
def test_shares_follow_the_temperature(temperature: float) -> None:
    """Against the formula, and counted in many epochs."""
    sizes = [90, 10, 1]
    expected = np.array([n ** (1 / temperature) for n in sizes])
    expected /= expected.sum()
    assert sampling_shares(sizes, temperature) == pytest.approx(expected)
    counted = Counter[int]()
    sampling = EpochSampling(sizes, temperature_counts(sizes, temperature))
    for epoch in range(40):
        rows = sampling.rows(np.random.default_rng(epoch))
        counted.update(np.searchsorted([90, 100], rows, side="right").tolist())
    shares = np.array([counted[number] for number in range(3)]) / counted.total()
    assert shares == pytest.approx(expected, abs=0.01)


def test_a_sentence_is_drawn_as_often_as_the_others_of_its_dataset() -> None:
    sampling = EpochSampling(
        [8, 3], temperature_counts([8, 3], 1000.0)
    )  # 5.5 of each: some of the first, the second nearly twice
    counted = Counter[int]()
    for epoch in range(500):
        rows = Counter(sampling.rows(np.random.default_rng(epoch)).tolist())
        counted.update(rows)
        assert max(rows[row] for row in range(8)) == 1
        assert {rows[row] for row in range(8, 11)} == {1, 2} or {rows[row] for row in range(8, 11)} == {2}
    for rows_of in (range(8), range(8, 11)):
        times = [counted[row] for row in rows_of]
        assert max(times) < 1.2 * min(times)


def test_temperature_one_reads_each_sentence_once() -> None:
    rows = EpochSampling([29_000, 145_000, 7], temperature_counts([29_000, 145_000, 7], 1.0)).rows(
        np.random.default_rng(0)
    )
    assert np.array_equal(np.sort(rows), np.arange(174_007))


@pytest.mark.parametrize("world_size", [1, 2])
def test_a_reader_resumes_within_a_sampled_epoch(world_size: int) -> None:
    examples = [Example([i + 4] * (1 + i % 5), [7], dataset=int(i >= 30)) for i in range(40)]

    def reader(rank: int) -> BatchReader:
        sampling = EpochSampling([30, 10], temperature_counts([30, 10], 5.0))
        settings = {"rank": rank, "world_size": world_size, "seed": 3}
        return BatchReader(examples, None, max_tokens=24, shuffle=True, sampling=sampling, **settings)  # type: ignore[arg-type]

    for rank in range(world_size):
        whole, first, second = reader(rank), reader(rank), reader(rank)
        expected = [[batch.source.tolist() for batch in whole.cycle()] for _ in range(12)]
        begun = [[batch.source.tolist() for batch in first.cycle()] for _ in range(5)]
        second.load_state_dict(first.state_dict())
        rest = [[batch.source.tolist() for batch in second.cycle()] for _ in range(7)]
        assert begun + rest == expected
        assert second.state_dict() == whole.state_dict()


# --- the tokenizer ----------------------------------------------------------------------------------------


@pytest.fixture
def tagged(tmp_path: Path) -> Path:
    lines = [side for pair in sentences(60, 0) for side in pair]
    write_languages(tmp_path, ["de", "en"])
    train_tokenizer(lines, 330, tmp_path / TOKENIZER, tags=[language_tag("de"), language_tag("en")])
    return tmp_path


def test_the_target_languages_tag_stands_before_the_source(tagged: Path) -> None:
    tokenizer = open_tokenizer(tagged)
    assert isinstance(tokenizer, TaggedTokenizer)
    bound = tokenizer.for_languages("en", "de")
    plain = Tokenizer(tagged / TOKENIZER).encode("A dog sees.")
    assert bound.pieces(bound.encode("A dog sees.")) == ["<2de>", *bound.pieces(plain)]
    assert bound.encode_target("A dog sees.") == plain
    assert bound.decode(bound.encode("A dog sees.")) == "A dog sees."
    assert bound.encode("") == []
    assert bound.prompt == tokenizer.prompt
    assert tokenizer.source_prefix == ()


def test_a_text_never_contains_a_tag(tagged: Path) -> None:
    bound = open_tokenizer(tagged).for_languages("de", "en")
    ids = bound.encode("<2de> A dog.")
    assert ids[0] != ids[1]
    assert bound.pieces(ids).count("<2de>") == 0
    assert bound.decode(ids) == "<2de> A dog."


def test_a_lowercased_text_is_known_beside_tags(tmp_path: Path) -> None:
    train_tokenizer(["a dog sees", "ein hund"] * 9, 290, tmp_path / TOKENIZER, tags=["<2eng_Latn>"])
    assert Tokenizer(tmp_path / TOKENIZER).lowercases


def test_unknown_languages_and_damaged_files_are_named(tagged: Path) -> None:
    with pytest.raises(MMTError, match=r"language 'fr': unknown to this model\..* It knows de, en"):
        open_tokenizer(tagged).for_languages("en", "fr")
    path = tagged / "tokenizer.json"
    for damage in ('{"kind": "scratch", "languages": ["de", "xx"]}', '{"kind": "scratch", "languages": 3}', "{"):
        path.write_text(damage)
        with pytest.raises(MMTError, match="Copy the model folder again"):
            open_tokenizer(tagged)
    path.write_text(json.dumps({"kind": "scratch", "languages": ["de"]}))
    assert open_tokenizer(tagged).languages == ("de",)
