"""What ``--on`` names: an engine, where it is, and how much of it is taken."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, cast, get_args

from mmt.errors import MMTError, nearest

Kind = Literal["local", "ray", "slurm", "submitit"]

_NUMBERS: Mapping[str, Callable[[str], int | float]] = {"workers": int, "cpus": int, "gpus": float, "shards": int}
_SLURM = ("time", "mem", "account", "qos", "constraint", "comment", "nodelist", "exclude")
_FORMS = "local[:N], ray[:ADDRESS], slurm:PARTITION, submitit:local or submitit:debug"


@dataclass(frozen=True, kw_only=True)
class Engine:
    """An engine and its resources, as ``--on KIND[:WHERE][,KEY=VALUE]...`` gives them.

    kind: ``local`` is processes on this machine; ``submitit`` is SLURM's path without SLURM.
    where: Ray's address, SLURM's partition, or submitit's executor.
    workers: how many at a time; None takes as many as fit.
    cpus, gpus: of each worker; ``cpus`` is also its number of threads. A worker may take a fraction of a GPU.
    shards: into how many the job is divided; None takes those of the parts there, or 4 for each worker.
    settings: of sbatch: ``time`` in minutes, ``mem`` in GB, and others by their names.
    """

    kind: Kind
    where: str = ""
    workers: int | None = None
    cpus: int = 1
    gpus: float = 0.0
    shards: int | None = None
    settings: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str, threads: int | None = None) -> Engine:
        """
        Args:
            text: the value of ``--on``.
            threads: ``cpus``, where ``text`` has none.
        Raises:
            MMTError: an engine, key or value that does not exist.
        """
        head, *pairs = text.split(",")
        kind, _, where = head.partition(":")
        if kind not in get_args(Kind):
            raise MMTError(f"--on {text}: no engine '{kind}'.{nearest(kind, get_args(Kind))} Expected {_FORMS}.")
        values: dict[str, int | float] = {"cpus": threads or 1}
        settings: dict[str, str] = {}
        known = (*_NUMBERS, *(_SLURM if kind == "slurm" else ()))
        for pair in pairs:
            key, equals, value = pair.partition("=")
            if key not in known or not equals or not value:
                raise MMTError(
                    f"--on {text}: '{pair}'.{nearest(key, known)} Expected {', '.join(known)}, each as KEY=VALUE."
                )
            if key in _NUMBERS:
                values[key] = _number(text, key, value)
            else:
                settings[key] = value
        if kind == "local" and where:
            values["workers"] = _number(f"{text}: local", "N", where)
            where = ""
        if kind == "slurm" and not where:
            raise MMTError(f"--on {text}: expected the partition, as in --on slurm:gpu. sinfo lists them.")
        if kind == "submitit" and where not in ("local", "debug"):
            raise MMTError(f"--on {text}: expected submitit:local or submitit:debug.")
        if kind == "local" and values.get("gpus"):
            raise MMTError(f"--on {text}: local workers share this machine's GPUs; gpus= is for ray and slurm.")
        if kind in ("slurm", "submitit") and values.get("gpus", 0) % 1:
            raise MMTError(f"--on {text}: SLURM gives whole GPUs; a fraction is for ray.")
        return cls(kind=cast("Kind", kind), where=where, settings=settings, **values)  # type: ignore[arg-type]

    def on_this_machine(self) -> int:
        """How many workers this machine has cores for."""
        return max(len(os.sched_getaffinity(0)) // self.cpus, 1)


def _number(text: str, key: str, value: str) -> int | float:
    try:
        number = _NUMBERS.get(key, int)(value)
    except ValueError:
        number = -1
    if not (number > 0 or (key == "gpus" and number == 0)) or number > 1e6:
        raise MMTError(f"--on {text}: {key}={value}: expected a number above 0.")
    return number
