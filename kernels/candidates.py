"""Configurations worth measuring: what `hengsuan tune` tries. Imports no torch.

Pruned by arithmetic alone: registers, shared memory, threads, the extents of the case. What the
arithmetic lets through the compiler may still refuse.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from .arch import problem as arch_problem
from .costs import ITEMSIZE
from .space import SPACES, SWITCHES, Constants, Facts, Space, decoded_rows, power_of_2, problem
from .tuning import Target, config, described, table, targets

REGISTERS = 255
"""32-bit registers that a thread can address."""
HELD = 128
"""Elements a thread of kernels that hold whole rows: of more, the compiler spills."""
THREADS = 1024
"""Threads of one program at most."""


def candidates(arch: str, key: str, dtype: str, facts: Facts) -> list[dict[str, int]]:
    """Configurations worth measuring: the present one, then kernels of the architecture's own, then
    those most like the present one. A search that runs out of time has tried the first of them.

    Args:
        arch: Architecture. Without an entry in `tuning.targets`, nothing is known of its shared
            memory: what does not fit is then found by its compiler.
        key: One of `SPACES`.
        dtype: Element type.
        facts: What the operation tells of its case (`Space.facts`) and, where they are known, the
            extents of its shape in small letters (``m``, ``n``, ``k``, ``seq``): no tile is larger
            than the matrix.

    Raises:
        ValueError: the tables have nothing that fits the facts.
    """
    space, target = SPACES[key], targets().get(arch)
    asked = {name: facts[name] for name in space.facts}
    present = config(arch, key, dtype, **asked)
    able = described() and any(
        entry["config"].get("tma")
        for name, entries in table(arch).items()
        if name in SPACES
        for entry in entries
    )
    found = {_same(present): present}
    for chosen in _every(space, present):
        if chosen.get("tma") and not (able and facts.get("aligned", 1)):
            continue
        if chosen.get("arch_variant") and arch_problem(arch, key, chosen):
            continue
        if not problem(key, chosen) and _fits(key, dtype, facts, target, chosen):
            found.setdefault(_same(chosen), chosen)
    return sorted(found.values(), key=lambda chosen: _rank(present, chosen))


def _every(space: Space, present: Constants) -> Iterator[dict[str, int]]:
    """The whole product; what a form does not vary stays as it is at present."""
    for form in space.forms:
        axes = dict(form)
        if space.warps:
            axes["num_warps"] = space.warps
        if space.stages:
            axes["num_stages"] = space.stages
        elif "num_stages" in present:
            axes["num_stages"] = (present["num_stages"],)
        for values in itertools.product(*axes.values()):
            for way in space.ways:
                yield {**dict(zip(axes, values, strict=True)), **way}


def _fits(key: str, dtype: str, facts: Facts, target: Target | None, chosen: Constants) -> bool:
    space, size = SPACES[key], ITEMSIZE[dtype]
    threads = chosen.get("num_warps", 1) * (int(target.target[2]) if target else 32)
    held = space.held(chosen, facts)
    if threads > THREADS or (target and space.shared(chosen, facts, size) > target.shared):
        return False
    if space.product:
        # A thread with few sums of its own waits for its operands.
        if not 16 * threads <= held <= REGISTERS * threads:
            return False
        if "block_k" in chosen and not 64 <= chosen["block_k"] * size <= 256:
            return False
        return _in_proportion(chosen, facts)
    if held and not threads <= held <= HELD * threads:
        return False
    return _distinct(key, chosen, facts)


def _in_proportion(chosen: Constants, facts: Facts) -> bool:
    """No tile is larger than the matrix that it is a part of, or tiny beside it."""
    limits = {"block_m": ("m", "seq"), "block_n": ("n", "seq"), "block_k": ("k",)}
    for block, extents in limits.items():
        for extent in extents:
            if extent not in facts or block not in chosen:
                continue
            if chosen[block] > max(16, power_of_2(facts[extent])):
                return False
            if extent in ("m", "n") and chosen[block] < min(64, facts[extent] // 8):
                return False
    return True


def _distinct(key: str, chosen: Constants, facts: Facts) -> bool:
    """Leaves out configurations that launch the same as a smaller one."""
    width, block = facts.get("width"), chosen.get("block")
    if key == "stream" and chosen.get("num_stages", 1) > 1:
        return "waves" in chosen  # a single block has nothing to be ahead of
    if key == "decode_attention":
        return chosen["block_m"] == decoded_rows(chosen["block_m"], facts["rows"])
    if key == "rope":
        return chosen["heads"] <= power_of_2(facts.get("heads", 64))
    if width is None or block is None:
        return True
    if key == "cross_entropy" or key.startswith("softmax"):
        # One block that holds the row is the kernel of whole rows.
        return block <= power_of_2(width) if key == "cross_entropy" else block < width
    if key.startswith("rmsnorm"):
        # A row in blocks has no other ways, and nothing ahead.
        plain = {"block", "waves", "num_warps", "num_stages"}
        return block < width and chosen.get("num_stages", 1) == 1 and plain.issuperset(chosen)
    if key in ("moe", "embedding_backward"):
        return block <= power_of_2(width)
    return True


def _same(chosen: Constants) -> tuple[tuple[str, int], ...]:
    """A switch that is off is the same as one that is not there."""
    return tuple(sorted((k, v) for k, v in chosen.items() if v or k not in SWITCHES))


def _rank(present: Constants, chosen: Constants) -> tuple[int, ...]:
    """Where a configuration stands: few are of kernels written for the architecture, which were
    written because they promised most, those that do all in one pass more than the others."""
    own, whole = chosen.get("arch_variant", 0), chosen.get("one_pass", 0)
    return int(_same(chosen) != _same(present)), -own, -whole, _distance(present, chosen)


def _distance(present: Constants, chosen: Constants) -> int:
    """How many constants differ from the present ones."""
    names = {*present, *chosen}
    return sum(present.get(name, 0) != chosen.get(name, 0) for name in names)
