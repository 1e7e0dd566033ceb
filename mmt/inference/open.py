"""Opens a model in the runtime that its files are for, torch or ONNX Runtime without torch; or an ensemble."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from mmt.data.feature_store import FeatureStore
from mmt.errors import MMTError
from mmt.inference.ensemble import EnsembleTranslator, Models, members_of
from mmt.inference.onnx_runtime import ExportedTranslator, is_exported
from mmt.inference.translator import BaseTranslator

if TYPE_CHECKING:
    from mmt.model.stepping import Precision

Runtime = Literal["torch", "onnx"]


def open_translator(
    models: Models,
    features: FeatureStore | None = None,
    precision: Precision = "float32",
    runtime: Runtime | None = None,
    threads: int | None = None,
    *,
    source_lang: str | None = None,
    target_lang: str | None = None,
) -> BaseTranslator:
    """Opens a model folder, an exported model, a pretrained text model, or several of them as an ensemble.

    Args:
        models: a folder, or FAMILY:NAME_OR_FOLDER of a pretrained model; an ensemble's are in a list or joined by
            ``+``, and each opens in its own runtime.
        features: in which images are looked up by id; without it a model folder reads image files.
        precision: of the decoder's matrices; an exported model has float32 and int8.
        runtime: None takes onnx for an exported model, else torch.
        threads: None takes one for each core.
        source_lang, target_lang: codes of the languages, of a model that has several; None is the model's own.
    Raises:
        MMTError: as ``Translator.from_dir``, ``ExportedTranslator.from_dir`` and ``EnsembleTranslator``.
    """
    folders = members_of(models)
    if len(folders) > 1:
        members = [
            open_translator(
                one, None, precision, runtime, threads, source_lang=source_lang, target_lang=target_lang
            )
            for one in folders
        ]
        return EnsembleTranslator(members, folders, features)
    (folder,) = folders
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
