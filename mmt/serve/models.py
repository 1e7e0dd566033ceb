"""The models of a server: opened once, their sentences translated in batches, their images read once."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import io
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from PIL import Image

from mmt.errors import MMTError
from mmt.inference.ensemble import read_joint_card
from mmt.inference.open import Runtime, open_translator
from mmt.inference.own_graphs import FolderTranslator
from mmt.inference.runtime_model import ImageFeatures
from mmt.inference.translator import BaseTranslator, Translation
from mmt.serve.batching import Batcher
from mmt.serve.limits import Limits, RefusedError
from mmt.serve.metrics import Metrics

if TYPE_CHECKING:
    from mmt.inference.loaded import LoadedModel
    from mmt.model.card import ModelCard
    from mmt.model.stepping import Precision

_LONG = 600  # characters of a sentence that may be translated in parts
_KNOWN_IMAGES = 512  # of which features are kept
_GENERIC = ("model", "export", "exported", "onnx")  # folder names that say nothing of a model
_Result = TypeVar("_Result")


class Options(NamedTuple):
    """Settings that the sentences of one batch share; languages are None for the model's own."""

    beam_size: int
    length_penalty: float | None
    guidance: float
    source_lang: str | None = None
    target_lang: str | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """A sentence and its image's features."""

    text: str
    image: ImageFeatures | None
    n_best: int


@dataclass(slots=True)
class _Reading:
    """An image that is being read, or waits for that, for one or more sentences."""

    future: Future[ImageFeatures]
    waiters: int = 0


class ServedModel:
    """A model with its threads."""

    def __init__(
        self,
        name: str,
        card: ModelCard,
        model: BaseTranslator | LoadedModel,
        threads: int,
        limits: Limits,
        metrics: Metrics,
        path: str = "",
    ) -> None:
        """``model``: a translator where the card says that the model writes, else a loaded model."""
        self.name, self.path, self.card, self._model = name, path, card, model
        self._views: dict[tuple[str | None, str | None], BaseTranslator] = {}
        self._lock = threading.Lock()
        self._known: OrderedDict[bytes, ImageFeatures] = OrderedDict()
        self._reading: dict[bytes, _Reading] = {}
        self._metrics = metrics
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"{name}-images")
        self._page_pool = ThreadPoolExecutor(1, thread_name_prefix=f"{name}-page")
        self.images_refused = self._warm_up()
        observe = metrics.batch_sizes.labels(name).observe
        self.batcher = Batcher[Options, Item, list[Translation]](
            self._translate,
            is_long=lambda item: len(item.text) > _LONG,
            threads=threads,
            batch=limits.batch,
            waiting=limits.waiting,
            observe=observe,
            name=name,
        )
        metrics.waiting.labels(name).set_function(lambda: self.batcher.waiting)

    def _warm_up(self) -> str:
        """Loads what the first request would load. Returns why the model reads no images; "" if it does."""
        if self.writes:
            self.translator.translate(["."])
        if self.card.features is None:
            return "it was trained on text only"
        picture = io.BytesIO()
        Image.new("RGB", (64, 64), "grey").save(picture, "PNG")
        try:
            self._model.features_of([picture.getvalue()])
        except MMTError as error:
            return str(error)
        return ""

    @property
    def writes(self) -> bool:
        return bool(self.card.config.get("writes", True))

    @property
    def tasks(self) -> list[str]:
        """Of ``translation``, ``retrieval`` and ``labels``, those that the model was trained for."""
        heads = self.card.config.get("heads", ())
        tasks = ["translation"] if self.writes else []
        tasks += ["retrieval"] if "contrastive" in heads else []
        return tasks + (["labels"] if {"classification", "regression"} & set(heads) else [])

    @property
    def translator(self) -> BaseTranslator:
        """Raises MMTError if the model does not write."""
        self.card.refuse_writing()
        assert isinstance(self._model, BaseTranslator)  # noqa: S101
        return self._model

    @property
    def loaded(self) -> LoadedModel | None:
        """The network in torch, loaded if it is not; None for an exported model and for an ensemble.

        Raises:
            MMTError: the weights of a folder whose graphs are served cannot be loaded.
        """
        if isinstance(self._model, FolderTranslator):
            return self._model.in_torch()
        # Not isinstance, for which a server of exported models would have to import torch.
        return cast("LoadedModel", self._model) if hasattr(self._model, "model") else None

    @property
    def reads_images(self) -> bool:
        return not self.images_refused

    @property
    def guides(self) -> bool:
        """Whether it can amplify the effect of an image."""
        return (
            self.reads_images
            and self.writes
            and all(hasattr(one, "model") or isinstance(one, FolderTranslator) for one in self.translator.members)
        )

    @property
    def languages(self) -> tuple[str, ...]:
        """The codes that a request can choose from; empty for a model of one pair of languages."""
        return self._model.tokenizer.languages if not self.writes or len(self.translator.members) == 1 else ()

    @property
    def beam_size(self) -> int:
        return int(self.card.decoding.get("beam_size", 5))

    async def features_of(self, image: bytes, where: str, deadline: float) -> ImageFeatures:
        """The features of an image file's bytes; those of the last few hundred images are kept.

        Raises:
            RefusedError: the model reads no images, or not this one (422), or the time is up (504).
        """
        if not self.reads_images:
            raise RefusedError(422, f"{where}: the model {self.name} reads no images: {self.images_refused}")
        count = self._metrics.images.labels
        key = hashlib.sha256(image).digest()
        if (known := self._known.get(key)) is not None:
            self._known.move_to_end(key)
            count(self.name, "known").inc()
            return known
        try:
            features = await self._read(key, image, deadline)
        except MMTError as error:
            count(self.name, "refused").inc()
            raise RefusedError(422, f"{where}: {error}") from None
        if key in self._known:  # read for another sentence
            count(self.name, "known").inc()
            return features
        count(self.name, "read").inc()
        self._known[key] = features
        if len(self._known) > _KNOWN_IMAGES:
            self._known.popitem(last=False)
        return features

    async def _read(self, key: bytes, image: bytes, deadline: float) -> ImageFeatures:
        """Reads an image once for all that wait for it, and not at all if none of them waits any more."""

        def work() -> ImageFeatures:
            (features,) = self._model.features_of([image])
            assert features is not None  # noqa: S101  # as there is an image
            return features

        reading = self._reading.get(key)
        if reading is None:
            reading = self._reading[key] = _Reading(self._pool.submit(work))
        reading.waiters += 1
        try:
            return await _until(deadline, asyncio.shield(asyncio.wrap_future(reading.future)))
        finally:
            reading.waiters -= 1
            if not reading.waiters:
                reading.future.cancel()
                self._reading.pop(key, None)

    async def in_page_pool(self, work: Callable[[], _Result], deadline: float) -> _Result:
        """Runs what the page computes for long in a thread of its own: the API's images do not wait for it.

        Raises:
            RefusedError: it takes longer (504).
        """
        return await _until(deadline, asyncio.get_running_loop().run_in_executor(self._page_pool, work))

    async def translate(self, options: Options, items: Sequence[Item], deadline: float) -> list[list[Translation]]:
        """The translations of each item, best first.

        Raises:
            RefusedError: as ``Batcher.results``; settings that this model does not have (422).
        """
        if any(item.n_best > options.beam_size for item in items):
            raise RefusedError(422, f"n_best: expected at most the beam size, {options.beam_size}.")
        try:
            self._view(options)
            return await self.batcher.results(options, items, deadline)
        except MMTError as error:
            raise RefusedError(422, str(error)) from None

    def _translate(self, options: Options, items: Sequence[Item]) -> list[list[Translation]]:
        found = self._view(options).hypotheses(
            [item.text for item in items],
            [item.image for item in items],
            beam_size=options.beam_size,
            length_penalty=options.length_penalty,
            guidance=options.guidance,
            n_best=max(item.n_best for item in items),
        )
        return [hypotheses[: item.n_best] for hypotheses, item in zip(found, items, strict=True)]

    def _view(self, options: Options) -> BaseTranslator:
        """The translator between these languages, which shares the weights."""
        languages = options.source_lang, options.target_lang
        if languages == (None, None):
            return self.translator
        with self._lock:
            if languages not in self._views:
                if not self.languages:
                    raise MMTError(f"the model {self.name} has one pair of languages. Leave the languages out.")
                view = copy.copy(self.translator)
                view.set_languages(*languages)
                self._views[languages] = view
            return self._views[languages]

    def close(self) -> None:
        self.batcher.close()
        for pool in (self._pool, self._page_pool):
            pool.shutdown(cancel_futures=True)


async def _until(deadline: float, work: asyncio.Future[_Result]) -> _Result:
    """Raises RefusedError (504) if it takes longer."""
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            return await work
    except TimeoutError:
        raise RefusedError(504, "the model takes longer than the limit. Send fewer or smaller images.") from None


def open_models(
    specs: Sequence[str],
    limits: Limits,
    metrics: Metrics,
    *,
    threads: int,
    precision: Precision = "float32",
    runtime: Runtime = "auto",
    source_lang: str | None = None,
    target_lang: str | None = None,
) -> list[ServedModel]:
    """Opens models, each a folder, an export, a pretrained text model or an ensemble joined by ``+``.

    Args:
        specs: PATH or NAME=PATH; without a name it is the folder's, or its parent's where that says more.
        threads: for each model: batches, and images, computed at a time.
        precision, runtime, source_lang, target_lang: as of ``open_translator``. A model that does not write runs
            in torch.
    Raises:
        MMTError: as ``open_translator``; two models have one name; or ``runtime`` is onnx, and one writes nothing.
    """
    opened: list[ServedModel] = []
    for spec in specs:
        name, path = _named(spec)
        if name in [one.name for one in opened]:
            raise MMTError(f"{spec}: there is a model {name} already. Name it: {name}2={path}.")
        languages: dict[str, Any] = {"source_lang": source_lang, "target_lang": target_lang}
        model: BaseTranslator | LoadedModel
        if read_joint_card(path).config.get("writes", True):
            # One batch on one core: several batches at a time are faster than several cores on one.
            model = open_translator(path, None, precision, runtime, threads=1, **languages)
        else:
            if runtime == "onnx":
                raise MMTError(f"--runtime onnx: {path} writes nothing, and answers in torch. Use --runtime auto.")
            from mmt.inference.loaded import LoadedModel  # imports torch, which an exported model needs not
            from mmt.inference.threads import use_threads

            use_threads(1)
            model = LoadedModel.from_dir(path, **languages)
        opened.append(ServedModel(name, model.card, model, threads, limits, metrics, path))
    return opened


def _named(spec: str) -> tuple[str, str]:
    name, equals, path = spec.partition("=")
    if equals and "/" not in name and not Path(spec).exists():
        return name, path
    return "+".join(_name(Path(one)) for one in spec.split("+")), spec


def _name(path: Path) -> str:
    parts = [part for part in path.parts if part not in ("/", "..", ".")] or [str(path)]
    return next((part for part in reversed(parts) if part not in _GENERIC), parts[-1])
