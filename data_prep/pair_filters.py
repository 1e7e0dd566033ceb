"""Which machine translations are left out of a dataset, and how many for which reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from mmt.io.normalization import normalize

_LONGEST_PHRASE = 4
_TIMES = 3


@dataclass
class PairFilter:
    """Decides on each translation, and counts what it leaves out. A blank translation is always left out.

    no_copies: leave out a translation that is its source, except for case.
    no_loops: leave out a translation that ``loops`` where its source does not.
    max_ratio: of the longer to the shorter of the two, in words; None sets no limit.
    min_log_prob: the least mean log-probability of a target token, natural logarithm; None sets no limit.
    """

    no_copies: bool = False
    no_loops: bool = False
    max_ratio: float | None = None
    min_log_prob: float | None = None
    left_out: Counter[str] = field(default_factory=Counter)
    """How many translations were left out, by the first reason that applied."""

    def keeps(self, source: str, translation: str, log_prob: float | None) -> bool:
        """Whether the pair stays.

        Args:
            log_prob: per target token; None is unknown, and passes.
        """
        reason = self._reason(source, translation, log_prob)
        if reason:
            self.left_out[reason] += 1
        return not reason

    def _reason(self, source: str, translation: str, log_prob: float | None) -> str:
        if not normalize(translation):
            return "with a blank translation"
        if self.no_copies and normalize(source).lower() == normalize(translation).lower():
            return "whose translation is a copy"
        if self.no_loops and loops(translation) and not loops(source):
            return "whose translation repeats itself"
        words = sorted((len(source.split()), len(translation.split())))
        if self.max_ratio is not None and words[1] > self.max_ratio * words[0]:
            return f"of which one side has more than {self.max_ratio:g} times the words of the other"
        if self.min_log_prob is not None and log_prob is not None and log_prob < self.min_log_prob:
            return f"with a log-probability below {self.min_log_prob:g} a token"
        return ""


def loops(text: str) -> bool:
    """Whether a phrase of one to four words occurs three times in a row, as in degenerate translations.

    >>> loops("a dog and a dog and a dog"), loops("a very , very big dog")
    (True, False)
    """
    words = text.lower().split()
    for size in range(1, _LONGEST_PHRASE + 1):
        run = 0  # words that equal the one ``size`` before them
        for earlier, word in zip(words, words[size:], strict=False):
            run = run + 1 if earlier == word else 0
            if run >= (_TIMES - 1) * size:
                return True
    return False
