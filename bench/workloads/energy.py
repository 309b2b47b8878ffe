"""What devices say of the energy that they take."""

from __future__ import annotations

from .base import Context


def joule(context: Context) -> float:
    """Joule that this rank's device has taken since its counter began; NaN if it does not say."""
    try:
        said = context.backend.telemetry(context.index).energy
    except Exception:  # no measurement ends because a vendor's tool cannot be asked
        said = None
    return float("nan") if said is None else float(said)
