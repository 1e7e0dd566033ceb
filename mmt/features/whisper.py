"""Whisper's encoder as a backbone for recordings: its states, of any layer.

Radford et al. (2022), https://arxiv.org/abs/2212.04356. The checkpoint is one of transformers, such as
``openai/whisper-base``. Whisper hears 30 s, and shorter recordings are padded with silence to that, or to a
shorter context; only the states of the recording itself become features, 50 a second.
"""

from __future__ import annotations

import logging
import math
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from mmt.data.feature_signature import FeatureSignature
from mmt.errors import MMTError
from mmt.features.backbone import Backbone, BackboneLoader, Layer, checksum
from mmt.features.options import Options, number, read_options
from mmt.features.speech import AUDIO_SUFFIXES, DEFAULT_SECONDS, SAMPLE_RATE, read_recording
from mmt.io.hub import HubModel

PREFIX = "whisper:"

_SAMPLES = 320  # of a state: a hop of 160, and a convolution that takes every second frame
_RATE = SAMPLE_RATE // _SAMPLES  # states a second
_LEAST_SECONDS = 0.025
_LONGEST_REASON = 200  # characters quoted of another library's error


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
        """Raises MMTError: no place, an unknown option, one given twice, or a value out of its range."""
        place, *options = name.removeprefix(PREFIX).split(",")
        values = read_options(name, options, _OPTIONS)
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


_SECONDS = number(float, _LEAST_SECONDS, sys.float_info.max)
_OPTIONS: Options = {
    "layer": ("encoder_layer", number(int, 0, math.inf), "N from 0 to the encoder's number of layers"),
    "seconds": ("seconds", _SECONDS, f"N from {_LEAST_SECONDS:g} to what Whisper hears, 30"),
    "stride": ("stride", number(int, 1, math.inf), "N from 1"),
    "context": ("context", _SECONDS, f"N from {_LEAST_SECONDS:g} to what Whisper hears, 30"),
}


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
            config.max_source_positions = _positions(name.context)
            kept = encoder.embed_positions.weight[: config.max_source_positions].detach().clone()
            encoder.embed_positions = nn.Embedding.from_pretrained(kept)  # type: ignore[no-untyped-call]
        self._heard: int = config.max_source_positions * _SAMPLES
        encoder = encoder.float().requires_grad_(False)
        self.network: nn.Module = encoder
        regions = math.ceil(_positions(self.seconds) / self.stride)
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
        samples = read_recording(source, self.seconds, self.notes)
        mel = self._extract(
            samples.numpy(), sampling_rate=SAMPLE_RATE, max_length=self._heard, return_tensors="pt"
        ).input_features[0]
        own = (torch.arange(mel.size(1)) * (self._heard // mel.size(1)) < len(samples)).float()
        return torch.cat([mel, own.unsqueeze(0)])

    def forward(self, images: Tensor) -> Tensor:
        """(N, B + 1, T) of ``stack`` -> (N, R, D) float32."""
        images = images.to(next(self.network.parameters()).device)
        output = self.network(images[:, :-1].to(self._dtype), return_dict=True)  # whatever config.json says
        states = output.last_hidden_state.float()  # (N, T/2, D)
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


def _positions(seconds: float) -> int:
    """The states of so many seconds. Whole samples first: 1.1 * 50 is more than 55."""
    return math.ceil(round(seconds * SAMPLE_RATE) / _SAMPLES)


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
        MMTError: an unknown option, or ``stride`` with ``pool``; no such checkpoint, an incomplete one, one whose
            weights are not those of its config.json or not finite, or one of another model; fewer layers or
            seconds than the options name; or ``weights`` are given.
    """
    # transformers takes seconds to import
    from transformers import PretrainedConfig, WhisperConfig, WhisperModel

    parsed = WhisperName.parse(name)
    if weights is not None:
        raise MMTError(f"{name}: takes no weights file. Name the checkpoint's folder: whisper:FOLDER.")
    if layer == "pool" and parsed.stride != 1:
        raise MMTError(f"{name}: pool is the mean over the whole recording. Leave stride out, or use grid.")
    place, revision = _checkpoint(parsed.place)
    try:
        with _quiet():
            settings, _ = PretrainedConfig.get_config_dict(place, revision=revision)
            if not settings:  # what transformers reads from a folder without the file
                raise FileNotFoundError("no config.json, or an empty one")
            kind = settings.get("model_type")
            if kind == "whisper":
                model, info = WhisperModel.from_pretrained(
                    place, revision=revision, config=WhisperConfig.from_dict(settings), dtype=torch.float32,
                    output_loading_info=True, ignore_mismatched_sizes=True,
                )  # fmt: skip
    except Exception as error:  # no network, no such folder, no config, damaged weights, ...
        reason = _shortened(str(error).strip().partition("\n")[0])
        raise MMTError(
            f"{name}: cannot be loaded ({type(error).__name__}: {reason}). Expected a Whisper checkpoint of "
            "transformers: a name on the Hugging Face hub, or a folder with config.json and model.safetensors."
        ) from None
    if kind != "whisper":
        found = "none" if kind is None else _shortened(str(kind))
        raise MMTError(
            f"{name}: expected model_type whisper in config.json, found {found}. Use a Whisper checkpoint of "
            "transformers."
        )
    _check_weights(name, model.encoder, info)
    return Whisper(parsed, layer or "grid", model.encoder)


def _check_weights(name: str, encoder: nn.Module, info: dict[str, Any]) -> None:
    """Whether all of the encoder, and nothing else, is that of the checkpoint. ``info``: transformers' report.

    Raises MMTError.
    """
    # a misfit is a name in transformers 4, and a name with two shapes in 5
    misfits = [one if isinstance(one, str) else one[0] for one in info["mismatched_keys"]]
    lacking = sorted(key for key in [*info["missing_keys"], *misfits] if "encoder." in key)  # not of the decoder
    if lacking:
        raise MMTError(
            f"{name}: the checkpoint lacks or misfits {', '.join(lacking[:3])}. Use a complete Whisper checkpoint."
        )
    unexpected = sorted(key for key in info["unexpected_keys"] if "encoder.layers." in key)
    if unexpected:
        raise MMTError(
            f"{name}: the checkpoint has {', '.join(unexpected[:3])}, for which its config.json has no place. Use "
            "the config.json that belongs to the weights."
        )
    # NaN states would mean that there is no recording
    damaged = [key for key, weight in encoder.state_dict().items() if not weight.isfinite().all()]
    if damaged:
        raise MMTError(
            f"{name}: expected finite weights, found NaN or infinity in {', '.join(damaged[:3])} of the encoder. "
            "Download the checkpoint again."
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Hides warnings: of transformers, about weights, which are checked here; of the hub, about each retry."""
    loggers = [logging.getLogger(name) for name in ("transformers", "huggingface_hub")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]} ..."


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
