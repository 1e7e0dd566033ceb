"""What a model folder says of its model, and its tokenizer: read without torch, as an exported model is, too."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmt.data.domain import PIECES, read_pieces
from mmt.data.feature_signature import FeatureSignature, signature_from
from mmt.data.pretrained_tokenizer import open_tokenizer
from mmt.data.tokenizer import TOKENIZER_FILES, Tokenizer
from mmt.data.vocabulary import VOCABULARY
from mmt.errors import MMTError, unreadable, without_password
from mmt.io.text_files import file_checksum, parse_json

WEIGHTS, CARD = "model.safetensors", "mmt.json"
_FORMAT = 4  # 3: no base; 2: other names of weights, see mmt.model.folder; 1: a single set of features


@dataclass(frozen=True)
class ModelCard:
    """What a model says of itself.

    ``features`` is the signature of the features it was trained on, None for a text-only model; ``decoding`` how
    it translates unless told otherwise; ``training`` what made it (data, seed, updates, scores, versions);
    ``labels`` the names of a classifier's classes, in its order; ``sha256`` the checksums of the folder's other
    files, which are written with them and looked at before they are read (those of earlier versions have none).

    ``text`` identifies the base whose weights the folder lacks, see ``mmt.model.pretrained.find``; empty if it has
    all weights.
    """

    config: dict[str, Any]
    source_lang: str
    target_lang: str
    features: FeatureSignature | None = None
    decoding: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    format: int = _FORMAT
    sha256: dict[str, str] = field(default_factory=dict)
    text: dict[str, str] = field(default_factory=dict)

    def refuse_images(self, what: str) -> None:
        """Raises MMTError if this is a text-only model."""
        if self.features is None:
            raise MMTError(
                f"{what}: the model was trained on text only (fusion: none) and has no use for images. "
                "Leave that out, or use a model trained with images."
            )

    def refuse_writing(self) -> None:
        """Raises MMTError if this model has not learned to write."""
        if not self.config.get("writes", True):
            heads = ", ".join(self.config["heads"])
            raise MMTError(
                f"the model writes nothing: it was trained for {heads} alone. Use mmt predict for labels and "
                "scores, mmt retrieve for retrieval."
            )

    @property
    def pairs(self) -> list[str]:
        """The language pairs that it translates, such as ``en-de``."""
        return self.training.get("pairs") or [f"{self.source_lang}-{self.target_lang}"]

    @property
    def has_several_pairs(self) -> bool:
        """Whether it translates several language pairs, so that somebody has to name one."""
        return len(self.pairs) > 1

    def check_languages(self, languages: tuple[str, str], model: object, data: object) -> None:
        """Raises MMTError unless ``data`` is in the languages, (source, target), that ``model`` translates."""
        if "-".join(languages) not in self.pairs:
            untold = " Say the target language when you prepare the data, even without translations: mmt prepare "
            untold += "table --target-lang CODE --no-target."
            raise MMTError(
                f"{data}: expected {' or '.join(self.pairs)}, what {model} translates, found "
                f"{'-'.join(languages)}.{'' if languages[1] else untold}"
            )


def read_card(folder: Path) -> ModelCard:
    """Reads ``mmt.json``. Raises MMTError where ``folder`` is no model folder, or one of another format."""
    path = folder / CARD
    try:
        raw = parse_json(path.read_text(encoding="utf-8"))
        if raw.get("format") == 1:
            dim, features = raw["config"].pop("image_dim"), raw["features"]
            raw["config"]["image_sets"] = [[features["num_regions"], dim]] if features else []
            raw["format"] = 2
        if raw.get("format") in (2, 3):
            raw["format"] = _FORMAT
        if raw.get("format") != _FORMAT:
            raise MMTError(
                f"{path}: expected format {_FORMAT}, found {raw.get('format')!r}. "
                "Use the version of mmt that wrote this model."
            )
        features = raw.pop("features")
        return _checked(ModelCard(features=signature_from(features) if features else None, **raw))
    except (FileNotFoundError, NotADirectoryError):
        raise MMTError(f"{folder}: no {CARD}, so no model folder. mmt train writes one to OUT/model.") from None
    except PermissionError as error:
        raise unreadable(error) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MMTError(f"{path}: damaged ({error}). Copy the model folder again.") from None


def _checked(card: ModelCard) -> ModelCard:
    """``card``, if its values are of their kinds. Raises ValueError where one is not."""
    tables = (card.config, card.decoding, card.training, card.sha256, card.text)
    texts = (
        card.source_lang,
        card.target_lang,
        *card.labels,
        *card.sha256.values(),
        *card.text.values(),
        *card.config.get("heads", ()),
    )
    if not all(isinstance(t, dict) for t in tables) or not all(isinstance(t, str) for t in texts):
        raise ValueError("a value is of the wrong kind")
    if not all(type(card.config.get(name, False)) is bool for name in ("merge_sets", "normalise_features")):
        raise ValueError("merge_sets or normalise_features is neither true nor false")
    if card.text and not {"name", "family", "sha256"} <= set(card.text):
        raise ValueError(f"text is {card.text}")
    beam_size, penalty = card.decoding.get("beam_size", 1), card.decoding.get("length_penalty", 1.0)
    if (
        type(beam_size) is not int
        or not 1 <= beam_size <= 1000
        or type(penalty) not in (int, float)
        or not abs(penalty) <= 100
    ):
        raise ValueError(f"decoding with {card.decoding}")
    return card


_FOLDERS = re.compile(r"((?:[A-Za-z0-9]{2,}:)?)(?:[/~]|\.\.?/|[A-Za-z]:[/\\]).*[/\\](?=[^/\\])")
_RELATIVE = re.compile(r"()(?!\w+:)[^/\\]+[/\\](?:.*[/\\])?(?=[^/\\])")


def published(value: Any, *, settings: bool = False) -> Any:
    """A part of a card as others may read it, without what concerns the machine that trained the model.

    Of a local path the last part is left (``/home/me/data`` is ``data``, ``clip:/home/me/vit`` is ``clip:vit``).
    Addresses have no password, and configurations no settings of MLflow. Names on the hub, such as
    ``nllb:facebook/nllb-200``, are as they were.

    Args:
        settings: within a configuration, where relative paths are shortened, too.
    """
    if isinstance(value, dict):
        inside = {key: settings or key == "config" for key in value}
        return {
            key: published(one, settings=inside[key])
            for key, one in value.items()
            if not (settings and key == "mlflow")
        }
    if isinstance(value, list):
        return [published(one, settings=settings) for one in value]
    if not isinstance(value, str):
        return value
    if "://" in value:
        return without_password(value)
    found = _FOLDERS.match(value) or (_RELATIVE.match(value) if settings else None)
    return f"{found[1]}{value[found.end() :].rstrip('/')}" if found else value


def check_files(folder: Path, card: ModelCard, names: Iterable[str]) -> None:
    """Raises MMTError for a file of another checksum than the card says."""
    for name in names:
        said = card.sha256.get(name)
        if said is not None and (folder / name).is_file() and file_checksum(folder / name) != said:
            raise MMTError(
                f"{folder / name}: damaged, its checksum is another than {CARD} says. Copy the model folder again."
            )


def load_tokenizer(folder: Path, card: ModelCard) -> Tokenizer:
    """The tokenizer of a model folder, or of an exported model, with what it knows of the training text.

    Raises:
        MMTError: a file is missing or damaged.
    """
    check_files(folder, card, (*TOKENIZER_FILES, PIECES, VOCABULARY))
    tokenizer = open_tokenizer(folder)
    if tokenizer.languages and not card.has_several_pairs:  # else the user names them
        tokenizer = tokenizer.for_languages(card.source_lang, card.target_lang)
    tokenizer.training = read_pieces(folder, tokenizer.vocab_size)
    return tokenizer
