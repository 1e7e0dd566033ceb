"""Scores labels and scores of trained models on a test split, with controls; for ``recipes/results``.

    python -m eval.labels OUT --system gated runs/1/model data/x --system gated runs/2/model data/x \\
        --system "text only" runs/text/model data/x --images features/x

Models under one name are seeds, or, where each comes with a dataset of its own, folds, whose items are pooled.
OUT gets ``result.json``, and where there are labels ``confusion.png`` of the first system.
"""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.progress import track

from mmt.cli.command import Command, write_alone_in
from mmt.cli.options import MODEL, PATH, import_option, threads_option
from mmt.data.dataset import read_info, read_split
from mmt.data.image_names import Names
from mmt.data.labels import read_column, read_labels
from mmt.errors import MMTError
from mmt.evidence.controls import each_control
from mmt.inference.controls import wrong_images
from mmt.inference.labelling import predict
from mmt.inference.loaded import LoadedModel
from mmt.inference.threads import use_threads
from mmt.io.atomic import write_whole
from mmt.io.tables import print_table
from mmt.io.terminal import counted
from mmt.io.versions import versions
from mmt.metrics.labels import draw_confusion, label_scores, sentiment_scores
from mmt.metrics.significance import Spread
from mmt.model.card import read_card

_SHOWN = {
    "accuracy": "accuracy %", "weighted_f1": "weighted F1 %", "macro_f1": "macro F1 %", "mae": "MAE",
    "pearson": "r",
}  # fmt: skip


@dataclass
class _Items:
    """Predictions for the items of a split, and the truth."""

    label: list[str] = field(default_factory=list)
    true_label: list[str] = field(default_factory=list)
    score: list[float] = field(default_factory=list)
    true_score: list[float] = field(default_factory=list)
    kind: list[str] = field(default_factory=list)

    def add(self, other: _Items) -> None:
        for name in vars(self):
            getattr(self, name).extend(getattr(other, name))

    def of_kind(self, kind: str) -> _Items:
        rows = [row for row, one in enumerate(self.kind) if one == kind]
        return _Items(**{name: [values[row] for row in rows] for name, values in vars(self).items() if values})

    def scores(self) -> dict[str, Any]:
        scores: dict[str, Any] = label_scores(self.label, self.true_label) if self.label else {}
        return scores | (sentiment_scores(self.score, self.true_score) if self.score else {})


@click.command(cls=Command, context_settings={"show_default": True})
@click.argument("out", type=PATH)
@click.option("--system", "systems", type=(str, MODEL, PATH), multiple=True, required=True,
              metavar="NAME MODEL DATA", help="A model and its dataset; repeatable.")  # fmt: skip
@click.option("--split", default="test", help="Split of the datasets.")
@click.option(
    "--images",
    type=PATH,
    multiple=True,
    help="Feature store, for models with images or recordings; repeat it for several feature sets.",
)
@click.option(
    "--draws", type=click.IntRange(min=1), default=5, help="Number of random draws of wrong images or recordings."
)
@click.option("--task", default="", help="Name of the task in result.json.")
@threads_option
@import_option
def main(
    out: Path,
    systems: tuple[tuple[str, Path, Path], ...],
    split: str,
    images: tuple[Path, ...],
    draws: int,
    task: str,
    threads: int | None,
) -> None:
    """Label and score SPLIT with every model, with right, wrong and no images; write the result into OUT."""
    use_threads(threads)
    write_alone_in(out)
    measured = evaluate(systems, split, images, draws)
    controls = next(iter(measured["systems"].values()))
    first = controls["right"]
    metric = "accuracy" if "accuracy" in first["mean"] else "mae"
    result = {
        "task": task,
        "metric": metric,
        "value": first["mean"][metric],
        "spread": first["std"][metric],
        "prior": measured["prior"],
        "controls": {name: controls[name]["mean"][metric] for name in ("wrong", "blank") if name in controls},
        **measured,
        "versions": versions("torch", "scikit-learn", "scipy"),
    }
    write_whole(out / "result.json", json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    if "confusion" in first["pooled"]:
        draw_confusion(first["pooled"], out / "confusion.png")
    _print(measured)


def evaluate(
    systems: Sequence[tuple[str, Path, Path]], split: str, images: Sequence[Path], draws: int
) -> dict[str, Any]:
    """
    Args:
        systems: name, model folder and dataset of each model.
        images: feature stores, for models that see images or hear recordings.
    Returns:
        ``data``, ``prior`` (what the training split's most frequent label and median score get) and ``systems``:
        by name and control, ``mean`` and ``std`` over models, ``pooled`` scores of all items, and ``by_kind``.
    Raises:
        MMTError: a model without labels and scores, or data that does not fit.
    """
    by_name: dict[str, dict[str, list[list[_Items]]]] = {}
    cards: dict[str, list[dict[str, Any]]] = {}
    datasets: dict[Path, dict[str, Any]] = {}
    for name, folder, data in track(systems, "predicting", transient=True):
        stores = images if read_card(folder).features is not None else ()
        model = LoadedModel.from_dir(folder, stores or None)
        rows = read_split(data, split)
        truth = _truth(model.card.config["heads"], data, split, rows.column_names)
        right = _images(model, rows)
        uses_images = any(image is not None for image in right)
        wrong = [wrong_images(right, seed) for seed in range(1, draws + 1)] if uses_images else []
        label = partial(_labelled, model, list(rows["source"]), truth)
        for control, drawn in each_control(right if uses_images else None, wrong, label).items():
            by_name.setdefault(name, {}).setdefault(control, []).append(drawn)
        training = {**model.card.training, "model": model.card.config}
        cards.setdefault(name, []).append({"data": str(data.name), **training})
        datasets[data] = truth
    return {
        "data": [
            {
                "name": read_info(data).name,
                "folder": data.name,
                "split": split,
                "items": read_info(data).splits[split].sentences,
                "checksum": read_info(data).splits[split].checksum,
            }
            for data in datasets
        ],
        "prior": _prior(datasets),
        "draws_of_wrong_images": draws,
        "systems": {
            name: {control: _summary(runs) for control, runs in controls.items()} | {"models": cards[name]}
            for name, controls in by_name.items()
        },
    }


def _labelled(
    model: LoadedModel,
    sources: Sequence[str],
    truth: Mapping[str, Any],
    _: str,
    images: Sequence[str | None] | None,
) -> _Items:
    """What the model predicts with these images, beside what is true."""
    items = _Items(**{name: list(values) for name, values in truth.items()})
    predictions = predict(model, sources, images)
    items.label = [one.label or "" for one in predictions] if truth["true_label"] else []
    items.score = [one.score or 0.0 for one in predictions] if truth["true_score"] else []
    return items


def _images(model: LoadedModel, rows: Any) -> list[str | None]:
    """Of each row its image, as the model takes it; None where there is none, or the store lacks it.

    Images that the store lacks are named on standard error.
    """
    if model.card.features is None:
        return [None] * len(rows)
    names = [name if has else None for name, has in zip(rows["image"], rows["has_image"], strict=True)]
    if model.features is not None:
        missing = dict.fromkeys(name for name in names if name is not None and name not in model.features)
        if missing:
            listed = Names(model.features.ids).listed(missing)
            where = model.features.folder
            click.echo(f"{counted(len(missing), 'image')} without features in {where}: {listed}", err=True)
        return [name if name is not None and name in model.features else None for name in names]
    raise MMTError("--images is missing: name the feature store that the models were trained with.")


def _truth(heads: Sequence[str], data: Path, split: str, columns: Sequence[str]) -> dict[str, Any]:
    return {
        "true_label": read_labels(data, split, "label") if "classification" in heads else [],
        "true_score": read_column(data, split, "score", float) if "regression" in heads else [],
        "kind": read_column(data, split, "kind", str) if "kind" in columns else [],
    }


def _prior(datasets: Mapping[Path, Mapping[str, Any]]) -> dict[str, float]:
    """What the most frequent label and the median score of each training split get on its test split, pooled."""
    right: list[bool] = []
    errors: list[float] = []
    for data, truth in datasets.items():
        if truth["true_label"]:
            [(most, _)] = Counter(read_labels(data, "train", "label")).most_common(1)
            right += [label == most for label in truth["true_label"]]
        if truth["true_score"]:
            middle = statistics.median(read_column(data, "train", "score", float))
            errors += [abs(score - middle) for score in truth["true_score"]]
    prior = {"accuracy": 100 * sum(right) / len(right)} if right else {}
    return prior | ({"mae": sum(errors) / len(errors)} if errors else {})


def _summary(runs: Sequence[Sequence[_Items]]) -> dict[str, Any]:
    """Of one system under one control: each model's scores are the mean of its draws."""
    each = [_mean([items.scores() for items in draws]) for draws in runs]
    whole = _Items()
    for draws in runs:
        for items in draws:
            whole.add(items)
    summary = {"mean": _mean(each), "std": _std(each), "runs": len(runs), "each": each, "pooled": whole.scores()}
    kinds = sorted({*whole.kind})
    if kinds:
        parts = {kind: [_mean([i.of_kind(kind).scores() for i in draws]) for draws in runs] for kind in kinds}
        summary["by_kind"] = {
            kind: {"mean": _mean(values), "std": _std(values), "runs": len(runs), "items": whole.kind.count(kind)}
            for kind, values in parts.items()
        }
    return summary


def _mean(scores: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The mean of each score that all have."""
    numbers = [name for name in scores[0] if all(isinstance(one.get(name), float) for one in scores)]
    return {name: statistics.fmean(one[name] for one in scores) for name in numbers}


def _std(scores: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Their standard deviation; 0 for a single model."""
    return {name: Spread.of([one[name] for one in scores]).std or 0.0 for name in _mean(scores)}


def _print(result: Mapping[str, Any]) -> None:
    prior = ", ".join(f"{name} {value:.4g}" for name, value in result["prior"].items())
    items = sum(one["items"] for one in result["data"])
    rows = []
    columns = [name for name in _SHOWN if any(name in s["right"]["mean"] for s in result["systems"].values())]
    kinds = next(iter(result["systems"].values()))["right"].get("by_kind", {})
    what = "accuracy" if "accuracy" in columns else "mae"
    for name, controls in result["systems"].items():
        for control in ("right", "wrong", "blank"):
            if control not in controls:
                continue
            summary = controls[control]
            cells = [_cell(summary, column) for column in columns]
            cells += [_cell(summary["by_kind"][kind], what) for kind in kinds]
            rows.append([name if control == "right" else f"  {control}", *cells])
    headings = ["system", *(_SHOWN[name] for name in columns), *(f"{kind}: {_SHOWN[what]}" for kind in kinds)]
    print_table(headings, rows, title=f"{counted(items, 'item')}; prior: {prior}")


def _cell(summary: Mapping[str, Any], name: str) -> str:
    if name not in summary["mean"]:
        return ""
    decimals = 2 if name in ("mae", "pearson") else 1
    spread = f" ± {summary['std'][name]:.{decimals}f}" if summary["runs"] > 1 else ""
    return f"{summary['mean'][name]:.{decimals}f}{spread}"


if __name__ == "__main__":
    main(prog_name="python -m eval.labels")
