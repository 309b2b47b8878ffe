"""What a page of the manual has, and files that several verbs speak of."""

from __future__ import annotations

from typing import NamedTuple

RUNS = {
    "results/RUN/run.json": "nodes, cases, schedules, stages, events",
    "results/RUN/measurements.jsonl": "a row for every metric of every case on every group",
    "results/RUN/samples.jsonl": "the samples behind the rows",
    "results/RUN/conditions.jsonl": "clocks, affinity and other conditions that rows refer to",
    "results/RUN/ledger.jsonl": "where the wall time of each job went",
    "results/RUN/telemetry.jsonl": "what nodes and devices said of themselves meanwhile",
}
CONFIGURATION = {
    "~/.config/hengsuan": "your own suites, profiles, chips; HENGSUAN_CONFIG_PATH has more",
}
STORE = {"~/.pgpass": "the store's password, which belongs into no command line"}


class Page(NamedTuple):
    """Of one verb.

    ``examples``: whole commands, and what each is for. ``files``: what it reads or writes.
    ``see``: other verbs.
    """

    examples: dict[str, str]
    files: dict[str, str] = {}
    see: tuple[str, ...] = ()
