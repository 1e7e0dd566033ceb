from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from transformers import MarianMTModel, MarianTokenizer

from mmt.cli.main import main
from mmt.data.tokenizer import BOS, EOS, PAD, Tokenizer, train_tokenizer
from mmt.errors import MMTError
from mmt.inference.marian_export import write_marian
from mmt.inference.torch_runtime import Translator
from mmt.model.build import build_model
from mmt.model.card import ModelCard
from mmt.model.config import MMTConfig
from mmt.model.folder import save_model
from mmt.model.pretrained.base import open_base
from tests.model.pretrained.checkpoints import batch_of
from tests.worlds import sentences

DECODING = {"beam_size": 3, "length_penalty": 0.7}


def _model(folder: Path, vocab_size: int = 330, **settings: object) -> Path:
    """Of random weights, with capital letters unknown to its tokenizer, and a probe's mask."""
    lines = [side.lower() for pair in sentences(60, 0) for side in pair]
    train_tokenizer(lines, vocab_size, folder / "tokenizer.model", symbols=["[MASK_C]"])
    torch.manual_seed(4)
    config = MMTConfig(
        vocab_size=vocab_size, model_dim=32, num_heads=4, ffn_dim=40, num_encoder_layers=2, num_decoder_layers=3,
        max_length=100, **settings,
    )  # fmt: skip
    model = build_model(config)
    for name, weight in model.named_parameters():
        if "norm" in name or name.endswith("bias"):
            torch.nn.init.normal_(weight, float(name.endswith("norm.weight")), 0.2)
    from dataclasses import asdict

    save_model(
        folder / "model",
        model.state_dict(),
        folder / "tokenizer.model",
        ModelCard(asdict(config), "en", "de", decoding=DECODING),
    )
    return folder / "model"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model folder, and what ``mmt export --layout marian`` made of it."""
    folder = tmp_path_factory.mktemp("marian")
    model, out = _model(folder), folder / "marian"
    result = CliRunner().invoke(main, ["export", "--model", str(model), "--out", str(out), "--layout", "marian"])
    assert result.exit_code == 0, result.output
    return model, out


LINES = [source for source, _ in sentences(20, 7)] + ["A Caf\u00e9 \U0001f436 [MASK_C] dog!", ""]


def test_read_back_it_gives_the_same_translations(folders: tuple[Path, Path]) -> None:
    model, out = folders
    ours, back = Translator.from_dir(model), Translator.from_dir(f"marian:{out}")
    assert back.card.decoding == DECODING
    assert (back.model.config.positions, back.model.config.vocab_size) == ("scratch", 384)
    for line in LINES:
        assert back.tokenizer.encode(line) == ours.tokenizer.encode(line)
    batch = batch_of(ours.tokenizer, sentences(5, 3))
    with torch.no_grad():
        logits = ours.model.logits(batch)
        assert torch.equal(back.model.logits(batch)[:, :, :330], logits)
    for one, other in zip(ours.hypotheses(LINES, n_best=3), back.hypotheses(LINES, n_best=3), strict=True):
        assert [h.text for h in one] == [h.text for h in other]
        assert [h.score for h in one] == pytest.approx([h.score for h in other], abs=1e-5)


def test_transformers_reads_it(folders: tuple[Path, Path]) -> None:
    model, out = folders
    ours = Translator.from_dir(model)
    theirs, tokenizer = MarianMTModel.from_pretrained(out).eval(), MarianTokenizer.from_pretrained(out)
    for line in LINES[:-1]:
        assert tokenizer(line.lower().replace("[mask_c]", "[MASK_C]")).input_ids == [*ours.encode(line), EOS]
    batch = batch_of(ours.tokenizer, sentences(5, 3))
    with torch.no_grad():
        logits = theirs(
            input_ids=batch.source, attention_mask=batch.source != PAD, decoder_input_ids=batch.target[:, :-1]
        ).logits
        real = batch.labels != PAD
        torch.testing.assert_close(logits[real], ours.model.logits(batch)[real], rtol=0, atol=1e-5)
        written = theirs.generate(batch.source, attention_mask=(batch.source != PAD).long(), max_length=30)
    assert {int(one) for one in written[:, 0]} == {BOS}
    assert not {PAD, BOS} & {int(one) for row in written for one in row[1 : row.tolist().index(EOS)]}


@pytest.mark.parametrize(
    ("settings", "part"),
    [({"norm_order": "pre"}, "norm_order: post"), ({"text_encoder": "lstm"}, "text_encoder: transformer")],
)
def test_what_the_layout_cannot_express_is_refused(tmp_path: Path, settings: dict[str, str], part: str) -> None:
    with pytest.raises(MMTError, match=part):
        write_marian(_model(tmp_path, **settings), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_positions_that_are_learned_are_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folders[1] / "model.safetensors")
    weights["model.decoder.embed_positions.weight"][7] += 0.1
    for path in folders[1].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(MMTError, match="no learned positions"):
        open_base(f"marian:{tmp_path}").settings()


def test_another_folder_is_not_replaced(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(MMTError, match="is something else"):
        write_marian(folders[0], tmp_path)
    write_marian(folders[0], folders[1])  # its own is
    assert json.loads((folders[1] / "config.json").read_text())["decoder_start_token_id"] == BOS
    assert isinstance(Translator.from_dir(folders[0]).tokenizer, Tokenizer)
