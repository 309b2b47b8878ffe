"""How long a person waits for help."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest

HENGSUAN = Path(sys.executable).with_name("hengsuan")


def _help():
    subprocess.run([HENGSUAN, "--help"], check=True, capture_output=True)


def test_help(benchmark, figure):
    benchmark.pedantic(_help, rounds=20, warmup_rounds=3)
    figure("hengsuan --help, warm", benchmark.stats.stats.median, "s", high=0.15)


def test_help_cold(benchmark, figure):
    if os.geteuid() != 0 or not os.access("/proc/sys/vm/drop_caches", os.W_OK):
        pytest.skip("dropping caches needs root")
    spans = []

    def drop():
        shutil.disk_usage("/")
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("3")

    def cold():
        start = perf_counter()
        _help()
        spans.append(perf_counter() - start)

    try:
        drop()
    except OSError as error:
        pytest.skip(f"cannot drop caches here: {error}")
    benchmark.pedantic(cold, setup=drop, rounds=7)
    figure("hengsuan --help, caches dropped", float(np.median(spans)), "s", high=0.25)
