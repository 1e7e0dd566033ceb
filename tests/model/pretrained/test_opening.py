"""Pretrained models at work: opened by name, in each precision, under a fusion, scored, and with bad input."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file

from mmt.cli.main import main
from mmt.data.masking import Probe, check_masked_alike
from mmt.data.tokenizer import PAD
from mmt.errors import MMTError
from mmt.inference.onnx_runtime import ExportedTranslator
from mmt.inference.scoring import score_pairs
from mmt.inference.torch_runtime import Translator
from mmt.model.build import build_empty_model, build_model
from mmt.model.config import BASES, MMTConfig
from mmt.model.pretrained.base import FAMILIES, load_text, open_base
from mmt.model.stepping import Precision, StepDecoder
from tests.model.pretrained import checkpoints
from tests.model.pretrained.checkpoints import Checkpoint, batch_of
from tests.worlds import sentences

KINDS = {"nllb": checkpoints.nllb, "m2m100": checkpoints.m2m100, "marian": checkpoints.marian}


@pytest.fixture(scope="module", params=KINDS)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return KINDS[request.param](tmp_path_factory.mktemp("checkpoint") / "it")


def _translator(checkpoint: Checkpoint, precision: Precision = "float32") -> Translator:
    source, target = checkpoint.languages or (None, None)
    return Translator.from_dir(checkpoint.base, precision=precision, source_lang=source, target_lang=target)


def test_the_names_of_the_families() -> None:
    assert set(BASES) <= FAMILIES.keys()


def test_a_base_translates_and_scores_its_own_translations_alike(checkpoint: Checkpoint) -> None:
    translator = _translator(checkpoint)
    lines = [source for source, _ in sentences(6, 5)]
    hypotheses = translator.hypotheses(lines, beam_size=4, n_best=4)
    assert all(len(of_line) == 4 for of_line in hypotheses)
    for line, of_line in zip(lines, hypotheses, strict=True):
        assert [one.score for one in of_line] == sorted((one.score for one in of_line), reverse=True)
        # a text may have other pieces than the translation
        same = [one for one in of_line if one.text and _respelled(translator, one.text) == one.text]
        for one in same:
            ids = translator.encode(one.text, target=True)
            (score,) = score_pairs(translator, [line], [one.text])
            assert score.num_tokens == len(ids) + 1
            assert score.mean_log_prob <= 0
    with pytest.raises(MMTError, match="text only"):
        translator.translate(lines, guidance=2.0)


def _respelled(translator: Translator, text: str) -> str:
    return translator.tokenizer.decode(translator.encode(text, target=True))


@pytest.mark.parametrize(("precision", "most"), [("float32", 1e-5), ("bfloat16", 0.15), ("int8", 0.5)])
def test_step_by_step_gives_the_same_logits(checkpoint: Checkpoint, precision: Precision, most: float) -> None:
    model, tokenizer = checkpoint.load()
    batch = batch_of(tokenizer, sentences(4, 0))
    decoder = StepDecoder(model, precision)
    with torch.no_grad():
        whole = model.logits(batch)
        cache = decoder.begin(model.encode(batch.source, batch.source_lens), 1, batch.target.size(1))
        steps = [cache.step(batch.target[:, [at]]) for at in range(batch.target.size(1) - 1)]
        ours = torch.stack([decoder.project(state).float() for state in steps[batch.prompt_len - 1 :]], dim=1)
    real = batch.labels != PAD
    words = whole[real].isfinite()
    assert torch.equal(ours[real].isfinite(), words)
    difference = (ours[real][words] - whole[real][words]).abs().max() / whole[real][words].std()
    assert difference < most


@pytest.mark.parametrize("fusion", ["gated", "selective", "concat", "early", "late", "hybrid"])
def test_without_an_image_a_fusion_gives_exactly_the_base(checkpoint: Checkpoint, fusion: str) -> None:
    base = open_base(checkpoint.base)
    text, tokenizer = checkpoint.load()
    torch.manual_seed(0)
    settings = base.settings() | {"fusion": fusion, "image_sets": ((3, 5),), "dropout_p": 0.0}
    model = build_model(MMTConfig(text=base.name, **settings)).eval()
    load_text(model.text, base)
    batch = batch_of(tokenizer, sentences(4, 0))
    with torch.no_grad():
        alone = text.logits(batch)
        batch.image, batch.image_pad = torch.randn(4, 3, 5), torch.zeros(4, 3, dtype=torch.bool)
        seen = model.logits(batch)
        batch.image_pad[:2] = True
        half = model.logits(batch)
    words = alone.isfinite()
    assert (seen - alone)[words].abs().max() > 1e-3
    real = batch.labels[:2] != PAD
    torch.testing.assert_close(half[:2][real], alone[:2][real], rtol=0, atol=1e-5)
    batch.image = batch.image_pad = None
    with torch.no_grad():
        assert torch.equal(model.logits(batch), alone)


def test_weights_are_used_without_a_copy(checkpoint: Checkpoint) -> None:
    base = open_base(checkpoint.base)
    model = build_empty_model(MMTConfig(**base.settings()))
    weights = base.weights()
    name = "decoder.layers.0.ffn.inner_proj.weight"
    base.weights = lambda: weights  # type: ignore[method-assign]
    load_text(model.text, base)
    assert dict(model.text.named_parameters())[name].data_ptr() == weights[name].data_ptr()
    assert model.text.final_proj.weight is model.text.decoder_frontend.embed.weight


def test_a_translator_shares_the_weights_with_its_decoder(checkpoint: Checkpoint) -> None:
    translator = _translator(checkpoint)
    frontend = translator.model.text.decoder_frontend
    assert translator.decoder.embed.data_ptr() == frontend.embed.weight.data_ptr()  # type: ignore[union-attr]


def test_an_embedding_in_another_order_stays_in_memory_once(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """Its rows are copied into our order. The file's rows, which are mapped into memory, leave it then."""
    folder = tmp_path / "large"
    shutil.copytree(checkpoint.folder, folder)
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if name.endswith(("shared.weight", "embed_tokens.weight")))
    added = torch.zeros(200_000, weights[name].size(1))
    save_file({one: torch.cat([w, added]) if one == name else w for one, w in weights.items()},
              folder / "model.safetensors", {"format": "pt"})  # fmt: skip
    base = open_base(f"{checkpoint.base.partition(':')[0]}:{folder}")
    kept = base.weights()
    pages = Path("/proc/self/smaps").read_text().split(f"{folder}/model.safetensors\n")[1:]
    resident = sum(int(one.partition("\nRss:")[2].split()[0]) for one in pages) * 1024
    assert kept
    assert resident < added.nbytes / 4


def test_the_command_line_names_languages(tmp_path: Path) -> None:
    nllb = checkpoints.nllb(tmp_path / "nllb")
    (tmp_path / "in.txt").write_text("A cat sees the dog.\n\n")

    def translate(*languages: str) -> Result:
        where = ["translate", "--model", nllb.base, "--input", str(tmp_path / "in.txt"), "--quiet"]
        return CliRunner().invoke(main, [*where, *languages])

    named = translate("--source-lang", "en", "--target-lang", "deu")
    assert named.exit_code == 0, named.output
    translator = Translator.from_dir(nllb.base, source_lang="eng_Latn", target_lang="deu_Latn")
    assert named.stdout.split("\n") == [*translator.translate(["A cat sees the dog.", ""]), ""]
    for languages, part in (
        (("--source-lang", "en", "--target-lang", "deu_Lant"), "Did you mean 'deu_Latn'?"),
        (("--source-lang", "en", "--target-lang", "zh"), "zho_Hans, zho_Hant"),
        ((), "--source-lang"),
    ):
        refused = translate(*languages)
        assert (refused.exit_code, part in refused.stderr) == (2, True), refused.stderr


def test_settings_are_fields_of_the_configuration(checkpoint: Checkpoint) -> None:
    settings = open_base(checkpoint.base).settings()
    assert settings.items() <= asdict(MMTConfig(**settings)).items()
    assert settings["vocab_size"] % 64 == 0


@pytest.mark.parametrize("kind", [checkpoints.nllb, checkpoints.marian])
def test_an_exported_base_translates_as_the_base(kind: Callable[..., Checkpoint], tmp_path: Path) -> None:
    checkpoint = kind(tmp_path / "it", layers=(1, 1))  # exporting takes time by the layer
    languages = [
        f"--{side}-lang={code}" for side, code in zip(("source", "target"), checkpoint.languages, strict=False)
    ]
    given = [
        "export",
        "--model",
        checkpoint.base,
        "--out",
        str(tmp_path / "out"),
        "--precision",
        "float32",
        *languages,
    ]
    result = CliRunner().invoke(main, given)
    assert result.exit_code == 0, result.output
    lines = [source for source, _ in sentences(6, 5)]
    exported = ExportedTranslator.from_dir(tmp_path / "out")
    assert exported.translate(lines, beam_size=3) == _translator(checkpoint).translate(lines, beam_size=3)


def test_masked_sentences_are_for_a_model_that_has_a_mask(tmp_path: Path) -> None:
    """A probe's symbol is read as NLLB's own mask; Marian breaks it into pieces."""
    probe = Probe("colour", 0, 1)
    (_, masked), (_, plain) = (KINDS[kind](tmp_path / kind).load() for kind in ("nllb", "marian"))
    assert masked.encode(f"A {probe.symbol} shirt.").count(masked.mask_id) == 1
    check_masked_alike(masked, {}, probe, "nllb")
    with pytest.raises(MMTError, match="breaks that into"):
        check_masked_alike(plain, {}, probe, "marian")
