"""fairseq2 beside another torch than the one that fairseq2n was built for.

fairseq2n holds data pipelines and audio in C++. Nothing that is measured here uses them, and the rest of fairseq2
is Python, so that an empty module in its place is enough.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType


def stand_in_for_fairseq2n() -> str:
    """Puts an empty module in place of a fairseq2n that does not load; says why, or "" if it loads."""
    import mmt  # noqa: F401  # has libsndfile found

    try:
        import fairseq2n  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:
        for name in [name for name in sys.modules if name.partition(".")[0] in ("fairseq2n", "fairseq2")]:
            del sys.modules[name]
        sys.meta_path.insert(0, _Finder())
        return str(error).partition("\n")[0]
    return ""


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Makes ``fairseq2n`` and what is in it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname.partition(".")[0] != "fairseq2n":
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _Empty(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


class _Empty(ModuleType):
    """Has a class of every name."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        made = type(name, (), {})
        setattr(self, name, made)
        return made
