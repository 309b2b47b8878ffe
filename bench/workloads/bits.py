"""Results compared bit by bit, where they are: what differs, how much of it, and in which bits."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import torch

    Results: TypeAlias = Mapping[str, torch.Tensor]

DIGEST_BITS = 48
"""Of a digest that are kept: a row's value is a float64, which holds integers up to 2^53."""
_SHOWN = 3
"""Wrong elements that are told with their bits."""


def same(one: Results, other: Results) -> bool:
    """Whether every bit of every result is the same; NaN and the sign of zero are bits too."""
    import torch

    return all(torch.equal(whole(one[name]), whole(other[name])) for name in other)


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """The same memory as integers of the elements' width."""
    import torch

    kinds = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return tensor.detach().contiguous().view(kinds[tensor.element_size()])


def kept(results: Results) -> dict[str, torch.Tensor]:
    """A copy, where the next call of an operation may write into the same memory."""
    return {name: one.detach().clone() for name, one in results.items()}


def digest(results: Results) -> int:
    """The first 48 bits of the SHA-256 of all results in their order."""
    sha = hashlib.sha256()
    for one in results.values():
        sha.update(whole(one).cpu().numpy().tobytes())
    return int.from_bytes(sha.digest()[: DIGEST_BITS // 8], "big")


class Tally:
    """Repetitions of one computation, and what was wrong in them.

    Args:
        wanted: What each must give.
        place: Says in words where element ``index`` of the result ``name`` belongs.

    Attributes:
        repetitions: How many were compared.
        wrong_repetitions: How many differed.
        wrong_elements: How many elements differed, over all repetitions.
        first: Number of the first repetition that differed, counted from one; 0 for none.
        detail: Where that was and which bits, in words.
    """

    def __init__(
        self, wanted: Results, place: Callable[[str, int], str] = "{} element {}".format
    ) -> None:
        self.wanted = wanted
        self.repetitions = self.wrong_repetitions = self.wrong_elements = self.first = 0
        self.detail = ""
        self._place = place

    def add(self, found: Results) -> None:
        """Compare one repetition; only one that differs is looked at element by element."""
        self.repetitions += 1
        if same(found, self.wanted):
            return
        self.wrong_repetitions += 1
        places = {name: _differing(found[name], one) for name, one in self.wanted.items()}
        self.wrong_elements += sum(int(one.numel()) for one in places.values())
        if not self.first:
            self.first = self.repetitions
            self.detail = self._told(found, places)

    def sees(self) -> bool:
        """Whether one flipped bit would be counted: flips the last bit of a copy's last element."""
        spoilt = kept(self.wanted)
        last = whole(list(spoilt.values())[-1].view(-1))
        last[-1:] ^= 1
        trial = Tally(self.wanted)
        trial.add(self.wanted)
        trial.add(spoilt)
        return (trial.wrong_repetitions, trial.wrong_elements) == (1, 1)

    @property
    def text(self) -> str:
        """What was wrong, as a sentence's predicate; empty where nothing was."""
        if not self.wrong_repetitions:
            return ""
        return (
            f"{self.wrong_elements} wrong element(s) in {self.wrong_repetitions} of "
            f"{self.repetitions} repetitions, first in repetition {self.first}: {self.detail}"
        )

    def _told(self, found: Results, places: Mapping[str, torch.Tensor]) -> str:
        several = ((name, index) for name, all_ in places.items() for index in all_.tolist())
        said = []
        for name, index in itertools.islice(several, _SHOWN):
            one, other = (int(whole(r[name]).view(-1)[index]) for r in (found, self.wanted))
            width = 8 * found[name].element_size()
            said.append(f"{self._place(name, index)} ({flipped(one, other, width)})")
        more = sum(int(one.numel()) for one in places.values()) - len(said)
        return ", ".join(said) + (f" and {more} more" if more else "")


def flipped(one: int, other: int, width: int) -> str:
    """Which bits of two integers of ``width`` bits differ, the lowest being 0."""
    changed = (one ^ other) & ((1 << width) - 1)
    bits = [bit for bit in range(width) if changed >> bit & 1]
    return f"bit{'s' if len(bits) > 1 else ''} {', '.join(map(str, bits))} flipped"


def _differing(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """int64: places in the flat tensors at which they differ."""
    return (whole(found).view(-1) != whole(wanted).view(-1)).nonzero().view(-1)


def settled(tries: Iterable[Results]) -> Results:
    """What two of the tries agree on, else the first: a first one may itself be wrong."""
    made = list(tries)
    pairs = itertools.combinations(made, 2)
    return next((one for one, other in pairs if same(one, other)), made[0])
