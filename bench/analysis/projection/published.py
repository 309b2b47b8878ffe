"""Training runs that others published, as models, layouts and seconds of a step.

A table has columns and rows; a key of the table stands for all its rows. What neither says is
taken from the table's year (which software there was), from the number of weights (whether the
feed-forward has a gate, whether the head is the embedding), or *assumed*: of micro-batch, virtual
stages and recompute the choice that the model finds fastest and that fits in memory, for who
publishes has tuned. Rows with an assumed part are marked.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import msgspec

from ...configs import Chip, Cluster, NetworkLevel, load_chips
from ...configs.document import Document, Place, read_document
from ...configs.search import BUILT_IN
from ...errors import unknown
from ...kernels.model_costs import ModelShape
from .plan import Plan, Recompute, Sharding
from .software import Software, stack
from .workload import Convention, Decoder

FILE = BUILT_IN / "published" / "training-runs.yaml"
_EXTENTS = ("params", "layers", "hidden", "heads", "kv_heads", "head_dim", "ffn", "vocab", "seq")
_KINDS = ("experts", "top_k", "gated", "tied", "dtype", "chip", "devices", "network")
_SPREAD = ("tp", "pp", "dp", "cp", "ep", "chips", "global_batch", "micro_batch", "virtual_stages")
_HOW = ("recompute", "sharding", "sequence_parallel", "year", "flops")
_SEVERAL: tuple[tuple[str, Recompute, bool], ...] = (
    ("seconds_full_recompute", "full", False),
    ("seconds_selective_and_sequence_parallel", "selective", True),
)
_RATES = ("tflops", "mfu_percent", "tokens_per_second", "tokens_per_second_per_chip")
_TOLD = (*_RATES, "seconds", "memory_gib", *(name for name, _, _ in _SEVERAL))
_KNOWN = {"table", "columns", "rows", *_EXTENTS, *_KINDS, *_SPREAD, *_HOW, *_TOLD}
_RECOMPUTE: tuple[Recompute, ...] = ("none", "selective", "full")
_SHARDING: dict[str, Sharding] = {
    **dict.fromkeys(("none", "ddp", "zero0"), "none"),
    **dict.fromkeys(("optimizer", "zero1", "zero-1"), "optimizer"),
    **dict.fromkeys(("full", "fsdp", "zero3", "zero-3"), "full"),
}
_CONVENTIONS: tuple[Convention, ...] = get_args(Convention)
_FIRST_SEQUENCE_PARALLEL, _FIRST_SHARED_OPTIMIZER = 2022, 2023


@dataclass(frozen=True)
class Published:
    """One step that somebody measured.

    ``plans`` has one layout, or those among which one is assumed; ``assumed`` says what is.
    ``seconds`` of a step. ``memory``: bytes of a device, empty where not given;
    ``table_of_memory``: as a table beside the rows has it, which tells what is kept without
    recompute, not as a row has it.
    """

    table: str
    name: str
    chip: Chip
    cluster: Cluster
    dtype: str
    model: Decoder
    software: Software
    plans: tuple[Plan, ...]
    seconds: float
    assumed: tuple[str, ...] = ()
    memory: tuple[float, ...] = ()
    table_of_memory: bool = False

    @property
    def chips(self) -> int:
        """That took part."""
        return self.plans[0].chips


def published(path: str | Path | None = None) -> tuple[list[Published], list[str]]:
    """Every row of a file's tables, and what of the file is not used, in sentences.

    Args:
        path: A YAML file: a list of tables, or ``tables`` and ``systems``. None: the built-in one.

    Raises:
        ConfigError: a table that lacks what a step is made of; ``where`` is ``file:line``.
    """
    document = read_document(Path(path) if path is not None else FILE)
    data, place = document.data, ()
    systems: dict[str, Any] = read_document(FILE).data["systems"] if path is not None else {}
    tables, inside = data, place
    if isinstance(data, dict):
        more = data.get("systems", {})
        if not isinstance(more, dict) or not all(isinstance(one, dict) for one in more.values()):
            raise document.error(
                ("systems",), "must be names of systems, each with keys and values"
            )
        systems = {**systems, **more}
        tables, inside = data.get("tables"), ("tables",)  # type: ignore[assignment]
    if not isinstance(tables, list) or not tables:
        raise document.error(inside, "must be a list of tables, each with columns and rows")
    found: list[Published] = []
    notes: list[str] = []
    for index, table in enumerate(tables):
        try:
            reader = _Table(document, table, (*inside, index), systems)
            found += reader.rows()
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
            why = f"a value of it is of another kind than it should be: {error}"
            raise document.error((*inside, index), why) from None
        notes += reader.notes
    return found, notes


class _Table:
    """One table of a file."""

    def __init__(
        self, document: Document, table: Any, place: Place, systems: dict[str, Any]
    ) -> None:
        self.document, self.table, self.place = document, table, place
        if not isinstance(table, dict):
            raise document.error(place, "a table must be keys with values")
        for key in ("table", "chip", "dtype", "columns", "rows"):
            if key not in table:
                raise document.error(place, f"the key {key!r} is missing")
        for key in ("columns", "rows"):
            if not isinstance(table[key], list):
                raise document.error((*place, key), "must be a list")
        self.name = str(table["table"])
        self.columns: list[str] = list(map(str, table["columns"]))
        years = re.findall(r"(?:19|20)\d\d", self.name)
        self.year = int(table.get("year", years[-1] if years else 2024))
        self.chip, self.cluster = self._system(systems)
        unused = sorted({*table, *self.columns} - _KNOWN)
        self.notes = [f"{self.name}: not used: {', '.join(unused)}"] if unused else []

    def _system(self, systems: dict[str, Any]) -> tuple[Chip, Cluster]:
        chips, name = load_chips(), str(self.table["chip"])
        if name not in chips:
            name = re.sub(r"(\d)gb$", r"\1g", name)
        if name not in chips:
            where = self.document.where((*self.place, "chip"))
            raise unknown("chip", str(self.table["chip"]), chips, where=where)
        system = {**systems.get(name, {}), **self.table}
        devices = int(system.get("devices", 8))
        network = system.get("network")
        levels = {"cluster": NetworkLevel(bandwidth=float(network))} if network else {}
        cluster = Cluster(name=name, chip=name, nodes=1, devices=devices, network=levels)
        return chips[name], cluster

    def rows(self) -> Iterator[Published]:
        rows = self.table["rows"]
        given = []
        for index, row in enumerate(rows):
            place = (*self.place, "rows", index)
            if not isinstance(row, list) or len(row) != len(self.columns):
                raise self.document.error(place, f"must have {len(self.columns)} values")
            given.append({**self.table, **dict(zip(self.columns, row, strict=True))})
        gated, tied = self._kind(given)
        for index, row in enumerate(given):
            yield from self._row(row, (*self.place, "rows", index), gated, tied)

    def _number(self, row: dict[str, Any], key: str, place: Place, default: Any = None) -> float:
        value = row.get(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
            what = "is missing" if value is None else f"must be a positive number, not {value!r}"
            raise self.document.error(place, f"{key} {what}")
        return float(value)

    def _word(
        self, row: dict[str, Any], key: str, place: Place, known: Collection[str], default: str
    ) -> str:
        value = str(row.get(key, default))
        if value not in known:
            raise unknown(key, value, known, where=self.document.where(place))
        return value

    def _kind(self, rows: list[dict[str, Any]]) -> tuple[bool, bool]:
        """(gated, tied) as the table says, else those whose counts of weights are nearest."""
        best, found = math.inf, (False, False)
        for gated in (False, True):
            for tied in (True, False):
                if self.table.get("gated", gated) != gated or self.table.get("tied", tied) != tied:
                    continue
                away = 0.0
                for index, row in enumerate(rows):
                    place = (*self.place, "rows", index)
                    model = self._model(row, place, gated, tied)
                    if row.get("params"):
                        said = self._number(row, "params", place)
                        away += math.log(model.parameters() / said) ** 2
                if away < best:
                    best, found = away, (gated, tied)
        return found

    def _model(self, row: dict[str, Any], place: Place, gated: bool, tied: bool) -> Decoder:
        number = self._number
        dim, heads = int(number(row, "hidden", place)), int(number(row, "heads", place))
        ffn = row.get("ffn", "4h")
        if isinstance(ffn, str) and (match := re.fullmatch(r"([\d.]+)\s*h", ffn)):
            ffn = round(float(match[1]) * dim)
        shape = ModelShape(
            dim=dim,
            layers=int(number(row, "layers", place)),
            heads=heads,
            kv_heads=int(number(row, "kv_heads", place, heads)),
            ffn=int(number({"ffn": ffn}, "ffn", place)),
            vocab=int(number(row, "vocab", place)),
            seq=int(number(row, "seq", place)),
            head_dim=int(row.get("head_dim", 0)),
            experts=int(row.get("experts", 0)),
            top_k=int(row.get("top_k", 0)),
        )
        return Decoder(shape, gated=gated, tied=tied)

    def _row(
        self, row: dict[str, Any], place: Place, gated: bool, tied: bool
    ) -> Iterator[Published]:
        model = self._model(row, place, gated, tied)
        degrees = {key: int(self._number(row, key, place, 1)) for key in ("tp", "pp", "cp", "ep")}
        inner = degrees["tp"] * degrees["pp"] * degrees["cp"]
        chips = int(self._number(row, "chips", place, row.get("dp", 1) * inner))
        if chips % inner:
            raise self.document.error(place, f"{chips} chips do not divide by {inner}")
        batch = int(self._number(row, "global_batch", place))
        usual = "optimizer" if self.year >= _FIRST_SHARED_OPTIMIZER else "none"
        sharding = _SHARDING[self._word(row, "sharding", place, _SHARDING, usual)]
        tp, pp, cp, ep = degrees.values()
        base = Plan(batch, tp=tp, pp=pp, cp=cp, ep=ep, dp=chips // inner, sharding=sharding)
        gib = self.table.get("memory_gib", {})
        for name, seconds, recompute, sequence in self._measured(row, place, model, base):
            wanted = replace(base, sequence=sequence)
            plans, assumed = self._plans(wanted, row, model, recompute)
            if not plans:
                raise self.document.error(place, "no layout that this row allows fits the model")
            size = f"{model.parameters() / 1e9:.3g}B"
            said: list[float] = next(
                (v for k, v in gib.items() if float(k) == row.get("params")), []
            )
            kept = (said[0] + said[1 + (recompute == "selective")],) if len(said) > 2 else ()
            if not isinstance(whole := row.get("memory_gib", {}), dict):
                kept = (self._number({"memory_gib": whole}, "memory_gib", place),)
            yield Published(
                table=self.name,
                name=f"{size} on {chips}{name}",
                chip=self.chip,
                cluster=_sized(self.cluster, chips),
                dtype=str(row["dtype"]),
                model=model,
                software=stack(self.year),
                plans=tuple(plans),
                seconds=seconds,
                assumed=tuple(assumed),
                memory=tuple(one * 2**30 for one in kept),
                table_of_memory=isinstance(whole, dict),
            )

    def _measured(
        self, row: dict[str, Any], place: Place, model: Decoder, plan: Plan
    ) -> Iterator[tuple[str, float, Recompute | None, bool]]:
        """(name, seconds, recompute, sequence parallel) of every step that a row tells."""
        usual = bool(row.get("sequence_parallel", self.year >= _FIRST_SEQUENCE_PARALLEL))
        recompute: Recompute | None = None
        if row.get("recompute") is not None:
            recompute = self._word(row, "recompute", place, _RECOMPUTE, "none")  # type: ignore[assignment]
        told = False
        for key, again, sequence in _SEVERAL:
            if key in row:
                told = True
                yield f", {again}", self._number(row, key, place), again, sequence
        if "seconds" in row:
            yield "", self._number(row, "seconds", place), recompute, usual
        elif "tokens_per_second" in row or "tokens_per_second_per_chip" in row:
            key = next(one for one in _RATES[2:] if one in row)
            rate = self._number(row, key, place) * (plan.chips if key.endswith("chip") else 1)
            yield "", plan.batch * model.shape.seq / rate, recompute, usual
        elif "tflops" in row or "mfu_percent" in row:
            before = recompute == "full" and self.year <= 2022
            default = "hardware" if before else "full"
            convention: Convention = self._word(row, "flops", place, _CONVENTIONS, default)  # type: ignore[assignment]
            if "tflops" in row:
                rate = self._number(row, "tflops", place) * 1e12
            else:
                peak = self.chip.peak(str(row["dtype"])) or math.nan
                rate = self._number(row, "mfu_percent", place) / 100 * peak
            tokens = plan.batch * model.shape.seq
            work = model.flops_per_token(convention) * tokens
            yield "", work / (rate * plan.chips), recompute, usual
        elif not told:
            raise self.document.error(place, "has neither seconds nor any of " + ", ".join(_RATES))

    def _plans(
        self, base: Plan, row: dict[str, Any], model: Decoder, recompute: Recompute | None
    ) -> tuple[list[Plan], list[str]]:
        """The layouts that a row allows, and what had to be assumed to have one."""
        assumed = []
        micro, virtual = row.get("micro_batch"), row.get("virtual_stages")
        micros = [int(micro)] if micro else [1, 2, 4, 8, 16]
        parts = -(-model.shape.layers // base.pp)
        virtuals = [int(virtual)] if virtual else [v for v in range(1, parts + 1) if parts % v == 0]
        again: list[Recompute] = [recompute] if recompute else ["none", "selective", "full"]
        if not micro:
            assumed.append("micro-batch")
        if not virtual and base.pp > 1:
            assumed.append("virtual stages")
        if not recompute:
            assumed.append("recompute")
        found = []
        for size in micros:
            for v in virtuals:
                for kept in again:
                    plan = replace(base, micro=size, virtual=v, recompute=kept)
                    # Who published it ran it, whatever is said here of its microbatches.
                    asked = replace(plan, virtual=1) if virtual else plan
                    try:
                        asked.check(model)
                    except ValueError:
                        continue
                    found.append(plan)
        return found, assumed


def _sized(cluster: Cluster, chips: int) -> Cluster:
    """The same with as many nodes as so many chips are in."""
    return msgspec.structs.replace(cluster, nodes=max(1, -(-chips // cluster.devices)))
