"""The last part of a training: the finished model's graphs, exported into its folder."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from mmt.data.batch import Example, collate
from mmt.data.buckets import length_batches
from mmt.errors import MMTError
from mmt.inference.onnx_runtime import PRECISIONS, ExportedTranslator
from mmt.inference.search import SearchOptions
from mmt.inference.translator import SentenceBatch
from mmt.io.terminal import console
from mmt.model.card import read_card
from mmt.training.run import Run
from mmt.training.selection import has_references
from mmt.training.validation import Texts, validation_bleu


def export_graphs(run: Run) -> None:
    """Exports the model folder of a finished run into itself, and says what came of it.

    The training has succeeded before: a model that cannot be exported is reported, and translates in torch.
    """
    folder, out = run.output / "model", console(err=True)
    why = ""
    if not run.objectives.writes:
        return
    remedy = f"; mmt export --model {folder} tries again"
    if run.leaves_out_text:
        remedy = ""
        why = "the folder leaves out the frozen text model's weights, which graphs would contain"
    else:
        try:
            # Imported here: the exporters take seconds, and a training without them needs none of it.
            from mmt.inference.onnx_export import export_into

            judge = partial(exported_bleu, run) if has_references(run) else None
            scores = export_into(folder, judge=judge, show_progress=False)
        except MMTError as error:
            why = str(error)
        except Exception as error:  # torch.export has one for each operation that it does not know
            why = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    if why:
        why = why.rstrip(".")
        out.print(f"graphs: none, {why}. The model translates in torch{remedy}.", soft_wrap=True, markup=False)
        return
    shown = ", ".join(f"{name} {score:.2f}" for name, score in scores.items())
    bleu = f"validation BLEU: {shown}" if scores else "without translations, their precisions were not compared"
    out.print(f"graphs: {folder / 'exported'}  ({bleu})", soft_wrap=True, markup=False)


def exported_bleu(run: Run, exported: Path) -> dict[str, float]:
    """The validation BLEU of an exported model in each precision; of several datasets, the mean over them."""
    decoding = read_card(exported).decoding
    options = SearchOptions(decoding["beam_size"], decoding["length_penalty"])
    inputs, batches = [], []
    for examples in _batches(run):
        names = [one.image if run.features is not None and one.image in run.features else None for one in examples]
        known = [name for name in names if name is not None]
        rows = iter(run.features.get(known)) if run.features is not None and known else iter(())
        images = [None if name is None else next(rows) for name in names]
        batches.append(collate(examples, run.features))
        inputs.append(SentenceBatch([one.source for one in examples], images, examples[0].prompt))
    scores: dict[str, float] = {}
    for precision in PRECISIONS:
        texts, translator = Texts(), ExportedTranslator.from_dir(exported, precision=precision)
        for batch, found in zip(batches, translator.search_batches(inputs, options, 1.0), strict=True):
            texts.add(batch, [best[0].ids for best in found], run.tokenizer)
        values = [float(validation_bleu(*both).score) for both in texts.by_dataset.values()]
        scores[precision] = sum(values) / len(values)
    return scores


def _batches(run: Run) -> Iterator[list[Example]]:
    """The validation set, in batches of one prompt each: that of a target language."""
    by_prompt: dict[tuple[int, ...], list[Example]] = {}
    for one in run.valid_set:
        by_prompt.setdefault(one.prompt, []).append(one)
    for own in by_prompt.values():
        lengths = [(len(one.source) + 1, len(one.target) + 1) for one in own]
        yield from ([own[i] for i in numbers] for numbers in length_batches(lengths, run.config.data.max_tokens))
