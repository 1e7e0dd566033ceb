"""Loads ``mmt serve`` with clients, well-behaved and other, and reports what they see:

    python -m tests.hard.serve_load MODEL DATA [PHASE]...

MODEL is what mmt serve takes, DATA a prepared dataset, whose test sentences are sent. Phases: latency (8 clients),
throughput (64 clients, and the file translator in turns with them), crowd (500 clients), storm (bad images, long
sentences and dropped connections beside 8 good clients), memory (20,000 requests). Without one, all. Exit code 1
where an answer is missing or refused, or where memory grows. Times depend on what else the machine does: its load
is printed, and throughput is compared by the clock and by processor time.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import click

from mmt.data.dataset import first_test_split, read_split
from mmt.inference.open import open_translator
from mmt.io.terminal import counted

GROWTH = 0.05  # of the memory after the first requests
LONG = ("A dog sees the cat and finds a ball. " * 300)[:10_000]


class Server:
    """``mmt serve`` as a process."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.pid, self.port = process.pid, port

    def seconds(self) -> float:
        """Of processor time so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def megabytes(self) -> float:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1000  # type: ignore[index]


@contextlib.contextmanager
def served(model: str, threads: int) -> Iterator[Server]:
    command = [sys.executable, "-m", "mmt.cli", "serve", f"model={model}", "--no-page", "--port", "0"]
    process = subprocess.Popen([*command, "--threads", str(threads)], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if found := re.search(r"API at http://127.0.0.1:(\d+)", line):
                yield Server(process, int(found[1]))
                return
        raise SystemExit("the server has ended")
    finally:
        process.terminate()
        process.wait()


class Client:
    """One connection that asks again and again: HTTP/1.1, written by hand to take little of the processor."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def __aenter__(self) -> Client:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    def send(self, content: bytes) -> None:
        head = "POST /translate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        self.writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)

    async def ask(self, content: bytes) -> tuple[int, bytes, float]:
        """Status, body and seconds."""
        started = time.monotonic()
        self.send(content)
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(re.search(rb"content-length: (\d+)", head, re.IGNORECASE)[1])  # type: ignore[index]
        found = await self.reader.readexactly(length)
        return int(head.split()[1]), found, time.monotonic() - started


def body(sentences: Sequence[str], image: bytes | None = None) -> bytes:
    more = {} if image is None else {"image": base64.b64encode(image).decode()}
    return json.dumps({"sentences": [{"text": one} | more for one in sentences]}).encode()


class Load:
    """The sentences, what they are to become, and what went wrong."""

    def __init__(self, server: Server, sentences: Sequence[str], expected: Sequence[str]) -> None:
        self.server, self.sentences, self.expected = (
            server,
            list(sentences),
            dict(zip(sentences, expected, strict=True)),
        )
        self.complaints: list[str] = []
        self.different = 0

    def check(self, asked: Sequence[str], status: int, found: bytes) -> None:
        if status != 200:
            self.complaints.append(f"{status}: {found.decode()[:200]}")
            return
        rows = json.loads(found)["translations"]
        told = [row["hypotheses"][0]["text"] for row in rows]
        self.different += sum(one != self.expected[text] for one, text in zip(told, asked, strict=True))
        if len(told) != len(asked):
            self.complaints.append(f"{len(told)} translations of {len(asked)} sentences")

    async def client(self, number: int, requests: int, size: int = 1) -> list[float]:
        """The seconds of each request."""
        seconds = []
        async with Client(self.server.port) as client:
            for turn in range(requests):
                first = (number * 37 + turn * size) % len(self.sentences)
                asked = [self.sentences[(first + n) % len(self.sentences)] for n in range(size)]
                status, found, took = await client.ask(body(asked))
                self.check(asked, status, found)
                seconds.append(took)
        return seconds

    async def clients(self, count: int, requests: int, size: int = 1) -> list[float]:
        parts = await asyncio.gather(*(self.client(number, requests, size) for number in range(count)))
        return [one for part in parts for one in part]


def quantiles(seconds: Sequence[float]) -> str:
    ordered = sorted(seconds)
    told = (f"p{share} {1000 * ordered[int(len(ordered) * share / 100)]:.0f} ms" for share in (50, 95, 99))
    return ", ".join(told)


async def latency(load: Load) -> None:
    await load.clients(8, 10)
    for count in (8, 1):
        before, own = load.server.seconds(), time.process_time()
        seconds = await load.clients(count, 60)
        used, own = (load.server.seconds() - before) / len(seconds), (time.process_time() - own) / len(seconds)
        print(
            f"latency: {counted(count, 'client')}, one sentence: {quantiles(seconds)}; {1000 * used:.1f} ms of "
            f"processor, and {1000 * own:.2f} of the clients'"
        )


def throughput(load: Load, translate: Callable[[Sequence[str]], object], rounds: int = 3) -> None:
    sentences = (load.sentences * 8)[:2048]
    for _ in range(rounds):
        started, used = time.monotonic(), time.process_time()
        translate(sentences)
        alone = (time.monotonic() - started) / len(sentences), (time.process_time() - used) / len(sentences)
        for size in (1, 8):
            started, used, own = time.monotonic(), load.server.seconds(), time.process_time()
            seconds = asyncio.run(load.clients(64, 2048 // 64 // size, size))
            own = time.process_time() - own
            count = len(seconds) * size
            wall, cpu = (time.monotonic() - started) / count, (load.server.seconds() - used) / count
            print(
                f"throughput: 64 clients, {size} a request: {1 / wall:.0f} sentences/s, {1000 * cpu:.2f} ms of "
                f"processor each, and {1000 * own / count:.2f} of the clients'; "
                f"file translator: {1 / alone[0]:.0f}/s, {1000 * alone[1]:.2f} ms. "
                f"Ratio {alone[0] / wall:.2f} by the clock, {alone[1] / cpu:.2f} by processor time"
            )


async def crowd(load: Load) -> None:
    seconds = await load.clients(500, 3)
    print(f"crowd: 500 clients at once, 3 requests each: {len(seconds)} answers, {quantiles(seconds)}")


async def storm(load: Load, picture: bytes) -> None:
    alone = await load.clients(8, 30)
    ended = asyncio.Event()
    refused: dict[int, int] = {}

    async def again(work: Callable[[], Awaitable[None]]) -> None:
        while not ended.is_set():
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await work()

    async def bad_image() -> None:
        async with Client(load.server.port) as client:
            for data in (picture[: len(picture) // 2], b"no image", b"", b"GIF89a" + bytes(100)):
                status, _, _ = await client.ask(body(["A dog."], data))
                refused[status] = refused.get(status, 0) + 1

    async def long_sentence() -> None:
        async with Client(load.server.port) as client:
            status, _, _ = await client.ask(body([LONG]))
            refused[status] = refused.get(status, 0) + 1

    async def drop() -> None:
        async with Client(load.server.port) as client:
            client.send(body(["A dog."] * 8))
            await asyncio.sleep(0.01)

    others = [asyncio.create_task(again(work)) for work in [bad_image] * 4 + [long_sentence] * 2 + [drop] * 8]
    beside = await load.clients(8, 30)
    ended.set()
    await asyncio.gather(*others)
    print(
        f"storm: 8 good clients alone: {quantiles(alone)}; beside others: {quantiles(beside)}; those got {refused}"
    )


async def memory(load: Load, requests: int = 20_000, parts: int = 10) -> None:
    sizes = []
    for part in range(parts):
        await load.clients(64, requests // parts // 64 + 1)
        sizes.append(load.server.megabytes())
        print(f"memory: {(part + 1) * requests // parts:,} requests: {sizes[-1]:.0f} MB", flush=True)
    if sizes[-1] > (1 + GROWTH) * sizes[0]:
        load.complaints.append(f"memory grew from {sizes[0]:.0f} to {sizes[-1]:.0f} MB")


@click.command()
@click.argument("model")
@click.argument("data", type=click.Path(path_type=Path))
@click.argument("phases", nargs=-1)
@click.option("--threads", default=2, help="Threads of the server and of the file translator.")
def main(model: str, data: Path, phases: tuple[str, ...], threads: int) -> None:
    """Loads ``mmt serve MODEL`` with the test sentences of DATA."""
    rows = read_split(data, first_test_split(data))
    sentences = list(dict.fromkeys(rows["source"]))
    translator = open_translator(model, threads=threads)
    expected = translator.translate(sentences)
    picture = (data / "images" / rows["image"][0]).read_bytes()
    print(f"load of the machine before: {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores; {threads} threads")
    with served(model, threads) as server:
        load = Load(server, sentences, expected)
        works: dict[str, Callable[[], object]] = {
            "latency": lambda: asyncio.run(latency(load)),
            "throughput": lambda: throughput(load, translator.translate),
            "crowd": lambda: asyncio.run(crowd(load)),
            "storm": lambda: asyncio.run(storm(load, picture)),
            "memory": lambda: asyncio.run(memory(load)),
        }
        for name in phases or works:
            works[name]()
            sys.stdout.flush()
    print(f"load of the machine after: {os.getloadavg()[0]:.1f}; translations unlike the file translator's: "
          f"{load.different}")  # fmt: skip
    if load.complaints:
        raise SystemExit(f"{len(load.complaints)} complaints, such as {load.complaints[0]}")


if __name__ == "__main__":
    main()
