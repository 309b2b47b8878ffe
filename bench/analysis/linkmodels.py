"""How long a collective takes by a ring, a tree, or at once to all: α–β models of its links.

α is the time of an empty message in seconds, β what one device's link carries in B/s, S the size of
the whole array in bytes, n the number of ranks, L = ⌈log2 n⌉, k the bus factor of
`bench.kernels.messages`. Formulas: Thakur, Rabenseifner and Gropp, *Optimization of collective
communication operations in MPICH*, IJHPCA 19, 2005; Chan, Heimlich, Purkayastha and van de Geijn,
*Collective communication: theory, practice, and experience*, 2007; Bruck et al., *Efficient
algorithms for all-to-all communications*, IEEE TPDS 8, 1997. Every device sends and receives at the
same time over one link, and links share nothing: what a network loses to sharing is not in it.
"""

from __future__ import annotations

import math

from ..kernels import messages

HALVING = ("all_gather", "reduce_scatter")


def times(
    op: str, ranks: int, size: float, alpha: float | None, beta: float | None
) -> dict[str, float]:
    """Seconds by model: ``ring``, ``tree`` and ``direct``, those that the operation has.

    Args:
        op: The collective.
        ranks: n.
        size: S.
        alpha: α; None: unknown, and counted as nothing.
        beta: β; None: unknown. Then only what moves no data has a time.

    Empty where nothing is known.
    """
    first = alpha or 0.0
    if ranks < 2:
        return {}
    if op == "barrier":
        return {"tree": messages.steps(op, ranks) * alpha} if alpha else {}
    if not beta:
        return {}
    rounds = math.ceil(math.log2(ranks))
    whole = size / beta
    moved = messages.bus_factor(op, ranks) * whole
    if op == "send_recv":
        return {"direct": first + whole}
    ring = messages.steps(op, ranks) * first + moved
    if op == "all_reduce":
        # Doubling sends the whole array in every round; at once: scatter the sums, gather them.
        return {
            "ring": ring,
            "tree": rounds * (first + whole),
            "direct": 2 * first + moved,
        }
    if op in HALVING:
        return {"ring": ring, "tree": rounds * first + moved, "direct": first + moved}
    if op in ("broadcast", "reduce"):
        # At once, all of it passes the root's one link n - 1 times.
        return {
            "ring": ring,
            "tree": rounds * (first + whole),
            "direct": first + (ranks - 1) * whole,
        }
    if op == "all_to_all":
        return {"ring": ring, "tree": rounds * (first + whole / 2), "direct": first + moved}
    if op in ("scatter", "gather"):
        return {"tree": rounds * first + moved, "direct": first + moved}
    return {"ring": ring}
