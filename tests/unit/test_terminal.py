"""The terminal: what a run looks like while it goes on and when it is over, wide or narrow."""

import io
import os
import pty
import re
import subprocess
import sys
import threading

import pytest
from rich.console import Console

from bench.analysis.finding import Finding
from bench.analysis.scorecard import Category, MetricScore, Scorecard
from bench.cli.live import Watching
from bench.cluster.engine import execute
from bench.cluster.executor import Event, Page, Progress
from bench.cluster.plan import plan
from bench.cluster.simulated import SimulatedExecutor
from bench.configs import load_chips, load_cluster, load_suite, suite_from_text
from bench.inventory import Inventory
from bench.records import Device, Header, Node, Row
from bench.report.picture import Picture, Screen
from bench.report.terminal import WORST, print_outcome, print_scorecard, print_table
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
    assert "collectives[op=all_reduce]" in lines[2]
    assert lines[3:] == [
        "7 ok, 1 failed",
        "node-3: its agent was lost",
        "node-7: values missing or wrong: 1",
    ]


def test_a_picture_is_as_large_for_ten_thousand_nodes():
    picture = Picture()
    picture.stages = ["device"]
    picture.begin("device", 10)
    for node in range(10_000):
        for _ in range(3 if node in (17, 4711) else 1):
            picture.blame(f"node-{node}")
    assert len(picture.worst) == WORST
    lines = drawn(picture)
    assert len(lines) == 4 + WORST
    assert {line.split(":")[0] for line in lines[4:6]} == {"node-17", "node-4711"}


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
    watching.begin(header, made, inventory, "results/r")
    watching.stage(made.stages[0], 10)
    cases = {case.benchmark: case.id for case in reversed(made.cases)}
    return watching, written, cases


def test_a_bad_value_is_blamed_on_its_node():
    watching, _, cases = watched()
    bad = [row(cases["gemm"], 3, status) for status in ("failed", "invalid", "missing")]
    good = [row(cases["gemm"], group, "ok") for group in range(3)]
    watching.page(Page(rows=[*good, *bad, row(cases["gemm"], 0, "skipped")]))
    assert watching._picture.worst == {"right": 3}
    assert watching._picture.counts["ok"] == 3


def test_nobody_is_blamed_for_a_pair_across_nodes():
    watching, _, cases = watched()
    header, inventory = watching._header, watching._inventory
    spec = header.schedules[header.cases[cases["pairs"]].schedule]
    schedule = schedule_for(spec, inventory)
    across = [g for g in range(schedule.size) if {m // 2 for m in schedule.members(g)} == {0, 1}]
    inside = [g for g in range(schedule.size) if g not in across]
    assert len(across) == 4
    watching.page(Page(rows=[row(cases["pairs"], group, "failed") for group in across]))
    assert watching._picture.worst == {}
    watching.page(Page(rows=[row(cases["pairs"], group, "failed") for group in inside]))
    assert watching._picture.worst == {"left": 1, "right": 1}


def test_events_are_said_at_once_and_progress_moves():
    watching, written, _ = watched()
    lost = Event(time=1.0, kind="agent-lost", node="left", text="its agent was lost")
    half = Progress(node="right", done=5, total=10, current="gemm")
    watching.page(Page(events=[lost], progress=[half]))
    assert "agent-lost: left: its agent was lost" in written()
    assert watching._picture.lost == ["left: its agent was lost"]
    assert watching._picture.share == 0.5
    assert watching._picture.current == "gemm"


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
    assert text.endswith("results in results/r; every case: hengsuan results show results/r\n")


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
    """A pseudo-terminal of 50 columns: the picture is drawn, the results stay."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(tmp_path)
        os.environ.update(COLUMNS="50", LINES="24", TERM="xterm")
        words = [sys.executable, "-m", "bench", "run", "quick", "--cluster", "small"]
        os.execv(sys.executable, words)
    text = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # the other end has been closed
            break
        if not part:
            break
        text += part
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0
    assert b"\x1b[?25l" in text
    assert b"\x1b[?25h" in text
    assert b"stage 1/3" not in text  # those lines are for logs
    assert "results in results/" in text.decode()
