"""On a machine with an accelerator: verify every kernel, time it against the library, run quick.

    python tests/device/check.py [--out results/reference] [--backend NAME]

Prints a table last and writes ``<out>/<chip>/kernels.json`` with the environment. Exit code 1 if
a kernel is wrong. Triton and torch are timed call by call in random order, so that clocks and
temperature act on both alike. A few minutes on one device; needs neither Ray nor a network.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.backends.probe import discover
from bench.backends.registry import get, match_chip
from bench.cli.environment import environment
from bench.configs import load_chips
from bench.kernels import ops
from bench.timing import EventTimer, HostTimer

GEMM_SHAPES = [
    (4096, 4096, 4096),
    (8192, 8192, 8192),
    (8192, 4096, 14336),
    (8192, 28672, 8192),
    (1000, 1001, 1003),
    (1, 4096, 4096),
]
STREAM_ELEMENTS = 1 << 28
ROUNDS = 30


def interleaved(calls, timer, rounds):
    """Median seconds of each call, taken in random order, two warm-up rounds left out."""
    draw = random.Random(1)
    spans = {name: [] for name in calls}
    for turn in range(rounds + 2):
        for name in draw.sample(list(calls), len(calls)):
            span = float(timer.run(calls[name], 1, 1, None)[0])
            if turn >= 2:
                spans[name].append(span)
    return {name: float(np.median(found)) for name, found in spans.items()}


def bound(op, impl, device, shape, dtype, arch):
    """The operation bound to an implementation, on data of its own from one seed."""
    if op == "gemm":
        return ops.bind_gemm(
            impl, device, shape, dtype, arch=arch, cache=64 << 20, memory=16 << 30, seed=5
        )
    return ops.bind_stream(op, impl, device, shape, dtype, arch=arch, seed=5)


def cases():
    """(operation, shape, dtype) of everything that is checked and timed."""
    for dtype in ("bf16", "fp16", "tf32", "fp32"):
        for shape in GEMM_SHAPES:
            # IEEE fp32 has no matrix unit on most chips: one large shape is enough.
            if dtype != "fp32" or max(shape) <= 4096:
                yield "gemm", shape, dtype
    for op in ("copy", "scale", "add", "triad"):
        for dtype in ("fp32", "bf16"):
            yield op, STREAM_ELEMENTS, dtype
    yield "triad", 1_000_003, "fp32"


def check(backend, device):
    """One record a case: errors, seconds of both implementations, rates, whether it is right."""
    arch = backend.arch(device)

    def synchronize():
        backend.synchronize(device)

    timed = backend.event() is not None
    timer = EventTimer(backend.event, synchronize) if timed else HostTimer(synchronize)
    for op, shape, dtype in cases():
        calls, found = {}, {"op": op, "shape": shape, "dtype": dtype, "right": True}
        for impl in ("torch", "triton"):
            try:
                calls[impl] = bound(op, impl, device, shape, dtype, arch)
                found[f"{impl}_error"] = calls[impl].error()
            except (ops.NoTargetError, RuntimeError) as error:
                found[f"{impl}_problem"] = str(error)[:300]
                found["right"] = found["right"] and isinstance(error, ops.NoTargetError)
                calls.pop(impl, None)
                continue
            found["right"] &= found[f"{impl}_error"] <= calls[impl].tolerance
        for impl, seconds in interleaved(calls, timer, ROUNDS).items():
            found[f"{impl}_seconds"] = seconds
            rate = calls[impl].flops if op == "gemm" else calls[impl].bytes
            found[f"{impl}_rate"] = rate / seconds
        if {"torch", "triton"} <= set(calls):
            found["ratio"] = found["torch_seconds"] / found["triton_seconds"]
        del calls
        yield found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/reference"))
    parser.add_argument("--backend")
    arguments = parser.parse_args()
    found = next((one for one in discover(arguments.backend) if one.devices), None)
    if found is None or found.name == "cpu":
        sys.exit("no accelerator here: nothing to check")
    backend = get(found.name)
    backend.load()
    device = backend.open(0)
    chip = match_chip(found.devices[0].name, load_chips().values())
    name = chip.name if chip else found.devices[0].name.lower().replace(" ", "-")
    records = []
    for one in check(backend, device):
        records.append(one)
        sys.stdout.write(json.dumps(one) + "\n")
        sys.stdout.flush()
    folder = arguments.out / name
    folder.mkdir(parents=True, exist_ok=True)
    report = {
        "device": found.devices[0].name,
        "firmware": found.devices[0].firmware,
        "environment": environment()["versions"],
        "kernels": records,
    }
    (folder / "kernels.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(
        f"\n{'op':7} {'shape':22} {'dtype':5} {'error':>9} {'rate':>12} {'ratio':>6}\n"
    )
    for one in records:
        rate = one.get("triton_rate", 0) / 1e12
        sys.stdout.write(
            f"{one['op']:7} {one['shape']!s:22} {one['dtype']:5} "
            f"{one.get('triton_error', float('nan')):9.2e} {rate:9.2f} T/s "
            f"{one.get('ratio', float('nan')):6.3f}{'' if one['right'] else '  WRONG'}\n"
        )
    sys.exit(0 if all(one["right"] for one in records) else 1)


if __name__ == "__main__":
    main()
