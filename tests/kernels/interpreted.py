"""Run in a process of its own by test_interpreter.py: kernels under Triton's interpreter.

    python interpreted.py OPERATION

Every variant in fp16, fp32 and (products) fp8 and int8 against fp64, on odd shapes; rows lie
apart, outputs are poisoned with NaN and stand between guards that must stay untouched. bf16 is
never judged here: the interpreter computes it silently wrong. The generic table's tiles are
used, and tiles of their size by tensor descriptors: the interpreter's cost is per program.
"""

from __future__ import annotations

import contextlib
import os

os.environ["TRITON_INTERPRET"] = "1"

import sys
import unittest.mock

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.kernels import costs, op, ops, tuning

sys.path.insert(0, os.path.dirname(__file__))
import interpreting  # noqa: F401  (replaces the interpreter's own)
from shapes import BY_DESCRIPTORS, LONG_NORMS, LONG_ROWS, SHAPES, STEPS

CPU = torch.device("cpu")

EXAMPLES = 5


def apart(tensor, extra):
    """The same values with rows ``extra`` elements further apart; NaN (or -1) in between."""
    if tensor.dim() < 2 or not tensor.is_contiguous() or not extra:
        return tensor
    shape = (*tensor.shape[:-1], tensor.shape[-1] + extra)
    whole = torch.empty(shape, dtype=tensor.dtype)
    op.poison({}, {"whole": whole})
    part = whole[..., : tensor.shape[-1]]
    part.copy_(tensor)
    return part


def guarded(tensor):
    """A place of the same shape between guard elements, and a function that says if they hold."""
    size = tensor.numel()
    whole = torch.empty(size + 32, dtype=tensor.dtype)
    op.poison({}, {"whole": whole})
    before = whole.clone().view(torch.uint8)
    middle = whole[16 : 16 + size].view(tensor.shape)

    def hold():
        width = 16 * tensor.element_size()
        now = whole.view(torch.uint8)
        return bool((now[:width] == before[:width]).all() & (now[-width:] == before[-width:]).all())

    return middle, hold


def agrees(case, extra, seed):
    """One case on padded inputs and guarded outputs against fp64."""
    known, fill = ops.get(case.op), op.Fill(CPU, seed)
    inputs = known.inputs(case, fill)
    made = known.outputs(case, inputs)
    storages = {one.untyped_storage().data_ptr(): name for name, one in inputs.items()}
    outputs, guards = {}, []
    for name, one in made.items():
        if one.untyped_storage().data_ptr() in storages:
            outputs[name] = one
            continue
        outputs[name], hold = guarded(one)
        guards.append(hold)
    aliased = {one.untyped_storage().data_ptr() for one in outputs.values()}
    packed = PACKED.get(case.op, ())
    inputs = {
        name: one
        if one.untyped_storage().data_ptr() in aliased or name in packed
        else apart(one, extra)
        for name, one in inputs.items()
    }
    before = {name: one.clone() for name, one in inputs.items()}
    work = known.implementations["triton"](case, inputs, outputs)
    op.poison(inputs, outputs)
    errors = known.errors(case, before, work(), fill)
    limit = 1e-14 if case.dtype == "fp64" else op.reference.TOLERANCE[case.dtype]
    assert errors, case
    assert max(errors.values()) <= limit, (case, extra, errors)
    assert all(hold() for hold in guards), (case, "wrote outside")


PACKED = {"rope": {"table"}, "moe": {"place", "weights", "order"}}
"""Operands that must have no gaps; `test_arguments` sees that others are refused."""


def aligned(name, shape):
    """The shape with rows at multiples of 16 bytes in every dtype, which descriptors need."""
    products = {"grouped_gemm": slice(2, 4), "attention": slice(0)}.get(name, slice(0, 3))
    held = range(len(shape))[products]
    return tuple(-(-one // 16) * 16 if at in held else one for at, one in enumerate(shape))


def descriptors(name):
    """The operation by tensor descriptors, on shapes that do not fill their last tiles."""
    spec = costs.SPECS[name]
    used = []
    launch = op_module(name).launch

    def watched(kernel, *arguments, **options):
        used.append(kernel.__name__ if hasattr(kernel, "__name__") else kernel.fn.__name__)
        launch(kernel, *arguments, **options)

    op_module(name).launch = watched
    with contextlib.ExitStack() as forced:
        for key, chosen in BY_DESCRIPTORS[name].items():
            forced.enter_context(tuning.forcing(key, chosen))
        for variant in spec.variants:
            for dtype in [one for one in spec.dtypes if one not in ("bf16", "tf32")]:

                @settings(
                    max_examples=2,
                    deadline=None,
                    derandomize=True,
                    suppress_health_check=list(HealthCheck),
                )
                @given(st.just((variant, dtype)), SHAPES[name], st.integers(0, 99))
                def one(chosen, shape, seed):
                    variant, dtype = chosen
                    try:
                        case = op.Case(name, aligned(name, shape), dtype, variant, "generic")
                    except ValueError:
                        return
                    used.clear()
                    agrees(case, 16, seed)
                    expected = {one for one in used if one != "delta_kernel"}
                    assert expected, case
                    assert all("_tma_" in one for one in expected), (case, expected)

                one()
    op_module(name).launch = launch


def steps(name):
    """The operation by programs that take several blocks each: on a device of two processors."""
    chosen, shapes = STEPS[name]
    dtype = "fp32" if "fp32" in costs.SPECS[name].dtypes else "fp16"
    with contextlib.ExitStack() as forced:
        for key, constants in chosen.items():
            forced.enter_context(tuning.forcing(key, constants))
        if hasattr(op_module(name), "processors"):
            two = unittest.mock.patch.object(op_module(name), "processors", return_value=2)
            forced.enter_context(two)
        for variant in costs.SPECS[name].variants:
            for extra, shape in enumerate(shapes):
                agrees(op.Case(name, shape, dtype, variant, "generic"), extra, 1)


def long_rows(name):
    """A norm by programs that walk a row in blocks, and several rows each."""
    module = op_module("long_norms")
    with contextlib.ExitStack() as forced:
        for key, constants in LONG_ROWS.items():
            forced.enter_context(tuning.forcing(key, constants))
        forced.enter_context(unittest.mock.patch.object(module, "processors", return_value=2))
        launched = forced.enter_context(
            unittest.mock.patch.object(module, "launch", side_effect=module.launch)
        )
        for variant in costs.SPECS[name].variants:
            for dtype in ("fp32", "fp16"):
                for extra, shape in enumerate(LONG_NORMS[name]):
                    launched.reset_mock()
                    agrees(op.Case(name, shape, dtype, variant, "generic"), extra, 1)
                    assert launched.called, (name, shape, variant)


def op_module(name):
    """The module of an operation, whose launches can be watched."""
    return sys.modules[f"bench.kernels.{name}"]


def check(name):
    spec = costs.SPECS[name]
    dtypes = [one for one in spec.dtypes if one not in ("bf16", "tf32")]
    for variant in spec.variants:

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        @given(
            st.just(variant),
            SHAPES[name],
            st.sampled_from(dtypes),
            st.integers(0, 3),
            st.integers(0, 99),
        )
        def one(variant, shape, dtype, extra, seed):
            try:
                case = op.Case(name, shape, dtype, variant, "generic")
            except ValueError:
                return  # a variant that this dtype does not have
            agrees(case, extra, seed)

        one()
        for dtype in dtypes:  # every dtype at least once
            try:
                case = op.Case(name, spec.small, dtype, variant, "generic")
            except ValueError:
                continue
            agrees(case, 0, 1)
    if name in BY_DESCRIPTORS:
        descriptors(name)
    if name in STEPS:
        steps(name)
    if name in LONG_NORMS:
        long_rows(name)


if __name__ == "__main__":
    check(sys.argv[1])
    sys.stdout.write("all examples passed\n")
