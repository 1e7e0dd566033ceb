"""Evaluates systems into a folder: the report page, the same as JSON, and a summary in a terminal."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from pathlib import Path

from mmt.data.dataset import image_folder
from mmt.data.feature_store import open_features
from mmt.data.image_names import Names, files_below
from mmt.evidence.collect import collect, plan
from mmt.evidence.evaluation import Inputs
from mmt.evidence.plan import write_plan
from mmt.inference.threads import use_threads
from mmt.io.terminal import print_note
from mmt.io.terminal import quiet as quietly
from mmt.report.evidence import print_summary, wrapped, write_report


def evaluate(inputs: Inputs, output: Path, *, pictures: bool = True, quiet: bool = False) -> None:
    """Runs every control on every system, and writes ``evidence.html`` and ``evidence.json`` into a folder.

    Args:
        pictures: False leaves the photos out of the page.
        quiet: show no progress bar and no summary.
    Raises:
        MMTError: as ``collect``, or the folder cannot be written.
    """
    use_threads(inputs.threads)
    with quietly() if quiet else nullcontext():
        found, files = collect(inputs)
    write_report(found, output, files if pictures else None)
    if quiet:
        return
    print_summary(found)
    width = min(shutil.get_terminal_size().columns, 100)
    for what, why in found.not_run:
        print_note(f"Not run: {what}\n{wrapped(why, width)}")
    if missing := found.data["images_missing"]:
        stores, data = inputs.stores, inputs.data
        there = Names(open_features(stores).ids if stores else lambda: files_below(image_folder(data))[0])
        print_note(f"skipped, {len(missing):,} images are missing: {there.listed(missing)}")
    print_note(f"{output / 'evidence.html'} ({found.settings['seconds']:.0f} s)")


def plan_answers(inputs: Inputs, folder: Path, *, quiet: bool = False) -> None:
    """Writes into a folder what systems are to translate, for ``files:DIR``.

    Raises:
        MMTError: as ``plan``, or the folder cannot be written.
    """
    planned, folders = plan(inputs)
    write_plan(planned, folder, folders)
    if not quiet:
        rows = sum(len(part.ids) for part in planned.parts)
        print_note(f"{folder}: {rows:,} rows in {len(planned.parts)} parts")
