"""The web page: a Gradio app in the API's process. It needs no network and writes nothing to disk."""

from __future__ import annotations

import asyncio
import re
import time
import warnings
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import FastAPI
from pydantic import ValidationError

from mmt.errors import MMTError
from mmt.inference.named import BUILT_IN
from mmt.serve.api import Translating
from mmt.serve.examples import Example, built_in_examples, read_examples
from mmt.serve.guard import Guard
from mmt.serve.held import forget_answered, held_bytes
from mmt.serve.limits import RefusedError
from mmt.serve.models import ServedModel
from mmt.serve.pictures import from_base64
from mmt.serve.reading import check_texts, told
from mmt.serve.results import Result, data_url, environment, make_result, render, thumbnail
from mmt.serve.schema import Sentence, TranslateRequest
from mmt.serve.tasks import add_labels, add_maps, add_retrieval

_TEMPLATES = Path(__file__).with_name("templates")
_MOST_WORDS = 100  # with a map, in one translation
_HINT = "Drop or paste a picture here."
_CHOOSE = """element.addEventListener('click', (event) => {
  const one = event.target.closest('button');
  if (one) trigger('choose', { number: Number(one.value) });
});"""
_SEE = "() => document.getElementById('translations').scrollIntoView({ block: 'nearest' })"
_AT_A_TIME = 16  # requests of the page
_WAITING = 64  # requests of the page, beside those
_SESSIONS = 64  # of which Gradio keeps anything


def picture_input(label: str, most: int, *, hint: str = _HINT, pastes: bool = False, **settings: Any) -> gr.HTML:
    """A picture as a data URL; "" for none. Gradio's image component would write it to a file on the server.

    Not a class of its own: Gradio writes a stub beside the module of each.

    Args:
        most: bytes of the file.
        pastes: whether it takes what is pasted anywhere on the page.
    """
    return gr.HTML(
        "",
        label=label,
        html_template=(_TEMPLATES / "picture.html").read_text(encoding="utf-8"),
        js_on_load=(_TEMPLATES / "picture.js").read_text(encoding="utf-8"),
        hint=hint,
        most=most,
        pastes=pastes,
        **settings,
    )


def add_page(app: FastAPI, examples: Path | None = None, index: Path | None = None) -> None:
    """Puts the page at ``/`` of an app that ``create_app`` made.

    Args:
        examples: a prepared dataset with sentences and pictures to try; None: those of the built-in model, if
            it is served.
        index: an index of ``mmt retrieve``, to search.
    Raises:
        MMTError: as ``read_examples``; an index of another model.
    """
    warnings.filterwarnings("ignore", module="gradio")  # its use of Starlette, which our log need not repeat
    translating: Translating = app.state.translating
    shown: list[Example] = []
    if examples is not None:
        shown = read_examples(examples)
    elif any(one.path in BUILT_IN for one in translating.models.values()):
        shown = built_in_examples()
    blocks = _blocks(translating, shown, index)
    blocks.state_session_capacity = _SESSIONS
    font = ["system-ui", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "Liberation Sans", "sans-serif"]
    gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        show_error=False,
        footer_links=[],
        theme=gr.themes.Base(font=font, font_mono=["ui-monospace", "monospace"]),
        css=_css(),
        favicon_path=None,
    )
    forget_answered(blocks)
    translating.budget.beside = lambda: held_bytes(blocks)
    app.state.stopping = asyncio.Event()
    app.add_middleware(Guard, budget=translating.budget, stopping=app.state.stopping)


def _css() -> str:
    shown = ",\n".join(
        f".mmt-card:has(.mmt-words > label:nth-of-type({n}) > :checked) .of-word:nth-of-type({n})"
        for n in range(1, _MOST_WORDS + 1)
    )
    return (_TEMPLATES / "page.css").read_text(encoding="utf-8") + shown + " { display: block; }\n"


def _blocks(translating: Translating, examples: Sequence[Example], index: Path | None) -> gr.Blocks:
    models = list(translating.models.values())
    blocks: gr.Blocks
    with gr.Blocks(title="mmt", analytics_enabled=False) as blocks:
        gr.HTML("<h1>Translate with a picture</h1>", js_on_load=None)
        with gr.Tabs():
            if any(one.writes for one in models):
                with gr.Tab("Translate"):
                    _add_translation(translating, examples)
            if any("labels" in one.tasks for one in models):
                with gr.Tab("Answer"):
                    add_labels(translating, picture_input)
            if any("retrieval" in one.tasks for one in models):
                with gr.Tab("Find"):
                    add_retrieval(translating, picture_input, index)
            elif index is not None:
                raise MMTError(f"--index {index}: no served model is for retrieval.")
    blocks.queue(default_concurrency_limit=_AT_A_TIME, max_size=_WAITING, api_open=False)
    return blocks


def _add_translation(translating: Translating, examples: Sequence[Example]) -> None:
    models = [one for one in translating.models.values() if one.writes]
    reads = any(one.reads_images for one in models)
    most = translating.limits.request_bytes * 3 // 8  # two pictures in base64
    with gr.Row():
        with gr.Column():
            source = gr.Textbox(
                label=f"Sentence ({', '.join(dict.fromkeys(one.card.source_lang for one in models))})",
                lines=2,
                max_lines=8,
                max_length=translating.limits.characters,
            )
            with gr.Row(visible=reads):
                picture = picture_input("Picture", most, pastes=True, min_width=160)
                other = picture_input("Another picture", most, hint="To compare with.", min_width=160)
            button = gr.Button("Translate", variant="primary")
            with gr.Row():
                guidance = gr.Slider(
                    0, 5, 1, step=0.5, label="Guidance", info="Over 1 amplifies the picture's effect, 0 drops it.",
                    visible=any(one.guides for one in models), buttons=[], min_width=160,
                )  # fmt: skip
                n_best = gr.Slider(
                    1, 5, 1, step=1, label="Translations of each", info="The best ones of the search.",
                    buttons=[], min_width=160,
                )  # fmt: skip
        with gr.Column():
            output = gr.HTML("", js_on_load=None, elem_id="translations")
    if examples:
        gallery = gr.HTML(
            environment()
            .get_template("examples.html")
            .render(examples=[(one.text, thumbnail(one.picture)) for one in examples]),
            js_on_load=_CHOOSE,
        )

    async def translate(source: str, picture: str, other: str, guidance: float, n_best: int) -> AsyncIterator[str]:
        async for shown in _translations(translating, models, source, [picture, other], guidance, int(n_best)):
            yield shown

    inputs = [source, picture, other, guidance, n_best]
    if examples:
        rows = [(one.text, data_url(one.picture), data_url(one.other)) for one in examples]

        def choose(event: gr.EventData) -> tuple[str, str, str]:
            return rows[int(event.number) % len(rows)]

        chosen = gallery.choose(choose, None, inputs[:3], api_visibility="private", show_progress="hidden")
        chosen.then(translate, inputs, output, api_visibility="private", show_progress="minimal")
    begin = [button.click, source.submit]
    gr.on(
        begin,
        translate,
        inputs,
        output,
        api_visibility="private",
        show_progress="minimal",
        trigger_mode="always_last",  # a click while the maps of the last one are still computed counts, too
    )
    output.change(None, js=_SEE, api_visibility="private")


async def _translations(
    translating: Translating,
    models: Sequence[ServedModel],
    source: str,
    pictures: Sequence[str],
    guidance: float,
    n_best: int,
) -> AsyncIterator[str]:
    """The results as HTML: first the translations, then also the maps, which take seconds."""
    if not source.strip():
        yield ""
        return
    deadline = time.monotonic() + translating.limits.seconds
    names = ("Picture", "Another picture")
    try:
        images = [from_base64(one, name) if one else None for one, name in zip(pictures, names, strict=True)]
    except RefusedError as error:
        yield render([Result("", "", "", error=str(error))])
        return
    results = [await _translation(translating, one, source, images, guidance, n_best, deadline) for one in models]
    yield render(results)
    pairs = zip(models, results, strict=True)
    mapped = [await add_maps(model, result, source, images[0], deadline) for model, result in pairs]
    if mapped != results:
        yield render(mapped)


async def _translation(
    translating: Translating,
    model: ServedModel,
    source: str,
    images: Sequence[bytes | None],
    guidance: float,
    n_best: int,
    deadline: float,
) -> Result:
    """What one model makes of the sentence with each picture and without."""
    rows: dict[str, tuple[str, bytes | None]] = {"blank": ("Without a picture", None)}
    notes = []
    if model.reads_images:
        if images[1] is not None:
            rows = {"wrong": ("With another picture", images[1])} | rows
        if images[0] is not None:
            rows = {"right": ("With the picture", images[0])} | rows
        if guidance != 1 and not model.guides:
            guidance, notes = 1.0, ["This model has no guidance: it is exported. The model folder has it."]
    elif any(images):
        notes = [f"This model reads no pictures: {model.images_refused}"]
    try:
        request = TranslateRequest(
            sentences=[Sentence(text=source)] * len(rows),
            model=model.name,
            n_best=n_best,
            guidance=guidance if len(rows) > 1 else 1.0,
        )
        check_texts(request, translating.limits)
        answer = await translating.answer(request, [image for _, image in rows.values()], deadline)
    except (RefusedError, MMTError) as error:
        message = re.sub(r"sentences\[\d+\]\.image", "a picture", str(error))
        return Result(model.name, model.card.source_lang, model.card.target_lang, error=message)
    except ValidationError as error:
        return Result(model.name, model.card.source_lang, model.card.target_lang, error=told(error))
    result = make_result(answer, {kind: title for kind, (title, _) in rows.items()})
    result.notes.extend(notes)
    return result
