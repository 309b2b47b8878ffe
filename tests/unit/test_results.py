"""Reading run folders: columns, damage, cut-off lines, finding runs."""

from __future__ import annotations

import json
import math
import os
from operator import mul

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench import results
from bench.analysis.summary import group_medians, rows_by_case, summary
from bench.errors import Exit, InfraError, UsageError
from bench.records import PROVENANCES, STATUSES, Case, DeviceGroup, Header, Row, ScheduleSpec
from bench.results import RunReader
from bench.runs import find_run, list_runs


def header(run="20250301-101500-quick", **changes) -> Header:
    values = {
        "id": run,
        "suite": "quick",
        "started": "2025-03-01T10:15:00+00:00",
        "executor": "local",
        "provenance": "measured",
        "state": "complete",
        "cases": [case(0), case(1, metric="time", unit="s", better="lower")],
        "schedules": [ScheduleSpec(kind="devices", scope="device")],
    }
    return Header(**{**values, **changes})


def case(number: int, **changes) -> Case:
    values = {
        "id": number,
        "stage": "device",
        "benchmark": "stream",
        "axes": {"op": "triad"},
        "scope": "device",
        "metric": "bandwidth",
        "unit": "B/s",
        "better": "higher",
        "source": "0",
        "schedule": 0,
    }
    return Case(**{**values, **changes})


def row(number=0, group=0, repeat=0, value=1.0, **changes) -> Row:
    values = {
        "case": number,
        "group": group,
        "repeat": repeat,
        "time": 0.5,
        "value": value,
        "low": value,
        "high": value,
        "n": 10,
        "status": "ok",
        "conditions": 0,
        "provenance": "measured",
        "reason": "",
    }
    return Row(**{**values, **changes})


def bad(status, reason, **changes) -> Row:
    return row(value=None, n=0, status=status, reason=reason, **changes)


def write(folder, rows=(), made=None, tail=b""):
    made = made or header()
    path = folder / made.id
    path.mkdir(parents=True)
    (path / "run.json").write_bytes(msgspec.json.encode(made))
    (path / "measurements.jsonl").write_bytes(msgspec.json.Encoder().encode_lines(rows) + tail)
    return path


numbers = (
    st.none() | st.just(0.0) | st.builds(mul, st.sampled_from([-1, 1]), st.floats(1e-30, 1e30))
)
any_row = st.builds(
    Row,
    case=st.integers(0, 1),
    group=st.integers(0, 2**40),
    repeat=st.integers(0, 9),
    time=st.floats(0, 1e6),
    value=numbers,
    low=numbers,
    high=numbers,
    n=st.integers(0, 10_000),
    status=st.sampled_from(STATUSES),
    conditions=st.integers(-1, 5),
    provenance=st.sampled_from(PROVENANCES),
    reason=st.text(max_size=8),
)


def row_of(columns: results.Columns, index: int) -> Row:
    def number(value):
        return None if math.isnan(value) else float(value)

    return Row(
        case=int(columns.case[index]),
        group=int(columns.group[index]),
        repeat=int(columns.repeat[index]),
        time=float(columns.time[index]),
        value=number(columns.value[index]),
        low=number(columns.low[index]),
        high=number(columns.high[index]),
        n=int(columns.n[index]),
        status=STATUSES[columns.status[index]],
        conditions=int(columns.conditions[index]),
        provenance=PROVENANCES[columns.provenance[index]],
        reason=columns.reasons.get(index, ""),
    )


@settings(max_examples=60)
@given(rows=st.lists(any_row, max_size=40), block=st.integers(1, 400))
def test_columns_and_rows_hold_what_was_written(tmp_path_factory, rows, block):
    path = write(tmp_path_factory.mktemp("run"), rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "_BLOCK", block)  # lines across blocks of any length
        reader = RunReader(path)
        columns = reader.columns()
        assert [row_of(columns, index) for index in range(len(columns))] == rows
        assert list(reader.rows()) == rows
    dtypes = [getattr(columns, name).dtype for name in results._DTYPES]
    assert dtypes == [np.dtype(dtype) for dtype in results._DTYPES.values()]


@pytest.mark.parametrize("keep", [1, 20, 60])
def test_a_line_cut_off_by_a_kill_is_no_row(tmp_path, keep):
    whole = msgspec.json.encode(row(group=9))
    path = write(tmp_path, [row(group=1), row(group=2)], tail=whole[:keep])
    assert RunReader(path).columns().group.tolist() == [1, 2]
    assert [one.group for one in RunReader(path).rows()] == [1, 2]


def test_a_run_without_rows_is_empty(tmp_path):
    path = write(tmp_path)
    assert len(RunReader(path).columns()) == 0
    (path / "measurements.jsonl").unlink()
    assert len(RunReader(path).columns()) == 0
    assert [one.groups for one in summary(RunReader(path))] == [0, 0]


GOOD = '[0,0,0,0.5,1.0,1.0,1.0,10,"ok",0,"measured",""]'


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (GOOD[:-9], "truncated"),
        (GOOD.replace('"ok"', '"great"'), "great"),
        (GOOD.replace("[0,0", "[7,0"), "case 7, and run.json declares 2"),
        (GOOD.replace("[0,0", "[-1,0"), "case -1"),
        (GOOD.replace("[0,0", f"[{10**12},0"), "out of range"),
        (GOOD.replace("[0,0", f"[0,{10**18 * 17}"), "out of range"),
        (GOOD.replace("0.5", '"soon"'), "str"),
        (GOOD.replace("1.0,10", "1e31,10"), "high, 1e+31, is beyond all that can be measured"),
        (GOOD.replace("0.5,1.0", "0.5,-1e-31"), "value, -1e-31, is beyond all"),
        (GOOD.replace("1.0", "NaN"), "malformed"),
        ("{}", "array"),
        ("[" * 20_000, "no measurement"),
        ("\x00\x00\x00", "malformed"),
    ],
)
@pytest.mark.parametrize("before", [0, 300])
def test_a_damaged_line_is_named(tmp_path, monkeypatch, line, words, before):
    monkeypatch.setattr(results, "_BLOCK", 4096)
    path = write(tmp_path, tail="\n".join([*[GOOD] * before, line, GOOD, ""]).encode())
    with pytest.raises(InfraError) as caught:
        RunReader(path).columns()
    assert caught.value.where == f"{path / 'measurements.jsonl'}:{before + 1}"
    assert words in str(caught.value)


def test_nothing_and_what_is_as_large_as_may_be_is_read(tmp_path):
    lines = [GOOD.replace("0.5,1.0,1.0,1.0", f"0.5,{x},{x},{x}") for x in ("0.0", "-1e30", "1e-30")]
    path = write(tmp_path, tail="".join(f"{one}\n" for one in lines).encode())
    assert RunReader(path).columns().value.tolist() == [0.0, -1e30, 1e-30]


def test_a_line_that_is_no_utf8_is_named(tmp_path):
    line = GOOD.replace('""', '"\xff"').encode("latin-1")
    path = write(tmp_path, tail=GOOD.encode() + b"\n\n" + line + b"\n")
    with pytest.raises(InfraError) as caught:
        RunReader(path).columns()
    assert caught.value.where.endswith("measurements.jsonl:3")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "damaged"),
        (b'{"schema": 1', "damaged"),
        (b'{"schema": 1}', "required field"),
        (b"[1]", "damaged"),
        (b'{"schema": 1, "id": "\xff"}', "damaged"),
        (b'{"schema": 1, "events": ' + b"[" * 20_000, "damaged"),
        (b"\x00" * 100, "damaged"),
    ],
)
def test_a_damaged_header_is_a_sentence(tmp_path, text, words):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_bytes(text)
    with pytest.raises(InfraError, match=words):
        RunReader(tmp_path / "run")
    (listed,) = list_runs(tmp_path)
    assert "damaged" in listed.problem


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schedules": []}, "case 0 is of schedule 0, of 0"),
        ({"events": [{"time": 0.0, "kind": "counters"}]}, r"field `node` - at `\$.events\[0\]`"),
    ],
)
def test_a_header_that_refers_to_what_it_lacks_is_a_sentence(tmp_path, changes, words):
    path = write(tmp_path, made=msgspec.structs.replace(header(), **changes))
    with pytest.raises(InfraError, match=f"damaged: .*{words}") as caught:
        RunReader(path)
    assert caught.value.where.endswith("run.json")


def test_a_row_of_a_group_that_there_is_not_names_its_line(tmp_path):
    made = header(
        schedules=[ScheduleSpec(kind="devices", scope="device", groups=2)],
        fleet=DeviceGroup(count=1, devices=2, chip="acme-1"),
    )
    for number, group in enumerate((2, -1)):
        path = write(tmp_path / str(number), [row(group=1), row(group=group)], made)
        with pytest.raises(InfraError, match=f"it is of group {group}, and case 0 has 2") as caught:
            RunReader(path).columns()
        assert caught.value.where.endswith("measurements.jsonl:2")


@pytest.mark.parametrize(("schema", "which"), [(2, "newer"), (0, "older")])
def test_another_schema_is_named(tmp_path, schema, which):
    path = write(tmp_path)
    content = {"schema": schema, "something": "else"}
    (path / "run.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match=f"schema {schema}") as caught:
        RunReader(path)
    assert which in caught.value.hint
    (listed,) = list_runs(tmp_path)
    assert f"schema {schema}" in listed.problem


def test_a_folder_without_a_run_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "none", tmp_path / "file"):
        with pytest.raises(UsageError, match="no run here"):
            RunReader(path)


def test_runs_are_listed_from_old_to_new(tmp_path):
    write(tmp_path, made=header("b", started="2025-01-02", state="running"))
    write(tmp_path, made=header("a", started="2025-01-03"))
    write(tmp_path, made=header("c", started="2025-01-01", provenance="simulated"))
    (tmp_path / "notes").mkdir()
    (tmp_path / "README.md").write_text("")
    listed = list_runs(tmp_path)
    assert [(one.id, one.state, one.provenance) for one in listed] == [
        ("c", "complete", "simulated"),
        ("b", "running", "measured"),
        ("a", "complete", "measured"),
    ]
    assert listed[0].path == str(tmp_path / "c")
    assert list_runs(tmp_path / "none") == []


def test_runs_are_found_by_path_id_and_prefix(tmp_path):
    one, two = write(tmp_path, made=header("20250301-a")), write(tmp_path, made=header("20250302"))
    three = write(tmp_path, made=header("20250302-b"))
    assert find_run(one, tmp_path / "none") == one
    assert find_run(str(one / "run.json"), tmp_path / "none") == one
    assert find_run("20250301", tmp_path) == one
    assert find_run("20250302", tmp_path) == two
    assert find_run("20250302-", tmp_path) == three
    with pytest.raises(UsageError, match="several runs") as caught:
        find_run("2025030", tmp_path)
    assert caught.value.hint == "which of 20250301-a, 20250302, 20250302-b?"
    for name in ("20250303", ""):
        with pytest.raises(UsageError, match="unknown run") as caught:
            find_run(name, tmp_path)
        assert caught.value.exit is Exit.USAGE
        assert "20250301-a" in caught.value.hint
    with pytest.raises(UsageError, match="no run here"):
        find_run(str(tmp_path / "none"), tmp_path)


def test_summary_takes_medians_over_repeats_then_over_groups(tmp_path):
    rows = [
        *(row(group=0, repeat=r, value=v) for r, v in enumerate([10.0, 30.0, 20.0])),
        *(row(group=1, repeat=r, value=v) for r, v in enumerate([1.0, 2.0])),
        row(group=2, value=8.0),
        row(group=3, value=999.0, status="contended", reason="busy"),
        bad("failed", "it crashed", group=3, repeat=1),
        bad("failed", "out of memory", group=3, repeat=2),
        bad("failed", "out of memory", group=3, repeat=3),
        *(row(1, group=g, value=v) for g, v in enumerate([3.0, 1.0, 2.0])),
    ]
    rate, time = summary(RunReader(write(tmp_path, rows[::-1])))
    assert (rate.median, rate.best, rate.worst, rate.worst_group) == (8.0, 20.0, 1.5, 1)
    assert (rate.rows, rate.expected_groups, rate.groups) == (10, 4, 3)
    assert rate.statuses == {"ok": 6, "failed": 3, "contended": 1}
    assert rate.reasons == {"failed": "out of memory", "contended": "busy"}
    assert (time.median, time.best, time.worst, time.worst_group) == (2.0, 1.0, 3.0, 0)


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 1),
            st.integers(0, 4),
            st.floats(-1e9, 1e9).filter(lambda one: not 0 < abs(one) < 1e-30),
            st.booleans(),
        ),
        max_size=40,
    )
)
def test_group_medians_are_those_of_plain_numpy(tmp_path_factory, drawn):
    rows = [
        row(number, group=group, value=value, status="ok" if good else "invalid")
        for number, group, value, good in drawn
    ]
    columns = RunReader(write(tmp_path_factory.mktemp("run"), rows)).columns()
    for number, indices in enumerate(rows_by_case(columns, 2)):
        wanted: dict[int, list[float]] = {}
        for one in rows:
            if one.case == number and one.status == "ok":
                wanted.setdefault(one.group, []).append(one.value)
        groups, medians = group_medians(columns, indices)
        assert groups.tolist() == sorted(wanted)
        assert medians.tolist() == pytest.approx([np.median(wanted[g]) for g in sorted(wanted)])


@settings(max_examples=100)
@given(raw=st.binary(max_size=200))
@example(b" \t\r\n\n\x0c\n")
def test_any_bytes_are_answered_in_sentences(tmp_path_factory, raw):
    """Lines of a few bytes are never a row: they are refused, or cut off, or blank."""
    path = write(tmp_path_factory.mktemp("run"), tail=raw)
    lines = raw.split(b"\n")[:-1]
    bad = [number for number, line in enumerate(lines, 1) if line.strip(b" \t\r")]
    if not bad:
        assert len(RunReader(path).columns()) == 0
        return
    with pytest.raises(InfraError) as caught:
        RunReader(path).columns()
    assert caught.value.where == f"{path / 'measurements.jsonl'}:{bad[0]}"


@pytest.mark.parametrize("name", ["run.json", "conditions.jsonl", "measurements.jsonl"])
def test_a_pipe_where_a_file_should_be_is_told_of_and_keeps_nobody(tmp_path, name):
    path = write(tmp_path, [row()])
    (path / name).unlink(missing_ok=True)
    os.mkfifo(path / name)
    with pytest.raises(InfraError, match="not a regular file"):
        list(RunReader(path).rows())
    assert len(list_runs(tmp_path)) == (name != "run.json")
