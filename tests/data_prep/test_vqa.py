"""Questions about pictures -> datasets: by image apart, and about pictures that are there to answer them."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from data_prep import vqa_pictures
from data_prep.pictures.scenes import DRAWINGS
from data_prep.vqa import kind_of, main, multi30k_vqa, put_together, split_of
from data_prep.vqa_pictures import COUNTS, PER_PICTURE, PLURALS, SIZES, THINGS, WEATHER, Picture, plan
from mmt.data.dataset import read_info, read_split
from mmt.errors import MMTError
from mmt.metrics.vqa import answer_accuracy, normalise_answer, prior_answers
from tests.worlds import data_root

REAL = data_root() / "multi30k_vqa" / "pairs.tsv.gz"
QUESTIONS = {
    "what color is the man's shirt?": "colour",
    "what is the color of the dog?": "colour",
    "how many dogs are there?": "number",
    "what is the number on the jersey?": "number",
    "who is colorful?": "who",
    "whose car is it?": "who",
    "what is the skier doing?": "doing",
    "what does the waterskier do?": "doing",
    "what do people hold in front of their faces?": "object",
    "where is the boy playing?": "where",
    "what colored thing is it?": "object",
    "how deep is the puddle?": "other",
}


@pytest.mark.parametrize(("question", "kind"), QUESTIONS.items())
def test_kind_is_what_the_question_begins_with(question: str, kind: str) -> None:
    assert kind_of(question) == kind


def test_tokens_are_put_together() -> None:
    assert put_together("what color are the girls ' shirts ?") == "what color are the girls' shirts?"
    assert put_together("the man 's shirt , red ; blue") == "the man's shirt, red; blue"
    assert put_together('" where are you ? "') == '"where are you?"'
    assert put_together("stone & amp ; tile") == "stone & tile"


def test_split_hangs_on_the_image_alone() -> None:
    names = [f"{number}.jpg" for number in range(3000)]
    counts = Counter(map(split_of, names))
    assert counts["train"] == pytest.approx(2400, abs=100)
    assert counts["val"] == pytest.approx(300, abs=60)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Thirty questions, of images 0.jpg to 29.jpg; every third has no image in ``images``."""
    (tmp_path / "images").mkdir()
    lines = ["line\timage\tquestion\tanswer"]
    for number in range(30):
        lines.append(f"{number}\t{number}.jpg\twhat color is the man 's hat {number} ?\tred , white and blue .")
        if number % 3:
            (tmp_path / "images" / f"{number}.jpg").touch()
    path = tmp_path / "pairs.tsv.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    return path


def run(*arguments: object) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code in (0, 2), result.output
    return result.output


def rows_of(folder: Path) -> dict[str, list[dict[str, Any]]]:
    return {split: list(read_split(folder, split)) for split in read_info(folder).splits}


def test_questions_without_their_image_are_left_out_and_counted(pairs: Path, tmp_path: Path) -> None:
    said = run("multi30k-vqa", tmp_path / "out", "--pairs", pairs, "--images", tmp_path / "images")
    rows = [row for split in rows_of(tmp_path / "out").values() for row in split]
    assert {row["image"] for row in rows} == {f"{number}.jpg" for number in range(30) if number % 3}
    assert all(row["has_image"] for row in rows)
    assert sum(int(line.split()[1]) for line in said.splitlines() if line.endswith("left out")) == 10
    assert rows[0] == {
        "id": rows[0]["id"], "image": f"{rows[0]['id']}.jpg", "has_image": True, "kind": "colour",
        "source": f"what color is the man's hat {rows[0]['id']}?", "target": "red, white and blue",
        "answers": ["red, white and blue"], "label": "red white and blue",
    }  # fmt: skip


def test_questions_without_their_image_can_be_kept(pairs: Path, tmp_path: Path) -> None:
    run("multi30k-vqa", tmp_path / "out", "--pairs", pairs, "--images", tmp_path / "images", "--keep-missing")
    rows = [row for split in rows_of(tmp_path / "out").values() for row in split]
    assert {row["image"]: row["has_image"] for row in rows} == {f"{n}.jpg": bool(n % 3) for n in range(30)}


def test_images_keep_their_split_whatever_else_there_is(pairs: Path, tmp_path: Path) -> None:
    header, *lines = gzip.decompress(pairs.read_bytes()).decode().split("\n")
    other = tmp_path / "other.tsv.gz"
    lines = [f"9{line.replace('color', 'size')}" for line in lines[::-2]]
    other.write_bytes(gzip.compress("\n".join([header, *lines]).encode()))

    def splits(path: Path) -> dict[str, str]:
        return {row["image"]: split for split, rows in multi30k_vqa(path).items() for row in rows}

    assert splits(other).items() <= splits(pairs).items()


@pytest.mark.parametrize(
    ("text", "said"),
    [("line\timage\tquestion", "line 1: expected the columns"),
     ("line\timage\tquestion\tanswer\n0\ta.jpg\twho ?", "line 2: expected 4 cells")],
)  # fmt: skip
def test_a_table_of_another_form_is_refused(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    with pytest.raises(MMTError, match=said):
        multi30k_vqa(path)


@pytest.mark.skipif(not REAL.is_file(), reason=f"Multi30K-VQA is not at {REAL}; set MMT_DATA")
def test_the_real_questions_come_whole_and_split_by_image() -> None:
    rows = multi30k_vqa(REAL)
    assert sum(map(len, rows.values())) == 28500
    images = [{row["image"] for row in split} for split in rows.values()]
    assert sum(map(len, images)) == len(set.union(*images))
    everything = [row for split in rows.values() for row in split]
    assert all(row["target"] and row["label"] for row in everything)
    assert not [row for row in everything if " ?" in row["source"] or "& amp" in row["source"]]
    assert sum(row["kind"] == "other" for row in everything) < 10


ANNOTATORS = ["net"] * 9 + ["a net"]


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """VQA v2's files: one question about one training image, two about each of eight validation images."""
    images = {"train2014": [9], "val2014": list(range(8))}
    for subset, numbers in images.items():
        (tmp_path / subset).mkdir()
        questions, annotations = [], []
        for number in numbers:
            (tmp_path / subset / f"COCO_{subset}_{number:012d}.jpg").touch()
            for place in range(2):
                common = {"image_id": number, "question_id": number * 1000 + place}
                questions.append({**common, "question": "What is  this? "})
                annotations.append(
                    {
                        **common,
                        "question_type": "what is this",
                        "answer_type": "other",
                        "multiple_choice_answer": "net",
                        "answers": [{"answer": answer, "answer_id": n} for n, answer in enumerate(ANNOTATORS)],
                    }
                )
        (tmp_path / f"q_{subset}.json").write_text(json.dumps({"questions": questions}))
        of_subset = {"data_subtype": subset, "annotations": annotations}
        (tmp_path / f"a_{subset}.json").write_text(json.dumps(of_subset))
    return tmp_path


def vqa2_options(coco: Path, *subsets: str) -> list[object]:
    options: list[object] = ["--images", coco]
    for subset in subsets:
        options += ["--questions", coco / f"q_{subset}.json", "--annotations", coco / f"a_{subset}.json"]
    return options


def test_vqa2_keeps_ten_answers_and_splits_the_validation_by_image(coco: Path) -> None:
    run("vqa2", coco / "out", *vqa2_options(coco, "train2014", "val2014"))
    rows = rows_of(coco / "out")
    assert [row["image"] for row in rows["train"]] == ["train2014/COCO_train2014_000000000009.jpg"] * 2
    val, test = ({row["image"] for row in rows[split]} for split in ("val", "test"))
    assert len(val | test) == 8
    assert val
    assert test
    assert not val & test
    first = rows["train"][0]
    assert first["answers"] == ANNOTATORS
    assert (first["source"], first["target"], first["label"]) == ("What is this?", "net", "net")
    assert (first["kind"], first["question_type"]) == ("other", "what is this")
    assert first["has_image"]


def test_vqa2_without_a_questions_annotation_is_refused(coco: Path) -> None:
    options = vqa2_options(coco, "train2014")
    said = run("vqa2", coco / "out", *options, "--questions", coco / "q_val2014.json")
    assert "no annotation of question 0. Give its file with --annotations" in said


def test_vqa2_files_in_each_others_place_are_refused(coco: Path) -> None:
    options = ["--questions", coco / "a_val2014.json", "--annotations", coco / "q_val2014.json"]
    assert "not the official file (KeyError" in run("vqa2", coco / "out", "--images", coco, *options)


def gqa_file(path: Path) -> Path:
    item = {"question": "Is it red?", "imageId": "n1", "answer": "yes", "types": {"structural": "verify"}}
    path.write_text(json.dumps({"07": item, "08": {**item, "imageId": "n2"}}))
    return path


def test_gqa_is_split_by_its_files_names(tmp_path: Path) -> None:
    (tmp_path / "n1.jpg").touch()
    names = ("train_balanced_questions.json", "testdev_balanced_questions.json")
    options = [text for name in names for text in ("--questions", gqa_file(tmp_path / name))]
    run("gqa", tmp_path / "out", "--images", tmp_path, *options)
    rows = rows_of(tmp_path / "out")
    assert list(rows) == ["train", "test"]
    assert rows["test"] == [
        {
            "id": "07",
            "image": "n1.jpg",
            "source": "Is it red?",
            "target": "yes",
            "has_image": True,
            "kind": "verify",
            "answers": ["yes"],
            "label": "yes",
        }
    ]
    said = run("gqa", tmp_path / "out", "--images", tmp_path, "--questions", gqa_file(tmp_path / "my.json"))
    assert "begins with train_, val_ or testdev_" in said


@pytest.fixture(scope="module")
def full() -> dict[str, list[Picture]]:
    return plan(1, SIZES)


def is_true(text: str, answer: str, picture: Picture) -> bool:
    """Whether the answer is right, read off the scene."""
    scene, thing = picture.scene, picture.thing
    said = PLURALS[thing] if scene.count > 1 else thing
    words = text.rstrip("?").split()
    if text in ("What is in the picture?", "What can you see?"):
        return answer == said
    if "colour" in words:
        return thing in words and answer == scene.colour
    if words[:2] == ["How", "many"]:
        return words[2] == PLURALS[thing] and answer == COUNTS[scene.count]
    if words[0] == "Where":
        indoors = scene.place in ("room", "table")
        ground = {"meadow": "grass", "sand": "sand", "street": "street"}.get(scene.place)
        return text.endswith(f"the {said}?") and answer == ("in the room" if indoors else f"on the {ground}")
    if "weather" in words:
        return answer == WEATHER[scene.weather]
    if "night" in words:
        return answer == ("night" if scene.weather == "night" else "day")
    if text.endswith("in the picture?"):
        asked = text.removesuffix(" in the picture?").split(" there ")[1]
        return answer == ("yes" if asked in (thing, f"a {thing}", f"an {thing}") else "no")
    if "exactly" in words or "only" in words:
        number = next(number for number, word in COUNTS.items() if word in words)
        return answer == ("yes" if number == scene.count else "no")
    return words[0] == "Is" and thing in words and answer == ("yes" if words[-1] == scene.colour else "no")


def test_every_answer_is_true_of_its_picture(full: dict[str, list[Picture]]) -> None:
    for pictures in full.values():
        for picture in pictures:
            assert len(picture.questions) == PER_PICTURE
            for question in picture.questions:
                assert is_true(question.text, question.answer, picture), (question, picture)


def test_language_alone_answers_less_than_half(full: dict[str, list[Picture]]) -> None:
    rows = {
        split: [{"source": q.text, "target": q.answer, "kind": q.kind} for p in pictures for q in p.questions]
        for split, pictures in full.items()
    }
    prior = prior_answers(rows["train"])
    hits = [answer_accuracy(prior.by_question(r["source"], r["kind"]), [r["target"]]) for r in rows["test"]]
    assert 0.25 < sum(hits) / len(hits) < 0.4
    answers = Counter(row["target"] for row in rows["train"] if row["kind"] == "yes/no")
    assert answers["yes"] / answers.total() == pytest.approx(0.5, abs=0.03)


def test_no_question_of_the_test_asks_what_training_cannot_teach(full: dict[str, list[Picture]]) -> None:
    known = {normalise_answer(q.answer) for p in full["train"] for q in p.questions}
    assert {normalise_answer(q.answer) for p in full["test"] for q in p.questions} <= known


def test_no_scene_stands_in_two_splits(full: dict[str, list[Picture]]) -> None:
    scenes = [astuple(picture.scene) for pictures in full.values() for picture in pictures]
    assert len(scenes) == len(set(scenes)) == sum(SIZES.values()) // PER_PICTURE


def test_a_split_hangs_on_the_seed_and_its_own_size(full: dict[str, list[Picture]]) -> None:
    assert plan(1, {"val": SIZES["val"]})["val"] == full["val"]
    assert plan(2, {"val": SIZES["val"]})["val"] != full["val"]


def test_every_thing_has_a_drawing_and_a_name_of_its_own() -> None:
    assert set(THINGS) <= set(DRAWINGS)
    assert len(set(THINGS.values())) == len(THINGS)


def test_pictures_are_drawn_beside_their_questions(tmp_path: Path) -> None:
    sizes = {"train": 30, "val": 30, "test": 30}
    info = vqa_pictures.prepare(tmp_path / "out", 1, sizes, processes=1)
    again = vqa_pictures.prepare(tmp_path / "out", 1, sizes, processes=1)
    assert again.splits == info.splits
    rows = rows_of(tmp_path / "out")
    drawn = {path.name for path in (tmp_path / "out" / "images").iterdir()}
    assert drawn == {row["image"] for split in rows.values() for row in split}
    assert len(drawn) == 30
    assert {row["label"] for row in rows["test"]} == {normalise_answer(row["target"]) for row in rows["test"]}
    assert all(row["answers"] == [row["target"]] for row in rows["test"])
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_sizes_that_leave_a_picture_short_are_refused(tmp_path: Path) -> None:
    assert "--val must be at least 30 and a multiple of 3" in run("pictures", tmp_path / "out", "--val", "31")


def test_another_data_set_is_not_drawn_over(world: Path) -> None:
    assert "expected a new folder or an older pictures_vqa" in run("pictures", world / "data")
