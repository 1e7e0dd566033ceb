"""Tiny random encoders, which transformers and tokenizers write: the reference of the tests of encoders."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers.processors import BertProcessing, RobertaProcessing
from torch import Tensor
from transformers import BertConfig, BertModel, RobertaConfig, RobertaModel

from tests.model.pretrained.checkpoints import LINES

_SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}


@dataclass(frozen=True)
class Encoder:
    """A checkpoint and its reference: ``base`` is FAMILY:FOLDER, ``model`` and ``tokenizer`` are transformers'."""

    base: str
    folder: Path
    model: Any
    tokenizer: Any

    @torch.no_grad()
    def vectors(self, lines: list[str], pooling: str = "mean") -> Tensor:
        """(N, D) sentence vectors, one sentence at a time, as sentence-transformers pools them."""
        vectors = []
        for line in lines:
            ids = torch.tensor([self.tokenizer.encode(line).ids])
            states = self.model(ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]
            vectors.append(states.mean(0) if pooling == "mean" else states[0])
        return torch.stack(vectors)


def bert(folder: Path, pooling: str | None = None, **settings: Any) -> Encoder:
    """BERT with WordPiece; ``pooling``: what ``1_Pooling/config.json`` says, None for no such file.

    Args:
        settings: of transformers' configuration.
    """
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))  # noqa: S106  # no password
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=150, special_tokens=specials, show_progress=False)
    tokenizer.train_from_iterator(LINES, trainer)
    ends = [(piece, tokenizer.token_to_id(piece)) for piece in ("[SEP]", "[CLS]")]
    tokenizer.post_processor = BertProcessing(*ends)
    sizes = {"vocab_size": tokenizer.get_vocab_size() + 3, "max_position_embeddings": 40}
    config = BertConfig(**_SIZES, **sizes, **settings)
    made = _saved("bert", folder, BertModel(config), tokenizer)
    if pooling is not None:
        (folder / "1_Pooling").mkdir()
        modes = {name: name == f"pooling_mode_{pooling}" for name in ("pooling_mode_mean_tokens",
                 "pooling_mode_cls_token", "pooling_mode_max_tokens")}  # fmt: skip
        (folder / "1_Pooling/config.json").write_text(json.dumps({"word_embedding_dimension": 32, **modes}))
    return made


def roberta(folder: Path) -> Encoder:
    """RoBERTa with byte-level BPE; padding is 1, so that positions begin at 2."""
    tokenizer = _bytes()
    sizes = {"vocab_size": tokenizer.get_vocab_size(), "max_position_embeddings": 42, "type_vocab_size": 1}
    model = RobertaModel(RobertaConfig(**_SIZES, **sizes), add_pooling_layer=False)
    return _saved("roberta", folder, model, tokenizer)


def bert_with_tokenizer_of_roberta(folder: Path) -> Encoder:
    """As multilingual-e5-small: config.json's padding is 0, which is the tokenizer's ``<s>``."""
    tokenizer = _bytes()
    model = BertModel(BertConfig(**_SIZES, vocab_size=tokenizer.get_vocab_size(), max_position_embeddings=40))
    assert model.config.pad_token_id == tokenizer.token_to_id("<s>") == 0
    return _saved("bert", folder, model, tokenizer)


def _bytes() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(LINES, trainer)
    tokenizer.post_processor = RobertaProcessing(("</s>", 2), ("<s>", 0))
    return tokenizer


def _saved(family: str, folder: Path, model: Any, tokenizer: Any) -> Encoder:
    torch.manual_seed(0)
    for parameter in model.parameters():  # larger than random ones, biases and norms, too
        torch.nn.init.normal_(parameter, std=0.3)
    model.eval().save_pretrained(folder)
    reference = Tokenizer.from_str(tokenizer.to_str())
    # as published files have them: not for sentences by themselves
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=16, pad_id=model.config.pad_token_id)
    tokenizer.save(str(folder / "tokenizer.json"))
    return Encoder(f"{family}:{folder}", folder, model, reference)
