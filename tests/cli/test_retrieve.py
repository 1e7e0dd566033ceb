"""``mmt retrieve``: what is built is found again, by text and by image, and every answer reaches every output."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from mmt.cli.main import main
from mmt.data.dataset import DatasetInfo, write_dataset
from mmt.data.feature_store import FeatureStore
from mmt.data.tokenizer import Tokenizer
from mmt.features.extract import extract_features
from mmt.features.images import find_images
from mmt.features.load import load_backbone
from mmt.inference.embedding import embed_images, embed_sentences
from mmt.inference.torch_runtime import Translator
from mmt.model.card import ModelCard
from mmt.model.folder import save_model
from tests.worlds import NOUNS, tiny_model

HOSTILE = "<script>alert(1)<script>.png"


@pytest.fixture(scope="module")
def here(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``photos/`` of noise (one is broken), ``data`` of them, ``features`` and a random ``model``."""
    folder = tmp_path_factory.mktemp("retrieve")
    (folder / "photos").mkdir()
    names = [f"{noun}.png" for noun in NOUNS]
    for number, name in enumerate(names):
        picture = np.random.default_rng(number).integers(0, 255, (8, 8, 3), np.uint8)
        Image.fromarray(picture).resize((48, 48), Image.Resampling.NEAREST).save(folder / "photos" / name)
    extract_features(find_images(folder / "photos"), load_backbone("efficientnet_lite0"), folder / "features")
    (folder / "photos" / "broken.png").write_bytes(b"\x89PNG nothing")
    rows = [
        {"id": str(n), "image": name, "source": f"A {noun} sees the ball.", "target": "", "has_image": True}
        for n, (noun, name) in enumerate(zip([*NOUNS, "dog"], [*names, names[0]], strict=True))
    ]
    write_dataset(folder / "data", DatasetInfo("tiny", "en", "", str(folder / "photos")), {"test": rows})
    signature = FeatureStore.open(folder / "features").signature
    tokenizer = Tokenizer(world / "tokenizer.model")
    sets = ((signature.num_regions, signature.dim),)
    for name, heads in (("model", ("contrastive",)), ("headless", ())):
        model = tiny_model(tokenizer.vocab_size, "gated", 1, heads=heads, image_sets=sets)
        card = ModelCard(vars(model.config), "en", "", signature)
        save_model(folder / name, model.state_dict(), tokenizer.path, card)
    return folder


def run(here: Path, index: Path, *arguments: object) -> Result:
    options = ["--model", str(here / "model"), "--index", str(index), *map(str, arguments)]
    return CliRunner(env={"COLUMNS": "120"}).invoke(main, ["retrieve", *options])


def refused(here: Path, index: Path, *arguments: object) -> str:
    result = run(here, index, *arguments)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.output
    return result.stderr


def answers(path: Path) -> list[list[str]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [[answer.get("image") or answer["sentence"] for answer in line["answers"]] for line in lines]


def test_an_image_finds_itself_first_and_a_sentence_itself(here: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    picture = here / "photos" / "house.png"
    built = run(here, tmp_path / "i", "--images", here / "photos", "--image", picture, "--output", out)
    assert built.exit_code == 0, built.output
    assert answers(out)[0][0] == "house.png"
    assert "6 images, exact search" in built.stderr
    assert "left out: broken.png" in built.stderr
    text = "A boat sees the ball."
    built = run(here, tmp_path / "s", "--sentences", here / "data", text, "--output", out, "--top", "9")
    assert built.exit_code == 0, built.output
    line = json.loads(out.read_text())
    assert line["answers"][0] == {"rank": 1, "cosine": pytest.approx(1, abs=1e-5), "sentence": text}
    assert len(line["answers"]) == 6  # the sentence that stands twice is there once
    assert (line["query"], line["query_kind"]) == (text, "text")


def test_a_missing_device_is_refused_before_the_index_is_written(here: Path, tmp_path: Path) -> None:
    error = refused(here, tmp_path / "i", "--sentences", here / "data", "--device", "tpu9")
    assert "device 'tpu9' cannot be used" in error
    assert not (tmp_path / "i").exists()


def test_answers_are_in_the_order_of_the_cosines(here: Path, tmp_path: Path) -> None:
    """Texts first, then the file's, then images; and an index asked later says what it said when built."""
    out, texts = tmp_path / "out.jsonl", tmp_path / "texts"
    texts.write_text("a cat\na boat finds the tree\n")
    picture = here / "photos" / "dog.png"
    query = ["a house", "--input", texts, "--image", picture, "--top", 4, "--output", out]
    assert run(here, tmp_path / "i", "--images", here / "features", *query).exit_code == 0
    first = out.read_bytes()
    assert run(here, tmp_path / "i", *query).exit_code == 0
    assert out.read_bytes() == first
    store = FeatureStore.open(here / "features")
    translator = Translator.from_dir(here / "model")
    images = embed_images(Translator.from_dir(here / "model", store), store.ids)
    asked = np.concatenate(
        [
            embed_sentences(translator, ["a house", "a cat", "a boat finds the tree"]),
            embed_images(translator, [picture]),
        ]
    )
    expected = np.argsort(-(asked @ images.T), axis=1)[:, :4]
    assert answers(out) == [[store.ids[row] for row in rows] for rows in expected]


def test_store_and_data_set_together_take_the_images_of_one_and_the_features_of_the_other(
    here: Path, tmp_path: Path
) -> None:
    html = tmp_path / "page.html"
    sources = ["--images", here / "features", "--images", here / "photos"]
    result = run(here, tmp_path / "i", *sources, "a dog", "--html", html, "--top", 9)
    assert result.exit_code == 0, result.output
    assert "left out: broken.png: no features" in result.stderr
    assert html.read_text().count("data:image/jpeg") == 6


def test_the_terminal_shows_every_query_and_answer(here: Path, tmp_path: Path) -> None:
    result = run(here, tmp_path / "i", "--images", here / "features", "a dog", "[red]\x1b[31m", "--top", 3)
    assert result.exit_code == 0, result.output
    assert len(re.findall(r"[│|] +[123] [│|]", result.stdout)) == 6
    assert "a dog" in result.stdout
    assert "[red][U+001B][31m" in result.stdout  # neither markup nor a colour
    assert "of 6 images, exact search" in result.stdout
    (tmp_path / "lines").write_text("[red]\x1b[31m\n\u200b\n\ufeff[red]\u200e\x1b[31m\n", encoding="utf-8")
    result = run(here, tmp_path / "i", "--sentences", tmp_path / "lines", "a dog")
    assert "[red][U+001B][31m" in result.stdout
    assert "of 1 sentence," in result.stdout


def test_the_page_needs_nothing_and_runs_nothing(here: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / HOSTILE).write_bytes((here / "photos" / "dog.png").read_bytes())
    html, bad = tmp_path / "page.html", '"><img src=x onerror=alert(1)> {{ 7*7 }}'
    query = [bad, "--image", here / "photos" / "cat.png", "--html", html]
    assert run(here, tmp_path / "i", "--images", photos, *query).exit_code == 0
    page = html.read_text()
    assert page.count("data:image/jpeg") == 3  # one picture answers both, and the one asked with
    assert "<script" not in page
    assert "src=x" in page
    assert "<img src=x" not in page
    assert "{{ 7*7 }}" in page
    assert not re.search(r"(?:src|href)=\"(?!data:)", page)
    assert "default-src 'none'" in page


def test_a_page_does_without_pictures_that_are_gone(here: Path, tmp_path: Path) -> None:
    html, photos = tmp_path / "page.html", tmp_path / "photos"
    assert run(here, tmp_path / "i", "--images", here / "features", "a dog", "--html", html).exit_code == 0
    assert html.read_text().count('<svg class="empty"') == html.read_text().count("(not at hand)") == 5
    photos.mkdir()
    for name in ("dog.png", "cat.png"):
        (photos / name).write_bytes((here / "photos" / name).read_bytes())
    assert run(here, tmp_path / "i", "--images", photos).exit_code == 0
    (photos / "dog.png").unlink()
    assert run(here, tmp_path / "i", "a dog", "--html", html).exit_code == 0
    assert html.read_text().count('<svg class="empty"') == 1
    assert html.read_text().count("data:image/jpeg") == 1


def test_mistakes_are_named(here: Path, tmp_path: Path) -> None:
    index = tmp_path / "photos"
    assert "nothing to do" in refused(here, index)
    assert "no index there" in refused(here, index, "a dog")
    assert "one of the two" in refused(here, index, "--images", here / "photos", "--sentences", here / "data")
    assert "Did you mean 'dog.png'?" in refused(here, index, "--image", here / "photos" / "dogs.png")
    assert "is a file. Ask with an image by --image" in refused(here, index, here / "photos" / "dog.png")
    assert "TEXT 2: expected a text" in refused(here, index, "a", " ")
    assert "--html and --output are for answers" in refused(
        here, index, "--images", here / "photos", "--html", tmp_path / "page.html"
    )
    assert "expected a folder of images" in refused(here, index, "--images", here / "none")
    assert "already" in refused(here, index, "--images", here / "photos", "--images", here / "data")
    assert "expected --sentences, the dataset" in refused(here, index, "a", "--split", "test")
    assert "Did you mean 'test'?" in refused(here, index, "--sentences", here / "data", "--split", "tets")
    assert "something else" in refused(here, here / "photos", "--sentences", here / "data")
    assert not index.exists()


def test_a_model_without_the_objective_is_refused_before_the_work(here: Path, tmp_path: Path) -> None:
    arguments = ["--model", here / "headless", "--index", tmp_path / "i", "--images", here / "photos"]
    result = CliRunner().invoke(main, ["retrieve", *map(str, arguments)])
    assert result.exit_code == 2
    assert "objectives.contrastive" in result.stderr
    assert "images" not in result.stderr.split("error:")[0]  # no features were made
    assert not (tmp_path / "i").exists()
