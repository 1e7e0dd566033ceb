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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from data_prep.hub import read_hub
from data_prep.image_folders import ImageFolders, Unreadable, images_option
from data_prep.raw_text import find_layout, read_raw
from data_prep.splits import LANGUAGES, Pairs
from mmt.cli.command import Command, write_alone
from mmt.cli.engines import ran_on_engine, shard_of
from mmt.cli.options import PATH, on_option, shard_option
from mmt.data.dataset import DatasetInfo, write_dataset
from mmt.data.splits import print_splits
from mmt.errors import MMTError
from mmt.io.shards import Parts, Shard
from mmt.metrics.moses import looks_tokenized, unescape


def prepare(
    out: Path,
    splits: Mapping[str, Pairs],
    *,
    name: str,
    source: str,
    target: str,
    images: ImageFolders | None,
    unreadable: Unreadable = "refuse",
    only_images: bool = False,
    shard: Shard | None = None,
) -> DatasetInfo | str:
    """Looks at every image, then writes the prepared dataset.

    Args:
        out: the folder to write, see ``mmt.data.dataset.write_dataset``.
        splits: what ``read_raw`` or ``read_hub`` returned.
        images: the image folders, None for text alone.
        unreadable: what to do with an image that is there but does not decode: refuse the run, or count it
            as missing.
        only_images: leaves out sentences whose image is missing.
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
                if image in found or not only_images
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
    text = hashlib.sha256(json.dumps([name, source, target, splits, present, only_images]).encode()).hexdigest()
    with Parts(out, shard, {"data": text}, remember=True) as parts:
        bad = [] if parts.is_done else undecodable(present[shard.number :: shard.count])
        return parts.finish({"bad": bad}, join)


@click.command(cls=Command, context_settings={"max_content_width": 100})
@click.argument("out", type=PATH)
@click.option("--multi30k", type=PATH, help="Folder with raw/, image_splits/ and images/.")
@click.option("--raw", type=PATH, help="Folder of SPLIT.LANGUAGE[.gz].")
@click.option("--image-splits", type=PATH, help="Folder of SPLIT.txt: image names.")
@images_option
@click.option("--no-images", is_flag=True, help="Use the text alone.")
@click.option("--only-images", is_flag=True, help="Keep only sentences whose image is found.")
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
@on_option
def main(
    out: Path,
    multi30k: Path | None,
    raw: Path | None,
    image_splits: Path | None,
    images: tuple[Path, ...],
    no_images: bool,
    only_images: bool,
    hub: str | None,
    source: str,
    target: str,
    wanted: tuple[str, ...],
    unreadable: Unreadable,
    lowercase: bool,
    shard: str | None,
    engine: str | None,
) -> None:
    """Prepare Multi30K, or data in its format, as the dataset OUT."""
    if source == target:
        raise MMTError(f"--source and --target: expected two languages, both are '{source}'.")
    if no_images and (images or image_splits):
        raise MMTError("--no-images contradicts --images and --image-splits. Drop one or the other.")
    if no_images and only_images:
        raise MMTError("--only-images contradicts --no-images. Drop one or the other.")
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
    share = shard_of(shard, engine)
    if ran_on_engine(engine, out, words=("prepare", "multi30k")):
        return
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
        only_images=only_images,
        shard=share,
    )
    if isinstance(info, str):
        if info:
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


def _check_folder(option: str, folder: Path, remedy: str) -> None:
    if not folder.is_dir():
        raise MMTError(f"{option}: no folder {folder}; {remedy}.")


if __name__ == "__main__":
    main(prog_name="python -m data_prep.multi30k")
