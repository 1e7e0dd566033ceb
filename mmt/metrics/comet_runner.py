"""Runs COMET in its own environment: a script for that environment's Python, without any import of mmt.

``comet_runner.py REQUEST RESULT``: reads a JSON file, writes another. See ``mmt.metrics.external``.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import torch  # in that environment
from comet import download_model, load_from_checkpoint


def main() -> None:
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    local = request["checkpoint"]
    model = load_from_checkpoint(local or download_model(request["model"]), local_files_only=bool(local))
    needs_references = model.requires_references()
    if needs_references and request["reference_free"]:
        sys.exit("this model needs references: name it with comet: instead of cometkiwi:")
    rows = [
        [
            {"src": source, "mt": hypothesis} | ({"ref": reference} if needs_references else {})
            for source, hypothesis, reference in zip(
                request["sources"], hypotheses, request["references"], strict=True
            )
        ]
        for hypotheses in request["systems"]
    ]
    gpus = int(torch.cuda.is_available())
    scores = [
        model.predict(row, batch_size=request["batch_size"], gpus=gpus, progress_bar=False, num_workers=0).scores
        for row in rows
    ]
    result = {"version": version("unbabel-comet"), "references": needs_references, "scores": scores}
    Path(sys.argv[2]).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
