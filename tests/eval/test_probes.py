"""Laws of groups of images in the probes, and of what a linear classifier reads from the features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from eval import attending, ceiling
from eval.probe_groups import group_scores, read_groups
from mmt.data.dataset import DatasetInfo, write_dataset
from mmt.data.feature_signature import FeatureSignature
from mmt.data.feature_store import open_features
from mmt.errors import MMTError
from mmt.features.writer import FeatureWriter

COLOURS = {"red": "rot", "blue": "blau", "green": "grün"}


def test_a_group_is_a_folder_or_a_file_of_names_and_the_rest_is_the_others(tmp_path: Path) -> None:
    images = ["a.jpg", "b.jpg", "c.jpg", "a.jpg"]
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    (tmp_path / "names.txt").write_text("b.jpg\nz.jpg\n")
    found = read_groups([f"old={tmp_path / 'photos'}", f"new={tmp_path / 'names.txt'}"], images)
    assert {name: of.tolist() for name, of in found.items()} == {
        "old": [True, False, False, True],
        "new": [False, True, False, False],
        "others": [False, False, True, False],
    }
    (tmp_path / "all.txt").write_text("\n".join(images))
    assert list(read_groups([f"all={tmp_path / 'all.txt'}"], images)) == ["all"]
    (tmp_path / "none.txt").write_text("z.jpg\n")
    for text, message in (
        ("photos", "expected NAME=FOLDER"),
        (f"others={tmp_path / 'photos'}", "not 'others'"),
        (f"x={tmp_path / 'none.txt'}", "such as a.jpg, found none"),
        (f"x={tmp_path / 'nothing'}", "a folder, or a file of image names"),
    ):
        with pytest.raises(MMTError, match=message):
            read_groups([text], images)


def test_accuracies_of_a_group_are_shares_of_its_words_and_the_interval_is_of_its_sentences() -> None:
    generator = np.random.default_rng(0)
    items = generator.integers(1, 4, 60)
    right = generator.binomial(items, 0.8).astype(float)
    hits = {"right": right, "text_only": generator.binomial(items, 0.3).astype(float), "wrong": right.copy()}
    members = {"half": np.arange(60) < 30, "one": np.arange(60) == 5}
    found = group_scores(hits, items, members, seed=1)
    half = found["half"]
    assert (half["items"], half["sentences_with_items"]) == (items[:30].sum(), 30)
    for name, of in hits.items():
        assert half["accuracy"][name] == pytest.approx(of[:30].sum() / items[:30].sum())
    ahead, same = half["right_minus"]["text_only"], half["right_minus"]["wrong"]
    assert ahead["difference"] == pytest.approx(half["accuracy"]["right"] - half["accuracy"]["text_only"])
    draws = np.random.default_rng(7).integers(0, 30, (4000, 30))  # the same bootstrap, written out
    resampled = (right - hits["text_only"])[draws].sum(1) / items[draws].sum(1)
    assert [ahead["low"], ahead["high"]] == pytest.approx(np.percentile(resampled, [2.5, 97.5]), abs=0.02)
    assert same == {"difference": 0.0, "low": 0.0, "high": 0.0}
    assert found["one"]["right_minus"]["wrong"]["low"] is None


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """Balls whose colour the first features show; before "sky" it is always blue."""
    generator, values, ids, splits = np.random.default_rng(1), [], [], {}
    for split, size in {"train": 150, "test": 60}.items():
        rows = []
        for number in range(size):
            colour = list(COLOURS)[number % 3]
            noun = "sky" if colour == "blue" and number % 2 else "ball"
            image = f"{split}-{number}.png"
            rows.append(
                {
                    "id": image,
                    "image": image,
                    "source": f"A [MASK_C], {noun}.",
                    "target": f"{COLOURS[colour]}.",
                    "has_image": True,
                    "masked": [colour],
                    "unmasked": f"A {colour}, {noun}.",
                }
            )
            ids.append(image)
            values.append(np.r_[np.eye(3)[number % 3], generator.normal(size=5)])
        splits[split] = rows
    probe = {"kind": "colour", "symbol": "[MASK_C]", "k": 0, "seed": 1}
    write_dataset(tmp_path / "data", DatasetInfo("balls", "en", "de", "images", probe=probe), splits)
    signature = FeatureSignature("tiny", "grid", "none", "ab" * 32, 2, 8)
    with FeatureWriter(tmp_path / "features", signature, "float32") as writer:
        grid = np.stack([values, np.full_like(values, np.nan)], 1).astype(np.float32)  # the second is no region
        writer.append(ids, grid)
        writer.finish()
    return tmp_path


def test_a_linear_classifier_reads_what_the_features_show(colours: Path) -> None:
    (colours / "some.txt").write_text("".join(f"test-{number}.png\n" for number in range(0, 60, 2)))
    arguments: list[object] = [colours / "data", "test", "--images", colours / "features"]
    arguments.append(f"--group=some={colours / 'some.txt'}")
    result = CliRunner().invoke(ceiling.main, [str(one) for one in arguments])
    assert result.exit_code == 0, result.output
    lines = [line.split("│")[1:-1] for line in result.output.splitlines() if "│" in line]
    cells = [[cell.strip() for cell in line] for line in lines]
    table = {name: figures for name, *figures in cells}
    assert table["all"] == ["60", "100.0", "50.0", "33.3"]  # the following word tells 10 of 20 blue ones
    assert table["some"][0] == "30"
    assert table['"sky"'] == ["10", "0", "10", "100.0", "100.0", "0.0"]  # images with odd numbers


def test_a_second_feature_set_hides_nothing_of_the_first(colours: Path) -> None:
    """It is narrower, and large: in a mean over both sets' regions, the first would be lost."""
    items = [ceiling.read_items(colours / "data", split, "[MASK_C]") for split in ("train", "test")]
    ids = [item.image for part in items for item in part]
    noise = 100 * np.random.default_rng(2).normal(size=(len(ids), 3, 4)).astype(np.float32)
    with FeatureWriter(
        colours / "noise", FeatureSignature("t", "grid", "n", "ab" * 32, 3, 4), "float32"
    ) as writer:
        writer.append(ids, noise)
        writer.finish()
    for stores in (["features", "noise"], ["noise", "features"]):
        found = ceiling.answer(*items, open_features([colours / name for name in stores]))
        assert found.features.mean() > 0.95


def test_attention_reads_the_colour_of_the_thing_that_the_sentence_names(tmp_path: Path) -> None:
    """The regions' mean has four things and four colours; only a place says which belong together."""
    things, colours = ["hat", "coat", "dog", "car"], ["red", "blue", "green"]
    generator = np.random.default_rng(3)
    contexts, images, answers, grids, painted = [], [], [], [], []
    for number in range(700):
        thing, paint = generator.integers(4), generator.integers(3, size=4)
        contexts.append((("a", "[MASK_C]", things[thing]), 1))
        images.append(f"{number}.png")
        answers.append(colours[paint[thing]])
        shown = generator.permutation(4)
        grids.append(np.eye(4)[shown])
        painted.append(np.eye(3)[paint[shown]] / 100)  # a set of small numbers
    for name, values in (("things", grids), ("paint", painted)):
        array = np.asarray(values, np.float32)
        signature = FeatureSignature(name, "grid", "n", "ab" * 32, 4, array.shape[2])
        with FeatureWriter(tmp_path / name, signature, "float32") as writer:
            writer.append(images, array)
            writer.finish()
    store = open_features([tmp_path / "things", tmp_path / "paint"])
    assert attending.regions(store, images[:2]).shape == (2, 4, 7)
    train, test = (contexts[:600], images[:600], answers[:600]), (contexts[600:], images[600:])
    guesses, blind = (attending.read(train, test, seen, updates=150) for seen in (store, None))
    seen, chance = (
        np.mean([a == b for a, b in zip(some, answers[600:], strict=True)]) for some in (guesses, blind)
    )
    assert seen > 0.9
    assert chance < 0.5
    once, again = (attending.read(train, test, store, updates=5) for _ in range(2))
    assert once == again


def test_the_attention_reader_is_trained_on_other_datasets_too(colours: Path) -> None:
    arguments: list[object] = [colours / "data", "test", "--images", colours / "features", "--reader=attention"]
    result = CliRunner().invoke(ceiling.main, [str(one) for one in [*arguments, "--also", colours / "data"]])
    assert result.exit_code == 0, result.output
    assert "sentence" in result.output
    assert "300 masked words in training" in result.output
    write_dataset(colours / "plain", DatasetInfo("p", "en", "de", "images"), {"train": [dict.fromkeys(
        ("id", "image", "source", "target"), "x") | {"has_image": True}]})  # fmt: skip
    result = CliRunner().invoke(ceiling.main, [str(one) for one in [*arguments, "--also", colours / "plain"]])
    assert result.exit_code == 2
    assert "expected the probe of" in result.output


def test_what_has_no_ceiling_is_refused(colours: Path) -> None:
    items = ceiling.read_items(colours / "data", "test", "[MASK_C]")
    assert items[1] == ceiling.Item("blue", "test-1.png", "sky", ("a", "[MASK_C]", "sky"), 1)
    with FeatureWriter(colours / "few", FeatureSignature("t", "pool", "n", "ab" * 32, 1, 2), "float32") as writer:
        writer.append(["test-0.png"], np.zeros((1, 1, 2), np.float32))
        store = writer.finish()
    with pytest.raises(MMTError, match="occur 20 times in training, found 0"):
        ceiling.answer(items[:9], items, store)
    with pytest.raises(MMTError, match=r"lacks test-1\.png and 58 more"):
        ceiling.answer(items, items, store)
