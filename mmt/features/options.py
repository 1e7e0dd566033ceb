"""Options in a backbone's name, as in ``whisper:NAME,layer=3,seconds=4``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmt.errors import MMTError, nearest

Options = Mapping[str, tuple[str, Callable[[str], Any], str]]
"""Option -> field, how its value is read (ValueError where it makes no sense), and what is expected."""


def read_options(name: str, options: Sequence[str], known: Options) -> dict[str, Any]:
    """``KEY=VALUE`` each -> field: value, for those that are there.

    Raises:
        MMTError: an unknown option, one given twice, or a value out of its range.
    """
    values: dict[str, Any] = {}
    for option in options:
        key, equals, value = option.partition("=")
        if key not in known or not equals:
            expected = ", ".join(f"{one}={what}" for one, (_, _, what) in known.items())
            raise MMTError(f"{name}: no option '{option}'.{nearest(key, known)} Expected {expected}.")
        field, read, what = known[key]
        if field in values:
            raise MMTError(f"{name}: expected {key} once, found it twice. Leave one out.")
        try:
            values[field] = read(value)
        except ValueError:
            raise MMTError(f"{name}: expected {key}={what}, found '{value}'.") from None
    return values


def number(kind: type[int] | type[float], least: float, most: float) -> Callable[[str], Any]:
    """Reads a number from ``least`` to ``most``."""

    def read(text: str) -> Any:
        value = kind(text)
        if not least <= value <= most:  # nor NaN
            raise ValueError
        return value

    return read
