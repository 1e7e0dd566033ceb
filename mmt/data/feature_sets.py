"""Several sets of features of the same images, side by side: a grid of one backbone and a vector of another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmt.data.feature_store import FeatureSignature, FeatureStore
from mmt.errors import MMTError


@dataclass(frozen=True)
class JoinedSignature(FeatureSignature):
    """The signatures of several sets as one; ``num_regions`` is the sum of theirs, ``dim`` the widest one's."""

    parts: tuple[FeatureSignature, ...]

    @classmethod
    def of(cls, sets: Sequence[FeatureSignature]) -> FeatureSignature:
        """One signature for all; that of a single set is its own."""
        if len(sets) == 1:
            return sets[0]
        names = {
            name: " + ".join(getattr(one, name) for one in sets)
            for name in ("backbone", "layer", "transform", "weights")
        }
        num_regions, dim = sum(one.num_regions for one in sets), max(one.dim for one in sets)
        return cls(**names, num_regions=num_regions, dim=dim, parts=tuple(sets))

    @property
    def sets(self) -> tuple[FeatureSignature, ...]:
        return self.parts

    def __str__(self) -> str:
        return " + ".join(map(str, self.sets))

    def to_dict(self) -> dict[str, Any]:
        return {"sets": [one.to_dict() for one in self.sets]}


class JoinedStore(FeatureStore):
    """Several stores as one: it has the images that all of them have."""

    def __init__(self, stores: Sequence[FeatureStore]) -> None:
        """
        Raises:
            MMTError: no image is in all of them.
        """
        ids = [name for name in stores[0].ids if all(name in store for store in stores[1:])]
        if not ids:
            raise MMTError(
                f"{' and '.join(str(store.folder) for store in stores)}: expected features of the same images, "
                "but no image is in all of them. Run mmt features on the same dataset for each."
            )
        left_out = {name: why for store in stores for name, why in store.left_out.items()}
        folder = Path(" + ".join(str(store.folder) for store in stores))  # as messages name it
        signature = JoinedSignature.of([store.signature for store in stores])
        super().__init__(folder, signature, "float32", ids, np.empty(0), left_out)
        self._stores = list(stores)

    def get(self, image_ids: Sequence[str]) -> NDArray[np.float32]:
        return side_by_side([store.get(image_ids) for store in self._stores])


def open_features(folders: Sequence[Path]) -> FeatureStore:
    """Opens one store, or several as one. Raises MMTError as ``FeatureStore.open`` and ``JoinedStore``."""
    if not folders:
        raise MMTError("features: expected a feature store, found an empty list. Name one, or several.")
    stores = [FeatureStore.open(folder) for folder in folders]
    return stores[0] if len(stores) == 1 else JoinedStore(stores)


def side_by_side(sets: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """(N, R, dim) of each set -> (N, sum of R, widest dim), 0 beyond a set's own width."""
    if len(sets) == 1:
        return sets[0]
    width = max(one.shape[2] for one in sets)
    return np.concatenate([np.pad(one, ((0, 0), (0, 0), (0, width - one.shape[2]))) for one in sets], axis=1)


def signature_from(raw: Mapping[str, Any]) -> FeatureSignature:
    """Reads ``to_dict``'s values back, of one set or several. Raises as ``FeatureSignature.from_dict``."""
    return JoinedSignature.of([FeatureSignature.from_dict(one) for one in raw.get("sets", [raw])])
