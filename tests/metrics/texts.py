"""German sentences for tests of metrics, and damaged copies of them."""

from __future__ import annotations

import random

NOUNS = ["Hund", "Katze", "Frau", "Gruppe von Leuten", "Straße", "Bank", "Küche"]
VERBS = ["sieht", "sitzt neben", "läuft über", "steht vor", "malt"]


def some_references(number: int = 60) -> list[str]:
    draw = random.Random(number)
    return [
        f"Eine {draw.choice(NOUNS)} {draw.choice(VERBS)} einer {draw.choice(NOUNS)}, die {draw.randint(2, 99)} "
        f"{draw.choice(NOUNS)} {draw.choice(VERBS)}."
        for _ in range(number)
    ]


def damaged(sentences: list[str], share: float, seed: int = 1) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(word for word in s.split() if draw.random() > share) for s in sentences]
