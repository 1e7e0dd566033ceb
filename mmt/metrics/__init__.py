"""Text in, numbers out: metrics, significance, labels, retrieval. No model."""
