"""How labels of nodes nest, and that the picture of the fabric draws what the model estimates."""

from __future__ import annotations

import base64
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from report_runs import paired, racks

from bench.analysis.pairs import pair_fabrics
from bench.analysis.topology import TOPOLOGIES, topologies
from bench.inventory import Inventory
from bench.records import Device, DeviceGroup, Node
from bench.report.html.fabric import fabric
from bench.report.html.page import Chart, Custom, Fold, Text
from bench.report.html.source import Source
from bench.report.language import chinese
from bench.results import RunReader


def found(labels):
    """Topologies of nodes with these labels: (name, groups of each level)."""
    nodes = [Node(id=str(n), name=f"n{n}", labels=one) for n, one in enumerate(labels)]
    made, left = topologies(Inventory(nodes))
    return made, left


def shape(one):
    return one.name, [level.groups for level in one.levels]


def test_racks_lie_in_pods_whatever_labels_are_called_and_however_nodes_are_ordered():
    mixed = [{"a": f"r{n % 4}", "b": f"p{n % 4 // 2}"} for n in range(12)]
    (one,), left = found(mixed)
    assert left == []
    assert shape(one) == ("b > a", [["p0", "p1"], ["r0", "r1", "r2", "r3"]])
    assert one.order.tolist() == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]
    assert one.levels[1].codes.tolist() == [0, 1, 2, 3] * 3


def test_labels_that_divide_alike_are_one_level_and_those_that_divide_nobody_none():
    labels = [
        {"rack": f"r{n // 4}", "switch": f"s{n // 4}", "host": f"h{n}", "site": "one"}
        for n in range(8)
    ]
    (one,), _ = found(labels)
    assert shape(one) == ("rack/switch", [["r0/s0", "r1/s1"]])
    assert one.levels[0].keys == ["rack", "switch"]


def test_labels_that_cross_make_a_topology_each():
    labels = [{**one, "feed": f"f{n % 2}"} for n, one in enumerate(racks(16))]
    made, left = found(labels)
    assert [one.name for one in made] == ["pod > rack", "feed"]
    assert made[1].order.tolist() == [*range(0, 16, 2), *range(1, 16, 2)]
    assert left == []


def test_a_label_that_lies_in_the_outer_one_only_takes_it_along():
    labels = [{**one, "feed": f"f{n // 8}{n % 2}"} for n, one in enumerate(racks(16))]
    made, _ = found(labels)
    assert sorted(one.name for one in made) == ["pod > feed", "pod > rack"]


def test_equal_values_in_two_pods_do_not_lie_in_one():
    labels = [{"pod": f"p{n // 8}", "rack": f"r{n % 8 // 4}"} for n in range(16)]
    made, _ = found(labels)
    assert sorted(one.name for one in made) == ["pod", "rack"]


def test_nodes_without_a_label_are_a_group_of_their_own_in_each_around_them():
    labels = racks(16)
    for node in (5, 6, 12):
        del labels[node]["rack"]
    (one,), _ = found(labels)
    names = ["r0", "r1", None, "r2", "r3", None]
    assert shape(one) == ("pod > rack", [["p0", "p1"], names])
    assert one.lacking == {"rack": 3}
    assert one.levels[1].codes[[4, 5, 6, 12]].tolist() == [1, 2, 2, 5]


@pytest.mark.parametrize("labels", [[{"rack": "r"}], [{} for _ in range(7)], []])
def test_without_anything_to_nest_there_is_one_topology_without_levels(labels):
    (one,), left = found(labels)
    assert (one.levels, one.name, left) == ([], "", [])
    assert one.order.tolist() == list(range(len(labels)))


def test_of_many_labels_that_cross_the_rest_is_named():
    labels = [{f"l{bit}": f"v{n >> bit & 1}" for bit in range(8)} for n in range(256)]
    made, left = found(labels)
    assert len(made) == TOPOLOGIES
    assert len(left) == 8 - TOPOLOGIES
    assert {one.name for one in made} | set(left) == {f"l{bit}" for bit in range(8)}


def test_five_thousand_nodes():
    fleet = DeviceGroup(count=5000, devices=8, chip="c", labels={"rack": 16, "pod": 256})
    (one,), _ = topologies(Inventory(fleet=fleet))
    assert one.name == "pod > rack"
    assert [len(level.groups) for level in one.levels] == [20, 313]
    for outer, inner in zip(one.levels, one.levels[1:], strict=False):
        pairs = set(zip(inner.codes.tolist(), outer.codes.tolist(), strict=True))
        assert len(pairs) == len(inner.groups)  # each rack in one pod
    assert (np.sort(one.order) == np.arange(5000)).all()


def floats(text):
    return np.frombuffer(base64.b64decode(text), dtype="<f4")


def ints(text):
    return np.frombuffer(base64.b64decode(text), dtype="<i4")


def section(folder, language="en"):
    source = Source(RunReader(folder), {}, language=language)
    return source, fabric(source)


def picture(blocks):
    (one,) = (block for block in blocks if isinstance(block, Custom))
    return one.data


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Sixteen nodes in pods and racks; one is slow, and one link."""
    return paired(tmp_path_factory.mktemp("pairs"), racks(16), slow={6: 0.9}, links={(2, 11): 0.8})


def test_what_is_drawn_is_what_the_model_estimates(run):
    source, made = section(run)
    data = picture(made.blocks)
    models = [
        one
        for metric in ("bandwidth", "latency")
        for one in pair_fabrics(source.header, source.columns, source.run.summaries, metric)
    ]
    assert len(models) == len(data["figures"]) == 2
    assert len(data["items"]) == 1
    for model, drawn in zip(models, data["figures"], strict=True):
        assert ints(data["items"][drawn["items"]]).tolist() == model.ranks == list(range(16))
        effect, reach = floats(drawn["effect"]), floats(drawn["reach"])
        assert effect == pytest.approx(model.effect, rel=1e-5, abs=1e-7)
        for end, side in (("low", -1), ("high", 1)):
            said = np.expm1(np.log1p(effect) + side * reach)
            assert said == pytest.approx(getattr(model, end), rel=1e-4, abs=1e-6)
        said = {
            (one["kind"], tuple(data["nodes"][item] for item in one["items"])): one["effect"]
            for one in drawn["slow"]
        }
        assert said == {(one.kind, one.names): one.effect for one in model.suspects}
        assert set(said) == {("slow-node", ("n6",)), ("slow-link", ("n2", "n11"))}
        assert sorted(one["name"] for one in drawn["usual"]) == sorted(
            one.name for one in model.usual
        )
    bandwidth, latency = data["figures"]
    assert (bandwidth["worse"], latency["worse"]) == (-1, 1)
    assert floats(bandwidth["effect"])[6] == pytest.approx(-0.1, abs=0.01)
    assert floats(latency["effect"])[6] == pytest.approx(1 / 0.9 - 1, abs=0.01)
    assert bandwidth["usual"][0]["same"] == {"pod": True, "rack": True}
    (topology,) = data["topologies"]
    assert topology["name"] == "pod > rack"
    assert ints(topology["levels"][1]["codes"]).tolist() == [n // 4 for n in range(16)]


def test_the_same_stands_in_a_table(run):
    _, made = section(run)
    (fold,) = (block for block in made.blocks if isinstance(block, Fold))
    (table,) = fold.blocks
    first = [cell.text for cell in table.rows[0].cells]
    assert first[:2] == ["n6", "p0 > r1"]
    assert table.rows[0].cells[2].sort == pytest.approx(-0.1, abs=0.01)
    assert table.rows[0].cells[2].tone == "bad"
    assert len(table.rows) == 32
    assert sum(row.cells[2].tone == "bad" for row in table.rows) == 2


def test_the_matrix_stands_in_the_order_of_the_groups_which_lines_part(tmp_path):
    mixed = [{"rack": f"r{n % 4}", "pod": f"p{n % 2}"} for n in range(16)]
    _, made = section(paired(tmp_path, mixed, slow={n: 0.9 for n in range(16) if n % 4 == 3}))
    chart = next(block for block in made.blocks if isinstance(block, Chart))
    (heat,), layout = chart.figures[0].data, chart.figures[0].layout
    order = [0, 4, 8, 12, 2, 6, 10, 14, 1, 5, 9, 13, 3, 7, 11, 15]
    assert heat["x"] == heat["y"] == [f"n{n}" for n in order]
    across = [one for one in layout["shapes"] if one["x0"] == one["x1"]]
    assert [one["x0"] for one in across] == [7.5, 3.5, 7.5, 11.5]
    assert across[0]["line"]["width"] > across[1]["line"]["width"]
    assert [(one["text"], one["x"]) for one in layout["annotations"]] == [("p0", 3.5), ("p1", 11.5)]
    z = floats(heat["z"]["bdata"]).reshape(16, 16)
    assert np.nanmin(z[12:, :12]) > 5  # the slow rack is the last block
    assert np.nanmax(z[:12, :12]) < 5


def test_rows_of_a_large_matrix_hold_nodes_of_one_group_each(tmp_path):
    labels = [{"rack": f"r{n // 10}"} for n in range(400)]
    _, made = section(paired(tmp_path, labels))
    chart = next(block for block in made.blocks if isinstance(block, Chart))
    (heat,) = chart.figures[0].data
    assert len(heat["x"]) == 120  # of ten nodes each, four, four and two in a row
    assert heat["x"][:4] == ["n0", "n4", "n8", "n10"]
    assert "4 in a row" in chart.figures[0].caption


def sentences(made):
    return [line for block in made.blocks if isinstance(block, Text) for line in block.lines]


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([{} for _ in range(6)], "No label groups these nodes"),
        ([{**one, "feed": str(n % 2)} for n, one in enumerate(racks(16))], "pod > rack; feed."),
        ([{"rack": f"r{n // 4}"} if n else {} for n in range(12)], "1 of 12 nodes carry no label"),
    ],
)
def test_what_labels_lack_is_said_in_both_languages(tmp_path, labels, said):
    _, made = section(paired(tmp_path, labels))
    (line,) = (line for line in sentences(made) if said in line)
    assert chinese(line) != line


def test_one_node_has_the_links_inside_it_and_says_so(tmp_path):
    devices = tuple(Device(index=d, backend="b", name="c") for d in range(4))
    node = Node(id="i", name="alone", machine="m", labels={"rack": "r"}, devices=devices)
    folder = paired(tmp_path, racks(2))
    written = msgspec.json.decode((folder / "run.json").read_bytes())
    written["nodes"] = [msgspec.to_builtins(node)]
    written["schedules"][0]["arguments"]["of"] = "device"
    (folder / "run.json").write_bytes(msgspec.json.encode(written))
    _, made = section(folder)
    data = picture(made.blocks)
    assert data["nodes"] == ["alone"]
    assert data["figures"][0]["name"].endswith("inside nodes")
    assert "One node: there is no fabric between nodes." in sentences(made)


def test_a_thousand_nodes_take_little_room(tmp_path):
    labels = racks(1024, 16, 256)
    source, made = section(paired(tmp_path, labels, slow=dict.fromkeys(range(160, 176), 0.9)))
    data = picture(made.blocks)
    assert len(msgspec.json.encode(data)) < 500_000
    slow = {data["nodes"][one["items"][0]] for one in data["figures"][0]["slow"]}
    assert slow >= {f"n{n}" for n in range(160, 176)}
    assert source.topologies[0][0].name == "pod > rack"
