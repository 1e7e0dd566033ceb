"""Reads configurations: strict YAML, overridden by ``KEY=VALUE`` settings."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from mmt.errors import MMTError, nearest
from mmt.training.config import TrainConfig

_Config = TypeVar("_Config")

_LONGEST = 30_000  # characters of a YAML file: all settings take 3,000; nested brackets of this length take 3 s
_MOST_VALUES = 30_000  # aliases of aliases are short in the file, but expand without limit
_NO_TEXT = re.compile("[\x00\ud800-\udfff]")
_TAG = "tag:yaml.org,2002:"
_PLAIN = {  # values without quotes that are not text: YAML 1.2's JSON schema and the words of its core schema
    "null": (r"null|Null|NULL|~|", "nN~\0"),
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    "float": (
        r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+0123456789.",
    ),
    "merge": (r"<<", "<"),
}


class _Loader(yaml.SafeLoader):
    """YAML 1.2 where it matters: PyYAML reads YAML 1.1, in which ``010`` is 8, ``1:30`` is 90 and ``no`` is false.

    Numbers are decimal, and ``1e3`` is one. ``010``, ``0x10``, ``1_000``, ``1:30``, ``yes``, ``off`` and
    ``2024-01-02`` are strings, which a setting of another type refuses.
    """

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # PyYAML's


class _Dumper(yaml.SafeDumper):
    """Quotes every string that YAML 1.1 or ``_Loader`` would read as another type."""


for _name, (_pattern, _first) in _PLAIN.items():
    for _kind in (_Loader, _Dumper):
        _start = ["" if _letter == "\0" else _letter for _letter in _first]
        _kind.add_implicit_resolver(f"{_TAG}{_name}", re.compile(f"(?:{_pattern})\\Z"), _start)


def read_config(path: Path | None, overrides: Sequence[str] = ()) -> TrainConfig:
    """The defaults, overridden by a YAML file, overridden by ``a.b=value`` settings.

    Raises:
        MMTError: the file is missing or not YAML; a key is unknown (the nearest is named) or occurs twice; a value
            has the wrong type, is out of range, or does not fit another; there is no such base as ``model.text``.
    """
    where = "--config" if path is None else str(path)
    tree = override({}, overrides) if path is None else read_tree(path, overrides)
    config = validated(TrainConfig, tree, where)
    # These load torch, so only now: mistakes in keys and types are reported at once.
    from mmt.training.config_checks import check_values
    from mmt.training.small_data import fit_to_data
    from mmt.training.text_base import with_base

    config = fit_to_data(with_base(config, tree, where), tree)
    check_values(config, where)
    return config


def read_tree(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Reads a YAML file of sections, overridden by ``a.b=value`` settings.

    Anchors and aliases work; a merge (``<<: *base``) provides defaults for a section.

    Raises:
        MMTError: the file is missing or not YAML, or a key occurs twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise MMTError(f"{path}: the configuration cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError as error:
        raise MMTError(f"{path}: not a YAML file ({error}).") from None
    loaded = parse_yaml(text, str(path))
    if not isinstance(loaded, dict | None):
        raise MMTError(f"{path}: expected sections such as 'data:', found {type(loaded).__name__}.")
    return override(loaded or {}, overrides)


def parse_yaml(text: str, where: str) -> Any:
    """The value of ``text``. Raises MMTError, beginning with ``where``, for invalid or ambiguous YAML."""
    if len(text) > _LONGEST:
        raise MMTError(f"{where}: {len(text):,} characters are no settings, over {_LONGEST:,}.")
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _check_nodes(node, where)
        return loader.construct_document(node)
    except MMTError:
        raise
    except Exception as error:  # a tag on the wrong type, unclosed brackets, ...
        raise MMTError(f"{where}: not YAML ({' '.join(str(error).split())}).") from None
    finally:
        if loader is not None:
            loader.dispose()


def override(tree: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """``tree`` with ``a.b=value`` settings; of two for one key the last one counts.

    A value with keys of its own changes only those.

    Raises:
        MMTError: a setting is not of the form ``KEY=VALUE``.
    """
    for setting in overrides:
        where = f"--config {setting}"
        for place, value in _setting(setting, where):
            _set(tree, place, value, where)
    return tree


def settings_of(overrides: Sequence[str], where: str) -> dict[str, str]:
    """``a.b=value`` settings by key, each value as YAML on one line; a value with keys of its own is split.

    Raises:
        MMTError: a setting is not of the form ``KEY=VALUE``, or two give one key different values.
    """
    settings: dict[str, str] = {}
    for setting in overrides:
        for place, value in _setting(setting, f"{where} {setting}"):
            key, text = ".".join(place), json.dumps(value)
            if settings.setdefault(key, text) != text:
                raise MMTError(f"{where} {setting}: {key} is {settings[key]} in another one. Keep one of them.")
    return settings


def _setting(setting: str, where: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    key, equals, text = setting.partition("=")
    names = key.strip().split(".")
    if not equals or not all(names):
        hint = " A file is --config-file." if setting.lower().endswith((".yaml", ".yml")) else ""
        raise MMTError(f"{where}: expected KEY=VALUE, e.g. regime.num_steps=100.{hint}")
    return _leaves((*names,), _value(text, where))


def _value(text: str, where: str) -> Any:
    """The value after the equals sign."""
    if not text.strip():
        raise MMTError(f"{where}: no value. Write null if none is meant.")
    loaded = parse_yaml(text, where)
    if "#" in text:
        end = yaml.compose(text, Loader=_Loader)
        rest = text if end is None else text[end.end_mark.index :]
        if "#" in rest:
            raise MMTError(f"{where}: {rest.strip()!r} is a comment in YAML. Put the value in quotes.")
    return loaded


def _leaves(place: tuple[str, ...], value: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, dict) and value:
        for name, part in value.items():
            yield from _leaves((*place, name), part)
    else:
        yield place, value


def _set(tree: dict[str, Any], keys: tuple[str, ...], value: Any, where: str) -> None:
    for key in keys[:-1]:
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            raise MMTError(f"{where}: '{key}' is a value, not a section.")
    if value != {} or not isinstance(tree.get(keys[-1]), dict):
        tree[keys[-1]] = value


def _check_nodes(root: yaml.Node, where: str) -> None:
    """Raises MMTError if a key occurs twice or is not a string, or a value has no valid type; follows aliases."""
    left = _MOST_VALUES

    def check(node: yaml.Node, place: str, above: tuple[yaml.Node, ...]) -> None:
        nonlocal left
        left -= 1
        if left < 0 or node in above:
            raise MMTError(f"{where}: {place or 'aliases'}: its aliases make more than {_MOST_VALUES:,} values.")
        line = node.start_mark.line + 1
        kind = node.tag.removeprefix(_TAG)
        if kind not in (*_PLAIN, "str", "seq", "map"):
            raise MMTError(f"{where}: line {line}: {node.tag} is no setting's type. Leave the tag out.")
        if isinstance(node, yaml.ScalarNode) and node.value == "" and node.style is None:
            raise MMTError(f"{where}: {place or 'the value'} is empty. Write null if none is meant.")
        if kind in _PLAIN and not re.fullmatch(_PLAIN[kind][0], str(node.value)):
            raise MMTError(f"{where}: line {line}: {node.value!r} is no {kind} as YAML 1.2 writes it.")
        if isinstance(node, yaml.ScalarNode) and _NO_TEXT.search(node.value):
            raise MMTError(f"{where}: line {line}: a text with U+0000 or half a character. Take it out.")
        if isinstance(node, yaml.SequenceNode):
            for number, part in enumerate(node.value):
                check(part, f"{place}.{number}" if place else str(number), (*above, node))
        if isinstance(node, yaml.MappingNode):
            lines: dict[str, int] = {}
            for key, part in node.value:
                at = key.start_mark.line + 1
                if key.tag not in (f"{_TAG}str", f"{_TAG}merge"):
                    found = repr(key.value) if isinstance(key, yaml.ScalarNode) else "several values"
                    raise MMTError(
                        f"{where}: line {at}: expected a name before the colon, found {found}. Put quotes around "
                        "it if it is one."
                    )
                name = f"{place}.{key.value}" if place else key.value
                if key.value in lines:
                    raise MMTError(
                        f"{where}: '{name}' stands twice, in lines {lines[key.value]} and {at}. Keep one."
                    )
                lines[key.value] = at
                check(part, name, (*above, node))

    check(root, "", ())


def validated(kls: type[_Config], tree: Mapping[str, Any], where: str) -> _Config:
    """A configuration of class ``kls``, with the types and ranges of all values checked.

    Raises:
        MMTError: a key is unknown (the nearest is named), or a value has the wrong type or is out of range.
    """
    _check_keys(tree, kls, where, "")
    try:
        # From JSON, because there pydantic accepts a list as a tuple and a string as a path even in strict mode.
        return TypeAdapter(kls).validate_json(json.dumps(tree), strict=True)
    except ValidationError as error:
        # A value of a union type fails once for each type: report the failures that got furthest.
        faults = [(_place(tree, one["loc"], one["type"] == "missing"), one) for one in error.errors()]
        first = faults[0][0][:1]
        place = max((place for place, _ in faults if place[:1] == first), key=len)
        at_place = [fault for where_at, fault in faults if where_at == place]
        key = ".".join(map(str, place)) or "the file"
        if at_place[0]["type"] == "missing":
            raise MMTError(f"{where}: {key} is missing.") from None
        expected = " or ".join(dict.fromkeys(map(_expected, at_place)))
        value = at_place[0]["input"]
        quotes = ""
        if at_place[0]["type"] in ("string_type", "no_path") and isinstance(value, bool | int | float):
            quotes = " Put quotes around it if it is a text."
        found = repr(value) if isinstance(value, str) else json.dumps(value)
        raise MMTError(f"{where}: {key}: expected {expected}, found {found}.{quotes}") from None


_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "a text",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "keys and values",
    "dataclass_type": "keys and values",
    "literal_error": "{expected}",
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
    "string_too_short": "a text",
    "too_short": "a list of at least {min_length}",
}


def _expected(fault: Mapping[str, Any]) -> str:
    if fault["type"] in _EXPECTED:
        limits = {
            name: f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else value
            for name, value in fault.get("ctx", {}).items()
        }
        return _EXPECTED[fault["type"]].format(**limits)
    return str(fault["msg"]).removeprefix("Input should be ")


def _place(tree: Any, loc: Sequence[int | str], missing: bool) -> tuple[int | str, ...]:
    """The keys of ``loc`` that are in ``tree``; pydantic puts names of types between them."""
    keys: list[int | str] = []
    for part in loc:
        inside = isinstance(tree, Mapping) and part in tree
        if inside or (isinstance(tree, list) and isinstance(part, int) and part < len(tree)):
            keys.append(part)
            tree = tree[part]
    return (*keys, loc[-1]) if missing else tuple(keys)


def _check_keys(tree: Mapping[str, Any], kls: type, where: str, prefix: str) -> None:
    known = [f.name for f in fields(kls)]
    hints = get_type_hints(kls)
    for key, value in tree.items():
        if key not in known:
            raise MMTError(
                f"{where}: unknown key '{prefix}{key}'.{nearest(str(key), known)} Known: {', '.join(known)}."
            )
        kinds = [hint for hint in (hints[key], *get_args(hints[key])) if is_dataclass(hint)]
        for number, part in enumerate(value if isinstance(value, list) else [value]):
            if kinds and isinstance(part, Mapping):
                place = f"{key}.{number}" if isinstance(value, list) else key
                _check_keys(part, kinds[0], where, f"{prefix}{place}.")  # type: ignore[arg-type]


def tree_of(config: Any) -> Any:
    """A configuration as plain values, defaults included."""
    return TypeAdapter(type(config)).dump_python(config, mode="json")


def dump(config: Any) -> str:
    """A configuration as YAML; reading it gives the same configuration."""
    return yaml.dump(tree_of(config), Dumper=_Dumper, sort_keys=False)


def dump_config(config: TrainConfig) -> str:
    """The whole configuration as YAML, defaults included."""
    return dump(config)
