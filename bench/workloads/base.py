"""What a benchmark is: a struct whose fields are its axes, with five short methods.

A benchmark knows no Ray, no files and no vendor. The runner (`bench.workloads.runner`) calls
``setup``, ``check``, times ``step``, calls ``check`` again and turns ``metrics`` into rows.
Declarations import no torch: import it inside the methods.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, get_args, get_origin

import msgspec

from ..configs import PLACEMENT
from ..configs.typed import WANTED, mistaken
from ..errors import Unmeasurable, UsageError
from ..records import Measure, Scope
from ..timing import Rule, Timing
from .axes import Bytes, Seconds, Shape, decode_axis, plain_axis

if TYPE_CHECKING:
    import torch

    from ..backends.base import Backend
    from ..configs import Chip

__all__ = [
    "Benchmark",
    "Bytes",
    "Check",
    "Context",
    "Facts",
    "Measure",
    "Metric",
    "Seconds",
    "Shape",
    "Unmeasurable",
    "benchmark",
    "registry",
]

IN_HOST_MEMORY = "between kinds of chip, so what is exchanged lies in host memory"
"""What a row says of itself where `Context.through_host`."""


class Metric(msgspec.Struct, frozen=True):
    """One measured metric. ``samples`` (in the metric's unit) give median and interval.

    A metric without samples is a single ``value`` (peak memory, an error, a count).
    """

    name: str
    samples: Any = None  # Array
    value: float | None = None


class Check(msgspec.Struct, frozen=True):
    """A sanity check's outcome: ``detail`` says what was compared, with the figures."""

    ok: bool
    detail: str = ""

    def __bool__(self) -> bool:
        return self.ok


class Facts(msgspec.Struct, kw_only=True, frozen=True):
    """What ``expected`` may know: the chip's datasheet and the group's place in the topology.

    ``ranks`` is the group's size, ``nodes`` how many nodes it spans, ``per_node`` devices a node.
    ``link`` and ``network`` are unidirectional bytes/s of one device inside a node and of one
    node; ``latency`` seconds of one hop. None where unknown: then the expectation is absent.
    """

    chip: Chip | None
    ranks: int = 1
    nodes: int = 1
    per_node: int = 1
    link: float | None = None
    network: float | None = None
    link_latency: float | None = None
    network_latency: float | None = None


class Context(msgspec.Struct, kw_only=True):
    """Where a benchmark runs: this rank's device and, for pairs and groups, the process group.

    ``rank`` and ``size`` are within the group; ``group`` is the device's ``torch.distributed``
    process group (None for device and node scope alone), ``control`` the same ranks' group over the
    host network, for tensors in host memory; ``library`` the name of the former's collective
    library; ``through_host``: the group spans several kinds of chip, over a library that knows host
    memory only, so what it exchanges lies there (`place`); ``agree`` returns rank 0's tuple of
    integers on every rank, ``gather`` every rank's floats on every rank (both over the host
    network, never inside a timed region). ``node`` is this node's index,
    ``address`` where others reach it; ``cache`` is bytes of the last-level cache, ``memory`` bytes
    that this device may use; ``arch`` is Triton's target or None; ``cores`` this rank's; ``zero``
    is when the run began, by ``time.monotonic`` of this host: all of a run's hosts agree on it.
    """

    backend: Backend
    device: torch.device
    index: int = 0
    rank: int = 0
    size: int = 1
    group: Any = None
    control: Any = None
    library: str = ""
    through_host: bool = False
    agree: Callable[[tuple[int, ...]], tuple[int, ...]] | None = None
    gather: Callable[[list[float]], list[list[float]]] | None = None
    node: int = 0
    address: str = "127.0.0.1"
    cache: int = 0
    memory: int = 0
    arch: str | None = None
    chip: Chip | None = None
    seed: int = 0
    zero: float = 0.0

    @property
    def weak(self) -> bool:
        """Whether the device is far slower than an accelerator, and gets small shapes."""
        return self.backend.stand_in

    @property
    def place(self) -> torch.device:
        """Where tensors lie that the group exchanges."""
        import torch

        return torch.device("cpu") if self.through_host else self.device

    @property
    def facts(self) -> Facts:
        """What `Benchmark.derived` needs to know of the group."""
        return Facts(chip=self.chip, ranks=self.size)


class Benchmark(msgspec.Struct, kw_only=True, dict=True):
    """Base of all benchmarks; subclass it, give the axes as fields, decorate with `benchmark`."""

    name: ClassVar[str] = ""
    scope: ClassVar[Scope] = "device"
    measures: ClassVar[tuple[Measure, ...]] = ()
    """Every metric that `metrics` may yield, first the one that reports lead with.

    In a group rank 0's values are the group's, but of those declared for `Measure.each` rank.
    """
    asynchronous: ClassVar[bool] = False
    """With the host timer, do not synchronise the device (measures the launch itself)."""
    per_sample: ClassVar[bool] = False
    """Time every call by itself, for latency distributions."""
    ends_apart: ClassVar[bool] = False
    """Whether a rank may end a call while others are still at it, which the next one waits for."""
    worded: ClassVar[Mapping[str, Mapping[Any, str] | Callable[[Any], str]]] = {}
    """How a title says values of an axis, by value or by a function of it, where not as they stand;
    not at all where empty."""
    fitting: ClassVar[Mapping[str, tuple[Any, Any]]] = {}
    """By axis: what ``fitting`` stands for in a suite, on an accelerator and on a weak device,
    where large sizes would take hours. The plan decides, so a record says what was measured."""
    titled: ClassVar[tuple[str, ...]] = ()
    """The axes that a title speaks of; empty: all."""
    timed: ClassVar[bool] = True
    """Whether the figures depend on how long the work takes. Of others, those count as well that
    were taken on a throttled device or beside other work on its cores."""

    alone: ClassVar[bool] = False
    """Whether a group of one device has something to measure."""
    of_device: ClassVar[bool] = True
    """Whether it asks anything of the device. What others count, chips need not be able to do."""

    def setup(self, context: Context) -> None:
        """Allocate and fill. Raises `Unmeasurable` with the reason where this cannot be done."""

    def step(self) -> None:
        """The work that is timed."""
        raise NotImplementedError

    def observe(self, rule: Rule, throttled: Callable[[], bool] | None) -> Timing | None:
        """Samples of work that goes on by itself, as that of a program; None: `step` is timed.

        All ranks are asked together, and ``throttled`` must be asked by all of them or none.
        """
        return None

    def cores(self) -> Sequence[int] | None:
        """The cores that the work runs on, where not this rank's own (None); empty: no cores."""
        return None

    def patience(self) -> float:
        """Seconds that set-up and checks may take; 0: as many as of other benchmarks."""
        return 0.0

    def refresh(self) -> None:
        """New data, outside the timed region; called if `lifetime` is positive."""

    def meet(self) -> None:
        """Wait until the last call is over on every rank, where `ends_apart`: it is timed."""

    def lifetime(self) -> int:
        """Calls that one `refresh` lasts (where calls change their input in place); 0: for ever."""
        return 0

    def check(self) -> Check:
        """Must hold before the first and after the last sample, or no figure counts."""
        raise NotImplementedError

    def proof(self, timing: Timing) -> Check:
        """That what was timed is the work; asked behind the last check, where samples are known."""
        return Check(True, "")

    def metrics(self, timing: Timing) -> Iterator[Metric]:
        """What the samples (seconds per call) mean."""
        raise NotImplementedError

    def derived(self, seconds: Any, facts: Facts, beside: Mapping[str, float]) -> Iterator[Metric]:
        """Those of `metrics` that follow from the samples alone: anybody can compute them again.

        `metrics` yields them as well, so that there is one formula. It is called without `setup`.

        Args:
            seconds: float64[samples], seconds per call, as they are kept.
            facts: Of the group: ``chip`` and ``ranks``.
            beside: Metrics that were measured beside the samples, by name; a metric that needs one
                which is not there is left out.
        """
        return iter(())

    def reported(self) -> tuple[Measure, ...]:
        """Those of `measures` that a case with these axes has."""
        return self.measures

    def check_ranks(self, ranks: int, memory: int | None = None) -> None:
        """Raise `UsageError` for a group of so many ranks that these axes do not go with.

        It is asked when a run is planned, before anything is started. ``memory``: bytes of the
        group's smallest device; None where nobody says.
        """

    def fault(self) -> str:
        """What the measurement found wrong with the device, as a sentence; empty if nothing.

        Rows are ``invalid`` for this reason then, and keep their values. It is asked for after
        `metrics`; a check that fails is about the measurement itself, and leaves no value.
        """
        return ""

    def note(self) -> str:
        """What a reader of a good value must know, as a sentence; it becomes the row's reason."""
        return ""

    def tables(self) -> str:
        """Files that shaped the measurement besides its axes, with digests: for the record."""
        return ""

    def teardown(self) -> None:
        """Free what `setup` took; called whatever happened."""
        self.__dict__.clear()

    def clock(self) -> Literal["device", "host"]:
        """``device``: device events where the chip has them. ``host``: always the wall clock."""
        return "device"

    def cold(self) -> bool:
        """Whether every call is timed by itself, with nothing of the last one in the cache."""
        return False

    @classmethod
    def spread(
        cls, axes: dict[str, Any], *, weak: bool, numa: Sequence[int] = ()
    ) -> list[dict[str, Any]]:
        """The cases that one choice of axes stands for: `fitting` and names of sets are replaced.

        ``weak``: the devices are far slower than accelerators. ``numa``: NUMA nodes with cores
        that any host of the fleet has; empty where nobody says.
        """
        fits = {key: pair[weak] for key, pair in cls.fitting.items()}
        return [
            {
                key: fits.get(key, value) if value == "fitting" else value
                for key, value in axes.items()
            }
        ]

    def expected(self, facts: Facts) -> dict[str, float]:
        """Value per metric that datasheet and topology predict; a metric left out is unknown."""
        return {}

    def rule(self, rule: Rule) -> Rule:
        """The suite's stopping rule, adapted to what this benchmark needs."""
        return rule


_REGISTRY: dict[str, type[Benchmark]] = {}
B = TypeVar("B", bound=type[Benchmark])


def benchmark(*, scope: Scope, name: str | None = None) -> Callable[[B], B]:
    """Class decorator: register a benchmark under its lower-case class name."""

    def register(cls: B) -> B:
        cls.name = name or cls.__name__.lower()
        cls.scope = scope
        if not cls.measures:
            raise TypeError(f"benchmark {cls.name} declares no measures")
        each = [one.each for one in cls.measures]
        if scope == "rank" or each[0] or (any(each) and scope != "group"):
            raise TypeError(f"benchmark {cls.name}: metrics of each rank come last, of groups only")
        # A suite could not write it: such a key says where is measured (`schedule` by its values).
        for key in cls.__struct_fields__:
            if key in (*PLACEMENT, "rule") and key != "schedule":
                raise TypeError(f"benchmark {cls.name}: no axis of a suite can be called {key!r}")
        _REGISTRY[cls.name] = cls
        return cls

    return register


def registry() -> dict[str, type[Benchmark]]:
    """All benchmarks by name: built-in ones, and those of plugins that could be imported.

    Plugins register by importing a module named in the entry-point group
    ``hengsuan.benchmarks``; one that raises is in `problems`, and nothing else breaks.
    """
    import importlib

    from . import BUILT_IN  # the list of module names lives in the package

    for module in BUILT_IN:
        importlib.import_module(f"{__package__}.{module}")
    _load_plugins()
    return dict(_REGISTRY)


@functools.cache
def _load_plugins() -> dict[str, str]:
    from importlib.metadata import entry_points

    broken = {}
    for entry in entry_points(group="hengsuan.benchmarks"):
        try:
            entry.load()
        except BaseException as error:  # a plugin may raise anything, SystemExit included
            broken[entry.name] = f"{type(error).__name__}: {error}"
    return broken


def problems() -> dict[str, str]:
    """Benchmark plugins that could not be imported, with what they raised."""
    return dict(_load_plugins())


def source_hash(cls: type[Benchmark]) -> str:
    """Twelve hex digits of SHA-256 over the defining module's source: changes when it changes."""
    try:
        text = inspect.getsource(sys.modules[cls.__module__])
    except (OSError, TypeError):
        text = cls.__qualname__
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def make(name: str, axes: dict[str, Any]) -> Benchmark:
    """A benchmark from its name and axes. Raises `UsageError` naming the axis."""
    from ..errors import unknown

    known = registry()
    if name not in known:
        raise unknown("benchmark", name, known)
    cls = known[name]
    fields = axis_fields(cls)
    for key in axes:
        if key not in fields:
            raise unknown(f"axis of {name}", key, fields)
        if isinstance(axes[key], str) and "\0" in axes[key]:
            raise UsageError(f"{name}.{key}: holds a NUL, which no path or program can")
        choices = get_args(fields[key].type) if get_origin(fields[key].type) is Literal else ()
        if choices and axes[key] not in choices:
            raise unknown(f"{key} of {name}", str(axes[key]), filter(None, map(str, choices)))
    try:
        return msgspec.convert(axes, cls, dec_hook=decode_axis)
    except msgspec.ValidationError as error:
        raise _refusal(name, fields, axes, str(error)) from None


def _refusal(
    name: str, fields: Mapping[str, msgspec.structs.FieldInfo], axes: dict[str, Any], text: str
) -> UsageError:
    """What msgspec says of an axis, as a sentence: its words are of types, its places of JSON."""
    said, at, place = text.rpartition(" - at `$.")
    key = place.rstrip("`")
    if not at or key not in fields:
        return UsageError(f"{name}: {text}")
    kinds = (fields[key].type, *get_args(fields[key].type))
    wanted = next((WANTED[one] for one in kinds if one in WANTED), "")
    if not wanted or not said.startswith("Expected"):
        return UsageError(f"{name}.{key}: {said}")
    sentence, hint = mistaken(axes[key], wanted)
    return UsageError(f"{name}.{key}: {sentence}", hint=hint)


@functools.cache  # annotations are text, and evaluating them is most of what planning takes
def axis_fields(cls: type[Benchmark]) -> dict[str, msgspec.structs.FieldInfo]:
    """The axes of a benchmark, by name."""
    return {field.name: field for field in msgspec.structs.fields(cls)}


def axes_of(instance: Benchmark) -> dict[str, Any]:
    """All axes of a benchmark with their values, defaults included, as records write them."""
    return {key: plain_axis(getattr(instance, key)) for key in axis_fields(type(instance))}


def title_of(instance: Benchmark) -> str:
    """``gemm 1024x1024x1024 fp32``: words speak for themselves, numbers keep their axis."""
    words = [instance.name]
    for key, value in axes_of(instance).items():
        usual = "" if value is None else value if isinstance(value, str) else f"{key}={value}"
        if key in (instance.titled or (key,)):
            worded = instance.worded.get(key, {})
            words.append(worded(value) if callable(worded) else worded.get(value, usual))
    return " ".join(filter(None, words))
