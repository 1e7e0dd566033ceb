"""The report page: ``Evidence`` as one HTML file that needs nothing else, and as JSON.

The page runs no script and asks for nothing from anywhere: its Content-Security-Policy forbids both, so that a
sentence or a file name that slipped through the escaping could still do nothing.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmt import __version__, charts
from mmt.evidence import ControlRow, Evidence
from mmt.gallery import make_card
from mmt.lines import write_together
from mmt.text import MASK

if TYPE_CHECKING:
    from jinja2 import Environment
    from PIL.Image import Image

_METHODS = {
    "occlusion": "each region of the image's features was taken away in turn, and the loss in the word's "
    "log-probability noted (Zeiler and Fergus 2014, on features)",
    "patches": "each patch of the image was covered with its mean colour in turn, and the loss in the word's "
    "log-probability noted (Zeiler and Fergus 2014)",
    "gradient": "the word's log-probability was derived by each region's features and multiplied with them "
    "(Shrikumar et al. 2016)",
}
_MEANS = {
    "yes": (
        "On this data the model finds the right words more probable when it sees the sentence's own image than "
        "when it sees another's, by more than chance explains.",
        "That it looks at the right place in the image, or that translations get much better: the scores and the "
        "examples below tell.",
    ),
    "no": (
        "Whichever image it is given, the model says the same: nothing of what it shows reaches the translation.",
        "That images could not help with these sentences; only that this model makes no use of them.",
    ),
    "not shown": (
        "On this data the sentence's own image helped no more than chance explains.",
        "That the model ignores its images: the help may be too small for so few sentences, or the sentences may "
        "leave nothing open that an image could settle.",
    ),
}  # fmt: skip

_SCORES = {
    "BLEU": "Word sequences shared with the reference, 0 to 100. All words count alike, so the few that an image "
    "decides hardly move it.",
    "chrF2": "Letter sequences shared with the reference, 0 to 100. As BLEU, but half of a word counts too.",
    "right word": "Percent of the sentences whose open word is translated as the image wants it.",
    "restricted": "Percent of the masked words that come out in the very form of the reference.",
    "relaxed": "Percent of the masked words that come out in any inflected form.",
    "log-probability a token": "How probable the model finds the reference, as a natural logarithm: nearer 0 is "
    "better.",
}

_RUN = ("draws", "seed", "seeds", "date")  # of the settings, what a reader wants to know first

_MOST = 12  # of a list, such as of missing images; all of them are in the JSON

_SYSTEMS = {"against": "other model"}

# Characters that would take effect unseen: controls, and those that turn the direction of all that follows.
_UNSEEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def write_report(evidence: Evidence, folder: Path, pictures: Mapping[str, Image | Path] | None) -> None:
    """Writes ``folder/evidence.html`` and ``folder/evidence.json``, each beside its place and then renamed.

    Args:
        pictures: of the gallery, or their files, by image name; they go into the page with a longer side of 320
            pixels at most. None for data whose photographs must not be passed on: the maps then stand on empty
            frames.
    Raises:
        MMTError: the folder cannot be written.
    """
    page = render(evidence, pictures)
    # What UTF-8 cannot hold (half a surrogate pair, out of a file name) is a valid escape in JSON.
    write_together(
        {
            folder / "evidence.json": to_json(evidence).encode("utf-8", "backslashreplace"),
            folder / "evidence.html": page.encode("utf-8", "replace"),
        }
    )


def to_json(evidence: Evidence) -> str:
    """The evidence as strict JSON: NaN and infinities, which it does not know, are null."""
    return json.dumps(_finite(asdict(evidence)), indent=1, ensure_ascii=False, allow_nan=False, default=str) + "\n"


def render(evidence: Evidence, pictures: Mapping[str, Image | Path] | None) -> str:
    """The page."""
    cards = [make_card(item, pictures) for item in evidence.gallery]
    scores = list(dict.fromkeys(name for row in evidence.controls for name in row.scores))
    decimals = {name: _decimals(evidence.controls, name) for name in scores}
    first = next((row for row in evidence.controls if row.system == "model"), None)
    aware, gates = evidence.awareness, evidence.gates
    source_lang, _, target_lang = str(evidence.data.get("languages", "")).partition("-")
    page: str = _environment().get_template("evidence.html").render(
        evidence=evidence,
        version=__version__,
        means=_MEANS.get(evidence.verdict.answer, ("", "")),
        verdict=_without_answer(evidence.verdict.sentence, evidence.verdict.answer),
        run={name: evidence.settings[name] for name in _RUN if name in evidence.settings},
        scores=scores,
        decimals=decimals,
        first=first,
        others=[row for row in evidence.controls if row is not first],
        label=_label,
        system=lambda name: _SYSTEMS.get(name, name),
        control=lambda name: charts.CONTROLS.get(name, name),
        explain=_explain,
        dots={name: charts.control_dots(evidence.controls, name, decimals[name]) for name in scores}
        if len(evidence.controls) > 1
        else {},
        histogram=charts.awareness_histogram(aware.per_sentence) if aware and any(aware.per_sentence) else "",
        unmoved=sum(value == 0 for value in aware.per_sentence) if aware else 0,
        gate_bars=charts.gate_histogram(gates.histogram) if gates and gates.histogram else "",
        surprise=list(dict.fromkeys(name for row in evidence.senses for name in row.by_surprise)),
        cards=cards,
        most_words=max((len(card.words) for card in cards), default=0),
        methods=[_METHODS.get(name, name) for name in dict.fromkeys(c.item.method for c in cards if c.mapped)],
        any_margin=any(word.margin for card in cards for word in card.words),
        no_pictures=pictures is None,
        source_lang=source_lang,
        target_lang=target_lang,
        gate_name="Mean gate" if gates and gates.mean is not None else "Image against text",
    )  # fmt: skip
    return page


# --- words and numbers ------------------------------------------------------------------------------------


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("mmt"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., Any]] = {
        "number": _number,
        "signed": _signed,
        "p": _p,
        "piece": _piece,
        "percent": lambda share: _number(None if share is None else 100 * share, 1) + "\u00a0%",
        "facts": _facts,
        "masks": _masks,
        "svg": Markup,  # for the plots, which are made of numbers alone
    }
    environment.filters |= filters
    # Every value that the page prints passes here.
    environment.finalize = lambda value: visible(value) if type(value) is str else value
    return environment


def visible(text: str) -> str:
    """Text with every character that would take effect unseen written out, as ``[U+202E]``."""
    return _UNSEEN.sub(lambda found: f"[U+{ord(found.group()):04X}]", text)


def _masks(source: str) -> list[tuple[str, bool]]:
    """The source in parts, and which of them stand for a masked word."""
    return [(part, bool(MASK.fullmatch(part))) for part in re.split(f"({MASK.pattern})", source)]


def _label(row: ControlRow) -> str:
    said = charts.CONTROLS.get(row.control, row.control)
    return said if row.system == "model" else f"{_SYSTEMS['against']}, {said}"


def _explain(score: str) -> str:
    """What a score of the controls is, in a line."""
    return _SCORES.get(score.rpartition(", ")[2], "")  # "colour, relaxed"


def _without_answer(sentence: str, answer: str) -> str:
    """The verdict's sentence without the answer, which stands above it; no line breaks inside its numbers."""
    start, colon, rest = sentence.partition(":")
    if colon and start.strip().lower() == answer:
        sentence = rest.strip()[:1].upper() + rest.strip()[1:]
    return re.sub(r"(?<=\d) (?=%)|(?<=\bp) (?=[=<])|(?<=\bp [=<]) ", "\u00a0", sentence)


def _decimals(rows: Sequence[ControlRow], score: str) -> int:
    """Log-probabilities have four, percentages and BLEU two."""
    means = [row.scores[score].mean for row in rows if score in row.scores]
    return 4 if any(mean < 0 for mean in means) else 2


def _number(value: float | None, decimals: int = 2) -> str:
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:,.{decimals}f}"
    return text.replace("-", "−") if float(text.replace(",", "")) else text.lstrip("-")


def _signed(value: float | None, decimals: int = 2) -> str:
    text = _number(value, decimals)
    return text if text[0] in "−–" else "+" + text if text.strip("0.,") else "±" + text


def _p(value: float | None, equal: bool = False) -> str:
    if value is None or not math.isfinite(value):
        return "no difference" if equal else "not tested"
    return "p < 0.001" if value < 0.001 else "p = 1" if value > 0.9995 else f"p = {value:.3f}"


def _piece(piece: str) -> str:
    """A piece of a word as a reader knows it; SentencePiece begins words with U+2581."""
    if piece == "</s>":
        return "(end)"
    if MASK.fullmatch(piece):
        return piece
    return piece[1:] or "(space)" if piece.startswith("\u2581") else f"…{piece}"


def _facts(values: Mapping[str, Any] | None, *, nested: bool) -> list[tuple[str, str]]:
    """Name and text of each entry: of those that are lists or tables themselves, or of the others."""
    return [
        (str(name).replace("_", " "), _fact(value, str(name)))
        for name, value in (values or {}).items()
        if value is not None and isinstance(value, Mapping | list | tuple | set) == nested
    ]


def _fact(value: Any, name: str = "") -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{str(key).replace('_', ' ')}: {_fact(inner, str(key))}" for key, inner in value.items())
    if isinstance(value, list | tuple | set):
        if not value:
            return "–"
        shown = [
            *map(_fact, list(value)[:_MOST]),
            *([f"and {len(value) - _MOST:,} more"] if len(value) > _MOST else []),
        ]
        return ", ".join(shown)
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if "checksum" in name and isinstance(value, str):
        return value[:12]  # enough to tell two apart; whole in the JSON
    if isinstance(value, int):
        return str(value) if "seed" in name else f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
