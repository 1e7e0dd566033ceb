"""Forced scoring: the definition, whatever the batch; and lists of translations ranked by another model."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from mmt.cli.main import main
from mmt.data.feature_store import FeatureStore
from mmt.data.tokenizer import BOS, EOS
from mmt.errors import MMTError
from mmt.inference import scoring
from mmt.inference.beam import beam_search
from mmt.inference.loaded import target_log_probs
from mmt.inference.scoring import (
    PairScore,
    corpus_perplexity,
    read_n_best,
    rescore,
    score_pairs,
)
from mmt.inference.search import SearchOptions
from mmt.inference.torch_runtime import Translator
from tests.worlds import make_dataset, make_features, sentences, tiny_folder

PAIRS = [*sentences(12, 5), ("A dog.", "Ein Hund im Haus, ein Ball und ein Boot am Baum."), ("A", "Katze")]
SOURCES, TARGETS = [source for source, _ in PAIRS], [target for _, target in PAIRS]
IMAGES = [f"train-{2 * (n % 5)}.png" if n % 3 else None for n in range(len(PAIRS))]


@pytest.fixture(scope="module")
def text_only(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Translator:
    return Translator.from_dir(tiny_folder(tmp_path_factory.mktemp("text") / "model", world))


@pytest.fixture(scope="module")
def gated_folder(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("gated") / "model", world, "gated")


@pytest.fixture(scope="module")
def gated(world: Path, gated_folder: Path) -> Translator:
    return Translator.from_dir(gated_folder, world / "features")


def by_hand(translator: Translator, source: str, target: str, image: str | None) -> float:
    """Token by token, each from all before it, in float64 from the logits on."""
    model, ids = translator.model, translator.tokenizer.encode(target)
    total = 0.0
    for number, token in enumerate([*ids, EOS]):
        batch = translator.batch([translator.tokenizer.encode(source)], translator.features_of([image]))
        prefix = torch.tensor([[BOS, *ids[:number]]])
        batch.target, batch.target_lens = torch.cat([prefix, prefix[:, :1]], 1), [number + 1]
        with torch.inference_mode():
            logits = model.logits(batch)
        total += float(torch.log_softmax(logits[0, -1].double(), dim=0)[token])
    return total


def test_a_score_is_the_sum_over_tokens_whatever_the_batch(gated: Translator) -> None:
    expected = [by_hand(gated, *pair) for pair in zip(SOURCES, TARGETS, IMAGES, strict=True)]
    for max_tokens in (1, 60, 8192):
        scores = score_pairs(gated, SOURCES, TARGETS, IMAGES, max_tokens=max_tokens)
        assert [score.log_prob for score in scores] == pytest.approx(expected, abs=1e-3)
        assert [score.num_tokens for score in scores] == [len(gated.tokenizer.encode(t)) + 1 for t in TARGETS]
        assert [score.with_image for score in scores] == [image is not None for image in IMAGES]


def test_a_found_translation_is_scored_as_the_search_scored_it(gated: Translator) -> None:
    sources, rows = [gated.tokenizer.encode(s) for s in SOURCES], gated.features_of(IMAGES)
    found = beam_search(gated.model, gated.batch(sources, rows), SearchOptions(beam_size=2))
    best = [hypotheses[0] for hypotheses in found]
    forced = target_log_probs(gated.model, gated.batch(sources, rows, [h.ids for h in best]))
    for hypothesis, log_prob in zip(best, forced.tolist(), strict=True):
        assert log_prob / (len(hypothesis.ids) + 1) == pytest.approx(hypothesis.score, abs=1e-4)


def test_equal_pairs_have_exactly_equal_scores(gated: Translator) -> None:
    """Also where one stands among long sentences and the other among short ones."""
    order = np.random.default_rng(1).permutation(len(PAIRS) * 3) % len(PAIRS)
    sources = [f" {SOURCES[n]}\t" if number % 2 else SOURCES[n] for number, n in enumerate(order)]
    scores = score_pairs(gated, sources, [TARGETS[n] for n in order], [IMAGES[n] for n in order], max_tokens=80)
    of: dict[int, set[PairScore]] = {}
    for n, score in zip(order.tolist(), scores, strict=True):
        of.setdefault(n, set()).add(score)
    assert [len(of[n]) for n in range(len(PAIRS))] == [1] * len(PAIRS)


def test_the_image_counts_and_no_image_is_text_alone(gated: Translator) -> None:
    num = len(PAIRS)
    shown = [f"train-{2 * n}.png" for n in range(num)]
    scores = score_pairs(gated, SOURCES * 2, TARGETS * 2, [*shown, *[None] * num])
    assert all(a.log_prob != b.log_prob for a, b in zip(scores[:num], scores[num:], strict=True))
    assert [s.log_prob for s in score_pairs(gated, SOURCES, TARGETS)] == pytest.approx(
        [s.log_prob for s in scores[num:]], abs=1e-4
    )


@pytest.mark.parametrize("chunk", [1, 3, 2048])
def test_an_image_named_many_times_is_read_once(
    gated: Translator, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    expected = score_pairs(gated, SOURCES, TARGETS, IMAGES)
    read: list[str] = []
    get = FeatureStore.get
    monkeypatch.setattr(FeatureStore, "get", lambda store, ids: (read.extend(ids), get(store, ids))[1])
    monkeypatch.setattr(scoring, "CHUNK", chunk)
    finished: list[int] = []
    scores = score_pairs(gated, SOURCES, TARGETS, IMAGES, progress=finished.append)
    assert sorted(read) == sorted({image for image in IMAGES if image})
    assert sum(finished) == len(PAIRS)
    assert [s.log_prob for s in scores] == pytest.approx([s.log_prob for s in expected], abs=1e-4)


def test_perplexity_is_that_of_a_token() -> None:
    assert PairScore(-6.0, 3, False).perplexity == pytest.approx(math.exp(2))
    assert PairScore(0.0, 3, False).perplexity == 1
    assert PairScore(-1e6, 3, False).perplexity == math.inf
    assert corpus_perplexity([PairScore(-6.0, 3, False), PairScore(-4.0, 7, True)]) == pytest.approx(math.e)


@pytest.mark.parametrize(
    ("sources", "targets", "images", "said"),
    [
        (["a", "b"], ["a"], None, "one target a source, found 1 for 2"),
        (["a"], ["a"], [None, None], "found 2 for 1"),
        (["a", " "], ["a", "b"], None, "source line 2 is empty"),
        (["a", "b"], ["a", ""], None, "target line 2 is empty"),
        (["a", "\u4e16" * 171], ["a", "b"], None, "source line 2: .* at most 511"),
        (["a"], ["\u4e16" * 171], None, "target line 1: .* at most 511"),
        (["a"], ["a"], ["train-0.png"], "trained on text only"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    text_only: Translator, sources: list[str], targets: list[str], images: list[str | None] | None, said: str
) -> None:
    with pytest.raises(MMTError, match=said):
        score_pairs(text_only, sources, targets, images)


def test_the_longest_line_that_has_positions_is_scored(text_only: Translator) -> None:
    line = "\u4e16" * 170  # three bytes each, and a piece for the space before them
    assert len(text_only.tokenizer.encode(line)) == text_only.model.text.sizes.max_length - 1
    assert math.isfinite(score_pairs(text_only, [line], [line])[0].log_prob)


def test_a_list_is_ranked_by_this_model(gated: Translator) -> None:
    candidates = [[(target, 0.0) for target in dict.fromkeys(TARGETS)] for _ in SOURCES]
    ranked = rescore(gated, SOURCES, candidates, IMAGES)
    for source, image, new, old in zip(SOURCES, IMAGES, ranked, candidates, strict=True):
        texts = [text for text, _ in old]
        own = score_pairs(gated, [source] * len(texts), texts, [image] * len(texts))
        value = dict(zip(texts, (score.mean_log_prob for score in own), strict=True))
        assert sorted(t.text for t in new) == sorted(texts)
        assert [t.score for t in new] == sorted((t.score for t in new), reverse=True)
        assert [t.score for t in new] == pytest.approx([value[t.text] for t in new], abs=1e-4)
        assert {t.with_image for t in new} == {image is not None}


def test_the_old_score_counts_as_much_as_its_weight(text_only: Translator) -> None:
    candidates = [[("Hund", -3.0), ("Katze und Ball", -1.0), ("Baum", -3.0), ("", -2.0)]]
    (alone,) = rescore(text_only, ["A dog."], candidates)
    (kept,) = rescore(text_only, ["A dog."], candidates, old_weight=1)
    assert [(t.text, t.score) for t in kept] == [
        ("Katze und Ball", -1.0), ("", -2.0), ("Hund", -3.0), ("Baum", -3.0)
    ]  # fmt: skip
    (mixed,) = rescore(text_only, ["A dog."], candidates, old_weight=0.25)
    own, old = {t.text: t.score for t in alone}, dict(candidates[0])
    for translation in mixed:
        assert translation.score == pytest.approx(0.75 * own[translation.text] + 0.25 * old[translation.text])


def test_an_empty_source_keeps_what_it_has(text_only: Translator) -> None:
    ranked = rescore(text_only, ["", "A dog."], [[("", 0.0)], [("Hund", -1.0)]])
    assert [(t.text, t.score) for t in ranked[0]] == [("", 0.0)]
    assert ranked[1][0].score < 0
    for weight in (-0.1, 1.5, math.nan):
        with pytest.raises(MMTError, match="0 to 1"):
            rescore(text_only, ["a"], [[("b", 0.0)]], old_weight=weight)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 ||| a\n", "line 1: expected number"),
        ("1 ||| a ||| -1\nx ||| a ||| -1\n", "line 2: expected number"),
        ("1 ||| a ||| LM0= -2 ||| -1\n", "line 1: expected number"),
        ("1 ||| a ||| nan\n", "line 1: expected number"),
        ("0 ||| a ||| -1\n2 ||| a ||| -1\n", "line 2: sentence 2, but there are 2"),
        ("-1 ||| a ||| -1\n", "sentence -1, but there are 2"),
        ("1 ||| a ||| -1\n", "no translation of sentence 0"),
    ],
)
def test_a_bad_list_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "list").write_text(text)
    with pytest.raises(MMTError, match=said):
        read_n_best(tmp_path / "list", 2)


@pytest.fixture
def files(tmp_path: Path, world: Path) -> Path:
    """Sources, targets and a list of images; the store's folder beside them."""
    (tmp_path / "in.en").write_text("".join(f"{line}\n" for line in SOURCES))
    (tmp_path / "in.de").write_text("".join(f"{line}\n" for line in TARGETS))
    (tmp_path / "images.txt").write_text("".join(f"{image or ''}\n" for image in IMAGES))
    return tmp_path


def run(*arguments: object) -> tuple[list[str], str]:
    result = CliRunner().invoke(main, ["score-pairs", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines(), " ".join(
        result.stderr.strip().splitlines()[-2:]
    )  # the names of missing images


def test_the_command_writes_a_table(files: Path, world: Path, gated_folder: Path, gated: Translator) -> None:
    images = ["--images", files / "images.txt", "--images", world / "features"]
    given = ["--model", gated_folder, "--source", files / "in.en", "--target", files / "in.de", *images]
    rows, said = run(*given, "--also-blank")
    assert rows[0].split("\t") == [
        "log_prob", "num_tokens", "perplexity", "with_image", "log_prob_blank", "perplexity_blank"
    ]  # fmt: skip
    expected = score_pairs(gated, SOURCES, TARGETS, IMAGES)
    for row, score in zip(rows[1:], expected, strict=True):
        log_prob, num_tokens, perplexity, with_image, blank, _ = row.split("\t")
        assert float(log_prob) == pytest.approx(score.log_prob, abs=1e-3)
        assert float(perplexity) == pytest.approx(score.perplexity, rel=1e-3)
        assert (int(num_tokens), with_image) == (score.num_tokens, "true" if score.with_image else "false")
        assert (log_prob == blank) == (not score.with_image)
    assert said.startswith(f"{len(PAIRS)} pairs, corpus perplexity {corpus_perplexity(expected):.2f}"[:-1])
    assert f"{sum(i is not None for i in IMAGES)} with image" in said
    run(*given, "--also-blank", "--output", files / "out.jsonl")
    as_json = [json.loads(line) for line in (files / "out.jsonl").read_text().splitlines()]
    assert [list(map(json.dumps, row.values())) for row in as_json] == [row.split("\t") for row in rows[1:]]
    assert not list(files.glob("*.writing"))


def test_the_command_reads_prepared_data_and_counts_missing_images(world: Path, tmp_path: Path) -> None:
    make_dataset(tmp_path / "data", {"test": 8})
    make_features(tmp_path / "features", [f"test-{n}.png" for n in (0, 2, 4)])
    model = tiny_folder(tmp_path / "model", world, "gated")
    given = ["--model", model, "--data", tmp_path / "data", "--images", tmp_path / "features"]
    refused = CliRunner().invoke(main, ["score-pairs", *map(str, given)])
    assert (refused.exit_code, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
    assert "test-6.png" in refused.stderr
    rows, said = run(*given, "--missing-images", "skip")
    assert [row.split("\t")[3] for row in rows[1:]] == ["true", "false"] * 3 + ["false"] * 2
    assert "3 with image, 1 image missing" in said


def test_the_command_ranks_a_list_anew(files: Path, world: Path, gated_folder: Path, tmp_path: Path) -> None:
    other = tiny_folder(tmp_path / "other", world)
    translate = ["translate", "--model", other, "--input", files / "in.en", "--beam-size", 3, "--n-best", 3]
    assert CliRunner().invoke(main, [*map(str, translate), "--output", str(files / "list")]).exit_code == 0
    before = (files / "list").read_text().splitlines()
    given = ["--source", files / "in.en", "--n-best", files / "list"]
    kept, said = run("--model", gated_folder, *given, "--old-weight", 1)
    assert kept == before
    assert "another one first in 0," in said
    after, said = run("--model", gated_folder, *given)
    assert "another one first in 0," not in said
    assert sorted(line.rsplit(" ||| ", 1)[0] for line in after) == sorted(
        line.rsplit(" ||| ", 1)[0] for line in before
    )
    first = [line.split(" ||| ")[1] for line in after]
    best, _ = run("--model", gated_folder, *given, "--keep", 1)
    counts = [sum(line.startswith(f"{n} ||| ") for line in after) for n in range(len(PAIRS))]
    assert best == [first[at] for at in np.cumsum([0, *counts[:-1]])]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--source", "in.en"], "--target is missing"),
        (["--target", "in.de"], "--source FILE or --data DIR"),
        (["--source", "in.en", "--target", "short.de"], "short.de has 1 lines and"),
        (["--source", "in.en", "--target", "in.de", "--keep", "1"], "give --n-best"),
        (["--source", "in.en", "--target", "in.de", "--n-best", "list"], "Leave --target"),
        (["--source", "in.en", "--target", "in.de", "--also-blank"], "text only"),
        (["--source", "in.en", "--target", "none.de"], "none.de: no such file"),
    ],
)
def test_bad_use_is_one_line(files: Path, world: Path, arguments: list[str], said: str) -> None:
    (files / "short.de").write_text("Hund\n")
    model = tiny_folder(files / "model", world)
    paths = [str(files / a) if "." in a or a == "list" else a for a in arguments]
    result = CliRunner().invoke(main, ["score-pairs", "--model", str(model), *paths])
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert said in result.stderr
