"""The report page in a real browser: on a phone, on a desktop and on paper, with hostile text in every place.

Needs Chromium: MMT_CHROMIUM names it, or it is on PATH. MMT_REQUIRE_BROWSER=1 (CI) makes its lack a failure.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from mmt.inference.index import Index
from mmt.inference.retrieve import Answer, Query
from mmt.report.evidence import write_report
from mmt.report.leaderboard import write_leaderboard
from mmt.report.retrieval import render
from tests.report.boards import make_board
from tests.report.examples import HOSTILE, make_evidence, make_item, make_pictures, poisoned

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

LONG = "Donaudampfschifffahrtsgesellschaftskapitän" * 9
# As root in CI there is no sandbox; the rest keeps the browser itself from asking for anything.
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
ARGUMENTS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
WIDTHS = {"phone": 390, "desktop": 1280}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    names = (os.environ.get("MMT_CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if name and (path := shutil.which(name))), None)
    if found is None:
        reason = "no browser: neither MMT_CHROMIUM nor chromium on PATH"
        pytest.fail(reason) if os.environ.get("MMT_REQUIRE_BROWSER") else pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``plain/``, ``no_pictures/``, and ``hostile/``, which also has a word longer than a phone is wide."""
    folder = tmp_path_factory.mktemp("reports")
    plain, pictures = make_evidence(), make_pictures()
    write_report(plain, folder / "plain", pictures)
    write_report(plain, folder / "no_pictures", None)
    words = [LONG, "Kran"]
    long = make_item(source=LONG, right=" ".join(words), wrong=LONG + "e", words=words, importance=[[0.5] * 4] * 2)
    hostile = poisoned(replace(plain, gallery=[*plain.gallery, long]), HOSTILE)
    write_report(hostile, folder / "hostile", {name + HOSTILE: picture for name, picture in pictures.items()})
    return folder


class Watched:
    """A page, and everything that it asked for, printed, or failed to get."""

    def __init__(self, page: Page, address: str) -> None:
        self.page, self.address = page, address
        self.complaints: list[str] = []
        page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("requestfailed", lambda request: self.complaints.append(f"failed: {request.url}"))
        page.on("request", lambda request: self._asked(request.url))
        page.goto(address)

    def _asked(self, url: str) -> None:
        if url != self.address and not url.startswith("data:"):
            self.complaints.append(f"asked for {url}")


@pytest.fixture(params=["plain", "no_pictures", "hostile"])
def report(request: pytest.FixtureRequest, reports: Path) -> str:
    return (reports / request.param / "evidence.html").as_uri()


def overflow(page: Page) -> int:
    width: int = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return width


def hidden_sideways(page: Page) -> list[str]:
    """Boxes of which a reader sees a part only until they scroll to the side. Menus show their labels opened."""
    boxes: list[str] = page.evaluate(
        """[...document.querySelectorAll('main *')].filter(box => !box.closest('svg, select')
            && box.clientWidth > 0 && !['inline', 'contents'].includes(getComputedStyle(box).display)
            && box.scrollWidth > box.clientWidth + 1).map(box => `${box.tagName} ${box.className}`)"""
    )
    return boxes


def shown_maps(page: Page) -> list[list[int]]:
    """Of each card that has maps, the numbers of those that are to be seen."""
    maps: list[list[int]] = page.evaluate(
        """[...document.querySelectorAll('.card:has(.words) .stage')].filter(s => s.querySelector('.of-word')).map(
            stage => [...stage.querySelectorAll('svg.of-word')].flatMap(
                (map, number) => map.getBoundingClientRect().width > 0 ? [number] : []))"""
    )
    return maps


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_quiet_whole_and_as_wide_as_the_screen(
    browser: Browser, report: str, width: int, scheme: str
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]
    watched = Watched(page, report)
    page.wait_for_load_state("networkidle")
    images = page.evaluate("[...document.images].map(image => image.complete && image.naturalWidth > 0)")
    assert len(images) == 0 if "no_pictures" in report else len(images) >= 4
    assert all(images)
    assert overflow(page) == 0
    if width == WIDTHS["phone"]:
        assert hidden_sideways(page) == []
    assert page.title().startswith("Does the model use the image?")
    assert watched.complaints == []
    page.close()


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("mark", ["", HOSTILE], ids=["plain", "hostile"])
def test_a_leaderboard_is_quiet_and_as_wide_as_the_screen(
    browser: Browser, tmp_path: Path, width: int, mark: str
) -> None:
    write_leaderboard(make_board(mark), tmp_path)
    page = browser.new_page(viewport={"width": width, "height": 800})
    watched = Watched(page, (tmp_path / "leaderboard.html").as_uri())
    page.wait_for_load_state("networkidle")
    assert overflow(page) == 0
    assert hidden_sideways(page) == [] or width != WIDTHS["phone"]
    assert page.title() == "Leaderboard: 4 systems on 2 datasets"
    assert watched.complaints == []
    page.close()


def test_both_verdicts_are_of_equal_size(browser: Browser, report: str) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(report)
    sizes = page.locator(".answer").evaluate_all("all => all.map(one => getComputedStyle(one).fontSize)")
    assert len(sizes) == 2
    assert len(set(sizes)) == 1
    tops = page.locator(".answer").evaluate_all("all => all.map(one => one.getBoundingClientRect().top)")
    assert max(tops) < 800
    page.close()


@pytest.mark.parametrize("name", ["plain", "no_pictures"])
def test_keyboard_chooses_the_word_whose_map_is_seen(browser: Browser, reports: Path, name: str) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto((reports / name / "evidence.html").as_uri())
    assert shown_maps(page) == [[1]]  # "Kran", the second content word
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.type") == "radio":
            break
    assert page.evaluate("document.activeElement.matches(':focus-visible')")
    assert "Kran" in page.locator(".said").first.inner_text()
    page.keyboard.press("ArrowLeft")
    assert shown_maps(page) == [[0]]
    assert "roter" in page.locator(".said").first.inner_text()
    page.keyboard.press("ArrowRight")
    assert shown_maps(page) == [[1]]
    page.get_by_role("radio", name="roter", exact=True).click()  # a screen reader knows the word by its name
    assert shown_maps(page) == [[0]]
    assert page.get_by_role("radio", name="Ein", exact=True).count() == 0
    page.close()


def rows_shown(page: Page) -> list[str]:
    """The ids of the sentences to be seen."""
    return [text.split()[1] for text in page.locator(".row p.name").all_inner_texts()]


def test_sentences_are_sorted_filtered_and_turned(browser: Browser, reports: Path) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 800})
    watched = Watched(page, (reports / "plain" / "evidence.html").as_uri())
    assert rows_shown(page) == [f"test-{number}" for number in range(20)]
    page.get_by_role("button", name="Next").click()
    assert rows_shown(page) == [f"test-{number}" for number in range(20, 25)]
    assert page.locator("#count").inner_text() == "21 to 25 of 25 sentences"
    page.locator("#by-sort").select_option(label="chrF2 with the right image")
    assert rows_shown(page)[0] == "test-24"
    page.locator("#by-direction").select_option(label="lowest first")
    assert rows_shown(page)[0] == "test-0"
    page.locator("#by-filter").select_option(label="better with its image than with none")
    assert rows_shown(page)[0] == "test-11"  # 50 + number, and 60 without
    page.locator("#by-text").fill("Kran 17")
    assert rows_shown(page) == ["test-17"]
    page.locator("#by-text").fill("no such word")
    assert page.locator("#count").inner_text() == "No sentence."
    page.locator("#by-text").fill("")
    page.locator("#by-filter").select_option(label="all")
    page.locator("#by-system").select_option(label="text-only model")
    page.locator("#by-sort").select_option(label="chrF2, right image minus none")
    assert page.locator("#count").inner_text() == "No sentence."  # a text-only system has no image to lose
    assert watched.complaints == []
    page.close()


def test_five_systems_and_a_thousand_sentences_open_in_two_seconds(browser: Browser, tmp_path: Path) -> None:
    evidence = make_evidence()
    names = [f"system{number}" for number in range(5)]
    line = "Ein Mann in einem blauen Hemd steht auf einer Leiter und putzt ein Fenster ."
    texts = {"right": [line], "wrong": [line + " x"], "blank": [line + " y"]}
    one = replace(
        evidence.sentences[0],
        translations=dict.fromkeys(names, texts),
        chrf={name: {"right": [51.2], "wrong": [40.1], "blank": [33.2]} for name in names},
    )
    systems = [replace(evidence.systems[0], name=name) for name in names]
    write_report(replace(evidence, systems=systems, sentences=[one] * 1000), tmp_path, None)
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto((tmp_path / "evidence.html").as_uri())
    assert page.locator(".row").count() == 20
    milliseconds = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
    assert milliseconds < 2000
    page.close()


def test_map_lies_on_the_picture(browser: Browser, reports: Path) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto((reports / "plain" / "evidence.html").as_uri())
    image, drawn = (
        page.locator(".stage img").first.bounding_box(),
        page.locator("svg.of-word.first").bounding_box(),
    )
    assert image is not None
    assert drawn is not None
    assert all(abs(image[side] - drawn[side]) < 1 for side in ("x", "y", "width", "height"))  # type: ignore[literal-required]
    page.close()


def test_print_shows_the_first_words_map_and_cuts_no_card(browser: Browser, report: str) -> None:
    page = browser.new_page(viewport={"width": 680, "height": 1000}, color_scheme="dark")  # A4 less its margins
    watched = Watched(page, report)
    page.emulate_media(media="print")
    assert overflow(page) == 0
    assert all(len(shown) == 1 for shown in shown_maps(page))
    assert set(
        page.locator(".card").evaluate_all("cards => cards.map(card => getComputedStyle(card).breakInside)")
    ) == {"avoid"}
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    gaps = page.evaluate(
        """[...document.querySelectorAll('.words')].flatMap(words => [...words.children].slice(1).map(word => {
            const [one, two] = [word.previousElementSibling, word].map(box => box.getBoundingClientRect());
            return two.left > one.left ? two.left - one.right : 9 }))"""
    )
    assert min(gaps) > 2  # words that stand apart
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")
    assert watched.complaints == []
    page.close()


@pytest.fixture(scope="module")
def hostile_pages(reports: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Hostile sentences, answers and file names in every kind of page, as they are and without their policy.

    Without it nothing but the escaping stands between the data and the browser.
    """
    folder = tmp_path_factory.mktemp("hostile")
    name = HOSTILE.replace("/", "\u2215").replace("\0", "") + ".jpg"  # as far as a file can be called so
    Image.new("RGB", (40, 30), "red").save(folder / name)
    queries = [Query(HOSTILE), Query(image=folder / name)]
    pages = {"evidence": (reports / "hostile" / "evidence.html").read_text(encoding="utf-8")}
    for kind, item in (("images", name), ("sentences", HOSTILE)):
        index = Index(kind, [item], str(folder) if kind == "images" else "", HOSTILE, None)  # type: ignore[arg-type]
        pages[kind] = render(queries, [[Answer(1, 0.5, item)]] * 2, index, folder / name)
    written = []
    for kind, page in pages.items():
        assert page.count("Content-Security-Policy") == 1
        for state, text in (("", page), ("_bare", page.replace("Content-Security-Policy", "x-nothing"))):
            path = folder / f"{kind}{state}.html"
            path.write_bytes(text.encode("utf-8", "replace"))
            written.append(path)
    return written


def test_hostile_data_does_nothing_with_or_without_the_policy(browser: Browser, hostile_pages: list[Path]) -> None:
    for path in hostile_pages:
        page = browser.new_page()
        dialogs: list[str] = []
        page.on("dialog", lambda dialog, dialogs=dialogs: (dialogs.append(dialog.message), dialog.dismiss()))
        watched = Watched(page, path.as_uri())
        page.wait_for_load_state("networkidle")
        assert page.title().startswith(("Does the model use the image?", "What is nearest?")), path.name
        assert "hacked" in page.inner_text("body"), f"{path.name}: the text is not to be seen"
        acting = "script[src], iframe, object, embed, form, base, [src]:not([src^='data:']), [onerror], [onload]"
        assert page.locator(acting).count() == 0, path.name
        own = 2 if path.name.startswith("evidence") else 0  # the browser of sentences and its data
        assert page.locator("script").count() == own, path.name
        assert page.locator(".row").count() == 10 * own, path.name
        assert (watched.complaints, dialogs) == ([], []), path.name
        page.close()


def test_answers_are_as_wide_as_a_phone(browser: Browser, hostile_pages: list[Path]) -> None:
    page = browser.new_page(viewport={"width": WIDTHS["phone"], "height": 800})
    for path in hostile_pages:
        page.goto(path.as_uri())
        assert (overflow(page), hidden_sideways(page)) == (0, []), path.name
    page.close()
