"""Laws of recordings: decoding, log-mel frames, and their way through the pipeline of features."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner
from PIL import Image

from mmt.cli.main import main
from mmt.data.feature_store import FeatureStore
from mmt.errors import MMTError
from mmt.features.extract import compute_features, extract_features, extract_folder
from mmt.features.extract_report import print_report
from mmt.features.load import load_backbone
from mmt.features.speech import AudioError, decode_audio
from mmt.features.writer import FeatureWriter

KINDS = {"WAV": "PCM_16", "FLAC": "PCM_16", "OGG": "VORBIS", "MP3": "MPEG_LAYER_III"}


def tone(seconds: float = 1.0, rate: int = 16_000, hertz: float = 440.0, seed: int = 0) -> np.ndarray:
    """A tone in noise, which no format takes for silence and no two of which are equal."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seed).normal(0, 0.02, len(time))
    return (0.3 * np.sin(2 * np.pi * hertz * time) + noise).astype(np.float32)


def encoded(samples: np.ndarray, rate: int = 16_000, kind: str = "WAV", subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype or KINDS[kind])
    return file.getvalue()


def cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    length = min(len(one), len(other))
    return float(torch.nn.functional.cosine_similarity(one[:length], other[:length], dim=0))


# --- decoding ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_gives_the_sound_that_went_in(kind: str, tmp_path: Path) -> None:
    samples = tone()
    path = tmp_path / f"a.{kind.lower()}"
    path.write_bytes(encoded(samples, kind=kind))
    heard, done = decode_audio(path)
    assert (heard.dtype, done) == (torch.float32, [])
    assert abs(len(heard) - 16_000) < 2000  # MP3 pads
    lag = np.correlate(heard.numpy(), samples[2000:10_000], "valid").argmax() - 2000  # MP3 begins later
    assert cosine(heard[max(lag, 0) :], torch.from_numpy(samples[max(-lag, 0) :])) > 0.98
    assert torch.equal(decode_audio(path.read_bytes())[0], heard)


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100, 48_000, 11_127])
def test_any_rate_is_resampled_and_said(rate: int) -> None:
    heard, done = decode_audio(encoded(tone(rate=rate), rate))
    assert done == [f"resampled from {rate:,} Hz"]
    assert abs(len(heard) - 16_000) <= 1
    spectrum = np.abs(np.fft.rfft(heard.numpy()))
    assert abs(float(np.argmax(spectrum)) * 16_000 / len(heard) - 440) < 2


def test_channels_are_averaged_and_said() -> None:
    left, right = tone(hertz=300), tone(hertz=900)
    heard, done = decode_audio(encoded(np.stack([left, right], 1)))
    assert done == ["mixed to mono from 2 channels"]
    assert torch.allclose(heard, torch.from_numpy((left + right) / 2), atol=1e-4)


def test_what_is_over_the_limit_is_cut_and_said() -> None:
    heard, done = decode_audio(encoded(tone(3, 8000), 8000), seconds=2)
    assert (len(heard), done) == (32_000, ["cut to 2 s", "resampled from 8,000 Hz"])
    assert decode_audio(encoded(tone(2)), seconds=2)[1] == []
    assert len(decode_audio(encoded(tone(1, 11_127), 11_127), seconds=0.7777)[0]) == 12_443


def broken(kind: str) -> bytes:
    whole = encoded(tone())
    if kind == "nan":
        samples = tone()
        samples[5000] = np.nan
        return encoded(samples, subtype="FLOAT")
    return {
        "empty": b"",
        "text": b"not a sound at all, but a text file of some length",
        "header": whole[:30],
        "zeros": encoded(np.zeros(16_000)),
        "quiet": encoded(tone() * 1e-4, subtype="FLOAT"),
        "constant": encoded(np.full(16_000, 0.5)),
        "short": encoded(tone(0.02)),
        "none": encoded(np.zeros(0)),
        "slow": encoded(tone(1, 2000), 2000),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("empty", "the file is empty"),
        ("text", "not audio, or damaged"),
        ("header", "not audio, or damaged"),
        ("nan", "not numbers"),
        ("zeros", "is silent"),
        ("quiet", "is silent"),
        ("constant", "is silent"),
        ("short", "20 ms are shorter than one frame of 25 ms"),
        ("none", "0 ms are shorter than one frame"),
        ("slow", "1 channels at 2,000 Hz; expected speech"),
    ],
)
def test_what_is_no_speech_is_refused_by_name(kind: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(broken(kind))
    with pytest.raises(AudioError, match=reason) as error:
        decode_audio(path)
    assert str(error.value).startswith(f"{path}: ")
    assert error.value.reason in str(error.value)


@pytest.mark.parametrize("level", [1.0, 0.01])
def test_float_samples_on_the_scale_of_16_bit_integers_are_scaled_and_said(level: float) -> None:
    samples = level * tone() / 0.4
    heard, done = decode_audio(encoded(samples * 2**15, subtype="FLOAT"))
    assert done == ["divided by 32,768 (float samples on the scale of 16-bit integers)"]
    whole, nothing = decode_audio(encoded(samples, subtype="FLOAT"))
    assert nothing == []
    torch.testing.assert_close(heard, whole)


@pytest.mark.parametrize("scale", [12.0, 2**23, 2**31 / 2])
def test_samples_far_over_full_scale_are_refused(scale: float) -> None:
    with pytest.raises(AudioError, match=r"far over full scale \(up to .*Divide its samples"):
        decode_audio(encoded(tone() / 0.4 * scale, subtype="FLOAT"))


def test_clipped_float_samples_are_taken() -> None:
    assert float(decode_audio(encoded(tone() * 6, subtype="FLOAT"))[0].abs().max()) > 1.5


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG"])
def test_channels_that_cancel_are_not_called_silent(kind: str) -> None:
    sound = tone()
    with pytest.raises(AudioError, match=r"2 channels cancel each other .*Keep one channel"):
        decode_audio(encoded(np.stack([sound, -sound], 1), kind=kind))
    with pytest.raises(AudioError, match="is silent"):
        decode_audio(encoded(np.zeros((16_000, 2)), kind=kind))
    one_of_many = np.zeros((16_000, 8), np.float32)
    one_of_many[:, 3] = sound
    assert len(decode_audio(encoded(one_of_many))[0]) == 16_000


@pytest.mark.parametrize("kind", KINDS)
def test_a_recording_that_was_cut_off_is_refused(kind: str) -> None:
    whole = encoded(tone(2), kind=kind)
    for share in (0.3, 0.6, 0.9):
        with pytest.raises(AudioError, match=r"cut off|damaged"):
            decode_audio(whole[: int(len(whole) * share)])
    if kind == "OGG":
        with pytest.raises(AudioError, match="the last page of the Ogg stream is missing"):
            decode_audio(whole[: whole.rfind(b"OggS")])


@pytest.mark.parametrize("kind", ["FLAC", "OGG"])
def test_a_hole_in_a_recording_is_refused(kind: str) -> None:
    whole = encoded(tone(2), kind=kind)
    middle = len(whole) // 2
    with pytest.raises(AudioError, match=r"cut off or damaged|not audio, or damaged"):
        decode_audio(whole[:middle] + bytes(200) + whole[middle + 200 :])


def test_a_wav_from_a_pipe_has_no_length_and_is_read() -> None:
    whole = bytearray(encoded(tone()))
    whole[4:8] = whole[40:44] = b"\xff\xff\xff\xff"
    assert len(decode_audio(bytes(whole))[0]) == 16_000


def test_a_missing_file_and_a_picture_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"none\.wav: no such file"):
        decode_audio(tmp_path / "none.wav")
    with pytest.raises(AudioError, match="expected a recording"):
        load_backbone("logmel80").read(Image.new("RGB", (8, 8)))


# --- frames -----------------------------------------------------------------------------------------------


def test_frames_are_a_filter_bank_of_the_spectrum() -> None:
    """A pure tone is loudest in the bin whose band it lies in, by the mel formula of Kaldi's manual."""
    pool = load_backbone("logmel80", "pool")
    mel = lambda hertz: 1127 * np.log(1 + hertz / 700)  # noqa: E731
    for hertz in (300, 1000, 3000, 6000):
        time = np.arange(16_000) / 16_000
        loudness = pool.read(encoded(0.3 * np.sin(2 * np.pi * hertz * time)))[0, :80]
        # 80 triangles between 20 Hz and half the rate: 81 steps
        place = (mel(hertz) - mel(20)) / (mel(8000) - mel(20)) * 81 - 1
        assert abs(int(loudness.argmax()) - place) <= 1


def test_a_louder_voice_is_the_same_frames_and_a_constant() -> None:
    backbone = load_backbone("logmel80:1")
    noise = np.random.default_rng(0).normal(size=16_000) * 0.05
    loud, quiet = (backbone.read(encoded(noise * level, subtype="FLOAT")) for level in (1.0, 0.1))
    assert loud.shape == (98, 80)
    # energies a hundred times apart, in the unit of the frames
    torch.testing.assert_close(loud - quiet, torch.full((98, 80), math.log(100) / 5), rtol=0, atol=0.02)


def test_frames_are_those_of_the_pool_in_another_unit() -> None:
    made = {layer: load_backbone("logmel80:1", layer).read(encoded(tone())) for layer in ("grid", "pool")}
    torch.testing.assert_close(made["grid"].mean(0) * 5 + 16, made["pool"][0, :80], rtol=0, atol=1e-3)


def test_frames_behind_the_end_are_nan_and_only_those() -> None:
    short, long = (load_backbone(name).read(encoded(tone())) for name in ("logmel80:1", "logmel80:2.5"))
    assert long.shape == (248, 80)
    assert torch.equal(long[:98], short)
    assert long[98:].isnan().all()
    assert not short.isnan().any()


def test_pool_is_mean_and_deviation_whatever_the_limit() -> None:
    made = [load_backbone(name, "pool").read(encoded(tone())) for name in ("logmel80", "logmel80:1")]
    assert made[0].shape == (1, 160)
    torch.testing.assert_close(made[0], made[1], rtol=1e-6, atol=1e-6)
    assert made[0].isfinite().all()
    assert made[0][0, :80].argmax() != 0  # not normalised away


def test_digital_silence_counts_as_the_faintest_noise() -> None:
    sound = encoded(np.concatenate([np.zeros(48_000, np.float32), tone()]))
    assert load_backbone("logmel80:4").read(sound).isfinite().all()
    silent = load_backbone("logmel80:3.1", "pool").read(sound)[0, :80]  # 97 % silence, of log energy 0
    assert 0 < silent.min() < silent.max() < 1


def test_threads_do_not_change_frames(tmp_path: Path) -> None:
    paths = []
    for seed in range(24):
        paths.append(tmp_path / f"{seed}.wav")
        paths[-1].write_bytes(encoded(tone(0.3 + seed / 40, seed=seed)))
    one, many = (compute_features(paths, load_backbone("logmel80:1"), num_workers=n) for n in (1, 6))
    assert np.array_equal(one, many, equal_nan=True)


def test_the_signature_says_all_that_changes_frames() -> None:
    ten = load_backbone("logmel80").signature
    assert (ten.backbone, ten.layer, ten.num_regions, ten.dim) == ("logmel80", "grid", 998, 80)
    assert load_backbone("logmel80:10").signature == ten
    assert load_backbone("logmel80:6").signature.differences(ten) == ["backbone", "num_regions"]
    assert {"layer", "weights"} <= set(load_backbone("logmel80", "pool").signature.differences(ten))
    assert load_backbone(ten.backbone, ten.layer).signature == ten


@pytest.mark.parametrize("limit", ["", "x", "nan", "0", "-1", "0.02", "1e9"])
def test_a_limit_that_is_none_is_refused(limit: str) -> None:
    with pytest.raises(MMTError, match=f"expected logmel80:SECONDS with 0.025 to 600 s, found '{limit}'"):
        load_backbone(f"logmel80:{limit}")


def test_layers_and_weights_that_it_has_not_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MMTError, match="layer must be one of pool, grid"):
        load_backbone("logmel80", "gird")
    with pytest.raises(MMTError, match="has no weights"):
        load_backbone("logmel80", weights=tmp_path / "w.pth")
    with pytest.raises(MMTError, match="Did you mean 'logmel80'"):
        load_backbone("logmel8")


# --- the pipeline -----------------------------------------------------------------------------------------


def folder_of_sounds(folder: Path) -> Path:
    (folder / "deep").mkdir(parents=True)
    (folder / "a.wav").write_bytes(encoded(tone(0.5)))
    (folder / "b.flac").write_bytes(encoded(tone(0.7, 22_050), 22_050, "FLAC"))
    (folder / "c.ogg").write_bytes(encoded(tone(2), kind="OGG"))
    (folder / "deep/d.mp3").write_bytes(encoded(tone(0.8, 22_050), 22_050, "MP3"))
    (folder / "silent.wav").write_bytes(broken("zeros"))
    (folder / "text.wav").write_bytes(broken("text"))
    (folder / "readme.txt").write_text("not asked for")
    return folder


def test_extraction_says_what_it_did_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = folder_of_sounds(tmp_path / "sounds")
    report = extract_folder(folder, tmp_path / "store", "logmel80:1", progress=False)
    assert (report.done, report.skipped, set(report.left_out)) == (4, 0, {"silent.wav", "text.wav"})
    assert report.notes == {"cut to 1 s": 1, "resampled from 22,050 Hz": 2}
    print_report(report)
    said = capsys.readouterr().out
    for line in ("4 recordings in", "  2 resampled from 22,050 Hz\n", "silent.wav: is silent (under"):
        assert line in said
    again = extract_folder(folder, tmp_path / "store", "logmel80:1", progress=False)
    assert (again.done, again.skipped, again.notes) == (0, 4, {})


def test_a_report_counts_its_own_run_only(tmp_path: Path) -> None:
    folder, backbone = folder_of_sounds(tmp_path / "sounds"), load_backbone("logmel80:1")
    for out in ("one", "two"):
        report = extract_features({"b.flac": folder / "b.flac"}, backbone, tmp_path / out, progress=False)
        assert report.notes == {"resampled from 22,050 Hz": 1}


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_store_keeps_frames_and_their_absence(tmp_path: Path, dtype: str) -> None:
    folder, backbone = folder_of_sounds(tmp_path / "sounds"), load_backbone("logmel80:1")
    paths = {name: folder / name for name in ("a.wav", "b.flac", "c.ogg")}
    extract_features(paths, backbone, tmp_path / "store", dtype, progress=False)  # type: ignore[arg-type]
    store = FeatureStore.open(tmp_path / "store")
    stored, made = store.get(list(paths)), compute_features(list(paths.values()), backbone)
    assert np.array_equal(np.isnan(stored), np.isnan(made))
    assert [int((~np.isnan(row[:, 0])).sum()) for row in stored] == [48, 68, 98]
    assert np.allclose(stored, made, atol=0 if dtype == "float32" else 5e-3, equal_nan=True)


def test_a_store_refuses_a_frame_that_is_nan_in_part(tmp_path: Path) -> None:
    backbone = load_backbone("logmel80:1")
    good = np.zeros((1, 98, 80), np.float32)
    good[0, 50:] = np.nan
    bad = good.copy()
    bad[0, 3, 3] = np.nan
    with FeatureWriter(tmp_path / "store", backbone.signature, "float16") as writer:
        writer.append(["good"], good)
        with pytest.raises(MMTError, match=r"'bad'.*not a number"):
            writer.append(["bad"], bad)
        writer.append(["after"], good)
        store = writer.finish()
    assert store.ids == ["good", "after"]
    assert np.array_equal(store.get(["good", "after"]), np.concatenate([good, good]), equal_nan=True)


def test_a_store_of_frames_taken_up_equals_one_made_at_once(tmp_path: Path) -> None:
    backbone = load_backbone("logmel80:1")
    rows = np.random.default_rng(0).normal(size=(4, 98, 80)).astype(np.float32)
    rows[1, 20:] = rows[3, 70:] = np.nan
    with FeatureWriter(tmp_path / "once", backbone.signature, "float16") as writer:
        writer.append(["0", "1"], rows[:2])
        writer.append(["2", "3"], rows[2:])
        writer.finish()
    with FeatureWriter(tmp_path / "twice", backbone.signature, "float16") as writer:
        writer.append(["0", "1"], rows[:2])
    with (tmp_path / "twice/features.bin").open("ab") as stream:
        stream.write(bytes(2 * 98 * 80))  # a kill while the next batch stood there in zeros
    with FeatureWriter(tmp_path / "twice", backbone.signature, "float16") as writer:
        writer.append(["2", "3"], rows[2:])
        writer.finish()
    for file in ("features.bin", "ids.txt"):
        assert (tmp_path / "once" / file).read_bytes() == (tmp_path / "twice" / file).read_bytes()


def test_one_command_makes_a_store_of_recordings(tmp_path: Path) -> None:
    folder = folder_of_sounds(tmp_path / "sounds")
    command = ["features", "--backbone", "logmel80:1", "--out", str(tmp_path / "store"), "--images", str(folder)]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    assert "logmel80:1/grid (98 x 80, 16 kHz mono" in done.output
    assert "left out 2 recordings, without features" in done.output
