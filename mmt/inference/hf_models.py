"""Models of transformers that translate and score, and those of them with an encoder."""

from __future__ import annotations

import copy
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from mmt.data.languages import find_language
from mmt.errors import MMTError
from mmt.inference.hf_checkpoint import Checkpoint
from mmt.inference.prompts import Prompt, show_masks

_FLORES = re.compile(r"[a-z]{3}_[A-Z][a-z]{3}")
IGNORED = -100  # transformers' label for a position without a target


@dataclass(frozen=True, slots=True)
class Item:
    """A sentence and the file of its image, None for none."""

    sentence: str
    image: Path | None = None


class PublishedModel(ABC):
    """A checkpoint that answers items. The items of a call all have an image, or none has.

    prompt: None for a model that takes none. unfinished: how many answers ended at ``max_new_tokens``.
    """

    prompt: Prompt | None

    def __init__(self, checkpoint: Checkpoint, max_new_tokens: int) -> None:
        self.checkpoint, self.model, self.tokenizer = checkpoint, checkpoint.model, checkpoint.tokenizer
        self.unfinished = 0
        self._config = self._generation(max_new_tokens)
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token

    @torch.inference_mode()
    def generate(self, items: Sequence[Item]) -> list[str]:
        """The answer to each item, without special tokens."""
        inputs = self._encode(items)
        self._check_length(inputs["attention_mask"], items, self._room())
        output = self.model.generate(
            **inputs, generation_config=self._config, use_model_defaults=False, **self._stopping(inputs)
        )
        answers = self._answers(output, inputs)
        self.unfinished += sum(self._is_unfinished(row) for row in answers.tolist())
        return [self._decode(row) for row in answers.tolist()]

    def _decode(self, row: Sequence[int]) -> str:
        return str(self.tokenizer.decode(row, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    @abstractmethod
    def log_probs(self, items: Sequence[Item], targets: Sequence[str]) -> list[float]:
        """The mean log-probability of a token of each target, in nats; the token that ends it counts."""

    @abstractmethod
    def describe(self) -> dict[str, Any]: ...

    @abstractmethod
    def _generation(self, max_new_tokens: int) -> GenerationConfig: ...

    @abstractmethod
    def _encode(self, items: Sequence[Item]) -> Any: ...

    @abstractmethod
    def _room(self) -> int:
        """The positions that an answer takes of those of the input."""

    @abstractmethod
    def _answers(self, output: Tensor, inputs: Any) -> Tensor: ...

    def _stopping(self, inputs: Any) -> dict[str, Any]:
        return {}

    def _is_unfinished(self, row: Sequence[int]) -> bool:
        return len(row) >= self._config.max_new_tokens and not set(row) & set(self._ends())

    def _ends(self) -> list[int]:
        """The tokens that end an answer, the usual one first."""
        ends = self._config.eos_token_id
        return list(ends) if isinstance(ends, list) else [] if ends is None else [ends]

    def _check_length(self, mask: Tensor, items: Sequence[Item], more: int) -> None:
        limit = self.checkpoint.max_positions
        lengths = mask.sum(1)
        if limit is None or int(lengths.max()) + more <= limit:
            return
        row = int(lengths.argmax())
        item = items[row]
        what = f"the image {item.image} and the prompt take" if item.image else "the prompt takes"
        raise MMTError(
            f"hf:{self.checkpoint.name}: {what} {int(lengths[row]):,} tokens, and an answer {more:,}: expected at "
            f"most {limit:,}. Make the {'image smaller' if item.image else 'sentence or prompt shorter'}: "
            f"{item.sentence[:80]!r}."
        )


class Seq2Seq(PublishedModel):
    """A text-only model with an encoder; decoded by beam search as its generation_config.json says.

    A translation model gets the sentence and its own language codes. Any other, such as T5, gets the prompt.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        source_lang: str,
        target_lang: str,
        prompt: Prompt | None,
        max_new_tokens: int,
    ) -> None:
        super().__init__(checkpoint, max_new_tokens)
        self.prompt, self._tag, self._target_id = prompt, "", None
        codes = language_codes(self.tokenizer)
        self._languages = set(codes.values())
        if checkpoint.model.config.model_type == "marian":
            if codes:
                self._tag = f">>{find_language(target_lang, codes)}<< "
        elif codes:
            self.tokenizer.src_lang = find_language(source_lang, codes)
            self.tokenizer.tgt_lang = find_language(target_lang, codes)
            self._target_id = codes[self.tokenizer.tgt_lang]
            self._config.forced_bos_token_id = self._target_id

    @torch.inference_mode()
    def log_probs(self, items: Sequence[Item], targets: Sequence[str]) -> list[float]:
        inputs = self._encode(items)
        self._check_length(inputs["attention_mask"], items, 0)
        tokens = self.tokenizer(text_target=list(targets), padding=True, return_tensors="pt", padding_side="right")
        labels = tokens["input_ids"].masked_fill(tokens["attention_mask"] == 0, IGNORED).to(self.model.device)
        logits = self.model(**inputs, labels=labels).logits
        counted = labels != IGNORED
        if self._target_id is not None:  # generation forces it
            counted &= labels != self._target_id
        means = []
        for row in range(len(items)):
            log_p = logits[row][counted[row]].float().log_softmax(1)
            means.append(float(log_p.gather(1, labels[row][counted[row]][:, None]).double().mean()))
        return means

    def describe(self) -> dict[str, Any]:
        beams = self._config.num_beams or 1
        return {"decoding": "greedy" if beams == 1 else f"beam search, {beams} beams"}

    def _decode(self, row: Sequence[int]) -> str:  # M2M-100's tokenizer does not know its languages as special
        return super()._decode([token for token in row if token not in self._languages])

    def _generation(self, max_new_tokens: int) -> GenerationConfig:
        config: GenerationConfig = copy.deepcopy(self.model.generation_config)
        config.do_sample, config.max_new_tokens, config.max_length = False, max_new_tokens, None
        config.temperature = config.top_p = config.top_k = None
        return config

    def _encode(self, items: Sequence[Item]) -> Any:
        texts = [
            self._tag + show_masks(item.sentence) if self.prompt is None else self.prompt.fill(item.sentence)
            for item in items
        ]
        options = {"padding": True, "return_tensors": "pt", "return_token_type_ids": False}
        return self.tokenizer(texts, **options).to(self.model.device)

    def _room(self) -> int:
        return 0

    def _answers(self, output: Tensor, inputs: Any) -> Tensor:
        return output[:, 1:]  # without the token that starts the decoder


def language_codes(tokenizer: Any) -> dict[str, int]:
    """The languages of a multilingual translation model: the token of each code; {} for any other model.

    Raises:
        MMTError: a model whose languages are coded in another way.
    """
    if hasattr(tokenizer, "supported_language_codes"):  # Marian: >>deu<<
        names = tokenizer.supported_language_codes
        return {name.strip("<>"): tokenizer.convert_tokens_to_ids(name) for name in names}
    if hasattr(tokenizer, "lang_code_to_token"):  # M2M-100
        return {code: tokenizer.get_lang_id(code) for code in tokenizer.lang_code_to_token}
    if not hasattr(tokenizer, "src_lang"):
        return {}
    names = [name for name in tokenizer.additional_special_tokens if _FLORES.fullmatch(name)]
    if not names:
        raise MMTError(
            "hf: expected a translation model of the families Marian, NLLB or M2M-100, found one with the "
            f"tokenizer {type(tokenizer).__name__}."
        )
    return {name: tokenizer.convert_tokens_to_ids(name) for name in names}
