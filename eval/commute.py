"""Contrastive pairs: does a model find the translation that fits the image more probable than the other?

python -m eval.commute runs/multi30k_en_de_gated/model CoMMuTE/en-de --images CoMMuTE/images
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from mmt.cli.command import Command, write_alone
from mmt.cli.options import MODEL, PATH, import_option, threads_option
from mmt.data.dataset import image_folder, read_info
from mmt.data.feature_store import FeatureStore, open_features
from mmt.data.inputs import Images
from mmt.errors import MMTError
from mmt.evidence.contrastive import (
    Choices,
    CommuteResult,
    FoundImages,
    Item,
    commute_languages,
    find_images,
    judge,
    read_commute,
    read_contrastive,
)
from mmt.evidence.systems import progress
from mmt.inference.files import Missing
from mmt.inference.loaded import LoadedModel
from mmt.inference.threads import use_threads
from mmt.io.atomic import check_file, replacing
from mmt.io.formats import packing
from mmt.io.tables import print_table
from mmt.io.terminal import console, counted
from mmt.metrics.p_values import McNemar, mcnemar
from mmt.metrics.significance import p_text
from mmt.model.card import ModelCard, read_card


@click.command(cls=Command, context_settings={"show_default": True})
@click.argument("model", type=MODEL)
@click.argument("data", metavar="COMMUTE_DIR", type=PATH)
@click.option("--split", help="Split of COMMUTE_DIR, if that is a prepared dataset, such as contrastive.")
@click.option("--images", type=PATH, multiple=True,
              help="Folder of images, or feature store; repeat it for several feature sets.  [default with "
              "--split: the dataset's]")  # fmt: skip
@click.option("--missing-images", type=click.Choice(["refuse", "skip"]), default="refuse",
              help="Missing image: refuse (exit) or skip (leave its items out).")  # fmt: skip
@click.option("--against", type=MODEL, help="Another model to compare with, on the same items.")
@click.option("--output", type=PATH, help="Output file (JSON): the scores and each item's perplexities.")
@threads_option
@import_option
def main(
    model: Path,
    data: Path,
    split: str | None,
    images: tuple[Path, ...],
    missing_images: Missing,
    against: Path | None,
    output: Path | None,
    threads: int | None,
) -> None:
    """Let MODEL choose between two translations of each item of COMMUTE_DIR.

    COMMUTE_DIR is en-de or en-fr of CoMMuTE, with src.en, correct.de, incorrect.de and img.order; or, with
    --split, a prepared dataset with wrong translations, such as the built-in pictures. A text-only model, which
    gets half of mirrored items right by construction, needs no images.
    """
    use_threads(threads)
    check_file(output)
    write_alone(output)
    models = [model] if against is None else [model, against]
    cards = [read_card(path) for path in models]
    items, languages = _read(data, split)
    for path, card in zip(models, cards, strict=True):
        card.check_languages(languages, path, data)
    available, store = FoundImages(items, [], [], 0), None
    if any(card.features is not None for card in cards):
        available, store = _find(items, data, split, images, missing_images)
    elif images:
        raise MMTError(f"--images {images[0]}: the model was trained on text only (fusion: none). Leave it out.")
    results = [_judge(path, card, languages, available, store) for path, card in zip(models, cards, strict=True)]
    compared = mcnemar(*(result.choices.hits for result in results)) if against is not None else None
    _print(models, results, available, compared)
    if output is not None:
        value = {
            "data": str(data),
            "split": split,
            "languages": "-".join(languages),
            "items_left_out": available.left_out,
            "images_missing": available.missing,
            "item_images": [item.image for item in available.items],
            "item_numbers": [item.number for item in available.items],
            "items_with_the_same_translations": _same(results, available),
            "systems": [_json(*system) for system in zip(models, cards, results, strict=True)],
            "mcnemar": asdict(compared) if compared is not None else None,
        }
        with replacing(output) as whole, packing(whole, output) as stream:
            stream.write((json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def _read(data: Path, split: str | None) -> tuple[list[Item], tuple[str, str]]:
    if split is not None:
        info = read_info(data)
        return read_contrastive(data, split), (info.source_lang, info.target_lang)
    if (data / "dataset.json").is_file():
        raise MMTError(f"{data}: a prepared dataset. Say which split has the pairs, such as --split contrastive.")
    return read_commute(data), commute_languages(data)


def _find(
    items: Sequence[Item], data: Path, split: str | None, images: tuple[Path, ...], missing: Missing
) -> tuple[FoundImages, FeatureStore | None]:
    if not images:
        if split is None:
            raise MMTError(
                f"{data}: the model uses images. Name their folder or feature store with --images; CoMMuTE's "
                "README says where to download them."
            )
        images = (image_folder(data),)
    where = Images.of(images)
    if where.list_file is not None:
        raise MMTError(f"--images {where.list_file}: expected a folder or a feature store, found a file.")
    store = open_features(where.stores) if where.stores else None
    return find_images(items, where.folder, store, missing), store


def _judge(
    path: Path, card: ModelCard, languages: tuple[str, str], available: FoundImages, store: FeatureStore | None
) -> CommuteResult:
    uses_images = card.features is not None
    source_lang, target_lang = languages
    model = LoadedModel.from_dir(
        path, store if uses_images else None, source_lang=source_lang, target_lang=target_lang
    )
    with progress("choosing", len(available.items) * (4 if uses_images else 2)) as advance:
        return judge(model, available.items, available.images if uses_images else None, progress=advance)


def _print(
    models: Sequence[Path],
    results: Sequence[CommuteResult],
    available: FoundImages,
    compared: McNemar | None,
) -> None:
    out = console()
    with_images = any(result.blank for result in results)
    first = results[0]
    pairs = counted(len(first.choices.pairs), "pair")
    rows: dict[str, list[str]] = {
        "scored on": ["text and images" if result.blank else "text" for result in results],
        "items": [f"{result.num_items:,}" for result in results],
        "items left out, image missing": [f"{available.left_out:,}" if with_images else "-" for _ in results],
        "accuracy, chance 50 %": [_share(result.choices) for result in results],
        "of them ties (wrong)": [f"{result.choices.ties:,}" for result in results],
        "accuracy without image": [_share(result.blank) if result.blank else "-" for result in results],
        f"pair accuracy, {pairs}, chance 25 %": [_pairs(result.choices) for result in results],
        "pair accuracy without image": [_pairs(result.blank) if result.blank else "-" for result in results],
        "items not mirrored, in no pair": [f"{result.unmirrored:,}" for result in results],
    }
    same = _same(results, available)
    if same:
        rows["items whose two translations are the same"] = [f"{len(r.choices.same):,}" for r in results]
        rows["best reachable accuracy"] = [f"{r.choices.best_accuracy:.1f}" for r in results]
    columns = ["95 % intervals by Wilson", *map(str, models)]
    print_table(columns, [[name, *cells] for name, cells in rows.items()])
    if available.left_out:
        out.print(f"Left out: {counted(available.left_out, 'item')}, whose image is missing: {available.listed}.")
    if same:
        out.print(
            f"The two translations are the same, so that no choice is right: item {', '.join(map(str, same))}."
        )
    if not all(result.blank for result in results):
        out.print("Scored on text, mirrored items are half right by construction (ties apart): the baseline.")
    if compared is not None:
        out.print(
            f"McNemar's exact test: right by the first model alone {compared.only_first:,}, by the second alone "
            f"{compared.only_second:,}, {p_text(compared.p_value)}."
        )


def _same(results: Sequence[CommuteResult], available: FoundImages) -> list[int]:
    """The numbers of the items whose two translations are the same to some model."""
    return sorted({available.items[place].number for result in results for place in result.choices.same})


def _share(choices: Choices) -> str:
    return f"{choices.accuracy.value:.1f} {_interval(choices.interval)}"


def _pairs(choices: Choices) -> str:
    pair, interval = choices.pair_accuracy, choices.pair_interval
    return f"{pair.value:.1f} {_interval(interval)}" if pair and interval else "-"


def _interval(interval: tuple[float, float]) -> str:
    return f"[{interval[0]:.1f}, {interval[1]:.1f}]"


def _json(path: Path, card: ModelCard, result: CommuteResult) -> dict[str, Any]:
    return {
        "model": str(path),
        "config": card.config,
        "features": card.features.to_dict() if card.features is not None else None,
        "training": card.training,
        "items": result.num_items,
        "pairs": len(result.choices.pairs),
        "items_not_mirrored": result.unmirrored,
        "items_with_the_same_translations": len(result.choices.same),
        "best_accuracy": result.choices.best_accuracy,
        "with_images": result.blank is not None,
        **_figures(result.choices),
        "without_images": _figures(result.blank) if result.blank else None,
    }


def _figures(choices: Choices) -> dict[str, Any]:
    """For a JSON file: the figures, and for each item its two perplexities."""
    pair = choices.pair_accuracy
    return {
        "accuracy": choices.accuracy.value,
        "accuracy_signature": choices.accuracy.signature,
        "accuracy_interval_95": choices.interval,
        "ties": choices.ties,
        "pair_accuracy": pair.value if pair else None,
        "pair_accuracy_interval_95": choices.pair_interval,
        "hits": choices.hits,
        "perplexity_correct": [round(score.perplexity, 6) for score in choices.correct],
        "perplexity_incorrect": [round(score.perplexity, 6) for score in choices.incorrect],
    }


if __name__ == "__main__":
    main(prog_name="python -m eval.commute")
