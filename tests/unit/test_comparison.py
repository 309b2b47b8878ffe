"""Systems side by side: nobody is ahead where intervals overlap."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from made_runs import case, columns, header

from bench.analysis.comparison import compare, ranks
from bench.analysis.scorecard import scorecard
from bench.analysis.scores import Category, MetricScore, Scorecard
from bench.cli import cli
from bench.configs import Chip, Profile, ProfileMetric

CHIPS = {"acme-1": Chip(name="acme-1", vendor="Acme")}


@st.composite
def entries(draw):
    values = draw(st.lists(st.floats(-100, 100), min_size=1, max_size=8))
    return [
        (value, value - draw(st.floats(0, 20)), value + draw(st.floats(0, 20))) for value in values
    ]


@given(entries(), st.sampled_from(["higher", "lower"]))
def test_ranks_differ_only_where_intervals_lie_apart(found, better):
    placed = ranks(found, better)
    sign = 1 if better == "higher" else -1
    assert sorted(set(placed)) == list(range(1, max(placed) + 1))
    for (_, low, high), rank in zip(found, placed, strict=True):
        for (value, other_low, other_high), other in zip(found, placed, strict=True):
            if rank < other:
                assert high < other_low or low > other_high
                ahead = low > other_high if sign > 0 else high < other_low
                assert ahead, (value, better)


def test_ranks_by_hand():
    assert ranks([(5, 4, 6), (5.5, 5, 7), (1, 0, 2)], "higher") == [1, 1, 2]
    assert ranks([(5, 4, 6), (5.5, 5, 7), (1, 0, 2)], "lower") == [2, 2, 1]
    # B overlaps both: the chain is one rank
    assert ranks([(9, 8, 10), (7, 5, 8.5), (5, 4, 5.5)], "higher") == [1, 1, 1]
    assert ranks([(2, 2, 2), (1, 1, 1)], "higher") == [1, 2]


def card(identity, *values, intervals=True, weights=None):
    """gemm on so many devices, and stream on one of a single value."""
    made = header(
        case(0, expected=100.0),
        case(1, "stream", metric="bandwidth", unit="B/s", expected=10.0),
        id=identity,
        groups=len(values),
    )
    rows = columns(*((0, group, value) for group, value in enumerate(values)), (1, 0, 5.0))
    if not intervals:
        rows.n[:] = 0
    lines = {
        "a": [ProfileMetric(benchmark="gemm", metric="flops")],
        "b": [ProfileMetric(benchmark="stream", metric="bandwidth")],
    }
    profile = Profile(name="p", categories=lines, weights=weights or {})
    return scorecard(made, rows, profile, CHIPS)


@pytest.mark.parametrize("weights", [{}, {"a": 60.0, "b": 40.0}])
def test_systems_are_compared_on_what_all_have_with_an_interval(weights):
    fast, slow = card("fast", 80, 81, 82, weights=weights), card("slow", 60, 61, 62)
    found = compare([fast, slow], weights)
    assert (found.systems, found.common) == (["fast", "slow"], 1)
    assert [one.rank for one in found.overall.entries] == [1, 2]
    assert found.overall.entries[0].value == pytest.approx(81)  # stream is left out of it
    a, b = found.categories
    assert [one.rank for one in a.entries] == [1, 2]
    assert b.unranked == "no metric of it has an interval in every system"
    assert [one.value for one in b.entries] == [pytest.approx(50), pytest.approx(50)]
    gemm, stream = found.metrics
    assert (gemm.metric, [one.rank for one in gemm.entries]) == ("flops, efficiency", [1, 2])
    assert "single value" in stream.unranked


def test_what_two_stages_measured_alike_is_compared_stage_by_stage():
    def twice(identity, *values):
        cases = [case(number, expected=100.0, stage=f"s{number}") for number in range(2)]
        made = header(*cases, id=identity, groups=len(values))
        rows = columns(*((0, group, one) for group, one in enumerate(values)), (1, 0, 50.0))
        profile = Profile(
            name="p", categories={"a": [ProfileMetric(benchmark="gemm", metric="flops")]}
        )
        return scorecard(made, rows, profile, CHIPS)

    found = compare([twice("fast", 80, 81, 82), twice("slow", 60, 61, 62)], {})
    assert found.common == 1  # of the second stage a single value is known
    assert found.overall.entries[0].value == pytest.approx(81)
    first, second = found.metrics
    assert [one.rank for one in first.entries] == [1, 2]
    assert [one.value for one in second.entries] == [pytest.approx(0.5)] * 2


def system(run, **efficiencies):
    """A card of metrics, each in a category of its name, with intervals of ± 0.01."""
    categories = [
        Category(
            name=name,
            score=None,
            coverage=1.0,
            title_zh=f"{name} 类",
            metrics=[
                MetricScore(
                    name=name, metric="rate", unit="B/s", achieved=1e9, low=0.9e9, high=1.1e9,
                    efficiency=value, efficiency_low=value and value - 0.01,
                    efficiency_high=value and value + 0.01,
                )
            ],
        )
        for name, value in efficiencies.items()
    ]  # fmt: skip
    return Scorecard(
        run=run, suite="s", profile="p", provenance="measured", kinds=["acme-1"], overall=None,
        coverage=1.0, categories=categories, findings=[],
    )  # fmt: skip


def test_the_whole_is_a_weighted_geometric_mean_of_what_all_have():
    one, two = system("x", a=0.8, b=0.5, c=0.9), system("y", a=0.6, b=0.9)
    found = compare([one, two], {"a": 75.0, "b": 25.0, "c": 100.0})
    assert found.common == 2
    first, second = found.overall.entries
    # 0.8^(3/4) × 0.5^(1/4), and of the ends the same
    assert first.value == pytest.approx(71.13, abs=0.005)
    assert second.value == pytest.approx(100 * 0.6**0.75 * 0.9**0.25)
    assert (first.low, first.high) == (
        pytest.approx(100 * 0.79**0.75 * 0.49**0.25),
        pytest.approx(100 * 0.81**0.75 * 0.51**0.25),
    )
    assert (first.rank, second.rank) == (1, 2)
    a, b, c = found.categories
    assert [[entry.rank for entry in each.entries] for each in (a, b, c)] == [
        [1, 2],
        [2, 1],
        [None, None],
    ]
    assert [entry.value for entry in a.entries] == pytest.approx([80, 60])
    assert (c.unranked, c.title_zh) == (
        "no metric of it has an interval in every system",
        "c 类",
    )


def test_what_one_system_lacks_is_shown_in_its_own_unit_and_not_ranked():
    for other in (system("y", a=0.6), system("y", a=0.6, c=None)):
        for first in (0, 1):
            both = [system("x", a=0.8, c=0.9), other]
            metric = compare([both[first], both[1 - first]], {}).metrics[-1]
            assert (metric.name, metric.metric, metric.unit) == ("c", "rate", "B/s")
            assert metric.unranked == "it has no efficiency in every system"
            assert [entry.rank for entry in metric.entries] == [None, None]
            theirs = None if len(other.categories) < 2 else 1e9
            assert [entry.value for entry in metric.entries] == [1e9, theirs][:: 1 - 2 * first]


def test_overlap_shares_a_rank():
    found = compare([card("x", 80, 81, 82), card("y", 81.5, 82, 83)], {})
    assert [one.rank for one in found.overall.entries] == [1, 1]


def test_without_intervals_nobody_is_ranked():
    found = compare([card("x", 80, intervals=False), card("y", 20, intervals=False)], {})
    assert found.common == 0
    assert found.overall.unranked == "no metric has an interval in every system"
    assert all(one.rank is None for one in found.overall.entries)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two simulated fleets, one of which is slower, and what looks like a measured run."""
    out = tmp_path_factory.mktemp("runs")
    runner = CliRunner()
    for cluster in ("small", "sim-rack-16"):
        words = ["run", "quick", "--cluster", cluster, "--quiet", "--out", str(out)]
        assert runner.invoke(cli, words).exit_code in (0, 1, 3)
    return out, sorted(path.name for path in out.iterdir())


def test_the_verb_prints_ranks_in_two_languages(runs):
    out, names = runs
    words = ["compare", *names, "--out", str(out)]
    shown = CliRunner().invoke(cli, words)
    assert shown.exit_code == 0, shown.output
    assert "intervals overlap" in shown.output or " > " in shown.output
    assert "where intervals overlap nobody is ahead" in shown.output
    chinese = CliRunner().invoke(cli, [*words, "--lang", "zh"])
    assert "区间重叠" in chinese.output
    assert "计算" in chinese.output
    told = json.loads(CliRunner().invoke(cli, [*words, "--json"]).stdout)
    assert told["comparison"]["systems"] == names
    assert told["exit"] == 0


def test_what_is_not_compared_is_a_sentence(runs):
    out, names = runs
    measured = out / "measured"
    measured.mkdir(exist_ok=True)
    raw = json.loads((out / names[0] / "run.json").read_text())
    raw |= {"id": "measured", "provenance": "measured"}
    (measured / "run.json").write_text(json.dumps(raw))
    rows = (out / names[0] / "measurements.jsonl").read_text().replace("simulated", "measured")
    (measured / "measurements.jsonl").write_text(rows)

    def said(*words):
        done = CliRunner().invoke(cli, ["compare", *words, "--out", str(out)])
        assert done.exception.exit == 2
        return str(done.exception)

    assert "is simulated and run measured is measured: they are not compared" in said(
        names[0], "measured"
    )
    assert "two systems or more" in said(names[0])
    assert "is in two systems" in said(names[0], names[0])
    assert "no one system" in said(f"{names[0]}+measured", names[1])
    # Two systems that began in one second, each in a folder of its own, are two.
    began = {"id": names[1], "provenance": "simulated", "command": ["hengsuan", "run", "other"]}
    (measured / "run.json").write_text(json.dumps(raw | began))
    (measured / "measurements.jsonl").write_text(
        (out / names[0] / "measurements.jsonl").read_text()
    )
    two = ["compare", names[1], str(measured), "--out", str(out), "--json"]
    done = CliRunner().invoke(cli, two)
    assert done.exit_code in (0, 3), done.output
    (measured / "run.json").write_text(json.dumps(raw | {"schema": 2}))
    assert "results of schema 2; this hengsuan reads schema 1" in said(names[0], str(measured))
    for path in measured.iterdir():
        path.unlink()
    measured.rmdir()
