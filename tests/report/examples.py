"""Evidence with every section, for tests of the page."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from mmt.evidence.findings import (
    Awareness,
    ChoiceRow,
    Comparison,
    ControlRow,
    Effects,
    Evidence,
    GalleryItem,
    Gates,
    Region,
    SenseRow,
    SentenceResult,
    SystemResult,
    Verdict,
)
from mmt.metrics.significance import Spread

HOSTILE = (
    "<script>document.title='hacked'</script>\"'><img src=x onerror=alert(1)></style>{{ 7*7 }}&amp;"
    "\u202ee\u0301\0$"
)


def regions(side: int = 2, *, left: float = 0.0, right: float = 1.0) -> list[Region]:
    x, y = np.linspace(left, right, side + 1), np.linspace(0, 1, side + 1)
    return [Region(x[c], y[r], x[c + 1], y[r + 1]) for r in range(side) for c in range(side)]


def make_item(**changes: Any) -> GalleryItem:
    item = GalleryItem(
        "test-7", "A [MASK_C] crane .", "Ein roter Kran .", "crane.jpg", "bird.jpg", "Ein roter Kran .",
        "Ein blauer Kranich .", "Ein Kran .", {"right": 100.0, "wrong": 38.5, "blank": 60.0, "against": 60.0},
        40.0, 0.25, "Ein Kran .", "occlusion",
        ["Ein", "roter", "Kran", ".", "</s>"],
        [[0.9, 0.0, 0.0, 0.0], [0.1, 0.4, 0.0, -0.3], [0.0, 0.1, 0.8, 0.0], [0.0] * 4, [2.0] * 4],
        regions(), [("\u2581A", 0.5), ("</s>", 0.25)], "A red crane .",
    )  # fmt: skip
    return replace(item, **changes)


def make_evidence() -> Evidence:
    """One with every section."""
    wrong = ControlRow("model", "wrong", {"BLEU": Spread(30.5, 0.75)}, {"BLEU": 0.0123})
    return Evidence(
        Verdict("yes", "Yes: the model uses the image (p < 0.001)."),
        Comparison("Better than text-only?", "not shown", "Not shown: the difference may be chance (p = 0.21)."),
        {"folder": "gated", "parameters": 1234567, "decoding": {"beam_size": 5}},
        {"name": "tiny", "languages": "en-de", "sentences_with_image": 100, "sentences_without_image": 20},
        {"folder": "none"},
        [
            ControlRow("model", "right", {"BLEU": Spread(40.75)}),
            wrong,
            replace(wrong, control="blank", scores={"BLEU": Spread(31.0)}),
            replace(wrong, system="against", control="text", scores={"BLEU": Spread(29.0)}),
        ],
        Awareness(0.21, 0.5, 0.0004, [0.5, -0.25, 0.0, 0.3], 0.1, None, 0.31, 0.25),
        [ChoiceRow("CoMMuTE", "model", 300, 2, 0.57, (0.51, 0.63), 0.28, 150, 0.5, 0.04)],
        [SenseRow("model", "right", 50, 0.7, 0.65, {"usual": (0.9, 40), "rare": (0.2, 10)})],
        Gates(0.23, 0.99, 1.0, 0.18, [0.5, 0.5, *[0.0] * 8], [("\u2581crane", 0.5, 12)]),
        Effects(31, 7, 62, 3),
        [make_item(), make_item(id="test-8", words=[], importance=[], regions=[], gain=-12.0)],
        [("masked words", "the data is not masked")],
        {"BLEU": "nrefs:1|tok:13a"},
        {"draws": 5, "seed": 12345, "versions": {"mmt": "0.1.0"}},
        systems=[
            SystemResult("model", {"folder": "gated"}, True, True, Verdict("yes", "Yes: it does.")),
            SystemResult("against", {"folder": "none"}, False, True, Verdict("no", "No: it reads no image.")),
        ],
        sentences=[
            SentenceResult(
                f"test-{number}", "A [MASK_C] crane .", "Ein roter Kran .", "crane.jpg", ["bird.jpg", "bird.jpg"],
                {
                    "model": {
                        "right": [f"Ein Kran {number} ."], "wrong": ["Ein Kranich ."] * 2, "blank": ["Ein Kran ."],
                    },
                    "against": {"right": ["Ein Kran ."]},
                },
                {
                    "model": {"right": [50.0 + number], "wrong": [30.0], "blank": [60.0]},
                    "against": {"right": [40.0]},
                },
            )
            for number in range(25)
        ],
    )  # fmt: skip


def make_pictures() -> dict[str, Image.Image]:
    return {"crane.jpg": Image.new("RGB", (640, 480), "red"), "bird.jpg": Image.new("RGB", (20, 40), "blue")}


def poisoned(value: Any, poison: str) -> Any:
    """The same evidence with ``poison`` at the end of every string in it, names of entries included."""
    if isinstance(value, str):
        return value + poison
    if dataclasses.is_dataclass(value):
        fields = {name: poisoned(inner, poison) for name, inner in vars(value).items()}
        return dataclasses.replace(value, **fields)  # type: ignore[type-var]
    if isinstance(value, dict):
        return {poisoned(name, poison): poisoned(inner, poison) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(poisoned(inner, poison) for inner in value)
    return value
