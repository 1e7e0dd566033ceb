"""Writes a backbone as an ONNX graph, which ``mmt.features.onnx_backbone`` runs without torch."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from mmt.errors import MMTError
from mmt.features.backbone import Backbone
from mmt.features.onnx_backbone import FEATURES, PIXELS, SIGNATURE
from mmt.features.resize import KERNELS, ResizeCrop

BackbonePrecision = Literal["float32", "float16", "int8"]
BACKBONE_PRECISIONS: tuple[BackbonePrecision, ...] = get_args(BackbonePrecision)

LARGEST_FILE = 1 << 30
"""Bytes of weights above which they are stored beside the graph: a graph file holds at most 2 GiB."""

_OPSET = 20


def export_backbone(backbone: Backbone, path: Path, precision: BackbonePrecision = "float32") -> None:
    """Writes the graph; weights of more than 1 GiB lie beside it, in ``path`` with ``.data`` at its end.

    Args:
        precision: of the weights in the file; the network computes in float32. ``int8`` has one scale for each
            output channel. Only ``float32`` gives the features that ``backbone`` gives.
    Raises:
        MMTError: the transform cannot be computed without torch, or a part cannot be expressed in ONNX.
    """
    pixels = ResizeCrop.of(backbone.signature.transform)
    if pixels is None or pixels.interpolation not in KERNELS:
        raise MMTError(
            f"{backbone.signature}: expected a transform with {' or '.join(KERNELS)} interpolation, found "
            f"{backbone.signature.transform}. It cannot be exported."
        )
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder, "graph.onnx")
        _traced(backbone, pixels.crop).save(raw, external_data=True)
        model = onnx.load(raw)
    if precision != "float32":
        _round(model.graph, precision)
    helper.set_model_props(model, {SIGNATURE: json.dumps(backbone.signature.to_dict())})
    large = sum(len(one.raw_data) for one in model.graph.initializer) > LARGEST_FILE
    onnx.save_model(model, path, save_as_external_data=large, location=f"{path.name}.data")


def round_weights(path: Path, precision: BackbonePrecision) -> None:
    """Stores the weights of a graph file in another precision, in place; the graph still computes in float32."""
    model = onnx.load(path)
    _round(model.graph, precision)
    onnx.save_model(model, path)


class _Graph(nn.Module):
    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        for name in ("mean", "std"):
            self.register_buffer(name, backbone.get_buffer(name).clone())

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, K * C, C, 3) uint8 -> (N, R, D) float32."""
        images = (pixels.float() - self.get_buffer("mean")) / self.get_buffer("std")
        return self.backbone.features(images.permute(0, 3, 1, 2))


def _traced(backbone: Backbone, crop: int) -> Any:
    some = torch.zeros(2, backbone.signature.crops * crop, crop, 3, dtype=torch.uint8)
    with torch.no_grad(), _without_fused_attention(), quiet():
        try:
            graph = torch.export.export(_Graph(backbone), (some,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
            program = torch.onnx.export(
                graph,
                input_names=[PIXELS],
                output_names=[FEATURES],
                opset_version=_OPSET,
                dynamo=True,
                verbose=False,
            )
            return without_traces(program)
        except Exception as error:  # of any class: the exporters meet any network
            reason = str(error).strip().partition("\n")[0]
            raise MMTError(
                f"{backbone.signature}: cannot be expressed in ONNX ({type(error).__name__}: {reason})."
            ) from error


@contextmanager
def _without_fused_attention() -> Iterator[None]:
    """nn.MultiheadAttention computes by operators that ONNX has."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def without_traces(program: Any) -> Any:
    """Removes what the exporter notes at each operator, such as paths of this machine's files, from its result."""
    for node in program.model.graph:
        node.metadata_props.clear()
    return program


@contextmanager
def quiet() -> Iterator[None]:
    """Silences the exporters' warnings about operators that no network here uses."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _round(graph: Any, precision: BackbonePrecision) -> None:
    """Stores matrices and convolutions in another precision, before an operator that expands them.

    Vectors stay as they are, and so do numbers that float16 cannot hold.
    """
    axes = _output_axes(graph)
    kept, nodes = [], []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        name, axis = tensor.name, axes.get(tensor.name)
        if values.dtype != np.float32 or values.ndim < 2 or np.abs(values).max() > np.finfo(np.float16).max:
            kept.append(tensor)
        elif precision == "int8" and axis is not None and values.ndim in (2, 4):
            others = tuple(one for one in range(values.ndim) if one != axis)
            scale = np.maximum(np.abs(values).max(axis=others, keepdims=True) / 127, np.finfo(np.float32).tiny)
            rounded = np.rint(values / scale).astype(np.int8)
            kept.append(numpy_helper.from_array(rounded, f"{name}.int8"))
            kept.append(numpy_helper.from_array(scale.reshape(-1).astype(np.float32), f"{name}.scale"))
            inputs = [f"{name}.int8", f"{name}.scale"]
            nodes.append(helper.make_node("DequantizeLinear", inputs, [name], axis=axis))
        else:
            kept.append(numpy_helper.from_array(values.astype(np.float16), f"{name}.float16"))
            nodes.append(helper.make_node("Cast", [f"{name}.float16"], [name], to=TensorProto.FLOAT))
    operators = [*nodes, *graph.node]
    for field, members in (("initializer", kept), ("node", operators)):
        graph.ClearField(field)
        getattr(graph, field).extend(members)


def _output_axes(graph: Any) -> dict[str, int]:
    """The axis of the output channels of each weight that a convolution or a product takes."""
    axes: dict[str, int] = {}
    for node in graph.node:
        if node.op_type == "Conv":
            axes[node.input[1]] = 0
        elif node.op_type == "Gemm":
            axes[node.input[1]] = 0 if any(one.name == "transB" and one.i for one in node.attribute) else 1
        elif node.op_type == "MatMul":
            axes[node.input[1]] = 1
    return axes
