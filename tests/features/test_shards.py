"""Laws of sharded stores: they are read as the store with the same rows in one file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mmt.cli.main import main
from mmt.data.feature_store import FeatureSignature, FeatureStore
from mmt.data.id_index import IndexedIds
from mmt.errors import MMTError
from mmt.features.extract import ExtractReport, extract_features
from mmt.features.images import find_images
from mmt.features.shards import join_stores
from mmt.features.writer import FeatureWriter
from mmt.io.shards import Shard, parts_folder
from tests.features.pictures import make_folder
from tests.features.tiny import tiny_backbone

BACKBONE = tiny_backbone()
SIGNATURE = FeatureSignature("tiny", "grid", "none", "0", 2, 3)


def store_of(
    folder: Path, ids: list[str], signature: FeatureSignature = SIGNATURE, dtype: str = "float16"
) -> Path:
    rows = np.random.default_rng(len(folder.name) + len(ids)).normal(size=(len(ids), 2, 3))
    with FeatureWriter(folder, signature, dtype) as writer:  # type: ignore[arg-type]
        writer.append(ids, rows, {f"bad {folder.name}": "is empty"})
        writer.finish()
    return folder


@pytest.fixture
def stores(tmp_path: Path) -> list[Path]:
    """One is in the joined store, the others are elsewhere."""
    places = (tmp_path / "joined" / "a", tmp_path / "b", tmp_path / "c")
    return [
        store_of(place, [f"{place.name}{n}.jpg" for n in range(num)])
        for place, num in zip(places, (4, 1, 6), strict=True)
    ]


def test_shards_are_read_as_one_store(stores: list[Path], tmp_path: Path) -> None:
    joined = join_stores(stores, tmp_path / "joined")
    parts = [FeatureStore.open(one) for one in stores]
    assert isinstance(joined.ids, IndexedIds)
    assert list(joined.ids) == [image_id for part in parts for image_id in part.ids]
    assert joined.left_out == {f"bad {name}": "is empty" for name in "abc"}
    order = np.random.default_rng(0).permutation(11).tolist() * 2
    ids = [list(joined.ids)[row] for row in order]
    whole = np.concatenate([part.get(part.ids) for part in parts])
    assert (joined.get(ids) == whole[order]).all()
    assert joined.get([]).shape == (0, 2, 3)
    assert not (tmp_path / "joined" / "features.bin").exists(), "no row is copied"
    joined.verify()
    with pytest.raises(MMTError, match="no features for image 'x'"):
        joined.get(["c1.jpg", "x"])
    # the inner shard moves with the store, and the store can be joined anew
    (tmp_path / "joined").rename(tmp_path / "moved")
    assert (FeatureStore.open(tmp_path / "moved").get(ids) == whole[order]).all()
    assert len(join_stores([tmp_path / "moved" / "a", tmp_path / "c"], tmp_path / "moved")) == 10


def test_an_id_in_two_shards_is_refused_with_both(stores: list[Path], tmp_path: Path) -> None:
    twice = store_of(tmp_path / "d", ["d0.jpg", "c3.jpg"])
    with pytest.raises(
        MMTError, match=r"image id 'c3\.jpg' is in both .*/c and .*/d\. Ids must be unique"
    ) as raised:
        join_stores([*stores, twice], tmp_path / "joined")
    assert "\n" not in str(raised.value)
    with pytest.raises(MMTError, match=r"found no meta\.json"):
        FeatureStore.open(tmp_path / "joined")
    assert len(join_stores(stores, tmp_path / "joined")) == 11


def test_stores_that_do_not_fit_are_refused(stores: list[Path], tmp_path: Path) -> None:
    def refused(reason: str, *more: Path, out: Path = tmp_path / "out") -> None:
        with pytest.raises(MMTError, match=reason):
            join_stores([*stores, *more], out)
        assert not (out / "meta.json").exists()

    other = FeatureSignature("other", "grid", "none", "0", 2, 3)
    refused(
        "backbone other became tiny|backbone tiny|expected features made by",
        store_of(tmp_path / "o", ["o"], other),
    )
    refused("holds float32, but float16", store_of(tmp_path / "f", ["f"], dtype="float32"))
    refused("no such folder", tmp_path / "nowhere")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "letter.txt").touch()
    refused(r"found 'letter\.txt'", out=tmp_path / "taken")
    join_stores(stores, tmp_path / "whole")
    refused("is sharded itself", tmp_path / "whole")


def test_a_shard_that_changed_is_refused(stores: list[Path], tmp_path: Path) -> None:
    joined = tmp_path / "joined"
    join_stores(stores, joined)
    shutil.copytree(stores[2], tmp_path / "copy")
    with FeatureWriter(stores[2], SIGNATURE, "float16") as writer:
        writer.append(["new"], np.ones((1, 2, 3)))
        writer.finish()
    with pytest.raises(MMTError, match=r"its shard .*/c: its images are others than when it was joined"):
        FeatureStore.open(joined)
    shutil.rmtree(stores[2])
    with pytest.raises(MMTError, match=r"its shard .*/c: No such file"):
        FeatureStore.open(joined)
    (tmp_path / "copy").rename(stores[2])
    rows = bytearray((stores[2] / "features.bin").read_bytes())
    rows[-1] ^= 1
    (stores[2] / "features.bin").write_bytes(rows)
    with pytest.raises(MMTError, match=r"c/features\.bin: damaged"):
        FeatureStore.open(joined).verify()
    (stores[2] / "features.bin").write_bytes(rows[:-1])
    with pytest.raises(MMTError, match="too short"):
        FeatureStore.open(joined)
    shards = json.loads((joined / "shards.json").read_text())
    (joined / "shards.json").write_text(json.dumps(shards[:2]))
    with pytest.raises(MMTError, match=r"shards\.json: damaged"):
        FeatureStore.open(joined)


# --- the parts of mmt features --shard ---


def extract(folder: Path, out: Path, shard: Shard | None = None, *, keep: bool = True) -> ExtractReport:
    images = find_images(folder)
    return extract_features(images, BACKBONE, out, batch_size=2, progress=False, shard=shard, keep_shards=keep)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_folder(tmp_path / "photos", 11)
    (tmp_path / "photos" / "005.jpg").write_bytes(b"no image")
    return tmp_path / "photos"


def test_kept_parts_are_the_store_of_one_process(folder: Path, tmp_path: Path) -> None:
    extract(folder, tmp_path / "alone", keep=False)
    for number in (2, 0, 1, 3):
        extract(folder, tmp_path / "store", Shard(number, 4))
    alone, store = (FeatureStore.open(tmp_path / name) for name in ("alone", "store"))
    assert (list(store.ids), store.left_out) == (list(alone.ids), alone.left_out)
    assert (store.get(alone.ids) == alone.get(alone.ids)).all()
    assert not parts_folder(tmp_path / "store").exists()
    for again in (Shard(1, 4), None):
        report = extract(folder, tmp_path / "store", again)
        assert (report.done, report.skipped, list(report.left_out)) == (0, 10, ["005.jpg"])
    make_folder(folder, 12)
    with pytest.raises(MMTError, match="several shards, to which no image is added"):
        extract(folder, tmp_path / "store")
    with pytest.raises(MMTError, match="not sharded"):
        extract(folder, tmp_path / "alone", Shard(0, 2))


@pytest.mark.parametrize("moment", ["moving", "joining", "joined"])
def test_a_killed_join_goes_on(moment: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Killed

    extract(folder, tmp_path / "store", Shard(0, 2))
    with monkeypatch.context() as patch:
        if moment == "moving":
            rename, moved = Path.rename, []

            def once(one: Path, to: Path) -> Path:
                if one.parent.name == "store.parts":
                    moved.append(one)
                    if len(moved) == 2:
                        raise Killed
                return rename(one, to)

            patch.setattr(Path, "rename", once)
        elif moment == "joining":
            patch.setattr("mmt.features.shards.write_whole", die)
        else:
            patch.setattr("mmt.io.shards.remove_folder", die)
        with pytest.raises(Killed):
            extract(folder, tmp_path / "store", Shard(1, 2))
    extract(folder, tmp_path / "store", Shard(1, 2))
    assert len(FeatureStore.open(tmp_path / "store")) == 10
    assert not parts_folder(tmp_path / "store").exists()


def test_nothing_readable_is_an_error_of_the_last(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(4):
        (tmp_path / "photos" / f"{number}.jpg").write_bytes(b"no image")
    extract(tmp_path / "photos", tmp_path / "store", Shard(0, 2))
    with pytest.raises(MMTError, match="none of 4 images could be read"):
        extract(tmp_path / "photos", tmp_path / "store", Shard(1, 2))


def test_the_command_joins(stores: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as stop:
            main(["features", *map(str, arguments)])
        said = capsys.readouterr()
        return int(stop.value.code or 0), said.out + said.err

    code, said = run("--join", stores[0], "--join", stores[1], "--out", tmp_path / "joined")
    assert (code, "5 images in 2 shards" in said) == (0, True), said
    assert "5 images, whole" in run("--check", tmp_path / "joined")[1]
    assert run("--join", stores[0], "--images", tmp_path, "--out", tmp_path / "x")[0] == 2
    code, said = run("--images", tmp_path, "--out", tmp_path / "x", "--keep-shards")
    assert (code, "expected --shard K/N or --on" in said) == (2, True)
