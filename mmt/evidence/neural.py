"""Neural metrics, such as COMET, of what systems make of the sentences under controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mmt.evidence.controls import Outputs
from mmt.evidence.findings import ControlRow
from mmt.evidence.sentences import Sentences
from mmt.metrics.significance import Spread, mean_bootstrap
from mmt.metrics.translation import normalized


class Metric(Protocol):
    """What ``mmt.metrics.external.NeuralMetric`` is."""

    @property
    def label(self) -> str:
        """What a table calls it."""
        ...

    @property
    def reads_references(self) -> bool:
        """Whether it compares with references."""
        ...

    def check(self) -> Path:
        """Raises MMTError if it cannot be run."""
        ...

    def run(
        self, systems: Sequence[Sequence[str]], references: Sequence[str], sources: Sequence[str]
    ) -> tuple[list[list[float]], str]:
        """The score of each translation of each system, and the signature."""
        ...


def add_neural_scores(
    rows: Sequence[ControlRow], outputs: Mapping[str, Outputs], sentences: Sentences, metric: Metric
) -> str:
    """Adds 100 times the metric's mean over sentences to each row, and p of its difference from the first row.

    p is that of paired bootstrap resampling of the sentences, of the first draw of wrong images. Equal
    translations of equal sentences are scored once.

    Args:
        rows: of ``mmt.evidence.measures.control_rows`` for the same outputs.
    Returns:
        The signature.
    Raises:
        MMTError: as the metric.
    """
    sources, references = normalized(sentences.sources), normalized(sentences.references)
    drawn = [draws for system in outputs.values() for draws in system.hypotheses.values()]
    keys = [[list(zip(sources, draw, references, strict=True)) for draw in draws] for draws in drawn]
    distinct = list(dict.fromkeys(key for draws in keys for draw in draws for key in draw))
    (scores,), signature = metric.run(
        [[text for _, text, _ in distinct]], [key[2] for key in distinct], [key[0] for key in distinct]
    )
    known = dict(zip(distinct, scores, strict=True))
    first: NDArray[Any] | None = None
    for row, draws in zip(rows, keys, strict=True):
        values = [100 * np.array([known[key] for key in draw]) for draw in draws]
        row.scores[metric.label] = Spread.of([float(draw.mean()) for draw in values])
        if first is None:
            first = values[0]
        else:
            row.p_values[metric.label] = mean_bootstrap((values[0] - first).tolist())
    return f"{signature}; p: paired bootstrap, one-sided, of the first draw"
