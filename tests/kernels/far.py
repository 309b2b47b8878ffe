"""Run in a process of its own by test_interpreter.py: operands of more than 2³¹ elements.

    python far.py

Under Triton's interpreter, whose integers wrap as a chip's do. Rows lie 2³¹ elements apart, so
that every product of a row and its stride needs 64 bits; flat buffers are longer than 2³¹
elements, and only the programs at their ends run. Memory that nobody touches costs nothing.
"""

from __future__ import annotations

import os

os.environ["TRITON_INTERPRET"] = "1"

import contextlib
import importlib
import sys

import torch
from triton.runtime import interpreter

from bench.kernels import costs, op, ops, tuning

sys.path.insert(0, os.path.dirname(__file__))
import interpreting  # noqa: F401  (replaces the interpreter's own)
from shapes import BY_DESCRIPTORS

CPU = torch.device("cpu")
FAR = (1 << 31) + 16
"""Elements between rows: a multiple of 8, as tensor descriptors need."""

# The interpreter copies every operand back, touching all of its memory; here it is the same.
interpreter.GridExecutor._restore_args_dev = lambda *_: None

SHAPES = {
    "gemm": [(2, 64, 32), (64, 64, 2)],
    "gate_up": [(2, 64, 32)],
    "grouped_gemm": [(2, 12, 32, 48)],
    "moe": [(2, 4, 40, 2)],
    "attention": [(2, 2, 1, 40, 64)],
    # Sequences, pages, the places of a page; query heads wherever there is one sequence.
    "decode_attention": [
        (2, 1, 2, 1, 16, 16, 64),
        (1, 1, 2, 1, 32, 16, 64),
        (1, 1, 2, 1, 32, 64, 64),
        (1, 1, 2, 1, 2, 2, 64),
    ],
    "rmsnorm": [(2, 40)],
    "layernorm": [(2, 40)],
    "rope": [(2, 2, 1, 16)],
    "swiglu": [(2, 40)],
    "softmax": [(2, 40), (2, 20_000)],
    "cross_entropy": [(2, 40)],
    "linear_cross_entropy": [(2, 40, 32)],
    "quantize": [(2, 300)],
    "transpose": [(2, 40)],
    "embedding": [(2, 2, 40)],
    "local_reduce": [(2, 40)],
}
"""Two of what lies far apart."""
NEAR = {
    "offsets", "order", "place", "weights", "table", "scale", "lse", "experts", "dweights",
    "dq", "dk", "dv", "dweight", "dbias",
}  # fmt: skip
"""Operands that must have no gaps; all have few elements or fewer dimensions."""
FLAT = {"embedding": "table"}  # this operation's `table` is its weights


def far(tensor):
    """The same values, the first dimension that has several FAR elements apart."""
    if tensor.dim() < 2 or tensor.shape[0] > 2:
        return tensor
    strides = list(tensor.contiguous().stride())
    dim = 0 if tensor.shape[0] > 1 else 1
    if tensor.shape[dim] != 2 or dim == tensor.dim() - 1:
        return tensor
    strides[dim] = FAR
    made = torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype)
    return made.copy_(tensor)


def spread(name, tensors):
    """Operands by name, those that may lie far apart."""
    made = {}
    for key, one in tensors.items():
        packed = key in NEAR and FLAT.get(name) != key
        made[key] = one if packed else far(one)
    return made


def strided(name):
    """Every variant of an operation on rows that lie far apart."""
    known, spec, reached = ops.get(name), costs.SPECS[name], 0
    dtype = "fp16" if "fp16" in spec.dtypes else "fp32"
    for shape in SHAPES[name]:
        for variant in spec.variants:
            case = op.Case(name, shape, dtype, variant, "generic")
            inputs = known.inputs(case, op.Fill(CPU, 1))
            outputs = known.outputs(case, inputs)
            places = {one.untyped_storage().data_ptr(): key for key, one in inputs.items()}
            inputs = spread(name, inputs)
            aliased = {
                key: inputs[places[one.untyped_storage().data_ptr()]]
                for key, one in outputs.items()
                if one.untyped_storage().data_ptr() in places
            }
            outputs = {**spread(name, outputs), **aliased}
            before = {key: one.clone() for key, one in inputs.items()}
            reached += sum(
                FAR in one.stride() for one in {**inputs, **outputs}.values() if one.dim() > 1
            )
            work = known.implementations["triton"](case, inputs, outputs)
            errors = known.errors(case, before, work(), op.Fill(CPU, 2))
            assert errors, case
            assert max(errors.values()) <= op.reference.TOLERANCE[dtype], (case, errors)
    assert reached, name


@contextlib.contextmanager
def ends_only(name, programs):
    """Inside, launches of an operation's module run ``programs`` (negative: from the end)."""
    module = importlib.import_module(f"bench.kernels.{name}")
    builder = interpreter.interpreter_builder
    launch, index, dims = module.launch, builder.set_grid_idx, builder.set_grid_dim

    def chosen(kernel, grid, *arguments, **options):
        whole = (*grid, 1, 1)[:3]
        builder.set_grid_dim = lambda *_: setattr(builder, "grid_dim", whole)
        for program in programs if whole[0] > 8 else range(whole[0]):
            here = program % whole[0]
            builder.set_grid_idx = lambda x, y, z, here=here: setattr(
                builder, "grid_idx", (here, y, z)
            )
            kernel[(1, *whole[1:])](*arguments, **options)

    module.launch = chosen
    try:
        yield
    finally:
        module.launch, builder.set_grid_idx, builder.set_grid_dim = launch, index, dims


def ends(tensor, count=100):
    """The last elements of a flat buffer."""
    return tensor.view(-1)[-count:]


def long_buffers():
    """Flat buffers: the last elements are right, and the first were not hit in their place."""
    from bench.kernels import adamw, cross_entropy, local_reduce, quantize, stream

    count = FAR + 100

    def buffer(kind, value=None):
        made = torch.empty(count, dtype=kind)
        made[:100] = 0
        ends(made).copy_(torch.arange(100) if value is None else torch.full((100,), value))
        return made

    with ends_only("stream", (-1,)):
        x, y, out = buffer(torch.float16), buffer(torch.float16), buffer(torch.float16, 0)
        stream.stream("add", x, y, out)
    assert torch.equal(ends(out), ends(x) + ends(y))
    assert (out[:100] == 0).all(), "the start was hit in place of the end"
    del x, y, out

    with ends_only("local_reduce", (-1,)):
        both = torch.empty(2, count, dtype=torch.float16)
        for one in both:
            ends(one).copy_(torch.arange(100))
        out = buffer(torch.float16, 0)
        local_reduce.local_reduce(both, out)
    assert torch.equal(ends(out), 2 * torch.arange(100).half())
    assert (out[:100] == 0).all()
    del both, out

    with ends_only("adamw", (-1,)):
        weight, m, v = (buffer(torch.float32, 0) for _ in range(3))
        gradient, copy = buffer(torch.float16, 1), buffer(torch.float16, 0)
        adamw.adamw(weight, m, v, gradient, copy, step=1)
    assert (ends(weight) < 0).all(), "downhill"
    assert torch.equal(ends(copy), ends(weight).half())
    assert (weight[:100] == 0).all()
    del weight, m, v, gradient, copy

    rows = far(torch.ones(2, 40))
    cross_entropy.rescale(rows, torch.tensor([0.5]))
    assert (rows == 0.5).all()
    del rows

    with ends_only("quantize", (-1,)):
        x = buffer(torch.float16, 3.0).view(4, -1)
        q = torch.empty(x.shape, dtype=torch.float8_e4m3fn)
        scale = torch.ones(4, -(-x.shape[1] // quantize.GROUP))
        quantize.quantize_block(x, q, scale)
    assert (ends(q).float() == torch.finfo(torch.float8_e4m3fn).max).all(), (
        "the largest of its group"
    )


if __name__ == "__main__":
    for chosen in sys.argv[1:] or SHAPES:
        strided(chosen)
        with contextlib.ExitStack() as forced:
            for key, config in BY_DESCRIPTORS.get(chosen, {}).items():
                forced.enter_context(tuning.forcing(key, config))
            if chosen in BY_DESCRIPTORS:
                strided(chosen)
    if not sys.argv[1:]:
        long_buffers()
    sys.stdout.write("all examples passed\n")
