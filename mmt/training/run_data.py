"""The data of a run: tokenizer, training split, additional datasets; checked before training starts."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from mmt.data.batch import ROW_COLUMNS, Example, check_images, encode_rows, read_examples
from mmt.data.dataset import DatasetInfo, has_translations, open_split, read_info, read_rows, read_split
from mmt.data.feature_store import FeatureStore
from mmt.data.labels import with_labels
from mmt.data.masking import check_masked_alike, read_probe
from mmt.data.pretrained_tokenizer import open_tokenizer
from mmt.data.reader import BLOCK, Streamed
from mmt.data.tagged_tokenizer import language_tag, write_languages
from mmt.data.tokenizer import TOKENIZER, Tokenizer, copy_tokenizer, train_tokenizer
from mmt.errors import MMTError, nearest
from mmt.io.processes import num_processes, rank
from mmt.io.terminal import console
from mmt.model.card import ModelCard, read_card
from mmt.model.config import ADAPTER_SETTINGS, DROPOUT_SETTINGS, IMAGE_SETTINGS, MMTConfig, ModelSizes
from mmt.model.pretrained.base import Base
from mmt.training.config import BesideSection, TrainConfig
from mmt.training.multilingual import first_of_each_pair, has_several_pairs, read_datasets
from mmt.training.run_file import RUN_TOKENIZER
from mmt.training.tasks import Objectives

TOKENIZER_TIMEOUT = 1800.0
"""Seconds that a rank waits for the tokenizer that rank 0 trains."""

_MAX_PAIRS = 1_000_000  # from which the vocabulary of a streamed split is learned


def read_labelled(
    config: TrainConfig, split: str, tokenizer: Tokenizer, features: FeatureStore | None, labels: list[str]
) -> list[Example]:
    """A split of the run's dataset, with the labels and scores that it learns; or of its several datasets."""
    if config.data.datasets is not None:
        infos = [read_info(folder) for folder in config.data.datasets]
        return read_datasets(config, split, infos, tokenizer, features)
    data = data_folder(config)
    return with_labels(
        read_examples(data, split, tokenizer.tagged(read_info(data).tag), features, config.images.missing),
        data,
        split,
        label=config.data.label,
        names=labels,
        rare_ones_left_out=config.data.num_labels is not None,
        score=config.data.score,
    )


def read_training(
    config: TrainConfig, tokenizer: Tokenizer, features: FeatureStore | None, labels: list[str]
) -> tuple[list[Example], int]:
    """The training split without pairs over ``data.max_length``, and their number.

    Raises:
        MMTError: no pair is left.
    """
    whole = read_labelled(config, config.data.train_split, tokenizer, features, labels)
    short = drop_long(whole, longest(config))
    if not short:
        raise MMTError(f"data.max_length: {config.data.max_length} pieces leave no sentence. Set it higher.")
    return short, len(whole) - len(short)


def longest(config: TrainConfig) -> int:
    """``data.max_length``, or the model's positions if there are fewer."""
    return min(config.data.max_length, config.model.max_length)


def drop_long(examples: list[Example], max_length: int) -> list[Example]:
    """Those with fewer than ``max_length`` pieces on either side, or at most that many with eos or prompt."""
    return [e for e in examples if max(len(e.source) + 1, len(e.prompt) + len(e.target)) <= max_length]


def open_streamed(
    config: TrainConfig, info: DatasetInfo, tokenizer: Tokenizer, features: FeatureStore | None
) -> Streamed:
    """Opens the training split for reading in streams.

    Raises:
        MMTError: there is no such split, or rows have images and none of them has features.
    """
    folder, split = data_folder(config), config.data.train_split
    rows = open_split(folder, split)
    tokenizer = tokenizer.tagged(info.tag)

    def examples(first: int, end: int) -> list[Example]:
        columns = read_rows(rows, ROW_COLUMNS, first, end)
        encoded = encode_rows(columns, first, split, tokenizer, features, config.images.missing)
        return drop_long(encoded, longest(config))

    examples(0, min(BLOCK, len(rows)))  # reports now what is wrong with all rows
    if features is not None:
        sample: dict[str, list[Any]] = {"image": [], "has_image": []}
        for first in range(0, len(rows), max(1, len(rows) // 64)):
            for name, values in read_rows(rows, tuple(sample), first, min(first + 64, len(rows))).items():
                sample[name] += values
        check_images(sample, features, folder, split)
    return Streamed(rows, examples, info.splits[split].images_found)


def data_folders(config: TrainConfig) -> list[Path]:
    """``data.datasets``, or ``data.path`` alone."""
    return [data_folder(config)] if config.data.datasets is None else list(config.data.datasets)


def data_folder(config: TrainConfig) -> Path:
    """``data.path``. Raises MMTError if it is missing, as ``mmt.training.config_checks`` does."""
    if config.data.path is None:
        raise MMTError("data.path is missing.")
    return config.data.path


def check_translations(config: TrainConfig, infos: Sequence[DatasetInfo]) -> None:
    """Raises MMTError if a run learns or chooses checkpoints by translations that its dataset lacks."""
    folders, objectives = data_folders(config), config.objectives
    if not Objectives.of(config).writes:
        return
    for folder in folders if objectives.translation or objectives.faithful else ():
        if not has_translations(folder, config.data.train_split):
            raise MMTError(
                f"{folder}: '{config.data.train_split}' has no translations, which objectives.translation and "
                "objectives.faithful need. Make them with mmt prepare translated, or set both to 0."
            )
    for folder in (folders[number] for number in first_of_each_pair(infos)):
        if has_translations(folder, config.data.valid_split):
            continue
        if config.regime.patience is not None:
            raise MMTError(
                f"{folder}: '{config.data.valid_split}' has no translations, so that no validation score can end "
                "the training early. Set regime.patience: null. The last checkpoint becomes the model."
            )
        if config.decoding.length_penalty == "val":
            raise MMTError(
                f"{folder}: '{config.data.valid_split}' has no translations to choose the length penalty by. Set "
                "decoding.length_penalty to a number, such as 1."
            )


# --- additional datasets ----------------------------------------------------------------------------------


def check_beside(one: BesideSection, info: DatasetInfo, data: Path) -> DatasetInfo:
    """Raises MMTError if an additional dataset has no such split, or is in other languages than ``data``."""
    other = read_info(one.data)
    if one.split not in other.splits:
        raise MMTError(f"beside: {one.data}: no split '{one.split}'.{nearest(one.split, other.splits)}")
    ours, theirs = (f"{i.source_lang}-{i.target_lang}" for i in (info, other))
    if one.task == "retrieval":  # reads no translations
        ours, theirs = info.source_lang, other.source_lang
    if ours != theirs:
        raise MMTError(f"beside: {one.data}: expected {ours}, as {data} has it, found {theirs}.")
    return other


def read_beside(
    one: BesideSection, tokenizer: Tokenizer, features: FeatureStore | None, config: TrainConfig
) -> list[Example]:
    """Raises MMTError if an additional dataset has no sentence for its task."""
    own = tokenizer.tagged(read_info(one.data).tag)
    examples = read_examples(one.data, one.split, own, features, config.images.missing)
    if one.task == "retrieval":
        examples = [replace(e, target=[]) for e in examples if e.image is not None]
    kept = drop_long(examples, longest(config))
    if not kept:
        raise MMTError(
            f"beside: {one.data}: no sentence of '{one.split}' is left to learn {one.task} from. Retrieval wants "
            "images with features; data.max_length leaves out what is longer."
        )
    if rank() == 0:
        left_out = f", {len(examples) - len(kept):,} too long left out" if len(kept) < len(examples) else ""
        console(err=True).print(f"beside: {one.data}: {len(kept):,} for {one.task}{left_out}", soft_wrap=True)
    return kept


# --- the model to start from ------------------------------------------------------------------------------


def check_start(config: TrainConfig, infos: Sequence[DatasetInfo], base: Base | None) -> ModelCard | None:
    """The card of the model to start from, if there is one.

    Args:
        base: of ``model.text``.
    Raises:
        MMTError: it has other languages, sizes or another base than the run.
    """
    folder = config.start.model
    if folder is None:
        return None
    card = read_card(folder)
    for data, info in zip(data_folders(config), infos, strict=True):
        card.check_languages((info.source_lang, info.target_lang or card.target_lang), folder, data)
    if card.text.get("sha256") != (None if base is None else base.sha256):
        theirs = f"was trained on {card.text['name']}" if card.text else "has a text model of its own"
        remedy = card.text["name"] if card.text else f"mmt:{folder}, and no start.model, to train on it"
        raise MMTError(
            f"start.model: {folder} {theirs}, model.text is {config.model.text}. Set model.text: {remedy}."
        )
    own = asdict(MMTConfig())
    if base is None and any(card.config.get(name, own[name]) != own[name] for name in _NOT_IN_CONFIG):
        raise MMTError(
            f"start.model: {folder} has a pretrained text model. Set model.text: mmt:{folder}, and no start.model."
        )
    free = {"fusion", "text", *DROPOUT_SETTINGS, *ADAPTER_SETTINGS}
    if card.config.get("fusion", "none") == "none" and "contrastive" not in card.config.get("heads", ()):
        free |= {*IMAGE_SETTINGS}
    for size in fields(ModelSizes):
        if size.name not in free:
            ours, theirs = getattr(config.model, size.name), card.config.get(size.name, size.default)
            if ours != theirs:
                raise MMTError(
                    f"start.model: {folder} has {size.name} {theirs}, model.{size.name} is {ours}. "
                    f"Set model.{size.name}: {theirs}."
                )
    return card


_NOT_IN_CONFIG = (
    "activation",
    "positions",
    "scaled_embedding",
    "output_bias",
    "target_vocab_size",
    "norm_eps",
    "pooling",
)


def check_masks(tokenizer: Tokenizer, infos: Sequence[DatasetInfo], where: str) -> None:
    """Raises MMTError, beginning with ``where``, if a pretrained tokenizer would split a mask into pieces."""
    for info in infos:
        if info.probe:
            check_masked_alike(tokenizer, {}, read_probe(info.probe, info.name), where)


# --- the tokenizer ----------------------------------------------------------------------------------------


def prepare_tokenizer(output: Path, config: TrainConfig, base: Base | None = None) -> Tokenizer:
    """The run's tokenizer: trained on the training split by rank 0, or that of a base or a model to start from.

    Raises:
        MMTError: the vocabulary is too small or too large for the text, or rank 0 has not made it in time.
    """
    path = output / RUN_TOKENIZER
    if not path.exists() and rank() == 0:
        if base is not None:
            base.write_tokenizer(output)
        elif config.start.model is not None:
            copy_tokenizer(config.start.model / TOKENIZER, output)
        else:
            _train_tokenizer(path, config)
    _wait_for(path)
    return open_tokenizer(output)


def _train_tokenizer(path: Path, config: TrainConfig) -> None:
    """Trains the vocabulary of all languages of the run, on the first dataset of each language pair.

    It has a tag for each target language, if there are several pairs, and the tags of the datasets.
    """
    own, split, streamed = data_folders(config), config.data.train_split, config.data.streams > 0
    infos = [read_info(folder) for folder in own]
    firsts = [own[number] for number in first_of_each_pair(infos)]
    lines = itertools.chain.from_iterable(_sentences(folder, split, streamed=streamed) for folder in firsts)
    several = has_several_pairs(infos)
    infos += [read_info(one.data) for one in config.beside]
    symbols = dict.fromkeys(info.probe["symbol"] for info in infos if info.probe)
    languages: list[str] = []
    if several:
        languages = sorted({code for info in infos for code in (info.source_lang, info.target_lang)})
        write_languages(path.parent, languages)
    tags = dict.fromkeys([*map(language_tag, languages), *(info.tag for info in infos if info.tag)])
    train_tokenizer(lines, config.text.vocab_size, path, list(symbols), list(tags))


def _wait_for(path: Path) -> None:
    """Waits until rank 0 has written ``path``."""
    start, told = time.monotonic(), False
    while not path.exists():
        waited = time.monotonic() - start
        if waited > TOKENIZER_TIMEOUT:
            raise MMTError(
                f"{path}: expected process 0 to make it, found none after {waited / 60:.0f} minutes. See its "
                f"message; all processes ({num_processes()}) must see the same folder."
            )
        if waited > 60 and not told:
            told = True
            console(err=True).print(
                f"process {rank()} waits for {path}, which process 0 makes. All must see the same folder.",
                soft_wrap=True,
            )
        time.sleep(0.2)


def _sentences(folder: Path, split: str, *, streamed: bool) -> Iterator[str]:
    """Source and target sentences to learn the vocabulary from; some blocks of a large streamed split."""
    if not streamed:
        rows = read_split(folder, split)
        yield from (line for side in ("source", "target") for line in rows[side])
        return
    rows = open_split(folder, split)
    step = BLOCK * -(-len(rows) // _MAX_PAIRS)
    for first in range(0, len(rows), step):
        columns = read_rows(rows, ("source", "target"), first, min(first + BLOCK, len(rows)))
        yield from (line for side in columns.values() for line in side)
