"""Training and the steps of a search keep to their device, and read no number from it.

The meta device stands for a GPU. Every operation fails there that has to know a tensor's values: ``item``,
``tolist``, ``bool``, ``nonzero`` and indexing by a mask. ``OneDevice`` refuses to mix its tensors with a CPU's.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mmt.data.batch import Batch, Example, collate
from mmt.inference.beam import best_candidates
from mmt.model.attention import beyond
from mmt.model.fusion import real_first
from mmt.model.stepping import StepDecoder
from tests.worlds import DIM, MODELS, tiny_model

V = 40


class OneDevice(TorchDispatchMode):
    """Operations that compute with tensors of two devices fail, as on a GPU; single numbers may take part."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        inputs = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
        devices = {one.device.type for one in inputs if one.ndim or one.device.type != "cpu"}
        if len(devices) > 1 and "copy" not in str(func):
            raise RuntimeError(f"{func}: tensors of {' and '.join(sorted(devices))}")
        return func(*args, **(kwargs or {}))


def batch_with_images(regions: int = 3) -> Batch:
    batch = collate([Example([5, 6, 7], [8, 9]), Example([10, 11], [12, 13, 14, 15]), Example([16], [17])])
    torch.manual_seed(3)
    batch.image = torch.randn(3, regions, DIM)
    batch.image_pad = torch.ones(3, regions, dtype=torch.bool)
    batch.image_pad[[0, 1], :2] = False
    return batch


@pytest.mark.parametrize("fusion", MODELS)
def test_a_step_of_training_stays_on_its_device_and_waits_for_nothing(
    fusion: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "autocast", lambda *args, **settings: nullcontext())  # this device has none
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *device: False)
    model = tiny_model(V, fusion).train().to("meta")
    batch = batch_with_images()
    if fusion == "none":
        batch.image = batch.image_pad = None
    batch.to(torch.device("meta"))
    weights = torch.ones_like(batch.labels, dtype=torch.float32)
    with OneDevice():
        loss, nll = model.cross_entropy(batch, 0.1, weights=weights)
        loss.backward()
    assert {loss.device.type, nll.device.type} == {"meta"}
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    assert any(weight.grad is not None for weight in trained)
    assert {weight.grad.device.type for weight in trained if weight.grad is not None} == {"meta"}


@pytest.mark.parametrize("restricted", [False, True])
@pytest.mark.parametrize("fusion", MODELS)
def test_the_steps_of_a_search_stay_on_their_device(
    fusion: str, restricted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the best candidates of a step come to the CPU, and only its choices go back."""
    monkeypatch.setattr(torch, "autocast", lambda *args, **settings: nullcontext())
    model = tiny_model(V, fusion).to("meta").requires_grad_(False)
    batch = batch_with_images()
    if fusion == "none":
        batch.image = batch.image_pad = None
    batch.to(torch.device("meta"))
    vocabulary = torch.arange(0, V, 2, device="meta") if restricted else None
    if restricted:  # the decoder reads numbers of its weights once, as it is made
        monkeypatch.setattr(torch.Tensor, "__float__", lambda one: 0.0)
        monkeypatch.setattr(torch.Tensor, "nonzero", lambda one: one.new_zeros(V // 2, 1, dtype=torch.int64))
    with OneDevice(), torch.inference_mode():
        decoder = StepDecoder(model, vocabulary=vocabulary)
        cache = decoder.begin(model.encode(batch.source, batch.source_lens, batch.image, batch.image_pad), 2, 4)
        scores = torch.zeros(3, 1, device="meta")
        for beams in (1, 2):
            tokens = torch.zeros(len(scores), beams, dtype=torch.int64, device="meta")
            log_p = torch.log_softmax(decoder.project(cache.step(tokens)), dim=1).view(len(scores), beams, -1)
            found = best_candidates(log_p, scores, 4)
            assert {one.device.type for one in found} == {"meta"}
            cache.reorder(torch.zeros(len(scores), 2, dtype=torch.int64, device="meta"))
            cache.select(torch.zeros(2, dtype=torch.int64, device="meta"))
            scores = torch.zeros(2, 2, device="meta")


def test_the_guard_sees_what_it_is_for() -> None:
    there, here = torch.ones(2, 2, device="meta"), torch.ones(2, 2)
    for wrong in (there.tolist, lambda: bool(there.sum()), there.nonzero, lambda: there[there > 0]):
        with pytest.raises((RuntimeError, NotImplementedError)):
            wrong()
    with OneDevice():
        assert here.to("meta").device.type == "meta"
        with pytest.raises(RuntimeError, match=r"mm.*tensors of cpu and meta"):
            there @ here


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
