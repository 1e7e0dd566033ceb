"""Benchmark of large indices: building, memory, recall and queries of compressed vectors against exact search.

python -m eval.bench.index OUT --num 1000000 --dim 256 --queries 100

Vectors are synthetic: around 1 / 50 as many random centres, with noise, all of length 1. They come in blocks, and
exact search reads them in blocks, so that memory does not limit the number.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

import mmt.inference.index
from mmt.cli.command import Command
from mmt.data.tokenizer import TOKENIZER
from mmt.inference.compressed import BLOCK
from mmt.inference.index import open_index, write_index
from mmt.io.runtime import peak_memory
from mmt.io.tables import print_table
from mmt.model.card import WEIGHTS

_NOISE = 0.6  # of a vector, beside its centre


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    length: NDArray[np.float32] = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / length).astype(np.float32)


def _blocks(num: int, dim: int, *, seed: int, of: int) -> Iterator[NDArray[np.float32]]:
    """``num`` vectors around the centres of a set of ``of``."""
    centres = _unit(np.random.default_rng(0).standard_normal((max(of // 50, 1), dim), np.float32))
    generator = np.random.default_rng(seed)
    for first in range(0, num, BLOCK):
        count = min(BLOCK, num - first)
        noise = _unit(generator.standard_normal((count, dim), np.float32))
        yield _unit(centres[generator.integers(len(centres), size=count)] + _NOISE * noise)


def _exact(path: Path, queries: NDArray[np.float32], top: int) -> NDArray[np.int64]:
    """(Q, K) rows of the nearest."""
    vectors = np.load(path, mmap_mode="r")
    best = np.full((len(queries), top), -np.inf, np.float32)
    rows = np.zeros((len(queries), top), np.int64)
    for first in range(0, len(vectors), BLOCK):
        cosines = queries @ vectors[first : first + BLOCK].T
        both = np.concatenate([best, cosines], axis=1)
        numbers = np.concatenate(
            [rows, np.broadcast_to(np.arange(cosines.shape[1]) + first, cosines.shape)], axis=1
        )
        order = np.argsort(-both, axis=1)[:, :top]
        best, rows = np.take_along_axis(both, order, 1), np.take_along_axis(numbers, order, 1)
    return rows


@click.command(cls=Command)
@click.argument("out", type=click.Path(path_type=Path, exists=False))
@click.option("--num", type=click.IntRange(min=1000), default=1_000_000, help="Number of vectors.")
@click.option("--dim", type=click.IntRange(min=8), default=256, help="Numbers of a vector.")
@click.option("--queries", "num_queries", type=click.IntRange(min=1), default=100, help="Number of queries.")
@click.option("--top", type=click.IntRange(min=1), default=10, help="Number of answers.")
@click.option(
    "--only-queries", is_flag=True, help="OUT is there already: measure queries in a process of their own."
)
def main(out: Path, num: int, dim: int, num_queries: int, top: int, only_queries: bool) -> None:
    """Build an index of synthetic vectors in OUT and query it."""
    mmt.inference.index.EXACT_BELOW = mmt.inference.index.COMPRESSED_FROM = 1000
    model = out / "model"
    result: dict[str, float] = {"vectors": num, "dim": dim}
    if not only_queries:
        model.mkdir(parents=True)
        for name in (WEIGHTS, TOKENIZER):
            (model / name).write_bytes(b"of no model")
        started = time.perf_counter(), time.process_time()
        write_index(
            out / "index", "images", [f"{n:x}" for n in range(num)], _blocks(num, dim, seed=1, of=num), model
        )
        result["build_seconds"] = time.perf_counter() - started[0]
        result["build_cpu_seconds"] = time.process_time() - started[1]
        result["build_peak_bytes"] = peak_memory()
        result["search_bytes_a_vector"] = (out / "index" / "search.faiss").stat().st_size / num
    started = time.perf_counter(), time.process_time()
    index = open_index(out / "index", model)
    result["open_seconds"] = time.perf_counter() - started[0]
    queries = next(_blocks(num_queries, dim, seed=2, of=num))
    index.search(queries[:1], top)
    started = time.perf_counter(), time.process_time()
    found = np.concatenate([index.search(queries[n : n + 1], top)[0] for n in range(num_queries)])
    result["query_ms"] = 1000 * (time.perf_counter() - started[0]) / num_queries
    result["query_cpu_ms"] = 1000 * (time.process_time() - started[1]) / num_queries
    result["query_peak_bytes"] = peak_memory()
    exact = _exact(out / "index" / "vectors.npy", queries, top)
    result[f"recall_at_{top}"] = float(
        np.mean([len(set(a) & set(b)) / top for a, b in zip(exact, found, strict=True)])
    )
    (out / ("queries.json" if only_queries else "build.json")).write_text(json.dumps(result, indent=1) + "\n")
    print_table(["", "value"], [[name, f"{value:,.4g}"] for name, value in result.items()])
    sys.stdout.flush()


if __name__ == "__main__":
    main()
