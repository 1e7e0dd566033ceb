"""One shard of an extraction: a store of its own, which the last process merges or joins with the others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mmt.data.feature_store import DType, FeatureStore
from mmt.data.store_files import META
from mmt.errors import MMTError
from mmt.features.backbone import Backbone
from mmt.features.extract_report import ExtractReport
from mmt.features.filling import Choose, Opener, batches_of, check_runtime, engine_for, fill, finish, none_read
from mmt.features.runtimes import Computed, RuntimeChoice, recorded
from mmt.features.shards import check_place, join_stores
from mmt.features.stored_images import StoredImage
from mmt.features.writer import FeatureWriter, check_folder, finished_ids
from mmt.io.shards import Parts, Shard, done_parts, drop_parts

_RUNTIME = "runtime"  # beside the parts: what computes all of them


def extract_share(
    image_paths: Mapping[str, Path | StoredImage],
    backbone: Backbone,
    out: Path,
    dtype: DType,
    batch_size: int,
    num_workers: int | None,
    progress: bool,
    opened: Opener,
    runtime: RuntimeChoice,
    shard: Shard,
    keep_shards: bool,
) -> ExtractReport:
    """Extracts one shard of the batches into a store of its own; the last process merges or joins the stores."""
    if not keep_shards:
        check_folder(out, backbone.signature, dtype)  # now, not at the end
    elif (out / META).exists():
        raise MMTError(
            f"{out}: holds a store that is not sharded. Name another folder, or leave --keep-shards out."
        )
    else:
        check_place(out, {part.name for part in done_parts(out)})  # complete parts may have been moved
    there = recorded(out)
    check_runtime(there, runtime, out)
    ids, left_out = finished_ids(out)
    batches = batches_of(image_paths, ids, left_out, batch_size)
    done = done_parts(out)
    joined = bool(done and ids) and {*ids, *left_out}.issuperset(i for one in done for i in finished_ids(one)[0])
    if joined:
        drop_parts(out)  # left by a process that was killed after it merged them
    if joined or not batches:
        return ExtractReport(out, backbone.signature, 0, len(image_paths), {}, 0.0, backbone.things, {})
    plan = {
        "signature": backbone.signature.to_dict(),
        "dtype": dtype,
        "batch_size": batch_size,
        "batches": hashlib.sha256(json.dumps(batches).encode()).hexdigest(),
        "shares": "runs of batches",
        "kept": keep_shards,
    }
    # Neighbours lie in one tar, or in one row group of Parquet.
    shares = [number * shard.count // len(batches) for number in range(len(batches))]
    own_batches = [batch for share, batch in zip(shares, batches, strict=True) if share == shard.number]
    own = {i: image_paths[i] for batch in own_batches for i in batch}

    def keep(about: list[dict[str, Any]]) -> None:
        out.mkdir(parents=True, exist_ok=True)
        kept = [out / parts.of(number).name for number, one in enumerate(about) if one["rows"]]
        for number, one in enumerate(about):
            if one["rows"] and parts.of(number).exists():  # otherwise moved before a kill
                parts.of(number).rename(out / parts.of(number).name)
        left_out = {name: why for one in about for name, why in one["left_out"].items()}
        if not kept:
            parts.drop()
            raise none_read(len(image_paths), backbone.things, left_out)
        join_stores(kept, out, left_out)

    def join(about: list[dict[str, Any]]) -> None:
        if keep_shards:
            keep(about)
            return
        stores = [FeatureStore.open(parts.of(n)) if one["rows"] else None for n, one in enumerate(about)]
        with FeatureWriter(out, backbone.signature, dtype) as writer:
            if writer.computed is None:
                writer.computed = Computed.of(parts.agreed(_RUNTIME), out)
            for share, batch in zip(shares, batches, strict=True):
                store, left_out = stores[share], about[share]["left_out"]
                # Images that are in the store already were added by a process that was killed while it merged.
                new = [i for i in batch if i not in left_out and i not in writer]
                shape = (0, backbone.signature.num_regions, backbone.signature.dim)
                rows = store.get(new) if store is not None else np.zeros(shape, np.float32)
                writer.append(new, rows, {i: left_out[i] for i in batch if i in left_out})
            if not len(writer):
                parts.drop()  # otherwise fixed images would not be read again
            finish(writer, image_paths, backbone.things)

    def agree(choose: Choose) -> Computed:
        agreed = Computed.of(parts.agreed(_RUNTIME, lambda: (there or choose()).to_dict()), parts.folder)
        agreed.check(runtime, parts.folder, "remove the folder")
        return agreed

    with Parts(out, shard, plan) as parts:
        report = ExtractReport(parts.part, backbone.signature, 0, len(own), {}, 0.0, backbone.things, {})
        if own and not parts.is_done:
            with FeatureWriter(parts.part, backbone.signature, dtype) as writer:
                have = {*writer.ids, *writer.left_out}
                rest = [batch for batch in own_batches if not have.issuperset(batch)]
                with engine_for(opened, rest, writer, agree) as engine:
                    report = fill(own, rest, backbone, writer, num_workers, progress, engine)
                if len(writer):
                    writer.finish()
        about = {"rows": len(own) - len(report.left_out), "left_out": report.left_out}
        return replace(report, note=parts.finish(about, join))
