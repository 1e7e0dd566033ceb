"""The command ``mmt``, whose trainings begin as forks of a warm process."""

from __future__ import annotations

import subprocess
from unittest.mock import patch

from click.testing import CliRunner

from mmt.cli.main import main
from tests import warm


def run(*arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error; raises what the command raises."""
    with patch.object(subprocess, "Popen", warm.Popen):
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr
