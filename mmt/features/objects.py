"""The objects that a detector finds in an image, as words: ``objects:NAME``, a detection model of torchvision.

Each object is a row with its score at the number of its class, and 0 elsewhere. A linear projection of such a row
is a vector of the class, weighted by the score: with ``fusion: early`` the labels are tokens beside the words.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models

from mmt.data.feature_signature import FeatureSignature, Precision
from mmt.errors import MMTError, nearest
from mmt.features.backbone import Backbone, BackboneLoader, Layer, checksum
from mmt.features.options import Options, number, read_options
from mmt.features.vision import torchvision_state

PREFIX = "objects:"
DETECTORS = tuple(models.list_models(module=models.detection))

EPSILON_0 = {f"{kind}_resnet50_fpn" for kind in ("fasterrcnn", "keypointrcnn", "maskrcnn", "retinanet")}
"""Trained with batch norms without an epsilon, which torchvision restores for its own weights."""
_LONGEST_REASON = 200  # characters quoted of torch's error
_MOST = 100  # objects of an image
_OPTIONS: Options = {
    "top": ("top", number(int, 1, _MOST), f"N from 1 to {_MOST}"),
    "score": ("score", number(float, 0, math.nextafter(1, 0)), "S from 0, and below 1"),
}


@dataclass(frozen=True)
class ObjectsName:
    """``objects:DETECTOR[,top=N][,score=S]``: the N best objects with a score above S."""

    detector: str
    top: int = 8
    score: float = 0.3

    @classmethod
    def parse(cls, name: str) -> ObjectsName:
        """Raises MMTError: no such detector, an unknown option, one given twice, or a value out of its range."""
        detector, *options = name.removeprefix(PREFIX).split(",")
        values = read_options(name, options, _OPTIONS)
        if detector not in DETECTORS:
            known = f"torchvision has {', '.join(DETECTORS)}.{nearest(detector, DETECTORS)}"
            raise MMTError(f"{name}: no detector '{detector}'; {known}")
        return cls(detector, **values)

    def __str__(self) -> str:
        top = f",top={self.top}" if self.top != ObjectsName.top else ""
        score = f",score={self.score}" if self.score != ObjectsName.score else ""
        return f"{PREFIX}{self.detector}{top}{score}"


class Objects(Backbone):
    """A detector as a backbone. D is its number of classes.

    ``grid`` gives the best objects, best first: (R, D), the score at the class, 0 elsewhere; rows after the last
    object are NaN, which means no region. An image without any object has one row of zeros, as a store has a
    region of each image. ``pool`` gives one vector, the highest score of each class.

    The detector has its own transform. It sees one image at a time: in a batch it would pad all to the largest.

    Attributes:
        notes: how many images had no object.
    """

    def __init__(self, name: ObjectsName, layer: Layer, network: Any, num_classes: int) -> None:
        """Use ``load_backbone``. ``network`` is a detector of torchvision, which is changed."""
        nn.Module.__init__(self)  # no pixels of one size
        self.notes = Counter()
        self.layer = layer
        self.transform = nn.Identity()
        self._none = f"without an object of a score above {name.score:g}"
        getattr(network, "roi_heads", network).score_thresh = name.score
        self.network: nn.Module = network.requires_grad_(False)
        own = network.transform
        sides = "x".join(map(str, own.fixed_size)) if own.fixed_size else f"{min(own.min_size)}-{own.max_size}"
        shape = (name.top if layer == "grid" else 1, num_classes)
        weights = checksum(network.state_dict())
        self.signature = FeatureSignature(str(name), layer, f"detector's own, {sides}", weights, *shape)
        self.eval()

    def in_precision(self, precision: Precision) -> Objects:
        if precision != "float32":
            raise MMTError(f"{self.signature.backbone}: a detector computes in float32 alone. Use float32.")
        return self

    def stack(self, read: Sequence[Tensor]) -> Any:
        """(3, H, W) uint8 each, of their own sizes -> a list of them."""
        return list(read)

    def forward(self, images: Any) -> Tensor:
        """Images of ``stack`` -> (N, R, D) float32."""
        return torch.stack([self._row(image) for image in images])

    def _row(self, image: Tensor) -> Tensor:
        """(3, H, W) uint8 -> (R, D)."""
        device = next(self.network.parameters()).device
        found: dict[str, Tensor] = self.network([image.to(device).float() / 255])[0]
        scores, order = found["scores"].sort(descending=True, stable=True)
        labels = found["labels"][order]
        if not len(scores):
            self.notes[self._none] += 1
        num_regions, dim = self.signature.num_regions, self.signature.dim
        if self.layer == "pool":
            return scores.new_zeros(dim).scatter_reduce(0, labels, scores, "amax").unsqueeze(0)
        scores, labels = scores[:num_regions], labels[:num_regions]
        rows = scores.new_zeros(max(len(scores), 1), dim)
        rows[range(len(scores)), labels] = scores
        return nn.functional.pad(rows, (0, 0, 0, num_regions - len(rows)), value=math.nan)


def load_objects(name: str, layer: Layer | None, weights: Path | None) -> Objects:
    """``objects:DETECTOR`` and the options of ``ObjectsName``; ``layer`` None is ``pool``.

    A weights file may be of a detector with another number of classes.

    Raises:
        MMTError: as ``ObjectsName.parse``; ``top`` with ``pool``; weights that are unavailable or do not fit.
    """
    parsed, layer = ObjectsName.parse(name), layer or "pool"
    if layer == "pool" and parsed.top != ObjectsName.top:
        raise MMTError(f"{name}: pool is the highest score of each class. Leave top out, or use --layer grid.")
    official = models.get_model_weights(parsed.detector).DEFAULT
    state, origin = torchvision_state(name, official, weights)
    num_classes = len(official.meta["categories"])
    network = _detector(parsed.detector, num_classes)
    unfit = [
        (len(state[key]), len(tensor))
        for key, tensor in network.state_dict().items()
        if key in state and state[key].ndim == tensor.ndim > 0 and len(state[key]) != len(tensor)
    ]
    if unfit:  # K numbers of each class, in the last layers
        theirs, ours = unfit[0]
        num_classes = max(num_classes * theirs // ours, 1)
        network = _detector(parsed.detector, num_classes)
    try:
        network.load_state_dict(state)  # which also knows the names in torchvision's older files
    except RuntimeError as error:
        reason = " ".join(str(error).partition("\n")[2].split())
        reason = reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]} ..."
        raise MMTError(
            f"{origin}: these tensors do not fit the detector {parsed.detector}: {reason} Pass its own weights."
        ) from None
    return Objects(parsed, layer, network, num_classes)


def _detector(name: str, num_classes: int) -> nn.Module:
    """Without weights. The network is torchvision's, whose frozen batch norms are plain ones here."""
    network: nn.Module = models.get_model(name, weights=None, weights_backbone=None, num_classes=num_classes)
    for module in network.modules():
        if name in EPSILON_0 and isinstance(module, nn.BatchNorm2d):
            module.eps = 0.0
    return network


BACKBONES = {"objects:NAME": BackboneLoader(load_objects)}
"""The loader of this module by name, see ``mmt.features.load``."""
