"""An exported model translates as the model it was made of."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from fairseq2.models.transformer import IdentityBias, NaiveSDPA, StandardMultiheadAttention
from fairseq2.nn import RotaryEncoder, StandardLayerNorm

from mmt.cli.main import main
from mmt.data.tokenizer import BOS, EOS
from mmt.errors import MMTError
from mmt.inference import onnx_export
from mmt.inference.onnx_export import export_model
from mmt.inference.onnx_runtime import ExportedTranslator, Graphs
from mmt.inference.scoring import score_pairs
from mmt.inference.torch_runtime import Translator
from mmt.inference.translator import SentenceBatch, Translation
from mmt.model.attention import Attention
from mmt.model.card import read_card
from mmt.model.folder import load_model
from mmt.model.fusion import FUSIONS, DoubleAttention, LateFusion
from tests.inference.exports import WEIGHTS, saved
from tests.worlds import NOUNS, ONE_LAYER, VERBS, make_features

# Of many lengths, so that batches have padding; one in parts, one empty.
SENTENCES = [
    *(" ".join([f"A {noun} {verb} the tree."] * (1 + i)) for i, noun in enumerate(NOUNS) for verb in VERBS),
    "word " * 40,
    "",
    "Dog.",
]
REGIONS = 3
SHARED = {"none": "text_only", "gated": "gated"}
"""Exports that other tests use, too, by fusion."""


@pytest.fixture(scope="module")
def regions(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of images with several regions, of which every second image lacks the last."""
    folder = tmp_path_factory.mktemp("regions") / "features"
    make_features(folder, [f"{number}.png" for number in range(len(SENTENCES))], regions=REGIONS, padded=True)
    return folder


@pytest.fixture(scope="module")
def one_region(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one_region") / "features"
    make_features(folder, [f"{number}.png" for number in range(len(SENTENCES))])
    return folder


@pytest.fixture(scope="module")
def text_only(exported_text: Path) -> Path:
    return exported_text / "graphs"


@pytest.fixture(scope="module")
def gated(exported_gated: Path) -> Path:
    """An exported model with images of one region."""
    return exported_gated / "graphs"


Hypotheses = Sequence[Sequence[Translation]]


def translated(translator: Translator | ExportedTranslator, images: list[str | None] | None) -> Hypotheses:
    return translator.hypotheses(SENTENCES, images, beam_size=4, n_best=3, length_penalty=0.7, max_tokens=400)


def said(found: Hypotheses) -> list[list[Translation]]:
    return [[replace(one, score=0, log_prob=0) for one in of_sentence] for of_sentence in found]


def scores(found: Hypotheses) -> list[float]:
    return [of_sentence[0].score for of_sentence in found]


def forced(translator: Translator | ExportedTranslator, images: list[str | None] | None) -> list[float]:
    """Scores of given targets of unlike lengths, unknown words among them."""
    rows = [row for row, line in enumerate(SENTENCES) if line and not line.startswith("word")]
    shown = None if images is None else [images[row] for row in rows]
    targets = ["Hund \u2603 " + "sieht " * (row % 5) for row in rows]
    sources = [SENTENCES[row] for row in rows]
    return [one.mean_log_prob for one in score_pairs(translator, sources, targets, shown, max_tokens=300)]


def check_rows_without_image(folder: Path, regions: int) -> None:
    """Exactly the same, whether another sentence of the batch has an image or none has."""
    graphs = Graphs(folder, read_card(folder))
    image = np.random.default_rng(0).normal(size=(regions, 6)).astype(np.float32)
    found = []
    for images in ([image, None, None], [None] * 3):
        state = graphs.begin(SentenceBatch([[5, 6, 7], [8], [9, 10]], images, (BOS,)))
        state.step(np.full((3, 1), BOS), np.zeros((3, 1), np.float32), 4)
        found.append(state.step(np.array([[5], [6], [7]]), np.zeros((3, 1), np.float32), 4))
    mixed, text = found
    assert np.array_equal(mixed.score[1:], text.score[1:])
    assert np.array_equal(mixed.ends[1:], text.ends[1:])
    assert not np.array_equal(mixed.ends[0], text.ends[0])


def check_updates_stay_apart(folder: Path) -> None:
    """In the encoder's self-attention, LoRA's updates of q, k and v: joined, they would share a range in int8."""
    graph = onnx.load(folder / "encoder.float32.onnx").graph
    sources = {output: node for node in graph.node for output in node.output}
    attentions = [node for node in graph.node if node.op_type == "MultiHeadAttention"]
    assert len(attentions) == 2
    for node in attentions:
        assert {sources[name].op_type for name in node.input[:3]} == {"Where"}  # each has an update of its own


@pytest.mark.parametrize("fusion", FUSIONS)
def test_the_exported_model_says_what_the_model_says(
    fusion: str, world: Path, regions: Path, one_region: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Late fusion has one head, and one region: its keys have the axes (N, 1, 1, K).

    The hybrid fusion, where the image is everywhere, has several layers, adapters and LoRA.
    """
    num_regions = 1 if fusion in ("gated", "late") else REGIONS
    features = None if fusion == "none" else one_region if num_regions == 1 else regions
    if fusion in SHARED:
        out: Path = request.getfixturevalue(SHARED[fusion])
        model = out.parent / "model"
    else:
        out, whole_of = tmp_path / "out", fusion == "hybrid"
        sizes = {"norm_order": "pre", "num_heads": 1} if fusion == "late" else {"norm_order": "post"}
        sizes |= {} if whole_of else ONE_LAYER
        name = f"{fusion}+adapters+lora" if whole_of else fusion
        model = saved(tmp_path / "model", world, features, name, **sizes)
        export_model(model, out, ["float32", "int8"] if whole_of else ["float32"], backbone=None)
    images = None
    if features is not None:
        images = [None if number % 3 == 0 else f"{number}.png" for number in range(len(SENTENCES))]
    whole = Translator.from_dir(model, features)
    exported = ExportedTranslator.from_dir(out, features, threads=2)
    theirs, ours = translated(whole, images), translated(exported, images)
    expected = said(theirs)
    assert len({one.text for of_sentence in expected for one in of_sentence}) > 30  # something is at stake
    assert said(ours) == expected
    assert len(whole.encode(SENTENCES[-3])) > 128  # so that it is translated in parts
    assert scores(ours) == pytest.approx(scores(theirs), abs=1e-4)
    assert forced(exported, images) == pytest.approx(forced(whole, images), abs=1e-4)
    if features is not None:
        assert said(translated(exported, None)) == said(translated(whole, None)) != expected
        check_rows_without_image(out, num_regions)
    if fusion == "hybrid":
        rounded = scores(translated(ExportedTranslator.from_dir(out, features, "int8"), images))
        assert rounded != scores(ours)
        assert rounded == pytest.approx(scores(theirs), abs=0.3)
        check_updates_stay_apart(out)
    if fusion == "none":  # as of models of many languages
        whole.tokenizer.prompt = exported.tokenizer.prompt = (EOS, 300)
        assert said(translated(exported, None)) == said(translated(whole, None)) != expected


def test_weights_that_are_too_large_for_a_graph_file_lie_beside_it(text_only: Path, tmp_path: Path) -> None:
    """With them it says what the model says, as the test above has it."""
    assert {path.name for path in text_only.glob("*.data")} == WEIGHTS
    assert all(path.stat().st_size for path in text_only.iterdir())
    ours, rounded = (
        scores(translated(ExportedTranslator.from_dir(text_only, precision=precision), None))
        for precision in ("float32", "int8")
    )
    assert rounded != ours
    assert rounded == pytest.approx(ours, abs=0.3)
    shutil.copytree(text_only, tmp_path / "out")
    with (tmp_path / "out" / "decoder.float32.onnx.data").open("r+b") as stream:
        stream.seek(100)
        stream.write(b"x")
    with pytest.raises(MMTError, match=r"decoder\.float32\.onnx\.data: damaged"):
        ExportedTranslator.from_dir(tmp_path / "out")


def test_a_translation_loads_neither_torch_nor_fairseq2(text_only: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("A dog sees the cat.\nA boat.\n")
    arguments = ["translate", "--model", str(text_only), "--input", str(tmp_path / "in.txt")]
    arguments += ["--runtime", "onnx", "--output", str(tmp_path / "out.txt")]
    code = (
        "import sys; from mmt.cli.main import main; main(sys.argv[1:], standalone_mode=False); "
        "print(sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    loaded = done.stdout
    assert "'onnxruntime'" in loaded
    assert not [name for name in ("torch", "fairseq2", "torchvision", "transformers") if f"'{name}'" in loaded]
    expected = Translator.from_dir(text_only.parent / "model").translate(["A dog sees the cat.", "A boat."])
    assert (tmp_path / "out.txt").read_text().splitlines() == expected


def test_an_exported_model_knows_its_training_text(text_only: Path) -> None:
    exported = ExportedTranslator.from_dir(text_only)
    assert exported.tokenizer.training is not None
    found = exported.hypotheses(["A dog sees the boat.", "Stainless steel bottle"], beam_size=1)
    assert [best[0].out_of_domain for best in found] == [False, True]


def test_what_is_typed_is_answered_line_by_line(text_only: Path) -> None:
    expected = Translator.from_dir(text_only.parent / "model").translate(["A dog sees the cat.", "A boat."])
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "mmt.cli", "translate", "--model", str(text_only)]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE)
    os.close(theirs)
    for line, answer in zip(["A dog sees the cat.", "A boat."], expected, strict=True):
        os.write(ours, f"{line}\n".encode())
        seen = ""  # what was typed, and then the answer
        while seen.count("\n") < 2 and select.select([ours], [], [], 60)[0]:
            seen += os.read(ours, 4096).decode()
        assert seen.replace("\r", "").splitlines() == [line, answer]
    os.write(ours, b"\x04")
    said = process.communicate(timeout=60)[1].decode()
    os.close(ours)
    assert process.returncode == 0
    assert said.splitlines()[0] == "One line at a time; Ctrl+D ends."
    assert said.splitlines()[1].startswith("2 sentences")


def refusal(*arguments: object) -> str:
    result = CliRunner().invoke(main, [str(one) for one in arguments], input="A dog.")
    assert result.exit_code == 2, result.output
    assert result.output.count("\n") == 1
    return result.output


def test_what_an_exported_model_cannot_do_is_said(
    text_only: Path, gated: Path, world: Path, regions: Path, tmp_path: Path
) -> None:
    translate = ("translate", "--quiet", "--model")
    model, float32_alone = text_only.parent / "model", tmp_path / "float32"
    shutil.copytree(gated, float32_alone, ignore=shutil.ignore_patterns("*.int8.onnx"))
    assert "exported in float32, not in int8" in refusal(*translate, float32_alone, "--precision", "int8")
    assert "has float32 and int8" in refusal(*translate, text_only, "--precision", "bfloat16")
    assert "cannot restrict its vocabulary" in refusal(*translate, text_only, "--vocabulary", tmp_path / "de.txt")
    assert "onnx: no exported graphs" in refusal(*translate, model, "--runtime", "onnx")
    assert "found an exported model" in refusal(*translate, text_only, "--runtime", "torch")
    assert "no exported model. Name another" in refusal("export", "--model", model, "--out", model)
    assert (model / "model.safetensors").is_file()
    copy = tmp_path / "copy"
    shutil.copytree(text_only, copy)
    whole = (copy / "decoder.float32.onnx").read_bytes()
    (copy / "decoder.float32.onnx").write_bytes(whole[: len(whole) // 2])
    assert "damaged, its checksum is another" in refusal(*translate, copy)
    card = json.loads((copy / "mmt.json").read_text())
    (copy / "mmt.json").write_text(json.dumps(card | {"sha256": {}}))
    assert "cannot be loaded" in refusal(*translate, copy)
    shutil.copy(text_only / "decoder.float32.onnx", copy)
    shutil.copy(saved(tmp_path / "looking", world, regions, "gated") / "mmt.json", copy)
    looking = ExportedTranslator.from_dir(copy)
    with pytest.raises(MMTError, match="supports only 1"):
        looking.translate(["A dog."], guidance=2.0)
    with pytest.raises(MMTError, match="exported without a backbone"):
        looking.translate(["A dog."], ["dog.jpg"])
    with pytest.raises(MMTError, match="beam size 200: expected at most"):
        ExportedTranslator.from_dir(text_only).translate(["A dog."], beam_size=200)


def test_parts_that_no_graph_can_hold_are_refused(
    world: Path, regions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Own(DoubleAttention):
        pass

    class OwnFusion(LateFusion):
        cross_attention = Own

    with pytest.raises(MMTError, match="exported with all its languages"):
        export_model(saved(tmp_path / "text", world, None, "none"), tmp_path / "out", source_lang="en")
    with pytest.raises(MMTError, match="'lstm' cannot be exported"):
        export_model(saved(tmp_path / "lstm", world, None, "none", text_encoder="lstm"), tmp_path / "out")
    with pytest.raises(MMTError, match="'frames' cannot be exported"):
        export_model(saved(tmp_path / "frames", world, regions, "gated", image_encoder="frames"), tmp_path / "out")
    monkeypatch.setitem(FUSIONS, "own", OwnFusion)
    with pytest.raises(MMTError, match="'own' has its own attention"):
        export_model(saved(tmp_path / "own", world, regions, "own"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"__class__": type("Own", (StandardMultiheadAttention,), {})},
        {"sdpa": NaiveSDPA(IdentityBias())},
        {"sdpa": Attention(causal=True)},
        {"num_key_value_heads": 1},
        *({name: StandardLayerNorm(8, bias=False)} for name in ("q_norm", "k_norm", "v_norm")),
        {"pos_encoder": RotaryEncoder(8, 99)},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_an_encoder_with_its_own_self_attention_is_refused(
    changes: dict[str, Any], world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The export would compute plain attention in its place."""

    def changed(folder: Path) -> Any:
        model, *others = load_model(folder)
        layers: Any = model.text.encoder.layers
        for name, value in changes.items():
            setattr(layers[-1].self_attn, name, value)
        return model, *others

    monkeypatch.setattr(onnx_export, "load_model", changed)
    with pytest.raises(MMTError, match="layer 0 of the text encoder has its own self-attention"):
        export_model(saved(tmp_path / "model", world, None, "none", **ONE_LAYER), tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- without torch ------------------------------------------------------------------------------------------

BLOCKED = ("torch", "torchvision", "fairseq2", "fairseq2n", "safetensors", "transformers", "timm")
LINES = ["A dog sees the cat.", "", "A boat finds the house. " * 20, "A ball."]
IMAGES = ["0.png", None, "2.png", "4.png"]

PROGRAM = """
import importlib, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(f"{name} is blocked")

BLOCKED, MODULES = sys.argv[1].split(","), sys.argv[2].split(",")
sys.meta_path.insert(0, Blocker())
model, store, lines, output = sys.argv[3:]
for module in MODULES:
    importlib.import_module(module)

from pathlib import Path
from mmt.data.inputs import Images, open_file
from mmt.inference.files import FileTranslator, write_output
from mmt.inference.onnx_runtime import ExportedTranslator

translator = ExportedTranslator.from_dir(model, store, threads=1)
work = FileTranslator(translator, open_file(Path(lines), None, Images.of([Path(store)])))
write_output(work.translate(beam_size=2, show_progress=False), Path(output), 1)
"""


def runtime_modules() -> list[str]:
    """The modules that the import contract keeps free of torch, commands aside; each package with its modules."""
    root = Path(__file__).parents[2]
    contracts = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (contract,) = [one for one in contracts if one["id"] == "runtime"]
    modules = [name for name in contract["source_modules"] if not name.startswith("mmt.cli")]
    for package in [name for name in modules if (root / name.replace(".", "/")).is_dir()]:
        files = (root / package.replace(".", "/")).glob("*.py")
        modules += [f"{package}.{file.stem}" for file in files if file.stem != "__init__"]
    return modules


def test_the_exported_runtime_runs_where_torch_cannot_be_imported(
    gated: Path, one_region: Path, tmp_path: Path
) -> None:
    """The promise behind the small install."""
    rows = [f"{source}\t{image or ''}" for source, image in zip(LINES, IMAGES, strict=True)]
    (tmp_path / "lines.tsv").write_text("\n".join(rows) + "\n")
    arguments = [gated, one_region, tmp_path / "lines.tsv", tmp_path / "out.txt"]
    modules = runtime_modules()
    assert "mmt.inference.onnx_runtime" in modules
    assert "mmt.io.atomic" in modules
    command = [sys.executable, "-c", PROGRAM, ",".join(BLOCKED), ",".join(modules), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = Translator.from_dir(gated.parent / "model", one_region).translate(LINES, IMAGES, beam_size=2)
    assert (tmp_path / "out.txt").read_text().splitlines() == expected
