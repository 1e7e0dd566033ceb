"""``mmt features``: extracts features from images or recordings, or verifies a feature store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmt.cli.command import Command, write_alone_in
from mmt.cli.engines import ran_on_engine, shard_of
from mmt.cli.options import LOCATION, PATH, on_option, quiet_option, shard_option, threads_option
from mmt.errors import MMTError
from mmt.io.locations import check_location
from mmt.io.terminal import counted

if TYPE_CHECKING:
    from mmt.data.feature_signature import Precision
    from mmt.features.runtimes import RuntimeChoice
    from mmt.io.locations import Location


@click.command("features", cls=Command, when_stopped="Progress saved; rerun the same command to resume.")
@click.option(
    "--images",
    "source",
    type=LOCATION,
    help="Prepared dataset; folder of images or recordings; or webdataset tars or Parquet files with images: a "
    "folder, a file or a pattern. Also a URL, such as s3://BUCKET/FOLDER.",
)
@click.option("--out", type=PATH, help="Output feature store; resumes a partial one.")
@click.option("--join", type=PATH, multiple=True,
              help="Feature store to join with others into --out, without copying rows; repeatable.")  # fmt: skip
@click.option("--check", type=PATH, help="Verify an existing feature store's checksum, and do nothing else.")
@click.option(
    "--backbone",
    default="efficientnet_lite0",
    help="Backbone: efficientnet_lite0, efficientnet_lite2, resnet50, vgg16, vit_b_16, colours, timm:NAME, "
    "clip:NAME_OR_FOLDER or objects:NAME[,top=N][,score=S]; for recordings logmel80[:SECONDS] or "
    "whisper:NAME_OR_FOLDER[,layer=N][,seconds=N][,stride=N][,context=N].",
)
@click.option("--layer", type=click.Choice(["pool", "grid"]), help="One vector (pool), or one for each region or "
              "frame (grid).  [default: pool; grid for recordings]")  # fmt: skip
@click.option("--crops", type=click.Choice(["1", "5"]), default="1",
              help="Vectors of an image with --layer pool: 1, or 5, also of each quarter of it.")  # fmt: skip
@click.option("--squash", is_flag=True,
              help="Squash the whole image into a square, instead of cutting its margins off.")  # fmt: skip
@click.option("--image-size", type=click.IntRange(min=16), help="Side of the square that the network reads, in "
              "pixels; a larger one gives --layer grid more regions.  [default: the backbone's own]")  # fmt: skip
@click.option("--weights", type=PATH, help="File with the backbone's weights, instead of a download.")
@click.option("--dtype", type=click.Choice(["float16", "float32"]), default="float16",
              help="Precision of the stored features.")  # fmt: skip
@click.option("--batch-size", type=click.IntRange(min=1), default=32, help="Images in a batch.")
@click.option("--workers", type=click.IntRange(min=1), help="Number of decoding threads.  [default: as --threads]")
@click.option("--device", default="cpu", help="Device of the backbone, such as cuda.")
@click.option("--runtime", type=click.Choice(["auto", "torch", "onnx", "openvino"]), default="auto",
              help="Runtime on a CPU; auto: the fastest, measured once.")  # fmt: skip
@click.option("--precision", type=click.Choice(["float32", "bfloat16"]), default="float32",
              help="Precision of the computation; bfloat16 is faster, and features differ slightly.")  # fmt: skip
@threads_option
@shard_option
@click.option("--keep-shards", is_flag=True,
              help="The parts of --shard or --on become the store, without a copy of their rows.")  # fmt: skip
@on_option
@quiet_option
def features_command(
    source: Location | None,
    out: Path | None,
    join: tuple[Path, ...],
    check: Path | None,
    backbone: str,
    layer: str | None,
    crops: str,
    squash: bool,
    image_size: int | None,
    weights: Path | None,
    dtype: str,
    batch_size: int,
    workers: int | None,
    device: str,
    runtime: RuntimeChoice,
    precision: Precision,
    threads: int | None,
    shard: str | None,
    keep_shards: bool,
    engine: str | None,
    quiet: bool,
) -> None:
    """Extract features from images or recordings, for training and translating."""
    if check is not None:
        from mmt.data.feature_store import FeatureStore

        store = FeatureStore.open(check)
        store.verify()
        click.echo(f"{check}: {store.signature}: {counted(len(store), 'image')}, whole")
        return
    if join and out is not None and source is None:
        _check_only_joins(click.get_current_context())
        from mmt.features.shards import join_stores

        store = join_stores(join, out)
        if not quiet:
            size = f"{counted(len(store), 'image')} in {counted(len(join), 'shard')}"
            click.echo(f"{out}: {store.signature}: {size}")
        return
    if source is None or out is None or join:
        raise MMTError(
            "expected --images and --out: what to make features of, and where they go; or --join STORE and --out; "
            "or --check STORE."
        )
    share = shard_of(shard, engine)
    if engine is not None:
        check_location(source)
    if keep_shards and share is None and engine is None:
        raise MMTError("--keep-shards: expected --shard K/N or --on ENGINE, as one process makes no shards.")
    if ran_on_engine(engine, out, threads=threads, quiet=quiet):
        return
    if share is None:
        write_alone_in(out)

    from mmt.features.extract import extract_folder
    from mmt.features.extract_report import print_report
    from mmt.inference.threads import use_threads

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
        runtime=runtime,
        precision=precision,
        shard=share,
        keep_shards=keep_shards,
        crops=int(crops),
        squash=squash,
        image_size=image_size,
        progress=not quiet,
    )
    if not quiet:
        print_report(report)


_OF_JOIN = ("join", "out", "quiet")


def _check_only_joins(context: click.Context) -> None:
    """Raises MMTError for an option that ``--join``, which computes nothing, would ignore."""
    for option in context.command.params:
        name = option.name or ""
        given = context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        if given and name not in _OF_JOIN:
            raise MMTError(f"--join: joins finished stores in one process. Leave {option.opts[0]} out.")
