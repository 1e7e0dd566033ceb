"""What goes wrong with text, bytes and JSON on their way, drawn by a seeded generator."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

Rng = np.random.Generator
Some = TypeVar("Some")

_WORDS = (
    "a dog", "ein Kran", "café", "cafe\u0301", "犬が走る", "👩\u200d👩\u200d👧", "🇨🇿", "שלום", "\u202eabc\u202c",
    "\u2066x\u2069",
    "a\u0301\u0316\u0323" * 5, "\u034f", "\ufdfa", "\ufeff", "\ufffe", "\uffff", "\U0010ffff", "\ufffd", "ﬁ",
    "\u1100\u1161", "\u00ad",
    "\u200b", "\x00", "\x01\x1b[31m", "\x7f", "\x80\x9f", "\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c",
    "\x1d", "\x1e", "\r",
    "\u2581", "<s>", "</s>", "<0x0A>", "[MASK_C]", "|||", " ||| 1 ||| ", "\\n", "\\", '"', "'",
    "<script>alert(1)</script>", "{{ 7*7 }}",
    "%s%n", "../..", "&amp;", "$(id)", "-" * 50, "NaN", "null",
)  # fmt: skip
NASTY: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, -(10**30), 0.5, 1e308, float("inf"), float("nan"), "",
    "\0", "x",
    "../../etc/passwd", "/etc/passwd", "\ud800", "é" * 300, "x" * 100_000, [], {}, [[]], {"a": {}}, [None], "1",
    "float16",
)  # fmt: skip


def one(rng: Rng, of: Sequence[Some]) -> Some:
    return of[int(rng.integers(len(of)))]


def text(rng: Rng, *, tabs: bool = True, most: int = 6) -> str:
    """A sentence of anything but a line feed; now and then a very long one."""
    parts = [one(rng, _WORDS) for _ in range(int(rng.integers(0, most + 1)))]
    if rng.random() < 0.02:
        parts.append("".join(chr(c) for c in rng.integers(0x20, 0xD7FF, 30)))
    if rng.random() < 0.003:
        unit = one(rng, ("x", "ab ", "犬", "a\u0301\u0316", "😀", "\u0316\u0301", "a. "))
        parts.append(unit * (1_000_000 // len(unit.encode())))
    found = one(rng, (" ", "")).join(parts).replace("\n", " ")
    return found if tabs else found.replace("\t", " ")


def damaged(rng: Rng, data: bytes) -> bytes:
    """``data`` after an accident: flipped, cut, doubled, overwritten; never equal to ``data``."""
    found = bytearray(data)
    place = int(rng.integers(len(found) + 1))
    length = int(rng.integers(1, 2 + len(found) // int(one(rng, (2, 8, 64)))))
    kind = one(
        rng, ("bits", "bits", "bytes", "cut", "cut", "gone", "doubled", "zeros", "ones", "more", "junk", "moved")
    )
    if kind in ("bits", "bytes") and found:
        for _ in range(int(one(rng, (1, 1, 2, 8)))):
            at = int(rng.integers(len(found)))
            found[at] = found[at] ^ (1 << int(rng.integers(8))) if kind == "bits" else int(rng.integers(256))
    elif kind == "cut":
        found = found[:place]
    elif kind == "gone":
        del found[place : place + length]
    elif kind == "doubled":
        found[place:place] = found[place : place + length]
    elif kind in ("zeros", "ones"):
        size = int(one(rng, (1, 4, 8, length)))
        found[place : place + size] = bytes([0 if kind == "zeros" else 255]) * len(found[place : place + size])
    elif kind == "more":
        found += rng.bytes(length)
    elif kind == "junk":
        found = bytearray(rng.bytes(int(rng.integers(0, 300))))
    elif kind == "moved":
        other = int(rng.integers(len(found) + 1))
        block = found[place : place + length]
        found[other : other + len(block)] = block
    return bytes(found) if found != data else data + b"\0"


def damaged_json(rng: Rng, data: str | bytes) -> bytes:
    """JSON with one value that was never meant, a key more or less, or no JSON at all."""
    if rng.random() < 0.2:
        return damaged(rng, data.encode() if isinstance(data, str) else data)
    if rng.random() < 0.05:
        depth = int(one(rng, (100, 5_000, 100_000)))
        return one(rng, ("[" * depth, '{"a":' * depth, "[" * depth + "]" * depth, "9" * depth, "-", "")).encode()
    root = {"": json.loads(data)}
    spots: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        for key in value if isinstance(value, dict) else range(len(value)):
            spots.append((value, key))
            if isinstance(value[key], dict | list):
                walk(value[key])

    walk(root)
    inside, key = one(rng, spots)
    kind = one(rng, ("value", "value", "value", "gone", "more"))
    if kind == "gone" and inside is not root:
        del inside[key]
    elif kind == "more" and isinstance(inside[key], dict):
        inside[key][one(rng, ("unknown", "__class__", "", "config", "_type"))] = one(rng, NASTY)
    elif kind == "more" and isinstance(inside[key], list):
        inside[key].append(one(rng, NASTY))
    else:
        inside[key] = one(rng, NASTY)
    return json.dumps(root[""]).encode()
