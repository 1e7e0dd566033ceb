"""Measures the reading of training data in streams, as the data grow.

    python -m eval.bench.streaming DATA [--rows 100000 --rows 1000000] [--streams 8] [--readers 2]
        [--features STORE]

Sentence pairs of DATA's training split, each with another number after it so that all differ, are written as data
sets of so many rows. Each is read in a process of its own by one thread, without a model: pairs are tokenised,
sorted into batches and padded, and with ``--features`` their images' features looked up. With ``--readers``, that
is done again by processes that read ahead (``data.readers``). The time that tokenising alone takes is the limit of
all that. Beside it stands the whole split in memory, as it is read without ``data.streams`` (but for its
checksum), for sizes at which that is sensible. Peak memory (VmHWM) has the pages of files in it that were read,
which the system takes back when it needs them; what the process holds itself at the end stands beside it
(RssAnon).
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import torch
from datasets import Dataset, DatasetDict, Features, Value, disable_progress_bars

from mmt.cli.command import Command
from mmt.cli.options import PATH
from mmt.data.batch import ROW_COLUMNS, Example, encode_rows
from mmt.data.dataset import DatasetInfo, SplitInfo, open_split, read_info, read_rows, read_split
from mmt.data.feature_store import open_features
from mmt.data.reader import BatchReader, Streamed, StreamReader
from mmt.data.reader_processes import AheadReader
from mmt.data.tokenizer import Tokenizer, train_tokenizer

_IN_MEMORY = 1_000_000  # rows, 2 GB
_SECONDS = 20.0


def make(data: Path, out: Path, num_rows: int) -> None:
    """Writes a dataset of so many rows, without the checks and checksums of ``mmt.data.dataset.write_dataset``."""
    disable_progress_bars()
    rows = read_split(data, "train")
    columns = {name: list(rows[name]) for name in ("image", "source", "target", "has_image")}
    num = len(rows)

    def part(first: int, end: int) -> Iterator[dict[str, Any]]:
        for number in range(first, end):
            at = number * 7919 % num  # no two neighbours alike
            yield {
                "id": f"{number:010d}",
                "image": columns["image"][at],
                "source": f"{columns['source'][at]} {number}",
                "target": f"{columns['target'][at]} {number}",
                "has_image": columns["has_image"][at],
            }

    kinds = {"id": "string", "image": "string", "source": "string", "target": "string", "has_image": "bool"}
    features = Features({name: Value(kind) for name, kind in kinds.items()})
    with tempfile.TemporaryDirectory(dir=out.parent) as cache:
        made = Dataset.from_generator(
            part, features=features, gen_kwargs={"first": 0, "end": num_rows}, cache_dir=cache
        )
        DatasetDict({"train": made}).save_to_disk(str(out), max_shard_size="500MB")
    info = read_info(data)
    counted = SplitInfo(num_rows, num_rows, 0, "")
    told = DatasetInfo(f"{info.name}_{num_rows}", info.source_lang, info.target_lang, "", {"train": counted})
    (out / "dataset.json").write_text(json.dumps(asdict(told), indent=2))


def read(folder: Path, tokenizer_path: Path, store: Path | None, streams: int, readers: int) -> dict[str, Any]:
    """Reads for a while; in this process, which takes the batches of the ``readers`` if there are any."""
    torch.set_num_threads(1)

    features = open_features([store]) if store is not None else None
    tokenizer = Tokenizer(tokenizer_path)
    begun = time.perf_counter()
    rows = open_split(folder, "train")

    def examples(first: int, end: int) -> list[Example]:
        return encode_rows(read_rows(rows, ROW_COLUMNS, first, end), first, "train", tokenizer, features, "skip")

    reader: StreamReader | BatchReader
    split = Streamed(rows, examples, len(rows))
    if readers:
        reader = AheadReader(split, features, processes=readers, streams=streams, max_tokens=4096)
    elif streams:
        reader = StreamReader(split, features, streams=streams, max_tokens=4096)
    else:
        reader = BatchReader(examples(0, len(rows)), features, max_tokens=4096, shuffle=True)
    draw = reader.cycle if isinstance(reader, BatchReader) else reader.__next__  # round and round
    [batch] = draw()
    first = time.perf_counter() - begun
    tokens = pairs = padded = 0
    begun = time.perf_counter()
    while time.perf_counter() < begun + _SECONDS:
        [batch] = draw()
        tokens += batch.num_target_tokens
        padded += batch.target.numel() - len(batch.target)
        pairs += len(batch.source)
    seconds = time.perf_counter() - begun
    columns = read_rows(rows, ("source", "target"), 0, min(len(rows), 20_000))
    begun = time.process_time()
    for source, target in zip(columns["source"], columns["target"], strict=True):
        tokenizer.encode(source), tokenizer.encode_target(target)
    tokenising = (time.process_time() - begun) / len(columns["source"])
    state = reader.state_dict()
    begun = time.perf_counter()
    reader.load_state_dict(state)
    draw()
    resumed = time.perf_counter() - begun
    status = Path("/proc/self/status").read_text()
    megabytes = {name: round(int(kb) / 1000) for name, kb in re.findall(r"(VmHWM|RssAnon):\s+(\d+) kB", status)}
    return {
        "pairs_a_second": round(pairs / seconds),
        "pairs_a_second_of_tokenising_alone": round(1 / tokenising),
        "target_tokens_a_second": round(tokens / seconds),
        "padding": round(1 - tokens / padded, 3),
        "seconds_to_first_batch": round(first, 2),
        "seconds_to_resume": round(resumed, 2),
        "peak_mb": megabytes["VmHWM"],
        "own_mb": megabytes["RssAnon"],
    }


@click.command(cls=Command, help=__doc__.partition("\n\n")[0])
@click.argument("data", type=PATH)
@click.option("--rows", "sizes", type=int, multiple=True, default=(100_000, 1_000_000),
              help="Size of a dataset, in rows; repeatable.")  # fmt: skip
@click.option("--streams", default=8, help="Number of streams; see data.streams.")
@click.option("--readers", "readers", type=int, multiple=True,
              help="Read also with so many processes ahead; see data.readers; repeatable.")  # fmt: skip
@click.option("--features", "store", type=PATH, help="Feature store of DATA's images.")
@click.option("--work", type=PATH, default=Path("bench_streaming"), help="Working folder, removed at the end.")
@click.option("--read", "one", type=(PATH, PATH, int, int), hidden=True, help="Of a process that measures.")
def main(
    data: Path,
    sizes: tuple[int, ...],
    streams: int,
    readers: tuple[int, ...],
    store: Path | None,
    work: Path,
    one: tuple[Path, Path, int, int] | None,
) -> None:
    if one is not None:
        click.echo(json.dumps(read(one[0], one[1], store, *one[2:])))
        return

    work.mkdir(parents=True)
    rows = read_split(data, "train")
    train_tokenizer(
        (line for side in ("source", "target") for line in rows[side]), 10_000, work / "tokenizer.model"
    )
    for size in sizes:
        folder = work / str(size)
        begun = time.perf_counter()
        make(data, folder, size)
        on_disk = sum(path.stat().st_size for path in folder.rglob("*.arrow"))
        told = {"rows": size, "seconds_to_make": round(time.perf_counter() - begun), "bytes_a_row": on_disk / size}
        click.echo(json.dumps(told))
        ways = [(streams, num) for num in (0, *readers)] + ([(0, 0)] if size <= _IN_MEMORY else [])
        for number, ahead in ways:
            command = [sys.executable, "-m", "eval.bench.streaming", str(data)]
            command += ["--read", str(folder), str(work / "tokenizer.model"), str(number), str(ahead)]
            command += ["--features", str(store)] if store is not None else []
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 (our own)
            click.echo(json.dumps({"rows": size, "streams": number, "readers": ahead, **json.loads(done.stdout)}))
        shutil.rmtree(folder)
    shutil.rmtree(work)


if __name__ == "__main__":
    main(prog_name="python -m eval.bench.streaming")
