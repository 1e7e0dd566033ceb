"""A user without a home or a name trains and translates like any other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from test_recipe import settings

# What a user id without an entry in /etc/passwd meets.
NOBODY = """
import pwd, sys
def getpwuid(uid): raise KeyError(f"getpwuid(): uid not found: {uid}")
pwd.getpwuid = getpwuid
from mmt.cli import main
main()
"""


def test_a_user_without_home_or_name_trains_and_leaves_nothing(world: Path, tmp_path: Path) -> None:
    nameless = ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME")
    environment = {name: value for name, value in os.environ.items() if name not in nameless}
    environment |= {"TMPDIR": str(tmp_path / "temporary"), "OMP_NUM_THREADS": "1"}
    (tmp_path / "temporary").mkdir()
    command = [sys.executable, "-c", NOBODY, "train", str(tmp_path / "run")]
    for setting in settings(world, "regime.num_steps=3", fusion="none"):
        command += ["--config", setting]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "model" / "mmt.json").is_file()
    assert not list((tmp_path / "temporary").glob("mmt-*"))
