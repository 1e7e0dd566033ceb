"""The page's parts that need the network in torch: maps over a picture, answers and labels, and retrieval."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np
from numpy.typing import NDArray

from mmt.errors import MMTError
from mmt.evidence.findings import Region
from mmt.features.images import image_file, read_file
from mmt.inference.index import open_index
from mmt.inference.retrieve import find_answers
from mmt.serve.limits import RefusedError
from mmt.serve.models import ServedModel
from mmt.serve.pictures import check_picture, from_base64
from mmt.serve.reading import check_text
from mmt.serve.results import Result, environment, merged, thumbnail, with_map

if TYPE_CHECKING:
    from mmt.inference.loaded import LoadedModel
    from mmt.serve.api import Translating

_ANSWERS = 12  # of a search
_COARSE = 3  # patches in a row, where smaller ones change nothing
_SENTENCES = 64  # to compare with a picture


async def add_maps(
    model: ServedModel, result: Result, source: str, image: bytes | None, deadline: float
) -> Result:
    """The result with the map over the picture, where the model can make one; a note says why not."""
    if result.error or image is None or not model.reads_images:
        return result
    loaded = model.loaded
    if loaded is None:
        return _noted(result, "No map over the picture: an exported model and an ensemble make none.")
    text = " ".join(word.text for word in result.rows[0].words)

    def work() -> Result:
        # Imports torch, which is loaded with such a model.
        from mmt.evidence.inside import image_importance, patch_importance

        found = image_importance(loaded, source, text, image)
        while found is not None:
            words, importance = merged(found.tokens, found.values)
            mapped = with_map(result, image, words, importance, [Region(*box) for box in found.boxes or []])
            if mapped.mapped or found.method != "patches" or len(found.boxes or []) <= _COARSE**2:
                return mapped
            found = patch_importance(loaded, source, text, image, _COARSE)
        return _noted(result, "No map over the picture: the model has several sets of features.")

    try:
        return await model.in_page_pool(work, deadline)
    except (MMTError, RefusedError) as error:
        return _noted(result, f"No map over the picture: {error}")


def _noted(result: Result, note: str) -> Result:
    return replace(result, notes=[*result.notes, note])


def _rendered(name: str, **values: Any) -> str:
    return environment().get_template(name).render(**values)


def _image(translating: Translating, picture: str) -> bytes | None:
    if not picture:
        return None
    image = from_base64(picture, "Picture")
    check_picture(image, "Picture", translating.limits)
    return image


def add_labels(translating: Translating, picture_input: Callable[..., gr.HTML]) -> None:
    """A tab for models that give labels (answers to questions) and scores."""
    models = [one for one in translating.models.values() if "labels" in one.tasks]
    most = translating.limits.request_bytes * 3 // 4
    text = gr.Textbox(label="Question or sentence", lines=2, max_length=translating.limits.characters)
    picture = picture_input("Picture of the question", most, pastes=True)
    button = gr.Button("Answer", variant="primary")
    output = gr.HTML("", js_on_load=None, elem_id="labels")

    async def answer(text: str, picture: str) -> str:
        deadline = time.monotonic() + translating.limits.seconds
        try:
            check_text(text, "Question or sentence", translating.limits)
            image = _image(translating, picture)
            rows = [
                (one.name, await one.in_page_pool(lambda one=one: _labels(one, text, image), deadline))  # type: ignore[misc]
                for one in models
            ]
        except (MMTError, RefusedError) as error:
            return _rendered("labels.html", rows=[], error=str(error))
        return _rendered("labels.html", rows=rows, error="")

    gr.on(
        [button.click, text.submit],
        answer,
        [text, picture],
        output,
        api_visibility="private",
        trigger_mode="always_last",
    )


def _labels(
    model: ServedModel, text: str, image: bytes | None
) -> list[tuple[str, str, float | None, float | None]]:
    """How it was asked, the label, its probability and the score; with the picture and without."""
    from mmt.inference.labelling import predict

    asked: list[tuple[str, bytes | None]] = [("without a picture", None)]
    if image is not None and model.card.features is not None:
        asked = [("with the picture", image), *asked]
    found = predict(_loaded(model), [text] * len(asked), [image for _, image in asked])
    return [(how, one.label or "", one.probability, one.score) for (how, _), one in zip(asked, found, strict=True)]


def add_retrieval(translating: Translating, picture_input: Callable[..., gr.HTML], index: Path | None) -> None:
    """A tab for retrieval models: search an index, or compare sentences with a picture.

    Raises:
        MMTError: no served model made the index.
    """
    models = [one for one in translating.models.values() if "retrieval" in one.tasks]
    opened = _open_index(models, index) if index is not None else None
    most = translating.limits.request_bytes * 3 // 4
    label = "Sentences, one a line, that are compared with the picture"
    if opened is not None:
        label = f"Text to search with, or one sentence a line to compare with the picture; index: {opened[1].size}"
    text = gr.Textbox(label=label, lines=4, max_length=translating.limits.characters)
    picture = picture_input("Picture to search with", most, pastes=True)
    with gr.Row():
        compare = gr.Button("Compare with the picture", variant="primary")
        search = gr.Button("Search the index", visible=opened is not None)
    output = gr.HTML("", js_on_load=None, elem_id="found")

    async def run(work: Callable[[], str], model: ServedModel) -> str:
        try:
            return await model.in_page_pool(work, time.monotonic() + translating.limits.seconds)
        except (MMTError, RefusedError) as error:
            return _rendered("found.html", error=str(error), tables=[], items=[], kind="")

    async def compared(text: str, picture: str) -> str:
        lines = list(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))[:_SENTENCES]

        def work() -> str:
            check_text(text, "Text", translating.limits)
            image = _image(translating, picture)
            if image is None or not lines:
                raise MMTError("Write a sentence and choose a picture.")
            tables = [(one.name, _cosines(_loaded(one), lines, image)) for one in models if one.reads_images]
            return _rendered("found.html", error="", tables=tables, items=[], kind="")

        return await run(work, models[0])

    async def searched(text: str, picture: str) -> str:
        assert opened is not None  # noqa: S101  # else the button is hidden
        model, searcher = opened

        def work() -> str:
            check_text(text, "Text", translating.limits)
            image = _image(translating, picture)
            items = _search(_loaded(model), searcher, text.strip(), image)
            return _rendered("found.html", error="", tables=[], items=items, kind=searcher.kind)

        return await run(work, model)

    compare.click(compared, [text, picture], output, api_visibility="private", trigger_mode="always_last")
    search.click(searched, [text, picture], output, api_visibility="private", trigger_mode="always_last")


def _cosines(loaded: LoadedModel, lines: Sequence[str], image: bytes) -> list[tuple[str, float]]:
    """The sentences and their vectors' cosines with the picture's, nearest first."""
    cosines = (_vectors(loaded, lines) @ _vectors(loaded, image)[0]).tolist()
    return sorted(zip(lines, cosines, strict=True), key=lambda row: -row[1])


def _vectors(loaded: LoadedModel, items: Sequence[str] | bytes) -> NDArray[np.float32]:
    """The vectors of sentences, or that of a picture, in rows."""
    # Imports torch, which is loaded with such a model.
    from mmt.inference.embedding import embed_images, embed_sentences

    return embed_images(loaded, [items]) if isinstance(items, bytes) else embed_sentences(loaded, items)


def _open_index(models: Sequence[ServedModel], index: Path) -> tuple[ServedModel, Any]:
    errors = []
    for model in models:
        try:
            return model, open_index(index, Path(model.path))
        except MMTError as error:
            errors.append(error)
    raise errors[0]


def _search(
    loaded: LoadedModel, searcher: Any, text: str, image: bytes | None
) -> list[tuple[int, float, str, str]]:
    """Rank, cosine, name and picture ("" for none) of the nearest items, by the picture if there is one."""
    if image is None and not text:
        raise MMTError("Write a text or choose a picture to search with.")
    vectors = _vectors(loaded, [text] if image is None else image)
    items = []
    for answer in find_answers(searcher, vectors, _ANSWERS)[0]:
        shown = ""
        if searcher.kind == "images" and searcher.images:
            try:
                shown = thumbnail(read_file(image_file(Path(searcher.images), answer.item)))
            except (OSError, ValueError, MMTError):
                shown = ""  # a search without one picture is still a search
        items.append((answer.rank, answer.cosine, answer.item, shown))
    return items


def _loaded(model: ServedModel) -> LoadedModel:
    loaded = model.loaded
    if loaded is None:
        raise MMTError(f"{model.name}: expected a model folder, not an exported model.")
    return loaded
