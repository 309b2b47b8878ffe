"""Processes whose memory lies where it lay the last time."""

import subprocess
from pathlib import Path

import pytest

from bench.host import fixed_places


def text_of(*words):
    return subprocess.check_output(words, text=True)


def fixed():
    return int(text_of("cat", "/proc/self/personality"), 16) & 0x0040000


@pytest.mark.skipif(
    not Path("/proc/self/personality").exists(), reason="this kernel does not say what it does"
)
def test_what_is_started_inside_has_its_memory_at_fixed_places():
    before = fixed()
    with fixed_places() as agreed:
        if not agreed:
            pytest.skip("this kernel lets nobody fix the places of memory")
        assert fixed()
        assert len({text_of("cat", "/proc/self/maps") for _ in range(3)}) == 1
    assert fixed() == before
