"""Everything about one model that shows whether it looks: what ``mmt evidence`` runs."""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from mmt.errors import MMTError
from mmt.evidence.choices import check_commute, choice_rows, find_choices
from mmt.evidence.findings import FEWEST_CHRF, Awareness, Effects, Evidence, GalleryItem, Gates, Region, SenseRow
from mmt.evidence.systems import (
    Sentences,
    System,
    awareness,
    compare,
    control_rows,
    named_systems,
    progress,
    read_sentences,
    run_system,
    sentence_chrf,
    verdict,
)
from mmt.features.images import ImageError
from mmt.inference.controls import wrong_images
from mmt.inference.torch_runtime import Translator
from mmt.io.versions import versions

if TYPE_CHECKING:
    from mmt.data.dataset import DatasetInfo
    from mmt.evidence.contrastive import Item


@dataclass(frozen=True)
class Inputs:
    """Where ``collect`` finds everything; what is None is left out.

    store: features by image id; without it the models read the dataset's image files.
    commute: a CoMMuTE folder such as ``CoMMuTE/en-de``; its images are in ``commute_images``, or else in
        ``CoMMuTE/images``.
    """

    model: Path
    data: Path
    split: str
    stores: tuple[Path, ...] = ()
    against: Path | None = None
    commute: Path | None = None
    commute_images: Path | None = None
    draws: int = 5
    seed: int = 1
    gallery: int = 12


def collect(inputs: Inputs) -> tuple[Evidence, dict[str, Path]]:
    """Runs all that applies to the models and the data.

    Returns:
        What was found, and the picture files of the gallery by name (those that can be had).
    Raises:
        MMTError: an input is missing, damaged, of other languages, masked for another model, or without images.
    """
    with TemporaryDirectory(prefix="mmt-") as temporary:
        return _collect(inputs, Path(temporary))


def _collect(inputs: Inputs, temporary: Path) -> tuple[Evidence, dict[str, Path]]:
    from mmt.data.dataset import image_folder, read_info
    from mmt.data.feature_store import open_features

    started = time.monotonic()
    not_run: list[tuple[str, str]] = []
    info = read_info(inputs.data)
    folder = image_folder(inputs.data, info)
    # What can be wrong is looked at before the long part begins.
    if inputs.commute is not None:
        check_commute(inputs.commute, info)
    opened = _open(inputs, info)
    names, contrastive = _images_wanted(inputs, info)
    translators = _with_features(opened, inputs.stores, {name: folder / name for name in names}, temporary)
    model, against = translators["model"], translators.get("against")
    stores = [t.features for t in translators.values() if t.features is not None]

    if not stores and inputs.stores:  # of text-only models: whose sentences would have an image
        stores = [open_features(inputs.stores)]

    def known(name: str) -> bool:
        return all(name in store for store in stores) if stores else (folder / name).is_file()

    sentences = read_sentences(inputs.data, inputs.split, known)
    _check_lines(sentences, translators)
    choices = find_choices(inputs.commute, inputs.commute_images, info, contrastive, translators, not_run)
    system = run_system(model, sentences, inputs.draws, inputs.seed)
    other = run_system(against, sentences, inputs.draws, inputs.seed) if against is not None else None
    found = awareness(system) if system.uses_images else None
    controls, signatures = control_rows(sentences, system, other, info.target_lang, info.probe.get("kind", ""))

    if against is None:
        not_run.append(("comparison with a text-only model", "no --against MODEL"))
    inside: Gates | None = None
    of_sentences: list[Any] = []
    if found is not None:
        if model.model.fuses_between:
            inside, of_sentences = gates(model, sentences)
        else:
            fusion = model.card.config["fusion"]
            not_run.append(("gates", f"{fusion} fusion does nothing between encoder and decoder"))
    else:
        not_run.append(("wrong and no images, awareness, gates, examples", "the model is text-only"))
    chosen = [row for choice in choices for row in choice_rows(choice, translators)]
    senses = _senses(inputs, info, sentences, system, other, not_run)
    files = {name: folder / name for name in sentences.images if (folder / name).is_file()}
    items: list[GalleryItem] = []
    effects: Effects | None = None
    if found is not None:
        drawable = files
        assert model.card.features is not None  # noqa: S101  # there is awareness only of a model with images
        if inputs.gallery and model.card.features.num_regions == 1:
            try:
                model.backbones  # noqa: B018  # maps of pooled features are made with it
            except MMTError as error:
                drawable = {}
                not_run.append(("maps over the pictures", str(error)))
        effects, items = gallery(
            sentences, system, other, found, drawable, of_sentences, inputs.gallery, inputs.seed
        )
        if inputs.gallery and not items:
            why = (
                f"no sentence that the image changes is translated with a chrF2 of {FEWEST_CHRF:g} or more"
                if effects.left_out
                else "no image makes a translation better or worse than without it"
            )
            not_run.append(("examples", why))
    evidence = Evidence(
        verdict(found),
        compare(sentences, system, other, controls),
        _about_model(inputs.model, model),
        {
            "name": info.name,
            "split": inputs.split,
            "languages": f"{info.source_lang}-{info.target_lang}",
            "masked": info.probe.get("kind"),
            "sentences_with_image": len(sentences.ids),
            "sentences_without_image": sentences.without_image,
            "sentences_left_out": len(sentences.missing),
            "images_missing": list(dict.fromkeys(sentences.missing)),
            "checksum": info.splits[inputs.split].checksum,
        },
        _about_model(inputs.against, against) if inputs.against is not None and against is not None else None,
        controls,
        found,
        chosen,
        senses,
        inside,
        effects,
        items,
        not_run,
        signatures,
        {
            "draws": inputs.draws,
            "seed": inputs.seed,
            "seconds": round(time.monotonic() - started, 1),
            "date": time.strftime("%Y-%m-%d"),
            "python": platform.python_version(),
            **versions("torch", "fairseq2", "sacrebleu", "scipy"),
        },
    )
    shown = {name for item in items for name in (item.image, item.wrong_image)}
    return evidence, {name: path for name, path in files.items() if name in shown}


def _open(inputs: Inputs, info: DatasetInfo) -> dict[str, Translator]:
    """The models, by ``model`` and ``against``. Raises MMTError for one of other languages or other masks."""
    from mmt.data.masking import check_masked_alike, read_probe

    translators = {}
    for name, path in (("model", inputs.model), ("against", inputs.against)):
        if path is not None:
            translator = translators[name] = Translator.from_dir(path)
            translator.card.check_languages((info.source_lang, info.target_lang), path, inputs.data)
            if info.probe:
                probe = read_probe(info.probe, str(inputs.data))
                check_masked_alike(translator.tokenizer, translator.card.training, probe, path)
    return translators


def _images_wanted(inputs: Inputs, info: DatasetInfo) -> tuple[list[str], list[Item]]:
    """Names of the images of the split and of the contrastive split, if there is one; and its items."""
    from mmt.data.dataset import read_split
    from mmt.evidence.contrastive import read_contrastive

    rows = read_split(inputs.data, inputs.split)
    names = [name for name, has_image in zip(rows["image"], rows["has_image"], strict=True) if has_image]
    items = []
    if "contrastive" in info.splits and "contrast" in read_split(inputs.data, "contrastive").column_names:
        items = read_contrastive(inputs.data, "contrastive")
    return list(dict.fromkeys([*names, *(item.image for item in items)])), items


def _with_features(
    translators: Mapping[str, Translator], stores: Sequence[Path], files: Mapping[str, Path], temporary: Path
) -> dict[str, Translator]:
    """Those that use images with a store: the given one, or one made of ``files``, each of which is read once."""
    from mmt.data.feature_store import open_features

    features = open_features(stores) if stores else None
    ready = dict(translators)
    for name, translator in translators.items():
        card = translator.card
        if card.features is None or not files:
            continue
        if not stores and (features is None or features.signature != card.features):
            ready[name] = translator.with_features_of(files, temporary / name)
            features = ready[name].features
        else:
            ready[name] = Translator(translator.model, translator.tokenizer, card, features)
    return ready


def _check_lines(sentences: Sentences, translators: Mapping[str, Translator]) -> None:
    """Raises MMTError for a line that cannot be scored, with the id of its row."""
    for row, answer in zip(sentences.ids, sentences.answers or [], strict=False):
        if answer and not re.search(r"\w", answer):
            raise MMTError(f"row '{row}': expected a word as its answer, found {answer!r}. Correct the row.")
    for translator in translators.values():
        most = translator.model.text.sizes.max_length - 1
        for side, lines in (("source", sentences.sources), ("target", sentences.references)):
            for row, line in zip(sentences.ids, lines, strict=True):
                if not 0 < (length := len(translator.tokenizer.encode(line))) <= most:
                    raise MMTError(
                        f"row '{row}': expected a {side} of 1 to {most:,} pieces, found {length:,}. "
                        "Leave the row out, or name another split."
                    )


def _senses(
    inputs: Inputs,
    info: DatasetInfo,
    sentences: Sentences,
    model: System,
    against: System | None,
    not_run: list[tuple[str, str]],
) -> list[SenseRow]:
    from mmt.data.dataset import read_split
    from mmt.metrics.ambiguity import find_ambiguous

    if "train" not in info.splits:
        not_run.append(("ambiguous words", "the dataset has no split 'train' to learn them from"))
        return []
    train = read_split(inputs.data, "train")
    sources = train["unmasked" if "unmasked" in train.column_names else "source"]
    try:
        lexicon = find_ambiguous(list(sources), list(train["target"]), info.source_lang, info.target_lang)
        rows = sense_rows(lexicon, sentences, model, against)
    except MMTError as error:
        not_run.append(("ambiguous words", str(error)))
        return []
    if not rows:
        not_run.append(("ambiguous words", "none of them stands in these sentences"))
    return rows


def _about_model(path: Path, translator: Translator) -> dict[str, Any]:
    card = translator.card
    return {
        "folder": path.resolve().name if path.resolve().name != "model" else path.resolve().parent.name,
        "fusion": card.config["fusion"],
        "languages": f"{card.source_lang}-{card.target_lang}",
        "features": card.features.to_dict() if card.features is not None else None,
        "parameters": sum(p.numel() for p in translator.model.parameters()),
        "training": card.training,
        "decoding": card.decoding,
    }


def sense_rows(lexicon: Any, sentences: Sentences, model: System, against: System | None) -> list[SenseRow]:
    """Ambiguous words under every control (the first draw of wrong images); [] where the split has none."""
    from mmt.metrics.ambiguity import sense_accuracy

    rows = []
    sources = sentences.unmasked or sentences.sources
    for name, system in named_systems(model, against):
        for control in system.says:
            score = sense_accuracy(lexicon, sources, sentences.references, system.says[control][0])
            if score.accuracy is None or score.macro_f1 is None:
                continue
            shares = {
                group: (g.accuracy / 100, g.items) for group, g in score.groups.items() if g.accuracy is not None
            }
            usual = None if score.usual_accuracy is None else score.usual_accuracy / 100
            shown = control if system.uses_images else "text"
            num, accuracy, f1 = len(score.items), score.accuracy / 100, score.macro_f1 / 100
            rows.append(SenseRow(name, shown, num, accuracy, f1, shares, usual))
    return rows


def gates(translator: Translator, sentences: Sentences) -> tuple[Gates, list[Any]]:
    """Wu et al.'s statistics, and those of each sentence."""
    from mmt.evidence.inside import gate_statistics

    with progress("gates", len(sentences.images)) as advance:
        found = gate_statistics(translator, sentences.sources, sentences.images, progress=advance)
    means = [one.mean for one in found.sentences if one is not None and one.mean is not None]
    shares = np.histogram(means, bins=10, range=(0, 1))[0] / max(len(means), 1)
    pieces: dict[str, list[float]] = {}
    for one in found.sentences:
        for token in one.tokens if one is not None else ():
            pieces.setdefault(token.piece, []).append(token.norm_ratio if token.gate is None else token.gate)
    fewest = min(5, len(sentences.ids))  # a piece seen once says little
    often = [(piece, fmean(values), len(values)) for piece, values in pieces.items() if len(values) >= fewest]
    widest = sorted(often, key=lambda piece: -piece[1])[:10]
    histogram = shares.tolist() if means else []
    return Gates(found.mean, found.over_1e5, found.over_1e10, found.norm_ratio, histogram, widest), found.sentences


def gallery(
    sentences: Sentences,
    model: System,
    against: System | None,
    found: Awareness,
    files: Mapping[str, Path],
    sentence_gates: list[Any],
    size: int,
    seed: int,
) -> tuple[Effects, list[GalleryItem]]:
    """The sentences that their own image helped or hurt most: half and half, where there are as many of both.

    Args:
        files: of the images that can be drawn, by name.
        sentence_gates: of each sentence, as ``gates`` gives them; [] for none.
    Returns:
        How many there are of each kind, and the examples: those helped, the greatest gain first, then those hurt.
    """
    from mmt.evidence.inside import image_importance, merge_words

    says = {"right": model.says["right"][0], "wrong": model.says["wrong"][0], "blank": model.says["blank"][0]}
    if against is not None:
        says["against"] = against.says["right"][0]
    chrf = {name: np.array(sentence_chrf(texts, sentences.references)) for name, texts in says.items()}
    # Compared with the text-only model, too: what it translates as well owes nothing to the image.
    others = [chrf["blank"], *([chrf["against"]] if against is not None and not against.uses_images else [])]
    above, below = chrf["right"] - np.max(others, axis=0), chrf["right"] - np.min(others, axis=0)
    gains = np.round(np.where(above > 0, above, np.where(below < 0, below, 0)), 6)
    shown = np.max([chrf["right"], *others], axis=0) >= FEWEST_CHRF
    helped = [row for row in np.argsort(-gains, kind="stable").tolist() if gains[row] > 0]
    hurt = [row for row in np.argsort(gains, kind="stable").tolist() if gains[row] < 0]
    effects = Effects(len(helped), len(hurt), int((gains == 0).sum()), int(((gains != 0) & ~shown).sum()))
    halves = [row for row in helped if shown[row]], [row for row in hurt if shown[row]]
    num_hurt = min(len(halves[1]), max(size // 2, size - len(halves[0])))
    chosen = halves[0][: size - num_hurt] + halves[1][:num_hurt]
    other = wrong_images(sentences.images, seed)
    items = []
    with progress("gallery", len(chosen)) as advance:
        for row in chosen:
            name = sentences.images[row]
            parts: dict[str, Any] = {}
            try:
                region = image_importance(
                    model.translator, sentences.sources[row], says["right"][row], name, files.get(name)
                )
            except ImageError:  # its features are in the store, but the file is damaged by now
                region = None
            if region is not None:
                words, values = merge_words(region.tokens, region.values, "sum")
                parts = {"method": region.method, "words": words, "importance": np.round(values, 4).tolist()}
                parts["regions"] = [Region(*box) for box in region.boxes or []]
            if sentence_gates and sentence_gates[row] is not None:
                parts["source_gates"] = [
                    (token.piece, token.norm_ratio if token.gate is None else token.gate)
                    for token in sentence_gates[row].tokens
                ]
            items.append(
                GalleryItem(
                    sentences.ids[row],
                    sentences.sources[row],
                    sentences.references[row],
                    name,
                    other[row] or "",
                    says["right"][row],
                    says["wrong"][row],
                    says["blank"][row],
                    {key: round(float(scores[row]), 2) for key, scores in chrf.items()},
                    float(gains[row]),
                    found.per_sentence[row],
                    says["against"][row] if against is not None else None,
                    unmasked=sentences.unmasked[row] if sentences.unmasked is not None else None,
                    **parts,
                )
            )
            advance(1)
    return effects, items
