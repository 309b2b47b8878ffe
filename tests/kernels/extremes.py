"""Run in a process of its own by test_interpreter.py: values and labels at the ends of their range.

Exponents far beyond fp32, rows that are masked throughout, infinities, subnormal numbers, the first
and the last class and the ones beside them. Where torch defines what comes out, it is that.
"""

from __future__ import annotations

import os

os.environ["TRITON_INTERPRET"] = "1"

import itertools
import sys
import warnings

import numpy as np
import torch

sys.path.insert(0, os.path.dirname(__file__))
import interpreting  # noqa: F401  (replaces the interpreter's own)

from bench.kernels import (
    adamw,
    cross_entropy,
    embedding,
    gemm,
    grouped_gemm,
    layernorm,
    moe,
    quantize,
    rmsnorm,
    softmax,
    tuning,
)

GENERATOR = torch.Generator().manual_seed(0)
INF, NAN = float("inf"), float("nan")
WIDTH = 200
LONG = {"block": 64, "num_warps": 4}
"""Rows in blocks, of which `WIDTH` columns fill three and a part."""
HELD = {"block": 256, "num_warps": 4}
LOOPED = ({**LONG, "num_stages": 1}, {**LONG, "num_stages": 3})


def normal(*shape, scale=1.0):
    return torch.randn(shape, generator=GENERATOR) * scale


def close(found, wanted, limit=1e-5):
    """Equal within a relative limit, NaN and infinities where they are wanted."""
    return torch.allclose(found.double(), wanted.double(), limit, limit, equal_nan=True)


def softmax_of_far_values():
    """Rows of values whose exponents overflow, masked ones, and ones with a NaN."""
    x = normal(7, WIDTH, scale=300.0)
    x[1] = -300.0
    x[2, 5:] = -INF
    x[3] = -INF
    x[4, 199] = NAN
    x[5, 0] = INF
    x[6] = torch.finfo(torch.float32).min
    dy = normal(7, WIDTH)
    whole = {"rows": 4, "num_warps": 4}
    for config in (whole, LONG):
        with tuning.forcing("softmax", config), tuning.forcing("softmax_backward", config):
            mine, theirs = (x.clone().requires_grad_() for _ in range(2))
            y, wanted = softmax.softmax(mine), theirs.softmax(-1)
            assert close(y, wanted), config
            y.backward(dy)
            wanted.backward(dy)
            assert close(mine.grad, theirs.grad), config


def labels_at_the_ends():
    """Losses and gradients of every kind of row; labels that are no class are NaN, not memory."""
    labels = torch.tensor([0, WIDTH - 1, WIDTH, -1, -100, 7, 7, 7, 3, 1 << 40, 9])
    logits = normal(len(labels), WIDTH, scale=200.0)
    logits[4] = NAN  # not looked at
    logits[5] = -INF
    logits[6, 7] = -INF
    logits[7, :7], logits[7, 8:] = -INF, -INF
    logits[10] = torch.finfo(torch.float32).min
    classes = (labels >= 0) & (labels < WIDTH)
    exact = logits.double().requires_grad_()
    given = torch.where(classes, labels, -100)
    wanted = torch.nn.functional.cross_entropy(exact, given, reduction="none")
    wanted.sum().backward()
    right = wanted.detach().masked_fill(~classes & (labels != -100), NAN)
    for config, scale in itertools.product((HELD, *LOOPED), (1.0, torch.tensor([0.25]))):
        with tuning.forcing("cross_entropy", config):
            # Behind each row lies what would be taken for the logit of a label past its end.
            wide = torch.full((len(labels), WIDTH + 8), 5.0)
            mine, losses = wide[:, :WIDTH], torch.empty(len(labels))
            mine.copy_(logits)
            cross_entropy.in_place(mine, labels, losses, gradient=False)
            assert close(losses, right), config
            assert torch.equal(mine.nan_to_num(1.0), logits.nan_to_num(1.0)), "not to be touched"
            losses.fill_(NAN)
            cross_entropy.in_place(mine, labels, losses, scale=scale)
            assert close(losses, right), config
            counted = labels.clamp(-1, WIDTH) == labels  # no promise of a gradient elsewhere
            counted &= classes | (labels == -100)
            assert close(mine[counted], exact.grad[counted] * float(scale)), (config, scale)
            assert (mine[labels == -100] == 0).all(), "an ignored row has no gradient"
            assert (wide[:, WIDTH:] == 5.0).all(), "wrote outside"


def another_ignored_label():
    """A class can be the label that does not count; where none counts, loss and gradient are 0."""
    logits, labels = normal(4, WIDTH), torch.tensor([[3, 9], [0, 0], [3, 9], [0, 0]])[:, 0]
    theirs = logits.clone().requires_grad_()
    wanted = torch.nn.functional.cross_entropy(theirs, labels, ignore_index=0)
    wanted.backward()
    mine = logits.clone().requires_grad_()
    loss = cross_entropy.cross_entropy(mine.clone(), labels, ignore=0)
    loss.backward()
    assert close(loss.detach(), wanted.detach())
    assert close(mine.grad, theirs.grad)
    mine = logits.clone().requires_grad_()
    loss = cross_entropy.cross_entropy(mine.clone(), torch.full((4,), -100))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert (mine.grad == 0).all()


def rescaled_rows():
    """Every block of every row, which lie apart; a factor of one changes nothing."""
    wide = normal(3, 10_000)
    x, before = wide[:, :9_000], wide.clone()
    for factor in (1.0, 0.5):
        cross_entropy.rescale(x, torch.tensor([factor]))
        assert torch.equal(x, before[:, :9_000] * factor)
    assert torch.equal(wide[:, 9_000:], before[:, 9_000:])


def chosen_experts():
    """Logits far apart, equal ones (the first wins), and as many choices as experts."""
    logits = torch.cat([normal(3, 6, scale=300.0), torch.zeros(3, 6)])
    logits[4, 4] = 1.0
    logits[5, [1, 3, 5]] = 2.0
    weights, experts = moe.routed(logits, 3)
    best, places = logits.sort(dim=-1, descending=True, stable=True)
    assert torch.equal(experts.long(), places[:, :3])
    assert close(weights, best[:, :3].softmax(-1))
    every = moe.routed(logits, 6)[1]
    assert torch.equal(every.long(), places)
    _, place, _ = moe.sort_by_expert(experts, 6)
    mine = [one.requires_grad_() for one in (normal(18, 40), normal(6, 3))]
    exact = [one.detach().double().requires_grad_() for one in mine]
    wanted = (exact[0][place.long()] * exact[1].unsqueeze(-1)).sum(1)
    with tuning.forcing("moe", {"block": 16, "num_warps": 4}):  # two blocks of a row and a half
        found = torch.autograd.grad(moe.combine(mine[0], place, mine[1]).sum(), mine)
    right = torch.autograd.grad(wanted.sum(), exact)
    assert all(map(close, found, right))


def rows_of_no_expert():
    """Tiles end with their expert's rows: behind the last one nothing is written."""
    x, weight = normal(16, 32), normal(3, 32, 8)
    offsets, out = torch.tensor([0, 5, 5, 9], dtype=torch.int32), torch.full((16, 8), NAN)
    grouped_gemm.forward(x, weight, offsets, out)
    assert close(out[:5], x[:5] @ weight[0])
    assert close(out[5:9], x[5:9] @ weight[2])
    assert out[9:].isnan().all()


def activations_without_bounds():
    """Products that overflow, and the tails of each activation, as torch has them."""
    x = torch.tensor([[INF, -INF, 0.0, 60.0, -60.0, -5.0, -3.0, -1e-6, 1e30, -1e30]]).t()
    for activation in gemm.ACTIVATIONS:
        out = gemm.gemm(x, torch.ones(1, 1), torch.empty(10, 1), activation=activation)
        wanted = gemm.activate(x.double(), activation)
        keep = torch.isfinite(x)[:, 0] | (x[:, 0] > 0)  # of -inf torch is not of one mind itself
        off = (out.double() - wanted)[keep] / wanted[keep].abs().clamp_min(1e-6)
        assert (off.nan_to_num(0.0, posinf=1.0, neginf=1.0).abs() < 1e-5).all(), activation
        assert out[0] == wanted[0] == INF, activation


def smallest_scales():
    """Subnormal and single values keep finite quotients; an infinity is seen."""
    for value in (2.0**-149, 2.0**-140, 2.0**-127, 2.0**-126, 3e38):
        for block in (True, False):
            x = torch.zeros(2, 256)
            x[0, 3], x[1, 200] = value, -value / 2
            q = torch.full(x.shape, NAN).to(torch.float8_e4m3fn)
            scale = torch.full((2, 2) if block else (1,), NAN)
            (quantize.quantize_block if block else quantize.quantize_tensor)(x, q, scale)
            wanted, known = quantize.formula(x, q.dtype, block)
            assert torch.isfinite(q.float()).all(), (value, block)
            assert torch.equal(q.float(), wanted.float()), (value, block)
            assert torch.equal(scale, known.view(scale.shape)), (value, block)
            assert (scale >= torch.finfo(torch.float32).tiny).all()
            assert ((quantize.dequantize(q, scale) - x).abs() <= max(value / 16, 2.0**-136)).all()
    x = normal(2, 256)
    x[1, 3] = INF
    q, scale = torch.empty(2, 256).to(torch.float8_e4m3fn), torch.empty(1)
    quantize.quantize_tensor(x, q, scale)
    assert q.float()[1, 3].isnan()
    assert scale.item() == INF


def ids_outside_the_table():
    """Rows of zeros and gradients that go nowhere, whatever lies beside the table."""
    whole = normal(7, 4)
    table = whole[1:6].clone().requires_grad_()
    ids = torch.tensor([-1, 0, 4, 5, 1 << 40, -(1 << 40), *[5] * 70, *[4] * 70])
    known = (ids >= 0) & (ids < 5)
    out = embedding.embedding(table, ids)
    assert torch.equal(out[known], table[ids[known]])
    assert (out[~known] == 0).all()
    dy, guarded = normal(*out.shape), torch.zeros(7, 4)
    embedding.backward(dy, ids, guarded[1:6])
    assert close(guarded[1:6], torch.zeros(5, 4).index_add(0, ids[known], dy[known]))
    assert (guarded[[0, 6]] == 0).all(), "wrote outside"


def rows_near_zero():
    """What is added to a mean square counts where a row is small; a row of zeros stays finite."""
    x = normal(4, 40)
    x[0], x[1] = 0.0, x[1] * 1e-4
    x[2] = 3.0
    weight, bias, dy = normal(40), normal(40), normal(4, 40)
    for eps in (1e-6, 1e-2):
        for ours, theirs, count in (
            (rmsnorm.rmsnorm, torch.nn.functional.rms_norm, 1),
            (layernorm.layernorm, torch.nn.functional.layer_norm, 2),
        ):
            mine = [one.clone().requires_grad_() for one in (x, weight, bias)[: 1 + count]]
            exact = [one.double().requires_grad_() for one in (x, weight, bias)[: 1 + count]]
            y, wanted = ours(*mine, eps=eps), theirs(exact[0], (40,), *exact[1:], eps=eps)
            assert close(y.detach(), wanted.detach()), (ours, eps)
            found = torch.autograd.grad(y, mine, dy)
            right = torch.autograd.grad(wanted, exact, dy.double())
            for one, other in zip(found, right, strict=True):
                off = (one.double() - other).norm() / other.norm()
                assert off < 1e-5, (ours, eps, float(off))


def sums_of_many_rows():
    """More rows of shares than a step of the second sum takes: a chip of many processors."""
    shares, out = normal(1100, 90), torch.full((41,), NAN)
    rmsnorm.sum_rows(shares[:, 3:44], out)
    assert close(out, shares[:, 3:44].double().sum(0), 1e-5)
    x, scale = torch.ones(2, 8250), torch.full((1,), NAN)
    x[-1, -1] = -448.0  # in the last share of all
    with tuning.forcing("quantize", {"block": 16, "steps": 1, "num_warps": 4}):
        q, _ = quantize.quantize_tensor(x, torch.empty(x.shape).to(torch.float8_e4m3fn), scale)
    assert scale.item() == 1.0
    assert torch.equal(q.float(), x)


def steps_of_small_gradients():
    """Five steps as the library takes them, where eps is no smaller than the moments' roots."""
    gradients = normal(5, 300) * torch.logspace(-12, 0, 300)
    gradients[:, 7] = 0.0
    weight = normal(300)
    theirs = torch.nn.Parameter(weight.double())
    settings = {"lr": 1e-2, "eps": 1e-8, "weight_decay": 0.1}
    library = torch.optim.AdamW([theirs], betas=(0.9, 0.95), **settings)
    m, v, copy = torch.zeros(300), torch.zeros(300), torch.full((300,), NAN).half()
    for step, gradient in enumerate(gradients, 1):
        adamw.adamw(weight, m, v, gradient, copy, step=step, beta1=0.9, beta2=0.95, **settings)
        theirs.grad = gradient.double()
        library.step()
        assert close(weight, theirs.detach(), 1e-6), step
        assert torch.equal(copy, weight.half())


if __name__ == "__main__":
    warnings.simplefilter("ignore", RuntimeWarning)
    with np.errstate(all="ignore"):  # infinities are what this is about
        softmax_of_far_values()
        labels_at_the_ends()
        another_ignored_label()
        rescaled_rows()
        chosen_experts()
        rows_of_no_expert()
        activations_without_bounds()
        smallest_scales()
        ids_outside_the_table()
        rows_near_zero()
        sums_of_many_rows()
        steps_of_small_gradients()
    sys.stdout.write("all examples passed\n")
