"""What the page shows of translations: changed words, n-best lists, and the map over the picture."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jinja2 import Environment
from markupsafe import Markup
from PIL import Image, ImageOps

from mmt.evidence.findings import GalleryItem, Region
from mmt.evidence.words import merge_words
from mmt.report import page
from mmt.report.cards import Word, differing_words, make_card
from mmt.report.page import Picture, visible
from mmt.serve.schema import SentenceAnswer, TranslateAnswer

_SIDE = 420  # pixels of the picture beside a translation
_NAME = "picture"


@dataclass(frozen=True)
class Row:
    """A translation with one image or none. ``others``: the rest of the n-best list, and their scores."""

    kind: str
    title: str
    words: list[Word]
    score: float | None
    others: list[tuple[str, float]] = field(default_factory=list)
    same: bool = False


@dataclass(frozen=True)
class Result:
    """What one model makes of a sentence; the first of the ``rows`` is that with the image, if there is one."""

    model: str
    source_lang: str
    target_lang: str
    rows: list[Row] = field(default_factory=list)
    picture: Picture | None = None
    notes: list[str] = field(default_factory=list)
    error: str = ""

    @property
    def mapped(self) -> bool:
        return bool(self.rows) and any(word.cells for word in self.rows[0].words)


def environment() -> Environment:
    """Of the page's parts: it escapes all values, also for Gradio, which reads ``${}`` and ``{{}}`` in them."""
    made = page.environment("mmt.serve")
    made.finalize = lambda value: _inert(value) if type(value) is str else value
    return made


def _inert(text: str) -> Markup:
    escaped = str(Markup.escape(visible(text)))
    return Markup(escaped.translate({ord("$"): "&#36;", ord("{"): "&#123;", ord("}"): "&#125;"}))  # noqa: S704


def render(results: Sequence[Result]) -> str:
    return environment().get_template("result.html").render(results=results)


def make_result(answer: TranslateAnswer, titles: Mapping[str, str]) -> Result:
    """The rows of an answer, of which ``titles`` has kind and title of each sentence in order."""
    texts = [one.hypotheses[0].text.split() for one in answer.translations]
    rows = []
    for place, ((kind, title), one) in enumerate(zip(titles.items(), answer.translations, strict=True)):
        other = texts[1 if place == 0 and len(texts) > 1 else 0]
        rows.append(_row(kind, title, one, other, same=place > 0 and texts[place] == texts[0]))
    notes = []
    if answer.translations[0].out_of_domain:
        notes.append("The sentence is unlike the training text: the translation may be unrelated to it.")
    return Result(answer.model, answer.source_lang, answer.target_lang, rows, notes=notes)


def _row(kind: str, title: str, one: SentenceAnswer, other: Sequence[str], *, same: bool) -> Row:
    words = one.hypotheses[0].text.split()
    marks, _ = differing_words(words, other)
    shown = [Word(text, differs) for text, differs in zip(words, marks, strict=True)]
    return Row(kind, title, shown, one.hypotheses[0].score, [(h.text, h.score) for h in one.hypotheses[1:]], same)


def with_map(
    result: Result,
    image: bytes,
    words: Sequence[str],
    importance: Sequence[Sequence[float]],
    regions: Sequence[Region],
) -> Result:
    """``result`` with the map of each content word that depends on the picture.

    Args:
        words, importance: of the translation, and (words, regions), as of ``GalleryItem``.
    """
    with Image.open(io.BytesIO(image)) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGB")
    first = result.rows[0]
    text, other = (" ".join(word.text for word in row.words) for row in (first, result.rows[1]))
    item = GalleryItem(
        "", "", "", _NAME, "", text, other, "", {}, 0.0, 0.0, words=list(words),
        importance=[list(row) for row in importance], regions=list(regions),
    )  # fmt: skip
    card = make_card(item, {_NAME: picture}, result.target_lang)
    if not card.mapped:
        note = "No map: covering one part of the picture lowers no content word's probability by 5 % or more."
        return replace(result, notes=[*result.notes, note])
    return replace(result, rows=[replace(first, words=card.words), *result.rows[1:]], picture=card.right)


def merged(tokens: Sequence[str], values: np.ndarray) -> tuple[list[str], list[list[float]]]:
    """Words of the tokens, and the sums of their values."""
    words, sums = merge_words(tokens, values, "sum")
    return words, np.round(sums, 4).tolist()


def data_url(image: bytes) -> str:
    kind = Image.open(io.BytesIO(image)).get_format_mimetype() or "image/png"
    return f"data:{kind};base64,{base64.b64encode(image).decode()}"


def thumbnail(image: bytes, side: int = 240) -> str:
    """A small JPEG as a data URL."""
    with Image.open(io.BytesIO(image)) as opened:
        small = ImageOps.exif_transpose(opened).convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    small.save(data, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
