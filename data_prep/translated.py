"""Gives a prepared dataset machine translations: forward translation, back-translation, or translations of a file.

    python -m data_prep.translated data/bt data/mono_de --model DE_EN/model --back --tag "<bt>"
    python -m data_prep.translated data/distilled data/multi30k --split train --model EN_DE/model
    python -m data_prep.translated data/captions_de data/captions --target de --text train=train.de

Forward, a translation becomes the target of its sentence: self-training and distillation, or ZeroMMT's data
(Futeral et al. 2024, https://arxiv.org/abs/2407.13579). With ``--back`` a sentence becomes the target, and its
translation the source (Sennrich et al. 2016, https://aclanthology.org/P16-1009). These sentences are the targets
of data with translations, and all of text alone. ``--tag`` puts a tag before each of these sources in training
(Caswell et al. 2019, https://aclanthology.org/W19-5206).

The translations are written to ``OUT.translations.jsonl`` and stay there: other filters do not translate again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from data_prep.pair_filters import PairFilter
from data_prep.translating import Decoding, Translated, text_column, translate_dataset
from mmt.cli.command import Command, write_alone
from mmt.cli.engines import is_worker, ran_on_engine, shard_of
from mmt.cli.options import (
    MODEL,
    PATH,
    collected,
    missing_images_option,
    on_option,
    shard_option,
    source_lang_option,
    stores_option,
    target_lang_option,
    threads_option,
)
from mmt.data.dataset import DatasetInfo, image_folder, read_info, read_split, write_dataset
from mmt.data.inputs import read_texts
from mmt.data.splits import print_splits
from mmt.data.tags import check_tag
from mmt.errors import MMTError, nearest
from mmt.io.formats import TRANSLATIONS

_FILTERS = collected(
    PairFilter,
    "filtered",
    click.option("--no-copies", is_flag=True, help="Leave out translations that are their source."),
    click.option("--no-loops", is_flag=True,
                 help="Leave out translations that repeat a phrase three times in a row."),
    click.option("--max-ratio", type=click.FloatRange(min=1), metavar="R",
                 help="Leave out pairs of which one side has more than R times the words of the other."),
    click.option("--min-log-prob", type=click.FloatRange(max=0), metavar="X",
                 help="Leave out translations whose mean log-probability a token, of --model, is below X."),
)  # fmt: skip


@click.command(cls=Command, when_stopped="Finished parts are kept: rerun the same command to resume.")
@click.argument("out", type=PATH)
@click.argument("data", type=PATH)
@click.option("--back", is_flag=True, help="Back-translation: translations become sources, and sentences targets.")
@click.option("--tag", metavar="TAG", help="With --back: tag before each source in training, such as <bt>.")
@click.option("--text", "texts", metavar="SPLIT=FILE", multiple=True,
              help="Translations of a split, one a line or as mmt translate writes them; repeatable.")  # fmt: skip
@click.option("--target", metavar="CODE", help="Language of the translations in --text, such as de.")
@click.option("--model", type=MODEL,
              help="Model that translates, as of mmt translate; instead of --text.")  # fmt: skip
@click.option("--split", "splits", multiple=True, help="Split for --model; repeatable.  [default: all]")
@source_lang_option
@target_lang_option
@click.option("--beam-size", type=click.IntRange(min=1), help="Beam size.  [default: the model's]")
@click.option("--length-penalty", type=float, help="Length penalty.  [default: the model's]")
@click.option("--max-tokens", type=click.IntRange(min=1), default=8192,
              help="Maximum number of tokens in a batch, beams included.")  # fmt: skip
@click.option("--precision", type=click.Choice(["float32", "bfloat16", "int8"]), default="float32",
              help="Precision of the decoder's matrices.")  # fmt: skip
@click.option("--runtime", type=click.Choice(["torch", "onnx"]),
              help="Runtime of --model.  [default: by the folder]")  # fmt: skip
@stores_option
@missing_images_option("translate the text alone")
@_FILTERS
@threads_option
@shard_option
@on_option
def main(
    out: Path,
    data: Path,
    back: bool,
    tag: str | None,
    texts: tuple[str, ...],
    target: str | None,
    model: Path | None,
    splits: tuple[str, ...],
    filtered: PairFilter,
    shard: str | None,
    engine: str | None,
    **decoding: Any,
) -> None:
    """Write the dataset OUT: splits of the prepared dataset DATA, with machine translations.

    Splits that are not translated are left out, and so are sentences with a blank translation.
    """
    if (model is None) == (not texts):
        raise MMTError("expected --model or --text, to translate with or to read translations from, and not both.")
    if tag is not None:
        if not back:
            raise MMTError(f"--tag {tag}: marks back-translated sources. Add --back, or leave --tag out.")
        check_tag(tag, "--tag")
    share = shard_of(shard, engine)
    if share is None and not is_worker():
        write_alone(out)
    check_splits(data, [text.partition("=")[0] for text in texts] or splits)
    if model is None:
        if (
            target is None
            or filtered.min_log_prob is not None
            or splits
            or share is not None
            or engine is not None
        ):
            raise MMTError("--text: expected --target, the translations' language, and no option of --model.")
        found: Mapping[str, Sequence[Translated | str]] = read_files(texts)
        language = target
    else:
        if target is not None:
            raise MMTError(f"--target {target}: of --text; the model says what it translates into. Leave it out.")
        info = read_info(data)
        file = out.with_name(f"{out.name}.translations.jsonl")
        ran_on_engine(engine, file, threads=decoding["threads"], words=("prepare", "translated"))
        answer = translate_dataset(
            data,
            splits or list(info.splits),
            file,
            Decoding(model=model, **decoding),
            back=back,
            share=share,
        )
        if isinstance(answer, str) or is_worker():  # of an engine, whose driver writes the dataset
            if isinstance(answer, str) and answer:
                click.echo(answer)
            return
        language, found = answer
    print_splits(prepare(out, data, language, found, back=back, tag=tag or "", filtered=filtered))


def check_splits(data: Path, splits: Sequence[str]) -> None:
    """Raises MMTError if ``data`` lacks a split."""
    info = read_info(data)
    for split in splits:
        if split not in info.splits:
            raise MMTError(f"{data}: no split '{split}'.{nearest(split, info.splits)}")


def read_files(texts: Sequence[str]) -> dict[str, list[str]]:
    """The translations of each ``SPLIT=FILE``. Raises MMTError for another form, or a split named twice."""
    files: dict[str, list[str]] = {}
    for text in texts:
        split, equals, path = text.partition("=")
        if not equals or split in files:
            raise MMTError(f"--text {text}: expected SPLIT=FILE, each split once.")
        files[split] = read_texts(Path(path), TRANSLATIONS)
    return files


def prepare(
    out: Path,
    data: Path,
    language: str,
    translations: Mapping[str, Sequence[Translated | str]],
    *,
    back: bool = False,
    tag: str = "",
    filtered: PairFilter | None = None,
) -> DatasetInfo:
    """Writes the dataset ``out``; its images stay where they are, and so do all columns but source and target.

    Args:
        language: of the translations.
        translations: of each split, in the order of its rows.
        back: the translations become the sources.
        tag: before each source in training, see ``mmt.data.tags``.
        filtered: what is left out; None leaves out blank translations.
    Raises:
        MMTError: ``data`` lacks a split, another number of translations, or none is left.
    """
    check_splits(data, list(translations))
    info = read_info(data)
    if out.resolve() == data.resolve():
        raise MMTError(f"{out}: the new dataset needs a folder of its own.")
    filtered = filtered or PairFilter()
    text = text_column(data, translations, back=back)
    splits = {}
    for split, lines in translations.items():
        rows = read_split(data, split)
        if len(lines) != len(rows):
            raise MMTError(
                f"expected {len(rows):,} translations, as '{split}' of {data} has sentences, found "
                f"{len(lines):,}. Translate that split again."
            )
        filtered.left_out.clear()
        splits[split] = [
            {**row, **({"source": line, "target": row[text]} if back else {"target": line})}
            for row, (line, log_prob) in zip(rows, map(_scored, lines), strict=True)
            if filtered.keeps(row[text], line, log_prob)
        ]
        for reason, count in filtered.left_out.items():
            click.echo(f"{split}: left out: {count:,} of {len(rows):,} {reason}", err=True)
        if not splits[split]:
            raise MMTError(f"{data}: no translation of '{split}' is left. Set the filters less strict.")
    images = os.path.abspath(image_folder(data, info)) if info.images else ""
    own = info.target_lang if text == "target" else info.source_lang
    pair = (language, own) if back else (info.source_lang, language)
    name = f"{info.name}_{'back_' if back else ''}translated"
    probe = {} if back else info.probe
    return write_dataset(out, DatasetInfo(name, *pair, images, probe=probe, tag=tag), splits)


def _scored(one: Translated | str) -> tuple[str, float | None]:
    return (one, None) if isinstance(one, str) else (one.text, one.log_prob)


if __name__ == "__main__":
    main(prog_name="python -m data_prep.translated")
