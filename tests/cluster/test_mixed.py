"""A cluster of three kinds of chip on real raylets: who meets whom in which library."""

import os
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent))
from runs import suite

ray = pytest.importorskip("ray", reason="Ray is not installed")

from bench.analysis.datasheets import Datasheets  # noqa: E402
from bench.analysis.scorecard import scorecard  # noqa: E402
from bench.cli import cli  # noqa: E402
from bench.cluster.agent import AgentSpec, new_token  # noqa: E402
from bench.cluster.agents import AgentExecutor  # noqa: E402
from bench.cluster.engine import execute  # noqa: E402
from bench.cluster.ray_hub import RayHub  # noqa: E402
from bench.configs import Profile, ProfileMetric, load_chips, load_labels  # noqa: E402
from bench.errors import Exit  # noqa: E402
from bench.inventory import Inventory  # noqa: E402
from bench.results import RunReader  # noqa: E402

pytestmark = pytest.mark.forked

KINDS = str(Path(__file__).parent / "kinds")


@pytest.fixture(scope="module")
def cluster(plugin, tmp_path_factory):
    """A node of CPU cores, two of Acme's chip and one of Borg's; two carry Ray's label of a site.

    Every raylet knows one backend only, as a host has the stack of its own chips.
    """
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("KINDS_WITNESS", str(tmp_path_factory.mktemp("kinds") / "groups"))
        patch.setenv("PYTHONPATH", KINDS, prepend=os.pathsep)
        patch.syspath_prepend(KINDS)
        made = Cluster()
        made.add_node(num_cpus=0, include_dashboard=False, object_store_memory=80_000_000)
        made.kinds = {
            name: made.add_node(
                num_cpus=1,
                wait=False,
                object_store_memory=80_000_000,
                labels=labels,
                env_vars={"HENGSUAN_BACKENDS": backend},
            )
            for name, backend, labels in (
                ("cpu", "cpu", {}),
                ("acme1", "acme", {"site": "north"}),
                ("acme2", "acme", {"site": "south"}),
                ("borg", "borg", {}),
            )
        }
        made.wait_for_nodes()
        yield made
        made.shutdown()


@pytest.fixture(scope="module")
def labels(cluster, tmp_path_factory):
    """A file that gives a site to the nodes that Ray knows none of."""
    path = tmp_path_factory.mktemp("labels") / "labels.yaml"
    path.write_text(
        f"site:\n  north: {cluster.kinds['cpu'].node_id}\n"
        f"  south: [{cluster.kinds['borg'].node_id}, a-node-that-is-down]\n"
    )
    return path


@pytest.fixture(scope="module")
def measured(cluster, labels, tmp_path_factory):
    """One run of everything, for all that is asked of it below."""
    chips = load_chips()
    made = suite(
        [
            ("gemm", {"shape": "64x64x64", "dtype": "fp32", "impl": "torch"}),
            ("collectives", {"op": "all_reduce", "size": "64KiB"}, {"over": "all"}),
            ("pairs", {"size": "64KiB"}, {"of": "node", "schedule": "full"}),
            ("link", {"size": "1MiB"}, {"of": "node", "across": "site", "schedule": "full"}),
        ],
    )
    hub = RayHub(AgentSpec(token=new_token()), cluster.address)
    executor = AgentExecutor(hub, chips, labels=load_labels(labels))
    folder = tmp_path_factory.mktemp("run")
    finished = execute(made, executor, folder, "run", chips=chips, command=["test"], environment={})
    return finished, RunReader(finished.folder), chips


def rows(reader, benchmark, metric):
    """By the kinds that its groups are on: the rows of a case."""
    header, found = reader.header, {}
    for row in reader.rows():
        case = header.cases[row.case]
        if (case.benchmark, case.metric) == (benchmark, metric):
            found.setdefault(header.schedules[case.schedule].arguments["on"], []).append(row)
    return found


def libraries(reader, benchmark, metric):
    """By kinds: (library that the plan says, those that rows were measured in, how many rows)."""
    header = reader.header
    planned = {
        spec.arguments["on"]: spec.library
        for spec in (header.schedules[one.schedule] for one in header.cases if one.metric == metric)
    }
    return {
        on: (
            planned[on],
            {header.conditions[row.conditions].library for row in found if row.conditions >= 0},
            len(found),
        )
        for on, found in rows(reader, benchmark, metric).items()
    }


def test_each_node_finds_its_own_backend_and_groups_their_library(measured):
    finished, reader, _ = measured
    assert finished.exit is Exit.OK, reader.header.events
    nodes = sorted((node.backend, node.collectives) for node in reader.header.nodes)
    assert nodes == [("acme", "accl"), ("acme", "accl"), ("borg", "bccl"), ("cpu", "gloo")]
    mix = "+".join(Inventory(reader.header.nodes).mixes())
    assert set(mix.split("+")) == {"cpu", "acme", "borg"}
    assert libraries(reader, "collectives", "busbw") == {
        "cpu": ("gloo", {"gloo"}, 1),
        "acme-one": ("accl", {"accl"}, 1),
        "borg": ("bccl", {"bccl"}, 1),
        mix: ("gloo", {"gloo"}, 1),
    }
    assert all(row.status in ("ok", "contended") for row in reader.rows()), list(reader.rows())
    # Nobody but its own kind has met in a library: Acme's two nodes, Borg's two devices.
    witnessed = set(Path(os.environ["KINDS_WITNESS"]).read_text().splitlines())
    assert witnessed == {"accl 0/2", "accl 1/2", "bccl 0/2", "bccl 1/2"}


def test_pairs_meet_within_a_kind_and_across_kinds(measured):
    _, reader, _ = measured
    mix = "+".join(Inventory(reader.header.nodes).mixes())
    assert libraries(reader, "pairs", "bandwidth") == {
        "acme-one": ("accl", {"accl"}, 1),
        mix: ("gloo", {"gloo"}, 5),
    }
    said = [event["text"] for event in reader.header.events]
    assert any(text.endswith("pairs has no group of cpu") for text in said)
    assert any(text.endswith("pairs has no group of borg") for text in said)


def test_links_between_sites_of_rays_labels_and_the_files(measured, labels):
    _, reader, _ = measured
    inventory = Inventory(reader.header.nodes)
    assert inventory.label_counts() == {"site": {"north": 2, "south": 2}} or (
        inventory.label_counts() == {"site": {"south": 2, "north": 2}}
    )
    mix = "+".join(inventory.mixes())
    found = rows(reader, "link", "round_trip")
    assert {on: len(some) for on, some in found.items()} == {"acme-one": 1, mix: 3}
    note = f"{labels}:3: site south: no node here is a-node-that-is-down"
    assert note in [event["text"] for event in reader.header.events]


def test_each_kind_is_judged_by_its_own_chip(measured):
    _, reader, chips = measured
    line = ProfileMetric(benchmark="gemm", metric="flops")
    profile = Profile(name="p", categories={"compute": [line]})
    card = scorecard(reader.header, reader.columns(), profile, chips)
    by_name = {one.name.rpartition(" on ")[2]: one for one in card.categories[0].metrics}
    assert by_name["acme-one"].reference == 1e15
    assert by_name["acme-one"].reference_from == "datasheet of acme-one"
    assert by_name["acme-one"].expected_groups == 2
    assert by_name["borg"].reference is None
    sheets = Datasheets(reader.header, chips)
    absent = {
        reader.header.schedules[case.schedule].arguments["on"]: sheets.of(case)[1]
        for case in reader.header.cases
        if case.benchmark in ("gemm", "collectives")
    }
    mix = "+".join(Inventory(reader.header.nodes).mixes())
    assert absent["borg"] == "no reference: no datasheet of 'Borg Two' is known"
    assert absent[mix] == f"no common reference: groups of several kinds of chip ({mix})"
    assert by_name["cpu"].expected_groups == len(
        next(node for node in reader.header.nodes if node.backend == "cpu").devices
    )


def test_doctor_shows_every_node_with_its_labels(cluster, labels):
    words = ["doctor", "--address", cluster.address, "--labels", str(labels)]
    done = CliRunner().invoke(cli, words, env={"COLUMNS": "200"})
    table = [line.split() for line in done.output.splitlines()]
    found = [words[1:4] for words in table if words[3:4] and words[3] in ("cpu", "acme", "borg")]
    shown = {(site, backend) for label, site, backend in found if label == "site"}
    assert shown == {("north", "cpu"), ("north", "acme"), ("south", "acme"), ("south", "borg")}
    assert "no node here is a-node-that-is-down" in done.output


def test_a_dry_run_of_the_cluster_says_who_meets_in_which_library(cluster, labels, tmp_path):
    path = tmp_path / "suite.yaml"
    path.write_text(
        "name: s\nstages:\n  - name: one\n    benchmarks:\n"
        "      - collectives: {over: all}\n      - link: {of: node, across: site}\n"
    )
    words = ["run", str(path), "--dry-run", "--address", cluster.address, "--labels", str(labels)]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    assert "suite s on 4 node(s)" in done.output
    assert "label site: " in done.output
    for who, library in (("acme-one", "accl"), ("borg", "bccl"), ("cpu", "gloo")):
        assert f"group over all on {who}, in {library}: 1 group(s)" in done.output
    assert "pair of nodes across site on acme-one, in accl: 1 group(s)" in done.output
    mixes = [line for line in done.output.splitlines() if "+" in line and "in gloo" in line]
    assert len(mixes) == 2
    assert not (tmp_path / "results").exists()
