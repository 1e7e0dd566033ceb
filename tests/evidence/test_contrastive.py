"""Contrastive pairs: half for who does not look, all for who does, and no item lost without a word."""

from __future__ import annotations

import gzip
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from eval.commute import main
from mmt.data.dataset import DatasetInfo, write_dataset
from mmt.data.feature_signature import FeatureSignature
from mmt.data.feature_store import FeatureStore
from mmt.errors import MMTError
from mmt.evidence.contrastive import (
    CommuteResult,
    Item,
    commute_languages,
    find_images,
    judge,
    mirrored_pairs,
    read_commute,
    read_contrastive,
)
from mmt.features.writer import FeatureWriter
from mmt.inference.scoring import score_pairs
from mmt.inference.torch_runtime import Translator
from tests import warm
from tests.worlds import DIM, data_root, tiny_folder

READINGS = [
    ("A dog sees the bank.", "Hund sieht Bank.", "Hund sieht das Ufer."),
    ("The mole.", "Der Maulwurf", "Das Leberfleck"),
    ("A cat finds the ball.", "Katze findet Ball.", "Die Katze findet den Tanzball."),
    ("A tree.", "Baum", "Ein Baum im Haus, ein Boot, ein Ball."),
]


def mirrored(readings: list[tuple[str, str, str]]) -> list[Item]:
    items = []
    for number, (source, one, other) in enumerate(readings):
        items += [Item(source, one, other, f"{number}-one.jpg"), Item(source, other, one, f"{number}-other.jpg")]
    return items


ITEMS = mirrored(READINGS)
NAMES = [item.image for item in ITEMS]


def write_commute(folder: Path, items: list[Item], target: str = "de") -> Path:
    folder.mkdir(parents=True)
    files = {"src.en": "source", f"correct.{target}": "correct", f"incorrect.{target}": "incorrect"}
    for name, field in {**files, "img.order": "image"}.items():
        # as published: some files have no end of line at their end
        (folder / name).write_text("\n".join(getattr(item, field) for item in items), encoding="utf-8")
    return folder


def write_store(folder: Path, rows: dict[str, np.ndarray]) -> FeatureStore:
    with FeatureWriter(folder, FeatureSignature("tiny", "pool", "none", "ab" * 32, 1, DIM), "float32") as writer:
        writer.append(list(rows), np.stack(list(rows.values())).reshape(-1, 1, DIM).astype(np.float32))
        return writer.finish()


@pytest.fixture(scope="module")
def models(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for fusion in ("none", "gated"):
        tiny_folder(folder / fusion, world, fusion)
    return folder


@pytest.fixture(scope="module")
def text_only(models: Path) -> Translator:
    return Translator.from_dir(models / "none")


@pytest.fixture(scope="module")
def telling(models: Path, tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """For each item an image after which the gated model, weak eyes and all, prefers the correct translation.

    Found by showing it many: what is random decides for one translation or for the other.
    """
    folder = tmp_path_factory.mktemp("telling")
    tries = {f"try-{n}": row for n, row in enumerate(30 * np.random.default_rng(0).normal(size=(40, DIM)))}
    translator = Translator.from_dir(models / "gated", write_store(folder / "tries", tries))
    rows = {}
    for item in ITEMS:
        names, num = list(tries), len(tries)
        both = [item.correct] * num + [item.incorrect] * num
        scores = score_pairs(translator, [item.source] * (2 * num), both, [*names, *names])
        margins = [a.mean_log_prob - b.mean_log_prob for a, b in zip(scores[:num], scores[num:], strict=True)]
        assert max(margins) > 0, "no image tells these apart: try more"
        rows[item.image] = tries[names[int(np.argmax(margins))]]
    return write_store(folder / "store", rows)


def assert_one_of_two(result: CommuteResult) -> None:
    """The law of a model that does not see what tells mirrored items apart."""
    hits = result.choices.hits
    assert [hits[one] + hits[other] for one, other in result.choices.pairs] == [1] * len(result.choices.pairs)
    assert result.choices.pair_accuracy is not None
    assert result.choices.pair_accuracy.value == 0


def test_a_text_only_model_gets_exactly_half(text_only: Translator) -> None:
    """Wherever the mirrored items stand, and whatever lines come between them."""
    order = np.random.default_rng(3).permutation(len(ITEMS))
    for items in (ITEMS, [ITEMS[n] for n in order]):
        result = judge(text_only, items, max_tokens=40)
        assert_one_of_two(result)
        assert result.choices.accuracy.value == 50
        assert result.blank is None
        assert (result.num_items, result.unmirrored, result.choices.ties) == (8, 0, 0)


@pytest.mark.parametrize("target", ["de", "fr"])
def test_a_text_only_model_gets_half_of_the_mirrored_items_of_commute(text_only: Translator, target: str) -> None:
    folder = data_root() / "commute" / f"en-{target}"
    if not folder.is_dir():
        pytest.skip(f"CoMMuTE is not at {folder}: set MMT_DATA")
    assert commute_languages(folder) == ("en", target)
    items = read_commute(folder)
    result = judge(text_only, items)
    assert (result.num_items, result.unmirrored) == {"de": (300, 0), "fr": (308, 4)}[target]
    assert_one_of_two(result)
    if target == "de":
        assert result.choices.accuracy.value == 50


def test_a_gated_model_that_is_shown_one_image_gets_exactly_half(models: Path, telling: FeatureStore) -> None:
    translator = Translator.from_dir(models / "gated", telling)
    result = judge(translator, ITEMS, [NAMES[number // 2 * 2] for number in range(len(ITEMS))], max_tokens=40)
    assert_one_of_two(result)


def test_a_model_that_looks_gets_more(models: Path, telling: FeatureStore) -> None:
    translator = Translator.from_dir(models / "gated", telling)
    order = np.random.default_rng(4).permutation(len(ITEMS))
    items = [ITEMS[n] for n in order]
    result = judge(translator, items, find_images(items, None, telling).images)
    assert result.choices.accuracy.value == 100
    assert result.choices.pair_accuracy is not None
    assert result.choices.pair_accuracy.value == 100
    assert result.choices.interval[0] > 50
    assert result.blank is not None
    assert_one_of_two(replace(result, choices=result.blank))
    exchanged = judge(translator, ITEMS, [NAMES[number ^ 1] for number in range(len(ITEMS))])
    assert exchanged.choices.accuracy.value == 0


def test_equal_translations_are_a_tie_and_wrong(text_only: Translator) -> None:
    result = judge(text_only, mirrored([("A dog.", "Hund", " Hund "), READINGS[0]]))
    assert result.choices.hits[:2] == [False, False]
    assert (result.choices.ties, result.choices.accuracy.value) == (2, 25)


def test_items_whose_translations_are_the_same_are_counted_and_bound_the_accuracy(text_only: Translator) -> None:
    items = mirrored([("A dog.", "Hund", " Hund "), *READINGS])
    result = judge(text_only, items)
    assert result.choices.same == [0, 1]  # to the model: it is the pieces that are compared
    assert result.choices.best_accuracy == 80
    assert result.choices.accuracy.value == 40  # half of those that can be right
    assert result.choices.best_accuracy == 80
    assert judge(text_only, ITEMS).choices.best_accuracy == 100


def test_the_command_lists_the_items_whose_translations_are_the_same(models: Path, tmp_path: Path) -> None:
    items = [*ITEMS, replace(ITEMS[0], incorrect=ITEMS[0].correct), replace(ITEMS[1], incorrect=ITEMS[1].correct)]
    folder, output = write_commute(tmp_path / "en-de", items), tmp_path / "result.json.gz"
    said = run(models / "none", folder, "--output", output)
    assert "no choice is right: item 9, 10." in said
    assert re.search(r"best reachable accuracy\W+80\.0", said)
    value = json.loads(gzip.decompress(output.read_bytes()))
    assert value["items_with_the_same_translations"] == [9, 10]
    assert value["systems"][0]["best_accuracy"] == pytest.approx(80)
    assert "reachable" not in run(models / "none", write_commute(tmp_path / "plain", ITEMS))


def test_mirrored_items_are_found_wherever_they_stand() -> None:
    assert mirrored_pairs(ITEMS) == [(0, 1), (2, 3), (4, 5), (6, 7)]
    assert mirrored_pairs([*ITEMS[::2], *ITEMS[1::2]]) == [(0, 4), (1, 5), (2, 6), (3, 7)]
    twice = [ITEMS[0], ITEMS[1], ITEMS[0], ITEMS[1]]
    assert mirrored_pairs(twice) == [(0, 1), (2, 3)]
    almost = replace(ITEMS[1], correct=ITEMS[1].correct + "!")
    assert mirrored_pairs([ITEMS[0], almost, ITEMS[2]]) == []
    assert mirrored_pairs([ITEMS[0], ITEMS[0], ITEMS[1]]) == [(1, 2)]


def test_items_without_a_mirror_are_counted_and_in_no_pair(text_only: Translator) -> None:
    result = judge(text_only, [*ITEMS, replace(ITEMS[0], correct="Hund")])
    assert (result.num_items, result.unmirrored, len(result.choices.pairs)) == (9, 1, 4)
    alone = judge(text_only, ITEMS[::2])
    assert (alone.choices.pair_accuracy, alone.choices.pair_interval) == (None, None)


def test_what_cannot_be_judged_is_refused(models: Path, text_only: Translator, telling: FeatureStore) -> None:
    gated = Translator.from_dir(models / "gated", telling)
    with pytest.raises(MMTError, match="none are given"):
        judge(gated, ITEMS)
    with pytest.raises(MMTError, match="one image an item, found 2 for 8"):
        judge(gated, ITEMS, NAMES[:2])
    with pytest.raises(MMTError, match="text only"):
        judge(text_only, ITEMS, NAMES)
    with pytest.raises(MMTError, match="expected items"):
        judge(text_only, [])


@pytest.mark.parametrize("side", ["source", "correct", "incorrect"])
@pytest.mark.parametrize("text", ["", "Hund " * 600])
def test_an_item_that_cannot_be_scored_is_named(text_only: Translator, side: str, text: str) -> None:
    items = [Item("A", "B", "C", "1"), replace(Item("A", "B", "C", "2"), **{side: text})]
    with pytest.raises(
        MMTError, match=f"contrastive pairs: item 2: expected an? {side}.* of 1 to .* pieces, found"
    ):
        judge(text_only, items)


def test_a_folder_is_read_as_published(tmp_path: Path) -> None:
    folder = write_commute(tmp_path / "en-de", ITEMS)
    assert read_commute(folder) == ITEMS
    assert commute_languages(folder) == ("en", "de")


@pytest.mark.parametrize(
    ("name", "translations"),
    [
        ("en-ar", ("الخفاش", "المضرب ")), ("en-cs", ("Netopýr", "Pálka")), ("en-de", ("Fledermaus", "Schläger")),
        ("en-fr", ("La chauve-souris", "La batte")), ("en-fr_dev", ("La chauve-souris", "La batte")),
        ("en-ru", ("Летучая мышь", "Бита")), ("en-zh", ("蝙蝠", "球棒")),
    ],
)  # fmt: skip
def test_all_languages_of_commute_are_read(tmp_path: Path, name: str, translations: tuple[str, str]) -> None:
    """As published: no end of line at the end, spaces at the end of lines, .jpg beside .jpeg; a folder of dev."""
    target = name[3:5]
    one, other = translations
    columns = {
        "src.en": ["The bat. ", "The bat."],
        f"correct.{target}": [one, other],
        f"incorrect.{target}": [other, one],
        "img.order": ["09c05862.jpeg", "b43de3a9.jpg"],
    }
    (tmp_path / name).mkdir()
    for file, lines in columns.items():
        (tmp_path / name / file).write_text("\n".join(lines))
    items = read_commute(tmp_path / name)
    assert commute_languages(tmp_path / name) == ("en", target)
    assert [(item.source, item.correct, item.incorrect) for item in items] == [
        ("The bat.", one.strip(), other.strip()),
        ("The bat.", other.strip(), one.strip()),
    ]
    assert [item.image for item in items] == columns["img.order"]
    assert mirrored_pairs(items) == [(0, 1)]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("incorrect.de", "a\nb\n", "src.en has 8 lines and incorrect.de has 2"),
        ("img.order", "a.jpg", "src.en has 8 lines and img.order has 1"),
        ("correct.de", "a\n\nb\nc\nd\ne\nf\ng\n", "correct.de: line 2 is blank"),
        ("correct.de", None, "expected one file correct.LANGUAGE, found none"),
        ("img.order", None, "img.order: no such file"),
        ("src.fr", "a", "expected one file src.LANGUAGE, found src.en, src.fr"),
    ],
)
def test_a_bad_folder_is_refused(tmp_path: Path, name: str, text: str | None, said: str) -> None:
    folder = write_commute(tmp_path / "en-de", ITEMS)
    (folder / name).unlink() if text is None else (folder / name).write_text(text)
    with pytest.raises(MMTError, match=said):
        read_commute(folder)


def test_the_folder_above_says_which_are_inside(tmp_path: Path) -> None:
    write_commute(tmp_path / "en-de", ITEMS)
    with pytest.raises(MMTError, match="Name one of en-de in it"):
        read_commute(tmp_path)
    (tmp_path / "en-de" / "incorrect.de").rename(tmp_path / "en-de" / "incorrect.fr")
    with pytest.raises(MMTError, match=r"correct\.de and incorrect\.fr"):
        commute_languages(tmp_path / "en-de")


def test_missing_images_are_refused_or_leave_their_items_out(tmp_path: Path) -> None:
    for name in NAMES[:5]:
        Image.new("RGB", (8, 8), (9, 9, 9)).save(tmp_path / name)
    (tmp_path / NAMES[5]).write_bytes(b"no picture")
    items = [*ITEMS, replace(ITEMS[0], image="../0-one.jpg")]
    with pytest.raises(MMTError, match=r"4 of 9 images are missing, the first is '2-other\.jpg' of item 6"):
        find_images(items, tmp_path)
    found = find_images(items, tmp_path, None, "skip")
    assert found.items == ITEMS[:5]
    assert found.images == [tmp_path / name for name in NAMES[:5]]
    assert (found.missing, found.left_out) == ([*NAMES[5:], "../0-one.jpg"], 4)
    with pytest.raises(MMTError, match=r"4 of 4 images are missing"):
        find_images(items[5:], tmp_path, None, "skip")


def contrastive(folder: Path, **changes: str) -> Path:
    rows = [
        {
            "id": str(number), "image": item.image, "source": item.source, "target": item.correct,
            "has_image": True, "contrast": item.incorrect,
        }
        for number, item in enumerate(ITEMS)
    ]  # fmt: skip
    rows[2] |= changes
    plain = [{name: value for name, value in row.items() if name != "contrast"} for row in rows]
    write_dataset(folder, DatasetInfo("tiny", "en", "de", ""), {"contrastive": rows, "test": plain})
    return folder


def test_a_split_with_wrong_translations_is_read_too(tmp_path: Path) -> None:
    data = contrastive(tmp_path / "data")
    assert read_contrastive(data, "contrastive") == ITEMS
    with pytest.raises(MMTError, match="no column 'contrast'"):
        read_contrastive(data, "test")
    with pytest.raises(MMTError, match="row 3 has no two translations"):
        read_contrastive(contrastive(tmp_path / "gap", contrast=""), "contrastive")


def run(*arguments: object) -> str:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(main, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*arguments: object) -> str:
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1), result.output
    return result.stderr


def test_the_command_compares_two_models(models: Path, telling: FeatureStore, tmp_path: Path) -> None:
    folder, output = write_commute(tmp_path / "en-de", ITEMS), tmp_path / "result.json"
    given = ("--images", telling.folder, "--against", models / "none")
    said = run(models / "gated", folder, *given, "--output", output)
    for part in ("100.0 [67.6, 100.0]", "50.0 [21.5, 78.5]", "4 pairs", "by construction", "alone 4,"):
        assert part in said
    value = json.loads(output.read_text())
    assert value["mcnemar"] == {"only_first": 4, "only_second": 0, "p_value": 0.125}
    gated, text = value["systems"]
    assert (gated["accuracy"], gated["pair_accuracy"], gated["without_images"]["accuracy"]) == (100, 100, 50)
    assert (text["accuracy"], text["pair_accuracy"], text["without_images"]) == (50, 0, None)
    costs = zip(gated["perplexity_correct"], gated["perplexity_incorrect"], strict=True)
    assert gated["hits"] == [correct < incorrect for correct, incorrect in costs]
    assert value["item_images"] == NAMES
    assert sorted(path.name for path in tmp_path.iterdir()) == ["en-de", "result.json"]


def test_the_command_reads_prepared_data_and_leaves_out_what_has_no_image(
    models: Path, telling: FeatureStore, tmp_path: Path
) -> None:
    data = contrastive(tmp_path / "data", image="lost.jpg")
    given = (models / "gated", data, "--split", "contrastive", "--images", telling.folder)
    assert "1 of 8 images are missing, the first is 'lost.jpg' of item 3" in refused(*given)
    said = run(*given, "--missing-images", "skip", "--output", tmp_path / "result.json")
    assert "Left out: 1 item, whose image is missing: 'lost.jpg'." in said
    value = json.loads((tmp_path / "result.json").read_text())
    assert (value["items_left_out"], value["images_missing"]) == (1, ["lost.jpg"])
    (system,) = value["systems"]
    assert (system["items"], system["items_not_mirrored"], system["pairs"]) == (7, 1, 3)


def test_a_text_only_model_needs_no_images(models: Path, tmp_path: Path) -> None:
    folder = write_commute(tmp_path / "en-de", ITEMS)
    assert "by construction" in run(models / "none", folder)
    assert "Leave it out" in refused(models / "none", folder, "--images", tmp_path)


def test_bad_use_is_one_line(models: Path, telling: FeatureStore, tmp_path: Path) -> None:
    folder, french = write_commute(tmp_path / "en-de", ITEMS), write_commute(tmp_path / "en-fr", ITEMS, "fr")
    data = contrastive(tmp_path / "data")
    assert "expected en-de" in refused(models / "none", french)
    assert "--images" in refused(models / "gated", folder)
    assert "found a file" in refused(models / "gated", folder, "--images", folder / "img.order")
    assert "--split contrastive" in refused(models / "none", data)
    assert "no model folder" in refused(tmp_path, folder)
    assert "no such file or folder" in refused(models / "gated", folder, "--images", tmp_path / "none")


def test_it_says_how_it_is_used() -> None:
    command = [sys.executable, "-m", "eval.commute", "--help"]
    root = Path(__file__).parents[2]
    done = warm.run(command, capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.startswith("Usage: python -m eval.commute")
