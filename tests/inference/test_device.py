"""``--device``: where a model computes."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmt.errors import MMTError
from mmt.inference.loaded import LoadedModel
from mmt.inference.open import open_translator
from tests.worlds import tiny_folder


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
