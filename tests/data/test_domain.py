"""Lines that are unlike the training text are told from those that are like it, and every command says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from data_prep.pictures.scenes import plan
from eval.out_of_domain import ENGLISH, OTHERS, measure
from mmt.cli.main import main
from mmt.data.dataset import read_split
from mmt.data.domain import PIECES, TrainingPieces, is_out_of_domain, read_pieces
from mmt.data.tokenizer import Tokenizer
from mmt.errors import MMTError
from mmt.inference.torch_runtime import Translator
from mmt.io.text_files import read_lines
from mmt.model.card import ModelCard, load_tokenizer, read_card
from mmt.model.folder import save_model
from tests.worlds import data_root, sentences, tiny_model

OWN = "A dog sees the boat."
FOREIGN = ["Stainless steel water bottle, 750 ml", "两只狗在雪地里奔跑。", "Hund sieht Boot.", "sdtt ea thoa bte!"]


@pytest.fixture(scope="module")
def folder(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model folders: ``model`` with the counts of its training text, ``older`` without."""
    made = tmp_path_factory.mktemp("domain")
    tokenizer = Tokenizer(world / "tokenizer.model")
    model = tiny_model(tokenizer.vocab_size)
    card = ModelCard(vars(model.config), "en", "de")
    sources = read_split(world / "data", "train")["source"]
    pieces = TrainingPieces.of(map(tokenizer.encode, sources), tokenizer)
    save_model(made / "model", model.state_dict(), tokenizer.path, card, pieces)
    save_model(made / "older", model.state_dict(), tokenizer.path, card)
    return made


def strange(tokenizer: Tokenizer, lines: list[str]) -> list[bool]:
    return [is_out_of_domain(tokenizer, tokenizer.encode(line)) for line in lines]


def test_lines_like_the_training_text_are_in_the_domain_and_others_are_not(folder: Path) -> None:
    tokenizer = load_tokenizer(folder / "model", read_card(folder / "model"))
    new = [source for source, _ in sentences(500, 99)]
    assert sum(strange(tokenizer, new)) <= 5
    assert strange(tokenizer, FOREIGN) == [True] * len(FOREIGN)
    assert strange(tokenizer, ["", " \u200b "]) == [False, False]


def test_short_lines_of_known_words_are_in_the_domain() -> None:
    rows = plan(1, {"train": 1200, "test": 100})
    words = [row.source.rstrip(".").split() for row in rows["test"]]
    known, strange = {}, {}
    for count in (1, 2, 3):
        known[f"known {count}"] = [" ".join(w[at : at + count]) for w in words for at in range(len(w) - count + 1)]
        strange[f"strange {count}"] = [" ".join(line.split()[:count]) for line in ENGLISH]
    train = rows["train"]
    found = measure([row.source for row in train], [row.target for row in train], known | strange, 1000)
    assert all(count <= 0.02 * lines for name, (count, lines) in found.items() if name in known), found
    assert all(count >= 0.7 * lines for name, (count, lines) in found.items() if name in strange), found


def test_without_the_counts_bytes_alone_tell(folder: Path) -> None:
    tokenizer = load_tokenizer(folder / "older", read_card(folder / "older"))
    assert tokenizer.training is None
    assert strange(tokenizer, [*FOREIGN, OWN]) == [False, True, False, False, False]


def test_the_counts_are_those_of_the_training_text(folder: Path, world: Path) -> None:
    card = read_card(folder / "model")
    training = load_tokenizer(folder / "model", card).training
    tokenizer = Tokenizer(world / "tokenizer.model")
    ids = [i for line in read_split(world / "data", "train")["source"] for i in tokenizer.encode(line)]
    assert training is not None
    assert training.counts.tolist() == [ids.count(i) for i in range(tokenizer.vocab_size)]
    assert PIECES in card.sha256


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"counts": [1], "most_bits_a_character": 1}', "\udcff"])
def test_damaged_counts_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / PIECES).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(MMTError, match=r"pieces\.json: damaged"):
        read_pieces(tmp_path, 2)
    (tmp_path / PIECES).unlink()
    assert read_pieces(tmp_path, 2) is None


def test_translations_say_it(folder: Path) -> None:
    long = " ".join(["Stainless steel water bottle."] * 8)  # translated in parts
    found = Translator.from_dir(folder / "model").hypotheses([OWN, "", *FOREIGN, long], n_best=2, beam_size=2)
    assert [{one.out_of_domain for one in best} for best in found] == [{False}, {False}, *[{True}] * 5]


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(main, [str(one) for one in arguments])
    assert result.exit_code == 0, result.output
    return result


def test_the_commands_count_them(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("\n".join([OWN, *FOREIGN]) + "\n", encoding="utf-8")
    common = ("--input", tmp_path / "in", "--threads", 1)
    result = run("translate", "--model", folder / "model", *common, "--output", tmp_path / "out.jsonl")
    assert "5 sentences, 0 with image, 4 out of domain" in result.stderr
    assert "the first is line 2)" in result.stderr
    lines = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["out_of_domain"] for line in lines] == [False, True, True, True, True]
    pairs = ("--source", tmp_path / "in", "--target", tmp_path / "in", "--output", tmp_path / "scores")
    assert "4 out of domain" in run("score-pairs", "--model", folder / "model", *pairs).stderr
    older = run("translate", "--model", folder / "older", *common, "--output", tmp_path / "out").stderr
    assert "1 out of domain (unlike the training text; the first is line 3)" in older
    assert "byte pieces only" in older


@pytest.mark.skipif(not (data_root() / "multi30k").is_dir(), reason="no Multi30K (set MMT_DATA)")
def test_of_multi30k_few_lines_are_called_foreign_and_of_other_text_most() -> None:
    raw = data_root() / "multi30k" / "raw"
    sources, targets = (read_lines(raw / f"train.{lang}.gz")[:10_000] for lang in ("en", "de"))
    groups = {"val": read_lines(raw / "val.en.gz"), "english": ENGLISH, "others": OTHERS}
    found = {name: count / lines for name, (count, lines) in measure(sources, targets, groups, 6000).items()}
    assert found["val"] < 0.01
    assert found["english"] > 0.75
    assert found["others"] > 0.9
