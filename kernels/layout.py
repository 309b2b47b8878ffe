"""How a training step is spread over ranks: which of them hold what, and what does not divide.

Imports no torch: plans and projections ask as well. Sizes multiply: ranks = pp · data · cp · tp.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .model_costs import ModelShape

DATA_PARALLEL = ("ddp", "fsdp", "hsdp")
SCHEDULES = ("gpipe", "1f1b", "interleaved")
VIRTUAL = 2
"""Stages that a rank has in an interleaved pipeline."""


@dataclass(frozen=True)
class Layout:
    """The degrees of every kind of parallelism.

    - ``dp``, of the ranks that see different sequences. ``ddp``: each holds all weights of its
      model shard. ``fsdp``: they share them (ZeRO stage 3: Rajbhandari et al., 2020). ``hsdp``:
      ``replicas`` groups do, each its own copy.
    - ``tp``: ranks that share every matrix, and between matrices the sequence (Shoeybi et al.,
      Megatron-LM, 2019; Korthikanti et al., 2022).
    - ``cp``: ranks that share a sequence. They hold weights as data-parallel ranks do.
    - ``pp``: stages of layers in a row, through which ``microbatches`` parts of a batch go by
      ``schedule``: all forward, then all backward (``gpipe``: Huang et al., 2019), alternating
      (``1f1b``), or with two stages a rank (``interleaved``: Narayanan et al., 2021). Without
      stages the parts follow each other and gradients add up.
    - ``ep``: of the data- and context-parallel ranks those that share the experts of a layer.
    """

    dp: str = "ddp"
    replicas: int = 1
    tp: int = 1
    cp: int = 1
    pp: int = 1
    schedule: str = "1f1b"
    microbatches: int = 1
    ep: int = 1

    @property
    def plain(self) -> bool:
        """Whether all that ranks exchange are gradients, behind the backward pass."""
        return self.dp == "ddp" and self.tp == self.cp == self.pp == self.ep == 1

    @property
    def stages(self) -> int:
        """Parts of the row of layers."""
        return self.pp * (VIRTUAL if self.pp > 1 and self.schedule == "interleaved" else 1)

    @property
    def bubble(self) -> float:
        """Least time in which a rank has nothing to do, as a share of that in which it computes.

        (pp - 1) / (v · m), v stages a rank and m microbatches (Narayanan et al., 2021, §2.2).
        """
        return (self.pp - 1) * self.pp / (self.stages * self.microbatches)

    def check(self, shape: ModelShape, batch: int) -> None:
        """Raise ValueError, in a sentence, for what does not go with a model or a batch.

        Args:
            shape: The model.
            batch: Sequences that a data-parallel rank sees in a step.
        """
        for name in ("replicas", "tp", "cp", "pp", "microbatches", "ep"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if (self.dp == "hsdp") != (self.replicas > 1):
            raise ValueError(
                "dp: hsdp and replicas of 2 or more belong together: the groups that share weights"
            )
        _divides("microbatches", self.microbatches, batch, "batch")
        for extent in ("heads", "kv_heads", "ffn", "vocab"):
            _divides("tp", self.tp, getattr(shape, extent), extent)
        _divides("tp · cp", self.tp * self.cp, shape.seq, "seq")
        if self.cp > 1:
            _divides("2 · cp", 2 * self.cp, shape.seq, "seq, of which a rank has two parts")
        _divides("pp" if self.stages == self.pp else "2 · pp", self.stages, shape.layers, "layers")
        if self.pp > 1 and self.schedule == "1f1b" and self.microbatches < self.pp:
            raise ValueError(
                f"pp={self.pp} by 1f1b takes as many microbatches or more, not {self.microbatches}"
            )
        if self.pp > 1 and self.schedule == "interleaved" and self.microbatches % self.pp:
            raise ValueError(
                f"pp={self.pp} interleaved takes a multiple of {self.pp} microbatches, "
                f"not {self.microbatches}"
            )
        if shape.experts and self.tp > 1:
            raise ValueError(
                f"tp={self.tp}: a mixture of experts is not split so here; spread them by ep"
            )
        if self.ep == 1:
            return
        if not shape.experts:
            raise ValueError(f"ep={self.ep}: this model has no experts to spread")
        _divides("ep", self.ep, shape.experts, "experts")
        if self.dp == "ddp":
            raise ValueError(
                f"ep={self.ep} spreads experts, while dp: ddp gives each rank all: take fsdp, hsdp"
            )

    def over(self, ranks: int) -> Spread:
        """Spread over so many ranks. Raises ValueError, in a sentence, where it does not divide."""
        block = self.pp * self.cp * self.tp
        if ranks % block:
            sizes = " · ".join(
                f"{name} {getattr(self, name)}"
                for name in ("pp", "cp", "tp")
                if getattr(self, name) > 1
            )
            raise ValueError(f"{ranks} ranks do not divide by {sizes} = {block}")
        spread = Spread(self, ranks)
        if self.dp == "hsdp" and spread.data % self.replicas:
            raise ValueError(
                f"{spread.data} data-parallel ranks do not divide into {self.replicas} replicas"
            )
        if spread.shards % self.ep:
            raise ValueError(
                f"ep={self.ep} must divide the {spread.shards} ranks that share weights"
            )
        return spread


@dataclass(frozen=True)
class Spread:
    """A layout over a number of ranks that it divides.

    Ranks count through tensor-parallel ones first, which exchange most and so are nearest, then
    context-parallel ones, those that share weights, replicas, and stages.
    """

    layout: Layout
    ranks: int

    @property
    def data(self) -> int:
        """Ranks that see different sequences."""
        return self.ranks // (self.layout.pp * self.layout.cp * self.layout.tp)

    @property
    def copies(self) -> int:
        """How often there is every weight."""
        layout = self.layout
        return {"ddp": self.data * layout.cp, "fsdp": 1, "hsdp": layout.replicas}[layout.dp]

    @property
    def shards(self) -> int:
        """Ranks that share the weights of a stage, those of tensor parallelism aside."""
        return self.data * self.layout.cp // self.copies

    def sequences(self, rank: int) -> int:
        """Which of the `data` ranks it is: those with the same number see the same sequences."""
        return rank // (self.layout.cp * self.layout.tp) % self.data

    def holding(self, rank: int) -> int:
        """Number of the weights that it holds: ranks with the same must hold equal ones."""
        inner = self.shards * self.layout.tp
        return rank // (self.copies * inner) * inner + rank % inner


def _divides(name: str, degree: int, extent: int, what: str) -> None:
    if extent % degree:
        raise ValueError(f"{name} = {degree} does not divide {extent} ({what})")


def order(layout: Layout, stage: int) -> Iterator[tuple[bool, int, int]]:
    """(forward?, part, microbatch) as a stage's rank goes through them.

    Each forward pass has the backward pass of another behind it, once so many are under way that
    the first comes back (Narayanan et al., 2021, §2.2); by ``gpipe`` all go forward first.
    """
    count, parts = layout.microbatches, layout.stages // layout.pp
    total = count * parts
    before = layout.pp - stage - 1
    if layout.pp == 1:
        ahead = 1
    elif layout.schedule == "gpipe":
        ahead = total
    elif parts == 1:
        ahead = min(total, before + 1)
    else:
        ahead = min(total, 2 * before + (parts - 1) * layout.pp + 1)
    places = []
    for number in range(total):
        turn, within = divmod(number, layout.pp)
        places.append((turn % parts, turn // parts * layout.pp + within))
    forward = [(True, part, number) for part, number in places]
    yield from forward[:ahead]
    for done, (part, number) in enumerate(places):
        yield False, parts - 1 - part, number
        yield from forward[ahead + done : ahead + done + 1]
