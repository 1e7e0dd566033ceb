"""FeatureSignature: which backbone made features of images, and how."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from mmt.errors import MMTError
from mmt.io.terminal import print_note

Precision = Literal["float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")

CROPS = (1, 5)
"""Crops of an image: the whole, or the whole and its quarters."""

SQUARE = re.compile(r"(?:resize(\d+)-crop|squash)(\d+)-([a-z]+)")
"""Matches the transform of a network that reads a square of pixels. Groups: the length to which the shorter side
is resized (None if the image is squashed), the square's side, and the interpolation."""

_OPTIONAL = {"precision": "float32", "crops": 1}
"""Fields that are written only if they are something else."""


@dataclass(frozen=True)
class FeatureSignature:
    """Which backbone made the features, and how. Features with different signatures must not be mixed.

    Attributes:
        backbone: the name that ``mmt.features.load.load_backbone`` takes, e.g. ``efficientnet_lite0``.
        layer: ``pool`` (one vector per image) or ``grid`` (one vector per region).
        transform: the transform of the pixels, e.g. ``resize256-crop224-bicubic-mean...-std...``.
        weights: SHA-256 (hex) of the names, types, shapes and bytes of the backbone's tensors, so that equal
            weights have equal checksums, whatever file they come from.
        num_regions: R, ``crops`` for ``pool``.
        dim: D, the width of one vector.
        precision: in which the backbone computed: ``float32`` or ``bfloat16``. It is written only if it is not
            ``float32``, so that earlier versions read all other signatures.
        crops: of an image, each with a vector: 1, or 5 (``--crops``). It is written only if it is not 1.
    """

    backbone: str
    layer: str
    transform: str
    weights: str
    num_regions: int
    dim: int
    precision: str = "float32"
    crops: int = 1

    def __str__(self) -> str:
        pixels = self.transform.split("-mean")[0]
        rounded = "" if self.precision == "float32" else f", {self.precision}"
        crops = "" if self.crops == 1 else f", {self.crops} crops"
        return (
            f"{self.backbone}/{self.layer} ({self.num_regions} x {self.dim}, {pixels}{crops}, "
            f"weights {self.weights[:8]}{rounded})"
        )

    @property
    def sets(self) -> tuple[FeatureSignature, ...]:
        """The joined sets of features; a single one unless several were joined."""
        return (self,)

    def to_dict(self) -> dict[str, Any]:
        """The signature as JSON-ready values."""
        values = asdict(self)
        for name, default in _OPTIONAL.items():
            if values[name] == default:
                del values[name]
        return values

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> FeatureSignature:
        """Reads ``to_dict``'s values. Raises MMTError if a field is missing, unknown or of the wrong type."""
        numbers = ("num_regions", "dim", "crops")
        expected = {field.name: (int if field.name in numbers else str) for field in fields(cls)}
        raw = {**_OPTIONAL, **raw}
        wrong = set(raw) ^ set(expected) or {k for k, t in expected.items() if type(raw[k]) is not t}
        if wrong:
            raise MMTError(
                f"feature signature: expected the fields {', '.join(expected)}; "
                f"missing, unknown or of the wrong type: {', '.join(sorted(wrong))}."
            )
        for name, known in (("precision", PRECISIONS), ("crops", CROPS)):
            if raw[name] not in known:
                raise MMTError(
                    f"feature signature: {name} must be one of {', '.join(map(str, known))}, but is "
                    f"'{raw[name]}' instead."
                )
        return cls(**raw)

    def in_float32(self) -> FeatureSignature:
        """Of the same features in float32, as image files always get them."""
        return JoinedSignature.of([replace(one, precision="float32") for one in self.sets])

    def differences(self, other: FeatureSignature) -> list[str]:
        """The names of the fields in which ``other`` differs.

        Folders of CLIP and Whisper are compared by their last name, since the same folder may have moved;
        ``weights`` compares their content.
        """
        names = [field.name for field in fields(self) if getattr(self, field.name) != getattr(other, field.name)]
        (kind, _, place), (theirs, _, other_place) = (one.backbone.partition(":") for one in (self, other))
        if kind == theirs and kind in ("clip", "whisper") and "backbone" in names:
            last = [one.replace("\\", "/").rpartition("/")[2] for one in (place, other_place)]
            if last[0] == last[1]:
                names.remove("backbone")
        return names

    def check(self, other: FeatureSignature, where: str) -> None:
        """Checks that ``other`` equals this signature, which is required.

        Features of one backbone in another precision are nearly the same; they are taken, with a warning.

        Args:
            other: the signature of the features at hand.
            where: where they come from, for the message, e.g. ``features/lite0``.
        Raises:
            MMTError: naming both and what differs.
        """
        if len(self.sets) != len(other.sets):
            raise MMTError(
                f"{where}: expected {len(self.sets)} set(s) of features, {self}, found {len(other.sets)}, "
                f"{other}. Name the feature store of each, in this order."
            )
        if len(self.sets) > 1:
            for mine, theirs in zip(self.sets, other.sets, strict=True):
                mine.check(theirs, where)
            return
        names = self.differences(other)
        if names == ["precision"]:
            print_note(
                f"{where}: its features are of precision {other.precision}, those expected of {self.precision}; "
                "they differ a little."
            )
        elif names:
            crops = "" if self.crops == 1 else f" --crops {self.crops}"
            square = SQUARE.match(self.transform)
            squash = " --squash" if square and not square[1] else ""
            # a signature does not say whether the size is the backbone's own, which may be named, too
            size = f" --image-size {square[2]}" if square and {"backbone", "transform"} & set(names) else ""
            detail = "; ".join(f"{n} {getattr(self, n)} became {getattr(other, n)}" for n in names)
            raise MMTError(
                f"{where}: expected features made by {self}, found {other}. They differ in {detail}. "
                f"Use the same features, or make them with mmt features --backbone {self.backbone} "
                f"--layer {self.layer}{squash}{size}{crops}."
            )


@dataclass(frozen=True)
class JoinedSignature(FeatureSignature):
    """The signatures of several sets as one; ``num_regions`` is the sum of theirs, ``dim`` the largest."""

    parts: tuple[FeatureSignature, ...] = ()

    @classmethod
    def of(cls, sets: Sequence[FeatureSignature]) -> FeatureSignature:
        """One signature for all; a single set keeps its own."""
        if len(sets) == 1:
            return sets[0]
        names = {
            name: " + ".join(getattr(one, name) for one in sets)
            for name in ("backbone", "layer", "transform", "weights")
        }
        num_regions, dim = sum(one.num_regions for one in sets), max(one.dim for one in sets)
        return cls(**names, num_regions=num_regions, dim=dim, crops=1, parts=tuple(sets))

    @property
    def sets(self) -> tuple[FeatureSignature, ...]:
        return self.parts

    def __str__(self) -> str:
        return " + ".join(map(str, self.sets))

    def to_dict(self) -> dict[str, Any]:
        return {"sets": [one.to_dict() for one in self.sets]}


def signature_from(raw: Mapping[str, Any]) -> FeatureSignature:
    """Reads ``to_dict``'s values, of one set or several. Raises like ``FeatureSignature.from_dict``."""
    return JoinedSignature.of([FeatureSignature.from_dict(one) for one in raw.get("sets", [raw])])
