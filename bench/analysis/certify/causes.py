"""The likely cause of what was found: a declared table, read from top to bottom.

A cause is a hint where to look first. It is no part of the verdict.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from ...verdicts import Against, Evidence

WARMER = 8.0
"""Kelvin above the median of the fleet from which a device counts as hot."""


class Sign(msgspec.Struct, kw_only=True, frozen=True):
    """A line of the table: every condition that it states must hold.

    ``benchmarks``: of which the evidence is one; ``against``: as in `Evidence`; ``says``: a
    regular expression that its text, metric or throttle reason has, in any case; ``hot``,
    ``throttled``: its conditions; ``without``: nothing of these benchmarks is found on the node.
    """

    cause: str
    benchmarks: tuple[str, ...] = ()
    against: tuple[Against, ...] = ()
    says: tuple[str, ...] = ()
    hot: bool = False
    throttled: bool = False
    without: tuple[str, ...] = ()


_FIGURES: tuple[Against, ...] = ("floor", "datasheet", "fleet", "baseline", "history")
_COMPUTE = ("gemm", "train", "compute", "kernels", "model")
_FABRIC = ("pairs", "collectives", "link", "incast", "stability", "overlap", "rdma")
TABLE: tuple[Sign, ...] = (
    Sign(
        against=("corruption",),
        cause="a defect of the chip or its memory: replace it, whatever its speed",
    ),
    Sign(
        against=("sanity",),
        cause="wrong results: a defect of chip or memory, or of the library on this node",
    ),
    Sign(
        throttled=True,
        hot=True,
        cause="cooling: fans, heat sink, air flow or coolant of this node",
    ),
    Sign(throttled=True, says=("power",), cause="power: supply, cap or cable of this node"),
    Sign(throttled=True, cause="the device throttles: see the reason in the conditions"),
    Sign(benchmarks=_COMPUTE, hot=True, cause="cooling: the device runs hotter than its fellows"),
    Sign(against=("drift",), cause="installed or wired unlike its fellows: see the fact"),
    Sign(
        says=("ecc(?![a-z])", "row.*remap", "page.*retire", "on-chip memory"),
        cause="failing device memory: run the vendor's memory test",
    ),
    Sign(
        says=("in use by",),
        cause="somebody works on the device: drain it, then certify again",
    ),
    Sign(
        says=("other processes used", "waited for a core"),
        cause="work of others on the host: find it with the process list, then certify again",
    ),
    Sign(
        says=("the hypervisor took",),
        cause="other virtual machines on the same cores: end their share, then certify again",
    ),
    Sign(
        benchmarks=("stream",),
        against=_FIGURES,
        without=_COMPUTE,
        cause="device memory: its clock, a failing stack, ECC work",
    ),
    Sign(
        benchmarks=("transfer",),
        against=_FIGURES,
        cause="the link to the host: PCI Express generation and width, NUMA affinity",
    ),
    Sign(
        benchmarks=("launch",),
        against=_FIGURES,
        cause="the host's processor: governor, frequency, other work",
    ),
    Sign(
        benchmarks=_FABRIC,
        says=("link between",),
        cause="the cable, its ports, or the switch between the two",
    ),
    Sign(
        benchmarks=("pairs", "link", "rdma", "incast", "stability"),
        against=("fabric", *_FIGURES),
        cause="the node's network card, its cable or its port of the switch",
    ),
    Sign(
        benchmarks=_FABRIC,
        against=_FIGURES,
        cause="links inside the node, or its network card",
    ),
    Sign(
        benchmarks=("train",),
        against=_FIGURES,
        says=("compute",),
        without=("gemm", "stream"),
        cause="a straggler: well by itself and slow in the step, where all wait for it; its host's "
        "cores, its power under mixed load, or work beside it",
    ),
    Sign(
        benchmarks=_COMPUTE,
        against=_FIGURES,
        without=("stream",),
        cause="the chip's clock: power cap, clock limit, or a slow chip",
    ),
    Sign(
        benchmarks=(*_COMPUTE, "stream"),
        against=_FIGURES,
        cause="the whole device is slow: its clocks, its power limit, its firmware",
    ),
    Sign(
        against=("fault",),
        says=("out of memory",),
        cause="memory held by somebody else, or less of it than its fellows have",
    ),
    Sign(
        against=("fault",),
        cause="driver, library or hardware: see the kernel's log of the node",
    ),
)


def explained(found: Sequence[Evidence], fleet_temperature: float | None) -> list[Evidence]:
    """The evidence of one node with the likely cause of each, where a line of `TABLE` fits.

    Args:
        found: All evidence of the node.
        fleet_temperature: °C, the median over the fleet's devices; None where nobody says.
    """
    benchmarks = {one.metric.partition(" ")[0] for one in found if one.metric}
    return [
        one
        if one.cause
        else msgspec.structs.replace(one, cause=_cause(one, benchmarks, fleet_temperature))
        for one in found
    ]


def _cause(one: Evidence, benchmarks: set[str], usual: float | None) -> str:
    return next((sign.cause for sign in TABLE if _fits(sign, one, benchmarks, usual)), "")


def _fits(sign: Sign, one: Evidence, benchmarks: set[str], usual: float | None) -> bool:
    temperature = one.conditions.get("temperature")
    hot = temperature is not None and usual is not None and temperature > usual + WARMER
    throttled = one.conditions.get("throttled") or ""
    text = f"{one.text} {one.metric} {throttled}"
    return (
        (not sign.benchmarks or one.metric.partition(" ")[0] in sign.benchmarks)
        and (not sign.against or one.against in sign.against)
        and (not sign.says or any(re.search(word, text, re.IGNORECASE) for word in sign.says))
        and (not sign.hot or hot)
        and (not sign.throttled or bool(throttled))
        and not benchmarks.intersection(sign.without)
    )
