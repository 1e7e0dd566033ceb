"""What is evaluated: anything that translates sentences, with their images or without.

``mmt.evidence.models`` opens models of our own, ``mmt.evidence.kinds`` other systems.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

from tqdm import tqdm

from mmt.io.terminal import no_bar

Progress = Callable[[int], object]


class System(Protocol):
    """What is evaluated. A text-only system (``uses_images`` False) is given no images.

    A system may also have ``describe()``, what evidence.json and the page say about it (JSON values by name);
    ``close()``, called when the evidence is complete; ``can_score`` False, if it has ``score()`` in vain;
    ``blank_is_text_only`` True, if without images it is exactly its text-only base; and ``tokens``, a checksum of
    its tokenizer: log-probabilities of a token are compared only where these are equal.
    """

    @property
    def uses_images(self) -> bool: ...

    def translate(
        self, sentences: Sequence[str], images: Sequence[str | None] | None, progress: Progress | None = None
    ) -> list[str]:
        """The best translation of each sentence with its image; None for a sentence, or for all, without one."""
        ...


@runtime_checkable
class ScoringSystem(System, Protocol):
    """A system that can also say how probable it finds a translation."""

    def score(
        self,
        sentences: Sequence[str],
        images: Sequence[str | None] | None,
        targets: Sequence[str],
        progress: Progress | None = None,
    ) -> list[float]:
        """The mean log-probability of a token of each target, in nats."""
        ...


def scorer(system: System) -> ScoringSystem | None:
    """The system, if it scores."""
    return system if isinstance(system, ScoringSystem) and getattr(system, "can_score", True) else None


def has_text_base(system: System) -> bool:
    """Whether the system without images is exactly its text-only base."""
    return bool(getattr(system, "blank_is_text_only", False))


def tokens_of(system: System) -> str | None:
    """A checksum of the system's tokenizer; None if it is not known."""
    return getattr(system, "tokens", None)


def describe(system: System) -> dict[str, Any]:
    """What a system says about itself; {} if nothing."""
    told: dict[str, Any] = getattr(system, "describe", dict)()
    return told


@contextmanager
def progress(what: str, total: int) -> Iterator[Progress]:
    with tqdm(total=total, desc=what, unit="", disable=no_bar(), leave=False) as bar:
        yield bar.update
