"""Measures how much of a model's translations a vocabulary shortlist has: a bound on how many it leaves alone.

    python -m eval.bench.shortlists MODEL DATA [--split val]

A shortlist (as in Marian and Bergamot) has the k most probable target pieces of each source piece, by word
alignment of the training split (IBM model 1, Brown et al., 1993), and the n most frequent ones. For each k and n:
the share of sentences whose best translation needs no other piece, and the mean number of pieces for one sentence,
and for batches of 32 of similar length. The rest of the sentences would be translated differently.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from mmt.cli.command import Command
from mmt.cli.options import PATH
from mmt.data.dataset import read_split
from mmt.data.tokenizer import EOS
from mmt.inference.open import open_translator
from mmt.inference.search import SearchOptions
from mmt.inference.translator import SentenceBatch

_ROUNDS = 5  # of the alignment
_BATCH = 32

Pairs = Sequence[tuple[list[int], list[int]]]


def likely_pieces(pairs: Pairs, vocab_size: int, num: int) -> NDArray[np.int64]:
    """(V, num) the most probable target pieces of each source piece, best first; padded with eos.

    Args:
        pairs: ids of each sentence on both sides, without eos, which stands for no source piece.
        vocab_size: V; the ids of both sides are smaller.
    """
    sources, targets, words, num_words = [], [], [], 0
    for source, target in pairs:
        with_eos = np.array([*source, EOS])
        sources.append(np.repeat(with_eos, len(target)))
        targets.append(np.tile(np.array(target, np.int64), len(with_eos)))
        words.append(np.tile(np.arange(num_words, num_words + len(target)), len(with_eos)))
        num_words += len(target)
    keys, links = np.unique(np.concatenate(sources) * vocab_size + np.concatenate(targets), return_inverse=True)
    word = np.concatenate(words)
    source_of, target_of = np.divmod(keys, vocab_size)
    shares = np.ones(len(keys))
    for _ in range(_ROUNDS):
        weights = shares[links]
        weights /= np.bincount(word, weights, num_words)[word]
        counts = np.bincount(links, weights, len(keys))
        shares = counts / np.bincount(source_of, counts, vocab_size)[source_of]
    order = np.lexsort((target_of, -shares, source_of))
    first = np.searchsorted(source_of[order], np.arange(vocab_size))
    rank = np.arange(len(order)) - first[source_of[order]]
    kept = rank < num
    found = np.full((vocab_size, num), EOS)
    found[source_of[order][kept], rank[kept]] = target_of[order][kept]
    return found


def translations(model: Path, sources: list[list[int]]) -> list[list[int]]:
    """The ids of the best translation of each sentence, which are sorted by length."""
    translator = open_translator(model, runtime="auto")
    prompt, decoding = translator.tokenizer.prompt, translator.card.decoding
    batches = [sources[first : first + _BATCH] for first in range(0, len(sources), _BATCH)]
    inputs = [SentenceBatch(batch, [None] * len(batch), prompt) for batch in batches]
    options = SearchOptions(decoding["beam_size"], decoding["length_penalty"])
    return [best[0].ids for found in translator.search_batches(inputs, options, 1.0) for best in found]


@click.command(cls=Command, help=__doc__.partition("\n\n")[0])
@click.argument("model", type=PATH)
@click.argument("data", type=PATH)
@click.option("--split", default="val", help="Split to translate.")
@click.option("--likely", multiple=True, type=int, default=[100, 300], help="k; repeatable.")
@click.option("--frequent", multiple=True, type=int, default=[1000, 2000, 4000], help="n; repeatable.")
def main(model: Path, data: Path, split: str, likely: tuple[int, ...], frequent: tuple[int, ...]) -> None:
    tokenizer = open_translator(model, runtime="auto").tokenizer
    rows = read_split(data, "train")
    pairs = [
        (tokenizer.encode(source), tokenizer.encode_target(target))
        for source, target in zip(rows["source"], rows["target"], strict=True)
    ]
    size = max(tokenizer.vocab_size, tokenizer.target_vocab_size)  # of ids on either side
    table = likely_pieces(pairs, size, max(likely))
    counts = np.bincount(np.concatenate([target for _, target in pairs]), minlength=size)
    sources = sorted(map(tokenizer.encode, read_split(data, split)["source"]), key=len)
    best = translations(model, sources)
    found = []
    for k, n in product(likely, frequent):
        common = np.zeros(size, bool)
        common[[*range(EOS + 1), *np.argsort(-counts, kind="stable")[:n].tolist()]] = True
        own = np.repeat(common[None], len(sources), axis=0)
        for row, source in zip(own, sources, strict=True):
            row[table[source, :k]] = True
        of_batches = [own[first : first + _BATCH].any(axis=0).sum() for first in range(0, len(own), _BATCH)]
        found.append(
            {
                "k": k,
                "n": n,
                "covered": round(float(np.mean([row[ids].all() for row, ids in zip(own, best, strict=True)])), 4),
                "pieces_of_one": round(float(own.sum(axis=1).mean())),
                f"pieces_of_{_BATCH}": round(float(np.mean(of_batches))),
            }
        )
    about = {"vocabulary": tokenizer.target_vocab_size, "in_training": int((counts > 0).sum())}
    click.echo(json.dumps(about | {"shortlists": found}, indent=1))


if __name__ == "__main__":
    main(prog_name="python -m eval.bench.shortlists")
