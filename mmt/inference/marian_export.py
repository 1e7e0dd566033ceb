"""Writes a text-only model in Marian's published layout, which transformers' ``MarianMTModel`` reads.

``mmt.model.pretrained.marian`` reads it back, with the same logits.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from mmt.data.tokenizer import BOS, EOS, PAD, UNK, Tokenizer
from mmt.errors import MMTError
from mmt.io.atomic import make_folder, only_writer, replacing_folder
from mmt.model.card import ModelCard
from mmt.model.folder import load_model
from mmt.model.model import MMTModel
from mmt.model.pretrained.family import layer_names

_WEIGHTS = "model.safetensors"
_FILES = {
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "vocab.json",
    "source.spm",
    "target.spm",
    _WEIGHTS,
}


def write_marian(folder: Path, out: Path) -> None:
    """Writes the model of ``folder`` (of ``mmt train``) to ``out``, atomically.

    The layout has one activation and post-norm alone, and positions are stored as weights: transformers adds any
    table. Our pad and bos stay entries of the vocabulary, so that all log-probabilities are the same;
    ``generation_config.json`` forbids to write them.

    Raises:
        MMTError: no model folder; ``out`` exists and is something else; or the layout cannot express the model:
            with images, pre-norm, an LSTM or several languages, or one that writes nothing.
    """
    out = out.resolve()
    if out.exists() and (not out.is_dir() or not {path.name for path in out.iterdir()} <= _FILES):
        raise MMTError(f"{out}: is there already, and is something else. Name another folder.")
    make_folder(out.parent)
    with only_writer(out):
        model, tokenizer, card = load_model(folder)
        card.refuse_writing()
        _check(folder, model, tokenizer)
        with replacing_folder(out) as beside:
            save_file(_weights(model), beside / _WEIGHTS, {"format": "pt"})
            spm = tokenizer.path.read_bytes()
            for name in ("source.spm", "target.spm"):
                (beside / name).write_bytes(spm)
            pieces = tokenizer.pieces(range(tokenizer.vocab_size))
            for name, value in {
                "config.json": _config(model),
                "generation_config.json": _generation(model, card),
                "tokenizer_config.json": _tokenizer(pieces, card),
                "vocab.json": {piece: number for number, piece in enumerate(pieces)},
            }.items():
                text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
                (beside / name).write_text(text, encoding="utf-8")


def _check(folder: Path, model: MMTModel, tokenizer: Tokenizer) -> None:
    """Raises MMTError for what the layout cannot express."""
    config = model.config
    for name, value, expected in (
        ("fusion", config.fusion, "none"),
        ("text_encoder", config.text_encoder, "transformer"),
        ("norm_order", config.norm_order, "post"),
        ("text", config.text, "scratch"),
        ("reads_text", config.reads_text, True),
    ):
        if value != expected:
            raise MMTError(f"{folder}: Marian's layout: expected a model with {name}: {expected}, found {value}.")
    if config.heads:
        raise MMTError(f"{folder}: Marian's layout has no {config.heads[0]}. Train a model that only translates.")
    if type(tokenizer) is not Tokenizer:
        raise MMTError(
            f"{folder}: Marian's layout: expected a model of one pair of languages, found one of several."
        )


def _weights(model: MMTModel) -> dict[str, Tensor]:
    config, text = model.config, model.text
    ours: dict[str, Tensor] = text.state_dict()
    names = layer_names(config.num_encoder_layers, config.num_decoder_layers, last_norms=False)
    weights = {theirs: ours[own].contiguous() for own, theirs in names}
    weights["model.shared.weight"] = ours["frontend.embed.weight"].contiguous()
    positions: Any = text.frontend.pos_encoder
    for side in ("encoder", "decoder"):
        weights[f"model.{side}.embed_positions.weight"] = positions.freqs[1:].clone()
    bias = ours.get("final_proj.bias")
    weights["final_logits_bias"] = (torch.zeros(config.vocab_size) if bias is None else bias)[None].clone()
    return weights


def _config(model: MMTModel) -> dict[str, Any]:
    config = model.config
    sides = ("encoder", "decoder")
    return {
        "architectures": ["MarianMTModel"],
        "model_type": "marian",
        "is_encoder_decoder": True,
        "activation_function": config.activation,
        "activation_dropout": 0.0,
        "attention_dropout": 0.0,
        "dropout": config.dropout_p,
        "d_model": config.model_dim,
        "encoder_layers": config.num_encoder_layers,
        "decoder_layers": config.num_decoder_layers,
        **{f"{side}_attention_heads": config.num_heads for side in sides},
        **{f"{side}_ffn_dim": config.ffn_dim for side in sides},
        "max_position_embeddings": config.max_length,
        "normalize_before": False,
        "normalize_embedding": False,
        "scale_embedding": config.scaled_embedding,
        "share_encoder_decoder_embeddings": True,
        "static_position_embeddings": True,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "vocab_size": config.vocab_size,
        "decoder_vocab_size": config.vocab_size,
        "pad_token_id": PAD,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "decoder_start_token_id": BOS,
        "forced_eos_token_id": EOS,
    }


def _generation(model: MMTModel, card: ModelCard) -> dict[str, Any]:
    return {
        "bad_words_ids": [[PAD], [BOS]],
        "bos_token_id": BOS,
        "decoder_start_token_id": BOS,
        "early_stopping": True,
        "eos_token_id": EOS,
        "forced_eos_token_id": EOS,
        "length_penalty": card.decoding.get("length_penalty", 1.0),
        "max_length": model.config.max_length,
        "num_beams": card.decoding.get("beam_size", 5),
        "pad_token_id": PAD,
    }


def _tokenizer(pieces: list[str], card: ModelCard) -> dict[str, Any]:
    return {
        "tokenizer_class": "MarianTokenizer",
        "source_lang": card.source_lang,
        "target_lang": card.target_lang,
        "pad_token": pieces[PAD],
        "unk_token": pieces[UNK],
        "eos_token": pieces[EOS],
        "separate_vocabs": False,
    }
