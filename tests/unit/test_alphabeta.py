"""Lines through times of messages: known latency and bandwidth come back, in their intervals."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from made_runs import case, columns, header

from bench.analysis.alphabeta import fit, links
from bench.cli.results_verb import command
from bench.cluster.engine import execute
from bench.cluster.simulated import SimulatedExecutor
from bench.configs import Cluster, Entry, StageConfig, Suite, load_chips
from bench.records import DeviceGroup, ScheduleSpec
from bench.results import RunReader

SIZES = [8 * 16**k for k in range(8)]
CHIPS = load_chips()


@given(
    st.floats(1e-7, 1e-2),
    st.floats(1e6, 1e13),
    st.lists(st.integers(1, 1 << 33), min_size=3, max_size=12, unique=True),
)
@settings(max_examples=200)
def test_without_noise_the_line_is_found(alpha, beta, sizes):
    times = alpha + np.array(sizes) / beta
    line = fit(sizes, times)
    assert line.residual < 1e-6
    # What a parameter adds to the times must be told apart from rounding.
    if alpha > 1e-4 * times.min():
        assert line.alpha == pytest.approx(alpha, rel=1e-3)
        assert line.alpha_low <= line.alpha <= line.alpha_high
    if max(sizes) / beta > 1e-4 * times.max():
        assert line.beta == pytest.approx(beta, rel=1e-3)
        assert line.beta_low <= line.beta
    if line.half:
        assert line.half == pytest.approx(line.alpha * line.beta, rel=1e-9)


@pytest.mark.parametrize("noise", [0.01, 0.1])
def test_intervals_cover_in_95_of_100_runs(noise):
    alpha, beta, runs = 12e-6, 40e9, 1500
    draw = np.random.default_rng(7)
    truth = alpha + np.array(SIZES) / beta
    hits = {"alpha": 0, "beta": 0, "half": 0}
    for _ in range(runs):
        line = fit(SIZES, truth * draw.normal(1.0, noise, truth.size))
        wanted = {"alpha": alpha, "beta": beta, "half": alpha * beta}
        for name, value in wanted.items():
            low, high = getattr(line, f"{name}_low"), getattr(line, f"{name}_high")
            hits[name] += low <= value <= (high or math.inf)
    for name, count in hits.items():
        assert 0.93 < count / runs < 0.97, name


@pytest.mark.parametrize("error", [0.001, 0.01])
def test_a_line_and_its_intervals_by_hand(error):
    """Through 2, 3 and 4 s of 1, 2 and 3 MB, by errors of 2, -6 and 4 parts.

    Over the times they leave both sums of the fit at zero, so that α is 1 s and 1/β 1 s/MB. With
    weights 1/t² the matrix of the fit is ((61, 95), (95, 181)) / 144, its inverse ((181, -95),
    (-95, 61)) / 14, and the square of the residual 56, of one degree of freedom: the variances of α
    and 1/β are 724 and 244, their covariance -380. Student's t is 12.7062.
    """
    line = fit([1e6, 2e6, 3e6], [2 * (1 + 2 * error), 3 * (1 - 6 * error), 4 * (1 + 4 * error)])
    reach = 12.7062047 * error
    alpha, slope = reach * math.sqrt(724), reach * math.sqrt(244)
    assert (line.alpha, line.alpha_high) == pytest.approx((1, 1 + alpha))
    assert line.alpha_low == pytest.approx(max(0, 1 - alpha))
    assert (line.beta, line.beta_low) == pytest.approx((1e6, 1e6 / (1 + slope)))
    if error == 0.001:
        assert line.beta_high == pytest.approx(1e6 / (1 - slope))
    else:
        assert line.beta_high is None
    half = reach * math.sqrt(724 + 244 + 2 * 380)
    assert (line.half, line.half_low, line.half_high) == pytest.approx(
        (1e6, 1e6 * math.exp(-half), 1e6 * math.exp(half))
    )
    assert line.residual == pytest.approx(error * math.sqrt(56))
    assert (line.worst, line.worst_size) == (pytest.approx(-6 * error), 2e6)


def test_the_smallest_size_counts_as_much_as_the_largest():
    """Plain least squares would lose 10 µs among the errors of seconds."""
    draw = np.random.default_rng(1)
    sizes = np.array([8 * 4**k for k in range(15)])
    times = (1e-5 + sizes / 1e9) * draw.lognormal(0, 0.02, sizes.size)
    line = fit(sizes, times)
    assert line.alpha == pytest.approx(1e-5, rel=0.05)
    assert line.residual == pytest.approx(0.02, rel=0.5)
    plain = np.linalg.lstsq(np.stack([np.ones(15), sizes], 1), times, rcond=None)[0][0]
    assert abs(plain - 1e-5) > 1e-5


def test_what_the_sizes_cannot_say_has_no_bound():
    draw = np.random.default_rng(3)
    small = fit([8, 16, 32, 64], 1e-5 * draw.lognormal(0, 0.01, 4))
    assert small.beta_high is None
    assert small.alpha == pytest.approx(1e-5, rel=0.05)
    sizes = np.array([1 << 28, 1 << 29, 1 << 30, 1 << 31])
    large = fit(sizes, sizes / 1e9 * draw.lognormal(0, 0.01, 4))
    assert large.alpha_low == 0.0
    assert large.beta == pytest.approx(1e9, rel=0.05)
    falling = fit([8, 64, 512], [3e-5, 2e-5, 1e-5])
    assert (falling.beta, falling.half, falling.beta_high) == (None, None, None)
    assert falling.alpha == pytest.approx(2e-5)


def test_where_no_line_fits_the_residual_says_so():
    sizes = np.array(SIZES)
    times = 1e-5 + sizes / 1e9
    times[3] *= 2.0
    line = fit(sizes, times)
    assert line.residual > 0.2
    assert line.worst_size == SIZES[3]
    assert line.worst > 0.3


def test_too_few_sizes_and_impossible_times_are_refused():
    with pytest.raises(ValueError, match="at least 3 different sizes"):
        fit([8, 8, 64], [1.0, 1.0, 2.0])
    for sizes, times in (([0, 8, 16], [1, 1, 1]), ([4, 8, 16], [1, 0, 1])):
        with pytest.raises(ValueError, match="must be positive"):
            fit(sizes, times)


@pytest.mark.parametrize("time", [0.0, -1e-6, math.inf])
def test_a_time_that_is_none_has_no_line_and_a_reason(time):
    cases = [collective(number, size) for number, size in enumerate((8, 64, 512))]
    rows = [(number, 0, 1e-5) for number in range(2)]
    found = links(header(*cases), columns(*rows, (2, 0, time)))
    assert [(one.line, one.problem) for one in found] == [
        (None, "a time is not above 0: no line goes through it")
    ]


def collective(number, size, schedule=0, **axes):
    whole = {"op": "all_reduce", "size": size, "dtype": "fp32", "buffers": "", **axes}
    return case(
        number,
        "collectives",
        whole,
        metric="time",
        unit="s",
        better="lower",
        scope="group",
        schedule=schedule,
    )


def test_links_are_told_apart_by_all_that_makes_them_differ():
    cases, rows = [], []

    def add(size, seconds, groups=(0,), status="ok", **axes):
        cases.append(collective(len(cases), size, **axes))
        rows.extend((len(cases) - 1, group, seconds, status, "") for group in groups)

    for size in (1 << 10, 1 << 20, 1 << 30):
        add(size, 1e-5 + size / 1e9, groups=(0, 1))
        add(size, 2e-5 + size / 2e9, schedule=1)
        add(size, 3e-5 + size / 1e9, in_flight=4, buffers="in_place")
        add(size, 9e-5 + size / 1e9, status="contended", op="reduce")
    add(8, 1e-6, op="barrier")
    for size in (8, 64):
        add(size, 1e-6, op="gather")
    made = header(
        *cases,
        fleet=DeviceGroup(count=2, devices=4, chip="sim-a"),
        schedules=[
            ScheduleSpec(kind="nodes", scope="group", groups=2),
            ScheduleSpec(kind="rails", scope="group", groups=4, arguments={"together": False}),
        ],
    )
    found = {one.name: one for one in links(made, columns(*rows))}
    assert list(found) == [
        "all_reduce fp32 over node",
        "all_reduce fp32 over rail alone",
        "all_reduce fp32 in place 4 in flight over node",
        "barrier fp32 over node",
        "gather fp32 over node",
    ]
    node, rail, flight, barrier, gather = found.values()
    assert (node.ranks, node.groups, node.sizes) == (4, 2, [1 << 10, 1 << 20, 1 << 30])
    assert node.line.alpha == pytest.approx(1e-5)
    assert node.line.beta == pytest.approx(1e9 * 2 * 3 / 4)  # as busbw
    assert node.line.half == pytest.approx(1e4)
    assert (rail.ranks, rail.line.beta) == (2, pytest.approx(2e9))
    assert flight.line.alpha == pytest.approx(3e-5)
    assert barrier.line is None
    assert "all latency" in barrier.problem
    # With four ranks the smallest gather has four elements.
    assert gather.problem == "measured at 16B, 64B only: a line with its error needs 3 sizes"


def simulated(folder, *entries):
    made = Suite(name="sim", stages=[StageConfig(name="fabric", entries=list(entries))])
    cluster = Cluster(name="t", chip="sim-a", nodes=4, devices=4, efficiency=0.8)
    return execute(
        made,
        SimulatedExecutor(cluster, CHIPS),
        folder,
        "run",
        chips=CHIPS,
        command=[],
        environment={},
    ).folder


def test_a_simulated_run_gives_back_what_it_was_made_of(tmp_path):
    sizes = ["64B", "4KiB", "1MiB", "64MiB", "1GiB"]
    folder = simulated(
        tmp_path,
        Entry(benchmark="collectives", axes={"size": sizes}, place={"over": "node"}),
    )
    reader = RunReader(folder)
    (one,) = links(reader.header, reader.columns())
    assert (one.provenance, one.groups) == ("simulated", 4)
    assert one.line.beta == pytest.approx(0.8 * CHIPS["sim-a"].link.value, rel=0.05)
    assert one.line.alpha == pytest.approx(2 * 3 * 2e-6 / 0.8, rel=0.05)


def test_the_verb_prints_lines_and_reasons(tmp_path):
    simulated(
        tmp_path,
        Entry(
            benchmark="collectives",
            axes={"op": ["all_reduce", "barrier"], "size": ["64B", "1MiB", "1GiB"]},
            place={"over": "node"},
        ),
        Entry(benchmark="collectives", axes={"size": "1MiB"}, place={"over": "all"}),
    )
    said = CliRunner().invoke(command, ["links", "run", "--out", str(tmp_path)])
    assert said.exit_code == 0, said.output
    assert "all_reduce fp32" in said.output
    assert "GB/s to" in said.output
    assert "barrier fp32 over node, 4 ranks: a barrier moves no data" in said.output
    assert "over all, 16 ranks: measured at 1MiB only" in said.output
    told = CliRunner().invoke(command, ["links", "run", "--out", str(tmp_path), "--json"])
    whole = json.loads(told.output)
    assert [one["op"] for one in whole["links"]] == ["all_reduce", "barrier", "all_reduce"]
    assert whole["links"][0]["line"]["beta_low"] < whole["links"][0]["line"]["beta"]


def test_a_run_without_collectives_says_so(tmp_path):
    simulated(tmp_path, Entry(benchmark="gemm", axes={}))
    said = CliRunner().invoke(command, ["links", "run", "--out", str(tmp_path)])
    assert said.exit_code == 0
    assert "no good value of collectives" in said.output
