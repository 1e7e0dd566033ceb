"""``python -m data_prep.pictures``: see ``data_prep.pictures.scenes``."""

from __future__ import annotations

from pathlib import Path

import click

from data_prep.pictures.scenes import SIZES, prepare
from data_prep.pictures.sheet import draw_sheet
from mmt.cli.command import Command, write_alone
from mmt.cli.options import PATH
from mmt.data.splits import print_splits
from mmt.errors import MMTError


@click.command(cls=Command)
@click.argument("out", required=False, type=PATH)
@click.option("--seed", default=1, help="Random seed of sentences and pictures.")
@click.option("--train", default=SIZES["train"], help="Number of training sentences, each with its picture.")
@click.option("--val", default=SIZES["val"], help="Number of validation sentences.")
@click.option("--test", default=SIZES["test"], help="Number of test sentences.")
@click.option(
    "--contrastive",
    default=SIZES["contrastive"],
    help="Number of contrastive rows: each source has two pictures and two translations.",
)
@click.option("--contact-sheet", type=PATH, help="Draw an overview to this PNG file.")
def main(
    out: Path | None, seed: int, train: int, val: int, test: int, contrastive: int, contact_sheet: Path | None
) -> None:
    """Draw the built-in English-German dataset into the folder OUT."""
    if out is None and contact_sheet is None:
        raise MMTError("OUT: expected a folder to draw into, found none. See --help.")
    if contact_sheet is not None:
        draw_sheet(contact_sheet)
    if out is not None:
        sizes = {"train": train, "val": val, "test": test, "contrastive": contrastive}
        write_alone(out)
        print_splits(prepare(out, seed, sizes))


if __name__ == "__main__":
    main(prog_name="python -m data_prep.pictures")
