"""Pretrained encoders against transformers, as text models of retrieval and labels, and with bad input."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import AutoModel

from mmt.cli.main import main
from mmt.data.batch import Batch, Example, collate
from mmt.data.encoder_tokenizer import EncoderTokenizer
from mmt.data.pretrained_tokenizer import open_tokenizer
from mmt.data.tokenizer import BOS, EOS, PAD, TOKENIZER, TOKENIZER_CONFIG, UNK
from mmt.errors import MMTError
from mmt.inference.embedding import embed_images, embed_sentences
from mmt.inference.loaded import LoadedModel
from mmt.io.normalization import normalize
from mmt.model.build import build_empty_model, build_model
from mmt.model.card import CARD, WEIGHTS, ModelCard
from mmt.model.config import MMTConfig
from mmt.model.fusion import FUSIONS, fusion_places
from mmt.model.model import MMTModel
from mmt.model.pretrained.base import load_text, open_base
from mmt.model.pretrained.mmt_folder import MMTFolder
from mmt.training.config import TrainConfig
from mmt.training.config_file import read_config
from mmt.training.recipe import train
from mmt.training.stack import TEXT_WEIGHTS
from tests.model.pretrained import encoders
from tests.model.pretrained.checkpoints import LINES, ODD
from tests.model.pretrained.encoders import Encoder
from tests.worlds import DIM, data_root, settings, weights

KINDS: dict[str, Callable[[Path], Encoder]] = {"bert": encoders.bert, "roberta": encoders.roberta}
SPECIALS = ["A [SEP] dog", "[CLS] a [PAD] cat", "a <s> dog </s>", "the <pad> cat"]
"""Texts that spell special tokens."""


@pytest.fixture(scope="module", params=KINDS)
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return KINDS[request.param](tmp_path_factory.mktemp("encoder") / "it")


def opened(encoder: Encoder, folder: Path) -> tuple[MMTModel, EncoderTokenizer]:
    base = open_base(encoder.base)
    model = build_empty_model(MMTConfig(text=base.name, dropout_p=0.0, **base.settings()))
    load_text(model.text, base)
    folder.mkdir(exist_ok=True)
    base.write_tokenizer(folder)
    tokenizer = open_tokenizer(folder)
    assert isinstance(tokenizer, EncoderTokenizer)
    return model.eval(), tokenizer


def batch_of(tokenizer: EncoderTokenizer, lines: list[str]) -> Batch:
    return collate([Example(tokenizer.encode(line), []) for line in lines])


def test_vectors_are_those_of_transformers_and_its_pooling(encoder: Encoder, tmp_path: Path) -> None:
    model, tokenizer = opened(encoder, tmp_path / "opened")
    lines = [*LINES[:20], *ODD[1:]]
    with torch.no_grad():
        ours = model.sentence_means(batch_of(tokenizer, lines))
    theirs = encoder.vectors([normalize(line) for line in lines])
    assert theirs.std() > 0.1
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_tokens_are_those_of_the_checkpoint(encoder: Encoder, tmp_path: Path) -> None:
    _, tokenizer = opened(encoder, tmp_path / "opened")
    base = open_base(encoder.base)
    order = base.order("source")  # type: ignore[attr-defined]
    for line in [*LINES, *ODD[1:]]:
        assert [order[i] for i in (*tokenizer.encode(line), EOS)] == encoder.tokenizer.encode(normalize(line)).ids
    assert sorted(order) == list(range(len(order)))
    assert tokenizer.vocab_size % 64 == 0
    assert tokenizer.encode(" \u200b") == []
    ids = tokenizer.encode(LINES[0])
    assert tokenizer.decode([*ids, EOS, PAD]).strip().lower() == LINES[0].lower()
    assert len(tokenizer.pieces([*ids, tokenizer.vocab_size - 1])) == len(ids) + 1


@pytest.mark.parametrize(
    "make", [encoders.bert_with_tokenizer_of_roberta, partial(encoders.bert, layer_norm_eps=0.1)]
)
def test_other_settings_and_tokenizers(make: Callable[[Path], Encoder], tmp_path: Path) -> None:
    """Batches with padding, too: it is the tokenizer's, whatever config.json says of it."""
    encoder = make(tmp_path / "it")
    model, tokenizer = opened(encoder, tmp_path / "opened")
    order = open_base(encoder.base).order("source")  # type: ignore[attr-defined]
    for line in LINES[:20]:
        assert [order[i] for i in (*tokenizer.encode(line), EOS)] == encoder.tokenizer.encode(normalize(line)).ids
    with torch.no_grad():
        ours = model.sentence_means(batch_of(tokenizer, LINES[:20]))
    torch.testing.assert_close(ours, encoder.vectors(LINES[:20]), rtol=0, atol=1e-5)
    assert encoder.tokenizer.id_to_token(order[PAD]) in ("<pad>", "[PAD]")


@pytest.mark.skipif("MMT_ENCODER" not in os.environ, reason="no real encoder (set MMT_ENCODER to BERT's folder)")
def test_a_real_encoder_has_the_tokens_and_vectors_of_transformers(tmp_path: Path) -> None:
    folder = Path(os.environ["MMT_ENCODER"])
    theirs = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    reference = Tokenizer.from_file(str(folder / "tokenizer.json"))
    reference.no_truncation()
    reference.no_padding()
    real = Encoder(f"bert:{folder}", folder, theirs, reference)
    model, tokenizer = opened(real, tmp_path / "opened")
    order = open_base(real.base).order("source")  # type: ignore[attr-defined]
    with gzip.open(data_root() / "multi30k/raw/val.en.gz", "rt", encoding="utf-8") as file:
        lines = [normalize(line.strip()) for line in file]
    for line in lines:
        assert [order[i] for i in (*tokenizer.encode(line), EOS)] == reference.encode(line).ids
    with torch.no_grad():
        ours = model.sentence_means(batch_of(tokenizer, lines[:100]))
    torch.testing.assert_close(ours, real.vectors(lines[:100]), rtol=0, atol=1e-5)


def test_a_text_cannot_spell_padding_or_the_end_of_a_sentence(encoder: Encoder, tmp_path: Path) -> None:
    model, tokenizer = opened(encoder, tmp_path / "opened")
    for line in SPECIALS:
        assert not {PAD, BOS, EOS} & {*tokenizer.encode(line)[1:]}
    assert any(UNK in tokenizer.encode(line) for line in SPECIALS)
    alone = [model.sentence_means(batch_of(tokenizer, [line])) for line in SPECIALS]
    together = model.sentence_means(batch_of(tokenizer, SPECIALS))
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-5)


def test_a_probes_mask_is_the_encoders_own(encoder: Encoder, tmp_path: Path) -> None:
    _, tokenizer = opened(encoder, tmp_path / "opened")
    assert tokenizer.mask_id not in (PAD, UNK, BOS, EOS)
    assert tokenizer.encode("A [MASK_NOUN] sees.").count(tokenizer.mask_id) == 1


def test_the_first_state_is_the_vector_where_the_checkpoint_says_so(tmp_path: Path) -> None:
    encoder = encoders.bert(tmp_path / "base", pooling="cls_token")
    model, tokenizer = opened(encoder, tmp_path / "opened")
    with torch.no_grad():
        ours = model.sentence_means(batch_of(tokenizer, LINES[:4]))
    torch.testing.assert_close(ours, encoder.vectors(LINES[:4], "cls"), rtol=0, atol=1e-5)
    mean = encoders.bert(tmp_path / "mean", pooling="mean_tokens")
    assert open_base(mean.base).settings()["pooling"] == "mean"
    largest = encoders.bert(tmp_path / "max", pooling="max_tokens")
    with pytest.raises(MMTError, match="found pooling_mode_max_tokens"):
        open_base(largest.base).settings()


def test_names_of_a_model_with_a_head_and_of_old_layer_norms(tmp_path: Path) -> None:
    encoder = encoders.bert(tmp_path / "base")
    path = encoder.folder / "model.safetensors"
    expected = open_base(encoder.base).weights()
    names = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    old = {}
    for name, one in load_file(path).items():
        for today, before in names.items():
            name = name.replace(today, before)
        old[f"bert.{name}"] = one
    save_file(old | {"cls.predictions.bias": torch.zeros(5)}, path)
    found = open_base(encoder.base).weights()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_labels_of_a_sentence_and_its_image_with_adapters(encoder: Encoder, tmp_path: Path) -> None:
    """A label is read from the encoder's mean; with an image, fusion and adapters change it."""
    base = open_base(encoder.base)
    _, tokenizer = opened(encoder, tmp_path / "opened")
    torch.manual_seed(0)
    parts: dict[str, Any] = {"fusion": "gated", "adapter_dim": 4, "lora_rank": 2, "readout": "mean"}
    parts |= {"heads": ("classification",), "num_labels": 3, "image_sets": ((1, DIM),), "dropout_p": 0.0}
    model = build_model(MMTConfig(text=base.name, **base.settings(), **parts)).eval()
    load_text(model.text, base)
    batch = batch_of(tokenizer, LINES[:4])
    alone = model.represent(batch.source, batch.source_lens)
    torch.testing.assert_close(alone, encoder.vectors(LINES[:4]), rtol=0, atol=1e-5)
    seen = model.represent(batch.source, batch.source_lens, torch.randn(4, 1, DIM))
    assert (seen - alone).abs().amax(1).min() > 1e-3
    assert model.heads["classification"](seen).shape == (4, 3)


def test_settings_of_encoders_leave_the_checksum_of_other_bases(tmp_path: Path) -> None:
    """The checksum is in the cards of models trained on a base: it is that of before these settings."""
    card = ModelCard(config=asdict(MMTConfig()), source_lang="en", target_lang="de")
    (tmp_path / CARD).write_text(json.dumps(asdict(card)))
    (tmp_path / WEIGHTS).write_bytes(b"weights")
    (tmp_path / TOKENIZER).write_bytes(b"tokenizer")
    assert MMTFolder("mmt:it", tmp_path).sha256.startswith("27a8a9a1aaf5")
    (tmp_path / CARD).write_text(json.dumps(asdict(replace(card, config=card.config | {"pooling": "first"}))))
    assert not MMTFolder("mmt:it", tmp_path).sha256.startswith("27a8a9a1aaf5")


# --- training ---------------------------------------------------------------------------------------------


def on(encoder: Encoder, world: Path, *more: str) -> TrainConfig:
    plain = [one for one in settings(world) if not one.startswith(("model.", "text.", "decoding."))]
    every = [*plain, f"model.text={encoder.base}", "regime.num_steps=2", "regime.validate_every=1", *more]
    return read_config(None, [*every, "regime.report_every=1"])


RETRIEVAL = ("model.fusion=none", "objectives.translation=0", "objectives.contrastive=1", "regime.score=recall")


@pytest.mark.parametrize("frozen", [False, True])
def test_retrieval_on_an_encoder(encoder: Encoder, frozen: bool, world: Path, tmp_path: Path) -> None:
    """Trained whole, or frozen: then a sentence has the vectors of the encoder, before the head."""
    more = ("start.freeze_text=true",) if frozen else ("optimizer.text_lr=0.001", "optimizer.start_lr=0.001")
    config = on(encoder, world, *RETRIEVAL, "optimizer.lr=0.01", *more)
    folder = train(tmp_path / "run", config)
    loaded = LoadedModel.from_dir(folder, world / "features")
    lines = LINES[:6]
    batch = loaded.batch([loaded.tokenizer.encode(line) for line in lines], [None] * 6)
    means = loaded.model.sentence_means(batch)
    change = (means - encoder.vectors(lines)).abs().max()
    assert change < 1e-5 if frozen else change > 1e-4
    assert ((folder / WEIGHTS).stat().st_size < 20_000) == frozen
    vectors = embed_sentences(loaded, lines)
    torch.testing.assert_close(torch.from_numpy(vectors), loaded.model.heads["contrastive"].embed_text(means))  # type: ignore[operator]
    ids = loaded.features.ids[:3]  # type: ignore[union-attr]
    np.testing.assert_allclose(np.linalg.norm(embed_images(loaded, list(ids)), axis=1), 1, rtol=1e-5)
    # longer than the encoder's positions: truncated
    assert np.isfinite(embed_sentences(loaded, ["a dog " * 60])).all()


def test_a_trained_encoder_is_a_base_itself(world: Path, tmp_path: Path) -> None:
    """Of what learns no translation: start.model names this way for a folder of a pretrained encoder."""
    encoder = encoders.bert(tmp_path / "base", layer_norm_eps=1e-12)
    folder = train(tmp_path / "first", on(encoder, world, *RETRIEVAL))
    plain = on(encoder, world, *RETRIEVAL, "model.text=scratch", f"start.model={folder}", *SIZES)
    with pytest.raises(MMTError, match=rf"Set model.text: mmt:{re.escape(str(folder))}, and no start.model"):
        train(tmp_path / "refused", plain)
    second = on(encoder, world, *RETRIEVAL, f"model.text=mmt:{folder}", "start.freeze_text=true")
    means = []
    for trained in (folder, train(tmp_path / "second", second)):
        loaded = LoadedModel.from_dir(trained, world / "features")
        batch = loaded.batch([loaded.tokenizer.encode(line) for line in LINES[:4]], [None] * 4)
        means.append(loaded.model.sentence_means(batch))
    assert torch.equal(*means)
    with pytest.raises(MMTError, match="has no decoder"):
        on(encoder, world, "model.fusion=gated", f"model.text=mmt:{folder}")
    push = ["push", str(tmp_path / "second/model"), "org/it", "--licence", "mit", "--dry-run"]
    pushed = CliRunner().invoke(main, push)
    assert "or without start.freeze_text" in pushed.output
    push[1] = str(folder)
    pushed = CliRunner().invoke(main, push, catch_exceptions=False)
    assert "mmt retrieve --model hub:org/it" in pushed.output
    assert "mmt translate" not in pushed.output
    assert "mmt evidence" not in pushed.output
    assert "| base | bert:base |" in pushed.output


SIZES = ("model.model_dim=32", "model.num_heads=4", "model.num_encoder_layers=2", "model.num_decoder_layers=0")


def test_the_text_model_has_a_learning_rate_of_its_own(world: Path, tmp_path: Path) -> None:
    """A rate a hundred times as small moves the text's weights, in an update of Adam, a hundred times less."""
    encoder = encoders.bert(tmp_path / "base")
    fixed = ("optimizer.lr=0.01", "optimizer.num_warmup_steps=0", "model.dropout_p=0")
    before = {f"text.{name}": one for name, one in open_base(encoder.base).weights().items()}

    def largest(name: str, *more: str) -> float:
        train(tmp_path / name, on(encoder, world, *RETRIEVAL, *fixed, *more))
        after = weights(tmp_path / name, 2)
        return max(float((after[one] - before[one]).abs().max()) for one in before)

    assert largest("same") == pytest.approx(100 * largest("own", "optimizer.text_lr=0.0001"), rel=0.05)
    apart = weights(tmp_path / "own", 2), weights(tmp_path / "same", 2)
    assert torch.equal(*(one["heads.contrastive.image.weight"] for one in apart))


@pytest.mark.parametrize("fusion", [name for name in FUSIONS if name != "none"])
@pytest.mark.parametrize("decoder_layers", [0, 1])
def test_the_text_models_rate_is_of_the_text_model_alone(fusion: str, decoder_layers: int) -> None:
    """Not of adapters, LoRA, or what a fusion adds to the layers: these are new."""
    if not decoder_layers and "decoder" in fusion_places(fusion):
        return
    layers: dict[str, Any] = {"num_encoder_layers": 1, "num_decoder_layers": decoder_layers, "readout": "mean"}
    added: dict[str, Any] = {"adapter_dim": 4, "lora_rank": 2, "image_sets": ((2, DIM),)}
    config = MMTConfig(fusion=fusion, vocab_size=64, model_dim=16, num_heads=2, **layers, **added)
    with torch.device("meta"):
        model = build_model(config)
    found = {name: re.match(TEXT_WEIGHTS, name) is not None for name, _ in model.named_parameters()}
    assert found == {name: model.is_of_text(name) for name in found}
    assert all(re.match(TEXT_WEIGHTS, f"module.{name}") for name in found if found[name])
    assert any(name.startswith("text.") and not of_text for name, of_text in found.items())


def test_search_from_the_command_line(world: Path, tmp_path: Path) -> None:
    encoder = encoders.bert(tmp_path / "base")
    model = train(tmp_path / "run", on(encoder, world, *RETRIEVAL, "start.freeze_text=true"))
    images = ["--images", str(world / "features")]
    arguments = ["retrieve", "A dog.", "--model", str(model), "--index", str(tmp_path / "index"), *images]
    found = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert found.exit_code == 0, found.output
    moved = tmp_path / "moved"
    shutil.move(encoder.folder, moved)
    assert CliRunner().invoke(main, arguments).exit_code == 2  # its base is gone
    again = CliRunner().invoke(main, arguments, env={"MMT_BASE": str(moved)}, catch_exceptions=False)
    assert again.exit_code == 0, again.output


# --- refusals ---------------------------------------------------------------------------------------------


def test_it_does_not_translate(encoder: Encoder, world: Path, tmp_path: Path) -> None:
    text = tmp_path / "in.txt"
    text.write_text("A dog.\n")
    found = CliRunner().invoke(main, ["translate", "--model", encoder.base, "--input", str(text)])
    assert found.exit_code == 2, found.output
    assert "has no decoder" in found.output
    assert len(found.output.strip().splitlines()) == 1
    with pytest.raises(MMTError, match=r"has no decoder.*objectives.translation: 0"):
        on(encoder, world, "model.fusion=gated")


def test_settings_that_the_encoder_decides(encoder: Encoder, world: Path) -> None:
    with pytest.raises(MMTError, match=r"optimizer.text_lr is .* start.freeze_text keeps"):
        on(encoder, world, *RETRIEVAL, "start.freeze_text=true", "optimizer.text_lr=0.1")
    with pytest.raises(MMTError, match=r"model.num_decoder_layers is 2, but .* has 0"):
        on(encoder, world, *RETRIEVAL, "model.num_decoder_layers=2")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda folder: (folder / "tokenizer.json").unlink(),
            r"missing\. Make it .*AutoTokenizer.*save_pretrained",
        ),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "expected a tokenizer.json of the library"),
        (lambda folder: changed(folder, model_type="gpt2"), "model_type: expected 'bert', found 'gpt2'"),
        (lambda folder: changed(folder, position_embedding_type="relative_key"), "position_embedding_type"),
        (lambda folder: changed(folder, model_type="camembert"), r"Name it roberta:.*base\."),
        (lambda folder: changed(folder, hidden_act=["gelu"]), r"hidden_act: expected 'relu' .*found \['gelu'\]"),
        (lambda folder: written(folder, "1_Pooling/config.json", "[]"), "config.json: damaged"),
        (lambda folder: written(folder, "modules.json", "{}"), "modules.json: damaged"),
        (lambda folder: written(folder, "modules.json", json.dumps(DENSE)), "found Dense, which mmt does not"),
        (lambda folder: without_pad(folder, 2), "expected pad, unk and the tokens around a sentence"),
        (lambda folder: changed(folder, num_hidden_layers=1), "encoder.layer.1"),
        (lambda folder: changed(folder, num_hidden_layers=3), "encoder.layer.2.*is missing"),
        (lambda folder: without_ends(folder), "one token before a sentence and one after"),
    ],
)
def test_another_or_a_damaged_checkpoint(change: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    encoder = encoders.bert(tmp_path / "base")
    change(encoder.folder)
    base = open_base(encoder.base)
    with pytest.raises(MMTError, match=message):
        (base.settings(), base.weights())


def changed(folder: Path, **settings: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


DENSE = [{"type": f"sentence_transformers.models.{name}"} for name in ("Transformer", "Pooling", "Dense")]
"""LaBSE's modules."""


def written(folder: Path, name: str, content: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(content)


def without_pad(folder: Path, pad: int) -> None:
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace("[PAD]", "[EMPTY]"))
    changed(folder, pad_token_id=pad)


def without_ends(folder: Path) -> None:
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"post_processor": None}))


@pytest.mark.parametrize("content", ["[]", "{", '{"kind": "encoder"}', '{"kind": "encoder", "vocab_size": 64, '
                         '"num_ids": 60, "specials": [1, 1, 2, 3]}'])  # fmt: skip
def test_a_damaged_tokenizer_in_a_model_folder(content: str, tmp_path: Path) -> None:
    opened(encoders.bert(tmp_path / "base"), tmp_path / "opened")
    (tmp_path / "opened" / TOKENIZER_CONFIG).write_text(content)
    with pytest.raises(MMTError, match="damaged"):
        open_tokenizer(tmp_path / "opened")
