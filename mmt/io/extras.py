"""The two installs: a small one, which translates with exported models and scores, and a full one with torch."""

from __future__ import annotations

from importlib.util import find_spec

OURS = ("mmt", "data_prep", "eval", "recipes")


def missing_extra(error: ModuleNotFoundError) -> str | None:
    """What to install where a command needs a package that the small install lacks.

    Args:
        error: raised by an import.
    Returns:
        A message in one line; None if the full install is there, so that the error is another one.
    """
    package = (error.name or "").partition(".")[0]
    if not package or package in OURS or find_spec("torch") is not None:
        return None
    return (
        f"the package {package} is missing: the small install translates with exported models and scores, nothing "
        "else. pip install 'mmt-toolkit[train]' (Python 3.11 or 3.12)."
    )
