"""Forced scoring: the probability of given translations, in any runtime; no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmt.data.buckets import length_batches
from mmt.data.domain import is_out_of_domain
from mmt.errors import MMTError
from mmt.inference.controls import image_key
from mmt.inference.runtime_model import ImageInput, RuntimeModel
from mmt.inference.translator import Translation
from mmt.io.text_files import read_lines

CHUNK = 2048  # pairs in memory with their images' features


@dataclass(frozen=True, slots=True)
class PairScore:
    """The probability of one given translation.

    ``log_prob`` is the natural logarithm of p(target | source, image), summed over the target's ``num_tokens``
    tokens: eos counts, bos does not.
    """

    log_prob: float
    num_tokens: int
    with_image: bool

    @property
    def mean_log_prob(self) -> float:
        """For each token: the logarithm of 1 / perplexity, and the score of beam search with length penalty 1."""
        return self.log_prob / self.num_tokens

    @property
    def perplexity(self) -> float:
        return perplexity(self.log_prob, self.num_tokens)


def perplexity(log_prob: float, num_tokens: int) -> float:
    """exp(-log_prob / num_tokens); inf on overflow."""
    try:
        return math.exp(-log_prob / num_tokens)
    except OverflowError:
        return math.inf


def corpus_perplexity(scores: Sequence[PairScore]) -> float:
    """exp of the mean negative log-probability over all tokens of all pairs."""
    return perplexity(math.fsum(score.log_prob for score in scores), sum(score.num_tokens for score in scores))


def score_pairs(
    loaded: RuntimeModel,
    sources: Sequence[str],
    targets: Sequence[str],
    images: Sequence[ImageInput | None] | None = None,
    *,
    max_tokens: int = 8192,
    first: int = 1,
    progress: Callable[[int], object] | None = None,
) -> list[PairScore]:
    """Scores each given target, in batches of similar length, and returns the scores in order.

    Equal pairs (source, target and image) are scored once, so that their scores are exactly equal: the last digit
    of a score depends on the batch, and must not break a tie.

    Args:
        images: one for each pair, as ``RuntimeModel.features_of`` takes them; None for a pair without. Repeated
            images are read once.
        max_tokens: pairs times the longest side of a batch.
        first: the number of the first pair, in messages.
        progress: called with the number of pairs just finished.
    Raises:
        MMTError: images for a text-only model, an unreadable or unknown image, unequal numbers, a line that is
            empty or longer than the model's ``max_length`` (with its number).
    """
    if len(targets) != len(sources):
        raise MMTError(f"expected one target a source, found {len(targets):,} for {len(sources):,}.")
    if images is not None and len(images) != len(sources):
        raise MMTError(f"expected one image (or None) a pair, found {len(images):,} for {len(sources):,}.")
    source_ids = _encoded(loaded, sources, "source", first)
    target_ids = _encoded(loaded, targets, "target", first)
    for side, lines in (("source", source_ids), ("target", target_ids)):
        if [] in lines:
            raise MMTError(f"{side} line {lines.index([]) + first} is empty: there is nothing to score.")
    return _scored(loaded, source_ids, target_ids, images, max_tokens, progress)


def read_n_best(path: Path, num_sentences: int) -> list[list[tuple[str, float]]]:
    """Reads ``number ||| translation ||| score`` lines, as ``mmt translate --n-best`` writes them.

    Args:
        num_sentences: how many sentences were translated; they are numbered from 0, as Moses and fairseq do.
    Returns:
        For each sentence its translations with their scores, in the file's order.
    Raises:
        MMTError: a line of another shape, a number that is no sentence's, or a sentence without translations.
    """
    candidates: list[list[tuple[str, float]]] = [[] for _ in range(num_sentences)]
    for number, line in enumerate(read_lines(path), 1):
        fields = line.split(" ||| ")
        try:
            sentence, text, score = int(fields[0]), fields[1], float(fields[2])
            if len(fields) > 3 or not math.isfinite(score):
                raise ValueError
        except (ValueError, IndexError):
            raise MMTError(
                f"{path}: line {number}: expected number ||| translation ||| score, as mmt translate --n-best "
                "writes it."
            ) from None
        if not 0 <= sentence < num_sentences:
            raise MMTError(
                f"{path}: line {number}: sentence {sentence}, but there are {num_sentences:,}, from 0 on. "
                "The sources must be the file that was translated."
            )
        candidates[sentence].append((text, score))
    if [] in candidates:
        raise MMTError(
            f"{path}: no translation of sentence {candidates.index([])}; there are {num_sentences:,}, from 0 on. "
            "The sources must be the file that was translated."
        )
    return candidates


def rescore(
    loaded: RuntimeModel,
    sources: Sequence[str],
    candidates: Sequence[Sequence[tuple[str, float]]],
    images: Sequence[ImageInput | None] | None = None,
    *,
    old_weight: float = 0.0,
    max_tokens: int = 8192,
    first: int = 1,
    first_candidate: int = 1,
    progress: Callable[[int], object] | None = None,
) -> list[list[Translation]]:
    """Ranks the translations of an n-best list anew, by what this model thinks of them.

    The new score is (1 - w) * the model's mean log-probability of a token + w * the old score, so that with w = 0
    the list of another system is judged by this model alone. Equal scores keep their old order; the candidates of
    an empty source, which no model made, stay as they are.

    Args:
        candidates: for each source its translations with their old scores, as ``read_n_best`` gives them.
        images: one for each source, or None; see ``score_pairs``.
        old_weight: w above, 0 to 1; sensible where the old scores are mean log-probabilities too.
        max_tokens, first, progress: see ``score_pairs``; progress counts candidates.
        first_candidate: the number of the first candidate, in messages.
    Returns:
        For each source all its translations, best first, with their new scores.
    Raises:
        MMTError: as ``score_pairs``, but an empty translation has a score: that of ending at once.
    """
    if not 0 <= old_weight <= 1:
        raise MMTError(f"weight of the old score: expected 0 to 1, found {old_weight}.")
    if len(candidates) != len(sources):
        raise MMTError(f"expected candidates of {len(sources):,} sources, found those of {len(candidates):,}.")
    if images is None:
        images = [None] * len(sources)
    if len(images) != len(sources):
        raise MMTError(f"expected one image (or None) a source, found {len(images):,} for {len(sources):,}.")
    source_ids = _encoded(loaded, sources, "source", first)
    where = [row for row, texts in enumerate(candidates) for _ in texts if source_ids[row]]
    texts = [text for row, of_source in enumerate(candidates) for text, _ in of_source if source_ids[row]]
    scores = _scored(
        loaded,
        [source_ids[row] for row in where],
        _encoded(loaded, texts, "candidate", first_candidate),
        [images[row] for row in where],
        max_tokens,
        progress,
    )
    following = iter(scores)
    ranked = []
    for row, of_source in enumerate(candidates):
        translations, strange = [], is_out_of_domain(loaded.tokenizer, source_ids[row])
        for text, old in of_source:
            if source_ids[row]:
                score = next(following)
                new = (1 - old_weight) * score.mean_log_prob + old_weight * old
                translations.append(Translation(text, new, score.with_image, strange))
            else:
                translations.append(Translation(text, old, images[row] is not None, strange))
        ranked.append(sorted(translations, key=lambda t: -t.score) if source_ids[row] else translations)
    return ranked


def _encoded(loaded: RuntimeModel, lines: Sequence[str], side: str, first: int = 1) -> list[list[int]]:
    """Ids of each line. Raises MMTError, naming ``side``, for a line that the model has no positions for."""
    target = side != "source"
    most = loaded.max_pieces(target=target)
    known: dict[str, list[int]] = {}  # lines of contrastive pairs and n-best lists come more than once
    encoded = []
    for number, line in enumerate(lines, first):
        if line not in known:
            known[line] = loaded.encode(line, target=target)
        encoded.append(known[line])
        if len(known[line]) > most:
            raise MMTError(
                f"{side} line {number}: {len(known[line]):,} pieces, but the model takes at most {most:,}. "
                "Split the line or leave the pair out."
            )
    return encoded


def _scored(
    loaded: RuntimeModel,
    sources: Sequence[list[int]],
    targets: Sequence[list[int]],
    images: Sequence[ImageInput | None] | None,
    max_tokens: int,
    progress: Callable[[int], object] | None,
) -> list[PairScore]:
    """``score_pairs`` on ids; a target may be empty."""
    loaded.card.refuse_writing()
    if max_tokens < 1:
        raise MMTError(f"max-tokens: expected at least 1, found {max_tokens}.")
    if images is None:
        images = [None] * len(sources)
    if any(image is not None for image in images):
        loaded.refuse_images("images")
    image_number: dict[object, int] = {None: 0}  # in the order in which images come
    rows_of: dict[tuple[int, tuple[int, ...], tuple[int, ...]], list[int]] = {}
    for row, (source, target, image) in enumerate(zip(sources, targets, images, strict=True)):
        number = image_number.setdefault(image_key(image), len(image_number))
        rows_of.setdefault((number, tuple(source), tuple(target)), []).append(row)
    # Pairs of one image are adjacent and in one chunk, so that its features are read once and soon released.
    chunks: list[list[list[int]]] = []
    last = 0
    for (number, _, _), rows in sorted(rows_of.items(), key=lambda item: item[0][0]):
        if not chunks or (len(chunks[-1]) >= CHUNK and (number != last or number == 0)):
            chunks.append([])
        chunks[-1].append(rows)
        last = number
    scores: list[PairScore | None] = [None] * len(sources)
    for chunk in chunks:
        features = loaded.features_of([images[rows[0]] for rows in chunk])
        lengths = [(len(sources[rows[0]]) + 1, len(targets[rows[0]]) + 1) for rows in chunk]
        for batch in reversed(length_batches(lengths, max_tokens)):  # the longest first, see Translator.hypotheses
            log_probs = loaded.log_probs(
                [sources[chunk[i][0]] for i in batch],
                [features[i] for i in batch],
                [targets[chunk[i][0]] for i in batch],
            )
            for i, log_prob in zip(batch, log_probs, strict=True):
                for row in chunk[i]:
                    scores[row] = PairScore(log_prob, lengths[i][1], features[i] is not None)
            if progress is not None:
                progress(sum(len(chunk[i]) for i in batch))
    return [score for score in scores if score is not None]
