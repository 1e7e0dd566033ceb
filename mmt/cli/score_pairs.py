"""``mmt score-pairs``: the log-probability and perplexity of given translations."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from tqdm import tqdm

from mmt.cli.command import Command, write_alone
from mmt.cli.options import (
    PATH,
    PATH_OR_DASH,
    collected,
    images_option,
    import_option,
    missing_images_option,
    model_option,
    quiet_option,
    split_option,
    threads_option,
)
from mmt.cli.reading import Reading, file_or_stdout
from mmt.data.dataset import read_split
from mmt.data.inputs import Line, read_texts
from mmt.errors import MMTError
from mmt.io.atomic import check_file, replacing
from mmt.io.formats import TRANSLATIONS, packing, writes_json
from mmt.io.terminal import counted

if TYPE_CHECKING:
    from mmt.data.tokenizer import Tokenizer
    from mmt.inference.files import FileProcessor
    from mmt.inference.loaded import LoadedModel
    from mmt.inference.scoring import PairScore

_READS_PAIRS = collected(
    Reading,
    "reading",
    click.option("--source", "input_file", type=PATH,
                 help="Sentences: text, .tsv (source, image), .csv or .jsonl."),
    click.option("--data", type=PATH, help="Prepared dataset to read instead of --source, with its images and, "
                 "without --target, its translations."),
    split_option,
    images_option,
    missing_images_option("score as text"),
)  # fmt: skip


@click.command("score-pairs", cls=Command)
@model_option
@_READS_PAIRS
@click.option("--target", type=PATH, help="Translations to score, one a line.")
@click.option("--n-best", type=PATH, help="List of mmt translate --n-best to rerank instead of --target.")
@click.option(
    "--old-weight",
    type=click.FloatRange(0, 1),
    default=0.0,
    help="With --n-best: weight of the old score in the new one.",
)
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    help="With --n-best: translations to keep of each sentence; 1 writes plain text.  [default: all]",
)
@click.option(
    "--also-blank", is_flag=True, help="Score each pair also without its image, in columns that end in _blank."
)
@click.option(
    "--output",
    type=PATH_OR_DASH,
    default="-",
    help="Output file, tab-separated; .jsonl writes JSON lines, .gz compresses.",
)
@click.option(
    "--max-tokens", type=click.IntRange(min=1), default=8192, help="Maximum number of tokens in a batch."
)
@threads_option
@quiet_option
@import_option
def score_pairs_command(
    model: Path,
    reading: Reading,
    target: Path | None,
    n_best: Path | None,
    old_weight: float,
    keep: int | None,
    also_blank: bool,
    output: Path,
    max_tokens: int,
    threads: int | None,
    quiet: bool,
) -> None:
    """Score given translations: the model's log-probability and perplexity of each, with its image or without.

    With --n-best it reranks another system's translations instead.
    """
    # What can be wrong is checked before torch is loaded.
    if (reading.input_file is None) == (reading.data is None):
        raise MMTError("expected --source FILE or --data DIR, one of the two.")
    reading.check_split()
    if n_best is not None and (target is not None or also_blank):
        raise MMTError(f"--n-best {n_best}: it has its own translations. Leave --target and --also-blank out.")
    if n_best is None and (old_weight or keep is not None):
        raise MMTError("--old-weight and --keep are for ranking anew: give --n-best FILE.")
    card = reading.read_card(model)
    if also_blank and card.features is None:
        raise MMTError(f"--also-blank: {model} was trained on text only (fusion: none), it scores without images.")
    path = file_or_stdout(output)
    check_file(path)
    writes_json(path)  # or refuses its name
    write_alone(path)
    store = reading.open_stores()
    source = reading.open(card)
    lines = list(source.lines)
    targets = _read_targets(lines, reading, target) if n_best is None else []

    from mmt.inference.files import FileProcessor
    from mmt.inference.loaded import LoadedModel
    from mmt.inference.scoring import read_n_best
    from mmt.inference.threads import use_threads

    candidates = read_n_best(n_best, len(lines)) if n_best is not None else []
    use_threads(threads)
    loaded = LoadedModel.from_dir(model, store)
    files = FileProcessor(loaded, source, reading.missing_images)
    images = [files.image(line) for line in lines]
    started = time.monotonic()
    total = sum(map(len, candidates)) if n_best is not None else len(lines) * (1 + also_blank)
    with tqdm(total=total, unit=" pairs", disable=True if quiet else None) as bar:
        work = _Work(loaded, lines, images, max_tokens, bar)
        if n_best is not None:
            summary = work.rerank(candidates, old_weight, keep, path)
        else:
            summary = work.score(targets, also_blank, path)
    if not quiet:
        summary += _unusual(files, lines, loaded.tokenizer)
        click.echo(f"{summary}, {time.monotonic() - started:.1f} s{source.note}", err=True)
        if files.counts.missing_images:
            click.echo(files.missing(), err=True)


@dataclass(frozen=True)
class _Work:
    """What both ways of scoring need."""

    loaded: LoadedModel
    lines: Sequence[Line]
    images: Sequence[str | Path | None]
    max_tokens: int
    bar: tqdm[Any]

    def rerank(
        self,
        candidates: Sequence[Sequence[tuple[str, float]]],
        old_weight: float,
        keep: int | None,
        path: Path | None,
    ) -> str:
        """Writes the candidates of each line in their new order; returns a summary."""
        from mmt.inference.files import write_output
        from mmt.inference.scoring import rescore

        ranked = rescore(
            self.loaded,
            [line.source for line in self.lines],
            candidates,
            self.images,
            old_weight=old_weight,
            max_tokens=self.max_tokens,
            progress=self.bar.update,
        )
        changed = sum(new[0].text != old[0][0] for new, old in zip(ranked, candidates, strict=True))
        most = keep or max(2, *map(len, ranked))
        write_output(zip(self.lines, (new[:most] for new in ranked), strict=True), path, most)
        total = counted(sum(map(len, candidates)), "translation")
        return f"{counted(len(self.lines), 'sentence')}, {total}, another one first in {changed:,}"

    def score(self, targets: Sequence[str], also_blank: bool, path: Path | None) -> str:
        """Writes the score of each pair; returns a summary."""
        from mmt.inference.scoring import corpus_perplexity, score_pairs

        # In one go: so a pair without image has exactly the same score twice.
        times, count = 1 + also_blank, len(self.lines)
        scores = score_pairs(
            self.loaded,
            [line.source for line in self.lines] * times,
            [*targets] * times,
            [*self.images] + [None] * (count * also_blank),
            max_tokens=self.max_tokens,
            progress=self.bar.update,
        )
        _write_scores(scores, count, path)
        summary = f"{counted(count, 'pair')}, corpus perplexity {corpus_perplexity(scores[:count]):.3f}"
        if also_blank:
            summary += f" ({corpus_perplexity(scores[count:]):.3f} without images)"
        return f"{summary}, {sum(score.with_image for score in scores):,} with image"


def _unusual(files: FileProcessor, lines: Sequence[Line], tokenizer: Tokenizer) -> str:
    """How many images are missing, and how many lines are out of domain, for the summary."""
    from mmt.data.domain import is_out_of_domain
    from mmt.inference.files import out_of_domain

    num_missing = len(files.counts.missing_images)
    missing = f", {counted(num_missing, 'image')} missing" if num_missing else ""
    strange = [n for n, line in enumerate(lines, 1) if is_out_of_domain(tokenizer, tokenizer.encode(line.source))]
    return missing + out_of_domain(len(strange), *strange[:1], by_bytes=tokenizer.training is None)


def _read_targets(lines: Sequence[Line], reading: Reading, target: Path | None) -> list[str]:
    """The translations to score: of the file, or of the dataset."""
    if target is None:
        if reading.data is None:
            raise MMTError(
                f"--target is missing: the translations of {reading.input_file}, one a line (or --n-best FILE)."
            )
        return list(read_split(reading.data, reading.split_name)["target"])
    targets = read_texts(target, TRANSLATIONS)
    if len(targets) != len(lines):
        name = reading.input_file or f"{reading.data} ({reading.split_name})"
        raise MMTError(f"{target} has {len(targets):,} lines and {name} has {len(lines):,}: expected one for one.")
    return targets


def _write_scores(scores: Sequence[PairScore], num_pairs: int, path: Path | None) -> None:
    """One line a pair; ``scores`` are those of all pairs and then, if asked for, those of all without image.

    A file is written beside its name and renamed when whole.
    """
    blanks: list[PairScore | None] = [*scores[num_pairs:]] or [None] * num_pairs
    rows = [_row(score, blank) for score, blank in zip(scores[:num_pairs], blanks, strict=True)]
    as_json = writes_json(path)
    with replacing(path) as whole, packing(whole, path) as stream:
        if not as_json:
            stream.write(("\t".join(rows[0]) + "\n").encode())
        for row in rows:
            text = json.dumps(row) if as_json else "\t".join(json.dumps(value) for value in row.values())
            stream.write((text + "\n").encode())


def _row(score: PairScore, blank: PairScore | None) -> dict[str, float | int | bool]:
    row = {
        "log_prob": round(score.log_prob, 6),
        "num_tokens": score.num_tokens,
        "perplexity": round(score.perplexity, 6),
        "with_image": score.with_image,
    }
    if blank is not None:
        row |= {"log_prob_blank": round(blank.log_prob, 6), "perplexity_blank": round(blank.perplexity, 6)}
    return row
