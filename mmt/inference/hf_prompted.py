"""Models of transformers that are told to translate: image-text-to-text models, and text-only causal ones.

Legend: N items, T tokens, V size of the vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from mmt.errors import MMTError
from mmt.features.decoding import decode_image
from mmt.inference.hf_checkpoint import Checkpoint
from mmt.inference.hf_models import IGNORED, Item, PublishedModel
from mmt.inference.prompts import COMPLETION, Prompt


class _EndOfLine(StoppingCriteria):
    """Ends a row whose answer has text and then a line feed."""

    def __init__(self, tokenizer: Any, start: int) -> None:
        self._tokenizer, self._start = tokenizer, start

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Tensor:
        answers = self._tokenizer.batch_decode(input_ids[:, self._start :], skip_special_tokens=True)
        done = ["\n" in answer.lstrip() for answer in answers]
        return torch.tensor(done, device=input_ids.device)


class Prompted(PublishedModel):
    """A model that is told to translate: a chat model, or one that continues text; decoded greedily.

    The penalties and the sampling of its generation_config.json are not used.
    """

    def __init__(self, checkpoint: Checkpoint, prompt: Prompt, max_new_tokens: int) -> None:
        super().__init__(checkpoint, max_new_tokens)
        self.prompt: Prompt = prompt
        self.is_chat = is_chat(checkpoint)
        # PaliGemma: no chat template; the prompt ends in a line feed, attends to all of itself, and eos ends.
        self._is_prefix_model = checkpoint.model.config.model_type == "paligemma"
        self._by_line = not self.is_chat and not self._is_prefix_model
        self._end = self._end_of_answer()
        parameters = inspect.signature(self.model.forward).parameters
        self._keeps_logits = "logits_to_keep" in parameters and not self._is_prefix_model

    @torch.inference_mode()
    def log_probs(self, items: Sequence[Item], targets: Sequence[str]) -> list[float]:
        inputs = self._encode(items)
        prompts = [ids[mask.bool()] for ids, mask in zip(inputs.input_ids, inputs.attention_mask, strict=True)]
        answers = [
            torch.tensor([*self._answer_ids(text, target), *self._end], device=self.model.device)
            for text, target in zip(self._texts(items), targets, strict=True)
        ]
        self._check_length(inputs.attention_mask, items, max(map(len, answers)))
        logits, kept = self._logits(inputs, prompts, answers)
        means = []
        for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
            first = len(prompt) - 1 - kept
            log_p = logits[row, first : first + len(answer)].float().log_softmax(1)
            means.append(float(log_p.gather(1, answer[:, None]).double().mean()))
        return means

    def describe(self) -> dict[str, Any]:
        return {"decoding": "greedy", "chat_template": self.is_chat}

    # --- prompts ---

    def _texts(self, items: Sequence[Item]) -> list[str]:
        """What the model reads of each item; where an image belongs, its placeholder."""
        if self.is_chat:
            return [self._render(item, self.prompt.turns(item.sentence)) for item in items]
        texts = [self.prompt.completion(item.sentence) for item in items]
        if items[0].image is not None:
            return [self.checkpoint.processor.image_token + text for text in texts]
        return [f"{self.tokenizer.bos_token}{text}\n" for text in texts] if self._is_prefix_model else texts

    def _render(self, item: Item | None, turns: Sequence[tuple[str, str]], *, whole: bool = False) -> str:
        """A conversation by the chat template. ``whole``: it ends with the assistant's answer."""
        image = item is not None and item.image is not None
        messages: list[dict[str, Any]] = []
        for number, (role, text) in enumerate(turns, 1):
            content: Any = text
            if self.checkpoint.kind == "image":
                shown = [{"type": "image"}] if image and number == len(turns) else []
                content = [*shown, {"type": "text", "text": text}]
            messages.append({"role": role, "content": content})
        chats = self.checkpoint.processor if has_template(self.checkpoint.processor) else self.tokenizer
        try:
            return str(
                chats.apply_chat_template(
                    messages, tokenize=False, add_generation_prompt=not whole, enable_thinking=False
                )
            )
        except Exception as error:  # of jinja2, or raised by the template
            raise MMTError(
                f"hf:{self.checkpoint.name}: its chat template fails on the prompt ({error}). Name another "
                "template with --prompt, or leave out the examples."
            ) from None

    def _encode(self, items: Sequence[Item]) -> Any:
        texts = self._texts(items)
        bos = self.tokenizer.bos_token
        options = {
            "padding": True,
            "padding_side": "left",
            "return_tensors": "pt",
            "add_special_tokens": not (bos and texts[0].startswith(bos)),
        }
        if items[0].image is None:
            inputs = self.tokenizer(texts, return_token_type_ids=False, **options)
        else:
            pictures = [[_picture(item.image)] for item in items if item.image is not None]
            try:
                inputs = self.checkpoint.processor(text=texts, images=pictures, **options)
            except Exception as error:  # each processor has its own limits and its own errors
                names = ", ".join(dict.fromkeys(str(item.image) for item in items))
                raise MMTError(
                    f"hf:{self.checkpoint.name}: its processor refuses one of these images: {names} ({error})."
                ) from None
        return inputs.to(self.model.device, self.model.dtype) if items[0].image else inputs.to(self.model.device)

    # --- answers ---

    def _generation(self, max_new_tokens: int) -> GenerationConfig:
        theirs = self.model.generation_config
        eos = theirs.eos_token_id if theirs.eos_token_id is not None else self.tokenizer.eos_token_id
        pad = self.tokenizer.pad_token_id
        if pad is None:
            pad = eos[0] if isinstance(eos, list) else eos
        return GenerationConfig(  # type: ignore[no-untyped-call]
            do_sample=False,
            max_new_tokens=max_new_tokens,
            bos_token_id=theirs.bos_token_id,
            eos_token_id=eos,
            pad_token_id=pad,
        )

    def _room(self) -> int:
        return int(self._config.max_new_tokens)

    def _answers(self, output: Tensor, inputs: Any) -> Tensor:
        return output[:, inputs["input_ids"].shape[1] :]

    def _is_unfinished(self, row: Sequence[int]) -> bool:
        ended = self._by_line and "\n" in self.tokenizer.decode(row).lstrip()
        return super()._is_unfinished(row) and not ended

    def _stopping(self, inputs: Any) -> dict[str, Any]:
        if not self._by_line:
            return {}
        return {"stopping_criteria": StoppingCriteriaList([_EndOfLine(self.tokenizer, inputs.input_ids.shape[1])])}

    def _end_of_answer(self) -> list[int]:
        """The tokens that end an answer: a line feed, or what the chat template puts there, up to an eos."""
        if self._by_line:
            return self._ids("\n")
        ends = self._ends()
        if self.is_chat:
            mark = "XYZ"
            after = self._render(None, [("user", "A"), ("assistant", mark)], whole=True).rpartition(mark)[2]
            ids = self._ids(after)
            for number, token in enumerate(ids, 1):
                if token in ends:
                    return ids[:number]
        return ends[:1]

    def _answer_ids(self, text: str, target: str) -> list[int]:
        """The tokens of an answer as they follow the prompt."""
        answer = f" {target}" if self._by_line else target
        before, both = self._ids(text), self._ids(text + answer)
        return both[len(before) :] if both[: len(before)] == before else self._ids(answer)

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _logits(self, inputs: Any, prompts: Sequence[Tensor], answers: Sequence[Tensor]) -> tuple[Tensor, int]:
        """Logits (N, T, V) of prompts with answers, padded on the right, and the position of the first of them."""
        rows = [torch.cat(pair) for pair in zip(prompts, answers, strict=True)]
        more = {key: value for key, value in inputs.items() if key not in ("input_ids", "attention_mask")}
        ids = _padded(rows, self._config.pad_token_id)
        mask = _padded([torch.ones_like(row) for row in rows], 0)
        for key, value in more.items():  # one for each token, such as token_type_ids: 0 for text
            if isinstance(value, Tensor) and value.shape == inputs.input_ids.shape:
                kept = [one[where.bool()] for one, where in zip(value, inputs.attention_mask, strict=True)]
                filled = [torch.cat([k, k.new_zeros(len(a))]) for k, a in zip(kept, answers, strict=True)]
                more[key] = _padded(filled, 0)
        first = min(map(len, prompts)) - 1
        if self._is_prefix_model:  # with labels, it masks what follows in an answer
            types = [
                torch.cat([torch.zeros_like(p), torch.ones_like(a)]) for p, a in zip(prompts, answers, strict=True)
            ]
            more |= {"token_type_ids": _padded(types, 0), "labels": ids.masked_fill(mask == 0, IGNORED)}
        if self._keeps_logits:
            more["logits_to_keep"] = ids.shape[1] - first
        logits = self.model(input_ids=ids, attention_mask=mask, use_cache=False, **more).logits
        return logits, first if self._keeps_logits else 0


def make_prompted(
    checkpoint: Checkpoint,
    source_lang: str,
    target_lang: str,
    template: Path | None,
    examples: Path | None,
    max_new_tokens: int,
) -> Prompted:
    """A prompted model with its prompt. Raises MMTError as ``Prompt.read``."""
    more = () if is_chat(checkpoint) else (COMPLETION,)
    return Prompted(checkpoint, Prompt.read(source_lang, target_lang, template, examples, *more), max_new_tokens)


def is_chat(checkpoint: Checkpoint) -> bool:
    return has_template(checkpoint.processor) or has_template(checkpoint.tokenizer)


def has_template(processor: Any) -> bool:
    return bool(getattr(processor, "chat_template", None))


def _picture(path: Path | None) -> Image.Image:
    assert path is not None  # noqa: S101  # the caller has checked it
    return Image.fromarray(decode_image(path))


def _padded(rows: Sequence[Tensor], value: int) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=value)
