"""Who is slow among 10,240 nodes: found, falsely named, and how long finding takes."""

import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

NODES, MATCHINGS, FLEETS = 10_240, 3, 100


def test_fabric(benchmark, figure):
    """20 slow nodes and 20 slow links (-10 %) in 100 fleets with 1 % noise, pairs by `sample`."""
    from fleets import Fleet, fleet

    from bench.analysis.fabric import fit
    from bench.inventory import Inventory
    from bench.records import DeviceGroup, ScheduleSpec
    from bench.rounds import schedule_for

    inventory = Inventory(fleet=DeviceGroup(count=NODES, devices=8, chip="sim-a"))
    spans, rounds, false = [], set(), 0
    found, there = {"item": 0, "link": 0}, {"item": 0, "link": 0}

    def measured(seed):
        """Pairs of the schedule itself, with values that are drawn."""
        arguments = {"of": "node", "schedule": "sample", "matchings": MATCHINGS, "seed": seed}
        spec = ScheduleSpec(kind="pairs", scope="pair", arguments=arguments)
        walked = list(schedule_for(spec, inventory).walk())
        rounds.add(len(walked))
        ranks = np.concatenate([batch.ranks for groups in walked for batch in groups])
        return inventory.node_of(ranks).T

    def once(made: Fleet):
        nonlocal false
        start = time.perf_counter()
        culprits = fit(made.first, made.second, made.value).culprits
        spans.append(time.perf_counter() - start)
        truth = {"item": {(item,) for item in made.items}, "link": made.links}
        for kind, real in truth.items():
            named = {one.items for one in culprits if one.kind == kind}
            found[kind] += len(named & real)
            there[kind] += len(real)
            false += len(named - real)

    def all_fleets():
        for seed in range(FLEETS):
            once(fleet(seed, NODES, pairs=measured(seed), items=20, links=20))

    benchmark.pedantic(all_fleets, rounds=1)
    figure("fabric, slow nodes named", 100 * found["item"] / there["item"], "%", low=99)
    figure("fabric, slow links named", 100 * found["link"] / there["link"], "%", low=90)
    figure(f"fabric, false names in {FLEETS} fleets", false, high=1)
    (count,) = rounds
    figure("fabric, rounds of `sample`", count, low=MATCHINGS, high=MATCHINGS)
    figure("fabric, fit of 10,240 × 3", max(spans), "s", high=5)
