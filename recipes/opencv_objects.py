"""Writes the objects that a detector of OpenCV finds in images as a feature store.

    python -m recipes.opencv_objects data/multi30k_en_de frozen_inference_graph.pb \\
        ssd_mobilenet_v2_coco_2018_03_29.pbtxt features/multi30k_ssd --layer grid

Rows are like those of ``mmt features --backbone objects:NAME`` (docs/features.md) with torchvision's detectors.
GRAPH and CONFIG are an SSD of TensorFlow's object detection API that was trained on COCO, as ``cv2.dnn`` reads it.
Needs opencv-python-headless below version 5, which is not a dependency of mmt.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from mmt.cli.command import Command
from mmt.cli.options import PATH
from mmt.data.feature_signature import FeatureSignature
from mmt.errors import MMTError
from mmt.features.decoding import Pixels, decode_image
from mmt.features.images import ImageError, find_images
from mmt.features.writer import FeatureWriter

CLASSES = 91  # COCO's; 0 is the background
SIDE = 300  # of the square of pixels that the network reads
TOP = 8  # objects of an image, with --layer grid
SCORE = 0.3  # objects have a score above this
BATCH = 64  # images that a kill loses at most


def detect(network: Any, pixels: Pixels) -> NDArray[np.float32]:
    """(H, W, 3) RGB -> (objects, 2): the number of the class and the score, best first."""
    import cv2

    network.setInput(cv2.dnn.blobFromImage(pixels, size=(SIDE, SIDE)))
    found = network.forward()[0, 0, :, 1:3]
    found = found[found[:, 1] > SCORE]
    best_first: NDArray[np.float32] = found[np.argsort(-found[:, 1], kind="stable")]
    return best_first


def grid(objects: NDArray[np.float32]) -> NDArray[np.float32]:
    """(TOP, CLASSES): the score of each of the best objects at its class; NaN after the last one."""
    rows = np.full((TOP, CLASSES), np.nan, np.float32)
    rows[: max(min(len(objects), TOP), 1)] = 0  # without any object, one row of zeros
    for row, (label, score) in zip(rows, objects, strict=False):
        row[int(label)] = score
    return rows


def pool(objects: NDArray[np.float32]) -> NDArray[np.float32]:
    """(1, CLASSES): the highest score of each class."""
    rows = np.zeros((1, CLASSES), np.float32)
    for label, score in objects[::-1]:  # the best one last
        rows[0, int(label)] = score
    return rows


@click.command(cls=Command, when_stopped="Rerun the same command to resume.")
@click.argument("images", type=PATH)
@click.argument("graph", type=PATH)
@click.argument("config", type=PATH)
@click.argument("out", type=PATH)
@click.option(
    "--layer",
    type=click.Choice(["pool", "grid"]),
    default="pool",
    help="pool: the highest score of each class; grid: the best 8 objects.",
)
def main(images: Path, graph: Path, config: Path, out: Path, layer: str) -> None:
    """Write the objects in IMAGES, a prepared dataset or a folder, to OUT."""
    try:
        import cv2
    except ModuleNotFoundError:
        raise MMTError("cv2 is missing. Install it: pip install 'opencv-python-headless<5'") from None

    try:
        network = cv2.dnn.readNetFromTensorflow(str(graph), str(config))
    except cv2.error as error:
        reason = " ".join(str(error).split())
        raise MMTError(f"{graph}, {config}: expected a detector that OpenCV reads; it says: {reason}") from None
    rows_of, num_regions = (grid, TOP) if layer == "grid" else (pool, 1)
    weights = hashlib.sha256(graph.read_bytes() + config.read_bytes()).hexdigest()
    signature = FeatureSignature(f"opencv:{config.stem}", layer, f"squash{SIDE}", weights, num_regions, CLASSES)
    with FeatureWriter(out, signature, "float16") as writer:
        left = [item for item in find_images(images).items() if item[0] not in writer]
        for start in range(0, len(left), BATCH):
            rows, unreadable = {}, {}
            for image_id, path in left[start : start + BATCH]:
                try:
                    rows[image_id] = rows_of(detect(network, decode_image(path)))
                except ImageError as error:
                    unreadable[image_id] = error.reason
            found = np.stack(list(rows.values())) if rows else np.empty((0, num_regions, CLASSES), np.float32)
            writer.append(list(rows), found, unreadable)
        store = writer.finish()
    click.echo(f"{out}: {len(store.ids):,} images, {store.signature}")
    for image_id, reason in store.left_out.items():
        click.echo(f"left out: {image_id} ({reason})", err=True)


if __name__ == "__main__":
    main()
