"""What it costs to look: the live display of a large run, and a word that a shell completes."""

import os
import pty
import resource
import subprocess
import sys
import textwrap
import threading
from time import perf_counter

import numpy as np

SHOWN = """
    import sys, time
    from pathlib import Path
    import numpy as np
    from bench.cli.live import Watching
    from bench.cluster.executor import Page, Progress
    from bench.cluster.observer import Several
    from bench.cluster.planning import plan
    from bench.configs import load_chips, load_suite
    from bench.inventory import Inventory
    from bench.records import DeviceGroup, Header, Row
    from bench.report.screen import Screen
    from bench.report.terminal import console

    NODES, DEVICES, SECONDS, TICKS = 1024, 8, int(sys.argv[1]), 50
    inventory = Inventory(fleet=DeviceGroup(count=NODES, devices=DEVICES, chip="sim-a"))
    made = plan(load_suite("quick"), inventory, load_chips())
    header = Header(id="r", suite="quick", started="", executor="simulated",
        provenance="simulated", cases=made.cases, schedules=made.schedules)
    draw = np.random.default_rng(1)

    def pages(case):
        # A second of a fleet: every agent sends a page with a row of each of its devices.
        values = 1e12 * (1 + 0.01 * draw.normal(size=NODES * DEVICES))
        values[draw.integers(0, NODES * DEVICES, 20)] *= 0.7
        for node in range(NODES):
            rows = []
            for rank in range(node * DEVICES, (node + 1) * DEVICES):
                bad = draw.random() < 1e-4
                value = None if bad else float(values[rank])
                rows.append(Row(case, rank, 0, 1.0, value, value, value, 9,
                    "failed" if bad else "ok", -1, "simulated", "oops" if bad else ""))
            name = inventory.name(node)
            yield Page(rows=rows,
                progress=[Progress(node=name, done=case, total=60, current="gemm")])

    seconds = [list(pages(second % 8)) for second in range(SECONDS)]

    def fed(observer):
        # The pages of a second come evenly: the processor time that this took.
        observer.begin(header, made, inventory, Path("results/r"))
        observer.stage(made.stages[0], 480_000)
        began, used = time.monotonic(), time.process_time()
        for second, whole in enumerate(seconds):
            for tick in range(TICKS):
                for page in whole[tick * NODES // TICKS:(tick + 1) * NODES // TICKS]:
                    observer.page(page)
                due = began + second + (tick + 1) / TICKS
                time.sleep(max(0.0, due - time.monotonic()))
        used = time.process_time() - used
        return used, time.monotonic() - began

    alone, _ = fed(Several())
    with Screen(console(stderr=True)) as screen:
        assert screen._live is not None
        shown, wall = fed(Watching(screen))
    print(alone, shown, wall)
"""


def test_live(benchmark, figure):
    """1,024 agents × 8 devices, a page each and 8,192 rows a second, on a terminal of 100 × 40.

    The processor time of looking at the pages and drawing, without that of handing them over.
    """
    found = []

    def once():
        ours, theirs = pty.openpty()
        drained = threading.Thread(target=_drain, args=(ours,), daemon=True)
        drained.start()
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(SHOWN), "20"],
            stdout=subprocess.PIPE,
            stderr=theirs,
            check=True,
            text=True,
            env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"},
        )
        os.close(theirs)
        drained.join(5)
        os.close(ours)
        found.append(tuple(map(float, done.stdout.split())))

    benchmark.pedantic(once, rounds=3)
    shares = [(shown - alone) / wall for alone, shown, wall in found]
    limits = (100 * min(shares), 100 * max(shares))
    said = "live display, 1,024 agents x 8 devices, of one core"
    figure(said, 100 * float(np.median(shares)), "%", high=2, limits=limits)


def _drain(terminal):
    """What is drawn is read, as a terminal does."""
    try:
        while os.read(terminal, 65536):
            pass
    except OSError:  # the other end has been closed
        pass


def test_completion(benchmark, figure, tmp_path):
    """From the key to what is offered, beside a thousand runs: the slowest of some words.

    The limits are its processor time, and what a person waits.
    """
    for number in range(1000):
        folder = tmp_path / "results" / f"20260101-{number:06}-quick"
        folder.mkdir(parents=True)
        (folder / "run.json").write_text("{}")
    lines = ("hengsuan ", "hengsuan run qui", "hengsuan results show 2026", "hengsuan run --")
    lines += ("hengsuan run quick --backend cu", "hengsuan run quick --stand-in h")
    spans = {line: [] for line in lines}

    def once():
        for line in lines:
            words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
            start, before = perf_counter(), _used()
            done = subprocess.run(
                [sys.executable, "-m", "bench"],
                cwd=tmp_path,
                capture_output=True,
                check=True,
                env={**os.environ, **words, "_HENGSUAN_COMPLETE": "bash_complete"},
            )
            spans[line].append((perf_counter() - start, _used() - before))
            assert done.stdout

    benchmark.pedantic(once, rounds=5, warmup_rounds=1)
    waited, used = max(tuple(np.median(each, axis=0).tolist()) for each in spans.values())
    said = f"waited {waited - used:.1f} s" if waited > 1.5 * used else ""
    limits = (min(used, waited), waited)
    figure("a word completed", waited, "s", high=0.3, limits=limits, contended=said)


def _used():
    """Processor time of the processes that have ended, in seconds."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime
