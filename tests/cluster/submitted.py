"""A real small run on this machine, packed; and what tests do to archives."""

from __future__ import annotations

import hashlib
import io
import json
from datetime import timedelta
from pathlib import Path

import msgspec
from runs import local_executor

from bench.certificates import keys, times
from bench.certificates.certificate import canonical
from bench.certificates.trust import Store, Trust
from bench.cli.environment import environment
from bench.cluster.engine import execute
from bench.configs import load_chips, load_suite
from bench.results import ROWS, RunReader
from bench.submissions import archive, manifest
from bench.submissions.pack import pack
from bench.submissions.system import System, load_system
from bench.submissions.verify import verify

SIGNED = times.parse("2026-12-01")
SUITE = """\
name: {name}
rule: {{budget: 100ms, warmup: 10ms, min_samples: 10, limit: 60s}}
stages:
  - name: device
    repeats: {repeats}
    benchmarks:
      - gemm: {{shape: 64x64x64, dtype: fp32, impl: torch}}
      - launch: {{op: empty, view: host}}
      - precision: {{shape: 64x64x64, dtype: fp32}}
  - name: node
    benchmarks:
      - collectives: {{op: all_reduce, size: 64KiB, over: node}}
      - pairs: {{size: 64KiB, of: device}}
      - train: {{model: tiny, over: node, rule: {{budget: 2s}}}}
{more}"""
SYSTEM = """\
name: a stand-in
submitter: Example Silicon
edition: "{edition}"
chip: {{product: a processor, vendor: unknown, origin: unknown}}
framework: {{product: PyTorch, vendor: PyTorch Foundation, origin: open source}}
switch: {{product: none, vendor: none, origin: none}}
"""
OPTIONAL = "\n".join(
    f"  - {{benchmark: {name}, reason: a machine with one core has one device}}"
    for name in ("collectives", "pairs")
)


def make_edition(folder: Path, name: str, *, repeats: int = 2, more: str = "", **keys) -> None:
    """An edition and its suite in a folder of configurations."""
    suite = SUITE.format(name=f"edition-{name}", repeats=repeats, more=more)
    for part in ("suites", "editions"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "suites" / f"edition-{name}.yaml").write_text(suite)
    rest = {"provenance": "[measured, stand-in]", "samples": 10, **keys}
    (folder / "editions" / f"{name}.yaml").write_text(
        f'name: "{name}"\nsuite: edition-{name}\n'
        f"sha256: {hashlib.sha256(suite.encode()).hexdigest()}\n"
        + "".join(f"{key}: {value}\n" for key, value in rest.items())
        + f"optional:\n{OPTIONAL}\n"
    )


def measure(folder: Path) -> Path:
    """Run the suite of the edition ``test``; every row counts, whoever else used the cores."""
    suite = load_suite("edition-test")
    executor = local_executor()
    finished = execute(
        suite, executor, folder, "run", chips={}, command=["hengsuan", "run", "edition-test"],
        environment=environment(),
    )  # fmt: skip
    path = finished.folder / ROWS
    rows = [
        msgspec.structs.replace(row, status="ok", reason="") if row.status == "contended" else row
        for row in RunReader(finished.folder).rows()
    ]
    path.write_bytes(msgspec.json.Encoder().encode_lines(rows))
    return finished.folder


class Bench:
    """A packed run, the key that signed it, and a store that trusts the key."""

    def __init__(self, folder: Path, run: Path, edition: str = "test") -> None:
        self.folder, self.run = folder, run
        folder.mkdir(parents=True, exist_ok=True)
        self.key_file = folder / "vendor"
        keys.generate(self.key_file)
        self.key = keys.load_private(self.key_file)
        self.store = Store(folder / "trust")
        self.system_file = folder / "system.yaml"
        self.system_file.write_text(SYSTEM.format(edition=edition))
        self.members = self.packed()

    @property
    def system(self) -> System:
        return load_system(self.system_file)

    def packed(self, **changes) -> dict[str, bytes]:
        rest = {"moment": SIGNED, "valid": timedelta(days=365), "key": self.key}
        return pack([self.run], self.system, load_chips(), **{**rest, **changes})

    def trust(self, **changes) -> None:
        rest = {
            "name": "vendor",
            "key": keys.encode_public(self.key.public),
            "uses": ["submission"],
        }
        self.store.trust(Trust(**{**rest, **changes}))

    def resigned(self, members: dict[str, bytes], **said) -> dict[str, bytes]:
        """What the owner of the key could hand in: other members, named by the manifest."""
        made = manifest.decode(members[archive.MANIFEST])
        rest = {
            name: manifest.member(data)
            for name, data in members.items()
            if name not in archive.FIRST
        }
        made = msgspec.structs.replace(made, **{"members": rest, **said})
        signature = self.key.sign(made.signed_bytes()).encode() + b"\n"
        return {
            **members,
            archive.MANIFEST: made.file_bytes(),
            archive.SIGNATURE: signature,
        }

    def changed(self, **files) -> dict[str, bytes]:
        """Members with files of the run replaced (``run_json=...``), signed anew."""
        members = dict(self.members)
        for name, change in files.items():
            inside = f"runs/0/{name.replace('_', '.')}"
            raw = members[inside]
            if inside.endswith("l"):
                lines = change([json.loads(line) for line in raw.splitlines()])
                members[inside] = b"".join(canonical(line) + b"\n" for line in lines)
            else:
                members[inside] = canonical(change(json.loads(raw)))
        return self.resigned(members)

    def check(self, members_or_raw, moment=SIGNED):
        raw = members_or_raw if isinstance(members_or_raw, bytes) else as_bytes(members_or_raw)
        return verify(io.BytesIO(raw), self.store, load_chips(), moment)

    def rules(self, members_or_raw, **how) -> set[str]:
        """The rules that do not hold or are undecided."""
        found = self.check(members_or_raw, **how).findings
        return {one.rule for one in found if one.level != "note"}


def as_bytes(members: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    archive.write(members, made)
    return made.getvalue()


def cases_of(members: dict[str, bytes], benchmark: str) -> dict[str, int]:
    """Ids of a benchmark's cases by metric."""
    header = json.loads(members["runs/0/run.json"])
    return {
        case["metric"]: case["id"] for case in header["cases"] if case["benchmark"] == benchmark
    }
