"""Draws the built-in dataset: pictures and their sentences, whose meaning the picture alone settles."""
