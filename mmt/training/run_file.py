"""``run.json``: what a run is, so that a folder is never continued with other data or settings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmt.data.dataset import DatasetInfo
from mmt.data.feature_store import FeatureStore
from mmt.errors import MMTError, unreadable
from mmt.io.atomic import make_folder, write_whole
from mmt.io.processes import num_processes, rank
from mmt.io.terminal import console
from mmt.io.text_files import parse_json
from mmt.model.card import ModelCard
from mmt.model.pretrained.base import Base
from mmt.training.config import TrainConfig
from mmt.training.config_file import dump_config

RUN_FILE = "run.json"
RUN_TOKENIZER = "tokenizer.model"
"""The first file that a run creates."""

_FREE = ("regime", "threads", "stack", "decoding", "mlflow")
"""Sections that a resumed run may change: how long it trains and how it reports, not what it trains."""

_FREE_SETTINGS = (("optimizer", "num_accumulate"), ("data", "readers"))
"""Settings that it may change, too: they depend on the processes, and the batches are the same."""


def describe(
    config: TrainConfig,
    info: DatasetInfo,
    features: FeatureStore | None,
    beside: Sequence[DatasetInfo],
    start: ModelCard | None,
    base: Base | None = None,
) -> dict[str, Any]:
    """What ``run.json`` contains: settings, and checksums of all that is read."""
    return {
        "config": _settings(config),
        "data": {"name": info.name, "checksums": {name: split.checksum for name, split in info.splits.items()}},
        "features": features.signature.to_dict() if features is not None else None,
        "beside": [
            {"name": other.name, "checksum": other.splits[one.split].checksum}
            for one, other in zip(config.beside, beside, strict=True)
        ],
        "start": start.training if start is not None else None,
        "text": {"sha256": base.sha256} if base is not None else None,
        "batches_per_update": num_processes() * config.optimizer.num_accumulate,
    }


def claim(output: Path, config: TrainConfig, now: dict[str, Any]) -> None:
    """Writes ``run.json`` and the configuration into ``output``.

    Args:
        now: of ``describe``.
    Raises:
        MMTError: ``output`` holds a run on other data or with other settings, or its ``run.json`` is damaged.
    """
    path = output / RUN_FILE
    if path.exists() and (output / RUN_TOKENIZER).exists():  # else it failed before there was anything to keep
        before = _read(path)
        _check_settings(output, before["config"], now["config"])
        _check_data(output, before, now)
        _report_batches(output, before.get("batches_per_update"), now["batches_per_update"], config)
    if rank() == 0:
        make_folder(output)
        write_whole(path, json.dumps(now, indent=2) + "\n")
        write_whole(output / "config.mmt.yaml", dump_config(config))


def _read(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        return {**content, "config": dict(content["config"])}
    except PermissionError as error:
        raise unreadable(error) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MMTError(f"{path}: damaged ({error}). Name another folder.") from None


def _check_settings(output: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    default = _settings(TrainConfig())  # of settings that an earlier version of mmt did not have
    before = {**default, **before}
    for section in [name for name in before if name not in _FREE]:
        old, new = before[section], now[section]
        if not isinstance(old, dict):
            _check_setting(output, section, old, new)
            continue
        for key in new:
            if (section, key) not in _FREE_SETTINGS:
                _check_setting(output, f"{section}.{key}", old.get(key, default[section][key]), new[key])


def _check_setting(output: Path, name: str, old: Any, new: Any) -> None:
    if old != new:
        raise MMTError(
            f"{output}: holds a run with {name} = {old}, now it is {new}. Resume with the old value, or name "
            "another folder."
        )


def _check_data(output: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    for part in ("data", "features", "beside", "start", "text"):
        if before.get(part) != now[part] and (part in before or now[part]):
            raise MMTError(
                f"{output}: holds a run on other {part}: {before.get(part)}, now {now[part]}. Name another folder."
            )


def _report_batches(output: Path, old: int | None, new: int, config: TrainConfig) -> None:
    if old not in (None, new) and rank() == 0:
        console(err=True).print(
            f"{output}: resumes with {new} batches an update instead of {old}: optimizer.num_accumulate "
            f"({config.optimizer.num_accumulate}) x processes ({num_processes()}).",
            soft_wrap=True,
        )


def _settings(config: TrainConfig) -> dict[str, Any]:
    """The settings without folders, which may have moved: checksums say whether their content is the same."""
    settings: dict[str, Any] = json.loads(json.dumps(asdict(config), default=str))
    for section, key in (("data", "path"), ("data", "datasets"), ("images", "features"), ("start", "model")):
        settings[section].pop(key)
    settings["model"]["text"] = settings["model"]["text"].partition(":")[0]  # the family
    for one in settings["beside"]:
        one.pop("data")
    return settings
