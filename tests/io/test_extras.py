"""Two installs: a command that the small one lacks names the other."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from mmt.cli.command import Command
from mmt.io import extras


@click.command(cls=Command)
@click.argument("package")
def lacking(package: str) -> None:
    """Imports a package."""
    raise ModuleNotFoundError(f"No module named '{package}'", name=package)


@pytest.mark.parametrize(
    ("package", "named"), [("torch", "torch"), ("fairseq2.nn", "fairseq2"), ("datasets", "datasets")]
)
def test_a_package_that_the_small_install_lacks_is_named_in_one_line(
    package: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    result = CliRunner().invoke(lacking, [package])
    assert result.exit_code == 2
    assert f"the package {named} is missing" in result.stderr
    assert "pip install 'mmt-toolkit[train]'" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(("package", "small"), [("mmt.none", True), ("torch", False), ("anything", False)])
def test_another_error_is_not_hidden(package: str, small: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None if small else "there")
    assert isinstance(CliRunner().invoke(lacking, [package]).exception, ModuleNotFoundError)


@pytest.mark.parametrize(
    ("package", "extra"),
    [("gradio", "serve"), ("fastapi", "serve"), ("prometheus_client", "serve"), ("optuna", "tune")],
)
def test_the_extra_is_named_beside_the_full_install_too(package: str, extra: str) -> None:
    result = CliRunner().invoke(lacking, [package])
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        f"error: lacking: the package {package} is missing. pip install 'mmt-toolkit[{extra}]'."
    ]
