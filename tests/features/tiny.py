"""A backbone so small that it is exported and measured in no time."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode

from mmt.features.backbone import Backbone, Transform


def _pooled(network: nn.Module, images: Tensor) -> Tensor:
    pooled: Tensor = network(images).mean((2, 3)).unsqueeze(1)
    return pooled


def tiny_backbone(seed: int = 0) -> Backbone:
    """1 x 8 features of 32 x 32 pixels; random weights."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(3, 16, 3, 2), nn.ReLU(), nn.Conv2d(16, 8, 3, 2))
    half = (0.5, 0.5, 0.5)
    return Backbone("tiny", "pool", network, _pooled, Transform(40, 32, InterpolationMode.BILINEAR, half, half))
