"""Labels and scores: what training reads, what heads say, and how they are scored."""

from __future__ import annotations

from conftest import *  # noqa: F403
