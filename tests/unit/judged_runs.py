"""Folders of runs that were judged, for tests of what is signed and printed of them."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).parent))
from made_runs import case, header

from bench.files import sha256
from bench.headers import RUN
from bench.identity import identity_of
from bench.records import Device, Node, Row
from bench.results import ROWS
from bench.verdicts import Certification, Evidence, NodeVerdict, write_verdict

FINISHED = "2026-03-01T12:00:00Z"


def node(name: str, chip: str = "acme-1", labels: dict | None = None) -> Node:
    return Node(
        id=f"ray-{name}",
        name=name,
        machine=f"machine-{name}",
        backend="acme",
        devices=tuple(
            Device(index=i, backend="acme", name="Acme One", chip=chip, serial=f"{name}-{i}")
            for i in range(2)
        ),
        labels=labels or {"site": "beijing"},
        facts={"versions": {"driver": "535.1"}, "kernel": "6.8"},
    )


def evidence(**changes) -> Evidence:
    rest = {
        "verdict": "reject",
        "against": "fleet",
        "text": "gemm 8192 bf16 flops is 10 % below the fleet",
        "metric": "gemm 8192x8192x8192 bf16 flops",
        "unit": "FLOP/s",
        "value": 90e12,
        "expected": 100e12,
        "effect": 0.1,
        "low": 0.08,
        "high": 0.12,
        "percentile": 0.2,
        "peers": 511,
        "repeats": 7,
        "cause": "cooling: hot and throttled",
        "command": "hengsuan certify --nodes gpu-02 --only gemm",
    }
    return Evidence(**{**rest, **changes})


def judged(
    *verdicts: tuple[str, str], provenance: str = "measured", **changes
) -> tuple[list[Node], Certification]:
    """From (name, verdict): nodes, and the verdict on them."""
    nodes = [node(name) for name, _ in verdicts]
    said = [
        NodeVerdict(
            node=name,
            verdict=word,
            chip="acme-1",
            identity=identity_of(one),
            checks={"ok": 12},
            evidence=[] if word == "accept" else [evidence(verdict=word)],
        )
        for (name, word), one in zip(verdicts, nodes, strict=True)
    ]
    rest = {"run": "run", "suite": "certify", "profile": "default", "provenance": provenance}
    times = {"began": "2026-03-01T11:00:00Z", "finished": FINISHED}
    return nodes, Certification(**{**rest, **times, "nodes": said, **changes})


def judged_run(folder: Path, *verdicts: tuple[str, str], **changes) -> Path:
    """A run's folder with its header, two rows and its verdict."""
    nodes, found = judged(*verdicts, **changes)
    folder.mkdir(parents=True)
    one = header(
        case(0), fleet=None, nodes=nodes, provenance=found.provenance, suite="certify",
        environment={"versions": {"hengsuan": "1.0", "torch": "2.13.0"}},
    )  # fmt: skip
    rows = [
        Row(0, group, 0, 1.0, 1e12, 1e12, 1e12, 9, "ok", -1, found.provenance, "")
        for group in range(2)
    ]
    (folder / RUN).write_bytes(msgspec.json.encode(one))
    (folder / ROWS).write_bytes(msgspec.json.Encoder().encode_lines(rows))
    found.results = found.results or sha256(folder / ROWS)
    write_verdict(folder, found)
    return folder
