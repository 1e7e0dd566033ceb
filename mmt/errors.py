"""What a user did wrong, and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MMTError(Exception):
    """A mistake in the user's input, not in this code.

    The message is one line that says where, what was expected, what came, and the remedy. The command
    line prints it without a stack trace and exits with 2.
    """


def nearest(word: str, known: Iterable[str]) -> str:
    """Returns `` Did you mean 'x'?`` for the known word closest to ``word``, or an empty string."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" Did you mean '{matches[0]}'?" if matches else ""
