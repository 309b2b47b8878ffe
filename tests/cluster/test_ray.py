"""The engine on real raylets: three nodes on this machine, some of which die."""

import os
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from processes import agents
from runs import findings, run, suite

pytestmark = pytest.mark.forked
ray = pytest.importorskip("ray", reason="Ray is not installed")

from bench.cli.ending import ended  # noqa: E402
from bench.cluster import ray_hub  # noqa: E402
from bench.cluster.agent import AgentSpec, new_token  # noqa: E402
from bench.cluster.agents import AgentExecutor  # noqa: E402
from bench.cluster.executor import Page  # noqa: E402
from bench.cluster.observer import Several  # noqa: E402
from bench.cluster.orders import Order  # noqa: E402
from bench.cluster.ray_hub import RayHub  # noqa: E402
from bench.errors import Exit, InfraError, UsageError  # noqa: E402


@pytest.fixture(scope="module")
def cluster(plugin):
    """A head that only manages, and three nodes of one core each."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_worker_niceness", "0")
        made = Cluster()
        made.add_node(num_cpus=0, include_dashboard=False, object_store_memory=80_000_000)
        made.nodes = [
            made.add_node(num_cpus=1, wait=False, object_store_memory=80_000_000) for _ in range(3)
        ]
        made.wait_for_nodes()
        yield made
        made.shutdown()


def executor(cluster, **options):
    spec = AgentSpec(token=new_token(), backend="cpu")
    return AgentExecutor(RayHub(spec, cluster.address, **options), {})


def when_measuring(folder, act):
    """Call ``act`` in a thread as soon as the first row is in the journal."""

    def wait():
        path = folder / "run" / "measurements.jsonl"
        stop = time.monotonic() + 240
        while time.monotonic() < stop:
            if path.exists() and path.stat().st_size:
                act()
                return
            time.sleep(0.05)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


class Counting:
    """A hub, and how often each node was started."""

    def __init__(self, hub):
        self._hub = hub
        self.starts = Counter()

    def __getattr__(self, name):
        return getattr(self._hub, name)

    def start(self, node, order):
        self.starts[node] += 1
        self._hub.start(node, order)


class Watch(Several):
    """A slow observer: how many pages were asked for while it had one in hand, at most."""

    pages = most = 0

    def page(self, page):
        self.pages += bool(page.rows)
        self.most = max(self.most, len(self.hub._pulls))
        time.sleep(0.01)


LONG = [("fixed", {"tag": list(range(30))})]


def test_three_nodes_measure_devices_pairs_and_everyone_together(cluster, tmp_path):
    made = suite(
        [("fixed", {})],
        [("faultygroup", {}, {"over": "all"}), ("faultygroup", {"victim": 0}, {"over": "node"})],
    )
    running, watch = executor(cluster), Watch()
    running.hub = watch.hub = Counting(running.hub)
    finished, rows = run(made, running, tmp_path, observer=watch)
    assert finished.exit is Exit.OK
    # Two stages are two calls a node, and a node is never asked for two pages at once.
    assert watch.hub.starts == {0: 2, 1: 2, 2: 2}
    assert watch.pages > 3
    assert watch.most <= 3
    nodes = finished.header.nodes
    assert len(nodes) == 3
    assert len({node.id for node in nodes}) == 3
    assert len(rows["fixed", "time"]) == sum(len(node.devices) for node in nodes)
    assert len(rows["faultygroup", "time"]) == 1 + 3
    # All three share this machine's cores: no two groups may have been measured at once.
    spans = sorted(row.time for row in rows["fixed", "time"])
    assert len(set(spans)) == len(spans)


def test_a_rank_that_dies_in_a_group_over_nodes_is_named(cluster, tmp_path):
    made = suite([("faultygroup", {"kind": ["segv", "none"], "victim": 3}, {"over": "all"})])
    finished, rows = run(made, executor(cluster), tmp_path)
    broken, healthy = rows["faultygroup", "time"]
    assert broken.status == "failed"
    assert "rank 3" in broken.reason
    assert "SIGSEGV" in broken.reason
    assert healthy.status in ("ok", "contended")
    assert finished.exit is Exit.INFRASTRUCTURE


def test_a_killed_agent_costs_its_own_measurements_only(cluster, tmp_path):
    killed = []

    def kill():
        agent = agents()[-1]
        os.kill(agent, signal.SIGKILL)
        killed.append(agent)

    thread = when_measuring(tmp_path, kill)
    made = suite(LONG, [("faultygroup", {}, {"over": "all"})])
    finished, rows = run(made, executor(cluster), tmp_path)
    thread.join()
    assert killed
    fixed = rows["fixed", "time"]
    assert len(fixed) == 30 * 6
    missing = [row for row in fixed if row.status == "missing"]
    assert 0 < len(missing) <= 60
    assert all("lost" in row.reason for row in missing)
    assert all(row.status in ("ok", "contended") for row in fixed if row not in missing)
    # The next stage needs every node: it is not tried, and says why.
    assert rows["faultygroup", "time"][0].status == "missing"
    assert finished.exit is Exit.INFRASTRUCTURE
    assert finished.lost
    _named(finished, missing)


def _named(finished, missing):
    """The scorecard says which benchmarks miss what, and which node is to blame."""
    said = {name: text for kind, name, text in findings(finished.folder) if kind == "missing"}
    cases = {finished.header.cases[row.case].short() for row in missing}
    assert cases <= set(said)
    names = {node.name for node in finished.header.nodes}
    assert all(any(f"node {name}: " in said[case] for name in names) for case in cases), said


def test_a_killed_raylet_costs_its_node_only(cluster, tmp_path):
    victim = cluster.add_node(num_cpus=1, object_store_memory=80_000_000)
    thread = when_measuring(tmp_path, lambda: cluster.remove_node(victim, allow_graceful=False))
    finished, rows = run(suite(LONG), executor(cluster), tmp_path)
    thread.join()
    fixed = rows["fixed", "time"]
    assert len(fixed) == 30 * 8
    missing = [row for row in fixed if row.status == "missing"]
    assert 0 < len(missing) <= 60
    assert finished.header.state == "complete"
    assert finished.exit is Exit.INFRASTRUCTURE
    _named(finished, missing)


def test_a_node_that_dies_while_nodes_are_asked_is_lost(cluster, tmp_path, monkeypatch):
    """It has no rows, so nothing else says that less was measured than was there."""
    victim = cluster.add_node(num_cpus=1, object_store_memory=80_000_000)
    reached = ray_hub.reached

    def strike(listed):
        there = reached(listed)
        cluster.remove_node(victim, allow_graceful=False)
        return there

    with monkeypatch.context() as patch:
        patch.setattr(ray_hub, "reached", strike)
        wanted = [cluster.nodes[0].node_id, victim.node_id]
        finished, rows = run(suite([("fixed", {})]), executor(cluster, nodes=wanted), tmp_path)
    (gone,) = [node for node in finished.header.nodes if node.id == victim.node_id]
    assert {row.status for row in rows["fixed", "time"]} == {"ok"}
    assert finished.lost == [f"{gone.name}: {gone.problem}"]
    assert finished.exit is Exit.INFRASTRUCTURE
    code, lost = ended(finished.folder, finished.header, finished.counts)
    assert (code, lost) == (Exit.INFRASTRUCTURE, finished.lost)


def test_a_node_that_works_for_others_is_told_from_one_that_hangs(cluster, monkeypatch):
    """Nothing speaks against the first."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    monkeypatch.setattr(ray_hub, "START_LIMIT", 1.0)
    busy, idle = cluster.nodes[0].node_id, cluster.nodes[1].node_id
    hub = RayHub(AgentSpec(token=new_token(), backend="cpu"), cluster.address, [busy])
    try:

        class Other:
            pass

        there = NodeAffinitySchedulingStrategy(busy, soft=False)
        held = ray.remote(Other).options(num_cpus=1, scheduling_strategy=there).remote()
        ray.get(held.__ray_ready__.remote())
        (node,) = hub.nodes()
        assert node.busy == (node.problem,), node
        assert "other Ray work holds" in node.problem
        ray.kill(held)
    finally:
        hub.close()
    monkeypatch.setattr(ray_hub, "START_LIMIT", 0.0)
    hub = RayHub(AgentSpec(token=new_token(), backend="cpu"), cluster.address, [idle])
    try:
        (node,) = hub.nodes()
        assert (node.busy, node.problem) == ((), "its agent did not come up in 0 s")
    finally:
        hub.close()


def test_nodes_can_be_chosen_and_unknown_ones_are_refused(cluster, tmp_path):
    wanted = cluster.nodes[0].node_id  # of those that still run: Ray may list a dead one as alive
    finished, _ = run(suite([("fixed", {})]), executor(cluster, nodes=[wanted]), tmp_path)
    assert [node.id for node in finished.header.nodes] == [wanted]
    with pytest.raises(UsageError, match="no node 'nowhere'"):
        run(suite([("fixed", {})]), executor(cluster, nodes=["nowhere"]), tmp_path / "other")


def test_a_stage_that_has_not_begun_is_no_ended_one(cluster):
    """An order that takes long to arrive is overtaken by calls that carry nothing."""
    hub = RayHub(AgentSpec(token=new_token(), backend="cpu"), cluster.address)
    try:
        # Ray may still list a raylet that another test has killed: it has no device.
        number, node = next(one for one in enumerate(hub.nodes()) if one[1].devices)
        order = Order(
            node=number,
            stage="s",
            jobs=[],
            visits=[],
            steps=(0, 0),
            names=dict.fromkeys(range(300000), node.name),
            addresses={},
            beside=[number],
            offset=0.0,
            seed=0,
            provenance="stand-in",
        )
        hub.start(number, order)
        pages, ended = [], False
        stop = time.monotonic() + 240
        while not ended and time.monotonic() < stop:
            for arrived in hub.poll(1.0):
                assert not arrived.lost
                pages.append(msgspec.json.decode(arrived.page, type=Page))
                ended = arrived.ended
        assert [one.node for page in pages for one in page.progress][:1] == [node.name]
    finally:
        hub.close()


def test_an_address_where_no_cluster_is():
    with pytest.raises(InfraError, match="cannot join Ray"):
        RayHub(AgentSpec(token=new_token()), "127.0.0.1:1")
    with pytest.raises(UsageError, match="not the address"):
        RayHub(AgentSpec(token=new_token()), "ray://somewhere:10001")


@pytest.mark.slow
def test_a_frozen_agent_is_lost_in_bounded_time(cluster, tmp_path):
    """Nothing closes its sockets: only silence tells, as when a node loses power."""
    frozen = []

    def freeze():
        agent = agents()[-1]
        os.kill(agent, signal.SIGSTOP)
        frozen.append(agent)

    thread = when_measuring(tmp_path, freeze)
    began = time.monotonic()
    try:
        finished, rows = run(suite(LONG), executor(cluster), tmp_path)
    finally:
        thread.join()
        for agent in frozen:
            os.kill(agent, signal.SIGKILL)
    assert time.monotonic() - began < 120
    missing = [row for row in rows["fixed", "time"] if row.status == "missing"]
    assert 0 < len(missing) <= 60, finished.header.events
    assert "did not answer" in missing[0].reason
    assert finished.exit is Exit.INFRASTRUCTURE
