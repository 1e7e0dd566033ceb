"""Which settings of a training run fit together; ``mmt.training.config`` has the range of each."""

from __future__ import annotations

from pathlib import Path

from mmt.errors import MMTError
from mmt.model.config import DROPOUT_SETTINGS, FUSIONS_WITHOUT_DROPOUT, lora_parts
from mmt.model.fusion import find_fusion, fusion_places
from mmt.training.config import TrainConfig
from mmt.training.tasks import SCORES, TASKS, Objectives


def check_values(config: TrainConfig, where: str) -> None:
    """Raises MMTError, beginning with ``where``, for settings that are impossible, or impossible together."""
    try:
        find_fusion(config.model.fusion)
    except MMTError as error:
        raise MMTError(f"{where}: model.fusion: {error}") from None
    objectives = Objectives.of(config)
    _check_data(config, objectives, where)
    _check_objectives(config, objectives, where)
    _check_regime(config, where)
    unknown = set(config.stack) - {"trainer", "gang", "common"}
    if unknown:
        raise MMTError(f"{where}: stack.{min(unknown)}: expected trainer, gang or common.")
    if config.model.model_dim % (2 * config.model.num_heads):
        raise MMTError(
            f"{where}: model.model_dim ({config.model.model_dim}) must be a multiple of twice model.num_heads "
            f"({config.model.num_heads})."
        )


def _check_data(config: TrainConfig, objectives: Objectives, where: str) -> None:
    fusion, features = config.model.fusion, config.images.features
    several = config.data.datasets is not None
    if config.data.path is None and not several:
        raise MMTError(f"{where}: data.path is missing. Name the prepared dataset, e.g. --config data.path=DIR.")
    if config.data.path is not None and several:
        raise MMTError(f"{where}: data.path and data.datasets exclude each other. Leave one out.")
    if config.data.temperature != 1 and not several:
        raise MMTError(f"{where}: data.temperature: expected data.datasets to sample from. Leave it out.")
    _check_upsample(config, where)
    if config.text.sampling and config.model.text != "scratch":
        raise MMTError(
            f"{where}: text.sampling splits words by a vocabulary of our own, and model.text is "
            f"{config.model.text}. Leave it out."
        )
    if several and (config.data.streams or config.data.label or config.data.score or config.beside):
        raise MMTError(
            f"{where}: data.datasets: expected datasets to translate, read whole, found data.streams, data.label, "
            "data.score or beside. Leave them out, or name a single dataset with data.path."
        )
    needs_features = fusion != "none" or objectives.needs_images
    if needs_features and features is None:
        raise MMTError(
            f"{where}: model.fusion is '{fusion}', but images.features is missing. "
            "Name the feature store, e.g. --config images.features=DIR, or set model.fusion: none."
            if fusion != "none"
            else f"{where}: objectives.imagination predicts image features, but images.features is missing."
        )
    if features is not None and not needs_features:
        raise MMTError(
            f"{where}: images.features is set, but with model.fusion 'none' no image would be used. Set "
            "model.fusion, e.g. --config model.fusion=gated, or leave images.features out."
        )
    if config.images.dropout_p and not needs_features:
        raise MMTError(f"{where}: images.dropout_p: with model.fusion 'none' there is no image to leave out.")
    if config.data.readers and not config.data.streams:
        raise MMTError(f"{where}: data.readers: they read streams. Set data.streams, or data.readers: 0.")
    if config.data.streams and (config.data.label or config.data.score):
        raise MMTError(f"{where}: data.streams: labels and scores are read whole. Set it to 0.")


def _check_upsample(config: TrainConfig, where: str) -> None:
    ratios, num = config.data.upsample, len(config.data.datasets or ())
    if ratios is None:
        return
    if len(ratios) != num:
        raise MMTError(
            f"{where}: data.upsample: expected a number for each of data.datasets ({num}), found {len(ratios)}."
        )
    if config.data.temperature != 1:
        raise MMTError(f"{where}: data.upsample and data.temperature exclude each other. Leave one out.")


def _check_regime(config: TrainConfig, where: str) -> None:
    regime = config.regime
    if regime.cooldown_steps > regime.num_steps:
        raise MMTError(
            f"{where}: regime.cooldown_steps ({regime.cooldown_steps}) must be at most regime.num_steps "
            f"({regime.num_steps})."
        )
    if regime.validate_every % regime.report_every:
        raise MMTError(
            f"{where}: regime.validate_every ({regime.validate_every}) must be a multiple of "
            f"regime.report_every ({regime.report_every})."
        )


def _check_objectives(config: TrainConfig, objectives: Objectives, where: str) -> None:
    fusion = config.model.fusion
    if not any((objectives.translation, *objectives.loss_weights.values())):
        raise MMTError(f"{where}: objectives: every weight is 0, so there is nothing to learn.")
    if "contrastive" in objectives.heads and fusion == "none" and config.model.num_decoder_layers:
        raise MMTError(
            f"{where}: objectives.contrastive or a retrieval task wants images in the model, but model.fusion "
            "is 'none'. Set a fusion, or objectives.imagination, which does without; or, for retrieval alone, "
            "model.num_decoder_layers: 0."
        )
    _check_columns(config, objectives, where)
    _check_model(config, objectives, where)
    _check_score(config, objectives, where)
    if "masked" in objectives.weights and fusion_places(fusion) <= {"decoder"}:
        raise MMTError(
            f"{where}: objectives.masked: with model.fusion '{fusion}' the encoder sees no image. Set another."
        )
    _check_image_use(config, objectives, where)
    _check_r_drop(config, objectives, where)
    if config.start.freeze_text and config.start.model is None and config.model.text == "scratch":
        raise MMTError(f"{where}: start.freeze_text: there is no text model to freeze. Name one with model.text.")
    if config.start.freeze_text and not trains_more_than_text(config, objectives):
        raise MMTError(
            f"{where}: start.freeze_text: nothing is left to train. Set model.fusion, or leave freeze_text out."
        )
    if config.start.freeze_text and config.optimizer.text_lr is not None:
        raise MMTError(
            f"{where}: optimizer.text_lr is of the text model's weights, which start.freeze_text keeps as they "
            "are. Leave one out."
        )


def _check_r_drop(config: TrainConfig, objectives: Objectives, where: str) -> None:
    if not config.objectives.r_drop:
        return
    if TASKS["translation"] not in objectives.tasks:
        raise MMTError(
            f"{where}: objectives.r_drop is part of the loss of translations, and none are learned. Set "
            "objectives.translation, or leave r_drop out."
        )
    if not _is_random(config):
        remedy = "Set model.dropout_p, or leave r_drop out."
        if config.start.freeze_text and config.model.dropout_p:
            remedy = "Set model.lora_dropout_p with model.lora_rank, or model.image_encoder: mlp; or leave it out."
        raise MMTError(
            f"{where}: objectives.r_drop compares two passes with different dropout, and no part that is trained "
            f"has any, so that they are equal. {remedy}"
        )


def _is_random(config: TrainConfig) -> bool:
    """Whether two passes of a batch differ in training, by dropout or by a recording's masks."""
    model = config.model
    if model.lora_rank and model.lora_dropout_p:
        return True
    if model.image_encoder == "frames" and (model.num_frame_masks or model.frame_warp):
        return True
    if not config.start.freeze_text:
        return any(getattr(model, name) for name in DROPOUT_SETTINGS)
    return bool(model.dropout_p) and (
        model.image_encoder != "linear" or model.fusion not in FUSIONS_WITHOUT_DROPOUT
    )


def _check_image_use(config: TrainConfig, objectives: Objectives, where: str) -> None:
    """Of the objectives that compare the model with itself, or with another, without the image."""
    for name, used in (
        ("faithful", "faithful" in objectives.weights),
        ("image_weighting", objectives.image_weighting),
    ):
        if used and config.model.fusion == "none":
            raise MMTError(
                f"{where}: objectives.{name} compares translations with and without the image, and with "
                "model.fusion 'none' the model sees none. Set a fusion, e.g. --config model.fusion=gated."
            )
    if objectives.image_weighting and TASKS["translation"] not in objectives.tasks:
        raise MMTError(
            f"{where}: objectives.image_weighting weights the tokens of translations, and none are learned. Set "
            "objectives.translation."
        )
    if "faithful" in objectives.weights and config.start.model is None and config.model.text == "scratch":
        raise MMTError(
            f"{where}: objectives.faithful: to which text model? Name it with start.model or model.text."
        )


def trains_more_than_text(config: TrainConfig, objectives: Objectives) -> bool:
    """Whether the model has weights beside those of the text model."""
    return config.model.fusion != "none" or bool(objectives.heads)


def _check_columns(config: TrainConfig, objectives: Objectives, where: str) -> None:
    for name, task in TASKS.items():
        if task.column is None:
            continue
        column = getattr(config.data, task.column)
        if (name in objectives.weights) != (column is not None):
            have, lack = (f"objectives.{name}", f"data.{task.column}")[:: 1 if column is None else -1]
            raise MMTError(
                f"{where}: {have} is set, but {lack} is not. Name the column to learn with data.{task.column}."
            )


def _check_model(config: TrainConfig, objectives: Objectives, where: str) -> None:
    model = config.model
    if not model.num_decoder_layers and objectives.writes and model.text != "scratch":
        raise MMTError(
            f"{where}: model.text: {model.text} has no decoder, and translating wants one. Set "
            "objectives.translation: 0, for retrieval or labels, or name a model that translates."
        )
    if not model.num_decoder_layers and objectives.writes:
        raise MMTError(
            f"{where}: model.num_decoder_layers is 0, and translating wants a decoder. Set "
            "objectives.translation: 0, or num_decoder_layers."
        )
    reads_state = any(task.column for task in objectives.tasks)
    if reads_state and (model.readout == "decoder") != bool(model.num_decoder_layers):
        raise MMTError(
            f"{where}: model.readout is '{model.readout}', with {model.num_decoder_layers} decoder layers. "
            "Expected 'decoder' where there are any, 'mean' or 'last' where there are none."
        )
    places = fusion_places(model.fusion)
    if "decoder" in places and not model.num_decoder_layers:
        raise MMTError(
            f"{where}: model.fusion '{model.fusion}': its decoder looks at the image, and num_decoder_layers is 0."
        )
    if "encoder" in places and model.text_encoder == "lstm":
        raise MMTError(
            f"{where}: model.fusion '{model.fusion}' gives the encoder regions without order, which an LSTM "
            "cannot read. Set another fusion, or text_encoder: transformer."
        )
    _check_sets(config, objectives, where)
    _check_adapters(config, where)
    _check_dropout(config, where)
    needs_text = {"contrastive", "imagination", "masked"} & set(objectives.weights)
    if not model.reads_text and (model.fusion == "none" or needs_text):
        raise MMTError(
            f"{where}: model.reads_text is false, but model.fusion '{model.fusion}' or an objective has nothing "
            "else to go by."
        )


def _check_dropout(config: TrainConfig, where: str) -> None:
    """Refuses what would change nothing."""
    model = config.model
    for name in ("layer_drop_p", "word_dropout_p"):
        if getattr(model, name) and config.start.freeze_text:
            raise MMTError(
                f"{where}: model.{name} is of the text model in training, which start.freeze_text does not train. "
                "Leave one out."
            )
    if model.layer_drop_p and model.text_encoder == "lstm" and not model.num_decoder_layers:
        raise MMTError(
            f"{where}: model.layer_drop_p skips layers of Transformers, and model.text_encoder 'lstm' without a "
            "decoder has none. Leave it out."
        )
    if model.word_dropout_p and not model.reads_text:
        raise MMTError(
            f"{where}: model.word_dropout_p hides pieces of the text, and model.reads_text is false. Leave it out."
        )


def _check_sets(config: TrainConfig, objectives: Objectives, where: str) -> None:
    model, features = config.model, config.images.features
    for name in ("merge_sets", "normalise_features"):
        if getattr(model, name) and model.fusion == "none" and "contrastive" not in objectives.heads:
            raise MMTError(
                f"{where}: model.{name} is of image features, and with model.fusion 'none' the model reads none. "
                "Set model.fusion, e.g. selective, or leave it out."
            )
    if model.merge_sets and (features is None or isinstance(features, Path) or len(features) < 2):
        raise MMTError(
            f"{where}: model.merge_sets: expected several stores in images.features, found {features or 'none'}. "
            "Name them as a list, or leave model.merge_sets out."
        )
    if model.merge_sets and model.image_encoder == "frames":
        raise MMTError(
            f"{where}: model.merge_sets: model.image_encoder 'frames' shortens each set by itself. Use linear or "
            "mlp, or leave model.merge_sets out."
        )


def _check_adapters(config: TrainConfig, where: str) -> None:
    model = config.model
    if not (model.adapter_dim or model.lora_rank):
        return
    found = (
        f"model.adapter_dim is {model.adapter_dim}"
        if model.adapter_dim
        else f"model.lora_rank is {model.lora_rank}"
    )
    if model.fusion == "none":
        raise MMTError(
            f"{where}: {found}, but with model.fusion 'none' no sentence has an image, and adapters and LoRA are "
            "inactive without one. Set model.fusion, e.g. prefix, or leave it out."
        )
    if model.text_encoder != "transformer":
        raise MMTError(
            f"{where}: {found}, but model.text_encoder is '{model.text_encoder}'. Adapters and LoRA need "
            "text_encoder: transformer."
        )
    if model.lora_rank and not lora_parts(model):
        raise MMTError(
            f"{where}: {found}, but no part has both model.lora_targets ({', '.join(model.lora_targets)}) and "
            f"model.lora_places ({', '.join(model.lora_places)}). Cross-attention has q, k, v and output."
        )


def _check_score(config: TrainConfig, objectives: Objectives, where: str) -> None:
    score = config.regime.score or objectives.score
    task = SCORES.get(score)
    if task is None and not objectives.writes:
        raise MMTError(f"{where}: regime.score is '{score}', but the model learns no translation.")
    if task is None:
        return
    if task.name not in objectives.weights:
        raise MMTError(f"{where}: regime.score is '{score}', but objectives.{task.name} is not set.")
    if objectives.writes:
        raise MMTError(
            f"{where}: regime.score is '{score}', but the model writes, too. Set bleu, exact (the share of "
            "translations, or answers, that are the reference to the letter) or loss."
        )
