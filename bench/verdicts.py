"""What ``hengsuan certify`` says (``verdict.json``): a verdict per node, with its evidence.

A node is ``accept``-ed where everything that had to be measured on it was, and nothing was found;
``reject``-ed where something was found that re-testing did not take back; else ``inconclusive``:
what is missing, contended, skipped or not yet sure never counts as good.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from .errors import InfraError, UsageError
from .files import document, replace_file
from .headers import UNDECODABLE, read_versioned
from .identity import Identity
from .records import Better, Provenance

VERDICT_SCHEMA = 1
VERDICT = "verdict.json"

Word: TypeAlias = Literal["accept", "reject", "inconclusive"]
WORD_MEANING: dict[Word, str] = {
    "accept": "everything that had to be measured on it was, and nothing was found",
    "reject": "something was found that re-testing did not take back",
    "inconclusive": "something is missing, contended, skipped or not yet sure",
}
WORDS: tuple[Word, ...] = tuple(WORD_MEANING)

Against: TypeAlias = Literal[
    "sanity",
    "fault",
    "corruption",
    "floor",
    "datasheet",
    "fleet",
    "baseline",
    "history",
    "fabric",
    "drift",
    "coverage",
]
AGAINST_MEANING: dict[Against, str] = {
    "sanity": "a check of the result did not hold",
    "fault": "the node, a rank or a benchmark was lost; hardware errors were counted",
    "corruption": "equal work gave unequal bits",
    "floor": "a limit that the profile states",
    "datasheet": "what datasheet and topology predict",
    "fleet": "the nodes of the same chip that were measured with it",
    "baseline": "the nodes of an already proven run",
    "history": "the node itself, in earlier runs",
    "fabric": "the other nodes' links (the fabric model)",
    "drift": "what the majority says of itself",
    "coverage": "what had to be measured and was not",
}


class Evidence(msgspec.Struct, kw_only=True, frozen=True):
    """One thing that was found about a node, and all that a reader needs to check it."""

    verdict: Word
    """What it alone makes of the node."""
    against: Against
    """What it was held against."""
    text: str
    """The finding as a sentence."""
    stage: str = ""
    """Of the suite."""
    metric: str = ""
    """The case's short name and metric (``gemm 8192x8192x8192 bf16 flops``), empty for what is no
    measurement."""
    device: str = ""
    """The ``node/index`` that it is of, empty for the node as a whole."""
    unit: str = ""
    """Of ``value`` and ``expected``."""
    better: Better = "higher"
    """Which way is better."""
    value: float | None = None
    """That was measured."""
    expected: float | None = None
    """What it is held against."""
    effect: float | None = None
    """Relative deviation towards worse (0.1: a tenth worse)."""
    low: float | None = None
    """Lower end of its 95 % interval."""
    high: float | None = None
    """Upper end of it."""
    percentile: float | None = None
    """Share of ``peers`` that are worse or equal, 0 to 100."""
    peers: int = 0
    """Units that were compared."""
    repeats: int = 0
    """How often it was measured."""
    conditions: dict[str, Any] = {}
    """Temperature (°C), power (W), clock (MHz), throttled."""
    cause: str = ""
    """What it is likely due to."""
    command: str = ""
    """Repeats this one check."""


class Waived(msgspec.Struct, kw_only=True, frozen=True):
    """A finding that somebody answers for until a day."""

    metric: str
    """The waiver's pattern."""
    finding: Evidence
    """What it keeps from counting."""
    reason: str
    """Why it does not count."""
    until: str
    """``YYYY-MM-DD``."""


class NodeVerdict(msgspec.Struct, kw_only=True, frozen=True):
    """One node."""

    node: str
    """Its name."""
    verdict: Word
    """Of the node."""
    chip: str = ""
    """Datasheet of its devices."""
    identity: Identity = Identity()
    """Which hardware this is (`identity.identities`)."""
    evidence: list[Evidence] = []
    """What speaks most against it first."""
    waived: list[Waived] = []
    """Findings that somebody answers for."""
    checks: dict[str, int] = {}
    """How much was measured, by status."""


class Certification(msgspec.Struct, kw_only=True):
    """``verdict.json``: all nodes of a run, and how they were judged."""

    schema: int = VERDICT_SCHEMA
    """Version of this form."""
    run: str
    """Its id."""
    suite: str
    """What was measured."""
    only: str = ""
    """The check of the suite that alone was asked for, empty where all were."""
    profile: str
    """By which limits."""
    provenance: Provenance
    """Of the run."""
    stands_for: str = ""
    """Chips that were stood in for."""
    began: str
    """UTC, ISO 8601."""
    finished: str
    """UTC, ISO 8601."""
    version: str = ""
    """Of hengsuan."""
    results: str = ""
    """SHA-256 of the run's rows."""
    nodes: list[NodeVerdict] = []
    """Their verdicts."""
    measured: int = 0
    """Cells: a metric of a unit, once."""
    retested: int = 0
    """Cells that were measured again."""
    notes: list[str] = []
    """What a reader must know, in sentences."""
    stopped: str = ""
    """Why it ended early, empty if it did not."""
    drain: dict[str, list[str]] = {}
    """Commands by scheduler."""
    undrain: dict[str, list[str]] = {}
    """Likewise."""

    def count(self, word: Word) -> int:
        """How many nodes have this verdict."""
        return sum(node.verdict == word for node in self.nodes)


def write_verdict(folder: Path, found: Certification) -> Path:
    """Put ``verdict.json`` into a run's folder, all of it at once; its path.

    Raises `InfraError` if the folder cannot be written.
    """
    file = folder / VERDICT
    try:
        replace_file(file, document(found))
    except OSError as error:
        raise InfraError(
            f"cannot write: {error.strerror or error}",
            where=str(file),
            hint="check the folder's permissions and its disk",
        ) from None
    return file


def read_verdict(folder: Path) -> Certification:
    """What was said of a run.

    Raises:
        UsageError: nothing yet, or by a hengsuan of another schema.
        InfraError: ``verdict.json`` cannot be read or is damaged.
    """
    file = folder / VERDICT
    try:
        raw = read_versioned(file, VERDICT_SCHEMA)
    except FileNotFoundError:
        raise UsageError(
            f"no verdict here: {folder} holds no {VERDICT}",
            hint="`hengsuan certify --from RUN` judges a run",
        ) from None
    try:
        return msgspec.json.decode(raw, type=Certification)
    except UNDECODABLE as error:
        raise InfraError(f"{VERDICT} is damaged: {error}", where=str(file)) from None
