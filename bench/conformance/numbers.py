"""Numbers: every dtype arrives as it was sent, and random ones repeat by their seed."""

from __future__ import annotations

from typing import Any

from ..workloads.lacking import declared, lacks
from .checks import Subject, check
from .outcome import Fail

COUNT = 1 << 16


@check("dtypes")
def dtypes(subject: Subject) -> str:
    """Values of every dtype that is not declared lacking come back as sent, and are converted."""
    from ..kernels.dtypes import TORCH, torch_dtype

    backend, device = subject.backend, subject.device
    arch = backend.arch(device)
    formats = [name for name in TORCH if name != "tf32"]  # a mode of fp32 products
    absent = [name for name in formats if declared(backend.lacking, [name])]
    tried = [name for name in formats if name not in absent]
    for name in tried:
        try:
            _round_trip(device, name, torch_dtype(name, arch), backend.tolerances)
        except (RuntimeError, NotImplementedError, TypeError) as error:
            if not lacks(error):
                raise
            raise Fail(
                f"{name}: {str(error).strip().splitlines()[0][:200]}",
                f'declare it: lacking = {{"{name}": "why"}}',
            ) from None
    return ", ".join(tried) + (f"; declared lacking: {', '.join(absent)}" if absent else "")


def _round_trip(device: Any, name: str, kind: Any, tolerances: Any) -> None:
    import torch

    from ..kernels.reference import relative_error

    made = torch.Generator().manual_seed(11)
    drawn = torch.rand(COUNT, generator=made) + 0.5
    host = drawn.to(kind) if kind.is_floating_point else (drawn * 80).to(kind)
    back = host.to(device).cpu()
    if not torch.equal(back.view(torch.uint8), host.view(torch.uint8)):
        raise Fail(
            f"{name} values come back from the device changed",
            "copies between host and device must keep every bit, and be done when .cpu() returns",
        )
    if kind.is_floating_point:
        error = relative_error(drawn.to(device).to(kind).cpu().float(), drawn)
        # Rounding to the nearest errs by half a unit in the last place at most, each value.
        limit = max(tolerances.get(name, 0.0), torch.finfo(kind).eps / 2)
        if error > limit:
            raise Fail(f"converting fp32 to {name} errs by {error:.2g} (at most {limit:.2g})")


@check("random")
def random(subject: Subject) -> str:
    """A seed repeats its numbers, another gives others, and they are spread as they should be."""
    import torch

    device = subject.device

    def drawn(seed: int) -> Any:
        torch.manual_seed(seed)
        return torch.randn(COUNT, device=device)

    try:
        torch.Generator(device)
        whose = "by a generator of its own"
    except RuntimeError:
        whose = "the host draws where a generator is asked for"
    first, again, other = drawn(7), drawn(7), drawn(8)
    if not torch.equal(first, again):
        raise Fail(
            "torch.manual_seed(7) gave other numbers the second time",
            "the device's default generator must be seeded by torch.manual_seed "
            "(torch.<device_type>.manual_seed_all)",
        )
    if torch.equal(first, other):
        raise Fail("seeds 7 and 8 give the same numbers", "the seed must reach the generator")
    values = first.double().cpu()
    mean, spread = float(values.mean()), float(values.std())
    # Six standard errors of a normal sample of this size.
    if abs(mean) > 6 / COUNT**0.5 or abs(spread - 1) > 6 / (2 * COUNT) ** 0.5:
        raise Fail(f"normal numbers have mean {mean:.3g} and standard deviation {spread:.3g}")
    return whose


@check("gradients")
def gradients(subject: Subject) -> str:
    """Autograd works on the device: a product's gradient is right."""
    import torch

    from ..kernels.reference import relative_error

    device = subject.device
    made = torch.Generator().manual_seed(3)
    x, w = torch.randn(64, 32, generator=made), torch.randn(32, 16, generator=made)
    wanted = _gradient(x.double(), w.double())
    found = _gradient(x.to(device), w.to(device)).cpu()
    limit = max(1e-5, subject.backend.tolerances.get("fp32", 0.0))
    error = relative_error(found, wanted)
    if error > limit:
        raise Fail(f"a gradient is off by {error:.2g} (relative, at most {limit:g})")
    return f"error {error:.1g}"


def _gradient(x: Any, w: Any) -> Any:
    w = w.detach().requires_grad_(True)
    (x @ w).relu().square().mean().backward()
    return w.grad
