"""One evaluation: its inputs, its systems, and what several sections of the evidence need of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from mmt.data.dataset import DatasetInfo
from mmt.evidence.choices import ChoiceTask
from mmt.evidence.controls import Outputs, run_controls
from mmt.evidence.findings import Awareness, ControlRow
from mmt.evidence.inside import GateStatistics, gate_statistics
from mmt.evidence.measures import awareness, control_rows, sentence_chrf
from mmt.evidence.models import ModelSystem
from mmt.evidence.neural import Metric, add_neural_scores
from mmt.evidence.options import SystemOptions
from mmt.evidence.sentences import Sentences
from mmt.evidence.shared import SharedCalls
from mmt.evidence.systems import Progress, System, has_text_base, progress
from mmt.inference.controls import Control
from mmt.inference.open import Runtime
from mmt.inference.torch_runtime import Translator


@dataclass(frozen=True)
class Inputs:
    """Where the evidence comes from; what is None is left out.

    systems: what is evaluated, by name, the system under test first. Each is a folder of a model or an exported
        model, FAMILY:NAME_OR_FOLDER of a pretrained text model, or a kind of ``mmt.evidence.kinds``. The command's
        --model and --against are called so here: ``model`` and ``against``.
    stores: features by image id; without them the models read the dataset's image files.
    commute: a CoMMuTE folder such as ``CoMMuTE/en-de``; its images are in ``commute_images``, or else in
        ``CoMMuTE/images``.
    answers: the folder where systems that have to be paid store what they answered.
    metrics: neural metrics that score the translations, too.
    runtime, threads: of our models, as of ``mmt.inference.open.open_translator``.
    calls: where workers of an engine store what systems answer under controls.
    """

    systems: Mapping[str, str | Path]
    data: Path
    split: str
    stores: tuple[Path, ...] = ()
    commute: Path | None = None
    commute_images: Path | None = None
    draws: int = 5
    seed: int = 1
    gallery: int = 12
    options: SystemOptions = field(default_factory=SystemOptions)
    answers: Path = Path("answers")
    metrics: tuple[Metric, ...] = ()
    runtime: Runtime = "auto"
    threads: int | None = None
    calls: SharedCalls | None = None

    @property
    def folder_of_commute_images(self) -> Path:
        return self.commute_images or (self.commute or Path()).parent / "images"


@dataclass(frozen=True)
class _TextBase:
    """A model whose text model was frozen, without images: that is exactly its text-only base."""

    system: System
    uses_images: ClassVar[bool] = False

    def translate(
        self, sentences: Sequence[str], images: Sequence[str | None] | None, progress: Progress | None = None
    ) -> list[str]:
        return self.system.translate(sentences, None, progress)


@dataclass(frozen=True)
class Systems:
    """What the sections are about; what several of them need is computed once, when the first one asks.

    by_name: the system under test first. tasks: contrastive pairs. files: the sentences' image files, by name.
    draws: the wrong images of each draw. notes: what is left out of the contrastive pairs, and why.
    """

    inputs: Inputs
    info: DatasetInfo
    by_name: Mapping[str, System]
    sentences: Sentences
    tasks: list[ChoiceTask]
    files: Mapping[str, Path]
    draws: list[list[str]]
    notes: list[tuple[str, str]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Of the system under test."""
        return next(iter(self.by_name))

    @property
    def first(self) -> System:
        return self.by_name[self.name]

    @property
    def model(self) -> Translator | None:
        """The first system's model, if its inside can be looked at."""
        return self.first.in_torch if isinstance(self.first, ModelSystem) else None

    @cached_property
    def outputs(self) -> dict[str, Outputs]:
        """What each system makes of the sentences under each control: the long part."""
        found = {}
        for name, system in self.by_name.items():
            asked = system if self.inputs.calls is None else self.inputs.calls.of(name, system)
            outputs = run_controls(asked, self.sentences, self.draws, name=name).normalized()
            found[name] = replace(outputs, system=system)
        return found

    @cached_property
    def control_rows(self) -> tuple[list[ControlRow], dict[str, str]]:
        probe = self.info.probe.get("kind", "")
        rows, signatures = control_rows(self.sentences, self.outputs, self.info.target_lang, probe)
        for metric in self.inputs.metrics:
            signatures[metric.label] = add_neural_scores(rows, self.outputs, self.sentences, metric)
        return rows, signatures

    @cached_property
    def chrf(self) -> dict[str, dict[Control, list[list[float]]]]:
        """Sentence chrF2 of each system's translations; of a system that scores, of the first wrong draw only.

        Without references, each system has no entries.
        """
        found: dict[str, dict[Control, list[list[float]]]] = {}
        for name, outputs in self.outputs.items():
            found[name] = {}
            for control, draws in outputs.hypotheses.items() if self.sentences.has_references else ():
                wanted = draws[:1] if outputs.log_probs else draws
                references = self.sentences.references * len(wanted)
                scores = sentence_chrf([line for draw in wanted for line in draw], references)
                num = len(self.sentences.ids)
                found[name][control] = [scores[at : at + num] for at in range(0, len(scores), num)]
        return found

    @cached_property
    def awareness(self) -> dict[str, Awareness]:
        """Of each system that uses images; of none where the data has no references."""
        return {
            name: awareness(outputs, self.chrf[name])
            for name, outputs in self.outputs.items()
            if outputs.uses_images and self.sentences.has_references
        }

    def baseline(self, name: str) -> Outputs | None:
        """What a system is compared with: a text-only system, if there is one; else its own frozen text model.

        The first system is compared with the second, where there is neither.
        """
        others = {other: system for other, system in self.by_name.items() if other != name}
        text_only = next((other for other, system in others.items() if not system.uses_images), None)
        if text_only is not None and (self.by_name[name].uses_images or name == self.name):
            return self.outputs[text_only]
        system, outputs = self.by_name[name], self.outputs[name]
        if has_text_base(system):
            return replace(outputs, system=_TextBase(system), hypotheses={"right": outputs.hypotheses["blank"]})
        return self.outputs[next(iter(others))] if others and name == self.name else None

    @cached_property
    def gates(self) -> GateStatistics | None:
        """None where the fusion does nothing between encoder and decoder."""
        if not self.first.uses_images or self.model is None or not self.model.model.fuses_between:
            return None
        with progress("gates", len(self.sentences.images)) as advance:
            return gate_statistics(self.model, self.sentences.sources, self.sentences.images, progress=advance)
