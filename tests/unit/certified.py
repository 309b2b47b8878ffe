"""Certifications of simulated fleets, in one call."""

from __future__ import annotations

from bench.analysis.certify.cells import Rules
from bench.analysis.certify.examine import Proven, examine
from bench.analysis.certify.verdicts import certification
from bench.campaigns.certify import Certify
from bench.cluster.engine import execute
from bench.cluster.simulated import SimulatedExecutor
from bench.configs import load_chips, load_cluster, load_profile, load_suite
from bench.results import RunReader


class Certified:
    """What came of a certification: its verdict, by node, and the run behind it."""

    def __init__(self, folder, made, campaign, injected):
        self.folder, self.made, self.campaign = folder, made, campaign
        self.injected = injected
        self.by_node = {one.node: one for one in made.nodes}

    def nodes(self, word):
        return sorted(one.node for one in self.made.nodes if one.verdict == word)

    def evidence(self, node):
        return self.by_node[node].evidence


def certify(folder, cluster, *, suite="certify", baseline=None, rules=None, name="run", **options):
    """Certify the fleet of a cluster file (by name, or made) in virtual time."""
    cluster = load_cluster(cluster) if isinstance(cluster, str) else cluster
    suite = load_suite(suite) if isinstance(suite, str) else suite
    profile, rules, chips = load_profile("certify"), rules or Rules(), load_chips()
    proven = None
    if baseline is not None:
        reader = RunReader(baseline)
        proven = Proven(header=reader.header, columns=reader.columns())
    campaign = Certify(suite, profile, rules, baseline=proven, **options)
    executor = SimulatedExecutor(cluster, chips)
    finished = execute(
        suite,
        executor,
        folder,
        name,
        chips=chips,
        command=[],
        environment={},
        campaign=campaign,
    )
    made = judged(finished.folder, campaign, proven)
    return Certified(finished.folder, made, campaign, executor.injected)


def judged(folder, campaign, proven=None):
    """The verdict on a run's folder as it is."""
    reader = RunReader(folder)
    found = examine(
        reader.header, reader.columns(), load_profile("certify"), Rules(), baseline=proven
    )
    stages = campaign.stages
    return certification(found, stages=stages, profile="certify", stopped=campaign.stopped)
