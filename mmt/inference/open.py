"""Opens a model folder in the runtime that its files are for: torch, or ONNX Runtime without torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mmt.data.feature_store import FeatureStore
from mmt.errors import MMTError
from mmt.inference.onnx_runtime import ExportedTranslator, is_exported
from mmt.inference.translator import BaseTranslator

if TYPE_CHECKING:
    from mmt.model.stepping import Precision

Runtime = Literal["torch", "onnx"]


def open_translator(
    folder: Path,
    features: FeatureStore | None = None,
    precision: Precision = "float32",
    runtime: Runtime | None = None,
    threads: int | None = None,
    *,
    source_lang: str | None = None,
    target_lang: str | None = None,
) -> BaseTranslator:
    """Opens a model folder, an exported model or a pretrained text model.

    Args:
        folder: a folder, or FAMILY:NAME_OR_FOLDER of a pretrained model.
        features: in which images are looked up by id; without it a model folder reads image files.
        precision: of the decoder's matrices; an exported model has float32 and int8.
        runtime: None takes onnx for an exported model, else torch.
        threads: None takes one for each core.
        source_lang, target_lang: codes of the languages, of a model that has several; None is the model's own.
    Raises:
        MMTError: as ``Translator.from_dir`` and ``ExportedTranslator.from_dir``.
    """
    if runtime == "onnx" or (runtime is None and is_exported(folder)):
        if precision == "bfloat16":
            raise MMTError("--precision bfloat16: an exported model has float32 and int8.")
        exported = ExportedTranslator.from_dir(folder, features, precision, threads)
        exported.set_languages(source_lang, target_lang)
        return exported
    # Imported here: torch takes seconds, and an exported model needs none of it.
    from mmt.inference.threads import use_threads
    from mmt.inference.torch_runtime import Translator

    use_threads(threads)
    return Translator.from_dir(folder, features, precision, source_lang=source_lang, target_lang=target_lang)
