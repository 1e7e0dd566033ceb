"""Files of given translations: writes their scores, or reranks them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, repeat
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mmt.data.domain import is_out_of_domain
from mmt.data.inputs import Line
from mmt.data.tokenizer import Tokenizer
from mmt.inference.files import CHUNK, FileProcessor, out_of_domain, write_output, write_records
from mmt.inference.runtime_model import RuntimeModel
from mmt.inference.scoring import PairScore, corpus_perplexity, rescore, score_pairs
from mmt.inference.translator import Translation
from mmt.io.formats import writes_json
from mmt.io.shards import Parts, Shard
from mmt.io.terminal import counted


@dataclass(frozen=True)
class PairFiles:
    """Lines with their images, whose translations are scored in chunks of ``CHUNK`` lines.

    images: of each line, as ``FileProcessor.image`` gives it; those of other shards' lines do not matter.
    max_tokens: as in ``score_pairs``.
    shard: this process's share of the chunks; None is all. parts: where its result goes then.
    """

    loaded: RuntimeModel
    lines: Sequence[Line]
    images: Sequence[str | Path | None]
    max_tokens: int
    bar: tqdm[Any]
    shard: Shard | None = None
    parts: Parts | None = None

    def rerank(
        self,
        candidates: Sequence[Sequence[tuple[str, float]]],
        old_weight: float,
        keep: int | None,
        path: Path | None,
    ) -> str:
        """Writes each line's candidates, reranked; returns a summary."""
        changed = count = total = 0
        most = keep or max(2, *map(len, candidates))
        before = [0, *accumulate(map(len, candidates))]

        def ranked() -> Iterator[tuple[Line, list[Translation]]]:
            nonlocal changed, count, total
            for chunk in self._chunks():
                old = candidates[chunk]
                new = rescore(
                    self.loaded,
                    [line.source for line in self.lines[chunk]],
                    old,
                    self.images[chunk],
                    old_weight=old_weight,
                    max_tokens=self.max_tokens,
                    first=chunk.start + 1,
                    first_candidate=before[chunk.start] + 1,
                    progress=self.bar.update,
                )
                changed += sum(one[0].text != other[0][0] for one, other in zip(new, old, strict=True))
                count, total = count + len(new), total + sum(map(len, new))
                yield from zip(self.lines[chunk], (one[:most] for one in new), strict=True)

        message = write_output(ranked(), path, most, self.parts)
        summary = (
            f"{counted(count, 'sentence')}, {counted(total, 'translation')}, another one first in {changed:,}"
        )
        return _after(message, summary)

    def score(self, targets: Sequence[str], also_blank: bool, path: Path | None) -> str:
        """Writes the score of each pair; returns a summary."""
        as_json = writes_json(path)
        shown: list[PairScore] = []
        blanks: list[PairScore] = []

        def records() -> Iterator[str]:
            times = 1 + also_blank
            for chunk in self._chunks():
                images = self.images[chunk]
                # In one call, so that a pair without image has exactly the same score twice.
                scores = score_pairs(
                    self.loaded,
                    [line.source for line in self.lines[chunk]] * times,
                    [*targets[chunk]] * times,
                    [*images] + [None] * (len(images) * also_blank),
                    max_tokens=self.max_tokens,
                    first=chunk.start + 1,
                    progress=self.bar.update,
                )
                own, of_text = scores[: len(images)], scores[len(images) :]
                shown.extend(own)
                blanks.extend(of_text)
                for number, (score, blank) in enumerate(zip(own, of_text or repeat(None), strict=False)):
                    row = _row(score, blank)
                    # The heading belongs to the first line, as chunks are counted in lines.
                    heading = "\t".join(row) + "\n" if not as_json and chunk.start + number == 0 else ""
                    yield heading + (json.dumps(row) if as_json else "\t".join(map(json.dumps, row.values())))

        message = write_records(records(), path, self.parts)
        if not shown:
            return _after(message, counted(0, "pair"))
        summary = f"{counted(len(shown), 'pair')}, corpus perplexity {corpus_perplexity(shown):.3f}"
        if also_blank:
            summary += f" ({corpus_perplexity(blanks):.3f} without images)"
        return _after(message, f"{summary}, {sum(score.with_image for score in shown):,} with image")

    def _chunks(self) -> Iterator[slice]:
        """The chunks of this shard, as places in the lines."""
        for number, first in enumerate(range(0, len(self.lines), CHUNK)):
            if self.shard is None or self.shard.has(number):
                yield slice(first, min(first + CHUNK, len(self.lines)))


def _after(message: str, summary: str) -> str:
    return f"{message}\n{summary}" if message else summary


def unusual(files: FileProcessor, lines: Sequence[Line], tokenizer: Tokenizer) -> str:
    """The summary's note on missing images and lines out of domain."""
    num_missing = len(files.counts.missing_images)
    missing = f", {counted(num_missing, 'image')} missing" if num_missing else ""
    strange = [line.number for line in lines if is_out_of_domain(tokenizer, tokenizer.encode(line.source))]
    return missing + out_of_domain(len(strange), *strange[:1], by_bytes=tokenizer.training is None)


def _row(score: PairScore, blank: PairScore | None) -> dict[str, float | int | bool]:
    row = {
        "log_prob": round(score.log_prob, 6),
        "num_tokens": score.num_tokens,
        "perplexity": round(score.perplexity, 6),
        "with_image": score.with_image,
    }
    if blank is not None:
        row |= {"log_prob_blank": round(blank.log_prob, 6), "perplexity_blank": round(blank.perplexity, 6)}
    return row
