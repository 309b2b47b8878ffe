"""What the kernels are compared with: all that torch offers, and other libraries where installed.

A rival is made like an implementation of ``bench.kernels``: from a case, its inputs and outputs.
It may bring work of its own that is done outside the timed call.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from libraries import LIBRARIES
from promises import FAMILY, untried
from records import takes_part
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench.kernels import adamw, decode_attention, gemm, ops, tuning
from bench.kernels.op import Case, Implementation, Tensors, Work, gradients
from bench.kernels.space import Constants

SCORES = 2 << 30
"""Bytes of attention scores up to which their plain formula is worth compiling."""


class AbsentError(Exception):
    """There is no such rival here; the text says why."""


@dataclass(frozen=True)
class Prepared:
    """A call that is timed, and what is done around it that is not.

    ``restore`` is done before every call; ``finish`` turns what a call returned into the
    operation's results, where they are checked.
    """

    run: Work
    finish: Callable[[Tensors], Tensors] = lambda found: found
    restore: Callable[[], None] = lambda: None


Make = Callable[[Case, Tensors, Tensors], Prepared]


@dataclass(frozen=True)
class Contender:
    """Who takes part in a task, under which name, and of which family (`records.Cell`)."""

    name: str
    family: str
    make: Make


def contenders(
    case: Case, vendor: Mapping[str, Implementation], wanted: Collection[str] = (), tuned=False
) -> list[Contender]:
    """The kernels under test (also as no device has tried them), then all rivals that could take
    part in a case.

    Args:
        case: Operation, shape, variant, dtype.
        vendor: The backend's own implementations, by operation.
        wanted: Which rivals take part (`records.takes_part`).
        tuned: Whether torch.compile also searches for the best configuration, which takes long.
    """
    op = ops.get(case.op)

    def given(impl: str) -> Make:
        return lambda *args: Prepared(ops.implementation(op, impl, case, vendor)(*args))

    rivals = [Contender("torch", "torch", given("torch"))]
    if case.op == "attention":
        for backend in ("FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION"):
            name = backend.partition("_")[0].lower()
            rivals.append(Contender(name, "torch", functools.partial(_attention, backend)))
    if case.op == "decode_attention":
        for backend in ("FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION"):
            name = backend.partition("_")[0].lower()
            rivals.append(Contender(name, "torch", functools.partial(_decoded, backend)))
        rivals.append(Contender("flex", "torch", _flexible))
    if case.op == "gemm" and case.dtype.startswith("fp8"):
        # What `torch` does accumulates exactly.
        rivals.append(Contender("scaled_mm fast", "torch", _scaled))
    if case.op == "adamw":
        rivals.append(Contender("AdamW fused", "torch", _optimizer))
    if case.op == "grouped_gemm":
        rivals.append(Contender("grouped_mm", "torch", functools.partial(_grouped, False)))
        if case.variant != "backward_weight":
            turned = functools.partial(_grouped, True)
            rivals.append(Contender("grouped_mm turned", "torch", turned))
    rivals.append(Contender("compile", "torch", _compiled))
    if tuned:
        rivals.append(Contender("autotune", "torch", _autotuned))
    if case.op in vendor:
        rivals.append(Contender("vendor", "vendor", given("vendor")))
    for module, makers in LIBRARIES.items():
        if case.op in makers:
            make = functools.partial(_library, module, makers[case.op])
            rivals.append(Contender(module.partition("_kernel")[0], "library", make))
    chosen = [one for one in rivals if takes_part(one.name, wanted)]
    ours = [Contender("triton", "ours", given("triton"))]
    for name, forced in untried(case.arch, case.op, case.variant).items():
        if takes_part(name, wanted):
            ours.append(Contender(name, FAMILY, functools.partial(_forced, forced)))
    return [*ours, *chosen]


def _forced(
    forced: tuple[str, Constants], case: Case, inputs: Tensors, outputs: Tensors
) -> Prepared:
    """The kernel under test in another configuration than the tables'."""
    work = ops.implementation(ops.get(case.op), "triton", case)(case, inputs, outputs)

    def run() -> Tensors:
        with tuning.forcing(*forced):
            return work()

    return Prepared(run)


def _compiled(case: Case, inputs: Tensors, outputs: Tensors) -> Prepared:
    if case.op == "attention":
        batch, heads, _, seq, _ = case.shape
        need = batch * heads * seq * seq * 4
        if need > SCORES:
            raise AbsentError(f"its scores alone would take {need / 2**30:.0f} GiB")
    return Prepared(ops.get(case.op).implementations["compile"](case, inputs, outputs))


def _autotuned(case: Case, inputs: Tensors, outputs: Tensors) -> Prepared:
    with _mode("max-autotune-no-cudagraphs"):
        return _compiled(case, inputs, outputs)


@contextmanager
def _mode(mode: str) -> Iterator[None]:
    """Let every torch.compile inside take this mode: implementations do not ask for one."""
    plain: Any = torch.compile
    torch.compile = functools.partial(plain, mode=mode)
    try:
        yield
    finally:
        torch.compile = plain


def _attention(backend: str, case: Case, inputs: Tensors, outputs: Tensors) -> Prepared:
    """Torch's attention by one of its libraries, and no other.

    One that knows no grouped queries gets its keys and values repeated before the timed call.
    """
    chosen, causal = getattr(SDPBackend, backend, None), "causal" in case.variant
    if chosen is None:
        raise AbsentError(f"this torch has no SDPBackend.{backend}")

    def run(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        with sdpa_kernel(chosen):
            return torch.nn.functional.scaled_dot_product_attention(
                q, k, v, is_causal=causal, enable_gqa=q.shape[1] != k.shape[1]
            )

    def prepared(given: Tensors) -> Work:
        if "backward" in case.variant:
            return gradients(run, given, ["q", "k", "v"], ["do"], ["dq", "dk", "dv"])
        return lambda: {"out": run(**given)}

    kv_heads, group = case.shape[2], case.shape[1] // case.shape[2]
    work = prepared(inputs)
    try:
        work()
    except RuntimeError:
        if group == 1:
            raise
    else:
        return Prepared(work)
    del work
    repeated = {name: inputs[name].repeat_interleave(group, 1) for name in ("k", "v")}

    def summed(found: Tensors) -> Tensors:
        return {
            name: one
            if name not in ("dk", "dv")
            else one.float().unflatten(1, (kv_heads, group)).sum(2).to(one.dtype)
            for name, one in found.items()
        }

    return Prepared(prepared({**inputs, **repeated}), finish=summed)


def _in_one_piece(case: Case) -> None:
    """Raise where the cache is in pages."""
    if case.shape[5] < case.shape[4]:
        raise AbsentError("it follows no table of pages; what torch does collects them first")


def _decoded(backend: str, case: Case, inputs: Tensors, outputs: Tensors) -> Prepared:
    """Torch's attention to a cache in one piece by one of its libraries, and no other."""
    _in_one_piece(case)
    chosen = getattr(SDPBackend, backend, None)
    if chosen is None:
        raise AbsentError(f"this torch has no SDPBackend.{backend}")

    def run() -> Tensors:
        with sdpa_kernel(chosen):
            return {"out": decode_attention.library(**inputs, longest=case.shape[4])}

    return Prepared(run)


def _flexible(case: Case, inputs: Tensors, outputs: Tensors) -> Prepared:
    """Torch's FlexAttention, compiled: with few queries it splits the keys, too."""
    _in_one_piece(case)
    try:
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention
    except ImportError:
        raise AbsentError("this torch has no FlexAttention") from None
    batch, queries, _, _, context, _, _ = case.shape
    q, k, v = inputs["q"], *(inputs[name].transpose(1, 2) for name in ("k", "v"))
    lengths = inputs.get("lengths", torch.full((batch,), context, device=q.device))

    def seen(b: Any, h: Any, query: Any, key: Any) -> Any:
        return key <= lengths[b] - queries + query

    mask = create_block_mask(seen, batch, None, queries, context, device=q.device)
    attend = torch.compile(flex_attention, dynamic=False)
    return Prepared(lambda: {"out": attend(q, k, v, block_mask=mask, enable_gqa=True)})


def _scaled(case: Case, inputs: Tensors, outputs: Tensors) -> Prepared:
    a, b, bias, scale = inputs["a"], inputs["b"], inputs.get("bias"), inputs["scale"]
    one, activation = torch.ones_like(scale), gemm.activation_of(case)

    def run() -> Tensors:
        found = torch._scaled_mm(
            a, b, scale, one, bias, out_dtype=torch.bfloat16, use_fast_accum=True
        )
        return {"out": gemm.activate(found, activation)}

    return Prepared(run)


def _optimizer(case: Case, inputs: Tensors, outputs: Tensors) -> Prepared:
    """The optimizer as a user calls it, on gradients that are wide already, without the copy."""
    weight = torch.nn.Parameter(outputs["weight"])
    weight.grad = inputs["gradient"].float()
    optimizer = torch.optim.AdamW(
        [weight],
        lr=adamw.RATE,
        betas=(adamw.BETA1, adamw.BETA2),
        eps=adamw.EPS,
        weight_decay=adamw.DECAY,
        fused=True,
    )
    step = torch.full((), adamw.STEP - 1.0, device=weight.device)
    moments = {"exp_avg": outputs["m"], "exp_avg_sq": outputs["v"]}
    optimizer.state[weight] = {"step": step, **moments}

    def run() -> Tensors:
        optimizer.step()
        return outputs

    def finish(found: Tensors) -> Tensors:
        found["copy"].copy_(found["weight"])
        return found

    return Prepared(run, finish, lambda: step.fill_(adamw.STEP - 1.0))


def _grouped(turned: bool, case: Case, inputs: Tensors, outputs: Tensors) -> Prepared:
    """The library's grouped product itself; ``turned``: on weights whose K is contiguous."""
    grouped = getattr(torch.nn.functional, "grouped_mm", None) or getattr(
        torch, "_grouped_mm", None
    )
    if grouped is None:
        raise AbsentError("this torch has no grouped_mm")
    ends = inputs["offsets"][1:]
    if case.variant == "backward_weight":
        x, dy = inputs["x"].t(), inputs["dy"]
        return Prepared(lambda: {"dweight": grouped(x, dy, offs=ends)})
    weight = inputs["weight"]
    if turned:
        weight = weight.transpose(1, 2).contiguous().transpose(1, 2)
    return Prepared(lambda: {"out": grouped(inputs["x"], weight, offs=ends)})


def _library(module: str, make: Any, case: Case, inputs: Tensors, outputs: Tensors) -> Prepared:
    """Another library's kernel, on copies: some of them write into what they are given."""
    try:
        importlib.import_module(module)
    except Exception as error:  # some refuse to be imported in words of their own
        raise AbsentError(f"{module} cannot be imported here: {error}") from None
    mine = {name: one.clone() for name, one in inputs.items()}
    kept = {name: one.detach() for name, one in mine.items()}
    work = make(case, mine)
    if work is None:
        raise AbsentError(f"{module} has no {case.variant} of {case.op}")

    def restore() -> None:
        for name, one in kept.items():
            one.data.copy_(inputs[name])  # .data: what autograd has saved stays valid

    return Prepared(work, restore=restore)
