"""``hengsuan backend list``: every backend, whether it can be used here, and what it finds."""

from __future__ import annotations

import click


@click.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
def command(as_json: bool) -> int:
    """List every backend: from where, usable or why not, its devices, on what it was tested."""
    import msgspec

    from ..backends.probe import probe
    from ..backends.registry import get, listing
    from ..report.terminal import console, print_table

    found = []
    for listed in listing():
        seen = None if listed.problem else probe(listed.name)
        backend = None if listed.problem else get(listed.name)
        found.append(
            {
                "backend": listed.name,
                "origin": listed.origin,
                "priority": backend.priority if backend else None,
                "problem": listed.problem or (seen.problem if seen else ""),
                "devices": [device.name for device in seen.devices] if seen else [],
                "tested": backend.tested if backend else "",
            }
        )
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=1).decode())
        return 0
    rows = [
        (
            str(one["backend"]),
            str(one["origin"]),
            str(one["problem"] or ", ".join(one["devices"])),
            str(one["tested"] or "untested on hardware"),
        )
        for one in found
    ]
    print_table(console(), ("backend", "from", "state", "tested on"), rows)
    return 0
