"""What looking at a node beside a run takes of it."""

import time

import msgspec

from bench.backends.cpu import Cpu
from bench.cluster.sampler import Sampler
from bench.records import Node
from bench.telemetry import NODE, TelemetryRow

SECONDS = 30
COST = [one.name for one in NODE].index("cost")


def test_telemetry(benchmark, figure):
    """One node at a look a second: processor time of the sampler's thread, as its rows say it.

    And by another clock: that of the whole process, in which nothing else goes on.
    """
    node = Node(id="n", name="n", backend="cpu", devices=tuple(Cpu().devices()))
    rows = []

    def once():
        began = time.monotonic()
        one = Sampler(node, 0, 1.0, lambda: time.monotonic() - began, rows.append)
        before = time.process_time()
        one.start()
        time.sleep(SECONDS)
        one.stop()
        return (time.process_time() - before) / (time.monotonic() - began)

    whole = benchmark.pedantic(once, rounds=1)
    costs = [msgspec.json.decode(row, type=TelemetryRow).values[COST] for row in rows]
    assert len(costs) >= SECONDS - 2
    said = f"telemetry of a node of {len(node.devices)} devices at 1 s"
    figure(f"{said}, of one core", 100 * sum(costs) / len(costs), "%", high=1)
    figure(f"{said}, the whole process", 100 * whole, "%", high=1)
    figure(f"{said}, a row", sum(len(bytes(row)) + 1 for row in rows) / len(rows), "B", high=500)
