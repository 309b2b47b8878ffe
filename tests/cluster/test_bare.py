"""A node without devices, wherever it stands: away, lent to others, or its driver is broken."""

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent))
from runs import run, suite
from several import Several

from bench.analysis.gate.series import series
from bench.analysis.gate.stored import check
from bench.analysis.summary import summarize
from bench.cli import cli
from bench.cluster.agents import AgentExecutor
from bench.configs import Gate, GateLine
from bench.results import RunReader

MADE = suite(
    [
        ("train", {"model": "tiny"}, {"over": "node"}),
        ("train", {"model": "tiny"}, {"over": "all"}),
        ("stream", {"op": "copy", "size": "1MiB"}),
        ("link", {}, {"of": "node", "schedule": "full"}),
    ]
)
GATE = Gate(name="g", metrics=[GateLine(match="*", margin=0.5)])


@pytest.mark.parametrize("bare", [0, 1])
def test_a_node_without_devices_takes_nothing_from_the_others(tmp_path, bare):
    finished, rows = run(MADE, AgentExecutor(Several(bare=(bare,)), {}), tmp_path)
    assert {row.status for some in rows.values() for row in some} <= {"ok", "contended", "skipped"}
    reader = RunReader(finished.folder)
    header, columns = reader.header, reader.columns()
    assert [len(node.devices) for node in header.nodes] == [number != bare for number in range(3)]
    told = [event["text"] for event in header.events]
    assert f"node n{bare} is not measured: its driver is broken" in told
    there = {"device": 2, "node": 2, "pair": 1, "all": 1}
    for one in summarize(header, columns):
        spec = header.schedules[one.case.schedule]
        of = "node" if spec.kind == "nodes" else "all" if spec.scope == "group" else spec.scope
        ranks = 2 if spec.scope == "rank" else there.get(of)
        assert one.expected_groups == one.rows == ranks, one.name
    # Held against itself, it misses nothing that was not skipped.
    side = series(header, columns, contended=True)
    judged = check(GATE, [side], side)
    assert "PASS" in {one.state for one in judged}
    assert [one for one in judged if one.state != "PASS" and "skipped" not in one.reason] == []
    for words in (
        ["results", "show"],
        ["report", "--output", str(tmp_path / "page.html")],
        ["score"],
    ):
        done = CliRunner().invoke(cli, [*words, str(finished.folder)])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.output
        assert "Traceback" not in done.output
        assert done.exit_code in (0, 3), done.output
