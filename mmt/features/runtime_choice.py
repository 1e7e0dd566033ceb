"""Which runtime computes a backbone's features fastest on this CPU: measured once, then read from the cache.

The cache has a folder for each CPU, backbone and set of versions. It holds the graph, whose name is its checksum,
and what was measured. Without a cache, and after any damage to it, the graph is written and the runtimes are
measured again.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mmt.data.feature_signature import Precision
from mmt.errors import MMTError
from mmt.features.backbone import Backbone
from mmt.features.engines import Engine, OnnxEngine, OpenVinoEngine, replaced_allocator
from mmt.features.onnx_export import export_backbone
from mmt.features.resize import ResizeCrop
from mmt.features.runtimes import TORCH, Computed, Runtime, RuntimeChoice
from mmt.io.atomic import write_whole
from mmt.io.cache import cache_folder, one_at_a_time
from mmt.io.text_files import file_checksum, parse_json

MEASURE_FROM = 1000
"""Images from which on measuring the runtimes, which takes ten seconds, is worth it."""

_CANDIDATES: dict[Precision, tuple[tuple[Runtime, int], ...]] = {
    "float32": (("torch", 32), ("onnx", 4), ("openvino", 1), ("openvino", 8)),
    "bfloat16": (("torch", 32), ("openvino", 8)),
}
"""Runtimes and their batches. Small batches stay in a core's cache."""

_TOLERANCE: dict[Precision, float] = {"float32": 1e-3, "bfloat16": 0.1}
"""Largest difference from torch's features in float32, relative to the largest feature."""
_IMAGES, _TURNS = 16, 3
_FORMAT = 1
_CHOICE = "choice_{}.json"
_KEPT = 8  # folders; the oldest are of earlier versions
_LARGEST_GRAPH = 512 << 20  # bytes


@contextmanager
def opened_engine(
    backbone: Backbone,
    runtime: RuntimeChoice,
    precision: Precision,
    num_images: int,
    threads: int,
    agree: Callable[[Callable[[], Computed]], Computed] = lambda choose: choose(),
) -> Iterator[Engine | None]:
    """The engine for a number of images; None means torch, ``backbone``'s own forward pass.

    Args:
        backbone: on a CPU, in float32.
        runtime: ``auto`` is the fastest one, and torch for fewer than ``MEASURE_FROM`` images.
        threads: calls at a time.
        agree: gets a function that chooses, and opens what it chose; returns what computes, chosen now or earlier.
    Raises:
        MMTError: the runtime is missing, does not have the precision, or cannot run the backbone.
    """
    known = {name for name, _ in _CANDIDATES[precision]}
    if runtime not in {"auto", *known}:
        raise MMTError(f"runtime {runtime} does not compute in {precision}; expected one of {', '.join(known)}.")
    with ExitStack() as stack:

        @cache
        def graph() -> Path:
            return stack.enter_context(_graph(backbone))

        @cache
        def engine(one: Computed) -> Engine | None:
            if one.runtime == "torch":
                return None
            return _engine(one.runtime, one.batch, graph(), precision, threads)

        def choose() -> Computed:
            if runtime == "torch" or (runtime == "auto" and num_images < MEASURE_FROM):
                return TORCH
            if runtime == "auto":
                try:
                    graph()
                except MMTError:  # ONNX cannot express it
                    return TORCH
                name, batch = _choice(backbone, graph(), precision)
            else:
                name, batch = next(one for one in _CANDIDATES[precision] if one[0] == runtime)
            chosen = TORCH if name == "torch" else Computed(name, batch)
            engine(chosen)  # what cannot be opened is not agreed upon
            return chosen

        yield engine(agree(choose))


def _engine(name: Runtime, batch: int, graph: Path, precision: Precision, threads: int) -> Engine:
    return OnnxEngine(graph, batch) if name == "onnx" else OpenVinoEngine(graph, batch, precision, threads)


# --- cache ------------------------------------------------------------------------------------------------


def _folder(backbone: Backbone) -> Path:
    key = [_FORMAT, _cpu(), bool(replaced_allocator()), backbone.signature.to_dict(), *_versions()]
    return cache_folder("features") / hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]


def _versions() -> list[str]:
    found = []
    for package in ("mmt-toolkit", "torch", "onnxruntime", "openvino"):
        try:
            found.append(importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:
            found.append("")
    return found


def _cpu() -> list[str]:
    """The kind of CPU: its name, and what it can do."""
    try:
        about = Path("/proc/cpuinfo").read_text("utf-8", "replace")
    except OSError:
        about = ""
    found = [re.search(rf"^{name}\s*:(.*)$", about, re.MULTILINE) for name in ("model name", "flags", "Features")]
    return [platform.machine(), platform.processor(), *(one[1].strip() for one in found if one)]


@contextmanager
def _graph(backbone: Backbone) -> Iterator[Path]:
    """The backbone's graph: from the cache, or written into it, or in a temporary folder."""
    folder = _folder(backbone)
    with one_at_a_time(folder):
        for path in sorted(folder.glob("*.onnx")):
            with suppress(OSError, MMTError):
                if file_checksum(path) == path.stem:
                    with suppress(OSError):  # of another user, or on a disk that is read-only
                        folder.touch()  # it is in use: see _drop_old
                    break
                path.unlink()
        else:
            path = folder
    if path != folder:
        yield path
        return
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary, "graph.onnx")
        export_backbone(backbone, path)
        cached = folder / f"{file_checksum(path)}.onnx"
        if path.stat().st_size < _LARGEST_GRAPH and not path.with_name(f"{path.name}.data").exists():
            with suppress(OSError, MMTError), one_at_a_time(folder):
                write_whole(cached, path.read_bytes())
                _drop_old(folder)
        yield path


def _drop_old(folder: Path) -> None:
    others = sorted(
        (one for one in folder.parent.iterdir() if one.is_dir() and one != folder),
        key=lambda one: one.stat().st_mtime,
    )
    for old in others[: -(_KEPT - 1)]:
        shutil.rmtree(old, ignore_errors=True)


def _choice(backbone: Backbone, graph: Path, precision: Precision) -> tuple[Runtime, int]:
    """The fastest candidate, from the cache if it is there."""
    folder = _folder(backbone)
    path = folder / _CHOICE.format(precision)
    with one_at_a_time(folder):  # another process that measures would slow this one
        with suppress(OSError, MMTError, ValueError, LookupError, TypeError):
            about = parse_json(path.read_bytes())
            chosen = about["runtime"], about["batch"]
            if chosen in _CANDIDATES[precision]:
                return chosen
        speeds = measure(backbone, graph, precision)
        # None is right where the backbone itself gives NaN
        name, batch = max(speeds, key=lambda one: speeds[one], default=("torch", 32))
        figures = {f"{runtime}, batch {size}": round(speed, 1) for (runtime, size), speed in speeds.items()}
        about = {"runtime": name, "batch": batch, "images_per_processor_second": figures}
        with suppress(OSError, MMTError):
            write_whole(path, json.dumps(about, indent=1) + "\n")
    return name, batch


# --- measurement ------------------------------------------------------------------------------------------


def measure(backbone: Backbone, graph: Path, precision: Precision) -> dict[tuple[Runtime, int], float]:
    """Images per second of processor time on one core, of each runtime that is there and gives right features.

    The runtimes take turns; the best turn counts, since other processes only slow one down.
    """
    crop = ResizeCrop.of(backbone.signature.transform)
    assert crop is not None  # noqa: S101  # else the export had refused it
    shape = (_IMAGES, backbone.signature.crops * crop.crop, crop.crop, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    own = backbone.in_precision(precision)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        expected = _torch(backbone)(pixels)
        candidates: dict[tuple[Runtime, int], Callable[[NDArray[np.uint8]], NDArray[np.float32]]] = {}
        for name, batch in _CANDIDATES[precision]:
            with suppress(MMTError):
                run = _torch(own) if name == "torch" else _engine(name, batch, graph, precision, 1)
                found = _whole(run, pixels, batch)
                if np.abs(found - expected).max() <= _TOLERANCE[precision] * np.abs(expected).max():  # not of NaN
                    candidates[name, batch] = run
        best = dict.fromkeys(candidates, 0.0)
        for _ in range(_TURNS):
            for (name, batch), run in candidates.items():
                start = time.process_time()
                _whole(run, pixels, batch)
                seconds = max(time.process_time() - start, 1e-9)
                best[name, batch] = max(best[name, batch], len(pixels) / seconds)
    finally:
        torch.set_num_threads(threads)
    return best


def _torch(backbone: Backbone) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    def run(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            found: NDArray[np.float32] = backbone(torch.from_numpy(pixels).permute(0, 3, 1, 2)).numpy()
            return found

    return run


def _whole(
    run: Callable[[NDArray[np.uint8]], NDArray[np.float32]], pixels: NDArray[np.uint8], batch: int
) -> NDArray[np.float32]:
    return np.concatenate([run(pixels[i : i + batch]) for i in range(0, len(pixels), batch)])
