"""Laws of BLEU with and without an image: a group's is of its lines alone, an interval of resampled lines."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from eval import bleu_by_image
from mmt.data.dataset import DatasetInfo, write_dataset
from mmt.errors import MMTError
from mmt.metrics.translation import corpus_scores

WORDS = ["Hund", "Mann", "Frau", "läuft", "über", "eine", "Wiese", "im", "roten", "Hemd"]


def sentences(generator: np.random.Generator, num: int) -> list[str]:
    return [" ".join(generator.choice(WORDS, size=generator.integers(5, 12))) + "." for _ in range(num)]


def with_errors(generator: np.random.Generator, lines: list[str], share: float) -> list[str]:
    """The lines with this share of the words replaced."""
    return [" ".join("falsch" if generator.random() < share else word for word in line.split()) for line in lines]


class World:
    """120 sentences, every third one with an image, and translations with 30 % and 10 % of wrong words."""

    def __init__(self, folder: Path) -> None:
        self.folder, generator = folder, np.random.default_rng(3)
        self.references = sentences(generator, 120)
        self.has_image = [number % 3 == 0 for number in range(120)]
        self.write("data", self.has_image)
        self.lines = {
            f"{name}{seed}": with_errors(generator, self.references, share)
            for name, share in (("text", 0.3), ("gated", 0.1))
            for seed in (1, 2)
        }
        for name, lines in self.lines.items():
            (folder / f"{name}.de").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def write(self, name: str, has_image: list[bool]) -> None:
        rows = [
            {"id": str(n), "image": f"{n}.jpg", "source": f"Sentence {n}.", "target": target, "has_image": seen}
            for n, (target, seen) in enumerate(zip(self.references, has_image, strict=True))
        ]
        write_dataset(self.folder / name, DatasetInfo("sentences", "en", "de", "images"), {"test": rows})

    def files(self, name: str) -> list[Path]:
        return [self.folder / f"{name}{seed}.de" for seed in (1, 2)]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_groups_bleu_is_that_of_its_lines_alone(world: World) -> None:
    systems = {name: world.files(name) for name in ("text", "gated")}
    result = bleu_by_image.evaluate(world.folder / "data", "test", world.folder / "out", systems)
    assert json.loads((world.folder / "out" / "result.json").read_text()) == json.loads(json.dumps(result))
    for group, wanted in (("all", {True, False}), ("with image", {True}), ("without image", {False})):
        chosen = [number for number, seen in enumerate(world.has_image) if seen in wanted]
        assert result["groups"][group]["sentences"] == len(chosen)
        references = [world.references[number] for number in chosen]
        for name in systems:
            alone = [
                corpus_scores([lines[number] for number in chosen], references, target_lang="de")["bleu"].value
                for lines in (world.lines[f"{name}1"], world.lines[f"{name}2"])
            ]
            assert result["groups"][group]["bleu"][name]["seeds"] == pytest.approx(alone)
        difference = result["groups"][group]["minus_first"]["gated"]
        low, high = difference["interval"]
        assert 0 < low < difference["mean"] < high


def test_the_interval_is_that_of_resampled_lines(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bleu_by_image, "RESAMPLES", 20)
    systems = {name: world.files(name) for name in ("text", "gated")}
    result = bleu_by_image.evaluate(world.folder / "data", "test", world.folder / "out", systems, seed=5)
    counts = np.random.default_rng(5).multinomial(120, np.full(120, 1 / 120), 20)
    draws: list[list[int]] = [np.repeat(range(120), of).tolist() for of in counts]

    def score(name: str, draw: list[int]) -> float:
        lines, references = ([lines[n] for n in draw] for lines in (world.lines[name], world.references))
        return corpus_scores(lines, references, target_lang="de", only=("bleu",))["bleu"].value

    means = [[np.mean([score(f"{name}{seed}", draw) for seed in (1, 2)]) for draw in draws] for name in systems]
    found = result["groups"]["all"]["minus_first"]["gated"]["interval"]
    assert found == pytest.approx(np.percentile(np.subtract(means[1], means[0]), [2.5, 97.5]))


def test_a_group_without_a_common_fourgram_is_smoothed_as_its_signature_says(world: World) -> None:
    lines = list(world.references)
    lines[0], lines[3] = "Der Hund und die Frau.", world.references[3].split()[0]
    (world.folder / "odd.de").write_text("".join(f"{line}\n" for line in lines))
    world.write("two", [number in {0, 3} for number in range(120)])
    result = bleu_by_image.evaluate(
        world.folder / "two", "test", world.folder / "out", {"text": [world.folder / "odd.de"]}
    )
    group = result["groups"]["with image"]
    alone = corpus_scores([lines[0], lines[3]], [world.references[0], world.references[3]], target_lang="de")
    assert 0 < group["bleu"]["text"]["mean"] == pytest.approx(alone["bleu"].value)
    assert result["signature"].split("|norm")[0] == alone["bleu"].signature.split("|norm")[0]


def test_a_small_group_has_no_interval(world: World) -> None:
    world.write("few", [number < 20 for number in range(120)])
    systems = {name: world.files(name) for name in ("text", "gated")}
    groups = bleu_by_image.evaluate(world.folder / "few", "test", world.folder / "out", systems)["groups"]
    assert groups["with image"]["minus_first"]["gated"]["interval"] is None
    assert groups["without image"]["minus_first"]["gated"]["interval"] is not None


def test_tokenised_text_gets_the_papers_bleu(world: World) -> None:
    world.references = [line.replace(".", " .").lower() for line in world.references]
    world.write("tokens", world.has_image)
    lines = [line.replace(".", " .").lower() for line in world.lines["gated1"]]
    (world.folder / "tokens.de").write_text("".join(f"{line}\n" for line in lines))
    result = bleu_by_image.evaluate(
        world.folder / "tokens", "test", world.folder / "out", {"gated": [world.folder / "tokens.de"]}
    )
    expected = corpus_scores(lines, world.references, target_lang="de", tokenized=True)["bleu_lc_tok"]
    assert result["groups"]["all"]["bleu"]["gated"]["mean"] == pytest.approx(expected.value)
    assert (result["metric"], result["signature"]) == (expected.name, expected.signature)
    with pytest.raises(MMTError, match=r"gated=.*gated1\.de: expected tokenised text, as .* found raw text"):
        bleu_by_image.evaluate(
            world.folder / "tokens", "test", world.folder / "out", {"gated": world.files("gated")}
        )


def test_a_system_and_itself_do_not_differ(world: World) -> None:
    systems = {"one": world.files("text"), "other": world.files("text")[::-1]}
    groups = bleu_by_image.evaluate(world.folder / "data", "test", world.folder / "out", systems)["groups"]
    for scores in groups.values():
        assert scores["minus_first"]["other"]["mean"] == pytest.approx(0)
        assert scores["minus_first"]["other"]["interval"] == pytest.approx((0, 0))


def test_the_command_prints_a_table(world: World) -> None:
    systems = [f"--system={name}={path}" for name in ("text", "gated") for path in world.files(name)]
    arguments = [str(world.folder / "data"), "test", str(world.folder / "out"), *systems]
    result = CliRunner().invoke(bleu_by_image.main, arguments, env={"COLUMNS": "100"})
    assert result.exit_code == 0, result.output
    lines = [line.split("│")[1:-1] for line in result.output.splitlines() if "│" in line]
    groups = json.loads((world.folder / "out" / "result.json").read_text())["groups"]
    for cells, (name, scores) in zip(lines, groups.items(), strict=True):
        texts = [f"{one['mean']:.1f} ± {one['std']:.1f}" for one in scores["bleu"].values()]
        difference = scores["minus_first"]["gated"]
        low, high = difference["interval"]
        expected = [
            name,
            str(scores["sentences"]),
            *texts,
            f"{difference['mean']:+.1f} ({low:+.1f} to {high:+.1f})",
        ]
        assert [cell.strip() for cell in cells] == expected
    one = CliRunner().invoke(bleu_by_image.main, [*arguments[:3], systems[0]])
    assert (one.exit_code, "Intervals" in one.output, "±" in one.output) == (0, False, False)


def test_bad_input_is_refused_before_anything_is_written(world: World) -> None:
    short = world.folder / "short.de"
    short.write_text("Hund.\n")
    world.write("seen", [True] * 120)
    world.write("unseen", [False] * 120)
    world.references[6] = " "
    world.write("blank", world.has_image)
    for data, path, message in (
        ("data", short, r"text=.*short\.de: expected 120 lines, one for each sentence of .*has 1\."),
        ("seen", world.files("text")[0], "an image for each sentence. Score them with mmt score"),
        ("unseen", world.files("text")[0], "sentences with an image, found none"),
        ("blank", world.files("text")[0], "row 7 has a blank reference"),
    ):
        with pytest.raises(MMTError, match=message):
            bleu_by_image.evaluate(world.folder / data, "test", world.folder / "out", {"text": [path]})
    arguments, file = [str(world.folder / "data"), "test", str(world.folder / "out")], world.files("text")[0]
    for texts, told in (
        (["gated"], "expected NAME=FILE"),
        (["=x.de"], "expected NAME=FILE"),
        (["gated="], "expected NAME=FILE"),
        ([f"text={file}"] * 2, "given twice"),
    ):
        refused = CliRunner().invoke(bleu_by_image.main, [*arguments, *(f"--system={text}" for text in texts)])
        assert refused.exit_code == 2
        assert told in refused.output
    assert not (world.folder / "out").exists()
