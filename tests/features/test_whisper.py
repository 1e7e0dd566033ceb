"""Laws of Whisper's encoder as a backbone, with tiny random checkpoints."""

from __future__ import annotations

import json
import logging
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    PretrainedConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForAudioClassification,
    WhisperForConditionalGeneration,
    WhisperModel,
)

from mmt.cli.main import main
from mmt.data.feature_store import FeatureStore
from mmt.errors import MMTError
from mmt.features.extract import compute_features, extract_features
from mmt.features.load import load_backbone, load_backbones, media_suffixes
from mmt.features.speech import AUDIO_SUFFIXES, AudioError
from mmt.features.whisper import WhisperName
from tests.features.test_speech import encoded, tone

LAYERS, DIM, BINS, POSITIONS = 3, 16, 20, 100  # it hears 2 s
KINDS = (WhisperModel, WhisperForConditionalGeneration, WhisperForAudioClassification)


def save_tiny(folder: Path, kind: type = WhisperModel) -> Path:
    torch.manual_seed(0)
    sizes = {"d_model": DIM, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = WhisperConfig(  # type: ignore[no-untyped-call]
        vocab_size=60, num_mel_bins=BINS, encoder_layers=LAYERS, decoder_layers=1, max_source_positions=POSITIONS,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=3, classifier_proj_size=8,
        suppress_tokens=None, begin_suppress_tokens=None, init_std=0.3, **sizes, **heads,
    )  # fmt: skip
    kind(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("whisper") / "tiny")


def changed(folder: Path, copy: Path, config: dict[str, object], weights: dict[str, torch.Tensor | None]) -> Path:
    """A copy of a checkpoint in which settings, and weights by name, are others; None is none."""
    copied = Path(shutil.copytree(folder, copy))
    settings = json.loads((folder / "config.json").read_text()) | config
    settings = {key: value for key, value in settings.items() if value is not None}
    (copied / "config.json").write_text(json.dumps(settings))
    state = {**load_file(folder / "model.safetensors"), **weights}
    kept = {key: value for key, value in state.items() if value is not None}
    save_file(kept, copied / "model.safetensors", {"format": "pt"})
    return copied


def states_of(folder: Path, samples: np.ndarray, positions: int = POSITIONS) -> list[np.ndarray]:
    """All states of all layers, (T, D) each, as transformers computes them."""
    extract = WhisperFeatureExtractor(feature_size=BINS)  # type: ignore[no-untyped-call]
    mel = extract(samples, sampling_rate=16_000, max_length=positions * 320, return_tensors="pt").input_features
    with torch.inference_mode():
        encoder = WhisperModel.from_pretrained(folder).eval().encoder
        encoder.config.max_source_positions = positions
        kept = encoder.embed_positions.weight[:positions]
        encoder.embed_positions = torch.nn.Embedding.from_pretrained(kept)  # type: ignore[no-untyped-call]
        return [one[0].numpy() for one in encoder(mel, output_hidden_states=True).hidden_states]


def sound(seconds: float, seed: int = 0) -> tuple[np.ndarray, bytes]:
    samples = tone(seconds, seed=seed)
    return samples, encoded(samples, subtype="FLOAT")


# --- states -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [None, *range(LAYERS + 1)])
def test_states_of_each_layer_are_those_of_transformers(folder: Path, number: int | None) -> None:
    samples, data = sound(1.3)
    option = "" if number is None else f",layer={number}"
    backbone = load_backbone(f"whisper:{folder}{option}")
    (found,) = compute_features([data], backbone)
    assert found.shape == (POSITIONS, DIM)
    np.testing.assert_allclose(
        found[:65], states_of(folder, samples)[-1 if number is None else number][:65], atol=1e-5
    )
    assert f"layer {LAYERS if number is None else number} of {LAYERS}" in backbone.signature.transform


def test_a_shorter_context_is_that_of_fewer_positions(folder: Path) -> None:
    samples, data = sound(0.5)
    (found,) = compute_features([data], load_backbone(f"whisper:{folder},context=0.71,layer=2"))
    assert found.shape == (36, DIM)
    np.testing.assert_allclose(found[:25], states_of(folder, samples, 36)[2][:25], atol=1e-5)
    assert np.abs(found[:25] - states_of(folder, samples)[2][:25]).max() > 1e-3


def test_a_context_has_no_more_positions_than_its_samples_need(folder: Path) -> None:
    for positions in (7, 14, 28, 55, 56, 57, 99):
        backbone = load_backbone(f"whisper:{folder},context={positions / 50}")
        assert backbone.signature.num_regions == positions
        frames = backbone.read(encoded(tone(positions / 50))).size(1)
        assert frames == 2 * positions, f"{positions / 50} s"


@pytest.mark.parametrize("kind", KINDS)
def test_any_kind_of_whisper_checkpoint_has_the_same_encoder(kind: type, tmp_path: Path) -> None:
    saved = save_tiny(tmp_path / "one", kind)
    samples, data = sound(0.5)
    (found,) = compute_features([data], load_backbone(f"whisper:{saved}"))
    np.testing.assert_allclose(found[:25], states_of(saved, samples)[-1][:25], atol=1e-5)


@pytest.mark.parametrize(
    ("samples", "states"), [(400, 2), (16_000, 50), (16_001, 51), (16_320, 51), (32_000, 100)]
)
def test_only_states_of_the_recording_are_kept(folder: Path, samples: int, states: int) -> None:
    data = encoded(tone(3)[:samples])
    (found,) = compute_features([data], load_backbone(f"whisper:{folder}"))
    assert np.isfinite(found[:states]).all()
    assert np.isnan(found[states:]).all()


@pytest.mark.parametrize("stride", [2, 3, 7, 200])
def test_a_stride_gives_means_of_neighbours_and_of_what_is_left_at_the_end(folder: Path, stride: int) -> None:
    _, data = sound(1.3)
    whole, strided = (
        compute_features([data], load_backbone(f"whisper:{folder},stride={n}"))[0] for n in (1, stride)
    )
    assert len(strided) == math.ceil(POSITIONS / stride)
    groups = [whole[i : min(i + stride, 65)].mean(0) for i in range(0, 65, stride)]
    np.testing.assert_allclose(strided[: len(groups)], groups, atol=1e-5)
    assert np.isnan(strided[len(groups) :]).all()


def test_pool_is_mean_and_deviation_over_the_recording_alone(folder: Path) -> None:
    _, data = sound(0.7)
    (states,) = compute_features([data], load_backbone(f"whisper:{folder}"))
    (pooled,) = compute_features([data], load_backbone(f"whisper:{folder}", "pool"))
    np.testing.assert_allclose(pooled, [np.concatenate([states[:35].mean(0), states[:35].std(0)])], atol=1e-5)


def test_batches_and_threads_do_not_change_states(folder: Path) -> None:
    sounds = [sound(0.2 + seed / 8, seed)[1] for seed in range(9)]
    backbone = load_backbone(f"whisper:{folder}")
    together = compute_features(sounds, backbone, num_workers=4)
    alone = np.concatenate([compute_features([one], backbone, num_workers=1) for one in sounds])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_bfloat16_is_nearly_the_same_and_signed(folder: Path) -> None:
    _, data = sound(1)
    backbone = load_backbone(f"whisper:{folder},seconds=1")
    rounded = backbone.in_precision("bfloat16")
    assert rounded.signature == replace(backbone.signature, precision="bfloat16")
    exact, near = (compute_features([data], one)[0] for one in (backbone, rounded))
    assert 0 < np.abs(exact - near).max() < 0.1 * np.abs(exact).max()


def test_what_is_longer_than_the_limit_is_cut_and_said(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(encoded(tone(3)))
    backbone = load_backbone(f"whisper:{folder},seconds=1")
    report = extract_features({"a": path}, backbone, tmp_path / "store", progress=False)
    assert report.notes == {"cut to 1 s": 1}
    assert report.signature.num_regions == 50


@pytest.mark.parametrize("data", [b"", encoded(np.zeros(0)), encoded(np.zeros(16_000)), b"no sound at all"])
def test_what_is_no_recording_is_refused(folder: Path, data: bytes) -> None:
    with pytest.raises(AudioError):
        load_backbone(f"whisper:{folder},seconds=1").read(data)
    with pytest.raises(AudioError, match="expected a recording"):
        load_backbone(f"whisper:{folder},seconds=1").read(Image.new("RGB", (8, 8)))


# --- names and signatures ---------------------------------------------------------------------------------


def test_the_signature_says_all_that_changes_states_and_loads_the_backbone_again(folder: Path) -> None:
    base = load_backbone(f"whisper:{folder}").signature
    assert (base.backbone, base.layer, base.dim) == (f"whisper:{folder}", "grid", DIM)
    assert load_backbone(f"whisper:{folder},layer={LAYERS},seconds=2.0,stride=1,context=2").signature == base
    for option, differs in {
        "seconds=1": {"backbone", "num_regions"},
        "stride=2": {"backbone", "num_regions", "transform"},
        "layer=1": {"backbone", "transform", "weights"},
        "seconds=1,context=1.5": {"backbone", "num_regions", "weights"},
    }.items():
        other = load_backbone(f"whisper:{folder},{option}").signature
        assert set(base.differences(other)) == differs
        assert [one.signature for one in load_backbones(other)] == [other]


def test_a_moved_folder_is_the_same_backbone(folder: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(folder, tmp_path / "elsewhere" / folder.name))
    here, there, other = (
        load_backbone(f"whisper:{place},seconds=1,layer={number}").signature
        for place, number in ((folder, 2), (moved, 2), (moved, 1))
    )
    here.check(there, "x")
    with pytest.raises(MMTError, match="differ in"):
        here.check(other, "x")


def test_names_are_read_and_written() -> None:
    for text, expected in {
        "whisper:openai/whisper-base": WhisperName("openai/whisper-base"),
        "whisper:a/b@v1,layer=0,seconds=2.5,stride=4,context=5": WhisperName("a/b@v1", 0, 2.5, 4, 5),
    }.items():
        assert WhisperName.parse(text) == expected
        assert str(expected) == text
    assert media_suffixes("whisper:openai/whisper-base,layer=3") == AUDIO_SUFFIXES


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("whisper:", "expected whisper:NAME_OR_FOLDER"),
        ("whisper:,layer=1", "expected whisper:NAME_OR_FOLDER"),
        ("whisper:a/b,lyer=3", r"no option 'lyer=3'. Did you mean 'layer'\? Expected layer=N"),
        ("whisper:a/b,layer", "no option 'layer'"),
        ("whisper:a/b,layer=-1", "expected layer=N from 0 .* found '-1'"),
        ("whisper:a/b,stride=0", "expected stride=N from 1, found '0'"),
        ("whisper:a/b,seconds=nan", "expected seconds=N from 0.025 .* found 'nan'"),
        ("whisper:a/b,seconds=inf", "found 'inf'"),
        ("whisper:a/b,layer=1,layer=2", "expected layer once, found it twice"),
        ("whisper:nowhere", "expected a folder, or OWNER/NAME"),
        ("whisper:/no/such/folder", "expected a folder, or OWNER/NAME"),
    ],
)
def test_a_name_that_is_none_is_refused(text: str, message: str) -> None:
    with pytest.raises(MMTError, match=message):
        load_backbone(text)


def test_more_than_the_checkpoint_has_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MMTError, match=r"its encoder has 3 layers\. Use layer=0 to 3"):
        load_backbone(f"whisper:{folder},seconds=1,layer=4")
    too_long = {"seconds=2.1": "seconds=2", "context=3": "context=2", "context=1,seconds=2": "seconds=1"}
    for option, most in too_long.items():
        with pytest.raises(MMTError, match=f"it hears .* Use {most} or less"):
            load_backbone(f"whisper:{folder},{option}")
    with pytest.raises(MMTError, match="Leave stride out, or use grid"):
        load_backbone(f"whisper:{folder},stride=5", "pool")
    with pytest.raises(MMTError, match="takes no weights file"):
        load_backbone(f"whisper:{folder}", weights=tmp_path / "w.pth")


# --- checkpoints ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_checkpoint_without_a_file_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    broken = Path(shutil.copytree(folder, tmp_path / "broken"))
    (broken / name).unlink()
    with pytest.raises(MMTError, match=r"cannot be loaded.*Expected a Whisper checkpoint") as error:
        load_backbone(f"whisper:{broken}")
    assert "\n" not in str(error.value)


def test_another_model_is_refused(tmp_path: Path) -> None:
    BertConfig().save_pretrained(tmp_path)  # type: ignore[no-untyped-call]
    with pytest.raises(MMTError, match=r"expected model_type whisper in config\.json, found bert\."):
        load_backbone(f"whisper:{tmp_path}")


def test_a_config_without_a_model_type_is_refused_in_a_short_line(folder: Path, tmp_path: Path) -> None:
    broken = changed(folder, tmp_path / "broken", {"model_type": None}, {})
    with pytest.raises(MMTError, match=r"expected model_type whisper in config\.json, found none\.") as error:
        load_backbone(f"whisper:{broken}")
    assert len(str(error.value)) < 200 + len(str(broken))


def test_settings_of_the_output_do_not_matter(folder: Path, tmp_path: Path) -> None:
    _, data = sound(0.5)
    other = changed(folder, tmp_path / "tiny", {"return_dict": False, "output_hidden_states": True}, {})
    (found,), (expected,) = (compute_features([data], load_backbone(f"whisper:{one}")) for one in (other, folder))
    np.testing.assert_array_equal(found, expected)


def test_random_weights_are_never_taken_for_trained_ones(folder: Path, tmp_path: Path) -> None:
    lacking = changed(folder, tmp_path / "lacking", {}, {"encoder.layers.1.fc1.weight": None})
    with pytest.raises(MMTError, match=r"lacks or misfits encoder\.layers\.1\.fc1\.weight\. Use"):
        load_backbone(f"whisper:{lacking}")
    misfitting = changed(folder, tmp_path / "misfitting", {"encoder_ffn_dim": 48}, {})
    with pytest.raises(MMTError, match=r"lacks or misfits encoder\.layers\.0\.fc1\.bias, "):
        load_backbone(f"whisper:{misfitting}")


@pytest.mark.parametrize("kind", KINDS)
def test_a_config_with_fewer_layers_than_the_weights_is_refused(kind: type, tmp_path: Path) -> None:
    saved = save_tiny(tmp_path / "whole", kind)
    broken = changed(saved, tmp_path / "broken", {"encoder_layers": LAYERS - 1}, {})
    with pytest.raises(MMTError, match=r"the checkpoint has \S*encoder\.layers\.2\.fc1\.bias, .*its config\.json"):
        load_backbone(f"whisper:{broken}")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused(folder: Path, tmp_path: Path, value: float) -> None:
    name = "encoder.layers.2.fc2.weight"
    weight = load_file(folder / "model.safetensors")[name]
    weight[3, 1] = value
    broken = changed(folder, tmp_path / "broken", {}, {name: weight})
    with pytest.raises(MMTError, match=r"found NaN or infinity in layers\.2\.fc2\.weight"):
        load_backbone(f"whisper:{broken}")


def test_what_libraries_say_is_hidden_and_cut(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    loggers = [logging.getLogger(name) for name in ("transformers", "huggingface_hub")]
    for logger in loggers:
        logger.addHandler(caplog.handler)
    levels = [logger.level for logger in loggers]
    try:
        load_backbone(f"whisper:{save_tiny(tmp_path / 'classifier', WhisperForAudioClassification)}")

        def retry(*_: object, **__: object) -> None:
            logging.getLogger("huggingface_hub.utils._http").warning("Retrying in 8s")
            raise OSError("no network " * 1000)

        monkeypatch.setattr(PretrainedConfig, "get_config_dict", retry)
        with pytest.raises(MMTError, match=r"cannot be loaded \(OSError: no network .* \.\.\.\)\.") as error:
            load_backbone(f"whisper:{folder}")
    finally:
        for logger in loggers:
            logger.removeHandler(caplog.handler)
    assert len(str(error.value)) < 500 + len(str(folder))
    assert caplog.messages == []
    assert [logger.level for logger in loggers] == levels


def test_without_a_network_a_hub_name_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(MMTError, match=r"cannot be loaded.*a name on the Hugging Face hub, or a folder"):
        load_backbone("whisper:nobody/no-such-model@v1")


def test_one_command_makes_a_store(folder: Path, tmp_path: Path) -> None:
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    (sounds / "a.wav").write_bytes(encoded(tone(0.5)))
    (sounds / "silent.wav").write_bytes(encoded(np.zeros(16_000)))
    name = f"whisper:{folder},layer=2,seconds=1"
    command = ["features", "--backbone", name, "--images", str(sounds), "--out", str(tmp_path / "store")]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    store = FeatureStore.open(tmp_path / "store")
    assert (store.ids, store.signature.backbone) == (["a.wav"], name)
    assert "left out 1 recording" in done.output
