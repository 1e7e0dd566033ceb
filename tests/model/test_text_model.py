"""Laws of the text model and its LSTM."""

from __future__ import annotations

import torch
from fairseq2.nn import BatchLayout

from mmt.data.batch import Example, collate
from mmt.data.tokenizer import EOS, PAD
from mmt.model.text_model import LSTMEncoder
from tests.worlds import DIM, tiny_model

V = 30
HEADS = {"heads": ("classification",), "num_labels": 3}


def test_sizes_are_those_of_the_weights() -> None:
    text = tiny_model(V, max_length=50).text
    assert text.frontend.embed.weight.shape == (text.sizes.vocab_size, text.sizes.model_dim)
    assert text.sizes.max_length == 50
    assert text.decoder is not None
    assert text.decoder.layers[0].self_attn.num_heads == text.sizes.num_heads


@torch.inference_mode()
def test_embed_encode_decode_project_is_the_translation_model() -> None:
    model, batch = tiny_model(V), collate([Example([5, 6, 7], [8, 9]), Example([10], [12, 13, 14])])
    text = model.text
    states = text.encode(text.embed(batch.source, batch.source_lens), batch.source_lens)
    layout = BatchLayout.of(batch.source, batch.source_lens)
    decoded = text.decode(batch.target[:, :-1], batch.target_layout(), states, layout)
    assert torch.equal(text.project(decoded), model.logits(batch))


def test_word_dropout_hides_pieces_in_training_and_keeps_positions_and_ends() -> None:
    text = tiny_model(V, dropout_p=0.0, word_dropout_p=0.5).text
    ids = torch.full((40, 5), 9)
    ids[:, -1] = EOS
    whole = text.eval().embed(ids, [5] * 40)
    hidden = text.embed(torch.where(ids == EOS, EOS, PAD), [5] * 40)
    assert not torch.allclose(whole[:, :-1], hidden[:, :-1])
    found = text.train().embed(ids, [5] * 40)
    is_whole, is_hidden = ((found == other).all(dim=2) for other in (whole, hidden))
    assert torch.equal(is_whole | is_hidden, torch.ones(40, 5, dtype=torch.bool))
    assert is_whole[:, -1].all()
    assert 60 < int(is_hidden[:, :-1].sum()) < 100
    assert not text.embed(ids, [5] * 40).equal(found)


def test_word_dropout_hides_no_tags() -> None:
    """Neither those at the beginning nor, wherever they stand, those of the vocabulary."""
    text = tiny_model(V, dropout_p=0.0, word_dropout_p=1 - 1e-9).text
    ids = torch.tensor([[9, 9, 11, 9, 12, EOS]]).expand(40, 6)
    left = torch.tensor([[9, PAD, 11, PAD, 12, EOS]]).expand(40, 6)
    text.num_tags, text.tags = 1, (11, 12)
    assert torch.equal(text.train().embed(ids, [6] * 40), text.eval().embed(left, [6] * 40))


def test_layers_are_skipped_in_training_alone() -> None:
    """Post-norm stacks end with no normalisation: where every layer is skipped, nothing remains of them."""
    batch = collate([Example([5, 6, 7], [8, 9]), Example([10], [12, 13, 14])])
    text = tiny_model(V, dropout_p=0.0, layer_drop_p=1 - 1e-9).text.train()
    tokens = text.embed(batch.source, batch.source_lens)
    states = text.encode(tokens, batch.source_lens)
    assert torch.equal(states, tokens)
    layout = BatchLayout.of(batch.source, batch.source_lens)
    target = batch.target[:, :-1]
    decoded = text.decode(target, batch.target_layout(), states, layout)
    assert torch.equal(decoded, text.decoder_frontend(target, batch.target_layout())[0])
    decoded.sum().backward()
    assert all(p.grad is not None for p in text.parameters()), "each process needs a gradient of every weight"
    assert not torch.allclose(text.eval().encode(tokens, batch.source_lens), tokens)


@torch.inference_mode()
def test_an_lstm_reads_from_left_to_right_and_no_padding() -> None:
    encoder = LSTMEncoder(16, num_layers=2, dropout_p=0.3).eval()
    tokens = torch.randn(2, 6, 16)
    states = encoder(tokens, BatchLayout.of(tokens, [6, 4]))
    alone = encoder(tokens[1:, :4], BatchLayout.of(tokens[1:, :4]))
    torch.testing.assert_close(states[1:, :4], alone)
    assert not states[1, 4:].any()
    tokens[0, 3:] = 7
    changed = encoder(tokens, BatchLayout.of(tokens, [6, 4]))
    torch.testing.assert_close(states[0, :3], changed[0, :3])
    assert not torch.allclose(states[0, 3:], changed[0, 3:])


@torch.inference_mode()
def test_an_lstm_takes_the_transformers_place() -> None:
    """With the image through concatenation: the classic classifier, worked by hand."""
    model = tiny_model(V, "concat", **HEADS, text_encoder="lstm", readout="last", num_decoder_layers=0)
    batch = collate([Example([5, 6, 7], []), Example([8], [])])
    image = torch.randn(2, 1, DIM)
    found = model.represent(batch.source, batch.source_lens, image)
    turned = model.represent(batch.source.flip(0), batch.source_lens[::-1], image.flip(0))
    torch.testing.assert_close(found, turned.flip(0))
    # by hand: W [h; V] + b of the last state
    tokens = model.text.embed(batch.source[:1], [4])
    state = model.text.encode(tokens, [4])[0, -1]
    fusion = model.fusion
    expected = fusion.text(state) + fusion.image(model.image.projections[0](image[0, 0]))
    torch.testing.assert_close(found[0], expected)
