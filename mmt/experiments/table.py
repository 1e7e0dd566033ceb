"""The table and the plot of a comparison, from the scores of its runs."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmt.data.dataset import read_info
from mmt.evidence.findings import CONTROLS
from mmt.evidence.measures import sentence_chrf
from mmt.evidence.sentences import Sentences, read_sentences
from mmt.experiments.config import Cell, CompareConfig
from mmt.experiments.scores import RunScores
from mmt.inference.controls import Control
from mmt.io.atomic import write_whole
from mmt.io.figures import new_figure
from mmt.io.tables import print_table
from mmt.io.terminal import console, counted
from mmt.io.versions import versions
from mmt.metrics.accuracy import word_hits
from mmt.metrics.masked_words import ProbeScore, can_be_scored, gold_items, probe_accuracy
from mmt.metrics.p_values import signed_rank
from mmt.metrics.significance import Spread, holm, p_text
from mmt.metrics.translation import leading_metric, normalized
from mmt.training.config import TrainConfig

_TERMINAL_COLUMNS = 6  # columns of the table that a terminal has room for

_SHOWN: tuple[Control, ...] = ("right", "wrong", "blank")
TEST = (
    "Wilcoxon signed-rank, two-sided, over sentences, of {}, averaged over the seeds that both have and over "
    "draws; Holm's correction over the systems of the table"
)


@dataclass(frozen=True)
class Row:
    """One system. ``scores`` go from 0 to 100, by score and control; text only has ``right`` alone."""

    fusion: str
    features: str
    seeds: list[int]
    parameters: int
    tokens_per_second: float
    updates: list[int]
    scores: dict[str, dict[Control, Spread]]
    p_text_only: float | None = None
    """None where it is not tested; 1 where nothing differs."""

    p_wrong: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """For ``compare.json``."""
        scores = {
            label: {control: spread.to_dict() for control, spread in by_control.items()}
            for label, by_control in self.scores.items()
        }
        return {**vars(self), "scores": scores}


@dataclass(frozen=True)
class _Score:
    """How translations, or choices, become one number, and one number for each sentence, which is tested."""

    label: str
    tested: str
    of_all: Callable[[Any], float]
    of_each: Callable[[Any], list[float]]
    chooses: bool = False


def tabulate(scores: Mapping[Cell, RunScores], config: CompareConfig, recipe: TrainConfig) -> list[Row]:
    """One row a system that has runs; p values are of the first score, against text only and wrong images."""
    assert recipe.data.path is not None  # noqa: S101
    kinds = _scores_of(read_sentences(recipe.data.path, config.split), recipe.data.path)
    rows: list[Row] = []
    each: list[dict[int, dict[Control, NDArray[Any]]]] = []  # of each row, by seed
    for fusion, features in config.systems():
        runs = [run for run in scores if (run.fusion, run.features) == (fusion, features)]
        if not runs:
            continue
        table = {}
        for kind in kinds:
            drawn = [scores[run].choices if kind.chooses else scores[run].hypotheses for run in runs]
            table[kind.label] = {
                control: Spread.of([fmean(map(kind.of_all, seed[control])) for seed in drawn])
                for control in drawn[0]
            }
            if kind is kinds[0]:
                each.append(
                    {
                        run.seed: {
                            control: np.mean([kind.of_each(draw) for draw in draws], axis=0)
                            for control, draws in seed.items()
                        }
                        for run, seed in zip(runs, drawn, strict=True)
                    }
                )
        trained = [scores[run].training for run in runs]
        rows.append(
            Row(
                fusion,
                features,
                [run.seed for run in runs],
                scores[runs[0]].parameters,
                fmean(one["target_tokens_per_second"] for one in trained),
                [one["updates"] for one in trained],
                table,
            )
        )
    return _tested(rows, each)


def _tested(rows: list[Row], each: Sequence[Mapping[int, Mapping[Control, NDArray[Any]]]]) -> list[Row]:
    def p_value(row: int, other: int, control: Control) -> float | None:
        seeds = sorted(set(each[row]) & set(each[other]))
        if not seeds:
            return None
        difference = np.mean([each[row][seed]["right"] - each[other][seed][control] for seed in seeds], axis=0)
        p = signed_rank(difference.tolist())
        return 1.0 if p is None else p  # nothing differs anywhere

    text = next((number for number, row in enumerate(rows) if row.fusion == "none"), None)
    with_images = [number for number, row in enumerate(rows) if row.fusion != "none"]
    against_text = holm([p_value(n, text, "right") if text is not None else None for n in with_images])
    against_wrong = holm([p_value(n, n, "wrong") for n in with_images])
    tested = list(rows)
    for n, text_p, wrong_p in zip(with_images, against_text, against_wrong, strict=True):
        tested[n] = replace(rows[n], p_text_only=text_p, p_wrong=wrong_p)
    return tested


def _scores_of(sentences: Sentences, data: Path) -> list[_Score]:
    """The scores that the data allows, the most telling first."""
    info, scores = read_info(data), []
    references = normalized(sentences.references)
    if sentences.contrasts is not None:
        scores.append(_Score("right choice %", "choices", lambda hits: 100 * fmean(hits), list, chooses=True))
    if info.probe and can_be_scored(info.probe["kind"], info.target_lang):
        masked_words = _masked_words(sentences, references, info.probe["kind"], info.target_lang)
        scores += [masked_words] if masked_words is not None else []
    answers = sentences.answers or [""]
    if all(answers):
        scores.append(
            _Score(
                "right word %",
                "right words",
                lambda lines: 100 * fmean(word_hits(lines, answers)),
                lambda lines: [float(hit) for hit in word_hits(lines, answers)],
            )
        )
    _, metric = leading_metric(references, info.target_lang)
    scores.append(
        _Score(
            metric.name,
            "chrF2 of each",
            lambda lines: metric.score(normalized(lines)),
            lambda lines: sentence_chrf(lines, references),
        )
    )
    return scores


def _masked_words(sentences: Sentences, references: list[str], kind: str, lang: str) -> _Score | None:
    """The share of masked words that are restored; None where no reference translates one."""
    masked = sentences.masked or []

    def probe(lines: list[str]) -> ProbeScore:
        return probe_accuracy(masked, references, lines, kind, lang)

    gold = (gold_items(words, text, lang) for words, text in zip(masked, sentences.references, strict=True))
    if not any(item for items in gold for item in items):
        return None
    return _Score(
        f"{kind} %",
        "words in the reference's form",
        lambda lines: float(100 * probe(lines).restricted),
        lambda lines: [float(hit.restricted) for hit in probe(lines).hits if hit.items],
    )


def write_comparison(rows: Sequence[Row], config: CompareConfig, recipe: TrainConfig, out: Path) -> None:
    """Prints the table, and writes ``compare.json``, ``compare.md`` and ``compare.png`` into ``out``."""
    assert recipe.data.path is not None  # noqa: S101
    info = read_info(recipe.data.path)
    sentences = len(read_sentences(recipe.data.path, config.split).ids)
    languages = f"{info.source_lang}-{info.target_lang}"
    heading = f"{info.name} {config.split}, {languages}, {counted(sentences, 'sentence')} with an image"
    columns, lines = table_of(rows)
    shown = [[cell.replace(" ± ", "±") for cell in line[:_TERMINAL_COLUMNS]] for line in lines]
    print_table(columns[:_TERMINAL_COLUMNS], shown, title=heading)
    kinds = _scores_of(read_sentences(recipe.data.path, config.split), recipe.data.path)
    test = TEST.format(kinds[0].tested)
    wrong = f"wrong: the mean over {counted(config.draws, 'draw')} of another sentence's image"
    if kinds[0].chooses:
        wrong = "wrong: the picture of the sentence's other meaning"
    notes = [f"± is the standard deviation over seeds; {wrong}.", f"p: {test}."]
    notes.append("tokens/s of training as it was: what else the machine did is in it.")
    for note in (*notes[:2], f"All columns: {out / 'compare.md'}; as a picture: {out / 'compare.png'}."):
        console().print(note, soft_wrap=True)
    result = {
        "data": info.name,
        "data_checksum": info.splits[config.split].checksum,
        "split": config.split,
        "sentences": sentences,
        "draws": config.draws,
        "control_seed": config.control_seed,
        "test": test,
        "systems": [row.to_dict() for row in rows],
        "versions": versions("torch", "fairseq2", "sacrebleu", "scipy"),
    }
    write_whole(out / "compare.json", json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    markdown = ["| " + " | ".join(columns) + " |", "| " + " | ".join(["---"] * len(columns)) + " |"]
    markdown += ["| " + " | ".join(line) + " |" for line in lines]
    write_whole(out / "compare.md", "\n".join([f"{heading}.", "", *markdown, "", *notes]) + "\n")
    plot(rows, heading, out / "compare.png")


def table_of(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """The columns' names, and the cells of each row; the findings come first."""
    first = _main(rows)
    columns = ["system", *(f"{first}, {name}" for name in map(CONTROLS.__getitem__, _SHOWN)), "p, text only"]
    others = [label for label in rows[0].scores if label != first]
    columns += [f"{label}, right image" for label in others]
    columns += ["p, wrong image", "seeds", "parameters", "tokens/s"]
    lines = []
    for row in rows:
        tested = [p_text(p, label=False) for p in (row.p_text_only, row.p_wrong)]
        against_text, against_wrong = tested if row.fusion != "none" else ("", "")
        cells = [_name(row), *(str(row.scores[first].get(control, "")) for control in _SHOWN), against_text]
        cells += [str(row.scores[label]["right"]) for label in others]
        cells += [against_wrong, str(len(row.seeds)), f"{row.parameters:,}", f"{row.tokens_per_second:,.0f}"]
        lines.append(cells)
    return columns, lines


def _name(row: Row) -> str:
    return f"{row.fusion} ({row.features})" if row.features else "text only"


def plot(rows: Sequence[Row], heading: str, path: Path) -> None:
    """A line a system: each seed's score and their mean, with the right image, a wrong one and none."""
    first = _main(rows)
    styles = {"right": ("o", "#0b6e99", 0.0), "wrong": ("X", "#b5533c", 0.22), "blank": ("s", "#7a7a7a", -0.22)}
    style = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}
    with new_figure(7.5, 1.4 + 0.5 * len(rows), style) as (figure, axes):
        for height, row in enumerate(reversed(rows)):
            for control, spread in row.scores[first].items():
                marker, colour, shift = styles[control]
                if row.fusion == "none":
                    marker, colour = "D", "black"
                    axes.axvline(spread.mean, color="black", linewidth=0.8, linestyle=":")
                axes.plot(spread.values, [height + shift] * len(spread.values), marker, color=colour, alpha=0.35,
                          markersize=5, linestyle="none", markeredgewidth=0)  # fmt: skip
                axes.plot(spread.mean, height + shift, marker, color=colour, markersize=8, linestyle="none",
                          label=CONTROLS[control] if row.fusion != "none" else "text only")  # fmt: skip
        names = [_name(row) for row in reversed(rows)]
        axes.set_yticks(range(len(rows)), names)
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", linewidth=0.4, alpha=0.5)
        axes.set_xlabel(first)
        axes.set_title(heading, fontsize=9, loc="left")
        handles, labels = axes.get_legend_handles_labels()
        unique = dict(zip(labels, handles, strict=True))
        figure.legend(unique.values(), unique.keys(), loc="outside lower center", ncols=4, frameon=False)
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=150, metadata={"Software": None})
    write_whole(path, picture.getvalue())


def _main(rows: Sequence[Row]) -> str:
    """The score that the comparison is about, the first."""
    return next(iter(rows[0].scores))
