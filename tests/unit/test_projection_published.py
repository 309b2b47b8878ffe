"""Published runs: read, fitted on the small ones, held against the others."""

import json
import math
from dataclasses import replace

import pytest

from bench.analysis.projection.fitting import SPREAD, fit
from bench.analysis.projection.published import published
from bench.analysis.projection.rates import Efficiency
from bench.analysis.projection.validate import BOUNDS, SMALL, missed, told, validate
from bench.errors import ConfigError, UsageError
from bench.report.projection import validation_markdown

TABLE = """
- table: own-2024
  chip: h100-sxm
  dtype: bf16
  seq: 4096
  vocab: 32000
  ffn: 4h
  columns: [layers, hidden, heads, tp, pp, dp, global_batch, micro_batch, recompute, {extra}]
  rows:
    - [24, 2048, 16, 1, 1, 8, 64, 2, none, {value}]
"""


def written(tmp_path, extra="seconds", value="1.0", change=("", "")):
    path = tmp_path / "tables.yaml"
    path.write_text(TABLE.format(extra=extra, value=value).replace(*change))
    return path


@pytest.fixture(scope="module")
def found():
    return validate(*published())


def test_the_bounds_are_met(found):
    assert missed(found) == []
    assert found.mean() <= BOUNDS["mean"]
    assert found.largest() <= BOUNDS["largest"]
    assert found.memory()[0] <= BOUNDS["memory"]


def test_constants_rest_on_small_runs_only(found):
    assert all(c.fitted == (c.row.chips <= SMALL) for c in found.comparisons)
    assert found.fitted.rows == sum(c.fitted for c in found.comparisons)
    # What large runs say moves nothing.
    rows = [
        replace(c.row, seconds=c.row.seconds * (1 if c.fitted else 2)) for c in found.comparisons
    ]
    again = validate(rows)
    assert again.fitted == found.fitted
    assert again.mean() > 0.4
    assert len(missed(again)) == 2


def test_constants_have_deviations_and_no_table_has_its_own(found):
    names = [(c.name, c.chip) for c in found.fitted.constants]
    assert len(names) == len(set(names))
    assert {name for name, _ in names} == set(SPREAD)
    assert {chip for _, chip in names} == {"", "a100-sxm-80g", "h100-sxm"}
    assert all(0 < c.deviation < SPREAD[c.name] * c.value * 1.1 for c in found.fitted.constants)


def test_rows_with_an_assumption_do_not_count_towards_the_largest(found):
    assumed = [c for c in found.comparisons if c.row.assumed]
    assert {c.row.table for c in assumed} == {"megatron-core-h100"}
    assert found.largest("megatron-core-h100") is None
    assert found.mean("megatron-core-h100") is not None


def test_the_page_has_every_row(found):
    page = validation_markdown(found, missed(found))
    assert page.count("\n| korthikanti-2022 |") == 1 + 8
    assert "All are met." in page
    assert json.dumps(told(found)["errors"])


def test_constants_are_found_again():
    true = replace(Efficiency(), gemm=0.55, memory=0.8)

    def step(index, efficiency):
        return (1 + index) / efficiency.gemm + (8 - index) / efficiency.memory

    seconds = [step(index, true) for index in range(8)]
    made = fit(step, seconds, ["a"] * 8)
    assert made.efficiency("a").gemm == pytest.approx(0.55, rel=0.03)
    assert made.efficiency("a").memory == pytest.approx(0.8, rel=0.03)
    assert made.efficiency("b").gemm == Efficiency().gemm
    assert made.efficiency("a").jitter == pytest.approx(Efficiency().jitter)


def test_few_runs_move_a_constant_as_far_as_they_speak_for_it():
    """Of a constant in whose logarithm a step is linear, the normal posterior is known.

    Four steps of 3 % each weigh 4 / 0.03², what is typical of products 1 / 0.15²: together 4488.9,
    of which the steps are 99.01 %.
    """
    made = fit(
        lambda _, efficiency: 1 / efficiency.gemm, [1 / 0.6] * 4 + [1 / 0.65], ["a"] * 4 + ["b"]
    )
    gemm = {one.chip: one for one in made.constants if one.name == "gemm"}
    weight, whole = 4 / 0.03**2, 4 / 0.03**2 + 1 / 0.15**2
    value = 0.7 * (0.6 / 0.7) ** (weight / whole)
    assert gemm["a"].value == pytest.approx(value, rel=1e-6)
    assert gemm["a"].deviation == pytest.approx(value / math.sqrt(whole), rel=1e-6)
    weight, whole = 1 / 0.03**2, 1 / 0.03**2 + 1 / 0.15**2
    assert gemm["b"].value == pytest.approx(0.7 * (0.65 / 0.7) ** (weight / whole), rel=1e-6)
    # What no step depends on stays typical, and as uncertain as that.
    for one in made.constants:
        if one.name != "gemm":
            assert (one.chip, one.value) == ("", pytest.approx(one.typical))
            assert one.deviation == pytest.approx(SPREAD[one.name] * one.typical)


def test_no_share_is_above_one_and_waiting_may_be_of_any_length():
    made = fit(lambda _, efficiency: 1 / efficiency.memory, [1 / 1.5] * 50, ["a"] * 50)
    assert made.efficiency().memory == 1.0
    found = fit(lambda _, efficiency: efficiency.host, [1.5] * 50, ["a"] * 50, usual=slow())
    assert found.efficiency().host == pytest.approx(1.5, rel=1e-3)


def slow():
    return replace(Efficiency(), host=0.5)


def test_seconds_from_tflops_and_mfu_agree(tmp_path):
    ((first,), _) = published(written(tmp_path, "tflops", "400"))
    ((second,), _) = published(written(tmp_path, "mfu_percent", str(400 / 989 * 100)))
    assert first.seconds == pytest.approx(second.seconds)
    work = first.model.flops_per_token("full") * 64 * 4096
    assert first.seconds == pytest.approx(work / (400e12 * 8))


def test_a_convention_of_flops_that_there_is_not_is_refused(tmp_path):
    path = written(tmp_path, "tflops", "400", ("seq: 4096", "seq: 4096\n  flops: some"))
    with pytest.raises(ConfigError, match="unknown flops 'some'"):
        published(path)


def test_tokens_and_memory_of_a_row(tmp_path):
    ((row,), _) = published(
        written(tmp_path, "tokens_per_second_per_chip, memory_gib", "32768, 20")
    )
    assert row.seconds == pytest.approx(64 * 4096 / (32768 * 8))
    assert row.memory == (20 * 2**30,)
    made = validate([row])
    assert made.comparisons[0].memory_error is not None


def test_what_a_table_leaves_out_is_assumed_and_said(tmp_path):
    given = ("micro_batch, recompute, seconds", "seconds"), ("64, 2, none, 1.0", "64, 1.0")
    path = written(tmp_path)
    text = path.read_text()
    for old, new in given:
        text = text.replace(old, new)
    path.write_text(text)
    ((row,), notes) = published(path)
    assert row.assumed == ("micro-batch", "recompute")
    assert len(row.plans) > 3
    assert notes == []


def test_what_is_not_used_is_said(tmp_path):
    _, notes = published(written(tmp_path, change=("ffn: 4h", "ffn: 4h\n  weather: fine")))
    assert notes == ["own-2024: not used: weather"]


def test_other_tables_are_held_against_constants_of_all(tmp_path):
    rows, _ = published(written(tmp_path))
    made = validate(rows, beside=published()[0])
    assert [c.row.table for c in made.comparisons] == ["own-2024"]
    assert made.fitted.rows == 1 + validate(*published()).fitted.rows


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("h100-sxm", "h1000"), "unknown chip 'h1000'"),
        (("seq: 4096", "seq: 0"), "seq must be a positive number"),
        (("none, 1.0]", "none]"), "must have 10 values"),
        (("16, 1, 1, 8, 64", "16, 3, 1, 8, 64"), "no layout that this row allows"),
        (("  dtype: bf16\n", ""), "the key 'dtype' is missing"),
        (("recompute, seconds", "recompute, minutes"), "neither seconds nor any of"),
        (("2, none, 1.0", "2, some, 1.0"), "unknown recompute 'some'"),
        (("seq: 4096", "seq: 4096\n  year: soon"), "of another kind than it should"),
        (("seq: 4096", "seq: 4096\n  head_dim: [1]"), "of another kind than it should"),
    ],
)
def test_a_table_that_says_nonsense_is_refused_at_its_line(tmp_path, change, why):
    with pytest.raises((ConfigError, UsageError), match=why) as caught:
        published(written(tmp_path, change=change))
    assert "tables.yaml:" in str(caught.value)
