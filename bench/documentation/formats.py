"""The page of files that hengsuan writes."""

from __future__ import annotations

from collections.abc import Iterator

from ..certificates.certificate import Signed
from ..gates import GATE, GateReport
from ..ledger import LEDGER, Ledger
from ..records import Conditions, Header, Row, Samples
from ..submissions.manifest import Manifest
from ..submissions.system import System
from ..telemetry import TELEMETRY, TelemetryHeader, TelemetryRow
from ..verdicts import VERDICT, Certification
from .markdown import kind, sections
from .structs import described

FILES: dict[str, tuple[str, tuple[type, ...]]] = {
    "run.json": (
        "In a run's folder: everything that rows refer to by id. Declared once, rewritten when a "
        "stage ends.",
        (Header,),
    ),
    "measurements.jsonl": (
        "In a run's folder: one line a metric of a case on a group, an array of the values "
        "below in their order. Lines are appended as results come in.",
        (Row,),
    ),
    "conditions.jsonl": (
        "In a run's folder: one line for every condition that was met; rows refer to it by its "
        "place.",
        (Conditions,),
    ),
    "samples.jsonl": (
        "In a run's folder: the samples behind rows, arrays as below (`--samples` says of which).",
        (Samples,),
    ),
    LEDGER: (
        "In a run's folder: where the wall time of each job on a group went, an array as below. "
        "Simulated and imported runs have none, nor have those of older versions.",
        (Ledger,),
    ),
    TELEMETRY: (
        "In a run's folder: what nodes and devices said of themselves meanwhile; a header, then a "
        "short row a look.",
        (TelemetryHeader, TelemetryRow),
    ),
    VERDICT: (
        "In a run's folder, by `hengsuan certify`: all nodes and how they were judged.",
        (Certification,),
    ),
    GATE: ("By `hengsuan gate ... --out`: a state for every metric that gates.", (GateReport,)),
    "certificate": ("By `hengsuan certificate sign`: what is said of one node, signed.", (Signed,)),
    "manifest.json": (
        "In a submission's archive: what it consists of; its signature is beside it.",
        (Manifest,),
    ),
    "system.json": (
        "In a submission's archive: what is declared; `system.yaml` as it is read.",
        (System,),
    ),
}
"""File → what it is, and the structs that it is of."""


def page() -> str:
    """All files, each with the structs that it holds."""
    return sections(
        "# Files that hengsuan writes",
        "Written by these types and read by them; a file of another `schema` is refused with a "
        "sentence. `hengsuan show schema` prints their JSON schemas.",
        *_files(),
        "# Parts of these files",
        *described([one for _, structs in FILES.values() for one in structs], level=2),
    )


def _files() -> Iterator[str]:
    lines = [
        f"- `{name}` ({', '.join(map(kind, structs))}): {about}"
        for name, (about, structs) in FILES.items()
    ]
    yield "\n".join(lines)
