"""Versions of the packages that a result depends on."""

from __future__ import annotations

from importlib.metadata import version

from mmt import __version__


def versions(*packages: str) -> dict[str, str]:
    """The version of mmt and of each of ``packages``, by name; every result file contains them.

    Raises:
        importlib.metadata.PackageNotFoundError: One of the packages is not installed.
    """
    return {"mmt": __version__, **{name: version(name) for name in packages}}
