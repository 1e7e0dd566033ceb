"""The validation BLEU of exported graphs, by which int8 is kept or dropped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from mmt.data.batch import Example
from mmt.inference.onnx_runtime import ExportedTranslator
from mmt.inference.search import Hypothesis
from mmt.inference.translator import SentenceBatch
from mmt.model.card import ModelCard
from mmt.training import graphs
from mmt.training.run import Run

GERMAN, FRENCH = (2, 10), (2, 11)
SET = [
    Example([20 + n], [30 + n, 40, 41, 42], prompt=(GERMAN, FRENCH)[n % 2], dataset=n % 2) for n in range(6)
]  # of equal lengths, so that both languages would be in one batch


class _Echo:
    """Writes each sentence's reference where it is asked for in its own language, else nothing."""

    def search_batches(self, batches: Sequence[SentenceBatch], *_: object) -> Iterator[list[list[Hypothesis]]]:
        known = {(tuple(one.source), one.prompt): one.target for one in SET}
        for batch in batches:
            yield [[Hypothesis(known.get((tuple(ids), batch.prompt), []), 0.0)] for ids in batch.sources]


def test_each_sentence_is_written_in_its_own_language(monkeypatch: pytest.MonkeyPatch) -> None:
    card = ModelCard({}, "en", "mul", decoding={"beam_size": 2, "length_penalty": 1.0})
    monkeypatch.setattr(graphs, "read_card", lambda _: card)
    monkeypatch.setattr(ExportedTranslator, "from_dir", lambda *_, **__: _Echo())
    run = SimpleNamespace(
        valid_set=SET,
        features=None,
        config=SimpleNamespace(data=SimpleNamespace(max_tokens=1000)),
        tokenizer=SimpleNamespace(decode=lambda ids: " ".join(map(str, ids))),
    )
    found = graphs.exported_bleu(cast(Run, run), Path("exported"))
    assert found == {"float32": pytest.approx(100), "int8": pytest.approx(100)}
