"""Logs that were never printed, as the tools print them; for tests of what is read of them.

`nccl` follows src/util.cu and src/common.cu of github.com/NVIDIA/nccl-tests: widths and digits of
``writeBenchmarkLinePreamble`` and ``getFloatStr``, heads of 2.13 to 2.17.
"""

from __future__ import annotations

import random

CHIP = "NVIDIA H100 80GB HBM3"
FACTORS = {
    "all_reduce": lambda n: 2 * (n - 1) / n,
    "all_gather": lambda n: (n - 1) / n,
    "reduce_scatter": lambda n: (n - 1) / n,
    "alltoall": lambda n: (n - 1) / n,
    "broadcast": lambda n: 1.0,
    "reduce": lambda n: 1.0,
    "sendrecv": lambda n: 1.0,
}
SHARES = {"hypercube": lambda n: (n - 1) / n}
"""What of the size a program counts, where that is not all; its factor is 1."""
REDUCES = ("all_reduce", "reduce_scatter", "reduce")
ITEM = {"float": 4, "half": 2, "bfloat16": 2, "double": 8, "int8": 1, "uint8": 1}
HEAD = (
    "#                                                              out-of-place"
    "                       in-place          \n"
    "#       size         count      type   redop    root     time   algbw   busbw #wrong"
    "     time   algbw   busbw #wrong\n"
    "#        (B)    (elements)                               (us)  (GB/s)  (GB/s)       "
    "     (us)  (GB/s)  (GB/s)       \n"
)


def number(value: float, width: int) -> str:
    """``getFloatStr`` of src/util.cu."""
    power = len(str(int(value))) if value >= 1 else 0
    digits = 2 if power < width - 2 else 1 if power < width - 1 else 0
    if power >= width + 1:
        return f"{value:{width}.1e}"
    return f"{value:{width}.{digits}f}"


def line(op: str, ranks: int, size: int, seconds, kind="float", wrong=("0", "0")) -> str:
    """One line of a table: seconds out of place and in place."""
    redop, root = ("sum" if op in REDUCES else "none"), (0 if op in ("reduce", "broadcast") else -1)
    text = f"{size:>12}  {size // ITEM[kind]:>12}  {kind:>8}  {redop:>6}  {root:>6}"
    for one, errors in zip(seconds, wrong, strict=True):
        rate = size / one / 1e9 * SHARES.get(op, lambda n: 1.0)(ranks)
        text += f"  {number(one * 1e6, 7)}  {number(rate, 6)}"
        text += f"  {number(rate * FACTORS.get(op, lambda n: 1.0)(ranks), 6)}  {errors:>6}"
    return text


def devices(nodes, each=8, chip=CHIP) -> str:
    """What is printed under ``# Using devices``."""
    return "".join(
        f"#  Rank {node * each + index:2} Group  0 Pid {4000 + index:6} on {name:>10} device "
        f"{index:2} [0000:{16 * index + 7:02x}:00] {chip}\n"
        for node, name in enumerate(nodes)
        for index in range(each)
    )


def nccl(nodes, op="all_reduce", each=8, rows=None, *, version=True, kind="float") -> str:
    """A whole log; ``rows`` are (size, seconds out of place, seconds in place[, wrong])."""
    ranks = each * len(nodes)
    if rows is None:
        rows = [(1 << power, *times(1 << power)) for power in range(10, 31, 4)]
    text = (
        f"# nccl-tests version 2.17.1\n# Collective test starting: {op}_perf\n" if version else ""
    )
    text += (
        f"# nThread 1 nGpus {each} minBytes {rows[0][0]} maxBytes {rows[-1][0]} step: 16(factor)"
    )
    text += " warmup iters: 5 iters: 20 agg iters: 1 validation: 1 graph: 0\n#\n# Using devices\n"
    text += devices(nodes, each) + "#\n" + HEAD
    for size, out, into, *wrong in rows:
        text += line(op, ranks, size, (out, into), kind, *wrong) + "\n"
    return text + "# Out of bounds values : 0 OK\n# Avg bus bandwidth    : 128.4 \n#\n"


def times(size: int, rate: float = 250e9, latency: float = 12e-6, seed: int = 0):
    """Seconds out of place and in place of a message."""
    noise = random.Random(size + seed)
    return tuple((latency + size / rate) * (1 + 0.01 * noise.random()) for _ in range(2))
