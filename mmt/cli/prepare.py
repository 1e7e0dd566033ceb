"""``mmt prepare``: the scripts of ``data_prep``."""

from __future__ import annotations

import click

from mmt.cli.scripts import ScriptGroup


@click.group("prepare", cls=ScriptGroup, package="data_prep")
def prepare_command() -> None:
    """Prepare a dataset: your own or a published one.

    mmt prepare NAME is python -m data_prep.NAME of a checkout.
    """
