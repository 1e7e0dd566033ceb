"""Hard use: damaged and hostile input is refused by name, and never read as something else.

The first test draws a few hundred of the cases of ``python -m tests.hard.fuzz``; the others are what it has found.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import shutil
import struct
import time
import unicodedata
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import mmt.io.text_files
from data_prep.hub import read_hub
from data_prep.mosi import read_table
from data_prep.vqa import gqa, vqa2
from mmt.cli.main import main
from mmt.data.dataset import DatasetInfo, read_info, read_split, write_dataset
from mmt.data.feature_store import FeatureStore
from mmt.data.inputs import Images, Input, Line, open_file
from mmt.data.tokenizer import Tokenizer
from mmt.errors import MMTError
from mmt.evidence.contrastive import Item
from mmt.evidence.contrastive import find_images as find_commute_images
from mmt.features.decoding import decode_image
from mmt.features.images import ImageError
from mmt.features.writer import FeatureWriter
from mmt.inference.files import FileProcessor, write_output
from mmt.inference.index import Index, open_index, write_index
from mmt.inference.labelling import Prediction, write_predictions
from mmt.inference.retrieve import Answer, Query
from mmt.inference.torch_runtime import Translation, Translator
from mmt.io.normalization import normalize
from mmt.io.text_files import parse_json, read_lines
from mmt.model.card import read_card
from mmt.model.config import MMTConfig
from mmt.model.folder import load_model
from mmt.report.retrieval import render
from mmt.training.config_file import read_config
from mmt.training.selection import choose
from tests.hard.fuzz import READERS, SHARES, run_case
from tests.worlds import make_dataset, make_features, tiny_folder

DEEP = "[" * 100_000


@pytest.mark.parametrize("name", READERS)
def test_no_input_is_read_as_something_else(name: str, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    reader = READERS[name](tmp_path / "base")
    for number in range(2 * SHARES[name] + 10):
        folder = tmp_path / f"case{number}"
        folder.mkdir()
        outcome, said = run_case(reader, 7, number, folder)
        assert outcome in ("accepted", "refused"), f"--seed 7 --only {name} --number {number}: {said}"


# --- messages ---------------------------------------------------------------------------------------------


def test_a_message_is_one_line_whatever_it_quotes() -> None:
    said = str(MMTError("no 'a\nb\x1b[2J\u202e\u2028\ud800é' here"))
    assert said == "no 'a\\nb\\x1b[2J\\u202e\\u2028\\ud800é' here"
    long = str(MMTError("in a.txt: " + "x" * 100_000 + " remedy"))
    assert len(long) < 4000
    assert long.startswith("in a.txt")
    assert long.endswith("remedy")


# --- text -------------------------------------------------------------------------------------------------


def test_marks_without_end_take_no_time_without_end() -> None:
    few = "a" + "\u0301\u0316" * 60 + " b"
    assert normalize(few) == unicodedata.normalize("NFC", few)
    started = time.monotonic()
    many = normalize("a" + "\u0301\u0316" * 100_000)  # 7.5 s for 40,000, and four times that for twice as many
    assert time.monotonic() - started < 3
    assert normalize(many) == many
    assert many.replace("\u034f", "").count("\u0316") == 100_000


def test_a_model_that_spells_a_line_feed_writes_one_line(tokenizer: Tokenizer) -> None:
    pieces = tokenizer.pieces(range(tokenizer.vocab_size))
    ids = [pieces.index(f"<0x{byte:02X}>") for byte in b"a\nb\rc\x0b\xe2\x80\xa8d"]
    assert tokenizer.decode(ids) == "a b c  d"


def test_a_tokenizer_with_a_table_that_ends_the_process_is_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    table = struct.pack("<I", 256) + struct.pack("<I", 0x7FFFFF00) * 64 + b"abc\0"
    spec = b"\x12" + bytes([len(table) & 127 | 128, len(table) >> 7]) + table
    field = b"\x1a" + bytes([len(spec) & 127 | 128, len(spec) >> 7]) + spec
    (tmp_path / "tokenizer.model").write_bytes(tokenizer.path.read_bytes() + field)
    with pytest.raises(MMTError, match=r"tokenizer\.model: not a SentencePiece model"):
        Tokenizer(tmp_path / "tokenizer.model").encode("A dog")


@pytest.mark.parametrize("name", ["o.txt", "o.jsonl"])
def test_half_a_surrogate_pair_is_written_as_it_came(tmp_path: Path, name: str) -> None:
    (tmp_path / "in.jsonl").write_text('{"source": "\\ud800", "image": "\\udc00"}')
    (line,) = open_file(tmp_path / "in.jsonl", None, Images()).lines
    write_output([(line, [Translation("x", 0.0, False)])], tmp_path / name, 1)
    text = (tmp_path / name).read_text(encoding="utf-8")
    assert text == "x\n" if name == "o.txt" else json.loads(text)["source"] == "\ud800"


def test_a_label_of_several_lines_is_one_cell(tmp_path: Path) -> None:
    said = [(Line(n, "x"), Prediction(label, 0.5, None)) for n, label in enumerate(["a\nb", "c\td", "e"])]
    write_predictions(said, tmp_path / "o.txt")
    assert (tmp_path / "o.txt").read_text() == "a b\t0.5\nc d\t0.5\ne\t0.5\n"


def test_json_without_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json(DEEP)
    (tmp_path / "in.jsonl").write_text(DEEP)
    with pytest.raises(MMTError, match="line 1: not JSON"):
        list(open_file(tmp_path / "in.jsonl", None, Images()).lines)


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmt.io.text_files, "MAX_LINE", 1000)
    (tmp_path / "a.txt").write_bytes(b"fine\n" + b"x" * 999 + b"\n")
    assert len(read_lines(tmp_path / "a.txt")) == 2
    (tmp_path / "a.txt").write_bytes(b"fine\n" + b"x" * 1001 + b"\n")
    with pytest.raises(MMTError, match=r"a\.txt: line 2 is over 1,000 bytes"):
        read_lines(tmp_path / "a.txt")


def test_a_text_that_unpacks_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmt.io.text_files, "MAX_UNPACKED", 1000)
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"x\n" * 100_000))
    with pytest.raises(MMTError, match=r"a\.gz: unpacks to over 200 times its size"):
        read_lines(tmp_path / "a.gz")


# --- names that would be paths ----------------------------------------------------------------------------


class _Looking:
    """As much of a translator as looking an image up takes."""

    features = None
    tokenizer = SimpleNamespace(training=None)

    def refuse_images(self, what: str) -> None:
        pass


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of one picture, ``in.png``, with links to one outside, ``secret.png``."""
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.new("RGB", (4, 4), "blue").save(folder / "in.png")
    Image.new("RGB", (4, 4), "red").save(tmp_path / "secret.png")
    (folder / "link.png").symlink_to("../secret.png")
    (folder / "up").symlink_to("..")
    return folder


LINKS = ["link.png", "up/secret.png"]
"""The user's own, wherever they lead."""
OUTSIDE = ["../secret.png", "a/../../secret.png"]
NOWHERE = ["in.png\0", "x" * 5000, "\ud800", "in.png/x", ""]


@pytest.mark.parametrize("name", [*OUTSIDE, *NOWHERE])
def test_no_name_of_a_sentences_image_leads_out(photos: Path, name: str) -> None:
    work = FileProcessor(_Looking(), Input(iter(()), None, Images(folder=photos), photos))  # type: ignore[arg-type]
    for followed in ("in.png", *LINKS):
        assert work.image(Line(1, "x", followed)) == photos / followed
    if name:
        with pytest.raises(MMTError, match="line 1"):
            work.image(Line(1, "x", name))


@pytest.mark.parametrize("name", [*OUTSIDE, *NOWHERE])
def test_no_name_of_a_contrastive_image_leads_out(photos: Path, name: str) -> None:
    items = [Item("a", "b", "c", name), Item("a", "b", "c", "in.png")]
    assert find_commute_images(items, photos, missing="skip").images == [photos / "in.png"]
    items = [Item("a", "b", "c", followed) for followed in LINKS]
    assert find_commute_images(items, photos).images == [photos / followed for followed in LINKS]


@pytest.mark.parametrize("name", OUTSIDE)
def test_no_name_in_an_index_shows_a_picture_from_outside(photos: Path, name: str) -> None:
    index = Index("images", [name], str(photos), "exact search", None)
    with pytest.raises(MMTError, match="expected a file name inside"):
        render([Query("a")], [[Answer(1, 0.5, name)]], index, photos)


@pytest.mark.parametrize("change", ["../data/test", "..", "/etc", "a/b", ""])
def test_no_name_in_a_data_set_leads_out(tmp_path: Path, change: str) -> None:
    data = make_dataset(tmp_path / "data", {"test": 3})
    (data / "inner").mkdir()
    raw = json.loads((data / "dataset.json").read_text())
    for key in ("splits", "images"):
        changed = raw | {"splits": {change: raw["splits"]["test"]}} if key == "splits" else raw | {key: change}
        (data / "inner" / "dataset.json").write_text(json.dumps(changed))
        if key == "splits" or change in ("../data/test", "..", "a/b"):
            with pytest.raises(MMTError, match="no name inside the folder"):
                read_info(data / "inner")


# --- pictures and recordings ------------------------------------------------------------------------------


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    from mmt.features.speech import AudioError, decode_audio

    os.mkfifo(tmp_path / "pipe.png")
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(1 << 40)
    for path, said in (
        (tmp_path / "pipe.png", "pipe"),
        (Path("/dev/zero"), "device"),
        (tmp_path / "huge.png", "over the limit"),
        (tmp_path, "directory"),
        (Path("a\0b"), "null"),
    ):
        with pytest.raises(ImageError, match=said):
            decode_image(path)
        with pytest.raises(AudioError, match=said):
            decode_audio(path)


def test_a_picture_that_is_a_program_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("was run"))
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\nshowpage\n%%EOF\n")
    Image.init()  # PIL then knows all kinds
    with pytest.raises(ImageError, match="of another kind than BMP, GIF"):
        decode_image(tmp_path / "a.png")


def test_sixteen_bits_of_a_pgm_keep_the_upper_eight() -> None:
    values = (np.arange(16) * 4096 + 77).astype(">u2")
    found = decode_image(b"P5\n4 4\n65535\n" + values.tobytes())
    assert found[:, :, 0].flatten().tolist() == [int(value) >> 8 for value in values]


# --- tables -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["v,2,0.5,oh, well", "v,2", "v,2,0.5"])
def test_a_line_with_a_comma_too_many_or_too_few_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "label.csv").write_text(f"video_id,clip_id,label,text\nv,1,0.5,well\n{line}\n")
    with pytest.raises(MMTError, match=r"label\.csv: line 3: has not as many cells as the heading \(4\)"):
        list(read_table(tmp_path / "label.csv"))


@pytest.mark.parametrize(
    "value", [DEEP, '{"questions": [3]}', '{"questions": [{}]}', '{"questions": [{"question_id": []}]}']
)
def test_questions_of_another_form_are_refused(tmp_path: Path, value: str) -> None:
    (tmp_path / "q.json").write_text(value)
    with pytest.raises(MMTError, match=r"q\.json: not the official file"):
        vqa2([tmp_path / "q.json"], [], tmp_path)
    (tmp_path / "a.json").write_text('{"data_subtype": "train2014", "annotations": [3]}')
    with pytest.raises(MMTError, match=r"a\.json: not the official file"):
        vqa2([tmp_path / "q.json"], [tmp_path / "a.json"], tmp_path)
    (tmp_path / "train_q.json").write_text('{"1": {"types": {"structural": "x"}, "question": 3}}')
    with pytest.raises(MMTError, match=r"train_q\.json: not the official file"):
        gqa([tmp_path / "train_q.json"])


# --- features ---------------------------------------------------------------------------------------------


def test_ids_in_another_order_are_refused(tmp_path: Path) -> None:
    store = make_features(tmp_path / "s", ["a", "b", "c"])
    store.verify()
    for text in ("b\na\nc\n", "a\nb\nd\n", "a\nB\nc\n"):
        (tmp_path / "s" / "ids.txt").write_text(text)
        with pytest.raises(MMTError, match=r"ids\.txt: damaged, its checksum"):
            FeatureStore.open(tmp_path / "s")
        with pytest.raises(MMTError, match=r"ids\.txt: damaged, its checksum"):
            FeatureWriter(tmp_path / "s", store.signature, "float32")


def test_a_check_sees_a_flipped_bit_of_a_row_and_adding_keeps_the_sums_right(tmp_path: Path) -> None:
    signature = make_features(tmp_path / "s", ["a", "b"]).signature
    with FeatureWriter(tmp_path / "s", signature, "float32") as writer:
        writer.append(["c"], np.ones((1, 1, signature.dim), np.float32))
        FeatureStore.open(tmp_path / "s").verify()  # while rows are being added
        writer.finish()
    run = CliRunner().invoke(main, ["features", "--check", str(tmp_path / "s")])
    assert (run.exit_code, "3 images, whole" in run.output) == (0, True)
    raw = bytearray((tmp_path / "s" / "features.bin").read_bytes())
    raw[17] ^= 1
    (tmp_path / "s" / "features.bin").write_bytes(raw)
    run = CliRunner().invoke(main, ["features", "--check", str(tmp_path / "s")])
    assert (run.exit_code, run.stderr.count("\n")) == (2, 1)
    assert "features.bin: damaged" in run.stderr


def test_a_store_without_sums_is_read_and_says_that_it_cannot_be_checked(tmp_path: Path) -> None:
    make_features(tmp_path / "s", ["a", "b"])
    raw = json.loads((tmp_path / "s" / "meta.json").read_text())
    del raw["sha256"]
    (tmp_path / "s" / "meta.json").write_text(json.dumps(raw))
    store = FeatureStore.open(tmp_path / "s")
    assert store.ids == ["a", "b"]
    with pytest.raises(MMTError, match="has no checksum"):
        store.verify()


@pytest.mark.parametrize(
    ("key", "value"),
    [("num_images", v) for v in (0, -1, 2.5, True, float("inf"), 10**30, None)]
    + [("left_out", v) for v in ([], {"a": 1}, "x")]
    + [("sha256", [])]
    + [("signature", v) for v in ({}, [], {"dim": 0}, {"dim": 1 << 62})],
)
def test_a_description_that_makes_no_sense_is_refused(tmp_path: Path, key: str, value: object) -> None:
    make_features(tmp_path / "s", ["a", "b"])
    raw = json.loads((tmp_path / "s" / "meta.json").read_text())
    raw[key] = raw[key] | value if isinstance(value, dict) and "dim" in value else value
    (tmp_path / "s" / "meta.json").write_text(json.dumps(raw))
    with pytest.raises(MMTError, match=r"meta\.json: not a feature store|expected [\d,]+ ids"):
        FeatureStore.open(tmp_path / "s")


@pytest.mark.parametrize("name", ["ids.txt", "meta.json"])
def test_a_folder_where_a_file_of_the_store_should_be_is_refused(tmp_path: Path, name: str) -> None:
    make_features(tmp_path / "s", ["a", "b"])
    (tmp_path / "s" / name).unlink()
    (tmp_path / "s" / name).mkdir()
    with pytest.raises(MMTError, match=name):
        FeatureStore.open(tmp_path / "s")


@pytest.mark.parametrize(
    "line", ["{}", '{"ids": 3}', '{"ids": [3]}', '{"ids": ["x"], "left_out": 3}', '{"signature": 3}', DEEP]
)
def test_a_journal_of_another_form_ends_there(tmp_path: Path, line: str) -> None:
    signature = make_features(tmp_path / "other", ["a"]).signature
    with FeatureWriter(tmp_path / "s", signature, "float32") as writer:
        writer.append(["a"], np.ones((1, 1, signature.dim), np.float32))
    with (tmp_path / "s" / "journal.jsonl").open("a") as journal:
        journal.write(line + "\n")
    with FeatureWriter(tmp_path / "s", signature, "float32") as writer:
        assert writer.ids == ["a"]


# --- prepared data ----------------------------------------------------------------------------------------


def test_another_splits_rows_are_refused(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data", {"train": 4, "val": 4})
    (data / "train" / "data-00000-of-00001.arrow").replace(data / "val" / "data-00000-of-00001.arrow")
    with pytest.raises(MMTError, match=r"val: damaged .*checksum"):
        read_split(data, "val")


def test_a_flipped_letter_and_a_flipped_length_are_refused(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data", {"test": 8})
    (path,) = (data / "test").glob("*.arrow")
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"A dog", b"A fog", 1).replace(b"A cat", b"A hat", 1))
    with pytest.raises(MMTError, match=r"test: damaged .*checksum"):
        read_split(data, "test")
    at = raw.index(struct.pack("<iii", 0, 6, 12))  # where the ids begin: test-0, test-1
    path.write_bytes(raw[: at + 4] + struct.pack("<i", -(2**30)) + raw[at + 8 :])
    with pytest.raises(MMTError, match="test: damaged"):
        read_split(data, "test")


@pytest.mark.parametrize(
    "change",
    [{"splits": []}, {"splits": {}}, {"images": 3}, {"probe": 3}, {"images": "\0"}, {"source_lang": None}],
)
def test_a_data_description_of_another_form_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    data = make_dataset(tmp_path / "data", {"test": 3})
    raw = json.loads((data / "dataset.json").read_text())
    for text in (json.dumps(raw | change), DEEP):
        (data / "dataset.json").write_text(text)
        with pytest.raises(MMTError, match=r"dataset\.json: not a dataset description"):
            read_info(data)


@pytest.mark.parametrize("value", [3, [], DEEP])
def test_a_description_of_arrow_files_that_makes_no_sense_is_refused(tmp_path: Path, value: object) -> None:
    data = make_dataset(tmp_path / "data", {"test": 3})
    for name in ("state.json", "dataset_info.json"):
        before = (data / "test" / name).read_text()
        (data / "test" / name).write_text(value if value == DEEP else json.dumps(value))  # type: ignore[arg-type]
        with pytest.raises(MMTError, match="test: damaged"):
            read_split(data, "test")
        (data / "test" / name).write_text(before)


def test_numbers_of_two_kinds_have_the_checksum_that_they_are_read_with(tmp_path: Path) -> None:
    row = {"image": "", "source": "a", "target": "b", "has_image": False}
    rows = [row | {"id": "1", "score": 1}, row | {"id": "2", "score": 0.5}]
    write_dataset(tmp_path / "data", DatasetInfo("x", "en", "de", ""), {"test": rows})
    assert [r["score"] for r in read_split(tmp_path / "data", "test")] == [1.0, 0.5]


def test_rows_that_cannot_be_stored_are_refused(tmp_path: Path) -> None:
    row = {"image": "", "source": "a", "target": "b", "has_image": False}
    for other in ({"id": "2", "source": "\ud800"}, {"id": "2", "source": 3}):
        with pytest.raises(MMTError, match="split 'test': cannot be stored"):
            write_dataset(
                tmp_path / "data", DatasetInfo("x", "en", "de", ""), {"test": [row | {"id": "1"}, row | other]}
            )


# --- models -----------------------------------------------------------------------------------------------


def edit_card(folder: Path, **changes: object) -> None:
    raw = json.loads((folder / "mmt.json").read_text())
    (folder / "mmt.json").write_text(json.dumps(raw | changes))


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.model"])
def test_a_flipped_bit_in_a_model_folder_is_seen(world: Path, tmp_path: Path, name: str) -> None:
    folder = tiny_folder(tmp_path / "m", world)
    raw = bytearray((folder / name).read_bytes())
    raw[-5] ^= 4
    (folder / name).write_bytes(raw)
    with pytest.raises(MMTError, match=f"{name}: damaged, its checksum"):
        load_model(folder)


def test_a_folder_of_an_earlier_version_has_no_sums_and_is_read(world: Path, tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "m", world)
    expected = Translator.from_dir(folder).translate(["A dog sees the cat."])
    raw = json.loads((folder / "mmt.json").read_text())
    assert sorted(raw.pop("sha256")) == ["model.safetensors", "pieces.json", "tokenizer.model"]
    (folder / "mmt.json").write_text(json.dumps(raw))
    (folder / "pieces.json").unlink()
    assert Translator.from_dir(folder).translate(["A dog sees the cat."]) == expected


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(world: Path, tmp_path: Path, value: float) -> None:
    from safetensors.torch import load_file, save_file

    folder = tiny_folder(tmp_path / "m", world)
    weights = load_file(folder / "model.safetensors")
    weights["text.frontend.embed.weight"][3, 3] = value
    save_file(weights, folder / "model.safetensors")
    edit_card(folder, sha256={})
    with pytest.raises(MMTError, match=r"frontend\.embed\.weight has values that are not numbers"):
        load_model(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"config": {"num_encoder_layers": 10**9}},
        {"config": {"model_dim": 10**9}},
        {"config": {"max_length": 10**9}},
        {"config": {"num_heads": 0}},
        {"config": {"heads": [3]}},
        {"config": {"image_sets": [[5, 6]]}},
        {"config": {"merge_sets": "no"}},
        {"config": {"normalise_features": 1}},
        {"config": {"heads": ["classification"], "num_labels": 3}},
        {"decoding": {"beam_size": 10**9}},
        {"decoding": {"length_penalty": "x"}},
        {"decoding": {"length_penalty": 2**63}},
        {"labels": [3]},
        {"training": 3},
        {"features": 3},
        {"source_lang": None},
    ],
    ids=str,
)
def test_a_card_that_makes_no_sense_is_refused_at_once(
    world: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    folder = tiny_folder(tmp_path / "m", world, "gated")
    if isinstance(changes.get("config"), dict):
        changes = {"config": read_card(folder).config | changes["config"]}  # type: ignore[operator]
    edit_card(folder, **changes)
    started = time.monotonic()
    with pytest.raises(MMTError, match=r"mmt\.json|model\.safetensors: cannot be loaded"):
        load_model(folder)
    assert time.monotonic() - started < 3


def test_a_card_that_is_a_folder_or_without_end_is_refused(world: Path, tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "m", world)
    (folder / "mmt.json").write_text(DEEP)
    with pytest.raises(MMTError, match=r"mmt\.json: damaged"):
        read_card(folder)
    (folder / "mmt.json").unlink()
    (folder / "mmt.json").mkdir()
    with pytest.raises(MMTError, match=r"mmt\.json: damaged"):
        read_card(folder)


class Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_no_checkpoint_runs_code(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """Neither when the best are chosen, nor when the training stack goes on."""
    from fairseq2.file_system import LocalFileSystem
    from fairseq2.io import CorruptFileError, _TorchTensorFileLoader

    path = tmp_path / "checkpoints" / "step_1" / "model" / "pp_00" / "tp_00" / "sdp_00.pt"
    path.parent.mkdir(parents=True)
    torch.save({"a": Hostile(tmp_path / "was_run")}, path)
    with pytest.raises(MMTError, match=r"sdp_00\.pt: not a checkpoint, or damaged"):
        choose(
            tmp_path,
            MMTConfig(vocab_size=330),
            [],
            tokenizer,
            score="bleu",
            every=1,
            keep_last=1,
            beam_size=1,
            length_penalty=1.0,
        )
    with pytest.raises(CorruptFileError):
        _TorchTensorFileLoader(LocalFileSystem()).load(path)
    assert not (tmp_path / "was_run").exists()
    torch.load(path, weights_only=False)  # and it would have
    assert (tmp_path / "was_run").exists()


def test_the_one_reader_of_pickles_is_no_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with (tmp_path / "train.pkl").open("wb") as file:
        pickle.dump(Hostile(tmp_path / "was_run"), file)
    with pytest.raises(MMTError, match="is no dataset"):
        read_hub("pandas", source="en", target="de")
    assert not (tmp_path / "was_run").exists()


def test_no_clip_folder_runs_code(tmp_path: Path) -> None:
    from transformers import CLIPVisionConfig

    from mmt.features.load import load_backbone

    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 1, "num_hidden_layers": 1}
    CLIPVisionConfig(**sizes, image_size=8, patch_size=4, projection_dim=4).save_pretrained(tmp_path)
    torch.save({"a": Hostile(tmp_path / "was_run")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(MMTError, match="cannot be loaded"):
        load_backbone(f"clip:{tmp_path}")
    assert not (tmp_path / "was_run").exists()


# --- the index --------------------------------------------------------------------------------------------


@pytest.fixture
def index(world: Path, tmp_path: Path) -> tuple[Path, Path]:
    model = tiny_folder(tmp_path / "model", world)
    write_index(tmp_path / "i", "images", ["a", "b", "c"], np.eye(3, dtype=np.float32), model)
    return tmp_path / "i", model


@pytest.mark.parametrize("name", ["items.json", "vectors.npy"])
def test_an_index_whose_parts_were_exchanged_is_refused(
    index: tuple[Path, Path], tmp_path: Path, name: str
) -> None:
    folder, model = index
    write_index(tmp_path / "other", "images", ["c", "a", "b"], -np.eye(3, dtype=np.float32), model)
    shutil.copy(tmp_path / "other" / name, folder / name)
    with pytest.raises(MMTError, match=f"the checksum of {name} is another"):
        open_index(folder, model)


@pytest.mark.parametrize(
    ("key", "value"),
    [("kind", "x"), ("images", 3), ("items", [1, 2, 3]), ("vectors", np.eye(3)), ("vectors", "code")],
)
def test_an_index_of_another_form_is_refused_without_sums_too(
    index: tuple[Path, Path], tmp_path: Path, key: str, value: object
) -> None:
    folder, model = index
    info = json.loads((folder / "index.json").read_text())
    del info["sha256"]
    if key == "items":
        (folder / "items.json").write_text(json.dumps(value))
    elif key == "vectors" and isinstance(value, str):
        np.save(folder / "vectors.npy", np.array([Hostile(tmp_path / "was_run")], object), allow_pickle=True)
    elif key == "vectors":
        np.save(folder / "vectors.npy", value)
    else:
        info[key] = value
    (folder / "index.json").write_text(json.dumps(info))
    with pytest.raises(MMTError, match="damaged"):
        open_index(folder, model)
    assert not (tmp_path / "was_run").exists()


# --- settings ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "seed: 2001-99-99",
        "seed: !!int x",
        "[" * 5_000,
        "seed: !!timestamp x",
        "seed: !!python/object/apply:os.mkdir [was_run]",
        "#" * 200_000,
    ],
    ids=["date", "tag", "deep", "other tag", "code", "long"],
)
def test_yaml_that_makes_no_sense_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(MMTError, match=r"c\.yaml: "):
        read_config(tmp_path / "c.yaml", ["data.path=x"])
    with pytest.raises(MMTError, match=r"--config(: seed: | seed=)"):
        read_config(None, ["data.path=x", f"seed={text.removeprefix('seed: ')}"])
    assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize("setting", ["model.num_heads=0", "model.model_dim=0", "regime.report_every=0"])
def test_settings_of_nothing_are_refused(setting: str) -> None:
    with pytest.raises(MMTError, match="expected at least 1, found 0"):
        read_config(None, ["data.path=x", setting])


def test_text_that_ends_early_is_no_audio() -> None:
    from mmt.features.speech import AudioError, decode_audio

    with pytest.raises(AudioError, match="not audio"):
        decode_audio(io.BytesIO(b"RIFF").getvalue())
