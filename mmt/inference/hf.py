"""A checkpoint of transformers as a system: it translates with or without images, and scores translations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
import transformers

from mmt.errors import MMTError
from mmt.inference.cleaning import Cleaner
from mmt.inference.hf_checkpoint import open_checkpoint
from mmt.inference.hf_models import Item, PublishedModel, Seq2Seq, language_codes
from mmt.inference.hf_prompted import make_prompted
from mmt.inference.prompts import Prompt
from mmt.io.normalization import is_blank

Progress = Callable[[int], object]
Value = TypeVar("Value")


class HFSystem:
    """A published model: image-text-to-text, causal, or sequence-to-sequence.

    Implements ``System`` and ``ScoringSystem`` of ``mmt.evidence.systems``. Equal sentences with equal images are
    translated and scored once.
    """

    def __init__(
        self,
        name_or_folder: str,
        *,
        files: Callable[[str], Path],
        source_lang: str,
        target_lang: str,
        prompt: Path | None = None,
        examples: Path | None = None,
        text_only: bool = False,
        device: str = "cpu",
        dtype: str = "float32",
        batch_size: int = 8,
        max_new_tokens: int = 256,
    ) -> None:
        """Opens the model.

        Args:
            name_or_folder, device, dtype: as of ``open_checkpoint``.
            files: the file of an image by its name in the dataset.
            source_lang, target_lang: codes of the languages.
            prompt: a template (see ``mmt.inference.prompts``); None for the built-in one.
            examples: translations that are shown in the prompt; None for none.
            text_only: no images are shown, whatever the model reads.
            batch_size: sentences translated together.
            max_new_tokens: the longest answer, in tokens; longer ones are cut off and counted.
        Raises:
            MMTError: as ``open_checkpoint`` and ``Prompt.read``; a prompt for a model that takes none; an unknown
                language; or a batch size or a length below 1.
        """
        if min(batch_size, max_new_tokens) < 1:
            raise MMTError(
                f"batch size and answer length: expected at least 1, found {batch_size}, {max_new_tokens}."
            )
        checkpoint = open_checkpoint(name_or_folder, device, dtype)
        self._model: PublishedModel
        if checkpoint.kind == "seq2seq":
            own = checkpoint.model.config.model_type == "marian" or bool(language_codes(checkpoint.tokenizer))
            if own and (prompt or examples):
                raise MMTError(f"hf:{name_or_folder}: a translation model takes no prompt and no examples.")
            if examples is not None:
                raise MMTError(f"hf:{name_or_folder}: a sequence-to-sequence model takes no examples.")
            read = None if own else Prompt.read(source_lang, target_lang, prompt, None)
            self._model = Seq2Seq(checkpoint, source_lang, target_lang, read, max_new_tokens)
        else:
            self._model = make_prompted(checkpoint, source_lang, target_lang, prompt, examples, max_new_tokens)
        self._files, self._batch_size, self._max_new_tokens = files, batch_size, max_new_tokens
        self._cleaner = Cleaner(source_lang, target_lang)
        self._text_only = text_only

    @property
    def uses_images(self) -> bool:
        return self._model.checkpoint.kind == "image" and not self._text_only

    def translate(
        self, sentences: Sequence[str], images: Sequence[str | None] | None, progress: Progress | None = None
    ) -> list[str]:
        """The cleaned answer to each sentence with its image; "" for a blank sentence.

        Raises:
            MMTError: an image is missing, unreadable or above the model's limit, the prompt is too long, or the
                memory does not suffice.
        """
        rows = [(item, "") for item in self._items(sentences, images)]
        answers = self._each(rows, lambda batch: self._model.generate([item for item, _ in batch]), progress)
        if self._model.prompt is None:
            return [answer.strip() for answer in answers]
        return [
            "" if is_blank(sentence) else self._cleaner.clean(answer, sentence)
            for sentence, answer in zip(sentences, answers, strict=True)
        ]

    def score(
        self,
        sentences: Sequence[str],
        images: Sequence[str | None] | None,
        targets: Sequence[str],
        progress: Progress | None = None,
    ) -> list[float]:
        """The mean log-probability of a token of each target after the prompt, in nats.

        The token that ends an answer counts. Raises MMTError as ``translate``, and for a blank line.
        """
        rows = list(zip(self._items(sentences, images), targets, strict=True))
        blank = next(
            (n for n, (item, target) in enumerate(rows, 1) if is_blank(item.sentence) or is_blank(target)), 0
        )
        if blank:
            raise MMTError(f"line {blank}: the sentence or its target is empty: there is nothing to score.")
        return self._each(
            rows,
            lambda batch: self._model.log_probs([item for item, _ in batch], [target for _, target in batch]),
            progress,
        )

    def describe(self) -> dict[str, Any]:
        """What the results depend on, and what was done to the answers so far, as JSON values."""
        about = {
            "kind": "hf",
            **self._model.checkpoint.describe(),
            **self._model.describe(),
            "max_new_tokens": self._max_new_tokens,
            "batch_size": self._batch_size,
            "transformers": transformers.__version__,
            "unfinished": self._model.unfinished,
        }
        if self._model.prompt is not None:
            about |= {"prompt": self._model.prompt.describe(), "cleaned": dict(self._cleaner.counts)}
        return about

    def close(self) -> None:
        """Releases the model's memory."""
        del self._model

    def _items(self, sentences: Sequence[str], images: Sequence[str | None] | None) -> list[Item]:
        if images is None:
            return [Item(sentence) for sentence in sentences]
        if not self.uses_images and any(images):
            raise MMTError(f"hf:{self._model.checkpoint.name}: a text-only system takes no images.")
        return [
            Item(sentence, None if image is None else self._files(image))
            for sentence, image in zip(sentences, images, strict=True)
        ]

    def _each(
        self,
        rows: Sequence[tuple[Item, str]],
        work: Callable[[list[tuple[Item, str]]], list[Value]],
        progress: Progress | None,
    ) -> list[Value]:
        """Works on batches of different rows, those with images apart and the longest first.

        A blank sentence is not worked on; its result is "".
        """
        found: dict[tuple[Item, str], Any] = {}
        todo = list(dict.fromkeys(row for row in rows if not is_blank(row[0].sentence)))
        for shown in (True, False):
            part = [row for row in todo if (row[0].image is not None) is shown]
            part.sort(key=lambda row: -len(row[0].sentence) - len(row[1]))
            for first in range(0, len(part), self._batch_size):
                batch = part[first : first + self._batch_size]
                try:
                    found.update(zip(batch, work(batch), strict=True))
                except torch.OutOfMemoryError:
                    raise MMTError(
                        f"hf:{self._model.checkpoint.name}: the memory does not suffice for batches of "
                        f"{self._batch_size}. Choose a smaller batch size."
                    ) from None
                if progress is not None:
                    done = set(batch)
                    progress(sum(row in done for row in rows))
        return [found.get(row, "") for row in rows]
