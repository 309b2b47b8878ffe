"""What launchers, log collectors and CI services put before each line, and whose line it is.

Several processes that print at a time are told apart by the label that their launcher gives to
each line: ``[1,0]<stdout>:`` of mpirun, ``3: `` of srun, ``[3] `` of MPICH, ``host: `` of pdsh;
several pods, containers or actors by theirs: ``[pod/NAME/CONTAINER] `` of kubectl, ``NAME
CONTAINER `` of stern, ``NAME  | `` of compose, ``(NAME, pid=3) `` of Ray. A time before or behind
the label (kubectl, journald, mpirun, CI services, Python's logging) is read away.
"""

from __future__ import annotations

import contextlib
import re
from datetime import datetime, timezone
from typing import NamedTuple

_CTIME = r"[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d+)? \d{4}"
_DATE = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?"
_LEVEL = r"\[?(?:DEBUG|INFO|NOTICE|WARN|WARNING|ERROR)\]?"
_BEHIND = (
    r"(?: std(?:out|err) [FP]"  # a container runtime's own file
    r"| \d\d[OE]\+?"  # GitLab
    rf"|(?: - [\w.]+){{0,2}} - {_LEVEL} -| {_LEVEL}:?)?"  # Python's logging
)
_TIME = (
    rf"(?:(?:[^\t\n]{{1,200}}\t[^\t\n]{{1,200}}\t)?\[?{_DATE}\]?{_BEHIND}(?:[ \t]|$)"
    r"|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S+ [^\s\[:]+\[\d+\]:(?: |$))"  # journald
)
_OWNER = (
    r"(?:\[(?P<pod>pod/[^\]\s]+)\](?: |$)"
    r"|\((?P<actor>[^()\n]*\bpid=\d+[^()\n]*)\)(?: |$)"
    r"|(?P<compose>[\w.-]+)[ ]+\|(?: (?=[ #\[\d])| ?$)"
    r"|(?P<stern>[a-z\d][a-z\d.]*-[a-z\d.-]* [a-z\d][a-z\d-]*) (?=#|\[\d+,\d+\]<|[ ]*\d+[ ]{2}))"
)
_PROCESS = (
    rf"(?:(?:{_CTIME})?(?:\[(?P<mpirun>[^\]\s]*\d,\d+)\](?:\[[^\]\s]*\])?)?"
    rf"(?:{_CTIME})?<std(?:out|err)>:[ ]?"
    r"|[ ]*(?P<srun>\d+):(?: |$)"
    r"|\[(?P<mpich>\d+)\][ ]?(?=#|[ \d]|$)"
    r"|(?P<host>[A-Za-z][\w.-]*):[ ](?=#|[ ]*\d))"
)
_PREFIX = re.compile(rf"(?P<time>{_TIME})?(?:{_OWNER})?(?:{_TIME})?(?:{_PROCESS})?")
_TAGGED = re.compile(r"\[([^\]\s]*\d,\d+)\]<std(?:out|err)>:[ ]?")
"""The most frequent prefix, which many long logs have on every line."""
_SAID = re.compile(_DATE)
_PREFIXED = re.compile(
    rf"\n(?:[ ]+\d+:(?: |$)|(?![# ])(?:{_TIME}|{_OWNER}|{_PROCESS}))", re.MULTILINE
)
"""A line with a prefix, behind the end of another: newlines are found fast, beginnings are not, and
most lines begin as no prefix does."""


class Labelled(NamedTuple):
    """Whose line it is, empty where nobody says; what was printed; and when, as it was written."""

    stream: str
    text: str
    time: str


def prefixed(text: str) -> bool:
    """Whether a line of these has a prefix."""
    return bool(_PREFIXED.search(f"\n{text}"))


def unlabelled(line: str) -> Labelled:
    """A line without what stands before it.

    The stream is the name of a host where nothing but that is before it (``n1: `` of pdsh), and
    begins with no letter otherwise.
    """
    if tagged := _TAGGED.match(line):
        return Labelled(tagged[1], line[tagged.end() :], "")
    match = _PREFIX.match(line)
    assert match is not None  # all of it may be missing
    owner = match["pod"] or match["actor"] or match["compose"] or match["stern"]
    process = match["host"] or match["mpirun"] or match["srun"] or match["mpich"] or ""
    stream = f"({owner}) {process}" if owner else process
    return Labelled(stream, line[match.end() :], match["time"] or "")


def moment(time: str) -> datetime | None:
    """When a line was printed, by what stands before it; UTC where no zone is said.

    None where that has no date with a year, or is none.
    """
    found = _SAID.search(time)
    if found is None:
        return None
    text = found[0].replace(",", ".").replace("Z", "+00:00")
    # Before Python 3.11 fractions have three or six digits, and zones a colon.
    text = re.sub(r"\.\d+", "", text)
    text = re.sub(r"([+-]\d\d)(\d\d)$", r"\1:\2", text)
    with contextlib.suppress(ValueError, OverflowError):
        said = datetime.fromisoformat(text)
        return said.astimezone(timezone.utc) if said.tzinfo else said.replace(tzinfo=timezone.utc)
    return None
