"""Links between sites: what is measured of one, what many carry together, and criteria for them."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from gloo_ranks import several
from made_runs import case, columns, header

from bench.analysis.criteria import NO_TOTAL
from bench.analysis.scorecard import scorecard
from bench.analysis.summary import summarize
from bench.configs import Chip, Profile, ProfileMetric, load_profile
from bench.errors import Exit
from bench.inventory import Inventory
from bench.records import Device, Node, ScheduleSpec
from bench.rounds import schedule_for
from bench.timing import Timing
from bench.units import format_value
from bench.workloads.base import Facts, make, registry


def late(bench, rank):
    """Every message is 3 ms on its way."""
    receive = bench.receive

    def delayed(*arguments, **options):
        receive(*arguments, **options)
        time.sleep(0.003)

    bench.receive = delayed


def changed(bench, rank):
    """What rank 1 gets is not what was sent."""
    if rank == 1:
        receive = bench.receive

        def wrong(tensor, *arguments, **options):
            receive(tensor, *arguments, **options)
            tensor[0] ^= 1

        bench.receive = wrong


def test_two_processes_measure_a_link_both_ways():
    jobs = [
        ("link", {"size": "4MiB", "direction": "there"}, None),
        ("link", {"size": "4MiB", "direction": "back", "memory": "host"}, None),
        ("link", {"size": "4MiB"}, late),
        ("link", {"size": "1KiB"}, late),
        ("link", {"size": "1KiB", "direction": "there"}, changed),
    ]
    there, back, far, small, wrong = several(jobs)
    declared = {measure.name for measure in registry()["link"].measures}
    for ranks in (there, back, far, small):
        assert [one.status for one in ranks] == ["ok", "ok"], ranks
        assert {value.metric for value in ranks[0].values} == declared
    found = {value.metric: value.value for value in far[0].values}
    assert found["round_trip"] >= 0.006  # both ways, not half
    assert found["round_trip"] <= found["round_trip_p95"] <= found["round_trip_max"]
    # Of a kilobyte nearly all is the trip, and the row says so.
    assert "more than 1KiB is needed" in small[0].reason
    assert wrong[0].status == "invalid"


def metrics(seconds, trip, **axes):
    link = make("link", axes)
    link._pings = lambda: np.full(10, trip)
    timing = Timing(seconds=np.full(5, seconds), calls=1, stopped="budget", timer="host")
    return {one.name: one for one in link.metrics(timing)}, link


def test_bandwidth_is_in_bits_and_leaves_out_the_round_trip():
    class Silent:
        through_host = False

    found, link = metrics(0.011, 0.001, size="100MB")
    link.context = Silent()
    assert found["bandwidth"].samples == pytest.approx(np.full(5, 8e10))
    assert np.median(found["round_trip"].samples) == 0.001
    assert link.note() == ""
    # Where the trip is most of the time, what is left is noise: the whole time counts.
    found, link = metrics(0.0015, 0.001, size="100MB")
    link.context = Silent()
    assert found["bandwidth"].samples == pytest.approx(np.full(5, 8e8 / 0.0015))
    assert "67% of the time is the round trip" in link.note()
    assert registry()["link"].measures[0].unit == "bit/s"
    assert format_value(4e11, "bit/s") == "400 Gbit/s"


def test_what_the_nodes_network_allows_is_expected():
    far = Facts(chip=None, ranks=2, nodes=2, network=50e9, network_latency=5e-6)
    assert make("link", {}).expected(far) == {"bandwidth": 4e11, "round_trip": 1e-5}
    assert make("link", {}).expected(Facts(chip=None, ranks=2, nodes=2)) == {}


CHIPS: dict[str, Chip] = {}


def sited(sites, *, machine=None, **arguments):
    """A header with one case of each metric over pairs across ``sites``, one node a letter."""
    nodes = [
        Node(
            id=str(n),
            name=f"n{n}",
            machine=machine or str(n),
            labels={"site": site},
            devices=(Device(index=0, backend="x", name="acme", lane="cores"),),
        )
        for n, site in enumerate(sites)
    ]
    given = {"of": "node", "schedule": "sample", "matchings": 9, "across": "site", **arguments}
    spec = ScheduleSpec(kind="pairs", scope="pair", arguments=given)
    schedule = schedule_for(spec, Inventory(nodes))
    spec = ScheduleSpec(kind="pairs", scope="pair", arguments=given, groups=schedule.size)
    made = header(
        case(0, "link", {}, "bandwidth", "bit/s", scope="pair"),
        case(1, "link", {}, "round_trip", "s", scope="pair", better="lower"),
        nodes=nodes,
        fleet=None,
        schedules=[spec],
    )
    return made, schedule


def totals(made, rows):
    return summarize(made, rows)[0].totals


def test_pairs_that_run_together_add_up_by_two_sites():
    made, schedule = sited("aabbc", together=True)
    rows = []
    for groups in schedule.walk():
        for batch in groups:
            for group, (one, other) in zip(batch.ids.tolist(), batch.ranks.tolist(), strict=True):
                rows.append((0, group, 10.0 * (one + 1) + other))
    # a-b: two pairs a round in two rounds, (0,2)+(1,3) = 35 and (0,3)+(1,2) = 35;
    # a-c and b-c: one pair a round.
    assert totals(made, columns(*rows)) == {"a - b": 35.0, "a - c": 19.0, "b - c": 39.0}
    missing = [row for row in rows if schedule.members(row[1]) != (0, 2)]
    assert totals(made, columns(*missing))["a - b"] == 35.0  # of the round that is whole
    none = [row for row in rows if 0 not in schedule.members(row[1])]
    found = totals(made, columns(*none))
    assert found["a - b"] is None  # no round of it is whole, and that is said
    assert {name for name, total in found.items() if total is not None} == {"a - c", "b - c"}
    alone, _ = sited("aabbc", together=False)
    assert totals(alone, columns(*rows)) == {}


def test_pairs_on_one_machine_take_turns_and_are_not_added():
    made, schedule = sited("aabb", machine="m", together=True)
    rows = columns(*((0, group, 7.0) for group in range(schedule.size)))
    assert totals(made, rows) == {"a - b": 7.0}


def test_only_rates_add_up_and_of_no_label_all_do():
    """Two nodes, every device of one with one of the other at once: 3 and 4 in each round."""
    made, _ = sited("ab", together=True)
    whole = {"of": "device", "schedule": "full", "across": "node", "together": True}
    made.nodes[:] = [
        msgspec.structs.replace(
            one,
            devices=tuple(Device(index=i, backend="x", name="acme", lane=str(i)) for i in range(2)),
        )
        for one in made.nodes
    ]
    made.schedules[:] = [ScheduleSpec(kind="pairs", scope="pair", arguments=whole, groups=4)]
    schedule = schedule_for(made.schedules[0], Inventory(made.nodes))
    rounds = [
        [group for batch in together for group in batch.ids.tolist()]
        for together in schedule.walk()
    ]
    assert [len(one) for one in rounds] == [2, 2]
    rows = columns(*((0, group, 3.0 + at) for groups in rounds for at, group in enumerate(groups)))
    assert totals(made, rows) == {"all": 7.0}
    for changed in ({"unit": "ratio"}, {"better": "lower"}, {"scope": "group"}):
        other = msgspec.structs.replace(
            made, cases=[msgspec.structs.replace(made.cases[0], **changed)]
        )
        assert totals(other, rows) == {}


def line(metric, target, **more):
    return ProfileMetric(benchmark="link", metric=metric, reference="target", target=target, **more)


def judged(made, rows, *lines):
    return scorecard(made, rows, Profile(name="p", categories={"sites": list(lines)}), CHIPS)


def test_a_criterion_is_judged_by_the_worst_and_named():
    made, schedule = sited("aab", together=True)
    slow = {schedule.members(group): 1e11 for group in range(schedule.size)}
    slow[1, 2] = 3e11
    rows = columns(
        *((0, group, slow[schedule.members(group)]) for group in range(schedule.size)),
        *((1, group, 0.0005 if group else 0.002) for group in range(schedule.size)),
    )
    where = {"across": "site"}
    card = judged(
        made,
        rows,
        line("bandwidth", 2.5e11, where=where, required=True),
        line("bandwidth", 2e11, where=where, statistic="total", required=True),
        line("round_trip", 1e-3, where={**where, "together": True}, required=True),
        line("round_trip", 1e-3, where={**where, "together": False}, required=True, optional=True),
        line("round_trip", 1e-3, where={"across": "rack"}, optional=True),
    )
    bandwidth, total, trip = card.categories[0].metrics
    assert (bandwidth.achieved, bandwidth.efficiency) == (2e11, 0.8)
    assert (total.metric, total.achieved, total.efficiency) == ("bandwidth in all", 2e11, 1.0)
    assert trip.achieved == pytest.approx(0.00125)
    texts = [one.text for one in card.findings if one.kind == "criterion"]
    assert texts == [
        "bandwidth 100 Gbit/s, at least 250 Gbit/s is required (n0/0 - n2/0)",
        "round_trip 2 ms, at most 1 ms is required "
        f"({' - '.join(f'n{rank}/0' for rank in schedule.members(0))})",
    ]
    assert all(one.name == "link of nodes across site together" for one in card.findings)


def test_a_total_that_cannot_be_made_is_absent_with_the_reason():
    made, schedule = sited("aabb", together=True)
    one = columns((0, 0, 1e11))
    card = judged(made, one, line("bandwidth", 1e11, statistic="total", required=True))
    (metric,) = card.categories[0].metrics
    assert (metric.achieved, metric.absent) == (None, NO_TOTAL)
    (found,) = card.findings
    asked = "bandwidth at least 100 Gbit/s is required (a - b in all)"
    assert (found.kind, found.text) == ("undecided", f"{asked}: {NO_TOTAL}")
    assert card.exit is Exit.INCONCLUSIVE
    assert schedule.size == 4


def test_a_criterion_that_is_missed_is_a_finding_and_one_without_a_value_decides_nothing():
    made, _ = sited("aab", together=True)
    worst = line("bandwidth", 1e11, where={"across": "site"}, required=True)

    def kinds(*rows, of=worst):
        card = judged(made, columns(*rows), of)
        found = [f for f in card.findings if f.kind in ("criterion", "undecided")]
        return card.exit, [f.kind for f in found], " ".join(f.text for f in found)

    assert kinds((0, 0, 2e11), (0, 1, 1e11)) == (Exit.OK, [], "")
    assert kinds((0, 0, 9e10), (0, 1, 2e11))[:2] == (Exit.FINDING, ["criterion"])
    code, found, text = kinds((0, 0, 2e11), (0, 1, None, "contended", "a noisy neighbour"))
    assert (code, found) == (Exit.INCONCLUSIVE, ["undecided"])
    assert "1 of 2 groups have no value: contended: a noisy neighbour" in text
    code, found, text = kinds((0, 0, 9e10))
    assert (code, found) == (Exit.FINDING, ["criterion", "undecided"])
    assert "1 of 2 groups have no value: not reached" in text
    none = kinds((0, 0, None, "skipped", "no network"), (0, 1, None, "skipped", "no network"))
    assert none[:2] == (Exit.INCONCLUSIVE, ["undecided"] * 2)  # the target, and the run as a whole
    required = "bandwidth at least 100 Gbit/s is required: skipped: no network"
    assert none[2] == f"{required} no value counts: skipped: no network"
    # A line that the suite does not measure: required, it is undecided; optional, it is left out.
    other = {"where": {"across": "rack"}, "required": True}
    code, _, text = kinds((0, 0, 2e11), of=line("bandwidth", 1e11, **other))
    assert code is Exit.INCONCLUSIVE
    assert "the suite quick does not measure it" in text
    assert kinds((0, 0, 2e11), of=line("bandwidth", 1e11, **other, optional=True))[0] is Exit.OK
    shown = line("bandwidth", 1e12, where={"across": "site"})
    assert kinds((0, 0, 2e11), of=shown) == (Exit.OK, [], "")  # a target alone only scores


def test_the_default_profile_asks_for_sites_only_where_there_are_two():
    profile = load_profile("default")
    lines = profile.categories["sites"]
    assert [(one.metric, one.target, one.required, one.optional) for one in lines] == [
        ("bandwidth", 400e9, True, True),
        ("round_trip", 1e-3, True, True),
    ]
    one_site, _ = sited("aa", together=True)
    for made in (one_site, header(case(0))):
        assert "sites" not in [
            c.name for c in scorecard(made, columns(), profile, CHIPS).categories
        ]
    two, _ = sited("ab", together=True)
    card = scorecard(two, columns((0, 0, 1e11)), profile, CHIPS)
    (sites,) = (one for one in card.categories if one.name == "sites")
    assert sites.metrics[0].achieved == 1e11
    assert any("at least 400 Gbit/s is required (a - b in all)" in f.text for f in card.findings)
