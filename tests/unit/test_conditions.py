"""Conditions of a measurement: all that throttled it, and nothing made up."""

import sys
import types
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from gloo_ranks import context

from bench.backends.base import Telemetry
from bench.cluster.lead import _merged
from bench.cluster.rank_main import Rank
from bench.cluster.wire import Result
from bench.ledger import Spent
from bench.records import Conditions
from bench.timing import Rule
from bench.workloads.base import make
from bench.workloads.runner import ELSEWHERE, Outcome, run


def rank(telemetry):
    made = Rank.__new__(Rank)
    made.spec = types.SimpleNamespace(index=0, cpus=[0], shared=False)
    made.backend = types.SimpleNamespace(telemetry=telemetry)
    made.size, made.library = 1, ""
    return made


def test_every_reason_that_was_seen_is_named_once():
    outcome = Outcome(status="ok", throttled=f"thermal slowdown, power cap, {ELSEWHERE}")
    before, after = Telemetry(throttled="power cap"), Telemetry(throttled="power cap, power brake")
    found = rank(lambda index: Telemetry())._conditions(outcome, before, after)
    assert found.throttled == "power cap, thermal slowdown, power brake"
    free = rank(lambda index: Telemetry())._conditions(Outcome(status="ok"), Telemetry(), after)
    assert free.throttled == "power cap, power brake"


def test_what_no_device_says_is_unknown_and_not_none():
    silent, free = Telemetry(temperature=50.0), Telemetry(throttled="", capped=False)
    made = rank(lambda index: Telemetry())._conditions
    quiet = Outcome(status="ok")
    found = made(quiet, silent, silent)
    assert (found.throttled, found.capped) == (None, None)
    found = made(quiet, silent, free)
    assert (found.throttled, found.capped) == ("", False)
    found = made(Outcome(status="ok", throttled="power cap"), silent, silent)
    assert found.throttled == "power cap"
    old = msgspec.json.decode(b'{"throttled": "", "capped": false}', type=Conditions)
    assert (old.throttled, old.capped) == ("", False), "as records of before say it"


@pytest.mark.parametrize(
    ("said", "whole"),
    [
        (["", ""], ""),
        (["", None], None),
        ([None, "hot"], "rank 1: hot"),
    ],
)
def test_a_group_runs_freely_where_all_its_ranks_say_so(said, whole):
    results = [
        Result(Outcome(status="ok"), Conditions(throttled=one), Spent(whole=0, parts={}))
        for one in said
    ]
    assert _merged(results).throttled == whole


def test_reasons_between_blocks_of_samples_are_kept_with_the_count():
    said = iter(["", "power cap", "power brake, power cap"])
    rule = Rule(budget=0.2, warmup=0, block=0.01, min_samples=3, precision=-1.0)
    outcome = run(make("launch", {}), context(0, 1), rule, throttled=lambda: next(said, ""))
    assert outcome.status == "ok"
    assert outcome.throttled == "power cap, power brake"
    assert "throttled samples left out (power cap, power brake)" in outcome.reason


def test_telemetry_that_raises_leaves_conditions_unknown_and_the_measurement_whole():
    def broken(index):
        raise RuntimeError("the driver does not answer")

    now = rank(broken)._now()
    assert (now.temperature, now.power, now.throttled) == (None, None, None)
