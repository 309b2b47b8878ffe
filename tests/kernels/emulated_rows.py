"""Run in a process of its own by test_variants.py: cross_entropy's variant under the emulator.

    python emulated_rows.py agrees | refuses

``agrees``: the variant for sm_90, chosen as a table would choose it, against fp64 in fp16 (rows
that the ring holds and rows that it does not, whole chunks and not, rows that lie apart, labels
that are ignored or no class). ``refuses``: as `emulated` does it.
"""

from __future__ import annotations

import os

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))

import sys
import tempfile

import torch

from bench.kernels import cross_entropy, op, tuning
from bench.kernels.arch.sm_90 import cross_entropy as variant
from bench.kernels.arch.sm_90.jit import cross_entropy as source

sys.path.insert(0, os.path.dirname(__file__))
import gluon_emulator
from emulating import broken

LIMIT = op.reference.TOLERANCE["fp16"]
SLOTS = 3
"""Chunks in shared memory: few, so that a short row fills them."""


def launched(seed=0, kernel=None, programs=2):
    """A `launch` that emulates; ``used`` collects the kernels' names."""
    used = []

    def launch(given, grid, *arguments, num_warps, **constants):
        assert num_warps == constants["WARPS"]
        used.append(given.fn.__name__)
        grid = (min(programs, *grid),)
        gluon_emulator.launch(kernel or given, grid, *arguments, seed=seed, **constants)

    variant.launch = launch
    variant._slots = lambda size, chosen: SLOTS
    return used


def error(rows, vocab, chosen, *, apart=0, scale=1.0, shift=0.0, seed=0):
    """The largest relative error of losses and gradient; infinite where a rule is broken."""
    fill = op.Fill(torch.device("cpu"), seed)
    whole = torch.full((rows, vocab + apart), -7.0, dtype=torch.float16)
    logits = whole[:, :vocab]
    logits.copy_(fill.normal(rows, vocab, kind=torch.float16) + shift)
    labels = fill.integers(vocab, rows)
    labels[1:2], labels[4:5] = cross_entropy.IGNORE, vocab
    labels[2:3], labels[3:4] = 0, vocab - 1
    if rows > 1:
        logits[1] = float("nan")  # a row that does not count is not looked at
    before, losses = logits.double(), torch.empty(rows)
    factor = torch.tensor([scale]) if scale != 1.0 else 1.0
    with tuning.forcing("cross_entropy", chosen):
        cross_entropy.in_place(logits, labels, losses, scale=factor, arch="sm_90")
    known = (labels >= 0) & (labels < vocab)
    exact = before.softmax(1)[known]
    exact[torch.arange(len(exact)), labels[known]] -= 1.0
    wanted = torch.logsumexp(before, 1)[known] - before[known, labels[known]]
    ignored = labels == cross_entropy.IGNORE
    right = (whole[:, vocab:] == -7.0).all() and not logits[ignored].any()
    if not right or losses[ignored].any() or not losses[~known & ~ignored].isnan().all():
        return float("inf")
    found = [(logits[known], exact * scale), (losses[known], wanted)]
    errors = [float((a.double() - b).norm() / b.norm()) for a, b in found]
    return float("inf") if any(one != one for one in errors) else max(errors)


def constants(block, warps):
    """A configuration of the variant."""
    return {
        "block": block, "num_warps": warps, "num_stages": 1, "waves": 1, "arch_variant": 1,
    }  # fmt: skip


def agrees():
    """Everything that a table may choose, in orders drawn from several seeds."""
    number = 0
    for block in (4096, 8192, 16384):
        for warps in (8, 16):
            for vocab in (block + 64, 2 * block, SLOTS * block, 4 * block - 192, 4 * block):
                number += 1
                rows, apart = 1 + number % 7, 8 * (number % 2)
                used, scale = launched(seed=number), 1.0 + number % 2
                found = error(
                    rows, vocab, constants(block, warps), apart=apart, scale=scale,
                    shift=-4.0 * (number % 3), seed=number,
                )  # fmt: skip
                assert used == ["gluon_kernel"]
                assert found <= LIMIT, (block, warps, vocab, rows, found)


BREACHES = {
    "a slot is filled while it is read": (
        "                mbarrier.wait(empty.index(slot), (number // SLOTS & 1) ^ 1)\n", "",
    ),
    "the first round waits for a reader": ("(number // SLOTS & 1) ^ 1", "number // SLOTS & 1"),
    "the wrong phase of a full slot": (
        "number % SLOTS), number // SLOTS & 1)", "number % SLOTS), (number // SLOTS & 1) ^ 1)",
    ),
    "chunks are not waited for": (
        "    mbarrier.wait(full.index(number % SLOTS), number // SLOTS & 1)\n", "    pass\n",
    ),
    "chunks in registers keep their places": (
        "release(number + chunk, ring, SLOTS)\n                    top",
        "pass\n                    top",
    ),
    "chunks are given back before their last part is read": (
        "if part == PARTS - 1:\n                        release(number + chunk, ring, SLOTS)\n"
        "                    which",
        "if part == 0:\n                        release(number + chunk, ring, SLOTS)\n"
        "                    which",
    ),
    "half of a chunk's bytes are expected": (
        "desc.block_type.nbytes", "desc.block_type.nbytes // 2",
    ),
    "rows that do not count are loaded": (
        "gl.load(labels_ptr + row) != ignore", "gl.load(labels_ptr + row) != ignore + 1",
    ),
    "what lies past the end counts": ("gl.where(place < left, wide, float(\"-inf\"))", "wide"),
    "every row is the first": ("            number += CHUNKS\n", ""),
    "threads' maxima are not brought together": (
        "gl.sum(total * gl.exp2(top - highest), 0)", "gl.sum(total, 0)",
    ),
    "the sum is not shrunk": ("total * gl.exp2(top - higher) +", "total +"),
    "chunks in registers are not stored": ("static_range(HELD * PARTS)", "static_range(0)"),
    "the label is not told from the others": ("target // PART == number", "target // PART == -2"),
    "a label is the row's before": ("label = upcoming\n", "label = gl.load(labels_ptr)\n"),
}  # fmt: skip
"""What is wrong → the text of the kernel and what stands there instead."""


def refuses():
    """Every breach is seen, whatever order the partitions run in."""
    rows, vocab, chosen = 7, 4 * 8192 - 64, constants(8192, 8)
    launched(programs=1)
    assert error(rows, vocab, chosen, shift=-4.0) <= LIMIT
    for name, (text, instead) in BREACHES.items():
        for seed in range(3):
            with tempfile.TemporaryDirectory() as folder:
                launched(seed, broken(source, "gluon_kernel", text, instead, folder), programs=1)
                try:
                    found = error(rows, vocab, chosen, shift=-4.0)
                except gluon_emulator.ProtocolError as said:
                    sys.stdout.write(f"{name}: {said}\n")
                    continue
                assert not found <= LIMIT, f"{name}: not seen with seed {seed}"
                sys.stdout.write(f"{name}: relative error {found:.2g}\n")


if __name__ == "__main__":
    {"agrees": agrees, "refuses": refuses}[sys.argv[1]]()
    sys.stdout.write("all examples passed\n")
