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
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from mmt.cli.command import Command, write_alone_in
from mmt.cli.options import draws_option, draws_seed_option, import_option, stores_option, threads_option
from mmt.data.dataset import image_folder, read_info, read_split
from mmt.data.image_names import Names, files_below
from mmt.data.masking import Probe, check_masked_alike, read_probe
from mmt.errors import MMTError
from mmt.io.atomic import make_folder, write_whole
from mmt.io.terminal import console, counted, print_table
from mmt.io.versions import versions
from mmt.metrics.masked_words import ProbeScore, can_be_scored, check_scorable, probe_accuracy
from mmt.metrics.significance import signed_rank
from mmt.metrics.translation import leading_metric, normalized

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmt.data.feature_store import FeatureStore
    from mmt.inference.controls import Control
    from mmt.inference.torch_runtime import Translator

SYSTEMS = ("text_only", "right", "wrong", "blank")
TEST = "Wilcoxon signed-rank, two-sided, over sentences: {}, averaged over seeds and draws"

_PATH = click.Path(path_type=Path)
_Values = dict[str, dict[str, list[Any]]]  # by system and seed: one of each draw


@click.command(cls=Command, context_settings={"show_default": True})
@click.argument("data", type=_PATH)
@click.argument("split")
@click.argument("out", type=_PATH)
@click.option(
    "--text-only", type=_PATH, multiple=True, required=True, help="Text-only model; repeat it for several seeds."
)
@click.option(
    "--model",
    "models",
    type=_PATH,
    multiple=True,
    required=True,
    help="Model with images; repeat it for several seeds.",
)
@stores_option
@draws_option
@draws_seed_option
@threads_option
@import_option
def main(
    data: Path,
    split: str,
    out: Path,
    text_only: tuple[Path, ...],
    models: tuple[Path, ...],
    images: tuple[Path, ...],
    draws: int,
    seed: int,
    threads: int | None,
) -> None:
    """Score models trained on masked sentences on SPLIT of the masked dataset DATA; write the results into OUT.

    All models of an option are the same but for their seed, and all are trained on sentences masked as DATA's are.
    """
    from mmt.inference.threads import use_threads

    use_threads(threads)
    write_alone_in(out)
    print_result(evaluate(data, split, out, text_only, models, images, draws, seed))


@dataclass(frozen=True)
class Sentences:
    """What is scored: the sentences of a split that have an image, each list in their order."""

    sources: list[str]
    images: list[str]
    """Names: ids of a feature store, files in the dataset's image folder."""
    masked: list[list[str]]
    references: list[str]
    probe: Probe
    lang: str

    @classmethod
    def read(cls, data: Path, split: str) -> Sentences:
        """Raises MMTError where ``data`` is not masked, or no sentence with an image is, or none can be scored."""
        info = read_info(data)
        probe = read_probe(info.probe, str(data))
        rows = [row for row in read_split(data, split) if row["has_image"]]
        if not any(row["masked"] for row in rows):
            raise MMTError(f"{data} {split}: expected masked words in sentences with an image, found none.")
        sources, images, masked, references = (
            [row[name] for row in rows] for name in ("source", "image", "masked", "target")
        )
        check_scorable(masked, references, probe.kind, info.target_lang, f"{data} {split}")
        leading_metric(references, info.target_lang)
        return cls(sources, images, masked, references, probe, info.target_lang)


def evaluate(
    data: Path,
    split: str,
    out: Path,
    text_only: Sequence[Path],
    models: Sequence[Path],
    images: Sequence[Path] = (),
    draws: int = 5,
    seed: int = 1,
) -> dict[str, Any]:
    """Translates, scores and writes; see ``main`` for the arguments.

    Returns:
        What ``OUT/result.json`` holds. ``colour_accuracy`` or ``character_accuracy`` (restricted) and
        ``relaxed_accuracy`` go from 0 to 1, ``bleu`` to 100: for each of ``SYSTEMS`` the mean over seeds, the
        sample standard deviation (None for one seed) and each seed's value, of ``wrong`` the mean over draws,
        which are there too, by seed. ``right_minus_wrong`` has the difference of each of the three.
        Other probes and languages, whose words have no known translations, have ``bleu`` alone; where BLEU means
        nothing in a language, it is ``chrf``.
    Raises:
        MMTError: data that is not masked; a model of another language, masked otherwise, or given for the wrong
            option; several models of an option that differ in more than their seed; images that cannot be had;
            a folder that cannot be written.
    """
    info = read_info(data)
    sentences = Sentences.read(data, split)
    languages = (info.source_lang, info.target_lang)
    for folders, with_images in ((text_only, False), (models, True)):
        _check_systems(folders, data, languages, with_images=with_images)
    text_models = _load(text_only, None, sentences.probe)
    with TemporaryDirectory(prefix="mmt-") as temporary:
        store = _store(sentences, models[0], images, image_folder(data, info), Path(temporary))
        image_models = _load(models, store, sentences.probe)
        make_folder(out)  # before the long part
        texts = _translate(sentences, text_models, image_models, draws, seed)
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
        "versions": versions("torch", "fairseq2", "sacrebleu", "scipy"),
    }
    write_whole(out / "result.json", json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    return result


def score(texts: dict[str, list[str]], sentences: Sentences) -> dict[str, Any]:
    """The part of ``result.json`` that the translations alone decide.

    Args:
        texts: translations of all sentences, by ``right.seed1`` and the like, draws of a seed by
            ``wrong.seed1.draw1``.
    """
    texts = {name: normalized(lines) for name, lines in texts.items()}
    sentences = replace(sentences, references=normalized(sentences.references))
    whole, metric = leading_metric(sentences.references, sentences.lang)  # TER takes seconds for each system
    values = _by_seed(texts, lambda lines: metric.score(normalized(lines)))
    figures = {whole: {name: _summary(values[name], float) for name in SYSTEMS}}
    if can_be_scored(sentences.probe.kind, sentences.lang):
        counts, accuracies, of_sentences = _word_scores(texts, sentences)
        figures = accuracies | figures
        tested = "restricted hits"
    else:
        counts, of_sentences = {}, _chrf(texts, sentences)
        tested = "chrF2"
    p_values = {
        f"right_vs_{name}": signed_rank((of_sentences["right"] - of_sentences[name]).tolist())
        for name in ("wrong", "text_only", "blank")
    }
    return {
        "sentences": len(sentences.references),
        **counts,
        **figures,
        "right_minus_wrong": {name: _right_minus_wrong(summaries) for name, summaries in figures.items()},
        f"{whole}_signature": metric.signature(),
        "test": TEST.format(tested),
        "p_value": p_values["right_vs_wrong"],
        "p_values": p_values,
    }


def _by_seed(texts: dict[str, list[str]], value: Callable[[list[str]], Any]) -> _Values:
    """What ``value`` makes of every list of translations, sorted by the names that ``score`` reads."""
    values: _Values = {name: {} for name in SYSTEMS}
    for name, lines in texts.items():
        system, number, *_ = name.split(".")
        values[system].setdefault(number, []).append(value(lines))
    return values


def _word_scores(
    texts: dict[str, list[str]], sentences: Sentences
) -> tuple[dict[str, int], dict[str, Any], dict[str, NDArray[Any]]]:
    """Counts and accuracies for ``result.json``; of each system (sentences with an item,) restricted hits."""
    kind = sentences.probe.kind

    def score_of(lines: list[str]) -> ProbeScore:
        return probe_accuracy(sentences.masked, sentences.references, lines, kind, sentences.lang)

    scores = _by_seed(texts, score_of)
    one = next(iter(scores["right"].values()))[0]  # the items are the same for all
    counts = {
        "sentences_with_items": sum(hit.items > 0 for hit in one.hits),
        "items": one.items,
        "without_gold": one.without_gold,
    }
    accuracies = {
        f"{kind}_accuracy": {name: _summary(scores[name], lambda s: s.restricted) for name in SYSTEMS},
        "relaxed_accuracy": {name: _summary(scores[name], lambda s: s.relaxed) for name in SYSTEMS},
    }
    hits = {name: _mean_hits(list(of_seeds.values())) for name, of_seeds in scores.items()}
    return counts, accuracies, hits


def _chrf(texts: dict[str, list[str]], sentences: Sentences) -> dict[str, NDArray[Any]]:
    """Of each system (masked sentences,) chrF2, the mean over seeds of the mean over draws."""
    import numpy as np
    from sacrebleu import sentence_chrf

    chosen = [row for row, words in enumerate(sentences.masked) if words]

    def of_rows(lines: list[str]) -> list[float]:
        return [sentence_chrf(lines[row], [sentences.references[row]]).score for row in chosen]

    scores = _by_seed(texts, of_rows)
    return {name: np.array(list(of_seeds.values())).mean((0, 1)) for name, of_seeds in scores.items()}


def print_result(result: dict[str, Any]) -> None:
    """Prints the table of systems and, below it, what it is made of."""
    out = console()
    kind = result["probe"]["kind"]
    accuracies = {f"{kind} accuracy %": f"{kind}_accuracy", "relaxed %": "relaxed_accuracy"}
    scored = "items" in result
    whole = "bleu" if "bleu" in result else "chrf"  # where a language has no words for BLEU
    rows = []
    for name in SYSTEMS:
        cells = [_cell(result[key][name], 100) for key in accuracies.values()] if scored else []
        rows.append([name.replace("_", " "), *cells, _cell(result[whole][name], 1)])
    columns = ["system", *(accuracies if scored else ()), {"bleu": "BLEU", "chrf": "chrF2"}[whole]]
    print_table(columns, rows, title=f"{result['data']} {result['split']}")
    if scored:
        out.print(
            f"{counted(result['items'], 'masked word')} in {result['sentences_with_items']:,} of "
            f"{counted(result['sentences'], 'sentence')} with an image; "
            f"{result['without_gold']:,} more left out, which the reference does not translate by a listed word."
        )
    else:
        out.print(
            f"{counted(result['sentences'], 'sentence')} with an image. The masked words have no list of "
            f"translations in this language ('{result['languages'].partition('-')[2]}'), so whole sentences are "
            "scored."
        )
    if result[whole]["right"]["std"] is not None:
        out.print("± is the standard deviation over seeds.")
    draws = counted(result["draws"], "draw")
    out.print(f"wrong: the mean over {draws} of another sentence's image; blank: no image.")
    p_values = ", ".join(
        f"{name.replace('_', ' ')} " + ("no difference" if p is None else f"p {p:.2g}")
        for name, p in result["p_values"].items()
    )
    out.print(f"{p_values} ({result['test']})")
    if not result["same_training_data"]:
        out.print("Text-only and image models were trained on different data: compare them with care.")


def _check_systems(folders: Sequence[Path], data: Path, languages: tuple[str, str], *, with_images: bool) -> None:
    """Raises MMTError unless the folders are seeds of one system for these languages, given for their option."""
    from mmt.model.card import read_card

    option, other = ("--model", "--text-only") if with_images else ("--text-only", "--model")
    first, seeds = read_card(folders[0]), set()
    for folder in folders:
        card = read_card(folder)
        if (card.features is not None) != with_images:
            was = "with images" if card.features is not None else "on text only"
            raise MMTError(f"{option} {folder}: this model was trained {was}. Give it as {other}.")
        card.check_languages(languages, folder, data)
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


def _load(folders: Sequence[Path], store: FeatureStore | None, probe: Probe) -> list[Translator]:
    from mmt.inference.torch_runtime import Translator

    translators = []
    for folder in folders:
        translator = Translator.from_dir(folder, store)
        check_masked_alike(translator.tokenizer, translator.card.training, probe, folder)
        translators.append(translator)
    return translators


def _store(
    sentences: Sentences, model: Path, images: Sequence[Path], folder: Path, temporary: Path
) -> FeatureStore:
    """The features of all sentences' images: ``images``, or made here from the files in ``folder``."""
    from mmt.data.feature_store import open_features
    from mmt.inference.torch_runtime import Translator

    if images:
        store, remedy = open_features(images), "Run mmt features for the dataset."
    else:
        files = {name: folder / name for name in sentences.images}
        made = Translator.from_dir(model).with_features_of(files, temporary / "features").features
        assert made is not None  # noqa: S101
        store, remedy = made, f"Put the images into {folder}."
    missing = dict.fromkeys(name for name in sentences.images if name not in store)
    if missing:
        there = Names(store.ids if images else lambda: files_below(folder)[0])
        raise MMTError(
            f"{store.folder if images else folder}: {len(missing):,} of {len(set(sentences.images)):,} images are "
            f"missing or cannot be read: {there.listed(missing)}. {remedy}"
        )
    return store


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


def _summary(of_seeds: dict[str, list[Any]], value: Callable[[Any], float]) -> dict[str, Any]:
    of_draws = [[value(draw) for draw in draws] for draws in of_seeds.values()]
    summary = _spread([statistics.fmean(draws) for draws in of_draws])
    return summary | ({"draws": of_draws} if len(of_draws[0]) > 1 else {})


def _spread(seeds: Sequence[float]) -> dict[str, Any]:
    return {
        "mean": statistics.fmean(seeds),
        "std": statistics.stdev(seeds) if len(seeds) > 1 else None,
        "seeds": list(seeds),
    }


def _right_minus_wrong(summaries: dict[str, dict[str, Any]]) -> dict[str, Any]:
    pairs = zip(summaries["right"]["seeds"], summaries["wrong"]["seeds"], strict=True)
    return _spread([right - wrong for right, wrong in pairs])


def _cell(summary: dict[str, Any], times: float) -> str:
    spread = "" if summary["std"] is None else f" ± {times * summary['std']:.1f}"
    return f"{times * summary['mean']:.1f}{spread}"


if __name__ == "__main__":
    main(prog_name="python -m eval.probes")
