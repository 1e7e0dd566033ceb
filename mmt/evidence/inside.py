"""Inside a model: its gates, its attention, and which part of the image each output token depends on.

Legend: N sentences, S source tokens, T target tokens (eos among them), R image regions, D model width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmt.data.batch import Batch
from mmt.data.buckets import length_batches
from mmt.data.tokenizer import EOS
from mmt.errors import MMTError, local_path
from mmt.features.backbone import Box, as_tensor, boxes_between, region_boxes
from mmt.features.decoding import decode_image
from mmt.features.resize import ResizeCrop
from mmt.inference.loaded import LoadedModel
from mmt.inference.runtime_model import ImageFile, ImageInput
from mmt.model.fusion import fusion_places
from mmt.model.model import MMTModel

_MAX_TOKENS = 2048  # sentences times longest sentence of one batch
VARIANTS = 64  # times that one sentence is scored in one batch
LOGITS = 512  # rows of logits held at once
_PICTURES = 16  # pictures in one forward pass of the backbone


# --- gates ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TokenGate:
    """One source token: its piece, its gate's mean (None without a gate), and ``norm_ratio`` (see GateNumbers)."""

    piece: str
    gate: float | None
    norm_ratio: float


@dataclass(frozen=True)
class GateNumbers:
    """Over the (token, width) entries of the gate; eos counts, padding and sentences without an image do not.

    mean: of the gate; this and the shares are None where the fusion has no gate.
    over_1e5, over_1e10: share of the entries over 1e-5 and over 1e-10, in [0, 1].
    norm_ratio: mean absolute value of the gated image's entries, divided by that of the text's as they stand
    before the fusion; no Euclidean norms.
    """

    mean: float | None
    over_1e5: float | None
    over_1e10: float | None
    norm_ratio: float


@dataclass(frozen=True)
class SentenceGate(GateNumbers):
    """The numbers of one sentence, and its tokens in order, eos last."""

    tokens: list[TokenGate]


@dataclass(frozen=True)
class GateStatistics(GateNumbers):
    """The numbers of a dataset; ``sentences`` in its order, None for one that is empty or without an image."""

    num_sentences: int
    num_tokens: int
    sentences: list[SentenceGate | None]


def gate_statistics(
    loaded: LoadedModel,
    sources: Sequence[str],
    images: Sequence[ImageInput | None],
    progress: Callable[[int], object] | None = None,
) -> GateStatistics:
    """How far the fusion lets the images in, Wu et al. (2021), https://aclanthology.org/2021.acl-long.480.

    Args:
        sources: source sentences as text.
        images: one a sentence, as ``LoadedModel.features_of`` takes them; read batch by batch.
        progress: called with the number of sentences just finished.
    Raises:
        MMTError: a text-only model, a fusion that does nothing between encoder and decoder, no sentence with an
            image, unequal numbers, an unreadable or unknown image, a sentence longer than the model's positions.
    """
    loaded.refuse_images("gate statistics of images")
    if len(images) != len(sources):
        raise MMTError(f"expected one image (or None) a sentence, found {len(images)} for {len(sources)}.")
    ids = [_encoded(loaded, source, f"sentence {number}") for number, source in enumerate(sources, 1)]
    seen = [number for number, image in enumerate(images) if image is not None and ids[number]]
    if not seen:
        raise MMTError(
            f"gate statistics: none of {len(sources):,} sentences has an image. "
            "Take data whose images have features."
        )
    if progress is not None:
        progress(len(sources) - len(seen))
    sentences: list[SentenceGate | None] = [None] * len(sources)
    total, num_tokens = [], 0
    for places in length_batches([(len(ids[number]) + 1, 1) for number in seen], _MAX_TOKENS):
        chosen = [seen[place] for place in places]
        rows = loaded.features_of([images[number] for number in chosen])
        sums = _token_sums(loaded.model, loaded.batch([ids[number] for number in chosen], rows))
        for number, padded in zip(chosen, sums, strict=True):
            pieces = loaded.tokenizer.pieces([*ids[number], EOS])
            of_tokens = padded[: len(pieces)]
            numbers = [_numbers(row) for row in of_tokens]
            tokens = [TokenGate(p, n.mean, n.norm_ratio) for p, n in zip(pieces, numbers, strict=True)]
            sentences[number] = SentenceGate(**vars(_numbers(of_tokens.sum(0))), tokens=tokens)
            total.append(of_tokens.sum(0))
            num_tokens += len(pieces)
        if progress is not None:
            progress(len(chosen))
    overall = vars(_numbers(np.sum(total, axis=0)))
    return GateStatistics(**overall, num_sentences=len(seen), num_tokens=num_tokens, sentences=sentences)


@torch.inference_mode()
def _token_sums(model: MMTModel, batch: Batch) -> NDArray[np.float64]:
    """(N, S, 6) sums over the width: of 1, |gated image|, |text|; with a gate, of it, it > 1e-5, it > 1e-10."""
    look = model.look(batch.source, batch.source_lens, _image(batch), batch.image_pad)
    if look is None:
        kind = model.config.fusion
        place = " and the ".join(sorted(fusion_places(kind), reverse=True))
        raise MMTError(
            f"gate statistics: the fusion '{kind}' lets the image into the {place} itself, so "
            "there is no gate of the source tokens. Use a model with concat, gated or selective fusion."
        )
    entries = [torch.ones_like(look.text), look.image.abs(), look.text.abs()]
    if look.gate is not None:
        entries += [look.gate, look.gate > 1e-5, look.gate > 1e-10]
    # float64 from here on, so that neither padding nor the order of the sentences shows in the sums
    sums: NDArray[np.float64] = torch.stack([entry.double().sum(-1) for entry in entries], -1).cpu().numpy()
    return sums


def _numbers(sums: NDArray[np.float64]) -> GateNumbers:
    """From the sums of ``_token_sums``, (6,), or (3,) without a gate."""
    entries, image, text, *of_gate = sums.tolist()
    mean, over_1e5, over_1e10 = (value / entries for value in of_gate) if of_gate else (None, None, None)
    return GateNumbers(mean, over_1e5, over_1e10, image / text)


# --- maps over the image ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class RegionMap:
    """What each region of an image is to each token of a sentence.

    tokens: pieces of the source (``attention``) or the target (the others), eos last.
    values: (tokens, R) float64. ``attention``: shares, which sum to 1 over the regions. The others are
    log-probability in nats, what the region adds to the token's; below 0 it speaks against the token.
    boxes: where each region lies in the picture; None where that is not known. A network sees beyond a region's
    edges, so the box is the region's middle rather than its limit.
    """

    tokens: list[str]
    values: NDArray[np.float64]
    method: Literal["attention", "occlusion", "gradient", "patches"]
    boxes: list[Box] | None = None


def region_attention(loaded: LoadedModel, source: str, image: ImageInput) -> RegionMap | None:
    """How much attention each source token pays to each region of the image; None for a fusion without attention.

    Raises:
        MMTError: a text-only model, an unreadable or unknown image, a sentence longer than the model's positions.
    """
    batch = _one(loaded, source, (), image)
    with torch.inference_mode():
        look = loaded.model.look(batch.source, batch.source_lens, _image(batch), batch.image_pad)
    if look is None or look.attention is None:
        return None
    tokens = loaded.tokenizer.pieces(batch.source[0].tolist())
    return RegionMap(tokens, look.attention[0].double().cpu().numpy(), "attention")


def region_importance(
    loaded: LoadedModel,
    source: str,
    target: str | Sequence[int],
    image: ImageInput,
    method: Literal["occlusion", "gradient"] = "occlusion",
) -> RegionMap:
    """How much each region of the image's features supports each token of a given translation.

    ``occlusion``: log-probability of the token with all regions, minus without the one (Zeiler and Fergus, 2014,
    https://arxiv.org/abs/1311.2901, on features); with one region, minus without the image. ``gradient``: its
    gradient times the features, summed over their width (Shrikumar et al., 2016, https://arxiv.org/abs/1605.01713).

    Args:
        target: the translation, as text or as ids without bos and eos.
        image: as ``LoadedModel.features_of`` takes it.
    Raises:
        MMTError: a text-only model, an unreadable or unknown image, a sentence longer than the model's positions;
            ``gradient`` of a model with ``normalise_features``.
    """
    if method == "gradient" and loaded.model.config.normalise_features:
        # What does not change when the features are multiplied has a gradient at right angles to them.
        raise MMTError(
            "region_importance: with normalise_features, gradient times features is 0 for every region. Use "
            "method='occlusion'."
        )
    batch = _one(loaded, source, target, image)
    values = (occlusion if method == "occlusion" else gradient)(loaded.model, batch)
    return RegionMap(
        loaded.tokenizer.target_pieces(batch.labels[0].tolist()), values.double().cpu().numpy(), method
    )


def patch_importance(
    loaded: LoadedModel,
    source: str,
    target: str | Sequence[int],
    picture: str | ImageFile,
    num_patches: int = 7,
) -> RegionMap:
    """How much each patch of the picture supports each token of a given translation; for features of any kind.

    A patch is covered with the picture's mean colour, and the features are extracted again; the value is the
    token's log-probability with the whole picture, minus with the covered one, Zeiler and Fergus (2014).

    Args:
        target: the translation, as text or as ids without bos and eos.
        picture: the picture itself, not its id in a feature store.
        num_patches: in a row and in a column of what the backbone sees of the picture.
    Raises:
        MMTError: a text-only model, one with several sets of features, no backbone, an unreadable picture, a
            sentence longer than the model's positions.
    """
    if len(loaded.backbones) > 1:
        raise MMTError(
            "patches: expected a model with one set of features, as each set cuts the picture its own way."
        )
    backbone = loaded.backbones[0]
    pixels = decode_image(local_path(picture) if isinstance(picture, str) else picture)
    whole: Tensor = backbone.transform(as_tensor(pixels))  # (3, C, C)
    edges = [i * whole.size(-1) // num_patches for i in range(num_patches + 1)]
    grey = whole.float().mean((1, 2), keepdim=True).round().to(whole.dtype)  # (3, 1, 1)
    pictures = whole.repeat(1 + num_patches**2, 1, 1, 1)
    for number in range(num_patches**2):
        row, column = divmod(number, num_patches)
        pictures[1 + number, :, edges[row] : edges[row + 1], edges[column] : edges[column + 1]] = grey
    with torch.inference_mode():
        parts = [pictures[first : first + _PICTURES] for first in range(0, len(pictures), _PICTURES)]
        features = torch.cat([backbone(part) for part in parts]).cpu().numpy()  # (P, R, dim)
    source_ids, target_ids = _encoded(loaded, source, "source"), _encoded(loaded, target, "target")
    drops = []
    for first in range(1, len(features), VARIANTS):
        rows = [features[0], *features[first : first + VARIANTS]]
        batch = loaded.batch([source_ids] * len(rows), list(rows), [target_ids] * len(rows))
        drops.append(_drops(loaded.model, batch))
    boxes = boxes_between(edges, backbone.signature.transform, pixels.shape[1], pixels.shape[0])
    tokens = loaded.tokenizer.target_pieces([*target_ids, EOS])
    return RegionMap(tokens, torch.cat(drops, 1).double().cpu().numpy(), "patches", boxes)


def image_importance(
    loaded: LoadedModel,
    source: str,
    target: str | Sequence[int],
    image: ImageInput | None,
    picture: str | ImageFile | None = None,
) -> RegionMap | None:
    """The map over the image that a model allows: of its regions, else of patches of the picture, else None.

    Regions (``region_importance``, occlusion) where the features have several; patches (``patch_importance``)
    where they have one, of a square of the picture, which is at hand; None otherwise, and for a text-only model,
    one with several sets of features, or a sentence without image.

    Args:
        target: the translation, as text or as ids without bos and eos.
        image: as ``LoadedModel.features_of`` takes it.
        picture: the picture itself where ``image`` is an id in the model's feature store or features; with it the
            map has boxes.
    Raises:
        MMTError: as the two.
    """
    signature = loaded.card.features
    if image is None or signature is None:
        return None
    if len(signature.sets) > 1:
        return None
    if loaded.features is None and not isinstance(image, np.ndarray):
        picture = image
    if signature.num_regions > 1:
        regions = region_importance(loaded, source, target, image)
        if picture is None:
            return regions
        height, width, _ = decode_image(local_path(picture) if isinstance(picture, str) else picture).shape
        return replace(regions, boxes=region_boxes(signature, width, height))
    if picture is None or ResizeCrop.of(loaded.backbones[0].signature.transform) is None:  # no square to cut
        return None
    return patch_importance(loaded, source, target, picture)


# --- of one sentence --------------------------------------------------------------------------------------


@torch.inference_mode()
def occlusion(model: MMTModel, batch: Batch) -> Tensor:
    """(T, R) log-probability of each target token of the batch's one sentence, minus that without the region.

    With ``merge_sets``, R is of one set, as padding in one set takes a region out of all.
    """
    num_regions = model.config.image_sets[0][0] if model.config.merge_sets else _image(batch).size(1)
    drops = []
    for first in range(0, num_regions, VARIANTS):
        left_out = range(first, min(first + VARIANTS, num_regions))
        variants = _repeat(batch, 1 + len(left_out))
        assert variants.image_pad is not None  # noqa: S101
        variants.image_pad[range(1, 1 + len(left_out)), left_out] = True
        drops.append(_drops(model, variants))
    return torch.cat(drops, 1)


def gradient(model: MMTModel, batch: Batch) -> Tensor:
    """(T, R) gradient of each target token's log-probability times the image's features, for one sentence.

    With ``merge_sets``, R is of one set, and a region's value is the sum over the sets.
    """
    rows = []
    targets = batch.labels[0]
    for first in range(0, len(targets), VARIANTS):
        places = range(first, min(first + VARIANTS, len(targets)))
        # One copy of the sentence for each token: a single backward pass computes all their gradients.
        copies = _repeat(batch, len(places))
        image = _image(copies).requires_grad_()
        states = model.decode_targets(copies)[range(len(places)), places]  # (K, D)
        total = _log_p(model, states, targets[first : places.stop]).sum()
        (slope,) = torch.autograd.grad(total, image)
        rows.append((slope * image.detach()).sum(-1))  # (K, R)
    values = torch.cat(rows)
    if model.config.merge_sets:
        return torch.stack(torch.split(values, [num for num, _ in model.config.image_sets], 1)).sum(0)
    return values


def _drops(model: MMTModel, batch: Batch) -> Tensor:
    """(T, N - 1): log-probability of each target token in the first row of the batch, minus in each other row."""
    with torch.inference_mode():
        states, ids = model.decode_targets(batch).flatten(0, 1), batch.labels.flatten()
        parts = [slice(first, first + LOGITS) for first in range(0, len(ids), LOGITS)]
        log_p = torch.cat([_log_p(model, states[part], ids[part]) for part in parts]).view(len(batch.source), -1)
        return (log_p[0] - log_p[1:]).T


def _log_p(model: MMTModel, states: Tensor, ids: Tensor) -> Tensor:
    """(M) log-probabilities of ``ids`` (M) after the decoder's ``states`` (M, D)."""
    log_p = torch.log_softmax(model.text.project(states).float(), -1)
    return log_p.gather(1, ids.unsqueeze(1)).squeeze(1)


def _one(loaded: LoadedModel, source: str, target: str | Sequence[int], image: Any) -> Batch:
    loaded.refuse_images("an image")
    ids = _encoded(loaded, source, "source"), _encoded(loaded, target, "target")
    return loaded.batch([ids[0]], loaded.features_of([image]), [ids[1]])


def _encoded(loaded: LoadedModel, text: str | Sequence[int], what: str) -> list[int]:
    target = what != "source"
    ids = loaded.encode(text, target=target) if isinstance(text, str) else list(text)
    most = loaded.max_pieces(target=target)
    if len(ids) > most:
        raise MMTError(
            f"{what}: expected at most {most} pieces, found {len(ids):,}. Cut it at an end of sentence."
        )
    return ids


def _image(batch: Batch) -> Tensor:
    if batch.image is None:
        raise MMTError("expected a sentence with an image, found none.")
    return batch.image


def _repeat(batch: Batch, num: int) -> Batch:
    """The batch's one sentence ``num`` times."""
    image = _image(batch)
    pad = torch.zeros_like(image[:, :, 0], dtype=torch.bool) if batch.image_pad is None else batch.image_pad
    return Batch(
        batch.source.repeat(num, 1),
        batch.source_lens * num,
        batch.target.repeat(num, 1),
        batch.target_lens * num,
        image.repeat(num, 1, 1),
        pad.repeat(num, 1),
        num,
    )
