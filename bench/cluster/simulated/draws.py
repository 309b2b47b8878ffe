"""Chance by what it is about: the same question has the same answer, whoever asks, and when.

A key names a question (a seed, a metric, a repeat), an id whom it is asked of (a rank, a node, a
group). Nothing is drawn in turn, so that a device deviates in a re-test as it did before, and a
fleet of any size is drawn in a few passes over an array.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_Words = npt.NDArray[np.uint64]
_STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def key(*parts: object) -> int:
    """64 bits of a question: equal parts, equal key."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def uniform(question: int, ids: npt.ArrayLike) -> Floats:
    """Evenly in [0, 1), one for each id."""
    words = _mixed(_mixed(np.asarray(ids, dtype=np.int64).astype(np.uint64)) ^ np.uint64(question))
    found: Floats = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return found


def normal(question: int, ids: npt.ArrayLike) -> Floats:
    """Mean 0 and deviation 1, one for each id (Box and Muller, Ann. Math. Stat. 29, 1958)."""
    radius = np.sqrt(-2.0 * np.log1p(-uniform(question, ids)))
    found: Floats = radius * np.cos(2 * np.pi * uniform(question ^ 1, ids))
    return found


def fewest(question: int, ids: Ints, count: int) -> Ints:
    """So many of the ids, ascending; of a larger count, the same and more."""
    order = np.argsort(uniform(question, ids), kind="stable")
    chosen: Ints = np.sort(ids[order[:count]])
    return chosen


def of_groups(ranks: Ints) -> Ints:
    """An id for each group (rows) by its members alone, in whatever order."""
    found: Ints = _mixed(ranks.astype(np.uint64)).sum(axis=1, dtype=np.uint64).astype(np.int64)
    return found


def _mixed(words: _Words) -> _Words:
    """Every bit depends on every bit (SplitMix64: Steele, Lea and Flood, OOPSLA 2014)."""
    words = words + _STEP
    words = (words ^ (words >> np.uint64(30))) * _FIRST
    words = (words ^ (words >> np.uint64(27))) * _SECOND
    mixed: _Words = words ^ (words >> np.uint64(31))
    return mixed
