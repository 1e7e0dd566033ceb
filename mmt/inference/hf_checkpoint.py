"""Opens a checkpoint of transformers: which kind of model it is, its weights, and its tokenizer or processor.

No code from a checkpoint runs: ``trust_remote_code`` is off, and weights are safetensors or are unpickled as
weights only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from logging import ERROR
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForSeq2SeqLM,
    AutoProcessor,
    AutoTokenizer,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
)
from transformers.utils import logging

from mmt.errors import MMTError, is_url
from mmt.io.devices import to_device
from mmt.io.text_files import file_checksum

Kind = Literal["image", "causal", "seq2seq"]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?")
_MODELS = {
    "image": AutoModelForImageTextToText,
    "causal": AutoModelForCausalLM,
    "seq2seq": AutoModelForSeq2SeqLM,
}


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint.

    kind: ``image`` takes images and text, ``causal`` continues text, ``seq2seq`` has an encoder.
    processor: of ``image`` the processor, of the others the tokenizer.
    """

    name: str
    kind: Kind
    model: Any
    processor: Any

    @property
    def tokenizer(self) -> Any:
        return getattr(self.processor, "tokenizer", self.processor)

    @property
    def max_positions(self) -> int | None:
        """The longest sequence that the model takes, in tokens; None for any."""
        config = self.model.config.get_text_config()
        return getattr(config, "max_position_embeddings", None)

    def describe(self) -> dict[str, Any]:
        """Which weights these are: the commit on the hub, or the SHA-256 (hex) of each file of a folder."""
        path, commit = Path(self.name).expanduser(), getattr(self.model.config, "_commit_hash", None)
        if path.is_dir():
            which: dict[str, Any] = {"files": _checksums(path)}
        else:
            which = {"revision": commit}
        return {
            "model": self.name,
            **which,
            "architecture": type(self.model).__name__,
            "parameters": sum(weight.numel() for weight in self.model.parameters()),
            "precision": str(self.model.dtype).removeprefix("torch."),
            "device": str(self.model.device),
        }


def open_checkpoint(name: str, device: str, dtype: str) -> Checkpoint:
    """Opens a checkpoint.

    Args:
        name: a folder that ``save_pretrained`` wrote, or a name on the Hugging Face hub, which is downloaded.
        device: such as ``cpu`` or ``cuda``.
        dtype: a key of ``DTYPES``.
    Raises:
        MMTError: no such checkpoint, a damaged one, one without all its weights, one that needs code of its own,
            another kind of model, or no such device or precision.
    """
    if dtype not in DTYPES:
        raise MMTError(f"precision '{dtype}': expected one of {', '.join(DTYPES)}.")
    path = Path(name).expanduser()
    if is_url(name) or not (path.is_dir() or _HUB_NAME.fullmatch(name)):
        raise MMTError(
            f"hf:{name}: expected a folder that save_pretrained wrote, or a name on the Hugging Face hub; found "
            "neither."
        )
    place, more = str(path) if path.is_dir() else name, {"trust_remote_code": False}
    try:
        kind = _kind_of(AutoConfig.from_pretrained(place, **more), name)
        opener = AutoProcessor if kind == "image" else AutoTokenizer
        with _Quiet():
            processor = opener.from_pretrained(place, **more)  # type: ignore[no-untyped-call]
            model, report = _MODELS[kind].from_pretrained(
                place, dtype=DTYPES[dtype], output_loading_info=True, ignore_mismatched_sizes=True, **more
            )
    except MMTError:
        raise
    except Exception as error:  # of the hub, the files, or missing packages: transformers has no common class
        reason = (str(error) or type(error).__name__).strip().splitlines()[0]
        raise MMTError(
            f"hf:{name}: cannot be opened ({reason}). Check the name and that the checkpoint is complete; "
            "checkpoints that need code of their own are not opened."
        ) from None
    # a misfit is a name in transformers 4, and a name with two shapes in 5
    misfits = [one if isinstance(one, str) else one[0] for one in report["mismatched_keys"]]
    lacking = [*report["missing_keys"], *misfits]
    if lacking:
        raise MMTError(
            f"hf:{name}: {len(lacking):,} weights are missing or have other shapes, such as {lacking[0]}: the "
            "model would not be the trained one. Download the checkpoint again."
        )
    return Checkpoint(name, kind, to_device(model.eval(), device), processor)


def _kind_of(config: Any, name: str) -> Kind:
    if config.is_encoder_decoder and config.model_type in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES:
        return "seq2seq"
    if not config.is_encoder_decoder and config.model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        return "image"
    if not config.is_encoder_decoder and config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return "causal"
    raise MMTError(
        f"hf:{name}: expected an image-text-to-text, causal or sequence-to-sequence model, found model_type "
        f"'{config.model_type}'."
    )


@cache
def _checksums(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.iterdir() if path.suffix in (".safetensors", ".bin"))
    return {path.name: file_checksum(path) for path in files}


class _Quiet:
    """Hides transformers' warnings: about weights, which ``open_checkpoint`` checks itself, and new defaults."""

    def __enter__(self) -> None:
        self._before = logging.get_verbosity()
        logging.set_verbosity(ERROR)

    def __exit__(self, *_: object) -> None:
        logging.set_verbosity(self._before)
