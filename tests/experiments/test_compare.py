"""Laws of comparing fusions: one budget, each run once, a table that says what the runs say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mmt.data.dataset import DatasetInfo, write_dataset
from mmt.errors import MMTError
from mmt.experiments.config import Cell, CompareConfig, read_compare, runs_of, training_of
from mmt.experiments.jobs import claim
from mmt.experiments.scores import RunScores, read_scores
from mmt.experiments.table import table_of, tabulate
from mmt.inference.controls import other_readings
from mmt.metrics.p_values import signed_rank
from mmt.training.config import TrainConfig
from mmt.training.config_file import read_config
from tests.experiments.trainings import run
from tests.worlds import SETTINGS, make_dataset, make_features

NOUNS = ["Hund", "Katze"]


def write(folder: Path, **changes: object) -> Path:
    """A comparison of the tiny world's, as YAML."""
    (folder / "recipe.yaml").write_text("model: {}\n")
    small = [s for s in SETTINGS if not s.startswith(("regime.num_steps", "text.vocab_size"))]
    config = {
        "recipe": str(folder / "recipe.yaml"),
        "features": {"pool": [str(folder / "features")]},
        "fusions": ["gated", "hybrid"],
        "seeds": [1],
        "split": "test",
        "draws": 2,
        "settings": [f"data.path={folder / 'data'}", *small, "regime.num_steps=3", "text.vocab_size=300"],
        **changes,
    }
    path = folder / "compare.yaml"
    path.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))
    return path


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with a finished comparison, and what it printed."""
    folder = tmp_path_factory.mktemp("compared")
    sizes = {"train": 40, "val": 6, "test": 8}
    make_dataset(folder / "data", sizes)
    make_features(folder / "features", [f"{s}-{n}.png" for s, size in sizes.items() for n in range(0, size, 2)])
    code, out, err = run("compare", write(folder), folder / "out", "--jobs", 2)
    assert code == 0, err
    return folder, out


def test_a_quiet_comparison_prints_nothing(compared: tuple[Path, str]) -> None:
    folder, _ = compared
    before = {name: (folder / "out" / name).read_bytes() for name in ("compare.json", "compare.md")}
    assert run("compare", folder / "compare.yaml", folder / "out", "--only-table", "--quiet") == (0, "", "")
    assert {name: (folder / "out" / name).read_bytes() for name in before} == before


def test_a_comparison_trains_every_cell_and_writes_the_table(compared: tuple[Path, str]) -> None:
    folder, out = compared
    models = sorted(path.parent.name for path in (folder / "out" / "runs").glob("*/model"))
    assert models == ["gated.pool.seed1", "hybrid.pool.seed1", "none.seed1"]
    result = json.loads((folder / "out" / "compare.json").read_text())
    assert [row["fusion"] for row in result["systems"]] == ["none", "gated", "hybrid"]
    assert all(row["updates"] == [3] for row in result["systems"])
    assert result["systems"][0]["parameters"] < result["systems"][1]["parameters"]
    assert set(result["systems"][1]["scores"]["BLEU"]) == {"right", "wrong", "blank"}
    assert "hybrid (pool)" in out
    assert (folder / "out" / "compare.md").read_text().count("\n| ") == 5
    assert (folder / "out" / "compare.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_command_does_nothing_twice(compared: tuple[Path, str]) -> None:
    folder, _ = compared
    before = {path: path.stat().st_mtime_ns for path in (folder / "out").rglob("*") if path.parent.name != "out"}
    table = (folder / "out" / "compare.json").read_bytes()
    code, _, err = run("compare", folder / "compare.yaml", folder / "out")
    assert code == 0
    assert "3 runs, 3 of them done" in err
    after = {path: path.stat().st_mtime_ns for path in (folder / "out").rglob("*") if path.parent.name != "out"}
    assert {p: t for p, t in after.items() if not p.name.startswith(".")} == {
        p: t for p, t in before.items() if not p.name.startswith(".")
    }
    assert (folder / "out" / "compare.json").read_bytes() == table


def test_what_is_not_trained_yet_is_said_and_left_out(compared: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = compared
    more = json.loads((folder / "compare.yaml").read_text()) | {"seeds": [1, 2]}
    (tmp_path / "more.yaml").write_text(json.dumps(more))
    code, _, err = run("compare", tmp_path / "more.yaml", folder / "out", "--only-table")
    assert code == 0
    assert "3 of 6 runs are not done yet, such as none.seed2" in err


def test_a_folder_with_another_comparison_is_refused(compared: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = compared
    other = json.loads((folder / "compare.yaml").read_text()) | {"draws": 3}
    (tmp_path / "other.yaml").write_text(json.dumps(other))
    code, _, err = run("compare", tmp_path / "other.yaml", folder / "out")
    assert (code, "holds a comparison with draws 2, now it is 3" in err) == (2, True)


def test_what_is_wrong_is_found_before_anything_is_trained(compared: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = compared
    given = json.loads((folder / "compare.yaml").read_text())
    make_features(tmp_path / "few", ["test-0.png"])
    for changes, message in (
        ({"features": {"pool": [str(tmp_path / "none")]}}, "expected a feature store, found no such folder"),
        ({"features": {"pool": [str(tmp_path / "few")]}}, "lacks 3 images of 'test': 'test-2.png'"),
        ({"split": "tset"}, "Did you mean 'test'"),
    ):
        (tmp_path / "broken.yaml").write_text(json.dumps(given | changes))
        code, _, err = run("compare", tmp_path / "broken.yaml", tmp_path / "out")
        assert (code, message in err) == (2, True), err
        assert not (tmp_path / "out").exists()


def test_a_training_that_fails_says_why(compared: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = compared
    broken = json.loads((folder / "compare.yaml").read_text())
    broken["settings"] = [*broken["settings"], "data.max_length=1"]
    (tmp_path / "broken.yaml").write_text(json.dumps(broken))
    code, _, err = run("compare", tmp_path / "broken.yaml", tmp_path / "out")
    assert code == 2
    assert "training none.seed1 failed: data.max_length: 1 pieces leave no sentence" in err
    assert err.count("error:") == 1
    code, _, err = run("compare", tmp_path / "broken.yaml", tmp_path / "out", "--only-table")
    assert (code, "3 of 3 runs are not done yet" in err) == (0, True)


def test_scores_of_a_model_that_was_trained_anew_are_made_anew(compared: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = compared
    cell, model = Cell("none", "", 1, ()), folder / "out" / "runs" / "none.seed1" / "model"
    assert read_scores(cell, model, folder / "out") is not None
    shutil.copytree(model, tmp_path / "model")
    card = json.loads((model / "mmt.json").read_text())
    card["training"]["updates"] = 4
    (tmp_path / "model" / "mmt.json").write_text(json.dumps(card))
    assert read_scores(cell, tmp_path / "model", folder / "out") is None


def test_every_run_has_the_same_settings_but_its_own(tmp_path: Path) -> None:
    config, _ = read_compare(write(tmp_path, seeds=[3, 4], fusions={"late": ["pool"]}))
    runs = runs_of(config)
    assert [one.name for one in runs] == ["none.seed3", "late.pool.seed3", "none.seed4", "late.pool.seed4"]
    read = [read_config(config.recipe, training_of(one, config)) for one in runs]
    assert [one.seed for one in read] == [3, 3, 4, 4]
    assert [one.model.fusion for one in read] == ["none", "late", "none", "late"]
    assert read[1].images.features == (tmp_path / "features",)
    assert len({(str(one.data), str(one.optimizer), str(one.regime)) for one in read}) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fusions": ["gatd"]}, r"unknown fusion 'gatd'\. Did you mean 'gated'"),
        ({"fusions": {"gated": ["pol"]}}, r"gated: no features 'pol'\. Did you mean 'pool'"),
        ({"fusions": ["none"]}, "at least one fusion with features"),
        ({"seeds": []}, "and one seed"),
        ({"seeds": [1, 1]}, "seeds: one stands twice"),
        ({"features": {"a.b": ["x"]}}, "folder names"),
        ({"features": {"pool": []}}, "a list of at least 1"),
        ({"draws": 0}, "draws: expected at least 1, found 0"),
        ({"splitt": "test"}, r"unknown key 'splitt'\. Did you mean 'split'"),
        ({"split": None}, "split is missing"),
        ({"settings": ["regime.num_step=3"]}, r"unknown key 'regime\.num_step'"),
        ({"settings": ["seed=3"]}, "seed is the comparison's own. Name the seeds in seeds"),
        ({"settings": ["model={fusion: late}"]}, "model.fusion is the comparison's own"),
        ({"settings": ["optimizer.lr=1", "optimizer={lr: 2}"]}, "optimizer.lr is 1 in another one"),
        ({"seeds": [True]}, "seeds.0: expected a whole number, found true"),
        ({"seeds": [-1]}, "seeds.0: expected at least 0"),
        ({"recipe": ""}, "recipe: expected a path"),
        ({"features": {"pool": [""]}}, "features.pool.0: expected a path"),
    ],
)
def test_a_comparison_that_cannot_be_meant_is_refused(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(MMTError, match=message):
        read_compare(write(tmp_path, **changes))


def test_one_process_at_a_run(tmp_path: Path) -> None:
    held = claim(tmp_path / "runs" / "a")
    assert held is not None
    assert claim(tmp_path / "runs" / "a") is None
    other = claim(tmp_path / "runs" / "b")
    assert other is not None
    held.close()
    again = claim(tmp_path / "runs" / "a")
    assert again is not None
    again.close()
    other.close()


# --- the table --------------------------------------------------------------------------------------------


def small(folder: Path) -> tuple[CompareConfig, TrainConfig]:
    """A contrastive dataset of four sentences, and a comparison of two seeds on it."""
    rows = []
    for n in range(4):
        row = {"id": str(n), "image": f"{n}.png", "has_image": True, "source": "A pet.", "answer": NOUNS[n % 2]}
        rows.append({**row, "target": f"Ein {NOUNS[n % 2]}.", "contrast": f"Ein {NOUNS[1 - n % 2]}."})
    write_dataset(folder / "data", DatasetInfo("pets", "en", "de", str(folder)), {"test": rows})
    return read_compare(write(folder, seeds=[1, 2], fusions={"gated": ["pool"]}))


def scores(hits: str, words: str, wrong: str = "0000") -> RunScores:
    """Of ``words`` 1 says the right noun, 0 the other."""

    def chosen(digits: str) -> list[bool]:
        return [digit == "1" for digit in digits]

    says = [f"Ein {NOUNS[n % 2 if digit == '1' else 1 - n % 2]}." for n, digit in enumerate(words)]
    training = {"target_tokens_per_second": 1000, "updates": 3}
    return RunScores(
        {"right": [says], "wrong": [says], "blank": [says]},
        {"right": [chosen(hits)], "wrong": [chosen(wrong)], "blank": [chosen(hits)]},
        7,
        training,
    )


def test_the_table_has_means_and_spreads_over_seeds(tmp_path: Path) -> None:
    config, recipe = small(tmp_path)
    found = {
        Cell("none", "", 1, ()): scores("1010", "1010"),
        Cell("none", "", 2, ()): scores("1000", "1010"),
        Cell("gated", "pool", 1, ()): scores("1111", "1110"),
        Cell("gated", "pool", 2, ()): scores("1101", "1111"),
    }
    none, gated = tabulate(found, config, recipe)
    choice = none.scores["right choice %"]["right"]
    assert (choice.mean, choice.std, choice.values) == (37.5, pytest.approx(17.6777, abs=1e-4), [50, 25])
    assert gated.scores["right choice %"]["right"].values == [100, 75]
    assert gated.scores["right choice %"]["wrong"].mean == 0
    assert gated.scores["right word %"]["right"].values == [75, 100]
    assert (none.p_text_only, none.p_wrong) == (None, None)
    columns, lines = table_of([none, gated])
    assert columns[:3] == ["system", "right choice %, right image", "right choice %, wrong image"]
    assert lines[0][:4] == ["text only", "37.5 ± 17.7", "0.0 ± 0.0", "37.5 ± 17.7"]
    assert lines[1][:3] == ["gated (pool)", "87.5 ± 17.7", "0.0 ± 0.0"]
    assert lines[1][-3:] == ["2", "7", "1,000"]


def test_p_values_are_over_sentences_averaged_over_seeds(tmp_path: Path) -> None:
    config, recipe = small(tmp_path)
    found = {
        Cell("none", "", 1, ()): scores("0000", "0000"),
        Cell("gated", "pool", 1, ()): scores("1111", "1111", "1100"),
        Cell("gated", "pool", 2, ()): scores("1110", "1110", "1000"),
    }
    _, gated = tabulate(found, config, recipe)
    assert gated.p_text_only == signed_rank([1.0, 1.0, 1.0, 0.5])
    assert gated.p_wrong == signed_rank([0.0, 0.5, 1.0, 0.5])


def test_p_values_are_of_the_seeds_that_both_have(tmp_path: Path) -> None:
    config, recipe = small(tmp_path)
    found = {
        Cell("none", "", 1, ()): scores("0011", "0000"),
        Cell("gated", "pool", 1, ()): scores("0011", "1111"),
        Cell("gated", "pool", 2, ()): scores("1111", "1111"),
    }
    _, gated = tabulate(found, config, recipe)
    assert gated.p_text_only == 1.0  # nothing differs in seed 1
    (alone,) = tabulate({Cell("gated", "pool", 2, ()): scores("1111", "1111")}, config, recipe)
    assert alone.p_text_only is None
    assert table_of([alone])[1][0][4] == "not tested"


def test_the_other_reading_is_that_of_the_same_sentence() -> None:
    sources, targets = ["a", "b", "a", "c", "a"], ["1", "2", "3", "4", "1"]
    assert other_readings(sources, targets, list("vwxyz")) == ["x", "x", "v", "z", "x"]
