"""Stages that a campaign adds to a run: over some nodes, with cases of their own, and resumed."""

import numpy as np
import pytest

from bench.cluster.engine import execute
from bench.cluster.executor import Done
from bench.cluster.further import Further
from bench.cluster.journal import trim
from bench.cluster.planning import Part
from bench.cluster.simulated import SimulatedExecutor
from bench.configs import Cluster, Entry, StageConfig, Suite, load_chips
from bench.errors import UsageError
from bench.inventory import Inventory
from bench.records import DeviceGroup, ScheduleSpec
from bench.results import RunReader
from bench.rounds import schedule_for

GEMM = Entry(benchmark="gemm", axes={"dtype": ["bf16"]})
PAIRS = Entry(benchmark="pairs", axes={}, place={"of": "node", "schedule": "full"})
SUITE = Suite(name="grown", stages=[StageConfig(name="device", entries=[GEMM])])
CLUSTER = Cluster(name="t", chip="sim-a", nodes=8, devices=4, labels={"rack": 2})


class Script:
    """Asks for the suite's stage, then for these, and notes what it was told."""

    def __init__(self, *stages):
        first = Further(stage=SUITE.stages[0], parts=[Part(SUITE.stages[0].entries)])
        self._stages = [first, *stages]
        self.told = []

    def following(self, folder, stages):
        self.told.append((list(stages), len(RunReader(folder).columns())))
        return self._stages[len(stages)] if len(stages) < len(self._stages) else None


def stage(name, nodes, *entries, repeats=1):
    config = StageConfig(name=name, repeats=repeats)
    return Further(stage=config, parts=[Part(list(entries), nodes)])


def run(folder, campaign, **options):
    return execute(
        SUITE,
        SimulatedExecutor(CLUSTER, load_chips()),
        folder,
        "run",
        chips=load_chips(),
        command=[],
        environment={},
        campaign=campaign,
        **options,
    )


def ranks_of(reader, name):
    """The ranks of every row of a stage, in the order written."""
    header = reader.header
    inventory = Inventory(header.nodes, header.fleet)
    found = []
    for row in reader.rows():
        case = header.cases[row.case]
        if case.stage == name and case.metric in ("flops", "bandwidth"):
            schedule = schedule_for(header.schedules[case.schedule], inventory)
            found.append(schedule.members(row.group))
    return found


def test_a_stage_over_some_nodes(tmp_path):
    script = Script(stage("again", [1, 6], GEMM, repeats=2), stage("fabric", [0, 2, 4, 6], PAIRS))
    finished = run(tmp_path, script)
    reader = RunReader(finished.folder)
    assert finished.header.state == "complete"
    assert [one["name"] for one in reader.header.stages] == ["device", "again", "fabric"]
    again = ranks_of(reader, "again")
    assert sorted(again) == sorted(2 * [(rank,) for rank in (4, 5, 6, 7, 24, 25, 26, 27)])
    # Pairs of nodes: each is represented by its first device.
    firsts = {0: 0, 2: 8, 4: 16, 6: 24}
    every = {(a, b) for a in firsts.values() for b in firsts.values() if a < b}
    assert set(ranks_of(reader, "fabric")) == every
    # The campaign was asked after each stage, with all that had been measured by then.
    assert [stages for stages, _ in script.told] == [
        [],
        ["device"],
        ["device", "again"],
        ["device", "again", "fabric"],
    ]
    assert np.all(np.diff([rows for _, rows in script.told]) > 0)


def test_some_devices_and_each_part_as_often_as_it_says(tmp_path):
    parts = [Part([GEMM], ranks=[2, 9], repeats=3), Part([GEMM], ranks=[30])]
    run(tmp_path, Script(Further(stage=StageConfig(name="again"), parts=parts)))
    again = ranks_of(RunReader(tmp_path / "run"), "again")
    assert sorted(again) == [(2,), (2,), (2,), (9,), (9,), (9,), (30,)]


def test_a_resumed_run_walks_the_same_stages(tmp_path):
    script = Script(stage("again", [3], GEMM), stage("more", [5], GEMM))
    whole = run(tmp_path / "whole", script)
    half = run(tmp_path / "half", Script(stage("again", [3], GEMM)))
    reader = RunReader(half.folder)
    trim(half.folder, reader.header.cases)
    columns = reader.columns()
    keys = set(
        zip(columns.case.tolist(), columns.group.tolist(), columns.repeat.tolist(), strict=True)
    )
    again = run(tmp_path / "half", script, resume=(reader.header, Done(keys), 1.0))
    assert again.header.cases == whole.header.cases
    assert len(RunReader(again.folder).columns()) == len(RunReader(whole.folder).columns())


def test_a_campaign_that_changes_its_mind_is_refused(tmp_path):
    first = run(tmp_path, Script(stage("again", [3], GEMM)))
    reader = RunReader(first.folder)
    with pytest.raises(UsageError, match="planned with other"):
        run(tmp_path, Script(stage("again", [3], PAIRS)), resume=(reader.header, Done(), 1.0))


@pytest.mark.parametrize("kind", ["devices", "nodes", "all", "pairs", "label"])
def test_schedules_over_some_nodes(kind):
    arguments = {
        "pairs": {"of": "device", "schedule": "full"},
        "label": {"key": "rack"},
    }.get(kind, {})
    fleet = Inventory(
        fleet=DeviceGroup(count=8, devices=2, chip="sim-a", labels={"rack": 4}),
    )
    nodes = [1, 5, 6]
    spec = ScheduleSpec(kind=kind, scope="group", arguments={**arguments, "nodes": nodes})
    schedule = schedule_for(spec, fleet)
    allowed = {rank for node in nodes for rank in fleet.ranks_of(node)}
    met = []
    for whole in schedule.walk():
        for ids, ranks in whole:
            for group, members in zip(ids.tolist(), ranks.tolist(), strict=True):
                assert set(members) <= allowed
                assert schedule.members(group) == tuple(members)
                met.append(members)
    assert len(met) == schedule.size
    expected = {"devices": 6, "nodes": 3, "all": 1, "pairs": 15, "label": 2}
    assert schedule.size == expected[kind]


def test_a_part_of_a_fleet_keeps_its_names_and_labels():
    fleet = Inventory(fleet=DeviceGroup(count=8, devices=2, chip="sim-a", labels={"rack": 4}))
    part = fleet.on_nodes([1, 5, 6])
    assert [part.name(node) for node in range(3)] == ["node-00001", "node-00005", "node-00006"]
    codes, values = part.label("rack")
    assert codes.tolist() == [0, 1, 1]
    assert values == ["rack-0000", "rack-0001"]
    assert part.on_nodes([2]).name(0) == "node-00006"
    assert part.size == 6


def test_a_mistake_in_a_later_stage_is_told_before_anything_is_measured(tmp_path):
    later = StageConfig(name="later", entries=[Entry(benchmark="gem", axes={})])
    suite = Suite(name="grown", stages=[*SUITE.stages, later])
    with pytest.raises(UsageError, match="unknown benchmark 'gem'"):
        execute(
            suite,
            SimulatedExecutor(CLUSTER, load_chips()),
            tmp_path,
            "run",
            chips=load_chips(),
            command=[],
            environment={},
            campaign=Script(),
        )
    assert not list(tmp_path.iterdir())
