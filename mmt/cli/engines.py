"""``--on``: a command runs itself, once for each shard, on an engine of ``mmt.engines``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from mmt.cli.options import ARGUMENTS
from mmt.errors import MMTError
from mmt.io.shards import WORKER_SHARD, Shard


def shard_of(given: str | None, engine: str | None) -> Shard | None:
    """This process's share of the command's work; None is all of it. Also None where an engine divides it.

    Raises:
        MMTError: as ``Shard.of``, or the user gave a shard and an engine.
    """
    if given is not None and engine is not None:
        raise MMTError(f"--shard {given}: an engine makes the shards itself. Leave --shard or --on out.")
    return Shard.of(given) if engine is None or is_worker() else None


def is_worker() -> bool:
    """Whether this process was started by an engine, to do one shard."""
    return WORKER_SHARD in os.environ


def ran_on_engine(
    engine: str | None,
    *outputs: Path,
    threads: int | None = None,
    count: int | None = None,
    words: tuple[str, ...] | None = None,
    quiet: bool = False,
) -> bool:
    """Runs the current command on an engine, if one is given and this is not one of its workers.

    Args:
        engine: the value of ``--on``.
        outputs: what the workers write parts of.
        threads: the command's, which every worker takes.
        count: the number of shards, where the work has units.
        words: of the command after ``mmt``; None takes the names under which it was called.
    Returns:
        Whether it ran, so that nothing is left to do.
    Raises:
        MMTError: as ``Engine.parse`` and ``run_shards``.
    """
    if engine is None or is_worker():
        return False
    from mmt.engines.run import run_shards  # loads tqdm and processes, which no help text needs
    from mmt.engines.spec import Engine
    from mmt.engines.worker import Job

    ctx = click.get_current_context()
    names: list[str] = []
    one: click.Context | None = ctx
    while one is not None and one.parent is not None:
        names.insert(0, one.info_name or "")
        one = one.parent
    chosen = Engine.parse(engine, threads)
    takes_threads = any("--threads" in option.opts for option in ctx.command.params)
    own = ("--threads", str(chosen.cpus)) if takes_threads and threads is None else ()
    job = Job("mmt.cli.main:main", (*(words or names), *own, *ctx.meta[ARGUMENTS]), os.getcwd())
    run_shards(chosen, job, outputs, count=count, quiet=quiet)
    return True
