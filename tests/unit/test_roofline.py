"""The roofline: arithmetic that can be done by hand, and what must not be invented."""

from __future__ import annotations

import io
import json
import math
import sys
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parent))
import made_runs
from made_runs import columns, header

from bench.analysis.roofline import ChipRoofline, roofline
from bench.cli import cli
from bench.configs import Chip, Figure
from bench.records import Device, Node
from bench.report.roofline import HEIGHT, WIDTH, drawing, print_roofline


def figure(value, status="vendor"):
    return Figure(value=value, source="s", date="2025-03-01", status=status)


CHIP = Chip(
    name="acme-1",
    vendor="Acme",
    flops={"bf16": figure(1e14), "fp8": figure(2e14), "fp16": figure(9e14, "disputed")},
    memory_bandwidth=figure(1e12),
)
CHIPS = {"acme-1": CHIP}


def case(number, benchmark, metric="flops", **axes):
    unit = "FLOP/s" if metric == "flops" else "B/s"
    title = " ".join([benchmark, *filter(None, axes.values())])
    return made_runs.case(number, benchmark, axes, metric, unit, title=title)


def gemm(number, shape="1000x1000x1000", dtype="bf16", impl="torch"):
    return case(number, "gemm", shape=shape, dtype=dtype, layout="nn", impl=impl)


def stream(number, op="copy", dtype="bf16", impl="torch"):
    return case(number, "stream", "bandwidth", op=op, size="1GB", dtype=dtype, impl=impl)


def compute(number, mode="burst", impl="torch", shape="1000x1000x1000", op="gemm", variant="nn"):
    axes = {"op": op, "shape": shape, "variant": variant, "dtype": "bf16", "impl": impl}
    return case(number, "compute", **axes, mode=mode)


def one(made, *rows, chips=CHIPS) -> ChipRoofline:
    (found,) = roofline(made, columns(*rows), chips)
    return found


def test_points_stand_under_the_lower_roof():
    made = header(gemm(0), gemm(1, "1x1000x1000"), stream(2, "triad"))
    found = one(made, (0, 0, 5e13), (0, 1, 7e13), (1, 0, 8e11), (2, 0, 9e11), (2, 1, 9e11))
    assert (found.chip, found.provenance, found.devices) == ("acme-1", "measured", 2)
    square, row, triad = found.points
    # 2·10⁹ FLOPs over 3 · 10⁶ elements of two bytes; the median device of two.
    assert square.intensity == pytest.approx(1e3 / 3)
    assert square.flops == pytest.approx(6e13)
    assert square.bandwidth == pytest.approx(6e13 / (1e3 / 3))
    assert square.datasheet.fraction == square.datasheet.of_peak == pytest.approx(0.6)
    assert square.datasheet.of_bandwidth == pytest.approx(0.18)
    assert (square.datasheet.limit, square.datasheet.certain, square.devices) == (
        "compute",
        True,
        2,
    )
    # A row times a matrix: about one FLOP a byte.
    assert row.intensity == pytest.approx(2e6 / 2.004e6)
    assert row.datasheet.limit == "memory"
    assert row.datasheet.fraction == pytest.approx(8e11 / 1e12 / row.intensity)
    assert triad.intensity == pytest.approx(2 / 6)
    assert triad.datasheet.fraction == pytest.approx(0.9)
    assert found.datasheet.ridges == {"bf16": 100.0, "fp8": 200.0}
    assert "fp16" not in found.datasheet.peaks  # disputed


def test_measured_roofs_are_the_best_products_and_streams_back_to_back():
    made = header(
        gemm(0),
        gemm(1, impl="triton"),
        compute(2, "burst"),
        compute(3, "sustained"),
        stream(4, "triad"),
        stream(5, "read"),
    )
    rows = [(0, 0, 4e13), (1, 0, 5e13), (2, 0, 9e13), (3, 0, 4.5e13), (4, 0, 7e11), (5, 0, 8e11)]
    found = one(made, *rows, chips={})
    assert found.datasheet.peaks == {}
    assert found.datasheet.bandwidth is None
    peak, wide = found.measured.peaks["bf16"], found.measured.bandwidth
    assert (peak.value, peak.source) == (pytest.approx(5e13), "gemm 1000x1000x1000 bf16 nn triton")
    assert (wide.value, wide.source) == (pytest.approx(8e11), "stream read 1GB bf16 torch")
    assert found.measured.ridges["bf16"] == pytest.approx(62.5)
    points = found.points
    assert points[1].measured.fraction == pytest.approx(1.0)
    assert points[0].datasheet.fraction is None
    assert points[0].datasheet.limit == ""
    # A cold single call that beats what is sustained is said, not hidden.
    (finding,) = found.findings
    assert finding.kind == "above-roof"
    assert "90 TFLOP/s is 80% above the roof of 50 TFLOP/s" in finding.text


def test_what_is_above_the_datasheet_is_a_finding():
    found = one(header(gemm(0), stream(1)), (0, 0, 1.04e14), (1, 0, 1.2e12))
    (finding,) = found.findings
    assert finding.name == "stream copy 1GB bf16 torch"
    assert finding.text == (
        "1.2 TB/s is 20% above the roof of 1 TB/s (datasheet of acme-1): one of them is wrong"
    )


def test_an_unknown_roof_is_absent_and_the_limit_uncertain():
    chips = {"acme-1": Chip(name="acme-1", vendor="Acme", flops={"bf16": figure(1e14)})}
    found = one(
        header(gemm(0), gemm(1, dtype="fp16"), stream(2)),
        (0, 0, 5e13),
        (1, 0, 1e13),
        (2, 0, 1e12),
        chips=chips,
    )
    known, unknown, copy = (point.datasheet for point in found.points)
    assert (known.fraction, known.of_bandwidth, known.certain) == (pytest.approx(0.5), None, False)
    assert (unknown.fraction, unknown.limit) == (None, "")
    assert (copy.fraction, copy.limit) == (None, "")
    disputed = msgspec.structs.replace(CHIP, memory_bandwidth=figure(1e12, "disputed"))
    found = one(header(stream(0)), (0, 0, 1e12), chips={"acme-1": disputed})
    assert found.datasheet.bandwidth is None


def test_copies_are_limited_by_memory_alone():
    chips = {"acme-1": Chip(name="acme-1", vendor="Acme", memory_bandwidth=figure(1e12))}
    (copy,) = one(header(stream(0)), (0, 0, 5e11), chips=chips).points
    assert (copy.datasheet.limit, copy.datasheet.certain) == ("memory", True)
    assert (copy.intensity, copy.flops) == (0.0, 0.0)
    assert copy.datasheet.fraction == pytest.approx(0.5)


def test_kinds_and_provenances_are_told_apart():
    devices = [
        Device(index=i, backend="b", name=n, chip=c)
        for i, (n, c) in enumerate([("A", "acme-1"), ("Other", None)])
    ]
    nodes = [Node(id="n", name="n", devices=tuple(devices))]
    made = header(gemm(0), fleet=None, nodes=nodes)
    found = roofline(
        made,
        columns(
            (0, 0, 5e13),
            (0, 1, 1e12),
            (0, 0, 9e13, "ok", "", "stand-in"),
            (0, 1, 9e13, "invalid"),
        ),
        CHIPS,
    )
    assert [(chip.chip, chip.provenance, chip.points[0].flops) for chip in found] == [
        ("acme-1", "measured", pytest.approx(5e13)),
        ("acme-1", "stand-in", pytest.approx(9e13)),
        ("Other", "measured", pytest.approx(1e12)),
    ]


def test_named_shapes_have_a_place_and_unknown_ones_are_named():
    made = header(
        compute(0, op="attention", shape="llama-70b/tp8/attention", variant="causal"),
        compute(1, shape="typical"),
        compute(2, shape="gone/tp1/qkv"),
        case(3, "compute", "error", op="gemm"),
        case(4, "precision", shape="8x8x8", dtype="bf16"),
    )
    found = one(made, *((number, 0, 1e13) for number in range(5)))
    assert [point.case for point in found.points] == [0, 1]
    assert found.points[1].intensity == pytest.approx(8192 / 3)
    assert [finding.name for finding in found.findings] == [
        "compute gemm gone/tp1/qkv nn bf16 torch burst"
    ]
    assert "unknown model 'gone'" in found.findings[0].text


def test_maturity_is_ours_over_the_best_library_with_every_operation_of_equal_weight():
    made = header(
        *(gemm(0, impl="torch"), gemm(1, impl="vendor"), gemm(2, impl="triton")),
        *(gemm(3, "64x64x64", impl="torch"), gemm(4, "64x64x64", impl="triton")),
        *(stream(5, impl="torch"), stream(6, impl="triton")),
        stream(7, "triad", impl="triton"),  # nothing to compare with
    )
    rates = [5e13, 8e13, 4e13, 1e12, 2e12, 5e11, 1e11, 5e11]
    found = one(made, *((number, 0, rate) for number, rate in enumerate(rates))).maturity
    assert found.ops == {"gemm": pytest.approx((0.5 * 2) ** 0.5), "stream": pytest.approx(0.2)}
    assert found.ratio == pytest.approx((1.0 * 0.2) ** 0.5)
    assert found.cases == 3
    assert one(header(gemm(0)), (0, 0, 1e12)).maturity is None


def test_the_drawing_shows_roofs_and_points_where_they_are():
    made = header(gemm(0), gemm(1, "1x1000x1000"), stream(2))
    found = one(made, (0, 0, 1e14), (1, 0, 1e11), (2, 0, 5e11))
    lines = drawing(found)
    assert len(lines) == HEIGHT + 3
    assert max(map(len, lines)) <= WIDTH + 11
    grid = [line[11:] for line in lines[1 : HEIGHT + 1]]
    cells = {
        (row, column): sign for row, line in enumerate(grid) for column, sign in enumerate(line)
    }
    dots = sorted(place for place, sign in cells.items() if sign == "o")
    assert len(dots) == 2  # copy computes nothing
    (high, right), (low, left) = dots
    assert left < right
    assert "-" in grid[high]  # at the peak of bf16
    slope = min(row for (row, column), sign in cells.items() if column == left and sign == "/")
    assert slope < low  # a tenth of what memory lets through is below the roof
    assert drawing(one(header(stream(0)), (0, 0, 5e11), chips={})) == []


@pytest.mark.parametrize("rate", [0.0, -1e14, math.inf])
def test_a_rate_that_is_none_has_no_place_on_the_axes(rate):
    made = header(gemm(0), gemm(1, "1x1000x1000"), stream(2))
    rows = (0, 0, 1e14), (2, 0, 5e11)
    assert drawing(one(made, *rows, (1, 0, rate))) == drawing(one(made, *rows))


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_screen_loses_nothing(width):
    made = header(gemm(0), gemm(1, impl="triton"), stream(2), gemm(3, dtype="fp16"))
    found = one(made, (0, 0, 5e13), (1, 0, 4e13), (2, 0, 5e11), (3, 0, 3e13))
    text = io.StringIO()
    print_roofline(Console(file=text, width=width, markup=False, emoji=False), found)
    shown = " ".join(text.getvalue().split())
    for part in ("acme-1: 2 devices, measured", "50.0%", "compiler maturity 0.80", "(gemm 0.80)"):
        assert part in shown
    assert "?: the other roof is unknown" not in shown  # measured roofs know all of them
    lone = one(header(gemm(0)), (0, 0, 5e13), chips={})
    print_roofline(Console(file=text, width=width), lone)
    assert "?: the other roof is unknown" in text.getvalue()
    axes = {"op": "rope", "shape": "small", "variant": "forward", "dtype": "bf16", "impl": "torch"}
    memory = made_runs.case(0, "memory", {**axes, "mode": "burst"}, "bandwidth", "B/s")
    print_roofline(Console(file=text, width=width), one(header(memory), (0, 0, 5e11), chips={}))
    assert "500 GB/s" in " ".join(text.getvalue().split())  # no roof at all: as it was measured


def test_the_command_prints_and_gives_json(tmp_path):
    runner = CliRunner()
    out = ["--out", str(tmp_path)]
    done = runner.invoke(cli, ["run", "quick", "--cluster", "small", "--quiet", *out])
    assert done.exit_code == 0, done.output
    (run,) = (path.name for path in tmp_path.iterdir())
    shown = runner.invoke(cli, ["results", "roofline", run, *out])
    assert "sim-a: 16 devices, simulated" in shown.output
    assert "stream triad 1GiB fp32 triton" in " ".join(shown.output.split())
    suite = tmp_path / "other.yaml"
    suite.write_text("name: other\nstages:\n  - {name: a, benchmarks: [launch]}\n")
    other = tmp_path / "other"
    done = runner.invoke(cli, ["run", str(suite), "--cluster", "small", "-q", "--out", str(other)])
    (empty,) = other.iterdir()
    shown = runner.invoke(cli, ["results", "roofline", str(empty)])
    assert (shown.exit_code, shown.stdout) == (0, "")
    assert "no good value of gemm" in shown.stderr
    told = json.loads(runner.invoke(cli, ["results", "roofline", run, *out, "--json"]).stdout)
    chips = msgspec.convert(told["chips"], list[ChipRoofline])
    assert told["run"] == run
    assert [chip.chip for chip in chips] == ["sim-a"]
    assert chips[0].datasheet.peaks["bf16"].value == 4e14
