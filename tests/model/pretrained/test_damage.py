"""Checkpoints of another family, another architecture, damaged, or that could run code: one clear error each."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mmt.errors import MMTError
from mmt.model.pretrained.base import load_base, open_base
from tests.model.pretrained import checkpoints

Change = Callable[[Path], object]


@pytest.fixture(scope="module")
def wholes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    for name in ("marian", "nllb", "m2m100"):
        getattr(checkpoints, name)(folder / name)
    return folder


def _says(key: str, value: object) -> Change:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))

    return change


def _lacks(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


def _weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Change:
    def apply(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors")

    return apply


class _Code:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return print, ("code of the checkpoint ran",)


def _pickle(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"model.shared.weight": _Code()}, folder / "pytorch_model.bin")


def _half(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


NORM = "model.encoder.layers.1.final_layer_norm.weight"
DAMAGES: dict[str, tuple[str, Change, str]] = {
    "another family": ("nllb", _says("model_type", "t5"), "model_type: expected 'm2m_100', found 't5'"),
    "a mixture of experts": ("nllb", _says("model_type", "nllb-moe"), "a mixture of experts is not read"),
    "untied output": ("marian", _says("tie_word_embeddings", False), "tie_word_embeddings: expected True"),
    "norm of embeddings": ("marian", _says("normalize_embedding", True), "normalize_embedding: expected False"),
    "learned positions": ("marian", _says("static_position_embeddings", False), "static_position_embeddings"),
    "another activation": ("m2m100", _says("activation_function", "tanh"), "activation_function: expected 'relu'"),
    "no size": ("nllb", _says("d_model", "32"), "d_model: expected a size"),
    "no layers": ("nllb", _says("encoder_layers", 0), "encoder_layers: expected a size"),
    "fewer layers": ("nllb", _says("encoder_layers", 1), "found model.encoder.layers.1"),
    "more layers": ("nllb", _says("encoder_layers", 3), "the weight model.encoder.layers.2"),
    "a larger vocabulary": ("m2m100", _says("vocab_size", 5000), "expected 5,000 rows"),
    "a smaller vocabulary": ("m2m100", _says("vocab_size", 100), "vocab_size: expected at least"),
    "no configuration": ("marian", _lacks("config.json"), "found no config.json"),
    "no weights": ("marian", _lacks("model.safetensors"), "found neither"),
    "no tokenizer": ("marian", _lacks("target.spm"), "the tokenizer's file target.spm is missing"),
    "no vocabulary": ("m2m100", _lacks("vocab.json"), "the tokenizer's file vocab.json is missing"),
    "M2M-100 as NLLB": ("nllb", lambda f: (f / "vocab.json").write_text("{}"), "Say m2m100:"),
    "half a file": ("nllb", _half, "damaged"),
    "a pickle with code": ("nllb", _pickle, "could run code"),
    "no JSON": ("nllb", lambda f: (f / "config.json").write_text("{"), "damaged"),
    "a weight less": ("nllb", _weights(lambda w: w.pop(NORM)), f"{NORM} is missing"),
    "a weight more": ("nllb", _weights(lambda w: w.update(other=torch.ones(2))), "found other"),
    "no number": ("nllb", _weights(lambda w: w[NORM].fill_(torch.nan)), "values that are not numbers"),
    "another shape": ("nllb", _weights(lambda w: w.update({NORM: torch.ones(7)})), "size mismatch"),
    "another output": (
        "nllb",
        _weights(lambda w: w.update({"lm_head.weight": w["model.shared.weight"] + 1})),
        "found another matrix",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_refused(
    wholes: Path, tmp_path: Path, damage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    family, change, part = DAMAGES[damage]
    folder = tmp_path / "it"
    shutil.copytree(wholes / family, folder)
    change(folder)
    languages = {"nllb": ("en", "de"), "m2m100": ("en", "de"), "marian": ("", "")}[family]
    with pytest.raises(MMTError) as refused:
        load_base(f"{family}:{folder}", *languages)
    assert part in str(refused.value)
    assert str(tmp_path) in str(refused.value)
    assert "code of the checkpoint ran" not in capfd.readouterr().out


@pytest.mark.parametrize(
    ("name", "part"),
    [("nlb:x", "Did you mean 'nllb'?"), ("scratchy", "FAMILY:NAME_OR_FOLDER"), ("nllb:", "FAMILY:NAME_OR_FOLDER"),
     ("nllb:/no/such/folder", "found neither"), ("nllb:https://host/name", "found neither")],
)  # fmt: skip
def test_a_name_of_nothing_is_refused(name: str, part: str) -> None:
    with pytest.raises(MMTError) as refused:
        open_base(name)
    assert part in str(refused.value)


def test_a_name_that_the_hub_does_not_give(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MMTError, match="gave no checkpoint of this name"):
        open_base("nllb:nobody/nothing")


def test_the_checksum_is_of_weights_and_tokenizer(wholes: Path, tmp_path: Path) -> None:
    def checksum(change: Change = lambda folder: None) -> str:
        shutil.rmtree(tmp_path / "it", ignore_errors=True)
        shutil.copytree(wholes / "nllb", tmp_path / "it")
        change(tmp_path / "it")
        return open_base(f"nllb:{tmp_path / 'it'}").sha256

    whole = checksum()
    assert whole == checksum(lambda folder: (folder / "README.md").write_text("other"))
    assert whole != checksum(_weights(lambda weights: weights[NORM].add_(1e-3)))
    assert whole != checksum(lambda folder: (folder / "sentencepiece.bpe.model").write_bytes(b""))


def test_languages_of_a_checkpoint_that_does_not_list_them(wholes: Path, tmp_path: Path) -> None:
    """As published at first: the languages follow the pieces, in fairseq's order, and then the mask."""
    shutil.copytree(wholes / "nllb", tmp_path / "it")
    for name in ("tokenizer_config.json", "added_tokens.json"):
        (tmp_path / "it" / name).unlink(missing_ok=True)
    base = open_base(f"nllb:{tmp_path / 'it'}")
    base.write_tokenizer(tmp_path / "it")
    raw = json.loads((tmp_path / "it" / "tokenizer.json").read_text())
    first = raw["languages"]["ace_Arab"]
    assert len(raw["languages"]) == 202
    # facebook/nllb-200-distilled-600M: ace_Arab 256001, eng_Latn 256047, fra_Latn 256057, zul_Latn 256202
    published = {"eng_Latn": 46, "fra_Latn": 56, "zul_Latn": 201}
    assert {code: raw["languages"][code] - first for code in published} == published
    assert raw["mask_id"] == first + 202
