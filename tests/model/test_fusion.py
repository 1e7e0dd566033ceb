"""Laws of what fusions do between encoder and decoder, and each formula on an example worked by hand.

Laws of every fusion, whichever its place, are in test_model.py and test_decoding.py.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import torch
from fairseq2.models.transformer import StandardMultiheadAttention

import mmt.model.fusion as fusion_module
from mmt.data.batch import Example, collate
from mmt.errors import MMTError
from mmt.io.plugins import import_modules
from mmt.model.card import read_card
from mmt.model.config import ModelSizes
from mmt.model.folder import load_model
from mmt.model.fusion import (
    FUSIONS,
    ConcatFusion,
    DoubleAttention,
    EarlyFusion,
    Fusion,
    GatedFusion,
    Look,
    Memory,
    SelectiveFusion,
    find_fusion,
    fusion_places,
    mean_region,
    real_first,
)
from mmt.model.padding import Lens
from tests import warm
from tests.worlds import DIM, config, settings, tiny_folder, tiny_model

KINDS = [name for name, kind in FUSIONS.items() if kind is not None and kind.look is not Fusion.look]
N, S, R, D = 3, 5, 4, 8


def make(name: str) -> Fusion:
    torch.manual_seed(0)
    kind = FUSIONS[name]
    assert kind is not None
    return kind(ModelSizes(model_dim=D))


def look_of(fusion: Fusion, text: torch.Tensor, image: torch.Tensor, pad: torch.Tensor | None) -> Look:
    look = fusion.look(text, image, pad)
    assert look is not None
    return look


def fuse(fusion: Fusion, text: torch.Tensor, image: torch.Tensor, pad: torch.Tensor | None) -> torch.Tensor:
    return look_of(fusion, text, image, pad).states


def states() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(N, S, D), torch.randn(N, R, D)


@pytest.mark.parametrize("name", KINDS)
def test_no_region_equals_text_exactly(name: str) -> None:
    text, image = states()
    pad = torch.zeros(N, R, dtype=torch.bool)
    pad[1] = True
    fused = fuse(make(name), text, image, pad)
    assert torch.equal(fused[1], text[1])
    assert not torch.allclose(fused[0], text[0])


@pytest.mark.parametrize("name", KINDS)
def test_padding_regions_change_nothing(name: str) -> None:
    text, image = states()
    fusion = make(name)
    wider = torch.cat([image, torch.full((N, 2, D), math.nan)], dim=1)
    pad = torch.zeros(N, R + 2, dtype=torch.bool)
    pad[:, R:] = True
    torch.testing.assert_close(fuse(fusion, text, wider, pad), fuse(fusion, text, image, None))


@pytest.mark.parametrize("name", KINDS)
def test_order_of_sentences_changes_nothing(name: str) -> None:
    text, image = states()
    pad = torch.tensor([[False] * R, [True] * R, [False, True] * (R // 2)])
    fusion, order = make(name), torch.tensor([2, 0, 1])
    turned = fuse(fusion, text[order], image[order], pad[order])
    torch.testing.assert_close(turned, fuse(fusion, text, image, pad)[order])


@pytest.mark.parametrize("name", KINDS)
def test_gradients_reach_the_image_and_every_parameter(name: str) -> None:
    text, image = states()
    image.requires_grad_()
    fusion = make(name)
    fuse(fusion, text, image, None).square().sum().backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in fusion.parameters())


@pytest.mark.parametrize("name", KINDS)
def test_half_precision_stays_finite(name: str) -> None:
    text, image = states()
    fused = fuse(make(name).bfloat16(), text.bfloat16() * 50, image.bfloat16() * 50, None)
    assert fused.isfinite().all()


@pytest.mark.parametrize("name", KINDS)
def test_a_look_has_the_parts_that_it_says(name: str) -> None:
    text, image = states()
    look = look_of(make(name), text, image, None)
    assert torch.equal(look.text, text)
    assert look.image.shape == text.shape
    if look.gate is not None:
        assert look.gate.shape == text.shape
        assert ((look.gate >= 0) & (look.gate <= 1)).all()
    if look.attention is not None:
        assert look.attention.shape == (N, S, R)
        torch.testing.assert_close(look.attention.sum(-1), torch.ones(N, S))


@pytest.mark.parametrize("name", KINDS)
def test_no_region_has_no_part_and_breaks_no_numbers(name: str) -> None:
    text, _ = states()
    image = torch.full((N, R, D), math.nan)
    look = look_of(make(name), text, image, torch.ones(N, R, dtype=torch.bool))
    assert torch.equal(look.states, text)
    assert not look.image.any()
    assert all(part.isfinite().all() for part in (look.gate, look.attention) if part is not None)


@pytest.mark.parametrize("name", KINDS)
def test_nothing_is_attended_to_in_padding(name: str) -> None:
    text, image = states()
    pad = torch.zeros(N, R, dtype=torch.bool)
    pad[:, 1] = True
    attention = look_of(make(name), text, image, pad).attention
    if attention is not None:
        assert not attention[:, :, 1].any()
        torch.testing.assert_close(attention.sum(-1), torch.ones(N, S))


@pytest.mark.parametrize("name", ["gated", "selective"])
def test_a_closed_gate_returns_text(name: str) -> None:
    text, image = states()
    fusion = make(name)
    assert isinstance(fusion, GatedFusion | SelectiveFusion)
    with torch.no_grad():
        fusion.gate_text.bias.fill_(-1e4)
    torch.testing.assert_close(fuse(fusion, text, image, None), text)


def test_concatenation_agrees_with_its_formula_by_hand() -> None:
    """H' = W [H; V] + b at width 2, W = [[1, 2, 1, 0], [0, 1, 0, -1]], b = [0.5, 0], V the mean of two regions."""
    fusion = ConcatFusion(ModelSizes(model_dim=2))
    with torch.no_grad():
        fusion.text.weight.copy_(torch.tensor([[1.0, 2.0], [0.0, 1.0]]))
        fusion.text.bias.copy_(torch.tensor([0.5, 0.0]))
        fusion.image.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, -1.0]]))
    fused = fuse(fusion, torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[2.0, 3.0], [4.0, 5.0]]]), None)
    # [1 * 1 + 2 * 2 + 1 * 3 + 0.5, 1 * 2 - 1 * 4]
    torch.testing.assert_close(fused, torch.tensor([[[8.5, -2.0]]]))


def test_early_fusion_puts_real_regions_behind_real_tokens() -> None:
    fusion = EarlyFusion(ModelSizes(model_dim=1)).eval()
    tokens = torch.tensor([[[1.0], [2.0], [3.0]], [[4.0], [0.0], [0.0]], [[5.0], [6.0], [0.0]]])
    image = torch.tensor([[[7.0], [8.0]], [[9.0], [math.nan]], [[math.nan], [math.nan]]])
    pad = torch.tensor([[False, False], [False, True], [True, True]])
    joined, lens = fusion.before_encoder(tokens, [3, 1, 2], image, pad)
    assert joined[:, :, 0].tolist() == [[1, 2, 3, 7, 8], [4, 9, 0, 0, 0], [5, 6, 0, 0, 0]]
    assert lens == [5, 2, 2]


def test_double_attention_agrees_with_its_formula_by_hand() -> None:
    """C = C_text + sigmoid(W [C_text; C_image]) * C_image; every projection the identity, one head, width 2.

    ==========================  ==================================================  ======================
    x = [1, 0]                  text [sqrt2 ln 3, 4] and [0, 8]: scores [ln 3, 0]    shares [3/4, 1/4]
    C_text                      3/4 [sqrt2 ln 3, 4] + 1/4 [0, 8]                     [1.16525430, 5]
    C_image                     one region: all of it                                [3, -2]
    g                           sigmoid([0.5 * 3, 0.2 * 5 - 1])                      [0.81757448, 0.5]
    C                           [1.16525430 + 0.81757448 * 3, 5 - 0.5 * 2]           [3.61797773, 4]
    ==========================  ==================================================  ======================
    """
    from fairseq2.models.transformer import AttentionBiasCache, IdentityBias, create_default_sdpa
    from fairseq2.nn import BatchLayout

    attention = DoubleAttention(2, 1, create_default_sdpa(IdentityBias())).eval()
    with torch.no_grad():
        for part in (attention, attention.image_attn):
            for proj in (part.q_proj, part.k_proj, part.v_proj, part.output_proj):
                proj.weight.copy_(torch.eye(2))
                proj.bias.zero_()
        attention.gate_text.weight.copy_(torch.tensor([[0.0, 0.0], [0.0, 0.2]]))
        attention.gate_text.bias.copy_(torch.tensor([0.0, -1.0]))
        attention.gate_image.weight.copy_(torch.tensor([[0.5, 0.0], [0.0, 0.0]]))
    text = torch.tensor([[[2**0.5 * math.log(3), 4.0], [0.0, 8.0]]])
    memory = Memory(text, [2], torch.tensor([[[3.0, -2.0]]]), [1])
    query = torch.tensor([[[1.0, 0.0]]])
    mixed = attention(query, BatchLayout.of(query), memory, memory.layout, memory, AttentionBiasCache())
    torch.testing.assert_close(mixed, torch.tensor([[[3.61797773, 4.0]]]))


def test_gated_agrees_with_its_paper_by_hand() -> None:
    """H' = H + sigmoid(W [H; V] + b) * V at width 2, W = [[1, 0, 2, 0], [0, 1, 0, -1]], b = [0.5, 0]."""
    fusion = GatedFusion(ModelSizes(model_dim=2))
    with torch.no_grad():
        fusion.gate_text.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        fusion.gate_text.bias.copy_(torch.tensor([0.5, 0.0]))
        fusion.gate_image.weight.copy_(torch.tensor([[2.0, 0.0], [0.0, -1.0]]))
    fused = fuse(fusion, torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[3.0, 4.0]]]), None)
    # gate = [sigmoid(1 + 6 + 0.5), sigmoid(2 - 4)] = [0.99944722, 0.11920292]
    torch.testing.assert_close(fused, torch.tensor([[[1 + 0.99944722 * 3, 2 + 0.11920292 * 4]]]))


def test_selective_agrees_with_its_paper_by_hand() -> None:
    """A = softmax(Q(H) K(V)' / sqrt(D)) U(V), g = sigmoid(W [A; H]), H' = (1 - g) * H + g * A at width 2.

    ====================  =====================================================  =================================
    H = [1, 0]            Q = K = identity                                       Q(H) = [1, 0]
    V1 = [sqrt2 ln 3, 4]  scores [sqrt2 ln 3, 0] / sqrt2 = [ln 3, 0]             shares [3/4, 1/4]
    V2 = [0, 8]           U(V) = [[0, 1], [0, -1]] V + [0, 1]                    [4, -3] and [8, -7]
    A                     3/4 [4, -3] + 1/4 [8, -7]                              [5, -4]
    g                     sigmoid([0.2 * 5 + 1, 0.25 * -4 + 0 + 1])              sigmoid [2, 0] = [0.88079708, 0.5]
    H'                    [0.11920292 * 1 + 0.88079708 * 5, 0.5 * 0 + 0.5 * -4]  [4.52318832, -2]
    ====================  =====================================================  =================================
    """
    fusion = SelectiveFusion(ModelSizes(model_dim=2))
    with torch.no_grad():
        for linear in (fusion.query, fusion.key, fusion.gate_text):
            linear.weight.copy_(torch.eye(2))
        fusion.value.weight.copy_(torch.tensor([[0.0, 1.0], [0.0, -1.0]]))
        fusion.value.bias.copy_(torch.tensor([0.0, 1.0]))
        fusion.gate_image.weight.copy_(torch.tensor([[0.2, 0.0], [0.0, 0.25]]))
        fusion.gate_text.bias.copy_(torch.tensor([0.0, 1.0]))
    regions = torch.tensor([[[2**0.5 * math.log(3), 4.0], [0.0, 8.0]]])
    look = look_of(fusion, torch.tensor([[[1.0, 0.0]]]), regions, None)
    assert look.gate is not None
    assert look.attention is not None
    torch.testing.assert_close(look.attention, torch.tensor([[[0.75, 0.25]]]))
    torch.testing.assert_close(look.gate, torch.tensor([[[0.88079708, 0.5]]]))
    torch.testing.assert_close(look.image, torch.tensor([[[0.88079708 * 5, -2.0]]]))
    torch.testing.assert_close(look.states, torch.tensor([[[4.52318832, -2.0]]]))


def test_mean_region_leaves_padding_out() -> None:
    image = torch.tensor([[[1.0], [3.0], [99.0]], [[5.0], [5.0], [5.0]]])
    pad = torch.tensor([[False, False, True], [True, True, True]])
    assert mean_region(image, pad).flatten().tolist() == [2.0, 0.0]


def test_real_positions_come_first_in_their_order() -> None:
    states = torch.tensor([[[1.0], [2.0], [3.0]], [[4.0], [5.0], [6.0]]])
    pad = torch.tensor([[True, False, False], [True, True, True]])
    kept, lens = real_first(states, pad)
    assert kept[:, :, 0].tolist() == [[2, 3], [0, 0]]
    assert lens == [2, 0]


def test_memory_takes_rows_whole() -> None:
    memory = Memory(torch.arange(6.0).view(3, 2, 1), [2, 1, 2], torch.arange(3.0).view(3, 1, 1), [1, 0, 1])
    taken = memory.take(torch.tensor([1, 1, 0]))
    assert taken.lens == [1, 1, 2]
    assert taken.states[:, 0, 0].tolist() == [2, 2, 0]
    assert taken.has_image.flatten().tolist() == [False, False, True]
    assert taken.image is not None
    assert taken.image.flatten().tolist() == [1, 1, 0]
    assert list(taken.image_layout.seq_lens) == [1, 1, 1]


def test_a_fusion_acts_where_it_overrides() -> None:
    expected = {
        "none": set(), "early": {"encoder"}, "concat": {"between"}, "gated": {"between"}, "selective": {"between"},
        "late": {"decoder"}, "hybrid": {"encoder", "decoder"}, "prefix": {"encoder"},
    }  # fmt: skip
    assert {name: set(fusion_places(name)) for name in FUSIONS} == expected


class DroppingFusion(EarlyFusion):
    """As in ZeroMMT: the encoder reads regions that the decoder does not see."""

    def after_encoder(
        self, states: torch.Tensor, lens: Lens, source_lens: Lens, num_tokens: int
    ) -> tuple[torch.Tensor, Lens]:
        return states[:, :num_tokens], source_lens


def test_a_fusion_may_hide_regions_from_the_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FUSIONS, "dropping", DroppingFusion)
    model, early = tiny_model(40, "dropping"), tiny_model(40, "early")
    batch = collate([Example([5, 6], [7]), Example([8], [9, 10]), Example([11, 12, 13], [14])])
    with torch.no_grad():
        text = model.encode(batch.source, batch.source_lens)
        batch.add_images([1, 2], np.ones((2, 3, DIM), np.float32))
        memory = model.encode(batch.source, batch.source_lens, batch.image, batch.image_pad)
        seen = early.encode(batch.source, batch.source_lens, batch.image, batch.image_pad)
    assert memory.lens == batch.source_lens
    assert torch.equal(memory.states, seen.states[:, : batch.source.size(1)])
    torch.testing.assert_close(memory.states[0, :3], text.states[0, :3])
    assert not torch.allclose(memory.states[1, :2], text.states[1, :2])


class ScaledAttention(StandardMultiheadAttention):  # type: ignore[misc]  # final for type checkers only
    """A user's own attention in the decoder, with a weight that a text-only model does not have."""

    def __init__(self, model_dim: int, *args: object, **kwargs: object) -> None:
        super().__init__(model_dim, *args, **kwargs)  # type: ignore[arg-type]
        self.scale = torch.nn.Linear(model_dim, 1)


class ScaledFusion(Fusion):
    cross_attention = ScaledAttention


def test_weights_that_a_fusion_adds_to_the_decoder_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever they are called: so ``start.freeze_text`` trains them."""
    monkeypatch.setitem(FUSIONS, "scaled", ScaledFusion)
    model = tiny_model(40, "scaled")
    own = {name for name in model.state_dict() if name.startswith("text.") and not model.is_of_text(name)}
    assert own == {
        f"text.decoder.layers.{n}.encoder_decoder_attn.scale.{kind}" for n in (0, 1) for kind in ("weight", "bias")
    }


def own_fusion() -> str:
    """The module of the recipes' page, as it stands there."""
    page = (Path(__file__).parents[2] / "recipes" / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(import torch\n.*?)```", page, re.DOTALL)
    return str(code)


def test_the_fusion_of_the_recipes_readme_keeps_the_laws(monkeypatch: pytest.MonkeyPatch) -> None:
    code = own_fusion()
    assert len(code.splitlines()) <= 30
    monkeypatch.setattr(fusion_module, "FUSIONS", dict(FUSIONS))
    exec(code, {"__name__": "shift_fusion"})  # noqa: S102  # our own page
    model, batch = tiny_model(40, "shift"), collate([Example([5, 6], [7]), Example([8], [9, 10])])
    with torch.no_grad():
        text = model.encode(batch.source, batch.source_lens).states
        batch.add_images([1], np.ones((1, 3, DIM), np.float32))
        fused = model.encode(batch.source, batch.source_lens, batch.image, batch.image_pad).states
    assert torch.equal(fused[0], text[0])
    assert not torch.allclose(fused[1], text[1])


def test_a_model_with_a_fusion_of_ones_own_is_loaded_where_its_module_is_imported(
    world: Path, tmp_path: Path
) -> None:
    """The page's module, as it stands there: trained, then used in fresh processes."""
    (tmp_path / "shift_fusion.py").write_text(own_fusion(), encoding="utf-8")

    def mmt(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "from mmt.cli.main import main; main()", *map(str, arguments)]
        paths = {"PYTHONPATH": str(Path(__file__).parents[2])}  # and not the current folder
        return warm.run(command, cwd=tmp_path, env=os.environ | paths, capture_output=True, text=True)

    setting = [word for one in settings(world, "regime.num_steps=3", fusion="shift") for word in ("--config", one)]
    done = mmt("train", "run", *setting, "--import", "shift_fusion")
    assert done.returncode == 0, done.stderr
    card = read_card(tmp_path / "run" / "model")
    assert (card.config["fusion"], card.training["fusion_module"]) == ("shift", "shift_fusion")

    given = ["--model", tmp_path / "run" / "model", "--data", world / "data", "--images", world / "features"]
    done = mmt("translate", *given, "--import", tmp_path / "shift_fusion.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 8
    with pytest.raises(MMTError, match="fusion 'shift' is not one of mmt's, but of the module 'shift_fusion'"):
        load_model(tmp_path / "run" / "model")
    assert "shift_fusion" not in sys.modules
    with pytest.raises(MMTError, match=r"model\.fusion: unknown fusion 'shift'.* --import MODULE"):
        config(world, fusion="shift")


@pytest.mark.parametrize("module", ["os; import this", "../shift", "", "os"])
def test_a_cards_module_is_named_at_most(world: Path, tmp_path: Path, module: str) -> None:
    card = json.loads((tiny_folder(tmp_path / "model", world) / "mmt.json").read_text())
    card["config"]["fusion"], card["training"]["fusion_module"] = "shift", module
    (tmp_path / "model" / "mmt.json").write_text(json.dumps(card))
    with pytest.raises(MMTError, match="fusion 'shift'") as caught:
        load_model(tmp_path / "model")
    assert f"the module '{module}'" in str(caught.value) or module != "os"


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "ModuleNotFoundError|FileNotFoundError"), ("1 / 0", "ZeroDivisionError"), ("(", "SyntaxError")],
)
def test_a_module_that_cannot_be_imported_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    if text is not None:
        (tmp_path / "broken_fusion.py").write_text(text)
    for module in ("broken_fusion", "broken_fusion.py"):
        with pytest.raises(MMTError, match=f"--import {module}: ({message}): .*Expected an installed module"):
            import_modules([module])
    assert "broken_fusion" not in sys.modules


def test_an_installed_package_adds_a_fusion_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("theirs", "mmt.model.fusion:GatedFusion", "mmt.fusions")
    monkeypatch.setattr(fusion_module, "FUSIONS", dict(FUSIONS))
    installed = {("mmt.fusions", "theirs"): [entry]}
    monkeypatch.setattr(fusion_module, "entry_points", lambda *, group, name: installed.get((group, name), []))
    assert find_fusion("theirs") is FUSIONS["gated"]
    with pytest.raises(MMTError, match="unknown fusion 'others'"):
        find_fusion("others")
