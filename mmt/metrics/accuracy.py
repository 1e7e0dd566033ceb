"""Accuracies: of words that a translation should contain, and of choices between candidates."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mmt.errors import MMTError
from mmt.io.normalization import NORM, normalize
from mmt.metrics.scores import Score, check_parallel


def word_accuracy(hypotheses: Sequence[str], answers: Sequence[str]) -> Score:
    r"""How many translations contain the word that they should contain.

    Args:
        hypotheses: the translations.
        answers: for each, the word (or several consecutive ones) that makes it correct; whole words, in either
            case: "Bank" is in "Die Bank." but not in "Die Bankräuber".
    Returns:
        The share in percent; words are ``\w+``.
    Raises:
        MMTError: the lengths differ, there is nothing to score, or an answer has no word.
    """
    hits = word_hits(hypotheses, answers)
    return Score("word accuracy", 100 * sum(hits) / len(hits), rf"n:{len(hits)}|case:lc|tok:\w+|{NORM}")


def word_hits(hypotheses: Sequence[str], answers: Sequence[str]) -> list[bool]:
    """Whether each translation contains its answer; see ``word_accuracy``."""
    check_parallel(hypotheses, answers, "answers")
    hits = []
    for number, (hypothesis, answer) in enumerate(zip(hypotheses, answers, strict=True), 1):
        words, wanted = _words(hypothesis), _words(answer)
        if not wanted:
            raise MMTError(f"answer {number}: expected a word, but is {answer!r}.")
        hits.append(any(words[i : i + len(wanted)] == wanted for i in range(len(words))))
    return hits


def choice_accuracy(costs: Sequence[Sequence[float]], answers: Sequence[int]) -> Score:
    """How often a model gives the correct one of several candidates the lowest cost.

    Args:
        costs: for each item, the cost (perplexity, negative log-probability) of each candidate.
        answers: for each item, the position of the correct candidate.
    Returns:
        The share in percent. A tie is wrong, as in CoMMuTE (Futeral et al. 2023,
        https://aclanthology.org/2023.acl-long.295), so that a model that cannot tell candidates apart gets 0; so
        is a NaN cost.
    Raises:
        MMTError: the lengths differ, there is nothing to score, or an answer is no candidate of its item.
    """
    hits = choice_hits(costs, answers)
    if not hits:
        raise MMTError("choices: expected items to score, got none.")
    return Score("choice accuracy", 100 * sum(hits) / len(hits), f"n:{len(hits)}|ties:wrong")


def choice_hits(costs: Sequence[Sequence[float]], answers: Sequence[int]) -> list[bool]:
    """Whether the correct candidate has the lowest cost, for each item; ``choice_accuracy`` is the share."""
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
    """How often both items of a pair are correct: two mirrored items, one's answer the other's wrong candidate.

    25 % by chance, and 0 for a model that does not see the difference between the two.

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


def _words(text: str) -> list[str]:
    # Normalised, because \w does not match the separate accent of a decomposed letter.
    return re.findall(r"\w+", normalize(text).lower())
