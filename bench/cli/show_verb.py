"""``hengsuan show``: what can be named on the command line and in suites."""

from __future__ import annotations

from typing import Any, get_args

import click

from ..report.amount import quiet
from .json_output import JSON, print_json, tell
from .scoring import SPEAKING
from .verbs import Commands


@click.group(name="show", cls=Commands)
def command() -> None:
    """Show what can be measured, against what, and from which files."""


_HEADS = {"better": "better is"}
"""Above columns whose key alone is another word elsewhere."""
_SAID = ("scope", "better", "hits", "about")
"""Columns in words; all others hold what is typed on the command line and in files."""


def _print(found: Any, as_json: bool, columns: tuple[str, ...]) -> int:
    from ..report.language import spoken
    from ..report.terminal import console, print_list

    if as_json:
        print_json(found)
        return 0
    heads = [_HEADS.get(key, key) for key in columns]
    rows = [
        [spoken(str(one[key])) if key in _SAID else str(one[key]) for key in columns]
        for one in found
    ]
    print_list(console(), heads, rows, names=range(len(columns)))
    return 0


@command.command()
@click.argument("names", nargs=-1, metavar="[BENCHMARK]...")
@SPEAKING
@JSON
def benchmarks(names: tuple[str, ...], as_json: bool) -> int:
    """Benchmarks and what they are for; of those named, or with --verbose, axes and metrics."""
    import inspect

    from ..errors import unknown
    from ..report.amount import verbose
    from ..report.language import english, spoken
    from ..workloads.base import axes_of, problems, registry

    say = english if as_json else spoken
    known = registry()
    for name in names:
        if name not in known:
            raise unknown("benchmark", name, known)
    found = []
    for name, cls in sorted((name, known[name]) for name in names or known):
        found.append(
            {
                "benchmark": name,
                "scope": cls.scope,
                "axes": ", ".join(f"{key}={value}" for key, value in axes_of(cls()).items()),
                "metrics": ", ".join(
                    f"{m.name}{f' [{m.unit}]' if m.unit else ''} {say(m.better)}"
                    + (say(" (of each rank)") if m.each else "")
                    for m in cls.measures
                ),
                "measures": cls.measures,
                "about": inspect.getdoc(cls)
                if as_json
                else (inspect.getdoc(cls) or "").split("\n")[0].replace("``", "`"),
            }
        )
    whole = ("axes", "metrics") if names or verbose() else ()
    _print(found, as_json, ("benchmark", "scope", *whole, "about"))
    for name, problem in problems().items():
        tell(f"plugin {name} cannot be loaded: {problem}")
    return 0


@command.command()
@SPEAKING
@JSON
def derived(as_json: bool) -> int:
    """Metrics that profiles may name and no benchmark measures: of several cases, or declared."""
    from ..analysis.derived import DERIVED

    found = [
        {
            "benchmark": benchmark,
            "metric": metric,
            "unit": kind.unit,
            "better": kind.better,
            "about": kind.about,
            "formula": kind.formula,
            "source": kind.source,
        }
        for (benchmark, metric), kind in DERIVED.items()
    ]
    return _print(found, as_json, ("benchmark", "metric", "unit", "better", "about"))


@command.command()
@SPEAKING
@JSON
def suites(as_json: bool) -> int:
    """Suites and their stages."""
    from ..configs import load_suite, names

    found = []
    for name in names("suites"):
        suite = load_suite(name)
        stages = ", ".join(stage.name for stage in suite.stages)
        found.append({"suite": name, "stages": stages, "about": suite.description})
    return _print(found, as_json, ("suite", "stages", "about"))


@command.command()
@SPEAKING
@JSON
def chips(as_json: bool) -> int:
    """Datasheets; disputed figures are marked."""
    from ..configs import Figure, broken_chips, load_chips
    from ..report.language import spoken
    from ..units import format_value

    loaded = load_chips()
    for problem in broken_chips():
        tell(f"warning: {problem}")
    if as_json:
        return _print(list(loaded.values()), True, ())

    def said(figure: Figure | None, unit: str) -> str:
        if figure is None:
            return spoken("unknown")
        mark = {"vendor": "", "third-party": " (3rd)"}.get(figure.status, f" ({figure.status})")
        return format_value(figure.value, unit) + spoken(mark)

    found = []
    for name, chip in loaded.items():
        flops = {dtype: said(figure, "FLOP/s") for dtype, figure in chip.flops.items()}
        found.append(
            {
                "chip": name,
                "vendor": chip.vendor,
                "peak": ", ".join(f"{dtype} {text}" for dtype, text in flops.items())
                or spoken("unknown"),
                "memory": said(chip.memory, "B"),
                "bandwidth": said(chip.memory_bandwidth, "B/s"),
                "link": said(chip.link, "B/s"),
            }
        )
    return _print(found, False, ("chip", "vendor", "peak", "memory", "bandwidth", "link"))


@command.command()
@SPEAKING
@JSON
def profiles(as_json: bool) -> int:
    """Profiles and their categories."""
    from ..configs import load_profile, names
    from ..report.language import SPOKEN

    zh = SPOKEN.get() == "zh" and not as_json
    found = []
    for name in names("profiles"):
        profile = load_profile(name)
        found.append(
            {
                "profile": name,
                "categories": ", ".join(
                    (zh and profile.categories_zh.get(one)) or one for one in profile.categories
                ),
                "about": (zh and profile.description_zh) or profile.description,
            }
        )
    return _print(found, as_json, ("profile", "categories", "about"))


@command.command()
@SPEAKING
@JSON
def editions(as_json: bool) -> int:
    """Editions that a submission can be for, and the suite that each requires."""
    from ..configs import names
    from ..submissions.edition import load_edition

    found = []
    for name in names("editions"):
        edition = load_edition(name)
        found.append({"edition": name, "suite": edition.suite, "about": edition.description})
    return _print(found, as_json, ("edition", "suite", "about"))


@command.command()
@SPEAKING
@JSON
def gates(as_json: bool) -> int:
    """Gates, the suite that each measures, and what its metrics may lose."""
    from ..configs import load_gate, names
    from ..report.language import english, spoken

    say = english if as_json else spoken
    found = []
    for name in names("gates"):
        gate = load_gate(name)
        found.append(
            {
                "gate": name,
                "suite": gate.suite,
                "margins": ", ".join(
                    f"{one.match} {one.margin * 100:g}%{say(' exactly') if one.exact else ''}"
                    for one in gate.metrics
                ),
                "about": gate.description,
            }
        )
    return _print(found, as_json, ("gate", "suite", "margins", "about"))


@command.command()
@SPEAKING
@JSON
def clusters(as_json: bool) -> int:
    """Simulated clusters, and the kinds of fault that one can declare."""
    from ..configs import KINDS, load_cluster, names

    found = []
    for name in names("clusters"):
        cluster = load_cluster(name)
        found.append(
            {
                "cluster": name,
                "nodes": cluster.nodes,
                "devices": cluster.devices,
                "chip": cluster.chip,
                "faults": len(cluster.faults),
                "about": cluster.description,
            }
        )
    kinds = [
        {
            "fault": name,
            "hits": kind.of,
            "needs": ", ".join(kind.needs),
            "usually": _said(kind.usual),
            "about": kind.about,
        }
        for name, kind in KINDS.items()
    ]
    if as_json:
        return _print({"clusters": found, "faults": kinds}, True, ())
    _print(found, False, ("cluster", "nodes", "devices", "chip", "faults", "about"))
    return 0 if quiet() else _print(kinds, False, ("fault", "hits", "needs", "usually", "about"))


def _said(usual: dict[str, Any]) -> str:
    """Keys with values on one line, as a cluster's file has them."""
    import yaml

    return yaml.safe_dump(usual, default_flow_style=True, width=1000).strip()[1:-1]


@command.command()
@SPEAKING
@JSON
def config(as_json: bool) -> int:
    """Which file each name is read from."""
    from ..configs import Kind, names, path_of
    from ..configs.search import folders
    from ..report.terminal import console, line

    kinds: tuple[Kind, ...] = get_args(Kind)
    files = [
        {"kind": kind, "name": name, "file": str(path_of(kind, name))}
        for kind in kinds
        for name in names(kind)
    ]
    searched = [{"folder": str(folder), "exists": folder.is_dir()} for folder in folders()]
    if as_json:
        return _print({"searched": searched, "files": files}, True, ())
    if not quiet():
        screen = console()
        line(screen, "searched, the first that has a name wins:")
        for one in searched:
            line(screen, f"  {one['folder']}{'' if one['exists'] else ' (not there)'}")
    return _print(files, False, ("file", "kind", "name") if quiet() else ("kind", "name", "file"))


@command.command()
@click.argument("file", required=False)
@JSON
def schema(file: str | None, as_json: bool) -> int:
    """JSON schemas of what hengsuan writes, or of one FILE of it (always JSON)."""
    import msgspec

    from ..certificates.certificate import Signed
    from ..errors import unknown
    from ..ledger import LEDGER, Ledger
    from ..records import Conditions, Header, Row, Samples
    from ..submissions.manifest import Manifest
    from ..submissions.system import System
    from ..telemetry import TELEMETRY, TelemetryHeader, TelemetryRow
    from ..verdicts import VERDICT, Certification

    kinds: dict[str, Any] = {
        "run.json": Header,
        "conditions.jsonl": Conditions,
        "measurements.jsonl": Row,
        "samples.jsonl": Samples,
        LEDGER: Ledger,
        TELEMETRY: TelemetryRow,
        f"{TELEMETRY} header": TelemetryHeader,
        VERDICT: Certification,
        "certificate.json": Signed,
        "manifest.json": Manifest,
        "system.json": System,
    }
    if file is not None and file not in kinds:
        raise unknown("file", file, kinds)
    found = {name: msgspec.json.schema(kind) for name, kind in kinds.items()}
    shown = found if file is None else found[file]
    print_json(shown)
    return 0
