"""What libraries read anew at each training and each export is read once in a process, and in its forks."""

from __future__ import annotations

import functools
import sys
from typing import Any


def keep_parsed() -> None:
    """From here on, of the libraries that are imported by now."""
    if "fairseq2.composition" in sys.modules:
        from fairseq2.assets.metadata_provider import StandardPackageAssetMetadataLoader as Cards
        from fairseq2.composition import extensions as module

        extensions: Any = module
        if not hasattr(extensions.entry_points, "cache_info"):
            # The cards of fairseq2's own models, of which our trainings use none.
            Cards.load = _once_a_package(Cards.load)  # type: ignore[method-assign]
            extensions.entry_points = functools.cache(extensions.entry_points)
    if "mmt.inference.onnx_export" in sys.modules:
        from onnxscript.values import TracedOnnxFunction

        # The 500 functions that translate torch's operators.
        before: Any = TracedOnnxFunction.__dict__["function_ir"]
        if isinstance(before, property):
            parsed: Any = functools.cached_property(before.fget)  # type: ignore[arg-type]
            parsed.__set_name__(TracedOnnxFunction, "function_ir")
            TracedOnnxFunction.function_ir = parsed  # type: ignore[method-assign]


def _once_a_package(load: Any) -> Any:
    found: dict[str, Any] = {}

    def load_once(self: object, package: str) -> Any:
        if package not in found:
            found[package] = load(self, package)
        return found[package]

    return load_once
