"""What an extraction of features did, and how ``mmt features`` prints it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path

from mmt.data.feature_signature import FeatureSignature
from mmt.io.terminal import counted


@dataclass(frozen=True)
class ExtractReport:
    """The result of one run of the extraction.

    Attributes:
        out: the store's folder.
        signature: of the features.
        done: images whose features were computed in this run.
        skipped: images that were in the store already.
        left_out: image id -> why it has no features, for the requested images.
        nearest: missing image id -> a hint with the nearest existing file; for some of them.
        seconds: from the first image to the finished store, without loading the backbone.
        things: ``images`` or ``recordings``.
        notes: what was done to some of them, e.g. ``resampled from 22,050 Hz``, and to how many.
        note: a message about what happened to a shard's part, or about images that are not tried again.
        runtime: that computed them.
    """

    out: Path
    signature: FeatureSignature
    done: int
    skipped: int
    left_out: dict[str, str]
    seconds: float
    things: str
    notes: dict[str, int]
    note: str = ""
    nearest: dict[str, str] = field(default_factory=dict)
    runtime: str = "torch"


def print_report(report: ExtractReport) -> None:
    """Prints the result of ``extract_features``, with the names of the images that it left out."""
    thing = report.things.removesuffix("s")
    rate = f"{report.done / report.seconds:.1f} {report.things}/s"
    parts = [f"{counted(report.done, thing)} in {report.seconds:.1f} s ({rate}, {report.runtime})"]
    if not report.done:
        parts = ["nothing to do" if not report.left_out else "no new features"]
    if report.skipped:
        parts.append(f"{report.skipped:,} {'was' if report.skipped == 1 else 'were'} there already")
    print(f"{report.out}: {report.signature}: {', '.join(parts)}")
    for note, number in report.notes.items():
        print(f"  {number:,} {note}")
    if report.left_out:
        print(f"left out {counted(len(report.left_out), thing)}, without features:")
        for image_id, reason in itertools.islice(report.left_out.items(), 10):
            print(f"  {image_id}: {reason}{report.nearest.get(image_id, '')}")
        if len(report.left_out) > 10:
            print(f"  ... and {len(report.left_out) - 10:,} more, in {report.out}/meta.json under left_out")
    if report.note:
        print(report.note)
