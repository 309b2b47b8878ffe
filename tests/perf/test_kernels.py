"""Every operation by every implementation: a call at a time, on this machine's first device.

At the typical shape on an accelerator; on a stand-in at the small one, and by torch alone: what
it compiles, and Triton's interpreter, say nothing about a device.
"""

import functools
import time

import pytest

from bench.backends.probe import discover
from bench.backends.registry import get
from bench.kernels import ops
from bench.kernels.costs import SPECS
from bench.workloads.lacking import lacks

ROUNDS, WARMUP = 20, 3
CACHE, MEMORY = 2, 4
"""Operand sets exceed the cache so many times; all take one of so many parts of the memory."""


@functools.cache
def opened():
    """The first device of this machine: what was found, its backend, the device."""
    found = next(one for one in discover() if one.devices)
    backend = get(found.name)
    backend.load()
    return found.devices[0], backend, backend.open(0)


def synchronized():
    """Now, when the device has done all that it was given."""
    _, backend, device = opened()
    backend.synchronize(device)
    return time.perf_counter()


@pytest.mark.benchmark(timer=synchronized)
@pytest.mark.parametrize("impl", ops.IMPLEMENTATIONS)
@pytest.mark.parametrize("op", SPECS)
def test_kernels(benchmark, op, impl):
    """Wall time of one call and its synchronisation; `tests/device/check.py` times more exactly."""
    found, backend, device = opened()
    if backend.stand_in and impl != "torch":
        pytest.skip(f"{impl} is timed on an accelerator, {found.name} stands in for one")
    spec = SPECS[op]
    dtype = "fp32" if backend.stand_in and "fp32" in spec.dtypes else spec.dtypes[0]
    shape = spec.small if backend.stand_in else spec.shape
    try:
        call = ops.bind(
            impl,
            device,
            ops.Case(op, shape, dtype, arch=backend.arch(device)),
            cache=CACHE * backend.cache(device),
            memory=found.memory // MEMORY,
            vendor=backend.implementations(),
        )
        right = call.error() <= call.tolerance
    except ops.NoTargetError as error:
        pytest.skip(str(error))
    except (RuntimeError, NotImplementedError) as error:
        if not lacks(error):
            raise
        pytest.skip(f"this stack has no {op} in {dtype}: {error}")
    assert right, "the result is wrong: its time says nothing"
    what = f"{op} {call.case.variant} {dtype} {'x'.join(map(str, shape))}"
    benchmark.group = "small shapes on a stand-in" if backend.stand_in else what
    benchmark.pedantic(call, rounds=ROUNDS, warmup_rounds=WARMUP)
