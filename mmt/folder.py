"""The model folder: everything a translation needs, in files that can be moved and that run no code."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmt.errors import MMTError
from mmt.feature_sets import signature_from
from mmt.features import FeatureSignature

if TYPE_CHECKING:
    from mmt.model import MMTModel
    from mmt.text import Tokenizer

WEIGHTS, TOKENIZER, CARD = "model.safetensors", "tokenizer.model", "mmt.json"
_FORMAT = 2
_TIED = "final_proj.weight"  # the embedding under its second name


@dataclass(frozen=True)
class ModelCard:
    """What a model says of itself.

    ``features`` is the signature of the features it was trained on, None for a text-only model; ``decoding`` how
    it translates unless told otherwise; ``training`` what made it (data, seed, updates, scores, versions);
    ``labels`` the names of a classifier's classes, in its order.
    """

    config: dict[str, Any]
    source_lang: str
    target_lang: str
    features: FeatureSignature | None = None
    decoding: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    format: int = _FORMAT

    def refuse_images(self, what: str) -> None:
        """Raises MMTError if this is a text-only model."""
        if self.features is None:
            raise MMTError(
                f"{what}: the model was trained on text only (fusion: none) and has no use for images. "
                "Leave that out, or use a model trained with images."
            )

    def refuse_writing(self) -> None:
        """Raises MMTError if this model has not learnt to write."""
        if not self.config.get("writes", True):
            heads = ", ".join(self.config["heads"])
            raise MMTError(
                f"the model writes nothing: it was trained for {heads} alone. Use mmt predict for labels and "
                "scores, mmt retrieve for retrieval."
            )

    def check_languages(self, languages: tuple[str, str], model: object, data: object) -> None:
        """Raises MMTError unless ``data`` is in the languages, (source, target), that ``model`` translates."""
        if (self.source_lang, self.target_lang) != languages:
            raise MMTError(
                f"{data}: expected {self.source_lang}-{self.target_lang}, what {model} translates, found "
                f"{'-'.join(languages)}."
            )


def save_model(folder: Path, weights: dict[str, Any], tokenizer: Path, card: ModelCard) -> None:
    """Writes a model folder beside ``folder`` and renames it into place; an older one there is replaced.

    Args:
        weights: the model's state dict (tensors by name).
        tokenizer: the SentencePiece model to copy.
    """
    from safetensors.torch import save_file

    beside = folder.with_name(folder.name + ".writing")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    save_file({name: t.contiguous() for name, t in weights.items() if name != _TIED}, beside / WEIGHTS)
    shutil.copyfile(tokenizer, beside / TOKENIZER)
    raw = asdict(card) | {"features": card.features.to_dict() if card.features else None}
    (beside / CARD).write_text(json.dumps(raw, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if folder.exists():
        old = folder.with_name(folder.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
        beside.rename(folder)
        shutil.rmtree(old)
    else:
        beside.rename(folder)


def read_card(folder: Path) -> ModelCard:
    """Reads ``mmt.json``. Raises MMTError where ``folder`` is no model folder, or one of another format."""
    path = folder / CARD
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw.get("format") == 1:  # one set of features, by its width
            dim, features = raw["config"].pop("image_dim"), raw["features"]
            raw["config"]["image_sets"] = [[features["num_regions"], dim]] if features else []
            raw["format"] = _FORMAT
        if raw.get("format") != _FORMAT:
            raise MMTError(
                f"{path}: expected format {_FORMAT}, found {raw.get('format')!r}. "
                "Use the version of mmt that wrote this model."
            )
        features = raw.pop("features")
        return ModelCard(features=signature_from(features) if features else None, **raw)
    except (FileNotFoundError, NotADirectoryError):
        raise MMTError(f"{folder}: no {CARD}, so no model folder. mmt train writes one to OUT/model.") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MMTError(f"{path}: damaged ({error}). Copy the model folder again.") from None


def load_model(folder: Path) -> tuple[MMTModel, Tokenizer, ModelCard]:
    """Loads a model folder on the CPU, ready to translate.

    Raises:
        MMTError: a file is missing or damaged, or the weights do not fit the configuration.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from mmt.model import MMTModel
    from mmt.sizes import MMTConfig
    from mmt.text import Tokenizer

    card = read_card(folder)
    tokenizer = Tokenizer(folder / TOKENIZER)
    try:
        model = MMTModel(MMTConfig(**card.config))
        weights = load_file(folder / WEIGHTS)
        for name in ("weight", "bias"):  # of format 1
            if f"image_proj.{name}" in weights:
                weights[f"image_proj.0.{name}"] = weights.pop(f"image_proj.{name}")
        weights[_TIED] = weights["frontend.embed.weight"]
        model.load_state_dict(weights)
    except FileNotFoundError:
        raise MMTError(f"{folder}: no {WEIGHTS} there. Copy the model folder again.") from None
    except (SafetensorError, RuntimeError, KeyError, TypeError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise MMTError(f"{folder / WEIGHTS}: cannot be loaded ({reason}). Copy the model folder again.") from None
    if tokenizer.vocab_size != model.config.vocab_size:
        raise MMTError(
            f"{folder}: {TOKENIZER} has {tokenizer.vocab_size:,} pieces, the model {model.config.vocab_size:,}. "
            "Copy the model folder again."
        )
    return model.eval(), tokenizer, card
