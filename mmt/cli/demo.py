"""``mmt demo``: shows a picture change a translation, with the model that comes with mmt."""

from __future__ import annotations

import click

from mmt.cli.command import Command


@click.command("demo", cls=Command)
def demo_command() -> None:
    """Show a picture change a translation, with the model that comes with mmt: no download, no training."""
    # Imported here: NumPy and ONNX Runtime take as long as all of mmt --help.
    from mmt.report.demo import print_demo

    print_demo()
