"""verdict.json: written at once, read with every mistake told."""

import json
import os

import pytest

from bench.errors import InfraError, UsageError
from bench.verdicts import (
    VERDICT,
    Certification,
    Evidence,
    NodeVerdict,
    read_verdict,
    write_verdict,
)


def made(**changes) -> Certification:
    rest = {"run": "r1", "suite": "certify", "profile": "default", "provenance": "measured"}
    times = {"began": "2026-01-01T00:00:00Z", "finished": "2026-01-01T01:00:00Z"}
    return Certification(**{**rest, **times, **changes})


def test_what_is_written_is_read(tmp_path):
    slow = Evidence(verdict="reject", against="fleet", text="slow", value=1.5, unit="B/s")
    found = made(nodes=[NodeVerdict(node="<b>", verdict="reject", evidence=[slow])])
    assert write_verdict(tmp_path, found) == tmp_path / VERDICT
    assert read_verdict(tmp_path) == found
    assert [path.name for path in tmp_path.iterdir()] == [VERDICT]


def test_notes_about_folders_whose_names_are_no_text_lose_no_verdict(tmp_path):
    odd = os.fsdecode(b"runs/\xff")
    slow = Evidence(verdict="reject", against="fleet", text=odd, conditions={odd: [odd, 1.5]})
    found = made(nodes=[NodeVerdict(node="b", verdict="reject", evidence=[slow])], notes=[odd])
    write_verdict(tmp_path, found)
    read = read_verdict(tmp_path)
    assert read.notes == [r"runs/\xff"]
    assert read.nodes[0].evidence[0].conditions == {r"runs/\xff": [r"runs/\xff", 1.5]}
    assert read.nodes[0].verdict == "reject"


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        (None, UsageError, "no verdict here"),
        (b"", InfraError, "verdict.json is damaged"),
        (b"\xff\xfe", InfraError, "verdict.json is damaged"),
        (b"[" * 100_000, InfraError, "verdict.json is damaged"),
        (b'{"schema": 2}', UsageError, "results of schema 2; this hengsuan reads schema 1"),
        (b'{"schema": 1}', InfraError, "missing required field"),
    ],
)
def test_a_bad_file_is_a_sentence(tmp_path, text, error, said):
    if text is not None:
        (tmp_path / VERDICT).write_bytes(text)
    with pytest.raises(error, match=said):
        read_verdict(tmp_path)


def test_a_word_that_is_no_verdict_is_refused(tmp_path):
    write_verdict(tmp_path, made(nodes=[NodeVerdict(node="a", verdict="accept")]))
    document = json.loads((tmp_path / VERDICT).read_text())
    document["nodes"][0]["verdict"] = "pass"
    (tmp_path / VERDICT).write_text(json.dumps(document))
    with pytest.raises(InfraError, match="pass"):
        read_verdict(tmp_path)


def test_a_folder_that_cannot_be_written_keeps_the_old_verdict(tmp_path):
    write_verdict(tmp_path, made())
    (tmp_path / f".{VERDICT}.{os.getpid()}").mkdir()  # where the new one would be written first
    with pytest.raises(InfraError, match="cannot write"):
        write_verdict(tmp_path, made(run="r2"))
    assert read_verdict(tmp_path).run == "r1"
