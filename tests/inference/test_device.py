"""``--device``: where a model computes. What a trained model does on a device is what it does on the CPU.

``tests.stand_in`` stands for a GPU.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch

from mmt.data.batch import Batch, Example, collate
from mmt.errors import MMTError
from mmt.inference import device_search
from mmt.inference.beam import TorchState, beam_search
from mmt.inference.embedding import embed_images, embed_sentences
from mmt.inference.labelling import predict
from mmt.inference.loaded import LoadedModel
from mmt.inference.open import open_translator
from mmt.inference.scoring import score_pairs
from mmt.inference.search import SearchOptions, length_limits, search
from mmt.inference.torch_runtime import Translator
from mmt.model.stepping import StepDecoder
from tests.model.test_devices import META, batch_with_images
from tests.stand_in import Waits, stand_in_device
from tests.worlds import DIM, MODELS, sentences, tiny_folder, tiny_model

_Result = TypeVar("_Result")
_Model = TypeVar("_Model", bound=LoadedModel)
PAIRS = sentences(6, 5)
SOURCES, TARGETS = [source for source, _ in PAIRS], [target for _, target in PAIRS]
IMAGES = [f"train-{2 * (n % 5)}.png" if n % 3 else None for n in range(len(PAIRS))]


@pytest.fixture
def folder(world: Path, tmp_path: Path) -> Path:
    return tiny_folder(tmp_path / "model", world, "gated")


def test_a_missing_device_is_refused(folder: Path) -> None:
    for device in ("tpu9", "cuda:99"):
        with pytest.raises(MMTError, match=f"device '{device}' cannot be used") as error:
            open_translator(folder, device=device)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(("precision", "runtime"), [("int8", "auto"), ("float32", "onnx")])
def test_what_computes_on_the_cpu_alone_is_refused(folder: Path, precision: str, runtime: str) -> None:
    with pytest.raises(MMTError, match="--device cuda: exported models and int8 compute on the CPU"):
        open_translator(folder, None, precision, runtime, device="cuda")  # type: ignore[arg-type]


def test_batches_come_to_the_models_device(folder: Path, world: Path) -> None:
    model = LoadedModel.from_dir(folder, world / "features")
    image = model.features_of([model.features.ids[0]] if model.features is not None else [])[0]
    for device in ("cpu", "meta"):
        batch = model.to(device).batch([[5, 6], [7]], [image, None], [[8], [9, 10]])
        assert batch.image is not None
        assert {batch.source.device.type, batch.target.device.type, batch.image.device.type} == {device}
        assert {weight.device.type for weight in model.model.parameters()} == {device}


def test_a_translator_on_its_device_translates_as_one_on_the_default_device(folder: Path) -> None:
    lines = ["A dog sees the cat.", "A cat finds a ball."]
    default, named = open_translator(folder), open_translator(folder, device="cpu")
    assert named.translate(lines) == default.translate(lines)


def on_both(model: _Model, work: Callable[[_Model], _Result]) -> tuple[_Result, _Result, Waits]:
    """``work`` on the CPU and on the device, and what the host waited for there."""
    expected = work(model)
    vars(model).pop("decoder", None)  # it is made of the weights as they are
    with stand_in_device() as waits:
        model.to("meta")
        waits.clear()
        return expected, work(model), waits


@pytest.mark.parametrize(
    ("fusion", "beams", "restricted"), [*((fusion, 3, False) for fusion in MODELS), ("gated", 1, True)]
)
def test_a_search_on_its_device_finds_the_same_and_is_read_every_few_steps(
    fusion: str, beams: int, *, restricted: bool
) -> None:
    model = tiny_model(40, fusion).requires_grad_(False)
    batch, options = batch_with_images(), SearchOptions(beams, 0.8, min_length=2)
    if fusion == "none":
        batch.image = batch.image_pad = None
    ids = torch.cat([torch.arange(4), torch.arange(5, 40, 2)]) if restricted else None
    expected = beam_search(StepDecoder(model, vocabulary=ids), batch, options, max_length=(1.0, 8))
    steps = max(batch.source_lens) + 8
    with stand_in_device() as waits:
        decoder = StepDecoder(model.to("meta"), vocabulary=None if ids is None else ids.to(META))
        batch.to(META, non_blocking=True)
        waits.clear()
        found = beam_search(decoder, batch, options, max_length=(1.0, 8))
    assert [[one.ids for one in of_sentence] for of_sentence in found] == [
        [one.ids for one in of_sentence] for of_sentence in expected
    ]
    for one, other in zip(found, expected, strict=True):
        assert [h.score for h in one] == pytest.approx([h.score for h in other], abs=1e-4)
    # The prompt, and at the end the hypotheses: count, scores, lengths and ids.
    assert waits.num_reads <= 5 + steps // 4, waits
    assert waits.num_copies == 0, waits


def many(num: int, prompt: tuple[int, ...] = (2,)) -> Batch:
    """Sentences of 1 to 12 ids, some with an image."""
    generator = np.random.default_rng(7)
    examples = [
        Example(generator.integers(4, 40, 1 + number % 12).tolist(), [], prompt=prompt) for number in range(num)
    ]
    batch = collate(examples)
    batch.add_images(range(0, num, 2), generator.normal(size=(len(range(0, num, 2)), 2, DIM)).astype(np.float32))
    return batch


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("beams", "min_length", "prompt"), [(1, 0, (2,)), (2, 3, (2,)), (5, 0, (3, 6)), (40, 0, (2,))]
)
def test_the_search_in_tensors_is_that_in_numpy_to_the_last_bit(
    beams: int, min_length: int, prompt: tuple[int, ...], seed: int
) -> None:
    """More beams than the vocabulary has ids, limits that differ, and sentences that leave the batch."""
    model, batch = tiny_model(40, "gated", seed).requires_grad_(False), many(20, prompt)
    options = SearchOptions(beams, 0.8, min_length)
    limits = length_limits(batch.source_lens, (1.0, 2), model.text.sizes.max_length, len(prompt))
    decoder, prompts = StepDecoder(model), [prompt] * 20

    def state() -> TorchState:
        return TorchState(decoder, batch, beams, max(limits) + len(prompt) - 1)

    expected = search(state(), limits, options, prompts)
    assert device_search.device_search(state(), limits, options, prompts, read_every=1) == expected
    for read_every in (3, 100):
        found = device_search.device_search(state(), limits, options, prompts, read_every=read_every)
        assert [[h.ids for h in one] for one in found] == [[h.ids for h in one] for one in expected]


def test_weights_that_give_no_numbers_give_no_hypotheses() -> None:
    model, batch = tiny_model(40), many(4)
    model.text.frontend.embed.weight.data.fill_(torch.nan)
    batch.image = batch.image_pad = None
    state = TorchState(StepDecoder(model), batch, 2, 5)
    assert device_search.device_search(state, [5] * 4, SearchOptions(2), [[2]] * 4) == [[]] * 4


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_a_translator_on_a_device_translates_as_on_the_cpu(folder: Path, world: Path, guidance: float) -> None:
    translator = Translator.from_dir(folder, world / "features")
    expected, found, waits = on_both(
        translator, lambda one: one.hypotheses(SOURCES, IMAGES, beam_size=3, n_best=2, guidance=guidance)
    )
    assert [[h.text for h in one] for one in found] == [[h.text for h in one] for one in expected]
    assert all(place.startswith("mmt/inference/device_search.py") for place in waits.reads), waits
    assert waits.num_copies == 0, waits


@pytest.mark.parametrize("fusion", ["none", "gated", "hybrid"])
def test_scores_on_a_device_are_those_of_the_cpu(fusion: str, world: Path, tmp_path: Path) -> None:
    path = tiny_folder(tmp_path / "model", world, fusion)
    images = None if fusion == "none" else IMAGES
    loaded = LoadedModel.from_dir(path, None if images is None else world / "features")
    expected, found, waits = on_both(loaded, lambda one: score_pairs(one, SOURCES, TARGETS, images, max_tokens=60))
    assert [one.log_prob for one in found] == pytest.approx([one.log_prob for one in expected], abs=1e-4)
    ((place, batches),) = waits.reads.items()  # one line reads, the scores of each batch
    assert (place.partition(":")[0], waits.num_copies) == ("mmt/inference/loaded.py", 0), waits
    assert batches > 1


def test_vectors_on_a_device_are_those_of_the_cpu(world: Path, tmp_path: Path) -> None:
    path = tiny_folder(tmp_path / "model", world, "gated", heads=("contrastive",), writes=False)
    loaded = LoadedModel.from_dir(path, world / "features")
    images = [one for one in IMAGES if one is not None]
    expected, found, waits = on_both(
        loaded, lambda one: np.concatenate([embed_sentences(one, SOURCES), embed_images(one, images)])
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert (waits.num_reads, waits.num_copies) == (2, 0), waits  # the vectors of a batch of each


def test_labels_on_a_device_are_those_of_the_cpu(world: Path, tmp_path: Path) -> None:
    heads = {"heads": ("classification", "regression"), "num_labels": 3, "writes": False}
    path = tiny_folder(tmp_path / "model", world, "gated", **heads)
    card = path / "mmt.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"labels": ["yes", "no", "red"]}))
    loaded = LoadedModel.from_dir(path, world / "features")
    expected, found, waits = on_both(loaded, lambda one: predict(one, SOURCES, IMAGES))
    assert [one.label for one in found] == [one.label for one in expected]
    assert [one.score for one in found] == pytest.approx([one.score for one in expected], abs=1e-4)
    assert (waits.num_reads, waits.num_copies) == (2, 0), waits  # of each head
