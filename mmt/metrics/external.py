"""Neural metrics in an environment of their own: COMET needs an older NumPy than the rest of mmt.

The environment is the folder in the variable ``MMT_COMET``, else ``mmt/comet`` in the user's cache
(``XDG_CACHE_HOME``, or ``~/.cache``). ``creation_command`` creates it. Its Python runs ``comet_runner.py``; a
local checkpoint is read offline.

COMET: Rei et al. (2020), https://aclanthology.org/2020.emnlp-main.213; CometKiwi: Rei et al. (2022),
https://aclanthology.org/2022.wmt-1.60.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mmt.data.inputs import read_texts
from mmt.errors import MMTError
from mmt.io.cache import cache_folder
from mmt.io.formats import SOURCES, TRANSLATIONS
from mmt.io.normalization import NORM
from mmt.io.text_files import file_checksum, parse_json
from mmt.metrics.files import SystemScores
from mmt.metrics.scores import Score
from mmt.metrics.significance import Difference, mean_bootstrap
from mmt.metrics.translation import normalized

KINDS = {"comet": "COMET", "cometkiwi": "CometKiwi"}
"""The metrics by what stands before the colon; ``cometkiwi`` reads no references."""
VARIABLE = "MMT_COMET"
_RUNNER = Path(__file__).with_name("comet_runner.py")
_BATCH = 16


@dataclass(frozen=True)
class NeuralMetric:
    """A metric and its model: ``place`` is a checkpoint's file or a name on the Hugging Face hub."""

    kind: str
    place: str

    @classmethod
    def parse(cls, spec: str) -> NeuralMetric:
        """Reads KIND:CHECKPOINT_OR_NAME.

        A checkpoint is a .ckpt file, or the folder that has it in ``checkpoints/`` and ``hparams.yaml``. A name
        without an owner is Unbabel's.

        Raises:
            MMTError: no such metric, or no such checkpoint.
        """
        kind, colon, place = spec.partition(":")
        if kind not in KINDS or not colon or not place:
            known = " or ".join(f"{name}:CHECKPOINT_OR_NAME" for name in KINDS)
            raise MMTError(f"--metric {spec}: expected {known}.")
        path = Path(place).expanduser()
        if path.is_dir():
            found = sorted((path / "checkpoints").glob("*.ckpt"))
            if len(found) != 1:
                raise MMTError(f"{path}: expected one .ckpt file in checkpoints/, found {len(found)}.")
            return cls(kind, str(found[0].resolve()))
        if path.is_file():
            return cls(kind, str(path.resolve()))
        if place.endswith(".ckpt") or place.count("/") > 1 or place.startswith((".", "/", "~")):
            raise MMTError(f"--metric {spec}: no such checkpoint.")
        return cls(kind, place if "/" in place else f"Unbabel/{place}")

    @property
    def is_local(self) -> bool:
        return Path(self.place).is_absolute()

    @property
    def reads_references(self) -> bool:
        """Whether it compares with references."""
        return self.kind != "cometkiwi"

    @property
    def label(self) -> str:
        """What a table calls it, such as ``COMET wmt22-comet-da``."""
        return f"{KINDS[self.kind]} {self.title}"

    @property
    def title(self) -> str:
        """The model's name: of a local checkpoint the folder's."""
        return Path(self.place).parent.parent.name if self.is_local else self.place.rpartition("/")[2]

    def run(
        self, systems: Sequence[Sequence[str]], references: Sequence[str], sources: Sequence[str]
    ) -> tuple[list[list[float]], str]:
        """Scores translations.

        Args:
            systems: the translations of each system, one a source, in the same order as references and sources.
        Returns:
            The score of each translation of each system, 0 to 1 for most models, and the signature.
        Raises:
            MMTError: the environment is missing, or COMET fails.
        """
        python = self.check()
        request = {
            "checkpoint": self.place if self.is_local else None,
            "model": self.place,
            "reference_free": not self.reads_references,
            "systems": [list(system) for system in systems],
            "references": list(references),
            "sources": list(sources),
            "batch_size": _BATCH,
        }
        result = self._result(python, request)
        scores: Any = result.get("scores")
        if not _are_scores(scores, len(systems), len(references)):
            raise MMTError(f"{self.kind}: expected a number for each translation, found something else.")
        model = self.title
        if self.is_local:
            model += f"|checkpoint:{file_checksum(Path(self.place))[:16]}"
        refs = 1 if result.get("references") else 0
        return scores, f"{self.kind}|refs:{refs}|model:{model}|version:{result.get('version')}|scale:100|{NORM}"

    def check(self) -> Path:
        """The Python of the environment. Raises MMTError if it is missing."""
        python = environment() / "bin" / "python"
        if not python.is_file():
            raise MMTError(
                f"{self.kind}: its environment {environment()} is missing. Create it with: {creation_command()}"
            )
        return python

    def _result(self, python: Path, request: dict[str, Any]) -> dict[str, Any]:
        """What the runner makes of a request."""
        with tempfile.TemporaryDirectory(prefix="mmt-") as folder:
            asked, answered = Path(folder, "request.json"), Path(folder, "result.json")
            asked.write_text(json.dumps(request), encoding="utf-8")
            offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"} if self.is_local else {}
            ran = subprocess.run(  # noqa: S603  # the user's own environment
                [python, "-I", _RUNNER, asked, answered],
                env=os.environ | offline,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
            if ran.returncode or not answered.is_file():
                lines = [line for line in ran.stderr.splitlines() if line.strip()]
                reason = lines[-1].strip() if lines else f"exit status {ran.returncode}"
                raise MMTError(
                    f"{self.kind} with {self.place} failed: {reason}. If its environment {environment()} is "
                    f"broken, remove it and create it with: {creation_command()}"
                )
            try:
                result = parse_json(answered.read_bytes())
            except ValueError:
                result = None
        if not isinstance(result, dict):
            raise MMTError(f"{self.kind}: expected a JSON object from {_RUNNER.name}, found something else.")
        return result


def _are_scores(found: object, num_systems: int, num_sentences: int) -> bool:
    """Whether ``found`` has a finite number for each sentence of each system."""
    if not isinstance(found, list) or len(found) != num_systems:
        return False
    return all(
        isinstance(row, list)
        and len(row) == num_sentences
        and all(type(value) in (int, float) and math.isfinite(value) for value in row)
        for row in found
    )


def environment() -> Path:
    """The folder of COMET's environment, whether it exists or not."""
    if folder := os.environ.get(VARIABLE):
        return Path(folder).expanduser().absolute()
    return cache_folder("comet")


def creation_command() -> str:
    """The command that creates the environment. COMET imports pkg_resources, which setuptools 81 dropped."""
    folder = environment()
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return f"{python} -m venv {folder} && {folder}/bin/pip install unbabel-comet==2.2.7 'setuptools<81'"


def add_neural_scores(
    systems: Sequence[SystemScores],
    hypotheses: Sequence[Path],
    reference: Path,
    source: Path | None,
    specs: Sequence[str],
    *,
    samples: int = 1000,
    seed: int = 12345,
) -> list[SystemScores]:
    """Adds neural metrics to the scores of files.

    Args:
        systems: of ``score_files`` for the same ``hypotheses`` and ``reference``.
        source: the sentences that were translated, line by line.
        specs: the metrics, see ``NeuralMetric.parse``.
        samples, seed: of the paired bootstrap of the mean scores, whose p value is computed as
            ``significance.paired_bootstrap`` computes it; 0 for none.
    Returns:
        The systems with a score, 100 times the mean, and a difference for each metric.
    Raises:
        MMTError: no sources, or not as many as references; tokenised text; as ``NeuralMetric``.
    """
    metrics = [NeuralMetric.parse(spec) for spec in specs]
    if source is None:
        raise MMTError(f"--metric {specs[0]}: it reads the sources, too. Name their file with --source.")
    if systems[0].tokenized:
        raise MMTError(
            f"--metric {specs[0]}: expected raw text, found tokenised text. COMET is trained on raw text."
        )
    references, sources = read_texts(reference, TRANSLATIONS), read_texts(source, SOURCES)
    if len(sources) != len(references):
        raise MMTError(
            f"{source} has {len(sources):,} lines and {reference} has {len(references):,}: expected one for one."
        )
    lines = [normalized(read_texts(path, TRANSLATIONS)) for path in hypotheses]
    scored = list(systems)
    for metric in metrics:
        rows, signature = metric.run(lines, normalized(references), normalized(sources))
        values = 100 * np.array(rows)  # (systems, sentences)
        key = f"{metric.kind}:{metric.title}"
        for number, system in enumerate(scored):
            score = Score(metric.label, float(values[number].mean()), signature)
            differences = dict(system.differences)
            if number and samples:
                p_value = mean_bootstrap((values[number] - values[0]).tolist(), samples, seed)
                value = float(values[number].mean() - values[0].mean())
                differences[key] = Difference(value, p_value, f"{signature}|bs:{samples}|seed:{seed}")
            scored[number] = replace(system, scores={**system.scores, key: score}, differences=differences)
    return scored
