"""Batches of image files to rows of features, in order: decoding, transform and network side by side."""

from __future__ import annotations

import itertools
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mmt.features.backbone import Backbone
from mmt.features.engines import Engine
from mmt.features.images import ImageError, read_ahead
from mmt.features.stored_images import StoredImage, in_order

Key = TypeVar("Key")
_Source = Path | StoredImage | bytes | Image.Image


def features_of(
    batches: Iterable[Sequence[tuple[Key, _Source]]],
    backbone: Backbone,
    num_workers: int | None,
    strict: bool = False,
    engine: Engine | None = None,
) -> Iterator[tuple[list[Key], NDArray[np.float32], dict[Key, str]]]:
    """Computes features of batches, in order; a bounded number of them is in memory.

    Args:
        batches: keys with images or recordings.
        num_workers: threads that decode; None is one for each core, or for each of torch's threads with an engine.
        strict: raise the first failure, an ImageError, instead of yielding it.
        engine: computes instead of ``backbone``'s forward pass; then each thread takes a few images from their
            files to their features, so that no core waits for another.
    Yields:
        For each batch the keys of its N readable images, (N, R, D), and why the others failed.
    """
    batches = map(in_order, batches)
    if engine is not None:
        yield from _each_on_a_core(batches, backbone, engine, num_workers, strict)
        return
    for pictures, failed in _decoded(batches, backbone, num_workers, strict):
        yield list(pictures), _forward(backbone, list(pictures.values())), failed


def _read(backbone: Backbone, source: _Source) -> Tensor:
    return backbone.read(source.read() if isinstance(source, StoredImage) else source)


def _empty(backbone: Backbone) -> NDArray[np.float32]:
    return np.zeros((0, backbone.signature.num_regions, backbone.signature.dim), np.float32)


# --- an engine: a few images per thread -------------------------------------------------------------------


def _each_on_a_core(
    batches: Iterable[Sequence[tuple[Key, _Source]]],
    backbone: Backbone,
    engine: Engine,
    num_workers: int | None,
    strict: bool,
) -> Iterator[tuple[list[Key], NDArray[np.float32], dict[Key, str]]]:
    threads = torch.get_num_threads()
    cores = threading.Semaphore(threads)  # more threads than cores wait for slow disks, not for the network

    def work(part: Sequence[tuple[Key, _Source]]) -> tuple[dict[Key, Tensor], NDArray[np.float32], dict[Key, str]]:
        pictures, failed = _sorted_out([(key, partial(_read, backbone, source)) for key, source in part], strict)
        if not pictures:
            return pictures, _empty(backbone), failed
        pixels = backbone.stack(list(pictures.values())).permute(0, 2, 3, 1).contiguous().numpy()
        with cores:
            return pictures, engine(pixels), failed

    workers = num_workers or threads
    pool = ThreadPoolExecutor(workers, "features", initializer=lambda: torch.set_num_threads(1))
    torch.set_num_threads(1)
    try:
        waiting: deque[list[Future[tuple[dict[Key, Tensor], NDArray[np.float32], dict[Key, str]]]]] = deque()
        upcoming, later = itertools.tee(batches)
        next(later, None)
        while True:
            # Enough parts for all threads while the oldest batch is finished.
            while sum(map(len, waiting)) < 2 * workers or len(waiting) < 2:
                batch = next(upcoming, None)
                if batch is None:
                    break
                parts = [batch[i : i + engine.batch] for i in range(0, len(batch), engine.batch)]
                waiting.append([pool.submit(work, part) for part in parts])
                for _, source in next(later, ()):
                    read_ahead(source)
            if not waiting:
                return
            done = [part.result() for part in waiting.popleft()]
            names = [key for pictures, _, _ in done for key in pictures]
            failed = {key: reason for _, _, some in done for key, reason in some.items()}
            yield names, np.concatenate([_empty(backbone), *(rows for _, rows, _ in done)]), failed
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def _sorted_out(
    reads: Sequence[tuple[Key, Callable[[], Tensor]]], strict: bool
) -> tuple[dict[Key, Tensor], dict[Key, str]]:
    """The pictures, and why the others failed; with ``strict`` the first failure is raised instead."""
    pictures: dict[Key, Tensor] = {}
    failed: dict[Key, str] = {}
    for key, read in reads:
        try:
            pictures[key] = read()
        except ImageError as error:
            if strict:
                raise
            failed[key] = error.reason
    return pictures, failed


# --- torch: one forward pass over all cores, or on another device -----------------------------------------


def _decoded(
    batches: Iterable[Sequence[tuple[Key, _Source]]],
    backbone: Backbone,
    num_workers: int | None,
    strict: bool,
) -> Iterator[tuple[dict[Key, Tensor], dict[Key, str]]]:
    """Decodes batches for the forward passes, in threads.

    On a CPU it decodes between the forward passes, since decoding during a pass slows the pass by more than it
    saves. On other devices it decodes during the passes, at most three batches ahead, so that memory stays
    bounded. Meanwhile the system loads the files of the next batch into its cache.
    """
    # Threads suffice: decoding and resizing release Python's lock.
    pool = ThreadPoolExecutor(num_workers or os.cpu_count() or 1, "decode")
    waiting: deque[list[tuple[Key, Future[Tensor]]]] = deque()
    ahead = 1 if any(weight.device.type == "cpu" for weight in backbone.parameters()) else 3
    upcoming, later = itertools.tee(batches)
    next(later, None)
    try:
        while True:
            for batch in itertools.islice(upcoming, ahead - len(waiting)):
                waiting.append([(key, pool.submit(_read, backbone, source)) for key, source in batch])
                for _, source in next(later, ()):
                    read_ahead(source)
            if not waiting:
                return
            yield _sorted_out([(key, future.result) for key, future in waiting.popleft()], strict)
    finally:
        pool.shutdown(cancel_futures=True)


def _forward(backbone: Backbone, pictures: Sequence[Tensor]) -> NDArray[np.float32]:
    """Results of ``backbone.read`` -> (N, R, D)."""
    if not pictures:
        return _empty(backbone)
    with torch.inference_mode():
        features: NDArray[np.float32] = backbone(backbone.stack(pictures)).cpu().numpy()
        return features
