"""``mmt prepare``, ``mmt evaluate`` and ``mmt recipe``: scripts and recipes as commands."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from mmt.cli.main import main
from mmt.cli.recipe import recipes
from tests.commands import scripts

ROOT = Path(__file__).parents[2]
GROUPS = {"prepare": "data_prep", "evaluate": "eval"}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments], terminal_width=200)


@pytest.mark.parametrize("group", GROUPS)
def test_every_script_is_a_command_with_a_summary(group: str) -> None:
    package = GROUPS[group]
    own = {
        module.__name__.removesuffix(".__main__"): module
        for module in scripts()
        if module.__name__.startswith(f"{package}.") and not module.__name__.startswith("eval.bench")
    }
    own.pop("eval.score", None)  # which is mmt score
    context = click.Context(main)
    found = main.get_command(context, group)
    assert isinstance(found, click.Group)
    names = {name: f"{package}.{name.replace('-', '_')}" for name in found.list_commands(context)}
    assert set(names.values()) == set(own)
    for name, module in names.items():
        assert found.get_command(context, name) is own[module].main
    listed = run(group, "--help").output
    for name in names:
        (line,) = [line for line in listed.splitlines() if line.split()[:1] == [name]]
        assert line.rstrip().endswith((".", "?"))


def test_a_name_that_is_no_script_is_refused_with_the_nearest() -> None:
    for group, word, nearest in (("prepare", "multi3k", "multi30k"), ("evaluate", "commutes", "commute")):
        result = run(group, word)
        assert result.exit_code == 2
        assert f"Did you mean '{nearest}'?" in result.output


def test_a_copy_of_the_code_elsewhere_runs_its_own_scripts(tmp_path: Path) -> None:
    """A wheel has the scripts inside the package: ``pyproject.toml`` puts them there."""
    shutil.copytree(ROOT / "mmt", tmp_path / "mmt", ignore=shutil.ignore_patterns("__pycache__"))
    for package in GROUPS.values():
        shutil.copytree(ROOT / package, tmp_path / "mmt" / "scripts" / package)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from click import Context; from mmt.cli.main import main\n"
        "group = main.get_command(Context(main), 'prepare')\n"
        "print(group.get_command(Context(group), 'jsonl').callback.__code__.co_filename)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip() == str(tmp_path.joinpath("mmt", "scripts", "data_prep", "jsonl.py")), done.stderr


def test_recipes_are_listed_shown_and_copied(tmp_path: Path) -> None:
    listed = run("recipe", "list").output
    for name, path in recipes().items():
        assert name in listed
        assert run("recipe", "show", name).output == path.read_text(encoding="utf-8")
    result = run("recipe", "copy", "compare_pictures", tmp_path / "mine")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "mine").glob("*.yaml")) == [
        "compare_pictures.yaml",
        "pictures_en_de_none.yaml",  # which it varies
    ]
    (tmp_path / "mine" / "pictures_en_de_none.yaml").write_text("mine")
    again = run("recipe", "copy", "pictures_en_de_none", tmp_path / "mine")
    assert again.exit_code == 2
    assert "is there already" in again.output
    assert (tmp_path / "mine" / "pictures_en_de_none.yaml").read_text() == "mine"


def test_a_recipe_that_is_unknown_is_refused_with_the_nearest() -> None:
    result = run("recipe", "show", "pictures_en_de_gate")
    assert result.exit_code == 2
    assert "Did you mean 'pictures_en_de_gated'?" in result.output


def test_every_recipe_says_what_it_is() -> None:
    for path in recipes().values():
        assert path.read_text(encoding="utf-8").startswith("# "), path.name
