"""Reads a checkpoint in transformers' published layout: a folder, or a name on the Hugging Face hub."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mmt.errors import MMTError, is_url, unreadable
from mmt.io.text_files import parse_json

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIG = "config.json"
_SAFE, _PICKLED = "model.safetensors", "pytorch_model.bin"
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_AGAIN = "Download the checkpoint again."


def find_folder(place: str, tokenizer_files: Iterable[str], *, download: bool = True) -> Path:
    """The folder of a checkpoint: ``place``, or what the hub has by that name, downloaded into the hub's cache.

    Args:
        tokenizer_files: that are downloaded beside configuration and weights.
        download: False looks into the cache alone.
    Raises:
        MMTError: neither a folder nor a name, or the hub cannot be reached and its cache has no such checkpoint.
    """
    folder = Path(place).expanduser()
    if folder.is_dir():
        return folder
    if is_url(place) or not _HUB_NAME.fullmatch(place):
        raise MMTError(
            f"{place}: expected a folder with {CONFIG}, or a name on the Hugging Face hub; found neither."
        )
    from huggingface_hub import snapshot_download  # takes half a second

    try:
        texts = [CONFIG, *tokenizer_files]
        get = partial(snapshot_download, place, local_files_only=not download)
        folder = Path(get(allow_patterns=[*texts, "model*.safetensors*"]))
        if not any(folder.glob("*.safetensors")):  # both would be twice the download
            folder = Path(get(allow_patterns=[*texts, "pytorch_model*.bin*"]))
    except Exception as error:  # of the network, the disk, the hub's answer: no common class
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise MMTError(
            f"{place}: no such folder, and the Hugging Face hub gave no checkpoint of this name ({reason}). Check "
            "the name and the connection, or download the checkpoint and name its folder."
        ) from None
    return folder


def read_json(path: Path) -> Any:
    """Raises MMTError for a file that is missing or damaged."""
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise MMTError(
            f"{path.parent}: expected a checkpoint in transformers' layout, found no {path.name}. Name a folder "
            "that save_pretrained wrote, or download the checkpoint again."
        ) from None
    except PermissionError as error:
        raise unreadable(error) from None
    except (OSError, ValueError) as error:
        raise MMTError(f"{path}: damaged ({error}). {_AGAIN}") from None


def read_config(folder: Path) -> dict[str, Any]:
    """``config.json``. Raises MMTError as ``read_json``."""
    config = read_json(folder / CONFIG)
    if not isinstance(config, dict):
        raise MMTError(f"{folder / CONFIG}: damaged (not an object). {_AGAIN}")
    return config


def read_vocabulary(path: Path) -> dict[str, int]:
    """Pieces and their ids. Raises MMTError as ``read_json``."""
    found = read_json(path)
    if (
        not isinstance(found, dict)
        or not all(type(number) is int and number >= 0 for number in found.values())
        or len(set(found.values())) != len(found)
        or "<unk>" not in found
    ):
        raise MMTError(f"{path}: expected the id of each piece, <unk> among them, found something else. {_AGAIN}")
    return found


def weight_files(folder: Path) -> list[Path]:
    """The files with weights: safetensors where there are both, in one part or several.

    Raises:
        MMTError: there are none, or one of several is missing.
    """
    for single in (_SAFE, _PICKLED):
        if (folder / single).is_file():
            return [folder / single]
        index = folder / f"{single}.index.json"
        if index.is_file():
            return _parts(index)
    raise MMTError(
        f"{folder}: expected weights in {_SAFE} or {_PICKLED}, found neither. Download the checkpoint again; "
        "weights of Flax or TensorFlow are not read."
    )


def _parts(index: Path) -> list[Path]:
    raw = read_json(index)
    names = raw.get("weight_map") if isinstance(raw, dict) else None
    if not isinstance(names, dict) or not all(
        isinstance(one, str) and Path(one).name == one for one in names.values()
    ):
        raise MMTError(f"{index}: damaged (no names of files). {_AGAIN}")
    paths = [index.with_name(name) for name in sorted(set(names.values()))]
    for path in paths:
        if not path.is_file():
            raise MMTError(f"{path}: missing, but {index.name} lists it. {_AGAIN}")
    return paths


def open_weights(folder: Path) -> dict[str, Callable[[], Tensor]]:
    """The weights by name, each read when it is called for. A pickle's are mapped from the file, if it is a
    zip file.

    Raises:
        MMTError: as ``weight_files``; a file is damaged; or it is a pickle that needs more than tensors, so that
            it could run code.
    """
    weights: dict[str, Callable[[], Tensor]] = {}
    for path in weight_files(folder):
        if path.suffix == ".safetensors":
            with _reading(path):
                file: Any = safe_open(path, framework="pt")
                weights |= {name: partial(_read, path, file, name) for name in file.keys()}  # noqa: SIM118
        else:
            weights |= {name: partial(_same, tensor) for name, tensor in _unpickled(path).items()}
    return weights


def _read(path: Path, file: Any, name: str) -> Tensor:
    with _reading(path):
        tensor: Tensor = file.get_tensor(name)
        return tensor


def _same(tensor: Tensor) -> Tensor:
    return tensor


def _unpickled(path: Path) -> Mapping[str, Tensor]:
    try:
        with _reading(path):
            weights = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        if "weights_only" not in str(error) and "Unsupported" not in str(error):
            raise MMTError(f"{path}: damaged ({_line(error)}). {_AGAIN}") from None
        raise MMTError(
            f"{path}: expected tensors alone, found a pickle with other objects, which could run code. Use a "
            "checkpoint in safetensors, or one that you trust, saved again by save_pretrained."
        ) from None
    if not isinstance(weights, dict) or not all(isinstance(one, Tensor) for one in weights.values()):
        raise MMTError(f"{path}: expected a table of tensors, found something else. {_AGAIN}")
    return weights


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise unreadable(error) from None
    except pickle.UnpicklingError:
        raise
    except (SafetensorError, OSError, EOFError, RuntimeError, ValueError, KeyError) as error:
        raise MMTError(f"{path}: damaged ({_line(error)}). {_AGAIN}") from None


def _line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
