"""What the gate says: on a terminal, in Markdown, to readers of JUnit, to services and charts."""

import html
import io
import json
import math
import os
import re
import shlex
import stat
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
import yaml
from rich.console import Console

from bench.errors import InfraError
from bench.gates import STATES, GateReport, Judged, read_gate
from bench.report.gate.annotations import workflow_commands
from bench.report.gate.exports import bencher, benchmark_action
from bench.report.gate.junit import write_junit
from bench.report.gate.markdown import gate_markdown
from bench.report.gate.outputs import write_outputs
from bench.report.gate.terminal import print_gate
from bench.report.gate.words import overall, sentence, verdict_line, worse_by

CI = Path(__file__).parents[2] / "configs" / "ci"
HOSTILE = [
    "a|b",
    "`x`",
    "<script>alert(1)</script>",
    "a\n::error::b\n# c",
    "::error title=x::y",
    "😀 @all",
    "100% a,b:c",
    "\x1b[2J\x00\ud800",
    "]]>&amp;</testcase>",
    "</details>",
]


@pytest.fixture(autouse=True)
def no_service(monkeypatch):
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


def judged(name="gemm 512x512x512 fp32 time", state="PASS", **changes):
    usual = {
        "unit": "s", "better": "lower", "margin": 0.05, "change": 0.0123, "low": -0.01,
        "high": 0.03, "blocks": 20, "noise": 0.01, "caught": 0.07, "baseline": 1e-3,
        "candidate": 1.0123e-3,
    }  # fmt: skip
    return Judged(name=name, state=state, **{**usual, **changes})


def bare(name, state, **changes):
    """A metric that has no figures."""
    return Judged(name=name, state=state, unit="s", better="lower", margin=0.05, **changes)


def made(*judged, **changes):
    usual = {
        "gate": "kernels", "how": "pair", "baseline": "commit aaa", "candidate": "commit bbb",
        "created": "2026-11-26T12:00:00Z", "alpha": 0.01, "devices": ["acme-1"],
        "provenance": "measured",
    }  # fmt: skip
    return GateReport(judged=list(judged), **{**usual, **changes})


def every_state(**changes):
    slow = judged("slow", "REGRESSED", change=0.2, low=0.15, high=0.25, where="node-a/0")
    fast = judged("fast", "IMPROVED", change=-0.2, low=-0.25, high=-0.15)
    rest = [
        bare(state.lower(), state, reason=f"because of {state}")
        for state in ("INVALID", "MISSING", "NO_BASELINE", "CHANGED")
    ]
    unsure = judged("unsure", "INCONCLUSIVE", reason="40 blocks were not enough", high=0.06)
    # Not in order: everything that shows them has to put the worst first.
    return made(judged("fine"), fast, unsure, *rest, slow, **changes)


def printed(report, width=200, encoding="utf-8", terminal=False):
    memory = io.BytesIO()
    stream = io.TextIOWrapper(memory, encoding=encoding, errors="replace", write_through=True)
    screen = Console(
        file=stream, width=width, force_terminal=terminal, markup=False, highlight=False
    )
    print_gate(screen, report)
    return memory.getvalue().decode(encoding)


def cases_of(path):
    return {case.get("name"): case for case in ElementTree.parse(path).iter("testcase")}


def kind_of(case):
    return next((child.tag for child in case), "")


# ---- words ----


def test_the_verdict_counts_states_worst_first():
    line = (
        "gate kernels failed: of 8 metrics 1 REGRESSED, 1 INVALID, 1 MISSING, 1 NO_BASELINE, "
        "1 CHANGED, 1 INCONCLUSIVE, 1 IMPROVED, 1 PASS"
    )
    report = every_state()
    assert verdict_line(report) == line
    assert printed(report).splitlines()[0] == line
    shown = html.unescape(re.sub(r"\\(.)", r"\1", gate_markdown(report).splitlines()[0]))
    assert shown == f"## {line}"
    assert verdict_line(made(judged())) == "gate kernels passed: of 1 metric 1 PASS"
    assert verdict_line(made()) == "gate kernels failed: there is no metric that gates"


@pytest.mark.parametrize(("word", "said"), [("fail", "failed"), ("warn", "passed")])
def test_what_is_unsure_fails_unless_it_is_tolerated(word, said):
    report = made(judged(), judged("b", "INCONCLUSIVE"), inconclusive=word)
    assert f"kernels {said}: of 2 metrics 1 INCONCLUSIVE, 1 PASS" in verdict_line(report)


@pytest.mark.parametrize(
    ("change", "low", "high", "said"),
    [
        (0.0523, 0.031, 0.0731, "+5.23% (+3.10% to +7.31%)"),
        (-0.021, -0.03, -0.012, "-2.10% (-3.00% to -1.20%)"),
        (9.5, 9.0, 10.0, "+950.0% (+900.0% to +1000.0%)"),
        (0.01, -1.0, math.inf, "+1.00% (no limits)"),
        (0.01, -1.0, None, "+1.00% (no limits)"),
        (None, None, None, "–"),
        (math.nan, 0.0, 0.0, "–"),
    ],
)
def test_a_change_is_said_with_its_limits(change, low, high, said):
    assert worse_by(judged(change=change, low=low, high=high)) == said


def test_the_geometric_mean_is_of_what_was_compared_and_judges_nothing():
    report = made(judged(change=1.0), judged("b", change=-0.5), judged("c", change=0.25))
    # exp(-r) is 1/2, 2 and 0.8, and the cube root of their product 0.9283.
    assert overall(report) == (
        "speed against the baseline: 0.9283 (geometric mean of 3 compared metrics; not judged)"
    )
    assert overall(report) in printed(report)
    assert report.passed
    assert overall(made(bare("a", "MISSING"))) == ""
    assert "geometric" not in printed(made(bare("a", "MISSING")))


def test_figures_that_are_no_numbers_are_dashes():
    one = judged(unit="s", candidate=math.inf, baseline=math.nan, caught=math.inf, noise=math.nan)
    assert "– → –" in sentence(one)
    assert "caught" not in sentence(one)
    assert sentence(bare("a", "MISSING")) == "not compared, margin 5%"
    assert sentence(judged(unit="digest", candidate=math.inf)).endswith("– (lower is better)")


# ---- the terminal ----


@pytest.mark.parametrize("width", [60, 120, 200])
def test_a_terminal_shows_every_state_the_worst_first(width):
    text = printed(every_state(), width)
    places = [text.index(f"\n{'state: ' if width < 72 else ' '}{state}") for state in STATES]
    assert places == sorted(places)
    for state in ("INVALID", "MISSING", "NO_BASELINE", "CHANGED"):
        assert f"{state}: {state.lower()}: because of {state}\n" in text
    assert "INCONCLUSIVE: unsure: 40 blocks were not enough\n" in text
    for words in ("node-a/0", "+20.0%", "+25.0%)", "5%", "7.00%", "1 ms → 1.01 ms", "commit aaa"):
        assert words in " ".join(text.split()), words
    assert "on acme-1 (measured)" in text


def test_a_pipe_shows_a_metric_on_one_line(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    name = "tests/unit/test_a.py::test_b[" + "x" * 150 + "]"
    line = next(line for line in printed(made(judged(name)), 80).splitlines() if name in line)
    assert "+1.23% (-1.00% to +3.00%)" in line


def test_many_that_pass_are_counted_and_many_that_fail_are_cut():
    fine = [judged(f"fine-{index}") for index in range(11)]
    slow = [judged(f"slow-{index:02d}", "REGRESSED", change=0.1) for index in range(45)]
    text = printed(made(*fine, *slow, judged("fast", "IMPROVED")))
    assert "fine-" not in text
    assert "12 metrics pass (1 IMPROVED, 11 PASS); each is in gate.json\n" in text
    assert "slow-39" in text
    assert "slow-40" not in text
    assert "and 5 REGRESSED more, in gate.json\n" in text
    assert "fine-9" in printed(made(*fine[:10]))


def test_reasons_that_are_alike_are_one_line():
    same = [bare(f"m{index}", "INVALID", reason="it throttled") for index in range(300)]
    other = [bare(f"n{index:02d}", "MISSING", reason=f"reason {index:02d}") for index in range(30)]
    text = printed(made(*same, *other))
    assert "INVALID: m0 and 299 more: it throttled\n" in text
    assert "reason 08" in text
    assert "reason 09" not in text
    assert "and reasons of 21 more metrics, in gate.json\n" in text


def test_nothing_is_lost_without_colours_or_utf_8():
    report = every_state(notes=["only one device"])
    bare_text = printed(report, 120)
    assert "\x1b" not in bare_text
    assert re.sub(r"\x1b\[[0-9;]*m", "", printed(report, 120, terminal=True)) == bare_text
    assert "note: only one device\n" in bare_text
    assert "REGRESSED" in printed(report, encoding="ascii")


# ---- all outputs, for names from elsewhere ----


def hostile(text):
    return made(
        judged(text, "REGRESSED", where=text, reason=text, unit=text),
        bare(f"{text}2", "INVALID", reason=text * 2),
        judged(f"{text}3", "INCONCLUSIVE", reason=text),
        judged(f"{text}4"),
        gate=text, baseline=text, candidate=text, created=text, devices=[text], notes=[text],
    )  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("width", [60, 160])
def test_hostile_text_is_text_on_a_terminal(text, width):
    out = printed(hostile(text), width)
    assert "\x1b" not in out
    assert "\x00" not in out
    # GitHub reads what a log's line begins with.
    assert not [line for line in out.splitlines() if line.lstrip().startswith("::")]
    assert out.count("\nnote: ") == 1


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_text_in_markdown(text):
    document = gate_markdown(hostile(text))
    tags = {"<details>", "</details>", "<summary>", "</summary>"}
    assert set(re.findall(r"<[^>]*>", document)) == tags
    assert document.count("</details>") == 1
    assert "@" not in document
    assert not re.search(r"(?<!\\)[`*\[\]]", document)
    assert len(re.findall(r"^#", document, re.MULTILINE)) == 1
    rows = [line for line in document.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 3 + 2 + 1
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in rows} == {10}
    assert document.encode()


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_text_in_workflow_commands(text):
    lines = workflow_commands(hostile(text))
    assert len(lines) == 3
    for line in lines:
        assert "\n" not in line
        assert "\r" not in line
        title = re.fullmatch(r"::error title=([^:,]*)::.*", line)
        assert title
        assert not re.search(r"%(?!25|3A|2C|0A|0D)", line)


@pytest.mark.parametrize("text", [one for one in HOSTILE if one.isascii() or "😀" in one])
def test_hostile_text_is_text_in_files(text, tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    report = hostile(text)
    write_outputs(tmp_path, report)
    assert read_gate(tmp_path / "gate.json") == report
    kinds = [kind_of(case) for case in cases_of(tmp_path / "gate.xml").values()]
    assert kinds == ["failure", "error", "skipped", "system-out"]
    found = json.loads((tmp_path / "benchmark-smaller.json").read_text())
    assert len(found) == 3
    assert all(one["name"].isprintable() for one in found)
    assert len(json.loads((tmp_path / "bencher.json").read_text())) == 3
    assert (tmp_path / "summary.md").read_bytes() == (tmp_path / "gate.md").read_bytes()


def test_a_lone_surrogate_is_written_out(tmp_path):
    report = hostile("\x1b[2J\x00\ud800")
    write_junit(tmp_path / "gate.xml", report)
    assert len(cases_of(tmp_path / "gate.xml")) == 4
    assert msgspec.json.encode([bencher(report), benchmark_action(report, "lower")])


def test_a_long_reason_takes_no_room_from_others(tmp_path):
    reason = "because " + "|" * 100_000
    bad = [bare(f"bad-{index}", "INVALID", reason=reason) for index in range(3)]
    report = made(*bad, judged("fine"), notes=[reason])
    document = gate_markdown(report, 60_000)
    assert all(f"bad-{index}" in document for index in range(3))
    assert "fine" in document
    assert f"{len(reason) - 600} more characters, in gate.json" in document
    assert len(printed(report)) < 6000
    assert max(map(len, workflow_commands(report))) < 3000
    write_junit(tmp_path / "gate.xml", report)
    assert (tmp_path / "gate.xml").stat().st_size < 50_000
    assert len(cases_of(tmp_path / "gate.xml")) == 4


# ---- Markdown ----


def test_markdown_has_every_state_and_folds_what_passes():
    document = gate_markdown(every_state(notes=["a note"]))
    open_part, folded = document.split("<details>")
    row = r"^\| {} \|".format
    for state in STATES:
        part = folded if state in ("PASS", "IMPROVED") else open_part
        assert re.search(row(state.replace("_", r"\\_")), part, re.MULTILINE), state
    found = [line.split()[1] for line in open_part.splitlines() if line.startswith("| ")][1:]
    assert [one.replace("\\", "") for one in found] == list(STATES[:6])
    assert "<summary>2 metrics pass: 1 IMPROVED, 1 PASS</summary>" in folded
    assert "| REGRESSED | slow | node-a/0 | +20.0% (+15.0% to +25.0%) | 5% | 20 |" in open_part
    assert "because of INVALID" in open_part
    assert "- a note\n" in open_part
    assert "geometric mean of 4 compared metrics; not judged" in open_part
    assert "Not everything" not in document


@pytest.mark.parametrize("most", [8192, 20_000, 60_000, 900_000])
@pytest.mark.parametrize("state", ["REGRESSED", "PASS"])
def test_markdown_counts_what_has_no_room(most, state):
    many = [judged(f"metric-{index:05d} 😀", state) for index in range(20_000)]
    document = gate_markdown(made(*many, judged("the worst", "REGRESSED", change=0.9)), most)
    assert len(document.encode()) <= most
    assert "the worst" in document
    shown = document.count("| metric-")
    words = "do not pass" if state == "REGRESSED" else "pass"
    assert f"and {20_000 - shown} more that {words}, in gate.json" in document
    assert shown >= (most - 8192) // 300
    assert document.count("<details>") == document.count("</details>") == (state == "PASS")
    assert "Not everything has room here; all of it is in gate.json." in document


def test_a_folded_part_is_closed_however_little_room_there_is():
    many = [judged(f"metric-{index:02d}") for index in range(60)]
    for most in range(5000, 7000, 11):
        document = gate_markdown(made(*many), most)
        assert len(document.encode()) <= most
        assert document.count("<details>") == document.count("</details>")


# ---- JUnit ----


def test_junit_has_a_case_for_every_metric_and_says_what_was_not_judged(tmp_path):
    write_junit(tmp_path / "gate.xml", every_state())
    cases = cases_of(tmp_path / "gate.xml")
    assert {name: kind_of(case) for name, case in cases.items()} == {
        "slow": "failure",
        "invalid": "error",
        "missing": "skipped",
        "no_baseline": "skipped",
        "changed": "skipped",
        "unsure": "skipped",
        "fast": "system-out",
        "fine": "system-out",
    }
    assert next(iter(cases)) == "slow"
    suite = ElementTree.parse(tmp_path / "gate.xml").find("testsuite")
    counts = {key: suite.get(key) for key in ("name", "tests", "failures", "errors", "skipped")}
    assert counts == {
        "name": "gate kernels", "tests": "8", "failures": "1", "errors": "1", "skipped": "4"
    }  # fmt: skip
    slow = cases["slow"][0]
    assert "worse by +20.0% (+15.0% to +25.0%), margin 5%, 20 blocks, on node-a/0" in slow.text
    assert "1 ms → 1.01 ms (lower is better)" in slow.text
    unsure = cases["unsure"][0]
    assert unsure.get("message") == "INCONCLUSIVE: 40 blocks were not enough"
    assert "worse by +1.23%" in unsure.text
    assert cases["missing"][0].text == "MISSING: because of MISSING\nnot compared, margin 5%"
    assert "worse by +1.23%" in cases["fine"][0].text


# ---- GitHub's annotations ----


def test_annotations_say_state_reason_and_figures():
    lines = workflow_commands(every_state())
    assert [re.match(r"::(\w+) title=(\w+)", line).groups() for line in lines] == [
        ("error", state) for state in STATES[:6]
    ]
    assert lines[0].startswith("::error title=REGRESSED slow on node-a/0::worse by +20.0%25 (")
    assert lines[1] == (
        "::error title=INVALID invalid::because of INVALID%0Anot compared, margin 5%25"
    )
    tolerant = workflow_commands(every_state(inconclusive="warn"))
    assert tolerant[-1].startswith("::warning title=INCONCLUSIVE unsure::40 blocks were not")
    assert workflow_commands(made(judged())) == []
    assert workflow_commands(made()) == [
        "::error title=gate::gate kernels failed: there is no metric that gates"
    ]


def test_what_has_a_meaning_in_a_title_is_escaped():
    report = made(judged("a,b:c 5%\r", "REGRESSED", reason="x,y:z 5%"))
    (line,) = workflow_commands(report)
    assert line.startswith("::error title=REGRESSED a%2Cb%3Ac 5%25 ::x,y:z 5%25%0Aworse by")


@pytest.mark.parametrize(("number", "lines"), [(9, 9), (10, 10), (500, 10)])
def test_annotations_of_a_kind_are_ten_at_most(number, lines):
    slow = [judged(f"slow-{index}", "REGRESSED") for index in range(number)]
    unsure = [judged(f"unsure-{index}", "INCONCLUSIVE") for index in range(number)]
    found = workflow_commands(made(*slow, *unsure, inconclusive="warn"))
    for kind in ("error", "warning"):
        those = [line for line in found if line.startswith(f"::{kind} ")]
        assert len(those) == lines
        if number > 9:
            assert those[-1] == f"::{kind} title=gate::and {number - 9} more, in gate.json"


# ---- charts ----


def test_figures_go_by_direction_with_their_range():
    time = judged("time", change=0.1, low=0.05, high=0.2, candidate=1.1e-3)
    flops = judged(
        "flops", unit="FLOP/s", better="higher", change=0.1, low=0.05, high=0.2,
        baseline=110e12, candidate=100e12, where="node-a/0",
    )  # fmt: skip
    report = made(time, flops)
    (smaller,) = benchmark_action(report, "lower")
    assert smaller == {
        "name": "time", "unit": "s", "value": 1.1e-3, "range": "0.00105 to 0.0012",
        "extra": f"PASS: {sentence(time)}\nbaseline: commit aaa",
    }  # fmt: skip
    (bigger,) = benchmark_action(report, "higher")
    assert (bigger["name"], bigger["value"]) == ("flops", 100e12)
    assert bigger["range"] == "9.167e+13 to 1.048e+14"
    found = bencher(report)
    assert list(found) == ["time", "flops"]
    metric = found["flops"]["FLOP/s, higher is better"]
    assert metric["lower_value"] < metric["value"] < metric["upper_value"]
    assert metric["upper_value"] == pytest.approx(100e12 * 1.1 / 1.05)
    assert found["time"]["s, lower is better"]["upper_value"] == pytest.approx(1.1e-3 * 1.2 / 1.1)


def test_every_state_is_exported_but_what_is_invalid_or_has_no_figure():
    have = [judged(state, state) for state in STATES]
    names = [one["name"] for one in benchmark_action(made(*have), "lower")]
    assert names == [state for state in STATES if state != "INVALID"]
    assert set(bencher(made(*have))) == set(names)
    none = made(*(bare(state, state) for state in STATES), judged(candidate=math.nan))
    assert benchmark_action(none, "lower") == []
    assert bencher(none) == {}


def test_limits_that_are_not_known_are_left_out():
    for changes in ({"low": -1.0, "high": None}, {"low": -1.0, "high": math.inf}, {"change": None}):
        report = made(judged(**changes))
        assert "range" not in benchmark_action(report, "lower")[0]
        ((measures),) = bencher(report).values()
        assert measures == {"s, lower is better": {"value": 1.0123e-3}}


def test_bencher_takes_names_of_some_length_and_different_ones_stay_so():
    report = made(*(judged("x" * 2000 + end, unit="u" * 90) for end in "ab"))
    found = bencher(report)
    assert len(found) == 2
    assert all(len(name) == 1024 for name in found)
    assert {len(measure) for measures in found.values() for measure in measures} == {64}


# ---- all of it ----

FILES = {
    "gate.json", "gate.xml", "gate.md", "benchmark-smaller.json", "benchmark-bigger.json",
    "bencher.json",
}  # fmt: skip


def test_a_folder_gets_every_file(tmp_path):
    folder = tmp_path / "new" / "folder"
    report = every_state()
    assert write_outputs(folder, report) == ([], [])
    assert {path.name for path in folder.iterdir()} == FILES
    assert read_gate(folder / "gate.json") == report
    assert (folder / "gate.md").read_text() == gate_markdown(report)
    assert json.loads((folder / "benchmark-bigger.json").read_text()) == []
    assert len(json.loads((folder / "benchmark-smaller.json").read_text())) == 4


def test_a_comment_has_the_room_of_comments(tmp_path):
    many = [judged(f"metric-{index}", "REGRESSED") for index in range(5000)]
    write_outputs(tmp_path, made(*many))
    assert 50_000 < (tmp_path / "gate.md").stat().st_size <= 60_000
    assert len(cases_of(tmp_path / "gate.xml")) == 5000


def test_annotations_are_given_on_github_only(tmp_path, monkeypatch):
    report = every_state()
    monkeypatch.setenv("GITHUB_ACTIONS", "false")
    assert write_outputs(tmp_path, report).annotations == []
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert write_outputs(tmp_path, report) == (workflow_commands(report), [])


def test_the_summary_is_appended_to(tmp_path, monkeypatch):
    summary = tmp_path / "summary.md"
    summary.write_text("before")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    assert write_outputs(tmp_path / "out", every_state()).warnings == []
    assert summary.read_text() == "before\n" + gate_markdown(every_state())


@pytest.mark.parametrize("before", [0, 500_000, 1_000_000, 1_045_000, 2_000_000])
def test_the_summary_of_a_step_stays_below_its_limit(tmp_path, monkeypatch, before):
    many = made(*(judged(f"metric-{index}", "REGRESSED") for index in range(12_000)))
    summary = tmp_path / "summary.md"
    summary.write_bytes(b"x" * before)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    said = write_outputs(tmp_path / "out", many)
    if before > 1_040_000:
        assert said.warnings == [f"the summary has no room left for the gate: {summary}"]
        assert summary.stat().st_size == before
    else:
        assert said.warnings == []
        assert before + 40_000 < summary.stat().st_size <= 2**20


def test_a_summary_that_cannot_be_written_is_a_warning(tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    said = write_outputs(tmp_path / "out", made(judged()))
    assert said.warnings == [f"the summary cannot be written: {tmp_path}: Is a directory"]
    assert said.annotations == [f"::warning title=gate::{said.warnings[0]}"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES


@pytest.mark.parametrize("name", ["", *sorted(FILES)])
def test_a_folder_that_cannot_be_written_is_said(tmp_path, name):
    folder = tmp_path / "out"
    if name:
        (folder / name / "full").mkdir(parents=True)
    else:
        folder.write_text("")
    with pytest.raises(InfraError, match=r"out.*cannot be written"):
        write_outputs(folder, made(judged()))


# ---- what is copied into continuous integration ----


def action():
    return yaml.safe_load((CI / "github" / "action.yml").read_text())


def github_step(**inputs):
    """The action's script, and its variables as the runner fills them in."""
    found = action()
    (step,) = found["runs"]["steps"]
    given = {name: one.get("default", "") for name, one in found["inputs"].items()} | inputs
    filled = re.compile(r"\$\{\{ inputs\.(\w+) \}\}")
    variables = {
        key: filled.sub(lambda match: given[match[1]], value) for key, value in step["env"].items()
    }
    assert step["shell"] == "bash"
    return step["run"], variables


def gitlab_job(**variables):
    """GitLab's script, and its variables."""
    found = yaml.safe_load((CI / "gitlab.yml").read_text())[".hengsuan-gate"]
    given = found["variables"] | {f"HENGSUAN_{key.upper()}": one for key, one in variables.items()}
    return "\n".join(found["script"]), given


def run_step(tmp_path, script, variables, stub="exit $CODE", shell=("bash", "-eo", "pipefail")):
    """Run a step as a runner does, with a ``hengsuan`` that notes its arguments."""
    folder = tmp_path / "bin"
    folder.mkdir(exist_ok=True)
    program = folder / "hengsuan"
    noted = tmp_path / "arguments"
    program.write_text(f"#!/bin/sh\nprintf '%s\\0' \"$@\" > {shlex.quote(str(noted))}\n{stub}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "step.sh").write_text(script)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", **variables}
    done = subprocess.run(
        [*shell, str(tmp_path / "step.sh")],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return done, noted.read_text().split("\0")[:-1] if noted.exists() else None


STEPS = {"github": github_step, "gitlab": gitlab_job}
SHELLS = [("bash", "--noprofile", "--norc", "-eo", "pipefail"), ("bash",), ("sh", "-e")]


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 130])
@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
@pytest.mark.parametrize("service", STEPS)
def test_a_step_ends_with_the_code_of_the_gate(tmp_path, service, shell, code):
    script, variables = STEPS[service](baseline="/srv/b/main", gate="kernels")
    done, words = run_step(tmp_path, script, {**variables, "CODE": str(code)}, shell=shell)
    assert done.returncode == code
    assert words == [
        "gate", "pair", "--baseline", "/srv/b/main", "--candidate", ".", "--gate", "kernels",
        "--budget", "20m", "--out", "hengsuan-gate",
    ]  # fmt: skip


@pytest.mark.parametrize("service", STEPS)
def test_what_a_step_is_given_is_never_code(tmp_path, service):
    text = """a b'"$(touch made)`touch made`;touch made\n*"""
    script, variables = STEPS[service](baseline=text, gate=text, candidate=text, budget=text)
    assert "${{" not in script
    done, words = run_step(tmp_path, script, {**variables, "CODE": "0"})
    assert done.returncode == 0
    assert words[3::2] == [text, text, text, text, "hengsuan-gate"]
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("service", STEPS)
def test_a_gate_that_does_not_end_fails_at_the_wall(tmp_path, service):
    script, variables = STEPS[service](baseline="b", gate="g", wall="1s")
    done, words = run_step(tmp_path, script, variables, stub="sleep 50")
    assert words
    assert done.returncode == 124


@pytest.mark.parametrize("service", STEPS)
def test_a_runner_without_the_program_fails(tmp_path, service):
    script, variables = STEPS[service](baseline="b", gate="g")
    done, _ = run_step(tmp_path, script.replace("hengsuan gate", "hengsuan-gone gate"), variables)
    assert done.returncode == 127


@pytest.mark.parametrize("inputs", [{"gate": "g"}, {"baseline": "b"}])
def test_an_input_that_is_missing_is_a_usage_error(tmp_path, inputs):
    done, words = run_step(tmp_path, *github_step(**inputs))
    assert done.returncode == 2
    assert words is None
    assert done.stdout.startswith("::error title=gate::")


def test_the_action_installs_and_uploads_nothing():
    found = action()
    assert found["runs"]["using"] == "composite"
    assert [name for name, one in found["inputs"].items() if one.get("required")] == [
        "baseline", "gate"
    ]  # fmt: skip
    assert all("uses" not in step for step in found["runs"]["steps"])
    assert not any("continue-on-error" in step for step in found["runs"]["steps"])


def test_gitlab_keeps_the_report_of_a_gate_that_failed():
    job = yaml.safe_load((CI / "gitlab.yml").read_text())[".hengsuan-gate"]
    assert job["artifacts"]["when"] == "always"
    assert job["artifacts"]["reports"] == {"junit": "hengsuan-gate/gate.xml"}
    assert "--out hengsuan-gate" in job["script"][0]
    assert "allow_failure" not in job


def test_the_examples_of_the_readme_fit_the_files_beside_it():
    text = (CI / "README.md").read_text()
    github, gitlab = (yaml.safe_load(one) for one in re.findall(r"```yaml\n(.*?)```", text, re.S))
    steps = github["jobs"]["gate"]["steps"]
    (used,) = [step for step in steps if step["uses"] == "./.github/actions/hengsuan-gate"]
    inputs = action()["inputs"]
    assert set(used["with"]) <= set(inputs)
    assert {name for name, one in inputs.items() if one.get("required")} <= set(used["with"])
    job = gitlab["gate"]
    assert job["extends"] == ".hengsuan-gate"
    wanted = set(re.findall(r"\$(HENGSUAN_\w+)", gitlab_job()[0]))
    assert wanted == set(gitlab_job()[1]) | set(job["variables"])
    assert all((CI / link).exists() for link in re.findall(r"\]\(([^)]+)\)", text))
    assert all(f"`{name}`" in text for name in FILES)
