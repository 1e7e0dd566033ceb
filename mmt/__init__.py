"""mmt: multimodal machine translation. Train, translate, score, and know whether the image helped.

>>> import mmt
>>> translator = mmt.Translator.from_dir("model")                            # doctest: +SKIP
>>> translator.translate(["A bat on the wall."], images=["wall.jpg"])        # doctest: +SKIP
['Eine Fledermaus an der Wand.']
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmt.errors import MMTError

if TYPE_CHECKING:
    from mmt.inference.torch_runtime import Translation, Translator

__all__ = ["MMTError", "Translation", "Translator", "__version__"]
__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    # Loaded when first asked for: torch takes seconds, and `mmt --help` needs none of it.
    if name in ("Translation", "Translator"):
        return getattr(importlib.import_module("mmt.inference.torch_runtime"), name)
    raise AttributeError(f"module 'mmt' has no attribute '{name}'")


def _load_libsndfile() -> None:
    """Makes libsndfile available to fairseq2n, which is linked to it, also where nobody installed it.

    The wheel of ``soundfile`` carries a copy with the same SONAME; loaded first and globally, the dynamic
    linker takes it for the system's.
    """
    try:
        ctypes.CDLL("libsndfile.so.1", ctypes.RTLD_GLOBAL)
        return
    except OSError:
        spec = importlib.util.find_spec("_soundfile_data")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for library in sorted(Path(folder).glob("libsndfile*")):
            try:
                ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
                return
            except OSError:  # the copy for another processor
                continue


_load_libsndfile()
