"""Kills workers, nodes and the head of a Ray cluster on this machine; the outputs are those of one process.

python -m tests.hard.cluster OUT --images DIR --lines 20000 --kills 20
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from eval.bench.engines import write_lines
from mmt.io import runtime
from mmt.io.shards import parts_folder
from mmt.io.tables import print_table

_NODE = {"num_cpus": 1, "object_store_memory": 80 << 20}


def _started(start: Callable[[], Any]) -> Any:
    """A cluster or a node. Ray gives each 30 seconds to start, which a busy machine may exceed."""
    for left in (4, 3, 2, 1, 0):
        try:
            return start()
        except Exception as error:  # Ray raises no other kind
            if "timed out" not in str(error) or not left:
                raise
    raise AssertionError


class Killer:
    """Kills a worker and a node in turn. In the main thread, as Ray's nodes set signal handlers."""

    def __init__(self, cluster: Any, kills: int, pause: float, seed: int = 1) -> None:
        self._cluster, self._left, self._pause = cluster, kills, pause
        self._random = random.Random(seed)
        self._nodes = [self._node(), self._node()]
        self.workers = self.nodes = 0

    def _node(self) -> Any:
        return _started(lambda: self._cluster.add_node(**_NODE))

    def kill_until_the_end_of(self, driver: subprocess.Popen[bytes]) -> None:
        while driver.poll() is None:
            time.sleep(self._random.uniform(self._pause / 4, self._pause))
            if not self._left:
                driver.wait()
            elif self._left % 2:
                running = _workers()
                if not running:
                    continue
                os.kill(self._random.choice(running), signal.SIGKILL)
                self.workers += 1
                self._left -= 1
            else:
                lost = self._nodes.pop(self._random.randrange(2))
                self._cluster.remove_node(lost, allow_graceful=False)
                self._nodes.append(self._node())
                self.nodes += 1
                self._left -= 1


def _workers() -> list[int]:
    """The processes of our actors, of this user's clusters on this machine, that are at a shard."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                name = (folder / "cmdline").read_bytes()
                if name.startswith(b"ray::") and b"Actor.run" in name:
                    found.append(int(folder.name))
            except OSError:  # it has ended
                continue
    return found


def _mmt(*words: object) -> int:
    return subprocess.run([sys.executable, "-m", "mmt.cli", *map(str, words)], check=False).returncode


def _contents(path: Path) -> dict[str, bytes]:
    files = [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())
    return {str(one.relative_to(path)): one.read_bytes() for one in files}


def _killed(
    name: str, words: list[object], option: str, out: Path, kills: int, pause: float, shards: int
) -> list[str]:
    """One process, and a cluster under kills; a row of the table."""
    from ray.cluster_utils import Cluster

    alone, many = out / f"{name}.alone", out / f"{name}.many"
    assert _mmt(*words, option, alone, "--threads", 1, "--quiet") == 0
    head = {"num_cpus": 0, "include_dashboard": False}
    cluster = _started(lambda: Cluster(initialize_head=True, head_node_args=head))
    killer = Killer(cluster, kills, pause)
    on = ["--on", f"ray:{cluster.address},workers=2,shards={shards}", "--quiet"]
    driver = subprocess.Popen([sys.executable, "-m", "mmt.cli", *map(str, [*words, option, many, *on])])
    killer.kill_until_the_end_of(driver)
    code = driver.returncode
    cluster.shutdown()
    same = code == 0 and _contents(alone) == _contents(many) and not parts_folder(many).exists()
    return [name, str(shards), str(killer.workers), str(killer.nodes), "yes" if same else f"NO (exit code {code})"]


def _head_dies(words: list[object], option: str, out: Path, shards: int) -> list[str]:
    """The head is killed when a part is complete; the command ends with 2, and resumes on this machine."""
    from ray.cluster_utils import Cluster

    alone, many = out / "translations.alone", out / "translations.headless"
    head = {**_NODE, "include_dashboard": False}
    cluster = _started(lambda: Cluster(initialize_head=True, head_node_args=head))
    on = ["--on", f"ray:{cluster.address},shards={shards}"]
    driver = subprocess.Popen([sys.executable, "-m", "mmt.cli", *map(str, [*words, option, many, *on])])
    while driver.poll() is None and not list(parts_folder(many).glob("*.done")):
        time.sleep(0.1)
    cluster.head_node.kill_gcs_server()
    code = driver.wait()
    done = len(list(parts_folder(many).glob("*.done")))
    cluster.shutdown()
    again = _mmt(*words, option, many, "--on", "local:1", "--quiet")
    same = again == 0 and _contents(alone) == _contents(many)
    return [
        f"translations, head killed: exit code {code}, {done} parts kept", str(shards), "", "",
        "yes" if same else f"NO (exit code {again})",
    ]  # fmt: skip


@click.command()
@click.argument("out", type=click.Path(path_type=Path, exists=False))
@click.option("--images", type=click.Path(path_type=Path, exists=True), help="Folder of photographs.")
@click.option("--lines", type=int, default=20_000, help="Number of lines to translate.")
@click.option("--kills", type=int, default=20, help="Number of kills in each job.")
@click.option(
    "--pause", type=float, default=8.0, help="Most seconds between two kills; a worker needs some to start."
)
@click.option("--shards", type=int, default=20)
def main(out: Path, images: Path | None, lines: int, kills: int, pause: float, shards: int) -> None:
    runtime.start()
    out.mkdir(parents=True)
    text = write_lines(out / "input.txt", lines)
    translate = ["translate", "--model", "pictures-en-de", "--input", text, "--beam-size", 1]
    rows = [_killed("translations", translate, "--output", out, kills, pause, shards)]
    rows.append(_head_dies(translate, "--output", out, shards))
    if images is not None:
        rows.append(_killed("features", ["features", "--images", images], "--out", out, kills, pause, shards))
    print_table(["job", "shards", "workers killed", "nodes killed", "byte-identical"], rows)
    sys.exit(any(row[-1] != "yes" for row in rows))


if __name__ == "__main__":
    main()
