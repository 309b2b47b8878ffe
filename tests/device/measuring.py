"""One task on one device: verify the kernels, bind the rivals, time all of them call by call.

All contenders of a task read the same operands. Operands that some of them write into are put
back, and the cache is swept, before every timed call and outside its time.
"""

from __future__ import annotations

import contextlib
import random
import statistics
import time
from collections.abc import Collection, Mapping, Sequence

import msgspec
import torch
from cases import Task
from digests import answers, code
from figures import near, rivals_of, undecided
from interleaving import interleaved
from machine import DeviceLostError, Machine, forget, in_a_line
from records import CEILING, OURS, Cell, Record, short_of_memory
from rivals import AbsentError, Contender, Prepared, contenders

from bench.kernels import ops, tuning
from bench.kernels.op import Case, Fill, Tensors, poison, set_precision
from bench.kernels.reference import TOLERANCE
from bench.stats import median_interval

COPIED = 2 << 30
"""Bytes that the copy reads, at most: more of them would not make it faster."""
PLACES = 5
"""Places of the operands in memory at which a task is timed whose ratio is near its bound."""
COMPILED = ("compile", "autotune")
"""Contenders of torch's that are compiled when they are first called."""


class Bound:
    """Operands of a task on a device, and contenders that work on them."""

    def __init__(self, task: Task, machine: Machine, seed: int) -> None:
        arch = machine.backend.arch(machine.device)
        self.machine, self.op = machine, ops.get(task.op)
        self.case = Case(task.op, task.shape, task.dtype, task.variant, arch)
        set_precision(machine.device, task.dtype)
        self.fill = Fill(machine.device, seed)
        self.inputs = self.op.inputs(self.case, self.fill)
        self.kept = {name: one.clone() for name, one in self.inputs.items()}
        outputs = self.op.outputs(self.case, self.inputs)
        places = {one.untyped_storage().data_ptr() for one in outputs.values()}
        self.written = [
            name for name, one in self.inputs.items() if one.untyped_storage().data_ptr() in places
        ]
        self.limit = machine.backend.tolerances.get(task.dtype, TOLERANCE[task.dtype])
        self.configs: dict[str, str] = {}
        self.aside: dict[str, str] = {}
        """What the tables answered in the last call, and before it."""

    def restore(self) -> None:
        """Put back what a contender may have written over."""
        for name in self.written:
            self.inputs[name].copy_(self.kept[name])

    def call(self, contender: Contender) -> tuple[Prepared, Tensors]:
        """A contender on these operands, and its results on poisoned outputs."""
        outputs = self.op.outputs(self.case, self.inputs)
        with tuning.watching() as before:
            prepared = contender.make(self.case, self.inputs, outputs)
        self.restore()
        prepared.restore()
        poison(self.inputs, outputs)
        with tuning.watching() as asked:
            found = prepared.run()
        self.machine.synchronize()
        self.configs = answers(asked)
        self.aside = {q: a for q, a in answers(before).items() if q not in self.configs}
        return prepared, prepared.finish(found)

    def prepare(self, contender: Contender) -> tuple[Prepared, dict[str, float]]:
        """A contender on these operands, and the errors of its results."""
        prepared, found = self.call(contender)
        self.machine.synchronize()
        return prepared, self.op.errors(self.case, self.kept, found, self.fill)

    def spoilt(self) -> str:
        """Names of inputs that are no results and yet no longer what they were."""
        return ", ".join(
            name
            for name, one in self.inputs.items()
            if name not in self.written and not _same(one, self.kept[name])
        )


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.dtype.itemsize == 1:  # 8-bit floats have no comparison
        one, other = one.view(torch.uint8), other.view(torch.uint8)
    return torch.equal(one, other)


def compiled(task: Task, machine: Machine, wanted: Collection[str] = ()) -> None:
    """Call once whoever must be compiled for a task, and keep nothing: compilers keep on disk what
    they made, for the process that times. What goes wrong shows there.

    Raises `DeviceLostError`.
    """
    forget(machine.device)
    try:
        bound = Bound(task, machine, 0)
        for one in contenders(bound.case, {}, wanted, _tuned(task)):
            if one.family == "torch" and one.name not in COMPILED:
                continue
            machine.said(one.name)
            with contextlib.suppress(Exception):
                bound.call(one)
    except Exception:
        machine.probe()


def _tuned(task: Task) -> bool:
    """Whether a bound asks for what torch.compile finds by a search, which takes long."""
    return "autotune" in rivals_of(task.figure)


def examine(
    task: Task, machine: Machine, wanted: Collection[str] = (), excluded: Mapping[str, str] = {}
) -> Record:
    """Do a task. Raises `DeviceLostError`, and nothing else for what a kernel or a rival does.

    Args:
        task: What to do.
        machine: Where.
        wanted: Which rivals take part (`records.takes_part`).
        excluded: Contenders that took the process down before, and how.
    """
    record = Record(**msgspec.structs.asdict(task), seed=random.randrange(1 << 30))
    arch = machine.backend.arch(machine.device)
    record.code = code(task.op, arch) if arch else ""
    forget(machine.device)
    record.before = machine.state()
    try:
        machine.said("operands")
        bound = Bound(task, machine, record.seed)
        cost, record.tolerance = bound.case.cost, bound.limit
        record.flops, record.bytes = cost.flops, cost.bytes
        _take_part(bound, record, task, wanted, excluded)
    except ops.NoTargetError as error:
        record.status, record.reason = "skipped", str(error)
    except DeviceLostError:
        raise
    except Exception as error:
        machine.probe()
        # A task that is too large for this device says nothing of its kernels.
        record.status = "skipped" if short_of_memory(str(error)) else "failed"
        record.reason = in_a_line(error)
    record.after = machine.state()
    return record


def _take_part(
    bound: Bound,
    record: Record,
    task: Task,
    wanted: Collection[str],
    excluded: Mapping[str, str],
) -> None:
    machine, case = bound.machine, bound.case
    prepared: dict[str, Prepared] = {}
    for one in contenders(case, machine.backend.implementations(), wanted, _tuned(task)):
        if task.kind == "verify" and one.name != OURS:
            continue
        cell = record.cells[one.name] = Cell(family=one.family)
        if one.name in excluded:
            cell.status, cell.reason = "failed", excluded[one.name]
            continue
        machine.said(one.name)
        try:
            made, errors = bound.prepare(one)
        except (ops.NoTargetError, AbsentError) as error:
            if one.name == OURS:
                raise
            cell.status, cell.reason = "absent", str(error)
            continue
        except Exception as error:
            if one.name == OURS:
                raise
            machine.probe()
            cell.status, cell.reason = "failed", in_a_line(error)
            continue
        cell.error = max(errors.values(), default=float("inf"))
        if one.name == OURS:
            record.errors = errors
            record.configs, record.aside = bound.configs, bound.aside
        if not cell.error <= bound.limit:
            cell.status = "wrong"
            cell.reason = f"relative error {cell.error:.3g}, tolerance {bound.limit:g}"
        else:
            prepared[one.name] = made
        if one.name == OURS and (spoilt := bound.spoilt()):
            cell.status, cell.reason = "wrong", f"wrote into its input {spoilt}"
            prepared.pop(OURS, None)
    ours = record.cells[OURS]
    if ours.status != "ok":
        record.status, record.reason = ours.status, ours.reason
    if task.kind == "verify" or not prepared:
        return
    machine.said("timing")
    if ops.SPECS[case.op].kind == "memory":
        prepared[CEILING] = _copy(bound, record)
        record.cells[CEILING] = Cell(family="ceiling", bytes=8 * _copied(record))
    places = [{name: list[float]() for name in prepared}]

    def open_still(found: Mapping[str, list[float]]) -> bool:
        tell(record, [*places[:-1], found])
        return undecided(record)

    begin = time.perf_counter()
    places[-1] = interleaved(prepared, bound.restore, machine, open_still)
    tell(record, places)
    # How many is not asked of what they say: who stops at the first that suits finds one that does.
    wanted_places = PLACES if near(record) else 1
    # All of them are kept: memory that is given back is where the next operands would lie again.
    held = [(bound, prepared)]
    while record.status == "right" and len(held) < wanted_places:
        tell(record, places)
        record.places, record.spent = len(places), time.perf_counter() - begin
        machine.so_far(record)
        try:
            held.append(_elsewhere(bound, record, task, wanted, tuple(held[-1][1])))
        except ShortError:
            break
        if record.status == "right":
            machine.said("timing")
            other, prepared = held[-1]
            places.append(interleaved(prepared, other.restore, machine))
    tell(record, places)
    record.places, record.spent = len(places), time.perf_counter() - begin


def tell(record: Record, places: Sequence[Mapping[str, list[float]]]) -> None:
    """Give the cells what calls took at one place of the operands or several: the median of all,
    and its interval, which holds the median of every place as well. None to who failed at one."""
    for name in places[0]:
        cell = record.cells[name]
        if cell.status != "ok":
            cell.seconds = cell.low = cell.high = None
            cell.samples = 0
            continue
        found = [one[name] for one in places]
        cell.seconds, cell.low, cell.high = median_interval([x for one in found for x in one])
        cell.samples = sum(map(len, found))
        if len(found) > 1:
            middles = [statistics.median(one) for one in found]
            cell.low, cell.high = min(cell.low, *middles), max(cell.high, *middles)


class ShortError(Exception):
    """The device has no room for the operands once more."""


def _elsewhere(
    bound: Bound, record: Record, task: Task, wanted: Collection[str], names: Collection[str]
) -> tuple[Bound, dict[str, Prepared]]:
    """The same operands at another place, and who is right there, too. Who is not, or fails, has
    that in its cell, and in the record where it is the kernel under test.

    Raises `ShortError` and `DeviceLostError`.
    """
    machine = bound.machine
    made: dict[str, Prepared] = {}
    machine.said("another place")
    try:
        other = Bound(task, machine, record.seed)
        if CEILING in names:
            made[CEILING] = _copy(other, record)
    except Exception:  # what there was room for once
        machine.probe()
        raise ShortError from None
    vendor = machine.backend.implementations()
    for one in contenders(other.case, vendor, wanted, _tuned(task)):
        if one.name not in names:
            continue
        machine.said(one.name)
        cell = record.cells[one.name]
        try:
            work, errors = other.prepare(one)
        except Exception as error:
            machine.probe()
            if short_of_memory(str(error)):
                raise ShortError from None
            cell.status, why = "failed", in_a_line(error)
        else:
            found = max(errors.values(), default=float("inf"))
            cell.error = max(cell.error or 0.0, found)
            if found <= bound.limit:
                made[one.name] = work
                continue
            cell.status, why = "wrong", f"relative error {found:.3g}, tolerance {bound.limit:g}"
        cell.reason = f"at another place of the operands in memory: {why}"
        if one.name == OURS:
            record.status, record.reason = cell.status, cell.reason
            break
    return other, made


def _copied(record: Record) -> int:
    """Numbers of four bytes that a copy of as many bytes as the operation moves reads."""
    return min(max(record.bytes // 2, 4096), COPIED) // 4


def _copy(bound: Bound, record: Record) -> Prepared:
    """A copy from device to device of as many bytes as the operation moves, half of them read."""
    source = bound.fill.normal(_copied(record), kind=torch.float32)
    target = torch.empty_like(source)
    return Prepared(lambda: {"out": target.copy_(source)})
