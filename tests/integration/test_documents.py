"""Documents, docstrings and comments name files, modules and anchors that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("recipes/*.md")]
SOURCES = [
    path for top in ("mmt", "data_prep", "eval", "recipes", "tests") for path in ROOT.glob(f"{top}/**/*.py")
]
PACKAGES = "mmt|data_prep|eval|recipes|tests"
HISTORY = "CHANGELOG.md"  # names what is gone, too
OTHERS = {"mmt.json", "mmt.fusions"}  # a file and a group of entry points; and NAME stands for any name


def anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_lead_somewhere() -> None:
    lost = []
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
            if "://" in target:
                continue
            name, _, anchor = target.partition("#")
            path = document.parent / name if name else document
            if not path.exists() or (anchor and anchor not in anchors(path)):
                lost.append(f"{document.relative_to(ROOT)}: {target}")
    assert lost == []


def test_paths_of_the_repository_exist() -> None:
    pattern = re.compile(rf"(?<![\w./-])(?:{PACKAGES}|docs)/[\w./-]+\.(?:py|md|yaml|json|png|txt)\b")
    lost = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in [*DOCUMENTS, *SOURCES]
        if path.name != HISTORY
        for name in pattern.findall(path.read_text(encoding="utf-8"))
        if not (ROOT / name).exists() and "NAME" not in name
    ]
    assert lost == []


@cache
def exists(name: str) -> bool:
    """Whether a dotted name is a module, or a name that the text of the module defines."""
    module, rest = name, ""
    while module:
        path = ROOT / module.replace(".", "/")
        file = path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py"
        if file.exists():
            first = rest.partition(".")[0]
            return not first or re.search(rf"\b{re.escape(first)}\b", file.read_text(encoding="utf-8")) is not None
        module, _, last = module.rpartition(".")
        rest = f"{last}.{rest}" if rest else last
    return False


def names(text: str, *, prose: bool) -> Iterator[str]:
    """Dotted names in code font, and in documents also what ``python -m`` is given and what is imported."""
    quote = "`" if prose else "``"
    yield from re.findall(rf"{quote}((?:{PACKAGES})(?:\.[a-z_]\w*)+){quote}", text, re.IGNORECASE)
    yield from re.findall(rf"python -m ((?:{PACKAGES})(?:\.\w+)+)", text)


def test_modules_that_are_named_exist() -> None:
    lost = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in [*DOCUMENTS, *SOURCES]
        if path.name != HISTORY
        for name in names(path.read_text(encoding="utf-8"), prose=path.suffix == ".md")
        if name not in OTHERS and "NAME" not in name and not exists(name)
    ]
    assert lost == []
