"""Parts of a user's own: modules that a command imports before it builds or loads a model."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from mmt.errors import MMTError

imported: list[str] = []
"""What this process was asked to import, for the processes that it starts."""


def import_modules(modules: Sequence[str]) -> None:
    """Imports modules by name, from the current folder, too, and ``.py`` files by path.

    Raises:
        MMTError: there is none, or it fails.
    """
    for module in modules:
        if module in imported:
            continue
        try:
            if module.endswith(".py"):
                _import_file(Path(module))
            else:
                if os.getcwd() not in sys.path:
                    sys.path.append(os.getcwd())
                importlib.import_module(module)
        except Exception as error:  # it is not our code
            reason = " ".join(str(error).split()) or "no message"
            raise MMTError(
                f"--import {module}: {type(error).__name__}: {reason}. Expected an installed module, one in the "
                "current folder, or the path of a .py file."
            ) from None
        imported.append(module)


def _import_file(path: Path) -> None:
    """As ``import`` does where the file's folder is on the path."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError("no such file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
