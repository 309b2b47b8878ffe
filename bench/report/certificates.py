"""A certificate in lines that people read."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from ..certificates.certificate import Certificate
from .plain import plain
from .terminal import verdict


def print_certificate(made: Console, one: Certificate) -> None:
    """Everything that a certificate says; what it is, and what it is not, comes first."""
    kind = "acceptance" if one.verdict == "accept" else f"verdict {one.verdict}: no acceptance"
    verdict(made, f"certificate of {one.node}: {kind}, {one.provenance}")
    lines = {
        "id": one.id(),
        "for": one.use,
        "hardware": f"machine {one.identity.machine or 'without an id'}, {one.chip or 'no chip'}",
        "devices": "; ".join(
            f"{card.said()} firmware {card.firmware or 'unknown'}" for card in one.identity.devices
        ),
        "labels": ", ".join(f"{key} {value}" for key, value in one.labels.items()),
        "run": f"{one.run}: suite {one.suite}, profile {one.profile}, {one.cases} case(s) "
        f"on {one.nodes} node(s), from {one.began} to {one.finished}",
        "cases": f"sha256 {one.cases_hash}",
        "rows": ", ".join(f"{count} {status}" for status, count in one.checks.items()),
        "versions": ", ".join(f"{name} {version}" for name, version in one.versions.items()),
        **{f"sha256 of {name}": digest for name, digest in one.results.items()},
        "issued": f"{one.issued}, valid until {one.valid_until}",
        "signed by": one.signer,
    }
    for name, text in lines.items():
        if text:
            _line(made, f"  {name}: {text}")
    for finding in one.findings:
        _line(made, f"  found: {finding}")
    for waived in one.waived:
        _line(made, f"  waived until {waived.until}: {waived.finding} ({waived.reason})")


def _line(made: Console, text: str, style: str = "") -> None:
    made.print(Text(plain(text), style=style), soft_wrap=True)
