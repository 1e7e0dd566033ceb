"""Feature extraction: the pipeline of ``mmt features``.

backbone = load_backbone("efficientnet_lite0")              # real ImageNet weights, no download
report = extract_features(find_images(folder), backbone, Path("features/lite0"))
store = FeatureStore.open(Path("features/lite0"))           # mmt.data.feature_store
compute_features([Path("dog.jpg")], backbone)               # the same numbers, for images outside a store
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from mmt.data.feature_store import DType, FeatureSignature, FeatureStore, Precision
from mmt.data.image_names import Names, files_below
from mmt.data.store_files import META, SHARDS
from mmt.engines.worker import kept
from mmt.errors import MMTError
from mmt.features.backbone import Backbone
from mmt.features.engines import Engine
from mmt.features.load import DEFAULT_BACKBONE, load_backbone, media_suffixes
from mmt.features.pipeline import features_of
from mmt.features.runtime_choice import opened_engine
from mmt.features.runtimes import TORCH, Computed, RuntimeChoice, recorded
from mmt.features.shards import check_place, join_stores
from mmt.features.stored_images import StoredImage, find_sources
from mmt.features.writer import FeatureWriter, check_folder, check_same, finished_ids
from mmt.io.devices import to_device
from mmt.io.locations import Location
from mmt.io.runtime import start as prepare_process
from mmt.io.shards import Parts, Shard, done_parts, drop_parts
from mmt.io.terminal import counted

Key = TypeVar("Key")

_RUNTIME = "runtime"  # beside the parts: what computes all of them
_HINTS = 10  # for missing images, as many as are printed


@dataclass(frozen=True)
class ExtractReport:
    """The result of one run of the extraction.

    Attributes:
        out: the store's folder.
        signature: of the features.
        done: images whose features were computed in this run.
        skipped: images that were in the store already.
        left_out: image id -> why it has no features, for the requested images.
        nearest: missing image id -> a hint with the nearest existing file; for some of them.
        seconds: from the first image to the finished store, without loading the backbone.
        things: ``images`` or ``recordings``.
        notes: what was done to some of them, e.g. ``resampled from 22,050 Hz``, and to how many.
        note: a message about what happened to a shard's part, or about images that are not tried again.
        runtime: that computed them.
    """

    out: Path
    signature: FeatureSignature
    done: int
    skipped: int
    left_out: dict[str, str]
    seconds: float
    things: str
    notes: dict[str, int]
    note: str = ""
    nearest: dict[str, str] = field(default_factory=dict)
    runtime: str = "torch"


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
    opened = _opener(backbone, runtime, precision, device, len(image_paths))
    if shard is not None:
        return _extract_share(
            image_paths, used, out, dtype, batch_size, num_workers, progress, opened, runtime, shard, keep_shards
        )
    with FeatureWriter(out, used.signature, dtype) as writer:
        batches = _batches(image_paths, writer.ids, writer.left_out, batch_size)
        _check_runtime(writer.computed, runtime, out)
        with _engine(opened, batches, writer, lambda choose: writer.computed or choose()) as engine:
            report = _extract(image_paths, batches, used, writer, num_workers, progress, engine)
        _finish(writer, image_paths, used.things)
        return report


_Choose = Callable[[], Computed]
_Opener = Callable[[Callable[[_Choose], Computed]], AbstractContextManager[Engine | None]]
"""Gets ``opened_engine``'s ``agree``."""


def _opener(
    backbone: Backbone, runtime: RuntimeChoice, precision: Precision, device: str, num_images: int
) -> _Opener:
    if backbone.things == "images" and torch.device(device).type == "cpu":
        threads = torch.get_num_threads()
        return partial(opened_engine, backbone, runtime, precision, num_images, threads)
    where = f"on {device}" if backbone.things == "images" else f"for {backbone.things}"
    if runtime not in ("auto", "torch"):
        raise MMTError(
            f"runtime {runtime} is for images on a CPU; {where} only torch computes. Use --runtime auto."
        )

    def torch_alone(agree: Callable[[_Choose], Computed]) -> AbstractContextManager[None]:
        if (agreed := agree(lambda: TORCH)) != TORCH:
            raise MMTError(f"{where} only torch computes. Use --device cpu --runtime {agreed.runtime}.")
        return nullcontext()

    return torch_alone


def _check_runtime(computed: Computed | None, runtime: RuntimeChoice, out: Path) -> None:
    if computed is not None:
        computed.check(runtime, out, "name another folder")


@contextmanager
def _engine(
    opened: _Opener, batches: Sequence[object], writer: FeatureWriter, agree: Callable[[_Choose], Computed]
) -> Iterator[Engine | None]:
    """The engine that computes the rest of a store, which the writer records; None is torch."""
    if not batches:
        yield None
        return
    before = writer.computed
    with ExitStack() as stack:
        try:
            engine = stack.enter_context(opened(agree))
        except MMTError as error:
            if before is None:
                raise
            raise MMTError(f"{writer.folder}: holds features computed by {before.runtime}: {error}") from None
        writer.computed = TORCH if engine is None else Computed(engine.runtime, engine.batch)
        yield engine


def _batches(
    image_ids: Iterable[str], done: Collection[str], left_out: Collection[str], batch_size: int
) -> list[list[str]]:
    """The remaining batches. Retried images are apart, so that a kill does not change the batches."""
    done = frozenset(done)
    parts: tuple[list[str], list[str]] = [], []
    for image_id in image_ids:
        if image_id not in done:
            parts[image_id in left_out].append(image_id)
    return [part[i : i + batch_size] for part in parts for i in range(0, len(part), batch_size)]


def _extract(
    image_paths: Mapping[str, Path | StoredImage],
    batches: Sequence[Sequence[str]],
    backbone: Backbone,
    writer: FeatureWriter,
    num_workers: int | None,
    progress: bool,
    engine: Engine | None,
) -> ExtractReport:
    """Adds ``batches`` of ``image_paths`` to the store."""
    skipped = len(image_paths) - sum(map(len, batches))
    start, done = time.perf_counter(), 0
    sources = ([(i, image_paths[i]) for i in batch] for batch in batches)
    with tqdm(
        total=len(image_paths),
        initial=skipped,
        unit=f" {backbone.things}",
        disable=None if progress else True,
        smoothing=0.05,
    ) as bar:
        for names, rows, failed in features_of(sources, backbone, num_workers, engine=engine):
            writer.append(names, rows, failed)
            done += len(names)
            bar.update(len(names) + len(failed))
    left_out = {i: writer.left_out[i] for i in image_paths if i in writer.left_out}
    seconds = time.perf_counter() - start
    notes = dict(sorted(backbone.notes.items()))
    return ExtractReport(
        writer.folder,
        backbone.signature,
        done,
        skipped,
        left_out,
        seconds,
        backbone.things,
        notes,
        runtime=engine.runtime if engine is not None else "torch",
    )


def _finish(writer: FeatureWriter, image_paths: Collection[str], things: str) -> None:
    if not len(writer):
        raise _none(len(image_paths), things, writer.left_out)
    writer.finish()


def _none(num: int, things: str, left_out: Mapping[str, str]) -> MMTError:
    first, reason = next(iter(left_out.items()), ("", "none was asked for"))
    return MMTError(f"none of {num:,} {things} could be read; the first: '{first}', {reason}.")


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


def _extract_share(
    image_paths: Mapping[str, Path | StoredImage],
    backbone: Backbone,
    out: Path,
    dtype: DType,
    batch_size: int,
    num_workers: int | None,
    progress: bool,
    opened: _Opener,
    runtime: RuntimeChoice,
    shard: Shard,
    keep_shards: bool,
) -> ExtractReport:
    """Extracts one shard of the batches into a store of its own; the last process merges or joins the stores."""
    if not keep_shards:
        check_folder(out, backbone.signature, dtype)  # now, not at the end
    elif (out / META).exists():
        raise MMTError(
            f"{out}: holds a store that is not sharded. Name another folder, or leave --keep-shards out."
        )
    else:
        check_place(out, {part.name for part in done_parts(out)})  # complete parts may have been moved
    there = recorded(out)
    _check_runtime(there, runtime, out)
    ids, left_out = finished_ids(out)
    batches = _batches(image_paths, ids, left_out, batch_size)
    done = done_parts(out)
    joined = bool(done and ids) and {*ids, *left_out}.issuperset(i for one in done for i in finished_ids(one)[0])
    if joined:
        drop_parts(out)  # left by a process that was killed after it merged them
    if joined or not batches:
        return ExtractReport(out, backbone.signature, 0, len(image_paths), {}, 0.0, backbone.things, {})
    plan = {
        "signature": backbone.signature.to_dict(),
        "dtype": dtype,
        "batch_size": batch_size,
        "batches": hashlib.sha256(json.dumps(batches).encode()).hexdigest(),
        "shares": "runs of batches",
        "kept": keep_shards,
    }
    # Neighbours lie in one tar, or in one row group of Parquet.
    shares = [number * shard.count // len(batches) for number in range(len(batches))]
    own_batches = [batch for share, batch in zip(shares, batches, strict=True) if share == shard.number]
    own = {i: image_paths[i] for batch in own_batches for i in batch}

    def keep(about: list[dict[str, Any]]) -> None:
        out.mkdir(parents=True, exist_ok=True)
        kept = [out / parts.of(number).name for number, one in enumerate(about) if one["rows"]]
        for number, one in enumerate(about):
            if one["rows"] and parts.of(number).exists():  # otherwise moved before a kill
                parts.of(number).rename(out / parts.of(number).name)
        left_out = {name: why for one in about for name, why in one["left_out"].items()}
        if not kept:
            parts.drop()
            raise _none(len(image_paths), backbone.things, left_out)
        join_stores(kept, out, left_out)

    def join(about: list[dict[str, Any]]) -> None:
        if keep_shards:
            keep(about)
            return
        stores = [FeatureStore.open(parts.of(n)) if one["rows"] else None for n, one in enumerate(about)]
        with FeatureWriter(out, backbone.signature, dtype) as writer:
            if writer.computed is None:
                writer.computed = Computed.of(parts.agreed(_RUNTIME), out)
            for share, batch in zip(shares, batches, strict=True):
                store, left_out = stores[share], about[share]["left_out"]
                # Images that are in the store already were added by a process that was killed while it merged.
                new = [i for i in batch if i not in left_out and i not in writer]
                shape = (0, backbone.signature.num_regions, backbone.signature.dim)
                rows = store.get(new) if store is not None else np.zeros(shape, np.float32)
                writer.append(new, rows, {i: left_out[i] for i in batch if i in left_out})
            if not len(writer):
                parts.drop()  # otherwise fixed images would not be read again
            _finish(writer, image_paths, backbone.things)

    def agree(choose: _Choose) -> Computed:
        agreed = Computed.of(parts.agreed(_RUNTIME, lambda: (there or choose()).to_dict()), parts.folder)
        agreed.check(runtime, parts.folder, "remove the folder")
        return agreed

    with Parts(out, shard, plan) as parts:
        report = ExtractReport(parts.part, backbone.signature, 0, len(own), {}, 0.0, backbone.things, {})
        if own and not parts.is_done:
            with FeatureWriter(parts.part, backbone.signature, dtype) as writer:
                have = {*writer.ids, *writer.left_out}
                rest = [batch for batch in own_batches if not have.issuperset(batch)]
                with _engine(opened, rest, writer, agree) as engine:
                    report = _extract(own, rest, backbone, writer, num_workers, progress, engine)
                if len(writer):
                    writer.finish()
        about = {"rows": len(own) - len(report.left_out), "left_out": report.left_out}
        return replace(report, note=parts.finish(about, join))


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
) -> ExtractReport:
    """All of ``mmt features``: see ``find_sources``, ``load_backbone``, ``extract_features``."""
    image_paths = kept("images", lambda: find_sources(source, media_suffixes(backbone)))
    loaded = kept("backbone", lambda: load_backbone(backbone, layer, weights))
    how = (dtype, batch_size, num_workers, progress, device, shard, runtime, precision, keep_shards)
    report = extract_features(image_paths, loaded, out, *how)
    paths = {i: path for i in report.left_out if isinstance(path := image_paths[i], Path)}
    gone = [image_id for image_id, path in paths.items() if not os.path.exists(path)][:_HINTS]
    if not gone:
        return report
    folder = Path(os.fspath(paths[gone[0]]).removesuffix(gone[0]))
    there = Names(lambda: files_below(folder)[0])
    return replace(report, nearest={image_id: there.hint(image_id) for image_id in gone})


def print_report(report: ExtractReport) -> None:
    """Prints the result of ``extract_features``, with the names of the images that it left out."""
    thing = report.things.removesuffix("s")
    rate = f"{report.done / report.seconds:.1f} {report.things}/s"
    parts = [f"{counted(report.done, thing)} in {report.seconds:.1f} s ({rate}, {report.runtime})"]
    if not report.done:
        parts = ["nothing to do" if not report.left_out else "no new features"]
    if report.skipped:
        parts.append(f"{report.skipped:,} {'was' if report.skipped == 1 else 'were'} there already")
    print(f"{report.out}: {report.signature}: {', '.join(parts)}")
    for note, number in report.notes.items():
        print(f"  {number:,} {note}")
    if report.left_out:
        print(f"left out {counted(len(report.left_out), thing)}, without features:")
        for image_id, reason in itertools.islice(report.left_out.items(), 10):
            print(f"  {image_id}: {reason}{report.nearest.get(image_id, '')}")
        if len(report.left_out) > 10:
            print(f"  ... and {len(report.left_out) - 10:,} more, in {report.out}/meta.json under left_out")
    if report.note:
        print(report.note)
