"""The batches that a training run sees, one after the other, on the device."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InfraError, UsageError
from .base import Context, Unmeasurable
from .runner import all_or_none
from .scratch import place_of
from .text import CLASSES, text
from .tokens import Sequences, open_set

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
        # Not mapped: of a file that becomes shorter, a page that is gone kills the process.
        self._file = os.open(sequences.tokens.path, os.O_RDONLY)
        self._pool = ThreadPoolExecutor(WORKERS)
        self._waiting: deque[Future[Any]] = deque()
        self._turn = 0

    def next(self) -> Tensor:
        """int64 [batch, seq + 1]."""
        import torch

        while len(self._waiting) <= AHEAD:
            first = self._turn * self._batch
            starts = [self._sequences.start(first + number) for number in range(self._batch)]
            self._waiting.append(self._pool.submit(self._read, starts))
            self._turn += 1
        found = torch.from_numpy(self._waiting.popleft().result())
        return found.to(self._device).remainder_(self._classes)

    def _read(self, starts: Sequence[int]) -> Any:
        tokens, length = self._sequences.tokens, self._sequences.seq + 1
        made = np.empty((len(starts), length), dtype=np.int64)
        for row, start in zip(made, starts, strict=True):
            offset, size = tokens.place(start, length)
            found = os.pread(self._file, size, offset)
            if len(found) < size:
                raise InfraError("became shorter while it was read", where=tokens.path)
            row[:] = np.frombuffer(found, f"<u{tokens.width}")
        return made

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(cancel_futures=True)
        os.close(self._file)


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
    all_or_none(context, problem)
    assert sequences is not None
    # Ranks of a group work on the same sequences, or on inputs and labels of the same.
    own = [float(one) for one in (found.count, found.vocab, found.seed % (1 << 52), found.width)]
    every = [own] if context.gather is None else context.gather(own)
    same = all(one == own for one in every)
    all_or_none(context, "" if same else f"{path} is another set on another node")
    return OnDisk(sequences, vocab, batch, context.device)
