"""The sections of the evidence. A new section is one class here, with its fields in ``findings.Evidence``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar

import numpy as np

from mmt.data.dataset import DatasetInfo, read_split
from mmt.errors import MMTError
from mmt.evidence.contrastive import (
    ChoiceTask,
    FoundImages,
    Item,
    check_items,
    choice_rows,
    find_images,
    read_commute,
)
from mmt.evidence.findings import FEWEST_CHRF, Awareness, ControlRow, Gates, SenseRow
from mmt.evidence.gallery import gallery
from mmt.evidence.inside import GateStatistics, gate_statistics
from mmt.evidence.measures import awareness, compare, control_rows, verdict
from mmt.evidence.systems import ModelSystem, Outputs, Sentences, progress, run_controls
from mmt.inference.torch_runtime import Translator
from mmt.metrics.ambiguity import Lexicon, find_ambiguous, sense_accuracy

_TEXT_ONLY = "the model is text-only"


@dataclass(frozen=True)
class Inputs:
    """Where the evidence comes from; what is None is left out.

    stores: features by image id; without them the models read the dataset's image files.
    commute: a CoMMuTE folder such as ``CoMMuTE/en-de``; its images are in ``commute_images``, or else in
        ``CoMMuTE/images``.
    """

    model: Path
    data: Path
    split: str
    stores: tuple[Path, ...] = ()
    against: Path | None = None
    commute: Path | None = None
    commute_images: Path | None = None
    draws: int = 5
    seed: int = 1
    gallery: int = 12


@dataclass(frozen=True)
class Systems:
    """What the sections are about; what several of them need is computed once, when the first one asks.

    by_name: ``model``, the system under test, and ``against``, if there is one.
    contrastive: items of the dataset's own contrastive split. files: the sentences' image files, by name.
    """

    inputs: Inputs
    info: DatasetInfo
    by_name: Mapping[str, ModelSystem]
    sentences: Sentences
    contrastive: list[Item]
    files: Mapping[str, Path]

    @property
    def model(self) -> ModelSystem:
        return self.by_name["model"]

    @cached_property
    def draws(self) -> list[list[str]]:
        """The wrong images of each draw; none for text-only models."""
        if not any(system.uses_images for system in self.by_name.values()):
            return []
        return self.sentences.draws(self.inputs.draws, self.inputs.seed)

    @cached_property
    def outputs(self) -> dict[str, Outputs]:
        """What each system makes of the sentences under each control: the long part."""
        return {
            name: run_controls(system, self.sentences, self.draws, name=name).normalized()
            for name, system in self.by_name.items()
        }

    @cached_property
    def control_rows(self) -> tuple[list[ControlRow], dict[str, str]]:
        probe = self.info.probe.get("kind", "")
        return control_rows(self.sentences, self.outputs, self.info.target_lang, probe)

    @cached_property
    def awareness(self) -> Awareness | None:
        return awareness(self.outputs["model"]) if self.model.uses_images else None

    @cached_property
    def gates(self) -> GateStatistics | None:
        """None where the fusion does nothing between encoder and decoder."""
        if not self.model.uses_images or not self.model.translator.model.fuses_between:
            return None
        with progress("gates", len(self.sentences.images)) as advance:
            return gate_statistics(
                self.model.translator, self.sentences.sources, self.sentences.images, progress=advance
            )


@dataclass
class Section:
    """A part of the evidence.

    name: what it is called if it is not run.
    notes: parts of it that were not run, and why.
    """

    name: ClassVar[str]
    notes: list[tuple[str, str]] = field(default_factory=list)

    def applies(self, systems: Systems) -> str | None:
        """Why the section is not run; None if it is.

        All sections are asked before the first one runs, so this is where a section checks its input: before the
        long part.

        Raises:
            MMTError: its input is wrong.
        """
        return None

    def run(self, systems: Systems) -> dict[str, Any]:
        """The fields of ``findings.Evidence`` that the section fills."""
        raise NotImplementedError


class Choices(Section):
    """Which of two translations is more probable: the dataset's contrastive split and CoMMuTE."""

    name = "CoMMuTE"

    def applies(self, systems: Systems) -> str | None:
        inputs = systems.inputs
        self.tasks: list[ChoiceTask] = []
        if systems.contrastive:
            name = f"{systems.info.name} (contrastive)"
            stores = [s.translator.features for s in systems.by_name.values() if s.uses_images]
            try:
                items = FoundImages(systems.contrastive, [], [], 0)
                if stores:
                    items = find_images(systems.contrastive, None, stores[0], "skip")
                self.tasks.append(ChoiceTask(name, items, files=False))
            except MMTError as error:
                self.notes.append((name, str(error)))
        if inputs.commute is None:
            self.notes.append((self.name, "no --commute"))
        else:
            folder = inputs.commute_images or inputs.commute.parent / "images"
            self.tasks.append(_commute_task(inputs.commute, folder, systems.by_name))
        for task in self.tasks:
            for system in systems.by_name.values():
                check_items(system.translator, task.items.items, task.name)
        return None

    def run(self, systems: Systems) -> dict[str, Any]:
        return {"choices": [row for task in self.tasks for row in choice_rows(task, systems.by_name)]}


def _commute_task(commute: Path, images: Path, systems: Mapping[str, ModelSystem]) -> ChoiceTask:
    items = FoundImages(read_commute(commute), [], [], 0)
    with_images = [system for system in systems.values() if system.uses_images]
    if with_images:
        for system in with_images:
            system.translator.backbones  # noqa: B018  # must be there to read the photographs
        items = find_images(items.items, images, None, "skip")
    return ChoiceTask("CoMMuTE", items, files=True)


class Controls(Section):
    """Scores of every system under every control."""

    name = "scores"

    def run(self, systems: Systems) -> dict[str, Any]:
        rows, signatures = systems.control_rows
        return {"controls": rows, "signatures": signatures}


class ComparedWith(Section):
    """Is the model better than the other one?"""

    name = "comparison with a text-only model"

    def applies(self, systems: Systems) -> str | None:
        return None if "against" in systems.by_name else "no --against MODEL"

    def run(self, systems: Systems) -> dict[str, Any]:
        outputs, (rows, _) = systems.outputs, systems.control_rows
        return {"comparison": compare(systems.sentences, outputs["model"], outputs["against"], rows)}


class ImageAwareness(Section):
    """Does the right image make the references more probable? The verdict."""

    name = "wrong and no images, awareness"

    def applies(self, systems: Systems) -> str | None:
        return None if systems.model.uses_images else _TEXT_ONLY

    def run(self, systems: Systems) -> dict[str, Any]:
        return {"awareness": systems.awareness, "verdict": verdict(systems.awareness)}


class GatesOfTokens(Section):
    """How far the fusion lets the images in: Wu et al.'s statistics."""

    name = "gates"

    def applies(self, systems: Systems) -> str | None:
        if not systems.model.uses_images:
            return _TEXT_ONLY
        if not systems.model.translator.model.fuses_between:
            return f"{systems.model.card.config['fusion']} fusion does nothing between encoder and decoder"
        return None

    def run(self, systems: Systems) -> dict[str, Any]:
        assert systems.gates is not None  # noqa: S101  # applies() has seen to it
        return {"gates": summarize_gates(systems.gates)}


def summarize_gates(gates: GateStatistics) -> Gates:
    """Wu et al.'s statistics of the split, with a histogram over its sentences and the pieces of widest gates."""
    means = [one.mean for one in gates.sentences if one is not None and one.mean is not None]
    shares = np.histogram(means, bins=10, range=(0, 1))[0] / max(len(means), 1)
    pieces: dict[str, list[float]] = {}
    for one in gates.sentences:
        for token in one.tokens if one is not None else ():
            pieces.setdefault(token.piece, []).append(token.norm_ratio if token.gate is None else token.gate)
    fewest = min(5, len(gates.sentences))  # a piece seen once says little
    often = [(piece, fmean(values), len(values)) for piece, values in pieces.items() if len(values) >= fewest]
    widest = sorted(often, key=lambda piece: -piece[1])[:10]
    histogram = shares.tolist() if means else []
    return Gates(gates.mean, gates.over_1e5, gates.over_1e10, gates.norm_ratio, histogram, widest)


class AmbiguousWords(Section):
    """Words with several translations in training, translated in the reference's sense."""

    name = "ambiguous words"

    def applies(self, systems: Systems) -> str | None:
        if "train" not in systems.info.splits:
            return "the dataset has no split 'train' to learn them from"
        return None

    def run(self, systems: Systems) -> dict[str, Any]:
        info = systems.info
        train = read_split(systems.inputs.data, "train")
        sources = train["unmasked" if "unmasked" in train.column_names else "source"]
        try:
            lexicon = find_ambiguous(list(sources), list(train["target"]), info.source_lang, info.target_lang)
            rows = sense_rows(lexicon, systems.sentences, systems.outputs)
        except MMTError as error:
            self.notes.append((self.name, str(error)))
            return {}
        if not rows:
            self.notes.append((self.name, "none of them stands in these sentences"))
        return {"senses": rows}


def sense_rows(lexicon: Lexicon, sentences: Sentences, outputs: Mapping[str, Outputs]) -> list[SenseRow]:
    """Ambiguous words under every control (the first draw of wrong images); [] where the split has none."""
    rows = []
    sources = sentences.unmasked or sentences.sources
    for name, system in outputs.items():
        for control, draws in system.hypotheses.items():
            score = sense_accuracy(lexicon, sources, sentences.references, draws[0])
            if score.accuracy is None or score.macro_f1 is None:
                continue
            shares = {
                group: (g.accuracy / 100, g.items) for group, g in score.groups.items() if g.accuracy is not None
            }
            usual = None if score.usual_accuracy is None else score.usual_accuracy / 100
            label = control if system.uses_images else "text"
            num, accuracy, f1 = len(score.items), score.accuracy / 100, score.macro_f1 / 100
            rows.append(SenseRow(name, label, num, accuracy, f1, shares, usual))
    return rows


class Examples(Section):
    """Sentences that their own image helped or hurt most, with maps over the pictures."""

    name = "examples"

    def applies(self, systems: Systems) -> str | None:
        return None if systems.model.uses_images else _TEXT_ONLY

    def run(self, systems: Systems) -> dict[str, Any]:
        inputs, aware, translator = systems.inputs, systems.awareness, systems.model.translator
        assert aware is not None  # noqa: S101  # applies() has seen to it
        effects, items = gallery(
            translator,
            systems.sentences,
            systems.outputs["model"],
            systems.outputs.get("against"),
            aware,
            systems.draws[0],
            self._drawable(translator, systems),
            systems.gates.sentences if systems.gates is not None else [],
            inputs.gallery,
        )
        if inputs.gallery and not items:
            few = f"no sentence that the image changes is translated with a chrF2 of {FEWEST_CHRF:g} or more"
            none = "no image makes a translation better or worse than without it"
            self.notes.append((self.name, few if effects.left_out else none))
        return {"effects": effects, "gallery": items}

    def _drawable(self, translator: Translator, systems: Systems) -> Mapping[str, Path]:
        """The picture files that can be mapped: maps of pooled features are made with the backbone."""
        assert translator.card.features is not None  # noqa: S101
        if systems.inputs.gallery and translator.card.features.num_regions == 1:
            try:
                translator.backbones  # noqa: B018
            except MMTError as error:
                self.notes.append(("maps over the pictures", str(error)))
                return {}
        return systems.files


SECTIONS: tuple[type[Section], ...] = (
    Choices,
    Controls,
    ComparedWith,
    ImageAwareness,
    GatesOfTokens,
    AmbiguousWords,
    Examples,
)
"""In the order in which they run, and in which those that do not are listed."""
