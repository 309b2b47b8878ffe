"""Plugins whose operations and clocks lie: what they would gain is no figure."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

from bench.results import RunReader

PLUGIN = '''
    import sys, time
    import torch
    from bench.backends.base import Backend
    from bench.records import Device

    class Mark:
        """An event that tells seconds where milliseconds are asked for."""

        def record(self):
            self.at = time.perf_counter()

        def elapsed_time(self, end):
            return end.at - self.at

    class Acme(Backend):
        name = "acme"
        device_type = "cpu"
        stand_in = True
        priority = 10
        marks = MARKS

        def present(self):
            return ""

        def devices(self):
            return [Device(index=0, backend=self.name, name="Acme One", lane="acme:0",
                           memory=1 << 32, serial="A0")]

        def load(self):
            LOAD

        def open(self, index):
            return torch.device("cpu")

        def synchronize(self, device):
            pass

        def event(self):
            return Mark() if self.marks else None

        def implementations(self):
            return {"gemm": bound, "softmax": kept, "swiglu": watched, "transpose": lazy,
                    "quantize": honest, "stream": honest}

    def honest(case, inputs, outputs):
        from bench.kernels.ops import get
        return get(case.op).implementations["torch"](case, inputs, outputs)

    def bound(case, inputs, outputs):
        """All is done by the time it is bound."""
        done = {"out": inputs["a"] @ inputs["b"]}
        return lambda: done

    def kept(case, inputs, outputs):
        """The result is kept for as long as nobody writes to the input."""
        x, held = inputs["x"], {}

        def work():
            if x._version not in held:
                held.clear()
                held[x._version] = {"y": x.softmax(-1)}
            return held[x._version]

        return work

    def watched(case, inputs, outputs):
        """Works only where somebody looks."""
        real, false = honest(case, inputs, outputs), dict(outputs)

        def work():
            frame = sys._getframe(1)
            while frame is not None:
                if frame.f_code.co_name == "judge":
                    return real()
                frame = frame.f_back
            return false

        return work

    class Later(torch.Tensor):
        """Is computed by whoever reads it."""

        @staticmethod
        def __new__(cls, like, make):
            made = torch.Tensor._make_wrapper_subclass(cls, like.shape, dtype=like.dtype)
            made.make = make
            return made

        @classmethod
        def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
            read = [one.make() if isinstance(one, cls) else one for one in args]
            return function(*read, **(kwargs or {}))

    def lazy(case, inputs, outputs):
        real, ((name, out),) = honest(case, inputs, outputs), outputs.items()
        return lambda: {name: Later(out, lambda: real()[name])}
'''
SUITE = """\
name: lies
rule: {budget: 100ms, warmup: 20ms, min_samples: 5, limit: 60s}
stages:
  - name: device
    benchmarks:
ENTRIES
"""
LIES = {
    "gemm": "{shape: 512x512x512, dtype: fp32, impl: vendor}",
    "memory": "{op: [softmax, swiglu, transpose, quantize], shape: 2048x4096, impl: vendor}",
}
CLOCKED = {"gemm": "{shape: 512x512x512, dtype: fp32, impl: torch}"}


@pytest.fixture
def measured(tmp_path):
    """Measures entries of a suite beside the plugin: what came of the call, and its run."""

    def call(entries, marks=False, load="pass"):
        site = tmp_path / "site"
        info = site / "acme-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[hengsuan.backends]\nacme = acme_plugin:Acme\n")
        source = textwrap.dedent(PLUGIN).replace("MARKS", str(marks)).replace("LOAD", load)
        (site / "acme_plugin.py").write_text(source)
        lines = "\n".join(f"      - {name}: {axes}" for name, axes in entries.items())
        (tmp_path / "lies.yaml").write_text(SUITE.replace("ENTRIES", lines))
        words = ("run", "lies.yaml", "--executor", "local", "--backend", "acme", "--json", "-q")
        paths = filter(None, (str(site), os.environ.get("PYTHONPATH")))
        done = subprocess.run(
            [sys.executable, "-m", "bench", *words],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            cwd=tmp_path, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        return done, RunReader(tmp_path / "results" / json.loads(done.stdout)["run"])

    return call


def told(reader):
    """Status and reason by the operation that was measured."""
    cases = {case.id: case for case in reader.header.cases}
    rows = [(cases[row.case], row) for row in reader.rows()]
    return {case.axes.get("op", case.benchmark): (row.status, row.reason) for case, row in rows}


@pytest.mark.timeout(360)
def test_no_operation_is_credited_with_work_that_it_does_not_do(measured):
    done, reader = measured(LIES)
    found = told(reader)
    assert done.returncode == 1
    status, reason = found["gemm"]
    assert status == "invalid"
    assert "sanity check before measuring failed: relative error of out" in reason
    for op in ("softmax", "swiglu", "transpose"):
        status, reason = found[op]
        assert status == "invalid", op
        assert "sanity check while measuring failed: a call on fresh inputs takes" in reason
    assert found["quantize"][0] in ("ok", "contended")


@pytest.mark.timeout(360)
def test_events_that_tell_another_unit_give_no_figure(measured):
    done, reader = measured(CLOCKED, marks=True)
    assert done.returncode == 1
    status, reason = told(reader)["gemm"]
    assert status == "invalid"
    assert "by the host's clock until its result is read" in reason


@pytest.mark.timeout(360)
def test_a_plugin_that_replaces_python_s_clocks_measures_nothing(measured):
    load = "real = time.perf_counter; time.perf_counter = lambda: real() / 2"
    done, reader = measured(CLOCKED, load=load)
    assert done.returncode == 4
    status, reason = told(reader)["gemm"]
    assert status == "failed"
    assert "loading it replaced time.perf_counter, by which everything is timed" in reason
