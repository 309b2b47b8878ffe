"""A metric over many runs: of a node, of a chip, with the runs since which it is another."""

import json
import re
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from judged_runs import node
from stored_runs import Runs, hengsuan

from bench.analysis.gate.history import history
from bench.analysis.gate.wanted import Wanted
from bench.errors import UsageError
from bench.records import DeviceGroup
from bench.runs import find_run


@pytest.fixture
def made(tmp_path):
    return Runs(tmp_path / "results")


def noisy(made, count, slow=1.0, **changes):
    """Runs whose second node is ``slow``; a noise of half a per cent."""
    draw = np.random.default_rng(made.count)
    for _ in range(count):
        noise = np.exp(draw.normal(0, 0.005, 4))
        made.run(by=(noise * [1, 1, slow, slow]).tolist(), **changes)


def trend(made, **wanted):
    return history(made.folder, wanted=Wanted(**wanted))


def test_a_node_has_a_history_of_its_own(made):
    noisy(made, 10)
    noisy(made, 10, slow=1.2)
    (slow,) = trend(made, metric="flops", node="gpu-1").metrics
    assert slow.now is not None
    assert slow.now.first == "run-010"
    assert slow.now.change == pytest.approx(0.2, abs=0.03)
    (steady,) = trend(made, metric="flops", node="gpu-0").metrics
    assert steady.changes == []
    assert steady.verdict == "steady"


@pytest.mark.parametrize("metric", ["gemm flops", "flops", "flops gemm", "gemm*", "*flops"])
def test_metrics_are_named_by_labels_patterns_and_words(made, metric):
    noisy(made, 6)
    (found,) = trend(made, metric=metric).metrics
    assert found.metric == "gemm flops"


def test_what_no_run_has_is_a_sentence(made):
    noisy(made, 2)
    with pytest.raises(UsageError, match="unknown metric 'gem flops'") as caught:
        trend(made, metric="gem flops")
    assert "did you mean gemm flops" in caught.value.hint
    with pytest.raises(UsageError, match="unknown node 'gpu-9'"):
        trend(made, metric="flops", node="gpu-9")
    with pytest.raises(UsageError, match="unknown chip 'acme-2'"):
        trend(made, metric="flops", chip="acme-2")


def test_a_renamed_node_keeps_its_past_and_new_cards_are_said(made):
    noisy(made, 6)
    renamed = msgspec.structs.replace(node("gpu-1"), name="fast-1")
    noisy(made, 6, nodes=[node("gpu-0"), renamed])
    swapped = msgspec.structs.replace(
        renamed, devices=tuple(msgspec.structs.replace(d, serial="new") for d in renamed.devices)
    )
    noisy(made, 1, nodes=[node("gpu-0"), swapped])
    found = trend(made, metric="flops", node="fast-1")
    (one,) = found.metrics
    assert len(one.runs) == 13
    said = " ".join(found.notes)
    assert "fast-1 is called gpu-1 from run run-000 on" in said
    assert "other devices are in fast-1 from run run-012 on" in said


def test_another_node_of_that_name_has_no_past_here(made):
    noisy(made, 6)
    other = msgspec.structs.replace(node("gpu-1"), machine="another")
    noisy(made, 2, nodes=[node("gpu-0"), other])
    (one,) = trend(made, metric="flops", node="gpu-1").metrics
    assert one.runs == ["run-006", "run-007"]


def test_simulated_nodes_are_known_by_name(made):
    fleet = DeviceGroup(count=2, devices=2, chip="sim-a")
    for by in (1.0, 1.1):
        path = made.run(provenance="simulated", by=[1.0, 1.0, by, by])
        from stored_runs import changed

        changed(path, nodes=[], fleet=msgspec.to_builtins(fleet))
    (one,) = trend(made, metric="flops", node="node-00001").metrics
    assert one.values == pytest.approx([1e14, 1e14 / 1.1])
    assert one.provenance == "simulated"


def test_chips_are_asked_for(made):
    noisy(made, 2)
    noisy(made, 2, nodes=[node("gpu-0", chip="acme-2"), node("gpu-1", chip="acme-2")])
    (one,) = trend(made, metric="flops", chip="acme-2").metrics
    assert one.runs == ["run-002", "run-003"]


def test_the_verb_draws_it(made):
    noisy(made, 10)
    noisy(made, 10, slow=1.2)
    words = ("results", "trend", "flops", "--node", "gpu-1", "--out", made.folder)
    done = hengsuan(*words)
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0] == "gemm flops of gpu-1 on acme-1, measured; higher is better"
    plot = [line.partition("┤")[2] for line in lines if "┤" in line]
    assert len(plot) == 9
    # A level that is left for good: dots above and before, then below and after the line.
    (at,) = {line.index("│") for line in plot if "│" in line}
    assert {row < 4 for row, line in enumerate(plot) if "●" in line[:at]} == {True}
    assert {row > 4 for row, line in enumerate(plot) if "●" in line[at + 1 :]} == {True}
    assert re.search(r"2026-01-11, run run-010: (19|2[01])\.\d% worse \(95 %: ", done.stdout)
    assert lines[11].split() == ["2026-01-01", "2026-01-20"]
    found = json.loads(hengsuan(*words, "--json").stdout)["history"]
    assert found["node"] == "gpu-1"
    assert found["began"][0] == "2026-01-01T00:00:00+00:00"
    assert found["metrics"][0]["changes"][0]["first"] == "run-010"


def test_a_run_or_two_are_drawn_too(made):
    made.run()
    done = hengsuan("results", "trend", "flops", "--out", made.folder)
    assert done.exit_code == 0
    assert done.stdout.count("●") == 1
    assert "at least 6 are needed" in done.stdout


def test_many_metrics_are_a_table(made):
    from made_runs import case

    cases = [case(number, axes={"shape": str(number)}) for number in range(2)]
    cases += [case(number, "stream", axes={"op": str(number)}) for number in range(2, 9)]
    path = made.run(cases=cases)
    rest = 0, 0, 1.0, 1e9, 1e9, 1e9, 9, "ok", -1, "measured", ""
    rows = [json.dumps([number, *rest]) for number in range(9)]
    (path / "measurements.jsonl").write_text("\n".join(rows) + "\n")
    done = hengsuan("results", "trend", "*", "--out", made.folder)
    assert done.exit_code == 0
    assert "●" not in done.stdout
    assert "9 metric(s) in 1 run(s): 9 too few runs; --verbose draws them" in done.stdout
    (line,) = hengsuan("results", "trend", "*", "--quiet", "--out", made.folder).stdout.splitlines()
    assert line.startswith("9 metric(s) in 1 run(s)")


def test_without_utf_8_it_is_drawn_plainly(made, monkeypatch):
    import io

    from rich.console import Console

    from bench.report.plot import print_plot

    raw = io.BytesIO()
    made_ = Console(file=io.TextIOWrapper(raw, encoding="ascii", write_through=True), width=40)
    print_plot(made_, [0.0, 1.0, 2.0], [1.0, 2.0, 3.0], "B/s", ("first", "last"), [1])
    text = raw.getvalue().decode("ascii")
    assert text.count("*") == 3
    assert all(len(line) <= 40 for line in text.splitlines())


def test_two_clusters_that_began_at_once_are_two(made, tmp_path):
    """As schedules let them: one id, two runs. One that was pulled has a number behind its name."""
    noisy(made, 6)
    there = Runs(tmp_path / "there")
    noisy(there, 6, slow=1.5, nodes=[node("gpu-8"), node("gpu-9")])
    for path in there.folder.iterdir():
        path.rename(made.folder / f"{path.name}-1")
    found = trend(made, metric="flops", node="gpu-9")
    (one,) = found.metrics
    assert one.runs == [f"run-00{number}-1" for number in range(6)]
    assert not any("copy" in note for note in found.notes)
    done = hengsuan("results", "trend", "flops", "--node", "gpu-9", "--out", made.folder)
    assert (done.exit_code, done.stderr) == (0, "")
    # Each is found by the name that it is told with.
    assert find_run("run-000", made.folder) == made.folder / "run-000"
    assert find_run("run-000-1", made.folder) == made.folder / "run-000-1"


def test_what_is_left_out_is_counted(made):
    noisy(made, 6)
    for _ in range(4):
        path = made.run(state="running")
    noisy(made, 2)
    notes = history(made.folder, last=7, wanted=Wanted(metric="flops")).notes
    assert notes == [
        f"4 runs have not ended and are left out, the newest {path}",
        "of 8 runs, the newest 7 are looked at (--last)",
    ]
