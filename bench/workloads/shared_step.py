"""A training step whose sequences stay the same, however many ranks share them."""

from __future__ import annotations

from typing import Any

import numpy as np

from .base import Context, Unmeasurable
from .saved import Training
from .tokens import synthetic

CLASSES = 16
"""Tokens that the text is made of, of the model's vocabulary: which they are is soon learnt."""


class SharedStep:
    """Steps of ``sequences``, of which every rank of a group has its share.

    Raises `Unmeasurable` for more ranks than sequences.
    """

    def __init__(self, context: Context, sequences: int) -> None:
        rank, size = context.rank, context.size
        if sequences < size:
            raise Unmeasurable(
                f"{size} ranks cannot share the {sequences} sequence(s) of a step: a larger batch "
                "has one for each"
            )
        self._context, self._whole = context, sequences
        self._mine = range(rank * sequences // size, (rank + 1) * sequences // size)

    def train(self, training: Training, done: int) -> float:
        """The step behind so many on this rank's part of the text; the loss of all of it, when it
        is done.

        The average over ranks that the gradients get is one over sequences, however many of them
        each rank has.
        """
        size = self._context.size
        text = self._text(training, done)
        loss = training.net(text) * (len(self._mine) * size / self._whole)
        loss.backward()
        training.optimizer.step()
        training.optimizer.zero_grad(set_to_none=True)
        loss = loss.detach() / size
        if size > 1:
            import torch.distributed as dist

            dist.all_reduce(loss, group=self._context.group)
        return float(loss)

    def _text(self, training: Training, done: int) -> Any:
        """int64 [sequences, seq + 1], the same for a step whenever and by whomever it is done."""
        import torch

        shape = training.shape
        width = shape.seq + 1
        start = (done * self._whole + self._mine.start) * width
        count = len(self._mine) * width
        made = synthetic(self._context.seed, start, count, min(CLASSES, shape.vocab))
        text = torch.from_numpy(made.astype(np.int64)).view(len(self._mine), width)
        return text.to(self._context.device)
