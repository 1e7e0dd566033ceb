"""The model folder: everything a translation needs, in files that can be moved and that run no code."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmt.data.domain import PIECES, TrainingPieces, read_pieces
from mmt.data.feature_store import FeatureSignature, signature_from
from mmt.errors import MMTError, unreadable
from mmt.io.atomic import replacing_folder
from mmt.io.text_files import file_checksum, parse_json
from mmt.model.config import LARGEST

if TYPE_CHECKING:
    from mmt.data.tokenizer import Tokenizer
    from mmt.model.config import MMTConfig
    from mmt.model.model import MMTModel

WEIGHTS, TOKENIZER, CARD = "model.safetensors", "tokenizer.model", "mmt.json"
_FORMAT = 2
_TIED = "final_proj.weight"  # the embedding under its second name


@dataclass(frozen=True)
class ModelCard:
    """What a model says of itself.

    ``features`` is the signature of the features it was trained on, None for a text-only model; ``decoding`` how
    it translates unless told otherwise; ``training`` what made it (data, seed, updates, scores, versions);
    ``labels`` the names of a classifier's classes, in its order; ``sha256`` the checksums of the folder's other
    files, which are written with them and looked at before they are read (those of earlier versions have none).
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


def save_model(
    folder: Path, weights: dict[str, Any], tokenizer: Path, card: ModelCard, pieces: TrainingPieces | None = None
) -> None:
    """Writes a model folder beside ``folder`` and renames it into place; an older one there is replaced.

    Args:
        weights: the model's state dict (tensors by name).
        tokenizer: the SentencePiece model to copy.
        pieces: how often each of its pieces occurs in the training text.
    """
    with replacing_folder(folder) as beside:
        _fill(beside, weights, tokenizer, card, pieces)


def _fill(
    beside: Path, weights: dict[str, Any], tokenizer: Path, card: ModelCard, pieces: TrainingPieces | None
) -> None:
    from safetensors.torch import save_file

    save_file({name: t.contiguous() for name, t in weights.items() if name != _TIED}, beside / WEIGHTS)
    shutil.copyfile(tokenizer, beside / TOKENIZER)
    raw = asdict(card) | {"features": card.features.to_dict() if card.features else None}
    if pieces is not None:
        (beside / PIECES).write_text(pieces.to_json(), encoding="utf-8")
    raw["sha256"] = {path.name: file_checksum(path) for path in sorted(beside.iterdir())}
    (beside / CARD).write_text(json.dumps(raw, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_card(folder: Path) -> ModelCard:
    """Reads ``mmt.json``. Raises MMTError where ``folder`` is no model folder, or one of another format."""
    path = folder / CARD
    try:
        raw = parse_json(path.read_text(encoding="utf-8"))
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
        return _checked(ModelCard(features=signature_from(features) if features else None, **raw))
    except (FileNotFoundError, NotADirectoryError):
        raise MMTError(f"{folder}: no {CARD}, so no model folder. mmt train writes one to OUT/model.") from None
    except PermissionError as error:
        raise unreadable(error) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MMTError(f"{path}: damaged ({error}). Copy the model folder again.") from None


def _checked(card: ModelCard) -> ModelCard:
    """``card``, if its values are of their kinds. Raises ValueError where one is not."""
    tables = (card.config, card.decoding, card.training, card.sha256)
    texts = (
        card.source_lang,
        card.target_lang,
        *card.labels,
        *card.sha256.values(),
        *card.config.get("heads", ()),
    )
    if not all(isinstance(t, dict) for t in tables) or not all(isinstance(t, str) for t in texts):
        raise ValueError("a value is of the wrong kind")
    beam_size, penalty = card.decoding.get("beam_size", 1), card.decoding.get("length_penalty", 1.0)
    if (
        type(beam_size) is not int
        or not 1 <= beam_size <= 1000
        or type(penalty) not in (int, float)
        or not abs(penalty) <= 100
    ):
        raise ValueError(f"decoding with {card.decoding}")
    return card


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
    from mmt.data.tokenizer import Tokenizer

    check_files(folder, card, (TOKENIZER, PIECES))
    tokenizer = Tokenizer(folder / TOKENIZER)
    tokenizer.training = read_pieces(folder, tokenizer.vocab_size)
    return tokenizer


def load_model(folder: Path) -> tuple[MMTModel, Tokenizer, ModelCard]:
    """Loads a model folder on the CPU, ready to translate.

    Raises:
        MMTError: a file is missing or damaged, or the weights do not fit the configuration.
    """
    from safetensors.torch import load_file

    from mmt.model.config import MMTConfig
    from mmt.model.model import MMTModel

    card = read_card(folder)
    _check_fusion(folder, card)
    check_files(folder, card, (WEIGHTS,))
    tokenizer = load_tokenizer(folder, card)
    try:
        weights = load_file(folder / WEIGHTS)
        model = MMTModel(_fitting(MMTConfig(**card.config), card, weights))
        for name, tensor in weights.items():
            if not tensor.isfinite().all():
                raise ValueError(f"{name} has values that are not numbers, or infinite")
        for name in ("weight", "bias"):  # of format 1
            if f"image_proj.{name}" in weights:
                weights[f"image_proj.0.{name}"] = weights.pop(f"image_proj.{name}")
        weights[_TIED] = weights["frontend.embed.weight"]
        model.load_state_dict(weights)
    except FileNotFoundError:
        if any(folder.glob("*.onnx")):
            raise MMTError(
                f"{folder}: expected a model folder with {WEIGHTS}, found an exported model, which mmt translate "
                "alone can use, without --runtime torch. Name the model it was exported from."
            ) from None
        raise MMTError(f"{folder}: no {WEIGHTS} there. Copy the model folder again.") from None
    except MMTError:
        raise
    except Exception as error:  # sizes that make no sense fail anywhere in the building of a model
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise MMTError(f"{folder / WEIGHTS}: cannot be loaded ({reason}). Copy the model folder again.") from None
    if tokenizer.vocab_size != model.config.vocab_size:
        raise MMTError(
            f"{folder}: {TOKENIZER} has {tokenizer.vocab_size:,} pieces, the model {model.config.vocab_size:,}. "
            "Copy the model folder again."
        )
    return model.eval(), tokenizer, card


def _check_fusion(folder: Path, card: ModelCard) -> None:
    """Raises MMTError for a fusion that this process does not know, with the module that has it.

    The module is never imported because a card names it: it could be anything.
    """
    from mmt.model.fusion import find_fusion

    name, module = str(card.config.get("fusion")), str(card.training.get("fusion_module", ""))
    try:
        find_fusion(name)
    except MMTError as error:
        if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", module):
            raise MMTError(f"{folder}: {error}") from None
        raise MMTError(
            f"{folder}: its fusion '{name}' is not one of mmt's, but of the module '{module}'. Give --import "
            f"{module}, or the path of its file; in Python, import {module} first."
        ) from None


def _fitting(config: MMTConfig, card: ModelCard, weights: Mapping[str, Any]) -> MMTConfig:
    """``config``, if a model of these sizes is about as large as ``weights``: else it could take all memory.

    Raises:
        ValueError: it is not, or features or labels are of another number than the card's.
    """
    layers = max(config.num_encoder_layers, config.num_decoder_layers, config.num_frame_layers)
    sides = [side for tensor in weights.values() for side in tensor.shape]
    widths = [config.model_dim, config.vocab_size, config.num_labels, *(dim for _, dim in config.image_sets)]
    if layers > len(weights) or max(widths) > max(sides) or max(config.ffn_dim, config.max_length) > LARGEST:
        raise ValueError(f"{CARD} is of a larger model")
    sets = card.features.sets if card.features is not None else ()
    if [tuple(one) for one in config.image_sets] != [(one.num_regions, one.dim) for one in sets] and sets:
        raise ValueError(f"{CARD} has features of other sizes than the model")
    if "classification" in config.heads and len(card.labels) != config.num_labels:
        raise ValueError(f"{CARD} has {len(card.labels)} labels, the model {config.num_labels}")
    return config
