"""Everything about one model that shows whether it looks: what ``mmt evidence`` runs."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from mmt.controls import wrong_images
from mmt.errors import MMTError
from mmt.evidence import Awareness, ChoiceRow, Evidence, GalleryItem, Gates, Region, SenseRow
from mmt.measure import (
    Sentences,
    System,
    awareness,
    control_rows,
    named_systems,
    progress,
    read_sentences,
    run_system,
    verdict,
)
from mmt.translator import Translator

if TYPE_CHECKING:
    from mmt.commute import FoundImages, Item
    from mmt.features import FeatureStore
    from mmt.prepared import DatasetInfo


@dataclass(frozen=True)
class Inputs:
    """Where ``collect`` finds everything; what is None is left out.

    store: features by image id; without it the models read the data set's image files.
    commute: a CoMMuTE folder, its images in ``commute_images`` (a folder).
    """

    model: Path
    data: Path
    split: str
    store: Path | None = None
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
    from mmt.features import FeatureStore
    from mmt.prepared import image_folder, read_info

    started = time.monotonic()
    info = read_info(inputs.data)
    folder = image_folder(inputs.data, info)
    store = FeatureStore.open(inputs.store) if inputs.store is not None else None
    model = _open(inputs.model, store)
    against = _open(inputs.against, store) if inputs.against is not None else None
    for path, translator in ((inputs.model, model), (inputs.against, against)):
        if translator is not None:
            _check_fits(path, translator, inputs.data)

    def known(name: str) -> bool:
        return name in store if store is not None else (folder / name).is_file()

    # What can be wrong is looked at before the long part begins.
    commute = _read_commute(inputs, (info.source_lang, info.target_lang))
    sentences = read_sentences(inputs.data, inputs.split, known)
    files = {name: folder / name for name in sentences.images if (folder / name).is_file()}
    images: list[Any] = list(sentences.images) if store is not None else [files[name] for name in sentences.images]
    system = run_system(model, sentences, images, inputs.draws, inputs.seed)
    other = run_system(against, sentences, images, inputs.draws, inputs.seed) if against is not None else None
    found = awareness(system) if system.uses_images else None
    controls, signatures = control_rows(sentences, system, other, info.target_lang, info.probe.get("kind", ""))

    not_run: list[tuple[str, str]] = []
    if against is None:
        not_run.append(("comparison with another model", "no --against"))
    inside: Gates | None = None
    of_sentences: list[Any] = []
    if found is not None:
        inside, of_sentences = gates(model, sentences, images)
    else:
        not_run.append(("wrong and blank images, awareness, gates, gallery", "the model is text-only"))
    translators = {"model": model} | ({"against": against} if against is not None else {})
    choices = _choices(inputs, commute, translators, store, folder, not_run)
    senses = _senses(inputs, info, sentences, system, other, not_run)
    items = []
    if found is not None:
        drawable = files
        if system.translator.card.features is not None and system.translator.card.features.num_regions == 1:
            try:
                model.backbone  # noqa: B018  # maps of pooled features are made with it
            except MMTError as error:
                drawable = {}
                not_run.append(("maps over the pictures", str(error)))
        items = gallery(
            sentences, system, other, found, images, drawable, of_sentences, inputs.gallery, inputs.seed
        )
        if not items:
            not_run.append(("gallery", "a wrong image changes no translation"))
    evidence = Evidence(
        verdict(found),
        _about_model(inputs.model, model),
        {
            "name": info.name,
            "split": inputs.split,
            "languages": f"{info.source_lang}-{info.target_lang}",
            "masked": info.probe.get("kind"),
            "sentences_with_image": len(sentences.ids),
            "sentences_without_image": sentences.without_image,
            "images_missing": len(sentences.missing),
            "first_missing": sentences.missing[0] if sentences.missing else None,
            "checksum": info.splits[inputs.split].checksum,
        },
        _about_model(inputs.against, against) if inputs.against is not None and against is not None else None,
        controls,
        found,
        choices,
        senses,
        inside,
        items,
        not_run,
        signatures,
        {
            "draws": inputs.draws,
            "seed": inputs.seed,
            "seconds": round(time.monotonic() - started, 1),
            "date": time.strftime("%Y-%m-%d"),
            "python": platform.python_version(),
            **{name: version(name) for name in ("mmt", "torch", "fairseq2", "sacrebleu", "scipy")},
        },
    )
    shown = {name for item in items for name in (item.image, item.wrong_image)}
    return evidence, {name: path for name, path in files.items() if name in shown}


def _open(folder: Path, store: FeatureStore | None) -> Translator:
    from mmt.folder import read_card

    return Translator.from_dir(folder, store if read_card(folder).features is not None else None)


def _check_fits(path: Path | None, translator: Translator, data: Path) -> None:
    from mmt.prepared import read_info
    from mmt.probes import Probe, check_symbol

    card, info = translator.card, read_info(data)
    if (card.source_lang, card.target_lang) != (info.source_lang, info.target_lang):
        raise MMTError(
            f"{data}: expected {card.source_lang}-{card.target_lang}, what {path} translates, found "
            f"{info.source_lang}-{info.target_lang}."
        )
    if info.probe:
        probe = Probe(info.probe["kind"], info.probe["k"], info.probe["seed"])
        check_symbol(translator.tokenizer, probe, str(path))


def _read_commute(inputs: Inputs, languages: tuple[str, str]) -> FoundImages | None:
    from mmt.commute import commute_languages, find_images, read_commute

    if inputs.commute is None:
        return None
    found = commute_languages(inputs.commute)
    if found != languages:
        raise MMTError(f"--commute {inputs.commute}: expected {'-'.join(languages)}, found {'-'.join(found)}.")
    items = read_commute(inputs.commute)
    return find_images(items, inputs.commute_images or inputs.commute / "images", None, "skip")


def _choices(
    inputs: Inputs,
    commute: FoundImages | None,
    translators: Mapping[str, Translator],
    store: FeatureStore | None,
    folder: Path,
    not_run: list[tuple[str, str]],
) -> list[ChoiceRow]:
    from mmt.commute import find_images, read_contrastive
    from mmt.prepared import read_info, read_split

    rows = []
    info = read_info(inputs.data)
    if "contrastive" in info.splits and "contrast" in read_split(inputs.data, "contrastive").column_names:
        items = read_contrastive(inputs.data, "contrastive")
        found = find_images(items, folder, store, "skip")
        rows += choice_rows(found.items, f"{info.name}, contrastive", found.left_out, translators, found.images)
    if commute is None:
        not_run.append(("CoMMuTE", "no --commute"))
    else:  # its photographs are files, whatever the store holds
        plain = {name: Translator(t.model, t.tokenizer, t.card) for name, t in translators.items()}
        rows += choice_rows(commute.items, "CoMMuTE", commute.left_out, plain, commute.images)
    return rows


def _senses(
    inputs: Inputs,
    info: DatasetInfo,
    sentences: Sentences,
    model: System,
    against: System | None,
    not_run: list[tuple[str, str]],
) -> list[SenseRow]:
    from mmt.ambiguity import find_ambiguous
    from mmt.prepared import read_split

    if "train" not in info.splits:
        not_run.append(("ambiguous words", "the data set has no split 'train' to learn them from"))
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


def choice_rows(
    items: Sequence[Item], name: str, missing: int, systems: Mapping[str, Translator], images: Sequence[str | Path]
) -> list[ChoiceRow]:
    """Which of two translations each system finds more probable: CoMMuTE and the contrastive split."""
    from mmt.commute import judge
    from mmt.metrics import mcnemar

    rows: list[ChoiceRow] = []
    first: list[bool] | None = None
    for system, translator in systems.items():
        shown = images if translator.card.features is not None else None
        with progress(f"choosing, {name}", len(items) * (4 if shown else 2)) as advance:
            found = judge(translator, items, shown, progress=advance)
        choices, pair = found.choices, found.choices.pair_accuracy
        low, high = choices.interval
        rows.append(
            ChoiceRow(
                name,
                system,
                found.num_items,
                missing,
                choices.accuracy.value / 100,
                (low / 100, high / 100),
                pair.value / 100 if pair else None,
                len(choices.pairs),
                found.blank.accuracy.value / 100 if found.blank else None,
                mcnemar(first, choices.hits).p_value if first is not None else None,
            )
        )
        first = first or choices.hits
    return rows


def sense_rows(lexicon: Any, sentences: Sentences, model: System, against: System | None) -> list[SenseRow]:
    """Ambiguous words under every control (the first draw of wrong images); [] where the split has none."""
    from mmt.ambiguity import sense_accuracy

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


def gates(translator: Translator, sentences: Sentences, images: Sequence[Any]) -> tuple[Gates, list[Any]]:
    """Wu et al.'s statistics, and those of each sentence."""
    from mmt.inside import gate_statistics

    with progress("gates", len(images)) as advance:
        found = gate_statistics(translator, sentences.sources, images, progress=advance)
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
    images: Sequence[Any],
    files: Mapping[str, Path],
    sentence_gates: list[Any],
    size: int,
    seed: int,
) -> list[GalleryItem]:
    """The sentences whose translations with the right and a wrong image (the first draw) differ most, by chrF2.

    Args:
        files: of the images that can be drawn, by name.
        sentence_gates: of each sentence, as ``gates`` gives them; [] for none.
    """
    import sacrebleu

    from mmt.inside import image_importance, merge_words

    right, wrong = model.says["right"][0], model.says["wrong"][0]
    chrf = [sacrebleu.sentence_chrf(b, [a]).score if a != b else 100.0 for a, b in zip(right, wrong, strict=True)]
    changed = [row for row in np.argsort(chrf, kind="stable").tolist() if right[row] != wrong[row]][:size]
    other = wrong_images(sentences.images, seed)
    items = []
    with progress("gallery", len(changed)) as advance:
        for row in changed:
            name = sentences.images[row]
            parts: dict[str, Any] = {}
            region = image_importance(
                model.translator, sentences.sources[row], right[row], images[row], files.get(name)
            )
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
                    right[row],
                    wrong[row],
                    model.says["blank"][0][row],
                    100 - chrf[row],
                    found.per_sentence[row],
                    against.says["right"][0][row] if against is not None else None,
                    unmasked=sentences.unmasked[row] if sentences.unmasked is not None else None,
                    **parts,
                )
            )
            advance(1)
    return items
