"""Laws of engines: whatever runs the shards, and whatever is lost, the output is that of one process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from mmt.cli.main import main
from mmt.engines import worker
from mmt.engines.losses import Losses
from mmt.engines.run import crew_of, run_shards
from mmt.engines.spec import Engine
from mmt.errors import MMTError
from mmt.io import shards
from mmt.io.atomic import only_writer
from mmt.io.shards import WORKER_SHARD, Parts, Shard, parts_folder, shards_there
from tests.engines.commands import FAILING, LINES, count_command

ENTRY = "tests.engines.commands:main"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.txt"
    path.write_text("".join(f"{number}\n" for number in range(LINES)))
    return path


def test_a_spec_names_engine_place_and_resources() -> None:
    assert Engine.parse("local") == Engine(kind="local")
    assert Engine.parse("local:3") == Engine(kind="local", workers=3)
    assert Engine.parse("ray", threads=4) == Engine(kind="ray", cpus=4)
    given = Engine.parse("ray:10.0.0.1:6379,workers=8,cpus=2,gpus=0.5,shards=64", threads=4)
    assert given == Engine(kind="ray", where="10.0.0.1:6379", workers=8, cpus=2, gpus=0.5, shards=64)
    given = Engine.parse("slurm:gpu,gpus=1,time=60,mem=16,account=us")
    assert given == Engine(
        kind="slurm", where="gpu", gpus=1, settings={"time": "60", "mem": "16", "account": "us"}
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rey", "no engine 'rey'. Did you mean 'ray'?"),
        ("", "no engine ''"),
        ("local:0", "expected a number above 0"),
        ("local:two", "expected a number above 0"),
        ("local,worker=2", "Did you mean 'workers'?"),
        ("ray,cpus=0", "expected a number above 0"),
        ("ray,gpus=-1", "expected a number above 0"),
        ("ray,gpus=nan", "expected a number above 0"),
        ("ray,time=5", "'time=5'"),
        ("local,gpus=1", "share this machine's GPUs"),
        ("slurm", "expected the partition"),
        ("slurm:gpu,gpus=0.5", "whole GPUs"),
        ("submitit:here", "expected submitit:local or submitit:debug"),
    ],
)
def test_a_wrong_spec_is_refused(text: str, message: str) -> None:
    with pytest.raises(MMTError) as error:
        Engine.parse(text)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("engine", ["local:2", "submitit:debug,shards=5"])
def test_the_output_is_that_of_one_process(engine: str, source: Path, tmp_path: Path) -> None:
    count_command(source, tmp_path / "alone")
    count_command(source, tmp_path / "out", engine=engine)
    assert (tmp_path / "out").read_bytes() == (tmp_path / "alone").read_bytes()
    left = {path.name for path in tmp_path.iterdir()} - {
        "alone",
        ".alone.joined",
        "out",
        "source.txt",
        ".out.joined",
    }
    assert left == set()


def test_what_a_worker_keeps_is_made_once(tmp_path: Path) -> None:
    made: list[int] = []
    assert worker.kept("model", lambda: made.append(1) or len(made)) == 1
    assert worker.kept("model", lambda: made.append(1) or len(made)) == 2, "no worker: each time"
    with worker.serving():
        assert [worker.kept("model", lambda: made.append(1) or len(made)) for _ in range(3)] == [3, 3, 3]
    assert worker.kept("model", lambda: made.append(1) or len(made)) == 4


def test_a_run_resumes_from_the_parts_on_another_engine(source: Path, tmp_path: Path) -> None:
    """What is complete is not done again, and the number of shards is that of the parts there."""
    out = tmp_path / "out"
    count_command(source, out, shard=Shard(1, 3))
    assert shards_there(out) == 3
    part = parts_folder(out) / "2-of-3"
    numbers = part.read_text().split()
    part.write_text(" ".join(["marked"] * len(numbers)))
    count_command(source, out, engine="submitit:debug")
    assert out.read_text().split().count("marked") == len(numbers) > 0, "a complete part is not done again"
    assert shards_there(out) == 3, "which the note beside the output says"


def test_one_shard_does_not_pass_over_parts_of_several(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    count_command(source, out, shard=Shard(1, 3))
    with pytest.raises(MMTError, match=r"out\.parts: holds parts of another job: shards 3 there, 2 now"):
        count_command(source, out, engine="submitit:debug,shards=1")
    count_command(source, tmp_path / "whole", engine="submitit:debug,shards=1")
    count_command(source, tmp_path / "alone")
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "alone").read_bytes()


def test_parts_that_no_shard_merges_end_the_run(source: Path, tmp_path: Path) -> None:
    outputs = [tmp_path / "out", tmp_path / "other"]
    parts_folder(outputs[1]).mkdir()
    job = worker.Job(ENTRY, (str(source), str(outputs[0])), os.getcwd())
    with pytest.raises(MMTError, match=r"other\.parts: expected its parts to be merged"):
        run_shards(Engine.parse("submitit:debug,shards=2"), job, outputs, quiet=True)


def test_a_mended_run_does_not_get_the_outcomes_of_the_failed_one(source: Path, tmp_path: Path) -> None:
    out, numbers = tmp_path / "out", source.read_text()
    source.write_text(f"1\n{FAILING}\n")
    with pytest.raises(MMTError, match="no number"):
        count_command(source, out, engine="submitit:debug,shards=2")
    folder = tmp_path / ".out.submitit"
    assert folder.stat().st_mode & 0o777 == 0o700, "jobs load pickles from it"
    source.write_text(numbers)
    count_command(source, out, engine="submitit:debug,shards=2")
    count_command(source, tmp_path / "alone")
    assert out.read_bytes() == (tmp_path / "alone").read_bytes()
    assert not folder.exists()


def test_a_killed_worker_is_replaced(source: Path, tmp_path: Path) -> None:
    """Each shard's first worker kills itself, before its part or after it."""
    for moment in ("before", "after"):
        out = tmp_path / moment
        (tmp_path / f"{moment}.deaths").mkdir()
        deaths = f"{moment}:{tmp_path / f'{moment}.deaths'}"
        count_command(source, out, engine="local:2,shards=4", more=["--deaths", deaths])
        assert len(list((tmp_path / f"{moment}.deaths").iterdir())) == 4
        count_command(source, tmp_path / "alone")
        assert out.read_bytes() == (tmp_path / "alone").read_bytes()
        assert not parts_folder(out).exists()


def test_workers_that_always_die_end_the_run(source: Path, tmp_path: Path) -> None:
    with pytest.raises(MMTError, match=rf"workers in a row .* signal {signal.SIGKILL:d}"):
        count_command(source, tmp_path / "out", engine="local:1,shards=2", more=["--deaths", "always:"])


DRIVER = """
import sys
from pathlib import Path
from mmt.io.signals import stopping_at_once
from tests.engines.commands import count_command
source, out, waits = map(Path, sys.argv[1:])
with stopping_at_once():
    count_command(source, out, engine="local:2,shards=2", more=["--waits", str(waits)])
"""
HANGS = 120  # seconds that only a process that hangs needs


@pytest.mark.parametrize("event", ["a shard fails", "the driver is stopped"])
def test_busy_workers_are_stopped(event: str, source: Path, tmp_path: Path) -> None:
    waits = tmp_path / "waits"
    waits.mkdir()
    source.write_text(f"1\n{FAILING}\n")
    command = [sys.executable, "-c", DRIVER, str(source), str(tmp_path / "out"), str(waits)]
    driver = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        until = time.monotonic() + HANGS
        while len(begun := list(waits.iterdir())) < 2 and driver.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        assert len(begun) == 2, "both workers are busy"
        if event == "a shard fails":
            (waits / "go-1").touch()
        else:
            driver.terminate()
        _, errors = driver.communicate(timeout=HANGS)
    finally:
        driver.kill()
        driver.wait()
    assert ("shard 2/2 on" if event == "a shard fails" else "Stopped") in errors.strip().splitlines()[-1]
    for path in begun:
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.name.rpartition("-")[2]), 0)


def test_losses_are_counted_from_the_last_success() -> None:
    losses = Losses()
    for _ in range(20):
        for _ in range(4):
            losses.lost("killed")
        losses.finished()
    for _ in range(4):
        losses.lost("killed")
    with pytest.raises(MMTError, match="5 workers in a row"):
        losses.lost("killed")
    assert losses.total == 85


@pytest.mark.parametrize("engine", ["local:1", "submitit:debug"])
def test_a_mistake_is_one_line(engine: str, source: Path, tmp_path: Path) -> None:
    source.write_text(f"1\n{FAILING}\n")
    with pytest.raises(MMTError, match=r"^shard 1/\d+ on .*: line 2: no number$"):
        count_command(source, tmp_path / "out", engine=engine)


def test_a_bug_is_a_traceback(source: Path, tmp_path: Path) -> None:
    source.write_text("bug\n")
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        count_command(source, tmp_path / "out", engine="local:1")


def test_another_version_or_folder_is_refused(tmp_path: Path) -> None:
    job = worker.Job(ENTRY, (), str(tmp_path))
    assert worker.facts(job).refusal == ""
    assert "is installed there, 0.0 here" in worker.facts(worker.Job(ENTRY, (), str(tmp_path), "0.0")).refusal
    assert "no folder" in worker.facts(worker.Job(ENTRY, (), str(tmp_path / "none"))).refusal


def test_a_worker_leaves_the_process_as_it_was(source: Path, tmp_path: Path) -> None:
    before = os.getcwd(), dict(os.environ)
    job = worker.Job(ENTRY, (str(source), str(tmp_path / "out")), str(tmp_path))
    assert worker.run(job, Shard(0, 2)).code == 0
    assert (os.getcwd(), dict(os.environ)) == before


def test_two_drivers_of_one_output_are_refused(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    refused: list[str] = []

    def second() -> None:
        with pytest.raises(MMTError, match="another process is writing it") as error:
            count_command(source, out, engine="submitit:debug")
        refused.append(str(error.value))

    with only_writer(tmp_path / "out.on"):
        thread = threading.Thread(target=second)  # a lock is a thread's
        thread.start()
        thread.join()
    assert len(refused) == 1


def test_slurm_without_sbatch_is_refused(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MMTError, match="no sbatch here"):
        count_command(source, tmp_path / "out", engine="slurm:gpu")


def test_sbatch_gets_the_settings_and_its_refusal_is_told(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sbatch", "srun", "scancel"):
        (tools / name).write_text(
            f'#!/bin/sh\ncp "$1" {tmp_path}/script\necho "{name}: invalid partition" >&2\nexit 1\n'
        )
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=os.pathsep)
    with pytest.raises(MMTError, match=r"sbatch: .*invalid partition"):
        count_command(
            source, tmp_path / "out", engine="slurm:gpu,workers=3,shards=9,cpus=2,gpus=1,time=90,mem=16,qos=low"
        )
    script = (tmp_path / "script").read_text()
    for line in (
        "partition=gpu",
        "cpus-per-task=2",
        "gpus-per-node=1",
        "time=90",
        "mem=16GB",
        "qos=low",
        "array=0-2%3",
    ):
        assert f"#SBATCH --{line}\n" in script


def test_a_shard_and_an_engine_exclude_each_other(tmp_path: Path) -> None:
    arguments = [
        "features",
        "--images",
        str(tmp_path),
        "--out",
        str(tmp_path / "out"),
        "--shard",
        "1/2",
        "--on",
        "local",
    ]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2
    assert "Leave --shard or --on out" in done.output


def test_an_engine_needs_files(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["translate", "--model", "pictures-en-de", "--on", "local"], input="a\n")
    assert done.exit_code == 2
    assert "--on local: other processes read and write the same files" in done.output


def test_a_worker_waits_for_its_shard(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An earlier worker may be about to end: its lock is no error at once."""
    first = Parts(tmp_path / "out", Shard(0, 2), {})
    monkeypatch.setenv(WORKER_SHARD, "1/2")
    met, released = threading.Event(), threading.Event()
    outcomes: list[object] = []

    class Clock:  # in place of shards' time: the second process sleeps when it has met the lock
        monotonic = staticmethod(lambda: 0.0)

        @staticmethod
        def sleep(_: float) -> None:
            met.set()
            released.wait()

    monkeypatch.setattr(shards, "time", Clock)

    def second() -> None:
        try:
            with Parts(tmp_path / "out", Shard(0, 2), {}) as parts:
                outcomes.append(parts.is_done)
        except MMTError as error:
            outcomes.append(error)
        finally:
            met.set()

    thread = threading.Thread(target=second)
    thread.start()
    met.wait()
    assert outcomes == [], "it waits"
    first.__exit__(None, None, None)
    released.set()
    thread.join()
    assert outcomes == [False], "it has the shard, which is to do"


@pytest.mark.parametrize("engine", ["local:1", "submitit:debug"])
def test_a_command_runs_apart_with_its_output_in_a_log(engine: str, tmp_path: Path) -> None:
    """As trainings do, which need a process of their own."""
    job = worker.Job("", (), os.getcwd())
    with crew_of(Engine.parse(engine), job, tmp_path / "out") as crew:
        good = crew.launch(["--version"], tmp_path / "good.log")
        bad = crew.launch(["info", str(tmp_path / "none")], tmp_path / "bad.log")
        assert (good.wait(), bad.wait()) == (0, 2)
    assert (tmp_path / "good.log").read_text().startswith("mmt, version")
    assert (tmp_path / "bad.log").read_text().startswith("error: ")


def test_jobs_and_an_engine_exclude_each_other(tmp_path: Path) -> None:
    (tmp_path / "compare.yaml").write_text("recipe: x.yaml\n")
    arguments = ["compare", str(tmp_path / "compare.yaml"), str(tmp_path / "out"), "--jobs", "2", "--on", "local"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2
    assert "an engine says how many at a time" in done.output
