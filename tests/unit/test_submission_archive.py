"""Archives of submissions: one form, and everything hostile that must not be read."""

import contextlib
import io
import tarfile
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.submissions import archive
from bench.submissions.archive import Refused, check_json, read, write

MEMBERS = {
    "runs/0/run.json": b'{"a": 1}',
    "manifest.json": b"{}",
    "system.json": b"x" * 700,
    "manifest.sig": b"",
}


def as_bytes(members):
    made = io.BytesIO()
    write(members, made)
    return made.getvalue()


def refused(raw):
    with pytest.raises(Refused) as caught:
        read(io.BytesIO(raw))
    return caught.value


def tar(*members, form=tarfile.USTAR_FORMAT, **changes):
    """A tar as tarfile makes it: (name, content), all with these attributes."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=form) as file:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in changes.items():
                setattr(info, key, value)
            file.addfile(info, io.BytesIO(data))
    return made.getvalue()


def test_what_is_written_is_read_again_and_by_tar():
    raw = as_bytes(MEMBERS)
    assert read(io.BytesIO(raw)) == MEMBERS
    with tarfile.open(fileobj=io.BytesIO(raw)) as file:
        names = file.getnames()
        assert file.extractfile("system.json").read() == MEMBERS["system.json"]
    assert names == ["manifest.json", "manifest.sig", "runs/0/run.json", "system.json"]


def test_equal_members_give_equal_bytes_in_whatever_order():
    assert as_bytes(MEMBERS) == as_bytes(dict(reversed(MEMBERS.items())))
    # And the same that tarfile gives, of members in order.
    order = ["manifest.json", "manifest.sig", "runs/0/run.json", "system.json"]
    assert as_bytes(MEMBERS) == tar(*((name, MEMBERS[name]) for name in order))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (tarfile.SYMTYPE, "a symbolic link"),
        (tarfile.LNKTYPE, "a hard link"),
        (tarfile.CHRTYPE, "a character device"),
        (tarfile.BLKTYPE, "a block device"),
        (tarfile.FIFOTYPE, "a pipe"),
        (tarfile.DIRTYPE, "a folder"),
        (tarfile.GNUTYPE_SPARSE, "a sparse file"),
    ],
)
def test_what_is_no_file_is_refused(kind, words):
    found = refused(tar(("manifest.json", b""), type=kind, linkname="/etc/passwd"))
    assert (found.rule, words in found.text) == ("A2", True)
    assert found.where.startswith("manifest.json")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("/etc/passwd", "an absolute path"),
        ("C:/windows", "an absolute path"),
        ("../../home/x/.bashrc", "a path that leaves its folder"),
        ("runs/0/../../../x", "a path that leaves its folder"),
        ("runs/0/extra.json", "no file of a submission"),
        ("runs/0/run.json/", "no file of a submission"),
        ("runs/0000/run.json", "no file of a submission"),
        ("./manifest.json", "no file of a submission"),
        ("manifest.json\n", "no file of a submission"),
        ("chips/A.json", "no file of a submission"),
        ("chips/..json", "no file of a submission"),
        ("", "no file of a submission"),
        ("evil.pickle", "no file of a submission"),
    ],
)
def test_a_name_that_no_submission_has_is_refused(name, words):
    found = refused(tar((name, b"x")))
    assert (found.rule, words in found.text) == ("A2", True), found.text
    with pytest.raises(ValueError):
        as_bytes({name: b"x"})


def test_a_name_twice_and_a_wrong_order_are_refused():
    found = refused(tar(("manifest.json", b"1"), ("manifest.json", b"2")))
    assert (found.rule, "a second member" in found.text) == ("A2", True)
    found = refused(tar(("system.json", b"1"), ("manifest.json", b"2")))
    assert (found.rule, "in order" in found.text) == ("A2", True)


@pytest.mark.parametrize(
    "changes", [{"mtime": 1}, {"mode": 0o755}, {"uid": 1}, {"uname": "eve"}, {"linkname": "x"}]
)
def test_a_header_says_nothing_but_name_and_size(changes):
    assert refused(tar(("manifest.json", b"{}"), **changes)).rule == "A1"


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_extended_headers_are_refused(form):
    long = "runs/0/" + "x" * 200
    found = refused(tar((long, b"x"), form=form))
    assert found.rule == "A2"
    assert "extended header" in found.text or "long name" in found.text


def bomb():
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("manifest.json", bytes(50 << 20))
    return made.getvalue()


def test_what_is_compressed_is_not_unpacked():
    raw = bomb()
    assert len(raw) < 1 << 16  # fifty megabytes in there
    found = refused(raw)
    assert (found.rule, "compressed (zip)" in found.text) == ("A1", True)
    for how, word in (("w:gz", "gzip"), ("w:bz2", "bzip2"), ("w:xz", "xz")):
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode=how):
            pass
        found = refused(made.getvalue())
        assert (found.rule, word in found.text) == ("A1", True)


class Endless(io.RawIOBase):
    """A first header that claims much, and zeros without end; counts what is read of it."""

    def __init__(self, header):
        self.given, self.header = 0, header

    def read(self, size=-1):
        assert size >= 0
        start = self.given
        self.given += size
        return self.header[start : start + size].ljust(size, b"\0")


def test_a_member_beyond_the_limit_is_refused_before_it_is_read():
    file = Endless(archive.header("manifest.json", archive.MOST_BYTES + 1))
    with pytest.raises(Refused) as caught:
        read(file)
    assert caught.value.rule == "A3"
    assert file.given <= 512


def test_more_members_than_the_limit_are_refused(monkeypatch):
    monkeypatch.setattr(archive, "MOST_MEMBERS", 3)
    raw = tar(*((f"chips/c{number}.json", b"") for number in range(4)))
    assert refused(raw).rule == "A3"
    with pytest.raises(ValueError, match="more than 3 members"):
        as_bytes({f"chips/c{number}.json": b"" for number in range(4)})


def test_an_archive_that_ends_anywhere_else_is_refused():
    raw = as_bytes(MEMBERS)
    for end in [0, 1, 511, 512, 513, 1024, 1500, len(raw) - 512, len(raw) - 1]:
        assert refused(raw[:end]).rule == "A1"
    assert refused(raw + b"\0").rule == "A1"
    assert refused(raw + bytes(10240)).rule == "A1"
    assert refused(raw + raw).rule == "A1"
    assert refused(b"#!/bin/sh\n" + raw).rule == "A1"


def test_what_hides_in_the_padding_is_found():
    raw = bytearray(as_bytes(MEMBERS))
    place = raw.index(b'{"a": 1}') + 100
    raw[place] = 1
    assert "hidden" in refused(bytes(raw)).text


@settings(max_examples=300)
@given(st.binary(max_size=2048))
def test_anything_else_is_a_sentence(raw):
    assert refused(raw).text


@settings(max_examples=300)
@given(st.integers(0, 2**32), st.integers(1, 255))
def test_any_byte_of_the_frame_counts(place, change):
    """Of headers, padding and end; bytes of members are for the manifest."""
    raw = bytearray(as_bytes(MEMBERS))
    place %= len(raw)
    raw[place] ^= change
    with contextlib.suppress(Refused):
        assert read(io.BytesIO(bytes(raw))) != MEMBERS


@pytest.mark.parametrize(
    ("name", "raw", "rule"),
    [
        ("run.json", b"[" * 65 + b"]" * 65, "A4"),
        ("run.json", b'{"a":' * 100_000, "A4"),
        ("run.json", b"\xff", "A4"),
        ("rows.jsonl", b"[1]\n" + b"[" * 65, "A4"),
        ("rows.jsonl", b"[" + b"1," * (1 << 20) + b"1]", "A3"),
        ("run.json", b" " * (archive.MOST_JSON + 1), "A3"),
    ],
)
def test_json_is_bounded_before_it_is_decoded(name, raw, rule):
    with pytest.raises(Refused) as caught:
        check_json(name, raw)
    assert caught.value.rule == rule


def test_brackets_in_text_are_no_depth():
    check_json("run.json", b'["' + b"[" * 1000 + b'\\"' + b"{" * 1000 + b'"]')
    check_json("run.json", b"[" * 64 + b"]" * 64)
    check_json("rows.jsonl", b"[[]]\n" * 1000)
    check_json("run.json", b'"' + b'\\"' * 1_000_000)  # in linear time
