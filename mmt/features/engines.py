"""Runtimes that compute features on a CPU from a backbone's graph: each call on one core, several at a time."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mmt.data.feature_signature import Precision
from mmt.errors import MMTError
from mmt.features.onnx_backbone import FEATURES, PIXELS
from mmt.features.runtimes import Runtime
from mmt.io.onnx import open_session


class Engine(Protocol):
    """Computes features of small batches.

    Attributes:
        runtime: its name.
        batch: images of a call, at which it is fastest.
    """

    runtime: Runtime
    batch: int

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, K * C, C, 3) after the transform -> (N, R, D); N is 1 to ``batch``. Several threads may call it."""


class OnnxEngine:
    """ONNX Runtime, in float32."""

    runtime: Runtime = "onnx"

    def __init__(self, graph: Path, batch: int) -> None:
        self.batch = batch
        self._session = open_session(graph, 1)

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        features: NDArray[np.float32] = self._session.run([FEATURES], {PIXELS: pixels})[0]
        return features


def replaced_allocator() -> str:
    """What LD_PRELOAD names in place of the C library's memory allocator, such as tcmalloc; empty if nothing."""
    preloaded = os.environ.get("LD_PRELOAD", "")
    return preloaded if "malloc" in preloaded else ""


class OpenVinoEngine:
    """OpenVINO. Batches are filled up to one size, for which it compiles the graph."""

    runtime: Runtime = "openvino"

    def __init__(self, graph: Path, batch: int, precision: Precision, streams: int) -> None:
        """
        Args:
            streams: calls at a time, each on one core.
        Raises:
            MMTError: OpenVINO is missing, or cannot run the graph, or not in this precision on this CPU, or not
                with this memory allocator.
        """
        if other := replaced_allocator():  # "free(): invalid pointer" ends the process
            raise MMTError(
                f"OpenVINO would crash with the memory allocator in LD_PRELOAD ({other}). Unset "
                "LD_PRELOAD for this command."
            )
        self.batch = batch
        self._local = threading.local()
        try:
            with _without_telemetry():
                import openvino  # an extra, which takes a second to import
        except ImportError:
            raise MMTError("the package openvino is missing. pip install 'mmt-toolkit[openvino]'.") from None
        # its own default varies
        hint = {"float32": openvino.Type.f32, "bfloat16": openvino.Type.bf16}[precision]
        settings = {
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": streams,
            "ENABLE_CPU_PINNING": False,  # other processes use the cores, too
            "INFERENCE_PRECISION_HINT": hint,
        }
        try:
            core = openvino.Core()
            model = core.read_model(graph)
            sides = list(model.input(0).partial_shape)[1:]
            model.reshape([batch, *(side.get_length() for side in sides)])
            # OpenVINO gives the thread that compiles a signal stack, and frees it with the model. After two models
            # the thread can have one that is freed: its next signal is a segmentation fault. So this thread ends.
            with ThreadPoolExecutor(1) as compiling:
                self._compiled: Any = compiling.submit(core.compile_model, model, "CPU", settings).result()
            computes_in = self._compiled.get_property("INFERENCE_PRECISION_HINT")
        except Exception as error:  # its errors are RuntimeErrors of many lines
            reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
            message = f"OpenVINO cannot run this backbone ({reason[0].strip()}). Use --runtime auto."
            raise MMTError(message) from None
        if computes_in != hint:  # a CPU without bfloat16, where it falls back in silence
            raise MMTError(
                f"OpenVINO cannot compute in {precision} on this CPU. Use --precision float32, or --runtime torch."
            )

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        request = getattr(self._local, "request", None)
        if request is None:
            request = self._local.request = self._compiled.create_infer_request()
        missing = self.batch - len(pixels)
        if missing:
            pixels = np.concatenate([pixels, np.repeat(pixels[:1], missing, axis=0)])
        found: NDArray[np.float32] = request.infer({0: pixels})[0]
        return found[: self.batch - missing].copy()  # the request's own memory


@contextmanager
def _without_telemetry() -> Iterator[None]:
    """Its import would write an id below HOME and send events; without this package it uses a stub."""
    name = "openvino_telemetry"
    before = sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment]  # then its import fails
    try:
        yield
    finally:
        if before is None:
            sys.modules.pop(name, None)
        else:
            sys.modules[name] = before
