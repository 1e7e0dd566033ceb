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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from eval.probe_groups import INTERVAL, Members, group_scores, print_groups, read_groups
from mmt.cli.command import Command, write_alone_in
from mmt.cli.options import (
    MODEL,
    PATH,
    draws_option,
    draws_seed_option,
    import_option,
    stores_option,
    threads_option,
)
from mmt.data.dataset import read_info
from mmt.data.masking import read_probe
from mmt.errors import MMTError
from mmt.evidence.controls import run_controls
from mmt.evidence.measures import sentence_chrf
from mmt.evidence.models import ModelSystem, open_systems, require_images
from mmt.evidence.sentences import Sentences, read_sentences
from mmt.inference.threads import use_threads
from mmt.io.atomic import make_folder, write_whole
from mmt.io.tables import print_table
from mmt.io.terminal import console, counted
from mmt.io.versions import versions
from mmt.metrics.masked_words import ProbeScore, can_be_scored, check_scorable, probe_accuracy
from mmt.metrics.p_values import signed_rank
from mmt.metrics.significance import Spread, p_text
from mmt.metrics.translation import leading_metric, normalized
from mmt.model.card import read_card

SYSTEMS = ("text_only", "right", "wrong", "blank")
TEST = "Wilcoxon signed-rank, two-sided, over sentences: {}, averaged over seeds and draws"

_Values = dict[str, dict[str, list[Any]]]  # by system and seed: one of each draw


@click.command(cls=Command, context_settings={"show_default": True})
@click.argument("data", type=PATH)
@click.argument("split")
@click.argument("out", type=PATH)
@click.option(
    "--text-only", type=MODEL, multiple=True, required=True, help="Text-only model; repeat it for several seeds."
)
@click.option(
    "--model",
    "models",
    type=MODEL,
    multiple=True,
    required=True,
    help="Model with images; repeat it for several seeds.",
)
@click.option(
    "--group",
    "groups",
    multiple=True,
    metavar="NAME=WHERE",
    help="Score these images apart, too: a folder of them, or a file of their names, one a line; repeatable.",
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
    groups: tuple[str, ...],
    images: tuple[Path, ...],
    draws: int,
    seed: int,
    threads: int | None,
) -> None:
    """Score models trained on masked sentences on SPLIT of the masked dataset DATA; write the results into OUT.

    All models of an option are the same but for their seed, and all are trained on sentences masked as DATA's are.
    """
    use_threads(threads)
    write_alone_in(out)
    print_result(evaluate(data, split, out, text_only, models, images, draws, seed, groups))


def read_masked(data: Path, split: str) -> Sentences:
    """Raises MMTError where ``data`` is not masked, or no sentence with an image is, or none can be scored."""
    info = read_info(data)
    probe = read_probe(info.probe, str(data))
    sentences = read_sentences(data, split)
    masked = sentences.masked or []
    if not any(masked):
        raise MMTError(f"{data} {split}: expected masked words in sentences with an image, found none.")
    check_scorable(masked, sentences.references, probe.kind, info.target_lang, f"{data} {split}")
    leading_metric(sentences.references, info.target_lang)
    return sentences


def evaluate(
    data: Path,
    split: str,
    out: Path,
    text_only: Sequence[Path],
    models: Sequence[Path],
    images: Sequence[Path] = (),
    draws: int = 5,
    seed: int = 1,
    groups: Sequence[str] = (),
) -> dict[str, Any]:
    """Translates, scores and writes; see ``main`` for the arguments.

    Returns:
        What ``OUT/result.json`` holds. ``colour_accuracy`` or ``character_accuracy`` (restricted) and
        ``relaxed_accuracy`` go from 0 to 1, ``bleu`` to 100: for each of ``SYSTEMS`` the mean over seeds, the
        sample standard deviation (None for one seed) and each seed's value, of ``wrong`` the mean over draws,
        which are there too, by seed. ``right_minus_wrong`` has the difference of each of the three. ``groups``
        has the accuracy of each of ``groups`` apart, see ``eval.probe_groups``.
        Other probes and languages, whose words have no known translations, have ``bleu`` alone; where BLEU means
        nothing in a language, it is ``chrf``.
    Raises:
        MMTError: data that is not masked; a model of another language, masked otherwise, or given for the wrong
            option; several models of an option that differ in more than their seed; missing images;
            a folder that cannot be written.
    """
    info = read_info(data)
    sentences = read_masked(data, split)
    members = read_groups(groups, sentences.images)
    if members and not can_be_scored(info.probe["kind"], info.target_lang):
        raise MMTError("--group: masked words of this kind or language have no list of translations to count.")
    for folders, with_images in ((text_only, False), (models, True)):
        _check_option(folders, with_images=with_images)
    folders_of = {"text_only": text_only, "with_images": models}
    with open_systems(folders_of, data, images, sentences.images) as systems:
        require_images(systems["with_images"][0], sentences.images, data, given=bool(images))
        make_folder(out)  # before the long part
        texts = _translate(sentences, systems, sentences.draws(draws, seed))
    for name, lines in texts.items():
        write_whole(out / f"{name}.{info.target_lang}", "".join(f"{line}\n" for line in lines))
    text_card, image_card = (systems[name][0].card for name in ("text_only", "with_images"))
    result: dict[str, Any] = {
        "data": info.name,
        "data_checksum": info.splits[split].checksum,
        "probe": info.probe,
        "languages": f"{info.source_lang}-{info.target_lang}",
        "split": split,
        **score(texts, sentences, info.probe["kind"], info.target_lang, members),
        "draws": draws,
        "seed": seed,
        "features": image_card.features.to_dict() if image_card.features else None,
        "models": {
            name: [
                {"model": one.card.config, "decoding": one.card.decoding, "training": one.card.training}
                for one in seeds
            ]
            for name, seeds in systems.items()
        },
        "same_training_data": text_card.training.get("data_checksum") == image_card.training.get("data_checksum"),
        "versions": versions("torch", "fairseq2", "sacrebleu", "scipy"),
    }
    write_whole(out / "result.json", json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    return result


def score(
    texts: dict[str, list[str]], sentences: Sentences, kind: str, lang: str, members: Members | None = None
) -> dict[str, Any]:
    """The part of ``result.json`` that the translations alone decide.

    Args:
        texts: translations of all sentences, by ``right.seed1`` and the like, draws of a seed by
            ``wrong.seed1.draw1``.
        kind: of the probe.
        lang: of the translations.
        members: groups of sentences that are scored apart.
    """
    texts = {name: normalized(lines) for name, lines in texts.items()}
    sentences = replace(sentences, references=normalized(sentences.references))
    whole, metric = leading_metric(sentences.references, lang)  # TER takes seconds for each system
    values = _by_seed(texts, lambda lines: metric.score(normalized(lines)))
    figures = {whole: {name: _summary(values[name], float) for name in SYSTEMS}}
    groups: dict[str, Any] = {}
    if can_be_scored(kind, lang):
        counts, accuracies, of_sentences, items = _word_scores(texts, sentences, kind, lang)
        chosen = {name: of[items > 0] for name, of in (members or {}).items()}
        if chosen:
            groups["groups"] = group_scores(of_sentences, items[items > 0], chosen, seed=1)
            groups["interval"] = INTERVAL
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
        **groups,
    }


def _by_seed(texts: dict[str, list[str]], value: Callable[[list[str]], Any]) -> _Values:
    """What ``value`` makes of every list of translations, sorted by the names that ``score`` reads."""
    values: _Values = {name: {} for name in SYSTEMS}
    for name, lines in texts.items():
        system, number, *_ = name.split(".")
        values[system].setdefault(number, []).append(value(lines))
    return values


def _word_scores(
    texts: dict[str, list[str]], sentences: Sentences, kind: str, lang: str
) -> tuple[dict[str, int], dict[str, Any], dict[str, NDArray[Any]], NDArray[np.int_]]:
    """Counts and accuracies for ``result.json``; of each system (sentences with an item,) restricted hits; items.

    The items are those of each sentence, (sentences,).
    """

    def score_of(lines: list[str]) -> ProbeScore:
        return probe_accuracy(sentences.masked or [], sentences.references, lines, kind, lang)

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
    return counts, accuracies, hits, np.array([hit.items for hit in one.hits])


def _chrf(texts: dict[str, list[str]], sentences: Sentences) -> dict[str, NDArray[Any]]:
    """Of each system (masked sentences,) chrF2, the mean over seeds of the mean over draws."""
    rows = [row for row, words in enumerate(sentences.masked or []) if words]
    references = [sentences.references[row] for row in rows]

    def of_rows(lines: list[str]) -> list[float]:
        return sentence_chrf([lines[row] for row in rows], references)

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
        f"{name.replace('_', ' ')} {p_text(p, equal=True)}" for name, p in result["p_values"].items()
    )
    out.print(f"{p_values} ({result['test']})")
    if "groups" in result:
        print_groups(result["groups"], kind)
    if not result["same_training_data"]:
        out.print("Text-only and image models were trained on different data: compare them with care.")


def _check_option(folders: Sequence[Path], *, with_images: bool) -> None:
    """Raises MMTError for a model that was given for the wrong option."""
    option, other = ("--model", "--text-only") if with_images else ("--text-only", "--model")
    for folder in folders:
        if (uses_images := read_card(folder).features is not None) != with_images:
            was = "with images" if uses_images else "on text only"
            raise MMTError(f"{option} {folder}: this model was trained {was}. Give it as {other}.")


def _translate(
    sentences: Sentences, systems: Mapping[str, Sequence[ModelSystem]], draws: Sequence[Sequence[str]]
) -> dict[str, list[str]]:
    """Every system's translations, by the names that ``score`` reads."""
    texts = {}
    for group, seeds in systems.items():
        for number, system in enumerate(seeds, 1):
            name = f"{group} {number}".replace("_", " ")
            outputs = run_controls(system, sentences, draws, score=False, name=name)
            for control, drawn in outputs.hypotheses.items():
                label = f"{control if system.uses_images else group}.seed{number}"
                for draw, lines in enumerate(drawn, 1):
                    texts[f"{label}.draw{draw}" if control == "wrong" else label] = lines
    return texts


def _mean_hits(of_seeds: Sequence[Sequence[ProbeScore]]) -> NDArray[Any]:
    """(sentences with an item,): restricted hits, the mean over seeds of the mean over draws."""
    hits = np.array(
        [[[hit.restricted for hit in s.hits if hit.items] for s in draws] for draws in of_seeds], float
    )
    mean: NDArray[Any] = hits.mean((0, 1))
    return mean


def _summary(of_seeds: dict[str, list[Any]], value: Callable[[Any], float]) -> dict[str, Any]:
    of_draws = [[value(draw) for draw in draws] for draws in of_seeds.values()]
    summary = Spread.of([statistics.fmean(draws) for draws in of_draws]).to_dict()
    return summary | ({"draws": of_draws} if len(of_draws[0]) > 1 else {})


def _right_minus_wrong(summaries: dict[str, dict[str, Any]]) -> dict[str, Any]:
    pairs = zip(summaries["right"]["seeds"], summaries["wrong"]["seeds"], strict=True)
    return Spread.of([right - wrong for right, wrong in pairs]).to_dict()


def _cell(summary: dict[str, Any], times: float) -> str:
    return Spread(summary["mean"], summary["std"]).text(times=times)


if __name__ == "__main__":
    main(prog_name="python -m eval.probes")
