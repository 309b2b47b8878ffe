"""A side of a gate that computes nothing: it says what it was told to, in every way that is bad.

python made_side.py WAY gate side SUITE --out FOLDER ...
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import time
from pathlib import Path

import msgspec

from bench.headers import RUN
from bench.records import Case, Device, Header, Node, Row, ScheduleSpec, Status
from bench.results import ROWS


def header(way: str, stages: list[str]) -> Header:
    metrics = ["time", "extra"] if way == "more" else ["time"]
    made = [(stage, metric) for stage in stages for metric in metrics]
    cases = [
        Case(
            id=number,
            stage=stage,
            benchmark="spin",
            axes={},
            scope="device",
            metric=metric,
            unit="s",
            better="lower",
            source="1" if way == "changed" else "0",
            schedule=0,
        )
        for number, (stage, metric) in enumerate(made)
    ]
    serial = "B" if way == "other" else "A"
    node = Node(
        id="a", name="a", devices=(Device(index=0, backend="cpu", name="cpu", serial=serial),)
    )
    return Header(
        id="made",
        suite="spin",
        started="2026-01-01T00:00:00+00:00",
        executor="local",
        provenance="simulated" if way == "simulated" else "stand-in",
        nodes=[node],
        cases=cases,
        schedules=[ScheduleSpec(kind="devices", scope="device", groups=1)],
    )


def value(way: str, number: int) -> float | None:
    usual = 1.0 + number % 3 / 1000
    return {"zero": 0.0, "nan": None, "slow": 1.5 * usual}.get(way, usual)


def statuses(way: str, number: int) -> Status:
    if way == "flaky":
        return "invalid" if number == 3 else "ok"
    return {"invalid": "invalid", "skipped": "skipped"}.get(way, "ok")  # type: ignore[return-value]


def write(way: str, folder: Path, stages: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    one = header(way, stages)
    raw = msgspec.json.encode(one)
    if stages:
        raw = {"damaged": b"{", "schema": b'{"schema": 99}'}.get(way, raw)
    (folder / RUN).write_bytes(raw)
    rows = [
        Row(case.id, 0, 0, 1.0, made, made, made, 9, status, -1, "stand-in", "a reason")
        for case in one.cases
        for made in [value(way, case.id)]
        for status in [statuses(way, case.id)]
    ]
    (folder / ROWS).write_bytes(msgspec.json.Encoder().encode_lines(rows))


def tell(stage: str, folder: Path, protocol: int = 1) -> None:
    line = json.dumps({"gate_side": protocol, "stage": stage, "folder": str(folder)})
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    way = sys.argv[1]
    folder = Path(sys.argv[sys.argv.index("--out") + 1], "made")
    if way == "rubbish":
        for number in itertools.count():
            sys.stdout.write(f"loading {number}\n")
    if way == "endless":
        while True:
            sys.stdout.buffer.write(b"\xff" * 65536)
    if way == "mute":
        time.sleep(600)
    write(way, folder, [])
    tell("", Path("/none") if way == "unseen" else folder, 2 if way == "protocol" else 1)
    stages: list[str] = []
    for line in sys.stdin:
        stages.append(line.strip())
        if len(stages) == 3:
            if way == "crash":
                sys.exit("out of memory on device 0")
            if way == "shouting":
                sys.exit("first\n  ::set-output name=x::y\n##[set-output name=x]y\n\x1b[31mred")
            if way == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if way == "deaf":
                os.close(1)
                time.sleep(600)
            if way == "hang":
                time.sleep(600)
        if way == "chatty":
            sys.stdout.write('loading 50 %\n{"stage": 3}\n[[[\n')
        write(way, folder, stages)
        tell(stages[-1], folder)


if __name__ == "__main__":
    main()
