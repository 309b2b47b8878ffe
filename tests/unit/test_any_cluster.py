"""Any cluster is planned, or refused in a sentence, and whatever it measured is told.

Nodes without devices stand anywhere, kinds of chip are mixed in any order, names are shared, some
nodes lack a label; rows have any status, some are not there, and some values are no time or rate.
"""

import itertools
import math
import random
import traceback

import msgspec
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.cli import cli
from bench.cluster.engine import job_count
from bench.cluster.planning import plan
from bench.configs import load_chips, load_suite, names
from bench.errors import HengsuanError, UsageError
from bench.headers import RUN
from bench.inventory import Inventory
from bench.records import STATUSES, Device, Header, Node, Row
from bench.results import ROWS
from bench.rounds import schedule_for

CHIPS = load_chips()
SUITES = sorted(set(names("suites")))


@st.composite
def clusters(draw):
    kinds = draw(st.lists(st.sampled_from(["h200-sxm", "sim-a", None]), min_size=1, max_size=2))
    counts = draw(st.lists(st.integers(0, 4), min_size=1, max_size=5).filter(any))
    labelled = draw(st.booleans())
    return Inventory([a_node(draw, n, count, kinds, labelled) for n, count in enumerate(counts)])


def a_node(draw, number, count, kinds, labelled):
    chip = draw(st.sampled_from(kinds))
    backend = "cuda" if chip else "cpu"
    labels = draw(st.fixed_dictionaries({"site": st.sampled_from("ab")}, optional={
        "rack": st.sampled_from("xyz")}))  # fmt: skip
    return Node(
        id=f"i{number}",
        name=draw(st.sampled_from([f"n{number}", "same"])),
        machine=draw(st.sampled_from([f"m{number}", "one"])),
        backend=backend if count else "",
        collectives="nccl" if chip else "gloo",
        labels=labels if labelled else {},
        problem="" if count else "its agent failed",
        devices=tuple(
            Device(
                index=index,
                backend=backend,
                name=chip or "cpu",
                chip=chip,
                memory=draw(st.sampled_from([0, 1 << 30, 80 << 30])),
                weak=not chip,
                lane="" if chip else f"core-{index}",
            )
            for index in range(count)
        ),
    )


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(clusters(), st.sampled_from(SUITES))
def test_it_is_planned_and_counted_or_refused(inventory, name):
    try:
        made = plan(load_suite(name), inventory, CHIPS)
    except UsageError:
        return
    schedules = [schedule_for(spec, inventory) for spec in made.schedules]
    for spec, schedule in zip(made.schedules, schedules, strict=True):
        groups = dict(groups_of(schedule))
        assert len(groups) == schedule.count == spec.groups
        assert all(groups.values())
        assert {schedule.members(group) for group in groups} == set(groups.values())
        for together in schedule.walk():
            ranks = list(itertools.chain(*(batch.ranks.ravel().tolist() for batch in together)))
            assert len(ranks) == len(set(ranks))
    for stage in made.stages:
        assert job_count(made, stage, inventory) == sum(
            block.repeats * len(block.jobs) * schedules[block.schedule].count
            for block in stage.blocks
        )


def groups_of(schedule):
    for together in schedule.walk():
        for batch in together:
            for group, ranks in zip(batch.ids.tolist(), batch.ranks.tolist(), strict=True):
                yield group, tuple(ranks)


def told(inventory, name, chance, folder):
    """Two runs of a suite on a cluster, a day apart; None where it cannot be planned."""
    try:
        made = plan(load_suite(name), inventory, CHIPS)
    except UsageError:
        return None
    by_schedule = [list(groups_of(schedule_for(spec, inventory))) for spec in made.schedules]
    good = chance.choice([1.0, 0.9, 0.5, 0.0])
    for day in (1, 2):
        rows = [
            a_row(chance, case, group, good)
            for case in made.cases
            for group, _ in by_schedule[case.schedule]
            if chance.random() > 0.03
        ]
        header = Header(
            id=f"run-{day}",
            suite=name,
            started=f"2026-01-0{day}T00:00:00+00:00",
            finished=f"2026-01-0{day}T01:00:00+00:00",
            state=chance.choice(["complete", "interrupted"]),
            executor="ray",
            provenance="measured",
            nodes=inventory.nodes,
            cases=made.cases,
            schedules=made.schedules,
            stages=[{"name": stage.name, "began": 0.0, "seconds": 1.0} for stage in made.stages],
        )
        path = folder / header.id
        path.mkdir(parents=True, exist_ok=True)
        (path / RUN).write_bytes(msgspec.json.encode(header))
        (path / ROWS).write_bytes(msgspec.json.Encoder().encode_lines(rows))
    return folder / "run-1", folder / "run-2"


def a_row(chance, case, group, good):
    status = "ok" if chance.random() < good else chance.choice(STATUSES)
    value = None
    if status in ("ok", "contended"):
        value = (case.expected or 10.0) * chance.lognormvariate(0, 0.05)
        if case.unit == "digest":
            value = 7.0
        if chance.random() < 0.02:
            value = chance.choice([0.0, -1.0, math.nan, math.inf])
    ends = (None, None) if value is None else (value * 0.99, value * 1.01)
    reason = "" if status == "ok" else "because"
    return Row(case.id, group, 0, 1.0, value, *ends, 9, status, -1, "measured", reason)


VERBS = (
    *(("results", verb, "RUN") for verb in ("show", "fabric", "facts", "links", "roofline")),
    ("results", "scaling", "RUN"),
    ("results", "diff", "BEFORE", "RUN"),
    ("compare", "BEFORE", "RUN"),
    ("report", "RUN", "--output", "-"),
    ("report", "RUN", "--output", "-", "--lang", "zh"),
    ("report", "RUN", "--format", "md"),
    ("report", "RUN", "--format", "openmetrics"),
    ("score", "RUN"),
    ("expect", "RUN"),
    ("certify", "--from", "RUN"),
    ("gate", "check", "RUN", "--baseline", "BEFORE"),
)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(clusters(), st.sampled_from(SUITES), st.sampled_from(VERBS), st.integers(0, 1 << 30))
def test_whatever_it_measured_is_told(tmp_path_factory, inventory, name, words, seed):
    runs = told(inventory, name, random.Random(seed), tmp_path_factory.mktemp("runs"))
    if runs is None:
        return
    places = {"RUN": str(runs[1]), "BEFORE": str(runs[0])}
    done = CliRunner().invoke(cli, [places.get(word, word) for word in words])
    # What is wrong with what was asked for is a sentence, as of a gate that nothing can decide.
    expected = done.exception is None or isinstance(done.exception, (SystemExit, HengsuanError))
    assert expected, "".join(traceback.format_exception(done.exception))
    assert "Traceback" not in done.output
