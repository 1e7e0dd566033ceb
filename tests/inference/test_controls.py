from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmt.errors import MMTError
from mmt.inference.controls import controlled_images, image_key, other_readings, wrong_images

IMAGES = st.lists(st.one_of(st.none(), st.integers(0, 30).map(str)), max_size=40)


def possible(images: list[str | None]) -> bool:
    named = [image for image in images if image is not None]
    return len(named) > 1 and 2 * max(named.count(image) for image in named) <= len(named)


@given(IMAGES, st.integers(0, 2**31))
def test_wrong_images_are_a_permutation_without_fixed_points(images: list[str | None], seed: int) -> None:
    if not possible(images):
        with pytest.raises(MMTError, match="would be given its own"):
            wrong_images(images, seed)
        return
    wrong = wrong_images(images, seed)
    assert sorted(map(str, wrong)) == sorted(map(str, images))
    for right, drawn in zip(images, wrong, strict=True):
        assert (right is None) == (drawn is None)  # a sentence without image stays without
        assert right is None or right != drawn


def test_a_seed_decides_the_draw_and_draws_differ() -> None:
    images: list[str | None] = [str(number) for number in range(50)]
    assert wrong_images(images, 3) == wrong_images(images, 3)
    draws = [wrong_images(images, seed) for seed in range(200)]
    assert len({tuple(draw) for draw in draws}) == 200
    # Every sentence meets many others: no draw is a shift of the order in the file.
    assert len({draw[0] for draw in draws}) > 40


def test_the_same_picture_in_two_rows_is_no_wrong_image_for_either() -> None:
    pair = [b"a", b"a", b"b", b"b"]
    assert wrong_images(pair, 1) == [b"b", b"b", b"a", b"a"]
    assert image_key(Path("a/b.png")) == image_key("a/b.png")


def test_another_reading_never_has_the_sentences_own_picture() -> None:
    sources, targets = ["bank", "bank", "bank", "dog", "cat"], ["Bank", "Ufer", "Ufer", "Hund", "Katze"]
    assert other_readings(sources, targets, ["1", "2", "3", "4", "5"]) == ["2", "1", "1", "5", "1"]
    shared = ["1", "1", "2", "4", "4"]
    assert other_readings(sources, targets, shared) == ["2", "2", "1", "1", "1"]
    with pytest.raises(MMTError, match="have the same one"):
        other_readings(sources, targets, ["1"] * 5)


def test_blank_takes_every_image_and_right_none() -> None:
    images = ["a", None, "b"]
    assert controlled_images(images, "right", 1) == images
    assert controlled_images(images, "blank", 1) == [None, None, None]


def test_an_unknown_control_is_refused() -> None:
    with pytest.raises(MMTError, match="expected right, wrong or blank, found 'left'"):
        controlled_images(["a", "b"], "left", 1)  # type: ignore[arg-type]
