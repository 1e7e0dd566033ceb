"""Laws of length buckets."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mmt.data.buckets import length_batches

LENGTHS = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), max_size=80)


@settings(deadline=None)
@given(LENGTHS, st.integers(1, 300), st.booleans())
def test_every_sentence_is_in_one_batch_and_batches_fit(
    lengths: list[tuple[int, int]], max_tokens: int, shuffle: bool
) -> None:
    batches = length_batches(lengths, max_tokens, np.random.default_rng(0) if shuffle else None)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(max(lengths[i]) for i in batch) <= max_tokens


def test_batches_of_real_lengths_are_hardly_padding() -> None:
    generator = np.random.default_rng(0)
    targets = generator.gamma(9, 1.5, 5000).astype(int) + 2
    lengths = [(int(t + d), int(t)) for t, d in zip(targets, generator.integers(0, 3, 5000), strict=True)]
    batches = length_batches(lengths, 4096, generator)
    filled = sum(t for _, t in lengths) / sum(len(b) * max(lengths[i][1] for i in b) for b in batches)
    assert filled > 0.95
