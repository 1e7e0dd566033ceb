"""Records a run's metrics in MLflow, if ``mlflow.tracking_uri`` says where; see ``mmt.training.config``."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairseq2.metrics.recorders import MetricRecorder
from torch import Tensor

from mmt.errors import MMTError
from mmt.io.atomic import write_whole
from mmt.io.terminal import console
from mmt.training.config import TrainConfig
from mmt.training.config_file import tree_of

RUN_ID = "mlflow.run"
"""In a run's folder: the id of its run in MLflow, which a resumed run continues."""


class MLflowRecorder(MetricRecorder):
    """Logs every report as metrics ``train/NAME`` and ``valid/NAME``, and a run's first settings as parameters.

    A server that fails later ends the recording with one line, and not the training.
    """

    def __init__(self, output: Path, config: TrainConfig) -> None:
        """
        Args:
            output: the run's folder.
            config: with ``mlflow.tracking_uri``.
        Raises:
            MMTError: MLflow is not installed, or cannot be reached.
        """
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it reads this when it is imported
        # Imported here: only runs that are recorded need the package.
        try:
            import mlflow
        except ModuleNotFoundError:
            raise MMTError("mlflow.tracking_uri: needs MLflow. Install it: pip install mlflow-skinny") from None
        section = config.mlflow
        self._failed = False
        try:
            self._client: Any = mlflow.MlflowClient(tracking_uri=section.tracking_uri)
            self._run = self._open(output, config)
        except Exception as error:  # the client and its stores raise nearly anything
            raise MMTError(
                f"mlflow.tracking_uri {section.tracking_uri}: {_reason(error)}. Correct it, or leave it out: "
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
        for key, value in _flat(tree_of(config)):
            self._client.log_param(run_id, key, str(value)[:500])
        write_whole(path, f"{run_id}\n")
        return run_id

    def record_metric_values(
        self, category: str, values: Mapping[str, object], step_nr: int | None = None
    ) -> None:
        if self._failed:
            return
        from mlflow.entities import Metric  # as above

        now, step = int(1000 * time.time()), step_nr or 0
        numbers = {name: float(value) for name, value in values.items() if isinstance(value, int | float | Tensor)}
        metrics = [Metric(f"{category}/{name}", value, now, step) for name, value in numbers.items()]
        try:
            self._client.log_batch(self._run, metrics=metrics)
        except Exception as error:
            self._stop(error)

    def close(self) -> None:
        if not self._failed:
            try:
                self._client.set_terminated(self._run)
            except Exception as error:
                self._stop(error)

    def _stop(self, error: Exception) -> None:
        self._failed = True
        console(err=True).print(f"MLflow: nothing is recorded any more ({_reason(error)}).", soft_wrap=True)


def _reason(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:300].rstrip(".")


def _flat(tree: Mapping[str, Any], place: str = "") -> list[tuple[str, Any]]:
    """Settings by their place, ``optimizer.lr``."""
    found: list[tuple[str, Any]] = []
    for key, value in tree.items():
        inner = isinstance(value, Mapping)
        found += _flat(value, f"{place}{key}.") if inner else [(f"{place}{key}", value)]
    return found
