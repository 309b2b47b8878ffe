"""A ``run.json`` that was changed by hand or by a disk: a sentence, whoever reads it."""

from __future__ import annotations

import copy
import json
import random
import sys
from pathlib import Path

import click
import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from report_runs import simulated

from bench.cli import cli
from bench.declared import _KNOWN, _Arguments
from bench.errors import HengsuanError, InfraError, UsageError
from bench.headers import read_header
from bench.records import Device, Node
from bench.results import RunReader
from bench.workloads.base import axes_of, make
from bench.workloads.modelled import MOST
from bench.workloads.placement import MOST_MATCHINGS

SUITE = """name: small
stages:
  - name: device
    repeats: 2
    benchmarks:
      - gemm: {shape: 1024x1024x1024, dtype: bf16}
      - stream: {op: triad, size: 64MiB}
  - name: fabric
    benchmarks:
      - collectives: {op: all_reduce, size: [1MiB, 16MiB]}
      - pairs: {size: 16MiB, of: device, schedule: sample, matchings: 2}
      - train: {model: small, batch: 4}
"""
OTHERS = (
    None, 5, -1, 0, 0.5, 1e308, 2**70, True, "", "x", "a+b", "9" * 5000, "<script>", "\ud800",
    [], {}, [[1]], ["x"], {"a": {"b": 1}},
)  # fmt: skip
"""What somebody may put into the place of any value."""
EVENTS = [
    {"time": 1.0, "kind": "agent-lost", "text": "gone", "node": "host-1", "stage": "device"},
    {"time": 2.0, "kind": "counters", "text": "x", "node": "host-1", "stage": "fabric",
     "changes": {"eth0 rx_errors": 3}},
]  # fmt: skip
FACTS = {
    "kernel": "6.1",
    "kernel_log": "readable",
    "numa": {"0": {"cpus": "0-1", "memory": 1 << 34}},
    "pcie": {"0000:01:00.0": {"kind": "accelerator", "width": 8, "width_max": 16}},
    "versions": {"driver": "1.2"},
    "interfaces": {"eth0": {"mtu": 1500, "kind": "physical"}},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A simulated run whose nodes state facts and to which something happened."""
    folder = simulated(tmp_path_factory.mktemp("declared"), SUITE, 4, 2)
    whole = json.loads((folder / "run.json").read_text())
    devices = tuple(
        Device(
            index=place,
            backend="sim",
            name="Sim A",
            chip="sim-a",
            stand_in=True,
            facts={"cpus": [0]},
        )
        for place in range(2)
    )
    nodes = [
        Node(id=f"m{number}", name=f"host-{number}", devices=devices, facts=FACTS,
             labels={"rack": f"r{number // 2}"})
        for number in range(4)
    ]  # fmt: skip
    import msgspec

    whole |= {"fleet": None, "events": EVENTS, "nodes": msgspec.to_builtins(nodes)}
    whole["environment"] = {"versions": {"hengsuan": "1"}, "plugins": {}, "variables": {"A": "b"}}
    (folder / "run.json").write_text(json.dumps(whole))
    assert len(RunReader(folder).columns()) > 50
    return folder


def places(value, at=()):
    """Paths to all values; of lists to the first of each form."""
    if at:
        yield at
    if isinstance(value, dict):
        for key, inside in value.items():
            yield from places(inside, (*at, key))
    elif isinstance(value, list):
        seen = set()
        for place, inside in enumerate(value):
            form = type(inside).__name__
            if isinstance(inside, dict):
                form = inside.get("benchmark") or inside.get("kind") or tuple(inside)
            if form not in seen:
                seen.add(form)
                yield from places(inside, (*at, place))


def changed(whole, at, value):
    """The same with another value there; `places` without it where the value is `places`."""
    whole = copy.deepcopy(whole)
    above = whole
    for key in at[:-1]:
        above = above[key]
    if value is places:
        del above[at[-1]]
    else:
        above[at[-1]] = value
    return whole


@pytest.mark.parametrize(
    ("at", "value", "words"),
    [
        (("stages", 0, "began"), "noon", r"got `str` - at `\$.stages\[0\].began`"),
        (("stages", 0, "seconds"), 1e300, r"\$.stages\[0\].seconds"),
        (("stages", 0, "name"), places, "missing required field `name`"),
        (("cases", 0, "stage"), "a+b", "case 0 is of a stage 'a\\+b', which is no re-test"),
        (("cases", 0, "stage"), f"a+{'9' * 5000}", "which is no re-test"),
        (("cases", 0, "axes"), {"shape": ["8x8x8"]}, r"\$.cases\[0\].axes"),
        (("cases", 0, "axes"), {"dtype": 16}, r"case 0 of gemm: Expected `str`.*\$.dtype"),
        (("cases", -1, "axes", "tp"), 0, r"of train: Expected `int` >= 1 - at `\$.tp`"),
        (("schedules", 0, "arguments"), {"ranks": [99]}, "is of device 99, and there are 8"),
        (("schedules", 0, "arguments"), {"nodes": [4]}, "is of node 4, and there are 4"),
        (("schedules", 0, "arguments"), {"turns": 2}, "unknown field `turns`"),
        (("schedules", 0, "arguments"), {"key": "rack"}, "kind devices, which takes no 'key'"),
        (("schedules", 0, "kind"), "label", "is of kind label, and says no 'key'"),
        (("schedules", 0, "groups"), 9, "says 9 groups, and 4 nodes with 8 devices give 8"),
        (("nodes",), places, "says 8 groups, and 0 nodes with 0 devices give 0"),
        (("schedules", 0, "kind"), "circles", "Invalid enum value 'circles'"),
        (("events", 1, "changes"), {"a": "b"}, r"\$.events\[1\].changes"),
        (("environment", "versions"), "1.2", r"\$.environment.versions"),
        (("nodes", 0, "facts", "numa"), {"zero": {"cpus": "0"}}, r"\$.nodes\[0\].facts.numa"),
        (("nodes", 0, "facts", "pcie"), [1], r"\$.nodes\[0\].facts.pcie"),
        (
            ("nodes", 0, "devices", 0, "facts", "cpus"),
            4,
            "a stand-in of node host-0 lists no cores",
        ),
        (
            ("fleet",),
            {"count": 1 << 20, "devices": 1 << 20, "chip": "sim-a"},
            "impossible number of devices",
        ),
        (
            ("fleet",),
            {"count": 4, "devices": 2, "chip": "sim-a", "labels": {"rack": 0}},
            r"\$.fleet.labels",
        ),
    ],
)
def test_what_readers_rely_on_is_looked_at_once(run, tmp_path, at, value, words):
    whole = changed(json.loads((run / "run.json").read_text()), at, value)
    (tmp_path / "run.json").write_text(json.dumps(whole))
    with pytest.raises(InfraError, match=f"run.json is damaged: .*{words}") as caught:
        read_header(tmp_path)
    assert caught.value.where == str(tmp_path / "run.json")


@pytest.mark.parametrize("name", ["train", "generate"])
def test_the_largest_batch_that_is_measured_can_be_read(name):
    """Else what was measured beside it could not be read either."""
    bench = make(name, {"batch": MOST})
    assert msgspec.convert(axes_of(bench), _KNOWN[name]).batch == MOST
    with pytest.raises(UsageError, match=f"batch must be at most {MOST}"):
        make(name, {"batch": MOST + 1})


def test_as_many_matchings_as_are_planned_can_be_read():
    assert msgspec.convert({"matchings": MOST_MATCHINGS}, _Arguments).matchings == MOST_MATCHINGS


def test_whatever_is_changed_in_a_header_no_verb_traces_back(run, tmp_path):
    whole = json.loads((run / "run.json").read_text())
    every = [(at, value) for at in places(whole) for value in (*OTHERS, places)]
    random.Random(7).shuffle(every)
    for file in run.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    read = []
    for at, value in every[:800]:
        (tmp_path / "run.json").write_text(json.dumps(changed(whole, at, value)))
        try:
            read_header(tmp_path)
        except HengsuanError:
            continue
        read.append((at, value))
    assert 50 < len(read) < 750, "some changes make a run of another kind, others none"
    out = str(tmp_path / "out")
    # Where a field may hold anything, all that read it are tried; free text breaks nobody.
    open_fields = ("axes", "arguments", "facts", "stages", "events", "environment", "labels")
    worth = [one for one in read if set(open_fields) & set(one[0])]
    for at, value in worth[:8]:
        (tmp_path / "run.json").write_text(json.dumps(changed(whole, at, value)))
        for words in (
            ["results", "show", str(tmp_path)],
            *(["report", str(tmp_path), "--format", kind, "--output", out]
              for kind in ("html", "md", "csv", "junit", "openmetrics")),
            ["score", str(tmp_path)],
            ["compare", str(tmp_path), str(run)],
            ["certify", "--from", str(tmp_path)],
        ):  # fmt: skip
            try:
                cli.main(words, prog_name="hengsuan", standalone_mode=False)
            except (HengsuanError, click.ClickException):
                continue
            except Exception as error:
                raise AssertionError(f"{at} = {value!r}: {words}") from error
