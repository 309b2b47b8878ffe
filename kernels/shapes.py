"""The shapes that a model's steps give to every operation. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .costs import SPECS, Sizes
from .model_costs import ModelShape, parameters

PAGE = 16
"""Tokens of a page of keys and values where a model's use does not say (vLLM's default)."""


def model_shapes(op: str, model: ModelShape, tp: int = 1) -> dict[str, Sizes]:
    """Name → shape of every use of an operation in one sequence of a decoder.

    A mixture of experts has grouped products in place of the dense feed-forward ones: each of
    the ``seq · top_k`` copies of a token is a row. Experts are not spread over devices here.

    Args:
        op: Operation.
        model: The model.
        tp: Tensor-parallel devices; heads, feed-forward (that of every expert) and vocabulary are
            split over them.

    Raises:
        ValueError: an operation that there is not, or heads that cannot be split so.
    """
    if op not in SPECS:
        raise ValueError(f"op: got {op!r}, takes one of {', '.join(SPECS)}")
    if tp < 1 or model.heads % tp or model.ffn % tp or model.vocab % tp:
        raise ValueError(f"tp: got {tp}, takes a divisor of heads, ffn and vocab")
    tokens, dim, head_dim = model.seq, model.dim, model.head_dim
    heads, kv_heads = model.heads // tp, max(1, model.kv_heads // tp)
    ffn, vocab = model.ffn // tp, model.vocab // tp
    rows = tokens * (model.top_k or 1)
    uses: dict[str, dict[str, Sizes]] = {
        "gemm": {
            "qkv": (tokens, (heads + 2 * kv_heads) * head_dim, dim),
            "out": (tokens, dim, heads * head_dim),
            "head": (tokens, vocab, dim),
        },
        "attention": {"attention": (1, heads, kv_heads, tokens, head_dim)},
        "decode_attention": {
            "pages": (1, 1, heads, kv_heads, tokens, PAGE, head_dim),
            "piece": (1, 1, heads, kv_heads, tokens, tokens, head_dim),
        },
        "rmsnorm": {"norm": (tokens, dim)},
        "layernorm": {"norm": (tokens, dim)},
        "rope": {"rope": (tokens, heads, kv_heads, head_dim)},
        "swiglu": {"swiglu": (rows, ffn)},
        "softmax": {"head": (tokens, vocab)},
        "cross_entropy": {"head": (tokens, vocab)},
        "linear_cross_entropy": {"head": (tokens, vocab, dim)},
        "adamw": {"layer": ((parameters(model) - 2 * dim * model.vocab) // model.layers // tp,)},
        "quantize": {"input": (tokens, dim), "hidden": (rows, ffn)},
        "transpose": {"input": (tokens, dim), "hidden": (rows, ffn)},
        "embedding": {"embedding": (tokens, model.vocab, dim)},
        "local_reduce": {"activations": (max(2, tp), tokens * dim)},
    }
    if model.experts:
        uses["gemm"]["router"] = (tokens, model.experts, dim)
        uses["grouped_gemm"] = {
            "gate_up": (model.experts, rows, 2 * ffn, dim),
            "down": (model.experts, rows, dim, ffn),
        }
        uses["moe"] = {"layer": (tokens, model.experts, dim, model.top_k)}
    else:
        uses["gemm"] |= {"gate_up": (tokens, 2 * ffn, dim), "down": (tokens, dim, ffn)}
        uses["gate_up"] = {"ffn": (tokens, ffn, dim)}
    return uses.get(op, {})


def model_set(op: str, text: str, models: Callable[[str], Any]) -> dict[str, Sizes]:
    """The uses of an operation in ``MODEL/tpN``, by name.

    Args:
        op: Operation.
        text: For example ``llama-8b/tp2``.
        models: Gives a model's configuration by its name.

    Raises:
        ValueError: ``text`` is not of this form, the model cannot be split so, or it makes no use
            of the operation.
    """
    name, _, split = text.partition("/")
    if not split.startswith("tp") or not split[2:].isdecimal():
        raise ValueError(f"{text!r} is not MODEL/tpN, for example llama-8b/tp2")
    found = model_shapes(op, ModelShape.of(models(name)), int(split[2:]))
    if not found:
        raise ValueError(f"{name} makes no use of {op}")
    return found


def sizes(op: str, text: str, models: Callable[[str], Any]) -> Sizes:
    """The extents that a shape in words means.

    Args:
        op: Operation.
        text: ``typical``, ``small``, extents such as 4096x4096x4096, or ``MODEL/tpN/USE``.
        models: Gives a model's configuration by its name.

    Raises:
        ValueError: none of these; says what it may be.
    """
    spec = SPECS[op]
    if text in ("typical", "small"):
        return spec.shape if text == "typical" else spec.small
    if "/" in text:
        group, _, use = text.rpartition("/")
        found = model_set(op, group, models)
        if use not in found:
            raise ValueError(f"{text!r}: {group} has {op} as {', '.join(found)}")
        return found[use]
    parts = text.split("x")
    if not all(part.isdecimal() for part in parts):
        extents = "x".join(spec.extents)
        raise ValueError(
            f"{text!r} is not a shape of {op}: write {extents}, typical, small, or MODEL/tpN/USE"
        )
    return tuple(map(int, parts))
