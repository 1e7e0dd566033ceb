"""Tiny random checkpoints of transformers, each written as ``save_pretrained`` writes published ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForSeq2SeqLM,
    Gemma3Config,
    Gemma3ImageProcessor,
    Gemma3Processor,
    GemmaTokenizerFast,
    GPT2TokenizerFast,
    Idefics3Config,
    Idefics3ImageProcessor,
    Idefics3Processor,
    LlavaOnevisionConfig,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    PaliGemmaConfig,
    PaliGemmaProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLProcessor,
    Qwen2Config,
    Qwen2TokenizerFast,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    SiglipImageProcessor,
    T5Config,
)

from tests.worlds import sentences

_LINES = [side for pair in sentences(100, 3) for side in pair]
_CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for part in m['content'] %}{% if part['type'] == 'image' %}IMAGE{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_GEMMA = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>"
    "{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{% for part in m['content'] %}"
    "{% if part['type'] == 'image' %}<start_of_image>{% else %}{{ part['text'] | trim }}{% endif %}{% endfor %}"
    "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
_TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
}
_SIGLIP = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


def _tokenizer(folder: Path, special: Sequence[str], kind: type[PreTrainedTokenizerFast], **names: Any) -> Any:
    """A byte-level BPE with 100 merges."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=len(special) + 356, special_tokens=list(special), initial_alphabet=alphabet
    )
    tokenizer.train_from_iterator(_LINES, trainer)
    path = folder / "trained.json"
    tokenizer.save(str(path))
    trained = kind(tokenizer_file=str(path), **names)
    path.unlink()
    return trained


def _save(folder: Path, model: Any, processor: Any) -> Path:
    model.generation_config.repetition_penalty = 3.0  # which must not be used
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _chatml(folder: Path, kind: type[PreTrainedTokenizerFast], *more: str, **names: Any) -> Any:
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *more]
    ends = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    return _tokenizer(folder, special, kind, **ends, **names)


def causal(folder: Path, *, chat: bool = True) -> Path:
    """Qwen2."""
    tokenizer = _chatml(folder, Qwen2TokenizerFast)
    if chat:
        tokenizer.chat_template = _CHATML
    torch.manual_seed(1)
    config = Qwen2Config(vocab_size=len(tokenizer), eos_token_id=2, pad_token_id=0, bos_token_id=None, **_TEXT)
    return _save(folder, AutoModelForCausalLM.from_config(config), tokenizer)


def t5(folder: Path) -> Path:
    special = ["<pad>", "</s>", "<unk>"]
    names = dict(zip(("pad_token", "eos_token", "unk_token"), special, strict=True))
    tokenizer = _tokenizer(folder, special, PreTrainedTokenizerFast, **names)
    ending = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.backend_tokenizer.post_processor = ending
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
    config = T5Config(vocab_size=len(tokenizer), decoder_start_token_id=0, initializer_factor=3.0, **sizes)
    torch.manual_seed(7)
    return _save(folder, AutoModelForSeq2SeqLM.from_config(config), tokenizer)


def qwen2_5_vl(folder: Path) -> Path:
    names = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    tokenizer = _chatml(folder, Qwen2TokenizerFast, *names)
    ids = dict(zip(names, tokenizer.convert_tokens_to_ids(list(names)), strict=True))
    template = _CHATML.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>")
    sizes = {"min_pixels": 28 * 28, "max_pixels": 28 * 28 * 16, "patch_size": 14, "merge_size": 2}
    processor = Qwen2_5_VLProcessor(
        Qwen2VLImageProcessor(**sizes), tokenizer, Qwen2VLVideoProcessor(**sizes), chat_template=template
    )
    config = Qwen2_5_VLConfig(
        text_config=_TEXT
        | {
            "vocab_size": len(tokenizer),
            "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]},
            "eos_token_id": 2,
            "pad_token_id": 0,
            "bos_token_id": None,
        },
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_heads": 2,
            "out_hidden_size": 32,
            "window_size": 56,
            "fullatt_block_indexes": [0],
        },
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        eos_token_id=2,
        pad_token_id=0,
    )
    torch.manual_seed(2)
    return _save(folder, AutoModelForImageTextToText.from_config(config), processor)


def idefics3(folder: Path) -> Path:
    """Its image is a tile and four parts of it."""
    parts = [f"<row_{row}_col_{col}>" for row in range(1, 7) for col in range(1, 7)]
    names = ["<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>", *parts]
    tokenizer = _chatml(folder, GPT2TokenizerFast, *names, bos_token="<|im_start|>")  # noqa: S106
    image_processor = Idefics3ImageProcessor(size={"longest_edge": 56}, max_image_size={"longest_edge": 28})
    processor = Idefics3Processor(
        image_processor, tokenizer, image_seq_len=1, chat_template=_CHATML.replace("IMAGE", "<image>")
    )
    config = Idefics3Config(
        text_config={"model_type": "llama", "vocab_size": len(tokenizer), "pad_token_id": 0, **_TEXT},
        vision_config=_SIGLIP,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=0,
        eos_token_id=2,
        bos_token_id=1,
    )
    torch.manual_seed(3)
    return _save(folder, AutoModelForImageTextToText.from_config(config), processor)


def llava_onevision(folder: Path) -> Path:
    tokenizer = _chatml(folder, Qwen2TokenizerFast, "<image>", "<video>")
    sizes = {"size": {"height": 28, "width": 28}, "image_grid_pinpoints": [[28, 56], [56, 28], [56, 56]]}
    processor = LlavaOnevisionProcessor(
        LlavaOnevisionImageProcessor(**sizes),
        tokenizer,
        LlavaOnevisionVideoProcessor(size={"height": 28, "width": 28}),
        num_image_tokens=4,
        vision_feature_select_strategy="full",
        chat_template=_CHATML.replace("IMAGE", "<image>"),
    )
    config = LlavaOnevisionConfig(
        text_config={"model_type": "qwen2", "vocab_size": len(tokenizer), "eos_token_id": 2, **_TEXT},
        vision_config={"model_type": "siglip_vision_model", "vision_use_head": False, **_SIGLIP},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=[[28, 56], [56, 28], [56, 56]],
        vision_feature_select_strategy="full",
        eos_token_id=2,
        pad_token_id=0,
    )
    torch.manual_seed(4)
    return _save(folder, AutoModelForImageTextToText.from_config(config), processor)


def _gemma_names(*more: str) -> tuple[list[str], dict[str, str]]:
    names = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
    return [*names.values(), *more], names


def gemma3(folder: Path) -> Path:
    extra = {
        "image_token": "<image_soft_token>",
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
    }
    special, names = _gemma_names("<start_of_turn>", "<end_of_turn>", *extra.values())
    tokenizer = _tokenizer(folder, special, GemmaTokenizerFast, **names, extra_special_tokens=extra)
    image_processor = Gemma3ImageProcessor(size={"height": 28, "width": 28})
    processor = Gemma3Processor(image_processor, tokenizer, chat_template=_GEMMA, image_seq_length=4)
    config = Gemma3Config(
        text_config=_TEXT
        | {
            "vocab_size": len(tokenizer),
            "head_dim": 8,
            "sliding_window": 16,
            "query_pre_attn_scalar": 8,
            "pad_token_id": 0,
            "layer_types": ["sliding_attention", "full_attention"],
        },
        vision_config={**_SIGLIP, "vision_use_head": False},
        mm_tokens_per_image=4,
        image_token_index=tokenizer.convert_tokens_to_ids("<image_soft_token>"),
        boi_token_index=tokenizer.convert_tokens_to_ids("<start_of_image>"),
        eoi_token_index=tokenizer.convert_tokens_to_ids("<end_of_image>"),
        eos_token_id=[1, 5],
        pad_token_id=0,
        bos_token_id=2,
    )
    torch.manual_seed(5)
    model = AutoModelForImageTextToText.from_config(config)
    torch.nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight)  # 0 at first
    return _save(folder, model, processor)


def paligemma(folder: Path) -> Path:
    special, names = _gemma_names("<image>")
    tokenizer = _tokenizer(folder, special, GemmaTokenizerFast, **names)
    image_processor = SiglipImageProcessor(size={"height": 28, "width": 28})
    image_processor.image_seq_length = 4
    processor = PaliGemmaProcessor(image_processor, tokenizer)
    config = PaliGemmaConfig(
        text_config={
            "model_type": "gemma",
            "vocab_size": len(tokenizer),
            "head_dim": 8,
            "pad_token_id": 0,
            **_TEXT,
        },
        vision_config={
            "model_type": "siglip_vision_model",
            "vision_use_head": False,
            "projection_dim": 32,
            **_SIGLIP,
        },
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        projection_dim=32,
        hidden_size=32,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=1,
    )
    torch.manual_seed(6)
    return _save(folder, AutoModelForImageTextToText.from_config(config), processor)


IMAGE_MODELS: dict[str, Callable[[Path], Path]] = {
    "qwen2_5_vl": qwen2_5_vl,
    "idefics3": idefics3,
    "llava_onevision": llava_onevision,
    "gemma3": gemma3,
    "paligemma": paligemma,
}
