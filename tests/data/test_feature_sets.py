"""Laws of several sets of features side by side."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mmt.data.feature_sets import JoinedSignature, JoinedStore, open_features, signature_from
from mmt.data.feature_store import FeatureSignature, FeatureStore
from mmt.errors import MMTError
from mmt.features.writer import FeatureWriter

WIDE = FeatureSignature("wide", "pool", "none", "w" * 64, 1, 5)
GRID = FeatureSignature("grid", "grid", "none", "g" * 64, 2, 3)


def store(folder: Path, signature: FeatureSignature, ids: list[str], start: float = 1.0) -> Path:
    shape = (len(ids), signature.num_regions, signature.dim)
    with FeatureWriter(folder, signature, "float32") as writer:
        writer.append(ids, np.arange(start, start + np.prod(shape)).reshape(shape), {"broken.jpg": "truncated"})
        writer.finish()
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    return [store(tmp_path / "a", WIDE, ["x", "y", "z"]), store(tmp_path / "b", GRID, ["z", "x"], 100.0)]


def test_sets_are_joined_by_id_and_padded_with_zeros(folders: list[Path]) -> None:
    joined = open_features(folders)
    one, other = (FeatureStore.open(folder) for folder in folders)
    rows = joined.get(["z", "x", "z"])
    assert rows.shape == (3, 3, 5)
    np.testing.assert_array_equal(rows[:, :1], one.get(["z", "x", "z"]))
    np.testing.assert_array_equal(rows[:, 1:, :3], other.get(["z", "x", "z"]))
    assert not rows[:, 1:, 3:].any()


def test_an_image_counts_if_every_set_has_it(folders: list[Path]) -> None:
    joined = open_features(folders)
    assert (len(joined), "x" in joined, "y" in joined) == (2, True, False)
    with pytest.raises(MMTError, match=r"no features for image 'y' in .*/b \(2 ids\)"):
        joined.get(["x", "y"])


def test_one_set_is_the_store_itself(folders: list[Path]) -> None:
    assert type(open_features(folders[:1])) is FeatureStore
    assert JoinedSignature.of([WIDE]) is WIDE


def test_a_joined_signature_survives_json(folders: list[Path]) -> None:
    signature = open_features(folders).signature
    assert (signature.num_regions, signature.dim) == (3, 5)
    assert signature_from(json.loads(json.dumps(signature.to_dict()))) == signature
    assert signature.sets == (WIDE, GRID)
    assert signature_from(json.loads(json.dumps(WIDE.to_dict()))) == WIDE
    assert str(signature) == f"{WIDE} + {GRID}"


def test_other_sets_or_another_order_are_refused(folders: list[Path]) -> None:
    signature = open_features(folders).signature
    signature.check(open_features(folders).signature, "here")
    with pytest.raises(MMTError, match=r"here: expected features made by wide.*found grid"):
        signature.check(open_features(folders[::-1]).signature, "here")
    with pytest.raises(MMTError, match=r"here: expected 2 set\(s\) of features.*found 1"):
        signature.check(WIDE, "here")
    with pytest.raises(MMTError, match=r"here: expected 1 set\(s\) of features.*found 2"):
        WIDE.check(signature, "here")


def test_stores_of_different_images_are_refused(tmp_path: Path) -> None:
    folders = [store(tmp_path / "a", WIDE, ["x"]), store(tmp_path / "b", GRID, ["y"])]
    with pytest.raises(MMTError, match="no image is in all of them"):
        open_features(folders)
    with pytest.raises(MMTError, match="no image is in all of them"):
        JoinedStore([FeatureStore.open(folder) for folder in folders])
