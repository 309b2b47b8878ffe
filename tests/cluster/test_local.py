"""The engine on this machine alone: what works, and every way in which a rank can fail."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from runs import local_executor, run, suite

from bench.errors import Exit


def test_a_quick_run_measures_devices_and_groups(tmp_path):
    made = suite(
        [("fixed", {"tag": [0, 1]})],
        [("faultygroup", {"kind": "none"}, {"over": "node"})],
    )
    finished, rows = run(made, local_executor(), tmp_path)
    assert finished.exit is Exit.OK
    fixed = rows["fixed", "time"]
    assert len(fixed) == 4
    assert all(row.value >= 0.001 for row in fixed)
    assert all(row.provenance == "stand-in" for row in fixed)
    assert all(row.low <= row.value <= row.high for row in fixed)
    assert len(rows["faultygroup", "time"]) == 1
    assert (finished.folder / "samples.jsonl").read_text().count("\n") == 5


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("segv", "crashed with SIGSEGV"),
        ("kill", "crashed with SIGKILL"),
        ("exit", "exited with code 7"),
        ("oom", "out of memory"),
        ("raise", "ValueError: the driver returned error 719"),
        ("hang", "not done at its limit"),
        ("stop", "no sign of life"),
    ],
)
def test_a_failing_device_is_a_result_and_the_rest_goes_on(tmp_path, kind, reason):
    made = suite(
        [("faulty", {"kind": kind, "device": 0}), ("fixed", {"tag": 5})],
        limit=3.0 if kind in ("hang", "stop") else 20.0,
    )
    finished, rows = run(made, local_executor(), tmp_path)
    first, second = rows["faulty", "time"]
    assert first.status == "failed"
    assert reason in first.reason
    assert second.status in ("ok", "contended")
    assert all(row.status in ("ok", "contended") for row in rows["fixed", "time"])
    assert finished.exit is Exit.INFRASTRUCTURE


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("segv", "rank 1 .*crashed with SIGSEGV"),
        ("stop", "rank 1 .*no sign of life"),
        ("raise", "rank 1 .*error 719"),
        ("hang", "not done at its limit"),
    ],
)
def test_a_failing_rank_ends_its_group_and_names_itself(tmp_path, kind, reason):
    import re

    made = suite(
        [("faultygroup", {"kind": [kind, "none"]}, {"over": "node"})],
        limit=5.0 if kind in ("hang", "stop") else 20.0,
    )
    finished, rows = run(made, local_executor(), tmp_path)
    broken, healthy = rows["faultygroup", "time"]
    assert broken.status == "failed"
    assert re.search(reason, broken.reason)
    assert healthy.status in ("ok", "contended")
    assert finished.exit is Exit.INFRASTRUCTURE


def test_a_failed_sanity_check_is_invalid_and_a_finding(tmp_path):
    made = suite(
        [("faulty", {"kind": "wrong"})],
        [("faultygroup", {"kind": "wrong"}, {"over": "node"}), ("fixed", {})],
    )
    finished, rows = run(made, local_executor(), tmp_path)
    assert {row.status for row in rows["faulty", "time"]} == {"invalid"}
    assert "1 + 1 = 3" in rows["faulty", "time"][0].reason
    assert rows["faultygroup", "time"][0].status == "invalid"
    assert "2 != 3" in rows["faultygroup", "time"][0].reason
    assert finished.exit is Exit.FINDING
