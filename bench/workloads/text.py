"""A synthetic text that a model learns within some steps."""

from __future__ import annotations

from typing import Any

CLASSES = 16
"""Tokens that it is made of: few, so that they are learnt soon."""


def text(vocab: int, seq: int, batch: int, seed: int) -> Any:
    """int64 [batch, seq + 1]: a cycle over `CLASSES` tokens from a random start, 10 % noise."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    classes = min(CLASSES, vocab)
    start = torch.randint(0, classes, (batch, 1), generator=generator)
    cycle = (start + torch.arange(seq + 1)) % classes
    noise = torch.randint(0, classes, cycle.shape, generator=generator)
    return torch.where(torch.rand(cycle.shape, generator=generator) < 0.1, noise, cycle)
