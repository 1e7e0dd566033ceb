"""What a training run is told: one YAML file holding only its differences from the defaults below."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Interval, MinLen
from pydantic import BeforeValidator, ConfigDict
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from mmt.errors import is_url
from mmt.model.config import Count, CountOrNone, ModelSizes, Share, ShareBelowOne

STRICT = ConfigDict(extra="forbid", validate_default=False, allow_inf_nan=False)


def check_path(value: Any) -> Any:
    """Refuses, as a pydantic validator, what is a path to ``pathlib`` and no place on this machine."""
    if not isinstance(value, str | Path) or not str(value).strip():
        raise PydanticCustomError("no_path", "a path")
    if isinstance(value, str) and is_url(value):
        raise PydanticCustomError("no_path", "a path on this machine, and no URL (download it first)")
    return value


Text = Annotated[str, MinLen(1)]
Folder = Annotated[Path, BeforeValidator(check_path)]
Seed = Annotated[int, Interval(ge=0, lt=2**32)]
Weight = Annotated[float, Ge(0)]


@dataclass(kw_only=True, config=STRICT)
class DataSection:
    path: Folder | None = None
    """The prepared dataset. Required."""

    train_split: Text = "train"
    valid_split: Text = "val"

    label: Text | None = None
    """The column that ``objectives.classification`` learns, such as ``label``."""

    num_labels: Annotated[int, Interval(ge=2, le=10**9)] | None = None
    """Learns the most frequent labels only; a sentence with another one is left out of the loss, and is wrong in
    validation. Null learns all, and refuses a label that training has not seen."""

    score: Text | None = None
    """The column of numbers that ``objectives.regression`` learns, such as ``score``."""

    max_tokens: Count = 4096
    """Sentences times longest side of a batch, padding included."""

    max_length: Count = 256
    """Training pairs with more pieces on either side are left out, and counted. Never applies to other splits."""

    streams: CountOrNone = 0
    """For a training split that memory does not hold: how many streams it is read in, a multiple of the number of
    processes, see ``mmt.data.reader``. 0 reads it whole."""


@dataclass(kw_only=True, config=STRICT)
class TextSection:
    vocab_size: Annotated[int, Interval(ge=261, le=1_000_000)] = 10_000
    """Pieces of the joint SentencePiece model trained on the training split."""


@dataclass(kw_only=True, config=STRICT)
class ImagesSection:
    features: Folder | Annotated[tuple[Folder, ...], MinLen(1)] | None = None
    """The feature store that ``mmt features`` wrote, or a list of several, whose features then stand side by side.
    Required unless ``model.fusion`` is ``none``."""

    missing: Literal["skip", "refuse"] = "skip"
    """A sentence whose image has no features: skip the image and train it as text, or refuse the run."""

    dropout_p: Share = 0.0
    """Share of the training sentences with an image that are trained without it, others in each epoch."""


@dataclass(kw_only=True, config=STRICT)
class ModelSection(ModelSizes):
    """See ``mmt.model.config``."""


@dataclass(kw_only=True, config=STRICT)
class ObjectivesSection:
    """What is learnt, each with its weight beside the loss of a target token; see ``mmt.training.objectives``."""

    translation: Weight = 1.0
    """Of source to target: translation, and answers to questions in words."""

    classification: Weight = 0.0
    """The label of sentence and image, ``data.label``."""

    regression: Weight = 0.0
    """The score of sentence and image, ``data.score``: mean absolute error."""

    contrastive: Weight = 0.0
    """Tells the sentence's own image from the batch's others; alone, the training of a retrieval model."""

    negatives: Literal["all", "hardest"] = "all"
    """What ``contrastive`` tells it from: all others, by a softmax; or the one that is most alike, by a margin
    (VSE++)."""

    imagination: Weight = 0.0
    """Predicts the image's vector from the sentence; with ``model.fusion: none`` no image is needed afterwards."""

    masked: Weight = 0.0
    """Gives back masked source tokens, with the image's help. Not for late fusion, whose encoder sees no image."""

    faithful: Weight = 0.0
    """Stays near what the model of ``start.model`` says without the image."""


@dataclass(kw_only=True, config=STRICT)
class StartSection:
    """A trained model to begin from, rather than from chance."""

    model: Folder | None = None
    """Its folder: tokenizer and the weights that both models have are taken; sizes and languages must agree."""

    freeze_text: bool = False
    """Trains only what the text model does not have, so that without an image it stays what it was."""


@dataclass(kw_only=True, config=STRICT)
class BesideSection:
    """Another prepared dataset, a batch of which is learnt beside each batch of ``data``."""

    data: Folder
    task: Literal["translation", "retrieval"] = "translation"
    """Translate, say masked sentences; or tell each sentence's image from others (the contrastive objective)."""

    weight: Weight = 1.0
    """Of a target token (translation) or of a pair (retrieval), beside a target token of ``data``."""

    split: Text = "train"


@dataclass(kw_only=True, config=STRICT)
class OptimizerSection:
    """Adam with an inverse square root schedule, the papers'."""

    lr: Annotated[float, Interval(gt=0, le=100)] = 5e-3
    betas: tuple[ShareBelowOne, ShareBelowOne] = (0.9, 0.98)
    num_warmup_steps: CountOrNone = 2000
    start_lr: Annotated[float, Interval(ge=0, le=100)] = 1e-7
    max_grad_norm: Annotated[float, Gt(0)] | None = 1.0
    label_smoothing: ShareBelowOne = 0.1
    """Mass spread evenly over the vocabulary, and over the labels."""
    num_accumulate: Count = 1
    """Batches an update: 2 x 4,096 tokens are the papers' 8 k."""


@dataclass(kw_only=True, config=STRICT)
class RegimeSection:
    num_steps: Count = 8000
    report_every: Count = 100
    """Updates between two lines of the report; ``validate_every`` must be a multiple of it."""

    validate_every: Count = 500
    """Updates between two validations, each followed by a checkpoint."""

    cooldown_steps: CountOrNone = 0
    """The last updates, over which the learning rate goes to zero; an interrupted run may be given some, too."""

    score: Literal["bleu", "exact", "loss", "accuracy", "mae", "recall"] | None = None
    """What ``best`` means, on the validation split; null follows the objectives: BLEU if the model translates,
    else the first that applies of accuracy, mean absolute error and recall."""

    patience: Count | None = 10
    """Validations without a better score before training stops; null never stops early."""

    keep_last: Count = 10
    """Checkpoints kept, and averaged at the end if their average is better on the validation split."""


@dataclass(kw_only=True, config=STRICT)
class DecodingSection:
    """How the finished model translates unless told otherwise, and how validation does (greedily)."""

    beam_size: Annotated[int, Interval(ge=1, le=1000)] = 5
    length_penalty: Annotated[float, Interval(ge=-100, le=100)] = 1.0


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

    seed: Seed = 1

    threads: Annotated[int, Interval(ge=1, le=4096)] | None = None
    """CPU threads of the training process; null takes all cores."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 rounds what is multiplied, not what is summed; it pays on CPUs that have such products, see
    docs/performance.md."""

    stack: dict[Text, dict[Text, Any]] = field(default_factory=dict)
    """fairseq2's own sections ``trainer``, ``gang``, ``common``, for FSDP, profilers and the like."""
