"""What certification makes of rows as they should not be, where a pass would be wrong."""

import sys
from datetime import date
from pathlib import Path

import msgspec
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from made_runs import case, columns, header

from bench.analysis.certify.cells import Rules
from bench.analysis.certify.examine import Proven, examine
from bench.analysis.certify.verdicts import certification
from bench.analysis.waivers import apply_waivers
from bench.configs import Profile, ProfileMetric
from bench.configs.waivers import Waiver
from bench.errors import UsageError
from bench.host import Usage
from bench.records import Conditions, Device, Node, ScheduleSpec

PLAIN = Profile(
    name="plain",
    categories={
        "compute": [ProfileMetric(benchmark="gemm", metric="flops", reference="none")],
        "fabric": [ProfileMetric(benchmark="collectives", metric="busbw", reference="none")],
    },
)
LIMITED = Profile(
    name="limited",
    categories={"compute": [ProfileMetric(benchmark="gemm", metric="flops", least=0.4)]},
)
DATASHEET = Profile(
    name="datasheet",
    categories={
        "compute": [
            ProfileMetric(benchmark="gemm", metric="flops", reference="datasheet", least=0.4)
        ]
    },
)
DEVICES = ScheduleSpec(kind="devices", scope="device")
ALL = ScheduleSpec(kind="all", scope="group")
NONE = float("nan")


def node(name, machine="", devices=2, chip="acme-1"):
    machine = machine or f"machine-{name}"
    return Node(
        id=f"id-{machine}",
        name=name,
        machine=machine,
        backend="acme",
        devices=tuple(
            Device(index=i, backend="acme", name=chip, chip=chip, serial=f"{machine}-{i}")
            for i in range(devices)
        ),
    )


EIGHT = [node(f"n{i}") for i in range(8)]


def run_of(nodes, *cases, schedules=(DEVICES,), **changes):
    stages = [{"name": name} for name in dict.fromkeys(one.stage for one in cases)]
    return header(
        *cases, fleet=None, nodes=nodes, stages=stages, schedules=list(schedules), **changes
    )


def gemm(odd=None, devices=16, number=0):
    """Rows of a healthy fleet, but for those of ``odd`` (device: value, status, reason)."""
    chance = np.random.default_rng(0)
    usual = 1e12 * (1 + 0.003 * chance.standard_normal(devices))
    return [
        (number, device, *(odd or {}).get(device, (usual[device],))) for device in range(devices)
    ]


def judged(run, rows, profile=PLAIN, baseline=None):
    return certification_of(run, columns(*rows), profile, baseline)


def certification_of(run, rows, profile=PLAIN, baseline=None):
    found = examine(run, rows, profile, Rules(), baseline=baseline)
    stages = [stage["name"] for stage in run.stages]
    return certification(found, stages=stages, profile=profile.name)


def words(made):
    return {one.node: one.verdict for one in made.nodes}


def texts(made, name):
    (found,) = (one for one in made.nodes if one.node == name)
    return " / ".join(one.text for one in found.evidence)


def others(made, *names):
    return {word for name, word in words(made).items() if name not in names}


@pytest.mark.parametrize("value", [0.0, -5.0, NONE])
def test_a_value_that_is_no_measurement_is_no_pass(value):
    made = judged(run_of(EIGHT, case(0)), gemm({3: (value,)}))
    assert words(made)["n1"] == "inconclusive"
    assert "no measurement" in texts(made, "n1")
    assert others(made, "n1") == {"accept"}


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
@pytest.mark.parametrize("seed", range(8))
def test_figures_that_make_no_sense_at_all_are_judged(seed):
    """As of a file that was damaged, and reads well."""
    chance = np.random.default_rng(seed)
    rows = columns(*[row for _ in range(3) for row in gemm()])
    rows.value[::2], rows.low, rows.high = (
        10.0 ** chance.uniform(-30, 30, n) for n in (24, 48, 48)
    )
    rows.n[:] = 30
    made = certification_of(run_of(EIGHT, case(0)), rows)
    assert words(made).keys() == {one.name for one in EIGHT}


@pytest.mark.parametrize("width", [1.0, 10.0, 1e3, 1e6, 1e15])
def test_an_interval_that_holds_everything_neither_rejects_nor_accepts(width):
    rows = columns(*[row for _ in range(2) for row in gemm()])
    rows.n[:] = 30
    rows.low, rows.high = rows.value * 0.999, rows.value * 1.001
    rows.value[[3, 19]] *= 0.5
    rows.low[[3, 19]] *= 0.01
    rows.high[[3, 19]] = rows.value[[3, 19]] * (1 + width)
    made = certification_of(run_of(EIGHT, case(0)), rows)
    assert words(made)["n1"] == "inconclusive"
    assert others(made, "n1") == {"accept"}


def test_a_limit_on_what_was_skipped_holds_nothing():
    rows = [(0, device, NONE, "skipped", "no such dtype") for device in range(2)]
    made = judged(run_of(EIGHT[:1], case(0, expected=1e12)), rows, LIMITED)
    assert words(made) == {"n0": "inconclusive"}
    assert "nothing to hold its figures against" in texts(made, "n0")


def test_a_run_without_a_row_or_a_device_is_judged():
    made = judged(run_of(EIGHT, case(0)), [])
    assert set(words(made).values()) == {"inconclusive"}
    assert "not reached" in texts(made, "n0")
    assert words(judged(run_of([node("bare", devices=0)], case(0)), [])) == {"bare": "inconclusive"}


def test_a_check_without_a_figure_passes_only_where_it_ran():
    """Silent corruption is of no profile: skipped on one device, not reached on another."""
    checks = [(1, device, 0.0) for device in range(16) if device not in (0, 4, 9)]
    checks += [(1, 0, NONE, "skipped", "no memory left"), (1, 9, NONE, "contended", "busy")]
    corruption = case(1, benchmark="corruption", metric="rate", unit="1", better="lower")
    made = judged(run_of(EIGHT, case(0), corruption), [*gemm(), *checks])
    assert "no memory left" in texts(made, "n0")
    assert "not reached" in texts(made, "n2")
    assert words(made)["n0"] == words(made)["n2"] == "inconclusive"
    assert others(made, "n0", "n2") == {"accept"}  # other work does not change bits


@pytest.mark.parametrize(
    ("usage", "cause"),
    [
        (Usage(1.0, 1, waited=0.5, stolen=0.0, foreign=0.0), "work of others on the host"),
        (Usage(1.0, 1, waited=0.0, stolen=0.5, foreign=0.0), "other virtual machines"),
        (Usage(1.0, 1, waited=0.0, stolen=0.0, foreign=0.5), "work of others on the host"),
    ],
)
def test_a_busy_host_is_told_why(usage, cause):
    busy = (9e11, "contended", usage.contended())
    made = judged(run_of(EIGHT, case(0)), gemm({0: busy}))
    (found,) = (one for one in made.nodes if one.node == "n0")
    assert found.verdict == "inconclusive"
    assert cause in found.evidence[0].cause


@pytest.mark.parametrize(
    ("rows", "word", "said"),
    [
        ([], "inconclusive", "not reached"),
        ([(1, 0, NONE, "skipped", "one switch only")], "accept", ""),
        ([(1, 0, NONE, "failed", "timed out")], "inconclusive", "whose fault"),
        ([(1, 0, NONE)], "inconclusive", "its value is nan, which is no measurement"),
        ([(1, 0, 0.0)], "inconclusive", "its value is 0, which is no measurement"),
        ([(1, 0, 0.0), (1, 0, 5.0)], "accept", ""),
        ([(1, 0, 5.0), (1, 0, NONE, "skipped", "no time left")], "accept", ""),
    ],
)
def test_a_step_over_all_nodes_must_have_been_tried(rows, word, said):
    over_all = case(1, benchmark="collectives", metric="busbw", schedule=1, scope="group")
    run = run_of(EIGHT, case(0), over_all, schedules=(DEVICES, ALL))
    made = judged(run, [*gemm(), *rows])
    assert set(words(made).values()) == {word}
    assert said in texts(made, "n5")
    skipped = [row for row in rows if row[-1] == "one switch only"]
    assert any("one switch only" in note for note in made.notes) == bool(skipped)


def test_a_step_that_a_lost_node_spoilt_is_passed_by_those_who_did_it_again():
    over_all = case(1, benchmark="collectives", metric="busbw", schedule=1, scope="group")
    again = msgspec.structs.replace(over_all, id=2, stage="device+1", schedule=2)
    rest = msgspec.structs.replace(ALL, arguments={"nodes": list(range(1, 7))})
    event = {"kind": "agent-lost", "node": "n0", "text": "gone", "time": 1.0}
    run = run_of(EIGHT, case(0), over_all, again, schedules=(DEVICES, ALL, rest), events=[event])
    rows = [*gemm(), (1, 0, NONE, "missing", "node n0: gone")]
    first = judged(run, rows)
    assert words(first)["n0"] == "reject"
    assert others(first, "n0") == {"inconclusive"}
    assert "not measured without n0" in texts(first, "n1")
    then = judged(run, [*rows, (2, 0, 1e9)])
    assert words(then)["n0"] == "reject"
    assert words(then)["n7"] == "inconclusive"  # it took no part
    assert others(then, "n0", "n7") == {"accept"}


def test_what_is_said_of_a_shared_name_rejects_nobody_wrongly():
    """Cloned machines: which of them an event is about is not known."""
    same = [node("same", machine=f"m{i}") for i in range(8)]
    lost = dict.fromkeys((0, 1), (NONE, "missing", "gone"))
    event = {"kind": "agent-lost", "node": "same", "text": "gone", "time": 1.0}
    made = judged(run_of(same, case(0), events=[event]), gemm(lost))
    missing = [one for one in made.nodes if one.checks.get("missing")]
    assert [one.verdict for one in missing] == ["reject"]
    assert [one.verdict for one in made.nodes].count("inconclusive") == 7


def test_a_benchmark_that_fails_on_a_whole_kind_is_no_nodes_fault():
    mixed = [*EIGHT, *(node(f"b{i}", chip="acme-2") for i in range(2))]
    odd = dict.fromkeys(range(16, 20), (NONE, "failed", "no bf16"))
    made = judged(run_of(mixed, case(0)), gemm(odd, devices=20))
    assert words(made)["b0"] == words(made)["b1"] == "inconclusive"
    assert "no fault of one node" in texts(made, "b0")
    assert others(made, "b0", "b1") == {"accept"}


def test_all_devices_of_one_node_are_a_fault_of_one_node():
    rows = [(0, device, NONE, "invalid", "error too large") for device in range(4)]
    made = judged(run_of([node("a", devices=4)], case(0)), rows)
    assert words(made) == {"a": "reject"}
    assert made.nodes[0].evidence[0].against == "sanity"


def test_wrong_results_come_before_what_is_slow():
    latency = case(1, benchmark="launch", metric="time", unit="s", better="lower")
    profile = msgspec.structs.replace(
        PLAIN,
        categories={
            "host": [
                ProfileMetric(
                    benchmark="launch", metric="time", reference="target", target=1e-6, least=1.0
                )
            ]
        },
    )
    times = [(1, device, 1e-6 if device else 3e-6) for device in range(16)]
    run = run_of(EIGHT, case(0), latency)
    made = judged(run, [*gemm({1: (NONE, "invalid", "wrong")}), *times], profile)
    first, second, *_ = made.nodes[0].evidence
    assert first.against == "sanity"
    assert second.effect == pytest.approx(2.0)  # three times as long is 200 % worse
    assert second.better == "lower"


def test_a_waiver_does_not_stand_in_for_what_was_not_measured():
    later = case(1, stage="fabric", benchmark="collectives", metric="busbw", schedule=1)
    rest = ScheduleSpec(kind="devices", scope="device", arguments={"nodes": list(range(1, 8))})
    run = run_of(EIGHT, case(0), later, schedules=(DEVICES, rest))
    rows = [*gemm({0: (5e11,)}), *((1, group, 1e9 + group) for group in range(14))]
    made = judged(run, rows)
    assert words(made)["n0"] == "reject"
    waiver = Waiver(nodes=("n0",), metric="*", reason="known", until=date(2999, 1, 1))
    nodes, _ = apply_waivers(made.nodes, [waiver], date(2026, 1, 1))
    (first,) = (one for one in nodes if one.node == "n0")
    assert first.verdict == "inconclusive"
    assert "fabric; something spoke against it before" in first.evidence[0].text


class TestBaseline:
    def proven(self, **changes):
        run = run_of(EIGHT, case(0, **changes), id="proven")
        return Proven(header=run, columns=columns(*gemm()))

    def test_it_is_another_run(self):
        proven = self.proven()
        with pytest.raises(UsageError, match="its own baseline"):
            judged(proven.header, gemm(), baseline=proven)

    def test_what_stands_in_is_held_against_nothing_that_stands_for_another_chip(self):
        stood_in = [
            msgspec.structs.replace(
                one,
                devices=tuple(msgspec.structs.replace(d, stands_for="h20") for d in one.devices),
            )
            for one in EIGHT
        ]
        run = run_of(stood_in, case(0), provenance="stand-in")
        other = run_of(EIGHT, case(0), id="proven", provenance="stand-in")
        with pytest.raises(UsageError, match="stand-in for h20: they are never compared"):
            judged(run, gemm(), baseline=Proven(header=other, columns=columns(*gemm())))

    @pytest.mark.parametrize("other", [{"source": "1"}, {"axes": {"dtype": "fp16"}}])
    def test_one_that_says_nothing_is_no_pass(self, other):
        made = judged(run_of(EIGHT, case(0)), gemm(), baseline=self.proven(**other))
        assert set(words(made).values()) == {"inconclusive"}
        assert "nothing to compare with" in texts(made, "n0")
        assert any("no value of gemm" in note for note in made.notes)

    def test_one_of_other_chips_is_no_pass(self):
        run = run_of([node(f"b{i}", chip="acme-2") for i in range(8)], case(0))
        made = judged(run, gemm(), baseline=self.proven())
        assert set(words(made).values()) == {"inconclusive"}

    def test_one_node_has_a_fleet_with_it_and_none_without(self):
        run = run_of(EIGHT[:1], case(0))
        alone, beside = (judged(run, gemm(devices=2), baseline=b) for b in (None, self.proven()))
        assert any("there is no fleet" in note for note in alone.notes)
        assert not any("there is no fleet" in note for note in beside.notes)

    def test_what_it_does_not_measure_is_said_and_held_against_the_fleet(self):
        fabric = case(1, benchmark="collectives", metric="busbw")
        rows = [*gemm(), *gemm({2: (5e11,)}, number=1)]
        made = judged(run_of(EIGHT, case(0), fabric), rows, baseline=self.proven())
        assert words(made)["n1"] == "reject"
        assert made.nodes[0].evidence[0].against == "fleet"
        assert others(made, "n1") == {"accept"}
        assert any("no value of collectives" in note for note in made.notes)


@pytest.mark.parametrize(("others", "cause"), [(60.0, "cooling: fans"), (80.0, "the device thr")])
def test_hot_is_what_is_hotter_than_most_rows_not_than_most_kinds_of_conditions(others, cause):
    """Those that are alike have one line of conditions, and one that is odd has several."""
    seen = [others, 85.0, 86.0, 87.0, None]
    run = run_of(
        EIGHT,
        case(0),
        conditions=[
            Conditions(temperature=(30.0, one), throttled="" if one == others else f"reason {one}")
            for one in seen
        ],
    )
    rows = columns(*gemm({5: (7e11,)}), (0, 5, 7e11), (0, 5, 7e11))
    rows.conditions[:] = 0
    rows.conditions[[5, 16, 17]] = 1, 2, 3
    rows.conditions[:2] = -1, 4  # nobody says
    found = {one.node: one for one in certification_of(run, rows).nodes}
    assert found["n2"].verdict == "reject"
    assert found["n2"].evidence[0].cause.startswith(cause)


def test_what_is_alone_of_its_kind_is_held_against_nothing():
    odd = [*EIGHT, node("odd", devices=1, chip="acme-2")]
    made = judged(run_of(odd, case(0)), gemm(devices=17))
    assert words(made)["odd"] == "inconclusive"
    assert "nothing to hold its figures against" in texts(made, "odd")
    assert others(made, "odd") == {"accept"}
    limited = judged(run_of(odd, case(0, expected=1e12)), gemm(devices=17), DATASHEET)
    assert set(words(limited).values()) == {"accept"}


def test_the_worst_of_a_node_comes_first_and_what_is_not_covered_last():
    """Three metrics of one node: a tenth slower, a half slower, and one that was not reached."""
    names = {"a": 0.9, "b": 0.5}
    lines = [ProfileMetric(benchmark=name, metric="flops", reference="none") for name in "abc"]
    profile = Profile(name="p", categories={"x": lines})
    cases = [case(number, name, title=name) for number, name in enumerate("abc")]
    rows = [
        row
        for number, share in enumerate(names.values())
        for row in gemm({4: (share * 1e12,), 5: (share * 1e12,)}, number=number)
    ]
    rows += [(2, device, 1e12 + device) for device in range(16) if device != 4]
    again = [msgspec.structs.replace(one, id=3 + one.id, stage="device+1") for one in cases[:2]]
    rows += [
        (3 + number, device, share * 1e12)
        for number, share in enumerate(names.values())
        for device in (4, 5)
    ]
    made = judged(run_of(EIGHT, *cases, *again), rows, profile)
    (slow,) = (one for one in made.nodes if one.verdict != "accept")
    assert slow.node == "n2"
    metrics = [one.metric for one in slow.evidence if one.verdict == slow.verdict]
    assert metrics == ["b flops", "b flops", "a flops", "a flops"]
    assert [one.metric for one in slow.evidence][-1] == "c flops"
    assert (made.measured, made.retested) == (16 + 16 + 15, 4)


def test_stages_that_were_not_reached_hold_everybody_back_with_the_reason():
    run = run_of(EIGHT, case(0), state="stopped")
    found = examine(run, columns(*gemm()), PLAIN, Rules())
    for stopped, why in (("", "the run is stopped"), ("no time left", "no time left")):
        made = certification(found, stages=["device", "fabric"], profile="p", stopped=stopped)
        assert set(words(made).values()) == {"inconclusive"}
        assert texts(made, "n3") == f"not measured: stage(s) fabric; {why}"
    told = certification(
        found, stages=["device", "x"], profile="p", command=lambda one, name: f"{name}: {one.text}"
    )
    assert told.nodes[0].evidence[0].command.startswith("n0: not measured")


def test_who_was_not_measured_again_was_left_out_of_nothing():
    some = msgspec.structs.replace(DEVICES, arguments={"nodes": [2]})
    again = case(1, stage="device+1", schedule=1)
    made = judged(run_of(EIGHT, case(0), again, schedules=(DEVICES, some)), gemm())
    assert set(words(made).values()) == {"accept"}
    later = case(1, "stream", stage="later", schedule=1)
    made = judged(run_of(EIGHT, case(0), later, schedules=(DEVICES, some)), gemm())
    assert texts(made, "n3") == "not measured: stage(s) later; something spoke against it before"


def test_a_node_says_its_chips_and_what_stands_in_for_them():
    mixed = msgspec.structs.replace(
        EIGHT[0], devices=(EIGHT[0].devices[0], node("x", chip="acme-2").devices[1])
    )
    stood_in = msgspec.structs.replace(
        EIGHT[1],
        devices=(
            msgspec.structs.replace(EIGHT[1].devices[0], stands_for="h20"),
            node("x", chip="acme-2").devices[1],
        ),
    )
    made = judged(run_of([mixed, stood_in], case(0)), [])
    assert {one.node: one.chip for one in made.nodes} == {
        "n0": "acme-1 + acme-2",
        "n1": "stand-in for h20 (acme-1) + acme-2",
    }


def two_kinds(statuses, **changes):
    """Two metrics of two kinds of four nodes; of the second each device has one of ``statuses``."""
    nodes = [*EIGHT[:4], *(node(f"b{i}", chip="acme-2") for i in range(4))]
    lines = [
        ProfileMetric(benchmark="a", metric="flops", reference="none"),
        ProfileMetric(benchmark="b", metric="flops", reference="none", **changes),
    ]
    cases = [case(number, name, title=name) for number, name in enumerate("ab")]
    rows = gemm()
    for device, value in enumerate(gemm(number=1)):
        status = statuses.get(device, "ok")
        if status != "unreached":
            rows.append(value if status == "ok" else (1, device, NONE, status, "no such dtype"))
    profile = Profile(name="p", categories={"x": lines})
    return judged(run_of(nodes, *cases), rows, profile)


def test_what_no_device_of_a_kind_can_do_is_said_and_holds_nobody_back():
    made = two_kinds(dict.fromkeys(range(8), "skipped"))
    assert set(words(made).values()) == {"accept"}
    note = "b flops is not covered: skipped: no such dtype"
    assert [one for one in made.notes if "covered" in one] == [note]
    optional = two_kinds(dict.fromkeys(range(8), "skipped"), optional=True)
    assert note in optional.notes
    # Where one of them could not be reached, nobody knows whether all can do nothing.
    made = two_kinds({**dict.fromkeys(range(7), "skipped"), 7: "unreached"})
    assert {name for name, word in words(made).items() if word == "accept"} == {
        "b0", "b1", "b2", "b3",
    }  # fmt: skip


def test_what_others_of_a_kind_can_do_is_a_gap_of_those_who_cannot():
    made = two_kinds({2: "skipped", 15: "unreached", 9: "contended"})
    told = {one.node: one for one in made.nodes if one.verdict != "accept"}
    assert {name: one.verdict for name, one in told.items()} == {
        "n1": "inconclusive", "b0": "inconclusive", "b3": "inconclusive",
    }  # fmt: skip
    said = {
        name: [(e.text, e.metric, e.device) for e in one.evidence] for name, one in told.items()
    }
    assert said == {
        "n1": [("skipped: no such dtype", "b flops", "n1/0")],
        "b0": [("contended: no such dtype", "b flops", "b0/1")],
        "b3": [("it was not reached", "b flops", "b3/1")],
    }
    assert not any("covered" in one for one in made.notes)
    assert set(words(two_kinds({2: "skipped", 15: "unreached"}, optional=True)).values()) == {
        "accept"
    }


def test_what_failed_is_told_once_and_not_as_a_gap():
    made = two_kinds({2: "failed"})
    (one,) = (one for one in made.nodes if one.verdict != "accept")
    assert [(e.verdict, e.against, e.text) for e in one.evidence] == [
        ("reject", "fault", "failed: no such dtype")
    ]
