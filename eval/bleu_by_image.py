"""Scores translations with BLEU, apart for sentences with an image and without: the mean over each system's seeds.

    python -m eval.bleu_by_image data/multi30k_en_de_images test_2016_flickr OUT \\
        --system text=none1.de --system text=none2.de --system gated=gated1.de --system gated=gated2.de

A file has one translation a line, in the split's order, as ``mmt translate --data DATA --split SPLIT`` writes it.
The same name with several files means several seeds of one system. OUT gets ``result.json``, the terminal a table.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics.bleu import BLEU

from eval.system_files import files_by_system, read_system, system_option
from mmt.cli.command import Command, write_alone_in
from mmt.cli.options import PATH
from mmt.data.dataset import read_info, read_split
from mmt.errors import MMTError
from mmt.io.atomic import make_folder, write_whole
from mmt.io.tables import print_table
from mmt.io.terminal import console
from mmt.io.text_files import file_checksum
from mmt.io.versions import versions
from mmt.metrics.moses import looks_tokenized
from mmt.metrics.significance import FEWEST_SENTENCES, Spread
from mmt.metrics.translation import SacrebleuMetric, metrics_for, normalized

RESAMPLES = 1000
INTERVAL = (
    f"95 %, paired bootstrap over sentences (percentile, {RESAMPLES:,} resamples), of the means over these seeds"
)


@click.command(cls=Command, context_settings={"show_default": True})
@click.argument("data", type=PATH)
@click.argument("split")
@click.argument("out", type=PATH)
@system_option("File of translations")
@click.option("--seed", type=click.IntRange(min=0), default=1, help="Random seed of the bootstrap.")
def main(data: Path, split: str, out: Path, named_files: tuple[str, ...], seed: int) -> None:
    """Score systems' translations of SPLIT of the dataset DATA, apart for sentences with an image and without.

    The first system is the one that the others are compared with. The result goes into OUT.
    """
    systems = files_by_system(named_files, "NAME=FILE, such as gated=translations.de")
    write_alone_in(out)
    print_result(evaluate(data, split, out, systems, seed))


def evaluate(
    data: Path, split: str, out: Path, systems: Mapping[str, Sequence[Path]], seed: int = 1
) -> dict[str, Any]:
    """Scores and writes.

    Args:
        data: prepared with images; some sentences have none.
        systems: by name, a file of translations for each seed.
        seed: of the bootstrap.
    Returns:
        What ``OUT/result.json`` holds. ``groups`` has all sentences, those with an image in ``data``, and those
        without. Each has its number of sentences; each system's BLEU, which is the mean over seeds, the sample
        standard deviation (None for one seed) and each seed's value; and of each further system its mean minus
        the first's, with an interval (None for fewer than 30 sentences). BLEU is sacreBLEU's; of tokenised text,
        the papers' variant.
    Raises:
        MMTError: all or no sentences have an image; a blank reference; a file that cannot be read, has another
            number of lines, or is tokenised where the references are not, or the other way round; no BLEU of the
            language.
    """
    info, rows = read_info(data), read_split(data, split)
    where = f"{data} {split}"
    with_image = np.array(rows["has_image"], bool)
    if not with_image.any():
        raise MMTError(f"{where}: expected sentences with an image, found none. Prepare the data with its images.")
    if with_image.all():
        raise MMTError(f"{where}: found an image for each sentence. Score them with mmt score.")
    references: list[str] = list(rows["target"])
    blank = next((number for number, line in enumerate(references, 1) if not line.strip()), None)
    if blank is not None:
        raise MMTError(f"{where}: row {blank:,} has a blank reference. Prepare the data without it.")
    tokenized = looks_tokenized(references) is True
    key = "bleu_lc_tok" if tokenized else "bleu"
    metrics, reasons = metrics_for(references, target_lang=info.target_lang, tokenized=tokenized, only=(key,))
    metric = metrics.get(key)
    if not isinstance(metric, SacrebleuMetric):
        raise MMTError(f"{where}: no BLEU of this text: {reasons[key]}.")
    counts = {
        name: np.stack([_counts(metric, _read(path, name, len(rows), tokenized, where)) for path in paths])
        for name, paths in systems.items()
    }
    make_folder(out)
    groups = {"all": np.ones(len(rows), bool), "with image": with_image, "without image": ~with_image}
    result: dict[str, Any] = {
        "data": info.name,
        "data_checksum": info.splits[split].checksum,
        "split": split,
        "metric": metric.name,
        "signature": metric.signature(),
        "interval": INTERVAL,
        "seed": seed,
        "systems": {name: [file_checksum(path) for path in paths] for name, paths in systems.items()},
        "groups": {name: _score(metric, counts, chosen, seed) for name, chosen in groups.items()},
        "versions": versions("numpy", "sacrebleu"),
    }
    write_whole(out / "result.json", json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    return result


def _read(path: Path, name: str, num_rows: int, tokenized: bool, where: str) -> list[str]:
    lines = read_system(path, name, num_rows, f"one for each sentence of {where}", "Translate this split.")
    if looks_tokenized(lines) not in (None, tokenized):
        kinds = ("tokenised text", "raw text") if tokenized else ("raw text", "tokenised text")
        raise MMTError(
            f"--system {name}={path}: expected {kinds[0]}, as the references of {where} are, found {kinds[1]}. "
            "Translate this split with a model of such text."
        )
    return lines


def _counts(metric: SacrebleuMetric, lines: Sequence[str]) -> NDArray[np.int64]:
    """What corpus BLEU sums, (sentences, 2 + 2 * 4).

    The length of the translation and of the reference; of n = 1 to 4 the matched n-grams, then all of them.
    """
    pairs = zip(metric.prepare(normalized(lines)), metric.prepare(metric.references), strict=True)
    found = (metric.metric.corpus_score([line], [[reference]]) for line, reference in pairs)
    return np.array([[one.sys_len, one.ref_len, *one.counts, *one.totals] for one in found], np.int64)


def _bleu(metric: SacrebleuMetric, sums: NDArray[np.int64]) -> float:
    """BLEU of (2 + 2 * 4,), ``_counts`` summed over sentences."""
    length, reference, *ngrams = sums.tolist()
    matched, total = ngrams[: len(ngrams) // 2], ngrams[len(ngrams) // 2 :]
    bleu: Any = metric.metric
    found = BLEU.compute_bleu(matched, total, length, reference, bleu.smooth_method, bleu.smooth_value)
    return float(found.score)


def _score(
    metric: SacrebleuMetric, counts: Mapping[str, NDArray[np.int64]], chosen: NDArray[np.bool_], seed: int
) -> dict[str, Any]:
    """The scores of one group of sentences.

    Args:
        counts: of each system (seeds, sentences, C), see ``_counts``.
        chosen: (sentences,) which of them.
    """
    size = int(chosen.sum())
    of_group = {name: of_seeds[:, chosen] for name, of_seeds in counts.items()}
    spreads = {
        name: Spread.of([_bleu(metric, sums) for sums in of_seeds.sum(1)]) for name, of_seeds in of_group.items()
    }
    intervals = _intervals(metric, of_group, seed) if len(counts) > 1 and size >= FEWEST_SENTENCES else {}
    first, *others = counts
    return {
        "sentences": size,
        "bleu": {name: spread.to_dict() for name, spread in spreads.items()},
        "minus_first": {
            name: {"mean": spreads[name].mean - spreads[first].mean, "interval": intervals.get(name)}
            for name in others
        },
    }


def _intervals(
    metric: SacrebleuMetric, counts: Mapping[str, NDArray[np.int64]], seed: int
) -> dict[str, tuple[float, float]]:
    """The interval of each further system's mean minus the first's; ``counts`` as in ``_score``, of a group."""
    first, *others = counts
    size = counts[first].shape[1]
    generator, uniform = np.random.default_rng(seed), np.full(size, 1 / size)
    means: dict[str, list[float]] = {name: [] for name in counts}
    for _ in range(RESAMPLES):
        draw = generator.multinomial(size, uniform)  # (sentences,): how often each is drawn
        for name, of_seeds in counts.items():
            means[name].append(fmean(_bleu(metric, sums) for sums in draw @ of_seeds))
    ends = {name: np.percentile(np.subtract(means[name], means[first]), [2.5, 97.5]).tolist() for name in others}
    return {name: (low, high) for name, (low, high) in ends.items()}


def print_result(result: Mapping[str, Any]) -> None:
    """Prints the table of groups by systems and, below it, what it is made of."""
    first, *others = result["systems"]
    rows = []
    for name, scores in result["groups"].items():
        figures = [Spread(one["mean"], one["std"]).text() for one in scores["bleu"].values()]
        differences = [_difference(scores["minus_first"][other]) for other in others]
        rows.append([name, f"{scores['sentences']:,}", *figures, *differences])
    columns = ["sentences", "number", *result["systems"], *(f"{other} minus {first}" for other in others)]
    print_table(columns, rows, title=f"{result['data']} {result['split']}, {result['metric']}")
    notes = []
    if others:
        notes.append(f"Intervals: {result['interval']}.")
    if any(len(files) > 1 for files in result["systems"].values()):
        notes.append("± is the standard deviation over seeds.")
    if notes:
        console().print(" ".join(notes))


def _difference(one: Mapping[str, Any]) -> str:
    mean = f"{one['mean']:+.1f}"
    return mean if one["interval"] is None else "{} ({:+.1f} to {:+.1f})".format(mean, *one["interval"])


if __name__ == "__main__":
    main(prog_name="python -m eval.bleu_by_image")
