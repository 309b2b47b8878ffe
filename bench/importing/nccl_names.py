"""What nccl-tests calls things: operations, dtypes, devices, numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from ..errors import UsageError
from ..kernels.messages import SUMS, bus_factor
from ..workloads.collectives import TWO_BUFFERS
from .found import Asked, Floats, Log, Part, Place

OPS = {
    "all_reduce": "all_reduce",
    "allreduce": "all_reduce",
    "reduce_scatter": "reduce_scatter",
    "reducescatter": "reduce_scatter",
    "all_gather": "all_gather",
    "allgather": "all_gather",
    "alltoall": "all_to_all",
    "all_to_all": "all_to_all",
    "broadcast": "broadcast",
    "reduce": "reduce",
    "scatter": "scatter",
    "gather": "gather",
    "sendrecv": "send_recv",
    "send_recv": "send_recv",
    "hypercube": "hypercube",
}
"""Operations by what programs and files are called."""
DTYPES = {
    "float": "fp32",
    "half": "fp16",
    "bfloat16": "bf16",
    "int": "int32",
    "int32": "int32",
    "int64": "int64",
    "uint8": "uint8",
}
"""Our dtypes by theirs; others (double, int8, fp8) our benchmark does not have."""
OURS = frozenset(OPS.values()) - {"hypercube"}
_ROOTED = frozenset(("reduce", "broadcast", "scatter", "gather"))
_SAYS_SUM = "send_recv"
"""What reduces nothing, and names a reduction all the same."""
_CHECKS = ("#wrong", "error", "res")
_RATIO = 0.02
"""How far the ratio of printed bandwidths may be from an operation's."""
_PROGRAM = re.compile(r"\b(\w+)_perf(?:_mpi)?\b")
_STARTED = re.compile(r"\b(\w+)_perf(?:_mpi)?(?:\s+-|\s*$)")
_CALLED = re.compile(
    r"(?<![a-z])(all[-_]?reduce|reduce[-_]?scatter|all[-_]?gather|all[-_]?to[-_]?all|broadcast|"
    r"send[-_]?recv|hypercube|scatter|gather|reduce)(?![a-z])"
)


def named(text: str) -> str:
    """The operation that a command line, or the name of a file, speaks of; empty if none.

    Of a program that we do not know (``alltoallv_perf``) what it is called: its figures are none of
    those of the program that ran before it.
    """
    if "_perf" in text:
        for word in _PROGRAM.findall(text):
            if word in OPS:
                return OPS[word]
        started = _STARTED.search(text)
        return started[1] if started else ""
    if text.endswith((".log", ".txt", ".out", ".json", ".gz")) and " " not in text.strip():
        found = {
            OPS[word.replace("-", "_")]
            if word.replace("-", "_") in OPS
            else OPS[re.sub("[-_]", "", word)]
            for word in _CALLED.findall(text.rpartition("/")[2].lower())
        }
        return found.pop() if len(found) == 1 else ""
    return ""


def looks_like(op: str, names: Sequence[str], row: Sequence[str]) -> bool:
    """Whether a line may be of an operation, by whether it names a reduction and a root, and by
    what was checked: only what has no form in place is checked out of place alone."""
    words = dict(zip(names, row, strict=True))
    out, inside = (
        [words[key] for name in _CHECKS if (key := f"{form} {name}") in words] for form in (0, 1)
    )
    if op in OURS and op not in TWO_BUFFERS and "N/A" in inside and "N/A" not in out:
        return False
    reduces = words.get("redop", "none") not in ("none", "")
    rooted = words.get("root", "-1").isdecimal()
    if op not in OURS:
        return op not in OPS.values() or not reduces
    if op == _SAYS_SUM:
        return not rooted
    # Before there was a column of roots, nothing says.
    return (op in SUMS) == reduces and ("root" not in words or (op in _ROOTED) == rooted)


def by_figures(names: Sequence[str], rows: Sequence[Sequence[str]], ranks: int) -> list[str]:
    """The operations that fit what is printed: with or without reduction and root, and by the
    ratio of both bandwidths over so many ranks, and by what was checked."""
    words = dict(zip(names, zip(*rows, strict=True), strict=True))
    algbw, busbw = (as_numbers(words.get(f"0 {name}", ())) for name in ("algbw", "busbw"))
    large = algbw > 1.0
    if not large.any():
        return []
    # A reduction that was checked in place is one.
    reduces = words.get("redop", ("none",))[0] not in ("none", "")
    checked = {words[key][0] != "N/A" for key in ("0 #wrong", "1 #wrong") if key in words}
    allowed = OURS - {_SAYS_SUM} if reduces and checked == {True} else OURS
    ratio = float(np.median(busbw[large] / algbw[large]))
    return [
        op
        for op in sorted(allowed)
        if looks_like(op, names, rows[0]) and abs(ratio - bus_factor(op, ranks)) < _RATIO
    ]


def placed(
    log: Log, asked: Asked, devices: Sequence[tuple[str, int, str, str]], where: str
) -> list[Place]:
    """Declare devices (host, index, bus id, name), in the order of their ranks.

    A device is known by its bus id where that tells those of its host apart, for processes may
    each see one device and call it 0; else by its index.

    Raises `UsageError` where ``--node`` renames another number of nodes than there are.
    """
    hosts = list(dict.fromkeys(one[0] for one in devices))
    if asked.nodes and len(asked.nodes) != len(hosts):
        raise UsageError(
            f"the log names {len(hosts)} nodes ({', '.join(hosts[:8])}), and --node gives "
            f"{len(asked.nodes)} names",
            where=where,
            hint="leave --node out, or give a name for each",
        )
    names = dict(zip(hosts, asked.nodes or hosts, strict=True))
    buses: dict[str, list[str]] = {}
    for host, _, bus, _ in devices:
        buses.setdefault(host, []).append(_bus(bus))
    places: dict[Place, None] = {}
    for host, index, bus, name in devices:
        ids = buses[host]
        told = all(ids) and len(set(ids)) == len(ids)
        place = Place(names[host], _bus(bus) if told else str(index))
        while place in places:  # several ranks on one device
            place = Place(place.node, f"{place.device}'")
        log.devices.setdefault(place, Part(name, index))
        places[place] = None
    return list(places)


def _bus(text: str) -> str:
    """``07`` of ``0x07`` and of ``0000:07:00``, as old and new versions print it; empty of 0."""
    text = text.lower().removeprefix("0x")
    if len(parts := text.split(":")) == 3 and not any(map(_zero, (parts[0], parts[2]))):
        return text
    if len(parts) == 3:
        text = parts[1] if _zero(parts[0]) and _zero(parts[2]) else text
    return "" if _zero(text) else f"bus {text}"


def _zero(text: str) -> bool:
    return not text.strip("0:.")


def as_numbers(words: Sequence[str]) -> Floats:
    """float64[m]; NaN for what is no number."""
    try:
        return np.array(list(map(float, words)), dtype=np.float64)
    except ValueError:
        return np.array([_number(word) for word in words], dtype=np.float64)


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return float("nan")
