"""Run folders that were simulated, or written by hand, for tests of what is made of them."""

from __future__ import annotations

import functools
import shutil
import tempfile
from pathlib import Path

import msgspec

from bench.cluster.engine import execute
from bench.cluster.simulated import SimulatedExecutor
from bench.configs import Cluster, Fault, load_chips, load_suite, suite_from_text
from bench.records import Case, Device, Header, Node, Row, ScheduleSpec

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
