"""Visual question answering: normal form and accuracy of answers, and guesses without an image.

The normal form and the accuracy are those of VQA v2 (Goyal et al. 2017, https://arxiv.org/abs/1612.00837; Antol
et al. 2015, https://arxiv.org/abs/1505.00468), as ``vqaEval.py`` of https://github.com/GT-Vision-Lab/VQA computes
them, with its oddities, so that figures can be compared.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmt.io.normalization import canonical, normalize

_ARTICLES = ("a", "an", "the")
_NUMBERS = {
    "none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6",
    "seven": "7", "eight": "8", "nine": "9", "ten": "10",
}  # fmt: skip
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_CONTRACTED = (
    "ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't "
    "haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've "
    "might've mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've "
    "shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll "
    "someone's something'd something'd've something'll that's there'd there'd've there're there's they'd "
    "they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've "
    "when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't "
    "would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've"
)
# Each form without one of its apostrophes means the whole; the last entry is from the official table.
_CONTRACTIONS = {
    word[:place] + word[place + 1 :]: word
    for word in _CONTRACTED.split()
    for place, sign in enumerate(word)
    if sign == "'"
} | {"somebody'd": "somebodyd"}


def normalise_answer(answer: str) -> str:
    """The answer as VQA v2 compares it: lower case, no articles, digits for small numbers, little punctuation.

    Oddities of the official code are kept: a punctuation mark is dropped if it is beside a space anywhere in the
    answer, or if a number has a comma; otherwise it becomes a space ("black-white" is "black white"). Only the
    first 32 periods are dropped, and none before a digit. "none" is 0. Unlike there, Unicode's normal forms of an
    answer are equal (``mmt.io.normalization``).
    """
    text = _one_line(answer)
    given = text
    comma_in_number = re.search(r"\d,\d", given)
    for mark in _PUNCTUATION:
        beside_space = f"{mark} " in given or f" {mark}" in given
        text = text.replace(mark, "" if beside_space or comma_in_number else " ")
    text = re.sub(r"\.(?!\d)", "", text, count=32)
    words = (_NUMBERS.get(word, word) for word in text.lower().split())
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def answer_accuracy(answer: str, answers: Sequence[str]) -> float:
    """The accuracy of ``answer``, from 0 to 1.

    With one annotator's answer: whether the two are equal in normal form. With several, VQA's accuracy: the mean,
    over the subsets that leave one annotator out, of min(how many of the subset gave the answer / 3, 1). As in the
    official code, nothing is normalised on either side (except Unicode, as in ``normalise_answer``) if all
    annotators gave exactly the same answer: "Yes" is wrong if all ten said "yes".

    Raises:
        ValueError: there are no annotators' answers.
    """
    if not answers:
        raise ValueError("answers: expected at least one annotator's answer, found none.")
    if len(answers) == 1:
        return float(normalise_answer(answer) == normalise_answer(answers[0]))
    gold, answer = [_one_line(text) for text in answers], _one_line(answer)
    if len(set(gold)) > 1:
        gold, answer = [normalise_answer(text) for text in gold], normalise_answer(answer)
    hits = gold.count(answer)
    misses = len(gold) - hits
    return (hits * min((hits - 1) / 3, 1) + misses * min(hits / 3, 1)) / len(gold)


def _one_line(text: str) -> str:
    return re.sub(r"[\n\t]", " ", canonical(text)).strip()


@dataclass(frozen=True)
class PriorAnswers:
    """The most frequent answers to questions: the language prior.

    ``overall`` of all, ``of_kind`` of each kind of question, ``of_question`` of each question, compared after
    normalisation (``mmt.io.normalization``). Of equally frequent answers, the first in alphabetical order counts.
    """

    overall: str
    of_kind: dict[str, str]
    of_question: dict[str, str]

    def by_kind(self, kind: str) -> str:
        """The answer to a question of ``kind``; the overall one for an unknown kind."""
        return self.of_kind.get(kind, self.overall)

    def by_question(self, question: str, kind: str) -> str:
        """The answer to ``question``; that of its kind for an unseen question."""
        return self.of_question.get(normalize(question), self.by_kind(kind))


def prior_answers(train_rows: Iterable[Mapping[str, Any]]) -> PriorAnswers:
    """Computes the most frequent answers of a training split.

    Args:
        train_rows: at least one, with ``source`` (the question), ``target`` (the answer) and ``kind``.
    """
    overall: Counter[str] = Counter()
    of_kind: dict[str, Counter[str]] = defaultdict(Counter)
    of_question: dict[str, Counter[str]] = defaultdict(Counter)
    for row in train_rows:
        for counter in (overall, of_kind[row["kind"]], of_question[normalize(row["source"])]):
            counter[normalize(row["target"])] += 1
    return PriorAnswers(
        _most(overall),
        {kind: _most(counter) for kind, counter in of_kind.items()},
        {question: _most(counter) for question, counter in of_question.items()},
    )


def _most(counter: Counter[str]) -> str:
    return min(counter, key=lambda answer: (-counter[answer], answer))
