"""M2M-100, Fan et al. (2021), https://jmlr.org/papers/v22/20-1307.html, and WMT21's multilingual models.

NLLB has the same architecture and another tokenizer, see ``mmt.model.pretrained.nllb``.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from mmt.data.pretrained_tokenizer import TokenizerConfig, write_tokenizer
from mmt.data.tokenizer import BOS, EOS, PAD, UNK
from mmt.errors import MMTError
from mmt.model.pretrained.checkpoint import read_json, read_vocabulary
from mmt.model.pretrained.family import PublishedBase, padded

SENTENCEPIECE, TOKENIZER_SETTINGS = "sentencepiece.bpe.model", "tokenizer_config.json"
_MOST = 1 << 22  # pieces


class M2M100(PublishedBase):
    """One vocabulary of all languages, whose tags come after its pieces; pre-norm."""

    family, model_type = "m2m100", "m2m_100"
    tokenizer_files: ClassVar[tuple[str, ...]] = ("vocab.json", SENTENCEPIECE)
    optional_files: ClassVar[tuple[str, ...]] = (TOKENIZER_SETTINGS,)
    expected: ClassVar[dict[str, Any]] = {
        "tie_word_embeddings": True,
        "normalize_before": True,
        "normalize_embedding": False,
        "static_position_embeddings": True,
    }
    last_norms = True
    positions = "m2m100"

    def order(self, side: str) -> list[int]:
        return self._order

    def write_tokenizer(self, folder: Path) -> None:
        self._check()
        names = {number: piece for piece, number in self._vocabulary.items()}
        names |= {tag: f"__{code}__" for code, tag in self.languages.items()}
        config = TokenizerConfig(
            kind="m2m100",
            vocab_size=padded(len(self._order)),
            pieces=tuple(names.get(number, "") for number in self._order),
            languages=self.languages,
        )
        write_tokenizer(folder, config, (self.folder / SENTENCEPIECE).read_bytes())

    @cached_property
    def languages(self) -> dict[str, int]:
        """Codes, and the ids of their tags: as all ids from 4 on, ours are the checkpoint's."""
        # fairseq's order, which no file of a checkpoint has; takes a second
        from transformers.models.m2m_100.tokenization_m2m_100 import FAIRSEQ_LANGUAGE_CODES

        path = self.folder / TOKENIZER_SETTINGS
        kind = read_json(path).get("language_codes", "m2m100") if path.is_file() else "m2m100"
        if kind not in FAIRSEQ_LANGUAGE_CODES:
            raise MMTError(
                f"{path}: language_codes: expected {' or '.join(FAIRSEQ_LANGUAGE_CODES)}, found {kind!r}."
            )
        tags = {code: len(self._vocabulary) + n for n, code in enumerate(FAIRSEQ_LANGUAGE_CODES[kind])}
        if max(tags.values()) >= self.size("vocab_size", _MOST):
            raise self.refused("vocab_size", f"at least {max(tags.values()) + 1:,}, with {len(tags)} languages")
        return tags

    @property
    def unk(self) -> int:
        """The checkpoint's id of the unknown piece."""
        return self._vocabulary["<unk>"]

    @cached_property
    def _vocabulary(self) -> dict[str, int]:
        return read_vocabulary(self.folder / "vocab.json")

    @cached_property
    def _order(self) -> list[int]:
        pad, bos, eos = (self.token(f"{name}_token_id") for name in ("pad", "bos", "eos"))
        if sorted((pad, bos, eos, self.unk)) != [0, 1, 2, 3]:
            raise self.refused("pad_token_id", "pad, bos, eos and unk among the ids 0 to 3")
        if self.token("decoder_start_token_id") != eos:
            raise self.refused("decoder_start_token_id", f"{eos}, the id of eos")
        specials = {PAD: pad, UNK: self.unk, BOS: bos, EOS: eos}
        others = range(EOS + 1, self.size("vocab_size", _MOST))
        return [*(specials[number] for number in sorted(specials)), *others]
