"""The pictures and models of the evidence's tests, for leaderboards."""

from tests.evidence.conftest import copying, ignoring, shown, text_only

__all__ = ["copying", "ignoring", "shown", "text_only"]
