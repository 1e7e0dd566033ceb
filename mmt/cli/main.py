"""The ``mmt`` command. Nothing heavy is imported before a command runs: ``mmt --help`` must be quick."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmt import __version__
from mmt.cli.command import Command, write_alone, write_alone_in
from mmt.cli.options import draws_option, draws_seed_option, import_option, shard_option, threads_option
from mmt.cli.retrieve import retrieve_command
from mmt.cli.score import score_command
from mmt.cli.score_pairs import score_pairs_command
from mmt.cli.translate import predict_command, translate_command
from mmt.errors import MMTError
from mmt.io.processes import rank
from mmt.io.runtime import use_threads
from mmt.io.shards import Shard
from mmt.io.terminal import counted

if TYPE_CHECKING:
    from mmt.inference.onnx_runtime import ExportPrecision

_PATH = click.Path(path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__, prog_name="mmt")
def main() -> None:
    """Multimodal machine translation: translate text with the help of images, and know whether they helped."""


def _command(name: str, **settings: str) -> Callable[[Callable[..., None]], click.Command]:
    return main.command(name, cls=Command, **settings)


main.add_command(score_command)
main.add_command(score_pairs_command)
main.add_command(retrieve_command)
main.add_command(translate_command)
main.add_command(predict_command)


@_command("features", when_stopped="Progress saved; rerun the same command to resume.")
@click.option(
    "--images",
    "source",
    type=_PATH,
    help="Prepared dataset, or folder of images or recordings.",
)
@click.option("--out", type=_PATH, help="Output feature store; resumes a partial one.")
@click.option("--check", type=_PATH, help="Verify an existing feature store's checksum, and do nothing else.")
@click.option(
    "--backbone",
    default="efficientnet_lite0",
    help="Backbone: efficientnet_lite0, resnet50, vgg16, vit_b_16, timm:NAME or clip:NAME_OR_FOLDER; "
    "logmel80[:SECONDS] for recordings.",
)
@click.option("--layer", type=click.Choice(["pool", "grid"]), help="One vector (pool), or one for each region or "
              "frame (grid).  [default: pool; grid for recordings]")  # fmt: skip
@click.option("--weights", type=_PATH, help="File with the backbone's weights, instead of a download.")
@click.option("--dtype", type=click.Choice(["float16", "float32"]), default="float16",
              help="Precision of the stored features.")  # fmt: skip
@click.option("--batch-size", type=click.IntRange(min=1), default=32, help="Images in a batch.")
@click.option("--workers", type=click.IntRange(min=1), help="Number of decoding threads.  [default: as --threads]")
@click.option("--device", default="cpu", help="Device of the backbone, such as cuda.")
@threads_option
@shard_option
def features_command(
    source: Path | None,
    out: Path | None,
    check: Path | None,
    backbone: str,
    layer: str | None,
    weights: Path | None,
    dtype: str,
    batch_size: int,
    workers: int | None,
    device: str,
    threads: int | None,
    shard: str | None,
) -> None:
    """Extract features from images or recordings, for training and translating."""
    if check is not None:
        from mmt.data.feature_store import FeatureStore

        store = FeatureStore.open(check)
        store.verify()
        click.echo(f"{check}: {store.signature}: {counted(len(store), 'image')}, whole")
        return
    if source is None or out is None:
        raise MMTError(
            "expected --images and --out: what to make features of, and where they go; or --check STORE."
        )
    share = Shard.of(shard)
    if share is None:
        write_alone_in(out)

    from mmt.features.extract import extract_folder, print_report

    use_threads(threads)
    report = extract_folder(
        source,
        out,
        backbone=backbone,
        layer=layer,
        weights=weights,
        dtype="float32" if dtype == "float32" else "float16",
        batch_size=batch_size,
        num_workers=workers or threads,
        device=device,
        shard=share,
    )
    print_report(report)


@_command("train", when_stopped="Rerun the same command to resume from the last checkpoint.")
@click.argument("output", type=_PATH, required=False)
@click.option("--config-file", type=_PATH, help="YAML file with the run's configuration.")
@click.option("--config", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one setting; repeatable.")
@click.option("--dump-config", is_flag=True, help="Print all settings, defaults included, and exit.")
@import_option
def train_command(
    output: Path | None, config_file: Path | None, overrides: tuple[str, ...], dump_config: bool
) -> None:
    """Train a model into OUTPUT/model, or resume an interrupted run."""
    from mmt.training import config_file as configuration
    from mmt.training.config_file import settings_of

    if output is not None and (output.is_file() or output.suffix.lower() in (".yaml", ".yml")):
        raise MMTError(
            f"{output}: expected the folder that the run is to fill, found a file. Give its settings with "
            f"--config-file: mmt train OUTPUT --config-file {output}."
        )
    settings_of(overrides, "--config")  # refuses two values for one key
    config = configuration.read_config(config_file, overrides)
    if dump_config:
        click.echo(configuration.dump_config(config), nl=False)
        return
    if output is None:
        raise MMTError("OUTPUT is missing: name the folder that the run is to fill.")
    if rank() == 0:  # of several processes, the first one stands for all
        write_alone_in(output)  # now: loading torch takes a while
    from mmt.training.recipe import train

    train(output, config)


@_command("reproduce", when_stopped="Rerun the same command to resume.")
@click.argument("result", type=_PATH)
@click.argument("out", type=_PATH)
@click.option("--data", type=_PATH, help="Prepared dataset.  [default: the result's]")
@click.option("--images", type=_PATH, multiple=True,
              help="Feature store; repeat it for several feature sets.  [default: the result's]")  # fmt: skip
@import_option
def reproduce_command(result: Path, out: Path, data: Path | None, images: tuple[Path, ...]) -> None:
    """Retrain and rescore the experiment described in RESULT (result.json), and check that the scores match.

    OUT gets the run and its scores. Exit code 1 if the translations are not the same, byte for byte.
    """
    write_alone_in(out)
    from mmt.experiments.reproduce import reproduce

    found = reproduce(result, out, data, images)
    for name, was, now in found.scores:
        click.echo(f"{was:6.2f} was, {now:6.2f} is now  {name}")
    for name, before, after in found.versions:
        click.echo(f"{name} {before} was, {after} is now")
    if found.note:
        click.echo(f"settings: {found.note}", err=True)
    click.echo("agrees: the same translations, byte for byte" if found.exact else "does not agree to the byte")
    sys.exit(not found.exact)


@_command("compare", when_stopped="Rerun the same command to resume.")
@click.argument("config_file", type=_PATH)
@click.argument("out", type=_PATH)
@click.option("--jobs", type=click.IntRange(min=1), default=1,
              help="Number of concurrent trainings, which share the cores.")  # fmt: skip
@click.option("--only-table", is_flag=True, help="Train nothing; only score and compare the finished runs.")
@import_option
def compare_command(config_file: Path, out: Path, jobs: int, only_table: bool) -> None:
    """Train and compare every fusion, feature set and seed in CONFIG_FILE.

    OUT gets the runs, compare.json, compare.md and compare.png. Rerun the same command to
    resume. Run it at the same time on other machines that share OUT to divide the work.
    """
    from mmt.experiments.compare import compare

    compare(config_file, out, jobs, only_table=only_table)


@_command("export")
@click.option("--model", type=_PATH, required=True, help="Model folder: OUTPUT/model of mmt train.")
@click.option("--out", type=_PATH, required=True, help="Output folder of the exported model.")
@click.option("--to", type=click.Choice(["onnx"]), default="onnx", help="Export format.")
@click.option("--precision", "precisions", type=click.Choice(["float32", "int8"]), multiple=True,
              default=("float32", "int8"), help="Precision of the weights; repeatable.")  # fmt: skip
@import_option
def export_command(model: Path, out: Path, to: str, precisions: tuple[ExportPrecision, ...]) -> None:
    """Export a model to ONNX, for translating without torch: same output, faster."""
    write_alone(out)
    from mmt.inference.onnx_export import export_model

    export_model(model, out, precisions)
    click.echo(f"{out}: {' and '.join(precisions)}. Translate with it: mmt translate --model {out}", err=True)


@_command("evidence")
@click.option("--model", type=_PATH, required=True, help="Model folder: OUTPUT/model of mmt train.")
@click.option("--data", type=_PATH, required=True, help="Prepared dataset with images.")
@click.option("--split", help="Split of --data.  [default: the first whose name begins with test]")
@click.option("--against", type=_PATH, help="The text-only model, or another one, to compare with.")
@click.option(
    "--images",
    "stores",
    type=_PATH,
    multiple=True,
    help="Feature store; repeat it for several feature sets.  [default: the dataset's image files]",
)
@click.option("--commute", type=_PATH, help="Folder of CoMMuTE, such as en-de, to evaluate too.")
@click.option("--commute-images", type=_PATH, help="Folder of CoMMuTE's images.  [default: images/ beside it]")
@draws_option
@draws_seed_option
@click.option("--gallery", type=click.IntRange(min=0), default=12,
              help="Number of examples: half that the image helped, half that it hurt.")  # fmt: skip
@click.option("--no-pictures", is_flag=True, help="Omit the photos, so that you can share the page.")
@click.option(
    "--output", type=_PATH, default="evidence", help="Output folder for evidence.html and evidence.json."
)
@threads_option
@import_option
def evidence_command(
    model: Path,
    data: Path,
    split: str | None,
    against: Path | None,
    stores: tuple[Path, ...],
    commute: Path | None,
    commute_images: Path | None,
    draws: int,
    seed: int,
    gallery: int,
    no_pictures: bool,
    output: Path,
    threads: int | None,
) -> None:
    """Does the model use the image, and is it better than text-only? Run every control and write one page."""
    from mmt.data.dataset import first_test_split

    if commute is None and commute_images is not None:
        raise MMTError(f"--commute-images {commute_images}: expected --commute, the folder of CoMMuTE, too.")
    split = split or first_test_split(data)
    write_alone_in(output)

    from mmt.data.dataset import image_folder
    from mmt.data.feature_store import open_features
    from mmt.data.image_names import Names, files_below
    from mmt.evidence.collect import Inputs, collect
    from mmt.report.evidence import print_summary, wrapped, write_report

    use_threads(threads)
    inputs = Inputs(model, data, split, stores, against, commute, commute_images, draws, seed, gallery)
    found, files = collect(inputs)
    write_report(found, output, None if no_pictures else files)
    print_summary(found)
    width = min(shutil.get_terminal_size().columns, 100)
    for what, why in found.not_run:
        click.echo(f"Not run: {what}\n{wrapped(why, width)}", err=True)
    if missing := found.data["images_missing"]:
        there = Names(open_features(stores).ids if stores else lambda: files_below(image_folder(data))[0])
        click.echo(f"skipped, {len(missing):,} images are missing: {there.listed(missing)}", err=True)
    click.echo(f"{output / 'evidence.html'} ({found.settings['seconds']:.0f} s)", err=True)


if __name__ == "__main__":
    main()
