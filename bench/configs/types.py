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
    """One product's datasheet (``configs/chips/*.yaml``): of a card. What is not listed is unknown.

    ``flops`` per dtype, dense, FLOP/s; ``memory`` B; ``memory_bandwidth`` B/s; ``link``
    unidirectional B/s of one device to its peers in the node; ``host_link`` B/s one direction;
    ``tdp`` W; ``units`` parts that work on one tile of a matrix product each. ``match`` are
    substrings of the device name that a backend reports (lower case).
    """

    name: str
    vendor: str
    """Who makes it."""
    match: list[str] = []
    simulated: bool = False
    """No such product exists: it is there for simulated fleets."""
    flops: dict[str, Figure] = {}
    memory: Figure | None = None
    memory_bandwidth: Figure | None = None
    link: Figure | None = None
    host_link: Figure | None = None
    network: Figure | None = None
    """B/s of one node into the network, one direction."""
    tdp: Figure | None = None
    units: Figure | None = None

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
    """A Llama-style transformer (``configs/models/*.yaml``).

    ``dim`` is the width, ``ffn`` the inner width of the SwiGLU block, ``kv_heads`` the heads of
    keys and values (grouped-query attention), ``vocab`` the number of tokens, ``seq`` the
    sequence length in tokens. ``head_dim`` is needed where it is not ``dim / heads``. A mixture
    of experts gives ``experts`` in a layer and ``top_k`` of a token; ``ffn`` is that of one.
    """

    name: str
    """As the file is called."""
    description: str = ""
    """A sentence."""
    dim: int
    layers: int
    """Blocks."""
    heads: int
    kv_heads: int
    ffn: int
    vocab: int
    seq: int
    head_dim: int | None = None
    experts: int | None = None
    top_k: int | None = None


class ProfileMetric(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One line of a profile: which metric, of which benchmark and axes, against what.

    ``reference``: ``datasheet`` (what `expected` predicts), ``ceiling`` (the best matrix product
    or STREAM operation that the run itself measured), a number in the metric's unit
    (``target``), a number that the user gives by name in SYSTEM.yaml (``threshold``), or ``none``:
    shown, not scored. ``where`` selects cases by axes and placement
    (``across: site``, ``together: true``, ``span: node`` or ``nodes`` of groups inside one node or
    over several): a value, a list of values, or ``largest``, the largest size or shape that the run
    measured. ``statistic``: the ``median`` over groups, or the
    ``total`` of what pairs carried together. A ``required`` target is a criterion: whoever misses
    it, were it the worst group alone, is a finding, and what has no value leaves it undecided: exit
    codes 1 and 3 of ``hengsuan run``. An ``optional`` line is left out where the run has no group
    for it, as a link between sites on one site. ``least`` is the share of the reference that
    certification asks of every device or node; what is below is rejected. ``title`` (and
    ``title_zh``) is what reports call the line, ``clause`` and ``quote`` the text of a plan or a
    standard that it stands for.
    """

    benchmark: str
    metric: str
    where: dict[str, Any] = {}
    weight: float = 1.0
    """Of the line in its category."""
    reference: Literal["datasheet", "ceiling", "target", "threshold", "none"] = "datasheet"
    target: float | None = None
    threshold: str = ""
    statistic: Literal["median", "total"] = "median"
    required: bool = False
    optional: bool = False
    least: float | None = None
    title: str = ""
    title_zh: str = ""
    clause: str = ""
    quote: str = ""


class Profile(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A profile (``configs/profiles/*.yaml``): categories of metrics with weights.

    ``weights``: percent of the overall score by category, 100 in all; without them every line
    counts by its own weight. ``note`` is what a reader of its scores must know. ``*_zh``: the same
    in Chinese; ``categories_zh`` by category.
    """

    name: str
    """As the file is called."""
    description: str = ""
    """A sentence."""
    description_zh: str = ""
    note: str = ""
    note_zh: str = ""
    weights: dict[str, float] = {}
    categories: dict[str, list[ProfileMetric]]
    categories_zh: dict[str, str] = {}
