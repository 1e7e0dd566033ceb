"""Laws of recall and rank in both directions, against the whole matrix and against chance."""

from __future__ import annotations

import itertools
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from eval import retrieval
from eval.retrieval import evaluate
from mmt.data.dataset import DatasetInfo, write_dataset
from mmt.data.feature_store import FeatureStore
from mmt.data.tokenizer import Tokenizer
from mmt.errors import MMTError
from mmt.metrics.retrieval import chance, figures, mean_recall, ranks
from mmt.model.card import ModelCard
from mmt.model.folder import save_model
from tests.worlds import NOUNS, make_features, tiny_model

IMAGES = [f"{number}.png" for number in range(6)]


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def drawn(num_captions: int, num_images: int, dim: int, seed: int = 0) -> tuple[NDArray[np.float32], ...]:
    """Captions near their images, and rows that stand twice, so that scores tie."""
    rng = np.random.default_rng(seed)
    images = unit(rng.normal(size=(num_images, dim)))
    images[num_images // 2 :] = images[: num_images - num_images // 2]
    owners = rng.integers(0, num_images, num_captions)
    captions = unit(images[owners] + rng.normal(size=(num_captions, dim)))
    captions[1::3] = captions[: len(captions[1::3])]
    return captions, images, owners


def plain_ranks(
    captions: NDArray[np.float32], images: NDArray[np.float32], owners: NDArray[np.int64]
) -> tuple[list[int], list[int]]:
    """From the whole matrix, query by query, each product added up in the order of its terms.

    Python's integers are exact: the vectors as multiples of 2^-25.
    """
    whole = [[[round(float(value) * 2**25) for value in row] for row in side] for side in (captions, images)]
    scores = [[sum(a * b for a, b in zip(c, i, strict=True)) for i in whole[1]] for c in whole[0]]
    of_caption = [
        1 + sum(score >= row[owner] for image, score in enumerate(row) if image != owner)
        for row, owner in zip(scores, owners, strict=True)
    ]
    of_image = []
    for image in sorted(set(owners.tolist())):
        best = max(row[image] for row, owner in zip(scores, owners, strict=True) if owner == image)
        wrong = [row[image] for row, owner in zip(scores, owners, strict=True) if owner != image]
        of_image.append(1 + sum(score >= best for score in wrong))
    return of_caption, of_image


@pytest.mark.parametrize("chunk", [1, 7, 16, 1000])
def test_ranks_by_chunks_equal_those_of_the_whole_matrix(chunk: int) -> None:
    captions, images, owners = drawn(45, 18, 16)
    of_caption, of_image = ranks(captions, images, owners, chunk=chunk)
    expected = plain_ranks(captions, images, owners)
    assert (of_caption.tolist(), of_image.tolist()) == expected
    assert any(place > 1 for place in expected[0])
    assert len(set(owners.tolist())) < 18  # an image without a caption is a candidate only


def test_equal_vectors_tie_in_any_chunk() -> None:
    """A copy of the right image, wherever it stands, is never behind it, and never by a rounding in front."""
    rng = np.random.default_rng(3)
    images = unit(rng.normal(size=(300, 77)))
    images[200] = images[0]
    captions = unit(rng.normal(size=(300, 77)) + 20 * images)
    owners = np.arange(300)
    for chunk in (1, 13, 64, 300):
        of_caption, _ = ranks(captions, images, owners, chunk=chunk)
        assert of_caption.tolist() == [1 + (n in (0, 200)) for n in range(300)]


def test_a_model_that_says_the_same_of_everything_finds_nothing() -> None:
    same = np.tile(unit(np.ones((1, 8), np.float32)), (50, 1))
    of_caption, of_image = ranks(same, same[:10], np.arange(50) % 10)
    assert set(of_caption) == {10}
    assert set(of_image) == {46}  # behind the 45 captions of other images


def test_a_perfect_model_finds_all() -> None:
    images = np.eye(12, dtype=np.float32)
    owners = np.arange(36) % 12
    for places in ranks(images[owners], images, owners):
        assert figures(places) == {"recall_at_1": 1, "recall_at_5": 1, "recall_at_10": 1, "median_rank": 1}


def test_an_images_rank_is_that_of_its_best_caption() -> None:
    images = np.eye(2, dtype=np.float32)
    captions = np.array([[0.1, 0], [0.9, 0], [0.5, 0.1], [0.2, 0.05]], np.float32)
    _, of_image = ranks(captions, images, np.array([0, 0, 1, 1]))
    assert of_image.tolist() == [1, 1]
    _, of_image = ranks(captions, images, np.array([0, 1, 0, 1]))
    assert of_image.tolist() == [2, 2]  # 0.9 of the other before 0.5; 0.1 of the other before 0.05


def test_figures_by_hand() -> None:
    found = figures(np.array([1, 1, 5, 6, 10, 11]))
    assert found == {"recall_at_1": 2 / 6, "recall_at_5": 3 / 6, "recall_at_10": 5 / 6, "median_rank": 5}


# What VSE++'s and open_clip's formula, floor(median) + 1 of ranks that count from 0, makes of each.
MEDIAN_RANKS = [
    ([1], 1),
    ([1, 2], 1),
    ([1, 3], 2),
    ([2, 2, 9], 2),
    ([1, 2, 3, 4], 2),
    ([4, 7, 7, 900], 7),
    ([3, 6], 4),
]


@pytest.mark.parametrize(("places", "median"), MEDIAN_RANKS)
def test_the_median_rank_is_that_of_vsepp_and_open_clip(places: list[int], median: int) -> None:
    assert figures(np.array(places))["median_rank"] == median


def test_recall_and_median_rank_of_five_captions_an_image_as_vsepp_counts_them() -> None:
    """Its sort and its loops, in both directions, on scores without ties."""
    rng = np.random.default_rng(6)
    images = unit(rng.normal(size=(40, 24)))
    owners = np.repeat(np.arange(40), 5)
    captions = unit(images[owners] + 1.5 * rng.normal(size=(200, 24)))
    scores = captions @ images.T
    orders = (np.argsort(-scores, axis=1), np.argsort(-scores.T, axis=1))
    counted = (
        [np.flatnonzero(order == owner)[0] for order, owner in zip(orders[0], owners, strict=True)],
        [min(np.flatnonzero(owners[order] == image)) for image, order in enumerate(orders[1])],
    )
    for places, from_zero in zip(ranks(captions, images, owners), counted, strict=True):
        expected = {f"recall_at_{k}": np.mean(np.array(from_zero) < k) for k in (1, 5, 10)}
        assert figures(places) == expected | {"median_rank": np.floor(np.median(from_zero)) + 1}


def test_chance_is_the_mean_over_all_orders() -> None:
    """Every way to mix up the images of random vectors, in both directions."""
    rng = np.random.default_rng(1)
    captions, images = unit(rng.normal(size=(9, 5))), unit(rng.normal(size=(6, 5)))
    owners = np.array([0, 0, 0, 1, 1, 2, 3, 4, 5])
    found = [ranks(captions, images[list(order)], owners)[0] for order in itertools.permutations(range(6))]
    mean = figures(np.concatenate(found))
    expected = chance(np.ones(9, int), 6)
    assert all(mean[name] == pytest.approx(expected[name]) for name in ("recall_at_1", "recall_at_5"))
    assert expected["recall_at_10"] == 1
    assert expected["median_rank"] == 3
    # Image -> text: each order of 6 captions, 2 of which are right.
    best = [1 + min(order.index(0), order.index(1)) for order in itertools.permutations(range(6))]
    expected = chance(np.array([2]), 6)
    assert expected["recall_at_1"] == pytest.approx(np.mean(np.array(best) <= 1))
    assert expected["recall_at_5"] == pytest.approx(np.mean(np.array(best) <= 5))
    assert expected["median_rank"] == np.median(best)
    mixed = chance(np.array([1, 2, 2]), 6)
    assert mixed["recall_at_1"] == pytest.approx((1 / 6 + 2 / 6 + 2 / 6) / 3)


def test_random_vectors_are_at_chance() -> None:
    rng = np.random.default_rng(2)
    captions, images = unit(rng.normal(size=(4000, 32))), unit(rng.normal(size=(800, 32)))
    owners = np.arange(4000) % 800
    expected = (chance(np.ones(4000, int), 800), chance(np.full(800, 5), 4000))
    for places, by_chance in zip(ranks(captions, images, owners), expected, strict=True):
        found = figures(places)
        assert found["recall_at_10"] == pytest.approx(by_chance["recall_at_10"], abs=0.01)
        assert found["median_rank"] == pytest.approx(by_chance["median_rank"], rel=0.1)


def test_memory_does_not_grow_with_the_number_of_pairs() -> None:
    """20,000 by 20,000 similarities would be 3,200 MB; a chunk of them is 8 MB, and vectors are 1 MB a side."""
    rng = np.random.default_rng(4)
    images = unit(rng.normal(size=(20_000, 8)))
    owners = rng.permutation(20_000)
    captions = images[owners]
    tracemalloc.start()
    try:
        of_caption, of_image = ranks(captions, images, owners, chunk=1000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 30e6
    assert set(of_caption) == set(of_image) == {1}


def test_vectors_that_are_no_vectors_are_refused() -> None:
    images = np.eye(3, dtype=np.float32)
    for bad in (np.nan, np.inf, 2.0):
        captions = np.eye(3, dtype=np.float32)
        captions[1, 1] = bad
        with pytest.raises(MMTError, match="expected a length of 1"):
            ranks(captions, images, np.arange(3))
    with pytest.raises(ValueError, match="do not fit"):
        ranks(images, images, np.arange(2))
    with pytest.raises(ValueError, match="rows of 3 images"):
        ranks(images, images, np.array([0, 1, 3]))


# --- the command ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def captions(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``data`` (two languages; one row has no image), ``features``, and models ``1`` and ``2``."""
    folder = tmp_path_factory.mktemp("captions")
    rows = [
        {"id": f"{image}#{lang}", "image": image, "source": f"A {noun} sees the {lang}.", "target": "",
         "has_image": True, "lang": lang, "caption": 0}
        for image, noun in zip(IMAGES, NOUNS, strict=True)
        for lang in ("en", "de")
    ]  # fmt: skip
    rows.append({**rows[0], "id": "none", "image": "", "has_image": False})
    write_dataset(folder / "data", DatasetInfo("tiny", "en", "", ""), {"test": rows})
    make_features(folder / "features", IMAGES)
    for seed in (1, 2):
        save_tiny(folder / str(seed), world, folder / "features", seed)
    return folder


def save_tiny(
    folder: Path, world: Path, features: Path, seed: int, fusion: str = "gated", **changes: object
) -> None:
    tokenizer = Tokenizer(world / "tokenizer.model")
    model = tiny_model(tokenizer.vocab_size, fusion, seed, **({"heads": ("contrastive",)} | changes))
    signature = FeatureStore.open(features).signature if fusion != "none" else None
    card = ModelCard(vars(model.config), "en", "", signature, training={"seed": seed})
    save_model(folder, model.state_dict(), tokenizer.path, card)


def test_the_command_writes_what_it_prints(
    captions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [captions / "1", captions / "2", captions / "data", "test", tmp_path / "out"]
    with pytest.raises(SystemExit) as stop:
        retrieval.main([*map(str, arguments), "--images", str(captions / "features"), "--draws", "3"])
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert (result["captions"], result["images"], result["captions_without_image"]) == (12, 6, 1)
    assert list(result["retrieval"]) == ["all", "de", "en"]
    assert "12 captions of 6 images" in printed
    one = result["retrieval"]["all"]["text_to_image"]
    assert (one["queries"], one["candidates"]) == (12, 6)
    assert one["chance"]["recall_at_1"] == pytest.approx(1 / 6)
    assert len(one["recall_at_5"]["seeds"]) == 2
    assert one["recall_at_5"]["mean"] == pytest.approx(sum(one["recall_at_5"]["seeds"]) / 2)
    assert f"{100 * one['recall_at_5']['mean']:.1f} ±" in printed
    other = result["retrieval"]["de"]["image_to_text"]
    assert (other["queries"], other["candidates"]) == (6, 6)
    assert result["retrieval"]["all"]["image_to_text"]["chance"]["recall_at_1"] == pytest.approx(2 / 12)


def test_a_perfect_model_never_finds_its_own_image_among_wrong_ones(
    captions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nouns = list(NOUNS)

    def of_sentences(_: object, sentences: list[str], progress: object) -> NDArray[np.float32]:
        return np.eye(6, dtype=np.float32)[[nouns.index(sentence.split()[1]) for sentence in sentences]]

    def of_images(_: object, images: list[str], progress: object) -> NDArray[np.float32]:
        return np.eye(6, dtype=np.float32)[[IMAGES.index(image) for image in images]]

    monkeypatch.setattr("eval.retrieval.embed_sentences", of_sentences)
    monkeypatch.setattr("eval.retrieval.embed_images", of_images)
    result = evaluate([captions / "1"], captions / "data", "test", tmp_path, [captions / "features"], draws=50)
    for directions in result["retrieval"].values():
        for one in directions.values():
            assert one["recall_at_1"]["mean"] == 1
            assert one["wrong_images"]["recall_at_1"] == 0  # every caption has another's, however many share one


def test_one_image_leaves_no_wrong_one_and_is_refused_at_once(captions: Path, world: Path, tmp_path: Path) -> None:
    row = {"id": "1", "image": IMAGES[0], "source": "A dog.", "target": "", "has_image": True}
    write_dataset(tmp_path / "one", DatasetInfo("one", "en", "", ""), {"test": [row, {**row, "id": "2"}]})
    with pytest.raises(MMTError, match="wrong images: 1 sentence"):
        evaluate([captions / "1"], tmp_path / "one", "test", tmp_path / "out", [captions / "features"])
    assert not (tmp_path / "out").exists()


def test_a_seeds_figures_are_its_own(captions: Path, tmp_path: Path) -> None:
    def of(*models: str) -> dict[str, list[float]]:
        folders = [captions / model for model in models]
        result = evaluate(folders, captions / "data", "test", tmp_path, [captions / "features"])
        one = result["retrieval"]["en"]["image_to_text"]
        return {name: one[name]["seeds"] for name in ("recall_at_1", "recall_at_5", "median_rank")}

    both, first, second = of("1", "2"), of("1"), of("2")
    assert both == {name: first[name] + second[name] for name in both}
    assert first != second


def test_models_that_do_not_go_together_are_refused(captions: Path, world: Path, tmp_path: Path) -> None:
    def refused(*models: Path) -> str:
        with pytest.raises(MMTError) as error:
            evaluate(models, captions / "data", "test", tmp_path / "out", [captions / "features"])
        return str(error.value)

    assert "seed 1 was given before" in refused(captions / "1", captions / "1")
    save_tiny(tmp_path / "other", world, captions / "features", 3, "concat")
    assert "more than its seed" in refused(captions / "1", tmp_path / "other")
    save_tiny(tmp_path / "text", world, captions / "features", 4, "none", heads=())
    assert "text only" in refused(tmp_path / "text")
    save_tiny(tmp_path / "headless", world, captions / "features", 5, heads=())
    assert "objectives.contrastive" in refused(tmp_path / "headless")
    make_features(tmp_path / "few", IMAGES[:4])
    with pytest.raises(MMTError, match=r"2 of 6 images are missing .*'4\.png'"):
        evaluate([captions / "1"], captions / "data", "test", tmp_path / "out", [tmp_path / "few"])


def test_mean_recall_is_the_mean_of_six_figures_whatever_stands_twice() -> None:
    generator = np.random.default_rng(5)
    images = generator.normal(size=(30, 8))
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    owners = generator.permutation(np.repeat(np.arange(30), 2))
    captions = images[owners] + 0.6 * generator.normal(size=(60, 8))
    captions /= 1.001 * np.linalg.norm(captions, axis=1, keepdims=True)
    six = [figures(places)[f"recall_at_{k}"] for places in ranks(captions, images, owners) for k in (1, 5, 10)]
    assert 0.1 < np.mean(six) < 0.99
    assert mean_recall(captions, images[owners], [f"{owner}.jpg" for owner in owners]) == pytest.approx(
        np.mean(six)
    )
