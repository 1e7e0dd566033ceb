"""Trained models on a web page and in an HTTP API: ``mmt serve``. Needs the extra ``serve``."""
