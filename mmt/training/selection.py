"""From checkpoints to the model folder: the best one or the average of the last ones, chosen on validation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.progress import track

from mmt.data.batch import Batch, collate
from mmt.data.buckets import length_batches
from mmt.data.dataset import read_info
from mmt.data.tokenizer import Tokenizer
from mmt.data.vocabulary import pieces_of_file
from mmt.errors import MMTError
from mmt.io.terminal import console
from mmt.io.text_files import parse_json
from mmt.io.versions import versions
from mmt.model.card import ModelCard
from mmt.model.folder import save_model
from mmt.model.fusion import find_fusion
from mmt.model.model import MMTModel
from mmt.model.pretrained.find import identity
from mmt.training.checkpoints import checkpoint_score, checkpoint_steps, load_weights
from mmt.training.config_file import tree_of
from mmt.training.moving_average import load_moving_average
from mmt.training.run import Run
from mmt.training.tasks import SCORES, score_of
from mmt.training.validation import validation_score


def average(states: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The mean of several state dicts, tensor by tensor."""
    return {
        # integers, such as a number of batches, are the last one's
        name: torch.stack([state[name] for state in states]).mean(dim=0) if value.is_floating_point() else value
        for name, value in states[-1].items()
    }


@torch.inference_mode()
def choose(
    output: Path,
    model: MMTModel,
    batches: list[Batch],
    tokenizer: Tokenizer,
    *,
    score: str,
    every: int,
    keep_last: int,
    beam_size: int,
    length_penalty: float,
    moving_average: bool = False,
) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """Compares the best checkpoint with the average of the last ones on the validation split.

    Args:
        output: the run's folder.
        model: of the run, in evaluation mode. It gets the weights of each candidate.
        batches: the validation split.
        score: see ``mmt.training.tasks.score_of``.
        every: updates between two checkpoints. Others without a validation score, but for the last, were made
            because of a signal.
        keep_last: how many checkpoints are averaged.
        moving_average: compares the moving averages in the best and in the last checkpoint, too.
    Returns:
        The better weights, and the score of each candidate by its description, the winner first.
    """
    steps = checkpoint_steps(output)
    if not steps:
        raise MMTError(f"{output}: no checkpoint was written. Remove the folder and train again.")
    steps = [
        step
        for step in steps
        if step % every == 0 or step == steps[-1] or checkpoint_score(output, step) is not None
    ]
    best = _best_step(output, steps, keep_last)
    candidates: dict[str, Callable[[], dict[str, torch.Tensor] | None]] = {
        f"best checkpoint (step {best:,})": partial(load_weights, output, best)
    }
    last = steps[-keep_last:]
    if len(last) > 1:
        name = f"average of {len(last)} checkpoints (steps {last[0]:,} to {last[-1]:,})"
        candidates[name] = lambda: average([load_weights(output, step) for step in last])
    if moving_average:
        for step in dict.fromkeys((best, steps[-1])):
            candidates[f"moving average (step {step:,})"] = partial(load_moving_average, output, step, model)
    sign = 1 if score not in SCORES or SCORES[score].higher_is_better else -1
    chosen: dict[str, torch.Tensor] = {}
    scores: dict[str, float] = {}
    for name, load in candidates.items():
        weights = load()
        if weights is None:  # written before the run kept a moving average
            continue
        model.load_state_dict(weights)
        reading = track(batches, f"validating: {name}", console=console(err=True), transient=True)
        scores[name] = validation_score(
            model, reading, tokenizer, score=score, beam_size=beam_size, length_penalty=length_penalty
        )
        if all(sign * scores[name] > sign * scores[other] for other in scores if other != name):
            chosen = weights
    ranked = sorted(scores, key=lambda name: -sign * scores[name])
    return chosen, {name: scores[name] for name in ranked}


@torch.inference_mode()
def choose_length_penalty(
    model: MMTModel, batches: list[Batch], tokenizer: Tokenizer, *, score: str, beam_size: int, at_1: float
) -> dict[float, float]:
    """Compares the length penalties 0.6, 0.8, ..., 1.6 on the validation split.

    While the smallest or the largest of them is the best, the next one beyond it follows, from 0 to 3.

    Args:
        model: with its final weights, in evaluation mode.
        score: see ``mmt.training.tasks.score_of``.
        at_1: the score with length penalty 1.0, from ``choose``.
    Returns:
        The score of each length penalty, the best first; of equals, that nearest to 1.
    """
    scores = {10: at_1}  # by tenths
    waiting = [8, 12, 6, 14, 16]
    while waiting:
        tenths = waiting.pop(0)
        reading = track(
            batches, f"validating: length penalty {tenths / 10}", console=console(err=True), transient=True
        )
        scores[tenths] = validation_score(
            model, reading, tokenizer, score=score, beam_size=beam_size, length_penalty=tenths / 10
        )
        ranked = sorted(scores, key=lambda tried: -scores[tried])
        best, smallest, largest = ranked[0], min(scores), max(scores)
        if not waiting and best in (smallest, largest) and 0 < best < 30:
            waiting.append(best - 2 if best == smallest else best + 2)
    return {tenths / 10: scores[tenths] for tenths in ranked}


def _best_step(output: Path, steps: list[int], keep_last: int) -> int:
    """The checkpoint with the best validation score, which fairseq2 writes so that higher is better.

    Of checkpoints with equal scores it is the first that an uninterrupted run would have kept: the last
    ``keep_last``, and the last of the best. An interrupted run may have kept more.
    """
    scores = {step: score for step in steps if (score := checkpoint_score(output, step)) is not None}
    if not scores:
        return steps[-1]
    kept = {*steps[-keep_last:], max(scores, key=lambda step: (scores[step], step))}
    return max((step for step in scores if step in kept), key=lambda step: scores[step])


def has_references(run: Run) -> bool:
    """Whether the validation split has translations to compare with."""
    return bool(run.info.target_lang) and any(one.target for one in run.valid_set)


def export_best(run: Run) -> None:
    """Makes the model folder from the checkpoints that score best on the validation split.

    Without translations to score with, it is the last checkpoint.

    Raises:
        MMTError: there is no checkpoint, or one is damaged.
    """
    if run.objectives.writes and not has_references(run):
        _export_last(run)
        return
    decoding, regime, score = run.config.decoding, run.config.regime, score_of(run.config)
    lengths = [(len(e.source) + 1, len(e.target) + 1) for e in run.valid_set]
    batches = [
        collate([run.valid_set[i] for i in batch], run.features)
        for batch in length_batches(lengths, run.config.data.max_tokens)
    ]
    model = run.finished_model()
    searches = decoding.length_penalty == "val" and run.objectives.writes
    length_penalty = 1.0 if decoding.length_penalty == "val" else decoding.length_penalty
    weights, scores = choose(
        run.output,
        model,
        batches,
        run.tokenizer,
        score=score,
        every=regime.validate_every,
        keep_last=regime.keep_last,
        beam_size=decoding.beam_size,
        length_penalty=length_penalty,
        moving_average=regime.average == "ema",
    )
    out = console(err=True)
    writes = run.objectives.writes
    metric = "exact" if score == "exact" else "BLEU" if writes else score
    for name, value in scores.items():
        with_beam = f" (beam {decoding.beam_size})" if writes else ""
        out.print(f"validation {metric} {value:.2f}{with_beam}  {name}", soft_wrap=True)
    winner = next(iter(scores))
    best = scores[winner]
    if searches:
        model.load_state_dict(weights)
        penalties = choose_length_penalty(
            model, batches, run.tokenizer, score=score, beam_size=decoding.beam_size, at_1=best
        )
        length_penalty = next(iter(penalties))
        best = penalties[length_penalty]
        listed = ", ".join(f"{penalty} {penalties[penalty]:.2f}" for penalty in sorted(penalties))
        out.print(f"length penalty {length_penalty} (validation {metric}: {listed})", soft_wrap=True)
    card = _card(run, winner, length_penalty, {f"validation_{metric.lower()}": round(best, 2)})
    _save(run, weights, card)
    out.print(f"model: {run.output / 'model'}  ({winner})", soft_wrap=True)


def _export_last(run: Run) -> None:
    step, penalty = checkpoint_steps(run.output)[-1], run.config.decoding.length_penalty
    what, weights = f"last checkpoint (step {step:,})", load_weights(run.output, step)
    card = _card(run, what, 1.0 if isinstance(penalty, str) else penalty, {})
    _save(run, weights, card)
    console(err=True).print(f"model: {run.output / 'model'}  ({what})", soft_wrap=True)


def _save(run: Run, weights: dict[str, torch.Tensor], card: ModelCard) -> None:
    text = run.config.decoding.vocabulary
    ids = None if text is None else pieces_of_file(text, run.tokenizer)
    save_model(run.output / "model", weights, run.output / "tokenizer.model", card, run.training_pieces(), ids)


def _card(run: Run, weights: str, length_penalty: float, score: dict[str, float]) -> ModelCard:
    """``weights`` describes the checkpoints that were chosen."""
    # Without a fusion, only a retrieval model uses images after training.
    uses_images = run.config.model.fusion != "none" or "contrastive" in run.objectives.heads
    return ModelCard(
        config=asdict(run.model_config()),
        source_lang=run.info.source_lang,
        target_lang=run.info.target_lang or (run.start.target_lang if run.start is not None else ""),
        features=run.features.signature if run.features is not None and uses_images else None,
        decoding={"beam_size": run.config.decoding.beam_size, "length_penalty": length_penalty},
        labels=run.labels,
        text=identity(run.base, run.output / "model") if run.base is not None and run.leaves_out_text else {},
        training={
            "data": run.info.name,
            "data_checksum": run.info.splits[run.config.data.train_split].checksum,
            "probe": run.info.probe,
            **({"pairs": list(dict.fromkeys(run.pairs))} if len(set(run.pairs)) > 1 else {}),
            **_special_settings(run),
            "sentences": len(run.train_set),
            "images_in_use": run.num_with_image,
            "seed": run.config.seed,
            "weights": weights,
            **score,
            "versions": versions("torch", "fairseq2"),
            "config": {name: value for name, value in tree_of(run.config).items() if name != "mlflow"},
            **totals(run.output),
        },
    )


def _special_settings(run: Run) -> dict[str, Any]:
    """What the card says only of a run with other objectives, additional datasets, or a model to start from."""
    config = run.config
    special: dict[str, Any] = {}
    if run.objectives.weights or config.objectives.translation != 1.0:
        special["objectives"] = {"translation": config.objectives.translation, **run.objectives.weights}
    if config.objectives.image_weighting:
        special["image_weighting"] = config.objectives.image_weighting
    if config.objectives.r_drop:
        special["r_drop"] = config.objectives.r_drop
    module = getattr(find_fusion(config.model.fusion), "__module__", "mmt.model.fusion")
    if module != "mmt.model.fusion":
        special["fusion_module"] = module  # must be imported before the model can be loaded
    if config.images.dropout_p:
        special["image_dropout_p"] = config.images.dropout_p
    if config.beside:
        infos = [read_info(one.data) for one in config.beside]
        special["beside"] = [
            {"data": info.name, "task": one.task, "weight": one.weight, "probe": info.probe}
            for one, info in zip(config.beside, infos, strict=True)
        ]
    if run.start is not None:
        special["start"] = {
            "fusion": run.start.config["fusion"],
            "seed": run.start.training.get("seed"),
            "freeze_text": config.start.freeze_text,
        }
    if run.base is not None:
        special["text"] = {"name": run.base.name, "sha256": run.base.sha256, "frozen": config.start.freeze_text}
    return special


_TOTALS = ("Data Time", "Compute Time", "Total Time", "num_target_tokens", "total_num_target_tokens")


def totals(output: Path) -> dict[str, Any]:
    """Updates, tokens, time and speed of a whole run, restarts included, from fairseq2's metric file.

    Raises:
        MMTError: the file is damaged.
    """
    path = output / "metrics" / "train.jsonl"
    if not path.exists():
        return {}
    by_step = {}
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            report = parse_json(line)
            by_step[int(report["Step"])] = {name: float(report[name]) for name in _TOTALS}
        except (ValueError, TypeError, KeyError) as error:
            raise MMTError(
                f"{path}: line {number}: expected a report of training, found something else ({error}). Remove "
                "the line; the same command then ends the training."
            ) from None
    if not by_step:
        return {}
    reports = [by_step[step] for step in sorted(by_step)]
    seconds = sum(report["Data Time"] + report["Compute Time"] for report in reports)
    tokens = sum(report["num_target_tokens"] for report in reports)
    return {
        "updates": max(by_step),
        "target_tokens": int(reports[-1]["total_num_target_tokens"]),  # a stop leaves some out of all reports
        "training_seconds": round(seconds),
        "wall_seconds": round(reports[-1]["Total Time"]),
        "target_tokens_per_second": round(tokens / seconds) if seconds else 0,
    }
