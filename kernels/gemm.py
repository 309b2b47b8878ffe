"""Matrix product C = act(scale · A · B + bias).

C[m, n] = Σ_k A[m, k] · B[k, n], accumulated in fp32 (int8: in int32). 2·M·N·K FLOPs; A and B are
read once and C is written once. Layouts by stride: any of A and B may lie transposed (``nn``,
``nt``, ``tn``: forward, gradient of the input, gradient of the weight). Tiles are numbered so
that rows of them share columns of B in the cache (grouped order; Tillet et al., Triton, 2019);
programs are persistent and walk the tiles (Triton tutorial 9). Where the table says ``tma``,
tiles move by tensor descriptors; the pointer kernel takes whatever those cannot.
"""

from __future__ import annotations

from typing import Any

import torch

from .arguments import as_rows, check_apart, check_choice, check_lines, check_tensor, check_written
from .launch import cdiv, describable, launch, processors, with_scratch
from .op import Case, Fill, Op, Tensors, Work
from .reference import relative_error
from .tuning import config, meta

ACTIVATIONS = ("none", "relu", "gelu", "silu")
NAMES = {
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
    torch.float32: "fp32",
    torch.float8_e4m3fn: "fp8_e4m3",
    torch.float8_e4m3fnuz: "fp8_e4m3",
    torch.float8_e5m2: "fp8_e5m2",
    torch.float8_e5m2fnuz: "fp8_e5m2",
    torch.int8: "int8",
}
FLOATS = (torch.bfloat16, torch.float16, torch.float32)
"""What differentiable products take."""
RESULTS = {"fp8_e4m3": torch.bfloat16, "fp8_e5m2": torch.bfloat16, "int8": torch.int32}
"""What 8-bit products are written as; all others in their own format."""


def gemm(
    a: torch.Tensor,
    b: torch.Tensor,
    out: torch.Tensor,
    *,
    bias: torch.Tensor | None = None,
    scale: torch.Tensor | None = None,
    activation: str = "none",
    tf32: bool = False,
    arch: str | None = None,
) -> torch.Tensor:
    """out = act(scale · A · B + bias) by a Triton kernel.

    Args:
        a: [M, K]; b: [K, N]; of one dtype (bf16, fp16, fp32, fp8, int8), one stride of each 1.
        out: [M, N], inner stride 1: bf16 for fp8, int32 for int8, else of the operands' dtype.
        bias: [N], of the dtype of ``out``; not for int8.
        scale: fp32, one element: the product of both operands' scales; not for int8.
        activation: ``none``, ``relu``, ``gelu`` (tanh form) or ``silu``.
        tf32: Round fp32 operands to tf32 first, for the matrix units.
        arch: Triton's architecture, for the table of configurations.

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    name = check_operands(a, b, out, bias, scale, activation)
    if tf32 and name == "fp32":
        name = "tf32"
    (m, k), n = a.shape, b.shape[1]
    if m == 0 or n == 0:
        return out
    facts = {
        "size": m * n,
        "rows": m,
        "turned": int(_turned(b)),
        "turned_a": int(_turned(a)),
        "aligned": int(k > 0 and describable(a, b, out)),
    }
    chosen = config(arch, "gemm", name, **facts)
    tiles = cdiv(m, chosen["block_m"]) * cdiv(n, chosen["block_n"])
    grid = (min(tiles, chosen.get("waves", tiles) * processors(a.device)),)
    constants: dict[str, Any] = {
        "BLOCK_M": chosen["block_m"],
        "BLOCK_N": chosen["block_n"],
        "BLOCK_K": chosen["block_k"],
        "GROUP": chosen["group_m"],
        "PRECISION": "tf32" if tf32 else "ieee",
        "INTEGER": name == "int8",
        "BIAS": bias is not None,
        "SCALED": scale is not None,
        "ACTIVATION": ACTIVATIONS.index(activation),
        **meta(chosen),
    }
    pointers = (a, b, out, out if bias is None else bias, out if scale is None else scale, m, n, k)
    if chosen.get("tma") and facts["aligned"]:
        from .jit.gemm_tma import gemm_tma_kernel

        with_scratch(a.device)
        launch(
            gemm_tma_kernel,
            grid,
            *pointers,
            a.stride(0) if a.stride(1) == 1 else a.stride(1),
            b.stride(0) if b.stride(1) == 1 else b.stride(1),
            out.stride(0),
            A_TURNED=a.stride(1) != 1,
            B_TURNED=b.stride(1) != 1,
            SUBTILE=bool(chosen.get("subtile")),
            FLATTEN=bool(chosen.get("flatten")),
            SPECIALIZE=bool(chosen.get("specialize")),
            **constants,
        )
        return out
    from .jit.gemm import gemm_kernel

    launch(
        gemm_kernel,
        grid,
        *pointers,
        a.stride(0),
        a.stride(1),
        b.stride(0),
        b.stride(1),
        out.stride(0),
        EVEN_MN=m % chosen["block_m"] == 0 and n % chosen["block_n"] == 0,
        EVEN_K=k % chosen["block_k"] == 0,
        **constants,
    )
    return out


def check_operands(
    a: torch.Tensor,
    b: torch.Tensor,
    out: torch.Tensor,
    bias: torch.Tensor | None = None,
    scale: torch.Tensor | None = None,
    activation: str = "none",
) -> str:
    """The operands' dtype by name; raise ValueError unless everything fits."""
    check_choice("activation", activation, ACTIVATIONS)
    check_tensor("a", a, tuple(NAMES), (None, None), inner=False)
    name, (m, k) = NAMES[a.dtype], a.shape
    check_tensor("b", b, a.dtype, (k, None), a.device, inner=False)
    check_lines(a=a, b=b)
    result = RESULTS.get(name, a.dtype)
    check_tensor("out", out, result, (m, b.shape[1]), a.device)
    check_written(out=out)
    if name == "int8" and (bias is not None or scale is not None or activation != "none"):
        raise ValueError("bias, scale, activation: int8 takes none of them, its sums are exact")
    if bias is not None:
        check_tensor("bias", bias, result, (b.shape[1],), a.device)
    check_apart("out", out, a=a, b=b, bias=bias)
    if scale is not None:
        check_tensor("scale", scale, torch.float32, (1,), a.device)
    return name


def _turned(tensor: torch.Tensor) -> bool:
    """Whether a matrix lies transposed: its columns are contiguous, its rows are not."""
    return tensor.stride(0) == 1 and tensor.stride(1) != 1


class Linear(torch.autograd.Function):
    """Differentiable x · Wᵀ of [..., K] and [N, K]: all three products by `gemm`."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, arch: str | None) -> torch.Tensor:
        """[..., N]."""
        flat = as_rows("x", x)
        check_tensor("x", flat, FLOATS, (None, None), x.device, inner=False)
        check_tensor("weight", weight, x.dtype, (None, flat.shape[1]), x.device, inner=False)
        check_lines(x=flat, weight=weight)
        ctx.save_for_backward(flat, weight)
        ctx.arch = arch
        out = gemm(flat, weight.t(), flat.new_empty(flat.shape[0], weight.shape[0]), arch=arch)
        return out.view(*x.shape[:-1], weight.shape[0])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        """dX = dY · W; dW = dYᵀ · X; those that are asked for."""
        x, weight = ctx.saved_tensors
        dy = grads[0].reshape(x.shape[0], weight.shape[0]).contiguous()
        dx = dweight = None
        # Rows without gaps, however x and the weight lie.
        if ctx.needs_input_grad[0]:
            dx = gemm(dy, weight, x.new_empty(x.shape), arch=ctx.arch)
            dx = dx.view(*grads[0].shape[:-1], x.shape[1])
        if ctx.needs_input_grad[1]:
            dweight = gemm(dy.t(), x, weight.new_empty(weight.shape), arch=ctx.arch)
        return dx, dweight, None


def linear(x: torch.Tensor, weight: torch.Tensor, *, arch: str | None = None) -> torch.Tensor:
    """Differentiable x · Wᵀ of x [..., K] and weight [N, K], as `torch.nn.functional.linear`.

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    return Linear.apply(x, weight, arch)  # type: ignore[no-untyped-call,no-any-return]


def activate(x: torch.Tensor, activation: str) -> torch.Tensor:
    """The activation in plain torch."""
    if activation == "gelu":
        return torch.nn.functional.gelu(x, approximate="tanh")
    if activation == "silu":
        return torch.nn.functional.silu(x)
    return torch.relu(x) if activation == "relu" else x


def formula(
    a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None, activation: str
) -> torch.Tensor:
    """The mathematics in plain torch, for dtypes that torch multiplies."""
    return activate(a @ b if bias is None else torch.addmm(bias, a, b), activation)


def activation_of(case: Case) -> str:
    """The activation that a variant ends in."""
    last = case.variant.rpartition("_")[2]
    return last if last in ACTIVATIONS else "none"


def _inputs(case: Case, fill: Fill) -> Tensors:
    m, n, k = case.shape
    turn_a, turn_b = case.variant == "tn", case.variant == "nt"
    a = fill.operand(*((k, m) if turn_a else (m, k)), kind=case.kind)
    b = fill.operand(*((n, k) if turn_b else (k, n)), kind=case.kind)
    made = {"a": a.t() if turn_a else a, "b": b.t() if turn_b else b}
    if case.variant.startswith("bias"):
        made["bias"] = fill.normal(n, kind=RESULTS.get(case.dtype, case.kind))
    if case.dtype.startswith("fp8"):
        made["scale"] = torch.full((1,), 0.25, dtype=torch.float32, device=fill.device)
    return made


def _outputs(case: Case, inputs: Tensors) -> Tensors:
    m, n, _ = case.shape
    return {"out": inputs["a"].new_empty(m, n, dtype=RESULTS.get(case.dtype, case.kind))}


def _torch(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
    a, b, bias, out = inputs["a"], inputs["b"], inputs.get("bias"), outputs["out"]
    activation = activation_of(case)
    if case.dtype == "int8":
        return lambda: {"out": torch._int_mm(a, b)}
    if case.dtype.startswith("fp8"):
        one = torch.ones_like(inputs["scale"])

        def scaled() -> Tensors:
            found = torch._scaled_mm(a, b, inputs["scale"], one, bias, out_dtype=torch.bfloat16)
            return {"out": activate(found, activation)}

        return scaled
    if bias is None and activation == "none":
        return lambda: {"out": torch.mm(a, b, out=out)}
    return lambda: {"out": formula(a, b, bias, activation)}


def _compiled(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
    run = torch.compile(formula, dynamic=False)
    a, b, bias = inputs["a"], inputs["b"], inputs.get("bias")
    return lambda: {"out": run(a, b, bias, activation_of(case))}


def _triton(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
    def work() -> Tensors:
        gemm(
            inputs["a"],
            inputs["b"],
            outputs["out"],
            bias=inputs.get("bias"),
            scale=inputs.get("scale"),
            activation=activation_of(case),
            tf32=case.dtype == "tf32",
            arch=case.arch,
        )
        return outputs

    return work


def _judge(case: Case, before: Tensors, results: Tensors, fill: Fill) -> dict[str, float]:
    """A row of every 64 of the product: all of it would take longer than the measurement."""
    a, b, bias = before["a"], before["b"], before.get("bias")
    rows = fill.pick(a.shape[0], max(64, cdiv(a.shape[0], 64)))
    product = a[rows].to(torch.float64) @ b.to(torch.float64)
    if "scale" in before:
        product *= before["scale"].double()
    if bias is not None:
        product += bias.double()
    wanted = activate(product, activation_of(case))
    return {"out": relative_error(results["out"][rows], wanted)}


OP = Op(
    "gemm",
    _inputs,
    _outputs,
    {"torch": _torch, "triton": _triton, "compile": _compiled},
    judge=_judge,
)
