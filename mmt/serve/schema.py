"""The bodies of the API's requests and answers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

_RED = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEUlEQVR42mM4YWSEFTEMLQkAc/tLAeVUENYAAAAASUVORK5CYII="

MAX_BEAM = 32


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Sentence(_Body):
    """A sentence, with its image or without."""

    text: Annotated[str, Field(description="In the source language; a long text is translated in parts.")]
    image: Annotated[
        str | None,
        Field(description="The image file in base64, also as a data URL: BMP, GIF, JPEG, PNG, PPM, TIFF or WebP."),
    ] = None


class Settings(_Body):
    """How to translate."""

    model: Annotated[
        str | None, Field(description="A name from /health. Default: the first model that translates.")
    ] = None
    n_best: Annotated[
        int, Field(ge=1, le=MAX_BEAM, description="Translations of each sentence, at most the beam size.")
    ] = 1
    beam_size: Annotated[int | None, Field(ge=1, le=MAX_BEAM, description="Default: the model's.")] = None
    length_penalty: Annotated[float | None, Field(ge=-100, le=100, description="Default: the model's.")] = None
    guidance: Annotated[
        float,
        Field(
            ge=0,
            le=10,
            description="Classifier-free guidance: over 1 amplifies the image's effect, 0 drops it. An exported "
            "model supports only 1.",
        ),
    ] = 1.0
    source_lang: Annotated[str | None, Field(description="Code, if the model has several.")] = None
    target_lang: Annotated[str | None, Field(description="Code, if the model has several.")] = None


class TranslateRequest(Settings):
    """Sentences, and how to translate them."""

    sentences: Annotated[list[Sentence], Field(min_length=1)]


class HypothesisAnswer(_Body):
    """``score``: the log-probability, normalised by length."""

    text: str
    score: float


class SentenceAnswer(_Body):
    """``image_used``: the model read the sentence's image.

    ``out_of_domain``: the text is unlike the training text, so that the translation may be unrelated to it.
    """

    hypotheses: Annotated[list[HypothesisAnswer], Field(description="Best first.")]
    image_used: bool
    out_of_domain: bool


class TranslateAnswer(_Body):
    """One entry for each sentence, in the request's order."""

    model: str
    source_lang: str
    target_lang: str
    translations: list[SentenceAnswer]


class ModelState(_Body):
    """A served model. ``images``: whether it reads images; ``waiting``: sentences not yet translated."""

    name: str
    tasks: list[str]
    source_lang: str
    target_lang: str
    languages: list[str]
    images: bool
    beam_size: int
    waiting: int


class Health(_Body):
    status: str
    version: str
    models: list[ModelState]


class ErrorAnswer(BaseModel):
    """What was wrong with a request, in one line."""

    detail: str


EXAMPLES: dict[str, dict[str, Any]] = {
    "text": {"summary": "One sentence", "value": {"sentences": [{"text": "He wants to see the ring on Sunday."}]}},
    "image": {
        "summary": "A sentence with its image, three translations",
        "value": {
            "sentences": [{"text": "He wants to see the ring on Sunday.", "image": _RED}],
            "n_best": 3,
        },
    },
    "batch": {
        "summary": "Two sentences in one request",
        "value": {"sentences": [{"text": "A dog runs."}, {"text": "A bat hangs on the wall."}], "beam_size": 4},
    },
}
