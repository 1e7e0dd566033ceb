"""Opens a model in the runtime that its files are for, torch or ONNX Runtime without torch; or an ensemble."""

from __future__ import annotations

from abc import ABC
from typing import TYPE_CHECKING, Literal

from mmt.data.feature_store import FeatureStore
from mmt.errors import MMTError
from mmt.inference.ensemble import EnsembleTranslator, Models, members_of
from mmt.inference.named import named_model
from mmt.inference.onnx_runtime import ExportedTranslator, is_exported
from mmt.inference.own_graphs import FolderGraphs, FolderTranslator, OtherRuntimeError
from mmt.inference.runtime_model import Features, open_store
from mmt.inference.translator import BaseTranslator
from mmt.model.config import is_base

if TYPE_CHECKING:
    from mmt.model.stepping import Precision

Runtime = Literal["auto", "torch", "onnx"]


def open_translator(
    models: Models,
    features: FeatureStore | None = None,
    precision: Precision = "float32",
    runtime: Runtime | None = None,
    threads: int | None = None,
    *,
    source_lang: str | None = None,
    target_lang: str | None = None,
    device: str = "cpu",
) -> BaseTranslator:
    """Opens a model folder, an exported model, a pretrained text model, or several of them as an ensemble.

    Args:
        models: a folder, or FAMILY:NAME_OR_FOLDER of a pretrained model; an ensemble's are in a list or joined by
            ``+``, and each opens in its own runtime.
        features: in which images are looked up by id; without it images are files.
        precision: of the decoder's matrices; an exported model has float32 and int8.
        runtime: None takes onnx for an exported model, else torch. ``auto`` also takes the graphs of a model
            folder (``mmt.inference.own_graphs``), where they give the same answers (int8 rounds differently in
            them, so that a few translations differ); not in an ensemble. ``onnx`` takes graphs alone, and refuses
            a model without them and what they cannot do.
        threads: None takes one for each core.
        source_lang, target_lang: codes of the languages, of a model that has several; None is the model's own.
        device: where torch computes, such as ``cuda``. Exported models and graphs compute on the CPU.
    Raises:
        MMTError: as ``Translator.from_dir``, ``ExportedTranslator.from_dir`` and ``EnsembleTranslator``; no such
            device, or one that exported models or int8 do not have.
    """
    folders = members_of(models)
    if len(folders) > 1:
        runtime = None if runtime == "auto" else runtime
        members = [
            open_translator(
                one,
                None,
                precision,
                runtime,
                threads,
                source_lang=source_lang,
                target_lang=target_lang,
                device=device,
            )
            for one in folders
        ]
        return EnsembleTranslator(members, folders, features)
    (folder,) = folders
    why = ""
    if device != "cpu":
        if runtime == "onnx" or is_exported(folder) or precision == "int8":
            raise MMTError(f"--device {device}: exported models and int8 compute on the CPU. Use --device cpu.")
        runtime = "torch"
    if runtime in ("auto", "onnx") and not is_base(folder) and not is_exported(folder):
        try:
            kind = FolderGraphs if runtime == "onnx" else FolderTranslator
            own = kind.open(folder, features, precision, threads)
        except OtherRuntimeError as error:
            why = str(error)
            if runtime == "onnx":
                raise MMTError(f"--runtime onnx: {why.rstrip('.')}. Or use --runtime auto.") from None
        else:
            own.set_languages(source_lang, target_lang)
            return own
    if runtime == "onnx" or (runtime != "torch" and is_exported(folder)):
        if precision == "bfloat16":
            raise MMTError("--precision bfloat16: an exported model has float32 and int8.")
        exported = ExportedTranslator.from_dir(folder, features, precision, threads)
        exported.set_languages(source_lang, target_lang)
        return exported
    # Imported here: torch takes seconds, and an exported model needs none of it.
    from mmt.inference.threads import use_threads
    from mmt.inference.torch_runtime import Translator

    use_threads(threads)
    translator = Translator.from_dir(folder, features, precision, source_lang=source_lang, target_lang=target_lang)
    translator.why_torch = why
    return translator.to(device)


class Translator(ABC):  # noqa: B024  # never instantiated
    """``mmt.Translator``: opens models, whatever runtime their files are for. All translators are instances of it.

    >>> translator = Translator.from_dir("model")                                  # doctest: +SKIP
    >>> translator.translate(["A bat on the wall.", "Hello."], images=["wall.jpg", None])  # doctest: +SKIP
    """

    @staticmethod
    def from_dir(
        folder: Models,
        features: Features = None,
        precision: Precision = "float32",
        *,
        source_lang: str | None = None,
        target_lang: str | None = None,
        threads: int | None = None,
        runtime: Runtime = "auto",
    ) -> BaseTranslator:
        """Opens a model folder, an exported model (without torch), a pretrained text model, or an ensemble.

        A model folder that has graphs (``mmt train`` and ``mmt export --model DIR`` write them) translates with
        them, without torch and faster; what they cannot do, such as guidance, it does in torch.

        Args:
            folder: as ``models`` of ``open_translator``.
            features: a feature store in which images are then looked up by id, or a list with one for each set of
                features that the model was trained with; without it images are read from files.
            precision, source_lang, target_lang, threads, runtime: as of ``open_translator``.
        Raises:
            MMTError: as ``open_translator``.
        """
        return open_translator(
            folder,
            open_store(features),
            precision,
            runtime,
            threads,
            source_lang=source_lang,
            target_lang=target_lang,
        )

    @staticmethod
    def from_pretrained(name: str, *, revision: str | None = None, threads: int | None = None) -> BaseTranslator:
        """Opens a trained model by its name: ``pictures-en-de``, which comes with mmt, or OWNER/NAME on the hub.

        Args:
            name, revision: as of ``mmt.inference.named.named_model``. A model of the hub is downloaded once.
            threads: as of ``open_translator``.
        Raises:
            MMTError: as ``named_model`` and ``open_translator``.
        """
        return open_translator(named_model(name, revision), runtime="auto", threads=threads)


Translator.register(BaseTranslator)  # type: ignore[type-abstract]
