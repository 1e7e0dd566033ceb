"""Lost workers: killed, out of memory, or on a machine that is gone."""

from __future__ import annotations

from mmt.errors import MMTError

_IN_A_ROW = 5  # without a finished shard in between, for each worker


class Losses:
    """Counts lost workers. Others do their shards again, as long as some shard is finished meanwhile."""

    def __init__(self) -> None:
        self.total = self._in_a_row = 0

    def lost(self, why: str, workers: int = 1) -> None:
        """Counts one. Raises MMTError where workers are lost again and again."""
        self.total += 1
        self._in_a_row += 1
        if self._in_a_row >= _IN_A_ROW * max(workers, 1):
            raise MMTError(
                f"{self._in_a_row} workers in a row have ended before their shard was done; the last: {why}. "
                "Does the memory suffice? Parts that are complete are kept: rerun the command to resume."
            )

    def finished(self) -> None:
        """A shard was finished."""
        self._in_a_row = 0
