"""The executor over agents: what it makes of pages, however their agents end."""

import itertools
import os
import signal

import msgspec
import pytest

from bench.cluster.agents import AgentExecutor
from bench.cluster.engine import execute
from bench.cluster.executor import Event, Page
from bench.cluster.hub import Arrived, Hub
from bench.cluster.observer import Observer
from bench.configs import Entry, StageConfig, Suite
from bench.errors import InfraError
from bench.records import Device, Node, Row
from bench.results import RunReader


class Failing(Hub):
    """One node whose agent fails in a stage of three jobs.

    It says so first, and then hands over what it has measured: the first two.
    """

    name = "failing"

    def nodes(self):
        device = Device(index=0, backend="cpu", name="CPU", stand_in=True)
        return [Node(id="0", name="n0", machine="m0", backend="cpu", devices=(device,))]

    def start(self, node, order):
        lost = Event(time=0.0, kind="agent-lost", text="the agent failed: KeyError: 7", node="n0")
        rows = [
            Row(case, 0, 0, 1.0, 2.0, 2.0, 2.0, 9, "ok", -1, "stand-in", "")
            for job in order.jobs[0][:2]
            for case in range(job.case, job.case + len(job.metrics))
        ]
        self.pages = [Page(events=[lost]), *(Page(rows=[row]) for row in rows)]

    def poll(self, timeout):
        page = msgspec.json.encode(self.pages.pop(0))
        return [Arrived(0, page, ended=not self.pages)]

    def drop(self, node):
        pass

    def cancel(self):
        pass

    def close(self):
        pass


def test_what_a_failed_agent_has_measured_is_kept(tmp_path):
    sizes = ["1KiB", "2KiB", "4KiB"]
    entry = Entry(benchmark="stream", axes={"op": "copy", "size": sizes, "impl": "torch"})
    suite = Suite(name="test", rule={}, stages=[StageConfig(name="only", entries=[entry])])
    ended = execute(
        suite,
        AgentExecutor(Failing(), {}),
        tmp_path,
        "run",
        chips={},
        command=["test"],
        environment={},
    )
    reader = RunReader(ended.folder)
    rows = [row for row in reader.rows() if reader.header.cases[row.case].metric == "bandwidth"]
    assert [row.status for row in rows] == ["ok", "ok", "missing"]
    assert rows[2].reason == "node n0: the agent failed: KeyError: 7"
    assert ended.lost == ["n0: the agent failed: KeyError: 7"]


class Leaving(Failing):
    """Two nodes of which a poll brings the pages together, and the last ones after a cancel."""

    def nodes(self):
        (one,) = super().nodes()
        return [one, msgspec.structs.replace(one, id="1", name="n1", machine="m1")]

    def start(self, node, order):
        self.orders = getattr(self, "orders", {}) | {node: order}
        self.held = []

    def _page(self, node, place):
        (visit,) = self.orders[node].visits
        job = self.orders[node].jobs[0][place]
        cases = range(job.case, job.case + len(job.metrics))
        rows = [
            Row(c, visit.group, 0, 1.0, 2.0, 2.0, 2.0, 9, "ok", -1, "stand-in", "") for c in cases
        ]
        return Arrived(node, msgspec.json.encode(Page(rows=rows)), ended=place == 1)

    def poll(self, timeout):
        return self.held or [self._page(node, 0) for node in (0, 1)]

    def cancel(self):
        self.held = [self._page(node, 1) for node in (0, 1)]


class Impatient(Observer):
    """Sends what Ctrl-C does at the first row."""

    def page(self, page):
        if page.rows:
            os.kill(os.getpid(), signal.SIGINT)


def test_what_arrived_with_the_page_at_which_a_run_was_interrupted_is_kept(tmp_path):
    axes = {"op": "copy", "size": ["1KiB", "2KiB"], "impl": "torch"}
    entry = Entry(benchmark="stream", axes=axes)
    suite = Suite(name="test", rule={}, stages=[StageConfig(name="only", entries=[entry])])
    ended = execute(
        suite,
        AgentExecutor(Leaving(), {}),
        tmp_path,
        "run",
        chips={},
        command=["test"],
        environment={},
        observer=Impatient(),
    )
    assert ended.header.state == "interrupted"
    reader = RunReader(ended.folder)
    rows = [row for row in reader.rows() if reader.header.cases[row.case].metric == "bandwidth"]
    assert sorted((row.case, row.group) for row in rows) == sorted(
        (row.case, group) for row in rows[:1] + rows[-1:] for group in (0, 1)
    )


class Falls(Failing):
    """Two nodes that measure one group a turn and give up the rest; some turns the second is lost.

    Attributes:
        turns: What was asked for, turn by turn: the orders by node.
    """

    name = "falls"

    def __init__(self, lost_in=()):
        self.turns = []
        self.lost_in = lost_in
        self.waiting = {}

    def nodes(self):
        (one,) = super().nodes()
        return [
            msgspec.structs.replace(one, id=str(n), name=f"n{n}", machine=f"m{n}") for n in range(2)
        ]

    def start(self, node, order):
        if not self.waiting:
            self.turns.append({})
        self.turns[-1][node] = self.waiting[node] = order

    def poll(self, timeout):
        node, order = self.waiting.popitem()
        if len(self.turns) in self.lost_in and node == 1:
            return [Arrived(node, lost="does not answer")]
        first = min(order.visits, key=lambda visit: visit.step)
        if first.members[0][0] != node:
            return [Arrived(node, msgspec.json.encode(Page()), ended=True)]
        rows = [
            Row(case, first.group, first.repeat, 1.0, 2.0, 2.0, 2.0, 9, "ok", -1, "stand-in", "")
            for index in first.jobs
            for case, _ in order.jobs[first.block][index].rows(first.group, first.ranks)
        ]
        return [Arrived(node, msgspec.json.encode(Page(rows=rows)), ended=True)]


def fallen(folder, hub, **place):
    """Times of a barrier between both, three times."""
    entry = Entry(benchmark="collectives", axes={"op": "barrier"}, place={"over": "pair", **place})
    stage = StageConfig(name="only", entries=[entry], repeats=3)
    suite = Suite(name="test", rule={}, stages=[stage])
    executor = AgentExecutor(hub, {})
    ended = execute(suite, executor, folder, "run", chips={}, command=["test"], environment={})
    reader = RunReader(ended.folder)
    return [row for row in reader.rows() if reader.header.cases[row.case].metric == "time"]


def test_what_nodes_out_of_step_gave_up_is_asked_for_again(tmp_path):
    hub = Falls()
    rows = fallen(tmp_path, hub, together=False)
    assert [(row.repeat, row.status) for row in rows] == [(0, "ok"), (1, "ok"), (2, "ok")]
    assert len(hub.turns) == 3
    asked = [[visit.repeat for visit in turn[0].visits] for turn in hub.turns]
    assert asked == [[0, 1, 2], [1, 2], [2]]
    numbers = [visit.id for turn in hub.turns for visit in turn[0].visits]
    assert len(set(numbers)) == 6
    spans = [turn[0].steps for turn in hub.turns]
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))
    for turn, (first, end) in zip(hub.turns, spans, strict=True):
        for order in turn.values():
            assert order.in_step
            assert [visit.step for visit in order.visits] == list(range(first, end))


def test_no_more_is_asked_of_the_lost_nor_of_who_keeps_step_with_nobody(tmp_path):
    hub = Falls(lost_in=(2,))
    rows = fallen(tmp_path / "lost", hub, together=False)
    assert len(hub.turns) == 2
    assert rows[0].status == "ok"
    assert rows[-1].reason == "node n1: does not answer"
    hub = Falls()
    rows = fallen(tmp_path / "free", hub)
    assert len(hub.turns) == 1
    assert [row.status for row in rows] == ["ok", "missing", "missing"]
    assert rows[-1].reason == "node n0 ended the stage without reporting"


class Mixed(Failing):
    """A node with an accelerator, and one where cores answer, for its own is broken."""

    def nodes(self):
        real = Device(index=0, backend="acme", name="Acme One")
        broken = {"broken": {"acme": "failed: driver too old"}}
        (cores,) = super().nodes()
        return [
            Node(id="1", name="n1", machine="m1", backend="acme", devices=(real,)),
            msgspec.structs.replace(cores, facts=broken),
        ]


def test_a_node_whose_accelerators_are_broken_is_named_where_its_cores_would_stand_in():
    with pytest.raises(InfraError) as caught:
        AgentExecutor(Mixed(), {}).inventory()
    assert "node n0: acme failed: driver too old; cpu is measured in its place" in str(caught.value)
    assert caught.value.hint == "measure one kind: --backend acme"
