"""A run on several datasets of different language pairs: their sentences together, for one model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mmt.data.batch import Example, read_examples
from mmt.data.dataset import DatasetInfo, SplitInfo
from mmt.data.feature_store import FeatureStore
from mmt.data.sampling import TemperatureSampling
from mmt.data.tokenizer import Tokenizer
from mmt.errors import MMTError, nearest
from mmt.training.config import TrainConfig

SEVERAL = "mul"
"""The language of a side that has several (ISO 639)."""


def pair_of(info: DatasetInfo) -> str:
    """``en-de``"""
    return f"{info.source_lang}-{info.target_lang}"


def joined_info(infos: Sequence[DatasetInfo], folders: Sequence[Path], splits: Sequence[str]) -> DatasetInfo:
    """The description of several datasets together; of a single one, its own.

    Args:
        splits: those that the run reads.
    Raises:
        MMTError: a dataset lacks one of them, or a language pair occurs twice.
    """
    if len(infos) == 1:
        return infos[0]
    pairs = [pair_of(info) for info in infos]
    for place, pair in enumerate(pairs):
        if pair in pairs[:place]:
            raise MMTError(
                f"data.datasets: {folders[pairs.index(pair)]} and {folders[place]} are both {pair}: expected "
                "one dataset for each pair of languages. Leave one out."
            )
    joined = {}
    for split in splits:
        for info, folder in zip(infos, folders, strict=True):
            if split not in info.splits:
                raise MMTError(f"data.datasets: {folder}: no split '{split}'.{nearest(split, info.splits)}")
        of_split = [info.splits[split] for info in infos]
        text = "\n".join(f"{pair} {one.checksum}" for pair, one in zip(pairs, of_split, strict=True))
        joined[split] = SplitInfo(
            sum(one.sentences for one in of_split),
            sum(one.images_found for one in of_split),
            sum(one.images_missing for one in of_split),
            hashlib.sha256(text.encode()).hexdigest(),
        )
    name = f"{'+'.join(dict.fromkeys(info.name for info in infos))} ({', '.join(pairs)})"
    sources, targets = {info.source_lang for info in infos}, {info.target_lang for info in infos}
    source, target = (one.pop() if len(one) == 1 else SEVERAL for one in (sources, targets))
    return DatasetInfo(name, source, target, "", joined)


def read_datasets(
    config: TrainConfig,
    split: str,
    infos: Sequence[DatasetInfo],
    tokenizer: Tokenizer,
    features: FeatureStore | None,
) -> list[Example]:
    """A split of ``data.datasets``, one dataset after the other, each sentence with the tag of its target."""
    examples: list[Example] = []
    for number, (folder, info) in enumerate(zip(config.data.datasets or (), infos, strict=True)):
        bound = tokenizer.for_languages(info.source_lang, info.target_lang)
        rows = read_examples(folder, split, bound, features, config.images.missing)
        examples += [replace(example, dataset=number) for example in rows]
    return examples


def sampling_of(config: TrainConfig, examples: Sequence[Example]) -> TemperatureSampling | None:
    """How an epoch samples the training sentences; None if it reads each once.

    Raises:
        MMTError: a dataset has no sentence, as all are too long.
    """
    datasets = config.data.datasets
    if datasets is None or config.data.temperature == 1:
        return None
    sizes = [0] * len(datasets)
    for example in examples:
        sizes[example.dataset] += 1
    if 0 in sizes:
        raise MMTError(
            f"data.datasets: {datasets[sizes.index(0)]}: data.max_length ({config.data.max_length}) leaves no "
            "sentence. Set it higher."
        )
    return TemperatureSampling(sizes, config.data.temperature)
