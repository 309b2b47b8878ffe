"""Which network interface a node's ranks talk over: the one of the node's address, or a person's.

Left alone, gloo asks the host's name for an address. Many hosts map their own name to loopback,
and then no other node can be reached.
"""

from __future__ import annotations

import os

from ..host.addresses import held, interface_of

VARIABLE = "GLOO_SOCKET_IFNAME"
"""Names interfaces, separated by commas. Set where a node's raylet starts, it is obeyed."""


def environment(address: str) -> dict[str, str]:
    """What a rank must be told so that it talks over the interface that carries ``address``."""
    if os.environ.get(VARIABLE):
        return {}
    name = interface_of(address)
    return {VARIABLE: name} if name else {}


def problem() -> str:
    """What is wrong with the interfaces that a person chose here; empty if nothing is."""
    chosen = [name for name in os.environ.get(VARIABLE, "").split(",") if name]
    try:
        there = list(dict.fromkeys(name for name, _ in held()))
    except OSError:  # then nothing can be said against it
        return ""
    wrong = [name for name in chosen if name not in there]
    if not wrong:
        return ""
    return (
        f"{VARIABLE} names {', '.join(wrong)}, no interface with an address here; "
        f"there are {', '.join(there) or 'none'}"
    )
