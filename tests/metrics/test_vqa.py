"""Answers to questions: VQA's own normal form and accuracy, priors, and the table of scores."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from eval.vqa import evaluate, main
from mmt.data.dataset import DatasetInfo, write_dataset
from mmt.errors import MMTError
from mmt.metrics.vqa import answer_accuracy, normalise_answer, prior_answers

# What the official vqaEval.py makes of each, run once.
NORMAL_FORMS = {
    "The Dog": "dog",
    "a dog and an apple": "dog and apple",
    "Two": "2",
    "none": "0",
    "eleven": "eleven",
    "black-white": "black white",
    "black - white": "black white",
    "red, blue": "red blue",
    "red,blue": "red blue",
    "1,000": "1000",
    "1,000-2": "10002",
    "yes.": "yes",
    "3.5": "3.5",
    "no. 5": "no 5",
    "dont": "don't",
    "couldnt've": "couldn't've",
    "couldn'tve": "couldn't've",
    "ow's'at": "'ow's'at",
    "let's": "let's",
    "lets": "lets",
    "somebody'd": "somebodyd",
    "weve": "we've",
    "shed": "shed",
    "man's": "man's",
    "what?!": "what",
    "a/b": "b",
    "one\ttwo\n": "1 2",
    "." * 33: ".",
    "": "",
}


@pytest.mark.parametrize(("answer", "form"), NORMAL_FORMS.items())
def test_normal_form_is_the_official_one(answer: str, form: str) -> None:
    assert normalise_answer(answer) == form


def by_subsets(answer: str, answers: list[str]) -> float:
    """The published definition, word for word."""
    subsets = list(itertools.combinations(answers, len(answers) - 1))
    return sum(min(subset.count(answer) / 3, 1) for subset in subsets) / len(subsets)


@pytest.mark.parametrize("hits", range(11))
def test_accuracy_is_the_mean_over_subsets_of_nine(hits: int) -> None:
    answers = ["cat"] * hits + ["dog", "bird"] * 5
    assert answer_accuracy("cat", answers[:10]) == pytest.approx(by_subsets("cat", answers[:10]))


def test_accuracy_of_ten_annotators_as_published() -> None:
    """0, 30, 60, 90, 100 % for 0 to 4 annotators that gave the answer."""
    found = [answer_accuracy("cat", ["cat"] * hits + ["dog"] * (10 - hits)) for hits in range(5)]
    assert found == pytest.approx([0, 0.3, 0.6, 0.9, 1])


def test_one_answer_is_right_or_wrong_after_normalisation() -> None:
    assert answer_accuracy("The two dogs.", ["2 dogs"]) == 1
    assert answer_accuracy("dog", ["dogs"]) == 0


# Of an answer and ten annotators' what the official vqaEval.py (commit a013f00) makes of it, run once.
ACCURACIES = [
    ("yes", ["yes"] * 10, 1.0),
    ("Yes", ["yes"] * 10, 0.0),
    ("yes", ["Yes"] * 10, 0.0),
    (" yes\n", ["yes"] * 10, 1.0),
    ("yes", ["yes "] * 5 + ["\tyes"] * 5, 1.0),
    ("Yes", ["yes "] * 5 + ["\tyes"] * 5, 0.0),
    ("yes.", ["yes"] * 10, 0.0),
    ("2", ["two"] * 10, 0.0),
    ("TWO", ["two"] * 10, 0.0),
    ("two", ["the two"] * 10, 0.0),
    ("Yes", ["yes"] * 9 + ["Yes"], 1.0),
    ("Yes", ["yes"] * 9 + ["no"], 1.0),
    ("2", ["two"] * 9 + ["the two"], 1.0),
    ("The two!", ["two"] * 3 + ["three"] * 7, 0.9),
    ("two", ["2"] + ["two"] + ["three"] * 8, 0.6),
    ("dont know", ["don't know"] + ["unknown"] * 9, 0.3),
    ("1,000", ["1000", "1,000"] + ["many"] * 8, 0.6),
    ("", ["a"] * 2 + ["cat"] * 8, 0.6),
    ("bird", ["cat"] * 10, 0.0),
]


@pytest.mark.parametrize(("answer", "answers", "accuracy"), ACCURACIES)
def test_accuracy_is_the_official_one(answer: str, answers: list[str], accuracy: float) -> None:
    assert answer_accuracy(answer, answers) == pytest.approx(accuracy)


def test_no_annotator_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one"):
        answer_accuracy("dog", [])


def row(
    question: str, answer: str, kind: str, number: int = 0, answers: list[str] | None = None
) -> dict[str, Any]:
    return {
        "id": f"{question}-{number}", "image": f"{number // 2}.jpg", "source": question, "target": answer,
        "has_image": True, "kind": kind, "answers": answers or [answer],
    }  # fmt: skip


def test_prior_is_of_the_question_then_of_its_kind_then_of_all() -> None:
    prior = prior_answers(
        [
            row("what colour is the car?", "red", "colour"),
            row("what colour is the cup?", "blue", "colour"),
            row("what colour is the cup?", "blue", "colour"),
            row("who runs?", "man", "who"),
            row("who sits?", "man", "who"),
            row("who stands?", "man", "who"),
        ]
    )
    assert prior.by_question("what colour is the car?", "colour") == "red"
    assert prior.by_question("what colour is the sky?", "colour") == prior.by_kind("colour") == "blue"
    assert prior.by_question("where?", "where") == prior.by_kind("where") == prior.overall == "man"


def test_prior_does_not_hang_on_the_order_of_rows() -> None:
    rows = [row("q", answer, "k") for answer in ("b", "a", "c")]
    assert {prior_answers(order).overall for order in itertools.permutations(rows)} == {"a"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight questions about four pictures; the last answer is not in training."""
    folder = tmp_path_factory.mktemp("vqa") / "data"
    train = [row("what colour?", "red", "colour", n) for n in range(3)]
    train += [row("who?", "man", "who", 3), row("who?", "dog", "who", 4), row("who?", "dog", "who", 5)]
    answers = ["red", "red", "blue", "red"]
    test = [row("what colour?", answer, "colour", n) for n, answer in enumerate(answers)]
    test += [row("who?", answer, "who", n) for n, answer in enumerate(["dog", "man", "man", "a cat"], 4)]
    write_dataset(folder, DatasetInfo("toy", "en", "en", str(folder)), {"train": train, "test": test})
    return folder


def answers_file(path: Path, *answers: str) -> Path:
    path.write_text("".join(f"{answer}\n" for answer in answers), encoding="utf-8")
    return path


RIGHT = ("red", "red", "blue", "red", "dog", "man", "man", "cat")


def test_scores_are_counted_by_kind_and_by_what_training_knows(data: Path, tmp_path: Path) -> None:
    file = answers_file(tmp_path / "a.txt", *RIGHT[:6], "boy", "The cat.")
    result = evaluate(data, "test", tmp_path / "out", {"a": [file]})
    groups = result["groups"]
    assert {name: group["questions"] for name, group in groups.items()} == {
        "all": 8, "colour": 4, "who": 4, "answer seen in training": 6, "answer not seen in training": 2,
    }  # fmt: skip
    found = {name: group["accuracy"]["a"]["mean"] for name, group in groups.items()}
    assert found == pytest.approx(
        {
            "all": 7 / 8,
            "colour": 1,
            "who": 3 / 4,
            "answer seen in training": 5 / 6,
            "answer not seen in training": 1,
        }
    )
    assert result["not_seen_in_training"] == 2 / 8
    assert groups["all"]["accuracy"]["prior by kind"]["mean"] == 4 / 8  # red, red, red, dog
    assert json.loads((tmp_path / "out" / "result.json").read_text())["groups"]["all"]["questions"] == 8


def test_a_name_given_again_is_another_seed(data: Path, tmp_path: Path) -> None:
    right = answers_file(tmp_path / "right.txt", *RIGHT)
    wrong = answers_file(tmp_path / "wrong.txt", *["no"] * 8)
    half = answers_file(tmp_path / "half.txt", *RIGHT[:4], *["no"] * 4)
    systems = {"first": [half], "second": [right, wrong, right]}
    result = evaluate(data, "test", tmp_path / "out", systems)
    found = result["groups"]["all"]["accuracy"]["second"]
    assert found["seeds"] == [1, 0, 1]
    assert found["mean"] == pytest.approx(2 / 3)
    assert found["std"] == pytest.approx((1 / 3) ** 0.5)
    assert result["groups"]["all"]["minus_first"]["second"]["mean"] == pytest.approx(2 / 3 - 1 / 2)
    assert list(result["groups"]["all"]["minus_first"]) == ["second"]


def test_intervals_draw_pictures_and_not_questions(data: Path, tmp_path: Path) -> None:
    """Half of each picture's questions are right, or both in half of the pictures: one mean, two certainties."""
    halves = answers_file(tmp_path / "halves.txt", "red", "x", "blue", "x", "dog", "x", "man", "x")
    pairs = answers_file(tmp_path / "pairs.txt", "red", "red", "x", "x", "dog", "man", "x", "x")
    result = evaluate(data, "test", tmp_path / "out", {"halves": [halves], "pairs": [pairs]})
    found = result["groups"]["all"]["accuracy"]
    assert found["halves"]["interval"] == (0.5, 0.5)
    assert found["pairs"]["interval"] == (0, 1)
    assert found["pairs"]["mean"] == found["halves"]["mean"] == 0.5


def test_a_single_picture_has_no_interval(data: Path, tmp_path: Path) -> None:
    result = evaluate(data, "test", tmp_path / "out", {"a": [answers_file(tmp_path / "a.txt", *RIGHT)]})
    unseen = result["groups"]["answer not seen in training"]["accuracy"]["a"]["interval"]
    assert unseen is not None
    folder = tmp_path / "one"
    rows = [row("who?", "man", "who", number) for number in range(2)]
    write_dataset(folder, DatasetInfo("one", "en", "en", ""), {"train": rows, "test": rows})
    file = answers_file(tmp_path / "b.txt", "man", "man")
    result = evaluate(folder, "test", tmp_path / "out", {"a": [file]})
    assert result["groups"]["all"]["accuracy"]["a"]["interval"] is None


def test_table_names_every_system_and_kind(data: Path, tmp_path: Path) -> None:
    right = answers_file(tmp_path / "right.txt", *RIGHT)
    wrong = answers_file(tmp_path / "wrong.txt", *["no"] * 8)
    given = ["--system", f"[text]={wrong}", "--system", f"gated={right}", "--system", f"gated={wrong}"]
    result = CliRunner().invoke(main, [str(data), "test", str(tmp_path / "out"), *given])
    assert result.exit_code == 0, result.output
    for word in ("[text]", "gated", "colour", "who", "50.0 ± 70.7", "gated minus [text]: +50.0 points"):
        assert word in result.output


def test_files_of_another_length_are_refused(data: Path, tmp_path: Path) -> None:
    file = answers_file(tmp_path / "a.txt", *RIGHT[:7])
    with pytest.raises(MMTError, match=r"expected 8 lines.*has 7"):
        evaluate(data, "test", tmp_path / "out", {"a": [file]})
    assert not (tmp_path / "out").exists()


def test_data_without_kinds_is_refused(world: Path, tmp_path: Path) -> None:
    with pytest.raises(MMTError, match="no column 'kind'"):
        evaluate(world / "data", "test", tmp_path / "out", {})


@pytest.mark.parametrize("given", ["a.txt", "=a.txt", "a=", "prior by kind=a.txt"])
def test_a_system_without_name_and_file_is_refused(given: str, data: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, [str(data), "test", str(tmp_path), "--system", given])
    assert result.exit_code == 2
    assert "expected NAME=FILE" in result.output


def test_a_file_given_twice_for_one_system_is_refused(data: Path, tmp_path: Path) -> None:
    file = answers_file(tmp_path / "right.txt", *RIGHT)
    given = ["--system", f"gated={file}", "--system", f"gated={file}"]
    result = CliRunner().invoke(main, [str(data), "test", str(tmp_path / "out"), *given])
    assert result.exit_code == 2
    assert "given twice" in result.output
