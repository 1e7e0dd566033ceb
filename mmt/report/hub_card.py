"""The model card of the Hugging Face hub, README.md, from what the model, its result and its evidence say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from langcodes import Language
from langcodes.tag_parser import LanguageTagError

from mmt import __version__
from mmt.errors import MMTError
from mmt.model.card import ModelCard

_METRICS = {"bleu": "bleu", "chrf": "chrf", "ter": "ter"}
"""The hub's names of metrics, by sacreBLEU's in result.json; the papers' BLEU would be taken for sacreBLEU's."""


def hub_card(
    repo: str,
    card: ModelCard,
    *,
    licence: str,
    exported: bool,
    result: Mapping[str, Any] | None = None,
    evidence: Mapping[str, Any] | None = None,
) -> str:
    """The model card in Markdown, with its metadata.

    Args:
        repo: OWNER/NAME.
        licence: the hub's identifier of it, such as ``mit``.
        exported: whether it is an exported model, which needs no torch.
        result: of ``mmt evaluate result``, in result.json.
        evidence: of ``mmt evidence``, in evidence.json.
    Raises:
        MMTError: result or evidence lack what they should have.
    """
    try:
        parts = _parts(card, result, evidence)
        metadata = _metadata(repo, card, licence, result)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise MMTError(
            f"{repo}: expected --result with a result.json of mmt evaluate result and --evidence with an "
            f"evidence.json of mmt evidence; one lacks {error}."
        ) from None
    environment = Environment(  # noqa: S701  # Markdown, which the hub's page escapes
        loader=PackageLoader("mmt.report"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    page: str = environment.get_template("hub_card.md").render(
        metadata=metadata, repo=repo, name=repo.rpartition("/")[2], version=__version__,
        extras="hf" if exported else "train,hf", images=card.features is not None, use=_use(card), **parts,
    )  # fmt: skip
    return page


def _use(card: ModelCard) -> str:
    """The command that the model is for: translate, predict (labels or scores) or retrieve."""
    if card.config.get("writes", True):
        return "translate"
    return "predict" if {"classification", "regression"} & {*card.config.get("heads", ())} else "retrieve"


def _base(card: ModelCard) -> str | None:
    """The name of what it was trained on, also where it has all of the base's weights itself."""
    name = card.text.get("name") or (card.training.get("text") or {}).get("name")
    return name if name is None else str(name)


def _base_on_hub(card: ModelCard) -> str | None:
    """The base's OWNER/NAME; None if there is none, or if it is a folder."""
    place = (_base(card) or "").partition(":")[2].removeprefix("hub:").partition("@")[0]
    return place if re.fullmatch(r"\w[\w.-]*/[\w.-]+", place) and not Path(place).exists() else None


def _parts(
    card: ModelCard, result: Mapping[str, Any] | None, evidence: Mapping[str, Any] | None
) -> dict[str, Any]:
    training = card.training
    facts = {
        "fusion": card.config.get("fusion"),
        "image features": None if card.features is None else str(card.features),
        "base": _base(card),
        "data": training.get("data"),
        "sentences": training.get("sentences"),
        "with an image": training.get("images_in_use"),
        "updates": training.get("updates", training.get("steps")),
        "seed": training.get("seed"),
        "versions": ", ".join(f"{name} {version}" for name, version in (training.get("versions") or {}).items()),
    }
    return {
        "languages": ", ".join(_in_words(pair) for pair in _pairs(card)),
        "source_languages": ", ".join(dict.fromkeys(_language(source) for source, _ in _pairs(card))),
        "facts": [(key, _cell(value)) for key, value in facts.items() if value not in (None, "", [])],
        "result": result,
        "scores": [] if result is None else [_with_name(one) for one in result["scores"].values()],
        "verdict": None if evidence is None else _without_answer(evidence["verdict"]),
        "comparison": None if evidence is None else _without_answer(evidence["comparison"]),
        "evidence": None if evidence is None else {key: evidence["data"][key] for key in ("name", "split")},
    }


def _metadata(repo: str, card: ModelCard, licence: str, result: Mapping[str, Any] | None) -> str:
    """The card's YAML: what the hub searches by, and the scores as ``model-index``."""
    from huggingface_hub import EvalResult, ModelCardData  # in the extra hf

    images = card.features is not None
    results = []
    if result is not None:
        about: dict[str, Any] = {
            "task_type": "translation",
            "task_name": f"Translation {result['languages']}",
            "dataset_type": str(result["data"]),
            "dataset_name": str(result["data"]),
            "dataset_split": str(result["split"]),
        }
        results = [
            EvalResult(
                metric_type=_METRICS[key],
                metric_name=str(score["name"]),
                metric_value=round(float(score["value"]), 2),
                metric_args={"signature": str(score["signature"])},
                **about,
            )
            for key, score in result["scores"].items()
            if key in _METRICS
        ]
    use = _use(card)
    codes = [code for pair in _pairs(card) for code in pair[: None if use == "translate" else 1]]
    task = {"predict": "text-classification", "retrieve": "feature-extraction"}.get(use, "translation")
    data = ModelCardData(
        language=list(dict.fromkeys(_subtag(code) for code in codes if code)),
        license=licence,
        library_name="mmt",
        base_model=_base_on_hub(card),
        pipeline_tag="image-text-to-text" if images and use == "translate" else task,
        tags=[task, *(["multimodal-machine-translation"] if images and use == "translate" else [])],
        model_name=repo.rpartition("/")[2],
        eval_results=results or None,
    )
    return str(data.to_yaml())


def without_answer(sentence: str, answer: str) -> str:
    """A verdict's sentence without the answer, which stands before it."""
    start, colon, rest = sentence.partition(":")
    plain = rest.strip() if colon and start.strip().lower() == answer else sentence
    return plain[:1].upper() + plain[1:]


def _without_answer(verdict: Mapping[str, Any]) -> dict[str, Any]:
    return {**verdict, "sentence": without_answer(str(verdict["sentence"]), verdict["answer"])}


def _with_name(score: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": str(score["name"]), "value": float(score["value"]), "signature": str(score["signature"])}


def _cell(value: Any) -> str:
    text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return " ".join(text.replace("|", "\\|").split())


def _subtag(code: str) -> str:
    try:
        return Language.get(code).language or code
    except LanguageTagError:
        return code


def _pairs(card: ModelCard) -> list[tuple[str, str]]:
    """Source and target language of each pair. A code may contain a hyphen, such as ``pt-BR``."""
    if not card.has_several_pairs:
        return [(card.source_lang, card.target_lang)]
    both = [re.split("-(?=[a-z])", pair, maxsplit=1) for pair in card.pairs]  # regions are in capitals
    return [(source, target) for source, target in both]


def _in_words(pair: tuple[str, str]) -> str:
    """(en, de) as English to German; in codes without the data of langcodes, which the small install lacks."""
    source, target = pair
    return f"{_language(source)} to {_language(target)}"


def _language(code: str) -> str:
    with suppress(ImportError, LanguageTagError):
        return Language.get(code).display_name()
    return code
