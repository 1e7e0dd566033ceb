"""``mmt train``: trains a model, or resumes an interrupted run."""

from __future__ import annotations

from pathlib import Path

import click

from mmt.cli.command import Command, be_quiet, write_alone_in
from mmt.cli.options import PATH, import_option, quiet_option, threads_option
from mmt.errors import MMTError
from mmt.io.processes import rank


@click.command("train", cls=Command, when_stopped="Rerun the same command to resume from the last checkpoint.")
@click.argument("output", type=PATH, required=False)
@click.option("--config-file", type=PATH, help="YAML file with the run's configuration.")
@click.option("--config", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one setting; repeatable.")
@click.option("--dump-config", "dumps", is_flag=True, help="Print all settings, defaults included, and exit.")
@threads_option
@quiet_option
@import_option
def train_command(
    output: Path | None,
    config_file: Path | None,
    overrides: tuple[str, ...],
    dumps: bool,
    threads: int | None,
    quiet: bool,
) -> None:
    """Train a model into OUTPUT/model, or resume an interrupted run."""
    be_quiet(quiet=quiet)
    from mmt.training.config_file import dump_config, read_config, settings_of

    if output is not None and (output.is_file() or output.suffix.lower() in (".yaml", ".yml")):
        raise MMTError(
            f"{output}: expected the folder that the run is to fill, found a file. Give its settings with "
            f"--config-file: mmt train OUTPUT --config-file {output}."
        )
    if threads is not None:
        overrides = (*overrides, f"threads={threads}")
    settings_of(overrides, "--config")  # raises for two values of one key
    config = read_config(config_file, overrides)
    if dumps:
        click.echo(dump_config(config), nl=False)
        return
    if output is None:
        raise MMTError("OUTPUT is missing: name the folder that the run is to fill.")
    if rank() == 0:  # one lock for all ranks
        write_alone_in(output)  # before torch is loaded, which takes seconds

    from mmt.training.recipe import train

    train(output, config)
