"""Where a job's time goes: parts that sum to it, and what is said of time between samples."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from report_runs import written

from bench.analysis.spending import spending
from bench.cluster.journal import trim
from bench.cluster.ranks import RankLost, RankProcess
from bench.cluster.wire import LaunchSpec, Run
from bench.errors import InfraError
from bench.ledger import (
    LEDGER,
    PART_MEANING,
    PART_NAMES,
    Book,
    Ledger,
    Spent,
    merged,
    read_ledger,
    suspicion,
)
from bench.results import RunReader
from bench.timing import HostTimer, Rule, measure
from bench.workloads.runner import drained

PARTS = st.sampled_from(list(PART_MEANING))
SECONDS = st.floats(0, 1e4)


class Clock:
    def __init__(self) -> None:
        self.now = 1e6

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


@given(st.lists(st.tuples(PARTS, SECONDS)), st.lists(st.tuples(SECONDS, SECONDS, SECONDS)))
def test_parts_sum_to_the_whole_whatever_a_timer_says(parts, blocks):
    clock = Clock()
    book = Book(clock=clock)
    for part, seconds in parts:
        book.enter(part)
        clock.now += seconds
    for took, timed, meant in blocks:
        book.to("rest")
        clock.now += took
        book.sampled("between", timed, meant, 3)
    spent = book.spent()
    assert spent.whole == pytest.approx(clock.now - 1e6, abs=1e-6)
    assert sum(spent.parts.values()) == pytest.approx(spent.whole, abs=1e-5)
    assert all(seconds > -1e-6 for seconds in spent.parts.values())
    if blocks:
        took = [block[0] for block in blocks]
        assert spent.timed + spent.hidden <= max(took) + 1e-6


def test_the_group_s_ledger_is_that_of_the_slowest_and_sums_to_its_turn():
    fast = Spent(whole=1.0, parts={"setup": 0.2, "samples": 0.7, "rest": 0.1})
    slow = Spent(whole=3.0, parts={"setup": 2.2, "samples": 0.8})
    rank, parts, least, most = merged([fast, slow], 10.0, {"start": 4.0, "again": 2.0})
    assert rank == 1
    assert sum(parts.values()) == pytest.approx(10.0)
    assert parts["setup"] == 2.2
    assert parts["rest"] == pytest.approx(1.0)
    assert list(parts) == [part for part in PART_MEANING if part in parts]
    assert (least["setup"], most["setup"]) == (0.2, 2.2)
    assert "start" not in least


def test_every_part_has_a_name():
    assert list(PART_NAMES) == list(PART_MEANING)


class Sleepy(HostTimer):
    """Loses time between its samples, as a loop that does something there would."""

    def run(self, step, calls, samples, between):
        spans = []
        beside = 0.0
        for _ in range(samples):
            spans.append(super().run(step, calls, 1, between)[0])
            beside += self.beside
            time.sleep(0.01)
        self.beside = beside
        return np.array(spans)


RULE = Rule(budget=0.3, warmup=0.01, precision=0, block=0.05, min_samples=60)


@pytest.fixture
def spent_by(monkeypatch):
    """Measures steps of 5 ms where time passes in sleeps alone: a busy machine adds nothing."""
    clock = Clock()
    monkeypatch.setattr("bench.timing.perf_counter", clock)
    monkeypatch.setattr("bench.timing.perf_counter_ns", lambda: round(clock() * 1e9))
    monkeypatch.setattr(time, "sleep", clock.pass_by)

    def found(timer, **options) -> Spent:
        book = Book(clock=clock)
        measure(lambda: time.sleep(0.005), timer, RULE, per_sample=True, book=book, **options)
        return book.spent()

    return found


def test_a_sleep_between_samples_is_said_with_its_share(spent_by):
    spent = spent_by(Sleepy())
    assert spent.parts["rest"] > spent.parts["samples"]
    said = suspicion([spent])
    assert said.startswith("between samples of rank 0 passes time that nothing accounts for: ")
    assert 50 < int(said.partition(": ")[2].partition(" %")[0]) < 80
    assert suspicion([spent_by(HostTimer())]) == ""


def test_what_is_meant_to_pass_between_samples_is_not_suspected(spent_by):
    flushed = spent_by(HostTimer(), between=lambda: time.sleep(0.01))
    renewed = spent_by(HostTimer(), refresh=lambda: time.sleep(0.02), refresh_every=2)
    looked = spent_by(HostTimer(), throttled=lambda: time.sleep(0.02))
    for spent in (flushed, renewed, looked):
        assert spent.parts["between"] > 0.1
        assert suspicion([spent]) == ""


def usual(**changes) -> Spent:
    """Of blocks of one sample of 50 ms."""
    found = {"whole": 1.0, "parts": {"samples": 0.5}, "timed": 0.05, "count": 1.0, **changes}
    return Spent(**found)


@pytest.mark.parametrize(
    ("ranks", "said"),
    [
        ([usual()], ""),
        ([usual(hidden=0.006)], ""),
        ([usual(hidden=0.02)], "between samples of rank 0"),
        ([usual(hidden=0.02, count=1000.0)], ""),  # the clock's own
        ([usual(), usual(hidden=0.02)], "between samples of rank 1"),
        ([usual(met=0.03), usual(met=0.028)], ""),  # all take as long: it is the meeting
        ([usual(met=0.03), usual(met=0.001), usual(met=0.03)], "rank 1 comes late"),
        ([usual(met=0.001), usual(met=0.03)], "rank 0 comes late"),
        ([usual(), usual(behind=0.5)], "rank 1 worked on for 0.5 s behind its last sample"),
        ([usual(behind=0.1)], ""),  # threads of a library spin so long
        ([usual(behind=0.3, parts={"samples": 60.0})], ""),
    ],
)
def test_what_is_suspicious(ranks, said):
    found = suspicion(ranks)
    assert found.startswith(said)
    assert bool(found) == bool(said)


def test_ranks_whose_clock_is_slower_than_that_of_their_agent_are_said():
    assert suspicion([usual()], passed=1.4) == ""  # commands on their way
    assert suspicion([usual(), usual(whole=0.9)], passed=2.0) == (
        "the job took 2 s by its agent's clock and 1 s by those of its ranks: what they timed may "
        "have taken longer"
    )


def test_work_of_the_device_behind_the_last_sample_is_waited_for():
    assert drained(lambda: None) < 0.25
    assert drained(lambda: time.sleep(0.3)) > 0.3


RANK = """#!{python}
import json, os, socket, time
link = socket.socket(fileno=int(os.environ["HENGSUAN_CHANNEL"]))
def say(kind, **more):
    link.sendall(json.dumps({{"type": kind, **more}}).encode() + b"\\n")
link.recv(1 << 16)
say("Ready", protocol={protocol}, pid=os.getpid(), versions={{}})
link.recv(1 << 16)
for part, likely, seconds in {parts}:
    say("Entered", part=part, likely=likely)
    time.sleep(seconds)
{end}
"""


def ended(folder: Path, parts, end: str, limit: float, *, each: bool) -> tuple[str, Spent]:
    """Why a rank that goes through these parts is lost, and where its time went."""
    from bench.cluster.wire import PROTOCOL

    program = folder / "rank"
    text = RANK.format(python=sys.executable, protocol=PROTOCOL, parts=parts, end=end)
    program.write_text(text)
    program.chmod(0o755)
    spec = LaunchSpec(
        python=str(program), environment={}, directory=str(folder), backend="cpu", index=0, local=0,
        devices=[0], cpus=[0],
    )  # fmt: skip

    async def asked() -> str:
        rank = RankProcess(spec)
        await rank.start()
        try:
            with pytest.raises(RankLost) as caught:
                await rank.ask(Run("none", {}, Rule(), 0), limit, each=each)
            return str(caught.value), rank.book.spent()
        finally:
            rank.kill()

    return asyncio.run(asked())


def test_a_limit_is_of_each_part_and_grows_with_what_the_case_is_known_to_take(tmp_path):
    parts = [("setup", 0, 1.0), ("check", 0, 1.0), ("warmup", 1.5, 3.6), ("samples", 0, 3600)]
    why, spent = ended(tmp_path, parts, "", 3.0, each=True)
    assert why == "hangs: no sign of life after 3 s a part, in its samples"
    assert spent.parts["warmup"] > 3
    assert sum(spent.parts.values()) == pytest.approx(spent.whole)


def test_who_ends_at_a_limit_of_the_whole_job_is_told_what_took_the_time(tmp_path):
    parts = [("setup", 0, 3.0), ("check", 9, 3600)]
    why, spent = ended(tmp_path, parts, "", 5.0, each=False)
    began = "hangs: no sign of life after 5 s, in its sanity check, after "
    assert why == f"{began}{spent.parts['setup']:.3g} s of set-up"
    # From word to word as they are heard, which on a busy machine may be late.
    assert 2 < spent.parts["setup"] < 5


def test_a_rank_that_dies_is_told_with_the_part_it_was_in(tmp_path):
    parts = [("setup", 0, 0.1), ("samples", 0, 0.2)]
    why, spent = ended(tmp_path, parts, "os.kill(os.getpid(), 9)", 60.0, each=True)
    assert why == "crashed with SIGKILL, in its samples"
    assert spent.parts["samples"] >= 0.1


def test_a_run_of_before_has_no_ledger_and_a_damaged_one_is_a_sentence(tmp_path):
    run = written(tmp_path, ["a"])
    assert read_ledger(run) == []
    assert spending(RunReader(run).header, []) == []
    old = Ledger(0, 1, 0, 0, 2.0, {"samples": 2.0})
    new = Ledger(0, 1, 0, 0, 3.0, {"samples": 1.0, "setup": 2.0}, said="odd")
    other = Ledger(1, 0, 0, 0, 1.0, {"rest": 1.0})
    lines = msgspec.json.Encoder().encode_lines([old, other, new])
    (run / LEDGER).write_bytes(lines + b"[0,1,0")
    assert read_ledger(run) == [other, new]  # measured again, and a line that was cut off
    first, second = spending(RunReader(run).header, read_ledger(run))
    assert (first.benchmark, first.jobs, first.seconds) == ("gemm", 1, 3.0)
    assert first.parts == {"setup": 2.0, "samples": 1.0}
    assert first.doubts == [f"{RunReader(run).header.cases[0].short()}: odd"]
    assert second.doubts == []
    trim(run, RunReader(run).header.cases)
    assert (run / LEDGER).read_bytes() == lines
    (run / LEDGER).write_bytes(lines + b"nonsense\n")
    with pytest.raises(InfraError, match="this line is no ledger") as caught:
        read_ledger(run)
    assert caught.value.where == f"{run / LEDGER}:4"
