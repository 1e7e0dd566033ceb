"""Figures by matplotlib that go into files: without a display, and with nothing left in HOME."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmt.io import runtime

runtime.start()  # matplotlib reads where its caches go when it is imported

import matplotlib  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.ticker import MaxNLocator  # noqa: E402


@contextmanager
def new_figure(width: float, height: float, style: dict[str, Any] | None = None) -> Iterator[tuple[Figure, Axes]]:
    """A figure with one plot, to be drawn and saved inside.

    Args:
        width, height: in inches.
        style: settings of matplotlib, which hold inside.
    """
    settings: Any = style  # whose names matplotlib's annotation lists
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.add_subplot()


def count_on_y(axes: Axes, ticks: int) -> None:
    """Gives the y axis at most ``ticks`` intervals, at whole numbers."""
    axes.yaxis.set_major_locator(MaxNLocator(ticks, integer=True))
