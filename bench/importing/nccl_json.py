"""What nccl-tests writes with ``-J`` (since 2.17; src/util.cu): one object, streamed as it goes.

A file whose writer was killed ends in the middle: what is whole of its results is taken.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from ..errors import UsageError
from .found import Asked, Log
from .nccl_names import OPS, named, placed
from .nccl_table import Batch
from .source import Source

_START = re.compile(r'\s*\{\s*"version"\s*:\s*\d+\s*,\s*"start_time"')
_RESULTS = re.compile(r'"results"\s*:\s*\[')
TIME = "%Y-%m-%d %H:%M:%S"
_NAMES = {
    "time": "time",
    "cpu_time": "cputime",
    "alg_bw": "algbw",
    "bus_bw": "busbw",
    "nwrong": "#wrong",
}
_PERCENTILES = {"p99_us": "i_p99", "max_us": "i_max"}
_DECODER = json.JSONDecoder()


def begins(lines: Sequence[str]) -> bool:
    """Whether a file that begins so is one of these."""
    return bool(_START.match("\n".join(lines[:5])[:4096]))


def read(source: Source, asked: Asked) -> Log:
    """Read one file. Raises `UsageError` where it is damaged before its results begin."""
    log = Log(source.name)
    text = source.whole()
    head, results = _split(text, source.name)
    config = _object(head.get("config"))
    with_time = str(head.get("start_time", ""))
    try:
        log.when = datetime.strptime(with_time, TIME).replace(tzinfo=timezone.utc)
    except ValueError:
        log.note(f"{source.name}: start_time {with_time!r} is no time")
    if version := head.get("nccl_version"):
        log.versions["library"] = str(version)
    op = asked.op or named(" ".join(map(str, _list(head.get("args"))))) or named(source.name)
    if not op:
        raise UsageError(
            "which operation this is of, neither its arguments nor its name say",
            where=source.name,
            hint=f"say it with --op; known: {', '.join(sorted({*OPS.values()}))}",
        )
    places = placed(log, asked, _devices(head, config, source.name), source.name)
    rows, lines = [], []
    for line, found in results:
        columns = _columns(found)
        if columns is None:
            log.skip(line, json.dumps(found)[:200])
        else:
            rows.append(columns)
            lines.append(line)
    batch = Batch(log, asked)
    # Results of a run have equal columns; where they do not, each is taken with its like.
    for names in dict.fromkeys(tuple(row) for row in rows):
        alike = [place for place, row in enumerate(rows) if tuple(row) == names]
        words = [list(rows[place].values()) for place in alike]
        batch.add(op, names, words, [lines[place] for place in alike], places)
    batch.end()
    return log


def _split(text: str, name: str) -> tuple[dict[str, Any], list[tuple[int, Any]]]:
    """What stands before the results, and the results that are whole, each with its line."""
    found = _RESULTS.search(text)
    if found is None:
        raise UsageError(
            "its results are missing: it was cut off before the first",
            where=name,
            hint="import what the tool printed instead",
        )
    try:
        head = json.loads(text[: found.end()] + "]}")
    except (ValueError, RecursionError) as error:
        raise UsageError(f"is damaged: {error}", where=name) from None
    results: list[tuple[int, Any]] = []
    place, line = found.end(), text.count("\n", 0, found.end()) + 1
    while True:
        start = place
        while place < len(text) and text[place] in " \t\r\n,":
            place += 1
        line += text.count("\n", start, place)
        if place >= len(text) or text[place] != "{":
            return _object(head), results
        try:
            one, end = _DECODER.raw_decode(text, place)
        except (ValueError, RecursionError):
            return _object(head), results
        results.append((line, one))
        line += text.count("\n", place, end)
        place = end


def _devices(
    head: dict[str, Any], config: dict[str, Any], name: str
) -> list[tuple[str, int, str, str]]:
    """(host, index, bus id, name) of every rank: the file has one of each process."""
    each = _whole(config.get("nthreads"), 1) * _whole(config.get("ngpus"), 1)
    listed = [_object(one) for one in _list(config.get("devices"))]
    if not listed:
        raise UsageError(
            "it does not say which devices took part", where=name, hint="import the printed log"
        )
    found = []
    for one in sorted(listed, key=lambda one: _whole(one.get("rank"), 0)):
        host, first = str(one.get("hostname", "")), _whole(one.get("device"), 0)
        if not host:
            raise UsageError("a device is of no host", where=name)
        bus = str(one.get("device_hex", "")) if each == 1 else ""
        called = str(one.get("device_info", ""))
        found += [(host, first + index, bus, called) for index in range(min(each, 1024))]
    return found


def _columns(found: Any) -> dict[str, str] | None:
    """A result as the words of a line; None where it is none."""
    one = _object(found)
    if "size" not in one:
        return None
    words = {name: str(one.get(name, "")) for name in ("size", "count", "type")}
    words["redop"], words["root"] = (
        str(one.get("redop", "none")),
        str(one.get("root", "-1")).strip(),
    )
    for number, form in enumerate(("out_of_place", "in_place")):
        said = _object(one.get(form))
        for key, name in _NAMES.items():
            if key in said:
                words[f"{number} {name}"] = "N/A" if said[key] is None else str(said[key])
        spread = _object(one.get(f"{form}_per_iter"))
        for key, name in _PERCENTILES.items():
            if key in spread:
                words[f"{number} {name}"] = str(spread[key])
    blocks = [number for number in (0, 1) if {f"{number} algbw", f"{number} busbw"} <= words.keys()]
    return words if blocks else None


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _whole(value: Any, otherwise: int) -> int:
    return value if isinstance(value, int) and 0 <= value < 1 << 31 else otherwise
