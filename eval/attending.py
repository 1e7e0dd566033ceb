"""A small network that reads masked words from the regions of images, for ``eval.ceiling``.

The words of the sentence are the query of one attention to the image's regions, and what it finds there answers
together with them. So it can look for "shirt" and read the colour there, as a model with attention can. A linear
classifier of the regions' mean cannot.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, layer_norm, relu
from tqdm import tqdm

from mmt.data.feature_store import FeatureStore
from mmt.model.image_encoder import split_sets

WIDTH, BATCH, UPDATES, RATE = 128, 128, 700, 1e-3
BEFORE, AFTER, LONGEST = 3, 3, 30  # words that are read: before the masked one, after it, and of the sentence
FEWEST = 5  # times that a word occurs in training to have a vector of its own

Context = tuple[Sequence[str], int]
"""The words of a sentence, and the place of the masked one."""


class AttentionReader(nn.Module):
    """The classes' scores, from words as ``Words`` numbers them and (N, R, D) features; None reads no image."""

    def __init__(self, num_words: int, num_classes: int, dim: int) -> None:
        super().__init__()
        self.before, self.whole = (nn.Embedding(num_words, WIDTH, padding_idx=0) for _ in range(2))
        self.after = nn.ModuleList(nn.Embedding(num_words, WIDTH, padding_idx=0) for _ in range(AFTER))
        for embedding in (self.before, self.whole, *self.after):
            nn.init.normal_(embedding.weight, std=0.05)
        self.query, self.key, self.value = nn.Linear(WIDTH, WIDTH), nn.Linear(dim, WIDTH), nn.Linear(dim, WIDTH)
        self.hidden, self.output = nn.Linear(2 * WIDTH, WIDTH), nn.Linear(WIDTH, num_classes)
        self.dropout = nn.Dropout(0.3)

    def forward(self, words: Tensor, features: Tensor | None) -> Tensor:
        """(N, BEFORE + AFTER + LONGEST) and (N, R, D), NaN where there is no region -> (N, classes)."""
        before, after, whole = torch.split(words, [BEFORE, AFTER, LONGEST], 1)
        text = self.before(before).mean(1) + self.whole(whole).mean(1)
        text = text + torch.stack(
            [embed(one) for embed, one in zip(self.after, after.unbind(1), strict=True)]
        ).sum(0)
        found = torch.zeros_like(text)
        if features is not None:
            gone = features.isnan().any(2)  # (N, R)
            features = features.masked_fill(gone.unsqueeze(2), 0)
            scores = (self.key(features) @ self.query(text).unsqueeze(2)).squeeze(2) / WIDTH**0.5
            shares = scores.masked_fill(gone, torch.finfo(scores.dtype).min).softmax(1)
            found = (shares.unsqueeze(1) @ self.value(features)).squeeze(1)
        both = torch.cat([self.dropout(text), self.dropout(found)], 1)
        scored: Tensor = self.output(self.dropout(relu(self.hidden(both))))
        return scored


class Words:
    """Numbers of the words around a masked one, 0 for rare ones and beyond the sentence."""

    def __init__(self, contexts: Sequence[Context]) -> None:
        counts = Counter(word for words, _ in contexts for word in words)
        known = (word for word, count in counts.items() if count >= FEWEST)
        self.numbers = {word: number for number, word in enumerate(known, 1)}

    def __call__(self, contexts: Sequence[Context]) -> Tensor:
        """(N, BEFORE + AFTER + LONGEST) int64."""
        return torch.tensor(
            [
                [
                    *self._part(words[max(0, place - BEFORE) : place], BEFORE),
                    *self._part(words[place + 1 :], AFTER),
                    *self._part([*words[:place], *words[place + 1 :]], LONGEST),
                ]
                for words, place in contexts
            ]
        )

    def _part(self, words: Sequence[str], size: int) -> list[int]:
        found = [self.numbers.get(word, 0) for word in words[:size]]
        return found + [0] * (size - len(found))


def regions(store: FeatureStore, images: Sequence[str]) -> Tensor:
    """(N, R, D): sets with the same number of regions side by side in D, each region's numbers normalised.

    Otherwise the sets' regions are side by side in R, and narrower ones have zeros behind them.
    """
    features = torch.from_numpy(store.get(images))
    sets = [(one.num_regions, one.dim) for one in store.signature.sets]
    parts = [layer_norm(part, part.shape[-1:]) for part, _ in split_sets(features, None, sets)]
    if len({num for num, _ in sets}) == 1:
        return torch.cat(parts, 2)
    width = max(part.size(2) for part in parts)
    return torch.cat([nn.functional.pad(part, (0, width - part.size(2))) for part in parts], 1)


def read(
    train: tuple[Sequence[Context], Sequence[str], Sequence[str]],
    test: tuple[Sequence[Context], Sequence[str]],
    store: FeatureStore | None,
    *,
    updates: int = UPDATES,
    seed: int = 1,
) -> list[str]:
    """Trains on masked words and answers others.

    Args:
        train: each word's context, its image, and the word.
        test: contexts and images.
        store: features of all images; None reads the sentence alone.
    """
    contexts, images, answers = train
    words, classes = Words(contexts), sorted(set(answers))
    labels = torch.tensor([classes.index(answer) for answer in answers])
    inputs, questions = words(contexts), words(test[0])
    dim = regions(store, images[:1]).size(2) if store is not None else 1

    def seen(some: Sequence[str]) -> Tensor | None:
        return None if store is None else regions(store, some)

    def batches(order: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        return [order[start : start + BATCH] for start in range(0, len(order), BATCH)]

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = AttentionReader(len(words.numbers) + 1, len(classes), dim)
        optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=0.05)
        draw, done = np.random.default_rng(seed), 0
        with tqdm(total=updates, desc="attention", unit=" batches", disable=None) as progress:
            while done < updates:
                for batch in batches(draw.permutation(len(answers)))[: updates - done]:
                    optimizer.param_groups[0]["lr"] = RATE * (1 - done / updates)
                    scores = network(inputs[batch], seen([images[place] for place in batch]))
                    optimizer.zero_grad()
                    cross_entropy(scores, labels[batch], label_smoothing=0.1).backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
                    done += 1
                    progress.update()
    network.eval()
    guesses: list[str] = []
    with torch.inference_mode():
        for batch in batches(np.arange(len(questions))):
            scores = network(questions[batch], seen([test[1][place] for place in batch]))
            guesses += [classes[number] for number in scores.argmax(1).tolist()]
    return guesses
