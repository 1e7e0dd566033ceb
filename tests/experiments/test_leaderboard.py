"""Laws of a leaderboard: it says what ``mmt evidence`` says, computes nothing twice, and survives what fails."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from click.testing import CliRunner

from mmt.cli.main import main
from mmt.data.dataset import read_info, read_split, write_dataset
from mmt.data.tokenizer import Tokenizer
from mmt.errors import MMTError
from mmt.evidence.collect import Inputs, collect, plan
from mmt.evidence.leaderboard import Board, Cell, Ranked, mean_awareness
from mmt.evidence.models import CommuteModel
from mmt.evidence.plan import write_plan
from mmt.evidence.stored import FailedSystemError, StoredSystem
from mmt.experiments import leaderboard_answers
from mmt.experiments.leaderboard import leaderboard
from mmt.experiments.leaderboard_config import is_leaderboard, read_leaderboard
from mmt.experiments.stored_metric import StoredMetric
from mmt.inference.translator import BaseTranslator
from mmt.metrics.external import NeuralMetric
from mmt.metrics.significance import Spread
from tests.evidence.conftest import save
from tests.worlds import tiny_model

EXAMPLES = sorted((Path(__file__).parents[2] / "recipes" / "configs").glob("leaderboard_*.yaml"))
BAD = "Ein Haus ohne Dach steht da."


@pytest.fixture
def write(shown: Path, copying: Path, text_only: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes a leaderboard of two models on one dataset, with changes; JSON is YAML, too."""

    def write(**changes: Any) -> Path:
        config = {
            "systems": {"text": str(text_only), "copying": str(copying)},
            "datasets": {"pets": {"data": str(shown / "data"), "features": [str(shown / "features")]}},
            "draws": 2,
            **changes,
        }
        path = tmp_path / "board.yaml"
        path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
        return path

    return write


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The fusion of the model, for each list of sentences that one translates."""
    made: list[str] = []
    own = BaseTranslator.hypotheses

    def counted(self: BaseTranslator, *args: Any, **settings: Any) -> Any:
        made.append(self.card.config["fusion"])
        return own(self, *args, **settings)

    monkeypatch.setattr(BaseTranslator, "hypotheses", counted)
    return made


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, ["compare", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def answers(shown: Path, folder: Path, said: str = BAD, **changes: Any) -> str:
    """The SPEC of translations made elsewhere, all of them the same."""
    made, images = plan(Inputs({}, shown / "data", "test", draws=2, **changes))
    write_plan(made, folder, images)
    for part in made.parts:
        (folder / f"{part.name}.txt").write_text(f"{said}\n" * len(part.ids))
    return f"files:{folder}"


def test_it_says_what_the_evidence_says(
    write: Callable[..., Path], shown: Path, copying: Path, text_only: Path, tmp_path: Path
) -> None:
    code, out, err = run(write(), tmp_path / "out")
    assert code == 0, err
    specs = {"text": text_only, "copying": copying}
    evidence, _ = collect(Inputs(specs, shown / "data", "test", (shown / "features",), draws=2))
    told = json.loads((tmp_path / "out" / "leaderboard.json").read_text())
    board = told["datasets"]["pets"]
    assert board["lead"] == "right word"
    for row in evidence.controls:
        scores = board["cells"][row.system]["scores"]["right" if row.control == "text" else row.control]
        for label, spread in row.scores.items():
            assert scores[label] == {"mean": spread.mean, "std": spread.std, "values": spread.values}, label
    for choice in evidence.choices:
        scores = board["cells"][choice.system]["scores"]
        label = f"{choice.data}, {choice.method}"
        assert scores["right"][label]["mean"] == 100 * choice.accuracy
        assert (label in scores.get("blank", {})) == (choice.blank is not None)
    for one in evidence.systems:
        assert board["cells"][one.name]["verdict"]["sentence"] == one.verdict.sentence
    assert [one["system"] for one in told["ranking"]] == ["copying", "text"]
    assert "copying" in out
    assert "uses: yes" in out
    page = json.loads((tmp_path / "out" / "evidence" / "pets" / "evidence.json").read_text())
    assert [one["name"] for one in page["systems"]] == ["text", "copying"]
    assert page["controls"][0]["p_values"] == evidence.controls[0].p_values
    assert [row["p_values"] for row in page["controls"]] == [row.p_values for row in evidence.controls]
    assert page["comparison"]["sentence"] == evidence.comparison.sentence


def test_threads_are_those_of_the_models(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []

    def opened(*_: Any, **settings: Any) -> None:
        threads.append(settings["threads"])
        raise MMTError("not today.")

    monkeypatch.setattr(leaderboard_answers, "open_systems", opened)
    code, _, err = run(write(), tmp_path / "out", "--threads", torch.get_num_threads())
    assert (code, threads) == (1, [torch.get_num_threads()] * 2), err


def test_what_is_done_is_not_done_again(
    write: Callable[..., Path], calls: list[str], ignoring: Path, copying: Path, text_only: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert run(write(), out)[0] == 0
    assert sorted(calls) == ["gated"] * 4 + ["none"]  # right, two draws, none; text only
    first = (out / "leaderboard.json").read_bytes()
    calls.clear()
    assert run(write(), out)[0] == 0
    assert calls == []
    assert (out / "leaderboard.json").read_bytes() == first
    specs = {"text": str(text_only), "copying": str(copying), "deaf": str(ignoring)}
    assert run(write(systems=specs), out)[0] == 0
    assert calls == ["gated"] * 4  # only the new one's
    page = json.loads((out / "evidence" / "pets" / "evidence.json").read_text())
    assert [one["name"] for one in page["systems"]] == ["text", "copying", "deaf"]
    calls.clear()
    assert run(write(), out)[0] == 0
    assert calls == []
    assert (out / "leaderboard.json").read_bytes() == first


def test_an_interrupted_run_keeps_what_was_finished(
    write: Callable[..., Path], calls: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, own = tmp_path / "out", CommuteModel.translate

    def stopped_at_the_fourth(self: CommuteModel, *args: Any) -> list[str]:
        if len(calls) == 3:
            raise KeyboardInterrupt
        return own(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(CommuteModel, "translate", stopped_at_the_fourth)
        with pytest.raises(KeyboardInterrupt):
            leaderboard(write(), out)
    assert calls == ["none", "gated", "gated"]
    calls.clear()
    assert run(write(), out)[0] == 0
    assert calls == ["gated", "gated"]


def test_a_changed_model_is_evaluated_again_and_a_changed_dataset_is_refused(
    write: Callable[..., Path], calls: list[str], shown: Path, copying: Path, ignoring: Path, tmp_path: Path
) -> None:
    out, model, data = tmp_path / "out", tmp_path / "model", tmp_path / "data"
    shutil.copytree(copying, model)
    shutil.copytree(shown / "data", data)
    info = read_info(data)
    datasets = {"pets": {"data": str(data), "features": [str(shown / "features")]}}
    config = write(systems={"a": str(model)}, datasets=datasets)
    assert run(config, out)[0] == 0
    assert calls == ["gated"] * 4
    shutil.rmtree(model)
    shutil.copytree(ignoring, model)
    assert run(config, out)[0] == 0
    assert calls == ["gated"] * 8
    splits = {name: list(read_split(data, name)) for name in info.splits}
    splits["test"][0]["target"] = "Er sieht nichts."
    write_dataset(data, info, splits)
    code, _, err = run(config, out)
    assert code == 2
    assert "holds results on the dataset 'pets' with other rows" in err
    code, _, err = run(write(draws=3), out)
    assert code == 2
    assert "holds a leaderboard with draws 2, now it is 3" in err
    assert calls == ["gated"] * 8


def test_a_system_that_fails_leaves_its_cell_with_the_reason(
    write: Callable[..., Path], calls: list[str], shown: Path, text_only: Path, tmp_path: Path
) -> None:
    info = read_info(shown / "data")
    french = tmp_path / "french"
    rows = {"test": list(read_split(shown / "data", "test"))}
    write_dataset(french, type(info)("french", "en", "fr", info.images), rows)
    datasets = {"pets": str(shown / "data"), "french": str(french)}
    systems = {"vlm": answers(shown, tmp_path / "vlm"), "text": str(text_only), "gone": "files:nowhere"}
    code, out, err = run(write(systems=systems, datasets=datasets), tmp_path / "out")
    assert code == 1
    assert "4 results missing" in err
    told = json.loads((tmp_path / "out" / "leaderboard.json").read_text())
    cells = {(data, name): cell for data, one in told["datasets"].items() for name, cell in one["cells"].items()}
    assert {key for key, cell in cells.items() if cell["failure"]} == {
        ("pets", "gone"), ("french", "vlm"), ("french", "text"), ("french", "gone"),
    }  # fmt: skip
    assert "fr" in cells["french", "text"]["failure"]
    assert "no plan.json" in cells["pets", "gone"]["failure"]
    assert [one["system"] for one in told["ranking"]][2] == "gone"
    page = (tmp_path / "out" / "leaderboard.html").read_text()
    assert "no plan.json" in page
    assert 'href="evidence/pets/evidence.html"' in page
    assert 'href="evidence/french/evidence.html"' not in page
    assert "no result" in out
    calls.clear()
    assert run(write(systems=systems, datasets=datasets), tmp_path / "out")[0] == 1
    assert calls == []


def test_seeds_of_a_system_are_one_row(
    write: Callable[..., Path], shown: Path, copying: Path, text_only: Path, tmp_path: Path
) -> None:
    small = {"num_encoder_layers": 1, "num_decoder_layers": 1, "norm_order": "pre", "dropout_p": 0.0}
    vocab_size = Tokenizer(shown / "tokenizer.model").vocab_size
    other = save(tmp_path / "other", shown, tiny_model(vocab_size, "gated", 7, **small))
    systems = {"ours": [str(copying), str(other)], "text": str(text_only)}
    assert run(write(systems=systems), tmp_path / "out")[0] == 0
    told = json.loads((tmp_path / "out" / "leaderboard.json").read_text())
    scores = told["datasets"]["pets"]["cells"]["ours"]["scores"]
    specs = {"a": copying, "b": other}
    evidence, _ = collect(Inputs(specs, shown / "data", "test", (shown / "features",), draws=2))
    each = {(row.system, row.control): row.scores for row in evidence.controls}
    for control in ("right", "wrong", "blank"):
        values = [each[name, control]["BLEU"].mean for name in specs]
        assert scores[control]["BLEU"]["values"] == values
        assert scores[control]["BLEU"]["mean"] == pytest.approx(sum(values) / 2)
    page = (tmp_path / "out" / "leaderboard.html").read_text()
    assert "2 seeds" in page
    markdown = (tmp_path / "out" / "leaderboard.md").read_text()
    assert "Several seeds: ours (2)" in markdown
    evidence_page = (tmp_path / "out" / "evidence" / "pets" / "evidence.html").read_text()
    assert "ours.seed1" in evidence_page
    assert "trained once" not in evidence_page
    first, second = (one.awareness for one in evidence.systems)
    assert first is not None
    assert second is not None
    both = mean_awareness([first, second])
    assert both.difference == pytest.approx((first.difference + second.difference) / 2)
    assert mean_awareness([first]) is first


def test_an_ensemble_is_a_system(
    write: Callable[..., Path], calls: list[str], copying: Path, text_only: Path, tmp_path: Path
) -> None:
    systems = {"both": f"{copying}+{text_only}"}
    assert run(write(systems=systems), tmp_path / "out")[0] == 0
    assert calls == ["gated + none"] * 4  # right, two draws, none
    first = (tmp_path / "out" / "leaderboard.json").read_bytes()
    assert run(write(systems=systems), tmp_path / "out")[0] == 0
    assert len(calls) == 4
    assert (tmp_path / "out" / "leaderboard.json").read_bytes() == first
    code, _, err = run(write(systems={"both": f"{copying}+gone"}), tmp_path / "other")
    assert (code, "which is not there" in err) == (2, True)


def test_commute_may_be_added_and_is_chosen_as_by_the_evidence(
    write: Callable[..., Path], calls: list[str], shown: Path, copying: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "en-de"
    folder.mkdir()
    shutil.copytree(shown / "images", tmp_path / "images")
    lines = {
        "src.en": ["He sees the thing."] * 2,
        "correct.de": ["Er sieht Hund.", "Er sieht Katze."],
        "incorrect.de": ["Er sieht Katze.", "Er sieht Hund."],
        "img.order": ["0.png", "1.png"],
    }
    for name, of_file in lines.items():
        (folder / name).write_text("".join(f"{line}\n" for line in of_file))
    systems = {"vlm": answers(shown, tmp_path / "vlm", commute=folder)}
    datasets = {"pets": {"data": str(shown / "data"), "commute": str(folder)}}
    code, _, err = run(write(systems=systems, datasets={"pets": {"data": str(shown / "data")}}), tmp_path / "out")
    assert code == 1, err  # its answers are to another plan
    code, _, err = run(write(systems=systems, datasets=datasets), tmp_path / "out")
    assert code == 0, err
    told = json.loads((tmp_path / "out" / "leaderboard.json").read_text())
    assert "CoMMuTE, generation" in told["datasets"]["pets"]["cells"]["vlm"]["scores"]["right"]


def test_a_neural_metric_scores_nothing_twice(
    write: Callable[..., Path], text_only: Path, ignoring: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[str] = []
    signature = ["comet|version:1"]

    def counted(self: NeuralMetric, systems: Any, references: Any, sources: Any) -> Any:
        (texts,) = systems
        assert len(texts) == len(references) == len(sources)
        scored.extend(texts)
        return [[len(text.split()) / 10 for text in texts]], signature[0]

    monkeypatch.setattr(NeuralMetric, "check", lambda self: Path())
    monkeypatch.setattr(NeuralMetric, "run", counted)
    out, metrics = tmp_path / "out", ["comet:tiny"]
    assert run(write(metrics=metrics), out)[0] == 0
    told = json.loads((out / "leaderboard.json").read_text())["datasets"]["pets"]
    assert "COMET tiny" in told["others"]
    assert told["signatures"]["COMET tiny"].startswith("comet|version:1; p: paired bootstrap")
    (sentence, *_) = json.loads((out / "evidence" / "pets" / "evidence.json").read_text())["sentences"]
    said = sentence["translations"]["text"]["right"][0]
    assert said in scored
    scored.clear()
    (out / "evidence" / "pets" / "results.json").unlink()
    assert run(write(metrics=metrics), out)[0] == 0
    assert scored == []
    systems = {"text": str(text_only), "deaf": str(ignoring)}
    assert run(write(metrics=metrics, systems=systems), out)[0] == 0
    assert scored  # the new system's
    assert said not in scored
    signature[0] = "comet|version:2"
    metric = StoredMetric(NeuralMetric.parse("comet:tiny"), out / "answers")
    metric.run([[said]], ["a"], ["b"])
    scored.clear()
    assert metric.run([[said, "c"]], ["a", "a"], ["b", "b"])[1] == "comet|version:2"
    assert scored == ["c"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"systemx": {}}, "unknown key 'systemx'. Did you mean 'systems'?"),
        ({"recipe": "r.yaml"}, "found both recipe and datasets"),
        ({"systems": {}}, "at least one system and one dataset"),
        ({"systems": {"a/b": "x"}}, "the name 'a/b': expected up to 40 letters"),
        ({"systems": {"a": 3}}, "systems.a: expected a SPEC, a list of them, or keys and values"),
        ({"systems": {"a": {"spec": "hf:x", "promptx": "p"}}}, "unknown key 'promptx'. Did you mean 'prompt'?"),
        ({"systems": {"a": {"prompt": "p"}}}, "expected either spec or seeds"),
        ({"systems": {"a": "nowhere"}}, "systems.a: nowhere: expected the folder of a model"),
        ({"systems": {"a": "file:x"}}, "Did you mean 'files:'?"),
        ({"systems": {"a": "api:http://localhost"}}, "expected api:URL#MODEL"),
        ({"systems": {"a": {"spec": "files:x", "device": "cuda"}}}, "device is of hf: and api:"),
        ({"systems": {"a": ["hf:x", "hf:x"]}}, "seeds: one stands twice"),
        ({"datasets": {"d": {"data": "nowhere"}}}, "nowhere"),
        ({"datasets": {"d": {"split": "test"}}}, "datasets.d: data is missing"),
        ({"draws": 0}, "draws: expected at least 1"),
        ({"metrics": ["bleurt:x"]}, "expected comet:CHECKPOINT_OR_NAME"),
    ],
)
def test_wrong_settings_are_refused(
    write: Callable[..., Path], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    code, _, err = run(write(**changes), tmp_path / "out")
    assert code == 2, err
    assert message in err


def test_a_folder_holds_one_kind_of_comparison(write: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "comparison.json").write_text('{"recipe": {}}')
    code, _, err = run(write(), tmp_path / "out")
    assert (code, "holds a comparison of trainings" in err) == (2, True)


def test_options_of_the_other_kind_are_refused(write: Callable[..., Path], tmp_path: Path) -> None:
    code, _, err = run(write(), tmp_path / "out", "--jobs", 2)
    assert (code, "one system at a time" in err) == (2, True)
    trainings = write(systems=None, datasets=None, recipe="r", fusions=["gated"])
    code, _, err = run(trainings, tmp_path / "out", "--threads", 2)
    assert (code, "trainings share all cores" in err) == (2, True)


def test_the_table_alone_runs_no_system(write: Callable[..., Path], calls: list[str], tmp_path: Path) -> None:
    code, out, _ = run(write(), tmp_path / "out", "--only-table")
    assert (code, calls) == (1, [])
    assert "no result" in out
    code, out, err = run(write(), tmp_path / "out", "--only-table", "--quiet")
    assert (code, out) == (1, "")
    assert [line.partition(": ")[2] for line in err.splitlines()[:2]] == ["no result: not evaluated yet."] * 2
    assert err.splitlines()[2:] == ["2 results missing. Rerun the command to try again."]


# --- the board itself -------------------------------------------------------------------------------------


def board(**leads: list[float | None]) -> Board:
    """Systems by the leading scores that they have on each dataset."""
    cells = {
        name: [
            Cell(failure="no answers") if value is None else Cell(False, {"right": {"BLEU": Spread(value)}}, None)
            for value in values
        ]
        for name, values in leads.items()
    }
    num = len(next(iter(cells.values())))
    datasets = {f"d{n}": Ranked({}, "BLEU", [], {name: own[n] for name, own in cells.items()}) for n in range(num)}
    return Board({name: ["x"] for name in leads}, datasets)


def test_the_order_is_by_results_and_then_by_score() -> None:
    made = board(low=[10.0, 20.0], high=[30.0, 10.0], partly=[99.0, None], none=[None, None])
    assert made.ranking == ["high", "low", "partly", "none"]
    assert made.mean("none") is None
    assert [(system, name) for system, name, _ in made.failures] == [
        ("none", "d0"), ("partly", "d1"), ("none", "d1"),
    ]  # fmt: skip


class Counting:
    """A system that counts, and fails when it is told to."""

    uses_images = True

    def __init__(self, fails: bool = False) -> None:
        self.fails, self.count = fails, 0

    def translate(self, sentences: Any, images: Any, progress: Any = None) -> list[str]:
        if self.fails:
            raise MMTError("no answer.")
        self.count += len(sentences)
        return [f"{sentence} {images and images[n]}" for n, sentence in enumerate(sentences)]

    def describe(self) -> dict[str, Any]:
        return {"size": 7, "answered_by": "x" if self.count else None, "cleaned": {"lines": self.count}}


def test_stored_answers_count_over_several_runs(tmp_path: Path) -> None:
    opened: list[Counting] = []

    def stored(fails: bool = False) -> StoredSystem:
        @contextmanager
        def opening() -> Iterator[Any]:
            opened.append(Counting(fails))
            yield opened[-1]

        return StoredSystem("vlm", tmp_path / "answers", opening)

    first = stored()
    assert first.uses_images
    assert not first.can_score
    assert first.translate(["a", "b"], ["1", "2"]) == ["a 1", "b 2"]
    with pytest.raises(FailedSystemError, match="no answer") as failure:
        stored(fails=True).translate(["a"], None)
    assert failure.value.name == "vlm"
    second = stored()
    assert second.translate(["a", "b"], ["1", "2"]) == ["a 1", "b 2"]
    assert len(opened) == 2  # it was stored
    assert second.translate(["a", "b"], ["2", "1"]) == ["a 2", "b 1"]  # other images are another call
    assert len(opened) == 3
    assert second.translate(["c"], None) == ["c None"]
    last = stored()
    assert last.describe() == {"size": 7, "answered_by": "x", "cleaned": {"lines": 5}}
    assert len(opened) == 3
    (tmp_path / "answers" / "system.json").write_text("{")
    with pytest.raises(MMTError, match="damaged"):
        stored().describe()


def test_a_leaderboard_is_known_by_its_keys(write: Callable[..., Path], tmp_path: Path) -> None:
    assert is_leaderboard(write())
    assert is_leaderboard(write(systems=None, datasets=None, systemx={}))
    assert not is_leaderboard(write(systems=None, datasets=None, recipe="r", fusions=["gated"], draws=None))
    config, systems, datasets = read_leaderboard(write())
    assert (config.draws, systems["text"].specs, datasets["pets"].split) == (2, [systems["text"].spec], "test")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_example_is_a_leaderboard(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for spec in yaml.safe_load(path.read_text())["systems"].values():
        if isinstance(spec, str) and ":" not in spec:
            (tmp_path / spec).mkdir(parents=True)
    _, systems, datasets = read_leaderboard(path)
    assert len(systems) > 3
    assert all(entry.split.startswith("test_") for entry in datasets.values())
