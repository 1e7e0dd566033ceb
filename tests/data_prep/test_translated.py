"""A dataset with other targets: captions and what a text model makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from data_prep import translated, translating
from data_prep.pair_filters import PairFilter, loops
from data_prep.translated import prepare
from mmt.data.dataset import DatasetInfo, image_folder, read_info, read_split, write_dataset
from mmt.errors import MMTError
from mmt.inference.files import FileTranslator
from mmt.inference.torch_runtime import Translator
from mmt.io.atomic import hold
from mmt.training.recipe import train
from tests.worlds import config, tiny_folder


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    made = tmp_path / "made"
    made.mkdir()
    Image.new("RGB", (4, 4)).save(made / "0.png")
    rows = [
        {"id": str(n), "image": f"{n}.png", "source": text, "target": "", "has_image": n == 0, "caption": n}
        for n, text in enumerate(["A dog.", "A cat.", "A cow."])
    ]
    info = DatasetInfo("captions", "en", "", "images")
    write_dataset(tmp_path / "captions", info, {"train": rows, "val": rows}, images_from=made)
    return tmp_path / "captions"


def test_captions_get_their_translations_and_keep_all_else(captions: Path, tmp_path: Path) -> None:
    (tmp_path / "a.de").write_text("Ein Hund.\n\nEine Kuh.\n")
    texts = [{"translations": [{"text": text}]} for text in ("Hund", "Katze", "Kuh")]
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(text) + "\n" for text in texts))
    arguments = [tmp_path / "out", captions, "--target", "de"]
    arguments += ["--text", f"train={tmp_path / 'a.de'}", "--text", f"val={tmp_path / 'b.jsonl'}"]
    with pytest.raises(SystemExit) as stop:
        translated.main([*map(str, arguments)], prog_name="translated")
    assert stop.value.code == 0
    info = read_info(tmp_path / "out")
    assert (info.name, info.source_lang, info.target_lang) == ("captions_translated", "en", "de")
    before = list(read_split(captions, "train"))
    assert list(read_split(tmp_path / "out", "train")) == [
        {**before[0], "target": "Ein Hund."}, {**before[2], "target": "Eine Kuh."}
    ]  # fmt: skip
    assert list(read_split(tmp_path / "out", "val")["target"]) == ["Hund", "Katze", "Kuh"]
    assert (image_folder(tmp_path / "out") / "0.png").is_file()


def test_what_does_not_fit_is_refused(captions: Path, tmp_path: Path) -> None:
    with pytest.raises(MMTError, match=r"expected 3 translations.* found 1"):
        prepare(tmp_path / "out", captions, "de", {"train": ["Ein Hund."]})
    with pytest.raises(MMTError, match=r"no split 'trian'\. Did you mean 'train'"):
        prepare(tmp_path / "out", captions, "de", {"trian": ["Ein Hund."]})
    with pytest.raises(MMTError, match="a folder of its own"):
        prepare(captions, captions, "de", {"train": ["Ein Hund."]})
    with pytest.raises(MMTError, match="no translation of 'train' is left"):
        prepare(tmp_path / "out", captions, "de", {"train": ["", " ", ""]})
    assert read_info(captions).target_lang == ""


# --- with a model -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained for a moment, from English to German: it writes words, right or wrong."""
    plain = ("model.dropout_p=0", "data.max_tokens=400", "regime.num_steps=80", "regime.validate_every=40")
    plain += ("regime.report_every=40", "optimizer.lr=0.01", "optimizer.num_warmup_steps=30", "regime.keep_last=1")
    return train(
        tmp_path_factory.mktemp("run") / "run", config(world, *plain, "model.model_dim=32", fusion="none")
    )


@pytest.fixture
def parallel(tmp_path: Path, world: Path) -> Path:
    """The world's data from German to English, so that an en-de model back-translates its targets."""
    rows = [
        {**row, "source": row["target"], "target": row["source"]} for row in read_split(world / "data", "train")
    ]
    images = str(image_folder(world / "data"))
    write_dataset(tmp_path / "de_en", DatasetInfo("tiny", "de", "en", images), {"train": rows})
    return tmp_path / "de_en"


def _run(*arguments: object, code: int = 0) -> None:
    with pytest.raises(SystemExit) as stop:
        translated.main([*map(str, arguments)], prog_name="translated")
    assert stop.value.code == code


def test_back_translated_sentences_are_the_targets(parallel: Path, model: Path, tmp_path: Path) -> None:
    _run(tmp_path / "out", parallel, "--model", model, "--back", "--tag", "<bt>")
    info, before = read_info(tmp_path / "out"), list(read_split(parallel, "train"))
    assert (info.source_lang, info.target_lang, info.tag) == ("de", "en", "<bt>")
    sources = Translator.from_dir(model).translate([row["target"] for row in before])
    assert len(set(sources)) > 20  # else the next line says little
    expected = [{**row, "source": line} for row, line in zip(before, sources, strict=True) if line]
    assert list(read_split(tmp_path / "out", "train")) == expected
    assert image_folder(tmp_path / "out").is_dir()


def test_text_alone_is_back_translated(captions: Path, model: Path, tmp_path: Path) -> None:
    _run(tmp_path / "out", captions, "--model", model, "--back", "--split", "val")
    info, rows = read_info(tmp_path / "out"), list(read_split(tmp_path / "out", "val"))
    assert (info.source_lang, info.target_lang, info.tag, list(info.splits)) == ("de", "en", "", ["val"])
    sources = Translator.from_dir(model).translate(["A dog.", "A cat.", "A cow."])
    assert [row["source"] for row in rows] == sources
    assert [row["target"] for row in rows] == ["A dog.", "A cat.", "A cow."]


def test_a_model_with_images_sees_them(world: Path, tmp_path: Path) -> None:
    model = tiny_folder(tmp_path / "model", world, "gated")
    _run(tmp_path / "out", world / "data", "--model", model, "--split", "test", "--images", world / "features")
    before = list(read_split(world / "data", "test"))
    translator = Translator.from_dir(model, world / "features")
    texts = [row["source"] for row in before]
    images = [row["image"] if row["has_image"] else None for row in before]
    expected = translator.translate(texts, images)
    assert expected != translator.translate(texts)
    found = (tmp_path / "out.translations.jsonl").read_text().splitlines()
    assert [json.loads(line)["text"] for line in found] == expected


def test_an_ensemble_is_distilled(world: Path, tmp_path: Path) -> None:
    models = [tiny_folder(tmp_path / "1", world), tiny_folder(tmp_path / "2", world, "gated", seed=1)]
    joined = "+".join(map(str, models))
    _run(tmp_path / "out", world / "data", "--model", joined, "--split", "test", "--images", world / "features")
    before = list(read_split(world / "data", "test"))
    images = [row["image"] if row["has_image"] else None for row in before]
    expected = Translator.from_dir(models, world / "features").translate([row["source"] for row in before], images)
    assert list(read_split(tmp_path / "out", "test")) == [
        {**row, "target": line} for row, line in zip(before, expected, strict=True)
    ]


def test_an_interrupted_translation_resumes(
    parallel: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And translates nothing twice, nor again for other filters."""
    monkeypatch.setattr(translating, "PART", 16)  # of 60 sentences
    arguments = (parallel, "--model", model, "--back")
    _run(tmp_path / "whole", *arguments)
    whole = FileTranslator.translate
    numbers: list[int] = []

    def translate(self: FileTranslator, **options: object) -> object:
        for line, one in whole(self, **options):  # type: ignore[arg-type]
            if line.number == 40 and numbers.count(33) == 1:
                raise KeyboardInterrupt
            numbers.append(line.number)
            yield line, one

    monkeypatch.setattr(FileTranslator, "translate", translate)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        translated.main([str(tmp_path / "out"), *map(str, arguments)], prog_name="translated")
    assert not (tmp_path / "out").exists()
    _run(tmp_path / "out", *arguments)
    assert sorted(numbers) == sorted([*range(1, 61), *range(33, 40)])  # one part was begun again
    assert read_info(tmp_path / "out") == read_info(tmp_path / "whole")
    monkeypatch.setattr(FileTranslator, "translate", None)
    lines = (tmp_path / "out.translations.jsonl").read_text().splitlines()
    scores = sorted(json.loads(line)["log_prob"] for line in lines)
    _run(tmp_path / "out", *arguments, "--min-log-prob", str(scores[30]))
    assert read_info(tmp_path / "out").splits["train"].sentences == sum(one >= scores[30] for one in scores) < 60
    assert not (tmp_path / "out.translations.jsonl.parts").exists()


def test_processes_share_the_work(
    parallel: Path,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(translating, "PART", 16)
    arguments = (parallel, "--model", model, "--back")
    _run(tmp_path / "whole", *arguments)
    _run(tmp_path / "out", *arguments, "--shard", "2/2")
    assert "the last process merges them" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    _run(tmp_path / "out", *arguments, "--shard", "1/2")
    assert read_info(tmp_path / "out") == read_info(tmp_path / "whole")


def test_a_share_without_parts_waits_for_nobody(
    parallel: Path,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(translating, "PART", 16)  # of 60 sentences: 4 parts
    arguments = (parallel, "--model", model, "--back")
    _run(tmp_path / "out", *arguments, "--shard", "4/5")
    lock = hold(tmp_path / "out.translations.jsonl.parts" / "1-of-4.lock")
    assert lock is not None
    with lock:
        _run(tmp_path / "out", *arguments, "--shard", "5/5")
    assert "no part is left for shard 5/5 of 4 parts" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_the_score_is_the_log_probability_of_a_token(world: Path, model: Path, tmp_path: Path) -> None:
    """Whatever the length penalty, for translations spelled with the pieces that the tokenizer gives them."""
    translator, texts = Translator.from_dir(model), list(read_split(world / "data", "train")["source"])
    means, sums = (
        [one[0] for one in translator.hypotheses(texts, beam_size=1, length_penalty=penalty)]
        for penalty in (1.0, 0.0)
    )
    lengths = [len(translator.encode(one.text, target=True)) + 1 for one in means]
    alike = [round(b.score / a.score) == length for a, b, length in zip(means, sums, lengths, strict=True)]
    assert sum(alike) >= 10
    for penalty in ("0.6", "1.4"):
        out = tmp_path / f"out{penalty}"
        search = ("--beam-size", 1, "--length-penalty", penalty)
        _run(out, world / "data", "--model", model, "--split", "train", *search)
        lines = out.with_name(f"{out.name}.translations.jsonl").read_text().splitlines()
        found = [json.loads(line)["log_prob"] for line in lines]
        assert [one for one, same in zip(found, alike, strict=True) if same] == pytest.approx(
            [one.score for one, same in zip(means, alike, strict=True) if same], abs=1e-4
        )


def test_options_that_do_not_fit_are_refused(
    parallel: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, said in [
        ([], "expected --model or --text"),
        (["--model", model, "--text", "train=x"], "expected --model or --text"),
        (["--model", model], "translates from 'en', but the 'source' sentences of"),
        (["--model", model, "--back", "--target", "de"], "--target de: of --text"),
        (["--model", model, "--tag", "<bt>"], "Add --back"),
        (["--model", model, "--back", "--tag", "bt"], "--tag: expected a word in angle brackets"),
        (["--model", model, "--back", "--tag", "<2de>"], "--tag: expected a word in angle brackets"),
        (["--model", model, "--back", "--split", "vall"], "no split 'vall'"),
        (["--text", "train=x", "--target", "en", "--min-log-prob", "-1"], "no option of --model"),
    ]:
        _run(tmp_path / "out", parallel, *arguments, code=2)
        assert said in capsys.readouterr().err


# --- filters ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "source", "translation", "log_prob", "kept"),
    [
        ({}, "a", "  ", None, False),
        ({}, "a", "a a a a a", -9.0, True),
        ({"no_copies": True}, "Ein Taxi.", "ein  taxi.", None, False),
        ({"no_copies": True}, "Ein Taxi.", "A taxi.", None, True),
        ({"no_loops": True}, "ein hund", "a dog and a dog and a dog and", None, False),
        ({"no_loops": True}, "ein sehr sehr sehr großer hund", "a very very very big dog", None, True),
        ({"no_loops": True}, "ein hund", "a very very big dog", None, True),
        ({"max_ratio": 2.0}, "a b", "a b c d", None, True),
        ({"max_ratio": 2.0}, "a b", "a b c d e", None, False),
        ({"max_ratio": 2.0}, "a b c d e", "a b", None, False),
        ({"min_log_prob": -1.0}, "a", "b", -1.0, True),
        ({"min_log_prob": -1.0}, "a", "b", -1.01, False),
        ({"min_log_prob": -1.0}, "a", "b", None, True),
    ],
)
def test_each_filter_leaves_out_what_it_says(
    rule: dict[str, Any], source: str, translation: str, log_prob: float | None, kept: bool
) -> None:
    one = PairFilter(**rule)
    assert one.keeps(source, translation, log_prob) == kept
    assert one.left_out.total() == (0 if kept else 1)


@pytest.mark.parametrize("size", range(1, 6))
@pytest.mark.parametrize("times", [2, 3, 4])
def test_a_phrase_three_times_in_a_row_is_a_loop(size: int, times: int) -> None:
    """Against the words around it, for phrases of one to four words."""
    phrase = [f"w{n}" for n in range(size)]
    text = " ".join(["x", "y", *phrase * times, "z"])
    assert loops(text) == (times >= 3 and size <= 4)


def test_what_is_left_out_is_counted(captions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = {"train": ["", "A cat.", "Eine Kuh auf einer Wiese."]}
    prepare(tmp_path / "out", captions, "de", found, filtered=PairFilter(no_copies=True, max_ratio=5))
    said = capsys.readouterr().err
    assert "train: left out: 1 of 3 with a blank translation" in said
    assert "train: left out: 1 of 3 whose translation is a copy" in said
