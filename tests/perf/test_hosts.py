"""Links of a known rate: what is measured over them, on hosts of their own networks."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "hosts"))
from hosts import Hosts, missing
from running import Running

RATES = (100e6, 200e6, 400e6)
SUITE = """
name: links
rule: {budget: 6s, warmup: 1s, min_samples: 3, limit: 120s}
stages:
  - name: links
    benchmarks:
      - collectives: {op: all_reduce, size: 16MiB, over: all}
      - pairs: {size: 16MiB, of: node}
"""
METRICS = {"collectives": "busbw", "pairs": "bandwidth"}


def test_shaped_hosts(benchmark, figure, tmp_path):
    """Two hosts at MTU 9000, shaped by tbf, which counts frames: measured over configured rate."""
    why = missing()
    if why:
        pytest.skip(why)

    def measure(hosts, rate):
        folder = tmp_path / f"{rate:.0f}"
        folder.mkdir()
        for host in hosts:
            host.shape(rate)
        measured = Running(hosts, SUITE, folder).end(limit=600)
        assert measured.code == measured.complete, measured.said
        cases = measured.run.header.cases
        for row in measured.run.rows():
            case = cases[row.case]
            if case.metric == METRICS[case.benchmark]:
                what = f"{case.axes.get('op', 'pairs')} {case.axes['size']}"
                figure(
                    f"{what} at {rate / 1e6:.0f} Mbit/s, measured over configured",
                    8 * row.value / rate,
                    low=0.97,
                    high=1.03,
                    contended=row.reason,
                )

    def every_rate():
        with Hosts(2) as hosts:
            for host in hosts:
                hosts.start_ray(host)
            for rate in RATES:
                measure(hosts, rate)

    benchmark.pedantic(every_rate, rounds=1)
