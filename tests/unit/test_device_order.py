"""The device check's decisions: what still holds, what comes first, who gets how much time."""

import re
import shutil
import sys
import threading
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "device"))

import digests
import promises
from book import Book, Report
from cases import plan
from checking import Room, distinct, need
from figures import missed, near, rivals_of, undecided
from measuring import tell
from order import order
from promises import untried
from records import Cell, Record, takes_part
from stages import STAGES, Later, Place, Stage, shares

from bench.cli import certify_verb as certify
from bench.cli import run_verb as run
from bench.cli import tune_verb as tune
from bench.configs import load_suite
from bench.kernels import space, tuning
from bench.kernels.costs import SPECS, cost

ARCH = "sm_90"


def record(task, seconds=1.0, rivals=(), half=0.001, **changes):
    """A task that was done: medians, each with an interval of so much to both sides. Rivals that
    a bound names and that are not given were absent."""

    def cell(family, middle):
        return Cell(family=family, seconds=middle, low=middle - half, high=middle + half, bytes=0)

    counted = cost(task.op, task.shape, task.variant, task.dtype)
    made = Record(
        kind=task.kind, op=task.op, variant=task.variant, dtype=task.dtype, shape=task.shape,
        figure=task.figure, flops=counted.flops, bytes=counted.bytes,
        code=digests.code(task.op, ARCH),
        cells={"triton": cell("ours", seconds)},
    )  # fmt: skip
    for name in rivals_of(task.figure):
        made.cells[name] = Cell(family="library", status="absent", reason="not installed")
    for name, middle in dict(rivals).items():
        made.cells[name] = cell("library" if name == "liger" else "torch", middle)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def timed(op, variant, dtype="bf16"):
    return next(
        one for one in plan()
        if (one.kind, one.op, one.variant, one.dtype) == ("time", op, variant, dtype)
    )  # fmt: skip


def test_a_change_costs_the_operations_that_it_reaches(tmp_path):
    root = tmp_path / "kernels"
    shutil.copytree(digests.KERNELS, root)
    before = {op: digests.code(op, ARCH, root) for op in SPECS}
    assert before == {op: digests.code(op, ARCH) for op in SPECS}

    def changed(name, more="\nANOTHER = 1\n", at=r"\Z", ops=SPECS):
        path = root / f"{name}.py"
        text = path.read_text(encoding="utf-8")
        path.write_text(re.sub(at, more, text, count=1), encoding="utf-8")
        assert path.read_text(encoding="utf-8") != text
        digests.code.cache_clear()
        found = {op for op in ops if digests.code(op, ARCH, root) != before[op]}
        path.write_text(text, encoding="utf-8")
        return found

    assert changed("softmax") == {"softmax"}
    assert changed("jit/gemm") == {"gemm", "gate_up", "grouped_gemm"}
    assert changed("arch/sm_90/jit/attention_query") == {"attention"}
    assert changed("launch") == set(SPECS)
    # Where it refuses arguments, counts work or says what tables may hold, nothing is launched.
    assert changed("space") == changed("costs") == changed("arguments") == set()
    # What tells people, or refuses arguments, launches nothing either.
    check = r"(?=    check_tensor\()"
    for more, at, found in (
        ("\n# another\n", r"\Z", set()),
        ('"""Another. ', '"""', set()),
        ("    check_tensor(\n        'y', y, x.dtype\n    )\n", check, set()),
        ("    if rows < 0:\n        raise ValueError(rows)\n", check, set()),
        ("    for one in (x, y):\n        check_tensor('y', one)\n", check, set()),
        ("    if rows < 0:\n        return out\n", check, {"softmax"}),
        ("    launch(\n        'y', y, x.dtype\n    )\n", check, {"softmax"}),
        ("    x = as_rows('x', x)\n", check, {"softmax"}),
    ):
        assert changed("softmax", more, at, ["softmax"]) == found, more
    digests.code.cache_clear()


def test_an_architecture_without_a_variant_does_not_have_its_code():
    assert not [name for name in digests.sources("attention", "gfx942") if "sm_90" in name]
    assert "arch/sm_90/jit/ring" in digests.sources("attention", ARCH)


def test_a_record_holds_while_tables_answer_the_same(tmp_path):
    task = timed("softmax", "forward")
    asked = tuning.Asked(ARCH, "softmax", "bf16", {"width": task.shape[1]})
    mine = record(task, configs=digests.answers([asked]))
    assert digests.holds(mine, ARCH)
    assert not digests.holds(record(task, code="before", configs=mine.configs), ARCH)
    assert not digests.holds(record(task, code=""), ARCH)
    assert not digests.holds(record(task, bytes=1), ARCH)
    assert not digests.holds(record(task, configs={"softmax bf16 height=8": "rows=1"}), ARCH)
    own = tmp_path / f"{ARCH}.yaml"
    text = (digests.KERNELS / "tuned" / own.name).read_text()
    for width, holds in ((task.shape[1] - 1, True), (task.shape[1], False)):
        first = f"softmax:\n  - max_width: {width}\n    config: {{rows: 2, num_warps: 4}}\n"
        own.write_text(text.replace("softmax:\n", first, 1))
        tuning.look_in([tmp_path])
        tuning.forget()
        try:
            assert digests.holds(mine, ARCH) is holds, width
        finally:
            tuning.look_in([])


def test_figures_without_any_value_come_first_then_gaps_then_what_is_open():
    asked = plan()
    known = [
        record(task, rivals={"torch": 1.0})
        for task in asked
        if task.kind == "time" and task.figure and task.figure not in ("rope", "gemm fp8")
    ]
    gap = next(one for one in known if one.figure == "gemm")
    known.remove(gap)
    # 1.005 of its rival's time, of which is known no more than that: below the bound, or not.
    task = timed("rmsnorm", "add_forward")
    known = [one for one in known if one.name != task.name]
    open_still = record(task, seconds=1.005, rivals={"liger": 1.0}, half=0.01)
    assert missed(open_still)
    assert undecided(open_still)
    first, second = order(asked, [*known, open_still], most=16.0)
    names = [one.figure or one.op for one in first.timed]
    assert set(names[:4]) == {"rope", "gemm fp8"}
    assert names[4:] == ["gemm", "rmsnorm"]
    assert [one.name for one in first.timed[-2:]] == [gap.name, open_still.name]
    assert not first.verified
    assert {one.kind for one in second.verified} == {"verify"}
    assert not any(one.figure for one in second.timed)
    # As well known as it is going to be, or decided: not again.
    for left in (
        record(task, seconds=1.005, rivals={"liger": 1.0}, half=0.01, spent=16.0, places=5),
        record(task, seconds=1.1, rivals={"liger": 1.0}, half=0.01),
    ):
        (first, _) = order(asked, [*known, left], most=16.0)
        assert open_still.name not in [one.name for one in first.timed]


def test_what_never_had_a_figure_comes_before_what_had_one_with_earlier_kernels():
    asked = plan()
    whole = [one for one in asked if one.kind == "time" and one.figure]
    new = {"rope", "softmax", "gemm fp8"}
    former = [record(one) for one in whole if one.figure not in new]
    gap = next(one for one in former if one.figure == "gemm")
    former = [one for one in former if one is not gap and one.figure != "decode_attention"]
    first, second = order(asked, [], most=16.0, former=former)
    count = sum(one.figure in new for one in whole) + 1
    ahead = first.timed[:count]
    assert {one.figure for one in ahead} == {*new, "gemm"}
    assert gap.name in [one.name for one in ahead]
    # A figure of which nothing is asked waits until all others are there.
    assert "decode_attention" not in {one.figure for one in first.timed}
    assert second.timed[0].figure == "decode_attention"
    # What failed with earlier kernels says nothing of these.
    failed = [record(one, status="failed") for one in whole if one.figure == "adamw"]
    former = [*(one for one in former if one.figure != "adamw"), *failed]
    step, _ = order(asked, [], most=16.0, former=former)
    assert "adamw" in {one.figure for one in step.timed[: count + 1]}


def test_rivals_are_named_or_left_out():
    assert takes_part("AdamW fused", ["AdamW", "torch"])
    assert not takes_part("AdamW fused", ["torch"])
    assert takes_part("torch", [])
    assert takes_part("torch", ["-autotune"])
    assert not takes_part("autotune", ["-autotune"])
    assert not takes_part("liger", ["torch", "-autotune"])


def test_the_search_of_compilers_comes_later_and_once(tmp_path):
    place = Place(tmp_path, "Acme One", "acme", "generic")
    assert isinstance(COMMANDS["searched"](place, 100.0), Later)
    tasks = [timed("rope", "forward"), timed("softmax", "forward"), timed("gemm", "nn")]
    named = dict.fromkeys(("compile", "liger", "torch"), 1.0)
    known = [record(one, rivals=named) for one in tasks]
    del known[0].cells["autotune"]
    report = Report(environment={"device": "Acme One", "arch": "generic"}, records=known)
    Book(place.reference / "acme-one", report).write()
    ((_, words),) = COMMANDS["searched"](place, 100.0).items()
    assert words[words.index("--only") + 1] == "rope"
    assert not [one for one in words if one.startswith("--rivals")]
    # Until then nobody is timed again for it.
    ((_, words),) = COMMANDS["kernels"](place, 100.0).items()
    (rivals,) = (one.partition("=")[2] for one in words if one.startswith("--rivals"))
    assert order(tasks, known, 1.0, rivals.split(",")) == []
    (step,) = order(tasks, known, 1.0)
    assert [one.name for one in step.timed] == [tasks[0].name]
    known[0].cells["autotune"] = Cell(family="torch", status="failed", reason="no memory")
    Book(place.reference / "acme-one", report).write()
    assert "had its part" in COMMANDS["searched"](place, 100.0)


def test_a_rival_that_had_no_part_is_timed_when_what_is_missing_was():
    asked = [one for one in plan() if one.op == "swiglu"]
    known = [record(one, rivals={"liger": 1.1}) for one in asked]
    del known[0].cells["liger"]
    assert (known[0].kind, known[0].figure) == ("time", "swiglu")
    (step,) = order(asked, known, most=1.0)
    assert [one.name for one in step.timed] == [known[0].name]
    assert order(asked, known, 1.0, wanted=["torch", "compile"]) == []


def test_what_is_promised_is_timed_beside_what_is_known(monkeypatch):
    monkeypatch.setattr(promises, "_PROMISES", PROMISED)
    task = timed("rmsnorm", "forward")
    mine = record(task, rivals={"torch": 2.0, "compile": 2.0, "liger": 2.0})
    assert order([task], [mine], 1.0) == []
    assert order([task], [mine], 1.0, ["-untried"], arch=ARCH) == []
    (step,) = order([task], [mine], 1.0, arch=ARCH)
    assert [one.name for one in step.timed] == [task.name]
    (name,) = untried(ARCH, task.op, task.variant)
    mine.cells[name] = Cell(family="untried", status="failed", reason="no registers")
    assert order([task], [mine], 1.0, arch=ARCH) == []


def test_what_is_near_its_bound_is_so_on_both_sides():
    task = timed("rmsnorm", "forward")
    for rival, close in ((1.02, False), (1.005, True), (0.995, True), (0.98, False)):
        others = {"torch": 2.0, "compile": 2.0, "liger": rival}
        assert near(record(task, rivals=others, half=0.0001)) is close, rival


def test_what_missed_by_less_than_places_differ_is_timed_at_others():
    task = timed("rmsnorm", "forward")
    others = {"torch": 2.0, "compile": 2.0}

    def again(rival, **more):
        known = record(task, rivals={**others, "liger": rival}, half=0.0001, spent=16.0, **more)
        return bool(order([task], [known], most=16.0))

    assert again(0.995)  # as those before places were counted
    assert not again(0.995, places=5)
    assert not again(0.98)
    assert not again(1.005)


def test_an_interval_holds_what_every_place_of_the_operands_said():
    task = timed("rmsnorm", "forward")
    mine = record(task, rivals={"liger": 1.0})
    one = {"triton": [1.0, 1.01, 1.02] * 9, "liger": [2.0] * 27}
    other = {"triton": [1.1, 1.11, 1.12] * 9, "liger": [2.0] * 27}
    tell(mine, [one])
    alone = mine.cells["triton"]
    assert (alone.seconds, alone.samples) == (1.01, 27)
    tell(mine, [one, other])
    cell = mine.cells["triton"]
    assert (cell.samples, cell.low, cell.high) == (54, 1.01, 1.11)
    assert 1.02 <= cell.seconds <= 1.1
    assert mine.cells["liger"].low == mine.cells["liger"].high == 2.0


def test_a_report_does_not_say_where_a_machine_keeps_it(tmp_path):
    words = ["--resume", "--out", "/srv/somewhere", "--budget", "9"]
    runs = [{"command": words}, {"command": ["--out=/srv/somewhere", "--bounds"]}, {}]
    Book(tmp_path, Report(environment={"arch": ARCH}, runs=runs)).write()
    kept = msgspec.json.decode((tmp_path / "kernels.json").read_bytes())["runs"]
    assert [one["command"] for one in kept] == [["--resume", "--budget", "9"], ["--bounds"], []]


def test_what_failed_is_done_again_and_last():
    asked = [one for one in plan() if one.op == "softmax" and one.kind == "verify"]
    known = [record(one) for one in asked[:3]]
    known[0].status = "failed"
    (step,) = order(asked, known, most=1.0)
    assert [one.name for one in step.verified] == [one.name for one in (*asked[3:], asked[0])]
    assert order(asked, [record(one) for one in asked], most=1.0) == []


def test_who_compiles_for_one_shape_has_compiled_for_most():
    tasks = [one for one in plan() if one.figure.startswith("gemm")]
    first = distinct(tasks)
    assert sorted(one.name for one in first) == sorted(one.name for one in tasks)
    kinds = len({(one.variant, one.dtype) for one in tasks})
    assert len({(one.variant, one.dtype) for one in first[:kinds]}) == kinds
    assert distinct([]) == []


def test_tasks_side_by_side_share_the_memory():
    assert need(timed("adamw", "step")) > need(timed("softmax", "forward")) > 1 << 30
    room = Room(10)
    taken = room.take(6)
    got = []
    waiting = threading.Thread(target=lambda: got.append(room.take(20)))  # more than there is
    waiting.start()
    assert room.take(4) == 4
    room.give(4)
    waiting.join(0.05)
    assert got == []
    room.give(taken)
    waiting.join(10)
    assert got == [10]


def stage(name, share, least):
    return Stage(name, "", share, least, lambda place, seconds: "")


def test_stages_share_what_is_left_and_nobody_gets_too_little():
    stages = [stage("a", 3, 10), stage("b", 1, 20), stage("c", 1, 100)]
    assert shares(stages, 500) == {"a": 300.0, "b": 100.0, "c": 100.0}
    assert shares(stages, 400) == {"a": 300.0, "b": 100.0}
    assert shares(stages, 70) == {"a": 70.0}
    assert shares(stages, 5) == {}
    # When their turn comes, there may be more left than was planned for them.
    assert shares(stages[1:], 200) == {"b": 100.0, "c": 100.0}


@pytest.mark.parametrize("budget", [60, 300, 720, 3600])
def test_no_budget_is_overdrawn_and_kernels_get_most(budget):
    given = shares(STAGES, budget)
    assert sum(given.values()) == pytest.approx(budget)
    assert given["kernels"] == max(given.values())
    assert all(given[one.name] >= one.least for one in STAGES if one.name in given)


def test_a_stage_of_bounds_is_done_when_they_are_timed(tmp_path):
    place = Place(tmp_path, "Acme One", "acme", "generic")
    left = {one.name: one.left for one in STAGES}
    asked = [timed("rope", "forward"), next(one for one in plan() if one.kind == "verify")]
    report = Report(environment={"device": "Acme One"}, missing=[one.name for one in asked])
    Book(place.reference / "one", report).write()
    assert (left["kernels"](place), left["verify"](place)) == (1, 2)
    report.missing = report.missing[1:]
    Book(place.reference / "one", report).write()
    assert (left["kernels"](place), left["verify"](place), left["slices"](place)) == (0, 1, 0)


def test_ten_minutes_have_room_for_what_matters_most():
    given = shares(STAGES, 520)
    assert list(given) == ["kernels", "tune", "retime", "slices", "harness", "verify"]


COMMANDS = {one.name: one.commands for one in STAGES}


def test_what_missed_its_bound_is_searched_for_once(tmp_path):
    place = Place(tmp_path, "Acme One", "acme", "generic")
    assert isinstance(COMMANDS["tune"](place, 100.0), Later)
    task = timed("attention", "full_backward")
    slow = record(task, seconds=2.0, rivals={"torch": 1.0})
    good = record(timed("attention", "causal_backward"), rivals={"torch": 1.0})
    report = Report(environment={"device": "Acme One", "arch": "generic"}, records=[slow, good])
    Book(place.reference / "acme-one", report).write()
    ((name, words),) = COMMANDS["tune"](place, 100.0).items()
    asked = tune.command.make_context("tune", list(words[4:])).params
    assert asked["ops"] == ("attention",)
    assert asked["variants"] == ("full_backward",)
    assert asked["shapes"] == ("x".join(map(str, task.shape)),)
    assert asked["out"] == digests.KERNELS / "tuned"
    place.ended.append(name)
    assert "there was a search for it" in COMMANDS["tune"](place, 100.0)
    # Of another device's report nothing follows for this one.
    assert isinstance(COMMANDS["tune"](Place(tmp_path, "Acme Two", "acme", "generic"), 1.0), Later)


@pytest.mark.parametrize("name", ["slices", "quick", "certify", "harness", "standard"])
def test_a_run_that_was_cut_short_is_gone_on_with(tmp_path, name):
    place = Place(tmp_path, "Acme One", "acme", "generic")
    (stage,) = (one for one in STAGES if one.name == name)
    verb = {"certify": certify}.get(name, run).command

    def asked():
        ((_, words),) = stage.commands(place, 100.0).items()
        found = verb.make_context(words[3], list(words[4:])).params
        return found["suite"], found["resume"]

    suite, resumed = asked()
    assert resumed is None
    assert load_suite(suite).stages
    place.runs[stage.suite] = "a-run"
    for state, whole in (("running", False), ("interrupted", False), ("complete", True)):
        (tmp_path / "a-run").mkdir(exist_ok=True)
        (tmp_path / "a-run" / "run.json").write_text(f'{{"state": "{state}"}}')
        assert (asked()[1] is None) is whole, state


_PAIR = {"block_m": 64, "block_n": 128, "num_warps": 8, "num_stages": 2, "one_pass": 1}
PROMISED = {
    (ARCH, "attention", "full_backward"): ("attention_key_value", (_PAIR, {**_PAIR, "tma": 1})),
    (ARCH, "rmsnorm", "forward"): ("rmsnorm", ({"rows": 4, "num_warps": 16, "early": 1},)),
}


def test_what_no_device_has_tried_is_searched_for_where_it_was_faster(tmp_path, monkeypatch):
    place = Place(tmp_path, "Acme One", "acme", ARCH)
    monkeypatch.setattr(promises, "_PROMISES", PROMISED)
    tasks = [timed("attention", "full_backward"), timed("rmsnorm", "forward")]
    known = []
    for task in tasks:
        quick, *others = untried(ARCH, task.op, task.variant)
        mine = record(task, rivals={"torch": 2.0, "compile": 2.0, "liger": 2.0})
        for name in (quick, *others):
            mine.cells[name] = msgspec.structs.replace(mine.cells["triton"], family="untried")
        if task.op == "attention":
            cell = mine.cells[quick]
            cell.seconds, cell.low, cell.high = 0.5, 0.499, 0.501
            # Who is wrong is not searched for, however fast.
            for name in others:
                mine.cells[name] = msgspec.structs.replace(cell, status="wrong")
        assert mine.best()[0] != quick  # no rival, no bound
        known.append(mine)
    report = Report(environment={"device": "Acme One", "arch": ARCH}, records=known)
    Book(place.reference / "one", report).write()
    ((name, words),) = COMMANDS["tune"](place, 100.0).items()
    assert name == "try attention full_backward bf16"
    asked = tune.command.make_context("tune", list(words[4:])).params
    (chosen,) = (space.parse(one, space.keys_of("attention")) for one in asked["only"])
    assert chosen[1]["one_pass"] == 1
    assert asked["shapes"] == ("x".join(map(str, tasks[0].shape)),)
    place.ended.append(name)
    assert "there was a search" in COMMANDS["tune"](place, 100.0)
    # Where there are no such kernels there is nothing to try of them.
    assert untried("gfx942", "attention", "full_backward") == {}
    assert untried(None, "rmsnorm", "forward") == {}


def test_what_is_promised_is_a_configuration_that_there_is():
    for (arch, op, variant), (key, promising) in promises._PROMISES.items():
        assert key in tuning.table(arch)
        assert variant in SPECS[op].variants
        for chosen in promising:
            assert space.parse(space.spell(key, chosen), space.keys_of(op)) == (key, chosen)


def test_a_node_is_certified_against_itself_when_it_was_certified_whole(tmp_path):
    place = Place(tmp_path, "Acme One", "acme", "generic", runs={"certify certify": "a-run"})
    assert isinstance(COMMANDS["itself"](place, 100.0), Later)
    (tmp_path / "a-run").mkdir()
    (tmp_path / "a-run" / "run.json").write_text('{"state": "complete"}')
    ((_, words),) = COMMANDS["itself"](place, 100.0).items()
    assert certify.command.make_context("certify", list(words[4:])).params["baseline"] == "a-run"
