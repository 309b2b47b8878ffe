"""Configurations that no device has tried and that promise something, timed beside the kernels as
the tables have them: what is faster may then be searched for.
"""

from __future__ import annotations

from bench.kernels.candidates import candidates
from bench.kernels.space import Constants

MOST = 2
"""Configurations of a promise that are timed: those most like the present one."""
FAMILY = "untried"
"""The family of their cells (`records.Cell`): of no bound, and no rivals."""

_PROMISES = {
    ("attention", "causal_backward"): ("attention_key_value", "one_pass"),
    ("attention", "full_backward"): ("attention_key_value", "one_pass"),
    ("rmsnorm", "forward"): ("rmsnorm", "early"),
    ("rmsnorm", "add_forward"): ("rmsnorm", "early"),
}
"""Operation and variant → the key of the tables, and the switch that is on."""


def untried(
    arch: str | None, op: str, variant: str, dtype: str, shape: tuple[int, ...]
) -> dict[str, tuple[str, Constants]]:
    """Key and constants by a name, which begins with the switch; none where nothing is promised."""
    if arch is None or (op, variant) not in _PROMISES:
        return {}
    key, switch = _PROMISES[op, variant]
    if op == "attention":
        facts = {"head_dim": shape[4], "causal": int("causal" in variant), "seq": shape[3]}
    else:
        facts = {"width": shape[1], "add": int("add" in variant)}
    known = candidates(arch, key, dtype, facts)[1:]
    chosen = [one for one in known if one.get(switch)][:MOST]
    apart = {name for one in chosen for name in one
             if any(other.get(name, 0) != one[name] for other in chosen)}  # fmt: skip
    return {
        " ".join([switch, *(f"{name}={one[name]}" for name in one if name in apart)]): (key, one)
        for one in chosen
    }
