"""The ``mmt`` command."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from mmt import MMTError, __version__


class _Command(click.Command):
    """Turns a user's mistake into one line and exit code 2."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except MMTError as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(2)
        except BrokenPipeError:  # the reader, e.g. head, has seen enough
            sys.stderr.close()
            sys.exit(141)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mmt")
def main() -> None:
    """Multimodal machine translation: translate text with the help of an image, and know whether it helped."""


def _command(name: str) -> Callable[[Callable[..., None]], click.Command]:
    return main.command(name, cls=_Command)


@_command("train")
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--config-file", type=click.Path(path_type=Path), help="YAML file with the run's settings.")
@click.option("--config", "overrides", multiple=True, metavar="KEY=VALUE", help="Changes one setting; repeatable.")
@click.option("--dump-config", is_flag=True, help="Prints all settings, defaults included, and stops.")
def train_command(output: Path, config_file: Path | None, overrides: tuple[str, ...], dump_config: bool) -> None:
    """Trains a model into OUTPUT/model, or goes on where it was interrupted."""
    from mmt import config as configuration

    config = configuration.read_config(config_file, overrides)
    if dump_config:
        click.echo(configuration.dump_config(config), nl=False)
        return
    from mmt.recipe import train

    train(output, config)


if __name__ == "__main__":
    main()
