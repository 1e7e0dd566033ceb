"""Masking probes: words are masked in the source, so that only the image can tell what they were.

Caglayan et al. (2019), https://aclanthology.org/N19-1422; Li et al. (2022), https://aclanthology.org/2022.acl-long.438.
A model is trained and tested on sentences masked alike. A masked word is one symbol, which the tokenizer keeps
whole, so that its number of pieces says nothing about the word. ``mmt.metrics.masked_words`` then looks for the
translations of colours and characters.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from mmt.data.tokenizer import UNK, Tokenizer
from mmt.errors import MMTError
from mmt.io.normalization import canonical

COLOURS = (
    "black", "white", "red", "blue", "green", "yellow", "orange", "brown", "pink", "purple", "gray", "grey", "tan",
    "gold", "silver", "beige", "violet",
)  # fmt: skip
CHARACTERS = ("man", "woman", "boy", "girl", "people", "men")

SYMBOLS = {"colour": "[MASK_C]", "character": "[MASK_P]", "noun": "[MASK_N]", "progressive": "[MASK]"}
"""The symbol that replaces a masked word, by the kind of probe."""

# A word (group 1) with all that hyphens and apostrophes join to it: in "a red-haired girl" no colour is masked.
# The genitive 's is not part of the word: "the man's hat" names a man.
_WORD = re.compile(r"(\w+(?:[-\u2010\u2011'’]\w+)*?)(?:['’][sS])?(?![-\u2010\u2011'’]?\w)")

SCORED = {"colour": COLOURS, "character": CHARACTERS}
"""The kinds of probe whose words have known translations; the others are scored by BLEU."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A rule that selects the words to mask.

    kind: a key of ``SYMBOLS``.
    k: ``noun``: mask up to k nouns, selected by ``seed``; ``progressive``: keep the first k words.
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
            name: the sentence's id, which ``seed`` is combined with to select nouns.
        Returns:
            The masked sentence, and the masked words as they were, in order; both ``canonical``.
        """
        sentence = canonical(sentence)
        words = list(_WORD.finditer(sentence))
        chosen = sorted(self._chosen([word[1] for word in words], name))
        group = 0 if self.kind == "progressive" else 1  # a sentence that is cut off also loses the 's
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
        """The description of a masked dataset, for ``dataset.json``."""
        return {"kind": self.kind, "symbol": self.symbol, "k": self.k, "seed": self.seed}


def read_probe(raw: Mapping[str, Any], name: str) -> Probe:
    """The probe of a masked dataset, from its ``dataset.json`` (``DatasetInfo.probe``).

    Raises:
        MMTError: the dataset called ``name`` is not masked.
    """
    if not raw:
        raise MMTError(f"{name}: expected a masked dataset, found a plain one. Mask it: mmt prepare probes.")
    return Probe(raw["kind"], raw["k"], raw["seed"])


def check_masked_alike(
    tokenizer: Tokenizer, training: Mapping[str, Any], probe: Probe, model_name: object
) -> None:
    """Raises MMTError unless a model was trained on data masked like the data of its evaluation.

    Args:
        tokenizer: the model's; one trained on masked text keeps the probe's symbol whole, and one that has a mask
            of its own reads the symbol as that.
        training: from the model's card; its ``probe`` is the training data's, and ``beside`` has those of other
            data.
    """
    pieces = tokenizer.encode(probe.symbol)
    is_mask = tokenizer.mask_id != UNK and pieces[-1] == tokenizer.mask_id
    # At most the mark of a word's start stands before it.
    if not is_mask and tokenizer.decode(pieces[-1:]) != probe.symbol:
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


def _nouns(words: Sequence[str]) -> list[bool]:
    """Which words are common nouns, by the Hanover Tagger's English model (HanTa; it tags as the BNC does)."""
    return [tag in ("NN0", "NN1", "NN2") for _, _, tag in _tagger()(list(words))] if words else []


@cache
def _tagger() -> Callable[[list[str]], list[tuple[str, str, str]]]:
    from HanTa.HanoverTagger import HanoverTagger  # only to mask nouns; training imports this module, too

    tagger = HanoverTagger("morphmodel_en.pgz")
    tag: Callable[[list[str]], list[tuple[str, str, str]]] = tagger.tag_sent
    return tag
