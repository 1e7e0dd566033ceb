"""BPE-dropout: the text stays, the pieces change, and the same seed gives the same pieces."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmt.data.batch import Example
from mmt.data.reader import BatchReader
from mmt.data.subwords import BPEDropout, SubwordSampling
from mmt.data.tokenizer import TOKENIZER, Tokenizer, train_tokenizer
from mmt.errors import MMTError
from mmt.training.config import TrainConfig
from mmt.training.config_checks import check_values
from mmt.training.config_file import read_config
from mmt.training.recipe import train
from tests.worlds import (
    assert_close_weights,
    assert_same_weights,
    begin_training,
    config,
    finish,
    sentences,
    settings,
    weights,
)

TEXTS = [side for pair in sentences(40, 7) for side in pair]


@pytest.fixture(scope="module")
def tagged(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """With a mask, which is one piece, and bound to a tag."""
    path = tmp_path_factory.mktemp("tagged") / TOKENIZER
    train_tokenizer(TEXTS * 3, 330, path, symbols=["[MASK]"], tags=["<bt>"])
    return Tokenizer(path).tagged("<bt>")


@pytest.mark.parametrize("dropout_p", [0.1, 0.5, 1.0])
def test_the_text_stays(tagged: Tokenizer, dropout_p: float) -> None:
    """And so do the tag, masks, and characters that the vocabulary lacks."""
    changed = 0
    for number, text in enumerate([*TEXTS, "A [MASK] sees the ball.", "Ein 狗 sieht   das Öl.", "x"]):
        ids = tagged.encode(text)
        other = BPEDropout(tagged).split(ids, dropout_p, number)
        assert tagged.decode(other) == tagged.decode(ids)
        assert other[0] == ids[0] == tagged.source_prefix[0]
        assert tagged.pieces(other).count("[MASK]") == text.count("[MASK]")
        assert len(other) >= len(ids)
        changed += other != ids
    assert changed > 30
    assert BPEDropout(tagged).split([], dropout_p, 1) == []


def test_merges_are_left_out_as_often_as_said(tagged: Tokenizer) -> None:
    """A word of a space and a letter is one merge: without it, it has two pieces."""
    ids = tagged.encode_target("A")
    assert tagged.pieces(ids) == ["\u2581A"]
    counted = Counter(len(BPEDropout(tagged).split(ids, 0.3, seed)) for seed in range(2000))
    assert counted.keys() == {1, 2}
    assert counted[2] / 2000 == pytest.approx(0.3, abs=0.04)


def test_a_seed_gives_the_same_pieces(tagged: Tokenizer) -> None:
    """Whatever was sampled before; other seeds give others; 0 leaves the pieces as they are."""
    ids = [tagged.encode(text) for text in TEXTS]
    first = [BPEDropout(tagged).split(one, 0.3, seed) for seed, one in enumerate(ids)]
    again = [BPEDropout(tagged).split(ids[seed], 0.3, seed) for seed in reversed(range(len(ids)))][::-1]
    assert first == again
    assert first != [BPEDropout(tagged).split(one, 0.3, seed + 1) for seed, one in enumerate(ids)]
    assert [BPEDropout(tagged).split(one, 0.0, seed) for seed, one in enumerate(ids)] == ids


def test_a_seed_gives_the_same_pieces_in_every_process(tagged: Tokenizer) -> None:
    """SentencePiece's own sampling does not."""
    code = (
        "import sys; from pathlib import Path; from mmt.data.subwords import BPEDropout; "
        "from mmt.data.tokenizer import Tokenizer; one = Tokenizer(Path(sys.argv[1])); "
        "print(BPEDropout(one).split(one.encode(sys.argv[2]), 0.5, 3))"
    )
    command = [sys.executable, "-c", code, str(tagged.path), TEXTS[0]]
    found = {subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(2)}
    assert found == {f"{BPEDropout(tagged).split(tagged.encode_target(TEXTS[0]), 0.5, 3)}\n"}


def _reader(tokenizer: Tokenizer, updates: int = 10**9, target: bool = False, **settings: Any) -> BatchReader:
    examples = [
        Example(tokenizer.encode(source), tokenizer.encode_target(target)) for source, target in sentences(40, 7)
    ]
    sampling = SubwordSampling(tokenizer, 0.3, 256, updates, target)
    return BatchReader(
        examples, None, max_tokens=80, shuffle=True, **{"seed": 3, "subwords": sampling, **settings}
    )


def _read(reader: BatchReader, updates: int) -> list[Any]:
    return [[(batch.source.tolist(), batch.target.tolist()) for batch in reader.cycle()] for _ in range(updates)]


def _texts(tokenizer: Tokenizer, batches: Sequence[Any], side: int) -> list[list[str]]:
    return [[tokenizer.decode([i for i in row if i > 3]) for row in one[side]] for one in batches]


def test_sources_are_split_anew_in_each_epoch_and_targets_are_not(tagged: Tokenizer) -> None:
    plain = _read(_reader(tagged, subwords=None), 60)
    found = _read(_reader(tagged), 60)
    assert [_texts(tagged, a, side) for a in found for side in (0, 1)] == [
        _texts(tagged, a, side) for a in plain for side in (0, 1)
    ]
    spelled: dict[str, set[tuple[int, ...]]] = {}
    for batches in found:
        for sources, _ in batches:
            for row in sources:
                ids = tuple(i for i in row if i > 3)
                spelled.setdefault(tagged.decode(list(ids)), set()).add(ids)
    assert sum(len(ways) > 1 for ways in spelled.values()) > 0.8 * len(spelled)
    assert [targets for batches in found for _, targets in batches] == [
        targets for batches in plain for _, targets in batches
    ]
    both = _read(_reader(tagged, target=True), 20)
    assert [targets for batches in both for _, targets in batches] != [
        targets for batches in plain[:20] for _, targets in batches
    ]


def test_the_last_updates_read_whole_words(tagged: Tokenizer) -> None:
    plain = _read(_reader(tagged, subwords=None), 30)
    found = _read(_reader(tagged, updates=12), 30)
    assert [a != b for a, b in zip(found, plain, strict=True)] == [True] * 12 + [False] * 18


@pytest.mark.parametrize("stop", [1, 7, 13, 20])
def test_a_reader_resumes_exactly(tagged: Tokenizer, stop: int) -> None:
    """Before, in and after the cooldown, in later epochs, too."""
    expected = _read(_reader(tagged, updates=14), 24)
    first, second = _reader(tagged, updates=14), _reader(tagged, updates=14)
    begun = _read(first, stop)
    second.load_state_dict(first.state_dict())
    assert begun + _read(second, 24 - stop) == expected
    assert "updates" not in _reader(tagged, subwords=None).state_dict()


def test_processes_split_as_one(tagged: Tokenizer) -> None:
    """Each batch of an epoch is the same, whichever process reads it."""
    one = [batch for batches in _read(_reader(tagged), 6) for batch in batches]
    two = [_read(_reader(tagged, rank=rank, world_size=2), 3) for rank in range(2)]
    assert [batch for pair in zip(*two, strict=True) for batches in pair for batch in batches] == one


def test_a_sentence_that_would_be_too_long_stays_as_it_is(tagged: Tokenizer) -> None:
    examples = [Example(tagged.encode(text), []) for text in TEXTS]
    longest = max(len(example.source) for example in examples) + 1
    sampling = SubwordSampling(tagged, 0.1, longest, 1)
    found = sampling.sample(examples, range(len(examples)))
    assert max(len(example.source) for example in found) + 1 <= longest
    assert any(a.source == b.source for a, b in zip(found, examples, strict=True))
    assert any(a.source != b.source for a, b in zip(found, examples, strict=True))


# --- in a training ----------------------------------------------------------------------------------------

SAMPLED = ("text.sampling=0.3", "regime.cooldown_steps=4")


@pytest.mark.parametrize("more", [(), ("data.streams=2",)])
def test_an_interrupted_run_resumes_exactly(world: Path, tmp_path: Path, more: tuple[str, ...]) -> None:
    every = (*SAMPLED, *more)
    train(tmp_path / "whole", config(world, *every))
    train(tmp_path / "parts", config(world, *every, "regime.num_steps=6", "regime.cooldown_steps=0"))
    with pytest.raises(MMTError, match=r"text\.sampling = 0\.3"):
        train(tmp_path / "parts", config(world, *every, "text.sampling=0"))
    train(tmp_path / "parts", config(world, *every))
    assert_same_weights(weights(tmp_path / "parts", 12), weights(tmp_path / "whole", 12))


def test_two_processes_train_as_one(world: Path, tmp_path: Path) -> None:
    plain = ("model.dropout_p=0", "regime.keep_last=4", "regime.num_steps=6", "text.sampling=0.3")
    train(tmp_path / "one", config(world, *plain, "optimizer.num_accumulate=2"))
    process = begin_training(tmp_path / "two", settings(world, *plain))
    said = finish(process)
    assert process.returncode == 0, said
    assert_close_weights(tmp_path / "one", tmp_path / "two", 6)
    train(tmp_path / "other", config(world, *plain, "optimizer.num_accumulate=2", "text.sampling=0"))
    one, other = (weights(tmp_path / name, 6) for name in ("one", "other"))
    assert any(not np.allclose(one[name], other[name]) for name in one)


def test_a_pretrained_vocabulary_is_refused() -> None:
    sampled = read_config(None, ["data.path=x", "model.fusion=none", "text.sampling=0.1"])
    check_values(sampled, "x")
    with pytest.raises(MMTError, match=r"x: text\.sampling splits words by a vocabulary of our own.* is marian:y"):
        check_values(replace(sampled, model=replace(sampled.model, text="marian:y")), "x")
    assert TrainConfig().text.sampling == 0
