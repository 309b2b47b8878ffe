"""A run's results as metrics, for Prometheus and what understands its formats.

OpenMetrics 1.0 (prometheus.io/docs/specs/om/open_metrics_spec) is what `exposition` gives and
scrapers ask for; files for the textfile collector of node_exporter are in the text format before
it. How many series there are is bounded: where devices and nodes have more than `MOST` values, only
each benchmark's median and ends are told, and how many were left out.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.exposition import generate_latest as plain_text
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.registry import Collector

from ..analysis.graph import Floats
from ..analysis.joining import what
from ..analysis.summary import CaseSummary, group_medians, members, rows_by_case, summarize
from ..analysis.table import key_of, nodes_of, units_of
from ..certificates.certificate import results_digests
from ..errors import HengsuanError
from ..inventory import Ints, Inventory
from ..records import DIGEST, PROVENANCES, STATUSES, Case, Header
from ..results import ROWS, Columns, RunReader
from ..rounds import schedule_for
from ..runs import moment
from ..verdicts import read_verdict

MOST = 20_000
"""Series of devices and nodes, of each family, that one exposition has at most."""
LONGEST = 200
"""Characters of a label's value that are told."""
PREFIX = "hengsuan"


class Served(Collector):
    """What a server or a writer collects: what ``give`` gives at that moment."""

    def __init__(self, give: Callable[[], Iterable[Metric]]) -> None:
        self._give = give

    def collect(self) -> Iterable[Metric]:
        """Families of metrics."""
        return self._give()

    def restricted_registry(self, names: Iterable[str]) -> Served:
        """Those of these names alone: what a request asks for by ``name[]``."""
        wanted = set(names)
        return Served(lambda: [one for one in self._give() if wanted & _names(one)])


def _names(family: Metric) -> set[str]:
    """What a family is called, and its samples."""
    return {family.name, *(one.name for one in family.samples[:1])}


def exposition(reader: RunReader) -> str:
    """A run in OpenMetrics' text format, ending in ``# EOF``.

    Raises `InfraError` and `UsageError` as `RunReader.columns` does.
    """
    return text(results(reader))


def text(families: Iterable[Metric], *, classic: bool = False) -> str:
    """Families in OpenMetrics' text format; ``classic``: in that of node_exporter's files."""
    write = plain_text if classic else generate_latest
    found: bytes = write(Served(lambda: families))  # type: ignore[no-untyped-call, unused-ignore]
    return found.decode()


def gauge(name: str, about: str, labels: Sequence[str] = (), unit: str = "") -> GaugeMetricFamily:
    """An empty family ``hengsuan_NAME``; ``unit`` is one of OpenMetrics', and ends the name."""
    return GaugeMetricFamily(f"{PREFIX}_{name}", about, labels=labels, unit=unit)


def label(value: object) -> str:
    """A label's value: at most `LONGEST` characters, all of which can be written."""
    said = str(value).encode("utf-8", "replace").decode()
    return said if len(said) <= LONGEST else f"{said[: LONGEST - 1]}…"


def places(names: Iterable[str]) -> list[str]:
    """Labels of nodes, in their order; those that share a name are told apart by their place."""
    labels = [label(name) for name in names]
    shared = {one for one, count in Counter(labels).items() if count > 1}
    told = [f"{one}#{place}" if one in shared else one for place, one in enumerate(labels)]
    if len(set(told)) < len(told):  # somebody is called as another one and its place
        told = [f"{one}#{place}" for place, one in enumerate(labels)]
    return told


def left_out(count: int) -> Metric:
    """How many values had no room."""
    family = gauge("left_out_series", "Values of devices and nodes that are not told: too many.")
    family.add_metric([], count)
    return family


def results(reader: RunReader, most: int = MOST) -> list[Metric]:
    """What a run has measured, and what was said of its nodes where it was certified."""
    header, columns = reader.header, reader.columns()
    rows = rows_by_case(columns, len(header.cases))
    found = [_run(header), *_times(header), _rows(header, columns), _events(header)]
    found.append(_benchmarks(header, columns, rows))
    units = _Units(header, columns, rows)
    values, left = units.values(most)
    spoilt, more = units.spoilt(most)
    found += [values, spoilt]
    left += more
    with contextlib.suppress(HengsuanError):  # it was not certified
        labels = ("node", "verdict", "provenance", "rows")
        about = "What was said of a node, from all rows or from those that were there earlier: 1."
        verdicts = gauge("node_verdict", about, labels)
        said = read_verdict(reader.path)
        # A reject of before more was measured stands until somebody judges the run again.
        current = said.results == results_digests(reader.path).get(ROWS, "")
        made_from = "all" if current else "earlier"
        named = zip(places(one.node for one in said.nodes), said.nodes, strict=True)
        # Whoever is not accepted must be told, however many there are.
        worst = sorted(named, key=lambda one: one[1].verdict == "accept")
        for name, node in worst[:most]:
            verdicts.add_metric([name, node.verdict, said.provenance, made_from], 1)
        left += len(worst[most:])
        found.append(verdicts)
    return [*found, left_out(left)]


def _run(header: Header) -> Metric:
    said = {
        "run": header.id,
        "suite": header.suite,
        "state": header.state,
        "executor": header.executor,
        "provenance": header.provenance,
        "stands_for": header.stands_for,
    }
    values = {name: label(value) for name, value in said.items()}
    return InfoMetricFamily(f"{PREFIX}_run", "The run that these metrics are of.", value=values)


def _times(header: Header) -> Iterator[Metric]:
    for name, at in (("started", header.started), ("finished", header.finished)):
        family = gauge(f"run_{name}_timestamp", f"When it {name}, since 1970.", unit="seconds")
        # It has not, or is of somebody's hand.
        if (when := moment(at or "")) is not None:
            family.add_metric([], when)
        yield family


def _rows(header: Header, columns: Columns) -> Metric:
    family = gauge("rows", "Measurements by status.", ("status", "provenance"))
    codes = columns.status.astype(np.int64) * len(PROVENANCES) + columns.provenance
    for code, count in zip(*np.unique(codes, return_counts=True), strict=True):
        status, provenance = divmod(int(code), len(PROVENANCES))
        family.add_metric([STATUSES[status], PROVENANCES[provenance]], int(count))
    return family


def _events(header: Header) -> Metric:
    family = gauge("events", "What befell nodes and ranks, by kind.", ("kind",))
    kinds = [str(event["kind"]) for event in header.events]
    for kind in sorted(set(kinds)):
        family.add_metric([label(kind)], kinds.count(kind))
    return family


_NAMED = ("benchmark", "metric", "unit", "provenance")


def _benchmarks(header: Header, columns: Columns, rows: Sequence[Any]) -> Metric:
    """Of every case its spread over groups; of a group measured again, what came last."""
    family = gauge(
        "benchmark",
        "A metric over all that measured it: its median, its worst and its best.",
        (*_NAMED, "statistic"),
    )
    measured: dict[tuple[str, ...], list[CaseSummary]] = {}
    for one in summarize(header, columns):
        if one.median is not None:
            measured.setdefault(_identity(header, one.case), []).append(one)
    for labels, those in measured.items():
        last = those[-1]
        told = last.median, last.worst, last.best
        if len(those) > 1:
            # A re-test has the suspects alone: they are not all that measured it.
            values = _last_of_each(header, columns, rows, [one.case for one in those])
            ends = float(values.min()), float(values.max())
            ends = ends if last.case.better == "higher" else ends[::-1]
            told = float(np.median(values)), *ends
        for statistic, value in zip(("median", "worst", "best"), told, strict=True):
            assert value is not None
            family.add_metric([*labels, statistic], value)
    return family


def _last_of_each(
    header: Header, columns: Columns, rows: Sequence[Any], cases: Iterable[Case]
) -> Floats:
    """float64[groups]: of each group of ranks, in whichever of the cases, its last median."""
    inventory = Inventory(header.nodes, header.fleet)
    met: dict[int, list[tuple[Ints, Floats]]] = {}
    for case in cases:
        groups, medians = group_medians(columns, rows[case.id])
        for whole in schedule_for(header.schedules[case.schedule], inventory).rounds():
            for ids, ranks in whole:
                has = np.isin(ids, groups)
                values = medians[np.searchsorted(groups, ids[has])]
                met.setdefault(ranks.shape[1], []).append((ranks[has], values))
    found = []
    for parts in met.values():  # groups of other sizes are other groups
        ranks, values = (np.concatenate(each)[::-1] for each in zip(*parts, strict=True))
        found.append(values[np.unique(ranks, axis=0, return_index=True)[1]])
    return np.concatenate(found)


def _identity(header: Header, case: Case) -> tuple[str, ...]:
    """What tells a metric from others, as labels: the choice of groups is none of it."""
    name = f"{case.short()}{members(what(header.schedules[case.schedule]))}"
    return label(name), case.metric, label(case.unit), header.provenance


class _Units:
    """Rows of devices and nodes: those of groups over several nodes are nobody's."""

    def __init__(self, header: Header, columns: Columns, rows: Sequence[Any]) -> None:
        self._header, self._columns, self._rows = header, columns, rows
        self._inventory = Inventory(header.nodes, header.fleet)
        count = self._inventory.node_count
        self._names = places(map(self._inventory.name, range(count)))
        self._of: dict[int, tuple[Ints, Ints]] = {}

    def values(self, most: int) -> tuple[Metric, int]:
        """The median of each unit and metric, none where there are too many; how many there are."""
        family = gauge(
            "measurement",
            "A metric of one device, or of one node where device is empty: the median of repeats.",
            ("node", "device", *_NAMED),
        )
        last: dict[bytes, list[Case]] = {}
        for case in self._header.cases:
            if case.scope != "pair" and case.unit != DIGEST:
                last.setdefault(key_of(self._header, case), []).append(case)
        labels = {_identity(self._header, cases[-1]): cases for cases in last.values()}
        told: dict[tuple[str, ...], list[tuple[Ints, Any]]] = {}
        for identity, cases in labels.items():
            told[identity] = []
            for case in cases:
                groups, medians = group_medians(self._columns, self._rows[case.id])
                units = self._units(case, groups)
                known = units >= 0
                told[identity].append((units[known], medians[known]))
        # A re-test has some of those that its stage had.
        count = sum(max(units.size for units, _ in parts) for parts in told.values())
        if count > most:
            return family, count
        for identity, parts in told.items():
            of: dict[int, float] = {}
            for units, medians in parts:  # re-tests come last, and count
                of.update(zip(units.tolist(), medians.tolist(), strict=True))
            for place, value in zip(self._places(list(of)), of.values(), strict=True):
                family.add_metric([*place, *identity], value)
        return family, 0

    def spoilt(self, most: int) -> tuple[Metric, int]:
        """Rows of each node that do not count, by status; how many series had no room."""
        labels = ("node", "status", "provenance")
        family = gauge("node_rows", "Rows of a node that have no value to count.", labels)
        counts = np.zeros((self._inventory.node_count, len(STATUSES)), dtype=np.int64)
        for case, rows in zip(self._header.cases, self._rows, strict=True):
            bad = rows[self._columns.status[rows] != STATUSES.index("ok")]
            bad = bad[self._columns.status[bad] != STATUSES.index("skipped")]
            if case.scope == "pair" or not bad.size:
                continue
            units = self._units(case, self._columns.group[bad])
            known = units >= 0
            nodes = nodes_of(self._inventory, units[known])
            np.add.at(counts, (nodes, self._columns.status[bad[known]]), 1)
        every = np.argwhere(counts)
        for node, status in every[:most].tolist():
            said = [self._names[node], STATUSES[status], self._header.provenance]
            family.add_metric(said, int(counts[node, status]))
        return family, len(every[most:])

    def _units(self, case: Case, groups: Ints) -> Ints:
        """int64[groups]: the unit of each group, -1 where it has none."""
        if case.schedule not in self._of:
            spec = self._header.schedules[case.schedule]
            self._of[case.schedule] = units_of(schedule_for(spec, self._inventory), self._inventory)
        ids, units = self._of[case.schedule]
        if not ids.size:
            return np.full(groups.size, -1, dtype=np.int64)
        place = np.minimum(np.searchsorted(ids, groups), ids.size - 1)
        return np.where(ids[place] == groups, units[place], -1)

    def _places(self, units: list[int]) -> Iterator[tuple[str, str]]:
        """Of each the node's name and the device's place in it (empty: the node itself)."""
        nodes = nodes_of(self._inventory, units)
        first = self._inventory.starts[nodes]
        for unit, node, start in zip(units, nodes.tolist(), first.tolist(), strict=True):
            device = str(unit - start) if unit < self._inventory.size else ""
            yield self._names[node], device
