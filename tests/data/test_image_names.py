"""Images that are missing are named, each with the nearest that there is; links are followed."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from data_prep import captions, vqa
from mmt.cli.main import main
from mmt.data.batch import missing_images
from mmt.data.dataset import DatasetInfo, read_split, write_dataset
from mmt.data.feature_store import FeatureStore
from mmt.data.image_names import Names, files_below, files_in
from mmt.errors import MMTError
from mmt.features.extract import extract_folder
from mmt.features.extract_report import print_report
from tests.worlds import make_dataset, make_features, tiny_folder


@pytest.mark.parametrize(
    ("missing", "there"),
    [
        ("1.jpg", "1.jpeg"), ("1.jpeg", "1.JPG"), ("A dog.jpg", "a DOG.jpg"), ("0007.jpg", "7.jpg"),
        ("7", "0007.jpg"), ("a%20dog.jpg", "a dog.jpg"), ("a dog.jpg", "a%20dog.jpg"),
        ("e\u0301.JPG", "\u00e9.jpg"), ("\u00e9.jpg", "e\u0301.png"), ("1.jpg", "images/1.jpg"),
        ("train/1.jpg", "1.jpg"), ("a/1.jpg", "b/1.jpg"), ("E%CC%81/007.JPG", "x/\u00c9/7.jpeg/7.png"),
        ("1.jpg", "./1.png"), ("stra\u00dfe.jpg", "STRASSE.jpg"),
        ("COCO_val2014_000000398076.jpg", "398076.jpg"), ("1000092795.jpg", "1000092795_m.jpg"),
    ],
)  # fmt: skip
def test_the_nearest_name_is_found(missing: str, there: str) -> None:
    names = Names(["other.jpg", "12.jpg", there, "photo.png"])
    assert names.nearest(missing) == there
    assert names.hint(missing) == f" (there is '{there}')"


@pytest.mark.parametrize(
    "there", ["\u00e9 1.jpg", "e\u0301\u00a01.jpg", "e\u0301 1\u200b.jpg", "\ufeff\u00e9 1.jpg\u200e"]
)
def test_of_names_that_look_alike_this_is_said(there: str) -> None:
    said = Names(["1.jpg", there]).hint("e\u0301 1.jpg")
    assert said == f" (there is '{there}', in other characters that look alike)"


@pytest.mark.parametrize("missing", ["2.jpg", "a cat.jpg", "", "..", "x" * 5000, "\ud800", "%", "1000.jpg"])
def test_no_name_is_invented(missing: str) -> None:
    assert Names(["1.jpg", "a dog.jpg", "10000.jpg"]).nearest(missing) is None


def test_of_several_alike_the_nearest_is_named() -> None:
    names = Names(["a/7.png", "b/07.jpg", "c/0007.jpeg"])
    assert names.nearest("c/007.jpg") == "c/0007.jpeg"
    assert names.nearest("b/7.jpg") == "b/07.jpg"


def test_the_first_five_are_named_each_once_and_the_rest_counted() -> None:
    said = Names(["1.jpeg"]).listed(["1.jpg", "1.jpg", *(f"{number}.jpg" for number in range(2, 9))])
    assert said == "'1.jpg' (there is '1.jpeg'), '2.jpg', '3.jpg', '4.jpg', '5.jpg' and 3 more"


def test_what_is_there_is_looked_at_only_if_something_is_missing() -> None:
    assert Names(lambda: pytest.fail("was asked")).listed([]) == ""


def test_files_are_found_through_links_and_circles_end(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x.jpg").write_bytes(b"x")
    (tmp_path / "away").mkdir()
    (tmp_path / "away" / "y.jpg").write_bytes(b"y")
    (tmp_path / "a" / "link").symlink_to(tmp_path / "away")
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "z.jpg").symlink_to("nowhere")
    (tmp_path / "away" / "self").symlink_to("self")
    files, left_out = files_below(tmp_path / "a")
    assert files == ["b/x.jpg", "link/y.jpg"]
    assert left_out == {
        "b/up": "a link that leads back to a folder above it",
        "link/self": "a link that leads nowhere",
        "z.jpg": "a link that leads nowhere",
    }
    assert files_in(tmp_path / "a") == set()
    assert files_in(tmp_path / "a" / "link") == {"y.jpg"}


def test_links_that_branch_do_not_multiply_without_end(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / str(number)).mkdir()
        for name in "ab":
            (tmp_path / str(number) / name).symlink_to(f"../{number + 1}")
    (tmp_path / "12").mkdir()
    files, left_out = files_below(tmp_path / "0")
    assert files == []
    assert len(left_out) <= 2**9


# --- in the commands --------------------------------------------------------------------------------------


@pytest.fixture
def gone(world: Path, tmp_path: Path) -> Path:
    """A gated model, a TSV of three images of which one is there, and a folder with others of like names."""
    tiny_folder(tmp_path / "model", world, "gated")
    make_features(tmp_path / "features", ["a/007.jpg", "there.jpg"])
    (tmp_path / "in.tsv").write_text("A dog.\t7.jpeg\nA cat.\tthere.jpg\nA boat.\tnowhere.jpg\n")
    (tmp_path / "out.de").write_text("Ein Hund.\nEine Katze.\nEin Boot.\n")
    return tmp_path


MISSING = "'7.jpeg' (there is 'a/007.jpg'), 'nowhere.jpg'"


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    return result.exit_code, result.stderr


@pytest.mark.parametrize("command", ["translate", "score-pairs"])
def test_missing_images_are_named_by_what_reads_sentences(gone: Path, command: str) -> None:
    options: list[object] = [command, "--model", gone / "model", "--images", gone / "features"]
    options += ["--input", gone / "in.tsv"] if command == "translate" else ["--source", gone / "in.tsv"]
    options += ["--target", gone / "out.de"] if command == "score-pairs" else []
    code, said = run(*options)
    assert code == 2
    assert "line 1: no features for image '7.jpeg'" in said
    assert "(there is 'a/007.jpg')" in said
    code, said = run(*options, "--missing-images", "skip")
    assert code == 0
    assert "2 images missing" in said
    assert f"missing images: {MISSING}\n" in said


def test_a_missing_file_is_named_with_the_nearest_in_its_folder(gone: Path) -> None:
    (gone / "photos").mkdir()
    Image.new("RGB", (4, 4)).save(gone / "photos" / "Dog.JPG", "JPEG")
    (gone / "in.tsv").write_text("A dog.\tphotos/dog.jpg\n")
    code, said = run("translate", "--model", gone / "model", "--input", gone / "in.tsv")
    assert (code, "(there is 'photos/Dog.JPG')" in said) == (2, True)
    (gone / "in.tsv").write_text("A dog.\tdog.jpg\n")
    code, said = run(
        "translate", "--model", gone / "model", "--input", gone / "in.tsv", "--images", gone / "photos"
    )
    assert (code, "(there is 'Dog.JPG')" in said) == (2, True)


def test_a_store_names_the_nearest_id(gone: Path) -> None:
    store = FeatureStore.open(gone / "features")
    with pytest.raises(MMTError, match=r"\(there is 'a/007.jpg'\)"):
        store.get(["7.jpeg"])
    columns = {"image": ["7.jpeg", "there.jpg", "7.jpeg", "x"], "has_image": [True, True, True, False]}
    assert missing_images(columns, store) == ["7.jpeg"]


def test_features_name_the_nearest_file_of_a_missing_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_dataset(tmp_path / "data", {"train": 3})
    images = tmp_path / "data_images"
    (images / "train-0.png").rename(images / "Train-00.PNG")
    print_report(extract_folder(data, tmp_path / "out", progress=False))
    assert "train-0.png: no such file or directory (there is 'Train-00.PNG')" in capsys.readouterr().out


def test_training_names_images_without_features(world: Path, tmp_path: Path) -> None:
    import yaml

    rows = [
        {"id": str(n), "image": f"{n:03}.jpeg", "source": s["source"], "target": s["target"], "has_image": True}
        for n, s in enumerate(read_split(world / "data", "train"))
    ]
    splits = {"train": rows, "val": rows[10:13]}
    write_dataset(tmp_path / "data", DatasetInfo("x", "en", "de", str(tmp_path)), splits)
    make_features(tmp_path / "features", [f"{n}.jpg" for n in range(10)] + [f"{n:03}.jpeg" for n in range(6, 99)])
    config = {
        "data": {"path": str(tmp_path / "data")},
        "images": {"features": str(tmp_path / "features")},
        "text": {"vocab_size": 330},
        "model": {"fusion": "gated", "model_dim": 16, "ffn_dim": 16, "num_heads": 2},
        "regime": {"num_steps": 1, "validate_every": 1, "report_every": 1},
        "decoding": {"export": False},
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    code, said = run("train", tmp_path / "run", "--config-file", tmp_path / "c.yaml")
    assert code == 0, said
    said = " ".join(said.split())
    assert "train: 6 images have no features" in said
    assert "'000.jpeg' (there is '0.jpg'), '001.jpeg' (there is '1.jpg')" in said
    assert "and 1 more" in said


def test_preparing_names_missing_images_and_follows_links(tmp_path: Path) -> None:
    base = tmp_path / "multi30k"
    for name in ("raw", "image_splits", "elsewhere"):
        (base / name).mkdir(parents=True)
    (base / "images").symlink_to("elsewhere")
    for split in ("train", "val", "test_2016_flickr"):
        for language in ("en", "de"):
            (base / "raw" / f"{split}.{language}").write_text("a\nb\nc\n")
        (base / "image_splits" / f"{split}.txt").write_text(f"{split}_1.jpg\n{split}_02.jpg\n{split}_3.jpg\n")
        Image.new("RGB", (8, 8)).save(base / "elsewhere" / f"{split}_1.jpg")
        Image.new("RGB", (8, 8)).save(base / "elsewhere" / f"{split}_2.jpeg")
        (base / "elsewhere" / f"{split}_3.jpg").symlink_to("nowhere")
    from data_prep import multi30k

    for command, count in ((multi30k, "6 of 9"), (captions, "2 of 3")):
        result = CliRunner().invoke(command.main, [str(tmp_path / "out"), "--multi30k", str(base)])
        assert result.exit_code == 0, result.stderr
        assert f"missing, {count} images: " in result.stderr
        assert "'train_02.jpg' (there is 'train_2.jpeg')" in result.stderr
        assert read_split(tmp_path / "out", "train")["image"][0] == "train_1.jpg"
        assert result.stderr.count("train_3.jpg") == 1


def test_questions_name_missing_images_and_follow_links(tmp_path: Path) -> None:
    (tmp_path / "coco").mkdir()
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "sub").symlink_to("../coco")
    Image.new("RGB", (8, 8)).save(tmp_path / "coco" / "1.jpg")
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "2.JPG", "JPEG")
    questions = {
        str(n): {"imageId": image, "question": "what?", "answer": "it", "types": {"structural": "query"}}
        for n, image in enumerate(("sub/1", "2", "3"))
    }
    import json

    (tmp_path / "train_x.json").write_text(json.dumps(questions))
    options = ["gqa", str(tmp_path / "out"), "--questions", str(tmp_path / "train_x.json")]
    result = CliRunner().invoke(vqa.main, [*options, "--images", str(tmp_path / "images")])
    assert result.exit_code == 0, result.stderr
    assert "missing, 2 of 3 images: '2.jpg' (there is '2.JPG'), '3.jpg'" in result.stderr
    assert read_split(tmp_path / "out", "train")["image"][:] == ["sub/1.jpg"]
