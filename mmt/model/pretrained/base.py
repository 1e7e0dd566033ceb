"""Opens the pretrained text model that ``model.text`` names."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmt.data.pretrained_tokenizer import open_tokenizer
from mmt.data.tokenizer import Tokenizer
from mmt.errors import MMTError, nearest
from mmt.io.hub import hub_model, is_hub_name
from mmt.model.build import build_empty_model
from mmt.model.card import ModelCard
from mmt.model.config import MMTConfig
from mmt.model.model import MMTModel
from mmt.model.pretrained.bert import Bert, Roberta
from mmt.model.pretrained.checkpoint import find_folder, read_json
from mmt.model.pretrained.family import Base, PublishedBase
from mmt.model.pretrained.m2m100 import M2M100
from mmt.model.pretrained.marian import Marian
from mmt.model.pretrained.mmt_folder import MMTFolder
from mmt.model.pretrained.nllb import Nllb
from mmt.model.text_model import TextModel

__all__ = ["FAMILIES", "Base", "load_base", "load_text", "open_base"]

_PUBLISHED = (Nllb, M2M100, Marian, Bert, Roberta)
FAMILIES: dict[str, type[Base]] = {kind.family: kind for kind in _PUBLISHED} | {"mmt": MMTFolder}
"""By the name that stands before the colon in ``model.text``."""

_GENERATION = "generation_config.json"


def open_base(name: str, *, download: bool = True) -> Base:
    """The base that ``model.text`` names, FAMILY:NAME_OR_FOLDER; our own models are also ``mmt:hub:OWNER/NAME``.

    Args:
        download: whether the hub may be asked for what is not on this machine.
    Raises:
        MMTError: there is no such family, or no such checkpoint; or as ``mmt.io.hub.fetch``.
    """
    family, colon, place = name.partition(":")
    if not colon or family not in FAMILIES or not place:
        raise MMTError(
            f"model.text: expected scratch or FAMILY:NAME_OR_FOLDER, found {name!r}.{nearest(family, FAMILIES)} "
            f"Families: {', '.join(FAMILIES)}."
        )
    kind = FAMILIES[family]
    if not issubclass(kind, PublishedBase):
        return kind(name, hub_model(place, download=download) if is_hub_name(place) else Path(place))
    files = (*kind.tokenizer_files, *kind.optional_files, *kind.unhashed_files, _GENERATION)
    return kind(name, find_folder(place, files, download=download))


def load_text(text: TextModel, base: Base) -> None:
    """Replaces the weights of ``text`` by the base's; on a CPU without a copy.

    Weights that ``text`` has beside them, such as adapters, stay as they are.

    Raises:
        MMTError: as ``Base.weights``, or ``text`` has other sizes.
    """
    weights = base.weights()
    on_cpu = next(text.parameters()).device.type == "cpu"
    try:
        unexpected = text.load_state_dict(weights, strict=False, assign=on_cpu).unexpected_keys
    except RuntimeError as error:
        raise MMTError(
            f"{base.folder}: {str(error).splitlines()[-1].strip()} Its config.json is another's."
        ) from None
    if unexpected:
        raise MMTError(f"{base.name}: expected a model of the base's sizes, found one without {unexpected[0]}.")
    text.tie()


def load_base(name: str, source_lang: str = "", target_lang: str = "") -> tuple[MMTModel, Tokenizer, ModelCard]:
    """A base as a model that translates text, as ``mmt.model.folder.load_model`` gives a trained one.

    Args:
        name: FAMILY:NAME_OR_FOLDER.
        source_lang, target_lang: codes of the pair, of a model of several languages.
    Raises:
        MMTError: as ``open_base`` and ``Base``; a language is unknown; or the base is an encoder alone.
    """
    base = open_base(name)
    config = MMTConfig(text=name, dropout_p=0.0, **base.settings())
    if not config.num_decoder_layers:
        raise MMTError(
            f"{name}: expected a model that translates, found an encoder, which has no decoder. Train it for "
            "retrieval or labels, as model.text of mmt train."
        )
    with tempfile.TemporaryDirectory() as folder:
        base.write_tokenizer(Path(folder))
        tokenizer = open_tokenizer(Path(folder))
        tokenizer.path = base.folder
    if tokenizer.languages:
        tokenizer = tokenizer.for_languages(source_lang, target_lang)
    model = build_empty_model(config)
    load_text(model.text, base)
    card = ModelCard(asdict(config), source_lang, target_lang, decoding=_decoding(base))
    return model.eval(), tokenizer, card


def _decoding(base: Base) -> dict[str, Any]:
    """How the checkpoint decodes unless told otherwise: its own settings, where they are in our range."""
    path = base.folder / _GENERATION
    raw = read_json(path) if path.is_file() else {}
    beams: Any = raw.get("num_beams")
    penalty: Any = raw.get("length_penalty")
    decoding: dict[str, Any] = {}
    if type(beams) is int and 1 < beams <= 1000:
        decoding["beam_size"] = beams
    if type(penalty) in (int, float) and abs(penalty) <= 100:
        decoding["length_penalty"] = penalty
    return decoding
