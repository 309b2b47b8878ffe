"""Runs Gluon kernels without a device, for what they compute and for how their warps agree.

`launch` executes a kernel's Python with the language's functions replaced. Tensors are numpy
arrays without layouts; partitions of warps are threads of which one runs at a time, in an order
drawn from a seed. Copies by tensor descriptors finish at any time after they were started, zeros
past the end; products finish when they are waited for; barriers count arrivals and bytes and have
phases.

`ProtocolError` says what a device might do wrong only sometimes. Accesses to shared memory carry
vector clocks (Fidge 1988, Mattern 1989), which barriers and waits join: two accesses of the same
bytes, one of them a write, that nothing puts in order are an error however they fell out. So are
reading a product before the wait, copying out what was not fenced, arriving more often than a
barrier counts, leaving copies behind, and waiting in a circle.
"""

import random
import threading
import time
import types

import numpy as np
import torch
from triton.experimental.gluon import language
from triton.experimental.gluon.language.nvidia import hopper
from triton.runtime.jit import JITFunction

LIMIT = 60.0
"""Seconds for one launch."""


class ProtocolError(Exception):
    """What the kernel's warps must not do."""


class Tensor(np.ndarray):
    """Values in registers, which no assignment changes."""

    def __iadd__(self, other):
        return self + other

    def __isub__(self, other):
        return self - other

    def __imul__(self, other):
        return self * other

    def to(self, dtype):
        return self.astype(dtype)


def tensor(values, dtype=None):
    return np.asarray(values, dtype).view(Tensor)


class Product:
    """The sum of an asynchronous product, unreadable until it was waited for."""

    def __init__(self, compute, operands):
        self.compute, self.operands, self.value = compute, operands, None


def _unread(self, *_):
    raise ProtocolError("a product's sum is read before warpgroup_mma_wait")


for _name in ("add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "getitem", "gt", "ge"):
    setattr(Product, f"__{_name}__", _unread)
Product.to = _unread


def read(value):
    return _unread(value) if isinstance(value, Product) else value


class Agent:
    """A partition of warps, or a copy under way: what it knows of the others' time."""

    def __init__(self, name, parent=None):
        self.name, self.clock = name, dict(parent.clock) if parent else {}
        self.products, self.stores, self.unfenced = [], [], []
        self.tick()

    def tick(self):
        self.clock[self] = self.clock.get(self, 0) + 1

    def learn(self, clock):
        for agent, time_ in clock.items():
            self.clock[agent] = max(self.clock.get(agent, 0), time_)


class Shared:
    """A view of shared memory, or of barriers."""

    def __init__(self, name, array, dtype, program):
        self.name, self.array, self.dtype, self.program = name, array, dtype, program

    def _view(self, array, name=None):
        return Shared(name or self.name, array, self.dtype, self.program)

    def index(self, number):
        assert 0 <= number < len(self.array), f"{self.name} has no place {number}"
        return self._view(self.array[int(number)], f"{self.name}[{number}]")

    def reshape(self, shape):
        return self._view(self.array.reshape(shape))

    def permute(self, order):
        return self._view(self.array.transpose(order))

    def bounds(self):
        low = self.array.__array_interface__["data"][0]
        last = sum(
            (n - 1) * step for n, step in zip(self.array.shape, self.array.strides, strict=True)
        )
        return low, low + last + self.array.itemsize

    def load(self, layout=None):
        self.program.access(self, "reads")
        return tensor(self.array.copy())

    def store(self, value):
        self.program.access(self, "writes")
        self.program.agent.unfenced.append(self)
        self.array[...] = read(value)


class Barrier:
    """Phases that end when all arrivals and all expected bytes are there."""

    def __init__(self, count):
        self.count, self.left, self.bytes, self.phase = count, count, 0, 0
        self.clock, self.passed = {}, {}

    def arrive(self, agent, count, name, bytes_=0):
        self.left -= count
        self.bytes += bytes_
        if self.left < 0:
            raise ProtocolError(f"{agent.name} arrives at {name} more often than it counts")
        for other, time_ in agent.clock.items():
            self.clock[other] = max(self.clock.get(other, 0), time_)
        agent.tick()
        if self.left == 0 and self.bytes == 0:
            self.left, self.phase, self.passed = self.count, self.phase ^ 1, dict(self.clock)


class Task(threading.Thread):
    """A partition, which runs while it holds the baton."""

    def __init__(self, run, agent):
        super().__init__(daemon=True)
        self.work, self.agent, self.error = run, agent, None
        self.ready, self.what, self.over = lambda: True, "", False
        self.go, self.back = threading.Semaphore(0), threading.Semaphore(0)

    def run(self):
        self.go.acquire()
        try:
            self.work()
        except BaseException as error:
            self.error = error
        self.over = True
        self.back.release()


class Stopped(BaseException):
    """Another partition failed."""


class Program:
    """One program of the grid: its shared memory, its partitions and what is under way."""

    def __init__(self, place, grid, seed, deadline):
        self.place, self.grid, self.deadline = place, grid, deadline
        self.random = random.Random(f"{seed} {place}")
        self.agent, self.task = Agent("the program"), None
        self.accesses, self.copies, self.barriers, self.tasks = [], [], {}, []
        self.allocated, self.stopped = 0, False

    @property
    def agents(self):
        return [self.agent, *(task.agent for task in self.tasks if task.agent is not self.agent)]

    def access(self, shared, does, agent=None):
        """Record that an agent reads or writes, which must be in order with all before it."""
        agent, (low, high) = agent or self.agent, shared.bounds()
        kept = []
        for other in self.accesses:
            them, did, their_low, their_high, at = other
            if their_low >= high or low >= their_high or did == does == "reads":
                kept.append(other)
                continue
            if agent.clock.get(them, 0) < at:
                raise ProtocolError(
                    f"{agent.name} {does} {shared.name} while nothing says that {them.name}, "
                    f"which {did} it, is done"
                )
            if does == "reads" or their_low < low or their_high > high:
                kept.append(other)  # what comes later must be in order with it, too
        self.accesses = [*kept, (agent, does, low, high, agent.clock[agent])]
        if does == "reads":
            return
        for them in self.agents:
            for operand in (one for product in them.products for one in product.operands):
                bottom, top = operand.bounds()
                if bottom < high and low < top:
                    raise ProtocolError(
                        f"{agent.name} writes {shared.name}, which a product of "
                        f"{them.name} still reads"
                    )

    def barrier(self, shared):
        key = shared.bounds()[0]
        if key not in self.barriers:
            raise ProtocolError(f"{shared.name} is used before mbarrier.init")
        return self.barriers[key]

    def pause(self, ready=lambda: True, what=""):
        """Let others run; go on when ``ready``."""
        task = self.task
        if task is None:
            if not ready():
                raise ProtocolError(f"{self.agent.name} waits for {what} before there are others")
            return
        task.ready, task.what = ready, what
        task.back.release()
        task.go.acquire()
        if self.stopped:
            raise Stopped

    def specialize(self, partitions):
        """Run partitions (name, function, arguments) until all are done."""
        parent = self.agent
        self.tasks = [
            Task(lambda run=run, given=given: run(*given), Agent(name, parent))
            for name, run, given in partitions
        ]
        for task in self.tasks:
            task.start()
        try:
            while not all(task.over for task in self.tasks):
                if time.monotonic() > self.deadline:
                    raise ProtocolError("the launch takes too long")
                able = [task for task in self.tasks if not task.over and task.ready()]
                choices = able + self.copies
                if not choices:
                    stuck = [task for task in self.tasks if not task.over]
                    said = ", ".join(f"{task.agent.name} for {task.what}" for task in stuck)
                    raise ProtocolError(f"all wait in a circle: {said}")
                chosen = self.random.choice(choices)
                if chosen in self.copies:
                    self.copies.remove(chosen)
                    chosen()
                    continue
                self.task, self.agent = chosen, chosen.agent
                chosen.go.release()
                chosen.back.acquire()
                if chosen.error is not None:
                    raise chosen.error
        finally:
            self.stopped = True
            for task in self.tasks:
                task.go.release()
                task.join()
            self.task, self.agent = None, parent
        for task in self.tasks:
            if task.agent.products or task.agent.stores:
                raise ProtocolError(f"{task.agent.name} leaves products or copies behind")
        if self.copies:
            raise ProtocolError("copies are under way when all partitions are done")


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

    def __add__(self, more):
        return Pointer(self.array, self.offsets + np.asarray(more, np.int64))


def _language(program):
    """The replaced functions of the language, by module and name."""

    def allocate(dtype, shape, layout):
        program.allocated += 1
        kind = "barriers" if dtype is np.int64 else "tiles"
        name = f"{kind} of allocation {program.allocated}"
        return Shared(name, np.full(shape, -1, dtype), dtype, program)

    def store(pointer, value, mask=True):
        offsets, mask = np.broadcast_arrays(pointer.offsets, np.asarray(mask))
        chosen = offsets[mask]
        if ((chosen < 0) | (chosen >= pointer.array.size)).any():
            raise ProtocolError("a store lies outside its tensor")
        pointer.array[chosen] = np.broadcast_to(read(value), mask.shape)[mask]

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

    gl = types.SimpleNamespace(
        float32=np.float32, int64=np.int64, constexpr=None, static_range=range,
        NVMMADistributedLayout=lambda *_: None, SliceLayout=lambda *_: None,
        DotOperandLayout=lambda *_: None,
        arange=lambda low, high, layout=None: tensor(np.arange(low, high)),
        zeros=lambda shape, dtype, layout: tensor(np.zeros(shape, dtype)),
        full=lambda shape, value, dtype, layout: tensor(np.full(shape, value, dtype)),
        where=lambda keep, a, b: tensor(np.where(keep, read(a), np.float32(b))),
        maximum=first(np.maximum), minimum=first(np.minimum), max=first(np.max), sum=first(np.sum),
        exp2=first(np.exp2), log2=first(np.log2), convert_layout=lambda value, _: read(value),
        cdiv=lambda a, b: -(-a // b), store=store, allocate_shared_memory=allocate,
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


def launch(kernel, grid, *arguments, seed=0, **constants):
    """Run a Gluon kernel over a grid of two extents.

    Arguments are host descriptors and torch tensors on the CPU, which it changes, and numbers.
    Raises `ProtocolError`.
    """
    deadline = time.monotonic() + LIMIT
    given = [
        Descriptor(one) if hasattr(one, "block_shape")
        else Pointer(one.numpy().reshape(-1)) if isinstance(one, torch.Tensor)
        else one
        for one in arguments
    ]  # fmt: skip
    for place in np.ndindex(*grid):
        program = Program(place, grid, seed, deadline)
        _replaced(kernel, _language(program), {})(*given, **constants)
