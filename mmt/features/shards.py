"""Sharded feature stores: several stores that open as one, without a copy of their rows."""

from __future__ import annotations

import bisect
import itertools
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from mmt.data.feature_store import FORMAT, FeatureStore, read_meta
from mmt.data.id_index import INDEX, write_id_index
from mmt.data.store_files import IDS, META, ROWS, SHARDS, StoreShard, shards_text
from mmt.errors import MMTError
from mmt.features.runtimes import recorded
from mmt.features.writer import check_same
from mmt.io.atomic import is_temporary, made_beside, only_writer_in, replacing, write_whole
from mmt.io.text_files import file_checksum


def join_stores(folders: Sequence[Path], out: Path, left_out: Mapping[str, str] | None = None) -> FeatureStore:
    """Makes one store of several, whose files stay where they are; a store inside ``out`` is named relative to it.

    Memory holds 28 bytes of each id while the index is written.

    Args:
        folders: finished stores of the same features, none of them sharded.
        out: a new folder, or one with the stores in it, or an older sharded store, which is replaced once the new
            one is complete.
        left_out: image id -> why it has no features, besides those that the stores list.
    Raises:
        MMTError: the stores do not fit together, an id is in two of them, or ``out`` is no such folder.
    """
    for folder in folders:
        if out.resolve().is_relative_to(folder.resolve()):
            raise MMTError(f"{out}: expected a folder outside {folder}, a store to join. Name another.")
    stores = [FeatureStore.open(folder) for folder in folders]
    if not stores:
        raise MMTError(f"{out}: expected feature stores to join, found none.")
    inside = {folder.resolve().relative_to(out.resolve()).parts[0] for folder in folders
              if folder.resolve().is_relative_to(out.resolve())}  # fmt: skip
    check_place(out, inside)
    shards = [_shard(store, stores[0], out) for store in stores]
    starts = [0, *itertools.accumulate(shard.num_images for shard in shards)]
    num = starts[-1]

    def owner(row: int) -> str:
        return str(folders[bisect.bisect_right(starts, row) - 1])

    def ids() -> Iterator[str]:
        return itertools.chain.from_iterable(store.ids for store in stores)

    out.mkdir(parents=True, exist_ok=True)
    # An older store in ``out`` stays until all files of the new one are there and checked.
    with only_writer_in(out), made_beside(out / SHARDS) as new:
        with replacing(new / IDS) as stream:
            stream.writelines(f"{image_id}\n".encode("utf-8", "surrogateescape") for image_id in ids())
        write_id_index(new / IDS, new / INDEX, ids(), num, owner)
        write_whole(new / SHARDS, shards_text(shards))
        sums = {name: file_checksum(new / name) for name in (IDS, INDEX, SHARDS)}
        joined = dict(left_out or {})
        joined |= {name: why for store in stores for name, why in store.left_out.items()}
        computed = recorded(folders[0])
        runtime = computed.to_dict() if computed is not None else None
        meta = {
            "format": FORMAT,
            "signature": stores[0].signature.to_dict(),
            "dtype": stores[0].dtype,
            "num_images": num,
            "left_out": {name: why for name, why in joined.items() if not any(name in store for store in stores)},
            "sha256": sums,
        } | ({"runtime": runtime} if runtime is not None else {})
        write_whole(new / META, json.dumps(meta, indent=2) + "\n")
        # Between SHARDS and META, an older store is refused as one to join again.
        for name in (SHARDS, IDS, INDEX, META):
            (new / name).replace(out / name)
    return FeatureStore.open(out)


def check_place(out: Path, inside: Collection[str]) -> None:
    """Raises MMTError if ``out`` cannot become a sharded store; the names ``inside`` are its shards."""
    if out.exists() and not out.is_dir():
        raise MMTError(f"{out}: expected a folder for the joined store, found a file. Name another.")
    there = {path.name for path in out.iterdir()} if out.is_dir() else set()
    known = {META, IDS, INDEX, SHARDS} if (out / SHARDS).exists() else {IDS, INDEX}  # of a join that was killed
    foreign = there.difference(inside, known)
    if foreign := {name for name in foreign if not name.startswith(".") and not is_temporary(name)}:
        raise MMTError(f"{out}: expected a new folder for the joined store, found '{min(foreign)}'. Name another.")


def _shard(store: FeatureStore, first: FeatureStore, out: Path) -> StoreShard:
    """Describes a store. Raises MMTError if it has other features than the first one, or cannot be a shard."""
    meta = read_meta(store.folder)
    sums = meta[4] if meta is not None else {}
    if SHARDS in sums or not {IDS, ROWS} <= set(sums):
        what = "is sharded itself: name its shards" if SHARDS in sums else "has no checksums: make it again"
        raise MMTError(f"{store.folder}: {what}.")
    check_same(store.folder, (store.signature, store.dtype), (first.signature, first.dtype))
    one, other = recorded(store.folder), recorded(first.folder)
    if one is not None and other is not None and one != other:
        raise MMTError(
            f"{store.folder}: holds features computed by {one.runtime}, and {first.folder} by {other.runtime}. "
            "Features of one store come from one runtime."
        )
    folder = store.folder.resolve()
    inside = folder.is_relative_to(out.resolve())
    name = folder.relative_to(out.resolve()).as_posix() if inside else str(folder)
    return StoreShard(name, len(store), sums[IDS], sums[ROWS])
