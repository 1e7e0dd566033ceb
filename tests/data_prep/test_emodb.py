"""Laws of preparing EmoDB: what a name says, and splits by speaker."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from data_prep.emodb import EMOTIONS, MEN, NUM_FOLDS, SENTENCES, WOMEN, fold_speakers, main, parse_name, prepare
from mmt.data.dataset import read_info, read_split
from mmt.errors import MMTError
from mmt.features.images import find_images
from tests.worlds import data_root

REAL = data_root() / "emodb"


def copy_of_names(folder: Path) -> Path:
    """One empty recording of each speaker: preparing reads names only."""
    (folder / "wav").mkdir(parents=True)
    for number, speaker in enumerate((*MEN, *WOMEN)):
        (folder / "wav" / f"{speaker}a01{list(EMOTIONS)[number % 7]}a.wav").touch()
    return folder


def test_a_name_says_speaker_sentence_and_emotion() -> None:
    assert parse_name("16b10Tb.wav") == {"source": SENTENCES["b10"], "label": "sadness", "speaker": "16"}
    assert [parse_name(f"03a02{e}c.ogg")["label"] for e in "WLEAFTN"] == list(EMOTIONS.values())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("03a01Xa.wav", "03a01Xa.wav: expected the emotion to be one of W, L, E, A, F, T, N, found 'X'"),
        ("04a01Fa.wav", "expected the speaker to be one of .* found '04'"),
        ("03a03Fa.wav", "expected the sentence to be one of .* found 'a03'"),
        ("03a01F.wav", "expected a name of EmoDB's form"),
        ("03a01Fa (copy).wav", "expected a name of EmoDB's form"),
    ],
)
def test_a_name_that_is_not_emodbs_is_refused(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(MMTError, match=message):
        parse_name(name)
    folder = copy_of_names(tmp_path / "emodb")
    (folder / "wav" / name).touch()
    with pytest.raises(MMTError, match=message):
        prepare(tmp_path / "out", folder, 0)


def test_each_speaker_is_tested_once_and_never_trained_on_beside() -> None:
    folds = [fold_speakers(fold) for fold in range(NUM_FOLDS)]
    assert sorted(s for fold in folds for s in fold["test"]) == sorted((*MEN, *WOMEN))
    for fold in folds:
        assert [len(fold[split]) for split in ("train", "val", "test")] == [7, 1, 2]
        assert sorted(s for speakers in fold.values() for s in speakers) == sorted((*MEN, *WOMEN))
        assert {speaker in MEN for speaker in fold["test"]} == {True, False}


def test_rows_go_to_their_speakers_split(tmp_path: Path) -> None:
    folder, out = copy_of_names(tmp_path / "emodb"), tmp_path / "out"
    prepare(out, folder, 3)
    for split, speakers in fold_speakers(3).items():
        rows = read_split(out, split)
        assert sorted(rows["speaker"]) == sorted(speakers)
        assert all(row["image"].startswith(row["speaker"]) and row["target"] == "" for row in rows)
    assert Path(read_info(out).images).is_absolute()
    assert len(find_images(out)) == 10


def test_no_recordings_and_a_split_without_any_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MMTError, match="expected EmoDB's recordings"):
        prepare(tmp_path / "out", tmp_path / "nothing", 0)
    folder = copy_of_names(tmp_path / "emodb")
    for path in folder.glob("wav/08*"):
        path.unlink()
    with pytest.raises(MMTError, match="split 'val'"):
        prepare(tmp_path / "out", folder, 4)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"needs EmoDB in {REAL} (set MMT_DATA)")
def test_the_real_folds_have_535_recordings(tmp_path: Path) -> None:
    for fold in range(NUM_FOLDS):
        out = tmp_path / str(fold)
        done = CliRunner().invoke(main, [str(out), "--emodb", str(REAL), "--fold", str(fold)])
        assert done.exit_code == 0, done.output
        assert sum(split.sentences for split in read_info(out).splits.values()) == 535
        assert set(read_split(out, "test")["label"]) == set(EMOTIONS.values())
