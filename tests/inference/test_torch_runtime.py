"""Laws of the model folder, the translator and the translation of files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from mmt.cli.main import main
from mmt.data.dataset import read_split
from mmt.data.feature_store import FeatureStore, open_features
from mmt.data.tokenizer import BOS, Tokenizer
from mmt.data.vocabulary import pieces_of_file
from mmt.errors import MMTError
from mmt.features.extract import compute_features, extract_folder
from mmt.features.load import load_backbone
from mmt.inference.controls import wrong_images
from mmt.inference.search import SearchOptions
from mmt.inference.torch_runtime import Translator
from mmt.inference.translator import SentenceBatch
from mmt.model.card import ModelCard, read_card
from mmt.model.folder import load_model, save_model
from mmt.model.stepping import Precision
from tests.worlds import NOUNS, make_features, tiny_folder, tiny_model

ODD_LINES = [
    "A dog sees the cat.",
    "",
    "   ",
    "x" * 10_000,
    "word " * 2000,
    "One. Two! Three? " * 120,
    "emoji 😀👩‍👩‍👧",
    "שלום עולם",
    "tab\there",
    "\u2028separator\u2029",
    "\x0c\x0b",
    "▁▁",
    "A cat paints the tree.",
]


@pytest.fixture(scope="module")
def text_only(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("m") / "none", world)


@pytest.fixture(scope="module")
def gated(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("m") / "gated", world, "gated")


@pytest.fixture(scope="module")
def looking(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model on the real backbone's features, and three picture files beside it."""
    folder = tmp_path_factory.mktemp("looking")
    tokenizer = Tokenizer(world / "tokenizer.model")
    model = tiny_model(tokenizer.vocab_size, "gated", image_sets=((1, 1280),))
    card = ModelCard(vars(model.config), "en", "de", load_backbone().signature, {"beam_size": 2})
    save_model(folder / "model", model.state_dict(), tokenizer.path, card)
    (folder / "pictures").mkdir()
    for number, colour in enumerate(("red", "green", "navy")):
        picture = Image.effect_noise((64, 48), 60 + 40 * number).convert("RGB")
        picture.paste(colour, (8, 8, 40, 40))
        picture.save(folder / "pictures" / f"{number}.jpg")
    return folder


def run(*arguments: object, stdin: str | bytes | None = None) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, [str(a) for a in arguments], input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_a_moved_folder_translates_the_same(text_only: Path, tmp_path: Path) -> None:
    lines = ["A dog sees the cat.", "A boat finds the ball."]
    before = Translator.from_dir(text_only).translate(lines)
    moved = tmp_path / "else where" / "model"
    shutil.copytree(text_only, moved)
    assert Translator.from_dir(moved).translate(lines) == before


def test_saving_and_loading_keeps_every_weight(text_only: Path, tokenizer: Tokenizer) -> None:
    model, _, card = load_model(text_only)
    for name, tensor in tiny_model(tokenizer.vocab_size).state_dict().items():
        assert np.array_equal(model.state_dict()[name].numpy(), tensor.numpy()), name
    assert card.source_lang == "en"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("mmt.json", b"{", "damaged"),
        ("mmt.json", b'{"format": 99}', "expected format 4, found 99"),
        ("model.safetensors", b"xx", r"model\.safetensors: damaged, its checksum"),
        ("model.safetensors", None, "no model.safetensors"),
        ("tokenizer.model", None, "no tokenizer model"),
    ],
)
def test_a_damaged_folder_is_refused(
    text_only: Path, tmp_path: Path, file: str, content: bytes | None, message: str
) -> None:
    broken = tmp_path / "model"
    shutil.copytree(text_only, broken)
    (broken / file).unlink()
    if content is not None:
        (broken / file).write_bytes(content)
    with pytest.raises(MMTError, match=message):
        Translator.from_dir(broken)


def test_one_translation_a_sentence_whatever_is_in_it(text_only: Path) -> None:
    translator = Translator.from_dir(text_only)
    found = translator.translate(ODD_LINES, beam_size=1)
    assert len(found) == len(ODD_LINES)
    assert [i for i, line in enumerate(found) if line == ""] == [
        i for i, line in enumerate(ODD_LINES) if not line.strip(" \x0b\x0c▁")
    ]
    assert not any("\n" in line for line in found)
    for number in (0, len(ODD_LINES) - 1):  # in company as alone
        assert translator.translate([ODD_LINES[number]], beam_size=1) == [found[number]]


def test_long_lines_are_cut_without_losing_anything(text_only: Path) -> None:
    translator = Translator.from_dir(text_only)
    for line in ODD_LINES:
        parts = translator.cut(line)
        assert all(0 < len(part) <= 128 for part in parts)
        together = " ".join(translator.tokenizer.decode(part) for part in parts)
        assert together.replace(" ", "") == translator.tokenizer.decode(translator.tokenizer.encode(line)).replace(
            " ", ""
        )


def test_the_log_probability_of_a_token_is_without_length_penalty(text_only: Path) -> None:
    """Of lines in parts, too: of all their tokens together."""
    translator = Translator.from_dir(text_only)
    found = {
        penalty: [one[0] for one in translator.hypotheses(ODD_LINES, beam_size=1, length_penalty=penalty)]
        for penalty in (0.0, 0.6, 1.0, 1.4)
    }
    expected = []
    for line, mean in zip(ODD_LINES, found[1.0], strict=True):
        parts = translator.cut(line)
        given = SentenceBatch(parts, [None] * len(parts), translator.tokenizer.prompt)
        searched = translator.search_batches([given], SearchOptions(1, 0.0), 1.0)
        best = [one[0] for one in next(iter(searched))] if parts else []
        expected.append(sum(one.score for one in best) / max(sum(len(one.ids) + 1 for one in best), 1))
        if len(parts) < 2:
            assert mean.log_prob == pytest.approx(mean.score, abs=1e-4)
    assert any(len(translator.cut(line)) > 1 for line in ODD_LINES)
    for one in found.values():
        assert [best.log_prob for best in one] == pytest.approx(expected, abs=1e-4)


def test_a_model_of_one_pair_takes_its_own_languages(text_only: Path) -> None:
    """So that it can be in an ensemble with a model of several."""
    named = Translator.from_dir(text_only, source_lang="en", target_lang="de")
    assert named.translate(["A dog."]) == Translator.from_dir(text_only).translate(["A dog."])
    with pytest.raises(MMTError, match="of one pair of languages"):
        Translator.from_dir(text_only, source_lang="de", target_lang="en")


def test_batch_size_changes_nothing(text_only: Path) -> None:
    translator = Translator.from_dir(text_only)
    lines = [f"A {a} sees the {b}." for a in NOUNS for b in NOUNS]
    together = translator.hypotheses(lines, max_tokens=100_000, n_best=2)
    alone = translator.hypotheses(lines, max_tokens=1, n_best=2)
    assert [[t.text for t in h] for h in together] == [[t.text for t in h] for h in alone]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_few_sentences_of_unequal_length_are_one_batch_a_thread(
    text_only: Path, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a server gets: each further batch would take as long as all the sentences in one."""
    translator = Translator.from_dir(text_only)
    monkeypatch.setattr(Translator, "num_threads", threads)
    batches: list[list[int]] = []
    search = translator.search_batches

    def counted(inputs: Sequence[SentenceBatch], *rest: Any) -> Iterator[Any]:
        batches.append([len(one.sources) for one in inputs])
        return search(inputs, *rest)

    monkeypatch.setattr(translator, "search_batches", counted)
    lines = ["A dog." + " A dog sees the cat." * (n % 4) for n in range(12)]
    translator.translate(lines)
    assert sum(batches[0]) == 12
    assert 1 <= len(batches[0]) <= threads
    assert len(batches[0]) > 1 or threads == 1


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_threads_change_nothing_and_precision_is_heard(gated: Path, world: Path, precision: Precision) -> None:
    rows = read_split(world / "data", "test")
    translator = Translator.from_dir(gated, world / "features", precision)
    images = [image if has else None for image, has in zip(rows["image"], rows["has_image"], strict=True)]
    found = []
    before = torch.get_num_threads()
    for threads in (1, 3):  # with three, batches are translated side by side
        torch.set_num_threads(threads)
        found.append(translator.hypotheses(list(rows["source"]), images, beam_size=2, max_tokens=40))
    torch.set_num_threads(before)
    assert [[h.text for h in one] for one in found[0]] == [[h.text for h in one] for one in found[1]]
    exact = Translator.from_dir(gated, world / "features").hypotheses(list(rows["source"]), images, beam_size=2)
    assert (found[0][0][0].score == pytest.approx(exact[0][0].score, abs=1e-6)) == (precision == "float32")


def test_an_image_reaches_its_own_sentence(gated: Path, world: Path) -> None:
    translator = Translator.from_dir(gated, world / "features")
    lines = ["A dog sees the cat."] * 3
    with_image = translator.hypotheses(lines, ["train-0.png", None, "train-2.png"])
    alone = [translator.hypotheses(lines[:1], [image])[0] for image in ("train-0.png", None, "train-2.png")]
    assert [h[0].score for h in with_image] == pytest.approx([h[0].score for h in alone], abs=1e-5)
    assert len({round(h[0].score, 5) for h in with_image}) == 3
    assert [h[0].with_image for h in with_image] == [True, False, True]


def test_raw_files_equal_the_store(looking: Path, tmp_path: Path) -> None:
    from mmt.features.extract import extract_folder

    extract_folder(looking / "pictures", tmp_path / "store", dtype="float32", progress=False)
    store = FeatureStore.open(tmp_path / "store")
    names = ["0.jpg", "1.jpg", "2.jpg"]
    lines = ["A dog sees the cat."] * 3
    by_store = Translator.from_dir(looking / "model", store).hypotheses(lines, names)
    translator = Translator.from_dir(looking / "model")
    files = [looking / "pictures" / name for name in names]
    for images in (files, [f.read_bytes() for f in files], [Image.open(f) for f in files]):
        found = translator.hypotheses(lines, images)
        assert [h[0].score for h in found] == pytest.approx([h[0].score for h in by_store], abs=1e-4)


@pytest.mark.parametrize("kind", ["text", "tsv", "jsonl", "stdin"])
def test_every_input_format_gives_the_same(looking: Path, tmp_path: Path, kind: str) -> None:
    lines = ["A dog sees the cat.", "A boat.", ""]
    images = ["1.jpg", "", "2.jpg"]
    expected = Translator.from_dir(looking / "model").translate(
        lines, [looking / "pictures" / i if i else None for i in images]
    )
    base: list[object] = ["translate", "--model", looking / "model", "--images", looking / "pictures"]
    stdin = None
    if kind in ("text", "stdin"):
        (tmp_path / "images.txt").write_text("\n".join(images) + "\n")
        base += ["--images", tmp_path / "images.txt"]
        text = "\n".join(lines) + "\n"
    elif kind == "tsv":
        text = "".join(f"{line}\t{image}\n" for line, image in zip(lines, images, strict=True))
    else:
        pairs = zip(lines, images, strict=True)
        text = "".join(json.dumps({"source": line, "image": image or None}) + "\n" for line, image in pairs)
    if kind == "stdin":
        stdin = text
    else:
        path = tmp_path / f"in.{kind}"
        path.write_text(text)
        base += ["--input", path]
    code, out, err = run(*base, stdin=stdin)
    assert (code, out.split("\n")) == (0, [*expected, ""])
    assert "3 sentences, 2 with image" in err


def test_paths_in_a_tsv_start_from_the_tsv(looking: Path) -> None:
    path = looking / "in.tsv"
    path.write_text("A dog.\tpictures/0.jpg\n")
    code, _, err = run("translate", "--model", looking / "model", "--input", path)
    assert (code, "1 with image" in err) == (0, True)


def test_as_many_lines_out_as_in(text_only: Path, tmp_path: Path) -> None:
    written = {}
    for name, content in {
        "odd": "\n".join(ODD_LINES) + "\n",
        "no last newline": "A dog.\nA cat.",
        "crlf and bom": "\ufeffA dog.\r\nA cat.\r\n",
        "empty": "",
        "blank": "\n\n\n",
    }.items():
        path = tmp_path / "in.txt"
        path.write_bytes(content.encode())
        out = tmp_path / "out.txt"
        code, _, _ = run("translate", "--model", text_only, "--input", path, "--output", out, "--beam-size", 1)
        num = content.count("\n") + (not content.endswith("\n") and content != "")
        assert (name, code, out.read_bytes().count(b"\n")) == (name, 0, num)
        written[name] = out.read_bytes()
    expected = Translator.from_dir(text_only).translate(["A dog.", "A cat."], beam_size=1)
    assert written["no last newline"] == written["crlf and bom"] == ("\n".join(expected) + "\n").encode()


def test_n_best_and_json_output(gated: Path, world: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    arguments = ["translate", "--model", gated, "--data", world / "data", "--split", "test", "--n-best", 2]
    code, _, err = run(*arguments, "--images", world / "features", "--output", out)
    assert code == 0, err
    rows = [json.loads(line) for line in out.read_text().split("\n")[:-1]]
    assert len(rows) == 8
    assert [row["with_image"] for row in rows] == [True, False] * 4
    assert all(row["translations"][0]["score"] >= row["translations"][-1]["score"] for row in rows)
    code, text, _ = run(*arguments, "--images", world / "features")
    first = text.split("\n")[0].split(" ||| ")
    assert first[:2] == ["0", rows[0]["translations"][0]["text"]]  # counted from 0, as by Moses and fairseq


def test_a_text_only_model_takes_a_data_set_with_images(text_only: Path, world: Path) -> None:
    code, out, err = run("translate", "--model", text_only, "--data", world / "data")
    assert (code, out.count("\n"), "0 with image" in err) == (0, 8, True)


LINES = ["A dog sees the cat."] * 3 + ["A boat."]
IMAGES = ["train-0.png", None, "train-2.png", "train-4.png"]


def test_wrong_images_are_those_of_the_draw(gated: Path, world: Path) -> None:
    translator = Translator.from_dir(gated, world / "features")
    for seed in (1, 2):
        drawn = wrong_images(IMAGES, seed)
        wrong = translator.hypotheses(LINES, IMAGES, image_control="wrong", control_seed=seed)
        assert wrong == translator.hypotheses(LINES, drawn)
        assert wrong != translator.hypotheses(LINES, IMAGES)


def test_blank_images_are_no_images(gated: Path, world: Path) -> None:
    translator = Translator.from_dir(gated, world / "features")
    assert translator.hypotheses(LINES, IMAGES, image_control="blank") == translator.hypotheses(LINES)


def test_a_control_says_which_image_was_shown(gated: Path, world: Path, tmp_path: Path) -> None:
    base = ["translate", "--model", gated, "--data", world / "data", "--images", world / "features"]
    images, scores = {}, {}
    for control in ("right", "wrong", "blank"):
        out = tmp_path / f"{control}.jsonl"
        code, _, err = run(*base, "--image-control", control, "--output", out)
        assert code == 0, err
        rows = [json.loads(line) for line in out.read_text().split("\n")[:-1]]
        images[control], scores[control] = (
            [row["image"] for row in rows],
            [row["translations"][0]["score"] for row in rows],
        )
    right = images["right"]
    assert images["wrong"] == wrong_images(right, 1)
    assert images["blank"] == [None] * len(right)
    with_image = [row for row, image in enumerate(right) if image]
    assert with_image
    for control in ("wrong", "blank"):
        same = [scores[control][row] == pytest.approx(scores["right"][row], abs=1e-5) for row in range(len(right))]
        assert same == [row not in with_image for row in range(len(right))]


def test_an_image_that_is_not_there_is_drawn_for_no_sentence(gated: Path, world: Path, tmp_path: Path) -> None:
    images = ["train-0.png", "gone.png", "train-2.png", "train-4.png", None]
    path, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    path.write_text("".join(json.dumps({"source": "A dog sees the cat.", "image": i}) + "\n" for i in images))
    base = ["translate", "--model", gated, "--input", path, "--images", world / "features", "--output", out]
    base += ["--image-control", "wrong", "--missing-images", "skip"]
    there = [image if image != "gone.png" else None for image in images]
    for seed in (1, 2, 3):
        code, _, err = run(*base, "--control-seed", seed)
        assert code == 0, err
        assert "1 image missing" in err
        rows = [json.loads(line) for line in out.read_text().split("\n")[:-1]]
        assert [row["image"] for row in rows] == wrong_images(there, seed)
        assert [row["with_image"] for row in rows] == [image is not None for image in there]


def test_several_draws_go_to_several_files(gated: Path, world: Path, tmp_path: Path) -> None:
    base = ["translate", "--model", gated, "--data", world / "data", "--images", world / "features"]
    base += ["--image-control", "wrong"]
    code, _, err = run(*base, "--draws", 2, "--output", tmp_path / "draw{draw}.jsonl")
    assert code == 0, err
    code, _, _ = run(*base, "--control-seed", 2, "--output", tmp_path / "alone.jsonl")
    assert (tmp_path / "draw2.jsonl").read_text() == (tmp_path / "alone.jsonl").read_text()
    assert (tmp_path / "draw1.jsonl").read_text() != (tmp_path / "draw2.jsonl").read_text()


def test_guidance_reaches_the_search(gated: Path, world: Path) -> None:
    translator = Translator.from_dir(gated, world / "features")
    text, full, more = (translator.hypotheses(LINES, IMAGES, guidance=gamma) for gamma in (0.0, 1.0, 3.0))
    blank = translator.hypotheses(LINES)
    assert [h[0].text for h in text] == [h[0].text for h in blank]
    assert len({found[0][0].score for found in (text, full, more)}) == 3


# Bad input: one line on standard error, exit code 2.


def refused(*arguments: object, stdin: str | bytes | None = None) -> str:
    code, out, err = run(*arguments, stdin=stdin)
    assert (code, out) == (2, ""), err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def test_images_for_a_text_only_model_are_refused(text_only: Path, looking: Path, tmp_path: Path) -> None:
    path = tmp_path / "in.tsv"
    path.write_text(f"A dog.\t{looking}/pictures/0.jpg\n")
    assert "trained on text only" in refused("translate", "--model", text_only, "--input", path)
    with pytest.raises(MMTError, match="trained on text only"):
        Translator.from_dir(text_only).translate(["A dog."], images=["x.jpg"])


def test_controls_need_a_model_with_images(text_only: Path, gated: Path, world: Path, tmp_path: Path) -> None:
    base = ["translate", "--model", text_only, "--data", world / "data"]
    for option in (["--image-control", "wrong"], ["--image-control", "blank"]):
        assert "trained on text only" in refused(*base, *option)
    with pytest.raises(MMTError, match="trained on text only"):
        Translator.from_dir(text_only).translate(["A dog."], guidance=2.0)
    base = ["translate", "--model", gated, "--data", world / "data", "--images", world / "features"]
    assert "{draw}" in refused(*base, "--image-control", "wrong", "--draws", 2, "--output", tmp_path / "x")
    with pytest.raises(MMTError, match="guidance: expected 0 or more"):
        Translator.from_dir(gated, world / "features").translate(["A dog."], guidance=float("nan"))
    path = tmp_path / "one.tsv"
    path.write_text("A dog.\ttrain-0.png\nA cat.\n")
    said = refused("translate", "--model", gated, "--input", path, "--images", world / "features",
                   "--image-control", "wrong")  # fmt: skip
    assert "would be given its own" in said


def test_a_missing_image_folder_is_refused(looking: Path, tmp_path: Path) -> None:
    message = refused("translate", "--model", looking / "model", "--images", tmp_path / "none", stdin="A dog.\n")
    assert "no such file or folder" in message


def test_a_missing_or_corrupt_image_is_named_or_skipped(looking: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes((looking / "pictures" / "0.jpg").read_bytes()[:200])
    path = tmp_path / "in.tsv"
    for name, what in (("bad.jpg", "bad.jpg"), ("gone.jpg", "no such file")):
        path.write_text(f"A cat.\nA dog.\t{name}\n")
        message = refused("translate", "--model", looking / "model", "--input", path)
        assert what in message
        assert "line 2" in message or name == "bad.jpg"
        skipped = run("translate", "--model", looking / "model", "--input", path, "--missing-images", "skip")
        assert skipped[0] == 0
        assert "0 with image, 1 image missing" in skipped[2]


def test_features_of_another_backbone_are_refused_by_name(gated: Path, world: Path, tmp_path: Path) -> None:
    make_features(tmp_path / "other", ["train-0.png"], backbone="resnet50")
    message = refused("translate", "--model", gated, "--data", world / "data", "--images", tmp_path / "other")
    assert "tiny" in message
    assert "resnet50" in message


def test_an_image_without_features_is_named(gated: Path, world: Path, tmp_path: Path) -> None:
    path = tmp_path / "in.tsv"
    path.write_text("A dog.\tunknown.png\n")
    message = refused("translate", "--model", gated, "--input", path, "--images", world / "features")
    assert "line 1" in message
    assert "unknown.png" in message


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("in.txt", b"fine\nnot \xff\xfe utf-8\n", "line 2, byte 5: expected UTF-8"),
        ("in.tsv", b"a\tb\tc\n", "line 1: expected source <TAB> image, found 3 columns"),
        ("in.jsonl", b'{"source": 1}\n', "line 1: expected {"),
        ("in.jsonl", b"{oops\n", "line 1: not JSON"),
    ],
)
def test_lines_of_another_shape_are_named(
    text_only: Path, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path, out = tmp_path / name, tmp_path / "out.txt"
    path.write_bytes(content)
    assert message in refused("translate", "--model", text_only, "--input", path, "--output", out)
    assert not out.exists()


def test_an_image_list_of_another_length_is_refused(looking: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("A dog.\nA cat.\n")
    (tmp_path / "images.txt").write_text("0.jpg\n")
    arguments = ["translate", "--model", looking / "model", "--input", tmp_path / "in.txt"]
    message = refused(*arguments, "--images", tmp_path / "images.txt", "--images", looking / "pictures")
    assert "has more lines than" in message
    assert "which image goes with which line" in refused(*arguments, "--images", looking / "pictures")


@pytest.mark.parametrize("name", ["../model/mmt.json", "/etc/hostname"])
def test_image_names_stay_inside_the_folder(looking: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / "in.tsv"
    path.write_text(f"A dog.\t{name}\n")
    arguments = ["translate", "--model", looking / "model", "--input", path, "--images", looking / "pictures"]
    assert "expected a file name inside" in refused(*arguments)


def test_not_a_model_folder_is_refused(tmp_path: Path) -> None:
    assert "no mmt.json" in refused("translate", "--model", tmp_path, stdin="x\n")


def test_a_missing_split_names_the_nearest(text_only: Path, world: Path) -> None:
    message = refused("translate", "--model", text_only, "--data", world / "data", "--split", "tset")
    assert "Did you mean 'test'?" in message


def test_unequal_numbers_of_images_are_refused(gated: Path) -> None:
    with pytest.raises(MMTError, match="found 1 for 2"):
        Translator.from_dir(gated).translate(["a", "b"], images=["x"])


def test_the_card_says_what_the_model_was_trained_on(gated: Path) -> None:
    card = read_card(gated)
    assert card.features is not None
    assert card.features.backbone == "tiny"


def test_on_the_fly_features_refuse_another_backbone(gated: Path, looking: Path, tmp_path: Path) -> None:
    """The tiny model's backbone does not exist, the other's has other weights: nothing may be substituted."""
    with pytest.raises(MMTError, match="tiny"):
        Translator.from_dir(gated).translate(["a"], images=[looking / "pictures" / "0.jpg"])
    shutil.copytree(looking / "model", tmp_path / "model")
    card = json.loads((tmp_path / "model" / "mmt.json").read_text())
    card["features"]["weights"] = "0" * 64
    (tmp_path / "model" / "mmt.json").write_text(json.dumps(card))
    with pytest.raises(MMTError, match=r"this machine's backbone.*weights"):
        Translator.from_dir(tmp_path / "model").translate(["a"], images=[looking / "pictures" / "0.jpg"])


def test_several_sets_of_features_by_file_and_by_store(
    looking: Path, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    """The pool and the grid of one backbone side by side: stores and files give the same translations."""
    stores = [tmp_path / "pool", tmp_path / "grid"]
    for store in stores:
        extract_folder(looking / "pictures", store, layer=store.name, dtype="float32", progress=False)
    signature = open_features(stores).signature
    sets = tuple((one.num_regions, one.dim) for one in signature.sets)
    assert sets == ((1, 1280), (49, 1280))
    model = tiny_model(tokenizer.vocab_size, "hybrid", image_sets=sets)
    card = ModelCard(vars(model.config), "en", "de", signature, {"beam_size": 2, "length_penalty": 1.0})
    save_model(tmp_path / "model", model.state_dict(), tokenizer.path, card)
    (tmp_path / "in.tsv").write_text("A dog sees the cat.\t0.jpg\nA cat.\t\nA dog.\t1.jpg\n")
    given = ["translate", "--model", tmp_path / "model", "--input", tmp_path / "in.tsv", "--n-best", 2]
    code, by_store, _ = run(*given, *(part for store in stores for part in ("--images", store)))
    assert code == 0
    assert by_store == run(*given, "--images", looking / "pictures")[1]
    assert by_store != run(*given, "--images", looking / "pictures", "--image-control", "wrong")[1]
    assert "expected 2 set(s) of features" in refused(*given, "--images", stores[0])
    two = ("--images", stores[0], "--images", looking / "pictures")
    assert f"{stores[0]} says where images are already" in refused(*given, *two)


def test_only_the_pieces_of_a_text_are_written_where_that_is_wanted(text_only: Path, tmp_path: Path) -> None:
    (tmp_path / "de.txt").write_text("Ein Hund sieht das Boot.\n", encoding="utf-8")
    model, tokenizer, card = load_model(text_only)
    ids = set(pieces_of_file(tmp_path / "de.txt", tokenizer).tolist())
    assert len(ids) % 64 == 0
    others = [number for number in range(tokenizer.vocab_size) if number not in ids]
    with torch.no_grad():
        model.text.frontend.embed.weight[others] *= 4  # what the model would rather write
    save_model(tmp_path / "model", model.state_dict(), tokenizer.path, card)
    translator = Translator.from_dir(tmp_path / "model")
    whole = translator.translate(lines := ["A dog sees the cat.", "A boat finds the ball."])
    translator.restrict_vocabulary(tmp_path / "de.txt")
    written = translator.translate(lines)
    assert written != whole
    (tmp_path / "in.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    given = ["translate", "--model", tmp_path / "model", "--input", tmp_path / "in.txt"]
    assert run(*given, "--vocabulary", tmp_path / "de.txt")[1].splitlines() == written
    found = next(translator.search_batches([SentenceBatch([[300, 301]], [None], (BOS,))], SearchOptions(5), 1.0))
    assert {number for one in found[0] for number in one.ids} <= ids
    assert "no such file" in refused(*given, "--vocabulary", tmp_path / "none.txt")


def test_no_picture_gives_no_features() -> None:
    assert compute_features([], load_backbone()).shape == (0, 1, 1280)


def test_one_text_is_no_list_of_sentences(gated: Path) -> None:
    with pytest.raises(MMTError, match="expected a list of sentences, found the text 'A dog"):
        Translator.from_dir(gated).translate("A dog.")
