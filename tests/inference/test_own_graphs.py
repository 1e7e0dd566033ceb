"""A model folder's own graphs give the answers of its weights, and are never used for other weights."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from mmt import Translator
from mmt.cli.main import main
from mmt.cli.reading import Reading
from mmt.data.feature_store import FeatureStore
from mmt.errors import MMTError
from mmt.evidence import collect
from mmt.evidence.models import open_systems
from mmt.inference import onnx_export, torch_runtime
from mmt.inference.describe import describe
from mmt.inference.ensemble import EnsembleTranslator
from mmt.inference.onnx_export import export_into
from mmt.inference.onnx_runtime import Graphs
from mmt.inference.open import Runtime, open_translator
from mmt.inference.own_graphs import EXPORTED, FolderTranslator, write_made_from
from mmt.inference.scoring import score_pairs
from mmt.inference.translator import BaseTranslator, Translation
from mmt.io.text_files import file_checksum
from mmt.model.card import read_card
from mmt.model.folder import load_model, save_model
from mmt.training import graphs
from mmt.training.recipe import train
from tests.worlds import config, sentences

SENTENCES = [source for source, _ in sentences(12, 7)]
TARGETS = [target for _, target in sentences(12, 7)]
IMAGES = [None if number % 3 == 0 else f"test-{2 * (number % 4)}.png" for number in range(len(SENTENCES))]
EXPORTS = ("decoding.export=true", "regime.num_steps=150", "regime.report_every=50", "regime.validate_every=50")


@pytest.fixture(scope="module")
def trained(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model folder of a short training, which ended with an export."""
    return train(tmp_path_factory.mktemp("trained") / "run", config(world, *EXPORTS))


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run" / "model"))


def said(translator: BaseTranslator, images: list[str | None] | None = IMAGES, **how: float) -> list[list[str]]:
    found = translator.hypotheses(SENTENCES, images, beam_size=3, n_best=3, **how)  # type: ignore[arg-type]
    return [[one.text for one in of_sentence] for of_sentence in found]


def scores(found: list[list[Translation]]) -> list[float]:
    return [one.score for of_sentence in found for one in of_sentence]


def refusal(*arguments: object) -> str:
    result = CliRunner().invoke(main, [str(one) for one in arguments], input="A dog.")
    assert result.exit_code == 2, result.output
    return result.output


def test_a_training_ends_with_graphs_that_say_what_the_weights_say(trained: Path, world: Path) -> None:
    fast = Translator.from_dir(trained, world / "features")
    slow = torch_runtime.Translator.from_dir(trained, world / "features")
    assert isinstance(fast, FolderTranslator)
    expected = slow.hypotheses(SENTENCES, IMAGES, beam_size=3, n_best=3)
    assert said(fast) == [[one.text for one in of_sentence] for of_sentence in expected]
    assert len({text for texts in said(fast) for text in texts}) > 12
    found = fast.hypotheses(SENTENCES, IMAGES, beam_size=3, n_best=3)
    assert scores(found) == pytest.approx(scores(expected), abs=1e-5)
    assert scores(found) != scores(expected)  # so that it was not torch
    assert fast.runtime == "ONNX Runtime (the model's graphs)"
    about = json.loads((trained / EXPORTED / "made_from.json").read_text())
    assert about["validation_bleu"].keys() == {"float32", "int8"}
    validated = describe(trained)["validation"]["validation_bleu"]
    assert about["validation_bleu"]["float32"] == pytest.approx(validated, abs=0.01)


def test_what_graphs_cannot_do_is_done_in_torch(trained: Path, world: Path, tmp_path: Path) -> None:
    fast, slow = (open_translator(trained, store, runtime=kind) for kind, store in _both(world))
    for how, why in (({"guidance": 2.0}, "guidance 2"), ({}, "a restricted vocabulary")):
        if not how:
            (tmp_path / "de.txt").write_text("\n".join(TARGETS[:2]))
            for one in (fast, slow):
                one.restrict_vocabulary(tmp_path / "de.txt")
            assert fast.vocabulary is not None
        assert said(fast, **how) == said(slow, **how)  # type: ignore[arg-type]
        assert why in fast.runtime
    assert fast.runtime.startswith("torch (")
    wide = open_translator(trained, runtime="auto")
    assert isinstance(wide, FolderTranslator)
    wide.translate(["A dog."], beam_size=wide.widest_beam + 1)
    assert wide.runtime.startswith("torch (beam size")


def _both(world: Path) -> list[tuple[Runtime, FeatureStore]]:
    store = FeatureStore.open(world / "features")
    return [("auto", store), ("torch", store)]


def test_scores_are_those_of_the_weights(trained: Path, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fast, slow = (open_translator(trained, store, runtime=kind) for kind, store in _both(world))
    expected = [one.log_prob for one in score_pairs(slow, SENTENCES, TARGETS, IMAGES)]
    found = [one.log_prob for one in score_pairs(fast, SENTENCES, TARGETS, IMAGES)]
    assert found == pytest.approx(expected, abs=1e-4)
    assert found != expected  # though torch is loaded
    assert fast.runtime == "ONNX Runtime (the model's graphs)"
    monkeypatch.setattr(Graphs, "__init__", _without_log_probs(Graphs.__init__))
    fast, alone = (open_translator(trained, _both(world)[0][1], runtime=kind) for kind in ("auto", "onnx"))
    assert [one.log_prob for one in score_pairs(fast, SENTENCES, TARGETS, IMAGES)] == expected
    assert fast.runtime.startswith("torch (scores: ")
    with pytest.raises(MMTError, match=r"cannot score translations.*--runtime auto"):
        score_pairs(alone, SENTENCES, TARGETS, IMAGES)


def _without_log_probs(own: Callable[..., None]) -> Callable[..., None]:
    def init(graphs: Graphs, *arguments: object) -> None:
        own(graphs, *arguments)
        graphs.gives_log_probs = False

    return init


def test_an_ensemble_is_restricted_as_in_torch(trained: Path, world: Path, tmp_path: Path) -> None:
    (tmp_path / "de.txt").write_text("\n".join(TARGETS[:2]))
    found = []
    for runtime, store in _both(world):
        members = [open_translator(trained, runtime=runtime) for _ in range(2)]
        ensemble = EnsembleTranslator(members, [trained, trained], store)
        ensemble.restrict_vocabulary(tmp_path / "de.txt")
        found.append(said(ensemble))
    assert found[0] == found[1]
    joined = f"{trained}+{trained}"
    more = ("--runtime", "onnx", "--vocabulary", tmp_path / "de.txt")
    assert "cannot restrict their vocabulary" in refusal("translate", "--model", joined, *more)


def test_runtime_onnx_never_loads_the_weights(
    trained: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loaded(*_: object, **__: object) -> None:
        raise AssertionError("torch")

    monkeypatch.setattr(torch_runtime.Translator, "from_dir", loaded)
    store = _both(world)[0][1]
    alone = open_translator(trained, store, runtime="onnx")
    assert alone.translate(SENTENCES, IMAGES) == open_translator(trained, store, runtime="auto").translate(
        SENTENCES, IMAGES
    )
    assert len(score_pairs(alone, SENTENCES, TARGETS, IMAGES)) == len(SENTENCES)
    (tmp_path / "pairs.tsv").write_text("A dog.\ttest-0.png\n")
    pairs, files = tmp_path / "pairs.tsv", ("--images", world / "data_images")
    for more, why in {
        ("--guidance", 2, "--input", pairs, "--images", world / "features"): "guidance 2.0: an exported model",
        ("--vocabulary", pairs): "cannot restrict their vocabulary",
        ("--beam-size", 1000): "beam size 1000: expected at most",
        ("--input", pairs, *files): "take images' features from a store, not from files",
    }.items():
        told = refusal("translate", "--model", trained, "--runtime", "onnx", *more)
        assert why in told
        assert "se --runtime auto." in told
    (tmp_path / "de.txt").write_text("Ein Hund.\n")
    given = ("--source", pairs, "--target", tmp_path / "de.txt", *files)
    assert "from a store, not from files" in refusal(
        "score-pairs", "--model", trained, "--runtime", "onnx", *given
    )


def test_one_sentence_loads_no_torch(trained: Path) -> None:
    code = (
        "import sys; from mmt.cli.main import main; main(sys.argv[1:], standalone_mode=False); "
        "names = 'torch', 'fairseq2', 'langcodes', 'PIL'; "
        "print([name for name in names if name in sys.modules], file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, "translate", "--model", str(trained)]
    done = subprocess.run(command, input="A dog sees the cat.", capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == torch_runtime.Translator.from_dir(trained).translate(
        ["A dog sees the cat."]
    )
    assert done.stderr.splitlines()[-1] == "[]"
    assert "ONNX Runtime (the model's graphs)" in done.stderr


def test_graphs_of_other_weights_are_never_used(copy: Path) -> None:
    model, tokenizer, card = load_model(copy)
    weights = {name: value * 1.5 for name, value in model.state_dict().items()}
    shutil.move(copy / EXPORTED, copy.parent / "kept")
    save_model(copy, weights, tokenizer.path, card)
    shutil.move(copy.parent / "kept", copy / EXPORTED)
    translator = Translator.from_dir(copy)
    assert translator.translate(SENTENCES) == torch_runtime.Translator.from_dir(copy).translate(SENTENCES)
    assert re.fullmatch(r"torch \(.*exported is of other weights; mmt export .*\)", translator.runtime)
    assert "of other weights" in refusal("translate", "--model", copy, "--runtime", "onnx")
    assert describe(copy)["exported graphs"] == []


@pytest.mark.parametrize("file", ["decoder.float32.onnx", "made_from.json", "mmt.json"])
def test_damaged_graphs_are_never_used(copy: Path, file: str) -> None:
    whole = (copy / EXPORTED / file).read_bytes()
    (copy / EXPORTED / file).write_bytes(whole[: len(whole) // 2])
    translator = Translator.from_dir(copy)
    assert translator.translate(["A dog."])
    assert "damaged" in translator.runtime


def test_scores_after_another_export_are_those_of_the_weights(copy: Path) -> None:
    """The decoder's file is opened for the first score, and is another by then."""
    fast, slow, alone = (open_translator(copy, None, runtime=kind) for kind in ("auto", "torch", "onnx"))
    (copy / EXPORTED / "decoder.float32.onnx").write_bytes(b"another")
    expected = [one.log_prob for one in score_pairs(slow, SENTENCES, TARGETS)]
    assert [one.log_prob for one in score_pairs(fast, SENTENCES, TARGETS)] == expected
    assert re.match(r"torch \(scores: .*decoder.float32.onnx: damaged", fast.runtime)
    with pytest.raises(MMTError, match=r"decoder.float32.onnx: damaged.* exported again .* open it again"):
        score_pairs(alone, SENTENCES, TARGETS)
    assert alone.translate(["A dog."])


def test_precisions(copy: Path) -> None:
    assert open_translator(copy, None, "int8", "auto").runtime.startswith("ONNX")
    assert open_translator(copy, None, "bfloat16", "auto").runtime == (
        f"torch ({copy / EXPORTED} has graphs in float32 and int8, not in bfloat16)"
    )
    (copy / EXPORTED / "encoder.int8.onnx").unlink()
    assert "has graphs in float32, not in int8" in open_translator(copy, None, "int8", "auto").runtime
    said = refusal("translate", "--model", copy, "--runtime", "onnx", "--precision", "int8")
    assert "has graphs in float32, not in int8. Or use --runtime auto." in said
    assert describe(copy)["exported graphs"] == ["float32"]


def _instead(trained: Path) -> Callable[..., None]:
    def export(folder: Path, out: Path, *more: object, **how: object) -> None:
        shutil.copytree(trained / EXPORTED, out)

    return export


def test_a_kill_leaves_a_folder_without_graphs_and_a_rerun_adds_them(
    trained: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(onnx_export, "export_model", _instead(trained))
    run = Path(shutil.copytree(trained.parent, tmp_path / "run"))

    def killed(*_: object) -> dict[str, float]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(graphs, "exported_bleu", killed)
        with pytest.raises(KeyboardInterrupt):
            train(run, config(world, *EXPORTS))
    assert "no exported graphs" in Translator.from_dir(run / "model").runtime
    assert describe(run / "model")["exported graphs"] == []
    assert [path.name for path in run.iterdir() if "writing" in path.name or path.name.endswith(".lock")] == []
    train(run, config(world, *EXPORTS))
    assert describe(run / "model")["exported graphs"] == ["float32", "int8"]
    assert "validation BLEU: float32" in capsys.readouterr().err


def test_int8_that_loses_more_than_a_tenth_is_dropped(
    trained: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_export, "export_model", _instead(trained))
    export_into(copy, judge=lambda _: {"float32": 30.0, "int8": 29.9})
    assert describe(copy)["exported graphs"] == ["float32", "int8"]
    export_into(copy, judge=lambda _: {"float32": 30.0, "int8": 29.89})
    assert describe(copy)["exported graphs"] == ["float32"]
    assert Translator.from_dir(copy).runtime.startswith("ONNX")
    assert sorted(path.name for path in copy.parent.iterdir()) == ["model"]


def test_a_model_that_cannot_be_exported_is_reported(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("decoding.export=true", "model.text_encoder=lstm", "regime.num_steps=3", "regime.keep_last=1")
    model = train(tmp_path / "run", config(world, *more, fusion="none"))
    assert "graphs: none, text_encoder 'lstm' cannot be exported" in capsys.readouterr().err
    assert Translator.from_dir(model).runtime.startswith("torch (no exported graphs")
    assert sorted(path.name for path in model.iterdir()) == [
        "mmt.json", "model.safetensors", "pieces.json", "tokenizer.model",
    ]  # fmt: skip


def test_evidence_gets_the_answers_of_the_weights(trained: Path, world: Path) -> None:
    found = []
    for runtime in ("auto", "torch"):
        with open_systems(
            {"model": [trained]},
            world / "data",
            [world / "features"],
            runtime=runtime,
        ) as systems:
            (system,) = systems["model"]
            assert system.in_torch is not None
            assert system.in_torch.features is system.translator.features
            translations = system.translate(SENTENCES, IMAGES)
            about = system.describe()
            assert about.pop("runtime", None) == ("onnx" if runtime == "auto" else None)
            found.append((translations, system.score(SENTENCES, IMAGES, TARGETS), about))
    assert found[0] == found[1]
    assert found[0][2]["parameters"] > 0


def test_evidence_translates_in_so_many_threads(
    trained: Path, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_systems(
        {"model": [trained]}, world / "data", [world / "features"], runtime="auto", threads=3
    ) as systems:
        assert systems["model"][0].translator.num_threads == 3
    found: dict[str, object] = {}

    def opened(*_: object, **settings: object) -> None:
        found.update(settings)
        raise MMTError("not today.")

    monkeypatch.setattr(collect, "open_systems", opened)
    more = ("--runtime", "onnx", "--threads", torch.get_num_threads())
    assert "not today." in refusal("evidence", "--model", trained, "--data", world / "data", *more)
    assert found == {"runtime": "onnx", "threads": torch.get_num_threads()}


def test_only_a_model_folder_is_exported_into_itself(trained: Path) -> None:
    for more in (("--layout", "marian"), ("--vocabulary", trained / "mmt.json")):
        assert "--out is missing" in refusal("export", "--model", trained, *more)
    with pytest.raises(MMTError, match=r"no mmt\.json"):
        export_into(trained / "nowhere")


def test_graphs_in_a_model_folder_are_never_fewer_than_asked(trained: Path) -> None:
    for more in (("--no-backbone",), ("--backbone-precision", "int8")):
        assert "graphs in a model folder have no backbone" in refusal("export", "--model", trained, *more)
    assert "expected float32, too" in refusal("export", "--model", trained, "--precision", "int8")
    assert describe(trained)["exported graphs"] == ["float32", "int8"]


def test_shards_share_the_runtime(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[object] = []

    def parts(*_: object, options: list[object], **__: object) -> None:
        found.append(options)

    monkeypatch.setattr(Reading, "parts", parts)
    (tmp_path / "en.txt").write_text("A dog.\n")
    command = ["translate", "--model", copy, "--precision", "int8", "--input", tmp_path / "en.txt"]
    for exported in (True, True, False):
        if not exported:
            shutil.rmtree(copy / EXPORTED)
        result = CliRunner().invoke(main, [str(one) for one in command])
        assert result.exit_code == 0, result.output
    assert found[0] == found[1] != found[2]


def test_weights_are_read_only_where_they_may_have_changed(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = copy / "model.safetensors"
    read: list[str] = []

    def checksum(path: Path) -> str:
        read.append(path.name)
        return file_checksum(path)

    def opens() -> bool:
        read.clear()
        return bool(describe(copy)["exported graphs"])

    monkeypatch.setattr("mmt.inference.own_graphs.file_checksum", checksum)
    os.utime(weights, ns=(0, 10**18 + 1))
    assert opens()
    assert read.count(weights.name) == 1
    card = read_card(copy)
    write_made_from(copy / EXPORTED, copy, card, {})
    assert opens()
    assert weights.name not in read
    os.utime(weights, ns=(0, 10**18))  # whole seconds, as archives write them
    write_made_from(copy / EXPORTED, copy, card, {})
    assert opens()
    assert weights.name in read
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    os.utime(weights, ns=(0, 10**18))
    assert not opens()
    assert weights.name in read
