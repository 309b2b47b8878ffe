"""Runs on several hosts with their own networks: counted, shaped, late, cut off, wrong clocks."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from hosts import Hosts
from running import HENGSUAN, Running, clock

from bench.analysis.scorecard import scorecard
from bench.analysis.summary import summarize
from bench.configs import load_profile
from bench.errors import Exit
from bench.records import STATUSES

# Beside other tests: hosts, raylets and two runs, for the first of a worker's tests.
pytestmark = pytest.mark.timeout(400)

HERE = Path(__file__).parent
MEASURED = ("ok", "contended")
LINK = """
name: link
rule: {budget: 1s, warmup: 10ms, min_samples: 2, limit: 60s}
stages:
  - name: link
    benchmarks:
      - fixed: {tag: 0, rule: {budget: 50ms}}
      - collectives: {op: all_reduce, size: 4MiB, over: all}
"""
SITES = """
name: sites
rule: {budget: 1s, warmup: 10ms, min_samples: 3, limit: 60s}
stages:
  - name: links
    benchmarks:
      - link: {size: 4MiB, of: node, across: site, schedule: values, together: false}
      - link: {size: 4MiB, of: device, across: site, schedule: sample, matchings: 1, together: true}
"""
CRITERIA = """
name: criteria
categories:
  sites:
    - benchmark: link
      metric: bandwidth
      where: {across: site, together: true}
      statistic: total
      reference: target
      target: BITS
      required: true
    - benchmark: link
      metric: round_trip
      where: {together: false}
      reference: target
      target: 0.1
      required: true
"""
LATE = """
name: late
rule: {budget: 50ms, warmup: 10ms, min_samples: 3, limit: 90s}
stages:
  - name: first
    benchmarks:
      - fixed: {tag: [0, 1]}
      - patient: {file: "FILE"}
  - name: second
    benchmarks:
      - collectives: {op: all_reduce, size: 1KiB, over: all}
"""
LONG = """
name: long
rule: {budget: 300ms, warmup: 10ms, min_samples: 3, limit: 60s}
stages:
  - name: first
    benchmarks:
      - fixed: {tag: [0, 1, 2, 3], rule: {budget: 50ms}}
      - collectives: {op: all_reduce, size: 8B..2MiB x2, over: all}
  - name: second
    benchmarks:
      - fixed: {tag: [4, 5, 6], rule: {budget: 50ms}}
      - collectives: {op: barrier, over: all}
"""
HERE_ONLY = """
name: here
rule: {budget: 50ms, warmup: 10ms, min_samples: 3}
stages:
  - name: only
    benchmarks:
      - gemm: {shape: 64x64x64, dtype: fp32, impl: torch}
"""
COUNTS = {"fixed": 7, "collectives": 20}


@pytest.fixture(scope="module")
def free(cluster, tmp_path_factory):
    """A run over links that are not shaped."""
    return Running(cluster, LINK, tmp_path_factory.mktemp("free")).end()


def bandwidth(measured):
    """Bit/s of the all-reduce, per link and direction."""
    (row,) = measured.rows("collectives", "busbw")
    assert row.status in MEASURED, row.reason
    return 8 * row.value


def test_two_hosts_are_two_nodes_that_talk_over_their_own_links(cluster, free):
    """A host's own name means loopback there: gloo must be told which interface to take."""
    assert free.code == free.complete, free.said
    nodes = free.run.header.nodes
    assert [node.name for node in nodes] == ["host1", "host2"]
    assert len({node.id for node in nodes}) == len({node.machine for node in nodes}) == 2
    assert [node.address.partition(":")[0] for node in nodes] == [h.address for h in cluster][:2]
    assert all(list(node.facts["interfaces"]) == ["eth0"] for node in nodes)
    assert len(free.rows("fixed", "time")) == sum(len(node.devices) for node in nodes)
    assert bandwidth(free) > 0


def test_a_shaped_link_is_measured_at_its_rate(cluster, free, tmp_path):
    rate = 50e6
    cluster[1].shape(rate)
    try:
        shaped = Running(cluster, LINK, tmp_path).end()
    finally:
        cluster[1].shape(None)
    assert shaped.code == shaped.complete, shaped.said
    assert 0.5 * rate < bandwidth(shaped) < 1.1 * rate
    assert bandwidth(free) > 2 * bandwidth(shaped)


def test_two_sites_are_judged_by_the_link_between_them(cluster, tmp_path):
    rate = 100e6
    labels, profile = tmp_path / "labels.yaml", tmp_path / "criteria.yaml"
    labels.write_text("site: {a: host1, b: host2}\n")
    profile.write_text(CRITERIA.replace("BITS", "400e6"))
    cluster[1].shape(rate)
    try:
        judged = Running(cluster, SITES, tmp_path, "--labels", labels, "--profile", profile).end()
    finally:
        cluster[1].shape(None)
    header, columns = judged.run.header, judged.run.columns()
    assert [node.labels["site"] for node in header.nodes] == ["a", "b"]
    (alone, shared) = judged.rows("link", "bandwidth")
    assert {alone.status, shared.status} <= set(MEASURED), alone.reason + shared.reason
    # What others did on these cores leaves the run without a verdict, and does not change a link.
    decided = shared.status == "ok"
    assert judged.code == (Exit.FINDING if decided else Exit.INCONCLUSIVE), judged.said
    columns.status[:] = STATUSES.index("ok")
    summaries = summarize(header, columns)
    sums = [total for one in summaries for total in one.totals.items()]
    assert [name for name, _ in sums] == ["a - b"]
    assert 0.5 * rate < alone.value < 1.1 * rate
    assert 0.5 * rate < sums[0][1] < 1.1 * rate
    # A message of the size that bandwidth is measured with would take a third of a second.
    assert all(0 < row.value < 0.1 for row in judged.rows("link", "round_trip"))
    missed = scorecard(header, columns, load_profile(profile), {})
    assert missed.exit is Exit.FINDING
    (found,) = (one for one in missed.findings if one.kind == "criterion")
    assert found.text.endswith("at least 400 Mbit/s is required (a - b in all)")
    assert found.text in " ".join(judged.card.split()) or not decided
    profile.write_text(CRITERIA.replace("BITS", "20e6"))
    assert scorecard(header, columns, load_profile(profile), {}).exit is Exit.OK


def test_nodes_need_not_agree_on_the_time_of_day(cluster, free, skewed):
    if not skewed:
        pytest.skip("no C compiler to set one host's clock wrong")
    ahead = clock(cluster[1]) - clock(cluster[0])
    assert abs(ahead - float(skewed["SKEW"])) < 60
    assert free.code == free.complete, free.said
    times = [row.time for row in free.run.rows()]
    times += [event["time"] for event in free.run.header.events]
    assert all(0 <= one <= free.seconds for one in times)
    assert all(stage["seconds"] <= free.seconds for stage in free.run.header.stages)


def test_a_node_that_joins_late_and_a_link_that_flaps_change_nothing(cluster, tmp_path):
    goes_on = tmp_path / "go on"
    first = tmp_path / "first"
    first.mkdir()
    running = Running(cluster, LATE.replace("FILE", str(goes_on)), first)
    running.wait_for("fixed")
    cluster[1].cut()
    time.sleep(3)
    cluster[1].restore()
    cluster.start_ray(cluster[2])
    goes_on.touch()
    early = running.end()
    assert early.code == early.complete, early.said
    assert len(early.run.header.nodes) == 2
    assert len(early.rows("fixed", "time")) == 2 * 2
    assert all(row.status in MEASURED for row in early.run.rows())

    late = Running(cluster, LATE.replace("FILE", str(goes_on)), tmp_path).end()
    assert late.code == late.complete, late.said
    assert [node.name for node in late.run.header.nodes] == ["host1", "host2", "host3"]
    assert len(late.rows("fixed", "time")) == 3 * 2
    assert all(row.status in MEASURED for row in late.run.rows())


@pytest.mark.parametrize("name", ["ib7", "eth0,ib7"])
def test_an_interface_that_does_not_exist_is_named_with_those_that_do(cluster, tmp_path, name):
    host = cluster[0]
    words = [HENGSUAN, "run", "quick", "--executor", "local", "--out", tmp_path]
    done = host.run(["env", f"GLOO_SOCKET_IFNAME={name}", *words])
    assert done.returncode == Exit.INFRASTRUCTURE
    assert "host1: GLOO_SOCKET_IFNAME names ib7," in done.stderr
    assert "there are lo, eth0" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_node_that_has_just_vanished_is_named_and_the_others_are_measured(possible, tmp_path):
    """Ray lists it as alive, until it has missed its answers for about a minute."""
    pytest.importorskip("ray", reason="Ray is not installed")
    with Hosts(2) as hosts:
        for host in hosts:
            hosts.start_ray(host)
        hosts[1].cut()
        ended = Running(hosts, HERE_ONLY, tmp_path).end()
    # What was to be measured and is not there is lost, though nothing of it was begun.
    assert ended.code == Exit.INFRASTRUCTURE, ended.said
    (absent,) = [node for node in ended.run.header.nodes if not node.devices]
    assert absent.name == "host2"
    assert "does not answer" in absent.problem
    assert all(row.status in MEASURED for row in ended.run.rows())
    assert any("host2 is not measured" in event["text"] for event in ended.run.header.events)


def test_hosts_end_with_whoever_made_them_even_by_a_kill(possible):
    script = (
        f"import sys, time; sys.path.insert(0, {str(HERE)!r})\n"
        "from hosts import Hosts\n"
        "with Hosts(2) as hosts:\n"
        "    inside = [host.start(['sleep', '600']) for host in hosts]\n"
        "    print(*(host.pid for host in hosts), flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as maker:
        pids = maker.stdout.readline().split()
        assert len(pids) == 2
        networks = [Path(f"/proc/{int(pid)}/ns/net").readlink() for pid in pids]
        maker.kill()
    stop = time.monotonic() + 30
    while users(networks) and time.monotonic() < stop:
        time.sleep(0.1)
    assert users(networks) == []


def users(networks):
    """Process ids of everyone in one of these network namespaces."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/ns/net"):
        try:
            if entry.readlink() in networks:
                found.append(entry.parts[2])
        except OSError:  # ended meanwhile
            continue
    return found


def test_a_node_that_vanishes_from_the_network_is_named_and_nothing_else_is_lost(cluster, tmp_path):
    """Nobody closes its sockets: only silence tells. The last test: the cluster is less after."""
    running = Running(cluster, LONG, tmp_path, "--nodes", "host1,host2")
    # Each node tells on its own what it has measured, and the other may be ahead.
    running.wait_for("fixed", 2 * 4)
    running.wait_for("collectives")
    cluster[1].cut()
    ended = running.end()
    assert ended.seconds < 150
    assert ended.code == Exit.INFRASTRUCTURE
    header = ended.run.header
    assert header.state == "complete"
    rows = list(ended.run.rows())
    keys = [(row.case, row.group, row.repeat) for row in rows]
    assert len(set(keys)) == len(keys)
    for benchmark, count in COUNTS.items():
        cases = [c for c in header.cases if c.benchmark == benchmark and c.metric == "time"]
        assert len(cases) == count
    groups = ended.rows("collectives", "time")
    assert len(groups) == COUNTS["collectives"]
    fixed = ended.rows("fixed", "time")
    assert len(fixed) == 2 * COUNTS["fixed"]
    # What was measured before the cut is there, whoever measured it.
    last = max(case.id for case in header.cases if case.stage == "first")
    early = [row for row in fixed if row.case <= last]
    assert [row.reason for row in early if row.status not in MEASURED] == []
    assert groups[0].status in MEASURED, groups[0].reason
    lost = [row for row in rows if row.status == "missing"]
    assert groups[-1] in lost
    assert len([row for row in fixed if row in lost]) == COUNTS["fixed"] - 4
    assert all("host2" in row.reason for row in lost)
    assert all(row.status in MEASURED for row in rows if row not in lost)
    assert {event["node"] for event in header.events if event["kind"] == "agent-lost"} == {"host2"}
    assert "host2: its agent did not answer" in " ".join(ended.card.split())
