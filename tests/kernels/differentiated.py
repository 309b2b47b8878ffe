"""Run in a process of its own by test_interpreter.py: the differentiable functions.

    python differentiated.py [FUNCTION ...]

Values and gradients of each against fp64 autograd of the plain formula, and against finite
differences of the function itself, under Triton's interpreter; with tiles by tensor descriptors
too, where there are such.
"""

from __future__ import annotations

import os

os.environ["TRITON_INTERPRET"] = "1"

import contextlib
import importlib
import itertools
import sys

import torch

from bench.kernels import tuning
from bench.kernels.launch import describable

sys.path.insert(0, os.path.dirname(__file__))
import interpreting  # noqa: F401  (replaces the interpreter's own)
from shapes import BY_DESCRIPTORS


def of(name):
    """A module of an operation."""
    return importlib.import_module(f"bench.kernels.{name}")


GENERATOR = torch.Generator().manual_seed(3)


def normal(*shape, kind=torch.float32, scale=1.0):
    return (torch.randn(shape, generator=GENERATOR) * scale).to(kind)


def first(result):
    return result[0] if isinstance(result, tuple) else result


def table(tokens, half):
    angles = torch.arange(tokens)[:, None] * (10_000.0 ** (-torch.arange(half) / half))[None, :]
    return torch.stack([angles.cos(), angles.sin()]).float()


def turned(x, rope_table):
    cosine, sine = (one[:, None, :].to(x.dtype) for one in rope_table)
    left, right = x.chunk(2, -1)
    return torch.cat([left * cosine - right * sine, right * cosine + left * sine], -1)


def grouped_reference(x, weight, offsets):
    parts = [
        x[low:high] @ weight[number]
        for number, (low, high) in enumerate(itertools.pairwise(offsets))
    ]
    return torch.cat(parts)


LABELS = torch.randint(0, 37, (9,), generator=GENERATOR)
LABELS[3] = -100
IDS = torch.randint(0, 7, (20,), generator=GENERATOR)
EXPERTS = torch.stack([torch.randperm(5, generator=GENERATOR)[:2] for _ in range(8)])
ORDER, PLACE, STARTS = of("moe").sort_by_expert(EXPERTS.to(torch.int32), 5)
assert (EXPERTS.flatten()[ORDER.long()].diff() >= 0).all(), "sorted by expert"
assert torch.equal(PLACE.flatten()[ORDER.long()], torch.arange(16, dtype=torch.int32)), "inverse"
assert STARTS.diff().tolist() == EXPERTS.flatten().bincount(minlength=5).tolist(), "offsets"
OFFSETS = [0, 5, 5, 19, 30]

# name: (our function, the formula, tensors to differentiate by, tolerance)
FUNCTIONS = {
    "rmsnorm": (
        lambda x, w: of("rmsnorm").rmsnorm(x, w),
        lambda x, w: of("rmsnorm").formula(x, w),
        [normal(3, 5, 40), normal(40)],
        1e-5,
    ),
    "add_rmsnorm": (
        lambda x, w, r: sum(of("rmsnorm").rmsnorm(x, w, r)),
        lambda x, w, r: sum(of("rmsnorm").formula(x, w, r)),
        [normal(7, 33), normal(33), normal(7, 33)],
        1e-5,
    ),
    "layernorm": (
        lambda x, w, b: of("layernorm").layernorm(x, w, b),
        lambda x, w, b: torch.nn.functional.layer_norm(x, x.shape[-1:], w, b),
        [normal(6, 40), normal(40), normal(40)],
        2e-5,
    ),
    "linear": (
        lambda x, w: of("gemm").linear(x, w),
        lambda x, w: x @ w.t(),
        [normal(2, 9, 20), normal(32, 20)],
        1e-5,
    ),
    "feed_in": (
        lambda x, g, u: of("gate_up").feed_in(x, g, u),
        lambda x, g, u: torch.nn.functional.silu(x @ g.t()) * (x @ u.t()),
        [normal(9, 20), normal(32, 20, scale=0.2), normal(32, 20, scale=0.2)],
        1e-5,
    ),
    "grouped_gemm": (
        lambda x, w: of("grouped_gemm").grouped_gemm(
            x, w, torch.tensor(OFFSETS, dtype=torch.int32)
        ),
        lambda x, w: grouped_reference(x, w, OFFSETS),
        [normal(30, 40, kind=torch.float16), normal(4, 40, 24, kind=torch.float16)],
        2e-3,
    ),
    "attention": (
        lambda q, k, v: of("attention").attention(q, k, v),
        lambda q, k, v: of("attention").formula(True)(q, k, v),
        [
            normal(1, 4, 50, 64, kind=torch.float16),
            *(normal(1, 2, 50, 64, kind=torch.float16) for _ in range(2)),
        ],
        2e-3,
    ),
    "swiglu": (
        lambda g, u: of("swiglu").swiglu(g, u),
        lambda g, u: torch.nn.functional.silu(g) * u,
        [normal(4, 50), normal(4, 50)],
        1e-5,
    ),
    "softmax": (
        lambda x: of("softmax").softmax(x),
        lambda x: x.softmax(-1),
        [normal(4, 50)],
        1e-5,
    ),
    "rope": (
        lambda q, k: torch.cat(of("rope").rope(q, k, table(6, 8)), 1),
        lambda q, k: torch.cat([turned(one, table(6, 8).double()) for one in (q, k)], 1),
        [normal(6, 3, 16), normal(6, 2, 16)],
        1e-5,
    ),
    "cross_entropy": (
        # A copy: the gradient is written in place of the logits.
        lambda x: of("cross_entropy").cross_entropy(x * 1.0, LABELS),
        lambda x: torch.nn.functional.cross_entropy(x, LABELS),
        [normal(9, 37)],
        1e-5,
    ),
    "linear_cross_entropy": (
        lambda x, w: of("linear_cross_entropy").linear_cross_entropy(x, w, LABELS),
        lambda x, w: torch.nn.functional.cross_entropy(x @ w.t(), LABELS),
        [normal(9, 12), normal(37, 12)],
        2e-5,
    ),
    "routed": (
        lambda x: of("moe").routed(x, 2),
        lambda x: x.topk(2, dim=-1).values.softmax(-1),
        [normal(9, 6, scale=3.0)],
        1e-5,
    ),
    "dispatch": (
        lambda x: of("moe").dispatch(x, ORDER, PLACE),
        lambda x: x[ORDER.long() // 2],
        [normal(8, 12)],
        1e-5,
    ),
    "combine": (
        lambda y, w: of("moe").combine(y, PLACE, w),
        lambda y, w: (y[PLACE.long()] * w.unsqueeze(-1)).sum(1),
        [normal(16, 12), normal(8, 2)],
        1e-5,
    ),
    "embedding": (
        lambda w: of("embedding").embedding(w, IDS),
        lambda w: torch.nn.functional.embedding(IDS, w),
        [normal(7, 12)],
        1e-5,
    ),
}


OF = {"linear": "gemm", "feed_in": "gate_up"}
"""Operations that functions of other names are made of."""


def relative(found, wanted):
    difference = found.double() - wanted
    return float(difference.norm() / wanted.norm().clamp_min(1e-30))


def gaps(tensor):
    """The same values, no two of them beside each other."""
    return tensor.repeat_interleave(2, -1)[..., ::2] if tensor.dim() else tensor


def used(name):
    """As models use it: operands that are frozen, gradients that lie anyhow, under autocast.

    Every bit is as it was: the kernels add up in an order that is fixed.
    """
    function, _, tensors, _ = FUNCTIONS[name]
    leaves = [one.clone().requires_grad_() for one in tensors]
    out = first(function(*leaves))
    seed = normal(*out.shape).to(out.dtype)
    every = torch.autograd.grad(out, leaves, seed)
    for number, wanted in enumerate(every):
        mine = [one.clone().requires_grad_(at == number) for at, one in enumerate(tensors)]
        result = first(function(*mine))
        (found,) = torch.autograd.grad(result, mine[number], gaps(seed))
        assert torch.equal(found, wanted), (name, "alone", number)
    frozen = first(function(*(one.clone() for one in tensors)))
    assert not frozen.requires_grad
    assert torch.equal(frozen, out.detach()), (name, "without gradients")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mine = [one.clone().requires_grad_() for one in tensors]
        found = torch.autograd.grad(first(function(*mine)), mine, seed)
    assert all(map(torch.equal, found, every)), (name, "under autocast")
    sums = []
    for one in (torch.ones_like(out), out.new_ones(()).expand(out.shape)):
        mine = [leaf.clone().requires_grad_() for leaf in tensors]
        sums.append(torch.autograd.grad(first(function(*mine)), mine, one))
    assert all(map(torch.equal, *sums)), (name, "expanded")


def products():
    """Frozen weights cost no products: the backward pass makes those that are asked for."""
    made = []
    for module in (of("gemm"), of("grouped_gemm")):
        launch = module.launch

        def watched(*arguments, launch=launch, **options):
            made.append(1)
            launch(*arguments, **options)

        module.launch = watched
    for name, wanted in (("linear", [1, 1]), ("feed_in", [2, 1, 1]), ("grouped_gemm", [1, 1])):
        function, _, tensors, _ = FUNCTIONS[name]
        for number, products in enumerate(wanted):
            mine = [one.clone().requires_grad_(at == number) for at, one in enumerate(tensors)]
            out = function(*mine)
            made.clear()
            out.sum().backward()
            assert len(made) == products, (name, number, len(made))


def check(name):
    function, formula, tensors, tolerance = FUNCTIONS[name]
    ours = [one.clone().requires_grad_() for one in tensors]
    exact = [one.double().requires_grad_() for one in tensors]
    out, wanted = first(function(*ours)), first(formula(*exact))
    assert relative(out.detach(), wanted.detach()) <= tolerance, "values"
    seed = normal(*out.shape).to(out.dtype)
    found = torch.autograd.grad(out, ours, seed)
    right = torch.autograd.grad(wanted, exact, seed.double())
    for number, (mine, theirs) in enumerate(zip(found, right, strict=True)):
        error = relative(mine, theirs)
        assert error <= tolerance, (name, "gradient", number, error)
    # The slope of the function itself along a random direction: no formula of ours in it.
    step = 1e-2 if tensors[0].dtype == torch.float32 else 5e-2
    ways = [normal(*one.shape).to(one.dtype) for one in tensors]
    with torch.no_grad():
        ahead = first(function(*(t + step * w for t, w in zip(tensors, ways, strict=True))))
        behind = first(function(*(t - step * w for t, w in zip(tensors, ways, strict=True))))
    slope = float(((ahead.double() - behind.double()) * seed.double()).sum() / (2 * step))
    wanted_slope = sum(
        float((g.double() * w.double()).sum()) for g, w in zip(found, ways, strict=True)
    )
    size = sum(
        float(g.double().norm() * w.double().norm()) for g, w in zip(found, ways, strict=True)
    )
    assert abs(slope - wanted_slope) <= 0.02 * size, (name, slope, wanted_slope, size)


if __name__ == "__main__":
    for chosen in sys.argv[1:] or FUNCTIONS:
        check(chosen)
        used(chosen)
        with contextlib.ExitStack() as forced:
            tiles = BY_DESCRIPTORS.get(OF.get(chosen, chosen), {})
            for key, config in tiles.items():
                forced.enter_context(tuning.forcing(key, config))
            if tiles:
                assert describable(*FUNCTIONS[chosen][2]), chosen
                check(chosen)
    if not sys.argv[1:]:
        products()
    sys.stdout.write("all examples passed\n")
