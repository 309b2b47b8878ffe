"""A program that reports a training without training, in every way that real ones go wrong.

``python trainer.py MODE RANK RANKS [FOLDER]``: what it does besides, MODE says.
"""

import os
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "configs", "commands"))
from hengsuan_report import Report

MODE, RANK, RANKS = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
FOLDER = sys.argv[4] if len(sys.argv) > 4 else ""
PACE = 0.01


def train(report, steps=None, loss=lambda number: 6.0 / number, **told):
    number = 0
    while steps is None or number < steps:
        number += 1
        time.sleep(PACE)
        report.step(number, loss=loss(number), **{"tokens": 100 * RANKS, **told})


def child(ignore):
    """Starts a process in a session of its own that would run for an hour."""
    text = "import signal, time\n"
    if ignore:
        text += "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    made = subprocess.Popen(
        [sys.executable, "-c", text + "time.sleep(3600)"], start_new_session=True
    )
    with open(os.path.join(FOLDER, f"child{RANK}"), "w") as stream:
        stream.write(str(made.pid))


def hello():
    return Report("toy", "1.0", RANK, RANKS)


def main():
    if MODE == "endless":
        train(hello())
    elif MODE == "finite":
        report = hello()
        train(report, 30)
        report.done()
    elif MODE == "silent":
        time.sleep(3600)
    elif MODE == "unended":
        sys.stdout.write("no line end " * 100_000)
        sys.stdout.flush()
        time.sleep(3600)
    elif MODE == "list":
        print('[{"hengsuan": "hello"}]')
    elif MODE == "nothing":
        print("usage: train what?")
    elif MODE == "few":
        report = hello()
        train(report, 4)
        report.done()
    elif MODE == "crash":
        train(hello(), 10)
        raise RuntimeError("device 3 fell off the bus")
    elif MODE == "crash-one":
        report = hello()
        train(report, 2)  # too few to be enough before it crashes, however late somebody looks
        if RANK == 1:
            raise RuntimeError("device 3 fell off the bus")
        time.sleep(3600)
    elif MODE == "segfault":
        train(hello(), 10)
        os.kill(os.getpid(), signal.SIGSEGV)
    elif MODE == "hang":
        train(hello(), 2)
        time.sleep(3600)
    elif MODE == "other-rank":
        train(Report("toy", "1.0", RANK + 1, RANKS))
    elif MODE == "other-ranks":
        train(Report("toy", "1.0", RANK, RANKS + 1))
    elif MODE == "no-hello":
        time.sleep(PACE)
        Muted().step(1)
        time.sleep(3600)
    elif MODE == "nan":
        train(hello(), loss=lambda number: 5.0 if number < 8 else float("nan"))
    elif MODE == "rising":
        train(hello(), loss=lambda number: 5.0 + number)
    elif MODE == "backwards":
        report = hello()
        train(report, 10)
        report.step(7, loss=0.1, tokens=100 * RANKS)
        time.sleep(3600)
    elif MODE == "broken-json":
        hello()
        print('{"hengsuan": "step", "step": 1, "ra', flush=True)
        time.sleep(3600)
    elif MODE == "wrong-type":
        hello()
        print('{"hengsuan": "step", "step": "one", "rank": 0}', flush=True)
        time.sleep(3600)
    elif MODE == "gigabyte":
        report = hello()
        block = b"x" * (1 << 20)
        for _ in range(int(FOLDER)):  # without an end of line
            os.write(1, block)
            os.write(2, block)
        os.write(1, b"\n")
        train(report)
    elif MODE == "liar":
        train(hello(), seconds=PACE / 10)
    elif MODE == "burst":
        hello()
        for block in range(1000):
            time.sleep(10 * PACE)
            numbers = range(10 * block + 1, 10 * block + 11)
            lines = (f'{{"hengsuan": "step", "rank": {RANK}, "step": {n}}}\n' for n in numbers)
            os.write(1, "".join(lines).encode())
    elif MODE == "uneven":
        report = hello()
        for number in range(1, 10_000):
            time.sleep(PACE)
            report.step(number, tokens=100 + number)
    elif MODE == "miscounted":
        report = hello()
        train(report, 20)
        report._steps += 5
        report.done()
    elif MODE == "no-done":
        train(hello(), 20)
    elif MODE == "children":
        child(ignore=True)
        report = hello()
        train(report, 20)
        report.done()
    elif MODE == "stubborn":
        child(ignore=True)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        train(hello())
    elif MODE == "pattern":
        for number in range(1, 10_000):
            time.sleep(PACE)
            print(f"[{RANK}] iteration {number * 10:5d}/ 99999 | loss: {9 / number:.6E} | "
                  f"elapsed (ms): {PACE * 100:.1f} |", flush=True)  # fmt: skip
    elif MODE == "pattern-stderr":
        for number in range(1, 10_000):
            time.sleep(PACE)
            print(f"\r{number}it, loss=nan", end="\r", flush=True, file=sys.stderr)
    elif MODE == "environment":
        role = "scheduler" if os.environ.get("MS_ROLE") == "MS_SCHED" else "environment"
        shutil.copyfile("/proc/self/environ", os.path.join(FOLDER, f"{role}{RANK}"))
        if role == "scheduler":  # which trains nothing
            time.sleep(3600)
        train(hello())
    else:
        raise SystemExit(f"unknown mode {MODE}")


class Muted(Report):
    """Reports without having said hello."""

    def __init__(self):
        self._rank, self._steps = RANK, 10


if __name__ == "__main__":
    main()
