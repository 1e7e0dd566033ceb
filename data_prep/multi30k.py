"""Prepares Multi30K (Elliott et al. 2016, https://aclanthology.org/W16-3210): raw text and images -> Arrow.

With everything in one folder, as in the Multi30K repository (https://github.com/multi30k/dataset) with the
photographs in ``DIR/images``::

    python -m data_prep.multi30k OUT --multi30k DIR --source en --target de

or with the parts named one by one (``--raw``, ``--image-splits``, ``--images``; the images may be in several
folders), or with the text from the Hugging Face hub::

    python -m data_prep.multi30k OUT --hub bentrevett/multi30k --no-images \
        --split train --split validation=val --split test=test_2016_flickr

Raw text is ``{split}.{language}`` or ``{split}.{language}.gz``, one sentence a line; an image split is
``{split}.txt``, the image's file name for each line (``#caption`` after it is dropped; a blank line means that
this sentence has no image). Other data in these formats is prepared in the same way. Splits that other toolkits
call ``valid``, ``test.2016`` or ``flickr30k.train.en-de`` become ``val``, ``test_2016`` and ``train``, and this is
said.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import click

from data_prep.image_folders import ImageFolders, Unreadable, images_option, some
from mmt.cli.command import Command, write_alone
from mmt.cli.options import PATH, shard_option
from mmt.data.dataset import DatasetInfo, print_splits, write_dataset
from mmt.errors import MMTError, is_url, nearest
from mmt.io.normalization import is_blank
from mmt.io.shards import Parts, Shard
from mmt.io.text_files import read_lines
from mmt.metrics.moses import looks_tokenized, unescape

LANGUAGES = ("en", "de", "fr", "cs")
_RAW_NAME = re.compile(r"(?P<split>[\w.-]+?)\.(?P<language>[A-Za-z]{2})(\.gz)?")
_SPLIT_WORDS = {"train": "train", "training": "train"} | dict.fromkeys(
    ("val", "valid", "validation", "dev"), "val"
)
"""What splits are called elsewhere -> what they are called here."""
_STEPS = ("lc", "norm", "tok", "clean", "bpe", "spm")
"""How the text was prepared, at the end of a split's name: Multi30K has ``train.lc.norm.tok.en``."""
_CAPTION = re.compile(r"#\d+$")  # COCO's split names the caption too: COCO_val2014_000000398076.jpg#657409
_ORDER = ("train", "val", "test")


class Pairs(NamedTuple):
    """One split before its images were looked at; the three lists are parallel, a missing image is ""."""

    sources: list[str]
    targets: list[str]
    images: list[str]


def prepare(
    out: Path,
    splits: Mapping[str, Pairs],
    *,
    name: str,
    source: str,
    target: str,
    images: ImageFolders | None,
    unreadable: Unreadable = "refuse",
    shard: Shard | None = None,
) -> DatasetInfo | str:
    """Looks at every image, then writes the prepared dataset.

    Args:
        out: the folder to write, see ``mmt.data.dataset.write_dataset``.
        splits: what ``read_raw`` or ``read_hub`` returned.
        images: the image folders, None for text alone.
        unreadable: what to do with an image that is there but does not decode: refuse the run, or count it
            as missing.
        shard: this process's share of the images; the last process writes the dataset.
    Returns:
        What was written; of a share, what became of it.
    Raises:
        MMTError: no image folder, none of the images in it, or images that do not decode.
    """
    present = images.existing(_named_images(splits)) if images is not None else []

    def undecodable(names: Sequence[str]) -> list[str]:
        return images.undecodable(names) if images is not None else []

    def write(bad: Sequence[str]) -> DatasetInfo:
        found = images.readable(present, bad, unreadable) if images is not None else frozenset()
        rows = {
            split: [
                {
                    "id": f"{split}-{line:05d}",
                    "image": image,
                    "source": s,
                    "target": t,
                    "has_image": image in found,
                }
                for line, (s, t, image) in enumerate(zip(*pairs, strict=True))
            ]
            for split, pairs in splits.items()
        }
        info = DatasetInfo(name, source, target, "")
        if images is None:
            return write_dataset(out, info, rows)
        info = images.write(out, info, rows)
        images.report_missing([image for pairs in splits.values() for image in pairs.images if image], found)
        return info

    def join(about: list[dict[str, Any]]) -> None:
        # Once more those that did not decode: they may have been mended since.
        write(undecodable(sorted(i for one in about for i in one["bad"])))

    if shard is None:
        return write(undecodable(present))
    text = hashlib.sha256(json.dumps([name, source, target, splits, present]).encode()).hexdigest()
    with Parts(out, shard, {"data": text}) as parts:
        bad = [] if parts.is_done else undecodable(present[shard.number :: shard.count])
        return parts.finish({"bad": bad}, join)


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
    known = [s for s in sorted(files, key=_by_order) if source in files[s] and target in files[s]]
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
    chosen = _chosen(wanted, known, str(raw))
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
            images = [_image_name(line, f"{image_file}:{n}") for n, line in enumerate(read_lines(image_file), 1)]
            _check_parallel(source_file, sources, image_file, images)
        splits[new_name] = Pairs(sources, targets, images)
    _say_renamed(chosen, wanted)
    return splits


def read_hub(name: str, *, source: str, target: str, wanted: Sequence[str] = ()) -> dict[str, Pairs]:
    """Reads a dataset of the Hugging Face hub, or a local folder, with ``datasets.load_dataset``.

    It needs a text column for each language (``en``, ``de``) or one ``translation`` column that holds both;
    a column ``image``, if there is one, holds file names in the image folder.

    Args:
        name: its name there, ``bentrevett/multi30k``, or a folder.
        wanted: as in ``read_raw``; the hub's splits are often called ``validation`` and ``test``.
    Raises:
        MMTError: it cannot be fetched, or its columns or splits are not those.
    """
    from datasets import disable_progress_bars, load_dataset, load_dataset_builder
    from datasets.utils.logging import CRITICAL, set_verbosity

    set_verbosity(CRITICAL)  # what it would log is the error below
    if not sys.stderr.isatty():
        disable_progress_bars()
    if name == "pandas":  # no dataset, but the one reader of the library that reads pickles, which may run code
        raise MMTError("--hub pandas: is no dataset. Name one, such as bentrevett/multi30k.")
    if is_url(name):
        known = re.fullmatch(
            r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/datasets/([\w.-]+(?:/[\w.-]+)?)/?", name
        )
        hint = f" Give --hub {known[1]}." if known else ""
        raise MMTError(f"--hub {name}: expected a dataset's name, or a folder, found a URL.{hint}")
    # What the hub sends is kept where its libraries keep it; of a local folder there is nothing to keep.
    cache = TemporaryDirectory() if Path(name).exists() else nullcontext()
    try:
        with cache as folder:
            settings: dict[str, Any] = {"cache_dir": folder} if folder is not None else {}
            if hasattr(load_dataset_builder(name, **settings).config, "keep_default_na"):
                # CSV: "null" and "0007" are text
                columns = dict.fromkeys((source, target, "image"), str)
                settings |= {"keep_default_na": False, "na_filter": False, "converters": columns}
            loaded = load_dataset(name, **settings)
    except ConnectionError:
        raise MMTError(
            f"--hub {name}: cannot be fetched, the Hugging Face hub does not answer (and it is not in the cache). "
            "Check the network, or fetch the files elsewhere and give them with --raw."
        ) from None
    except Exception as error:  # the reader of a hub dataset may fail in any way, none of them a bug of ours
        cause: BaseException = error
        while cause.__cause__ is not None:  # which says more than "while generating the dataset"
            cause = cause.__cause__
        reason = str(cause).strip().split("\n")[0]
        raise MMTError(f"--hub {name}: cannot be loaded ({type(cause).__name__}: {reason}).") from None
    splits = {}
    chosen = _chosen(wanted, sorted(loaded, key=_by_order), name)
    for split, new_name in chosen.items():
        table, columns = loaded[split], loaded[split].column_names
        if "translation" in columns:
            both = table["translation"]
            table = {language: [row.get(language) for row in both] for language in (source, target)}
            texts = list(both[0]) if len(both) else []
        else:
            texts = columns
        lacking = [language for language in (source, target) if language not in texts]
        if lacking:
            raise MMTError(
                f"--hub {name}: split '{split}' has no text column '{lacking[0]}'; its columns are "
                f"{', '.join(columns)}{', with ' + ', '.join(texts) if texts is not columns else ''}."
            )
        where = f"--hub {name}, split '{split}'"
        sources, targets = (_hub_sentences(table[language], where, language) for language in (source, target))
        images = [""] * len(sources)
        if "image" in columns:
            images = _hub_images(loaded[split], where)
        splits[new_name] = Pairs(sources, targets, images)
    _say_renamed(chosen, wanted)
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


@click.command(cls=Command, context_settings={"max_content_width": 100})
@click.argument("out", type=PATH)
@click.option("--multi30k", type=PATH, help="Folder with raw/, image_splits/ and images/.")
@click.option("--raw", type=PATH, help="Folder of SPLIT.LANGUAGE[.gz].")
@click.option("--image-splits", type=PATH, help="Folder of SPLIT.txt: image names.")
@images_option
@click.option("--no-images", is_flag=True, help="Use the text alone.")
@click.option("--hub", metavar="NAME", help="Text from the Hugging Face hub, such as bentrevett/multi30k.")
@click.option("--source", type=click.Choice(LANGUAGES), default="en", help="Source language.")
@click.option("--target", type=click.Choice(LANGUAGES), default="de", help="Target language.")
@click.option(
    "--split",
    "wanted",
    multiple=True,
    metavar="NAME[=NEW]",
    help="Split to prepare, renamed to NEW; repeatable.  [default: all]",
)
@click.option(
    "--unreadable",
    type=click.Choice(["refuse", "skip"]),
    default="refuse",
    help="Image that does not decode: refuse (exit) or skip (count as missing).",
)
@click.option("--lowercase", is_flag=True, help="Lowercase both sides, as most papers on Multi30K do.")
@shard_option
def main(
    out: Path,
    multi30k: Path | None,
    raw: Path | None,
    image_splits: Path | None,
    images: tuple[Path, ...],
    no_images: bool,
    hub: str | None,
    source: str,
    target: str,
    wanted: tuple[str, ...],
    unreadable: Unreadable,
    lowercase: bool,
    shard: str | None,
) -> None:
    """Prepare Multi30K, or data in its format, as the dataset OUT."""
    if source == target:
        raise MMTError(f"--source and --target: expected two languages, both are '{source}'.")
    if no_images and (images or image_splits):
        raise MMTError("--no-images contradicts --images and --image-splits. Drop one or the other.")
    if hub and (multi30k or raw or image_splits):
        raise MMTError("--hub contradicts --multi30k, --raw and --image-splits. Drop one or the other.")
    if multi30k:
        layout = find_layout(multi30k)
        raw, image_splits, images = raw or layout[0], image_splits or layout[1], images or (layout[2],)
    if not raw and not hub:
        raise MMTError("no input: give --multi30k DIR, or --raw with --image-splits and --images, or --hub NAME.")
    if not no_images and not images:
        raise MMTError("--images is missing: give the folder of the images, or --no-images for text alone.")
    if not no_images and not hub and not image_splits:
        raise MMTError("--image-splits is missing: without it no sentence has an image. Give it, or --no-images.")
    if no_images:
        images, image_splits = (), None
    for folder in images:
        _check_folder("--images", folder, "give the folder of the images, or --no-images for text alone")
    if image_splits is not None:
        _check_folder("--image-splits", image_splits, "give the folder of SPLIT.txt, or --no-images")
    share = Shard.of(shard)
    if share is None:
        write_alone(out)
    if hub:
        splits = read_hub(hub, source=source, target=target, wanted=wanted)
    elif raw:
        _check_folder("--raw", raw, "give the folder of SPLIT.LANGUAGE[.gz]")
        splits = read_raw(raw, image_splits, source=source, target=target, wanted=wanted)
    name = hub.rstrip("/").rsplit("/", 1)[-1] if hub else "multi30k"
    splits = _without_escapes(splits, (source, target))
    if lowercase:
        name += "_lc"
        splits = {
            split: Pairs([s.lower() for s in sources], [t.lower() for t in targets], names)
            for split, (sources, targets, names) in splits.items()
        }
    info = prepare(
        out,
        splits,
        name=name,
        source=source,
        target=target,
        images=ImageFolders(images) if images else None,
        unreadable=unreadable,
        shard=share,
    )
    if isinstance(info, str):
        click.echo(info)
        return
    print_splits(info)
    click.echo(f"written to {out}; images: {' + '.join(map(str, images)) or 'none'}")


def _named_images(splits: Mapping[str, Pairs]) -> set[str]:
    names = {image for pairs in splits.values() for image in pairs.images if image}
    if not names:
        raise MMTError(
            "no sentence names an image: the image splits are blank, or the hub's data has no column 'image'. "
            "Take the text alone with --no-images."
        )
    return names


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


def split_name(name: str) -> str:
    """A split's name in the prepared dataset: letters, digits and ``_``; ``train`` and ``val`` where it is one.

    >>> [split_name(name) for name in ("valid", "test.2016", "flickr30k.train.en-de", "val.lc.norm.tok")]
    ['val', 'test_2016', 'train', 'val']
    """
    if re.fullmatch(r"\w+", name):
        return _SPLIT_WORDS.get(name.lower(), name)
    words = [word for word in re.split(r"[\W_]+", name) if word and word not in LANGUAGES]
    first = next((n for n, word in enumerate(words) if word in _SPLIT_WORDS or word.startswith("test")), 0)
    words = words[first:] or ["split"]
    while len(words) > 1 and words[-1] in _STEPS:
        words.pop()
    return "_".join([_SPLIT_WORDS.get(words[0], words[0]), *words[1:]])


def _chosen(wanted: Sequence[str], known: Sequence[str], where: str) -> dict[str, str]:
    """Maps each split to take to its name in the prepared dataset."""
    names = {split: split_name(split) for split in known}
    names = {split: split if name != split and name in known else name for split, name in names.items()}
    chosen: dict[str, str] = {}
    for choice in wanted or known:
        split, _, new_name = choice.partition("=")
        if split not in known:  # by its new name, perhaps
            split = next((old for old, name in names.items() if name == split), split)
        if split not in known:
            raise MMTError(
                f"--split {choice}: no split '{split}' with both languages in {where}; it has "
                f"{', '.join(known)}.{nearest(split, known)}"
            )
        new_name = new_name or names[split]
        if not re.fullmatch(r"\w+", new_name):
            raise MMTError(f"--split {choice}: a split's name must be letters, digits and '_'; say {split}=NAME.")
        if split in chosen or new_name in chosen.values():
            both = next((old for old, name in chosen.items() if name == new_name), split)
            raise MMTError(
                f"--split {choice}: '{split}' or '{new_name}' is named twice."
                if wanted
                else f"{where}: '{both}' and '{split}' would both become '{new_name}'. Say what they become: "
                f"--split {both}=NAME --split {split}=OTHER."
            )
        chosen[split] = new_name
    return chosen


def _say_renamed(chosen: Mapping[str, str], wanted: Sequence[str]) -> None:
    asked = {choice.partition("=")[0] for choice in wanted if "=" in choice}
    renamed = [
        f"{split} is read as {name}" for split, name in chosen.items() if name != split and split not in asked
    ]
    if renamed:
        click.echo(f"splits: {', '.join(renamed)}", err=True)


def _without_escapes(splits: Mapping[str, Pairs], languages: tuple[str, str]) -> dict[str, Pairs]:
    """Undoes Moses' escapes (``&apos;``), and says so, and where the text is tokenised."""
    undone, tokenized = 0, []
    plain = {}
    for split, pairs in splits.items():
        sides = []
        for language, lines in zip(languages, (pairs.sources, pairs.targets), strict=True):
            if looks_tokenized(lines):
                tokenized.append(f"{split}.{language}")
            sides.append([unescape(line) for line in lines])
            undone += sum(one != other for one, other in zip(lines, sides[-1], strict=True))
        plain[split] = Pairs(sides[0], sides[1], pairs.images)
    if undone:
        click.echo(f"escapes such as &apos; undone in {undone:,} lines", err=True)
    if tokenized:
        click.echo(
            f"tokenised text: {', '.join(tokenized)}. A model of it reads and writes tokenised text, and its BLEU "
            "is not sacreBLEU's. Prefer the raw text.",
            err=True,
        )
    return plain


def _sentences(path: Path) -> list[str]:
    sentences = read_lines(path)
    if "" in sentences:
        raise MMTError(
            f"{path}: line {sentences.index('') + 1} is blank. Remove it, with its translation and its image name."
        )
    return sentences


def _hub_sentences(values: Iterable[Any], where: str, column: str) -> list[str]:
    sentences = []
    for number, value in enumerate(values, 1):
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str) or is_blank(value):
            raise MMTError(f"{where}, row {number}: expected text in '{column}', found {value!r}.")
        sentences.append(value.strip().replace("\r\n", " ").replace("\n", " "))
    return sentences


def _hub_images(table: Any, where: str) -> list[str]:
    """The image's file name of each row, "" for none; a number is one, too."""
    kind = table.features["image"]
    dtype = str(getattr(kind, "dtype", ""))
    if dtype not in ("string", "large_string", "null") and not dtype.startswith(("int", "uint")):
        found = "pictures" if type(kind).__name__ == "Image" else f"values of the kind {dtype or kind}"
        raise MMTError(
            f"{where}: expected file names in the column 'image', found {found}. Save the pictures to a folder, "
            "and give that with --images and the text with --raw and --image-splits."
        )
    values = enumerate(table["image"], 1)
    return [_image_name("" if value is None else str(value), f"{where}, row {n}") for n, value in values]


def _check_parallel(first: Path, first_lines: Sequence[str], other: Path, other_lines: Sequence[str]) -> None:
    if len(first_lines) != len(other_lines):
        raise MMTError(
            f"{first} has {len(first_lines):,} lines and {other} has {len(other_lines):,}: expected one for one. "
            "Fetch both again, from the same release."
        )


def _image_name(line: str, where: str) -> str:
    """The image's file name in one line of an image split."""
    name = _CAPTION.sub("", line)
    if "/" in name or "\\" in name or "\0" in name or name in (".", ".."):
        raise MMTError(f"{where}: expected an image's file name, found '{line}', which names another folder.")
    return name


def _check_folder(option: str, folder: Path, remedy: str) -> None:
    if not folder.is_dir():
        raise MMTError(f"{option}: no folder {folder}; {remedy}.")


def _by_order(split: str) -> tuple[int, str]:
    """Training first, then validation, then the rest by name."""
    name = split_name(split)
    return (_ORDER.index(name) if name in _ORDER else len(_ORDER), split)


if __name__ == "__main__":
    main(prog_name="python -m data_prep.multi30k")
