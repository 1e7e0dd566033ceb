"""Metrics of translations, each with the signature that says how its score was computed.

A new metric is one class here and its row in ``METRICS``.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import sacremoses
from sacrebleu import utils as sacrebleu_utils
from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER
from sacrebleu.significance import PairedTest, Result
from sacrebleu.tokenizers.tokenizer_spm import SPM_MODELS
from sacremoses.corpus import NonbreakingPrefixes

from mmt.errors import MMTError, nearest
from mmt.io.normalization import NORM, normalize
from mmt.metrics.languages import UNSPACED, is_unspaced, primary_language
from mmt.metrics.moses import unescape
from mmt.metrics.scores import Score, check_parallel

PAPERS_BLEU = "BLEU-lc-tok (papers' variant, not sacreBLEU)"


def metrics_for(
    references: Sequence[str],
    *,
    target_lang: str | None,
    sources: Sequence[str] | None = None,
    tokenized: bool = False,
    only: Collection[str] | None = None,
) -> tuple[dict[str, TextMetric], dict[str, str]]:
    """The metrics that are meaningful for a text: those by which the references themselves are perfect.

    Args:
        references: raw text.
        target_lang: its language, ``de`` or ``pt-BR``; None leaves out the metrics that need it.
        sources: raw text, for metrics that compare with the source as well; None leaves those out.
        tokenized: the text is Moses-tokenised; it is not tokenised again.
        only: keys of ``METRICS``; None for all.
    Returns:
        The metrics by their key in ``METRICS``, and the reasons why the others are left out.
    Raises:
        MMTError: not a language code.
    """
    texts = Texts(
        normalized(references),
        primary_language(target_lang) if target_lang else None,
        None if sources is None else normalized(sources),
        tokenized,
    )
    metrics: dict[str, TextMetric] = {}
    omitted: dict[str, str] = {}
    for key in METRICS if only is None else only:
        try:
            metrics[key] = METRICS[key](texts)
        except NotApplicableError as reason:
            omitted[key] = str(reason)
    return metrics, omitted


def leading_metric(references: Sequence[str], target_lang: str) -> tuple[str, TextMetric]:
    """BLEU, for a table with room for one score, or chrF2 where BLEU is meaningless; with its key."""
    return next(iter(metrics_for(references, target_lang=target_lang, only=("bleu", "chrf"))[0].items()))


def corpus_scores(
    hypotheses: Sequence[str],
    references: Sequence[str],
    *,
    target_lang: str | None,
    sources: Sequence[str] | None = None,
    tokenized: bool = False,
    only: Collection[str] | None = None,
) -> dict[str, Score]:
    """Scores one system's translations.

    Both sides are normalised first (``mmt.io.normalization``), and every signature says so: it ends in
    ``norm:nfc``. Moses' escapes (``&apos;``) are undone. Where that changes no line except in its white space, the
    scores are sacrebleu's own.

    Args:
        hypotheses: raw text, one translation per sentence; "" is a translation (a bad one).
        references: raw text, one per sentence, in the same order.
        target_lang, sources, tokenized, only: as in ``metrics_for``.
    Returns:
        ``bleu``, ``chrf`` and ``ter`` by sacrebleu, and ``bleu_lc_tok``, the papers' variant: BLEU on lowercased,
        normalised and Moses-tokenised text (see ``tokenize_as_papers``); without those that are meaningless for
        this text (``metrics_for`` gives the reasons).
    Raises:
        MMTError: the lengths differ, there is nothing to score, a reference is blank, or no language code.
    """
    check_parallel(hypotheses, references)
    metrics, _ = metrics_for(references, target_lang=target_lang, sources=sources, tokenized=tokenized, only=only)
    hypotheses = normalized(hypotheses)
    return {key: Score(one.name, one.score(hypotheses), one.signature()) for key, one in metrics.items()}


def normalized(lines: Sequence[str]) -> list[str]:
    """The lines as they are compared: see ``mmt.io.normalization``; without Moses' escapes."""
    return [normalize(unescape(line)) for line in lines]


def tokenize_as_papers(sentences: Sequence[str], lang: str) -> list[str]:
    """Lowercases, normalises punctuation and tokenises, in the order of Multi30K's ``task1-tokenize.sh``.

    With sacremoses in place of the Moses scripts; ``&``, quotes and brackets are not escaped, which changes no
    word count. The German test_2016_flickr has 12,103 words then, as published (12,102 if not lowercased first).

    Raises:
        MMTError: sacremoses does not know the language (it would take English rules and not say so).
    """
    known = moses_languages()
    if lang not in known:
        raise MMTError(
            f"target language '{lang}': the Moses tokenizer does not know it; it knows {', '.join(known)}."
            f"{nearest(lang, known)}"
        )
    normalizer, tokenizer = sacremoses.MosesPunctNormalizer(lang), sacremoses.MosesTokenizer(lang)
    return [
        tokenizer.tokenize(normalizer.normalize(sentence.lower()), return_str=True, escape=False)
        for sentence in sentences
    ]


def moses_languages() -> list[str]:
    """The languages for which sacremoses has rules."""
    return sorted(set(NonbreakingPrefixes().available_langs.values()))


# --- metrics ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Texts:
    """What a metric compares translations with: normalised lines, one per sentence.

    lang: the primary language of the references, such as ``de``; None if unknown.
    sources: None if unknown.
    tokenized: the text is Moses-tokenised.
    """

    references: list[str]
    lang: str | None = None
    sources: list[str] | None = None
    tokenized: bool = False


class NotApplicableError(ValueError):
    """A metric is meaningless for a text; the message says why, for a user."""


class TextMetric(ABC):
    """A metric of translations of one text."""

    name: ClassVar[str]

    @abstractmethod
    def __init__(self, texts: Texts) -> None:
        """Raises NotApplicableError where the metric is meaningless."""

    @abstractmethod
    def score(self, hypotheses: Sequence[str]) -> float:
        """The score of normalised translations (``normalized``), one per sentence."""

    @abstractmethod
    def signature(self, **more: int) -> str:
        """How the score is computed; ``more`` settings, such as ``seed``, are part of it."""

    @abstractmethod
    def paired_bootstrap(
        self, systems: Sequence[Sequence[str]], samples: int, seed: int
    ) -> tuple[list[tuple[float, float | None]], str]:
        """Compares systems with the first of them by paired bootstrap resampling.

        Args:
            systems: normalised translations, one per sentence.
        Returns:
            For each system but the first: its score minus the first one's, and the p value; and the signature.
        """


class SacrebleuMetric(TextMetric):
    """A metric of sacrebleu's: ``metric`` counts what ``prepare`` makes of normalised lines.

    tok: for the signature, how ``prepare`` tokenises; sacrebleu's own cannot say it. note: the signature's end.
    """

    metric: Metric
    tok = ""
    note = NORM

    def __init__(self, texts: Texts, metric: Metric) -> None:
        self.references, self.metric = texts.references, metric
        if texts.tokenized:
            self.note = f"{NORM}|text:tokenized"

    def prepare(self, lines: Sequence[str]) -> list[str]:
        return list(lines)

    def score(self, hypotheses: Sequence[str]) -> float:
        references = [self.prepare(self.references)]
        return float(self.metric.corpus_score(self.prepare(hypotheses), references).score)

    def signature(self, **more: int) -> str:
        signature = self.metric.get_signature()
        for key, value in (({"tok": self.tok} if self.tok else {}) | more).items():
            signature.update(key, value)
        return f"{signature}|{self.note}"

    def paired_bootstrap(
        self, systems: Sequence[Sequence[str]], samples: int, seed: int
    ) -> tuple[list[tuple[float, float | None]], str]:
        named: list[tuple[str, Sequence[str]]] = [
            (str(number), self.prepare(lines)) for number, lines in enumerate(systems)
        ]
        references = [self.prepare(self.references)]
        with _sacrebleu_seed(seed):
            signatures, results = PairedTest(named, {"": self.metric}, references, "bs", samples)()
        ((name, signature),) = signatures.items()
        first, *others = [result for result in results[name] if isinstance(result, Result)]
        whole = self.signature(bs=samples, seed=seed) if self.tok else f"{signature}|{self.note}"
        return [(other.score - first.score, other.p_value) for other in others], whole


@contextmanager
def _sacrebleu_seed(seed: int) -> Iterator[None]:
    """PairedTest takes its seed from the environment and from nowhere else."""
    before = os.environ.get("SACREBLEU_SEED")
    os.environ["SACREBLEU_SEED"] = str(seed)
    try:
        yield
    finally:
        if before is None:
            del os.environ["SACREBLEU_SEED"]
        else:
            os.environ["SACREBLEU_SEED"] = before


class Bleu(SacrebleuMetric):
    """sacreBLEU, with the tokenizer that it has for the language."""

    name = "BLEU"

    def __init__(self, texts: Texts) -> None:
        if texts.tokenized:
            raise NotApplicableError("the text is tokenised; sacreBLEU is defined on raw text")
        tokenize = {"zh": "zh", "ja": "ja-mecab", "ko": "ko-mecab"}.get(texts.lang or "", "13a")
        if texts.lang in UNSPACED and tokenize == "13a":
            tokenize = "flores200"
            model = Path(SPM_MODELS["flores200"]["url"]).name
            if not Path(sacrebleu_utils.SACREBLEU_DIR, "models", model).is_file():
                raise NotApplicableError(
                    f"'{texts.lang}' has no spaces between words, and sacreBLEU's tokenizer flores200 is not on "
                    "this machine; download it once: sacrebleu --tokenize flores200"
                )
        elif tokenize == "13a" and is_unspaced(texts.references):
            raise NotApplicableError(
                "the references have no spaces between words, and the language is not given as one of those"
            )
        try:
            super().__init__(texts, BLEU(tokenize=tokenize, force=True))
        except RuntimeError:
            raise NotApplicableError(
                f"sacreBLEU's tokenizer {tokenize} is not installed; pip install 'sacrebleu[{texts.lang}]'"
            ) from None
        _check_four_tokens(self)


class ChrF(SacrebleuMetric):
    """chrF2, lowercased where the text is tokenised."""

    name = "chrF2"

    def __init__(self, texts: Texts) -> None:
        super().__init__(texts, CHRF(lowercase=texts.tokenized))


class Ter(SacrebleuMetric):
    """TER; of Chinese and Japanese character by character, as tercom does it."""

    name = "TER"

    def __init__(self, texts: Texts) -> None:
        by_character = texts.lang in ("zh", "ja") and not texts.tokenized
        if not texts.tokenized and not by_character:
            if texts.lang in UNSPACED:
                raise NotApplicableError(f"'{texts.lang}' has no spaces between words")
            if texts.lang != "ko" and is_unspaced(texts.references):
                raise NotApplicableError("the references have no spaces between words")
        super().__init__(texts, TER(normalized=by_character, asian_support=by_character))


class PapersBleu(SacrebleuMetric):
    """BLEU as papers on Multi30K compute it, on lowercased Moses tokens: see ``tokenize_as_papers``."""

    name = PAPERS_BLEU

    def __init__(self, texts: Texts) -> None:
        super().__init__(texts, BLEU(tokenize="none", lowercase=True, force=True))
        self._lang = None if texts.tokenized else texts.lang
        if texts.tokenized:
            self.tok, self.note = "given", NORM
        elif texts.lang is None:
            raise NotApplicableError("no language is given (--lang)")
        elif texts.lang in UNSPACED or is_unspaced(texts.references):
            raise NotApplicableError("Moses cannot split text that has no spaces between words")
        elif texts.lang not in moses_languages():
            raise NotApplicableError(f"Moses has no rules for '{texts.lang}'")
        else:
            self.tok = f"sacremoses-{sacremoses.__version__}-{texts.lang}-normpunct"
        _check_four_tokens(self)

    def prepare(self, lines: Sequence[str]) -> list[str]:
        return list(lines) if self._lang is None else tokenize_as_papers(lines, self._lang)


def _check_four_tokens(bleu: SacrebleuMetric) -> None:
    """BLEU counts sequences of four tokens. Where the references have none, it is 0 for any translation."""
    lines = bleu.prepare(bleu.references)
    if not bleu.metric.corpus_score(lines, [lines]).totals[-1]:
        raise NotApplicableError("no reference has the four tokens that BLEU needs")


METRICS: dict[str, type[TextMetric]] = {"bleu": Bleu, "chrf": ChrF, "ter": Ter, "bleu_lc_tok": PapersBleu}
"""The metrics by their key in results."""
