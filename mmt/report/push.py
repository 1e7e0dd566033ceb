"""What is published of a model on the Hugging Face hub: its files, and a model card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmt.data.feature_signature import signature_from
from mmt.errors import MMTError
from mmt.inference.onnx_runtime import is_exported
from mmt.inference.own_graphs import EXPORTED, MADE_FROM, precisions_of
from mmt.io.hub import HubModel, is_hub_name
from mmt.io.text_files import file_checksum, parse_json
from mmt.model.card import CARD, ModelCard, check_files, published, read_card
from mmt.report.hub_card import hub_card


@dataclass(frozen=True)
class Publication:
    """What is uploaded.

    files: by the path in the repository: a file, or its content. page: README.md, the model card, which is among
    them. others: names of files in the model's folder that are not uploaded.
    """

    files: dict[str, Path | bytes]
    page: str
    others: list[str]


def make_publication(
    model: Path, repo: str, *, licence: str, result: Path | None = None, evidence: Path | None = None
) -> Publication:
    """The files that ``mmt.json`` names, and ``mmt.json`` with the last part of each local path.

    The graphs of a model folder (``mmt.inference.own_graphs``) are among them, if they are of its present weights:
    the published ``mmt.json`` names them, too.

    Args:
        model: a model folder or an exported model.
        repo: OWNER/NAME.
        licence: the hub's identifier of it, such as ``mit``.
        result: result.json of the model, or its folder.
        evidence: evidence.json of the model, or its folder.
    Raises:
        MMTError: the folder is not complete, depends on another folder of this machine, or its files are damaged;
            or ``result`` or ``evidence`` is of another model.
    """
    if HubModel.parse(repo).revision is not None or is_hub_name(repo):
        raise MMTError(f"{repo}: expected OWNER/NAME alone. Name a branch with --revision.")
    card = _read_complete(model)
    raw = published(parse_json((model / CARD).read_bytes()))
    files: dict[str, Path | bytes] = {name: model / name for name in _own_files(card)}
    graphs = {} if is_exported(model) else _graphs(model, card)
    files |= graphs
    raw["sha256"] = {name: card.sha256[name] for name in _own_files(card)}
    raw["sha256"] |= {name: _checksum(content) for name, content in graphs.items()}
    files[CARD] = _as_json(raw)
    uploaded = {name.partition("/")[0] for name in files}
    others = sorted(path.name for path in model.iterdir() if path.name not in uploaded)
    card = replace(
        card,
        training=published(card.training),
        text=published(card.text),
        features=card.features and signature_from(published(card.features.to_dict())),
    )
    about, shown = _read(result, "result.json"), _read(evidence, "evidence.json")
    torchless = is_exported(model) or (bool(graphs) and card.features is None)
    page = hub_card(repo, card, licence=licence, exported=torchless, result=about, evidence=shown)
    _check_training(card, "--result", result, about)
    _check_training(card, "--evidence", evidence, None if shown is None else shown.get("model"))
    files["README.md"] = page.encode()
    return Publication(files, page, others)


def _read_complete(model: Path) -> ModelCard:
    """The card of a model whose files are all there. Raises MMTError."""
    card = read_card(model)
    if (base := card.text.get("name")) and ("folder" in card.text and Path(base.partition(":")[2]).exists()):
        remedy = "Export the complete model with mmt export, and push that."
        if not card.config.get("writes", True):  # which mmt export does not write
            remedy = "Train with the base's name on the hub, or without start.freeze_text."
        raise MMTError(
            f"{model}: has only what was trained on {base}, a folder of this machine, which others lack. {remedy}"
        )
    names = _own_files(card)
    if not names:
        raise MMTError(f"{model}: its {CARD} names no files, as an early version of mmt wrote it. Train it again.")
    _check_whole(model, card, names, "Copy the model folder again.")
    return card


def _own_files(card: ModelCard) -> list[str]:
    """The names of a folder's files, without those of graphs, which a published ``mmt.json`` names, too."""
    return [name for name in card.sha256 if "/" not in name]


def _check_whole(folder: Path, card: ModelCard, names: Sequence[str], remedy: str) -> None:
    """Raises MMTError for a file that is missing or damaged."""
    check_files(folder, card, names)
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise MMTError(f"{folder}: {missing[0]} is missing, which {CARD} names. {remedy}")


def _graphs(model: Path, card: ModelCard) -> dict[str, Path | bytes]:
    """The files of a model folder's graphs, by their path in it; none if they are of other weights."""
    if not precisions_of(model, card):
        return {}
    exported = model / EXPORTED
    own = read_card(exported)
    _check_whole(exported, own, list(own.sha256), f"mmt export --model {model} writes the graphs again.")
    files: dict[str, Path | bytes] = {f"{EXPORTED}/{name}": exported / name for name in (*own.sha256, MADE_FROM)}
    files[f"{EXPORTED}/{CARD}"] = _as_json(published(parse_json((exported / CARD).read_bytes())))
    return files


def _as_json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _checksum(content: Path | bytes) -> str:
    return hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else file_checksum(content)


def _read(path: Path | None, name: str) -> dict[str, Any] | None:
    """A JSON object of a file, or of the file ``name`` in a folder."""
    if path is None:
        return None
    file = path / name if path.is_dir() else path
    try:
        value = parse_json(file.read_bytes())
    except (OSError, ValueError) as error:
        raise MMTError(f"{file}: expected {name}, found something else ({error}).") from None
    if not isinstance(value, dict):
        raise MMTError(f"{file}: expected {name}, found no JSON object.")
    return value


def _check_training(card: ModelCard, option: str, path: Path | None, about: Any) -> None:
    """Raises MMTError if what was measured is another model than that of ``card``: another training made it.

    Args:
        about: what the file says of the model that was measured.
    """
    if path is None:
        return
    training = about.get("training") if isinstance(about, dict) else None
    if published(training) != card.training:
        raise MMTError(
            f"{option} {path}: expected what was measured with MODEL, found another model's: it was trained "
            "otherwise. Measure MODEL, or leave it out."
        )
