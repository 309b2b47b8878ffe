"""Axes of what works on a model, and of a model that is spread over a group."""

from __future__ import annotations

from typing import Any, Literal

from ..configs import load_model
from ..errors import UsageError
from ..kernels.layout import Layout, Spread
from ..kernels.model_costs import ModelShape
from .base import Benchmark, Context
from .runner import all_or_none

MOST = (1 << 31) - 1
"""Sequences of a batch, at most: far more than any group holds, and as many as readers of a run
take (`bench.declared`)."""
NO_PEAK = "the chip's peak in this dtype is unknown"
"""Why there is no share of it."""


class OnModel(Benchmark):
    """A model, in which format and by which operations (`bench.workloads.ops`) it computes."""

    fitting = {"model": ("small", "tiny")}
    worded = {"ops": {"torch": ""}}

    model: str = "tiny"
    """A file of ``configs/models``, or its slice: ``llama-70b@4`` has four layers."""
    batch: int = 4
    """Sequences at a time."""
    dtype: Literal["fp32", "bf16", "fp8"] = "fp32"
    """Of matrix products; ``fp8`` leaves head and router in bf16."""
    ops: Literal["torch", "triton", "compile", "vendor"] = "torch"
    """How the model computes: PyTorch's operations, the Triton kernels, ``torch.compile``, or what
    the backend brings."""

    def __post_init__(self) -> None:
        """Raise `UsageError` for what cannot be, before anything is started."""
        if self.batch < 1:
            raise UsageError(f"{self.name}: batch must be at least 1, not {self.batch}")
        if self.batch > MOST:
            raise UsageError(f"{self.name}: batch must be at most {MOST}, not {self.batch}")
        load_model(self.model)

    @property
    def shape(self) -> ModelShape:
        """The model's extents."""
        return ModelShape.of(load_model(self.model))

    def shares_sequences(self) -> bool:
        """Whether a rank has a part of each sequence only."""
        return False

    def operations(self, context: Context) -> Any:
        """The operations; no rank goes on alone where another has them not."""
        from ..kernels import tuning
        from ..kernels.op import NoTargetError
        from .configured import use_tables
        from .ops import choose

        chosen, problem = None, ""
        if self.ops == "triton":
            use_tables()
            self.taken = tuning.source(context.arch) if context.arch else ""
        try:
            chosen = choose(
                self.ops,
                self.shape,
                self.dtype,
                arch=context.arch,
                vendor=context.backend.functions(),
                context_parallel=self.shares_sequences(),
            )
        except NoTargetError as error:
            problem = str(error)
        all_or_none(context, problem)
        return chosen

    def tables(self) -> str:
        """Where the kernels' configurations come from."""
        return str(self.__dict__.get("taken", ""))


class Modelled(OnModel):
    """A model that is spread over a group, by a `bench.kernels.layout.Layout`."""

    worded = {
        **OnModel.worded,
        "batch_of": {"rank": "", "group": "in-all"},
        "dp": {"ddp": ""},
        "schedule": {"1f1b": ""},
        **{name: {1: ""} for name in ("replicas", "tp", "cp", "pp", "microbatches", "ep")},
    }

    batch_of: Literal["rank", "group"] = "rank"
    """Whose ``batch`` it is: a data-parallel rank's, or that of all of them together (strong
    scaling)."""
    dp: Literal["ddp", "fsdp", "hsdp"] = "ddp"
    """Ranks that see different sequences: ``ddp`` holds all weights, ``fsdp`` shares them, ``hsdp``
    shares them within each of ``replicas`` groups."""
    replicas: int = 1
    """Groups of ``dp: hsdp``, each with its own copy."""
    tp: int = 1
    """Ranks that share every matrix, and between matrices the sequence."""
    cp: int = 1
    """Ranks that share a sequence."""
    pp: int = 1
    """Stages of layers in a row."""
    schedule: Literal["gpipe", "1f1b", "interleaved"] = "1f1b"
    """In which order stages work on the parts of a batch."""
    microbatches: int = 1
    """Parts of a batch: stages work on them, without stages gradients add up."""
    ep: int = 1
    """Ranks that share the experts of a layer."""

    def __post_init__(self) -> None:
        """Raise `UsageError` for what cannot be, before anything is started."""
        super().__post_init__()
        try:
            self.layout.check(self.shape, self.batch)
        except ValueError as error:
            raise UsageError(f"{self.name}: {self.model}: {error}") from None
        try:
            self.check_served(self.layout)
        except ValueError as error:
            raise UsageError(
                f"{self.name}: {error}",
                hint=f"take {'ops torch' if self.ops == 'compile' else 'dtype bf16'}, "
                "or spread by dp and pp",
            ) from None

    def check_served(self, layout: Layout) -> None:
        """Raise ValueError, in a sentence, for a layout that these operations do not serve, or not
        in this format."""
        if layout.tp > 1 and self.ops == "compile":
            raise ValueError(
                f"tp={layout.tp}: PyTorch does not compile blocks whose matrices are in parts here"
            )
        if layout.tp > 1 and self.dtype == "fp8":
            raise ValueError(f"tp={layout.tp}: matrices in parts are not multiplied in fp8 here")

    @property
    def layout(self) -> Layout:
        """How the model is spread."""
        return Layout(
            self.dp,
            self.replicas,
            self.tp,
            self.cp,
            self.pp,
            self.schedule,
            self.microbatches,
            self.ep,
        )

    def check_ranks(self, ranks: int, memory: int | None = None) -> None:
        """Raise `UsageError` for a group that the layout does not divide."""
        self.spread_over(ranks)

    def spread_over(self, ranks: int) -> Spread:
        """The layout over a group. Raises `UsageError` where it does not divide it."""
        try:
            spread = self.layout.over(ranks)
            if self.batch_of == "group":
                if self.batch % spread.data:
                    raise ValueError(
                        f"batch = {self.batch} of the group does not divide among "
                        f"{spread.data} data-parallel ranks"
                    )
                self.layout.check(self.shape, self.batch // spread.data)
            return spread
        except ValueError as error:
            raise UsageError(f"{self.name}: {self.model}: {error}") from None

    def sequences(self, spread: Spread) -> int:
        """That a data-parallel rank sees in a step."""
        return self.batch // spread.data if self.batch_of == "group" else self.batch

    def shares_sequences(self) -> bool:
        """By context parallelism."""
        return self.cp > 1
