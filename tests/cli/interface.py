"""Lists what users can name: options of all commands and scripts, and YAML keys, each with type and default.

``python -m tests.cli.interface > tests/cli/interface.txt`` rewrites the list that ``test_interface.py`` reads.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator
from typing import Any

import click

import mmt.cli.main
from mmt.experiments.compare import CompareConfig
from mmt.experiments.leaderboard_config import DatasetEntry, LeaderboardConfig, SystemEntry
from mmt.training.config import TrainConfig
from tests.commands import leaves, scripts


def type_of(kind: click.ParamType) -> str:
    if isinstance(kind, click.Choice):
        return " | ".join(str(getattr(choice, "value", choice)) for choice in kind.choices)
    if isinstance(kind, click.IntRange | click.FloatRange):
        return f"{kind.name} from {kind.min} to {kind.max}".replace(" to None", "").replace(" from None", "")
    if isinstance(kind, click.Tuple):
        return "(" + ", ".join(type_of(one) for one in kind.types) + ")"
    return kind.name


def parameter(one: click.Parameter) -> str:
    names = one.name or "" if isinstance(one, click.Argument) else ", ".join([*one.opts, *one.secondary_opts])
    words = [names, "flag" if getattr(one, "is_flag", False) else type_of(one.type)]
    if one.required:
        words.append("required")
    default = one.to_info_dict()["default"]
    if default is not None and default is not False and default != ():
        words.append(f"default {default!r}")
    if one.multiple:
        words.append("multiple")
    if one.nargs != 1:
        words.append(f"nargs {one.nargs}")
    return "  ".join(words)


def commands() -> Iterator[str]:
    found: list[tuple[str, click.Command]] = []
    for name in mmt.cli.main.COMMANDS:
        command = mmt.cli.main.main.get_command(click.Context(mmt.cli.main.main), name)
        assert command is not None
        several = isinstance(command, click.Group)
        found += [(f"mmt {name} {leaf.name}" if several else f"mmt {name}", leaf) for leaf in leaves(command)]
    for module in scripts():
        main = next(
            vars(module)[name] for name in ("main", "score_command", "train_command") if name in vars(module)
        )
        if isinstance(main, click.Command):
            script = module.__name__.removesuffix(".__main__")
            several = isinstance(main, click.Group)
            found += [(f"{script} {leaf.name}" if several else script, leaf) for leaf in leaves(main)]
    for name, command in found:
        yield f"\n{name}"
        yield from sorted(f"  {parameter(one)}" for one in command.params)


def written(hint: Any) -> str:
    if hint in (None, type(None)):
        return "null"
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return " | ".join(map(str, inner))
    if origin in (typing.Union, types.UnionType):
        return " | ".join(map(written, inner))
    name: str = getattr(origin or hint, "__name__", str(hint))
    return f"{name}[{', '.join('...' if one is ... else written(one) for one in inner)}]" if inner else name


def keys(config: type, prefix: str = "") -> Iterator[str]:
    hints = typing.get_type_hints(config)
    for field in dataclasses.fields(config):
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint):
            yield from keys(typing.cast(type, hint), f"{prefix}{field.name}.")
            continue
        if field.default is not dataclasses.MISSING:
            default = f"default {field.default!r}"
        elif field.default_factory is not dataclasses.MISSING:
            default = f"default {field.default_factory()!r}"
        else:
            default = "required"
        yield f"  {prefix}{field.name}  {written(hint)}  {default}"
        for inner in typing.get_args(hint):
            if dataclasses.is_dataclass(inner):
                yield from keys(typing.cast(type, inner), f"{prefix}{field.name}[].")


def interface() -> str:
    lines = ["Commands and scripts", *commands()]
    for title, config in (
        ("mmt train", TrainConfig),
        ("mmt compare", CompareConfig),
        ("mmt compare, leaderboards", LeaderboardConfig),
        ("mmt compare, a system of a leaderboard", SystemEntry),
        ("mmt compare, a dataset of a leaderboard", DatasetEntry),
    ):
        lines += ["", "", f"YAML keys of {title}", *keys(config)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(interface(), end="")
