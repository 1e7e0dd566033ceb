"""Pretrained text models, one module a family: transformers' published layouts, and our own folders."""
