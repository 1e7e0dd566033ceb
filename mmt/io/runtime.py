"""What this process does before its libraries are loaded: no telemetry, no caches in HOME, freed memory kept.

Every command calls ``start``, and so does everything in Python that loads a model or such a library. What the user
has set in the environment stays. Downloads that somebody asks for, such as ``--backbone clip:NAME``, work as
before and go to the usual caches.
"""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import tempfile
import uuid
from pathlib import Path

from mmt.io.memory import keep_freed_memory

# Read by the libraries when they are imported or first used.
_SETTINGS = {
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime >= 1.29: a device id and an event file in HOME, and uploads
    "HF_HUB_DISABLE_TELEMETRY": "1",  # huggingface_hub, transformers, datasets
    "DISABLE_SAFETENSORS_CONVERSION": "true",  # transformers asks a server to convert a downloaded checkpoint
    "WANDB_ERROR_REPORTING": "false",  # fairseq2 imports wandb
}
_CACHES = {
    "MPLCONFIGDIR": "matplotlib",  # the list of fonts, in HOME
    "TORCHINDUCTOR_CACHE_DIR": "torchinductor",  # torch.onnx.export leaves the folder, and asks who the user is
}


def start() -> None:
    """Prepares this process. Calling it again does nothing.

    Caches that no later process needs go to a temporary folder. It is created by the library that fills it, and
    removed when this process exits. So does a home, where the user has none: neither ``HOME`` nor an entry in
    /etc/passwd.
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


def _has_entry() -> bool:
    """Whether the system knows this user; a container may be given any user id."""
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        return False
    return True


def use_threads(threads: int | None) -> None:
    """Computes with so many threads; None leaves it to torch, which takes one a core."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # and not a fork of it
        shutil.rmtree(folder, ignore_errors=True)
