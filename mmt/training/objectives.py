"""Losses beside that of translation, most of which make a model use the image. Each is a mean.

Legend: N sentences, P sentences with an image, S source tokens, T target tokens, D model width, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from mmt.data.batch import Batch
from mmt.data.tokenizer import EOS, PAD, UNK
from mmt.model.fusion import mean_region
from mmt.model.image_encoder import split_sets
from mmt.model.losses import label_smoothed_nll, r_drop_loss, soft_cross_entropy, token_log_probs
from mmt.model.model import MMTModel
from mmt.training.forward_pass import Pass, no_gradient, without_dropout

_MARGIN = 0.1  # Elliott and Kádár's alpha
_HARD_MARGIN = 0.2  # VSE++'s
_MASKED = 0.25  # share of the source tokens, Futeral et al.'s
_MOST_PCXMI = 3.0  # nats: a token that the image makes 20 times as probable has the largest weight


def contrastive(model: MMTModel, batch: Batch) -> Tensor:
    """Symmetric cross-entropy of a batch's pairs, Radford et al. (2021), https://arxiv.org/abs/2103.00020.

    A sentence is represented by the mean of its encoder states without the image, an image by the mean of its
    projected regions. Sentences of the same image are not negatives of each other.
    """
    text, rows = _sentences(model, batch)
    image = model.image_means(batch)[rows]  # (P, D)
    logits: Tensor = model.heads["contrastive"](text, image)
    if len(rows) < 2:
        return (logits * 0).sum()
    assert batch.image is not None  # noqa: S101
    same = _same_image(batch.image[rows])
    logits = logits.masked_fill(same & ~torch.eye(len(rows), dtype=torch.bool, device=same.device), -torch.inf)
    pairs = torch.arange(len(rows), device=logits.device)
    return (cross_entropy(logits, pairs) + cross_entropy(logits.T, pairs)) / 2


def hardest_negative(model: MMTModel, batch: Batch) -> Tensor:
    """Max-margin loss with each pair's hardest negatives, Faghri et al. (2018), https://arxiv.org/abs/1707.05612.

    The loss of VSE++: mean over pairs of max(0, 0.2 - s(t, v) + s(t, v')) + max(0, 0.2 - s(t, v) + s(t', v)).
    v' and t' are the most similar wrong image and wrong sentence in the batch, s is the cosine. As in
    ``contrastive``, sentences of the same image are not negatives of each other.
    """
    text, rows = _sentences(model, batch)
    image = model.image_means(batch)[rows]  # (P, D)
    head: Any = model.heads["contrastive"]
    logits: Tensor = head(text, image)
    cosine = head.embed_text(text) @ head.embed_image(image).T
    if len(rows) < 2:
        return (logits * 0).sum()
    assert batch.image is not None  # noqa: S101
    others = cosine.masked_fill(_same_image(batch.image[rows]), -torch.inf)
    if others.isneginf().all():
        return (logits * 0).sum()
    loss = (logits * 0).sum()  # gives the temperature, which has no effect, a gradient in every process
    for dim in (0, 1):
        loss = loss + (_HARD_MARGIN - cosine.diagonal() + others.amax(dim)).clamp(min=0).mean()
    return loss


def classification(logits: Tensor, label: Tensor, label_smoothing: float) -> Tensor:
    """Cross-entropy of (N, labels) logits with (N) labels, mean over those that are not -1."""
    loss = cross_entropy(logits, label, ignore_index=-1, reduction="sum", label_smoothing=label_smoothing)
    return loss / (label >= 0).sum().clamp(min=1)


def regression(scores: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute error of (N) scores, over those whose truth is not nan."""
    unknown = truth.isnan()
    error = (scores - truth.masked_fill(unknown, 0)).masked_fill(unknown, 0)
    return error.abs().sum() / (~unknown).sum().clamp(min=1)


def imagination(model: MMTModel, batch: Batch) -> Tensor:
    """Max-margin loss of the predicted image vectors, Elliott and Kádár (2017), https://aclanthology.org/I17-1014.

    Mean over pairs and the batch's other images u of max(0, 0.1 - cos(v', v) + cos(v', u)). v' is predicted from
    the mean of the encoder states without the image; v and u are the means of the images' features.
    """
    text, rows = _sentences(model, batch)
    assert batch.image is not None  # noqa: S101
    features = batch.image[rows]
    imagined: Tensor = model.heads["imagination"](text)  # (P, image_dim)
    if len(rows) < 2:
        return (imagined * 0).sum()
    pads = None if batch.image_pad is None else batch.image_pad[rows]
    sets = split_sets(features, pads, model.config.image_sets)
    actual = torch.cat([mean_region(*one)[:, 0] for one in sets], 1)  # (P, image_dim)
    cosine = normalize(imagined, dim=1) @ normalize(actual, dim=1).T  # (P, P)
    other = ~_same_image(features)
    loss = (_MARGIN - cosine.diagonal().unsqueeze(1) + cosine).clamp(min=0)
    return loss.masked_fill(~other, 0).sum() / other.sum().clamp(min=1)


def masked_words(model: MMTModel, batch: Batch, mask_id: int = UNK, num_tags: int = 0) -> Tensor:
    """Cross-entropy of masked source tokens, given the others and the image, Futeral et al. (2024).

    The visually conditioned masked language modelling of ZeroMMT, https://arxiv.org/abs/2407.13579. ``mask_id``
    replaces a random quarter of the tokens, which are predicted from the encoder's states by the source's
    embedding: the output projection, unless the target has a vocabulary of its own. Never masked are eos, unknown
    tokens, language tags, and ids that are no words (output bias -inf).

    Args:
        mask_id: ``Tokenizer.mask_id``.
        num_tags: language tags at the beginning of each sentence, ``Tokenizer.source_prefix``.
    """
    source, output = batch.source, model.text.final_proj
    mask = torch.rand(source.shape, device=source.device) < _MASKED
    mask &= (source != PAD) & (source != EOS) & (source != UNK)
    mask[:, :num_tags] = False
    weight: Any = output.weight
    bias = output.bias
    if model.text.target_frontend is not None:
        weight, bias = model.text.frontend.embed.weight, None
    if bias is not None:
        mask &= ~bias.isneginf()[source]
    memory = model.encode(source.masked_fill(mask, mask_id), batch.source_lens, batch.image, batch.image_pad)
    states = memory.states[:, : source.size(1)]  # the source tokens come first in every fusion
    loss, _ = label_smoothed_nll(states[mask], weight, source[mask], 0.0, bias)
    mean: Tensor = loss / mask.sum().clamp(min=1)
    return mean


def faithfulness(given: Pass, teacher: MMTModel | None = None) -> Tensor:
    """KL divergence of the model, which sees the image, from a text model; mean over the target's tokens.

    KL(teacher || model) at each token of the reference, as in ZeroMMT, https://arxiv.org/abs/2407.13579: the model
    learns to use the image without forgetting what the teacher knows. The teacher's pass has no dropout.

    Args:
        teacher: a frozen text model; None where the model's own text weights are frozen: the teacher is then the
            model without its image, and a sentence without an image adds exactly 0.
    """
    model, batch = given.model, given.batch
    if teacher is None:
        real, rows = given.real, given.image_rows
        teacher, teacher_states = model, given.text_states
        # Without an image in the batch there is one row of nothing real, see Pass.illustrated.
        states = given.states[rows if len(rows) else rows.new_zeros(1)][:, : real.size(1)][real]
    else:
        real = batch.labels != PAD
        states = given.states[real]
        with no_gradient():
            memory = teacher.encode(batch.source, batch.source_lens)
            teacher_states = teacher.decode_after(batch, memory)[real]
    ours, theirs = model.text.final_proj, teacher.text.final_proj
    loss, entropy = soft_cross_entropy(states, ours.weight, teacher_states, theirs.weight, ours.bias, theirs.bias)
    divergence: Tensor = loss - entropy
    return divergence / batch.num_target_tokens


def r_drop(
    given: Pass, alpha: float, smoothing: float, weights: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Translation's loss of two passes with different dropout, and their distance; sums over target tokens.

    R-Drop, Liang et al. (2021), https://arxiv.org/abs/2106.14448:

        loss = (CE_1 + CE_2) / 2 + alpha / 2 * (KL(P_1 || P_2) + KL(P_2 || P_1)) / 2

    which is half of theirs, CE_1 + CE_2 + alpha * (KL(P_1 || P_2) + KL(P_2 || P_1)) / 2: ``alpha`` is theirs, and
    the loss is as large as that of a run without R-Drop. Both passes see the same image.

    Args:
        smoothing: of the labels in both cross-entropies; the divergence has none.
        weights: (N, T) of the tokens in both cross-entropies, see ``image_weights``; the divergence has none.
    Returns:
        The loss; and without gradient the mean negative log-likelihood of the two passes, unweighted and without
        smoothing, and the mean of the two divergences.
    """
    model, batch, output = given.model, given.batch, given.model.text.final_proj
    places = batch.target_places()
    states, others = (one.flatten(0, 1)[places] for one in (given.states, model.decode_targets(batch)))
    targets = batch.labels.flatten()[places]
    of_tokens = None if weights is None else weights.flatten()[places]
    return r_drop_loss(states, others, output.weight, targets, smoothing, alpha, output.bias, of_tokens)


def image_weights(given: Pass, strength: float) -> tuple[Tensor, Tensor]:
    """The weight of each target token's loss, by how much more probable the image makes the token.

    w = 1 + strength * min(max(pcxmi, 0), 3), where pcxmi = log p(y | y_<, x, image) - log p(y | y_<, x), in nats,
    is the pointwise cross-mutual information of Fernandes et al. (2021), https://arxiv.org/abs/2105.03482, with
    the image as the context. Weighting the loss by it: Mąka et al. (2026), https://arxiv.org/abs/2609.31169, whose
    abstract does not define the weight, so that this one is ours. Tokens that the image does not help keep weight
    1. Weights are not normalised: the loss of a sentence depends on no other sentence of its batch.

    Both probabilities are of the model as it is now, without dropout, and have no gradient.

    Returns:
        (N, T) weights, 1 in padding and for sentences without an image; and the sum of pcxmi over the batch's
        target tokens, 0 for those without an image.
    """
    model, batch, real, output = given.model, given.illustrated, given.real, given.model.text.final_proj
    weights = torch.ones(given.batch.labels.shape, device=real.device)
    with no_gradient():
        with without_dropout(model):
            states = model.decode_targets(batch)[real]
        targets = batch.labels[real]
        log_p, log_p_text = (
            token_log_probs(one, output.weight, targets, output.bias) for one in (states, given.text_states)
        )
        pcxmi = log_p - log_p_text  # of each real token
        of_rows = torch.ones(real.shape, device=real.device)
        of_rows[real] += strength * pcxmi.clamp(0, _MOST_PCXMI)
        weights[given.image_rows, : real.size(1)] = of_rows[: len(given.image_rows)]
    return weights, pcxmi.sum()


def _sentences(model: MMTModel, batch: Batch) -> tuple[Tensor, Tensor]:
    """(P, D) mean encoder states, without the image, of the sentences that have one; and their (P) rows."""
    assert batch.image is not None  # noqa: S101
    means = model.sentence_means(batch)
    if batch.image_pad is None:
        rows = torch.arange(len(batch.source), device=means.device)
    else:
        rows = (~batch.image_pad).any(dim=1).nonzero()[:, 0]
    return means[rows], rows


def _same_image(features: Tensor) -> Tensor:
    """(P, R, dim) features to (P, P) bool: True if two sentences have the same image; True on the diagonal."""
    _, number = torch.unique(features.flatten(1), dim=0, return_inverse=True)
    same: Tensor = number.unsqueeze(0) == number.unsqueeze(1)
    return same
