"""Names of image files: the nearest name to a missing one. ``mmt.io.folders`` lists a folder."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from mmt.io.folders import files_below as files_below  # callers import them from here, too
from mmt.io.folders import files_in as files_in
from mmt.io.normalization import normalize

_SHOWN = 5
_ZEROS = re.compile(r"(?<!\d)0+(?=\d)")
_NUMBER = re.compile(r"\d{4,}")
_CANDIDATES = 50  # per key, that are compared letter by letter


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
