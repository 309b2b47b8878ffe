"""What stands before and after attention's gradients in one pass, in PyTorch; and, as a program run
by test_variants.py, the two kernels that do it under Triton's interpreter, compared with that.

Gluon kernels are emulated where no interpreter is, so that the emulator needs the former.
"""

import math
import os
import sys

import torch

ROWS = 64


def prepare(out, do, lse, rows, sums):
    """Write ``rows`` [batch, heads, tiles, 2, 64] and zeros to ``sums``."""
    batch, heads, tiles, _, _ = rows.shape
    whole = torch.full((2, batch, heads, tiles * ROWS), math.inf)
    whole[1] = 0.0
    whole[0, ..., : lse.shape[-1]] = lse / math.log(2.0)
    whole[1, ..., : lse.shape[-1]] = (out.float() * do.float()).sum(-1)
    rows.copy_(whole.view(2, batch, heads, tiles, ROWS).permute(1, 2, 3, 0, 4))
    sums.zero_()


def places(dim):
    """Where a tile's sums [64, dim] lie in memory: each half of the columns by itself, as the
    threads of a warpgroup hold it."""
    row, column = torch.arange(ROWS)[:, None], torch.arange(dim)[None, :]
    half, inside = column // (dim // 2), column % (dim // 2)
    place = (row // 8 % 2) * (dim // 16) + inside // 8
    place = ((place * 4 + row // 16) * 8 + row % 8) * 8 + inside % 8
    return half * (ROWS * dim // 2) + place


def finish(sums, dq, scale):
    """Write ``dq`` from sums [batch, heads, tiles, 64, dim]."""
    batch, heads, tiles, _, dim = sums.shape
    found = sums.reshape(batch, heads, tiles, -1)[..., places(dim)]
    dq.copy_(found.reshape(batch, heads, tiles * ROWS, dim)[:, :, : dq.shape[2]] * scale)


def main():
    """Both kernels, where the last tile is whole, cut, and a single row."""
    from bench.kernels.arch.sm_90.jit import attention_around as kernels

    dim = 128
    assert sorted(places(dim).flatten().tolist()) == list(range(ROWS * dim))
    for batch, heads, seq, apart in ((2, 3, 128, 0), (1, 2, 77, 8), (1, 1, 1, 0)):
        tiles = -(-seq // ROWS)
        grid, nothing = (tiles, batch * heads), float("nan")
        out, do = torch.randn(2, batch, heads, seq, dim + apart).half()[..., :dim]
        lse = torch.randn(batch, heads, seq)
        rows = torch.full((2, batch, heads, tiles, 2, ROWS), nothing)
        sums = torch.full((2, batch, heads, tiles, ROWS, dim), nothing)
        prepare(out, do, lse, rows[0], sums[0])
        steps = (*out.stride()[:3], *do.stride()[:3])
        kernels.prepare_kernel[grid](
            out, do, lse, rows[1], sums[1], *steps, heads, seq, DIM=dim, BLOCK_M=ROWS
        )
        torch.testing.assert_close(rows[1], rows[0], atol=1e-3, rtol=1e-5)
        assert not sums[1].any()
        held = torch.randn(sums[0].shape)
        wanted, found = torch.full((2, batch, heads, seq, dim), nothing).half()
        finish(held, wanted, 0.3)
        kernels.finish_kernel[grid](held, found, seq, 0.3, DIM=dim, BLOCK_M=ROWS, PARTS=2)
        torch.testing.assert_close(found, wanted)
    sys.stdout.write("all examples passed\n")


if __name__ == "__main__":
    os.environ["TRITON_INTERPRET"] = "1"
    main()
