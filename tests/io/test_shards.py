"""Laws of shares: whatever their number, whoever is killed, what they make is what one process makes."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from mmt.cli.main import main
from mmt.data.feature_store import FeatureStore
from mmt.data.tokenizer import Tokenizer
from mmt.errors import MMTError
from mmt.features.extract import extract_features
from mmt.features.images import find_images
from mmt.features.load import load_backbone
from mmt.features.writer import FeatureWriter
from mmt.io.shards import Parts, Shard, parts_folder
from mmt.model.card import ModelCard
from mmt.model.folder import save_model
from tests.worlds import tiny_model

COUNTS = [2, 3, 11]  # the last is more than there are items


def contents(path: Path) -> dict[str, bytes]:
    if path.is_file():
        return {"": path.read_bytes()}
    return {str(one.relative_to(path)): one.read_bytes() for one in sorted(path.rglob("*")) if one.is_file()}


def in_shares(count: int, work: Callable[[Shard], object], order: int = 0) -> list[object]:
    """Each share in turn, in some order."""
    numbers = np.random.default_rng(order).permutation(count)
    return [work(Shard(int(number), count)) for number in numbers]


@pytest.mark.parametrize(
    ("given", "environment", "share"),
    [
        ("2/8", {}, Shard(1, 8)),
        ("1/1", {"RANK": "1", "WORLD_SIZE": "4"}, None),
        (None, {}, None),
        (None, {"RANK": "3", "WORLD_SIZE": "4"}, Shard(3, 4)),
        (None, {"RANK": "0", "WORLD_SIZE": "1"}, None),
        (None, {"SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "5"}, Shard(2, 5)),
        # a batch script is no step: its one process does all
        (None, {"SLURM_PROCID": "0", "SLURM_NTASKS": "5"}, None),
    ],
)
def test_whose_share_it_is(
    given: str | None, environment: dict[str, str], share: Shard | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert Shard.of(given) == share


@pytest.mark.parametrize("given", ["", "3", "0/2", "3/2", "1/0", "-1/2", "a/b", "1/2/3", " 1/2", "1/9999999"])
def test_what_is_no_share_is_refused(given: str) -> None:
    with pytest.raises(MMTError, match="expected K/N"):
        Shard.of(given)


def test_every_item_is_in_one_share() -> None:
    for count in COUNTS:
        assert all(sum(Shard(n, count).has(item) for n in range(count)) == 1 for item in range(50))


# --- features ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """19 of them, two of which cannot be read."""
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(1)
    for number in range(19):
        pixels = generator.integers(0, 255, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")
    for bad in ("03", "04", "18"):
        (folder / f"{bad}.png").write_bytes(b"no picture")
    return folder


def extract(pictures: Path, out: Path, shard: Shard | None = None, batch_size: int = 2) -> str:
    backbone = load_backbone("efficientnet_lite0")
    return extract_features(
        find_images(pictures), backbone, out, batch_size=batch_size, progress=False, shard=shard
    ).note


@pytest.fixture(scope="module")
def alone(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("stores") / "alone"
    extract(pictures, out)
    return out


@pytest.mark.parametrize("count", COUNTS)
def test_features_of_shares_are_those_of_one(count: int, pictures: Path, alone: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    notes = in_shares(count, lambda shard: extract(pictures, out, shard), order=count)
    assert contents(out) == contents(alone)
    assert [path.name for path in tmp_path.iterdir() if "parts" in path.name] == []
    assert sum(f"merged from {count} parts" in str(note) for note in notes) == 1
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    in_shares(count, lambda shard: extract(pictures, out, shard))
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before, "nothing is done twice"
    assert not parts_folder(out).exists()


class Killed(BaseException):
    pass


def die(*_: object, **__: object) -> None:
    raise Killed


@pytest.mark.parametrize("moment", ["in a share", "before its mark", "while joining", "when joined"])
def test_a_killed_share_goes_on(
    moment: str, pictures: Path, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "store"
    extract(pictures, out, Shard(1, 2))

    with monkeypatch.context() as patch:
        if moment in ("in a share", "while joining"):
            append, appended = FeatureWriter.append, []

            def append_twice(self: FeatureWriter, *more: object) -> None:
                if (self.folder == out) == (moment == "while joining"):
                    if len(appended) == 2:
                        raise Killed
                    appended.append(1)
                append(self, *more)  # type: ignore[arg-type]

            patch.setattr(FeatureWriter, "append", append_twice)
        elif moment == "before its mark":
            patch.setattr("mmt.io.shards.Parts.finish", die)
        else:
            rename = Path.rename
            patch.setattr(Path, "rename", lambda one, to: die() if "parts" in one.name else rename(one, to))
        with pytest.raises(Killed):
            extract(pictures, out, Shard(0, 2))
    extract(pictures, out, Shard(0, 2))
    assert contents(out) == contents(alone)
    assert not parts_folder(out).exists()


def test_a_store_grows_by_shares(pictures: Path, alone: Path, tmp_path: Path) -> None:
    few, whole, out = tmp_path / "few", tmp_path / "whole", tmp_path / "store"
    few.mkdir()
    for name in ("05.png", "11.png", "03.png"):
        shutil.copy(pictures / name, few)
    for store in (whole, out):
        extract(few, store)
    extract(pictures, whole)
    in_shares(3, lambda shard: extract(pictures, out, shard))
    assert contents(out) == contents(whole)


@pytest.mark.parametrize(("count", "batch_size"), [(3, 2), (2, 4)])
def test_parts_of_other_work_are_refused(count: int, batch_size: int, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    extract(pictures, out, Shard(0, 2))
    with pytest.raises(MMTError, match=r"store\.parts: holds parts of another job: (shards 2|batch_size 2) there"):
        extract(pictures, out, Shard(1, count), batch_size)


def test_no_picture_at_all_is_an_error_of_the_last(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for number in range(4):
        (tmp_path / "images" / f"{number}.png").write_bytes(b"no picture")
    extract(tmp_path / "images", tmp_path / "store", Shard(0, 2))
    with pytest.raises(MMTError, match="none of 4 images could be read"):
        extract(tmp_path / "images", tmp_path / "store", Shard(1, 2))


# --- joining ----------------------------------------------------------------------------------------------


def test_of_two_at_once_one_joins(tmp_path: Path) -> None:
    joined, notes = [], []
    together = threading.Barrier(2)

    def share(number: int) -> None:
        together.wait(10)
        with Parts(tmp_path / "out", Shard(number, 2), {}) as parts:
            parts.part.write_text(str(number))
            together.wait(10)

            def join(about: list[dict[str, object]]) -> None:
                joined.append(about)
                (tmp_path / "out").write_text("".join(parts.of(n).read_text() for n in range(2)))

            notes.append(parts.finish({"number": number}, join))

    for _ in range(20):
        (tmp_path / "out").unlink(missing_ok=True)
        threads = [threading.Thread(target=share, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (tmp_path / "out").read_text() == "01"
        assert not parts_folder(tmp_path / "out").exists()
    assert len(joined) == 20
    assert all(about == [{"number": 0}, {"number": 1}] for about in joined)


def test_a_kill_while_the_parts_are_removed_leaves_nothing_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"

    def share(number: int) -> str:
        with Parts(out, Shard(number, 2), {}, remember=True) as parts:
            if parts.is_done:
                return parts.finish({}, lambda _: None)
            parts.part.write_text(str(number))
            return parts.finish({}, lambda _: out.write_text("01") and None)

    share(0)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", die)
        with pytest.raises(Killed):
            share(1)
    assert len([path for path in tmp_path.iterdir() if "parts" in path.name]) == 1
    assert "merged already" in share(1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.joined", "out"]


# --- translating ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "model"
    made = tiny_model(Tokenizer(world / "tokenizer.model").vocab_size)
    card = ModelCard(config=asdict(made.config), source_lang="en", target_lang="de", decoding={"beam_size": 2})
    save_model(folder, made.state_dict(), world / "tokenizer.model", card)
    return folder


def translate(model: Path, source: Path, output: Path, *more: str) -> str:
    arguments = ["translate", "--model", model, "--input", source, "--output", output, "--threads", 1, *more]
    done = CliRunner().invoke(main, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize(("name", "more"), [("out.txt", ()), ("out.txt", ("--n-best", "2")), ("out.jsonl", ())])
@pytest.mark.parametrize("count", [2, 3, 9])
def test_translations_of_shares_are_those_of_one(
    name: str, more: tuple[str, ...], count: int, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmt.inference.files.CHUNK", 4)
    source = tmp_path / "source.txt"
    source.write_text("".join(f"a man is number {n}\n" for n in range(23)))
    translate(model, source, tmp_path / f"alone_{name}", *more)
    said = in_shares(
        count, lambda shard: translate(model, source, tmp_path / name, *more, "--shard", str(shard)), order=count
    )
    assert (tmp_path / name).read_bytes() == (tmp_path / f"alone_{name}").read_bytes()
    assert not parts_folder(tmp_path / name).exists()
    total = sum(int(str(one).split(" sentences")[0].split("\n")[-1]) for one in said)
    assert total == 23


def test_shares_of_a_pipe_are_refused(model: Path, tmp_path: Path) -> None:
    for output in ("-", tmp_path / "out.txt"):
        arguments = ["translate", "--model", str(model), "--output", str(output), "--shard", "1/2"]
        done = CliRunner().invoke(main, arguments, input="a man\n")
        assert done.exit_code == 2
        assert "shard 1/2: other processes read and write the same files" in done.output


def test_parts_of_another_input_or_model_are_refused(model: Path, tmp_path: Path) -> None:
    source = tmp_path / "source.txt"
    source.write_text("a man\n" * 5)
    translate(model, source, tmp_path / "out.txt", "--shard", "1/2")
    source.write_text("a dog\n" * 5)
    arguments = ["translate", "--model", model, "--input", source, "--output", tmp_path / "out.txt"]
    done = CliRunner().invoke(main, list(map(str, [*arguments, "--shard", "2/2"])))
    assert done.exit_code == 2
    assert "holds parts of another job: input" in done.output


# --- preparing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 5])
def test_data_prepared_in_shares_are_those_of_one(count: int, pictures: Path, tmp_path: Path) -> None:
    from data_prep.multi30k import main as prepare

    raw, lists = tmp_path / "raw", tmp_path / "splits"
    raw.mkdir()
    lists.mkdir()
    for split, numbers in (("train", range(12)), ("val", range(12, 19))):
        (lists / f"{split}.txt").write_text("".join(f"{n:02d}.png\n" for n in numbers))
        for language in ("en", "de"):
            (raw / f"{split}.{language}").write_text("".join(f"{language} {n}\n" for n in numbers))

    def run(out: Path, *more: str) -> str:
        arguments = [
            out,
            "--raw",
            raw,
            "--image-splits",
            lists,
            "--images",
            pictures,
            "--unreadable",
            "skip",
            *more,
        ]
        done = CliRunner().invoke(prepare, list(map(str, arguments)))
        assert done.exit_code == 0, done.output
        return done.output

    run(tmp_path / "alone")
    in_shares(count, lambda shard: run(tmp_path / "out", "--shard", str(shard)), order=count)
    ours, theirs = (json.loads((tmp_path / name / "dataset.json").read_text()) for name in ("out", "alone"))
    assert ours == theirs
    assert ours["splits"]["train"]["images_missing"] == 2
    arrow = [
        {n: c for n, c in contents(tmp_path / name).items() if n.endswith(".arrow")} for name in ("out", "alone")
    ]
    assert arrow[0] == arrow[1]
    assert not parts_folder(tmp_path / "out").exists()


def test_a_store_of_a_share_is_a_store(pictures: Path, tmp_path: Path) -> None:
    """So that a part tells whether it is whole."""
    extract(pictures, tmp_path / "store", Shard(0, 2))
    part = FeatureStore.open(parts_folder(tmp_path / "store") / "1-of-2")
    part.verify()


# --- what goes wrong with several -------------------------------------------------------------------------


def test_a_number_beyond_the_launchers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "5")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(MMTError):
        Shard.of(None)


def test_one_process_does_a_share(tmp_path: Path) -> None:
    """Else both would write one file: a job that was queued again while it still ran."""
    with Parts(tmp_path / "out", Shard(0, 2), {}):
        with pytest.raises(MMTError, match=rf"shard 1/2 is being processed by process {os.getpid()} on "):
            Parts(tmp_path / "out", Shard(0, 2), {})
        with Parts(tmp_path / "out", Shard(1, 2), {}):
            pass
    with Parts(tmp_path / "out", Shard(0, 2), {}):
        pass


def test_a_store_of_another_kind_is_refused_at_once(pictures: Path, alone: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    shutil.copytree(alone, out)
    backbone = load_backbone("efficientnet_lite0")
    with pytest.raises(MMTError, match="holds float16"):
        extract_features(find_images(pictures), backbone, out, dtype="float32", progress=False, shard=Shard(0, 2))
    assert not parts_folder(out).exists()


def test_mended_pictures_are_read_again(tmp_path: Path) -> None:
    images, out = tmp_path / "images", tmp_path / "store"
    images.mkdir()
    for number in range(4):
        (images / f"{number}.png").write_bytes(b"no picture")
    extract(images, out, Shard(0, 2))
    with pytest.raises(MMTError):
        extract(images, out, Shard(1, 2))
    for number in range(4):
        Image.new("RGB", (20, 20)).save(images / f"{number}.png")
    in_shares(2, lambda shard: extract(images, out, shard))
    extract(images, tmp_path / "alone")
    assert contents(out) == contents(tmp_path / "alone")


@pytest.mark.parametrize(("source", "output"), [("none.txt", "out"), ("a.txt", "folder"), ("a.txt", "no/out.txt")])
def test_files_that_cannot_be_are_refused_before_the_work(
    source: str, output: str, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("a man\n")
    (tmp_path / "folder").mkdir()
    arguments = ["translate", "--model", model, "--input", tmp_path / source, "--output", tmp_path / output]
    done = CliRunner().invoke(main, list(map(str, [*arguments, "--shard", "1/2"])))
    assert done.exit_code == 2
    assert str(tmp_path / (source if source == "none.txt" else output)) in done.output
    assert list(tmp_path.glob("*.parts")) == []


def test_a_joined_translation_is_not_begun_again(model: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "source.txt", tmp_path / "out.txt"
    source.write_text("a man\n" * 3)
    in_shares(2, lambda shard: translate(model, source, out, "--shard", str(shard)))
    assert "merged already" in translate(model, source, out, "--shard", "1/2")
    assert not parts_folder(out).exists()
    source.write_text("a dog\n" * 3)
    in_shares(2, lambda shard: translate(model, source, out, "--shard", str(shard)))
    translate(model, source, tmp_path / "alone.txt")
    assert out.read_bytes() == (tmp_path / "alone.txt").read_bytes()


def prepare_few(tmp_path: Path, *more: object) -> int:
    from data_prep.multi30k import main as prepare

    for folder in ("raw", "splits"):
        (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / "splits" / "train.txt").write_text("".join(f"{n:02d}.png\n" for n in range(12)))
    for language in ("en", "de"):
        (tmp_path / "raw" / f"train.{language}").write_text("".join(f"{language} {n}\n" for n in range(12)))
    done = CliRunner().invoke(prepare, list(map(str, [tmp_path / "out", "--raw", tmp_path / "raw", *more])))
    return done.exit_code


def test_pictures_mended_before_the_joining_are_taken(pictures: Path, tmp_path: Path) -> None:
    shutil.copytree(pictures, tmp_path / "images")
    given = ["--image-splits", tmp_path / "splits", "--images", tmp_path / "images"]
    assert prepare_few(tmp_path, *given, "--shard", "1/2") == 0
    assert prepare_few(tmp_path, *given, "--shard", "2/2") == 2
    for bad in ("03", "04"):
        Image.new("RGB", (20, 20)).save(tmp_path / "images" / f"{bad}.png")
    assert prepare_few(tmp_path, *given, "--shard", "2/2") == 0
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["splits"]["train"]["images_missing"] == 0


def test_text_alone_is_written_by_the_last_share(tmp_path: Path) -> None:
    assert prepare_few(tmp_path, "--no-images", "--shard", "1/2") == 0
    assert not (tmp_path / "out").exists()
    assert prepare_few(tmp_path, "--no-images", "--shard", "2/2") == 0
    assert (tmp_path / "out" / "dataset.json").exists()
