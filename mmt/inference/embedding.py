"""Sentences and images as vectors in one space, by a model trained with the contrastive objective."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from mmt.data.buckets import length_batches
from mmt.data.feature_store import open_features
from mmt.errors import MMTError
from mmt.inference.compressed import BLOCK
from mmt.inference.index import Index, write_index
from mmt.inference.loaded import LoadedModel
from mmt.inference.retrieve import IndexedImages, Query
from mmt.inference.runtime_model import ImageInput
from mmt.io.terminal import no_bar
from mmt.model.heads import ContrastiveHead

_IMAGES = 256  # images in one forward pass


@torch.inference_mode()
def embed_sentences(
    loaded: LoadedModel,
    sentences: Sequence[str],
    *,
    max_tokens: int = 8192,
    progress: Callable[[int], object] | None = None,
) -> NDArray[np.float32]:
    """
    Args:
        sentences: N; one that exceeds the model's maximum length is truncated.
        max_tokens: sentences times the longest sentence of a batch.
        progress: called with the number of sentences just finished.
    Returns:
        (N, D) vectors of length 1, whose dot products with those of ``embed_images`` are cosines.
    Raises:
        MMTError: the model was not trained with the contrastive objective.
    """
    model, head = loaded.model, _head(loaded)
    longest = model.text.sizes.max_length - 1
    sources = [loaded.tokenizer.encode(sentence)[:longest] for sentence in sentences]
    vectors = np.zeros((len(sources), model.text.sizes.model_dim), np.float32)
    for rows in length_batches([(len(ids) + 1, 1) for ids in sources], max_tokens):
        batch = loaded.batch([sources[row] for row in rows], [None] * len(rows))
        vectors[rows] = head.embed_text(model.sentence_means(batch)).cpu().numpy()
        if progress is not None:
            progress(len(rows))
    return vectors


def embed_images(
    loaded: LoadedModel,
    images: Sequence[ImageInput],
    *,
    progress: Callable[[int], object] | None = None,
) -> NDArray[np.float32]:
    """
    Args:
        images: N, as ``LoadedModel.features_of`` takes them: ids of its feature store if it has one, else files.
        progress: called with the number of images just finished.
    Returns:
        (N, D) vectors of length 1.
    Raises:
        MMTError: as ``embed_sentences``; an image is unknown or cannot be read.
    """
    blocks = list(image_blocks(loaded, images, progress=progress))
    return np.concatenate(blocks) if blocks else np.zeros((0, loaded.model.text.sizes.model_dim), np.float32)


def image_blocks(
    loaded: LoadedModel, images: Sequence[ImageInput], *, progress: Callable[[int], object] | None = None
) -> Iterator[NDArray[np.float32]]:
    """As ``embed_images``, in blocks of (B, D)."""
    model, head = loaded.model, _head(loaded)
    for first in range(0, len(images), _IMAGES):
        chunk = images[first : first + _IMAGES]
        with torch.inference_mode():  # not over the yield, where it would hold for the caller
            rows = loaded.features_of(chunk)
            batch = loaded.batch([[] for _ in chunk], rows)
            vectors: NDArray[np.float32] = head.embed_image(model.image_means(batch)).cpu().numpy()
        if progress is not None:
            progress(len(chunk))
        yield vectors


def embed_queries(
    loaded: LoadedModel, queries: Sequence[Query], *, show_progress: bool = True
) -> NDArray[np.float32]:
    """(Q, D) vectors of queries, texts before images. Raises as ``embed_sentences``."""
    texts = [query.text for query in queries if query.image is None]
    images = [query.image for query in queries if query.image is not None]
    with tqdm(total=len(texts), unit=" sentences", disable=no_bar() if show_progress else True) as bar:
        of_texts = embed_sentences(loaded, texts, progress=bar.update)
    return np.concatenate([of_texts, embed_images(loaded, images)])


@contextmanager
def indexed_store(
    loaded: LoadedModel, images: IndexedImages, *, show_progress: bool = True
) -> Iterator[tuple[LoadedModel, list[str], dict[str, str]]]:
    """The images that go into an index; missing features are extracted to a temporary store.

    Yields:
        The model with their features, N ids, and id -> reason of the images that have none.
    Raises:
        MMTError: there is no image.
    """
    from mmt.features.extract import extract_features  # torchvision takes a second, and texts need none of it

    with TemporaryDirectory(prefix="mmt-") as temporary:
        store = images.store
        if store is None:
            parts = [Path(temporary, str(number)) for number in range(len(loaded.backbones))]
            for backbone, part in zip(loaded.backbones, parts, strict=True):
                extract_features(images.files, backbone, part, progress=show_progress)
            store = open_features(parts)
        ids = [name for name in images.files if name in store] if images.files else list(store.ids)
        if not ids:
            raise MMTError(f"{store.folder}: has none of the {len(images.files):,} images of {images.folder}.")
        left_out = {name: store.left_out.get(name, "no features") for name in images.files if name not in store}
        yield loaded.with_features(store), ids, left_out


def build_index(
    folder: Path, items: IndexedImages | list[str], loaded: LoadedModel, model: Path, *, show_progress: bool = True
) -> tuple[Index, dict[str, str]]:
    """Writes an index of images or of sentences.

    Args:
        folder: where it goes.
        model: the folder of ``loaded``, which the index names.
    Returns:
        The index, and id -> reason of the images that are not in it.
    Raises:
        MMTError: as ``embed_sentences``, ``embed_images``, ``indexed_store`` and ``write_index``.
    """
    _head(loaded)  # before anything is read
    if isinstance(items, list):
        with tqdm(total=len(items), unit=" sentences", disable=no_bar() if show_progress else True) as bar:
            blocks = (
                embed_sentences(loaded, items[first : first + BLOCK], progress=bar.update)
                for first in range(0, len(items), BLOCK)
            )
            return write_index(folder, "sentences", items, blocks, model), {}
    with (
        indexed_store(loaded, items, show_progress=show_progress) as (with_store, ids, left_out),
        tqdm(total=len(ids), unit=" images", disable=no_bar() if show_progress else True) as bar,
    ):
        vectors = image_blocks(with_store, ids, progress=bar.update)
        return write_index(folder, "images", ids, vectors, model, items.folder), left_out


def _head(loaded: LoadedModel) -> ContrastiveHead:
    heads = loaded.model.heads
    if "contrastive" not in heads:
        raise MMTError(
            "the model has no vectors for sentences and images: it was trained without objectives.contrastive. "
            "Use one trained for retrieval, such as recipes/configs/retrieval_multi30k.yaml."
        )
    head = heads["contrastive"]
    assert isinstance(head, ContrastiveHead)  # noqa: S101
    return head
