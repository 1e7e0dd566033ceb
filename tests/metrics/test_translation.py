"""Scores agree with sacrebleu, hold their laws, and refuse what sacrebleu would score in silence."""

from __future__ import annotations

import gzip
import math
import os
import random
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import pytest
import sacrebleu
import sacremoses

from mmt.errors import MMTError
from mmt.metrics.accuracy import choice_accuracy, choice_hits, pair_accuracy, word_accuracy
from mmt.metrics.significance import Difference, paired_bootstrap
from mmt.metrics.translation import (
    METRICS,
    PAPERS_BLEU,
    NotApplicableError,
    TextMetric,
    Texts,
    corpus_scores,
    metrics_for,
    tokenize_as_papers,
)
from tests.metrics.texts import damaged, some_references

REAL = Path(os.environ.get("MMT_DATA", "../shared/data")) / "multi30k"


def test_a_translation_equal_to_its_reference_is_perfect() -> None:
    scores = corpus_scores(some_references(), some_references(), target_lang="de")
    assert {key: round(score.value, 6) for key, score in scores.items()} == {
        "bleu": 100,
        "chrf": 100,
        "ter": 0,
        "bleu_lc_tok": 100,
    }


def test_nothing_translated_is_worth_nothing() -> None:
    scores = corpus_scores([""] * 60, some_references(), target_lang="de")
    assert [scores[key].value for key in ("bleu", "chrf", "ter", "bleu_lc_tok")] == [0, 0, 100, 0]


def test_scores_are_those_of_sacrebleu() -> None:
    references = some_references()
    hypotheses = damaged(references, 0.2)
    scores = corpus_scores(hypotheses, references, target_lang="de")
    for key, metric in (
        ("bleu", sacrebleu.BLEU()),
        ("chrf", sacrebleu.CHRF()),
        ("ter", sacrebleu.TER()),
    ):
        expected = metric.corpus_score(hypotheses, [references])
        assert scores[key].value == expected.score
        assert scores[key].name == expected.name
        assert scores[key].signature == f"{metric.get_signature()}|norm:nfc"


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_the_normal_form_of_either_side_changes_no_score(form: Literal["NFC", "NFD"]) -> None:
    references = some_references()
    hypotheses = damaged(references, 0.2)
    scores = corpus_scores(hypotheses, references, target_lang="de")
    other = [unicodedata.normalize(form, line) for line in references]
    assert (other != references) == (form == "NFD")
    assert corpus_scores(hypotheses, other, target_lang="de") == scores
    other_hypotheses = [unicodedata.normalize(form, line) for line in hypotheses]
    assert corpus_scores(other_hypotheses, references, target_lang="de") == scores
    differences = paired_bootstrap(references, [hypotheses], references, target_lang="de", samples=20)
    assert paired_bootstrap(other, [hypotheses], other, target_lang="de", samples=20) == differences
    assert {d.signature.rpartition("|")[2] for d in differences[0].values()} == {"norm:nfc"}
    gold = ["Küche"] * len(references)
    assert word_accuracy(other_hypotheses, gold) == word_accuracy(hypotheses, gold)


def test_invisible_characters_change_no_score() -> None:
    references = some_references()
    hypotheses = damaged(references, 0.2)
    marked = [f"\ufeff{line[:9]}\u200b\u00ad{line[9:]}\u200e\u2069" for line in references]
    assert corpus_scores(hypotheses, marked, target_lang="de") == corpus_scores(
        hypotheses, references, target_lang="de"
    )
    with pytest.raises(MMTError, match="references: number 2 is blank"):
        corpus_scores(hypotheses[:3], [references[0], "\u200b\ufeff", references[2]], target_lang="de")


def test_papers_bleu_is_sacrebleu_on_lowercased_moses_tokens() -> None:
    references = some_references()
    hypotheses = damaged(references, 0.2)
    tokenizer = sacremoses.MosesTokenizer("de")  # these sentences have no punctuation to normalise

    def tokens(sentences: list[str]) -> list[str]:
        return [tokenizer.tokenize(sentence.lower(), return_str=True) for sentence in sentences]

    expected = sacrebleu.corpus_bleu(tokens(hypotheses), [tokens(references)], tokenize="none", force=True)
    assert corpus_scores(hypotheses, references, target_lang="de")["bleu_lc_tok"].value == expected.score


def test_papers_bleu_cannot_be_taken_for_sacrebleu() -> None:
    score = corpus_scores(some_references(), some_references(), target_lang="de")["bleu_lc_tok"]
    assert score.name == PAPERS_BLEU
    assert "not sacreBLEU" in score.name
    assert f"tok:sacremoses-{sacremoses.__version__}-de-normpunct" in score.signature
    assert "case:lc" in score.signature


def test_only_papers_bleu_forgives_case_and_typography() -> None:
    references = [f'Er sagt "{sentence}" - so.' for sentence in some_references()]
    hypotheses = [f"ER SAGT „{sentence.upper()}“ – SO." for sentence in some_references()]
    scores = corpus_scores(hypotheses, [r.replace("ß", "ss") for r in references], target_lang="de")
    assert scores["bleu"].value < 30
    assert scores["bleu_lc_tok"].value == pytest.approx(100)


def test_text_is_not_tokenised_twice() -> None:
    """The papers' BLEU of tokenised text, escaped or not, is that of the raw text."""
    references = [f"L'homme qui n'a pas {line}" for line in some_references()]
    hypotheses = damaged(references, 0.2)
    expected = corpus_scores(hypotheses, references, target_lang="fr")["bleu_lc_tok"].value
    tokenizer = sacremoses.MosesTokenizer("fr")
    for escape in (True, False):
        tokens = [
            [tokenizer.tokenize(line.lower(), return_str=True, escape=escape) for line in side]
            for side in (hypotheses, references)
        ]
        scores = corpus_scores(*tokens, target_lang="fr", tokenized=True)
        assert scores["bleu_lc_tok"].value == expected
        assert "tok:given" in scores["bleu_lc_tok"].signature
        assert list(scores) == ["chrf", "ter", "bleu_lc_tok"]  # sacreBLEU is of raw text
        (differences,) = paired_bootstrap(
            tokens[0], [tokens[1]], tokens[1], target_lang=None, samples=2, tokenized=True
        )
        assert differences["bleu_lc_tok"].value == pytest.approx(100 - expected)


def test_the_order_of_sentences_changes_nothing() -> None:
    references = some_references()
    pairs = list(zip(damaged(references, 0.3), references, strict=True))
    scores = corpus_scores(*map(list, zip(*pairs, strict=True)), target_lang="de")
    random.Random(3).shuffle(pairs)
    shuffled = corpus_scores(*map(list, zip(*pairs, strict=True)), target_lang="de")
    assert {k: s.value for k, s in shuffled.items()} == pytest.approx({k: s.value for k, s in scores.items()})


def test_translations_of_other_sentences_score_less() -> None:
    references = some_references()
    hypotheses = damaged(references, 0.1)
    right = corpus_scores(hypotheses, references, target_lang="de")
    wrong = corpus_scores(hypotheses[1:] + hypotheses[:1], references, target_lang="de")
    for key in right:
        assert (right[key].value > wrong[key].value) == (key != "ter")


def test_without_a_language_the_papers_bleu_is_left_out() -> None:
    with_language = corpus_scores(some_references(), some_references(), target_lang="de")
    without = corpus_scores(some_references(), some_references(), target_lang=None)
    assert list(without) == ["bleu", "chrf", "ter"]
    assert all(without[key] == with_language[key] for key in without)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no Multi30K in {REAL} (set MMT_DATA)")
def test_tokenised_flickr_2016_has_the_published_number_of_words() -> None:
    with gzip.open(REAL / "raw" / "test_2016_flickr.de.gz", "rt", encoding="utf-8") as lines:
        sentences = [line.rstrip("\n") for line in lines]
    assert sum(len(line.split()) for line in tokenize_as_papers(sentences, "de")) == 12_103


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Ein Mann, z.B. ein Bäcker, backt.", "ein mann , z.b. ein bäcker , backt ."),
        ("Blau-weißes T-Shirt & „Hut“", 'blau-weißes t-shirt & " hut "'),
        ("2007…", "2007 ..."),
    ],
)
def test_the_papers_tokens(text: str, tokens: str) -> None:
    assert tokenize_as_papers([text], "de") == [tokens]


BAD: list[tuple[list[str], list[str], str]] = [
    (["a"] * 3, ["a"], "each of the 1 references, got 3"),
    (["a"], ["a"] * 3, "each of the 3 references, got 1"),
    ([], [], "got none"),
    (["a", "b"], ["a", " "], "number 2 is blank"),
]


@pytest.mark.parametrize(("hypotheses", "references", "said"), BAD)
@pytest.mark.parametrize(
    "score",
    [
        lambda h, r: corpus_scores(h, r, target_lang="de"),
        lambda h, r: paired_bootstrap(r, [r, h], r, target_lang="de"),
        word_accuracy,
    ],
    ids=["corpus_scores", "paired_bootstrap", "word_accuracy"],
)
def test_what_does_not_belong_together_is_not_scored(
    score: Callable[[list[str], list[str]], object], hypotheses: list[str], references: list[str], said: str
) -> None:
    with pytest.raises(MMTError, match=said.replace("references", r"\w+")):
        score(hypotheses, references)


@pytest.mark.parametrize("lang", ["xx", "dee", "tr", "uk"])
def test_an_unknown_language_is_not_tokenised_as_english(lang: str) -> None:
    scores, reasons = metrics_for(some_references(), target_lang=lang)
    assert list(scores) == ["bleu", "chrf", "ter"]
    assert reasons == {"bleu_lc_tok": f"Moses has no rules for '{lang}'"}
    with pytest.raises(MMTError, match="does not know it"):
        tokenize_as_papers(["a"], lang)


@pytest.mark.parametrize(
    ("hypothesis", "answer", "right"),
    [
        ("Sie sitzt auf der Bank.", "Bank", True),
        ("Sie sitzt auf der BANK.", "bank", True),
        ("Ein Bankräuber.", "Bank", False),
        ("Eine Parkbank.", "bank", False),
        ("Das Ufer", "Bank", False),
        ("", "Bank", False),
        ("Eine rote Kugel.", "rote Kugel", True),
        ("Eine Kugel, rote Farbe.", "rote Kugel", False),
        ("Ein T-Shirt", "t-shirt", True),
        ("Die Masse", "Maße", False),
        ("Die Ku\u0308che", "Küche", True),
    ],
)
def test_word_accuracy_wants_whole_words(hypothesis: str, answer: str, right: bool) -> None:
    assert word_accuracy([hypothesis], [answer]).value == 100 * right


def test_word_accuracy_is_a_share_with_a_signature() -> None:
    score = word_accuracy(["die Bank", "das Ufer", "die Bank", "x"], ["Bank", "Ufer", "Ufer", "Bank"])
    assert score.value == 50
    assert "n:4" in score.signature
    with pytest.raises(MMTError, match="expected a word"):
        word_accuracy(["a"], ["?!"])


@pytest.mark.parametrize(
    ("costs", "answer", "right"),
    [
        ([1.0, 2.0], 0, True),
        ([1.0, 2.0], 1, False),
        ([2.0, 2.0], 0, False),
        ([2.0, 2.0], 1, False),
        ([3.0, 2.0, 4.0], 1, True),
        ([math.nan, 2.0], 0, False),
        ([math.nan, 2.0], 1, False),
        ([math.inf, 2.0], 1, True),
    ],
)
def test_choice_accuracy_wants_the_cheapest_alone(costs: list[float], answer: int, right: bool) -> None:
    assert choice_accuracy([costs], [answer]).value == 100 * right


def test_a_text_only_scorer_gets_half_of_mirrored_choices() -> None:
    score = choice_accuracy([[1.0, 2.0], [1.0, 2.0], [5.0, 3.0], [5.0, 3.0]], [0, 1, 0, 1])
    assert score.value == 50
    assert "n:4" in score.signature


@pytest.mark.parametrize(
    ("costs", "answers"), [([], []), ([[1, 2]], []), ([[1, 2]], [2]), ([[1]], [0]), ([[1, 2]], [-1])]
)
def test_bad_choices_are_refused(costs: list[list[float]], answers: list[int]) -> None:
    with pytest.raises(MMTError, match="choices"):
        choice_accuracy(costs, answers)


def test_choice_accuracy_is_the_share_of_hits() -> None:
    costs, answers = [[1.0, 2.0], [2.0, 2.0], [5.0, 3.0], [1.0, 0.5, 2.0]], [0, 0, 1, 1]
    assert choice_hits(costs, answers) == [True, False, True, True]
    assert choice_accuracy(costs, answers).value == 75


def test_a_pair_is_right_if_both_its_items_are() -> None:
    hits = [True, True, True, False, False, True, False, False, True]
    score = pair_accuracy(hits, [(0, 1), (3, 2), (4, 5), (6, 7)])
    assert score.value == 25
    assert "n:4" in score.signature
    assert pair_accuracy([True, False] * 3, [(0, 1), (2, 3), (4, 5)]).value == 0
    with pytest.raises(MMTError, match="mirrored"):
        pair_accuracy(hits, [])


class Copied(TextMetric):
    """How many translations differ from their source, in percent."""

    name = "copied"

    def __init__(self, texts: Texts) -> None:
        if texts.sources is None:
            raise NotApplicableError("no sources are given")
        self._sources = texts.sources

    def score(self, hypotheses: Sequence[str]) -> float:
        return 100 * sum(map(str.__ne__, hypotheses, self._sources)) / len(self._sources)

    def signature(self, **more: int) -> str:
        return "|".join(["copied", *(f"{key}:{value}" for key, value in more.items())])

    def paired_bootstrap(
        self, systems: Sequence[Sequence[str]], samples: int, seed: int
    ) -> tuple[list[tuple[float, float | None]], str]:
        first, *others = map(self.score, systems)
        return [(other - first, 0.5) for other in others], self.signature(bs=samples, seed=seed)


def test_a_new_metric_is_a_class_and_a_row_and_may_compare_with_the_source(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(METRICS, "copied", Copied)
    sources = [f"cafe\u0301 {n}" for n in range(40)]
    references, copies = some_references()[:40], [f"café {n}" for n in range(40)]
    score = corpus_scores(copies, references, target_lang="de", sources=sources)["copied"]
    assert (score.value, score.signature) == (0, "copied")
    assert metrics_for(references, target_lang="de")[1] == {"copied": "no sources are given"}
    [found] = paired_bootstrap(
        copies, [references], references, target_lang="de", sources=sources, samples=10, only=["copied"]
    )
    assert found["copied"] == Difference(100, 0.5, "copied|bs:10|seed:12345")


def test_work_that_scores_nothing_loads_no_scorer() -> None:
    modules = "mmt.cli.translate, mmt.inference.torch_runtime, mmt.features.extract"
    code = f"import sys, {modules}; sys.exit(any(m in sys.modules for m in ('sacrebleu', 'sacremoses')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
