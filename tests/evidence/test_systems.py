"""Laws of the evidence: what a model that ignores, copies or never had images must be told."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import Tensor, nn

from mmt.cli.main import main
from mmt.data.batch import Example, collate
from mmt.data.dataset import DatasetInfo, write_dataset
from mmt.data.feature_store import FeatureSignature, FeatureStore
from mmt.data.masking import SYMBOLS
from mmt.data.tokenizer import Tokenizer, train_tokenizer
from mmt.errors import MMTError
from mmt.evidence.collect import Inputs, collect, run_sections
from mmt.evidence.findings import (
    FEWEST_CHRF,
    SMALLEST_GAIN,
    Awareness,
    ChoiceRow,
    Comparison,
    ControlRow,
    Effects,
    Evidence,
    GalleryItem,
)
from mmt.evidence.gallery import gallery
from mmt.evidence.inside import gate_statistics
from mmt.evidence.measures import awareness, compare, control_rows, verdict
from mmt.evidence.sections import Section, Systems, summarize_gates
from mmt.evidence.systems import (
    ModelSystem,
    Outputs,
    Sentences,
    each_control,
    open_systems,
    read_sentences,
    run_controls,
)
from mmt.features.backbone import Backbone
from mmt.features.writer import FeatureWriter
from mmt.inference.controls import Control, wrong_images
from mmt.inference.torch_runtime import Translator
from mmt.metrics.significance import signed_rank
from mmt.model.card import ModelCard
from mmt.model.folder import save_model
from tests.worlds import DIM, NOUNS, tiny_folder, tiny_model

LOG_P = "log-probability per token"


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentences that do not say what their pictures show; 24 pictures, a feature for each noun, a tokenizer."""
    folder = tmp_path_factory.mktemp("shown")
    nouns = list(NOUNS.values())
    (folder / "images").mkdir()
    rows, values = [], []
    for number in range(24):
        noun = number % len(nouns)
        name = f"{number}.png"
        Image.new("RGB", (16, 12), (noun * 40, 90, number * 10)).save(folder / "images" / name)
        row = {"id": str(number), "image": name, "source": "He sees the thing.", "has_image": True}
        rows.append({**row, "target": f"Er sieht {nouns[noun]}.", "answer": nouns[noun]})
        values.append(np.eye(DIM, dtype=np.float32)[noun].reshape(1, DIM) * 4)
    text = {**rows[0], "id": "text", "image": "", "has_image": False}
    pairs = []
    for number in range(0, 24, 2):
        for one, other in ((number, number + 1), (number + 1, number)):
            contrast = {"contrast": rows[other]["target"], "wrong_answer": rows[other]["answer"]}
            pairs.append({**rows[one], **contrast, "id": f"c{one}"})
    info = DatasetInfo("shown", "en", "de", str(folder / "images"))
    write_dataset(folder / "data", info, {"test": [*rows, text], "contrastive": pairs})
    signature = FeatureSignature("tiny", "pool", "none", "ab" * 32, 1, DIM)
    with FeatureWriter(folder / "features", signature, "float32") as writer:
        writer.append([row["image"] for row in rows], np.stack(values))
        writer.finish()
    lines = [row[side] for row in rows for side in ("source", "target")]
    train_tokenizer(lines, 310, folder / "tokenizer.model")
    return folder


def save(folder: Path, shown: Path, model: torch.nn.Module) -> Path:
    tokenizer = Tokenizer(shown / "tokenizer.model")
    uses = model.config.fusion != "none"  # type: ignore[union-attr]
    signature = FeatureStore.open(shown / "features").signature if uses else None
    card = ModelCard(vars(model.config), "en", "de", signature, {"beam_size": 2})
    save_model(folder, model.state_dict(), tokenizer.path, card)
    return folder


@pytest.fixture(scope="module")
def copying(shown: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained for a moment to say what the picture shows."""
    from mmt.data.dataset import read_split

    tokenizer, store = Tokenizer(shown / "tokenizer.model"), FeatureStore.open(shown / "features")
    rows = [row for row in read_split(shown / "data", "test") if row["has_image"]]
    examples = [
        Example(tokenizer.encode(r["source"]), tokenizer.encode(r["target"]), r["image"])
        for r in rows[: len(NOUNS)]
    ]
    batch = collate(examples, store)
    small = {"num_encoder_layers": 1, "num_decoder_layers": 1, "norm_order": "pre", "dropout_p": 0.0}
    model = tiny_model(tokenizer.vocab_size, "gated", **small).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(400):
        optimizer.zero_grad()
        loss, _ = model.cross_entropy(batch)
        (loss / batch.num_target_tokens).backward()
        optimizer.step()
        if loss < 0.003 * batch.num_target_tokens:
            break
    return save(tmp_path_factory.mktemp("m") / "copying", shown, model)


@pytest.fixture(scope="module")
def ignoring(shown: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gate that never opens."""
    model = tiny_model(Tokenizer(shown / "tokenizer.model").vocab_size, "gated")
    with torch.no_grad():
        model.fusion.gate_text.bias.fill_(-1e4)
    return save(tmp_path_factory.mktemp("m") / "ignoring", shown, model)


@pytest.fixture(scope="module")
def text_only(shown: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = tiny_model(Tokenizer(shown / "tokenizer.model").vocab_size)
    return save(tmp_path_factory.mktemp("m") / "text", shown, model)


class FirstPixel(Backbone):
    """Stands for the backbone of ``shown``: the red of a picture's first pixel says which noun it shows."""

    def __init__(self, signature: FeatureSignature) -> None:
        nn.Module.__init__(self)
        self.signature, self.num_seen = signature, 0
        self.notes, self.things = Counter(), "images"

    def transform(self, picture: Tensor) -> Tensor:
        return picture[:, :7, :7]

    def forward(self, pictures: Tensor) -> Tensor:
        self.num_seen += len(pictures)
        nouns = pictures[:, 0, 0, 0].long() // 40
        return 4 * nn.functional.one_hot(nouns, DIM).float().unsqueeze(1)


@pytest.fixture
def backbone(shown: Path, monkeypatch: pytest.MonkeyPatch) -> FirstPixel:
    made = FirstPixel(FeatureStore.open(shown / "features").signature)
    monkeypatch.setattr("mmt.features.load.load_backbone", lambda name, layer: made)
    return made


def found(shown: Path, model: Path, against: Path | None = None, **settings: int) -> Evidence:
    settings = {"draws": 2, "gallery": 3} | settings
    return collect(Inputs(model, shown / "data", "test", (shown / "features",), against, **settings))[0]


def test_a_model_that_copies_the_picture_uses_it(shown: Path, copying: Path, text_only: Path) -> None:
    evidence = found(shown, copying, text_only)
    assert evidence.verdict.answer == "yes", evidence.verdict.sentence
    rows = {(row.system, row.control): row for row in evidence.controls}
    assert list(rows) == [("model", "right"), ("model", "wrong"), ("model", "blank"), ("against", "text")]
    words = {key: row.scores["right word"].mean for key, row in rows.items()}
    assert words["model", "right"] == 100
    assert words["model", "wrong"] < 60
    p_value = rows["model", "wrong"].p_values["right word"]
    assert p_value is not None
    assert p_value < 0.01
    assert rows["model", "right"].p_values == {}
    log_p = {
        control: rows["model", control].scores["log-probability per token"].mean
        for control in ("right", "wrong", "blank")
    }
    assert evidence.awareness is not None
    assert evidence.awareness.difference == pytest.approx(log_p["right"] - log_p["wrong"])
    assert evidence.awareness.difference_blank == pytest.approx(log_p["right"] - log_p["blank"])
    assert log_p["wrong"] != pytest.approx(log_p["blank"])
    model, against = evidence.choices
    assert (model.accuracy, model.pair_accuracy, model.blank) == (1.0, 1.0, 0.5)
    assert (against.accuracy, against.pair_accuracy, against.mcnemar) == (0.5, 0.0, pytest.approx(2 * 0.5**12))
    assert len(evidence.gallery) == 3
    assert all(item.right != item.blank and item.image != item.wrong_image for item in evidence.gallery)
    assert all(item.gain > 0 for item in evidence.gallery)  # it is always right
    assert evidence.effects is not None
    assert (evidence.effects.hurt, evidence.effects.helped > 12) == (0, True)
    assert evidence.gates is not None
    assert evidence.gates.norm_ratio > 0.1


def test_a_model_that_ignores_images_gets_zero_and_no(shown: Path, ignoring: Path) -> None:
    evidence = found(shown, ignoring)
    assert evidence.verdict.answer == "no"
    assert evidence.awareness is not None
    assert set(evidence.awareness.per_sentence) == {0.0}
    assert (evidence.awareness.difference, evidence.awareness.changed, evidence.awareness.p_value) == (0, 0, None)
    scores = [row.scores for row in evidence.controls]
    assert all(score["BLEU"].mean == scores[0]["BLEU"].mean for score in scores)
    assert [row.accuracy for row in evidence.choices] == [0.5]
    assert evidence.gallery == []
    assert evidence.gates is not None
    assert evidence.gates.share_over_1e10 == 0


def test_a_text_only_model_gets_no_and_half_of_the_pairs(shown: Path, text_only: Path) -> None:
    evidence = found(shown, text_only)
    assert evidence.verdict.answer == "no"
    assert [row.control for row in evidence.controls] == ["text"]
    assert [row.accuracy for row in evidence.choices] == [0.5]
    assert evidence.awareness is None
    assert "the model is text-only" in dict(evidence.not_run).values()


def test_the_same_seed_gives_the_same_evidence(shown: Path, copying: Path) -> None:
    one, two, other = (found(shown, copying, seed=seed) for seed in (3, 3, 8))
    assert (one.awareness, one.controls, one.gallery) == (two.awareness, two.controls, two.gallery)
    assert one.awareness != other.awareness


def test_draws_of_wrong_images_differ(shown: Path, copying: Path) -> None:
    translator = Translator.from_dir(copying, shown / "features")
    sentences = read_sentences(shown / "data", "test", lambda image: True)
    outputs = run_controls(ModelSystem(copying, translator), sentences, sentences.draws(3, seed=4))
    drawn = [wrong_images(sentences.images, seed) for seed in (4, 5, 6)]
    assert outputs.hypotheses["wrong"] == [translator.translate(sentences.sources, images) for images in drawn]
    for of_draws in (outputs.hypotheses["wrong"], outputs.log_probs["wrong"]):
        assert len(set(map(tuple, of_draws))) == 3


def test_the_gallery_names_the_images_that_were_translated(shown: Path, copying: Path) -> None:
    items = found(shown, copying, gallery=24).gallery
    assert len(items) > 12
    translator = Translator.from_dir(copying, shown / "features")
    sources = [item.source for item in items]
    assert translator.translate(sources, [item.image for item in items]) == [item.right for item in items]
    assert translator.translate(sources, [item.wrong_image for item in items]) == [item.wrong for item in items]


def test_a_closed_gate_is_in_the_first_bin_and_an_open_one_in_the_last(shown: Path, ignoring: Path) -> None:
    translator = Translator.from_dir(ignoring, shown / "features")
    sentences = read_sentences(shown / "data", "test", lambda image: True)
    rest = [0.0] * 9
    for bias, expected in ((-1e4, [1.0, *rest]), (1e4, [*rest, 1.0])):
        with torch.no_grad():
            translator.model.fusion.get_submodule("gate_text").get_parameter("bias").fill_(bias)
        statistics = gate_statistics(translator, sentences.sources, sentences.images)
        assert summarize_gates(statistics).histogram == expected


def test_image_files_give_what_their_features_give(
    shown: Path, copying: Path, text_only: Path, backbone: FirstPixel
) -> None:
    given = Inputs(copying, shown / "data", "test", (shown / "features",), draws=2, gallery=1)
    by_store, _ = collect(given)
    for_map = backbone.num_seen
    by_files, _ = collect(replace(given, stores=()))
    assert backbone.num_seen - 2 * for_map == 24  # each file once
    assert replace(by_files, settings={}) == replace(by_store, settings={})
    collect(replace(given, model=text_only, stores=()))
    assert backbone.num_seen - 2 * for_map == 24  # and none


def commute(folder: Path) -> Path:
    """Mirrored items on two nouns each, and a photograph for each item."""
    nouns = list(NOUNS.values())
    lines: dict[str, list[str]] = {name: [] for name in ("src.en", "correct.de", "incorrect.de", "img.order")}
    (folder / "images").mkdir()
    (folder / "en-de").mkdir()
    for number, noun in enumerate(nouns):
        Image.new("RGB", (16, 12), (number * 40, 0, 0)).save(folder / "images" / f"photo{number}.png")
        said = ("He sees the thing.", f"Er sieht {noun}.", f"Er sieht {nouns[number ^ 1]}.", f"photo{number}.png")
        for column, text in zip(lines.values(), said, strict=True):
            column.append(text)
    for name, column in lines.items():
        (folder / "en-de" / name).write_text("".join(f"{line}\n" for line in column))
    return folder / "en-de"


def test_commute_without_photographs_is_for_text_only_models(
    shown: Path, copying: Path, text_only: Path, tmp_path: Path
) -> None:
    given = Inputs(text_only, shown / "data", "test", (shown / "features",), commute=commute(tmp_path))
    shutil.rmtree(tmp_path / "images")
    row = collect(given)[0].choices[-1]
    assert (row.data, row.items, row.missing, row.pairs) == ("CoMMuTE", 6, 0, 3)
    assert (row.accuracy, row.pair_accuracy, row.blank) == (0.5, 0, None)
    with pytest.raises(MMTError, match="no backbone 'tiny'"):
        collect(replace(given, model=copying))


@pytest.mark.usefixtures("backbone")
def test_commute_is_judged_by_its_photographs(shown: Path, copying: Path, text_only: Path, tmp_path: Path) -> None:
    given = Inputs(
        copying, shown / "data", "test", (shown / "features",), text_only, commute(tmp_path), draws=1, gallery=0
    )

    def judged(**changes: Any) -> list[ChoiceRow]:
        return [row for row in collect(replace(given, **changes))[0].choices if row.data == "CoMMuTE"]

    model, against = judged()
    assert (model.items, model.missing, model.pairs) == (6, 0, 3)
    assert (model.accuracy, model.pair_accuracy, model.blank) == (1, 1, 0.5)
    assert (against.accuracy, against.pair_accuracy, against.mcnemar) == (0.5, 0, pytest.approx(2 * 0.5**3))
    (tmp_path / "images").rename(tmp_path / "photos")
    assert judged(stores=(), commute_images=tmp_path / "photos") == [model, against]
    (tmp_path / "photos" / "photo5.png").unlink()
    fewer, _ = judged(commute_images=tmp_path / "photos")
    assert (fewer.items, fewer.missing, fewer.missing_images) == (5, 1, ["photo5.png"])
    assert (fewer.accuracy, fewer.pairs) == (1, 2)


class Copier:
    """A system that only translates: it says the noun that the name of the image gives away."""

    uses_images = True

    def translate(self, sentences: Any, images: Any = None, progress: Any = None) -> list[str]:
        return [f"Er sieht {image or 'nichts'}." for image in images or [None] * len(sentences)]


def test_any_system_that_translates_is_run_under_every_control() -> None:
    nouns = list(NOUNS.values())
    sentences = Sentences(
        [str(n) for n in range(6)], ["He sees it."] * 6, [f"Er sieht {n}." for n in nouns], nouns, nouns
    )
    outputs = run_controls(Copier(), sentences, sentences.draws(2, 1))
    assert [len(draws) for draws in outputs.hypotheses.values()] == [1, 2, 1]
    assert (outputs.log_probs, outputs.choices) == ({}, {})
    rows, signatures = control_rows(sentences, named(outputs.normalized()), "de", "")
    assert [row.scores["right word"].mean for row in rows] == [100, 0, 0]
    assert LOG_P not in signatures
    assert all(LOG_P not in row.scores for row in rows)


def test_a_text_only_system_has_one_control_and_is_shown_nothing() -> None:
    shown: list[object] = []
    assert each_control(None, [["a"]], lambda name, images: shown.append(images)) == {"right": [None]}
    assert shown == [None]


def test_choices_are_right_where_the_reference_is_more_probable(shown: Path, copying: Path) -> None:
    sentences = read_sentences(shown / "data", "contrastive")
    assert sentences.contrasts is not None
    with open_systems({"model": [copying]}, shown / "data", [shown / "features"]) as systems:
        (system,) = systems["model"]
        outputs = run_controls(system, sentences, sentences.draws(1, 1), score=False, choose=True)
    assert outputs.choices["right"] == [[True] * len(sentences.ids)]
    assert sum(outputs.choices["blank"][0]) * 2 == len(sentences.ids)  # each sentence stands twice, mirrored
    assert outputs.log_probs == {}


def test_a_section_is_one_class_and_all_are_asked_before_the_first_runs() -> None:
    calls = []

    class Counted(Section):
        name = "counted"

        def applies(self, systems: Systems) -> str | None:
            calls.append("asked")
            return None

        def run(self, systems: Systems) -> dict[str, Any]:
            calls.append("run")
            self.notes.append(("a part", "too small"))
            return {"settings": {"counted": 1}}

    class Refused(Counted):
        name = "refused"

        def applies(self, systems: Systems) -> str | None:
            calls.append("asked")
            return "no data"

    class Also(Refused):
        name = "also refused"

    nothing: Any = None
    fields, not_run = run_sections([Counted(), Refused(), Also()], nothing)
    assert calls == ["asked", "asked", "asked", "run"]
    assert fields == {"settings": {"counted": 1}}
    assert not_run == [("a part", "too small"), ("refused, also refused", "no data")]


# Systems by hand


def some_sentences(num: int) -> Sentences:
    ids, nouns = [str(number) for number in range(num)], [*NOUNS.values()] * num
    references = [f"Er sieht {noun} Nummer {number}." for noun, number in zip(nouns, ids, strict=False)]
    return Sentences(ids, ["He sees it."] * num, references, ids, nouns[:num])


def by_hand(
    says: dict[Control, list[list[str]]],
    log_p: dict[Control, list[list[float]]] | None = None,
    tokenizer: Path = Path(),
    features: str | None = "some",
) -> Outputs:
    """A model with images of which no more is known than what it says, and how probable it finds it."""
    translator: Any = SimpleNamespace(
        card=SimpleNamespace(features=features), tokenizer=SimpleNamespace(path=tokenizer)
    )
    alike: dict[Control, list[list[float]]] = {c: [[-1.0] * len(d) for d in draws] for c, draws in says.items()}
    return Outputs(ModelSystem(Path(), translator), says, log_p or alike, {})


def named(model: Outputs, against: Outputs | None = None) -> dict[str, Outputs]:
    return {"model": model} | ({"against": against} if against is not None else {})


def rows_of(sentences: Sentences, model: Outputs, against: Outputs | None = None) -> dict[str, ControlRow]:
    rows = control_rows(sentences, named(model, against), "de", "")[0]
    return {row.control if row.system == "model" else row.system: row for row in rows}


def test_words_are_tested_by_the_mean_over_draws() -> None:
    sentences = some_sentences(20)
    hits = np.random.default_rng(1).random((4, 20)) < np.array([[0.8], [0.3], [0.5], [0.2]])
    says = [
        [text if hit else "Er sieht nichts." for text, hit in zip(sentences.references, draw, strict=True)]
        for draw in hits
    ]
    wrong = rows_of(sentences, by_hand({"right": [says[0]], "wrong": says[1:]}))["wrong"]
    assert wrong.scores["right word"].mean == pytest.approx(100 * hits[1:].mean())
    expected = signed_rank((hits[0] - hits[1:].mean(0)).tolist())
    assert wrong.p_values["right word"] == pytest.approx(expected)
    assert expected not in [signed_rank((hits[0] - draw.astype(float)).tolist()) for draw in hits[1:]]


def test_whole_translations_are_tested_against_those_with_the_right_image() -> None:
    for num, tested in ((30, True), (29, False)):
        sentences = some_sentences(num)
        right, worse = sentences.references, ["Er sieht nichts."] * num
        rows = rows_of(sentences, by_hand({"right": [right], "wrong": [worse, right], "blank": [list(right)]}))
        for label in ("BLEU", "chrF2"):
            assert label not in rows["right"].p_values
            assert (label in rows["wrong"].p_values) == tested
            if tested:
                assert rows["wrong"].p_values[label] < 0.01
                assert rows["blank"].p_values[label] == 1


def test_what_float32_cannot_tell_apart_is_no_difference() -> None:
    sentences, right = some_sentences(20), [-1.0 - 0.1 * number for number in range(20)]
    for step, is_none in ((1e-6, True), (1e-3, False)):
        lower = [[value - step for value in right]]
        system = by_hand(
            {control: [sentences.references] for control in ("right", "wrong", "blank")},
            {"right": [right], "wrong": lower * 2, "blank": lower},
        )
        told, rows = awareness(system), rows_of(sentences, system)
        p_values = [told.p_value, told.p_value_blank, rows["wrong"].p_values[LOG_P], rows["blank"].p_values[LOG_P]]
        assert [p is None for p in p_values] == [is_none] * 4
        assert told.difference == told.difference_blank == (0 if is_none else pytest.approx(step))


def test_only_models_of_the_same_tokens_are_compared_by_their_probabilities(tmp_path: Path) -> None:
    for name, content in (("own", b"a"), ("copy", b"a"), ("other", b"b")):
        (tmp_path / name).write_bytes(content)
    sentences = some_sentences(4)
    own, copy, other = (
        by_hand({"right": [sentences.references]}, tokenizer=tmp_path / name) for name in ("own", "copy", "other")
    )
    for against, told in ((copy, True), (other, False)):
        row = rows_of(sentences, own, against)["against"]
        assert (LOG_P in row.scores, LOG_P in row.p_values) == (told, told)
        assert "BLEU" in row.scores


def seen(per_sentence: list[float], changed: float = 0.5) -> Awareness:
    return Awareness(
        float(np.mean(per_sentence)), 1.0, signed_rank(per_sentence), per_sentence, 0.0, None, changed, changed
    )


def test_the_verdict_goes_by_the_test() -> None:
    clear = [0.1 + 0.01 * number for number in range(20)]
    mixed = [(-1) ** number * value for number, value in enumerate(clear)]
    assert verdict(seen(clear)).answer == "yes"
    assert verdict(seen(mixed)).answer == "not shown"
    harm = verdict(seen([-value for value in clear]))
    assert (harm.answer, "harm" in harm.sentence) == ("not shown", True)
    assert verdict(seen([0.0] * 20, changed=0.0)).answer == "no"
    assert verdict(seen([0.0] * 20, changed=0.1)).answer == "not shown"
    assert verdict(None).answer == "no"
    # A few great gains outweigh many small losses in the mean, but the test goes by ranks.
    few = [-0.010 - 0.001 * number for number in range(30)] + [3.0, 4.0]
    assert (np.mean(few) > 0, signed_rank(few) < 0.05) == (True, True)
    assert verdict(seen(few)).answer == "not shown"


def compared(ours: list[str], theirs: list[str], features: str | None = None) -> Comparison:
    systems = [by_hand({"right": [says]}, features=given) for says, given in ((ours, "some"), (theirs, features))]
    return compare(some_sentences(len(ours)), *systems)


def test_the_comparison_goes_by_the_interval() -> None:
    sentences = some_sentences(200)
    right, slips = sentences.references, [f"{text[:-1]}!" for text in sentences.references]
    wrong = ["Wir gehen heim."] * 200

    def mixed(texts: list[str], odd: int, num: int) -> list[str]:
        return [texts[row] if row % 2 == odd else right[row] for row in range(num)]

    better, worse = compared(right, wrong), compared(wrong, right)
    assert (better.answer, worse.answer) == ("yes", "worse")
    assert better.difference == -(worse.difference or 0)
    assert better.interval is not None
    assert 0 < better.interval[0] < (better.difference or 0) < better.interval[1]
    assert better.p_value == worse.p_value
    assert compared(right, right).answer == "no"
    alike = compared(mixed(slips, 0, 200), mixed(slips, 1, 200))
    assert alike.interval is not None
    assert (alike.answer, alike.interval[0] < 0 < alike.interval[1] < SMALLEST_GAIN) == ("no", True)
    few = compared(mixed(wrong, 0, 40), mixed(wrong, 1, 40))
    assert few.interval is not None
    assert (few.answer, few.interval[1] > SMALLEST_GAIN) == ("not shown", True)
    assert compared(right[:30], wrong[:30]).answer == "yes"
    assert compared(right[:29], wrong[:29]).answer == "not shown"


def test_the_comparison_says_what_was_compared_with_what() -> None:
    sentences = some_sentences(40)
    right, wrong = sentences.references, ["Er sieht nichts."] * 40
    assert compared(right, wrong).question == "Better than text-only?"
    assert compared(right, wrong, features="some").question == "Better than the other model?"
    missing = compare(sentences, by_hand({"right": [right]}), None)
    assert (missing.question, missing.answer) == ("Better than text-only?", "not compared")
    assert "--against" in missing.sentence
    model, against = by_hand({"right": [right]}), by_hand({"right": [wrong]}, features=None)
    rows = control_rows(sentences, named(model, against), "de", "")[0]
    said = compare(sentences, model, against, rows).sentence
    assert "The right word: 100 % against 0 % (p < 0.001)" in said
    assert "times as likely as with the text-only model" in said


@pytest.mark.parametrize("ours", [None, "some"])
@pytest.mark.parametrize("theirs", [None, "some"])
def test_the_comparison_is_of_each_model_as_it_is_used(ours: str | None, theirs: str | None) -> None:
    """With its right images or, text-only, with none: never of one model's controls with each other."""
    sentences = some_sentences(40)
    right, wrong = sentences.references, ["Er sieht nichts."] * 40

    def system(features: str | None, says: list[str], log_p: float) -> Outputs:
        draws: dict[Control, list[list[str]]] = {"right": [says]}
        probable: dict[Control, list[list[float]]] = {"right": [[log_p] * 40]}
        if features is not None:
            draws |= {"wrong": [wrong], "blank": [wrong]}
            probable |= {"wrong": [[-3.0] * 40], "blank": [[-3.0] * 40]}
        return by_hand(draws, probable, features=features)

    model, against = system(ours, wrong, -2.0), system(theirs, right, -1.0)
    comparison = compare(sentences, model, against, control_rows(sentences, named(model, against), "de", "")[0])
    assert comparison.answer == "worse"
    assert "The right word: 0 % against 100 % (p < 0.001)" in comparison.sentence
    assert "on average 0.37 times as likely" in comparison.sentence


def examples(says: dict[Control, list[str]], against: list[str], size: int) -> tuple[Effects, list[GalleryItem]]:
    sentences = some_sentences(len(against))
    draws: dict[Control, list[list[str]]] = {control: [texts] for control, texts in says.items()}
    model, other = by_hand(draws, features=None), by_hand({"right": [against]}, features=None)
    aware = seen([0.1] * len(against))
    translator: Any = SimpleNamespace(card=SimpleNamespace(features=None))
    return gallery(translator, sentences, model, other, aware, sentences.images[::-1], {}, [], size)


def test_examples_are_where_the_image_helped_and_where_it_hurt() -> None:
    right = some_sentences(12).references
    bad = [f"Er sieht nichts {row}." for row in range(12)]
    says: dict[Control, list[str]] = {
        "right": [*right[:6], *bad[6:10], "Er", "Q"],
        "wrong": bad,
        "blank": [*bad[:6], *right[6:10], "Q", "Q"],
    }
    against = [*bad[:5], *right[5:10], "Q", "Q"]
    effects, items = examples(says, against, 12)
    # Number 5 is right without the image, too, by the text-only model; 10 is better, but no translation at all.
    assert effects == Effects(helped=6, hurt=4, unchanged=2, left_out=1)
    assert {item.id for item in items if item.gain > 0} == {str(row) for row in range(5)}
    assert {item.id for item in items if item.gain < 0} == {str(row) for row in range(6, 10)}
    for size, helped, hurt in ((0, 0, 0), (1, 1, 0), (4, 2, 2), (7, 4, 3), (9, 5, 4)):
        chosen = examples(says, against, size)[1]
        assert ([item.gain > 0 for item in chosen]) == [True] * helped + [False] * hurt
    assert all(max(item.chrf.values()) >= FEWEST_CHRF for item in items)


def test_sentences_without_image_and_missing_images_are_counted(
    shown: Path, copying: Path, tmp_path: Path
) -> None:
    store = FeatureStore.open(shown / "features")
    few = [f"{number}.png" for number in range(10)]
    with FeatureWriter(tmp_path / "few", store.signature, "float32") as writer:
        writer.append(few, store.get(few))
        writer.finish()
    evidence = collect(Inputs(copying, shown / "data", "test", (tmp_path / "few",), draws=1, gallery=0))[0]
    data = evidence.data
    counts = ("sentences_with_image", "sentences_without_image", "sentences_left_out")
    assert [data[name] for name in counts] == [10, 1, 14]
    assert data["images_missing"] == [f"{number}.png" for number in range(10, 24)]
    assert (evidence.choices[0].items, evidence.choices[0].missing) == (10, 14)
    assert evidence.choices[0].missing_images == data["images_missing"]


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_one_command_writes_the_page_and_its_json(
    shown: Path, copying: Path, text_only: Path, tmp_path: Path
) -> None:
    code, out, err = run(
        *("evidence", "--model", copying, "--against", text_only, "--data", shown / "data", "--draws", 2),
        *("--images", shown / "features", "--gallery", 2, "--output", tmp_path / "page"),
    )
    assert code == 0, err
    assert out.startswith("Better than text-only? ")
    assert "Does it use the image? Yes\n" in out
    assert max(map(len, out.splitlines())) <= 80
    assert "Not run: ambiguous words" in err
    written = json.loads((tmp_path / "page" / "evidence.json").read_text())
    assert written["verdict"]["answer"] == "yes"
    assert written["comparison"]["scores"][0] == 100
    page = (tmp_path / "page" / "evidence.html").read_text()
    assert written["gallery"][0]["right"] in page
    assert "data:image/jpeg" in page
    code, out, err = run(
        *("evidence", "--model", copying, "--data", shown / "data", "--draws", 1, "--gallery", 2, "--no-pictures"),
        *("--images", shown / "features", "--output", tmp_path / "bare"),
    )
    assert code == 0, err
    assert "Better than text-only? Not compared" in out
    assert "--against" in out
    assert json.loads((tmp_path / "bare" / "evidence.json").read_text())["comparison"]["answer"] == "not compared"
    assert "data:image/jpeg" not in (tmp_path / "bare" / "evidence.html").read_text()


def refused(*arguments: object) -> str:
    code, out, err = run("evidence", *arguments)
    assert (code, out) == (2, ""), err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def test_what_does_not_fit_is_refused(shown: Path, copying: Path, world: Path, tmp_path: Path) -> None:
    base = ["--model", copying, "--images", shown / "features", "--output", tmp_path / "out"]
    assert "no split 'tset'" in refused(*base, "--data", shown / "data", "--split", "tset")
    assert "expected a prepared dataset" in refused(*base, "--data", tmp_path)
    rows = [{"id": "1", "image": "", "source": "a", "target": "b", "has_image": False}]
    write_dataset(tmp_path / "bare", DatasetInfo("bare", "en", "de", ""), {"test": rows})
    assert "has 0 sentences with an image" in refused(*base, "--data", tmp_path / "bare")
    write_dataset(tmp_path / "fr", DatasetInfo("fr", "en", "fr", ""), {"test": rows})
    assert "expected en-de" in refused(*base, "--data", tmp_path / "fr")
    other = tiny_folder(tmp_path / "m", world, "gated")
    assert "no backbone 'tiny'" in refused(
        "--model", other, "--data", shown / "data", "--output", tmp_path / "out"
    )
    masked = DatasetInfo(
        "masked", "en", "de", "", probe={"kind": "colour", "symbol": SYMBOLS["colour"], "k": 0, "seed": 1}
    )
    write_dataset(tmp_path / "masked", masked, {"test": [{**rows[0], "masked": ["red"]}]})
    assert "[MASK_C]" in refused(*base, "--data", tmp_path / "masked")
    commute = tmp_path / "en-de"
    commute.mkdir()
    for name, count in (("src.en", 2), ("correct.de", 2), ("incorrect.de", 1), ("img.order", 2)):
        (commute / name).write_text("x.\n" * count)
    said = refused(*base, "--data", shown / "data", "--commute", commute, "--gallery", 0, "--draws", 1)
    assert "src.en has 2 lines and incorrect.de has 1" in said
    for path in commute.glob("*.de"):
        path.rename(path.with_suffix(".fr"))
    # ... and other languages before any image is looked for.
    said = refused(
        "--model", copying, "--data", shown / "data", "--commute", commute, "--output", tmp_path / "out"
    )
    assert "expected en-de, found en-fr" in said


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize(("text", "number"), [("", "0"), ("x " * 600, "1,200")], ids=["empty", "long"])
def test_a_line_that_cannot_be_scored_is_refused_before_translating(
    shown: Path, copying: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: str, text: str, number: str
) -> None:
    good = {"id": "good", "image": "0.png", "source": "A.", "target": "B.", "has_image": True}
    bad = {**good, "id": "bad", "image": "1.png", side: text}
    write_dataset(tmp_path / "data", DatasetInfo("bad", "en", "de", ""), {"test": [good, bad]})
    monkeypatch.setattr(Translator, "hypotheses", lambda *_, **__: pytest.fail("it was translated"))
    with pytest.raises(MMTError, match=f"row 'bad': expected a {side} of 1 to 511 pieces, found {number}\\."):
        collect(Inputs(copying, tmp_path / "data", "test", (shown / "features",)))
