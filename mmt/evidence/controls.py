"""Systems under controls: what each makes of the sentences with the right images, with wrong ones, and with none.

``mmt evidence``, ``mmt compare`` and the scripts in ``eval`` run every control here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from mmt.evidence.findings import CONTROLS
from mmt.evidence.sentences import Sentences
from mmt.evidence.systems import System, progress, scorer
from mmt.inference.controls import Control
from mmt.metrics.accuracy import choice_hits
from mmt.metrics.translation import normalized

Result = TypeVar("Result")


@dataclass(frozen=True)
class Outputs:
    """What one system makes of the sentences under each control: of ``wrong`` one list a draw, of the others one.

    A text-only system has ``right`` alone. ``log_probs``: a token's mean log-probability of each reference.
    ``choices``: whether each reference is found more probable than its contrast; a tie is wrong. Both are empty
    for a system that cannot score, and where they were not wanted.
    """

    system: System
    hypotheses: dict[Control, list[list[str]]]
    log_probs: dict[Control, list[list[float]]]
    choices: dict[Control, list[list[bool]]]

    @property
    def uses_images(self) -> bool:
        return self.system.uses_images

    def normalized(self) -> Outputs:
        """With hypotheses as metrics compare them, see ``mmt.metrics.translation.normalized``."""
        lines = {control: [normalized(draw) for draw in draws] for control, draws in self.hypotheses.items()}
        return replace(self, hypotheses=lines)


def run_controls(
    system: System,
    sentences: Sentences,
    draws: Sequence[Sequence[str]],
    *,
    score: bool = True,
    choose: bool = False,
    name: str = "",
) -> Outputs:
    """Translates, and scores if the system can, with the right images, each draw of wrong ones, and none.

    Args:
        draws: wrong images of each sentence, such as ``sentences.draws`` gives them.
        score: find the log-probabilities of the references, if there are any.
        choose: choose between each reference and its contrast.
        name: of the system, in the progress bars.
    """
    images = sentences.images if system.uses_images else None
    num, suffix = len(sentences.sources), f" ({name})" if name else ""

    def translate(control: str, shown: Sequence[str | None] | None) -> list[str]:
        with progress(f"translating, {control}{suffix}", num) as advance:
            return system.translate(sentences.sources, shown, advance)

    hypotheses = each_control(images, draws, translate)
    log_probs: dict[Control, list[list[float]]] = {}
    choices: dict[Control, list[list[bool]]] = {}
    if (scoring := scorer(system)) is not None:

        def log_prob(control: str, shown: Sequence[str | None] | None) -> list[float]:
            with progress(f"scoring, {control}{suffix}", num) as advance:
                return scoring.score(sentences.sources, shown, sentences.references, advance)

        def choice(control: str, shown: Sequence[str | None] | None) -> list[bool]:
            targets = [*sentences.references, *(sentences.contrasts or ())]
            with progress(f"choosing, {control}{suffix}", 2 * num) as advance:
                twice = [*shown, *shown] if shown is not None else None
                costs = [-p for p in scoring.score(sentences.sources * 2, twice, targets, advance)]
            return choice_hits(list(zip(costs[:num], costs[num:], strict=True)), [0] * num)

        log_probs = each_control(images, draws, log_prob) if score and sentences.has_references else {}
        choices = each_control(images, draws, choice) if choose else {}
    return Outputs(system, hypotheses, log_probs, choices)


def each_control(
    images: Sequence[str | None] | None,
    draws: Sequence[Sequence[str | None]],
    work: Callable[[str, Sequence[str | None] | None], Result],
) -> dict[Control, list[Result]]:
    """Runs ``work`` under every control: the only loop over controls.

    Args:
        images: the right image of each sentence; None for a text-only system, which has ``right`` alone.
        draws: the wrong ones.
        work: gets the control in words, and the images to show, or None for none.
    Returns:
        Its results: one a draw for ``wrong``, one for each of the others.
    """
    if images is None:
        return {"right": [work(CONTROLS["text"], None)]}
    wrong = [
        work(CONTROLS["wrong"] + (f", draw {number}" if len(draws) > 1 else ""), shown)
        for number, shown in enumerate(draws, 1)
    ]
    right, blank = work(CONTROLS["right"], images), work(CONTROLS["blank"], None)
    return {"right": [right], "wrong": wrong, "blank": [blank]}
