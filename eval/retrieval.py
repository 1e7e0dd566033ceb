"""Scores retrieval: how often a caption finds its image, and an image one of its captions, among all candidates.

    python -m eval.retrieval runs/seed1/model runs/seed2/model data/captions_five test_2016_flickr OUT \\
        --images features/multi30k_lite0_grid

Models are the same but for their seed. OUT gets ``result.json``.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from mmt.cli.command import Command, write_alone_in
from mmt.cli.options import (
    MODEL,
    PATH,
    draws_option,
    draws_seed_option,
    import_option,
    stores_option,
    threads_option,
)
from mmt.data.dataset import read_info, read_split
from mmt.errors import MMTError
from mmt.evidence.models import model_in_torch, open_systems, require_images
from mmt.evidence.systems import progress
from mmt.inference.controls import wrong_images
from mmt.inference.embedding import embed_images, embed_sentences
from mmt.inference.threads import use_threads
from mmt.io.atomic import make_folder, write_whole
from mmt.io.tables import print_table
from mmt.io.terminal import console, counted
from mmt.io.versions import versions
from mmt.metrics.retrieval import FIGURES, chance, figures, ranks
from mmt.metrics.significance import Spread
from mmt.model.card import read_card

DIRECTIONS = {"text_to_image": "text → image", "image_to_text": "image → text"}
TIES = "a wrong candidate that scores as high as the right one stands before it"

_Figures = dict[str, dict[str, float]]  # by direction and figure


@click.command(cls=Command, context_settings={"show_default": True})
@click.argument("models", type=MODEL, nargs=-1, required=True)
@click.argument("data", type=PATH)
@click.argument("split")
@click.argument("out", type=PATH)
@stores_option
@draws_option
@draws_seed_option
@threads_option
@import_option
def main(
    models: tuple[Path, ...],
    data: Path,
    split: str,
    out: Path,
    images: tuple[Path, ...],
    draws: int,
    seed: int,
    threads: int | None,
) -> None:
    """Retrieve on SPLIT of the prepared dataset DATA with MODELS, seeds of one model; write the result into OUT.

    Candidates are all images of SPLIT, or all its captions; with a column lang, also those of each language alone.
    """
    use_threads(threads)
    write_alone_in(out)
    print_result(evaluate(models, data, split, out, images, draws, seed))


@dataclass(frozen=True)
class Captions:
    """The captions of a split that have an image.

    images: distinct names. owners: (C,) the number of each caption's image. groups: (c,) captions by name:
    ``all``, and those of each language if there are several.
    """

    sources: list[str]
    langs: list[str]
    images: list[str]
    owners: NDArray[np.int64]
    groups: dict[str, NDArray[np.int64]]
    without_image: int


def read_captions(data: Path, split: str) -> Captions:
    """Raises MMTError where no sentence has an image."""
    rows = read_split(data, split)
    columns = ["source", "image", "has_image", *(["lang"] if "lang" in rows.column_names else [])]
    kept = [row for row in rows.select_columns(columns) if row["has_image"]]
    if not kept:
        raise MMTError(f"{data} {split}: expected captions of images, but no sentence has an image.")
    images = list(dict.fromkeys(row["image"] for row in kept))
    number_of = {name: number for number, name in enumerate(images)}
    langs = np.array([row.get("lang", "") for row in kept])
    several = sorted(set(langs.tolist())) if len(set(langs.tolist())) > 1 else []
    groups = {"all": np.arange(len(kept))} | {lang: np.flatnonzero(langs == lang) for lang in several}
    owners = np.array([number_of[row["image"]] for row in kept])
    sources = [row["source"] for row in kept]
    return Captions(sources, langs.tolist(), images, owners, groups, len(rows) - len(kept))


def evaluate(
    models: Sequence[Path],
    data: Path,
    split: str,
    out: Path,
    images: Sequence[Path] = (),
    draws: int = 5,
    seed: int = 1,
) -> dict[str, Any]:
    """Embeds, scores and writes; see ``main`` for the arguments.

    Returns:
        What ``OUT/result.json`` holds: under ``retrieval``, for ``all`` and each language, and for each of
        ``DIRECTIONS``: ``queries``, ``candidates``, ``chance`` and each figure's mean over seeds, sample standard
        deviation (None for one seed) and values; under ``wrong_images`` the same figures when every caption is
        given another's image (``mmt.inference.controls.wrong_images``), the mean over draws and seeds.
    Raises:
        MMTError: data without images, or with one; models without vectors, of another language, or that differ in
            more than their seed; missing images; a folder that cannot be written.
    """
    info = read_info(data)
    for folder in models:
        read_card(folder).refuse_images(f"{folder}")
    captions = read_captions(data, split)
    names, owners = captions.images, captions.owners
    number_of = {name: number for number, name in enumerate(names)}
    drawn = [wrong_images(names, seed + number) for number in range(draws)]
    mixed = [np.array([number_of[name or ""] for name in draw]) for draw in drawn]
    values: dict[str, list[_Figures]] = {name: [] for name in captions.groups}
    wrong: dict[str, list[_Figures]] = {name: [] for name in captions.groups}
    with open_systems({"retrieval": models}, data, images, names, source_only=True) as opened:
        systems = opened["retrieval"]
        require_images(systems[0], names, data, given=bool(images))
        make_folder(out)  # before the long part
        with progress("embedding", len(models) * (len(captions.sources) + len(names))) as advance:
            for system in systems:
                texts = embed_sentences(model_in_torch(system), captions.sources, progress=advance)
                pictures = embed_images(model_in_torch(system), names, progress=advance)
                for name, group in captions.groups.items():
                    values[name].append(_both(texts[group], pictures, owners[group]))
                    wrong[name] += [_both(texts[group], pictures[other], owners[group]) for other in mixed]
    cards = [system.card for system in systems]
    result = _with_gist(
        {
            "data": info.name,
            "data_checksum": info.splits[split].checksum,
            "languages": sorted({*captions.langs} - {""}) or [info.source_lang],
            "split": split,
            "captions": len(captions.sources),
            "images": len(names),
            "captions_without_image": captions.without_image,
            "ties": TIES,
            "retrieval": {
                name: _summaries(values[name], wrong[name], owners[group], len(names))
                for name, group in captions.groups.items()
            },
            "draws": draws,
            "seed": seed,
            "features": cards[0].features.to_dict() if cards[0].features else None,
            "models": [{"model": card.config, "training": card.training} for card in cards],
            "versions": versions("torch", "fairseq2", "numpy"),
        }
    )
    write_whole(out / "result.json", json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    return result


def _with_gist(result: dict[str, Any]) -> dict[str, Any]:
    """The result with its main figure first."""
    gist = result["retrieval"]["all"]["text_to_image"]
    return {
        "task": "retrieval",
        "metric": f"recall at 1, text to image, among {gist['candidates']:,} images (0 to 1)",
        "value": gist["recall_at_1"]["mean"],
        "spread": gist["recall_at_1"]["std"],
        "chance": gist["chance"]["recall_at_1"],
        "controls": {"wrong images": gist["wrong_images"]["recall_at_1"]},
        **result,
    }


def print_result(result: Mapping[str, Any]) -> None:
    """Prints one table: recall and median rank of each direction and language, beside chance."""
    out, rows = console(), []
    for group, directions in result["retrieval"].items():
        for name, label in DIRECTIONS.items():
            one = directions[name]
            counts = (f"{one['queries']:,}", f"{one['candidates']:,}")
            label = label if len(result["retrieval"]) == 1 else f"{label}, {group}"
            rows.append([label, *(_cell(one[figure], figure) for figure in (*FIGURES, "median_rank")), *counts])
            for what in ("wrong_images", "chance"):
                cells = [_plain(one[what][figure], figure) for figure in (*FIGURES, "median_rank")]
                rows.append([f"  {what.replace('_', ' ')}", *cells, "", ""])
    columns = ("direction", "R@1 %", "R@5 %", "R@10 %", "median rank", "queries", "among")
    print_table(columns, rows, title=f"{result['data']} {result['split']}")
    images, draws = counted(result["images"], "image"), counted(result["draws"], "draw")
    out.print(
        f"{counted(result['captions'], 'caption')} of {images} ({', '.join(result['languages'])}); "
        f"{result['captions_without_image']:,} more have no image and are left out. Ties: {TIES}."
    )
    if len(result["models"]) > 1:
        out.print(f"± is the standard deviation over {len(result['models'])} seeds.")
    out.print(
        f"wrong images: every caption is given another's image, the mean over {draws}; chance: "
        "the expected figures of a random order of the candidates."
    )


def _both(captions: NDArray[Any], images: NDArray[Any], owners: NDArray[np.integer[Any]]) -> _Figures:
    of_directions = ranks(captions, images, owners)
    return {name: figures(of_direction) for name, of_direction in zip(DIRECTIONS, of_directions, strict=True)}


def _summaries(
    values: Sequence[_Figures],
    wrong: Sequence[_Figures],
    owners: NDArray[np.integer[Any]],
    num_images: int,
) -> dict[str, Any]:
    captions_of_image = np.unique(owners, return_counts=True)[1]
    right = {"text_to_image": np.ones(len(owners), np.int64), "image_to_text": captions_of_image}
    candidates = {"text_to_image": num_images, "image_to_text": len(owners)}
    return {
        direction: {
            "queries": len(right[direction]),
            "candidates": candidates[direction],
            **{
                figure: Spread.of([value[direction][figure] for value in values]).to_dict()
                for figure in (*FIGURES, "median_rank")
            },
            "wrong_images": {
                figure: statistics.fmean(value[direction][figure] for value in wrong)
                for figure in (*FIGURES, "median_rank")
            },
            "chance": chance(right[direction], candidates[direction]),
        }
        for direction in DIRECTIONS
    }


def _cell(value: Mapping[str, Any], figure: str) -> str:
    spread = "" if value["std"] is None else f" ± {_plain(value['std'], figure)}"
    return _plain(value["mean"], figure) + spread


def _plain(value: float, figure: str) -> str:
    return f"{value:,.1f}" if figure == "median_rank" else f"{100 * value:.1f}"


if __name__ == "__main__":
    main(prog_name="python -m eval.retrieval")
