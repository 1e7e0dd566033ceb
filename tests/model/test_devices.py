"""A step of training and its losses on a device: the numbers of the CPU, and what the host waits for.

``tests.stand_in`` stands for a GPU.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from fairseq2.metrics import MetricBag

from mmt.data.batch import Batch, Example, collate
from mmt.model.fusion import real_first
from mmt.model.losses import label_smoothed_nll, r_drop_loss, soft_cross_entropy
from mmt.model.model import MMTModel
from mmt.model.padding import beyond
from mmt.training.tasks import Objectives
from mmt.training.units import TrainingUnit
from tests.stand_in import stand_in_device
from tests.worlds import DIM, MODELS, tiny_model

V = 40
META = torch.device("meta")
HEADS = {"heads": ("contrastive", "imagination", "classification", "regression"), "num_labels": 3}


def batch_with_images(regions: int = 3) -> Batch:
    batch = collate(
        [
            Example([5, 6, 7], [8, 9], label=1, score=0.5),
            Example([10, 11], [12, 13, 14, 15], label=2, score=-1.0),
            Example([16], [17], label=0),
        ]
    )
    torch.manual_seed(3)
    batch.image = torch.randn(3, regions, DIM)
    batch.image_pad = torch.ones(3, regions, dtype=torch.bool)
    batch.image_pad[[0, 1], :2] = False
    return batch


class Step:
    """A training step as ``mmt train`` computes it: losses, metrics, gradients, and their clipping."""

    def __init__(self, model: MMTModel, objectives: Objectives, device: str) -> None:
        model.zero_grad(set_to_none=True)
        self.model, self.unit, self.bag = model, TrainingUnit(model, objectives), MetricBag(torch.device(device))
        self.unit.prepare_metric_bag(self.bag)

    def __call__(self, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The loss, and the gradients by name."""
        batch.to(self.bag.device, non_blocking=True)
        loss, count = self.unit.process_batch(batch, self.bag)
        (loss / count).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        return loss, {name: one.grad for name, one in self.model.named_parameters() if one.grad is not None}


OBJECTIVES = {
    "translation": (Objectives(label_smoothing=0.1), 0),
    "image_weighting": (Objectives(image_weighting=0.5), 8),
    "r_drop": (Objectives(r_drop=0.5), 0),
    "contrastive": (Objectives(weights={"contrastive": 0.5}), 2),
    "hardest": (Objectives(weights={"contrastive": 0.5}, hardest_negatives=True), 3),
    "imagination": (Objectives(weights={"imagination": 0.5}), 2),
    "classification": (Objectives(0.0, weights={"classification": 1.0}), 0),
    "regression": (Objectives(0.0, weights={"regression": 1.0}), 0),
    "faithful": (Objectives(weights={"faithful": 0.5}), 6),
}
"""And how often the host reads a number of the device in a step; an objective may only become better."""


def assert_same_step(model: MMTModel, batch: Batch, objectives: Objectives, reads: int) -> None:
    expected, slopes = Step(model, objectives, "cpu")(batch)
    with stand_in_device() as waits:
        there = Step(model.to("meta"), objectives, "meta")
        waits.clear()
        loss, found = there(batch)
        assert waits.num_reads <= reads, waits
        assert waits.num_copies == 0, waits
        assert {one.device.type for one in (loss, *found.values())} == {"meta"}
        assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
        assert found.keys() == slopes.keys()
        for name, slope in found.items():
            torch.testing.assert_close(slope.cpu(), slopes[name], rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("fusion", MODELS)
def test_a_step_of_training_on_its_device_is_that_of_the_cpu_and_waits_for_nothing(fusion: str) -> None:
    batch = batch_with_images()
    if fusion == "none":
        batch.image = batch.image_pad = None
    assert_same_step(tiny_model(V, fusion, dropout_p=0.0).train(), batch, Objectives(label_smoothing=0.1), 0)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_host_reads_no_more_numbers_in_a_step_than_before(name: str) -> None:
    objectives, reads = OBJECTIVES[name]
    model = tiny_model(V, "gated", dropout_p=0.0, **HEADS).train()
    if name == "faithful":  # its teacher is its own frozen text
        model.text.requires_grad_(False)
    assert_same_step(model, batch_with_images(), objectives, reads)


@pytest.mark.parametrize("kind", ["label_smoothed", "r_drop", "soft"])
def test_ids_that_are_no_words_cost_no_wait(kind: str) -> None:
    torch.manual_seed(0)
    states, others, weight = torch.randn(6, 4), torch.randn(6, 4), torch.randn(9, 4)
    bias, targets = (
        torch.randn(9).index_fill(0, torch.tensor([1, 8]), -torch.inf),
        torch.tensor([0, 2, 3, 4, 7, 7]),
    )

    def loss_and_slopes(device: str) -> list[torch.Tensor]:
        parts = [one.detach().to(device).requires_grad_() for one in (states, weight, bias)]
        other, there = others.to(device), targets.to(device)
        if kind == "label_smoothed":
            loss, *_ = label_smoothed_nll(parts[0], parts[1], there, 0.1, parts[2])
        elif kind == "r_drop":
            loss, *_ = r_drop_loss(parts[0], other, parts[1], there, 0.1, 0.5, parts[2])
        else:
            loss, *_ = soft_cross_entropy(
                parts[0], parts[1], other, parts[1].detach(), parts[2], parts[2].detach()
            )
        loss.backward()  # type: ignore[no-untyped-call]
        return [loss.detach(), *(one.grad for one in parts if one.grad is not None)]

    expected = loss_and_slopes("cpu")
    with stand_in_device() as waits:
        found = loss_and_slopes("meta")
        assert waits.num_reads == 0, waits
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one.cpu(), other, rtol=1e-4, atol=1e-5)


def test_the_stand_in_sees_what_it_is_for() -> None:
    here = torch.ones(2, 2)
    with stand_in_device() as waits:
        there = here.to("meta", non_blocking=True)
        assert (waits.num_reads, waits.num_copies) == (0, 0)
        reads: list[Callable[[], object]] = [
            there.tolist, there.cpu, there.nonzero, lambda: bool(there.sum()), lambda: there[there > 0],
            lambda: int(there[0, 0]), lambda: torch.equal(there, there),
        ]  # fmt: skip
        for number, read in enumerate(reads, 1):
            read()
            assert waits.num_reads == number, waits
        copies: list[Callable[[], object]] = [
            lambda: here.to("meta"), lambda: torch.tensor([1, 2], device="meta"), lambda: there[[0, 1]],
            lambda: there.copy_(here),
        ]  # fmt: skip
        for number, copy in enumerate(copies, 1):
            copy()
            assert waits.num_copies == number, waits
        with pytest.raises(RuntimeError, match=r"mm: tensors of cpu and meta, in tests/model/test_devices.py"):
            there @ here
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()
        for quiet in (there + 1, there.masked_fill(there > 0, 2.0), there[:, 0], torch.zeros(2, device="meta")):
            assert quiet.device == META
        assert waits.num_reads == len(reads)


def test_positions_that_are_not_cut_off_are_those_that_are() -> None:
    """What other devices than a CPU get, by its shapes; and by its values as a model is exported."""
    states, pad = torch.randn(2, 5, 4), torch.tensor([[1, 0, 0, 1, 0], [1, 1, 1, 0, 1]], dtype=torch.bool)
    cut, lens = real_first(states, pad)
    kept, tensor = real_first(states.to("meta"), pad.to("meta"))
    assert (cut.shape, kept.shape, lens) == ((2, 3, 4), (2, 5, 4), [3, 1])
    assert isinstance(tensor, torch.Tensor)
    assert tensor.device.type == "meta"


@pytest.mark.parametrize("fusion", ["early", "prefix", "late", "hybrid"])
def test_uncut_memories_give_the_same_logits(fusion: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = tiny_model(V, fusion), batch_with_images()
    with torch.no_grad():
        expected = model.logits(batch)
        memory = model.encode(batch.source, batch.source_lens, batch.image, batch.image_pad)

        def uncut(states: torch.Tensor, pad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            kept, lens = real_first(states, pad)
            missing = pad.size(1) - kept.size(1)
            return torch.nn.functional.pad(kept, (0, 0, 0, missing)), torch.tensor(lens)

        for module in ("fusion", "model"):
            monkeypatch.setattr(f"mmt.model.{module}.real_first", uncut)
        wide = model.encode(batch.source, batch.source_lens, batch.image, batch.image_pad)
        assert fusion == "late" or wide.states.size(1) >= memory.states.size(1)
        real = ~beyond(torch.tensor(batch.target_lens), batch.labels.size(1))
        torch.testing.assert_close(model.logits(batch)[real], expected[real], rtol=1e-5, atol=1e-5)
