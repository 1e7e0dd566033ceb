"""``python -m recipes.train OUT --config-file recipes/configs/NAME.yaml``: the same as ``mmt train``."""

from __future__ import annotations

from mmt.cli.train import train_command

if __name__ == "__main__":
    train_command(prog_name="python -m recipes.train")
