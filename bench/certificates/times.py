"""Moments in certificates: ISO 8601 in UTC, to the second."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

SKEW = timedelta(minutes=5)
"""How far two machines' clocks may be apart: so much earlier a certificate holds already, and so
much longer it still does."""
LONGEST = timedelta(days=3660)


def now() -> datetime:
    """This moment, to the second."""
    return datetime.now(timezone.utc).replace(microsecond=0)


def parse(text: str) -> datetime:
    """``2026-01-01`` (its first second, UTC) or ``2026-01-01T12:00:00+08:00``.

    Raises ValueError with a sentence for what is no moment.
    """
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
        zoned = found if found.tzinfo is not None else found.replace(tzinfo=timezone.utc)
        return zoned.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no date; write for example 2026-12-31") from None


def written(moment: datetime) -> str:
    """``2026-01-01T00:00:00Z``."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
