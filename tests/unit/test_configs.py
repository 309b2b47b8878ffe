"""Loading configurations: what is accepted, and that every refusal is a sentence with a line."""

from __future__ import annotations

import os
import typing
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench import configs
from bench.configs import load as loading
from bench.configs.document import MAX_BYTES, parse_document
from bench.configs.suite import parse_suite
from bench.configs.typed import convert
from bench.errors import ConfigError, Exit, UsageError
from bench.timing import Rule


@pytest.fixture(autouse=True)
def no_user_configs(monkeypatch, tmp_path):
    """What lies in the home of whoever runs the tests must not decide them."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nowhere"))
    monkeypatch.delenv("HENGSUAN_CONFIG_PATH", raising=False)


def suite_error(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse_suite(parse_document(text, "s.yaml"))
    return caught.value


def yaml_error(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse_document(text, "f.yaml")
    return caught.value


SUITE = """\
name: mine
description: what it is for
rule: {precision: 0.5, budget: 1m, warmup: 0, limit: 2h, min_samples: 3}
stages:
  - name: first
    benchmarks:
      - gemm: {shape: [64x64x64, 128x128x128], dtype: fp32}
      - launch
      - stream:
  - name: second
    needs: [first]
    repeats: 3
    benchmarks:
      - pairs:
          size: 1KiB..1MiB x4
          of: node
          matchings: 2
          rule: {budget: 500ms}
"""


def test_suite_is_read_as_it_is_written():
    suite = parse_suite(parse_document(SUITE, "mine.yaml"))
    assert (suite.name, suite.description, suite.text) == ("mine", "what it is for", SUITE)
    assert suite.rule == {
        "precision": 0.5,
        "budget": 60.0,
        "warmup": 0.0,
        "limit": 7200.0,
        "min_samples": 3,
    }
    first, second = suite.stages
    assert [entry.benchmark for entry in first.entries] == ["gemm", "launch", "stream"]
    assert first.entries[0].axes == {"shape": ["64x64x64", "128x128x128"], "dtype": "fp32"}
    assert first.entries[1].axes == first.entries[2].axes == {}
    assert (first.where, first.entries[0].where) == ("mine.yaml:5", "mine.yaml:7")
    (pairs,) = second.entries
    assert pairs.axes == {"size": "1KiB..1MiB x4"}
    assert pairs.place == {"of": "node", "matchings": 2}
    assert pairs.rule == {"budget": 0.5}
    assert (second.needs, second.repeats, pairs.where) == (["first"], 3, "mine.yaml:14")


def test_rule_keys_are_those_of_the_measuring_loop():
    assert set(configs.RULE) == {*Rule.__struct_fields__, "limit"}


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("description:", "descripton:", 2, ["descripton", "did you mean description"]),
        ("precision: 0.5", "precison: 0.5", 3, ["precison", "did you mean precision"]),
        ("budget: 1m", "budget: soon", 3, ["rule.budget", "'soon'", "500ms"]),
        ("budget: 1m", "budget: 0s", 3, ["rule.budget", "positive"]),
        ("min_samples: 3", "min_samples: 2.5", 3, ["whole number", "2.5"]),
        ("needs: [first]", "needs: [frist]", 11, ["frist", "did you mean first"]),
        ("needs: [first]", "needs: [second]", 11, ["earlier stage", "known: first"]),
        ("name: second", "name: first", 10, ["a second stage is called 'first'"]),
        ("repeats: 3", "repeats: 0", 12, ["repeats", "at least 1"]),
        ("repeats: 3", "repeats: many", 12, ["repeats", "whole number", "'many'"]),
        ("of: node", "of: [node]", 16, ["single value"]),
        ("dtype: fp32", "dtype: {a: 1}", 7, ["dtype", "keys with values"]),
        ("dtype: fp32", "dtype: ~", 7, ["dtype", "nothing"]),
        ("- launch", "- {launch: {}, gemm: {}}", 8, ["one benchmark"]),
        ("- launch", "- [launch]", 8, ["one benchmark"]),
        ("- stream:", "- stream: fast", 9, ["axes", "'fast'"]),
        ("  - name: first\n", "  - title: first\n", 5, ["title"]),
        ("name: mine\n", "name: 7\n", 1, ["text", "the number 7", 'quotes: "7"']),
        ("name: mine\n", "", 1, ["'name' is missing"]),
    ],
)
def test_suite_refusals_name_line_and_remedy(old, new, line, words):
    assert old in SUITE
    error = suite_error(SUITE.replace(old, new, 1))
    assert error.where == f"s.yaml:{line}"
    assert error.exit is Exit.USAGE
    for word in words:
        assert word in str(error)


@pytest.mark.parametrize("stages", ["", "stages: []", "stages: {}", "stages:\n  - name: a\n"])
def test_suite_that_measures_nothing_is_refused(stages):
    assert "at least one item" in str(suite_error(f"name: empty\n{stages}"))


def test_yaml_reads_numbers_and_words_as_people_do():
    text = "[1e12, 1.5e-3, -7, 0x10, 010, on, yes, 1:30, 2025-03-01, true, ~, '1', 1_000, .5]"
    expected = [1e12, 1.5e-3, -7, 16, 10, "on", "yes", "1:30", "2025-03-01"]
    data = parse_document(text, "f.yaml").data
    assert data == [*expected, True, None, "1", "1_000", 0.5]
    assert [type(value) for value in data[:2]] == [float, float]
    assert parse_document("on: 1\n4: 2\n~: 3", "f.yaml").data == {"on": 1, "4": 2, "~": 3}


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ("", "f.yaml", "empty"),
        ("# only a comment\n", "f.yaml", "empty"),
        ("---\n...\n", "f.yaml", "empty"),
        ("a: 1\nb: 2\na: 3\n", "f.yaml:3", "'a' is given twice\nhint: first on line 1"),
        ("a: &x [1]\nb: *x\n", "f.yaml:2", "alias *x"),
        ("a: &x {<<: *x}\n", "f.yaml:1", "alias *x"),
        ("a: !!python/object:os.system x\n", "f.yaml:1", "tag"),
        ("a: !!int 3\n", "f.yaml:1", "tag"),
        ("a: 1\n---\nb: 1\n", "f.yaml:2", "second YAML document"),
        ("a: 1\nb: [1, 2\n", "f.yaml:3", "not valid YAML"),
        ("a: 1\n\tb: 2\n", "f.yaml:2", "not valid YAML"),
        ("? [a]\n: 1\n", "f.yaml:1", "key must be plain text"),
        ("a: \x00", "f.yaml", "not valid YAML"),
        ("[" * 200, "f.yaml:1", "nested deeper"),
        ("a:\n " + "- " * 5000, "f.yaml:2", "nested deeper"),
        ("a: 1e999\n", "f.yaml:1", "too large"),
        ("a: " + "9" * 5000, "f.yaml:1", "too large"),
    ],
)
def test_yaml_refusals(text, where, words):
    error = yaml_error(text)
    assert error.where == where
    assert words in str(error)


def test_without_the_c_scanner_the_same_is_read(monkeypatch):
    with_c = parse_document(SUITE, "f.yaml")
    monkeypatch.setattr("bench.configs.document._LOADER", yaml.SafeLoader)
    assert parse_document(SUITE, "f.yaml") == with_c
    assert yaml_error("[" * 5000).where == "f.yaml:1"
    assert yaml_error("a: \x00").where == "f.yaml"


def test_billion_laughs_do_not_grow():
    lines = ["a: &a [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in pairwise("abcdefghi")]
    assert yaml_error("\n".join(lines)).where == "f.yaml:2"


@pytest.mark.parametrize(
    ("raw", "line", "words"),
    [
        (b"a: 1\nb: \xff\n", 2, "not UTF-8"),
        ("a: é".encode("latin-1"), 1, "not UTF-8"),
        ("name: ü".encode("utf-16"), 1, "not UTF-8"),
        (b"#" * (MAX_BYTES + 1), None, "longer than 1 MiB"),
    ],
)
def test_files_that_are_no_text(tmp_path, raw, line, words):
    path = tmp_path / "bad.yaml"
    path.write_bytes(raw)
    with pytest.raises(ConfigError, match=words) as caught:
        configs.load_suite(path)
    assert caught.value.where == (f"{path}:{line}" if line else str(path))


def test_byte_order_mark_and_windows_line_ends_are_read(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + SUITE.replace("\n", "\r\n").encode())
    assert configs.load_suite(path).stages[1].entries[0].where == f"{path}:14"


def test_paths_that_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    for path, words in [
        (tmp_path, "a folder"),
        (tmp_path / "none.yaml", "no such file"),
        (tmp_path / "pipe.yaml", "not a regular file"),
        ("a\0b.yaml", "no such file"),
        (f"{'x' * 5000}.yaml", "cannot read"),
    ]:
        with pytest.raises(ConfigError, match=words):
            configs.load_suite(path)


LOADERS = {
    "suites": configs.load_suite,
    "profiles": configs.load_profile,
    "clusters": configs.load_cluster,
    "chips": configs.load_chip,
    "models": configs.load_model,
}


@pytest.mark.parametrize("kind", LOADERS)
def test_unknown_names_are_answered_with_the_list(kind):
    with pytest.raises(UsageError) as caught:
        LOADERS[kind]("no-such-thing")
    assert caught.value.exit is Exit.USAGE
    assert kind.removesuffix("s") in caught.value.message
    assert f"known: {', '.join(configs.names(kind)) or 'none'}" in caught.value.hint


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in LOADERS for name in configs.names(kind)]
)
def test_everything_built_in_loads(kind, name):
    assert LOADERS[kind](name).name == name


def test_built_in_suites_cover_what_they_promise():
    quick, standard = configs.load_suite("quick"), configs.load_suite("standard")
    wanted = {"gemm", "precision", "stream", "transfer", "launch", "collectives", "pairs", "train"}
    for suite, more in ((quick, set()), (standard, {"rdma", "generate"})):
        assert {e.benchmark for stage in suite.stages for e in stage.entries} == wanted | more


@pytest.mark.parametrize("name", configs.names("clusters"))
def test_built_in_fleets_are_made_of_known_chips(name):
    assert configs.load_cluster(name).chip in configs.names("chips")


def test_user_folders_come_first_in_their_order(tmp_path, monkeypatch):
    for folder, description in [("one", "of one"), ("two", "of two"), ("xdg/hengsuan", "of home")]:
        (tmp_path / folder / "clusters").mkdir(parents=True)
        text = f"name: small\ndescription: {description}\nchip: c\nnodes: 1\ndevices: 1\n"
        (tmp_path / folder / "clusters" / "small.yaml").write_text(text)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert configs.load_cluster("small").description == "of home"
    monkeypatch.setenv("HENGSUAN_CONFIG_PATH", f"{tmp_path / 'two'}{os.pathsep}{tmp_path / 'one'}")
    assert configs.load_cluster("small").description == "of two"
    assert configs.path_of("clusters", "small") == tmp_path / "two" / "clusters" / "small.yaml"
    assert "fleet-10240" in configs.names("clusters")


def test_plugins_ship_configurations_without_being_imported(tmp_path, monkeypatch):
    (tmp_path / "acme" / "configs" / "chips").mkdir(parents=True)
    (tmp_path / "acme" / "__init__.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "acme" / "configs" / "chips" / "acme-1.yaml").write_text(CHIP)
    info = tmp_path / "acme-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1\n")
    entries = "[hengsuan.backends]\nacme = acme.backend:Acme\ngone = no_such_package:Gone\n"
    (info / "entry_points.txt").write_text(entries)
    monkeypatch.syspath_prepend(tmp_path)
    assert configs.load_chips()["acme-1"].peak("fp32") == 1e12


def test_a_datasheet_is_read_once_and_again_when_it_was_written_anew(tmp_path, monkeypatch):
    (tmp_path / "chips").mkdir()
    file = tmp_path / "chips" / "acme-1.yaml"
    file.write_text(CHIP)
    monkeypatch.setenv("HENGSUAN_CONFIG_PATH", str(tmp_path))
    known = configs.load_chips()
    with monkeypatch.context() as patch:
        patch.setattr(loading, "read_document", None)
        assert configs.broken_chips() == []
        assert configs.load_chips() == known
    known.clear()  # it is the caller's own
    file.write_text(CHIP.replace("value: 1e12", "value: 3e12"))
    assert configs.load_chips()["acme-1"].peak("fp32") == 3e12
    file.write_text(CHIP.replace("value: 1e12", "value: -1"))
    with pytest.raises(ConfigError, match="must be positive"):
        configs.load_chips()
    file.unlink()
    assert "acme-1" not in configs.load_chips()


def test_a_plugin_replaces_no_edition_and_no_datasheet(tmp_path, monkeypatch):
    """They are what its own measurements are judged by."""
    for kind, name in (("chips", "h200-sxm"), ("editions", "2026.1"), ("suites", "edition-2026.1")):
        (tmp_path / "acme" / "configs" / kind).mkdir(parents=True)
        (tmp_path / "acme" / "configs" / kind / f"{name}.yaml").write_text("name: theirs\n")
    (tmp_path / "acme" / "__init__.py").write_text("")
    info = tmp_path / "acme-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[hengsuan.backends]\nacme = acme:Acme\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert configs.load_chip("h200-sxm").vendor == "NVIDIA"
    for kind, name in (("editions", "2026.1"), ("suites", "edition-2026.1")):
        assert tmp_path not in configs.path_of(kind, name).parents


def test_a_file_found_by_name_carries_it(tmp_path, monkeypatch):
    (tmp_path / "suites").mkdir()
    path = tmp_path / "suites" / "yours.yaml"
    path.write_text(SUITE)
    monkeypatch.setenv("HENGSUAN_CONFIG_PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="must be 'yours'") as caught:
        configs.load_suite("yours")
    assert caught.value.where == f"{path}:1"
    assert configs.load_suite(path).name == configs.load_suite(str(path)).name == "mine"


CHIP = """\
name: acme-1
vendor: Acme
flops:
  fp32: {value: 1e12, dtype: fp32, source: "https://example.org", date: 2025-03-01, status: vendor}
  bf16:
    value: 2000000000000
    source: a talk
    date: 2025-03-02
    status: disputed
    claims: [{value: 1.5e12, source: another talk, date: 2025-03-03}]
memory: {value: 64e9, source: s, date: 2025-03-01, status: measured}
"""


def load(loader, tmp_path: Path, text: str):
    path = tmp_path / "file.yaml"
    path.write_text(text)
    return loader(path)


def test_chip(tmp_path):
    chip = load(configs.load_chip, tmp_path, CHIP)
    assert (chip.peak("fp32"), chip.peak("bf16"), chip.peak("fp16")) == (1e12, None, None)
    assert isinstance(chip.flops["bf16"].value, float)
    assert chip.flops["fp32"].date == "2025-03-01"
    assert chip.memory.value == 64e9
    assert chip.link is None


FAULT = "{kind: slow, node: 1, factor: 0.9}"
CLUSTER = f"name: c\nchip: sim-a\nnodes: 2\ndevices: 4\nfaults:\n  - {FAULT}\n"
MODEL = "name: m\ndim: 64\nlayers: 2\nheads: 4\nkv_heads: 2\nffn: 128\nvocab: 100\nseq: 32\n"
MIXTURE = f"{MODEL}experts: 8\ntop_k: 2\n"
PROFILE = "name: p\ncategories:\n  a:\n    - {benchmark: gemm, metric: flops}\n"


@pytest.mark.parametrize(
    ("loader", "text", "old", "new", "line", "words"),
    [
        (configs.load_chip, CHIP, "vendor: Acme", "vendour: Acme", 2, "did you mean vendor"),
        (configs.load_chip, CHIP, "value: 2000", "valeu: 2000", 6, "did you mean value"),
        (configs.load_chip, CHIP, "value: 64e9", "value: 64 GB", 11, "memory.value: must be a num"),
        (configs.load_chip, CHIP, "status: disputed", "status: sure", 9, "known: disputed, meas"),
        (configs.load_chip, CHIP, "    source: a talk\n", "", 5, "flops.bf16: the key 'source'"),
        (configs.load_chip, CHIP, "2000000000000", "-1", 6, "flops.bf16.value: must be positive"),
        (configs.load_chip, CHIP, "flops:\n", "simulated: yes\nflops:\n", 3, "write true or false"),
        (configs.load_chip, CHIP, "vendor: Acme", "vendor: Acme\nmatch: h", 3, "must be a list"),
        (configs.load_cluster, CLUSTER, "kind: slow", "kind: slo", 6, "did you mean slow"),
        (configs.load_cluster, CLUSTER, "node: 1", "node: 2", 6, "node: names 2; must be 0 to 1"),
        (configs.load_cluster, CLUSTER, "kind: slow", "kind: bad-cable", 6, "give a peer"),
        (configs.load_cluster, CLUSTER, ", node: 1", "", 6, "a node, a count or a share"),
        (configs.load_cluster, CLUSTER, "node: 1", "node: 1, count: 1", 6, "a count or a share"),
        (
            configs.load_cluster,
            CLUSTER,
            "node: 1",
            "count: 3",
            6,
            "faults[0].count: must be 1 to 2",
        ),
        *(
            (configs.load_cluster, CLUSTER, "slow, node: 1", new, 6, words)
            for new, words in (
                ("bad-cable, count: 1, peer: 1", "faults[0].peer: goes with a link and one node"),
                ("bad-cable, node: 1, peer: 1", "faults[0].peer: must be another node"),
                ("bad-cable, share: 0.5", "faults[0].share: goes with nodes and devices"),
                ("bad-nic, device: 1, node: 1", "faults[0].device: does not go with kind: bad-nic"),
                ("slow, share: 1.5", "share, above 0 and at most 1, not 1.5"),
                ("slow, node: 1, repeats: 0", "faults[0].repeats: is a share, above 0"),
                ("slow, node: [0, 7]", "faults[0].node: names 7"),
                ("slow, node: one", "faults[0].node: must be a whole number"),
                ("drift, node: 1", "kind: drift needs the key 'facts'"),
                ("drift, facts: {driver: '1'}, node: 1", "no fact that this cluster states"),
                ("bin, share: 0.2, cases: 0", "faults[0].cases: must be at least 1"),
            )
        ),
        (configs.load_cluster, CLUSTER, ", factor: 0.9", "", 6, "slow needs the key 'factor'"),
        (configs.load_cluster, CLUSTER, "factor: 0.9", "factor: 0", 6, "must be positive"),
        (configs.load_cluster, CLUSTER, "factor: 0.9", "factor: [1, 0.9]", 6, "smaller first"),
        (configs.load_cluster, CLUSTER, "nodes: 2", "nodes: 2\ntails: 2", 4, "share, from 0 to 1"),
        (configs.load_cluster, CLUSTER, "nodes: 2", "nodes: 2\nwithin: [0, 1]", 4, "above 0"),
        (configs.load_cluster, CLUSTER, "nodes: 2", "nodes: 2\nbetween: -1", 4, "not be negative"),
        (configs.load_cluster, CLUSTER, "nodes: 2", "nodes: 0", 3, "at least 1"),
        # What readers of a run do not take would be lost with all that was simulated.
        (configs.load_cluster, CLUSTER, "nodes: 2", "nodes: 4194305", 3, "at most 16777216"),
        (
            configs.load_cluster,
            CLUSTER,
            "nodes: 2",
            "nodes: 2\nlabels: {rack: 16777217}",
            4,
            "labels.rack: must be at most 16777216 nodes",
        ),
        (configs.load_cluster, CLUSTER, "nodes: 2", "nodes: true", 3, "whole number, not true"),
        (configs.load_cluster, CLUSTER, "chip: sim-a\n", "", 1, "'chip' is missing"),
        (configs.load_model, MODEL, "heads: 4", "heads: 3", 4, "must divide dim (64)"),
        (configs.load_model, MODEL, "kv_heads: 2", "kv_heads: 3", 5, "must divide heads (4)"),
        (configs.load_model, MODEL, "seq: 32", "seq: 0", 8, "at least 1"),
        (configs.load_model, MODEL, "layers: 2", "layers: 1000000000", 3, "at most 4096"),
        (configs.load_model, MODEL, "seq: 32", "seq: 32\nhead_dim: 5", 9, "width must be even"),
        (configs.load_model, MODEL, "dim: 64", "dim: 60", 4, "a head is 15 wide"),
        (configs.load_model, MODEL, "vocab: 100", "vocab: 1", 7, "teaches nothing"),
        (configs.load_model, MODEL, "seq: 32", "seq: 32\nexperts: 8", 9, "experts and top_k"),
        (configs.load_model, MODEL, "seq: 32", "seq: 32\ntop_k: 2", 9, "experts and top_k"),
        (configs.load_model, MIXTURE, "top_k: 2", "top_k: 9", 10, "at most experts (8)"),
        (configs.load_model, MIXTURE, "top_k: 2", "top_k: 0", 10, "at least 1"),
        (configs.load_model, MODEL, "seq: 32", "seq: 32\nhead_dim: 0", 9, "at least 1"),
        (configs.load_profile, PROFILE, "flops}", "flops, weight: 0}", 4, "reference: none"),
        (configs.load_profile, PROFILE, "flops}", "flops, target: 1}", 4, "reference: target"),
        (configs.load_profile, PROFILE, "flops}", "flops, refrence: x}", 4, "mean reference"),
        (configs.load_profile, PROFILE, "flops}", "flops, where: {a: {}}}", 4, "where.a: must be"),
    ],
)
def test_refusals_of_typed_files(tmp_path, loader, text, old, new, line, words):
    assert old in text
    load(loader, tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(loader, tmp_path, text.replace(old, new, 1))
    assert caught.value.where == f"{tmp_path / 'file.yaml'}:{line}"
    assert words in str(caught.value)


def test_a_width_of_heads_of_its_own_need_not_divide(tmp_path):
    model = load(configs.load_model, tmp_path, MODEL.replace("heads: 4", "heads: 6\nhead_dim: 16"))
    assert (model.heads, model.head_dim, model.experts) == (6, 16, None)


def test_a_model_that_is_given_by_path_has_slices_too(tmp_path):
    folder = tmp_path / "a@2"
    folder.mkdir()
    path = folder / "m.yaml"
    path.write_text(MODEL)
    assert configs.load_model(str(path)).layers == 2
    made = configs.load_model(f"{path}@1")
    assert (made.name, made.layers, made.dim) == (f"{path}@1", 1, 64)
    with pytest.raises(UsageError, match="has 1 to 2 layers"):
        configs.load_model(f"{path}@3")


def test_whole_numbers_may_be_written_as_powers(tmp_path):
    assert (
        load(configs.load_cluster, tmp_path, CLUSTER.replace("nodes: 2", "nodes: 1e4")).nodes
        == 10_000
    )


# --- whatever is in a file, the answer is a value or a sentence --------------------------------

KINDS = (configs.Chip, configs.Cluster, configs.ModelConfig, configs.Profile)
WORDS = [
    "name",
    "stages",
    "benchmarks",
    "rule",
    "needs",
    "categories",
    "flops",
    "faults",
    "x",
    "1e3",
    "&a",
    "*a",
    "!!t",
]
MARKS = ["[", "]", "{", "}", ":", ",", "- ", "\n", "  ", "'", '"', "|", "#", "? "]
words = st.sampled_from([*WORDS, *MARKS])


def read_every_way(text: str) -> None:
    document = sentence_or(lambda: parse_document(text, "f.yaml"))
    if document is not None:
        sentence_or(lambda: parse_suite(document))
        for kind in KINDS:
            sentence_or(lambda kind=kind: convert(document, kind))


def sentence_or(read):
    """What ``read`` returns; None where it refuses with a place. Anything else escapes."""
    try:
        return read()
    except ConfigError as error:
        if not error.where.startswith("f.yaml"):
            raise
        return None


@settings(max_examples=300)
@given(st.lists(words, max_size=60).map("".join))
@example("? - a\n: b")
@example("a: |\n  x\n b")
def test_garbage_yaml_is_answered_in_sentences(text):
    read_every_way(text)


@settings(max_examples=200)
@given(st.text(max_size=200))
def test_any_text_is_answered_in_sentences(text):
    read_every_way(text)


@settings(max_examples=300)
@given(st.data())
def test_any_change_of_a_good_file_is_answered_in_sentences(data):
    text = data.draw(st.sampled_from([SUITE, CHIP, CLUSTER, MODEL, PROFILE]))
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 12)))
    read_every_way(text[:start] + data.draw(words) + text[end:])


@settings(max_examples=100)
@given(raw=st.binary(max_size=300))
def test_any_bytes_are_answered_in_sentences(tmp_path_factory, raw):
    path = tmp_path_factory.mktemp("bytes") / "f.yaml"
    path.write_bytes(raw)
    with pytest.raises(ConfigError):
        configs.load_profile(path)


def test_every_field_of_every_type_can_be_read():
    """The typed reader knows each type that a configuration uses, and only those."""
    known = {str, int, float, bool, typing.Any}

    def check(kind):
        arguments = [a for a in typing.get_args(kind) if a is not type(None)]
        if kind in known or typing.get_origin(kind) is typing.Literal:
            return
        if arguments:
            if typing.get_origin(kind) is dict:
                assert arguments.pop(0) is str
            single = [a for a in arguments if typing.get_origin(a) is not list]
            # Of a union, what is written must say which member is meant.
            assert len(single) <= 1
            assert len(arguments) - len(single) <= 1
            for argument in arguments:
                check(argument)
        else:
            for inner in typing.get_type_hints(kind).values():
                check(inner)

    for kind in KINDS:
        check(kind)
