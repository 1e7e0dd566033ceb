"""Training: fairseq2's recipe of a run.

fairseq2 0.8.1 provides the trainer, optimisers, checkpoints, metric recorders, DDP and FSDP2.
``mmt.training.tasks`` says what is trained, ``mmt.training.config`` with what settings, and
``mmt.training.trainer`` adapts the trainer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import fairseq2.recipe  # before its evaluator and trainer, which import it in a circle  # noqa: F401
import torch
from fairseq2.composition import register_model_family
from fairseq2.evaluator import EvalUnit
from fairseq2.gang import get_current_gangs
from fairseq2.metrics.formatters import format_as_float
from fairseq2.metrics.recorders import MetricDescriptor, MetricRecorder
from fairseq2.models.transformer.fsdp import apply_fsdp_to_transformer
from fairseq2.models.utils.ac import apply_layerwise_ac
from fairseq2.optim.lr_schedulers import LRScheduler
from fairseq2.recipe import Recipe, RecipeContext
from fairseq2.recipe.component import register_component
from fairseq2.recipe.run import run as run_recipe
from fairseq2.runtime.dependency import DependencyContainer
from fairseq2.task import Task, TaskStopException
from torch import nn
from torch.optim import Optimizer

from mmt.data.batch import Batch, Example
from mmt.data.reader import BatchReader, Streamed, StreamReader
from mmt.data.reader_processes import AheadReader
from mmt.data.subwords import SubwordSampling
from mmt.io import runtime
from mmt.io.locks import only_writer_in
from mmt.io.processes import num_processes, rank
from mmt.io.signals import Stopped, StopSwitch, stop_with_launcher
from mmt.model.config import MMTConfig
from mmt.model.folder import load_model
from mmt.model.frozen import freeze_text
from mmt.model.model import MMTModel
from mmt.training.checkpoints import checkpoint_steps, remove_half_written
from mmt.training.config import TrainConfig
from mmt.training.console import ConsoleRecorder, quiet_fairseq2
from mmt.training.graphs import export_graphs
from mmt.training.mlflow_recorder import MLflowRecorder
from mmt.training.multilingual import sampling_of
from mmt.training.resharding import reshard_last_checkpoint
from mmt.training.run import Run
from mmt.training.run_data import longest
from mmt.training.selection import export_best
from mmt.training.stack import (
    FAMILY,
    SCHEDULE,
    SCORE,
    StackConfig,
    explain,
    restore_wandb_id,
    stack_config,
)
from mmt.training.tasks import Objectives, score_of
from mmt.training.trainer import InverseSquareRoot, Patience, ScheduleConfig, create_trainer
from mmt.training.units import HeadValidation, TrainingUnit, TranslationValidation

_SEEDS_APART = 10_000  # of the readers of two datasets


def train(output: Path, config: TrainConfig) -> Path:
    """Trains a model, or resumes an interrupted training.

    Args:
        output: the run's folder: checkpoints, logs, TensorBoard files, and at the end ``model/``.
    Returns:
        The model folder, ``output / "model"``.
    Raises:
        MMTError: the data, features or settings do not fit, ``output`` holds a run with other settings, or another
            process trains there.
        Stopped: by a signal (see ``mmt.io.signals``), after the update of that moment, whose state was saved.
    """
    # Of several processes, rank 0 holds the lock.
    with only_writer_in(output) if rank() == 0 else contextlib.nullcontext():
        return _train(output, config)


def _train(output: Path, config: TrainConfig) -> Path:
    runtime.start()
    stop_with_launcher()
    run = Run.prepare(output, config)
    stack = stack_config(config, output)
    if stack.common.metric_recorders.wandb.enabled:
        restore_wandb_id()
    num_shards = stack.num_shards
    if rank() == 0:  # the other ranks wait for it when they meet
        remove_half_written(output)
        reshard_last_checkpoint(output, processes=num_processes(), shards=num_shards)
    patience = _patience(run)
    # An early stop ends in TaskStopException; it has saved its checkpoint before.
    with StopSwitch() as switch, quiet_fairseq2(), contextlib.suppress(TaskStopException):
        if not _has_stopped_early(run, patience):  # fairseq2 would continue
            try:
                run_recipe(TrainingRecipe(run, switch, patience), stack, output)
            except Exception as error:
                explain(error, output)
                raise
    if switch.signum:
        step = max(checkpoint_steps(output), default=0)
        raise Stopped(
            switch.signum, f"{output} holds the checkpoint of update {step:,}. Rerun the same command to resume."
        )
    if rank() == 0:
        export_best(run)
        if config.decoding.export:
            export_graphs(run)
    return output / "model"


class TrainingRecipe(Recipe):
    """What fairseq2 trains in a run: our model, schedule, metrics, data and trainer."""

    def __init__(self, run: Run, switch: StopSwitch, patience: Patience | None) -> None:
        self._run, self._switch, self._patience = run, switch, patience

    @property
    def config_kls(self) -> type[object]:
        return StackConfig

    def register(self, container: DependencyContainer) -> None:
        register_model_family(
            container,
            FAMILY,
            kls=MMTModel,
            config_kls=MMTConfig,
            factory=lambda _: self._run.new_model(get_current_gangs()),
            supports_meta=False,
            fsdp_applier=_apply_fsdp,
            layerwise_ac_applier=apply_checkpointing,
        )
        register_component(
            container,
            LRScheduler,
            SCHEDULE,
            config_kls=ScheduleConfig,
            factory=lambda resolver, schedule: InverseSquareRoot(resolver.resolve(Optimizer), schedule),
        )
        for place, (name, title) in enumerate({SCORE: "Score", "exact": "Exact match"}.items(), 60):
            descriptor = MetricDescriptor(name, title, place, format_as_float, higher_better=True)
            container.collection.register_instance(MetricDescriptor, descriptor)
        losses = list(self._run.objectives.loss_weights)
        container.collection.register(
            MetricRecorder,  # type: ignore[type-abstract]
            lambda _: ConsoleRecorder(self._run.config.regime.num_steps, losses),
        )
        if self._run.config.mlflow.tracking_uri is not None and rank() == 0:
            container.collection.register(
                MetricRecorder,  # type: ignore[type-abstract]
                lambda _: MLflowRecorder(self._run.output, self._run.config, self._switch),
            )

    def setup_model(self, context: RecipeContext, model: nn.Module, newly_initialized: bool) -> nn.Module:
        if self._run.config.start.freeze_text:  # not in the factory: fairseq2 makes all weights trainable after it
            assert isinstance(model, MMTModel)  # noqa: S101
            freeze_text(model, saved=not self._run.leaves_out_text)
        return model

    def create_task(self, context: RecipeContext) -> Task:
        run, config, gangs = self._run, self._run.config, context.gangs
        model, dp_model = context.get_model_as(MMTModel), context.get_data_parallel_model()
        validation: EvalUnit[Batch] = (
            TranslationValidation(dp_model, model, run.tokenizer, run.pairs)
            if run.objectives.writes
            else HeadValidation(model, score_of(config))
        )
        return create_trainer(
            context,
            TrainingUnit(dp_model, _completed(run, gangs.root.device)),
            _training_reader(run, gangs.dp.rank, gangs.dp.size),
            (validation, _reader(run, run.valid_set, gangs.dp.rank, gangs.dp.size, shuffle=False)),
            output=run.output,
            switch=self._switch,
            early_stopper=self._patience,
            average_decay=config.regime.average_decay if config.regime.average == "ema" else None,
        )

    def has_static_autograd_graph(self, context: RecipeContext) -> bool:
        return True


def _training_reader(run: Run, rank: int, world_size: int) -> BatchReader | StreamReader:
    """Reads the training split, and a batch of each additional dataset beside each of its batches."""
    config = run.config
    settings: dict[str, Any] = {
        "num_accumulate": config.optimizer.num_accumulate,
        "image_dropout_p": config.images.dropout_p,
        "subwords": subword_sampling(run),
        "beside": [
            _reader(run, examples, rank, world_size, shuffle=True, dataset=number)
            for number, examples in enumerate(run.beside, 1)
        ],
    }
    if isinstance(run.train_set, Streamed):
        settings |= {
            "streams": config.data.streams,
            "seed": config.seed,
            "max_tokens": config.data.max_tokens,
            "rank": rank,
            "world_size": world_size,
        }
        if config.data.readers:
            return AheadReader(run.train_set, run.features, processes=config.data.readers, **settings)
        return StreamReader(run.train_set, run.features, **settings)
    sampling = sampling_of(config, run.train_set)
    return _reader(run, run.train_set, rank, world_size, shuffle=True, sampling=sampling, **settings)


def subword_sampling(run: Run) -> SubwordSampling | None:
    """How training sentences are split anew, see ``text.sampling``."""
    text, regime = run.config.text, run.config.regime
    if not text.sampling:
        return None
    updates = regime.num_steps - regime.cooldown_steps
    return SubwordSampling(
        run.tokenizer, text.sampling, longest(run.config), updates, text.sampling_side == "both"
    )


def _reader(
    run: Run,
    examples: Sequence[Example],
    rank: int,
    world_size: int,
    *,
    shuffle: bool,
    dataset: int = 0,
    **settings: Any,
) -> BatchReader:
    """``dataset``: its number, since each of a run's datasets is shuffled differently."""
    return BatchReader(
        examples,
        run.features,
        max_tokens=run.config.data.max_tokens,
        shuffle=shuffle,
        seed=run.config.seed + _SEEDS_APART * dataset,
        rank=rank,
        world_size=world_size,
        **settings,
    )


def _completed(run: Run, device: torch.device) -> Objectives:
    """The run's objectives with what the tokenizer says, and a teacher on ``device`` if the text is trained."""
    mask, tags = run.tokenizer.mask_id, len(run.tokenizer.source_prefix)
    objectives, start = replace(run.objectives, mask_id=mask, num_tags=tags), run.config.start
    if "faithful" not in objectives.weights or start.freeze_text:
        return objectives
    teacher = run.text_model() if start.model is None else load_model(start.model)[0]
    return replace(objectives, teacher=teacher.to(device).requires_grad_(False))


def _patience(run: Run) -> Patience | None:
    patience = run.config.regime.patience
    return None if patience is None else Patience(run.output / "scores.json", patience)


def _has_stopped_early(run: Run, patience: Patience | None) -> bool:
    steps = checkpoint_steps(run.output)
    return patience is not None and bool(steps) and patience.has_stopped(steps[-1])


def apply_checkpointing(model: MMTModel, every_nth_layer: int) -> nn.Module:
    """Gradient checkpointing: the text model's layers are computed again in the backward pass.

    Args:
        every_nth_layer: 1 is every layer.
    """
    for stack in (model.text.encoder, model.text.decoder):
        if stack is not None:
            apply_layerwise_ac(stack.layers, every_nth_layer)
    return model


def _apply_fsdp(model: MMTModel, granularity: str, wrapper: Callable[[nn.Module], nn.Module]) -> nn.Module:
    # It uses the layers of .encoder and .decoder, and nothing else of a Transformer.
    apply_fsdp_to_transformer(model.text, granularity, wrapper)  # type: ignore[arg-type]
    return model
