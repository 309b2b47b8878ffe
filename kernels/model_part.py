"""A rank's part of a model, and what its forward pass keeps of it. Imports no torch.

Counted as Korthikanti et al., 2022, §4 count, but from what PyTorch saves for this model, which
`torch.autograd.graph.saved_tensors_hooks` tells.
"""

from __future__ import annotations

from .layout import Spread
from .model_costs import ModelShape

BYTES = {"fp32": 4, "bf16": 2, "fp8": 2}
"""Of an element in the format in which a model computes; fp8 is made from bf16 in each product."""


class Part:
    """Extents of what a rank of a stage has. Counts are elements, amounts bytes.

    Arguments as of `bench.kernels.model_memory.estimate`.
    """

    def __init__(
        self,
        shape: ModelShape,
        spread: Spread,
        stage: int,
        batch: int,
        dtype: str,
        again: str,
        staged: bool = False,
        fused: bool = False,
        ops: str = "torch",
    ) -> None:
        layout = spread.layout
        self.own = ops == "triton"
        """Whether Triton's kernels compute: they keep what goes in, and make the rest again."""
        self.shape, self.layout, self.stage = shape, layout, stage
        self.wide, self.again, self.staged = BYTES[dtype], again, staged
        self.fused = fused or self.own
        self.low = self.wide < 4
        alike = spread.copies * spread.shards
        self.copied = layout.plain and spread.ranks > 1
        """By `DistributedDataParallel`; else, where ranks have weights in common, `fully_shard`."""
        self.shared = not layout.plain and alike > 1
        self.shards = spread.shards if self.shared else 1
        self.tokens = batch // layout.microbatches * shape.seq // layout.cp
        self.some = self.tokens / layout.tp
        """Tokens of a microbatch, and those that a rank has of them between matrices."""
        tp = layout.tp
        self.queries = shape.heads * shape.head_dim / tp
        self.kv = shape.kv_heads * shape.head_dim / tp
        self.ffn, self.vocab = shape.ffn / tp, shape.vocab / tp
        self.attention = 2 * shape.dim * (self.queries + self.kv)
        self.experts = shape.experts / layout.ep * 3 * shape.dim * shape.ffn
        """Weights of a layer's experts here, if it has any: shared by fewer ranks."""
        dense = shape.dim * shape.experts if shape.experts else 3 * shape.dim * self.ffn
        self.block = self.attention + dense + 2 * shape.dim
        self.layers = shape.layers // layout.stages

    @property
    def kept(self) -> float:
        """Bytes of a block's forward pass that stay for its backward pass."""
        dim, wide, n, some = self.shape.dim, self.wide, self.tokens, self.some
        if self.again == "none":
            return self.inner
        into = wide * dim * some
        if self.again == "full":
            return into
        if self.own:  # what its kernels give, PyTorch does not see as products
            ffn = 0.0 if self.shape.experts else 2 * self.ffn
            return into + wide * n * (self.queries + 2 * self.kv + ffn) + 2 * wide * dim * some
        outputs = 2 * self.queries + 2 * self.kv
        ffn = self.shape.top_k * (2 * self.shape.ffn + dim) if self.shape.experts else 2 * self.ffn
        return into + wide * n * (outputs + ffn) + 2 * wide * dim * some

    @property
    def inner(self) -> float:
        """The same without recompute."""
        return 2 * self.norm + self.mixed + self.fed + self.rounded

    @property
    def norm(self) -> float:
        """A norm: its input in fp32, the same normalised, and its result, of which matrices take
        the whole sequence."""
        inside = self.wide if self.fused else 8
        return self.shape.dim * (inside * self.some + self.wide * self.tokens)

    @property
    def mixed(self) -> float:
        """Attention: turned queries, keys and values for each head, the result, and its sums.

        Triton's kernel takes keys and values as few as they are; the result, by heads, is copied
        for the product behind it, and angles for each sequence.
        """
        sums = 4 * self.queries / self.head_dim
        if self.own:
            return (self.wide * (3 * self.queries + 2 * self.kv) + sums + self.angles) * self.tokens
        longer = (2 * self.layout.cp + 1) / 2 if self.layout.cp > 1 else 1.0
        return (self.wide * self.queries * (2 + 2 * longer) + sums) * self.tokens

    @property
    def angles(self) -> float:
        """Cosines and sines of a token; those of a single sequence are the model's own."""
        return 4.0 * self.head_dim if self.tokens > self.shape.seq // self.layout.cp else 0.0

    @property
    def head_dim(self) -> int:
        """Of attention."""
        return self.shape.head_dim

    @property
    def fed(self) -> float:
        """Feed-forward: gate, up, silu(gate) (which Triton's kernel does not keep) and their
        product; of a mixture, of each row, beside what goes in and what comes out."""
        inner = 3 if self.own else 4
        if not self.shape.experts:
            return self.wide * self.tokens * inner * self.ffn
        rows = self.tokens * self.shape.top_k
        return self.wide * rows * (inner * self.shape.ffn + 2 * self.shape.dim)

    @property
    def rounded(self) -> float:
        """Weights in the format in which the model computes, unless they are gathered so."""
        return self.wide * (self.block + self.experts) if self.low and not self.shared else 0.0
