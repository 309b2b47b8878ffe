"""Work that must give the same bits each time, on every device of a kind, for `corruption`.

The inputs come from integers that the host draws (`bench.kernels.portable`). Only what is
deterministic by design is here: products and reductions in a fixed order, attention by the plain
mathematics (fast backward passes add up with atomics), no gradient that is scattered. For libraries
that are deterministic on request, `deterministic` asks.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch

from ..kernels import ops
from ..kernels.model_costs import ModelShape
from ..kernels.op import poison, set_precision
from ..kernels.portable import PortableFill
from ..kernels.reference import TOLERANCE
from .base import Check, Context

if TYPE_CHECKING:
    from .bits import Results

TYPICAL = ModelShape(1024, 2, 8, 8, 2816, 4096, 512)
"""The model of a training step: grouped heads would scatter their gradients, so it has none."""
SMALL = ModelShape(128, 2, 4, 4, 352, 512, 64)
"""The same for a core that stands in for an accelerator."""
BATCH = 4


class Repeatable:
    """Calling it does the work once from the same inputs; results may be overwritten by the next.

    Args:
        work: Gives the results by name.
        judge: Whether results are near what they must be.
        wanted: The results, where they are known to the bit.
    """

    def __init__(
        self,
        work: Callable[[], Results],
        judge: Callable[[Results], Check] | None = None,
        wanted: Results | None = None,
    ) -> None:
        self._work, self.judge, self.wanted = work, judge, wanted

    def __call__(self) -> Results:
        """The results of one repetition."""
        return self._work()


@contextlib.contextmanager
def deterministic() -> Iterator[None]:
    """Deterministic algorithms wherever the stack has a choice; nothing here is timed."""
    before = torch.are_deterministic_algorithms_enabled()
    only_warns = torch.is_deterministic_algorithms_warn_only_enabled()
    filling = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before, warn_only=only_warns)
            torch.utils.deterministic.fill_uninitialized_memory = filling  # type: ignore[attr-defined]


def operation(
    context: Context,
    op: str,
    shape: tuple[int, ...],
    dtype: str,
    variant: str,
    impl: str,
    seed: int,
) -> Repeatable:
    """An operation of ``bench.kernels``, its output poisoned before every call.

    Raises:
        NoTargetError: no such implementation on this device, or a mode that it does not have.
    """
    case = ops.Case(op, shape, dtype, variant, context.arch)
    entry = ops.get(op)
    chosen = ops.implementation(entry, impl, case, context.backend.implementations())
    set_precision(context.device, dtype)
    fill = PortableFill(context.device, seed)
    inputs = entry.inputs(case, fill)
    outputs = entry.outputs(case, inputs)
    bound = chosen(case, inputs, outputs)
    tolerance = context.backend.tolerances.get(dtype, TOLERANCE[dtype])

    def work() -> Results:
        poison(inputs, outputs)
        return bound()

    def judge(results: Results) -> Check:
        error = max(entry.errors(case, inputs, dict(results), fill).values())
        return Check(error <= tolerance, f"relative error {error:.3g}, tolerance {tolerance:g}")

    return Repeatable(work, judge)


def training(context: Context, shape: ModelShape, dtype: str, seed: int) -> Repeatable:
    """Forward, backward and AdamW of a small decoder from the same weights, moments at zero.

    Gradients are results too: AdamW's first step keeps little more than their signs.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from .model import Decoder

    fill = PortableFill(context.device, seed)
    with context.device:
        net = Decoder(shape, dtype=torch.bfloat16 if dtype == "bf16" else torch.float32)
    parameters = list(net.parameters())
    weights = [
        fill.normal(*one.shape, kind=one.dtype, scale=0.02)
        if one.dim() > 1
        else one.detach().clone()
        for one in parameters
    ]
    tokens = fill.integers(shape.vocab, BATCH, shape.seq + 1)
    optimizer = torch.optim.AdamW(parameters, lr=1e-3)

    def work() -> Results:
        with torch.no_grad():
            for one, weight in zip(parameters, weights, strict=True):
                one.copy_(weight)
        optimizer.state.clear()
        optimizer.zero_grad(set_to_none=True)
        with sdpa_kernel(SDPBackend.MATH):
            loss = net(tokens)
        loss.backward()
        optimizer.step()
        return {
            "loss": loss.detach(),
            "gradients": torch.cat(
                [one.grad.view(-1) for one in parameters if one.grad is not None]
            ),
            "weights": torch.cat([one.detach().view(-1) for one in parameters]),
        }

    def judge(results: Results) -> Check:
        loss, guess = float(results["loss"]), math.log(shape.vocab)
        return Check(abs(loss - guess) < 0.15 * guess, f"loss {loss:.4f}, guessing is {guess:.4f}")

    return Repeatable(work, judge)


def copying(context: Context, size: int, seed: int) -> Repeatable:
    """Random bytes to the device and back, both ends wiped before; compared where they return."""
    generator = torch.Generator().manual_seed(seed)
    source = torch.randint(0, 256, (size,), dtype=torch.uint8, generator=generator)
    back = torch.empty_like(source)
    if context.device.type != "cpu":
        with contextlib.suppress(RuntimeError):  # no pinned memory: the driver stages the copies
            source, back = source.pin_memory(), back.pin_memory()
    far = torch.empty(size, dtype=torch.uint8, device=context.device)

    def work() -> Results:
        far.fill_(0)
        back.fill_(0)
        far.copy_(source)
        back.copy_(far)
        return {"copy": back}

    return Repeatable(work, wanted={"copy": source})
