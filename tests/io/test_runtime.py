"""Nothing but the work: no telemetry, no network, no stray files; and what the user has set stays."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import mmt.cli.main
from mmt.cli.command import Command
from mmt.data.tokenizer import Tokenizer
from mmt.experiments.config import read_compare, runs_of, training_of
from mmt.features.extract import compute_features
from mmt.features.load import load_backbone
from mmt.inference.torch_runtime import Translator
from mmt.io import runtime
from mmt.model.card import ModelCard
from mmt.model.folder import save_model
from mmt.training.config_file import read_config
from mmt.training.recipe import train
from tests.commands import commands_of, scripts
from tests.worlds import ONE_LAYER, tiny_folder, tiny_model
from tests.worlds import settings as train_settings

_OURS = re.compile("^(ORT_|HF_|DISABLE_|WANDB_|XDG_|MPLCONFIGDIR|TORCHINDUCTOR)")
_CI = re.compile("^(CI$|.*_CI$|GITHUB_|BUILD_|JENKINS|TF_BUILD)")  # where ONNX Runtime reports nothing anyway


def alone(folder: Path, *arguments: str, **environment: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Runs Python with an empty HOME, in an empty folder, without network where the system lets us.

    Returns:
        The process, and what strace, where there is one, saw of libraries' own attempts to reach the network.
    """
    for part in ("home", "work", "tmp"):
        (folder / part).mkdir(parents=True)
    command = [sys.executable, *arguments]
    strace = ["strace", "-f", "--seccomp-bpf", "-e", "trace=connect", "-o", str(folder / "calls")]
    for wrapper in (strace, ["unshare", "-rn"]):
        if works(*wrapper, "true"):
            command = [*wrapper, *command]
    kept = {n: value for n, value in os.environ.items() if not _OURS.match(n) and not _CI.match(n)}
    kept |= {"HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp"), "OMP_NUM_THREADS": "1"}
    kept["PYTHONPATH"] = str(Path(mmt.__file__).parent.parent)
    done = subprocess.run(
        command, cwd=folder / "work", env=kept | environment, capture_output=True, text=True, timeout=300
    )
    calls = folder / "calls"
    lines = calls.read_text(errors="replace").splitlines() if calls.exists() else []
    return done, [line for line in lines if "AF_INET" in line]  # a name is asked for in this way, too


def works(*command: str) -> bool:
    return shutil.which(command[0]) is not None and subprocess.run(command, capture_output=True).returncode == 0


def left(folder: Path) -> list[Path]:
    return [path for part in ("home", "work", "tmp") for path in (folder / part).rglob("*")]


class Run(NamedTuple):
    out: Path
    done: subprocess.CompletedProcess[str]
    reached: list[str]
    left: list[Path]


@pytest.fixture(scope="module")
def everything(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """All of ``mmt``, and scripts of each kind, one after the other, without network and with an empty HOME."""
    out, w = tmp_path_factory.mktemp("out"), world
    (out / "in.txt").write_text("A dog sees the cat.\n")
    recipe = "\n".join(
        [f"data: {{path: {w / 'data'}, max_tokens: 120}}", "text: {vocab_size: 330}", "threads: 1",
         "model: {model_dim: 16, ffn_dim: 32, num_heads: 2, num_encoder_layers: 1, num_decoder_layers: 1}",
         "regime: {num_steps: 1, report_every: 1, validate_every: 1, keep_last: 1}"]
    )  # fmt: skip
    (out / "recipe.yaml").write_text(recipe)
    systems = f"features: {{pool: [{w / 'features'}]}}, fusions: [gated], seeds: [1]"
    (out / "compare.yaml").write_text(f"{{recipe: recipe.yaml, {systems}, split: test}}")
    config, _ = read_compare(out / "compare.yaml")
    for run in runs_of(config):  # so that mmt compare does not start processes
        train(out / "compared" / "runs" / run.name, read_config(out / "recipe.yaml", training_of(run, config)))
    text, gated = tiny_folder(out / "text", w, **ONE_LAYER), tiny_folder(out / "gated", w, "gated")
    tokenizer = Tokenizer(w / "tokenizer.model")
    labels = tiny_model(tokenizer.vocab_size, heads=("classification",), num_labels=2)
    card = ModelCard(vars(labels.config), "en", "", labels=["good", "bad"])
    save_model(out / "labels", labels.state_dict(), tokenizer.path, card)
    signature = load_backbone().signature
    sets = ((signature.num_regions, signature.dim),)
    finder = tiny_model(tokenizer.vocab_size, "gated", heads=("contrastive",), image_sets=sets)
    save_model(
        out / "finder", finder.state_dict(), tokenizer.path, ModelCard(vars(finder.config), "en", "", signature)
    )
    data, store, source = str(w / "data"), str(w / "features"), str(out / "in.txt")
    commands = [
        ["mmt.cli.main", "translate", "--model", str(gated), "--data", data, "--images", store],
        ["mmt.cli.main", "export", "--model", str(text), "--out", str(out / "exported"), "--precision", "float32"],
        ["mmt.cli.main", "translate", "--model", str(out / "exported"), "--input", source],
        ["mmt.cli.main", "score-pairs", "--model", str(text), "--source", source, "--target", source],
        ["mmt.cli.main", "score", "--ref", source, "--lang", "de", source, source, "--bootstrap", "10"],
        ["mmt.cli.main", "train", str(out / "run"), "--config-file", str(out / "recipe.yaml")],
        ["mmt.cli.main", "evidence", "--model", str(gated), "--data", data, "--images", store, "--output",
         str(out / "evidence")],
        ["mmt.cli.main", "compare", str(out / "compare.yaml"), str(out / "compared")],
        ["mmt.cli.main", "features", "--images", data, "--out", str(out / "features")],
        ["mmt.cli.main", "predict", "--model", str(out / "labels"), "--input", source],
        ["mmt.cli.main", "retrieve", "--model", str(out / "finder"), "--index", str(out / "photos.index"),
         "--images", str(out / "features"), "a dog"],
        ["eval.result", str(text), data, "test", str(out / "result")],
        ["data_prep.pictures.__main__", str(out / "pictures"), "--train", "16", "--val", "16", "--test", "16",
         "--contrastive", "16"],
        ["data_prep.classes", "match", str(out / "match"), "--data", str(out / "pictures")],
    ]  # fmt: skip
    folder = out / "alone"
    done, reached = alone(folder, str(Path(__file__).parents[1] / "alone.py"), json.dumps(commands))
    return Run(out, done, reached, left(folder))


def test_no_command_reaches_out_or_leaves_files(everything: Run) -> None:
    assert everything.done.stdout == "done\n", everything.done.stdout + everything.done.stderr
    assert (everything.reached, everything.left) == ([], [])


@pytest.mark.parametrize("entry", ["command", "python"])
def test_an_exported_model_reports_to_nobody(everything: Run, tmp_path: Path, entry: str) -> None:
    """ONNX Runtime from 1.29 on writes a device id and events below HOME, and sends them."""
    if entry == "command":
        given = ["-m", "mmt.cli", "translate", "--model", str(everything.out / "exported")]
        given += ["--input", str(everything.out / "in.txt")]
    else:
        code = "import sys; from mmt.inference.onnx_runtime import ExportedTranslator as Translator; "
        code += "print(Translator.from_dir(sys.argv[1]).translate(['A dog.'])[0])"
        given = ["-c", code, str(everything.out / "exported")]
    done, reached = alone(tmp_path, *given)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1  # the translation, which may be blank
    assert (reached, left(tmp_path)) == ([], [])


def test_openvino_reports_to_nobody(world: Path, tmp_path: Path) -> None:
    """Its import writes a client id below HOME, and sends events, where openvino_telemetry is installed."""
    pytest.importorskip("openvino")
    given = ["-m", "mmt.cli", "features", "--images", str(world / "data"), "--out", str(tmp_path / "store")]
    cache = str(tmp_path / "cache")
    done, reached = alone(tmp_path / "alone", *given, "--runtime", "openvino", XDG_CACHE_HOME=cache)
    assert done.returncode == 0, done.stderr
    assert ", openvino)" in done.stdout
    assert (reached, left(tmp_path / "alone")) == ([], [])


def test_every_command_starts_in_the_same_way() -> None:
    commands = [leaf for module in (mmt.cli.main, *scripts()) for leaf in commands_of(module)]
    assert len(commands) > 25
    assert [command.name for command in commands if not isinstance(command, Command)] == []


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"ORT_DISABLE_TELEMETRY": "0", "HF_HUB_DISABLE_TELEMETRY": "0", "MPLCONFIGDIR": "/somewhere"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    runtime.start()
    assert {name: os.environ[name] for name in given} == given


def test_hubs_may_still_be_asked() -> None:
    """A model or a dataset that somebody names is fetched, and kept where its library keeps it."""
    code = "import os; before = {**os.environ}; from mmt.io import runtime; runtime.start(); "
    code += "print([name for name in os.environ if name not in before])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not re.search("OFFLINE|HF_HOME|TORCH_HOME|XDG", done.stdout)


def test_importing_changes_nothing() -> None:
    code = "import os; before = {**os.environ}; import mmt; assert before == {**os.environ}"
    subprocess.run([sys.executable, "-c", code], check=True)


# What a user id without an entry in /etc/passwd meets.
NOBODY = """
import pwd, sys
def getpwuid(uid): raise KeyError(f"getpwuid(): uid not found: {uid}")
pwd.getpwuid = getpwuid
from mmt.cli.main import main
main()
"""


def test_a_user_without_home_or_name_trains_and_leaves_nothing(world: Path, tmp_path: Path) -> None:
    nameless = ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME")
    environment = {name: value for name, value in os.environ.items() if name not in nameless}
    environment |= {"TMPDIR": str(tmp_path / "temporary"), "OMP_NUM_THREADS": "1"}
    (tmp_path / "temporary").mkdir()
    command = [sys.executable, "-c", NOBODY, "train", str(tmp_path / "run")]
    for setting in train_settings(world, "regime.num_steps=3", fusion="none"):
        command += ["--config", setting]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "model" / "mmt.json").is_file()
    assert not list((tmp_path / "temporary").glob("mmt-*"))


def test_freed_memory_is_kept_in_python_too(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it the kernel zeroes every page anew: 1.9 million page faults for 320 images, instead of 0.16."""
    kept: list[str] = []
    monkeypatch.setattr(runtime, "keep_freed_memory", lambda: kept.append("kept"))
    Translator.from_dir(tiny_folder(tmp_path / "model", world))
    assert len(kept) == 1
    backbone = load_backbone()
    assert len(kept) == 2
    compute_features([], backbone)
    assert len(kept) == 3
