"""``backend check`` on a real device, and on the same one broken in one way each."""

import json

import pytest

from bench.errors import Exit

MEMORY = {"NUOMI_MEMORY": str(512 << 20)}


def checked(hengsuan, *only, **environment):
    """(exit code, result by check) of the checks that these patterns choose."""
    words = [word for pattern in only for word in ("--only", pattern)]
    done = hengsuan("backend", "check", "nuomi", "--json", "-q", *words, **MEMORY, **environment)
    assert done.stdout, done.stderr
    return done.returncode, {one["check"]: one for one in json.loads(done.stdout)["results"]}


@pytest.mark.timeout(900)
def test_the_device_conforms(hengsuan):
    code, found = checked(hengsuan)
    bad = {name: one for name, one in found.items() if one["verdict"] in ("fail", "skipped")}
    assert not bad, bad
    assert code == Exit.OK
    for name in ("synchronise", "timers", "streams", "memory", "out-of-memory", "random"):
        assert found[name]["verdict"] == "pass", found[name]


DEFECTS = {
    # Of a device whose products are wrong, copies, memory and time are still right.
    "wrong": (
        "op-gemm",
        "sanity check before measuring failed: relative error",
        ("synchronise", "memory", "dtypes"),
    ),
    "nosync": ("synchronise", "passed after synchronize() had returned", ("memory", "dtypes")),
    "memory": ("memory", "memory_peak() grew by", ("synchronise", "dtypes")),
}


@pytest.mark.timeout(400)
@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_fails_its_own_check_and_no_other(hengsuan, defect):
    wrong, reason, right = DEFECTS[defect]
    code, found = checked(hengsuan, wrong, *right, NUOMI_DEFECT=defect)
    assert code == Exit.FINDING
    assert found[wrong]["verdict"] == "fail"
    assert reason in found[wrong]["reason"], found[wrong]
    assert {found[name]["verdict"] for name in right} == {"pass"}, found


STUCK = {
    # Limits are longer than importing PyTorch takes on a busy machine: a crash comes after it.
    "hang": ("20", "did not answer within 20 s"),
    "crash": ("60", "crashed with SIGSEGV"),
}


@pytest.mark.parametrize("defect", STUCK)
def test_a_device_that_cannot_be_counted_is_listed_with_the_reason(hengsuan, defect):
    seconds, reason = STUCK[defect]
    broken = {"NUOMI_DEFECT": defect, "HENGSUAN_PROBE_SECONDS": seconds}
    code, found = checked(hengsuan, "loading", "memory", **broken)
    assert code == Exit.FINDING
    assert found["loading"]["verdict"] == "fail"
    assert reason in found["loading"]["reason"]
    assert found["memory"]["verdict"] == "skipped"
    listed = hengsuan("backend", "list", "--json", **broken)
    by_name = {one["backend"]: one for one in json.loads(listed.stdout)}
    assert reason in by_name["nuomi"]["problem"]
    assert by_name["nuomi"]["devices"] == []
    assert by_name["cpu"]["state"] == "present"
