"""What becomes of a run's checkpoints: the best one or their average, chosen on validation, as a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

from mmt.data.batch import Batch
from mmt.data.tokenizer import Tokenizer
from mmt.errors import MMTError
from mmt.io.text_files import parse_json
from mmt.model.config import MMTConfig
from mmt.model.model import MMTModel
from mmt.training.checkpoints import checkpoint_steps, load_weights, score_of
from mmt.training.tasks import validation_score


def average(states: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The mean of several state dicts, tensor by tensor."""
    return {
        # what is no fraction, such as a count of batches, is the last one's
        name: torch.stack([state[name] for state in states]).mean(dim=0) if value.is_floating_point() else value
        for name, value in states[-1].items()
    }


@torch.inference_mode()
def choose(
    output: Path,
    config: MMTConfig,
    batches: list[Batch],
    tokenizer: Tokenizer,
    *,
    score: str,
    every: int,
    keep_last: int,
    beam_size: int,
    length_penalty: float,
) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """Compares the best checkpoint with the average of the last ones by what the run goes by.

    Args:
        output: the run's folder.
        batches: the validation split.
        score: see ``TrainConfig.score``; a model that writes is compared by BLEU of beam search.
        every: updates between two checkpoints; those between, and not the last, were made because of a signal.
        keep_last: how many checkpoints are averaged.
    Returns:
        The better weights, and the score of each candidate by its description, the winner first.
    """
    steps = checkpoint_steps(output)
    if not steps:
        raise MMTError(f"{output}: no checkpoint was written. Remove the folder and train again.")
    steps = [step for step in steps if step % every == 0 or step == steps[-1]]
    best = _best_step(output, steps)
    candidates = {f"best checkpoint (step {best:,})": [best]}
    last = steps[-keep_last:]
    if len(last) > 1:
        candidates[f"average of {len(last)} checkpoints (steps {last[0]:,} to {last[-1]:,})"] = last
    model = MMTModel(config).eval()
    weights: dict[str, dict[str, torch.Tensor]] = {}
    scores: dict[str, float] = {}
    console = Console(stderr=True)
    for name, chosen in candidates.items():
        weights[name] = average([load_weights(output, step) for step in chosen])
        model.load_state_dict(weights[name])
        reading = track(batches, f"validating: {name}", console=console, transient=True)
        scores[name] = validation_score(
            model, reading, tokenizer, score=score, beam_size=beam_size, length_penalty=length_penalty
        )
    ranked = sorted(scores, key=lambda name: scores[name], reverse=score != "mae")
    return weights[ranked[0]], {name: scores[name] for name in ranked}


def _best_step(output: Path, steps: list[int]) -> int:
    """The kept checkpoint with the best validation score; fairseq2 keeps scores with the higher the better."""
    scores = {step: score for step in steps if (score := score_of(output, step)) is not None}
    return max(scores, key=lambda step: scores[step]) if scores else steps[-1]


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
