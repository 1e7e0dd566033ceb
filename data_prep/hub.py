"""Parallel text from the Hugging Face hub, or from a folder that ``datasets`` reads."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from data_prep.splits import Pairs, by_order, choose_splits, image_name, report_renamed
from mmt.errors import MMTError, is_url
from mmt.io.normalization import is_blank


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
    chosen = choose_splits(wanted, sorted(loaded, key=by_order), name)
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
    report_renamed(chosen, wanted)
    return splits


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
    return [image_name("" if value is None else str(value), f"{where}, row {n}") for n, value in values]
