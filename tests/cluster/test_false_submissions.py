"""What the owner of a key may sign, and still contradicts itself or what is known here."""

import json

import msgspec
import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("cryptography", reason="cryptography is not installed (extra 'sign')")
from submitted import Bench, cases_of

from bench.certificates.certificate import canonical
from bench.errors import Exit, UsageError
from bench.submissions import manifest

HEADER = "runs/0/run.json"
ROWS, SAMPLES = "runs/0/measurements.jsonl", "runs/0/samples.jsonl"
(CASE, GROUP, REPEAT, CALLS, SECONDS) = range(5)


@pytest.fixture(scope="module")
def run(edition_run, configs):
    return edition_run[0]


@pytest.fixture(scope="module")
def bench(run, tmp_path_factory):
    made = Bench(tmp_path_factory.mktemp("vendor"), run)
    made.trust()
    return made


def lines(members, name):
    return [json.loads(line) for line in members[name].splitlines()]


def as_lines(found):
    return b"".join(canonical(line) + b"\n" for line in found)


def devices(header):
    return [device for node in header["nodes"] for device in node["devices"]]


def said(bench, members, rule):
    found = bench.check(members).findings
    return [(one.level, one.text) for one in found if one.rule == rule]


# ---- metrics and rows that are left out ----


def without_case(bench, benchmark, metric):
    """Everything as if a benchmark had no such metric."""
    gone = cases_of(bench.members, benchmark)[metric]
    header = json.loads(bench.members[HEADER])
    header["cases"] = [
        {**case, "id": case["id"] - (case["id"] > gone)}
        for case in header["cases"]
        if case["id"] != gone
    ]
    members = {**bench.members, HEADER: canonical(header)}
    for name in (ROWS, SAMPLES):
        kept = [line for line in lines(members, name) if line[CASE] != gone]
        members[name] = as_lines([[one[0] - (one[0] > gone), *one[1:]] for one in kept])
    return bench.resigned(members)


@pytest.mark.parametrize(
    ("of", "metric"), [("gemm", "error"), ("precision", "accuracy"), ("train", "step_p99")]
)
def test_a_metric_that_is_left_out_is_found(bench, of, metric):
    members = without_case(bench, of, metric)
    assert bench.rules(members) == {"E2"}
    assert f"its {metric} was left out" in said(bench, members, "E2")[0][1]


def test_what_each_rank_says_is_part_of_it(bench):
    cases = cases_of(bench.members, "train")
    if "compute" not in cases:
        pytest.skip("a machine with one core has one device")
    assert "E2" in bench.rules(without_case(bench, "train", "compute"))


def test_rows_of_a_metric_behind_the_first_are_counted(bench):
    error = cases_of(bench.members, "gemm")["error"]
    kept = [row for row in lines(bench.members, ROWS) if row[:3] != [error, 0, 1]]
    members = bench.resigned({**bench.members, ROWS: as_lines(kept)})
    assert bench.rules(members) == {"E3"}
    assert "1 value(s) of error are not there" in said(bench, members, "E3")[0][1]


def test_what_good_rows_say_beside_their_value_is_noted(bench):
    """As that a tolerance of the backend's own was used, or that time passed between samples."""
    first = cases_of(bench.members, "gemm")["flops"]
    remark = "judged by the backend's own tolerance for fp32, 0.9; elsewhere it is 1e-05"

    def remarked(rows):
        return [[*row[:11], remark] if row[0] == first else row for row in rows]

    found = bench.check(bench.changed(measurements_jsonl=remarked)).findings
    (note,) = [one for one in found if remark in one.text]
    assert (note.rule, note.level) == ("E4", "note")
    assert "measurement(s) count with a remark, for example group 0, repeat 0: " in note.text


# ---- samples that are nobody's ----


def test_a_repeat_that_is_a_copy_of_another_is_found(bench):
    numbers = set(cases_of(bench.members, "gemm").values())
    header = json.loads(bench.members[HEADER])
    first = min(numbers)
    rows, samples = lines(bench.members, ROWS), lines(bench.members, SAMPLES)
    told = {tuple(row[:3]): row for row in rows}
    copied = [
        [*row[:3], row[3], *told[row[0], row[1], 0][4:]] if row[0] in numbers and row[2] else row
        for row in rows
    ]
    again = [line for line in samples if line[CASE] == first and line[REPEAT] == 0]
    kept = [line for line in samples if line[CASE] != first or line[REPEAT] == 0]
    forged = [*kept, *([*line[:2], 1, *line[3:]] for line in again)]
    members = bench.resigned({**bench.members, ROWS: as_lines(copied), SAMPLES: as_lines(forged)})
    assert "R7" in bench.rules(members)
    assert bench.rules(members) <= {"R7"}, header["id"]
    assert "are those of case" in said(bench, members, "R7")[0][1]


def test_samples_that_took_longer_than_there_was_time_are_found(bench):
    """As of ten that were written down a hundred times, for an interval that looks narrow."""
    first = cases_of(bench.members, "launch")["time"]
    many = [
        line
        for line in lines(bench.members, SAMPLES)
        for _ in range(200 if line[CASE] == first else 1)
    ]
    members = bench.resigned({**bench.members, SAMPLES: as_lines(many)})
    found = said(bench, members, "R7")
    assert any("s passed since what was measured before" in text for _, text in found)


@pytest.mark.parametrize("time", [-1.0, 1e9])
def test_rows_from_outside_the_run_are_found(bench, time):
    def elsewhen(rows):
        return [[*rows[0][:3], time, *rows[0][4:]], *rows[1:]]

    found = said(bench, bench.changed(measurements_jsonl=elsewhen), "R7")
    assert any("1 row(s) are from before the run or after" in text for _, text in found)


def test_a_run_that_does_not_say_how_long_it_took_is_found(bench):
    for stages, rule in (
        ([], "R7"),
        ([{"name": "device"}], "R7"),
        ([{"began": "x", "seconds": []}], "M3"),  # no run.json that can be read
        ([{"began": 10**400, "seconds": 1.0}], "M3"),
    ):
        members = bench.changed(run_json=lambda header, s=stages: {**header, "stages": s})
        assert rule in bench.rules(members), stages


def test_times_that_were_moved_closer_are_found(bench):
    def sooner(rows):
        return [[*row[:3], 0.01 * row[3], *row[4:]] for row in rows]

    assert "R7" in bench.rules(bench.changed(measurements_jsonl=sooner))


# ---- labels ----


def called(bench, provenance="measured", **labels):
    """Everything as if the devices had these labels, and the run this provenance."""
    header = json.loads(bench.members[HEADER])
    header["provenance"] = provenance
    for device in devices(header):
        device.update(labels)
    rows = [[*row[:10], provenance, *row[11:]] for row in lines(bench.members, ROWS)]
    members = {**bench.members, HEADER: canonical(header), ROWS: as_lines(rows)}
    return bench.resigned(members, provenance=provenance)


def test_a_stand_in_whose_labels_all_say_measured_is_found(bench):
    members = called(bench, stand_in=False, weak=False)
    assert "P2" in bench.rules(members)
    assert "P1" not in bench.rules(members)
    assert "devices of cpu stand in for accelerators" in said(bench, members, "P2")[0][1]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"weak": False}, "are called as fast as accelerators, and are not"),
        ({"stand_in": True, "dies": 0}, "one of 0 dies"),
        ({"stand_in": True, "backend": "cuda"}, "of other backends than their nodes"),
    ],
)
def test_a_device_that_says_what_cannot_be_is_found(bench, labels, words):
    members = called(bench, "stand-in", **labels)
    assert any(words in text for _, text in said(bench, members, "P2"))


def test_a_fast_device_that_is_called_slow_is_found(bench):
    """It would be asked for the small shapes of a stand-in."""
    members = called(bench, stand_in=False, weak=True, backend="acme")
    assert any("and no stand-in" in text for _, text in said(bench, members, "P2"))


@pytest.mark.parametrize("chip", [None, "h20"])
def test_a_device_that_is_judged_by_another_datasheet_than_its_name_s_is_undecided(bench, chip):
    members = called(bench, "stand-in", name="NVIDIA H200", chip=chip)
    found = said(bench, members, "P3")
    assert ("undecided", True) in [
        (level, "has the datasheet h200" in text) for level, text in found
    ]


# ---- datasheets ----


def above(bench, **labels):
    """The findings above a datasheet whose peak nothing can keep to."""
    figure = {"value": 1.0, "source": "x", "date": "2026", "status": "vendor"}
    sheet = {"name": "acme-1", "vendor": "Acme", "flops": {"fp32": figure}}
    made = json.loads(called(bench, "stand-in", name="Acme One", **labels)[HEADER])
    members = {**bench.members, HEADER: canonical(made), "chips/acme-1.json": canonical(sheet)}
    more = {"stands_for": "acme-1"} if "stands_for" in labels else {}
    return said(bench, bench.resigned(members, chip_names=["acme-1"], **more), "R6")


def test_a_training_step_above_the_peak_is_found(bench):
    found = above(bench, chip="acme-1")
    assert {level for level, _ in found} == {"finding"}
    assert any(text.startswith("train") for _, text in found)


def test_what_stands_in_may_be_faster_than_the_chip_it_stands_for(bench):
    assert {level for level, _ in above(bench, stands_for="acme-1")} == {"note"}


# ---- kinds of chip ----


def test_each_kind_of_chip_does_what_a_single_device_does(bench):
    header = json.loads(bench.members[HEADER])
    if len(devices(header)) < 2:
        pytest.skip("a machine with one core has one device")
    devices(header)[1].update(chip="acme-1", name="Acme One")
    spec = header["cases"][0]["schedule"]
    assert header["schedules"][spec]["scope"] == "device"
    first = devices(header)[0]
    header["schedules"][spec].update(arguments={"on": first["chip"] or "cpu"}, groups=1)
    alone = {case["id"] for case in header["cases"] if case["schedule"] == spec}
    sheet = canonical({"name": "acme-1", "vendor": "Acme"})
    members = {**bench.members, HEADER: canonical(header), "chips/acme-1.json": sheet}
    for name in (ROWS, SAMPLES):
        kept = [one for one in lines(members, name) if one[CASE] not in alone or one[GROUP] == 0]
        members[name] = as_lines(kept)
    names = sorted({one["chip"] for one in devices(header) if one["chip"]})
    found = said(bench, bench.resigned(members, chip_names=names), "E2")
    assert any("gemm" in text and "on acme-1 was not measured" in text for _, text in found)


# ---- plugins ----


def by_plugin(bench, noted):
    """The run as of a backend ``acme``, whose plugin has a digest and had the one that is noted."""
    header = json.loads(bench.members[HEADER])
    for node in header["nodes"]:
        node["backend"] = "acme"
    for device in devices(header):
        device["backend"] = "acme"
    header["environment"]["plugins"] = noted
    plugin = manifest.Plugin(
        distribution="acme", version="1", provides=["backend acme"], files=1, sha256="a" * 64
    )
    members = {**bench.members, HEADER: canonical(header)}
    return bench.resigned(members, plugins=[plugin])


def test_a_plugin_that_changed_since_the_run_is_found(bench):
    assert said(bench, by_plugin(bench, {"acme": "a" * 64}), "P4") == []
    (other,) = said(bench, by_plugin(bench, {"acme": "b" * 64}), "P4")
    assert other == ("finding", "acme 1 had other files when this was measured")
    for noted in ({}, None, {"acme": 3}):
        (absent,) = said(bench, by_plugin(bench, noted), "P4")
        assert "is not in what was installed" in absent[1]


def test_a_run_notes_the_plugins_that_were_there(bench):
    assert json.loads(bench.members[HEADER])["environment"]["plugins"]  # the tests' benchmarks


def test_a_run_is_packed_with_the_plugin_that_measured_it(run, tmp_path, monkeypatch):
    site = tmp_path / "site"
    info = site / "acme-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[hengsuan.backends]\nacme = acme_plugin:Acme\n")
    (site / "acme_plugin.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(site))
    folder = tmp_path / "results" / "run"
    folder.mkdir(parents=True)
    for file in run.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    header = json.loads((folder / "run.json").read_bytes())
    for node in header["nodes"]:
        node["backend"] = "acme"
    header["environment"]["plugins"] = {"acme": "0" * 64}
    (folder / "run.json").write_bytes(msgspec.json.encode(header))
    with pytest.raises(UsageError, match="acme has other files here than when this was measured"):
        Bench(tmp_path / "vendor", folder)


# ---- JSON that is none ----

NINES = "9" * 5000


@pytest.mark.parametrize(
    "value", ["NaN", "Infinity", "-Infinity", "1e999", "1" + 30 * "0", NINES, "-1", '"\\ud800"']
)
@pytest.mark.parametrize(
    ("name", "key"),
    [
        (HEADER, '"groups":'), (HEADER, '"index":'), (HEADER, '"dies":'), (HEADER, '"memory":'),
        (HEADER, '"schedule":'), ("system.json", '"name":'),
    ],
)  # fmt: skip
def test_numbers_that_are_none_or_too_large_are_findings(bench, name, key, value):
    text = bench.members[name].decode().replace('": ', '":')
    start = text.index(key) + len(key)
    end = min(place for mark in ",}" if (place := text.find(mark, start)) >= 0)
    raw = f"{text[:start]}{value}{text[end:]}".encode()
    found = bench.check(bench.resigned({**bench.members, name: raw}))
    assert found.exit in (Exit.FINDING, Exit.INCONCLUSIVE, Exit.OK)
    # A memory or an index of any size is not judged, nor are dies where there is no datasheet.
    assert found.exit == Exit.FINDING or key in ('"index":', '"memory":', '"dies":')


@pytest.mark.parametrize(
    "value", ["NaN", "1e999", "1" + 30 * "0", NINES, "null", "[]", '"\\ud800"']
)
@pytest.mark.parametrize("place", range(5))
def test_rows_and_samples_with_such_numbers_are_findings(bench, place, value):
    for name in (ROWS, SAMPLES):
        first, *rest = bench.members[name].splitlines(keepends=True)
        words = first.decode().strip()[1:-1].split(",", 5)
        words[place] = value if place < 4 or name == ROWS else f"[{value}"
        raw = f"[{','.join(words)}]\n".encode() + b"".join(rest)
        assert bench.check(bench.resigned({**bench.members, name: raw})).exit == Exit.FINDING
