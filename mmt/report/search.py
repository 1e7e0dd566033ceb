"""Builds an index, or searches one, and shows the answers: in a terminal, as a page or as JSON lines."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from mmt.data.image_names import Names
from mmt.inference.embedding import build_index, embed_queries
from mmt.inference.index import Index
from mmt.inference.loaded import LoadedModel
from mmt.inference.retrieve import find_answers
from mmt.inference.search_plan import SearchPlan
from mmt.inference.threads import use_threads
from mmt.io.terminal import counted, print_note
from mmt.report.retrieval import print_answers, write_answers


def run_search(
    plan: SearchPlan,
    *,
    top: int,
    html: Path | None,
    output: Path | None,
    threads: int | None,
    quiet: bool,
    device: str = "cpu",
) -> None:
    """Builds the index if it is not there, and answers the queries.

    Args:
        top: the number of answers to each query.
        html, output: files for a page and for JSON lines; the answers are printed where both are None.
        threads: of torch; None takes one for each core.
        quiet: show no progress bar and no summary.
        device: where the model computes, such as ``cuda``.
    Raises:
        MMTError: there is no such device, the model was not trained for retrieval, or a file cannot be read or
            written.
    """
    use_threads(threads)
    loaded = LoadedModel.from_dir(plan.model).to(device)
    started = time.monotonic()
    vectors = embed_queries(loaded, plan.queries, show_progress=not quiet)
    index = plan.contents
    if not isinstance(index, Index):
        index, left_out = build_index(plan.folder, index, loaded, plan.model, show_progress=not quiet)
        if not quiet:
            seconds = time.monotonic() - started
            built = f"{plan.folder}: {len(index.items):,} {index.kind}, {index.method}, {seconds:.1f} s"
            print_note(built)
            _print_left_out(left_out, Names(index.items))
    if not plan.queries:
        return
    answers = find_answers(index, vectors, top)
    if html is None and output is None:
        print_answers(plan.queries, answers, index)
        return
    write_answers(plan.queries, answers, index, plan.model, html, output)
    if not quiet:
        count = counted(len(plan.queries), "query", "queries")
        print_note(f"{count}, {index.size}, {index.method}")


def _print_left_out(reasons: Mapping[str, str], known: Names) -> None:
    lines = [f"left out: {name}: {reason}{known.hint(name)}" for name, reason in list(reasons.items())[:10]]
    if len(reasons) > 10:
        lines.append(f"left out: {len(reasons) - 10:,} more")
    for line in lines:
        print_note(line)
