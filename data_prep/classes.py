"""Prepares image and text classification: does the sentence match the picture, and what is the picture about?

    python -m data_prep.classes match data/match --data data/multi30k_en_de
    python -m data_prep.classes topics data/topics

The class of a row stands in the column ``label``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from data_prep.pictures.scenes import SIZES, draw_all, plan, refuse_foreign
from mmt.cli.command import Command, Group, write_alone
from mmt.cli.options import PATH
from mmt.data.dataset import DatasetInfo, image_folder, read_info, read_split, write_dataset
from mmt.data.splits import print_splits
from mmt.errors import MMTError
from mmt.inference.controls import wrong_images
from mmt.io.atomic import made_beside

TOPICS_NAME = "pictures_topics"
LIVING = (
    "apple", "bat", "crane_bird", "fingernail", "fish", "flower", "mouse_animal", "palm_hand", "palm_tree",
    "pitcher_player", "plant", "seal_animal", "tree_trunk", "trunk_elephant",
)  # fmt: skip
PLACES = (
    "bank_building", "bank_river", "boat", "car", "crane_machine", "factory", "house", "jam_traffic",
    "ring_boxing", "tank_army", "tank_fish",
)  # fmt: skip


@click.group(cls=Group)
def main() -> None:
    """Prepare a dataset for image and text classification."""


def match(data: Path, out: Path, seed: int) -> DatasetInfo:
    """Writes each sentence of ``data`` with an image twice: with its own, ``match``, with another's, ``mismatch``.

    Half of the rows are of either class in each split, and sentences and images alone say nothing: both stand once
    in each class.

    Args:
        seed: draws the other images, among those of the split.
    Raises:
        MMTError: no prepared dataset, or a split with too few images.
    """
    info = read_info(data)
    splits: dict[str, list[Mapping[str, Any]]] = {}
    for split in info.splits:
        rows = [row for row in read_split(data, split) if row["has_image"]]
        try:
            others = wrong_images([row["image"] for row in rows], seed)
        except MMTError as error:
            raise MMTError(f"{data}: {split}: {error}") from None
        splits[split] = [
            {
                "id": f"{row['id']}{sign}", "image": image, "source": row["source"], "target": "",
                "has_image": True, "label": label,
            }
            for row, other in zip(rows, others, strict=True)
            for sign, image, label in (("+", row["image"], "match"), ("-", other, "mismatch"))
        ]  # fmt: skip
    images = str(image_folder(data, info).resolve())
    return write_dataset(
        out, DatasetInfo(f"{info.name}_match", info.source_lang, info.source_lang, images), splits
    )


def topics(out: Path, seed: int, sizes: Mapping[str, int]) -> DatasetInfo:
    """Draws the built-in pictures with their English sentences; ``label`` is what they are about.

    ``living``, ``places`` or ``things``, by the drawing, so that an ambiguous word ("the bat") does not tell.

    Raises:
        MMTError: ``out`` holds something else.
    """
    refuse_foreign(out, TOPICS_NAME)
    planned = plan(seed, {**sizes, "contrastive": 16})
    with made_beside(out) as images:
        jobs, splits = [], {}
        for split in sizes:
            splits[split] = [
                {
                    "id": f"{split}-{number:05d}", "image": f"{split}-{number:05d}.jpg", "source": row.source,
                    "target": "", "has_image": True, "label": topic(row.scene.drawing), "kind": row.kind,
                }
                for number, row in enumerate(planned[split])
            ]  # fmt: skip
            jobs += [
                (images / f"{split}-{number:05d}.jpg", row.scene) for number, row in enumerate(planned[split])
            ]
        draw_all(jobs, 2)
        return write_dataset(out, DatasetInfo(TOPICS_NAME, "en", "en", "images"), splits, images_from=images)


def topic(drawing: str) -> str:
    """What a drawing of ``data_prep.pictures.scenes.DRAWINGS`` is about."""
    return "living" if drawing in LIVING else "places" if drawing in PLACES else "things"


@main.command("match", cls=Command)
@click.argument("out", type=PATH)
@click.option("--data", type=PATH, required=True, help="Prepared dataset with images.")
@click.option("--seed", type=click.IntRange(min=0), default=1, help="Random seed of the images that do not match.")
def match_command(out: Path, data: Path, seed: int) -> None:
    """Does the sentence match the image? Each stands once with its own and once with another's."""
    write_alone(out)
    print_splits(match(data, out, seed))


@main.command("topics", cls=Command)
@click.argument("out", type=PATH)
@click.option("--seed", default=1, help="Random seed of sentences and pictures.")
@click.option("--train", type=click.IntRange(min=16), default=SIZES["train"], help="Number of training pictures.")
@click.option("--val", type=click.IntRange(min=16), default=SIZES["val"], help="Number of validation pictures.")
@click.option("--test", type=click.IntRange(min=16), default=SIZES["test"], help="Number of test pictures.")
def topics_command(out: Path, seed: int, train: int, val: int, test: int) -> None:
    """What are the built-in pictures about: something living, a place, or a thing?"""
    write_alone(out)
    print_splits(topics(out, seed, {"train": train, "val": val, "test": test}))


if __name__ == "__main__":
    main(prog_name="python -m data_prep.classes")
