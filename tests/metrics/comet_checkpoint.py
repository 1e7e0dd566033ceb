"""Writes a tiny random checkpoint in COMET's layout, and what COMET itself makes of some translations.

A script for the Python of COMET's environment: ``comet_checkpoint.py FOLDER KIND ROWS.json SCORES.json``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    folder, kind = Path(sys.argv[1]), sys.argv[2]
    import torch
    import yaml
    from comet.models import ReferencelessRegression, RegressionMetric
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import XLMRobertaConfig, XLMRobertaTokenizerFast

    rows = json.loads(Path(sys.argv[3]).read_text())
    encoder = folder / "encoder"
    encoder.mkdir(parents=True)
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    lines = [text for row in rows for text in row.values()]
    tokenizer.train_from_iterator(
        lines,
        trainers.UnigramTrainer(vocab_size=80, special_tokens=special, unk_token="<unk>"),  # noqa: S106
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    fast = XLMRobertaTokenizerFast(tokenizer_object=tokenizer)
    fast.save_pretrained(encoder)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    XLMRobertaConfig(
        vocab_size=len(fast), max_position_embeddings=130, initializer_range=0.5, **sizes
    ).save_pretrained(encoder)
    torch.manual_seed(1)
    identifier, made = {
        "comet": ("regression_metric", RegressionMetric),
        "cometkiwi": ("referenceless_regression_metric", ReferencelessRegression),
    }[kind]
    model = made(
        pretrained_model=str(encoder), load_pretrained_weights=False, local_files_only=True, hidden_sizes=[8]
    )
    (folder / "checkpoints").mkdir()
    settings = dict(model.hparams)
    torch.save(
        {"state_dict": model.state_dict(), "hyper_parameters": settings, "pytorch-lightning_version": "2.0.0"},
        folder / "checkpoints" / "model.ckpt",
    )
    (folder / "hparams.yaml").write_text(yaml.safe_dump(settings | {"class_identifier": identifier}))
    if kind == "cometkiwi":
        rows = [{key: row[key] for key in ("src", "mt")} for row in rows]
    scores = model.predict(rows, batch_size=1, gpus=0, progress_bar=False, num_workers=0).scores
    Path(sys.argv[4]).write_text(json.dumps(scores))


if __name__ == "__main__":
    main()
