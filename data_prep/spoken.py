"""Speaks the built-in dataset of sentiment: sentences whose words, whose voice, or only both together decide.

    python -m data_prep.spoken data/spoken

The program ``espeak-ng`` (Debian package) speaks plain English sentences in fixed manners. How positive one is,
from -3 to 3, follows from its words and its manner:

========  ========================================  ===================  =====================
manner    how it is spoken                          polar words          neutral words
========  ========================================  ===================  =====================
plain     as the program does                       as the words say     0
lively    higher, faster, with a wide pitch range   the same, stronger   positive
gloomy    lower, slower, quiet, monotonous          (not used)           negative
mocking   slow, each second word high: sing-song    the opposite         (not used)
========  ========================================  ===================  =====================

The column ``kind`` says what decides: ``text`` (plain), ``voice`` (neutral words, lively or gloomy), ``both``
(polar words, lively or mocking). In ``both`` every sentence comes lively and mocking, and both manners come with
as many positive as negative words, so that words alone and voice alone are right in half of the cases. No speaker
and no noun of ``val`` and ``test`` is heard in ``train``.
"""

from __future__ import annotations

import io
import os
import random
import shutil
import subprocess
import zlib
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import resample_poly
from tqdm import tqdm

from mmt.cli.command import Command, write_alone
from mmt.cli.options import PATH
from mmt.data.dataset import DatasetInfo, read_info, write_dataset
from mmt.data.splits import print_splits
from mmt.errors import MMTError
from mmt.io.atomic import made_beside
from mmt.io.processes import in_processes

NAME = "spoken_en"
RECORDINGS = "recordings"
SIZES = {"train": 3024, "val": 396, "test": 612}
BLOCK = 36  # recordings; within a block everything is balanced, so a split is a whole number of them

# Each adjective and how much it says. Every split has them all: nobody can guess an unknown one.
POSITIVE = {
    "nice": 1.5, "good": 1.5, "pleasant": 1.5, "decent": 1.5, "lovely": 2.0, "great": 2.0, "charming": 2.0,
    "beautiful": 2.0, "wonderful": 2.5, "excellent": 2.5, "perfect": 2.5, "fantastic": 2.5, "brilliant": 2.5,
}  # fmt: skip
NEGATIVE = {
    "poor": 1.5, "bad": 1.5, "weak": 1.5, "dull": 1.5, "nasty": 2.0, "ugly": 2.0, "useless": 2.0,
    "unpleasant": 2.0, "awful": 2.5, "terrible": 2.5, "horrible": 2.5, "dreadful": 2.5, "miserable": 2.5,
}  # fmt: skip
NEUTRAL = (
    "new", "second", "usual", "local", "short", "small", "common", "former", "public", "separate", "ordinary",
    "typical", "regular",
)  # fmt: skip
TEMPLATES = (
    "The {noun} was {word}.",
    "I think the {noun} is {word}.",
    "We saw {article} {word} {noun} yesterday.",
    "On Monday they had {article} {word} {noun}.",
    "That is {article} {word} {noun}.",
    "My sister told me about {article} {word} {noun}.",
    "They showed us {article} {word} {noun}.",
    "So this is the {word} {noun}.",
    "You know the {noun}, it is {word}.",
    "There was {article} {word} {noun} in our town.",
)
_ATTRIBUTIVE = ("second", "former")  # nothing "is former"
NOUNS = {
    "train": (
        "soup", "film", "meeting", "hotel", "garden", "lesson", "holiday", "phone", "jacket", "breakfast",
        "concert", "book", "haircut", "chair", "cake", "flat", "game", "lamp", "song", "bridge", "kitchen",
        "story", "party", "shop", "picture", "dress", "show", "bike", "camera", "market", "room", "road", "plan",
        "speech", "letter", "bag", "salad", "museum", "teacher", "walk",
    ),
    "val": ("sofa", "play", "cafe", "watch", "dinner", "poem", "park", "trip"),
    "test": ("coat", "lunch", "radio", "school", "novel", "sandwich", "tour", "table", "beach", "driver", "house"),
}  # fmt: skip
SPEAKERS = {  # an accent and a voice; no voice stands in two splits
    "train": (
        "en+m1", "en-us+m2", "en-gb-scotland+m4", "en-gb-x-rp+m5", "en-us+m7", "en-029+m2", "en-gb-x-gbcwmd+m1",
        "en-us+f1", "en+f2", "en-gb-scotland+f4", "en-gb-x-rp+f2", "en-029+f1", "en-gb-x-gbcwmd+f4",
        "en-us-nyc+m5",
    ),
    "val": ("en-us+m6", "en+f5", "en-gb-scotland+m6"),
    "test": ("en+m3", "en-us+f3", "en-gb-x-gbclan+m3", "en-us-nyc+f3", "en-gb-x-rp+m8"),
}  # fmt: skip

RATE = 16_000
_NOISE = 1e-3  # of a quiet room, -60 dB; against it a quiet voice still sounds quiet once levels are evened out


@dataclass(frozen=True)
class Utterance:
    """One sentence and all that decides what it sounds like: equal ones are the same recording."""

    text: str
    kind: str
    words: float
    manner: str
    strength: float
    speaker: str
    pitch: int
    speed: int
    amplitude: int

    @property
    def score(self) -> float:
        """-3 to 3: what the words say, what the manner makes of it, and how strong the manner is."""
        if self.kind == "voice":
            return round((1 + self.strength) * (1 if self.manner == "lively" else -1), 2)
        if self.manner == "plain":
            return self.words
        sign = (1 if self.words > 0 else -1) * (-1 if self.manner == "mocking" else 1)
        return round(sign * min(3.0, abs(self.words) + 0.5 * self.strength), 2)

    @property
    def label(self) -> str:
        """The score's sign."""
        return "positive" if self.score > 0 else "negative" if self.score < 0 else "neutral"

    def ssml(self) -> str:
        """The sentence as espeak-ng is told to speak it (SSML)."""
        if self.manner == "mocking":
            high, low = round(35 + 40 * self.strength), round(20 + 15 * self.strength)
            pitches = (f"-{low}%", f"+{high}%")
            words = enumerate(self.text.split())
            return " ".join(f'<prosody pitch="{pitches[place % 2]}">{word}</prosody>' for place, word in words)
        ranges = {"lively": round(200 + 120 * self.strength), "gloomy": round(35 - 20 * self.strength)}
        return f'<prosody range="{ranges.get(self.manner, 100)}%">{self.text}</prosody>'


def plan(seed: int, sizes: dict[str, int]) -> dict[str, list[Utterance]]:
    """All utterances of all splits, nothing spoken yet. A split depends on ``seed`` and its own size only.

    Raises:
        MMTError: a size that is no multiple of ``BLOCK``.
    """
    splits = {}
    for split, size in sizes.items():
        if size < BLOCK or size % BLOCK:
            better = max(BLOCK, round(size / BLOCK) * BLOCK)
            raise MMTError(
                f"--{split}: expected a multiple of {BLOCK}, for an exact balance, found {size}. Say {better}."
            )
        rng = random.Random(f"{seed}/{split}")
        polar = [_sentences(rng, split, list(words), size // BLOCK * 4) for words in (POSITIVE, NEGATIVE)]
        neutral = _sentences(rng, split, list(NEUTRAL), size // BLOCK * 6)
        rows = []
        for number in range(size // BLOCK):
            for sign, known, sentences in zip((1, -1), (POSITIVE, NEGATIVE), polar, strict=True):
                for place, (text, word) in enumerate(sentences[4 * number : 4 * number + 4]):
                    says = sign * known[word]
                    rows.append(_utterance(rng, split, text, "text", says, "plain"))
                    if place < 3:
                        rows += [_utterance(rng, split, text, "both", says, m) for m in ("lively", "mocking")]
            for place, (text, _) in enumerate(neutral[6 * number : 6 * number + 6]):
                rows += [_utterance(rng, split, text, "voice", 0.0, m) for m in ("lively", "gloomy")]
                if place < 4:
                    rows.append(_utterance(rng, split, text, "text", 0.0, "plain"))
        rng.shuffle(rows)
        splits[split] = rows
    return splits


def _sentences(rng: random.Random, split: str, words: list[str], number: int) -> list[tuple[str, str]]:
    """``number`` sentences and their adjectives, all distinct, each adjective as often as any other."""
    left = {}
    for word in words:
        fitting = [t for t in TEMPLATES if word not in _ATTRIBUTIVE or "{word} {noun}" in t]
        left[word] = [(template, noun) for template in fitting for noun in NOUNS[split]]
        rng.shuffle(left[word])
    most = len(words) * min(map(len, left.values()))
    if number > most:
        raise MMTError(f"--{split}: there are no more than {most} sentences a kind of words. Ask for less.")
    sentences: list[tuple[str, str]] = []
    order: list[str] = []
    for _ in range(number):
        order = order or rng.sample(words, len(words))
        word = order.pop()
        template, noun = left[word].pop()
        article = "an" if word[0] in "aeiou" and word[:2] != "us" else "a"
        sentences.append((template.format(noun=noun, word=word, article=article), word))
    return sentences


def _utterance(rng: random.Random, split: str, text: str, kind: str, words: float, manner: str) -> Utterance:
    """Pitch 0 to 99 (50 is the voice's own), speed in words a minute, amplitude 0 to 200, as espeak-ng counts."""
    strength = round(rng.random(), 2)
    pitch, speed, amplitude = {
        "plain": (50.0, 165.0, 70.0),
        "lively": (62 + 14 * strength, 190 + 30 * strength, 77.0),
        "gloomy": (36 - 14 * strength, 132 - 20 * strength, 42 - 10 * strength),
        "mocking": (50.0, 132 - 20 * strength, 70.0),
    }[manner]
    pitch, speed = round(pitch + rng.uniform(-6, 6)), round(speed * rng.uniform(0.94, 1.06))
    amplitude = round(amplitude * rng.uniform(0.8, 1.2))
    speaker = rng.choice(SPEAKERS[split])
    return Utterance(text, kind, words, manner, strength, speaker, pitch, speed, amplitude)


def speak(utterance: Utterance) -> NDArray[np.float32]:
    """(L,) samples at 16 kHz, with the faint noise of a room. Raises MMTError where espeak-ng is not or fails."""
    u = utterance
    command = ["espeak-ng", "-m", "-z", "-v", u.speaker, "-p", str(u.pitch), "-s", str(u.speed)]
    command += ["-a", str(u.amplitude), "--stdout", u.ssml()]
    try:
        done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 (words of this module alone)
    except FileNotFoundError:
        raise MMTError(
            "espeak-ng: expected the program on the path, found none. Install it, on Debian with "
            "apt-get install espeak-ng."
        ) from None
    try:
        samples, rate = soundfile.read(io.BytesIO(done.stdout), dtype="float32")
    except soundfile.LibsndfileError:
        said = done.stderr.decode(errors="replace").strip().partition("\n")[0] or f"exit code {done.returncode}"
        raise MMTError(f"espeak-ng: cannot speak as {u.speaker} ({said}). Use version 1.51 or later.") from None
    heard = resample_poly(samples, RATE, rate)
    noise = np.random.default_rng(zlib.crc32(repr(u).encode())).normal(0, _NOISE, len(heard))
    clipped: NDArray[np.float32] = np.clip(heard + noise, -1, 1).astype(np.float32)
    return clipped


def prepare(out: Path, seed: int, sizes: dict[str, int], processes: int | None = None) -> DatasetInfo:
    """Speaks the dataset and writes it to ``out``; an older one there is replaced once the new one is whole.

    Raises:
        MMTError: a size is no multiple of ``BLOCK``, ``out`` holds something else, or espeak-ng is not there.
    """
    splits = plan(seed, sizes)
    if out.exists() and (not out.is_dir() or any(out.iterdir())) and read_info(out).name != NAME:
        raise MMTError(f"{out}: expected a new folder or an older {NAME}, found another dataset. Name another.")
    if shutil.which("espeak-ng") is None:
        speak(splits["train"][0])
    with made_beside(out) as beside:
        jobs: list[tuple[Path, Utterance]] = []
        tables: dict[str, list[dict[str, object]]] = {}
        for split, utterances in splits.items():
            tables[split] = []
            for number, u in enumerate(utterances):
                name = f"{split}-{number:05d}"
                jobs.append((beside / f"{name}.flac", u))
                tables[split].append(
                    {
                        "id": name, "image": f"{name}.flac", "source": u.text, "target": "", "has_image": True,
                        "label": u.label, "score": u.score, "kind": u.kind, "manner": u.manner,
                        "speaker": u.speaker,
                    }
                )  # fmt: skip
        speak_all(jobs, processes or os.cpu_count() or 1)
        return write_dataset(out, DatasetInfo(NAME, "en", "en", RECORDINGS), tables, images_from=beside)


def speak_all(jobs: list[tuple[Path, Utterance]], processes: int) -> None:
    with tqdm(total=len(jobs), desc="speaking", unit=" recordings", disable=None) as bar:
        for _ in in_processes(write_recording, jobs, processes):
            bar.update()


def write_recording(job: tuple[Path, Utterance]) -> None:
    path, utterance = job
    recording = io.BytesIO()  # soundfile's own way does not say that the disk is full
    soundfile.write(recording, speak(utterance), RATE, format="FLAC", subtype="PCM_16")
    path.write_bytes(recording.getvalue())


@click.command(cls=Command)
@click.argument("out", type=PATH)
@click.option("--seed", default=1, help="Random seed of sentences and voices.")
@click.option("--train", default=SIZES["train"], help=f"Number of training recordings, a multiple of {BLOCK}.")
@click.option("--val", default=SIZES["val"], help="Number of validation recordings.")
@click.option("--test", default=SIZES["test"], help="Number of test recordings.")
def main(out: Path, seed: int, train: int, val: int, test: int) -> None:
    """Speak the built-in dataset of sentiment into the folder OUT, with espeak-ng."""
    write_alone(out)
    print_splits(prepare(out, seed, {"train": train, "val": val, "test": test}))


if __name__ == "__main__":
    main()
