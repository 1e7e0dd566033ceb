"""Beam search against searches simple enough to be seen right."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from fairseq2.data.tokenizers import VocabularyInfo
from fairseq2.generation.beam_search import BeamSearchSeq2SeqGenerator
from fairseq2.generation.step_processor import BannedSequenceProcessor
from fairseq2.models.transformer import TransformerModel
from fairseq2.nn import BatchLayout

from mmt.data.batch import Batch, Example, collate
from mmt.data.tokenizer import BOS, EOS, PAD
from mmt.inference.beam import beam_search, best_candidates
from mmt.inference.search import SearchOptions
from mmt.model.fusion import FUSIONS
from mmt.model.model import MMTModel
from mmt.model.stepping import Precision, StepDecoder
from tests.worlds import DIM, MODELS, tiny_model

EXAMPLES = [Example([5, 6, 7, 8, 9], []), Example([10, 11], []), Example([7], []), Example([8, 5, 9, 6], [])]
V = 14


def next_logits(model: MMTModel, batch: Batch, row: int, prefix: list[int], *, image: bool = True) -> torch.Tensor:
    """(V) of the token after ``prefix``, the model run without any cache."""
    prompt = tuple(batch.target[row, : batch.prompt_len].tolist())
    alone = collate([Example(batch.source[row, : batch.source_lens[row] - 1].tolist(), prefix, prompt=prompt)])
    if image and batch.image is not None and batch.image_pad is not None:
        alone.image, alone.image_pad = batch.image[row : row + 1], batch.image_pad[row : row + 1]
    with torch.no_grad():
        logits = model.logits(alone)
    return logits[0, len(prefix)]


def log_p(model: MMTModel, batch: Batch, row: int, prefix: list[int], guidance: float = 1.0) -> torch.Tensor:
    """log P(next token | source, image, prefix)."""
    logits = next_logits(model, batch, row, prefix)
    if guidance != 1.0:
        text = next_logits(model, batch, row, prefix, image=False)
        logits = text + guidance * (logits - text)
    scores = torch.log_softmax(logits, -1)
    scores[PAD] = scores[BOS] = -torch.inf
    return scores


def plain_beam(
    model: MMTModel, batch: Batch, row: int, beams: int, limit: int, penalty: float, guidance: float = 1.0
) -> list[tuple]:
    """Beam search on Python lists: one sentence, no batch, no cache."""
    live: list[tuple[float, list[int]]] = [(0.0, [])]
    done: list[tuple[float, list[int]]] = []
    for step in range(limit):
        candidates = []
        for score, prefix in live:
            scores = log_p(model, batch, row, prefix, guidance)
            tokens = [EOS] if step + 1 == limit else range(len(scores))
            candidates += [(score + float(scores[t]), prefix, t) for t in tokens if scores[t] > -torch.inf]
        candidates.sort(key=lambda c: -c[0])
        for score, prefix, token in candidates[:beams]:
            if token == EOS and len(done) < beams:
                done.append((score / (step + 1) ** penalty, prefix))
        if len(done) >= beams:
            break
        live = [(score, [*prefix, token]) for score, prefix, token in candidates if token != EOS][:beams]
        if not live:
            break
    return sorted(done, key=lambda d: -d[0])


def with_images(batch: Batch) -> Batch:
    torch.manual_seed(5)
    batch.image = torch.randn(len(batch.source), 1, DIM)
    batch.image_pad = torch.arange(len(batch.source)).unsqueeze(1) % 4 == 1
    return batch


@pytest.mark.parametrize(
    ("fusion", "beams", "seed"),
    [
        *itertools.product(FUSIONS, (1, 2, 4), (0, 1, 2)),
        *((name, 3, 0) for name in MODELS if name not in FUSIONS),
    ],
)
def test_fast_search_equals_plain_search(fusion: str, beams: int, seed: int) -> None:
    model = tiny_model(V, fusion, seed)
    batch = collate(EXAMPLES)
    if fusion != "none":
        batch = with_images(batch)
    found = beam_search(model, batch, SearchOptions(beam_size=beams, length_penalty=0.8), max_length=(1.0, 5))
    for row, hypotheses in enumerate(found):
        expected = plain_beam(model, batch, row, beams, batch.source_lens[row] + 5, 0.8)
        assert [h.ids for h in hypotheses] == [ids for _, ids in expected]
        assert [h.score for h in hypotheses] == pytest.approx([score for score, _ in expected], abs=1e-4)


@pytest.mark.parametrize("guidance", [1.0, 1.5])
def test_a_prompt_is_read_and_neither_chosen_nor_counted(guidance: float) -> None:
    """As of models of many languages: eos and the target language, another one in each sentence."""
    model = tiny_model(V, "hybrid", 1)
    prompts = [(EOS, 6), (EOS, 7), (EOS, 8), (EOS, 6)]
    batch = with_images(collate([replace(e, prompt=p) for e, p in zip(EXAMPLES, prompts, strict=True)]))
    assert (batch.num_target_tokens, batch.labels.tolist()) == (len(EXAMPLES), [[EOS]] * len(EXAMPLES))
    options = SearchOptions(beam_size=3, length_penalty=0.8)
    found = beam_search(model, batch, options, max_length=(1.0, 5), guidance=guidance)
    for row, hypotheses in enumerate(found):
        expected = plain_beam(model, batch, row, 3, batch.source_lens[row] + 5, 0.8, guidance)
        assert [h.ids for h in hypotheses] == [ids for _, ids in expected]
        assert [h.score for h in hypotheses] == pytest.approx([score for score, _ in expected], abs=1e-4)
    without = beam_search(model, with_images(collate(EXAMPLES)), options, max_length=(1.0, 5), guidance=guidance)
    assert [[h.ids for h in one] for one in found] != [[h.ids for h in one] for one in without]


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_part_of_the_vocabulary_is_written_with_the_probabilities_of_the_whole(
    precision: Precision, *, with_bias: bool
) -> None:
    """Exactly, where the others' logits are equal, whatever their number. Some are no words at all."""
    model, batch = tiny_model(V, "gated", 1), with_images(collate(EXAMPLES))
    ids = torch.tensor([0, 1, 2, 3, 6, 9, 12])
    others = [0, *(number for number in range(V) if number not in ids)]
    with torch.no_grad():
        model.text.final_proj.weight[others] = model.text.final_proj.weight[others[0]].clone()
    if with_bias:
        bias = torch.randn(V)
        bias[others] = 0.7
        bias[[4, 13]] = -torch.inf
        model.text.final_proj.bias = torch.nn.Parameter(bias)
    found = beam_search(
        StepDecoder(model, precision, ids),
        batch,
        SearchOptions(beam_size=3, length_penalty=0.8),
        max_length=(1.0, 5),
    )
    written = {token for one in found for h in one for token in h.ids}
    assert written
    assert written <= set(ids.tolist())
    for row, hypotheses in enumerate(found):
        for one in hypotheses:
            rows = [log_p(model, batch, row, one.ids[:step])[token] for step, token in enumerate([*one.ids, EOS])]
            expected = float(sum(rows)) / len(rows) ** 0.8
            assert one.score == pytest.approx(expected, abs=1e-4 if precision == "float32" else 0.15)


@pytest.mark.parametrize("with_bias", [False, True])
def test_the_sum_of_the_other_ids_is_estimated_from_their_mean_and_variance(*, with_bias: bool) -> None:
    torch.manual_seed(3)
    vocab_size = 6000
    model = tiny_model(vocab_size, "none", 1)
    with torch.no_grad():
        model.text.final_proj.weight.normal_(0.01, 0.05)
        if with_bias:
            model.text.final_proj.bias = torch.nn.Parameter(torch.randn(vocab_size))
    ids = torch.cat([torch.arange(4), torch.randperm(vocab_size - 4)[:60].sort().values + 4])
    states = torch.randn(7, model.text.sizes.model_dim) * 3
    with torch.no_grad():
        whole, part = (StepDecoder(model, vocabulary=one).project(states) for one in (None, ids))
    torch.testing.assert_close(part[:, 1:], whole[:, ids[1:]])
    torch.testing.assert_close(part.logsumexp(1), whole.logsumexp(1), atol=0.1, rtol=0)
    assert float((part[:, 1:].logsumexp(1) - whole.logsumexp(1)).abs().min()) > 1  # what an omission would cost


@pytest.mark.parametrize("fusion", MODELS)
def test_a_large_batch_is_translated_as_its_sentences_are(fusion: str) -> None:
    """Many sentences take another way through attention, and some are done long before others."""
    model = tiny_model(V, fusion, seed=3)
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(1, 12, (24,), generator=generator).tolist()
    examples = [Example(torch.randint(4, V, (n,), generator=generator).tolist(), []) for n in lengths]
    batch = collate(examples)
    if fusion != "none":
        batch.image = torch.randn(24, 1, DIM, generator=generator)
        batch.image_pad = torch.rand(24, 1, generator=generator) < 0.3
    together = beam_search(model, batch, SearchOptions(beam_size=3), max_length=(1.0, 3))
    for row, example in enumerate(examples):
        alone = collate([example])
        if batch.image is not None and batch.image_pad is not None:
            alone.image, alone.image_pad = batch.image[row : row + 1], batch.image_pad[row : row + 1]
        (expected,) = beam_search(model, alone, SearchOptions(beam_size=3), max_length=(1.0, 3))
        assert [h.ids for h in together[row]] == [h.ids for h in expected]
        assert [h.score for h in together[row]] == pytest.approx([h.score for h in expected], abs=1e-5)


@pytest.mark.parametrize("vocab_size", [100, 101, 257, 1000])
def test_the_best_words_are_found_in_any_vocabulary(vocab_size: int) -> None:
    generator = torch.Generator().manual_seed(vocab_size)
    log_p, scores = torch.randn(5, 3, vocab_size, generator=generator), torch.randn(5, 3, generator=generator)
    log_p[0, :, 3:] = -torch.inf  # a sentence that may only end
    score, beam, token = best_candidates(log_p, scores, 6)
    expected = (log_p + scores.unsqueeze(2)).flatten(1).topk(6, dim=1)
    assert torch.equal(score, expected.values)
    assert torch.equal(beam * vocab_size + token, expected.indices)


@pytest.mark.parametrize("fusion", ["none", "gated", "hybrid"])
@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
@pytest.mark.parametrize("times", [1, 3])  # a few and many sentences go different ways through attention
def test_other_precisions_are_near(precision: Precision, fusion: str, times: int) -> None:
    model = tiny_model(V, fusion, seed=3)
    batch = collate(times * EXAMPLES) if fusion == "none" else with_images(collate(times * EXAMPLES))
    exact = beam_search(model, batch, SearchOptions(beam_size=1, min_length=5), max_length=(0.0, 6))
    rounded = beam_search(
        StepDecoder(model, precision), batch, SearchOptions(beam_size=1, min_length=5), max_length=(0.0, 6)
    )
    assert [h[0].score for h in exact] != [h[0].score for h in rounded]
    # Rounding may decide between two tokens that are about as probable.
    same = [(a[0], b[0]) for a, b in zip(exact, rounded, strict=True) if a[0].ids == b[0].ids]
    assert len(same) >= 0.75 * len(exact)
    assert [b.score for _, b in same] == pytest.approx([a.score for a, _ in same], abs=0.05)


def test_a_minimum_length_is_kept() -> None:
    model = tiny_model(V, seed=1)
    for hypotheses in beam_search(
        model, collate(EXAMPLES), SearchOptions(beam_size=4, min_length=6), max_length=(0.0, 9)
    ):
        assert hypotheses
        assert all(6 <= len(h.ids) <= 8 for h in hypotheses)


@pytest.mark.parametrize("beams", [1, 2, 4])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_text_model_is_searched_as_by_the_stack_s_generator(beams: int, seed: int) -> None:
    """The complete n-best lists agree, once bos is barred in fairseq2, too: it may be any token there."""
    model, batch = tiny_model(V, seed=seed), collate(EXAMPLES)
    info = VocabularyInfo(V, unk_idx=1, bos_idx=BOS, eos_idx=EOS, pad_idx=PAD)
    text = model.text
    parts = (text.frontend, text.encoder, text.frontend, text.decoder, text.final_proj)
    plain = TransformerModel(DIM, *parts, PAD, 64, 64).eval()
    theirs = BeamSearchSeq2SeqGenerator(
        plain,
        info,
        beam_size=beams,
        max_gen_len=(0.0, 8),
        len_penalty=0.8,
        step_processors=[BannedSequenceProcessor([torch.tensor([BOS])])],
    )
    prompt = torch.full((4, 1), BOS)
    with torch.inference_mode():
        output = theirs(batch.source, batch.source_layout(), prompt, BatchLayout.of(prompt))
    ours = beam_search(model, batch, SearchOptions(beam_size=beams, length_penalty=0.8), max_length=(0.0, 8))
    for found, expected in zip(ours, output.hypotheses, strict=True):
        assert [[*h.ids, EOS] for h in found] == [h.seq.tolist() for h in expected]
        assert [h.score for h in found] == pytest.approx([float(h.score) for h in expected], abs=1e-5)


@pytest.mark.parametrize("guidance", [0.0, 0.5, 2.5])
@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("fusion", ["gated", "hybrid"])
def test_guided_search_equals_plain_search(guidance: float, beams: int, fusion: str) -> None:
    """logits = text + gamma * (multimodal - text), at every step."""
    model, batch = tiny_model(V, fusion, 1), with_images(collate(EXAMPLES))
    found = beam_search(model, batch, SearchOptions(beam_size=beams), max_length=(1.0, 5), guidance=guidance)
    for row, hypotheses in enumerate(found):
        expected = plain_beam(model, batch, row, beams, batch.source_lens[row] + 5, 1.0, guidance)
        assert [h.ids for h in hypotheses] == [ids for _, ids in expected]
        assert [h.score for h in hypotheses] == pytest.approx([score for score, _ in expected], abs=1e-4)


def test_guidance_of_zero_leaves_the_image_out() -> None:
    model = tiny_model(V, "gated", 3)
    none = beam_search(
        model, with_images(collate(EXAMPLES)), SearchOptions(beam_size=2), max_length=(1.0, 5), guidance=0.0
    )
    text = beam_search(model, collate(EXAMPLES), SearchOptions(beam_size=2), max_length=(1.0, 5))
    full = beam_search(model, with_images(collate(EXAMPLES)), SearchOptions(beam_size=2), max_length=(1.0, 5))
    assert [[h.ids for h in hypotheses] for hypotheses in none] == [[h.ids for h in found] for found in text]
    assert [found[0].score for found in full] != pytest.approx([found[0].score for found in text])


def test_guidance_changes_nothing_without_an_image() -> None:
    model = tiny_model(V, "gated", 2)
    plain, guided = (
        beam_search(
            model,
            with_images(collate(EXAMPLES)),
            SearchOptions(beam_size=2),
            max_length=(1.0, 5),
            guidance=guidance,
        )
        for guidance in (1.0, 4.0)
    )
    assert plain[1] == guided[1]  # the sentence whose row has no region
    assert [h[0].score for h in plain] != pytest.approx([h[0].score for h in guided])


@pytest.mark.parametrize("fusion", MODELS)
def test_beam_one_equals_greedy(fusion: str) -> None:
    model = tiny_model(V, fusion, seed=4)
    batch = collate(EXAMPLES) if fusion == "none" else with_images(collate(EXAMPLES))
    for row, hypotheses in enumerate(beam_search(model, batch, SearchOptions(beam_size=1), max_length=(0.0, 8))):
        prefix: list[int] = []
        while len(prefix) < 7:
            token = int(log_p(model, batch, row, prefix).argmax())
            if token == EOS:
                break
            prefix.append(token)
        assert hypotheses[0].ids == prefix


def test_a_wide_beam_finds_the_best_of_all_sequences() -> None:
    model = tiny_model(7, seed=1)  # three words besides the control symbols
    batch = collate([Example([5, 4], [])])
    sequences = [list(s) for length in range(4) for s in itertools.product([1, 4, 5, 6], repeat=length)]
    scores = {}
    for sequence in sequences:
        steps = [*sequence, EOS]
        total = sum(float(log_p(model, batch, 0, steps[:i])[token]) for i, token in enumerate(steps))
        scores[tuple(sequence)] = total / len(steps)
    best = max(scores, key=lambda s: scores[s])
    found = beam_search(model, batch, SearchOptions(beam_size=400, length_penalty=1.0), max_length=(0.0, 4))
    assert tuple(found[0][0].ids) == best


@pytest.mark.parametrize("fusion", MODELS)
def test_order_of_sentences_changes_nothing(fusion: str) -> None:
    model = tiny_model(V, fusion, seed=2)
    batch, turned = collate(EXAMPLES), collate(EXAMPLES[::-1])
    if fusion != "none":
        batch = with_images(batch)
        assert batch.image is not None
        assert batch.image_pad is not None
        turned.image, turned.image_pad = batch.image.flip(0), batch.image_pad.flip(0)
    forward = beam_search(model, batch, SearchOptions(beam_size=3), max_length=(1.0, 5))
    backward = beam_search(model, turned, SearchOptions(beam_size=3), max_length=(1.0, 5))
    assert [h[0].ids for h in forward] == [h[0].ids for h in backward[::-1]]


def test_length_penalty_favours_longer_translations() -> None:
    lengths = []
    for penalty in (-2.0, 4.0):
        total = 0
        for seed in range(6):
            model, batch = tiny_model(V, seed=seed), collate(EXAMPLES)
            found = beam_search(
                model, batch, SearchOptions(beam_size=5, length_penalty=penalty), max_length=(0.0, 9)
            )
            total += sum(len(h[0].ids) for h in found)
        lengths.append(total)
    assert lengths[1] > lengths[0]


def test_the_limit_is_kept_for_each_sentence() -> None:
    model = tiny_model(V)
    with torch.no_grad():
        embed = model.text.frontend.embed.weight
        embed[EOS] = -10 * embed.abs().max()  # never wants to end
    for row, hypotheses in enumerate(
        beam_search(model, collate(EXAMPLES), SearchOptions(beam_size=2), max_length=(1.0, 2))
    ):
        assert all(len(h.ids) <= len(EXAMPLES[row].source) + 1 + 2 - 1 for h in hypotheses)
        assert hypotheses
