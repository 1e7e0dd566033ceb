"""``beam_search`` behind fairseq2's interface for sequence generators, for code that is written against that."""

from __future__ import annotations

import time
from collections import OrderedDict

import torch
from fairseq2.generation import (
    GenerationCounters,
    Hypothesis,
    Seq2SeqGenerator,
    SequenceGeneratorOutput,
    StepHook,
)
from fairseq2.nn import BatchLayout
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from mmt.data.batch import Batch
from mmt.data.tokenizer import BOS, EOS
from mmt.errors import MMTError
from mmt.inference.beam import beam_search
from mmt.inference.search import Places
from mmt.model.model import MMTModel
from mmt.model.stepping import Precision, StepDecoder


class ImageSeq2SeqGenerator(Seq2SeqGenerator):
    """Beam search that may look at images; names and meaning of the settings are those of fairseq2's own.

    Its weights are those that the model has now. It may end with fewer hypotheses a sentence than beams.
    """

    def __init__(
        self,
        model: MMTModel,
        *,
        beam_size: int = 5,
        min_gen_len: int = 1,
        max_gen_len: tuple[float, int] = (1.0, 128),
        len_penalty: float = 1.0,
        precision: Precision = "float32",
    ) -> None:
        self._decoder = StepDecoder(model, precision)
        self._beam_size, self._len_penalty = beam_size, len_penalty
        self._min_gen_len, self._max_gen_len = min_gen_len, max_gen_len
        self._step_hooks: dict[int, StepHook] = OrderedDict()

    def __call__(
        self,
        source_seqs: Tensor,
        source_seqs_layout: BatchLayout,
        prompt_seqs: Tensor,
        prompt_seqs_layout: BatchLayout,
        *,
        image: Tensor | None = None,
        image_pad: Tensor | None = None,
    ) -> SequenceGeneratorOutput:
        """
        Args:
            source_seqs: (N, S) ids ending in eos.
            prompt_seqs: (N, 1), bos; a translation cannot be begun for it.
            image, image_pad: (N, R, dim) features and (N, R) their padding, see ``MMTModel.encode``.
        Returns:
            For each sentence its hypotheses, best first, each ending in eos.
        Raises:
            MMTError: another prompt.
        """
        if prompt_seqs.size(1) != 1 or bool((prompt_seqs != BOS).any()):
            raise MMTError(
                f"prompt: expected bos ({BOS}) for each sentence, found {tuple(prompt_seqs.shape)} ids."
            )
        begun = time.perf_counter()
        found = beam_search(
            self._decoder,
            Batch(source_seqs, list(source_seqs_layout.seq_lens), prompt_seqs, [], image, image_pad),
            beam_size=self._beam_size,
            length_penalty=self._len_penalty,
            max_length=self._max_gen_len,
            min_length=self._min_gen_len - 1,
            on_step=self._on_step if self._step_hooks else None,
        )
        counters = GenerationCounters(
            prefill_size=prompt_seqs.numel(),
            num_generated_elements=sum(len(h.ids) + 1 for hypotheses in found for h in hypotheses),
            generation_time=time.perf_counter() - begun,
        )
        device = source_seqs.device
        return SequenceGeneratorOutput(
            [
                [
                    Hypothesis(
                        torch.tensor([*h.ids, EOS], device=device), torch.tensor(h.score, device=device), None
                    )
                    for h in hypotheses
                ]
                for hypotheses in found
            ],
            counters,
        )

    def _on_step(self, sentences: list[int], tokens: Places) -> None:
        device = self._decoder.embed.device
        prompts = torch.tensor(sentences, device=device).repeat_interleave(tokens.shape[1])
        beams = torch.from_numpy(tokens).to(device).flatten(0, 1)
        for hook in self._step_hooks.values():
            hook(prompts, beams, None, False)

    def register_step_hook(self, hook: StepHook) -> RemovableHandle:
        """The hook sees the beams of the sentences that are still translated, from bos on, and no step scores."""
        handle = RemovableHandle(self._step_hooks)
        self._step_hooks[handle.id] = hook
        return handle

    @property
    def model(self) -> MMTModel:
        return self._decoder.model
