"""Scores answers to questions about pictures, by kind of question, beside what one guesses without a picture.

    python -m eval.vqa data/vqa_multi30k test OUT --system text=none1.txt --system text=none2.txt \\
        --system gated=gated1.txt --system gated=gated2.txt

A file has one answer a line, in the split's order, as ``mmt translate --data DATA --split SPLIT`` writes it. The
same name with several files means several seeds of one system. OUT gets ``result.json``, the terminal its table.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import scipy
from numpy.typing import NDArray

from eval.system_files import files_by_system, read_system, system_option
from mmt.cli.command import Command, write_alone_in
from mmt.cli.options import PATH
from mmt.data.dataset import read_info, read_split
from mmt.errors import MMTError
from mmt.io.atomic import make_folder, write_whole
from mmt.io.tables import print_table
from mmt.io.terminal import console, counted
from mmt.io.versions import versions
from mmt.metrics.moses import unescape
from mmt.metrics.significance import Spread
from mmt.metrics.vqa import answer_accuracy, normalise_answer, prior_answers

COLUMNS = ("kind", "answers")
PRIORS = ("prior by kind", "prior by question")
METRIC = "VQA v2 accuracy (https://visualqa.org/evaluation.html); one answer: equal after VQA's normalisation"
INTERVAL = "95 %, bootstrap over pictures (percentile, {resamples:,} resamples), of the mean over seeds"
RESAMPLES = 2000


@click.command(cls=Command, context_settings={"show_default": True})
@click.argument("data", type=PATH)
@click.argument("split")
@click.argument("out", type=PATH)
@system_option("File of answers, one a line")
@click.option("--seed", type=click.IntRange(min=0), default=1, help="Random seed of the bootstrap.")
def main(data: Path, split: str, out: Path, named_files: tuple[str, ...], seed: int) -> None:
    """Score systems' answers to the questions of SPLIT of the dataset DATA; write the result into OUT.

    The first system is the one that the others are compared with.
    """
    systems = files_by_system(named_files, "NAME=FILE, such as gated=answers.txt, with a NAME of its own", PRIORS)
    write_alone_in(out)
    print_result(evaluate(data, split, out, systems, seed))


def evaluate(
    data: Path, split: str, out: Path, systems: Mapping[str, Sequence[Path]], seed: int = 1
) -> dict[str, Any]:
    """Scores and writes.

    Args:
        data: with the columns of ``data_prep.vqa``; its split ``train`` is where the priors and the known answers
            come from.
        systems: by name, a file of answers for each seed.
        seed: of the bootstrap.
    Returns:
        What ``OUT/result.json`` holds. Accuracies go from 0 to 1; ``groups`` has, for all questions, for each
        kind, and for answers that the training split has and has not (where it lacks some), the number of
        questions and each system's accuracy: mean over seeds, sample standard deviation (None for one seed), each
        seed's value, and the interval (None for a single picture). Of every system after the first there is also
        its accuracy minus the first's.
    Raises:
        MMTError: data without kinds and answers, a file of another number of lines, or one that cannot be read.
    """
    info = read_info(data)
    rows, train = _read(data, split), _read(data, "train")
    accuracies = {
        name: np.array([[answer_accuracy(a, row["answers"]) for a, row in zip(answers, rows, strict=True)]
                        for answers in of_seeds])
        for name, of_seeds in _answers(rows, train, systems, f"{data} {split}").items()
    }  # fmt: skip
    make_folder(out)
    images = np.unique([row["image"] for row in rows], return_inverse=True)[1]
    known = {normalise_answer(row["target"]) for row in train}
    is_known = np.array([normalise_answer(row["target"]) in known for row in rows])
    kinds = np.array([row["kind"] for row in rows])
    groups = {"all": np.ones(len(rows), bool)}
    groups |= {kind: kinds == kind for kind in sorted(set(kinds.tolist()))}
    if not is_known.all():
        groups |= {"answer seen in training": is_known, "answer not seen in training": ~is_known}
    first = next(iter(systems))
    result: dict[str, Any] = {
        "data": info.name,
        "data_checksum": info.splits[split].checksum,
        "train_checksum": info.splits["train"].checksum,
        "split": split,
        "questions": len(rows),
        "pictures": int(np.max(images)) + 1,
        "not_seen_in_training": float(1 - is_known.mean()),
        "metric": METRIC,
        "interval": INTERVAL.format(resamples=RESAMPLES),
        "seed": seed,
        "systems": {name: [_sha256(path) for path in paths] for name, paths in systems.items()},
        "groups": {
            name: _score(chosen, images, accuracies, first, seed)
            for name, chosen in groups.items()
            if chosen.any()
        },
        "versions": versions("numpy", "scipy"),
    }
    whole = result["groups"]["all"]["accuracy"]
    result = {  # the gist first
        "task": "questions about images",
        "value": whole[first]["mean"],
        "spread": whole[first]["std"],
        "prior": {name: whole[name]["mean"] for name in PRIORS},
        "controls": {name: whole[name]["mean"] for name in systems if name != first},
        **result,
    }
    write_whole(out / "result.json", json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    return result


def _read(data: Path, split: str) -> list[dict[str, Any]]:
    table = read_split(data, split)
    missing = [column for column in COLUMNS if column not in table.column_names]
    if missing:
        raise MMTError(
            f"{data}: no column '{missing[0]}' in '{split}', so these are no questions about pictures. Make such "
            "data with mmt prepare vqa."
        )
    rows: list[dict[str, Any]] = list(table.select_columns(["image", "source", "target", *COLUMNS]))
    return rows


def _answers(
    rows: Sequence[Mapping[str, Any]],
    train: Sequence[Mapping[str, Any]],
    systems: Mapping[str, Sequence[Path]],
    where: str,
) -> dict[str, list[list[str]]]:
    """The priors' and the systems' answers, of each seed, in the order of ``rows``."""
    prior = prior_answers(train)
    answers = {
        PRIORS[0]: [[prior.by_kind(row["kind"]) for row in rows]],
        PRIORS[1]: [[prior.by_question(row["source"], row["kind"]) for row in rows]],
    }
    for name, paths in systems.items():
        expected = f"one for each question of {where}"
        files = [read_system(path, name, len(rows), expected, "Answer this split.") for path in paths]
        answers[name] = [[unescape(line) for line in lines] for lines in files]
    return answers


def _score(
    chosen: NDArray[np.bool_],
    images: NDArray[np.integer[Any]],
    accuracies: Mapping[str, NDArray[np.float64]],
    first: str,
    seed: int,
) -> dict[str, Any]:
    """The scores of one group of questions.

    Args:
        chosen: (Q,) which of the questions.
        images: (Q,) the number of each one's picture.
        accuracies: of each system (seeds, Q).
        first: the system that the others are compared with.
    """
    num_chosen = int(chosen.sum())
    scores: dict[str, Any] = {"questions": num_chosen, "accuracy": {}, "minus_first": {}}
    for name, of_seeds in accuracies.items():
        mean = of_seeds.mean(0)
        seeds = of_seeds[:, chosen].mean(1).tolist()
        scores["accuracy"][name] = {
            **Spread.of(seeds).to_dict(),
            "interval": _interval(mean[chosen], images[chosen], seed),
        }
        if name not in (*PRIORS, first):
            difference = (mean - accuracies[first].mean(0))[chosen]
            scores["minus_first"][name] = {
                "mean": float(difference.mean()),
                "interval": _interval(difference, images[chosen], seed),
            }
    return scores


def _interval(
    values: NDArray[np.float64], images: NDArray[np.integer[Any]], seed: int
) -> tuple[float, float] | None:
    """The interval of the mean of ``values``; None where they are all of one picture.

    Pictures are drawn, each with all its questions, which are not independent of each other.
    """
    pictures, counts = np.unique(images, return_counts=True)
    if len(pictures) < 2:
        return None
    sums = np.bincount(np.searchsorted(pictures, images), values)
    interval = scipy.stats.bootstrap(
        (sums, counts.astype(float)),
        lambda sums, counts, axis: sums.sum(axis) / counts.sum(axis),
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=100,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def print_result(result: Mapping[str, Any]) -> None:
    """Prints the table of groups by systems and, below it, what it is made of."""
    out, rows = console(), []
    for name, scores in result["groups"].items():
        of_priors = [f"{100 * scores['accuracy'][prior]['mean']:.1f}" for prior in PRIORS]
        of_systems = [_cell(scores["accuracy"][system]) for system in result["systems"]]
        rows.append([name, f"{scores['questions']:,}", *of_priors, *of_systems])
    columns = ("questions", "number", *PRIORS, *result["systems"])
    print_table(columns, rows, title=f"{result['data']} {result['split']}, accuracy in %")
    first = next(iter(result["systems"]))
    for name, difference in result["groups"]["all"]["minus_first"].items():
        line = f"{name} minus {first}: {100 * difference['mean']:+.1f} points"
        if difference["interval"] is not None:
            low, high = difference["interval"]
            line += f" ({100 * low:+.1f} to {100 * high:+.1f})"
        out.print(line)
    out.print(
        f"{counted(result['questions'], 'question')} about {counted(result['pictures'], 'picture')}; "
        f"{100 * result['not_seen_in_training']:.1f} % have an answer that training never gave. Intervals: "
        f"{result['interval']}. A prior is the most frequent answer in training, to that kind of question or to "
        "that very question."
    )
    if any(len(of_seeds) > 1 for of_seeds in result["systems"].values()):
        out.print("± is the standard deviation over seeds.")


def _cell(figure: Mapping[str, Any]) -> str:
    """Two lines: mean and deviation, interval; in percent."""
    text = Spread(figure["mean"], figure["std"]).text(times=100)
    if figure["interval"] is None:
        return text
    low, high = figure["interval"]
    return f"{text}\n{100 * low:.1f}–{100 * high:.1f}"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main(prog_name="python -m eval.vqa")
