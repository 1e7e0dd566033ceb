"""Laws of training: it learns, resumes exactly, stops early, and says what it did."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
from fairseq2.recipe import RecipeContext
from fairseq2.task import Task
from safetensors.torch import load_file

from mmt.data.dataset import read_info
from mmt.data.domain import read_pieces
from mmt.errors import MMTError
from mmt.io.signals import SIGNALS, Stopped, StopSwitch
from mmt.model.card import read_card
from mmt.model.model import MMTModel
from mmt.training.checkpoints import checkpoint_steps
from mmt.training.mlflow_recorder import MLflowRecorder
from mmt.training.recipe import train
from mmt.training.units import TrainingUnit
from tests import warm
from tests.worlds import (
    STILL,
    assert_same_weights,
    config,
    make_features,
    on_terminal,
    reports,
    settings,
    usual_signals,
    weights,
)


@pytest.fixture(scope="module")
def undisturbed(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 12 updates, nothing happening to it."""
    output = tmp_path_factory.mktemp("runs") / "undisturbed"
    os.environ["MMT_TEST_VARIABLE"] = "must-not-be-logged"
    train(output, config(world))
    return output


def test_training_learns_and_writes_a_model_folder(undisturbed: Path) -> None:
    losses = [report["NLL Loss"] for report in reports(undisturbed, "valid")]
    assert losses[-1] < 0.9 * losses[0]
    card = read_card(undisturbed / "model")
    assert card.training["updates"] == 12
    assert card.training["images_in_use"] == 30
    assert card.training["target_tokens"] > 0
    assert load_file(undisturbed / "model" / "model.safetensors")
    counted = read_pieces(undisturbed / "model", card.config["vocab_size"])
    assert counted is not None
    assert counted.counts.sum() > 0


def test_all_files_of_a_run_honour_the_umask(undisturbed: Path) -> None:
    before = os.umask(0)
    os.umask(before)
    files = [path for path in undisturbed.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert {str(path): oct(path.stat().st_mode & 0o777) for path in files} == {
        str(path): oct(0o666 & ~before) for path in files
    }


def test_the_model_is_in_the_gangs_of_its_run(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Made(Exception):  # noqa: N818
        pass

    def stop(_: object, context: RecipeContext) -> Task:
        attention = context.get_model_as(MMTModel).text.encoder.layers[0].self_attn
        assert attention.q_proj.tp_gang is context.gangs.tp
        raise Made

    monkeypatch.setattr("mmt.training.recipe.TrainingRecipe.create_task", stop)
    with pytest.raises(Made):
        train(tmp_path / "run", config(world))


def test_reports_count_the_images_in_use(undisturbed: Path) -> None:
    valid = reports(undisturbed, "valid")[0]
    assert (valid["num_images"], valid["num_sentences"]) == (5, 10)
    assert all(0 < r["num_images"] < r["num_sentences"] for r in reports(undisturbed, "train"))


def test_tensorboard_and_a_log_without_the_environment(undisturbed: Path) -> None:
    assert list((undisturbed / "tb").rglob("events*"))
    log = (undisturbed / "logs" / "rank_0.log").read_text()
    assert "step 12" in log
    assert "must-not-be-logged" not in log
    assert "Environment Variables" not in log


def test_an_interrupted_run_resumes_exactly(undisturbed: Path, world: Path, tmp_path: Path) -> None:
    train(tmp_path / "run", config(world, "regime.num_steps=6"))
    train(tmp_path / "run", config(world))
    assert_same_weights(weights(tmp_path / "run", 12), weights(undisturbed, 12))
    assert (tmp_path / "run" / "model" / "model.safetensors").read_bytes() == (
        undisturbed / "model" / "model.safetensors"
    ).read_bytes()


def disturb(world: Path, output: Path, signum: signal.Signals, file: str) -> tuple[int, str]:
    """Trains until there is ``file`` in the run's folder, sends the signal, and gives exit code and errors."""
    command = [sys.executable, "-m", "mmt.cli", "train", str(output)]
    for setting in settings(world):
        command += ["--config", setting]
    process = warm.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=usual_signals
    )
    try:
        deadline = time.monotonic() + 300
        while not (output / file).exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.send_signal(signum)
        said = process.communicate()[1]
    return process.returncode, said


def test_a_killed_run_resumes_exactly(undisturbed: Path, world: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    disturb(world, output, signal.SIGKILL, "checkpoints/step_3")
    train(output, config(world))
    assert_same_weights(weights(output, 12), weights(undisturbed, 12))


def test_what_a_kill_left_half_written_is_cut_off(undisturbed: Path, world: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    train(output, config(world, "regime.num_steps=6", "regime.keep_last=4"))
    score = output / "checkpoints" / "scores" / "step_6.txt"
    before = score.read_text()
    score.write_text(before[:2])
    with (output / "metrics" / "train.jsonl").open("a") as stream:
        stream.write('{"Step": 6, "NLL')
    train(output, config(world, "regime.keep_last=4"))
    assert score.read_text() == before
    assert [report["Step"] for report in reports(output, "train")] == [3, 6, 9, 12]
    assert_same_weights(weights(output, 12), weights(undisturbed, 12))


def test_a_damaged_run_is_named(world: Path, tmp_path: Path) -> None:
    train(tmp_path / "run", config(world, "regime.num_steps=3"))
    (tmp_path / "run" / "run.json").write_text('{"config": ')
    with pytest.raises(MMTError, match=r"run\.json: damaged"):
        train(tmp_path / "run", config(world))


@pytest.mark.parametrize("steps", [9, 12])  # before the end, and at it
def test_a_validation_cut_off_is_made_up_for(steps: int, undisturbed: Path, world: Path, tmp_path: Path) -> None:
    """Else its checkpoint would not be among those of which the best is kept."""
    output = tmp_path / "run"
    train(output, config(world, f"regime.num_steps={steps}"))
    scores = output / "checkpoints" / "scores"
    before = (scores / f"step_{steps}.txt").read_text()
    (scores / f"step_{steps}.txt").unlink()
    train(output, config(world))
    assert (scores / f"step_{steps}.txt").read_text() == before
    assert [report["Step"] for report in reports(output, "valid")].count(steps) == 2
    assert_same_weights(weights(output, 12), weights(undisturbed, 12))


@pytest.mark.parametrize(
    ("signum", "file"), [(signal.SIGTERM, "checkpoints/step_3"), (signal.SIGINT, "metrics/train.jsonl")]
)
def test_a_run_asked_to_stop_keeps_its_last_update(
    undisturbed: Path, world: Path, tmp_path: Path, signum: signal.Signals, file: str
) -> None:
    output = tmp_path / "run"
    code, said = disturb(world, output, signum, file)
    step = max(checkpoint_steps(output))
    assert f"stopped by {signum.name}. {output} holds the checkpoint of update {step}. Rerun the same" in said
    assert code == 128 + signum
    assert "Traceback" not in said
    log = (output / "logs" / "rank_0.log").read_text()
    assert f"Stopping training at step {step}" in log
    train(output, config(world))
    assert_same_weights(weights(output, 12), weights(undisturbed, 12))
    model = "model/model.safetensors"
    assert (output / model).read_bytes() == (undisturbed / model).read_bytes()


def test_a_training_whose_terminal_closes_saves_a_checkpoint(
    undisturbed: Path, world: Path, tmp_path: Path
) -> None:
    """The kernel sends SIGHUP, and whatever is printed from then on is an error."""
    output = tmp_path / "run"
    command = [sys.executable, "-m", "mmt.cli", "train", str(output)]
    for setting in settings(world, "regime.num_steps=100000", "regime.validate_every=30000"):
        command += ["--config", setting]
    ours, theirs = os.openpty()
    process = warm.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, preexec_fn=on_terminal
    )
    os.close(theirs)
    said = b""
    while b" 3/100,000" not in said:
        said += os.read(ours, 1000)
    os.close(ours)
    assert process.wait(120) == 128 + signal.SIGHUP
    step = max(checkpoint_steps(output))
    assert f"Stopping training at step {step}" in (output / "logs" / "rank_0.log").read_text()
    assert [path.name for path in output.iterdir() if path.name.startswith(".")] == []


@pytest.mark.usefixtures("_signals")
@pytest.mark.parametrize("signum", SIGNALS)
def test_a_stop_does_not_wait_for_a_validation(
    signum: signal.Signals, undisturbed: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "run"

    def signal_in_update(_: object, step: int) -> None:
        if step == 6:
            os.kill(os.getpid(), signum)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingUnit, "set_step_nr", signal_in_update)
        with pytest.raises(Stopped, match="holds the checkpoint of update 6") as stopped:
            train(output, config(world))
    assert stopped.value.signum == signum
    if signum != signal.SIGTERM:
        return
    score = output / "checkpoints" / "scores" / "step_6.txt"
    assert not score.exists()
    train(output, config(world))
    assert [report["Step"] for report in reports(output, "valid")] == [3, 6, 9, 12]
    assert [report["Step"] for report in reports(output, "train")] == [3, 6, 9, 12]
    assert_same_weights(weights(output, 12), weights(undisturbed, 12))


def test_a_finished_run_is_left_as_it_is(undisturbed: Path, world: Path) -> None:
    before = weights(undisturbed, 12)
    train(undisturbed, config(world))
    assert_same_weights(weights(undisturbed, 12), before)


def test_only_the_asked_for_checkpoints_are_kept(undisturbed: Path) -> None:
    kept = {int(p.name[5:]) for p in (undisturbed / "checkpoints").glob("step_*")}
    scores = {s: float((undisturbed / "checkpoints/scores" / f"step_{s}.txt").read_text()) for s in kept}
    assert {9, 12} <= kept
    assert len(kept) <= 3
    assert kept - {9, 12} <= {max(scores, key=lambda s: scores[s])}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["model.dropout_p=0.5"], r"model\.dropout_p = 0\.3, now it is 0\.5"),
        (["seed=9"], r"seed = 1, now it is 9"),
    ],
)
def test_a_folder_with_another_run_is_refused(
    undisturbed: Path, world: Path, changes: list[str], message: str
) -> None:
    with pytest.raises(MMTError, match=message):
        train(undisturbed, config(world, *changes))


def test_a_run_that_never_began_binds_to_nothing(world: Path, tmp_path: Path) -> None:
    """The message says which size is possible; the folder must take it."""
    with pytest.raises(MMTError, match=r"Set text\.vocab_size to at least"):
        train(tmp_path / "run", config(world, "text.vocab_size=262"))
    train(tmp_path / "run", config(world, "regime.num_steps=1"))


def test_other_features_under_the_same_run_are_refused(undisturbed: Path, world: Path, tmp_path: Path) -> None:
    make_features(tmp_path / "other", ["train-0.png"], backbone="other")
    with pytest.raises(MMTError, match="other features"):
        train(undisturbed, config(world, f"images.features={tmp_path / 'other'}"))


def test_an_unknown_key_of_the_stack_is_named(world: Path, tmp_path: Path) -> None:
    with pytest.raises(MMTError, match=r"unknown key 'max_grad_nrm'. Did you mean 'max_grad_norm'"):
        train(tmp_path / "run", config(world, "stack.trainer.max_grad_nrm=1"))


def test_patience_counts_a_runs_last_validation_too(world: Path, tmp_path: Path) -> None:
    """A resumed run with more updates stops where it would have if it had had them from the start."""
    nothing = (*STILL, "regime.patience=2", "regime.score=loss")
    train(tmp_path / "run", config(world, *nothing, "regime.num_steps=6", fusion="none"))
    train(tmp_path / "run", config(world, *nothing, "regime.num_steps=30", fusion="none"))
    assert checkpoint_steps(tmp_path / "run")[-1] == 9


def test_a_damaged_report_is_named(world: Path, tmp_path: Path) -> None:
    train(tmp_path / "run", config(world, "regime.num_steps=3"))
    with (tmp_path / "run" / "metrics" / "train.jsonl").open("a") as stream:
        stream.write('{"Step": \n')
    with pytest.raises(MMTError, match=r"train\.jsonl: line 2: expected a report"):
        train(tmp_path / "run", config(world, "regime.num_steps=3"))


def test_early_stopping_ends_the_run_with_a_model(world: Path, tmp_path: Path) -> None:
    """Where no weight changes, no validation is better than the first."""
    changes = (*STILL, "regime.patience=2", "regime.score=loss")
    train(tmp_path / "run", config(world, *changes, fusion="none"))
    assert read_card(tmp_path / "run" / "model").training["updates"] == 9
    before = (tmp_path / "run" / "model" / "mmt.json").read_bytes()
    train(tmp_path / "run", config(world, *changes, fusion="none"))  # does not train on
    assert (tmp_path / "run" / "model" / "mmt.json").read_bytes() == before


def test_a_masked_data_set_keeps_its_mask_whole(world: Path, tmp_path: Path) -> None:
    from data_prep.probes import prepare
    from mmt.data.dataset import read_split, write_dataset
    from mmt.data.masking import Probe, check_masked_alike
    from mmt.training.run_data import prepare_tokenizer

    rows = [
        {**row, "source": row["source"].replace("A ", "A red "), "target": f"Roter {row['target']}"}
        for row in read_split(world / "data", "train")
    ]
    info = read_info(world / "data")
    write_dataset(tmp_path / "red", info, {"train": rows, "val": rows[:10]})
    prepare(tmp_path / "red", tmp_path / "masked", Probe("colour"))
    (tmp_path / "run").mkdir()
    tokenizer = prepare_tokenizer(tmp_path / "run", config(world, f"data.path={tmp_path / 'masked'}"))
    check_masked_alike(tokenizer, {}, Probe("colour"), "this one")
    (tmp_path / "plain").mkdir()
    with pytest.raises(MMTError, match="MASK_C"):
        check_masked_alike(prepare_tokenizer(tmp_path / "plain", config(world)), {}, Probe("colour"), "the other")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("trainer.max_grad_norm=true", "expected a value such as 1.0, found True"),
        ("trainer.max_grad_norm=010", "expected a value such as 1.0, found '010'"),
        ("trainer.max_grad_norm=.nan", "found nan"),
        ("gang.timeout=1.5", "expected a value such as 15, found 1.5"),
        ("gang.timeout=-1", "must be greater than or equal to 1"),
        ("trainer.grad_check=1", "found 1"),
        ("trainer.fsdp=3", "expected keys and values, found 3"),
        ("trainer.data_parallelism=ddpp", "Supported values are ddp, fsdp"),
        ("common.metric_recorders.wandb.enabled=yes", "expected a value such as False, found 'yes'"),
    ],
)
def test_fairseq2s_own_settings_are_of_their_kinds(
    world: Path, tmp_path: Path, setting: str, message: str
) -> None:
    with pytest.raises(MMTError, match=rf"stack\.\w+.*: .*{message}"):
        train(tmp_path / "run", config(world, f"stack.{setting}", fusion="none"))


def test_images_that_are_not_used_are_named(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path / "run", config(world, "regime.num_steps=3", fusion="none"))
    said = capsys.readouterr().err
    assert "images: not used, as model.fusion is 'none'; 30 training sentences have one" in said
    assert f"mmt features --images {world / 'data'} --out STORE" in said
    train(tmp_path / "gated", config(world, "regime.num_steps=3"))
    assert "not used" not in capsys.readouterr().err
    with pytest.raises(MMTError, match=r"images\.features is set, but with model\.fusion 'none' no image"):
        config(world, f"images.features={world / 'features'}", fusion="none")


def test_the_recorder_of_wandb_records_or_says_why_not(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setattr("sys.stdin", None)
    recorder = ("stack.common.metric_recorders.wandb.enabled=true", "regime.num_steps=3")
    with pytest.raises(MMTError, match=r"wandb: .*Log in with 'wandb login', set WANDB_MODE=offline"):
        train(tmp_path / "run", config(world, *recorder, fusion="none"))
    wandb.teardown()  # it reads the environment once
    monkeypatch.setenv("WANDB_MODE", "offline")
    train(tmp_path / "run", config(world, *recorder, fusion="none"))
    wandb.teardown()
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*"))
    with pytest.raises(MMTError, match=r"stack: `gang\.tensor_parallel_size` must be a factor"):
        train(tmp_path / "other", config(world, "stack.gang.tensor_parallel_size=2", fusion="none"))


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a database needs more than the small package
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    module: ModuleType = pytest.importorskip("mlflow")
    return module


def test_mlflow_records_one_run_also_across_a_resume(
    world: Path, tmp_path: Path, mlflow: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    store = (tmp_path / "store").as_uri()
    recorder = (
        f"mlflow.tracking_uri={store}",
        "mlflow.experiment=shop",
        "regime.report_every=2",
        "regime.validate_every=2",
    )
    train(tmp_path / "run", config(world, *recorder, "regime.num_steps=2", fusion="none"))
    train(tmp_path / "run", config(world, *recorder, "regime.num_steps=4", fusion="none"))
    client = mlflow.MlflowClient(tracking_uri=store)
    (run,) = client.search_runs([client.get_experiment_by_name("shop").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "run"
    assert run.data.params["model.fusion"] == "none"
    assert not any(name.startswith("mlflow") for name in run.data.params)
    card = (tmp_path / "run" / "model" / "mmt.json").read_text()
    assert "mlflow" not in card
    losses = client.get_metric_history(run.info.run_id, "train/nll_loss")
    assert [one.step for one in losses] == [2, 4]
    shown = re.findall(r"train  loss (\S+)", capsys.readouterr().err)
    assert [f"{one.value:.3f}" for one in losses] == shown
    assert client.get_metric_history(run.info.run_id, "valid/bleu")


@pytest.mark.parametrize(("cause", "status"), [("error", "FAILED"), ("signal", "KILLED")])
def test_mlflow_knows_how_a_run_ended(
    world: Path,
    tmp_path: Path,
    mlflow: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    cause: str,
    status: str,
) -> None:
    def fails(*_: object, **__: object) -> None:
        if cause == "error":
            raise MMTError("no validation")
        os.kill(os.getpid(), signal.SIGTERM)

    store = (tmp_path / "store").as_uri()
    short = ("regime.num_steps=6", "regime.report_every=2", "regime.validate_every=2")
    monkeypatch.setattr("mmt.training.mlflow_recorder.MLflowRecorder.record_metric_values", fails)
    with pytest.raises((MMTError, Stopped)):
        train(tmp_path / "run", config(world, f"mlflow.tracking_uri={store}", *short, fusion="none"))
    run_id = (tmp_path / "run" / "mlflow.run").read_text().strip()
    assert mlflow.MlflowClient(tracking_uri=store).get_run(run_id).info.status == status


def test_an_interruption_while_mlflow_gets_the_parameters_leaves_one_run(
    world: Path, tmp_path: Path, mlflow: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = (tmp_path / "store").as_uri()
    settings = config(world, f"mlflow.tracking_uri={store}", fusion="none")
    (tmp_path / "run").mkdir()

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "log_param", interrupted)
        with pytest.raises(KeyboardInterrupt):
            MLflowRecorder(tmp_path / "run", settings, StopSwitch())
    MLflowRecorder(tmp_path / "run", settings, StopSwitch())
    client = mlflow.MlflowClient(tracking_uri=store)
    assert len(client.search_runs([client.get_experiment_by_name("mmt").experiment_id])) == 1


def test_mlflow_that_cannot_be_reached_is_named_and_one_that_is_lost_ends_no_training(
    world: Path,
    tmp_path: Path,
    mlflow: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    short = ("regime.num_steps=4", "regime.report_every=2", "regime.validate_every=2")
    with pytest.raises(MMTError, match=r"mlflow\.tracking_uri http://127\.0\.0\.1:9: .* leave it out"):
        train(tmp_path / "run", config(world, "mlflow.tracking_uri=http://127.0.0.1:9", *short, fusion="none"))

    address = "mlflow.tracking_uri=http://ann:password@127.0.0.1:9"
    with pytest.raises(MMTError, match=r"mlflow\.tracking_uri http://\*\*\*@127\.0\.0\.1:9: ") as refused:
        train(tmp_path / "run", config(world, address, *short, fusion="none"))
    assert "password" not in str(refused.value)

    def lost(*_: object, **__: object) -> None:
        raise ConnectionError("the server is gone")

    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", lost)
    recorder = f"mlflow.tracking_uri={(tmp_path / 'store').as_uri()}"
    train(tmp_path / "other", config(world, recorder, *short, fusion="none"))
    assert capsys.readouterr().err.count("MLflow: nothing is recorded any more (the server is gone).") == 1
    assert (tmp_path / "other" / "model" / "mmt.json").is_file()
