"""Runs Gluon kernels without a device, for what they compute and for how their warps agree.

`launch` executes a kernel's Python with the language's functions replaced. Tensors are numpy
arrays without layouts; copies by tensor descriptors clip their boxes and put zeros past the end;
products finish when they are waited for; barriers count arrivals and bytes and have phases. What
goes wrong between partitions is told by `gluon_program`.

Warps of a partition go in step: that all of them have read a tile when one says so is left to the
compiler, which puts a barrier there.
"""

import os
import sys
import time
import types

import numpy as np
import torch
from triton.experimental.gluon import language
from triton.experimental.gluon.language.nvidia import hopper
from triton.runtime.jit import JITFunction

sys.path.insert(0, os.path.dirname(__file__))
from gluon_program import Agent, Barrier, Product, Program, ProtocolError, Shared, read, tensor

LIMIT = 60.0
"""Seconds for one launch."""


class Descriptor:
    """A tensor in memory, seen through a box."""

    def __init__(self, host):
        base = host.base.numpy()
        strides = [step * base.itemsize for step in host.strides]
        self.array = np.lib.stride_tricks.as_strided(base, host.shape, strides)
        self.dtype, self.layout, self.shape = base.dtype, host.layout, tuple(host.block_shape)
        self.block_type = types.SimpleNamespace(
            nbytes=int(np.prod(self.shape)) * base.itemsize, shape=list(self.shape)
        )

    def inside(self, place):
        """Where box and tensor meet: slices of the tensor, slices of the box."""
        ends = zip(place, self.shape, self.array.shape, strict=True)
        spans = [(max(0, at), max(0, min(at + box, size)), at) for at, box, size in ends]
        of = tuple(slice(low, max(low, high)) for low, high, _ in spans)
        return of, tuple(slice(low - at, max(low, high) - at) for low, high, at in spans)


class Pointer:
    """Places of a flat tensor in memory."""

    def __init__(self, array, offsets=0):
        self.array, self.offsets = array, offsets
        self.dtype = types.SimpleNamespace(element_ty=array.dtype)

    def __add__(self, more):
        return Pointer(self.array, self.offsets + np.asarray(more, np.int64))

    def chosen(self, mask, what):
        """Places and mask, of one shape; none that the mask leaves lies outside."""
        offsets, mask = np.broadcast_arrays(self.offsets, np.asarray(mask))
        if (mask & ((offsets < 0) | (offsets >= self.array.size))).any():
            raise ProtocolError(f"a {what} lies outside its tensor")
        return offsets, mask


def _language(program):
    """The replaced functions of the language, by module and name."""

    def allocate(dtype, shape, layout):
        program.allocated += 1
        kind = "barriers" if dtype is np.int64 else "tiles"
        name = f"{kind} of allocation {program.allocated}"
        return Shared(name, np.full(shape, -1, dtype), dtype, program)

    def store(pointer, value, mask=True):
        offsets, mask = pointer.chosen(mask, "store")
        pointer.array[offsets[mask]] = np.broadcast_to(read(value), mask.shape)[mask]

    def load(pointer, mask=True, other=None):
        offsets, mask = pointer.chosen(mask, "load")
        if other is None:  # whatever is there: nothing that may be used
            other = np.nan if pointer.array.dtype.kind == "f" else -1
        found = np.full(mask.shape, other, pointer.array.dtype)
        found[mask] = pointer.array[offsets[mask]]
        return tensor(found)

    def atomic_add(pointer, value, sem):
        assert sem == "relaxed"
        offsets, _ = pointer.chosen(True, "sum")
        np.add.at(pointer.array, offsets, read(value))

    def specialize(partitions, warps, registers):
        assert len(warps) == len(registers) == len(partitions) - 1
        names = [
            f"partition {number} ({run.__name__})" for number, (run, _) in enumerate(partitions)
        ]
        program.specialize(
            [(name, run, given) for name, (run, given) in zip(names, partitions, strict=True)]
        )

    def init(barrier, count):
        program.barriers[barrier.bounds()[0]] = Barrier(count)

    def expect(barrier, bytes_):
        program.barrier(barrier).arrive(program.agent, 1, barrier.name, bytes_)
        program.pause()

    def arrive(barrier, *, count=1):
        program.barrier(barrier).arrive(program.agent, count, barrier.name)
        program.pause()

    def wait(barrier, phase):
        found, agent = program.barrier(barrier), program.agent
        said = f"phase {phase} of {barrier.name}"
        program.pause(lambda: found.phase != int(phase), said)
        agent.learn(found.passed)

    def tma_load(desc, place, barrier, result):
        assert result.array.shape == desc.shape, "the box has another shape than its place"
        found, copy = program.barrier(barrier), Agent(f"the copy to {result.name}", program.agent)
        program.agent.tick()
        program.access(result, "writes", copy)

        def arrives():
            of, box = desc.inside(place)
            result.array[...] = 0
            result.array[box] = desc.array[of]
            found.arrive(copy, 0, barrier.name, -desc.block_type.nbytes)

        program.copies.append(arrives)
        program.pause()

    def tma_store(desc, place, source):
        assert source.array.shape == desc.shape, "the box has another shape than its place"
        _fenced(source)
        program.agent.stores.append((desc, place, source))
        program.access(source, "reads")
        program.pause()

    def store_wait(pending):
        stores = program.agent.stores
        while len(stores) > pending:
            desc, place, source = stores.pop(0)
            of, box = desc.inside(place)
            desc.array[of] = source.array[box]

    def _fenced(shared):
        low, high = shared.bounds()
        for agent in program.agents:
            for other in agent.unfenced:
                bottom, top = other.bounds()
                if bottom < high and low < top:
                    raise ProtocolError(f"{shared.name} was written and not fenced")

    def fence():
        program.agent.unfenced.clear()

    def mma(a, b, acc, *, use_acc=True, is_async=False):
        operands = [one for one in (a, b) if isinstance(one, Shared)]
        for one in operands:
            _fenced(one)
            program.access(one, "reads")

        def compute():
            left, right = (one.array if isinstance(one, Shared) else one for one in (a, b))
            start = acc.value if isinstance(acc, Product) else acc
            found = np.asarray(left, np.float32) @ np.asarray(right, np.float32)
            return tensor(found + start if use_acc else found)

        read(a)
        product = Product(compute, operands)
        program.agent.products.append(product)
        if not is_async:
            return mma_wait(0, [product])
        program.pause()
        return product

    def mma_wait(pending, deps):
        products = program.agent.products
        program.pause()
        while len(products) > pending:
            done = products[0]
            done.value = done.compute()
            products.pop(0)
            for one in done.operands:
                program.access(one, "reads")
        found = [
            one if not isinstance(one, Product) or one.value is None else one.value for one in deps
        ]
        return found[0] if len(found) == 1 else tuple(found)

    def first(call):
        return lambda value, *rest: tensor(call(read(value), *rest))

    def where(keep, a, b):
        values = np.asarray(read(a))
        return tensor(np.where(keep, values, np.asarray(b, values.dtype)))

    gl = types.SimpleNamespace(
        float32=np.float32, int32=np.int32, int64=np.int64, constexpr=None, static_range=range,
        NVMMADistributedLayout=lambda *_: None, SliceLayout=lambda *_: None,
        DotOperandLayout=lambda *_: None, BlockedLayout=lambda *_: None,
        NVMMASharedLayout=lambda **_: None, atomic_add=atomic_add,
        arange=lambda low, high, layout=None: tensor(np.arange(low, high)),
        zeros=lambda shape, dtype, layout: tensor(np.zeros(shape, dtype)),
        full=lambda shape, value, dtype, layout: tensor(np.full(shape, value, dtype)),
        where=where, cast=lambda value, dtype: tensor(value, dtype), log=first(np.log),
        maximum=first(np.maximum), minimum=first(np.minimum), max=first(np.max), sum=first(np.sum),
        exp2=first(np.exp2), log2=first(np.log2), convert_layout=lambda value, _: read(value),
        cdiv=lambda a, b: -(-a // b), store=store, load=load, allocate_shared_memory=allocate,
        inline_asm_elementwise=lambda asm, constraints, args, *_, **options: args[0],
        warp_specialize=specialize, program_id=lambda axis: tensor(program.place[axis]),
        num_programs=lambda axis: program.grid[axis],
    )  # fmt: skip
    barriers = types.SimpleNamespace(
        init=init, expect=expect, arrive=arrive, wait=wait, MBarrierLayout=lambda: None
    )
    copies = types.SimpleNamespace(store_wait=store_wait)
    found = {id(language): gl, id(hopper.mbarrier): barriers, id(hopper.tma): copies}
    for module, names, call in (
        (hopper.tma, ("async_load", "async_copy_global_to_shared"), tma_load),
        (hopper.tma, ("async_store", "async_copy_shared_to_global"), tma_store),
        (hopper, ("fence_async_shared",), fence),
        (hopper, ("warpgroup_mma",), mma),
        (hopper, ("warpgroup_mma_wait",), mma_wait),
    ):
        found.update({id(getattr(module, name)): call for name in names if hasattr(module, name)})
    return found


def _replaced(function, replacements, made):
    """A kernel's function as plain Python, with everything that it calls."""
    if id(function) in made:
        return made[id(function)]
    raw, scope = function.fn, {}
    found = types.FunctionType(raw.__code__, scope, raw.__name__, raw.__defaults__)
    made[id(function)] = found
    scope["__builtins__"] = __builtins__
    for name in raw.__code__.co_names:
        value = raw.__globals__.get(name)
        if isinstance(value, JITFunction):
            scope[name] = _replaced(value, replacements, made)
        elif id(value) in replacements:
            scope[name] = replacements[id(value)]
        elif isinstance(value, language.constexpr):
            scope[name] = value.value
    return found


def _flat(tensor_):
    """All memory from a tensor's first element to its last, which may lie apart."""
    steps = zip(tensor_.shape, tensor_.stride(), strict=True)
    extent = 1 + sum((size - 1) * step for size, step in steps)
    return tensor_.as_strided((extent,), (1,)).numpy()


def launch(kernel, grid, *arguments, seed=0, **constants):
    """Run a Gluon kernel over a grid.

    Arguments are host descriptors and torch tensors on the CPU, which it changes, and numbers.
    Raises `ProtocolError`.
    """
    deadline = time.monotonic() + LIMIT
    given = [
        Descriptor(one) if hasattr(one, "block_shape")
        else Pointer(_flat(one)) if isinstance(one, torch.Tensor)
        else one
        for one in arguments
    ]  # fmt: skip
    for place in np.ndindex(*grid):
        program = Program(place, grid, seed, deadline)
        _replaced(kernel, _language(program), {})(*given, **constants)
