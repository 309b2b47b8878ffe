"""The page of states: every word with which something is judged, and every exit code."""

from __future__ import annotations

from ..conformity import MEANING
from ..errors import Exit
from ..gates import PASSING, STATE_MEANING
from ..ledger import PART_MEANING
from ..records import PROVENANCE_MEANING, RUN_STATE_MEANING, STATUS_MEANING
from ..verdicts import AGAINST_MEANING, WORD_MEANING
from .attributes import attribute_docs
from .markdown import code, inline, sections, table


def page() -> str:
    """All states."""
    said = attribute_docs(Exit)
    return sections(
        "# States, verdicts and exit codes",
        "## Exit codes",
        table(("code", "meaning"), ((str(int(one)), said[one.name]) for one in Exit)),
        f"Where several hold, the first of these counts: {_order()}.",
        "## Status of a row",
        "Only `ok` counts. All others have a reason, which is a sentence.",
        _table("status", STATUS_MEANING),
        "## Provenance",
        "They never mix in one run or one score, and reports, verdicts and certificates say which.",
        _table("provenance", PROVENANCE_MEANING),
        "## Part of a job",
        "Where its wall time goes (`ledger.jsonl`); the parts sum to the whole.",
        _table("part", PART_MEANING),
        "## State of a run",
        _table("state", RUN_STATE_MEANING),
        "## Verdict about a node",
        _table("verdict", WORD_MEANING),
        "What a finding is held against:",
        _table("against", AGAINST_MEANING),
        "## State of a gate's metric",
        table(
            ("state", "meaning", "passes"),
            (
                (code(state), inline(text), "yes" if state in PASSING else "no")
                for state, text in STATE_MEANING.items()
            ),
        ),
        "## Result of a check of a backend",
        _table("result", MEANING),
        "## Rules of a submission",
        "Each has an id, listed in [bench/submissions](../../bench/submissions/README.md).",
    )


def _order() -> str:
    left, found = list(Exit), []
    while left:
        worst = Exit.worst(left)
        found.append(str(int(worst)))
        left.remove(worst)
    return ", ".join(found)


def _table(head: str, meanings: object) -> str:
    assert isinstance(meanings, dict)
    return table((head, "meaning"), ((code(k), inline(v)) for k, v in meanings.items()))
