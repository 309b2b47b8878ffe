"""Shared memory and the partitions of warps that use it: the half of `gluon_emulator` that watches.

`ProtocolError` says what a device might do wrong only sometimes. Accesses to shared memory carry
vector clocks (Fidge 1988, Mattern 1989), which barriers and waits join: two accesses of the same
bytes, one of them a write, that nothing puts in order are an error however they fell out. So are
reading a product before the wait, arriving more often than a barrier counts, leaving copies
behind, and waiting in a circle. Partitions are threads of which one runs at a time, in an order
drawn from a seed; copies arrive at any time after they were started.
"""

import random
import threading
import time
import types

import numpy as np


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

    def permute(self, order):
        return self.transpose(order)

    @property
    def type(self):
        return types.SimpleNamespace(layout=None)


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

    def slice(self, start, length, dim=0):
        end = start + length
        assert end <= self.array.shape[dim], f"{self.name} ends before {end}"
        return self._view(self.array[(*(slice(None),) * dim, slice(start, end))])

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
            with np.errstate(over="ignore"):  # what exceeds fp32 is infinite, as on a device
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
            # One that has not begun when another fails never does.
            Task(lambda run=run, given=given: self.stopped or run(*given), Agent(name, parent))
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
