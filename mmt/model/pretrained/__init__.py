"""Pretrained translation models in transformers' published layouts, one module a family."""
