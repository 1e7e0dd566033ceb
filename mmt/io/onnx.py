"""Graphs in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmt.errors import MMTError
from mmt.io import runtime


def open_session(path: Path, threads: int = 1, disabled: Sequence[str] = ()) -> Any:
    """Loads a graph into an ``onnxruntime.InferenceSession`` that computes on this many cores.

    Args:
        disabled: names of ONNX Runtime's optimizers that leave the graph alone.
    Raises:
        MMTError: the file is no graph, or a damaged one.
    """
    runtime.start()  # before onnxruntime, which sends telemetry from its import on
    import onnxruntime  # takes as long as all of mmt --help

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    # Rounded weights are expanded once, when the graph is loaded.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    try:
        return onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"], disabled_optimizers=list(disabled)
        )
    except Exception as error:  # onnxruntime has one class of error for each cause
        reason = str(error).splitlines()[0]
        raise MMTError(f"{path}: cannot be loaded ({reason}). Export the model again.") from None
