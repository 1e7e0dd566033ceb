"""Laws of the evidence: what a model that ignores, copies or never had images must be told."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import Tensor, nn

from mmt.cli.main import main
from mmt.data.dataset import DatasetInfo, write_dataset
from mmt.data.feature_signature import FeatureSignature
from mmt.data.feature_store import FeatureStore
from mmt.data.masking import SYMBOLS
from mmt.errors import MMTError
from mmt.evidence.collect import Inputs, collect, run_sections
from mmt.evidence.controls import each_control, run_controls
from mmt.evidence.findings import (
    ChoiceRow,
    Evidence,
)
from mmt.evidence.inside import gate_statistics
from mmt.evidence.measures import control_rows
from mmt.evidence.models import ModelSystem, open_systems
from mmt.evidence.sections import Section, Systems, summarize_gates
from mmt.evidence.sentences import Sentences, read_sentences
from mmt.features.backbone import Backbone
from mmt.features.writer import FeatureWriter
from mmt.inference.controls import wrong_images
from mmt.inference.torch_runtime import Translator
from tests.worlds import DIM, NOUNS, tiny_folder

LOG_P = "log-probability per token"


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
    systems = {"model": model} | ({"against": against} if against is not None else {})
    return collect(Inputs(systems, shown / "data", "test", (shown / "features",), **settings))[0]


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
    assert "the first system is text-only" in dict(evidence.not_run).values()


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
    given = Inputs({"model": copying}, shown / "data", "test", (shown / "features",), draws=2, gallery=1)
    by_store, _ = collect(given)
    for_map = backbone.num_seen
    by_files, _ = collect(replace(given, stores=()))
    assert backbone.num_seen - 2 * for_map == 24  # each file once
    assert replace(by_files, settings={}) == replace(by_store, settings={})
    collect(replace(given, systems={"model": text_only}, stores=()))
    assert backbone.num_seen - 2 * for_map == 24  # and none


def test_models_trained_on_bfloat16_share_the_features_of_files(
    shown: Path, copying: Path, backbone: FirstPixel, tmp_path: Path
) -> None:
    for name in ("one", "other"):
        shutil.copytree(copying, tmp_path / name)
        card = json.loads((tmp_path / name / "mmt.json").read_text())
        card["features"]["precision"] = "bfloat16"
        (tmp_path / name / "mmt.json").write_text(json.dumps(card))
    images = FeatureStore.open(shown / "features").ids
    systems = {name: [tmp_path / name] for name in ("one", "other")}
    with open_systems(systems, shown / "data", images=images) as opened:
        assert all(system.card.features is not None for (system,) in opened.values())
        assert backbone.num_seen == len(images)


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
    given = Inputs({"model": text_only}, shown / "data", "test", (shown / "features",), commute=commute(tmp_path))
    shutil.rmtree(tmp_path / "images")
    row = collect(given)[0].choices[-1]
    assert (row.data, row.items, row.missing, row.pairs) == ("CoMMuTE", 6, 0, 3)
    assert (row.accuracy, row.pair_accuracy, row.blank) == (0.5, 0, None)
    with pytest.raises(MMTError, match="no backbone 'tiny'"):
        collect(replace(given, systems={"model": copying}))


@pytest.mark.usefixtures("backbone")
def test_commute_is_judged_by_its_photographs(shown: Path, copying: Path, text_only: Path, tmp_path: Path) -> None:
    systems = {"model": copying, "against": text_only}
    given = Inputs(systems, shown / "data", "test", (shown / "features",), commute(tmp_path), draws=1, gallery=0)

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
    rows, signatures = control_rows(sentences, {"model": outputs.normalized()}, "de", "")
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


def test_sentences_without_image_and_missing_images_are_counted(
    shown: Path, copying: Path, tmp_path: Path
) -> None:
    store = FeatureStore.open(shown / "features")
    few = [f"{number}.png" for number in range(10)]
    with FeatureWriter(tmp_path / "few", store.signature, "float32") as writer:
        writer.append(few, store.get(few))
        writer.finish()
    systems = {"model": copying}
    evidence = collect(Inputs(systems, shown / "data", "test", (tmp_path / "few",), draws=1, gallery=0))[0]
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
    message = f"row 'bad': expected a {side} of 1 to 511 pieces, found {number}\\."
    if (side, text) == ("target", ""):  # data without any target is another case
        message = "row 'bad' has no target, and 1 other row have one"
    with pytest.raises(MMTError, match=message):
        collect(Inputs({"model": copying}, tmp_path / "data", "test", (shown / "features",)))
