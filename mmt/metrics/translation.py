"""Scores of translations, each with the signature that says how it was made.

Heavy imports stay inside the functions, so that ``mmt --help`` does not wait for them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmt.errors import MMTError, nearest
from mmt.io.normalization import NORM, is_blank, normalize
from mmt.metrics.languages import UNSPACED, is_unspaced, primary_language
from mmt.metrics.moses import unescape

if TYPE_CHECKING:
    from sacrebleu.metrics.base import Metric

PAPERS_BLEU = "BLEU-lc-tok (papers' variant, not sacreBLEU)"


@dataclass(frozen=True)
class Score:
    """One score, 0 to 100 (TER may pass 100), with the signature that has to travel with it."""

    name: str
    value: float
    signature: str


@dataclass(frozen=True)
class TextMetric:
    """A metric of translations, ready for one language.

    ``prepare`` makes what ``metric`` counts of normalised lines; ``tok`` says how, where sacrebleu's signature
    cannot; ``note`` goes to its end.
    """

    name: str
    metric: Metric
    prepare: Callable[[Sequence[str]], Sequence[str]] = list
    tok: str = ""
    note: str = NORM

    def score(self, hypotheses: Sequence[str], references: Sequence[str]) -> float:
        """Of raw text, one reference a hypothesis."""
        lines, others = (list(self.prepare(normalized(side))) for side in (hypotheses, references))
        return float(self.metric.corpus_score(lines, [others]).score)

    def signature(self, **more: int) -> str:
        """sacrebleu's signature, with ``more`` and the note."""
        signature = self.metric.get_signature()
        for key, value in (({"tok": self.tok} if self.tok else {}) | more).items():
            signature.update(key, value)
        return f"{signature}|{self.note}"


def metrics_for(
    references: Sequence[str],
    *,
    target_lang: str | None,
    tokenized: bool = False,
    only: Collection[str] | None = None,
) -> tuple[dict[str, TextMetric], dict[str, str]]:
    """The metrics that mean something in a language: those by which the references themselves are perfect.

    Args:
        references: raw text.
        target_lang: its language, ``de`` or ``pt-BR``; None leaves out what needs it.
        tokenized: the text is Moses-tokenised; it is not tokenised again.
        only: keys of ``METRICS``; None for all.
    Returns:
        The metrics by their key in ``METRICS``, and why the others are left out.
    Raises:
        MMTError: no code of a language.
    """
    given = _Given(normalized(references), primary_language(target_lang) if target_lang else None, tokenized)
    metrics: dict[str, TextMetric] = {}
    omitted: dict[str, str] = {}
    for key in METRICS if only is None else only:
        made = METRICS[key](given)
        if isinstance(made, str):
            omitted[key] = made
        else:
            metrics[key] = made
    return metrics, omitted


def leading_metric(references: Sequence[str], target_lang: str) -> tuple[str, TextMetric]:
    """BLEU, for a table with room for one score, or chrF2 where BLEU means nothing; with its key."""
    return next(iter(metrics_for(references, target_lang=target_lang, only=("bleu", "chrf"))[0].items()))


def corpus_scores(
    hypotheses: Sequence[str],
    references: Sequence[str],
    *,
    target_lang: str | None,
    tokenized: bool = False,
    only: Collection[str] | None = None,
) -> dict[str, Score]:
    """Scores one system's translations.

    Both sides are normalised first (``mmt.io.normalization``), and every signature says so: ``norm:nfc``, after
    what
    sacrebleu says; Moses' escapes (``&apos;``) are undone. Where that changes no line but in its white space, the
    scores are sacrebleu's own.

    Args:
        hypotheses: raw text, one translation a sentence; "" is a translation (a bad one).
        references: raw text, the reference of each, in the same order.
        target_lang, tokenized, only: as in ``metrics_for``.
    Returns:
        ``bleu``, ``chrf`` and ``ter`` by sacrebleu, and ``bleu_lc_tok``, the papers' variant: BLEU on lowercased,
        normalised and Moses-tokenised text (see ``tokenize_as_papers``); without those that mean nothing in this
        language (``metrics_for`` says why).
    Raises:
        MMTError: the lengths differ, there is nothing to score, a reference is blank, or no code of a language.
    """
    check_parallel(hypotheses, references)
    hypotheses, references = normalized(hypotheses), normalized(references)
    scores = {}
    for key, text in metrics_for(references, target_lang=target_lang, tokenized=tokenized, only=only)[0].items():
        result = text.metric.corpus_score(text.prepare(hypotheses), [text.prepare(references)])
        scores[key] = Score(text.name, result.score, text.signature())
    return scores


def normalized(lines: Sequence[str]) -> list[str]:
    """The lines as they are compared: see ``mmt.io.normalization``; and without Moses' escapes."""
    return [normalize(unescape(line)) for line in lines]


def tokenize_as_papers(sentences: Sequence[str], lang: str) -> list[str]:
    """Lowercases, normalises punctuation and tokenises, in the order of Multi30K's ``task1-tokenize.sh``.

    With sacremoses in place of the Moses scripts; ``&``, quotes and brackets are not escaped, which changes no
    word count. The German test_2016_flickr has 12,103 words then, as published (12,102 if not lowercased first).

    Raises:
        MMTError: sacremoses does not know the language (it would take English rules and not say so).
    """
    from sacremoses import MosesPunctNormalizer, MosesTokenizer

    known = _moses_languages()
    if lang not in known:
        raise MMTError(
            f"target language '{lang}': the Moses tokenizer does not know it; it knows {', '.join(known)}."
            f"{nearest(lang, known)}"
        )
    normalizer, tokenizer = MosesPunctNormalizer(lang), MosesTokenizer(lang)
    return [
        tokenizer.tokenize(normalizer.normalize(sentence.lower()), return_str=True, escape=False)
        for sentence in sentences
    ]


def word_accuracy(hypotheses: Sequence[str], answers: Sequence[str]) -> Score:
    r"""How many translations have the word that they should have.

    Args:
        hypotheses: the translations.
        answers: for each, the word (or several, that must stand together) whose presence makes it right; whole
            words, in upper or lower case: "Bank" is in "Die Bank." and not in "Die Bankräuber".
    Returns:
        The share in percent; words are ``\w+``.
    Raises:
        MMTError: the lengths differ, there is nothing to score, or an answer has no word.
    """
    hits = word_hits(hypotheses, answers)
    return Score("word accuracy", 100 * sum(hits) / len(hits), rf"n:{len(hits)}|case:lc|tok:\w+|{NORM}")


def word_hits(hypotheses: Sequence[str], answers: Sequence[str]) -> list[bool]:
    """Whether each translation has its answer in it; see ``word_accuracy``."""
    check_parallel(hypotheses, answers, "answers")
    hits = []
    for number, (hypothesis, answer) in enumerate(zip(hypotheses, answers, strict=True), 1):
        words, wanted = _words(hypothesis), _words(answer)
        if not wanted:
            raise MMTError(f"answer {number}: expected a word, but is {answer!r}.")
        hits.append(any(words[i : i + len(wanted)] == wanted for i in range(len(words))))
    return hits


def choice_accuracy(costs: Sequence[Sequence[float]], answers: Sequence[int]) -> Score:
    """How often a model that scores several candidates finds the right one cheapest.

    Args:
        costs: for each item, the cost (perplexity, negative log-probability) of each candidate.
        answers: for each item, the position of the right candidate.
    Returns:
        The share in percent. A tie is wrong, as in CoMMuTE (Futeral et al. 2023,
        https://aclanthology.org/2023.acl-long.295), so that a model that cannot tell gets nothing; so is a cost
        that is not a number.
    Raises:
        MMTError: the lengths differ, there is nothing to score, or an answer is no candidate of its item.
    """
    hits = choice_hits(costs, answers)
    if not hits:
        raise MMTError("choices: expected items to score, got none.")
    return Score("choice accuracy", 100 * sum(hits) / len(hits), f"n:{len(hits)}|ties:wrong")


def choice_hits(costs: Sequence[Sequence[float]], answers: Sequence[int]) -> list[bool]:
    """Whether the right candidate is the cheapest, for each item; see ``choice_accuracy``, the share of them."""
    if len(costs) != len(answers):
        raise MMTError(f"choices: expected as many items as answers, got {len(costs)} and {len(answers)}.")
    hits = []
    for number, (item, answer) in enumerate(zip(costs, answers, strict=True), 1):
        if not 0 <= answer < len(item) or len(item) < 2:
            raise MMTError(
                f"choices: item {number} has {len(item)} candidates, but its answer is number {answer}."
            )
        hits.append(all(item[answer] < cost for i, cost in enumerate(item) if i != answer))
    return hits


def pair_accuracy(hits: Sequence[bool], pairs: Sequence[tuple[int, int]]) -> Score:
    """How often both items of a pair are right: two mirrored items, one's answer the other's wrong candidate.

    By chance 25 %, and 0 for a model that does not see what tells the two apart.

    Args:
        hits: of each item.
        pairs: positions in ``hits``; items in no pair are left out.
    Raises:
        MMTError: there is no pair.
    """
    if not pairs:
        raise MMTError("pairs: expected mirrored items, got none.")
    right = sum(hits[one] and hits[other] for one, other in pairs)
    return Score("pair accuracy", 100 * right / len(pairs), f"n:{len(pairs)}|ties:wrong")


_TOKENIZED = f"{NORM}|text:tokenized"


@dataclass(frozen=True)
class _Given:
    """What a metric may depend on: normalised references, the primary language, whether the text is tokenised."""

    references: list[str]
    lang: str | None
    tokenized: bool


def _bleu(given: _Given) -> TextMetric | str:
    from sacrebleu.metrics.bleu import BLEU

    if given.tokenized:
        return "the text is tokenised; sacreBLEU is defined on raw text"
    tokenize = {"zh": "zh", "ja": "ja-mecab", "ko": "ko-mecab"}.get(given.lang or "", "13a")
    if given.lang in UNSPACED and tokenize == "13a":
        tokenize = "flores200"
        if not _has_flores200():
            return (
                f"'{given.lang}' has no spaces between words, and sacreBLEU's tokenizer flores200 is not on this "
                "machine; download it once: sacrebleu --tokenize flores200"
            )
    elif tokenize == "13a" and is_unspaced(given.references):
        return "the references have no spaces between words, and the language is not given as one of those"
    try:
        made = TextMetric("BLEU", BLEU(tokenize=tokenize, force=True))
    except RuntimeError:
        return f"sacreBLEU's tokenizer {tokenize} is not installed; pip install 'sacrebleu[{given.lang}]'"
    return _with_four_tokens(made, given.references)


def _chrf(given: _Given) -> TextMetric:
    from sacrebleu.metrics.chrf import CHRF

    return (
        TextMetric("chrF2", CHRF(lowercase=True), note=_TOKENIZED)
        if given.tokenized
        else TextMetric("chrF2", CHRF())
    )


def _ter(given: _Given) -> TextMetric | str:
    from sacrebleu.metrics.ter import TER

    if given.tokenized:
        return TextMetric("TER", TER(), note=_TOKENIZED)
    if given.lang in ("zh", "ja"):  # character by character, as tercom does it
        return TextMetric("TER", TER(normalized=True, asian_support=True))
    if given.lang in UNSPACED:
        return f"'{given.lang}' has no spaces between words"
    if given.lang != "ko" and is_unspaced(given.references):
        return "the references have no spaces between words"
    return TextMetric("TER", TER())


def _papers_bleu(given: _Given) -> TextMetric | str:
    import sacremoses
    from sacrebleu.metrics.bleu import BLEU

    metric, lang = BLEU(tokenize="none", lowercase=True, force=True), given.lang
    if given.tokenized:
        return _with_four_tokens(TextMetric(PAPERS_BLEU, metric, tok="given"), given.references)
    if lang is None:
        return "no language is given (--lang)"
    if lang in UNSPACED or is_unspaced(given.references):
        return "Moses cannot split text that has no spaces between words"
    if lang not in _moses_languages():
        return f"Moses has no rules for '{lang}'"

    def tokenize(lines: Sequence[str]) -> list[str]:
        return tokenize_as_papers(lines, lang)

    tok = f"sacremoses-{sacremoses.__version__}-{lang}-normpunct"
    return _with_four_tokens(TextMetric(PAPERS_BLEU, metric, tokenize, tok), given.references)


METRICS: dict[str, Callable[[_Given], TextMetric | str]] = {
    "bleu": _bleu,
    "chrf": _chrf,
    "ter": _ter,
    "bleu_lc_tok": _papers_bleu,
}
"""By key, what makes the metric for a text, or says why it means nothing there."""


def _with_four_tokens(text: TextMetric, references: Sequence[str]) -> TextMetric | str:
    """BLEU counts sequences of four tokens. Where the references have none, it is 0, whatever is translated."""
    lines = text.prepare(references)
    total: int = text.metric.corpus_score(lines, [lines]).totals[-1]
    return text if total else "no reference has the four tokens that BLEU needs"


def _has_flores200() -> bool:
    from sacrebleu.tokenizers.tokenizer_spm import SPM_MODELS
    from sacrebleu.utils import SACREBLEU_DIR

    return (Path(SACREBLEU_DIR) / "models" / Path(SPM_MODELS["flores200"]["url"]).name).is_file()


def _moses_languages() -> list[str]:
    from sacremoses.corpus import NonbreakingPrefixes

    return sorted(set(NonbreakingPrefixes().available_langs.values()))


def check_parallel(hypotheses: Sequence[str], references: Sequence[str], noun: str = "references") -> None:
    """sacrebleu would score three hypotheses against one reference, and not say so."""
    if len(hypotheses) != len(references):
        raise MMTError(
            f"expected one hypothesis for each of the {len(references):,} {noun}, got {len(hypotheses):,}."
        )
    if not references:
        raise MMTError(f"expected hypotheses and {noun}, got none.")
    blank = next((number for number, text in enumerate(references, 1) if is_blank(text)), 0)
    if blank:
        raise MMTError(f"{noun}: number {blank} is blank: there is nothing to compare with.")


def _words(text: str) -> list[str]:
    # Normalised, because \w does not match the separate accent of a decomposed letter.
    return re.findall(r"\w+", normalize(text).lower())
