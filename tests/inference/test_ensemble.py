"""Ensembles: the mean of the members' probabilities, in every runtime and precision."""

from __future__ import annotations

import itertools
import math
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from mmt.cli.main import main
from mmt.data.batch import Batch, Example, collate
from mmt.data.feature_signature import FeatureSignature
from mmt.data.feature_store import FeatureStore, open_features
from mmt.data.tokenizer import BOS, EOS, PAD, Tokenizer, train_tokenizer
from mmt.data.vocabulary import VOCABULARY, pieces_of_file
from mmt.errors import MMTError
from mmt.evidence.models import open_systems
from mmt.features.backbone import Backbone
from mmt.inference import onnx_runtime
from mmt.inference.beam import TorchState
from mmt.inference.ensemble import EnsembleState, EnsembleTranslator, best_candidates, log_mean, members_of
from mmt.inference.onnx_export import export_model
from mmt.inference.open import open_translator
from mmt.inference.scoring import score_pairs
from mmt.inference.search import Hypothesis, SearchOptions, search
from mmt.inference.torch_runtime import Translator
from mmt.inference.translator import BaseTranslator, SentenceBatch, Translation
from mmt.model.card import ModelCard
from mmt.model.folder import save_model
from mmt.model.model import MMTModel
from mmt.model.stepping import Precision, StepDecoder
from tests.worlds import DIM, ONE_LAYER, make_features, sentences, tiny_folder, tiny_model

PAIRS = sentences(12, 5)
SOURCES, TARGETS = [source for source, _ in PAIRS], [target for _, target in PAIRS]
IMAGES = [f"train-{2 * (n % 5)}.png" if n % 3 else None for n in range(len(PAIRS))]
WIDE: dict[str, Any] = {"model_dim": 24, "num_heads": 3, "norm_order": "pre", "num_encoder_layers": 1}


@pytest.fixture(scope="module")
def folders(world: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A text-only model, and two with images: of another fusion, other sizes and another norm order."""
    folder = tmp_path_factory.mktemp("members")
    return [
        tiny_folder(folder / "none", world),
        tiny_folder(folder / "gated", world, "gated", seed=1),
        tiny_folder(folder / "hybrid", world, "hybrid", seed=2, **WIDE),
    ]


@pytest.fixture(scope="module")
def ensemble(world: Path, folders: list[Path]) -> BaseTranslator:
    return Translator.from_dir(folders, world / "features")


def ids_of(found: Sequence[Sequence[Translation]]) -> list[list[str]]:
    return [[one.text for one in of_sentence] for of_sentence in found]


def scores_of(found: Sequence[Sequence[Translation]]) -> list[float]:
    return [one.score for of_sentence in found for one in of_sentence]


def same(ours: Sequence[Sequence[Translation]], theirs: Sequence[Sequence[Translation]], by: float = 1e-5) -> None:
    assert ids_of(ours) == ids_of(theirs)
    assert scores_of(ours) == pytest.approx(scores_of(theirs), abs=by)


def found(translator: BaseTranslator, images: list[str | None] | None = IMAGES, **options: Any) -> Any:
    return translator.hypotheses(SOURCES, images, **{"beam_size": 4, "n_best": 3, "length_penalty": 0.7} | options)


# --- against a direct computation ---------------------------------------------------------------------------


def next_p(model: MMTModel, batch: Batch, row: int, prefix: list[int], guidance: float) -> np.ndarray[Any, Any]:
    """(V) float64 probabilities of the token after ``prefix``, the model run on one sentence without a cache."""
    alone = collate([Example(batch.source[row, : batch.source_lens[row] - 1].tolist(), prefix)])
    with torch.no_grad():
        logits = text = model.logits(alone)[0, len(prefix)].double()
        if model.uses_images and batch.image is not None and batch.image_pad is not None:
            alone.image, alone.image_pad = batch.image[row : row + 1], batch.image_pad[row : row + 1]
            logits = model.logits(alone)[0, len(prefix)].double()
    return torch.softmax(text + guidance * (logits - text), 0).numpy()  # type: ignore[no-any-return]


def all_translations(
    models: list[MMTModel], batch: Batch, row: int, limit: int, penalty: float, guidance: float
) -> list[Hypothesis]:
    """Every translation of at most ``limit`` tokens, best first, each scored by multiplying mean probabilities."""
    scored = []
    for length in range(limit):
        for ids in itertools.product(range(7), repeat=length):
            if {PAD, BOS, EOS} & {*ids}:
                continue
            total = 0.0
            for position, token in enumerate([*ids, EOS]):
                p = [next_p(model, batch, row, list(ids[:position]), guidance)[token] for model in models]
                total += math.log(sum(p) / len(p))
            scored.append(Hypothesis(list(ids), total / (length + 1) ** penalty))
    return sorted(scored, key=lambda h: -h.score)


@pytest.mark.parametrize("guidance", [1.0, 1.5])
def test_a_search_as_wide_as_all_translations_finds_them_by_their_mean_probabilities(guidance: float) -> None:
    models = [tiny_model(7), tiny_model(7, "gated", 1), tiny_model(7, "hybrid", 2, **WIDE)]
    batch = collate([Example([5, 6, 4], []), Example([6], [])])
    torch.manual_seed(5)
    batch.image, batch.image_pad = torch.randn(2, 1, DIM), torch.tensor([[False], [True]])
    text = collate([Example([5, 6, 4], []), Example([6], [])])
    states = [
        TorchState(StepDecoder(model), batch if model.uses_images else text, 32, 3, guidance) for model in models
    ]
    results = search(EnsembleState(states, [None] * 3, None), [3, 3], SearchOptions(32, 0.8), [(BOS,)] * 2)
    for row, hypotheses in enumerate(results):
        expected = all_translations(models, batch, row, 3, 0.8, guidance)
        assert len(expected) == 1 + 4 + 16
        assert [h.ids for h in hypotheses] == [h.ids for h in expected]
        assert [h.score for h in hypotheses] == pytest.approx([h.score for h in expected], abs=1e-5)


def test_a_pair_is_scored_by_mean_probabilities(ensemble: BaseTranslator) -> None:
    assert isinstance(ensemble, EnsembleTranslator)
    members = [member for member in ensemble.members if isinstance(member, Translator)]
    store = ensemble.features
    assert store is not None
    expected = []
    for source, target, image in zip(SOURCES, TARGETS, IMAGES, strict=True):
        ids, total = ensemble.encode(target, target=True), 0.0
        batch = collate([Example(ensemble.encode(source), [])])
        if image is not None:
            batch.add_images([0], store.get([image]))
        for position, token in enumerate([*ids, EOS]):
            p = [next_p(member.model, batch, 0, ids[:position], 1.0)[token] for member in members]
            total += math.log(sum(p) / 3)
        expected.append(total)
    for max_tokens in (1, 60, 8192):
        scores = score_pairs(ensemble, SOURCES, TARGETS, IMAGES, max_tokens=max_tokens)
        assert [score.log_prob for score in scores] == pytest.approx(expected, abs=1e-3)
        assert [score.with_image for score in scores] == [image is not None for image in IMAGES]


def searched(translator: BaseTranslator, images: list[str | None] | None = IMAGES) -> list[list[Hypothesis]]:
    """The hypotheses of all sources, in one batch, with their ids."""
    sources = [translator.encode(source) for source in SOURCES]
    batch = SentenceBatch(sources, translator.features_of(images or [None] * len(sources)), (BOS,))
    (result,) = translator.search_batches([batch], SearchOptions(3), 1.0)
    return result


def test_a_found_translation_is_scored_as_the_search_scored_it(ensemble: BaseTranslator) -> None:
    best = [hypotheses[0] for hypotheses in searched(ensemble)]
    sources = [ensemble.encode(source) for source in SOURCES]
    scores = ensemble.log_probs(sources, ensemble.features_of(IMAGES), [one.ids for one in best])
    means = [score / (len(one.ids) + 1) for score, one in zip(scores, best, strict=True)]
    assert means == pytest.approx([one.score for one in best], abs=1e-4)


def test_the_mean_is_of_probabilities_also_where_they_vanish() -> None:
    log_p = [np.log(np.array([0.2, 0.5], np.float32)), np.log(np.array([0.4, 0.1], np.float32))]
    assert np.exp(log_mean(log_p)) == pytest.approx([0.3, 0.3])
    tiny = [np.array([-500.0, -np.inf, 0], np.float32), np.array([-501.0, -np.inf, -np.inf], np.float32)]
    assert log_mean(tiny)[0] == pytest.approx(-500 + math.log((1 + math.exp(-1)) / 2), abs=1e-4)
    assert log_mean(tiny)[1:].tolist() == pytest.approx([-math.inf, math.log(0.5)])


@pytest.mark.parametrize(("beams", "vocab_size"), [(1, 7), (3, 7), (1, 100), (4, 330), (5, 1000)])
def test_candidates_are_the_best_of_all(beams: int, vocab_size: int) -> None:
    generator = np.random.default_rng(vocab_size)
    log_p = generator.normal(size=(3, beams, vocab_size)).astype(np.float32)
    before = generator.normal(size=(3, beams)).astype(np.float32)
    score, beam, token = best_candidates(log_p, before, 8)
    width = min(8, beams * (vocab_size - 1))
    total = (log_p + before[:, :, None]).reshape(3, -1)
    order = (-total).argsort(axis=1)[:, :width]
    assert np.array_equal(score, np.take_along_axis(total, order, 1))
    assert np.array_equal(beam * vocab_size + token, order)


# --- laws ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_a_model_with_itself_translates_as_it_does_alone(
    folders: list[Path], world: Path, precision: Precision
) -> None:
    alone: BaseTranslator = Translator.from_dir(folders[1], world / "features", precision)
    one = Translator.from_dir(folders[1:2], world / "features", precision)
    twice = Translator.from_dir([folders[1]] * 2, world / "features", precision)
    assert type(one) is Translator
    assert found(one) == found(alone)
    if precision == "bfloat16":  # in which many logits are equal: ties are broken as in an ensemble
        alone = EnsembleTranslator([one.with_features(None)], ["one"], one.features)
    for guidance in (0.0, 1.0, 2.0):
        same(found(twice, guidance=guidance), found(alone, guidance=guidance))
    ours, theirs = (score_pairs(each, SOURCES, TARGETS, IMAGES) for each in (twice, alone))
    assert [one.log_prob for one in ours] == pytest.approx([one.log_prob for one in theirs], abs=1e-6)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_the_order_of_the_members_does_not_matter(folders: list[Path], world: Path, precision: Precision) -> None:
    first = Translator.from_dir(folders, world / "features", precision)
    other = Translator.from_dir(folders[::-1], world / "features", precision)
    same(found(first), found(other))
    alone = [Translator.from_dir(one, precision=precision) for one in folders]
    assert all(scores_of(found(first, None)) != scores_of(found(one, None)) for one in alone)


def test_the_batch_changes_nothing(ensemble: BaseTranslator) -> None:
    same(found(ensemble, max_tokens=1), found(ensemble, max_tokens=100_000))


def test_an_image_reaches_the_members_that_use_images(folders: list[Path], world: Path) -> None:
    ensemble = Translator.from_dir(folders[:2], world / "features")
    with_images, blank = found(ensemble), found(ensemble, image_control="blank")
    same(blank, found(ensemble, None))
    rows = [n for n, image in enumerate(IMAGES) if image is not None]
    for n, (ours, theirs) in enumerate(zip(with_images, blank, strict=True)):
        assert (ours[0].score == pytest.approx(theirs[0].score, abs=1e-5)) == (n not in rows)
        assert ours[0].with_image == (n in rows)
    text = Translator.from_dir([folders[0]] * 2)
    with pytest.raises(MMTError, match="trained on text only"):
        text.translate(["A dog."], ["train-0.png"])


def test_the_first_member_says_how_to_translate(folders: list[Path], world: Path, tmp_path: Path) -> None:
    card = (folders[0] / "mmt.json").read_text()
    assert '"length_penalty": 1.0' in card
    shutil.copytree(folders[0], tmp_path / "long")
    (tmp_path / "long" / "mmt.json").write_text(card.replace('"length_penalty": 1.0', '"length_penalty": 3.0'))
    ours = Translator.from_dir([tmp_path / "long", folders[1]])
    theirs = Translator.from_dir([folders[1], tmp_path / "long"])
    assert ours.hypotheses(SOURCES) == ours.hypotheses(SOURCES, length_penalty=3.0)
    same(theirs.hypotheses(SOURCES), ours.hypotheses(SOURCES, length_penalty=1.0))
    assert scores_of(ours.hypotheses(SOURCES)) != pytest.approx(scores_of(theirs.hypotheses(SOURCES)), abs=1e-3)


def test_members_with_other_features_take_their_own(world: Path, tmp_path: Path) -> None:
    names = [f"train-{n}.png" for n in range(0, 10, 2)]
    stores = [make_features(tmp_path / "a", names), make_features(tmp_path / "b", names, regions=3, backbone="b")]
    joined = open_features([store.folder for store in stores])
    tokenizer = Tokenizer(world / "tokenizer.model")
    members = []
    for number, store in enumerate([joined, stores[1], stores[0], None]):
        sets = tuple((one.num_regions, one.dim) for one in store.signature.sets) if store is not None else ()
        model = tiny_model(tokenizer.vocab_size, "gated" if sets else "none", number, image_sets=sets)
        card = ModelCard(vars(model.config), "en", "de", store.signature if store is not None else None)
        save_model(tmp_path / str(number), model.state_dict(), tokenizer.path, card)
        members.append(Translator.from_dir(tmp_path / str(number), store))
    for order in ([0, 1, 2, 3], [3, 0, 2, 1]):
        ensemble = Translator.from_dir([tmp_path / str(n) for n in order], joined)
        given = ([ensemble.encode(one) for one in SOURCES], [ensemble.encode(one) for one in TARGETS])
        ours = ensemble.token_log_probs(given[0], ensemble.features_of(IMAGES), given[1])
        each = [
            one.token_log_probs(given[0], one.features_of(IMAGES if one.features else [None] * 12), given[1])
            for one in members
        ]
        for row, tokens in enumerate(ours):
            p = np.mean([np.exp(member[row]) for member in each], axis=0)
            assert tokens == pytest.approx(np.log(p), abs=1e-5)
    with pytest.raises(MMTError, match="expected 2 set"):
        Translator.from_dir([tmp_path / "1", tmp_path / "2"], stores[1])


def test_image_files_are_read_once_for_members_of_the_same_features(
    folders: list[Path], world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FeatureStore.open(world / "features")
    read: list[list[str]] = []

    def read_images(self: Translator, images: Sequence[Any]) -> Any:
        read.append([Path(image).name for image in images])
        return store.get(read[-1])

    monkeypatch.setattr(Translator, "read_images", read_images)
    files = [None if image is None else Path(image) for image in IMAGES]
    ensemble = Translator.from_dir(folders)
    assert ensemble.hypotheses(SOURCES, files) == Translator.from_dir(folders, store).hypotheses(SOURCES, IMAGES)
    assert read == [sorted({image for image in IMAGES if image}, key=IMAGES.index)]


def test_an_ensemble_writes_with_the_pieces_that_all_members_write_with(
    folders: list[Path], world: Path, tmp_path: Path
) -> None:
    (tmp_path / "de.txt").write_text("Hund sieht Katze.\n")
    ids = pieces_of_file(tmp_path / "de.txt", Tokenizer(world / "tokenizer.model"))
    twice, alone = Translator.from_dir([folders[1]] * 2), Translator.from_dir(folders[1])
    whole = found(twice, None)
    for translator in (twice, alone):
        assert translator.vocabulary is None
        translator.restrict_vocabulary(tmp_path / "de.txt")
    same(found(twice, None), found(alone, None))
    assert scores_of(whole) != scores_of(found(twice, None))
    for name, written in {"part": ids, "other": np.array([*range(200), *range(210, 330)])}.items():
        shutil.copytree(folders[0], tmp_path / name)
        np.save(tmp_path / name / VOCABULARY, written)
    common = {one for one in ids.tolist() if not 200 <= one < 210}
    mixed = [tmp_path / "part", folders[1], tmp_path / "other"]
    ours, theirs = (searched(Translator.from_dir(each), None) for each in (mixed, mixed[::-1]))
    assert {token for hypotheses in ours for one in hypotheses for token in one.ids} <= common
    assert [[one.ids for one in each] for each in ours] == [[one.ids for one in each] for each in theirs]
    found_vocabulary = Translator.from_dir(mixed).vocabulary
    assert found_vocabulary is not None
    assert set(found_vocabulary.tolist()) == common < set(ids.tolist())


# --- what does not fit together -----------------------------------------------------------------------------


def test_models_of_other_vocabularies_are_refused_by_name(
    folders: list[Path], world: Path, tmp_path: Path
) -> None:
    for name, size, seed in (("small", 320, 0), ("other", 330, 9)):
        (tmp_path / name).mkdir()
        lines = [side for pair in sentences(60, seed) for side in pair] + ["Zwei Wörter mehr."] * seed
        train_tokenizer(lines, size, tmp_path / name / "tokenizer.model")
        tiny_folder(tmp_path / name / "model", tmp_path / name)
    with pytest.raises(MMTError, match=r"330 and 320 pieces.*text\.vocab_size") as error:
        Translator.from_dir([folders[0], tmp_path / "small" / "model"])
    assert str(folders[0]) in str(error.value)
    assert str(tmp_path / "small" / "model") in str(error.value)
    with pytest.raises(MMTError, match=r"number \d+ is '.+' and '.+'"):
        Translator.from_dir([folders[0], folders[0], tmp_path / "other" / "model"])


def test_models_of_other_languages_are_refused_by_name(folders: list[Path], world: Path, tmp_path: Path) -> None:
    french = tiny_folder(tmp_path / "fr", world, target_lang="fr")
    with pytest.raises(MMTError, match=rf"{french}: expected a model of en-de, as .*none is, found one of en-fr"):
        Translator.from_dir([folders[0], french])


def test_an_ensemble_needs_models_that_are_there_and_write(folders: list[Path], tmp_path: Path) -> None:
    with pytest.raises(MMTError, match="found an empty list"):
        Translator.from_dir([])
    with pytest.raises(MMTError, match="found an empty list"):
        open_translator([])
    with pytest.raises(MMTError, match=rf"{tmp_path / 'gone'}: no mmt.json"):
        Translator.from_dir(f"{folders[0]}+{tmp_path / 'gone'}+{folders[1]}")


def test_a_plus_in_the_name_of_a_folder_stays(folders: list[Path], tmp_path: Path) -> None:
    names = [str(tmp_path / name) for name in ("a+b", "a", "c+")]
    for name in names:
        shutil.copytree(folders[0], name)
    assert members_of(names[0]) == [Path(names[0])]
    assert members_of(names) == [Path(name) for name in names]
    assert members_of(f"{names[2]}+{names[1]}") == [Path(names[2]), Path(names[1])]
    assert members_of(f"nllb:facebook/x+{names[1]}+marian:y") == [
        Path("nllb:facebook/x"),
        Path(names[1]),
        Path("marian:y"),
    ]


# --- exported -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(
    world: Path, exported_text: Path, exported_gated: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[tuple[Path, Path]]:
    """Folders of models and what they were exported to: a text-only one, one with images, one of few pieces."""
    folder = tmp_path_factory.mktemp("exported")
    part = tiny_folder(folder / "part", world, seed=2, **ONE_LAYER)
    (folder / "de.txt").write_text("Hund sieht Katze.\n")
    np.save(part / VOCABULARY, pieces_of_file(folder / "de.txt", Tokenizer(world / "tokenizer.model")))
    export_model(part, folder / "part.onnx", ["float32", "int8"], backbone=None)
    return [
        (exported_text / "model", exported_text / "graphs"),
        (exported_gated / "model", exported_gated / "graphs"),
        (part, folder / "part.onnx"),
    ]


def test_a_part_of_the_vocabulary_is_written_in_int8_too(exported: list[tuple[Path, Path]]) -> None:
    """By the search as a graph and, as a member of an ensemble, by steps."""
    graphs = exported[2][1]
    for folders in (graphs, [graphs] * 2):
        whole, rounded = (open_translator(folders, None, one) for one in ("float32", "int8"))
        expected = scores_of(found(whole, None, n_best=1))
        assert scores_of(found(rounded, None, n_best=1)) == pytest.approx(expected, abs=0.1)
        assert scores_of(found(rounded, None, n_best=1)) != pytest.approx(expected, abs=1e-6)


def test_exported_models_are_an_ensemble_as_the_originals_are(
    exported: list[tuple[Path, Path]], world: Path
) -> None:
    store = FeatureStore.open(world / "features")
    originals, graphs = [model for model, _ in exported], [graph for _, graph in exported]
    expected = found(open_translator(originals[:2], store))
    same(found(open_translator(graphs[:2], store)), expected, 1e-4)
    same(found(open_translator([graphs[1], graphs[0]], store)), expected, 1e-4)
    same(found(open_translator([graphs[0], originals[1]], store)), expected, 1e-4)  # in two runtimes
    same(found(open_translator(graphs, store)), found(open_translator(originals, store)), 1e-4)
    same(found(open_translator([graphs[1]] * 2, store)), found(open_translator(graphs[1], store)))
    assert scores_of(found(open_translator(graphs[:2], store, "int8"))) != scores_of(expected)
    ours, rounded, theirs = (
        score_pairs(one, SOURCES, TARGETS, IMAGES)
        for one in (
            open_translator(graphs[:2], store),
            open_translator(graphs[:2], store, "int8"),
            open_translator(originals[:2], store),
        )
    )
    assert [one.log_prob for one in ours] == pytest.approx([one.log_prob for one in theirs], abs=1e-3)
    means = [one.mean_log_prob for one in theirs]
    assert [one.mean_log_prob for one in rounded] == pytest.approx(means, abs=0.3)
    assert [one.mean_log_prob for one in rounded] != pytest.approx(means, abs=1e-6)


def test_what_exported_models_cannot_do_together_is_said(
    exported: list[tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs = [graph for _, graph in exported]
    with pytest.raises(MMTError, match=r"guidance 2\.0: an exported model supports only 1"):
        open_translator(graphs[:2]).translate(["A dog."], guidance=2.0)
    with pytest.raises(MMTError, match="cannot score translations"):
        score_pairs(open_translator(graphs[1:]), ["A dog."], ["Hund."])
    monkeypatch.setattr(onnx_runtime, "LOG_P", "as an earlier version had none")
    with pytest.raises(MMTError, match=rf"{graphs[0]}: an earlier version of mmt exported it"):
        open_translator(graphs[:2]).translate(["A dog."])


# --- commands -----------------------------------------------------------------------------------------------


def run(*arguments: object) -> str:
    result = CliRunner().invoke(main, [str(one) for one in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_commands_take_an_ensemble(folders: list[Path], world: Path, tmp_path: Path) -> None:
    given = ["--data", world / "data", "--images", world / "features"]
    joined = "+".join(map(str, folders[:2]))
    one_by_one = run("translate", "--model", folders[0], "--model", folders[1], *given)
    assert run("translate", "--model", joined, *given) == one_by_one
    assert one_by_one.count("\n") == 8
    for shard in ("1/2", "2/2"):
        run("translate", "--model", joined, *given, "--shard", shard, "--output", tmp_path / "out.txt")
    assert (tmp_path / "out.txt").read_text() == one_by_one
    table = run("score-pairs", "--model", joined, *given, "--also-blank")
    assert table == run("score-pairs", "--model", folders[0], "--model", folders[1], *given, "--also-blank")
    alone = run("score-pairs", "--model", folders[1], *given, "--also-blank")
    assert [row.split("\t")[3] for row in table.splitlines()] == [row.split("\t")[3] for row in alone.splitlines()]
    assert table != alone
    given = ["--data", world / "data", "--images", world / "features", "--draws", 2, "--output", tmp_path]
    assert run("evidence", "--quiet", "--system", f"both={joined}", "--system", f"text={folders[0]}", *given) == ""
    assert "none + gated" in (tmp_path / "evidence.html").read_text()


def test_evidence_evaluates_an_ensemble_as_a_system(folders: list[Path], world: Path) -> None:
    models = {
        "ensemble": [Path("+".join(map(str, folders[:2])))],
        "alone": folders[1:2],
        "twice": [Path(f"{folders[1]}+{folders[1]}")],
    }
    with open_systems(models, world / "data", [world / "features"]) as systems:
        (ensemble,), (alone,), (twice,) = systems.values()
        assert (ensemble.uses_images, ensemble.can_score, ensemble.in_torch) == (True, True, None)
        expected = Translator.from_dir(folders[:2], world / "features")
        assert ensemble.translate(SOURCES, IMAGES) == expected.translate(SOURCES, IMAGES)
        assert twice.translate(SOURCES, IMAGES) == alone.translate(SOURCES, IMAGES)
        assert twice.score(SOURCES, IMAGES, TARGETS) == pytest.approx(alone.score(SOURCES, IMAGES, TARGETS))
        told = ensemble.describe()
        assert (told["folder"], told["fusion"]) == ("none + gated", "none + gated")
        assert twice.describe()["parameters"] == 2 * alone.describe()["parameters"]
    with (
        pytest.raises(MMTError, match=r"gone: no mmt\.json"),
        open_systems({"it": [Path(f"{folders[0]}+gone")]}, world / "data"),
    ):
        pass


class Mean(Backbone):
    """Stands for the backbone that made the features of the world."""

    def __init__(self, signature: FeatureSignature) -> None:
        torch.nn.Module.__init__(self)
        self.signature, self.num_seen = signature, 0
        self.notes, self.things = Counter(), "images"

    def transform(self, picture: torch.Tensor) -> torch.Tensor:
        return picture[:, :7, :7]

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        self.num_seen += len(pictures)
        return pictures.float().mean(dim=(1, 2, 3)).view(-1, 1, 1).expand(-1, 1, DIM) / 255


def test_evidence_reads_picture_files_for_members(
    folders: list[Path], exported: list[tuple[Path, Path]], world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The features of a set are computed once for all members, whatever their runtime, or on demand."""
    backbone = Mean(FeatureStore.open(world / "features").signature)
    for module in ("mmt.features.load", "mmt.evidence.models"):
        monkeypatch.setattr(f"{module}.load_backbones", lambda signature: [backbone])
    names = ["test-0.png", "test-2.png"]
    models = {"it": [Path(f"{folders[1]}+{exported[1][1]}")]}
    with open_systems(models, world / "data", images=names) as systems:
        ((system,),) = systems.values()
        shown = system.translator.features
        assert shown is not None
        assert sorted(shown.ids) == names
        assert backbone.num_seen == 2
        by_store = system.score(["A dog."] * 2, [*names], ["Hund."] * 2)
        files = [world / "data_images" / name for name in names]
        scores = score_pairs(system.translator.with_features(None), ["A dog."] * 2, ["Hund."] * 2, files)
        assert backbone.num_seen == 4
        assert [one.mean_log_prob for one in scores] == pytest.approx(by_store, abs=1e-5)
