"""Training for labels and scores, and what a finished model says: `mmt predict`, and its scores with controls."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from eval import labels as eval_labels
from mmt.cli.main import main
from mmt.data.dataset import DatasetInfo, read_split, write_dataset
from mmt.data.feature_signature import FeatureSignature
from mmt.data.feature_store import FeatureStore
from mmt.data.labels import label_names, read_column, with_labels
from mmt.errors import MMTError
from mmt.features.backbone import Backbone
from mmt.features.load import load_backbone
from mmt.features.writer import FeatureWriter
from mmt.inference.labelling import predict
from mmt.inference.scoring import score_pairs
from mmt.inference.torch_runtime import Translator
from mmt.model.card import read_card
from mmt.training.config_file import read_config
from mmt.training.recipe import train
from tests.worlds import SETTINGS, assert_same_weights, tiny_folder, weights

WORDS = {"fine": 1, "plain": 0, "poor": -1}
ROOM, BINS = 12, 8
LABELS = ["data.label=label", "data.score=score", "objectives.translation=0"]
BOTH = [*LABELS, "objectives.classification=1", "objectives.regression=1"]


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentences whose label is the word's sign times the recording's: neither of them alone tells."""
    folder = tmp_path_factory.mktemp("spoken")
    generator = np.random.default_rng(0)
    splits: dict[str, list[dict[str, object]]] = {}
    ids, frames = [], []
    for split, size in (("train", 120), ("val", 24), ("test", 30)):
        splits[split] = []
        for number in range(size):
            word, voice = list(WORDS)[number % 3], (-1, 1)[number // 3 % 2]
            name = f"{split}-{number}.wav"
            score = WORDS[word] * voice
            label = {1: "positive", 0: "neutral", -1: "negative"}[score]
            splits[split].append(
                {
                    "id": name, "image": name, "source": f"A {word} day.", "target": "", "has_image": True,
                    "label": label, "score": float(score), "kind": "both" if score else "text",
                }
            )  # fmt: skip
            values = generator.normal(size=(ROOM, BINS)).astype(np.float32) * 0.1 + voice
            values[generator.integers(4, ROOM) :] = np.nan
            ids.append(name)
            frames.append(values)
    write_dataset(folder / "data", DatasetInfo("tiny_spoken", "en", "en", str(folder / "none")), splits)
    signature = FeatureSignature("logmel80", "grid", "none", "cd" * 32, ROOM, BINS)

    rows = np.stack(frames)
    with FeatureWriter(folder / "features", signature, "float32") as writer:
        writer.append(ids, rows)
        writer.finish()
    return folder


def settings(folder: Path, *more: str) -> list[str]:
    return [
        f"data.path={folder / 'data'}", *SETTINGS, f"images.features={folder / 'features'}", "model.fusion=late",
        "model.image_encoder=frames", "model.num_frame_layers=0", "text.vocab_size=290", "data.max_tokens=300",
        "model.dropout_p=0", "optimizer.lr=0.01", *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def trained(spoken: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("trained") / "run"
    steps = ("regime.num_steps=90", "regime.validate_every=30", "regime.report_every=30")
    train(output, read_config(None, settings(spoken, *BOTH, *steps)))
    return output


def test_labels_and_scores_are_learnt_together_from_words_and_voice(trained: Path, spoken: Path) -> None:
    card = read_card(trained / "model")
    assert card.labels == ["negative", "neutral", "positive"]
    assert card.training["validation_accuracy"] > 90  # either alone: at most 67
    translator = Translator.from_dir(trained / "model", spoken / "features")
    names = [f"test-{n}.wav" for n in range(6)]
    said = predict(translator, ["A fine day.", "A plain day.", "A poor day."] * 2, names)
    assert [one.label for one in said] == ["negative", "neutral", "positive", "positive", "neutral", "negative"]
    truth = [-1, 0, 1, 1, 0, -1]
    assert all(abs((one.score or 9) - score) < 0.5 for one, score in zip(said, truth, strict=True) if score)
    assert all(one.probability is not None and 0.3 < one.probability <= 1 for one in said)


def test_an_interrupted_run_for_labels_ends_as_an_undisturbed_one(spoken: Path, tmp_path: Path) -> None:
    """Masks of frames and dropout included."""
    more = [*BOTH, "model.dropout_p=0.2", "model.fusion=early"]
    train(tmp_path / "whole", read_config(None, settings(spoken, *more, "regime.num_steps=6")))
    train(tmp_path / "parts", read_config(None, settings(spoken, *more, "regime.num_steps=3")))
    train(tmp_path / "parts", read_config(None, settings(spoken, *more, "regime.num_steps=6")))
    assert_same_weights(weights(tmp_path / "whole", 6), weights(tmp_path / "parts", 6))


def test_retrieval_alone_trains_two_streams_that_meet_in_the_loss(world: Path, tmp_path: Path) -> None:
    found = {}
    for negatives in ("all", "hardest"):
        more = ["objectives.translation=0", "objectives.contrastive=1", f"objectives.negatives={negatives}",
                "model.num_decoder_layers=0", "data.max_tokens=400"]  # fmt: skip
        given = [f"data.path={world / 'data'}", f"images.features={world / 'features'}", *SETTINGS, *more]
        train(tmp_path / negatives, read_config(None, given))
        card = read_card(tmp_path / negatives / "model")
        assert card.features is not None
        assert 0 <= card.training["validation_recall"] <= 100
        found[negatives] = weights(tmp_path / negatives, 12)
        assert not any(name.startswith(("decoder", "fusion")) for name in found[negatives])
    assert any(not torch.equal(found["all"][name], found["hardest"][name]) for name in found["all"])


def test_a_model_without_a_pen_refuses_to_write(trained: Path) -> None:
    with pytest.raises(MMTError, match=r"writes nothing.*mmt predict"):
        Translator.from_dir(trained / "model").translate(["A fine day."])
    with pytest.raises(MMTError, match=r"writes nothing"):
        score_pairs(Translator.from_dir(trained / "model"), ["A fine day."], ["Ein Tag."])


def test_a_translation_model_refuses_to_label(world: Path, tmp_path: Path) -> None:
    translator = Translator.from_dir(tiny_folder(tmp_path / "model", world))
    with pytest.raises(MMTError, match="gives no labels"):
        predict(translator, ["A dog."])


def test_predict_writes_one_line_a_sentence(trained: Path, spoken: Path, tmp_path: Path) -> None:
    common = ["predict", "--model", str(trained / "model"), "--data", str(spoken / "data"), "--images",
              str(spoken / "features"), "--quiet"]  # fmt: skip
    out = tmp_path / "said.jsonl"
    result = CliRunner().invoke(main, [*common, "--output", str(out)])
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(lines) == 30
    assert list(lines[0]) == ["source", "image", "label", "probability", "score", "out_of_domain"]
    result = CliRunner().invoke(main, [*common, "--image-control", "blank"])
    rows = [line.split("\t") for line in result.output.splitlines()]
    assert len(rows) == 30
    assert all(len(row) == 3 for row in rows)
    # without the voices, equal words are labelled alike
    assert len({tuple(row) for row in rows[::3]}) == 1


def test_a_recording_of_another_rate_is_resampled_and_it_is_said(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import soundfile

    class Frames(Backbone):  # of the tiny world's signature, which no backbone has
        def __init__(self) -> None:
            torch.nn.Module.__init__(self)
            self.real = load_backbone("logmel80:1")
            self.notes, self.things = self.real.notes, self.real.things
            self.signature = read_card(trained / "model").features

        def read(self, source: object) -> torch.Tensor:
            return self.real.read(source)[:ROOM, :BINS]  # type: ignore[arg-type]

        def stack(self, read: object) -> torch.Tensor:
            return self.real.stack(read)  # type: ignore[arg-type]

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images

    monkeypatch.setattr("mmt.features.load.load_backbone", lambda *_: Frames())
    tone = np.sin(np.arange(22_050) / 20) * 0.3
    soundfile.write(tmp_path / "tone.wav", tone, 22_050)
    soundfile.write(tmp_path / "silent.wav", tone * 0, 16_000)
    (tmp_path / "in.tsv").write_text("A fine day.\ttone.wav\n")
    args = ["predict", "--model", str(trained / "model"), "--input", str(tmp_path / "in.tsv")]
    result = CliRunner().invoke(main, args)
    assert result.exit_code == 0, result.output
    assert "1 with image; some resampled from 22,050 Hz" in result.output
    (tmp_path / "in.tsv").write_text("A fine day.\tsilent.wav\n")
    assert "silent.wav: is silent" in CliRunner().invoke(main, args).output
    skipped = CliRunner().invoke(main, [*args, "--missing-images", "skip"])
    assert "0 with image, 1 image missing" in skipped.output


def test_the_scores_of_a_split_come_with_controls_and_the_prior(
    trained: Path, spoken: Path, tmp_path: Path
) -> None:
    name, model, data = "late", str(trained / "model"), str(spoken / "data")
    args = [str(tmp_path), "--system", name, model, data, "--images", str(spoken / "features"), "--draws", "2"]
    result = CliRunner().invoke(eval_labels.main, args)
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "result.json").read_text())
    assert found["prior"]["accuracy"] == pytest.approx(100 / 3)
    late = found["systems"]["late"]
    assert late["right"]["mean"]["accuracy"] == found["value"] > 90
    assert late["wrong"]["mean"]["accuracy"] < 80  # half of the other voices are the other sign
    assert set(late["right"]["by_kind"]) == {"both", "text"}
    assert late["right"]["by_kind"]["both"]["items"] == 20
    assert sum(map(sum, late["right"]["pooled"]["confusion"])) == 30
    assert (tmp_path / "confusion.png").exists()


def test_images_without_features_are_named(trained: Path, spoken: Path, tmp_path: Path) -> None:
    store = FeatureStore.open(spoken / "features")
    gone = next(row["image"] for row in read_split(spoken / "data", "test") if row["has_image"])
    ids = [name for name in store.ids if name != gone]
    with FeatureWriter(tmp_path / "fewer", store.signature, "float32") as writer:
        writer.append(ids, store.get(ids))
        writer.finish()
    args = [str(tmp_path / "out"), "--system", "x", str(trained / "model"), str(spoken / "data"), "--draws", "1"]
    result = CliRunner().invoke(eval_labels.main, [*args, "--images", str(tmp_path / "fewer")])
    assert result.exit_code == 0, result.output
    assert f"1 image without features in {tmp_path / 'fewer'}: '{gone}'" in result.stderr


def test_unknown_labels_are_refused_or_count_as_wrong(spoken: Path) -> None:
    examples = [None] * 24
    from mmt.data.batch import Example

    given = [Example([5], []) for _ in examples]
    names = ["neutral", "positive"]
    with pytest.raises(MMTError, match=r"val row \d+: the label 'negative' is not among"):
        with_labels(
            given, spoken / "data", "val", label="label", names=names, rare_ones_left_out=False, score=None
        )
    found = with_labels(
        given, spoken / "data", "val", label="label", names=names, rare_ones_left_out=True, score="score"
    )
    truth = read_column(spoken / "data", "val", "label", str)
    assert [e.label for e in found] == [names.index(t) if t in names else -1 for t in truth]
    assert [e.score for e in found] == read_column(spoken / "data", "val", "score", float)


def test_labels_are_the_most_frequent_first(spoken: Path) -> None:
    assert label_names(spoken / "data", "train", "kind", None) == ["both", "text"]
    # equally frequent ones in the order of the alphabet
    assert label_names(spoken / "data", "train", "label", 2) == ["negative", "neutral"]


@pytest.mark.parametrize(
    ("column", "kind", "said"),
    [
        ("lable", str, "no column 'lable'.*Did you mean 'label'"),
        ("score", str, "expected text in 'score'"),
        ("label", float, "expected a finite number in 'label', found"),
    ],
)
def test_a_column_of_another_kind_is_refused(spoken: Path, column: str, kind: type, said: str) -> None:
    with pytest.raises(MMTError, match=said):
        read_column(spoken / "data", "train", column, kind)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["objectives.classification=1"], "objectives.classification is set, but data.label is not"),
        (["data.score=score"], "data.score is set, but objectives.regression is not"),
        ([*BOTH, "model.num_decoder_layers=0"], "readout is 'decoder', with 0 decoder layers"),
        (["model.num_decoder_layers=0", "model.fusion=gated"], "translating wants a decoder"),
        ([*BOTH, "model.num_decoder_layers=0", "model.readout=mean"], "its decoder looks at the image"),
        ([*BOTH, "model.fusion=early", "model.text_encoder=lstm"], "which an LSTM"),
        ([*BOTH, "model.fusion=none", "images.features=null", "model.reads_text=false"], "nothing else to go by"),
        ([*BOTH, "regime.score=recall"], "regime.score is 'recall', but objectives.contrastive"),
        ([*BOTH, "regime.score=bleu"], "learns no translation"),
        ([*BOTH, "data.num_labels=1"], "expected at least 2"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(spoken: Path, changes: list[str], said: str) -> None:
    with pytest.raises(MMTError, match=said):
        read_config(None, settings(spoken, *changes))
