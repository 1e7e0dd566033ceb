"""The names of systems, and the settings of language models as systems. This module imports nothing slow."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from mmt.errors import MMTError

KINDS = ("files", "hf", "api")
"""Words before a SPEC's colon, see ``mmt.evidence.kinds``."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")


@dataclass(frozen=True)
class SystemOptions:
    """Settings of systems.

    prompt: file with the template. examples: file with few-shot examples. device, dtype, batch_size: of ``hf:``.
    concurrency: requests at a time, and max_requests: their budget, of ``api:``.
    text_only: they are shown no images.
    """

    prompt: Path | None = None
    examples: Path | None = None
    device: str = "cpu"
    dtype: str = "float32"
    batch_size: int = 8
    concurrency: int = 4
    max_requests: int | None = None
    text_only: bool = False


def is_name(text: str) -> bool:
    """Whether a system, or a dataset, may be called so: it is in file names and on pages."""
    return _NAME.fullmatch(text) is not None


def parse_system(text: str) -> tuple[str, str]:
    """NAME and SPEC of ``NAME=SPEC``.

    Raises:
        MMTError: not of this form, or a name that is not made of letters, digits, ``.``, ``_`` and ``-``.
    """
    name, equals, spec = text.partition("=")
    if not equals or not spec or not is_name(name):
        raise MMTError(
            f"--system {text}: expected NAME=SPEC, where NAME has up to 40 letters, digits, '.', '_' and '-', "
            f"and SPEC is a model folder or {', '.join(f'{kind}:...' for kind in KINDS)}."
        )
    return name, spec


def kind_of(spec: str) -> str | None:
    """The key in ``KINDS``; None for a model, which ``open_systems`` loads."""
    kind, colon, _ = spec.partition(":")
    return kind if colon and kind in KINDS else None
