"""Copies between host and device memory."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .. import host
from ..host import numa, pcie
from ..records import Measure
from ..timing import Timing
from .base import Benchmark, Bytes, Check, Context, Facts, Metric, Unmeasurable, benchmark

if TYPE_CHECKING:
    import torch

PLACED = 0.9
"""Share of a buffer that must lie on the NUMA node it was asked for."""
_DEVICES = Path("/sys/bus/pci/devices")


@benchmark(scope="device")
class Transfer(Benchmark):
    """Bandwidth of copies over the host link: to the device, from it, or both at the same time.

    Both at once run on two streams, each with buffers of its own; bandwidth is the payload of both
    over the time until both are done, at most twice that of one. Pinned memory lets the device's
    copy engine read the host directly; pageable memory is staged by the driver, which is what a
    careless data loader gets. Every byte of a copy is compared before and after.
    """

    measures = (
        Measure(
            "bandwidth",
            "B/s",
            "higher",
            about="payload of copies over the host link, of both directions where both run",
            formula="directions × size / seconds until all are done",
        ),
    )
    fitting = {"size": ("256MiB", "64MiB")}

    direction: Literal["h2d", "d2h", "both"] = "h2d"
    """To the device, from it, or both at the same time."""
    memory: Literal["pageable", "pinned"] = "pinned"
    """``pinned`` lets the device's copy engine read the host directly; ``pageable`` is staged by
    the driver."""
    size: Bytes = Bytes(256 << 20)
    """Bytes of a copy."""
    numa: int | None = None
    """NUMA node on which the host's memory lies; in a suite, ``each`` is one case for every node;
    without it, where the rank's own cores are."""

    @classmethod
    def spread(
        cls, axes: dict[str, Any], *, weak: bool, numa: Sequence[int] = ()
    ) -> list[dict[str, Any]]:
        """``numa: each`` is one case for every NUMA node; one that does not say where, if unknown.

        A host that lacks a node skips its case.
        """
        (axes,) = super().spread(axes, weak=weak, numa=numa)
        if axes.get("numa") != "each":
            return [axes]
        return [{**axes, "numa": node} for node in numa or (None,)]

    def setup(self, context: Context) -> None:
        """Allocate random buffers on both sides, a pair for each direction.

        Raises:
            Unmeasurable: the device is the host, memory is short, it cannot be pinned or placed
                on the node, or the device has no second stream for both directions.
        """
        self.refuse(context)
        self.context, backend = context, context.backend
        both = self.direction == "both"
        ways = ("h2d", "d2h") if both else (self.direction,)
        self._fits(len(ways))
        self.side = backend.side(context.device) if both else None
        if both and self.side is None:
            raise Unmeasurable(
                f"backend {backend.name} has no second stream for two copies at once"
            )
        self.unseen = False
        self.copies = [self._copy(way, index) for index, way in enumerate(ways)]
        # A copy of pageable memory holds the thread that asks for it until it is done.
        self.helper = ThreadPoolExecutor(1) if both and self.memory == "pageable" else None

    def refuse(self, context: Context) -> None:
        """Raise `Unmeasurable` where there is nothing to copy over."""
        if context.device.type == "cpu":
            raise Unmeasurable("the device is the host: there is no link between them")

    def _fits(self, ways: int) -> None:
        # On each side one buffer a direction; the host also has what is compared with it.
        device, beside = ways * int(self.size), 3 * ways * int(self.size)
        half, free = self.context.memory // 2, host.memory_available() // 2
        for whose, need, limit in (
            ("the device's", device, half),
            ("the host's free", beside, free),
        ):
            if limit and need > limit:
                raise Unmeasurable(
                    f"{ways} x {self.size} needs {need} bytes, half of {whose} memory is {limit}"
                )

    def _copy(self, way: str, index: int) -> tuple[Callable[[], Any], Any, Any]:
        """The copy, where it arrives, and what must be found there."""
        import torch

        generator = torch.Generator().manual_seed(2 * self.context.seed + index)
        wanted = torch.randint(0, 256, (int(self.size),), dtype=torch.uint8, generator=generator)
        with self._place():
            near = self._memory()
        near.copy_(wanted)
        if self.numa is not None:
            self._placed(near)
        far = wanted.to(self.context.device, copy=True)
        source, target = (near, far) if way == "h2d" else (far, near)
        pinned = self.memory == "pinned"
        return partial(target.copy_, source, non_blocking=pinned), target, wanted

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        """This thread on the cores of the node that memory is asked for on, if one is."""
        nodes = numa.node_cores()
        if self.numa is not None and self.numa not in nodes:
            has = ", ".join(map(str, nodes))
            raise Unmeasurable(f"this host has no NUMA node {self.numa} with cores (it has {has})")
        with contextlib.ExitStack() as bound:
            if self.numa is not None:
                try:
                    bound.enter_context(numa.on_cores(nodes[self.numa]))
                except OSError:
                    raise Unmeasurable(
                        f"this process may use no core of NUMA node {self.numa}, so that it "
                        "cannot allocate there"
                    ) from None
            yield

    def _memory(self) -> torch.Tensor:
        """Pages that this thread is the first to write to."""
        import torch

        size = int(self.size)
        if self.memory == "pageable":
            # A mapping of its own: the heap gives out pages again that lie somewhere already.
            fresh = torch.frombuffer(mmap.mmap(-1, size, mmap.MAP_PRIVATE), dtype=torch.uint8)
        else:
            if self.numa is not None:
                _forget_pinned()
            try:
                fresh = torch.empty(size, dtype=torch.uint8, pin_memory=True)
            except RuntimeError as error:
                raise Unmeasurable(f"this stack cannot pin host memory: {error}") from None
        # Not by PyTorch, whose own threads would share the work, on cores of their own.
        ctypes.memset(fresh.data_ptr(), 1, size)
        return fresh

    def _placed(self, buffer: torch.Tensor) -> None:
        found = numa.pages(buffer.data_ptr())
        self.unseen |= not found
        if found and found.get(self.numa or 0, 0) < PLACED * int(self.size):
            where = ", ".join(f"{count} bytes on node {node}" for node, count in found.items())
            raise Unmeasurable(
                f"host memory does not lie on NUMA node {self.numa} ({where}): a memory policy or "
                "a reused buffer placed it elsewhere"
            )

    def step(self) -> None:
        """One copy, or one each way."""
        forth = self.copies[0][0]
        if self.side is None:
            forth()
            return
        back = partial(self.side.run, self.copies[1][0])
        self.side.follow()
        if self.helper is None:
            back()
            forth()
        else:
            running = self.helper.submit(back)
            forth()
            running.result()
        self.side.join()

    def check(self) -> Check:
        """Copy into buffers that were wiped, and compare every byte."""
        import torch

        for _, target, _ in self.copies:
            target.fill_(0)
        self.step()
        self.context.backend.synchronize(self.context.device)
        wrong = sum(not torch.equal(target.cpu(), wanted) for _, target, wanted in self.copies)
        return Check(not wrong, "the copy differs" if wrong else "the copy equals its source")

    def metrics(self, timing: Timing) -> Iterator[Metric]:
        """Payload over time."""
        return self.derived(timing.seconds, self.context.facts, {})

    def derived(self, seconds: Any, facts: Facts, beside: Mapping[str, float]) -> Iterator[Metric]:
        """Payload of one direction or both over time."""
        ways = 2 if self.direction == "both" else 1
        yield Metric("bandwidth", samples=ways * int(self.size) / seconds)

    def note(self) -> str:
        """Which NUMA node the memory lies on, and which is nearest to the device."""
        if self.numa is None:
            return ""
        address = self.context.backend.place(self.context.device).lower()
        near = pcie.numa_of(_DEVICES / address) if address else None
        known = f"the device is nearest to node {near}"
        text = f"host memory on NUMA node {self.numa}; " + (
            known
            if near is not None
            else "the host does not say which node the device is nearest to"
        )
        return f"{text}; where its pages lie cannot be read here" if self.unseen else text

    def teardown(self) -> None:
        """Free the buffers and the second thread."""
        helper = self.__dict__.get("helper")
        if helper is not None:
            helper.shutdown()
        super().teardown()
        if self.memory == "pinned" and self.numa is not None:
            _forget_pinned()

    def expected(self, facts: Facts) -> dict[str, float]:
        """The datasheet's host link; twice that in both directions at once."""
        link = facts.chip.host_link if facts.chip else None
        ways = 2 if self.direction == "both" else 1
        return {"bandwidth": ways * link.value} if link else {}


def _forget_pinned() -> None:
    """Give back pinned buffers that nobody uses: PyTorch would hand them out again, wherever.

    Not asked of a stack without need: PyTorch crashes the process where none keeps such buffers.
    """
    import torch

    memory = getattr(getattr(torch, "accelerator", None), "memory", None)
    empty = getattr(memory, "empty_host_cache", None)
    if empty is not None:
        with contextlib.suppress(RuntimeError):  # of a device that is no accelerator to PyTorch
            empty()
