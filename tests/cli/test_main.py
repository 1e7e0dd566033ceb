"""The command line: a mistake is one line and exit code 2; nothing heavy is loaded before it is needed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from PIL import Image

import mmt
from mmt import cli
from mmt.cli.main import COMMANDS, main
from mmt.data.feature_store import FeatureStore
from tests import warm
from tests.worlds import tiny_folder


def refused(*arguments: object) -> str:
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from mmt.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'fairseq2', 'datasets', 'transformers', 'timm', 'numpy', 'sacrebleu', 'rich'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "HEAVY []" in done.stdout
    for command, summary in COMMANDS.items():
        assert f"  {command} " in done.stdout
        assert " ".join(summary.split()[:3]) in done.stdout


def test_a_commands_help_does_not_wait_for_torch() -> None:
    code = (
        "import sys; from mmt.cli.main import COMMANDS, main\n"
        "for command in COMMANDS: main([command, '--help'], standalone_mode=False)\n"
        "heavy = {'torch', 'fairseq2', 'datasets', 'transformers', 'timm', 'numpy', 'rich'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []"
    assert done.stdout.count("Usage: ") == len(COMMANDS)


def test_the_list_of_commands_says_what_each_says_of_itself() -> None:
    context = click.Context(main)
    own = {name: main.get_command(context, name) for name in main.list_commands(context)}
    assert {name: command and (command.name, command.short_help) for name, command in own.items()} == {
        name: (name, summary) for name, summary in COMMANDS.items()
    }
    source = "".join(path.read_text("utf-8") for path in Path(cli.__file__).parent.glob("*.py"))
    assert set(re.findall(r'@click.(?:command|group)\(\s*"([\w-]+)"', source)) == set(COMMANDS)
    assert main.get_command(context, "options") is None


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["train", "--help"]])
def test_help_that_cannot_be_written_is_one_line(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "mmt", *arguments]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    message = "error: the output: No space left on device. Free some space, or name a place on another disk.\n"
    assert done.stderr == message
    assert done.returncode == 2


@pytest.mark.parametrize("fusion", ["none", "late"])
def test_translating_text_loads_only_what_translates(world: Path, tmp_path: Path, fusion: str) -> None:
    """Neither what images and datasets need, nor fairseq2's families of models: seconds of a cold start."""
    model = tiny_folder(tmp_path / "model", world, fusion)
    code = (
        "import sys; from mmt.cli.main import main\n"
        "main(['translate', '--model', sys.argv[1]], standalone_mode=False)\n"
        "heavy = {'fairseq2.composition', 'transformers', 'sklearn', 'torchvision', 'timm', 'PIL', 'datasets', "
        "'pyarrow', 'pandas', 'matplotlib', 'sacrebleu', 'pydantic', 'rich'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    given = [sys.executable, "-c", code, str(model)]
    done = subprocess.run(given, input="A dog sees the cat.\n", capture_output=True, text=True, check=True)
    translated, said = done.stdout.splitlines()
    assert translated
    assert said == "HEAVY []"


def test_a_script_may_import_after_the_command_class_what_reads_the_environment() -> None:
    code = "import os; import mmt.cli.command; print(os.environ['WANDB_ERROR_REPORTING'])"
    environment = {name: value for name, value in os.environ.items() if name != "WANDB_ERROR_REPORTING"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout == "false\n"


def test_features_from_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for number in range(3):
        Image.effect_noise((40, 30), 50 + number).convert("RGB").save(tmp_path / "pictures" / f"{number}.jpg")
    (tmp_path / "pictures" / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    arguments = ["features", "--images", str(tmp_path / "pictures"), "--out", str(tmp_path / "store")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "left out 1 image," in result.output
    assert "broken.jpg" in result.output
    store = FeatureStore.open(tmp_path / "store")
    assert sorted(store.ids) == ["0.jpg", "1.jpg", "2.jpg"]
    assert "broken.jpg" not in store
    again = CliRunner().invoke(main, [*arguments, "--quiet"])
    assert (again.exit_code, again.output) == (0, "")


def test_a_missing_image_folder_is_refused(tmp_path: Path) -> None:
    assert "none" in refused("features", "--images", tmp_path / "none", "--out", tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_a_misspelt_setting_names_the_nearest(world: Path, tmp_path: Path) -> None:
    message = refused(
        "train", tmp_path / "run", "--config", f"data.path={world / 'data'}", "--config", "model.fusin=x"
    )
    assert "Did you mean 'fusion'?" in message
    assert not (tmp_path / "run").exists()


def test_training_on_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    assert "no dataset.json" in refused("train", tmp_path / "run", "--config", f"data.path={tmp_path}")
    assert "OUTPUT is missing" in refused("train", "--config", f"data.path={tmp_path}")


def test_training_without_its_features_is_refused(world: Path, tmp_path: Path) -> None:
    settings = ["--config", f"data.path={world / 'data'}", "--config", "model.fusion=gated"]
    message = refused("train", tmp_path / "run", *settings, "--config", f"images.features={tmp_path / 'none'}")
    assert "expected a feature store" in message


def test_a_file_where_a_runs_folder_belongs_is_refused(world: Path, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(f"data: {{path: {world / 'data'}}}\n")
    (tmp_path / "file").write_text("x")
    for output in ("run.yaml", "none.yml", "file"):
        message = refused("train", tmp_path / output, "--config", f"data.path={world / 'data'}")
        assert "expected the folder that the run is to fill, found a file. Give its settings with" in message
        assert f"--config-file {tmp_path / output}" in message
    below = refused("train", tmp_path / "file" / "run", "--config-file", tmp_path / "run.yaml")
    assert "cannot be made a folder" in below
    assert "A file is --config-file" in refused("train", tmp_path / "run", "--config", tmp_path / "run.yaml")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["translate", "--data", "DATA", "--input", "in.txt"], "Leave --input and --format out"),
        (["translate", "--data", "DATA", "--format", "tsv"], "Leave --input and --format out"),
        (["translate", "--split", "val"], "--split val: expected --data, the dataset"),
        (["translate", "--data", "DATA", "--output", "."], "found a folder"),
        (["translate", "--data", "DATA", "--length-penalty", "nan"], "length penalty: expected a number from"),
        (["score-pairs", "--source", "in.txt", "--target", "in.txt", "--split", "val"], "expected --data"),
        (["evidence", "--data", "DATA", "--commute-images", "x"], "expected --commute, the folder"),
    ],
)
def test_an_option_that_does_not_apply_is_not_left_aside(
    world: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    model = tiny_folder(tmp_path / "model", world, "none")
    given = [str(world / "data") if argument == "DATA" else argument for argument in arguments]
    assert said in refused(given[0], "--model", model, *given[1:])


@pytest.mark.parametrize("command", [["translate"], ["score-pairs"]])
def test_a_text_only_model_says_that_the_datas_images_are_not_used(
    world: Path, tmp_path: Path, command: list[str]
) -> None:
    model = tiny_folder(tmp_path / "model", world, "none")
    given = [*command, "--model", str(model), "--data", str(world / "data")]
    result = CliRunner().invoke(main, given)
    assert result.exit_code == 0, result.output
    assert "the model is text-only: 4 images of the data not used" in result.stderr
    assert "has no use for images" in refused(*given, "--images", world / "features")


def test_settings_are_printed_as_a_file_that_can_be_used(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["train", "--dump-config", "--config", "data.path=somewhere"])
    assert result.exit_code == 0
    (tmp_path / "all.yaml").write_text(result.stdout)
    again = CliRunner().invoke(main, ["train", "--dump-config", "--config-file", str(tmp_path / "all.yaml")])
    assert again.stdout == result.stdout
    given = ["train", "--dump-config", "--config", "data.path=somewhere", "--threads", "3"]
    assert "\nthreads: 3\n" in CliRunner().invoke(main, given).stdout
    assert "threads" in refused(*given, "--config", "threads=2")


def test_every_module_can_be_imported_first() -> None:
    """Of those that import fairseq2, parts of which import each other in a circle.

    Among our own modules there are no circles (import-linter). Each is imported in a process of its own, forked
    before anything of ours or of fairseq2's is loaded.
    """
    root = Path(mmt.__file__).parent
    files = [path for path in root.rglob("*.py") if "fairseq2" in path.read_text(encoding="utf-8")]
    names = (path.relative_to(root.parent).with_suffix("").parts for path in files if path.stem != "__init__")
    modules = sorted(".".join(name) for name in names)
    assert "mmt.training.units" in modules
    code = (
        "import gc, os, sys, importlib\n"
        "gc.disable()\n"
        "import torch, torchvision, transformers, datasets, timm, wandb, sacrebleu, sklearn.metrics, scipy.stats\n"
        "import boto3, langcodes, ruamel.yaml, torch.utils.tensorboard, torcheval.metrics\n"
        "import transformers.models.qwen2_5_omni.modeling_qwen2_5_omni\n"
        "failed = 0\n"
        "for module in sys.argv[1:]:\n"
        "    if os.fork() == 0:\n"
        "        importlib.import_module(module)\n"
        "        os._exit(0)\n"
        "    failed += os.wait()[1] != 0\n"
        "sys.exit(failed)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *modules], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["recipes.train", "recipes.demo", "eval.score", "eval.result", "data_prep.vqa"])
def test_every_script_says_how_it_is_used(module: str) -> None:
    done = warm.run([sys.executable, "-m", module, "-h"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"Usage: python -m {module}")
