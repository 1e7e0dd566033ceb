"""Pixels and sound to features: backbones, images, speech, extraction."""
