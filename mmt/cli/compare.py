"""``mmt compare``: trains and compares fusions, feature sets and seeds; or compares systems on datasets."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from mmt.cli.command import Command, be_quiet, write_alone_in
from mmt.cli.engines import is_worker, ran_on_engine
from mmt.cli.options import PATH, import_option, on_option, quiet_option, threads_option
from mmt.errors import MMTError
from mmt.io.shards import Shard
from mmt.io.terminal import counted


@click.command("compare", cls=Command, when_stopped="Rerun the same command to resume.")
@click.argument("config_file", type=PATH)
@click.argument("out", type=PATH)
@click.option("--jobs", type=click.IntRange(min=1), default=1,
              help="Number of concurrent trainings, which share the cores.")  # fmt: skip
@click.option("--only-table", is_flag=True,
              help="Train nothing and run no system; only score and compare what is finished.")  # fmt: skip
@threads_option
@on_option
@quiet_option
@import_option
def compare_command(
    config_file: Path,
    out: Path,
    jobs: int,
    only_table: bool,
    threads: int | None,
    engine: str | None,
    quiet: bool,
) -> None:
    """Train and compare fusions, features and seeds; search settings; or compare systems on datasets.

    With a recipe, fusions and features in CONFIG_FILE, every combination is trained; OUT gets
    the runs, compare.json, compare.md and compare.png. Run it at the same time on other
    machines that share OUT to divide the work.

    With a recipe and the settings to search, trials are trained until the budget is used
    up; OUT gets the runs, tuning.json, tuning.md and best.yaml.

    With systems and datasets, OUT gets leaderboard.json, leaderboard.md, leaderboard.html
    and the evidence on each dataset. A system that fails on a dataset leaves a cell with
    the reason, and the exit code is 1.

    Rerun the same command to resume.
    """
    be_quiet(quiet=quiet)
    # Imported here: the help needs none of it, each kind of comparison its own libraries.
    from mmt.engines.spec import Engine
    from mmt.experiments.kinds import kind_of

    kind = kind_of(config_file)
    if engine is not None and jobs > 1:
        raise MMTError("--jobs: an engine says how many at a time: --on ENGINE,workers=N.")
    if kind != "leaderboard":
        if threads is not None:
            raise MMTError("--threads: trainings share all cores; see --jobs.")
        if kind == "tuning":
            from mmt.experiments.tuning import tune as run
        else:
            from mmt.experiments.compare import compare as run
        on = Engine.parse(engine) if engine is not None else None
        run(config_file, out, jobs, only_table=only_table, engine=on)
        return
    if jobs > 1:
        raise MMTError("--jobs: a leaderboard evaluates one system at a time; see --threads.")
    from mmt.experiments.leaderboard import answer, claim_board, print_leaderboard_of

    if is_worker():
        answer(config_file, out, Shard.of(None), threads=threads)
        return
    write_alone_in(out)
    if engine is not None and not only_table:
        # At least two shards: a single one would be the whole command.
        count = max(claim_board(config_file, out), 2)
        ran_on_engine(engine, out / "answers", threads=threads, count=count, quiet=quiet)
    board = print_leaderboard_of(config_file, out, only_table=only_table, threads=threads)
    if board.failures:
        click.echo(f"{counted(len(board.failures), 'result')} missing. Rerun the command to try again.", err=True)
        sys.exit(1)
