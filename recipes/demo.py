"""``make demo``: trains a text-only and a gated model on the built-in pictures, and shows what the image changes.

python -m recipes.demo FOLDER
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from data_prep.pictures.scenes import SIZES, prepare
from mmt.cli.command import Command, write_alone_in
from mmt.cli.options import PATH
from mmt.errors import MMTError
from mmt.experiments.jobs import Places, Training, train_all
from mmt.inference.controls import other_readings
from mmt.io.atomic import holder_of, make_folder, write_whole
from mmt.io.tables import print_table
from mmt.io.terminal import console

if TYPE_CHECKING:
    from datasets import Dataset

FUSIONS = {"none": "text only", "gated": "gated"}
CONFIGS = Path(__file__).parent / "configs"

out = console()


@click.command(cls=Command)
@click.argument("folder", type=PATH)
def main(folder: Path) -> None:
    """Train and compare a text-only and a multimodal model in FOLDER; resumes an interrupted run."""
    write_alone_in(folder)
    data, store = folder / "data", folder / "features"
    started = time.monotonic()
    if not (data / "dataset.json").exists():
        out.print("1/5 draw pictures with sentences whose meaning only the picture settles", style="bold")
        prepare(data, 1, SIZES)
    if not (store / "meta.json").exists():
        from mmt.features.extract import extract_folder

        out.print("2/5 turn the pictures into features (EfficientNet-Lite0, ImageNet weights)", style="bold")
        extract_folder(data, store)
    out.print("3/5 train two models, one on text only, one with the pictures (gated fusion)", style="bold")
    _train(folder, data, store)
    out.print("4/5 translate with the right picture, with a wrong one and with none", style="bold")
    _report(folder, data, store)
    out.print("5/5 write the evidence page", style="bold")
    _page(folder, data, store)
    write_whole(folder / "try.tsv", "".join(f"{row['source']}\t{row['image']}\n" for row in _pair(data)))
    out.print(f"{time.monotonic() - started:.0f} seconds. One sentence with either picture, from the shell:")
    out.print(
        f"  {sys.executable} -m mmt.cli translate --model {folder}/gated/model --input {folder}/try.tsv "
        f"--images {data}/images",
        soft_wrap=True,
    )
    out.print("The evidence on one page (of two draws of wrong images; mmt evidence makes five):")
    out.print(f"  {folder}/evidence/evidence.html", soft_wrap=True)


def _pair(data: Path) -> list[dict[str, str]]:
    """The first sentence of the contrastive split, with its two pictures."""
    from mmt.data.dataset import read_split

    return list(read_split(data, "contrastive").select(range(2)))


def _train(folder: Path, data: Path, store: Path) -> None:
    """Trains both models at once, each on half the cores."""
    from mmt.training.config_file import read_config

    trainings = []
    for fusion, name in FUSIONS.items():
        config = CONFIGS / f"pictures_en_de_{fusion}.yaml"
        settings = (f"data.path={data}", *([f"images.features={store}"] if fusion != "none" else []))
        steps = read_config(config, settings).regime.num_steps
        trainings.append(Training(name, folder / fusion, config, settings, steps))
    if elsewhere := train_all(trainings, Places.here(len(trainings)), out):
        place = elsewhere[0].output
        raise MMTError(f"{place}: {holder_of(place)} is training there. Wait for it to end.")


def _report(folder: Path, data: Path, store: Path) -> None:
    from mmt.data.dataset import read_split
    from mmt.inference.torch_runtime import Translator
    from mmt.metrics.accuracy import word_accuracy
    from mmt.metrics.translation import corpus_scores

    test, pairs = read_split(data, "test"), read_split(data, "contrastive")
    models = {"none": Translator.from_dir(folder / "none" / "model")}
    models["gated"] = Translator.from_dir(folder / "gated" / "model", store)
    right: list[list[str] | None] = [list(test["image"]), list(pairs["image"])]
    wrong: list[list[str] | None] = [other_readings(*_columns(rows)) for rows in (test, pairs)]
    systems: dict[str, tuple[str, list[list[str] | None]]] = {
        "text only": ("none", [None, None]),
        "gated, right image": ("gated", right),
        "gated, wrong image": ("gated", wrong),
        "gated, no image": ("gated", [None, None]),
    }
    rows: list[list[str]] = []
    accuracy: dict[str, float] = {}
    shown: dict[str, str] = {}
    for name, (model, images) in systems.items():
        tests = models[model].translate(list(test["source"]), images[0])
        answers = models[model].translate(list(pairs["source"]), images[1])
        bleu = corpus_scores(tests, list(test["target"]), target_lang=None)["bleu"].value
        accuracy[name] = word_accuracy(answers, list(pairs["answer"])).value
        rows.append([name, f"{bleu:.1f}", f"{accuracy[name]:.1f} %"])
        shown[name] = answers[0]
    out.print()
    out.print(f'"{pairs[0]["source"]}" with a picture that shows: {pairs[0]["answer"]}')
    for name, answer in shown.items():
        out.print(f"  {name:>18}: {answer}")
    print_table(("system", "BLEU, test", "right word, ambiguous sentences"), rows)
    looks = accuracy["gated, right image"] - accuracy["gated, wrong image"] > 50
    verdict = "it looks at the picture" if looks else "it does not look at the picture enough"
    out.print(
        f"Of {len(pairs)} sentences that mean two things, the text-only model translates "
        f"{accuracy['text only']:.1f} % as the picture wants (chance is 50 %); the gated model "
        f"{accuracy['gated, right image']:.1f} % with the right picture and "
        f"{accuracy['gated, wrong image']:.1f} % with the picture of the other meaning: {verdict}.",
    )


def _page(folder: Path, data: Path, store: Path) -> None:
    """What ``mmt evidence --draws 2 --gallery 6`` writes of both models."""
    from mmt.evidence.collect import Inputs, collect
    from mmt.report.evidence import print_summary, write_report

    make_folder(folder / "evidence")
    systems = {"model": folder / "gated" / "model", "against": folder / "none" / "model"}
    evidence, pictures = collect(Inputs(systems, data, "test", (store,), draws=2, gallery=6))
    write_report(evidence, folder / "evidence", pictures)
    print_summary(evidence)


def _columns(rows: Dataset) -> list[list[str]]:
    return [list(rows[name]) for name in ("source", "target", "image")]


if __name__ == "__main__":
    main(prog_name="python -m recipes.demo")
