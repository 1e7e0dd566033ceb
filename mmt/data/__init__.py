"""What is read: datasets, tokenizers, inputs, feature stores, batches."""
