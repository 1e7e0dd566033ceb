"""``mmt score-pairs``: the log-probability and perplexity of given translations."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING

import click
from tqdm import tqdm

from mmt.cli.command import Command, write_alone
from mmt.cli.engines import ran_on_engine, shard_of
from mmt.cli.options import (
    PATH,
    PATH_OR_DASH,
    collected,
    device_option,
    images_option,
    import_option,
    missing_images_option,
    models_option,
    on_option,
    quiet_option,
    runtime_option,
    shard_option,
    source_lang_option,
    split_option,
    target_lang_option,
    threads_option,
)
from mmt.cli.reading import Reading, file_or_stdout, is_file
from mmt.data.dataset import read_split
from mmt.data.inputs import Line, read_texts
from mmt.errors import MMTError
from mmt.io.atomic import check_file
from mmt.io.formats import TRANSLATIONS, writes_json

if TYPE_CHECKING:
    from mmt.inference.open import Runtime

_FEW = 2000  # pairs that the graphs score before torch is loaded; from then on torch takes a quarter less time
_READS_PAIRS = collected(
    Reading,
    "reading",
    click.option("--source", "input_file", type=PATH,
                 help="Sentences: text, .tsv (source, image), .csv or .jsonl."),
    click.option("--data", type=PATH,
                 help="Prepared dataset to read instead of --source, with its images, languages and, without "
                 "--target, its translations."),
    split_option,
    images_option,
    missing_images_option("score as text"),
)  # fmt: skip


@click.command("score-pairs", cls=Command)
@models_option
@source_lang_option
@target_lang_option
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
@runtime_option
@threads_option
@device_option
@shard_option
@on_option
@quiet_option
@import_option
def score_pairs_command(
    model: Path,
    source_lang: str | None,
    target_lang: str | None,
    reading: Reading,
    target: Path | None,
    n_best: Path | None,
    old_weight: float,
    keep: int | None,
    also_blank: bool,
    output: Path,
    max_tokens: int,
    runtime: Runtime,
    threads: int | None,
    device: str,
    shard: str | None,
    engine: str | None,
    quiet: bool,
) -> None:
    """Score given translations: the model's log-probability and perplexity of each, with its image or without.

    With --n-best it reranks another system's translations instead.
    """
    # Inputs are checked before torch is loaded.
    if (reading.input_file is None) == (reading.data is None):
        raise MMTError("expected --source FILE or --data DIR, one of the two.")
    reading.check_split()
    if n_best is not None and (target is not None or also_blank):
        raise MMTError(f"--n-best {n_best}: it has its own translations. Leave --target and --also-blank out.")
    if n_best is None and (old_weight or keep is not None):
        raise MMTError("--old-weight and --keep are for reranking: give --n-best FILE.")
    card = reading.read_card(model)
    source_lang, target_lang = reading.languages(model, source_lang, target_lang)
    if also_blank and card.features is None:
        raise MMTError(f"--also-blank: {model} was trained on text only (fusion: none), it scores without images.")
    path = file_or_stdout(output)
    check_file(path)
    writes_json(path)  # raises for an unsupported file name
    share = shard_of(shard, engine)
    if share is None and engine is None:
        write_alone(path)
    elif path is None or not is_file(path):
        raise MMTError("--shard and --on: other processes write the same file. Give --output FILE.")
    store = reading.open_stores()
    source = reading.open(card)
    lines = list(source.lines)
    targets = _read_targets(lines, reading, target) if n_best is None else []
    if ran_on_engine(engine, output, threads=threads, quiet=quiet):
        return

    from mmt.engines.worker import kept
    from mmt.inference import files, pairs, scoring
    from mmt.inference.open import open_translator

    candidates = scoring.read_n_best(n_best, len(lines)) if n_best is not None else []
    total = len(lines) * (1 + also_blank) if n_best is None else sum(map(len, candidates))
    chosen = None if runtime == "auto" and total > _FEW else runtime
    scorer = kept(
        "scorer",
        lambda: open_translator(
            model,
            store,
            runtime=chosen,
            threads=threads,
            source_lang=source_lang,
            target_lang=target_lang,
            device=device,
        ),
    )
    reader = files.FileProcessor(scorer, source, reading.missing_images)
    own = [share is None or share.has(number // files.CHUNK) for number in range(len(lines))]
    images = [reader.image(line) if is_own else None for line, is_own in zip(lines, own, strict=True)]
    given = {"targets": _checksum(targets), "candidates": _checksum(candidates)}
    options = [old_weight, keep, also_blank, max_tokens, scorer.runtime, source_lang, target_lang]
    started = time.monotonic()
    with (
        reading.parts(output, share, model, options=options, **given) or nullcontext() as parts,
        tqdm(total=total if share is None else None, unit=" pairs", disable=True if quiet else None) as bar,
    ):
        work = pairs.PairFiles(scorer, lines, images, max_tokens, bar, share, parts)
        if n_best is not None:
            summary = work.rerank(candidates, old_weight, keep, path)
        else:
            summary = work.score(targets, also_blank, path)
    if not quiet:
        summary += pairs.unusual(reader, list(compress(lines, own)), scorer.tokenizer)
        seconds = time.monotonic() - started
        click.echo(f"{summary}, {seconds:.1f} s, {scorer.runtime}{source.note}", err=True)
        if reader.counts.missing_images:
            click.echo(reader.missing(), err=True)


def _checksum(values: Sequence[object]) -> str:
    """A checksum of what JSON can hold, which all shards must have in common."""
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


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
