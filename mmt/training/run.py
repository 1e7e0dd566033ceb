"""What a training run needs, read and checked before fairseq2 starts."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from fairseq2.gang import Gangs

from mmt.data.batch import ROW_COLUMNS, Example, check_images, encode_rows, missing_images, read_examples
from mmt.data.dataset import DatasetInfo, open_split, read_info, read_rows, read_split
from mmt.data.domain import TrainingPieces
from mmt.data.feature_store import FeatureStore, open_features
from mmt.data.image_names import Names
from mmt.data.labels import label_names, with_labels
from mmt.data.masking import check_masked_alike, read_probe
from mmt.data.reader import BLOCK, Streamed
from mmt.data.tokenizer import Tokenizer, train_tokenizer
from mmt.errors import MMTError, nearest, unreadable
from mmt.io.atomic import make_folder, write_whole
from mmt.io.processes import num_processes, rank
from mmt.io.terminal import console, counted
from mmt.io.text_files import parse_json
from mmt.model.card import TOKENIZER, ModelCard, read_card
from mmt.model.config import MMTConfig, ModelSizes
from mmt.model.folder import load_model
from mmt.model.model import MMTModel
from mmt.training.config import BesideSection, TrainConfig
from mmt.training.config_file import dump_config
from mmt.training.tasks import Learnt

_RUN_FILE = "run.json"
_TOKENIZER = "tokenizer.model"  # what is made first
_LONGEST_WAIT = 1800.0  # seconds, for a tokenizer that another process makes
_MOST_PAIRS = 1_000_000  # that a vocabulary of a streamed split is learnt from


@dataclass
class Run:
    """What the recipe needs, checked before fairseq2 starts."""

    output: Path
    config: TrainConfig
    info: DatasetInfo
    tokenizer: Tokenizer
    features: FeatureStore | None
    train_set: list[Example] | Streamed
    valid_set: list[Example]
    beside: list[list[Example]]
    start: ModelCard | None
    labels: list[str]

    @classmethod
    def prepare(cls, output: Path, config: TrainConfig) -> Run:
        data = config.data.path
        if data is None:
            raise MMTError("data.path is missing.")
        info = read_info(data)
        features = None
        if config.needs_features:
            if config.images.features is None:
                raise MMTError("images.features is missing.")
            folders = config.images.features
            features = open_features([folders] if isinstance(folders, Path) else folders)
        start = _check_start(config, info) if config.start.model is not None else None
        others = [_check_beside(one, info, data) for one in config.beside]
        if start is not None:
            _check_symbols(config, [info, *others])
        _claim(output, config, info, features, others, start)
        tokenizer = _tokenizer(output, config)
        labels = []
        if config.data.label is not None:
            labels = label_names(data, config.data.train_split, config.data.label, config.data.num_labels)

        def read(split: str) -> list[Example]:
            return with_labels(
                read_examples(data, split, tokenizer, features, config.images.missing),
                data,
                split,
                label=config.data.label,
                names=labels,
                rare_ones_left_out=config.data.num_labels is not None,
                score=config.data.score,
            )

        train_set: list[Example] | Streamed
        num_long = 0
        if config.data.streams:
            train_set = _streamed(config, info, tokenizer, features)
        else:
            whole = read(config.data.train_split)
            train_set = _short(whole, config.data.max_length)
            num_long = len(whole) - len(train_set)
            if not train_set:
                raise MMTError(
                    f"data.max_length: {config.data.max_length} pieces leave no sentence. Set it higher."
                )
        valid_set = _short(read(config.data.valid_split), config.model.max_length)
        beside = [_read_beside(one, tokenizer, features, config) for one in config.beside]
        run = cls(output, config, info, tokenizer, features, train_set, valid_set, beside, start, labels)
        run.announce(num_long)
        return run

    def announce(self, num_long: int) -> None:
        """Says in two lines what will be trained on what."""
        if rank() != 0:
            return
        used = self.num_with_image
        long = f", {num_long:,} too long left out" if num_long else ""
        out = console(err=True)
        out.print(
            f"{self.info.name}: {counted(len(self.train_set), 'training sentence')}{long}, {used:,} with image; "
            f"{len(self.valid_set):,} for validation",
            soft_wrap=True,
        )
        others = [(read_info(one.data), one.split) for one in self.config.beside]
        left = sum(
            info.splits[split].images_found for info, split in [(self.info, self.config.data.train_split), *others]
        )
        if self.features is None and left:
            out.print(
                f"images: not used, as model.fusion is 'none'; {left:,} training sentences have one. To use them: "
                f"mmt features --images {self.config.data.path} --out STORE, then --config model.fusion=gated "
                "--config images.features=STORE",
                soft_wrap=True,
                markup=False,
            )
        if self.features is not None:
            out.print(f"images: {self.features.signature}", soft_wrap=True)
            self._say_missing(self.features)
        if self.labels and isinstance(self.train_set, list):
            few = ", ".join(self.labels[:8]) + (", ..." if len(self.labels) > 8 else "")
            unknown = sum(example.label < 0 for example in self.train_set)
            without = f"; without any of them: {counted(unknown, 'sentence')}" if unknown else ""
            out.print(f"labels: {len(self.labels):,} ({few}){without}", soft_wrap=True)

    def _say_missing(self, features: FeatureStore) -> None:
        """Names the first images that the data has and ``features`` lacks."""
        data, known = self.config.data.path, Names(features.ids)
        assert data is not None  # noqa: S101  # checked in prepare()
        for split in (self.config.data.train_split, self.config.data.valid_split):
            rows = open_split(data, split)
            # Of a split that is streamed, not all rows are read before training.
            num = min(len(rows), BLOCK) if self.config.data.streams else len(rows)
            missing: dict[str, None] = {}
            for first in range(0, num, BLOCK):
                some = read_rows(rows, ("image", "has_image"), first, min(first + BLOCK, num))
                missing |= dict.fromkeys(missing_images(some, features))
            if missing:
                which = "" if num == len(rows) else f" of the first {num:,} sentences"
                said = f"{split}: {len(missing):,} images{which} have no features in {features.folder}: "
                console(err=True).print(said + known.listed(missing), soft_wrap=True)

    @property
    def num_with_image(self) -> int:
        """Training sentences with an image in use; of a streamed split, those for which there is one."""
        if isinstance(self.train_set, Streamed):
            return self.train_set.num_with_image if self.features is not None else 0
        return sum(example.image is not None for example in self.train_set)

    def training_pieces(self) -> TrainingPieces:
        """How often each piece occurs in the source text, that of data learnt beside included.

        Of a streamed split a sample is counted, see ``Streamed.sample``.
        """
        own = self.train_set if isinstance(self.train_set, list) else self.train_set.sample()
        examples = itertools.chain(own, *self.beside)
        return TrainingPieces.of((example.source for example in examples), self.tokenizer)

    def model_config(self) -> MMTConfig:
        sizes = asdict(self.config.model)
        sets = self.features.signature.sets if self.features is not None else ()
        image_sets = tuple((one.num_regions, one.dim) for one in sets)
        vocab_size, heads = self.tokenizer.vocab_size, self.config.heads
        return MMTConfig(
            **sizes,
            vocab_size=vocab_size,
            image_sets=image_sets,
            heads=heads,
            num_labels=len(self.labels),
            writes=self.config.writes,
        )

    def new_model(self, gangs: Gangs) -> MMTModel:
        """As training begins with it: by chance, or with the weights of the model to start from."""
        model, start = MMTModel(self.model_config(), gangs), self.config.start
        if start.model is None or self.start is None:
            return model
        begun, _, _ = load_model(start.model)
        same_image = self.start.config["fusion"] == self.config.model.fusion != "none"
        if same_image and self.features is not None and self.start.features is not None:
            self.start.features.check(self.features.signature, f"images.features, to go on from {start.model}")
        own = model.state_dict()
        taken = {
            name: weight
            for name, weight in begun.state_dict().items()
            if name in own and (model.is_of_text(name) or same_image)
        }
        model.load_state_dict(own | taken)
        return model

    def losses(self) -> list[str]:
        """Names of what is learnt beside translation, as the metrics have them."""
        beside = [(one.task, one.weight) for one in self.config.beside]
        return list(Learnt(0.0, 1.0, self.config.objectives.used(), beside).weights())

    def learnt(self, device: torch.device) -> Learnt:
        """What is minimised; the teacher, if there is one, on ``device``."""
        config, teacher = self.config, None
        used = config.objectives.used()
        if "faithful" in used and config.start.model is not None:
            teacher = load_model(config.start.model)[0].to(device).requires_grad_(False)
        return Learnt(
            config.optimizer.label_smoothing,
            config.objectives.translation,
            used,
            [(one.task, one.weight) for one in config.beside],
            teacher,
            config.writes,
            config.objectives.negatives == "hardest",
        )


def _short(examples: list[Example], max_length: int) -> list[Example]:
    return [e for e in examples if max(len(e.source), len(e.target)) < max_length]


def _streamed(
    config: TrainConfig, info: DatasetInfo, tokenizer: Tokenizer, features: FeatureStore | None
) -> Streamed:
    """Raises MMTError where there is no such split, or some of its rows have images of which none has features."""
    folder, split = config.data.path, config.data.train_split
    assert folder is not None  # noqa: S101  # checked when the configuration was read
    rows = open_split(folder, split)

    def examples(first: int, end: int) -> list[Example]:
        columns = read_rows(rows, ROW_COLUMNS, first, end)
        found = encode_rows(columns, first, split, tokenizer, features, config.images.missing)
        return _short(found, config.data.max_length)

    examples(0, min(BLOCK, len(rows)))  # what is wrong with all rows is said now
    if features is not None:
        looked_at: dict[str, list[Any]] = {"image": [], "has_image": []}
        for first in range(0, len(rows), max(1, len(rows) // 64)):
            for name, values in read_rows(rows, tuple(looked_at), first, min(first + 64, len(rows))).items():
                looked_at[name] += values
        check_images(looked_at, features, folder, split)
    return Streamed(rows, examples, info.splits[split].images_found)


def _check_beside(one: BesideSection, info: DatasetInfo, data: Path) -> DatasetInfo:
    """Raises MMTError where the dataset beside ``data`` has no such split, or is of other languages."""
    other = read_info(one.data)
    if one.split not in other.splits:
        raise MMTError(f"beside: {one.data}: no split '{one.split}'.{nearest(one.split, other.splits)}")
    ours, theirs = (f"{i.source_lang}-{i.target_lang}" for i in (info, other))
    if one.task == "retrieval":  # has no use for translations
        ours, theirs = info.source_lang, other.source_lang
    if ours != theirs:
        raise MMTError(f"beside: {one.data}: expected {ours}, as {data} has it, found {theirs}.")
    return other


def _read_beside(
    one: BesideSection, tokenizer: Tokenizer, features: FeatureStore | None, config: TrainConfig
) -> list[Example]:
    """Raises MMTError where the dataset has no sentence to learn the task from."""
    examples = read_examples(one.data, one.split, tokenizer, features, config.images.missing)
    if one.task == "retrieval":
        examples = [replace(e, target=[]) for e in examples if e.image is not None]
    kept = [e for e in examples if max(len(e.source), len(e.target)) < config.data.max_length]
    if not kept:
        raise MMTError(
            f"beside: {one.data}: no sentence of '{one.split}' is left to learn {one.task} from. Retrieval wants "
            "images with features; data.max_length leaves out what is longer."
        )
    if rank() == 0:
        left = f", {len(examples) - len(kept):,} too long left out" if len(kept) < len(examples) else ""
        console(err=True).print(f"beside: {one.data}: {len(kept):,} for {one.task}{left}", soft_wrap=True)
    return kept


def _check_symbols(config: TrainConfig, infos: Sequence[DatasetInfo]) -> None:
    """Raises MMTError where the tokenizer of the model to start from would break a mask into pieces."""
    assert config.start.model is not None  # noqa: S101
    tokenizer = Tokenizer(config.start.model / TOKENIZER)
    for info in infos:
        if info.probe:
            check_masked_alike(
                tokenizer, {}, read_probe(info.probe, info.name), f"start.model: {config.start.model}"
            )


def _check_start(config: TrainConfig, info: DatasetInfo) -> ModelCard:
    """The card of the model to start from. Raises MMTError where it does not fit the run."""
    assert config.start.model is not None  # noqa: S101
    card = read_card(config.start.model)
    card.check_languages((info.source_lang, info.target_lang), config.start.model, config.data.path)
    for size in fields(ModelSizes):
        if size.name not in ("fusion", "dropout_p"):
            ours, theirs = getattr(config.model, size.name), card.config.get(size.name, size.default)
            if ours != theirs:
                raise MMTError(
                    f"start.model: {config.start.model} has {size.name} {theirs}, model.{size.name} is {ours}. "
                    f"Set model.{size.name}: {theirs}."
                )
    return card


def _claim(
    output: Path,
    config: TrainConfig,
    info: DatasetInfo,
    features: FeatureStore | None,
    beside: Sequence[DatasetInfo],
    start: ModelCard | None,
) -> None:
    """Writes down what this run is; refuses to go on with a run that was something else."""
    now: dict[str, Any] = {
        "config": _settings(config),
        "data": {"name": info.name, "checksums": {name: split.checksum for name, split in info.splits.items()}},
        "features": features.signature.to_dict() if features is not None else None,
        "beside": [
            {"name": other.name, "checksum": other.splits[one.split].checksum}
            for one, other in zip(config.beside, beside, strict=True)
        ],
        "start": start.training if start is not None else None,
        "batches_per_update": num_processes() * config.optimizer.num_accumulate,
    }
    path = output / _RUN_FILE
    if path.exists() and (output / _TOKENIZER).exists():  # else it failed before there was anything to keep
        try:
            before = parse_json(path.read_text(encoding="utf-8"))
            old = dict(before["config"])
        except PermissionError as error:
            raise unreadable(error) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise MMTError(f"{path}: damaged ({error}). Name another folder.") from None
        # How long to train and how to report may change; what is trained may not. Folders may have moved: the
        # checksums say whether their content is the same.
        free = {"regime", "threads", "stack", "decoding"}
        default = _settings(TrainConfig())  # what a run of an earlier version had not
        old = {**default, **old}
        for section in [name for name in old if name not in free]:
            was, now_is = old[section], now["config"][section]
            if not isinstance(was, dict):
                was, now_is, section = {"": was}, {"": now_is}, section
            for key in now_is:
                if (section, key) == ("optimizer", "num_accumulate"):  # as it goes with the number of processes
                    continue
                value = was.get(key, default[section][key] if key else None)
                if now_is[key] != value:
                    name = f"{section}.{key}".rstrip(".")
                    raise MMTError(
                        f"{output}: holds a run with {name} = {value}, now it is {now_is[key]}. "
                        "Go on with the old value, or name another folder."
                    )
        for part in ("data", "features", "beside", "start"):
            if before.get(part) != now[part] and (part in before or now[part]):
                raise MMTError(
                    f"{output}: holds a run on other {part}: {before.get(part)}, now {now[part]}. Name another "
                    "folder."
                )
        was, now_is = (one.get("batches_per_update") for one in (before, now))
        if was not in (None, now_is) and rank() == 0:
            console(err=True).print(
                f"{output}: resumes with {now_is} batches an update instead of {was}: optimizer.num_accumulate "
                f"({config.optimizer.num_accumulate}) x processes ({num_processes()}).",
                soft_wrap=True,
            )
    if rank() == 0:
        make_folder(output)
        write_whole(path, json.dumps(now, indent=2) + "\n")
        write_whole(output / "config.mmt.yaml", dump_config(config))


def _settings(config: TrainConfig) -> dict[str, Any]:
    """The settings but for folders, which may have moved: checksums say whether their content is the same."""
    settings: dict[str, Any] = json.loads(json.dumps(asdict(config), default=str))
    for section, key in (("data", "path"), ("images", "features"), ("start", "model")):
        settings[section].pop(key)
    for one in settings["beside"]:
        one.pop("data")
    return settings


def _tokenizer(output: Path, config: TrainConfig) -> Tokenizer:
    path = output / _TOKENIZER
    if not path.exists():
        if rank() == 0 and config.start.model is not None:
            write_whole(path, (config.start.model / TOKENIZER).read_bytes())
        elif rank() == 0:
            assert config.data.path is not None  # noqa: S101  # checked when the configuration was read
            lines = _sentences(config.data.path, config.data.train_split, streamed=config.data.streams > 0)
            probes = [read_info(folder).probe for folder in (config.data.path, *(b.data for b in config.beside))]
            symbols = dict.fromkeys(probe["symbol"] for probe in probes if probe)
            train_tokenizer(lines, config.text.vocab_size, path, list(symbols))
        begun, said = time.monotonic(), False
        while not path.exists():  # another process is training it
            waited = time.monotonic() - begun
            if waited > _LONGEST_WAIT:
                raise MMTError(
                    f"{path}: expected process 0 to make it, found none after {waited / 60:.0f} minutes. See its "
                    f"message; all processes ({num_processes()}) must see the same folder."
                )
            if waited > 60 and not said:
                said = True
                console(err=True).print(
                    f"process {rank()} waits for {path}, which process 0 makes. All must see the same folder.",
                    soft_wrap=True,
                )
            time.sleep(0.2)
    return Tokenizer(path)


def _sentences(folder: Path, split: str, *, streamed: bool) -> Iterator[str]:
    """Source and target sentences of a split, to learn a vocabulary from; of a large streamed one, some blocks."""
    if not streamed:
        rows = read_split(folder, split)
        yield from (line for side in ("source", "target") for line in rows[side])
        return
    rows = open_split(folder, split)
    step = BLOCK * -(-len(rows) // _MOST_PAIRS)
    for first in range(0, len(rows), step):
        columns = read_rows(rows, ("source", "target"), first, min(first + BLOCK, len(rows)))
        yield from (line for side in columns.values() for line in side)
