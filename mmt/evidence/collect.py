"""Everything about systems that shows whether they use the image: what ``mmt evidence`` runs."""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mmt import __version__
from mmt.data.dataset import DatasetInfo, image_folder, read_info, read_split
from mmt.data.feature_store import FeatureStore, open_features
from mmt.data.store_files import META
from mmt.errors import MMTError
from mmt.evidence.choices import COMMUTE_KEY, ChoiceTask, commute_task
from mmt.evidence.contrastive import FoundImages, Item, check_commute, find_images, read_contrastive
from mmt.evidence.evaluation import Inputs, Systems
from mmt.evidence.findings import Evidence
from mmt.evidence.kinds import Setting, open_kind
from mmt.evidence.models import ModelSystem, open_systems, stores_of
from mmt.evidence.options import kind_of
from mmt.evidence.plan import Plan, make_plan
from mmt.evidence.sections import SECTIONS, Section
from mmt.evidence.sentences import Sentences, read_sentences
from mmt.evidence.systems import System, describe
from mmt.inference.ensemble import identity_of
from mmt.io.text_files import file_checksum
from mmt.io.versions import versions

__all__ = ["Inputs", "Prepared", "answer", "check_lines", "collect", "evidence_of", "identity", "plan", "prepare"]


def collect(inputs: Inputs) -> tuple[Evidence, dict[str, Path]]:
    """Runs all sections that apply to the systems and the data.

    Returns:
        What was measured, and the picture files of the sentences by name (those that are there).
    Raises:
        MMTError: an input is missing, damaged, of other languages, masked for another model, without images, or
            not what was planned.
    """
    started = time.monotonic()
    with _opened(inputs) as systems:
        return evidence_of(systems, started), dict(systems.files)


def answer(inputs: Inputs) -> None:
    """Stores in ``inputs.calls`` what the systems answer to a worker's share. Raises as ``collect``."""
    with _opened(inputs) as systems:
        systems.outputs  # noqa: B018  # what is computed is stored


def identity(inputs: Inputs) -> dict[str, Any]:
    """What the answers depend on (JSON), for ``SharedCalls.claim``.

    Raises:
        MMTError: a model or the data is missing.
    """
    info = read_info(inputs.data)
    specs = {name: str(spec) for name, spec in inputs.systems.items()}
    return {
        "mmt": __version__,
        "systems": {name: one if kind_of(one) is not None else identity_of(one) for name, one in specs.items()},
        "data": info.splits[inputs.split].checksum,
        "features": [file_checksum(store / META) for store in inputs.stores],
        "settings": [inputs.draws, inputs.seed, inputs.runtime, inputs.options],
    }


def evidence_of(systems: Systems, started: float) -> Evidence:
    """All sections that apply to opened systems.

    Args:
        started: when, by ``time.monotonic``.
    Raises:
        MMTError: as ``collect``.
    """
    fields, not_run = run_sections([section() for section in SECTIONS], systems)
    told = {name: describe(system) for name, system in systems.by_name.items()}
    named = {} if systems.name == "model" else {"name": systems.name}
    return Evidence(
        model=named | told[systems.name],
        data=_about_data(systems),
        against=told.get("against"),
        not_run=not_run,
        settings=_settings(systems.inputs, started),
        **fields,
    )


def plan(inputs: Inputs) -> tuple[Plan, dict[str, str]]:
    """What systems are to translate.

    Args:
        inputs: whose ``systems`` do not matter.
    Returns:
        The plan, and where the images lie: a folder by the beginning of their names.
    Raises:
        MMTError: as ``collect``.
    """
    ready = prepare(inputs)
    folders = {"": str(image_folder(inputs.data, ready.info).resolve())}
    if inputs.commute is not None:
        folders[f"{COMMUTE_KEY}/"] = str(inputs.folder_of_commute_images.resolve())
    return ready.plan, folders


def prepare(inputs: Inputs, stores: Sequence[FeatureStore] = ()) -> Prepared:
    """What is translated, before any system is opened.

    Args:
        inputs: whose ``systems`` do not matter.
        stores: sentences are left out whose image is not in all of these, or, without any, is not a file.
    Raises:
        MMTError: as ``collect``.
    """
    return _prepared(inputs, *_read(inputs), [], outside=True, stores=stores)


@contextmanager
def _opened(inputs: Inputs) -> Iterator[Systems]:
    """The systems, on the sentences whose images all of them can be shown."""
    info, names = _read(inputs)
    models = {name: [Path(spec)] for name, spec in inputs.systems.items() if kind_of(str(spec)) is None}
    with ExitStack() as stack:
        opened = stack.enter_context(
            open_systems(models, inputs.data, inputs.stores, names, runtime=inputs.runtime, threads=inputs.threads)
        )
        by_name: dict[str, System] = {name: seeds[0] for name, seeds in opened.items()}
        ours = [seeds[0] for seeds in opened.values()]
        ready = _prepared(inputs, info, names, ours, outside=len(models) < len(inputs.systems))
        for name, spec in inputs.systems.items():
            if name not in models:
                setting = Setting(name, info, ready.plan, ready.file_of, inputs.answers, inputs.options)
                by_name[name] = open_kind(str(spec), setting)
                stack.callback(getattr(by_name[name], "close", lambda: None))
        yield ready.systems({name: by_name[name] for name in inputs.systems})


def _read(inputs: Inputs) -> tuple[DatasetInfo, list[str]]:
    """The dataset, and the names of its images that will be shown. What can be wrong is looked at here."""
    info = read_info(inputs.data)
    if inputs.commute is not None:
        check_commute(inputs.commute, info)
    rows = read_split(inputs.data, inputs.split)
    names = [name for name, has_image in zip(rows["image"], rows["has_image"], strict=True) if has_image]
    return info, list(dict.fromkeys([*names, *(item.image for item in _contrastive(inputs, info))]))


def _contrastive(inputs: Inputs, info: DatasetInfo) -> list[Item]:
    """The items of the dataset's contrastive split, if there is one."""
    if "contrastive" in info.splits and "contrast" in read_split(inputs.data, "contrastive").column_names:
        return read_contrastive(inputs.data, "contrastive")
    return []


@dataclass(frozen=True)
class Prepared:
    """What is translated. names: of the dataset's images. notes: what is left out, and why."""

    inputs: Inputs
    info: DatasetInfo
    names: list[str]
    plan: Plan
    sentences: Sentences
    tasks: list[ChoiceTask]
    draws: list[list[str]]
    notes: list[tuple[str, str]]

    @cached_property
    def _own(self) -> frozenset[str]:
        return frozenset(self.names)

    def of_commute(self, name: str) -> bool:
        """Whether an image is one of CoMMuTE's."""
        return name not in self._own and name.startswith(f"{COMMUTE_KEY}/")

    def file_of(self, name: str) -> Path:
        """The file of an image, which need not exist."""
        if self.of_commute(name):
            return self.inputs.folder_of_commute_images / name.removeprefix(f"{COMMUTE_KEY}/")
        return image_folder(self.inputs.data, self.info) / name

    def systems(self, by_name: Mapping[str, System]) -> Systems:
        """Systems on these sentences, the one under test first."""
        files = {name: path for name in self.sentences.images if (path := self.file_of(name)).is_file()}
        return Systems(self.inputs, self.info, by_name, self.sentences, self.tasks, files, self.draws, self.notes)


def _prepared(
    inputs: Inputs,
    info: DatasetInfo,
    names: list[str],
    models: list[ModelSystem],
    *,
    outside: bool,
    stores: Sequence[FeatureStore] = (),
) -> Prepared:
    """
    Args:
        names: of the dataset's images that will be shown.
        models: loaded.
        outside: there are, or will be, systems that are not loaded yet, and they may be shown images.
    """
    folder, stores = image_folder(inputs.data, info), [*stores, *stores_of(models)]
    if not stores and inputs.stores:  # whose sentences would have an image
        stores = [open_features(inputs.stores)]

    def known(name: str) -> bool:
        return all(name in store for store in stores) if stores else (folder / name).is_file()

    sentences = read_sentences(inputs.data, inputs.split, known)
    check_lines(sentences, models)
    with_images = outside or any(system.uses_images for system in models)
    draws = sentences.draws(inputs.draws, inputs.seed) if with_images else []
    tasks: list[ChoiceTask] = []
    notes: list[tuple[str, str]] = []
    if items := _contrastive(inputs, info):
        name = f"{info.name} (contrastive)"
        try:
            found = FoundImages(items, [], [], 0)
            if with_images:
                found = find_images(items, folder, stores[0] if stores else None, "skip")
            tasks.append(ChoiceTask(name, "contrastive", found, files=False))
        except MMTError as error:
            notes.append((name, str(error)))
    if inputs.commute is not None:
        photos = inputs.folder_of_commute_images
        tasks.append(commute_task(inputs.commute, photos, models, with_images=with_images))
    languages = f"{info.source_lang}-{info.target_lang}"
    about = {"data": info.name, "languages": languages, "split": inputs.split}
    made = make_plan(about, sentences, draws, inputs.seed, [task.pairs for task in tasks])
    return Prepared(inputs, info, names, made, sentences, tasks, draws, notes)


def run_sections(sections: list[Section], systems: Systems) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Asks all sections whether they apply, then runs those that do.

    Returns:
        Fields of ``Evidence``, and what was not run with the reason. Sections not run for one reason share a line.
    """
    reasons = [section.applies(systems) for section in sections]
    fields: dict[str, Any] = {}
    for section, reason in zip(sections, reasons, strict=True):
        if reason is None:
            fields |= section.run(systems)
    by_reason: dict[str, list[str]] = {}
    for section, reason in zip(sections, reasons, strict=True):
        own = [(section.name, reason)] if reason is not None else []
        for name, why in [*section.notes, *own]:
            by_reason.setdefault(why, []).append(name)
    return fields, [(", ".join(names), why) for why, names in by_reason.items()]


def check_lines(sentences: Sentences, systems: Iterable[ModelSystem]) -> None:
    """Raises MMTError for a line that cannot be scored, with the id of its row."""
    for row, answer in zip(sentences.ids, sentences.answers or [], strict=False):
        if answer and not re.search(r"\w", answer):
            raise MMTError(f"row '{row}': expected a word as its answer, found {answer!r}. Correct the row.")
    for system in systems:
        translator = system.translator
        references = sentences.references if sentences.has_references else []
        for side, lines in (("source", sentences.sources), ("target", references)):
            target = side == "target"
            most = translator.max_pieces(target=target)
            for row, line in zip(sentences.ids, lines, strict=False):
                if not 0 < (length := len(translator.encode(line, target=target))) <= most:
                    raise MMTError(
                        f"row '{row}': expected a {side} of 1 to {most:,} pieces, found {length:,}. "
                        "Leave the row out, or name another split."
                    )


def _about_data(systems: Systems) -> dict[str, Any]:
    info, sentences = systems.info, systems.sentences
    return {
        "name": info.name,
        "split": systems.inputs.split,
        "languages": f"{info.source_lang}-{info.target_lang}",
        "masked": info.probe.get("kind"),
        **({} if sentences.has_references else {"references": "none"}),
        "sentences_with_image": len(sentences.ids),
        "sentences_without_image": sentences.without_image,
        "sentences_left_out": len(sentences.missing),
        "images_missing": list(dict.fromkeys(sentences.missing)),
        "checksum": info.splits[systems.inputs.split].checksum,
    }


def _settings(inputs: Inputs, started: float) -> dict[str, Any]:
    return {
        "draws": inputs.draws,
        "seed": inputs.seed,
        "seconds": round(time.monotonic() - started, 1),
        "date": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        **versions("torch", "fairseq2", "sacrebleu", "scipy"),
    }
