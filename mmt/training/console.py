"""What a training run says in the terminal: one calm line a report, and nothing of fairseq2's own log."""

from __future__ import annotations

import logging
import threading
import time
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from fairseq2.metrics.recorders import MetricRecorder
from fairseq2.utils.rich import get_error_console

from mmt.io.atomic import disk_error
from mmt.io.terminal import console
from mmt.training.tasks import SCORES


class ConsoleRecorder(MetricRecorder):
    """One calm line a report; the full figures are in ``metrics/*.jsonl``, ``logs/`` and TensorBoard's ``tb/``.

    Args:
        losses: names of what is learnt beside translation.
    """

    def __init__(self, num_steps: int, losses: Iterable[str] = ()) -> None:
        self._console = get_error_console()
        self._steps, self._losses = num_steps, losses

    def record_metric_values(
        self, category: str, values: Mapping[str, object], step_nr: int | None = None
    ) -> None:
        def value(name: str) -> float:
            return float(values.get(name, 0.0))  # type: ignore[arg-type]

        head = f"[dim]{time.strftime('%H:%M:%S')}[/] {step_nr or 0:>6,}/{self._steps:,}"
        images = f"{int(value('num_images')):,} of {int(value('num_sentences')):,} with image"
        if category == "train":
            seconds = value("data_time") + value("compute_time")
            writes = "nll_loss" in values
            speed = value("num_target_tokens" if writes else "num_sentences") / seconds if seconds else 0.0
            line = (
                f"{head}  train  loss {value('nll_loss' if writes else 'loss'):.3f}  lr {value('lr'):.1e}  "
                f"{speed:,.0f} {'target tokens' if writes else 'sentences'}/s  epoch {int(value('data_epoch'))}  "
                f"{images}"
            )
            line += "".join(f"  {name} {value(name):.3f}" for name in self._losses)
        else:
            exact = f"{value('exact'):.1f} % exact"
            scores = f"loss {value('nll_loss'):.3f}  BLEU {value('bleu'):.2f}, {exact} (greedy)"
            if "bleu" not in values:
                scores = "  ".join(f"{name} {value(name):.3f}" for name in SCORES.values() if name in values)
            line = f"{head}  [bold]valid[/]  {scores}  {images}"
        self._console.print(line, soft_wrap=True)

    def close(self) -> None:
        pass


class quiet_fairseq2:  # noqa: N801  # reads as a statement: with quiet_fairseq2()
    """Keeps fairseq2's log out of the terminal and the environment, with its secrets, out of the log file."""

    def __enter__(self) -> None:
        logger = logging.getLogger("fairseq2")
        logger.addFilter(_no_environment)
        logger.propagate = False  # its file handler is its own; the terminal's is the root's
        logger.setLevel(logging.INFO)
        logging.getLogger().addFilter(_no_zeros)
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        show = warnings.showwarning

        def without_its_own(message: Warning | str, category: type[Warning], *more: Any) -> None:
            if not issubclass(category, DeprecationWarning):  # it turns on those that it causes itself
                show(message, category, *more)

        warnings.showwarning = without_its_own  # type: ignore[assignment]  # passes the rest on as it is
        logging.raiseExceptions = False  # a log file on a full disk
        self._thread_failed = threading.excepthook
        threading.excepthook = self._in_a_line

    def _in_a_line(self, failed: threading.ExceptHookArgs) -> None:
        """TensorBoard writes in a thread, where a full disk ends nothing but that."""
        if (said := disk_error(failed.exc_value)) is None:
            self._thread_failed(failed)
        else:
            console(err=True).print(f"TensorBoard's files are not written any more ({said.strerror}).")

    def __exit__(self, *_: object) -> None:
        threading.excepthook = self._thread_failed
        logging.raiseExceptions = True
        self._warnings.__exit__(None, None, None)
        logging.getLogger("fairseq2").removeFilter(_no_environment)
        logging.getLogger().removeFilter(_no_zeros)


def _no_environment(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("Environment Variables")


def _no_zeros(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("No calls to update()")  # torcheval's, of a mean that is 0
