"""Odd shapes of every operation, small enough for the interpreter, and where each can be padded."""

from hypothesis import strategies as st

rows, width = st.integers(1, 40), st.integers(2, 300)
extent = st.integers(1, 150)


@st.composite
def attention(draw):
    kv_heads = draw(st.integers(1, 2))
    heads = kv_heads * draw(st.integers(1, 3))
    return 1, heads, kv_heads, draw(st.integers(1, 200)), draw(st.sampled_from([64, 128]))


@st.composite
def decoded(draw):
    """Pages of any size; the last may hold all of the context, which is then in one piece."""
    kv_heads, queries = draw(st.integers(1, 2)), draw(st.integers(1, 4))
    heads = kv_heads * draw(st.integers(1, 5))
    context = draw(st.integers(queries, 200))
    page = draw(st.sampled_from([1, 5, 16, 64, 128, 256]))
    head_dim = draw(st.sampled_from([64, 128, 256]))
    return draw(st.integers(1, 3)), queries, heads, kv_heads, context, page, head_dim


@st.composite
def moe(draw):
    experts = draw(st.integers(1, 9))
    return (
        draw(st.integers(1, 60)),
        experts,
        draw(st.integers(1, 90)),
        draw(st.integers(1, min(4, experts))),
    )


SHAPES = {
    "stream": st.tuples(st.integers(1, 20_000)),
    "gemm": st.tuples(extent, extent, st.integers(1, 100)),
    "gate_up": st.tuples(extent, extent, st.integers(1, 100)),
    "grouped_gemm": st.tuples(
        st.integers(1, 6), st.integers(1, 120), st.integers(1, 80), st.integers(1, 80)
    ),
    "moe": moe(),
    "attention": attention(),
    "decode_attention": decoded(),
    "rmsnorm": st.tuples(rows, width),
    "layernorm": st.tuples(rows, width),
    "rope": st.tuples(
        st.integers(1, 30), st.integers(1, 5), st.integers(1, 3), st.sampled_from([2, 10, 64])
    ),
    "swiglu": st.tuples(rows, width),
    "softmax": st.tuples(rows, st.sampled_from([1, 2, 33, 300, 1025])),
    "cross_entropy": st.tuples(rows, st.sampled_from([1, 2, 33, 1000, 33_000])),
    "linear_cross_entropy": st.tuples(rows, st.integers(1, 600), st.integers(1, 70)),
    "adamw": st.tuples(st.integers(1, 10_000)),
    "quantize": st.tuples(rows, width),
    "transpose": st.tuples(extent, extent),
    "embedding": st.tuples(st.integers(1, 60), st.integers(1, 40), st.integers(1, 90)),
    "local_reduce": st.tuples(st.integers(1, 9), st.integers(1, 10_000)),
}

BY_DESCRIPTORS = {
    "gemm": {
        "gemm": {
            "block_m": 64, "block_n": 64, "block_k": 32, "group_m": 2, "num_warps": 4,
            "num_stages": 2, "tma": 1, "waves": 1, "flatten": 1, "subtile": 1,
        },
    },
    "gate_up": {
        "gate_up": {
            "block_m": 64, "block_n": 32, "block_k": 32, "group_m": 2, "num_warps": 4,
            "num_stages": 2, "tma": 1, "waves": 1, "flatten": 1,
        },
    },
    "grouped_gemm": {
        "grouped_gemm": {
            "block_m": 32, "block_n": 32, "block_k": 32, "group_m": 2, "num_warps": 4,
            "num_stages": 2, "tma": 1, "waves": 1, "flatten": 1, "subtile": 1,
        },
        "grouped_gemm_weight": {
            "block_m": 32, "block_n": 32, "block_k": 16, "num_warps": 4, "num_stages": 2, "tma": 1,
        },
    },
    "attention": {
        "attention": {"block_m": 64, "block_n": 32, "num_warps": 4, "num_stages": 1, "tma": 1},
        "attention_key_value": {
            "block_m": 32, "block_n": 64, "num_warps": 4, "num_stages": 1, "tma": 1,
        },
        "attention_query": {
            "block_m": 64, "block_n": 32, "num_warps": 4, "num_stages": 1, "tma": 1,
        },
    },
}  # fmt: skip
"""Operation → configurations whose tiles move by tensor descriptors."""

_ROWS_AHEAD = {
    "rmsnorm_backward": {"rows": 2, "waves": 1, "num_warps": 4, "num_stages": 3},
    "rmsnorm": {"rows": 2, "num_warps": 4, "early": 1, "first_loads": 1, "first_stores": 1},
}  # fmt: skip
_BLOCKS_AHEAD = {
    "stream": {
        "block": 256, "num_warps": 4, "num_stages": 4, "waves": 2, "first_loads": 1,
        "first_stores": 1,
    },
    "stream_sum": {"block": 16, "steps": 3, "num_warps": 4, "num_stages": 1},
}  # fmt: skip
_FEW_PARTS = {
    "decode_attention": {
        "block_m": 16, "block_n": 16, "waves": 1, "num_warps": 4, "num_stages": 1,
    },
}  # fmt: skip
_BLOCKS = {"block": 64, "num_warps": 4}
_TILES = {
    "block_m": 32, "block_n": 64, "block_k": 16, "group_m": 2, "num_warps": 4, "num_stages": 1,
}  # fmt: skip
_WHOLE = [(32, 128, 32), (64, 64, 33), (33, 64, 32), (64, 65, 16)]
STEPS = {
    "stream": (_BLOCKS_AHEAD, [(3000,), (2048,), (1,), (5_001,)]),
    "decode_attention": (
        _FEW_PARTS,
        [(1, 3, 2, 1, 100, 7, 64), (2, 5, 8, 2, 70, 16, 64), (1, 2, 2, 2, 65, 65, 64)],
    ),
    "rmsnorm": (_ROWS_AHEAD, [(19, 200), (8, 128), (1, 33)]),
    "layernorm": (_ROWS_AHEAD, [(19, 200), (8, 128), (1, 33)]),
    "softmax": (
        {"softmax": _BLOCKS, "softmax_backward": _BLOCKS},
        [(3, 200), (2, 128), (1, 63), (2, 1)],
    ),
    "cross_entropy": (
        {"cross_entropy": {"block": 64, "waves": 1, "num_warps": 4, "num_stages": 3}},
        [(5, 200), (2, 128), (1, 65)],
    ),
    "quantize": (
        {
            "quantize": {"block": 16, "steps": 2, "num_warps": 4},
            "quantize_block": {"groups": 2, "num_warps": 4},
        },
        [(7, 500), (1, 257)],
    ),
    "gemm": ({"gemm": _TILES}, _WHOLE),
    "gate_up": ({"gate_up": _TILES}, _WHOLE),
    "grouped_gemm": (
        {"grouped_gemm": _TILES, "grouped_gemm_weight": _TILES},
        [(4, 70, 64, 33), (4, 70, 65, 32), (3, 96, 64, 32)],
    ),
    "swiglu": ({"swiglu": _BLOCKS, "swiglu_backward": _BLOCKS}, [(3, 64), (3, 130)]),
    "rope": ({"rope": {"heads": 2, "num_warps": 4}}, [(3, 5, 3, 10)]),
    "moe": ({"moe": _BLOCKS}, [(4, 3, 130, 2)]),
    "embedding": (
        {"embedding": _BLOCKS, "embedding_backward": _BLOCKS},
        [(600, 1, 5), (90, 2, 130)],
    ),
}
"""Operation → configurations of which a program, or a run of equal ids, takes several steps, some
of them fetched ahead, and shapes with several steps and a part of one; of products, tiles that some
dimensions fill and others do not."""

LONG_ROWS = {
    "rmsnorm": {"block": 32, "num_warps": 4},
    "rmsnorm_backward": {"block": 32, "waves": 1, "num_warps": 4},
}
"""Configurations by which norms walk their rows in blocks."""
LONG_NORMS = {name: [(7, 200), (5, 96), (3, 33), (2, 8)] for name in ("rmsnorm", "layernorm")}
"""Operations that have them, with shapes of several blocks and a part of one."""
