"""Plans: expansion of axes, placement, expectations, and fleets as pure arithmetic."""

from typing import Literal, get_args, get_origin

import msgspec
import pytest
import yaml

from bench.analysis.summary import members
from bench.cli.planned import outline
from bench.cluster.engine import job_count, row_count
from bench.cluster.lead import _told
from bench.cluster.plan import schedules_of, steps
from bench.cluster.planning import Part, extended, plan
from bench.configs import Entry, StageConfig, Suite, load_chips, load_suite, suite_from_text
from bench.configs.search import names
from bench.errors import ConfigError, UsageError
from bench.inventory import Inventory
from bench.kernels import costs
from bench.records import Device, DeviceGroup, Node, Row
from bench.workloads.base import axis_fields, benchmark, registry
from bench.workloads.collectives import Op
from bench.workloads.expansion import expand
from bench.workloads.runner import Outcome, Value

CHIPS = load_chips()


def fleet(nodes=4, devices=2):
    return Inventory(fleet=DeviceGroup(count=nodes, devices=devices, chip="sim-a"))


def suite(*entries, repeats=1, **rule):
    stage = StageConfig(name="one", entries=list(entries), repeats=repeats)
    return Suite(name="s", rule=rule, stages=[stage])


def entry(benchmark, axes=None, **place):
    return Entry(benchmark=benchmark, axes=axes or {}, place=place, where="s.yaml:7")


@pytest.mark.parametrize("simulated", [True, False])
@pytest.mark.parametrize(
    ("measured", "figure"),
    [
        ("stream", "memory_bandwidth"),
        ("transfer", "host_link"),
        ("collectives", "link"),
        ("gemm", "flops"),
    ],
)
def test_a_disputed_figure_is_no_expectation(measured, figure, simulated):
    """Else a device is judged by the highest of what sources claim."""
    inventory = fleet(1)
    if not simulated:
        pair = tuple(Device(index=i, backend="b", name="n", chip="sim-a") for i in (0, 1))
        inventory = Inventory([Node(id="a", name="a", devices=pair)])
    sure = CHIPS["sim-a"]
    wanted = suite(entry(measured))

    def expected(chip):
        cases = plan(wanted, inventory, {"sim-a": chip}).cases
        return [case.expected for case in cases if case.unit in ("B/s", "FLOP/s")]

    assert None not in expected(sure)
    value = getattr(sure, figure)
    if isinstance(value, dict):
        doubted = {
            dtype: msgspec.structs.replace(one, status="disputed") for dtype, one in value.items()
        }
    else:
        doubted = msgspec.structs.replace(value, status="disputed")
    found = expected(msgspec.structs.replace(sure, **{figure: doubted}))
    assert found
    assert set(found) == {None}


def test_axes_expand_to_their_product_and_sweeps_to_sizes():
    found = list(expand(registry()["stream"], {"op": ["copy", "add"], "size": "1MiB..16MiB x4"}))
    assert [(one["op"], int(one["size"]) >> 20) for one in found] == [
        ("copy", 1),
        ("copy", 4),
        ("copy", 16),
        ("add", 1),
        ("add", 4),
        ("add", 16),
    ]


def test_what_a_list_has_twice_is_measured_once():
    axes = {"op": ["copy", "copy"], "size": ["1MiB..4MiB x4", "4MiB..16MiB x4"]}
    sizes = [int(one["size"]) >> 20 for one in expand(registry()["stream"], axes)]
    assert sizes == [1, 4, 16]


def test_a_nul_in_an_axis_is_a_sentence():
    with pytest.raises(UsageError, match="token_set: holds a NUL"):
        plan(suite(entry("train", {"model": "tiny", "token_set": "a\0b"})), fleet(), CHIPS)


def test_fitting_shapes_are_large_on_accelerators_and_small_on_weak_devices():
    wanted = suite(entry("memory", {"op": "rope", "shape": ["fitting", "llama-8b/tp2"]}))
    for weak, word in ((False, "typical"), (True, "small")):
        device = Device(index=0, backend="b", name="n", weak=weak)
        inventory = Inventory([Node(id="a", name="a", devices=(device,))])
        shapes = {case.axes["shape"] for case in plan(wanted, inventory, CHIPS).cases}
        assert shapes == {word, "llama-8b/tp2/rope"}


def test_the_outline_counts_what_a_benchmark_makes_of_the_rule():
    def seconds(mode):
        made = plan(suite(entry("memory", {"mode": mode}), budget=0.4, warmup=0.1), fleet(1), CHIPS)
        (block,) = outline(made, fleet(1))[0]["blocks"]
        return block["seconds"]

    assert (seconds("burst"), seconds("sustained")) == (0.5, 2.1)


@pytest.mark.parametrize("name", ["kernels", "models"])
def test_suites_say_how_much_they_measure(name):
    made, one = plan(load_suite(name), fleet(1, 1), CHIPS), fleet(1, 1)
    blocks = [block for stage in outline(made, one) for block in stage["blocks"]]
    jobs, seconds = sum(len(b["jobs"]) for b in blocks), sum(b["seconds"] for b in blocks)
    said = f"{jobs} benchmarks, {len(made.cases)} rows a device, at most {seconds:.0f} s of timing"
    assert said in " ".join(load_suite(name).text.replace("#", "").split())
    used = {case.axes["op"] for case in made.cases if "op" in case.axes}
    if name == "kernels":
        assert used == set(costs.SPECS)
        assert {case.axes["shape"] for case in made.cases if "op" in case.axes} == {"typical"}


@pytest.mark.parametrize("nodes", [4, 10_240])
def test_fabric_says_how_much_it_measures_on_any_number_of_nodes(nodes):
    inventory = fleet(nodes, 8)
    made = plan(load_suite("fabric"), inventory, CHIPS)
    blocks = [block for stage in outline(made, inventory) for block in stage["blocks"]]
    jobs, seconds = sum(len(b["jobs"]) for b in blocks), sum(b["seconds"] for b in blocks)
    said = f"{jobs} benchmarks, at most {seconds:.0f} s of timing with eight devices a node"
    assert said in " ".join(load_suite("fabric").text.replace("#", "").split())
    measured = {case.axes["op"] for case in made.cases if case.benchmark == "collectives"}
    assert measured == set(get_args(Op))
    assert made.notes == []


def test_a_sweep_of_what_is_no_size_stays_text_and_is_refused():
    with pytest.raises(ConfigError, match=r"s.yaml:7[\s\S]*impl"):
        plan(suite(entry("gemm", {"impl": "1KiB..4KiB"})), fleet(), CHIPS)


def test_cases_declare_metrics_with_unit_direction_and_source():
    made = plan(suite(entry("gemm", {"dtype": ["bf16", "fp32"]})), fleet(), CHIPS)
    assert [(c.metric, c.unit, c.better) for c in made.cases] == 2 * [
        ("flops", "FLOP/s", "higher"),
        ("error", "", "lower"),
    ]
    assert [c.id for c in made.cases] == [0, 1, 2, 3]
    assert len({c.source for c in made.cases}) == 1
    assert made.cases[0].expected == CHIPS["sim-a"].peak("bf16")
    assert made.cases[1].expected is None


@pytest.mark.parametrize(
    ("name", "axes", "title"),
    [
        ("pairs", {"size": "4MiB"}, "pairs 4MiB"),
        (
            "pairs",
            {"direction": "bidirectional", "memory": "host"},
            "pairs 16MiB bidirectional host-memory",
        ),
        ("stability", {}, "stability 16MiB 10s"),
        (
            "stability",
            {"stall": 3.0, "direction": "unidirectional"},
            "stability 16MiB unidirectional 10s stall=3.0",
        ),
        ("link", {}, "link 256MiB there"),
        ("gemm", {"shape": "64x64x64"}, "gemm 64x64x64 bf16 torch"),
        ("gemm", {"layout": "nt", "shape": "64x64x64"}, "gemm 64x64x64 bf16 nt torch"),
        ("collectives", {"in_flight": 4}, "collectives all_reduce 16MiB fp32 in_flight=4"),
        ("incast", {"receiver": 0}, "incast 16MiB receiver=0"),
    ],
)
def test_titles_leave_out_what_goes_without_saying(name, axes, title):
    case = plan(suite(entry(name, axes)), fleet(), CHIPS).cases[0]
    assert case.short() == title
    assert f"{name}[" in case.label()  # which has every axis


@pytest.mark.parametrize("name", ["fabric", "quick", "standard"])
def test_no_two_cases_of_a_stage_share_a_title(name):
    made = plan(load_suite(name), fleet(), CHIPS)
    told = [(case.stage, case.short(), case.schedule, case.metric) for case in made.cases]
    assert len(set(told)) == len(told)


def test_entries_of_one_schedule_share_a_block():
    made = plan(
        suite(
            entry("gemm"),
            entry("collectives", over="node"),
            entry("stream"),
            entry("collectives", {"op": "broadcast"}, over="node"),
        ),
        fleet(),
        CHIPS,
    )
    (stage,) = made.stages
    assert [[job.benchmark for job in block.jobs] for block in stage.blocks] == [
        ["gemm", "stream"],
        ["collectives", "collectives"],
    ]
    assert [spec.groups for spec in made.schedules] == [8, 4]


def test_counts_agree_with_a_walk():
    made = plan(
        suite(entry("gemm"), entry("pairs", of="node", schedule="full"), entry("train"), repeats=3),
        fleet(),
        CHIPS,
    )
    (stage,) = made.stages
    walked = sum(
        batch.ids.size * len(stage.blocks[step.block].jobs)
        for step in steps(stage, schedules_of(made, fleet()))
        for batch in step.groups
    )
    assert walked == job_count(made, stage, fleet()) == 3 * (8 + 6 + 1)
    assert row_count(made, fleet()) == 3 * (8 * 2 + 6 * 5 + 1 * 18 + 8 * 2)  # two of each rank


@pytest.mark.parametrize("name", sorted({*names("suites")} - {"sites"}))
def test_a_node_without_devices_changes_nothing_of_a_plan(name):
    """Whatever place it has: its agent is away, others hold its devices, its driver is broken."""
    chips = ("h200-sxm", "h200-sxm")
    whole = several(*(("x", chip) for chip in chips))
    alone = plan(load_suite(name), whole, CHIPS)
    for place in range(3):
        away = Node(id="away", name="away", problem="its agent failed")
        inventory = Inventory([*whole.nodes[:place], away, *whole.nodes[place:]])
        made = plan(load_suite(name), inventory, CHIPS)
        assert made.cases == alone.cases
        assert [one.groups for one in made.schedules] == [one.groups for one in alone.schedules]
        assert row_count(made, inventory) == row_count(alone, whole)
        for stage, other in zip(made.stages, alone.stages, strict=True):
            assert job_count(made, stage, inventory) == job_count(alone, other, whole)
        (said,) = set(made.notes) - set(alone.notes)
        assert said == "node away is not measured: its agent failed"


def test_rules_merge_and_limits_are_walls():
    one = Entry(benchmark="gemm", axes={}, rule={"budget": 9.0, "limit": 5.0})
    made = plan(suite(one, entry("stream"), budget=2.0, warmup=0.5), fleet(), CHIPS)
    gemm, stream = made.stages[0].blocks[0].jobs
    assert (gemm.rule.budget, gemm.rule.warmup, gemm.limit) == (9.0, 0.5, 5.0)
    assert stream.rule.budget == 2.0
    assert stream.limit > 60


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (entry("gem"), "unknown benchmark 'gem'"),
        (entry("gemm", {"shap": "1x1x1"}), "unknown key of gemm 'shap'"),
        (entry("collectives", {"ovr": "node"}), "did you mean over"),
        (
            entry("collectives", over="nod"),
            "'nod', and over: takes node, all, rail, pair, growing or a",
        ),
        (
            entry("collectives", {"op": "all_reduced"}),
            "unknown op of .*\n.*did you mean all_reduce",
        ),
        (entry("pairs", matchings=True), "matchings must be an integer of at least 1, not True"),
        (entry("pairs", matchings=1 << 31), "matchings must be at most 2147483647, not 2147483648"),
        (entry("pairs", seed=-1), "seed must be an integer of at least 0, not -1"),
        (entry("pairs", within=""), "within must be a label, not ''"),
        (entry("gemm", over="node"), "unknown placement of gemm"),
        (entry("collectives", over="rack"), "no node carries the label 'rack'"),
        (entry("pairs", of="rack"), "unknown of"),
        (entry("pairs", schedule="some"), "unknown schedule"),
        (entry("pairs", matchings=0), "must be an integer of at least 1"),
        (entry("pairs", of="node", schedule="topology"), "topology needs labels that some nodes"),
        (entry("collectives", over="pair", schedule="some"), "unknown schedule"),
        (entry("collectives", over="rail", matchings=2), "over: rail has no pairs"),
        (entry("collectives", over="node", together="yes"), "true or false, not 'yes'"),
        (entry("gemm", together=True), "unknown placement of gemm"),
        (entry("train", {"model": "nope"}), "unknown model 'nope'"),
        (entry("train", {"batch": "4"}), r"train.batch: must be a whole number, not the text '4'$"),
        (entry("train", {"tp": True}), "train.tp: must be a whole number, not true$"),
        (entry("stability", {"stall": "a"}), "stability.stall: must be a number, not the text"),
        (entry("transfer", {"numa": 1.5}), "transfer.numa: must be a whole number, not the number"),
        (entry("compute", {"op": "attention", "shape": "1x3x2x4x64"}), "2 heads of .* divide 3 h"),
        (entry("memory", {"op": "decode_attention", "shape": "1x1x4x3x8x8x64"}), "3 heads of keys"),
        (entry("memory", {"op": "moe", "shape": "1x2x4x3"}), "takes 3 experts, and there are 2"),
        (entry("memory", {"op": "rope", "shape": "1x1x1x3"}), "a head is 3 wide: pairs are turned"),
        (
            entry("memory", {"op": "adamw", "shape": 5}),
            "(?s)not the number 5.*in quotes",
        ),
        (entry("gemm", {"shape": "3x"}), "gemm.shape: '3x' is not a shape; .* 1024x1024x512$"),
    ],
)
def test_what_cannot_be_planned_names_file_and_line(bad, message):
    with pytest.raises(UsageError, match=message) as raised:
        plan(suite(bad), fleet(), CHIPS)
    assert "s.yaml:7" in str(raised.value)


WORDS = [
    (name, axis, [value for value in get_args(field.type) if value])
    for name, cls in registry().items()
    for axis, field in axis_fields(cls).items()
    if get_origin(field.type) is Literal
]


@pytest.mark.parametrize(("name", "axis", "values"), WORDS)
def test_a_suite_can_write_every_word_that_an_axis_takes(name, axis, values):
    # `schedule` says which pairs meet as well: `train` had no gpipe and no interleaved pipeline.
    for written in (values, *values):
        text = yaml.safe_dump(
            {"name": "s", "stages": [{"name": "one", "benchmarks": [{name: {axis: written}}]}]}
        )
        (made,) = suite_from_text(text, "s.yaml").stages[0].entries
        assert (made.axes, made.place) == ({axis: written}, {})


def test_pipelines_of_every_schedule_are_planned_from_a_file():
    text = """
name: s
stages:
  - name: one
    benchmarks:
      - train: {pp: 2, microbatches: 2, schedule: [gpipe, 1f1b], model: small, over: node}
      - train: {pp: 2, microbatches: 2, schedule: interleaved, model: small, over: pair}
      - train: {model: small, over: pair, schedule: sample, matchings: 2}
"""
    made = plan(suite_from_text(text, "s.yaml"), fleet(), CHIPS)
    found = {
        (case.axes["schedule"], made.schedules[case.schedule].arguments.get("schedule"))
        for case in made.cases
        if case.metric == "tokens_per_second"
    }
    assert found == {("gpipe", None), ("1f1b", None), ("interleaved", "full"), ("1f1b", "sample")}
    with pytest.raises(UsageError, match="unknown schedule of train 'foo'"):
        plan(suite(entry("train", {"schedule": "foo"})), fleet(), CHIPS)
    with pytest.raises(UsageError, match="unknown schedule 'foo'"):
        plan(suite(entry("pairs", {"schedule": "foo"})), fleet(), CHIPS)


def test_an_axis_is_called_by_no_key_that_says_where_is_measured():
    with pytest.raises(TypeError, match="no axis of a suite can be called 'seed'"):

        @benchmark(scope="device")
        class Seeded(registry()["gemm"]):
            seed: int = 0


def test_an_unknown_model_is_refused_without_a_datasheet_too():
    with pytest.raises(UsageError, match="unknown model 'nope'"):
        plan(suite(entry("train", {"model": "nope"})), fleet(), {})


def test_pairs_of_nodes_on_one_node_are_noted():
    made = plan(suite(entry("pairs", of="node")), fleet(1), CHIPS)
    assert made.schedules[0].groups == 0
    assert "has no group here" in made.notes[0]


def test_what_a_group_lacks_is_noted():
    labels = ({"rack": "a"}, {"rack": "a"}, {})
    nodes = [
        Node(
            id=str(n),
            name=f"n{n}",
            labels=labels[n],
            devices=(Device(index=0, backend="x", name="x"),),
        )
        for n in range(3)
    ]
    wanted = {
        "rack": "leaves out 1 node(s) without the label 'rack'",
        "node": "has groups of one device only, which have nothing to exchange",
        "all": "",
        "rail": "",
    }
    for over, note in wanted.items():
        notes = plan(suite(entry("collectives", over=over)), Inventory(nodes), CHIPS).notes
        assert notes == ([f"s.yaml:7: collectives {note}"] if note else [])
    (lonely,) = plan(suite(entry("collectives", over="pair")), Inventory(nodes[:1]), CHIPS).notes
    assert "collectives has no group here: 1 node(s), 1 device(s)" in lonely


@pytest.mark.parametrize("name", ["train", "checkpoint", "resumable"])
def test_who_trains_alone_has_something_to_measure(name):
    axes = {"model": "tiny"}
    assert not plan(suite(entry(name, axes, over="all")), fleet(1, 1), CHIPS).notes


def test_a_metric_without_a_value_says_why():
    made = plan(suite(entry("train", {"model": "tiny"}, over="all")), fleet(1, 1), CHIPS)
    ((job,),) = ([block.jobs[0] for block in stage.blocks] for stage in made.stages)
    row = Row(
        case=0, group=0, repeat=0, time=0.0, value=None, low=None, high=None, n=0, status="ok",
        conditions=3, provenance="measured", reason="",
    )  # fmt: skip
    outcome = Outcome(status="ok", values=[Value("loss_1", 6.0, 6.0, 6.0, 1)])
    given = _told(row, "loss_1", outcome, job)
    assert (given.status, given.value, given.conditions) == ("ok", 6.0, 3)
    for metric, why in (
        ("loss_12", "fewer steps were taken"),
        ("wait", "who is alone waits for nobody"),
        ("jitter", "what it is computed from is unknown here"),
    ):
        told = _told(row, metric, outcome, job)
        assert (told.status, told.reason, told.conditions) == ("skipped", why, -1)
    written = plan(suite(entry("generate", {"model": "tiny"})), fleet(1, 1), CHIPS)
    job = written.stages[0].blocks[0].jobs[0]
    for metric, why in (
        ("mfu", "the chip's peak in this dtype is unknown"),
        ("mbu", "the chip's memory bandwidth is unknown"),
        ("peak_memory", "the allocator keeps no peak"),
    ):
        assert _told(row, metric, outcome, job).reason == why
    failed = msgspec.structs.replace(row, status="invalid", reason="it throttled")
    told = _told(failed, "loss_12", outcome, job)
    assert (told.status, told.reason, told.conditions) == ("invalid", "it throttled", 3)


def test_groups_over_rails_and_pairs_of_nodes_have_their_expectations():
    made = plan(
        suite(
            entry("collectives", {"size": "1GiB"}, over="rail", together=True),
            entry("collectives", {"size": "1GiB"}, over="rail", together=False),
            entry("collectives", {"size": "1GiB"}, over="pair", schedule="sample", matchings=1),
        ),
        fleet(4, 2),
        CHIPS,
    )
    assert [(spec.kind, spec.groups) for spec in made.schedules] == [
        ("rails", 2),
        ("rails", 2),
        ("node_pairs", 2),
    ]
    busbw = [case.expected for case in made.cases if case.metric == "busbw"]
    network = CHIPS["sim-a"].network.value
    # Two rails at the same time share the network of their nodes; one alone has all of it.
    assert busbw[0] == pytest.approx(network / 2)
    assert busbw[1] == pytest.approx(min(network, CHIPS["sim-a"].link.value))


def test_no_single_expectation_for_unequal_groups():
    by_device = plan(suite(entry("pairs", of="device", schedule="full")), fleet(), CHIPS)
    assert by_device.cases[0].expected is None
    by_node = plan(suite(entry("pairs", of="node", schedule="full")), fleet(), CHIPS)
    assert by_node.cases[0].expected is not None


def several(*nodes, site=None):
    """Nodes (backend, chip) of two devices each; ``site(number)`` is their label."""
    return Inventory(
        [
            Node(
                id=str(n),
                name=f"n{n}",
                backend=backend,
                collectives=f"{backend}ccl",
                labels={"site": site(n)} if site else {},
                devices=tuple(
                    Device(index=d, backend=backend, name=backend, chip=chip) for d in range(2)
                ),
            )
            for n, (backend, chip) in enumerate(nodes)
        ]
    )


def test_every_kind_of_chip_is_judged_by_its_own_datasheet():
    inventory = several(("x", "sim-a"), ("x", "h200-sxm"), ("x", "sim-a"), ("y", None))
    made = plan(suite(entry("gemm"), entry("collectives"), entry("pairs")), inventory, CHIPS)
    flops = [case for case in made.cases if case.metric == "flops"]
    on = [made.schedules[case.schedule].arguments["on"] for case in flops]
    assert on == ["sim-a", "h200-sxm", "y"]
    assert [case.expected for case in flops] == [
        CHIPS["sim-a"].peak("bf16"),
        CHIPS["h200-sxm"].peak("bf16"),
        None,
    ]
    # Over everyone: each kind in its library, chips of one backend too, backends in gloo.
    over_all = [(s.arguments["on"], s.library, s.groups) for s in made.schedules if s.kind == "all"]
    assert over_all == [
        ("sim-a", "xccl", 1),
        ("h200-sxm", "xccl", 1),
        ("y", "yccl", 1),
        ("sim-a+h200-sxm", "xccl", 1),
        ("x+y", "gloo", 1),
    ]
    busbw = {
        made.schedules[case.schedule].arguments["on"]: case.expected
        for case in made.cases
        if case.metric == "busbw"
    }
    assert busbw["sim-a"] is not None
    assert busbw["sim-a"] != busbw["h200-sxm"]
    assert (busbw["sim-a+h200-sxm"], busbw["x+y"]) == (None, None)
    # Inside each node all pairs, between kinds all that differ.
    pairs = {s.arguments["on"]: s.groups for s in made.schedules if s.kind == "pairs"}
    assert pairs == {"sim-a": 6, "h200-sxm": 1, "y": 1, "sim-a+h200-sxm": 8, "x+y": 12}
    assert made.notes == []


def test_training_grows_over_a_pool_from_the_size_in_which_kinds_meet():
    """The first devices are of one kind: of that size the pool has no group, and the kinds have."""
    inventory = several(("x", "sim-a"), ("x", "h200-sxm"))
    made = plan(load_suite("scaling"), inventory, CHIPS)
    sizes = {}
    for one in made.schedules:
        if one.scope == "group":
            on = one.arguments.get("on")
            sizes.setdefault(on, {})[one.arguments.get("devices")] = one.groups
    assert sizes["sim-a+h200-sxm"][4] == 1
    assert all(sizes[on][1] == 1 for on in ("sim-a", "h200-sxm"))
    assert sizes["sim-a+h200-sxm"].get(1, 0) == sizes["sim-a+h200-sxm"].get(2, 0) == 0


def test_a_kind_without_a_group_is_noted_and_the_rest_is_planned():
    inventory = several(("x", None), ("x", None), ("y", None))
    made = plan(suite(entry("pairs", of="node")), inventory, CHIPS)
    assert [s.arguments["on"] for s in made.schedules] == ["x", "x+y"]
    assert made.notes == ["s.yaml:7: pairs has no group of y"]
    lonely = plan(suite(entry("pairs", of="node")), several(("x", None)), CHIPS)
    assert "has no group here: 1 node(s), 2 device(s)" in lonely.notes[0]


def test_one_kind_is_planned_as_ever_and_says_its_library():
    made = plan(suite(entry("gemm"), entry("collectives")), several(("x", "sim-a")), CHIPS)
    assert [(s.arguments, s.library) for s in made.schedules] == [({}, ""), ({}, "xccl")]


def test_a_topology_is_planned_as_a_case_for_each_class_of_link():
    sites = several(*[("x", "sim-a")] * 4, site=lambda n: f"s{n // 2}")
    made = plan(suite(entry("pairs", schedule="topology", of="node")), sites, CHIPS)
    assert [members(s) for s in made.schedules] == [
        " of nodes within site",
        " of nodes across site",
    ]
    devices = plan(suite(entry("pairs", schedule="topology")), fleet(), CHIPS)
    expected = {
        members(devices.schedules[case.schedule]): case.expected
        for case in devices.cases
        if case.metric == "bandwidth"
    }
    # Pairs across rails are inside a node or between two: nobody expects one figure of them.
    assert expected.pop(" of devices across rail", None) is None
    assert set(expected) == {f" of devices {way}" for way in CLASSES}
    inside, between = expected[" of devices within node"], expected[" of devices across node"]
    assert inside != between
    assert expected[" of devices within rail"] == between


CLASSES = ("within node", "across node", "within rail")


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ({"across": "rack"}, "no node carries the label 'rack'"),
        ({"within": "site", "across": "site"}, "two classes of link"),
        ({"across": 7}, "across must be a label, not 7"),
        ({"schedule": "values"}, "say of which, for example across: site"),
        ({"schedule": "values", "within": "site"}, "say of which"),
    ],
)
def test_classes_that_cannot_be_are_refused(place, message):
    sites = several(*[("x", None)] * 4, site=lambda n: f"s{n // 2}")
    with pytest.raises(ConfigError, match=message) as raised:
        plan(suite(entry("link", **place)), sites, CHIPS)
    assert raised.value.where == "s.yaml:7"
    if "rack" in message:
        assert "labels here: site" in raised.value.hint
    with pytest.raises(ConfigError, match="over: node has no pairs"):
        plan(suite(entry("collectives", over="node", across="site")), sites, CHIPS)


def test_what_links_between_sites_lack_is_noted():
    def notes(site, **place):
        nodes = several(*[("x", None)] * 6, site=site)
        return plan(suite(entry("link", of="node", across="site", **place)), nodes, CHIPS).notes

    assert notes(lambda n: f"s{n % 3}") == []
    (alone,) = notes(lambda n: "one")
    assert "link has no group here: no two nodes differ in 'site'" in alone
    few = notes(lambda n: f"s{n}", schedule="sample", matchings=2)
    assert few == ["s.yaml:7: link meets 6 of 15 pairs of site; raise matchings to meet all"]


def test_the_suite_of_sites_needs_two():
    fleets = [
        Inventory(fleet=DeviceGroup(count=4, devices=2, chip="sim-a", labels={"site": alike}))
        for alike in (2, 4)
    ]
    two = plan(load_suite("sites"), fleets[0], CHIPS)
    assert [s.groups for s in two.schedules] == [1, 16]
    assert len(plan(load_suite("sites"), fleets[1], CHIPS).notes) == 2
    with pytest.raises(UsageError, match="no node carries the label 'site'"):
        plan(load_suite("sites"), fleet(), CHIPS)


@pytest.mark.parametrize("name", ["quick", "standard", "fabric"])
def test_shipped_suites_can_be_planned_anywhere(name):
    for inventory in (fleet(1, 1), fleet(1, 8), fleet(3, 1), fleet(2, 8)):
        made = plan(load_suite(name), inventory, CHIPS)
        assert row_count(made, inventory) > 50


@pytest.mark.parametrize("name", sorted({*names("suites")} - {"sites", "slices"}))
def test_shipped_suites_fit_a_small_host(name):
    """Whoever types one on a laptop is not told that a model does not fit; `slices` names large
    ones on purpose, and `sites` asks for labels."""
    devices = [Device(index=i, backend="cpu", name="n", memory=4 << 30, weak=True) for i in (0, 1)]
    made = plan(load_suite(name), Inventory([Node(id="a", name="a", devices=devices)]), CHIPS)
    assert made.cases


def test_standard_is_a_suite_of_sixty_cases():
    made = plan(load_suite("standard"), fleet(), CHIPS)
    assert len({(c.stage, c.label()) for c in made.cases}) >= 60


def test_a_node_that_cannot_be_measured_is_noted_and_the_others_are_planned():
    device = Device(index=0, backend="cpu", name="n")
    why = "no driver is loaded"
    nodes = [Node(id="a", name="a", devices=(device,)), Node(id="b", name="b", problem=why)]
    inventory = Inventory(nodes)
    made = plan(suite(entry("launch", {"op": "empty", "view": "host"})), inventory, CHIPS)
    assert made.notes == ["node b is not measured: no driver is loaded"]
    assert job_count(made, made.stages[0], inventory) == 1


def test_what_each_rank_measures_is_of_its_device_alone():
    entries = [entry("train", over=over) for over in ("node", "all", "pair")]
    made = plan(suite(*entries), fleet(3, 2), CHIPS)
    schedules = schedules_of(made, fleet(3, 2))
    each = [case for case in made.cases if case.scope == "rank"]
    # Of pairs a rank is in many, and its row would not say in which.
    assert [(case.metric, made.schedules[case.schedule].kind) for case in each] == [
        ("compute", "nodes"),
        ("wait", "nodes"),
        ("compute", "all"),
        ("wait", "all"),
    ]
    names = [members(made.schedules[case.schedule]) for case in each[::2]]
    assert names == [" over node", " over all"]
    assert all(schedules[case.schedule].size == 6 for case in each)
    assert all(schedules[case.schedule].members(4) == (4,) for case in each)
    job = made.stages[0].blocks[1].jobs[0]
    rows = list(job.rows(0, range(6)))
    assert rows[:12] == [(each[2].id, n) for n in range(6)] + [(each[3].id, n) for n in range(6)]
    assert rows[12:] == [(job.case + n, 0) for n in range(len(job.metrics))]


def test_ranks_of_some_nodes_keep_their_numbers():
    whole = plan(suite(entry("train")), fleet(3, 2), CHIPS)
    stage = StageConfig(name="two")
    made = extended(whole, stage, [Part([entry("train")], [0, 2])], {}, fleet(3, 2), CHIPS)
    compute = next(case for case in made.cases if (case.stage, case.metric) == ("two", "compute"))
    schedule = schedules_of(made, fleet(3, 2))[compute.schedule]
    (groups,) = next(schedule.rounds())
    assert groups.ids.tolist() == groups.ranks[:, 0].tolist() == [0, 1, 4, 5]
    assert compute.expected == next(one for one in whole.cases if one.metric == "compute").expected
