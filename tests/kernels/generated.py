"""Run in a process of its own by test_interpreter.py: text from a model whose operations are ours.

A small decoder in fp16 (the interpreter computes bf16 silently wrong) writes the tokens that it
writes by PyTorch's operations, from a cache in one piece and in pages, of which none is copied.
"""

from __future__ import annotations

import os

os.environ["TRITON_INTERPRET"] = "1"

import sys
import unittest.mock

import torch

sys.path.insert(0, os.path.dirname(__file__))
import interpreting  # noqa: F401  (replaces the interpreter's own)

from bench.kernels import decode_attention
from bench.kernels.model_costs import ModelShape
from bench.kernels.reference import TOLERANCE, relative_error
from bench.workloads import ops
from bench.workloads.cache import Cache
from bench.workloads.model import Decoder

SHAPE = ModelShape(64, 2, 4, 2, 96, 50, 120, head_dim=64)
CPU, KIND = torch.device("cpu"), torch.float16
BATCH, OUTPUT = 2, 4


def written(chosen, prompt, page):
    """Greedily, int64 [batch, output], with the logits of every token [batch, output, vocab]."""
    net = Decoder(SHAPE, chosen, KIND, seed=3).requires_grad_(False)
    for weight in net.parameters():  # so large that attention decides
        weight.data = (weight * (8 if weight.dim() > 1 else 1)).to(KIND)
    room = prompt.shape[1] + OUTPUT
    cache = Cache(SHAPE, chosen, BATCH, room, page=page, dtype=KIND, device=CPU, seed=1)
    made, logits, tokens = [], [], prompt
    for _ in range(OUTPUT):
        logits.append(net.logits(tokens, cache))
        tokens = logits[-1][:, -1].argmax(-1, keepdim=True)
        made.append(tokens)
    return torch.cat(made, 1), torch.cat(logits, 1)


def check(page):
    """Both ways at one size of pages; 0: one piece."""
    prompt = torch.randint(50, (BATCH, 66), generator=torch.Generator().manual_seed(0))
    launched, launch = [], decode_attention.launch

    def watched(kernel, grid, *arguments, **options):
        launched.append((kernel.__name__, grid[1:]))
        launch(kernel, grid, *arguments, **options)

    refused = AssertionError("attention of a library's, or a copy of the cache")
    mine = ops.choose("triton", SHAPE, "bf16", arch="generic", vendor={})
    with (
        unittest.mock.patch.object(decode_attention, "launch", watched),
        unittest.mock.patch.object(decode_attention, "library", side_effect=refused),
        unittest.mock.patch.object(decode_attention, "_collected", side_effect=refused),
    ):
        tokens, logits = written(mine, prompt, page)
    steps = SHAPE.layers * (OUTPUT - 1)
    assert launched.count(("share_kernel", (2,))) == steps, launched
    assert launched.count(("join_kernel", ())) == steps, "two tiles of keys, two parts"
    wanted, right = written(ops.TORCH, prompt, page)
    assert torch.equal(tokens, wanted), (page, tokens, wanted)
    assert len(set(tokens.flatten().tolist())) > 3
    error = relative_error(logits, right)
    assert error <= TOLERANCE["fp16"] * 2 * SHAPE.layers, (page, error)


if __name__ == "__main__":
    for page in (0, 7):
        check(page)
    sys.stdout.write("all examples passed\n")
