"""Systems on datasets: what a leaderboard says of each, from the evidence on each dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any

import numpy as np

from mmt.evidence.findings import CHANGED, CHRF, LOG_P, Awareness, Evidence, Verdict
from mmt.evidence.measures import verdict
from mmt.metrics.p_values import signed_rank
from mmt.metrics.significance import Spread

FORMAT = 1
"""Of leaderboard.json."""

_NOT_SHOWN = (LOG_P, CHRF, CHANGED, "TER")


@dataclass(frozen=True)
class Cell:
    """One system on one dataset.

    scores: by control (``right``, ``wrong``, ``blank``; ``right`` alone for a text-only system) and score, over
        the seeds of the system; ``wrong`` of a single seed over draws.
    verdict: of all seeds together, see ``mean_awareness``; None without a result.
    seeds: how many. failure: why there is no result.
    """

    uses_images: bool = False
    scores: dict[str, dict[str, Spread]] = field(default_factory=dict)
    verdict: Verdict | None = None
    seeds: int = 1
    failure: str = ""

    def score(self, label: str, control: str = "right") -> Spread | None:
        return self.scores.get(control, {}).get(label)


@dataclass(frozen=True)
class Ranked:
    """One dataset: the score that leads, and the others that its table has.

    about: of the evidence, such as languages, split and number of sentences. cells: by system.
    signatures: how each score was computed.
    """

    about: dict[str, Any]
    lead: str
    others: list[str]
    cells: dict[str, Cell]
    signatures: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Board:
    """All of a leaderboard.

    systems: by name their specs. datasets: by name. settings: draws, seed and versions.
    """

    systems: dict[str, list[str]]
    datasets: dict[str, Ranked]
    settings: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    def mean(self, system: str) -> float | None:
        """The mean leading score with the right image over the datasets with a result; None without any."""
        found = [one.cells[system].score(one.lead) for one in self.datasets.values()]
        means = [spread.mean for spread in found if spread is not None]
        return fmean(means) if means else None

    def results(self, system: str) -> int:
        """On how many datasets the system has the leading score."""
        return sum(one.cells[system].score(one.lead) is not None for one in self.datasets.values())

    @property
    def ranking(self) -> list[str]:
        """The systems, best first: by the number of datasets with a result, then by the mean leading score."""
        return sorted(self.systems, key=lambda name: (-self.results(name), -(self.mean(name) or 0.0)))

    @property
    def failures(self) -> list[tuple[str, str, str]]:
        """System, dataset and reason of each cell without a result."""
        return [
            (system, name, one.cells[system].failure)
            for name, one in self.datasets.items()
            for system in self.systems
            if one.cells[system].failure
        ]


def rank(evidence: Evidence, members: Mapping[str, Sequence[str]], *, contrasts: bool, leading: str) -> Ranked:
    """What a leaderboard says of the systems of an evidence.

    Args:
        members: of each system on the board the names of its seeds in the evidence.
        contrasts: the split is of contrastive pairs, so that the share of right choices leads.
        leading: the score that leads where the data marks no words.
    """
    cells = {name: _cell(evidence, seeds) for name, seeds in members.items()}
    labels = list(dict.fromkeys(label for cell in cells.values() for label in cell.scores["right"]))
    chosen = [label for label in labels if contrasts and "(contrastive)" in label]
    complete = [label for label in chosen if all(cell.score(label) for cell in cells.values())]
    words = [label for label in labels if label.endswith(", restricted")]
    words += [label for label in labels if label == "right word"]
    lead = next(iter([*complete, *chosen, *words, leading]))
    others = [label for label in labels if label not in (lead, *_NOT_SHOWN) and not label.endswith("relaxed")]
    return Ranked(evidence.data, lead, others, cells, evidence.signatures)


def _cell(evidence: Evidence, seeds: Sequence[str]) -> Cell:
    found: dict[str, dict[str, list[Spread]]] = {}
    for row in evidence.controls:
        if row.system in seeds:
            by_label = found.setdefault("right" if row.control == "text" else row.control, {})
            for label, spread in row.scores.items():
                by_label.setdefault(label, []).append(spread)
    for choice in evidence.choices:
        if choice.system in seeds:
            label = f"{choice.data}, {choice.method}"
            shares = {"right": choice.accuracy} | ({} if choice.blank is None else {"blank": choice.blank})
            for control, share in shares.items():
                found.setdefault(control, {}).setdefault(label, []).append(Spread(100 * share))
    scores = {
        control: {label: _over(spreads) for label, spreads in by_label.items()}
        for control, by_label in found.items()
    }
    results = [one for one in evidence.systems if one.name in seeds]
    aware = [one.awareness for one in results if one.awareness is not None]
    return Cell(results[0].uses_images, scores, verdict(mean_awareness(aware) if aware else None), len(seeds))


def _over(seeds: list[Spread]) -> Spread:
    """Of a single seed as it is: over draws."""
    return seeds[0] if len(seeds) == 1 else Spread.of([seed.mean for seed in seeds])


def mean_awareness(seeds: Sequence[Awareness]) -> Awareness:
    """Image awareness of several seeds: each sentence's difference is its mean over them, which is then tested."""
    if len(seeds) == 1:
        return seeds[0]
    wrong, blank = (
        np.mean([getattr(seed, name) for seed in seeds], axis=0).tolist()
        for name in ("per_sentence", "per_sentence_blank")
    )
    return Awareness(
        fmean(wrong),
        stdev(wrong),
        signed_rank(wrong),
        wrong,
        fmean(blank),
        signed_rank(blank),
        fmean(seed.changed for seed in seeds),
        fmean(seed.changed_blank for seed in seeds),
        blank,
        seeds[0].figure,
    )
