"""Ranks beside each other: each sees what it should, one's death is not the other's."""

from __future__ import annotations

import os
import signal
import time
from datetime import timedelta

from ..cluster.joining import join
from ..host.files import read
from .checks import Subject, check
from .outcome import Fail, NotSupported


@check("visibility", ranks=2, claims="last")
def visibility(subject: Subject) -> str:
    """A rank sees every device that was claimed for it, and no other."""
    backend = subject.backend
    if backend.visible_devices is None:
        raise NotSupported("visible_devices is None: what a process sees cannot be limited")
    device = subject.device
    ask = getattr(subject.module(), "device_count", None)
    if ask is None or backend.device_type == "cpu":
        raise NotSupported(f"PyTorch does not count devices of type {backend.device_type}")
    seen = int(ask())
    if seen != len(subject.claimed):
        raise Fail(
            f"a rank that claims {len(subject.claimed)} of {len(subject.devices)} devices sees "
            f"{seen}",
            f"environment() must limit a process to what is claimed, by {backend.visible_devices}",
        )
    place, told = backend.place(device), subject.mine.facts.get("pci", "")
    if place and told and place != told:
        raise Fail(
            f"the rank of device {subject.mine.index} at {told} opened the one at {place}",
            "open(i) counts among the visible devices, in the order of their indices",
        )
    return f"{seen} of {len(subject.devices)}"


@check("crash", ranks=2, dies=1)
def crash(subject: Subject) -> str:
    """When one rank dies in the midst of its work, another on its own device goes on."""
    import torch

    device = subject.device
    made = torch.Generator().manual_seed(subject.rank)
    host = torch.randint(0, 100, (256, 256), generator=made).float()
    mine = host.to(device)
    subject.synchronize()
    subject.meet("ready")
    if subject.rank == 1:
        (subject.folder / "victim").write_text(str(os.getpid()))
        subject.meet("named")
        for _ in range(8):
            mine @ mine
        os.kill(os.getpid(), signal.SIGSEGV)
    subject.meet("named")
    victim = int((subject.folder / "victim").read_text())
    until = time.monotonic() + 30
    while not _ended(victim) and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(0.2)  # a driver that takes everybody down takes a moment
    product = (mine @ mine).cpu()
    subject.synchronize()
    if not torch.equal(product, host @ host):
        raise Fail("after another rank crashed, this one computes wrongly")
    if not torch.equal(torch.ones(1000, device=device).cumsum(0)[-1].cpu(), torch.tensor(1000.0)):
        raise Fail("after another rank crashed, this one cannot take new memory")
    return "the other rank went on"


def _ended(pid: int) -> bool:
    """Whether nothing, or its entry alone, is left of a process."""
    state = read(f"/proc/{pid}/stat").rpartition(")")[2].split()[:1]
    return not state or state[0] in "ZX"


@check("clean-up", ranks=2, tidy=True)
def clean_up(subject: Subject) -> str:
    """Nothing is left of an orderly job: no process, no shared memory, no file."""
    import torch
    import torch.distributed as dist
    from torch.distributed import FileStore  # type: ignore[attr-defined]

    device, backend = subject.device, subject.backend
    store = FileStore(str(subject.folder / "store"), subject.size)
    bound = None if device.type == "cpu" else device
    join(backend.collectives, store, subject.rank, subject.size, timedelta(seconds=60), bound)
    values = torch.full((1 << 20,), float(subject.rank + 1), device=device)
    dist.all_reduce(values)
    subject.synchronize()
    wanted = subject.size * (subject.size + 1) / 2
    good = bool((values.cpu() == wanted).all())
    dist.destroy_process_group()
    if not good:
        raise Fail(f"all_reduce over {backend.collectives} gave wrong sums")
    return "nothing left"
