"""The page of ``mmt serve`` in a real browser: a picture changes a translation, on a phone and with the keyboard.

Needs Chromium, as ``tests/integration/test_browser.py``, and runs where that runs.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import uvicorn
from numpy.typing import NDArray
from PIL import Image

from mmt.inference.runtime_model import ImageFile
from mmt.inference.translator import Translation
from mmt.serve.api import create_app
from mmt.serve.limits import Limits
from mmt.serve.metrics import Metrics
from mmt.serve.models import ServedModel
from mmt.serve.page import add_page
from mmt.serve.server import address_of, bind
from tests.features.pictures import encoded, picture
from tests.integration.test_browser import WIDTHS, browser, overflow  # noqa: F401
from tests.serve.worlds import Reader, open_reader
from tests.worlds import tiny_folder

if TYPE_CHECKING:
    from playwright._impl._api_structures import FilePayload
    from playwright.sync_api import Browser, FileChooser, Page, Response

HOSTILE = '<img src=x onerror="alert(1)"> ${alert(2)} {{value}} </textarea><script>alert(3)</script>'


class Echo(Reader):
    """A model whose translation names its picture's shade and repeats the sentence."""

    def hypotheses(self, sentences: Sequence[str], images: Any = None, **settings: Any) -> list[list[Translation]]:
        found = super().hypotheses(sentences, images, **settings)
        shades = ["kein" if image is None else f"Ton{np.mean(image):.0f}" for image in images or [None]]
        return [
            [replace(one, text=f"{shade} {number} {sentence}") for number, one in enumerate(row, 1)]
            for shade, sentence, row in zip(shades, sentences, found, strict=True)
        ]

    def read_images(self, images: Sequence[ImageFile]) -> NDArray[np.float32]:
        return np.round(super().read_images(images) * 16)


@pytest.fixture(scope="module")
def address(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("page")
    limits, metrics = Limits(), Metrics()
    echo = Echo.from_dir(tiny_folder(folder / "tiny", world, "gated"))
    text = open_reader(world, folder / "other")
    models = [
        ServedModel(name, one.card, one, 1, limits, metrics) for name, one in (("echo", echo), ("other", text))
    ]
    app = create_app(models, limits, metrics)
    add_page(app, world / "data")
    listening = bind("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield address_of(listening)
    server.should_exit = True
    thread.join()


def file_of(data: bytes) -> FilePayload:
    return {"name": "x.png", "mimeType": "image/png", "buffer": data}


class Watched:
    """A page, and everything that it asked of others, printed, or failed to get."""

    def __init__(self, browser: Browser, address: str, width: int) -> None:  # noqa: F811
        self.page: Page = browser.new_page(viewport={"width": width, "height": 800})
        self.page.set_default_timeout(300_000)
        self.complaints: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: (self.complaints.append(dialog.message), dialog.dismiss()))
        self.page.on("response", self._answered)
        self.page.on("request", lambda request: self._asked(request.url, address))
        self.page.goto(address)
        self.page.wait_for_selector(".mmt-examples button")
        self.page.locator("[data-ready]").nth(1).wait_for()

    def _asked(self, url: str, address: str) -> None:
        if not url.startswith((address, "data:", "blob:")):
            self.complaints.append(f"asked for {url}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self.complaints.append(f"{response.status} {response.url}")

    def rows(self, count: int, model: str = "echo") -> list[str]:
        """The translations by a model, once there are so many."""
        from playwright.sync_api import expect  # as in the fixture: not where there is no browser

        words = self.page.locator(f"article[aria-label='Translations by {model}'] .mmt-words")
        expect(words).to_have_count(count, timeout=300_000)
        return [" ".join(text.split()) for text in words.all_inner_texts()]

    def give(self, label: str, data: bytes) -> None:
        group = self.page.get_by_role("group", name=label, exact=True)
        group.locator("input[type=file]").set_input_files(file_of(data))
        group.locator("img:not([hidden])").wait_for()


@pytest.fixture(params=WIDTHS.values(), ids=WIDTHS)
def watched(request: pytest.FixtureRequest, browser: Browser, address: str) -> Iterator[Watched]:  # noqa: F811
    watched = Watched(browser, address, request.param)
    yield watched
    assert watched.complaints == []
    watched.page.close()


def shade(value: int) -> bytes:
    return encoded(Image.new("RGB", (40, 30), (value,) * 3), "PNG")


def test_a_picture_changes_the_translation(watched: Watched) -> None:
    page = watched.page
    page.get_by_label("Sentence").fill("A dog.")
    page.get_by_role("button", name="Translate").click()
    assert watched.rows(1) == ["kein 1 A dog."]
    watched.give("Picture", shade(64))
    page.get_by_role("button", name="Translate").click()
    assert watched.rows(2) == ["Ton16 1 A dog.", "kein 1 A dog."]
    marked = page.locator("article[aria-label='Translations by echo'] .differs").all_inner_texts()
    assert marked == ["Ton16", "kein"]
    watched.give("Another picture", shade(128))
    page.get_by_role("spinbutton", name="Translations of each").fill("2")
    page.get_by_role("button", name="Translate").click()
    assert watched.rows(3) == ["Ton16 1 A dog.", "Ton32 1 A dog.", "kein 1 A dog."]
    others = page.locator("article[aria-label='Translations by echo'] .mmt-others li span").all_inner_texts()
    assert others == ["Ton16 2 A dog.", "Ton32 2 A dog.", "kein 2 A dog."]
    assert len(watched.rows(3, "other")) == 3  # side by side
    page.get_by_role("button", name="Picture: remove", exact=True).click()
    page.get_by_role("button", name="Translate").click()
    assert watched.rows(2)[0] == "Ton32 1 A dog."
    assert overflow(page) == 0
    assert page.evaluate("document.querySelectorAll('.mmt-card').length") == 2


def test_an_example_is_one_click_away(watched: Watched) -> None:
    watched.page.locator(".mmt-examples button").first.click()
    assert len(watched.rows(3)) == 3
    assert watched.page.get_by_label("Sentence").input_value() != ""
    assert watched.page.locator(".mmt-picture img:not([hidden])").count() == 2


def test_the_keyboard_is_enough(browser: Browser, address: str) -> None:  # noqa: F811
    watched = Watched(browser, address, WIDTHS["desktop"])
    page = watched.page
    choosers: list[FileChooser] = []
    # Long before the key is pressed: Playwright begins to listen some time after this.
    page.on("filechooser", lambda chooser: choosers.append(chooser))

    def tab_to(name: str) -> None:
        for _ in range(40):
            page.keyboard.press("Tab")
            focused = page.evaluate(
                "(document.activeElement.ariaLabel || document.activeElement.innerText "
                "|| document.activeElement.closest('label')?.innerText || '').trim()"
            )
            if focused.startswith(name):
                return
        pytest.fail(f"no way to {name}")

    tab_to("Sentence")
    page.keyboard.type("A cat.")
    tab_to("Picture: choose")
    page.keyboard.press("Enter")
    for _ in range(3000):
        if choosers:
            break
        page.wait_for_timeout(100)
    choosers[0].set_files(file_of(shade(64)))
    page.locator(".mmt-picture img:not([hidden])").wait_for()
    tab_to("Translate")
    page.keyboard.press("Enter")
    assert watched.rows(2) == ["Ton16 1 A cat.", "kein 1 A cat."]
    tab_to("")  # the examples are reached, too
    assert watched.complaints == []
    page.close()


def test_a_pasted_picture_is_taken(browser: Browser, address: str) -> None:  # noqa: F811
    watched = Watched(browser, address, WIDTHS["desktop"])
    watched.page.get_by_label("Sentence").fill("A cat.")
    watched.page.evaluate(
        """(data) => {
            const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], 'x.png', { type: 'image/png' }));
            document.body.dispatchEvent(new ClipboardEvent('paste', { clipboardData: transfer, bubbles: true }));
        }""",
        base64.b64encode(shade(64)).decode(),
    )
    watched.page.locator(".mmt-picture img:not([hidden])").wait_for()
    watched.page.get_by_role("button", name="Translate").click()
    assert watched.rows(2) == ["Ton16 1 A cat.", "kein 1 A cat."]
    assert watched.complaints == []
    watched.page.close()


def test_hostile_text_and_bad_pictures_do_nothing(browser: Browser, address: str) -> None:  # noqa: F811
    watched = Watched(browser, address, WIDTHS["phone"])
    page = watched.page
    page.get_by_label("Sentence").fill(HOSTILE)
    page.get_by_role("button", name="Translate").click()
    assert watched.rows(1) == [f"kein 1 {HOSTILE}"]
    watched.give("Picture", encoded(picture(1), "PNG"))
    page.get_by_role("group", name="Picture", exact=True).locator("input[type=file]").set_input_files(
        file_of(b"no picture")
    )
    page.get_by_role("button", name="Translate").click()
    page.locator(".mmt-error").first.wait_for()
    assert "not an image" in page.locator(".mmt-error").first.inner_text()
    assert overflow(page) == 0
    assert [one for one in watched.complaints if "naturalWidth" not in one] == []
    page.close()
