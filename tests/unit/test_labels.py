"""Labels of nodes: files that give them, simulated fleets that have them, and what is refused."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from bench.cli import cli
from bench.configs import label_nodes, load_cluster, load_labels
from bench.errors import ConfigError, UsageError
from bench.inventory import Inventory
from bench.records import DeviceGroup, Node

FILE = """site:
  beijing: node-[001-003,9],gpu-7
  shanghai: [node-004.dc2.example, "edge-?", 10.0.0.5]
rack:
  r1: node-00*
"""


def node(name, **values):
    return Node(id=f"id-{name}", name=name, **values)


def labels(tmp_path, text):
    path = tmp_path / "labels.yaml"
    path.write_text(text)
    return load_labels(path)


def test_names_ranges_patterns_and_addresses_find_their_nodes(tmp_path):
    nodes = [
        node("node-001.dc1.example"),  # written short
        node("node-003", labels={"rack": "of ray", "row": "7"}),
        node("node-004.dc2.example"),
        node("edge-b"),
        node("other", address="10.0.0.5:4711"),
        node("node-9"),
        node("gpu-70"),
    ]
    found, notes = label_nodes(nodes, labels(tmp_path, FILE))
    assert [one.labels for one in found] == [
        {"site": "beijing", "rack": "r1"},
        {"site": "beijing", "rack": "r1", "row": "7"},  # the file comes before Ray's
        {"site": "shanghai", "rack": "r1"},
        {"site": "shanghai"},
        {"site": "shanghai"},
        {"site": "beijing"},
        {},
    ]
    assert notes == [f"{tmp_path}/labels.yaml:2: site beijing: no node here is gpu-7"]


def test_a_file_of_ten_thousand_nodes(tmp_path):
    text = "site:\n  a: n[00001-05120]\n  b: n[05121-10240]\n"
    nodes = [node(f"n{number:05d}") for number in range(1, 10_241)]
    found, notes = label_nodes(nodes, labels(tmp_path, text))
    assert notes == []
    assert Inventory(found).label_counts() == {"site": {"a": 5120, "b": 5120}}


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("site: beijing\n", 1, "must be values with lists of nodes, not the text 'beijing'"),
        ("site:\n  a: []\n", 2, "must be a list of nodes"),
        ("site:\n  a: [n1, '']\n", 2, "must be a node's name"),
        ("site:\n  a: n1,,n2\n", 2, "must be a node's name"),
        ("site:\n  a: [n1, 7]\n", 2, "a node's name, or a list of nodes, not the number 7"),
        ("node:\n  a: n1\n", 1, "'node' has a meaning of its own in suites"),
        ("si te:\n  a: n1\n", 1, "a label holds letters"),
        ("site:\n  a b: n1\n", 2, "a value holds letters"),
        ("site:\n  a: n[3-1]\n", 2, "'3-1' in 'n[3-1]' is no range"),
        ("site:\n  a: n[1-9999999]\n", 2, "is no range"),
        ("site:\n  a: n[a-c]\n", 2, "brackets that hold no ranges"),
        ("site:\n  a: n1\n  a: n2\n", 3, "given twice"),
        ("- site\n", 1, "must be labels with values, not a list"),
    ],
)
def test_what_is_no_label_file_is_refused_at_its_line(tmp_path, text, line, message):
    with pytest.raises(UsageError) as raised:
        labels(tmp_path, text)
    assert raised.value.where == f"{tmp_path}/labels.yaml:{line}"
    assert message in str(raised.value)


def test_two_values_of_one_label_name_both_lines(tmp_path):
    items = labels(tmp_path, "site:\n  a: n1\n  b: 'n*'\n")
    with pytest.raises(ConfigError, match="site b here and of a at") as error:
        label_nodes([node("n1")], items)
    assert error.value.where.endswith("labels.yaml:3")
    assert "node n1 is" in error.value.message
    assert error.value.message.endswith("labels.yaml:2")


def test_a_file_that_fits_no_node_is_another_clusters(tmp_path):
    with pytest.raises(ConfigError, match="labels none of the 1 node") as error:
        label_nodes([node("elsewhere")], labels(tmp_path, FILE))
    assert "nodes: elsewhere" in error.value.hint


def test_a_simulated_fleet_has_labels_by_arithmetic(tmp_path):
    path = tmp_path / "fleet.yaml"
    path.write_text("name: fleet\nchip: sim-a\nnodes: 10\ndevices: 2\nlabels: {rack: 4, site: 8}\n")
    assert load_cluster(path).labels == {"rack": 4, "site": 8}
    fleet = Inventory(fleet=DeviceGroup(count=10, devices=2, chip="x", labels={"rack": 4}))
    assert fleet.by_label("rack") == {
        "rack-0000": [0, 1, 2, 3],
        "rack-0001": [4, 5, 6, 7],
        "rack-0002": [8, 9],
    }
    with pytest.raises(UsageError, match="no node carries the label 'site'") as error:
        fleet.by_label("site")
    assert "labels here: rack" in error.value.hint
    path.write_text("name: fleet\nchip: sim-a\nnodes: 10\ndevices: 2\nlabels: {rack: 0}\n")
    with pytest.raises(ConfigError, match="at least 1 node") as error:
        load_cluster(path)
    assert error.value.where == f"{path}:5"


def test_nodes_without_a_label_are_in_none_of_its_groups():
    nodes = [node("a", labels={"rack": "y"}), node("b"), node("c", labels={"rack": "x"})]
    inventory = Inventory(nodes)
    assert inventory.by_label("rack") == {"y": [0], "x": [2]}
    assert inventory.label_counts() == {"rack": {"y": 1, "x": 1}}
    assert inventory.shared_labels() == {}


def test_a_plan_shows_the_labels_and_the_command_line_refuses_a_broken_file(tmp_path):
    path = tmp_path / "labels.yaml"
    path.write_text("site:\n  here: '*'\n")
    words = ["run", "quick", "--dry-run", "--backend", "cpu", "--labels", str(path)]
    assert "label site: here on 1 node(s)" in CliRunner().invoke(cli, words).output
    found = json.loads(CliRunner().invoke(cli, [*words, "--json"]).output)
    assert found["labels"] == {"site": {"here": 1}}
    path.write_text("site:\n  here: nowhere\n")
    broken = CliRunner().invoke(cli, words)
    assert isinstance(broken.exception, ConfigError)
    assert "labels none of the 1 node(s) here" in str(broken.exception)
    alone = CliRunner().invoke(cli, ["doctor", "--labels", str(path)])
    assert "add --address" in str(alone.exception)
