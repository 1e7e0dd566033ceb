"""Training configuration. A YAML file overrides the defaults below."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Interval, Le, MinLen
from pydantic import BeforeValidator, ConfigDict
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from mmt.errors import is_url
from mmt.model.config import Count, CountOrNone, ModelSizes, Share, ShareBelowOne

STRICT = ConfigDict(extra="forbid", validate_default=False, allow_inf_nan=False)


def check_path(value: Any) -> Any:
    """A pydantic validator that refuses what ``pathlib`` accepts as a path but names no place on this machine."""
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
    """The prepared dataset. Required, unless ``datasets`` is set."""

    datasets: Annotated[tuple[Folder, ...], MinLen(2)] | None = None
    """Instead of ``path``: several prepared datasets, for one model. The vocabulary and validation are of the
    first dataset of each language pair. If there are several pairs, a tag of the target language stands before
    each source sentence."""

    temperature: Annotated[float, Ge(1), Le(1000)] = 1.0
    """Sampling of ``datasets``: a dataset of n sentences has a share of n ** (1 / temperature). 1 reads each
    sentence once in an epoch; higher values read small datasets more often."""

    upsample: Annotated[tuple[Annotated[float, Interval(gt=0, le=1000)], ...], MinLen(2)] | None = None
    """Instead of ``temperature``: how often an epoch reads each of ``datasets``. [5, 1] reads the first five times
    and the second once; 0.5 reads half of a dataset, drawn anew in each epoch."""

    train_split: Text = "train"
    """The split that the model learns from."""
    valid_split: Text = "val"
    """The split on which checkpoints are compared."""

    label: Text | None = None
    """The column of labels that ``objectives.classification`` predicts, such as ``label``."""

    num_labels: Annotated[int, Interval(ge=2, le=10**9)] | None = None
    """Keeps only the most frequent labels: a sentence with a rarer one is left out of the loss and counts
    as wrong in validation. Null keeps all, and refuses a label in validation that the training split lacks."""

    score: Text | None = None
    """The column of numbers that ``objectives.regression`` predicts, such as ``score``."""

    max_tokens: Count = 4096
    """Maximum size of a batch: sentences times the length of the longest side, padding included."""

    max_length: Count = 256
    """Training pairs with this many pieces or more on either side are left out and counted, and so are those for
    which the model has too few positions. Applies to training data only."""

    streams: CountOrNone = 0
    """For a training split that does not fit into memory: the number of streams in which it is read, a multiple of
    the number of processes; see ``mmt.data.reader``. 0 reads it into memory."""

    readers: CountOrNone = 0
    """Processes that read the streams ahead of each trainer, so that it does not wait for its next batch;
    ``data.streams`` is a multiple of their number. 0 reads in the trainer. The batches are the same."""


@dataclass(kw_only=True, config=STRICT)
class TextSection:
    vocab_size: Annotated[int, Interval(ge=261, le=1_000_000)] = 10_000
    """Size of the joint SentencePiece vocabulary, which is trained on the training split."""

    sampling: ShareBelowOne = 0.0
    """BPE-dropout (Provilkov et al. 2020): the probability with which each merge is left out of the source
    sentences of ``data``, drawn anew in each epoch. The cooldown's updates read them whole. Batches become longer
    than ``data.max_tokens``, as they are planned without it."""

    sampling_side: Literal["source", "both"] = "source"
    """``both`` also splits the target sentences by ``sampling``."""


@dataclass(kw_only=True, config=STRICT)
class ImagesSection:
    features: Folder | Annotated[tuple[Folder, ...], MinLen(1)] | None = None
    """The feature store written by ``mmt features``, or a list of several, whose features are used together.
    Required unless ``model.fusion`` is ``none``."""

    missing: Literal["skip", "refuse"] = "skip"
    """If an image has no features: ``skip`` trains its sentence as text only, ``refuse`` stops with an error."""

    dropout_p: Share = 0.0
    """Probability with which a training sentence loses its image, drawn anew in each epoch."""


@dataclass(kw_only=True, config=STRICT)
class ModelSection(ModelSizes):
    """See ``mmt.model.config``."""


@dataclass(kw_only=True, config=STRICT)
class ObjectivesSection:
    """The weight of each objective, relative to the loss of one target token; see ``mmt.training.tasks``."""

    translation: Weight = 1.0
    """Source to target: translation, and answering questions in words."""

    image_weighting: Weight = 0.0
    """Weights each target token of ``translation`` by how much more probable the image makes it: this number times
    the gain in log-probability (at most 3 nats), plus 1; see ``mmt.training.objectives.image_weights``."""

    r_drop: Weight = 0.0
    """Translates each batch twice with different dropout, and adds this number, alpha, times half the mean of the
    two KL divergences between them to a target token's loss (R-Drop, Liang et al. 2021). Takes almost three times
    as long."""

    classification: Weight = 0.0
    """Predicts the label of a sentence and its image, ``data.label``."""

    regression: Weight = 0.0
    """Predicts the score of a sentence and its image, ``data.score``; the loss is the mean absolute error."""

    contrastive: Weight = 0.0
    """Distinguishes a sentence's own image from the others in the batch; on its own, this trains a retrieval
    model."""

    negatives: Literal["all", "hardest"] = "all"
    """Negatives of ``contrastive`` and of retrieval: ``all`` others in the batch, in a softmax; or only the
    ``hardest``, the most similar one, with a margin (VSE++)."""

    imagination: Weight = 0.0
    """Predicts the image's vector from the sentence. With ``model.fusion: none``, the trained model needs no
    images."""

    masked: Weight = 0.0
    """Predicts masked source tokens from the rest and the image. Not for late fusion, whose
    encoder sees no image."""

    faithful: Weight = 0.0
    """Stays close to the output distribution of a text model (KL divergence): the model itself without its image
    where ``start.freeze_text`` is set; else ``start.model``, or the base that ``model.text`` names."""


@dataclass(kw_only=True, config=STRICT)
class StartSection:
    """Initialise from a trained model instead of random weights."""

    model: Folder | None = None
    """Its folder. The run takes its tokenizer and all weights that both models have, or with another fusion those
    of the text model alone (with ``model.text``, none); sizes and languages must agree."""

    freeze_text: bool = False
    """Trains only the weights that the text model does not have, so that text without an image is translated as
    before. The text model is that of ``start.model`` or, if ``model.text`` names one, the base, whose weights are
    then in neither checkpoints nor the model folder."""


@dataclass(kw_only=True, config=STRICT)
class BesideSection:
    """An additional prepared dataset: each training step also uses a batch of it."""

    data: Folder
    """The prepared dataset."""
    task: Literal["translation", "retrieval"] = "translation"
    """``translation``, for example of masked sentences, or ``retrieval`` (the contrastive objective)."""

    weight: Weight = 1.0
    """Weight of a target token (translation) or of a pair (retrieval), relative to a target token of ``data``."""

    split: Text = "train"
    """Its split that is used."""


@dataclass(kw_only=True, config=STRICT)
class OptimizerSection:
    """AdamW with an inverse square root schedule, as in the papers."""

    lr: Annotated[float, Interval(gt=0, le=100)] = 5e-3
    """The highest learning rate, reached after the warm-up; the papers'."""
    text_lr: Annotated[float, Interval(gt=0, le=100)] | None = None
    """The highest learning rate of the text model's weights, such as a pretrained encoder's, without
    adapters, LoRA and what a fusion adds to its layers; null is ``lr``."""
    betas: tuple[ShareBelowOne, ShareBelowOne] = (0.9, 0.98)
    """AdamW's decay rates of the mean gradient and of its square."""
    weight_decay: Annotated[float, Interval(ge=0, le=100)] = 0.0
    """AdamW's: each update shrinks each weight by this number times the learning rate."""
    num_warmup_steps: CountOrNone = 2000
    """Updates over which the learning rate rises; after them it falls with their inverse square root. By default a
    fifth of the training sentences where these are fewer than 10,000, and at least 25."""
    start_lr: Annotated[float, Interval(ge=0, le=100)] = 1e-7
    """The learning rate of the first update."""
    max_grad_norm: Annotated[float, Gt(0)] | None = 1.0
    """Gradients with a larger norm are scaled down to it; null never scales."""
    label_smoothing: ShareBelowOne = 0.1
    """Probability mass spread evenly over the vocabulary, or over the labels."""
    num_accumulate: Count = 1
    """Batches per update (gradient accumulation): 2 x 4,096 tokens are the papers' 8 k."""


@dataclass(kw_only=True, config=STRICT)
class RegimeSection:
    num_steps: Count = 8000
    """Updates in all. It may be raised when a run is resumed. With n training sentences, fewer than 10,000, the
    default is n / 10,000 of this, and at least 100; see ``mmt.training.small_data``."""
    report_every: Count = 100
    """Updates between two reports; ``validate_every`` must be a multiple of it."""

    validate_every: Count = 500
    """Updates between two validations, each followed by a checkpoint. With fewer than 10,000 training sentences
    the default is smaller in proportion, and so is that of ``report_every``."""

    cooldown_steps: CountOrNone = 0
    """The number of final updates over which the learning rate falls to zero. It may be set when a
    run is resumed."""

    score: Literal["bleu", "exact", "loss", "accuracy", "mae", "recall"] | None = None
    """The validation score that decides which checkpoint is best. Null follows the objectives: BLEU if the model
    translates, else the first that applies of accuracy, mean absolute error and recall. In a model that
    translates, ``loss`` chooses the checkpoint, and BLEU then compares it with averages of the weights."""

    patience: Count | None = 10
    """Early stopping: validations without a better score before training stops. Null never stops early."""

    keep_last: Count = 10
    """Number of last checkpoints that are kept. Their average becomes the model if it scores better on the
    validation split than the best checkpoint."""

    average: Literal["last", "ema"] = "last"
    """``ema`` also keeps an exponential moving average of the weights in each checkpoint. That of the best and
    that of the last checkpoint are compared with the others on the validation split."""

    average_decay: ShareBelowOne = 0.999
    """Of ``average: ema``, see ``mmt.training.moving_average``: a higher one averages over more updates."""


@dataclass(kw_only=True, config=STRICT)
class DecodingSection:
    """Default decoding of the finished model. Validation during training decodes greedily."""

    beam_size: Annotated[int, Interval(ge=1, le=1000)] = 5
    """Hypotheses of each sentence that the search keeps; 1 is greedy search."""
    length_penalty: Annotated[float, Interval(ge=-100, le=100)] | Literal["val"] = 1.0
    """``val`` chooses among 0.6, 0.8, ..., 1.6 by the score of the finished model on the validation split. While
    the smallest or largest one tried is the best, the next one follows, from 0 to 3."""
    export: bool = True
    """Ends the training by exporting the finished model into its folder, as ``mmt export`` does, so that it starts
    without torch and translates faster, with the same output. Takes about 20 s, and as much space as the weights
    for each precision; int8 is kept if it loses at most 0.1 BLEU on the validation split."""
    vocabulary: Folder | None = None
    """File of sentences in the target language: the finished model writes only with pieces that occur in it, which
    is faster with a large vocabulary of many languages."""


@dataclass(kw_only=True, config=STRICT)
class MLflowSection:
    """In MLflow, beside ``OUTPUT/metrics`` and TensorBoard; needs the package mlflow-skinny or mlflow."""

    tracking_uri: Text | None = None
    """Where: a server (``http://...``), or with the package mlflow a database (``sqlite:///mlflow.db``). Null
    records nothing."""

    experiment: Text = "mmt"
    """The experiment that the run belongs to; it is created where there is none."""


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
    mlflow: MLflowSection = field(default_factory=MLflowSection)

    seed: Seed = 1
    """Seed of the initial weights, the batch order, dropout and all other random choices."""

    threads: Annotated[int, Interval(ge=1, le=4096)] | None = None
    """CPU threads of the training process; null uses all cores."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 is mixed precision: products are rounded, sums are not. It is faster on CPUs with bfloat16
    instructions, see docs/performance.md."""

    stack: dict[Text, dict[Text, Any]] = field(default_factory=dict)
    """fairseq2's own sections ``trainer``, ``gang`` and ``common``: FSDP, profilers and so on."""
