"""The clock of a call on fresh inputs."""

import time

import torch

from bench.kernels.fresh import Clocked


def test_what_a_call_waits_for_its_core_is_no_time_of_it():
    made = torch.ones(1)
    one = Clocked({}, {}, lambda: {"out": made}, lambda: lambda: 5.0)
    begun = time.perf_counter()
    assert one() == {"out": made}
    assert -5.0 < one.seconds <= time.perf_counter() - begun - 5.0


def test_the_first_call_counts_and_what_the_next_one_takes_does_not():
    calls = []
    waits = iter([1.0, 2.0])

    def work():
        calls.append(0)
        return {"out": torch.ones(1)}

    one = Clocked({}, {}, work, lambda: lambda: next(waits, 0.0))
    one()
    first = one.seconds
    one()
    assert one.seconds == first
    assert len(calls) == 2


def test_who_counts_the_waits_and_waits_himself_takes_nothing_from_the_call():
    """Right before the call and right after it, as on a busy host."""

    def waits():
        time.sleep(0.3)

        def waited():
            time.sleep(0.3)
            return 0.6

        return waited

    one = Clocked({}, {}, lambda: time.sleep(0.1) or {}, waits)
    one()
    assert one.seconds >= 0.1
