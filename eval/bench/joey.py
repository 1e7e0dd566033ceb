"""JoeyNMT 2.3 on a model of our size, for ``eval.bench.training`` and ``eval.bench.translating``.

Both halves of it: ours writes JoeyNMT's data and configuration into a temporary folder and asks for one turn at a
time; the other, run by the Python that has JoeyNMT, needs nothing of ours. Between turns JoeyNMT waits, so the two
sides can take turns on the same core. It ends when its standard input does.

JoeyNMT 2.3.0 wants importlib_metadata beside it, and sentencepiece 0.2.0.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

_LAYERS, _HEADS, _DIM, _FFN = 4, 4, 128, 256
_NEVER = 10**9

# glibc keeps freed memory, as mmt.io.runtime has it for our side.
_KEEP = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str((1 << 31) - 1),
    "MALLOC_TOP_PAD_": str(1 << 26),
}


def _config(folder: Path, max_tokens: int, steps: int) -> dict[str, Any]:
    """JoeyNMT's settings, the recipes' where it has them.

    Args:
        max_tokens: of a batch in training, padding included, by JoeyNMT's own count.
        steps: tokens of each translation.
    """
    half = {
        "type": "transformer",
        "num_layers": _LAYERS,
        "num_heads": _HEADS,
        "embeddings": {"embedding_dim": _DIM, "scale": True, "dropout": 0.0},
        "hidden_size": _DIM,
        "ff_size": _FFN,
        "dropout": 0.3,
        "layer_norm": "pre",
    }
    side = {
        "level": "bpe",
        "max_length": 100,
        "voc_file": str(folder / "vocabulary.txt"),
        "tokenizer_type": "sentencepiece",
        "tokenizer_cfg": {"model_file": str(folder / "tokenizer.model")},
    }
    symbols = {"unk": "<unk>", "pad": "<pad>", "bos": "<s>", "eos": "</s>"}
    return {
        "name": "bench",
        "joeynmt_version": "2.3.0",
        "model_dir": str(folder / "model"),
        "use_cuda": False,
        "data": {
            **{name: str(folder / name) for name in ("train", "dev", "test")},
            "dataset_type": "plain",
            "src": {"lang": "source", **side},
            "trg": {"lang": "target", **side},
            "special_symbols": {
                **{f"{name}_token": symbol for name, symbol in symbols.items()},
                **{f"{name}_id": place for place, name in enumerate(symbols)},
            },
        },
        "testing": {"beam_alpha": 1.0, "max_output_length": steps, "batch_type": "sentence", "eval_metrics": []},
        "training": {
            "optimizer": "adamw",
            "adam_betas": [0.9, 0.98],
            "normalization": "tokens",
            "learning_rate": 0.003,
            "learning_rate_warmup": 300,
            "scheduling": "warmupinversesquareroot",
            "loss": "crossentropy",
            "label_smoothing": 0.1,
            "clip_grad_norm": 1.0,
            "batch_size": max_tokens,
            "batch_type": "token",
            "epochs": _NEVER,
            "validation_freq": _NEVER,
            "early_stopping_metric": "loss",
            "print_valid_sents": [],
        },
        "model": {"tied_embeddings": True, "tied_softmax": True, "encoder": half, "decoder": half},
    }


def _prepare(folder: Path, data: Path, vocab_size: int, sentences: int) -> None:
    """Writes texts and vocabulary; of the test split about ``sentences``, of all lengths, the short
    ones first."""
    from mmt.data.dataset import first_test_split, read_split
    from mmt.data.tokenizer import EOS, Tokenizer, train_tokenizer
    from mmt.io.normalization import normalize

    rows = {
        name: read_split(data, split) for name, split in (("train", "train"), ("test", first_test_split(data)))
    }
    path = folder / "tokenizer.model"
    train_tokenizer([*rows["train"]["source"], *rows["train"]["target"]], vocab_size, path)
    tokenizer = Tokenizer(path)
    (folder / "vocabulary.txt").write_text(
        "".join(f"{piece}\n" for piece in tokenizer.pieces(range(EOS + 1, vocab_size))), encoding="utf-8"
    )
    pairs = {
        name: [(normalize(one), normalize(other)) for one, other in zip(of["source"], of["target"], strict=True)]
        for name, of in rows.items()
    }
    pairs["test"].sort(key=lambda pair: len(tokenizer.encode(pair[0])))
    pairs["test"] = pairs["test"][:: max(len(pairs["test"]) // sentences, 1)]
    pairs["dev"] = pairs["test"][:1]  # it has to have one, and is never asked
    for name, texts in pairs.items():
        for place, side in enumerate(("source", "target")):
            lines = "".join(f"{pair[place]}\n" for pair in texts)
            (folder / f"{name}.{side}").write_text(lines, encoding="utf-8")


def pin(threads: int) -> None:
    """Keeps this process, and those that it starts, to as many cores; before torch counts them."""
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[-threads:]))


class Joey:
    """JoeyNMT in a process of its own, on the cores of this one; a context manager.

    Args:
        python: that has JoeyNMT.
        data: a prepared dataset.
        updates: in training, of each turn; None: it translates instead.
        max_tokens: see ``_config``; of training.
        steps, sentences: of translating, tokens of each translation and how many are made in a turn, about.
    Raises:
        MMTError: it failed, with the end of what it said.
    """

    def __init__(
        self,
        python: Path,
        data: Path,
        threads: int,
        *,
        vocab_size: int = 10_000,
        updates: int | None = None,
        max_tokens: int = 4096,
        steps: int = 14,
        sentences: int = 256,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 (closed by __exit__)
        folder = Path(self._folder.name)
        _prepare(folder, data, vocab_size, sentences)
        config = json.dumps(_config(folder, max_tokens, steps))  # JSON is YAML
        (folder / "joey.yaml").write_text(config, encoding="utf-8")
        given = {"folder": str(folder), "threads": threads, "updates": updates, "steps": steps}
        self._process = subprocess.Popen(  # noqa: S603 (the user's Python, our script)
            [str(python), str(Path(__file__)), json.dumps(given)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            text=True,
            cwd=folder,
            env={
                **os.environ,
                **{name: str(value) for name, value in _KEEP.items()},
                "OMP_NUM_THREADS": str(threads),
            },
        )
        self._answer()  # it is ready

    def turn(self, **how: Any) -> dict[str, Any]:
        """One turn: ``tokens``, ``seconds``, ``processor_seconds``, ``peak_bytes``, and what is of its kind."""
        assert self._process.stdin is not None  # noqa: S101  # it is a pipe
        self._process.stdin.write(json.dumps(how) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        from mmt.errors import MMTError

        assert self._process.stdout is not None  # noqa: S101  # it is a pipe
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._complaints.seek(0)
            said = self._complaints.read().decode(errors="replace")[-1500:]
            raise MMTError(f"JoeyNMT ended with {self._process.returncode}:\n{said}")
        found: dict[str, Any] = json.loads(line)
        return found

    def __enter__(self) -> Joey:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends it: it has seen the end of its input when it next looks, which is after a turn at the latest."""
        assert self._process.stdin is not None  # noqa: S101  # they are pipes
        assert self._process.stdout is not None  # noqa: S101
        self._process.stdin.close()
        if error is not None:
            self._process.terminate()  # interrupted, in the middle of a turn perhaps
        self._process.wait()
        self._process.stdout.close()
        self._complaints.close()
        self._folder.cleanup()


# What follows is run by JoeyNMT's Python.


class _Turns:
    """What is asked on standard input and answered on standard output, with times between."""

    def __init__(self) -> None:
        # JoeyNMT prints what it likes: to standard error
        self._answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        self._begun = self._processor = 0.0

    def next(self) -> dict[str, Any]:
        """How the next turn is to be; ends the process where there is none."""
        line = sys.stdin.readline()
        if not line:
            sys.exit()
        self._begun, self._processor = time.perf_counter(), time.process_time()
        how: dict[str, Any] = json.loads(line)
        return how

    def answer(self, **found: Any) -> None:
        found["seconds"] = time.perf_counter() - self._begun
        found["processor_seconds"] = time.process_time() - self._processor
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        found["peak_bytes"] = 1024 * int(peak[1]) if peak else None
        print(json.dumps(found), file=self._answers, flush=True)


def _train(config: dict[str, Any], turns: _Turns, updates: int) -> None:
    """JoeyNMT's own loop; a turn is from one of its lines of log to the next."""
    import joeynmt.training as training

    tokens = 0
    config["training"]["logging_freq"] = updates

    def logged(trainer: Any, *_: Any) -> None:
        nonlocal tokens
        turns.answer(tokens=trainer.stats.total_tokens - tokens)  # the first one is of warming up
        tokens = trainer.stats.total_tokens
        turns.next()

    training.TrainManager._log_scores = logged
    Path(config["model_dir"]).mkdir()
    training.train(rank=0, world_size=None, cfg=config, skip_test=True)


def _translate(config: dict[str, Any], turns: _Turns, steps: int) -> None:
    """JoeyNMT's search on random weights, so that nothing ends early: each translation has ``steps`` tokens."""
    import joeynmt.prediction as prediction
    from joeynmt.config import parse_global_args
    from joeynmt.data import load_data
    from joeynmt.model import build_model

    args = parse_global_args(config, rank=0, mode="test")
    source, target, _, _, test = load_data(args.data, datasets=["test"])
    model = build_model(args.model, src_vocab=source, trg_vocab=target)
    test.reset_indices(random_subset=-1)
    # predict() logs min_output_length and does not hand it on
    prediction.search = partial(prediction.search, min_output_length=steps)
    turns.answer()
    while how := turns.next():
        found = prediction.predict(
            model=model,
            data=test,
            device=args.device,
            n_gpu=0,
            args=args.test._replace(batch_size=how["batch"], beam_size=how["beam"]),
            autocast=args.autocast,
        )
        turns.answer(sentences=len(found[2]), tokens=sum(map(len, found[3])))


def main() -> None:
    given = json.loads(sys.argv[1])
    turns = _Turns()
    import torch
    from joeynmt.config import load_config

    torch.set_num_threads(given["threads"])
    config = load_config(Path(given["folder"], "joey.yaml"))
    if given["updates"] is not None:
        _train(config, turns, given["updates"])
    else:
        _translate(config, turns, given["steps"])


if __name__ == "__main__":
    main()
