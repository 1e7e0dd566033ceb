"""Laws of preparing CMU-MOSI, on a tiny copy of each published layout."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from data_prep.mosi import STANDARD_SPLIT, main, prepare
from mmt.data.dataset import read_split
from mmt.errors import MMTError
from mmt.features.images import find_images

CLIPS = {
    ("2iD-tVS8NPw", "1"): 2.4,
    ("WKA5OygbEKI", "1"): 0.0,
    ("tmZoasNr4rU", "1"): -1.2,
    ("tmZoasNr4rU", "2"): 3.0,
}
WORDS = {("2iD-tVS8NPw", "1"): "IT WAS GOOD", ("WKA5OygbEKI", "1"): "A FILM, OF 2010"}


def words(clip: tuple[str, str]) -> str:
    return WORDS.get(clip, f"CLIP {clip[1]}")


def sound(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.sin(np.arange(8000) / 5), 16_000)


def original(folder: Path) -> Path:
    lines: dict[str, list[str]] = {}
    table = ["video_id,clip_id,label"]
    for (video, clip), score in CLIPS.items():
        sound(folder / f"Audio/WAV_16000/Segmented/{video}_{clip}.wav")
        lines.setdefault(video, []).append(f"{clip}_DELIM_{words((video, clip))}")
        table.append(f"{video},{clip},{score}")
    (folder / "Transcript/Segmented").mkdir(parents=True)
    for video, said in lines.items():
        (folder / f"Transcript/Segmented/{video}.annotprocessed").write_text("\n".join(said) + "\n")
    (folder / "labels.csv").write_text("\n".join(table) + "\n")
    return folder


def mmsa(folder: Path, mode: str = "valid") -> Path:
    table = ["video_id,clip_id,text,label,annotation,mode"]
    for video, clip in CLIPS:
        sound(folder / f"Raw/{video}/{clip}.wav")
        split = {"train": "train", "val": mode, "test": "test"}[STANDARD_SPLIT[video]]
        table.append(f'{video},{clip},"{words((video, clip))}",{CLIPS[video, clip]},x,{split}')
    (folder / "label.csv").write_text("\n".join(table) + "\n")
    return folder


def replaced(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_both_layouts_give_the_same_sentences_and_sounds(tmp_path: Path) -> None:
    kept = []
    for layout in (original, mmsa):
        out = tmp_path / f"{layout.__name__}_out"
        info, left_out = prepare(out, layout(tmp_path / layout.__name__))
        rows = [(split, row) for split in info.splits for row in read_split(out, split)]
        assert left_out == 0
        assert len(find_images(out)) == len(CLIPS)
        kept.append([(s, r["id"], r["source"], r["label"], r["score"], r["has_image"]) for s, r in rows])
    assert kept[0] == kept[1]
    assert kept[0] == [
        ("train", "2iD-tVS8NPw_1", "IT WAS GOOD", "positive", 2.4, True),
        ("val", "WKA5OygbEKI_1", "A FILM, OF 2010", "neutral", 0.0, True),
        ("test", "tmZoasNr4rU_1", "CLIP 1", "negative", -1.2, True),
        ("test", "tmZoasNr4rU_2", "CLIP 2", "positive", 3.0, True),
    ]


def test_the_standard_split_is_52_10_and_31_videos() -> None:
    assert Counter(STANDARD_SPLIT.values()) == {"train": 52, "val": 10, "test": 31}


def test_a_missing_transcript_is_refused_or_counted(tmp_path: Path) -> None:
    folder = original(tmp_path / "mosi")
    replaced(folder / "Transcript/Segmented/tmZoasNr4rU.annotprocessed", "1_DELIM_CLIP 1\n", "")
    (folder / "Transcript/Segmented/WKA5OygbEKI.annotprocessed").unlink()
    with pytest.raises(MMTError, match=r"labels\.csv: line 3: no transcript of clip WKA5OygbEKI_1\. .*--missing"):
        prepare(tmp_path / "out", folder)
    info, left_out = prepare(tmp_path / "out", folder, missing="skip")
    assert (left_out, list(info.splits), info.splits["test"].sentences) == (2, ["train", "test"], 1)
    said = CliRunner().invoke(main, [str(tmp_path / "out"), "--mosi", str(folder), "--missing", "skip"])
    assert "left out 2 clips without transcript" in said.output


def test_a_missing_recording_leaves_text_alone(tmp_path: Path) -> None:
    folder = mmsa(tmp_path / "mosi")
    (folder / "Raw/tmZoasNr4rU/1.wav").rename(folder / "Raw/tmZoasNr4rU/1.mp4")
    info, _ = prepare(tmp_path / "out", folder)
    assert (info.splits["test"].images_found, info.splits["test"].images_missing) == (1, 1)
    for path in folder.glob("Raw/*/*.wav"):
        path.unlink()
    with pytest.raises(MMTError, match=r"expected recordings .* found none .*ffmpeg"):
        prepare(tmp_path / "out", folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",2.4,", ",3.5,", "line 2: expected a label from -3 to 3, found '3.5'"),
        (",2.4,", ",nan,", "line 2: expected a label from -3 to 3, found 'nan'"),
        (",2.4,", ",good,", "line 2: expected a label from -3 to 3, found 'good'"),
        (",x,train", ",x,training", "line 2: expected mode to be train, valid or test, found 'training'"),
        ("2iD-tVS8NPw,", "../2iD-tVS8NPw,", "line 2: expected video_id to be a plain name"),
        ("label,annotation", "lable,annotation", "found no label among .*Did you mean 'lable'"),
        ("tmZoasNr4rU,2,", "tmZoasNr4rU,1,", "the id 'tmZoasNr4rU_1' occurs in rows 1 and 2"),
    ],
)
def test_a_wrong_table_is_refused_by_its_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    folder = mmsa(tmp_path / "mosi")
    replaced(folder / "label.csv", old, new)
    with pytest.raises(MMTError, match=message):
        prepare(tmp_path / "out", folder)


def test_a_video_of_no_standard_split_needs_a_mode(tmp_path: Path) -> None:
    folder = original(tmp_path / "mosi")
    replaced(folder / "labels.csv", "2iD-tVS8NPw", "unknown")
    (folder / "Transcript/Segmented/unknown.annotprocessed").write_text("1_DELIM_HELLO\n")
    with pytest.raises(MMTError, match="'unknown' is in no standard split"):
        prepare(tmp_path / "out", folder)


def test_a_pickle_is_never_read(tmp_path: Path) -> None:
    (tmp_path / "mosi_data.pkl").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(MMTError, match="a pickle may run code"):
        prepare(tmp_path / "out", tmp_path / "mosi_data.pkl")
    with pytest.raises(MMTError, match=r"expected label\.csv in it, found none"):
        prepare(tmp_path / "out", tmp_path)


def test_a_transcript_of_another_form_is_refused(tmp_path: Path) -> None:
    folder = original(tmp_path / "mosi")
    replaced(folder / "Transcript/Segmented/tmZoasNr4rU.annotprocessed", "2_DELIM_", "2 ")
    with pytest.raises(MMTError, match="line 2: expected 'CLIP_DELIM_words', found '2 CLIP 2'"):
        prepare(tmp_path / "out", folder)
