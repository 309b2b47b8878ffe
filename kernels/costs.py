"""Every operation's name, shape, variants, dtypes, FLOPs and bytes. Imports no torch.

A multiply-add counts as two FLOPs. Bytes are the least that an operation must move between
memory and the chip: every input read once, every output written once, unless a docstring here
says why it must be more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

ITEMSIZE = {
    "fp64": 8,
    "fp32": 4,
    "tf32": 4,
    "fp16": 2,
    "bf16": 2,
    "fp8_e4m3": 1,
    "fp8_e5m2": 1,
    "int8": 1,
}
"""Bytes of an element as it lies in memory; tf32 is fp32 in memory."""

PEAK = {"fp8_e4m3": "fp8", "fp8_e5m2": "fp8"}
"""Datasheets name one peak for both 8-bit formats."""

STREAM_ARRAYS = {"copy": 2, "scale": 2, "add": 3, "triad": 3, "dot": 2, "read": 1}
"""Arrays that one pass reads or writes (McCalpin, STREAM, 1995; dot as in BabelStream)."""

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Cost:
    """FLOPs (or integer operations) and bytes of one call."""

    flops: int
    bytes: int

    @property
    def intensity(self) -> float:
        """FLOPs a byte."""
        return self.flops / max(self.bytes, 1)


@dataclass(frozen=True)
class Spec:
    """What there is to know of an operation without running it.

    ``extents`` names the shape's numbers; ``shape`` is one worth measuring on an accelerator
    and ``small`` one that a CPU does in milliseconds. The first variant and dtype are defaults.
    """

    kind: Literal["compute", "memory"]
    extents: tuple[str, ...]
    variants: tuple[str, ...]
    dtypes: tuple[str, ...]
    cost: Callable[[Sizes, str, str], Cost]
    shape: Sizes
    small: Sizes
    needs: str = ""
    """A dtype that the architecture must have, besides that of the case."""


def gemm_flops(m: int, n: int, k: int) -> int:
    """2·M·N·K of C[M, N] = A[M, K] · B[K, N]."""
    return 2 * m * n * k


def output_dtype(dtype: str) -> str:
    """What a matrix product of ``dtype`` writes: bf16 for 8-bit floats, int32 for int8."""
    return {"fp8_e4m3": "bf16", "fp8_e5m2": "bf16", "int8": "fp32"}.get(dtype, dtype)


def gemm_bytes(m: int, n: int, k: int, dtype: str) -> int:
    """A and B read once, C written once (in `output_dtype`; int32 is as wide as fp32)."""
    return (m * k + k * n) * ITEMSIZE[dtype] + m * n * ITEMSIZE[output_dtype(dtype)]


def stream_bytes(op: str, elements: int, dtype: str) -> int:
    """Bytes that one pass over arrays of ``elements`` moves."""
    return STREAM_ARRAYS[op] * elements * ITEMSIZE[dtype]


def attention_pairs(seq: int, causal: bool) -> int:
    """Query–key pairs of one head: S², or S·(S+1)/2 under the causal mask."""
    return seq * (seq + 1) // 2 if causal else seq * seq


def _stream(shape: Sizes, variant: str, dtype: str) -> Cost:
    flops = {"copy": 0, "scale": 1, "add": 1, "triad": 2, "dot": 2, "read": 1}[variant]
    return Cost(flops * shape[0], stream_bytes(variant, shape[0], dtype))


def _gemm(shape: Sizes, variant: str, dtype: str) -> Cost:
    m, n, k = shape
    if dtype == "int8" and variant not in ("nn", "nt", "tn"):
        raise ValueError(f"variant: got {variant!r}, gemm in int8 takes one of nn, nt, tn")
    bias = n * ITEMSIZE[output_dtype(dtype)] if "bias" in variant else 0
    return Cost(gemm_flops(m, n, k), gemm_bytes(m, n, k, dtype) + bias)


def _gate_up(shape: Sizes, variant: str, dtype: str) -> Cost:
    """Two products that share A, and silu(gate)·up written once (5 FLOPs an element)."""
    m, n, k = shape
    size = ITEMSIZE[dtype]
    return Cost(2 * gemm_flops(m, n, k) + 5 * m * n, (m * k + 2 * k * n + m * n) * size)


def _grouped_gemm(shape: Sizes, variant: str, dtype: str) -> Cost:
    """Every token meets one expert's weights; each expert's weights are moved once."""
    experts, tokens, n, k = shape
    moved = tokens * k + experts * k * n + tokens * n
    return Cost(gemm_flops(tokens, n, k), moved * ITEMSIZE[dtype])


def _moe(shape: Sizes, variant: str, dtype: str) -> Cost:
    """Route reads logits and writes top-k weights and experts (fp32, int32); permute copies every
    token top-k times; unpermute reads those copies and writes weighted sums."""
    tokens, experts, width, top_k = shape
    size, chosen = ITEMSIZE[dtype], tokens * top_k
    if variant == "route":
        return Cost(4 * tokens * experts, tokens * experts * size + 8 * chosen)
    rows = (tokens + chosen) * width * size
    if variant == "permute":
        return Cost(0, rows + 4 * chosen)
    return Cost(2 * chosen * width, rows + 8 * chosen)


def _attention(shape: Sizes, variant: str, dtype: str) -> Cost:
    """Forward: two products over all pairs. Backward: five (Dao, FlashAttention-2, 2023)."""
    batch, heads, kv_heads, seq, dim = shape
    pairs = batch * heads * attention_pairs(seq, "causal" in variant)
    size = ITEMSIZE[dtype]
    query, key, stats = batch * heads * seq * dim, batch * kv_heads * seq * dim, batch * heads * seq
    if "backward" in variant:
        return Cost(10 * pairs * dim, (4 * query + 4 * key) * size + 4 * stats)
    return Cost(4 * pairs * dim, (2 * query + 2 * key) * size + 4 * stats)


def decode_lengths(shape: Sizes, variant: str) -> list[int]:
    """Tokens of each sequence of `decode_attention`, rising.

    ``even``: all have the context. ``ragged``: they rise to it in equal steps, as where requests
    come and end at any time; none is shorter than its queries.
    """
    batch, queries, context = shape[0], shape[1], shape[4]
    if variant == "even":
        return [context] * batch
    return [max(queries, -(-context * number // batch)) for number in range(1, batch + 1)]


def _decode_attention(shape: Sizes, variant: str, dtype: str) -> Cost:
    """Two products over all pairs; keys and values of all tokens, queries, results, and the tables
    where the context is in several pages. The last query sees all keys, each before one less."""
    batch, queries, heads, kv_heads, context, page, dim = shape
    if queries > context:
        raise ValueError(
            f"shape: got {queries} queries in {context} tokens of context, takes at most as many"
        )
    lengths = decode_lengths(shape, variant)
    tokens, pages = sum(lengths), sum(-(-length // page) for length in lengths)
    pairs = heads * (queries * tokens - batch * queries * (queries - 1) // 2)
    cells = 2 * tokens * kv_heads * dim + 2 * batch * queries * heads * dim
    known = 4 * (pages if page < context else 0) + 4 * (batch if variant == "ragged" else 0)
    return Cost(4 * pairs * dim, cells * ITEMSIZE[dtype] + known)


def _norm(shape: Sizes, variant: str, dtype: str) -> Cost:
    """Arrays of rows × width: 2 forward, 3 backward; with the residual added 4 and 4."""
    rows, width = shape
    arrays = {"forward": 2, "backward": 3, "add_forward": 4, "add_backward": 4}[variant]
    flops = {"forward": 4, "backward": 9, "add_forward": 5, "add_backward": 10}[variant]
    vectors = width * (2 if "backward" in variant else 1)
    size = ITEMSIZE[dtype]
    return Cost(flops * rows * width, (arrays * rows * width + vectors) * size + 4 * rows)


def _rope(shape: Sizes, variant: str, dtype: str) -> Cost:
    """Queries and keys read and written, the fp32 table of cosines and sines read."""
    tokens, heads, kv_heads, dim = shape
    elements = tokens * (heads + kv_heads) * dim
    return Cost(3 * elements, 2 * elements * ITEMSIZE[dtype] + tokens * dim * 4)


def _swiglu(shape: Sizes, variant: str, dtype: str) -> Cost:
    """Forward moves gate, up and out; backward gate, up, the gradient and two gradients."""
    rows, width = shape
    arrays, flops = (5, 11) if variant == "backward" else (3, 5)
    return Cost(flops * rows * width, arrays * rows * width * ITEMSIZE[dtype])


def _softmax(shape: Sizes, variant: str, dtype: str) -> Cost:
    """Backward reads the result and the gradient."""
    rows, width = shape
    arrays = 3 if variant == "backward" else 2
    return Cost(4 * rows * width, arrays * rows * width * ITEMSIZE[dtype])


def _cross_entropy(shape: Sizes, variant: str, dtype: str) -> Cost:
    """Logits read once, their gradient written once in their place; int64 labels, fp32 losses."""
    rows, vocab = shape
    return Cost(6 * rows * vocab, 2 * rows * vocab * ITEMSIZE[dtype] + 12 * rows)


def _linear_cross_entropy(shape: Sizes, variant: str, dtype: str) -> Cost:
    """Three products (logits, and the gradients of input and weights); logits never whole."""
    rows, vocab, width = shape
    flops = 3 * gemm_flops(rows, vocab, width)
    return Cost(flops, 2 * (rows + vocab) * width * ITEMSIZE[dtype] + 12 * rows)


def _adamw(shape: Sizes, variant: str, dtype: str) -> Cost:
    """fp32 weight and two moments read and written; gradient read, copy written in ``dtype``."""
    return Cost(14 * shape[0], shape[0] * (3 * 4 * 2 + 2 * ITEMSIZE[dtype]))


def _quantize(shape: Sizes, variant: str, dtype: str) -> Cost:
    """Per block, the input is read once. Per tensor it is read twice: no element can be scaled
    before the largest of all is known."""
    rows, width = shape
    reads = 2 if variant == "tensor" else 1
    return Cost(3 * rows * width, rows * width * (reads * ITEMSIZE[dtype] + 1))


def _transpose(shape: Sizes, variant: str, dtype: str) -> Cost:
    return Cost(0, 2 * shape[0] * shape[1] * ITEMSIZE[dtype])


def _embedding(shape: Sizes, variant: str, dtype: str) -> Cost:
    """Forward gathers a row a token; backward adds rows of gradients into an fp32 table, whose rows
    are read and written once each: as many as uniform random ids touch, some of them repeatedly."""
    tokens, vocab, width = shape
    if variant == "backward":
        touched = round(vocab * (1 - (1 - 1 / vocab) ** tokens)) * width
        return Cost(tokens * width, tokens * width * ITEMSIZE[dtype] + 8 * touched + 8 * tokens)
    return Cost(0, 2 * tokens * width * ITEMSIZE[dtype] + 8 * tokens)


def _local_reduce(shape: Sizes, variant: str, dtype: str) -> Cost:
    """Every buffer read, their sum written."""
    buffers, elements = shape
    return Cost((buffers - 1) * elements, (buffers + 1) * elements * ITEMSIZE[dtype])


_HALF = ("bf16", "fp16")
_FLOAT = ("bf16", "fp16", "fp32")
_BOTH = ("forward", "backward")

SPECS: Mapping[str, Spec] = {
    "stream": Spec(
        "memory",
        ("elements",),
        ("triad", "copy", "scale", "add", "dot", "read"),
        ("fp32", "fp64", "bf16", "fp16"),
        _stream,
        (1 << 28,),
        (1 << 20,),
    ),
    "gemm": Spec(
        "compute",
        ("M", "N", "K"),
        ("nn", "nt", "tn", "bias", "bias_relu", "bias_gelu", "bias_silu"),
        ("bf16", "fp16", "tf32", "fp32", "fp8_e4m3", "fp8_e5m2", "int8"),
        _gemm,
        (8192, 8192, 8192),
        (256, 256, 256),
    ),
    "gate_up": Spec(
        "compute",
        ("M", "N", "K"),
        ("forward",),
        _HALF,
        _gate_up,
        (8192, 14336, 4096),
        (256, 256, 256),
    ),
    "grouped_gemm": Spec(
        "compute",
        ("experts", "tokens", "N", "K"),
        ("even", "skewed", "backward_weight"),
        _HALF,
        _grouped_gemm,
        (64, 65536, 2048, 4096),
        (4, 256, 64, 64),
    ),
    "moe": Spec(
        "memory",
        ("tokens", "experts", "width", "top_k"),
        ("route", "permute", "unpermute"),
        _FLOAT,
        _moe,
        (65536, 64, 4096, 8),
        (256, 8, 64, 2),
    ),
    "attention": Spec(
        "compute",
        ("batch", "heads", "kv_heads", "seq", "head_dim"),
        ("causal", "full", "causal_backward", "full_backward"),
        _HALF,
        _attention,
        (2, 32, 8, 8192, 128),
        (1, 4, 2, 256, 64),
    ),
    "decode_attention": Spec(
        "memory",
        ("batch", "queries", "heads", "kv_heads", "context", "page", "head_dim"),
        ("even", "ragged"),
        _FLOAT,
        _decode_attention,
        (16, 1, 32, 8, 8192, 16, 128),
        (2, 1, 4, 2, 256, 16, 64),
    ),
    "rmsnorm": Spec(
        "memory",
        ("rows", "width"),
        ("forward", "backward", "add_forward", "add_backward"),
        _FLOAT,
        _norm,
        (32768, 4096),
        (256, 512),
    ),
    "layernorm": Spec("memory", ("rows", "width"), _BOTH, _FLOAT, _norm, (32768, 4096), (256, 512)),
    "rope": Spec(
        "memory",
        ("tokens", "heads", "kv_heads", "head_dim"),
        _BOTH,
        _FLOAT,
        _rope,
        (32768, 32, 8, 128),
        (256, 4, 2, 64),
    ),
    "swiglu": Spec("memory", ("rows", "width"), _BOTH, _FLOAT, _swiglu, (16384, 14336), (256, 512)),
    "softmax": Spec(
        "memory", ("rows", "width"), _BOTH, _FLOAT, _softmax, (32768, 8192), (256, 512)
    ),
    "cross_entropy": Spec(
        "memory",
        ("rows", "vocab"),
        ("in_place",),
        _FLOAT,
        _cross_entropy,
        (8192, 131072),
        (64, 2048),
    ),
    "linear_cross_entropy": Spec(
        "compute",
        ("rows", "vocab", "width"),
        ("chunked",),
        _FLOAT,
        _linear_cross_entropy,
        (8192, 128256, 4096),
        (64, 512, 64),
    ),
    "adamw": Spec("memory", ("elements",), ("step",), _FLOAT, _adamw, (10**9,), (1 << 16,)),
    "quantize": Spec(
        "memory",
        ("rows", "width"),
        ("tensor", "block"),
        _FLOAT,
        _quantize,
        (16384, 8192),
        (256, 512),
        "fp8_e4m3",
    ),
    "transpose": Spec(
        "memory", ("rows", "columns"), ("forward",), _FLOAT, _transpose, (16384, 16384), (256, 384)
    ),
    "embedding": Spec(
        "memory",
        ("tokens", "vocab", "width"),
        _BOTH,
        _FLOAT,
        _embedding,
        (65536, 128256, 4096),
        (256, 512, 64),
    ),
    "local_reduce": Spec(
        "memory",
        ("buffers", "elements"),
        ("sum",),
        _FLOAT,
        _local_reduce,
        (8, 1 << 26),
        (4, 1 << 14),
    ),
}
"""All operations by name."""


def cost(op: str, shape: Sizes, variant: str, dtype: str) -> Cost:
    """FLOPs and bytes of one call.

    Raises:
        ValueError: an operation, variant, dtype or shape that there is not; names what there is.
    """
    if op not in SPECS:
        raise ValueError(f"op: got {op!r}, takes one of {', '.join(SPECS)}")
    spec = SPECS[op]
    if variant not in spec.variants:
        raise ValueError(f"variant: got {variant!r}, {op} takes one of {', '.join(spec.variants)}")
    if dtype not in spec.dtypes:
        raise ValueError(f"dtype: got {dtype!r}, {op} takes one of {', '.join(spec.dtypes)}")
    if len(shape) != len(spec.extents) or min(shape) < 1:
        raise ValueError(
            f"shape: got {'x'.join(map(str, shape))}, {op} takes {'×'.join(spec.extents)}"
        )
    return spec.cost(shape, variant, dtype)
