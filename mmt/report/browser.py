"""The evidence page's browser of sentences, and its table of all systems."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from mmt.evidence.findings import Evidence, SentenceResult
from mmt.report.page import make_picture, visible

if TYPE_CHECKING:
    from PIL.Image import Image

_SCRIPT = Path(__file__).with_name("templates") / "evidence.js"
_SIDE, _QUALITY = 160, 70  # of a picture in the browser
_CONTROLS = ("right", "wrong", "blank")


def browser_script() -> str:
    """The only script that the page's policy allows."""
    return _SCRIPT.read_text(encoding="utf-8")


def overview(evidence: Evidence) -> list[tuple[str, str, str, str]]:
    """Of each system its name, both answers, and the reasons; empty for one model alone or beside ``against``."""
    if {one.name for one in evidence.systems} <= {"model", "against"}:
        return []
    rows = []
    for one in evidence.systems:
        compared = one.comparison
        reasons = [one.verdict.sentence] + ([compared.sentence] if compared is not None else [])
        better = compared.answer.capitalize() if compared is not None else "\u2013"
        rows.append((one.name, one.verdict.answer.capitalize(), better, " ".join(reasons)))
    return rows


def browser_data(
    evidence: Evidence, pictures: Mapping[str, Image | Path] | None, label: Callable[[str], str]
) -> Markup:
    """The sentences as JSON that can stand in a page: see ``templates/evidence.js`` for its keys.

    Args:
        pictures: opened, or their files, by name; None where they must not be shared.
        label: what a system is called on the page.
    """
    names = [one.name for one in evidence.systems]
    shown: dict[str, str] = {}
    for name in dict.fromkeys(one.image for one in evidence.sentences) if pictures else ():
        if (picture := make_picture(name, pictures, _SIDE, _QUALITY)).data:
            shown[visible(name)] = picture.data
    data = {
        "systems": [visible(label(name)) for name in names],
        "rows": [_row(one, names) for one in evidence.sentences],
        "pictures": shown,
    }
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))  # noqa: S704  # no tag can begin in it


def _row(sentence: SentenceResult, names: list[str]) -> dict[str, Any]:
    """t: by system the translation with the right, the first wrong and no image; null where it is as with the
    right one. c: their chrF2, likewise. A text-only system has one of each.
    """
    texts, scores = [], []
    for name in names:
        of_name = {key: draws[0] for key, draws in sentence.translations.get(name, {}).items()}
        chrf = {key: draws[0] for key, draws in sentence.chrf.get(name, {}).items()}
        own = of_name.get("right", "")
        keys = [key for key in _CONTROLS if key in of_name]
        texts.append([visible(own), *(None if of_name[key] == own else visible(of_name[key]) for key in keys[1:])])
        scores.append([round(chrf[key], 1) for key in keys if key in chrf])
    about = {"i": sentence.id, "s": sentence.source, "r": sentence.reference, "p": sentence.image}
    return {key: visible(text) for key, text in about.items()} | {"t": texts, "c": scores}
