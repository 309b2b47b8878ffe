"""A stranger's view of real Ray clusters, and what doctor says of it."""

import http.server
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bench.cluster import exposure
from bench.host.sockets import listening, reachable_from_outside

HENGSUAN = Path(sys.executable).with_name("hengsuan")
HEAD = (
    "from ray.cluster_utils import Cluster\n"
    "made = Cluster()\n"
    "made.add_node(num_cpus=1, include_dashboard=False, object_store_memory=80_000_000)\n"
    "print(made.address, flush=True)\n"
    "input()\n"
    "made.shutdown()\n"
)


@pytest.fixture(params=["disabled", "token"])
def cluster(request):
    """(the mode, its address, the environment that it was started with)."""
    pytest.importorskip("ray", reason="Ray is not installed")
    environment = {
        **os.environ,
        "RAY_AUTH_MODE": request.param,
        "RAY_worker_niceness": "0",
        "RAY_AUTH_TOKEN": "0123456789abcdef" * 2 if request.param == "token" else "",
    }
    with subprocess.Popen(
        [sys.executable, "-c", HEAD],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as head:
        words = next((line for line in head.stdout if ":" in line), "")
        yield request.param, words.split()[-1], environment
        head.communicate("\n")


def test_a_cluster_without_a_token_is_warned_of_and_one_with_a_token_is_not(cluster):
    mode, address, environment = cluster
    assert address in exposure.clusters_here()
    assert exposure.obeys_strangers(address) is (mode == "disabled")
    done = subprocess.run(
        [HENGSUAN, "doctor", "--address", address, "--json"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert len(report["cluster"]) == 1
    told = [text for text in report["warnings"] if f"the Ray cluster at {address} obeys" in text]
    public = not address.startswith("127.")
    assert len(told) == (1 if mode == "disabled" and public else 0)
    assert all("RAY_AUTH_MODE=token" in text for text in told)


def test_where_nobody_answers_nothing_is_claimed():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        assert exposure.dashboard_obeys("127.0.0.1", port) is False
        assert exposure.warnings(f"127.0.0.1:{port}") == exposure.warnings()


@pytest.mark.parametrize(("status", "obeys"), [(200, True), (401, False)])
def test_a_dashboard_that_lists_jobs_without_a_token(status, obeys):
    """Ray's dashboard needs packages that are not installed with it: its answer stands in."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            assert self.path == "/api/jobs/"
            self.send_response(status)
            self.send_header("Content-Type", "application/json; charset=utf-8")
            self.end_headers()
            self.wfile.write(b"[]")

        def log_message(self, *words):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert exposure.dashboard_obeys("127.0.0.1", server.server_port) is obeys
        server.shutdown()


@pytest.mark.parametrize(
    ("family", "address", "outside"),
    [
        (socket.AF_INET, "127.0.0.1", False),
        (socket.AF_INET, "0.0.0.0", True),
        (socket.AF_INET6, "::1", False),
        (socket.AF_INET6, "::", True),
    ],
)
def test_what_a_port_is_bound_to(family, address, outside):
    try:
        made = socket.socket(family)
        made.bind((address, 0))
    except OSError:
        pytest.skip(f"no {family.name} here")
    with made:
        made.listen()
        port = made.getsockname()[1]
        assert (address, port) in [(str(one), number) for one, number in listening()]
        assert reachable_from_outside(port) is outside
