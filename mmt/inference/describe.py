"""What a folder that mmt wrote is, and what it says of itself: read without torch and without weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmt.data.dataset import read_info
from mmt.data.feature_store import FeatureStore
from mmt.errors import MMTError
from mmt.inference.named import built_in_model
from mmt.inference.onnx_runtime import ENCODER, PRECISIONS, backbone_file, file_of, is_exported
from mmt.inference.own_graphs import precisions_of
from mmt.io.text_files import parse_json
from mmt.model.card import read_card

Description = dict[str, Any]


def describe(path: Path) -> Description:
    """What is in ``path``, by name; ``kind`` comes first.

    Raises:
        MMTError: nothing that mmt wrote, or a damaged file.
    """
    path = built_in_model(path) or path
    for file, of_kind in _KINDS.items():
        if (path / file).is_file():
            return of_kind(path)
    what = "no such folder" if not path.exists() else "a file" if path.is_file() else "another folder"
    raise MMTError(
        f"{path}: expected a model, an exported model, a run of mmt train, a prepared dataset, a feature store or "
        f"an index, found {what}."
    )


def _model(path: Path) -> Description:
    card = read_card(path)
    config, training = card.config, card.training
    exported = is_exported(path)
    scores = {name: value for name, value in training.items() if name.startswith("validation_")}
    return {
        "kind": "exported model" if exported else "model",
        "languages": ", ".join(pair.strip("-") for pair in card.pairs),
        "fusion": config.get("fusion"),
        "uses images": card.features is not None,
        "features": None if card.features is None else str(card.features),
        "base": card.text.get("name"),
        "tasks": config.get("heads") or (["translation"] if config.get("writes", True) else []),
        "labels": len(card.labels) or None,
        "width, layers": f"{config['model_dim']}, {config['num_encoder_layers']} + {config['num_decoder_layers']}",
        "vocabulary": config["vocab_size"],
        "precisions": [one for one in PRECISIONS if exported and (path / file_of(ENCODER, one)).is_file()],
        "exported graphs": None if exported else precisions_of(path, card),
        "reads image files": (path / backbone_file(1)).is_file() if exported and card.features else None,
        "decoding": card.decoding,
        "trained on": training.get("data"),
        "training sentences": training.get("sentences"),
        "with an image": training.get("images_in_use"),
        "weights": training.get("weights"),
        "validation": scores,
        "seed": training.get("seed"),
        "versions": training.get("versions"),
        "megabytes": _megabytes(path),
    }


def _run(path: Path) -> Description:
    """An output folder of ``mmt train``; of a finished run, also its model."""
    raw = _read(path / "run.json")
    steps = raw.get("config", {}).get("regime", {}).get("num_steps")
    trained, validated = last_report(path / "metrics/train.jsonl"), last_report(path / "metrics/valid.jsonl")
    model = describe(path / "model") if (path / "model" / "mmt.json").is_file() else {}
    return {
        "kind": "run of mmt train",
        "state": "finished" if model else "not finished: the same mmt train resumes it",
        "updates": f"{trained.get('Step', 0):,}" + (f" of {steps:,}" if steps else ""),
        "loss of a token": trained.get("NLL Loss"),
        "last validation": {k: validated[k] for k in ("Step", "BLEU", "NLL Loss") if k in validated},
        **{("model" if name == "kind" else name): value for name, value in model.items() if name != "megabytes"},
        "megabytes": _megabytes(path),
    }


def _read(path: Path) -> dict[str, Any]:
    """A table in JSON. Raises MMTError for another content."""
    try:
        raw = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise MMTError(f"{path}: damaged ({error}). Copy the folder again.") from None
    if not isinstance(raw, dict):
        raise MMTError(f"{path}: damaged (no table). Copy the folder again.")
    return raw


def last_report(path: Path) -> dict[str, Any]:
    """The last whole line of a run's JSON lines, as another process writes them; {} without any.

    Raises:
        MMTError: the line is damaged.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return {}
    try:
        found: dict[str, Any] = json.loads(lines[-2]) if len(lines) > 1 else {}
    except ValueError as error:
        raise MMTError(f"{path}: damaged ({error}).") from None
    return found


def _dataset(path: Path) -> Description:
    info = read_info(path)
    return {
        "kind": "prepared dataset",
        "name": info.name,
        "languages": f"{info.source_lang}-{info.target_lang}".strip("-"),
        "images": info.images,
        "masked": info.probe.get("kind"),
        "tag": info.tag,
        "splits": {
            name: f"{split.sentences:,} sentences, {split.images_found:,} with an image"
            for name, split in info.splits.items()
        },
        "megabytes": _megabytes(path),
    }


def _features(path: Path) -> Description:
    store = FeatureStore.open(path)
    return {
        "kind": "feature store",
        "backbone": store.signature.backbone,
        "layer": store.signature.layer,
        "crops": store.signature.crops if store.signature.crops > 1 else None,
        "images": len(store.ids),
        "left out": len(store.left_out) or None,
        "vectors of an image": f"{store.signature.num_regions} of {store.signature.dim}",
        "numbers": store.dtype,
        "pixels": store.signature.transform,
        "backbone's weights": store.signature.weights,
        "megabytes": _megabytes(path),
    }


def _index(path: Path) -> Description:
    raw = _read(path / "index.json")
    plain = {name: value for name, value in raw.items() if isinstance(value, str | int | float | bool)}
    return {"kind": "index of mmt retrieve", **plain, "megabytes": _megabytes(path)}


def _megabytes(path: Path) -> float:
    return round(sum(one.stat().st_size for one in path.rglob("*") if one.is_file()) / 1e6, 1)


_KINDS: dict[str, Callable[[Path], Description]] = {
    "dataset.json": _dataset,
    "meta.json": _features,
    "index.json": _index,
    "run.json": _run,
    "mmt.json": _model,
}
"""By the file that tells a kind."""
