from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import sentencepiece

from mmt.data.languages import find_language
from mmt.data.pretrained_tokenizer import TokenizerConfig, open_tokenizer, write_tokenizer
from mmt.data.sentencepiece_model import check_table
from mmt.data.tokenizer import TOKENIZER, TOKENIZER_CONFIG, UNK, Tokenizer
from mmt.errors import MMTError
from tests.model.pretrained.checkpoints import train_spm

NLLB = ("eng_Latn", "deu_Latn", "est_Latn", "spa_Latn", "zho_Hans", "zho_Hant", "arb_Arab")


@pytest.fixture(scope="module")
def spm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("spm") / "it.model"
    train_spm(path)
    return path


@pytest.fixture(scope="module")
def table(spm: Path) -> bytes:
    """The normalisation table nmt_nfkc: by its place in the file, field 3, there field 2."""
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(spm.read_bytes())
    return bytes(model.normalizer_spec.precompiled_charsmap)


@pytest.mark.parametrize(
    ("code", "meant"),
    [("deu_Latn", "deu_Latn"), ("deu", "deu_Latn"), ("de", "deu_Latn"), ("es", "spa_Latn"),
     ("zh-Hant", "zho_Hant"), ("ar", "arb_Arab"), ("DE", "deu_Latn"), ("zh-TW", "zho_Hant")],
)  # fmt: skip
def test_codes_of_one_language(code: str, meant: str) -> None:
    assert find_language(code, NLLB) == meant
    assert find_language("deu_Latn", ["de", "en"]) == "de"


@pytest.mark.parametrize(
    ("code", "part"),
    [("zh", "expected one of zho_Hans, zho_Hant"), ("deu_Lant", "Did you mean 'deu_Latn'"), ("", "--source-lang"),
     ("fr", "unknown to this model")],
)  # fmt: skip
def test_codes_of_no_language_or_of_several(code: str, part: str) -> None:
    with pytest.raises(MMTError, match=re.escape(part)):
        find_language(code, NLLB)


def test_a_probes_mask_becomes_the_models_own(spm: Path, tmp_path: Path) -> None:
    size = sentencepiece.SentencePieceProcessor(model_file=str(spm)).vocab_size() + 1
    config = TokenizerConfig(
        kind="nllb", vocab_size=128, languages={"eng_Latn": size, "deu_Latn": size + 1}, mask_id=size + 2
    )
    write_tokenizer(tmp_path, config, spm.read_bytes())
    tokenizer = open_tokenizer(tmp_path)
    with pytest.raises(MMTError, match="--source-lang"):
        tokenizer.encode("A dog")
    bound = tokenizer.for_languages("en", "de")
    ids = bound.encode("A [MASK_C] dog.")
    assert ids == [size, *bound.encode("A")[1:], size + 2, *bound.encode("dog.")[1:]]
    assert bound.mask_id == size + 2 != UNK
    assert bound.decode(ids) == "A dog."
    assert bound.prompt == (3, size + 1)
    assert tokenizer.prompt != bound.prompt  # a copy


def test_a_damaged_configuration_is_refused(spm: Path, tmp_path: Path) -> None:
    config = TokenizerConfig(kind="nllb", vocab_size=128, languages={"eng_Latn": 100})
    write_tokenizer(tmp_path, config, spm.read_bytes())
    path = tmp_path / TOKENIZER_CONFIG
    good = json.loads(path.read_text())
    for change in (
        {"languages": {"eng_Latn": 128}}, {"languages": {}}, {"kind": "other"}, {"vocab_size": "128"},
        {"pieces": ["a"]}, {"mask_id": -1}, {"vocab_size": 1 << 40}, {"extra": 1},
    ):  # fmt: skip
        path.write_text(json.dumps(good | change))
        with pytest.raises(MMTError, match="damaged"):
            open_tokenizer(tmp_path)
    path.write_text("{")
    with pytest.raises(MMTError, match="damaged"):
        open_tokenizer(tmp_path)


def test_the_table_of_a_published_model_is_sound_and_ours_have_none(
    spm: Path, table: bytes, tmp_path: Path
) -> None:
    assert len(table) > 100_000
    check_table(table)
    (tmp_path / TOKENIZER).write_bytes(spm.read_bytes())
    with pytest.raises(MMTError, match="not a SentencePiece model"):
        Tokenizer(tmp_path / TOKENIZER)


def _units(table: bytes) -> np.ndarray:
    return np.frombuffer(table, "<u4", int.from_bytes(table[:4], "little") // 4, 4).copy()


def _with(table: bytes, units: np.ndarray) -> bytes:
    return table[:4] + units.tobytes() + table[4 + units.nbytes :]


def _leads_outside(table: bytes) -> bytes:
    units = _units(table)
    units[0] |= 0x3FFFFF << 10  # the root's offset
    return _with(table, units)


def _far_replacement(table: bytes) -> bytes:
    units = _units(table)
    values = np.nonzero(units >> 31)[0]  # a leaf's unit is its value
    units[values] |= 0x7FFFFF00
    return _with(table, units)


def _endless(table: bytes) -> bytes:
    units = _units(table)
    # every node that "a" leads to has "a" as child again
    place = 512
    units[0] = (place << 10) | (units[0] & 0x1FF)
    node = place ^ ord("a")
    units[node] = ((node ^ place) << 10) | ord("a")
    return _with(table, units)


def _without_end(table: bytes) -> bytes:
    return table[:-1] + b"x"


def _huge_replacement(table: bytes) -> bytes:
    return table + b"x" * 2000 + b"\0"


def _huge_trie(table: bytes) -> bytes:
    return (len(table) + 4096).to_bytes(4, "little") + table[4:]


@pytest.mark.parametrize(
    ("damage", "part"),
    [(_leads_outside, "outside itself"), (_far_replacement, "outside the replacements"), (_endless, "too deep"),
     (_without_end, "without an end"), (_huge_replacement, "too long"), (_huge_trie, "wrong size")],
)  # fmt: skip
def test_a_malicious_table_is_refused(table: bytes, damage: Callable[[bytes], bytes], part: str) -> None:
    with pytest.raises(ValueError, match=part):
        check_table(damage(table))
