"""Standing in for a named chip, cards of several dies, and what a backend declares as lacking."""

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from complete import exit_of

from bench.backends.cpu import Cpu
from bench.cli.place import check_stand_in
from bench.cluster.describe import describe
from bench.cluster.planning import plan
from bench.configs import datasheet, load_chip, load_chips, suite_from_text, undisputed
from bench.errors import ConfigError, UsageError
from bench.inventory import Inventory
from bench.records import PROVENANCES, Device, Header, Node
from bench.results import RunReader
from bench.timing import Rule
from bench.workloads.base import Context, make
from bench.workloads.runner import run

pytestmark = pytest.mark.warm

CHIPS = load_chips()
GEMM = suite_from_text(
    "name: s\nstages:\n  - name: device\n    benchmarks:\n"
    "      - gemm: {shape: [8192x8192x8192], dtype: [bf16]}\n",
    "test",
)


def node(**device):
    return Node(id="a", name="a", devices=(Device(index=0, backend="b", name="n", **device),))


def test_a_stand_in_is_judged_by_the_named_chip_and_keeps_its_own():
    made = Device(index=0, backend="b", name="n", chip="h100-sxm", stand_in=True, stands_for="h20")
    assert made.judged_as == "h20"
    assert made.chip == "h100-sxm"
    assert datasheet(made, CHIPS).name == "h20"
    inventory = Inventory([Node(id="a", name="a", devices=(made,))])
    assert inventory.chips() == ["h20"]
    assert inventory.kinds()[1] == ["h20"]
    # Not weak: it gets the shapes of an accelerator.
    assert not inventory.weak()
    (flops, *_) = [c for c in plan(GEMM, inventory, CHIPS).cases if c.metric == "flops"]
    assert flops.expected == CHIPS["h20"].peak("bf16")


def test_the_cpu_at_hand_stands_in_and_says_so():
    found = describe("cpu", False, "", stands_for="h20")
    assert {d.stands_for for d in found.devices} == {"h20"}
    assert all(d.stand_in and d.weak for d in found.devices)
    header = Header(
        id="r", suite="s", started="", executor="local", provenance="stand-in", nodes=[found]
    )
    assert header.label == "stand-in for h20"
    plain = describe("cpu", False, "")
    assert {d.stands_for for d in plain.devices} == {""}
    header = msgspec.structs.replace(header, nodes=[plain])
    assert header.label == "stand-in"


def test_memory_that_cannot_be_imposed_is_refused_in_a_sentence(tmp_path, monkeypatch):
    (tmp_path / "chips").mkdir()
    small = (
        "name: tiny\nvendor: Acme\n"
        'memory: {value: 2e8, source: "a", date: "2026-01-01", status: vendor}\n'
    )
    (tmp_path / "chips" / "tiny.yaml").write_text(small)
    monkeypatch.setenv("HENGSUAN_CONFIG_PATH", str(tmp_path))
    found = describe("cpu", False, "", stands_for="tiny", impose_memory=True)
    assert not found.devices
    assert "the memory of tiny cannot be imposed: torch.cpu limits no process's memory" in (
        found.problem
    )


def test_memory_of_a_larger_chip_is_nothing_to_limit(tmp_path, monkeypatch):
    (tmp_path / "chips").mkdir()
    large = (
        'name: vast\nvendor: Acme\nmemory: {value: 9e13, source: "a", date: "d", status: vendor}\n'
    )
    (tmp_path / "chips" / "vast.yaml").write_text(large)
    monkeypatch.setenv("HENGSUAN_CONFIG_PATH", str(tmp_path))
    found = describe("cpu", False, "", stands_for="vast", impose_memory=True)
    assert "there is nothing to limit" in found.problem


def test_a_chip_whose_memory_is_unknown_imposes_none(tmp_path, monkeypatch):
    (tmp_path / "chips").mkdir()
    (tmp_path / "chips" / "mute.yaml").write_text("name: mute\nvendor: Acme\n")
    monkeypatch.setenv("HENGSUAN_CONFIG_PATH", str(tmp_path))
    found = describe("cpu", False, "", stands_for="mute", impose_memory=True)
    assert "the datasheet of mute does not say how much memory it has" in found.problem


@pytest.mark.parametrize(
    ("chip", "impose", "said"),
    [
        ("h21", None, "unknown chip 'h21'"),
        ("sim-a", None, "exists in simulations only"),
        (None, "memory", "--impose is about the chip that is stood in for"),
        ("h20", "link", "--impose link: cannot be imposed: no software makes a link"),
        ("h20", "memory,network", "--impose network: cannot be imposed"),
        ("h20", "bandwidth", "cannot be imposed"),
        ("h20", "power", "cannot be imposed"),
        ("h20", "colour", "unknown limit to impose 'colour'"),
    ],
)
def test_what_cannot_be_stood_in_for_or_imposed_is_refused(chip, impose, said):
    with pytest.raises(UsageError, match=said):
        check_stand_in(CHIPS, chip, impose)


def test_the_dies_of_a_card_share_its_figures():
    named = load_chip("bi-v150")
    sure = msgspec.structs.replace(named.flops["bf16"], status="vendor")
    card = msgspec.structs.replace(named, flops=named.flops | {"bf16": sure})
    chips = {"bi-v150": card}
    die = datasheet(Device(index=0, backend="b", name="n", chip="bi-v150", dies=2), chips)
    assert die.flops["bf16"].value == card.flops["bf16"].value / 2
    assert [c.value for c in die.flops["bf16"].claims] == [
        c.value / 2 for c in card.flops["bf16"].claims
    ]
    assert die.memory.value == card.memory.value / 2
    assert die.tdp.value == card.tdp.value / 2
    assert "one of 2 dies" in die.memory.note
    whole = datasheet(Device(index=0, backend="b", name="n", chip="bi-v150"), chips)
    assert whole == undisputed(card)
    assert set(whole.flops) == {"bf16"}  # fp16 is disputed still


def test_what_stands_in_for_a_card_is_held_against_the_whole_of_it():
    made = Device(index=0, backend="b", name="n", dies=2, stand_in=True, stands_for="bi-v150")
    assert datasheet(made, CHIPS) == undisputed(load_chip("bi-v150"))


def test_a_die_is_expected_to_do_half_of_what_its_card_does():
    inventory = Inventory([node(chip="mlu370-x8", dies=2)])
    suite = suite_from_text(
        "name: s\nstages:\n  - name: device\n    benchmarks:\n"
        "      - gemm: {shape: [8192x8192x8192], dtype: [fp16]}\n",
        "test",
    )
    flops = next(c for c in plan(suite, inventory, CHIPS).cases if c.metric == "flops")
    assert flops.expected == CHIPS["mlu370-x8"].peak("fp16") / 2


class Lacking(Cpu):
    """Cores whose maker declares what they do not have."""

    name = "lacking"
    lacking = {"fp8": "the matrix units know no fp8", "bf16": "no bf16"}
    triton = "its compiler is not public"


def outcome(name, **axes):
    backend = Lacking()
    context = Context(backend=backend, device=backend.open(0), memory=1 << 30)
    rule = Rule(budget=0.05, warmup=0.0, min_samples=3)
    return run(make(name, {"shape": "64x64x64", **axes}), context, rule)


@pytest.mark.parametrize(
    ("axes", "why"),
    [
        ({"dtype": "bf16"}, "no bf16"),
        ({"dtype": "fp8_e4m3"}, "the matrix units know no fp8"),
        ({"dtype": "fp32", "impl": "triton"}, "its compiler is not public"),
    ],
)
def test_what_is_declared_as_lacking_is_skipped_with_the_reason(axes, why):
    found = outcome("gemm", **axes)
    assert found.status == "skipped"
    assert found.reason == f"not supported, as backend lacking declares: {why}"
    assert not found.values


def test_what_is_not_declared_is_measured():
    assert outcome("gemm", dtype="fp32").status in ("ok", "contended")


def write(tmp_path, text):
    path = tmp_path / "acme.yaml"
    path.write_text(f"name: acme\nvendor: Acme\n{text}\n")
    return path


SOURCE = 'source: "a", date: "2026-01-01"'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"flops:\n  bf16: {{value: 312, {SOURCE}, status: vendor}}", "312 FLOP/s is no figure"),
        (f"flops:\n  bf16: {{value: 3.12e5, {SOURCE}, status: vendor}}", "in another unit"),
        (f"flops:\n  bf16: {{value: 3.12e17, {SOURCE}, status: vendor}}", "in another unit"),
        (f"memory:\n  {{value: 64, {SOURCE}, status: vendor}}", "64 bytes is no figure"),
        (f"memory_bandwidth:\n  {{value: 1600, {SOURCE}, status: vendor}}", "1600 B/s"),
        (f"link:\n  {{value: 900, {SOURCE}, status: vendor}}", "900 B/s is no figure"),
        (f"tdp:\n  {{value: 400000, {SOURCE}, status: vendor}}", "400000 watts"),
        (f"flops:\n  bf16: {{value: 3e14, {SOURCE}, status: disputed}}", "lists what others say"),
        (
            f"flops:\n  bf16: {{value: 3e14, {SOURCE}, status: disputed, "
            f"claims: [{{value: 280, {SOURCE}}}]}}",
            "280 FLOP/s is no figure",
        ),
    ],
)
def test_a_figure_in_another_unit_is_caught_by_its_range(tmp_path, text, said):
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=said) as caught:
        load_chip(path)
    assert caught.value.where.startswith(f"{path}:")
    assert int(caught.value.where.rpartition(":")[2]) >= 3


def test_every_disputed_figure_says_who_claims_what():
    for chip in CHIPS.values():
        for figure in chip.flops.values():
            assert (figure.status == "disputed") <= bool(figure.claims), chip.name
            assert all(claim.source and claim.date for claim in figure.claims)


def test_a_run_that_stands_in_is_labelled_everywhere(tmp_path):
    suite = tmp_path / "mini.yaml"
    suite.write_text(
        "name: mini\nrule: {budget: 50ms, warmup: 10ms, min_samples: 3}\nstages:\n"
        "  - name: device\n    benchmarks:\n      - gemm: {shape: 64x64x64, dtype: fp32}\n"
    )
    words = ["run", str(suite), "--executor", "local", "--stand-in", "h20"]
    done = subprocess.run(
        [sys.executable, "-m", "bench", *words, "--out", str(tmp_path / "runs")],
        capture_output=True,
        text=True,
        timeout=120,
    )
    (folder,) = (tmp_path / "runs").iterdir()
    reader = RunReader(folder)
    assert done.returncode == exit_of(reader), done.stderr
    assert "(stand-in for h20; profile default)" in " ".join(done.stdout.split())
    assert reader.header.label == "stand-in for h20"
    assert {device.stands_for for device in reader.header.nodes[0].devices} == {"h20"}
    stand_in = PROVENANCES.index("stand-in")
    assert set(reader.columns().provenance.tolist()) == {stand_in}
    # The expectation is the named chip's.
    assert any(case.expected for case in reader.header.cases)


def test_a_certification_of_a_stand_in_is_labelled_to_the_end(tmp_path, monkeypatch):
    """As somebody walks it: verdict, Markdown, certificate, and whether that counts."""
    pytest.importorskip("cryptography", reason="cryptography is not installed (extra 'sign')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    def hengsuan(*words):
        done = subprocess.run(
            [sys.executable, "-m", "bench", *map(str, words)], capture_output=True, text=True
        )
        assert "Traceback" not in done.stderr
        return done

    Path("mini.yaml").write_text(
        "name: mini\nrule: {budget: 50ms, warmup: 10ms, min_samples: 3}\nstages:\n"
        "  - name: device\n    benchmarks:\n      - gemm: {shape: 256x256x256, dtype: fp32}\n"
    )
    words = ("mini.yaml", "--stand-in", "h20", "--executor", "local", "--markdown", "v.md")
    done = hengsuan("certify", *words)
    # Cores are far below that chip's datasheet; where others use them, nobody knows.
    assert done.returncode in (1, 3), done.stderr
    assert "stand-in for h20; suite mini" in done.stdout
    assert "stand-in for h20; suite mini" in Path("v.md").read_text()
    (run,) = (path for path in Path("results").iterdir() if path.is_dir())
    alone = hengsuan("certify", "--from", run, "-q").stdout.splitlines()
    assert len(alone) == 1
    assert alone[0].endswith("(stand-in for h20)")
    verdict = json.loads((run / "verdict.json").read_text())
    assert (verdict["provenance"], verdict["stands_for"]) == ("stand-in", "h20")
    assert verdict["nodes"][0]["chip"].startswith("stand-in for h20 (")
    for lines in verdict["drain"].values():
        assert lines[0].startswith("# stand-ins for h20")
    assert bool(verdict["drain"]) == (done.returncode == 1)
    assert hengsuan("certificate", "keygen", "key").returncode == 0
    sign = ("certificate", "sign", run, "--key", "key", "--out", "certificates")
    assert hengsuan(*sign).returncode == 1  # nobody was accepted
    assert hengsuan(*sign, "--all").returncode == 0
    (file,) = Path("certificates").iterdir()
    shown = hengsuan("certificate", "show", file).stdout
    assert shown.splitlines()[0].endswith("no acceptance, stand-in")
    assert "stand-in for h20 (" in shown
    assert hengsuan("certificate", "trust", "key.pub", "--name", "ops").returncode == 0
    verify = ("certificate", "verify", file, "--any-verdict")
    refused = hengsuan(*verify)
    assert refused.returncode == 1
    assert "stand-in, not measured on an accelerator" in refused.stdout
    taken = hengsuan(*verify, "--allow", "stand-in")
    assert taken.returncode == 0
    assert ", stand-in, stand-in for h20 (" in taken.stdout
