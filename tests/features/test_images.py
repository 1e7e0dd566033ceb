"""Laws of finding image files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mmt.errors import MMTError
from mmt.features.decoding import decode_image
from mmt.features.images import find_images, read_ahead
from tests.features.pictures import make_folder, picture


def test_images_are_found_by_their_names_in_the_folder(tmp_path: Path) -> None:
    for name in ("b.JPG", "sub/a.png", "sub/deep/ü x.webp", "notes.txt", ".hidden.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = find_images(tmp_path)
    assert found == {name: tmp_path / name for name in ("b.JPG", "sub/a.png", "sub/deep/ü x.webp")}


def test_files_that_are_not_taken_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.jpg", "b.heic", "0007", ".hidden", *(f"{number}.txt" for number in range(6))):
        (tmp_path / name).write_bytes(b"x")
    find_images(tmp_path)
    said = capsys.readouterr().err
    assert "not taken, as they do not end in .bmp" in said
    assert said.endswith(": 0.txt, 0007, 1.txt, 2.txt, 3.txt and 3 more\n")


def test_prepared_data_names_its_images(tmp_path: Path) -> None:
    from mmt.data.dataset import DatasetInfo, write_dataset

    def row(number: int, image: str, there: bool) -> dict[str, object]:
        return {"id": f"{number}", "image": image, "source": "a", "target": "b", "has_image": there}

    folder, pictures = tmp_path / "prepared", tmp_path / "pictures"
    make_folder(pictures, 2)
    info = DatasetInfo("test", "en", "de", str(pictures))
    train = [row(0, "001.jpg", True), row(1, "001.jpg", True), row(2, "nowhere.jpg", False), row(3, "", False)]
    write_dataset(folder, info, {"train": train, "val": [row(4, "000.jpg", True)]})
    assert find_images(folder) == {name: pictures / name for name in ("000.jpg", "001.jpg")}
    for outside in ("../secret.jpg", "/etc/passwd", "a\nb.jpg"):
        write_dataset(folder, info, {"train": [row(0, outside, True)]})
        with pytest.raises(MMTError, match="inside"):
            find_images(folder)
    write_dataset(folder, info, {"train": [row(0, "", False)]})
    with pytest.raises(MMTError, match="found none"):
        find_images(folder)


def test_links_are_followed_and_those_that_lead_nowhere_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_folder(tmp_path / "in", 1)
    make_folder(tmp_path / "out/deep", 1)
    for name, to in {
        "same.jpg": "000.jpg", "file.jpg": "../out/deep/000.jpg", "folder": "../out", "gone.jpg": "nowhere.jpg",
        "nothing": "nowhere", "round": "..", "itself": "itself", "deep.jpg": "../out/deep",
    }.items():  # fmt: skip
        (tmp_path / "in" / name).symlink_to(to)
    (tmp_path / "out" / "back").symlink_to(tmp_path / "in")
    (tmp_path / "link").symlink_to("in")  # the folder itself may be a link
    found = find_images(tmp_path / "link")
    whole = {"000.jpg", "same.jpg", "file.jpg", "folder/deep/000.jpg", "deep.jpg/000.jpg"}
    assert whole < set(found)
    assert all(decode_image(found[name]).shape[2] == 3 for name in whole)
    assert "gone.jpg" in found  # by which it is left out with a reason, as every image that cannot be read
    said = capsys.readouterr().err
    assert "left out: nothing (a link that leads nowhere)" in said
    assert "left out: itself (a link that leads nowhere)" in said
    assert "left out: folder/back (a link that leads back to a folder above it)" in said
    assert all(name.count("/") < 8 for name in found)


def test_no_folder_and_no_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MMTError, match="no such folder"):
        find_images(tmp_path / "nowhere")
    with pytest.raises(MMTError, match="found none"):
        find_images(tmp_path)


def test_a_file_that_cannot_be_had_is_asked_for_in_vain(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for source in (tmp_path / "none", tmp_path / "a\0b", tmp_path, tmp_path / "pipe", b"bytes", picture()):
        read_ahead(source)
