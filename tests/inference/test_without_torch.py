"""An exported model runs in a process that cannot import torch: the promise behind the small install."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

from mmt.inference.onnx_export import export_model
from mmt.inference.torch_runtime import Translator
from tests.worlds import tiny_folder

BLOCKED = ("torch", "torchvision", "fairseq2", "fairseq2n", "safetensors", "transformers", "timm")
SOURCES = ["A dog sees the cat.", "", "A boat finds the house. " * 20, "A ball."]
IMAGES = ["train-0.png", None, "train-2.png", "train-4.png"]

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


def test_the_exported_runtime_runs_where_torch_cannot_be_imported(world: Path, tmp_path: Path) -> None:
    model = tiny_folder(tmp_path / "model", world, "gated")
    export_model(model, tmp_path / "exported", ["float32"])
    rows = [f"{source}\t{image or ''}" for source, image in zip(SOURCES, IMAGES, strict=True)]
    (tmp_path / "lines.tsv").write_text("\n".join(rows) + "\n")
    arguments = [tmp_path / "exported", world / "features", tmp_path / "lines.tsv", tmp_path / "out.txt"]
    modules = runtime_modules()
    assert "mmt.inference.onnx_runtime" in modules
    assert "mmt.io.atomic" in modules
    command = [sys.executable, "-c", PROGRAM, ",".join(BLOCKED), ",".join(modules), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = Translator.from_dir(model, world / "features").translate(SOURCES, IMAGES, beam_size=2)
    assert (tmp_path / "out.txt").read_text().splitlines() == expected
