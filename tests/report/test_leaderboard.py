"""The leaderboard as a page, Markdown, JSON and a table for the terminal."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mmt.report.leaderboard import print_leaderboard, render, to_json, to_markdown, write_leaderboard
from tests.report.boards import CHOICES, COMET, make_board
from tests.report.examples import HOSTILE


def test_every_number_stands_on_the_page_and_in_the_json(tmp_path: Path) -> None:
    board = make_board()
    write_leaderboard(board, tmp_path)
    page = (tmp_path / "leaderboard.html").read_text()
    text = " ".join(re.sub("<[^>]*>", " ", page.partition("</style>")[2]).split())
    assert text.index("1. gated") < text.index("2. text-only") < text.index("3. vlm-7b") < text.index("4. new")
    assert "38.2 ± 0.4" in text
    assert "wrong image 30.0 ± 0.7" in text
    assert "uses the image: yes, and it hurts" in text
    assert text.count("no result") == 1
    assert "expected features of efficientnet_lite0" in text
    assert "Several seeds: the scores are means" in text
    assert f"{COMET} {CHOICES}" in text
    assert page.count("2 seeds") == 3  # in the table of all, and in those of both datasets
    assert [page.count(f'href="evidence/{name}/evidence.html"') for name in board.datasets] == [1, 1]
    assert page.count('class="best"') == 2
    told = json.loads((tmp_path / "leaderboard.json").read_text())
    cell = told["datasets"]["flickr2016"]["cells"]["vlm-7b"]
    assert cell["scores"]["wrong"]["BLEU"] == {
        "mean": 30.0,
        "std": pytest.approx(0.7071, abs=1e-4),
        "values": [29.5, 30.5],
    }
    assert told["ranking"][0] == {"system": "gated", "mean": pytest.approx((38.2 + 29.4) / 2)}
    assert (tmp_path / "leaderboard.md").read_text() == to_markdown(board)


def test_the_page_runs_and_loads_nothing(tmp_path: Path) -> None:
    page = render(make_board(HOSTILE))
    assert (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'" in page
    )
    assert "<script" not in page
    assert "<img" not in page
    assert "49" not in re.findall(r"\d+", page.partition("<h3>Systems</h3>")[2].partition("<h3>")[0])  # {{ 7*7 }}
    assert not re.search(r'(?:src|href)="(?!data:|evidence/|https://aclanthology)', page)
    assert "\u202e" not in page
    json.loads(to_json(make_board(HOSTILE)))
    markdown = to_markdown(make_board(HOSTILE))
    assert "<script" not in markdown
    assert all(line.count("|") - line.count("\\|") in (0, 4, 8, 9) for line in markdown.splitlines())


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_the_terminal(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    print_leaderboard(make_board())
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    assert any("38.2 ± 0.4" in line for line in lines)
