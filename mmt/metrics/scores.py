"""A score with the signature that says how it was computed, and what can be scored at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmt.errors import MMTError
from mmt.io.normalization import is_blank


@dataclass(frozen=True)
class Score:
    """One score, 0 to 100 (TER may exceed 100), with the signature that has to travel with it."""

    name: str
    value: float
    signature: str


def check_parallel(hypotheses: Sequence[str], references: Sequence[str], noun: str = "references") -> None:
    """Raises MMTError unless there is one hypothesis per reference, and no reference is blank.

    sacrebleu would score three hypotheses against one reference without a warning.
    """
    if len(hypotheses) != len(references):
        raise MMTError(
            f"expected one hypothesis for each of the {len(references):,} {noun}, got {len(hypotheses):,}."
        )
    if not references:
        raise MMTError(f"expected hypotheses and {noun}, got none.")
    blank = next((number for number, text in enumerate(references, 1) if is_blank(text)), 0)
    if blank:
        raise MMTError(f"{noun}: number {blank} is blank: there is nothing to compare with.")
