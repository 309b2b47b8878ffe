"""The executor over agents: what it makes of pages, however their agents end."""

import msgspec
import pytest

from bench.cluster.agents import AgentExecutor, Arrived, Hub
from bench.cluster.engine import execute
from bench.cluster.executor import Event, Page
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
