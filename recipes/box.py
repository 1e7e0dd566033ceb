"""Makes the model that comes with mmt, ``mmt/box``, of the models that ``make demo`` trained.

    python -m recipes.box demo

Exports the gated model with its backbone, and copies a few of the built-in pictures, with what they ask for.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import click

from mmt.cli.command import Command, write_alone
from mmt.cli.options import PATH
from mmt.data.dataset import read_split
from mmt.features.onnx_export import round_weights
from mmt.inference.named import EXAMPLES
from mmt.inference.onnx_export import export_model
from mmt.inference.onnx_runtime import DECODER, ENCODER, SEARCH, file_of
from mmt.io.atomic import write_whole
from mmt.io.text_files import file_checksum
from mmt.model.card import CARD

PICTURES = {
    "traffic jam": 8, "strawberry jam": 9, "iron nail": 24, "fingernail": 25,
    "three apples": 12, "four apples": 13, "black flower": 46, "blue flower": 47,
}  # fmt: skip
"""What a picture shows, and its row of the split ``contrastive``."""


@click.command(cls=Command)
@click.argument("demo", type=PATH)
def main(demo: Path) -> None:
    """Export the gated model of DEMO, the folder of make demo, into the package."""
    box = EXAMPLES.parent
    out = box / "pictures-en-de"
    write_alone(out)
    export_model(demo / "gated" / "model", out, ["float32"], backbone="float16")
    # Half the size, and of the 900 sentences of the test and the contrastive split every translation the same. A
    # backbone in int8 changes 10 of the 500 test sentences' translations, a model in int8 changes one.
    (out / file_of(SEARCH, "float32")).unlink()  # as large as the decoder
    for graph in (ENCODER, DECODER):
        round_weights(out / file_of(graph, "float32"), "float16")
    card = json.loads((out / CARD).read_text(encoding="utf-8"))
    card["sha256"] = {name: file_checksum(out / name) for name in card["sha256"] if (out / name).is_file()}
    write_whole(out / CARD, json.dumps(card, indent=2, ensure_ascii=False) + "\n")
    copy_examples(demo)


def copy_examples(demo: Path) -> None:
    """Pictures and sentences of ``PICTURES``, from the data in DEMO."""
    box = EXAMPLES.parent
    rows, table = read_split(demo / "data", "contrastive"), io.StringIO()
    writer = csv.writer(table, delimiter="\t", lineterminator="\n")
    writer.writerow(["source", "image", "shows", "translation"])
    for shows, number in PICTURES.items():
        name = f"pictures/{shows.replace(' ', '_')}.jpg"
        shutil.copyfile(demo / "data" / "images" / rows[number]["image"], box / name)
        writer.writerow([rows[number]["source"], name, shows, rows[number]["target"]])
    write_whole(EXAMPLES, table.getvalue())


if __name__ == "__main__":
    main(prog_name="python -m recipes.box")
