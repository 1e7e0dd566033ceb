"""Which runtime computes the features of a store: chosen once, recorded in it, and used until its end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from mmt.data.store_files import JOURNAL, META
from mmt.errors import MMTError
from mmt.io.text_files import parse_json

Runtime = Literal["torch", "onnx", "openvino"]
RuntimeChoice = Literal["auto", "torch", "onnx", "openvino"]


class Computed(NamedTuple):
    """What computes features. Another runtime, or another batch, may round the last bit differently.

    ``batch`` is the number of images in a call; 0 in torch, whose batches are ``batch_size`` images.
    """

    runtime: Runtime
    batch: int

    @classmethod
    def of(cls, raw: object, where: Path) -> Computed:
        """Reads ``to_dict``'s values; None, as in the stores of earlier versions, is torch.

        Raises:
            MMTError: it is a runtime that this version does not have.
        """
        if raw is None:
            return TORCH
        if isinstance(raw, Mapping) and type(batch := raw.get("batch")) is int and batch > 0:
            for name in get_args(Runtime):
                if name == raw.get("name"):
                    return cls(name, batch)
        raise MMTError(
            f"{where}: expected a runtime of this version of mmt ({', '.join(get_args(Runtime))}) and its batch, "
            f"found {json.dumps(raw)}. Install the version of mmt that wrote it."
        )

    def to_dict(self) -> dict[str, Any] | None:
        """JSON; None for torch, so that its stores are those of earlier versions."""
        return None if self.runtime == "torch" else {"name": self.runtime, "batch": self.batch}

    def check(self, wanted: RuntimeChoice, where: Path, remedy: str) -> None:
        """Raises MMTError, which ends with ``remedy``, if ``wanted`` is another runtime."""
        if wanted not in ("auto", self.runtime):
            raise MMTError(
                f"{where}: holds features computed by {self.runtime}, but {wanted} was requested. "
                f"Use --runtime {self.runtime}, or {remedy}."
            )


TORCH = Computed("torch", 0)


def recorded(folder: Path) -> Computed | None:
    """What computed the rows in the store of ``folder``, finished or not; None if it has no rows."""
    for name in (META, JOURNAL):
        path = folder / name
        try:
            with open(path, "rb") as stream:
                raw = parse_json(stream.read() if name == META else stream.readline())
        except (OSError, ValueError):  # missing, or cut off by a kill; other damage is found by who reads the rows
            continue
        if isinstance(raw, dict) and "signature" in raw:
            return Computed.of(raw.get("runtime"), path)
    return None
