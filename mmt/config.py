"""What a training run is told: one YAML file holding only its differences from the defaults below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_type_hints

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from mmt.config_checks import check_values
from mmt.errors import MMTError, nearest
from mmt.sizes import ModelSizes

_Config = TypeVar("_Config")

_LONGEST = 30_000  # characters of a YAML file: all settings are 3,000, and brackets in brackets take 3 s
STRICT = ConfigDict(extra="forbid", validate_default=False)


@dataclass(kw_only=True, config=STRICT)
class DataSection:
    path: Path | None = None
    """The prepared data set. Required."""

    train_split: str = "train"
    valid_split: str = "val"

    label: str | None = None
    """The column that ``objectives.classification`` learns, such as ``label``."""

    num_labels: int | None = None
    """Learns the most frequent labels only; a sentence with another one is left out of the loss, and is wrong in
    validation. Null learns all, and refuses a label that training has not seen."""

    score: str | None = None
    """The column of numbers that ``objectives.regression`` learns, such as ``score``."""

    max_tokens: int = 4096
    """Sentences times longest side of a batch, padding included."""

    max_length: int = 256
    """Training pairs with more pieces on either side are left out, and counted. Never applies to other splits."""

    streams: int = 0
    """For a training split that memory does not hold: how many streams it is read in, a multiple of the number of
    processes, see ``mmt.streaming``. 0 reads it whole."""


@dataclass(kw_only=True, config=STRICT)
class TextSection:
    vocab_size: int = 10_000
    """Pieces of the joint SentencePiece model trained on the training split."""


@dataclass(kw_only=True, config=STRICT)
class ImagesSection:
    features: Path | tuple[Path, ...] | None = None
    """The feature store that ``mmt features`` wrote, or a list of several, whose features then stand side by side.
    Required unless ``model.fusion`` is ``none``."""

    missing: Literal["skip", "refuse"] = "skip"
    """A sentence whose image has no features: skip the image and train it as text, or refuse the run."""

    dropout_p: float = 0.0
    """Share of the training sentences with an image that are trained without it, others in each epoch."""


@dataclass(kw_only=True, config=STRICT)
class ModelSection(ModelSizes):
    """See ``mmt.sizes``."""


@dataclass(kw_only=True, config=STRICT)
class ObjectivesSection:
    """What is learnt, each with its weight beside the loss of a target token; see ``mmt.objectives``."""

    translation: float = 1.0
    """Of source to target: translation, and answers to questions in words."""

    classification: float = 0.0
    """The label of sentence and image, ``data.label``."""

    regression: float = 0.0
    """The score of sentence and image, ``data.score``: mean absolute error."""

    contrastive: float = 0.0
    """Tells the sentence's own image from the batch's others; alone, the training of a retrieval model."""

    negatives: Literal["all", "hardest"] = "all"
    """What ``contrastive`` tells it from: all others, by a softmax; or the one that is most alike, by a margin
    (VSE++)."""

    imagination: float = 0.0
    """Predicts the image's vector from the sentence; with ``model.fusion: none`` no image is needed afterwards."""

    masked: float = 0.0
    """Gives back masked source tokens, with the image's help. Not for late fusion, whose encoder sees no image."""

    faithful: float = 0.0
    """Stays near what the model of ``start.model`` says without the image."""

    def used(self) -> dict[str, float]:
        """The weights of those beside translation that are not 0."""
        names = ("classification", "regression", "contrastive", "imagination", "masked", "faithful")
        return {name: getattr(self, name) for name in names if getattr(self, name)}


@dataclass(kw_only=True, config=STRICT)
class StartSection:
    """A trained model to begin from, rather than from chance."""

    model: Path | None = None
    """Its folder: tokenizer and the weights that both models have are taken; sizes and languages must agree."""

    freeze_text: bool = False
    """Trains only what the text model does not have, so that without an image it stays what it was."""


@dataclass(kw_only=True, config=STRICT)
class BesideSection:
    """Another prepared data set, a batch of which is learnt beside each batch of ``data``."""

    data: Path
    task: Literal["translation", "retrieval"] = "translation"
    """Translate, say masked sentences; or tell each sentence's image from others (the contrastive objective)."""

    weight: float = 1.0
    """Of a target token (translation) or of a pair (retrieval), beside a target token of ``data``."""

    split: str = "train"


@dataclass(kw_only=True, config=STRICT)
class OptimizerSection:
    """Adam with an inverse square root schedule, the papers'."""

    lr: float = 5e-3
    betas: tuple[float, float] = (0.9, 0.98)
    num_warmup_steps: int = 2000
    start_lr: float = 1e-7
    max_grad_norm: float | None = 1.0
    label_smoothing: float = 0.1
    """Mass spread evenly over the vocabulary, and over the labels."""
    num_accumulate: int = 1
    """Batches an update: 2 x 4,096 tokens are the papers' 8 k."""


@dataclass(kw_only=True, config=STRICT)
class RegimeSection:
    num_steps: int = 8000
    report_every: int = 100
    """Updates between two lines of the report; ``validate_every`` must be a multiple of it."""

    validate_every: int = 500
    """Updates between two validations, each followed by a checkpoint."""

    cooldown_steps: int = 0
    """The last updates, over which the learning rate goes to zero; an interrupted run may be given some, too."""

    score: Literal["bleu", "exact", "loss", "accuracy", "mae", "recall"] | None = None
    """What ``best`` means, on the validation split; null goes by what is learnt, see ``TrainConfig.score``."""

    patience: int | None = 10
    """Validations without a better score before training stops; null never stops early."""

    keep_last: int = 10
    """Checkpoints kept, and averaged at the end if their average is better on the validation split."""


@dataclass(kw_only=True, config=STRICT)
class DecodingSection:
    """How the finished model translates unless told otherwise, and how validation does (greedily)."""

    beam_size: int = 5
    length_penalty: float = 1.0


@dataclass(kw_only=True, config=STRICT)
class TrainConfig:
    data: DataSection = field(default_factory=DataSection)
    text: TextSection = field(default_factory=TextSection)
    images: ImagesSection = field(default_factory=ImagesSection)
    model: ModelSection = field(default_factory=ModelSection)
    objectives: ObjectivesSection = field(default_factory=ObjectivesSection)
    beside: list[BesideSection] = field(default_factory=list)
    start: StartSection = field(default_factory=StartSection)
    optimizer: OptimizerSection = field(default_factory=OptimizerSection)
    regime: RegimeSection = field(default_factory=RegimeSection)
    decoding: DecodingSection = field(default_factory=DecodingSection)

    seed: int = 1

    threads: int | None = None
    """CPU threads of the training process; null takes all cores."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 rounds what is multiplied, not what is summed; it pays on CPUs that have such products, see
    docs/performance.md."""

    stack: dict[str, Any] = field(default_factory=dict)
    """fairseq2's own sections ``trainer``, ``gang``, ``common``, for FSDP, profilers and the like."""

    @property
    def needs_features(self) -> bool:
        return self.model.fusion != "none" or bool({"contrastive", "imagination"} & set(self.heads))

    @property
    def writes(self) -> bool:
        """Whether the model learns to write: else its decoder, if it has one, is for labels and scores."""
        used = self.objectives.used()
        beside = any(one.task == "translation" for one in self.beside)
        return bool(self.objectives.translation or beside or {"masked", "faithful", "imagination"} & set(used))

    @property
    def score(self) -> str:
        """What ``best`` means: BLEU of a model that writes; else the first of accuracy, mean absolute error and
        recall that its objectives allow."""
        if self.regime.score is not None:
            return self.regime.score
        used = self.objectives.used()
        scores = {"classification": "accuracy", "regression": "mae", "contrastive": "recall"}
        return "bleu" if self.writes else next(scores[name] for name in scores if name in used)

    @property
    def heads(self) -> tuple[str, ...]:
        """The objectives that have weights of their own."""
        wanted = set(self.objectives.used())
        if any(one.task == "retrieval" for one in self.beside):
            wanted.add("contrastive")
        known = ("contrastive", "imagination", "classification", "regression")
        return tuple(name for name in known if name in wanted)


def read_config(path: Path | None, overrides: Sequence[str] = ()) -> TrainConfig:
    """Reads a YAML file, then ``a.b=value`` overrides, over the defaults.

    Raises:
        MMTError: no such file, no YAML, an unknown key (the nearest is named), or a value of the wrong type.
    """
    where = "--config" if path is None else str(path)
    tree = read_tree(path) if path is not None else {}
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise MMTError(f"--config {override}: expected KEY=VALUE, e.g. regime.num_steps=100.")
        _set(tree, key.strip().split("."), _loaded(value, f"--config {override}"), override)
    config = validated(TrainConfig, tree, where)
    check_values(config, where)
    return config


def read_tree(path: Path) -> dict[str, Any]:
    """Reads a YAML file of sections. Raises MMTError where there is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise MMTError(f"{path}: the configuration cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError as error:
        raise MMTError(f"{path}: not a YAML file ({error}).") from None
    loaded = _loaded(text, str(path))
    if not isinstance(loaded, dict | None):
        raise MMTError(f"{path}: expected sections such as 'data:', found {type(loaded).__name__}.")
    return loaded or {}


def _loaded(text: str, where: str) -> Any:
    if len(text) > _LONGEST:
        raise MMTError(f"{where}: {len(text):,} characters are no settings, over {_LONGEST:,}.")
    try:
        return yaml.safe_load(text)
    except Exception as error:  # a date such as 2001-99-99, a tag on what it is not for, brackets without end, ...
        raise MMTError(f"{where}: not YAML ({' '.join(str(error).split())}).") from None


def validated(kls: type[_Config], tree: Mapping[str, Any], where: str) -> _Config:
    """A configuration of class ``kls``. Raises MMTError for an unknown key or a value of the wrong type."""
    _check_keys(tree, kls, where, "")
    try:
        return TypeAdapter(kls).validate_python(tree)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise MMTError(f"{where}: {key}: {first['msg']}, found {first['input']!r}.") from None


def dump_config(config: TrainConfig) -> str:
    """The whole configuration as YAML, defaults included."""
    return yaml.safe_dump(TypeAdapter(TrainConfig).dump_python(config, mode="json"), sort_keys=False)


def _set(tree: dict[str, Any], keys: list[str], value: Any, override: str) -> None:
    for key in keys[:-1]:
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            raise MMTError(f"--config {override}: '{key}' is a value, not a section.")
    tree[keys[-1]] = value


def _check_keys(tree: Mapping[str, Any], kls: type, where: str, prefix: str) -> None:
    known = [f.name for f in fields(kls)]
    hints = get_type_hints(kls)
    for key, value in tree.items():
        if key not in known:
            raise MMTError(
                f"{where}: unknown key '{prefix}{key}'.{nearest(str(key), known)} Known: {', '.join(known)}."
            )
        kinds = [hint for hint in (hints[key], *get_args(hints[key])) if is_dataclass(hint)]
        for number, part in enumerate(value if isinstance(value, list) else [value]):
            if kinds and isinstance(part, Mapping):
                place = f"{key}.{number}" if isinstance(value, list) else key
                _check_keys(part, kinds[0], where, f"{prefix}{place}.")  # type: ignore[arg-type]
