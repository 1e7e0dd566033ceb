"""BLEU of the sentences that have their image and of the others: the mean over seeds of each system.

    python -m eval.bleu_by_image data/multi30k_en_de_images test_2016_flickr OUT \\
        --system text=none1.de --system text=none2.de --system gated=gated1.de --system gated=gated2.de

A file has one translation a line, in the split's order, as ``mmt translate --data DATA --split SPLIT`` writes it.
The same name with several files means several seeds of one system. OUT gets ``result.json``, the terminal a table.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics.bleu import BLEU

from mmt.cli.command import Command, write_alone_in
from mmt.cli.options import PATH
from mmt.data.dataset import read_info, read_split
from mmt.data.inputs import read_texts
from mmt.errors import MMTError, local_path
from mmt.io.atomic import make_folder, write_whole
from mmt.io.formats import TRANSLATIONS
from mmt.io.tables import print_table
from mmt.io.terminal import console
from mmt.io.text_files import file_checksum
from mmt.io.versions import versions
from mmt.metrics.moses import looks_tokenized
from mmt.metrics.significance import FEWEST_SENTENCES, Spread
from mmt.metrics.translation import SacrebleuMetric, metrics_for, normalized

RESAMPLES = 1000
INTERVAL = f"95 %, paired bootstrap over sentences (percentile, {RESAMPLES:,} resamples), of the means over seeds"
_ORDER = 4  # of BLEU's n-grams


@click.command(cls=Command, context_settings={"show_default": True})
@click.argument("data", type=PATH)
@click.argument("split")
@click.argument("out", type=PATH)
@click.option(
    "--system",
    "named_files",
    multiple=True,
    required=True,
    metavar="NAME=FILE",
    help="File of translations; repeat it with the same NAME for seeds, with others for other systems.",
)
@click.option("--seed", type=click.IntRange(min=0), default=1, help="Random seed of the bootstrap.")
def main(data: Path, split: str, out: Path, named_files: tuple[str, ...], seed: int) -> None:
    """BLEU of SPLIT's sentences with an image and without, of several systems; write the result into OUT.

    The first system is the one that the others are compared with.
    """
    systems: dict[str, list[Path]] = {}
    for text in named_files:
        name, sign, file = text.partition("=")
        if not (name and sign and file):
            raise MMTError(f"--system {text}: expected NAME=FILE, such as gated=translations.de.")
        systems.setdefault(name, []).append(local_path(file))
    write_alone_in(out)
    print_result(evaluate(data, split, out, systems, seed))


def evaluate(
    data: Path, split: str, out: Path, systems: Mapping[str, Sequence[Path]], seed: int = 1
) -> dict[str, Any]:
    """Scores and writes.

    Args:
        data: prepared with images.
        systems: by name, a file of translations for each seed.
        seed: of the bootstrap.
    Returns:
        What ``OUT/result.json`` holds. ``groups`` has, for all sentences, those with an image and those without,
        the number of sentences and each system's BLEU: mean over seeds, sample standard deviation (None for one
        seed) and each seed's value. Of every system after the first there is also its mean minus the first's, with
        an interval (None of fewer than 30 sentences). BLEU is sacreBLEU's; of tokenised text, the papers' variant.
    Raises:
        MMTError: data in which all or no sentences have an image, a file of another number of lines, or one that
            cannot be read; no BLEU for the language.
    """
    info, rows = read_info(data), read_split(data, split)
    with_image = np.array(rows["has_image"], bool)
    if with_image.all() or not with_image.any():
        raise MMTError(
            f"{data} {split}: expected sentences with an image and without, found {with_image.sum():,} of "
            f"{len(rows):,} with one. Prepare it with --images, and without --only-images."
        )
    references: list[str] = list(rows["target"])
    metrics, reasons = metrics_for(
        references,
        target_lang=info.target_lang,
        tokenized=looks_tokenized(references) or False,
        only=("bleu", "bleu_lc_tok"),
    )
    metric = next(iter(metrics.values()), None)
    if not isinstance(metric, SacrebleuMetric) or not isinstance(metric.metric, BLEU):
        raise MMTError(f"{data} {split}: no BLEU of this text: {next(iter(reasons.values()))}.")
    counts = {
        name: np.stack([_counts(metric, _read(path, name, len(rows), f"{data} {split}")) for path in paths])
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
        "groups": {name: _score(counts, chosen, seed) for name, chosen in groups.items()},
        "versions": versions("numpy", "sacrebleu"),
    }
    write_whole(out / "result.json", json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    return result


def _read(path: Path, name: str, num_rows: int, where: str) -> list[str]:
    lines = read_texts(path, TRANSLATIONS)
    if len(lines) != num_rows:
        raise MMTError(
            f"--system {name}={path}: expected {num_rows:,} lines, one for each sentence of {where}, but it has "
            f"{len(lines):,}. Translate this split."
        )
    return lines


def _counts(metric: SacrebleuMetric, lines: Sequence[str]) -> NDArray[np.int64]:
    """Of each sentence what BLEU adds up: (sentences, 2 + 2 * 4), the lengths, then right and all n-grams."""
    pairs = zip(metric.prepare(normalized(lines)), metric.prepare(metric.references), strict=True)
    found = (metric.metric.corpus_score([line], [[reference]]) for line, reference in pairs)
    return np.array([[one.sys_len, one.ref_len, *one.counts, *one.totals] for one in found], np.int64)


def _bleu(sums: NDArray[np.int64]) -> float:
    length, reference, *ngrams = sums.tolist()
    right, total = ngrams[:_ORDER], ngrams[_ORDER:]
    return float(BLEU.compute_bleu(right, total, length, reference, max_ngram_order=_ORDER).score)


def _score(counts: Mapping[str, NDArray[np.int64]], chosen: NDArray[np.bool_], seed: int) -> dict[str, Any]:
    """The scores of one group of sentences.

    Args:
        counts: of each system (seeds, sentences, C), see ``_counts``.
        chosen: (sentences,) which of them.
    """
    size = int(chosen.sum())
    of_group = {name: of_seeds[:, chosen] for name, of_seeds in counts.items()}
    spreads = {name: Spread.of([_bleu(one) for one in of.sum(1)]) for name, of in of_group.items()}
    scores: dict[str, Any] = {
        "sentences": size,
        "bleu": {name: spread.to_dict() for name, spread in spreads.items()},
        "minus_first": {},
    }
    first, *others = counts
    if not others:
        return scores
    # (resamples, sentences): how often each is drawn
    draws = np.random.default_rng(seed).multinomial(size, np.full(size, 1 / size), RESAMPLES)
    resampled = {
        name: np.array([[_bleu(sums) for sums in draws @ seeds] for seeds in of_seeds]).mean(0)
        for name, of_seeds in of_group.items()
    }
    for name in others:
        low, high = np.percentile(resampled[name] - resampled[first], [2.5, 97.5]).tolist()
        scores["minus_first"][name] = {
            "mean": spreads[name].mean - spreads[first].mean,
            "interval": (low, high) if size >= FEWEST_SENTENCES else None,
        }
    return scores


def print_result(result: Mapping[str, Any]) -> None:
    """Prints the table of groups by systems and, below it, what it is made of."""
    first, *others = result["systems"]
    rows = []
    for name, scores in result["groups"].items():
        of_systems = [Spread(one["mean"], one["std"]).text() for one in scores["bleu"].values()]
        differences = [_difference(scores["minus_first"][other]) for other in others]
        rows.append([name, f"{scores['sentences']:,}", *of_systems, *differences])
    columns = ["sentences", "number", *result["systems"], *(f"{other} minus {first}" for other in others)]
    print_table(columns, rows, title=f"{result['data']} {result['split']}, {result['metric']}")
    seeds = any(len(files) > 1 for files in result["systems"].values())
    spread = " ± is the standard deviation over seeds." if seeds else ""
    console().print(f"Intervals: {result['interval']}.{spread}")


def _difference(one: Mapping[str, Any]) -> str:
    mean = f"{one['mean']:+.1f}"
    return mean if one["interval"] is None else "{} ({:+.1f} to {:+.1f})".format(mean, *one["interval"])


if __name__ == "__main__":
    main()
