"""Each family against transformers, on the same weights: tokens, logits, translations, log-probabilities."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mmt.data.tokenizer import BOS, EOS, PAD
from mmt.inference.beam import beam_search
from mmt.inference.loaded import target_log_probs
from mmt.inference.search import SearchOptions
from tests.model.pretrained import checkpoints
from tests.model.pretrained.checkpoints import LINES, ODD, Checkpoint, batch_of
from tests.worlds import data_root, sentences

KINDS: dict[str, Callable[[Path], Checkpoint]] = {
    "marian": checkpoints.marian,
    "marian, GELU, unscaled, pickled": lambda folder: checkpoints.marian(
        folder, activation="gelu", scaled=False, safe=False
    ),
    "marian, two vocabularies, ReLU": lambda folder: checkpoints.marian(
        folder, activation="relu", two_vocabularies=True
    ),
    "nllb": checkpoints.nllb,
    "nllb, GELU, unscaled": lambda folder: checkpoints.nllb(folder, activation="gelu", scaled=False),
    "m2m100": checkpoints.m2m100,
    "m2m100, SiLU, unscaled": lambda folder: checkpoints.m2m100(folder, activation="silu", scaled=False),
    "marian, tags, sharded": lambda folder: checkpoints.marian(folder, tags=("fra", "deu"), shard="40KB"),
}
REAL = data_root() / "multi30k/raw"


@pytest.fixture(scope="module", params=KINDS)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return KINDS[request.param](tmp_path_factory.mktemp("checkpoint") / "it")


@pytest.mark.skipif(not REAL.is_dir(), reason="no Multi30K (set MMT_DATA)")
def test_tokens_of_real_lines_are_those_of_transformers(checkpoint: Checkpoint) -> None:
    _, tokenizer = checkpoint.load()
    order = checkpoint.order("source").tolist()
    for language in ("en", "de", "fr", "cs"):
        with gzip.open(REAL / f"test_2016_flickr.{language}.gz", "rt", encoding="utf-8") as lines:
            real = [line.strip() for line in lines]
        assert len(real) == 1000
        for line in real:
            assert [order[i] for i in (*tokenizer.encode(line), EOS)] == checkpoint.their_source(line)


def test_tokens_are_those_of_transformers(checkpoint: Checkpoint) -> None:
    _, tokenizer = checkpoint.load()
    source, target = checkpoint.order("source").tolist(), checkpoint.order("target").tolist()
    for line in [*LINES[:100], *ODD]:
        assert [source[i] for i in (*tokenizer.encode(line), EOS)] == checkpoint.their_source(line)
        ids = tokenizer.encode_target(line)
        assert [target[i] for i in ids] == checkpoint.their_target(line)
        text = checkpoint.tokenizer.decode([target[i] for i in ids], skip_special_tokens=True)
        assert tokenizer.decode([*ids, EOS, PAD]).strip() == text.strip()
    assert tokenizer.encode(" \u200b") == []


def test_logits_are_those_of_transformers(checkpoint: Checkpoint) -> None:
    model, tokenizer = checkpoint.load()
    batch = batch_of(tokenizer, [*sentences(4, 0), ("A cat sees the dog. " * 3, "Katze.")])
    with torch.no_grad():
        ours, theirs = model.logits(batch), checkpoint.their_logits(batch)
    real = batch.labels != PAD
    assert ours.shape == theirs.shape
    words = theirs[real].isfinite()
    assert torch.equal(ours[real].isfinite(), words)
    largest = theirs[real][words].abs().max().item()  # up to 35, of which float32 has 4e-6
    torch.testing.assert_close(ours[real][words], theirs[real][words], rtol=0, atol=max(1e-5, 1e-6 * largest))


def test_scores_of_given_targets_are_the_log_probabilities_of_transformers(checkpoint: Checkpoint) -> None:
    model, tokenizer = checkpoint.load()
    batch = batch_of(tokenizer, sentences(5, 1))
    log_p = checkpoint.their_logits(batch).log_softmax(2).gather(2, batch.labels[:, :, None])[:, :, 0]
    theirs = log_p.masked_fill(batch.labels == PAD, 0).sum(1)
    torch.testing.assert_close(target_log_probs(model, batch).float(), theirs, rtol=0, atol=1e-4)


def test_beams_are_those_of_transformers(checkpoint: Checkpoint) -> None:
    model, tokenizer = checkpoint.load()
    batch = batch_of(tokenizer, [(source, "") for source, _ in sentences(8, 2)])
    source, target = checkpoint.order("source"), checkpoint.order("target")
    config, limit = checkpoint.model.config, 40
    with torch.no_grad():
        theirs = checkpoint.model.generate(
            input_ids=source[batch.source],
            attention_mask=(batch.source != PAD).long(),
            decoder_input_ids=target[batch.target[:, : batch.prompt_len]],
            num_beams=4,
            num_return_sequences=4,
            early_stopping=True,
            length_penalty=0.8,
            min_new_tokens=6,
            max_new_tokens=limit,
            forced_eos_token_id=None,
            forced_bos_token_id=None,
            bad_words_ids=None,
            # as ours: pad and bos are never written
            suppress_tokens=list({target[PAD].item(), target[BOS].item()}),
            output_scores=True,
            return_dict_in_generate=True,
        )
    options = SearchOptions(beam_size=4, length_penalty=0.8, min_length=6)
    ours = beam_search(model, batch, options, max_length=(0, limit))
    # At the limit transformers has another rule, see ``search``.
    whole = [n for n, of_sentence in enumerate(ours) if max(len(one.ids) for one in of_sentence) + 1 < limit]
    assert len(whole) >= 4
    assert len({tuple(one.ids) for n in whole for one in ours[n]}) > 3
    for n in whole:
        rows = theirs.sequences[4 * n : 4 * n + 4, batch.prompt_len :].tolist()
        written = [tuple(row[: row.index(config.eos_token_id)]) for row in rows]
        scores = dict(zip(written, theirs.sequences_scores[4 * n : 4 * n + 4].tolist(), strict=True))
        found = {tuple(target[torch.tensor(one.ids, dtype=torch.int64)].tolist()): one.score for one in ours[n]}
        assert next(iter(found)) == written[0]
        for ids, score in found.items():
            if ids in scores:
                assert score == pytest.approx(scores[ids], abs=1e-4)
            else:  # transformers lets hypotheses of the last step replace worse, earlier ones
                assert score < min(scores.values())
