"""Laws of the spoken dataset: what decides, balance, and what is unseen in a test."""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from data_prep import spoken
from data_prep.spoken import BLOCK, NOUNS, SIZES, SPEAKERS, Utterance, main, plan, prepare, speak
from mmt.data.dataset import DatasetInfo, read_info, read_split, write_dataset
from mmt.errors import MMTError
from mmt.features.images import find_images
from mmt.features.speech import decode_audio

needs_espeak = pytest.mark.skipif(not shutil.which("espeak-ng"), reason="needs the program espeak-ng")
SPLITS = plan(1, SIZES)
SMALL = dict.fromkeys(SIZES, BLOCK)


def utterance(manner: str, speaker: str = "en+m3", strength: float = 0.5) -> Utterance:
    found = next(u for rows in SPLITS.values() for u in rows if u.manner == manner)
    return replace(found, text="I think the soup is small.", speaker=speaker, strength=strength)


@pytest.mark.parametrize("split", SIZES)
def test_neither_words_nor_voice_alone_tell_where_both_decide(split: str) -> None:
    by_text, by_manner = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    for u in SPLITS[split]:
        if u.kind == "both":
            by_text[u.text].append(np.sign(u.score))
            by_manner[u.manner].append(np.sign(u.score))
    assert set(by_manner) == {"lively", "mocking"}
    assert all(sorted(signs) == [-1, 1] for signs in by_text.values())
    assert all(sum(signs) == 0 and len(signs) > 5 for signs in by_manner.values())


@pytest.mark.parametrize("split", SIZES)
def test_words_decide_in_text_and_voice_in_voice(split: str) -> None:
    text, voice = ([u for u in SPLITS[split] if u.kind == kind] for kind in ("text", "voice"))
    assert all(u.manner == "plain" and u.score == u.words for u in text)
    assert Counter(u.label for u in text) == dict.fromkeys(("positive", "neutral", "negative"), len(text) // 3)
    assert all(u.words == 0 and (u.score > 0) == (u.manner == "lively") for u in voice)
    assert Counter(u.manner for u in voice) == {"lively": len(voice) // 2, "gloomy": len(voice) // 2}
    assert {u.text for u in voice} >= {u.text for u in text if u.words == 0}


def test_a_score_is_within_3_and_grows_with_the_manner() -> None:
    assert all(-3 <= u.score <= 3 for rows in SPLITS.values() for u in rows)
    for rows in SPLITS.values():
        for u in rows[:100]:
            weak, strong = (abs(replace(u, strength=strength).score) for strength in (0.0, 1.0))
            assert (strong == weak) == (u.kind == "text")
            assert strong >= weak


def test_no_speaker_voice_or_noun_of_a_test_is_trained_on() -> None:
    voices = [{speaker.partition("+")[2] for speaker in SPEAKERS[split]} for split in SIZES]
    for sets in (voices, [set(NOUNS[split]) for split in SIZES], [{u.text for u in SPLITS[s]} for s in SIZES]):
        assert sum(map(len, sets)) == len(set[str]().union(*sets))
    words = [{u.words for u in SPLITS[split]} for split in SIZES]
    assert words[0] == words[1] == words[2]
    assert all({u.speaker for u in SPLITS[split]} == set(SPEAKERS[split]) for split in SIZES)


def test_a_seed_gives_the_same_and_another_gives_others() -> None:
    assert plan(1, SMALL) == plan(1, SMALL) != plan(2, SMALL)
    assert plan(1, SMALL)["test"] == plan(1, {"test": BLOCK})["test"]


def test_a_size_without_balance_or_sentences_is_refused() -> None:
    with pytest.raises(MMTError, match=r"--train: expected a multiple of 36, .* found 100. Say 108"):
        plan(1, {"train": 100})
    with pytest.raises(MMTError, match="--val: there are no more than"):
        plan(1, {"val": 36 * 200})


def test_articles_fit() -> None:
    said = " ".join(u.text for rows in SPLITS.values() for u in rows)
    assert " an excellent " in said
    assert " a useless " in said
    assert " an useless " not in said
    assert " a excellent " not in said
    assert " a unpleasant " not in said


@needs_espeak
def test_manners_differ_as_described() -> None:
    for speaker in ("en+m3", "en-us+f1"):
        heard = {m: speak(utterance(m, speaker)) for m in ("plain", "lively", "gloomy", "mocking")}
        seconds = {manner: len(samples) for manner, samples in heard.items()}
        assert seconds["lively"] < seconds["plain"] < min(seconds["gloomy"], seconds["mocking"])
        level = {manner: float(samples.std()) for manner, samples in heard.items()}
        assert level["gloomy"] < 0.7 * min(level[m] for m in ("plain", "lively", "mocking"))
        assert all(0.5 < len(x) / 16_000 < 5 and np.abs(x).max() < 1 for x in heard.values())


@needs_espeak
def test_a_data_set_holds_what_was_planned(tmp_path: Path) -> None:
    out = tmp_path / "spoken"
    command = [str(out), *(part for split in SIZES for part in (f"--{split}", str(BLOCK)))]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    planned = plan(1, SMALL)
    for split in SIZES:
        rows = read_split(out, split)
        assert [(r["source"], r["score"], r["label"], r["kind"], r["speaker"]) for r in rows] == [
            (u.text, u.score, u.label, u.kind, u.speaker) for u in planned[split]
        ]
    found = find_images(out)
    assert len(found) == 3 * BLOCK
    assert not (tmp_path / "spoken.speaking").exists()
    heard, done_to = decode_audio(found["test-00000.flac"])
    assert done_to == []
    assert np.allclose(heard.numpy(), speak(planned["test"][0]), atol=1e-4)
    before = read_info(out)
    assert prepare(out, 2, SMALL) == read_info(out) != before  # an older one is replaced


def test_without_the_program_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MMTError, match=r"espeak-ng: expected the program .*apt-get install espeak-ng"):
        prepare(tmp_path / "out", 1, SMALL)
    assert not (tmp_path / "out").exists()


@needs_espeak
def test_a_voice_that_is_not_there_is_named() -> None:
    with pytest.raises(MMTError, match="cannot speak as nobody"):
        speak(utterance("plain", "nobody"))


def test_another_data_set_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spoken, "speak_all", lambda *_: pytest.fail("spoke before it looked"))
    row = {"id": "1", "image": "", "source": "a", "target": "b", "has_image": False}
    write_dataset(tmp_path / "other", DatasetInfo("other", "en", "de", ""), {"train": [row]})
    with pytest.raises(MMTError, match="found another dataset"):
        prepare(tmp_path / "other", 1, SMALL)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/a.txt").write_text("mine")
    with pytest.raises(MMTError, match=r"no dataset\.json"):
        prepare(tmp_path / "notes", 1, SMALL)


def test_a_recording_is_what_its_name_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import soundfile

    wave = np.linspace(-0.5, 0.5, 1600, dtype=np.float32)
    monkeypatch.setattr(spoken, "speak", lambda _: wave)
    spoken.write_recording((tmp_path / "a.flac", spoken.plan(1, {"train": spoken.BLOCK})["train"][0]))
    found, rate = soundfile.read(tmp_path / "a.flac", dtype="float32")
    assert soundfile.info(tmp_path / "a.flac").format == "FLAC"
    assert rate == spoken.RATE
    assert np.allclose(found, wave, atol=1e-4)
