"""``mmt evidence``: runs every control on every system and writes one page."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmt.cli.command import Command, write_alone_in
from mmt.cli.engines import is_worker, ran_on_engine, shard_of
from mmt.cli.options import (
    MODEL,
    PATH,
    collected,
    draws_option,
    draws_seed_option,
    import_option,
    metrics_option,
    on_option,
    quiet_option,
    runtime_option,
    split_option,
    stores_option,
    threads_option,
)
from mmt.data.dataset import first_test_split
from mmt.errors import MMTError
from mmt.evidence.options import SystemOptions, parse_system
from mmt.io.hub import hub_model, is_hub_name

if TYPE_CHECKING:
    from mmt.inference.open import Runtime

_READS_PROMPTS = collected(
    SystemOptions,
    "options",
    click.option("--prompt", type=PATH, help="Prompt template of hf: and api:, a text file."),
    click.option("--examples", type=PATH, help="Few-shot examples of hf: and api:, a file."),
    click.option("--text-only", is_flag=True, help="Show hf: and api: no images, as a baseline."),
    click.option("--device", default="cpu", help="Device of hf:, such as cuda."),
    click.option("--dtype", type=click.Choice(["float32", "bfloat16", "float16"]), default="float32",
                 help="Number type of hf:."),
    click.option("--batch-size", type=click.IntRange(min=1), default=8, help="Sentences in a batch of hf:."),
    click.option("--concurrency", type=click.IntRange(min=1), default=4, help="Requests of api: at a time."),
    click.option("--max-requests", type=click.IntRange(min=1), help="Budget of api:, in requests."),
)  # fmt: skip


@click.command("evidence", cls=Command)
@click.option("--system", "systems", metavar="NAME=SPEC", multiple=True,
              help="A system to evaluate; repeatable, the first is under test. SPEC: a folder of a model or an "
              "exported model; nllb:, m2m100: or marian: and a folder or name; files:DIR; hf:NAME_OR_FOLDER; or "
              "api:URL#MODEL.")  # fmt: skip
@click.option(
    "--model", type=MODEL, help="Model folder: OUTPUT/model of mmt train. The same as --system model=DIR."
)
@click.option("--data", type=PATH, required=True, help="Prepared dataset with images.")
@split_option
@click.option("--against", type=MODEL, help="With --model: the text-only model, or another one, to compare with.")
@stores_option
@click.option("--commute", type=PATH, help="Folder of CoMMuTE, such as en-de, to evaluate too.")
@click.option("--commute-images", type=PATH, help="Folder of CoMMuTE's images.  [default: images/ beside it]")
@draws_option
@draws_seed_option
@click.option("--plan", "plan_folder", metavar="DIR", type=PATH,
              help="Write into DIR what systems are to translate, for files:DIR, and evaluate none.")  # fmt: skip
@_READS_PROMPTS
@metrics_option
@click.option("--gallery", type=click.IntRange(min=0), default=12,
              help="Number of examples: half that the image helped, half that it hurt.")  # fmt: skip
@click.option("--no-pictures", is_flag=True, help="Omit the photos, so that you can share the page.")
@click.option("--output", type=PATH, default="evidence", help="Output folder for evidence.html and evidence.json.")
@runtime_option
@threads_option
@on_option
@quiet_option
@import_option
def evidence_command(
    systems: tuple[str, ...],
    model: Path | None,
    data: Path,
    split: str | None,
    against: Path | None,
    images: tuple[Path, ...],
    commute: Path | None,
    commute_images: Path | None,
    draws: int,
    seed: int,
    plan_folder: Path | None,
    options: SystemOptions,
    metrics: tuple[str, ...],
    gallery: int,
    no_pictures: bool,
    output: Path,
    runtime: Runtime,
    threads: int | None,
    engine: str | None,
    quiet: bool,
) -> None:
    """Do systems use the image, and are they better than text-only? Run every control and write one page."""
    if commute is None and commute_images is not None:
        raise MMTError(f"--commute-images {commute_images}: expected --commute, the folder of CoMMuTE, too.")
    named = _named(systems, model, against)
    if (plan_folder is None) != bool(named):
        raise MMTError("expected one of --model DIR, --system NAME=SPEC or --plan DIR.")
    if engine is not None and plan_folder is not None:
        raise MMTError(f"--on {engine}: a plan takes no time. Leave --on or --plan out.")
    split = split or first_test_split(data)
    if not is_worker():
        write_alone_in(plan_folder or output)

    # Imported here: the help and the checks of the options need neither NumPy nor torch.
    from mmt.evidence.collect import answer, identity
    from mmt.evidence.evaluation import Inputs
    from mmt.evidence.shared import SharedCalls
    from mmt.metrics.external import NeuralMetric
    from mmt.report.evaluation import evaluate, plan_answers

    neural = tuple(NeuralMetric.parse(spec) for spec in metrics)
    answers = output / "answers"
    folder = output / "calls"
    calls = SharedCalls(folder, shard_of(None, engine)) if engine is not None else None
    inputs = Inputs(
        named, data, split, images, commute, commute_images, draws, seed, gallery, options, answers, neural,
        runtime=runtime, threads=threads, calls=calls,
    )  # fmt: skip
    if calls is not None:
        if is_worker():
            answer(inputs)
            return
        calls.claim(identity(inputs))
        ran_on_engine(engine, folder, threads=threads, quiet=quiet)
    if plan_folder is not None:
        plan_answers(inputs, plan_folder, quiet=quiet)
    else:
        evaluate(inputs, output, pictures=not no_pictures, quiet=quiet)
    if calls is not None:
        shutil.rmtree(folder)


def _named(systems: tuple[str, ...], model: Path | None, against: Path | None) -> dict[str, str | Path]:
    """The systems by name, the one under test first."""
    named: dict[str, str | Path] = {}
    if model is not None:
        named["model"] = model
    if against is not None:
        if model is None:
            raise MMTError(f"--against {against}: expected --model DIR, which is compared with it.")
        named["against"] = against
    for text in systems:
        name, spec = parse_system(text)
        if name in named:
            raise MMTError(f"--system {text}: the name '{name}' was given before. Name each system differently.")
        named[name] = hub_model(spec) if is_hub_name(spec) else spec
    return named
