"""The HTTP API: ``POST /translate``, ``/health``, ``/metrics`` and a page that describes them, ``/docs``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mmt import __version__
from mmt.inference.runtime_model import ImageFeatures
from mmt.serve.limits import Limits, RefusedError
from mmt.serve.metrics import CONTENT_TYPE, Metrics
from mmt.serve.models import Item, Options, ServedModel
from mmt.serve.pictures import check_picture
from mmt.serve.reading import Budget, parse_request
from mmt.serve.schema import (
    EXAMPLES,
    ErrorAnswer,
    Health,
    HypothesisAnswer,
    ModelState,
    SentenceAnswer,
    Settings,
    TranslateAnswer,
    TranslateRequest,
)

_Answering = Callable[[Request], Awaitable[Response]]
_PATHS = ("/translate", "/health", "/metrics")
_GONE = 499  # as nginx: the client closed the connection, and nobody reads this
_ERRORS: dict[int | str, dict[str, Any]] = {
    408: {"model": ErrorAnswer, "description": "The request did not arrive within the time limit."},
    413: {"model": ErrorAnswer, "description": "Too many bytes, pixels, sentences or characters."},
    415: {"model": ErrorAnswer, "description": "Neither JSON nor multipart."},
    422: {"model": ErrorAnswer, "description": "A wrong field, a bad image, or a setting that the model lacks."},
    503: {"model": ErrorAnswer, "description": "Too much is waiting; Retry-After says when to try again."},
    504: {"model": ErrorAnswer, "description": "No translation within the time limit."},
}


class Translating:
    """Answers requests for translations, from the API and from the page."""

    def __init__(self, models: Sequence[ServedModel], limits: Limits, metrics: Metrics) -> None:
        """``models``: at least one, the first is the default."""
        self.models, self.limits, self.metrics = {one.name: one for one in models}, limits, metrics
        self.budget = Budget(limits)

    def model(self, name: str | None) -> ServedModel:
        """The first model that translates if ``name`` is None. Raises RefusedError (422)."""
        if name is None:
            name = next((one.name for one in self.models.values() if one.writes), next(iter(self.models)))
        if name not in self.models:
            raise RefusedError(422, f"model: expected one of {', '.join(self.models)}, found {name!r}.")
        return self.models[name]

    async def answer(
        self, request: TranslateRequest, images: Sequence[bytes | None], deadline: float
    ) -> TranslateAnswer:
        """
        Args:
            images: the image file of each sentence.
            deadline: of ``time.monotonic``.
        Raises:
            RefusedError: see ``_ERRORS``.
        """
        model = self.model(request.model)
        places = [f"sentences[{number}].image" for number in range(len(images))]
        for image, where in zip(images, places, strict=True):
            if image is not None:
                check_picture(image, where, self.limits)
        given = [
            model.features_of(image, where, deadline)
            for image, where in zip(images, places, strict=True)
            if image is not None
        ]
        read = await asyncio.gather(*given, return_exceptions=True)  # all end, so that no error is left unseen
        ready: list[ImageFeatures] = []
        for outcome in read:
            if isinstance(outcome, BaseException):
                raise outcome
            ready.append(outcome)
        rest = iter(ready)
        features = [None if image is None else next(rest) for image in images]
        items = [
            Item(one.text, image, request.n_best) for one, image in zip(request.sentences, features, strict=True)
        ]
        options = Options(
            request.beam_size or max(model.beam_size, request.n_best),
            request.length_penalty,
            request.guidance,
            request.source_lang,
            request.target_lang,
        )
        found = await model.translate(options, items, deadline)
        self.metrics.sentences.labels(model.name).inc(len(found))
        return TranslateAnswer(
            model=model.name,
            source_lang=request.source_lang or model.card.source_lang,
            target_lang=request.target_lang or model.card.target_lang,
            translations=[
                SentenceAnswer(
                    hypotheses=[HypothesisAnswer(text=one.text, score=round(one.score, 6)) for one in hypotheses],
                    image_used=hypotheses[0].with_image and request.guidance != 0,
                    out_of_domain=hypotheses[0].out_of_domain,
                )
                for hypotheses in found
            ],
        )


def create_app(models: Sequence[ServedModel], limits: Limits, metrics: Metrics) -> FastAPI:
    """The API of some models, which are closed with it."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        for model in models:
            await asyncio.to_thread(model.close)

    app: FastAPI = FastAPIOffline(
        title="mmt",
        version=__version__,
        description="Translate sentences, with their images or without.",
        lifespan=lifespan,
        redoc_url=None,
        favicon_url="data:,",
    )
    app.state.translating = Translating(models, limits, metrics)

    @app.exception_handler(RefusedError)
    async def refused(_: Request, error: RefusedError) -> Response:
        return _refusal(error)

    translate = _add_translate(app, app.state.translating)
    _add_state(app, models, metrics)
    _describe(app)
    app.add_middleware(_Direct, translate=translate)
    app.add_middleware(_Counted, metrics=metrics)
    return app


def _refusal(error: RefusedError) -> Response:
    return JSONResponse({"detail": str(error)}, error.status, error.headers)


def _add_translate(app: FastAPI, translating: Translating) -> _Answering:
    """Returns what answers such a request."""
    limits = translating.limits

    @app.post(
        "/translate",
        responses={200: {"model": TranslateAnswer}, **_ERRORS},
        openapi_extra={"requestBody": _request_body()},
        response_class=Response,
    )
    async def translate(request: Request) -> Response:
        """Translate sentences, each with its image or without, as JSON or as a form.

        A request is answered as a whole: if one of its images cannot be read, the answer is an error that names
        it. In a form, `text` and `image` are repeated, one image for each text (an empty file for none).
        """
        deadline = time.monotonic() + limits.seconds
        try:
            body = await translating.budget.read_in_time(request)
        except ClientDisconnect:
            return Response(status_code=_GONE)

        async def work() -> TranslateAnswer:
            return await translating.answer(*await parse_request(body, request, limits), deadline)

        try:
            answer = await _unless_gone(request, work)
        finally:
            body.release()
        if answer is None:
            return Response(status_code=_GONE)
        return Response(answer.model_dump_json(), media_type="application/json")

    return translate


def _add_state(app: FastAPI, models: Sequence[ServedModel], metrics: Metrics) -> None:
    @app.get("/health")
    async def health() -> Health:
        """Served models and what they can do; 200 as soon as all are loaded."""
        return Health(status="ok", version=__version__, models=[_state(one) for one in models])

    @app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics_text() -> Response:
        """Metrics in the text format of Prometheus."""
        return Response(metrics.text(), headers={"content-type": CONTENT_TYPE})


async def _unless_gone(request: Request, work: Callable[[], Awaitable[TranslateAnswer]]) -> TranslateAnswer | None:
    """What ``work`` returns; None if the client drops the connection first, which cancels it."""
    working = asyncio.current_task()
    assert working is not None  # noqa: S101  # as this is a coroutine
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone = working.cancel()

    watching = asyncio.create_task(watch())
    try:
        return await work()
    except asyncio.CancelledError:
        if not gone or working.uncancel():  # cancelled by somebody else, too
            raise
        return None
    finally:
        watching.cancel()


def _state(model: ServedModel) -> ModelState:
    return ModelState(
        name=model.name,
        tasks=model.tasks,
        source_lang=model.card.source_lang,
        target_lang=model.card.target_lang,
        languages=list(model.languages),
        images=model.reads_images,
        beam_size=model.beam_size,
        waiting=model.batcher.waiting,
    )


class _Direct:
    """Answers requests for translations ahead of FastAPI's routes, which took a fifth of a request's own time.

    FastAPI has the route for its description, and for other methods and spellings of the path.
    """

    def __init__(self, app: ASGIApp, translate: _Answering) -> None:
        self._app, self._translate = app, translate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/translate" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        try:
            response = await self._translate(Request(scope, receive))
        except RefusedError as error:
            response = _refusal(error)
        await response(scope, receive, send)


class _Counted:
    """Counts and times requests; those of the page under one name."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"] if scope["path"] in _PATHS else "page"
        started, status = time.monotonic(), 500

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, counted)
        finally:
            self._metrics.requests.labels(path, str(status)).inc()
            self._metrics.seconds.labels(path).observe(time.monotonic() - started)


def _request_body() -> dict[str, Any]:
    settings = {name: {"type": "string"} for name in Settings.model_fields}
    form = {
        "type": "object",
        "required": ["text"],
        "properties": {
            "text": {"type": "array", "items": {"type": "string"}},
            "image": {"type": "array", "items": {"type": "string", "format": "binary"}},
        }
        | settings,
    }
    reference = {"$ref": f"#/components/schemas/{TranslateRequest.__name__}"}
    return {
        "required": True,
        "content": {
            "application/json": {"schema": reference, "examples": EXAMPLES},
            "multipart/form-data": {"schema": form},
        },
    }


def _describe(app: FastAPI) -> None:
    """Adds the request's schema, which FastAPI does not see, to the description."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        described = plain()
        schema = TranslateRequest.model_json_schema(ref_template="#/components/schemas/{model}")
        parts = schema.pop("$defs", {})
        described["components"]["schemas"] |= parts | {TranslateRequest.__name__: schema}
        return described

    app.openapi = openapi  # type: ignore[method-assign]
