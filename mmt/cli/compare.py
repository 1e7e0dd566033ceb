"""``mmt compare``: trains and compares fusions, feature sets and seeds."""

from __future__ import annotations

from pathlib import Path

import click

from mmt.cli.command import Command
from mmt.cli.options import PATH, import_option


@click.command("compare", cls=Command, when_stopped="Rerun the same command to resume.")
@click.argument("config_file", type=PATH)
@click.argument("out", type=PATH)
@click.option("--jobs", type=click.IntRange(min=1), default=1,
              help="Number of concurrent trainings, which share the cores.")  # fmt: skip
@click.option("--only-table", is_flag=True, help="Train nothing; only score and compare the finished runs.")
@import_option
def compare_command(config_file: Path, out: Path, jobs: int, only_table: bool) -> None:
    """Train and compare every fusion, feature set and seed in CONFIG_FILE.

    OUT gets the runs, compare.json, compare.md and compare.png. Rerun the same command to
    resume. Run it at the same time on other machines that share OUT to divide the work.
    """
    from mmt.experiments.compare import compare

    compare(config_file, out, jobs, only_table=only_table)
