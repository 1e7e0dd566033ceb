"""Laws of the one normalisation: what is read, what is compared, what is blank."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import regex
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.probes import score
from mmt.data.batch import Example
from mmt.data.dataset import DatasetInfo, write_dataset
from mmt.data.inputs import Images, read_input
from mmt.data.labels import label_names, with_labels
from mmt.data.masking import Probe
from mmt.data.tokenizer import Tokenizer, train_tokenizer
from mmt.errors import MMTError
from mmt.evidence.contrastive import Item, mirrored_pairs
from mmt.evidence.sentences import Sentences
from mmt.io.normalization import is_blank, normalize
from mmt.io.text_files import read_lines
from mmt.metrics.ambiguity import Lexicon, find_ambiguous, sense_accuracy
from mmt.metrics.labels import label_scores
from mmt.metrics.masked_words import gold_items, probe_accuracy
from mmt.metrics.vqa import answer_accuracy, prior_answers

CHARACTERS = "".join(map(chr, range(0x110000)))
IGNORABLE = regex.findall(r"\p{Default_Ignorable_Code_Point}", CHARACTERS)
DROPPED = [
    *map(chr, (0xAD, 0x61C, 0x200B, 0x200E, 0x200F, 0x2060, 0xFEFF, 0xFE0E, 0xFE0F, 0xE0100, 0xE0041)),
    *map(chr, range(0x202A, 0x202F)),
    *map(chr, range(0x2066, 0x206A)),
]
JOINERS = ["\u200c", "\u200d", "\u034f"]
LETTERS = "aeu \u0301\u0308\u0323گ\u064b\u0654क\u093c\u094dß中❤🐈\u2329\u1025\u102e"
FLAG = ["\U0001f3f4", "\U000e0067", "\U000e007f"]
texts = st.text() | st.text(st.sampled_from([*LETTERS, *JOINERS, *DROPPED, *FLAG]))


@settings(max_examples=300, deadline=None)
@given(texts)
def test_normalising_twice_changes_nothing(line: str) -> None:
    once = normalize(line)
    assert normalize(once) == once
    assert once == unicodedata.normalize("NFC", once)


@settings(max_examples=300, deadline=None)
@given(texts, st.sampled_from(["NFC", "NFD"]))
def test_canonically_equivalent_lines_are_one(line: str, form: Literal["NFC", "NFD"]) -> None:
    assert normalize(unicodedata.normalize(form, line)) == normalize(line)


@settings(max_examples=300, deadline=None)
@given(texts, st.lists(st.tuples(st.sampled_from(DROPPED), st.integers(0, 99))))
def test_invisible_characters_that_spell_nothing_change_nothing(line: str, added: list[tuple[str, int]]) -> None:
    line = line.replace("\U0001f3f4", "")  # in whose tags they would stand
    with_them = line
    for character, place in added:
        with_them = with_them[:place] + character + with_them[place:]
    assert normalize(with_them) == normalize(line)


@settings(max_examples=300, deadline=None)
@given(texts | st.text(st.sampled_from([*IGNORABLE[:99], " ", "\t", "\u2800", "\x00"])))
def test_a_line_is_blank_if_nothing_is_left_of_it(line: str) -> None:
    assert is_blank(line) == (normalize(line) == "")


def test_unicode_says_what_is_blank() -> None:
    assert all(is_blank(character) for character in IGNORABLE)
    blank = {character for character in CHARACTERS if is_blank(character)}
    others = blank - set(IGNORABLE) - {"\u2581", "\u2800"}
    assert all(regex.match(r"[\p{White_Space}\p{Cc}]", character) for character in others)


@pytest.mark.parametrize("joiner", JOINERS)
@pytest.mark.parametrize(
    "line", ["Auf{}lage", "中{}国", "3{}4", "{}Two dogs", "Two dogs{}", "Two {}dogs", "สวัส{}ดี"]
)
def test_joiners_that_join_nothing_are_dropped(joiner: str, line: str) -> None:
    assert normalize(line.format(joiner)) == line.format("")


@pytest.mark.parametrize(
    "text",
    [
        "می\u200cروم",  # Persian: I go
        "नन्\u200dहा",  # Hindi, a half form
        "ശരത്\u200cകാലം",  # Malayalam: autumn
        "ന\u0d4d\u200d",  # an old chillu, at the end of a word
        "ක්\u200dෂ",  # Sinhala
        "👩\u200d👩\u200d👧",
        "🐈\u200d⬛",
        "👩🏽\u200d🚒",
        "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",  # England's flag
        "a\u0323\u034f\u0300",
    ],
)
def test_joiners_that_spell_something_stay(text: str) -> None:
    assert normalize(f"x {text} y.") == unicodedata.normalize("NFC", f"x {text} y.")


def test_non_joiners_at_the_end_of_a_persian_word_are_dropped() -> None:
    assert normalize("کتاب\u200c \u200cها\u200c.") == "کتاب ها."


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text("aäßé.,-'\"1 \t\u00a0\u3000", min_size=1), min_size=1, max_size=4))
def test_what_was_normal_before_scores_as_by_sacrebleu_itself(lines: list[str]) -> None:
    """White space, which each of sacrebleu's metrics splits at, is all that changes here."""
    normal = [normalize(line) for line in lines]
    for metric in (sacrebleu.BLEU(force=True, effective_order=True), sacrebleu.CHRF(), sacrebleu.TER()):
        references = [[" ".join(line[::-1].split()) for line in lines]]
        assert metric.corpus_score(normal, references).score == metric.corpus_score(lines, references).score, (
            re.escape(str(lines))
        )


# --- everything that compares text compares it normalised --------------------------------------------------------

Written = Callable[[str], str]
WRITTEN: list[Written] = [
    lambda line: unicodedata.normalize("NFD", line),
    lambda line: f"\ufeff{line[:2]}\u200b\u00ad{line[2:]}\u200e",
]


@pytest.fixture(params=WRITTEN, ids=["decomposed", "invisible characters"])
def other(request: pytest.FixtureRequest) -> Written:
    """Another way to write what is the same line."""
    written: Written = request.param
    assert written("Grüne Bäume") != "Grüne Bäume"
    return written


def test_masked_words_are_found_however_they_are_written(other: Written) -> None:
    reference, masked = "Zwei Männer in grünen Jacken.", [["men"]]
    for one, two in ((other(reference), reference), (reference, other(reference))):
        assert probe_accuracy(masked, [one], [two], "character", "de").restricted == 1
    assert gold_items(["green"], other(reference), "de") == ["grünen"]
    line = "Zwei Männer, a blue café"
    assert Probe("colour").mask(other(line)) == Probe("colour").mask(line)


def test_ambiguous_words_are_found_however_they_are_written(other: Written, tmp_path: Path) -> None:
    pairs = [
        ("A man sees the lock.", "Der Mann sieht das Schlösschen."),
        ("He is a lock.", "Er ist ein Türschloß."),
    ]
    pairs *= 120
    found = find_ambiguous(*map(list, zip(*pairs, strict=True)), "en", "de")
    again = find_ambiguous([other(a) for a, _ in pairs], [other(b) for _, b in pairs], "en", "de")
    assert again == found
    (source, reference), (_, wrong) = pairs[:2]
    for right in (sense_accuracy(found, [other(source)], [reference], [other(reference)]),
                  sense_accuracy(found, [source], [other(reference)], [reference])):  # fmt: skip
        assert right.accuracy == 100
    assert sense_accuracy(found, [source], [reference], [other(wrong)]).accuracy == 0
    found.save(tmp_path / "l.json")
    text = (tmp_path / "l.json").read_text(encoding="utf-8")
    (tmp_path / "l.json").write_text(unicodedata.normalize("NFD", text), encoding="utf-8")
    assert Lexicon.load(tmp_path / "l.json") == found


def test_mirrored_items_are_paired_however_they_are_written(other: Written) -> None:
    items = [Item("A bat.", "Ein Schläger.", "Eine Fledermäuse.", "a"), Item("A bat.", "Eine Fledermäuse.",
             "Ein Schläger.", "b")]  # fmt: skip
    written = [items[0], replace(items[1], correct=other(items[1].correct), incorrect=other(items[1].incorrect))]
    assert mirrored_pairs(written) == mirrored_pairs(items) == [(0, 1)]


def test_answers_are_right_however_they_are_written(other: Written) -> None:
    for one, two in ((other("Café"), "Café"), ("Café", other("Café"))):
        assert answer_accuracy(one, [two]) == 1
        assert answer_accuracy(one, [two] * 10) == 1
        assert answer_accuracy(one, [two] * 9 + ["no"]) == 1
    rows = [{"source": other("Where is the café?"), "target": "on the left", "kind": "where"}] * 2
    rows += [{"source": "Where?", "target": "here", "kind": "where"}] * 3
    assert prior_answers(rows).by_question("Where is the café?", "where") == "on the left"
    both = [{"source": "?", "target": text, "kind": "k"} for text in ("Café", other("Café"), "no", "no", "Café")]
    assert prior_answers(both).overall == "Café"


def test_labels_are_one_however_they_are_written(other: Written, tmp_path: Path) -> None:
    assert label_scores(["Ärger", "Freude"], [other("Ärger"), "Freude"])["accuracy"] == 100
    rows = [
        {"id": str(n), "image": "", "source": "x", "target": "", "has_image": False, "label": label}
        for n, label in enumerate(["Ärger", other("Ärger"), "Freude", "Ärger"])
    ]
    write_dataset(tmp_path / "d", DatasetInfo("d", "de", "de", ""), {"train": rows, "test": rows})
    assert label_names(tmp_path / "d", "train", "label", None) == ["Ärger", "Freude"]
    known = [other("Ärger"), "Freude"]  # as a model of before has them
    examples = with_labels(
        [Example([], [], None)] * 4, tmp_path / "d", "test", label="label", names=known, rare_ones_left_out=False,
        score=None,
    )  # fmt: skip
    assert [example.label for example in examples] == [0, 0, 1, 0]


def test_scores_of_probes_are_those_of_normalised_text(other: Written) -> None:
    text = [f"Der Käfer sieht {number} grüne Bäume." for number in range(8)]
    names = ("text_only.seed1", "right.seed1", "wrong.seed1.draw1", "blank.seed1")
    for references, hypotheses in (([other(line) for line in text], text), (text, [other(line) for line in text])):
        sentences = Sentences(text, text, references, text, masked=[["green"]] * len(text))
        found = score(dict.fromkeys(names, hypotheses), sentences, "colour", "de")
        assert found["bleu"]["right"]["mean"] == pytest.approx(100)
        assert found["colour_accuracy"]["right"]["mean"] == 1
        assert found["bleu_signature"].endswith("|norm:nfc")


def test_every_reader_knows_the_same_lines_for_blank(tmp_path: Path) -> None:
    r"""Byte order marks in the middle are those of files that were concatenated."""
    blanks = ["", " \t", "\u200b", "\ufeff\ufeff", "\u200e\u2069", "\xad\u200d", "\u3164", "\x00\x1f", "\u2800"]
    lines = ["\ufeffEin Hund.", *blanks, "\ufeffEine Katze."]
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert read_lines(path) == ["Ein Hund.", *[""] * len(blanks), "Eine Katze."]
    sources = [line.source for line in read_input(path, None, Images())]
    assert [normalize(source) for source in sources] == ["Ein Hund.", *[""] * len(blanks), "Eine Katze."]
    assert sources[-1] == "Eine Katze."
    named = list(read_input(path, None, Images(list_file=path)))
    assert [line.image for line in named] == ["Ein Hund.", *[None] * len(blanks), "Eine Katze."]
    path = tmp_path / "lines.jsonl"
    path.write_text("".join('\ufeff{"source": "x", "image": "a.jpg"}\n' for _ in lines), encoding="utf-8")
    assert {line.image for line in read_input(path, None, Images())} == {"a.jpg"}
    path = tmp_path / "lines.tsv"
    path.write_text("".join(f"\ufeffx\t{line}\n" for line in blanks if "\t" not in line), encoding="utf-8")
    assert {(line.source, line.image) for line in read_input(path, None, Images())} == {("x", None)}
    (tmp_path / "blank.txt").write_text("\u200b\n\ufeff\n", encoding="utf-8")
    with pytest.raises(MMTError, match=r"blank\.txt: .* blank"):
        read_lines(tmp_path / "blank.txt")


def test_a_model_reads_what_prints(tmp_path: Path, tokenizer: Tokenizer) -> None:
    for character in DROPPED:
        assert tokenizer.encode(f"A dog{character} ru{character}ns.") == tokenizer.encode("A dog runs.")
        assert tokenizer.encode(character) == []
    train_tokenizer(["Ein\u200b Hund.", "Eine \ufeffKatze."] * 20, 290, tmp_path / "a")
    train_tokenizer(["Ein Hund.", "Eine Katze."] * 20, 290, tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
