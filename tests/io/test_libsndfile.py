"""libsndfile is loaded for fairseq2n, and not before it is needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOADED = "'libsndfile' in open('/proc/self/maps').read()"


@pytest.mark.parametrize("module", ["fairseq2n", "mmt.data.batch", "fairseq2.nn"])
def test_it_is_loaded_with_fairseq2_alone(module: str) -> None:
    """A user's own module may import fairseq2 before anything of mmt but ``mmt`` itself."""
    code = f"import mmt, mmt.errors, mmt.io.atomic; print({LOADED}); import {module}; print({LOADED})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["False", "True"]
