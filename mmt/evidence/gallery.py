"""Examples for the page: the sentences that their own image helped or hurt most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmt.evidence.controls import Outputs
from mmt.evidence.findings import FEWEST_CHRF, Awareness, Effects, GalleryItem, Region
from mmt.evidence.inside import SentenceGate, image_importance
from mmt.evidence.measures import sentence_chrf
from mmt.evidence.sentences import Sentences
from mmt.evidence.systems import progress
from mmt.evidence.words import merge_words
from mmt.features.images import ImageError
from mmt.inference.torch_runtime import Translator


def gallery(
    translator: Translator | None,
    sentences: Sentences,
    outputs: Outputs,
    against: Outputs | None,
    aware: Awareness,
    wrong_images: Sequence[str],
    files: Mapping[str, Path],
    sentence_gates: Sequence[SentenceGate | None],
    size: int,
) -> tuple[Effects, list[GalleryItem]]:
    """The sentences that their own image helped or hurt most: half and half, where there are as many of both.

    Args:
        translator: whose inside the maps show; None for none.
        wrong_images: of the first draw.
        files: of the images that can be drawn, by name.
        sentence_gates: of each sentence, as ``inside.gate_statistics`` gives them; empty for none.
        size: how many examples.
    Returns:
        How many there are of each kind, and the examples: those helped, the greatest gain first, then those hurt.
    """
    hypotheses = {control: draws[0] for control, draws in outputs.hypotheses.items()}
    texts: dict[str, list[str]] = {name: hypotheses[name] for name in ("right", "wrong", "blank")}
    if against is not None:
        texts["against"] = against.hypotheses["right"][0]
    chrf = {name: np.array(sentence_chrf(lines, sentences.references)) for name, lines in texts.items()}
    gains, good = _gains(chrf, with_against=against is not None and not against.uses_images)
    effects, chosen = _choose(gains, good, size)
    items = []
    with progress("gallery", len(chosen)) as advance:
        for row in chosen:
            name = sentences.images[row]
            parts: dict[str, Any] = {}
            if translator is not None:
                parts = _map(translator, sentences.sources[row], texts["right"][row], name, files.get(name))
            if sentence_gates and (gate := sentence_gates[row]) is not None:
                parts["source_gates"] = [
                    (token.piece, token.norm_ratio if token.gate is None else token.gate) for token in gate.tokens
                ]
            items.append(
                GalleryItem(
                    sentences.ids[row],
                    sentences.sources[row],
                    sentences.references[row],
                    name,
                    wrong_images[row],
                    texts["right"][row],
                    texts["wrong"][row],
                    texts["blank"][row],
                    {key: round(float(scores[row]), 2) for key, scores in chrf.items()},
                    float(gains[row]),
                    aware.per_sentence[row],
                    texts["against"][row] if against is not None else None,
                    unmasked=sentences.unmasked[row] if sentences.unmasked is not None else None,
                    **parts,
                )
            )
            advance(1)
    return effects, items


def _gains(chrf: Mapping[str, NDArray[Any]], *, with_against: bool) -> tuple[NDArray[Any], NDArray[Any]]:
    """(N) what the image adds to each sentence's chrF2, and whether some translation is good enough to be shown.

    Compared with a text-only model, too: what that translates as well owes nothing to the image.
    """
    others = [chrf["blank"], *([chrf["against"]] if with_against else [])]
    above, below = chrf["right"] - np.max(others, axis=0), chrf["right"] - np.min(others, axis=0)
    gains: NDArray[Any] = np.round(np.where(above > 0, above, np.where(below < 0, below, 0)), 6)
    return gains, np.max([chrf["right"], *others], axis=0) >= FEWEST_CHRF


def _choose(gains: NDArray[Any], good: NDArray[Any], size: int) -> tuple[Effects, list[int]]:
    """Counts the sentences of each kind, and picks ``size`` examples among the ``good`` ones."""
    helped = [row for row in np.argsort(-gains, kind="stable").tolist() if gains[row] > 0]
    hurt = [row for row in np.argsort(gains, kind="stable").tolist() if gains[row] < 0]
    effects = Effects(len(helped), len(hurt), int((gains == 0).sum()), int(((gains != 0) & ~good).sum()))
    halves = [row for row in helped if good[row]], [row for row in hurt if good[row]]
    num_hurt = min(len(halves[1]), max(size // 2, size - len(halves[0])))
    return effects, halves[0][: size - num_hurt] + halves[1][:num_hurt]


def _map(translator: Translator, source: str, target: str, image: str, file: Path | None) -> dict[str, Any]:
    """The fields of ``GalleryItem`` that hold the map over the image; {} where none can be made."""
    try:
        region = image_importance(translator, source, target, image, file)
    except ImageError:  # its features are in the store, but the file is damaged by now
        return {}
    if region is None:
        return {}
    words, values = merge_words(region.tokens, region.values, "sum")
    return {
        "method": region.method,
        "words": words,
        "importance": np.round(values, 4).tolist(),
        "regions": [Region(*box) for box in region.boxes or []],
    }
