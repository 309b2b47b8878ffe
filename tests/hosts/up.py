"""``make hosts``: a Ray cluster of hosts on this machine, to play with, until Ctrl-C.

    python tests/hosts/up.py [--hosts 2] [--rate 400Mbit] [--mtu 9000]
    python tests/hosts/up.py --down

Prints how to measure it, how to cut a link and how to slow one; ``--down`` ends it from elsewhere.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from hosts import INTERFACE, Host, Hosts, HostsError, missing

ROOT = Path(__file__).parents[2]
UP = ROOT / ".hosts.pid"
"""Holds the process id of the ``make hosts`` that runs in this checkout, unless told otherwise."""
BITS = {"": 1.0, "bit": 1.0, "kbit": 1e3, "mbit": 1e6, "gbit": 1e9}


def rate(text: str) -> float:
    """Bit/s of ``400Mbit``, ``1Gbit`` or a plain number."""
    digits = text.lower().rstrip("bgikmt")
    try:
        value = float(digits) * BITS[text.lower()[len(digits) :]]
    except (ValueError, KeyError):
        value = 0.0
    if not 1e5 <= value <= 1e11:
        raise argparse.ArgumentTypeError(f"{text!r} is no rate: write 100Mbit or 1Gbit")
    return value


def main() -> int:
    """Bring the hosts up or down; the exit code."""
    parser = argparse.ArgumentParser(prog="make hosts", description=__doc__.splitlines()[0])
    parser.add_argument("--hosts", type=int, default=2, choices=range(1, 33), metavar="1..32")
    parser.add_argument("--rate", type=rate, help="of every link each way, as 400Mbit; else free")
    parser.add_argument("--mtu", type=int, default=9000, help="largest packet, in bytes")
    parser.add_argument("--down", action="store_true", help="end the hosts of this checkout")
    parser.add_argument("--pid-file", type=Path, default=UP, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.down:
        return down(asked.pid_file)
    why = missing()
    if not why and (pid := running(asked.pid_file)):
        why = f"process {pid} has hosts up in this checkout already: make hosts-down"
    if why:
        print(f"error: {why}", file=sys.stderr)
        return 4
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Hosts(asked.hosts, mtu=asked.mtu) as hosts:
            asked.pid_file.write_text(f"{os.getpid()}\n")
            for host in hosts:
                if asked.rate:
                    host.shape(asked.rate)
                print(f"{host.name}: {host.address}, cores {host.cores}: Ray ...", flush=True)
                hosts.start_ray(host)
            print(manual(hosts), flush=True)
            while True:
                signal.pause()
    except HostsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 4
    except KeyboardInterrupt:
        print("hosts are down")
        return 0
    finally:
        asked.pid_file.unlink(missing_ok=True)


def manual(hosts: Hosts) -> str:
    """What a person can do with the hosts, as commands for another terminal."""
    first, last = hosts[0], hosts[len(hosts) - 1]
    hengsuan = Path(sys.executable).with_name("hengsuan")
    run = [hengsuan, "run", "quick", "--address", hosts.ray]
    slow = ("rate", "100Mbit", "burst", "64k", "limit", "64m")
    return "\n".join(
        [
            f"\n{len(hosts)} hosts are up, until Ctrl-C here or `make hosts-down`. As root:",
            *said("measure them", inside(first, run)),
            *said("a shell on one", inside(last, ["bash"])),
            *said("drop all that comes and goes", last.switching("nomaster")),
            *said("connect it again", last.switching("master", "switch")),
            *said(
                "slow what one sends",
                last.networking("tc", "qdisc", "replace", "dev", INTERFACE, "root", "tbf", *slow),
            ),
            *said("power one off", ["kill", "-9", str(last.pid)]),
        ]
    )


def said(what: str, words: list[str]) -> list[str]:
    """A heading and a command line, ready to be copied."""
    return [f"\n  # {what}", f"  {shlex.join(words)}"]


def inside(host: Host, words: list[str | Path]) -> list[str]:
    """The command line that runs ``words`` on a host, with what its processes must know."""
    variables = [f"{key}={value}" for key, value in host.environment.items()]
    return host.words(["env", *variables, *words])


def running(file: Path) -> int:
    """Process id of the ``make hosts`` that wrote the file; 0 if it is no more."""
    try:
        pid = int(file.read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return 0
    return pid if any(word.endswith(b"hosts/up.py") for word in words) else 0


def down(file: Path) -> int:
    """End the hosts of the ``make hosts`` that wrote the file and wait until they are gone."""
    pid = running(file)
    if not pid:
        print("no hosts are up in this checkout")
        return 0
    os.kill(pid, signal.SIGTERM)
    stop = time.monotonic() + 30
    while running(file) == pid:
        if time.monotonic() > stop:
            print(f"error: process {pid} does not end; kill -9 it", file=sys.stderr)
            return 4
        time.sleep(0.1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
