"""Training: configuration, tasks, the fairseq2 recipe and trainer, checkpoints."""
