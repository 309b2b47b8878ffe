"""Whether a Ray cluster obeys anyone on the network: asked as a stranger would ask it.

Ray listens on every interface, and whoever it obeys can run code on all of its nodes.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from ..host.files import ROOT, entries, read
from ..host.sockets import reachable_from_outside

DASHBOARD = 8265
"""Ray's default port of the dashboard, which takes jobs as well."""
LIMIT = 30.0
"""Seconds that a cluster may take to answer, or refuse."""
_GCS = re.compile(r"--gcs-address=(\S+?)[\0\s]")
_ASK = """
import sys
from ray._raylet import GcsClient
try:
    GcsClient(address=sys.argv[1]).get_all_node_info(timeout=10)
except Exception as error:
    sys.exit("refused" if "Auth" in type(error).__name__ + str(error) else "unknown")
print("obeyed")
"""
"""In a process of its own: Ray reads its token once."""


def clusters_here(root: Path = ROOT) -> list[str]:
    """``HOST:PORT`` of every Ray cluster that this host takes part in."""
    found: dict[str, None] = {}
    for entry in entries(root / "proc", "[0-9]*"):
        if read(entry / "comm") == "raylet":
            named = _GCS.search(read(entry / "cmdline") + "\0")
            if named:
                found[named[1]] = None
    return list(found)


def obeys_strangers(address: str) -> bool | None:
    """Whether the cluster answers without a token; None where that cannot be told."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    try:
        done = subprocess.run(
            [sys.executable, "-c", _ASK, address],
            # An empty home: a token that lies there would be shown.
            env={**kept, "RAY_AUTH_MODE": "disabled", "HOME": os.devnull},
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
    except subprocess.TimeoutExpired:
        return None
    if "obeyed" in done.stdout:
        return True
    return False if done.stderr.strip().endswith("refused") else None


def dashboard_obeys(host: str, port: int = DASHBOARD, limit: float = 3.0) -> bool:
    """Whether a dashboard at this address lists jobs without a token: then it takes them too."""
    where = f"[{host}]" if ":" in host else host
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{where}:{port}/api/jobs/", timeout=limit) as answer:
            return bool(answer.status == 200 and "json" in answer.headers.get_content_type())
    except (OSError, urllib.error.URLError, ValueError):
        return False


def warnings(address: str | None = None) -> list[str]:
    """In sentences, what is open: of the clusters here, and of the one at ``address``."""
    found = []
    for one in dict.fromkeys([*clusters_here(), *([address] if address else [])]):
        host, _, port = one.rpartition(":")
        if not host or not port.isdigit() or not _public(host, int(port)):
            continue
        obeys = obeys_strangers(one)
        if obeys:
            found.append(
                f"the Ray cluster at {one} obeys anyone who reaches it, without a token: they can "
                "run code on its nodes; start it with RAY_AUTH_MODE=token and a token, as what "
                "`hengsuan deploy` writes does, or close its ports to others"
            )
        elif obeys is None:
            found.append(f"whether the Ray cluster at {one} obeys without a token cannot be told")
        if dashboard_obeys(host):
            found.append(
                f"the Ray dashboard at {host}:{DASHBOARD} takes jobs from anyone who reaches it, "
                "without a token; start Ray with --dashboard-host 127.0.0.1, or without a "
                "dashboard: --include-dashboard false"
            )
    return found


def _public(host: str, port: int) -> bool:
    """Whether others reach the port; at a loopback address, whether it is bound beyond it."""
    try:
        address = ipaddress.ip_address(socket.gethostbyname(host))
    except (OSError, ValueError):
        return True
    return reachable_from_outside(port) if address.is_loopback else True
