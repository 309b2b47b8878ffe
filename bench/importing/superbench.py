"""SuperBench: ``results-summary.jsonl``, one node a line, and ``results.json`` of one benchmark.

Written from its documentation (github.com/microsoft/superbenchmark: docs/user-tutorial) and its
superbench/runner/runner.py: a metric is ``benchmark[:annotation]/[run/]metric[:rank]``, with the
rank where every device has its own value. What stands for the same as a benchmark of ours becomes
that; the rest keeps its name as benchmark and metric, with its documented unit
(`superbench_units`). A metric whose unit nobody documents is left out, and said.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..errors import UsageError
from ..kernels.messages import bus_factor
from ..records import Scope
from .collectives import axes
from .found import INVALID, OK, Asked, Log, Part, Place, What
from .nccl_names import OPS
from .source import Source
from .superbench_checks import refuted, verdict
from .superbench_units import unit_of

EXPECTED = (
    'lines of results-summary.jsonl (`{"node": "n1", "gemm-flops/fp16_flops:0": 1.0}`), or a '
    "results.json of SuperBench"
)
FAILED = 1
"""Code of the status ``failed``."""
TAKES = ("node", "ranks", "device")
"""Options that say what such a file may leave open."""
_NAME = re.compile(
    r"^(?P<benchmark>[^/]+(?:/pytorch-[^/]+)?)/(?:(?P<run>\d+)/)?(?P<metric>.+?)"
    r"(?::(?P<rank>\d+))?$"
)
_COLLECTIVE = re.compile(r"^([a-z]+)_(\d{1,15})_(time|algbw|busbw)$")
_GEMM = re.compile(r"^(\w+?)_(\d{1,9})_(\d{1,9})_(\d{1,9})_(\d{1,9})_flops$")
_STREAM = re.compile(
    r"^STREAM_(COPY|SCALE|MUL|ADD|TRIAD|DOT)_(float|double)_"
    r"(?:gpu_\d+_buffer_(\d{1,15})_block_(\d+)|array_(\d{1,15}))_bw$"
)
_DTYPES = {
    "fp32": "fp32",
    "fp16": "fp16",
    "bf16": "bf16",
    "tf32": "tf32",
    "fp8e4m3": "fp8_e4m3",
    "fp8e5m2": "fp8_e5m2",
    "int8": "int8",
}
_SCALES = {"time": 1e-6, "algbw": 1e9, "busbw": 1e9}
_BEST = "the best of its iterations, as SuperBench keeps it"
_ASSUMED = "fp32, out of place: SuperBench's defaults, which its results do not repeat"


class Name(NamedTuple):
    """The parts of a metric's name; ``run`` and ``rank`` None where it has none."""

    benchmark: str
    metric: str
    run: int | None
    rank: int | None


def parse(text: str) -> Name | None:
    """``gemm-flops/fp16_flops:0`` in its parts; None for what is no metric's name."""
    found = _NAME.match(text)
    if found is None:
        return None
    run, rank = (int(found[key]) if found[key] else None for key in ("run", "rank"))
    return Name(found["benchmark"], found["metric"], run, rank)


def read(source: Source, asked: Asked) -> Log:
    """Read one file.

    Raises:
        UsageError: it is no text, or results of one benchmark do not say of which node.
        InfraError: it cannot be read.
    """
    log = Log(source.name)
    for number, found in _documents(source, log):
        node = found.pop("node", None) or (asked.nodes[0] if asked.nodes else None)
        if not isinstance(node, str) or not node:
            raise UsageError(
                "it does not say of which node it is",
                where=f"{source.name}:{number}",
                hint="say it with --node NAME",
            )
        _node(log, asked, node, found, number)
    log.end()
    return log


def _documents(source: Source, log: Log) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, metrics by name) of every node."""
    started = False
    for lines in source.lines():
        for text, number in zip(lines.text, lines.numbers, strict=True):
            if not text.strip():
                continue
            if (not started and text.lstrip()[0] == "[") or text.strip() == "{":
                yield from _whole(source, log)
                return
            started = True
            try:
                found = json.loads(text)
            except (ValueError, RecursionError):
                found = None
            if isinstance(found, dict):
                yield number, found
            else:
                log.skip(number, text)


def _whole(source: Source, log: Log) -> Iterator[tuple[int, dict[str, Any]]]:
    """A document over many lines: a node's summary, or the raw results of benchmarks."""
    try:
        found = json.loads(source.whole())
    except (ValueError, RecursionError) as error:
        raise UsageError(f"is damaged or was cut off: {error}", where=source.name) from None
    if isinstance(found, dict):
        yield 1, found
    elif isinstance(found, list):
        yield 1, dict(_raw(log, found))


def _raw(log: Log, results: list[Any]) -> Iterator[tuple[str, Any]]:
    """What a runner makes of ``results.json``, whose metrics have a value a run."""
    for number, one in enumerate(results, 1):
        if not isinstance(one, dict) or not isinstance(one.get("result"), dict):
            log.skip(f"result {number}", json.dumps(one)[:200])
            continue
        for metric, values in one["result"].items():
            listed = values if isinstance(values, list) else [values]
            for run, value in enumerate(listed):
                middle = f"{run}/" if len(listed) > 1 else ""
                yield f"{one.get('name', 'unnamed')}/{middle}{metric}", value


def _node(log: Log, asked: Asked, node: str, found: dict[str, Any], number: int) -> None:
    names = {text: parse(text) for text in found}
    ranks = [one.rank for one in names.values() if one is not None and one.rank is not None]
    count = asked.ranks or min(1 + max(ranks, default=0), 4096)
    places = [Place(node, str(index)) for index in range(count)]
    for index, place in enumerate(places):
        log.devices.setdefault(place, Part(asked.device, index))
    unknown: list[str] = []
    for text, name in names.items():
        value = found[text]
        if name is None or not isinstance(value, int | float) or isinstance(value, bool):
            log.skip(number, f"{text}: {json.dumps(value)}")
            continue
        if name.rank is not None and name.rank >= count:
            log.skip(number, f"{text}: the node has {count} devices")
            continue
        held = verdict(name.metric, float(value))
        if name.metric == "return_code":
            _returned(log, name, places, float(value))
        elif held is not None:
            _checked(log, name, places, float(value), held)
        elif not _take(log, name, places, float(value), found):
            unknown.append(text)
            continue
        log.lines += 1
    for text in unknown:
        log.skip(number, f"{text}: nobody documents its unit")


def _returned(log: Log, name: Name, places: list[Place], code: float) -> None:
    """How a benchmark ended: anything but 0 failed."""
    what = What(name.benchmark, (), "return_code", "count", "lower", "node")
    log.put(
        what,
        places,
        code if code == 0 else math.nan,
        status=OK if code == 0 else FAILED,
        reason="" if code == 0 else f"{name.benchmark} ended with code {code:g}",
    )


def _checked(log: Log, name: Name, places: list[Place], value: float, held: bool) -> None:
    """What a benchmark says of its own results, of the node or of one device."""
    mine = [places[name.rank]] if name.rank is not None else places
    scope: Scope = "device" if name.rank is not None else "node"
    what = What(name.benchmark, (), name.metric, "count", "higher", scope)
    log.put(
        what,
        mine,
        value,
        status=OK if held else INVALID,
        reason="" if held else f"{name.benchmark} says so of its results: {name.metric} {value:g}",
    )


def _take(log: Log, name: Name, places: list[Place], value: float, found: dict[str, Any]) -> bool:
    """Whether a figure is understood, and then taken."""
    benchmark = name.benchmark.partition(":")[0]
    mine = [places[name.rank]] if name.rank is not None else places
    ours = None
    if benchmark.endswith("ccl-bw"):
        ours = _collective(name, len(places), found)
        mine = places if ours else mine
    elif benchmark.endswith("blaslt-gemm"):
        ours = _gemm(name)
    elif benchmark == "gpu-stream":
        ours = _stream(name)
    if ours is not None and (len(mine) == 1 or ours[0].scope == "group"):
        what, scale, reason = ours
        if what.scope == "group":
            value = _by_time(name, dict(what.axes), len(mine), value, found)
    else:
        documented = unit_of(benchmark, name.metric)
        if documented is None:
            return False
        unit, scale, better = documented
        scope = "device" if len(mine) == 1 and name.rank is not None else "node"
        reason = ""
        what = What(name.benchmark, (), name.metric, unit, better, scope)  # type: ignore[arg-type]
    run = f"{name.run}/" if name.run is not None else ""
    ends = f":{name.rank}" if name.rank is not None else ""
    wrong = refuted(f"{name.benchmark}/{run}", name.metric, ends, found)
    good = math.isfinite(value) and (value > 0 or what.unit in ("count", "ratio")) and not wrong
    if wrong:
        reason = f"what was worked out is wrong: {wrong}"
    elif not good:
        reason = "no figure" if not math.isfinite(value) else "the tool gives no more than 0"
    log.put(what, mine, value * scale, status=OK if good else INVALID, reason=reason)
    return True


def _collective(name: Name, ranks: int, found: dict[str, Any]) -> tuple[What, float, str] | None:
    """Our `collectives`, where the bandwidths say that all devices of the node took part."""
    said = _COLLECTIVE.match(name.metric)
    op = OPS.get(said[1], "") if said else ""
    if said is None or not op or ranks < 2 or int(said[2]) < 1 or op == "hypercube":
        return None
    size = int(said[2])
    if not _fits(name, op, ranks, found):
        return None
    kept = axes(op, size, "fp32", "out_of_place")
    stage = name.benchmark.replace("+", "-")
    return What("collectives", kept, said[3], stage=stage), _SCALES[said[3]], _ASSUMED


def _by_time(
    name: Name, said: Mapping[str, Any], ranks: int, value: float, found: dict[str, Any]
) -> float:
    """A bandwidth in GB/s by the time beside it, which has more digits: small ones are 0.00."""
    key, _, metric = name.metric.rpartition("_")
    run = f"{name.run}/" if name.run is not None else ""
    ends = f":{name.rank}" if name.rank is not None else ""
    time = found.get(f"{name.benchmark}/{run}{key}_time{ends}")
    if metric == "time" or not isinstance(time, int | float) or not time > 0:
        return value
    rate = float(said["size"] / time / 1e3)
    return rate * bus_factor(said["op"], ranks) if metric == "busbw" else rate


def _fits(name: Name, op: str, ranks: int, found: dict[str, Any]) -> bool:
    """Whether bus over algorithm bandwidth of the largest size is that of so many ranks."""
    ends = f":{name.rank}" if name.rank is not None else ""
    run = f"{name.run}/" if name.run is not None else ""
    known = []
    prefix = f"{name.benchmark}/{run}{name.metric.partition('_')[0]}_"
    for text, value in found.items():
        if text.startswith(prefix) and text.endswith(f"_algbw{ends}"):
            bus = found.get(text.replace("_algbw", "_busbw"))
            if isinstance(value, int | float) and isinstance(bus, int | float) and value >= 1:
                known.append((value, bus / value))
    return bool(known) and abs(max(known)[1] - bus_factor(op, ranks)) < 0.02


def _gemm(name: Name) -> tuple[What, float, str] | None:
    said = _GEMM.match(name.metric)
    dtype = _DTYPES.get(said[1], "") if said else ""
    if said is None or not dtype or int(said[2]) > 1 or "0" in said.groups()[2:]:
        return None
    shape = "x".join(said.groups()[2:])
    kept = (("shape", shape), ("dtype", dtype), ("impl", "vendor"))
    return What("gemm", kept, "flops", scope="device"), 1e12, ""


def _stream(name: Name) -> tuple[What, float, str] | None:
    said = _STREAM.match(name.metric)
    if said is None:
        return None
    op, kind, buffer, block, elements = said.groups()
    if block and block != "1024":
        return None
    dtype, item = ("fp64", 8) if kind == "double" else ("fp32", 4)
    size = int(buffer) if buffer else int(elements) * item
    if size < 1:
        return None
    kept = (
        ("op", {"mul": "scale"}.get(op.lower(), op.lower())),
        ("size", size),
        ("dtype", dtype),
        ("impl", "vendor"),
    )
    return What("stream", kept, "bandwidth", scope="device"), 1e9, _BEST
