"""Laws of the losses beside translation's, and each formula on an example worked out manually."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from data_prep.probes import prepare
from mmt.data.batch import Batch, Example, collate
from mmt.data.dataset import DatasetInfo, read_info, read_split, write_dataset
from mmt.data.feature_signature import FeatureSignature
from mmt.data.feature_store import FeatureStore
from mmt.data.masking import Probe, check_masked_alike
from mmt.data.reader import BatchReader
from mmt.data.tokenizer import EOS, PAD, UNK
from mmt.errors import MMTError
from mmt.features.writer import FeatureWriter
from mmt.model.card import read_card
from mmt.model.folder import load_model
from mmt.model.fusion import FUSIONS
from mmt.model.losses import soft_cross_entropy
from mmt.model.model import MMTModel
from mmt.training.config_file import read_config
from mmt.training.forward_pass import Pass
from mmt.training.objectives import (
    classification,
    contrastive,
    faithfulness,
    hardest_negative,
    imagination,
    masked_words,
    regression,
)
from mmt.training.recipe import train
from tests.worlds import DIM, STILL, assert_same_weights, config, make_features, reports, tiny_model, weights

V = 30
KINDS = [name for name in FUSIONS if name != "none"]
HEADS = {"heads": ("contrastive", "imagination")}


def batch(images: list[int | None]) -> Batch:
    """Sentences of two to five tokens, with these images."""
    made = collate([Example([5 + n, 6, 7, 8, 9][: 2 + n % 4], [10, 11 + n]) for n in range(len(images))])
    pictures = torch.randn(10, 2, DIM, generator=torch.Generator().manual_seed(1)).numpy()
    rows = [row for row, image in enumerate(images) if image is not None]
    made.add_images(rows, pictures[[image for image in images if image is not None]])
    return made


def sentence_vector(model: MMTModel, given: Batch, row: int) -> torch.Tensor:
    alone = collate([Example(given.source[row, : given.source_lens[row] - 1].tolist(), [])])
    return model.encode(alone.source, alone.source_lens).states[0].mean(0)


def test_hardest_negatives_by_their_formula() -> None:
    """One pair after the other; sentences 0 and 3 have the same image, and are no negatives of each other."""
    model, given = tiny_model(V, "gated", **HEADS), batch([0, 1, None, 0, 2])
    assert given.image is not None
    head = model.heads["contrastive"]
    with torch.no_grad():
        found = hardest_negative(model, given)
        pairs, pictures = [0, 1, 3, 4], {0: 0, 1: 1, 3: 0, 4: 2}
        text = [head.text(sentence_vector(model, given, row)) for row in pairs]
        image = [head.image(model.image.projections[0](given.image[row]).mean(0)) for row in pairs]
        cosine = [[float(torch.cosine_similarity(t, v, 0)) for v in image] for t in text]
    losses = []
    for a, row in enumerate(pairs):
        others = [b for b, other in enumerate(pairs) if pictures[other] != pictures[row]]
        losses.append(max(0, 0.2 - cosine[a][a] + max(cosine[a][b] for b in others)))
        losses[-1] += max(0, 0.2 - cosine[a][a] + max(cosine[b][a] for b in others))
    assert float(found) == pytest.approx(sum(losses) / len(pairs), rel=1e-4)
    assert len({round(loss, 6) for loss in losses}) > 1


def test_a_batch_of_one_image_has_no_negative() -> None:
    model = tiny_model(V, "gated", **HEADS)
    assert hardest_negative(model, batch([0, 0])).item() == 0
    assert hardest_negative(model, batch([0, None])).item() == 0


def test_labels_and_scores_that_are_not_known_are_left_out_of_the_loss() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [5.0, -5.0]], requires_grad=True)
    e = math.exp
    by_hand = (-2 + math.log(e(2) + 1) + math.log(e(1) + 1)) / 2  # labels 0 and 0
    assert (classification(logits, torch.tensor([0, 0, -1]), 0.0)).item() == pytest.approx(by_hand)
    smooth = (
        by_hand + 0.1 * ((2 + -1) / 2) / 2 * 1
    )  # a tenth of the mass spread: half of it goes to the other label
    assert (classification(logits, torch.tensor([0, 0, -1]), 0.1)).item() == pytest.approx(smooth)
    scores = torch.tensor([1.0, -1.0, 9.0])
    assert float(regression(scores, torch.tensor([0.5, 1.0, math.nan]))) == pytest.approx((0.5 + 2) / 2)
    for nothing in (
        classification(logits, torch.tensor([-1, -1, -1]), 0.1),
        regression(scores.requires_grad_(), torch.full((3,), math.nan)),
    ):
        nothing.backward()  # every process has a gradient
        assert nothing.item() == 0


@pytest.mark.parametrize("fusion", KINDS)
def test_contrastive_loss_by_its_formula(fusion: str) -> None:
    """One pair after the other; sentence 2 has no image, and sentences 0 and 3 have the same one."""
    model, given = tiny_model(V, fusion, **HEADS), batch([0, 1, None, 0])
    assert given.image is not None
    head = model.heads["contrastive"]
    with torch.no_grad():
        found = contrastive(model, given)
        pairs = [0, 1, 3]
        text = [head.text(sentence_vector(model, given, row)) for row in pairs]
        image = [head.image(model.image.projections[0](given.image[row]).mean(0)) for row in pairs]
        score = [[float(torch.cosine_similarity(t, v, 0)) / 0.07 for v in image] for t in text]
        losses = []
        for n in range(3):
            others = [m for m in range(3) if m == n or {m, n} != {0, 2}]
            losses += [math.log(sum(math.exp(score[n][m]) for m in others)) - score[n][n]]
            losses += [math.log(sum(math.exp(score[m][n]) for m in others)) - score[n][n]]
    assert float(found) == pytest.approx(sum(losses) / 6, rel=1e-4)


def test_imagination_loss_by_its_formula() -> None:
    model, given = tiny_model(V, "gated", **HEADS), batch([0, 1, None, 0, 2])
    assert given.image is not None
    with torch.no_grad():
        found = imagination(model, given)
        pairs = [0, 1, 3, 4]
        imagined = [model.heads["imagination"](sentence_vector(model, given, row)) for row in pairs]
        seen = [given.image[row].mean(0) for row in pairs]
        cosine = [[float(torch.cosine_similarity(i, s, 0)) for s in seen] for i in imagined]
        losses = [
            max(0.0, 0.1 - cosine[n][n] + cosine[n][m])
            for n in range(4)
            for m in range(4)
            if m != n and {n, m} != {0, 2}
        ]
    assert len(losses) == 10
    assert float(found) == pytest.approx(sum(losses) / 10, rel=1e-4)


def test_masked_words_are_predicted_from_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    model, given = tiny_model(V, "early"), batch([0, None, 1])
    drawn = torch.ones(given.source.shape)
    drawn[0, 1] = drawn[1, 0] = drawn[1, 3] = 0.2  # the last one is the end of sentence 1
    assert given.source[1, 3] == EOS
    monkeypatch.setattr(torch, "rand", lambda *_, **__: drawn)
    with torch.no_grad():
        found = masked_words(model, given)
        source = given.source.clone()
        source[0, 1] = source[1, 0] = UNK
        states = model.encode(source, given.source_lens, given.image, given.image_pad).states
        log_p = torch.log_softmax(model.text.project(states), -1)
    expected = -(log_p[0, 1, given.source[0, 1]] + log_p[1, 0, given.source[1, 0]]) / 2
    assert float(found) == pytest.approx(float(expected), rel=1e-4)


def test_language_tags_unknown_tokens_and_what_is_no_word_are_never_masked() -> None:
    """The model's own mask replaces the others; a loss over an id of bias -inf would be infinite."""
    tags, rows = [20, 21], [[20, 21, 5, UNK, 6, 7] * 40, [20, 21, 8, 7]]
    model, given = tiny_model(V, "early", output_bias=True), collate([Example(row, []) for row in rows])
    with torch.no_grad():
        model.text.final_proj.bias[7] = -torch.inf
    seen: list[torch.Tensor] = []
    encode = model.encode
    model.encode = lambda source, *rest: (seen.append(source), encode(source, *rest))[1]  # type: ignore[method-assign]
    losses = [masked_words(model, given, mask_id=29, num_tags=len(tags)).item() for _ in range(20)]
    assert all(math.isfinite(loss) for loss in losses)
    masked = torch.stack(seen) == 29
    changed = torch.stack(seen) != given.source
    assert torch.equal(masked, changed)
    assert masked.any(dim=0)[:, 2:].any()
    of_ids = {int(token) for token in given.source.expand(20, -1, -1)[masked]}
    assert of_ids == {5, 6, 8, 20, 21}  # the two in the middle of a sentence are no tags
    assert not masked[:, :, :2].any()


def test_with_two_vocabularies_the_sources_own_embedding_predicts_masked_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, given = tiny_model(V, "gated", target_vocab_size=17, output_bias=True), batch([0, None, 1])
    given.source[0, 0] = 28  # an id that the target's vocabulary does not have
    drawn = torch.ones(given.source.shape)
    drawn[0, 0] = drawn[2, 1] = 0.1
    monkeypatch.setattr(torch, "rand", lambda *_, **__: drawn)
    with torch.no_grad():
        found = masked_words(model, given, mask_id=4)
        source = given.source.clone()
        source[0, 0] = source[2, 1] = 4
        states = model.encode(source, given.source_lens, given.image, given.image_pad).states
        log_p = torch.log_softmax(states @ model.text.frontend.embed.weight.T, -1)
    expected = -(log_p[0, 0, 28] + log_p[2, 1, given.source[2, 1]]) / 2
    assert float(found) == pytest.approx(float(expected), rel=1e-4)


def test_a_quarter_of_the_words_is_masked_and_never_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    model, given = tiny_model(V, "early"), collate([Example([7] * 400, []), Example([7] * 9, [])])
    seen: list[torch.Tensor] = []
    encode = model.encode
    monkeypatch.setattr(model, "encode", lambda source, *rest: (seen.append(source), encode(source, *rest))[1])
    masked_words(model, given)
    masked = seen[0] == UNK
    assert 0.18 < masked[0, :400].float().mean() < 0.32
    assert not (masked & ((given.source == PAD) | (given.source == EOS))).any()


@pytest.mark.parametrize("fusion", KINDS)
def test_faithfulness_is_the_divergence_from_the_text_model(fusion: str) -> None:
    model, teacher, given = tiny_model(V, fusion), tiny_model(V, "none", seed=3), batch([0, None, 1])
    with torch.no_grad():
        found = faithfulness(Pass(model, given), teacher)
        log_p = torch.log_softmax(model.logits(given), -1)
        log_q = torch.log_softmax(teacher.logits(given), -1)
        divergence = (log_q.exp() * (log_q - log_p)).sum(-1)[given.target[:, 1:] != PAD]
    assert len(divergence) == given.num_target_tokens
    assert float(found) == pytest.approx(float(divergence.mean()), rel=1e-4)
    own = tiny_model(V, "none")
    own.load_state_dict({name: model.state_dict()[name] for name in own.state_dict()})
    with torch.no_grad():
        assert float(faithfulness(Pass(model, batch([None, None])), own)) == pytest.approx(0, abs=1e-5)


def test_soft_cross_entropy_and_its_gradient() -> None:
    torch.manual_seed(0)
    states, weight = torch.randn(1300, 4, requires_grad=True), torch.randn(9, 4, requires_grad=True)
    wanted, by = torch.randn(1300, 3), torch.randn(9, 3)
    loss, entropy = soft_cross_entropy(states, weight, wanted, by)
    found = torch.autograd.grad(loss, (states, weight))
    q, log_q = torch.softmax(wanted @ by.T, 1), torch.log_softmax(wanted @ by.T, 1)
    expected = -(q * torch.log_softmax(states @ weight.T, 1)).sum()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(entropy, -(q * log_q).sum())
    for mine, theirs in zip(found, torch.autograd.grad(expected, (states, weight)), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("images", [[None, None, None], [None, 2, None], [1, 1, 1]])
@pytest.mark.parametrize("objective", [contrastive, imagination])
def test_nothing_to_tell_apart_is_no_loss(objective: object, images: list[int | None]) -> None:
    """But every parameter has a gradient."""
    assert callable(objective)
    model = tiny_model(V, "selective", **HEADS).train()
    loss = objective(model, batch(images))
    loss.backward()
    assert float(loss.detach()) == 0
    assert all(p.grad is not None for p in model.heads[objective.__name__].parameters())


def test_weights_of_the_text_are_those_of_a_text_only_model() -> None:
    names = set(tiny_model(V, "none").state_dict())
    for fusion in KINDS:
        model = tiny_model(V, fusion, **HEADS)
        assert {name for name in model.state_dict() if model.is_of_text(name)} == names


# --- readers ----------------------------------------------------------------------------------------------


def reader(features: FeatureStore, **more: object) -> BatchReader:
    examples = [Example([5 + n % 7] * (1 + n % 5), [8], f"{n}.png") for n in range(40)]
    return BatchReader(examples, features, max_tokens=40, shuffle=True, seed=3, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    folder = tmp_path_factory.mktemp("f") / "features"
    make_features(folder, [f"{n}.png" for n in range(40)])
    return FeatureStore.open(folder)


def epoch(made: BatchReader) -> list[Batch]:
    found = [one for batches in made for one in batches]
    made.reset()
    return found


def test_image_dropout_leaves_out_its_share_and_others_in_each_epoch(features: FeatureStore) -> None:
    dropping = reader(features, image_dropout_p=0.5)
    epochs = [epoch(dropping) for _ in range(20)]
    shares = [sum(one.num_images for one in batches) / 40 for batches in epochs]
    assert 0.4 < np.mean(shares) < 0.6
    assert len(set(shares)) > 3
    assert sum(one.num_images for one in epoch(reader(features))) == 40


def test_what_is_beside_comes_with_every_batch_and_goes_on_where_it_stopped(features: FeatureStore) -> None:
    examples = [Example([n], [n]) for n in range(5, 12)]

    def make() -> BatchReader:
        beside = BatchReader(examples, None, max_tokens=6, shuffle=True, seed=1)
        return reader(features, beside=[beside], image_dropout_p=0.3)

    whole = make()
    expected = [one for _ in range(3) for one in epoch(whole)]
    assert all(len(one.beside) == 1 for one in expected)
    seen = [token for one in expected for token in one.beside[0].source[:, 0].tolist()]
    assert set(seen) == set(range(5, 12))
    first, second = make(), make()
    for _ in range(4):
        next(first)
    second.load_state_dict(first.state_dict())
    for batches, one in zip(second, expected[4:], strict=False):
        assert torch.equal(batches[0].source, one.source)
        assert batches[0].num_images == one.num_images
        assert torch.equal(batches[0].beside[0].source, one.beside[0].source)


# --- runs -------------------------------------------------------------------------------------------------


def masked_data(world: Path, folder: Path) -> Path:
    """The training sentences of the tiny world, with a colour that is masked."""
    rows = [
        {**r, "source": r["source"].replace("A ", "A red "), "target": f"Roter {r['target']}"}
        for r in read_split(world / "data", "train")
    ]
    write_dataset(folder / "red", read_info(world / "data"), {"train": rows})
    prepare(folder / "red", folder / "masked", Probe("colour"))
    return folder / "masked"


@pytest.fixture(scope="module")
def text_run(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("text") / "run"
    train(output, config(world, fusion="none"))
    return output


def test_a_run_with_every_objective_learns_them_and_resumes_exactly(
    world: Path, text_run: Path, tmp_path: Path
) -> None:
    objectives = ("contrastive=1", "imagination=1", "masked=0.5", "faithful=0.5")
    more = [
        *(f"objectives.{weight}" for weight in objectives),
        f"start.model={text_run / 'model'}",
        "images.dropout_p=0.2",
        f"beside=[{{data: {world / 'data'}, weight: 0.5}}, {{data: {world / 'data'}, task: retrieval}}]",
    ]
    train(tmp_path / "whole", config(world, *more))
    train(tmp_path / "halves", config(world, *more, "regime.num_steps=6"))
    train(tmp_path / "halves", config(world, *more))
    assert_same_weights(weights(tmp_path / "halves", 12), weights(tmp_path / "whole", 12))
    lines = reports(tmp_path / "whole", "train")
    for name in ("contrastive", "imagination", "masked", "faithful", "beside_0_translation", "beside_1_retrieval"):
        assert all(math.isfinite(line[name]) for line in lines)
    assert lines[-1]["contrastive"] < lines[0]["contrastive"]
    card = read_card(tmp_path / "whole" / "model")
    assert card.training["objectives"]["faithful"] == 0.5
    assert [one["task"] for one in card.training["beside"]] == ["translation", "retrieval"]
    load_model(tmp_path / "whole" / "model")
    with pytest.raises(MMTError, match=r"holds a run with objectives\.faithful = 0\.5, now it is 0\.0"):
        train(tmp_path / "whole", config(world, *more, "objectives.faithful=0"))


def test_masked_sentences_beside_others_keep_their_mask_whole(world: Path, tmp_path: Path) -> None:
    masked = masked_data(world, tmp_path)
    train(tmp_path / "run", config(world, f"beside=[{{data: {masked}}}]", "regime.num_steps=3"))
    _, tokenizer, card = load_model(tmp_path / "run" / "model")
    check_masked_alike(tokenizer, card.training, Probe("colour"), "model")


def test_a_tokenizer_that_breaks_the_mask_is_no_start(world: Path, text_run: Path, tmp_path: Path) -> None:
    beside = f"beside=[{{data: {masked_data(world, tmp_path)}}}]"
    with pytest.raises(MMTError, match=r"start\.model: .*breaks that into"):
        train(tmp_path / "run", config(world, f"start.model={text_run / 'model'}", beside))
    assert not (tmp_path / "run").exists()


def test_frozen_text_stays_what_it_was(world: Path, text_run: Path, tmp_path: Path) -> None:
    begin = (f"start.model={text_run / 'model'}", "start.freeze_text=true")
    taught = ("objectives.faithful=1", "objectives.translation=0", "objectives.masked=1")
    train(tmp_path / "run", config(world, *begin, *taught))
    before, after = (load_file(run / "model" / "model.safetensors") for run in (text_run, tmp_path / "run"))
    assert [name for name, weight in before.items() if not torch.equal(after[name], weight)] == []
    assert (tmp_path / "run/tokenizer.model").read_bytes() == (text_run / "tokenizer.model").read_bytes()
    moved = [weights(tmp_path / "run", step)["image.projections.0.weight"] for step in (9, 12)]
    assert not torch.equal(*moved)


def test_a_start_with_the_same_image_is_taken_whole(world: Path, text_run: Path, tmp_path: Path) -> None:
    train(tmp_path / "gated", config(world, f"start.model={text_run / 'model'}", "regime.num_steps=3"))
    train(
        tmp_path / "run",
        config(world, f"start.model={tmp_path / 'gated' / 'model'}", *STILL, "regime.num_steps=3"),
    )
    before, after = (load_file(tmp_path / run / "model" / "model.safetensors") for run in ("gated", "run"))
    assert_same_weights(dict(before), dict(after))


def test_a_start_for_retrieval_is_taken_whole(world: Path, tmp_path: Path) -> None:
    """It has images, and no fusion."""
    learned = ("objectives.translation=0", "objectives.contrastive=1", "model.num_decoder_layers=0")
    retrieval = (*learned, f"images.features={world / 'features'}", "regime.num_steps=3")
    train(tmp_path / "first", config(world, *retrieval, fusion="none"))
    begin = f"start.model={tmp_path / 'first' / 'model'}"
    train(tmp_path / "run", config(world, *retrieval, begin, *STILL, fusion="none"))
    before, after = (load_file(tmp_path / run / "model" / "model.safetensors") for run in ("first", "run"))
    assert_same_weights(dict(before), dict(after))


def test_imagination_needs_no_image_afterwards(world: Path, tmp_path: Path) -> None:
    more = ("objectives.imagination=1", f"images.features={world / 'features'}")
    train(tmp_path / "run", config(world, *more, fusion="none"))
    card = read_card(tmp_path / "run" / "model")
    assert card.features is None
    assert card.config["heads"] == ["imagination"]
    assert reports(tmp_path / "run", "train")[-1]["imagination"] < 1
    model, _, _ = load_model(tmp_path / "run" / "model")
    assert not model.uses_images


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["objectives.contrastive=1", "model.fusion=none"], "wants images in the model"),
        (["objectives.masked=1", "model.fusion=late"], "the encoder sees no image"),
        (["objectives.faithful=1"], "Name it with start.model or model.text"),
        (["objectives.faithful=1", "start.model=m", "model.fusion=none", "images.features=null"], "sees none"),
        (["objectives.image_weighting=1", "model.fusion=none", "images.features=null"], "sees none"),
        (["objectives.image_weighting=1", "objectives.translation=0", "objectives.masked=1"], "none are learned"),
        (["start.freeze_text=true"], "no text model to freeze"),
        (["objectives.contrastive=-1"], "expected at least 0, found -1"),
        (["objectives.translation=0"], "nothing to learn"),
        (["images.dropout_p=1.5"], "expected at most 1, found 1.5"),
        (["beside=[{data: x, task: retrieving}]"], "'translation' or 'retrieval'"),
        (["objectives.imagination=1", "model.fusion=none", "images.features=null"], "images.features is missing"),
        (["model.merge_sets=true", "model.fusion=none", "images.features=null"], "'none' the model reads none"),
        (["model.normalise_features=true", "model.fusion=none", "images.features=null"], "the model reads none"),
        (["model.merge_sets=true"], "expected several stores in images.features, found y"),
        (["model.merge_sets=true", "images.features=[y,z]", "model.image_encoder=frames"], "shortens each set"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(changes: list[str], message: str) -> None:
    with pytest.raises(MMTError, match=message):
        read_config(None, ["data.path=x", "model.fusion=gated", "images.features=y", *changes])


def test_a_text_model_starts_one_with_any_image_encoder(world: Path, text_run: Path, tmp_path: Path) -> None:
    """The text model's card has that encoder's defaults, and no encoder."""
    normalised = (f"start.model={text_run / 'model'}", "model.normalise_features=true", "regime.num_steps=3")
    train(tmp_path / "run", config(world, *normalised))
    assert read_card(tmp_path / "run" / "model").config["normalise_features"] is True
    again = (f"start.model={tmp_path / 'run' / 'model'}", "regime.num_steps=3")
    with pytest.raises(MMTError, match=r"has normalise_features True, model\.normalise_features is False"):
        train(tmp_path / "again", config(world, *again))


def test_sets_of_other_regions_are_refused_before_the_run_begins(world: Path, tmp_path: Path) -> None:
    signature = FeatureSignature("tiny", "grid", "none", "ab" * 32, 3, 4)
    with FeatureWriter(tmp_path / "grid", signature, "float32") as writer:
        ids = FeatureStore.open(world / "features").ids
        writer.append(list(ids), np.zeros((len(ids), 3, 4), np.float32))
        writer.finish()
    sets = f"images.features=[{world / 'features'},{tmp_path / 'grid'}]"
    with pytest.raises(MMTError, match=r"model\.merge_sets: .* the same number of regions, found \d and 3"):
        train(tmp_path / "run", config(world, sets, "model.merge_sets=true", fusion="selective"))
    assert not (tmp_path / "run").exists()


def test_a_start_that_does_not_fit_is_refused(world: Path, text_run: Path, tmp_path: Path) -> None:
    with pytest.raises(MMTError, match=r"has ffn_dim 32, model\.ffn_dim is 64"):
        train(tmp_path / "run", config(world, f"start.model={text_run / 'model'}", "model.ffn_dim=64"))
    assert not (tmp_path / "run").exists()


def test_data_beside_in_another_language_is_refused(world: Path, tmp_path: Path) -> None:
    info = read_info(world / "data")
    rows = list(read_split(world / "data", "train"))
    write_dataset(tmp_path / "french", DatasetInfo("f", "en", "fr", info.images), {"train": rows})
    with pytest.raises(MMTError, match=r"expected en-de, .*found en-fr"):
        train(tmp_path / "run", config(world, f"beside=[{{data: {tmp_path / 'french'}}}]"))
