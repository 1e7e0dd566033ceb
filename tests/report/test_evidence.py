"""Laws of the report page: what it says is in the evidence, and what is in the evidence can do nothing to it."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
import math
import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmt.errors import MMTError
from mmt.evidence.findings import (
    Comparison,
    ControlRow,
    Evidence,
    Verdict,
)
from mmt.metrics.significance import Spread
from mmt.report.cards import make_card
from mmt.report.charts import awareness_histogram
from mmt.report.evidence import print_summary, render, to_json, write_report
from mmt.report.page import visible
from tests.report.examples import HOSTILE, make_evidence, make_item, make_pictures, poisoned, regions


@cache
def page_html() -> str:
    return render(make_evidence(), make_pictures())


@cache
def hostile_html() -> str:
    pictures = {name + HOSTILE: picture for name, picture in make_pictures().items()}
    return render(poisoned(make_evidence(), HOSTILE), pictures)


class Page(HTMLParser):
    """What a browser would find in the page: elements with their attributes, and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._hidden = 0
        self.feed(html)
        self.text = re.sub(r"\s+", " ", self.text.replace("\u2212", "-"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.text += " " if tag in ("dt", "dd", "p", "td", "th", "small") else ""
        self._hidden += tag in ("style", "title", "script")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("style", "title", "script")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.text += data

    def attributes(self, name: str) -> list[str | None]:
        return [attributes[name] for _, attributes in self.elements if name in attributes]


def test_page_asks_for_nothing_and_runs_only_its_own_script() -> None:
    html = page_html()
    page = Page(html)
    assert all(source and source.startswith("data:image/jpeg;base64,") for source in page.attributes("src"))
    for tag, attributes in page.elements:
        assert tag not in ("iframe", "object", "embed", "base", "form")
        assert not [name for name in attributes if name.startswith("on")]
        if tag == "link":
            assert attributes["href"] == "data:,"
        if tag == "a":
            assert (attributes["href"] or "").startswith("https://")
    assert set(re.findall(r"url\(([^)]*)", html)) <= set(re.findall(r"url\((#\w+)", html))
    assert "@import" not in html
    policy = next(a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-")
    assert [attributes for tag, attributes in page.elements if tag == "script"] == [
        {"type": "application/json", "id": "sentences"},
        {},
    ]
    script = html.partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.split("; ")[3] == f"script-src 'sha256-{digest}'"
    without = render(replace(make_evidence(), sentences=[]), None)
    assert "script" not in {tag for tag, _ in Page(without).elements}
    assert "script-src" not in without


def sentences_of(html: str) -> dict[str, Any]:
    text = html.partition('id="sentences">')[2].partition("</script>")[0]
    found: dict[str, Any] = json.loads(text)
    return found


def test_the_browser_has_every_sentence_and_each_picture_once() -> None:
    data = sentences_of(page_html())
    assert data["systems"] == ["this model", "text-only model"]
    assert len(data["rows"]) == 25
    assert data["rows"][3]["t"] == [["Ein Kran 3 .", "Ein Kranich .", "Ein Kran ."], ["Ein Kran ."]]
    assert data["rows"][3]["c"] == [[53.0, 30.0, 60.0], [40.0]]
    assert list(data["pictures"]) == ["crane.jpg"]
    hostile = sentences_of(hostile_html())
    assert hostile["rows"][0]["s"] == visible("A [MASK_C] crane ." + HOSTILE)
    assert sentences_of(render(make_evidence(), None))["pictures"] == {}


def test_five_systems_and_a_thousand_sentences_are_less_than_5_mb() -> None:
    evidence = make_evidence()
    text = {"right": ["Ein Mann in einem blauen Hemd steht auf einer Leiter und putzt ein Fenster ."]}
    texts = text | {"wrong": [text["right"][0] + " x"] * 5, "blank": [text["right"][0] + " y"]}
    names = [f"system{number}" for number in range(5)]
    one = replace(
        evidence.sentences[0],
        translations=dict.fromkeys(names, texts),
        chrf={name: {"right": [51.23], "wrong": [40.12], "blank": [33.21]} for name in names},
        source=text["right"][0],
        reference=text["right"][0],
    )
    systems = [replace(evidence.systems[0], name=name) for name in names]
    html = render(replace(evidence, systems=systems, sentences=[one] * 1000), None)
    assert len(html.encode()) < 5e6


def test_more_than_two_systems_have_a_table_of_verdicts(capsys: pytest.CaptureFixture[str]) -> None:
    evidence = make_evidence()
    hurts = Verdict("yes, and it hurts", "Yes, and it hurts: no image at all does better.")
    vlm = replace(evidence.systems[0], name="vlm-7b", verdict=hurts, comparison=None)
    rows = [replace(row, system="vlm-7b" if row.system == "model" else row.system) for row in evidence.controls]
    many = replace(evidence, systems=[vlm, *evidence.systems], controls=rows, verdict=hurts)
    text = Page(render(many, None)).text
    assert "vlm-7b Yes, and it hurts" in text
    assert "no image at all does better" in text
    print_summary(many)
    assert re.search(r"vlm-7b[ │]+Yes, and it hurts", capsys.readouterr().out)
    assert "Every system" not in Page(page_html()).text


@pytest.mark.parametrize(
    ("training", "settings", "said"),
    [
        ({"seed": 1}, {}, "Each model was trained once"),
        ({}, {}, "Each system was run once"),
        ({"seed": 1}, {"seeds": {"ours": 2}}, "This is one seed of each system"),
    ],
)
def test_the_page_knows_how_often_systems_were_trained(
    training: dict[str, int], settings: dict[str, Any], said: str
) -> None:
    evidence = make_evidence()
    worse = replace(evidence.comparison, answer="worse", sentence="Worse: it is.")
    systems = [replace(one, about={"training": training}) for one in evidence.systems]
    page = render(replace(evidence, comparison=worse, systems=systems, settings=settings), None)
    others = {"Each model was trained once", "Each system was run once", "This is one seed of each system"} - {
        said
    }
    assert said in page
    assert not any(other in page for other in others)


def test_the_share_of_people_who_agree_stands_beside_the_difference() -> None:
    evidence = make_evidence()
    rows = [evidence.controls[0], replace(evidence.controls[1], agreement={"BLEU": 0.77})]
    assert "77\u00a0% agree" in render(replace(evidence, controls=rows), None)
    assert "agree" not in Page(page_html().partition('id="comparison"')[2].partition("</table>")[0]).text


def test_hostile_text_stays_text() -> None:
    page, plain = Page(hostile_html()), Page(page_html())
    known, found = (
        {(tag, *(name for name in attributes if name != "lang")) for tag, attributes in read.elements}
        for read in (plain, page)
    )
    assert found <= known
    assert page.text.count("document.title='hacked'") > 50
    assert "{{ 7*7 }}" in page.text
    assert visible("A [MASK_C] crane ." + HOSTILE) in page.text


def test_unseen_characters_are_written_out() -> None:
    assert visible("a\u202eb\0c\ud800\u2066\x1b") == "a[U+202E]b[U+0000]c[U+D800][U+2066][U+001B]"
    assert visible("e\u0301 ע\u200f क्\u200d\n\t日本") == "e\u0301 ע\u200f क्\u200d\n\t日本"
    html = hostile_html()
    assert not re.search("[\x00\u202e]", html)
    assert "[U+202E]" in html


def test_same_evidence_gives_same_page() -> None:
    assert render(make_evidence(), make_pictures()) == page_html()


def test_ids_stand_once() -> None:
    ids = Page(page_html()).attributes("id")
    assert len(ids) == len(set(ids)) > 5


def test_page_says_the_numbers() -> None:
    text = Page(page_html()).text
    for said in (
        "Better than text-only? Not shown The difference may be chance", "Does it use the image? Yes",
        "40.8", "30.5 ± 0.8", "-10.2, p = 0.012", "+0.21 nats", "p < 0.001, 4 sentences",
        "31 %", "57 % 51 % to 63 %", "28 % of 150; chance 25 %", "above", "90 % of 40", "mean gate 0.23",
        "1,234,567", "seed 12345", "beam size: 5", "nrefs:1|tok:13a", "the data is not masked", "crane 0.50 12",
        "sentences without image 20", "and than the text-only model’s in 31 sentences",
        "farther from it than both in 7; in 62 it is neither",
        "Where the image helped: 1 of 31 sentences", "Where the image hurt: 1 of 7 sentences",
    ):  # fmt: skip
        assert said in text, said


def test_section_without_data_does_not_appear() -> None:
    empty = replace(
        make_evidence(), verdict=Verdict("no", "No: text only."), against=None, awareness=None, choices=[],
        senses=[], gates=None, effects=None, gallery=[], not_run=[], controls=make_evidence().controls[3:],
        signatures={}, settings={}, systems=[], sentences=[],
    )  # fmt: skip
    headings = re.findall(r'<h2 id="([\w-]+)"', render(empty, {}))
    assert headings == ["comparison", "measured", "how"]
    assert re.findall(r'<h2 id="([\w-]+)"', render(replace(empty, controls=[]), {})) == ["measured", "how"]


def test_the_unmasked_source_is_told_only_where_a_word_was_masked() -> None:
    evidence = make_evidence()
    for source, said in (("A [MASK_C] crane .", True), ("A red crane .", False)):
        html = render(replace(evidence, gallery=[make_item(source=source)]), make_pictures())
        assert ("Unmasked: A red crane ." in Page(html).text) == said


def test_checksums_are_short_on_the_page_and_whole_in_json() -> None:
    evidence = replace(make_evidence(), data={"checksum": "0123456789ab" * 5})
    assert "0123456789ab01" not in render(evidence, {})
    assert "0123456789ab01" in to_json(evidence)


def test_json_is_strict_and_whole(tmp_path: Path) -> None:
    evidence = make_evidence()
    assert json.loads(to_json(evidence))["awareness"] == json.loads(
        json.dumps(dataclasses.asdict(evidence.awareness))
    )  # type: ignore[arg-type]
    bad = replace(evidence, settings={"a": math.nan, "b": [math.inf, {1: -math.inf}], "name\udcff": Path("x")})
    write_report(bad, tmp_path / "new" / "report", None)

    def refuse(name: str) -> None:
        pytest.fail(name)

    read = json.loads((tmp_path / "new/report/evidence.json").read_bytes().decode(), parse_constant=refuse)
    assert read["settings"] == {"a": None, "b": [None, {"1": None}], "name\udcff": "x"}
    assert set(read) == {field.name for field in dataclasses.fields(Evidence)}
    assert sorted(path.name for path in (tmp_path / "new/report").iterdir()) == ["evidence.html", "evidence.json"]


def test_numbers_that_are_none_or_nan_are_dashes() -> None:
    evidence = make_evidence()
    assert evidence.awareness is not None
    aware = replace(evidence.awareness, difference=math.nan, p_value=None, per_sentence=[math.nan, 0.0])
    row = ControlRow("model", "wrong", {"BLEU": Spread(math.nan)}, {"BLEU": math.nan})
    item = make_item(importance=[[math.nan] * 4] * 5, awareness=math.nan, gain=math.inf)
    controls = [*evidence.controls, row]
    html = render(replace(evidence, awareness=aware, controls=controls, gallery=[item]), make_pictures())
    assert not re.search(r"\b(nan|inf|None)\b", Page(html).text)


def test_folder_that_cannot_be_written_is_a_users_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MMTError, match="cannot be made a folder"):
        write_report(make_evidence(), tmp_path / "file", None)


def test_first_map_is_of_the_most_important_word_that_differs() -> None:
    # "Ein" has the highest value of all words, and the end of the sentence a higher one; neither differs.
    assert [word.text for word in make_card(make_item(), None).words if word.chosen] == ["Kran"]
    same = make_card(make_item(wrong="Ein roter Kran ."), None)
    assert [word.text for word in same.words if word.chosen] == ["Ein"]
    assert [word.text for word in make_card(make_item(wrong="."), None, "de").words if word.chosen] == ["Kran"]


def test_differing_words_are_marked_on_both_sides() -> None:
    card = make_card(make_item(), None)
    assert [word.text for word in card.words if word.differs] == ["roter", "Kran"]
    assert [word.text for word in card.wrong_words if word.differs] == ["blauer", "Kranich"]


def test_the_more_important_a_region_the_brighter_it_is() -> None:
    red = make_card(make_item(), make_pictures(), "de").words[1]
    veils = [cell.veil for cell in red.cells]
    assert veils[1] < veils[0] < veils[2] == veils[3]  # 0.4, 0.1, 0 and -0.3
    assert [cell.stripes > 0 for cell in red.cells] == [False, False, False, True]
    assert [cell.strongest for cell in red.cells] == [False, True, False, False]
    assert red.drop == f"{100 * (1 - math.exp(-0.4)):.0f} %"


def test_only_content_words_that_a_region_makes_more_likely_have_a_map() -> None:
    item = make_item(words=["Ein", "roter", "3", "Kran", "drei", "."], importance=[[0.9, 0.5, 0.0, 0.0]] * 6)
    mapped = {
        lang: [word.text for word in make_card(item, None, lang).words if word.cells] for lang in ("de", "tr")
    }
    assert mapped["de"] == ["roter", "3", "Kran", "drei"]
    assert mapped["tr"] == ["Ein", "roter", "3", "Kran", "drei"]  # a language without a list of function words
    faint = make_card(make_item(importance=[[0.01, -0.9, 0.0, 0.0]] * 5), None, "de")
    assert not faint.mapped
    page = Page(render(replace(make_evidence(), gallery=[make_item(importance=[[0.01] * 4] * 5)]), None))
    assert "radio" not in page.attributes("type")
    assert "Drop in the probability" not in page.text


def test_a_map_is_titled_by_what_it_measures() -> None:
    text = Page(page_html()).text
    assert "Drop in the probability of Kran when a region is covered. Outlined region: 55 %." in text


def test_regions_lie_where_they_are_on_the_picture() -> None:
    card = make_card(make_item(regions=regions(left=0.125, right=0.875)), make_pictures())
    assert (card.right.width, card.right.height) == (320, 240)
    first, second = card.words[0].cells[0], card.words[0].cells[3]
    assert (first.x, first.y, first.width, first.height) == (40, 0, 120, 120)
    assert (second.x, second.y) == (160, 120)
    assert card.words[0].margin  # what the backbone did not see is not lit
    assert not make_card(make_item(), make_pictures()).words[0].margin


def test_no_map_where_regions_are_unknown() -> None:
    for changes in ({"regions": []}, {"words": [], "importance": []}, {"words": ["other"]}):
        card = make_card(make_item(**changes), None)
        assert not card.mapped
        assert [word.text for word in card.words] == ["Ein", "roter", "Kran", "."]
    assert 'type="radio"' not in render(replace(make_evidence(), gallery=[make_item(regions=[])]), None)


def test_pictures_are_small_and_never_enlarged() -> None:
    html = page_html()
    sizes = set()
    for data in re.findall(r'src="data:image/jpeg;base64,([^"]+)"', html):
        picture = Image.open(io.BytesIO(base64.b64decode(data)))
        assert picture.format == "JPEG"
        sizes.add(picture.size)
    assert sizes == {(320, 240), (20, 40)}


def test_no_photograph_where_none_is_given() -> None:
    html = render(make_evidence(), None)
    assert "data:image/jpeg" not in html
    assert "photographs were left out of this file" in html
    assert 'type="radio"' in html  # the maps are there
    assert "not at hand" in render(make_evidence(), {})


def test_a_damaged_picture_costs_only_itself() -> None:
    data = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(data, "PNG")
    damaged = Image.open(io.BytesIO(data.getvalue()[:2000]))
    page = Page(render(make_evidence(), make_pictures() | {"bird.jpg": damaged}))
    assert "damaged" in page.text
    assert len(page.attributes("src")) == 2


@pytest.mark.parametrize("values", [[], [0.0], [1.0, 1.0], [-0.5, -0.2], [1e-12, -3.0], [math.nan, 2.0]])
def test_awareness_of_any_kind_can_be_drawn(values: list[float]) -> None:
    assert awareness_histogram(values).startswith("<svg")


def test_sentences_that_no_image_changes_are_in_no_bar_and_counted() -> None:
    evidence = make_evidence()
    assert evidence.awareness is not None
    html = {}
    for zeros in (0, 90):
        aware = replace(evidence.awareness, per_sentence=[0.5, 0.25, -0.5, *[0.0] * zeros])
        html[zeros] = render(replace(evidence, awareness=aware), {})
    assert "Not shown: 90 sentences" in Page(html[90]).text
    assert "Not shown: 0" not in Page(html[0]).text
    assert awareness_histogram([0.5, 0.25, -0.5]) == awareness_histogram([0.5, 0.25, -0.5, *[0.0] * 90])


def test_ambiguous_words_stand_beside_their_usual_sense() -> None:
    evidence = make_evidence()
    html = render(replace(evidence, senses=[replace(row, usual=0.672) for row in evidence.senses]), {})
    assert "always the usual sense" in Page(html).text
    assert "67 %" in Page(html).text


def test_items_whose_translations_are_the_same_bound_what_can_be_right() -> None:
    evidence = make_evidence()
    row = replace(evidence.choices[0], same=[17, 42, 99])
    page = render(replace(evidence, choices=[row]), {})
    assert "the two translations of item 17, 42, 99 are the same, so that at most 99\u00a0%" in page
    assert "are the same" not in page_html()


def test_text_only_model_has_a_page() -> None:
    row = ControlRow("model", "text", {"BLEU": Spread(30.0)})
    html = render(replace(make_evidence(), controls=[row], awareness=None, gates=None), None)
    assert "text only" in Page(html).text
    assert "difference" not in Page(html.partition('id="comparison"')[2].partition("</section>")[0]).text


def test_the_comparison_leads_and_is_asked_for_where_it_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    evidence = make_evidence()
    missing = Comparison("Better than text-only?", "not compared", "Not compared: name a model with --against.")
    for comparison, leads in ((evidence.comparison, True), (missing, False)):
        compared = replace(evidence, comparison=comparison)
        print_summary(compared)
        for text in (Page(render(compared, None)).text, capsys.readouterr().out):
            assert (text.index("Better than text-only?") < text.index("Does it use the image?")) == leads
            assert comparison.answer.capitalize() in text
            assert ("--against" in text) == (not leads)
        assert json.loads(to_json(compared))["comparison"]["answer"] == comparison.answer


@pytest.mark.parametrize("answer", ["yes", "no", "worse"])
@pytest.mark.parametrize(
    ("question", "images"), [("text-only", True), ("text-only", False), ("the other model", True)]
)
def test_only_a_model_with_images_against_a_text_only_one_speaks_for_images(
    answer: Any, question: str, images: bool
) -> None:
    evidence = make_evidence()
    comparison = Comparison(f"Better than {question}?", answer, f"{answer.capitalize()}: so it is.")
    aware = evidence.awareness if images else None
    text = Page(render(replace(evidence, comparison=comparison, awareness=aware, gates=None), None)).text
    speaks = "With the images the translations" in text or "The images gain nothing" in text
    assert speaks == (question == "text-only" and images)


@pytest.mark.parametrize("width", [40, 80])
def test_no_line_of_the_summary_is_wider_than_the_terminal(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.cells import cell_len

    evidence = make_evidence()
    scores = {f"progressive, {kind} {n}": Spread(12.3, 4.5) for n, kind in enumerate(["restricted", "relaxed"])}
    rows = [replace(row, scores=row.scores | scores) for row in evidence.controls]
    long = replace(evidence.verdict, sentence="Yes: " + "it uses 5 images [bold] 日本語 " * 30)
    monkeypatch.setenv("COLUMNS", str(width))
    print_summary(replace(evidence, controls=rows, verdict=long))
    text = capsys.readouterr().out
    assert max(map(cell_len, text.splitlines())) <= width
    assert "…" not in text
    assert "[bold]" in text
