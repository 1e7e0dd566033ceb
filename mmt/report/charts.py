"""The plots of a report page, as SVG that takes its colours and its font from the page around it.

Shapes, hatching and a number beside each dot say what colours say, so that the plots can be read in black and
white. No word in a plot comes from data, so nothing in it has to be escaped.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmt.evidence.findings import ControlRow
from mmt.io.figures import count_on_y, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Stand-ins, which no plot would have by chance; the page's own colours take their place.
_PAGE_COLOURS = {"#010203": "currentColor", "#010204": "var(--accent)", "#010205": "var(--warn)"}
_INK, _ACCENT, _WARN = _PAGE_COLOURS

_WIDTH = 340  # CSS pixels: a phone's width, so that letters keep their size
_FONT_SIZE = 12
_MARKERS = {"right": "o", "wrong": "X", "blank": "s", "text": "D"}


def control_dots(rows: Sequence[ControlRow], names: Sequence[str], score: str, decimals: int) -> str:
    """One dot a row, with its number; a bar of one standard deviation over the draws of wrong images.

    Args:
        names: of the rows; no user's text, as it is not escaped.
    """
    finite = [score in row.scores and bool(np.isfinite(row.scores[score].mean)) for row in rows]
    names = [name for name, shown in zip(names, finite, strict=True) if shown]
    shown = [row for row, shown in zip(rows, finite, strict=True) if shown]

    def draw(axes: Axes) -> None:
        for height, row in enumerate(reversed(shown)):
            spread = row.scores[score]
            colour = _ACCENT if (row.system, row.control) == ("model", "right") else _INK
            axes.errorbar(
                spread.mean, height, xerr=spread.std or None, fmt=_MARKERS.get(row.control, "o"), color=colour,
                markersize=8, capsize=4, markerfacecolor=colour if row.system == "model" else "none",
            )  # fmt: skip
            axes.annotate(
                f"{spread.mean:.{decimals}f}".replace("-", "−"), (spread.mean, height), (0, 8), ha="center",
                textcoords="offset points", color=colour,
            )  # fmt: skip
        axes.set_yticks(range(len(shown)), names[::-1])
        axes.set_ylim(-0.5, len(shown) - 0.2)
        axes.margins(x=0.18)
        axes.locator_params(axis="x", nbins=4)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="y", linewidth=0.5, alpha=0.35, color=_INK)

    return _svg(draw, 40 + 32 * len(shown), score)


def awareness_histogram(per_sentence: Sequence[float]) -> str:
    """How many sentences have which awareness, those of 0 left out; a line at zero, and hatched bars below it."""
    values = np.array([value for value in per_sentence if np.isfinite(value) and value])

    # Bins of one width with an edge at zero, so that no bar holds both helped and harmed sentences.
    step = max(float(np.ptp([*values, 0.0])), 1e-9) / 30
    edges = np.arange(np.floor(values.min(initial=0) / step), np.ceil(values.max(initial=0) / step) + 2) * step
    edges[np.isclose(edges, 0)] = 0.0

    def draw(axes: Axes) -> None:
        for chosen, colour, hatch in ((values[values < 0], _WARN, "////"), (values[values > 0], _ACCENT, None)):
            axes.hist(
                chosen, edges.tolist(), edgecolor=colour, linewidth=0.8, hatch=hatch,
                facecolor="none" if hatch else colour,
            )  # fmt: skip
        axes.axvline(0, color=_INK, linewidth=1.2)
        axes.set_xlabel("awareness of the sentence")
        axes.set_ylabel("sentences")
        axes.locator_params(axis="x", nbins=5)
        count_on_y(axes, 4)

    return _svg(draw, 190, "awareness")


def gate_histogram(shares: Sequence[float]) -> str:
    """Shares of sentences by their mean gate, in equal bins from 0 to 1."""

    def draw(axes: Axes) -> None:
        width = 1 / len(shares)
        axes.bar(
            np.arange(len(shares)) * width, [100 * share for share in shares], width * 0.9, align="edge",
            color=_ACCENT,
        )  # fmt: skip
        axes.set_xlim(0, 1)
        axes.set_xlabel("mean gate of the sentence")
        axes.set_ylabel("% of sentences")
        axes.locator_params(axis="y", nbins=4)

    return _svg(draw, 190, "gates")


def _svg(draw: Callable[[Axes], None], height: int, name: str) -> str:
    """The same bytes for the same numbers: no date, and ids made of ``name``, the plot's own in its page."""
    style: Any = {
        "svg.fonttype": "none",  # text stays text
        "svg.hashsalt": f"mmt {name}",
        "font.size": _FONT_SIZE,
        "font.family": "DejaVu Sans",  # comes with matplotlib; the page's font is narrower, so it fits
        "axes.spines.top": False,
        "axes.spines.right": False,
        "hatch.linewidth": 0.8,
        **dict.fromkeys(
            ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "hatch.color"), _INK
        ),
    }
    with new_figure(_WIDTH / 72, height / 72, style) as (figure, axes):
        figure.patch.set_visible(False)
        axes.patch.set_visible(False)
        draw(axes)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)  # in a page it would hold for everything
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # nothing refers to these, and other plots have the same ones
    svg = re.sub(r'(?<=<svg)([^>]*?) width="[^"]*"([^>]*?) height="[^"]*"', r' aria-hidden="true"\1\2', svg)
    for stand_in, colour in _PAGE_COLOURS.items():
        svg = svg.replace(stand_in, colour)
    return svg
