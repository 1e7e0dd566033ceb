"""Speech features: log-mel frames of recordings, for the pipeline of ``mmt features``.

A recording takes the place of an image: its name is in the column ``image``, and each of its frames is one region.
``load_backbone("logmel80")`` returns the ``LogMel`` of this module, so that stores, translators and commands need
no code for recordings.
"""

from __future__ import annotations

import hashlib
import io
import math
import struct
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from mmt.data.feature_signature import FeatureSignature, Precision
from mmt.errors import MMTError
from mmt.features.backbone import Backbone, BackboneLoader, Layer
from mmt.features.images import ImageError, read_file

SAMPLE_RATE = 16_000
NUM_BINS = 80
AUDIO_SUFFIXES = (".flac", ".mp3", ".oga", ".ogg", ".opus", ".wav")
DEFAULT_SECONDS = 10.0

_WINDOW, _HOP = 400, 160  # samples: 25 and 10 ms, as in Kaldi
_SCALE = float(2**15)  # as in Kaldi: the converter's own floor is then far below 16-bit noise
_FLOOR = 0.0  # log energy; at this scale rounding to 16 bits alone has more, only digital silence has less
_MEAN, _DEVIATION = 16.0, 5.0  # approximately those of speech at this scale
_LOUDEST = 4.0  # full scale is 1; larger than clipping: float samples on the scale of integers
_INTEGERS = range(33, 2**15 + 1)  # peaks of 16-bit samples that are not silent
_SILENCE = 1e-4  # root mean square, -80 dB of full scale
_CANCELLED = 0.2  # of the loudest channel over the number of channels; 1 if only one channel has sound
_MAX_SECONDS, _MAX_CHANNELS, _RATES = 600.0, 32, range(4_000, 384_001)


class AudioError(ImageError):
    """A recording that cannot be used; ``reason`` is the message without the recording's name."""


# --- decoding ---------------------------------------------------------------------------------------------


def decode_audio(source: Path | bytes, seconds: float = DEFAULT_SECONDS) -> tuple[Tensor, list[str]]:
    """Decodes a recording to 16 kHz mono.

    Channels are averaged; other sampling rates are resampled with a polyphase filter (scipy's ``resample_poly``);
    float samples on the scale of 16-bit integers are divided by 32,768. Only the first ``seconds`` are read, so
    that memory is bounded.

    Args:
        source: a file (wav, flac, ogg, mp3), or a file's bytes.
        seconds: how much of it to read.
    Returns:
        (L,) float32 samples, in [-1, 1] except for clipping, L at most ``seconds`` at 16 kHz; and what was done to
        them, e.g. ``resampled from 22,050 Hz``.
    Raises:
        AudioError: (an MMTError) with the file's name: missing, empty, not audio, damaged or cut off (if its
            format shows that; an MP3 without a frame count does not), samples that are not numbers or far over
            full scale, silent (under -80 dB of full scale), with channels that cancel each other in the mix, or
            shorter than one frame of 25 ms.
    """
    name = "the audio bytes given" if isinstance(source, bytes) else str(source)
    try:
        data = source if isinstance(source, bytes) else read_file(source)
    except (OSError, ValueError) as error:
        raise AudioError(name, (getattr(error, "strerror", None) or str(error)).lower()) from None
    if not data:
        raise AudioError(name, "the file is empty")
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            rate, channels, total = file.samplerate, file.channels, file.frames
            if rate not in _RATES or channels > _MAX_CHANNELS:
                raise AudioError(name, f"{channels} channels at {rate:,} Hz; expected speech, 4,000 Hz or more")
            most = math.ceil(seconds * rate)
            samples: NDArray[np.float32] = file.read(most, dtype="float32", always_2d=True)
            header = file.extra_info
    except soundfile.LibsndfileError as error:
        reason = str(error.error_string).strip().rstrip(".").lower()
        raise AudioError(name, f"not audio, or damaged ({reason})") from None
    lacking = _lacks(data, len(samples), min(total, most), total, header)
    if lacking:
        raise AudioError(name, lacking)
    peak = float(np.abs(samples).max(initial=0))
    of_integers = peak > _LOUDEST and math.isfinite(peak) and math.ceil(peak) in _INTEGERS
    if of_integers:
        samples /= 2**15
    elif not peak <= _LOUDEST:
        reason = "has samples that are not numbers (NaN or infinite)"
        if peak <= 2**31:
            reason = f"is far over full scale (up to {peak:,.0f}, full scale is 1). Divide its samples by theirs"
        raise AudioError(name, reason)
    done = [f"cut to {seconds:g} s"] if total > most else []
    if of_integers:
        done.append("divided by 32,768 (float samples on the scale of 16-bit integers)")
    if channels > 1:
        done.append(f"mixed to mono from {channels} channels")
    mono = samples.mean(1)
    loudest = float(np.max(samples.std(0, dtype=np.float64))) if len(samples) else 0.0
    if (
        channels > 1
        and loudest >= _SILENCE
        and float(mono.std(dtype=np.float64)) * channels < _CANCELLED * loudest
    ):
        raise AudioError(
            name,
            f"its {channels} channels cancel each other (one is another upside down): their mix is silent. "
            "Keep one channel, for example with ffmpeg -i IN -af pan=mono|c0=c0 OUT",
        )
    if rate != SAMPLE_RATE:
        done.append(f"resampled from {rate:,} Hz")
        mono = _resample(mono, rate)
    mono = mono[: round(seconds * SAMPLE_RATE)]
    if len(mono) < _WINDOW:
        raise AudioError(name, f"{1000 * len(mono) / SAMPLE_RATE:.0f} ms are shorter than one frame of 25 ms")
    if float(mono.std(dtype=np.float64)) < _SILENCE:
        raise AudioError(name, "is silent (under -80 dB of full scale)")
    return torch.from_numpy(np.ascontiguousarray(mono, dtype=np.float32)), done


def _lacks(data: bytes, got: int, expected: int, total: int, header: str) -> str:
    """Why a recording is incomplete, or "": libsndfile decodes what is left of a file that was cut off."""
    cut = "is cut off or damaged"
    if got < expected:
        return f"{cut}: {got:,} of {expected:,} samples can be decoded"
    if data[:4] == b"RIFF" and "(should be" in header:
        (size,) = struct.unpack("<I", data[4:8])
        if size not in (0, 2**32 - 1) and size + 8 > len(data) + 1:  # unknown to a program that writes to a pipe
            return f"{cut}: {len(data):,} of {size + 8:,} bytes"
    page = data.rfind(b"OggS")
    if data[:4] == b"OggS" and page + 14 <= len(data):
        (last,) = struct.unpack("<q", data[page + 6 : page + 14])
        if not data[page + 5] & 4:
            return f"{cut}: the last page of the Ogg stream is missing"
        if b"\x01vorbis" in data[:64] and last > total:  # other codecs count in other units
            return f"{cut}: {total:,} of {last:,} samples can be decoded"
    return ""


def _resample(samples: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    from scipy.signal import resample_poly  # takes a second, and images need none of it

    common = math.gcd(rate, SAMPLE_RATE)
    resampled: NDArray[np.float32] = resample_poly(samples, SAMPLE_RATE // common, rate // common)
    return resampled


_NOTES = threading.Lock()  # not an attribute: a backbone can be copied, a lock cannot


def read_recording(source: Path | bytes | Image.Image, seconds: float, notes: Counter[str]) -> Tensor:
    """The (samples) of ``decode_audio`` for a backbone, in whose ``notes`` what was done is counted.

    Raises AudioError like ``decode_audio``, and for an image.
    """
    if isinstance(source, Image.Image):
        raise AudioError("the image given", "expected a recording: the features are made from sound")
    samples, done = decode_audio(source, seconds)
    with _NOTES:
        notes.update(done)
    return samples


# --- frames -----------------------------------------------------------------------------------------------


class LogMel(Backbone):
    """Kaldi's log-mel filter bank as a backbone: 80 bins, windows of 25 ms every 10 ms, at 16 kHz.

    ``grid`` gives the frames, normalised by a mean and a deviation that are the same for all recordings, as in
    AST, Gong et al. (2021), https://arxiv.org/abs/2104.01778: the loudness and sound of a voice matter as much as
    their changes. A store has room for a fixed number of frames; those after a recording's end are NaN, which
    means no region. ``pool`` gives one vector: the mean and then the standard deviation of each bin over time, not
    normalised.

    Attributes:
        notes: what was done to recordings, e.g. ``resampled from 22,050 Hz``, and to how many.
    """

    def __init__(self, layer: str, seconds: float) -> None:
        """Use ``load_backbone``."""
        from fairseq2.data.audio import WaveformToFbankConverter

        nn.Module.__init__(self)  # no network, no pixels
        self.things, self.notes = "recordings", Counter()
        self.seconds, self.layer = seconds, layer
        self._convert = WaveformToFbankConverter(num_mel_bins=NUM_BINS, waveform_scale=_SCALE, channel_last=True)
        how = f"less {_MEAN:g}, by {_DEVIATION:g}" if layer == "grid" else "mean and deviation over time"
        transform = f"16 kHz mono, window 25 ms, hop 10 ms, log-mel {NUM_BINS} floored at {_FLOOR:g}, {how}"
        limit = "" if seconds == DEFAULT_SECONDS else f":{seconds:g}"
        frames = 1 + (round(seconds * SAMPLE_RATE) - _WINDOW) // _HOP
        shape = (frames, NUM_BINS) if layer == "grid" else (1, 2 * NUM_BINS)
        settings = hashlib.sha256(f"fairseq2 kaldi povey scale {_SCALE:g}, {transform}".encode()).hexdigest()
        self.signature = FeatureSignature(f"logmel80{limit}", layer, transform, settings, *shape)
        self.eval()

    def read(self, source: Path | bytes | Image.Image) -> Tensor:
        """A recording -> (R, D) float32, frames after its end NaN. Raises AudioError like ``decode_audio``."""
        samples = read_recording(source, self.seconds, self.notes)
        converted = self._convert({"waveform": samples.unsqueeze(1), "sample_rate": float(SAMPLE_RATE)})
        frames = converted["fbank"].clamp_(min=_FLOOR)  # (T, 80)
        mean, deviation = frames.mean(0), frames.std(0, correction=0)
        if self.layer == "pool":
            return torch.cat([mean, deviation]).unsqueeze(0)
        frames = (frames - _MEAN) / _DEVIATION
        missing = self.signature.num_regions - len(frames)
        return nn.functional.pad(frames, (0, 0, 0, missing), value=math.nan)

    def in_precision(self, precision: Precision) -> LogMel:
        if precision != "float32":
            raise MMTError(f"{self.signature.backbone}: has no network to compute in {precision}. Use float32.")
        return self

    def stack(self, read: Sequence[Tensor]) -> Tensor:
        """(R, D) each -> (N, R, D)."""
        return torch.stack(list(read))

    def forward(self, images: Tensor) -> Tensor:
        """(N, R, D) -> unchanged: the frames are the features."""
        return images


def load_logmel(name: str, layer: Layer | None, weights: Path | None) -> LogMel:
    """``logmel80``, or ``logmel80:SECONDS`` for another limit than 10 s; ``layer`` None is ``grid``.

    Raises:
        MMTError: the limit is not a number of seconds from 0.025 to 600, or ``weights`` are given.
    """
    if weights is not None:
        raise MMTError(f"{name}: has no weights to load from {weights}. Leave --weights out.")
    _, colon, limit = name.partition(":")
    try:
        seconds = float(limit) if colon else DEFAULT_SECONDS
    except ValueError:
        seconds = math.nan
    if not _WINDOW / SAMPLE_RATE <= seconds <= _MAX_SECONDS:
        raise MMTError(f"{name}: expected logmel80:SECONDS with 0.025 to {_MAX_SECONDS:g} s, found '{limit}'.")
    return LogMel(layer or "grid", seconds)


BACKBONES = {
    "logmel80": BackboneLoader(load_logmel, AUDIO_SUFFIXES),
    "logmel80:SECONDS": BackboneLoader(load_logmel, AUDIO_SUFFIXES),
}
"""The loaders of this module by name, see ``mmt.features.load``."""
