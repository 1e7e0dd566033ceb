"""Translates the first sentences of a file with a model of transformers, or one of ours, and scores them.

python -m eval.hf_baseline MODEL --source val.en --reference val.de --source-lang en --target-lang de
"""

from __future__ import annotations

import time
from pathlib import Path

import click
from tqdm import tqdm

from mmt.cli.command import Command
from mmt.cli.options import PATH, threads_option
from mmt.evidence.models import ModelSystem
from mmt.inference.ensemble import have_several_pairs
from mmt.inference.hf import HFSystem
from mmt.inference.open import open_translator
from mmt.inference.threads import use_threads
from mmt.io.terminal import print_json
from mmt.io.text_files import read_lines
from mmt.metrics.translation import corpus_scores


@click.command(cls=Command)
@click.argument("model")
@click.option("--source", type=PATH, required=True, help="Sentences to translate, one a line.")
@click.option("--reference", type=PATH, required=True, help="Reference translations, one a line.")
@click.option("--source-lang", required=True, help="Source language, such as en.")
@click.option("--target-lang", required=True, help="Target language, such as de.")
@click.option("--sentences", type=click.IntRange(min=1), default=200, help="Number of sentences.")
@click.option("--prompt", type=PATH, help="Template file.  [default: the built-in one]")
@click.option("--examples", type=PATH, help="Translations shown in the prompt: sentence, tab, translation.")
@click.option("--batch-size", type=click.IntRange(min=1), default=16, help="Sentences translated together.")
@threads_option
@click.option("--output", type=PATH, required=True, help="File for the translations.")
def main(
    model: str,
    source: Path,
    reference: Path,
    source_lang: str,
    target_lang: str,
    sentences: int,
    prompt: Path | None,
    examples: Path | None,
    batch_size: int,
    threads: int | None,
    output: Path,
) -> None:
    """Translate with MODEL, and print scores, speed and settings.

    MODEL is a folder or name of a model of transformers or, to be compared with it, a model folder or an exported
    model of ours.
    """
    use_threads(threads)
    sources, references = read_lines(source)[:sentences], read_lines(reference)[:sentences]
    system: HFSystem | ModelSystem
    if (Path(model) / "mmt.json").is_file():
        given = (source_lang, target_lang) if have_several_pairs(model) else (None, None)
        opened = open_translator(Path(model), threads=threads, source_lang=given[0], target_lang=given[1])
        system = ModelSystem(Path(model), opened)
    else:
        system = HFSystem(
            model,
            files=Path,
            source_lang=source_lang,
            target_lang=target_lang,
            prompt=prompt,
            examples=examples,
            batch_size=batch_size,
            max_new_tokens=64,
        )
    start, cpu = time.perf_counter(), time.process_time()
    with tqdm(total=len(sources), desc="translating") as bar:
        hypotheses = system.translate(sources, None, bar.update)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    output.write_text("\n".join(hypotheses) + "\n", encoding="utf-8")
    scores = corpus_scores(hypotheses, references, target_lang=target_lang)
    print_json(
        {
            "sentences": len(sources),
            "scores": {key: {"value": score.value, "signature": score.signature} for key, score in scores.items()},
            "seconds": seconds,
            "processor_seconds": cpu,
            "sentences_per_second": len(sources) / seconds,
            "sentences_per_processor_second": len(sources) / cpu,
            "system": system.describe(),
        }
    )


if __name__ == "__main__":
    main()
