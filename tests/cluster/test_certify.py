"""Certification on real ranks: gates, re-tests in the same run, silent corruption, lost ranks."""

import itertools
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from runs import RULE, local_executor
from several import Several

from bench.analysis.certify.cells import Rules
from bench.analysis.certify.examine import examine
from bench.analysis.certify.verdicts import certification
from bench.campaigns.certify import Certify
from bench.cluster.agents import AgentExecutor
from bench.cluster.engine import execute
from bench.configs import Entry, Profile, ProfileMetric, StageConfig, Suite
from bench.results import RunReader

CORRUPTING = str(Path(__file__).parent / "corrupting")
PROFILE = Profile(
    name="small",
    categories={
        "compute": [ProfileMetric(benchmark="gemm", metric="flops", reference="none")],
        "fabric": [
            ProfileMetric(
                benchmark="pairs",
                metric="bandwidth",
                reference="target",
                target=1.0,
                least=1.0,
                optional=True,
            )
        ],
    },
)
GEMM = Entry(benchmark="gemm", axes={"shape": "64x64x64", "dtype": "fp32"})
CORRUPTION = Entry(
    benchmark="corruption", axes={"op": "gemm", "shape": "64x64x64", "dtype": "fp32"}
)
PAIRS = Entry(benchmark="pairs", axes={"size": "64KiB"}, place={"of": "node", "schedule": "full"})


def suite(*stages):
    return Suite(
        name="small",
        rule=RULE,
        stages=[StageConfig(name=name, entries=entries) for name, entries in stages],
    )


def certify(made, executor, folder):
    """(verdicts by node, the run)."""
    campaign = Certify(made, PROFILE, Rules())
    finished = execute(
        made,
        executor,
        folder,
        "run",
        chips={},
        command=["test"],
        environment={},
        campaign=campaign,
    )
    reader = RunReader(finished.folder)
    found = examine(reader.header, reader.columns(), PROFILE, Rules())
    said = certification(found, stages=campaign.stages, profile="small", stopped=campaign.stopped)
    return {one.node: one for one in said.nodes}, reader


def test_a_node_that_flips_bits_is_rejected_for_it(tmp_path, monkeypatch):
    paths = [CORRUPTING, os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    made = suite(("corruption", [CORRUPTION]), ("device", [GEMM]))
    verdicts, reader = certify(made, local_executor(), tmp_path)
    (one,) = verdicts.values()
    assert one.verdict == "reject"
    assert one.evidence[0].against == "corruption"
    assert "bit 0 flipped" in one.evidence[0].text
    assert "chip or its memory" in one.evidence[0].cause
    # The gate holds: nothing more was measured on it.
    assert {case.stage for case in reader.header.cases} == {"corruption"}


def test_stages_follow_in_one_run(tmp_path):
    made = suite(("device", [GEMM]), ("fabric", [PAIRS]))
    verdicts, reader = certify(made, AgentExecutor(Several(2), {}), tmp_path)
    header = reader.header
    assert header.state == "complete"
    bases = [stage["name"].partition("+")[0] for stage in header.stages]
    assert list(dict.fromkeys(bases)) == ["device", "fabric"]
    assert set(verdicts) == {"n0", "n1"}
    for one in verdicts.values():
        # Cores that others use leave it undecided; nothing speaks against it.
        assert one.verdict != "reject", one.evidence
        assert all("contended" in e.text or e.against == "fleet" for e in one.evidence)


def test_a_rank_that_dies_rejects_its_node(tmp_path):
    made = suite(("device", [Entry(benchmark="faulty", axes={"kind": "kill"}), GEMM]))
    verdicts, _ = certify(made, local_executor(), tmp_path)
    (one,) = verdicts.values()
    assert one.verdict == "reject"
    assert one.evidence[0].against == "fault"
    assert "SIGKILL" in one.evidence[0].text


class Dying(Several):
    """The last node answers no more from a stage on."""

    def start(self, node, order):
        if order.stage == "collective":
            self.dead = (len(self.agents) - 1,)
        super().start(node, order)


def test_a_resumed_run_goes_the_same_way_though_a_node_was_lost_later(tmp_path):
    """What happened in a later stage must not count when the earlier ones are walked anew."""
    corruption = ("corruption", [CORRUPTION])
    made = suite(("device", [GEMM]), corruption, ("collective", [GEMM]), ("end", [CORRUPTION]))
    verdicts, reader = certify(made, AgentExecutor(Dying(2), {}), tmp_path)
    assert verdicts["n1"].verdict == "reject"
    assert "the node was lost" in verdicts["n1"].evidence[0].text
    stages = list(dict.fromkeys(case.stage for case in reader.header.cases))
    campaign = Certify(made, PROFILE, Rules())
    for before, after in itertools.pairwise(stages):
        asked = campaign.following(reader.path, stages[: stages.index(before) + 1])
        assert asked.stage.name == after
        chosen = [part.nodes for part in asked.parts]
        measured = [
            reader.header.schedules[case.schedule].arguments.get("nodes")
            for case in reader.header.cases
            if case.stage == after
        ]
        if "+" not in after:
            assert chosen == measured[:1]
