"""``hengsuan gate selftest``: how small a change can be seen here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..errors import Exit, UsageError
from .json_output import JSON, print_json, say, tell
from .measuring import places
from .scoring import SPEAKING
from .verbs import Verb

_SAID = {
    Exit.OK: "every margin is held here",
    Exit.FINDING: "a metric is slower than itself: something here changes as time goes on",
    Exit.INCONCLUSIVE: "margins below what is held cannot be told from noise here: widen them",
}


@click.command(cls=Verb)
@click.option("--gate", "gate_name", default="default", show_default=True, metavar="NAME|FILE")
@click.option("--suite", metavar="NAME|FILE", help="What a block measures.  [default: the gate's]")
@click.option("--blocks", type=click.IntRange(4), default=10, show_default=True)
@places
@SPEAKING
@JSON
def command(
    gate_name: str,
    suite: str | None,
    blocks: int,
    out: Path,
    as_json: bool,
    **where: Any,
) -> int:
    """Measure the same code as both sides, and say which margins the gate can hold on this machine.

    `gate pair` refuses a gate file that asks for less, for a day.

    Exit code: 0 all of them; 1 a metric is slower than itself; 2 usage; 3 a margin is smaller than
    the noise allows; 4 a side was lost.
    """
    import msgspec

    from ..analysis.gate.sequential import blocks_for, smallest_margin
    from ..campaigns.pair import compare
    from ..campaigns.selftests import keep
    from ..configs import load_gate
    from ..report.plain import plain
    from ..report.terminal import console, print_table, verdict
    from . import reader_may_leave
    from .gate_pair_verb import both

    asked = load_gate(gate_name)
    most = asked.blocks[-1]
    gate = msgspec.structs.replace(asked, suite=suite or asked.suite, blocks=[blocks])
    with both(gate, (), (), out, where) as sides:
        found = compare(gate, sides, say=say)
        noise = {one.name: one.noise for one in found.judged if one.noise is not None}
        try:
            keep(sides[0].devices(), noise)
        except OSError as error:
            tell(f"warning: this cannot be kept: {error.strerror}")
    if not found.judged:
        raise UsageError(f"no line of gate {gate.name} fits a metric of suite {gate.suite}")
    rows = []
    codes = []
    for one in found.judged:
        if one.exact and one.state == "PASS":
            rows.append((one.name, "none", f"{one.margin:.1%}", "0.00%", "1", "a count"))
            continue
        if one.noise is None:
            codes.append(Exit.INCONCLUSIVE)
            rows.append((one.name, "", f"{one.margin:.1%}", "", "", one.reason))
            continue
        least = smallest_margin(one.noise, most)
        codes += [Exit.FINDING] if one.state == "REGRESSED" else []
        codes += [Exit.INCONCLUSIVE] if least > one.margin else []
        rows.append(
            (
                one.name,
                f"{one.noise:.2%}",
                f"{one.margin:.1%}",
                f"{least:.2%}",
                str(blocks_for(one.noise, one.margin)),
                "slower than itself" if one.state == "REGRESSED" else "",
            )
        )
    code = Exit.worst(codes)
    heads = ("metric", "noise of a block", "margin", f"held by {most}", "blocks for it", "")
    with reader_may_leave():
        if as_json:
            print_json({"exit": int(code), "blocks": found.blocks, "metrics": found.judged})
            return int(code)
        made = console()
        print_table(made, heads, [list(map(plain, row)) for row in rows], right=(1, 2, 3, 4))
        verdict(made, _SAID[code])
    return int(code)
