"""Where outputs lie: never over what other programs read or write, in place where it is said.

What comes of the places that are taken is held by places.py, under Triton's interpreter.
"""

import itertools

import pytest
import torch

from bench.kernels import adamw, arguments, op, ops, rmsnorm, rope
from bench.kernels.costs import SPECS
from bench.kernels.launch import recording

CPU = torch.device("cpu")
CASES = [
    pytest.param(name, variant, id=f"{name}-{variant}")
    for name, spec in SPECS.items()
    for variant in spec.variants
]

SUMMED = {("dweight", one) for one in ("x", "dy", "weight")}
"""Sums that are written when all has been read."""
TAKEN = {
    ("stream", "dot"): {("out", "x"), ("out", "y")},
    ("stream", "read"): {("out", "x")},
    ("rmsnorm", "backward"): SUMMED,
    ("rmsnorm", "add_backward"): {
        *SUMMED,
        ("dweight", "dtotal"),
        # Their sum is what the kernel takes.
        *itertools.product(("dx", "dweight"), ("x", "residual")),
    },
    ("layernorm", "backward"): {
        *itertools.product(("dweight", "dbias"), ("x", "dy", "weight")),
        # No gradient depends on it.
        *itertools.product(("dx", "dweight", "dbias"), ("bias",)),
    },
    # A turn is linear: its gradient needs no input.
    ("rope", "backward"): set(itertools.product(("dq", "dk"), ("q", "k"))),
    ("softmax", "backward"): {("dx", "x")},
    ("cross_entropy", "in_place"): {("gradient", "logits"), ("losses", "logits")},
}
"""(output, input) that may lie over each other: nobody reads there what is not yet read."""


def shifted(first, second):
    """Both tensors again, the second one element behind the start of the first."""
    whole = torch.zeros(first.numel() + second.numel() + 1, dtype=first.dtype)
    return (
        whole[: first.numel()].view(first.shape),
        whole[1 : 1 + second.numel()].view(second.shape),
    )


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_an_output_over_an_input_or_another_output_is_refused(name, variant):
    spec, known = SPECS[name], ops.get(name)
    dtype = "fp32" if "fp32" in spec.dtypes else "fp16"
    case = op.Case(name, spec.small, dtype, variant, "generic")
    inputs = known.inputs(case, op.Fill(CPU, 0))
    outputs = known.outputs(case, inputs)
    taken, refused = set(), 0
    for written, read in itertools.product(outputs, {**inputs, **outputs}):
        other, tensor = {**inputs, **outputs}[read], outputs[written]
        if read == written or other.dtype != tensor.dtype or not other.is_contiguous():
            continue
        theirs, mine = shifted(other, tensor)
        places = {read: theirs, written: mine}
        with recording() as launches:
            work = known.implementations["triton"](
                case,
                {one: places.get(one, tensor) for one, tensor in inputs.items()},
                {one: places.get(one, tensor) for one, tensor in outputs.items()},
            )
            launches.clear()
            try:
                work()
            except ValueError as error:
                said = str(error)
            else:
                taken.add((written, read))
                continue
            assert "takes memory of its own" in said, (written, read)
            assert not launches, (written, read)
            refused += 1
    assert taken == TAKEN.get((name, variant), set())
    assert refused or taken or name == "quantize", "nothing was tried"


def test_neighbours_and_parts_of_packed_rows_lie_apart():
    line = torch.zeros(24)
    arguments.check_apart("out", line[:8], x=line[8:16])
    arguments.check_apart("out", line[8:16], x=line[:8], y=line[16:])
    for start in (1, 8, 15):
        with pytest.raises(ValueError, match="out: got memory of x, takes memory of its own"):
            arguments.check_apart("out", line[8:16], x=line[start : start + 8])
    for nothing in (line[8:8], line[12:12]):
        arguments.check_apart("out", nothing, x=line)
        arguments.check_apart("out", line, x=nothing)
    parts = torch.zeros(24, device="meta")  # each of them at its offset from nowhere
    arguments.check_apart("out", parts[8:16], x=torch.zeros(24, device="meta"))
    packed = torch.zeros(5, 6, 8)
    q, k, table = packed[:, :4], packed[:, 4:], torch.zeros(2, 5, 4)
    with recording() as launches:
        rope.rotate(q, k, table, q, k)
    assert len(launches) == 1


def test_a_sum_is_not_written_over_what_it_is_of():
    """Of long rows it is made twice: in place of x, the second time of itself."""
    for name in ("x", "residual"):
        given = {"x": torch.ones(2, 8), "residual": torch.ones(2, 8)}
        message = f"total: got memory of {name}, takes memory of its own"
        with recording() as launches, pytest.raises(ValueError, match=message):
            rmsnorm.forward(
                weight=torch.ones(8),
                y=torch.empty(2, 8),
                scale=torch.empty(2),
                total=given[name],
                **given,
            )
        assert not launches


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": torch.tensor(3.0)}, "step: got Tensor, takes a number"),
        ({"beta1": torch.tensor(0.9)}, "beta1: got Tensor, takes a number"),
        ({"weight_decay": "0.1"}, "weight_decay: got str, takes a number"),
    ],
)
def test_constants_of_a_step_are_numbers(change, message):
    """The library's own optimiser counts steps in a tensor, which is an address to a kernel."""
    tensors = [torch.zeros(8) for _ in range(4)]
    with recording() as launches, pytest.raises(ValueError, match=message):
        adamw.adamw(*tensors, **{"step": 1, **change})
    assert not launches
