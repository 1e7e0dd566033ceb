"""Laws of what is seen inside a model."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from mmt.data.batch import Batch, Example, collate
from mmt.data.feature_signature import FeatureSignature
from mmt.data.feature_store import FeatureStore
from mmt.data.tokenizer import Tokenizer
from mmt.errors import MMTError
from mmt.evidence.inside import (
    gate_statistics,
    gradient,
    image_importance,
    occlusion,
    patch_importance,
    region_attention,
    region_importance,
)
from mmt.features.backbone import Backbone
from mmt.inference.torch_runtime import Translator
from mmt.model.card import ModelCard
from mmt.model.fusion import FUSIONS
from mmt.model.model import MMTModel
from tests.stand_in import stand_in_device
from tests.worlds import DIM, make_features, tiny_model

KINDS = [name for name, kind in FUSIONS.items() if kind is not None]
GATES = ["gated", "selective"]
V, R = 40, 4
IDS = [f"{number}.png" for number in range(4)]
SOURCES = ["A dog sees the cat.", "A house.", "", "A boat finds the ball.", "A tree paints the very old tree."]
IMAGES = ["0.png", None, "1.png", "2.png", "3.png"]


def translator(tokenizer: Tokenizer, fusion: str, store: FeatureStore | None, regions: int = R) -> Translator:
    model = tiny_model(tokenizer.vocab_size, fusion)
    features = None
    if fusion != "none":
        features = FeatureSignature("tiny", "pool", "none", "ab" * 32, regions, DIM)
    return Translator(model, tokenizer, ModelCard(vars(model.config), "en", "de", features), store)


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return make_features(tmp_path_factory.mktemp("inside") / "grid", IDS, regions=R)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return make_features(tmp_path_factory.mktemp("inside") / "pool", IDS)


def sentence(image: torch.Tensor) -> Batch:
    """One sentence with (R, DIM) features."""
    batch = collate([Example([5, 6, 7], [8, 9, 10])])
    batch.image, batch.image_pad = image.unsqueeze(0), torch.zeros(1, len(image), dtype=torch.bool)
    return batch


def features(regions: int = R) -> torch.Tensor:
    return torch.randn(regions, DIM, generator=torch.Generator().manual_seed(4))


def closed(model: MMTModel) -> MMTModel:
    """The model with its gate shut."""
    with torch.no_grad():
        for name, gate in model.named_modules():
            if name.endswith("gate_text"):
                gate.get_parameter("bias").fill_(-1e4)
    return model


# --- gates ------------------------------------------------------------------------------------------------


def test_gate_statistics_by_hand(tokenizer: Tokenizer, grid: FeatureStore) -> None:
    """Biases alone make the gate: at each token 12 of 16 entries are 1/2, three sigmoid(-15), one sigmoid(-30).

    ============  ============================  ==================================================
    mean          (12 / 2) / 16                 0.375 (the others are under 1e-6)
    over 1e-5     12 / 16                       sigmoid(-15) = 3.1e-7 is not
    over 1e-10    15 / 16                       sigmoid(-30) = 9.4e-14 is not
    norm ratio    mean |g * V| / mean |H|       V = 2 everywhere: 0.375 * 2 / mean |H|
    ============  ============================  ==================================================
    """
    looking = translator(tokenizer, "gated", grid)
    model = looking.model
    with torch.no_grad():
        for linear in (model.fusion.get_submodule("gate_text"), model.fusion.get_submodule("gate_image")):
            linear.get_parameter("weight").zero_()
        bias = model.fusion.get_submodule("gate_text").get_parameter("bias")
        bias.zero_()
        bias[:3], bias[3] = -15.0, -30.0
        model.image.projections[0].weight.zero_()
        model.image.projections[0].get_parameter("bias").fill_(2.0)
    found = gate_statistics(looking, SOURCES, IMAGES)
    assert found.mean == pytest.approx(0.375, abs=1e-6)
    assert (found.over_1e5, found.over_1e10) == (12 / 16, 15 / 16)
    batch = collate([Example(tokenizer.encode(SOURCES[0]), [])])
    with torch.no_grad():
        text = model.encode(batch.source, batch.source_lens).states.abs().mean()
    assert found.sentences[0] is not None
    assert found.sentences[0].norm_ratio == pytest.approx(0.75 / float(text), rel=1e-5)
    assert (found.num_sentences, found.num_tokens) == (3, sum(len(s.tokens) for s in found.sentences if s))


@pytest.mark.parametrize("name", GATES)
def test_statistics_of_a_set_are_those_of_its_tokens(tokenizer: Tokenizer, grid: FeatureStore, name: str) -> None:
    found = gate_statistics(translator(tokenizer, name, grid), SOURCES, IMAGES)
    assert [s is None for s in found.sentences] == [False, True, True, False, False]  # no image; no token
    tokens = [token for s in found.sentences if s is not None for token in s.tokens]
    assert found.mean is not None
    assert found.mean == pytest.approx(np.mean([token.gate for token in tokens if token.gate is not None]))
    for s, source in zip(found.sentences, SOURCES, strict=True):
        if s is not None:
            assert [token.piece for token in s.tokens] == [*tokenizer.pieces(tokenizer.encode(source)), "</s>"]
    for numbers in (found, *(s for s in found.sentences if s is not None)):
        assert numbers.over_1e5 is not None
        assert numbers.over_1e10 is not None
        assert 0 <= numbers.over_1e5 <= numbers.over_1e10 <= 1
    assert json.loads(json.dumps(asdict(found)))["num_sentences"] == 3


@pytest.mark.parametrize("name", GATES)
def test_batch_mates_and_their_order_change_nothing(tokenizer: Tokenizer, grid: FeatureStore, name: str) -> None:
    looking = translator(tokenizer, name, grid)
    together = gate_statistics(looking, SOURCES, IMAGES)
    turned = gate_statistics(looking, SOURCES[::-1], IMAGES[::-1])
    assert turned.mean == pytest.approx(together.mean)
    assert turned.norm_ratio == pytest.approx(together.norm_ratio)
    for number, (source, image) in enumerate(zip(SOURCES, IMAGES, strict=True)):
        expected, other = together.sentences[number], turned.sentences[-1 - number]
        if expected is None:
            assert other is None
            continue
        alone = gate_statistics(looking, [source], [image]).sentences[0]
        for found in (other, alone):
            assert found is not None
            assert [t.piece for t in found.tokens] == [t.piece for t in expected.tokens]
            for what in ("gate", "norm_ratio"):
                values = [getattr(token, what) for token in found.tokens]
                assert values == pytest.approx([getattr(token, what) for token in expected.tokens], rel=1e-4)


def test_a_closed_gate_is_nothing(tokenizer: Tokenizer, grid: FeatureStore) -> None:
    looking = translator(tokenizer, "gated", grid)
    closed(looking.model)
    found = gate_statistics(looking, SOURCES, IMAGES)
    assert (found.mean, found.over_1e5, found.over_1e10, found.norm_ratio) == (0, 0, 0, 0)


def test_a_fusion_without_gate_has_a_norm_ratio_alone(
    tokenizer: Tokenizer, grid: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking = translator(tokenizer, "gated", grid)
    with_gate = gate_statistics(looking, SOURCES, IMAGES)
    look = looking.model.fusion.look
    monkeypatch.setattr(looking.model.fusion, "look", lambda *a: type(r := look(*a))(r.states, r.text, r.image))
    found = gate_statistics(looking, SOURCES, IMAGES)
    assert (found.mean, found.over_1e5, found.over_1e10) == (None, None, None)
    assert found.norm_ratio == with_gate.norm_ratio
    assert found.sentences[0] is not None
    assert found.sentences[0].tokens[0].gate is None


def test_progress_reaches_the_number_of_sentences(tokenizer: Tokenizer, grid: FeatureStore) -> None:
    steps: list[int] = []
    gate_statistics(translator(tokenizer, "gated", grid), SOURCES, IMAGES, progress=steps.append)
    assert sum(steps) == len(SOURCES)


def test_nothing_to_look_at_is_refused(tokenizer: Tokenizer, grid: FeatureStore) -> None:
    looking = translator(tokenizer, "gated", grid)
    with pytest.raises(MMTError, match="none of 2 sentences has an image"):
        gate_statistics(looking, ["A dog.", ""], [None, "0.png"])
    with pytest.raises(MMTError, match="'late' lets the image into the decoder"):
        gate_statistics(translator(tokenizer, "late", grid), ["A dog."], ["0.png"])
    with pytest.raises(MMTError, match="'early' lets the image into the encoder"):
        gate_statistics(translator(tokenizer, "early", grid), ["A dog."], ["0.png"])
    with pytest.raises(MMTError, match="trained on text only"):
        gate_statistics(translator(tokenizer, "none", None), ["A dog."], ["0.png"])
    with pytest.raises(MMTError, match="one image"):
        gate_statistics(looking, ["A dog."], [])
    with pytest.raises(MMTError, match=r"sentence 1: expected at most 511 pieces, found \d+"):
        gate_statistics(looking, ["x " * 600], ["0.png"])


# --- attention --------------------------------------------------------------------------------------------


def test_attention_is_shares_of_the_regions(tokenizer: Tokenizer, grid: FeatureStore) -> None:
    found = region_attention(translator(tokenizer, "selective", grid), SOURCES[0], "0.png")
    assert found is not None
    assert found.tokens == [*tokenizer.pieces(tokenizer.encode(SOURCES[0])), "</s>"]
    assert found.values.shape == (len(found.tokens), R)
    np.testing.assert_allclose(found.values.sum(1), 1, rtol=1e-6)
    for name in ("gated", "early", "late"):
        assert region_attention(translator(tokenizer, name, grid), SOURCES[0], "0.png") is None


# --- importance -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*GATES, "late"])
@pytest.mark.parametrize("method", [occlusion, gradient])
def test_an_ignored_image_has_no_importance(name: str, method: object) -> None:
    assert callable(method)
    assert not method(closed(tiny_model(V, name)), sentence(features())).any()
    assert method(tiny_model(V, name), sentence(features())).any()


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("method", [occlusion, gradient])
def test_padding_regions_have_none_and_change_nothing(name: str, method: object) -> None:
    assert callable(method)
    model, image = tiny_model(V, name), features()
    expected = method(model, sentence(image))
    wider = sentence(torch.cat([image, torch.zeros(2, DIM)]))
    assert wider.image_pad is not None
    wider.image_pad[0, R:] = True
    found = method(model, wider)
    assert not found[:, R:].any()
    torch.testing.assert_close(found[:, :R], expected, rtol=1e-3, atol=1e-5)
    without = sentence(image)
    assert without.image_pad is not None
    without.image_pad[:] = True
    assert not method(model, without).any()


@pytest.mark.parametrize("name", ["concat", *GATES, "late"])
def test_what_another_region_says_too_is_not_missed(name: str) -> None:
    found = occlusion(tiny_model(V, name), sentence(features()[:1].repeat(R, 1)))
    torch.testing.assert_close(found, torch.zeros_like(found), rtol=0, atol=1e-5)


@pytest.mark.parametrize("method", [occlusion, gradient])
def test_merged_sets_have_one_value_for_a_region(method: object) -> None:
    """That of one set whose features are both sets' side by side, and whose projection is both sets'."""
    assert callable(method)
    merged = tiny_model(V, "selective", merge_sets=True, image_sets=((R, DIM), (R, DIM)))
    joined = tiny_model(V, "selective", image_sets=((R, 2 * DIM),))
    weights = merged.state_dict()
    first, second = (weights.pop(f"image.projections.{number}.weight") for number in (0, 1))
    first_bias, second_bias = (weights.pop(f"image.projections.{number}.bias") for number in (0, 1))
    weights["image.projections.0.weight"] = torch.cat([first, second], 1)
    weights["image.projections.0.bias"] = first_bias + second_bias
    joined.load_state_dict(weights)
    both = features(), features().flip(0)
    found = method(merged, sentence(torch.cat(both)))
    torch.testing.assert_close(found, method(joined, sentence(torch.cat(both, 1))), rtol=1e-3, atol=1e-5)
    assert found.any()


def test_the_gradient_of_normalised_features_is_refused(tokenizer: Tokenizer, grid: FeatureStore) -> None:
    model = translator(tokenizer, "selective", grid)
    model.model = tiny_model(tokenizer.vocab_size, "selective", normalise_features=True, image_sets=((R, DIM),))
    assert region_importance(model, SOURCES[0], "Hund", "0.png").values.any()
    with pytest.raises(MMTError, match="method='occlusion'"):
        region_importance(model, SOURCES[0], "Hund", "0.png", "gradient")


@pytest.mark.parametrize("method", [occlusion, gradient])
def test_the_region_that_matters_matters_most(method: object) -> None:
    """Every token attends to region 2 alone, by hand-made weights."""
    assert callable(method)
    model, image = tiny_model(V, "selective"), torch.zeros(R, DIM)
    image[2] = features()[2]
    with torch.no_grad():
        seen = model.image.projections[0](image[2])
        model.image.projections[0].get_parameter("bias").zero_()
        model.fusion.get_submodule("query").get_parameter("weight").zero_()
        key = model.fusion.get_submodule("key").get_parameter("weight")
        model.fusion.get_submodule("query").get_parameter("bias").copy_(40 * key @ seen / (key @ seen).norm())
    values = method(model, sentence(image)).abs()
    assert values[:, 2].min() > 1e-3
    assert values[:, [0, 1, 3]].max() < 1e-5


@pytest.mark.parametrize("name", KINDS)
def test_occlusion_is_the_difference_of_two_scores(name: str) -> None:
    model, image = tiny_model(V, name), features()
    batch = sentence(image)
    expected = log_p(model, batch)
    fewer = sentence(image[[0, 2, 3]])  # truly gone, rather than padded
    torch.testing.assert_close(occlusion(model, batch)[:, 1], expected - log_p(model, fewer), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_gradient_agrees_with_finite_differences(name: str) -> None:
    model, image, step = tiny_model(V, name).double(), features().double(), 1e-4
    found = gradient(model, sentence(image))
    assert all(parameter.grad is None for parameter in model.parameters())
    for region in range(R):
        scores = []
        for factor in (1 + step, 1 - step):
            moved = image.clone()
            moved[region] *= factor
            scores.append(log_p(model, sentence(moved)))
        expected = ((scores[0] - scores[1]) / (2 * step)).to(found.dtype)
        torch.testing.assert_close(found[:, region], expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("method", [occlusion, gradient])
def test_many_variants_fall_into_batches(method: object, monkeypatch: pytest.MonkeyPatch) -> None:
    assert callable(method)
    model, batch = tiny_model(V, "selective"), sentence(features())
    expected = method(model, batch)
    monkeypatch.setattr("mmt.evidence.inside.VARIANTS", 3)
    monkeypatch.setattr("mmt.evidence.inside.LOGITS", 5)
    torch.testing.assert_close(method(model, batch), expected, rtol=1e-3, atol=1e-5)


def log_p(model: MMTModel, batch: Batch) -> torch.Tensor:
    """(T) of the batch's one target."""
    with torch.no_grad():
        logits = model.logits(batch)
    ids = batch.target[0, 1:].unsqueeze(1)
    found: torch.Tensor = torch.log_softmax(logits[0], -1).gather(1, ids).squeeze(1)
    return found


# --- pictures ---------------------------------------------------------------------------------------------


class OneCorner(Backbone):
    """Stands for a backbone: all that it sees of a picture is the left quarter of the upper half."""

    def __init__(self, regions: int) -> None:
        nn.Module.__init__(self)  # no network
        self.signature = FeatureSignature("tiny", "pool", "squash28-bicubic-mean0-std1", "ab" * 32, regions, DIM)

    def transform(self, picture: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(picture.unsqueeze(0), 28)[0]

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        corner = pictures[:, :, :14, :7].float().mean((2, 3)) / 64
        vectors = torch.cat([corner, corner.square()], 1).unsqueeze(1)
        return vectors.repeat(1, self.signature.num_regions, 1)


def with_backbone(tokenizer: Tokenizer, fusion: str, regions: int = 1) -> Translator:
    looking = translator(tokenizer, fusion, None, regions)
    backbone = OneCorner(regions)
    assert looking.card.features is not None
    looking.card = ModelCard(looking.card.config, "en", "de", backbone.signature)
    looking.backbones = [backbone]
    return looking


def picture(seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 60, 3), dtype=np.uint8))


def test_patches_matter_where_the_backbone_looks(tokenizer: Tokenizer) -> None:
    found = patch_importance(with_backbone(tokenizer, "gated"), SOURCES[0], "Hund sieht Katze.", picture(), 4)
    values = np.abs(found.values).reshape(-1, 4, 4)
    assert found.tokens == [*tokenizer.pieces(tokenizer.encode("Hund sieht Katze.")), "</s>"]
    assert (values[:, :2, 0].max(0) > 1e-4).all()
    np.testing.assert_allclose(values[:, 2:], 0, atol=1e-5)
    np.testing.assert_allclose(values[:, :, 1:], 0, atol=1e-5)
    assert found.boxes is not None
    assert found.boxes[5] == pytest.approx((0.25, 0.25, 0.5, 0.5))


def test_covering_one_colour_with_itself_changes_nothing(tokenizer: Tokenizer) -> None:
    plain = Image.new("RGB", (30, 40), (200, 10, 90))
    found = patch_importance(with_backbone(tokenizer, "gated"), SOURCES[0], "Hund.", plain)
    assert found.values.shape == (len(found.tokens), 49)
    np.testing.assert_allclose(found.values, 0, atol=1e-6)


def test_patches_of_an_ignored_picture_have_no_importance(tokenizer: Tokenizer) -> None:
    looking = with_backbone(tokenizer, "gated")
    closed(looking.model)
    assert not patch_importance(looking, SOURCES[0], "Hund.", picture()).values.any()


def test_the_map_that_applies_is_chosen(tokenizer: Tokenizer, pool: FeatureStore, tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    text = (SOURCES[0], "Hund sieht.")
    regions = with_backbone(tokenizer, "selective", 9)
    found = image_importance(regions, *text, tmp_path / "a.png")
    assert found is not None
    assert (found.method, found.values.shape[1]) == ("occlusion", 9)
    assert found.boxes is not None
    assert found.boxes[0] == pytest.approx((0, 0, 1 / 3, 1 / 3))
    found = image_importance(with_backbone(tokenizer, "gated"), *text, str(tmp_path / "a.png"))
    assert found is not None
    assert (found.method, found.values.shape[1]) == ("patches", 49)
    unlike = with_backbone(tokenizer, "gated")
    unlike.backbones[0].signature = replace(unlike.backbones[0].signature, transform="detector's own, 320x320")
    assert image_importance(unlike, *text, str(tmp_path / "a.png")) is None  # no square to cut into patches
    assert image_importance(regions, *text, None) is None
    stored = translator(tokenizer, "gated", pool, 1)
    assert image_importance(stored, *text, "0.png") is None  # one region, and no picture
    assert image_importance(translator(tokenizer, "none", None), *text, "0.png") is None


def test_one_region_is_the_whole_image_or_none(tokenizer: Tokenizer, pool: FeatureStore) -> None:
    looking = translator(tokenizer, "gated", pool, 1)
    found = region_importance(looking, SOURCES[0], "Hund sieht.", "0.png")
    batch = looking.batch(
        [tokenizer.encode(SOURCES[0])], looking.features_of(["0.png"]), [tokenizer.encode("Hund sieht.")]
    )
    seen = log_p(looking.model, batch)
    batch.image = batch.image_pad = None
    expected = (seen - log_p(looking.model, batch)).numpy()
    np.testing.assert_allclose(found.values[:, 0], expected, rtol=1e-3, atol=1e-5)
    same = region_importance(looking, SOURCES[0], tokenizer.encode("Hund sieht."), "0.png")
    np.testing.assert_array_equal(same.values, found.values)


@pytest.mark.parametrize("fusion", ["selective", "hybrid"])
def test_what_is_seen_inside_a_model_on_a_device_is_what_is_seen_on_the_cpu(
    tokenizer: Tokenizer, grid: FeatureStore, tmp_path: Path, fusion: str
) -> None:
    picture().save(tmp_path / "a.png")

    def see(model: Translator, device: str) -> list[object]:
        model.to(device)
        text, target = "A dog sees the cat.", "Hund sieht Katze"
        maps = [region_importance(model, text, target, "0.png", method) for method in ("occlusion", "gradient")]
        attention = region_attention(model, text, "0.png")
        model.backbones = [OneCorner(R)]
        maps.append(patch_importance(model, text, target, str(tmp_path / "a.png"), 3))
        found: list[object] = [one.values for one in (*maps, *([] if attention is None else [attention]))]
        if fusion in GATES:
            statistics = gate_statistics(model, SOURCES, IMAGES)
            found += [statistics.mean, statistics.norm_ratio, statistics.over_1e5]
        return found

    expected = see(translator(tokenizer, fusion, grid), "cpu")
    with stand_in_device():
        found = see(translator(tokenizer, fusion, grid), "meta")
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
