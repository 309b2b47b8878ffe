"""Plugins that do harm while they are asked: the run goes on, and what they did is a sentence."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "forking"))
import forked

from bench.backends import contract, remote
from bench.backends.base import Telemetry, TorchBackend
from bench.errors import BackendError
from bench.results import RunReader

PLUGIN = '''
    import os, signal, subprocess, sys, time
    from bench.backends.base import Health, Telemetry, TorchBackend
    from bench.records import Device
    {top}

    class Acme(TorchBackend):
        """A chip that is a CPU tensor under another name."""

        name = "acme"
        device_type = "cpu"
        stand_in = True
        priority = 10

        def present(self):
            return ""

        def devices(self):
            return [Device(index=0, backend=self.name, name="Acme One", lane="acme:0",
                           memory=1 << 32, serial="A0")]

        def open(self, index):
            import torch
            return torch.device("cpu")

        def synchronize(self, device):
            pass

        def event(self):
            return None
'''
SUITE = """\
name: mini
rule: {budget: 50ms, warmup: 10ms, min_samples: 3, limit: LIMIT}
stages:
  - name: device
    benchmarks:
      - launch: {op: empty, view: host}
"""


@pytest.fixture
def hengsuan(tmp_path):
    """Calls hengsuan beside a plugin with these lines on top of its module, and these members.

    ``probe``: seconds that it may take to answer. Few only where one is waited for in vain, and
    more than a process needs to start on a busy machine.
    """

    def call(*words, top="", limit="60s", probe="60", **members):
        site = tmp_path / "site"
        info = site / "acme-1.0.dist-info"
        info.mkdir(parents=True, exist_ok=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[hengsuan.backends]\nacme = acme_plugin:Acme\n")
        source = textwrap.dedent(PLUGIN.replace("{top}", top))
        for name, body in members.items():
            arguments = {"environment": "indices, index"}.get(name, "*index")
            source += f"\n    def {name}(self, {arguments}):\n        {body}\n"
        (site / "acme_plugin.py").write_text(source)
        (tmp_path / "mini.yaml").write_text(SUITE.replace("LIMIT", limit))
        done = subprocess.run(
            [sys.executable, "-m", "bench", *words],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([forked.FOLDER, str(site)]),
                "HENGSUAN_PROBE_SECONDS": probe,
            },
            cwd=tmp_path, capture_output=True, text=True, timeout=250,
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        return done

    return call


RUN = ("run", "mini.yaml", "--executor", "local", "--backend", "acme", "--json", "-q")


def test_what_an_agent_asks_may_hang_exit_print_and_spoil_and_the_run_goes_on(hengsuan, tmp_path):
    done = hengsuan(
        *RUN,
        probe="15",
        top="print('firmware 1.2 loaded'); os.environ['OMP_NUM_THREADS'] = 'many'",
        links="time.sleep(600)",
        versions="os._exit(0)",
        health="subprocess.Popen(['sleep', '600']); time.sleep(600)",
        telemetry="return Telemetry(temperature=float('nan'), power=-3.0)",
    )
    found = json.loads(done.stdout)  # and nothing of what the plugin printed
    assert done.returncode in (0, 3), done.stderr
    reader = RunReader(tmp_path / "results" / found["run"])
    (node,) = reader.header.nodes
    assert node.facts["links_problem"] == "links() did not answer within 15 s"
    assert node.facts["versions"] == {"problem": "versions() exited with code 0"}
    assert {row.status for row in reader.rows()} <= {"ok", "contended"}
    assert [one.temperature for one in reader.header.conditions] == [(None, None)]
    assert reader.header.environment["variables"].get("OMP_NUM_THREADS") != "many"


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"busy": "sys.exit(0)"}, "busy() raised SystemExit: 0"),
        ({"busy": "raise BaseException('no luck')"}, "busy() raised BaseException: no luck"),
        ({"busy": "os.kill(os.getpid(), 40)"}, "busy() crashed with signal 40"),
        ({"environment": "os._exit(0)"}, "environment() exited with code 0"),
        ({"devices": "sys.exit(0)"}, "devices() raised SystemExit: 0"),
        ({"devices": "print('hengsuan-answer:1', flush=True); os._exit(0)"},
         "gave another answer than ours"),
        ({"devices": "return [Device(index=0, backend='cuda', name='H')]"},
         "device 0 says backend 'cuda', not 'acme'"),
        ({"devices": "return 2 * [Device(index=0, backend='acme', name='A')]"},
         "indices are [0, 0]"),
    ],
)  # fmt: skip
def test_what_no_run_can_do_without_is_said(hengsuan, members, words):
    done = hengsuan(*RUN, **members)
    assert done.returncode == 4
    assert words in done.stdout + done.stderr


def test_a_driver_that_hangs_in_a_run_costs_its_jobs_and_is_named(hengsuan):
    done = hengsuan(*RUN, limit="4s", telemetry="time.sleep(600)")
    assert done.returncode == 4
    assert "not done at its limit of 4 s" in done.stdout + done.stderr


def test_rubbish_without_end_hides_no_answer(hengsuan):
    done = hengsuan("backend", "list", "--json", top="print('x' * (9 << 20))")
    listed = {one["backend"]: one for one in json.loads(done.stdout)}
    assert listed["acme"]["devices"] == ["Acme One"]


def test_a_check_says_what_a_plugin_did(hengsuan):
    words = ("backend", "check", "acme", "--json", "-q", "--only", "telemetry", "--only", "links")
    done = hengsuan(*words, links="os.kill(os.getpid(), 40)", telemetry="return {'power': 3.0}")
    assert done.returncode == 1
    found = {one["check"]: one["reason"] for one in json.loads(done.stdout)["results"]}
    assert "crashed with signal 40" in found["links"]
    assert "a dict is no Telemetry" in found["telemetry"]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (Telemetry(power=float("nan")), "power"),
        (Telemetry(temperature=float("inf")), "temperature: inf is no number"),
        (Telemetry(clock=-1.0), "clock"),
        ({"clock": 1500.0}, "a dict is no Telemetry"),
    ],
)
def test_telemetry_that_no_device_has_is_a_sentence(value, why):
    cls = type("Acme", (TorchBackend,), {"name": "acme", "telemetry": lambda *_: value})
    with pytest.raises(BackendError, match=why):
        contract.checked(cls()).telemetry(0)


def test_a_member_that_cost_the_process_is_not_asked_again(monkeypatch):
    keeper = remote.Keeper("cpu")
    try:
        assert keeper.ask("present") == ""
        kept = keeper._process
        assert keeper.ask("health", 0) == {"errors": {}, "problem": ""}
        assert keeper._process is kept
        monkeypatch.setattr(remote, "CALL", 0.0)
        with pytest.raises(BackendError, match=r"links\(\) did not answer within 0 s"):
            keeper.ask("links")
        monkeypatch.undo()
        assert kept.poll() is not None
        with pytest.raises(BackendError, match="did not answer within 0 s"):
            keeper.ask("links")
        assert keeper.ask("present") == ""
    finally:
        keeper.close()
