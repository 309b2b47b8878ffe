"""Cross-compiling kernels for chips that are not there, and what the compiler made of them.

`describe` turns recorded launches into plain data: which kernel, with which argument types,
constants and options. `build` compiles one such description for an architecture with the
installed Triton (3.0 or later; torch is not needed for that) and reads registers, shared memory,
spills and the instructions that matter out of the result. No accelerator takes part.

    python -m bench.kernels.codegen < descriptions > results

does that for JSON lines ``[arch, description]``, so that another environment with another Triton
can be asked: a line of the result is what was built, or ``{"error": ...}``.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from .costs import SPECS
from .tuning import targets

UNSPILLED = ("gemm", "gate_up", "grouped_gemm", "attention")
"""Operations of matrix products whose forward kernels keep everything in registers on sm_90."""


@dataclass(frozen=True)
class Kernel:
    """What determines a compilation. ``arguments`` are (name, type, value) in order: the type of
    a constant is ``constexpr``; ``aligned`` names those that are divisible by 16."""

    module: str
    function: str
    arguments: tuple[tuple[str, str, Any], ...]
    aligned: tuple[str, ...]
    options: tuple[tuple[str, Any], ...]

    @property
    def digest(self) -> str:
        """Twelve hex digits over this description and the sources of all that the kernel calls."""
        text = json.dumps(asdict(self), sort_keys=True).encode()
        return hashlib.sha256(text + _sources(self.module)).hexdigest()[:12]


@dataclass(frozen=True)
class Built:
    """Resources of a compiled kernel; None where the tools do not say.

    ``registers`` of a thread, ``spills`` in bytes of a thread's stack (or in registers, where the
    compiler counts those), ``shared`` bytes of a program. ``matrix``: its matrix instructions
    (``wgmma``, ``tcgen05``, ``mma``, ``mfma``; empty if none). ``tma``: moves tiles by tensor
    descriptors.
    """

    registers: int | None
    spills: int | None
    shared: int
    matrix: str
    tma: bool


@functools.cache
def _sources(module: str) -> bytes:
    """A module of kernels and those from which it takes kernels, one after the other."""
    from triton.runtime.jit import JITFunction

    waiting, found = [module], {}
    while waiting:
        loaded = importlib.import_module(waiting.pop())
        if loaded.__name__ in found:
            continue
        found[loaded.__name__] = Path(str(loaded.__file__)).read_bytes()
        values = list(vars(loaded).values())
        waiting += [one.fn.__module__ for one in values if isinstance(one, JITFunction)]
        inside = f"{__package__}."
        waiting += [
            one.__name__
            for one in values
            if isinstance(one, ModuleType) and one.__name__.startswith(inside)
        ]
    return b"".join(found[name] for name in sorted(found))


def unspilled(arch: str, op: str, variant: str) -> bool:
    """Whether nothing of a variant of an operation may spill: products forward, and what memory
    bounds both ways, on sm_90."""
    if SPECS[op].kind == "memory":
        return arch == "sm_90"
    return arch == "sm_90" and op in UNSPILLED and "backward" not in variant


def kernels_of(op: Any, case: Any) -> list[Kernel]:
    """What the Triton implementation of an operation (`op.Op`) launches for a case, in order.

    Needs torch, for the shapes, but no device: operands are on torch's ``meta`` device.
    """
    import torch

    from .launch import recording
    from .op import Fill

    inputs = op.inputs(case, Fill(torch.device("meta"), 0))
    outputs = op.outputs(case, inputs)
    # What must run once before the work itself (a forward pass) is recorded, and left out.
    with recording():
        work = op.implementations["triton"](case, inputs, outputs)
    with recording() as launches:
        work()
    return [describe(launch) for launch in launches]


def describe(launch: Any) -> Kernel:
    """The compilation that a recorded launch would cause, specialised as Triton's JIT does."""
    kernel, named = launch.kernel, dict(launch.options)
    arguments, aligned = [], []
    given = iter(launch.arguments)
    for parameter in kernel.params:
        name = parameter.name
        value = named.pop(name) if name in named else next(given)
        if parameter.is_constexpr or value is None:
            arguments.append((name, "constexpr", value))
            continue
        if hasattr(value, "block_shape"):
            arguments.append((name, _descriptor(value), None))
        elif hasattr(value, "data_ptr"):
            arguments.append((name, _pointer(value), None))
            if value.storage_offset() * value.element_size() % 16 == 0:
                aligned.append(name)
        elif isinstance(value, float):
            arguments.append((name, "fp32", None))
        elif value == 1 and not parameter.do_not_specialize:
            arguments.append((name, "constexpr", 1))
        else:
            arguments.append((name, "i32" if -(2**31) <= value < 2**31 else "i64", None))
            if value % 16 == 0 and not parameter.do_not_specialize:
                aligned.append(name)
    function = kernel.fn
    options = tuple(sorted(named.items()))
    return Kernel(function.__module__, function.__name__, tuple(arguments), tuple(aligned), options)


_TYPES = {
    "float64": "fp64",
    "float32": "fp32",
    "float16": "fp16",
    "bfloat16": "bf16",
    "float8_e4m3fn": "fp8e4nv",
    "float8_e5m2": "fp8e5",
    "float8_e4m3fnuz": "fp8e4b8",
    "float8_e5m2fnuz": "fp8e5b16",
    "int8": "i8",
    "uint8": "u8",
    "int32": "i32",
    "int64": "i64",
    "bool": "i1",
}


def _pointer(tensor: Any) -> str:
    return "*" + _TYPES[str(tensor.dtype).removeprefix("torch.")]


def _descriptor(value: Any) -> str:
    """Of a tensor descriptor that the host makes: element type, block and, in Gluon, layout."""
    block = ",".join(map(str, value.block_shape))
    layout = f",{value.layout!r}" if hasattr(value, "layout") else ""
    return f"tensordesc<{_pointer(value.base)[1:]}[{block}]{layout}>"


def build(kernel: Kernel, arch: str) -> Built:
    """Compile for an architecture of `tuning.targets`.

    Raises what the compiler raises: a configuration that does not compile is a defect.
    """
    made = _compile(kernel, arch)
    shared = int(made.metadata.shared)
    if "cubin" in made.asm:
        registers, spills = _usage(made.asm["cubin"])
        text = made.asm["ptx"]
        matrix = next((name for name in ("wgmma", "tcgen05", "mma") if name + "." in text), "")
        return Built(registers, spills, shared, matrix, "cp.async.bulk.tensor" in text)
    text = made.asm["amdgcn"]
    registers = _number(r"\.vgpr_count:\s*(\d+)", text)
    spills = _number(r"\.vgpr_spill_count:\s*(\d+)", text)
    return Built(registers, spills, shared, "mfma" if "v_mfma" in text else "", False)


def _compile(kernel: Kernel, arch: str) -> Any:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    function = getattr(importlib.import_module(kernel.module), kernel.function)
    if getattr(function, "is_gluon", lambda: False)():
        from triton.experimental.gluon._runtime import GluonASTSource as ASTSource
    target, options = GPUTarget(*targets()[arch].target), dict(kernel.options)
    constants = {name: value for name, kind, value in kernel.arguments if kind == "constexpr"}
    try:
        from triton.compiler import AttrsDescriptor
    except ImportError:
        places = {name: place for place, (name, _, _) in enumerate(kernel.arguments)}
        source = ASTSource(
            function,
            {name: kind for name, kind, _ in kernel.arguments},
            constexprs=constants,
            attrs={(places[name],): [["tt.divisibility", 16]] for name in kernel.aligned},
        )
        return triton.compile(source, target=target, options=options)
    # Before 3.2 signatures know no constants, and everything goes by position.
    places = {name: place for place, (name, _, _) in enumerate(kernel.arguments)}
    ones = tuple(
        places[name]
        for name, kind, value in kernel.arguments
        if kind == "constexpr" and not function.params[places[name]].is_constexpr and value == 1
    )
    source = ASTSource(
        function,
        {
            places[name]: "i32" if places[name] in ones else kind
            for name, kind, _ in kernel.arguments
            if kind != "constexpr" or places[name] in ones
        },
        constants={places[name]: value for name, value in constants.items()},
        attrs=AttrsDescriptor(tuple(places[name] for name in kernel.aligned), ones),
    )
    return triton.compile(source, target=target, options=options)


def _usage(binary: bytes) -> tuple[int | None, int | None]:
    """Registers and stack bytes of a cubin; None where the tool is missing."""
    import triton

    tool = next(Path(triton.__file__).parent.glob("backends/*/bin/cuobjdump"), None)
    if tool is None:
        return None, None
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        command = [str(tool), "-res-usage", file.name]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return _number(r"REG:(\d+)", said), _number(r"STACK:(\d+)", said)


def _number(pattern: str, text: str) -> int | None:
    found = [int(number) for number in re.findall(pattern, text)]
    return max(found) if found else None


def _serve() -> None:
    for line in sys.stdin:
        arch, said = json.loads(line)
        said["arguments"] = tuple(tuple(one) for one in said["arguments"])
        said["options"] = tuple(tuple(one) for one in said["options"])
        kernel = Kernel(**{**said, "aligned": tuple(said["aligned"])})
        try:
            found = asdict(build(kernel, arch))
        except Exception as error:  # compilers raise anything; the caller judges
            words = str(error).strip().splitlines() or [""]
            found = {"error": f"{type(error).__name__}: {words[-1]}"[:300]}
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
