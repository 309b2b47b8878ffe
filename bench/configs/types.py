"""The types of everything in ``configs/``: frozen, plain, and silent about where they came from."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

FigureStatus = Literal["vendor", "third-party", "measured", "disputed"]


class Claim(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What another source says that a figure is."""

    value: float
    """In the figure's unit."""
    source: str
    """Who says so."""
    date: str
    """Of the source, ``YYYY-MM-DD``."""
    note: str = ""
    """What a reader must know."""


class Figure(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One datasheet figure with where it comes from.

    ``claims`` are what other sources say, in the same unit; a ``disputed`` figure has some, and is
    no reference.
    """

    value: float
    """In the unit that the chip's key says."""
    dtype: str | None = None
    """Number format that it is about, where not the key's."""
    source: str
    """Where it is written."""
    date: str
    """Of the source, ``YYYY-MM-DD``."""
    status: FigureStatus
    """How far it can be relied on."""
    note: str = ""
    """What a reader must know."""
    claims: list[Claim] = []


class Chip(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One product's datasheet (``configs/chips/*.yaml``): of a card. What is not listed is
    unknown.
    """

    name: str
    """As the file is called."""
    vendor: str
    """Who makes it."""
    match: list[str] = []
    """Substrings of the device name that a backend reports, in lower case."""
    simulated: bool = False
    """No such product exists: it is there for simulated fleets."""
    flops: dict[str, Figure] = {}
    """Dense, FLOP/s, by dtype."""
    memory: Figure | None = None
    """B."""
    memory_bandwidth: Figure | None = None
    """B/s."""
    link: Figure | None = None
    """B/s of one device to its peers in the node, one direction."""
    host_link: Figure | None = None
    """B/s, one direction."""
    network: Figure | None = None
    """B/s of one node into the network, one direction."""
    tdp: Figure | None = None
    """W."""
    units: Figure | None = None
    """Parts that work on one tile of a matrix product each."""

    def peak(self, dtype: str) -> float | None:
        """FLOP/s of dense matrix products in ``dtype``; None where the datasheet is silent."""
        figure = self.flops.get(dtype)
        return figure.value if figure is not None and figure.status != "disputed" else None


class Entry(msgspec.Struct, kw_only=True, frozen=True):
    """One line of a suite: a benchmark, its axes as written (lists and sweeps unexpanded).

    ``place`` holds the placement keys: ``over`` (group scope: node, all, or a label),
    ``of`` (pair scope: node or device), ``schedule`` (full, sample, topology, values),
    ``matchings``, ``seed``, ``within`` or ``across`` (a label: one class of link), ``together``.
    ``rule`` overrides keys of the suite's rule; ``where`` is ``file:line``.
    """

    benchmark: str
    axes: dict[str, Any]
    place: dict[str, Any] = {}
    rule: dict[str, float] = {}
    where: str = ""


class StageConfig(msgspec.Struct, kw_only=True, frozen=True):
    """A stage of a suite; it starts when the stages in ``needs`` have ended."""

    name: str
    """What ``needs`` of later stages refers to."""
    needs: list[str] = []
    entries: list[Entry] = []
    """``benchmarks`` of the file."""
    repeats: int = 1
    """How often the stage is gone through."""
    where: str = ""
    """``file:line``."""


class Suite(msgspec.Struct, kw_only=True, frozen=True):
    """A suite: stages of benchmarks and the stopping rule that they share.

    ``rule`` has the fields of `bench.timing.Rule` (seconds and ratios). ``text`` is the file.
    """

    name: str
    """As the file is called."""
    description: str = ""
    """A sentence."""
    stages: list[StageConfig] = []
    rule: dict[str, float] = {}
    text: str = ""


class ModelConfig(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A Llama-style transformer (``configs/models/*.yaml``)."""

    name: str
    """As the file is called."""
    description: str = ""
    """A sentence."""
    dim: int
    """Width."""
    layers: int
    """Blocks."""
    heads: int
    """Of attention."""
    kv_heads: int
    """Heads of keys and values (grouped-query attention)."""
    ffn: int
    """Inner width of the SwiGLU block; of a mixture that of one expert."""
    vocab: int
    """Number of tokens."""
    seq: int
    """Tokens of a sequence."""
    head_dim: int | None = None
    """Width of a head, where it is not ``dim / heads``."""
    experts: int | None = None
    """In a layer, of a mixture of experts."""
    top_k: int | None = None
    """Experts of a token."""


class ProfileMetric(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One line of a profile: which metric, of which benchmark and axes, against what."""

    benchmark: str
    """Its name, or what stands for it of a derived metric."""
    metric: str
    """Its name."""
    where: dict[str, Any] = {}
    """Selects cases by axes and placement (``across: site``, ``together: true``, ``span: node`` or
    ``nodes`` of groups inside one node or over several): a value, a list of values, or ``largest``,
    the largest size or shape that the run measured."""
    weight: float = 1.0
    """Of the line in its category."""
    reference: Literal["datasheet", "ceiling", "target", "threshold", "none"] = "datasheet"
    """``datasheet``: what `expected` predicts; ``ceiling``: the best matrix product or STREAM
    operation that the run itself measured; ``target``: a number; ``threshold``: a number that the
    user gives by name in SYSTEM.yaml; ``none``: shown, not scored."""
    target: float | None = None
    """In the metric's unit."""
    threshold: str = ""
    """Its name."""
    statistic: Literal["median", "total"] = "median"
    """The ``median`` over groups, or the ``total`` of what pairs carried together."""
    required: bool = False
    """The target is a criterion: whoever misses it, were it the worst group alone, is a finding,
    and what has no value leaves it undecided: exit codes 1 and 3 of ``hengsuan run``."""
    optional: bool = False
    """Left out where the run has no group for it, as a link between sites on one site."""
    least: float | None = None
    """Share of the reference that certification asks of every device or node; what is below is
    rejected."""
    title: str = ""
    """What reports call the line."""
    title_zh: str = ""
    """The same in Chinese."""
    clause: str = ""
    """Where the text of a plan or a standard is that it stands for."""
    quote: str = ""
    """That text."""


class Profile(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A profile (``configs/profiles/*.yaml``): categories of metrics with weights."""

    name: str
    """As the file is called."""
    description: str = ""
    """A sentence."""
    description_zh: str = ""
    """The same in Chinese."""
    note: str = ""
    """What a reader of its scores must know."""
    note_zh: str = ""
    """The same in Chinese."""
    weights: dict[str, float] = {}
    """Percent of the overall score by category, 100 in all; without them every line counts by its
    own weight."""
    categories: dict[str, list[ProfileMetric]]
    """Lines by category."""
    categories_zh: dict[str, str] = {}
    """Names of categories in Chinese."""
