"""In a process of its own: what the device promises PyTorch, each as a line ``name value``."""

from __future__ import annotations

import json

import torch
import torch_nuomi  # noqa: F401

FOUND = {}


def found(ask):
    FOUND[ask.__name__] = ask()


def product(size=1024, calls=8, device="nuomi"):
    """A product that takes a while, and what it must be."""
    left = torch.rand(size, size, device=device)
    out = torch.empty_like(left)
    torch.accelerator.synchronize()
    for _ in range(calls):
        torch.mm(left, left, out=out)
    return out, left.cpu() @ left.cpu()


@found
def early():
    """The host is ahead of the device until it waits: where others hold it up, at another time."""
    for _ in range(5):
        product()
        done = torch.Event("nuomi")
        done.record()
        before = done.query()
        torch.accelerator.synchronize()
        if not before:
            break
    return [before, done.query()]


@found
def values():
    out, wanted = product(256, 1)
    return bool(torch.allclose(out.cpu(), wanted))


@found
def event_time():
    """Milliseconds of nothing and of products, by the module's events and by PyTorch's own."""
    spans = []
    for make in (torch.nuomi.Event, lambda **more: torch.Event("nuomi", **more)):
        marks = [make(enable_timing=True) for _ in range(3)]
        marks[0].record()
        marks[1].record()
        product()
        marks[2].record()
        marks[2].synchronize()
        spans.append([marks[0].elapsed_time(one) for one in marks[1:]])
    return spans


@found
def streams():
    """One stream waits for another, and is current only inside its context."""
    side, main = torch.nuomi.Stream("nuomi"), torch.accelerator.current_stream()
    with torch.nuomi.stream(side):
        inside = torch.accelerator.current_stream() == side
        out, wanted = product()
        extra = torch.mm(out, out)
    main.wait_stream(side)
    copied = torch.empty_like(extra).copy_(extra)
    right = torch.allclose(copied.cpu(), wanted @ wanted)
    return [inside, torch.accelerator.current_stream() == main, bool(right)]


@found
def memory():
    """What is taken, given back, and kept as the peak."""
    before = torch.accelerator.memory_allocated()
    torch.accelerator.reset_peak_memory_stats()
    block = torch.empty(1 << 20, dtype=torch.uint8, device="nuomi")
    taken = torch.accelerator.memory_allocated() - before
    del block
    left = torch.accelerator.memory_allocated() - before
    return [taken, left, torch.accelerator.max_memory_allocated() - before]


@found
def limit():
    """Beyond the limit PyTorch's own error is raised; then the device goes on."""
    torch.nuomi.set_per_process_memory_fraction(0.01)
    try:
        torch.empty(1 << 30, dtype=torch.uint8, device="nuomi")
    except torch.OutOfMemoryError as error:
        said = str(error)
    torch.nuomi.set_per_process_memory_fraction(1.0)
    return [said, float(torch.ones(10, device="nuomi").sum())]


@found
def random():
    """Seeded numbers repeat; each device has its own; a generator's are its own."""
    drawn = []
    for _ in range(2):
        torch.manual_seed(5)
        drawn.append(torch.randn(8, device="nuomi"))
    state = torch.get_rng_state()
    torch.randn(8, device="nuomi:1")
    host_untouched = torch.equal(state, torch.get_rng_state())
    own = torch.Generator("nuomi").manual_seed(5)
    again = torch.randn(8, device="nuomi", generator=own)
    return [torch.equal(*drawn), torch.equal(drawn[0], again), host_untouched]


@found
def pinned():
    near = torch.arange(1000, dtype=torch.float32).pin_memory()
    far = torch.empty(1000, device="nuomi")
    far.copy_(near, non_blocking=True)
    torch.accelerator.synchronize()
    return [near.is_pinned(), torch.equal(far.cpu(), near)]


@found
def training():
    """bf16 under autocast, backward in PyTorch's own threads, AdamW: the loss falls."""
    torch.manual_seed(1)
    with torch.device("nuomi"):
        net = torch.nn.Sequential(torch.nn.Embedding(32, 32), torch.nn.Linear(32, 32))
        tokens = torch.arange(32)
    optimizer = torch.optim.AdamW(net.parameters(), 0.02)
    losses = []
    for _ in range(30):
        with torch.autocast("nuomi", torch.bfloat16):
            scores = net(tokens)
            loss = torch.nn.functional.cross_entropy(scores, (tokens + 1) % 32)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return [str(scores.dtype), losses[0], losses[-1]]


@found
def late_error():
    """What goes wrong on the device is raised where the host waits, once."""
    flags = torch.ones(4, 4, dtype=torch.bool, device="nuomi")
    product_of_flags = torch.mm(flags, flags)
    try:
        torch.accelerator.synchronize()
    except RuntimeError as error:
        said = str(error)
    del product_of_flags
    torch.accelerator.synchronize()
    return said


@found
def peers():
    one = torch.rand(1000, device="nuomi:1")
    return torch.equal(one.to("nuomi:0").cpu(), one.cpu())


@found
def no_fp8():
    try:
        torch.ones(4, device="nuomi").to(torch.float8_e4m3fn)
    except NotImplementedError as error:
        return str(error)


print(json.dumps(FOUND))
product(1024, 30)  # the process ends while the device is at work
