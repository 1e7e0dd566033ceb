"""Laws of sharded stores: they are read as the store with the same rows in one file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mmt.cli.main import main
from mmt.data.feature_signature import FeatureSignature
from mmt.data.feature_store import FeatureStore
from mmt.data.id_index import IndexedIds
from mmt.errors import MMTError
from mmt.features.extract import extract_features
from mmt.features.extract_report import ExtractReport
from mmt.features.images import find_images
from mmt.features.shards import join_stores
from mmt.features.writer import FeatureWriter
from mmt.io.shards import Shard, parts_folder
from mmt.io.text_files import file_checksum
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
    (tmp_path / "file").touch()
    refused("found a file", out=tmp_path / "file")
    for out in (tmp_path / "b", tmp_path / "b" / "deep" / "er"):
        with pytest.raises(MMTError, match=r"expected a folder outside .*/b, a store to join"):
            join_stores(stores, out)
    assert len(FeatureStore.open(tmp_path / "b")) == 1
    assert not (tmp_path / "b" / "deep").exists()


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


@pytest.mark.parametrize(
    "change",
    [
        {"num_images": "x"},
        {"num_images": 4.0},
        {"num_images": True},
        {"num_images": -2},
        {"num_images": 0},
        {"folder": 5},
        {"folder": "a\0b"},
        {"rows": None},
        {"more": 1},
    ],
)
def test_a_shard_list_of_wrong_values_is_refused(
    change: dict[str, object], stores: list[Path], tmp_path: Path
) -> None:
    joined = tmp_path / "joined"
    join_stores(stores, joined)
    path = joined / "shards.json"
    shards, meta = json.loads(path.read_text()), json.loads((joined / "meta.json").read_text())
    path.write_text(json.dumps([shards[0] | change, *shards[1:]]))
    meta["sha256"]["shards.json"] = file_checksum(path)
    (joined / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(MMTError, match=r"damaged|its shard"):
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


class Killed(BaseException):
    pass


def die_at_replacement(patch: pytest.MonkeyPatch, number: int, below: Path) -> None:
    """Kills before the file of that number, from 0, gets its name below a folder."""
    replace, left = Path.replace, [number]

    def one(path: Path, to: Path) -> Path:
        left[0] -= to.is_relative_to(below)
        if left[0] < 0:
            raise Killed
        return replace(path, to)

    patch.setattr(Path, "replace", one)


NUM_REPLACED = 8
"""A join makes 4 files, and puts each where it belongs."""


@pytest.mark.parametrize("moment", ["moving", *range(NUM_REPLACED), "joined"])
def test_a_killed_join_goes_on(
    moment: str | int, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
        elif isinstance(moment, int):
            die_at_replacement(patch, moment, tmp_path / "store")
        else:
            patch.setattr("mmt.io.shards.remove_folder", die)
        with pytest.raises(Killed):
            extract(folder, tmp_path / "store", Shard(1, 2))
    extract(folder, tmp_path / "store", Shard(1, 2))
    assert len(FeatureStore.open(tmp_path / "store")) == 10
    assert not parts_folder(tmp_path / "store").exists()


@pytest.mark.parametrize("number", range(NUM_REPLACED + 1))
def test_a_killed_or_refused_join_can_be_repeated(
    number: int, stores: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    join_stores(stores[1::-1], tmp_path / "joined")
    before = FeatureStore.open(tmp_path / "joined").ids[:]
    with monkeypatch.context() as patch:
        die_at_replacement(patch, number, tmp_path / "joined")
        if number == NUM_REPLACED:
            join_stores(stores, tmp_path / "joined")
        else:
            with pytest.raises(Killed):
                join_stores(stores, tmp_path / "joined")
    if number <= NUM_REPLACED / 2:
        assert FeatureStore.open(tmp_path / "joined").ids[:] == before
    elif number < NUM_REPLACED:
        with pytest.raises(MMTError, match="Join the shards again"):
            FeatureStore.open(tmp_path / "joined")
    joined = join_stores(stores, tmp_path / "joined")
    joined.verify()
    with pytest.raises(MMTError, match="in both"):
        join_stores([store_of(tmp_path / "d", ["c3.jpg"]), *stores], tmp_path / "joined")
    assert FeatureStore.open(tmp_path / "joined").ids[:] == joined.ids[:]
    assert not list((tmp_path / "joined").glob("*.writing"))


def test_what_is_in_the_way_of_kept_parts_is_refused_first(folder: Path, tmp_path: Path) -> None:
    for name in ("letter.txt", "1-of-2"):
        (tmp_path / "store").mkdir()
        (tmp_path / "store" / name).touch()
        with pytest.raises(MMTError, match=f"store: expected a new folder for the joined store, found '{name}'"):
            extract(folder, tmp_path / "store", Shard(0, 2))
        shutil.rmtree(tmp_path / "store")
    (tmp_path / "store").touch()
    with pytest.raises(MMTError, match="found a file"):
        extract(folder, tmp_path / "store", Shard(0, 2))
    assert not parts_folder(tmp_path / "store").exists()


def test_a_left_out_image_is_added_by_a_join(folder: Path, tmp_path: Path) -> None:
    for number in range(2):
        extract(folder, tmp_path / "store", Shard(number, 2))
    (folder / "005.jpg").write_bytes((folder / "004.jpg").read_bytes())
    assert "not tried again" in extract(folder, tmp_path / "store").note
    (tmp_path / "fixed").mkdir()
    (folder / "005.jpg").rename(tmp_path / "fixed" / "005.jpg")
    extract(tmp_path / "fixed", tmp_path / "more", keep=False)
    parts = [tmp_path / "store" / f"{number}-of-2" for number in (1, 2)]
    joined = join_stores([*parts, tmp_path / "more"], tmp_path / "store")
    assert (len(joined), joined.left_out) == (11, {})
    (tmp_path / "fixed" / "005.jpg").rename(folder / "005.jpg")
    assert extract(folder, tmp_path / "store").note == ""


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
    assert run("--join", stores[0], "--join", stores[1], "--out", tmp_path / "joined", "--quiet") == (0, "")
    assert run("--join", stores[0], "--images", tmp_path, "--out", tmp_path / "x")[0] == 2
    for more in (
        ("--keep-shards",),
        ("--shard", "1/2"),
        ("--on", "local:2"),
        ("--backbone", "vgg16"),
        ("--threads", "1"),
    ):
        code, said = run("--join", stores[0], "--out", tmp_path / "x", *more)
        assert (code, "--join: joins finished stores in one process" in said) == (2, True), said
    code, said = run("--images", tmp_path, "--out", tmp_path / "x", "--keep-shards")
    assert (code, "expected --shard K/N or --on" in said) == (2, True)
