"""A run's folder while it is written: new rows, the end, a driver that died."""

import sys
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from growing_run import complete, going, row, write

from bench.cluster.journal import Journal
from bench.errors import InfraError, UsageError
from bench.growing import Growing
from bench.results import ROWS


def test_rows_come_once_and_whole(tmp_path):
    journal = going(tmp_path)
    found = Growing(journal.folder)
    assert found.rows() == []
    write(journal, row(0, 0), row(0, 1))
    assert [one.group for one in found.rows()] == [0, 1]
    assert found.rows() == []
    write(journal, row(0, 2))
    with (journal.folder / ROWS).open("ab") as file:
        file.write(b"[0,3,0,1.0")
    assert [one.group for one in found.rows()] == [2]
    journal.close()


def test_many_rows_come_in_blocks(tmp_path):
    journal = going(tmp_path)
    write(journal, *(row(0, number % 128) for number in range(40_000)))
    found = Growing(journal.folder)
    sizes = []
    while part := found.rows():
        sizes.append(len(part))
    assert sum(sizes) == 40_000
    assert len(sizes) > 1
    journal.close()


def test_a_row_with_a_long_reason_comes_like_others(tmp_path):
    journal = going(tmp_path)
    found = Growing(journal.folder)
    long = msgspec.structs.replace(row(0, 1), status="failed", reason="x" * (3 << 20))
    write(journal, row(0, 0), long, row(0, 2))
    groups = []
    while part := found.rows():
        groups += [one.group for one in part]
    assert groups == [0, 1, 2]
    journal.close()


def test_a_line_without_an_end_is_said(tmp_path):
    journal = going(tmp_path)
    write(journal, row(0, 0))
    with (journal.folder / ROWS).open("ab") as file:
        file.write(b"\n")
        file.truncate(file.tell() + (100 << 20))  # zeros, as after a crash
    found = Growing(journal.folder)
    assert len(found.rows()) == 1
    with pytest.raises(InfraError, match=r"jsonl:3: .*longer than 64 MiB"):
        found.rows()
    journal.close()


def test_what_is_cut_off_is_not_read_twice(tmp_path):
    journal = going(tmp_path)
    write(journal, row(0, 0), row(0, 1))
    found = Growing(journal.folder)
    assert len(found.rows()) == 2
    path = journal.folder / ROWS
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    assert found.rows() == []
    journal.close()
    journal = Journal.resume(journal.folder, journal.header)
    write(journal, row(0, 5))
    assert [one.group for one in found.rows()] == [5]
    journal.close()


def test_the_header_is_read_again_when_it_was_replaced(tmp_path):
    journal = going(tmp_path)
    found = Growing(journal.folder)
    assert not found.renewed()
    complete(journal)
    assert found.header.state == "running"
    assert found.renewed()
    assert found.header.state == "complete"


def test_it_is_seen_whether_anybody_measures(tmp_path):
    journal = going(tmp_path)
    found = Growing(journal.folder)
    assert found.held()
    assert found.held()  # asking takes nothing away
    journal.close()
    assert not found.held()


def test_a_line_that_is_no_row_is_named(tmp_path):
    journal = going(tmp_path)
    write(journal, row(0, 0))
    found = Growing(journal.folder)
    found.rows()
    with (journal.folder / ROWS).open("ab") as file:
        file.write(b'{"no": "row"}\n')
    with pytest.raises(InfraError, match="no measurement") as error:
        found.rows()
    assert error.value.where.endswith(f"{ROWS}:2")
    journal.close()


def test_a_folder_without_a_run_is_said(tmp_path):
    with pytest.raises(UsageError, match="no run here"):
        Growing(tmp_path)
