"""Everything about one model that shows whether it uses the image: what ``mmt evidence`` runs."""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mmt.data.dataset import DatasetInfo, image_folder, read_info, read_split
from mmt.data.feature_store import open_features
from mmt.errors import MMTError
from mmt.evidence.contrastive import Item, check_commute, read_contrastive
from mmt.evidence.findings import Evidence
from mmt.evidence.sections import SECTIONS, Inputs, Section, Systems
from mmt.evidence.systems import ModelSystem, Sentences, open_systems, read_sentences, stores_of
from mmt.io.versions import versions

__all__ = ["Inputs", "collect"]


def collect(inputs: Inputs) -> tuple[Evidence, dict[str, Path]]:
    """Runs all sections that apply to the models and the data.

    Returns:
        What was measured, and the picture files of the gallery by name (those that are there).
    Raises:
        MMTError: an input is missing, damaged, of other languages, masked for another model, or without images.
    """
    started = time.monotonic()
    info = read_info(inputs.data)
    folder = image_folder(inputs.data, info)
    # What can be wrong is looked at before the long part begins.
    if inputs.commute is not None:
        check_commute(inputs.commute, info)
    names, contrastive = _images_wanted(inputs, info)
    models = {"model": [inputs.model]} | ({"against": [inputs.against]} if inputs.against is not None else {})
    with open_systems(models, inputs.data, inputs.stores, names) as opened:
        by_name = {name: seeds[0] for name, seeds in opened.items()}
        stores = stores_of(by_name.values())
        if not stores and inputs.stores:  # of text-only models: whose sentences would have an image
            stores = [open_features(inputs.stores)]

        def known(name: str) -> bool:
            return all(name in store for store in stores) if stores else (folder / name).is_file()

        sentences = read_sentences(inputs.data, inputs.split, known)
        _check_lines(sentences, by_name.values())
        files = {name: folder / name for name in sentences.images if (folder / name).is_file()}
        systems = Systems(inputs, info, by_name, sentences, contrastive, files)
        fields, not_run = run_sections([section() for section in SECTIONS], systems)
    against = by_name.get("against")
    evidence = Evidence(
        model=_about_model(by_name["model"]),
        data=_about_data(systems),
        against=_about_model(against) if against is not None else None,
        not_run=not_run,
        settings=_settings(inputs, started),
        **fields,
    )
    shown = {name for item in evidence.gallery for name in (item.image, item.wrong_image)}
    return evidence, {name: path for name, path in files.items() if name in shown}


def run_sections(sections: list[Section], systems: Systems) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Asks all sections whether they apply, then runs those that do.

    Returns:
        Fields of ``Evidence``, and what was not run with the reason. Sections not run for one reason share a line.
    """
    reasons = [section.applies(systems) for section in sections]
    fields: dict[str, Any] = {}
    for section, reason in zip(sections, reasons, strict=True):
        if reason is None:
            fields |= section.run(systems)
    by_reason: dict[str, list[str]] = {}
    for section, reason in zip(sections, reasons, strict=True):
        own = [(section.name, reason)] if reason is not None else []
        for name, why in [*section.notes, *own]:
            by_reason.setdefault(why, []).append(name)
    return fields, [(", ".join(names), why) for why, names in by_reason.items()]


def _images_wanted(inputs: Inputs, info: DatasetInfo) -> tuple[list[str], list[Item]]:
    """Names of the images of the split and of the contrastive split, if there is one; and its items."""
    rows = read_split(inputs.data, inputs.split)
    names = [name for name, has_image in zip(rows["image"], rows["has_image"], strict=True) if has_image]
    items = []
    if "contrastive" in info.splits and "contrast" in read_split(inputs.data, "contrastive").column_names:
        items = read_contrastive(inputs.data, "contrastive")
    return list(dict.fromkeys([*names, *(item.image for item in items)])), items


def _check_lines(sentences: Sentences, systems: Iterable[ModelSystem]) -> None:
    """Raises MMTError for a line that cannot be scored, with the id of its row."""
    for row, answer in zip(sentences.ids, sentences.answers or [], strict=False):
        if answer and not re.search(r"\w", answer):
            raise MMTError(f"row '{row}': expected a word as its answer, found {answer!r}. Correct the row.")
    for system in systems:
        translator = system.translator
        for side, lines in (("source", sentences.sources), ("target", sentences.references)):
            target = side == "target"
            most = translator.max_pieces(target=target)
            for row, line in zip(sentences.ids, lines, strict=True):
                if not 0 < (length := len(translator.encode(line, target=target))) <= most:
                    raise MMTError(
                        f"row '{row}': expected a {side} of 1 to {most:,} pieces, found {length:,}. "
                        "Leave the row out, or name another split."
                    )


def _about_model(system: ModelSystem) -> dict[str, Any]:
    card, folder = system.card, system.folder.resolve()
    return {
        "folder": folder.name if folder.name != "model" else folder.parent.name,
        "fusion": card.config["fusion"],
        "languages": f"{card.source_lang}-{card.target_lang}",
        "features": card.features.to_dict() if card.features is not None else None,
        "parameters": sum(p.numel() for p in system.translator.model.parameters()),
        "training": card.training,
        "decoding": card.decoding,
    }


def _about_data(systems: Systems) -> dict[str, Any]:
    info, sentences = systems.info, systems.sentences
    return {
        "name": info.name,
        "split": systems.inputs.split,
        "languages": f"{info.source_lang}-{info.target_lang}",
        "masked": info.probe.get("kind"),
        "sentences_with_image": len(sentences.ids),
        "sentences_without_image": sentences.without_image,
        "sentences_left_out": len(sentences.missing),
        "images_missing": list(dict.fromkeys(sentences.missing)),
        "checksum": info.splits[systems.inputs.split].checksum,
    }


def _settings(inputs: Inputs, started: float) -> dict[str, Any]:
    return {
        "draws": inputs.draws,
        "seed": inputs.seed,
        "seconds": round(time.monotonic() - started, 1),
        "date": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        **versions("torch", "fairseq2", "sacrebleu", "scipy"),
    }
