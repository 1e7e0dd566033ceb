"""Measures translating against fairseq2's generator and CTranslate2, and against this machine.

    python -m eval.bench.translating DATA [--threads 2] [--repeats 5] [--beam 5] [--ct2-python PYTHON]
    python -m eval.bench.translating DATA --threads 1 --joey-python PYTHON

A model of the papers' size with random weights translates the lengths of DATA's first test split into exactly 14
tokens each, so that all do the same work: ours in three precisions, and exported to ONNX in two, by the search
graph and by steps (as exports without that graph); fairseq2's generator and attention on the same weights; and
CTranslate2 4 on the same shapes, in a process of its own, if ``--ct2-python`` names a Python that has it. Turn by
turn; each figure is the median of the turns, each ratio the median of the turns' own, at the best batch of each
side and, of CTranslate2, with one or several workers. Latency is of one sentence at a time. Speed and latency are
by the clock and in processor time, which a busy machine distorts less. Sentences are ids before and after.

``--joey-python``, a Python that has JoeyNMT, adds that to each turn, on about 250 of the sentences, as it is slow.
All sides are then pinned to as many cores as they have threads, and the peak memory of ours and of JoeyNMT is
given, each of a process that does nothing else.
"""

from __future__ import annotations

import copy
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import torch

from eval.bench.joey import Joey, pin
from mmt.cli.command import Command
from mmt.cli.options import PATH
from mmt.data.batch import collate, read_examples
from mmt.data.dataset import first_test_split, read_split
from mmt.data.tokenizer import BOS, EOS, PAD, Tokenizer, train_tokenizer
from mmt.inference.threads import each_on_a_core
from mmt.io.runtime import keep_freed_memory, peak_memory
from mmt.model.build import build_model
from mmt.model.config import MMTConfig
from mmt.model.stepping import StepDecoder

if TYPE_CHECKING:
    from mmt.data.batch import Batch, Example
    from mmt.model.model import MMTModel

_STEPS = 14
_VOCAB = 10_000
_LATENCY_OF = 100  # sentences
_BY_STEPS = ("onnx_float32_steps", "onnx_int8_steps")


def _examples(data: Path, path: Path) -> list[Example]:
    """Of the test split, shortest first, by a tokenizer that goes to ``path``."""
    rows = read_split(data, "train")
    train_tokenizer([*rows["source"], *rows["target"]], _VOCAB, path)
    found = read_examples(data, first_test_split(data), Tokenizer(path), None)
    return sorted(found, key=lambda example: len(example.source))


def _ours(model: MMTModel, precision: str, beam: int) -> Callable[[Batch], object]:
    from mmt.inference.beam import beam_search
    from mmt.inference.search import SearchOptions

    decoder = StepDecoder(model, precision)  # type: ignore[arg-type]
    return lambda batch: beam_search(
        decoder, batch, SearchOptions(beam_size=beam, min_length=_STEPS - 1), max_length=(0.0, _STEPS)
    )


def _exported(model: MMTModel, tokenizer: Path, beam: int) -> dict[str, Callable[[Batch], object]]:
    # Imported here, as fairseq2's generator below: the memory of our side alone is measured without them.
    from mmt.inference.onnx_export import export_model
    from mmt.inference.onnx_runtime import PRECISIONS, Graphs
    from mmt.inference.search import SearchOptions, search
    from mmt.inference.translator import SentenceBatch
    from mmt.model.card import ModelCard
    from mmt.model.folder import save_model

    card = ModelCard(vars(model.config), "en", "de")
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder, "model"), Path(folder, "out")
        save_model(path, model.state_dict(), tokenizer, card)
        export_model(path, out)
        loaded = {f"onnx_{precision}": Graphs(out, card, precision) for precision in PRECISIONS}
        for graphs in loaded.values():
            _ = graphs.decoder  # opened while its file is there

    def side(graphs: Graphs, *, by_steps: bool) -> Callable[[Batch], object]:
        def translate(batch: Batch) -> object:
            ids = [row[: n - 1] for row, n in zip(batch.source.tolist(), batch.source_lens, strict=True)]
            state = graphs.begin(SentenceBatch(ids, [None] * len(ids), (BOS,)))
            options = SearchOptions(beam, min_length=_STEPS - 1)
            find = partial(search, state) if by_steps else state.search
            return find([_STEPS] * len(ids), options, [[BOS]] * len(ids))

        return translate

    sides = {name: side(graphs, by_steps=False) for name, graphs in loaded.items()}
    return sides | {f"{name}_steps": side(graphs, by_steps=True) for name, graphs in loaded.items()}


def _fairseq2(model: MMTModel, beam: int) -> Callable[[Batch], object]:
    from fairseq2.data.tokenizers import VocabularyInfo
    from fairseq2.generation.beam_search import BeamSearchSeq2SeqGenerator
    from fairseq2.models.transformer import (
        CausalAttentionBias,
        IdentityBias,
        StandardMultiheadAttention,
        TransformerModel,
        create_default_sdpa,
    )
    from fairseq2.nn import BatchLayout

    from mmt.model.attention import Attention

    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, StandardMultiheadAttention) and isinstance(module.sdpa, Attention):
            module.sdpa = create_default_sdpa(CausalAttentionBias() if module.sdpa.causal else IdentityBias())
    sizes, longest = model.config, model.text.sizes.max_length
    text = model.text
    parts: list[Any] = [text.frontend, text.encoder, text.frontend, text.decoder, text.final_proj]
    plain = TransformerModel(*[sizes.model_dim, *parts, PAD, longest, longest]).eval()
    info = VocabularyInfo(_VOCAB, unk_idx=1, bos_idx=BOS, eos_idx=EOS, pad_idx=PAD)
    generator = BeamSearchSeq2SeqGenerator(
        plain, info, beam_size=beam, min_gen_len=_STEPS, max_gen_len=(0.0, _STEPS)
    )

    def translate(batch: Batch) -> object:
        prompt = torch.full((len(batch.source), 1), BOS)
        with torch.inference_mode():
            return generator(batch.source, batch.source_layout(), prompt, BatchLayout.of(prompt))

    return translate


def _ct2(python: Path, folder: Path, lengths: list[int], **how: Any) -> dict[str, Any]:
    given = json.dumps({"lengths": lengths, "folder": str(folder), "steps": _STEPS, **how})
    script = Path(__file__).with_name("ct2.py")
    done = subprocess.run(  # noqa: S603 (the user's Python, our script)
        [str(python), str(script)], input=given, capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _random_model() -> MMTModel:
    torch.manual_seed(1)
    return build_model(MMTConfig(vocab_size=_VOCAB, norm_order="pre")).eval()


def _measure(
    data: Path,
    repeats: int,
    beam: int,
    batches: list[int],
    only: tuple[str, ...],
    ct2: Path | None,
    joey: Joey | None,
) -> dict[str, Any]:
    keep_freed_memory()  # for both sides alike
    model = _random_model()
    temporary = tempfile.TemporaryDirectory()
    tokenizer = Path(temporary.name, "tokenizer.model")
    examples = _examples(data, tokenizer)
    few = examples[:: max(len(examples) // _LATENCY_OF, 1)]
    threads = torch.get_num_threads()
    sides: dict[str, Callable[[Batch], object]] = {
        name: _ours(model, name, beam) for name in ("float32", "bfloat16", "int8")
    }
    sides |= _exported(model, tokenizer, beam)
    sides["fairseq2"] = _fairseq2(model, beam)
    sides = {name: side for name, side in sides.items() if name in (only or sides)}

    def rate(name: str, size: int) -> tuple[float, float]:  # sentences a second, and a second of processor time
        if name == "joey" and joey is not None:
            asked.update(joey.turn(batch=size, beam=beam))
            return asked["sentences"] / asked["seconds"], asked["sentences"] / asked["processor_seconds"]
        side = sides[name]
        parts = [collate(examples[first : first + size]) for first in range(0, len(examples), size)]
        side(parts[0])
        begun, processor = time.perf_counter(), time.process_time()
        list(each_on_a_core(side, parts) if name != "fairseq2" else map(side, parts))
        return len(examples) / (time.perf_counter() - begun), len(examples) / (time.process_time() - processor)

    def latency(side: Callable[[Batch], object]) -> list[tuple[float, float]]:
        times = []
        for example in few:
            begun, processor = time.perf_counter(), time.process_time()
            side(collate([example]))
            times.append((time.perf_counter() - begun, time.process_time() - processor))
        return times

    rates: dict[str, list[float]] = {}
    waits: dict[str, list[tuple[float, float]]] = {}
    of_processor: dict[str, list[float]] = {}
    asked: dict[str, Any] = {}  # JoeyNMT's last answer
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(repeats):
            for name in (*sides, "joey") if joey is not None else sides:
                # fairseq2's own is too slow to try every batch in every turn
                best = max(rate(name, size) for size in (batches if name != "fairseq2" else batches[:1]))
                rates.setdefault(name, []).append(best[0])
                of_processor.setdefault(name, []).append(best[1])
            for name, side in sides.items():
                waits.setdefault(name, []).extend(latency(side))
            for kind in ("float32", "int8") if ct2 else ():
                name, how = f"ct2_{kind}", {"threads": threads, "compute_type": kind, "beam": beam}
                lengths = [len(example.source) + 1 for example in examples]
                answers = [
                    _ct2(ct2, Path(folder), lengths, batch=size, workers=workers, **how)  # type: ignore[arg-type]
                    for size in batches
                    for workers in {1, threads}
                ]
                rates.setdefault(name, []).append(max(one["rate"] for one in answers))
                of_processor.setdefault(name, []).append(max(one["processor_rate"] for one in answers))
                lengths = [len(example.source) + 1 for example in few]
                found = _ct2(ct2, Path(folder), lengths, batch=1, workers=1, **how)["latency"]  # type: ignore[arg-type]
                waits.setdefault(name, []).extend(map(tuple, found))

    def ratios(of: dict[str, list[float]]) -> dict[str, float]:
        return {
            f"{ours}_vs_{other}": round(
                statistics.median(a / b for a, b in zip(of[ours], of[other], strict=True)), 3
            )
            for other in of
            for ours in ("float32", "bfloat16", "int8", "onnx_float32", "onnx_int8", *_BY_STEPS)
            if ours in of and (other in ("fairseq2", "joey", *_BY_STEPS) or other.startswith("ct2"))
        }

    return {
        "threads": threads,
        "beam": beam,
        "sentences": len(examples),
        "sentences_a_second": {name: round(statistics.median(found), 1) for name, found in rates.items()},
        "latency_ms": {name: _quantiles([clock for clock, _ in found]) for name, found in waits.items()},
        "latency_processor_ms": {name: _quantiles([used for _, used in found]) for name, found in waits.items()},
        "ratios": ratios(rates),
        "processor_ratios": ratios(of_processor),
        "turns": {name: [round(one, 1) for one in found] for name, found in rates.items()},
        **_of_joey(asked),
        "load": os.getloadavg()[0],
    }


def _quantiles(seconds: list[float]) -> dict[str, float]:
    return {f"p{p}": round(1000 * statistics.quantiles(seconds, n=20)[p // 5 - 1], 2) for p in (50, 95)}


def _of_joey(asked: dict[str, Any]) -> dict[str, Any]:
    if not asked:
        return {}
    return {
        "joey_tokens_a_sentence": asked["tokens"] / asked["sentences"],
        "peak_bytes_joey": asked["peak_bytes"],  # so far
    }


def _run_for_memory(data: Path, beam: int, batch: int) -> int:
    """Bytes: what this process has at most when it does nothing but translate by ours, in float32."""
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        examples = _examples(data, Path(folder, "tokenizer.model"))
    parts = [collate(examples[first : first + batch]) for first in range(0, len(examples), batch)]
    list(each_on_a_core(_ours(_random_model(), "float32", beam), parts))
    return peak_memory()


@click.command(cls=Command, help=__doc__.split("\n\n")[0])
@click.argument("data", type=PATH)
@click.option("--threads", default=2, help="Number of CPU threads.")
@click.option("--repeats", default=5, help="Number of turns.")
@click.option("--beam", default=5, help="Beam size.")
@click.option("--batch", "batches", multiple=True, type=int, default=[64, 32, 128],
              help="Sentences in a batch; repeatable.")  # fmt: skip
@click.option("--only", multiple=True, help="Side to measure, such as onnx_int8; repeatable.  [default: all]")
@click.option("--ct2-python", type=PATH, help="Python interpreter that has ctranslate2.")
@click.option("--joey-python", type=PATH, help="Python interpreter that has JoeyNMT 2.3.")
@click.option("--only-memory", is_flag=True, hidden=True)
def main(
    data: Path,
    threads: int,
    repeats: int,
    beam: int,
    batches: tuple[int, ...],
    only: tuple[str, ...],
    ct2_python: Path | None,
    joey_python: Path | None,
    only_memory: bool,
) -> None:
    if joey_python:
        pin(threads)

    torch.set_num_threads(threads)
    if only_memory:
        click.echo(_run_for_memory(data, beam, max(batches)))
        return
    with ExitStack() as stack:
        joey = stack.enter_context(Joey(joey_python, data, threads, steps=_STEPS)) if joey_python else None
        result = _measure(data, repeats, beam, list(batches), only, ct2_python, joey)
    if joey_python:
        command = [sys.executable, "-m", "eval.bench.translating", str(data), "--only-memory"]
        command += ["--threads", str(threads), "--beam", str(beam), "--batch", str(max(batches))]
        done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 (our own command)
        result["peak_bytes_float32"] = int(done.stdout.split()[-1])
    click.echo(json.dumps(result, indent=1))


if __name__ == "__main__":
    main(prog_name="python -m eval.bench.translating")
