"""Tables of configurations: where they are looked for, what they may say, how they are written."""

import pytest
import yaml

from bench.errors import ConfigError, UsageError
from bench.kernels import candidates, space, tables, tuning
from bench.workloads import configured
from bench.workloads.base import make

FACTS = {"size": 1 << 20}


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """Tables of this test alone; what other tests see is as before."""
    monkeypatch.setenv("HENGSUAN_CONFIG_PATH", str(tmp_path / "mine"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nobody"))
    yield tmp_path / "mine" / "tuned"
    tuning.look_in(())
    tuning.forget()


def put(folder, name, text):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    tuning.forget()


def test_built_in_tables_say_what_they_may():
    for arch in tuning.architectures():
        written = tables.text(tuning.table(arch), ["header"])
        assert yaml.safe_load(written) == tuning.table(arch)
        assert tuning.source(arch).startswith(f"{arch} built-in ")


@pytest.mark.parametrize("arch", ["sm_90", "sm_100"])
def test_without_tensor_descriptors_blocks_are_moved_by_pointers(arch, monkeypatch):
    """As before Triton 3.4: every entry that asks for them answers with its blocks."""
    there = [(key, entry) for key in space.SPACES for entry in tuning.table(arch).get(key, ())]
    asking = [(key, entry) for key, entry in there if entry["config"].get("tma")]
    assert len(asking) > 5
    monkeypatch.setattr(tuning, "place", lambda *_: (arch, number))
    for key, entry in asking:
        number = tuning.table(arch)[key].index(entry)
        chosen = {}
        for able in (True, False):
            tuning.forget()
            monkeypatch.setattr(tuning, "described", lambda able=able: able)
            chosen[able] = tuning.config(arch, key, "bf16")
        assert chosen[True] == entry["config"]
        assert space.problem(key, chosen[False]) == ""
        kept = {name for form in space.SPACES[key].forms for name in form} | {*space.COMPILER}
        assert chosen[False] == {k: v for k, v in chosen[True].items() if k in kept}
        assert "block_m" in chosen[False]


def test_a_search_tries_no_tensor_descriptors_that_are_not_there(monkeypatch):
    facts = {"size": 1 << 24, "rows": 4096, "turned": 0, "turned_a": 0, "aligned": 1}
    found = {}
    for able in (True, False):
        monkeypatch.setattr(candidates, "described", lambda able=able: able)
        found[able] = [
            one.get("tma") for one in candidates.candidates("sm_90", "gemm", "bf16", facts)
        ]
    assert any(found[True])
    assert sum(map(bool, found[False])) <= 1  # what the table says at present
    monkeypatch.setattr(tuning, "described", lambda: False)
    tuning.forget()
    assert not any(one.get("tma") for one in candidates.candidates("sm_90", "gemm", "bf16", facts))


def test_the_users_table_comes_first_and_is_told_by_its_digest(places):
    put(places, "sm_90.yaml", "stream:\n  - config: {block: 512, num_warps: 2}\n")
    configured.use_tables()
    assert tuning.config("sm_90", "stream", "fp32", **FACTS) == {"block": 512, "num_warps": 2}
    first = tuning.source("sm_90")
    assert first.startswith(f"sm_90 {places / 'sm_90.yaml'} ")
    assert "generic built-in" in first
    put(places, "sm_90.yaml", "stream:\n  - config: {block: 1024, num_warps: 2}\n")
    assert tuning.source("sm_90") != first
    assert tuning.config("sm_90", "stream", "fp32", **FACTS)["block"] == 1024
    assert tuning.config("sm_80", "stream", "fp32", **FACTS)["block"] == 4096


def test_a_new_architecture_is_a_file(places):
    put(places, "acme1.yaml", "stream:\n  - config: {block: 512}\n")
    configured.use_tables()
    assert "acme1" in tuning.architectures()
    assert tuning.place("acme1", "stream", "fp32", FACTS) == ("acme1", 0)
    assert tuning.place("acme2", "stream", "fp32", FACTS) == ("generic", 0)


def test_a_partial_generic_table_leaves_the_rest_as_it_is(places):
    mine = "softmax:\n  - {max_width: 64, config: {rows: 1}}\nstream:\n  - config: {block: 512}\n"
    put(places, "generic.yaml", mine)
    configured.use_tables()
    assert tuning.config("generic", "softmax", "fp32", width=64) == {"rows": 1}
    assert tuning.config("generic", "softmax", "fp32", width=65)["rows"] == 4
    assert tuning.config("sm_80", "stream", "fp32", **FACTS) == {"block": 512}
    assert len(tuning.table("generic")["stream"]) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the table is empty"),
        ("- 1", "a table has keys"),
        ("a: [", "not valid YAML on line 1"),
        ("gem:\n  - config: {}", "unknown key 'gem'; known: compiler, without, fnuz, gemm"),
        ("stream: []", "stream: must hold a list with at least one entry"),
        ("stream:\n  - {block: 3}", "stream: entry 1: must have a config"),
        (
            "stream:\n  - config: {block: many}",
            "block of stream must be a whole number, not 'many'",
        ),
        ("stream:\n  - config: {block: true}", "block of stream must be a whole number, not True"),
        ("stream:\n  - config: {block: 0}", "block of stream must be at least 1"),
        ("stream:\n  - config: {num_warps: 4}", "stream also needs block"),
        ("stream:\n  - config: {block: 1, blok: 2}", "stream has no constant 'blok'; known: block"),
        ("stream:\n  - {config: {block: 1}, min_width: 3}", "known: config, dtypes, min_size"),
        ("stream:\n  - {config: {block: 1}, min_size: big}", "min_size: must be a whole number"),
        ("stream:\n  - {config: {block: 1}, dtypes: [fp7]}", "dtypes: 'fp7' is no dtype; known"),
        ("without: fp32", "without: must be a list of dtypes"),
        ("fnuz: 1", "fnuz: must be true or false"),
        ("compiler: {target: [cuda, 90]}", "compiler: must be {target"),
        ("compiler: {target: [cuda, 90], shared: 3}", "target must be [BACKEND"),
        (
            "attention_key_value:\n  - config: {block_m: 64, block_n: 32}",
            "block_n of attention_key_value must be a multiple of block_m",
        ),
    ],
)
def test_a_broken_table_is_a_sentence_with_its_file(places, text, message):
    put(places, "sm_90.yaml", text)
    with pytest.raises(ConfigError) as raised:
        make("memory", {"op": "stream", "impl": "triton"})
    assert message in raised.value.message
    assert raised.value.where == str(places / "sm_90.yaml")
    make("memory", {"op": "stream", "impl": "torch"})  # which takes nothing from it


def test_text_that_is_no_text(places):
    put(places, "sm_90.yaml", "x")
    (places / "sm_90.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        configured.use_tables()


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"config": "stream block=512"}, "torch takes no configuration"),
        ({"config": "gemm block_m=1", "impl": "triton"}, "none of its keys: stream, stream_sum"),
        ({"config": "stream blok=1", "impl": "triton"}, "no constant 'blok'; known: block, num_"),
        ({"config": "stream block=1 block=2", "impl": "triton"}, "block is given twice"),
        ({"config": "stream block", "impl": "triton"}, "'block' is not CONSTANT=NUMBER"),
        ({"config": "stream block=-1", "impl": "triton"}, "'block=-1' is not CONSTANT=NUMBER"),
        ({"config": "stream", "impl": "triton"}, "stream also needs block"),
    ],
)
def test_a_bad_configuration_on_an_axis_is_a_usage_error(axes, message):
    with pytest.raises(UsageError, match="config") as raised:
        make("memory", {"op": "stream", **axes})
    assert message in raised.value.message


def test_a_configuration_is_read_as_it_is_spelled():
    chosen = {"block": 512, "num_warps": 2}
    assert space.parse(space.spell("stream", chosen), ["stream"]) == ("stream", chosen)


def test_what_does_not_fit_the_chip_is_told_from_a_fault():
    errors = pytest.importorskip("triton.runtime.errors", reason="Triton is not installed")
    refused = configured.refusal(errors.OutOfResources(300_000, 232_448, "shared memory"))
    assert refused.startswith("the compiler refused it: out of resource: shared memory")
    assert "failed" in configured.refusal(RuntimeError("PassManager::run failed"))
    assert "multiple" in configured.refusal(ValueError("block_n must be a multiple of block_m"))
    for fault in ("CUDA error: an illegal memory access", "out of memory"):
        assert configured.refusal(RuntimeError(fault)) == ""


def test_a_table_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "acme.yaml"
    good = {"without": ["tf32"], "stream": [{"min_size": 4, "config": {"block": 512}}]}
    tables.write(path, good, ["one", "two  lines\nin one"])
    assert tables.read(path) == good
    assert tables.comments(path) == ["one", "two lines in one"]
    with pytest.raises(tables.TableError, match="also needs block"):
        tables.write(path, {"stream": [{"config": {}}]}, [])
    assert tables.read(path) == good
    assert [one.name for one in path.parent.iterdir()] == ["acme.yaml"]
