"""Certification of simulated fleets: the real plan, engine, journal and decision, virtual time."""

import json
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from certified import certify, judged

from bench.analysis.certify.cells import Rules
from bench.configs import Cluster, Entry, StageConfig, Suite, load_cluster
from bench.errors import UsageError
from bench.results import RunReader

GEMM = Entry(benchmark="gemm", axes={"shape": "8192x8192x8192", "dtype": "bf16"})
TRIAD = Entry(benchmark="stream", axes={"op": "triad", "size": "1GiB"})
PAIRS = Entry(benchmark="pairs", axes={"size": "64MiB"}, place={"of": "node", "schedule": "sample"})
SMALL = Suite(
    name="small",
    stages=[
        StageConfig(name="device", repeats=2, entries=[GEMM, TRIAD]),
        StageConfig(name="fabric", needs=["device"], entries=[PAIRS]),
    ],
)


def fleet(nodes=12, devices=4, faults=(), **options):
    options = {"seed": 3, "between": 0.005, "within": 0.005, **options}
    return Cluster(
        name="t", chip="sim-a", nodes=nodes, devices=devices, faults=list(faults), **options
    )


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    return certify(tmp_path_factory.mktemp("mixed"), "sim-mixed-faults-64")


def test_each_fault_is_found_for_its_cause(mixed):
    """As the cluster's file says. Of a slow link both ends are named, and neither is rejected."""
    causes = {
        "node-00003": ("fleet", "gemm", "clock"),
        "node-00007": ("fleet", "gemm", "cooling"),
        "node-00011": ("fleet", "stream", "device memory"),
        "node-00015": ("fabric", "pairs", "network card"),
        "node-00026": ("fabric", "pairs", "network card"),
        "node-00034": ("fault", "", "driver, library or hardware"),
        "node-00038": ("drift", "drivers.accelerator", "unlike its fellows"),
        "node-00039": ("drift", "pcie.accelerator.width", "unlike its fellows"),
    }
    for node, (against, metric, cause) in causes.items():
        worst = mixed.evidence(node)[0]
        assert mixed.by_node[node].verdict == "reject", node
        assert worst.against == against
        assert worst.metric.startswith(metric)
        assert cause in worst.cause
    assert mixed.by_node["node-00030"].verdict == "reject"
    assert mixed.evidence("node-00030")[0].against in ("sanity", "corruption")
    assert mixed.by_node["node-00042"].verdict == "inconclusive"
    assert "other processes" in mixed.evidence("node-00042")[0].text
    cables = {
        f"node-{end:05d}"
        for one in mixed.injected
        if one.fault.kind in ("bad-cable", "flapping-link") and one.peers.max() >= 0
        for end in (*one.nodes.tolist(), *one.peers.tolist())
    }
    assert len(cables) == 4
    assert set(mixed.nodes("reject")) == {*causes, "node-00030"}
    assert set(mixed.nodes("inconclusive")) <= {"node-00042", "node-00043"} | cables


def test_evidence_says_all_that_a_reader_needs(mixed):
    one = mixed.evidence("node-00007")[0]
    assert one.device == "node-00007/5"
    assert one.value < one.expected
    assert one.low < one.effect < one.high
    assert one.percentile < 1
    assert one.peers > 400
    assert one.repeats >= 2
    assert one.conditions["throttled"]


def test_rejected_nodes_take_no_part_in_later_stages(mixed):
    header = RunReader(mixed.folder).header
    training = next(case for case in header.cases if case.stage == "training")
    nodes = header.schedules[training.schedule].arguments["nodes"]
    assert not {3, 7, 11, 15, 26, 30, 34, 38, 39} & set(nodes)


def test_retests_keep_to_their_share(mixed):
    # Of one stage's cells at most a tenth; contended cells and pairs come on top.
    header, columns = RunReader(mixed.folder).header, RunReader(mixed.folder).columns()
    stage = [case.stage for case in header.cases]
    metric = [case.metric for case in header.cases]
    sweep = again = 0
    for case in columns.case.tolist():
        if metric[case] in ("flops", "bandwidth"):
            sweep += stage[case] == "device"
            again += stage[case].startswith("device+")
    assert 0 < again < 0.1 * sweep + 200


def test_a_shared_defect_shows_against_a_baseline_only(tmp_path):
    healthy = load_cluster("sim-healthy-1024")
    import msgspec

    small = msgspec.structs.replace(healthy, nodes=64)
    proven = certify(tmp_path, small, suite=SMALL, name="proven")
    assert proven.nodes("reject") == []
    alone = certify(tmp_path, "sim-new-40", suite=SMALL, name="alone")
    assert alone.nodes("reject") == []
    beside = certify(tmp_path, "sim-new-40", suite=SMALL, name="beside", baseline=proven.folder)
    assert len(beside.nodes("reject")) == 40
    rejecting = [one for one in beside.evidence("node-00000") if one.verdict == "reject"]
    assert {one.against for one in rejecting} == {"baseline"}


def test_one_node_is_held_against_limits_alone_and_that_is_said(tmp_path):
    found = certify(tmp_path, fleet(nodes=1), suite=SMALL)
    assert found.nodes("accept") == ["node-00000"]
    assert any("one node" in note for note in found.made.notes)
    slow = {"kind": "slow-chip", "node": 0, "factor": 0.3}
    bad = certify(tmp_path, made(nodes=1, faults=[slow]), suite=SMALL, name="bad")
    assert bad.nodes("reject") == ["node-00000"]
    assert bad.evidence("node-00000")[0].against == "datasheet"


def made(**options):
    """A fleet with faults as a cluster file writes them."""
    import msgspec

    from bench.configs import Fault

    faults = [msgspec.convert(one, Fault) for one in options.pop("faults", [])]
    return fleet(faults=faults, **options)


def test_a_lost_node_is_a_finding(tmp_path):
    found = certify(
        tmp_path, made(faults=[{"kind": "dying-node", "node": 5, "after": 1}]), suite=SMALL
    )
    assert found.nodes("reject") == ["node-00005"]
    assert "missing" in found.evidence("node-00005")[0].text
    # Not once a benchmark; and what it was not measured for is said.
    assert [one.against for one in found.evidence("node-00005")] == ["fault", "coverage"]


def test_a_fault_of_all_is_no_nodes(tmp_path):
    every = [{"kind": "wrong", "node": node, "benchmark": "stream"} for node in range(12)]
    found = certify(tmp_path, made(faults=every), suite=SMALL)
    assert found.nodes("reject") == []
    assert len(found.nodes("inconclusive")) == 12
    assert "no fault of one node" in found.evidence("node-00000")[0].text


def test_what_was_not_reached_is_no_pass(tmp_path):
    found = certify(tmp_path, fleet(), suite=SMALL, budget=0.0)
    assert found.nodes("accept") == []
    assert "budget" in found.made.stopped
    assert "fabric" in found.evidence("node-00000")[0].text


def test_a_soak_is_a_stage_of_its_own(tmp_path):
    found = certify(tmp_path, fleet(), suite=SMALL, soak=300.0)
    stages = {case.stage for case in RunReader(found.folder).header.cases}
    assert "soak" in stages
    rows = [row.repeat for row in RunReader(found.folder).rows()]
    assert max(rows) >= 4  # 300 s of 30 s each of two benchmarks


def test_the_same_rows_give_the_same_verdict(mixed):
    again = judged(mixed.folder, mixed.campaign)
    assert again == mixed.made


def test_a_file_cut_short_is_judged_by_what_it_has(tmp_path):
    found = certify(tmp_path, fleet(), suite=SMALL)
    rows = found.folder / "measurements.jsonl"
    text = rows.read_bytes()
    rows.write_bytes(text[: len(text) * 2 // 3])
    cut = judged(found.folder, found.campaign)
    assert cut.count("accept") < 12
    assert cut.count("reject") == 0


def test_a_value_that_is_no_number_is_refused_with_its_line(tmp_path):
    found = certify(tmp_path, fleet(), suite=SMALL)
    rows = found.folder / "measurements.jsonl"
    lines = rows.read_text().splitlines()
    fields = json.loads(lines[7])
    fields[4] = "NaN"
    lines[7] = re.sub('"NaN"', "NaN", json.dumps(fields))
    rows.write_text("\n".join(lines) + "\n")
    with pytest.raises(Exception, match="no measurement") as caught:
        judged(found.folder, found.campaign)
    assert caught.value.where.endswith("measurements.jsonl:8")


def test_provenances_are_never_compared(tmp_path):
    import msgspec

    from bench.analysis.certify.examine import Proven, examine
    from bench.configs import load_profile

    reader = RunReader(certify(tmp_path, fleet(), suite=SMALL).folder)
    columns = reader.columns()
    measured = msgspec.structs.replace(reader.header, provenance="measured")
    with pytest.raises(UsageError, match="never compared"):
        examine(
            measured,
            columns,
            load_profile("certify"),
            Rules(),
            baseline=Proven(header=reader.header, columns=columns),
        )


@pytest.mark.parametrize("stage", ["fabric", "training"])
def test_a_node_lost_late_does_not_leave_the_others_undone(tmp_path, stage):
    """What all do together is done again without it; else nobody would have passed it."""
    lost = {"kind": "dying-node", "node": 3, "stage": stage}
    found = certify(tmp_path, made(nodes=6, devices=2, faults=[lost]))
    assert found.nodes("reject") == ["node-00003"]
    assert len(found.nodes("accept")) == 5
    header = RunReader(found.folder).header
    again = [case for case in header.cases if case.stage == f"{stage}+1" and case.scope == "group"]
    specs = [header.schedules[case.schedule] for case in again]
    nodes = {tuple(spec.arguments["nodes"]) for spec in specs if spec.kind == "all"}
    assert nodes == {(0, 1, 2, 4, 5)}


def test_what_two_should_do_together_is_not_passed_by_one(tmp_path):
    lost = {"kind": "dying-node", "node": 1, "stage": "training"}
    found = certify(tmp_path, made(nodes=2, devices=2, faults=[lost]))
    assert found.nodes("reject") == ["node-00001"]
    assert found.nodes("inconclusive") == ["node-00000"]
    assert "cannot be told" in found.evidence("node-00000")[0].text


def test_of_two_nodes_the_slower_alone_is_in_doubt(tmp_path):
    """It is said in words that hold: no interval of a million per cent."""
    slow = {"kind": "slow", "node": 1, "factor": 0.7}
    found = certify(tmp_path, made(nodes=2, devices=1, faults=[slow]), suite=SMALL)
    assert found.nodes("accept") == ["node-00000"]
    assert found.nodes("inconclusive") == ["node-00001"]
    worse = found.evidence("node-00001")[0]
    assert "worse than the" in worse.text
    assert "of 1 other (95 %: too wide to say anything)" in worse.text
    assert worse.cause


def test_a_short_stage_may_use_what_the_others_left_of_the_retests(tmp_path):
    """A tenth of one step on each of sixteen nodes would be a single measurement."""
    slow = {"kind": "slow", "node": 4, "benchmark": "train", "factor": 0.7}
    found = certify(tmp_path, made(nodes=16, faults=[slow]))
    assert found.nodes("reject") == ["node-00004"]
    assert len(found.nodes("accept")) == 15
    assert found.evidence("node-00004")[0].metric.startswith("train")
    assert found.made.retested < 0.1 * found.made.measured


def test_a_straggler_in_the_step_of_all_is_named(tmp_path):
    """Well in every other measurement; of the whole step nobody could tell whose fault it is."""
    slow = {"kind": "slow-chip", "node": 5, "device": 2, "benchmark": "train", "factor": 0.8}
    found = certify(tmp_path, made(nodes=16, devices=4, faults=[slow]))
    assert found.nodes("reject") == ["node-00005"]
    assert len(found.nodes("accept")) == 15
    stragglers = [one for one in found.evidence("node-00005") if one.metric.endswith(" compute")]
    assert {one.metric.split(" over ")[1] for one in stragglers} == {"node compute", "all compute"}
    for one in stragglers:
        assert (one.verdict, one.stage, one.device) == ("reject", "training", "node-00005/2")
        assert one.value > one.expected > 0
        assert one.effect == pytest.approx(0.25, abs=0.03)
        assert one.peers == 64
        assert "straggler" in one.cause
    header = RunReader(found.folder).header
    again = [case for case in header.cases if case.stage == "training+1" and case.scope == "rank"]
    specs = [header.schedules[case.schedule] for case in again]
    assert specs
    # A rank is measured again with all of its node.
    assert all(spec.groups == 4 * len(spec.arguments["nodes"]) for spec in specs)


def test_a_step_that_failed_is_told_of_the_group_and_not_of_every_rank(tmp_path):
    broken = {"kind": "crash", "node": 2, "benchmark": "train"}
    found = certify(tmp_path, made(nodes=6, devices=2, faults=[broken]))
    assert found.nodes("reject") == ["node-00002"]
    assert len(found.nodes("accept")) == 5
    texts = [one.text for one in found.evidence("node-00002") if one.against == "fault"]
    assert len(texts) == len(set(texts)) == 2


def test_a_rank_beside_other_work_leaves_the_others_their_own_values(tmp_path):
    busy = {"kind": "contended-host", "node": 4, "stage": "training"}
    found = certify(tmp_path, made(nodes=8, devices=2, faults=[busy]))
    assert found.nodes("inconclusive") == ["node-00004"]
    assert len(found.nodes("accept")) == 7
    header = RunReader(found.folder).header
    again = [case for case in header.cases if case.stage == "training+1" and case.scope == "rank"]
    specs = [header.schedules[case.schedule] for case in again]
    # Alone it would do no step of several nodes.
    over_all = [spec for spec in specs if spec.kind == "all"]
    assert any(4 in spec.arguments["nodes"] for spec in over_all)
    assert all(len(spec.arguments["nodes"]) > 1 for spec in over_all)


def test_a_budget_that_ends_with_the_last_stage_has_stopped_nothing(tmp_path):
    one = Suite(name="one", stages=SMALL.stages[:1])
    said = []
    found = certify(
        tmp_path, fleet(), suite=one, rules=Rules(retest=0.0), budget=0.0, say=said.append
    )
    assert found.made.stopped == ""
    assert said == ["stage device: all nodes"]


@pytest.mark.parametrize("nodes", [8, 16, 64])
def test_one_slow_node_is_no_population_of_its_own(tmp_path, nodes):
    """A fifth slower than all others: rejected where there are enough of them, never accepted."""
    slow = {"kind": "slow", "node": 3, "factor": 0.8, "benchmark": ["collectives", "train"]}
    found = certify(tmp_path, made(nodes=nodes, devices=8, faults=[slow]))
    assert found.nodes("accept") == sorted(set(found.by_node) - {"node-00003"})
    if nodes > 8:
        assert found.nodes("reject") == ["node-00003"]
