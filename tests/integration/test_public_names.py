"""Tests hold for what the code promises, so they use public names alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
OURS = ("mmt", "data_prep", "eval", "recipes", "tests")
LIBRARIES = {
    TESTS / "training" / "test_trainer.py",  # names the private attributes of fairseq2 that mmt depends on
    TESTS / "stand_in.py",  # a tensor subclass, of torch's private names
    TESTS / "warm.py",  # replaces the step in which subprocess starts a child
}


def is_private(name: str) -> bool:
    return any(part.startswith("_") and not part.startswith("__") and part != "_" for part in name.split("."))


def private_names(code: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in OURS:
            yield from (alias.name for alias in node.names if is_private(alias.name))
        elif isinstance(node, ast.Attribute) and is_private(node.attr):
            if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls", "os")):
                yield node.attr
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("setattr", "delattr"):
            texts = [one.value for one in node.args[:2] if isinstance(one, ast.Constant)]
            yield from (text for text in texts if isinstance(text, str) and is_private(text))


@pytest.mark.parametrize(
    "code",
    ["from mmt.a import _b", "a._b()", "m.setattr(a, '_b', 1)", "m.setattr('mmt.a._b', 1)"],
)
def test_a_private_name_is_noticed(code: str) -> None:
    assert len(list(private_names(code))) == 1


def test_tests_use_public_names() -> None:
    used = {
        f"{path.relative_to(TESTS)}: {name}"
        for path in TESTS.rglob("*.py")
        if path not in LIBRARIES
        for name in private_names(path.read_text(encoding="utf-8"))
    }
    assert used == set()
