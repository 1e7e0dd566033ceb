"""Records a run's metrics in MLflow, if ``mlflow.tracking_uri`` says where; see ``mmt.training.config``."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairseq2.metrics.recorders import MetricRecorder
from fairseq2.task import TaskStopException
from torch import Tensor

from mmt.errors import MMTError, without_password
from mmt.io.atomic import write_whole
from mmt.io.signals import Stopped, StopSwitch
from mmt.io.terminal import console
from mmt.training.config import TrainConfig
from mmt.training.config_file import tree_of

RUN_ID = "mlflow.run"
"""In a run's folder: the id of its run in MLflow, which a resumed run continues."""


class MLflowRecorder(MetricRecorder):
    """Logs every report as metrics ``train/NAME`` and ``valid/NAME``, and a run's first settings as parameters.

    A server that fails later ends the recording with one line, and not the training.
    """

    def __init__(self, output: Path, config: TrainConfig, switch: StopSwitch) -> None:
        """
        Args:
            output: the run's folder.
            config: with ``mlflow.tracking_uri``.
            switch: knows whether a signal stopped the training.
        Raises:
            MMTError: MLflow is not installed, or cannot be reached.
        """
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it reads this when it is imported
        # By default it tries for minutes, and the training waits.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")  # seconds
        # Imported here: only runs that are recorded need the package.
        try:
            import mlflow
        except ModuleNotFoundError:
            raise MMTError("mlflow.tracking_uri: needs MLflow. Install it: pip install mlflow-skinny") from None
        section = config.mlflow
        self._failed, self._switch = False, switch
        try:
            self._client: Any = mlflow.MlflowClient(tracking_uri=section.tracking_uri)
            self._metric: Any = mlflow.entities.Metric
            self._run = self._open(output, config)
        except Exception as error:  # the client and its stores raise nearly anything
            uri = without_password(str(section.tracking_uri))
            raise MMTError(
                f"mlflow.tracking_uri {uri}: {_reason(error)}. Correct it, or leave it out: "
                "OUTPUT/metrics and OUTPUT/tb have the same figures."
            ) from None

    def _open(self, output: Path, config: TrainConfig) -> str:
        """The id of the run that is continued, or of a new one, with the settings that it begins with."""
        path, experiment = output / RUN_ID, config.mlflow.experiment
        if path.is_file():
            run_id = path.read_text(encoding="utf-8").strip()
            self._client.update_run(run_id, status="RUNNING")
            return run_id
        found = self._client.get_experiment_by_name(experiment)
        number = found.experiment_id if found is not None else self._client.create_experiment(experiment)
        run_id = str(self._client.create_run(number, run_name=output.name).info.run_id)
        write_whole(path, f"{run_id}\n")  # before the parameters: an interruption leaves no second run
        for key, value in _flat({name: part for name, part in tree_of(config).items() if name != "mlflow"}):
            self._client.log_param(run_id, key, without_password(str(value))[:500])
        return run_id

    def record_metric_values(
        self, category: str, values: Mapping[str, object], step_nr: int | None = None
    ) -> None:
        if self._failed:
            return
        now, step = int(1000 * time.time()), step_nr or 0
        numbers = {name: float(value) for name, value in values.items() if isinstance(value, int | float | Tensor)}
        metrics = [self._metric(f"{category}/{name}", value, now, step) for name, value in numbers.items()]
        try:
            self._client.log_batch(self._run, metrics=metrics)
        except Exception as error:
            self._stop(error)

    def close(self) -> None:
        """Ends the run in MLflow: KILLED if a signal stopped the training, FAILED after an error, else FINISHED.

        fairseq2 calls this while the exception that ended the training is being handled. A run that nobody closes,
        such as of a process that was killed, stays RUNNING.
        """
        error = sys.exc_info()[1]
        killed = self._switch.signum or isinstance(error, KeyboardInterrupt | Stopped)
        failed = error is not None and not isinstance(error, TaskStopException)  # that is an early stop
        status = "KILLED" if killed else "FAILED" if failed else "FINISHED"
        if not self._failed:
            try:
                self._client.set_terminated(self._run, status)
            except Exception as error:
                self._stop(error)

    def _stop(self, error: Exception) -> None:
        self._failed = True
        console(errors=True).print(f"MLflow: nothing is recorded any more ({_reason(error)}).", soft_wrap=True)


def _reason(error: Exception) -> str:
    return (without_password(" ".join(str(error).split())) or type(error).__name__)[:300].rstrip(".")


def _flat(tree: Mapping[str, Any], place: str = "") -> list[tuple[str, Any]]:
    """Settings by their place, ``optimizer.lr``."""
    found: list[tuple[str, Any]] = []
    for key, value in tree.items():
        inner = isinstance(value, Mapping)
        found += _flat(value, f"{place}{key}.") if inner else [(f"{place}{key}", value)]
    return found
