"""Which settings of a training run go together; the range of each by itself is its type's, in
``mmt.training.config``.
"""

from __future__ import annotations

from mmt.errors import MMTError
from mmt.training.config import TrainConfig


def check_values(config: TrainConfig, where: str) -> None:
    """Raises MMTError, beginning with ``where``, for settings that cannot be, or not together."""
    from mmt.model.fusion import find_fusion  # and with it torch: what can be wrong without it has been looked at

    try:
        find_fusion(config.model.fusion)
    except MMTError as error:
        raise MMTError(f"{where}: model.fusion: {error}") from None
    if config.data.path is None:
        raise MMTError(f"{where}: data.path is missing. Name the prepared dataset, e.g. --config data.path=DIR.")
    if config.needs_features and config.images.features is None:
        raise MMTError(
            f"{where}: model.fusion is '{config.model.fusion}', but images.features is missing. "
            "Name the feature store, e.g. --config images.features=DIR, or set model.fusion: none."
            if config.model.fusion != "none"
            else f"{where}: objectives.imagination predicts image features, but images.features is missing."
        )
    if config.images.features is not None and not config.needs_features:
        raise MMTError(
            f"{where}: images.features is set, but with model.fusion 'none' no image would be used. Set "
            "model.fusion, e.g. --config model.fusion=gated, or leave images.features out."
        )
    if config.data.streams and (config.data.label or config.data.score):
        raise MMTError(f"{where}: data.streams: labels and scores are read whole. Set it to 0.")
    _check_objectives(config, where)
    if config.regime.cooldown_steps > config.regime.num_steps:
        raise MMTError(
            f"{where}: regime.cooldown_steps ({config.regime.cooldown_steps}) must be at most regime.num_steps "
            f"({config.regime.num_steps})."
        )
    if config.regime.validate_every % config.regime.report_every:
        raise MMTError(
            f"{where}: regime.validate_every ({config.regime.validate_every}) must be a multiple of "
            f"regime.report_every ({config.regime.report_every})."
        )
    unknown = set(config.stack) - {"trainer", "gang", "common"}
    if unknown:
        raise MMTError(f"{where}: stack.{min(unknown)}: expected trainer, gang or common.")
    if config.model.model_dim % (2 * config.model.num_heads):
        raise MMTError(
            f"{where}: model.model_dim ({config.model.model_dim}) must be a multiple of twice model.num_heads "
            f"({config.model.num_heads})."
        )


def _check_objectives(config: TrainConfig, where: str) -> None:
    fusion, used = config.model.fusion, config.objectives.used()
    if config.images.dropout_p and not config.needs_features:
        raise MMTError(f"{where}: images.dropout_p: with model.fusion 'none' there is no image to leave out.")
    weights = {f"objectives.{name}": weight for name, weight in used.items()}
    weights["objectives.translation"] = config.objectives.translation
    weights |= {f"beside.{number}.weight": one.weight for number, one in enumerate(config.beside)}
    if not any(weights.values()):
        raise MMTError(f"{where}: objectives: every weight is 0, so there is nothing to learn.")
    if "contrastive" in config.heads and fusion == "none" and config.model.num_decoder_layers:
        raise MMTError(
            f"{where}: objectives.contrastive or a retrieval task wants images in the model, but model.fusion "
            "is 'none'. Set a fusion, or objectives.imagination, which does without; or, for retrieval alone, "
            "model.num_decoder_layers: 0."
        )
    _check_heads(config, where)
    if "masked" in used and fusion in ("none", "late"):
        raise MMTError(
            f"{where}: objectives.masked: with model.fusion '{fusion}' the encoder sees no image. Set another."
        )
    if "faithful" in used and config.start.model is None:
        raise MMTError(f"{where}: objectives.faithful: to which model? Name it with start.model.")
    if config.start.freeze_text and (config.start.model is None or fusion == "none"):
        raise MMTError(
            f"{where}: start.freeze_text: expected start.model and a fusion to train, found start.model "
            f"{config.start.model} and model.fusion '{fusion}'."
        )


def _check_heads(config: TrainConfig, where: str) -> None:
    model, used = config.model, config.objectives.used()
    for name, column in (("classification", config.data.label), ("regression", config.data.score)):
        key = {"classification": "label", "regression": "score"}[name]
        if (name in used) != (column is not None):
            have, lack = (f"objectives.{name}", f"data.{key}")[:: 1 if column is None else -1]
            raise MMTError(f"{where}: {have} is set, but {lack} is not. Name the column to learn with data.{key}.")
    labelled = "classification" in used or "regression" in used
    if not model.num_decoder_layers and config.writes:
        raise MMTError(
            f"{where}: model.num_decoder_layers is 0, and translating wants a decoder. Set "
            "objectives.translation: 0, or num_decoder_layers."
        )
    if labelled and (model.readout == "decoder") != bool(model.num_decoder_layers):
        raise MMTError(
            f"{where}: model.readout is '{model.readout}', with {model.num_decoder_layers} decoder layers. "
            "Expected 'decoder' where there are any, 'mean' or 'last' where there are none."
        )
    if model.fusion in ("late", "hybrid") and not model.num_decoder_layers:
        raise MMTError(
            f"{where}: model.fusion '{model.fusion}': its decoder looks at the image, and num_decoder_layers is 0."
        )
    if model.fusion in ("early", "hybrid") and model.text_encoder == "lstm":
        raise MMTError(
            f"{where}: model.fusion '{model.fusion}' gives the encoder regions without order, which an LSTM "
            "cannot read. Set another fusion, or text_encoder: transformer."
        )
    if not model.reads_text and (model.fusion == "none" or {"contrastive", "imagination", "masked"} & set(used)):
        raise MMTError(
            f"{where}: model.reads_text is false, but model.fusion '{model.fusion}' or an objective has nothing "
            "else to go by."
        )
    wanted = {"accuracy": "classification", "mae": "regression", "recall": "contrastive"}.get(config.score)
    if wanted is not None and wanted not in used:
        raise MMTError(f"{where}: regime.score is '{config.score}', but objectives.{wanted} is not set.")
    if config.score in ("bleu", "exact", "loss") and not config.writes:
        raise MMTError(f"{where}: regime.score is '{config.score}', but the model learns no translation.")
    if config.score in ("accuracy", "mae", "recall") and config.writes:
        raise MMTError(
            f"{where}: regime.score is '{config.score}', but the model writes, too. Set bleu, exact (the share of "
            "translations, or answers, that are the reference to the letter) or loss."
        )
