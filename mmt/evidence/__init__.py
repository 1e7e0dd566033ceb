"""Does the model look? Systems under controls, contrastive pairs, gates and maps."""
