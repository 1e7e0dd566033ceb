"""Ambiguous words: a lexicon of words with several translations, and the accuracy on them.

Word alignments of the training text give a lexicon of source words with at least two translations (as MLT, Lala &
Specia 2018, https://aclanthology.org/L18-1602). A translation is then scored on those words alone, because few
sentences depend on the image and BLEU does not show them. MLT's authors checked their lists manually; this lexicon
is automatic, with words of several senses (mouth: Mund, Maul), but also words with synonyms (sidewalk: Gehweg,
Bürgersteig), which no image can decide.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from thot.alignment import EflomalAlignmentModel, SymmetrizationHeuristic, SymmetrizedAlignmentModel
from tqdm import tqdm

from mmt.errors import MMTError
from mmt.io.atomic import write_whole
from mmt.io.normalization import normalize
from mmt.io.terminal import no_bar
from mmt.io.text_files import parse_json
from mmt.metrics.lemmas import is_content, lemmatizer, readings, true_case, words_of

FEWEST_PAIRS = 200
"""The minimal number of sentence pairs from which an aligner learns anything useful."""

RARE_P = 0.2
_STEM = 3  # minimal number of initial letters that two inflections of one word share

USUAL, RARER, SURPRISING = "usual", "rarer", "surprising"
GROUPS = {
    USUAL: "the word's most frequent translation",
    RARER: f"another one, of probability {RARE_P} or more",
    SURPRISING: f"another one, of probability under {RARE_P}",
}
"""Groups of items by the probability of the correct translation in the training text."""


@dataclass(frozen=True)
class Sense:
    """One translation of a word.

    ``lemmas``: the lemmas that count as this translation (with inflections that the lemmatiser does not know), the
    most frequent first, which is the name. ``probability``: given the source word, among its listed translations.
    """

    lemmas: tuple[str, ...]
    count: int
    probability: float

    @property
    def name(self) -> str:
        return self.lemmas[0]

    @property
    def surprisal(self) -> float:
        """In bits."""
        return -math.log2(self.probability)


@dataclass(frozen=True)
class AmbiguousWord:
    """A source lemma with its translations, the most frequent first; their probabilities add up to 1.

    ``count``: how often it is aligned with a content word, including unlisted translations. ``entropy``: of the
    listed translations, in bits.
    """

    word: str
    count: int
    entropy: float
    senses: tuple[Sense, ...]


@dataclass(frozen=True)
class Lexicon:
    """The ambiguous words of a training text by lemma, with a signature of how they were found."""

    source_lang: str
    target_lang: str
    signature: str
    words: dict[str, AmbiguousWord]

    def save(self, path: Path) -> None:
        """Writes it as JSON.

        Raises:
            MMTError: it cannot be written there.
        """
        fields = {**asdict(self), "words": [asdict(word) for word in self.words.values()]}
        write_whole(path, json.dumps(fields, indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: Path) -> Lexicon:
        """Reads what ``save`` wrote.

        Raises:
            MMTError: the file is missing or is not a lexicon.
        """
        try:
            fields: dict[str, Any] = parse_json(path.read_text(encoding="utf-8"))
            words = [
                AmbiguousWord(
                    normalize(word["word"]),
                    word["count"],
                    word["entropy"],
                    tuple(
                        Sense(tuple(map(normalize, s["lemmas"])), s["count"], s["probability"])
                        for s in word["senses"]
                    ),
                )
                for word in fields["words"]
            ]
            langs = (fields["source_lang"], fields["target_lang"])
            return cls(*langs, fields["signature"], {word.word: word for word in words})
        except OSError as error:
            raise MMTError(f"{path}: cannot be read ({error.strerror}).") from None
        except (ValueError, KeyError, TypeError):
            raise MMTError(
                f"{path}: not a list of ambiguous words. Make one with mmt prepare ambiguous DATA {path}"
            ) from None

    def check_languages(self, source_lang: str, target_lang: str, whose: object) -> None:
        """Raises MMTError unless the lexicon is for these languages, those of ``whose`` data."""
        if (self.source_lang, self.target_lang) != (source_lang, target_lang):
            raise MMTError(
                f"{whose}: is {source_lang}-{target_lang}, but the ambiguous words are those of "
                f"{self.source_lang}-{self.target_lang}. Find the words in a training text of the same languages."
            )


@dataclass(frozen=True)
class SenseItem:
    """One ambiguous word in a sentence, with a known correct translation.

    ``sentence`` counts from 0; ``gold`` is the translation in the reference, ``predicted`` the one in the
    hypothesis, None if it contains none of the listed ones; ``group`` is a key of ``GROUPS``.
    """

    sentence: int
    word: str
    gold: str
    predicted: str | None
    surprisal: float
    group: str

    @property
    def hit(self) -> bool:
        return self.predicted == self.gold


@dataclass(frozen=True)
class GroupScore:
    """``accuracy`` in percent, None if there are no ``items``."""

    items: int
    accuracy: float | None


@dataclass(frozen=True)
class SenseScore:
    """How often a system has the correct translation of an ambiguous word, in percent; None if there are no items.

    ``micro_f1`` weights items equally, ``macro_f1`` each translation of each word that is correct at least once.
    ``usual_accuracy`` and ``usual_macro_f1`` are those of always choosing the most frequent translation. ``items``
    depend only on sources and references, except for ``predicted``: the items of two systems are paired.
    """

    accuracy: float | None
    micro_f1: float | None
    macro_f1: float | None
    usual_accuracy: float | None
    usual_macro_f1: float | None
    groups: dict[str, GroupScore]
    items: tuple[SenseItem, ...]
    signature: str


def find_ambiguous(
    sources: Sequence[str],
    targets: Sequence[str],
    source_lang: str,
    target_lang: str,
    *,
    min_count: int = 10,
    min_share: float = 0.05,
    seed: int = 1,
) -> Lexicon:
    """Lists the source words that a training text translates in several ways.

    Both sides are lemmatised (simplemma) and aligned in both directions (eflomal, Östling & Tiedemann 2016, in
    sil-thot's implementation, which takes a seed). A link counts if both directions have it, both words are
    content words, and the content words beside the source word have links, too. The order of sentences does not
    matter.

    Args:
        sources, targets: raw text in its natural case, line by line.
        source_lang, target_lang: one of en, de, fr, cs.
        min_count: how often a translation must be aligned to be listed.
        min_share: the minimal share of the word's aligned occurrences.
        seed: of the aligner's sampling.
    Raises:
        MMTError: unequal lines, an unknown language, too little text, or no such word in it.
    """
    if len(sources) != len(targets):
        raise MMTError(f"expected one target for each of the {len(sources):,} sources, got {len(targets):,}.")
    if not 0 <= min_share <= 1:
        raise MMTError(f"min_share: expected 0 to 1, found {min_share}.")
    source_lemma, target_lemma = lemmatizer(source_lang), lemmatizer(target_lang)
    sides = zip(true_case(sources), true_case(targets), strict=True)
    # Sorted, because the sampler depends on the order; without empty sides, which have nothing to align.
    pairs = sorted((source, target) for source, target in sides if source and target)
    if len(pairs) < FEWEST_PAIRS:
        raise MMTError(
            f"found {len(pairs):,} sentence pairs, but it takes at least {FEWEST_PAIRS:,} to align words. "
            "Take the training split of a larger dataset."
        )
    lemmas = [([source_lemma(w) for w in source], [target_lemma(w) for w in target]) for source, target in pairs]
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    forms: dict[str, Counter[str]] = defaultdict(Counter)
    for (_, target_forms), (source, target), links in zip(pairs, lemmas, _align(lemmas, seed), strict=True):
        content = {i for i, lemma in enumerate(source) if is_content(lemma, source_lang)}
        unlinked = content - {i for i, _ in links}
        for i, j in links:
            # If the word beside it has no link, the target word may be a compound of both: Tennisball.
            if i in content and not {i - 1, i + 1} & unlinked and is_content(target[j], target_lang):
                counts[source[i]][target[j]] += 1
                forms[target[j]][target_forms[j].lower()] += 1
    usual_form = {lemma: max(sorted(of), key=of.__getitem__) for lemma, of in forms.items()}
    words = [ambiguous_word(word, of, usual_form, min_count, min_share) for word, of in sorted(counts.items())]
    found = {word.word: word for word in words if word is not None}
    if not found:
        raise MMTError(
            f"found no word with two translations of at least {min_count} occurrences each in {len(pairs):,} "
            "sentence pairs. Take a larger training text, or a smaller min_count."
        )
    signature = (
        f"n:{len(pairs)}|min_count:{min_count}|min_share:{min_share}|lemmas:simplemma-{version('simplemma')}|"
        f"align:eflomal-sil-thot-{version('sil-thot')}-intersection|seed:{seed}"
    )
    return Lexicon(source_lang, target_lang, signature, found)


def sense_accuracy(
    lexicon: Lexicon, sources: Sequence[str], references: Sequence[str], hypotheses: Sequence[str]
) -> SenseScore:
    """Scores a system on the ambiguous words of its sources.

    A word of the lexicon in a source is an item if the reference contains one of its translations; of several, the
    nearest by relative position counts. Each item uses up one word of the reference and one of the hypothesis.
    Lemmas are compared, so any inflection is correct.

    Args:
        lexicon: of the training text's ambiguous words.
        sources, references, hypotheses: raw text, line by line.
    Raises:
        MMTError: the lengths differ.
    """
    if not len(sources) == len(references) == len(hypotheses):
        raise MMTError(
            f"expected as many hypotheses as references and sources, got {len(hypotheses):,}, {len(references):,} "
            f"and {len(sources):,}."
        )
    source_lemma, target_lemma = lemmatizer(lexicon.source_lang), lemmatizer(lexicon.target_lang)
    items: list[SenseItem] = []
    usual: list[str | None] = []
    for number, texts in enumerate(zip(sources, references, hypotheses, strict=True)):
        source, reference, hypothesis = map(words_of, texts)
        reference_lemmas = [readings(form, target_lemma) for form in reference]
        gold: list[tuple[AmbiguousWord, Sense, float]] = []
        for index, form in enumerate(source):
            word = next((lexicon.words[r] for r in readings(form, source_lemma) if r in lexicon.words), None)
            if word is not None:
                position = (index + 0.5) / len(source)
                sense = _take(reference_lemmas, position, word.senses, word.senses)
                if sense is not None:
                    gold.append((word, sense, position))
        # First all correct translations, so that no wrong match uses up their words.
        hypothesis_lemmas = [readings(form, target_lemma) for form in hypothesis]
        right = [_take(hypothesis_lemmas, position, word.senses, (sense,)) for word, sense, position in gold]
        for (word, sense, position), match in zip(gold, right, strict=True):
            match = match or _take(hypothesis_lemmas, position, word.senses, word.senses)
            group = USUAL if sense is word.senses[0] else RARER if sense.probability >= RARE_P else SURPRISING
            name = match.name if match is not None else None
            items.append(SenseItem(number, word.word, sense.name, name, sense.surprisal, group))
            usual.append(word.senses[0].name)
    groups = {group: _accuracy([item for item in items if item.group == group]) for group in GROUPS}
    micro, macro = _f1(items, [item.predicted for item in items])
    return SenseScore(
        accuracy=_accuracy(items).accuracy,
        micro_f1=micro,
        macro_f1=macro,
        usual_accuracy=100 * groups[USUAL].items / len(items) if items else None,
        usual_macro_f1=_f1(items, usual)[1],
        groups=groups,
        items=tuple(items),
        signature=f"items:{len(items)}|words:{len(lexicon.words)}|{lexicon.signature}",
    )


def ambiguous_word(
    word: str, counts: Counter[str], usual_form: dict[str, str], min_count: int, min_share: float
) -> AmbiguousWord | None:
    """``word`` if it has at least two translations.

    ``counts``: target lemmas aligned with it. ``usual_form``: the most frequent form of each.
    """
    groups: dict[str, list[str]] = {}
    near: dict[str, dict[str, int]] = defaultdict(dict)  # groups in order, by the first letters of similar words
    for lemma in sorted(counts, key=lambda lemma: (-counts[lemma], lemma)):
        starts = {lemma[:_STEM], usual_form[lemma][:_STEM]}
        found = {name: number for start in starts for name, number in near[start].items()}
        same = (n for n in found if _alike(n, lemma) or _alike(usual_form[n], usual_form[lemma]))
        name = min(same, key=found.__getitem__, default=lemma)
        if name == lemma:
            for start in starts:
                near[start][name] = len(groups)
        groups.setdefault(name, []).append(lemma)
    total = sum(counts.values())
    sizes = {name: sum(counts[lemma] for lemma in lemmas) for name, lemmas in groups.items()}
    sizes = {name: size for name, size in sizes.items() if size >= max(min_count, min_share * total)}
    if len(sizes) < 2:
        return None
    listed = sum(sizes.values())
    senses = tuple(
        Sense(tuple(groups[name]), count, count / listed)
        for name, count in sorted(sizes.items(), key=lambda item: (-item[1], item[0]))
    )
    return AmbiguousWord(word, total, sum(s.probability * s.surprisal for s in senses), senses)


def _alike(one: str, other: str) -> bool:
    """Whether two words look like inflections of a word that the lemmatiser does not know: Junge, Junges."""
    longer = max(len(one), len(other))
    stem = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return stem >= _STEM and stem >= 2 * longer / 3 and longer - stem <= 2


def _align(pairs: Sequence[tuple[list[str], list[str]]], seed: int) -> Iterable[list[tuple[int, int]]]:
    """For each pair the links (source position, target position) on which both directions agree."""
    with tqdm(desc="align", unit=" rounds", disable=no_bar()) as bar:
        forward = _trained(pairs, seed, bar.update)
        backward = _trained([(target, source) for source, target in pairs], seed, bar.update)
    both = SymmetrizedAlignmentModel(forward, backward)
    both.heuristic = SymmetrizationHeuristic.INTERSECTION
    for number in range(len(pairs)):
        links = both.get_training_alignment(number)[1].to_numpy().nonzero()  # of an (S, T) matrix
        yield list(zip(*(positions.tolist() for positions in links), strict=True))


def _trained(
    pairs: Sequence[tuple[list[str], list[str]]], seed: int, progress: Callable[[], object]
) -> EflomalAlignmentModel:
    model = EflomalAlignmentModel()
    model.seed, model.deterministic, model.emit_training_alignments = seed, True, True
    model.num_samplers = 1  # three take three times as long
    for source, target in pairs:
        model.add_sentence_pair(source, target)
    model.start_training()
    for _ in range(
        sum(model.get_iterations())
    ):  # IBM 1, HMM and fertility, as many as the aligner chooses for this size
        model.train()
        progress()
    model.end_training()
    return model


def _take(
    tokens: list[tuple[str, ...]], position: float, senses: Sequence[Sense], wanted: Sequence[Sense]
) -> Sense | None:
    """Finds the word nearest to a relative position that is one of ``wanted``, and uses it up.

    ``tokens``: the readings of each word; those of the match are removed. ``senses``: all translations of the
    source word, so that a word with two readings always counts as the same translation, whatever is wanted.
    """
    sense_of = {lemma: sense for sense in senses for lemma in sense.lemmas}
    read = [next((sense_of[lemma] for lemma in token if lemma in sense_of), None) for token in tokens]
    found = [n for n, sense in enumerate(read) if sense in wanted]
    if not found:
        return None
    chosen = min(found, key=lambda n: abs((n + 0.5) / len(tokens) - position))
    tokens[chosen] = ()
    return read[chosen]


def _accuracy(items: Sequence[SenseItem]) -> GroupScore:
    return GroupScore(len(items), 100 * sum(item.hit for item in items) / len(items) if items else None)


def _f1(items: Sequence[SenseItem], predicted: Sequence[str | None]) -> tuple[float | None, float | None]:
    """Micro and macro F1 in percent; the classes are the translations of each word that occur in ``items``."""
    if not items:
        return None, None
    gold = Counter((item.word, item.gold) for item in items)
    said = Counter((item.word, sense) for item, sense in zip(items, predicted, strict=True) if sense is not None)
    right = Counter(
        (item.word, item.gold) for item, sense in zip(items, predicted, strict=True) if sense == item.gold
    )
    macro = sum(2 * right[sense] / (gold[sense] + said[sense]) for sense in gold) / len(gold)
    return 200 * right.total() / (gold.total() + said.total()), 100 * macro
