"""Prepares questions about pictures and their answers: the question is the source, the answer the target.

    python -m data_prep.vqa multi30k-vqa data/vqa_multi30k --pairs pairs.tsv.gz --images multi30k/images
    python -m data_prep.vqa pictures data/vqa_pictures
    python -m data_prep.vqa vqa2 data/vqa2 --questions ...train2014_questions.json --annotations ... --images coco
    python -m data_prep.vqa gqa data/gqa --questions train_balanced_questions.json --images gqa/images

Beside the columns of every prepared dataset there are ``kind`` (of the question), ``answers`` (of all annotators;
a list of one where there is one) and ``label`` (the target in VQA's normal form, ``mmt.metrics.vqa``: a class to
predict).
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from sacremoses import MosesDetokenizer

from data_prep import vqa_pictures
from data_prep.image_folders import say_missing
from mmt.cli.command import Command, Group, write_alone
from mmt.cli.options import PATH
from mmt.data.dataset import DatasetInfo, write_dataset
from mmt.data.image_names import Names, files_below
from mmt.data.splits import print_splits
from mmt.errors import MMTError
from mmt.io.normalization import is_blank
from mmt.io.text_files import parse_json, read_lines
from mmt.metrics.vqa import normalise_answer

# The first that a question matches is its kind.
KINDS = (
    ("colour", r"what colou?rs?\b|what (is|are) the colou?rs?\b"),
    ("number", r"how (many|much)\b|what (is|are) the numbers?\b"),
    ("who", r"who(m|se)?\b"),
    ("doing", r"what .+ (doing\b|do\?$)"),
    ("where", r"where\b"),
    ("object", r"(what|which)\b"),
)
_HEADER = ["line", "image", "question", "answer"]
_GQA_SPLITS = {"train": "train", "val": "val", "testdev": "test"}

_Rows = dict[str, list[dict[str, Any]]]


@click.group(cls=Group)
def main() -> None:
    """Prepare a dataset of questions about pictures."""


@main.command("multi30k-vqa", cls=Command)
@click.argument("out", type=PATH)
@click.option("--pairs", type=PATH, required=True, help="File pairs.tsv.gz: line, image, question, answer.")
@click.option("--images", type=PATH, required=True, help="Folder of the Flickr30k images.")
@click.option("--keep-missing", is_flag=True, help="Keep the questions whose image is missing.")
def multi30k_vqa_command(out: Path, pairs: Path, images: Path, keep_missing: bool) -> None:
    """Multi30K-VQA: questions that a language model made of Multi30K's English sentences.

    The pairs are all of Multi30K's training split; --pairs is split by image, 80/10/10.
    """
    write_alone(out)
    _write(out, "multi30k_vqa", images, multi30k_vqa(pairs), keep_missing)


@main.command("vqa2", cls=Command)
@click.argument("out", type=PATH)
@click.option("--questions", type=PATH, multiple=True, required=True,
              help="File v2_OpenEnded_mscoco_{train,val}2014_questions.json; repeatable.")  # fmt: skip
@click.option("--annotations", type=PATH, multiple=True, required=True,
              help="File v2_mscoco_{train,val}2014_annotations.json; repeatable.")  # fmt: skip
@click.option(
    "--images", type=PATH, required=True, help="Folder with COCO_*.jpg, or with train2014/ and val2014/."
)
@click.option("--keep-missing", is_flag=True, help="Keep the questions whose image is missing.")
def vqa2_command(
    out: Path, questions: tuple[Path, ...], annotations: tuple[Path, ...], images: Path, keep_missing: bool
) -> None:
    """VQA v2. The answers of its test split are secret, so the official validation becomes val and test.

    They are split by image, half and half.
    """
    write_alone(out)
    _write(out, "vqa2", images, vqa2(questions, annotations, images), keep_missing)


@main.command("gqa", cls=Command)
@click.argument("out", type=PATH)
@click.option("--questions", type=PATH, multiple=True, required=True,
              help="File {train,val,testdev}_balanced_questions.json; repeatable.")  # fmt: skip
@click.option("--images", type=PATH, required=True, help="Folder of the images.")
@click.option("--keep-missing", is_flag=True, help="Keep the questions whose image is missing.")
def gqa_command(out: Path, questions: tuple[Path, ...], images: Path, keep_missing: bool) -> None:
    """GQA. The answers of its test split are secret, so testdev becomes test, as is usual."""
    write_alone(out)
    _write(out, "gqa", images, gqa(questions), keep_missing)


@main.command("pictures", cls=Command)
@click.argument("out", type=PATH)
@click.option("--seed", default=1, help="Random seed of pictures and questions.")
@click.option(
    "--train", default=vqa_pictures.SIZES["train"], help="Number of training questions, three a picture."
)
@click.option("--val", default=vqa_pictures.SIZES["val"], help="Number of validation questions.")
@click.option("--test", default=vqa_pictures.SIZES["test"], help="Number of test questions.")
def pictures_command(out: Path, seed: int, train: int, val: int, test: int) -> None:
    """Draw the built-in pictures, with questions about them."""
    write_alone(out)
    print_splits(vqa_pictures.prepare(out, seed, {"train": train, "val": val, "test": test}))


def multi30k_vqa(pairs: Path) -> _Rows:
    """Rows of Multi30K-VQA (Zuo et al. 2023, https://github.com/libeineu/MMT-VQA), split by image.

    Questions and answers stay in lower case, but are put together from tokens. ``kind`` is by the question's
    beginning:

    * ``colour``: what color(s), what is the color
    * ``number``: how many, how much, what is the number
    * ``who``: who, whom, whose
    * ``doing``: what is SOMEONE doing, what does SOMEONE do
    * ``where``: where
    * ``object``: any other what or which
    * ``other``: all else

    A model trained to translate Multi30K has seen the sentences from which these answers were made.

    Raises:
        MMTError: a line that is not as expected, or a missing file.
    """
    rows: _Rows = {"train": [], "val": [], "test": []}
    header, *lines = read_lines(pairs)
    if header.split("\t") != _HEADER:
        raise MMTError(f"{pairs}: line 1: expected the columns {', '.join(_HEADER)}, but found {header!r}.")
    for number, text in enumerate(lines, 2):
        cells = text.split("\t")
        if len(cells) != len(_HEADER) or any(map(is_blank, cells)):
            raise MMTError(
                f"{pairs}: line {number}: expected {len(_HEADER)} cells that are not empty, but is {text!r}."
            )
        line, image, tokens, answer_tokens = cells
        question, answer = put_together(tokens), put_together(answer_tokens.removesuffix(" ."))
        rows[split_of(image)].append(_row(line, image, question, answer, kind_of(question), [answer]))
    return rows


def split_of(image: str) -> str:
    """train, val or test, 80/10/10, by a hash of the image's name alone: the same whatever else there is."""
    tenth = int.from_bytes(hashlib.sha256(image.encode()).digest()[:8]) % 10
    return {8: "val", 9: "test"}.get(tenth, "train")


def kind_of(question: str) -> str:
    """The kind of a question in plain English, by its beginning; see ``multi30k_vqa``."""
    return next((kind for kind, start in KINDS if re.match(start, question.lower())), "other")


def put_together(tokens: str) -> str:
    """Tokens of English, separated by spaces, as text: ``the man 's shirt , red`` -> ``the man's shirt, red``."""
    text: str = MosesDetokenizer("en").detokenize(tokens.replace("& amp ;", "&").split())
    return text


def vqa2(questions: Sequence[Path], annotations: Sequence[Path], images: Path) -> _Rows:
    """Rows of VQA v2 (https://visualqa.org/download.html), of the official files that are given.

    ``kind`` is the official answer type (yes/no, number, other), ``question_type`` the official question type
    ("what color is the"), ``target`` the multiple-choice answer, ``answers`` those of the ten annotators.

    Args:
        images: where ``COCO_train2014_000000000009.jpg`` lies, or ``train2014/COCO_train2014_000000000009.jpg``.
    Raises:
        MMTError: a file is missing or not of this form, or a question has no annotation.
    """
    folders = {name: f"{name}/" if (images / name).is_dir() else "" for name in ("train2014", "val2014")}
    annotated: dict[int, tuple[str, dict[str, Any]]] = {}
    for path in annotations:
        subset, items = _read_json(path, lambda raw: (raw["data_subtype"], raw["annotations"]))
        with _official(path):
            if subset not in folders:
                raise MMTError(
                    f"{path}: expected annotations of {' or '.join(folders)}, but they are of {subset!r}."
                )
            annotated |= {item["question_id"]: (subset, item) for item in items}
    rows: _Rows = {"train": [], "val": [], "test": []}
    for path in questions:
        questions_of_path = _read_json(path, lambda raw: list(raw["questions"]))
        with _official(path):
            for asked in questions_of_path:
                number = asked["question_id"]
                if number not in annotated:
                    raise MMTError(
                        f"{path}: no annotation of question {number}. Give its file with --annotations."
                    )
                subset, item = annotated[number]
                image = f"{folders[subset]}COCO_{subset}_{asked['image_id']:012d}.jpg"
                answers = [answer["answer"] for answer in item["answers"]]
                chosen, kind = item["multiple_choice_answer"], item["answer_type"]
                row = _row(str(number), image, asked["question"], chosen, kind, answers)
                split = "train" if subset == "train2014" else "val" if _half(str(asked["image_id"])) else "test"
                rows[split].append(row | {"question_type": item["question_type"]})
    return rows


def _half(image: str) -> bool:
    return hashlib.sha256(image.encode()).digest()[0] % 2 == 0


def gqa(questions: Sequence[Path]) -> _Rows:
    """Rows of GQA (Hudson and Manning 2019, https://arxiv.org/abs/1902.09506), of the official files given.

    ``kind`` is the structural type: verify, query, choose, logical or compare. The split is what the file's name
    begins with.

    Raises:
        MMTError: a file is missing, not of this form, or of another name.
    """
    rows: _Rows = {split: [] for split in _GQA_SPLITS.values()}
    for path in questions:
        split = _GQA_SPLITS.get(path.name.partition("_")[0])
        if split is None:
            raise MMTError(f"{path}: expected a file whose name begins with train_, val_ or testdev_.")
        items = _read_json(path, lambda raw: [(i, q, q["types"]["structural"]) for i, q in raw.items()])
        with _official(path):
            rows[split] += [
                _row(number, f"{item['imageId']}.jpg", item["question"], item["answer"], kind, [item["answer"]])
                for number, item, kind in items
            ]
    return rows


def _read_json(path: Path, take: Callable[[Any], Any]) -> Any:
    with _official(path):
        return take(parse_json(path.read_bytes()))


@contextmanager
def _official(path: Path) -> Iterator[None]:
    """Raises MMTError for what goes wrong with the values out of ``path``."""
    try:
        yield
    except OSError as error:
        raise MMTError(f"{path}: cannot be read ({(error.strerror or str(error)).lower()}).") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MMTError(
            f"{path}: not the official file ({type(error).__name__}: {error}). Fetch it again."
        ) from None


def _row(number: str, image: str, question: str, answer: str, kind: str, answers: list[str]) -> dict[str, Any]:
    return {
        "id": number, "image": image, "source": " ".join(question.split()), "target": " ".join(answer.split()),
        "kind": kind, "answers": answers, "label": normalise_answer(answer),
    }  # fmt: skip


def _write(out: Path, name: str, images: Path, rows: _Rows, keep_missing: bool) -> None:
    """Writes and prints the dataset, without the questions whose image is missing unless ``keep_missing``."""
    there = set(files_below(images)[0])
    if not any(name.lower().endswith((".jpg", ".jpeg", ".png")) for name in there):
        raise MMTError(f"--images {images}: expected a folder of .jpg files, found none.")
    splits: _Rows = {}
    for split, of_split in rows.items():
        if not of_split:
            continue
        kept = [row | {"has_image": row["image"] in there} for row in of_split]
        missing = sum(not row["has_image"] for row in kept)
        done = "kept" if keep_missing else "left out"
        click.echo(f"{split}: {missing:,} of {len(kept):,} questions without their image, {done}", err=True)
        say_missing(images, [row["image"] for row in kept], there)
        splits[split] = kept if keep_missing else [row for row in kept if row["has_image"]]
        if not splits[split]:
            listed = Names(there).listed(row["image"] for row in kept)
            raise MMTError(f"--images {images}: no image of '{split}' is there: {listed}.")
    print_splits(write_dataset(out, DatasetInfo(name, "en", "en", os.path.abspath(images)), splits))
    click.echo(f"written to {out}; images: {images}")


if __name__ == "__main__":
    main(prog_name="python -m data_prep.vqa")
