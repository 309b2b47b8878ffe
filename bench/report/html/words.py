"""The words of a page: who says them in its language, and those that its scripts say themselves."""

from __future__ import annotations

from typing import Protocol

from ..language import Language, Say, speaker

SCRIPTED = (
    "accept",
    "all nodes",
    "Choose one to see its nodes apart.",
    "copied",
    "copy",
    "details",
    "device",
    "filter",
    "in spreads",
    "inconclusive",
    "metric",
    "no such node",
    "nodes in a column, which shows the worst of them",
    "reject",
    "select and copy by hand",
    "show more",
    "spreads",
    "usual",
    "value",
    "worse by",
)
"""What the page's scripts say by themselves."""

PICTURED = (
    "against the usual pair",
    "all metrics of this node",
    "fewer than two pairs: nothing is known",
    "in no pair",
    "median",
    "named as slow",
    "nodes",
    "not known",
    "pairs",
    "slow",
    "slow link",
    "slow links",
    "slow links that have no line here",
    "slow links that lead out of what is shown",
    "slow-device",
    "slow-link",
    "slow-node",
    "slow-pair",
    "slower",
    "slowest",
    "usual pair",
)
"""What ``topology.js`` says besides."""

DRAWN = (
    "Autoscale",
    "Compare data on hover",
    "Double-click on legend to isolate one trace",
    "Double-click to zoom back out",
    "Download plot",
    "Download plot as a PNG",
    "Image download succeeded",
    "Pan",
    "Preparing image - this may take a few seconds",
    "Reset axes",
    "Show closest data on hover",
    "Sorry, there was a problem downloading your image!",
    "Toggle Spike Lines",
    "Toggle show closest data on hover",
    "Zoom",
    "Zoom in",
    "Zoom out",
    "lower fence:",
    "max:",
    "mean:",
    "median:",
    "min:",
    "q1:",
    "q3:",
    "upper fence:",
)
"""What plotly.js says, word by word as it does."""


class Speaks(Protocol):
    """What says words in a page's language."""

    @property
    def language(self) -> Language:
        """The page's."""
        ...

    @property
    def say(self) -> Say:
        """A text in it."""
        ...


class Voice:
    """Speaks a language, where there is no run that does."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self.say = speaker(language)
