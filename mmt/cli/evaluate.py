"""``mmt evaluate``: the scripts of ``eval``."""

from __future__ import annotations

import click

from mmt.cli.scripts import ScriptGroup


@click.group("evaluate", cls=ScriptGroup, package="eval")
def evaluate_command() -> None:
    """Evaluate trained models on a task: retrieval, questions, labels, probes, CoMMuTE.

    mmt evaluate NAME is python -m eval.NAME of a checkout.
    """
