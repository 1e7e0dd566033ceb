"""Writes down what a trained model scores: ``test.hyp.LANG`` and ``result.json`` for ``recipes/results``.

python -m eval.result runs/multi30k_en_de_none/model data/multi30k_en_de test_2016_flickr OUT
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from mmt.command import Command
from mmt.lines import write_whole

_PATH = click.Path(path_type=Path)


@click.command(cls=Command)
@click.argument("model", type=_PATH)
@click.argument("data", type=_PATH)
@click.argument("split")
@click.argument("out", type=_PATH)
@click.option("--images", type=_PATH, multiple=True,
              help="A feature store (one a set of features).  [default: the data set's image files]")  # fmt: skip
def main(model: Path, data: Path, split: str, out: Path, images: tuple[Path, ...]) -> None:
    """Translates SPLIT of the prepared data set DATA with MODEL, scores it, and writes both into OUT."""
    from mmt.files import FileTranslator, Images, open_data, write_output
    from mmt.metrics import corpus_scores
    from mmt.prepared import read_info, read_split
    from mmt.translator import Translator

    info = read_info(data)
    translator = Translator.from_dir(model, images or None)
    card = translator.card
    card.check_languages((info.source_lang, info.target_lang), model, data)
    given = open_data(data, split, Images(stores=images), with_images=card.features is not None)
    work = FileTranslator(translator, given)
    out.mkdir(parents=True, exist_ok=True)
    hypotheses = out / f"{split}.hyp.{card.target_lang}"
    started = time.monotonic()
    write_output(work.translate(), hypotheses, n_best=1)
    seconds = time.monotonic() - started
    lines = hypotheses.read_text(encoding="utf-8").split("\n")[:-1]
    scores = corpus_scores(lines, list(read_split(data, split)["target"]), target_lang=card.target_lang)
    result: dict[str, Any] = {
        "data": info.name,
        "languages": f"{card.source_lang}-{card.target_lang}",
        "split": split,
        "split_checksum": info.splits[split].checksum,
        "sentences": work.counts.sentences,
        "sentences_with_image": work.counts.with_image,
        "scores": {name: asdict(score) for name, score in scores.items()},
        "decoding": card.decoding,
        "translation_seconds": round(seconds, 1),
        "model": card.config,
        "features": card.features.to_dict() if card.features is not None else None,
        "training": card.training,
    }
    write_whole(out / "result.json", json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    for score in scores.values():
        click.echo(f"{score.value:6.2f}  {score.name}")


if __name__ == "__main__":
    main(prog_name="python -m eval.result")
