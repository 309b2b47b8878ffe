"""Manifests are valid, say what is unknown, and the script for hosts runs on real raylets."""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
import yaml
from click.testing import CliRunner

from bench.backends.cpu import Cpu
from bench.cli.deploy_verb import command
from bench.deploy import manifests
from bench.errors import UsageError
from bench.results import RunReader

pytestmark = pytest.mark.forked

HENGSUAN = Path(sys.executable).with_name("hengsuan")
TINY = """name: tiny
rule: {budget: 50ms, warmup: 10ms}
stages:
  - name: one
    benchmarks:
      - launch: {op: empty, view: host}
"""


class Acme(Cpu):
    """A backend that declares all that a scheduler must know."""

    name = "acme"
    ray_resource = "ACME"
    kubernetes_resource = "acme.example/chip"
    slurm_gres = "acme"


class Card(Acme):
    """One that Ray counts among its GPUs."""

    ray_resource = "GPU"


class Unknown(Cpu):
    """One that declares nothing."""

    name = "unknown"


def deployment(**changes):
    made = manifests.Deployment(nodes=4, suite="standard", backend=Acme(), devices=8)
    return msgspec.structs.replace(made, **changes)


def deploy(*words):
    return CliRunner().invoke(command, words, catch_exceptions=False, standalone_mode=False)


def parses(script):
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return script


@pytest.mark.parametrize(
    "words",
    [
        ["slurm", "--nodes", "4"],
        ["slurm", "--nodes", "1", "--partition", "p", "--account", "a", "--image", "r/h:1"],
        ["slurm", "--nodes", "4096", "--backend", "cuda", "--devices", "8"],
        ["ssh", "--nodes", "2", "--hosts", "a,root@b", "--prepare", "source '/my venv/activate'"],
        ["ssh", "--nodes", "3", "--backend", "cpu", "--runner", "pdsh -w"],
    ],
    ids=" ".join,
)
def test_scripts_are_shell_and_leave_nothing_to_fill_in(words):
    script = parses(deploy(*words).stdout)
    assert "@{" not in script
    assert "RAY_AUTH_MODE=token" in script
    assert "export RAY_worker_niceness=0" in script
    assert "ulimit -n 65535" in script
    assert "net.ipv4.neigh.default.gc_thresh3=" in script
    assert "--include-dashboard=false" in script


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
@pytest.mark.parametrize("words", [["slurm", "--nodes", "4"], ["ssh", "--nodes", "4"]])
def test_scripts_please_shellcheck(words):
    done = subprocess.run(
        ["shellcheck", "-S", "warning", "-s", "bash", "-"],
        input=deploy(*words).stdout,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def test_what_the_batch_system_is_told():
    script = manifests.slurm(deployment(), partition="big", account=None, time="1:00")
    told = re.findall(r"^#SBATCH --(\S+)$", script, re.MULTILINE)
    assert {"nodes=4", "partition=big", "gres=acme:8", "time=1:00", "exclusive"} <= set(told)
    # What comes after the first command is no directive any more.
    assert script.rindex("#SBATCH") < script.index("set -euo pipefail")
    assert """--resources='{"ACME":8}'""" in script
    assert "symmetric-run" in script
    assert "ray start --head" in script


@pytest.mark.parametrize(
    ("changes", "gres", "ray"),
    [
        ({"backend": None}, "No --backend", "No --backend"),
        ({"backend": Unknown()}, "unknown names no GRES", "unknown names no resource of Ray"),
        ({"devices": None}, "gres=acme:COUNT", "Ray counts ACME itself"),
    ],
)
def test_names_that_nobody_declares_are_said_and_not_invented(changes, gres, ray):
    made = deployment(**changes)
    script = parses(manifests.slurm(made, partition=None, account=None, time="1:00"))
    assert not re.search(r"^#SBATCH --gres", script, re.MULTILINE)
    assert gres in script
    assert ray in script
    assert "START=(--disable-usage-stats)" in script
    text = manifests.kubernetes(made, namespace="n")
    worker = yaml.safe_load(text)["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
    assert worker["rayStartParams"] == {}
    assert worker["template"]["spec"]["containers"][0]["resources"] == {"requests": {}}


def test_the_address_table_grows_with_the_cluster():
    assert "gc_thresh3=1024\n" in manifests.kubernetes(deployment(), namespace="n")
    large = manifests.slurm(deployment(nodes=5000), partition=None, account=None, time="1:00")
    assert "entries < 32768" in large


def test_a_job_of_kubernetes():
    made = deployment(image="registry.example/hengsuan:1")
    job = yaml.safe_load(manifests.kubernetes(made, namespace="lab"))
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert job["metadata"]["namespace"] == "lab"
    spec = job["spec"]["rayClusterSpec"]
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert spec["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0"}
    (workers,) = spec["workerGroupSpecs"]
    assert workers["replicas"] == workers["minReplicas"] == workers["maxReplicas"] == 4
    pod = workers["template"]["spec"]["containers"][0]
    assert pod["resources"]["limits"] == {"acme.example/chip": 8}
    assert pod["image"] == "registry.example/hengsuan:1"
    environment = {one["name"]: one["value"] for one in pod["env"]}
    assert environment["RAY_worker_niceness"] == "0"
    assert not any("TOKEN" in name for name in environment)
    # KubeRay passes it through a shell.
    said = workers["rayStartParams"]["resources"]
    shown = subprocess.run(["sh", "-c", f"printf %s {said}"], capture_output=True, text=True)
    assert shown.stdout == '{"ACME": 8}'
    counted = manifests.kubernetes(deployment(backend=Card()), namespace="n")
    (workers,) = yaml.safe_load(counted)["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert workers["rayStartParams"] == {"num-gpus": "8"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["slurm", "--nodes", "2", "--suite", "nosuch"], "nosuch"),
        (["slurm", "--nodes", "2", "--backend", "nosuch"], "nosuch"),
        (["slurm", "--nodes", "2", "--partition", "a; rm -rf /"], "cannot stand in a manifest"),
        (["ssh", "--nodes", "2", "--prepare", "a\nb"], "one line"),
        (["ssh", "--nodes", "2", "--hosts", "a"], "names 1 host"),
        (["ssh", "--nodes", "1", "--hosts", "$(reboot)"], "is no host"),
    ],
)
def test_bad_input_is_refused(words, said):
    with pytest.raises(UsageError, match=re.escape(said)):
        deploy(*words)


# ---- the script for hosts, for real: two raylets on this machine, without ssh ----


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def raylets(port):
    """Process ids of the raylets of the cluster at this port."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace")
            name = (entry / "comm").read_text().strip()
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if name == "raylet" and re.search(rf":{port}\b", words) and state != "Z":
            found.append(int(entry.name))
    return found


def until(seconds, holds):
    stop = time.monotonic() + seconds
    while time.monotonic() < stop and not holds():
        time.sleep(0.2)
    return holds()


@pytest.fixture
def script(tmp_path):
    """(command line, port): the printed script for two hosts that are both this one."""
    pytest.importorskip("ray", reason="Ray is not installed")
    runner = tmp_path / "runner"
    runner.write_text('#!/bin/sh\n# RUNNER HOST COMMAND\nshift\nexec sh -c "$1"\n')
    runner.chmod(0o755)
    (tmp_path / "tiny.yaml").write_text(TINY)
    port = free_port()
    prepare = f"export PATH={Path(sys.executable).parent}:$PATH"
    words = ["--nodes", "2", "--backend", "cpu", "--suite", "tiny.yaml", "--port", str(port)]
    done = subprocess.run(
        [HENGSUAN, "deploy", "ssh", *words, "--runner", str(runner), "--prepare", prepare],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    (tmp_path / "go.sh").write_text(done.stdout)
    yield ["bash", "go.sh", "127.0.0.1", "127.0.0.1"], port
    left = raylets(port)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


def test_the_script_for_hosts_measures_both_and_leaves_nothing(script, tmp_path):
    words, port = script
    quiet = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    done = subprocess.run(words, cwd=tmp_path, env=quiet, capture_output=True, text=True)
    (folder,) = (tmp_path / "results").iterdir()
    reader = RunReader(folder)
    header = reader.header
    assert header.state == "complete", done.stderr
    # The code of the run, which does not pass where a busy machine left contended values only.
    assert done.returncode == (0 if any(row.status == "ok" for row in reader.rows()) else 3)
    assert header.executor == "ray"
    assert len(header.nodes) == 2
    # Measured as Ray's own default would not let it be.
    assert {condition.nice for condition in header.conditions} == {os.nice(0)}
    assert until(60, lambda: not raylets(port))


def test_ray_ends_with_the_script_even_if_that_is_killed(script, tmp_path):
    words, port = script
    with subprocess.Popen(
        words, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as running:
        assert until(240, lambda: len(raylets(port)) == 2)
        running.kill()
    assert until(60, lambda: not raylets(port))


def test_a_wrong_number_of_hosts_is_said(script, tmp_path):
    words, _ = script
    done = subprocess.run(words[:-1], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "for 2 host(s), got 1" in done.stderr


def verified(unit, folder):
    """What systemd says against a unit."""
    (folder / "hengsuan.service").write_text(unit)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", folder / "hengsuan.service"],
        capture_output=True,
        text=True,
    )
    lines = (done.stdout + done.stderr).splitlines()
    return [line for line in lines if "hengsuan.service" in line]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--idle-only", "--every", "6h", "--backend", "cpu", "--suite", "quick"],
        ["--metrics-file", "/var/lib/node_exporter/hengsuan.prom", "--user", "daemon"],
    ],
    ids=" ".join,
)
def test_the_service_is_one(words, tmp_path):
    unit = deploy("systemd", *words, "--command", sys.executable).stdout
    assert "@{" not in unit
    assert verified(unit, tmp_path) == []
    assert verified(unit.replace("ExecStart", "ExecStrat"), tmp_path), "the check can fail"


def test_the_service_runs_a_command_that_there_is():
    from bench.cli import cli

    unit = deploy("systemd", "--idle-only", "--every", "36h", "--metrics-file", "/x/y.prom").stdout
    (line,) = re.findall(r"^ExecStart=(.+)$", unit, re.MULTILINE)
    program, verb, *words = shlex.split(line)
    assert program.endswith("hengsuan")
    command = cli.get_command(None, verb)
    found = command.make_context(verb, words, resilient_parsing=True).params
    assert found["every"] == 36 * 3600
    assert found["idle_only"]
    assert found["executor_name"] == "local"
    assert str(found["metrics_file"]) == "/x/y.prom"


def test_a_path_with_spaces_stays_one_word():
    unit = manifests.systemd(
        command="/opt/my 100% tools/hengsuan",
        suite="certify",
        every="1s",
        idle_only=False,
        user="root",
        options="",
    )
    assert 'ExecStart="/opt/my 100%% tools/hengsuan" certify certify --executor' in unit


def test_the_cronjob_certifies_every_host_by_itself():
    words = ["--nodes", "4", "--image", "r/h:1", "--namespace", "ops", "--schedule", "0 */6 * * *"]
    found = yaml.safe_load(deploy("cronjob", *words).stdout)
    assert (found["apiVersion"], found["kind"]) == ("batch/v1", "CronJob")
    assert found["metadata"] == {"name": "hengsuan", "namespace": "ops"}
    assert found["spec"]["schedule"] == "0 */6 * * *"
    assert found["spec"]["concurrencyPolicy"] == "Forbid"
    job = found["spec"]["jobTemplate"]["spec"]
    assert job["completions"] == job["parallelism"] == 4
    assert job["backoffLimit"] == 0
    assert job["activeDeadlineSeconds"] == 24 * 3600
    pod = job["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    (term,) = pod["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["labelSelector"]["matchLabels"] == job["template"]["metadata"]["labels"]
    (container,) = pod["containers"]
    from bench.cli import cli

    verb, *rest = [*container["command"][1:], *container["args"]]
    params = cli.get_command(None, verb).make_context(verb, rest, resilient_parsing=True).params
    assert params["suite"] == "certify"
    assert params["executor_name"] == "local"
    assert str(params["out"]) == "/results/$(NODE)"
    assert {one["name"] for one in container["env"]} == {"NODE"}
    mounted = {one["name"] for one in container["volumeMounts"]}
    assert mounted == {one["name"] for one in pod["volumes"]}


def test_the_cronjob_asks_for_devices():
    made = deployment(image="r/h:1")
    found = yaml.safe_load(manifests.cronjob(made, namespace="default", schedule="@daily"))
    pod = found["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"] == {"acme.example/chip": 8}
    assert container["args"][-2:] == ["--backend", "acme"]
    bare = manifests.cronjob(deployment(backend=None), namespace="default", schedule="@daily")
    assert "# No --backend" in bare
    assert yaml.safe_load(bare)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cronjob", "--nodes", "1", "--image", "x", "--schedule", "daily"], "is no schedule"),
        (["cronjob", "--nodes", "1", "--image", "x", "--schedule", "* * * *\n*"], "no schedule"),
        (["systemd", "--metrics-file", "here.prom"], "no absolute path"),
        (["systemd", "--suite", "nothing such"], "cannot stand in a manifest"),
        (["systemd", "--suite", "nothing"], "unknown suite"),
        (["systemd", "--user", "root\nExecStart=/bin/sh"], "cannot stand in a manifest"),
    ],
)
def test_what_no_unit_can_hold_is_refused(words, said):
    with pytest.raises(UsageError, match=said):
        deploy(*words)


def test_dashboard_and_alerts_are_printed_as_they_are():
    assert json.loads(deploy("dashboard").stdout)["uid"] == "hengsuan"
    assert yaml.safe_load(deploy("alerts").stdout)["groups"]
