"""The tokenizer: text to ids and back, by SentencePiece, trained per dataset."""

from __future__ import annotations

import copy
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import sentencepiece

from mmt.data.sentencepiece_model import open_sentencepiece
from mmt.errors import MMTError
from mmt.io.atomic import write_whole
from mmt.io.normalization import normalize

if TYPE_CHECKING:
    from torch import Tensor

    from mmt.data.domain import TrainingPieces

PAD, UNK, BOS, EOS = 0, 1, 2, 3

TOKENIZER, TARGET_TOKENIZER, TOKENIZER_CONFIG = "tokenizer.model", "tokenizer.target.model", "tokenizer.json"
TOKENIZER_FILES = (TARGET_TOKENIZER, TOKENIZER_CONFIG, TOKENIZER)
"""In a model folder. Those of our own training have only the last, see ``mmt.data.pretrained_tokenizer``."""

CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
MASK = re.compile(r"\[MASK(?:_[A-Z]+)?\]")
"""The symbol of a word that a probe masked (``mmt.data.masking``)."""


def train_tokenizer(
    lines: Iterable[str], vocab_size: int, path: Path, symbols: Sequence[str] = (), tags: Sequence[str] = ()
) -> None:
    """Trains a joint BPE vocabulary with byte fallback, so that no character is ever unknown.

    Args:
        lines: source and target sentences of the training split.
        vocab_size: number of pieces, including 4 control symbols and 256 bytes.
        path: of the model to write, atomically.
        symbols: strings that are always one piece, such as a probe's mask.
        tags: pieces that no text contains: of languages (``mmt.data.tagged_tokenizer``) and of datasets
            (``mmt.data.tags``).
    Raises:
        MMTError: the text is too small for ``vocab_size`` pieces, or has more characters; the message gives the
            nearest possible number.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(line for line in map(normalize, lines) if line),
            model_writer=model,
            vocab_size=vocab_size,
            model_type="bpe",
            character_coverage=1.0,
            byte_fallback=True,
            normalization_rule_name="identity",  # normalize() is ours, in training and in use
            remove_extra_whitespaces=False,
            max_sentence_length=1 << 20,
            pad_id=PAD,
            unk_id=UNK,
            bos_id=BOS,
            eos_id=EOS,
            user_defined_symbols=list(symbols),
            control_symbols=list(tags),
            num_threads=1,  # the same model on every machine
            minloglevel=2,
        )
    except RuntimeError as error:
        raise MMTError(f"text.vocab_size: {vocab_size:,} pieces {_why(str(error))}") from None
    write_whole(path, model.getvalue())


def _why(reason: str) -> str:
    """Explains SentencePiece's ``reason`` for a failed training, with the remedy."""
    if found := re.search(r"smaller than required_chars\. \d+ vs (\d+)", reason):
        return (
            f"are too few: the characters of the training text, the 256 bytes and the control symbols are "
            f"{int(found[1]):,} already. Set text.vocab_size to at least {int(found[1]):,}."
        )
    if found := re.search(r"too high \(\d+\).*<= (\d+)", reason):
        return (
            f"are too many: this training text has no more than {int(found[1]):,}. Set text.vocab_size to at most "
            f"{int(found[1]):,}."
        )
    if "sentences_.empty()" in reason:
        return "cannot be learned: the training text has no sentence that is not blank."
    return f"cannot be learned from this training text ({reason.strip().splitlines()[-1]})."


def copy_tokenizer(source: Path, folder: Path) -> None:
    """Copies the tokenizer files beside ``source`` (its ``tokenizer.model``) to ``folder``, that one last."""
    for name in TOKENIZER_FILES:
        path = source if name == TOKENIZER else source.parent / name
        if name == TOKENIZER or path.is_file():
            write_whole(folder / name, path.read_bytes())


class Tokenizer:
    """A SentencePiece model.

    A tokenizer without capital letters in its pieces (except in masks) lowercases its input (``lowercases``). It
    was trained on lowercased text or on a script without case, and the model has never seen the bytes that would
    spell a capital.

    ``prompt``: what the decoder reads before the first token that it writes. ``source_prefix``: what ``encode``
    puts before a sentence. ``languages``: the codes that ``for_languages`` takes; empty for one pair. ``mask_id``:
    what replaces a token to predict in masked language modelling; the unknown piece, which byte fallback never
    uses, where the vocabulary has no mask of its own.

    ``strange`` (V,) bool: bytes and the unknown piece; ``lengths`` (V,) int: characters of each piece, 1 for a
    byte; ``training``: how often each piece occurs in its model's training text, None if unknown
    (``mmt.data.domain``). ``vocab_size`` V; ``target_vocab_size`` is another only with two vocabularies.

    Raises:
        MMTError: ``path`` is missing or is not a SentencePiece model.
    """

    def __init__(self, path: Path) -> None:
        model = open_sentencepiece(path)
        ids = (model.pad_id(), model.unk_id(), model.bos_id(), model.eos_id())
        if ids != (PAD, UNK, BOS, EOS):
            raise MMTError(f"{path}: expected pad, unk, bos, eos as {(PAD, UNK, BOS, EOS)}, found {ids}.")
        self.path = path
        self.prompt: tuple[int, ...] = (BOS,)
        self.source_prefix: tuple[int, ...] = ()
        self.languages: tuple[str, ...] = ()
        self.mask_id: int = UNK
        self.vocab_size: int = model.vocab_size()
        self.target_vocab_size: int = self.vocab_size
        self._model = model
        texts = [i for i in range(EOS + 1, self.vocab_size) if not (model.is_byte(i) or model.is_control(i))]
        pieces = [model.id_to_piece(i) for i in texts]
        is_byte = np.array([model.is_byte(i) for i in range(self.vocab_size)])
        self.strange = is_byte | (np.arange(self.vocab_size) == UNK)
        self.lengths = np.where(is_byte, 1, [len(model.id_to_piece(i)) for i in range(self.vocab_size)])
        self.lengths[[i for i in range(EOS + 1, self.vocab_size) if model.is_control(i)]] = 0  # a tag is not text
        self.training: TrainingPieces | None = None
        self._masks = {piece for piece in pieces if MASK.fullmatch(piece)}
        self.lowercases = all(piece == piece.lower() for piece in pieces if piece not in self._masks)

    def encode(self, line: str) -> list[int]:
        """The ids of the normalised source line after ``source_prefix``, without eos; [] for an empty line."""
        ids = self.encode_target(line)
        return [*self.source_prefix, *ids] if ids else []

    def tagged(self, tag: str) -> Self:
        """This tokenizer with ``tag`` (``mmt.data.tags``) at the end of ``source_prefix``; as it is for "".

        Raises:
            MMTError: the vocabulary has no such tag.
        """
        if not tag:
            return self
        number = self._tag_id(tag)
        if number is None:
            raise MMTError(
                f"{self.path}: the dataset's sources have the tag '{tag}', which is no piece of this vocabulary. "
                "Train the model from scratch, or prepare the dataset without a tag."
            )
        bound = copy.copy(self)
        bound.source_prefix = (*self.source_prefix, number)
        return bound

    def _tag_id(self, tag: str) -> int | None:
        number = int(self._model.piece_to_id(tag))
        return number if number > EOS and self._model.is_control(number) else None

    def for_languages(self, source: str, target: str) -> Tokenizer:
        """This tokenizer with ``source_prefix`` and ``prompt`` of these languages, by their codes.

        Raises:
            MMTError: there is no such language, or this tokenizer is of one pair of languages.
        """
        raise MMTError(f"{self.path}: of one pair of languages. Leave out {source} and {target}.")

    def encode_target(self, line: str) -> list[int]:
        """The ids of a target sentence, without ``prompt`` and eos."""
        line = normalize(self._lowered(line) if self.lowercases else line)
        return list(self._model.encode(line)) if line else []

    def _lowered(self, line: str) -> str:
        parts = re.split(f"({MASK.pattern})", line)
        return "".join(part if part in self._masks else part.lower() for part in parts)

    def merges(self) -> dict[str, tuple[float, int]]:
        """(score, id) of the pieces that BPE makes of others, by piece; it makes those of higher scores first."""
        found = {}
        for number in range(EOS + 1, self.vocab_size):
            piece, model = str(self._model.id_to_piece(number)), self._model
            if not (model.is_byte(number) or model.is_control(number) or piece in self._masks):
                found[piece] = (float(model.get_score(number)), number)
        return found

    def decode(self, ids: Sequence[int] | Tensor) -> str:
        """The text of ``ids``, on one line; control symbols, including the unknown piece, are dropped.

        Control characters, such as a line feed spelled in bytes, become spaces.
        """
        plain = ids if isinstance(ids, Sequence) else ids.tolist()
        return CONTROL_CHARACTERS.sub(" ", str(self._model.decode([int(i) for i in plain if i > EOS])))

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The piece of each id: U+2581 stands for a space, ``<0xE2>`` for a byte, ``</s>`` for eos."""
        return [str(piece) for piece in self._model.id_to_piece(list(ids))]

    def target_pieces(self, ids: Sequence[int]) -> list[str]:
        """``pieces`` of a target sentence."""
        return self.pieces(ids)
