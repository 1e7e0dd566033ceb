"""The built-in dataset: only the picture settles the open word, and the same seed draws the same data."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from dataclasses import astuple
from pathlib import Path

import pytest
from click.testing import CliRunner

from data_prep.pictures.__main__ import main
from data_prep.pictures.scenes import DRAWINGS, Row, plan, prepare
from data_prep.pictures.sentences import (
    AMBIGUOUS,
    COLOURED,
    COUNTED,
    PLAIN,
    Wording,
    noun_phrase,
    number_phrase,
)
from mmt.data.dataset import DatasetInfo, image_folder, read_info, read_split
from mmt.errors import MMTError

SIZES = {"train": 60, "val": 20, "test": 20, "contrastive": 24}
FULL = {"train": 3600, "val": 300, "test": 500, "contrastive": 400}


def words(sentence: str) -> list[str]:
    return re.findall(r"\w+", sentence)


def lemma(row: Row) -> str:
    """The answer without its ending: rotes and roten are one colour, Gläser and Gläsern one noun."""
    return re.sub(r"(e[nrs]?|n)$", "", row.answer)


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted((folder / "images").iterdir())}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DatasetInfo]:
    folder = tmp_path_factory.mktemp("pictures") / "set"
    return folder, prepare(folder, 1, SIZES, processes=1)


@pytest.fixture(scope="module")
def full() -> dict[str, list[Row]]:
    return plan(1, FULL)


def test_same_seed_draws_the_same_bytes(drawn: tuple[Path, DatasetInfo], tmp_path: Path) -> None:
    folder, info = drawn
    again = prepare(tmp_path / "again", 1, SIZES, processes=2)
    assert again.splits == info.splits
    assert digests(tmp_path / "again") == digests(folder)


def test_another_seed_draws_other_sentences_and_scenes(full: dict[str, list[Row]]) -> None:
    other = plan(2, FULL)
    for split, rows in full.items():
        assert [row.source for row in rows] != [row.source for row in other[split]]
        assert not {astuple(row.scene) for row in rows} & {astuple(row.scene) for row in other[split]}


def test_a_split_does_not_depend_on_the_others_sizes(full: dict[str, list[Row]]) -> None:
    assert plan(1, {**FULL, "train": 60})["test"] == full["test"]


def test_no_scene_and_no_picture_is_drawn_twice(
    drawn: tuple[Path, DatasetInfo], full: dict[str, list[Row]]
) -> None:
    scenes = [astuple(row.scene) for rows in full.values() for row in rows]
    assert len(set(scenes)) == len(scenes) == sum(FULL.values())
    pictures = digests(drawn[0])
    assert len(set(pictures.values())) == len(pictures) == sum(SIZES.values())


def test_every_row_has_its_picture_and_no_picture_is_left_over(drawn: tuple[Path, DatasetInfo]) -> None:
    folder, info = drawn
    named = [name for split in info.splits for name in read_split(folder, split)["image"]]
    assert sorted(named) == [path.name for path in sorted(image_folder(folder).iterdir())]
    assert {split: count.sentences for split, count in read_info(folder).splits.items()} == SIZES


def test_drawing_again_leaves_no_stale_pictures(tmp_path: Path) -> None:
    prepare(tmp_path / "set", 1, {"train": 30, "contrastive": 16}, processes=1)
    (tmp_path / "set" / "images" / "stale.jpg").touch()
    prepare(tmp_path / "set", 1, {"train": 20, "contrastive": 16}, processes=1)
    assert len(list((tmp_path / "set" / "images").iterdir())) == 36
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(MMTError, match="something else"):
        prepare(tmp_path, 1, SIZES)
    result = CliRunner().invoke(main, [str(tmp_path)])
    assert result.exit_code == 2
    assert result.output.startswith("error: ")
    assert result.output.count("\n") == 1
    assert (tmp_path / "thesis.txt").exists()


def test_contrastive_is_a_coin_toss_without_the_picture(full: dict[str, list[Row]]) -> None:
    rows = full["contrastive"]
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        assert first.source == second.source
        assert (first.target, first.answer) == (second.contrast, second.wrong_answer)
        assert (first.contrast, first.wrong_answer) == (second.target, second.answer)
    # Whatever a scorer prefers that sees no picture, it is right once in every pair.
    for prefer in (max, min, lambda pair: max(pair, key=len), lambda pair: min(pair, key=lambda s: s[::-1])):
        right = sum(prefer(sorted((row.target, row.contrast))) == row.target for row in rows)
        assert right * 2 == len(rows)


def test_contrastive_is_mostly_nouns_and_has_every_kind(full: dict[str, list[Row]]) -> None:
    kinds = Counter(row.kind for row in full["contrastive"])
    assert set(kinds) == {"noun", "colour", "number"}
    assert kinds["noun"] >= 0.75 * len(full["contrastive"])
    assert {row.word for row in full["contrastive"] if row.kind == "noun"} == {noun.english for noun in AMBIGUOUS}


def test_the_answer_stands_in_the_target_and_not_in_the_contrast(full: dict[str, list[Row]]) -> None:
    for row in (row for rows in full.values() for row in rows):
        if row.kind == "plain":
            assert (row.word, row.answer, row.contrast, row.wrong_answer) == ("", "", "", "")
            continue
        assert row.word in row.source.lower()
        assert row.answer in words(row.target)
        assert row.answer not in words(row.contrast)
        assert row.wrong_answer in words(row.contrast)
        assert row.wrong_answer not in words(row.target)


def test_every_answer_is_learnt_from_train(full: dict[str, list[Row]]) -> None:
    learnt = {(row.kind, lemma(row)) for row in full["train"]}
    for split in ("val", "test", "contrastive"):
        assert {(row.kind, lemma(row)) for row in full[split]} <= learnt
    assert {row.answer for row in full["contrastive"]} <= {row.answer for row in full["train"]}


def test_english_does_not_leak_the_reading(full: dict[str, list[Row]]) -> None:
    for split, rows in full.items():
        readings: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        for row in rows:
            if row.kind != "plain":
                readings[row.kind, row.source][row.answer] += 1
        for (kind, source), answers in readings.items():
            assert len(answers) >= 2, (split, source)
            if kind == "noun" or split != "contrastive":
                assert len(set(answers.values())) == 1, (split, source, answers)


def test_german_follows_from_english_and_the_picture_alone(full: dict[str, list[Row]]) -> None:
    known: dict[tuple[object, ...], str] = {}
    for row in (row for rows in full.values() for row in rows):
        key = (row.source, row.scene.drawing, row.scene.colour, row.scene.count)
        assert known.setdefault(key, row.target) == row.target


def test_readings_differ_in_german_and_in_drawing() -> None:
    assert len(AMBIGUOUS) >= 12
    assert len({noun.english for noun in AMBIGUOUS}) == len(AMBIGUOUS)
    for noun in AMBIGUOUS:
        assert len({sense.german.nominative for sense in noun.senses}) == len(noun.senses) >= 2
    shown = [sense.drawing for noun in (*AMBIGUOUS, *COLOURED, *COUNTED, *PLAIN) for sense in noun.senses]
    assert set(shown) == set(DRAWINGS)


@pytest.mark.parametrize(
    ("word", "reading", "definite", "adjective", "english", "german"),
    [
        (
            "crane",
            0,
            False,
            "unusual",
            "an unusual crane",
            "ein ungewöhnlicher Kranich, einen ungewöhnlichen Kranich, einem ungewöhnlichen Kranich",
        ),
        (
            "letter",
            1,
            True,
            "old",
            "the old letter",
            "der alte Buchstabe, den alten Buchstaben, dem alten Buchstaben",
        ),
        ("letter", 1, False, "", "a letter", "ein Buchstabe, einen Buchstaben, einem Buchstaben"),
        ("glasses", 0, False, "new", "new glasses", "eine neue Brille, eine neue Brille, einer neuen Brille"),
        ("glasses", 1, False, "new", "new glasses", "neue Gläser, neue Gläser, neuen Gläsern"),
        ("glasses", 1, True, "new", "the new glasses", "die neuen Gläser, die neuen Gläser, den neuen Gläsern"),
        (
            "seal",
            1,
            False,
            "beautiful",
            "a beautiful seal",
            "ein schönes Siegel, ein schönes Siegel, einem schönen Siegel",
        ),
        (
            "seal",
            0,
            True,
            "beautiful",
            "the beautiful seal",
            "die schöne Robbe, die schöne Robbe, der schönen Robbe",
        ),
    ],
)
def test_german_is_inflected(
    word: str, reading: int, definite: bool, adjective: str, english: str, german: str
) -> None:
    noun = next(noun for noun in AMBIGUOUS if noun.english == word)
    wording = Wording(0, "she", adjective, "old", "", "", definite)
    phrase = noun_phrase(noun, noun.senses[reading], wording)
    assert phrase.english == english
    assert ", ".join(phrase.german[case] for case in ("nom", "acc", "dat")) == german


def test_colours_and_numbers_are_inflected() -> None:
    dress, apple = COLOURED[0], COUNTED[0]
    wording = Wording(0, "she", "", "old", "", "", definite=False)
    red = noun_phrase(dress, dress.senses[0], wording, "coloured", "rot")
    assert (red.german["acc"], red.answers["acc"]) == ("ein rotes Kleid", "rotes")
    assert (red.german["dat"], red.answers["dat"]) == ("einem roten Kleid", "roten")
    two = number_phrase(apple, 2, "some")
    assert (two.english, two.german["acc"], two.german["dat"]) == ("some apples", "zwei Äpfel", "zwei Äpfeln")
