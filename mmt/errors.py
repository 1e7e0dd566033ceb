"""What a user did wrong, and what to do about it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

# What would end a line, move a terminal's cursor, turn the direction of what follows, or cannot be written.
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_LONGEST = 3000


class MMTError(Exception):
    """A mistake in the user's input, not in this code.

    The message is one line that says where, what was expected, what came, and the remedy. The command
    line prints it without a stack trace and exits with 2. It may quote any name or value: what would break the
    line, or act on the terminal, is written as an escape, and the middle of a very long message is left out.
    """

    def __init__(self, message: str) -> None:
        said = (
            message if len(message) <= _LONGEST else f"{message[: _LONGEST // 2]} ... {message[-_LONGEST // 2 :]}"
        )
        super().__init__(_UNSEEN.sub(lambda found: ascii(found.group())[1:-1], said))


def unreadable(error: OSError) -> MMTError:
    """What to raise where permission is missing: the file is whole, and must not be made anew."""
    return MMTError(f"{error.filename}: cannot be read ({error.strerror}). Check owner and mode with ls -ld.")


def nearest(word: str, known: Iterable[str]) -> str:
    """Returns `` Did you mean 'x'?`` for the known word closest to ``word``, or an empty string."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" Did you mean '{matches[0]}'?" if matches else ""


def is_url(text: str) -> bool:
    """Whether ``text`` is an address such as ``https://host/name``, of which ``pathlib`` would cut a slash out."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text) is not None


def without_password(text: str) -> str:
    """``text`` with ``***@`` instead of ``user:password@`` in addresses."""
    return re.sub(r"(?<=://)[^\s/]+@", "***@", text)


def local_path(name: str | Path) -> Path:
    """The path of a file or folder of this machine. Raises MMTError for a URL."""
    if isinstance(name, str) and is_url(name):
        raise MMTError(f"{name} is a URL; expected a path on this machine. Download it first.")
    return Path(name)
