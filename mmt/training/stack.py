"""fairseq2's own settings: its sections filled in from ours and from ``stack``, and its refusals in one line."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import wandb.util
from fairseq2.error import OperationalError
from fairseq2.gang import GangError
from fairseq2.recipe.config import (
    AdamWConfig,
    AdamWGroupConfig,
    CommonSection,
    GangSection,
    LRSchedulerSection,
    ModelSection,
    OptimizerSection,
    RegimeSection,
    TrainerSection,
)
from fairseq2.recipe.error import WandbInitializationError
from fairseq2.utils.structured import StandardValueConverter
from fairseq2.utils.validation import StandardObjectValidator, ValidationError
from wandb.errors import Error as WandbError
from wandb.sdk.lib.runid import generate_id

from mmt.errors import MMTError, nearest
from mmt.io.disk import disk_error, remedy
from mmt.io.processes import num_processes, rank
from mmt.model.fusion import STANDARD_ATTENTION
from mmt.training.checkpoints import checkpoint_steps
from mmt.training.config import TrainConfig
from mmt.training.tasks import score_of
from mmt.training.trainer import ScheduleConfig

FAMILY = "mmt"
"""The name of our model in fairseq2's registry."""

SCHEDULE = "inverse_square_root"
"""The name of our learning rate schedule there."""

SCORE = "score"
"""The metric by which a run without translations is judged, see ``mmt.training.units.HeadValidation``."""

TEXT_WEIGHTS = (
    r"(module\.)?text\.(?!.*\.(adapter|lora)_(down|up)\.)"
    rf"(?!.*\.encoder_decoder_attn\.(?!({'|'.join(sorted(STANDARD_ATTENTION))})\.))"
)
"""What ``MMTModel.is_of_text`` says of a weight, as a regular expression of its name."""

_SECTIONS = {"trainer": TrainerSection, "gang": GangSection, "common": CommonSection}


@dataclass(kw_only=True)
class StackConfig:
    """fairseq2's sections, filled in from ours."""

    model: ModelSection
    optimizer: OptimizerSection
    lr_scheduler: LRSchedulerSection
    regime: RegimeSection
    trainer: TrainerSection = field(default_factory=TrainerSection)
    gang: GangSection = field(default_factory=GangSection)
    common: CommonSection = field(default_factory=CommonSection)

    @property
    def num_shards(self) -> int:
        """Number of shards of the model and of the optimiser's state.

        Raises:
            MMTError: FSDP1 is set, whose checkpoints cannot be read.
        """
        if self.trainer.data_parallelism != "fsdp":
            return 1
        if self.trainer.fsdp.version != "v2":
            raise MMTError("stack.trainer.fsdp.version: FSDP1's checkpoints cannot be read. Use v2.")
        return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if self.trainer.fsdp.hybrid else num_processes()


def stack_config(config: TrainConfig, output: Path) -> StackConfig:
    """fairseq2's configuration of a run in ``output``.

    Raises:
        MMTError: ``config.stack`` has an unknown key, a value of the wrong type, or one that fairseq2 refuses.
    """
    optimizer, regime = config.optimizer, config.regime
    sections: dict[str, Any] = {
        "trainer": {
            "max_grad_norm": optimizer.max_grad_norm,
            "grad_accumulation": {"num_batches": optimizer.num_accumulate},
            # fairseq2's own default, bf16, is no faster on most CPUs.
            "mixed_precision": {"mode": "off" if config.precision == "float32" else "auto", "dtype": "bfloat16"},
        },
        "gang": {},
        # The folder is the run's name; fairseq2 would append a hash of the settings.
        "common": {"seed": config.seed, "no_sweep_dir": True, "torch": {"num_threads": config.threads}},
    }
    for name, ours in sections.items():
        sections[name] = _section(name, ours, config.stack.get(name) or {})
    groups = []
    if optimizer.text_lr is not None:
        groups.append(AdamWGroupConfig(params=TEXT_WEIGHTS, lr=optimizer.text_lr))
    # Checkpoints that a signal asked for are kept in addition.
    num_extra = sum(step % regime.validate_every > 0 for step in checkpoint_steps(output))
    return StackConfig(
        model=ModelSection(family=FAMILY),
        optimizer=OptimizerSection(
            config=AdamWConfig(
                lr=optimizer.lr,
                betas=optimizer.betas,
                weight_decay=optimizer.weight_decay,
                impl="fused",
                groups=groups,
            )
        ),
        lr_scheduler=LRSchedulerSection(
            name=SCHEDULE,
            config=ScheduleConfig(
                num_warmup_steps=optimizer.num_warmup_steps,
                start_lr=optimizer.start_lr,
                num_steps=regime.num_steps,
                cooldown_steps=regime.cooldown_steps,
            ),
        ),
        regime=RegimeSection(
            num_steps=regime.num_steps,
            score_metric={"bleu": "bleu", "loss": "nll_loss", "exact": "exact"}.get(score_of(config), SCORE),
            validate_every_n_steps=regime.validate_every,
            checkpoint_every_n_steps=regime.validate_every,
            publish_metrics_every_n_steps=regime.report_every,
            keep_last_n_checkpoints=regime.keep_last + num_extra,
            keep_best_n_checkpoints=1,
        ),
        **sections,
    )


def _section(name: str, ours: Mapping[str, Any], users: Mapping[str, Any]) -> object:
    """fairseq2's section ``name``: its defaults, overridden by our settings, overridden by the user's."""
    converter, kls = StandardValueConverter(), _SECTIONS[name]
    tree = converter.unstructure(kls())
    for changes in (ours, users):
        _merge(tree, changes, f"stack.{name}")
    try:
        section: object = converter.structure(tree, kls)
        StandardObjectValidator().validate(section)
    except ValidationError as error:
        raise MMTError(f"stack.{name}: {' '.join(str(error.result).split())}") from None
    except Exception as error:
        causes = [str(error)]
        while (cause := error.__cause__) is not None:
            error = cause  # type: ignore[assignment]
            causes.append(str(cause))
        raise MMTError(f"stack.{name}: {' '.join(' '.join(causes[-2:]).split())}") from None
    return section


def _merge(tree: Any, changes: Mapping[str, Any], where: str) -> None:
    for key, value in changes.items():
        if key not in tree:
            raise MMTError(f"{where}: unknown key '{key}'.{nearest(key, tree)} Known: {', '.join(tree)}.")
        if isinstance(tree[key], dict) and isinstance(value, Mapping):
            _merge(tree[key], value, f"{where}.{key}")
        elif tree[key] is not None and not _has_type_of(tree[key], value):  # fairseq2 would read true as 1
            expected = "keys and values" if isinstance(tree[key], dict) else f"a value such as {tree[key]!r}"
            raise MMTError(f"{where}.{key}: expected {expected}, found {value!r}.")
        else:
            tree[key] = value


def _has_type_of(default: Any, value: Any) -> bool:
    """Whether ``value`` has the type of fairseq2's default; fairseq2 itself judges null."""
    if value is None:
        return True
    if isinstance(default, bool | int | str):
        return type(value) is type(default)
    if isinstance(default, float):
        return type(value) in (int, float) and math.isfinite(value)
    if isinstance(default, list | tuple):
        return isinstance(value, list | tuple)
    return type(value) is type(default)


def explain(error: Exception, output: Path) -> None:
    """Raises MMTError if ``error``, of a training in ``output``, has a cause that a user can remove.

    These are a full disk, another process of the training that is gone, and fairseq2's own settings or a service
    that they name.
    """
    if isinstance(error, RuntimeError | OSError | OperationalError):
        full = disk_error(error)
        if full is not None:
            raise MMTError(
                f"{output}: cannot be written ({full.strerror}). {remedy(full)} The same command resumes from the "
                "last checkpoint."
            ) from None
        _check_others(error, output)
        return
    if isinstance(error, WandbInitializationError | WandbError):
        cause = error.__cause__ or error
        reason = " ".join(str(cause).split()) or type(cause).__name__
        raise MMTError(
            f"stack.common.metric_recorders.wandb: {reason} Log in with 'wandb login', set WANDB_MODE=offline, or "
            "leave the recorder out: OUTPUT/metrics and OUTPUT/tb have the same figures."
        ) from None
    if type(error).__module__ == "fairseq2.recipe.error":
        raise MMTError(f"stack: {' '.join(str(error).split()) or type(error).__name__}") from None


def _check_others(error: Exception, output: Path) -> None:
    """Raises MMTError if ``error`` means that another process of the training is gone."""
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    lost = (GangError, torch.distributed.DistError)
    of_others = [one for one in causes if isinstance(one, lost) or re.search("gloo|nccl", str(one), re.IGNORECASE)]
    if num_processes() > 1 and of_others:
        reason = str(of_others[-1]).strip().partition("\n")[0]
        raise MMTError(
            f"{output}: process {rank()} of {num_processes()} has lost the others ({reason}). See the message of "
            "the one that ended first; rerun the same command to resume from the last checkpoint."
        ) from None


def restore_wandb_id() -> None:
    """Puts a function of wandb back where fairseq2 0.8.1 looks for it: wandb 0.19 moved it."""
    if not hasattr(wandb.util, "generate_id"):
        wandb.util.generate_id = generate_id  # type: ignore[attr-defined]
