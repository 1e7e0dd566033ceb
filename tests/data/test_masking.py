"""Masking probes: what is masked, what counts as restored, and what is written about a system."""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.stats import wilcoxon

from data_prep import probes as masking
from eval import probes as scoring
from mmt.data.dataset import DatasetInfo, image_folder, read_info, read_split, write_dataset
from mmt.data.masking import SYMBOLS, Probe, check_masked_alike
from mmt.data.tokenizer import Tokenizer, train_tokenizer
from mmt.errors import MMTError
from mmt.evidence.collect import Inputs, collect
from mmt.evidence.findings import Evidence
from mmt.evidence.sentences import Sentences
from mmt.inference.controls import controlled_images, wrong_images
from mmt.inference.torch_runtime import Translation, Translator
from mmt.metrics.masked_words import probe_accuracy
from mmt.metrics.p_values import signed_rank
from mmt.model.card import CARD, read_card
from tests.worlds import make_features, tiny_folder

DE = {"red": "roter", "blue": "blauer", "green": "grüner", "white": "weißer"}
SIZES = {"train": 40, "val": 4, "test": 12}
PROBES = [Probe("colour"), Probe("character"), Probe("noun", 2), Probe("progressive", 3)]


def rows(split: str) -> list[dict[str, Any]]:
    """Sentences of one colour and of one man; two of three have an image, named by its number."""
    made = []
    for number, (colour, word) in zip(range(SIZES[split]), itertools.cycle(DE.items()), strict=False):
        row = {"id": f"{split}-{number}", "image": f"{split}-{number}.png", "has_image": number % 3 > 0}
        source = f"A {colour.title() if number % 2 else colour} dog sees the man."
        made.append({**row, "source": source, "target": f"Ein {word} Hund sieht den Mann."})
    return made


@pytest.fixture(scope="module")
def kennel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like conftest's ``world``, with ``plain/``, its masked copy ``data/``, and model folders."""
    folder = tmp_path_factory.mktemp("kennel")
    (folder / "images").mkdir()
    found = [row["image"] for split in SIZES for row in rows(split) if row["has_image"]]
    for name in found:
        Image.new("RGB", (8, 8)).save(folder / "images" / name)
    info = DatasetInfo("dogs", "en", "de", str(folder / "images"))
    write_dataset(folder / "plain", info, {split: rows(split) for split in SIZES})
    masking.prepare(folder / "plain", folder / "data", Probe("colour"))
    make_features(folder / "features", found)
    train = read_split(folder / "data", "train")
    train_tokenizer([*train["source"], *train["target"]], 320, folder / "tokenizer.model", [SYMBOLS["colour"]])
    for name in ("text1", "text2", "gated1", "gated2"):
        model_folder(folder / name, folder, "none" if "text" in name else "gated", seed=int(name[-1]))
    return folder


def model_folder(folder: Path, world: Path, fusion: str, **training: Any) -> Path:
    card = replace(read_card(tiny_folder(folder, world, fusion)), training=training)
    raw = vars(card) | {"features": card.features.to_dict() if card.features else None}
    (folder / CARD).write_text(json.dumps(raw))
    return folder


@pytest.fixture
def oracle(monkeypatch: pytest.MonkeyPatch, kennel: Path) -> None:
    """Models that translate the image that they are shown, and guess the same colour where there is none."""
    of_image = {row["image"]: row["target"] for row in rows("test")}

    def hypotheses(
        self: Translator,
        sentences: Sequence[str],
        images: Sequence[str] | None,
        *,
        image_control: Any = "right",
        control_seed: int = 0,
        progress: Callable[[int], object],
    ) -> list[list[Translation]]:
        assert all(SYMBOLS["colour"] in sentence for sentence in sentences)
        shown = controlled_images(images or [None] * len(sentences), image_control, control_seed)
        texts = ["Ein rote Hund." if image is None else of_image[image] for image in shown]
        if self.card.training.get("seed") == 2:
            texts[0] = "Ein Hund."
        return [[Translation(text, 0.0, True)] for text in texts]

    monkeypatch.setattr(Translator, "hypotheses", hypotheses)


def masked_sentences(text: list[str], masked: list[list[str]]) -> Sentences:
    return Sentences(text, text, text, text, masked=masked)


def evaluate(kennel: Path, out: Path, **changes: Any) -> dict[str, Any]:
    given = {
        "text_only": [kennel / "text1", kennel / "text2"],
        "models": [kennel / "gated1", kennel / "gated2"],
        "images": [kennel / "features"],
        "draws": 3,
    }
    return scoring.evaluate(changes.pop("data", kennel / "data"), "test", out, **given | changes)


# What is masked


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.kind)
def test_the_masked_words_put_back_give_the_sentence(probe: Probe) -> None:
    for sentence in ("A man's red dog and the Man in white.", "", "It's black-and-white", "People, people!"):
        masked, words = probe.mask(sentence, "id")
        assert masked.count(probe.symbol) == len(words)
        parts = masked.split(probe.symbol)
        assert "".join(a + b for a, b in itertools.zip_longest(parts, words, fillvalue="")) == sentence


@pytest.mark.parametrize(
    ("probe", "sentence", "expected"),
    [
        (PROBES[0], "RED hat, Grey dog; red-haired, blackish", "[MASK_C] hat, [MASK_C] dog; red-haired, blackish"),
        (PROBES[0], "a red\u2011haired, blue\u2010eyed girl", "a red\u2011haired, blue\u2010eyed girl"),
        (PROBES[1], "A man's dog; men and a woman’s", "A [MASK_P]'s dog; [MASK_P] and a [MASK_P]’s"),
        (PROBES[1], "A snowman in a man-made hole", "A snowman in a man-made hole"),
        (PROBES[2], "The dog", "The [MASK_N]"),
        (PROBES[3], "It's the man's red-haired dog.", "It's the man's [MASK] [MASK]."),
        (Probe("progressive", 0), "The man's dog", "[MASK] [MASK] [MASK]"),
    ],
)  # fmt: skip
def test_whole_words_are_masked_in_either_case(probe: Probe, sentence: str, expected: str) -> None:
    assert probe.mask(sentence)[0] == expected


def test_nouns_are_at_most_k_and_the_seed_and_the_id_choose() -> None:
    sentence = "A dog and a cat with a ball on the beach near a house"
    chosen = {(seed, name): Probe("noun", 2, seed).mask(sentence, name)[1] for seed in (1, 2, 3) for name in "abc"}
    assert all(len(words) == 2 for words in chosen.values())
    assert all(len({tuple(chosen[seed, name]) for name in "abc"}) > 1 for seed in (1, 2))
    assert any(chosen[1, name] != chosen[2, name] for name in "abc")
    assert all(Probe("noun", 2, seed).mask(sentence, name)[1] == words for (seed, name), words in chosen.items())
    assert sorted(Probe("noun", 9).mask(sentence)[1]) == ["ball", "beach", "cat", "dog", "house"]


def test_every_split_is_masked_alike_and_nothing_else_changes(kennel: Path) -> None:
    for split in SIZES:
        masked = list(read_split(kennel / "data", split))
        assert len(masked) == SIZES[split]
        for row, before in zip(masked, rows(split), strict=True):
            assert row.pop("masked") == [before["source"].split()[1]]
            assert row.pop("unmasked") == before["source"]
            assert row == {**before, "source": "A [MASK_C] dog sees the man."}
    assert read_info(kennel / "data").probe == {"kind": "colour", "symbol": "[MASK_C]", "k": 0, "seed": 1}


def test_the_images_are_still_found(kennel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = DatasetInfo("dogs", "en", "de", "pictures")
    made = tmp_path / "made"
    made.mkdir()
    Image.new("RGB", (8, 8)).save(made / "test-1.png")
    write_dataset(tmp_path / "plain", inside, {"test": rows("test")}, images_from=made)
    monkeypatch.chdir(tmp_path)
    masking.prepare(Path("plain"), Path("deep/down/masked"), Probe("colour"))
    monkeypatch.chdir("/")
    assert (image_folder(tmp_path / "deep/down/masked") / "test-1.png").is_file()
    assert image_folder(kennel / "data") == kennel / "images"


def test_only_images_leaves_out_the_sentences_without(kennel: Path, tmp_path: Path) -> None:
    info = masking.prepare(kennel / "plain", tmp_path / "masked", Probe("character"), only_images=True)
    assert [s.images_missing for s in info.splits.values()] == [0, 0, 0]
    assert info.splits["test"].sentences == sum(row["has_image"] for row in rows("test"))


def test_no_images_leaves_out_the_sentences_with_one(kennel: Path, tmp_path: Path) -> None:
    info = masking.prepare(kennel / "plain", tmp_path / "masked", Probe("character"), no_images=True)
    assert [s.images_found for s in info.splits.values()] == [0] * len(info.splits)
    assert info.splits["test"].sentences == sum(not row["has_image"] for row in rows("test"))


def test_only_masked_leaves_out_the_sentences_without_a_word_to_mask(kennel: Path, tmp_path: Path) -> None:
    mixed = [{**row, "source": "A dog."} if n % 2 else row for n, row in enumerate(rows("test"))]
    write_dataset(tmp_path / "mixed", DatasetInfo("dogs", "en", "de", str(tmp_path)), {"test": mixed})
    masking.prepare(tmp_path / "mixed", tmp_path / "all", Probe("colour"), also_plain=True)
    masking.prepare(tmp_path / "mixed", tmp_path / "some", Probe("colour"), also_plain=True, only_masked=True)
    every = list(read_split(tmp_path / "all", "test"))
    plain_of_masked = {f"{row['id']}-plain" for row in every if row["masked"]}
    kept = [row for row in every if row["masked"] or row["id"] in plain_of_masked]
    assert list(read_split(tmp_path / "some", "test")) == kept
    assert 0 < len(kept) < len(every)


def test_masked_sentences_are_kept_unmasked_too_where_that_is_wanted(kennel: Path, tmp_path: Path) -> None:
    masking.prepare(kennel / "plain", tmp_path / "masked", Probe("colour"))
    masking.prepare(kennel / "plain", tmp_path / "both", Probe("colour"), also_plain=True)
    masked, both = list(read_split(tmp_path / "masked", "test")), list(read_split(tmp_path / "both", "test"))
    plain = {row["id"]: row for row in read_split(kennel / "plain", "test")}
    assert [row for row in both if not row["id"].endswith("-plain")] == masked
    added = [row for row in both if row["id"].endswith("-plain")]
    assert [row["id"] for row in added] == [f"{row['id']}-plain" for row in masked if row["masked"]]
    for row in added:
        assert row["source"] == plain[row["id"].removesuffix("-plain")]["source"]
        assert row["masked"] == []


def test_what_cannot_be_masked_is_refused(kennel: Path, tmp_path: Path) -> None:
    german = DatasetInfo("dogs", "de", "en", str(tmp_path))
    write_dataset(tmp_path / "german", german, {"test": rows("test")})
    grey = [{**row, "source": "A dog."} for row in rows("test")]
    write_dataset(tmp_path / "grey", DatasetInfo("dogs", "en", "de", str(tmp_path)), {"test": grey})
    for folder, complaint in (
        (kennel / "data", "is masked already .colour."),
        (tmp_path / "german", "source language is 'de'"),
        (tmp_path / "grey", "no word that the probe 'colour' masks"),
        (tmp_path, "expected a prepared dataset"),
    ):
        with pytest.raises(MMTError, match=complaint):
            masking.prepare(folder, tmp_path / "out", Probe("colour"))
        assert not (tmp_path / "out").exists()
    (tmp_path / "out").touch()
    with pytest.raises(MMTError, match="out: cannot be made a folder"):
        evaluate(kennel, tmp_path / "out")
    with pytest.raises(MMTError, match="a folder of its own"):
        masking.prepare(kennel / "plain", kennel / "x" / ".." / "plain", Probe("colour"))
    for kind, k in (("color", 0), ("noun", 0), ("progressive", -1)):
        with pytest.raises(MMTError, match="expected"):
            Probe(kind, k)


def test_the_command_counts_what_it_masked(
    kennel: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(kennel / "plain"), str(tmp_path / "out"), "--probe", "noun", "--k", "2"]
    masking.main(arguments, standalone_mode=False)
    assert "test: 24 words masked in 12 of 12 sentences" in capsys.readouterr().out
    assert read_info(tmp_path / "out").probe == {"kind": "noun", "symbol": "[MASK_N]", "k": 2, "seed": 1}


# The symbol


def test_a_tokenizer_of_masked_text_keeps_the_symbol_whole(kennel: Path, world: Path) -> None:
    tokenizer = Tokenizer(kennel / "tokenizer.model")
    check_masked_alike(tokenizer, {}, Probe("colour"), "model")
    around, alone = tokenizer.encode("A [MASK_C] dog."), tokenizer.encode("A dog.")
    assert len(around) - len(alone) <= 2  # the symbol and a word's start
    assert tokenizer.decode(around) == "A [MASK_C] dog."
    for probe, path in ((Probe("character"), kennel), (Probe("colour"), world)):
        with pytest.raises(MMTError, match=r"a model trained on data masked with .* Train one"):
            check_masked_alike(Tokenizer(path / "tokenizer.model"), {}, probe, "model")


# What counts as restored


@pytest.mark.parametrize("command", [masking.prepare, None])
def test_what_no_reference_could_score_is_refused_before_any_work(
    kennel: Path, tmp_path: Path, command: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Persons in lower-cased German: der Junge and die junge Frau are one word there."""
    lower = [
        {**row, "source": "a boy sees a dog.", "target": "ein junge sieht einen hund."} for row in rows("test")
    ]
    info = DatasetInfo("lower", "en", "de", str(kennel / "images"))
    if command is None:  # data that was masked somewhere else
        masked = {"source": "a [MASK_P] sees a dog.", "masked": ["boy"], "unmasked": "a boy sees a dog."}
        info = replace(info, probe=Probe("character").to_dict())
        lower = [{**row, **masked} for row in lower]
    write_dataset(tmp_path / "lower", info, {"test": lower})
    monkeypatch.setattr("mmt.inference.torch_runtime.Translator.from_dir", None)
    given = (tmp_path / "lower", tmp_path / "out", Probe("character"))
    run = (
        partial(evaluate, kennel, given[1], data=given[0]) if command is None else partial(masking.prepare, *given)
    )
    with pytest.raises(MMTError, match=rf"probe 'character': no reference .* {len(lower) if command else 8} mask"):
        run()
    assert not (tmp_path / "out").exists()


def test_masking_says_where_whole_sentences_will_be_scored(
    kennel: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind, said in (("colour", False), ("noun", True)):
        masking.main([str(kennel / "plain"), str(tmp_path / kind), "--probe", kind], standalone_mode=False)
        assert ("scores whole sentences" in capsys.readouterr().out) == said


def test_a_language_without_words_is_scored_by_characters(capsys: pytest.CaptureFixture[str]) -> None:
    text = ["สุนัขเห็นแมวในหิมะ", "แมวเห็นสุนัข"] * 3
    sentences = masked_sentences(text, [["dog"]] * 6)
    names = ("text_only.seed1", "right.seed1", "wrong.seed1.draw1", "blank.seed1")
    found = scoring.score(dict.fromkeys(names, text), sentences, "noun", "th")
    assert "bleu" not in found
    assert found["chrf"]["right"]["mean"] == pytest.approx(100)
    about = {"data": "dogs", "split": "test", "languages": "en-th", "probe": {"kind": "noun"}, "draws": 1}
    scoring.print_result({**about, "same_training_data": True, **found})
    assert "chrF2" in capsys.readouterr().out


# What is written about a system


@pytest.mark.usefixtures("oracle")
def test_the_figures_can_be_made_again_from_the_folder(kennel: Path, tmp_path: Path) -> None:
    evaluate(kennel, tmp_path / "out")
    result = json.loads((tmp_path / "out/result.json").read_text())
    shown = [row for row in read_split(kennel / "data", "test") if row["has_image"]]
    references, masked = [row["target"] for row in shown], [row["masked"] for row in shown]
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert len(files) == 1 + 2 * (1 + 1 + 3 + 1)
    assert len({(tmp_path / "out" / name).read_text() for name in files if "wrong.seed1" in name}) == 3
    hits: dict[str, list[Any]] = {system: [] for system in scoring.SYSTEMS}
    for system in scoring.SYSTEMS:
        seeds = []
        for number in (1, 2):
            texts = [
                (tmp_path / "out" / name).read_text()
                for name in files
                if name.startswith(f"{system}.seed{number}.")
            ]
            draws = [probe_accuracy(masked, references, text.split("\n")[:-1], "colour", "de") for text in texts]
            seeds.append(statistics.fmean(score.restricted for score in draws))
            hits[system].append(np.mean([[hit.restricted for hit in score.hits] for score in draws], 0))
        assert result["colour_accuracy"][system]["seeds"] == pytest.approx(seeds)
        assert result["colour_accuracy"][system]["mean"] == pytest.approx(statistics.fmean(seeds))
        assert result["colour_accuracy"][system]["std"] == pytest.approx(statistics.stdev(seeds))
    assert wilcoxon(*(np.mean(hits[name], 0) for name in ("right", "wrong"))).pvalue == pytest.approx(
        result["p_value"]
    )
    assert (result["items"], result["sentences"], result["without_gold"]) == (8, 8, 0)


@pytest.mark.usefixtures("oracle")
def test_a_model_that_sees_is_told_from_one_that_does_not(kennel: Path, tmp_path: Path) -> None:
    result = evaluate(kennel, tmp_path / "out")
    accuracy, relaxed = result["colour_accuracy"], result["relaxed_accuracy"]
    assert accuracy["right"]["seeds"] == [1, 7 / 8]
    assert accuracy["wrong"]["mean"] < accuracy["right"]["mean"]
    assert [statistics.fmean(draws) for draws in accuracy["wrong"]["draws"]] == accuracy["wrong"]["seeds"]
    assert [len(draws) for draws in accuracy["wrong"]["draws"]] == [3, 3]
    gains = [
        right - wrong for right, wrong in zip(*(accuracy[s]["seeds"] for s in ("right", "wrong")), strict=True)
    ]
    assert result["right_minus_wrong"]["colour_accuracy"]["seeds"] == gains
    assert accuracy["text_only"] == accuracy["blank"] == {"mean": 0, "std": 0, "seeds": [0, 0]}
    assert relaxed["blank"]["mean"] > 0  # "rote" for "roter"
    assert result["p_value"] == result["p_values"]["right_vs_wrong"] < 0.05
    assert result["p_values"]["right_vs_blank"] < 0.05
    assert result["bleu"]["right"]["seeds"][0] == pytest.approx(100)
    again = evaluate(kennel, tmp_path / "again", models=[kennel / "gated1"], text_only=[kennel / "text1"])
    assert again["colour_accuracy"]["right"] == {"mean": 1, "std": None, "seeds": [1]}


@pytest.mark.usefixtures("oracle")
def test_the_seed_numbers_the_draws(kennel: Path, tmp_path: Path) -> None:
    evaluate(kennel, tmp_path / "out", seed=5)
    of_image = {row["image"]: row["target"] for row in rows("test") if row["has_image"]}
    for draw, seed in ((1, 5), (2, 6), (3, 7)):
        texts = (tmp_path / "out" / f"wrong.seed1.draw{draw}.de").read_text().split("\n")[:-1]
        assert texts == [of_image[image] for image in wrong_images(list(of_image), seed)]


@pytest.mark.usefixtures("oracle")
def test_models_of_other_training_data_are_compared_with_a_warning(
    kennel: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, same, other = (
        model_folder(tmp_path / name, kennel, fusion, seed=1, data_checksum=data)
        for name, fusion, data in (("text", "none", "a"), ("same", "gated", "a"), ("other", "gated", "b"))
    )
    for model, expected in ((same, True), (other, False)):
        result = evaluate(kennel, tmp_path / "out", text_only=[text], models=[model], draws=1)
        assert result["same_training_data"] == expected
        scoring.print_result(result)
        assert ("trained on different data" in capsys.readouterr().out) != expected


def test_a_system_is_no_better_than_itself() -> None:
    many = rows("test") * 10
    text = [row["target"] for row in many]
    masked = [Probe("colour").mask(row["source"])[1] for row in many]
    sentences = masked_sentences(text, masked)
    names = ("text_only.seed1", "right.seed1", "wrong.seed1.draw1", "blank.seed1")
    assert set(scoring.score(dict.fromkeys(names, text), sentences, "colour", "de")["p_values"].values()) == {None}


def test_words_without_known_translations_are_told_apart_by_whole_sentences(
    capsys: pytest.CaptureFixture[str],
) -> None:
    many = rows("test") * 3
    text = [row["target"] for row in many]
    masked = [["dog"] if number % 2 else [] for number in range(len(many))]
    lost = [line.replace("Hund", "Kran") if words else line for line, words in zip(text, masked, strict=True)]
    noisy = [line if words else "" for line, words in zip(text, masked, strict=True)]  # where nothing is masked
    sentences = masked_sentences(text, masked)
    texts = {"text_only.seed1": lost, "right.seed1": text, "wrong.seed1.draw1": lost, "blank.seed1": noisy}
    found = scoring.score(texts, sentences, "noun", "de")
    assert not [name for name in found if "accuracy" in name]
    assert found["bleu"]["right"]["mean"] == pytest.approx(100)
    assert found["bleu"]["right"]["mean"] > found["bleu"]["wrong"]["mean"]
    assert found["p_value"] == found["p_values"]["right_vs_text_only"] < 0.001
    assert found["p_values"]["right_vs_blank"] is None
    about = {"data": "dogs", "split": "test", "languages": "en-de", "probe": {"kind": "noun"}, "draws": 1}
    scoring.print_result({**about, "same_training_data": True, **found})
    printed = capsys.readouterr().out
    assert "36 sentences with an image" in printed
    assert "accuracy" not in printed


def test_real_models_are_scored_and_printed(
    kennel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    arguments = [kennel / "data", "test", tmp_path / "out", "--text-only", kennel / "text1"]
    arguments += ["--model", kennel / "gated1", "--images", kennel / "features", "--draws", "2"]
    first = next(row["image"] for row in read_split(kennel / "data", "test") if row["has_image"])
    (tmp_path / "some.txt").write_text(first)
    arguments += ["--group", f"some={tmp_path / 'some.txt'}"]
    scoring.main(list(map(str, arguments)), standalone_mode=False)
    printed = capsys.readouterr().out
    assert "8 masked words in 8 of 8 sentences" in printed
    result = json.loads((tmp_path / "out/result.json").read_text())
    assert {name: group["items"] for name, group in result["groups"].items()} == {"some": 1, "others": 7}
    assert "right - text only" in printed
    assert result["features"]["backbone"] == "tiny"
    assert result["models"]["with_images"][0]["training"] == {"seed": 1}
    assert result["data_checksum"] == read_info(kennel / "data").splits["test"].checksum
    right, blank = ((tmp_path / f"out/{name}.seed1.de").read_text() for name in ("right", "blank"))
    assert right.count("\n") == blank.count("\n") == 8


def test_models_and_data_that_do_not_fit_are_refused(kennel: Path, world: Path, tmp_path: Path) -> None:
    noun = masking.prepare(kennel / "plain", tmp_path / "noun", Probe("noun", 1)) and tmp_path / "noun"
    person = masking.prepare(kennel / "plain", tmp_path / "person", Probe("character")) and tmp_path / "person"
    other = model_folder(tmp_path / "other", kennel, "gated", seed=1, data_checksum="other")
    plain = tiny_folder(tmp_path / "plain", world, "none")
    elsewhere = model_folder(tmp_path / "elsewhere", kennel, "gated", seed=1, probe=Probe("noun", 2).to_dict())
    make_features(tmp_path / "few", [row["image"] for row in rows("test") if row["has_image"]][:-1])
    for changes, complaint in (
        ({"data": kennel / "plain"}, "expected a masked dataset, found a plain one"),
        ({"data": noun}, "trained on data masked with .MASK_N."),
        ({"data": person}, "trained on data masked with .MASK_P."),
        ({"text_only": [plain]}, "trained on data masked with .MASK_C."),
        ({"text_only": [kennel / "gated1"]}, "--text-only .*trained with images. Give it as --model"),
        ({"models": [kennel / "text1"]}, "--model .*trained on text only. Give it as --text-only"),
        ({"models": [kennel / "gated1"] * 2}, "a model with seed 1 was given before"),
        ({"models": [kennel / "gated2", other]}, "differs from .*gated2 in more than its seed"),
        (
            {"models": [elsewhere]},
            "data masked alike .probe 'colour'., found one trained on probe 'noun' k 2, seed 1",
        ),
        ({"images": [tmp_path / "few"]}, "1 of 8 images are missing or cannot be read: 'test-11.png'"),
    ):
        with pytest.raises(MMTError, match=complaint):
            evaluate(kennel, tmp_path / "out", **changes)
        assert not (tmp_path / "out").exists()
    (tmp_path / "out").touch()
    with pytest.raises(MMTError, match="out: cannot be made a folder"):
        evaluate(kennel, tmp_path / "out")


# In the evidence


def evidence(kennel: Path, data: Path) -> Evidence:
    systems = {"model": kennel / "gated1"}
    return collect(Inputs(systems, data, "test", (kennel / "features",), draws=2, gallery=0))[0]


@pytest.mark.usefixtures("oracle")
def test_the_evidence_counts_the_words_that_the_probe_counts(kennel: Path) -> None:
    shown = [row for row in read_split(kennel / "data", "test") if row["has_image"]]
    masked, references, images = ([row[name] for row in shown] for name in ("masked", "target", "image"))
    of_image = dict(zip(images, references, strict=True))
    says = {
        "right": [references],
        "wrong": [[of_image[image] for image in wrong_images(images, seed)] for seed in (1, 2)],
        "blank": [["Ein rote Hund."] * len(shown)],
    }
    found = evidence(kennel, kennel / "data").controls
    assert [row.control for row in found] == list(says)
    for name in ("restricted", "relaxed"):
        right = np.ones(len(shown))
        for row in found:
            scores = [probe_accuracy(masked, references, draw, "colour", "de") for draw in says[row.control]]
            mean = 100 * statistics.fmean(getattr(score, name) for score in scores)
            assert row.scores[f"colour, {name}"].mean == pytest.approx(mean)
            hits = np.mean([[getattr(hit, name) for hit in score.hits] for score in scores], 0)
            if row.control != "right":
                assert row.p_values[f"colour, {name}"] == signed_rank((right - hits).tolist())
    blank = found[-1].scores
    assert blank["colour, relaxed"].mean > blank["colour, restricted"].mean == 0  # "rote" for "roter"


def test_evidence_without_listed_translations_has_no_words_to_count(kennel: Path, tmp_path: Path) -> None:
    info = replace(read_info(kennel / "data"), splits={})
    masked = [{**row, "target": "Ein Hund läuft weg."} for row in read_split(kennel / "data", "test")]
    write_dataset(tmp_path / "data", info, {"test": masked})
    for row in evidence(kennel, tmp_path / "data").controls:
        assert set(row.scores) - {"changed"} == {"BLEU", "chrF2", "TER", "log-probability per token"}
