"""The scores of a trained model, with all that is needed to reproduce the run; and its reproduction."""

from __future__ import annotations

import copy
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmt.data.dataset import read_info, read_split
from mmt.data.inputs import Images, open_data
from mmt.errors import MMTError
from mmt.inference.ensemble import languages_for
from mmt.inference.files import FileTranslator, write_output
from mmt.inference.torch_runtime import Translator
from mmt.io.atomic import make_folder, write_whole
from mmt.io.text_files import parse_json
from mmt.io.versions import versions
from mmt.metrics.moses import looks_tokenized
from mmt.metrics.translation import corpus_scores, metrics_for
from mmt.training.config import TrainConfig
from mmt.training.config_checks import check_values
from mmt.training.config_file import validated
from mmt.training.recipe import train
from mmt.training.tasks import needs_features

if TYPE_CHECKING:
    from mmt.training.config import TrainConfig

_WHAT = "what mmt evaluate result writes, or mmt reproduce"


def write_result(model: Path, data: Path, split: str, out: Path, images: Sequence[Path] = ()) -> dict[str, Any]:
    """Translates a split, scores it, and writes ``SPLIT.hyp.LANG`` and ``result.json`` into ``out``.

    Args:
        images: feature stores, one a set; none reads the dataset's image files.
    Returns:
        What ``result.json`` says: data and their checksums, scores with signatures, settings of model and
        training, versions.
    Raises:
        MMTError: the model, the data or the features are missing, or do not fit each other.
    """
    info = read_info(data)
    source_lang, target_lang = languages_for(model, info, data)
    translator = Translator.from_dir(model, images or None, source_lang=source_lang, target_lang=target_lang)
    card = translator.card
    references = list(read_split(data, split)["target"])
    tokenized = looks_tokenized(references) is True
    omitted = metrics_for(references, target_lang=card.target_lang, tokenized=tokenized)[1]  # before the long part
    source = open_data(data, split, Images(stores=tuple(images)), with_images=card.features is not None)
    work = FileTranslator(translator, source)
    make_folder(out)
    hypotheses = out / f"{split}.hyp.{card.target_lang}"
    started = time.monotonic()
    write_output(work.translate(), hypotheses, n_best=1)
    seconds = time.monotonic() - started
    content = hypotheses.read_bytes()
    lines = content.decode("utf-8").split("\n")[:-1]
    scores = corpus_scores(lines, references, target_lang=card.target_lang, tokenized=tokenized)
    result: dict[str, Any] = {
        "data": info.name,
        "languages": f"{card.source_lang}-{card.target_lang}",
        "split": split,
        "split_checksum": info.splits[split].checksum,
        "sentences": work.counts.sentences,
        "sentences_with_image": work.counts.with_image,
        "scores": {name: asdict(score) for name, score in scores.items()},
        "scores_left_out": omitted,
        "hypotheses_sha256": hashlib.sha256(content).hexdigest(),
        "decoding": card.decoding,
        "translation_seconds": round(seconds, 1),
        "model": card.config,
        "features": card.features.to_dict() if card.features is not None else None,
        "training": card.training,
        "versions": versions("torch", "fairseq2", "sacrebleu", "sentencepiece"),
    }
    write_whole(out / "result.json", json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    return result


@dataclass(frozen=True)
class Agreement:
    """Whether a repeated run agrees, and if not, how far it is off.

    exact: the translations are the same, byte for byte.
    note: where the settings are from, if not from the run itself.
    scores: of each score its name, what it was and what it is now.
    versions: of each package that has another version now its name, what it was and what it is.
    """

    exact: bool
    note: str
    scores: list[tuple[str, float, float]]
    versions: list[tuple[str, str, str]]


def reproduce(path: Path, out: Path, data: Path | None = None, images: Sequence[Path] = ()) -> Agreement:
    """Retrains and rescores the experiment described in a ``result.json``; call it again to resume.

    Args:
        path: the ``result.json``.
        out: gets the run, ``run/``, and what it scores, ``result/``.
        data, images: the dataset and the feature stores; without them, those that the result names.
    Raises:
        MMTError: no such result, or one without settings, or the data are others than those it was made of.
    """
    record, config = read_result(path, data, images)
    assert config.data.path is not None  # noqa: S101  # read_result() has seen to it
    info = read_info(config.data.path)
    for what, split, expected in (
        ("the training data", config.data.train_split, record["training"]["data_checksum"]),
        ("the split scored", record["split"], record["split_checksum"]),
    ):
        checksum = info.splits[split].checksum if split in info.splits else "none"
        if checksum != expected:
            raise MMTError(
                f"{config.data.path}: {split}: expected {what} of {path}, checksum {expected[:12]}, found "
                f"{checksum[:12]}. Prepare the same data, and name them with --data."
            )
    make_folder(out)
    model = train(out / "run", config)
    features = config.images.features
    stores = [] if features is None else [features] if isinstance(features, Path) else list(features)
    uses_images = record["features"] is not None
    now = write_result(model, config.data.path, record["split"], out / "result", stores if uses_images else ())
    return Agreement(
        exact=now["hypotheses_sha256"] == record["hypotheses_sha256"],
        note=str(record["training"].get("config_from", "")),
        scores=[
            (score["name"], score["value"], now["scores"][name]["value"])
            for name, score in record["scores"].items()
            if name in now["scores"]
        ],
        versions=[
            (name, was, now["versions"].get(name, "none"))
            for name, was in record["versions"].items()
            if now["versions"].get(name) != was
        ],
    )


def read_result(
    path: Path, data: Path | None = None, images: Sequence[Path] = ()
) -> tuple[dict[str, Any], TrainConfig]:
    """What a ``result.json`` says, and the training that it describes.

    Args:
        data, images: instead of the dataset and the feature stores that it names.
    Raises:
        MMTError: no such result, or one without settings, or with others than those of its model.
    """
    record = _read(path)
    tree = copy.deepcopy(record["training"]["config"])
    if data is not None:
        tree.setdefault("data", {})["path"] = str(data)
    if images:
        tree.setdefault("images", {})["features"] = (
            [str(one) for one in images] if len(images) > 1 else str(images[0])
        )
    config = validated(TrainConfig, tree, str(path))
    if config.data.datasets is not None:
        raise MMTError(
            f"{path}: cannot be reproduced: a model of several datasets (data.datasets). Train it anew."
        )
    check_values(config, str(path))
    _check_config(record, config, path)
    return record, config


def _check_config(record: dict[str, Any], config: TrainConfig, path: Path) -> None:
    """Raises MMTError where the settings are not those of the model that the result is of."""
    training, model = record["training"], record.get("model", {})
    pairs = [
        (f"model.{name}", value, model[name]) for name, value in asdict(config.model).items() if name in model
    ]
    pairs += [
        (f"decoding.{name}", value, record["decoding"][name])
        for name, value in asdict(config.decoding).items()
        if name in record.get("decoding", {})
        and (name, value) != ("length_penalty", "val")  # the model has the choice
    ]
    pairs.append(("seed", config.seed, training.get("seed", config.seed)))
    pairs.append(("text.vocab_size", config.text.vocab_size, model.get("vocab_size", config.text.vocab_size)))
    for name, says, was in pairs:
        says = list(says) if isinstance(says, tuple) else says  # as JSON has it
        if says != was and not (name == "text.vocab_size" and config.start.model is not None):
            raise MMTError(f"{path}: its settings say {name} {says}, its model has {was}. Correct the file.")
    updates = training.get("updates", config.regime.num_steps)
    if updates > config.regime.num_steps or (config.regime.patience is None and updates < config.regime.num_steps):
        raise MMTError(
            f"{path}: its settings say regime.num_steps {config.regime.num_steps:,}, its model had {updates:,} "
            "updates. Correct the file."
        )
    if record["features"] is not None and not needs_features(config):
        raise MMTError(f"{path}: its settings use no images, its model does. Correct the file.")


def _read(path: Path) -> dict[str, Any]:
    try:
        record = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise MMTError(f"{path}: cannot be read ({reason}). Expected {_WHAT}.") from None
    except ValueError as error:
        raise MMTError(f"{path}: not JSON ({error}). Expected {_WHAT}.") from None
    needed = ("split", "split_checksum", "scores", "hypotheses_sha256", "training", "features", "versions")
    missing = [name for name in needed if not isinstance(record, dict) or name not in record]
    if not missing and not all(isinstance(record[name], dict) for name in ("training", "scores", "versions")):
        missing = ["training, scores and versions as tables"]
    if not missing and "members" in record["training"]:
        raise MMTError(
            f"{path}: cannot be reproduced: an ensemble of several models. Reproduce each from its own result."
        )
    if not missing:
        missing = [name for name in ("config", "data_checksum") if name not in record["training"]]
    if missing:
        raise MMTError(
            f"{path}: cannot be reproduced: the file has no {', '.join(missing)}. Expected {_WHAT}; "
            "results of other tasks, and older ones, cannot be reproduced."
        )
    result: dict[str, Any] = record
    return result
