"""Laws of adapters and LoRA.

Those that every model keeps are in test_model.py, test_beam.py and test_onnx_runtime.py.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import torch
from fairseq2.models.utils.ac import apply_layerwise_ac
from fairseq2.nn import BatchLayout, Linear

from mmt.data.batch import Batch, Example, collate
from mmt.errors import MMTError
from mmt.inference.beam import beam_search
from mmt.inference.search import SearchOptions
from mmt.model.adapters import Adapter, LowRankLinear, act_on, has_adapters
from mmt.model.build import build_model
from mmt.model.config import MMTConfig
from mmt.model.frozen import freeze_text
from mmt.model.fusion import FUSIONS
from mmt.model.model import MMTModel
from mmt.model.stepping import Precision, StepDecoder
from mmt.training.config_file import read_config
from tests.worlds import ADAPTERS, DIM, tiny_model

EXAMPLES = [Example([5, 6, 7], [8, 9]), Example([10, 11], [12, 13, 14, 15]), Example([16], [17])]
V = 40
BOTH = "+adapters+lora"
SAME_WIDTH = ["concat", "gated", "selective", "late"]  # an image makes no row of the batch longer


def batch_of(rows: list[int], examples: list[Example] = EXAMPLES) -> Batch:
    """The examples, with images in ``rows``."""
    batch = collate(examples)
    generator = torch.Generator().manual_seed(3)
    batch.image = torch.randn(len(examples), 2, DIM, generator=generator)
    batch.image_pad = torch.ones(len(examples), 2, dtype=torch.bool)
    batch.image_pad[rows] = False
    return batch


def text_of(model: MMTModel) -> MMTModel:
    """The text-only model with the weights of ``model``."""
    config = replace(model.config, fusion="none", image_sets=(), adapter_dim=0, lora_rank=0)
    text = build_model(config)
    text.load_state_dict({k: v for k, v in model.state_dict().items() if k in text.state_dict()})
    return text.train(model.training)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("adapters", ["+adapters", "+lora"])
@pytest.mark.parametrize("fusion", SAME_WIDTH)
def test_a_row_without_image_is_exactly_the_texts_beside_rows_with_one(
    fusion: str, adapters: str, training: bool
) -> None:
    """In every bit; in training also the dropout is the same."""
    model = tiny_model(V, fusion + adapters, dropout_p=0.2, norm_order="pre").train(training)
    logits = []
    for one, batch in ((model, batch_of([1])), (text_of(model), collate(EXAMPLES))):
        torch.manual_seed(4)
        with torch.no_grad():
            logits.append(one.logits(batch))
    assert torch.equal(logits[0][[0, 2]], logits[1][[0, 2]])
    assert not torch.allclose(logits[0][1], logits[1][1])


def stepped(model: MMTModel, batch: Batch, precision: Precision) -> torch.Tensor:
    """(N, steps, D) states of two beams that are moved and of which sentence 1 leaves last."""
    with torch.inference_mode():
        cache = StepDecoder(model, precision).begin(
            model.encode(batch.source, batch.source_lens, batch.image, batch.image_pad), 2, 4
        )
        states = [cache.step(torch.tensor([[2], [2], [2]])).view(3, -1)]
        cache.reorder(torch.zeros(3, 2, dtype=torch.int64))
        states.append(cache.step(torch.tensor([[5, 6], [7, 8], [9, 10]])).view(3, -1))
        cache.reorder(torch.tensor([[1, 0], [0, 0], [1, 1]]))
        cache.select(torch.tensor([1, 2]))
        left = cache.step(torch.tensor([[11, 12], [13, 14]])).view(2, -1)
        states.append(torch.cat([torch.zeros_like(left[:1]), left]))
    return torch.cat(states, 1).float()


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("fusion", ["gated" + BOTH, "late" + BOTH])
def test_the_step_decoder_is_exactly_the_texts_in_a_row_without_image(fusion: str, precision: Precision) -> None:
    """int8 has one scale for all activations of a step: there, rows with images change the others' rounding."""
    model = tiny_model(V, fusion)
    expected = stepped(text_of(model), collate(EXAMPLES), precision)
    assert torch.equal(stepped(model, batch_of([]), precision), expected)
    mixed = stepped(model, batch_of([1]), precision)
    if precision != "int8":
        assert torch.equal(mixed[[0, 2]], expected[[0, 2]])
    assert (mixed[1] - expected[1]).abs().max() > 0.1


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_another_precision_is_near(precision: Precision) -> None:
    model, batch = tiny_model(V, "gated" + BOTH), batch_of([0, 1, 2])
    exact, rounded = (stepped(model, batch, one) for one in ("float32", precision))
    assert (exact - rounded).abs().mean() < 0.1 * exact.abs().mean()


@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_guidance_leaves_a_sentence_without_image_as_the_text_model_translates_it(guidance: float) -> None:
    model = tiny_model(V, "gated" + BOTH)
    found, expected = (
        beam_search(one, batch, SearchOptions(beam_size=3), max_length=(1.0, 5), guidance=guidance)
        for one, batch in ((model, batch_of([1])), (text_of(model), collate(EXAMPLES)))
    )
    for row in (0, 2):
        assert [h.ids for h in found[row]] == [h.ids for h in expected[row]]
        assert [h.score for h in found[row]] == pytest.approx([h.score for h in expected[row]], abs=1e-5)
    assert [h.score for h in found[1]] != pytest.approx([h.score for h in expected[1]])


@pytest.mark.parametrize("fusion", [name for name in FUSIONS if name != "none"])
def test_new_adapters_change_no_output_and_no_other_weight(fusion: str) -> None:
    """The same seed gives the same model, and the new part begins as the identity."""
    plain, adapted = (
        MMTConfig(
            fusion=fusion,
            vocab_size=V,
            model_dim=16,
            num_heads=2,
            image_sets=((2, DIM),),
            dropout_p=0.2,
            **changes,
        )
        for changes in ({}, {"adapter_dim": 4, "lora_rank": 2})
    )
    models = []
    for config in (plain, adapted):
        torch.manual_seed(5)
        models.append(build_model(config).eval())
    for name, weight in models[0].state_dict().items():
        assert torch.equal(models[1].state_dict()[name], weight)
    with torch.no_grad():
        expected, found = (model.logits(batch_of([0, 1])) for model in models)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_gradients_reach_every_new_weight_after_one_update() -> None:
    """At first the up-projections alone, which are 0. Text weights, which are frozen, stay as they are."""
    sizes: dict[str, Any] = {"model_dim": 16, "ffn_dim": 32, "num_heads": 2, "norm_order": "pre", "dropout_p": 0.1}
    torch.manual_seed(1)
    model = build_model(
        MMTConfig(
            vocab_size=V,
            fusion="prefix",
            image_sets=((2, DIM),),
            **sizes,
            **ADAPTERS["adapters"],
            **ADAPTERS["lora"],
        )
    )
    for name, weight in model.named_parameters():
        weight.requires_grad_(not model.is_of_text(name))
    trained = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    of_text = {name.split(".")[-2] for name, _ in trained if name.startswith("text.")}
    assert of_text == {"adapter_down", "adapter_up", "lora_down", "lora_up"}
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    optimizer = torch.optim.SGD([weight for _, weight in trained], lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        model.cross_entropy(batch_of([0, 1]))[0].backward()
        optimizer.step()
    silent = {name for name, weight in trained if weight.grad is None or not weight.grad.abs().sum() > 0}
    assert silent == set()
    changed = {name for name, weight in model.state_dict().items() if not torch.equal(weight, before[name])}
    assert changed == {name for name, _ in trained}


def test_a_frozen_text_model_has_loras_dropout_alone() -> None:
    model, batch = tiny_model(V, "concat+lora", dropout_p=0.5, lora_dropout_p=0.5), batch_of([1])
    freeze_text(model, saved=False)
    model.train()
    with torch.no_grad():
        one, other = model.logits(batch), model.logits(batch)
    assert torch.equal(one[[0, 2]], other[[0, 2]])
    assert not torch.allclose(one[1], other[1])
    with torch.no_grad():
        assert torch.equal(model.eval().logits(batch), model.logits(batch))


@pytest.mark.parametrize("fusion", ["prefix" + BOTH, "late" + BOTH])
def test_activation_checkpointing_gives_the_same_gradients(fusion: str) -> None:
    """A layer that is computed again in the backward pass is computed for the same sentences."""
    found = []
    for checkpointing in (False, True):
        model = tiny_model(V, fusion, dropout_p=0.0).train()
        weights = list(model.parameters())
        if checkpointing:
            for stack in (model.text.encoder, model.text.decoder):
                apply_layerwise_ac(stack.layers, 1)
        loss = model.cross_entropy(batch_of([1]))[0]
        found.append(torch.autograd.grad(loss, weights))
    for plain, again in zip(*found, strict=True):
        torch.testing.assert_close(again, plain)


def test_threads_translate_with_one_model_at_the_same_time() -> None:
    """One batch has an image in its first sentence, the other in its second; both begin together."""
    decoder, barrier = StepDecoder(tiny_model(V, "late" + BOTH)), Barrier(2)

    def translations(row: int, together: bool) -> list[list[tuple[list[int], float]]]:
        found = []
        for _ in range(8):
            if together:
                barrier.wait()
            hypotheses = beam_search(decoder, batch_of([row]), SearchOptions(beam_size=2), max_length=(1.0, 5))
            found.append([(one.ids, one.score) for sentence in hypotheses for one in sentence])
        return found

    expected = [translations(row, together=False) for row in (0, 1)]
    assert expected[0] != expected[1]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda row: translations(row, together=True), (0, 1)))
    assert found == expected


def test_a_layer_that_fails_leaves_no_sentence_active() -> None:
    low = LowRankLinear(Linear(4, 4, bias=True), 2, 4.0)
    torch.nn.init.normal_(low.lora_up.weight)
    x = torch.randn(3, 2, 4)
    plain = low(x)
    active = torch.ones(3, 1, 1, dtype=torch.bool)
    with act_on(active):
        assert not torch.equal(low(x), plain)
    with pytest.raises(RuntimeError), act_on(active):
        low(torch.zeros(3))
    assert torch.equal(low(x), plain)


def test_an_adapter_agrees_with_its_formula_by_hand() -> None:
    """y = x + f + U relu(W f + b) + c at width 2, bottleneck 1: W = [1, -1], b = 0.5, U = [2, -3]', c = [0, 1].

    f = [3, 1]: relu(3 - 1 + 0.5) = 2.5, update [5, -7.5 + 1]; f = [1, 3]: relu(-1.5) = 0, update [0, 1].
    """
    adapter = Adapter(2, 1)
    with torch.no_grad():
        adapter.adapter_down.weight.copy_(torch.tensor([[1.0, -1.0]]))
        adapter.adapter_down.bias.fill_(0.5)
        adapter.adapter_up.weight.copy_(torch.tensor([[2.0], [-3.0]]))
        adapter.adapter_up.bias.copy_(torch.tensor([0.0, 1.0]))
    output = torch.tensor([[[3.0, 1.0], [1.0, 3.0]]]).repeat(2, 1, 1)
    x = torch.tensor([10.0, 20.0]).expand(2, 2, 2)
    with act_on(torch.tensor([True, False])[:, None, None]):
        y = adapter(output, x)
    torch.testing.assert_close(y[0], torch.tensor([[18.0, 14.5], [11.0, 24.0]]))
    assert torch.equal(y[1], torch.tensor([[13.0, 21.0], [11.0, 23.0]]))
    assert torch.equal(adapter(output, x)[0], y[1])


def test_lora_agrees_with_its_formula_by_hand() -> None:
    """W x + b + alpha / r * B A x, W the identity, b = [1, 0], r = 2, alpha = 6.

    A = [1, 2; 0, 0], B = [1, 5; -1, 5]. x = [1, 1]: A x = [3, 0], so the update is 6 / 2 * [3, -3].
    """
    low = LowRankLinear(Linear(2, 2, bias=True), 2, 6.0, dropout_p=0.5).eval()
    with torch.no_grad():
        low.weight.copy_(torch.eye(2))
        low.bias.copy_(torch.tensor([1.0, 0.0]))
        low.lora_down.weight.copy_(torch.tensor([[1.0, 2.0], [0.0, 0.0]]))
        low.lora_up.weight.copy_(torch.tensor([[1.0, 5.0], [-1.0, 5.0]]))
    x = torch.ones(2, 1, 2)
    with act_on(torch.tensor([True, False])[:, None, None]):
        torch.testing.assert_close(low(x), torch.tensor([[[11.0, -8.0]], [[2.0, 1.0]]]))
        torch.manual_seed(0)
        dropped = torch.cat([low.train()(x)[0] for _ in range(30)])
    assert len(dropped.unique(dim=0)) == 4  # of two inputs, each is dropped or doubled


@pytest.mark.parametrize(
    ("changes", "per_layer"),
    [
        ({"adapter_dim": 128}, dict.fromkeys(("encoder", "decoder"), 2 * (2 * 1024 * 128 + 128 + 1024))),
        ({"lora_rank": 8}, {"encoder": 2 * 8 * 2048, "decoder": 4 * 8 * 2048}),
        ({"lora_rank": 8, "lora_places": ("encoder",)}, {"encoder": 2 * 8 * 2048, "decoder": 0}),
        (
            {"lora_rank": 16, "lora_targets": ("output", "ffn_outer"), "lora_places": ("decoder", "cross")},
            {"encoder": 0, "decoder": 16 * (2 * 2048 + 1024 + 4096)},
        ),
    ],
)
def test_new_parameters_are_counted_as_documented(changes: dict[str, Any], per_layer: dict[str, int]) -> None:
    sizes: dict[str, Any] = {"model_dim": 1024, "ffn_dim": 4096, "num_heads": 16}
    with torch.device("meta"):
        model = build_model(
            MMTConfig(vocab_size=V, fusion="gated", num_encoder_layers=2, num_decoder_layers=3, **sizes, **changes)
        )
    for part, layers in (("encoder", 2), ("decoder", 3)):
        start = f"text.{part}."
        new = [p.numel() for n, p in model.named_parameters() if n.startswith(start) and not model.is_of_text(n)]
        assert sum(new) == layers * per_layer[part]


def test_adapters_are_for_the_texts_layers_alone() -> None:
    """The encoder of recordings has layers, too; so has late fusion its attention to regions."""
    sizes = {"image_encoder": "frames", "image_sets": ((4, 80),)}
    model = tiny_model(V, "late" + BOTH, **sizes)
    own = [name for name, _ in model.named_parameters() if "adapter_" in name or "lora_" in name]
    assert all(name.startswith("text.") for name in own)
    assert not any("image_attn" in name for name in own)
    assert not any(model.is_of_text(name) for name in own)
    assert has_adapters(model.config)


def test_a_sentence_without_image_is_as_fast_as_text() -> None:
    """Its batch has no images, so that nothing of the adapters is computed."""
    model = tiny_model(V, "gated" + BOTH)
    for module in model.modules():
        if isinstance(module, Adapter | LowRankLinear):
            part = module.adapter_down if isinstance(module, Adapter) else module.lora_down
            part.forward = None  # type: ignore[assignment]
    batch = collate(EXAMPLES)
    with torch.no_grad():
        assert model.logits(batch).isfinite().all()
        with pytest.raises(TypeError):
            model.logits(batch_of([0]))


def test_a_layout_of_another_origin_activates_nothing() -> None:
    model, batch = tiny_model(V, "gated" + BOTH), collate(EXAMPLES)
    with torch.no_grad():
        memory = model.encode(batch.source, batch.source_lens)
        states = model.text.decode(
            batch.target[:, :-1], batch.target_layout(), memory.states, BatchLayout.of(memory.states, memory.lens)
        )
        assert torch.equal(states, model.decode_targets(batch))


def millions(changes: dict[str, Any], layers: int, **sizes: int) -> float:
    """New weights of a model with so many layers in its encoder and in its decoder, in millions."""
    with torch.device("meta"):
        config = MMTConfig(
            vocab_size=V, fusion="gated", num_encoder_layers=1, num_decoder_layers=1, **sizes, **changes
        )
        model = build_model(config)
    new = [p.numel() for n, p in model.named_parameters() if n.startswith("text.") and not model.is_of_text(n)]
    return sum(new) * layers / 1e6


def test_the_documents_table_of_weights_is_right() -> None:
    page = (Path(__file__).parents[2] / "docs" / "pretrained.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+): (\d+)`(, all projections)? \| ([\d.]+) \| ([\d.]+) \|$", page, re.MULTILINE)
    assert len(rows) == 6
    for key, width, every, marian, nllb in rows:
        changes = (ADAPTERS["lora"] if every else {}) | {key: int(width)}
        assert f"{millions(changes, 6, model_dim=512, ffn_dim=2048, num_heads=8):.2f}" == marian
        assert f"{millions(changes, 12, model_dim=1024, ffn_dim=4096, num_heads=16):.2f}" == nllb


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            ["model.fusion=none", "model.adapter_dim=8"],
            "model.adapter_dim.*no sentence has an image.*Set model.fus",
        ),
        (["model.fusion=none", "model.lora_rank=8"], "model.lora_rank.*no sentence has an image"),
        (["model.text_encoder=lstm", "model.lora_rank=8"], "model.lora_rank.*text_encoder.*transformer"),
        (["model.lora_targets=[w]", "model.lora_rank=8"], "lora_targets.*'q'"),
        (["model.lora_targets=[]", "model.lora_rank=8"], "lora_targets"),
        (["model.lora_targets=[ffn_inner]", "model.lora_places=[cross]", "model.lora_rank=8"], "no part has both"),
        (["model.adapter_dim=-1"], "adapter_dim.*at least 0"),
        (["model.lora_alpha=0"], "lora_alpha"),
    ],
)
def test_adapters_that_cannot_act_are_refused(changes: list[str], message: str) -> None:
    settings = ["data.path=x", "model.fusion=gated", *changes]
    if "model.fusion=none" not in changes:
        settings.append("images.features=y")
    with pytest.raises(MMTError, match=message):
        read_config(None, list({one.partition("=")[0]: one for one in settings}.values()))
