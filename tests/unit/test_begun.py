"""What a run was begun with: options that go on with it, and commands that repeat a check."""

import shlex
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from made_runs import case, header

from bench.cli import cli
from bench.cli.begun import begun, repeating
from bench.records import ScheduleSpec
from bench.verdicts import Evidence

GEMM = case(0, axes={"shape": "64x64x64"}, title="gemm 64x64x64")
SCHEDULES = [
    ScheduleSpec(kind="devices", scope="device"),
    ScheduleSpec(kind="pairs", scope="pair"),
]
PAIRS = case(1, benchmark="pairs", metric="bandwidth", scope="pair", schedule=1)


def run_by(*words, executor="ray"):
    return header(
        GEMM,
        PAIRS,
        fleet=None,
        schedules=SCHEDULES,
        suite="short",
        executor=executor,
        command=["hengsuan", *words],
    )


def finding(one=GEMM, against="fleet"):
    return Evidence(
        verdict="reject",
        against=against,
        text="slow",
        stage="device",
        metric=f"{one.short()} {one.metric}",
    )


def test_options_that_were_typed():
    found = begun(run_by("certify", "my suite.yaml", "--soak", "10m", "--retest", "20%"))
    assert found == {"suite": "my suite.yaml", "soak": 600.0, "retest": 0.2}


@pytest.mark.parametrize(
    "words", [(), ("nothing",), ("certify", "--soak"), ("certify", "--no-such-option", "3")]
)
def test_what_is_no_command_line_of_ours_says_nothing(words):
    assert begun(run_by(*words)) == {}


@pytest.mark.parametrize(
    ("words", "executor", "one", "asked", "expected"),
    [
        (
            ("certify", "my suite.yaml", "--address", "head:6379", "--share"),
            "ray",
            finding(),
            {"profile": "mine.yaml"},
            "hengsuan certify 'my suite.yaml' --address head:6379 --share --nodes 'gpu 7' "
            "--profile mine.yaml --baseline run --only 'gemm 64x64x64 flops'",
        ),
        (
            ("certify", "--executor", "local", "--backend", "acme", "--out", "/srv/r"),
            "local",
            finding(against="floor"),
            {"baseline": "proven"},
            "hengsuan certify short --executor local --backend acme --out /srv/r "
            "--baseline proven --only 'gemm 64x64x64 flops'",
        ),
        (  # a pair needs another node
            ("run", "quick", "--address", "head:6379"),
            "ray",
            finding(PAIRS, "fabric"),
            {},
            "hengsuan certify quick --address head:6379 --only 'pairs bandwidth'",
        ),
    ],
)
def test_the_command_repeats_what_was_run(words, executor, one, asked, expected):
    found = repeating(run_by(*words, executor=executor), one, "gpu 7", asked)
    assert found == expected
    verb, *rest = shlex.split(found)[1:]
    command = cli.get_command(None, verb)
    assert command.make_context(verb, rest, resilient_parsing=True).params["only"]


def test_what_is_no_measurement_has_no_command():
    drift = Evidence(verdict="reject", against="drift", text="other", metric="drivers.acme")
    assert repeating(run_by("certify"), drift, "n", {}) == ""
