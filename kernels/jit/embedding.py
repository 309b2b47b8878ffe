"""Kernels of `embedding`: rows gathered, and rows added up by the id that they belong to."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def gather_kernel(
    table_ptr,
    ids_ptr,
    out_ptr,
    tokens,
    vocab,
    stride_table,
    stride_out,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """out[t] = table[ids[t]] for a block of tokens and columns; zeros for ids outside."""
    token = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there = token < tokens
    row = tl.load(ids_ptr + token, mask=there, other=-1)
    known = (row >= 0) & (row < vocab)
    inside = column[None, :] < WIDTH
    place = row[:, None] * stride_table + column[None, :]
    x = tl.load(table_ptr + place, mask=known[:, None] & inside, other=0.0)
    out = token[:, None] * stride_out + column[None, :]
    tl.store(out_ptr + out, x, mask=there[:, None] & inside)


@triton.jit
def piece_kernel(
    dy_ptr,
    sorted_ptr,
    order_ptr,
    dtable_ptr,
    partial_ptr,
    tokens,
    vocab,
    stride_dy,
    stride_table,
    WIDTH: tl.constexpr,
    PIECE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Add up one run of equal ids, or the part of it up to the next multiple of PIECE.

    A program works where a run begins, which it adds to the table, and at multiples of PIECE
    inside of a run, whose sum it leaves in ``partial``; all others have nothing to do.
    """
    first = tl.program_id(0).to(tl.int64)
    ahead = tl.arange(0, PIECE)
    inside = (first % PIECE + ahead < PIECE) & (first + ahead < tokens)
    run = tl.load(sorted_ptr + first + ahead, mask=inside, other=-1)
    key = tl.load(sorted_ptr + first)
    begins = key != tl.load(sorted_ptr + first - 1, mask=first > 0, other=-1)
    if (begins | (first % PIECE == 0)) & (key >= 0) & (key < vocab):
        length = tl.sum((run == key).to(tl.int32), axis=0)
        column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        here = column < WIDTH
        # Of these columns, those below this bound go to the table: all or none.
        bound = tl.where(begins, WIDTH, 0)
        row = dtable_ptr + key * stride_table + column
        total = tl.load(row, mask=column < bound, other=0.0)
        for step in range(length):
            token = tl.load(order_ptr + first + step)
            dy = tl.load(dy_ptr + token * stride_dy + column, mask=here, other=0.0)
            total += dy.to(tl.float32)
        tl.store(row, total, mask=column < bound)
        left = partial_ptr + (first // PIECE) * WIDTH + column
        tl.store(left, total, mask=here & (column >= bound))


@triton.jit
def join_kernel(
    sorted_ptr,
    dtable_ptr,
    partial_ptr,
    pieces,
    vocab,
    stride_table,
    WIDTH: tl.constexpr,
    PIECE: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Add the pieces of a run to the table: by the program of its first piece in ``partial``."""
    piece = tl.program_id(0).to(tl.int64) + 1
    key = tl.load(sorted_ptr + piece * PIECE)
    continues = tl.load(sorted_ptr + piece * PIECE - 1) == key
    before = (piece - 1) * PIECE - 1
    later = tl.load(sorted_ptr + before, mask=before >= 0, other=-1) == key
    if continues & (later == 0) & (key >= 0) & (key < vocab):
        column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        here = column < WIDTH
        row = dtable_ptr + key * stride_table + column
        parts = tl.zeros((ROWS, BLOCK), dtype=tl.float32)
        found = ROWS
        while found == ROWS:
            pieces_here = piece + tl.arange(0, ROWS)
            there = pieces_here < pieces
            same = tl.load(sorted_ptr + pieces_here * PIECE, mask=there, other=-1) == key
            place = pieces_here[:, None] * WIDTH + column[None, :]
            parts += tl.load(partial_ptr + place, mask=same[:, None] & here[None, :], other=0.0)
            found = tl.sum(same.to(tl.int32), axis=0)
            piece += ROWS
        total = tl.load(row, mask=here, other=0.0) + tl.sum(parts, axis=0)
        tl.store(row, total, mask=here)
