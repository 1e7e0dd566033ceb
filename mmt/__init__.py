"""mmt: multimodal machine translation. Train, translate, score, and know whether the image helped.

>>> import mmt
>>> translator = mmt.Translator.from_dir("model")                            # doctest: +SKIP
>>> translator.translate(["A bat on the wall."], images=["wall.jpg"])        # doctest: +SKIP
['Eine Fledermaus an der Wand.']
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mmt.errors import MMTError
from mmt.io.libsndfile import load_before_fairseq2

if TYPE_CHECKING:
    from mmt.inference.open import Translator
    from mmt.inference.translator import Translation

__all__ = ["MMTError", "Translation", "Translator", "__version__"]
__version__ = "0.2.0"


# Loaded at first use: NumPy and ONNX Runtime take as long as all of `mmt --help`.
_LAZY = {"Translation": "mmt.inference.translator", "Translator": "mmt.inference.open"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'mmt' has no attribute '{name}'")


load_before_fairseq2()
