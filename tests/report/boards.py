"""A leaderboard with everything that one can have: seeds, failures, text-only systems, choices and COMET."""

from __future__ import annotations

from typing import Any

from mmt.evidence.findings import Verdict
from mmt.evidence.leaderboard import Board, Cell, Ranked
from mmt.metrics.significance import Spread

COMET, CHOICES = "COMET wmt22-comet-da", "CoMMuTE, generation"


def make_cell(bleu: float, *, images: bool = True, seeds: int = 1, choices: float | None = None) -> Cell:
    def spread(mean: float) -> Spread:
        return Spread.of([mean - 0.3, mean + 0.3]) if seeds > 1 else Spread(mean)

    right = {"BLEU": spread(bleu), "chrF2": spread(bleu + 20), COMET: spread(bleu + 40)}
    if choices is not None:
        right[CHOICES] = Spread(choices)
    scores = {"right": right}
    if images:
        scores |= {"wrong": {"BLEU": Spread.of([bleu - 2, bleu - 1])}, "blank": {"BLEU": spread(bleu - 1)}}
    sentence = (
        "With the right image mean sentence chrF2 is +1.4 compared with a wrong one (p < 0.001, 1,000 sentences)."
    )
    answers = (Verdict("yes", f"Yes: the model uses the image. {sentence}"), Verdict("no", "No: text-only."))
    return Cell(images, scores, answers[not images], seeds)


def make_board(mark: str = "") -> Board:
    """
    Args:
        mark: added to every text that users or systems write.
    """
    reason = f"expected features of efficientnet_lite0, the dataset has none. Add them to features.{mark}"
    systems = {
        "gated": [f"runs/gated.seed{n}/model{mark}" for n in (1, 2)],
        "vlm-7b": [f"api:http://localhost:8000/v1#Qwen/Qwen2.5-VL-7B-Instruct{mark}"],
        "text-only": [f"nllb:facebook/nllb-200-distilled-600M{mark}"],
        "new": [f"files:answers/new{mark}"],
    }
    about: dict[str, Any] = {
        "split": f"test_2016_flickr{mark}",
        "languages": "en-de",
        "sentences_with_image": 1000,
        "name": f"multi30k{mark}",
    }
    hurts = Verdict("yes, and it hurts", f"Yes, and it hurts: wrong images do better than the right one.{mark}")
    vlm = make_cell(31.5, choices=71.0)
    flickr = {
        "gated": make_cell(38.2, seeds=2),
        "vlm-7b": Cell(True, vlm.scores, hurts),
        "text-only": make_cell(37.9, images=False, choices=50.0),
        "new": make_cell(22.3),
    }
    coco = {
        "gated": make_cell(29.4, seeds=2),
        "vlm-7b": make_cell(27.7),
        "text-only": make_cell(29.0, images=False),
        "new": Cell(failure=reason),
    }
    signatures = {
        "BLEU": "BLEU|nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.5.1|norm:nfc",
        COMET: "comet",
    }
    return Board(
        systems,
        {
            "flickr2016": Ranked(about, "BLEU", ["chrF2", COMET, CHOICES], flickr, signatures),
            "coco2017": Ranked(about, "BLEU", ["chrF2", COMET], coco, signatures),
        },
        {"draws": 5, "seed": 1, "date": "2026-11-28"},
    )
