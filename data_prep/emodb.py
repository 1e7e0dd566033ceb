"""Prepares EmoDB, the Berlin Database of Emotional Speech: ten actors, ten neutral sentences, seven emotions.

    python -m data_prep.emodb OUT --emodb DIR --fold 0

Burkhardt et al. (2005), https://doi.org/10.21437/Interspeech.2005-446. A file's name says all: two digits the
speaker, three characters the sentence, one letter the emotion, one letter the version: ``03a01Fa.wav``. The text
is the same for all emotions, so the voice decides.

Splits are by speaker, in five folds: the test split of fold K has the K-th man and the K-th woman, ``val``
the next man (K odd) or the next woman (K even), ``train`` the seven others. Each speaker is tested in one fold.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from mmt.cli.command import Command, write_alone
from mmt.cli.options import PATH
from mmt.data.dataset import DatasetInfo, write_dataset
from mmt.data.image_names import files_below
from mmt.data.splits import print_splits
from mmt.errors import MMTError
from mmt.features.speech import AUDIO_SUFFIXES

MEN, WOMEN = ("03", "10", "11", "12", "15"), ("08", "09", "13", "14", "16")
NUM_FOLDS = len(MEN)
EMOTIONS = {
    "W": "anger", "L": "boredom", "E": "disgust", "A": "fear", "F": "happiness", "T": "sadness", "N": "neutral",
}  # fmt: skip
SENTENCES = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}
_NAME = re.compile(r"(?P<speaker>\d\d)(?P<sentence>[a-z]\d\d)(?P<emotion>[A-Z])(?P<version>[a-z])")


def fold_speakers(fold: int) -> dict[str, tuple[str, ...]]:
    """The speakers of each split of a fold, 0 to 4."""
    test = (MEN[fold], WOMEN[fold])
    val = ((WOMEN, MEN)[fold % 2][(fold + 1) % NUM_FOLDS],)
    train = tuple(s for s in sorted((*MEN, *WOMEN)) if s not in test + val)
    return {"train": train, "val": val, "test": test}


def parse_name(name: str) -> dict[str, str]:
    """The columns that a file's name gives: ``source``, ``label``, ``speaker``.

    Raises:
        MMTError: a name of another form, or an emotion, speaker or sentence that EmoDB has not.
    """
    match = _NAME.fullmatch(Path(name).stem)
    if match is None:
        raise MMTError(f"{name}: expected a name of EmoDB's form, such as 03a01Fa.wav. Rename or remove the file.")
    for part, known in (("emotion", EMOTIONS), ("speaker", MEN + WOMEN), ("sentence", SENTENCES)):
        if match[part] not in known:
            raise MMTError(f"{name}: expected the {part} to be one of {', '.join(known)}, found '{match[part]}'.")
    return {
        "source": SENTENCES[match["sentence"]],
        "label": EMOTIONS[match["emotion"]],
        "speaker": match["speaker"],
    }


def prepare(out: Path, emodb: Path, fold: int) -> DatasetInfo:
    """Writes one fold.

    Args:
        out: the folder to write, see ``mmt.data.dataset.write_dataset``.
        emodb: the folder of the recordings, or the one above it (``wav`` or ``audio``).
        fold: 0 to 4.
    Raises:
        MMTError: no recordings, a name that is not EmoDB's, or a split without any.
    """
    folder = next((emodb / name for name in ("wav", "audio") if (emodb / name).is_dir()), emodb)
    found, left_out = files_below(folder) if folder.is_dir() else ([], {})
    paths = [folder / name for name in found if "/" not in name and Path(name).suffix.lower() in AUDIO_SUFFIXES]
    for name, reason in left_out.items():
        click.echo(f"{folder}: left out: {name} ({reason})", err=True)
    if not paths:
        raise MMTError(
            f"{folder}: expected EmoDB's recordings, such as 03a01Fa.wav, found none. Name their folder."
        )
    rows: list[dict[str, Any]] = []
    for path in paths:
        columns = parse_name(path.name)
        rows.append({"id": path.stem, "image": path.name, "target": "", "has_image": True, **columns})
    splits = {
        split: [row for row in rows if row["speaker"] in speakers]
        for split, speakers in fold_speakers(fold).items()
    }
    return write_dataset(out, DatasetInfo("emodb", "de", "de", str(folder.resolve())), splits)


@click.command(cls=Command)
@click.argument("out", type=PATH)
@click.option("--emodb", type=PATH, required=True, help="Folder of EmoDB.")
@click.option(
    "--fold", type=click.IntRange(0, NUM_FOLDS - 1), required=True, help="Fold whose speakers are the test set."
)
def main(out: Path, emodb: Path, fold: int) -> None:
    """Prepare a fold of the Berlin Database of Emotional Speech in the folder OUT."""
    write_alone(out)
    print_splits(prepare(out, emodb, fold))


if __name__ == "__main__":
    main()
