"""A run's page: which sections it has, the verdict first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ... import __version__
from .collectives import collectives
from .conditions import conditions
from .environment import environment
from .fabric import fabric
from .measurements import measurements
from .nodes import nodes
from .page import Page, Section
from .provenance import provenance
from .roofline import roofline
from .source import Source
from .spending import where_time_went
from .spread import spread
from .standing import standing
from .training import training
from .why import why

SECTIONS: Sequence[Callable[[Source], Section | None]] = (
    standing,
    why,
    nodes,
    measurements,
    roofline,
    fabric,
    collectives,
    training,
    where_time_went,
    conditions,
    spread,
    environment,
    provenance,
)
"""In the order of the page. One that has nothing to show of a run is not there."""


def run_page(source: Source) -> Page:
    """The page of a run."""
    header = source.header
    sections = [section for made in SECTIONS if (section := made(source)) is not None]
    return Page(
        title=header.id,
        badge=source.run.label,
        kicker="run",
        lines=[f"{header.suite} · {header.started} · {', '.join(source.run.kinds)}"],
        sections=sections,
        foot=f"hengsuan {__version__}",
        language=source.language,
    )
