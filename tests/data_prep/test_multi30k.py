"""Multi30K's raw files -> a prepared dataset: every sentence keeps its image, and nothing is guessed."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from data_prep import multi30k
from mmt.data.dataset import image_folder, read_info, read_split
from mmt.features.images import find_images

REAL = Path(os.environ.get("MMT_DATA", "../shared/data")) / "multi30k"
SENTENCES = {
    "en": ["a dog", "two cats", "a cow\u2028in the grass"],
    "de": ["ein Hund", "zwei Katzen", "eine Kuh im Gras"],
    "fr": ["un chien", "deux chats", "une vache"],
    "cs": ["pes", "dvě kočky", "kráva"],
}
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A dataset with the layout of Multi30K: three sentences a split; the third has no image file."""
    folder = tmp_path / "multi30k"
    for name in ("raw", "image_splits", "images"):
        (folder / name).mkdir(parents=True)
    for split, language in itertools.product(("val", "train"), SENTENCES):
        text = "".join(f"{sentence}\n" for sentence in SENTENCES[language]).encode()
        (folder / "raw" / f"{split}.{language}.gz").write_bytes(gzip.compress(text))
    for split in ("val", "train"):
        names = [f"{split}_{i}.jpg" for i in range(3)]
        (folder / "image_splits" / f"{split}.txt").write_text("\n".join(names) + "\n")
        for name in names[:2]:
            Image.new("RGB", (8, 8), "red").save(folder / "images" / name)
    return folder


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command; returns its exit status, what it printed, and its complaints."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: object) -> tuple[int, str, str]:
        try:
            multi30k.main(list(map(str, arguments)), prog_name="multi30k")
            status = 0
        except SystemExit as stop:
            status = int(stop.code or 0)
        return status, *capsys.readouterr()

    return run


def _refused(run: Run, *arguments: object) -> str:
    """The one line of a refusal, without the progress bar and what is said on the way."""
    status, _, complaint = run(*arguments)
    assert status == 2
    lines = [
        line
        for line in complaint.split("\n")
        if line and not line.lstrip("\r").startswith(("images: ", "splits: "))
    ]
    assert len(lines) == 1, complaint
    assert lines[0].startswith("error: ")
    return lines[0]


def test_every_sentence_comes_with_its_translation_and_image(base: Path, tmp_path: Path, run: Run) -> None:
    status, printed, complaint = run(tmp_path / "out", "--multi30k", base)
    assert status == 0, complaint
    info = read_info(tmp_path / "out")
    assert list(info.splits) == ["train", "val"]
    assert list(read_split(tmp_path / "out", "train")) == [
        {
            "id": f"train-{i:05d}",
            "image": f"train_{i}.jpg",
            "source": SENTENCES["en"][i],
            "target": SENTENCES["de"][i],
            "has_image": i < 2,
        }
        for i in range(3)
    ]
    split = info.splits["train"]
    assert (split.sentences, split.images_found, split.images_missing) == (3, 2, 1)
    assert split.checksum[:12] in printed
    assert str(tmp_path / "out") in printed
    assert image_folder(tmp_path / "out") == base / "images"


@pytest.mark.parametrize(("source", "target"), itertools.permutations(SENTENCES, 2))
def test_any_two_languages_in_either_direction(
    base: Path, tmp_path: Path, run: Run, source: str, target: str
) -> None:
    status, _, complaint = run(tmp_path / "out", "--multi30k", base, "--source", source, "--target", target)
    assert status == 0, complaint
    info = read_info(tmp_path / "out")
    assert (info.source_lang, info.target_lang, list(info.splits)) == (source, target, ["train", "val"])
    rows = read_split(tmp_path / "out", "val")
    assert list(rows["source"]) == SENTENCES[source]
    assert list(rows["target"]) == SENTENCES[target]
    assert list(rows["image"]) == ["val_0.jpg", "val_1.jpg", "val_2.jpg"]
    assert list(rows["has_image"]) == [True, True, False]


def test_all_ways_to_name_the_same_input_give_the_same_data(base: Path, tmp_path: Path, run: Run) -> None:
    upstream = tmp_path / "upstream"
    shutil.copytree(base / "raw", upstream / "data" / "task1" / "raw")
    shutil.copytree(base / "image_splits", upstream / "data" / "task1" / "image_splits")
    shutil.copytree(base / "images", upstream / "images")
    plain = tmp_path / "plain"
    plain.mkdir()
    for path in (base / "raw").iterdir():
        (plain / path.name.removesuffix(".gz")).write_bytes(gzip.decompress(path.read_bytes()))
    ways = [
        ("--multi30k", base),
        ("--multi30k", upstream),
        ("--raw", plain, "--image-splits", base / "image_splits", "--images", base / "images"),
        ("--multi30k", base, "--raw", plain),
    ]
    sums = set()
    for way in ways:
        assert run(tmp_path / "out", *way)[0] == 0
        sums.add(tuple(split.checksum for split in read_info(tmp_path / "out").splits.values()))
    assert len(sums) == 1


def test_splits_can_be_chosen_and_renamed(base: Path, tmp_path: Path, run: Run) -> None:
    assert run(tmp_path / "out", "--multi30k", base, "--split", "val=dev")[0] == 0
    assert list(read_info(tmp_path / "out").splits) == ["dev"]
    assert read_split(tmp_path / "out", "dev")["id"][0] == "dev-00000"
    assert read_split(tmp_path / "out", "dev")["image"][0] == "val_0.jpg"
    for wanted, said in [
        (["vall"], "Did you mean 'val'?"),
        (["val", "val"], "named twice"),
        (["val=x", "train=x"], "named twice"),
        (["val=a/b"], "letters, digits"),
    ]:
        options = [part for name in wanted for part in ("--split", name)]
        assert said in _refused(run, tmp_path / "out", "--multi30k", base, *options)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"), ("test_2016_flickr", "test_2016_flickr"), ("valid", "val"), ("dev", "val"),
        ("validation", "val"), ("test.2016", "test_2016"), ("test-mscoco", "test_mscoco"), ("training", "train"),
        ("flickr30k.train", "train"), ("multi30k-valid", "val"), ("train.en-de", "train"), ("a.b", "a_b"),
        ("train.lc.norm.tok", "train"), ("test_2016_flickr.lc.norm.tok", "test_2016_flickr"), ("tok", "tok"),
        ("flickr30k.test.2017", "test_2017"), ("my_dev", "my_dev"),
    ],
)  # fmt: skip
def test_splits_by_any_name_are_taken_and_said(tmp_path: Path, run: Run, name: str, split: str) -> None:
    for language in ("en", "de.gz"):
        raw = tmp_path / "raw" / f"{name}.{language}"
        raw.parent.mkdir(exist_ok=True)
        _write(raw, b"a\nb\n")
    status, _, complaint = run(tmp_path / "out", "--raw", raw.parent, "--no-images")
    assert status == 0, complaint
    assert list(read_info(tmp_path / "out").splits) == [split]
    assert (f"{name} is read as {split}" in complaint) == (name != split)
    for wanted in (f"{name}=test_x", f"{split}=test_x"):
        assert run(tmp_path / "out", "--raw", raw.parent, "--no-images", "--split", wanted)[0] == 0
        assert list(read_info(tmp_path / "out").splits) == ["test_x"]


def test_image_splits_go_by_any_name_of_the_split(base: Path, tmp_path: Path, run: Run) -> None:
    for language in ("en", "de"):
        (base / "raw" / f"val.{language}.gz").rename(base / "raw" / f"flickr.valid.{language}.gz")
    (base / "image_splits" / "val.txt").rename(base / "image_splits" / "dev.txt")
    assert run(tmp_path / "out", "--multi30k", base)[0] == 0
    assert read_info(tmp_path / "out").splits["val"].images_found == 2


def test_two_splits_that_would_get_one_name_are_refused(base: Path, tmp_path: Path, run: Run) -> None:
    for name, language in itertools.product(("test.2016", "test-2016"), ("en", "de")):
        _write(base / "raw" / f"{name}.{language}", b"a\nb\n")
    said = _refused(run, tmp_path / "out", "--multi30k", base, "--no-images")
    assert "'test-2016' and 'test.2016' would both become 'test_2016'" in said
    chosen = ["--split", "test.2016", "--split", "test-2016=test_b"]
    assert run(tmp_path / "out", "--multi30k", base, "--no-images", *chosen)[0] == 0
    assert list(read_info(tmp_path / "out").splits) == ["test_2016", "test_b"]
    for language in ("en", "de"):
        _write(base / "raw" / f"valid.{language}", b"a\nb\n")
    wanted = ["--split", "valid", "--split", "val"]  # both are there: neither becomes the other
    assert run(tmp_path / "out", "--multi30k", base, "--no-images", *wanted)[0] == 0
    assert set(read_info(tmp_path / "out").splits) == {"val", "valid"}


def test_what_is_not_taken_from_a_raw_folder_is_named_in_one_line(base: Path, tmp_path: Path, run: Run) -> None:
    for name in ("README.md", "train.en.bz2", "train.es", "train.eng", ".hidden"):
        (base / "raw" / name).write_text("x")
    (base / "raw" / "more").mkdir()
    status, _, complaint = run(tmp_path / "out", "--multi30k", base, "--no-images")
    assert status == 0
    assert "not taken, 5 that are not named SPLIT.LANGUAGE[.gz]" in complaint
    assert "README.md, more, train.en.bz2, train.eng, train.es" in complaint
    assert ".hidden" not in complaint


def test_a_split_that_one_language_lacks_is_left_out_and_said(base: Path, tmp_path: Path, run: Run) -> None:
    (base / "raw" / "val.de.gz").unlink()
    status, _, complaint = run(tmp_path / "out", "--multi30k", base)
    assert status == 0
    assert list(read_info(tmp_path / "out").splits) == ["train"]
    assert "left out: val (no val.de)" in complaint
    assert "no split 'val'" in _refused(run, tmp_path / "out", "--multi30k", base, "--split", "val")


def test_image_splits_may_name_the_caption_or_no_image(base: Path, tmp_path: Path, run: Run) -> None:
    (base / "image_splits" / "train.txt").write_text("train_0.jpg#0\n\ntrain_1.jpg#657409\n")
    assert run(tmp_path / "out", "--multi30k", base)[0] == 0
    train = read_split(tmp_path / "out", "train")
    assert train["image"][:] == ["train_0.jpg", "", "train_1.jpg"]
    assert train["has_image"][:] == [True, False, True]


def test_only_sentences_with_their_image_keep_their_names(base: Path, tmp_path: Path, run: Run) -> None:
    assert (
        run(tmp_path / "all", "--multi30k", base)[0]
        == run(tmp_path / "some", "--multi30k", base, "--only-images")[0]
        == 0
    )
    assert read_info(tmp_path / "some").splits["val"].images_missing == 0
    assert list(read_split(tmp_path / "some", "val")) == list(read_split(tmp_path / "all", "val"))[:2]


def test_text_alone_says_that_it_has_no_image(base: Path, tmp_path: Path, run: Run) -> None:
    assert "--images is missing" in _refused(run, tmp_path / "out", "--raw", base / "raw")
    assert run(tmp_path / "out", "--raw", base / "raw", "--no-images")[0] == 0
    info = read_info(tmp_path / "out")
    assert info.images == ""
    assert info.splits["train"].images_found == 0
    assert set(read_split(tmp_path / "out", "train")["image"]) == {""}


def test_escapes_are_undone_and_tokenised_text_is_said(base: Path, tmp_path: Path, run: Run) -> None:
    for split in ("train", "val"):
        for language, text in (("en", "a man &apos;s hat , &quot; red &quot; .\n"), ("fr", "l&apos; homme .\n")):
            (base / "raw" / f"{split}.{language}.gz").write_bytes(gzip.compress(3 * text.encode()))
    status, _, said = run(tmp_path / "out", "--raw", base / "raw", "--no-images", "--target", "fr")
    assert status == 0
    assert "undone in 12 lines" in said
    assert "tokenised text: train.en, train.fr, val.en, val.fr." in said
    row = read_split(tmp_path / "out", "train")[0]
    assert (row["source"], row["target"]) == ('a man \'s hat , " red " .', "l' homme .")
    _, _, said = run(tmp_path / "plain", "--raw", base / "raw", "--no-images", "--source", "de", "--target", "cs")
    assert "undone" not in said
    assert "tokenised" not in said


def test_lowercasing_is_of_both_sides_and_said_in_the_name(base: Path, tmp_path: Path, run: Run) -> None:
    (base / "raw" / "train.en.gz").write_bytes(gzip.compress(b"A Dog\nTWO cats\nA cow\n"))
    assert run(tmp_path / "out", "--multi30k", base, "--lowercase")[0] == 0
    train = read_split(tmp_path / "out", "train")
    assert list(train["source"]) == ["a dog", "two cats", "a cow"]
    assert list(train["target"]) == ["ein hund", "zwei katzen", "eine kuh im gras"]
    assert list(train["image"]) == [f"train_{i}.jpg" for i in range(3)]
    assert read_info(tmp_path / "out").name == "multi30k_lc"


def test_images_inside_the_data_set_are_named_relative_to_it(base: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "out"
    shutil.copytree(base / "images", out / "images")
    assert run(out, "--multi30k", base, "--images", out / "images")[0] == 0
    assert read_info(out).images == "images"
    assert len(list(image_folder(out).iterdir())) == 4
    assert run(out, "--multi30k", base, "--images", out / "images")[0] == 0
    assert len(list(image_folder(out).iterdir())) == 4
    assert "found 'images'" in _refused(run, out, "--multi30k", base)  # would lose them
    assert len(list(image_folder(out).iterdir())) == 4


def test_images_of_several_folders_the_last_of_which_counts(base: Path, tmp_path: Path, run: Run) -> None:
    more = tmp_path / "more"
    more.mkdir()
    for name in ("train_1.jpg", "train_2.jpg"):  # the first is in both folders
        Image.new("RGB", (8, 8), "blue").save(more / name)
    out = tmp_path / "out"
    folders = ["--images", base / "images", "--images", more]
    status, _, complaint = run(out, "--multi30k", base, *folders)
    assert status == 0, complaint
    assert "missing, 1 of 6 images: 'val_2.jpg'" in complaint
    assert read_split(out, "train")["has_image"][:] == [True, True, True]
    assert read_info(out).splits["val"].images_found == 2
    colours = {name: Image.open(path).resize((1, 1)).tobytes() for name, path in find_images(out).items()}
    assert list(colours) == ["train_0.jpg", "train_1.jpg", "train_2.jpg", "val_0.jpg", "val_1.jpg"]
    assert [colour[2] > colour[0] for colour in colours.values()] == [False, True, True, False, False]
    moved = tmp_path / "elsewhere" / "data"
    moved.parent.mkdir()
    out.rename(moved)
    assert all(path.is_file() for path in find_images(moved).values())
    assert run(moved, "--multi30k", base, *folders)[0] == 0  # again, over the old one
    # One folder inside the dataset would be replaced by its own links.
    shutil.copytree(base / "images", tmp_path / "own" / "images")
    said = _refused(run, tmp_path / "own", "--multi30k", base, "--images", tmp_path / "own" / "images", *folders)
    assert "found 'images'" in said
    assert not (tmp_path / "own" / "images" / "train_0.jpg").is_symlink()


def test_bad_images_of_several_folders_are_refused(base: Path, tmp_path: Path, run: Run) -> None:
    more = tmp_path / "more"
    more.mkdir()
    folders = ["--images", base / "images", "--images", more]
    (more / "val_0.jpg").write_text("no picture")
    said = _refused(run, tmp_path / "out", "--multi30k", base, *folders)
    assert "1 of 4 images cannot be decoded: val_0.jpg" in said
    assert f"{base / 'images'} + {more}" in said
    assert run(tmp_path / "out", "--multi30k", base, *folders, "--unreadable", "skip")[0] == 0
    assert read_split(tmp_path / "out", "val")["has_image"][:] == [False, True, False]
    assert f"--images: no folder {tmp_path / 'nope'}" in _refused(
        run, tmp_path / "other", "--multi30k", base, *folders, "--images", tmp_path / "nope"
    )


@pytest.mark.parametrize(
    "damage",
    [lambda raw: b"", lambda raw: b"no picture", lambda raw: raw[: len(raw) - 60]],
    ids=["empty", "no-picture", "truncated"],
)
def test_unreadable_images_are_named_or_counted(
    base: Path, tmp_path: Path, run: Run, damage: Callable[[bytes], bytes]
) -> None:
    path = base / "images" / "train_1.jpg"
    Image.effect_noise((64, 64), 90).save(path)
    path.write_bytes(damage(path.read_bytes()))
    said = _refused(run, tmp_path / "out", "--multi30k", base)
    assert "1 of 4 images" in said
    assert "train_1.jpg" in said
    assert not (tmp_path / "out").exists()
    status, _, complaint = run(tmp_path / "out", "--multi30k", base, "--unreadable", "skip")
    assert status == 0
    assert "train_1.jpg" in complaint
    assert read_split(tmp_path / "out", "train")["has_image"][:] == [True, False, False]


def test_many_unreadable_images_are_ten_names_and_a_count(base: Path, tmp_path: Path, run: Run) -> None:
    names = [f"{i:02d}.jpg" for i in range(13)]
    for name in names:
        (base / "images" / name).write_text("no picture")
    (base / "raw" / "t.en").write_text("a\n" * 13)
    (base / "raw" / "t.de").write_text("b\n" * 13)
    (base / "image_splits" / "t.txt").write_text("\n".join(names))
    said = _refused(run, tmp_path / "out", "--multi30k", base)
    assert ", ".join(names[:10]) + " and 3 more" in said
    assert names[10] not in said


@pytest.mark.parametrize(
    "name", ["../secret.jpg", "/etc/passwd", "a/train_1.jpg", "..", "..\\x.jpg", "../x.jpg#0"]
)
def test_an_image_name_never_leaves_the_image_folder(base: Path, tmp_path: Path, run: Run, name: str) -> None:
    Image.new("RGB", (8, 8)).save(base / "secret.jpg")
    (base / "image_splits" / "train.txt").write_text(f"train_0.jpg\n{name}\ntrain_2.jpg\n")
    said = _refused(run, tmp_path / "out", "--multi30k", base)
    assert "train.txt:2" in said
    assert "names another folder" in said


def _write(path: Path, raw: bytes) -> None:
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda b: _write(b / "raw/train.de.gz", b"a\nb\n"), ["train.en.gz has 3", "train.de.gz has 2"]),
        (lambda b: _write(b / "image_splits/val.txt", b"a\nb\n"), ["val.en.gz has 3", "val.txt has 2"]),
        (lambda b: _write(b / "raw/train.de.gz", b"a\nsch\xf6n\nc\n"), ["train.de.gz: line 2, byte 4", "0xf6"]),
        (lambda b: _write(b / "raw/val.en.gz", b""), ["val.en.gz", "empty"]),
        (lambda b: _write(b / "raw/val.en.gz", b"a\n\nc\n"), ["val.en.gz: line 2 is blank"]),
        (lambda b: (b / "raw/val.en.gz").write_bytes(b"x"), ["val.en.gz", "gzip"]),
        (lambda b: _write(b / "raw/val.en", b"a\nb\nc\n"), ["both val.en and val.en.gz"]),
        (lambda b: (b / "image_splits/val.txt").unlink(), ["val.txt: no such file", "has train.txt"]),
        (lambda b: shutil.rmtree(b / "images"), ["--images: no folder", "--no-images"]),
        (
            lambda b: [p.unlink() for p in (b / "images").iterdir()],
            ["none of the 6 images", "'train_0.jpg'", "has nothing"],
        ),
        (lambda b: shutil.rmtree(b / "image_splits"), ["--image-splits: no folder"]),
        (lambda b: shutil.rmtree(b / "raw"), ["no Multi30K there", "data/task1/raw"]),
        (lambda b: [p.unlink() for p in (b / "raw").glob("*.de.gz")], ["SPLIT.de[.gz]", "train.cs.gz"]),
    ],
)
def test_bad_input_is_refused_by_name(
    base: Path, tmp_path: Path, run: Run, damage: Callable[[Path], object], said: list[str]
) -> None:
    damage(base)
    complaint = _refused(run, tmp_path / "out", "--multi30k", base)
    for part in said:
        assert part in complaint
    assert not (tmp_path / "out").exists()


def test_contradicting_options_are_refused(base: Path, tmp_path: Path, run: Run) -> None:
    for options, said in [
        ([], "no input"),
        (["--multi30k", base, "--source", "de", "--target", "de"], "both are 'de'"),
        (["--multi30k", base, "--no-images", "--images", base / "images"], "contradicts"),
        (["--multi30k", base, "--no-images", "--only-images"], "contradicts"),
        (["--multi30k", base, "--hub", "some/data"], "contradicts"),
        (["--raw", base / "raw", "--images", base / "images"], "--image-splits is missing"),
        (["--raw", base / "nope", "--no-images"], "--raw: no folder"),
    ]:
        assert said in _refused(run, tmp_path / "out", *options)
    status, _, complaint = run(tmp_path / "out", "--multi30k", base, "--source", "it")
    assert status == 2
    assert "'it' is not one of" in complaint


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that ``load_dataset`` reads as it reads bentrevett/multi30k."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "hub"
    folder.mkdir()
    for split in ("train", "validation"):
        rows: list[dict[str, object]] = [
            {"en": en, "de": de} for en, de in zip(SENTENCES["en"], SENTENCES["de"], strict=True)
        ]
        _write_json(folder / f"{split}.jsonl", rows)
    return folder


def _write_json(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_the_hub_gives_what_raw_files_give(base: Path, tmp_path: Path, run: Run, hub: Path) -> None:
    splits = ["--split", "train", "--split", "validation=val"]
    status, _, complaint = run(tmp_path / "out", "--hub", hub, "--no-images", *splits)
    assert status == 0, complaint
    assert run(tmp_path / "raw", "--multi30k", base, "--no-images")[0] == 0
    assert read_info(tmp_path / "out").splits == read_info(tmp_path / "raw").splits


def test_the_hub_may_pair_languages_and_name_images(base: Path, tmp_path: Path, run: Run, hub: Path) -> None:
    pairs = zip(SENTENCES["cs"], SENTENCES["fr"], strict=True)
    rows: list[dict[str, object]] = [
        {"translation": {"cs": cs, "fr": fr}, "image": f"train_{i}.jpg"} for i, (cs, fr) in enumerate(pairs)
    ]
    for path in hub.iterdir():
        _write_json(path, rows)
    options = ["--hub", hub, "--images", base / "images", "--source", "fr", "--target", "cs"]
    status, _, complaint = run(tmp_path / "out", *options)
    assert status == 0, complaint
    train = read_split(tmp_path / "out", "train")
    assert train["target"][:] == SENTENCES["cs"]
    assert train["has_image"][:] == [True, True, False]


@pytest.mark.parametrize("word", ["null", "NA", "NaN", "None", "nan", "N/A", "7", "1.50", "true", "#N/A", "-inf"])
def test_a_csv_of_the_hub_is_text_whatever_the_word(tmp_path: Path, run: Run, hub: Path, word: str) -> None:
    """A library of tables takes such words for nothing, or for a number."""
    for path in hub.iterdir():
        path.unlink()
    (hub / "train.csv").write_text(f"en,de,image\n{word},Wort,0007\nA dog.,{word},0012\n")
    (tmp_path / "images").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "images" / "0007", "PNG")
    status, _, complaint = run(tmp_path / "out", "--hub", hub, "--images", tmp_path / "images")
    assert status == 0, complaint
    train = read_split(tmp_path / "out", "train")
    assert (train["source"][:], train["target"][:]) == ([word, "A dog."], ["Wort", word])
    assert (train["image"][:], train["has_image"][:]) == (["0007", "0012"], [True, False])


def test_why_a_data_set_cannot_be_loaded_is_said(tmp_path: Path, run: Run, hub: Path) -> None:
    for path in hub.iterdir():
        path.unlink()
    (hub / "train.csv").write_text("en;de\nA dog.;Ein Hund.\nA cat, a dog.;Katze, Hund, Maus.\n")
    said = _refused(run, tmp_path / "out", "--hub", hub, "--no-images")
    assert "cannot be loaded (ParserError: Error tokenizing data." in said


def test_image_names_of_the_hub_may_be_numbers_and_not_pictures(tmp_path: Path, run: Run, hub: Path) -> None:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "images" / "7", "PNG")
    for path in hub.iterdir():
        _write_json(path, [{"en": "a", "de": "b", "image": 7}, {"en": "c", "de": "d", "image": None}])
    assert run(tmp_path / "out", "--hub", hub, "--images", tmp_path / "images")[0] == 0
    assert read_split(tmp_path / "out", "train")["image"][:] == ["7", ""]
    for path in hub.iterdir():
        _write_json(path, [{"en": "a", "de": "b", "image": 7.5}])
    said = _refused(run, tmp_path / "out", "--hub", hub, "--images", tmp_path / "images")
    assert "expected file names in the column 'image', found values of the kind float64" in said


def test_bad_hub_data_is_refused(base: Path, tmp_path: Path, run: Run, hub: Path) -> None:
    out = tmp_path / "out"
    said = _refused(run, out, "--hub", hub, "--no-images", "--target", "fr")
    assert "no text column 'fr'; its columns are en, de" in said
    assert "Did you mean 'validation'" in _refused(run, out, "--hub", hub, "--no-images", "--split", "valid")
    assert "no sentence names an image" in _refused(run, out, "--hub", hub, "--images", base / "images")
    for path in hub.iterdir():
        _write_json(path, [{"en": "a", "de": "b"}, {"en": " ", "de": "b"}])
    assert "row 2: expected text in 'en'" in _refused(run, out, "--hub", hub, "--no-images")


def test_a_hub_that_does_not_answer_is_one_line(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    for failure, said in [
        (ConnectionError("Couldn't reach it"), "does not answer"),
        (ValueError("Config name is missing.\nPick one of ['a', 'b']"), "Config name is missing."),
    ]:

        def fail(name: str, failure: Exception = failure) -> None:
            raise failure

        monkeypatch.setattr(datasets, "load_dataset_builder", fail)
        assert said in _refused(run, tmp_path / "out", "--hub", "bentrevett/multi30k", "--no-images")


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no Multi30K in {REAL} (set MMT_DATA)")
@pytest.mark.parametrize(("source", "target"), [("en", "de"), ("cs", "en")])
def test_real_multi30k_has_the_known_counts(tmp_path: Path, run: Run, source: str, target: str) -> None:
    splits = ["--split", "val", "--split", "test_2016_flickr"]  # decoding the training images takes seconds
    status, _, complaint = run(
        tmp_path / "out", "--multi30k", REAL, "--source", source, "--target", target, *splits
    )
    assert status == 0, complaint
    counts = {
        name: (split.sentences, split.images_found, split.images_missing)
        for name, split in read_info(tmp_path / "out").splits.items()
    }
    assert counts == {"val": (1014, 242, 772), "test_2016_flickr": (1000, 243, 757)}
    first = read_split(tmp_path / "out", "test_2016_flickr")[0]
    assert first["image"] == "1007129816.jpg"
    text = first["source"] if source == "en" else first["target"]
    assert text == "A man in an orange hat starring at something."


@pytest.mark.skipif(not (REAL / "images_more").is_dir(), reason=f"no images_more in {REAL} (set MMT_DATA)")
def test_real_multi30k_with_both_image_folders_has_the_known_counts(tmp_path: Path, run: Run) -> None:
    splits = ["--split", "val", "--split", "test_2016_flickr"]
    folders = ["--images", REAL / "images", "--images", REAL / "images_more"]
    status, _, complaint = run(tmp_path / "out", "--multi30k", REAL, *folders, *splits)
    assert status == 0, complaint
    found = {name: split.images_found for name, split in read_info(tmp_path / "out").splits.items()}
    assert found == {"val": 330, "test_2016_flickr": 334}
