"""What the device check does: which kernels are verified, which are timed, in which order.

A task is one operation at one shape, variant and dtype, to be verified or to be timed. Tasks of a
figure (`figures.BOUNDS`) carry its name.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator

import msgspec

from bench.configs import load_model
from bench.kernels.costs import SPECS, Sizes, cost
from bench.kernels.shapes import sizes

VERIFIED: dict[str, list[Sizes]] = {
    "stream": [(1 << 22,), (1_000_003,), (1,)],
    # Even tiles; ragged ones that tensor descriptors take; ragged ones that they do not; one row.
    # As large as the tables' entries for large matrices begin.
    "gemm": [
        (2048, 2048, 1024),
        (2056, 2064, 1040),
        (1000, 1104, 1040),
        (1001, 1101, 333),
        (1, 1024, 512),
    ],
    "gate_up": [(1024, 1024, 512), (1000, 1104, 1040), (1001, 1101, 129)],
    "grouped_gemm": [(8, 2048, 2048, 512), (5, 3333, 1048, 72), (5, 3333, 1029, 77)],
    "moe": [(1024, 64, 512, 8), (77, 9, 131, 3)],
    "attention": [
        (2, 8, 2, 1024, 64),
        (1, 8, 2, 1024, 128),
        (1, 4, 4, 512, 256),
        (1, 6, 2, 777, 128),
        (1, 3, 1, 131, 64),
        (1, 2, 1, 1, 128),
    ],
    # Pages smaller than a tile, of whole tiles, of one token, of any number; one piece a sequence;
    # more queries than one program takes; one token.
    "decode_attention": [
        (4, 1, 8, 2, 1024, 16, 64),
        (2, 1, 32, 8, 4096, 16, 128),
        (3, 4, 8, 2, 777, 64, 128),
        (2, 1, 16, 1, 1000, 128, 256),
        (5, 2, 6, 3, 131, 1, 64),
        (2, 8, 16, 2, 513, 7, 256),
        (1, 8, 32, 1, 3000, 3000, 128),
        (300, 1, 4, 4, 65, 65, 64),
        (1, 1, 1, 1, 1, 16, 128),
    ],
    "rmsnorm": [(1024, 4096), (257, 1023), (33, 16_000)],
    "layernorm": [(1024, 4096), (257, 1023), (33, 16_000)],
    "rope": [(512, 32, 8, 128), (77, 5, 3, 10)],
    "swiglu": [(1024, 4096), (257, 1023)],
    "softmax": [(1024, 8192), (257, 1025), (7, 33_001)],
    "cross_entropy": [(256, 131_072), (33, 33_001), (7, 1000)],
    "linear_cross_entropy": [(512, 32_000, 512), (77, 1003, 130)],
    "adamw": [(1 << 22,), (1_000_003,)],
    "quantize": [(1024, 4096), (257, 1023)],
    "transpose": [(1024, 2048), (257, 1001)],
    "embedding": [(2048, 32_000, 512), (77, 40, 131)],
    "local_reduce": [(8, 1 << 20), (3, 1_000_003)],
}
"""Moderate shapes first, then odd ones. An operation without an entry is verified at ``small``."""

SQUARES = [(4096,) * 3, (8192,) * 3, (16384,) * 3]
MODELS = ("llama-8b", "llama-70b")
PRODUCTS = ("qkv", "out", "gate_up", "down", "head")
SEQUENCES = [(4, 32, 8, 4096, 128), (2, 32, 8, 8192, 128), (1, 32, 8, 16384, 128)]
"""Attention over as many tokens each, in longer and longer sequences."""

DECODED = [
    (16, 1, 32, 8, 8192, 16, 128),
    (1, 1, 32, 8, 131_072, 16, 128),
    (128, 1, 32, 8, 1024, 16, 128),
    (16, 4, 32, 8, 8192, 16, 128),
    (16, 1, 32, 8, 8192, 64, 128),
    (16, 1, 32, 8, 8192, 8192, 128),
    (1, 1, 32, 8, 131_072, 131_072, 128),
    (32, 1, 32, 8, 8192, 16, 64),
    (8, 1, 32, 8, 8192, 16, 256),
]
"""Caches of half a gigabyte in other forms: of few and many sequences, with several queries, in
larger pages and in one piece, with other heads."""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to do. ``figure`` is what it counts for, empty where it is for none."""

    kind: str  # "verify" | "time"
    op: str
    variant: str
    dtype: str
    shape: tuple[int, ...]
    figure: str = ""

    @property
    def name(self) -> str:
        """Unique, and fit to be read."""
        return f"{self.kind} {self.what}"

    @property
    def what(self) -> str:
        """Operation, variant, dtype and shape."""
        return f"{self.op} {self.variant} {self.dtype} {'x'.join(map(str, self.shape))}"


def figured() -> Iterator[Task]:
    """Timed tasks of the figures (`figures.BOUNDS`). Arrays of a gigabyte or more, or a model's."""

    def task(figure: str, op: str, shape: Sizes | None = None, variant="", dtype="") -> Task:
        spec = SPECS[op]
        return Task(
            kind="time",
            op=op,
            variant=variant or spec.variants[0],
            dtype=dtype or spec.dtypes[0],
            shape=shape or spec.shape,
            figure=figure,
        )

    for variant in ("copy", "triad"):
        yield task("copy and triad", "stream", variant=variant)
    yield task("adamw", "adamw")
    yield task("cross_entropy", "cross_entropy")
    for op in ("rmsnorm", "swiglu", "rope", "softmax"):
        for variant in SPECS[op].variants:
            yield task(op, op, variant=variant)
    yield task("grouped_gemm", "grouped_gemm", variant="skewed")
    for shape in SEQUENCES:
        for variant in SPECS["attention"].variants:
            way = "backward" if "backward" in variant else "forward"
            yield task(f"attention {way}", "attention", shape, variant)
    for shape in SQUARES:
        yield task("gemm", "gemm", shape)
    for model in MODELS:
        for use in PRODUCTS:
            # As the forward pass multiplies: weights lie as [out, in].
            shape = sizes("gemm", f"{model}/tp1/{use}", load_model)
            yield task("gemm", "gemm", shape, "nt")
    for shape in SQUARES[:2]:
        yield task("gemm fp8", "gemm", shape, "nt", "fp8_e4m3")
    for shape in DECODED:
        yield task("decode_attention", "decode_attention", shape)
    yield task("decode_attention", "decode_attention", DECODED[0], "ragged")


def everything() -> Iterator[Task]:
    """Timed tasks of every operation's variants at its typical shape, and of gemm's dtypes."""
    for op, spec in SPECS.items():
        for variant in spec.variants:
            yield Task(kind="time", op=op, variant=variant, dtype=spec.dtypes[0], shape=spec.shape)
    for dtype in SPECS["gemm"].dtypes:
        shape = (4096,) * 3 if dtype == "fp32" else (8192,) * 3
        yield Task(kind="time", op="gemm", variant="nt", dtype=dtype, shape=shape)


def verified() -> Iterator[Task]:
    """Every operation, variant and dtype at all its shapes."""
    for op, spec in SPECS.items():
        for dtype in spec.dtypes:
            for variant in spec.variants:
                for shape in VERIFIED.get(op, [spec.small]):
                    yield Task(kind="verify", op=op, variant=variant, dtype=dtype, shape=shape)


def plan(dtypes: Collection[str] = (), *, small: bool = False) -> list[Task]:
    """All tasks in the order in which they are done: figures, verification, the rest.

    Args:
        dtypes: Number formats; empty means all. A timed task in another one is done in the first
            of these that its operation has.
        small: Every operation at its small shape.
    """
    found: dict[str, Task] = {}
    for task in itertools.chain(figured(), verified(), everything()):
        chosen = _in_dtypes(task, dtypes)
        if chosen is None:
            continue
        if small:
            chosen = msgspec.structs.replace(chosen, shape=SPECS[task.op].small)
        if _exists(chosen):
            found.setdefault(chosen.name, chosen)
    return list(found.values())


def _in_dtypes(task: Task, dtypes: Collection[str]) -> Task | None:
    if not dtypes or task.dtype in dtypes:
        return task
    known = [one for one in dtypes if one in SPECS[task.op].dtypes]
    if task.kind == "verify" or not known:
        return None
    usual = task.dtype == SPECS[task.op].dtypes[0]
    return msgspec.structs.replace(task, dtype=known[0], figure=task.figure if usual else "")


def _exists(task: Task) -> bool:
    """Whether the operation has this variant in this dtype (gemm in int8 has no epilogue)."""
    try:
        cost(task.op, task.shape, task.variant, task.dtype)
    except ValueError:
        return False
    return True
