"""What works beside a torch with which fairseq2 does not load: the loss, backbones and exported graphs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_SCRIPT = """
import sys
sys.modules["fairseq2"] = sys.modules["fairseq2n"] = None
from pathlib import Path
import torch
import mmt.inference.open, mmt.inference.own_graphs
from mmt.features.extract import extract_features
from mmt.features.load import load_backbone
from mmt.inference.onnx_runtime import ExportedTranslator
from mmt.model.losses import label_smoothed_nll
from tests.features.pictures import make_folder
from tests.features.tiny import tiny_backbone

folder = Path(sys.argv[1])
images = make_folder(folder / "images", 3)
for runtime in ("torch", "onnx"):
    report = extract_features(images, tiny_backbone(), folder / runtime, progress=False, runtime=runtime)
    assert (report.done, report.runtime) == (3, runtime)
states = torch.randn(5, 4, requires_grad=True)
weight = torch.randn(9, 4, requires_grad=True)
loss, _ = label_smoothed_nll(states, weight, torch.arange(5), 0.1)
loss.backward()
assert weight.grad.abs().sum() > 0
assert not any(name.startswith("fairseq2") and module for name, module in sys.modules.items())
print("done")
"""


def test_loss_backbones_and_exported_graphs_need_no_fairseq2(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(tmp_path)], check=False, capture_output=True, text=True
    )
    assert (done.stdout.strip(), done.returncode) == ("done", 0), done.stderr
