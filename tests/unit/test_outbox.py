"""What an agent hands over: all of it, in order, in pages that are never large."""

import msgspec

from bench.cluster.executor import PAGE_BYTES, Event, Page
from bench.cluster.outbox import Outbox
from bench.records import Conditions, Row, Samples


def row(case, group=0, reason="", status="ok"):
    numbers = [1.2345678901234567e-12] * 3
    return Row(case, group, 0, 123.456, *numbers, 100_000, status, 0, "stand-in", reason)


def pages(outbox):
    """Every page as it travels, and what it says."""
    found = []
    while outbox.waiting:
        text = msgspec.json.encode(outbox.take())
        found.append((len(text), msgspec.json.decode(text, type=Page)))
    return found


def test_pages_are_never_large_whatever_they_carry():
    outbox = Outbox("all")
    outbox.begin("n0", 700)
    for case in range(700):
        conditions = Conditions(
            nice=0,
            affinity=f"{case}-127",
            threads=1,
            governor="performance",
            frequency=(1200.0, 1950.0),
            temperature=(45.0, 65.0),
            power=(200.0, 680.0),
            throttled="thermal slowdown of hardware",
            timer="device events",
        )
        samples = Samples(case, 0, 0, 1, [1.234567e-06] * (9001 if case % 100 == 0 else 10))
        outbox.add([row(case, reason="x" * 300, status="contended")], [conditions], samples)
        outbox.events.append(Event(time=1.0, kind="warning", text="y" * 300, node="n0"))
    outbox.finish()
    found = pages(outbox)
    assert max(size for size, _ in found) <= PAGE_BYTES * 1.02
    rows = [(one.case, page.conditions[one.conditions]) for _, page in found for one in page.rows]
    assert [case for case, _ in rows] == list(range(700))
    assert all(conditions.affinity == f"{case}-127" for case, conditions in rows)
    assert sum(len(page.events) for _, page in found) == 700
    counts = {}
    for _, page in found:
        for raw in page.samples:
            one = msgspec.json.decode(raw, type=Samples)
            counts[one.case] = counts.get(one.case, 0) + len(one.seconds)
    assert counts == {case: 9001 if case % 100 == 0 else 10 for case in range(700)}


def test_rows_of_one_job_stay_together_even_where_they_fill_more_than_a_page():
    outbox = Outbox("none")
    outbox.add([row(case) for case in range(3000)], [Conditions()], None)
    outbox.add([row(9)], [Conditions()], None)
    assert [len(page.rows) for _, page in pages(outbox)] == [3000, 1]


def test_an_event_that_fills_more_than_a_page_has_one_of_its_own():
    outbox = Outbox("none")
    changes = {f"eth{number} driver:rx_errors": 1 for number in range(2000)}
    kinds = ("warning", "counters", "warning")
    for kind, text in zip(kinds, ("y", "x" * PAGE_BYTES, "y"), strict=True):
        outbox.events.append(Event(time=1.0, kind=kind, text=text, changes=changes))
    outbox.add([row(1)], [Conditions()], None)
    found = [page for _, page in pages(outbox)]
    assert [[event.kind for event in page.events] for page in found] == [[k] for k in kinds] + [[]]
    assert found[-1].rows


def test_samples_wait_for_the_end_of_the_stage():
    outbox = Outbox("suspects")
    outbox.add([row(0)], [Conditions()], Samples(0, 0, 0, 1, [1.0]))
    outbox.add(
        [row(1, reason="busy", status="contended")], [Conditions()], Samples(1, 0, 0, 1, [1.0])
    )
    assert not outbox.take().samples
    assert not outbox.waiting
    outbox.finish()
    assert [bytes(raw) for raw in outbox.take().samples] == [b"[1,0,0,1,[1.0]]"]
