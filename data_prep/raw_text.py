"""Parallel text files with lists of image names, as the Multi30K repository has them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import click

from data_prep.image_folders import some
from data_prep.splits import LANGUAGES, Pairs, by_order, choose_splits, image_name, report_renamed, split_name
from mmt.errors import MMTError
from mmt.io.text_files import read_lines

_RAW_NAME = re.compile(r"(?P<split>[\w.-]+?)\.(?P<language>[A-Za-z]{2})(\.gz)?")


def read_raw(
    raw: Path,
    image_splits: Path | None,
    *,
    source: str,
    target: str,
    wanted: Sequence[str] = (),
    languages: Sequence[str] = LANGUAGES,
) -> dict[str, Pairs]:
    """Reads parallel text files and, line by line, the image of each sentence.

    Args:
        raw: folder of ``{split}.{language}[.gz]``.
        image_splits: folder of ``{split}.txt``, None for text alone.
        wanted: the splits to take, each ``NAME`` or ``NAME=NEW_NAME``; all that both languages have, if empty.
        languages: endings of the names of text files.
    Raises:
        MMTError: a folder, language or split is not there; line counts differ; a line is blank or no UTF-8.
    """
    files, others = _raw_files(raw, languages)
    known = [s for s in sorted(files, key=by_order) if source in files[s] and target in files[s]]
    if not known:
        names = sorted(path.name for languages in files.values() for path in languages.values()) or others
        raise MMTError(
            f"{raw}: no split has both '{source}' and '{target}'; looked for SPLIT.{source}[.gz] and "
            f"SPLIT.{target}[.gz], found {some(names) or 'no such file of any language'}."
        )
    if not wanted:
        for split in sorted(set(files) - set(known)):
            lacking = [f"no {split}.{language}" for language in (source, target) if language not in files[split]]
            click.echo(f"left out: {split} ({', '.join(lacking)})", err=True)
        if others:
            what = f"not taken, {len(others):,} that are not named SPLIT.LANGUAGE[.gz] ({', '.join(languages)})"
            click.echo(f"{what}: {some(others, 10)}", err=True)
    splits = {}
    chosen = choose_splits(wanted, known, str(raw))
    for split, new_name in chosen.items():
        source_file, target_file = files[split][source], files[split][target]
        sources, targets = _sentences(source_file), _sentences(target_file)
        _check_parallel(source_file, sources, target_file, targets)
        images = [""] * len(sources)
        if image_splits is not None:
            image_file = _image_split(image_splits, split, new_name)
            if not image_file.is_file():
                there = [path.name for path in sorted(image_splits.glob("*.txt"))]
                raise MMTError(
                    f"{image_file}: no such file; it names the image of each line of {source_file.name}. "
                    f"{image_splits} has {some(there) or 'no .txt file'}. Leave this split out with --split, "
                    "or take the text alone with --no-images."
                )
            images = [image_name(line, f"{image_file}:{n}") for n, line in enumerate(read_lines(image_file), 1)]
            _check_parallel(source_file, sources, image_file, images)
        splits[new_name] = Pairs(sources, targets, images)
    report_renamed(chosen, wanted)
    return splits


def find_layout(folder: Path) -> tuple[Path, Path, Path]:
    """Finds raw text, image splits and images below ``folder``: flat, or as the Multi30K repository has them.

    Raises:
        MMTError: neither is there.
    """
    tried = []
    for base in (folder, folder / "data" / "task1"):
        if (base / "raw").is_dir():
            beside = base / "images"
            return base / "raw", base / "image_splits", beside if beside.is_dir() else folder / "images"
        tried.append(str(base / "raw"))
    raise MMTError(
        f"--multi30k {folder}: no Multi30K there; looked for {' and '.join(tried)}. "
        "Name the parts with --raw, --image-splits and --images."
    )


def _raw_files(raw: Path, languages: Sequence[str]) -> tuple[dict[str, dict[str, Path]], list[str]]:
    """The text files of a folder by split and language, and the names of what else is in it."""
    files: dict[str, dict[str, Path]] = {}
    others = []
    for path in sorted(raw.iterdir()):
        match = _RAW_NAME.fullmatch(path.name)
        language = match["language"].lower() if match else ""
        if not match or language not in languages:
            if not path.name.startswith("."):
                others.append(path.name)
            continue
        other = files.setdefault(match["split"], {}).setdefault(language, path)
        if other != path:
            raise MMTError(f"{raw}: has both {other.name} and {path.name}. Remove or rename one of them.")
    return files, others


def _image_split(folder: Path, split: str, new_name: str) -> Path:
    """The file of a split's image names: by the split's name in the raw text, or by one for the same split."""
    same = [folder / f"{name}.txt" for name in (split, new_name)]
    same += [path for path in sorted(folder.glob("*.txt")) if split_name(path.stem) == split_name(split)]
    return next((path for path in same if path.is_file()), same[0])


def _sentences(path: Path) -> list[str]:
    sentences = read_lines(path)
    if "" in sentences:
        raise MMTError(
            f"{path}: line {sentences.index('') + 1} is blank. Remove it, with its translation and its image name."
        )
    return sentences


def _check_parallel(first: Path, first_lines: Sequence[str], other: Path, other_lines: Sequence[str]) -> None:
    if len(first_lines) != len(other_lines):
        raise MMTError(
            f"{first} has {len(first_lines):,} lines and {other} has {len(other_lines):,}: expected one for one. "
            "Fetch both again, from the same release."
        )
