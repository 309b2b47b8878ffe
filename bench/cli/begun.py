"""What a run was begun with, and the command that repeats one check of it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import click

from ..analysis.joining import base, what
from ..analysis.summary import members
from ..errors import HengsuanError
from ..records import Case, Header
from ..verdicts import Evidence
from . import VERBS
from .verbs import Verbs

_WHERE = ("address", "labels", "backend", "out", "stand_in", "impose")
"""Options that a repetition needs as well."""
_ONE_NODE = ("devices", "nodes")
"""Kinds of schedules whose groups lie in one node each."""


def begun(header: Header) -> dict[str, Any]:
    """The options that stood on the command line that began a run, by parameter.

    Empty where that is no command line of ours, or of one that has other options now.
    """
    words = [word for word in header.command[1:] if word != "--debug"]
    if not words or words[0] not in VERBS:
        return {}
    verb, *rest = words
    try:
        command = Verbs(verbs=VERBS).get_command(click.Context(click.Group()), verb)
        assert command is not None
        made = command.make_context(verb, rest, resilient_parsing=True)
    except click.ClickException:
        return {}
    typed = click.core.ParameterSource.COMMANDLINE
    return {
        name: value
        for name, value in made.params.items()
        if made.get_parameter_source(name) is typed
    }


def repeating(header: Header, evidence: Evidence, node: str, asked: Mapping[str, str]) -> str:
    """The command that repeats one check, on that node where it takes no other.

    Args:
        header: The run's header.
        evidence: Of which check.
        node: Name of the node that it is about.
        asked: The profile and the baseline, as they were typed.

    Returns an empty string for what is no measurement, and for what another tool has measured.
    """
    typed = begun(header)
    simulated = header.fleet is not None
    unrepeatable = header.provenance == "imported" or (simulated and "cluster" not in typed)
    if not evidence.stage or not evidence.metric or unrepeatable:
        return ""
    words = ["hengsuan", "certify", *_as_before(header, typed)]
    if header.executor == "ray" and _inside(header, evidence):
        words += ["--nodes", node]
    for name, value in asked.items():
        words += [f"--{name}", value]
    if header.executor == "ray" and evidence.against == "fleet":
        # On its own it would have nothing to be held against.
        words += ["--baseline", header.id]
    return shlex.join([*words, "--only", evidence.metric])


def again(header: Header, name: str) -> str:
    """The command that measures those cases of a run once more whose names begin so.

    Returns an empty string for what is no case of its suite, and where it is not known how the run
    was begun.
    """
    from ..cluster.choice import only
    from ..configs import suite_from_text

    typed = begun(header)
    if header.command[1:2] not in (["run"], ["certify"]) or not header.suite_text:
        return ""
    if header.fleet is not None and "cluster" not in typed:
        return ""
    try:
        only(suite_from_text(header.suite_text, header.suite), name)
    except HengsuanError:
        return ""
    words = ["hengsuan", header.command[1], *_as_before(header, typed)]
    return shlex.join([*words, "--only", name])


def _as_before(header: Header, typed: Mapping[str, Any]) -> list[str]:
    """The suite and where it was measured, as words of a command line."""
    words = [str(typed.get("suite", header.suite))]
    if header.fleet is not None:
        words += ["--cluster", str(typed["cluster"])]
    if header.executor == "local":
        words += ["--executor", "local"]
    for name in _WHERE:
        if name in typed:
            words += [f"--{name.replace('_', '-')}", str(typed[name])]
    if typed.get("share"):
        words.append("--share")
    return words


def _inside(header: Header, evidence: Evidence) -> bool:
    """Whether the check is of devices of one node."""
    case = next((one for one in header.cases if _of(header, one, evidence)), None)
    return case is not None and header.schedules[case.schedule].kind in _ONE_NODE


def _of(header: Header, case: Case, evidence: Evidence) -> bool:
    name = f"{case.short()}{members(what(header.schedules[case.schedule]))}"
    return base(case.stage) == base(evidence.stage) and f"{evidence.metric} ".startswith(f"{name} ")
