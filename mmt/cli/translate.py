"""``mmt translate`` and ``mmt predict``: what is made of sentences, each with its image or without."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from mmt.cli.command import Command, write_alone
from mmt.cli.options import import_option, model_option, quiet_option, shard_option, threads_option
from mmt.errors import MMTError
from mmt.io.atomic import check_file
from mmt.io.formats import writes_json
from mmt.io.shards import Parts, Shard

if TYPE_CHECKING:
    from mmt.data.feature_store import FeatureStore
    from mmt.data.inputs import Format, Images, Input
    from mmt.inference.controls import Control
    from mmt.inference.files import FileProcessor, Missing
    from mmt.model.card import ModelCard
    from mmt.model.stepping import Precision

_PATH = click.Path(path_type=Path)


def _reads_sentences(command: Callable[..., None]) -> Callable[..., None]:
    """The options of a command that reads sentences, each with its image or without."""
    options = [
        click.option("--input", "input_file", type=click.Path(path_type=Path, allow_dash=True), default="-",
                     help="Sentences: text, .tsv (source, image), .csv or .jsonl, also .gz; - is standard input."),
        click.option("--format", "kind", type=click.Choice(["text", "tsv", "csv", "jsonl"]),
                     help="Format of the input.  [default: by its name]"),
        click.option("--data", type=_PATH, help="Prepared dataset to read instead of --input, with its images."),
        click.option("--split", help="Split of --data.  [default: the first whose name begins with test]"),
        click.option("--images", type=_PATH, multiple=True,
                     help="List of images, one a line; folder of images; or feature store, one for each feature "
                     "set. A list may come with a folder or stores."),
        click.option("--missing-images", type=click.Choice(["refuse", "skip"]), default="refuse",
                     help="Missing image: refuse (exit) or skip (use the text alone)."),
        click.option("--image-control", type=click.Choice(["right", "wrong", "blank"]), default="right",
                     help="Control: wrong shows each sentence another's image, blank shows none."),
        click.option("--control-seed", type=click.IntRange(min=0), default=1,
                     help="Random seed of the wrong images."),
        threads_option,
        shard_option,
        quiet_option,
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def _given(
    card: ModelCard, input_file: Path, kind: Format | None, data: Path | None, split: str | None, where: Images
) -> Input:
    """What is to be read, by the options of ``_reads_sentences``."""
    from mmt.data.dataset import first_test_split
    from mmt.data.inputs import open_data, open_file

    if data is not None:
        return open_data(data, split or first_test_split(data), where, with_images=card.features is not None)
    return open_file(None if str(input_file) == "-" else input_file, kind, where)


def _check_given(
    input_file: Path, kind: Format | None, data: Path | None, split: str | None, output: Path, shard: Shard | None
) -> None:
    if data is not None and (str(input_file) != "-" or kind is not None):
        raise MMTError(f"--data {data}: has its own sentences. Leave --input and --format out, or --data.")
    if data is None and split is not None:
        raise MMTError(f"--split {split}: expected --data, the dataset, too.")
    if _is_file(output):
        writes_json(output)  # or refuses its name
    if shard is not None:
        if data is None and not input_file.exists() and str(input_file) != "-":
            raise MMTError(f"{input_file}: no such file.")
        if (data is None and not input_file.is_file()) or not _is_file(output):
            raise MMTError(
                f"share {shard}: others read and write the same files. Give --input FILE or --data, and --output."
            )
        check_file(output)  # now, and not when all is done


def _opened(model: Path, images: tuple[Path, ...]) -> tuple[ModelCard, Images, FeatureStore | None]:
    """The model's card, where images come from, and the feature stores among them."""
    from mmt.data.feature_store import open_features
    from mmt.data.inputs import Images
    from mmt.model.card import read_card

    card = read_card(model)
    if images:
        card.refuse_images("images")
    where = Images.of(images)
    return card, where, open_features(where.stores) if where.stores else None


def _is_file(output: Path) -> bool:
    """Whether it is, or may become, a file: no pipe, no device. A folder is refused by its name."""
    return str(output) != "-" and (not output.exists() or output.is_file() or output.is_dir())


def _parts(
    output: Path,
    shard: Shard | None,
    given: tuple[Path | None, str | None, Path],
    model: Path,
    images: Images,
    **settings: object,
) -> Parts | None:
    """Where the share goes; None for the whole. ``given``: dataset and split, or the file."""
    if shard is None:
        return None
    from mmt.data.dataset import first_test_split, read_info
    from mmt.data.feature_store import META
    from mmt.io.text_files import file_checksum
    from mmt.model.card import CARD

    data, split, input_file = given
    text = (
        file_checksum(input_file)
        if data is None
        else read_info(data).splits[split or first_test_split(data)].checksum
    )
    plan: dict[str, object] = {"input": text, "model": file_checksum(model / CARD)}
    plan["images"] = str(images.folder) if images.folder is not None else None
    if images.list_file is not None:
        plan["list of images"] = file_checksum(images.list_file)
    plan["features"] = [file_checksum(store / META) for store in images.stores]
    return Parts(output, shard, plan | settings, remember=True)


@click.command("translate", cls=Command)
@model_option
@_reads_sentences
@click.option("--output", type=click.Path(path_type=Path, allow_dash=True), default="-",
              help="Output file, one translation a line; .jsonl writes JSON lines, .gz compresses.")  # fmt: skip
@click.option("--beam-size", type=click.IntRange(min=1), help="Beam size.  [default: the model's]")
@click.option(
    "--length-penalty",
    type=float,
    help="Length penalty; over 1 favours longer translations.  [default: the model's]",
)
@click.option("--n-best", type=click.IntRange(min=1), default=1, help="Number of translations of each sentence.")
@click.option(
    "--draws",
    type=click.IntRange(min=1),
    default=1,
    help="Number of draws of wrong images, with consecutive seeds; put {draw} into --output.",
)
@click.option(
    "--guidance",
    type=click.FloatRange(min=0),
    default=1.0,
    metavar="GAMMA",
    help="Classifier-free guidance: over 1 amplifies the image's effect, 0 drops it.",
)
@click.option(
    "--max-tokens",
    type=click.IntRange(min=1),
    default=8192,
    help="Maximum number of tokens in a batch, beams included.",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16", "int8"]),
    default="float32",
    help="Precision of the decoder's matrices; bfloat16 and int8 are faster and less exact.",
)
@click.option(
    "--runtime",
    type=click.Choice(["torch", "onnx"]),
    help="Runtime: onnx runs what mmt export wrote, without torch.  [default: by the folder]",
)
@import_option
def translate_command(
    model: Path,
    input_file: Path,
    data: Path | None,
    split: str | None,
    images: tuple[Path, ...],
    missing_images: Missing,
    output: Path,
    kind: Format | None,
    beam_size: int | None,
    length_penalty: float | None,
    n_best: int,
    image_control: Control,
    control_seed: int,
    draws: int,
    guidance: float,
    max_tokens: int,
    precision: Precision,
    runtime: Literal["torch", "onnx"] | None,
    threads: int | None,
    shard: str | None,
    quiet: bool,
) -> None:
    """Translate sentences, with their images or without. Every input line yields one output line."""
    from mmt.inference.files import FileTranslator, write_output
    from mmt.inference.open import open_translator

    # What can be wrong is looked at before torch is loaded.
    share = Shard.of(shard)
    _check_given(input_file, kind, data, split, output, share)
    if draws > 1 and (
        image_control != "wrong" or "{draw}" not in output.name or (not data and str(input_file) == "-")
    ):
        raise MMTError(
            f"--draws {draws}: expected --image-control wrong, an input that can be read again (--input FILE "
            "or --data), and an output for each draw, such as --output wrong.{draw}.de."
        )
    paths = [output] * draws
    if image_control == "wrong" and "{draw}" in output.name:
        paths = [output.with_name(output.name.replace("{draw}", str(draw + 1))) for draw in range(draws)]
    if share is None and str(output) != "-":
        write_alone(*dict.fromkeys(paths))
    card, where, store = _opened(model, images)

    given = _given(card, input_file, kind, data, split, where)

    translator = open_translator(model, store, precision, runtime, threads)
    settings: dict[str, object] = {
        "options": [beam_size, length_penalty, guidance, n_best, max_tokens, precision, runtime],
        "reading": [kind, missing_images, image_control],
    }
    for draw, path in enumerate(paths):
        if draw:
            given = _given(card, input_file, kind, data, split, where)
        work = FileTranslator(translator, given, missing_images, share)
        started = time.monotonic()
        results = work.translate(
            beam_size=beam_size,
            length_penalty=length_penalty,
            guidance=guidance,
            image_control=image_control,
            control_seed=control_seed + draw,
            n_best=n_best,
            max_tokens=max_tokens,
            show_progress=not quiet,
        )
        settings["seed"] = control_seed + draw
        with _parts(path, share, (data, split, input_file), model, where, **settings) or nullcontext() as parts:
            became = write_output(results, None if str(path) == "-" else path, n_best, parts)
        if not quiet:
            if became:
                click.echo(became, err=True)
            seconds = time.monotonic() - started
            shown = {"right": "with image", "wrong": "with another's image", "blank": "with image (blank)"}
            speed = f"{seconds:.1f} s ({work.counts.sentences / seconds:,.0f} sentences/s)"
            click.echo(f"{work.counts.summary(shown[image_control])}, {speed}{given.note}", err=True)
            _say_missing(work)


def _say_missing(work: FileProcessor) -> None:
    if missing := work.missing():
        click.echo(missing, err=True)


@click.command("predict", cls=Command)
@click.option("--model", type=_PATH, required=True, help="Model folder of a model trained for labels or scores.")
@_reads_sentences
@click.option(
    "--output",
    type=click.Path(path_type=Path, allow_dash=True),
    default="-",
    help="Output file: label, probability and score, tab-separated; .jsonl writes JSON lines, .gz compresses.",
)
@import_option
def predict_command(
    model: Path,
    input_file: Path,
    kind: Format | None,
    data: Path | None,
    split: str | None,
    images: tuple[Path, ...],
    missing_images: Missing,
    output: Path,
    image_control: Control,
    control_seed: int,
    threads: int | None,
    shard: str | None,
    quiet: bool,
) -> None:
    """Predict labels and scores of sentences. Every input line yields one output line."""
    from mmt.inference.labelling import FileLabeller, write_predictions
    from mmt.inference.loaded import LoadedModel
    from mmt.inference.threads import use_threads

    share = Shard.of(shard)
    _check_given(input_file, kind, data, split, output, share)
    if share is None and str(output) != "-":
        write_alone(output)
    card, where, store = _opened(model, images)
    given = _given(card, input_file, kind, data, split, where)
    use_threads(threads)
    work = FileLabeller(LoadedModel.from_dir(model, store), given, missing_images, share)
    results = work.predict(image_control=image_control, control_seed=control_seed, show_progress=not quiet)
    settings = {"reading": [kind, missing_images, image_control], "seed": control_seed}
    with _parts(output, share, (data, split, input_file), model, where, **settings) or nullcontext() as parts:
        became = write_predictions(results, None if str(output) == "-" else output, parts)
    if not quiet:
        if became:
            click.echo(became, err=True)
        notes = "".join(f"; some {note}" for note in work.notes())
        click.echo(work.counts.summary() + notes + given.note, err=True)
        _say_missing(work)
