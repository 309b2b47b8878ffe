"""Packed token sets: what is written is read, in every order, and damage is found and named."""

import errno
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from bench.errors import InfraError, UsageError
from bench.workloads import tokens
from bench.workloads.tokens import (
    HEADER,
    Reader,
    Sequences,
    batches,
    open_set,
    synthetic,
    write_set,
)


def all_of(made, random=False):
    """Every token of a set."""
    reader = Reader(made, random=random)
    try:
        return reader.batch([0], made.count)[0]
    finally:
        reader.close()


@pytest.mark.parametrize(("vocab", "width"), [(512, 2), (65_536, 2), (65_537, 4), (200_000, 4)])
def test_what_is_written_is_read(tmp_path, vocab, width):
    made = write_set(tmp_path / "set", 5_000, vocab, seed=3)
    assert open_set(tmp_path / "set") == made
    assert made.width == width
    assert (tmp_path / "set").stat().st_size == HEADER + 5_000 * width
    found = all_of(made)
    assert np.array_equal(found, synthetic(3, 0, 5_000, vocab))
    assert found.max() > 0.99 * vocab
    assert made.verify() == ""
    assert [one.name for one in tmp_path.iterdir()] == ["set"]


def test_a_text_is_known_at_every_place_and_looks_random():
    whole = synthetic(9, 0, 100_000, 1000)
    assert np.array_equal(whole[777:1234], synthetic(9, 777, 457, 1000))
    assert not np.array_equal(whole, synthetic(10, 0, 100_000, 1000))
    counts = np.bincount(whole.astype(np.int64), minlength=1000)
    # Chi-squared with 999 degrees of freedom: 1140 is its 99.9 % quantile.
    assert ((counts - 100.0) ** 2 / 100.0).sum() < 1140
    both = whole[:-1] * np.uint64(1000) + whole[1:]
    assert len(np.unique(both)) > 94_900  # of 10^6 pairs, 95 163 are met on average, +- 65


def test_a_block_border_is_no_seam(tmp_path, monkeypatch):
    monkeypatch.setattr(tokens, "_BLOCK", 64)
    made = write_set(tmp_path / "set", 1000, 512)
    assert np.array_equal(all_of(made, random=True), synthetic(0, 0, 1000, 512))
    assert made.verify() == ""


def test_a_flipped_bit_is_named(tmp_path):
    made = write_set(tmp_path / "set", 5_000, 512)
    with (tmp_path / "set").open("r+b") as file:
        file.seek(HEADER + 2 * 4321)
        byte = file.read(1)[0]
        file.seek(HEADER + 2 * 4321)
        file.write(bytes([byte ^ 8]))
    wanted = int(synthetic(0, 4321, 1, 512)[0])
    wrong = "1 of 5000 tokens are not what was written, first token 4321: "
    assert made.verify() == f"{wrong}{wanted ^ 8} instead of {wanted}"


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda data: data[:-1], "cut short"),
        (lambda data: data[: HEADER - 1], "cut short"),
        (lambda data: data + b"x", "something was appended"),
        (lambda data: data[:20], "no packed token set"),
        (lambda data: b"", "no packed token set"),
        (lambda data: b"X" + data[1:], "does not begin with HSTOKENS"),
        (lambda data: data[:8] + b"\2" + data[9:], "is of version 2"),
        (lambda data: data[:12] + b"\3" + data[13:], "header is damaged"),
        (lambda data: data[:24] + b"\0" * 8 + data[32:], "header is damaged"),
    ],
)
def test_a_damaged_file_is_refused_with_what_is_wrong(tmp_path, spoil, why):
    write_set(tmp_path / "set", 100, 512)
    path = tmp_path / "set"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(UsageError, match=why) as told:
        open_set(path)
    assert told.value.where == str(path)


def test_a_pipe_is_no_set_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    held = os.open(tmp_path / "pipe", os.O_RDWR)
    try:
        os.write(held, b"x" * HEADER)  # who reads it all the same goes on, and says something else
        with pytest.raises(UsageError, match="is no regular file"):
            open_set(tmp_path / "pipe")
    finally:
        os.close(held)
    with pytest.raises(UsageError, match="is no regular file"):
        open_set(tmp_path)


def test_what_cannot_be_written_is_said(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="at least one token, of 4 bytes: ask for a larger size"):
        write_set(tmp_path / "set", 0, 70_000)
    with pytest.raises(UsageError, match=r"vocabulary must be between 2 and 2\^32 tokens, not 1"):
        write_set(tmp_path / "set", 10, 1)
    with pytest.raises(UsageError, match=r"seed must be between 0 and 2\^63 - 1, not -1"):
        write_set(tmp_path / "set", 10, 512, seed=-1)
    with pytest.raises(InfraError, match="cannot be written: File name too long") as told:
        write_set(tmp_path / ("n" * 250), 10, 512)
    assert told.value.where == str(tmp_path / ("n" * 250))
    with pytest.raises(InfraError, match="No such file"):
        write_set(tmp_path / "absent" / "set", 10, 512)
    free = tokens.shutil.disk_usage(tmp_path).free
    with pytest.raises(InfraError, match=r"needed and .* are free"):
        write_set(tmp_path / "set", free, 512)
    with pytest.raises(UsageError, match="No such file"):
        open_set(tmp_path / "set")
    assert list(tmp_path.iterdir()) == []


def test_writers_that_are_the_same_process_elsewhere_do_not_meet(tmp_path):
    """As of two containers on one storage, in which processes have the same numbers."""

    def meanwhile(done):
        if done < 3 * tokens._BLOCK:
            write_set(tmp_path / "set", 100, 512, seed=2)
            assert open_set(tmp_path / "set").verify() == ""

    write_set(tmp_path / "set", 3 * tokens._BLOCK, 512, seed=1, say=meanwhile)
    found = open_set(tmp_path / "set")
    assert (found.seed, found.verify()) == (1, "")
    assert [one.name for one in tmp_path.iterdir()] == ["set"]


def test_a_set_that_becomes_shorter_while_it_is_verified_is_named(tmp_path):
    """In a process of its own: a page that is gone would kill it."""
    write_set(tmp_path / "set", 2 * tokens._BLOCK, 512)
    script = (
        "import os, sys\n"
        "from bench.errors import InfraError\n"
        "from bench.workloads.tokens import open_set\n"
        "try:\n"
        "    open_set(sys.argv[1]).verify(lambda done: os.truncate(sys.argv[1], 8192))\n"
        "except InfraError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "set"], capture_output=True, text=True
    )
    assert done.stdout == f"{tmp_path / 'set'}: became shorter while it was read\n", done
    (tmp_path / "set").unlink()
    made = tokens.TokenSet(str(tmp_path / "set"), 2, 10, 512, 0)
    with pytest.raises(InfraError, match="cannot be read: No such file"):
        made.verify()


def test_what_cannot_be_read_any_more_is_named(tmp_path, monkeypatch):
    made = write_set(tmp_path / "set", 5_000, 512)
    reader = Reader(made, random=True)
    try:
        os.truncate(made.path, HEADER + 2 * 150)
        assert np.array_equal(reader.batch([50], 100)[0], synthetic(0, 50, 100, 512))
        with pytest.raises(InfraError, match="became shorter while it was read") as told:
            reader.batch([0, 100], 100)
        assert told.value.where == made.path

        def broken(*given):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(os, "pread", broken)
        with pytest.raises(InfraError, match="cannot be read: Input/output error"):
            reader.batch([0], 100)
    finally:
        reader.close()
    (tmp_path / "set").unlink()
    with pytest.raises(InfraError, match="cannot be read: No such file"):
        Reader(made, random=False)


def test_what_storage_gives_in_pieces_is_read_to_its_end(tmp_path, monkeypatch):
    """A call gives at most 2 GiB, and on network storage as much as it likes."""
    made = write_set(tmp_path / "set", 5_000, 70_000)
    whole = os.pread
    monkeypatch.setattr(os, "pread", lambda file, size, at: whole(file, min(size, 1023), at))
    assert np.array_equal(all_of(made), synthetic(0, 0, 5_000, 70_000))


@pytest.mark.parametrize("shuffled", [False, True])
def test_readers_share_all_sequences_and_none_has_one_twice(tmp_path, shuffled):
    made = write_set(tmp_path / "set", 64 * 1001 + 1, 512, seed=5)
    readers = [Sequences(made, 64, shuffled=shuffled, reader=r, readers=7) for r in range(7)]
    starts = [one.start(number) for one in readers for number in range(143)]
    assert sorted(starts) == [64 * k for k in range(1001)]
    first = [readers[0].start(number) // 64 for number in range(100)]
    near = np.abs(np.diff(first)) <= 7
    assert near.all() != shuffled
    assert shuffled == (near.mean() < 0.1)


def test_a_set_that_is_too_small_for_its_readers_is_refused(tmp_path):
    made = write_set(tmp_path / "set", 100, 512)
    why = "has 1 sequence(s) of 64 tokens, and 2 reader(s) need one each: take a larger set"
    with pytest.raises(UsageError, match=re.escape(why)):
        Sequences(made, 64, shuffled=True, readers=2)


@pytest.mark.parametrize(("workers", "ahead"), [(1, 1), (3, 2), (4, 50)])
def test_batches_come_in_order_whoever_reads_them(tmp_path, workers, ahead):
    made = write_set(tmp_path / "set", 10_001, 512)
    order = Sequences(made, 100, shuffled=True)
    starts = [[order.start(4 * turn + row) for row in range(4)] for turn in range(20)]
    reader = Reader(made, random=True)
    with ThreadPoolExecutor(workers) as pool:
        found = list(batches(reader, starts, 101, pool, ahead))
    reader.close()
    assert len(found) == 20
    for batch, places in zip(found, starts, strict=True):
        assert batch.dtype == np.int64
        for row, start in zip(batch, places, strict=True):
            assert np.array_equal(row, synthetic(0, start, 101, 512))


def hengsuan(*words):
    return subprocess.run(
        [sys.executable, "-m", "bench", "tokens", *map(str, words)], capture_output=True, text=True
    )


def test_the_verb_writes_and_verifies(tmp_path):
    path = tmp_path / "set"
    done = hengsuan("new", path, "--size", "64KiB", "--vocab", 512, "--seed", 4)
    assert done.returncode == 0, done.stderr
    assert "32768 tokens below 512" in done.stdout
    assert open_set(path).seed == 4
    again = hengsuan("new", path)
    assert again.returncode == 2
    assert "is there already" in again.stderr
    folder = hengsuan("new", tmp_path, "--force")
    assert folder.returncode == 2
    assert "no file to replace" in folder.stderr
    good = hengsuan("verify", path)
    assert good.returncode == 0
    assert "32768 tokens of 2 bytes below 512, seed 4, all as written" in good.stdout
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    bad = hengsuan("verify", path)
    assert bad.returncode == 1
    assert "first token 32767" in bad.stderr
    path.write_bytes(data[:-5])
    short = hengsuan("verify", path)
    assert short.returncode == 2
    assert "cut short" in short.stderr


def test_a_link_says_where_a_set_is_to_lie(tmp_path):
    """It may lead to the storage that is to be measured: a file in its place would lie on this."""
    (tmp_path / "storage").mkdir()
    target, link = tmp_path / "storage" / "set", tmp_path / "set"
    link.symlink_to("storage/set")
    assert hengsuan("new", link, "--size", "64KiB").returncode == 0  # it leads to nothing yet
    assert open_set(target).count == 32768
    again = hengsuan("new", link, "--size", "2KiB")
    assert (again.returncode, "is there already" in again.stderr) == (2, True)
    assert hengsuan("new", link, "--size", "2KiB", "--force").returncode == 0
    assert open_set(target).count == 1024
    assert link.is_symlink()
    target.unlink()
    target.symlink_to("set")
    round_about = hengsuan("new", link, "--size", "2KiB", "--force")
    assert (round_about.returncode, round_about.stderr) == (
        2,
        f"error: {link} is a link that leads to itself\n",
    )
    assert [one.name for one in (tmp_path / "storage").iterdir()] == ["set"]


def test_only_a_set_that_is_missing_is_to_be_written(tmp_path):
    with pytest.raises(UsageError) as told:
        open_set(tmp_path / "set")
    assert told.value.hint == f"hengsuan tokens new {tmp_path / 'set'} --size 1GiB"
    (tmp_path / "set").symlink_to("set")
    with pytest.raises(UsageError, match="Too many levels of symbolic links") as told:
        open_set(tmp_path / "set")
    assert told.value.hint == ""
