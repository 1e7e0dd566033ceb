"""Trains in several processes, and on two hosts, and ends them: ``python -m tests.hard.processes OUT``.

Compared with one process that reads the same batches: loss curve and weights, with DDP and FSDP2 over gloo, and
where another number of processes goes on. Then processes are killed and stopped, while they train, validate and
write checkpoints, on one host and on two network namespaces (which need root, and are left out without it). Exit
code 1 if anything is not as it must be.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from mmt.training.checkpoints import checkpoint_steps, load_weights
from tests.hard.kill import SETTINGS, SMALL

_STEPS = 60
_CURVE = 1e-3  # of a loss, as it is reported
_HOSTS = {"mmt-a": "10.77.0.1", "mmt-b": "10.77.0.2"}
_PORT = 29_577


@dataclass
class Checks:
    """What was asked, whether it holds, and the figure."""

    out: Path
    rows: list[tuple[str, bool, str]] = field(default_factory=list)

    def add(self, name: str, holds: bool, figure: str) -> None:
        self.rows.append((name, holds, figure))
        (self.out / "result.json").write_text(json.dumps(self.rows, indent=1))


@dataclass
class Training:
    """A training that was begun in one or more launchers, one a host."""

    output: Path
    launchers: list[subprocess.Popen[bytes]]
    logs: list[Path]

    def said(self) -> str:
        return "\n".join(log.read_text(errors="replace") for log in self.logs)

    def wait(self, limit: float = 300) -> float:
        """Seconds until all launchers and processes have ended; inf if they had to be killed."""
        begun = time.monotonic()
        try:
            for launcher in self.launchers:
                launcher.wait(max(0.1, begun + limit - time.monotonic()))
            while self.workers():
                if time.monotonic() > begun + limit:
                    raise subprocess.TimeoutExpired("", limit)
                time.sleep(0.05)
        except subprocess.TimeoutExpired:
            for launcher in self.launchers:
                launcher.kill()
            for worker in self.workers():
                os.kill(worker, signal.SIGKILL)
            return float("inf")
        return time.monotonic() - begun

    def workers(self) -> list[int]:
        """The processes that train, by their numbers in order."""
        found = {}
        for folder in Path("/proc").iterdir():
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
                variables = dict(w.split(b"=", 1) for w in (folder / "environ").read_bytes().split(b"\0") if w)
            except (OSError, ValueError):
                continue
            if (
                str(self.output).encode() in words
                and b"torch.distributed.run" not in words
                and b"RANK" in variables
            ):
                found[int(variables[b"RANK"])] = int(folder.name)
        return [found[rank] for rank in sorted(found)]


class Begun:
    """Begins trainings of the same data in ``out``."""

    def __init__(self, out: Path) -> None:
        self._out = out

    def __call__(
        self, name: str, processes: int, *more: str, steps: int = _STEPS, hosts: Sequence[str] = ()
    ) -> Training:
        output = self._out / name
        train = [
            "-m",
            "mmt.cli",
            "train",
            str(output),
            "--config-file",
            "recipes/configs/pictures_en_de_gated.yaml",
        ]
        settings = SETTINGS | {
            "data.path": self._out / "data",
            "images.features": self._out / "store",
            "model.dropout_p": 0,  # each process draws its own
            "regime.num_steps": steps,
        }
        for setting in [f"{key}={value}" for key, value in settings.items()] + list(more):
            train += ["--config", setting]
        launch = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        training = Training(output, [], [])
        for number, host in enumerate(hosts or [""]):
            command = [sys.executable, *launch, "--standalone", *train]
            if processes == 1 and not hosts:
                command = [sys.executable, *train]
            if host:
                place = ["--nnodes", str(len(hosts)), "--node-rank", str(number)]
                place += ["--master-addr", _HOSTS[hosts[0]], "--master-port", str(_PORT)]
                command = ["ip", "netns", "exec", host, sys.executable, *launch, *place, *train]
                environment = environment | {"GLOO_SOCKET_IFNAME": "eth0"}
            log = self._out / f"{name}.{number}.log"
            training.logs.append(log)
            with log.open("ab") as stream:
                training.launchers.append(
                    subprocess.Popen(
                        command, stdout=stream, stderr=stream, env=environment, start_new_session=True
                    )
                )
        return training


def _losses(output: Path) -> dict[str, float]:
    found = {}
    for kind in ("train", "valid"):
        for line in (output / "metrics" / f"{kind}.jsonl").read_text().splitlines():
            report = json.loads(line)
            found[f"{kind} {report['Step']}"] = report["NLL Loss"]
    return found


def _compare(checks: Checks, name: str, training: Training, alone: Path) -> None:
    training.wait()
    try:
        ours, theirs = _losses(training.output), _losses(alone)
        steps = checkpoint_steps(training.output)[-1], checkpoint_steps(alone)[-1]
        weights = [load_weights(output, steps[0]) for output in (training.output, alone)]
    except Exception as error:  # whatever it is, the log says more
        checks.add(name, False, f"{type(error).__name__}, see {training.logs[0]}")
        return
    # A bias of the keys has no gradient but rounding, which Adam makes large.
    names = [one for one in weights[0] if not one.endswith("k_proj.bias")]
    curve = (
        max(abs(ours[step] - theirs[step]) for step in theirs) if ours.keys() == theirs.keys() else float("inf")
    )
    furthest = max(float((weights[0][one] - weights[1][one]).abs().max()) for one in names)
    whole = steps[0] == steps[1] and (training.output / "model" / "model.safetensors").exists()
    checks.add(
        name, whole and curve < _CURVE, f"loss within {curve:.1e} at {len(ours)} reports, weights {furthest:.1e}"
    )


def _same_curves(checks: Checks, begin: Begun) -> Path:
    alone = begin("alone", 1, "optimizer.num_accumulate=6")
    alone.wait()
    fsdp = "stack.trainer.data_parallelism=fsdp"
    for name, processes, more in (
        ("2 processes, DDP", 2, ["optimizer.num_accumulate=3"]),
        ("2 processes, FSDP2", 2, [fsdp, "optimizer.num_accumulate=3"]),
        ("3 processes, FSDP2", 3, [fsdp, "optimizer.num_accumulate=2"]),
    ):
        _compare(checks, name, begin(name.replace(", ", "_").replace(" ", "_"), processes, *more), alone.output)
    again = [(1, ["optimizer.num_accumulate=6"]), (3, [fsdp, "optimizer.num_accumulate=2"])]
    again += [(2, ["optimizer.num_accumulate=3"]), (2, [fsdp, "optimizer.num_accumulate=3"])]
    for number, (processes, more) in enumerate(again, 1):
        training = begin("again", processes, *more, steps=_STEPS * number // len(again))
        if number < len(again):
            training.wait()
    _compare(checks, "1, then 3 (FSDP2), then 2 (DDP), then 2 (FSDP2)", training, alone.output)
    return alone.output


def _until_checkpoint(training: Training, more_than: int) -> bool:
    limit = time.monotonic() + 120
    while not any(step > more_than for step in checkpoint_steps(training.output)):
        if time.monotonic() > limit or any(one.poll() is not None for one in training.launchers):
            return False
        time.sleep(0.01)
    return True


def _killed(checks: Checks, begin: Begun, kills: int, rng: random.Random, hosts: Sequence[str] = ()) -> None:
    """Kills a process at random moments, begins again each time, and compares what comes of it."""
    where = "two hosts: " if hosts else ""
    name = "killed_hosts" if hosts else "killed"
    each = 1 if hosts else 2
    whole = begin("whole_hosts" if hosts else "whole", each, steps=20 * (kills + 1), hosts=hosts)
    whole.wait()
    slowest, killed, said, step = 0.0, 0, 0, 0
    for _ in tqdm(range(kills), desc=f"{where}kills"):
        training = begin(name, each, steps=20 * (kills + 1), hosts=hosts)
        if not _until_checkpoint(training, step):
            training.wait(0)
            break
        time.sleep(rng.uniform(0, 1.0))
        step = checkpoint_steps(training.output)[-1]
        workers = training.workers()
        if len(workers) == 2:
            os.kill(workers[rng.randrange(2)], signal.SIGKILL)
            killed += 1
        slowest = max(slowest, training.wait(120))
        said = training.said().count("has lost the others")
    checks.add(
        f"{where}a killed process ends the others within 60 s",
        slowest < 60,
        f"slowest of {kills}: {slowest:.1f} s",
    )
    checks.add(f"{where}and the other says so", said == killed > 0, f"{said} times of {killed}")
    _compare(
        checks, f"{where}what comes of it", begin(name, each, steps=20 * (kills + 1), hosts=hosts), whole.output
    )


def _stopped(checks: Checks, begin: Begun) -> None:
    for signum in (signal.SIGINT, signal.SIGTERM):
        name = signum.name
        training = begin(f"stopped_{name}", 2, steps=100_000)
        _until_checkpoint(training, 10)
        training.launchers[0].send_signal(signum)
        seconds = training.wait(120)
        step = checkpoint_steps(training.output)[-1]
        log = (training.output / "logs" / "rank_0.log").read_text()  # says at which update it stopped
        holds = (
            f"Stopping training at step {step}." in log
            and f"holds the checkpoint of update {step:,}." in training.said()
        )
        holds = holds and f"stopped by {name}" in training.said() and seconds < 60
        checks.add(f"{name} to the launcher: a checkpoint, and an end", holds, f"{seconds:.1f} s, update {step}")


def _uneven(checks: Checks, begin: Begun) -> None:
    """Validation by search, with a checkpoint still being written, where one process has a batch less, or none."""
    slowest = 0.0
    for tokens in (64, 90, 150, 512):
        more = [f"data.max_tokens={tokens}", "regime.validate_every=1", "regime.report_every=1"]
        training = begin(f"uneven_{tokens}", 3, *more, "stack.trainer.data_parallelism=fsdp", steps=25)
        slowest = max(slowest, training.wait(200))
        if not (training.output / "model").exists():
            slowest = float("inf")
    checks.add(
        "100 validations of uneven shares, FSDP2, 3 processes", slowest < 200, f"slowest run {slowest:.0f} s"
    )


class Namespaces:
    """Two network namespaces with a cable between them, as two hosts."""

    def __enter__(self) -> bool:
        for name in _HOSTS:
            self._run("ip", "netns", "del", name)
        first, second = _HOSTS
        done = [
            self._run("ip", "netns", "add", first),
            self._run("ip", "netns", "add", second),
            self._run(
                "ip", "link", "add", "eth0", "netns", first, "type", "veth", "peer", "eth0", "netns", second
            ),
        ]
        for name, address in _HOSTS.items():
            inside = ["ip", "-n", name]
            done += [
                self._run(*inside, "addr", "add", f"{address}/24", "dev", "eth0"),
                self._run(*inside, "link", "set", "eth0", "up"),
                self._run(*inside, "link", "set", "lo", "up"),
            ]
        return all(done)

    def __exit__(self, *_: object) -> None:
        for name in _HOSTS:
            self._run("ip", "netns", "del", name)

    def _run(self, *command: str) -> bool:
        try:
            return subprocess.run(command, capture_output=True, check=False).returncode == 0
        except OSError:
            return False


@click.command(help=__doc__.partition("\n\n")[0])
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--kills", default=10, show_default=True, help="On one host; a third as many on two.")
@click.option("--seed", default=1, show_default=True)
def main(out: Path, kills: int, seed: int) -> None:
    out = out.resolve()
    out.mkdir(parents=True)
    for command in (
        ["data_prep.pictures", out / "data", *SMALL],
        ["mmt.cli", "features", "--images", out / "data", "--out", out / "store"],
    ):
        subprocess.run([sys.executable, "-m", *map(str, command)], check=True, stdout=subprocess.DEVNULL)
    checks, begin, rng = Checks(out), Begun(out), random.Random(seed)
    alone = _same_curves(checks, begin)
    _uneven(checks, begin)
    _stopped(checks, begin)
    _killed(checks, begin, kills, rng)
    with Namespaces() as made:
        if made:
            hosts = list(_HOSTS)
            training = begin("hosts", 1, "optimizer.num_accumulate=3", hosts=hosts)
            _compare(checks, "two hosts, a process each, DDP", training, alone)
            _killed(checks, begin, max(1, kills // 3), rng, hosts)
        else:
            click.echo(
                "two hosts: left out, as network namespaces cannot be made here (they need root).", err=True
            )
    table = Table("what", "holds", "measured")
    for name, holds, figure in checks.rows:
        table.add_row(name, "yes" if holds else "NO", figure)
    Console().print(table)
    sys.exit(not all(holds for _, holds, _ in checks.rows))


if __name__ == "__main__":
    main(prog_name="python -m tests.hard.processes")
