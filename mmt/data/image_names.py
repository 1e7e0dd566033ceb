"""Names of image files: listing a folder, and the nearest name to a missing one."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from mmt.io.normalization import normalize

_MAX_LINKS = 8  # in a path; more mean a circle of links
_SHOWN = 5
_ZEROS = re.compile(r"(?<!\d)0+(?=\d)")
_NUMBER = re.compile(r"\d{4,}")
_CANDIDATES = 50  # per key, that are compared letter by letter


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


class Names:
    """Existing names, to find those nearest to missing names."""

    def __init__(self, there: Iterable[str] | Callable[[], Iterable[str]]) -> None:
        """``there``: the names, or a function that returns them, called for the first search."""
        self._there = there
        self._keys: dict[str, list[str]] | None = None

    def nearest(self, name: str) -> str | None:
        """The existing name that is nearest to ``name``, or None.

        Names match if they differ only in the suffix (.jpg, .jpeg, .png), case, zeros before a number,
        percent-encoding, invisible characters, the Unicode normal form, or the folders before them; otherwise if
        they share their longest number, of four digits or more.
        """
        if self._keys is None:
            self._keys = {}
            for one in self._there() if callable(self._there) else self._there:
                for key in _keys(one):
                    self._keys.setdefault(key, []).append(one)
        for key in _keys(name):
            alike = [one for one in self._keys.get(key, [])[:_CANDIDATES] if one != name]
            if alike:
                return max(alike, key=lambda one: difflib.SequenceMatcher(None, name, one).ratio())
        return None

    def hint(self, name: str) -> str:
        """`` (there is 'x')`` for the nearest name, or an empty string."""
        found = self.nearest(name)
        if found is None:
            return ""
        looks_alike = normalize(found) == normalize(name)  # the difference is invisible
        return f" (there is '{found}'{', in other characters that look alike' if looks_alike else ''})"

    def listed(self, missing: Iterable[str]) -> str:
        """The first five of ``missing``, each once, with hints, and how many more there are."""
        distinct = list(dict.fromkeys(missing))
        more = f" and {len(distinct) - _SHOWN:,} more" if len(distinct) > _SHOWN else ""
        return ", ".join(f"'{name}'{self.hint(name)}" for name in distinct[:_SHOWN]) + more


def names_in(folder: Path, before: str) -> Callable[[], Sequence[str]]:
    """For ``Names``: the files in ``folder``, with the path ``before`` each; none if it is unreadable."""

    def there() -> Sequence[str]:
        try:
            return [os.path.join(before, name) for name in sorted(files_in(folder))]
        except (OSError, ValueError):
            return []

    return there


def _keys(name: str) -> list[str]:
    """Keys by which names are compared, the most reliable first."""
    plain = normalize(unquote(name, errors="replace")).casefold()
    last = PurePosixPath(plain.replace("\\", "/")).name
    stem = last[: last.rindex(".")] if re.search(r"[^.]\.[a-z0-9]{1,5}$", last) else last
    stem = _ZEROS.sub("", normalize(stem))
    numbers = sorted((found.lstrip("0") for found in _NUMBER.findall(stem)), key=len)
    return [stem, *(f"number {number}" for number in numbers[-1:])]
