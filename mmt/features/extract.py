"""Feature extraction: the pipeline of ``mmt features``.

backbone = load_backbone("efficientnet_lite0")              # real ImageNet weights, no download
report = extract_features(find_images(folder), backbone, Path("features/lite0"))
store = FeatureStore.open(Path("features/lite0"))           # mmt.data.feature_store
compute_features([Path("dog.jpg")], backbone)               # the same numbers, for images outside a store
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmt.data.feature_signature import Precision
from mmt.data.feature_store import DType, FeatureStore
from mmt.data.image_names import Names, files_below
from mmt.data.store_files import META, SHARDS
from mmt.engines.worker import kept
from mmt.errors import MMTError
from mmt.features.backbone import Backbone
from mmt.features.extract_report import ExtractReport
from mmt.features.filling import batches_of, check_runtime, engine_for, fill, finish, opener_of
from mmt.features.load import DEFAULT_BACKBONE, load_backbone, media_suffixes
from mmt.features.pipeline import features_of
from mmt.features.runtimes import RuntimeChoice
from mmt.features.sharing import extract_share
from mmt.features.stored_images import StoredImage, find_sources
from mmt.features.writer import FeatureWriter, check_folder, check_same
from mmt.io.devices import to_device
from mmt.io.locations import Location
from mmt.io.runtime import start as prepare_process
from mmt.io.shards import Shard, drop_parts

Key = TypeVar("Key")

_HINTS = 10  # for missing images, as many as are printed


def extract_features(
    image_paths: Mapping[str, Path | StoredImage],
    backbone: Backbone,
    out: Path,
    dtype: DType = "float16",
    batch_size: int = 32,
    num_workers: int | None = None,
    progress: bool = True,
    device: str = "cpu",
    shard: Shard | None = None,
    runtime: RuntimeChoice = "torch",
    precision: Precision = "float32",
    keep_shards: bool = False,
) -> ExtractReport:
    """Computes the features of images into a feature store: parallel decoding, one forward pass per batch.

    Memory does not depend on the number of images (except for their names). A killed run resumes where it stopped,
    with the same batches and the same runtime, so on one machine its store is bit-equal to that of an
    uninterrupted run. Images in the store are skipped. Images that an earlier run left out are tried again, last,
    since the file may have been fixed, except in a sharded store, to which no image is added.

    Args:
        image_paths: image id -> file or stored image, e.g. from ``find_sources``.
        backbone: computes the features; moved to ``device``.
        out: the store's folder: new, incomplete, or finished (then missing images are added).
        dtype: ``float16`` or ``float32``, on disk.
        batch_size: images per forward pass.
        num_workers: decoding threads; one per core if None.
        progress: show a progress bar.
        device: where the forward pass runs, e.g. ``cuda``.
        shard: this process's share of the batches; the last process merges all parts into one store. All use the
            runtime of the first one, so on CPUs of one kind the store is bit-equal to that of one process with
            that runtime.
        runtime: of the network on a CPU: ``torch``, ``onnx``, ``openvino``; or ``auto``, that of the rows in the
            store, for a new one the fastest here (``mmt.features.runtime_choice``): features then depend on a
            measurement, in the last bits.
        precision: in which the network computes. ``bfloat16`` is faster, and its features differ slightly.
        keep_shards: with ``shard``: the last process joins the parts where they are, without a copy of their rows
            (``mmt.features.shards``), in the same order. No image can be added to such a store.
    Raises:
        MMTError: the existing store has another signature or runtime, not a single image could be read, or the
            device, the runtime or the precision is missing.
    """
    if batch_size < 1:
        raise MMTError(f"batch_size must be at least 1, but is {batch_size} instead.")
    prepare_process()
    used = to_device(backbone.in_precision(precision), device)
    used.notes.clear()
    if (out / SHARDS).exists() and (out / META).exists():  # otherwise a kill cut the join short
        return _of_shards(image_paths, used, out, dtype)
    opened = opener_of(backbone, runtime, precision, device, len(image_paths))
    if shard is not None:
        return extract_share(
            image_paths, used, out, dtype, batch_size, num_workers, progress, opened, runtime, shard, keep_shards
        )
    with FeatureWriter(out, used.signature, dtype) as writer:
        batches = batches_of(image_paths, writer.ids, writer.left_out, batch_size)
        check_runtime(writer.computed, runtime, out)
        with engine_for(opened, batches, writer, lambda choose: writer.computed or choose()) as engine:
            report = fill(image_paths, batches, used, writer, num_workers, progress, engine)
        finish(writer, image_paths, used.things)
        return report


def _of_shards(image_paths: Collection[str], backbone: Backbone, out: Path, dtype: DType) -> ExtractReport:
    """The report on a sharded store that has all images. Raises MMTError if it lacks one."""
    store = FeatureStore.open(out)
    check_same(out, (store.signature, store.dtype), (backbone.signature, dtype))
    if not all(image_id in store or image_id in store.left_out for image_id in image_paths):
        check_folder(out, backbone.signature, dtype)  # says what to do
    drop_parts(out)  # left by a process that was killed after it joined them
    left_out = {image_id: store.left_out[image_id] for image_id in image_paths if image_id in store.left_out}
    skipped = len(image_paths) - len(left_out)
    note = (
        f"{out}: those left out are not tried again, as no image is added to a store of several shards. Make a "
        "store of them once they are fixed, and join it with the shards (mmt features --join)."
    )
    note = note if left_out else ""
    return ExtractReport(out, backbone.signature, 0, skipped, left_out, 0.0, backbone.things, {}, note)


def compute_features(
    images: Sequence[Path | bytes | Image.Image],
    backbone: Backbone,
    batch_size: int = 32,
    num_workers: int | None = None,
) -> NDArray[np.float32]:
    """Features of a few images, without a store; the same numbers up to the store's rounding.

    Args:
        images: N files, files' bytes, or PIL images.
    Returns:
        (N, R, D) float32, in ``images``'s order.
    Raises:
        ImageError: (an MMTError) with the name of the first image that cannot be read.
    """
    prepare_process()
    numbered = list(enumerate(images))
    batches = (numbered[i : i + batch_size] for i in range(0, len(numbered), batch_size))
    rows = [np.zeros((0, backbone.signature.num_regions, backbone.signature.dim), np.float32)]
    rows += (found for _, found, _ in features_of(batches, backbone, num_workers, strict=True))
    return np.concatenate(rows)


def extract_folder(
    source: Location,
    out: Path,
    backbone: str = DEFAULT_BACKBONE,
    layer: str | None = None,
    weights: Path | None = None,
    dtype: DType = "float16",
    batch_size: int = 32,
    num_workers: int | None = None,
    progress: bool = True,
    device: str = "cpu",
    shard: Shard | None = None,
    runtime: RuntimeChoice = "torch",
    precision: Precision = "float32",
    keep_shards: bool = False,
    crops: int = 1,
    squash: bool = False,
    image_size: int | None = None,
) -> ExtractReport:
    """All of ``mmt features``: see ``find_sources``, ``load_backbone``, ``Backbone``, ``extract_features``."""
    image_paths = kept("images", lambda: find_sources(source, media_suffixes(backbone)))
    loaded = kept("backbone", lambda: load_backbone(backbone, layer, weights))
    loaded = loaded.squashed() if squash else loaded
    loaded = (loaded.at_size(image_size) if image_size is not None else loaded).in_crops(crops)
    how = (dtype, batch_size, num_workers, progress, device, shard, runtime, precision, keep_shards)
    report = extract_features(image_paths, loaded, out, *how)
    paths = {i: path for i in report.left_out if isinstance(path := image_paths[i], Path)}
    gone = [image_id for image_id, path in paths.items() if not os.path.exists(path)][:_HINTS]
    if not gone:
        return report
    folder = Path(os.fspath(paths[gone[0]]).removesuffix(gone[0]))
    there = Names(lambda: files_below(folder)[0])
    return replace(report, nearest={image_id: there.hint(image_id) for image_id in gone})
