"""Ray: two nodes in one machine, of one core each; workers and nodes that are lost."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mmt.engines.run import crew_of
from mmt.engines.spec import Engine
from mmt.engines.worker import Job
from mmt.errors import MMTError
from tests.engines.commands import LINES, count_command

pytest.importorskip("ray", reason="pip install 'mmt-toolkit[ray]'")

SMALL = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}

HANGS = 300  # seconds that only a run that hangs needs


def started(start: Callable[[], Any]) -> Any:
    """A cluster or a node. Ray gives each 30 seconds to start, which a busy machine may exceed."""
    for _ in range(3):
        try:
            return start()
        except Exception as error:  # Ray raises no other kind
            if "timed out" not in str(error):
                raise
    pytest.skip("Ray did not start within 30 seconds, three times")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    one = started(lambda: Cluster(initialize_head=True, head_node_args=SMALL))
    yield one
    one.shutdown()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.txt"
    path.write_text("".join(f"{number}\n" for number in range(LINES)))
    count_command(path, tmp_path / "alone")
    return path


def begun(folder: Path) -> int:
    return len(list(folder.glob("begun-*")))


def test_lost_workers_and_nodes_change_nothing(cluster: Any, source: Path, tmp_path: Path) -> None:
    """Every shard's first worker is killed; then a node is lost while both nodes are at work."""
    node = started(lambda: cluster.add_node(num_cpus=1, object_store_memory=80 << 20))
    deaths, waits = tmp_path / "deaths", tmp_path / "waits"
    for folder in (deaths, waits):
        folder.mkdir()
    more = ["--deaths", f"before:{deaths}", "--waits", str(waits)]
    failed: list[BaseException] = []

    def run() -> None:
        try:
            count_command(source, tmp_path / "out", engine=f"ray:{cluster.address},shards=3", more=more)
        except BaseException as error:
            failed.append(error)

    driver = threading.Thread(target=run, daemon=True)
    driver.start()
    until = time.monotonic() + HANGS
    while begun(waits) < 2 and driver.is_alive() and time.monotonic() < until:
        time.sleep(0.05)
    at_work = begun(waits)
    if at_work >= 2:
        cluster.remove_node(node, allow_graceful=False)
    (waits / "go").touch()
    driver.join(HANGS)
    assert failed == []
    assert at_work >= 2, "both nodes were at work"
    assert not driver.is_alive()
    assert (tmp_path / "out").read_bytes() == (tmp_path / "alone").read_bytes()
    assert len(list(deaths.iterdir())) == 3
    assert begun(waits) > 3, "shards were done again"


def test_a_command_runs_apart(cluster: Any, tmp_path: Path) -> None:
    job = Job("", (), os.getcwd())
    with crew_of(Engine.parse(f"ray:{cluster.address}"), job, tmp_path / "out") as crew:
        process = crew.launch(["--version"], tmp_path / "log")
        assert process.wait() == 0
    assert (tmp_path / "log").read_text().startswith("mmt, version")


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """Errors that the next calls of ``ray.get`` raise, one each."""
    import ray

    errors: list[Exception] = []
    whole = ray.get

    def get(*arguments: Any, **settings: Any) -> Any:
        if errors:
            raise errors.pop()
        return whole(*arguments, **settings)

    monkeypatch.setattr(ray, "get", get)
    return errors


def test_whatever_takes_a_worker_away_another_one_replaces_it(
    cluster: Any, source: Path, tmp_path: Path, raising: list[Exception]
) -> None:
    from ray import exceptions

    def lost() -> list[Exception]:  # new ones: an error keeps what raised it, and so its worker
        kinds = [exceptions.NodeDiedError("gone"), exceptions.OutOfMemoryError("full")]
        return [*kinds, exceptions.WorkerCrashedError(), exceptions.LocalRayletDiedError()]

    raising += lost()
    count_command(source, tmp_path / "out", engine=f"ray:{cluster.address},shards=3")
    assert raising == []
    assert (tmp_path / "out").read_bytes() == (tmp_path / "alone").read_bytes()
    with crew_of(Engine.parse(f"ray:{cluster.address}"), Job("", (), os.getcwd()), tmp_path / "out") as crew:
        raising += lost()
        assert crew.launch(["--version"], tmp_path / "log").wait() == 0
        assert crew.losses.total == len(lost())
        raising.append(exceptions.ObjectStoreFullError("no\nroom"))
        with pytest.raises(MMTError, match=r"^ray: ObjectStoreFullError: no Rerun the command to resume\.$"):
            crew.launch(["--version"], tmp_path / "log").wait()


def test_one_look_does_not_say_that_the_head_is_gone(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connecting may take long, and the driver may be stopped for a while."""
    from mmt.engines import ray_crew

    now = [1000.0]

    class Clock:
        monotonic = staticmethod(lambda: now[0])

    def refuse(*_: object, **__: object) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr(ray_crew, "time", Clock)
    one = ray_crew.RayCrew(Engine.parse(f"ray:{cluster.address}"), Job("", (), os.getcwd()))
    now[0] += 100
    with one as crew:
        monkeypatch.setattr(socket, "create_connection", refuse)
        for _ in range(3):
            now[0] += 2
            assert not crew.check_head()
        monkeypatch.undo()
        monkeypatch.setattr(ray_crew, "time", Clock)
        now[0] += 100
        assert crew.check_head()
        monkeypatch.setattr(socket, "create_connection", refuse)
        now[0] += 100
        assert not crew.check_head(), "this process was stopped"
        now[0] += 2
        with pytest.raises(MMTError, match="has not answered for 15 s"):
            crew.check_head()


def test_a_worker_of_another_version_is_refused(cluster: Any, source: Path, tmp_path: Path) -> None:
    with pytest.raises(MMTError, match=r"^ray: the worker on \S+: mmt \S+ is installed there, 0\.0 here\."):
        count_command(source, tmp_path / "out", engine=f"ray:{cluster.address}", version="0.0")


def test_what_no_node_has_is_refused(cluster: Any, source: Path, tmp_path: Path) -> None:
    with pytest.raises(MMTError, match="no machine of the cluster has 1 CPU and 2 GPUs for a worker"):
        count_command(source, tmp_path / "out", engine=f"ray:{cluster.address},gpus=2")


def test_no_ray_at_the_address_is_one_line(source: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    for address, reason in ((f"127.0.0.1:{free}", "nothing listens there"), ("here", "expected HOST:PORT")):
        with pytest.raises(MMTError, match=reason) as error:
            count_command(source, tmp_path / "out", engine=f"ray:{address}")
        assert "\n" not in str(error.value)
