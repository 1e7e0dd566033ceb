"""``settings`` lists all keys of a configuration class: type, default and explanation, from its source."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from importlib import import_module
from typing import Any, get_args, get_type_hints

from docutils import nodes
from pydantic import TypeAdapter
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def explanations(kind: type) -> dict[str, str]:
    """What stands below each field of a class and of its parents."""
    found: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        if not is_dataclass(one):
            continue
        tree: Any = ast.parse(textwrap.dedent(inspect.getsource(one))).body[0]
        for field, after in zip(tree.body, [*tree.body[1:], None], strict=True):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and after.value.value
                found[field.target.id] = inspect.cleandoc(text) if isinstance(text, str) else ""
    return found


def kind_of(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    """A JSON schema in words: ``integer, 1 to 100``."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(kind_of(one, definitions) for one in schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{one}`" for one in schema.get("enum", [schema.get("const")]))
    name = schema.get("type", "")
    kind = {"array": "list", "object": "section"}.get(name, name)
    if schema.get("format") == "path":
        kind = "path"
    if kind == "list" and "items" in schema:
        kind = f"list of {kind_of(schema['items'], definitions)}"
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    words = [f"at least {low:,}" if low is not None else f"above {above:,}" if above is not None else ""]
    words += [f"at most {high:,}" if high is not None else f"below {below:,}" if below is not None else ""]
    return ", ".join([kind, *filter(None, words)])


def settings(kind: type, place: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Key, type, default and explanation of every setting, sections in the order of the source."""
    schema = TypeAdapter(kind).json_schema()
    definitions, texts, hints = schema.get("$defs", {}), explanations(kind), get_type_hints(kind)
    for field in fields(kind):
        inner = [one for one in (hints[field.name], *get_args(hints[field.name])) if is_dataclass(one)]
        about = schema["properties"][field.name]
        if inner:
            (section,) = inner
            listed = section is not hints[field.name]
            text = texts[field.name] or inspect.cleandoc(section.__doc__ or "")  # type: ignore[attr-defined]
            if text.startswith(section.__name__ + "("):  # type: ignore[attr-defined]
                text = ""  # what dataclass writes where there is none
            yield f"{place}{field.name}", "list of sections" if listed else "section", "", text
            yield from settings(section, f"{place}{field.name}{'[]' if listed else ''}.")  # type: ignore[arg-type]
        else:
            made = field.default_factory
            default = json.dumps(about["default"]) if "default" in about else "required"
            default = default if made is MISSING else json.dumps(made(), default=str)
            yield f"{place}{field.name}", kind_of(about, definitions), default, texts[field.name]


class Settings(SphinxDirective):
    """``settings:: mmt.training.config TrainConfig``."""

    required_arguments = 2

    def run(self) -> list[nodes.Node]:
        module, name = self.arguments
        kind = getattr(import_module(module), name)
        self.env.note_dependency(inspect.getsourcefile(kind) or "")
        lines: list[str] = []
        for key, what, default, text in settings(kind):
            plain = " ".join(text.replace("``", "`").split())
            if what == "section" and "." not in key:
                lines += [f"### `{key}`", "", plain, ""]
                continue
            shown = {"": "", "required": " (required)"}.get(default, f", default `{default}`")
            lines += [f"`{key}`", f": *{what}{shown}*", "", *([f"  {plain}"] if plain else []), ""]
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("settings", Settings)
    return {"parallel_read_safe": True}
