"""Every second of an interrupted training is in one part of its account."""

import pytest

from bench.workloads.attempts import Line, Log, account, launched, now, read_log


def attempt(at, *events, launched=None, step=0):
    """Lines of one attempt: ``(what, seconds since the event before)``; steps number themselves."""
    lines = []
    if launched is not None:
        lines += [Line("launched", launched), Line("begun", launched + 2.0)]
    lines.append(Line("ready", at, step))
    for what, span in events:
        at += span
        step += what == "step"
        lines.append(Line(what, at, step, 1.0 / step if what == "step" else None))
    return lines


FIRST = attempt(10.0, ("step", 1.5), ("step", 1.0), ("saved", 0.5), ("step", 1.0), launched=7.0)
"""Ready at 10; two steps, a checkpoint at 13, a third step at 14."""


def test_a_training_that_nothing_interrupts():
    (*lines, _) = FIRST
    found = account([[*lines, *attempt(13.0, ("step", 1.0), ("done", 0.25), step=2)[1:]]])
    assert found.total == pytest.approx(4.25)
    assert found.productive == pytest.approx(3.75)  # ranks waited for one another at the end
    assert found.saving == pytest.approx(0.5)
    assert (found.failures, found.lost, found.again) == (0, 0.0, 0)
    assert found.rest == pytest.approx(0.0)


def test_a_failure_undoes_what_was_not_saved():
    first = [*FIRST, Line("kill", 14.75)]
    second = attempt(20.0, ("step", 2.0), ("step", 1.0), ("done", 0.0), launched=15.0, step=2)
    found = account([first, second])
    assert found.total == pytest.approx(13.0)
    assert found.productive == pytest.approx(2.5 + 3.0)
    assert found.saving == pytest.approx(0.5)
    assert found.lost == pytest.approx(1.0 + 0.75)
    assert found.detection == pytest.approx(0.25)
    assert found.relaunch == pytest.approx(2.0)
    assert found.restoring == pytest.approx(3.0)
    assert (found.failures, found.again, found.differs) == (1, 1, 0.0)
    assert found.rest == pytest.approx(0.0)
    assert found.steps == pytest.approx([1.5, 1.0, 2.0, 1.0])


def test_a_checkpoint_counts_from_when_it_can_be_restored():
    """Killed when it was the latest, and before that was logged."""
    lines = attempt(10.0, ("step", 1.0), ("step", 1.0))
    first = [*lines, Line("kill", 12.4)]
    second = attempt(20.0, ("step", 1.0), ("done", 0.0), launched=13.0, step=2)
    found = account([first, second])
    assert found.productive == pytest.approx(3.0)
    assert found.lost == pytest.approx(0.4)
    assert found.again == 0
    assert found.rest == pytest.approx(0.0)


def test_a_rank_that_died_later_than_planned_did_what_it_logged():
    first = [*attempt(10.0, ("step", 3.0)), Line("kill", 12.99)]
    second = attempt(20.0, ("step", 1.0), ("done", 0.0), launched=12.99)
    found = account([first, second])
    assert (found.lost, found.detection) == (pytest.approx(3.0), 0.0)
    assert found.rest == pytest.approx(0.0)


def test_losses_that_differ_are_told():
    first = [*FIRST, Line("kill", 14.75)]
    second = attempt(20.0, ("step", 2.0), ("done", 0.0), launched=15.0, step=2)
    second[3].loss *= 1.1
    assert account([first, second]).differs == pytest.approx(0.1)


def test_many_failures_add_up():
    attempts, at = [], 100.0
    for number, steps in enumerate([3, 0, 7, 1]):
        restored = 2 * number
        events = [("step", 0.5), ("saved", 0.1)] * steps
        lines = attempt(at + 9.0, *events, launched=at + 1.0, step=restored)
        at = lines[-1].at + 0.3
        attempts.append([*lines, Line("kill", at)])
    attempts.append(attempt(at + 5.0, ("step", 1.0), ("done", 0.0), launched=at + 0.2, step=11))
    found = account(attempts)
    assert found.failures == 4
    assert found.rest == pytest.approx(0.0)


def test_logs_that_do_not_fit_together_are_refused():
    with pytest.raises(ValueError, match="attempt 0 has no line 'done'"):
        account([FIRST])
    with pytest.raises(ValueError, match="attempt 0 has no line 'kill'"):
        account([FIRST, attempt(20.0, ("done", 0.0), launched=15.0)])


def test_a_log_is_read_up_to_where_its_writer_was_killed(tmp_path):
    path = tmp_path / "log"
    log = Log(str(path))
    log.write("ready", step=3)
    log.write("step", step=4, loss=2.5)
    log.close()
    with path.open("ab") as file:
        file.write(b'{"what":"step","at":1')
    first, second = read_log(path)
    assert (first.what, first.step) == ("ready", 3)
    assert (second.step, second.loss) == (4, 2.5)
    assert second.at == log.last


def test_a_process_was_launched_before_now_on_the_clock_of_its_log():
    assert 0 < launched() < now()
