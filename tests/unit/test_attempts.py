"""Every second of an interrupted training is in one part of its account."""

import errno
import os
import time

import pytest

from bench.errors import InfraError
from bench.workloads.attempts import (
    Failure,
    Line,
    Log,
    account,
    failures_text,
    read_failures,
    read_log,
)


def attempt(at, *events, begun=None, step=0):
    """Lines of one attempt: ``(what, seconds since the event before)``; steps number themselves."""
    lines = []
    if begun is not None:
        lines.append(Line("begun", begun))
    lines.append(Line("ready", at, step))
    for what, span in events:
        at += span
        step += what == "step"
        lines.append(Line(what, at, step, 1.0 / step if what == "step" else None))
    return lines


FIRST = attempt(10.0, ("step", 1.5), ("step", 1.0), ("saved", 0.5), ("step", 1.0), begun=9.0)
"""Ready at 10; two steps, a checkpoint at 13, a third step at 14."""
LAST = attempt(20.0, ("step", 2.0), ("step", 1.0), ("done", 0.0), begun=17.0, step=2)


def test_a_training_that_nothing_interrupts():
    (*lines, _) = FIRST
    found = account([[*lines, *attempt(13.0, ("step", 1.0), ("done", 0.25), step=2)[1:]]], [])
    assert found.total == pytest.approx(4.25)
    assert found.productive == pytest.approx(3.75)  # ranks waited for one another at the end
    assert found.saving == pytest.approx(0.5)
    assert (found.failures, found.lost, found.again) == (0, 0.0, 0)
    assert found.rest == pytest.approx(0.0)


def test_a_failure_undoes_what_was_not_saved():
    found = account([FIRST, LAST], [Failure(14.75, 15.0)])
    assert found.total == pytest.approx(13.0)
    assert found.productive == pytest.approx(2.5 + 3.0)
    assert found.saving == pytest.approx(0.5)
    assert found.lost == pytest.approx(1.0 + 0.75)
    assert found.detection == pytest.approx(0.25)
    assert found.relaunch == pytest.approx(2.0)
    assert found.restoring == pytest.approx(3.0)
    assert found.recoveries == pytest.approx([5.0])
    assert (found.failures, found.interrupted, found.again, found.differs) == (1, 0, 1, 0.0)
    assert found.rest == pytest.approx(0.0)
    assert found.steps == pytest.approx([1.5, 1.0, 2.0, 1.0])


def test_failures_before_the_training_goes_on_interrupt_a_recovery():
    """One while processes start, of which there is no log, and one while a checkpoint is read."""
    reading = [Line("begun", 16.5)]
    failures = [Failure(14.75, 15.0), Failure(15.5, 15.75), Failure(16.75, 16.875)]
    found = account([FIRST, [], reading, LAST], failures)
    assert (found.failures, found.interrupted) == (3, 2)
    assert found.detection == pytest.approx(0.25 + 0.25 + 0.125)
    assert found.relaunch == pytest.approx(0.5 + 0.75 + 0.125)
    assert found.restoring == pytest.approx(0.25 + 3.0)
    assert found.recoveries == pytest.approx([20.0 - 16.875])
    assert found.lost == pytest.approx(1.75)
    assert found.rest == pytest.approx(0.0)


def test_what_fails_before_the_training_has_begun_is_no_part_of_it():
    failures = [Failure(3.0, 4.0), Failure(14.75, 15.0)]
    found = account([[Line("begun", 2.0)], FIRST, LAST], failures)
    assert (found.failures, found.interrupted) == (1, 0)
    assert found.total == pytest.approx(13.0)
    assert found.rest == pytest.approx(0.0)


def test_of_a_failure_that_nobody_asked_for_the_last_line_tells():
    found = account([FIRST, LAST], [Failure(None, 15.0)])
    assert found.lost == pytest.approx(1.0)
    assert found.detection == pytest.approx(1.0)
    assert found.rest == pytest.approx(0.0)


def test_a_checkpoint_counts_from_when_it_can_be_restored():
    """Killed when it was the latest, and before that was logged."""
    lines = attempt(10.0, ("step", 1.0), ("step", 1.0))
    second = attempt(20.0, ("step", 1.0), ("done", 0.0), begun=13.0, step=2)
    found = account([lines, second], [Failure(12.4, 12.5)])
    assert found.productive == pytest.approx(3.0)
    assert found.lost == pytest.approx(0.4)
    assert found.again == 0
    assert found.rest == pytest.approx(0.0)


def test_an_asynchronous_checkpoint_counts_when_it_has_landed():
    """The first was whole when the failure struck, the second was still being written."""
    lines = attempt(
        10.0,
        ("step", 1.0),
        ("saved", 0.25),
        ("step", 1.0),
        ("landed", 0.25),  # while the next step goes on
        ("step", 0.75),
        ("saved", 0.25),
        ("step", 1.0),
    )
    lines[4].step = 1
    second = attempt(20.0, ("step", 1.0), ("done", 0.0), begun=16.0, step=1)
    found = account([lines, second], [Failure(15.0, 15.5)])
    assert found.landings == pytest.approx([1.25])
    assert found.saves == pytest.approx([0.25])
    assert found.saving == pytest.approx(0.25)
    assert found.productive == pytest.approx(1.0 + 1.0)
    assert found.lost == pytest.approx(1.0 + 1.0 + 0.25 + 1.0 + 0.5)
    assert found.rest == pytest.approx(0.0)


def test_a_rank_that_died_later_than_planned_did_what_it_logged():
    first = attempt(10.0, ("step", 3.0))
    second = attempt(20.0, ("step", 1.0), ("done", 0.0), begun=15.0)
    found = account([first, second], [Failure(12.99, 12.995)])
    assert (found.lost, found.detection) == (pytest.approx(3.0), 0.0)
    assert found.rest == pytest.approx(0.0)


def test_losses_that_differ_are_told():
    second = attempt(20.0, ("step", 2.0), ("done", 0.0), begun=15.0, step=2)
    second[2].loss *= 1.1
    assert account([FIRST, second], [Failure(14.75, 15.0)]).differs == pytest.approx(0.1)


def test_many_failures_add_up():
    attempts, failures, at = [], [], 100.0
    for number, steps in enumerate([3, 0, 7, 1]):
        restored = 2 * number
        events = [("step", 0.5), ("saved", 0.1)] * steps
        lines = attempt(at + 9.0, *events, begun=at + 1.0, step=restored)
        at = lines[-1].at + 0.3
        attempts.append(lines)
        failures.append(Failure(at, at + 0.1))
    attempts.append(attempt(at + 5.0, ("step", 1.0), ("done", 0.0), begun=at + 0.2, step=11))
    found = account(attempts, failures)
    assert found.failures == 4
    assert found.rest == pytest.approx(0.0)


def test_logs_that_do_not_fit_together_are_refused():
    with pytest.raises(ValueError, match="attempt 0 has no line 'done'"):
        account([FIRST], [])
    with pytest.raises(ValueError, match="2 attempts cannot have 0 failures"):
        account([FIRST, LAST], [])
    with pytest.raises(ValueError, match="attempt 1 has no line 'ready'"):
        account([FIRST, []], [Failure(14.75, 15.0)])


def test_failures_are_told_in_a_word():
    failures = [Failure(12.3, 13.02, True), Failure(None, 20.5), Failure(None, 21.0, True)]
    assert failures_text(failures) == "12.300-13.020+,-20.500,-21.000+"
    assert read_failures(failures_text(failures)) == failures
    assert read_failures("") == []
    for bad in ("12", "a-b", "1-", "1-2,3"):
        with pytest.raises(ValueError):
            read_failures(bad)


def test_a_log_is_read_up_to_where_its_writer_was_killed(tmp_path):
    path = tmp_path / "log"
    before = time.monotonic()
    log = Log(str(path), before - 100.0)
    log.write("ready", step=3)
    log.write("step", step=4, loss=2.5)
    log.close()
    with path.open("ab") as file:
        file.write(b'{"what":"step","at":1')
    first, second = read_log(path)
    assert (first.what, first.step) == ("ready", 3)
    assert (second.step, second.loss) == (4, 2.5)
    assert 100.0 <= first.at <= second.at <= 100.0 + time.monotonic() - before


def test_a_line_that_the_storage_takes_in_parts_is_whole(tmp_path, monkeypatch):
    """A full disk takes a part first, and says so when it is asked to take the rest."""
    path = tmp_path / "log"
    log, whole = Log(str(path), time.monotonic()), os.write
    monkeypatch.setattr(os, "write", lambda file, data: whole(file, data[:7]))
    log.write("step", step=1, loss=2.5)
    assert [line.loss for line in read_log(path)] == [2.5]

    def full(file, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(InfraError, match="log cannot be written: No space left on device") as told:
        log.write("step", step=2)
    assert told.value.where == str(path)
    monkeypatch.undo()
    log.close()


@pytest.mark.parametrize("line", ['{"what":"step","at"', '{"what":"slept","at":1}', "\udcff"])
def test_a_damaged_line_is_named(tmp_path, line):
    path = tmp_path / "log"
    damaged = line.encode(errors="surrogateescape")
    path.write_bytes(b'{"what":"ready","at":1}\n' + damaged + b"\n")
    with pytest.raises(InfraError, match="the attempt's log is damaged: ") as said:
        read_log(path)
    assert said.value.where == f"{path}:2"
    path.unlink()
    path.mkdir()
    with pytest.raises(InfraError, match=r"log: cannot be read: Is a directory"):
        read_log(path)


def test_an_attempt_that_failed_before_its_log_has_no_lines(tmp_path):
    assert read_log(tmp_path / "absent") == []
