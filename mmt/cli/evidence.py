"""``mmt evidence``: runs every control and writes one page."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from mmt.cli.command import Command, write_alone_in
from mmt.cli.options import (
    PATH,
    draws_option,
    draws_seed_option,
    import_option,
    model_option,
    split_option,
    stores_option,
    threads_option,
)
from mmt.data.dataset import first_test_split, image_folder
from mmt.data.image_names import Names, files_below
from mmt.errors import MMTError


@click.command("evidence", cls=Command)
@model_option
@click.option("--data", type=PATH, required=True, help="Prepared dataset with images.")
@split_option
@click.option("--against", type=PATH, help="The text-only model, or another one, to compare with.")
@stores_option
@click.option("--commute", type=PATH, help="Folder of CoMMuTE, such as en-de, to evaluate too.")
@click.option("--commute-images", type=PATH, help="Folder of CoMMuTE's images.  [default: images/ beside it]")
@draws_option
@draws_seed_option
@click.option("--gallery", type=click.IntRange(min=0), default=12,
              help="Number of examples: half that the image helped, half that it hurt.")  # fmt: skip
@click.option("--no-pictures", is_flag=True, help="Omit the photos, so that you can share the page.")
@click.option("--output", type=PATH, default="evidence", help="Output folder for evidence.html and evidence.json.")
@threads_option
@import_option
def evidence_command(
    model: Path,
    data: Path,
    split: str | None,
    against: Path | None,
    images: tuple[Path, ...],
    commute: Path | None,
    commute_images: Path | None,
    draws: int,
    seed: int,
    gallery: int,
    no_pictures: bool,
    output: Path,
    threads: int | None,
) -> None:
    """Does the model use the image, and is it better than text-only? Run every control and write one page."""
    if commute is None and commute_images is not None:
        raise MMTError(f"--commute-images {commute_images}: expected --commute, the folder of CoMMuTE, too.")
    split = split or first_test_split(data)
    write_alone_in(output)

    # Imported here: the help and the checks of the options need neither NumPy nor torch.
    from mmt.data.feature_store import open_features
    from mmt.evidence.collect import Inputs, collect
    from mmt.inference.threads import use_threads
    from mmt.report.evidence import print_summary, wrapped, write_report

    use_threads(threads)
    inputs = Inputs(model, data, split, images, against, commute, commute_images, draws, seed, gallery)
    found, files = collect(inputs)
    write_report(found, output, None if no_pictures else files)
    print_summary(found)
    width = min(shutil.get_terminal_size().columns, 100)
    for what, why in found.not_run:
        click.echo(f"Not run: {what}\n{wrapped(why, width)}", err=True)
    if missing := found.data["images_missing"]:
        there = Names(open_features(images).ids if images else lambda: files_below(image_folder(data))[0])
        click.echo(f"skipped, {len(missing):,} images are missing: {there.listed(missing)}", err=True)
    click.echo(f"{output / 'evidence.html'} ({found.settings['seconds']:.0f} s)", err=True)
