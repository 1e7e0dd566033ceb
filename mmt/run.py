"""What a training run needs, read and checked before fairseq2 starts."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import torch
from fairseq2.utils.rich import get_error_console

from mmt.config import BesideSection, TrainConfig, dump_config
from mmt.data import Example, read_examples
from mmt.errors import MMTError
from mmt.feature_sets import open_features, sets_of
from mmt.features import FeatureStore
from mmt.folder import TOKENIZER, ModelCard, load_model, read_card
from mmt.lines import write_whole
from mmt.model import MMTModel
from mmt.prepared import DatasetInfo, read_info, read_split
from mmt.sizes import MMTConfig, ModelSizes
from mmt.tasks import Learnt
from mmt.text import Tokenizer, train_tokenizer

_RUN_FILE = "run.json"


@dataclass
class Run:
    """What the recipe needs, checked before fairseq2 starts."""

    output: Path
    config: TrainConfig
    info: DatasetInfo
    tokenizer: Tokenizer
    features: FeatureStore | None
    train_set: list[Example]
    valid_set: list[Example]
    beside: list[list[Example]]
    start: ModelCard | None

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
        _claim(output, config, info, features)
        tokenizer = _tokenizer(output, config)
        splits = [
            read_examples(data, split, tokenizer, features, config.images.missing)
            for split in (config.data.train_split, config.data.valid_split)
        ]
        train_set = [e for e in splits[0] if max(len(e.source), len(e.target)) < config.data.max_length]
        valid_set = [e for e in splits[1] if max(len(e.source), len(e.target)) < config.model.max_length]
        if not train_set:
            raise MMTError(f"data.max_length: {config.data.max_length} pieces leave no sentence. Set it higher.")
        beside = [_read_beside(one, info, tokenizer, features, config) for one in config.beside]
        run = cls(output, config, info, tokenizer, features, train_set, valid_set, beside, start)
        run.announce(len(splits[0]) - len(train_set))
        return run

    def announce(self, num_long: int) -> None:
        """Says in two lines what will be trained on what."""
        if rank() != 0:
            return
        used = sum(example.image is not None for example in self.train_set)
        long = f", {num_long:,} too long left out" if num_long else ""
        console = get_error_console()
        console.print(
            f"{self.info.name}: {len(self.train_set):,} training sentences{long}, {used:,} with image; "
            f"{len(self.valid_set):,} for validation",
            soft_wrap=True,
        )
        if self.features is not None:
            console.print(f"images: {self.features.signature}", soft_wrap=True)

    def model_config(self) -> MMTConfig:
        sizes = asdict(self.config.model)
        sets = sets_of(self.features.signature) if self.features is not None else ()
        image_sets = tuple((one.num_regions, one.dim) for one in sets)
        vocab_size, heads = self.tokenizer.vocab_size, self.config.heads
        return MMTConfig(**sizes, vocab_size=vocab_size, image_sets=image_sets, heads=heads)

    def new_model(self) -> MMTModel:
        """As training begins with it: by chance, or with the weights of the model to start from."""
        model, start = MMTModel(self.model_config()), self.config.start
        if start.model is None or self.start is None:
            return model
        begun, _, _ = load_model(start.model)
        same_image = self.start.config["fusion"] == self.config.model.fusion and (
            self.features is not None and self.start.features == self.features.signature
        )
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
        )


def _read_beside(
    one: BesideSection,
    info: DatasetInfo,
    tokenizer: Tokenizer,
    features: FeatureStore | None,
    config: TrainConfig,
) -> list[Example]:
    """Raises MMTError where the data set is of other languages, or has no sentence to learn from."""
    other = read_info(one.data)
    ours, theirs = (f"{i.source_lang}-{i.target_lang}" for i in (info, other))
    if one.task == "retrieval":
        ours, theirs = info.source_lang, other.source_lang
    if ours != theirs:
        raise MMTError(f"beside: {one.data}: expected {ours}, as {config.data.path} has it, found {theirs}.")
    examples = read_examples(one.data, one.split, tokenizer, features, config.images.missing)
    longest = config.data.max_length
    kept = [e for e in examples if max(len(e.source), len(e.target)) < longest]
    if one.task == "retrieval":
        kept = [replace(e, target=[]) for e in examples if e.image is not None and len(e.source) < longest]
    if not kept:
        raise MMTError(
            f"beside: {one.data}: no sentence of '{one.split}' is left to learn {one.task} from. Retrieval wants "
            "images with features; data.max_length leaves out what is longer."
        )
    return kept


def _check_start(config: TrainConfig, info: DatasetInfo) -> ModelCard:
    """The card of the model to start from. Raises MMTError where it does not fit the run."""
    assert config.start.model is not None  # noqa: S101
    card = read_card(config.start.model)
    card.check_languages((info.source_lang, info.target_lang), config.start.model, config.data.path)
    for size in fields(ModelSizes):
        if size.name not in ("fusion", "dropout_p"):
            ours, theirs = getattr(config.model, size.name), card.config[size.name]
            if ours != theirs:
                raise MMTError(
                    f"start.model: {config.start.model} has {size.name} {theirs}, model.{size.name} is {ours}. "
                    f"Set model.{size.name}: {theirs}."
                )
    return card


def _claim(output: Path, config: TrainConfig, info: DatasetInfo, features: FeatureStore | None) -> None:
    """Writes down what this run is; refuses to go on with a run that was something else."""
    now = {
        "config": json.loads(json.dumps(asdict(config), default=str)),
        "data": {"name": info.name, "checksums": {name: split.checksum for name, split in info.splits.items()}},
        "features": features.signature.to_dict() if features is not None else None,
    }
    path = output / _RUN_FILE
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        # How long to train and how to report may change; what is trained may not. Folders may have moved: the
        # checksums say whether their content is the same.
        free = {"regime", "threads", "stack", "decoding"}
        for section, old in before["config"].items():
            new = now["config"].get(section)
            if section in free or old == new:
                continue
            if not isinstance(old, dict):
                old, new, section = {"": old}, {"": new}, section
            for key, value in old.items():
                if (section, key) not in {("data", "path"), ("images", "features")} and new.get(key) != value:
                    name = f"{section}.{key}".rstrip(".")
                    raise MMTError(
                        f"{output}: holds a run with {name} = {value}, now it is {new.get(key)}. "
                        "Go on with the old value, or name another folder."
                    )
        for part in ("data", "features"):
            if before[part] != now[part]:
                raise MMTError(
                    f"{output}: holds a run on other {part}: {before[part]}, now {now[part]}. Name another folder."
                )
    if rank() == 0:
        output.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(now, indent=2) + "\n")
        write_whole(output / "config.mmt.yaml", dump_config(config))


def _tokenizer(output: Path, config: TrainConfig) -> Tokenizer:
    path = output / "tokenizer.model"
    if not path.exists():
        if rank() == 0 and config.start.model is not None:
            write_whole(path, (config.start.model / TOKENIZER).read_bytes())
        elif rank() == 0:
            assert config.data.path is not None  # noqa: S101  # checked when the configuration was read
            rows = read_split(config.data.path, config.data.train_split)
            lines = (line for side in ("source", "target") for line in rows[side])
            probes = [read_info(folder).probe for folder in (config.data.path, *(b.data for b in config.beside))]
            symbols = dict.fromkeys(probe["symbol"] for probe in probes if probe)
            train_tokenizer(lines, config.text.vocab_size, path, list(symbols))
        while not path.exists():  # another process is training it
            time.sleep(0.2)
    return Tokenizer(path)


def rank() -> int:
    return int(os.environ.get("RANK", "0"))
