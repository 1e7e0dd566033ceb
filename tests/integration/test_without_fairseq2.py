"""What works beside a torch with which fairseq2 does not load: step decoder, loss, backbones, exported graphs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from mmt.data.batch import Example, collate
from mmt.model.stepping import StepDecoder
from tests.worlds import tiny_model

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


_STEPS = """
import sys
sys.modules["fairseq2"] = sys.modules["fairseq2n"] = None
import torch
from types import SimpleNamespace as Parts
from mmt.model.stepping import StepDecoder

weights, memory, tokens, expected = torch.load(sys.argv[1], weights_only=False)

def tree(prefix):
    names = {name.removeprefix(prefix).partition(".")[0] for name in weights if name.startswith(prefix)}
    if all(f"{prefix}{name}" in weights for name in names):
        return Parts(**{name: weights[f"{prefix}{name}"] for name in names}, eps=1e-5)
    parts = {name: tree(f"{prefix}{name}.") for name in names}
    return [parts[str(number)] for number in range(len(parts))] if "0" in parts else Parts(**parts)

text = tree("text.")
text.sizes = Parts(num_heads=2)
text.decoder_frontend = text.frontend
text.frontend.scale, text.frontend.pos_encoder = 4.0, Parts(freqs=weights["positions"])
text.decoder.layer_norm = getattr(text.decoder, "layer_norm", None)
text.final_proj.bias = None
for layer in text.decoder.layers:
    layer.norm_order, layer.ffn.inner_activation = Parts(name="POST"), torch.relu
    layer.self_attn_residual = layer.encoder_decoder_attn_residual = layer.ffn_residual = None
decoder = StepDecoder(Parts(text=text))
cache = decoder.begin(Parts(**memory, active=None), 1, 3)
found = [decoder.project(cache.step(tokens[:, step : step + 1])) for step in range(3)]
torch.testing.assert_close(torch.stack(found, 1), expected)
assert not any(name.startswith("fairseq2") and module for name, module in sys.modules.items())
print("done")
"""


def test_the_step_decoder_needs_no_fairseq2(tmp_path: Path) -> None:
    """It takes a decoder's weights by their names, and gives the logits of the model."""
    model, batch = tiny_model(40).requires_grad_(False), collate([Example([5, 6, 7], []), Example([8], [])])
    memory, tokens = model.encode(batch.source, batch.source_lens), torch.tensor([[2, 8, 9], [2, 30, 4]])
    cache, decoder = StepDecoder(model).begin(memory, 1, 3), StepDecoder(model)
    expected = torch.stack([decoder.project(cache.step(tokens[:, step : step + 1])) for step in range(3)], 1)
    positions = model.text.frontend.get_submodule("pos_encoder").get_buffer("freqs")
    weights = dict(model.state_dict()) | {"positions": positions}
    given = {"states": memory.states, "lens": memory.lens}
    torch.save((weights, given, tokens, expected), tmp_path / "model.pt")
    command = [sys.executable, "-c", _STEPS, str(tmp_path / "model.pt")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == ("done", 0), done.stderr
