"""Prepares CMU-MOSI: clips of people who talk about films, each with its words, its sound and a sentiment.

Zadeh et al. (2016), https://arxiv.org/abs/1606.06259. A label is a number from -3 to 3, here ``score``, and its
sign ``label``. Two published layouts are read, both with a table of labels (CSV: ``video_id, clip_id, label``, and
``text`` and ``mode`` where they are)::

    python -m data_prep.mosi OUT --mosi DIR [--labels FILE]

===========  =============================================  ==============================================
layout       sound                                          words
===========  =============================================  ==============================================
original     ``Audio/WAV_16000/Segmented/VIDEO_CLIP.wav``   ``Transcript/Segmented/VIDEO.annotprocessed``,
                                                            lines ``CLIP_DELIM_words``
MMSA's       ``Raw/VIDEO/CLIP.wav``, also ``wav/...``       column ``text`` of ``label.csv``
===========  =============================================  ==============================================

The split is the table's ``mode`` (train, valid, test); without one, the standard split of CMU-MultimodalSDK by
video. Feature files are not read: pickles may hold code, and those of the SDK hold features, not sound.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import click

from mmt.cli.command import Command, write_alone
from mmt.cli.options import PATH
from mmt.data.dataset import DatasetInfo, write_dataset
from mmt.data.image_names import Names, files_below
from mmt.data.splits import print_splits
from mmt.errors import MMTError, nearest
from mmt.features.speech import AUDIO_SUFFIXES
from mmt.io.normalization import is_blank
from mmt.io.text_files import decode_lines, open_text, read_lines

Missing = Literal["refuse", "skip"]

MODES = {"train": "train", "valid": "val", "val": "val", "test": "test"}
# The videos of the standard folds of CMU-MultimodalSDK: 52, 10 and 31.
_TRAIN = """
    2iD-tVS8NPw 8d-gEyoeBzc Qr1Ca94K55A Ci-AH39fi3Y 8qrpnFRGt2A Bfr499ggo-0 QN9ZIUWUXsY 9T9Hf74oK10 7JsX8y1ysxY
    1iG0909rllw Oz06ZWiO20M BioHAh1qJAQ 9c67fiY0wGQ Iu2PFX3z_1s Nzq88NnDkEk Clx4VXItLTE 9J25DZhivz8 Af8D0E4ZXaw
    TvyZBvOMOTc W8NXH0Djyww 8OtFthrtaJM 0h-zjBukYpk Vj1wYRQjB-o GWuJjcEuzt8 BI97DNYfe5I PZ-lDQFboO8 1DmNV9C1hbY
    OQvJTdtJ2H4 I5y0__X72p0 9qR7uwkblbs G6GlGvlkxAQ 6_0THN4chvY Njd1F0vZSm4 BvYR0L6f2Ig 03bSnISJMiM Dg_0XKD0Mf4
    5W7Z1C_fDaE VbQk4H8hgr0 G-xst2euQUc MLal-t_vJPM BXuRRbG0Ugk LSi-o-IrDMs Jkswaaud0hk 2WGyTLYerpo 6Egk_28TtTM
    Sqr0AcuoNnk POKffnXeBds 73jzhE8R1TQ OtBXNcAL_lE HEsqda8_d0Q VCslbP0mgZI IumbAb8q2dM
"""
_VAL = """
    WKA5OygbEKI c5xsKMxpXnc atnd_PF-Lbs bvLlb-M3UXU bOL9jKpeJRs _dI--eQ6qVU ZAIRrfG22O0 X3j2zQgwYgE aiEXnCPZubE
    ZUXBRvtny7o
"""
_TEST = """
    tmZoasNr4rU zhpQhgha_KU lXPQBPVc5Cw iiK8YX8oH1E tStelxIAHjw nzpVDcQ0ywM etzxEpPuc6I cW1FSBF59ik d6hH302o4v8
    k5Y_838nuGo pLTX3ipuDJI jUzDDGyPkXU f_pcplsH_V0 yvsjCA6Y5Fc nbWiPyCm4g0 rnaNMUZpvvg wMbj6ajWbic cM3Yna7AavY
    yDtzw_Y-7RU vyB00TXsimI dq3Nf_lMPnE phBUpBr1hSo d3_k5Xpfmik v0zCBqDeKcE tIrG4oNLFzE fvVhgmXxadc ob23OKe5a9Q
    cXypl4FnoZo vvZ4IcEtiZc f9O3YtZ2VfI c7UH_rxdZv4
"""
STANDARD_SPLIT = {
    video: split
    for split, videos in (("train", _TRAIN), ("val", _VAL), ("test", _TEST))
    for video in videos.split()
}
_SOUNDS = ("Audio/WAV_16000/Segmented/{video}_{clip}", "Raw/{video}/{clip}", "wav/{video}/{clip}")
_NAME = re.compile(r"[\w-]+")  # of a video or clip: it becomes part of a path


def prepare(
    out: Path, mosi: Path, labels: Path | None = None, missing: Missing = "refuse"
) -> tuple[DatasetInfo, int]:
    """Writes the dataset; a clip without sound is kept as text alone and counted in the table.

    Args:
        out: the folder to write, see ``mmt.data.dataset.write_dataset``.
        mosi: the folder with the sound, in one of the layouts above.
        labels: the table of labels; ``label.csv`` or ``labels.csv`` in ``mosi`` if None.
        missing: what to do with a clip that has no transcript: refuse, or leave it out.
    Returns:
        What was written, and how many clips were left out.
    Raises:
        MMTError: a layout or a table of another kind, a label that is no number from -3 to 3, an unknown split, a
            clip without transcript, or not one recording.
    """
    if mosi.is_file():
        raise MMTError(
            f"{mosi}: expected the folder of the recordings, found a file. Feature files (.pkl, .csd, .npz) "
            "are not read: a pickle may run code. Make features with mmt features --backbone logmel80."
        )
    if not mosi.is_dir():
        raise MMTError(f"{mosi}: expected CMU-MOSI's folder, found none.")
    table = labels or next((mosi / n for n in ("label.csv", "labels.csv") if (mosi / n).is_file()), None)
    if table is None:
        raise MMTError(f"{mosi}: expected label.csv in it, found none. Name the table of labels with --labels.")
    splits: dict[str, list[dict[str, Any]]] = {"train": [], "val": [], "test": []}
    transcripts: dict[str, dict[str, str]] = {}
    left_out = 0
    for where, line in read_table(table):
        video, clip, score = line["video_id"], line["clip_id"], _score(where, line["label"])
        if "text" not in line and video not in transcripts:
            transcripts[video] = _read_transcript(mosi / f"Transcript/Segmented/{video}.annotprocessed")
        words = (line["text"] if "text" in line else transcripts[video].get(clip, "")).strip()
        if is_blank(words):
            if missing == "refuse":
                raise MMTError(f"{where}: no transcript of clip {video}_{clip}. Add it, or say --missing skip.")
            left_out += 1
            continue
        image = _find_sound(mosi, video, clip)
        label = "positive" if score > 0 else "negative" if score < 0 else "neutral"
        splits[_split(where, line)].append(
            {
                "id": f"{video}_{clip}", "image": image, "source": words, "target": "",
                "has_image": bool(image), "label": label, "score": score, "speaker": video,
            }
        )  # fmt: skip
    if not any(row["has_image"] for rows in splits.values() for row in rows):
        places = ", ".join(pattern.format(video="VIDEO", clip="CLIP") + ".wav" for pattern in _SOUNDS)
        raise MMTError(
            f"{mosi}: expected recordings ({places}), found none of those in {table}. "
            "Take the sound out of videos with ffmpeg -i CLIP.mp4 -ar 16000 -ac 1 CLIP.wav."
        )
    silent = [row["id"] for rows in splits.values() for row in rows if not row["has_image"]]
    if silent:
        listed = Names(lambda: _sounds(mosi)).listed(silent)
        click.echo(f"missing, {len(silent):,} recordings of clips: {listed}", err=True)
    info = DatasetInfo("cmu_mosi", "en", "en", str(mosi.resolve()))
    return write_dataset(out, info, {split: rows for split, rows in splits.items() if rows}), left_out


def read_table(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Where a line stands, for messages, and its columns."""
    try:
        with open_text(path) as stream:
            reader = csv.DictReader((line + "\n" for line in decode_lines(stream, str(path))), strict=True)
            columns = reader.fieldnames or []
            lacking = [c for c in ("video_id", "clip_id", "label") if c not in columns]
            if lacking:
                raise MMTError(
                    f"{path}: expected the columns video_id, clip_id and label, found no {lacking[0]} among "
                    f"{', '.join(columns) or 'none'}.{nearest(lacking[0], columns)}"
                )
            for line in reader:
                where = f"{path}: line {reader.line_num}"
                # DictReader's key for what is beyond the last column, and its value for what is missing before
                if None in line or None in line.values():
                    raise MMTError(
                        f"{where}: has not as many cells as the heading ({len(columns)}). Put a text with commas "
                        "into quotes."
                    )
                known = {name: value.replace("\n", " ") for name, value in line.items() if name}
                for name in ("video_id", "clip_id"):
                    if not _NAME.fullmatch(known.get(name, "")):
                        raise MMTError(
                            f"{where}: expected {name} to be a plain name, found '{known.get(name, '')}'."
                        )
                yield where, known
    except OSError as error:
        raise MMTError(f"{path}: cannot be read ({error.strerror}).") from None
    except csv.Error as error:
        raise MMTError(f"{path}: not a CSV table ({error}).") from None


def _score(where: str, label: str | None) -> float:
    try:
        score = float(label or "")
    except ValueError:
        score = math.nan
    if not -3 <= score <= 3:
        raise MMTError(f"{where}: expected a label from -3 to 3, found '{label}'.")
    return score


def _split(where: str, line: dict[str, str]) -> str:
    video = line["video_id"]
    if "mode" not in line:
        if video not in STANDARD_SPLIT:
            raise MMTError(
                f"{where}: video '{video}' is in no standard split. Add a column mode: train, valid, test."
            )
        return STANDARD_SPLIT[video]
    if line["mode"] not in MODES:
        raise MMTError(f"{where}: expected mode to be train, valid or test, found '{line['mode']}'.")
    return MODES[line["mode"]]


def _read_transcript(path: Path) -> dict[str, str]:
    """Clip -> words; empty where there is no such file."""
    if not path.is_file():
        return {}
    clips = {}
    for number, line in enumerate(read_lines(path), 1):
        clip, found, words = line.partition("_DELIM_")
        if line and not found:
            raise MMTError(f"{path}: line {number}: expected 'CLIP_DELIM_words', found '{line[:40]}'.")
        clips[clip] = words
    return clips


def _sounds(mosi: Path) -> list[str]:
    """The recordings that there are."""
    return [name for name in files_below(mosi)[0] if Path(name).suffix.lower() in AUDIO_SUFFIXES]


def _find_sound(mosi: Path, video: str, clip: str) -> str:
    """The recording's path inside ``mosi``, or "" where there is none."""
    for pattern in _SOUNDS:
        name = pattern.format(video=video, clip=clip)
        for suffix in AUDIO_SUFFIXES:
            if (mosi / f"{name}{suffix}").is_file():
                return f"{name}{suffix}"
    return ""


@click.command(cls=Command)
@click.argument("out", type=PATH)
@click.option("--mosi", type=PATH, required=True, help="Folder of CMU-MOSI.")
@click.option(
    "--labels",
    type=PATH,
    help="CSV table of labels.  [default: label.csv or labels.csv in it]",
)
@click.option(
    "--missing",
    type=click.Choice(["refuse", "skip"]),
    default="refuse",
    help="Clip without transcript: refuse (exit) or skip.",
)
def main(out: Path, mosi: Path, labels: Path | None, missing: Missing) -> None:
    """Prepare CMU-MOSI, sentiment of text and speech, in the folder OUT."""
    write_alone(out)
    info, left_out = prepare(out, mosi, labels, missing)
    print_splits(info)
    if left_out:
        print(f"left out {left_out:,} clips without transcript")


if __name__ == "__main__":
    main()
