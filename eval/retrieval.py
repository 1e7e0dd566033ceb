"""Scores retrieval: how often a caption finds its image, and an image one of its captions, among all candidates.

    python -m eval.retrieval runs/seed1/model runs/seed2/model data/captions_five test_2016_flickr OUT \\
        --images features/multi30k_lite0_grid

Models are the same but for their seed. OUT gets ``result.json``.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from numpy.typing import NDArray

from mmt.cli.command import Command, write_alone_in
from mmt.cli.options import draws_option, draws_seed_option, import_option, stores_option, threads_option
from mmt.data.dataset import image_folder, read_info, read_split
from mmt.data.image_names import Names, files_below
from mmt.errors import MMTError
from mmt.inference.controls import wrong_images
from mmt.io.atomic import make_folder, write_whole
from mmt.io.terminal import console, counted, print_table
from mmt.io.versions import versions
from mmt.metrics.retrieval import FIGURES, chance, figures, ranks

if TYPE_CHECKING:
    from mmt.data.feature_store import FeatureStore

DIRECTIONS = {"text_to_image": "text → image", "image_to_text": "image → text"}
TIES = "a wrong candidate that scores as high as the right one stands before it"

_PATH = click.Path(path_type=Path)


@click.command(cls=Command, context_settings={"show_default": True})
@click.argument("models", type=_PATH, nargs=-1, required=True)
@click.argument("data", type=_PATH)
@click.argument("split")
@click.argument("out", type=_PATH)
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
    from mmt.inference.threads import use_threads

    use_threads(threads)
    write_alone_in(out)
    print_result(evaluate(models, data, split, out, images, draws, seed))


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
            more than their seed; images that cannot be had; a folder that cannot be written.
    """
    from tqdm import tqdm

    from mmt.inference.embedding import embed_images, embed_sentences
    from mmt.inference.torch_runtime import Translator

    info = read_info(data)
    _check_models(models, info.source_lang, data)
    rows = read_split(data, split)
    columns = ["source", "image", "has_image", *(["lang"] if "lang" in rows.column_names else [])]
    kept = [row for row in rows.select_columns(columns) if row["has_image"]]
    if not kept:
        raise MMTError(f"{data} {split}: expected captions of images, but no sentence has an image.")
    names = list(dict.fromkeys(row["image"] for row in kept))
    row_of = {name: number for number, name in enumerate(names)}
    owners = np.array([row_of[row["image"]] for row in kept])
    mixed = [np.array([row_of[name] for name in wrong_images(names, seed + draw)]) for draw in range(draws)]
    groups = {"all": np.arange(len(kept))}
    langs = [row.get("lang", "") for row in kept]
    if len(set(langs)) > 1:
        groups |= {
            lang: np.array([n for n, one in enumerate(langs) if one == lang]) for lang in sorted(set(langs))
        }
    make_folder(out)  # before the long part
    values: dict[str, list[dict[str, dict[str, float]]]] = {name: [] for name in groups}
    wrong: dict[str, list[dict[str, dict[str, float]]]] = {name: [] for name in groups}
    cards = []
    with TemporaryDirectory(prefix="mmt-") as temporary:
        store = _store(names, models[0], images, image_folder(data, info), Path(temporary))
        with tqdm(total=len(models) * (len(kept) + len(names)), unit="", disable=None) as bar:
            for folder in models:
                translator = Translator.from_dir(folder, store)
                cards.append(translator.card)
                texts = embed_sentences(translator, [row["source"] for row in kept], progress=bar.update)
                pictures = embed_images(translator, names, progress=bar.update)
                for name, group in groups.items():
                    values[name].append(_both(texts[group], pictures, owners[group]))
                    wrong[name] += [_both(texts[group], pictures[other], owners[group]) for other in mixed]
    result: dict[str, Any] = {
        "data": info.name,
        "data_checksum": info.splits[split].checksum,
        "languages": sorted({*langs} - {""}) or [info.source_lang],
        "split": split,
        "captions": len(kept),
        "images": len(names),
        "captions_without_image": len(rows) - len(kept),
        "ties": TIES,
        "retrieval": {
            name: _summaries(values[name], wrong[name], owners[group], len(names))
            for name, group in groups.items()
        },
        "draws": draws,
        "seed": seed,
        "features": cards[0].features.to_dict() if cards[0].features else None,
        "models": [{"model": card.config, "training": card.training} for card in cards],
        "versions": versions("torch", "fairseq2", "numpy"),
    }
    gist = result["retrieval"]["all"]["text_to_image"]
    result = {
        "task": "retrieval",
        "metric": f"recall at 1, text to image, among {gist['candidates']:,} images (0 to 1)",
        "value": gist["recall_at_1"]["mean"],
        "spread": gist["recall_at_1"]["std"],
        "chance": gist["chance"]["recall_at_1"],
        "controls": {"wrong images": gist["wrong_images"]["recall_at_1"]},
        **result,
    }
    write_whole(out / "result.json", json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    return result


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


def _both(
    captions: NDArray[Any], images: NDArray[Any], owners: NDArray[np.integer[Any]]
) -> dict[str, dict[str, float]]:
    found = ranks(captions, images, owners)
    return {direction: figures(places) for direction, places in zip(DIRECTIONS, found, strict=True)}


def _summaries(
    values: Sequence[Mapping[str, Mapping[str, float]]],
    wrong: Sequence[Mapping[str, Mapping[str, float]]],
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
                figure: _spread([value[direction][figure] for value in values])
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


def _spread(seeds: Sequence[float]) -> dict[str, Any]:
    std = statistics.stdev(seeds) if len(seeds) > 1 else None
    return {"mean": statistics.fmean(seeds), "std": std, "seeds": list(seeds)}


def _check_models(folders: Sequence[Path], lang: str, data: Path) -> None:
    """Raises MMTError unless the folders are seeds of one model, which reads the language of the data."""
    from mmt.model.card import read_card

    first, seeds = read_card(folders[0]), set()
    for folder in folders:
        card = read_card(folder)
        card.refuse_images(f"{folder}")
        if card.source_lang != lang and "mul" not in (card.source_lang, lang):
            raise MMTError(f"{data}: expected '{card.source_lang}', which {folder} reads, found '{lang}'.")
        same = [(c.config, c.features, c.training.get("data_checksum")) for c in (card, first)]
        if same[0] != same[1]:
            raise MMTError(
                f"{folder}: differs from {folders[0]} in more than its seed. Give the seeds of one model: the "
                "same configuration, features and training data."
            )
        seed = card.training.get("seed", str(folder.resolve()))
        if seed in seeds:
            raise MMTError(f"{folder}: a model with seed {seed} was given before. Give each seed once.")
        seeds.add(seed)


def _store(
    names: Sequence[str], model: Path, images: Sequence[Path], folder: Path, temporary: Path
) -> FeatureStore:
    """The features of the images: ``images``, or made here from the files in ``folder``."""
    from mmt.data.feature_store import open_features
    from mmt.inference.torch_runtime import Translator

    if images:
        store, remedy = open_features(images), "Run mmt features for the dataset."
    else:
        files = {name: folder / name for name in names}
        made = Translator.from_dir(model).with_features_of(files, temporary / "features").features
        assert made is not None  # noqa: S101  # it was just made
        store, remedy = made, f"Put the images into {folder}."
    missing = [name for name in names if name not in store]
    if missing:
        there = Names(store.ids if images else lambda: files_below(folder)[0])
        raise MMTError(
            f"{store.folder if images else folder}: {len(missing):,} of {len(names):,} images are missing or "
            f"cannot be read: {there.listed(missing)}. {remedy}"
        )
    return store


def _cell(value: Mapping[str, Any], figure: str) -> str:
    spread = "" if value["std"] is None else f" ± {_plain(value['std'], figure)}"
    return _plain(value["mean"], figure) + spread


def _plain(value: float, figure: str) -> str:
    return f"{value:,.1f}" if figure == "median_rank" else f"{100 * value:.1f}"


if __name__ == "__main__":
    main(prog_name="python -m eval.retrieval")
