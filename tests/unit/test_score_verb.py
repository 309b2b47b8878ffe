"""`hengsuan score`: profiles, languages, declared systems, and what it refuses in a sentence."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.analysis.derived import DERIVED
from bench.cli import cli
from bench.configs import load_chips, load_facility, load_profile
from bench.errors import ConfigError, Exit
from bench.report.chinese import WORDS
from bench.report.language import chinese

SHANGHAI = load_profile("shanghai-2026")


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """Runs of one simulated fleet in two sites."""
    folder = tmp_path_factory.mktemp("runs")
    for suite in ("quick", "scaling", "sites"):
        words = ["run", suite, "--cluster", "two-sites", "--quiet", "--out", str(folder)]
        assert CliRunner().invoke(cli, words).exit_code == 0
    return folder


def ids(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def hengsuan(*words: object):
    """The verb's own exit code, or its error's, as ``exit_code``."""
    done = CliRunner().invoke(cli, list(map(str, words)), standalone_mode=False)
    done.exit_code = getattr(done.exception, "exit", done.return_value)
    return done


def invoke(out: Path, *words: object):
    """Score all of the fleet's own runs."""
    runs = [one for one in ids(out) if not one.startswith("other")]
    return hengsuan("score", *runs, "--out", out, *words)


def card(out: Path, *words: object) -> dict:
    done = invoke(out, "--json", *words)
    assert done.exit_code == 0, done.output
    (found,) = json.loads(done.stdout)["scorecards"]
    return found


SYSTEM = """\
name: made up
pue: {value: 1.25, source: meters}
it_power: {value: 90000, devices: 128, source: rack meters}
device_hours: {allocated: 30, available: 40, source: scheduler}
chips: [{name: sim-a, count: 1024, origin: self-reliant, source: procurement}]
frameworks: [{name: a, count: 3, origin: imported}, {name: b, count: 1, origin: unknown}]
"""


@pytest.fixture
def system(tmp_path):
    path = tmp_path / "SYSTEM.yaml"
    path.write_text(SYSTEM)
    return path


def test_a_cluster_is_scored_by_eleven_categories(out):
    found = card(out)
    assert [one["name"] for one in found["categories"]] == [
        "compute", "memory", "host links", "intra-node fabric", "inter-node fabric", "training",
        "scaling", "stability", "reliability", "energy", "software maturity",
    ]  # fmt: skip
    assert found["provenance"] == "simulated"
    assert 0 < found["low"] <= found["overall"] <= found["high"] <= 100
    assert 0 < found["coverage"] < 1
    metrics = [one for each in found["categories"] for one in each["metrics"]]
    for one in metrics:
        assert (one["efficiency"] is None) == bool(one["absent"])
        assert one["confidence"] in ("high", "medium", "low", "declared", "none")
        assert (one["achieved"] is None) == (one["provenance"] == "")
    energy = found["categories"][9]
    assert (energy["score"], energy["coverage"]) == (None, 0.0)
    names = [one["metric"] for one in found["chain"]]
    assert names[:5] == ["mfu_device", "eta_intra", "eta_inter", "goodput", "end_to_end"]
    assert found["chain"][4]["absent"] == "not measured: goodput"
    assert {"flops_utilization", "device_hours_utilization"} < set(names)


def test_what_is_printed_has_interval_coverage_and_what_is_absent(out):
    shown = invoke(out).output
    assert re.search(r"overall score \d+/100 \([\d.]+ to [\d.]+, 95 %\), coverage \d+%", shown)
    assert "worth most, in points of the overall score" in shown
    assert "absent: energy: " in shown
    assert "no interrupted training was measured" in shown


def test_declared_figures_enter_and_say_so(out, system):
    found = card(out, "--profile", "shanghai-2026", "--system", system)
    by_metric = {
        one["metric"]: one for each in found["categories"] for one in each["metrics"]
    }  # fmt: skip
    chips = by_metric["self_reliant_chips_by_count"]
    assert (chips["achieved"], chips["provenance"]) == (1.0, "declared")
    assert chips["confidence"] == "declared"
    assert by_metric["self_reliant_frameworks_by_count"]["achieved"] == 0.0
    assert by_metric["device_hours_utilization"]["achieved"] == 0.75
    assert by_metric["pue"]["efficiency"] == 0.8
    assert by_metric["facility_flops_per_watt"]["achieved"] > 0
    assert by_metric["measured_flops"]["coverage"] == pytest.approx(128 / 1024)
    assert by_metric["trainable_parameters"]["achieved"] is None
    shown = invoke(out, "--profile", "shanghai-2026", "--system", system).output
    assert "1024 sim-a, bf16: below the class 1,000-3,000 P, a test platform" in shown
    assert "128 of 1024 devices measured, bf16: " in shown
    assert "0 of 4 declared self-reliant, 1 of unknown origin" in shown


def test_a_projection_says_whether_a_trillion_parameters_can_be_trained(out, tmp_path):
    path = tmp_path / "projection.json"
    said = hengsuan("project", "dense-1t", "--cluster", "plan-16384", "--json")
    path.write_text(said.stdout)
    found = card(out, "--profile", "shanghai-2026", "--projection", path)
    ready = found["categories"][1]["metrics"][0]
    wanted = json.loads(said.stdout)["projection"]["parameters"]
    assert (ready["achieved"], ready["provenance"]) == (wanted, "projected")
    path.write_text('{"model": "x"}')
    done = invoke(out, "--projection", path)
    assert done.exception.exit == Exit.USAGE
    assert f"{path}:1: no projection" in str(done.exception)
    done = invoke(out, "--projection", tmp_path / "none.json")
    assert "no such file" in str(done.exception)


def test_every_line_of_the_plan_cites_its_clause():
    for lines in SHANGHAI.categories.values():
        for line in lines:
            assert re.search(r"[一二三四]、.+\d|[一二三四]、.+\(.\)", line.clause), line
            assert line.quote
            assert line.title
            assert line.title_zh
    assert "51号" in SHANGHAI.note


def test_the_standard_is_grouped_and_not_reproduced(out, tmp_path):
    profile = load_profile("gbt-46346")
    assert list(profile.categories) == [
        "compute scale", "network scale", "storage scale", "communication performance",
        "storage performance", "training performance", "inference performance",
        "compute availability",
    ]  # fmt: skip
    assert "not reproduced" in profile.note
    assert "未复现" in profile.note_zh
    assert all(
        line.reference == "threshold" for lines in profile.categories.values() for line in lines
    )
    bare = invoke(out, "--profile", "gbt-46346", "--json")
    assert bare.exit_code == Exit.INCONCLUSIVE  # without thresholds there is nothing to score by
    assert json.loads(bare.stdout)["scorecards"][0]["overall"] is None
    path = tmp_path / "SYSTEM.yaml"
    path.write_text("name: x\nthresholds: {training_mfu: 0.4}\n")
    found = card(out, "--profile", "gbt-46346", "--system", path)
    assert found["overall"] == 100.0
    assert found["coverage"] < 0.2


def test_chinese(out, system):
    words = ["--profile", "shanghai-2026", "--system", system, "--lang", "zh"]
    shown = invoke(out, *words).output
    for text in (
        "总分",
        "覆盖率",
        "自主可控芯片占比（按实测算力）",
        "算力利用率（实际/峰值 FLOPS）",
        "算力利用率（已分配/可用卡时）",
        "申报",
        "缺失",
        "未提供推演结果",
        "二、主要任务 7",
    ):
        assert text in shown, text
    left = [line for line in shown.splitlines() if line.startswith("缺失：")]
    assert left
    assert not [line for line in left if re.search(r"[a-z]{4,} [a-z]{3,} [a-z]{2,}", line)]
    every = [
        one for each in card(out)["categories"] for one in each["metrics"] if one["detail"]
    ]  # fmt: skip
    assert every
    assert not [one["detail"] for one in every if chinese(one["detail"]) == one["detail"]]


def test_every_derived_metric_is_called_something_in_chinese():
    missing = [
        kind.about for (benchmark, _), kind in DERIVED.items()
        if kind.about not in WORDS and benchmark != "system"
    ]  # fmt: skip
    assert not missing


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("skipped: no timer", "跳过：no timer"),
        ("the suite quick does not measure it", "套件 quick 未测量此项"),
        ("it_power and pue not declared in SYSTEM.yaml", "SYSTEM.yaml 未申报 it_power、pue"),
        ("not measured: MFU of one device, goodput", "未测量：单卡 MFU、有效训练时间占比"),
        ("no weak scaling was measured (suite `scaling`)", "未测量弱扩展（套件 scaling）"),
        (
            "2 of 3 measurements contended: no Triton target on this device",
            "3 个测量值中 2 个受干扰：此设备没有 Triton 目标",
        ),
        (
            "flops 3 TFLOP/s, at least 5 TFLOP/s is required (a/0)",
            "flops 为 3 TFLOP/s，要求至少 5 TFLOP/s（a/0）",
        ),
        ("pue 1.3, at most 1.25 is required", "pue 为 1.3，要求至多 1.25"),
        ("flops at least 5 is required: not reached", "flops 要求至少 5：未执行到"),
        ("flops, efficiency", "flops（效率）"),
        (
            "0 of 4 declared self-reliant, 1 of unknown origin",
            "申报 4 中 0 为自主可控，1 个来源不明",
        ),
        (
            "1.5 of 3 PFLOP/s: declared devices times measured bf16 FLOP/s (simulated)",
            "3 PFLOP/s 中 1.5：申报设备数乘以实测 bf16 FLOP/s（模拟）",
        ),
        (
            "m, 1.005 trillion parameters, 64 devices, mfu 53.6%, 446.6 days, fits at no layout",
            "m，1.005 万亿参数，64 个设备，mfu 53.6%，446.6 天，没有可放下的并行布局",
        ),
        ("9 of 9 devices", "9 个设备中 9 个"),
        ("3 asked for, without gemm fp8", "要求 3 项，缺少 gemm fp8"),
        ("train tiny over all, 8 device(s) against 1", "train tiny over all，8 个设备对 1 个"),
        (
            "9 a, bf16: below the class 100-300 P, a heterogeneous cluster of high performance",
            "9 a, bf16：低于 100–300 P 高性能异构集群 一档",
        ),
        (
            "8 of 9 devices measured, bf16: of the class 1,000-3,000 P, a test platform for chips",
            "已测 9 个设备中的 8 个，bf16：属 1,000–3,000 P 芯片测试平台 一档",
        ),
        (
            "MFU of one device × η inside a node × goodput = 0.5; one node, nothing between nodes; "
            "of goodput one value is known, taken as exact",
            "单卡 MFU × 节点内 η × 有效训练时间占比 = 0.5；单节点，不存在节点间互联；"
            "其中有效训练时间占比只有单个数值，按精确值计",
        ),
        ("what nobody translated", "what nobody translated"),
    ],
)
def test_sentences_in_chinese(said, wanted):
    assert chinese(said) == wanted


PROFILE = """\
name: mine
weights: {a: 60, b: 40}
categories:
  a:
    - {benchmark: gemm, metric: flops}
  b:
    - {benchmark: stream, metric: bandwidth}
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("metric: flops", "metric: flopz", 5, "unknown metric of gemm 'flopz'"),
        ("benchmark: gemm", "benchmark: gem", 5, "unknown benchmark 'gem'"),
        ("b: 40", "b: 30", 2, "weights: add up to 90 percent, and must to 100"),
        ("b: 40", "c: 40", 2, "unknown category 'c'"),
        (", b: 40", "", 2, "weights: no weight of b"),
        ("a: 60, b: 40", "a: -60, b: 160", 2, "must be positive"),
        ("metric: bandwidth", "metric: bandwidth, reference: threshold", 7, "threshold's name"),
        ("metric: bandwidth", "metric: bandwidth, threshold: x", 7, "threshold's name"),
        ("metric: bandwidth", "metric: bandwidth, reference: magic", 7, "'magic'"),
    ],
)
def test_a_bad_profile_names_file_and_line(out, tmp_path, old, new, line, message):
    path = tmp_path / "mine.yaml"
    path.write_text(PROFILE.replace(old, new))
    done = invoke(out, "--profile", path)
    assert done.exception.exit == Exit.USAGE
    assert f"{path}:{line}: " in str(done.exception)
    assert message in str(done.exception)


def test_a_good_profile_scores_by_its_weights(out, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(PROFILE)
    found = card(out, "--profile", path)
    a, b = found["categories"]
    assert found["overall"] == pytest.approx(a["score"] ** 0.6 * b["score"] ** 0.4)


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("name: sim-a", "name: sim-x", 5, "unknown chip 'sim-x'"),
        ("name: made up", "name: made up\ndtype: bf17", 2, "unknown dtype 'bf17'"),
        ("value: 1.25", "value: 0.9", 2, "must be at least 1"),
        ("value: 90000", "value: -1", 3, "must be positive, in watts"),
        ("devices: 128", "devices: 0", 3, "must be at least 1"),
        ("allocated: 30", "allocated: 50", 4, "must be from 0 to available"),
        ("available: 40", "available: 0", 4, "must be positive"),
        (", source: procurement", "", 5, "declared self-reliant without a source"),
        ("count: 1024", "count: 0", 5, "must be at least 1"),
        ("origin: self-reliant", "origin: ours", 5, "unknown origin 'ours'"),
        ("origin: unknown", "origin: unknown, carries: {sim-x: 1}", 6, "unknown chip 'sim-x'"),
        ("origin: unknown", "origin: unknown, carries: {sim-a: -1}", 6, "must not be negative"),
        ("name: made up", "name: made up\nthresholds: {speed: 1}", 2, "unknown threshold 'speed'"),
        ("name: made up", "name: made up\npuee: 1", 2, "did you mean pue"),
        ("name: made up", "name: ''", 1, "must not be empty"),
        ("name: made up", "name: made up\nstorage: {value: 0, source: x}", 2, "in bytes"),
    ],
)
def test_a_bad_system_names_file_and_line(system, old, new, line, message):
    system.write_text(SYSTEM.replace(old, new))
    with pytest.raises(ConfigError, match=re.escape(message)) as raised:
        load_facility(system, load_chips(), set())
    assert raised.value.where == f"{system}:{line}"
    assert raised.value.exit == Exit.USAGE


def test_thresholds_are_positive(system):
    system.write_text("name: x\nthresholds: {a: 0}\n")
    with pytest.raises(ConfigError, match="must be positive"):
        load_facility(system, load_chips(), {"a"})


def altered(out: Path, name: str, **changes) -> Path:
    """A copy of a run that says something else of itself."""
    first = out / ids(out)[0]
    made = out / f"other-{name}"
    made.mkdir(exist_ok=True)
    raw = json.loads((first / "run.json").read_text())
    (made / "run.json").write_text(json.dumps(raw | {"id": made.name} | changes))
    rows = (first / "measurements.jsonl").read_text()
    if "provenance" in changes:
        rows = rows.replace("simulated", changes["provenance"])
    (made / "measurements.jsonl").write_text(rows)
    return made


def test_runs_that_do_not_belong_together_are_scored_apart(out, system):
    measured = altered(out, "measured", provenance="measured")
    raw = json.loads((out / ids(out)[0] / "run.json").read_text())
    kinds = altered(out, "kinds", fleet=raw["fleet"] | {"chip": "h100-sxm"})
    done = invoke(out, measured, kinds, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    cards = [(one["provenance"], one["kinds"]) for one in found["scorecards"]]
    assert cards == [
        ("simulated", ["sim-a"]), ("measured", ["sim-a"]), ("simulated", ["h100-sxm"])
    ]  # fmt: skip
    assert found["notes"][0].endswith("run other-measured is measured: they are scored apart")
    assert "of h100-sxm: they are scored apart" in found["notes"][1]
    refused = invoke(out, measured, "--system", system)
    assert refused.exception.exit == Exit.USAGE
    assert "--system declares one system" in str(refused.exception)


def test_a_run_of_another_schema_is_refused(out):
    other = altered(out, "schema", schema=9)
    done = invoke(out, other)
    assert done.exception.exit == Exit.USAGE
    assert f"{other}/run.json: results of schema 9" in str(done.exception)
    assert "newer hengsuan" in str(done.exception)


def test_a_chip_without_a_datasheet_has_no_score(out):
    raw = json.loads((out / ids(out)[0] / "run.json").read_text())
    cases = [one | {"expected": None} for one in raw["cases"]]
    altered(out, "bare", fleet=raw["fleet"] | {"chip": "nobody-9"}, cases=cases)
    done = hengsuan("score", "other-bare", "--out", out, "--json")
    (found,) = json.loads(done.stdout)["scorecards"]
    compute = found["categories"][0]
    assert compute["score"] is None
    said = {one["absent"] for one in compute["metrics"]}
    assert said == {"no reference: no datasheet of 'nobody-9' is known"}


def test_a_run_that_measured_nothing_is_inconclusive(out):
    altered(out, "empty", cases=[], schedules=[])
    (out / "other-empty" / "measurements.jsonl").write_text("")
    done = hengsuan("score", "other-empty", "--out", out)
    assert done.exit_code == Exit.INCONCLUSIVE, done.output
    assert "overall score none, coverage 0%" in done.output


def test_a_missed_criterion_is_a_finding(out, tmp_path):
    path = tmp_path / "mine.yaml"
    line = "benchmark: scaling, metric: weak_efficiency, reference: target, required: true"
    for target, code in ((0.5, 0), (2.0, 1)):
        path.write_text(f"name: m\ncategories:\n  a:\n    - {{{line}, target: {target}}}\n")
        assert invoke(out, "--profile", path).exit_code == code
    path.write_text(
        "name: m\ncategories:\n  a:\n    - {benchmark: cluster, metric: goodput, "
        "reference: target, target: 0.9, required: true}\n"
        "    - {benchmark: gemm, metric: flops}\n"
    )
    done = invoke(out, "--profile", path)
    assert done.exit_code == Exit.INCONCLUSIVE
    assert "undecided: cluster: goodput at least 90.0 % is required" in done.output
