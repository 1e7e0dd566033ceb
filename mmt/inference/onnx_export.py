"""A trained model as ONNX graphs, which ``mmt.inference.onnx_runtime`` runs without torch.

Legend: N sentences, B beams, S source tokens, R image regions, P positions in the KV cache, W candidates,
V vocabulary.
"""

from __future__ import annotations

import gc
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from fairseq2.models.transformer import StandardMultiheadAttention
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import embedding
from torch.utils import _pytree as trees  # how torch.export itself takes arguments apart
from tqdm import tqdm

from mmt.data.domain import PIECES
from mmt.data.tokenizer import EOS, PAD, TOKENIZER_FILES, copy_tokenizer
from mmt.data.vocabulary import VOCABULARY, pieces_of_file, read_vocabulary
from mmt.errors import MMTError
from mmt.features.load import load_backbones
from mmt.features.onnx_export import LARGEST_FILE, BackbonePrecision, export_backbone, quiet, without_traces
from mmt.inference.onnx_runtime import (
    DECODER,
    ENCODER,
    LOG_P,
    PRECISIONS,
    SEARCH,
    ExportPrecision,
    backbone_file,
    block_of,
    file_of,
    graph_files,
)
from mmt.inference.onnx_search import add_candidates, write_search
from mmt.inference.own_graphs import EXPORTED, write_made_from
from mmt.io import runtime
from mmt.io.atomic import made_beside, make_folder, only_writer, replacing_folder, write_whole
from mmt.io.text_files import file_checksum
from mmt.model.attention import Attention
from mmt.model.card import CARD, ModelCard, read_card
from mmt.model.config import is_base
from mmt.model.folder import load_model
from mmt.model.model import MMTModel
from mmt.model.onnx_attention import ExportedSelfAttention, exported_self_attend
from mmt.model.pretrained.base import load_base, open_base
from mmt.model.stepping import StepDecoder

LARGEST_LOSS = 0.1
"""Validation BLEU that int8 may lose to be kept beside the weights by ``export_into``."""

_OPSET = 20
_LARGEST_SEARCH = 64 << 20  # bytes: a larger decoder's steps take so long that calling them matters little
_FILES = {
    CARD,
    *TOKENIZER_FILES,
    PIECES,
    VOCABULARY,
    *(one for name in (ENCODER, DECODER, SEARCH) for kind in PRECISIONS for one in graph_files(name, kind)),
}
_BACKBONE = re.compile(re.escape(backbone_file(0)).replace("0", "[1-9][0-9]*") + r"(\.data)?")


def export_model(
    folder: Path,
    out: Path,
    precisions: Sequence[ExportPrecision] = PRECISIONS,
    *,
    source_lang: str | None = None,
    target_lang: str | None = None,
    text: Path | None = None,
    backbone: BackbonePrecision | None = "float32",
    show_progress: bool = True,
) -> None:
    """Exports a model folder or a pretrained text model, atomically.

    Args:
        folder: of ``mmt train``, or FAMILY:NAME_OR_FOLDER of a pretrained model.
        out: gets the model's card and tokenizer, and for each precision an encoder, which reads sentence and
            image features, a decoder, which makes one step for all beams, and, if the decoder's file has at most
            64 MiB, the search graph, which has the decoder's weights, too (``mmt.inference.onnx_search``).
        precisions: ``float32``; ``int8`` stores weights as 8-bit numbers with one scale for each row, and
            quantizes activations dynamically.
        source_lang, target_lang: codes of a pretrained model's languages, if it has several.
        text: sentences in the target language: the exported model writes only with pieces that occur there, see
            ``mmt.data.vocabulary``. None: with those that the model writes with.
        backbone: precision of the weights of the image backbones that are exported, too, so that the exported
            model reads image files (``mmt.features.onnx_export``); None: without, and it reads feature stores
            only. Backbones of recordings are never exported.
        show_progress: show a progress bar in a terminal.
    Raises:
        MMTError: no model folder, ``out`` exists and is no exported model, the packages or the backbones are
            missing, or the model has a part that ONNX cannot express or writes nothing.
    """
    runtime.start()  # before onnxruntime, which sends telemetry from its import on
    out = out.resolve()
    if out.exists() and not (out.is_dir() and all(_is_ours(path.name) for path in out.iterdir())):
        raise MMTError(f"{out}: is there already, and no exported model. Name another folder.")
    make_folder(out.parent)
    with only_writer(out):
        if is_base(folder):
            model, tokenizer, card = load_base(str(folder), source_lang or "", target_lang or "")
            raw = asdict(card)
            write_tokenizer = open_base(str(folder)).write_tokenizer
        else:
            if source_lang or target_lang:
                raise MMTError(
                    f"{folder}: a model of mmt train is exported with all its languages; a source and a target "
                    "language are for a pretrained text model. Leave --source-lang and --target-lang out."
                )
            model, tokenizer, card = load_model(folder)
            raw = json.loads((folder / CARD).read_text(encoding="utf-8"))
            write_tokenizer = partial(copy_tokenizer, tokenizer.path)
        card.refuse_writing()
        _check_parts(model)
        ids: NDArray[np.int64] | None
        if text is not None:
            ids = pieces_of_file(text, tokenizer)
        else:
            ids = None if is_base(folder) else read_vocabulary(folder, tokenizer.target_vocab_size)
        with replacing_folder(out) as beside:
            write_tokenizer(beside)
            if tokenizer.training is not None:
                (beside / PIECES).write_text(tokenizer.training.to_json(), encoding="utf-8")
            if ids is not None:
                np.save(beside / VOCABULARY, ids)
            if backbone is not None:
                _write_backbones(beside, card, backbone)
            _write_graphs(beside, model, precisions, ids, show_progress=show_progress)
            raw.pop("text", None)  # the graphs have the base's weights, too
            raw["sha256"] = {path.name: file_checksum(path) for path in sorted(beside.iterdir())}
            write_whole(beside / CARD, json.dumps(raw, indent=2, ensure_ascii=False) + "\n")


def export_into(
    folder: Path,
    precisions: Sequence[ExportPrecision] = PRECISIONS,
    *,
    judge: Callable[[Path], dict[str, float]] | None = None,
    show_progress: bool = True,
) -> dict[str, float]:
    """Exports a model folder into itself, see ``mmt.inference.own_graphs``; killed, it leaves the folder valid.

    Args:
        judge: gives the validation BLEU of each precision of an exported model, in percent. int8 is dropped where
            it loses more than ``LARGEST_LOSS``. None keeps all.
    Returns:
        What ``judge`` gave.
    Raises:
        MMTError: as ``export_model``, or another process is writing the folder.
    """
    folder = folder.resolve()
    card = read_card(folder)
    with made_beside(folder) as beside:
        out = beside / EXPORTED
        export_model(folder, out, precisions, backbone=None, show_progress=show_progress)
        scores = {} if judge is None else judge(out)
        if scores and scores["int8"] < scores["float32"] - LARGEST_LOSS:
            _drop_int8(out)
        write_made_from(out, folder, card, scores)
        if (folder / EXPORTED).exists():
            (folder / EXPORTED).rename(beside / "replaced")
        out.rename(folder / EXPORTED)
    return scores


def _drop_int8(exported: Path) -> None:
    names = {one for name in (ENCODER, DECODER, SEARCH) for one in graph_files(name, "int8")}
    raw = json.loads((exported / CARD).read_bytes())
    raw["sha256"] = {name: value for name, value in raw["sha256"].items() if name not in names}
    write_whole(exported / CARD, json.dumps(raw, indent=2, ensure_ascii=False) + "\n")
    for name in names:
        (exported / name).unlink(missing_ok=True)


def _is_ours(name: str) -> bool:
    return name in _FILES or _BACKBONE.fullmatch(name) is not None


def _write_backbones(beside: Path, card: ModelCard, precision: BackbonePrecision) -> None:
    """The networks that made the features of the model's images, one for each set."""
    if card.features is None:
        return
    try:
        backbones = load_backbones(card.features)
        if any(one.things != "images" for one in backbones):
            return
        for number, one in enumerate(backbones, 1):
            export_backbone(one, beside / backbone_file(number), precision)
    except MMTError as error:
        raise MMTError(
            f"{error} Or export without it, to read features from stores alone: --no-backbone."
        ) from None


def _write_graphs(
    beside: Path,
    model: MMTModel,
    precisions: Sequence[ExportPrecision],
    ids: NDArray[np.int64] | None,
    *,
    show_progress: bool,
) -> None:
    with tempfile.TemporaryDirectory() as temporary, torch.no_grad(), quiet(), _no_collection():
        hidden = None if show_progress else True
        for name, graph in tqdm(_graphs(model, ids), total=2, unit=" graphs", disable=hidden):
            path = Path(temporary, file_of(name, "float32"))
            weights = graph.model.graph.initializers.values()
            large = sum(one.const_value.nbytes for one in weights) > LARGEST_FILE
            graph.save(path, external_data=large)
            for precision in precisions:
                own = beside / file_of(name, precision)
                if precision == "int8":
                    _quantize(path, own, large=large)
                else:
                    for part in graph_files(name, precision):
                        if (path.parent / part).is_file():
                            shutil.copyfile(path.parent / part, beside / part)
                if name == DECODER:
                    add_candidates(own, block_of(model.text.sizes.vocab_size if ids is None else len(ids)), ids)
                if name == DECODER and not large and own.stat().st_size <= _LARGEST_SEARCH:
                    write_search(own, beside / file_of(SEARCH, precision))
            for file in path.parent.iterdir():  # the next graph may be as large
                file.unlink()


@contextmanager
def _no_collection() -> Iterator[None]:
    """Pauses the garbage collector: tracing makes millions of objects that stay, and each run visits all."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _check_parts(model: MMTModel) -> None:
    """Raises MMTError for parts that a graph cannot express, or in whose place it would compute another."""
    config = model.config
    if config.text_encoder != "transformer":
        raise MMTError(f"text_encoder '{config.text_encoder}' cannot be exported. Only 'transformer' can.")
    if config.image_encoder != "linear" and model.uses_images:
        raise MMTError(f"image_encoder '{config.image_encoder}' cannot be exported. Only 'linear' can.")
    if StepDecoder(model).has_foreign_parts:
        raise MMTError(f"fusion '{config.fusion}' has its own attention in the decoder and cannot be exported.")
    layers: Any = model.text.encoder.layers
    for number, layer in enumerate(layers):
        if not _is_standard(layer.self_attn):
            raise MMTError(
                f"layer {number} of the text encoder has its own self-attention and cannot be exported. Only "
                "fairseq2's StandardMultiheadAttention with mmt's Attention can, without norms, positions or "
                "grouped queries."
            )


def _is_standard(attention: Any) -> bool:
    """Whether ``ExportedSelfAttention`` computes the same: plain attention to all of a sentence's positions."""
    return (
        type(attention) is StandardMultiheadAttention
        and type(attention.sdpa) is Attention
        and not attention.sdpa.causal
        and attention.num_key_value_heads == attention.num_heads
        and all(getattr(attention, name) is None for name in ("q_norm", "k_norm", "v_norm", "pos_encoder"))
    )


class _Encoder(nn.Module):
    """Encodes sentence and image to keys, values and lengths of the decoder's cross-attention.

    Last comes which sentences' adapters are active, (N, 1, 1), if the model has any.
    """

    def __init__(self, model: MMTModel, decoder: StepDecoder, tell: Callable[[trees.TreeSpec], None]) -> None:
        """Changes the model's encoder; ``tell`` receives the structure of the tensors that ``forward`` returns."""
        super().__init__()
        self.model, self._decoder, self._tell = model, decoder, tell
        layers: Any = model.text.encoder.layers
        for layer in layers:
            layer.self_attn = ExportedSelfAttention(decoder, layer.self_attn)

    def forward(
        self, source: Tensor, source_lens: Tensor, image: Tensor | None = None, image_pad: Tensor | None = None
    ) -> list[Tensor]:
        memory = self.model.encode(source, source_lens, image, image_pad)
        parts = [layer.cross.cached(memory) for layer in self._decoder.layers]
        if memory.active is not None:
            parts.append(memory.active)
        seen, like = trees.tree_flatten(parts)
        self._tell(like)
        return seen


class _Decoder(nn.Module):
    """One step of all beams; ``mmt.inference.onnx_search.add_candidates`` adds the choice of candidates."""

    def __init__(self, decoder: StepDecoder, like: trees.TreeSpec) -> None:
        super().__init__()
        self._decoder, self._like = decoder, like

    def forward(
        self,
        tokens: Tensor,
        position: Tensor,
        unseen: Tensor,
        past: list[Tensor],
        seen: list[Tensor],
    ) -> list[Tensor]:
        """
        Args:
            tokens: (N, B) the last token of each beam.
            position: (1) of these tokens, from 0.
            unseen: (N, B, P + B) 0, or -inf where attention is masked.
            past: of each layer keys and values, (N, H, P, K).
            seen: what the encoder returned.
        Returns:
            ``past`` with this step's keys and values; and the log-probability of each next token, (N, B, V).
        """
        decoder, later, mask = self._decoder, [], unseen.unsqueeze(1)
        states = embedding(tokens, decoder.embed) * decoder.scale + embedding(position, decoder.positions)
        *cross_kv, active = [*trees.tree_unflatten(seen, self._like), None][: len(decoder.layers) + 1]
        for number, layer in enumerate(decoder.layers):

            def self_attend(qkv: Tensor, number: int = number) -> Tensor:
                output, *both = exported_self_attend(qkv, mask, past[2 * number], past[2 * number + 1])
                later.extend(both)
                return output

            states = layer(states, self_attend, cross_kv[number], active)
        logits = decoder.project(decoder.normed(states))
        if logits.dim() == 2:
            logits = logits.unflatten(0, tokens.shape)  # type: ignore[no-untyped-call]
        return [*later, torch.log_softmax(logits, dim=2)]


def _graphs(model: MMTModel, ids: NDArray[np.int64] | None) -> Iterator[tuple[str, Any]]:
    """Encoder and decoder, which writes with these ids or all: name and graph."""
    config, vocab_size = model.config, model.text.sizes.vocab_size
    decoder = StepDecoder(model, vocabulary=None if ids is None else torch.from_numpy(ids))
    num, length, beams, steps = 3, 7, 2, 3
    free = torch.export.Dim.DYNAMIC
    # Sizes that several inputs share have names: torch.export takes long to derive that free sizes are equal.
    n, b, p = (torch.export.Dim(name) for name in "NBP")
    inputs: dict[str, Any] = {
        "source": torch.randint(EOS + 1, config.vocab_size, (num, length)),
        "source_lens": torch.tensor([7, 5, 6]),
    }
    axes: dict[str, Any] = {"source": {0: n, 1: free}, "source_lens": {0: n}}
    if model.uses_images:
        regions = sum(regions for regions, _ in config.image_sets)
        inputs["image"] = torch.randn(num, regions, max(dim for _, dim in config.image_sets))
        inputs["image_pad"] = torch.zeros(num, regions, dtype=torch.bool)
        axes |= {"image": {0: n}, "image_pad": {0: n}}
    structure: list[trees.TreeSpec] = []
    encoder = _Encoder(model, decoder, structure.append).eval()
    traced = torch.export.export(encoder, (), inputs, dynamic_shapes=axes)
    seen = traced.module()(**inputs)
    # What is longer for longer sentences has a free length: the rest, such as the keys of image regions, has not.
    longer = traced.module()(**inputs | {"source": torch.nn.functional.pad(inputs["source"], (0, 1), value=PAD)})
    yield ENCODER, _onnx(traced, [f"seen_{i}" for i in range(len(seen))])

    heads, width = config.num_heads, config.model_dim // config.num_heads
    past = [torch.randn(num, heads, steps * beams, width) for _ in range(2 * len(decoder.layers))]
    lengths = {size: torch.export.Dim(f"M{size}") for one in seen for size in one.shape}
    inputs = {
        "tokens": torch.randint(EOS + 1, vocab_size, (num, beams)),
        "position": torch.tensor([steps]),
        "unseen": torch.zeros(num, beams, (steps + 1) * beams),
        "past": past,
        "seen": seen,
    }
    axes = {
        "tokens": {0: n, 1: b},
        "position": None,
        "unseen": {0: n, 1: b, 2: free},
        "past": [{0: n, 2: p}] * len(past),
        # keys and values (N, H, any, K), lengths (N), who has an image and whose adapters are active (N, 1, 1)
        "seen": [
            {0: n} | {axis: lengths[size] for axis, size in enumerate(one.shape) if size != other.size(axis)}
            for one, other in zip(seen, longer, strict=True)
        ],
    }
    traced = torch.export.export(_Decoder(decoder, structure[-1]).eval(), (), inputs, dynamic_shapes=axes)
    yield DECODER, _onnx(traced, [*(f"later_{i}" for i in range(len(past))), LOG_P])


def _onnx(traced: torch.export.ExportedProgram, outputs: list[str]) -> Any:
    program = torch.onnx.export(traced, output_names=outputs, opset_version=_OPSET, dynamo=True, verbose=False)
    return without_traces(program)


def _quantize(path: Path, out: Path, *, large: bool) -> None:
    """``large``: whether the weights of both files lie beside their graphs."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    graph = onnx.load(path, load_external_data=False).graph
    vectors = {one.name for one in graph.initializer if len(one.dims) == 1}
    quantize_dynamic(
        path,
        out,
        per_channel=True,
        reduce_range=True,
        weight_type=QuantType.QInt8,
        # ONNX Runtime's rounded product takes no vector; with a part of the vocabulary, the projection has one.
        # The target's embeddings, of which few rows are read, are stored as they are.
        nodes_to_exclude=[
            one.name
            for one in graph.node
            if (one.op_type == "MatMul" and one.input[1] in vectors)
            or (one.op_type == "Gather" and one.input[1] == "tokens")
        ],
        use_external_data_format=large,
    )
