"""Which entries of the tables there are to tune: those that operations ask for at given shapes."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from ..errors import UsageError
from ..kernels import space, tuning
from ..kernels.candidates import candidates
from ..kernels.costs import SPECS
from ..workloads.base import registry
from ..workloads.operations import Chosen


class Use(msgspec.Struct, kw_only=True, frozen=True):
    """A case that asks for an entry: a benchmark and its axes, and what the operation tells."""

    benchmark: str
    axes: dict[str, str]
    facts: dict[str, int]


class Tuned(msgspec.Struct, kw_only=True):
    """An entry of a table (``owner``: whose, the architecture's or ``generic``) and its search.

    ``candidates`` are spelled as the axis ``config`` takes them, the present one first.
    """

    arch: str
    owner: str
    key: str
    number: int
    dtypes: list[str]
    bounds: dict[str, Any]
    uses: list[Use]
    candidates: list[str]

    @property
    def label(self) -> str:
        """``gemm bf16 min_size=4194304``: the entry in words."""
        bounds = [f"{name}={value}" for name, value in self.bounds.items() if name != "dtypes"]
        return " ".join([self.key, ",".join(self.dtypes), *bounds])

    @property
    def shapes(self) -> list[str]:
        """Operations, variants and shapes that it is measured with."""
        return [f"{use.axes['op']} {use.axes['variant']} {use.axes['shape']}" for use in self.uses]


def chosen_cases(
    ops: Sequence[str],
    dtypes: Sequence[str],
    shapes: Sequence[str],
    variants: Sequence[str] = (),
    *,
    weak: bool,
) -> list[Chosen]:
    """The variants of the operations in these dtypes and shapes.

    Args:
        ops: Operations; all of them if empty.
        dtypes: An operation is left out of those that it does not have; its default if empty.
        shapes: As the axis ``shape`` takes them; the default is what fits the device.
        variants: Of them, those that an operation has; all if empty.
        weak: Whether the device is far slower than an accelerator.

    Raises:
        UsageError: an unknown name, a shape that does not fit, or nothing to tune.
    """
    from ..errors import unknown

    for op in ops:
        if op not in SPECS:
            raise unknown("operation", op, SPECS)
    known = {dtype for spec in SPECS.values() for dtype in spec.dtypes}
    for dtype in dtypes:
        if dtype not in known:
            raise unknown("dtype", dtype, known)
    for variant in variants:
        if not any(variant in spec.variants for spec in SPECS.values()):
            raise unknown("variant", variant, {v for spec in SPECS.values() for v in spec.variants})
    found = []
    for op in ops or SPECS:
        spec = SPECS[op]
        cls = registry()[spec.kind]
        for dtype in (d for d in dtypes or spec.dtypes[:1] if d in spec.dtypes):
            for shape in shapes or ("fitting",):
                for axes in cls.spread({"op": op, "shape": shape}, weak=weak):
                    for variant in (v for v in spec.variants if not variants or v in variants):
                        case = _case(cls, {**axes, "dtype": dtype, "variant": variant})
                        found.extend([case] if case else [])
    if not found:
        raise UsageError(f"{', '.join(ops)} comes in none of {', '.join((*dtypes, *variants))}")
    return found


def _case(cls: Any, axes: dict[str, str]) -> Chosen | None:
    """The benchmark; None for a variant that the dtype does not have."""
    spec = SPECS[axes["op"]]
    try:
        return cls(**axes, impl="triton")  # type: ignore[no-any-return]
    except UsageError:
        if axes["variant"] == spec.variants[0]:
            raise
        return None


def entries(arch: str, cases: Iterable[Chosen], only: Sequence[str] = ()) -> list[Tuned]:
    """The entries that the cases ask for while they work, with candidates for each.

    Needs torch and Triton, but no device. Cases that tell an entry the same count once.

    Args:
        arch: Architecture whose tables are asked.
        cases: What is going to be measured.
        only: Configurations as the axis ``config`` takes them: no others are candidates, and
            entries of other keys are left out.

    Raises:
        UsageError: a configuration that is none.
    """
    wanted = given(only)
    found: dict[tuple[str, str, int], Tuned] = {}
    seen = set()
    for case in cases:
        for asked in questions(arch, case):
            op, shape, dtype, variant = case.what()
            facts = {**_extents(op, shape), **asked.facts}
            same = (asked.op, dtype, shape, tuple(sorted(asked.facts.items())))
            if same in seen or (wanted and asked.op not in wanted):
                continue
            seen.add(same)
            owner, number = tuning.place(arch, asked.op, asked.dtype, asked.facts)
            entry = tuning.table(owner)[asked.op][number]
            text = "x".join(map(str, shape))
            axes = {"op": op, "shape": text, "variant": variant, "dtype": dtype}
            use = Use(benchmark=case.name, axes=axes, facts=facts)
            one = found.get((owner, asked.op, number))
            if one is None:
                bounds = {name: value for name, value in entry.items() if name != "config"}
                one = found[owner, asked.op, number] = Tuned(
                    arch=arch,
                    owner=owner,
                    key=asked.op,
                    number=number,
                    dtypes=[],
                    bounds=bounds,
                    uses=[],
                    candidates=_candidates(arch, asked, facts, wanted.get(asked.op, [])),
                )
            one.uses.append(use)
            if dtype not in one.dtypes:
                one.dtypes.append(dtype)
    return list(found.values())


def questions(arch: str, case: Chosen) -> list[tuning.Asked]:
    """What the operation asks the tables for in its timed part; nothing where it cannot run."""
    import torch

    from ..kernels import ops
    from ..kernels.launch import recording
    from ..kernels.op import Fill

    op, shape, dtype, variant = case.what()
    try:
        bound = ops.Case(op, shape, dtype, variant, arch)
        run = ops.implementation(ops.get(op), "triton", bound)
    except (ops.NoTargetError, ValueError):
        return []
    known = ops.get(op)
    inputs = known.inputs(bound, Fill(torch.device("meta"), 0))
    with recording():
        work = run(bound, inputs, known.outputs(bound, inputs))
    with recording(), tuning.watching() as asked:
        work()
    return asked


def _extents(op: str, shape: Sequence[int]) -> dict[str, int]:
    return {name.lower(): size for name, size in zip(SPECS[op].extents, shape, strict=True)}


def given(only: Sequence[str]) -> dict[str, list[str]]:
    """Configurations, spelled anew, by key. Raises `UsageError` for one that is none."""
    found: dict[str, list[str]] = {}
    for text in only:
        try:
            key, chosen = space.parse(text, list(space.SPACES))
        except ValueError as error:
            raise UsageError(f"--config {text!r}: {error}") from None
        found.setdefault(key, []).append(space.spell(key, chosen))
    return found


def _candidates(
    arch: str, asked: tuning.Asked, facts: dict[str, int], only: Sequence[str]
) -> list[str]:
    made = candidates(arch, asked.op, asked.dtype, facts)
    spelled = [space.spell(asked.op, chosen) for chosen in made]
    return list(dict.fromkeys([spelled[0], *only] if only else spelled))


class Present(msgspec.Struct, frozen=True):
    """The tables as they were before the search: the architecture's own, empty if it has none."""

    arch: str
    own: dict[str, Any]
    generic: dict[str, Any]

    @classmethod
    def read(cls, arch: str) -> Present:
        """Those that kernels find now."""
        own = tuning.table(arch) if tuning.path_of(arch) is not None else {}
        return cls(arch, own, tuning.table("generic"))

    def changed(self, found: Iterable[tuple[Tuned, str]]) -> dict[str, Any]:
        """The architecture's table with other configurations in these entries.

        An entry of ``generic`` brings all entries of its key along, in their order, behind the
        architecture's own: every question keeps the answer that it had, but for the one changed.
        """
        table, moved = copy.deepcopy(self.own), dict[str, int]()
        for one, config in found:
            number = one.number
            if one.owner != self.arch:
                if one.key not in moved:
                    moved[one.key] = len(table.setdefault(one.key, []))
                    table[one.key].extend(copy.deepcopy(self.generic[one.key]))
                number += moved[one.key]
            table[one.key][number]["config"] = space.parse(config, [one.key])[1]
        return table
