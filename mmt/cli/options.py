"""Options that several commands share: one name has one meaning and one help text everywhere."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import click

from mmt.errors import MMTError, is_url
from mmt.io.hub import hub_model, is_hub_name

_Command = TypeVar("_Command", bound=Callable[..., Any])
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

IMPORTED = "mmt.import"
"""The key under which ``import_option`` stores the modules in the context's ``meta``."""

ARGUMENTS = "mmt.arguments"
"""The key under which the running command's arguments are, as the user gave them."""


class LocalPath(click.Path):
    """A local path. A URL is refused, since ``pathlib`` would change it, and so is a model of the hub."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and is_url(value):
            self.fail(f"{value} is a URL; expected a path on this machine. Download it first.", param, ctx)
        if isinstance(value, str) and is_hub_name(value) and not isinstance(self, ModelPath):
            self.fail(f"{value} is a model of the Hugging Face hub; expected a path on this machine.", param, ctx)
        return super().convert(value, param, ctx)


class LocationType(LocalPath):
    """A local path or a URL, which stays a text: see ``mmt.io.locations``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if isinstance(value, str) and is_url(value) else super().convert(value, param, ctx)


class ModelPath(LocalPath):
    """A model. ``hub:OWNER/NAME[@REVISION]`` is the folder in the cache to which that model is downloaded."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        completes = ctx is not None and ctx.resilient_parsing
        if isinstance(value, str) and is_hub_name(value) and "+" not in value and not completes:
            try:
                value = hub_model(value)
            except MMTError as error:
                self.fail(str(error), param, ctx)
        return super().convert(value, param, ctx)


PATH = LocalPath(path_type=Path)
LOCATION = LocationType(path_type=Path)
PATH_OR_DASH = LocalPath(path_type=Path, allow_dash=True)
MODEL = ModelPath(path_type=Path)
"""Of options and arguments that name a model."""

model_option = click.option("--model", type=MODEL, required=True, help="Model folder: OUTPUT/model of mmt train.")
text_model_option = click.option(
    "--model",
    type=MODEL,
    required=True,
    help="Model folder: OUTPUT/model of mmt train; or a pretrained text model: nllb:, m2m100: or marian: and its "
    "folder or name.",
)
models_option = click.option(
    "--model",
    type=MODEL,
    required=True,
    multiple=True,
    callback=lambda ctx, option, models: Path("+".join(map(str, models))),
    help="Model folder: OUTPUT/model of mmt train; or a pretrained text model: nllb:, m2m100: or marian: and its "
    "folder or name; or pictures-en-de, which comes with mmt. Repeatable: several models, also joined by +, are "
    "an ensemble.",
)
"""``--model`` of what one model or several can do, see ``mmt.inference.ensemble.members_of``."""

source_lang_option = click.option(
    "--source-lang", metavar="CODE", help="Source language, if the model has several.  [default: the model's]"
)
target_lang_option = click.option(
    "--target-lang", metavar="CODE", help="Target language, if the model has several.  [default: the model's]"
)
vocabulary_option = click.option(
    "--vocabulary",
    type=PATH,
    metavar="TEXT",
    help="File of sentences in the target language: write only with pieces that occur in it, which is faster with "
    "a large vocabulary.",
)
draws_option = click.option(
    "--draws", type=click.IntRange(min=1), default=5, help="Number of random draws of wrong images."
)
draws_seed_option = click.option(
    "--seed", type=click.IntRange(min=0), default=1, help="Random seed of the first draw."
)
bootstrap_seed_option = click.option(
    "--seed", type=click.IntRange(min=1), default=12345, help="Random seed of the bootstrap."
)
metrics_option = click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="KIND:MODEL",
    help="Neural metric too: comet: or cometkiwi: and a checkpoint or name; runs in its own environment "
    "(docs/any_system.md). Repeatable.",
)


def format_option(command: _Command) -> _Command:
    """Adds ``--format table`` or ``json``, and ``--json`` for the latter: the parameter ``form``."""
    kinds = click.Choice(["table", "json"])
    decorated = click.option("--json", "form", flag_value="json", help="The same as --format json.")(command)
    return click.option("--format", "form", type=kinds, default="table", help="Format of the output.")(decorated)


split_option = click.option("--split", help="Split of --data.  [default: the first whose name begins with test]")
images_option = click.option(
    "--images",
    type=PATH,
    multiple=True,
    help="List of images, one a line; folder of images; or feature store, one for each feature set. "
    "A list may come with a folder or stores.",
)
stores_option = click.option(
    "--images",
    type=PATH,
    multiple=True,
    help="Feature store; repeat it for several feature sets.  [default: the dataset's image files]",
)
runtime_option = click.option(
    "--runtime",
    type=click.Choice(["auto", "torch", "onnx"]),
    default="auto",
    help="Runtime: torch, onnx (the model's exported graphs alone; refuses what they cannot do), or auto, the "
    "fastest that gives the same answers, but for rounding in int8.",
)
threads_option = click.option(
    "--threads", type=click.IntRange(min=1), help="Number of CPU threads.  [default: all cores]"
)
device_option = click.option(
    "--device",
    default="cpu",
    help="Device that torch computes on, such as cuda; exported models compute on the CPU.",
)
shard_option = click.option(
    "--shard",
    metavar="K/N",
    help="Process shard K of N; the last one merges the results.  [default: by torchrun or srun]",
)
on_option = click.option(
    "--on",
    "engine",
    metavar="ENGINE",
    help="Run shards on local[:N] processes, ray[:ADDRESS] or slurm:PARTITION, with resources such as "
    ",workers=8,cpus=4,gpus=1 (docs/many_machines.md).",
)
quiet_option = click.option("--quiet", is_flag=True, help="Show no progress bar and no summary.")


def missing_images_option(instead: str) -> Decorator:
    """``--missing-images``; ``instead`` says what happens to the sentence of a skipped image."""
    return click.option(
        "--missing-images",
        type=click.Choice(["refuse", "skip"]),
        default="refuse",
        help=f"Missing image: refuse (exit) or skip ({instead}).",
    )


def collected(kind: type[Any], name: str, *options: Decorator) -> Decorator:
    """Adds options to a command, which gets their values in one object, its parameter ``name``.

    Args:
        kind: a dataclass, whose fields are called as the options.
    """
    names = {field.name for field in fields(kind)}

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def call(**values: Any) -> Any:
            own = {key: values.pop(key) for key in names & values.keys()}
            return command(**values, **{name: kind(**own)})

        decorated: Callable[..., Any] = call
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate


def import_option(command: _Command) -> _Command:
    """Adds ``--import`` to a command that builds or loads models; ``mmt.cli.command.Command`` imports the modules
    before it runs the command.
    """

    def keep(ctx: click.Context, _: click.Parameter, modules: tuple[str, ...]) -> None:
        ctx.meta[IMPORTED] = modules

    return click.option(
        "--import",
        "modules",
        multiple=True,
        metavar="MODULE",
        expose_value=False,
        callback=keep,
        help="Module or .py file that adds a fusion to mmt.model.fusion.FUSIONS; repeatable.",
    )(command)
