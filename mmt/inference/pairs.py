"""Files of given translations: writes their scores, or reranks them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mmt.data.domain import is_out_of_domain
from mmt.data.inputs import Line
from mmt.data.tokenizer import Tokenizer
from mmt.inference.files import FileProcessor, out_of_domain, write_output
from mmt.inference.runtime_model import RuntimeModel
from mmt.inference.scoring import PairScore, corpus_perplexity, rescore, score_pairs
from mmt.io.atomic import replacing
from mmt.io.formats import packing, writes_json
from mmt.io.terminal import counted


@dataclass(frozen=True)
class PairFiles:
    """Lines with their images, whose translations are scored.

    images: of each line, as ``FileProcessor.image`` gives it.
    max_tokens: as in ``score_pairs``.
    """

    loaded: RuntimeModel
    lines: Sequence[Line]
    images: Sequence[str | Path | None]
    max_tokens: int
    bar: tqdm[Any]

    def rerank(
        self,
        candidates: Sequence[Sequence[tuple[str, float]]],
        old_weight: float,
        keep: int | None,
        path: Path | None,
    ) -> str:
        """Writes each line's candidates, reranked; returns a summary."""
        ranked = rescore(
            self.loaded,
            [line.source for line in self.lines],
            candidates,
            self.images,
            old_weight=old_weight,
            max_tokens=self.max_tokens,
            progress=self.bar.update,
        )
        changed = sum(new[0].text != old[0][0] for new, old in zip(ranked, candidates, strict=True))
        most = keep or max(2, *map(len, ranked))
        write_output(zip(self.lines, (new[:most] for new in ranked), strict=True), path, most)
        total = counted(sum(map(len, candidates)), "translation")
        return f"{counted(len(self.lines), 'sentence')}, {total}, another one first in {changed:,}"

    def score(self, targets: Sequence[str], also_blank: bool, path: Path | None) -> str:
        """Writes the score of each pair; returns a summary."""
        # In one call, so that a pair without image has exactly the same score twice.
        times, count = 1 + also_blank, len(self.lines)
        scores = score_pairs(
            self.loaded,
            [line.source for line in self.lines] * times,
            [*targets] * times,
            [*self.images] + [None] * (count * also_blank),
            max_tokens=self.max_tokens,
            progress=self.bar.update,
        )
        _write_scores(scores, count, path)
        summary = f"{counted(count, 'pair')}, corpus perplexity {corpus_perplexity(scores[:count]):.3f}"
        if also_blank:
            summary += f" ({corpus_perplexity(scores[count:]):.3f} without images)"
        return f"{summary}, {sum(score.with_image for score in scores):,} with image"


def unusual(files: FileProcessor, lines: Sequence[Line], tokenizer: Tokenizer) -> str:
    """The summary's note on missing images and lines out of domain."""
    num_missing = len(files.counts.missing_images)
    missing = f", {counted(num_missing, 'image')} missing" if num_missing else ""
    strange = [n for n, line in enumerate(lines, 1) if is_out_of_domain(tokenizer, tokenizer.encode(line.source))]
    return missing + out_of_domain(len(strange), *strange[:1], by_bytes=tokenizer.training is None)


def _write_scores(scores: Sequence[PairScore], num_pairs: int, path: Path | None) -> None:
    """Writes one line for each pair, atomically; ``scores``: of all pairs, then, if any, without images."""
    blanks: list[PairScore | None] = [*scores[num_pairs:]] or [None] * num_pairs
    rows = [_row(score, blank) for score, blank in zip(scores[:num_pairs], blanks, strict=True)]
    as_json = writes_json(path)
    with replacing(path) as whole, packing(whole, path) as stream:
        if not as_json:
            stream.write(("\t".join(rows[0]) + "\n").encode())
        for row in rows:
            text = json.dumps(row) if as_json else "\t".join(json.dumps(value) for value in row.values())
            stream.write((text + "\n").encode())


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
