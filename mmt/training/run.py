"""A training run: all that it needs, read and checked before fairseq2 starts."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from fairseq2.gang import Gangs
from torch import Tensor

from mmt.data.batch import Example, missing_images
from mmt.data.dataset import DatasetInfo, open_split, read_info, read_rows
from mmt.data.domain import TrainingPieces
from mmt.data.feature_store import FeatureStore, open_features
from mmt.data.image_names import Names
from mmt.data.labels import label_names
from mmt.data.pretrained_tokenizer import open_tokenizer
from mmt.data.reader import BLOCK, Streamed
from mmt.data.tokenizer import EOS, Tokenizer
from mmt.data.vocabulary import pieces_of_file
from mmt.errors import MMTError
from mmt.io.processes import rank
from mmt.io.terminal import console, counted
from mmt.model.build import build_empty_model, build_model, check_mergeable
from mmt.model.card import ModelCard
from mmt.model.config import MMTConfig
from mmt.model.folder import load_model
from mmt.model.frozen import freeze_text, insert_base
from mmt.model.model import MMTModel
from mmt.model.pretrained.base import Base
from mmt.training.config import TrainConfig
from mmt.training.multilingual import first_of_each_pair, joined_info, pair_of
from mmt.training.run_data import (
    check_beside,
    check_masks,
    check_start,
    check_translations,
    data_folders,
    drop_long,
    open_streamed,
    prepare_tokenizer,
    read_beside,
    read_labelled,
    read_training,
)
from mmt.training.run_file import claim, describe
from mmt.training.tasks import Objectives, needs_features
from mmt.training.text_base import base_of, base_settings


@dataclass
class Run:
    """What the recipe needs."""

    output: Path
    config: TrainConfig
    objectives: Objectives
    info: DatasetInfo
    tokenizer: Tokenizer
    features: FeatureStore | None
    train_set: list[Example] | Streamed
    valid_set: list[Example]
    beside: list[list[Example]]
    """The examples of each additional dataset."""
    start: ModelCard | None
    """The card of the model to start from."""
    labels: list[str]
    pairs: list[str]
    """The language pair of each dataset, such as ``en-de``."""
    base: Base | None
    """Of ``model.text``; None for a text model of our own."""
    base_settings: dict[str, Any]
    """What the base decides, see ``mmt.training.text_base.base_settings``."""
    base_weights: dict[str, Tensor]
    """The base's weights, which all models of the run share if they are frozen."""
    start_weights: dict[str, Tensor]
    """Those of the model to start from, but not its base's. Read before fairseq2 changes torch's default types."""

    @classmethod
    def prepare(cls, output: Path, config: TrainConfig) -> Run:
        """Reads what the run needs into memory, and claims ``output`` for it.

        Raises:
            MMTError: the data, features or settings do not fit, or ``output`` holds another run.
        """
        folders = data_folders(config)
        infos = [read_info(folder) for folder in folders]
        data, info = folders[0], joined_info(infos, folders, config.data.train_split, config.data.valid_split)
        check_translations(config, infos)
        features = _open_features(config)
        base = base_of(config)
        start = check_start(config, infos, base)
        others = [check_beside(one, info, data) for one in config.beside]
        if config.start.model is not None:
            check_masks(
                open_tokenizer(config.start.model), [*infos, *others], f"start.model: {config.start.model}"
            )
        claim(output, config, describe(config, info, features, others, start, base))
        tokenizer = prepare_tokenizer(output, config, base)
        if tokenizer.languages:
            tokenizer = tokenizer.for_languages(infos[0].source_lang, infos[0].target_lang)
        if base is not None:
            check_masks(tokenizer, [*infos, *others], f"model.text: {base.name}")
        if config.decoding.vocabulary is not None:
            pieces_of_file(config.decoding.vocabulary, tokenizer)  # so that a file that is missing is found now
        labels = []
        if config.data.label is not None:
            labels = label_names(data, config.data.train_split, config.data.label, config.data.num_labels)
        train_set: list[Example] | Streamed
        num_long = 0
        if config.data.streams:
            train_set = open_streamed(config, info, tokenizer, features)
        else:
            train_set, num_long = read_training(config, tokenizer, features, labels)
        valid_set = read_labelled(config, config.data.valid_split, tokenizer, features, labels)
        run = cls(
            output,
            config,
            Objectives.of(config),
            info,
            tokenizer,
            features,
            train_set,
            drop_long(valid_set, config.model.max_length),
            [read_beside(one, tokenizer, features, config) for one in config.beside],
            start,
            labels,
            [pair_of(one) for one in infos],
            base,
            {} if base is None else base_settings(base),
            {} if base is None else base.weights(),
            {} if config.start.model is None else load_model(config.start.model)[0].state_dict(),
        )
        if rank() == 0:
            run.announce(num_long)
        return run

    def announce(self, num_long: int) -> None:
        """Prints what will be trained on what.

        Args:
            num_long: number of sentence pairs left out because of their length.
        """
        out = console(err=True)
        if self.base is not None:
            trained = "frozen" if self.config.start.freeze_text else "trained, too"
            out.print(f"text model: {self.base.name}, {trained}", soft_wrap=True, markup=False)
        left_out = f", {num_long:,} too long left out" if num_long else ""
        out.print(
            f"{self.info.name}: {counted(len(self.train_set), 'training sentence')}{left_out}, "
            f"{self.num_with_image:,} with image; {len(self.valid_set):,} for validation",
            soft_wrap=True,
        )
        warmup, steps = self.config.optimizer.num_warmup_steps, self.config.regime.num_steps
        if warmup > steps:
            out.print(
                f"optimizer.num_warmup_steps ({warmup:,}) is more than regime.num_steps ({steps:,}): the learning "
                "rate stays far below optimizer.lr.",
                soft_wrap=True,
            )
        if self.features is None:
            self._report_unused()
        else:
            out.print(f"images: {self.features.signature}", soft_wrap=True)
            self._report_missing(self.features)
        if self.labels and isinstance(self.train_set, list):
            few = ", ".join(self.labels[:8]) + (", ..." if len(self.labels) > 8 else "")
            unknown = sum(example.label < 0 for example in self.train_set)
            without = f"; without any of them: {counted(unknown, 'sentence')}" if unknown else ""
            out.print(f"labels: {len(self.labels):,} ({few}){without}", soft_wrap=True)

    def _report_unused(self) -> None:
        """Says how many images a text-only run leaves unused, and how to use them."""
        splits = [(self.info, self.config.data.train_split)]
        splits += [(read_info(one.data), one.split) for one in self.config.beside]
        unused = sum(info.splits[split].images_found for info, split in splits)
        if unused:
            console(err=True).print(
                f"images: not used, as model.fusion is 'none'; {unused:,} training sentences have one. To use "
                f"them: mmt features --images {data_folders(self.config)[0]} --out STORE, then --config "
                "model.fusion=gated --config images.features=STORE",
                soft_wrap=True,
                markup=False,
            )

    def _report_missing(self, features: FeatureStore) -> None:
        """Names the first images that the data has and ``features`` lacks."""
        names, folders = Names(features.ids), data_folders(self.config)
        firsts = first_of_each_pair([read_info(folder) for folder in folders])
        splits = [(folder, self.config.data.train_split) for folder in folders]
        splits += [(folders[number], self.config.data.valid_split) for number in firsts]
        for data, split in splits:
            rows = open_split(data, split)
            # A streamed split is not read as a whole before training.
            num = min(len(rows), BLOCK) if self.config.data.streams else len(rows)
            missing: dict[str, None] = {}
            for first in range(0, num, BLOCK):
                some = read_rows(rows, ("image", "has_image"), first, min(first + BLOCK, num))
                missing |= dict.fromkeys(missing_images(some, features))
            if missing:
                which = "" if num == len(rows) else f" of the first {num:,} sentences"
                text = f"{split}: {len(missing):,} images{which} have no features in {features.folder}: "
                console(err=True).print(text + names.listed(missing), soft_wrap=True)

    @property
    def num_with_image(self) -> int:
        """Training sentences whose image is used; in a streamed split, those for which there is an image."""
        if isinstance(self.train_set, Streamed):
            return self.train_set.num_with_image if self.features is not None else 0
        return sum(example.image is not None for example in self.train_set)

    def training_pieces(self) -> TrainingPieces:
        """How often each piece occurs in the source text, additional datasets included.

        In a streamed split, pieces of a sample are counted, see ``Streamed.sample``.
        """
        own = self.train_set if isinstance(self.train_set, list) else self.train_set.sample()
        examples = itertools.chain(own, *self.beside)
        return TrainingPieces.of((example.source for example in examples), self.tokenizer)

    def model_config(self) -> MMTConfig:
        sets = self.features.signature.sets if self.features is not None else ()
        sizes = {**asdict(self.config.model), "vocab_size": self.tokenizer.vocab_size, **self.base_settings}
        return MMTConfig(
            **sizes,
            image_sets=tuple((one.num_regions, one.dim) for one in sets),
            heads=self.objectives.heads,
            num_labels=len(self.labels),
            writes=self.objectives.writes,
        )

    @property
    def leaves_out_text(self) -> bool:
        """Whether checkpoints and model folder lack the text model's weights, which are a frozen base's."""
        return self.base is not None and self.config.start.freeze_text

    def _load_base(self, model: MMTModel) -> None:
        if self.base is not None:
            insert_base(model, self.base_weights, self.base.name, share=self.leaves_out_text)

    def text_model(self) -> MMTModel:
        """The base alone, in evaluation mode, apart from the model that is trained."""
        model = build_empty_model(replace(self.model_config(), fusion="none", image_sets=(), heads=()))
        self._load_base(model)
        return model.eval()

    def finished_model(self) -> MMTModel:
        """A model for a checkpoint's weights, in evaluation mode: with a frozen base, it has the others."""
        if not self.leaves_out_text:
            return build_empty_model(self.model_config()).eval()
        model = build_empty_model(self.model_config())
        self._load_base(model)
        freeze_text(model, saved=False)
        return model.eval()

    def new_model(self, gangs: Gangs) -> MMTModel:
        """The model before the first update: randomly initialised, with the weights of the base or of a start."""
        model, start = build_model(self.model_config(), gangs), self.config.start
        model.text.num_tags = len(self.tokenizer.source_prefix)
        model.text.tags = tuple(np.flatnonzero(self.tokenizer.lengths[EOS + 1 :] == 0) + EOS + 1)
        self._load_base(model)
        if start.model is None or self.start is None:
            return model
        same_fusion = self.start.config["fusion"] == self.config.model.fusion
        if same_fusion and self.features is not None and self.start.features is not None:
            self.start.features.check(self.features.signature, f"images.features, to go on from {start.model}")
        own = model.state_dict()
        taken = {
            name: weight
            for name, weight in self.start_weights.items()
            if name in own
            and weight.shape == own[name].shape
            and (same_fusion or (model.is_of_text(name) and self.base is None))
        }
        model.load_state_dict(taken, strict=False)
        return model


def _open_features(config: TrainConfig) -> FeatureStore | None:
    if not needs_features(config):
        return None
    folders = config.images.features
    if folders is None:
        raise MMTError("images.features is missing.")
    store = open_features([folders] if isinstance(folders, Path) else folders)
    if config.model.merge_sets:
        check_mergeable([one.num_regions for one in store.signature.sets])
    return store
