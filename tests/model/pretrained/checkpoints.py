"""Tiny random checkpoints of the families, which transformers writes: the reference of these tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from torch import Tensor, nn
from transformers import (
    M2M100Config,
    M2M100ForConditionalGeneration,
    M2M100Tokenizer,
    MarianConfig,
    MarianMTModel,
    MarianTokenizer,
    NllbTokenizer,
)

from mmt.data.batch import Batch, Example, collate
from mmt.data.tokenizer import BOS, PAD, Tokenizer
from mmt.model.model import MMTModel
from mmt.model.pretrained.base import load_base, open_base
from mmt.model.pretrained.family import PublishedBase
from tests.worlds import sentences

LINES = [side for pair in sentences(200, 3) for side in pair]
ODD = [
    "\ufb01nds the \uff21 tree",  # compatibility characters, which nmt_nfkc replaces
    "A  cat\u00a0sees \u2026 the dog!",
    "Stra\u00dfe na\u00efve caf\u00e9 \u4e2d\u6587 \U0001f436",
    "x",
    "the the the the the the the the the the the the",
]
_POSITIONS = 64
LAYERS = (2, 3)
"""Of encoder and decoder."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint and its reference.

    ``base``: FAMILY:FOLDER. ``languages``: the pair to bind, () for none. ``model``, ``tokenizer``: transformers'.
    """

    base: str
    folder: Path
    model: Any
    tokenizer: Any
    languages: tuple[str, ...] = ()

    def load(self) -> tuple[MMTModel, Tokenizer]:
        model, tokenizer, _ = load_base(self.base, *self.languages)
        return model, tokenizer

    def their_source(self, line: str) -> list[int]:
        if self.base.startswith("marian"):
            return list(self.tokenizer(f">>{self.languages[1]}<< {line}" if self.languages else line).input_ids)
        self.tokenizer.src_lang = self.languages[0]
        return list(self.tokenizer(line).input_ids)

    def their_target(self, line: str) -> list[int]:
        """Without prompt and eos."""
        if self.languages and not self.base.startswith("marian"):
            self.tokenizer.tgt_lang = self.languages[1]
            return list(self.tokenizer(text_target=line).input_ids[1:-1])
        return list(self.tokenizer(text_target=line).input_ids[:-1])

    def order(self, side: str) -> Tensor:
        """Their id of each of our ids, padding excluded."""
        base = open_base(self.base)
        assert isinstance(base, PublishedBase)
        return torch.tensor(base.order(side))

    @torch.no_grad()
    def their_logits(self, batch: Batch) -> Tensor:
        """(N, T, V) of ``batch``, in our ids; padding and the bos that only starts are left as they are: -inf."""
        source, target = self.order("source"), self.order("target")
        logits = self.model(
            input_ids=source[batch.source],
            attention_mask=batch.source != PAD,
            decoder_input_ids=target[batch.target[:, :-1]],
        ).logits[:, batch.prompt_len - 1 :]
        ours = torch.full((*logits.shape[:2], -(-len(target) // 64) * 64), -torch.inf)
        ours[:, :, : len(target)] = logits[:, :, target]
        if len(set(target.tolist())) < len(target):
            ours[:, :, BOS] = -torch.inf
        return ours


def batch_of(tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]]) -> Batch:
    return collate(
        [Example(tokenizer.encode(a), tokenizer.encode_target(b), prompt=tokenizer.prompt) for a, b in pairs]
    )


def train_spm(
    path: Path, lines: Sequence[str] = LINES, vocab_size: int = 90
) -> sentencepiece.SentencePieceProcessor:
    """With the normalisation table and the special tokens that published models have."""
    with path.open("wb") as stream:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=stream,
            vocab_size=vocab_size,
            hard_vocab_limit=False,
            normalization_rule_name="nmt_nfkc",
            num_threads=1,
            minloglevel=2,
        )
    return sentencepiece.SentencePieceProcessor(model_file=str(path))


def marian(
    folder: Path,
    *,
    activation: str = "swish",
    scaled: bool = True,
    two_vocabularies: bool = False,
    tags: Sequence[str] = (),
    safe: bool = True,
    shard: str = "1GB",
    layers: tuple[int, int] = LAYERS,
) -> Checkpoint:
    """``safe``: safetensors rather than a pickle; ``shard``: size of the parts; ``tags``: target languages."""
    folder.mkdir()
    source = train_spm(folder / "source.spm", LINES[::2])
    target = train_spm(folder / "target.spm", LINES[1::2], vocab_size=80)
    sides = [[model.id_to_piece(i) for i in range(3, model.vocab_size())] for model in (source, target)]
    if not two_vocabularies:
        sides = [list(dict.fromkeys([*sides[0], *sides[1]]))]
    names = ["vocab.json", "target_vocab.json"][: len(sides)]
    # as published: eos, unk, ..., pad last; so both vocabularies must be of one size
    size = max(map(len, sides))
    for name, side in zip(names, sides, strict=True):
        side += [f"madeup{n}" for n in range(size - len(side))]
        pieces = ["</s>", "<unk>", *(f">>{tag}<<" for tag in tags), *side, "<pad>"]
        (folder / name).write_text(json.dumps({piece: n for n, piece in enumerate(pieces)}))
    torch.manual_seed(1)
    model = MarianMTModel(
        MarianConfig(
            vocab_size=len(pieces),
            decoder_vocab_size=len(pieces),
            activation_function=activation,
            scale_embedding=scaled,
            share_encoder_decoder_embeddings=not two_vocabularies,
            pad_token_id=len(pieces) - 1,
            decoder_start_token_id=len(pieces) - 1,
            init_std=0.3,
            **_sizes(layers),
        )
    ).eval()
    model.final_logits_bias.normal_(0, 0.2)[0, 0] = 4  # so that translations end
    _randomize_norms(model)
    model.save_pretrained(folder, safe_serialization=safe, max_shard_size=shard)
    files = [str(folder / name) for name in ("source.spm", "target.spm", *names)]
    tokenizer = MarianTokenizer(*files, separate_vocabs=two_vocabularies)
    tokenizer.save_pretrained(folder)
    return Checkpoint(f"marian:{folder}", folder, model, tokenizer, ("", tags[0]) if tags else ())


def nllb(
    folder: Path, *, activation: str = "relu", scaled: bool = True, layers: tuple[int, int] = LAYERS
) -> Checkpoint:
    folder.mkdir()
    path = folder / "sentencepiece.bpe.model"
    pieces = train_spm(path).vocab_size() + 1
    tokenizer = NllbTokenizer(str(path))
    tokenizer.save_pretrained(folder)
    model = _m2m100(folder, pieces + 202 + 3, activation, scaled, layers)
    return Checkpoint(f"nllb:{folder}", folder, model, tokenizer, ("eng_Latn", "deu_Latn"))


def m2m100(folder: Path, *, activation: str = "relu", scaled: bool = True) -> Checkpoint:
    folder.mkdir()
    path = folder / "sentencepiece.bpe.model"
    spm = train_spm(path)
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *(spm.id_to_piece(i) for i in range(3, spm.vocab_size()))]
    (folder / "vocab.json").write_text(json.dumps({piece: number for number, piece in enumerate(pieces)}))
    tokenizer = M2M100Tokenizer(str(folder / "vocab.json"), str(path))
    tokenizer.save_pretrained(folder)
    model = _m2m100(folder, len(pieces) + 100 + 8, activation, scaled)
    return Checkpoint(f"m2m100:{folder}", folder, model, tokenizer, ("en", "de"))


def _m2m100(
    folder: Path, vocab_size: int, activation: str, scaled: bool, layers: tuple[int, int] = LAYERS
) -> M2M100ForConditionalGeneration:
    torch.manual_seed(2)
    sizes = {"vocab_size": vocab_size, "activation_function": activation, "scale_embedding": scaled}
    model = M2M100ForConditionalGeneration(M2M100Config(**sizes, **_sizes(layers), init_std=0.3)).eval()
    _randomize_norms(model)
    with torch.no_grad():  # so that translations end: eos's logit grows
        bias = model.model.decoder.layer_norm.bias
        model.model.shared.weight[2] += (4 if scaled else 12) * bias / bias.square().sum()
    model.save_pretrained(folder)
    return model


def _sizes(layers: tuple[int, int]) -> dict[str, int]:
    sides = ("encoder", "decoder")
    return {
        "d_model": 32,
        "max_position_embeddings": _POSITIONS,
        **{f"{side}_layers": num for side, num in zip(sides, layers, strict=True)},
        **{f"{side}_attention_heads": 4 for side in sides},
        **{f"{side}_ffn_dim": 48 for side in sides},
    }


def _randomize_norms(model: nn.Module) -> None:
    """And the biases, which are 0 at first: a wrong one would not show."""
    for name, weight in model.named_parameters():
        if "norm" in name or name.endswith("bias"):
            nn.init.normal_(weight, float(name.endswith("norm.weight")), 0.1)
