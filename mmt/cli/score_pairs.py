"""``mmt score-pairs``: how probable a model finds translations that it is given."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmt.cli.command import Command, write_alone
from mmt.cli.options import import_option, model_option, quiet_option, threads_option
from mmt.errors import MMTError
from mmt.io.atomic import check_file, replacing
from mmt.io.formats import TRANSLATIONS, packing, writes_json
from mmt.io.terminal import counted

if TYPE_CHECKING:
    from mmt.data.inputs import Images, Input, Line
    from mmt.inference.files import Missing
    from mmt.inference.scoring import PairScore

_PATH = click.Path(path_type=Path)


@click.command("score-pairs", cls=Command)
@model_option
@click.option("--source", type=_PATH, help="Sentences: text, .tsv (source, image), .csv or .jsonl.")
@click.option("--target", type=_PATH, help="Translations to score, one a line.")
@click.option(
    "--data",
    type=_PATH,
    help="Prepared dataset to read instead of --source, with its images and, without --target, its translations.",
)
@click.option("--split", help="Split of --data.  [default: the first whose name begins with test]")
@click.option("--n-best", type=_PATH, help="List of mmt translate --n-best to rerank instead of --target.")
@click.option("--old-weight", type=click.FloatRange(0, 1), default=0.0,
              help="With --n-best: weight of the old score in the new one.")  # fmt: skip
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    help="With --n-best: translations to keep of each sentence; 1 writes plain text.  [default: all]",
)
@click.option("--images", type=_PATH, multiple=True,
              help="List of images, one a line; folder of images; or feature store, one for each feature set. "
              "A list may come with a folder or stores.")  # fmt: skip
@click.option("--missing-images", type=click.Choice(["refuse", "skip"]), default="refuse",
              help="Missing image: refuse (exit) or skip (score as text).")  # fmt: skip
@click.option(
    "--also-blank", is_flag=True, help="Score each pair also without its image, in columns that end in _blank."
)
@click.option("--output", type=click.Path(path_type=Path, allow_dash=True), default="-",
              help="Output file, tab-separated; .jsonl writes JSON lines, .gz compresses.")  # fmt: skip
@click.option(
    "--max-tokens", type=click.IntRange(min=1), default=8192, help="Maximum number of tokens in a batch."
)
@threads_option
@quiet_option
@import_option
def score_pairs_command(
    model: Path,
    source: Path | None,
    target: Path | None,
    data: Path | None,
    split: str | None,
    n_best: Path | None,
    old_weight: float,
    keep: int | None,
    images: tuple[Path, ...],
    missing_images: Missing,
    also_blank: bool,
    output: Path,
    max_tokens: int,
    threads: int | None,
    quiet: bool,
) -> None:
    """Score given translations: the model's log-probability and perplexity of each, with its image or without.

    With --n-best it reranks another system's translations instead.
    """
    from mmt.data.dataset import first_test_split
    from mmt.data.domain import is_out_of_domain
    from mmt.data.feature_store import open_features
    from mmt.data.inputs import Images
    from mmt.inference.files import FileProcessor, out_of_domain, write_output
    from mmt.model.card import read_card

    # What can be wrong is looked at before torch is loaded.
    if (source is None) == (data is None):
        raise MMTError("expected --source FILE or --data DIR, one of the two.")
    if data is None and split is not None:
        raise MMTError(f"--split {split}: expected --data, the dataset, too.")
    split = split or (first_test_split(data) if data is not None else "")
    if n_best is not None and (target is not None or also_blank):
        raise MMTError(f"--n-best {n_best}: it has its own translations. Leave --target and --also-blank out.")
    if n_best is None and (old_weight or keep is not None):
        raise MMTError("--old-weight and --keep are for ranking anew: give --n-best FILE.")
    card = read_card(model)
    if also_blank and card.features is None:
        raise MMTError(f"--also-blank: {model} was trained on text only (fusion: none), it scores without images.")
    if images:
        card.refuse_images("images")
    out = None if str(output) == "-" else output
    check_file(out)
    writes_json(out)  # or refuses its name
    write_alone(out)
    where = Images.of(images)
    store = open_features(where.stores) if where.stores else None
    given = _open(source, data, split, where, with_images=card.features is not None)
    lines = list(given.lines)
    targets = _read_targets(lines, source, target, data, split) if n_best is None else []

    from tqdm import tqdm

    from mmt.inference.loaded import LoadedModel
    from mmt.inference.scoring import read_n_best, rescore, score_pairs
    from mmt.inference.threads import use_threads

    candidates = read_n_best(n_best, len(lines)) if n_best is not None else []
    use_threads(threads)
    loaded = LoadedModel.from_dir(model, store)
    files = FileProcessor(loaded, given, missing_images)
    looked_up = [files.image(line) for line in lines]
    sources = [line.source for line in lines]
    tokenizer = loaded.tokenizer
    started = time.monotonic()
    total = sum(map(len, candidates)) if n_best is not None else len(lines) * (1 + also_blank)
    with tqdm(total=total, unit=" pairs", disable=True if quiet else None) as bar:
        if n_best is not None:
            ranked = rescore(
                loaded,
                sources,
                candidates,
                looked_up,
                old_weight=old_weight,
                max_tokens=max_tokens,
                progress=bar.update,
            )
        else:
            # In one go: so a pair without image has exactly the same score twice.
            twice = 1 + also_blank
            scores = score_pairs(
                loaded,
                sources * twice,
                targets * twice,
                looked_up + [None] * (len(lines) * also_blank),
                max_tokens=max_tokens,
                progress=bar.update,
            )
    num_missing = len(files.counts.missing_images)
    missing = f", {counted(num_missing, 'image')} missing" if num_missing else ""
    strange = [n for n, line in enumerate(sources, 1) if is_out_of_domain(tokenizer, tokenizer.encode(line))]
    missing += out_of_domain(len(strange), *strange[:1], by_bytes=tokenizer.training is None)
    seconds = time.monotonic() - started
    if n_best is not None:
        changed = sum(new[0].text != old[0][0] for new, old in zip(ranked, candidates, strict=True))
        most = keep or max(2, *map(len, ranked))
        write_output(zip(lines, (new[:most] for new in ranked), strict=True), out, most)
        said = (
            f"{counted(len(lines), 'sentence')}, {counted(total, 'translation')}, another one first in {changed:,}"
        )
    else:
        _write_scores(scores, len(lines), out)
        said = _said(scores, len(lines))
    if not quiet:
        click.echo(f"{said}{missing}, {seconds:.1f} s{given.note}", err=True)
        if num_missing:
            click.echo(files.missing(), err=True)


def _open(source: Path | None, data: Path | None, split: str, where: Images, *, with_images: bool) -> Input:
    from mmt.data.inputs import open_data, open_file

    return open_data(data, split, where, with_images=with_images) if data else open_file(source, None, where)


def _read_targets(
    lines: Sequence[Line], source: Path | None, target: Path | None, data: Path | None, split: str
) -> list[str]:
    if target is None:
        if data is None:
            raise MMTError(f"--target is missing: the translations of {source}, one a line (or --n-best FILE).")
        from mmt.data.dataset import read_split

        return list(read_split(data, split)["target"])
    from mmt.data.inputs import read_texts

    targets = read_texts(target, TRANSLATIONS)
    if len(targets) != len(lines):
        name = source or f"{data} ({split})"
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


def _said(scores: Sequence[PairScore], num_pairs: int) -> str:
    from mmt.inference.scoring import corpus_perplexity

    said = f"{counted(num_pairs, 'pair')}, corpus perplexity {corpus_perplexity(scores[:num_pairs]):.3f}"
    if len(scores) > num_pairs:
        said += f" ({corpus_perplexity(scores[num_pairs:]):.3f} without images)"
    return f"{said}, {sum(score.with_image for score in scores):,} with image"
