"""The terminal: what a run looks like while it goes on and when it is over, wide or narrow."""

import io
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest
from rich.cells import cell_len
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parent))
from made_runs import case, columns
from terminals import Terminal

from bench.analysis.finding import Finding
from bench.analysis.scorecard import Category, MetricScore, Scorecard
from bench.analysis.summary import summary
from bench.cli.live import Watching
from bench.cluster.engine import execute
from bench.cluster.executor import Event, Page, Progress
from bench.cluster.planning import plan
from bench.cluster.simulated import SimulatedExecutor
from bench.configs import load_chips, load_cluster, load_suite, suite_from_text
from bench.inventory import Inventory
from bench.records import Device, DeviceGroup, Header, Node, Row
from bench.report.cases import print_cases
from bench.report.language import SPOKEN
from bench.report.picture import Picture
from bench.report.screen import Screen
from bench.report.slowest import Slowest
from bench.report.terminal import (
    NARROW,
    WORST,
    print_next,
    print_outcome,
    print_scorecard,
    print_table,
)
from bench.results import RunReader
from bench.rounds import schedule_for

LONG = "20261124-101530-a-run-with-a-name-that-is-longer-than-the-line"


def screen_of(width, *, terminal=False, encoding="utf-8"):
    """A console that writes into memory, and what it has written so far."""
    memory = io.BytesIO()
    stream = io.TextIOWrapper(memory, encoding=encoding, errors="strict", write_through=True)
    made = Console(
        file=stream, width=width, height=24, force_terminal=terminal, markup=False, highlight=False
    )
    return made, lambda: memory.getvalue().decode(encoding)


def drawn(picture, width=80):
    """What the live display shows for a picture, as lines without colour."""
    made, written = screen_of(width, terminal=True)
    screen = Screen(made)
    screen.update(picture)
    made.print(screen._draw())
    return [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in written().splitlines()]


def card(**changes):
    metric = MetricScore(
        name="gemm 1024x1024x1024 bf16 torch over a long way",
        metric="flops",
        unit="FLOP/s",
        achieved=85e12,
        reference=100e12,
        efficiency=0.85,
        coverage=1.0,
    )
    bare = MetricScore(name="launch", metric="time", unit="s", achieved=2.5e-6, coverage=0.5)
    rest = {"run": "r", "suite": "s", "profile": "p", "provenance": "simulated"}
    rest = {**rest, "findings": [], **changes}
    category = Category(name="compute", score=85.0, coverage=0.5, metrics=[metric, bare])
    return Scorecard(overall=85.0, coverage=0.5, categories=[category], **rest)


# ---- the picture ----


def test_a_picture_shows_stage_work_counts_and_losses():
    picture = Picture()
    picture.stages = ["device", "fabric"]
    picture.begin("fabric", 10)
    picture.current = "collectives[op=all_reduce]"
    picture.count("ok", 7)
    picture.count("failed")
    picture.blame("node-7")
    picture.lost.append("node-3: its agent was lost")
    lines = drawn(picture)
    assert "device" in lines[0]
    assert "fabric" in lines[0]
    assert lines[2:] == [
        "0%, 0 of 10 jobs",
        "collectives[op=all_reduce]",
        "7 ok, 1 failed",
        "node-3: its agent was lost",
        "node-7: values missing or wrong: 1",
    ]


@pytest.fixture
def in_chinese():
    before = SPOKEN.set("zh")
    yield
    SPOKEN.reset(before)


@pytest.mark.parametrize("width", [40, 80])
def test_a_picture_in_chinese_is_no_wider_than_the_screen(in_chinese, width):
    picture = Picture()
    picture.stages = ["device", "fabric"]
    picture.begin("fabric", 1000)
    picture.basis, picture.usual = ", as in 3 earlier runs", {"fabric": 754.0}
    picture.count("ok", 7)
    picture.count("contended")
    picture.blame("node-00007")
    picture.slow = ["node-00009/5: gemm 8192x8192x8192 bf16 torch flops 40% worse than usual"]
    lines = drawn(picture, width)
    assert lines[2:4] == ["0%，0 / 1,000 项作业", "..."]
    assert re.fullmatch(r"约剩 12m 3\ds，与此前 3 次运行相同", lines[4])
    assert lines[5:7] == ["7 正常，1 受干扰", "node-00007：缺失或错误的值：1 个"]
    assert "40%（比通常差）" in lines[7] or lines[7].endswith("…")
    assert max(map(cell_len, lines)) <= width


def test_the_thread_that_draws_speaks_the_language_of_the_command(tmp_path):
    """Drawn on a real terminal, whose characters may be two columns wide."""
    words = ["run", "quick", "--cluster", "small", "--lang", "zh"]
    seen = Terminal(words, tmp_path, columns=60, rows=24)
    assert seen.end() == 0
    assert re.search(r"\d+ / \d+ 项作业", seen.text)
    assert not re.search(r"of \d+ jobs|starting", seen.text)
    assert "下一步：" in "".join(seen.text)


@pytest.mark.parametrize("width", [40, 80])
def test_tables_in_chinese_keep_their_columns(in_chinese, width):
    rows = [("gemm 64x64x64", "慢节点", "12 GB/s"), ("stream", "slow", "1 TB/s")]
    made, written = screen_of(width, terminal=True)
    print_table(made, ("case", "kind", "value"), rows, right=(2,))
    lines = re.sub(r"\x1b\[[0-9;]*m", "", written()).splitlines()
    if width < NARROW:
        assert "算例：gemm 64x64x64" in lines
        return
    ends = {cell_len(line.rstrip()) for line in lines if line.endswith(("GB/s ", "TB/s "))}
    begins = {
        cell_len(line[: line.index(word)])
        for line in lines
        for word in ("类别", "慢节点", "slow")
        if word in line
    }
    assert (len(ends), len(begins)) == (1, 1)


def test_a_picture_is_as_large_for_ten_thousand_nodes():
    picture = Picture()
    picture.stages = ["device"]
    picture.begin("device", 10)
    for node in range(10_000):
        for _ in range(3 if node in (17, 4711) else 1):
            picture.blame(f"node-{node}")
    assert len(picture.worst) == WORST
    lines = drawn(picture)
    assert len(lines) == 5 + WORST
    assert {line.split(":")[0] for line in lines[5:7]} == {"node-17", "node-4711"}


def test_the_worst_are_those_with_most_whatever_the_order():
    picture = Picture()
    for node in range(2 * WORST):
        picture.blame(f"early-{node}")
    for _ in range(5):
        picture.blame("late")
    for _ in range(4):
        picture.blame("early-0")
    ranked = sorted(picture.worst.items(), key=lambda one: -one[1])
    assert {name for name, _ in ranked[:2]} == {"late", "early-0"}
    assert [number for _, number in ranked[:2]] == [5, 5]


def test_time_left_is_said_when_there_is_a_pace():
    picture = Picture()
    picture.begin("device", 10)
    assert picture.left is None
    picture.began -= 30
    picture.share = 0.75
    assert picture.left == pytest.approx(10, rel=0.05)
    picture.share = 1.0
    assert picture.left is None


def test_lines_of_a_stage_count_that_stage_alone():
    made, written = screen_of(80)
    picture = Picture()
    picture.stages = ["one", "two"]
    with Screen(made) as screen:
        for name, number in (("one", 5), ("two", 3)):
            picture.begin(name, number)
            screen.stage(picture)
            picture.count("ok", number)
            screen.update(picture)
        screen.event("rank-lost", "node-1: crashed with SIGKILL")
        screen.end(picture)
    lines = written().splitlines()
    assert lines[0] == "stage 1/2 one: 5 jobs"
    assert lines[1].startswith("stage one ended after ")
    assert lines[1].endswith(": 5 ok")
    assert lines[3] == "rank-lost: node-1: crashed with SIGKILL"
    assert lines[4].endswith(": 3 ok")
    assert "\x1b" not in written()


def test_a_live_picture_may_change_while_it_is_drawn():
    picture = Picture()
    picture.stages = ["device"]
    picture.begin("device", 10)
    screen = Screen(screen_of(80)[0])
    screen.update(picture)
    errors, stop = [], threading.Event()

    def draw():
        try:
            while not stop.is_set():
                screen._draw()
        except RuntimeError as error:  # "dictionary changed size during iteration"
            errors.append(error)

    old = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=draw)
    thread.start()
    try:
        for number in range(100_000):
            picture.blame(f"node-{number}")
            picture.counts[f"status-{number % 300}"] += 1
            if number % 300 == 0:
                picture.counts.clear()
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(old)
    assert errors == []


# ---- the observer ----


SUITE = """
name: two
stages:
  - name: device
    benchmarks:
      - gemm: {shape: 64x64x64, dtype: fp32, impl: torch}
      - pairs: {size: 1MiB, of: device}
"""


def row(case, group, status, reason=""):
    return Row(case, group, 0, 1.0, None, None, None, 0, status, -1, "stand-in", reason)


def made_case(number, benchmark, better="higher", **changes):
    unit = "s" if better == "lower" else "FLOP/s"
    return case(number, benchmark, unit=unit, better=better, **changes)


def valued(number, group, value):
    return Row(number, group, 0, 1.0, value, value, value, 3, "ok", -1, "stand-in", "")


def watched():
    """An observer of a run on two nodes of two devices, its console, and cases by benchmark."""
    nodes = [
        Node(
            id=name,
            name=name,
            machine=name,
            backend="cpu",
            devices=tuple(Device(index=i, backend="cpu", name="core") for i in range(2)),
        )
        for name in ("left", "right")
    ]
    inventory = Inventory(nodes)
    made = plan(suite_from_text(SUITE, "two.yaml"), inventory, load_chips())
    header = Header(
        id="r",
        suite="two",
        started="",
        executor="local",
        provenance="stand-in",
        cases=made.cases,
        schedules=made.schedules,
    )
    console, written = screen_of(120)
    watching = Watching(Screen(console))
    watching.begin(header, made, inventory, Path("nowhere/r"))
    watching.stage(made.stages[0], 10)
    cases = {case.benchmark: case.id for case in reversed(made.cases)}
    return watching, written, cases


def test_a_bad_value_is_blamed_on_its_node():
    watching, _, cases = watched()
    bad = [row(cases["gemm"], 3, status) for status in ("failed", "invalid", "missing")]
    good = [row(cases["gemm"], group, "ok") for group in range(3)]
    watching.page(Page(rows=[*good, *bad, row(cases["gemm"], 0, "skipped")]))
    watching.look()
    assert watching.watched.picture.worst == {"right": 3}
    assert watching.watched.picture.counts["ok"] == 3


def test_nobody_is_blamed_for_a_pair_across_nodes():
    watching, _, cases = watched()
    header, inventory = watching.watched.header, watching.watched.inventory
    spec = header.schedules[header.cases[cases["pairs"]].schedule]
    schedule = schedule_for(spec, inventory)
    across = [g for g in range(schedule.size) if {m // 2 for m in schedule.members(g)} == {0, 1}]
    inside = [g for g in range(schedule.size) if g not in across]
    assert len(across) == 4
    watching.page(Page(rows=[row(cases["pairs"], group, "failed") for group in across]))
    watching.look()
    assert watching.watched.picture.worst == {}
    watching.page(Page(rows=[row(cases["pairs"], group, "failed") for group in inside]))
    watching.look()
    assert watching.watched.picture.worst == {"left": 1, "right": 1}


def test_events_are_said_at_once_and_progress_moves():
    watching, written, _ = watched()
    lost = Event(time=1.0, kind="agent-lost", node="left", text="its agent was lost")
    half = Progress(node="right", done=5, total=10, current="gemm")
    watching.page(Page(events=[lost], progress=[half]))
    assert "agent-lost: left: its agent was lost" in written()
    picture = watching.watched.picture
    assert picture.lost == ["left: its agent was lost"]
    assert picture.share == 0.5
    assert picture.current == "gemm"


def test_a_fault_is_said_when_it_comes_and_once():
    watching, written, cases = watched()
    bad = [row(cases["gemm"], 3, "failed", "out of memory") for _ in range(5)]
    watching.page(Page(rows=bad))
    watching.look()
    assert written().count("failed: right: gemm 64x64x64 fp32 torch: out of memory") == 1
    many = [row(cases["gemm"], 0, "missing", f"reason {number}") for number in range(50)]
    watching.page(Page(rows=many))
    watching.look()
    assert written().count("missing: left") == WORST - 1  # a stage's faults are not the screen
    assert watching.watched.picture.worst == {"right": 5, "left": 50}


def test_pages_are_looked_at_together_but_events_at_once():
    watching, written, cases = watched()
    watching.look()
    for group in range(4):
        watching.page(Page(rows=[row(cases["gemm"], group, "ok")]))
    assert watching.watched.picture.counts["ok"] == 0
    watching.page(Page(events=[Event(time=1.0, kind="rank-lost", node="left", text="hung")]))
    assert watching.watched.picture.counts["ok"] == 4
    assert "rank-lost: left: hung" in written()


def test_who_is_slower_than_others_is_named_by_case_and_direction():
    nodes = Inventory(fleet=DeviceGroup(count=4, devices=4, chip="sim-a"))
    cases = [made_case(0, "gemm", title="gemm"), made_case(1, "launch", "lower", title="launch")]
    found = Slowest(cases.__getitem__, lambda _, group: nodes.rank_name(group))
    values = [[100.0] * 16, [1e-6] * 16]
    values[0][5], values[0][6], values[1][9], values[1][3] = 70.0, 130.0, 3e-6, 0.2e-6
    for number, column in enumerate(values):
        found.rows([valued(number, group, value) for group, value in enumerate(column)])
    rates, slow = found.said()
    assert rates == ["gemm flops: 100 FLOP/s, median of 16", "launch flops: 1 µs, median of 16"]
    assert slow == [
        "node-00002/1: launch flops 200% worse than usual",
        "node-00001/1: gemm flops 30% worse than usual",
    ]
    found.begin()
    assert found.said() == ([], slow)  # of the stage before, who was slow
    found.rows([valued(0, group, 100.0 - 50 * (group == 2)) for group in range(4)])
    assert found.said()[1] == slow  # of four, nobody is slow


def test_columns_say_what_rows_say():
    cases = [made_case(0, "gemm", title="gemm")]
    rows = [valued(0, group, 100.0 - 5 * group) for group in range(12)]
    rows.append(row(0, 12, "failed", "oops"))
    made = columns(*((one.case, one.group, one.value, one.status, one.reason) for one in rows))
    told = []
    for feed in ("rows", "columns"):
        found = Slowest(cases.__getitem__, lambda _, group: f"d{group}")
        getattr(found, feed)(rows if feed == "rows" else made)
        told.append(found.said())
    assert told[0] == told[1]
    assert told[0][1][0] == "d11: gemm flops 38% worse than usual"


def test_half_a_minute_is_a_line_where_nothing_is_drawn(monkeypatch):
    made, written = screen_of(80)
    picture = Picture()
    picture.stages = ["device"]
    with Screen(made) as screen:
        picture.begin("device", 10)
        screen.stage(picture)
        picture.done, picture.share = 4, 0.4
        screen.update(picture)
        assert len(written().splitlines()) == 1
        screen._last -= 31
        screen.update(picture)
        screen.update(picture)
    assert written().splitlines()[1:] == [
        "stage device: 40%, 4 of 10 jobs; about 1 s left; no rows yet"
    ]


def test_a_stage_that_nobody_planned_follows_the_present_one():
    picture = Picture()
    picture.stages = ["device", "fabric"]
    for name in ("device", "device+1", "fabric"):
        picture.begin(name, 1)
    assert picture.stages == ["device", "device+1", "fabric"]


def test_stages_that_do_not_fit_are_the_present_one_and_its_number():
    picture = Picture()
    picture.stages = [f"a-stage-with-a-name-{number}" for number in range(5)]
    picture.begin("a-stage-with-a-name-2", 10)
    assert drawn(picture, 40)[0].strip() == "3/5 a-stage-with-a-name-2"
    assert "a-stage-with-a-name-4" in drawn(picture, 200)[0]


def test_a_screen_that_cannot_be_written_says_nothing_more():
    with open("/dev/full", "w") as full:
        made = Console(file=full, width=80)
        with Screen(made) as screen:
            screen.event("warning", "x" * 10_000)
            screen.event("warning", "again")
        made.print("goes nowhere")


def test_a_live_display_cleans_up_behind_itself(tmp_path):
    made, written = screen_of(60, terminal=True)
    chips = load_chips()
    with Screen(made) as screen:
        execute(
            load_suite("quick"),
            SimulatedExecutor(load_cluster("small"), chips),
            tmp_path,
            "run",
            chips=chips,
            command=[],
            environment={},
            observer=Watching(screen),
        )
        screen._live.refresh()
    text = written()
    assert "training" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1  # the cursor comes back
    assert text.rindex("\x1b[2K") > text.rindex("training")  # the last picture is wiped


# ---- the end of a run ----


def test_a_wide_scorecard_is_a_table_whose_names_stay_indented():
    made, written = screen_of(80)
    print_scorecard(made, card())
    lines = [line.rstrip() for line in written().splitlines()]
    (head,) = (line.split() for line in lines if "compute" in line)
    assert head == ["compute", "coverage", "50%", "score", "85"]
    start = next(i for i, line in enumerate(lines) if "gemm" in line)
    assert re.search(r"^   gemm .* 85 TFLOP/s .* 100 TFLOP/s .* 85.0%$", lines[start])
    assert lines[start + 1].startswith("   ")
    assert "overall score 85/100, coverage 50% (simulated; profile p)" in lines


def test_a_narrow_scorecard_is_lines_with_the_same_figures():
    made, written = screen_of(40)
    print_scorecard(made, card())
    lines = written().splitlines()
    assert lines[0] == "compute: score 85, coverage 50%"
    assert "    flops 85 TFLOP/s, 85.0% of 100 TFLOP/s" in lines
    assert "  launch (50% of groups)" in lines
    assert "    time 2.5 µs" in lines


def test_findings_that_differ_in_figures_are_said_once():
    texts = [f"1 of 2 contended: waited {share}%" for share in (3.1, 40, 7.5)]
    found = [Finding(kind="contended", name=f"case {i}", text=t) for i, t in enumerate(texts)]
    found += [Finding(kind="failed", name=f"case {i}", text="crashed") for i in range(2)]
    found.append(Finding(kind="failed", name="case 9", text="hung"))
    made, written = screen_of(200)
    print_scorecard(made, card(findings=found))
    lines = written().splitlines()
    assert lines[-3:] == [
        "contended: case 0 and 2 more: for example, 1 of 2 contended: waited 3.1%",
        "failed: case 0 and 1 more: crashed",
        "failed: case 9: hung",
    ]


def test_names_in_narrow_tables_can_be_copied():
    made, written = screen_of(40)
    print_table(made, ("run", "state", "problem"), [(LONG, "complete", "")])
    assert written().splitlines() == [f"run: {LONG}", "state: complete", ""]
    made, written = screen_of(120)
    print_table(made, ("run", "state"), [(LONG, "complete")])
    assert re.search(rf"{LONG} +complete", written())


def test_text_in_brackets_is_no_markup():
    made, written = screen_of(100)
    print_table(made, ("case",), [("gemm[bold]x[/bold]",)])
    assert "gemm[bold]x[/bold]" in written()


def test_the_outcome_counts_what_it_does_not_list():
    made, written = screen_of(80)
    header = Header(id="r", suite="s", started="", executor="local", provenance="measured")
    lost = [f"node-{number}: its agent was lost" for number in range(WORST + 3)]
    print_outcome(made, header, "results/r", {"ok": 3, "contended": 1}, [*lost, *lost])
    text = written()
    assert text.count("lost: node-") == WORST
    assert "lost: 3 more" in text
    assert "warning: 1 of 4 values were measured while other" in text
    assert text.endswith("results in results/r\n")


def test_what_to_do_next_can_be_copied_however_narrow_it_is():
    long = f"hengsuan results show {LONG}"
    for width, lines in ((40, ["next:", f"  {long}  # every case"]), (100, None)):
        made, written = screen_of(width)
        print_next(made, [(long, "every case"), ("hengsuan doctor", "is it quiet?")])
        found = written().splitlines()
        assert found[:2] == (lines or ["next:", f"  {long}  # every case"])
        assert len(found) == 3


@pytest.mark.parametrize(
    ("encoding", "wanted"), [("ascii", b"2.5 us - 1 -> ?\n"), ("latin-1", b"2.5 \xb5s - 1 -> ?\n")]
)
def test_units_survive_a_locale_without_their_characters(encoding, wanted):
    """Through the real entry point: `2.5 µs` must not become `2.5 ?s`."""
    script = (
        "from bench import cli\nfrom bench.report.terminal import console\n"
        "cli.cli.main = lambda **_: console().print('2.5 µs – 1 → 漢')\ncli.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == wanted


def test_a_run_on_a_real_terminal(tmp_path):
    """The picture is drawn and taken away, the results stay."""
    seen = Terminal(["run", "quick", "--cluster", "small"], tmp_path, columns=50, rows=24)
    assert seen.end() == 0
    assert b"\x1b[?25l" in seen.raw
    assert seen.screen.cursor.hidden is False
    assert "stage 1/3" not in seen.text  # those lines are for logs
    assert "results in results/" in seen.text
    assert "next:" in seen.lines


@pytest.mark.parametrize("width", [75, 90, 109])
def test_cases_keep_within_a_screen_too_narrow_for_their_table(tmp_path, width):
    seen = ["run", "quick", "--cluster", "small", "--quiet", "--out", tmp_path]
    assert Terminal(seen, tmp_path).end() == 0
    (run,) = tmp_path.iterdir()
    made, written = screen_of(width)
    cases = summary(RunReader(run))
    print_cases(made, cases)
    lines = written().splitlines()
    table = [line for line in lines if not line.startswith("skipped: ")]
    assert max(map(cell_len, table)) <= width
    assert sum(line == "train small batch=4 fp32 over all" for line in table) == 1
    assert len([line for line in table if line.startswith("  ")]) == len(cases) + 1
    assert "nothing predicts it" in "".join(lines)


@pytest.mark.parametrize("width", [50, 120])
def test_a_category_without_any_value_is_no_row(width):
    full = card()
    lacking = MetricScore(
        name="stream", metric="bandwidth", unit="B/s", absent="not measured", scored=True
    )
    memory = Category(name="memory", score=None, coverage=0.0, metrics=[lacking])
    made, written = screen_of(width)
    print_scorecard(made, msgspec.structs.replace(full, categories=[*full.categories, memory]))
    lines = written().splitlines()
    assert not any(line.strip().startswith("memory") for line in lines)
    assert any("stream bandwidth: not measured" in line for line in lines)
    assert any("compute" in line for line in lines)
