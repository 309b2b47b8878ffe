"""Copies over a host link: both directions, from memory on any NUMA node, and checks that fail.

There is no accelerator here: copies are from host memory to host memory, by the code that runs on
one.
"""

import contextlib
import os
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from gloo_ranks import RULE, context

from bench.backends.base import Side, TorchBackend
from bench.backends.cpu import Cpu
from bench.host import numa
from bench.inventory import Inventory
from bench.records import Node
from bench.workloads.base import Facts, make, registry
from bench.workloads.expansion import expand
from bench.workloads.runner import run
from bench.workloads.transfer import Transfer

torch = pytest.importorskip("torch")


class Streaming(Cpu):
    """The host, with PyTorch's own streams of a CPU."""

    def side(self, device):
        return Side(torch.cpu, device)


class Copies(Transfer):
    """Measures also where device and host are one."""

    def refuse(self, context):
        pass


def measured(spoil=None, backend=None, **axes):
    """The outcome of copies of 1 MiB; ``spoil(bench)`` breaks something after the set-up."""
    axes = {"memory": "pageable", "size": 1 << 20, **axes}
    bench = Copies(**axes)
    if spoil is not None:
        setup = bench.setup

        def spoiled(given):
            setup(given)
            spoil(bench)

        bench.setup = spoiled
    given = context(0, 1)
    given.backend = backend or Streaming()
    return run(bench, given, RULE)


@pytest.mark.parametrize("direction", ["h2d", "d2h", "both"])
def test_every_direction_counts_what_it_moves(direction):
    outcome = measured(direction=direction)
    assert outcome.status == "ok", outcome.reason
    ways = 2 if direction == "both" else 1
    wanted = np.median(ways * (1 << 20) / np.array(outcome.seconds))
    assert outcome.values[0].value == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("way", [0, 1])
def test_a_copy_that_does_not_happen_or_is_not_whole_is_invalid(way):
    def nothing(bench):
        bench.copies[way] = (lambda: None, *bench.copies[way][1:])

    def one_byte(bench):
        copy, target, wanted = bench.copies[way]

        def short():
            copy()
            target[-1] = 7 if wanted[-1] != 7 else 8

        bench.copies[way] = (short, target, wanted)

    for spoil in (nothing, one_byte):
        outcome = measured(spoil, direction="both")
        assert outcome.status == "invalid"
        assert "the copy differs" in outcome.reason


def test_what_cannot_be_copied_is_skipped_with_the_reason():
    assert "cannot pin host memory" in measured(memory="pinned").reason
    assert "no second stream" in measured(backend=Cpu(), direction="both").reason
    assert "half of the device's memory is" in measured(size=1 << 30).reason
    nodes = ", ".join(map(str, numa.node_cores()))
    assert f"no NUMA node 99 with cores (it has {nodes})" in measured(numa=99).reason


def test_memory_lies_on_the_node_that_was_asked_for():
    before = os.sched_getaffinity(0)
    for node in numa.node_cores():
        outcome = measured(numa=node)
        assert outcome.status == "ok", outcome.reason
        assert f"host memory on NUMA node {node}; the host does not say" in outcome.reason
    assert os.sched_getaffinity(0) == before


def test_memory_that_lies_elsewhere_is_not_measured(monkeypatch):
    """As of a process that numactl tells to take its memory from another node."""
    monkeypatch.setattr(numa, "pages", lambda address: {5: 1 << 20})
    (node, *_) = numa.node_cores()
    outcome = measured(numa=node)
    assert outcome.status == "skipped"
    assert f"does not lie on NUMA node {node} (1048576 bytes on node 5)" in outcome.reason


def test_cores_that_are_closed_to_us_are_a_reason(monkeypatch):
    monkeypatch.setattr(numa, "node_cores", lambda: {0: [0], 7: [4095]})
    assert "may use no core of NUMA node 7" in measured(numa=7).reason


MAPS = """\
7f0000000000 default anon=3 dirty=3 active=0 N0=3 kernelpagesize_kB=4
7f0000100000 bind:1 file=/dev/zero\\040(deleted) anon=300 dirty=300 N0=44 N1=256 kernelpagesize_kB=4
7f0000f00000 default stack anon=3 dirty=3 N0=3 kernelpagesize_kB=4
"""


def test_pages_are_read_from_the_mapping_that_holds_the_address(tmp_path):
    maps = tmp_path / "numa_maps"
    maps.write_text(MAPS)
    assert numa.pages(0x7F0000180000, maps) == {0: 44 * 4096, 1: 256 * 4096}
    assert numa.pages(0x7F0000000000, maps) == {0: 3 * 4096}
    assert numa.pages(0x1000, maps) == {}
    assert numa.pages(0x1000, tmp_path / "none") == {}


def test_nodes_of_memory_alone_have_no_cores(tmp_path):
    for node, cpus in ((0, "0-1"), (1, "2,3"), (2, "")):
        folder = tmp_path / "sys/devices/system/node" / f"node{node}"
        folder.mkdir(parents=True)
        (folder / "cpulist").write_text(f"{cpus}\n")
    assert numa.node_cores(tmp_path) == {0: [0, 1], 1: [2, 3]}
    assert list(numa.node_cores(tmp_path / "none")) == [0]


def test_each_stands_for_every_node_that_any_host_has():
    facts = [
        {"0": {"cpus": "0-3"}},
        {"0": {"cpus": "0-3"}, "1": {"cpus": "4-7"}, "2": {"cpus": ""}},
    ]
    inventory = Inventory(
        [Node(id=str(n), name=str(n), facts={"numa": one}) for n, one in enumerate(facts)]
    )
    assert inventory.numa() == [0, 1]
    assert Inventory([Node(id="a", name="a")]).numa() == []
    cls = registry()["transfer"]
    axes = {"direction": ["h2d", "both"], "numa": "each"}
    assert [one["numa"] for one in expand(cls, axes, numa=[0, 1])] == [0, 1, 0, 1]
    # One node, and a fleet of which nothing is known: one case each.
    assert [one["numa"] for one in expand(cls, {"numa": "each"}, numa=[0])] == [0]
    (alone,) = expand(cls, {"numa": "each"})
    assert make("transfer", alone).numa is None


def test_both_directions_may_reach_twice_the_link():
    from bench.configs import load_chip

    facts = Facts(chip=load_chip("sim-a"))
    one, both = (make("transfer", {"direction": d}).expected(facts) for d in ("d2h", "both"))
    assert both["bandwidth"] == 2 * one["bandwidth"] > 0


def test_a_second_stream_is_there_where_the_stack_has_streams():
    class Acme(TorchBackend):
        name, device_type = "acme", "mps"  # a module of PyTorch without streams

    assert Acme().side(None) is None
    assert Cpu().side(torch.device("cpu")) is None
    made = Streaming().side(torch.device("cpu"))
    made.follow()
    assert made.run(lambda: 7) == 7
    made.join()


class Recorded:
    """A module of streams that writes down who waits for whom."""

    def __init__(self):
        self.said, self.current, outer = [], "main", self

        class Stream:
            def __init__(self, name):
                self.name = name

            def wait_stream(self, other):
                outer.said.append(f"{self.name} waits for {other.name}")

        self._streams = {name: Stream(name) for name in ("main", "side")}

    def Stream(self, device):
        return self._streams["side"]

    def current_stream(self, device):
        return self._streams[self.current]

    @contextlib.contextmanager
    def stream(self, stream):
        before, self.current = self.current, stream.name
        yield
        self.current = before


@pytest.mark.parametrize("memory", ["pageable", "pinned"])
def test_two_streams_begin_together_and_are_joined(memory):
    module = Recorded()
    bench = Copies(direction="both", memory=memory)
    bench.side = Side(module, None)
    bench.helper = None
    bench.copies = [
        (lambda way=way: module.said.append(f"{way} on {module.current}"), None, None)
        for way in ("h2d", "d2h")
    ]
    bench.step()
    assert module.said[0] == "side waits for main"
    assert set(module.said[1:3]) == {"h2d on main", "d2h on side"}
    assert module.said[3] == "main waits for side"


def test_the_nearest_node_is_named(tmp_path, monkeypatch):
    class Placed(Streaming):
        def place(self, device):
            return "0000:3B:00.0"

    (tmp_path / "0000:3b:00.0").mkdir()
    (tmp_path / "0000:3b:00.0" / "numa_node").write_text("1\n")
    monkeypatch.setattr("bench.workloads.transfer._DEVICES", tmp_path)
    (node, *_) = numa.node_cores()
    assert "the device is nearest to node 1" in measured(backend=Placed(), numa=node).reason
