"""Laws of the evidence for any system: the same figures whatever it is run by, and answers that fit the plan."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from mmt.cli.main import main
from mmt.data.dataset import DatasetInfo, read_split, write_dataset
from mmt.errors import MMTError
from mmt.evidence.answers import open_files
from mmt.evidence.collect import Inputs, collect, plan
from mmt.evidence.findings import Evidence
from mmt.evidence.kinds import Setting, open_kind
from mmt.evidence.models import ModelSystem, open_systems
from mmt.evidence.options import SystemOptions, kind_of, parse_system
from mmt.evidence.plan import Part, Plan, write_plan
from mmt.inference.onnx_export import export_model
from mmt.metrics.external import NeuralMetric
from mmt.report.evidence import render
from tests.worlds import NOUNS

BAD = "Ein Haus ohne Dach steht da."
Answer = Callable[[Part], Sequence[str]]


def inputs(shown: Path, systems: dict[str, Any], **changes: Any) -> Inputs:
    return replace(Inputs(systems, shown / "data", "test", (shown / "features",), draws=2, gallery=3), **changes)


@pytest.fixture(scope="module")
def planned(shown: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Path]:
    """The plan of ``shown``, and a folder that it is written to."""
    folder = tmp_path_factory.mktemp("plan")
    made, images = plan(inputs(shown, {}))
    write_plan(made, folder, images)
    return made, folder


def answered(planned: tuple[Plan, Path], folder: Path, answer: Answer, only: str = "") -> Path:
    """A folder of answers as text, one a line, to the parts whose names end in ``only``."""
    shutil.copytree(planned[1], folder)
    for part in planned[0].parts:
        if part.name.endswith(only):
            (folder / f"{part.name}.txt").write_text("".join(f"{line}\n" for line in answer(part)))
    return folder


def in_json(planned: tuple[Plan, Path], folder: Path, rows: Callable[[Part], list[dict[str, Any]]]) -> Path:
    shutil.copytree(planned[1], folder)
    for part in planned[0].parts:
        lines = (json.dumps(row) for row in rows(part))
        (folder / f"{part.name}.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return folder


def rows_of(system: ModelSystem) -> Callable[[Part], list[dict[str, Any]]]:
    """What a model answers to a part, with its scores."""

    def rows(part: Part) -> list[dict[str, Any]]:
        texts = system.translate(part.sources, part.images)
        names = ("log_prob", "log_prob_contrast")[: len(part.targets[0])]
        scores = [system.score(part.sources, part.images, column) for column in zip(*part.targets, strict=True)]
        return [
            {**row, "translation": text, **dict(zip(names, values, strict=True))}
            for row, text, *values in zip(part.rows(), texts, *scores, strict=True)
        ]

    return rows


def figures(evidence: Evidence) -> dict[str, Any]:
    """All that the page says of the first system, as it says it."""
    rows = {
        (row.control, name): (round(spread.mean, 4), round(spread.std or 0, 4), p if p is None else round(p, 6))
        for row in evidence.controls
        for name, spread in row.scores.items()
        for p in [row.p_values.get(name)]
    }
    aware = evidence.awareness
    assert aware is not None
    return {
        "rows": rows,
        "verdict": evidence.verdict,
        "choices": [replace(row, system="") for row in evidence.choices],
        "changed": (aware.changed, aware.changed_blank, aware.figure),
        "awareness": [round(value, 4) for value in aware.per_sentence],
        "effects": evidence.effects,
        "examples": [(one.id, one.right, one.wrong, one.blank, one.chrf) for one in evidence.gallery],
    }


def test_a_folder_an_exported_model_and_its_files_give_the_same_figures(
    shown: Path, copying: Path, planned: tuple[Plan, Path], tmp_path: Path
) -> None:
    export_model(copying, tmp_path / "onnx", ["float32"], backbone=None)
    with open_systems({"model": [copying]}, shown / "data", [shown / "features"]) as systems:
        files = in_json(planned, tmp_path / "files", rows_of(systems["model"][0]))
    specs = {"folder": copying, "exported": tmp_path / "onnx", "files": f"files:{files}"}
    found = {name: collect(inputs(shown, {"model": spec}))[0] for name, spec in specs.items()}
    folder, exported, by_files = (figures(found[name]) for name in specs)
    assert folder["verdict"].answer == "yes"
    assert [row.accuracy for row in folder["choices"]] == [1.0]
    assert exported == folder
    assert by_files == folder
    reasons = {why: what for what, why in found["exported"].not_run}
    assert "gates" in reasons["the first system is not a model folder, so that its inside cannot be looked at"]
    assert found["files"].gates is None
    scored = tmp_path / "scores.jsonl"
    given = ["--data", shown / "data", "--images", shown / "features", "--output", scored]
    result = CliRunner().invoke(main, list(map(str, ["score-pairs", "--model", tmp_path / "onnx", *given])))
    assert result.exit_code == 0, result.output
    together = collect(inputs(shown, specs))[0]
    assert [one.verdict for one in together.systems] == [folder["verdict"]] * 3
    assert {one.comparison for one in together.systems[1:]} == {None}
    assert together.sentences[0].translations["files"] == together.sentences[0].translations["folder"]
    page = render(together, None)
    assert all(name in page for name in specs)
    rows = [json.loads(line) for line in scored.read_text().splitlines()]
    by_file = [json.loads(line)["log_prob"] for line in (files / "right.jsonl").read_text().splitlines()]
    pairs = [row["log_prob"] / row["num_tokens"] for row in rows if row["with_image"]]
    assert pairs == pytest.approx(by_file, abs=1e-4)


def reference_of(planned: tuple[Plan, Path]) -> dict[str | None, str]:
    right = planned[0].parts[0]
    references = {image: target for image, (target,) in zip(right.images, right.targets, strict=True)}
    return {**references, None: BAD}


def test_copying_the_reference_of_a_wrong_image_is_using_the_image_and_it_hurts(
    shown: Path, planned: tuple[Plan, Path], tmp_path: Path
) -> None:
    of_image = reference_of(planned)
    names = [name for name in of_image if name]
    shifted = {name: of_image[other] for name, other in zip(names, [*names[1:], names[0]], strict=True)}

    def always_another(part: Part) -> list[str]:
        right = [target for target, *_ in part.targets]
        return [shifted[image] if image else own for image, own in zip(part.images, right, strict=True)]

    def right_is_wrong(part: Part) -> list[str]:
        right = [target for target, *_ in part.targets]
        return [shifted[str(image)] for image in part.images] if part.name.endswith("right") else right

    for name, answer in (("always", always_another), ("right", right_is_wrong)):
        folder = answered(planned, tmp_path / name, answer)
        evidence = collect(inputs(shown, {"vlm": f"files:{folder}"}))[0]
        assert evidence.verdict.answer == "yes, and it hurts", (name, evidence.verdict.sentence)
        assert evidence.verdict == evidence.systems[0].verdict
        assert evidence.awareness is not None
        assert evidence.awareness.figure == "sentence chrF2"


def test_copying_the_reference_of_the_shown_image_is_using_it(
    shown: Path, text_only: Path, planned: tuple[Plan, Path], tmp_path: Path
) -> None:
    of_image = reference_of(planned)
    folder = answered(planned, tmp_path / "vlm", lambda part: [of_image[image] for image in part.images])
    evidence = collect(inputs(shown, {"vlm": f"files:{folder}", "text": text_only}))[0]
    assert evidence.verdict.answer == "yes", evidence.verdict.sentence
    assert evidence.comparison.question == "Better than text-only?"
    assert evidence.comparison.scores is not None
    assert evidence.comparison.scores[0] == 100
    assert (evidence.against, evidence.model["name"]) == (None, "vlm")
    vlm, model = (row for row in evidence.choices if row.method == "generation")
    assert (vlm.accuracy, vlm.pair_accuracy, vlm.blank) == (1.0, 1.0, 0.5)
    assert (model.pair_accuracy, model.accuracy <= 0.5) == (0, True)  # a tie is wrong
    assert model.mcnemar is not None
    assert model.mcnemar < 0.01
    assert [row.system for row in evidence.choices if row.method == "perplexity"] == ["text"]
    assert "the system only translates" in dict(evidence.not_run).values()
    rows = {(row.system, row.control): row.scores for row in evidence.controls}
    assert rows["vlm", "right"]["BLEU"].mean == pytest.approx(100)
    assert rows["vlm", "right"]["TER"].mean == 0
    assert rows["vlm", "blank"]["changed"].mean == 100
    assert rows["vlm", "wrong"]["BLEU"].std is not None
    assert "log-probability per token" not in rows["vlm", "right"]


def test_ignoring_the_image_is_not_using_it(shown: Path, planned: tuple[Plan, Path], tmp_path: Path) -> None:
    folder = answered(planned, tmp_path / "deaf", lambda part: [BAD] * len(part.ids))
    evidence = collect(inputs(shown, {"deaf": f"files:{folder}"}))[0]
    assert evidence.verdict.answer == "no"
    assert "changes no translation (" in evidence.verdict.sentence
    assert evidence.gallery == []


def test_a_text_only_system_answers_without_images(
    shown: Path, planned: tuple[Plan, Path], tmp_path: Path
) -> None:
    folder = answered(planned, tmp_path / "text", lambda part: [BAD] * len(part.ids), only="blank")
    evidence = collect(inputs(shown, {"text": f"files:{folder}"}))[0]
    assert (evidence.verdict.answer, evidence.systems[0].uses_images) == ("no", False)
    assert [row.control for row in evidence.controls] == ["text"]
    assert [(row.method, row.blank) for row in evidence.choices] == [("generation", None)]


def test_a_frozen_text_model_is_its_own_text_only_baseline(shown: Path, copying: Path, tmp_path: Path) -> None:
    frozen = shutil.copytree(copying, tmp_path / "frozen")
    card = json.loads((frozen / "mmt.json").read_text())
    card["training"]["start"] = {"freeze_text": True}
    (frozen / "mmt.json").write_text(json.dumps(card))
    evidence = collect(inputs(shown, {"model": frozen}))[0]
    assert evidence.comparison.question == "Better than text-only?"
    assert evidence.comparison.scores is not None
    blank = [one.chrf["model"]["blank"][0] for one in evidence.sentences]
    assert evidence.comparison.scores == (100, pytest.approx(sum(blank) / len(blank), abs=0.01))
    assert "comparison with a text-only model" not in dict(evidence.not_run)
    assert collect(inputs(shown, {"model": copying}))[0].comparison.answer == "not compared"


# --- answers that do not fit the plan ---------------------------------------------------------------------


def plain_rows(part: Part) -> list[dict[str, Any]]:
    return [{"id": row, "translation": BAD} for row in part.ids]


def in_table(rows: list[dict[str, Any]]) -> str:
    names = list(rows[0])
    return "".join("\t".join(map(str, line)) + "\n" for line in [names, *(row.values() for row in rows)])


def change_lines(folder: Path, change: Callable[[list[str]], list[str]]) -> None:
    path = folder / "wrong.1.jsonl"
    path.write_text("".join(change(path.read_text().splitlines(keepends=True))))


def other_seed(folder: Path) -> None:
    raw = json.loads((folder / "plan.json").read_text())
    (folder / "plan.json").write_text(json.dumps(raw | {"seed": 2}))


def other_image(folder: Path) -> None:
    change_lines(folder, lambda lines: [line.replace("{", '{"image": "7.png", ') for line in lines])


def partly_scored(folder: Path) -> None:
    change_lines(folder, lambda lines: [lines[0].replace("{", '{"log_prob": -1, '), *lines[1:]])


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda folder: change_lines(folder, lambda lines: lines[:-1]), "no answer to the id '23'"),
    "extra": (
        lambda folder: change_lines(folder, lambda lines: [*lines, '{"id": "x"}\n']),
        "'x' is not in the plan",
    ),
    "reordered": (
        lambda folder: change_lines(folder, lambda lines: lines[::-1]),
        "expected the id '0', found '23'",
    ),
    "duplicated": (
        lambda folder: change_lines(folder, lambda lines: [*lines, lines[0]]),
        "'0' was in line 1, too",
    ),
    "other seed": (other_seed, "expected seed 1, found 2"),
    "other image": (other_image, "expected the image"),
    "no text": (
        lambda folder: change_lines(folder, lambda lines: ['{"id": "0"}\n', *lines[1:]]),
        "a text 'transl",
    ),
    "no JSON": (lambda folder: change_lines(folder, lambda lines: ["[]\n", *lines[1:]]), "expected a JSON object"),
    "partly scored": (partly_scored, "log_prob in every row or in none"),
    "other encoding": (lambda folder: (folder / "blank.jsonl").write_bytes(b'{"id": "\xe4"}\n'), "expected UTF-8"),
    "fewer lines": (lambda folder: (folder / "right.jsonl").rename(folder / "right.de"), ""),
    "a part missing": (lambda folder: (folder / "wrong.2.jsonl").unlink(), "found none to wrong.2"),
    "a part too many": (
        lambda folder: (folder / "wrong.3.txt").write_text("a\n"),
        "answers to no part of the plan",
    ),
    "a part twice": (lambda folder: (folder / "right.txt").write_text("a\n"), "expected one file of right, found"),
    "no plan": (lambda folder: (folder / "plan.json").unlink(), "mmt evidence --plan"),
    "damaged plan": (lambda folder: (folder / "plan.json").write_text("{"), "damaged"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_answers_that_do_not_fit_the_plan_are_refused(
    planned: tuple[Plan, Path], tmp_path: Path, case: str
) -> None:
    folder = in_json(planned, tmp_path / "answers", plain_rows)
    assert open_files(folder, planned[0]).uses_images
    change, message = BROKEN[case]
    change(folder)
    if case == "fewer lines":  # of text, only the number can be wrong
        open_files(folder, planned[0])
        text = folder / "right.de"
        text.write_text(text.read_text().rpartition("\n{")[0] + "\n")
        message = "expected 24 answers, one for each row of the plan's part 'right', found 23"
    with pytest.raises(MMTError) as error:
        open_files(folder, planned[0])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_plan_of_other_sentences_is_refused(shown: Path, planned: tuple[Plan, Path], tmp_path: Path) -> None:
    folder = in_json(planned, tmp_path / "answers", plain_rows)
    right, *others = planned[0].parts
    changed = replace(planned[0], parts=[replace(right, sources=["Another.", *right.sources[1:]]), *others])
    with pytest.raises(MMTError, match="part 'right': other sentences or images than here"):
        open_files(folder, changed)
    for settings, message in (
        ({"seed": 5}, "expected seed 5, found 1"),
        ({"draws": 3}, "expected draws 3, found 2"),
    ):
        with pytest.raises(MMTError, match=message):
            collect(inputs(shown, {"vlm": f"files:{folder}"}, **settings))


def test_tables_and_json_lines_say_the_same(planned: tuple[Plan, Path], tmp_path: Path) -> None:
    rows = {part.name: [{**row, "log_prob": -0.5} for row in plain_rows(part)] for part in planned[0].parts}
    by_json = in_json(planned, tmp_path / "json", lambda part: rows[part.name])
    for name in [key for key in rows if key.startswith("contrastive")]:
        (by_json / f"{name}.jsonl").unlink()  # they may be left out
    by_table = shutil.copytree(planned[1], tmp_path / "table")
    for name, of_part in rows.items():
        if not name.startswith("contrastive"):
            (by_table / f"{name}.tsv").write_text(in_table(of_part))
    one, other = (open_files(folder, planned[0]) for folder in (by_json, by_table))
    assert one.answers == other.answers
    assert one.answers["right"].log_probs == [[-0.5] * 24]


def test_a_log_probability_is_0_or_less(planned: tuple[Plan, Path], tmp_path: Path) -> None:
    for number, value in enumerate((0.5, "nan", "high")):
        rows = [{**row, "log_prob": value} for row in plain_rows(planned[0].parts[0])]
        folder = in_json(planned, tmp_path / str(number), lambda part, rows=rows: rows[: len(part.ids)])
        with pytest.raises(MMTError, match="expected a log-probability, 0 or less"):
            open_files(folder, planned[0])


class Words:
    """A neural metric that counts words, and how many translations it gets."""

    label = "COMET wmt22-comet-da"

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str]] = []

    def check(self) -> Path:
        return Path()

    def run(
        self, systems: Sequence[Sequence[str]], references: Sequence[str], sources: Sequence[str]
    ) -> tuple[list[list[float]], str]:
        (texts,) = systems
        self.rows += zip(sources, texts, references, strict=True)
        return [[len(text.split()) / 10 for text in texts]], "comet|refs:1|model:wmt22-comet-da"


def test_a_neural_metric_scores_every_system_under_every_control(
    shown: Path, copying: Path, text_only: Path, planned: tuple[Plan, Path], tmp_path: Path
) -> None:
    vlm = answered(planned, tmp_path / "vlm", lambda part: [BAD if i else "Nein" for i in part.images])
    metric = Words()
    systems = {"vlm": f"files:{vlm}", "copying": copying, "text": text_only}
    evidence = collect(inputs(shown, systems, metrics=(metric,)))[0]
    rows = {(row.system, row.control): row for row in evidence.controls}
    assert rows["vlm", "right"].scores[metric.label].mean == pytest.approx(60)
    assert rows["vlm", "blank"].scores[metric.label].mean == pytest.approx(10)
    assert rows["vlm", "wrong"].scores[metric.label].values == pytest.approx([60, 60])
    said = [
        text for draws in (one.translations["copying"]["wrong"] for one in evidence.sentences) for text in draws
    ]
    words = [len(text.split()) for text in said]
    assert rows["copying", "wrong"].scores[metric.label].mean == pytest.approx(10 * sum(words) / len(words))
    assert ("text", "text") in rows
    assert len(set(metric.rows)) == len(metric.rows)  # what is equal is scored once
    assert evidence.signatures[metric.label].startswith("comet|refs:1|model:wmt22-comet-da; p: paired bootstrap")
    assert set(rows["text", "text"].agreement) >= {"BLEU", metric.label}
    assert "COMET" not in evidence.comparison.sentence
    page = render(evidence, None)
    assert "A neural network’s estimate of quality" in page or "A neural network&#39;s estimate of quality" in page


def test_a_missing_environment_of_a_metric_is_noticed_before_the_long_part(
    shown: Path, text_only: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMT_COMET", str(tmp_path / "nowhere"))
    monkeypatch.setattr(ModelSystem, "translate", None)
    given = ["--model", text_only, "--data", shown / "data", "--output", tmp_path / "out"]
    code, out = run(*given, "--metric", "comet:wmt22-comet-da")
    assert code == 2
    assert "Create it with: " in out
    code, out = run(*given, "--metric", "comet")
    assert (code, "expected comet:CHECKPOINT_OR_NAME" in out) == (2, True)


# --- the command ------------------------------------------------------------------------------------------


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["evidence", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_one_command_plans_and_another_one_judges(shown: Path, tmp_path: Path) -> None:
    data = ["--data", shown / "data", "--draws", 1]
    code, out = run(*data, "--plan", tmp_path / "plan")
    assert code == 0, out
    rows = [json.loads(line) for line in (tmp_path / "plan" / "plan.jsonl").read_text().splitlines()]
    assert {row["part"] for row in rows} == {"right", "wrong.1", "blank", "contrastive.right", "contrastive.blank"}
    table = (tmp_path / "plan" / "plan.tsv").read_text().splitlines()
    assert len(table) == 1 + len(rows)
    assert table[1] == "right\t0\t\tHe sees the thing.\t0.png"
    nouns = [*NOUNS.values()]
    for part in dict.fromkeys(row["part"] for row in rows):
        images = [row["image"] for row in rows if row["part"] == part]
        said = [f"Er sieht {nouns[int(name[:-4]) % 6] if name else 'nichts'}.\n" for name in images]
        (tmp_path / "plan" / f"{part}.txt").write_text("".join(said))
    vlm = f"vlm=files:{tmp_path / 'plan'}"
    code, out = run(*data, "--system", vlm, "--output", tmp_path / "page", "--no-pictures")
    assert code == 0, out
    assert "Does it use the image? Yes" in out
    written = json.loads((tmp_path / "page" / "evidence.json").read_text())
    assert (written["format"], written["systems"][0]["name"]) == (2, "vlm")
    assert written["sentences"][0]["translations"]["vlm"]["right"] == ["Er sieht Hund."]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "expected one of --model DIR, --system NAME=SPEC or --plan DIR"),
        (["--model", "x", "--plan", "y"], "expected one of --model DIR"),
        (["--against", "x"], "expected --model DIR, which is compared with it"),
        (["--system", "files:x"], "expected NAME=SPEC"),
        (["--system", "<b>=files:x"], "expected NAME=SPEC"),
        (["--system", "a=x", "--system", "a=y"], "the name 'a' was given before"),
        (["--system", "a=api:http://localhost"], "expected api:URL#MODEL"),
        (["--system", "a=files:nowhere"], "no plan.json"),
    ],
)
def test_systems_that_are_named_wrongly_are_refused(
    shown: Path, tmp_path: Path, given: list[str], message: str
) -> None:
    code, out = run("--data", shown / "data", "--output", tmp_path / "out", *given)
    assert code == 2
    assert message in out


def test_a_spec_is_a_kind_or_a_model() -> None:
    assert parse_system("a=hf:org/name=1") == ("a", "hf:org/name=1")
    kinds = {"files:x": "files", "hf:a/b": "hf", "api:http://h:80/v1#m": "api", "nllb:x": None, "runs/x": None}
    assert {spec: kind_of(spec) for spec in kinds} == kinds


class Recorder:
    """Stands for a system of another module: it records what it was opened with."""

    def __init__(self, *names: str, **settings: Any) -> None:
        self.names, self.settings = names, settings


def test_language_models_get_their_settings(
    shown: Path, planned: tuple[Plan, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, kind in (("hf", "HFSystem"), ("api", "APISystem")):
        monkeypatch.setitem(sys.modules, f"mmt.inference.{name}", SimpleNamespace(**{kind: Recorder}))
    info = DatasetInfo("shown", "en", "de", str(shown / "images"))
    setting = Setting(
        "vlm",
        info,
        planned[0],
        shown.joinpath,
        tmp_path,
        SystemOptions(device="cuda", max_requests=9, text_only=True),
    )
    hf: Any = open_kind("hf:org/name", setting)
    assert (hf.names, hf.settings["device"], hf.settings["target_lang"]) == (("org/name",), "cuda", "de")
    assert hf.settings["files"]("0.png") == shown / "0.png"
    api: Any = open_kind("api:http://localhost:8000/v1#qwen", setting)
    assert (hf.settings["text_only"], api.settings["text_only"]) == (True, True)
    assert api.names == ("http://localhost:8000/v1", "qwen")
    assert (api.settings["folder"], api.settings["max_requests"]) == (tmp_path / "vlm", 9)


def test_names_of_commute_images_are_their_own(shown: Path, tmp_path: Path) -> None:
    """A photograph of CoMMuTE may be called as one of the dataset."""
    folder = tmp_path / "en-de"
    folder.mkdir()
    shutil.copytree(shown / "images", tmp_path / "images")
    lines = {"src.en": "A bat.", "correct.de": "Ein Schläger.", "incorrect.de": "Eine Maus.", "img.order": "0.png"}
    for name, line in lines.items():
        (folder / name).write_text(f"{line}\n")
    made, folders = plan(inputs(shown, {}, commute=folder))
    part = next(part for part in made.parts if part.name == "commute.right")
    assert (part.images, part.targets) == (["commute/0.png"], [("Ein Schläger.", "Eine Maus.")])
    assert folders == {"": str(shown / "images"), "commute/": str(tmp_path / "images")}


def test_people_agree_with_large_differences() -> None:
    pytest.importorskip("mt_thresholds")
    from mmt.metrics.agreement import human_agreement

    assert human_agreement("bleu", 0.5) == pytest.approx(0.546, abs=0.001)
    assert human_agreement("bleu", 1.0) == human_agreement("bleu", -1.0) == pytest.approx(0.640, abs=0.001)
    assert human_agreement("chrf", 1.0) == pytest.approx(0.700, abs=0.001)
    assert human_agreement("bleu", 0.0) == 0.5
    assert human_agreement("ter", 1.0) is None


def test_data_without_wrong_images_cannot_be_planned(tmp_path: Path) -> None:
    rows = [{"id": str(n), "image": "", "source": "a", "target": "b", "has_image": False} for n in range(3)]
    write_dataset(tmp_path / "bare", DatasetInfo("bare", "en", "de", ""), {"test": rows})
    code, out = run("--data", tmp_path / "bare", "--plan", tmp_path / "plan")
    assert (code, "has 0 sentences with an image" in out) == (2, True)


@pytest.fixture(scope="module")
def unreferenced(shown: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sentences of ``shown`` without translations."""
    folder = tmp_path_factory.mktemp("unreferenced") / "data"
    columns = ("id", "image", "source", "has_image")
    rows = [{**{key: row[key] for key in columns}, "target": ""} for row in read_split(shown / "data", "test")]
    write_dataset(folder, DatasetInfo("captions", "en", "de", str(shown / "images")), {"test": rows})
    return folder


def test_without_references_the_evidence_says_what_the_image_changes(
    shown: Path, unreferenced: Path, copying: Path, ignoring: Path, text_only: Path
) -> None:
    systems = {"model": copying, "against": text_only}
    found, files = collect(inputs(shown, systems, data=unreferenced))
    known = collect(inputs(shown, systems))[0]
    assert known.awareness is not None
    changed = {row.control: row.scores for row in found.controls if row.system == "model"}
    assert changed["right"] == {}
    assert {name: list(scores) for name, scores in changed.items()} == {
        "right": [], "wrong": ["changed"], "blank": ["changed"]
    }  # fmt: skip
    assert changed["wrong"]["changed"].mean == pytest.approx(100 * known.awareness.changed)
    assert changed["blank"]["changed"].mean == pytest.approx(100 * known.awareness.changed_blank)
    assert (found.verdict.answer, found.comparison.answer) == ("not judged", "not compared")
    share = f"{100 * known.awareness.changed:.1f}"
    assert f"Of 24 translations, another sentence's image changes {share}" in found.verdict.sentence
    assert [one.verdict.answer for one in found.systems] == ["not judged", "no"]
    assert (found.awareness, found.effects, found.gallery, found.senses) == (None, None, [], [])
    assert found.gates is not None
    (lacking,) = [what for what, why in found.not_run if why == "the data has no references"]
    for what in ("BLEU", "comparison with a text-only model", "image awareness", "ambiguous words", "examples"):
        assert what in lacking
    page = render(found, files)
    assert "What does the image change?" in page
    assert f"{100 * known.awareness.changed:.0f} % of the translations" in page
    assert '<option value="chrf">' not in page
    assert len(found.sentences) == 24
    unmoved = collect(inputs(shown, {"model": ignoring}, data=unreferenced))[0]
    assert "image changes 0.0 ± 0.0 % (2 draws), and no image 0.0 %" in unmoved.verdict.sentence
    assert "No translation" in render(unmoved, None)


def test_some_references_are_refused(shown: Path, copying: Path, tmp_path: Path) -> None:
    rows = [dict(row) for row in read_split(shown / "data", "test")]
    rows[3]["target"] = " "
    info = DatasetInfo("some", "en", "de", str(shown / "images"))
    write_dataset(tmp_path / "data", info, {"test": rows})
    with pytest.raises(MMTError, match="row '3' has no target, and 23 other rows have one"):
        collect(inputs(shown, {"model": copying}, data=tmp_path / "data"))


def test_a_metric_that_reads_references_is_refused_without_any(
    shown: Path, unreferenced: Path, copying: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NeuralMetric, "check", lambda self: Path("python"))
    comet, kiwi = NeuralMetric.parse("comet:wmt22-comet-da"), NeuralMetric.parse("cometkiwi:wmt22-cometkiwi-da")
    with pytest.raises(MMTError, match="--metric COMET wmt22-comet-da: compares with references"):
        collect(inputs(shown, {"model": copying}, data=unreferenced, metrics=(comet,)))

    def run(self: NeuralMetric, systems: Any, references: Any, sources: Any) -> Any:
        return [[float(len(text)) / 100 for text in system] for system in systems], "signature"

    monkeypatch.setattr(NeuralMetric, "run", run)
    found = collect(inputs(shown, {"model": copying}, data=unreferenced, metrics=(kiwi,)))[0]
    assert all(kiwi.label in row.scores for row in found.controls)


def test_answers_to_a_plan_without_references(shown: Path, unreferenced: Path, tmp_path: Path) -> None:
    made, images = plan(inputs(shown, {}, data=unreferenced))
    assert {part.targets[0] for part in made.parts} == {()}
    write_plan(made, tmp_path / "plan", images)
    for part in made.parts:
        (tmp_path / "plan" / f"{part.name}.txt").write_text("".join(f"Bild {one}\n" for one in part.images))
    found = collect(inputs(shown, {"vlm": f"files:{tmp_path / 'plan'}"}, data=unreferenced))[0]
    assert "image changes 100.0 ± 0.0 % (2 draws), and no image 100.0 %" in found.verdict.sentence
