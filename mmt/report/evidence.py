"""The report page: ``Evidence`` as one self-contained HTML file, and as JSON.

The page loads nothing and runs one script, its own, which the browser of sentences needs. Its
Content-Security-Policy allows this one by its hash and nothing else, so that a sentence or a file name that
slipped through the escaping could do no harm.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from mmt import __version__
from mmt.evidence.findings import (
    CHANGED,
    CHRF,
    CONTROLS,
    FEWEST_CHRF,
    SMALLEST_GAIN,
    Comparison,
    ControlRow,
    Evidence,
    Verdict,
)
from mmt.io.atomic import write_together
from mmt.io.tables import print_table
from mmt.io.terminal import console
from mmt.metrics.significance import Spread
from mmt.report import charts
from mmt.report.browser import browser_data, browser_script, overview
from mmt.report.cards import Card, make_card
from mmt.report.hub_card import without_answer
from mmt.report.page import deviation, environment, number, visible

if TYPE_CHECKING:
    from PIL.Image import Image

_METHODS = {
    "occlusion": "the features of each region were removed in turn (Zeiler and Fergus 2014, on features)",
    "patches": "each patch of the image was covered with its mean colour in turn (Zeiler and Fergus 2014)",
    "gradient": "each region's gradient was multiplied with its features (Shrikumar et al. 2016), which estimates "
    "the drop without covering anything",
}
_USES = "Does it use the image?"
_CHANGES = "What does the image change?"
_USE_MEANS = {
    "yes": (
        "With the sentence's own image it does better than with another sentence's, by more than chance explains: "
        "it finds the reference more likely or, if it only translates, its translation is closer to it.",
        "That the translations are better than without images, or that the model looks at the right place.",
    ),
    "yes, and it hurts": (
        "Its translations depend on the image, and the right one makes them worse, by more than chance explains.",
        "That images cannot help with these sentences; only that they do not help this system.",
    ),
    "no": (
        "Its output is the same whichever image it gets: nothing in the image reaches the translation.",
        "That images could not help with these sentences; only that this model makes no use of them.",
    ),
    "not shown": (
        "The sentence's own image helped no more than chance explains.",
        "That the model ignores its images: the effect may be too small for so few sentences, or the text alone "
        "may be clear.",
    ),
    "not judged": (
        "That many translations depend on the image. Read them below, under “All sentences”.",
        "That the changes are for the better, or for the worse: only references or people can tell.",
    ),
}
_TRAINED_ONCE = "Each model was trained once, and another random seed changes the scores, too."
_RUN_ONCE = "Each system was run once; another prompt, or another training, changes the scores, too."
_ONE_SEED = "This is one seed of each system; the leaderboard has the mean over seeds."
_COMPARISON_MEANS = {
    "yes": (
        "With the images the translations of these sentences are better, by more than chance explains.",
        f"That the image is the reason: compare the scores with wrong images and with none. {_TRAINED_ONCE}",
    ),
    "no": (
        f"The images gain nothing worth having here: less than {SMALLEST_GAIN:g} point of chrF2, if anything.",
        "That images cannot help with other sentences, such as ambiguous ones.",
    ),
    "worse": (
        "With the images the translations of these sentences are worse, by more than chance explains.",
        f"That images do harm in general. {_TRAINED_ONCE}",
    ),
    "not shown": (
        "These sentences cannot decide: the difference is too small for their number.",
        "That the two models are equally good.",
    ),
    "not compared": (
        "A model can use the image and still be no better than one without images. Only a comparison tells.",
        "",
    ),
}
# Of any pair but a model with images against a text-only one: the images need not be what differs.
_OTHERWISE_MEANS = _COMPARISON_MEANS | {
    "yes": (
        "This model translates these sentences better than the other one, by more than chance explains.",
        f"That the images are the reason. {_TRAINED_ONCE}",
    ),
    "no": (
        f"This model gains less than {SMALLEST_GAIN:g} point of chrF2 over the other one, if anything.",
        f"That the two models translate other sentences alike. {_TRAINED_ONCE}",
    ),
    "worse": (
        "This model translates these sentences worse than the other one, by more than chance explains.",
        f"That the images are the reason. {_TRAINED_ONCE}",
    ),
}

_SCORES = {
    "BLEU": "Word sequences shared with the reference, 0 to 100. All words count alike, so the few words that an "
    "image decides hardly change it.",
    "chrF2": "Character sequences shared with the reference, 0 to 100. Like BLEU, but a partly right word counts, "
    "too.",
    "right word": "Share of the ambiguous words that are translated as the image requires.",
    "restricted": "Share of the masked words that are translated in exactly the reference's form.",
    "relaxed": "Share of the masked words that are translated in any inflected form.",
    "COMET": "A neural network's estimate of quality from source, translation and reference, times 100.",
    "CometKiwi": "A neural network's estimate of quality from source and translation alone, times 100.",
    "TER": "Share of the words to edit until the translation is the reference, in percent; less is better.",
    "changed": "Percent of the translations that differ from the system's own with the right image.",
    "log-probability per token": "How likely the model finds the reference: natural logarithm, mean over tokens "
    "and sentences; closer to 0 is better.",
}

_ON_PAGE_ONLY = ("TER", "changed")  # so that the terminal has room for the others
_RUN = ("draws", "seed", "seeds", "date")  # of the settings, what a reader wants to know first


def write_report(evidence: Evidence, folder: Path, pictures: Mapping[str, Image | Path] | None) -> None:
    """Writes ``folder/evidence.html`` and ``folder/evidence.json``, each beside its place and then renamed.

    Args:
        pictures: of the gallery, or their files, by image name; they go into the page with a longer side of 320
            pixels at most. None for data whose photos must not be shared: the maps then stand on empty
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
    return json.dumps(_plain(evidence), indent=1, ensure_ascii=False, allow_nan=False, default=str) + "\n"


def render(evidence: Evidence, pictures: Mapping[str, Image | Path] | None) -> str:
    """The page."""
    source_lang, _, target_lang = str(evidence.data.get("languages", "")).partition("-")
    rows = ordered(evidence.controls)
    scores = list(dict.fromkeys(name for row in rows for name in row.scores))
    decimals = {name: _decimals(rows, name) for name in scores}
    aware, gates = evidence.awareness, evidence.gates
    others = {one.name: one.about for one in evidence.systems[1:]}
    if not others and evidence.against is not None:
        others = {"against": evidence.against}
    text_only = next(
        (one.name for one in evidence.systems[1:] if not one.uses_images), next(iter(others), "against")
    )
    script = browser_script() if evidence.sentences else ""
    page: str = environment().get_template("evidence.html").render(
        evidence=evidence,
        version=__version__,
        verdicts=_verdicts(evidence),
        run={name: evidence.settings[name] for name in _RUN if name in evidence.settings},
        scores=scores,
        decimals=decimals,
        rows=rows,
        first=evidence.controls[0] if evidence.controls else None,
        other=text_only,
        others=others,
        overview=overview(evidence),
        browser=browser_data(evidence, pictures, lambda name: system_name(name, evidence.comparison)),
        script=Markup(script),  # noqa: S704  # our own
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        system=lambda name: system_name(name, evidence.comparison),
        label=lambda row: row_name(row, evidence.comparison),
        control=lambda name: CONTROLS.get(name, name),
        explain=_explain,
        compared=bool(others) and "text-only" in evidence.comparison.question,
        smallest_gain=SMALLEST_GAIN,
        fewest_chrf=FEWEST_CHRF,
        **_charts(evidence, rows, decimals),
        surprise=list(dict.fromkeys(name for row in evidence.senses for name in row.by_surprise)),
        **_examples([make_card(item, pictures, target_lang) for item in evidence.gallery]),
        no_pictures=pictures is None,
        source_lang=source_lang,
        target_lang=target_lang,
        subject=evidence.model.get("folder", evidence.model.get("name", "")),
        described=[("Model" if not overview(evidence) else evidence.systems[0].name, evidence.model)]
        + [(_capital(system_name(name, evidence.comparison)), about) for name, about in others.items()],
        agreement=any(row.agreement for row in rows),
        references=evidence.data.get("references") != "none",
        generated=any(row.method == "generation" for row in evidence.choices),
        by_chrf=aware is not None and aware.figure == CHRF,
        unit="points of chrF2" if aware is not None and aware.figure == CHRF else "nats per token",
        gate_name="Mean gate" if gates and gates.mean is not None else "Image against text",
    )  # fmt: skip
    return page


def _charts(evidence: Evidence, rows: Sequence[ControlRow], decimals: Mapping[str, int]) -> dict[str, Any]:
    """The page's plots, for its template."""
    aware, gates = evidence.awareness, evidence.gates
    names = [_plot_name(row, evidence.comparison) for row in rows]
    plotted = decimals if len(rows) > 1 else {}
    return {
        "dots": {name: charts.control_dots(rows, names, name, places) for name, places in plotted.items()},
        "histogram": charts.awareness_histogram(aware.per_sentence) if aware and any(aware.per_sentence) else "",
        "unmoved": sum(value == 0 for value in aware.per_sentence) if aware else 0,
        "gate_bars": charts.gate_histogram(gates.histogram) if gates and gates.histogram else "",
    }


def _examples(cards: Sequence[Card]) -> dict[str, Any]:
    """The gallery, for the page's template."""
    return {
        "groups": [
            (name, [(number, card) for number, card in enumerate(cards, 1) if (card.item.gain > 0) == helped])
            for name, helped in (("helped", True), ("hurt", False))
        ],
        "most_words": max((sum(bool(word.cells) for word in card.words) for card in cards), default=0),
        "methods": [_METHODS.get(name, name) for name in dict.fromkeys(c.item.method for c in cards if c.mapped)],
        "any_margin": any(word.margin for card in cards for word in card.words),
    }


def ordered(rows: Sequence[ControlRow]) -> list[ControlRow]:
    """The rows in the order of reading: each system with the right images, then the controls."""
    return sorted(rows, key=lambda row: row.control not in ("right", "text"))


def system_name(system: str, comparison: Comparison) -> str:
    """How a system is called: by its name, or what it is to --model and --against."""
    if system == "model":
        return "this model"
    if system != "against":
        return system
    return "text-only model" if "text-only" in comparison.question else "other model"


def row_name(row: ControlRow, comparison: Comparison) -> str:
    """A row of the controls in words, such as "right image" or "text-only model"."""
    control = CONTROLS.get(row.control, row.control)
    if row.system == "model":
        return control
    system = system_name(row.system, comparison)
    return system if row.control == "text" else f"{system}, {control}"


def _capital(name: str) -> str:
    """A name of ours as a heading; a user's name is as it is."""
    return name.capitalize() if name in ("text-only model", "other model") else name


def _plot_name(row: ControlRow, comparison: Comparison) -> str:
    """Only names that nobody can write a tag or a formula in, as nothing in a plot is escaped."""
    name = row_name(row, comparison)
    return name if row.control in CONTROLS and re.fullmatch(r"[\w., -]+", name, re.ASCII) else "other"


def _verdicts(evidence: Evidence) -> list[dict[str, str]]:
    """Both verdicts in the order of the page: the comparison leads, if there is one."""

    def in_words(
        question: str, verdict: Verdict | Comparison, meanings: Mapping[str, tuple[str, str]]
    ) -> dict[str, str]:
        means, means_not = meanings.get(verdict.answer, ("", ""))
        sentence = _unbroken(without_answer(verdict.sentence, verdict.answer))
        texts = {"question": question, "answer": verdict.answer, "shown": verdict.answer, "sentence": sentence}
        return texts | {"means": means, "means_not": means_not}

    comparison = _OTHERWISE_MEANS
    if evidence.awareness is not None and "text-only" in evidence.comparison.question:
        comparison = _COMPARISON_MEANS
    once = _once(evidence)
    if evidence.verdict.answer == "not judged":
        told = in_words(_CHANGES, evidence.verdict, _USE_MEANS) | {"shown": _changed(evidence)}
        return [told, in_words(evidence.comparison.question, evidence.comparison, comparison)]
    comparison = {answer: (one, other.replace(_TRAINED_ONCE, once)) for answer, (one, other) in comparison.items()}
    verdicts = [
        in_words(evidence.comparison.question, evidence.comparison, comparison),
        in_words(_USES, evidence.verdict, _USE_MEANS),
    ]
    return verdicts if evidence.comparison.answer != "not compared" else verdicts[::-1]


def _changed(evidence: Evidence) -> str:
    """How much another sentence's image changes, as an answer."""
    changed = next(row.scores[CHANGED].mean for row in evidence.controls if row.control == "wrong")
    return f"{changed:.0f} % of the translations" if changed else "no translation"


def _once(evidence: Evidence) -> str:
    """How often the systems were trained or run, as far as it is known."""
    if evidence.settings.get("seeds"):
        return _ONE_SEED
    ours = all("seed" in one.about.get("training", {}) for one in evidence.systems)
    return _TRAINED_ONCE if ours else _RUN_ONCE


def print_summary(evidence: Evidence) -> None:
    """Prints both verdicts and the scores, in lines no wider than the terminal."""
    for verdict in _verdicts(evidence):
        print(f"{verdict['question']} {verdict['shown'].capitalize()}")
        print(wrapped(verdict["sentence"], min(console().width, 100)) + "\n", flush=True)
    if verdicts := overview(evidence):
        print_table(["system", "uses the image?", "better than text-only?"], [list(one[:3]) for one in verdicts])
        print(flush=True)
    rows = ordered(evidence.controls)
    scores = [name for name in dict.fromkeys(n for row in rows for n in row.scores) if name not in _ON_PAGE_ONLY]
    scores = scores or list(dict.fromkeys(name for row in rows for name in row.scores))
    cells = [
        [row_name(row, evidence.comparison), *(_spread_text(row, name, _decimals(rows, name)) for name in scores)]
        for row in rows
    ]
    if rows:
        print_table(["system", *scores], cells)


def wrapped(text: str, width: int = 80) -> str:
    """Text for a terminal in lines of at most ``width`` columns, indented by two."""
    console = Console(width=width, color_system=None)
    with console.capture() as lines:
        console.print(Padding(Text(visible(text).replace("\u00a0", " ")), (0, 0, 0, 2)))
    return "\n".join(line.rstrip() for line in lines.get().splitlines())


def _spread_text(row: ControlRow, score: str, decimals: int) -> str:
    if score not in row.scores:
        return "–"
    spread = row.scores[score]
    return number(spread.mean, decimals) + deviation(spread.std, decimals).replace("\u00a0", "")


def _explain(score: str) -> str:
    """What a score of the controls is, in a line."""
    known = (score.rpartition(", ")[2], score.split(" ")[0])  # "colour, relaxed"; "COMET wmt22-comet-da"
    return next((_SCORES[name] for name in known if name in _SCORES), "")


def _unbroken(sentence: str) -> str:
    """Without line breaks inside its numbers."""
    return re.sub(r"(?<=\d) (?=%)|(?<=\bp) (?=[=<])|(?<=\bp [=<]) ", "\u00a0", sentence)


def _decimals(rows: Sequence[ControlRow], score: str) -> int:
    """How many mean something: one of a score from 0 to 100, enough of a log-probability to tell rows apart."""
    means = [
        row.scores[score].mean for row in rows if score in row.scores and math.isfinite(row.scores[score].mean)
    ]
    if not any(mean < 0 for mean in means):
        return 1
    apart = max(means) - min(means)
    return min(max(1 - math.floor(math.log10(apart)), 2), 4) if apart else 2


def _plain(value: Any) -> Any:
    """What JSON can hold: tables, lists and finite numbers."""
    if isinstance(value, Spread):
        return {"mean": _plain(value.mean), "std": _plain(value.std), "draws": max(len(value.values), 1)}
    if is_dataclass(value):
        value = vars(value)
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
