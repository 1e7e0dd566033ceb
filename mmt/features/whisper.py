"""Whisper's encoder as a backbone for recordings: its states, of any layer.

Radford et al. (2022), https://arxiv.org/abs/2212.04356. The checkpoint is one of transformers, such as
``openai/whisper-base``. Whisper hears 30 s, and shorter recordings are padded with silence to that, or to a
shorter context; only the states of the recording itself become features, 50 a second.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from mmt.data.feature_signature import FeatureSignature
from mmt.errors import MMTError, nearest
from mmt.features.backbone import Backbone, BackboneLoader, Layer, checksum
from mmt.features.speech import AUDIO_SUFFIXES, DEFAULT_SECONDS, SAMPLE_RATE, AudioError, decode_audio
from mmt.io.hub import HubModel

PREFIX = "whisper:"

_SAMPLES = 320  # of a state: a hop of 160, and a convolution that takes every second frame
_RATE = SAMPLE_RATE // _SAMPLES  # states a second
_LEAST_SECONDS = 0.025
_NOTES = threading.Lock()  # not an attribute: a backbone can be copied, a lock cannot


@dataclass(frozen=True)
class WhisperName:
    """``whisper:PLACE[,layer=L][,seconds=S][,stride=K][,context=C]``.

    place: a folder, or ``OWNER/NAME[@REVISION]`` on the Hugging Face hub.
    encoder_layer: whose states; 0 is the input of the first layer, None the last one's output.
    seconds: how much of a recording is read; None is 10, or the context if that is shorter.
    stride: neighbouring states whose mean is one vector.
    context: seconds to which a recording is padded; None is all that Whisper hears.
    """

    place: str
    encoder_layer: int | None = None
    seconds: float | None = None
    stride: int = 1
    context: float | None = None

    @classmethod
    def parse(cls, name: str) -> WhisperName:
        """Raises MMTError: no place, an unknown option, or a value that is no number of its range."""
        place, *options = name.removeprefix(PREFIX).split(",")
        values: dict[str, Any] = {}
        for option in options:
            key, equals, value = option.partition("=")
            if key not in _OPTIONS or not equals:
                known = ", ".join(f"{one}={what}" for one, (_, _, what) in _OPTIONS.items())
                raise MMTError(f"{name}: no option '{option}'.{nearest(key, _OPTIONS)} Expected {known}.")
            field, read, what = _OPTIONS[key]
            try:
                values[field] = read(value)
            except ValueError:
                raise MMTError(f"{name}: expected {key}={what}, found '{value}'.") from None
        if not place:
            raise MMTError(f"{name}: expected whisper:NAME_OR_FOLDER, such as whisper:openai/whisper-base.")
        return cls(place, **values)

    def __str__(self) -> str:
        parts = [
            f"layer={self.encoder_layer}" if self.encoder_layer is not None else "",
            f"seconds={self.seconds:g}" if self.seconds is not None else "",
            f"stride={self.stride}" if self.stride != 1 else "",
            f"context={self.context:g}" if self.context is not None else "",
        ]
        return ",".join([PREFIX + self.place, *filter(None, parts)])


def _seconds(text: str) -> float:
    seconds = float(text)
    if not _LEAST_SECONDS <= seconds < math.inf:
        raise ValueError
    return seconds


def _count(least: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        count = int(text)
        if count < least:
            raise ValueError
        return count

    return read


_OPTIONS: dict[str, tuple[str, Callable[[str], Any], str]] = {
    "layer": ("encoder_layer", _count(0), "N from 0 to the encoder's number of layers"),
    "seconds": ("seconds", _seconds, f"N from {_LEAST_SECONDS:g} to what Whisper hears, 30"),
    "stride": ("stride", _count(1), "N from 1"),
    "context": ("context", _seconds, f"N from {_LEAST_SECONDS:g} to what Whisper hears, 30"),
}
"""Option -> field, how its value is read, and what is expected."""


class Whisper(Backbone):
    """Whisper's encoder as a backbone.

    ``grid`` gives its states: (R, D), one vector a state, or the mean of ``stride`` neighbouring ones; those after
    a recording's end are NaN, which means no region. ``pool`` gives one vector: the mean and then the standard
    deviation of each number over time.

    Attributes:
        notes: what was done to recordings, e.g. ``cut to 10 s``, and to how many.
    """

    things = "recordings"

    def __init__(self, name: WhisperName, layer: Layer, encoder: Any) -> None:
        """Use ``load_backbone``. ``encoder`` is transformers' WhisperEncoder, which is changed."""
        from transformers import WhisperFeatureExtractor  # see load_whisper

        nn.Module.__init__(self)  # no pixels
        self.notes = Counter()
        config, num_layers = encoder.config, len(encoder.layers)
        name, self.seconds = _resolved(name, num_layers, config.max_source_positions / _RATE)
        self.layer, self.stride = layer, name.stride
        self._extract = WhisperFeatureExtractor(feature_size=config.num_mel_bins)  # type: ignore[no-untyped-call]
        used = num_layers if name.encoder_layer is None else name.encoder_layer
        if name.encoder_layer is not None:
            encoder.layers = encoder.layers[:used]
            encoder.layer_norm = nn.Identity()  # it is of the last layer's output
        if name.context is not None:
            config.max_source_positions = math.ceil(name.context * _RATE)
            kept = encoder.embed_positions.weight[: config.max_source_positions].detach().clone()
            encoder.embed_positions = nn.Embedding.from_pretrained(kept)  # type: ignore[no-untyped-call]
        self._heard: int = config.max_source_positions * _SAMPLES
        encoder = encoder.float().requires_grad_(False)
        self.network: nn.Module = encoder
        regions = math.ceil(round(self.seconds * SAMPLE_RATE) / (_SAMPLES * self.stride))
        shape = (regions, config.d_model) if layer == "grid" else (1, 2 * config.d_model)
        transform = f"16 kHz mono, Whisper's log-mel {config.num_mel_bins}, layer {used} of {num_layers}"
        if layer == "pool":
            transform += ", mean and deviation over time"
        elif self.stride > 1:
            transform += f", means of {self.stride}"
        weights = checksum(encoder.state_dict())
        self.signature = FeatureSignature(str(name), layer, transform, weights, *shape)
        self.eval()

    def read(self, source: Path | bytes | Image.Image) -> Tensor:
        """A recording -> (B + 1, T) float32: log-mel bins, T = 3000 for 30 s, and below them 1 in its own frames.

        Raises AudioError like ``decode_audio``.
        """
        if isinstance(source, Image.Image):
            raise AudioError("the image given", "expected a recording: the features are made from sound")
        samples, done = decode_audio(source, self.seconds)
        with _NOTES:
            self.notes.update(done)
        mel = self._extract(
            samples.numpy(), sampling_rate=SAMPLE_RATE, max_length=self._heard, return_tensors="pt"
        ).input_features[0]
        own = (torch.arange(mel.size(1)) * (self._heard // mel.size(1)) < len(samples)).float()
        return torch.cat([mel, own.unsqueeze(0)])

    def forward(self, images: Tensor) -> Tensor:
        """(N, B + 1, T) of ``stack`` -> (N, R, D) float32."""
        images = images.to(next(self.network.parameters()).device)
        states = self.network(images[:, :-1].to(self._dtype)).last_hidden_state.float()  # (N, T/2, D)
        own = images[:, -1, ::2].unsqueeze(2)  # (N, T/2, 1)
        if self.layer == "pool":
            return _moments(states, own)
        num = self.signature.num_regions
        missing = max(num * self.stride - states.size(1), 0)
        states, own = (nn.functional.pad(one, (0, 0, 0, missing)) for one in (states * own, own))
        sums, counts = (
            torch.unflatten(one[:, : num * self.stride], 1, (num, self.stride)).sum(2) for one in (states, own)
        )
        return (sums / counts.clamp(min=1)).masked_fill(counts == 0, math.nan)

    def stack(self, read: Sequence[Tensor]) -> Tensor:
        """(B + 1, T) each -> (N, B + 1, T)."""
        return torch.stack(list(read))


def _resolved(name: WhisperName, num_layers: int, heard: float) -> tuple[WhisperName, float]:
    """One name for the same features, and the seconds that are read.

    Args:
        num_layers: of the encoder.
        heard: seconds that it was trained with.
    Raises:
        MMTError: the name asks for more layers or seconds than there are.
    """
    if (name.encoder_layer or 0) > num_layers:
        raise MMTError(f"{name}: its encoder has {num_layers} layers. Use layer=0 to {num_layers}.")
    if (name.context or 0) > heard:
        raise MMTError(f"{name}: it hears {heard:g} s at most. Use context={heard:g} or less.")
    context = heard if name.context is None else name.context
    default = min(DEFAULT_SECONDS, context)
    seconds = default if name.seconds is None else name.seconds
    if seconds > context:
        raise MMTError(f"{name}: it hears {context:g} s. Use seconds={context:g} or less.")
    return (
        replace(
            name,
            encoder_layer=None if name.encoder_layer == num_layers else name.encoder_layer,
            seconds=None if seconds == default else seconds,
            context=None if context == heard else context,
        ),
        seconds,
    )


def _moments(states: Tensor, own: Tensor) -> Tensor:
    """(N, T, D) and their share (N, T, 1) -> (N, 1, 2 D): mean and deviation over the own ones."""
    counts = own.sum(1, keepdim=True)
    mean = (states * own).sum(1, keepdim=True) / counts
    deviation = (((states - mean) ** 2 * own).sum(1, keepdim=True) / counts).sqrt()
    return torch.cat([mean, deviation], 2)


def load_whisper(name: str, layer: Layer | None, weights: Path | None) -> Whisper:
    """``whisper:NAME_OR_FOLDER[@REVISION]`` and the options of ``WhisperName``; ``layer`` None is ``grid``.

    Raises:
        MMTError: an unknown option; no such checkpoint, an incomplete one, or one of another model; fewer layers
            or seconds than the options name; or ``weights`` are given.
    """
    # transformers takes seconds to import
    from transformers import AutoConfig, WhisperModel

    parsed = WhisperName.parse(name)
    if weights is not None:
        raise MMTError(f"{name}: takes no weights file. Name the checkpoint's folder: whisper:FOLDER.")
    place, revision = _checkpoint(parsed.place)
    try:
        config = AutoConfig.from_pretrained(place, revision=revision, trust_remote_code=False)
        kind = config.model_type
        if kind == "whisper":
            model, info = WhisperModel.from_pretrained(
                place, revision=revision, config=config, output_loading_info=True, dtype=torch.float32
            )
    except Exception as error:  # no network, no such folder, no config, damaged weights, ...
        reason = str(error).strip().partition("\n")[0]
        raise MMTError(
            f"{name}: cannot be loaded ({type(error).__name__}: {reason}). Expected a Whisper checkpoint of "
            "transformers: a name on the Hugging Face hub, or a folder with config.json and model.safetensors."
        ) from None
    if kind != "whisper":
        raise MMTError(f"{name}: expected a Whisper checkpoint, found model_type '{kind}'.")
    lacking = [*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])]
    lacking = sorted(key for key in lacking if "encoder." in key)  # classifiers have no decoder
    if lacking:
        raise MMTError(
            f"{name}: the checkpoint lacks or misfits {', '.join(lacking[:3])}. Use a complete Whisper checkpoint."
        )
    return Whisper(parsed, layer or "grid", model.encoder)


def _checkpoint(place: str) -> tuple[str, str | None]:
    """The name that transformers takes, and the revision."""
    folder = Path(place).expanduser()
    if folder.is_dir():
        return str(folder), None
    try:
        model = HubModel.parse(place)
    except MMTError:
        raise MMTError(
            f"{PREFIX}{place}: expected a folder, or OWNER/NAME or OWNER/NAME@REVISION on the Hugging Face hub."
        ) from None
    return model.repo, model.revision


BACKBONES = {"whisper:NAME_OR_FOLDER": BackboneLoader(load_whisper, AUDIO_SUFFIXES)}
"""The loader of this module by name, see ``mmt.features.load``."""
