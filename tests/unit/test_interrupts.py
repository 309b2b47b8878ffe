"""Ctrl-C and kin: where they end a run, and what further ones do. With real signals."""

import os
import signal

import pytest

from bench.cluster import interrupts
from bench.cluster.interrupts import NUMBERS, Interrupts


def send(number=signal.SIGINT):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", NUMBERS)
def test_the_first_raises_where_it_arrives_and_an_impatient_second_does_not(number, monkeypatch):
    monkeypatch.setattr(interrupts, "PATIENCE", 3600.0)
    before = [signal.getsignal(one) for one in NUMBERS]
    with Interrupts():
        with pytest.raises(KeyboardInterrupt):
            send(number)
        for one in NUMBERS:
            send(one)
    assert [signal.getsignal(one) for one in NUMBERS] == before


def test_what_is_in_hand_is_put_down_first():
    done = []
    with Interrupts() as minded, pytest.raises(KeyboardInterrupt), minded.held():
        send()
        send()
        done.append("the page")
        minded.check()
        done.append("another")
    assert done == ["the page"]


def test_one_that_arrives_behind_the_last_check_is_not_lost():
    with Interrupts() as minded:
        with minded.held():
            minded.check()
        with pytest.raises(KeyboardInterrupt), minded.held():
            send()


def test_what_hangs_is_interrupted_all_the_same(monkeypatch):
    monkeypatch.setattr(interrupts, "PATIENCE", 0.0)
    with Interrupts() as minded, pytest.raises(KeyboardInterrupt), minded.held():
        send()
        send()
        raise AssertionError("it goes on")


def test_none_is_minded_any_more_while_the_rest_is_collected():
    with Interrupts() as minded:
        minded.ignore()
        for one in NUMBERS:
            send(one)


def test_what_was_ignored_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts():
            send(signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
