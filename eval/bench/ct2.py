"""CTranslate2 on a model of our size with random weights, for ``eval.bench.translating``; needs nothing of ours.

Reads {"lengths": [source tokens with eos], "folder", "threads", "workers", "compute_type", "batch", "beam",
"steps"} from standard input and writes {"rate": sentences a second, "processor_rate": sentences a second of
processor time, "latency": [(seconds, seconds of processor time)]} of one pass; latencies with ``batch`` 1.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

_LAYERS, _HEADS, _DIM, _FFN, _VOCAB = 4, 4, 128, 256, 10_000


def build(folder: Path) -> None:
    """A Transformer with random weights."""
    import numpy as np
    from ctranslate2.specs import transformer_spec

    generator = np.random.default_rng(0)
    spec = transformer_spec.TransformerSpec.from_config(_LAYERS, _HEADS, pre_norm=True)

    def fill(part: Any, out: int, into: int) -> None:
        part.weight = (generator.standard_normal((out, into)) * into**-0.5).astype("float32")
        part.bias = np.zeros(out, "float32")

    def norm(part: Any) -> None:
        part.gamma, part.beta = np.ones(_DIM, "float32"), np.zeros(_DIM, "float32")

    embed = (generator.standard_normal((_VOCAB, _DIM)) * _DIM**-0.5).astype("float32")
    angles = np.arange(512)[:, None] / 10_000 ** (np.arange(0, _DIM, 2) / _DIM)
    positions = np.concatenate([np.sin(angles), np.cos(angles)], 1).astype("float32")
    for side in (spec.encoder, spec.decoder):
        embeddings = side.embeddings[0] if isinstance(side.embeddings, list) else side.embeddings
        embeddings.weight, side.position_encodings.encodings = embed, positions
        norm(side.layer_norm)
        for layer in side.layer:
            norm(layer.self_attention.layer_norm)
            fill(layer.self_attention.linear[0], 3 * _DIM, _DIM)
            fill(layer.self_attention.linear[1], _DIM, _DIM)
            if hasattr(layer, "attention"):
                norm(layer.attention.layer_norm)
                for number, width in enumerate((_DIM, 2 * _DIM, _DIM)):
                    fill(layer.attention.linear[number], width, _DIM)
            norm(layer.ffn.layer_norm)
            fill(layer.ffn.linear_0, _FFN, _DIM)
            fill(layer.ffn.linear_1, _DIM, _FFN)
    spec.decoder.projection.weight = embed
    spec.decoder.projection.bias = np.zeros(_VOCAB, "float32")
    vocabulary = ["<blank>", "<unk>", "<s>", "</s>"] + [f"w{n}" for n in range(4, _VOCAB)]
    spec.register_source_vocabulary(vocabulary)
    spec.register_target_vocabulary(vocabulary)
    spec.config.bos_token, spec.config.eos_token, spec.config.unk_token = "<s>", "</s>", "<unk>"
    spec.validate()
    folder.mkdir(parents=True, exist_ok=True)
    spec.save(str(folder))


def main() -> None:
    given = json.load(sys.stdin)
    os.environ["OMP_NUM_THREADS"] = str(given["threads"])
    import ctranslate2
    import numpy as np

    folder = Path(given["folder"])
    if not (folder / "model.bin").exists():
        build(folder)
    translator = ctranslate2.Translator(
        str(folder),
        device="cpu",
        compute_type=given["compute_type"],
        inter_threads=given["workers"],
        intra_threads=given["threads"] // given["workers"],
    )
    generator = np.random.default_rng(1)
    lines = [
        [f"w{n}" for n in generator.integers(4, _VOCAB, length - 1)] + ["</s>"] for length in given["lengths"]
    ]
    how = {
        "beam_size": given["beam"],
        "max_batch_size": given["batch"],
        "min_decoding_length": given["steps"],
        "max_decoding_length": given["steps"],
        "length_penalty": 1.0,
    }
    translator.translate_batch(lines[: given["batch"]], **how)
    latency = []
    begun, used = time.perf_counter(), time.process_time()
    if given["batch"] == 1:
        for line in lines:
            one, processor = time.perf_counter(), time.process_time()
            translator.translate_batch([line], **how)
            latency.append((time.perf_counter() - one, time.process_time() - processor))
    else:
        translator.translate_batch(lines, **how)
    clock, used = time.perf_counter() - begun, time.process_time() - used
    json.dump({"rate": len(lines) / clock, "processor_rate": len(lines) / used, "latency": latency}, sys.stdout)


if __name__ == "__main__":
    main()
