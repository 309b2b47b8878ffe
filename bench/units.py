"""Sizes, sweeps, durations and how figures are printed.

Sizes are in bytes; ``KiB``, ``MiB``, ``GiB`` are powers of 1024, ``KB``, ``MB``, ``GB``
(also ``kB``) powers of 1000. Rates are per second, time is in seconds.
"""

from __future__ import annotations

import re

_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([kKMGT]?)(i?)B?\s*$")
_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(us|ms|s|m|h|d)?\s*$")
_SWEEP = re.compile(r"^\s*(\S+)\s*\.\.\s*(\S+)\s*(?:[x×]\s*(\d+))?\s*$")
_SHARE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(%?)\s*$")
_POWER = {"": 0, "k": 1, "M": 2, "G": 3, "T": 4}
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PREFIX = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))


def parse_size(text: str | int) -> int:
    """``"64MiB"`` → 67108864. Raises ValueError for anything that is not a positive size."""
    if isinstance(text, int) and not isinstance(text, bool):
        size = text
    else:
        match = _SIZE.match(str(text))
        if not match:
            raise ValueError(f"{text!r} is not a size; write for example 64MiB, 1GB or 4096")
        base = 1024 if match[3] else 1000
        size = round(float(match[1]) * base ** _POWER[match[2].replace("K", "k")])
    if size <= 0:
        raise ValueError(f"a size must be positive, not {text!r}")
    return size


def parse_sweep(text: str) -> list[int] | None:
    """``"1KiB..64MiB x4"`` → sizes from first to last, each 4 times the one before (default 2).

    The last size is included also where the factor does not hit it. None if ``text`` is no sweep.
    """
    match = _SWEEP.match(text)
    if not match:
        return None
    first, last, factor = parse_size(match[1]), parse_size(match[2]), int(match[3] or 2)
    if last < first or factor < 2:
        raise ValueError(f"{text!r} is not a sweep; write for example 1KiB..64MiB x4")
    sizes = []
    size = first
    while size < last:
        sizes.append(size)
        size *= factor
    return [*sizes, last]


def parse_duration(text: str | float) -> float:
    """``"1m"`` → 60.0 seconds; a bare number is seconds. Raises ValueError."""
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        return float(text)
    match = _DURATION.match(str(text))
    if not match:
        raise ValueError(f"{text!r} is not a duration; write for example 500ms, 30s, 10m or 24h")
    return float(match[1]) * _SECONDS[match[2] or "s"]


def parse_share(text: str) -> float:
    """``"5%"`` or ``"0.05"`` → 0.05. Raises ValueError for what is not within 0 and 1."""
    match = _SHARE.match(text)
    share = float(match[1]) / (100 if match[2] else 1) if match else -1.0
    if not 0 <= share <= 1:
        raise ValueError(f"{text!r} is not a share; write for example 5% or 0.05")
    return share


def format_size(size: float) -> str:
    """67108864 → ``64MiB`` (binary prefix where it is exact, else decimal)."""
    for power, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        step = 1024**power
        if size >= step and size % step == 0:
            return f"{int(size // step)}{unit}"
    if size >= 10_000:
        return format_value(size, "B").replace(" ", "")
    return f"{size:g}B"


def format_duration(seconds: float) -> str:
    """95.2 → ``1m 35s``; below a minute three significant digits in s, ms, µs or ns."""
    if seconds >= 3600:
        return f"{int(seconds // 3600)}h {int(seconds % 3600 // 60):02d}m"
    if seconds >= 60:
        return f"{int(seconds // 60)}m {int(seconds % 60):02d}s"
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def format_count(value: float, unit: str) -> str:
    """Every digit of a count, where `format_value` would round: ``1,234,567 B``, ``168``."""
    digits = f"{int(value):,}" if float(value).is_integer() else f"{value:,.15g}"
    return f"{digits} {unit if unit != 'count' else ''}".strip()


def format_value(value: float | None, unit: str) -> str:
    """Four significant digits and a prefix that fits: ``1.234 GB/s``; ``–`` for None."""
    if value is None or value != value:
        return "–"
    if unit == "s":
        return format_duration(value)
    if unit == "ratio":
        return f"{value * 100:.1f} %"
    if unit == "digest":
        return f"{int(value):012x}"
    if unit in ("", "count", "bits"):
        return f"{value:.4g} {unit}".strip()
    size = abs(value)
    for scale, prefix in _PREFIX:
        if size >= scale:
            return f"{value / scale:.4g} {prefix}{unit}"
    return f"{value:.4g} {unit}"
