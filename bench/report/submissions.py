"""A submission, and what came of checking one, in lines that people read."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from ..submissions.findings import RULES, Checked
from ..submissions.manifest import Manifest
from ..submissions.system import Part, System
from .plain import plain
from .terminal import verdict

_STYLES = {"finding": "red", "undecided": "yellow", "note": "dim"}


def print_checked(made: Console, name: str, checked: Checked) -> None:
    """The answer, what was computed again, and every rule that does not hold or is undecided."""
    manifest = checked.manifest
    said = "holds by every rule" if checked.verified else "does not hold"
    if not checked.verified and all(one.level != "finding" for one in checked.findings):
        said = "is undecided"
    what = f", {manifest.label}, edition {manifest.edition}" if manifest is not None else ""
    who = f", says {checked.signer}" if checked.signer else ""
    verdict(made, f"{name}: {said}{what}{who}")
    if manifest is not None and manifest.provenance == "stand-in":
        _line(made, "a stand-in was measured: these are no figures of an accelerator", "bold")
    if (counts := checked.recomputed) is not None:
        _line(
            made,
            f"{counts.again} value(s) computed again from their samples, "
            f"{counts.beside} measured beside them",
        )
    for one in checked.findings:
        where = f"{one.where}: " if one.where else ""
        level = "" if one.level == "finding" else f" {one.level}"
        _line(made, f"  {one.rule}{level}: {where}{one.text}", _STYLES[one.level])
    broken = dict.fromkeys(one.rule for one in checked.findings if one.level != "note")
    for rule in broken:
        _line(made, f"  rule {rule}: {RULES[rule]}", "dim")


def print_submission(made: Console, manifest: Manifest, system: System | None) -> None:
    """What a submission says of itself: what was measured apart from what is declared."""
    head = f"submission {manifest.system}: edition {manifest.edition}, {manifest.label}"
    verdict(made, head)
    lines = {
        "id": manifest.id(),
        "chips": ", ".join(manifest.chip_names) or "none with a datasheet",
        "packed by": manifest.packed_by,
        "redacted": "names, serials and addresses are pseudonyms" if manifest.redacted else "",
        "issued": f"{manifest.issued}, valid until {manifest.valid_until}"
        if manifest.signer
        else "not signed",
        "signed by": manifest.signer,
    }
    for name, text in lines.items():
        if text:
            _line(made, f"  {name}: {text}")
    for run in manifest.runs:
        when = f"from {run.started} to {run.finished} by hengsuan {run.hengsuan}"
        _line(made, f"  run {run.id}: suite {run.suite}, {when}")
    for plugin in manifest.plugins:
        what = f"{', '.join(plugin.provides)}, {plugin.files} files, sha256 {plugin.sha256}"
        _line(made, f"  plugin {plugin.distribution} {plugin.version}: {what}")
    for name, member in manifest.members.items():
        _line(made, f"  {name}: {member.size} bytes, sha256 {member.sha256}")
    if system is None:
        return
    _line(made, f"declared by {system.submitter}, not measured", "bold")
    for name in ("chip", "host", "framework", "switch"):
        part = getattr(system, name)
        if part is not None:
            _line(made, f"  {name}: {_part(part)}")
    for name, text in (("cooling", system.cooling), ("note", system.note)):
        if text:
            _line(made, f"  {name}: {text}")


def _part(part: Part) -> str:
    found = " ".join(filter(None, (part.product, part.version)))
    said = f"{found} of {part.vendor}, origin {part.origin}"
    return "; ".join(filter(None, (said, part.note, part.source and f"source {part.source}")))


def _line(made: Console, text: str, style: str = "") -> None:
    made.print(Text(plain(text), style=style), soft_wrap=True)
