"""The kinds of system that ``--system NAME=SPEC`` names.

A new kind is one function, its row in ``_OPENED`` and its word in ``mmt.evidence.options.KINDS``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmt.data.dataset import DatasetInfo
from mmt.errors import MMTError
from mmt.evidence.answers import open_files
from mmt.evidence.options import SystemOptions
from mmt.evidence.plan import Plan
from mmt.evidence.systems import System


@dataclass(frozen=True)
class Setting:
    """What a system is opened with: its name, the data, the plan, where images lie, and a folder for answers."""

    name: str
    info: DatasetInfo
    plan: Plan
    files: Callable[[str], Path]
    folder: Path
    options: SystemOptions = field(default_factory=SystemOptions)


def open_kind(spec: str, setting: Setting) -> System:
    """Opens a system of one of ``KINDS``. Raises MMTError as the kind does."""
    kind, _, rest = spec.partition(":")
    return _OPENED[kind](rest, setting)


def _files(rest: str, setting: Setting) -> System:
    return open_files(Path(rest), setting.plan)


def _read(setting: Setting) -> dict[str, Any]:
    """What every language model reads: images, languages and the prompt's files."""
    info, options = setting.info, setting.options
    return {
        "files": setting.files,
        "source_lang": info.source_lang,
        "target_lang": info.target_lang,
        "prompt": options.prompt,
        "examples": options.examples,
        "text_only": options.text_only,
    }


def _hf(rest: str, setting: Setting) -> System:
    from mmt.inference.hf import HFSystem  # transformers takes seconds

    options = setting.options
    return HFSystem(
        rest,
        **_read(setting),
        device=options.device,
        dtype=options.dtype,
        batch_size=options.batch_size,
    )


def _api(rest: str, setting: Setting) -> System:
    url, hash_sign, model = rest.rpartition("#")
    if not hash_sign or not url or not model:
        raise MMTError(f"--system {setting.name}=api:{rest}: expected api:URL#MODEL.")
    from mmt.inference.api import APISystem

    options = setting.options
    return APISystem(
        url,
        model,
        **_read(setting),
        folder=setting.folder / setting.name,
        concurrency=options.concurrency,
        max_requests=options.max_requests,
    )


_OPENED: dict[str, Callable[[str, Setting], System]] = {"files": _files, "hf": _hf, "api": _api}
"""By the words of ``KINDS``. Any other SPEC is a model folder, an exported model or a pretrained text model."""
