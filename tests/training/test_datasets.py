"""Several datasets of one language pair: ratios, the tag of back-translated sources, validation on the first."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mmt.data.dataset import DatasetInfo, image_folder, read_info, read_split, write_dataset
from mmt.data.pretrained_tokenizer import open_tokenizer
from mmt.data.sampling import EpochSampling, upsampled_counts
from mmt.data.tags import check_tag, is_tag
from mmt.data.tokenizer import TOKENIZER, Tokenizer, train_tokenizer
from mmt.errors import MMTError
from mmt.inference.torch_runtime import Translator
from mmt.model.card import read_card
from mmt.training.config import TrainConfig
from mmt.training.config_file import read_config
from mmt.training.multilingual import read_datasets, sampling_of
from mmt.training.recipe import train
from mmt.training.run import Run
from tests.worlds import (
    SETTINGS,
    assert_same_weights,
    reports,
    weights,
)


@pytest.fixture(scope="module")
def back(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A back-translated dataset beside the world's: 20 sentences, some with an image, and no validation split."""
    folder = tmp_path_factory.mktemp("back") / "bt"
    rows = [
        {**row, "id": f"bt-{n}", "source": row["source"].replace("A ", "one ")}
        for n, row in enumerate(read_split(world / "data", "train"))
    ][:20]
    info = DatasetInfo("tiny_bt", "en", "de", str(image_folder(world / "data")), tag="<bt>")
    write_dataset(folder, info, {"train": rows})
    return folder


def _settings(world: Path, back: Path, *more: str, upsample: str = "[2, 1]", fusion: str = "gated") -> list[str]:
    every = [f"data.datasets=[{world / 'data'}, {back}]", f"data.upsample={upsample}", f"model.fusion={fusion}"]
    if fusion != "none":
        every.append(f"images.features={world / 'features'}")
    return list({one.partition("=")[0]: one for one in [*every, *SETTINGS, *more]}.values())


def _config(world: Path, back: Path, *more: str, **options: str) -> TrainConfig:
    return read_config(None, _settings(world, back, *more, **options))


def test_a_tag_stands_before_the_sources_of_its_dataset_alone(world: Path, back: Path, tmp_path: Path) -> None:
    config = _config(world, back)
    run = Run.prepare(tmp_path / "run", config)
    tokenizer = open_tokenizer(tmp_path / "run")
    assert isinstance(run.train_set, list)
    assert Counter(example.dataset for example in run.train_set) == {0: 60, 1: 20}
    assert sum(example.image is not None for example in run.train_set) == 40
    for example in run.train_set:
        pieces = tokenizer.pieces(example.source)
        assert pieces.count("<bt>") == (pieces[0] == "<bt>") == example.dataset
    assert {example.dataset for example in run.valid_set} == {0}
    assert len(run.valid_set) == 10
    assert not (tmp_path / "run" / "tokenizer.json").exists()  # no tags of languages


def test_the_vocabulary_is_that_of_the_first_dataset(world: Path, back: Path, tmp_path: Path) -> None:
    """The same pieces as on the first alone, but for the tag, and the same file without one."""
    alone = [f"data.path={world / 'data'}", *SETTINGS, "model.fusion=none"]
    Run.prepare(tmp_path / "alone", read_config(None, alone))
    plain = tmp_path / "plain"
    rows = {"train": list(read_split(back, "train"))}
    write_dataset(plain, DatasetInfo("plain", "en", "de", ""), rows)
    Run.prepare(tmp_path / "both", _config(world, plain, fusion="none"))
    assert (tmp_path / "both" / TOKENIZER).read_bytes() == (tmp_path / "alone" / TOKENIZER).read_bytes()


def test_a_model_of_both_translates_and_has_one_pair(world: Path, back: Path, tmp_path: Path) -> None:
    model = train(tmp_path / "run", _config(world, back))
    card = read_card(model)
    assert (card.source_lang, card.target_lang) == ("en", "de")
    assert "pairs" not in card.training
    assert card.training["data"] == "tiny+tiny_bt (en-de)"
    assert card.training["sentences"] == 80
    last = reports(tmp_path / "run", "valid")[-1]
    assert "BLEU" in last
    assert not [name for name in last if name.startswith("bleu_")]
    translator = Translator.from_dir(model, world / "features")
    assert translator.tokenizer.source_prefix == ()
    assert len(translator.translate(["A dog sees the cat."])) == 1


def test_an_interrupted_run_resumes_exactly(world: Path, back: Path, tmp_path: Path) -> None:
    train(tmp_path / "whole", _config(world, back))
    train(tmp_path / "parts", _config(world, back, "regime.num_steps=6"))
    train(tmp_path / "parts", _config(world, back))
    assert_same_weights(weights(tmp_path / "parts", 12), weights(tmp_path / "whole", 12))
    with pytest.raises(MMTError, match=r"data\.upsample = \[2"):
        train(tmp_path / "whole", _config(world, back, upsample="[1, 1]"))


@pytest.mark.parametrize("ratios", [(5.0, 1.0), (1.0, 1.0), (2.5, 0.5), (0.01, 1.0)])
def test_an_epoch_reads_each_dataset_as_often_as_said(ratios: tuple[float, float]) -> None:
    """Each sentence as often as the others of its dataset, in one epoch and in many."""
    sizes = (12, 40)
    sampling = EpochSampling(sizes, upsampled_counts(sizes, ratios))
    counted = Counter[int]()
    for epoch in range(200):
        rows = Counter(sampling.rows(np.random.default_rng(epoch)).tolist())
        counted.update(rows)
        for first, size, ratio in ((0, 12, ratios[0]), (12, 40, ratios[1])):
            times = [rows[row] for row in range(first, first + size)]
            assert sum(times) == max(1, round(size * ratio))
            assert max(times) - min(times) <= 1
    first = [counted[row] for row in range(12)]
    assert min(first) > 0
    assert sum(first) == 200 * max(1, round(12 * ratios[0]))


def test_the_runs_epochs_have_the_ratios_of_the_config(world: Path, back: Path) -> None:
    config, tokenizer = _config(world, back, fusion="none", upsample="[3, 0.5]"), Tokenizer(world / TOKENIZER)
    info = read_info(world / "data")
    examples = read_datasets(config, "train", [info, info], tokenizer, None)
    sampling = sampling_of(config, examples)
    assert sampling is not None
    assert sampling.counts == [180, 10]


# --- tags -------------------------------------------------------------------------------------------------


def test_a_tagged_dataset_alone_is_trained_with_its_tag(world: Path, back: Path, tmp_path: Path) -> None:
    settings = [
        f"data.path={back}",
        "data.valid_split=train",
        *SETTINGS,
        "model.fusion=none",
        "text.vocab_size=310",
    ]
    settings = list({one.partition("=")[0]: one for one in settings}.values())
    for more in ([], ["data.streams=1"]):
        output = tmp_path / f"run{len(more)}"
        run = Run.prepare(output, read_config(None, [*settings, *more]))
        examples = run.train_set if isinstance(run.train_set, list) else run.train_set.examples(0, 20)
        tag = open_tokenizer(output).tagged("<bt>").source_prefix
        assert {tuple(example.source[:1]) for example in examples} == {tag}


def test_no_text_contains_a_tag(tmp_path: Path) -> None:
    train_tokenizer(["a dog sees <bt> it", "ein hund"] * 9, 290, tmp_path / TOKENIZER, tags=["<bt>"])
    plain = Tokenizer(tmp_path / TOKENIZER)
    bound = plain.tagged("<bt>")
    assert bound.encode("a dog") == [*bound.source_prefix, *plain.encode("a dog")]
    assert bound.encode_target("a dog") == plain.encode("a dog")
    assert bound.source_prefix[0] not in plain.encode("<bt> a dog")
    assert bound.decode(bound.encode("a <bt> dog")) == "a <bt> dog"
    assert bound.encode("") == []
    assert bound.lengths[bound.source_prefix[0]] == 0
    assert plain.lowercases
    assert plain.tagged("") is plain


def test_a_vocabulary_without_the_tag_is_refused(world: Path, back: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer(world / TOKENIZER)
    for tag in ("<bt>", "Hund", "</s>"):
        with pytest.raises(MMTError, match=f"have the tag '{tag}', which is no piece of this vocabulary"):
            tokenizer.tagged(tag)


@pytest.mark.parametrize(
    "tag", ["bt", "<b t>", "<bt", "<>", "<s>", "</s>", "<pad>", "<unk>", "<2de>", "<0x0A>", ""]
)
def test_what_is_no_tag_is_refused(tag: str) -> None:
    assert not is_tag(tag)
    with pytest.raises(MMTError, match=r"--tag: expected a word in angle brackets"):
        check_tag(tag, "--tag")


def test_a_datasets_tag_is_in_its_description(world: Path, back: Path) -> None:
    assert read_info(back).tag == "<bt>"
    assert read_info(world / "data").tag == ""
    assert "tag" not in (world / "data" / "dataset.json").read_text()  # earlier versions read it
    path = back / "dataset.json"
    text = path.read_text()
    path.write_text(text.replace("<bt>", "bt"))
    with pytest.raises(MMTError, match="not a dataset description"):
        read_info(back)
    path.write_text(text)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            {"upsample": "[1, 2, 3]"},
            r"data\.upsample: expected a number for each of data\.datasets \(2\), found 3",
        ),
        ({"upsample": "[0, 1]"}, r"data\.upsample"),
        ({"upsample": "5"}, r"data\.upsample"),
    ],
)
def test_ratios_that_do_not_fit_are_refused(world: Path, back: Path, more: dict[str, str], said: str) -> None:
    with pytest.raises(MMTError, match=said):
        _config(world, back, **more)
    with pytest.raises(MMTError, match=r"data\.upsample and data\.temperature exclude each other"):
        _config(world, back, "data.temperature=2")
    with pytest.raises(MMTError, match=r"data\.upsample: expected a number for each of data\.datasets \(0\)"):
        read_config(None, ["data.path=x", "data.upsample=[1, 1]"])
