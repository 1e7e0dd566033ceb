"""The ``mmt`` command. Nothing heavy is imported before a command runs: ``mmt --help`` must be quick."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmt import __version__
from mmt.command import Command
from mmt.errors import MMTError
from mmt.score import score_command

if TYPE_CHECKING:
    from mmt.files import Format, Missing

_PATH = click.Path(path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__, prog_name="mmt")
def main() -> None:
    """Multimodal machine translation: translate text with the help of images, and know whether they helped."""


def _command(name: str) -> Callable[[Callable[..., None]], click.Command]:
    return main.command(name, cls=Command)


main.add_command(score_command)


@_command("features")
@click.option(
    "--images", "source", type=_PATH, required=True, help="A prepared data set, or a folder of image files."
)
@click.option("--out", type=_PATH, required=True, help="The feature store; a half-written one is taken up.")
@click.option(
    "--backbone",
    default="efficientnet_lite0",
    help="efficientnet_lite0, resnet50, vgg16, vit_b_16, timm:NAME or clip:NAME_OR_FOLDER.",
)
@click.option("--layer", type=click.Choice(["pool", "grid"]), default="pool", help="One vector, or one a region.")
@click.option("--weights", type=_PATH, help="The backbone's weights from a file instead of the network.")
@click.option("--dtype", type=click.Choice(["float16", "float32"]), default="float16")
@click.option("--batch-size", type=click.IntRange(min=1), default=32)
@click.option("--workers", type=click.IntRange(min=1), help="Decoding threads.  [default: one a core]")
@click.option("--device", default="cpu", help="Where the backbone runs.")
def features_command(
    source: Path,
    out: Path,
    backbone: str,
    layer: str,
    weights: Path | None,
    dtype: str,
    batch_size: int,
    workers: int | None,
    device: str,
) -> None:
    """Turns images into features, once, for training and translating."""
    from mmt.images import extract_folder, print_report

    report = extract_folder(
        source,
        out,
        backbone=backbone,
        layer=layer,
        weights=weights,
        dtype="float32" if dtype == "float32" else "float16",
        batch_size=batch_size,
        num_workers=workers,
        device=device,
    )
    print_report(report)


@_command("train")
@click.argument("output", type=_PATH, required=False)
@click.option("--config-file", type=_PATH, help="YAML file with the run's settings.")
@click.option("--config", "overrides", multiple=True, metavar="KEY=VALUE", help="Changes one setting; repeatable.")
@click.option("--dump-config", is_flag=True, help="Prints all settings, defaults included, and stops.")
def train_command(
    output: Path | None, config_file: Path | None, overrides: tuple[str, ...], dump_config: bool
) -> None:
    """Trains a model into OUTPUT/model, or goes on where an earlier run was interrupted."""
    from mmt import config as configuration

    config = configuration.read_config(config_file, overrides)
    if dump_config:
        click.echo(configuration.dump_config(config), nl=False)
        return
    if output is None:
        raise MMTError("OUTPUT is missing: name the folder that the run is to fill.")
    from mmt.recipe import train

    train(output, config)


@_command("translate")
@click.option("--model", type=_PATH, required=True, help="The model folder, OUTPUT/model of mmt train.")
@click.option("--input", "input_file", type=click.Path(path_type=Path, allow_dash=True), default="-",
              help="Sentences: text, .tsv (source, image) or .jsonl; - is standard input.")  # fmt: skip
@click.option("--data", type=_PATH, help="Instead of --input: a prepared data set, with its images.")
@click.option("--split", default="test", help="With --data: which split.")
@click.option("--images", type=_PATH, multiple=True,
              help="A list with one image a line, a folder of images, or a feature store; a list and one of the "
              "others together.")  # fmt: skip
@click.option("--missing-images", type=click.Choice(["refuse", "skip"]), default="refuse",
              help="An image that cannot be had: stop, or translate without it and count.")  # fmt: skip
@click.option("--output", type=click.Path(path_type=Path, allow_dash=True), default="-",
              help="Where translations go, one a line; a .jsonl file gets JSON lines.")  # fmt: skip
@click.option("--format", "kind", type=click.Choice(["text", "tsv", "jsonl"]),
              help="Of the input.  [default: by its name]")  # fmt: skip
@click.option("--beam-size", type=click.IntRange(min=1), help="[default: the model's]")
@click.option("--length-penalty", type=float, help="Over 1 favours longer translations.  [default: the model's]")
@click.option("--n-best", type=click.IntRange(min=1), default=1, help="Translations of each sentence.")
@click.option("--max-tokens", type=click.IntRange(min=1), default=8192, help="Of a batch, beams included.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.  [default: all cores]")
@click.option("--quiet", is_flag=True, help="No progress bar and no counts.")
def translate_command(
    model: Path,
    input_file: Path,
    data: Path | None,
    split: str,
    images: tuple[Path, ...],
    missing_images: Missing,
    output: Path,
    kind: Format | None,
    beam_size: int | None,
    length_penalty: float | None,
    n_best: int,
    max_tokens: int,
    threads: int | None,
    quiet: bool,
) -> None:
    """Translates a file, each sentence with its image or without; one line out for each line in."""
    from mmt.features import FeatureStore
    from mmt.files import FileTranslator, Images, open_data, open_file, write_output
    from mmt.folder import read_card

    # What can be wrong is looked at before torch is loaded.
    card = read_card(model)
    where = Images.of(images)
    store = FeatureStore.open(where.store) if where.store is not None else None
    if data is not None:
        given = open_data(data, split, where, with_images=card.features is not None)
    else:
        given = open_file(None if str(input_file) == "-" else input_file, kind, where)

    import torch

    from mmt.memory import keep_freed_memory
    from mmt.translator import Translator

    keep_freed_memory()
    if threads is not None:
        torch.set_num_threads(threads)
    work = FileTranslator(Translator.from_dir(model, store), given, missing_images)
    started = time.monotonic()
    results = work.translate(
        beam_size=beam_size,
        length_penalty=length_penalty,
        n_best=n_best,
        max_tokens=max_tokens,
        show_progress=not quiet,
    )
    write_output(results, None if str(output) == "-" else output, n_best)
    if not quiet:
        seconds = time.monotonic() - started
        missing = f", {work.counts.missing:,} images missing" if work.counts.missing else ""
        click.echo(
            f"{work.counts.sentences:,} sentences, {work.counts.with_image:,} with image{missing}, "
            f"{seconds:.1f} s ({work.counts.sentences / seconds:,.0f} sentences/s)",
            err=True,
        )


if __name__ == "__main__":
    main()
