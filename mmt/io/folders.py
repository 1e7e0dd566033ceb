"""The files in a folder of this machine, through links."""

from __future__ import annotations

import os
from pathlib import Path

_MAX_LINKS = 8  # in a path; more mean a circle of links


def files_below(folder: Path) -> tuple[list[str], dict[str, str]]:
    """All files in ``folder`` and its subfolders; links to files and folders are followed.

    Returns:
        The names, with ``/`` between folders, in order; and what was skipped, name -> reason: links that lead
        nowhere or back to a folder above them, and unreadable folders.
    """
    files: list[str] = []
    left_out: dict[str, str] = {}
    waiting: list[tuple[str, frozenset[tuple[int, int]], int]] = [("", frozenset(), 0)]
    while waiting:
        prefix, above, links = waiting.pop()
        here = os.path.join(folder, prefix)
        try:
            found = os.stat(here)
            entries = list(os.scandir(here))
        except OSError as error:
            left_out[prefix.rstrip("/") or str(folder)] = (error.strerror or "cannot be read").lower()
            continue
        place = (found.st_dev, found.st_ino)
        if place in above or links > _MAX_LINKS:
            left_out[prefix.rstrip("/")] = "a link that leads back to a folder above it"
            continue
        for entry in entries:
            link = entry.is_symlink()
            if os.path.isdir(entry.path) if link else entry.is_dir():
                waiting.append((f"{prefix}{entry.name}/", above | {place}, links + link))
            elif link and not os.path.exists(entry.path):
                left_out[prefix + entry.name] = "a link that leads nowhere"
            else:
                files.append(prefix + entry.name)
    return sorted(files), dict(sorted(left_out.items()))


def files_in(folder: Path) -> set[str]:
    """The names of the files in ``folder`` itself; links are followed, broken ones skipped."""
    with os.scandir(folder) as entries:
        return {
            entry.name
            for entry in entries
            if (os.path.isfile(entry.path) if entry.is_symlink() else not entry.is_dir())
        }
