"""How long the search of layouts takes, and how near a step of two ranks is projected from one."""

from __future__ import annotations

import json
import subprocess
import sys
import time

from bench.analysis.projection.machine import machine_of
from bench.analysis.projection.measured import from_one
from bench.analysis.projection.published import published
from bench.analysis.projection.rates import Efficiency, Rates
from bench.analysis.projection.search import search, usual_batch
from bench.analysis.projection.software import STACKS
from bench.analysis.projection.validate import validate
from bench.analysis.projection.workload import Decoder
from bench.configs import load_chip, load_cluster, load_model
from bench.kernels.model_costs import ModelShape
from bench.results import RunReader

EXTENTS = ("dim", "layers", "heads", "kv_heads", "ffn", "vocab", "seq")
MODELS = {
    "one": (128, 2, 4, 2, 352, 512, 64),
    "two": (192, 3, 6, 2, 512, 1024, 64),
    "three": (256, 4, 8, 4, 704, 2048, 64),
    "four": (384, 4, 6, 2, 1024, 4096, 64),
    "five": (512, 6, 8, 4, 1408, 4096, 64),
}
HERE = ("--executor", "local", "--backend", "cpu", "--json", "-q")
RULE = "rule: {precision: 0.02, budget: 6s, warmup: 1s}\n"


def test_projection_search(figure):
    """A model of a trillion weights on 16,384 chips; the slower of a dense one and a mixture."""
    cluster = load_cluster("plan-16384")
    usual = Efficiency()
    slowest = 0.0
    for name in ("dense-1t", "moe-1t"):
        machine = machine_of(
            load_chip(cluster.chip), cluster, "bf16", link=usual.link, network=usual.network
        )
        model = Decoder(ModelShape.of(load_model(name)))
        start = time.process_time()
        search(model, usual_batch(model, machine.chips), Rates(machine, usual), STACKS[2024])
        slowest = max(slowest, time.process_time() - start)
    figure("search over all layouts, 1T model, 16,384 chips", slowest, "s", high=10)


def test_projection_published(figure):
    """Constants from runs of at most 256 chips, errors of the others."""
    found = validate(*published())
    figure("held-out published steps, mean error", 100 * found.mean(), "%", high=6)
    figure("held-out published steps, largest error", 100 * found.largest(), "%", high=12)
    figure("memory of published runs, mean error", 100 * found.memory()[0], "%", high=8)


def test_projection_measured(figure, tmp_path):
    """Project from a run of one rank and one of collectives; only then measure two ranks.

    Values count though others use the cores: the figure says how many of them were contended.
    """
    for name, extents in MODELS.items():
        given = {"name": name, **dict(zip(EXTENTS, extents, strict=True))}
        text = "".join(f"{key}: {value}\n" for key, value in given.items())
        (tmp_path / f"{name}.yaml").write_text(text)
    paths = ", ".join(str(tmp_path / f"{name}.yaml") for name in MODELS)
    train = f"      - train: {{model: [{paths}], over: growing}}\n"
    reduce = "      - collectives: {op: all_reduce, size: 64KiB..64MiB x4, over: all}\n"
    alone, _ = measured(tmp_path, "alone", train)
    lines, noisy = measured(tmp_path, "lines", reduce)
    projected = {one.model: one.seconds for one in from_one([alone, lines], 2)}
    (header, columns), more = measured(tmp_path, "both", train)
    for case in header.cases:
        devices = header.schedules[case.schedule].arguments.get("devices")
        if case.metric != "step_p50" or devices != 2:
            continue
        values = columns.value[columns.case == case.id]
        error = projected[case.axes["model"]] / float(values[0]) - 1
        name = case.axes["model"].rpartition("/")[2].removesuffix(".yaml")
        figure(
            f"step of 2 ranks projected from 1, model {name}",
            100 * error,
            "%",
            low=-15,
            high=15,
            contended=f"{noisy + more} contended" if noisy + more else "",
        )


def measured(folder, name, entry):
    """A run of this machine's own cores; (header, columns) and how many rows were contended."""
    suite = folder / f"{name}-suite.yaml"
    stage = f"stages:\n  - name: {name}\n    benchmarks:\n"
    suite.write_text(f"name: {name}-suite\n{RULE}{stage}{entry}")
    done = subprocess.run(
        [sys.executable, "-m", "bench", "run", str(suite), *HERE, "--out", str(folder / "runs")],
        capture_output=True,
        text=True,
    )
    found = json.loads(done.stdout)
    reader = RunReader(folder / "runs" / found["run"])
    columns = reader.columns()
    contended = columns.status == 3
    # On cores that others use these are all there is; the figure says so.
    columns.status[contended] = 0
    return (reader.header, columns), int(contended.sum())
