"""What a projection takes for granted, each with its figure, how far it may be off, and its source.

What a run measured, or the cluster's file and the chip's datasheet say, is not among it.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...configs import Chip, Cluster
from ...units import format_duration
from .calibration import ABOUT, Calibration
from .fitting import SPREAD, Constant, Fitted
from .machine import LATENCY
from .memory import USABLE
from .plan import Plan
from .search import TOKENS
from .training import TOKENS_A_WEIGHT

_WHAT = {
    "gemm": "of the peak inside tiles",
    "memory": "of the datasheet's bandwidth",
    "link": "of the bandwidth inside a node",
    "network": "of the bandwidth between nodes",
    "jitter": "longer each time that the chips double",
    "overlap": "of what runs beside computing is hidden",
    "host": "of a step in which the device has nothing to do",
}
_TYPICAL = "typical, with how far typical values lie apart"


def assumed(
    calibration: Calibration,
    fitted: Fitted | None,
    chip: Chip,
    dtype: str,
    cluster: Cluster,
    plan: Plan,
    *,
    batch: bool,
    tokens: bool,
) -> dict[str, str]:
    """By what it is about, in words.

    Args:
        calibration: Efficiencies, and where they come from.
        fitted: Deviations of the constants that published runs gave.
        chip, dtype, cluster, plan: What is projected on, and how.
        batch, tokens: Whether nobody gave them.
    """
    return dict(
        [
            *_datasheet(chip, dtype),
            *_constants(calibration, fitted, chip.name),
            *_latency(calibration, cluster),
            *_training(cluster, plan, batch, tokens),
        ]
    )


def _datasheet(chip: Chip, dtype: str) -> Iterator[tuple[str, str]]:
    """Figures that neither the vendor says nor anybody measured."""
    figures = {
        f"{dtype} peak": chip.flops.get(dtype),
        "memory": chip.memory,
        "memory bandwidth": chip.memory_bandwidth,
        "link": chip.link,
        "network": chip.network,
        "power": chip.tdp,
    }
    for name, figure in figures.items():
        if figure is not None and figure.status == "third-party":
            yield f"the {name} of {chip.name}", f"as a third party says: {figure.source}"


def _constants(
    calibration: Calibration, fitted: Fitted | None, chip: str
) -> Iterator[tuple[str, str]]:
    known = fitted.constants if fitted is not None else ()
    mine = {one.name: one for one in known if one.chip in ("", chip)}
    for name, what in ABOUT.items():
        if not calibration.sources.get(what, "").startswith("typical"):
            continue
        value = getattr(calibration.efficiency, name)
        if name in mine:
            spread = mine[name].deviation / mine[name].value
            rows = fitted.rows if fitted is not None else 0
            why = f"typical, moved by {rows} small published runs"
        else:
            spread, why = SPREAD[name], _TYPICAL + _others(name, known)
        yield what, f"{_figure(name, value)} {_WHAT[name]}, ± {spread:.0%} of that ({why})"
    if calibration.sources.get("attention", "").startswith("typical"):
        forward, backward = calibration.efficiency.attention
        yield (
            "attention",
            f"{forward:.0%} of the peak forward, {backward:.0%} backward (Dao, FlashAttention-2, "
            "2023; Shah et al., FlashAttention-3, 2024)",
        )


def _others(name: str, known: tuple[Constant, ...]) -> str:
    """What other kinds of chip reach, where published runs of them say it."""
    found = [f"{one.chip} {_figure(name, one.value)}" for one in known if one.name == name]
    return f"; published runs say {', '.join(found)}" if found else ""


def _figure(name: str, value: float) -> str:
    if name == "host":
        return format_duration(value)
    return f"{value:.2%}" if name == "jitter" else f"{value:.0%}"


def _latency(calibration: Calibration, cluster: Cluster) -> Iterator[tuple[str, str]]:
    given = {name for name, level in cluster.network.items() if level.latency}
    beyond = [name for name in (*cluster.labels, "cluster") if name not in given]
    said = []
    if calibration.latency[0] is None and "node" not in given:
        said.append(f"{format_duration(LATENCY[0])} inside a node")
    if calibration.latency[1] is None and beyond:
        said.append(f"{format_duration(LATENCY[1])} beyond ({', '.join(beyond)})")
    if said:
        why = "typical of libraries (Hu et al., Demystifying NCCL, 2025)"
        yield "a step of a collective", f"{' and '.join(said)}: {why}"


def _training(cluster: Cluster, plan: Plan, batch: bool, tokens: bool) -> Iterator[tuple[str, str]]:
    yield "memory that can be used", f"{USABLE:.0%} of a device's: the runtime takes the rest"
    if batch:
        yield (
            "the batch",
            f"{plan.batch} sequences, about {TOKENS / 1e6:.0f} million tokens a step, as Llama 3 "
            "405B had (Grattafiori et al., 2024, table 4); --batch says other",
        )
    if tokens:
        yield (
            "the tokens",
            f"{TOKENS_A_WEIGHT} for every active weight (Hoffmann et al., Training Compute-Optimal "
            "Large Language Models, 2022, §3); --tokens says other",
        )
    if cluster.operation.node_mtbf is not None:
        yield (
            "failures",
            "strike independently of each other and of time, and take "
            f"{format_duration(cluster.operation.recovery)} until training goes on "
            "(operation.recovery)",
        )
    if cluster.operation.pue is not None:
        beside = ""
        if cluster.operation.node_power is None:
            beside = "; nodes beside them (operation.node_power) are not declared, and left out"
        yield "energy", f"devices take the power of their datasheet all the time{beside}"
