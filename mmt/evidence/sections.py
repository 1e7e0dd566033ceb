"""The sections of the evidence. A new section is one class here, with its fields in ``findings.Evidence``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar

import numpy as np

from mmt.data.dataset import read_split
from mmt.errors import MMTError
from mmt.evidence.choices import COMMUTE, choice_rows
from mmt.evidence.contrastive import check_items
from mmt.evidence.controls import Outputs
from mmt.evidence.evaluation import Systems
from mmt.evidence.findings import (
    FEWEST_CHRF,
    NO_REFERENCES,
    NOT_COMPARABLE,
    Comparison,
    Gates,
    SenseRow,
    SentenceResult,
    SystemResult,
    Verdict,
)
from mmt.evidence.gallery import gallery
from mmt.evidence.inside import GateStatistics
from mmt.evidence.measures import add_agreement, compare, verdict, what_changes
from mmt.evidence.models import ModelSystem
from mmt.evidence.sentences import Sentences
from mmt.evidence.stored import StoredSystem
from mmt.evidence.systems import describe, has_text_base, scorer
from mmt.metrics.ambiguity import Lexicon, find_ambiguous, sense_accuracy

_TEXT_ONLY = "the first system is text-only"


def _not_inside(systems: Systems) -> str:
    if isinstance(systems.first, StoredSystem):
        return "only answers are stored, no model: mmt evidence looks inside one"
    return "the first system is not a model folder, so that its inside cannot be looked at"


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
    """Which of two translations is preferred: the dataset's contrastive split and CoMMuTE."""

    name = COMMUTE

    def applies(self, systems: Systems) -> str | None:
        self.notes += systems.notes
        if systems.inputs.commute is None:
            self.notes.append((self.name, "no --commute"))
        for task in systems.tasks:
            for system in systems.by_name.values():
                if isinstance(system, ModelSystem):
                    check_items(system.translator, task.items.items, task.name)
        return None

    def run(self, systems: Systems) -> dict[str, Any]:
        rows = []
        for task in systems.tasks:
            of_task, silent = choice_rows(task, systems.by_name)
            rows += of_task
            self.notes += [(f"{task.name}, {name}", "its answers have no contrastive pairs") for name in silent]
        return {"choices": rows}


class Controls(Section):
    """Scores of every system under every control."""

    name = "scores"

    def applies(self, systems: Systems) -> str | None:
        for metric in systems.inputs.metrics:
            metric.check()
            if not systems.sentences.has_references and metric.reads_references:
                raise MMTError(
                    f"--metric {metric.label}: compares with references, and {NO_REFERENCES}. Leave it out, or "
                    "name a cometkiwi: model, which reads none."
                )
        if not systems.sentences.has_references:
            self.notes.append(("BLEU, chrF2, TER, probabilities of the references", NO_REFERENCES))
        return None

    def run(self, systems: Systems) -> dict[str, Any]:
        rows, signatures = systems.control_rows
        try:
            add_agreement(rows)
        except MMTError as error:
            self.notes.append(("agreement of people", str(error)))
        return {"controls": rows, "signatures": signatures}


class ComparedWith(Section):
    """Is the first system better than the text-only one?"""

    name = "comparison with a text-only model"

    def applies(self, systems: Systems) -> str | None:
        if not systems.sentences.has_references:
            self.notes.append((self.name, NO_REFERENCES))
            return None
        own_base = has_text_base(systems.first)
        return None if own_base or len(systems.by_name) > 1 else "no --against MODEL, and no other --system"

    def run(self, systems: Systems) -> dict[str, Any]:
        if not systems.sentences.has_references:
            return {"comparison": NOT_COMPARABLE}
        return {"comparison": comparison_of(systems, systems.name)}


def comparison_of(systems: Systems, name: str) -> Comparison | None:
    """A system compared with its baseline; None without one, and without references."""
    if not systems.sentences.has_references:
        return None
    baseline, outputs = systems.baseline(name), systems.outputs
    if baseline is None:
        return None
    rows = systems.control_rows[0] if name == systems.name else []  # their p values are of the first system
    other = next((key for key, one in outputs.items() if one is baseline), "")
    return compare(systems.sentences, outputs[name], baseline, rows, (name, other))


class ImageAwareness(Section):
    """Does the right image do better than wrong ones? The verdict."""

    name = "wrong and no images, awareness"

    def applies(self, systems: Systems) -> str | None:
        if systems.first.uses_images and not systems.sentences.has_references:
            self.notes.append(("image awareness", NO_REFERENCES))
        return None if systems.first.uses_images else _TEXT_ONLY

    def run(self, systems: Systems) -> dict[str, Any]:
        told = verdict_of(systems, systems.name)
        return {"awareness": systems.awareness.get(systems.name), "verdict": told}


def verdict_of(systems: Systems, name: str) -> Verdict:
    """Does a system use the image? Without references, what the image changes."""
    outputs = systems.outputs[name]
    if outputs.uses_images and not systems.sentences.has_references:
        return what_changes(outputs)
    return verdict(systems.awareness.get(name))


class EverySystem(Section):
    """The verdicts of all systems, and what they make of each sentence."""

    name = "systems"

    def run(self, systems: Systems) -> dict[str, Any]:
        results = []
        for name, outputs in systems.outputs.items():
            system, aware = outputs.system, systems.awareness.get(name)
            compared = comparison_of(systems, name)
            scores = scorer(system) is not None
            if not scores and systems.sentences.has_references:
                self.notes.append((f"probabilities of the references, {name}", "the system only translates"))
            told = describe(system)
            results.append(
                SystemResult(name, told, system.uses_images, scores, verdict_of(systems, name), compared, aware)
            )
        return {"systems": results, "sentences": sentence_results(systems)}


def sentence_results(systems: Systems) -> list[SentenceResult]:
    """What every system makes of each sentence, in the split's order."""
    sentences, shown = systems.sentences, systems.draws
    columns = zip(sentences.ids, sentences.sources, sentences.references, sentences.images, strict=True)
    return [
        SentenceResult(
            *about,
            [draw[row] for draw in shown],
            {
                name: {control: [draw[row] for draw in draws] for control, draws in outputs.hypotheses.items()}
                for name, outputs in systems.outputs.items()
            },
            {
                name: {control: [round(draw[row], 2) for draw in draws] for control, draws in scores.items()}
                for name, scores in systems.chrf.items()
            },
        )
        for row, about in enumerate(columns)
    ]


class GatesOfTokens(Section):
    """How far the fusion lets the images in: Wu et al.'s statistics."""

    name = "gates"

    def applies(self, systems: Systems) -> str | None:
        if not systems.first.uses_images:
            return _TEXT_ONLY
        if systems.model is None:
            return _not_inside(systems)
        if not systems.model.model.fuses_between:
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
        if not systems.sentences.has_references:
            return NO_REFERENCES
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
        if not systems.first.uses_images:
            return _TEXT_ONLY
        return None if systems.sentences.has_references else NO_REFERENCES

    def run(self, systems: Systems) -> dict[str, Any]:
        inputs, names = systems.inputs, list(systems.by_name)
        text_only = [name for name in names[1:] if not systems.by_name[name].uses_images]
        effects, items = gallery(
            systems.model,
            systems.sentences,
            systems.outputs[systems.name],
            systems.outputs[(text_only or names)[0 if text_only else 1]] if names[1:] else None,
            systems.awareness[systems.name],
            systems.draws[0],
            self._drawable(systems),
            systems.gates.sentences if systems.gates is not None else [],
            inputs.gallery,
        )
        if inputs.gallery and not items:
            few = f"no sentence that the image changes is translated with a chrF2 of {FEWEST_CHRF:g} or more"
            none = "no image makes a translation better or worse than without it"
            self.notes.append((self.name, few if effects.left_out else none))
        return {"effects": effects, "gallery": items}

    def _drawable(self, systems: Systems) -> Mapping[str, Path]:
        """The picture files that can be mapped: maps of pooled features are made with the backbone."""
        translator = systems.model
        if translator is None:
            self.notes.append(("maps over the pictures", _not_inside(systems)))
            return {}
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
    EverySystem,
    GatesOfTokens,
    AmbiguousWords,
    Examples,
)
"""In the order in which they run, and in which those that do not are listed."""
