"""Several hosts on one machine: Linux namespaces joined by a switch, their links shaped and cut.

A host has its own network, name, address, machine id, processes, ``/tmp/ray``, ``/dev/shm``, cores
and time since boot. All of it hangs on one process, the first of the host's own process namespace
(``boot.sh``): when that ends, the kernel kills whatever runs there and takes the network apart. It
ends when its standard input closes, so nothing is left even of a test session that was killed.
Nothing of it appears in the machine's own network, and two checkouts never meet.

Needs Linux, root and the commands of `NEEDED` (util-linux, iproute2); `missing` says what is not
here.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

NEEDED = ("unshare", "nsenter", "mount", "hostname", "taskset", "ip", "tc", "bash")
BOOT = Path(__file__).with_name("boot.sh")
NETWORK = "10.77.0"
"""The first three bytes of the hosts' addresses; the last one is the host's number."""
INTERFACE = "eth0"
"""What every host calls its link to the switch."""
PORT = 6379
"""Of Ray on the first host."""
BURST = 64 * 1024
"""Bytes that pass a shaped link at once: the largest segment that the kernel hands down whole."""
QUEUE = 64 * 1024 * 1024
"""Bytes that wait before a shaped link: more than TCP has under way, so that none are dropped."""


class HostsError(RuntimeError):
    """A command that was to make, shape or cut a host failed; the text is what it said."""


def missing() -> str:
    """Why hosts cannot be made here; empty if they can."""
    if not sys.platform.startswith("linux"):
        return "needs Linux"
    if os.geteuid() != 0:
        return "needs root"
    lacking = [name for name in NEEDED if shutil.which(name) is None]
    if lacking:
        return f"not installed: {', '.join(lacking)}"
    try:
        with Hosts(1) as hosts:
            hosts[0].shape(100e6)
    except HostsError as error:
        return f"namespaces cannot be made or shaped here: {error}"
    return ""


class Host:
    """One host. Made by `Hosts`, which also ends it.

    Attributes:
        name: Its host name.
        address: Its address in the hosts' network.
        cores: The cores that its processes may use.
        environment: More variables of every process that is started here.
    """

    def __init__(
        self, name: str, number: int, cores: list[int], names: str, machine: str = ""
    ) -> None:
        self.name = name
        self.address = f"{NETWORK}.{number}"
        self.cores = cores
        self.environment: dict[str, str] = {}
        self.pid = 0
        self._port = f"port{number}"
        self._switch: Host | None = None
        clocks: list[str] = []
        if Path("/proc/self/ns/time").exists():
            # Time since boot differs by days, as it does between machines.
            seconds = str(number * 10 * 86400)
            clocks = ["--time", "--monotonic", seconds, "--boottime", seconds]
        apart = ("--net", "--uts", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
        boot = ("bash", str(BOOT), name, machine or uuid.uuid4().hex, names)
        self._first = subprocess.Popen(
            ["unshare", *apart, *clocks, *boot],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def boot(self) -> None:
        """Wait until the host is up. Raises `HostsError`."""
        assert self._first.stdout is not None
        if self._first.stdout.readline().strip() != "ready":
            said = self._first.communicate()[1].strip().splitlines() or ["unshare failed"]
            raise HostsError(said[-1])
        children = Path(f"/proc/{self._first.pid}/task/{self._first.pid}/children")
        self.pid = int(children.read_text().split()[0])

    def plug(self, switch: Host, mtu: int) -> None:
        """Connect the host to the switch."""
        self._switch = switch
        peer = ("peer", "name", INTERFACE, "netns", str(self.pid))
        switch.network("ip", "link", "add", self._port, "type", "veth", *peer)
        switch.network("ip", "link", "set", self._port, "mtu", str(mtu), "master", "switch", "up")
        self.network("ip", "link", "set", INTERFACE, "mtu", str(mtu), "up")
        self.network("ip", "address", "add", f"{self.address}/24", "dev", INTERFACE)

    def networking(self, *words: str) -> list[str]:
        """The command line that runs ``words`` in this host's network alone."""
        return ["nsenter", "-t", str(self.pid), "-n", *words]

    def network(self, *words: str) -> str:
        """What a command says in this host's network. Raises `HostsError` if it fails."""
        done = subprocess.run(self.networking(*words), capture_output=True, text=True)
        if done.returncode:
            raise HostsError(f"{self.name}: {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def shape(self, rate: float | None) -> None:
        """Let the link carry ``rate`` bit/s each way, headers included; None: all it can."""
        assert self._switch is not None
        limits = ("rate", f"{rate or 0:.0f}bit", "burst", str(BURST), "limit", str(QUEUE))
        for host, device in ((self, INTERFACE), (self._switch, self._port)):
            where = ("dev", device, "root")
            if rate is not None:
                host.network("tc", "qdisc", "replace", *where, "tbf", *limits)
            elif "tbf" in host.network("tc", "qdisc", "show", "dev", device):
                host.network("tc", "qdisc", "del", *where)

    def switching(self, *state: str) -> list[str]:
        """The command line that sets the switch's end of the link to a state of ``ip link``."""
        assert self._switch is not None
        return self._switch.networking("ip", "link", "set", self._port, *state)

    def cut(self) -> None:
        """Drop all that comes and goes, as a failing switch does: nobody is told, no link falls."""
        subprocess.run(self.switching("nomaster"), check=True)

    def restore(self) -> None:
        """Undo `cut`."""
        subprocess.run(self.switching("master", "switch"), check=True)

    def words(self, words: Sequence[str | Path]) -> list[str]:
        """The command line that runs ``words`` here, in the current folder."""
        enter = ["nsenter", "-t", str(self.pid), "--all", f"--wd={os.getcwd()}"]
        return [*enter, "taskset", "-c", ",".join(map(str, self.cores)), *map(str, words)]

    def start(self, words: Sequence[str | Path], **how: Any) -> subprocess.Popen[str]:
        """Start a command here; it ends with the host at the latest. ``how``: as of `Popen`."""
        environment = {**os.environ, **self.environment}
        return subprocess.Popen(self.words(words), env=environment, text=True, **how)

    def run(self, words: Sequence[str | Path], **how: Any) -> subprocess.CompletedProcess[str]:
        """Run a command here to its end, its output captured."""
        with self.start(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how) as process:
            out, err = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def power_off(self) -> None:
        """End everything that runs here, at once."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid or self._first.pid, signal.SIGKILL)
        self._first.wait()
        for stream in (self._first.stdin, self._first.stdout, self._first.stderr):
            if stream is not None:
                stream.close()


class Hosts:
    """Hosts ``host1``, ``host2``, ... of one network; a context manager.

    The machine's cores are shared out among those that ``measure`` at a time; more hosts have
    them a second time.

    Args:
        count: How many, at most 250.
        measure: How many measure at the same time; None: all.
        mtu: Largest packet of their links, in bytes.
        in_turn: Hosts with the same cores are of the same machine, as far as they know, so that
            their devices are measured in turn.
    """

    def __init__(
        self, count: int, *, measure: int | None = None, mtu: int = 9000, in_turn: bool = False
    ) -> None:
        numbers = range(1, count + 1)
        names = "".join(f"{NETWORK}.{number} host{number}\n" for number in numbers)
        cores = sorted(os.sched_getaffinity(0))
        share = max(1, len(cores) // (measure or count))
        shares = [cores[start:][:share] for start in range(0, len(cores) - share + 1, share)]
        machines = [uuid.uuid4().hex if in_turn else "" for _ in shares]
        self._mtu = mtu
        self._switch = Host("switch", 0, cores, names)
        self._hosts = [
            Host(
                f"host{number}",
                number,
                shares[(number - 1) % len(shares)],
                names,
                machines[(number - 1) % len(shares)],
            )
            for number in numbers
        ]

    def __enter__(self) -> Hosts:
        try:
            for host in (self._switch, *self._hosts):
                host.boot()
            self._switch.network("ip", "link", "add", "switch", "type", "bridge")
            self._switch.network("ip", "link", "set", "switch", "mtu", str(self._mtu), "up")
            for host in self._hosts:
                host.plug(self._switch, self._mtu)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for host in (*self._hosts, self._switch):
            host.power_off()

    def __getitem__(self, index: int) -> Host:
        return self._hosts[index]

    def __len__(self) -> int:
        return len(self._hosts)

    @property
    def ray(self) -> str:
        """The address of the Ray cluster, once the first host has its raylet."""
        return f"{self._hosts[0].address}:{PORT}"

    def start_ray(self, host: Host, environment: Mapping[str, str] | None = None) -> None:
        """Start a raylet on a host, with the cluster's head if it is the first.

        Raises:
            HostsError: Ray did not start; the text is what it said.
        """
        # Nobody outside reaches these hosts: Ray needs no token.
        host.environment |= {"RAY_AUTH_MODE": "disabled", "RAY_worker_niceness": "0"}
        host.environment |= environment or {}
        head = ["--head", f"--port={PORT}", "--include-dashboard=false"]
        role = head if host is self._hosts[0] else [f"--address={self.ray}"]
        words = [
            *(Path(sys.executable).with_name("ray"), "start", *role),
            f"--node-ip-address={host.address}",
            f"--num-cpus={len(host.cores)}",
            "--object-store-memory=80000000",
            "--disable-usage-stats",
            # It looks at its files all the time, beside what is measured.
            "--include-log-monitor=false",
        ]
        done = host.run(words)
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip())[-500:]
            raise HostsError(f"Ray does not start on {host.name}: {said}")
