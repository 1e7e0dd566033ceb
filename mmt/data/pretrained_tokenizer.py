"""The tokenizers of pretrained translation models, and the opening of any tokenizer. No torch."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
import sentencepiece

from mmt.data.encoder_tokenizer import EncoderTokenizer, is_of_encoder
from mmt.data.languages import find_language
from mmt.data.sentencepiece_model import open_sentencepiece
from mmt.data.tagged_tokenizer import TaggedTokenizer, tagged_languages
from mmt.data.tokenizer import (
    BOS,
    CONTROL_CHARACTERS,
    EOS,
    MASK,
    PAD,
    TARGET_TOKENIZER,
    TOKENIZER,
    TOKENIZER_CONFIG,
    UNK,
    Tokenizer,
)
from mmt.errors import MMTError, unreadable
from mmt.io.atomic import write_whole
from mmt.io.normalization import normalize
from mmt.io.text_files import parse_json

if TYPE_CHECKING:
    from torch import Tensor

    from mmt.data.domain import TrainingPieces

SPECIALS = ("<pad>", "<unk>", "<s>", "</s>")
"""The pieces of the ids 0 to 3."""

_LARGEST = 1 << 22  # pieces of a vocabulary
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """What ``tokenizer.json`` says of a pretrained model's tokenizer.

    ``kind``: its family, by which languages are named to the model: ``marian`` puts the target language's tag, if
    it has any, before the source; ``nllb`` and ``m2m100`` put the source language's before the source, and begin
    the target with eos and the target language's tag.
    ``vocab_size``: ids of the source's vocabulary, padding included, as the model's embedding has.
    ``pieces``: of each id from 0; empty for ``nllb``, whose SentencePiece model has them in its own order.
    ``target_vocab_size``, ``target_pieces``: of the target's own vocabulary, 0 and () where there is one for both.
    ``languages``: codes and the ids of their tags. ``mask_id``: of the mask, 1 (unk) for none.
    """

    kind: Literal["marian", "nllb", "m2m100"]
    vocab_size: int
    pieces: tuple[str, ...] = ()
    target_vocab_size: int = 0
    target_pieces: tuple[str, ...] = ()
    languages: Mapping[str, int] = field(default_factory=dict)
    mask_id: int = UNK

    def check(self) -> None:
        """Raises ValueError for values that no tokenizer has."""
        sizes = (self.vocab_size, self.target_vocab_size, self.mask_id, *self.languages.values())
        texts = (*self.pieces, *self.target_pieces, *self.languages)
        if not all(type(one) is int and one >= 0 for one in sizes) or not all(type(t) is str for t in texts):
            raise ValueError("a value is of the wrong kind")
        if self.kind not in ("marian", "nllb", "m2m100") or (self.kind == "nllb") != (not self.pieces):
            raise ValueError(f"kind {self.kind!r} with {len(self.pieces):,} pieces")
        if not EOS < self.vocab_size <= _LARGEST or self.target_vocab_size > _LARGEST:
            raise ValueError(f"{self.vocab_size:,} and {self.target_vocab_size:,} ids")
        if any(0 < len(pieces) <= EOS for pieces in (self.pieces, self.target_pieces)):
            raise ValueError("no pieces but pad, unk, bos and eos")
        if len(self.pieces) > self.vocab_size or len(self.target_pieces) > self.target_vocab_size:
            raise ValueError("more pieces than ids")
        if any(tag >= self.vocab_size for tag in (self.mask_id, *self.languages.values())):
            raise ValueError("a language without an id")
        if self.kind != "marian" and (self.target_vocab_size or not self.languages):
            raise ValueError(f"kind {self.kind!r} with two vocabularies or without languages")


def open_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer in ``folder``, a model folder or the output folder of a run.

    One of several languages has to be bound with ``for_languages`` before it encodes.

    Raises:
        MMTError: a file is missing or damaged.
    """
    if not (folder / TOKENIZER_CONFIG).exists():
        return Tokenizer(folder / TOKENIZER)
    if is_of_encoder(folder / TOKENIZER_CONFIG):
        return EncoderTokenizer(folder / TOKENIZER)
    if languages := tagged_languages(folder):
        return TaggedTokenizer(folder / TOKENIZER, languages)
    return PretrainedTokenizer(folder / TOKENIZER, _read_config(folder / TOKENIZER_CONFIG))


def write_tokenizer(folder: Path, config: TokenizerConfig, source: bytes, target: bytes | None = None) -> None:
    """Writes a pretrained model's tokenizer to ``folder``, ``tokenizer.model`` last.

    Args:
        source, target: the SentencePiece models; ``target`` is None where the languages share one.
    """
    config.check()
    if target is not None:
        write_whole(folder / TARGET_TOKENIZER, target)
    text = json.dumps(asdict(config), ensure_ascii=False, separators=(",", ":"))
    write_whole(folder / TOKENIZER_CONFIG, text + "\n")
    write_whole(folder / TOKENIZER, source)


def _read_config(path: Path) -> TokenizerConfig:
    try:
        raw = parse_json(path.read_text(encoding="utf-8"))
        raw |= {name: tuple(raw[name]) for name in ("pieces", "target_pieces")}
        config = TokenizerConfig(**raw)
        config.check()
    except PermissionError as error:
        raise unreadable(error) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MMTError(f"{path}: damaged ({error}). Copy the model folder again.") from None
    return config


class PretrainedTokenizer(Tokenizer):
    """The tokenizer of a pretrained translation model: SentencePiece and a vocabulary, or two of each.

    It gives the ids of transformers' tokenizer of the same family, renumbered so that 0 to 3 are pad, unk, bos and
    eos. A probe's mask becomes the model's own, where it has one.

    ``strange`` and ``lengths`` are of the source's vocabulary.
    """

    def __init__(self, path: Path, config: TokenizerConfig) -> None:
        self.path, self._config = path, config
        target = path.with_name(TARGET_TOKENIZER)
        self._model = open_sentencepiece(path, with_table=True)
        self._target = open_sentencepiece(target, with_table=True) if target.is_file() else self._model
        pieces = list(config.pieces) or _nllb_pieces(self._model, config)
        self._pieces, self._ids = pieces, _numbered(pieces)
        self._target_pieces, self._target_ids = self._pieces, self._ids
        if config.target_vocab_size:
            self._target_pieces = list(config.target_pieces)
            self._target_ids = _numbered(self._target_pieces)
        self.prompt: tuple[int, ...] = (BOS,)
        self.source_prefix: tuple[int, ...] = ()
        self.languages: tuple[str, ...] = tuple(config.languages)
        self.mask_id, self.vocab_size = config.mask_id, config.vocab_size
        self.target_vocab_size = config.target_vocab_size or config.vocab_size
        self._is_bound = not self.languages
        self._silent = frozenset((*config.languages.values(), config.mask_id))
        is_byte = np.zeros(self.vocab_size, bool)
        is_byte[: len(pieces)] = [_BYTE.fullmatch(piece) is not None for piece in pieces]
        self.strange = is_byte | (np.arange(self.vocab_size) == UNK)
        self.lengths = np.zeros(self.vocab_size, np.int64)
        self.lengths[: len(pieces)] = np.where(is_byte[: len(pieces)], 1, [len(piece) for piece in pieces])
        self.training: TrainingPieces | None = None
        words = [piece for number, piece in enumerate(pieces) if number > EOS and not is_byte[number]]
        self._masks = {piece for piece in words if MASK.fullmatch(piece)}
        self.lowercases = all(piece == piece.lower() for piece in words if piece not in self._masks)

    def encode(self, line: str) -> list[int]:
        """The ids of the normalised source line after ``source_prefix``, without eos; [] for an empty line.

        Raises:
            MMTError: a model of several languages, and none was named.
        """
        ids = self._encode(line, self._model, self._ids)
        return [*self.source_prefix, *ids] if ids else []

    def encode_target(self, line: str) -> list[int]:
        return self._encode(line, self._target, self._target_ids)

    def for_languages(self, source: str, target: str) -> Self:
        """See ``Tokenizer.for_languages``; ``source`` is ignored by a model that only tags the target."""
        if not self.languages:
            super().for_languages(source, target)
        tags, bound = self._config.languages, copy.copy(self)
        into = tags[find_language(target, tags)]
        if self._config.kind == "marian":
            bound.source_prefix = (into,)
        else:
            bound.source_prefix, bound.prompt = (tags[find_language(source, tags)],), (EOS, into)
        bound._is_bound = True
        return bound

    def _tag_id(self, tag: str) -> int | None:
        return None

    def decode(self, ids: Sequence[int] | Tensor) -> str:
        """As ``Tokenizer.decode``; tags of languages and the mask are dropped, too."""
        plain = ids if isinstance(ids, Sequence) else ids.tolist()
        silent = frozenset() if self._config.target_vocab_size else self._silent
        pieces = self.target_pieces([int(i) for i in plain if i > EOS and i not in silent])
        text = str(self._target.decode_pieces(pieces)).replace("\u2581", " ")
        return CONTROL_CHARACTERS.sub(" ", text)

    def pieces(self, ids: Sequence[int]) -> list[str]:
        return [self._pieces[i] if i < len(self._pieces) else "" for i in ids]

    def target_pieces(self, ids: Sequence[int]) -> list[str]:
        return [self._target_pieces[i] if i < len(self._target_pieces) else "" for i in ids]

    def _encode(self, line: str, model: sentencepiece.SentencePieceProcessor, ids: Mapping[str, int]) -> list[int]:
        if not self._is_bound:
            raise MMTError(
                f"{self.path}: of {len(self.languages):,} languages. Name the source's and the target's, on the "
                "command line by --source-lang and --target-lang."
            )
        line = normalize(self._lowered(line) if self.lowercases else line)
        parts = MASK.split(line) if self.mask_id != UNK else [line]
        found: list[int] = []
        for number, part in enumerate(parts):
            found += [self.mask_id] * (number > 0)
            # By the pieces, as a character that SentencePiece does not know may be in the vocabulary.
            found += [ids.get(piece, UNK) for piece in model.encode(part.strip(" "), out_type=str)]
        return found


def _numbered(pieces: Sequence[str]) -> dict[str, int]:
    """The id of each piece, apart from pad, bos and eos, which no text has."""
    ids = {piece: number for number, piece in enumerate(pieces) if piece}
    for special in (PAD, BOS, EOS):
        ids.pop(pieces[special], None)
    return ids


def _nllb_pieces(model: sentencepiece.SentencePieceProcessor, config: TokenizerConfig) -> list[str]:
    """The pieces of each id: NLLB's dictionary has one more special token than its SentencePiece model."""
    pieces = [*SPECIALS, *(model.id_to_piece(i) for i in range(3, model.vocab_size()))]
    pieces += [""] * (config.vocab_size - len(pieces))
    tags = {tag: code for code, tag in config.languages.items()} | {config.mask_id: "<mask>"}
    return [tags.get(number, piece) if number > EOS else piece for number, piece in enumerate(pieces)]
