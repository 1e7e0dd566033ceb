"""The tokenizer of a pretrained encoder (BERT, RoBERTa), by the library ``tokenizers``. No torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmt.data.tokenizer import (
    BOS,
    CONTROL_CHARACTERS,
    EOS,
    MASK,
    PAD,
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

KIND = "encoder"
"""In ``tokenizer.json``."""

_LARGEST = 1 << 22  # pieces of a vocabulary
_UNKNOWN, _MASKS, _PADS = ("[UNK]", "<unk>"), ("[MASK]", "<mask>"), ("[PAD]", "<pad>")


def write_encoder_tokenizer(folder: Path, content: bytes, vocab_size: int, order: Sequence[int]) -> None:
    """Writes the tokenizer of an encoder to ``folder``, ``tokenizer.model`` last.

    Args:
        content: the checkpoint's ``tokenizer.json``, which becomes ``tokenizer.model``.
        vocab_size: ids of the model's embedding, padding included.
        order: the checkpoint's id of each of our ids, from pad; from 4 on the others in their order.
    """
    config = {"kind": KIND, "vocab_size": vocab_size, "num_ids": len(order), "specials": list(order[: EOS + 1])}
    write_whole(folder / TOKENIZER_CONFIG, json.dumps(config) + "\n")
    write_whole(folder / TOKENIZER, content)


def special_ids(content: bytes, path: Path) -> tuple[int | None, int, int, int]:
    """The checkpoint's ids of pad (None: it has none), of unk, and of the tokens before and after each sentence.

    These are ``[CLS]`` and ``[SEP]``, or ``<s>`` and ``</s>``.

    Raises:
        MMTError: ``content``, of the file ``path``, is no tokenizer that puts one token before a sentence and one
            after.
    """
    tokenizer = _open(content, path)
    plain = list(tokenizer.encode("a b", add_special_tokens=False).ids)
    whole = list(tokenizer.encode("a b").ids)
    unknown, pads = (
        [found for name in names if (found := tokenizer.token_to_id(name)) is not None]
        for names in (_UNKNOWN, _PADS)
    )
    if len(whole) != len(plain) + 2 or whole[1:-1] != plain or not unknown:
        raise MMTError(
            f"{path}: expected a tokenizer with an unknown piece, and one token before a sentence and one after, "
            "as BERT and RoBERTa have it; found another. Name a checkpoint of such an encoder."
        )
    return pads[0] if pads else None, unknown[0], whole[0], whole[-1]


def is_of_encoder(path: Path) -> bool:
    """Whether ``path``, a ``tokenizer.json``, is of an encoder. Raises MMTError for a damaged one."""
    return _read(path).get("kind") == KIND


class EncoderTokenizer(Tokenizer):
    """The tokenizer of a pretrained encoder.

    It gives the ids of transformers' tokenizer, renumbered so that 0 to 3 are pad, unk, bos (``[CLS]``) and eos
    (``[SEP]``). bos stands before each sentence. A probe's mask becomes the model's own.

    Raises:
        MMTError: a file is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        config_path = path.with_name(TOKENIZER_CONFIG)
        try:
            content = path.read_bytes()
        except PermissionError as error:
            raise unreadable(error) from None
        except OSError:
            raise MMTError(f"{path}: no tokenizer model there. Is this a whole model folder?") from None
        self.path = path
        self._library: Any = _open(content, path)
        try:
            config = _read(config_path)
            sizes = [config["vocab_size"], config["num_ids"], *config["specials"]]
            if not all(type(one) is int and 0 <= one <= _LARGEST for one in sizes) or len(sizes) != 2 + EOS + 1:
                raise ValueError("a value is of the wrong kind")
            num_ids, specials = config["num_ids"], config["specials"]
            if len({*specials}) <= EOS or max(*specials, EOS) >= num_ids or num_ids > config["vocab_size"]:
                raise ValueError(f"{num_ids:,} of {config['vocab_size']:,} ids")
        except (ValueError, KeyError, TypeError) as error:
            raise MMTError(f"{config_path}: damaged ({error}). Copy the model folder again.") from None
        self.vocab_size = self.target_vocab_size = config["vocab_size"]
        others = np.setdiff1d(np.arange(num_ids), specials)  # in their order
        self._theirs = np.concatenate([np.array(specials), others])
        self._ours = np.full(num_ids, UNK)
        self._ours[self._theirs] = np.arange(num_ids)
        self._ours[[specials[PAD], specials[BOS], specials[EOS]]] = UNK  # which no text has
        self.prompt: tuple[int, ...] = (BOS,)
        self.source_prefix: tuple[int, ...] = (BOS,)
        self.languages: tuple[str, ...] = ()
        masks = [self._number(found) for name in _MASKS if (found := self._library.token_to_id(name)) is not None]
        self.mask_id = masks[0] if masks else UNK
        self.training: TrainingPieces | None = None
        self.lowercases = False  # the model's own normaliser does, where it does
        self.strange = np.arange(self.vocab_size) == UNK
        self.lengths = np.zeros(self.vocab_size, np.int64)
        self.lengths[EOS + 1 : num_ids] = [len(piece) for piece in self.pieces(range(EOS + 1, num_ids))]

    def encode(self, line: str) -> list[int]:
        """The ids of the normalised line after bos, without eos; [] for an empty line."""
        ids = self.encode_target(line)
        return [*self.source_prefix, *ids] if ids else []

    def encode_target(self, line: str) -> list[int]:
        """``encode`` without bos."""
        found: list[int] = []
        for number, part in enumerate(MASK.split(normalize(line))):
            found += [self.mask_id] * (number > 0)
            found += map(self._number, self._library.encode(part, add_special_tokens=False).ids)
        return found

    def _number(self, theirs: int) -> int:
        return int(self._ours[theirs]) if theirs < len(self._ours) else UNK

    def _tag_id(self, tag: str) -> int | None:
        return None

    def decode(self, ids: Sequence[int] | Tensor) -> str:
        """The text of ``ids``, on one line; special tokens are dropped."""
        plain = ids if isinstance(ids, Sequence) else ids.tolist()
        theirs = [int(self._theirs[i]) for i in plain if EOS < i < len(self._theirs)]
        return CONTROL_CHARACTERS.sub(" ", str(self._library.decode(theirs)))

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The vocabulary's own notation of each id; "" for padding of the vocabulary."""
        known = (int(self._theirs[i]) if i < len(self._theirs) else -1 for i in ids)
        return ["" if i < 0 else self._library.id_to_token(i) or "" for i in known]


def _open(content: bytes, path: Path) -> Any:
    """The library's tokenizer, which neither truncates nor pads."""
    from tokenizers import Tokenizer as Library  # what only translates does not need it

    try:
        tokenizer = Library.from_buffer(content)
    except Exception as error:  # the library raises nothing narrower
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise MMTError(f"{path}: expected a tokenizer.json of the library tokenizers ({reason}).") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _read(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("not an object")
    except PermissionError as error:
        raise unreadable(error) from None
    except (OSError, ValueError) as error:
        raise MMTError(f"{path}: damaged ({error}). Copy the model folder again.") from None
    return content
