"""The model folder: everything a translation needs, in files that can be moved and that run no code."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import save_file

from mmt.data.domain import PIECES, TrainingPieces
from mmt.data.tokenizer import TOKENIZER, Tokenizer, copy_tokenizer
from mmt.data.vocabulary import VOCABULARY
from mmt.errors import MMTError
from mmt.io.atomic import replacing_folder
from mmt.io.text_files import file_checksum
from mmt.model.build import build_empty_model
from mmt.model.card import CARD, WEIGHTS, ModelCard, check_files, load_tokenizer, read_card
from mmt.model.config import LARGEST, MMTConfig
from mmt.model.frozen import freeze_text, insert_base
from mmt.model.fusion import find_fusion
from mmt.model.model import MMTModel
from mmt.model.pretrained.find import find_base
from mmt.model.weights import read_weights

_TIED = "text.final_proj.weight"  # the target's embedding under its second name


def save_model(
    folder: Path,
    weights: dict[str, Any],
    tokenizer: Path,
    card: ModelCard,
    pieces: TrainingPieces | None = None,
    vocabulary: NDArray[np.int64] | None = None,
) -> None:
    """Writes a model folder beside ``folder`` and renames it into place; an older one there is replaced.

    Args:
        weights: the model's state dict (tensors by name).
        tokenizer: the SentencePiece model to copy, with the other files of a pretrained tokenizer beside it.
        pieces: how often each of its pieces occurs in the training text.
        vocabulary: the ids with which translations are written, see ``mmt.data.vocabulary``; None: all.
    """
    with replacing_folder(folder) as beside:
        if vocabulary is not None:
            np.save(beside / VOCABULARY, vocabulary)
        _fill(beside, weights, tokenizer, card, pieces)


def _fill(
    beside: Path, weights: dict[str, Any], tokenizer: Path, card: ModelCard, pieces: TrainingPieces | None
) -> None:
    save_file({name: t.contiguous() for name, t in weights.items() if name != _TIED}, beside / WEIGHTS)
    copy_tokenizer(tokenizer, beside)
    raw = asdict(card) | {"features": card.features.to_dict() if card.features else None}
    if pieces is not None:
        (beside / PIECES).write_text(pieces.to_json(), encoding="utf-8")
    raw["sha256"] = {path.name: file_checksum(path) for path in sorted(beside.iterdir())}
    (beside / CARD).write_text(json.dumps(raw, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def load_model(folder: Path) -> tuple[MMTModel, Tokenizer, ModelCard]:
    """Loads a model folder on the CPU, ready to translate.

    If the folder has only what was trained on a frozen base, its text model is frozen and shares the base's
    weights, as far as files can be shared.

    Raises:
        MMTError: a file is missing or damaged, the weights do not fit the configuration, or the base is not found.
    """
    card = read_card(folder)
    _check_fusion(folder, card)
    check_files(folder, card, (WEIGHTS,))
    tokenizer = load_tokenizer(folder, card)
    base = find_base(card.text, folder) if card.text else None
    try:
        weights = read_weights(folder / WEIGHTS)
        given = {} if base is None else base.weights()
        everything = {**weights, **{f"text.{name}": weight for name, weight in given.items()}}
        model = build_empty_model(_fitting(MMTConfig(**card.config), card, everything))
        if base is not None:
            if any(model.is_of_text(name) for name in weights):
                raise ValueError("has weights of the text model, which are its base's")
            insert_base(model, given, base.name, share=True)
            freeze_text(model, saved=False)
        else:
            embed = "text.target_frontend.embed.weight"
            weights[_TIED] = weights[embed if embed in weights else "text.frontend.embed.weight"]
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
    vocab_size = model.text.sizes.vocab_size
    if (tokenizer.vocab_size, tokenizer.target_vocab_size) != (model.config.vocab_size, vocab_size):
        raise MMTError(
            f"{folder}: {TOKENIZER} has {tokenizer.vocab_size:,} pieces, the model {vocab_size:,}. "
            "Copy the model folder again."
        )
    return model.eval(), tokenizer, card


def _check_fusion(folder: Path, card: ModelCard) -> None:
    """Raises MMTError for a fusion that this process does not know, with the module that has it.

    The module is never imported because a card names it: it could be anything.
    """
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
    widths = [config.model_dim, config.vocab_size, config.num_labels, config.adapter_dim, config.lora_rank]
    widths += [dim for _, dim in config.image_sets]
    if layers > len(weights) or max(widths) > max(sides) or max(config.ffn_dim, config.max_length) > LARGEST:
        raise ValueError(f"{CARD} is of a larger model")
    sets = card.features.sets if card.features is not None else ()
    if [tuple(one) for one in config.image_sets] != [(one.num_regions, one.dim) for one in sets] and sets:
        raise ValueError(f"{CARD} has features of other sizes than the model")
    if "classification" in config.heads and len(card.labels) != config.num_labels:
        raise ValueError(f"{CARD} has {len(card.labels)} labels, the model {config.num_labels}")
    return config
