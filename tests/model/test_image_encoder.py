"""Laws of the encoder of recordings, and of what labels are read from."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mmt.data.batch import Example, collate
from mmt.errors import MMTError
from mmt.model.build import build_model
from mmt.model.config import MMTConfig
from mmt.model.fusion import FUSIONS
from mmt.model.image_encoder import FrameEncoder, warped_bins
from tests.worlds import DIM, tiny_model

V = 30
KINDS = [name for name in FUSIONS if name != "none"]
BINS = 10
HEADS = {"heads": ("classification",), "num_labels": 3}


def frame_encoder(num_frame_layers: int = 1, **changes: object) -> FrameEncoder:
    model = tiny_model(
        V, "gated", image_encoder="frames", image_sets=((40, BINS),), num_frame_layers=num_frame_layers, **changes
    )
    encoder = model.image.projections[0]
    assert isinstance(encoder, FrameEncoder)
    return encoder


def recordings(lens: list[int], room: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    frames = torch.randn(len(lens), room, BINS, generator=torch.Generator().manual_seed(3))
    return frames, torch.arange(room) >= torch.tensor(lens).unsqueeze(1)


@pytest.mark.parametrize("num_frame_layers", [0, 1])
@torch.inference_mode()
def test_what_lies_behind_a_recording_changes_nothing(num_frame_layers: int) -> None:
    encoder = frame_encoder(num_frame_layers)
    frames, pad = recordings([23, 40, 1, 0])
    states, padding = encoder(frames, pad)
    assert states.shape == (4, 10, 16)
    assert (~padding).sum(1).tolist() == [6, 10, 1, 0]
    frames[0, 23:], frames[3] = math.nan, math.nan
    again, _ = encoder(frames, pad)
    torch.testing.assert_close(states, again, equal_nan=False)
    alone, _ = encoder(frames[:1, :23], pad[:1, :23])
    torch.testing.assert_close(states[:1, :6], alone, rtol=1e-4, atol=1e-5)


def test_masks_hide_frames_and_bins_in_training_only() -> None:
    encoder = frame_encoder(0, num_frame_masks=4, dropout_p=0.0)
    frames, pad = recordings([40, 40])
    with torch.inference_mode():
        first, second = encoder(frames, pad)[0], encoder(frames, pad)[0]
        torch.testing.assert_close(first, second, rtol=0, atol=0)
        encoder.train()
        torch.manual_seed(1)
        masked, other = encoder(frames, pad)[0], encoder(frames, pad)[0]
        torch.manual_seed(1)
        again = encoder(frames, pad)[0]
    assert not torch.allclose(first, masked)
    assert not torch.allclose(masked, other)
    torch.testing.assert_close(masked, again, rtol=0, atol=0)  # so that a resumed run is the same


def test_frames_of_nan_are_no_regions() -> None:
    """A store has room for the longest recording; what is behind the end of a shorter one is nan in it."""
    batch = collate([Example([5, 6], []), Example([7], []), Example([8], [])])
    values = np.ones((2, 4, BINS), np.float32)
    values[1, 1:] = math.nan
    batch.add_images([0, 2], values)
    assert batch.image is not None
    assert batch.image_pad is not None
    assert batch.image_pad.tolist() == [[False] * 4, [True] * 4, [False, True, True, True]]
    assert torch.isfinite(batch.image).all()


@pytest.mark.parametrize("fusion", KINDS)
@pytest.mark.parametrize("readout", ["decoder", "mean", "last"])
@torch.inference_mode()
def test_labels_of_a_sentence_without_an_image_are_those_of_the_text_alone(fusion: str, readout: str) -> None:
    if readout != "decoder" and fusion in ("late", "hybrid"):
        pytest.skip("late fusion has a decoder")
    changes = {**HEADS, "readout": readout, "num_decoder_layers": 1 if readout == "decoder" else 0}
    model = tiny_model(V, fusion, **changes)
    text = tiny_model(V, "none", **changes)
    text.load_state_dict({n: w for n, w in model.state_dict().items() if n in text.state_dict()})
    batch = collate([Example([5, 6, 7], []), Example([8, 9], []), Example([10, 11, 12, 13], [])])
    alone = text.represent(batch.source, batch.source_lens)
    batch.add_images([0, 2], np.random.default_rng(1).normal(size=(2, 1, DIM)).astype(np.float32))
    both = model.represent(batch.source, batch.source_lens, batch.image, batch.image_pad)
    assert both.shape == (3, 16)
    torch.testing.assert_close(both[1], alone[1])
    assert not torch.allclose(both[0], alone[0])
    for row, length in enumerate(batch.source_lens):  # one by one it is the same
        assert batch.image is not None
        assert batch.image_pad is not None
        one = model.represent(
            batch.source[row : row + 1, :length],
            [length],
            batch.image[row : row + 1],
            batch.image_pad[row : row + 1],
        )
        torch.testing.assert_close(both[row], one[0], rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_readouts_by_hand() -> None:
    batch = collate([Example([5, 6, 7], []), Example([8], [])])
    for readout in ("mean", "last"):
        model = tiny_model(V, "none", **HEADS, readout=readout, num_decoder_layers=0)
        states = model.encode(batch.source, batch.source_lens).states
        found = model.represent(batch.source, batch.source_lens)
        expected = {"mean": states[1, :2].mean(0), "last": states[1, 1]}[
            readout
        ]  # "8" and the end of the sentence
        torch.testing.assert_close(found[1], expected)


@pytest.mark.parametrize("fusion", KINDS)
@torch.inference_mode()
def test_a_model_that_reads_no_text_sees_the_image_alone(fusion: str) -> None:
    model = tiny_model(V, fusion, **HEADS, reads_text=False)
    image = torch.randn(2, 1, DIM)
    first = model.represent(torch.tensor([[5, 6, 3], [7, 3, 0]]), [3, 2], image)
    second = model.represent(torch.tensor([[9, 3], [8, 3]]), [2, 2], image)
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert not torch.allclose(first[0], first[1])


@pytest.mark.parametrize("fusion", KINDS)
def test_gradients_reach_every_part_that_a_label_is_read_from(fusion: str) -> None:
    torch.manual_seed(0)
    sizes = {"model_dim": 16, "ffn_dim": 32, "num_encoder_layers": 1, "num_decoder_layers": 1, "num_heads": 2}
    seen = {"image_encoder": "frames", "image_sets": ((40, BINS),), "dropout_p": 0.0}
    model = build_model(MMTConfig(fusion=fusion, vocab_size=V, **sizes, **seen, **HEADS))  # type: ignore[arg-type]
    frames, pad = recordings([23, 40])
    read = model.represent(torch.tensor([[5, 6, 3], [7, 3, 0]]), [3, 2], frames, pad)
    model.heads["classification"](read).square().sum().backward()  # type: ignore[no-untyped-call]
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name


def test_warping_moves_bins_and_nothing_without_it() -> None:
    torch.manual_seed(0)
    ramp = torch.arange(20.0).expand(50, 3, 20)
    warped = warped_bins(ramp, 0.2)
    slopes = warped[:, 0, 10] / 10  # on a ramp, what is read at a place is the place
    assert slopes.min() >= 0.8 - 1e-5
    assert slopes.max() <= 1.2 + 1e-5
    assert slopes.std() > 0.05
    torch.testing.assert_close(warped, (torch.arange(20.0) * slopes[:, None, None]).clamp(max=19).expand_as(ramp))
    torch.testing.assert_close(warped_bins(ramp, 0.0), ramp)


def test_two_layers_by_their_formula() -> None:
    model = tiny_model(V, "gated", image_encoder="mlp", image_sets=((3, DIM),))
    weights = {name.removeprefix("image.projections.0."): one for name, one in model.named_parameters()}
    features, pad = torch.randn(4, 3, DIM), torch.zeros(4, 3, dtype=torch.bool)
    pad[0, 1:] = True
    with torch.no_grad():
        states, _ = model.image(features, pad)
        means = torch.stack([row[~gone].mean(0) for row, gone in zip(features, pad, strict=True)])
        hidden = means @ weights["1.weight"].T + weights["1.bias"]
        hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
        expected = hidden @ weights["4.weight"].T + weights["4.bias"]
    assert hidden.shape == (4, 32)
    torch.testing.assert_close(states[:, 0], expected)
    model.train()
    assert not torch.equal(model.image(features, pad)[0], states)  # dropout


# --- several sets of the same regions ----------------------------------------------------------------------


def test_merged_sets_are_the_projection_of_both_at_each_place() -> None:
    """The sum over the sets is one linear layer of both sets' features of a region, side by side."""
    model = tiny_model(V, "selective", merge_sets=True, image_sets=((3, DIM), (3, DIM - 2)))
    features, pad = torch.randn(2, 6, DIM), torch.zeros(2, 6, dtype=torch.bool)
    pad[1, 4] = True  # the second place, in the second set alone
    features[1, 4] = torch.nan
    first, second = model.image.projections
    with torch.no_grad():
        states, padding = model.image(features, pad)
        both = torch.cat([features[:, :3], features[:, 3:, : DIM - 2]], 2)
        expected = both @ torch.cat([first.weight, second.weight], 1).T + first.bias + second.bias
    assert padding.tolist() == [[False] * 3, [False, True, False]]
    torch.testing.assert_close(states[~padding], expected[~padding])


def test_normalised_features_have_mean_0_and_variance_1_in_each_region() -> None:
    """So a set of small numbers counts as much as one of large numbers."""
    model = tiny_model(V, "selective", normalise_features=True, image_sets=((2, DIM), (1, DIM - 2)))
    plain = tiny_model(V, "selective", image_sets=((2, DIM), (1, DIM - 2)))
    plain.load_state_dict(model.state_dict())
    features = torch.randn(2, 3, DIM)
    by_hand = torch.zeros_like(features)
    for regions, dim in ((slice(0, 2), DIM), (slice(2, 3), DIM - 2)):
        part = features[:, regions, :dim]
        by_hand[:, regions, :dim] = (part - part.mean(2, keepdim=True)) / part.std(2, unbiased=False, keepdim=True)
    with torch.no_grad():
        expected, _ = plain.image(by_hand, None)
        torch.testing.assert_close(model.image(features, None)[0], expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(model.image(1000 * features - 7, None)[0], expected, rtol=1e-3, atol=1e-3)


def test_sets_that_have_other_regions_cannot_be_merged() -> None:
    with pytest.raises(MMTError, match=r"merge_sets: expected sets .* the same number of regions, found 3 and 2"):
        tiny_model(V, "selective", merge_sets=True, image_sets=((3, DIM), (2, DIM)))
