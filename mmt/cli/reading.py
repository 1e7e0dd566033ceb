"""What a command reads: sentences of a file, of standard input or of a dataset, and their images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmt.cli.options import (
    PATH,
    PATH_OR_DASH,
    collected,
    images_option,
    missing_images_option,
    split_option,
)
from mmt.data.dataset import first_test_split, read_info
from mmt.data.inputs import Format, Images, Input, open_data, open_file
from mmt.errors import MMTError
from mmt.io.atomic import check_file
from mmt.io.formats import writes_json
from mmt.io.shards import Parts, Shard
from mmt.io.text_files import file_checksum

if TYPE_CHECKING:
    from mmt.data.feature_store import FeatureStore
    from mmt.inference.controls import Control
    from mmt.inference.files import Missing
    from mmt.model.card import ModelCard


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Where the sentences and their images are.

    input_file: the sentences; ``-`` is standard input. Not used with ``data``.
    data, split: a prepared dataset and its split; None takes the first split whose name begins with test.
    images: a list, a folder or feature stores; () takes the images that the dataset or the input names.
    missing_images: whether a missing image is refused or skipped.
    kind: the format of ``input_file``; None takes it from the file name.
    image_control, control_seed: which image each sentence is shown, see ``mmt.inference.controls``.
    """

    input_file: Path | None
    data: Path | None
    split: str | None
    images: tuple[Path, ...]
    missing_images: Missing
    kind: Format | None = None
    image_control: Control = "right"
    control_seed: int = 1

    @property
    def from_stdin(self) -> bool:
        return self.data is None and str(self.input_file) == "-"

    @property
    def split_name(self) -> str:
        """The split of ``data`` that is read. Raises MMTError if none is named and none begins with test."""
        assert self.data is not None  # noqa: S101
        return self.split or first_test_split(self.data)

    @cached_property
    def sources_of_images(self) -> Images:
        return Images.of(self.images)

    def check_split(self) -> None:
        """Raises MMTError for a split without a dataset."""
        if self.data is None and self.split is not None:
            raise MMTError(f"--split {self.split}: expected --data, the dataset, too.")

    def check(self, output: Path, shard: Shard | None, engine: str | None = None) -> None:
        """
        Args:
            engine: on which other processes do the work, see ``mmt.cli.engines``.
        Raises:
            MMTError: options that exclude each other, or an input or output that several processes cannot share.
        """
        if self.data is not None and (str(self.input_file) != "-" or self.kind is not None):
            raise MMTError(
                f"--data {self.data}: has its own sentences. Leave --input and --format out, or --data."
            )
        self.check_split()
        if is_file(output):
            writes_json(output)  # raises for an unsupported file name
        if shard is None and engine is None:
            return
        what = f"shard {shard}" if shard is not None else f"--on {engine}"
        assert self.input_file is not None  # noqa: S101  # --input has a default
        if self.data is None and not self.from_stdin and not self.input_file.exists():
            raise MMTError(f"{self.input_file}: no such file.")
        if (self.data is None and not self.input_file.is_file()) or not is_file(output):
            raise MMTError(
                f"{what}: other processes read and write the same files. Give --input FILE or --data, and "
                "--output."
            )
        check_file(output)  # early, rather than after the work

    def read_card(self, model: Path) -> ModelCard:
        """
        Raises:
            MMTError: as ``read_joint_card``, and for images with a text-only model.
        """
        from mmt.inference.ensemble import read_joint_card  # loads NumPy, which no help text needs

        card = read_joint_card(model)
        if self.images:
            card.refuse_images("images")
        return card

    def languages(self, model: Path, source: str | None, target: str | None) -> tuple[str | None, str | None]:
        """The languages to translate between: what is None is the dataset's, for a model of several pairs.

        Raises:
            MMTError: the dataset is in other languages than the model, and none is named; or it has no target
                language, and none is named for a model of several pairs.
        """
        from mmt.inference.ensemble import have_several_pairs, languages_for  # as above

        if self.data is None:
            return source, target
        info, several = read_info(self.data), have_several_pairs(model)
        if not (source or target):
            languages_for(model, info, self.data, source_only=not (several and info.target_lang))
        if not several:
            return source, target
        if not (target or info.target_lang):
            raise MMTError(
                f"--data {self.data}: has no target language, and {model} translates into several. Name one: "
                "--target-lang CODE."
            )
        return source or info.source_lang, target or info.target_lang

    def open_stores(self) -> FeatureStore | None:
        """The feature stores among ``images``, as one; None if there is none."""
        from mmt.data.feature_store import open_features  # loads NumPy, which no help text needs

        stores = self.sources_of_images.stores
        return open_features(stores) if stores else None

    def open(self, card: ModelCard) -> Input:
        """Opens the sentences. Raises MMTError as ``open_data`` and ``open_file``."""
        images = self.sources_of_images
        if self.data is not None:
            return open_data(self.data, self.split_name, images, with_images=card.features is not None)
        return open_file(None if self.from_stdin else self.input_file, self.kind, images)

    def parts(self, output: Path, shard: Shard | None, model: Path, **settings: object) -> Parts | None:
        """Where a shard's result goes; None for the whole input.

        Args:
            settings: what all shards must have in common besides the input, the images and the model.
        Raises:
            MMTError: as ``Parts``.
        """
        if shard is None:
            return None
        from mmt.inference.ensemble import identity_of  # as above

        if self.data is not None:
            text = read_info(self.data).splits[self.split_name].checksum
        else:
            assert self.input_file is not None  # noqa: S101  # check() has seen to it
            text = file_checksum(self.input_file)
        plan: dict[str, object] = {"input": text, "model": identity_of(model), **self.sources_of_images.identity()}
        plan["reading"] = [self.kind, self.missing_images, self.image_control]
        return Parts(output, shard, plan | settings, remember=True)


def is_file(output: Path) -> bool:
    """Whether it is a file or may become one, rather than a pipe or a device. (A folder is refused elsewhere.)"""
    return str(output) != "-" and (not output.exists() or output.is_file() or output.is_dir())


def file_or_stdout(output: Path) -> Path | None:
    """The file; None for standard output, ``-``."""
    return None if str(output) == "-" else output


READS_SENTENCES = collected(
    Reading,
    "reading",
    click.option("--input", "input_file", type=PATH_OR_DASH, default="-",
                 help="Sentences: text, .tsv (source, image), .csv or .jsonl, also .gz; - is standard input."),
    click.option("--format", "kind", type=click.Choice(["text", "tsv", "csv", "jsonl"]),
                 help="Format of the input.  [default: by its name]"),
    click.option("--data", type=PATH,
                 help="Prepared dataset to read instead of --input, with its images and languages."),
    split_option,
    images_option,
    missing_images_option("use the text alone"),
    click.option("--image-control", type=click.Choice(["right", "wrong", "blank"]), default="right",
                 help="Control: wrong shows each sentence another's image, blank shows none."),
    click.option("--control-seed", type=click.IntRange(min=0), default=1, help="Random seed of the wrong images."),
)  # fmt: skip
"""The options of a command that reads sentences, with their images or without; passed to it as ``reading``."""
