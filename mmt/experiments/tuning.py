"""``mmt compare`` with a search: Optuna proposes settings, each trial is a training, judged on validation.

The sampler is the tree-structured Parzen estimator, Bergstra et al. (2011). Trials stop early by the median rule.
Both are Optuna's: Akiba et al. (2019), https://arxiv.org/abs/1907.10902.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from mmt.engines.spec import Engine
from mmt.errors import MMTError
from mmt.experiments.jobs import Places, Training, claim, places, train_all
from mmt.experiments.tuning_config import Range, TuningConfig, read_tuning, setting
from mmt.inference.describe import last_report
from mmt.io.atomic import make_folder, write_whole
from mmt.io.tables import print_table
from mmt.io.terminal import console, counted
from mmt.io.versions import versions
from mmt.model.card import read_card
from mmt.training.config import TrainConfig
from mmt.training.config_file import dump_config, read_config, tree_of
from mmt.training.tasks import SCORES, score_of

_TITLES = {"bleu": "BLEU", "exact": "Exact match", "loss": "NLL Loss"}
_FIRST = 4  # trials that are never stopped early
_WORDS = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "stopped early", TrialState.FAIL: "failed"}


class Search:
    """A search in a folder: its study, the runs of its trials, and what they scored."""

    def __init__(self, config: TuningConfig, recipe: TrainConfig, out: Path, where: Places) -> None:
        self._config, self._recipe, self._out = config, recipe, out
        self._threads = where.threads
        self.score = score_of(recipe)
        # Optuna maximises: losses and errors change their sign.
        self._lower = self.score == "loss" or (self.score in SCORES and not SCORES[self.score].higher_is_better)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(out / "study.log"))),
            study_name="mmt",
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(_FIRST) if config.prune else optuna.pruners.NopPruner(),
        )
        begun = len(self.study.get_trials(deepcopy=False))
        # With the same seed after an interruption, the same random numbers would come again.
        self.study.sampler = optuna.samplers.TPESampler(
            seed=config.seed + begun, n_startup_trials=_FIRST, constant_liar=where.jobs > 1
        )
        self._trials: dict[str, optuna.Trial] = {}  # that are running, by the name of the run
        self._reported: dict[str, int] = {}  # the last validation that Optuna knows

    def resume(self) -> None:
        """Proposes the trials again that an interrupted search was running; their trainings resume.

        Optuna has no public way to take up a running trial, so that it fails there and another one gets its run.
        """
        trials = self.study.get_trials(deepcopy=False)
        waiting = {_name(one) for one in trials if one.state == TrialState.WAITING}
        for trial in trials:
            if trial.state == TrialState.RUNNING and trial.user_attrs.get("ended"):
                self._tell(trial)
            elif trial.state == TrialState.RUNNING:
                if _name(trial) not in waiting:
                    self.study.enqueue_trial(trial.params, user_attrs={"run": _name(trial)})
                self.study.tell(trial.number, state=TrialState.FAIL)

    def ended(self) -> list[optuna.trial.FrozenTrial]:
        """The trials that count: finished, stopped early, or failed with a reason."""
        trials = self.study.get_trials(deepcopy=False)
        return [one for one in trials if one.state.is_finished() and one.user_attrs.get("ended")]

    def trainings(self) -> Iterator[Training]:
        """One training after the other, as long as the budget lasts; each is proposed when it is asked for."""
        steps = self._recipe.regime.num_steps
        while self._left():
            self.check()
            trial = self.study.ask()
            settings = [*self._config.settings, *(setting(*one) for one in self._proposed(trial).items())]
            name = _name(trial)
            self._trials[name] = trial
            yield Training(name, self._out / "runs" / name, self._config.recipe, tuple(settings), steps)

    def _left(self) -> bool:
        if len(self.ended()) + len(self._trials) >= self._config.trials:
            return False
        limit = self._config.core_hours
        return limit is None or self.core_hours() < limit

    def core_hours(self) -> float:
        """Hours of one core that the trials have taken, those that run included."""
        seconds: float = sum(one.user_attrs["seconds"] * one.user_attrs["threads"] for one in self.ended())
        running = sum(_progress(self._out / "runs" / name)[1] for name in self._trials)
        return (seconds + running * self._threads) / 3600

    def _proposed(self, trial: optuna.Trial) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, space in self._config.search.items():
            if not isinstance(space, Range):
                # As JSON, since Optuna takes no lists as values.
                values[name] = json.loads(trial.suggest_categorical(name, [json.dumps(one) for one in space]))
            elif space.whole:
                step = 1 if space.step is None else int(space.step)
                values[name] = trial.suggest_int(name, int(space.low), int(space.high), step=step, log=space.log)
            else:
                values[name] = trial.suggest_float(name, space.low, space.high, step=space.step, log=space.log)
        return values

    def hopeless(self, training: Training) -> bool:
        """Whether a training's latest validation, if it is a new one, is below the median of earlier trials."""
        trial = self._trials[training.name]
        last = last_report(training.output / "metrics" / "valid.jsonl")
        value = last.get(_TITLES.get(self.score, "Score"))
        if value is None or last["Step"] == self._reported.get(training.name):
            return False
        self._reported[training.name] = last["Step"]
        trial.report(-value if self.score == "loss" else value, last["Step"])
        return trial.should_prune()

    def end(self, training: Training, failure: str | None) -> None:
        """Notes how a trial ended: with a model, stopped early (neither), or with a failure."""
        trial = self._trials.pop(training.name)
        value = None
        if training.done:
            try:
                value = self._value(training)
            except MMTError as error:
                failure = str(error)
        updates, seconds = _progress(training.output)
        about = {"seconds": seconds, "threads": self._threads, "updates": updates, "value": value}
        for name, what in {**about, "failure": failure, "ended": True}.items():
            trial.set_user_attr(name, what)
        self._tell(trial)
        shutil.rmtree(training.output / "checkpoints", ignore_errors=True)  # an ended trial does not resume

    def _tell(self, trial: optuna.Trial | optuna.trial.FrozenTrial) -> None:
        about = trial.user_attrs
        if about["value"] is not None:
            self.study.tell(trial.number, -about["value"] if self._lower else about["value"])
        else:
            state = TrialState.PRUNED if about["failure"] is None else TrialState.FAIL
            self.study.tell(trial.number, state=state)

    def check(self) -> None:
        """Raises MMTError if the first trials have all failed: more of them would fail, too."""
        ended = self.ended()
        if len(ended) >= _FIRST and all(one.state == TrialState.FAIL for one in ended):
            failure = ended[-1].user_attrs["failure"]
            raise MMTError(f"{self._out}: all of {len(ended)} trials failed; the last: {failure}")

    def _value(self, training: Training) -> float:
        """The score of the finished model; of ``loss`` the lowest of the run, which no model folder has."""
        found = read_card(training.output / "model").training.get(f"validation_{self.score}")
        if found is not None:
            return float(found)
        lines = (training.output / "metrics" / "valid.jsonl").read_text(encoding="utf-8").splitlines()
        values = [json.loads(line).get(_TITLES.get(self.score, "Score")) for line in lines]
        best = [float(-one if self.score == "loss" else one) for one in values if one is not None]
        if not best:
            raise MMTError(f"{training.output}: no validation has a {self.score}. Lower regime.validate_every.")
        return -max(best) if self._lower else max(best)  # a score of labels has its sign changed already

    def rows(self) -> list[dict[str, Any]]:
        """The trials, the best first."""
        rows = []
        for one in self.ended():
            rows.append(
                {
                    "run": _name(one),
                    "settings": self._settings_of(one.params),
                    "score": one.user_attrs["value"],
                    "ended": _WORDS[one.state],
                    "updates": one.user_attrs["updates"],
                    "core_seconds": round(one.user_attrs["seconds"] * one.user_attrs["threads"], 1),
                    "failure": one.user_attrs.get("failure"),
                }
            )
        sign = 1 if self._lower else -1
        return sorted(rows, key=lambda row: float("inf") if row["score"] is None else sign * row["score"])

    def _settings_of(self, params: dict[str, Any]) -> dict[str, Any]:
        return {name: json.loads(value) if isinstance(value, str) else value for name, value in params.items()}


def _progress(run: Path) -> tuple[int, float]:
    """Updates and seconds of a run so far, also over interruptions."""
    last = last_report(run / "metrics" / "train.jsonl")
    return last.get("Step", 0), last.get("Total Time", 0.0)


def _name(trial: optuna.Trial | optuna.trial.FrozenTrial) -> str:
    run: str = trial.user_attrs.get("run", f"trial{trial.number + 1:03}")
    return run


def tune(
    config_file: Path, out: Path, jobs: int, *, only_table: bool = False, engine: Engine | None = None
) -> None:
    """Searches until the budget is used up, and writes the trials and the best configuration.

    Writes ``tuning.json``, ``tuning.md`` and ``best.yaml`` to ``out``, and the trainings to ``out/runs``. A search
    that was interrupted resumes, its trainings, too.

    Raises:
        MMTError: a setting or a value is none of a training's, ``out`` holds another search, another process
            is at it, or the first trials have all failed.
    """
    config, recipe = read_tuning(config_file)
    make_folder(out)
    if only_table:
        _claim(out, config, recipe)
        _write(Search(config, recipe, out, Places.here(jobs)), config, recipe, out)
        return
    lock = claim(out / "search")
    if lock is None:
        raise MMTError(f"{out}: another process searches here. Wait for it, or name another folder.")
    with lock, places(engine, out, jobs) as where:
        _claim(out, config, recipe)
        search, progress = Search(config, recipe, out, where), console(err=True)
        search.resume()
        done = len(search.ended())
        progress.print(
            f"{counted(config.trials, 'trial')}, {done} of them done; {where.jobs} at a time", soft_wrap=True
        )
        try:
            elsewhere = train_all(search.trainings(), where, progress, hopeless=search.hopeless, ended=search.end)
        finally:
            _write(search, config, recipe, out)
        if elsewhere:
            raise MMTError(
                f"{elsewhere[0].output}: another process still trains it, of a search that was killed. Rerun the "
                "command when it has ended."
            )


def _claim(out: Path, config: TuningConfig, recipe: TrainConfig) -> None:
    settings = tree_of(recipe)
    for name in ("threads", "stack"):
        del settings[name]
    space = {name: vars(one) if isinstance(one, Range) else one for name, one in config.search.items()}
    now = json.loads(json.dumps({"recipe": settings, "search": space}))
    path = out / "search.json"
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        if before["recipe"] != now["recipe"]:
            raise MMTError(f"{out}: holds a search of another recipe. Name another folder.")
        for name in {**before["search"], **space}:
            was, is_now = before["search"].get(name), now["search"].get(name)
            if was != is_now:
                raise MMTError(
                    f"{out}: holds a search with {name}: {was}, now it is {is_now}. Name another folder."
                )
    write_whole(path, json.dumps(now, indent=2) + "\n")


def _write(search: Search, config: TuningConfig, recipe: TrainConfig, out: Path) -> None:
    rows = search.rows()
    result = {
        "score": search.score,
        "split": recipe.data.valid_split,
        "core_hours": round(search.core_hours(), 2),
        "sampler": "TPE",
        "seed": config.seed,
        "trials": rows,
        "versions": versions("torch", "fairseq2", "optuna"),
    }
    write_whole(out / "tuning.json", json.dumps(result, indent=2) + "\n")
    names = list(config.search)
    header = ["run", *names, search.score, "updates", "core minutes", ""]
    table = [
        [
            row["run"],
            *(_shown(row["settings"].get(name)) for name in names),
            "" if row["score"] is None else f"{row['score']:.2f}",
            f"{row['updates']:,}",
            f"{row['core_seconds'] / 60:.1f}",
            "" if row["ended"] == "finished" else row["ended"],
        ]
        for row in rows
    ]
    lines = [header, ["---"] * len(header), *table]
    write_whole(out / "tuning.md", "".join(f"| {' | '.join(line)} |\n" for line in lines))
    print_table(header, table)
    if rows and rows[0]["score"] is not None:
        chosen = [*config.settings, *(setting(*one) for one in rows[0]["settings"].items())]
        best = read_config(config.recipe, chosen)
        write_whole(out / "best.yaml", dump_config(best))
        console(err=True).print(f"{out / 'best.yaml'}: configuration of the best trial", soft_wrap=True)


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else "" if value is None else str(value)
