"""Run in a process of its own by test_interpreter.py: results in place of what they are made of.

Every output that may be one of the inputs gets the values that it gets in a place of its own, rows
held whole and walked in blocks.
"""

from __future__ import annotations

import os

os.environ["TRITON_INTERPRET"] = "1"

import contextlib
import sys

import torch

sys.path.insert(0, os.path.dirname(__file__))
import interpreting  # noqa: F401  (replaces the interpreter's own)
from shapes import LONG_ROWS

from bench.kernels import (
    adamw,
    attention,
    decode_attention,
    layernorm,
    local_reduce,
    rmsnorm,
    rope,
    softmax,
    stream,
    swiglu,
    tuning,
)

BLOCKS = {
    **LONG_ROWS,
    **{key: {"block": 32, "num_warps": 4} for key in ("softmax", "softmax_backward")},
}
GENERATOR = torch.Generator().manual_seed(7)


def normal(*shape, kind=torch.float32):
    return torch.randn(shape, generator=GENERATOR).to(kind)


def in_place(call, inputs, outputs, over):
    """``call(**tensors)`` writes ``outputs``; each pair (output, input) of ``over`` is one tensor.

    Rows lie apart, and what lies between them stays as it is.
    """

    def apart(tensor):
        whole = torch.full((*tensor.shape[:-1], tensor.shape[-1] + 8), 5.0).to(tensor.dtype)
        whole[..., : tensor.shape[-1]] = tensor
        return whole, whole[..., : tensor.shape[-1]]

    wanted = {name: torch.full_like(one, float("nan")) for name, one in outputs.items()}
    call(**{name: one.clone() for name, one in inputs.items()}, **wanted)
    for pairs in over:
        mine = {name: one.clone() for name, one in inputs.items()}
        found = {name: one.clone() for name, one in outputs.items()}
        wholes = []
        for output, given in pairs:
            whole, part = apart(inputs[given])
            mine[given] = found[output] = part
            wholes.append(whole[..., part.shape[-1] :])
        call(**mine, **found)
        for name, one in wanted.items():
            assert torch.equal(found[name], one), (pairs, name)
        assert all((one == 5.0).all() for one in wholes), (pairs, "wrote between rows")


def rows():
    """Norms, softmax and SwiGLU, forward and backward."""
    x, residual, dy, extra = (normal(5, 40) for _ in range(4))
    weight, bias = normal(40), normal(40)
    scale, mean = normal(5).abs() + 0.5, normal(5)
    kept = {"scale": torch.empty(5)}
    with contextlib.ExitStack() as forced:
        for configs in ({}, BLOCKS):
            for key, config in configs.items():
                forced.enter_context(tuning.forcing(key, config))
            y, total = {"y": torch.empty(5, 40)}, {"total": torch.empty(5, 40)}
            in_place(rmsnorm.forward, {"x": x, "weight": weight}, {**y, **kept}, [[("y", "x")]])
            both = {"x": x, "weight": weight, "residual": residual}
            places = [[("y", "x")], [("y", "residual")]]
            in_place(rmsnorm.forward, both, {**y, **total, **kept}, places)
            back = {"dy": dy, "x": x, "weight": weight, "scale": scale, "extra": extra}
            dx = {"dx": torch.empty(5, 40), "dweight": torch.empty(40)}
            in_place(rmsnorm.backward, back, dx, [[("dx", one)] for one in ("dy", "x", "extra")])
            centred = {"x": x, "weight": weight, "bias": bias}
            made = {**y, **kept, "mean": torch.empty(5)}
            in_place(layernorm.forward, centred, made, [[("y", "x")]])
            back = {"dy": dy, "x": x, "weight": weight, "mean": mean, "scale": scale}
            dx["dbias"] = torch.empty(40)
            in_place(layernorm.backward, back, dx, [[("dx", "dy")], [("dx", "x")]])
            in_place(softmax.forward, {"x": x}, y, [[("y", "x")]])
            back, dx = {"dy": dy, "y": x.softmax(-1)}, {"dx": torch.empty(5, 40)}
            in_place(softmax.backward, back, dx, [[("dx", "dy")], [("dx", "y")]])
            given, h = {"gate": x, "up": residual}, {"h": torch.empty(5, 40)}
            in_place(swiglu.forward, given, h, [[("h", "gate")], [("h", "up")]])
            given, made = {"dh": dy, **given}, {"dgate": h["h"], "dup": h["h"].clone()}
            places = [[("dgate", "gate"), ("dup", "up")], [("dgate", "dh"), ("dup", "gate")]]
            in_place(swiglu.backward, given, made, places)


def heads():
    """Turned queries and keys, and attention in place of its queries."""
    q, k, table = normal(6, 3, 16), normal(6, 2, 16), rope.angles(6, 16, torch.device("cpu"))
    made = {"q_out": torch.empty_like(q), "k_out": torch.empty_like(k)}
    places = [[("q_out", "q"), ("k_out", "k")]]
    for backward in (False, True):

        def turn(*, turned=backward, **given):
            rope.rotate(**given, backward=turned)

        in_place(turn, {"q": q, "k": k, "table": table}, made, places)
    q, k, v = (normal(1, heads, 50, 64, kind=torch.float16) for heads in (4, 2, 2))

    def attend(**given):
        attention.forward(**given, lse=torch.empty(1, 4, 50), causal=True)

    given = {"q": q, "k": k, "v": v}
    in_place(attend, given, {"out": torch.empty_like(q)}, [[("out", "q")]])
    given = {"q": q[:, :, :2], "k": k.transpose(1, 2), "v": v.transpose(1, 2)}
    out = {"out": torch.empty_like(given["q"])}
    for waves in (0, 8):  # one part of a sequence, many
        chosen = {"block_m": 16, "block_n": 16, "waves": waves, "num_warps": 4}
        with tuning.forcing("decode_attention", chosen):
            in_place(decode_attention.forward, given, out, [[("out", "q")]])


def vectors():
    """Buffers in which a sum takes the place of one, arrays of STREAM, a step's gradient."""
    x = normal(4, 300)
    for number in range(4):
        mine = x.clone()
        local_reduce.local_reduce(mine, mine[number])
        assert torch.equal(mine[number], local_reduce.local_reduce(x, torch.empty(300))), number
    for op in ("copy", "scale", "add", "triad"):
        wanted = stream.stream(op, x[0], x[1], torch.empty(300))
        for number in range(2):
            mine = x.clone()
            assert torch.equal(stream.stream(op, mine[0], mine[1], mine[number]), wanted), op
    state = [x[0].clone(), x[1].clone(), x[2].abs(), x[3].clone()]
    wanted = [one.clone() for one in (*state, torch.empty(300))]
    adamw.adamw(*wanted, step=2)
    adamw.adamw(*state, state[3], step=2)
    for found, right in zip(state, (*wanted[:3], wanted[4]), strict=True):
        assert torch.equal(found, right)


if __name__ == "__main__":
    rows()
    heads()
    vectors()
    sys.stdout.write("all examples passed\n")
