"""Measures training against a plain PyTorch loop of the same maths, and both against this machine.

    python -m eval.bench.training DATA [--threads 2] [--steps 8] [--repeats 5] [--precision float32]
    python -m eval.bench.training DATA --threads 1 --joey-python PYTHON

In the same process, turn by turn, on the same length buckets of DATA's training sentences: our step (model,
loss, gradient clipping and AdamW as ``mmt train`` has them) and one of ``torch.nn.Transformer`` with a tied output
layer and ``cross_entropy`` on the real tokens. Each figure is the median of the turns, each ratio that of the
turns' own ratios, since a busy machine slows both of a turn alike. The floor is the step's matrix products at the
rate that a large product reaches here. Peak memory is of a process that runs one of the two alone.

``--joey-python``, a Python that has JoeyNMT, makes it the third of each turn, in a process of its own on the same
cores: its own loop and its own batches of as many tokens, which it counts with their padding. All sides are pinned
to as many cores as they have threads.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import torch
from torch import nn
from torch.nn.functional import cross_entropy, linear

from eval.bench.joey import Joey, pin
from mmt.cli.command import Command
from mmt.cli.options import PATH
from mmt.data.batch import read_examples
from mmt.data.dataset import read_split
from mmt.data.reader import BatchReader
from mmt.data.tokenizer import PAD, Tokenizer, train_tokenizer
from mmt.io.runtime import keep_freed_memory, peak_memory
from mmt.model.config import MMTConfig, ModelSizes

if TYPE_CHECKING:
    from torch import Tensor

    from mmt.data.batch import Batch

_SMOOTHING = 0.1
_SIDES = ("ours", "plain")


def _batches(data: Path, vocab_size: int, max_tokens: int, steps: int) -> list[Batch]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tokenizer.model")
        rows = read_split(data, "train")
        train_tokenizer([*rows["source"], *rows["target"]], vocab_size, path)
        examples = read_examples(data, "train", Tokenizer(path), None)
    reader = BatchReader(examples, None, max_tokens=max_tokens, shuffle=True, seed=1)
    return [next(reader)[0] for _ in range(steps)]


def our_step(vocab_size: int, bfloat16: bool, device: str = "cpu", **sizes: int) -> Callable[[Batch], None]:
    """An update of our model, as ``mmt train`` makes it; ``sizes`` are those of ``MMTConfig``."""
    # Imported here, so that the memory of the plain loop, which is measured alone, is without them.
    from fairseq2.metrics import MetricBag

    from mmt.model.build import build_model
    from mmt.training.tasks import Objectives
    from mmt.training.units import TrainingUnit

    torch.manual_seed(1)
    model = build_model(MMTConfig(vocab_size=vocab_size, **sizes)).train().to(device)  # type: ignore[arg-type]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.98), fused=True)
    unit = TrainingUnit(model, Objectives(label_smoothing=_SMOOTHING))
    bag = MetricBag(torch.device(device))
    unit.prepare_metric_bag(bag)

    def step(batch: Batch) -> None:
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bfloat16):
            loss, count = unit.process_batch(batch, bag)
        (loss / count).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def plain_step(vocab_size: int, bfloat16: bool, device: str = "cpu", **changed: int) -> Callable[[Batch], None]:
    """An update of ``torch.nn.Transformer``; see ``our_step``."""
    sizes = MMTConfig(vocab_size=vocab_size, **changed)  # type: ignore[arg-type]
    torch.manual_seed(1)
    embed = nn.Embedding(vocab_size, sizes.model_dim, device=device)
    nn.init.normal_(embed.weight, std=sizes.model_dim**-0.5)
    body = nn.Transformer(
        sizes.model_dim,
        sizes.num_heads,
        sizes.num_encoder_layers,
        sizes.num_decoder_layers,
        sizes.ffn_dim,
        sizes.dropout_p,
        batch_first=True,
        device=device,
    )
    dropout = nn.Dropout(sizes.dropout_p)
    positions = torch.randn(sizes.max_length, sizes.model_dim).to(device) * 0.1
    parameters = [*embed.parameters(), *body.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, betas=(0.9, 0.98))

    def look_up(ids: Tensor) -> Tensor:
        found: Tensor = dropout(embed(ids) * math.sqrt(sizes.model_dim) + positions[: ids.size(1)])
        return found

    def step(batch: Batch) -> None:
        source, before, targets = batch.source, batch.target[:, :-1], batch.target[:, 1:]
        causal = torch.triu(torch.ones(before.size(1), before.size(1), dtype=torch.bool, device=device), 1)
        pad, target_pad = source == PAD, targets == PAD
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bfloat16):
            states = body(
                look_up(source),
                look_up(before),
                tgt_mask=causal,
                src_key_padding_mask=pad,
                tgt_key_padding_mask=target_pad,
                memory_key_padding_mask=pad,
            )
            logits = linear(states[~target_pad], embed.weight)
        cross_entropy(logits.float(), targets[~target_pad], label_smoothing=_SMOOTHING).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def _peak_rate(bfloat16: bool) -> float:
    """Operations a second of a large matrix product here."""
    kind = torch.bfloat16 if bfloat16 else torch.float32
    left, right = torch.randn(2048, 1024).to(kind), torch.randn(1024, 2048).to(kind)
    times = []
    for _ in range(8):
        begun = time.perf_counter()
        left @ right
        times.append(time.perf_counter() - begun)
    return 2 * 2048 * 2048 * 1024 / min(times)


def _operations(batches: list[Batch], vocab_size: int) -> int:
    """Of the matrix products of a step's real tokens, forward and backward; attention itself left out."""
    sizes = ModelSizes()
    dim, ffn = sizes.model_dim, sizes.ffn_dim
    source = sum(sum(batch.source_lens) for batch in batches)
    target = sum(batch.num_target_tokens for batch in batches)
    encoder = sizes.num_encoder_layers * (4 * dim * dim + 2 * dim * ffn)
    decoder = sizes.num_decoder_layers * (6 * dim * dim + 2 * dim * ffn)
    keys = sizes.num_decoder_layers * 2 * dim * dim
    return 6 * (source * (encoder + keys) + target * (decoder + dim * vocab_size))


def _measure(
    data: Path, vocab_size: int, max_tokens: int, steps: int, repeats: int, bfloat16: bool, joey: Joey | None
) -> dict[str, Any]:
    keep_freed_memory()  # for both sides alike
    batches = _batches(data, vocab_size, max_tokens, steps)
    tokens = sum(batch.num_target_tokens for batch in batches)
    sides = {"ours": our_step, "plain": plain_step}
    run = {name: make(vocab_size, bfloat16) for name, make in sides.items()}

    def turn(name: str) -> tuple[float, float]:  # target tokens a second, and a second of processor time
        if name == "joey" and joey is not None:
            found = joey.turn()
            seen.append(found["peak_bytes"])
            return found["tokens"] / found["seconds"], found["tokens"] / found["processor_seconds"]
        begun, processor = time.perf_counter(), time.process_time()
        for batch in batches:
            run[name](batch)
        return tokens / (time.perf_counter() - begun), tokens / (time.process_time() - processor)

    seen: list[int] = []
    for name in _SIDES:
        run[name](batches[0])  # pays for memory and code
    names = _SIDES if joey is None else (*_SIDES, "joey")
    turns = [{name: turn(name) for name in names} for _ in range(repeats)]
    rate = _peak_rate(bfloat16)
    padded = sum(batch.target[:, 1:].numel() for batch in batches)
    return {
        "precision": "bfloat16" if bfloat16 else "float32",
        "threads": torch.get_num_threads(),
        "target_tokens_a_step": round(tokens / len(batches)),
        "filled": round(tokens / padded, 3),
        **{name: statistics.median(one[name][0] for one in turns) for name in names},
        "floor": tokens / (_operations(batches, vocab_size) / rate),
        "peak_gflops": round(rate / 1e9, 1),
        "train_vs_plain": statistics.median(one["ours"][0] / one["plain"][0] for one in turns),
        "train_vs_plain_processor": statistics.median(one["ours"][1] / one["plain"][1] for one in turns),
        "ratios": sorted(round(one["ours"][0] / one["plain"][0], 3) for one in turns),
        **(_beside_joey(turns, max(seen)) if seen else {}),
    }


def _beside_joey(turns: list[dict[str, tuple[float, float]]], peak: int) -> dict[str, Any]:
    ratios, of_processor = ([one["ours"][kind] / one["joey"][kind] for one in turns] for kind in (0, 1))
    return {
        "train_vs_joey": statistics.median(ratios),
        "train_vs_joey_processor": statistics.median(of_processor),
        "joey_ratios": sorted(round(ratio, 3) for ratio in ratios),
        "peak_bytes_joey": peak,
    }


@click.command(cls=Command, help=__doc__.split("\n\n")[0])
@click.argument("data", type=PATH)
@click.option("--threads", default=2, help="Number of CPU threads.")
@click.option("--steps", default=8, help="Updates in a turn.")
@click.option("--repeats", default=5, help="Number of turns.")
@click.option("--vocab-size", default=10_000, help="Vocabulary size.")
@click.option("--max-tokens", default=4096, help="Maximum number of tokens in a batch.")
@click.option("--precision", type=click.Choice(["float32", "bfloat16"]), default="float32",
              help="Precision of training.")  # fmt: skip
@click.option("--joey-python", type=PATH, help="Python interpreter that has JoeyNMT 2.3.")
@click.option("--only", type=click.Choice(_SIDES), hidden=True)
def main(
    data: Path,
    threads: int,
    steps: int,
    repeats: int,
    vocab_size: int,
    max_tokens: int,
    precision: str,
    joey_python: Path | None,
    only: str,
) -> None:
    if joey_python:
        pin(threads)

    torch.set_num_threads(threads)
    bfloat16 = precision == "bfloat16"
    if only:
        make = our_step if only == "ours" else plain_step
        step = make(vocab_size, bfloat16)
        for batch in _batches(data, vocab_size, max_tokens, steps):
            step(batch)
        click.echo(peak_memory())
        return
    with ExitStack() as stack:
        joey = None
        if joey_python:
            joey = Joey(joey_python, data, threads, vocab_size=vocab_size, updates=steps, max_tokens=max_tokens)
            stack.enter_context(joey)
        result = _measure(data, vocab_size, max_tokens, steps, repeats, bfloat16, joey)
    for name in _SIDES:
        options = ["--only", name, "--threads", str(threads), "--steps", str(steps), "--precision", precision]
        options += ["--vocab-size", str(vocab_size), "--max-tokens", str(max_tokens)]
        command = [sys.executable, "-m", "eval.bench.training", str(data), *options]
        done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 (our own command)
        result[f"peak_bytes_{name}"] = int(done.stdout.split()[-1])
    result["load"] = os.getloadavg()[0]
    print(json.dumps(result))


if __name__ == "__main__":
    main(prog_name="python -m eval.bench.training")
