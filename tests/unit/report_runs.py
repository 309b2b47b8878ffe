"""Run folders that were simulated, or written by hand, for tests of what is made of them."""

from __future__ import annotations

import functools
import shutil
import tempfile
from pathlib import Path

import msgspec
import numpy as np

from bench.cluster.engine import execute
from bench.cluster.simulated import SimulatedExecutor
from bench.configs import Cluster, Fault, load_chips, load_suite, suite_from_text
from bench.inventory import Inventory
from bench.records import Case, Device, Header, Node, Row, ScheduleSpec
from bench.rounds import schedule_for

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


@functools.cache
def _simulated(suite: str, nodes: int, devices: int, faults: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="hengsuan-report-"))
    chips = load_chips()
    cluster = Cluster(
        name="f",
        chip="sim-a",
        nodes=nodes,
        devices=devices,
        seed=2,
        labels={"rack": 2},
        typical={"*.error": 1e-3, "launch.time": 6e-6},
        faults=msgspec.json.decode(faults, type=list[Fault]),
    )
    made = suite_from_text(suite, "suite") if "\n" in suite else load_suite(suite)
    done = execute(
        made, SimulatedExecutor(cluster, chips), folder, made.name, chips=chips, command=["x"],
        environment={},
    )  # fmt: skip
    return done.folder


def simulated(target: Path, suite: str, nodes: int, devices: int, faults: tuple = ()) -> Path:
    """A run of its own in ``target``: a suite's name or text over a fleet."""
    text = msgspec.json.encode(list(faults)).decode()
    return Path(shutil.copytree(_simulated(suite, nodes, devices, text), target / "run"))


def written(target: Path, names: list[str], **changes) -> Path:
    """A run of two metrics over nodes of these names with two devices each, the last one slow."""
    nodes = [
        Node(
            id=f"n{i}",
            name=name,
            machine=f"m{i}",
            backend="acme",
            devices=tuple(
                Device(index=d, backend="acme", name="Acme 9", memory=1 << 34) for d in range(2)
            ),
        )
        for i, name in enumerate(names)
    ]
    common = {"stage": "device", "scope": "device", "better": "higher", "source": "0"}
    header = Header(
        id="20260101-000000-made",
        suite="made",
        started="2026-01-01T00:00:00+00:00",
        executor="local",
        provenance="measured",
        state="complete",
        nodes=nodes,
        cases=[
            Case(id=0, benchmark="gemm", axes={"shape": "8x8x8"}, metric="flops", unit="FLOP/s",
                 schedule=0, **common),
            Case(id=1, benchmark="stream", axes={"op": "copy"}, metric="bandwidth", unit="B/s",
                 schedule=0, **common),
        ],
        schedules=[ScheduleSpec(kind="devices", scope="device", groups=2 * len(names))],
    )  # fmt: skip
    header = msgspec.structs.replace(header, **changes)
    folder = target / header.id
    folder.mkdir()
    (folder / "run.json").write_bytes(msgspec.json.encode(header))
    rows = [
        Row(case, rank, 0, 1.0 + rank, (1e12 + 1e9 * rank) * (0.8 if rank // 2 == last else 1),
            None, None, 1, "ok", -1, "measured", "")
        for last in [len(names) - 1]
        for case in range(2)
        for rank in range(2 * len(names))
    ]  # fmt: skip
    (folder / "measurements.jsonl").write_bytes(msgspec.json.Encoder().encode_lines(rows))
    return folder


def paired(target: Path, labels: list[dict[str, str]], slow=None, links=None, **changes) -> Path:
    """A run of pairs of nodes, a node for each dict of labels; what is slow is so by a factor.

    Args:
        target: Where its folder comes.
        labels: Of the nodes, which are called n0, n1, ...
        slow: By node.
        links: By pair of nodes (the lower first), which is met in any case.
        changes: Of the header.
    """
    slow, links = slow or {}, links or {}
    nodes = [
        Node(id=f"i{i}", name=f"n{i}", machine=f"m{i}", labels=mine,
             devices=(Device(index=0, backend="acme", name="Acme 9", memory=1 << 34),))
        for i, mine in enumerate(labels)
    ]  # fmt: skip
    whole = {"of": "node", "schedule": "full"}
    drawn = {"of": "node", "schedule": "sample", "matchings": 4}
    spec = ScheduleSpec(kind="pairs", scope="pair", arguments=whole if len(nodes) < 40 else drawn)
    schedule = schedule_for(spec, Inventory(nodes))
    header = Header(
        id="20260101-000000-pairs",
        suite="made",
        started="2026-01-01T00:00:00+00:00",
        executor="local",
        provenance="measured",
        state="complete",
        nodes=nodes,
        cases=[
            Case(id=number, benchmark="pairs", axes={}, metric=metric, unit=unit, better=better,
                 schedule=0, stage="fabric", scope="pair", source="0")
            for number, (metric, unit, better) in enumerate(
                (("bandwidth", "B/s", "higher"), ("latency", "s", "lower")))
        ],
        schedules=[msgspec.structs.replace(spec, groups=schedule.size)],
    )  # fmt: skip
    header = msgspec.structs.replace(header, **changes)
    folder = target / header.id
    folder.mkdir(parents=True)
    (folder / "run.json").write_bytes(msgspec.json.encode(header))
    chance = np.random.default_rng(0)
    rows = []
    for group in range(schedule.size):
        a, b = sorted(schedule.members(group))
        speed = slow.get(a, 1.0) * slow.get(b, 1.0) * links.get((a, b), 1.0)
        for number, value in enumerate((1e10 * speed, 1e-5 / speed)):
            rows.append(Row(number, group, 0, 1.0 + group, value * chance.lognormal(0, 0.003),
                            None, None, 1, "ok", -1, "measured", ""))  # fmt: skip
    (folder / "measurements.jsonl").write_bytes(msgspec.json.Encoder().encode_lines(rows))
    return folder


def racks(nodes: int, rack: int = 4, pod: int = 8) -> list[dict[str, str]]:
    """Labels of nodes in racks of so many, in pods of so many."""
    return [{"rack": f"r{i // rack}", "pod": f"p{i // pod}"} for i in range(nodes)]
