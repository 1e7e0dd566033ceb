"""Says whether a model restores masked words from the image: the right one, wrong ones, none, and text only.

    python -m eval.probes data/multi30k_en_de_colour test_2016_flickr OUT --images features/lite0_grid \\
        --text-only runs/text1/model --text-only runs/text2/model \\
        --model runs/gated1/model --model runs/gated2/model

Only sentences that have an image are translated. OUT gets ``result.json`` and every system's translations, as
``right.seed1.de`` and ``wrong.seed1.draw2.de``: numbered in the order in which the models are given.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmt.command import Command
from mmt.errors import MMTError
from mmt.lines import write_whole
from mmt.prepared import image_folder, read_info, read_split
from mmt.probes import Probe, ProbeScore, can_be_scored, check_symbol, probe_accuracy, read_probe

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmt.controls import Control
    from mmt.translator import Translator

SYSTEMS = ("text_only", "right", "wrong", "blank")
TEST = "Wilcoxon signed-rank, two-sided, over sentences: {}, averaged over seeds and draws"

_PATH = click.Path(path_type=Path)
_Values = dict[str, dict[str, list[Any]]]  # by system and seed: one of each draw


@click.command(cls=Command, context_settings={"show_default": True})
@click.argument("data", type=_PATH)
@click.argument("split")
@click.argument("out", type=_PATH)
@click.option(
    "--text-only", type=_PATH, multiple=True, required=True, help="A text-only model; once for each seed."
)
@click.option("--model", "models", type=_PATH, multiple=True, required=True, help="A model with images; likewise.")
@click.option("--images", type=_PATH, help="A feature store; without it the data set's image files are read.")
@click.option("--draws", type=click.IntRange(min=1), default=5, help="How often to draw wrong images.")
@click.option("--seed", type=click.IntRange(min=0), default=1, help="Of the first draw.")
def main(
    data: Path,
    split: str,
    out: Path,
    text_only: tuple[Path, ...],
    models: tuple[Path, ...],
    images: Path | None,
    draws: int,
    seed: int,
) -> None:
    """Scores models trained on masked sentences: SPLIT of the masked data set DATA; the results go into OUT.

    All models of an option are the same but for their seed, and all are trained on sentences masked as DATA's are.
    """
    print_result(evaluate(data, split, out, text_only, models, images, draws, seed))


@dataclass(frozen=True)
class Sentences:
    """What is scored: the sentences of a split that have an image, each list in their order."""

    sources: list[str]
    images: list[str]
    masked: list[list[str]]
    references: list[str]
    probe: Probe
    lang: str

    @classmethod
    def read(cls, data: Path, split: str, *, from_store: bool) -> Sentences:
        """Raises MMTError where ``data`` is not masked, or no sentence with an image is."""
        info = read_info(data)
        probe = read_probe(info.probe, str(data))
        rows = [row for row in read_split(data, split) if row["has_image"]]
        if not any(row["masked"] for row in rows):
            raise MMTError(f"{data} {split}: expected masked words in sentences with an image, found none.")
        folder = image_folder(data, info)
        columns = ([row[name] for row in rows] for name in ("source", "image", "masked", "target"))
        sources, images, masked, references = columns
        return cls(
            sources,
            images if from_store else [str(folder / image) for image in images],
            masked,
            references,
            probe,
            info.target_lang,
        )


def evaluate(
    data: Path,
    split: str,
    out: Path,
    text_only: Sequence[Path],
    models: Sequence[Path],
    images: Path | None = None,
    draws: int = 5,
    seed: int = 1,
) -> dict[str, Any]:
    """Translates, scores and writes; see ``main`` for the arguments.

    Returns:
        What ``OUT/result.json`` holds. ``colour_accuracy`` or ``character_accuracy`` (restricted) and
        ``relaxed_accuracy`` go from 0 to 1, ``bleu`` to 100: for each of ``SYSTEMS`` the mean over seeds, the
        sample standard deviation (None for one seed) and each seed's value, of ``wrong`` the mean over draws.
        Other probes and languages, whose words have no known translations, have ``bleu`` alone.
    Raises:
        MMTError: data that is not masked; a model of another language, masked otherwise, or given for the wrong
            option; several models of an option that differ in more than their seed.
    """
    from mmt.features import FeatureStore

    info = read_info(data)
    sentences = Sentences.read(data, split, from_store=images is not None)
    store = FeatureStore.open(images) if images is not None else None
    text_models = _load(text_only, None, sentences, info.source_lang, with_images=False)
    image_models = _load(models, store, sentences, info.source_lang, with_images=True)
    texts = _translate(sentences, text_models, image_models, draws, seed)
    out.mkdir(parents=True, exist_ok=True)
    for name, lines in texts.items():
        write_whole(out / f"{name}.{sentences.lang}", "".join(f"{line}\n" for line in lines))
    result: dict[str, Any] = {
        "data": info.name,
        "data_checksum": info.splits[split].checksum,
        "probe": info.probe,
        "languages": f"{info.source_lang}-{info.target_lang}",
        "split": split,
        **score(texts, sentences),
        "draws": draws,
        "seed": seed,
        "features": image_models[0].card.features.to_dict() if image_models[0].card.features else None,
        "models": {
            name: [
                {"model": t.card.config, "decoding": t.card.decoding, "training": t.card.training}
                for t in translators
            ]
            for name, translators in (("text_only", text_models), ("with_images", image_models))
        },
        "same_training_data": _trained_on(text_models[0]) == _trained_on(image_models[0]),
        "versions": {name: version(name) for name in ("mmt", "torch", "fairseq2", "sacrebleu", "scipy")},
    }
    write_whole(out / "result.json", json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    return result


def score(texts: dict[str, list[str]], sentences: Sentences) -> dict[str, Any]:
    """The part of ``result.json`` that the translations alone decide.

    Args:
        texts: translations of all sentences, by ``right.seed1`` and the like, draws of a seed by
            ``wrong.seed1.draw1``.
    """
    from sacrebleu.metrics.bleu import BLEU

    metric = BLEU(trg_lang=sentences.lang)  # alone: TER, which mmt.metrics adds, takes seconds for each system
    bleu: _Values = {name: {} for name in SYSTEMS}
    for name, lines in texts.items():
        system, number, *_ = name.split(".")
        bleu[system].setdefault(number, []).append(metric.corpus_score(lines, [sentences.references]).score)
    if can_be_scored(sentences.probe.kind, sentences.lang):
        found, of_sentences = _word_scores(texts, sentences)
        tested = "restricted hits"
    else:
        found, of_sentences = {}, _chrf(texts, sentences)
        tested = "chrF2"
    right = of_sentences["right"]
    p_values = {
        f"right_vs_{name}": _p_value(right, of_sentences[name]) for name in ("wrong", "text_only", "blank")
    }
    return {
        "sentences": len(sentences.references),
        **found,
        "bleu": {name: _summary(bleu[name], float) for name in SYSTEMS},
        "bleu_signature": str(metric.get_signature()),
        "test": TEST.format(tested),
        "p_value": p_values["right_vs_wrong"],
        "p_values": p_values,
    }


def _word_scores(
    texts: dict[str, list[str]], sentences: Sentences
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Accuracies for ``result.json``; of each system (sentences with an item,) restricted hits."""
    kind = sentences.probe.kind
    scores: _Values = {name: {} for name in SYSTEMS}
    for name, lines in texts.items():
        system, number, *_ = name.split(".")
        score = probe_accuracy(sentences.masked, sentences.references, lines, kind, sentences.lang)
        scores[system].setdefault(number, []).append(score)
    found = {
        "sentences_with_items": sum(hit.items > 0 for hit in score.hits),
        "items": score.items,
        "without_gold": score.without_gold,
        f"{kind}_accuracy": {name: _summary(scores[name], lambda s: s.restricted) for name in SYSTEMS},
        "relaxed_accuracy": {name: _summary(scores[name], lambda s: s.relaxed) for name in SYSTEMS},
    }
    return found, {name: _mean_hits(list(of_seeds.values())) for name, of_seeds in scores.items()}


def _chrf(texts: dict[str, list[str]], sentences: Sentences) -> dict[str, NDArray[Any]]:
    """Of each system (masked sentences,) chrF2, the mean over seeds of the mean over draws."""
    import numpy as np
    from sacrebleu import sentence_chrf

    chosen = [row for row, words in enumerate(sentences.masked) if words]
    scores: dict[str, dict[str, list[list[float]]]] = {name: {} for name in SYSTEMS}
    for name, lines in texts.items():
        system, number, *_ = name.split(".")
        of_rows = [sentence_chrf(lines[row], [sentences.references[row]]).score for row in chosen]
        scores[system].setdefault(number, []).append(of_rows)
    return {name: np.array(list(of_seeds.values())).mean((0, 1)) for name, of_seeds in scores.items()}


def print_result(result: dict[str, Any]) -> None:
    """Prints the table of systems and, below it, what it is made of."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    kind = result["probe"]["kind"]
    accuracies = {f"{kind} accuracy %": f"{kind}_accuracy", "relaxed %": "relaxed_accuracy"}
    scored = "items" in result
    table = Table(title=f"{result['data']} {result['split']}", title_justify="left")
    table.add_column("system")
    for column in [*(accuracies if scored else ()), "BLEU"]:
        table.add_column(column, justify="right")
    for name in SYSTEMS:
        cells = [_cell(result[key][name], 100) for key in accuracies.values()] if scored else []
        table.add_row(name.replace("_", " "), *cells, _cell(result["bleu"][name], 1))
    console.print(table)
    if scored:
        console.print(
            f"{result['items']:,} masked words in {result['sentences_with_items']:,} of {result['sentences']:,} "
            f"sentences with an image; {result['without_gold']:,} more left out, which the reference does not "
            "translate by a listed word."
        )
    else:
        console.print(
            f"{result['sentences']:,} sentences with an image. The masked words have no list of translations in "
            f"this language ('{result['languages'].partition('-')[2]}'), so whole sentences are scored."
        )
    console.print("± is the standard deviation over seeds.")
    p_values = ", ".join(f"{name.replace('_', ' ')} p {p:.2g}" for name, p in result["p_values"].items())
    console.print(f"{p_values} ({result['test']})")
    if not result["same_training_data"]:
        console.print("Text-only and image models were trained on different data: compare them with care.")


def _load(
    folders: Sequence[Path], store: Any, sentences: Sentences, source_lang: str, *, with_images: bool
) -> list[Translator]:
    """The seeds of one system; ``store`` is a FeatureStore or None. Raises MMTError as ``evaluate``."""
    from mmt.folder import read_card
    from mmt.translator import Translator

    option, other = ("--model", "--text-only") if with_images else ("--text-only", "--model")
    first, seeds = read_card(folders[0]), set()
    for folder in folders:
        card = read_card(folder)
        if (card.features is not None) != with_images:
            was = "with images" if card.features is not None else "on text only"
            raise MMTError(f"{option} {folder}: this model was trained {was}. Give it as {other}.")
        if (card.source_lang, card.target_lang) != (source_lang, sentences.lang):
            raise MMTError(
                f"{option} {folder}: expected a model for {source_lang}-{sentences.lang}, found one for "
                f"{card.source_lang}-{card.target_lang}."
            )
        same = [(c.config, c.features, c.training.get("data_checksum")) for c in (card, first)]
        if same[0] != same[1]:
            raise MMTError(
                f"{option} {folder}: differs from {folders[0]} in more than its seed. Give the seeds of one "
                "system: the same configuration, features and training data."
            )
        seed = card.training.get("seed", str(folder.resolve()))
        if seed in seeds:
            raise MMTError(f"{option} {folder}: a model with seed {seed} was given before. Give each seed once.")
        seeds.add(seed)
    translators = []
    for folder in folders:
        translators.append(Translator.from_dir(folder, store))
        check_symbol(translators[-1].tokenizer, sentences.probe, str(folder))
    return translators


def _trained_on(translator: Translator) -> Any:
    return translator.card.training.get("data_checksum")


def _translate(
    sentences: Sentences,
    text_models: Sequence[Translator],
    image_models: Sequence[Translator],
    draws: int,
    seed: int,
) -> dict[str, list[str]]:
    """Every system's translations, by the names that ``score`` reads."""
    from tqdm import tqdm

    runs: list[tuple[str, Translator, list[str] | None, Control, int]] = []
    runs += [(f"text_only.seed{n}", model, None, "right", 0) for n, model in enumerate(text_models, 1)]
    for n, model in enumerate(image_models, 1):
        runs.append((f"right.seed{n}", model, sentences.images, "right", 0))
        for draw in range(draws):
            runs.append((f"wrong.seed{n}.draw{draw + 1}", model, sentences.images, "wrong", seed + draw))
        runs.append((f"blank.seed{n}", model, sentences.images, "blank", 0))
    texts = {}
    with tqdm(total=len(runs) * len(sentences.sources), unit=" sentences", disable=None) as bar:
        for name, translator, images, control, control_seed in runs:
            bar.set_description(name)
            found = translator.hypotheses(
                sentences.sources, images, image_control=control, control_seed=control_seed, progress=bar.update
            )
            texts[name] = [best[0].text for best in found]
    return texts


def _mean_hits(of_seeds: Sequence[Sequence[ProbeScore]]) -> NDArray[Any]:
    """(sentences with an item,): restricted hits, the mean over seeds of the mean over draws."""
    import numpy as np

    hits = np.array(
        [[[hit.restricted for hit in s.hits if hit.items] for s in draws] for draws in of_seeds], float
    )
    mean: NDArray[Any] = hits.mean((0, 1))
    return mean


def _p_value(right: NDArray[Any], other: NDArray[Any]) -> float:
    from scipy.stats import wilcoxon

    # Sums of the same hits in another order may differ in the last bit, and scipy would rank that.
    differences = (right - other).round(9)
    return float(wilcoxon(differences).pvalue) if differences.any() else 1.0


def _summary(of_seeds: dict[str, list[Any]], value: Callable[[Any], float]) -> dict[str, Any]:
    seeds = [statistics.fmean(map(value, draws)) for draws in of_seeds.values()]
    return {
        "mean": statistics.fmean(seeds),
        "std": statistics.stdev(seeds) if len(seeds) > 1 else None,
        "seeds": seeds,
    }


def _cell(summary: dict[str, Any], times: float) -> str:
    spread = "" if summary["std"] is None else f" ± {times * summary['std']:.1f}"
    return f"{times * summary['mean']:.1f}{spread}"


if __name__ == "__main__":
    main(prog_name="python -m eval.probes")
