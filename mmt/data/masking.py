"""Masking probes: words are taken from the source, so that only the image can tell what they were.

Caglayan et al. (2019), https://aclanthology.org/N19-1422; Li et al. (2022), https://aclanthology.org/2022.acl-long.438.
A model is trained and tested on sentences masked alike. A masked word is one symbol, which the tokenizer keeps
whole, so that the number of its pieces says nothing about the word. Colours and characters are then looked for in
the translation, by the forms of ``mmt.metrics.inflections``.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from mmt.errors import MMTError
from mmt.io.normalization import canonical, normalize
from mmt.metrics.inflections import LANGUAGES, translations

if TYPE_CHECKING:
    from mmt.data.tokenizer import Tokenizer

COLOURS = (
    "black", "white", "red", "blue", "green", "yellow", "orange", "brown", "pink", "purple", "gray", "grey", "tan",
    "gold", "silver", "beige", "violet",
)  # fmt: skip
CHARACTERS = ("man", "woman", "boy", "girl", "people", "men")

SYMBOLS = {"colour": "[MASK_C]", "character": "[MASK_P]", "noun": "[MASK_N]", "progressive": "[MASK]"}
"""What stands in the place of a masked word, by the kind of probe."""

# A word (group 1) and what hyphens and apostrophes join to it: in "a red-haired girl" no colour is masked. The 's
# of a genitive is not part of it: "the man's hat" names a man.
_WORD = re.compile(r"(\w+(?:[-\u2010\u2011'’]\w+)*?)(?:['’][sS])?(?![-\u2010\u2011'’]?\w)")

SCORED = {"colour": COLOURS, "character": CHARACTERS}
"""The kinds of probe whose words have known translations; of the others BLEU must tell."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Which words are masked.

    kind: a key of ``SYMBOLS``.
    k: ``noun``: mask up to k nouns, which ones ``seed`` decides; ``progressive``: keep the first k words.
    """

    kind: str
    k: int = 0
    seed: int = 1

    def __post_init__(self) -> None:
        if self.kind not in SYMBOLS:
            raise MMTError(f"probe: expected one of {', '.join(SYMBOLS)}, found '{self.kind}'.")
        if self.kind == "noun" and self.k < 1:
            raise MMTError(f"probe 'noun': expected k, the most nouns to mask, of at least 1, found {self.k}.")
        if self.k < 0:
            raise MMTError(f"probe '{self.kind}': expected k of at least 0, found {self.k}.")

    def __str__(self) -> str:
        details = {"noun": f" k {self.k}, seed {self.seed}", "progressive": f" k {self.k}"}
        return f"probe '{self.kind}'{details.get(self.kind, '')}"

    @property
    def symbol(self) -> str:
        return SYMBOLS[self.kind]

    def mask(self, sentence: str, name: str = "") -> tuple[str, list[str]]:
        """Masks one source sentence (English).

        Args:
            name: the sentence's id, by which ``seed`` chooses among its nouns.
        Returns:
            The masked sentence, and the masked words as they stood, in order; both ``canonical``.
        """
        sentence = canonical(sentence)
        words = list(_WORD.finditer(sentence))
        chosen = sorted(self._chosen([word[1] for word in words], name))
        group = 0 if self.kind == "progressive" else 1  # of a sentence cut short no 's is left either
        masked = sentence
        for number in reversed(chosen):
            first, last = words[number].span(group)
            masked = masked[:first] + self.symbol + masked[last:]
        return masked, [words[number][group] for number in chosen]

    def _chosen(self, words: Sequence[str], name: str) -> list[int]:
        if self.kind == "progressive":
            return list(range(self.k, len(words)))
        if self.kind == "noun":
            nouns = [number for number, is_noun in enumerate(_nouns(words)) if is_noun]
            return random.Random(f"{self.seed} {name}").sample(nouns, min(self.k, len(nouns)))
        return [number for number, word in enumerate(words) if word.lower() in SCORED[self.kind]]

    def to_dict(self) -> dict[str, Any]:
        """What a masked dataset says of itself, in ``dataset.json``."""
        return {"kind": self.kind, "symbol": self.symbol, "k": self.k, "seed": self.seed}


def read_probe(raw: Mapping[str, Any], name: str) -> Probe:
    """The probe of a masked dataset, from what its ``dataset.json`` says (``DatasetInfo.probe``).

    Raises:
        MMTError: the dataset called ``name`` is not masked.
    """
    if not raw:
        raise MMTError(
            f"{name}: expected a masked dataset, found a plain one. Mask it: python -m data_prep.probes."
        )
    return Probe(raw["kind"], raw["k"], raw["seed"])


def check_masked_alike(
    tokenizer: Tokenizer, training: Mapping[str, Any], probe: Probe, model_name: object
) -> None:
    """Raises MMTError unless a model was trained on data masked as the data that it is now to be judged on.

    Args:
        tokenizer: the model's; one trained on masked text keeps the probe's symbol whole.
        training: of the model's card, whose ``probe`` is the training data's, and that of data learnt ``beside``.
    """
    pieces = tokenizer.encode(probe.symbol)
    if tokenizer.decode(pieces[-1:]) != probe.symbol:  # before it there is at most the sign of a word's start
        raise MMTError(
            f"{model_name}: expected a model trained on data masked with {probe.symbol} (probe '{probe.kind}'), "
            f"found one whose tokenizer breaks that into {len(pieces)} pieces. Train one on such data."
        )
    beside = [one["probe"] for one in training.get("beside", ()) if one["task"] == "translation"]
    trained = training.get("probe") or (beside[0] if beside else {}) or probe.to_dict()
    if probe.to_dict() not in (trained, *beside):
        raise MMTError(
            f"{model_name}: expected a model trained on data masked alike ({probe}), found one trained on "
            f"{read_probe(trained, 'its data')}. Train one on such data, or name the dataset of its own probe."
        )


class Hits(NamedTuple):
    """Of one sentence: the items, and how many the translation has, in the reference's form and in any."""

    items: int
    restricted: int
    relaxed: int


@dataclass(frozen=True, slots=True)
class ProbeScore:
    """How many of the masked words a system's translations restore.

    restricted, relaxed: the share of ``items`` whose translation is in the hypothesis, from 0 to 1: in the
        reference's form, or in any form that translates the word.
    items: masked words whose translation is in the reference.
    without_gold: those whose translation is not, which are left out.
    hits: of each sentence, those without an item among them.
    """

    restricted: float
    relaxed: float
    items: int
    without_gold: int
    hits: tuple[Hits, ...]


def probe_accuracy(
    masked: Sequence[Sequence[str]], references: Sequence[str], hypotheses: Sequence[str], kind: str, lang: str
) -> ProbeScore:
    """Counts the masked words that a system's translations restore.

    Each word uses up one token of the hypothesis: for two men, "Männer" twice is wanted.

    Args:
        masked: of each sentence its masked words, in order; empty for a sentence that keeps all.
        references: raw text, of each sentence.
        hypotheses: raw text, of each sentence.
        kind: what was masked, a key of ``SCORED``.
        lang: the target language, one of ``mmt.metrics.inflections.LANGUAGES``.
    Raises:
        MMTError: the lengths differ, no reference translates a masked word, the words of this kind or the language
            have no known translations.
    """
    if not len(masked) == len(references) == len(hypotheses):
        raise MMTError(
            f"probe: expected as many references and hypotheses as sentences ({len(masked):,}), got "
            f"{len(references):,} and {len(hypotheses):,}."
        )
    if not can_be_scored(kind, lang):
        raise MMTError(
            f"probe '{kind}': expected {' or '.join(SCORED)}, whose words have known translations, into "
            f"{' or '.join(LANGUAGES)}, found '{lang}'. For others compare BLEU: python -m eval.probes does."
        )
    without_gold, hits = 0, []
    for words, reference, hypothesis in zip(masked, references, hypotheses, strict=True):
        found = zip(words, gold_items(words, reference, lang), strict=True)
        gold = [(word.lower(), form) for word, form in found if form is not None]
        without_gold += len(words) - len(gold)
        tokens = _tokens(hypothesis)
        restricted = _matched([{form} for _, form in gold], tokens)
        relaxed = _matched([translations(lang)[word] for word, _ in gold], tokens)
        hits.append(Hits(len(gold), _count(restricted), _count(relaxed)))
    items = sum(hit.items for hit in hits)
    if not items:
        raise MMTError(
            f"probe '{kind}': no reference has a translation of a masked word in it. Is it '{lang}' text?"
        )
    shares = (sum(hit.restricted for hit in hits) / items, sum(hit.relaxed for hit in hits) / items)
    return ProbeScore(*shares, items, without_gold, tuple(hits))


def can_be_scored(kind: str, lang: str) -> bool:
    """Whether the masked words can be looked for in the translation."""
    return kind in SCORED and lang in LANGUAGES


def check_scorable(
    masked: Sequence[Sequence[str]], references: Sequence[str], kind: str, lang: str, name: str
) -> tuple[int, int] | None:
    """Counts the masked words, and those whose translation is in the reference, before anything takes long.

    Args:
        masked, references, kind, lang: as in ``probe_accuracy``.
        name: whose sentences these are.
    Returns:
        Both numbers; None for a kind or a language in which whole sentences are scored.
    Raises:
        MMTError: no reference translates a masked word.
    """
    if not can_be_scored(kind, lang):
        return None
    gold = [form for words, text in zip(masked, references, strict=True) for form in gold_items(words, text, lang)]
    found = sum(form is not None for form in gold)
    if gold and not found:
        lower = lang == "de" and kind == "character" and not any(map(_has_capital, references))
        reason = (
            "German nouns are looked for with their capital (der Junge, but die junge Frau), and this text is in "
            "lower case. Mask the text in its own case"
            if lower
            else f"Is it '{lang}' text"
        )
        raise MMTError(
            f"{name}: probe '{kind}': no reference has the translation of one of the {len(gold):,} masked words. "
            f"{reason}{'.' if lower else '?'}"
        )
    return len(gold), found


def _has_capital(line: str) -> bool:
    return line != line.lower()


def gold_items(words: Sequence[str], reference: str, lang: str) -> list[str | None]:
    """The form by which the reference translates each masked word; None where it has no listed one left.

    Args:
        words: the masked words of a sentence, of ``COLOURS`` or ``CHARACTERS``, in either case.
        lang: one of ``mmt.metrics.inflections.LANGUAGES``.
    """
    return _matched([translations(lang)[word.lower()] for word in words], _tokens(reference))


def _tokens(text: str) -> list[str]:
    # Normalised, because \w does not match the separate accent of a decomposed letter.
    return re.findall(r"\w+", normalize(text))


def _count(found: Sequence[str | None]) -> int:
    return sum(form is not None for form in found)


def _matched(wanted: Sequence[Set[str]], tokens: Sequence[str]) -> list[str | None]:
    """Finds one token for each set of forms, as many as can have one, no token twice; the earliest tokens."""
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    forms = [[_form(token, allowed) for token in tokens] for allowed in wanted]
    fits = np.array([[form is not None for form in row] for row in forms], float).reshape(len(wanted), len(tokens))
    earlier = 1 - np.linspace(0, 1, len(tokens)) / (len(tokens) + 1) / 2  # less, all together, than one match
    places = [np.linspace(0, 1, size, endpoint=False) for size in (len(wanted), len(tokens))]
    fits *= 1 - 1e-7 * (places[0][:, None] - places[1]) ** 2  # of equal choices the one in the order of the words
    found: list[str | None] = [None] * len(wanted)
    for item, token in zip(*linear_sum_assignment(fits * earlier, maximize=True), strict=True):
        found[item] = forms[item][token]
    return found


def _form(token: str, allowed: Set[str]) -> str | None:
    return next((form for form in (token, token.lower()) if form in allowed), None)


def _nouns(words: Sequence[str]) -> list[bool]:
    """Which words are common nouns, by the Hanover Tagger's English model (HanTa; it tags as the BNC does)."""
    return [tag in ("NN0", "NN1", "NN2") for _, _, tag in _tagger()(list(words))] if words else []


@cache
def _tagger() -> Callable[[list[str]], list[tuple[str, str, str]]]:
    from HanTa.HanoverTagger import HanoverTagger

    tagger = HanoverTagger("morphmodel_en.pgz")
    tag: Callable[[list[str]], list[tuple[str, str, str]]] = tagger.tag_sent
    return tag
