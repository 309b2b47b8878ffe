"""How a step is spread over chips, and what does not divide. Sizes multiply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from .workload import Decoder

Recompute: TypeAlias = Literal["none", "selective", "full"]
Sharding: TypeAlias = Literal["none", "optimizer", "full"]


ENDS = 2
"""Embedding and head, which may stand for a layer each."""


@dataclass(frozen=True)
class Plan:
    """A layout: chips = tp · cp · dp · pp, counted through in this order, nearest first.

    ``tp`` ranks share every matrix; with ``sequence`` they share the sequence between matrices
    (Korthikanti et al., 2022, §4.2.2). ``cp`` ranks share a sequence (Liu et al., Ring Attention,
    2023). ``dp`` ranks see different sequences and hold equal weights (``sharding: none``), share
    the optimizer's state (``optimizer``: ZeRO stage 1) or weights as well (``full``: stage 3;
    Rajbhandari et al., ZeRO, 2020). ``pp`` stages of layers of which each rank has ``virtual``
    (Narayanan et al., 2021, §2.2). ``ep`` of the dp · cp ranks share a layer's experts. A step has
    ``batch`` sequences in all; ``micro`` go through a rank together.

    ``recompute``: what the backward pass computes again. ``full``: all of a layer from its input.
    ``selective``: of attention that writes its scores, what is between its products with weights
    (Korthikanti et al., 2022, §5); else all but products and attention, as this project's own
    trainer has it (`bench.workloads.parallel.again`).
    """

    batch: int
    tp: int = 1
    pp: int = 1
    dp: int = 1
    cp: int = 1
    ep: int = 1
    virtual: int = 1
    micro: int = 1
    recompute: Recompute = "none"
    sharding: Sharding = "optimizer"
    sequence: bool = True

    @property
    def chips(self) -> int:
        """All of them."""
        return self.tp * self.cp * self.dp * self.pp

    @property
    def microbatches(self) -> int:
        """That a rank sees in a step."""
        return self.batch // (self.dp * self.micro)

    @property
    def shards(self) -> int:
        """Ranks that share what ``sharding`` shares."""
        return self.dp * self.cp

    def check(self, model: Decoder) -> None:
        """Raise ValueError, in a sentence, for what does not go with a model."""
        shape = model.shape
        for name in ("batch", "tp", "pp", "dp", "cp", "ep", "virtual", "micro"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        _divides("dp · micro", self.dp * self.micro, self.batch, "batch")
        _divides("tp", self.tp, shape.heads, "heads")
        _divides("tp · cp", self.tp * self.cp, shape.seq, "seq")
        parts = self.pp * self.virtual
        if parts > shape.layers + ENDS:
            raise ValueError(f"pp · virtual = {parts} is more than {shape.layers} layers")
        if self.virtual > 1 and self.pp == 1:
            raise ValueError("virtual stages need a pipeline: pp of 2 or more")
        if self.virtual > 1 and self.microbatches % self.pp:
            raise ValueError(
                f"virtual stages take a multiple of pp = {self.pp} microbatches, "
                f"not {self.microbatches}"
            )
        if self.ep > 1:
            if not shape.experts:
                raise ValueError(f"ep = {self.ep}: this model has no experts to spread")
            _divides("ep", self.ep, shape.experts, "experts")
            _divides("ep", self.ep, self.shards * self.tp, "tp · cp · dp")

    def said(self) -> str:
        """In a line: ``tp 8, pp 16 × 7, dp 48, micro 1, recompute none``."""
        virtual = f" × {self.virtual}" if self.virtual > 1 else ""
        words = [
            f"tp {self.tp}",
            f"cp {self.cp}" if self.cp > 1 else "",
            f"ep {self.ep}" if self.ep > 1 else "",
            f"pp {self.pp}{virtual}",
            f"dp {self.dp}",
            f"micro {self.micro}",
            f"recompute {self.recompute}",
            {"none": "", "optimizer": "optimizer shared", "full": "weights shared"}[self.sharding],
        ]
        return ", ".join(filter(None, words))


def stages(layers: int, plan: Plan) -> tuple[int, int, int]:
    """Layers of the first, a middle and the last pipeline rank.

    Evenly where they divide. Where one or two are missing to it, the last rank, which has the
    head, and then the first, which has the embedding, have one fewer (as Llama 3 has it:
    Grattafiori et al., The Llama 3 Herd of Models, 2024, §3.3.2); else the fullest counts for
    all.
    """
    parts = plan.pp * plan.virtual
    each = -(-layers // parts) * plan.virtual
    missing = parts * -(-layers // parts) - layers
    if plan.pp == 1:
        return layers, layers, layers
    if missing == 1:
        return each, each, each - 1
    if missing == 2:
        return each - 1, each, each - 1
    return each, each, each


def _divides(name: str, degree: int, extent: int, what: str) -> None:
    if extent % degree:
        raise ValueError(f"{name} = {degree} does not divide {extent} ({what})")
