"""Says how much of a probe's masked words a classifier reads from the features: what a model can hope for.

    python -m eval.ceiling data/multi30k_en_de_colour test_2016_flickr --images features/multi30k_lite0
    python -m eval.ceiling data/colours val --also data/colours_captions --reader attention \\
        --images features/multi30k_lite0_grid --images features/multi30k_colours_grid

Logistic regression on the mean of an image's regions, of each feature set, trained on the masked words of the
train split, its penalty chosen by cross-validation there. Beside it two answers that need no image: the most
frequent word, and the most frequent one before the following word ("brown" before "dog"). The last table has the
words that follow most often.

With ``--reader attention``, the sentence's words attend to the regions (``eval.attending``), and the column
"sentence" has what the same network answers without the image.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from eval.probe_groups import Members, read_groups
from mmt.cli.command import Command
from mmt.cli.options import PATH, threads_option
from mmt.data.dataset import read_info, read_split
from mmt.data.feature_store import FeatureStore, open_features
from mmt.data.masking import read_probe
from mmt.errors import MMTError
from mmt.inference.threads import use_threads
from mmt.io.tables import print_table
from mmt.io.terminal import console, counted

FEWEST = 20  # times that a word occurs in training to be one of the classes
PENALTIES = (1e-4, 1e-3, 1e-2)  # scikit-learn's C
SHOWN = 8  # following words in the table


class Item(NamedTuple):
    """A masked word in lower case, its sentence's image, the word after it, "" at the end, and its context."""

    word: str
    image: str
    following: str
    sentence: tuple[str, ...] = ()
    place: int = 0


def read_items(data: Path, split: str, symbol: str) -> list[Item]:
    """The masked words of a split's sentences with an image."""
    items = []
    for row in read_split(data, split):
        if row["has_image"]:
            after = re.findall(re.escape(symbol) + r"(?=\W*(?:(\w+))?)", row["source"])
            tokens = re.findall(re.escape(symbol) + r"|\w+", row["source"])
            sentence = tuple(token if token == symbol else token.lower() for token in tokens)
            places = [place for place, token in enumerate(tokens) if token == symbol]
            words = zip(row["masked"], after, places, strict=True)
            items += [
                Item(word.lower(), row["image"], following.lower(), sentence, place)
                for word, following, place in words
            ]
    return items


class Answers(NamedTuple):
    """(items,) bool of each way to answer: whether it is right."""

    features: NDArray[np.bool_]
    following: NDArray[np.bool_]
    frequent: NDArray[np.bool_]
    sentence: NDArray[np.bool_] | None = None


def answer(
    train: Sequence[Item], test: Sequence[Item], store: FeatureStore, folds: int = 3, reader: str = "linear"
) -> Answers:
    """Trains on ``train`` and answers ``test``.

    Args:
        folds: of the cross-validation of the linear classifier's penalty.
        reader: ``linear`` or ``attention``.
    Raises:
        MMTError: fewer than two words that occur often enough in ``train``, or an image without features.
    """
    counts = Counter(item.word for item in train)
    classes = {word for word, count in counts.items() if count >= FEWEST}
    if len(classes) < 2:
        raise MMTError(f"expected two masked words that occur {FEWEST} times in training, found {len(classes)}.")
    known = [item for item in train if item.word in classes]
    _check_images([*known, *test], store)
    before: dict[str, Counter[str]] = {}
    for item in train:
        before.setdefault(item.following, Counter())[item.word] += 1
    frequent = counts.most_common(1)[0][0]

    def right(guesses: Sequence[str]) -> NDArray[np.bool_]:
        return np.array([guess == item.word for guess, item in zip(guesses, test, strict=True)], bool)

    blind = None
    if reader == "attention":
        from eval import attending  # loads torch, which the linear reader does without

        taught = [(i.sentence, i.place) for i in known], [i.image for i in known], [i.word for i in known]
        asked = [(i.sentence, i.place) for i in test], [i.image for i in test]
        guesses, blind = (attending.read(taught, asked, seen) for seen in (store, None))
    else:
        model = GridSearchCV(
            make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)),
            {"logisticregression__C": PENALTIES},
            cv=folds,
        )
        model.fit(_vectors(known, store), [item.word for item in known])
        guesses = model.predict(_vectors(test, store))
    usual = [before[i.following].most_common(1)[0][0] if i.following in before else frequent for i in test]
    seen_nothing = right(blind) if blind is not None else None
    return Answers(right(guesses), right(usual), right([frequent] * len(test)), seen_nothing)


def _check_images(items: Sequence[Item], store: FeatureStore) -> None:
    missing = [image for image in sorted({item.image for item in items}) if image not in store]
    if missing:
        raise MMTError(f"{store.folder}: lacks {missing[0]} and {len(missing) - 1:,} more. Run mmt features.")


def _vectors(items: Sequence[Item], store: FeatureStore) -> NDArray[np.float32]:
    """(items, sum of D): each set's mean over its regions, those that are NaN left out."""
    images = sorted({item.image for item in items})
    means: NDArray[np.float32] = np.stack([_mean_regions(store, image) for image in images])
    place = {image: number for number, image in enumerate(images)}
    return means[[place[item.image] for item in items]]


def _mean_regions(store: FeatureStore, image: str) -> NDArray[np.float32]:
    [regions] = store.get([image])
    means, first = [], 0
    for one in store.signature.sets:
        means.append(np.nanmean(regions[first : first + one.num_regions, : one.dim], axis=0))
        first += one.num_regions
    return np.concatenate(means)


@click.command(cls=Command, context_settings={"show_default": True})
@click.argument("data", type=PATH)
@click.argument("splits", metavar="SPLIT...", nargs=-1, required=True)
@click.option("--images", type=PATH, multiple=True, required=True,
              help="Feature store; repeat it for several feature sets, joined.")  # fmt: skip
@click.option("--group", "groups", multiple=True, metavar="NAME=WHERE",
              help="Score these images apart, too: a folder of them, or a file of names; repeatable.")  # fmt: skip
@click.option("--also", type=PATH, multiple=True,
              help="Dataset with the same probe whose train split is trained on, too; repeatable.")  # fmt: skip
@click.option("--reader", type=click.Choice(["linear", "attention"]), default="linear",
              help="Linear classifier of the mean features, or attention of the sentence to regions.")  # fmt: skip
@threads_option
def main(
    data: Path,
    splits: tuple[str, ...],
    images: tuple[Path, ...],
    groups: tuple[str, ...],
    also: tuple[Path, ...],
    reader: str,
    threads: int | None,
) -> None:
    """Score a classifier of the masked words in SPLITs of DATA, which sees the image features."""
    use_threads(threads)
    info = read_info(data)
    symbol = read_probe(info.probe, str(data)).symbol
    for other in also:
        found = read_info(other).probe
        if found != info.probe:
            raise MMTError(f"--also {other}: expected the probe of {data}, {info.probe}, found {found}.")
    train = [item for one in (data, *also) for item in read_items(one, "train", symbol)]
    test = [item for split in splits for item in read_items(data, split, symbol)]
    if not test:
        raise MMTError(f"{data} {' '.join(splits)}: expected masked words in sentences with an image, found none.")
    answers = answer(train, test, open_features(list(images)), reader=reader)
    members = read_groups(groups, [item.image for item in test])
    print_rows("images", {"all": np.ones(len(test), bool), **members}, answers)
    after = Counter(item.following for item in test)
    often = {
        f'"{word}"': np.array([item.following == word for item in test]) for word, _ in after.most_common(SHOWN)
    }
    rest = ~np.any(list(often.values()), axis=0)
    print_rows("before", often | {"others": rest}, answers, members)
    console().print(
        f"{counted(len(train), 'masked word')} in training. Shares in % of words, in the form that was masked; "
        f"words that occur fewer than {FEWEST} times in training are never guessed from the features."
    )


def print_rows(heading: str, rows: Members, answers: Answers, groups: Members | None = None) -> None:
    """Prints the shares of right answers, a row for each of ``rows``, and how many words are of each group."""
    groups = groups or {}
    cells = [
        [
            name,
            f"{chosen.sum():,}",
            *(f"{(chosen & of).sum():,}" for of in groups.values()),
            *(f"{100 * right[chosen].mean():.1f}" for right in answers if right is not None),
        ]
        for name, chosen in rows.items()
        if chosen.any()
    ]
    without = ["following word", "most frequent"] + ["sentence"] * (answers.sentence is not None)
    print_table([heading, "words", *groups, "features", *without], cells)


if __name__ == "__main__":
    main(prog_name="python -m eval.ceiling")
