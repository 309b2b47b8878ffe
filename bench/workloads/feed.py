"""The batches that a training run sees, one after the other, on the device."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from .base import Context, Unmeasurable
from .runner import all_or_none
from .scratch import place_of
from .text import CLASSES, text
from .tokens import Reader, Sequences, batches, open_set

if TYPE_CHECKING:
    from torch import Tensor

BATCHES = 8
"""Different batches of synthetic text, which come again and again."""
WORKERS = 2
AHEAD = 4
"""Batches that are read from a set before they are wanted."""


class Synthetic:
    """A text that can be learnt, made before the first step and kept on the device.

    Args:
        vocab: Tokens are below it.
        seq: Tokens of a sequence.
        batch: Sequences at a time.
        device: Where they go.
        seed: Of the text.
    """

    def __init__(self, vocab: int, seq: int, batch: int, device: Any, seed: int) -> None:
        self._data = [
            text(vocab, seq, batch, seed + number).to(device) for number in range(BATCHES)
        ]
        self._turn = 0

    def next(self) -> Tensor:
        """int64 [batch, seq + 1]."""
        self._turn += 1
        found: Tensor = self._data[(self._turn - 1) % BATCHES]
        return found

    def close(self) -> None:
        """Nothing is held but memory."""


class OnDisk:
    """Tokens of a packed set, read by threads ahead of who trains and folded to ``CLASSES``.

    A set's tokens are random and teach nothing; folded, that there are so few can be learnt.
    """

    def __init__(self, sequences: Sequences, vocab: int, batch: int, device: Any) -> None:
        self._sequences, self._batch, self._device = sequences, batch, device
        self._classes = min(CLASSES, vocab)
        self._reader = Reader(sequences.tokens, random=True)
        self._pool = ThreadPoolExecutor(WORKERS)
        self._batches = batches(self._reader, self._starts(), sequences.seq + 1, self._pool, AHEAD)

    def _starts(self) -> Iterator[list[int]]:
        """Of batch after batch, without end."""
        for first in itertools.count(0, self._batch):
            yield [self._sequences.start(first + number) for number in range(self._batch)]

    def next(self) -> Tensor:
        """int64 [batch, seq + 1]. Raises `InfraError` for a file that cannot be read any more."""
        import torch

        found = torch.from_numpy(next(self._batches))
        return found.to(self._device).remainder_(self._classes)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(cancel_futures=True)
        self._reader.close()


Feed = Synthetic | OnDisk


def feed(
    context: Context, path: str, vocab: int, seq: int, batch: int, reader: int, readers: int
) -> Feed:
    """Batches of one of several readers: of the set at ``path``, synthetic where that is empty.

    All ranks of a group call it together. Raises `Unmeasurable` on all of them where one finds no
    set, or one too small.
    """
    if not path:
        return Synthetic(vocab, seq, batch, context.device, context.seed + 1000 * reader)
    problem, sequences = "", None
    try:
        found = open_set(place_of(path))
        sequences = Sequences(found, seq, shuffled=True, reader=reader, readers=readers)
    except (UsageError, Unmeasurable) as error:
        problem = f"{error.where}: {error.message}" if error.where else error.message
        problem += f" ({error.hint})" if error.hint else ""
    all_or_none(context, problem)
    assert sequences is not None
    # Ranks of a group work on the same sequences, or on inputs and labels of the same.
    own = [float(one) for one in (found.count, found.vocab, found.seed % (1 << 52), found.width)]
    every = [own] if context.gather is None else context.gather(own)
    same = all(one == own for one in every)
    all_or_none(context, "" if same else f"{path} is another set on another node")
    return OnDisk(sequences, vocab, batch, context.device)
