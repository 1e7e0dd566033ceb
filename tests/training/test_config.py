"""Settings: what is written is what is used, and a slip is named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mmt.errors import MMTError
from mmt.experiments.config import read_compare
from mmt.experiments.tuning_config import is_tuning, read_tuning
from mmt.model.fusion import FUSIONS
from mmt.training.config import TrainConfig
from mmt.training.config_file import dump_config, read_config

FILES = sorted((Path(__file__).parents[2] / "recipes" / "configs").glob("*.yaml"))
COMPARISONS = [path for path in FILES if path.stem.startswith("compare_")]
BOARDS = [path for path in FILES if path.stem.startswith("leaderboard_")]
SEARCHES = [path for path in FILES if path.stem.startswith("search_")]
CONFIGS = [path for path in FILES if path not in (*COMPARISONS, *BOARDS, *SEARCHES)]
DATA = ["data.path=d"]
IMAGES = ("model.fusion=gated", "images.features=f")
FROZEN = (*IMAGES, "start.model=m")
CLASSIC = ("model.fusion=concat", "images.features=f", "model.text_encoder=lstm", "model.num_decoder_layers=0",
    "model.readout=last", "data.label=l", "objectives.classification=1", "objectives.translation=0")  # fmt: skip


def test_sections_and_mistakes_in_keys_load_no_torch() -> None:
    """So that a mistake is reported at once."""
    code = (
        "import sys; import mmt.training.config\n"
        "from mmt.errors import MMTError; from mmt.training.config_file import read_config\n"
        "try: read_config(None, ['regime.num_stops=1'])\n"
        "except MMTError as error: print(error)\n"
        "print(sorted({'torch', 'fairseq2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Did you mean 'num_steps'" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("path", COMPARISONS, ids=lambda p: p.stem)
def test_every_comparison_is_valid_and_has_every_fusion(path: Path) -> None:
    config, _ = read_compare(path)
    assert {fusion for fusion, _ in config.systems()} == set(FUSIONS) - {"prefix"}  # newer than these results
    assert len(config.seeds) >= 2


@pytest.mark.parametrize("path", SEARCHES, ids=lambda p: p.stem)
def test_every_search_is_valid(path: Path) -> None:
    assert is_tuning(path)
    config, recipe = read_tuning(path)
    assert recipe.data.path is not None
    assert config.trials > 1


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_recipe_is_valid_and_holds_only_differences(path: Path) -> None:
    # the base that is frozen is given on the command line
    given_base = path.stem.endswith(("_adapters", "best_en_de_colour"))
    read_config(path, ["start.freeze_text=false"] if given_base else [])

    def leaves(tree: dict, defaults: dict, prefix: str = "") -> list[str]:
        same = []
        for key, value in tree.items():
            if isinstance(value, dict):
                same += leaves(value, defaults[key], f"{prefix}{key}.")
            elif value == defaults[key]:
                same.append(prefix + key)
        return same

    defaults = yaml.safe_load(dump_config(TrainConfig()))
    same = leaves(yaml.safe_load(path.read_text()), defaults)
    assert set(same) <= {"model.fusion"}, "a default stands in a recipe"


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("data: {path: a}\nregime: {num_steps: 7}\n")
    config = read_config(path, ["regime.num_steps=9", "optimizer.betas=[0.8, 0.9]", "regime.patience=null"])
    assert (config.regime.num_steps, config.optimizer.betas, config.regime.patience) == (9, (0.8, 0.9), None)
    assert config.data.path == Path("a")


def test_a_dump_reads_back_the_same(tmp_path: Path) -> None:
    config = read_config(None, [*DATA, "seed=4", "optimizer.lr=0.25"])
    (tmp_path / "c.yaml").write_text(dump_config(config))
    assert read_config(tmp_path / "c.yaml") == config


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.fusoin=gated"], r"unknown key 'model.fusoin'. Did you mean 'fusion'\?"),
        (["regimee.num_steps=1"], r"unknown key 'regimee'. Did you mean 'regime'\?"),
        (["beside=[{dta: x}]"], r"unknown key 'beside\.0\.dta'. Did you mean 'data'"),
        (["images.dropout_p=0.5"], "there is no image to leave out"),
        (["model.fusion=gatd"], r"model.fusion: unknown fusion 'gatd'. Did you mean 'gated'"),
        (["regime.num_steps=many"], "regime.num_steps: expected a whole number, found 'many'"),
        (["regime.num_steps=0"], "regime.num_steps: expected at least 1, found 0"),
        (["regime.validate_every=150"], "multiple of"),
        (["seed"], "expected KEY=VALUE"),
        (["seed.x=1", "seed.x.y=2"], "is a value, not a section"),
        (["model.fusion=gated"], "images.features is missing"),
        (["stack.optimizer={}"], "stack.optimizer: expected trainer, gang or common"),
        (["model.model_dim=30"], "model.model_dim"),
        (["data=x"], "data: "),
        (["model.layer_drop_p=1"], r"model.layer_drop_p: expected less than 1"),
        (["model.word_dropout_p=0.1", "start.freeze_text=true", *FROZEN], "word_dropout_p is of the text model"),
        (["model.layer_drop_p=0.1", "start.freeze_text=true", *FROZEN], "layer_drop_p is of the text model"),
        (["model.layer_drop_p=0.1", *CLASSIC], "skips layers of Transformers"),
        (["model.word_dropout_p=0.1", "model.reads_text=false", *CLASSIC], "hides pieces of the text"),
    ],
)
def test_a_slip_is_named(overrides: list[str], message: str) -> None:
    with pytest.raises(MMTError, match=message):
        read_config(None, DATA + overrides)


@pytest.mark.parametrize(("text", "message"), [("a: [", "not YAML"), ("- x", "expected sections")])
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(MMTError, match=message):
        read_config(tmp_path / "c.yaml")
    with pytest.raises(MMTError, match="cannot be read"):
        read_config(tmp_path / "none.yaml")


@pytest.mark.parametrize("name", ["layer_drop_p", "word_dropout_p"])
def test_r_drop_takes_any_dropout(name: str) -> None:
    read_config(None, [*DATA, "objectives.r_drop=5", "model.dropout_p=0", f"model.{name}=0.1"])


def test_data_path_is_required() -> None:
    with pytest.raises(MMTError, match=r"data\.path is missing"):
        read_config(None)
