"""Preparation of this process before libraries are loaded: no telemetry, no caches in HOME, freed memory kept.

Every command calls ``start``, and so does all Python code that loads a model or such a library. Environment
variables that the user has set stay. Requested downloads, such as ``--backbone clip:NAME``, still go to the usual
caches.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import pwd
import re
import shutil
import tempfile
import uuid
from pathlib import Path

# Read by the libraries when they are imported or first used.
_SETTINGS = {
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime >= 1.29: a device id and an event file in HOME, and uploads
    "HF_HUB_DISABLE_TELEMETRY": "1",  # huggingface_hub, transformers, datasets
    "DISABLE_SAFETENSORS_CONVERSION": "true",  # transformers asks a server to convert a downloaded checkpoint
    "RAY_USAGE_STATS_ENABLED": "0",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "WANDB_ERROR_REPORTING": "false",  # fairseq2 imports wandb
}
_CACHES = {
    "GRADIO_TEMP_DIR": "gradio",  # an empty folder
    "MPLCONFIGDIR": "matplotlib",  # the list of fonts, in HOME
    "TORCHINDUCTOR_CACHE_DIR": "torchinductor",  # torch.onnx.export leaves the folder, and asks who the user is
}


def start() -> None:
    """Prepares this process. Calling it again does nothing.

    Caches that no later process needs go to a temporary folder, which the library that fills it creates, and which
    is removed when this process exits. A user without a home, neither ``HOME`` nor an entry in /etc/passwd, gets
    one there.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    folders = dict(_CACHES)
    if not _has_entry():
        os.environ.setdefault("USER", f"uid{os.getuid()}")  # torch asks for it
        folders["HOME"] = "home"  # fairseq2 looks into it
    if not os.environ.keys() >= folders.keys():
        folder = Path(tempfile.gettempdir()) / f"mmt-{uuid.uuid4().hex}"
        for name, part in folders.items():
            os.environ.setdefault(name, str(folder / part))
        atexit.register(_remove, folder, os.getpid())
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Makes glibc keep freed memory for later use, instead of returning it to the system each time.

    A forward pass frees and requests the same large buffers over and over. Without this, the kernel zeroes every
    page again: EfficientNet-Lite0 runs at 0.6 of its speed, a training step at 0.7. The process's memory stays at
    its peak, which is bounded. Does nothing without glibc, or where the user has set a MALLOC_ variable.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in ((-3, 1 << 30), (-1, (1 << 31) - 1), (-2, 1 << 26)):  # mmap, trim, top pad
            mallopt(ctypes.c_int(parameter), ctypes.c_int(value))


def peak_memory() -> int:
    """The largest resident size of this process so far, in bytes (Linux).

    Not from ``getrusage``, whose figure a process inherits from its parent.
    """
    return _status("VmHWM")


def own_memory() -> int:
    """The resident size of this process now, in bytes, without pages of files (Linux)."""
    return _status("RssAnon")


def _status(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return 1024 * int(found[1])  # type: ignore[index]


def _has_entry() -> bool:
    """Whether the system knows this user; a container may be given any user id."""
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        return False
    return True


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # and not a fork of it
        shutil.rmtree(folder, ignore_errors=True)
