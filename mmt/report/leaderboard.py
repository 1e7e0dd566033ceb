"""The leaderboard: systems x datasets as JSON, Markdown, one self-contained page, and a table for the terminal."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from mmt import __version__
from mmt.evidence.leaderboard import Board, Cell, Ranked
from mmt.io.atomic import write_together
from mmt.io.tables import print_table
from mmt.metrics.significance import Spread
from mmt.report.page import environment, visible

NAME = "leaderboard"
_CONTROLS = {"right": "right image", "wrong": "wrong image", "blank": "no image"}
_NONE = "\u2013"


def write_leaderboard(board: Board, folder: Path) -> None:
    """Writes ``leaderboard.json``, ``.md`` and ``.html``, which links the evidence in ``evidence/DATASET``.

    Raises:
        MMTError: the folder cannot be written.
    """
    write_together(
        {
            folder / f"{NAME}.json": to_json(board).encode("utf-8", "backslashreplace"),
            folder / f"{NAME}.md": to_markdown(board).encode("utf-8", "replace"),
            folder / f"{NAME}.html": render(board).encode("utf-8", "replace"),
        }
    )


def to_json(board: Board) -> str:
    """All of it, with the ranking and the mean leading score of each system."""
    told = asdict(board)
    told["ranking"] = [{"system": name, "mean": board.mean(name)} for name in board.ranking]
    return json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False, default=str) + "\n"


def render(board: Board) -> str:
    """The page."""
    page: str = environment().get_template("leaderboard.html").render(
        board=board,
        version=__version__,
        spread=_spread,
        control_names=_CONTROLS,
        evidence_of=lambda name, one: f"evidence/{name}/evidence.html" if _evaluated(one) else "",
        datasets=list(board.datasets.items()),
        several={name: len(specs) for name, specs in board.systems.items() if len(specs) > 1},
        over=_over,
        best=_best(board) if len(board.systems) > 1 else {},
        signatures={
            label: text
            for one in board.datasets.values()
            for label, text in one.signatures.items()
            if label in (one.lead, *one.others)
        },
    )  # fmt: skip
    return page


def to_markdown(board: Board) -> str:
    """The table of all, and one of each dataset."""
    columns, rows = overview(board)
    parts = ["# Leaderboard", _markdown(columns, [[cell.replace("\n", "<br>") for cell in row] for row in rows])]
    for name, one in board.datasets.items():
        columns, rows = details(board, one)
        parts += [f"## {_escaped(name)}", _markdown(columns, rows)]
        if _evaluated(one):
            parts.append(f"[Evidence](evidence/{name}/evidence.html)")
    parts.append("\n".join(f"- {_escaped(line)}" for line in notes(board)))
    return "\n\n".join(parts) + "\n"


def print_leaderboard(board: Board) -> None:
    """Prints the table of all, in lines no wider than the terminal."""
    columns, rows = overview(board)
    print_table(columns, rows, lines=len(board.datasets) > 1 or len(rows) > 1)


def overview(board: Board) -> tuple[list[str], list[list[str]]]:
    """Systems x datasets, best first: the leading score with each kind of image, and whether the image is used."""
    columns = ["system", *(f"{visible(name)}: {one.lead}" for name, one in board.datasets.items())]
    rows = [
        [system, *(_summary(one.cells[system], one.lead) for one in board.datasets.values())]
        for system in board.ranking
    ]
    return columns, rows


def details(board: Board, one: Ranked) -> tuple[list[str], list[list[str]]]:
    """One dataset's table, in the order of the ranking."""
    columns = ["system", *(f"{one.lead}, {words}" for words in _CONTROLS.values()), "uses the image?", *one.others]
    rows = []
    for system in board.ranking:
        cell = one.cells[system]
        if cell.failure:
            reason = f"no result: {visible(cell.failure)}"
            rows.append([system, *[_NONE] * len(_CONTROLS), reason, *[_NONE] * len(one.others)])
            continue
        assert cell.verdict is not None  # noqa: S101  # a cell has a failure or a result
        scores = [_spread(cell.score(one.lead, control)) for control in _CONTROLS]
        rows.append([system, *scores, cell.verdict.answer, *(_spread(cell.score(label)) for label in one.others)])
    return columns, rows


def notes(board: Board) -> list[str]:
    """What a reader must know of the numbers."""
    draws = board.settings.get("draws")
    told = [
        "Order: by the number of datasets with a result, then by the mean leading score with the right image.",
        f"Wrong images: {draws} draws; \u00b1 is the standard deviation over draws.",
    ]
    several = {name: len(specs) for name, specs in board.systems.items() if len(specs) > 1}
    if several:
        names = ", ".join(f"{name} ({number})" for name, number in several.items())
        told.append(
            f"Several seeds: {names}. Their scores are means \u00b1 the standard deviation over seeds; the use of "
            "the image is decided by each sentence's mean over seeds."
        )
    if failures := board.failures:
        told += [f"No result: {system} on {name}: {visible(reason)}" for system, name, reason in failures]
    return told


def _summary(cell: Cell, lead: str) -> str:
    """A cell in a few lines."""
    if cell.failure:
        return "no result"
    assert cell.verdict is not None  # noqa: S101  # a cell has a failure or a result
    lines = [_spread(cell.score(lead))]
    for control, words in (("wrong", "wrong"), ("blank", "none")):
        if (spread := cell.score(lead, control)) is not None:
            lines.append(f"{words} {_spread(spread)}")
    return "\n".join([*lines, f"uses: {cell.verdict.answer}" if cell.uses_images else "text-only"])


def _spread(spread: Spread | None) -> str:
    return _NONE if spread is None else spread.text().replace("-", "\u2212")


def _over(cell: Cell) -> str:
    return f"{cell.seeds} seeds" if cell.seeds > 1 else ""


def _best(board: Board) -> dict[str, str]:
    """The system with the highest leading score on each dataset."""
    best: dict[str, str] = {}
    for name, one in board.datasets.items():
        found = {system: spread.mean for system in board.ranking if (spread := one.cells[system].score(one.lead))}
        if found:
            best[name] = max(found, key=lambda system: found[system])
    return best


def _evaluated(one: Ranked) -> bool:
    return any(cell.verdict is not None for cell in one.cells.values())


def _markdown(columns: list[str], rows: list[list[str]]) -> str:
    def line(cells: list[str]) -> str:
        return f"| {' | '.join(_escaped(cell) for cell in cells)} |"

    return "\n".join([line(columns), f"|{' --- |' * len(columns)}", *map(line, rows)])


def _escaped(text: str) -> str:
    kept = text.replace("<br>", "\0").replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
    return " ".join(kept.split()).replace("\0", "<br>")
