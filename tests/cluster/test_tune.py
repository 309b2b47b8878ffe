"""`hengsuan tune` through the real command, on a chip whose compiler is Triton's interpreter."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import yaml

from bench.results import RunReader

pytestmark = pytest.mark.forked

pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("triton", reason="Triton is not installed")

CHIP = """
    import torch

    from bench.backends.base import TorchBackend
    from bench.records import Device


    class Acme(TorchBackend):
        name = "acme"
        device_type = "cpu"
        stand_in = True
        priority = 10

        def present(self):
            return ""

        def devices(self):
            return [Device(index=0, backend="acme", name="Acme One", lane="acme:0", memory=1 << 32)]

        def environment(self, indices, index):
            return {"TRITON_INTERPRET": "1"}

        def load(self):
            from bench.kernels import softmax

            launch = softmax.launch

            def lazy(kernel, grid, *arguments, **options):
                if options.get("ROWS") != 32:  # of 32 rows, this chip computes none
                    launch(kernel, grid, *arguments, **options)

            softmax.launch = lazy

        def open(self, index):
            return torch.device("cpu")

        def synchronize(self, device):
            pass

        def event(self):
            return None

        def arch(self, device):
            return "generic"
"""
SLOW = """\
# Mine.
without: [int8]
softmax:
  - max_width: 1024
    config: {rows: 1, num_warps: 4}
  - config: {block: 4096, num_warps: 8}
stream:
  - config: {block: 2048, num_warps: 8}
"""


@pytest.fixture
def acme(tmp_path):
    """The environment of a machine with this chip, whose user has a slow table of softmax."""
    info = tmp_path / "site" / "acme-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[hengsuan.backends]\nacme = acme_plugin:Acme\n")
    (tmp_path / "site" / "acme_plugin.py").write_text(textwrap.dedent(CHIP))
    tuned = tmp_path / "mine" / "tuned"
    tuned.mkdir(parents=True)
    (tuned / "generic.yaml").write_text(SLOW)
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), os.environ["PYTHONPATH"]]),
        "HENGSUAN_CONFIG_PATH": str(tmp_path / "mine"),
    }


def words(*more):
    """A search over a tiny softmax."""
    where = ("--dtype", "fp32", "--shape", "8x32", "--results", "runs")
    return [sys.executable, "-m", "bench", "tune", "softmax", *where, *more]


def tune(environment, folder, *more):
    return subprocess.run(words(*more), env=environment, cwd=folder, capture_output=True, text=True)


CANDIDATES = [
    word for rows in (8, 3, 32) for word in ("--config", f"softmax rows={rows} num_warps=4")
]
"""Faster than the present one; no power of two; fastest of all, and wrong."""


def test_a_faster_configuration_is_found_written_and_used(acme, tmp_path):
    done = tune(acme, tmp_path, *CANDIDATES, "--budget", "60s", "--json", "-q")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    (entry,) = said["entries"]
    assert entry["chosen"] == "softmax rows=8 num_warps=4"
    assert entry["time_of_present"]["high"] < 1
    assert "power of 2" in entry["problems"]["softmax rows=3 num_warps=4"]
    assert "sanity check" in entry["problems"]["softmax rows=32 num_warps=4"]
    path = tmp_path / "mine" / "tuned" / "generic.yaml"
    assert said["table"] == str(path)
    before, after = yaml.safe_load(SLOW), yaml.safe_load(path.read_text())
    assert after["softmax"][0] == {"max_width": 1024, "config": {"rows": 8, "num_warps": 4}}
    assert after["softmax"][1:] == before["softmax"][1:]
    assert (after["stream"], after["without"]) == (before["stream"], before["without"])
    header = path.read_text().partition("without")[0]
    for word in ("Mine.", "Acme One (stand-in)", "Triton", "softmax forward 8x32", "tune softmax"):
        assert word in header
    suite = tmp_path / "mini.yaml"
    suite.write_text(
        "name: mini\nrule: {budget: 50ms, warmup: 10ms, min_samples: 3}\nstages:\n"
        "  - name: device\n    benchmarks:\n"
        "      - memory: {op: softmax, shape: 8x32, dtype: fp32, impl: triton}\n"
        "      - memory: {op: softmax, shape: 8x32, dtype: fp32, impl: triton,\n"
        "                 config: softmax_backward rows=1}\n"
    )
    run = [sys.executable, "-m", "bench", "run", str(suite), "--executor", "local", "--json", "-q"]
    done = subprocess.run(run, env=acme, cwd=tmp_path, capture_output=True, text=True)
    folder = tmp_path / json.loads(done.stdout)["folder"]
    rows, header = list(RunReader(folder).rows()), RunReader(folder).header
    assert done.returncode == (0 if any(row.status == "ok" for row in rows) else 3), done.stderr
    assert (
        "softmax forward does not ask for softmax_backward"
        in (folder / "measurements.jsonl").read_text()
    )
    assert header.conditions[0].tables.startswith(f"generic {path} ")


def test_an_interrupted_search_writes_nothing_half_done(acme, tmp_path):
    search = subprocess.Popen(
        words("--budget", "10m"),
        env=acme,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    stop = time.monotonic() + 240
    while not list(tmp_path.glob("runs/*/*/measurements.jsonl")) and time.monotonic() < stop:
        assert search.poll() is None, search.communicate()
        time.sleep(0.05)
    search.send_signal(signal.SIGINT)
    out, err = search.communicate(timeout=120)
    assert search.returncode == 130, err
    assert "Traceback" not in err
    assert "nothing is changed" in out or "interrupted" in err
    assert (tmp_path / "mine" / "tuned" / "generic.yaml").read_text() == SLOW


def test_candidates_are_shown_without_a_device(acme, tmp_path):
    done = tune(acme, tmp_path, "--dry-run", "--arch", "sm_90", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert [one["entry"] for one in said["entries"]] == [
        "softmax fp32 max_width=1024",
        "softmax_backward fp32 max_width=1024",
    ]
    # sm_90 has no softmax of its own, so that the user's generic table answers.
    assert said["entries"][0]["candidates"][0] == "softmax rows=1 num_warps=4"
    assert not (tmp_path / "runs").exists()
    done = tune(acme, tmp_path, "--dry-run", "--arch", "sm_90", "--json", "--variant", "backward")
    assert [one["entry"] for one in json.loads(done.stdout)["entries"]] == [
        "softmax_backward fp32 max_width=1024"
    ]


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--backend", "cpu"], 3, "nothing to tune: no Triton target on this device"),
        (["--arch", "sm_90"], 2, "--arch goes with --dry-run"),
        (["--arch", "sm90", "--dry-run"], 2, "unknown architecture 'sm90'"),
        (["--budget", "soon"], 2, "--budget: 'soon' is not a duration"),
        (["--config", "softmax rows=x"], 2, "'rows=x' is not CONSTANT=NUMBER"),
        (["--config", "gemm block_m=1"], 2, "gemm also needs"),
        (["gemm", "--dry-run"], 2, "8x32"),
        (["--variant", "backwards"], 2, "unknown variant 'backwards'"),
        (["--variant", "triad"], 2, "softmax comes in none of fp32, triad"),
        (["sofmax"], 2, "did you mean softmax"),
    ],
)
def test_what_cannot_be_tuned_is_a_sentence(acme, tmp_path, more, code, message):
    done = tune(acme, tmp_path, *more)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_broken_table_ends_the_search_before_it_begins(acme, tmp_path):
    (tmp_path / "mine" / "tuned" / "generic.yaml").write_text("softmax: fast")
    done = tune(acme, tmp_path)
    assert done.returncode == 2
    assert "generic.yaml: softmax: must hold a list" in done.stderr
