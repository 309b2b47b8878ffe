"""RDMA between two nodes' network cards, without the collective library: what the fabric gives."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from ..host import network, pcie, rdma
from ..records import Measure
from ..timing import Timing
from . import perftest
from .base import Benchmark, Bytes, Check, Context, Metric, Unmeasurable, benchmark

TRIAL = 100
"""Iterations of the run that is checked."""
ABOVE = 1.05
"""Times a port's rate above which a bandwidth is not believed."""


@benchmark(scope="pair")
class Rdma(Benchmark):
    """RDMA writes from host memory to host memory (perftest's ib_write_bw and ib_write_lat).

    Bandwidth is payload in one direction, latency half the typical round trip of eight bytes. Each
    rank uses the card nearest to its device; ``card`` names another. The programs time
    themselves: a step is one run of ``iterations`` messages, and its duration is not used.
    """

    measures = (
        Measure(
            "bandwidth",
            "B/s",
            "higher",
            about="payload of RDMA writes in one direction",
            formula="average of ib_write_bw",
            source="linux-rdma/perftest",
        ),
        Measure(
            "latency",
            "s",
            "lower",
            about="half the typical round trip of eight bytes",
            formula="t_typical of ib_write_lat",
            source="linux-rdma/perftest",
        ),
    )
    per_sample = True
    worded = {"iterations": {2000: ""}}

    size: Bytes = Bytes(1 << 20)
    """Bytes of a message."""
    iterations: int = 2000
    """Messages of a run."""
    card: str = ""
    """Empty: the card nearest to the device."""

    def setup(self, context: Context) -> None:
        """Choose a card. Raises `Unmeasurable` where there is none, or nothing to drive it with."""
        self.context = context
        self.name_of_card, self.port, self.rate = _card(self.card, context)
        absent = perftest.missing()
        if absent:
            raise Unmeasurable(absent)
        self.address: str | None = None
        self.bandwidths: list[float] = []

    def step(self) -> None:
        """One run."""
        report = self._run("ib_write_bw", int(self.size), self.iterations)
        self.bandwidths.append(report.values["BW average"])

    def clock(self) -> Literal["device", "host"]:
        """Programs of their own are timed by nobody else."""
        return "host"

    def check(self) -> Check:
        """A short run sends what was asked, and no faster than the port can."""
        report = self._run("ib_write_bw", int(self.size), TRIAL)
        reached = report.values["BW average"]
        if (report.size, report.iterations) != (int(self.size), TRIAL):
            said = f"{report.iterations} x {report.size} B instead of {TRIAL} x {int(self.size)} B"
            return Check(False, f"perftest sent {said}")
        if not reached > 0 or (self.rate and reached * 8 > ABOVE * self.rate):
            said = f"{reached * 8 / 1e9:.4g} Gbit/s at a port of {self.rate / 1e9:.4g} Gbit/s"
            return Check(False, f"perftest reported {said}")
        return Check(True, f"{TRIAL} messages at {reached * 8 / 1e9:.4g} Gbit/s")

    def metrics(self, timing: Timing) -> Iterator[Metric]:
        """What the programs reported of the timed runs, and one run of small messages."""
        yield Metric("bandwidth", samples=np.array(timing.kept(self.bandwidths)))
        report = self._run("ib_write_lat", 8, max(self.iterations, 1000))
        yield Metric("latency", value=report.values["t_typical"])

    def note(self) -> str:
        """Which card was measured."""
        return f"card {self.name_of_card} port {self.port}"

    def _run(self, program: str, size: int, iterations: int) -> perftest.Report:
        """One run of both sides; every rank gets what the connecting side reported.

        Raises:
            RuntimeError: either side failed; both ranks say why.
        """
        import torch.distributed as dist

        control, first = self.context.control, self.context.rank == 0
        if self.address is None:
            self.address = self._meet()
        words = perftest.command(program, self.name_of_card, self.port, size, iterations)
        shared: list[Any] = [perftest.free_port() if first else 0]
        dist.broadcast_object_list(shared, dist.get_global_rank(control, 0), group=control)
        status, text = (
            perftest.serve(words, shared[0])
            if first
            else perftest.connect(words, shared[0], self.address)
        )
        said: list[Any] = [None, None]
        dist.all_gather_object(said, (status, text), group=control)
        for rank, (code, printed) in enumerate(said):
            if code:
                raise RuntimeError(
                    f"{program} on rank {rank} ended with {code}{perftest.last_words(printed)}"
                )
        return perftest.parse(said[1][1])

    def _meet(self) -> str:
        """The address of rank 0's host at which rank 1 reaches it."""
        import torch.distributed as dist

        control, first = self.context.control, self.context.rank == 0
        root = dist.get_global_rank(control, 0)
        with socket.socket() as door:
            door.bind(("", 0))
            door.listen()
            here = [one for held in network.addresses().values() for one in held if "." in one]
            offer: list[Any] = [(socket.gethostname(), [*here, "127.0.0.1"], door.getsockname()[1])]
            dist.broadcast_object_list(offer, root, group=control)
            host, addresses, port = offer[0]
            same = host == socket.gethostname()
            # Loopback is the same everywhere: only where both are one host does it lead there.
            wanted = addresses if same else addresses[:-1]
            said: list[Any] = [None, None]
            mine = None if first else perftest.reachable(wanted, port)
            dist.all_gather_object(said, mine, group=control)
        if said[1] is None:
            raise RuntimeError(f"rank 1 reaches none of rank 0's addresses ({', '.join(wanted)})")
        return str(said[1])


def _card(named: str, context: Context) -> tuple[str, int, float]:
    """(name, port, rate in bit/s) of the card to use. Raises `Unmeasurable` without one."""
    known = rdma.devices()
    if not known:
        raise Unmeasurable("this node has no RDMA device")
    if named and named not in known:
        raise Unmeasurable(f"no RDMA device {named} on this node, which has {', '.join(known)}")
    chosen = {named: known[named]} if named else known
    up = {name: port for name, one in chosen.items() if (port := rdma.active_port(one))}
    if not up:
        raise Unmeasurable(f"no port of {', '.join(chosen)} is active")
    places = {name: chosen[name].get("pci", "") for name in up}
    device = context.backend.place(context.device)
    near = pcie.nearest(device, places)[0] if device else _local(chosen, up)
    names = near or sorted(up)
    # Several are as near: neighbours take different ones.
    name = names[context.index % len(names)]
    return name, *up[name]


def _local(cards: dict[str, dict[str, Any]], up: dict[str, Any]) -> list[str]:
    """The cards on the NUMA nodes of this rank's cores, for devices that are no PCI device."""
    from ..host import numa_nodes

    allowed = os.sched_getaffinity(0)
    mine = {node for node, cpus in numa_nodes().items() if allowed.intersection(cpus)}
    return sorted(name for name in up if cards[name].get("numa") in mine)
