"""An ensemble: several models that translate as one, by the mean of their probabilities. In any runtime; no torch.

Each step of the search takes log(mean of p) of the next token, in float32, as fairseq, OpenNMT and Marian
do. So members need the same target vocabulary and languages, and may differ in everything else.

Legend: N sentences, B beams, V vocabulary, W candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from mmt.data.feature_signature import FeatureSignature, JoinedSignature
from mmt.data.feature_store import FeatureStore, side_by_side
from mmt.data.tokenizer import BOS, EOS, PAD
from mmt.errors import MMTError, local_path
from mmt.inference.named import built_in_model
from mmt.inference.onnx_runtime import ExportedTranslator
from mmt.inference.runtime_model import ImageFeatures, ImageFile
from mmt.inference.search import Candidates, DecodingState, FloatArray, IntArray
from mmt.inference.translator import BaseTranslator, SentenceBatch
from mmt.io.hub import hub_model, is_hub_name
from mmt.io.text_files import file_checksum
from mmt.model.card import CARD, ModelCard, read_card
from mmt.model.config import is_base

if TYPE_CHECKING:
    from mmt.data.dataset import DatasetInfo

Models: TypeAlias = str | Path | Sequence[str | Path]
"""A model folder, an exported model, the name of a model that comes with mmt, ``hub:OWNER/NAME``, or
FAMILY:NAME_OR_FOLDER; or several of them, in a list or joined by ``+``."""

_Result = TypeVar("_Result")
_Number = TypeVar("_Number", np.float32, np.float64)

_BLOCK = 100  # tokens of which ``best_candidates`` compares the best first


def members_of(models: Models) -> list[Path]:
    """The models that ``models`` names, one by one.

    A ``+`` in the name of a folder stays: text is cut where what is before the ``+`` is a model.

    Raises:
        MMTError: an empty list, or a URL.
    """
    if not isinstance(models, str | Path):
        if not models:
            raise MMTError("expected a model folder, or several for an ensemble, found an empty list. Name one.")
        return [member for one in models for member in members_of(one)]
    whole = str(models)
    if _is_model(whole):
        return [_path(whole)]
    found, rest = [], ""
    for part in whole.split("+"):
        rest = f"{rest}+{part}" if rest else part
        if _is_model(rest):
            found.append(rest)
            rest = ""
    return [_path(one) for one in [*found, *(rest.split("+") if rest else ())]]


def _is_model(name: str) -> bool:
    if is_base(name):
        return "+" not in name or Path(name.partition(":")[2]).exists()
    return built_in_model(name) is not None or (Path(name) / CARD).is_file()


def _path(name: str) -> Path:
    if is_hub_name(name):
        return hub_model(name)
    return Path(name) if is_base(name) else built_in_model(name) or local_path(name)


def read_joint_card(models: Models) -> ModelCard:
    """The card of a model, or ``joint_card`` of an ensemble; of a pretrained text model an empty one.

    Raises:
        MMTError: as ``members_of`` and ``read_card``.
    """
    cards = [ModelCard({}, "", "") if is_base(folder) else read_card(folder) for folder in members_of(models)]
    return cards[0] if len(cards) == 1 else joint_card(cards)


def languages_for(
    models: Models, info: DatasetInfo, data: Path, *, source_only: bool = False
) -> tuple[str | None, str | None]:
    """The dataset's source and target language for models that have several; None for models of one pair.

    Args:
        data: the dataset's folder, for messages.
        source_only: the models need not write the dataset's target language, only read its source language.
    Raises:
        MMTError: the dataset is in other languages than those that a member translates.
    """
    languages = (info.source_lang, info.target_lang)
    several = False
    for member in members_of(models):
        if is_base(member):
            several = True
            continue
        card = read_card(member)
        several = several or card.has_several_pairs
        if not source_only:
            card.check_languages(languages, member, data)
        elif card.source_lang != info.source_lang and "mul" not in (card.source_lang, info.source_lang):
            raise MMTError(
                f"{data}: expected '{card.source_lang}', which {member} reads, found '{info.source_lang}'."
            )
    return languages if several else (None, None)


def have_several_pairs(models: Models) -> bool:
    """Whether one of the models was trained by mmt on several language pairs."""
    return any(not is_base(one) and read_card(one).has_several_pairs for one in members_of(models))


def identity_of(models: Models) -> str:
    """What is equal for equal models: checksums of cards, and names of pretrained text models."""
    return "+".join(str(one) if is_base(one) else file_checksum(one / CARD) for one in members_of(models))


def joint_card(cards: Sequence[ModelCard]) -> ModelCard:
    """What an ensemble says of itself: how it translates is the first member's; the features are all members'."""
    sets: list[FeatureSignature] = []
    for card in cards:
        own = card.features.sets if card.features is not None else ()
        sets += [one for one in own if _place(one, sets) is None]
    return ModelCard(
        {"fusion": " + ".join(str(card.config.get("fusion", "none")) for card in cards)},
        cards[0].source_lang,
        cards[0].target_lang,
        JoinedSignature.of(sets) if sets else None,
        cards[0].decoding,
        {"members": [card.training for card in cards]},
    )


def _place(signature: FeatureSignature, sets: Sequence[FeatureSignature]) -> int | None:
    return next((place for place, one in enumerate(sets) if not one.differences(signature)), None)


class EnsembleTranslator(BaseTranslator):
    """Translates with several models, each in its own runtime.

    Its images have the features of all members side by side, as those of a model of several feature sets; a member
    takes its own part, and a text-only member none.
    """

    def __init__(
        self, members: Sequence[BaseTranslator], names: Sequence[object], features: FeatureStore | None = None
    ) -> None:
        """
        Args:
            members: at least one.
            names: of the members, for messages.
            features: of all sets of features of the members, each set once, in the members' order.
        Raises:
            MMTError: a member that writes nothing, or members of other languages or vocabularies; as
                ``RuntimeModel``.
        """
        for member, name in zip(members, names, strict=True):
            _check_fits(member, name, members[0], names[0])
        super().__init__(members[0].tokenizer, joint_card([member.card for member in members]), features)
        self._members = tuple(members)
        self._names = tuple(names)
        sets = self.card.features.sets if self.card.features is not None else ()
        self._places = [_places(member.card.features, sets) for member in members]

    def set_languages(self, source: str | None = None, target: str | None = None) -> None:
        for member in self.members:
            member.set_languages(source, target)
        EnsembleTranslator.__init__(self, self.members, self._names, self.features)

    @property
    def runtime(self) -> str:
        return " + ".join(dict.fromkeys(member.runtime for member in self.members))

    @property
    def members(self) -> Sequence[BaseTranslator]:
        return self._members

    @property
    def num_positions(self) -> int:
        return min(member.num_positions for member in self.members)

    @property
    def _runner(self) -> BaseTranslator:
        """The member whose runtime spreads batches over threads: one in torch, if any, as torch has its own."""
        return next((one for one in self.members if not isinstance(one, ExportedTranslator)), self.members[0])

    @property
    def num_threads(self) -> int:
        return self._runner.num_threads

    def in_parallel(
        self, work: Callable[[SentenceBatch], _Result], batches: Sequence[SentenceBatch]
    ) -> Iterator[_Result]:
        return self._runner.in_parallel(work, batches)

    def restrict_vocabulary(self, text: Path) -> None:
        for member in self.members:
            member.restrict_vocabulary(text)

    @property
    def vocabulary(self) -> IntArray | None:
        """The ids with which all members write."""
        own = [ids for ids in (member.vocabulary for member in self.members) if ids is not None]
        if not own:
            return None
        common = own[0]
        for ids in own[1:]:
            common = np.intersect1d(common, ids)
        return common

    def prepare(self, beams: int, guidance: float) -> Callable[[SentenceBatch, int], DecodingState]:
        begins = [member.prepare(beams, guidance) for member in self.members]
        common = self.vocabulary
        columns = [_columns(member.vocabulary, common) for member in self.members]

        def begin(batch: SentenceBatch, limit: int) -> DecodingState:
            states = [
                start(batch._replace(images=images), limit)
                for start, images in zip(begins, self._images(batch.images), strict=True)
            ]
            return EnsembleState(states, columns, common)

        return begin

    def token_log_probs(
        self,
        sources: list[list[int]],
        images: list[ImageFeatures | None],
        targets: list[list[int]],
    ) -> list[NDArray[np.float64]]:
        found = [
            member.token_log_probs(sources, own, targets)
            for member, own in zip(self.members, self._images(images), strict=True)
        ]
        return [log_mean(tokens) for tokens in zip(*found, strict=True)]

    def _images(self, images: Sequence[ImageFeatures | None]) -> list[list[ImageFeatures | None]]:
        """Each member's part of the features; None for a member without images."""
        if self.card.features is None:
            return [list(images) for _ in self.members]
        ends = np.cumsum([one.num_regions for one in self.card.features.sets]).tolist()
        found: list[list[ImageFeatures | None]] = []
        for member, places in zip(self.members, self._places, strict=True):
            if member.card.features is None:
                found.append([None] * len(images))
                continue
            sets, width = self.card.features.sets, member.card.features.dim
            rows = np.concatenate(
                [np.arange(ends[place] - sets[place].num_regions, ends[place]) for place in places]
            )
            found.append([None if image is None else image[rows, :width] for image in images])
        return found

    def read_images(self, images: Sequence[ImageFile]) -> NDArray[np.float32]:
        parts: dict[int, NDArray[np.float32]] = {}
        for member, places in zip(self.members, self._places, strict=True):
            if member.card.features is None or parts.keys() >= set(places):
                continue
            rows, start = member.read_images(images), 0
            for place, one in zip(places, member.card.features.sets, strict=True):
                parts[place] = rows[:, start : start + one.num_regions, : one.dim]
                start += one.num_regions
        return side_by_side([parts[place] for place in sorted(parts)])

    def check_image(self, path: Path) -> None:
        next(member for member in self.members if member.card.features is not None).check_image(path)

    def notes(self) -> list[str]:
        return sorted({note for member in self.members for note in member.notes()})


def _places(features: FeatureSignature | None, sets: Sequence[FeatureSignature]) -> list[int]:
    """Where a member's sets of features are among the ensemble's."""
    own = features.sets if features is not None else ()
    return [place for one in own if (place := _place(one, sets)) is not None]


def _columns(own: IntArray | None, common: IntArray | None) -> IntArray | None:
    """Where the common ids are among those with which a member writes; None: they are the same."""
    if common is None or (own is not None and len(own) == len(common)):
        return None
    return common if own is None else np.searchsorted(own, common)


def _check_fits(member: BaseTranslator, name: object, first: BaseTranslator, first_name: object) -> None:
    """Raises MMTError unless the member can be in an ensemble with the first."""
    try:
        member.card.refuse_writing()
    except MMTError as error:
        raise MMTError(f"{name}: {error}") from None
    pairs = [f"{one.card.source_lang}-{one.card.target_lang}" for one in (first, member)]
    if pairs[0] != pairs[1]:
        raise MMTError(
            f"{name}: expected a model of {pairs[0]}, as {first_name} is, found one of {pairs[1]}. An ensemble "
            "needs models of the same languages."
        )
    ours, theirs = first.tokenizer, member.tokenizer
    for what, (mine, other) in {
        "target vocabularies": [one.target_pieces(range(one.target_vocab_size)) for one in (ours, theirs)],
        "source vocabularies": [one.pieces(range(one.vocab_size)) for one in (ours, theirs)],
        "language tags": [one.pieces([*one.source_prefix, *one.prompt]) for one in (ours, theirs)],
    }.items():
        if mine != other:
            raise MMTError(
                f"{first_name} and {name}: their {what} differ ({_difference(mine, other)}). The models of an "
                "ensemble need the same tokenizer: train them on the same data with the same text.vocab_size."
            )


def _difference(mine: Sequence[str], other: Sequence[str]) -> str:
    pairs = enumerate(zip(mine, other, strict=False))
    first = next((f": number {n:,} is '{one}' and '{two}'" for n, (one, two) in pairs if one != two), "")
    return f"{len(mine):,} and {len(other):,} pieces{first}"


class EnsembleState(DecodingState):
    """``mmt.inference.search.DecodingState`` of several, which all have the same beams."""

    def __init__(
        self,
        states: Sequence[DecodingState],
        columns: Sequence[IntArray | None],
        vocabulary: IntArray | None,
    ) -> None:
        """``columns``: of each member, see ``_columns``; ``vocabulary``: the ids with which all write, or None."""
        self._states, self._columns, self._vocabulary = states, columns, vocabulary

    def feed(self, tokens: IntArray) -> None:
        for state in self._states:
            state.feed(tokens)

    def log_probs(self, tokens: IntArray) -> FloatArray:
        found = [state.log_probs(tokens) for state in self._states]
        same = [
            log_p if columns is None else log_p[:, :, columns]
            for log_p, columns in zip(found, self._columns, strict=True)
        ]
        return log_mean(same)

    def step(self, tokens: IntArray, scores: FloatArray, width: int) -> Candidates:
        log_p = self.log_probs(tokens)
        log_p[:, :, PAD] = log_p[:, :, BOS] = -np.inf
        ends = log_p[:, :, EOS] + scores
        score, beam, token = best_candidates(log_p, scores, width)
        return Candidates(score, beam, token if self._vocabulary is None else self._vocabulary[token], ends)

    def reorder(self, parents: IntArray) -> None:
        for state in self._states:
            state.reorder(parents)

    def select(self, sentences: IntArray) -> None:
        for state in self._states:
            state.select(sentences)


def log_mean(log_probs: Sequence[NDArray[_Number]]) -> NDArray[_Number]:
    """The logarithm of the mean of probabilities, from their logarithms, which have one shape and may be -inf."""
    highest: NDArray[Any] = reduce(np.maximum, log_probs)
    highest = np.maximum(highest, np.finfo(highest.dtype).min)  # -inf - -inf is no number
    total = np.zeros_like(highest)
    for log_p in log_probs:
        total += np.exp(log_p - highest)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(total / len(log_probs)) + highest)


def best_candidates(log_p: FloatArray, scores: FloatArray, width: int) -> tuple[FloatArray, IntArray, IntArray]:
    """The best continuations of each sentence, as ``mmt.inference.beam.best_candidates``, in NumPy.

    Args:
        log_p: (N, B, V) of the next token; scores: (N, B) of the beams.
        width: W, or B * (V - 1) if that is less.
    Returns:
        score, beam and token, (N, W) each, best first.
    """
    num, beams, vocab_size = log_p.shape
    width = min(width, beams * (vocab_size - 1))
    total = (log_p + scores[:, :, None]).reshape(num, -1)
    # The W best are in the W blocks whose maxima are highest: only these are sorted.
    total = np.pad(total, ((0, 0), (0, -total.shape[1] % _BLOCK)), constant_values=-np.inf)
    blocks = total.reshape(num, -1, _BLOCK)
    where = _highest(blocks.max(axis=2), min(width, blocks.shape[1]))
    inside = np.take_along_axis(blocks, where[:, :, None], 1).reshape(num, -1)
    place = _highest(inside, width)
    score = np.take_along_axis(inside, place, 1)
    place = np.take_along_axis(where, place // _BLOCK, 1) * _BLOCK + place % _BLOCK
    # A place in the padding scores -inf and is never continued, but it needs an id that exists.
    place = np.minimum(place, beams * vocab_size - 1)
    return score, place // vocab_size, place % vocab_size


def _highest(values: FloatArray, count: int) -> IntArray:
    """(N, any) to the places (N, count) of the highest values, highest first."""
    places = np.argpartition(-values, count - 1, axis=1)[:, :count]
    order = (-np.take_along_axis(values, places, 1)).argsort(axis=1, kind="stable")
    return np.take_along_axis(places, order, 1)
