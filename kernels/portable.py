"""Random operands of which every host makes the same bits.

PyTorch's normal and uniform numbers differ in their last bits between devices, and between hosts
whose vector units differ. Integers from the Mersenne Twister do not, nor do sums and products of
floating-point numbers, which IEEE 754 rounds in one way: these are made of nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from .op import Fill

_STEPS = 1 << 24
"""Values in an interval: as many as fp32 tells apart below one."""


class PortableFill(Fill):
    """As `Fill`, drawn on the host. What is normal there is uniform here, of equal variance."""

    def __init__(self, device: torch.device, seed: int) -> None:
        super().__init__(device, seed)
        self.generator = torch.Generator().manual_seed(seed)

    def _drawn(self, maker: Any, shape: Sequence[Any], kind: torch.dtype) -> torch.Tensor:
        if maker is torch.randint:
            return super()._drawn(maker, shape, kind)
        whole = torch.randint(0, _STEPS, tuple(shape), generator=self.generator)
        made = whole.to(kind) / _STEPS
        if maker is torch.randn:
            made = (made - 0.5) * 12**0.5
        return made.to(self.device)
