"""A real Prometheus scrapes a real run: every expression of dashboard and alerts has an answer."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))
from drivers import hengsuan

CONFIGS = Path(__file__).parents[2] / "configs"
METER = str(Path(__file__).parent / "meter")
TOOLS = ("prometheus", "promtool", "prometheus-node-exporter")
MISSING = [tool for tool in TOOLS if shutil.which(tool) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} not installed")

FLEET = """
name: fleet
chip: sim-a
nodes: 16
devices: 2
seed: 1
between: 0.004
faults:
  - {kind: slow-chip, node: 3, device: 1, factor: 0.8}
  - {kind: contended-host, node: 5}
"""
CERTIFY = """
name: short
stages:
  - name: device
    repeats: 2
    benchmarks:
      - gemm: {shape: 8192x8192x8192, dtype: bf16}
      - stream: {op: triad, size: 1GiB}
"""
# It takes its whole budget, and so many budgets that it goes on until the last test has ended it: a
# Prometheus is to see it, however quiet or busy the cores are.
RUN = f"""
name: live
rule: {{budget: 2s, warmup: 10ms, precision: 0.000001}}
stages:
  - name: device
    benchmarks:
      - fixed: {{tag: {list(range(90))}}}
"""


def port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def until(condition, limit=40.0):
    stop = time.monotonic() + limit
    while True:
        try:
            if found := condition():
                return found
        except OSError:
            pass
        assert time.monotonic() < stop, "not in time"
        time.sleep(0.2)


class Server:
    """A Prometheus that can be asked."""

    def __init__(self, address, folder):
        self.address, self.folder = address, folder

    def get(self, path, **query):
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.loads(answer.read())["data"]

    def query(self, expression):
        return self.get("query", query=expression)["result"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Prometheus with our rules, while it scrapes a run that goes on and node_exporter's files."""
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "fleet.yaml").write_text(FLEET)
    (folder / "short.yaml").write_text(CERTIFY)
    (folder / "live.yaml").write_text(RUN)
    (folder / "files").mkdir()
    certify = ["certify", "short.yaml", "--sim", "fleet.yaml", "-q", "--metrics-file"]
    done = subprocess.run(
        [*hengsuan(), *certify, "files/fleet.prom"], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 1, done.stderr
    run = ["run", "live.yaml", "--executor", "local", "--backend", "meter", "-q", "--json"]
    files, here = f"127.0.0.1:{port()}", f"127.0.0.1:{port()}"
    started = []

    def start(command, **options):
        started.append(subprocess.Popen(command, cwd=folder, text=True, **options))
        return started[-1]

    paths = (METER, os.environ.get("PYTHONPATH"))
    try:
        driver = start(
            [*hengsuan(), *run, "--telemetry", "200ms", "--metrics-port", "0"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        )
        said = driver.stderr.readline()
        assert "metrics at http://" in said
        endpoint = re.search(r"http://([\d.:]+)/", said)[1]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        exporter = ["--collector.disable-defaults", "--collector.textfile"]
        exporter += ["--collector.textfile.directory=files", f"--web.listen-address={files}"]
        start(["prometheus-node-exporter", *exporter], **quiet)
        settings = {
            "global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"},
            "rule_files": [str(CONFIGS / "alerts" / "hengsuan.yaml")],
            "scrape_configs": [
                {"job_name": name, "static_configs": [{"targets": [target]}]}
                for name, target in (("run", endpoint), ("files", files))
            ],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
        start(
            [
                "prometheus",
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=data",
                f"--web.listen-address={here}",
            ],
            **quiet,
        )
        made = Server(here, folder)
        until(lambda: made.query("hengsuan_node_verdict"))
        # Until telemetry has come, and a rule was evaluated over it.
        until(lambda: made.query("hengsuan_device_power_watts"))
        until(lambda: made.query('ALERTS{alertname="HengsuanNodeRejected"}'))
        assert driver.poll() is None, "the run was to go on all the while"
        yield made
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.communicate(timeout=30)


def expressions():
    board = json.loads((CONFIGS / "dashboards" / "hengsuan.json").read_text())
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            yield f"{panel['title']} {target['refId']}", target["expr"]


PANELS = list(expressions())
RULES = [
    rule
    for group in yaml.safe_load((CONFIGS / "alerts" / "hengsuan.yaml").read_text())["groups"]
    for rule in group["rules"]
]


def test_there_are_panels_and_rules():
    assert len(PANELS) > 20
    assert len(RULES) > 8


@pytest.mark.parametrize(("name", "expression"), PANELS, ids=[name for name, _ in PANELS])
def test_every_expression_of_the_dashboard_returns_series(server, name, expression):
    if name.startswith("Network") and not server.query("hengsuan_node_sent_bytes_per_second"):
        pytest.skip("this host has no interface that leads out of it")
    asked = re.sub(r"\$(instance|node|benchmark)", ".*", expression)
    assert "$" not in asked
    assert server.query(asked), asked


def test_every_metric_that_a_rule_asks_for_is_there_and_every_rule_is_healthy(server):
    for rule in RULES:
        for name in set(re.findall(r"hengsuan_\w+", rule["expr"])):
            assert server.query(name), f"{rule['alert']}: {name}"
    known = [rule for group in server.get("rules")["groups"] for rule in group["rules"]]
    assert len(known) == len(RULES)
    assert {rule["health"] for rule in known} == {"ok"}, known


def test_alerts_name_whom_they_are_about(server):
    rejected = server.query('ALERTS{alertname="HengsuanNodeRejected"}')
    assert [one["metric"]["node"] for one in rejected] == ["node-00003"]
    assert rejected[0]["metric"]["alertstate"] == "firing"
    pending = server.query('ALERTS{alertname="HengsuanNodeInconclusive"}')
    assert [one["metric"]["alertstate"] for one in pending] == ["pending"]
    assert not server.query('ALERTS{alertname="HengsuanDeviceHot"}')


def test_telemetry_comes_in_units_of_prometheus(server):
    clocks = server.query("hengsuan_device_clock_hertz")
    values = {one["metric"]["device"]: float(one["value"][1]) for one in clocks}
    assert values == {str(place): 1.5e9 + 1e6 * place for place in range(len(values))}
    (cost,) = server.query("hengsuan_node_cost_ratio")
    assert 0 < float(cost["value"][1]) < 1
    (running,) = server.query("hengsuan_running == 1")
    assert running["metric"]["provenance"] == "stand-in"


def test_rules_and_files_please_promtool(server):
    rules = ["promtool", "check", "rules", str(CONFIGS / "alerts" / "hengsuan.yaml")]
    done = subprocess.run(rules, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    said = (server.folder / "files" / "fleet.prom").read_text()
    assert "hengsuan_measurement" in said
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=said, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
