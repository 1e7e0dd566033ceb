"""Laws of writing: one writer an output, whole or not at all, and nothing left of those that were killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner

import data_prep.ambiguous
import data_prep.captions
import data_prep.classes
import data_prep.emodb
import data_prep.mosi
import data_prep.multi30k
import data_prep.pictures.__main__
import data_prep.probes
import data_prep.spoken
import data_prep.vqa
import eval.commute
import eval.labels
import eval.probes
import eval.result
import eval.retrieval
import eval.vqa
import recipes.demo
from mmt.cli import main as cli
from mmt.data.dataset import DatasetInfo, write_dataset
from mmt.inference.index import write_index
from mmt.io.atomic import (
    hold,
    made_beside,
    only_writer,
    only_writer_in,
    replacing,
    replacing_folder,
    write_together,
    write_whole,
)
from mmt.io.signals import Stopped
from tests.worlds import make_features, tiny_folder

ROWS = [{"id": "1", "image": "", "source": "a", "target": "b", "has_image": False}]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def python(code: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, **more)


# --- one writer -------------------------------------------------------------------------------------------


def test_two_writers_never_mix(tmp_path: Path) -> None:
    """Short writes at the same time: each is whole, the later one stays, and nothing is left."""
    contents = [bytes([number]) * 3000 for number in range(8)]
    together = threading.Barrier(len(contents))

    def write(content: bytes) -> None:
        together.wait(10)
        with replacing(tmp_path / "out") as stream:
            for at in range(0, len(content), 100):
                stream.write(content[at : at + 100])
                stream.flush()

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "out").read_bytes() in contents
    assert names(tmp_path) == ["out"]


def test_one_writer_may_call_others(tmp_path: Path) -> None:
    with only_writer(tmp_path / "data"), made_beside(tmp_path / "data") as made:
        (made / "0.png").write_text("x")
        info = DatasetInfo("tiny", "en", "de", "images")
        write_dataset(tmp_path / "data", info, {"train": ROWS}, images_from=made)
    with only_writer_in(tmp_path / "run"):
        write_whole(tmp_path / "run" / "a", "1")
        with only_writer_in(tmp_path / "run"):
            write_together({tmp_path / "run" / "a": "2", tmp_path / "run" / "b": "3"})
    assert names(tmp_path) == ["data", "run"]
    assert names(tmp_path / "run") == ["a", "b"]


COMMANDS: dict[str, tuple[click.Command, str]] = {
    "translate": (cli.main, "translate --model none --input none --output {out}"),
    "translate draws": (
        cli.main,
        "translate --model none --data none --image-control wrong --draws 2 --output {out}.{{draw}}",
    ),
    "predict": (cli.main, "predict --model none --input none --output {out}"),
    "score-pairs": (cli.main, "score-pairs --model {model} --source none --target none --output {out}"),
    "retrieve": (cli.main, "retrieve --model {model} --index {out} --sentences {text}"),
    "retrieve html": (cli.main, "retrieve --model {model} --index new --sentences {text} --html {out} dog"),
    "evidence": (cli.main, "evidence --model none --data none --split test --output {out}"),
    "export": (cli.main, "export --model none --out {out}"),
    "features": (cli.main, "features --images none --out {out}"),
    "train": (cli.main, "train {out} --config data.path=none"),
    "reproduce": (cli.main, "reproduce none {out}"),
    "commute": (eval.commute.main, "none none --output {out}"),
    "labels": (eval.labels.main, "{out} --system a none none"),
    "eval.probes": (eval.probes.main, "none test {out} --text-only none --model none"),
    "result": (eval.result.main, "none none test {out}"),
    "retrieval": (eval.retrieval.main, "none none test {out}"),
    "eval.vqa": (eval.vqa.main, "none test {out} --system a=none"),
    "ambiguous": (data_prep.ambiguous.main, "none {out}"),
    "captions": (data_prep.captions.main, "{out} --multi30k none"),
    "match": (data_prep.classes.main, "match {out} --data none"),
    "topics": (data_prep.classes.main, "topics {out}"),
    "emodb": (data_prep.emodb.main, "{out} --emodb none --fold 0"),
    "mosi": (data_prep.mosi.main, "{out} --mosi none"),
    "multi30k": (data_prep.multi30k.main, "{out} --hub none --no-images"),
    "pictures": (data_prep.pictures.__main__.main, "{out}"),
    "probes": (data_prep.probes.main, "none {out} --probe colour"),
    "spoken": (data_prep.spoken.main, "{out}"),
    "multi30k-vqa": (data_prep.vqa.main, "multi30k-vqa {out} --pairs none --images none"),
    "vqa2": (data_prep.vqa.main, "vqa2 {out} --questions none --annotations none --images none"),
    "gqa": (data_prep.vqa.main, "gqa {out} --questions none --images none"),
    "vqa pictures": (data_prep.vqa.main, "pictures {out}"),
    "recipes.demo": (recipes.demo.main, "{out}"),
}
FILL = {
    *("evidence", "features", "train", "reproduce", "recipes.demo"),
    *("labels", "eval.probes", "result", "retrieval", "eval.vqa"),
}


@pytest.fixture(scope="module")
def model(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("models") / "model", world, "gated")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_second_of_any_command_names_the_first_and_does_nothing(
    name: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that was queued again while it still ran."""
    monkeypatch.chdir(tmp_path)
    command, arguments = COMMANDS[name]
    (tmp_path / "text").write_text("a dog\n")
    out = tmp_path / "out"
    lock = tmp_path / f".out{'.2' if 'draws' in name else ''}.lock"
    if name in FILL:
        out.mkdir()
        lock = out / ".lock"
    before = names(tmp_path)
    held = hold(lock, note=True, remove=True)
    assert held is not None
    with held:
        words = arguments.format(out=out, model=model, text=tmp_path / "text").split()
        done = CliRunner().invoke(command, words)
        assert done.exit_code == 2, done.output
        assert f"another process is writing it: process {os.getpid()} on " in done.output.replace("\n", " ")
    assert names(tmp_path) == before


def test_all_commands_that_write_are_tried() -> None:
    """``compare`` shares its work; ``score``, ``info``, ``demo``, ``serve`` and ``push`` write nothing here;
    ``recipe`` replaces nothing.

    The scripts of ``prepare`` and ``evaluate`` are tried by their own names.
    """
    others = {"compare", "score", "info", "demo", "serve", "push", "recipe", "prepare", "evaluate"}
    assert set(cli.COMMANDS) - set(COMMANDS) == others


def test_shares_of_one_work_do_not_exclude_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text("a dog\n")
    held = hold(tmp_path / ".out.lock", note=True, remove=True)
    assert held is not None
    with held:
        done = CliRunner().invoke(
            cli.main, ["translate", "--model", "none", "--input", "text", "--output", "out", "--shard", "1/2"]
        )
        assert "another process" not in done.output


# --- what a kill leaves -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["replacing", "replacing_folder", "made_beside"])
def test_what_a_killed_writer_left_blocks_nobody_and_goes(kind: str, tmp_path: Path) -> None:
    code = (
        "import os, signal; from pathlib import Path; from mmt.io.atomic import *\n"
        f"with only_writer(Path('out')), {kind}(Path('out')) as made:\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    for _ in range(3):
        assert python(code, cwd=tmp_path).returncode == -signal.SIGKILL
        left = names(tmp_path)
        assert left[0] == ".out.lock"
        assert [name.startswith("out.") and name.endswith(".writing") for name in left[1:]] == [True]
    (tmp_path / "out.de").write_text("another")
    (tmp_path / "out.writing").write_text("a user's")
    if kind == "replacing":
        write_whole(tmp_path / "out", "new")
    else:
        with replacing_folder(tmp_path / "out") as beside:
            (beside / "a").write_text("new")
    assert names(tmp_path) == ["out", "out.de", "out.writing"]


def test_what_a_live_writer_makes_stays(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with replacing(out) as stream:
        stream.write(b"new")
        before = names(tmp_path)
        done = python(
            "from pathlib import Path; from mmt.io.atomic import *\nwith only_writer(Path('out')): 1", cwd=tmp_path
        )
        assert done.returncode == 1
        assert names(tmp_path) == before
    assert out.read_text() == "new"


def test_a_stop_between_two_renames_leaves_the_old_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename

    def stopped(path: Path, target: Path) -> Path:
        if target == tmp_path / "out" and path.name.endswith(".writing"):
            raise Stopped(signal.SIGTERM)
        return rename(path, target)

    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    monkeypatch.setattr(Path, "rename", stopped)
    with pytest.raises(Stopped), replacing_folder(tmp_path / "out"):
        pass
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["old"]


# --- modes ------------------------------------------------------------------------------------------------


def test_a_name_of_the_longest_kind_can_be_written(tmp_path: Path) -> None:
    write_whole(tmp_path / ("x" * 255), "new")
    assert names(tmp_path) == ["x" * 255]


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o027, 0o077])
def test_all_outputs_honour_the_umask(umask: int, world: Path, tmp_path: Path) -> None:
    def index(folder: Path) -> None:
        write_index(folder, "images", ["a", "b"], np.eye(2, dtype=np.float32), tmp_path / "model")

    def data(folder: Path) -> None:
        write_dataset(folder, DatasetInfo("tiny", "en", "de", ""), {"train": ROWS})

    def features(folder: Path) -> None:
        if not folder.exists():
            make_features(folder, ["a.png", "b.png"])

    makers: dict[str, Callable[[Path], object]] = {
        "model": lambda folder: tiny_folder(folder, world),
        "index": index,
        "data": data,
        "features": features,
        "file": lambda path: write_whole(path, "x"),
    }
    before = os.umask(umask)
    try:
        for name, make in makers.items():
            for _ in range(2):  # the second replaces the first
                make(tmp_path / name)
    finally:
        os.umask(before)
    modes = {str(path.relative_to(tmp_path)): path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    wrong = {
        name: oct(mode)
        for name, mode in modes.items()
        if mode != (0o777 if (tmp_path / name).is_dir() else 0o666) & ~umask
    }
    assert wrong == {}


def test_into_a_pipe_that_a_descriptor_names_is_written(tmp_path: Path) -> None:
    reading, writing_end = os.pipe()
    with os.fdopen(reading, "rb") as read:
        with replacing(Path(f"/dev/fd/{writing_end}")) as stream:
            stream.write(b"whole")
        os.close(writing_end)
        assert read.read() == b"whole"


def test_dev_stdout_is_standard_output_also_where_it_is_added_to_a_file(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("before\n")
    code = (
        "from mmt.io.atomic import write_whole; from pathlib import Path; "
        "write_whole(Path('/dev/stdout'), 'more\\n')"
    )
    for _ in range(2):
        with (tmp_path / "out").open("ab") as out:
            subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
    assert (tmp_path / "out").read_text() == "before\nmore\nmore\n"
    assert os.listdir(tmp_path) == ["out"]
