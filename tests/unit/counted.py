"""Rates and machines that take a second for each of one kind, and nothing for all else: seconds
are counts."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from bench.analysis.projection.machine import Level, Machine
from bench.analysis.projection.rates import Efficiency, Rates
from bench.kernels.model_costs import ModelShape

DENSE = ModelShape(dim=512, layers=3, heads=8, kv_heads=2, ffn=1536, vocab=4096, seq=256)
MIXED = replace(DENSE, experts=8, top_k=2, ffn=768)
LEVELS = (Level("node", 8, 1.0, 0.0), Level("cluster", 1024, 1.0, 0.0))
WIDE = 2
"""Bytes of an element."""


@dataclass(frozen=True)
class Sending(Machine):
    """Seconds are the bytes of one kind of message: (operation, ranks, stride)."""

    kind: tuple = ()

    def seconds(self, operation, size, ranks, stride=1):
        return size if (operation, ranks, stride) == self.kind else 0.0


class Counted(Rates):
    """``what``: ``flops``, ``bytes`` of operations that stream, or ``beside`` products."""

    def __init__(self, what, kind=(), **efficiency):
        flops, bandwidth = (1.0, math.inf) if what == "flops" else (math.inf, 1.0)
        machine = Sending("m", flops, 1.0, bandwidth, LEVELS, kind=kind)
        nothing = {"overlap": 0.0, "memory": 1.0, "gemm": 1.0, "jitter": 0.0, "host": 0.0}
        super().__init__(machine, replace(Efficiency(), **{**nothing, **efficiency}))
        self.what, self.shapes, self.products = what, [], set()

    def gemm(self, m, n, k, *, count=1, beside=0.0):
        self.products.add((m, n, k, count))
        return {"flops": 2 * m * n * k * count, "beside": beside}.get(self.what, 0.0)

    def streams(self, moved):
        return moved if self.what == "bytes" else 0.0

    def attention(self, flops, *, backward=False, shape=()):
        self.shapes.append(shape)
        return flops / self.machine.flops if self.what == "flops" else 0.0
