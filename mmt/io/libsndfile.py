"""Makes libsndfile available to fairseq2n, which is linked to it, on machines where it is not installed."""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from pathlib import Path


def load_before_fairseq2() -> None:
    """Has libsndfile loaded as soon as fairseq2n is imported, by whomever; until then nothing is loaded.

    fairseq2n is imported by modules of mmt and of its users alike, so an import hook looks out for it.
    """
    if "fairseq2n" not in sys.modules:
        sys.meta_path.insert(0, _Hook())


class _Hook:
    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "fairseq2n" and self in sys.meta_path:
            sys.meta_path.remove(self)
            _load()


def _load() -> None:
    """Loads the system's libsndfile, else the copy in the wheel of ``soundfile``, which has the same SONAME.

    Loaded first and globally, the dynamic linker takes it for the system's.
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
