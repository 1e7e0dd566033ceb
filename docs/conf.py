"""The documentation site: `make docs` builds it into build/docs, with warnings as errors."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent / "_extensions")]

import mmt  # noqa: E402

project = "mmt"
author = "the authors of mmt"
version = release = mmt.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",  # docstrings have sections such as Args:
    "sphinx.ext.viewcode",
    "sphinx_click",
    "sphinx_copybutton",
    "settings_reference",
    "repository_links",
]
exclude_patterns = ["_extensions"]
nitpicky = False

logging.getLogger("traitlets").setLevel(logging.WARNING)
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Tutorials are notebooks in MyST text; the build runs them and fails where a cell fails.
nb_execution_mode = "cache"
nb_execution_cache_path = str(ROOT / "build" / "notebooks")
nb_execution_in_temp = True
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True
suppress_warnings = ["misc.highlighting_failure"]  # of !commands in cells

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False  # those of fairseq2 need MathJax from the network

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "furo"
html_title = f"mmt {release}"
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
