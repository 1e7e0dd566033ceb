"""The parts of fairseq2 that ours depends on are there; the learning rate and early stopping by their formulas."""

from __future__ import annotations

import ast
import inspect
import textwrap
from pathlib import Path

import pytest
import torch
from fairseq2.recipe.internal import trainer as factories
from fairseq2.recipe.internal.optim import _AdamWFactory
from fairseq2.trainer import Trainer, _TrainerProxy, _TrainerState

import mmt.training
from mmt.errors import MMTError
from mmt.training.config_file import read_config
from mmt.training.stack import stack_config
from mmt.training.trainer import InverseSquareRoot, MMTTrainer, Patience, ScheduleConfig
from tests.worlds import tiny_model

PACKAGE = Path(mmt.training.__file__).parent

METHODS = {  # of fairseq2's trainer, with their parameters
    "_maybe_publish_metrics": [],
    "_maybe_request_early_stop": ["score"],
    "_maybe_restore_state": [],
    "_maybe_save_checkpoint": ["blocking"],
    "_publish_metrics": [],
    "_run_post_step": [],
    "_should_validate": [],
    "_validate": [],
}
ATTRIBUTES = {"_data_epoch_nr", "_data_reader", "_gangs", "_max_num_steps", "_state", "_step_nr"}
STATES = {"DATA_LOAD", "EARLY_STOP", "END_OF_TRAINING", "POST_STEP", "STOPPED"}
CLASSES = {"_TrainerFactory", "_TrainerState", "_ValidatorFactory"}
STATE_KEYS = {"_metric_bag", "_rng_bag", "_step_nr"}
SCHEDULE = {"_compute_lrs", "_last_lr", "_step_count"}  # of torch's, which fairseq2's subclass


def private(tree: ast.AST) -> set[str]:
    """Private names that code reads, writes, imports or spells out, without the attributes of ``self`` in a class
    that defines them itself."""
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    names |= {str(node.value) for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    names |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    return {name for name in names if name.startswith("_") and name.isidentifier() and not name.startswith("__")}


def test_fairseq2_has_every_private_name_that_we_use() -> None:
    """An upgrade of fairseq2 that lacks one fails here."""
    for name, parameters in METHODS.items():
        assert list(inspect.signature(getattr(Trainer, name)).parameters)[1:] == parameters, name
    made = ast.parse(textwrap.dedent(inspect.getsource(Trainer.__init__)))
    assert private(made) >= ATTRIBUTES
    assert {state.name for state in _TrainerState} >= STATES
    assert {"create"} <= vars(factories._TrainerFactory).keys() & vars(factories._ValidatorFactory).keys()
    assert "base_factory" in inspect.signature(factories._TrainerFactory.__init__).parameters
    saved = ast.parse(textwrap.dedent(inspect.getsource(_TrainerProxy.state_dict)))
    assert private(saved) >= STATE_KEYS
    assert issubclass(MMTTrainer, Trainer)


def test_no_other_private_name_is_used_and_none_elsewhere() -> None:
    theirs = {*METHODS, *ATTRIBUTES, *CLASSES, *STATE_KEYS, *SCHEDULE}
    ours = {"_stops_now", "_scores", "_path", "_patience", "_is_out", "_seeded", "_total"}
    assert private(ast.parse((PACKAGE / "trainer.py").read_text())) == theirs | ours
    for path in PACKAGE.parent.rglob("*.py"):
        tree = ast.parse(path.read_text())
        imports = [
            n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and (n.module or "")[:8] == "fairseq2"
        ]
        names = {alias.name for node in imports for alias in node.names if alias.name.startswith("_")}
        modules = {node.module for node in imports if "internal" in (node.module or "")}
        assert path.name == "trainer.py" or not names | modules, path


def rates(num: int, cooldown: int, start: float = 0.0) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    config = ScheduleConfig(num_warmup_steps=4, start_lr=start, num_steps=num, cooldown_steps=cooldown)
    schedule = InverseSquareRoot(optimizer, config)
    found = []
    for _ in range(num):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_warm_up_then_inverse_square_root() -> None:
    assert rates(17, 0)[:5] == pytest.approx([0.0, 0.5, 1.0, 1.5, 2.0])
    assert rates(17, 0)[16] == pytest.approx(2.0 * (4 / 16) ** 0.5)
    assert rates(2, 0, start=1.0) == pytest.approx([1.0, 1.25])


def test_the_cooldown_goes_to_zero_in_a_straight_line() -> None:
    plain, cooled = rates(20, 0), rates(20, 5)
    assert cooled[:16] == pytest.approx(plain[:16])
    assert [c / p for c, p in zip(cooled[15:], plain[15:], strict=True)] == pytest.approx([1, 0.8, 0.6, 0.4, 0.2])


def test_a_resumed_run_may_be_given_another_end() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    old = InverseSquareRoot(
        optimizer, ScheduleConfig(num_warmup_steps=4, start_lr=0, num_steps=99, cooldown_steps=0)
    )
    for _ in range(9):
        optimizer.step()
        old.step()
    new = InverseSquareRoot(
        optimizer, ScheduleConfig(num_warmup_steps=4, start_lr=0, num_steps=12, cooldown_steps=4)
    )
    new.load_state_dict(old.state_dict())
    optimizer.step()
    new.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(2.0 * (4 / 10) ** 0.5 * 2 / 4)


def test_patience_counts_validations_without_a_better_score(tmp_path: Path) -> None:
    scores = {10: 1.0, 20: 3.0, 30: 2.0, 40: 2.5, 50: 2.9}
    path = tmp_path / "scores.json"
    assert [step for step, score in scores.items() if Patience(path, 2).should_stop(step, score)] == [40, 50]
    # resumed from step 20: what came after it is repeated
    assert not Patience(path, 2).should_stop(30, 4.0)
    for damaged in (b"[1", b"[1]", b'{"a": 1}', b'{"1": []}', b"\xff"):
        path.write_bytes(damaged)
        with pytest.raises(MMTError, match=r"scores.json: expected the score.*Remove the file"):
            Patience(path, 2).has_stopped(30)


@pytest.mark.parametrize("text_lr", [None, 0.02])
def test_weight_decay_shrinks_each_weight_by_its_own_rate(tmp_path: Path, text_lr: float | None) -> None:
    rate = "null" if text_lr is None else text_lr
    settings = ["data.path=d", "optimizer.lr=0.1", "optimizer.weight_decay=0.5", f"optimizer.text_lr={rate}"]
    model = tiny_model(30, "gated")
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    adamw = _AdamWFactory(model).create(stack_config(read_config(None, settings), tmp_path).optimizer.config)
    for weight in model.parameters():
        weight.grad = torch.zeros_like(weight)
    adamw.step()
    for name, weight in model.named_parameters():
        lr = text_lr if text_lr is not None and name.startswith("text.") else 0.1
        torch.testing.assert_close(weight.detach(), before[name] * (1 - lr * 0.5))
