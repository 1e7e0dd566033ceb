"""The prepared dataset: a folder that ``data_prep/`` writes and all other code reads.

``FOLDER/`` is a ``datasets.DatasetDict`` on disk (Arrow, one split a set) with the columns
``id, image, source, target, has_image`` (more may follow), and ``dataset.json`` beside it: languages, image
folder, and for each split its counts and checksum.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from mmt.data.tags import is_tag
from mmt.errors import MMTError, nearest, unreadable
from mmt.io.atomic import only_writer, replaced, replacing_folder, restore, unwritable
from mmt.io.text_files import parse_json

if TYPE_CHECKING:
    from datasets import Dataset

COLUMNS = ("id", "image", "source", "target", "has_image")
_INFO_FILE = "dataset.json"
_OWN_FILES = (_INFO_FILE, "dataset_dict.json")


@dataclass(frozen=True)
class SplitInfo:
    """Counts of one split; ``checksum`` is the SHA-256 of its rows, so that equal data has equal checksums."""

    sentences: int
    images_found: int
    images_missing: int
    checksum: str


@dataclass(frozen=True)
class DatasetInfo:
    """The description of a prepared dataset, in ``dataset.json``.

    ``images`` is the image folder: relative to the dataset's folder if it lies inside it (the folder can then be
    moved), absolute otherwise. ``probe`` describes how its sources were masked (``mmt.data.masking``), if they
    were. ``tag`` stands before each source sentence in training (``mmt.data.tags``); empty for none.
    """

    name: str
    source_lang: str
    target_lang: str
    images: str
    splits: dict[str, SplitInfo] = field(default_factory=dict)
    probe: dict[str, Any] = field(default_factory=dict)
    tag: str = ""


def write_dataset(
    folder: Path,
    info: DatasetInfo,
    splits: Mapping[str, Iterable[Mapping[str, Any]]],
    *,
    images_from: Path | None = None,
) -> DatasetInfo:
    """Writes a prepared dataset beside ``folder``, then renames it into place.

    A write that is killed leaves the old dataset or the new one readable, never a mixture. Images that are already
    inside ``folder`` are kept, whether a row names them or not.

    Args:
        folder: the dataset's. An older prepared dataset there is replaced; a folder with anything else in it,
            except for the image folder that ``info.images`` names, is refused and left unchanged.
        info: names and languages; its ``splits`` are filled in here.
        splits: rows of each split, all with the same columns, at least those of ``COLUMNS``; ``image`` is the
            image's file name in the image folder, or "" for a sentence that never had one. An iterator's rows need
            not fit into memory: see ``mmt.data.row_stream``.
        images_from: for a script that creates images: the folder with them, on the same disk. They become
            ``FOLDER/{info.images}`` and replace an older dataset's; the caller removes the folder itself.
    Returns:
        ``info`` with the counts and checksums of what was written.
    Raises:
        MMTError: a split is empty, a column is missing, an id occurs twice, or the folder cannot be written.
    """
    from datasets import Dataset, DatasetDict, disable_progress_bars  # takes a second; read_info needs none of it

    from mmt.data.row_stream import stream_rows  # loads numpy, which no command's --help needs

    if not splits:
        raise MMTError(f"{folder}: expected at least one split, got none. Check the input files.")
    for name, rows in splits.items():
        if isinstance(rows, Sequence):
            _check_rows(name, rows)
    folder = Path(os.path.realpath(folder))  # "." has a name then, and a link is followed instead of replaced
    inside = bool(info.images) and not os.path.isabs(info.images)
    if inside and (Path(info.images).name != info.images or info.images in {*splits, *_OWN_FILES, ".."}):
        raise MMTError(
            f"images: an image folder inside the dataset must be one folder name that no split has, "
            f"but is '{info.images}'. Call it 'images', or give an absolute path."
        )
    if images_from and not inside:
        raise MMTError(f"images: made images go inside the dataset, but the folder is '{info.images}'.")
    try:
        with only_writer(folder):
            restore(folder)
            foreign = _foreign(folder, info.images if inside else "")
            if foreign:
                raise MMTError(
                    f"{folder}: expected a new folder or a prepared dataset, found '{foreign}' in it. "
                    "Name another folder, or remove this one yourself."
                )
            disable_progress_bars()
            with replacing_folder(folder) as beside, TemporaryDirectory(dir=beside) as scratch:
                tables, counted = {}, {}
                for name, rows in splits.items():
                    try:
                        if isinstance(rows, Sequence):
                            tables[name] = Dataset.from_list([dict(row) for row in rows])
                        else:
                            tables[name] = stream_rows(Path(scratch) / name, name, rows)
                        counted[name] = _count(tables[name])
                    except (ValueError, TypeError) as error:  # Arrow's own are among them
                        raise MMTError(f"split '{name}': cannot be stored ({error}). Correct the input.") from None
                info = replace(info, splits=counted)
                DatasetDict(tables).save_to_disk(str(beside))
                (beside / _INFO_FILE).write_text(json.dumps(_content(info), indent=2) + "\n", encoding="utf-8")
                images = images_from or folder / info.images
                if inside and (images_from or images.is_dir()):
                    # Links stay links; they may be broken or circular.
                    shutil.copytree(images, beside / info.images, symlinks=True, copy_function=_link)
    except OSError as error:
        raise unwritable(folder, error) from None
    return info


def _content(info: DatasetInfo) -> dict[str, Any]:
    """Of ``dataset.json``; without ``tag``, earlier versions of mmt read it."""
    content = asdict(info)
    return content if info.tag else {key: value for key, value in content.items() if key != "tag"}


def read_info(folder: Path) -> DatasetInfo:
    """Reads ``dataset.json``. Raises MMTError if ``folder`` is not a prepared dataset."""
    path = _readable(folder) / _INFO_FILE
    try:
        raw = parse_json(path.read_text(encoding="utf-8"))
        raw["splits"] = {name: SplitInfo(**split) for name, split in raw["splits"].items()}
        return _checked(DatasetInfo(**raw))
    except (FileNotFoundError, NotADirectoryError):
        raise MMTError(
            f"{folder}: expected a prepared dataset, found no {_INFO_FILE}. "
            "Make one with mmt prepare multi30k or mmt prepare pictures."
        ) from None
    except PermissionError as error:
        raise unreadable(error) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MMTError(f"{path}: not a dataset description ({error}). Prepare the data again.") from None


def _checked(info: DatasetInfo) -> DatasetInfo:
    """``info``, if its values have the right types. Raises ValueError otherwise, or if a name leads elsewhere."""
    texts = (
        info.name,
        info.source_lang,
        info.target_lang,
        info.images,
        *(s.checksum for s in info.splits.values()),
    )
    numbers = [n for s in info.splits.values() for n in (s.sentences, s.images_found, s.images_missing)]
    if not info.splits or not all(isinstance(t, str) for t in texts) or not all(type(n) is int for n in numbers):
        raise ValueError("a value is missing or of the wrong kind")
    probe_fits = isinstance(info.probe, dict) and (not info.probe or {"kind", "symbol"} <= set(info.probe))
    if not probe_fits or "\0" in info.images or not (info.tag == "" or is_tag(info.tag)):
        raise ValueError("a value is of the wrong kind")
    names = [*info.splits, *([] if os.path.isabs(info.images) else [info.images])]
    outside = [name for name in names if (name and Path(name).name != name) or name == ".."]
    if outside or "" in info.splits:
        raise ValueError(f"{(outside or [''])[0]!r} is no name inside the folder")
    return info


def image_folder(folder: Path, info: DatasetInfo | None = None) -> Path:
    """The image folder of the prepared dataset in ``folder``."""
    return _readable(folder) / (info or read_info(folder)).images  # an absolute path replaces the folder


def first_test_split(folder: Path) -> str:
    """The first split whose name begins with ``test``. Raises MMTError if there is none."""
    splits = read_info(folder).splits
    found = next((name for name in splits if name.startswith("test")), None)
    if found is None:
        raise MMTError(
            f"{folder}: no split begins with 'test'; it has {', '.join(splits)}. Name one with --split."
        )
    return found


def open_split(folder: Path, split: str) -> Dataset:
    """Memory-maps one split, whose rows are not checked yet: see ``read_rows``, ``read_split``.

    Raises:
        MMTError: no such split (the message names the nearest), or it is damaged.
    """
    from datasets import Dataset, load_from_disk  # as above
    from datasets.features.features import require_decoding

    info = read_info(folder)
    if split not in info.splits:
        raise MMTError(
            f"{folder}: no split '{split}'; it has {', '.join(info.splits)}.{nearest(split, info.splits)}"
        )
    path = _readable(folder) / split
    with _damage(path):
        found = load_from_disk(str(path))
        if not isinstance(found, Dataset) or found._indices is not None:
            raise ValueError("not a split")
        found = found.with_format(None)
        if any(map(require_decoding, found.features.values())):
            raise ValueError("a column has files in it")
        if len(found) != info.splits[split].sentences:
            raise ValueError(f"it has not as many rows as {_INFO_FILE} says")
        return found


def read_rows(rows: Dataset, columns: Sequence[str], first: int, end: int) -> dict[str, list[Any]]:
    """The rows from ``first`` to before ``end`` of what ``open_split`` returned.

    Raises:
        MMTError: they are damaged, as far as Arrow can tell, or a value is missing or of the wrong type.
    """
    with _damage(Path(rows.cache_files[0]["filename"]).parent if rows.cache_files else Path()):
        part = rows.data.table.slice(first, end - first).select(list(columns))
        part.validate(full=True)  # reading damaged data without this check may crash the process
        found: dict[str, list[Any]] = part.to_pydict()
        for name, values in found.items():
            wanted = bool if name == "has_image" else str
            for number, value in enumerate(values, first + 1):
                if not isinstance(value, wanted):
                    raise ValueError(f"row {number}: expected a {wanted.__name__} as '{name}', found {value!r}")
        return found


def has_translations(folder: Path, split: str) -> bool:
    """Whether a sentence of the split has a translation: a dataset can have a target language without any."""
    if not read_info(folder).target_lang:
        return False
    rows = open_split(folder, split)
    blocks = (read_rows(rows, ["target"], first, first + 1000) for first in range(0, len(rows), 1000))
    return any(line.strip() for block in blocks for line in block["target"])


def read_split(folder: Path, split: str) -> Dataset:
    """Memory-maps one split after checking its rows against their checksum (0.13 s for 29,000).

    Raises:
        MMTError: no such split (the message names the nearest), or another checksum.
    """
    found = open_split(folder, split)
    with _damage(_readable(folder) / split):
        found.data.table.validate(full=True)
        if _count(found) != read_info(folder).splits[split]:
            raise ValueError(f"its rows are not those that {_INFO_FILE} counts, or their checksum differs")
    return found


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise unreadable(error) from None
    except Exception as error:  # the library trusts its own files, and fails in many ways
        reason = str(error).strip().partition("\n")[0]
        raise MMTError(f"{path}: damaged ({type(error).__name__}: {reason}). Prepare the data again.") from None


def _count(table: Dataset) -> SplitInfo:
    """Counts the rows as they are stored, and computes their checksum."""
    digest, num, found = hashlib.sha256(), 0, 0
    for batch in table.data.table.to_batches():
        for row in batch.to_pylist():
            digest.update(json.dumps(row, ensure_ascii=False, sort_keys=True).encode())
            num, found = num + 1, found + bool(row["has_image"])
    return SplitInfo(num, found, num - found, digest.hexdigest())


def _check_rows(split: str, rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        raise MMTError(f"split '{split}': expected sentences, found none. Check the input files.")
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, 1):
        missing = [column for column in (*COLUMNS, *rows[0]) if column not in row]
        extra = [column for column in row if column not in rows[0]]
        if missing or extra:
            problem = f"no column '{missing[0]}'" if missing else f"a column '{extra[0]}' that row 1 has not"
            raise MMTError(f"split '{split}' row {number}: {problem}. Every row needs the same columns.")
        first = seen.setdefault(row["id"], number)
        if first != number:
            raise MMTError(
                f"split '{split}': the id '{row['id']}' occurs in rows {first} and {number}. Ids must be unique."
            )


def _readable(folder: Path) -> Path:
    """``folder``, or the old folder if a write was killed between its two renames."""
    if folder.exists():
        return folder
    old = replaced(Path(os.path.realpath(folder)))
    return old if old.exists() else folder


def _link(source: str, target: str) -> None:
    """Copies a file as a hard link if the file system supports that, so that images take disk space only once."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _foreign(folder: Path, images: str) -> str:
    """The name of a file in ``folder`` that this module did not write, or an empty string."""
    if not folder.exists():
        return ""
    if not folder.is_dir():
        return folder.name
    own = {images}
    if (folder / _INFO_FILE).is_file():
        own |= {*_OWN_FILES, *read_info(folder).splits}
    return next((path.name for path in sorted(folder.iterdir()) if path.name not in own), "")
