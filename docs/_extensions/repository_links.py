"""Links between files of the repository lead to pages of the site, where there are such.

The sources keep their links, which work wherever the repository is shown. A file that is included, such as
``recipes/README.md``, is read as if it stood in ``docs/``.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]
PAGES = {
    "recipes/README.md": "docs/recipes.md",
    "README.md": "docs/index.md",
    "CONTRIBUTING.md": "docs/contributing.md",
}


def _linked(text: str, source: Path, page: Path) -> str:
    """``text`` of the file ``source``, with links as they are from ``page``."""

    def link(found: re.Match[str]) -> str:
        name, anchor = found[1], found[2] or ""
        path = (source.parent / name).resolve()
        path = ROOT / PAGES.get(path.relative_to(ROOT).as_posix(), path.relative_to(ROOT).as_posix())
        return f"]({os.path.relpath(path, page.parent)}{anchor})"

    return re.sub(r"\]\((?!\w+:)([^)#\s]+)(#[^)\s]*)?\)", link, text)


def _read(app: Sphinx, docname: str, content: list[str]) -> None:
    page = Path(app.env.doc2path(docname))
    content[0] = _linked(content[0], page, page)


def _include(app: Sphinx, file: Path, docname: str, content: list[str]) -> None:
    content[0] = _linked(content[0], ROOT / "docs" / file, Path(app.env.doc2path(docname)))


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", _read)
    app.connect("include-read", _include)
    return {"parallel_read_safe": True}
