"""Fills a feature store: its remaining batches, and the engine that computes them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path

import torch
from tqdm import tqdm

from mmt.data.feature_signature import Precision
from mmt.errors import MMTError
from mmt.features.backbone import Backbone
from mmt.features.engines import Engine
from mmt.features.extract_report import ExtractReport
from mmt.features.pipeline import features_of
from mmt.features.runtime_choice import opened_engine
from mmt.features.runtimes import TORCH, Computed, RuntimeChoice
from mmt.features.stored_images import StoredImage
from mmt.features.writer import FeatureWriter

Choose = Callable[[], Computed]
Opener = Callable[[Callable[[Choose], Computed]], AbstractContextManager[Engine | None]]
"""Gets ``opened_engine``'s ``agree``."""


def opener_of(
    backbone: Backbone, runtime: RuntimeChoice, precision: Precision, device: str, num_images: int
) -> Opener:
    """Opens an engine for ``num_images`` when it is needed. Raises MMTError where only torch computes."""
    if backbone.things == "images" and torch.device(device).type == "cpu":
        threads = torch.get_num_threads()
        return partial(opened_engine, backbone, runtime, precision, num_images, threads)
    where = f"on {device}" if backbone.things == "images" else f"for {backbone.things}"
    if runtime not in ("auto", "torch"):
        raise MMTError(
            f"runtime {runtime} is for images on a CPU; {where} only torch computes. Use --runtime auto."
        )

    def torch_alone(agree: Callable[[Choose], Computed]) -> AbstractContextManager[None]:
        if (agreed := agree(lambda: TORCH)) != TORCH:
            raise MMTError(f"{where} only torch computes. Use --device cpu --runtime {agreed.runtime}.")
        return nullcontext()

    return torch_alone


def check_runtime(computed: Computed | None, runtime: RuntimeChoice, out: Path) -> None:
    """Raises MMTError if the features in ``out`` were computed by another runtime."""
    if computed is not None:
        computed.check(runtime, out, "name another folder")


@contextmanager
def engine_for(
    opened: Opener, batches: Sequence[object], writer: FeatureWriter, agree: Callable[[Choose], Computed]
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


def batches_of(
    image_ids: Iterable[str], done: Collection[str], left_out: Collection[str], batch_size: int
) -> list[list[str]]:
    """The remaining batches. Retried images are apart, so that a kill does not change the batches."""
    done = frozenset(done)
    parts: tuple[list[str], list[str]] = [], []
    for image_id in image_ids:
        if image_id not in done:
            parts[image_id in left_out].append(image_id)
    return [part[i : i + batch_size] for part in parts for i in range(0, len(part), batch_size)]


def fill(
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


def finish(writer: FeatureWriter, image_paths: Collection[str], things: str) -> None:
    """Makes the store readable. Raises MMTError if it has no features at all."""
    if not len(writer):
        raise none_read(len(image_paths), things, writer.left_out)
    writer.finish()


def none_read(num: int, things: str, left_out: Mapping[str, str]) -> MMTError:
    """The error for images of which none could be read."""
    first, reason = next(iter(left_out.items()), ("", "none was asked for"))
    return MMTError(f"none of {num:,} {things} could be read; the first: '{first}', {reason}.")
