"""Submissions of a real run: what holds, and everything that must not."""

import io
import json
import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("cryptography", reason="cryptography is not installed (extra 'sign')")
from submitted import OPTIONAL, SIGNED, Bench, as_bytes, cases_of, make_edition

from bench.certificates import keys
from bench.certificates.trust import Revocation, Store
from bench.configs import load_chips
from bench.errors import ConfigError, Exit, UsageError
from bench.records import Header
from bench.submissions import archive, manifest
from bench.submissions.edition import load_edition
from bench.submissions.findings import RULES
from bench.submissions.redact import Redactor
from bench.submissions.system import load_system
from bench.submissions.verify import opened

ROOT = Path(__file__).parents[2]
HENGSUAN = Path(sys.executable).with_name("hengsuan")
NAME, ADDRESS, SERIAL = "gpu-rack7-42.corp.example", "10.21.32.43", "SN-7781-2290-XK"


@pytest.fixture(scope="module")
def run(edition_run, configs):
    return edition_run[0]


@pytest.fixture(scope="module")
def bench(run, tmp_path_factory):
    made = Bench(tmp_path_factory.mktemp("vendor"), run)
    made.trust()
    return made


@pytest.fixture
def own(run, tmp_path):
    """One whose trust store a test may fill."""
    return Bench(tmp_path / "vendor", run)


# ---- what holds ----


def test_a_real_run_holds_by_every_rule(bench):
    checked = bench.check(bench.members)
    assert [one for one in checked.findings if one.level != "note"] == []
    assert (checked.exit, checked.verified, checked.signer) == (Exit.OK, True, "vendor")
    assert checked.manifest.provenance == "stand-in"
    # Every metric over time of six benchmarks, and what was measured beside: errors, skew, pings.
    assert checked.recomputed.again > 20
    assert checked.recomputed.beside > 5


def test_what_is_packed_is_what_was_measured(bench, run):
    for name in ("run.json", "measurements.jsonl", "samples.jsonl", "conditions.jsonl"):
        assert bench.members[f"runs/0/{name}"] == (run / name).read_bytes()


def test_equal_input_gives_equal_bytes(bench):
    assert as_bytes(bench.packed()) == as_bytes(bench.members)
    one, other = (as_bytes(bench.packed(redactor=Redactor(bench.key))) for _ in range(2))
    assert one == other


def test_two_runs_make_one_submission(bench):
    from bench.submissions.pack import pack

    members = pack(
        [bench.run, bench.run], bench.system, load_chips(),
        moment=SIGNED, valid=timedelta(days=1), key=bench.key,
    )  # fmt: skip
    assert bench.rules(members) == set()
    assert "runs/1/run.json" in members


# ---- tampering without the key ----


def test_a_changed_byte_in_any_member_is_found(bench):
    for name, data in bench.members.items():
        for place in {0, len(data) // 2, len(data) - 1}:
            raw = bytearray(data)
            raw[place] ^= 1
            found = bench.check({**bench.members, name: bytes(raw)})
            rules = {one.rule for one in found.findings}
            assert found.exit == Exit.FINDING, (name, place)
            assert rules & {"A4", "M1", "M2", "S2"}, (name, place, rules)


def test_a_changed_byte_anywhere_in_the_file_is_found(bench):
    raw = as_bytes(bench.members)
    for place in range(0, len(raw), len(raw) // 150):
        wrong = bytearray(raw)
        wrong[place] ^= 0x10
        assert bench.check(bytes(wrong)).exit == Exit.FINDING, place


def test_a_member_less_or_more_or_under_another_name_is_found(bench):
    samples = "runs/0/samples.jsonl"
    for name in bench.members:
        rest = {one: data for one, data in bench.members.items() if one != name}
        wanted = {"manifest.json": "M1", "manifest.sig": "S1"}.get(name, "M2")
        assert wanted in bench.rules(rest), name
    assert "M2" in bench.rules({**bench.members, "chips/more.json": b"{}"})
    assert "M2" in bench.rules({**bench.members, "runs/1/run.json": b"{}"})
    moved = dict(bench.members)
    moved["runs/1/samples.jsonl"] = moved.pop(samples)
    assert "M2" in bench.rules(moved)
    swapped = dict(bench.members)
    other = "runs/0/measurements.jsonl"
    swapped[samples], swapped[other] = swapped[other], swapped[samples]
    assert "M2" in bench.rules(swapped)


def test_a_manifest_of_other_form_or_schema_is_none(bench):
    raw = bench.members["manifest.json"]
    for other in (raw + b" ", b" " + raw, raw.replace(b'"schema":1', b'"schema":2'), b"[]", b""):
        assert bench.rules({**bench.members, "manifest.json": other}) == {"M1"}


# ---- who answers ----


def test_nobody_signed_is_undecided(bench):
    found = bench.check(bench.packed(key=None))
    assert [one.rule for one in found.findings if one.level == "undecided"] == ["S1"]
    assert found.exit == Exit.INCONCLUSIVE


def test_an_unknown_key_is_undecided_until_it_is_trusted(own):
    found = own.check(own.members)
    assert ([one.rule for one in found.findings], found.exit) == (["S3"], Exit.INCONCLUSIVE)
    own.trust()
    assert own.check(own.members).exit == Exit.OK


def test_another_key_cannot_take_its_place(bench, own):
    """A signature by another key, under the name of the trusted one."""
    made = manifest.decode(bench.members["manifest.json"])
    signature = own.key.sign(made.signed_bytes()).encode() + b"\n"
    assert "S2" in bench.rules({**bench.members, "manifest.sig": signature})
    both = msgspec.structs.replace(made, key=keys.encode_public(own.key.public))
    signature = own.key.sign(both.signed_bytes()).encode() + b"\n"
    members = {"manifest.json": both.file_bytes(), "manifest.sig": signature}
    assert "S2" in bench.rules({**bench.members, **members})


def test_a_signature_for_a_certificate_is_none_for_a_submission(bench):
    made = manifest.decode(bench.members["manifest.json"])
    raw = made.signed_bytes().replace(b"submission 1\n", b"certificate 1\n", 1)
    signature = bench.key.sign(raw).encode() + b"\n"
    assert "S2" in bench.rules({**bench.members, "manifest.sig": signature})


def test_a_revoked_key_and_a_revoked_submission_are_findings(own):
    own.trust()
    made = manifest.decode(own.members["manifest.json"])
    own.store.revoke(Revocation(what=made.id(), reason="wrong chip"))
    found = own.check(own.members)
    assert (found.exit, [one.rule for one in found.findings]) == (Exit.FINDING, ["S4"])
    assert "this submission was revoked: wrong chip" in found.findings[0].text
    own.store = Store(own.folder / "other")
    own.trust()
    own.store.revoke(Revocation(what=made.signer, reason="laptop stolen"))
    assert own.rules(own.members) == {"S4"}


def test_it_holds_in_its_time_only(bench):
    day = timedelta(days=1)
    assert bench.rules(bench.members, moment=SIGNED - day) == {"S5"}
    assert bench.rules(bench.members, moment=SIGNED + 364 * day) == set()
    found = bench.check(bench.members, moment=SIGNED + 366 * day)
    assert (found.exit, [one.rule for one in found.findings]) == (Exit.FINDING, ["S5"])
    assert "expired" in found.findings[0].text


@pytest.mark.parametrize(
    "trusted", [{"uses": ["certify"]}, {"chips": ["acme-*"]}, {"sites": ["beijing"]},
                {"since": "2026-12-24"}]
)  # fmt: skip
def test_a_key_counts_for_what_it_is_trusted_for(own, trusted):
    own.trust(**trusted)
    found = own.check(own.members)
    assert (found.exit, {one.rule for one in found.findings}) == (Exit.FINDING, {"S6"})


# ---- what the owner of the key may not do either ----


def set_rows(members, benchmark, metric, change):
    """Rows of one metric changed by ``change(row)``, row as in the file."""
    number = cases_of(members, benchmark)[metric]

    def changed(rows):
        return [change(list(row)) if row[0] == number else row for row in rows]

    return changed


def put(place, value):
    def change(row):
        row[place] = value(row[place]) if callable(value) else value
        return row

    return change


CASE, GROUP, REPEAT, TIME, VALUE, LOW, HIGH, N, STATUS, CONDITIONS, PROVENANCE, REASON = range(12)


def up(factor):
    return lambda value: value * factor


@pytest.mark.parametrize(
    ("name", "metric", "change", "rule"),
    [
        ("gemm", "flops", put(VALUE, up(1.01)), "R3"),
        ("gemm", "flops", put(VALUE, up(1 + 1e-5)), "R3"),
        ("gemm", "flops", put(LOW, up(0.99)), "R3"),
        ("gemm", "flops", put(HIGH, up(1.01)), "R3"),
        ("gemm", "flops", put(N, lambda n: n + 1), "R3"),
        ("gemm", "flops", put(VALUE, None), "R3"),
        ("gemm", "error", put(VALUE, None), "R4"),
        ("gemm", "error", put(N, 0), "R4"),
        ("gemm", "error", put(LOW, up(2)), "R4"),
        ("precision", "effective_flops", put(VALUE, up(1.01)), "R3"),
        ("precision", "accuracy", put(VALUE, up(1.01)), "R3"),
        ("launch", "time", put(VALUE, up(0.99)), "R3"),
        ("gemm", "flops", put(STATUS, "contended"), "E4"),
        ("gemm", "flops", put(PROVENANCE, "measured"), "P1"),
        ("gemm", "flops", put(GROUP, 99), "R1"),
        ("gemm", "flops", put(CONDITIONS, 99), "R1"),
        ("gemm", "flops", put(REPEAT, 7), "E3"),
        ("train", "step_p99", put(VALUE, up(0.9)), "R3"),
    ],
)
def test_a_changed_row_is_found(bench, name, metric, change, rule):
    changed = set_rows(bench.members, name, metric, change)
    assert rule in bench.rules(bench.changed(measurements_jsonl=changed))


@pytest.mark.parametrize("name", ["gemm", "precision", "launch", "train"])
def test_samples_that_changed_alone_are_found(bench, name):
    numbers = set(cases_of(bench.members, name).values())

    def slower(lines):
        return [
            [*line[:4], [1.02 * one for one in line[4]]] if line[0] in numbers else line
            for line in lines
        ]

    assert "R3" in bench.rules(bench.changed(samples_jsonl=slower))


def test_samples_of_groups_that_exchange_are_held_too(bench):
    numbers = cases_of(bench.members, "pairs") | cases_of(bench.members, "collectives")
    if bench.members["runs/0/samples.jsonl"].count(b"\n[") < len(numbers) or os.cpu_count() == 1:
        pytest.skip("a machine with one core has one device")
    for benchmark, metrics in (("collectives", ("busbw", "time_p99")), ("pairs", ("bandwidth",))):
        for metric in metrics:
            change = put(VALUE, up(1.01))
            changed = set_rows(bench.members, benchmark, metric, change)
            assert "R3" in bench.rules(bench.changed(measurements_jsonl=changed))


def test_samples_taken_out_or_without_a_row_or_impossible_are_found(bench):
    def without_first(lines):  # many samples of one key are written as several lines
        return [line for line in lines if line[:3] != lines[0][:3]]

    def cut(lines):
        return [[*lines[0][:4], lines[0][4][: len(lines[0][4]) // 2]], *lines[1:]]

    assert "R2" in bench.rules(bench.changed(samples_jsonl=without_first))
    assert "R3" in bench.rules(bench.changed(samples_jsonl=cut))
    assert "R2" in bench.rules(bench.changed(samples_jsonl=lambda lines: []))
    more = [[0, 0, 55, 1, [1.0]], [9999, 0, 0, 1, [1.0]]]
    assert "R3" in bench.rules(bench.changed(samples_jsonl=lambda lines: [*lines, *more[:1]]))
    assert "R3" in bench.rules(bench.changed(samples_jsonl=lambda lines: [*lines, *more[1:]]))
    for seconds in ([0.0], [-1.0], []):
        more = [0, 0, 0, 1, seconds]
        found = bench.rules(bench.changed(samples_jsonl=lambda lines, more=more: [*lines, more]))
        assert "R4" in found
    assert "R1" in bench.rules(bench.changed(samples_jsonl=lambda lines: [*lines, ["x"]]))


def test_a_row_twice_or_taken_out_is_found(bench):
    assert "R1" in bench.rules(bench.changed(measurements_jsonl=lambda rows: [*rows, rows[0]]))
    assert "E3" in bench.rules(bench.changed(measurements_jsonl=lambda rows: rows[1:]))
    assert bench.rules(bench.changed(measurements_jsonl=lambda rows: [])) >= {"R3", "E3"}


def in_header(bench, change):
    def changed(found):
        change(found)
        return found

    return bench.rules(bench.changed(run_json=changed))


def devices(found):
    return [device for node in found["nodes"] for device in node["devices"]]


@pytest.mark.parametrize(
    ("change", "rules"),
    [
        (lambda found: found.update(provenance="measured"), {"P1", "P2"}),
        (lambda found: [one.update(stand_in=False) for one in devices(found)], {"P2"}),
        (lambda found: found.update(provenance="simulated"), {"P2"}),
        (lambda found: found.update(state="interrupted"), {"R1"}),
        (lambda found: found.update(id="another"), {"M3"}),
        (lambda found: found.update(schema=99), {"R1"}),
        (lambda found: found["cases"][0].update(source="0" * 12), {"R5"}),
        (lambda found: found["cases"][0].update(benchmark="theirs"), {"R5", "P4"}),
        (lambda found: found["cases"][0].update(axes={"shape": "1x1"}), {"R1"}),
        (lambda found: found["cases"][0].update(axes={"what": 1}), {"R1"}),
        (lambda found: found["cases"][0].update(unit="B/s"), {"R1"}),
        (lambda found: found["cases"][0]["axes"].update(shape="640x64x64"), {"R3", "E2"}),
        (lambda found: found["schedules"][0].update(groups=1), {"R1"}),
        (lambda found: found["schedules"][0].update(kind="magic"), {"R1"}),
        (lambda found: found["schedules"][0].update(arguments={"x": 1}), {"R1"}),
        (lambda found: found["schedules"][0].update(arguments={"matchings": 10**12}), {"R1"}),
        (lambda found: found["schedules"][0].update(arguments={"ranks": [0]}), {"R1", "E7"}),
        (lambda found: found.update(nodes=[]), {"R1"}),
        (lambda found: found["nodes"][0].update(backend="acme"), {"P4"}),
        (lambda found: found["nodes"][0]["labels"].update(site="elsewhere"), {"M3"}),
        (lambda found: devices(found)[0].update(chip="acme-1"), {"M3"}),
        (lambda found: found.update(suite_text="!!python/object:os.system x"), {"E6"}),
        (lambda found: found.update(suite_text=found["suite_text"].replace("100ms", "10ms")),
         {"E6"}),
    ],
)  # fmt: skip
def test_a_header_that_says_something_else_is_found(bench, change, rules):
    assert in_header(bench, change) >= rules


def test_what_another_version_measured_is_undecided(bench):
    def older(found):
        found["environment"]["versions"]["hengsuan"] = "0.0.1"
        for case in found["cases"]:
            case["source"] = "0" * 12
        return found

    members = bench.changed(run_json=older)
    made = manifest.decode(members["manifest.json"])
    runs = [msgspec.structs.replace(one, hengsuan="0.0.1") for one in made.runs]
    found = bench.check(bench.resigned(members, runs=runs))
    levels = {one.level for one in found.findings if one.rule == "R5"}
    assert levels == {"undecided"}
    assert any("verify with that version" in one.text for one in found.findings)


def test_a_file_that_a_submission_names_is_not_opened(bench, tmp_path):
    trap = tmp_path / "trap.yaml"
    os.mkfifo(trap)  # whoever opens it waits for ever

    def changed(found):
        for case in found["cases"]:
            if case["benchmark"] == "train":
                case["axes"]["model"] = str(trap)
        return found

    assert "R5" in bench.rules(bench.changed(run_json=changed))


def test_a_manifest_that_says_something_else_is_found(bench):
    for said in (
        {"edition": "2026.1"}, {"system": "x"}, {"submitter": "x"}, {"runs": []},
        {"chip_names": ["acme-1"]}, {"site_names": ["x"]},
    ):  # fmt: skip
        assert "M3" in bench.rules(bench.resigned(bench.members, **said)), said
    assert "P1" in bench.rules(bench.resigned(bench.members, provenance="measured"))


# ---- datasheets and plugins ----


def with_chip(bench, sheet, peak=1e15):
    """The same run as if its devices were of a chip with this datasheet."""
    figure = {"value": peak, "source": "x", "date": "2026", "status": "vendor"}
    found = {"name": "acme-1", "vendor": "Acme", "flops": {"fp32": figure}, **sheet}

    def changed(header):
        for device in devices(header):
            device.update(chip="acme-1", name="Acme One")
        return header

    members = bench.changed(run_json=changed)
    members["chips/acme-1.json"] = json.dumps(found).encode()
    return bench.resigned(members, chip_names=["acme-1"])


def test_a_datasheet_of_a_chip_that_is_unknown_here_is_noted(bench):
    found = bench.check(with_chip(bench, {}))
    assert [one.level for one in found.findings if one.rule == "P3"] == ["note"]
    # The runs had no peak when they measured, so that nothing above one was claimed.
    assert {one.rule for one in found.findings} <= {"P3", "R3"}


def test_a_value_above_the_datasheet_is_found(bench):
    assert "R6" in bench.rules(with_chip(bench, {}, peak=1.0))


@pytest.mark.parametrize(
    "sheet", [{"name": "other"}, {"vendor": 3}, {"surprise": 1}, {"tdp": {"value": 1}},
              {"link": {"value": -1.0, "source": "", "date": "", "status": "vendor"}}]
)  # fmt: skip
def test_an_impossible_datasheet_is_found(bench, sheet):
    assert "P3" in bench.rules(with_chip(bench, sheet))


def test_a_missing_datasheet_is_found(bench):
    members = with_chip(bench, {})
    del members["chips/acme-1.json"]
    assert "P3" in bench.rules(bench.resigned(members, chip_names=["acme-1"]))


def test_a_package_is_named_and_hashed(own, tmp_path, monkeypatch):
    site = tmp_path / "site"
    (site / "acme_ops").mkdir(parents=True)
    binary = site / "acme_ops" / "fast.so"
    binary.write_bytes(b"\x7fELF closed")
    (site / "acme_ops" / "__init__.py").write_text("")
    info = site / "acme_ops-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-ops\nVersion: 1.2\n")
    (info / "RECORD").write_text("acme_ops/__init__.py,,\nacme_ops/fast.so,,\n")
    monkeypatch.syspath_prepend(str(site))
    own.trust()
    own.system_file.write_text(own.system_file.read_text() + "packages: [acme-ops]\n")
    members = own.packed()
    (plugin,) = manifest.decode(members["manifest.json"]).plugins
    assert (plugin.distribution, plugin.version, plugin.files) == ("acme-ops", "1.2", 2)
    assert plugin.provides == ["package"]
    assert own.rules(members) == set()
    binary.write_bytes(b"\x7fELF another")
    assert own.rules(members) == {"P4"}
    own.system_file.write_text(own.system_file.read_text().replace("acme-ops", "no-such-package"))
    with pytest.raises(UsageError, match="no-such-package is not installed here"):
        own.packed()


# ---- redaction ----


@pytest.fixture
def named(run, tmp_path):
    """The run as of a host with a telling name, whose reasons and events tell more."""
    folder = tmp_path / "results" / "named"
    folder.mkdir(parents=True)
    for file in run.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    header = msgspec.json.decode((folder / "run.json").read_bytes(), type=Header)
    (node,) = header.nodes
    devices = [msgspec.structs.replace(one, serial=f"{SERIAL}:{one.index}") for one in node.devices]
    facts = {**node.facts, "board": {"board_serial": "BRD-55-1234"}, "driver": "535.104.12.1"}
    facts["interfaces"] = {"eth0": {"addresses": [ADDRESS, "fd00:12::9"], "mac": "02:42:ac:11:0:2"}}
    facts["versions"] = {"driver": "24.1.0.3"}
    header.nodes = [
        msgspec.structs.replace(
            node, name=NAME, machine="0123456789abcdef0123456789abcdef", address=ADDRESS,
            id="ray-17c0ffee", devices=tuple(devices), facts=facts, labels={"rack": "r7"},
        )
    ]  # fmt: skip
    header.command = ["hengsuan", "run", "/home/alice/suite.yaml", "--address", f"{NAME}:6379"]
    header.environment["variables"] = {"OMP_NUM_THREADS": "4", "RAY_ADDRESS": "head.corp.example"}
    header.events = [
        {"kind": "warning", "node": NAME, "text": f"{ADDRESS}: 0c:42:a1:03:00:65 gpu-rack7-42 slow"}
    ]
    (folder / "run.json").write_bytes(msgspec.json.encode(header))
    rows = (folder / "measurements.jsonl").read_bytes().splitlines(keepends=True)
    row = json.loads(rows[1])
    row[-1] = f"rank 0 ({NAME}/0) of {SERIAL}:0 on fe80::1:2, see /home/alice/log and 127.0.0.1"
    rows[1] = json.dumps(row, separators=(",", ":")).encode() + b"\n"
    (folder / "measurements.jsonl").write_bytes(b"".join(rows))
    return folder


TELLING = (
    NAME, "gpu-rack7-42", "corp.example", ADDRESS, SERIAL, "BRD-55-1234", "ray-17c0ffee",
    "0123456789abcdef", "fd00:12::9", "02:42:ac", "alice", "0c:42:a1", "fe80::1", ':6379"',
)  # fmt: skip
"""What tells who it is of; no number of the figures can be one of them."""


def test_a_redacted_submission_holds_and_tells_no_name(named, tmp_path):
    bench = Bench(tmp_path / "vendor", named)
    bench.trust()
    open_bytes = as_bytes(bench.members)
    assert all(word.encode() in open_bytes for word in TELLING)
    members = bench.packed(redactor=Redactor(bench.key))
    raw = as_bytes(members)
    for word in TELLING:
        assert word.encode() not in raw, word
    machine = Path("/etc/machine-id")
    if machine.exists() and (number := machine.read_text().strip()):
        assert number.encode() not in raw
    assert bench.rules(raw) == set()
    made = manifest.decode(members["manifest.json"])
    assert made.redacted
    # What was measured stays byte for byte, and so do rows that name nobody.
    assert members["runs/0/samples.jsonl"] == (named / "samples.jsonl").read_bytes()
    before = (named / "measurements.jsonl").read_bytes().splitlines()
    after = members["runs/0/measurements.jsonl"].splitlines()
    told = [place for place, line in enumerate(before) if line != after[place]]
    assert 1 in told
    assert all(json.loads(before[place])[-1] for place in told)
    reason = json.loads(after[1])[-1]
    assert re.fullmatch(
        r"rank 0 \(host-[0-9a-f]{12}/0\) of serial-\w+ on address-\w+, see "
        r"/home/user-\w+/log and 127\.0\.0\.1", reason,
    )  # fmt: skip
    header = json.loads(members["runs/0/run.json"])
    assert header["nodes"][0]["facts"]["versions"] == {"driver": "24.1.0.3"}
    assert header["command"] == ["hengsuan", "run"]
    assert header["environment"]["variables"]["OMP_NUM_THREADS"] == "4"
    assert header["nodes"][0]["name"] in reason


def test_pseudonyms_are_of_the_key(named, tmp_path):
    one, other = (Bench(tmp_path / name, named) for name in ("one", "other"))
    said = [
        json.loads(bench.packed(redactor=Redactor(key))["runs/0/run.json"])["nodes"][0]["name"]
        for bench, key in ((one, one.key), (one, one.key), (other, other.key), (one, None))
    ]
    assert said[0] == said[1]
    assert len(set(said)) == 3


def test_a_name_that_cannot_be_hidden_is_said(named, tmp_path):
    header = json.loads((named / "run.json").read_bytes())
    header["nodes"][0]["name"] = "gemm"
    (named / "run.json").write_text(json.dumps(header))
    bench = Bench(tmp_path / "vendor", named)
    with pytest.raises(UsageError, match="'gemm' names a host or device, and stands in runs/0"):
        bench.packed(redactor=Redactor(bench.key))


# ---- editions ----


def in_edition(bench, configs, name, **keys):
    """The same runs, handed in for another edition."""
    make_edition(configs, name, **keys)
    system = msgspec.structs.replace(bench.system, edition=name)
    members = {**bench.members, "system.json": msgspec.json.encode(system)}
    return bench.check(bench.resigned(members, edition=name))


@pytest.mark.parametrize(
    ("keys", "rule", "words"),
    [
        ({"more": "  - name: more\n    benchmarks:\n      - stream: {size: 1MiB}\n"}, "E2",
         "stream triad 1MiB fp32 torch was not measured"),
        ({"repeats": 3}, "E3", "not there, of"),
        ({"samples": 100_000}, "E5", "asks for 100000"),
        ({"provenance": "[measured]"}, "E8", "this is stand-in"),
    ],
)  # fmt: skip
def test_what_an_edition_requires_and_is_not_there_is_found(bench, configs, keys, rule, words):
    name = f"other-{rule.lower()}"
    found = in_edition(bench, configs, name, **keys)
    assert found.exit == Exit.FINDING
    said = [one.text for one in found.findings if one.rule == rule]
    assert said, found.findings
    assert words in said[0]


def test_a_laxer_rule_is_found(bench):
    def shorter(found):
        found["suite_text"] = found["suite_text"].replace("min_samples: 10", "min_samples: 2")
        return found

    found = bench.check(bench.changed(run_json=shorter))
    assert {one.rule for one in found.findings if one.level != "note"} == {"E6"}
    assert "min_samples 2 is below 10" in found.findings[0].text


def test_an_allowed_change_is_no_finding(bench, configs):
    suite = (configs / "suites" / "edition-test.yaml").read_text()
    make_edition(configs, "wide")
    text = suite.replace("edition-test", "edition-wide").replace("impl: torch", "impl: triton")
    (configs / "suites" / "edition-wide.yaml").write_text(text)
    file = configs / "editions" / "wide.yaml"
    import hashlib

    pinned = re.sub(
        "sha256: .*", f"sha256: {hashlib.sha256(text.encode()).hexdigest()}", file.read_text()
    )
    changes = "changes:\n  - {benchmark: gemm, axes: {impl: [torch]}, reason: any may be shown}\n"
    system = msgspec.structs.replace(bench.system, edition="wide")
    members = {**bench.members, "system.json": msgspec.json.encode(system)}
    members = bench.resigned(members, edition="wide")
    file.write_text(pinned)
    assert bench.rules(members) == {"E7"}
    file.write_text(pinned + changes)
    assert bench.rules(members) == set()


def skipped(members, benchmark):
    numbers = set(cases_of(members, benchmark).values())

    def rows(found):
        return [
            [*row[:4], None, None, None, 0, "skipped", -1, row[10], "not here"]
            if row[0] in numbers
            else row
            for row in found
        ]

    def samples(found):
        return [line for line in found if line[0] not in numbers]

    return {"measurements_jsonl": rows, "samples_jsonl": samples}


def test_what_may_be_skipped_is_noted_and_other_skips_are_found(bench):
    found = bench.check(bench.changed(**skipped(bench.members, "collectives")))
    notes = [one for one in found.findings if one.rule == "E4" and "skipped" in one.text]
    assert [one.level for one in notes] == ["note"]
    assert found.exit == Exit.OK
    assert bench.rules(bench.changed(**skipped(bench.members, "gemm"))) == {"E4"}


def test_an_unknown_edition_is_undecided_and_never_a_path(bench, configs):
    for name in ("1999", "../test", str(configs / "editions" / "test.yaml"), "", "x.yaml"):
        system = msgspec.structs.replace(bench.system, edition=name)
        members = {**bench.members, "system.json": msgspec.json.encode(system)}
        found = bench.check(bench.resigned(members, edition=name))
        assert [one.rule for one in found.findings if one.level == "undecided"] == ["E1"], name
        assert found.exit == Exit.INCONCLUSIVE


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("samples: 10", "samples: 0", "samples: must be at least 1"),
        ("samples: 10", "sample: 10", "unknown key 'sample'"),
        ("sha256: ", "sha256: 0", "pins another text"),
        ('name: "broken"', 'name: "other"', "must be 'broken'"),
        ("optional:", "changes: [{benchmark: gem, axes: {}, reason: x}]\noptional:",
         "did you mean"),
        ("optional:", "changes: [{benchmark: gemm, axes: {colour: 1}, reason: x}]\noptional:",
         "unknown axis of gemm 'colour'"),
    ],
)  # fmt: skip
def test_a_broken_edition_says_where(configs, old, new, words):
    make_edition(configs, "broken")
    file = configs / "editions" / "broken.yaml"
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(UsageError) as caught:
        load_edition("broken")
    assert words in str(caught.value)
    assert "broken.yaml:" in str(caught.value)


def test_the_built_in_edition_pins_its_suite():
    edition = load_edition("2026.1")
    assert edition.provenance == ["measured", "stand-in"]
    assert OPTIONAL  # the tests' own editions are others


# ---- the page of rules ----


def test_every_rule_has_its_line_in_the_page():
    page = (ROOT / "bench" / "submissions" / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| ([A-Z][0-9]) \|", page, re.MULTILINE) == list(RULES)


# ---- bad input ----


def test_what_cannot_be_submitted_is_said(own, tmp_path, run):
    folder = tmp_path / "results" / "other"
    folder.mkdir(parents=True)
    header = json.loads((run / "run.json").read_bytes())
    own.run = folder
    (folder / "run.json").write_text(json.dumps(header))
    with pytest.raises(UsageError, match="no samples were kept of this run"):
        own.packed()
    for changes, words in (
        ({"provenance": "simulated"}, "only what was measured"),
        ({"state": "running"}, "has not ended"),
        ({"finished": None}, "has not ended"),
    ):
        (folder / "run.json").write_text(json.dumps({**header, **changes}))
        with pytest.raises(UsageError, match=words):
            own.packed()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("submitter: Example Silicon\n", "", "the key 'submitter' is missing"),
        ("name: a stand-in", "name: ''", "name: must not be empty"),
        ("vendor: unknown", "vendor: ''", "chip.vendor: must not be empty"),
        ("chip:", "chips:", "unknown key 'chips'"),
        ("name: a stand-in", "name: !!python/name:os.system x", "the tag"),
        ('edition: "test"', "edition: 2026.1", 'put it in quotes: "2026.1"'),
    ],
)
def test_a_system_description_that_lacks_something_says_where(own, old, new, words):
    text = own.system_file.read_text()
    assert old in text
    own.system_file.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load_system(own.system_file)
    assert words in str(caught.value)
    assert re.search(r"system\.yaml:\d+", str(caught.value))


# ---- the command line ----


def hengsuan(*words, cwd, **variables):
    done = subprocess.run(
        [HENGSUAN, *map(str, words)], cwd=cwd, capture_output=True, text=True,
        env={**os.environ, **variables},
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done


def test_the_walk_of_a_vendor(run, own, tmp_path):
    trust = ("--store", tmp_path / "trust")
    pack = ("submission", "pack", run, "--system", own.system_file, "--key", own.key_file)
    when = {"SOURCE_DATE_EPOCH": "1796083200"}
    made = hengsuan(*pack, "--out", "one.tar", "--redact", cwd=tmp_path, **when)
    assert made.returncode == 0, made.stderr
    assert "stand-in, edition test, signed by ed25519:" in made.stdout
    assert hengsuan(*pack, "--out", "one.tar", cwd=tmp_path).returncode == 2  # it is there
    hengsuan(*pack, "--out", "two.tar", "--redact", cwd=tmp_path, **when)
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    check = ("submission", "verify", "one.tar", "--trust", tmp_path / "trust")
    unknown = hengsuan(*check, cwd=tmp_path, **when)
    assert (unknown.returncode, "S3 undecided" in unknown.stdout) == (3, True)
    public = f"{own.key_file}.pub"
    hengsuan("certificate", "trust", public, "--name", "acme", "--for", "submission", *trust,
             cwd=tmp_path)  # fmt: skip
    good = hengsuan(*check, cwd=tmp_path, **when)
    assert good.returncode == 0, good.stdout
    assert "holds by every rule, stand-in, edition test, says acme" in good.stdout
    assert "a stand-in was measured" in good.stdout
    late = hengsuan(*check, "--at", "2036-01-01", "--json", cwd=tmp_path)
    found = json.loads(late.stdout)
    assert (late.returncode, found["exit"]) == (1, 1)
    assert [one["rule"] for one in found["findings"] if one["level"] == "finding"] == ["S5"]
    shown = hengsuan("submission", "show", "one.tar", cwd=tmp_path)
    assert shown.returncode == 0
    assert "declared by Example Silicon, not measured" in shown.stdout
    assert json.loads(hengsuan("submission", "show", "one.tar", "--json", cwd=tmp_path).stdout)
    for words in (("verify", "none.tar"), ("show", "none.tar"), ("show", own.system_file)):
        assert hengsuan("submission", *words, cwd=tmp_path).returncode == 2
    (tmp_path / "three.tar").write_bytes(b"PK\x03\x04" + bytes(1000))
    bomb = hengsuan("submission", "verify", "three.tar", cwd=tmp_path)
    assert (bomb.returncode, "A1: it is compressed (zip)" in bomb.stdout) == (1, True)


def test_editions_are_shown(tmp_path):
    shown = hengsuan("show", "editions", "--json", cwd=tmp_path, HENGSUAN_CONFIG_PATH="")
    found = {one["edition"]: one["suite"] for one in json.loads(shown.stdout)}
    assert found["2026.1"] == "edition-2026.1"


def test_verifying_needs_no_accelerator_stack(bench, tmp_path):
    file = tmp_path / "one.tar"
    file.write_bytes(as_bytes(bench.members))
    script = (
        "import sys\n"
        f"sys.argv = ['hengsuan', 'submission', 'verify', {str(file)!r}, '--at', '2026-12-02']\n"
        "from bench.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as done:\n"
        "    print([done.code, [m for m in ('torch', 'ray', 'triton') if m in sys.modules]])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[3, []]", done.stdout + done.stderr


def test_reading_one_asks_nobody(bench):
    members, checked = opened(io.BytesIO(as_bytes(bench.members)))
    assert members == bench.members
    assert checked.findings == []
    assert checked.system.submitter == "Example Silicon"
    assert set(archive.FIRST) <= members.keys()


# ---- whatever else the owner of a key hands in ----

STRANGE = (None, True, -1, 10**12, 10**400, 1e308, "", "x", "\x1b[2J", [], [[]], {}, {"a": 1})


def places(found, path=()):
    """The path of every value in JSON."""
    yield path
    if isinstance(found, dict):
        items = list(found.items())
    else:
        items = list(enumerate(found)) if isinstance(found, list) else []
    for key, value in items:
        yield from places(value, (*path, key))


def replaced(found, path, value):
    if not path:
        return value
    copy = dict(found) if isinstance(found, dict) else list(found)
    copy[path[0]] = replaced(copy[path[0]], path[1:], value)
    return copy


def strangely(members, name, random):
    """A member with one value replaced by a strange one."""
    raw = members[name]
    if not name.endswith("l"):
        found = json.loads(raw)
        return json.dumps(
            replaced(found, random.choice(list(places(found))), random.choice(STRANGE))
        )
    lines = raw.decode().splitlines()
    number = random.randrange(len(lines))
    found = json.loads(lines[number])
    path = random.choice(list(places(found))[:14])
    lines[number] = json.dumps(replaced(found, path, random.choice(STRANGE)))
    return "".join(f"{line}\n" for line in lines)


@pytest.mark.parametrize("seed", range(4))
def test_strange_values_are_findings_never_faults(bench, seed):
    from random import Random

    from bench.report.submissions import print_checked
    from bench.report.terminal import console

    random = Random(seed)
    names = [name for name in bench.members if name not in archive.FIRST]
    for _ in range(20):
        name = random.choice(names)
        text = strangely(bench.members, name, random)
        found = bench.check(bench.resigned({**bench.members, name: text.encode()}))
        print_checked(console(), name, found)
        json.dumps([one.text for one in found.findings])
