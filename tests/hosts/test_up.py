"""``make hosts`` and ``make hosts-down``, as a person uses them."""

import itertools
import json
import shlex
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_a_cluster_to_play_with_is_up_until_it_is_taken_down(possible, tmp_path):
    up = [sys.executable, HERE / "up.py", "--pid-file", tmp_path / "pid"]
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen([*up, "--hosts", "1", "--rate", "100Mbit"], **how) as maker:
        try:
            lines = []
            while "power one off" not in "".join(lines[-2:]):
                lines.append(maker.stdout.readline())
                assert lines[-1], lines
            commands = {
                heading.strip(" #\n"): command.strip()
                for heading, command in itertools.pairwise(lines)
                if heading.startswith("  # ")
            }
            asked = commands["measure them"].replace("run quick", "doctor --json")
            done = subprocess.run(shlex.split(asked), capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            assert [node["name"] for node in json.loads(done.stdout)["cluster"]] == ["host1"]
            for what in ("drop all that comes and goes", "connect it again"):
                subprocess.run(shlex.split(commands[what]), check=True)

            again = subprocess.run(up, capture_output=True, text=True)
            assert again.returncode == 4
            assert f"process {maker.pid} has hosts up" in again.stderr
        finally:
            ended = subprocess.run([*up, "--down"], capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        assert maker.wait() == 0
    assert not (tmp_path / "pid").exists()
    after = subprocess.run([*up, "--down"], capture_output=True, text=True)
    assert after.returncode == 0
    assert "no hosts are up" in after.stdout
