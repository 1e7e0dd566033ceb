"""Training: the only place that knows fairseq2's recipe, registry and dependency container.

fairseq2 0.8.1 gives the trainer, optimisers, schedules, checkpoints, metric recorders, DDP and FSDP2; this file
says what is trained (``mmt.training.tasks``), with what settings (``mmt.training.config``), and makes a model
folder of the result.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from fairseq2.composition import register_model_family
from fairseq2.error import OperationalError
from fairseq2.gang import GangError, get_current_gangs
from fairseq2.metrics.formatters import format_as_float
from fairseq2.metrics.recorders import MetricDescriptor, MetricRecorder
from fairseq2.optim.lr_schedulers import LRScheduler
from fairseq2.recipe import Recipe, RecipeContext  # before fairseq2.evaluator, which imports it in a circle
from fairseq2.recipe.component import register_component
from fairseq2.recipe.config import (
    AdamWConfig,
    CommonSection,
    GangSection,
    LRSchedulerSection,
    ModelSection,
    OptimizerSection,
    RegimeSection,
    TrainerSection,
)
from fairseq2.recipe.error import WandbInitializationError
from fairseq2.recipe.run import run as run_recipe
from fairseq2.runtime.dependency import DependencyContainer
from fairseq2.task import Task, TaskStopException
from fairseq2.utils.structured import StandardValueConverter
from fairseq2.utils.validation import StandardObjectValidator, ValidationError
from torch import nn
from torch.optim import Optimizer

from mmt.data.batch import Example, collate
from mmt.data.buckets import length_batches
from mmt.data.dataset import read_info
from mmt.data.reader import BatchReader, Streamed, StreamReader
from mmt.errors import MMTError, nearest
from mmt.io import runtime
from mmt.io.atomic import disk_error, only_writer_in, remedy
from mmt.io.processes import num_processes, rank
from mmt.io.signals import Stopped, StopSwitch, stop_with_launcher
from mmt.io.terminal import console
from mmt.io.versions import versions
from mmt.model.card import ModelCard
from mmt.model.config import MMTConfig
from mmt.model.folder import save_model
from mmt.model.fusion import find_fusion
from mmt.model.model import MMTModel
from mmt.training.checkpoints import checkpoint_steps, cut_off_halves, fit_last_checkpoint, keep_plain
from mmt.training.config import TrainConfig
from mmt.training.config_file import tree_of
from mmt.training.console import ConsoleRecorder, quiet_fairseq2
from mmt.training.run import Run
from mmt.training.schedule import InverseSquareRoot, ScheduleConfig
from mmt.training.selection import choose, totals
from mmt.training.tasks import LabelValidation, Training, TranslationValidation
from mmt.training.trainer import Patience, report_epoch_of, stop_when_asked, validate_when_cut_off

_FAMILY = "mmt"
_SCORE = "score"  # of ``LabelValidation``
_SCORES = "scores.json"  # of ``Patience``
_SCHEDULE = "inverse_square_root"
_STACK_SECTIONS = {"trainer": TrainerSection, "gang": GangSection, "common": CommonSection}


def train(output: Path, config: TrainConfig) -> Path:
    """Trains a model, or goes on where an interrupted training stopped.

    Args:
        output: the run's folder: checkpoints, logs, TensorBoard files, and at the end ``model/``.
    Returns:
        The model folder, ``output / "model"``.
    Raises:
        MMTError: the data, features or settings do not fit, ``output`` holds a run with other settings, or another
            process trains there.
        Stopped: by a signal (see ``mmt.io.signals``), after the update of that moment, whose state was saved.
    """
    # Of several processes, the first one stands for all.
    with only_writer_in(output) if rank() == 0 else contextlib.nullcontext():
        return _train(output, config)


def _train(output: Path, config: TrainConfig) -> Path:
    runtime.start()
    stop_with_launcher()
    run = Run.prepare(output, config)
    stack = _stack_config(run)
    if stack.common.metric_recorders.wandb.enabled:
        _help_wandb()
    if rank() == 0:  # the others wait for it when they meet
        cut_off_halves(output)
        fit_last_checkpoint(output, processes=num_processes(), shards=_num_shards(stack))
    # An early stop ends in this exception; it has saved its checkpoint before.
    with StopSwitch() as switch, quiet_fairseq2(), contextlib.suppress(TaskStopException):
        if not _stopped_early(run):  # fairseq2 would train on
            try:
                run_recipe(_TranslationRecipe(run, switch), stack, output)
            except (RuntimeError, OSError, OperationalError) as error:
                if (said := disk_error(error)) is not None:
                    raise MMTError(
                        f"{output}: cannot be written ({said.strerror}). {remedy(said)} The same command resumes "
                        "from the last checkpoint."
                    ) from None
                _check_still_there(output, error)
                raise
            except Exception as error:
                _check_settings(error)
                raise
    if switch.asked:
        step = max(checkpoint_steps(output), default=0)
        raise Stopped(
            switch.asked, f"{output} holds the checkpoint of update {step:,}. Rerun the same command to resume."
        )
    if rank() == 0:
        _export(run)
    return output / "model"


def _check_settings(error: Exception) -> None:
    """Raises MMTError if ``error`` is that fairseq2's own settings, or a service that they name, cannot be had."""
    from wandb.errors import Error as WandbError

    cause = error.__cause__ or error
    if isinstance(error, WandbInitializationError | WandbError):
        reason = " ".join(str(cause).split()) or type(cause).__name__
        raise MMTError(
            f"stack.common.metric_recorders.wandb: {reason} Log in with 'wandb login', set WANDB_MODE=offline, or "
            "leave the recorder out: OUTPUT/metrics and OUTPUT/tb have the same figures."
        ) from None
    if type(error).__module__ == "fairseq2.recipe.error":
        raise MMTError(f"stack: {' '.join(str(error).split()) or type(error).__name__}") from None


def _help_wandb() -> None:
    """Gives wandb back a function that fairseq2 0.8.1 takes from where it was before wandb 0.19."""
    import wandb.util
    from wandb.sdk.lib.runid import generate_id

    if not hasattr(wandb.util, "generate_id"):
        wandb.util.generate_id = generate_id  # type: ignore[attr-defined]


def _check_still_there(output: Path, error: Exception) -> None:
    """Raises MMTError if ``error`` is that another process of the training is gone."""
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    lost = (GangError, torch.distributed.DistError)
    said = [one for one in causes if isinstance(one, lost) or re.search("gloo|nccl", str(one), re.IGNORECASE)]
    if num_processes() > 1 and said:
        reason = str(said[-1]).strip().partition("\n")[0]
        raise MMTError(
            f"{output}: process {rank()} of {num_processes()} has lost the others ({reason}). See the message of "
            "the one that ended first; rerun the same command to resume from the last checkpoint."
        ) from None


def _num_shards(stack: _StackConfig) -> int:
    """Into how many parts model and optimiser are divided."""
    trainer = stack.trainer
    if trainer.data_parallelism != "fsdp":
        return 1
    if trainer.fsdp.version != "v2":
        raise MMTError("stack.trainer.fsdp.version: FSDP1's checkpoints cannot be read. Use v2.")
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if trainer.fsdp.hybrid else num_processes()


@dataclass(kw_only=True)
class _StackConfig:
    """fairseq2's sections, filled in from ours."""

    model: ModelSection
    optimizer: OptimizerSection
    lr_scheduler: LRSchedulerSection
    regime: RegimeSection
    trainer: TrainerSection = field(default_factory=TrainerSection)
    gang: GangSection = field(default_factory=GangSection)
    common: CommonSection = field(default_factory=CommonSection)


class _TranslationRecipe(Recipe):
    def __init__(self, run: Run, switch: StopSwitch) -> None:
        self._run, self._switch = run, switch

    @property
    def config_kls(self) -> type[object]:
        return _StackConfig

    def register(self, container: DependencyContainer) -> None:
        register_model_family(
            container,
            _FAMILY,
            kls=MMTModel,
            config_kls=MMTConfig,
            factory=lambda _: self._run.new_model(get_current_gangs()),
            supports_meta=False,
            fsdp_applier=_apply_fsdp,
        )
        register_component(
            container,
            LRScheduler,
            _SCHEDULE,
            config_kls=ScheduleConfig,
            factory=lambda resolver, schedule: InverseSquareRoot(resolver.resolve(Optimizer), schedule),
        )
        container.collection.register_instance(
            MetricDescriptor, MetricDescriptor(_SCORE, "Score", 60, format_as_float, higher_better=True)
        )
        container.collection.register_instance(
            MetricDescriptor, MetricDescriptor("exact", "Exact match", 61, format_as_float, higher_better=True)
        )
        container.collection.register(
            MetricRecorder,  # type: ignore[type-abstract]
            lambda _: ConsoleRecorder(self._run.config.regime.num_steps, self._run.losses()),
        )

    def setup_model(self, context: RecipeContext, model: nn.Module, newly_initialized: bool) -> nn.Module:
        if self._run.config.start.freeze_text:  # not earlier: fairseq2 thaws what the factory makes
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(not MMTModel.is_of_text(name))
        return model

    def create_task(self, context: RecipeContext) -> Task:
        run, config = self._run, self._run.config
        gangs = context.gangs
        model, dp_model = context.get_model_as(MMTModel), context.get_data_parallel_model()

        shared: dict[str, Any] = {
            "max_tokens": config.data.max_tokens,
            "rank": gangs.dp.rank,
            "world_size": gangs.dp.size,
        }

        def reader(examples: list[Example], *, shuffle: bool, stream: int = 0, **more: Any) -> BatchReader:
            seed = config.seed + 10_000 * stream  # each dataset in an order of its own
            return BatchReader(examples, run.features, shuffle=shuffle, seed=seed, **shared, **more)

        training: dict[str, Any] = {
            "num_accumulate": config.optimizer.num_accumulate,
            "image_dropout_p": config.images.dropout_p,
            "beside": [reader(one, shuffle=True, stream=n) for n, one in enumerate(run.beside, 1)],
        }
        train_reader: BatchReader | StreamReader
        if isinstance(run.train_set, Streamed):
            streams = config.data.streams
            train_reader = StreamReader(
                run.train_set, run.features, streams=streams, seed=config.seed, **shared, **training
            )
        else:
            train_reader = reader(run.train_set, shuffle=True, **training)
        trainer = context.create_trainer(
            Training(dp_model, run.learnt(gangs.root.device)),
            train_reader,
            [
                TranslationValidation(dp_model, model, run.tokenizer)
                if config.writes
                else LabelValidation(model, config.score)
            ],
            [reader(run.valid_set, shuffle=False)],
        )
        if config.regime.patience is not None:
            # fairseq2 0.8.1's trainer can stop early, but its factory always wires that off.
            trainer._early_stopper = Patience(run.output / _SCORES, config.regime.patience)
        keep_plain(trainer._checkpoint_manager, trainer._optimizer)
        if isinstance(train_reader, StreamReader):
            report_epoch_of(trainer, train_reader)
        validate_when_cut_off(trainer, run.output, gangs.root)
        stop_when_asked(trainer, self._switch, gangs.root)
        return trainer

    def has_static_autograd_graph(self, context: RecipeContext) -> bool:
        return True


def _stopped_early(run: Run) -> bool:
    patience, steps = run.config.regime.patience, checkpoint_steps(run.output)
    return patience is not None and bool(steps) and Patience(run.output / _SCORES, patience).has_stopped(steps[-1])


def _stack_config(run: Run) -> _StackConfig:
    config = run.config
    optimizer, regime = config.optimizer, config.regime
    sections: dict[str, Any] = {
        "trainer": {
            "max_grad_norm": optimizer.max_grad_norm,
            "grad_accumulation": {"num_batches": optimizer.num_accumulate},
            # float32 unless asked: fairseq2's own default, bf16, is no gain on most CPUs.
            "mixed_precision": {"mode": "off" if config.precision == "float32" else "auto", "dtype": "bfloat16"},
        },
        "gang": {},
        # The folder is the run's name; fairseq2 would add a hash of the settings.
        "common": {"seed": config.seed, "no_sweep_dir": True, "torch": {"num_threads": config.threads}},
    }
    converter = StandardValueConverter()
    for name, kls in _STACK_SECTIONS.items():
        tree = converter.unstructure(kls())
        for changes in (sections[name], config.stack.get(name) or {}):
            _merge(tree, changes, f"stack.{name}")
        try:
            sections[name] = converter.structure(tree, kls)
            StandardObjectValidator().validate(sections[name])
        except ValidationError as error:
            raise MMTError(f"stack.{name}: {' '.join(str(error.result).split())}") from None
        except Exception as error:
            causes = [str(error)]
            while (cause := error.__cause__) is not None:
                error = cause  # type: ignore[assignment]
                causes.append(str(cause))
            raise MMTError(f"stack.{name}: {' '.join(' '.join(causes[-2:]).split())}") from None
    return _StackConfig(
        model=ModelSection(family=_FAMILY),
        optimizer=OptimizerSection(config=AdamWConfig(lr=optimizer.lr, betas=optimizer.betas, impl="fused")),
        lr_scheduler=LRSchedulerSection(
            name=_SCHEDULE,
            config=ScheduleConfig(
                num_warmup_steps=optimizer.num_warmup_steps,
                start_lr=optimizer.start_lr,
                num_steps=regime.num_steps,
                cooldown_steps=regime.cooldown_steps,
            ),
        ),
        regime=RegimeSection(
            num_steps=regime.num_steps,
            score_metric={"bleu": "bleu", "loss": "nll_loss", "exact": "exact"}.get(config.score, _SCORE),
            validate_every_n_steps=regime.validate_every,
            checkpoint_every_n_steps=regime.validate_every,
            publish_metrics_every_n_steps=regime.report_every,
            # Those that a signal asked for do not count.
            keep_last_n_checkpoints=regime.keep_last
            + sum(step % regime.validate_every > 0 for step in checkpoint_steps(run.output)),
            keep_best_n_checkpoints=1,
        ),
        **sections,
    )


def _merge(tree: Any, changes: Mapping[str, Any], where: str) -> None:
    for key, value in changes.items():
        if key not in tree:
            raise MMTError(f"{where}: unknown key '{key}'.{nearest(key, tree)} Known: {', '.join(tree)}.")
        if isinstance(tree[key], dict) and isinstance(value, Mapping):
            _merge(tree[key], value, f"{where}.{key}")
        elif tree[key] is not None and not _of_kind(value, tree[key]):  # fairseq2 would read true as 1
            like = "keys and values" if isinstance(tree[key], dict) else f"a value such as {tree[key]!r}"
            raise MMTError(f"{where}.{key}: expected {like}, found {value!r}.")
        else:
            tree[key] = value


def _of_kind(value: Any, like: Any) -> bool:
    """Whether ``value`` is of the type of fairseq2's default; null is for fairseq2 to judge."""
    if value is None:
        return True
    if isinstance(like, bool | int | str):
        return type(value) is type(like)
    if isinstance(like, float):
        return type(value) in (int, float) and math.isfinite(value)
    return isinstance(value, list | tuple) if isinstance(like, list | tuple) else type(value) is type(like)


def _apply_fsdp(model: MMTModel, granularity: str, wrapper: Callable[[nn.Module], nn.Module]) -> nn.Module:
    from fairseq2.models.transformer.fsdp import apply_fsdp_to_transformer

    # It asks for .encoder and .decoder with .layers, which is all that it takes of a Transformer.
    return apply_fsdp_to_transformer(model, granularity, wrapper)  # type: ignore[arg-type]


def _export(run: Run) -> None:
    """Makes the model folder of the checkpoints that do best on the validation split."""
    decoding = run.config.decoding
    lengths = [(len(e.source) + 1, len(e.target) + 1) for e in run.valid_set]
    batches = [
        collate([run.valid_set[i] for i in batch], run.features)
        for batch in length_batches(lengths, run.config.data.max_tokens)
    ]
    weights, scores = choose(
        run.output,
        run.model_config(),
        batches,
        run.tokenizer,
        score=run.config.score,
        every=run.config.regime.validate_every,
        keep_last=run.config.regime.keep_last,
        beam_size=decoding.beam_size,
        length_penalty=decoding.length_penalty,
    )
    out = console(err=True)
    writes = run.config.writes
    measure = "exact" if run.config.score == "exact" else "BLEU" if writes else run.config.score
    for name, score in scores.items():
        how = f"{measure} {score:.2f}" + (f" (beam {decoding.beam_size})" if writes else "")
        out.print(f"validation {how}  {name}", soft_wrap=True)
    winner = next(iter(scores))
    # else features were for learning alone
    uses_images = run.config.model.fusion != "none" or "contrastive" in run.config.heads
    card = ModelCard(
        config=asdict(run.model_config()),
        source_lang=run.info.source_lang,
        target_lang=run.info.target_lang,
        features=run.features.signature if run.features is not None and uses_images else None,
        decoding=asdict(decoding),
        labels=run.labels,
        training={
            "data": run.info.name,
            "data_checksum": run.info.splits[run.config.data.train_split].checksum,
            "probe": run.info.probe,
            **_learnt_otherwise(run),
            "sentences": len(run.train_set),
            "images_in_use": run.num_with_image,
            "seed": run.config.seed,
            "weights": winner,
            f"validation_{measure.lower()}": round(scores[winner], 2),
            "versions": versions("torch", "fairseq2"),
            "config": tree_of(run.config),
            **totals(run.output),
        },
    )
    save_model(run.output / "model", weights, run.output / "tokenizer.model", card, run.training_pieces())
    out.print(f"model: {run.output / 'model'}  ({winner})", soft_wrap=True)


def _learnt_otherwise(run: Run) -> dict[str, Any]:
    """For the model's card, what a plain run has not: other objectives, data learnt beside, a model begun from."""
    config = run.config
    found: dict[str, Any] = {}
    if config.objectives.used() or config.objectives.translation != 1.0:
        found["objectives"] = {"translation": config.objectives.translation, **config.objectives.used()}
    module = getattr(find_fusion(config.model.fusion), "__module__", "mmt.model.fusion")
    if module != "mmt.model.fusion":
        found["fusion_module"] = module  # what has to be imported before the model can be loaded
    if config.images.dropout_p:
        found["image_dropout_p"] = config.images.dropout_p
    if config.beside:
        infos = [read_info(one.data) for one in config.beside]
        found["beside"] = [
            {"data": info.name, "task": one.task, "weight": one.weight, "probe": info.probe}
            for one, info in zip(config.beside, infos, strict=True)
        ]
    if run.start is not None:
        found["start"] = {"fusion": run.start.config["fusion"], "seed": run.start.training.get("seed")}
        found["start"]["freeze_text"] = config.start.freeze_text
    return found
