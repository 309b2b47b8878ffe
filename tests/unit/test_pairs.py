"""From a run to names: nodes, devices, links; what the scorecard and the command say of them."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parent))
from made_runs import case, columns, header

from bench.analysis.pairs import pair_fabrics
from bench.analysis.scorecard import scorecard
from bench.analysis.summary import summarize
from bench.cli import cli
from bench.cluster.engine import execute
from bench.cluster.simulated import SimulatedExecutor
from bench.configs import Cluster, Entry, Fault, Profile, StageConfig, Suite, load_chips
from bench.errors import UsageError
from bench.inventory import Inventory
from bench.records import Device, DeviceGroup, Node, ScheduleSpec
from bench.report.fabric import print_fabric
from bench.rounds import schedule_for

PROFILE = Profile(name="p", categories={})


def made_run(nodes, devices, speed, *, labels=None, status=None, **arguments):
    """A header and rows of pairs; ``speed(node, place, node, place)`` multiplies bandwidth."""
    spec = ScheduleSpec(kind="pairs", scope="pair", arguments=arguments)
    if labels is None:
        where = {"fleet": DeviceGroup(count=nodes, devices=devices, chip="acme-1")}
    else:
        carried = tuple(Device(index=d, backend="b", name="c") for d in range(devices))
        made = [
            Node(id=str(n), name=f"n{n}", devices=carried, labels=labels(n)) for n in range(nodes)
        ]
        where = {"fleet": None, "nodes": made}
    inventory = Inventory(where.get("nodes", ()), where["fleet"])
    schedule = schedule_for(spec, inventory)
    one = case(0, "pairs", {}, "bandwidth", "B/s", scope="pair")
    g = np.random.default_rng(0)
    rows = []
    for group in range(schedule.size):
        a, b = schedule.members(group)
        ends = [(rank // devices, rank % devices) for rank in (a, b)]
        value = 1e10 * speed(*ends[0], *ends[1]) * g.lognormal(0, 0.004)
        rows.append((0, group, value, status(*ends[0], *ends[1]) if status else "ok"))
    return header(one, schedules=[spec], **where), columns(*rows)


def fabrics(made, rows):
    return pair_fabrics(made, rows, summarize(made, rows))


def said(one):
    return {(suspect.kind, *suspect.names) for suspect in one.suspects}


def test_nodes_and_links_are_named():
    def speed(a, _, b, __):
        return (0.9 if 3 in (a, b) else 1) * (0.85 if {a, b} == {5, 8} else 1)

    (one,) = fabrics(*made_run(12, 4, speed, of="node", schedule="full"))
    assert said(one) == {("slow-node", "node-00003"), ("slow-link", "node-00005", "node-00008")}
    assert (one.where, one.nodes, one.items, one.pairs) == ("between nodes", 12, 12, 66)
    assert [suspect.effect for suspect in one.suspects] == sorted(
        suspect.effect for suspect in one.suspects
    )
    assert any("measured once" in limit for limit in one.limits)


def between_and_inside(a, i, b, j):
    """Links inside are nine times as fast; node 2's way out is slow, and one rail of node 4."""
    if a == b:
        return 9.0 * (0.8 if a == 6 and {i, j} == {0, 1} else 1)
    return (0.88 if 2 in (a, b) else 1) * (0.85 if (4, 1) in ((a, i), (b, j)) else 1)


def test_a_node_whose_rails_are_all_slow_is_told_from_one_rail():
    made, rows = made_run(12, 4, between_and_inside, of="device", schedule="full")
    between, inside = fabrics(made, rows)
    assert said(between) == {("slow-node", "node-00002"), ("slow-device", "node-00004/1")}
    assert (between.items, between.nodes) == (48, 12)
    (node,) = (one for one in between.suspects if one.kind == "slow-node")
    assert node.low < -0.12 < node.high
    assert said(inside) == {("slow-link", "node-00006/0", "node-00006/1")}
    assert inside.where == "inside nodes"
    assert inside.usual[0].value == pytest.approx(9e10, rel=0.01)
    assert any("12 parts never met" in limit for limit in inside.limits)


def test_labels_and_rails_divide_pairs_into_classes():
    def speed(a, i, b, j):
        far = 1.0 if a % 2 == b % 2 else 0.5
        return (3.0 if a == b else far * (1.0 if i == j else 0.7)) * (0.9 if 5 in (a, b) else 1)

    made, rows = made_run(
        14, 2, speed, labels=lambda n: {"rack": f"r{n % 2}", "site": "one"}, of="device"
    )
    between = fabrics(made, rows)[0]
    usual = {one.name: one.value for one in between.usual}
    assert usual == {
        "same rack, same rail": pytest.approx(1e10, rel=0.01),
        "same rack, other rail": pytest.approx(7e9, rel=0.01),
        "other rack, same rail": pytest.approx(5e9, rel=0.01),
        "other rack, other rail": pytest.approx(3.5e9, rel=0.01),
    }
    assert said(between) == {("slow-node", "n5")}


def test_cases_of_a_topologys_classes_tell_together_who_is_slow():
    """Each class meets a node once: alone none could tell the node from its partner."""

    def labels(n):
        return {"rack": f"r{n // 4}", "site": f"s{n // 12}"}

    def speed(a, _, b, __):
        near = 2.0 if a // 4 == b // 4 else 1.0 if a // 12 == b // 12 else 0.1
        return near * (0.88 if 5 in (a, b) else 1)

    cases, specs, values = [], [], []
    for way, key in (
        ("within", "rack"),
        ("across", "rack"),
        ("within", "site"),
        ("across", "site"),
    ):
        number = len(cases)
        given = {"of": "node", "schedule": "topology", way: key}
        part, rows = made_run(24, 1, speed, labels=labels, **given)
        assert [one.kind for fabric in fabrics(part, rows) for one in fabric.suspects] in (
            [],
            ["slow-pair"],
        )
        cases.append(case(number, "pairs", {}, "bandwidth", "B/s", scope="pair", schedule=number))
        specs += part.schedules
        values += [(number, group, value) for group, value in enumerate(rows.value.tolist())]
    (one,) = fabrics(
        header(*cases, schedules=specs, fleet=None, nodes=part.nodes), columns(*values)
    )
    assert said(one) == {("slow-node", "n5")}
    assert one.name == "pairs of nodes"
    schedules = [schedule_for(spec, Inventory(part.nodes)) for spec in specs]
    met = [one.members(group) for one in schedules for group in range(one.size)]
    assert (one.pairs, one.nodes) == (len(set(met)), 24)
    assert len(set(met)) < len(met)  # within a rack is within its site too


def test_only_good_values_count_and_the_rest_is_said():
    made, rows = made_run(
        10,
        1,
        lambda a, _, b, __: 0.8 if 1 in (a, b) else 1,
        status=lambda a, _, b, __: "failed" if 7 in (a, b) else "ok",
        of="node",
        schedule="full",
    )
    (one,) = fabrics(made, rows)
    assert said(one) == {("slow-node", "node-00001")}
    assert one.pairs == 36
    assert any(limit.startswith("9 pair(s) have no good value") for limit in one.limits)
    assert any(limit.startswith("1 of 10 were in no pair") for limit in one.limits)
    lost, none = made_run(4, 1, lambda *_: 1, status=lambda *_: "missing", of="node")
    assert fabrics(lost, none) == []


def test_the_scorecard_names_culprits_once():
    made, rows = made_run(
        12, 4, lambda a, _, b, __: 0.9 if 3 in (a, b) else 1, of="node", schedule="full"
    )
    (finding,) = scorecard(made, rows, PROFILE, {}).findings
    assert (finding.kind, finding.name) == ("slow-node", "node-00003")
    assert finding.text.startswith("bandwidth -")
    assert finding.text.endswith("from 11 pairs")


def test_what_is_printed():
    made, rows = made_run(12, 4, between_and_inside, of="device", schedule="full")
    for width in (50, 120):
        screen = Console(file=io.StringIO(), width=width)
        for one in fabrics(made, rows):
            print_fabric(screen, one)
        text = screen.file.getvalue()
        for expected in ("node-00002", "node-00004/1", "node-00006/0 – node-00006/1", "9", "noise"):
            assert expected in text
        assert "cannot tell: every pair was measured once" in text
    quiet, rows = made_run(12, 1, lambda *_: 1, of="node", schedule="full")
    screen = Console(file=io.StringIO(), width=120)
    print_fabric(screen, fabrics(quiet, rows)[0])
    assert "nobody stands out" in screen.file.getvalue()


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """A run of a simulated fleet with a slow node, three more and two slow links."""
    cluster = Cluster(
        name="t",
        chip="sim-a",
        nodes=400,
        devices=2,
        between=0.002,
        faults=[
            Fault(kind="slow", node=17, benchmark="pairs", factor=0.9),
            Fault(kind="slow", count=3, benchmark="pairs", factor=0.9),
            Fault(kind="bad-cable", count=2, benchmark="pairs", factor=0.9),
        ],
    )
    place = {"of": "node", "schedule": "sample", "matchings": 3}
    entries = [Entry(benchmark="pairs", axes={}, place=place)]
    suite = Suite(name="sim", stages=[StageConfig(name="fabric", repeats=2, entries=entries)])
    executor = SimulatedExecutor(cluster, load_chips())
    folder = tmp_path_factory.mktemp("runs")
    execute(suite, executor, folder, "r", chips=load_chips(), command=[], environment={})
    slow = {
        f"node-{node:05d}"
        for one in executor.injected
        if one.fault.kind == "slow"
        for node in one.nodes
    }
    return folder, slow


def test_the_command_finds_what_a_simulated_fleet_has_wrong(simulated):
    folder, slow = simulated
    done = CliRunner().invoke(cli, ["results", "fabric", "r", "--out", str(folder), "--json"])
    assert done.exit_code == 0, done.output
    (one,) = json.loads(done.stdout)["fabrics"]
    kinds = {
        kind: [s["names"] for s in one["suspects"] if s["kind"] == kind]
        for kind in ("slow-node", "slow-link")
    }
    assert len(slow) == 4
    assert {name for (name,) in kinds["slow-node"]} == slow
    assert len(kinds["slow-link"]) == 2 == len(one["suspects"]) - 4
    assert one["provenance"] == "simulated"
    assert not any("measured once" in limit for limit in one["limits"])  # the stage repeats
    done = CliRunner().invoke(cli, ["results", "fabric", "r", "--out", str(folder)])
    assert done.exit_code == 0
    assert all(name in done.stdout for name in slow)
    assert "usual pair: bandwidth" in done.stdout


def test_latency_names_the_same_nodes(simulated):
    folder, slow = simulated
    words = ["results", "fabric", "r", "--out", str(folder), "--metric", "latency", "--json"]
    (one,) = json.loads(CliRunner().invoke(cli, words).stdout)["fabrics"]
    nodes = {s["names"][0]: s["effect"] for s in one["suspects"] if s["kind"] == "slow-node"}
    assert set(nodes) == slow
    assert all(effect == pytest.approx(1 / 0.9 - 1, abs=0.03) for effect in nodes.values())


def test_a_metric_that_no_pair_has_is_refused(simulated):
    folder, _ = simulated
    words = ["results", "fabric", "r", "--out", str(folder), "--metric", "latncy"]
    done = CliRunner().invoke(cli, words)
    assert isinstance(done.exception, UsageError)
    assert "did you mean latency" in str(done.exception)
