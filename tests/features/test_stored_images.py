"""Laws of images in tars, in Parquet and in stores: the features are those of the same files in a folder."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmt.data.feature_store import FeatureStore
from mmt.errors import MMTError
from mmt.features.extract import extract_features
from mmt.features.extract_report import ExtractReport
from mmt.features.images import ImageError
from mmt.features.stored_images import StoredImage, find_sources, find_stored
from mmt.io.locations import Location
from mmt.io.shards import Shard
from tests.features.pictures import bad_files, encoded, make_folder, picture
from tests.features.tiny import tiny_backbone

BACKBONE = tiny_backbone()


def tar_of(path: Path, files: Mapping[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return path


def parquet_of(path: Path, columns: dict[str, list[Any]], **settings: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, **settings)
    return path


def extract(source: Location, out: Path, shard: Shard | None = None) -> ExtractReport:
    return extract_features(find_sources(source), BACKBONE, out, batch_size=2, progress=False, shard=shard)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in make_folder(tmp_path_factory.mktemp("plain"), 11).items()}


@pytest.fixture(scope="module")
def rows(pictures: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Of the store of a folder with the pictures."""
    folder = tmp_path_factory.mktemp("folder")
    for name, content in pictures.items():
        (folder / name).write_bytes(content)
    extract(folder, folder / "store")
    return (folder / "store" / "features.bin").read_bytes()


KEYS = [f"{number:03}" for number in range(11)]


def shards_in(folder: Path, pictures: Mapping[str, bytes], kind: str) -> Path:
    """Three files with the pictures."""
    items = list(pictures.items())
    for number, part in enumerate((items[:4], items[4:5], items[5:])):
        if kind == "tar":
            captions = {name.replace("jpg", "txt"): b"A picture." for name, _ in part}
            tar_of(folder / f"shard-{number:03}.tar", dict(sorted([*part, *captions.items()])))
            continue
        images: list[Any] = [content for _, content in part]
        if kind == "struct":
            images = [{"bytes": content, "path": name} for name, content in part]
        columns = {"caption": ["A picture."] * len(part), "image": images}
        ids = {} if kind == "struct" else {"id": [name.removesuffix(".jpg") for name, _ in part]}
        parquet_of(folder / f"shard-{number:03}.parquet", columns | ids, row_group_size=3)
    return folder


@pytest.mark.parametrize("kind", ["tar", "parquet", "struct"])
@pytest.mark.parametrize("count", [1, 3])
def test_the_store_is_that_of_a_folder(
    kind: str, count: int, pictures: dict[str, bytes], rows: bytes, tmp_path: Path
) -> None:
    source = shards_in(tmp_path / "in", pictures, kind)
    for number in range(count):
        extract(source, tmp_path / "store", Shard(number, count) if count > 1 else None)
    store = FeatureStore.open(tmp_path / "store")
    assert list(store.ids) == (sorted(pictures) if kind == "struct" else KEYS)
    assert (tmp_path / "store" / "features.bin").read_bytes() == rows
    assert extract(source, tmp_path / "store").done == 0


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_a_stopped_run_resumes(
    kind: str, pictures: dict[str, bytes], rows: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmt.features.writer import FeatureWriter

    source, append, calls = shards_in(tmp_path / "in", pictures, kind), FeatureWriter.append, []

    def dies(self: FeatureWriter, *more: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        append(self, *more)

    with monkeypatch.context() as patch:
        patch.setattr(FeatureWriter, "append", dies)
        with pytest.raises(KeyboardInterrupt):
            extract(source, tmp_path / "store")
    assert extract(source, tmp_path / "store").skipped == 4
    assert (tmp_path / "store" / "features.bin").read_bytes() == rows


@pytest.mark.parametrize(
    ("pattern", "num"),
    [("shard-*.tar", 11), ("shard-{000..001}.tar", 5), ("shard-{000,002}.tar", 10), ("shard-001.tar", 1)],
)
def test_patterns_name_files(pattern: str, num: int, pictures: dict[str, bytes], tmp_path: Path) -> None:
    folder = shards_in(tmp_path, pictures, "tar")
    assert len(find_stored(folder / pattern)) == num
    assert list(find_stored(f"file://{folder}/{pattern}")) == list(find_stored(folder / pattern))
    (folder / "a{0..1}.tar").write_bytes((folder / "shard-001.tar").read_bytes())  # a name, however odd
    assert list(find_stored(folder / "a{0..1}.tar")) == ["004"]


@pytest.mark.parametrize("kind", ["tar", "parquet"])
@pytest.mark.parametrize("form", ["{}", "{}/*", "{}/**/*", "file://{}", "file://{}/*", "local://{}"])
def test_links_are_followed_and_broken_ones_reported(
    form: str, kind: str, pictures: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A snapshot of the hub's cache is made of links."""
    blobs = shards_in(tmp_path / "blobs", pictures, kind)
    folder = tmp_path / "in"
    folder.mkdir()
    for number in (0, 1):
        (folder / f"s-{number}.{kind}").symlink_to(blobs / f"shard-{number:03}.{kind}")
    (tmp_path / "away").mkdir()
    (tmp_path / "away" / f"s-2.{kind}").symlink_to(blobs / f"shard-002.{kind}")
    (folder / "sub").symlink_to(tmp_path / "away")
    (folder / f"s-3.{kind}").symlink_to("nowhere")
    (folder / ".hidden").symlink_to("nowhere")
    source = form.format(folder)
    assert list(find_stored(source)) == (KEYS[:5] if source.endswith("in/*") else KEYS)
    said = capsys.readouterr().err
    assert said == f"{source}: left out: {folder}/s-3.{kind} (a link that leads nowhere)\n"


def test_keys_are_those_of_webdataset(tmp_path: Path) -> None:
    jpg = encoded(picture(), "JPEG")
    names = ["b.jpg", "b.cls", "sub/a.x.JPG", "./dot/c.png", "d.jpg", "d.mask.png", "LICENSE", "sub/.hidden.jpg"]
    tar_of(tmp_path / "x.tar", dict.fromkeys(names, jpg))
    with tarfile.open(tmp_path / "x.tar", "a") as archive:
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    found = find_stored(tmp_path)
    assert list(found) == ["b", "sub/a", "./dot/c", "d"]
    assert all(image.read() == jpg for image in found.values())


def test_what_is_no_image_is_left_out_with_its_reason(tmp_path: Path) -> None:
    bad = bad_files(tmp_path / "bad")
    contents = {name: (tmp_path / "bad" / name).read_bytes() for name in bad}
    good = {"z.jpg": encoded(picture(), "JPEG")}
    tar_of(tmp_path / "tars/a.tar", {name.replace(".", "_", 1) + ".jpg": c for name, c in contents.items()} | good)
    values: list[bytes | None] = [*contents.values(), None, *good.values()]
    parquet_of(tmp_path / "table/a.parquet", {"image": values, "key": list(range(len(values)))})
    assert set(extract(tmp_path / "tars", tmp_path / "s").left_out) == {name.replace(".", "_") for name in bad}
    left_out = extract(tmp_path / "table", tmp_path / "t").left_out
    assert set(left_out) == {str(number) for number in range(len(bad) + 1)}
    assert "no bytes" in left_out[str(len(bad))]
    # again, after the others: rows are read backwards
    assert extract(tmp_path / "table", tmp_path / "t").left_out == left_out


def test_a_tar_that_became_shorter_loses_no_other_image(tmp_path: Path) -> None:
    tar = tar_of(tmp_path / "a.tar", {"a.jpg": encoded(picture(1), "JPEG"), "b.jpg": encoded(picture(2), "JPEG")})
    found = find_stored(tar)
    os.truncate(tar, 2000)
    with pytest.raises(ImageError, match="shorter"):
        found["b"].read()
    assert found["a"].read()[:2] == b"\xff\xd8"


def refused(source: Location, reason: str) -> None:
    with pytest.raises(MMTError, match=reason) as raised:
        find_sources(source)
    assert "\n" not in str(raised.value)


def test_bad_collections_are_refused_with_the_file(pictures: dict[str, bytes], tmp_path: Path) -> None:
    jpg = pictures["000.jpg"]
    one = tar_of(tmp_path / "a/1.tar", {"x.jpg": jpg, "y.jpg": jpg})
    tar_of(tmp_path / "a/2.tar", {"z.jpg": jpg, "y.png": jpg})
    refused(tmp_path / "a", r"image id 'y' is in both .*/a/1\.tar and .*/a/2\.tar")
    whole = one.read_bytes()
    for length in (700, 512 + len(jpg), 100):
        one.write_bytes(whole[:length])
        refused(one, r"1\.tar: not a tar, or cut off")
    end = 2 * (512 + -(-len(jpg) // 512) * 512)
    for cut in (whole[:end], whole[: end // 2] + b"x" * 512 + whole[end // 2 :]):
        one.write_bytes(cut)
        refused(one, r"cut off \(no file and no end mark at byte")
    one.write_bytes(whole + whole)
    refused(one, r"1\.tar: other bytes follow the end of the tar")
    one.write_bytes(b"")
    refused(one, "cut off")
    with tarfile.open(tmp_path / "c.tar", "w:gz"):
        pass
    refused(tmp_path / "c.tar", "is compressed.*gunzip")
    refused(tar_of(tmp_path / "d.tar", {"x.left.jpg": jpg, "x.right.jpg": jpg}), "'x' has several images")
    refused(tar_of(tmp_path / "e.tar", {"x.jpg": jpg, "x.JPG": jpg}), "'x' has several images")
    refused(tar_of(tmp_path / "f.tar", {"x.txt": b"text"}), "found none in 1 files")
    for name in ("../x.jpg", "/x.jpg", "a\nb.jpg"):
        refused(tar_of(tmp_path / "g.tar", {name: jpg}), r"g\.tar: image id .* expected a name without")
    refused(tmp_path / "a/{2..1}.tar", "expected a range")
    refused(tmp_path / "a/x*.tar", "no file matches")
    refused(tmp_path / "a/{3..4}.tar", r"a/3\.tar.*no such file|a/\{3\.\.4\}\.tar: no such file")
    refused(tmp_path / "nowhere", "no such file or folder")


def test_bad_tables_are_refused_with_the_column(pictures: dict[str, bytes], tmp_path: Path) -> None:
    jpg = pictures["000.jpg"]
    path = tmp_path / "a.parquet"
    refused(parquet_of(path, {"id": ["a"], "text": ["b"]}), r"column of images.*found none; .*'text' \(string\)")
    refused(parquet_of(path, {"id": ["a"], "x": [jpg], "y": [jpg]}), "found 'x' and 'y'")
    refused(parquet_of(path, {"image": [jpg], "text": ["a"]}), "column of ids.*'image', 'text'")
    refused(parquet_of(path, {"image": [jpg, jpg], "id": ["a", None]}), "row 2 has no id")
    refused(parquet_of(path, {"image": [jpg, jpg], "id": ["a", "a"]}), r"'a' is in .*a\.parquet twice")
    parquet_of(tmp_path / "b.parquet", {"image": [jpg], "id": ["a"]})
    parquet_of(path, {"image": [jpg], "id": ["a"]})
    refused(tmp_path, r"'a' is in both .*a\.parquet and .*b\.parquet")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(path, r"a\.parquet: not a Parquet file")
    path.write_bytes(whole[:4] + bytes(len(whole) // 2) + whole[4 + len(whole) // 2 :])
    with pytest.raises(MMTError, match=r"a\.parquet: (not a Parquet|cannot be read)"):
        extract(path, tmp_path / "store")
    path.unlink()
    tar_of(tmp_path / "b.tar", {"x.jpg": jpg})
    refused(tmp_path, r"found .*b\.tar and .*b\.parquet")


def test_ids_are_texts_or_integers(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    categories = pa.array(["ü", "17"]).dictionary_encode()
    for ids in (["ü", "17"], ["ü".encode(), b"17"], categories):
        parquet_of(path, {"text": ["a", "b"], "image": [{"bytes": b"x"}, {"bytes": b"y"}], "id": ids})
        assert list(find_stored(path)) == ["ü", "17"]
    parquet_of(path, {"image": [b"x"], "id": [-3]})
    assert list(find_stored(path)) == ["-3"]
    for bad, kind in (([17.0], "double"), ([True], "bool"), ([["17"]], "list<.*"), ([{"a": 1}], "struct<.*")):
        refused(
            parquet_of(path, {"image": [b"x"], "id": bad}), f"column 'id': expected texts or integers.* {kind}"
        )
    refused(parquet_of(path, {"image": [b"x"], "id": [b"\xff"]}), "row 1: column 'id': expected an id in UTF-8")
    refused(parquet_of(path, {"image": [{"bytes": b"x", "path": 1.5}]}), r"column 'image\.path': expected texts")


def test_a_column_of_bytes_may_have_a_dot(pictures: dict[str, bytes], tmp_path: Path) -> None:
    path = parquet_of(tmp_path / "a.parquet", {"x.bytes": [pictures["000.jpg"]]})
    refused(path, r"expected a column of ids.*'x\.bytes'")
    extract(parquet_of(path, {"x.bytes": [pictures["000.jpg"]], "id": ["a"]}), tmp_path / "store")
    assert list(FeatureStore.open(tmp_path / "store").ids) == ["a"]


def test_a_path_and_its_url_give_the_same_ids(pictures: dict[str, bytes], tmp_path: Path) -> None:
    for name in ("a/1.jpg", "b/1.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(pictures["000.jpg"])
    for source in (tmp_path / "*/*.jpg", f"file://{tmp_path}/*/*.jpg", f"file://{tmp_path}"):
        assert list(find_sources(source)) == ["a/1.jpg", "b/1.jpg"]


def test_a_folder_of_images_with_a_tar_is_one_of_images(pictures: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(pictures["000.jpg"])
    tar_of(tmp_path / "b.tar", {"x.jpg": pictures["000.jpg"]})
    assert find_sources(tmp_path) == {"a.jpg": tmp_path / "a.jpg"}


# --- other file systems -----------------------------------------------------------------------------------


def same_elsewhere(url: str, pictures: Mapping[str, bytes], rows: bytes, tmp_path: Path) -> None:
    """Checks tars, Parquet and plain files in an empty folder of another file system, by URLs."""
    system, root = fsspec.core.url_to_fs(url)
    for kind in ("tar", "parquet"):
        system.put(str(shards_in(tmp_path / kind, pictures, kind)) + "/", f"{root}/{kind}/", recursive=True)
    for name, content in pictures.items():
        system.pipe_file(f"{root}/plain/sub/{name}", content)
    for kind, ids in (("tar", KEYS), ("parquet", KEYS), ("plain", [f"sub/{name}" for name in pictures])):
        extract(f"{url}/{kind}", tmp_path / f"{kind}.store")
        assert list(FeatureStore.open(tmp_path / f"{kind}.store").ids) == ids
        assert (tmp_path / f"{kind}.store" / "features.bin").read_bytes() == rows
    extract(f"{url}/tar/shard-{{000..002}}.tar", tmp_path / "braces")
    assert (tmp_path / "braces" / "features.bin").read_bytes() == rows
    assert len(find_stored(f"{url}/tar/shard-*2.tar")) == 6
    assert list(find_stored(f"{url}/plain/s*/00?.jpg"))[:2] == ["sub/000.jpg", "sub/001.jpg"]
    refused(f"{url}/nowhere", f"{url}/nowhere: no such file or folder")
    refused(f"{url}/tar/x-*.tar", "no file matches")
    system.pipe_file(f"{root}/cut/a.tar", (tmp_path / "tar/shard-000.tar").read_bytes()[:3000])
    refused(f"{url}/cut", f"{url}/cut/a.tar: not a tar, or cut off")


def test_a_store_in_memory_is_read(pictures: dict[str, bytes], rows: bytes, tmp_path: Path) -> None:
    same_elsewhere("memory://collection", pictures, rows, tmp_path)


def test_a_bucket_is_read(bucket: str, pictures: dict[str, bytes], rows: bytes, tmp_path: Path) -> None:
    same_elsewhere(f"{bucket}/collection", pictures, rows, tmp_path)
    refused("s3://no-such-bucket/x", "s3://no-such-bucket/x: no such file or folder")
    refused("s3://no-such-bucket/x-*.tar", "s3://no-such-bucket/x")


def test_unknown_file_systems_are_refused() -> None:
    refused(
        "nosuch://user:secret@host/x", r"nosuch://\*\*\*@host/x: cannot be opened \(Protocol not known: nosuch"
    )


def test_stored_images_are_read_by_threads() -> None:
    class Broken(StoredImage):
        def read(self) -> bytes:
            raise ImageError("x", "is broken")

    from mmt.features.pipeline import features_of

    [(names, _, failed)] = features_of([[("x", Broken())]], BACKBONE, 1)
    assert (names, failed) == ([], {"x": "is broken"})


def test_recordings_lie_in_tars_too(tmp_path: Path) -> None:
    import numpy as np
    import soundfile

    from mmt.features.load import load_backbone, media_suffixes

    (tmp_path / "plain").mkdir()
    for number in range(3):
        samples = 0.1 * np.random.default_rng(number).normal(size=8000)
        soundfile.write(tmp_path / "plain" / f"{number}.wav", samples, 16000)
    files = {path.name: path.read_bytes() for path in sorted((tmp_path / "plain").iterdir())}
    tar_of(tmp_path / "tars" / "a.tar", files)
    backbone, suffixes = load_backbone("logmel80", "pool"), media_suffixes("logmel80")
    for name in ("plain", "tars"):
        found = find_sources(tmp_path / name, suffixes)
        extract_features(found, backbone, tmp_path / f"{name}.store", progress=False)
    one, other = ((tmp_path / f"{name}.store" / "features.bin").read_bytes() for name in ("plain", "tars"))
    assert one == other
