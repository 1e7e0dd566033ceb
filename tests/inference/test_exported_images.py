"""An exported model reads image files as its model folder does, without torch."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import mmt
from mmt.cli.main import main
from mmt.data.feature_signature import FeatureSignature, JoinedSignature
from mmt.data.tokenizer import Tokenizer
from mmt.errors import MMTError
from mmt.features.extract import compute_features, extract_folder
from mmt.features.load import load_backbone
from mmt.inference import onnx_export
from mmt.inference.describe import describe
from mmt.inference.onnx_runtime import ExportedTranslator
from mmt.inference.scoring import score_pairs
from mmt.inference.torch_runtime import Translator
from mmt.model.card import ModelCard
from mmt.model.folder import save_model
from tests.features.pictures import picture, save_tiny_clip
from tests.worlds import ONE_LAYER, tiny_model, without_torch

LINES = ["A dog sees the cat.", "A boat finds the ball.", "A ball.", "A tree."]
IMAGES = ["wide.jpg", "", "grey.png", "tiny.png"]
SHOWN = [name or None for name in IMAGES]


@pytest.fixture(scope="module")
def folder(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random ``model`` on Lite0's five crops and a tiny ``clip``'s grid; ``exported`` by the command; inputs."""
    folder = tmp_path_factory.mktemp("images")
    (folder / "photos").mkdir()
    picture(0, 500, 200).save(folder / "photos" / "wide.jpg")
    picture(1, 300, 300).convert("L").save(folder / "photos" / "grey.png")
    picture(2, 8, 6).save(folder / "photos" / "tiny.png")
    clip = load_backbone(f"clip:{save_tiny_clip(folder / 'clip')}", "grid")
    signature = JoinedSignature.of([load_backbone().in_crops(5).signature, clip.signature])
    random_model(folder / "model", world, signature, ((5, 1280), (16, 32)))
    command = ["export", "--model", str(folder / "model"), "--out", str(folder / "exported")]
    result = CliRunner().invoke(main, [*command, "--precision", "float32"])
    assert result.exit_code == 0, result.output
    pairs = list(zip(LINES, IMAGES, strict=True))
    (folder / "in.txt").write_text("".join(f"{line}\n" for line in LINES))
    (folder / "photos.txt").write_text("".join(f"{name and 'photos/' + name}\n" for name in IMAGES))
    (folder / "in.tsv").write_text("".join(f"{line}\t{name and 'photos/' + name}\n" for line, name in pairs))
    rows = [{"source": line, "image": f"photos/{name}" if name else None} for line, name in pairs]
    (folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def random_model(
    folder: Path,
    world: Path,
    signature: FeatureSignature,
    image_sets: tuple[tuple[int, int], ...],
    fusion: str = "gated",
    **changes: object,
) -> Path:
    """A model folder whose translations the image changes."""
    tokenizer = Tokenizer(world / "tokenizer.model")
    model = tiny_model(tokenizer.vocab_size, fusion, **{"image_sets": image_sets, **ONE_LAYER, **changes})
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if not name.startswith("text.") and weight.ndim == 2:
                weight.mul_(30)
    card = ModelCard(vars(model.config), "en", "de", signature, {"beam_size": 2, "length_penalty": 1.0})
    save_model(folder, model.state_dict(), tokenizer.path, card)
    return folder


@pytest.fixture(scope="module")
def expected(folder: Path) -> list[str]:
    """What the model folder says."""
    translator = Translator.from_dir(folder / "model")
    found = translator.translate(LINES, [name and folder / "photos" / name for name in SHOWN])
    text = translator.translate(LINES)
    assert [one == other for one, other in zip(found, text, strict=True)] == [name is None for name in SHOWN]
    return found


def translated(folder: Path, *arguments: object) -> list[str]:
    output = folder / "out.txt"
    command = ["translate", "--model", folder / "exported", *arguments, "--output", output, "--threads", 1]
    result = CliRunner().invoke(main, [str(one) for one in command])
    assert result.exit_code == 0, result.output
    return output.read_text().splitlines()


@pytest.mark.parametrize(
    "given",
    [("in.txt", "photos.txt"), ("in.tsv",), ("in.jsonl",)],
    ids=lambda given: given[0],
)
def test_files_of_images_give_the_translations_of_the_model(
    given: tuple[str, ...], folder: Path, expected: list[str]
) -> None:
    images = ["--images", folder / given[1]] if len(given) > 1 else []
    assert translated(folder, "--input", folder / given[0], *images) == expected


PROGRAM = """
import json, sys, mmt
folder, lines, images = json.loads(sys.argv[1])
translator = mmt.Translator.from_dir(folder, threads=1)
assert isinstance(translator, mmt.Translator)
print(json.dumps(translator.translate(lines, images)))
"""


def test_python_opens_an_exported_model_where_torch_cannot_be_imported(folder: Path, expected: list[str]) -> None:
    images = [name and str(folder / "photos" / name) for name in SHOWN]
    given = json.dumps([str(folder / "exported"), LINES, images])
    done = without_torch(PROGRAM, given)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == expected


def test_the_public_class_opens_each_kind(folder: Path, expected: list[str]) -> None:
    images = [name and folder / "photos" / name for name in SHOWN]
    both = mmt.Translator.from_dir([folder / "model", folder / "exported"])
    assert both.translate(LINES, images) == expected
    whole, exported = both.members
    assert (type(whole), type(exported)) == (Translator, ExportedTranslator)
    assert all(isinstance(one, mmt.Translator) for one in (both, whole, exported))
    assert exported.read_images(images[:1]) == pytest.approx(whole.read_images(images[:1]), abs=1e-4)
    targets = ["Hund sieht Katze."] * len(LINES)
    ours, theirs = (score_pairs(one, LINES, targets, images) for one in (exported, whole))
    assert [one.log_prob for one in ours] == pytest.approx([one.log_prob for one in theirs], abs=1e-3)


def test_exported_files_name_no_files_of_the_machine_that_made_them(folder: Path) -> None:
    graphs = {path.name: path.read_bytes() for path in (folder / "exported").glob("*.onnx")}
    assert len(graphs) == 5
    assert [name for name, data in graphs.items() if b".py" in data or b"site-packages" in data] == []


def test_merged_sets_of_normalised_features_are_exported(folder: Path, world: Path, tmp_path: Path) -> None:
    """Two grids of the same image, of numbers of other sizes, one of which has no weights."""
    grids = JoinedSignature.of(
        [load_backbone(name, "grid").signature for name in ("efficientnet_lite0", "colours")]
    )
    settings = {"merge_sets": True, "normalise_features": True}
    model = random_model(tmp_path / "model", world, grids, ((49, 1280), (49, 192)), "selective", **settings)
    command = ["export", "--precision", "float32", "--model", str(model), "--out", str(tmp_path / "graphs")]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    whole, exported = (mmt.Translator.from_dir(tmp_path / name) for name in ("model", "graphs"))
    images = [name and folder / "photos" / name for name in SHOWN]
    targets = ["Hund sieht Katze."] * len(LINES)
    ours, theirs, blind = (
        [one.log_prob for one in score_pairs(translator, LINES, targets, seen)]
        for translator, seen in ((exported, images), (whole, images), (whole, None))
    )
    assert ours == pytest.approx(theirs, rel=1e-4)
    assert [abs(one - other) > 1e-2 for one, other in zip(theirs, blind, strict=True)] == [bool(x) for x in IMAGES]


def test_missing_and_unreadable_images_are_refused_or_skipped(folder: Path) -> None:
    (folder / "bad.tsv").write_text("A dog.\tphotos/wide.jpg\nA cat.\tin.txt\nA ball.\tgone.jpg\n")
    command = ["translate", "--model", folder / "exported", "--input", folder / "bad.tsv", "--threads", 1]
    result = CliRunner().invoke(main, [str(one) for one in command])
    assert result.exit_code == 2
    assert "gone.jpg: no such file" in result.output or "in.txt: not an image" in result.output
    result = CliRunner().invoke(main, [str(one) for one in [*command, "--missing-images", "skip"]])
    assert result.exit_code == 0
    assert "1 with image, 2 images missing" in result.output


def test_features_of_another_backbone_are_refused(folder: Path, tmp_path: Path) -> None:
    extract_folder(folder / "photos", tmp_path / "store", num_workers=1, progress=False)
    with pytest.raises(MMTError, match=r"expected 2 set\(s\) of features"):
        ExportedTranslator.from_dir(folder / "exported", tmp_path / "store")


def test_a_backbone_of_another_model_is_refused(folder: Path, tmp_path: Path) -> None:
    exported = tmp_path / "exported"
    shutil.copytree(folder / "exported", exported)
    shutil.copy(exported / "backbone_1.onnx", exported / "backbone_2.onnx")
    images = [folder / "photos" / "wide.jpg"]
    with pytest.raises(MMTError, match=r"backbone_2\.onnx: damaged, its checksum is another"):
        ExportedTranslator.from_dir(exported).translate(LINES[:1], images)
    card = json.loads((exported / "mmt.json").read_text())
    (exported / "mmt.json").write_text(json.dumps(card | {"sha256": {}}))
    with pytest.raises(MMTError, match=r"backbone_2\.onnx"):
        ExportedTranslator.from_dir(exported).translate(LINES[:1], images)
    ExportedTranslator.from_dir(exported).translate(LINES[:1])  # text needs no backbone


def test_a_backbone_may_be_left_out(
    folder: Path, world: Path, exported_gated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default is with it; a backbone that is not there is an error that says how to do without."""
    other = replace(load_backbone().signature, weights="0" * 64)
    model = random_model(tmp_path / "model", world, other, ((1, 1280),))
    command = ["export", "--precision", "float32", "--model", str(model), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2
    assert "--no-backbone" in result.output
    assert not (tmp_path / "out").exists()
    given: dict[str, object] = {}
    monkeypatch.setattr(onnx_export, "export_model", lambda *_, **settings: given.update(settings))
    result = CliRunner().invoke(main, [*command, "--no-backbone"])
    assert result.exit_code == 0, result.output
    assert given["backbone"] is None
    without = exported_gated / "graphs"  # exported so
    assert not list(without.glob("backbone*"))
    assert describe(without)["reads image files"] is False
    assert describe(folder / "exported")["reads image files"] is True
    with pytest.raises(MMTError, match="exported without a backbone"):
        ExportedTranslator.from_dir(without).translate(["A dog."], [folder / "photos" / "wide.jpg"])


def test_rounded_backbones_replace_whole_ones(folder: Path, world: Path, tmp_path: Path) -> None:
    """Export again into a folder with backbones, now with fewer of them and in another precision."""
    shutil.copytree(folder / "exported", tmp_path / "out")
    clip = load_backbone(f"clip:{folder / 'clip'}", "pool")
    model = random_model(tmp_path / "model", world, clip.signature, ((1, 12),))
    command = ["export", "--model", model, "--out", tmp_path / "out", "--precision", "float32"]
    result = CliRunner().invoke(main, [str(one) for one in [*command, "--backbone-precision", "float16"]])
    assert result.exit_code == 0, result.output
    assert [path.name for path in (tmp_path / "out").glob("backbone*")] == ["backbone_1.onnx"]
    images = [folder / "photos" / "wide.jpg"]
    rounded, exact = (
        ExportedTranslator.from_dir(tmp_path / "out").read_images(images),
        compute_features(images, clip),
    )
    assert 1e-4 < np.abs(rounded - exact).max() / np.abs(exact).max() < 0.01
