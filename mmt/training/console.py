"""What a training run prints in the terminal: one line a report, and nothing of fairseq2's own log."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fairseq2.metrics.recorders import MetricRecorder
from fairseq2.utils.rich import get_error_console

from mmt.io.disk import disk_error
from mmt.io.terminal import console, is_quiet
from mmt.training.tasks import SCORES


class ConsoleRecorder(MetricRecorder):
    """Prints one line a report; ``metrics/*.jsonl``, ``logs/`` and TensorBoard's ``tb/`` have all figures.

    Args:
        losses: names of the losses beside translation's.
    """

    def __init__(self, num_steps: int, losses: Iterable[str] = ()) -> None:
        self._console = get_error_console()
        self._steps, self._losses = num_steps, losses

    def record_metric_values(
        self, category: str, values: Mapping[str, object], step_nr: int | None = None
    ) -> None:
        def value(name: str) -> float:
            found: Any = values.get(name, 0.0)
            return float(found[-1] if isinstance(found, list) else found)  # the rates' last is optimizer.lr

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
            pairs = [
                f"{name.removeprefix('bleu_')} {value(name):.2f}" for name in values if name.startswith("bleu_")
            ]
            means = f" (mean of {', '.join(pairs)})" if pairs else ""
            scores = f"loss {value('nll_loss'):.3f}  BLEU {value('bleu'):.2f}{means}, {exact} (greedy)"
            if "bleu" not in values:
                scores = "  ".join(f"{name} {value(name):.3f}" for name in SCORES if name in values)
            line = f"{head}  [bold]valid[/]  {scores}  {images}"
        self._console.print(line, soft_wrap=True)

    def close(self) -> None:
        pass


@contextlib.contextmanager
def quiet_fairseq2() -> Iterator[None]:
    """Keeps fairseq2's log out of the terminal, and the environment, with its secrets, out of the log file.

    Inside ``mmt.io.terminal.quiet``, fairseq2 prints nothing else, either.

    What it changes in the process, of ``logging``, ``warnings`` and ``threading``, is restored at the end.
    """
    ours, root = logging.getLogger("fairseq2"), logging.getLogger()
    before = (ours.propagate, ours.level, logging.raiseExceptions, threading.excepthook)
    terminal = get_error_console()
    was_quiet, terminal.quiet = terminal.quiet, terminal.quiet or is_quiet()
    ours.addFilter(_is_no_environment)
    root.addFilter(_is_no_empty_mean)
    ours.propagate = False  # its file handler is its own; the terminal's is the root's
    ours.setLevel(logging.INFO)
    logging.raiseExceptions = False  # a log file on a full disk
    threading.excepthook = _in_a_line(threading.excepthook)
    try:
        with warnings.catch_warnings():
            show = warnings.showwarning

            def show_others(message: Warning | str, category: type[Warning], *more: Any) -> None:
                if not issubclass(category, DeprecationWarning):  # fairseq2 turns on those that it causes itself
                    show(message, category, *more)

            warnings.showwarning = show_others  # type: ignore[assignment]  # passes all arguments on
            yield
    finally:
        ours.propagate, level, logging.raiseExceptions, threading.excepthook = before
        terminal.quiet = was_quiet
        ours.setLevel(level)
        ours.removeFilter(_is_no_environment)
        root.removeFilter(_is_no_empty_mean)


def _in_a_line(usual: Any) -> Any:
    """Handles a full disk in TensorBoard's thread, which ends only that thread, with one line and no traceback.

    Args:
        usual: what handles other errors.
    """

    def handle(failed: threading.ExceptHookArgs) -> None:
        full = disk_error(failed.exc_value)
        if full is None:
            usual(failed)
        else:
            console(errors=True).print(f"TensorBoard's files are not written any more ({full.strerror}).")

    return handle


def _is_no_environment(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("Environment Variables")


def _is_no_empty_mean(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("No calls to update()")  # torcheval's, of a mean that is 0
