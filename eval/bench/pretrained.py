"""Measures translating with a pretrained model against transformers, on the same weights.

    python -m eval.bench.pretrained DATA [--shape nllb-600m] [--threads 2] [--batch 64] [--beam 4] [--repeats 5]
    python -m eval.bench.pretrained DATA --pieces 16384   # our side writes with a part of the vocabulary
    python -m eval.bench.pretrained DATA --train 4096 [--checkpointing]    # updates of adapters, of 4,096 tokens
    python -m eval.bench.pretrained DATA --only-memory --precision int8    # peak memory, of one batch

Weights are random, of a published model's shape, written in transformers' layout to a temporary folder, from which
both sides load them. Each side is a process of its own; they take turns, and translate the same ids, with the
lengths of DATA's first test split, into exactly 14 tokens each, so that both do the same work. A ratio is the
median of the turns' own. Peak memory is that of the process; ``own_bytes`` of it, measured after a turn, are no
pages of files, which the system takes back where it has no room (a peak, too, as freed memory is kept).
"""

from __future__ import annotations

import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import sentencepiece
import torch

from mmt.cli.command import Command
from mmt.cli.options import PATH
from mmt.data.batch import Batch, Example, collate
from mmt.data.dataset import first_test_split, read_split
from mmt.data.tokenizer import EOS
from mmt.io.runtime import keep_freed_memory, own_memory, peak_memory

STEPS = 14
_REGIONS = 49  # of an image, in training
_ASIDE = 8  # ids at both ends of a vocabulary that are no usual pieces

_Shape = dict[str, Any]
SHAPES: dict[str, tuple[str, _Shape]] = {
    "nllb-600m": ("nllb", {"d_model": 1024, "layers": 12, "heads": 16, "ffn": 4096, "vocab_size": 256_206}),
    "m2m100-418m": ("m2m100", {"d_model": 1024, "layers": 12, "heads": 16, "ffn": 4096, "vocab_size": 128_112}),
    "marian": ("marian", {"d_model": 512, "layers": 6, "heads": 8, "ffn": 2048, "vocab_size": 58_101}),
    "tiny": ("marian", {"d_model": 64, "layers": 2, "heads": 4, "ffn": 128, "vocab_size": 1000}),
}
"""Of published models, by name: family, and sizes of the encoder and of the decoder."""


def write_random(shape: str, folder: Path) -> None:
    """Writes random weights of a published model's shape in transformers' layout."""
    import transformers as untyped

    transformers: Any = untyped
    family, size = SHAPES[shape]
    common: dict[str, Any] = {
        "vocab_size": size["vocab_size"],
        "d_model": size["d_model"],
        **{f"{side}_layers": size["layers"] for side in ("encoder", "decoder")},
        **{f"{side}_attention_heads": size["heads"] for side in ("encoder", "decoder")},
        **{f"{side}_ffn_dim": size["ffn"] for side in ("encoder", "decoder")},
        "scale_embedding": True,
    }
    torch.manual_seed(1)
    model: Any
    if family == "marian":
        last = size["vocab_size"] - 1
        config = transformers.MarianConfig(
            **common, eos_token_id=0, pad_token_id=last, decoder_start_token_id=last, forced_eos_token_id=0,
            activation_function="swish", max_position_embeddings=512, static_position_embeddings=True,
        )  # fmt: skip
        model = transformers.MarianMTModel(config)
    else:
        model = transformers.M2M100ForConditionalGeneration(transformers.M2M100Config(**common))
    model.save_pretrained(folder)
    _write_tokenizer(family, size["vocab_size"], folder)


def _write_apart(shape: str, folder: Path) -> None:
    """As ``write_random``, in a process of its own, whose memory is free again afterwards."""
    writer = get_context("spawn").Process(target=write_random, args=(shape, folder))
    writer.start()
    writer.join()


def _write_tokenizer(family: str, vocab_size: int, folder: Path) -> None:
    """The files that belong to a checkpoint; the sides read ids."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["ab", "ba"] * 9), model_writer=model, vocab_size=7, minloglevel=2
    )
    names = ("source.spm", "target.spm") if family == "marian" else ("sentencepiece.bpe.model",)
    for name in names:
        (folder / name).write_bytes(model.getvalue())
    pieces = {"</s>": 0, "<unk>": 1} | {f"p{number}": number for number in range(2, vocab_size - 1)}
    if family == "marian":
        (folder / "vocab.json").write_text(json.dumps(pieces | {"<pad>": vocab_size - 1}))
    if family == "m2m100":
        specials = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
        pieces = specials | {f"p{number}": number for number in range(4, vocab_size - 108)}
        (folder / "vocab.json").write_text(json.dumps(pieces))


def our_translations(
    family: str, folder: Path, ids: list[list[int]], beam: int, precision: str, pieces: int, device: str = "cpu"
) -> Callable[[int], object]:
    """Translates the ids in batches of so many."""
    from mmt.inference.beam import beam_search
    from mmt.inference.search import SearchOptions
    from mmt.inference.threads import each_on_a_core
    from mmt.model.build import build_empty_model
    from mmt.model.config import MMTConfig
    from mmt.model.pretrained.base import load_text, open_base
    from mmt.model.stepping import StepDecoder

    base = open_base(f"{family}:{folder}")
    model = build_empty_model(MMTConfig(**base.settings())).eval()
    load_text(model.text, base)
    model.requires_grad_(False).to(device)  # as mmt.inference.loaded does
    size = model.text.sizes.vocab_size
    some = torch.cat([torch.arange(EOS + 1), torch.arange(size - pieces + EOS + 1, size)]) if pieces else None
    decoder = StepDecoder(model, precision, None if some is None else some.to(device))  # type: ignore[arg-type]
    options = SearchOptions(beam, min_length=STEPS - 1)
    prompt = (EOS, 9) if family != "marian" else (2,)

    def search(part: Batch) -> object:
        return beam_search(decoder, part, options, max_length=(0.0, STEPS))

    def translate(size: int) -> object:
        parts = [
            collate([Example(row, [], prompt=prompt) for row in ids[first : first + size]])
            for first in range(0, len(ids), size)
        ]
        for part in parts:
            part.to(torch.device(device), non_blocking=True)
        return list((each_on_a_core if device == "cpu" else map)(search, parts))

    return translate


def their_translations(
    family: str, folder: Path, ids: list[list[int]], beam: int, precision: str, device: str = "cpu"
) -> Callable[[int], object]:
    """As ``our_translations``, by transformers."""
    from transformers import AutoModelForSeq2SeqLM

    model: Any = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=getattr(torch, precision)).eval().to(device)
    eos, pad = model.config.eos_token_id, model.config.pad_token_id
    forced = {} if family == "marian" else {"forced_bos_token_id": 9}
    steps = STEPS if family == "marian" else STEPS + 1  # the language counts as a new token

    @torch.inference_mode()
    def translate(size: int) -> object:
        for first in range(0, len(ids), size):
            rows = [[*row, eos] for row in ids[first : first + size]]
            width = max(map(len, rows))
            tokens = torch.tensor([row + [pad] * (width - len(row)) for row in rows]).to(device)
            model.generate(
                tokens, attention_mask=(tokens != pad).long(), num_beams=beam, min_new_tokens=steps,
                max_new_tokens=steps, early_stopping=True, **forced,
            )  # fmt: skip
        return None

    return translate


def _training(
    family: str, folder: Path, ids: list[list[int]], tokens: int, checkpointing: bool
) -> Callable[[int], object]:
    """Updates of ZeroMMT's adapters on the frozen model, with image-aware weighting."""
    from mmt.model.build import build_model
    from mmt.model.config import MMTConfig
    from mmt.model.frozen import freeze_text, insert_base
    from mmt.model.pretrained.base import open_base
    from mmt.training.forward_pass import Pass
    from mmt.training.objectives import image_weights
    from mmt.training.recipe import apply_checkpointing

    base = open_base(f"{family}:{folder}")
    config = MMTConfig(**base.settings(), fusion="prefix", image_sets=((_REGIONS, 1280),), adapter_dim=64)
    model = build_model(config)
    insert_base(model, base.weights(), base.name, share=True)
    freeze_text(model, saved=False)
    if checkpointing:
        apply_checkpointing(model, 1)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3)
    length = STEPS - 1
    batch = collate([Example(row[:length], row[:length], prompt=(EOS, 9)) for row in ids[: tokens // STEPS]])
    batch.image = torch.randn(len(batch.source), _REGIONS, 1280)
    batch.image_pad = torch.zeros(batch.image.shape[:2], dtype=torch.bool)

    def update(_: int) -> object:
        weights, _pcxmi = image_weights(Pass(model, batch), 1.0)
        loss, _nll = model.cross_entropy(batch, 0.1, weights=weights)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        return None

    return update


def _serve(side: str, given: dict[str, Any]) -> None:
    """A side's process: loads, then answers each line of standard input, a batch size, with seconds.

    Args:
        given: ``threads``, and the ``settings`` of ``our_translations``, ``their_translations`` or ``_training``.
    """
    torch.set_num_threads(given["threads"])
    keep_freed_memory()
    begun = time.perf_counter()
    makers: dict[str, Callable[..., Callable[[int], object]]] = {
        "ours": our_translations, "transformers": their_translations, "training": _training,
    }  # fmt: skip
    work = makers[side](**given["settings"] | {"folder": Path(given["settings"]["folder"])})
    print(json.dumps({"loading_seconds": time.perf_counter() - begun, "bytes": peak_memory()}), flush=True)
    for line in sys.stdin:
        begun = time.perf_counter()
        work(int(line))
        found = {"seconds": time.perf_counter() - begun, "bytes": peak_memory(), "own_bytes": own_memory()}
        print(json.dumps(found), flush=True)


class _Side:
    """A side's process, seen from outside."""

    def __init__(self, stack: ExitStack, side: str, threads: int, settings: dict[str, Any]) -> None:
        command = [sys.executable, "-m", "eval.bench.pretrained", "--serve", side, "DATA"]
        self._process = stack.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603
        )
        self._send(json.dumps({"threads": threads, "settings": settings}))
        self.answer = self._receive()

    def turn(self, batch: int) -> float:
        """Seconds."""
        self._send(str(batch))
        self.answer |= self._receive()
        return float(self.answer["seconds"])

    def close(self) -> None:
        assert self._process.stdin is not None  # noqa: S101
        self._process.stdin.close()

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None  # noqa: S101
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found


def _random_ids(data: Path, vocab_size: int, num: int) -> list[list[int]]:
    """Of sentences as long as those of DATA's first test split."""
    lines = read_split(data, first_test_split(data))["source"][:num]
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randint(_ASIDE, vocab_size - _ASIDE, (len(line.split()) + 2,), generator=generator).tolist()
        for line in sorted(lines, key=lambda line: len(line.split()))
    ]


def measure(data: Path, shape: str, precision: str, pieces: int, how: dict[str, int]) -> dict[str, Any]:
    """Both sides' sentences a second, their ratio, and their memory.

    Args:
        pieces: our side writes with so many pieces of the vocabulary; 0: all.
        how: ``threads``, ``batch``, ``beam``, ``repeats`` and ``sentences``.
    """
    family, size = SHAPES[shape]
    ids = _random_ids(data, size["vocab_size"], how["sentences"])
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        _write_apart(shape, Path(folder))
        common = {"family": family, "folder": folder, "ids": ids, "beam": how["beam"]}
        theirs = precision if precision != "int8" else "float32"
        settings = {
            "ours": common | {"precision": precision, "pieces": pieces},
            "transformers": common | {"precision": theirs},
        }
        sides = {name: _Side(stack, name, how["threads"], one) for name, one in settings.items()}
        turns: dict[str, list[float]] = {name: [] for name in sides}
        for number in range(how["repeats"] + 1):
            for name, side in sides.items():
                seconds = side.turn(how["batch"])
                if number:  # the first turn fills caches
                    turns[name].append(len(ids) / seconds)
        for side in sides.values():
            side.close()
    ratios = [a / b for a, b in zip(turns["ours"], turns["transformers"], strict=True)]
    return {
        "shape": shape,
        "precision": precision,
        "pieces": pieces or size["vocab_size"],
        **how,
        "sentences_a_second": {name: round(statistics.median(found), 2) for name, found in turns.items()},
        "pretrained_vs_transformers": round(statistics.median(ratios), 3),
        "loading_seconds": {name: round(side.answer["loading_seconds"], 1) for name, side in sides.items()},
        "peak_bytes": {name: side.answer["bytes"] for name, side in sides.items()},
        "turns": {name: [round(one, 2) for one in found] for name, found in turns.items()},
        "load": os.getloadavg()[0],
    }


def measure_memory(data: Path, shape: str, precision: str, how: dict[str, int]) -> dict[str, Any]:
    """Peak memory of our process, which loads the model and translates one batch.

    Args:
        how: ``threads``, ``batch`` and ``beam``.
    """
    family, size = SHAPES[shape]
    ids = _random_ids(data, size["vocab_size"], how["batch"])
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        _write_apart(shape, Path(folder))
        given = {"family": family, "folder": folder, "ids": ids, "beam": how["beam"], "precision": precision}
        side = _Side(stack, "ours", how["threads"], given | {"pieces": 0})
        seconds = side.turn(how["batch"])
        side.close()
    return {
        "shape": shape, "precision": precision, **how,
        "seconds": round(seconds, 1), "peak_bytes": side.answer["bytes"], "own_bytes": side.answer["own_bytes"],
    }  # fmt: skip


def measure_training(
    data: Path, shape: str, tokens: int, how: dict[str, int], *, checkpointing: bool
) -> dict[str, Any]:
    """Seconds of an update of adapters on the frozen model, and the memory of the process.

    Args:
        tokens: target tokens of a batch.
        how: ``threads`` and ``repeats``.
        checkpointing: the layers are computed again in the backward pass.
    """
    family, size = SHAPES[shape]
    ids = _random_ids(data, size["vocab_size"], 1000)
    ids = [row for row in ids * (tokens // 1000 + 1) if len(row) >= STEPS]
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        _write_apart(shape, Path(folder))
        given = {"family": family, "folder": folder, "ids": ids, "tokens": tokens, "checkpointing": checkpointing}
        side = _Side(stack, "training", how["threads"], given)
        turns = [side.turn(0) for _ in range(how["repeats"])]
        side.close()
    return {
        "shape": shape,
        "tokens": tokens,
        "checkpointing": checkpointing,
        "threads": how["threads"],
        "seconds_an_update": round(statistics.median(turns), 1),
        "peak_bytes": side.answer["bytes"],
    }


@click.command(cls=Command, help=__doc__.split("\n\n")[0])
@click.argument("data", type=PATH)
@click.option("--shape", type=click.Choice(list(SHAPES)), default="nllb-600m", help="Published model's shape.")
@click.option("--precision", type=click.Choice(["float32", "bfloat16", "int8"]), default="float32",
              help="Precision of both; of int8, transformers' is float32.")  # fmt: skip
@click.option("--threads", default=2, help="Number of CPU threads.")
@click.option("--batch", default=64, help="Sentences in a batch.")
@click.option("--beam", default=4, help="Beam size.")
@click.option("--repeats", default=5, help="Number of turns.")
@click.option("--sentences", default=128, help="Number of sentences.")
@click.option(
    "--pieces", type=click.IntRange(min=64), help="Number of pieces that our side writes with.  [default: all]"
)
@click.option("--train", type=click.IntRange(min=STEPS), metavar="TOKENS",
              help="Measure updates of adapters instead, on batches of so many target tokens.")  # fmt: skip
@click.option("--checkpointing", is_flag=True,
              help="With --train: compute the layers again in the backward pass; less memory.")  # fmt: skip
@click.option("--only-memory", is_flag=True, help="Measure our peak memory instead, of one batch.")
@click.option("--serve", type=click.Choice(["ours", "transformers", "training"]), hidden=True)
def main(
    data: Path,
    shape: str,
    precision: str,
    pieces: int | None,
    train: int | None,
    checkpointing: bool,
    only_memory: bool,
    serve: str | None,
    **how: int,
) -> None:
    if serve:
        _serve(serve, json.loads(sys.stdin.readline()))
        return
    if only_memory:
        found = measure_memory(data, shape, precision, {name: how[name] for name in ("threads", "batch", "beam")})
    elif train:
        found = measure_training(data, shape, train, how, checkpointing=checkpointing)
    else:
        found = measure(data, shape, precision, pieces or 0, how)
    click.echo(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(prog_name="python -m eval.bench.pretrained")
