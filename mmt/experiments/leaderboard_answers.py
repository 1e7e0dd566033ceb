"""One system on one dataset of a leaderboard: opened when it is needed, and its answers stored."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mmt.data.feature_store import FeatureStore, open_features
from mmt.data.store_files import META
from mmt.errors import MMTError
from mmt.evidence.choices import choice_rows
from mmt.evidence.collect import Prepared, check_lines
from mmt.evidence.contrastive import check_items
from mmt.evidence.kinds import Setting, open_kind
from mmt.evidence.models import CommuteModel, open_systems
from mmt.evidence.options import SystemOptions, kind_of
from mmt.evidence.stored import FailedSystemError, StoredSystem
from mmt.evidence.systems import System
from mmt.experiments.leaderboard_config import DatasetEntry
from mmt.inference.ensemble import members_of, read_joint_card
from mmt.io.text_files import file_checksum
from mmt.model.config import is_base


@dataclass(frozen=True)
class Member:
    """One seed of a system: what the evidence calls it, its SPEC, and how it is opened."""

    name: str
    spec: str
    options: SystemOptions


@dataclass(frozen=True)
class BoardData:
    """One dataset, ready to be translated."""

    name: str
    entry: DatasetEntry
    ready: Prepared

    @cached_property
    def images(self) -> str:
        """A checksum (SHA-256, hex) of the image files that a system is shown."""
        shown = {*self.ready.names, *(name for task in self.ready.tasks for name in task.images)}
        files = {name: self.ready.file_of(name) for name in sorted(shown)}
        return checksum_of({name: file_checksum(path) for name, path in files.items() if path.is_file()})


def _system(
    member: Member, data: BoardData, answers: Path, *, only_table: bool, threads: int | None = None
) -> tuple[System, str]:
    """A system whose answers are stored, and a checksum of what it is.

    Translations made elsewhere are read from where they are.
    """
    setting = Setting(
        member.name, data.ready.info, data.ready.plan, data.ready.file_of, answers / data.name, member.options
    )
    if kind_of(member.spec) == "files":
        folder = Path(member.spec.partition(":")[2])
        return open_kind(member.spec, setting), checksum_of([member.name, _of_folder(folder)])
    stores = _stores_of(member.spec, data)
    identity = checksum_of(
        [member.spec, _of_spec(member.spec), _of_options(member.options), _of_images(stores, data)]
    )

    @contextmanager
    def opening() -> Iterator[System]:
        if only_table:
            raise MMTError("not evaluated yet.")
        if kind_of(member.spec) is not None:
            system = open_kind(member.spec, setting)
            try:
                yield system
            finally:
                getattr(system, "close", lambda: None)()
            return
        models = {member.name: [Path(member.spec)]}
        with open_systems(models, data.entry.data, stores or (), data.ready.names, threads=threads) as opened:
            model = opened[member.name][0]
            check_lines(data.ready.sentences, [model])
            for task in data.ready.tasks:
                check_items(model.translator, task.items.items, task.name)
            yield CommuteModel(model.folder, model.translator, data.ready.of_commute, data.ready.file_of)

    return StoredSystem(member.name, answers / data.name / member.name / identity[:16], opening), identity


def answered_system(
    member: Member, data: BoardData, answers: Path, *, only_table: bool, threads: int | None = None
) -> tuple[System, str]:
    """A system that has answered all that it is asked alone, closed again; and a checksum of what it is.

    Args:
        threads: of our models, as of ``mmt.inference.open.open_translator``.
    Raises:
        FailedSystemError: it cannot.
        MMTError: its answers cannot be stored, or are damaged.
    """
    try:
        system, identity = _system(member, data, answers, only_table=only_table, threads=threads)
    except MMTError as error:
        raise FailedSystemError(member.name, str(error)) from error
    systems = data.ready.systems({member.name: system})
    try:
        for task in data.ready.tasks:
            choice_rows(task, systems.by_name)
        systems.outputs  # noqa: B018  # what is computed is stored
    except MMTError as error:
        if isinstance(system, StoredSystem):  # which tells its own failures from those of the disk
            raise
        raise FailedSystemError(member.name, str(error)) from error
    finally:
        if isinstance(system, StoredSystem):
            system.release()
    return system, identity


def _stores_of(spec: str, data: BoardData) -> list[Path] | None:
    """The dataset's features that a model reads; None for a system that reads no features, or image files."""
    if kind_of(spec) is not None or is_base(spec) or not data.entry.stores:
        return None
    signature = read_joint_card(spec).features
    if signature is None:
        return None
    there: list[FeatureStore] = [open_features(stores) for stores in data.entry.stores]
    for stores, opened in zip(data.entry.stores, there, strict=True):
        if opened.signature == signature:
            return stores
    found = "; ".join(str(store.signature) for store in there)
    raise MMTError(f"{spec}: expected features of {signature}, the dataset has {found}. Add them to features.")


def _place(spec: str) -> Path:
    """The folder that a SPEC names, if it names one."""
    return Path(spec.partition(":")[2] if kind_of(spec) is not None or is_base(spec) else spec).expanduser()


def _of_spec(spec: str) -> object:
    """The checksums of the folder that a SPEC names, or of an ensemble's folders."""
    members = [spec] if kind_of(spec) is not None else list(map(str, members_of(spec)))
    folders = [_of_folder(_place(member)) for member in members]
    return folders[0] if len(folders) == 1 else folders


def _of_folder(folder: Path) -> dict[str, str] | None:
    """The checksum of each file in a folder; None without one, such as for a name on a hub."""
    if not folder.is_dir():
        return None
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): file_checksum(path) for path in files}


def _of_options(options: SystemOptions) -> dict[str, Any]:
    """The options that change answers, not how fast they come."""
    files = {"prompt": options.prompt, "examples": options.examples}
    texts = {name: None if path is None else file_checksum(path) for name, path in files.items()}
    return {**texts, "text_only": options.text_only, "dtype": options.dtype}


def _of_images(stores: list[Path] | None, data: BoardData) -> list[str]:
    return [data.images] if stores is None else [file_checksum(store / META) for store in stores]


def checksum_of(value: Any) -> str:
    """SHA-256 (hex) of a value that JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
