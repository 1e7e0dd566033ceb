"""A run on several datasets, of one language pair or of several: their sentences together, for one model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mmt.data.batch import Example, read_examples
from mmt.data.dataset import DatasetInfo, SplitInfo
from mmt.data.feature_store import FeatureStore
from mmt.data.sampling import EpochSampling, temperature_counts, upsampled_counts
from mmt.data.tokenizer import Tokenizer
from mmt.errors import MMTError, nearest
from mmt.training.config import TrainConfig

SEVERAL = "mul"
"""The language of a side that has several (ISO 639)."""


def pair_of(info: DatasetInfo) -> str:
    """``en-de``"""
    return f"{info.source_lang}-{info.target_lang}"


def has_several_pairs(infos: Sequence[DatasetInfo]) -> bool:
    """Whether the datasets are of different language pairs, so that each sentence needs a language tag."""
    return len({pair_of(info) for info in infos}) > 1


def first_of_each_pair(infos: Sequence[DatasetInfo]) -> list[int]:
    """The numbers of the datasets that a run validates on and learns its vocabulary from."""
    pairs = [pair_of(info) for info in infos]
    return [number for number, pair in enumerate(pairs) if pair not in pairs[:number]]


def joined_info(
    infos: Sequence[DatasetInfo], folders: Sequence[Path], train_split: str, valid_split: str
) -> DatasetInfo:
    """The description of several datasets together; of a single one, its own.

    Args:
        train_split: which all of them have.
        valid_split: which the first dataset of each language pair has.
    Raises:
        MMTError: a dataset lacks its split.
    """
    if len(infos) == 1:
        return infos[0]
    firsts = first_of_each_pair(infos)
    joined = {}
    for split, numbers in ((valid_split, firsts), (train_split, range(len(infos)))):
        for number in numbers:
            if split not in infos[number].splits:
                raise MMTError(
                    f"data.datasets: {folders[number]}: no split '{split}'.{nearest(split, infos[number].splits)}"
                )
        of_split = [infos[number].splits[split] for number in numbers]
        labels = [f"{pair_of(infos[number])} {infos[number].tag}".strip() for number in numbers]
        text = "\n".join(f"{label} {one.checksum}" for label, one in zip(labels, of_split, strict=True))
        joined[split] = SplitInfo(
            sum(one.sentences for one in of_split),
            sum(one.images_found for one in of_split),
            sum(one.images_missing for one in of_split),
            hashlib.sha256(text.encode()).hexdigest(),
        )
    pairs = ", ".join(pair_of(infos[number]) for number in firsts)
    name = f"{'+'.join(dict.fromkeys(info.name for info in infos))} ({pairs})"
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
    """A split of ``data.datasets``, one dataset after the other; for validation, of the first of each pair."""
    examples: list[Example] = []
    firsts = first_of_each_pair(infos)
    for number, (folder, info) in enumerate(zip(config.data.datasets or (), infos, strict=True)):
        if split == config.data.train_split or number in firsts:
            own = tokenizer
            if tokenizer.languages or has_several_pairs(infos):
                own = tokenizer.for_languages(info.source_lang, info.target_lang)
            rows = read_examples(folder, split, own.tagged(info.tag), features, config.images.missing)
            examples += [replace(example, dataset=number) for example in rows]
    return examples


def sampling_of(config: TrainConfig, examples: Sequence[Example]) -> EpochSampling | None:
    """How an epoch samples the training sentences; None if it reads each once.

    Raises:
        MMTError: a dataset has no sentence, as all are too long.
    """
    datasets, ratios = config.data.datasets, config.data.upsample
    if datasets is None or (config.data.temperature == 1 and ratios is None):
        return None
    sizes = [0] * len(datasets)
    for example in examples:
        sizes[example.dataset] += 1
    if 0 in sizes:
        raise MMTError(
            f"data.datasets: {datasets[sizes.index(0)]}: data.max_length ({config.data.max_length}) leaves no "
            "sentence. Set it higher."
        )
    counts = (
        temperature_counts(sizes, config.data.temperature) if ratios is None else upsampled_counts(sizes, ratios)
    )
    return EpochSampling(sizes, counts)
