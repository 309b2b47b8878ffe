"""A store of runs: each once, whole, and back again; damage, collisions, other versions.

On SQLite, which needs no server; `tests/cluster/test_store.py` has PostgreSQL.
"""

import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
import zlib
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from judged_runs import node
from stored_runs import Runs, changed, hengsuan, same, small_disk

pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed (extra 'store')")

import sqlalchemy as sa

from bench.cli import storing
from bench.cli.environment import command_line, environment
from bench.cli.storing import stored
from bench.errors import InfraError, UsageError
from bench.headers import read_header, uid_of
from bench.records import DeviceGroup
from bench.store import migrations
from bench.store.connection import Store
from bench.store.pull import held, here, named, pull
from bench.store.push import PART, push
from bench.store.tables import METADATA

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")


@pytest.fixture
def made(tmp_path):
    return Runs(tmp_path / "results")


@pytest.fixture
def file(tmp_path):
    return tmp_path / "store.db"


@pytest.fixture
def store(file):
    return Store(f"sqlite:///{file}")


def ask(file, sql, *values):
    with sqlite3.connect(file) as connection:
        return connection.execute(sql, values).fetchall()


def back(store, folder):
    return [pull(store, one, folder) for one in held(store)]


def test_a_run_is_written_once_and_comes_back_as_it_was(made, store, file, tmp_path):
    path = made.run(samples=os.urandom(PART + 1))
    assert push(store, path) == "new"
    assert push(store, path) == "there"
    (found,) = back(store, tmp_path / "other")
    assert found == tmp_path / "other" / "run-000"
    assert same(path, found)
    assert ask(file, "SELECT name, count(*) FROM hengsuan_parts GROUP BY name ORDER BY 2 DESC")[
        0
    ] == ("samples.jsonl", 2)


def test_what_sql_asks_for(made, store, file):
    push(store, made.run(by=[1.0, 1.0, 2.0, 2.0]))
    (run,) = ask(file, "SELECT id, schema_version, provenance, nodes, devices FROM hengsuan_runs")
    assert run == ("run-000", 1, "measured", "gpu-[0-1]", 4)
    sql = """SELECT o.name, n.value FROM hengsuan_node_metrics n
        JOIN hengsuan_metrics m USING (uid, case_id) JOIN hengsuan_nodes o USING (uid, node)
        WHERE m.label = ? ORDER BY o.name"""
    assert ask(file, sql, "gemm flops") == [("gpu-0", 1e14), ("gpu-1", 5e13)]
    (metric,) = ask(file, "SELECT median, ok_count, unit FROM hengsuan_metrics WHERE case_id = 0")
    assert metric == (7.5e13, 4, "FLOP/s")


def test_a_fleet_of_one_line_has_its_nodes(made, store, file):
    path = made.run(provenance="simulated")
    fleet = msgspec.to_builtins(DeviceGroup(count=2, devices=2, chip="sim-a"))
    changed(path, nodes=[], fleet=fleet)
    push(store, path)
    assert ask(file, "SELECT name, chips, devices FROM hengsuan_nodes ORDER BY node") == [
        ("node-00000", "sim-a", 2),
        ("node-00001", "sim-a", 2),
    ]
    assert ask(file, "SELECT count(*) FROM hengsuan_node_metrics") == [(4,)]


def test_two_runs_of_one_id_are_two(made, store, tmp_path):
    one = made.run()
    other = Runs(tmp_path / "elsewhere").run(nodes=[node("gpu-8"), node("gpu-9")])
    assert one.name == other.name
    assert (push(store, one), push(store, other)) == ("new", "new")
    with pytest.raises(UsageError, match="several runs in the store") as caught:
        named(held(store), "run-000")
    assert "gpu-[8-9]" in caught.value.hint
    uid = uid_of(read_header(other))
    assert named(held(store), uid[:8]).uid == uid
    folders = back(store, tmp_path / "both")
    assert sorted(path.name for path in folders) == ["run-000", "run-000-1"]
    assert set(here(tmp_path / "both")) == {uid_of(read_header(one)), uid}


def test_fewer_rows_never_take_the_place_of_more(made, store):
    path = made.run()
    push(store, path)
    rows = path / "measurements.jsonl"
    whole = rows.read_bytes()
    rows.write_bytes(whole[: whole.index(b"\n") + 1])
    with pytest.raises(UsageError, match="the store has 8 rows of run run-000, and here are 1"):
        push(store, path)
    rows.write_bytes(whole)
    assert push(store, path) == "there"


def test_what_was_judged_since_is_brought_up_to_date(made, store, tmp_path):
    path = made.run()
    push(store, path)
    (path / "certificates.json").write_text("[]")
    assert push(store, path) == "newer"
    assert same(path, back(store, tmp_path / "other")[0])


def test_a_run_in_progress_is_not_pushed(made, store):
    import fcntl

    path = made.run(state="running")
    with (path / "measurements.jsonl").open("ab") as rows:
        fcntl.flock(rows, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="is being measured"):
            push(store, path)
        fcntl.flock(rows, fcntl.LOCK_SH)
        assert push(store, path) == "new"  # its driver has died; somebody else looks at it


def test_damaged_runs_are_told_and_the_others_go(made, file):
    made.runs(4)
    (made.folder / "run-000" / "run.json").write_text("{")
    (made.folder / "run-001" / "measurements.jsonl").write_text("[1]\n")
    changed(made.folder / "run-002", schema=7)
    changed(made.run(), state="running")
    words = ("results", "push", "--store", f"sqlite:///{file}", "--out", made.folder)
    done = hengsuan(*words)
    assert done.exit_code == 4
    assert ": 1 new," in done.stdout
    assert [run for (run,) in ask(file, "SELECT id FROM hengsuan_runs")] == ["run-003"]
    for run, why in (("run-000", "damaged"), ("run-001", "no measurement"), ("run-002", "schema")):
        assert any(run in line and why in line for line in done.stderr.splitlines())
    found = json.loads(hengsuan(*words, "--json").stdout)
    assert (len(found["problems"]), found["exit"]) == (3, 4)
    assert list(found["runs"].values()) == ["there"]


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("UPDATE hengsuan_parts SET content = x'00' WHERE name = 'run.json'", "cannot be unpacked"),
        ("DELETE FROM hengsuan_parts WHERE name = 'run.json'", "is not what was pushed"),
        ("DELETE FROM hengsuan_files WHERE name = 'run.json'", "it has no run.json"),
        ("UPDATE hengsuan_files SET name = '../x' WHERE name LIKE 's%'", "no name of a file"),
        ("UPDATE hengsuan_runs SET id = '../evil'", "no name of a run"),
    ],
)
def test_what_a_store_damaged_is_not_brought(made, store, file, tmp_path, sql, why):
    push(store, made.run())
    with sqlite3.connect(file) as connection:
        connection.execute(sql)
    with pytest.raises(InfraError, match=why):
        back(store, tmp_path / "there" / "other")
    found = [path for path in (tmp_path / "there").rglob("*") if path.name != "other"]
    assert found == []


@pytest.mark.parametrize(
    ("sql", "verb", "hint"),
    [
        ("DROP TABLE hengsuan_parts", "pull", "somebody changed the store's tables"),
        ("DROP TABLE hengsuan_node_metrics", "push", "somebody changed the store's tables"),
        ("ALTER TABLE hengsuan_runs DROP COLUMN chips", "pull", "somebody changed"),
        ("DROP TABLE hengsuan_schema", "push", "its tables are there, but not hengsuan_schema"),
    ],
)
def test_tables_that_are_missing_are_said_once(made, store, file, tmp_path, sql, verb, hint):
    made.runs(3)
    push(store, made.folder / "run-000")
    with sqlite3.connect(file) as connection:
        connection.execute(sql)
    out = made.folder if verb == "push" else tmp_path / "other"
    done = hengsuan("results", verb, "--store", f"sqlite:///{file}", "--out", out)
    assert done.exit_code == 4
    said = f"{done.stderr}{done.exception or ''}"
    assert said.count("the store cannot be used") == 1
    assert hint in said
    if "node_metrics" in sql:
        assert "1 more run(s) were not tried: push again" in said
    assert [run for (run,) in ask(file, "SELECT id FROM hengsuan_runs")] == ["run-000"]
    assert not (tmp_path / "other").exists() or not list((tmp_path / "other").iterdir())


def test_a_part_that_unpacks_to_more_than_any_is_refused(made, store, file, tmp_path):
    push(store, made.run())
    bomb = zlib.compress(bytes(PART + 1))
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE hengsuan_parts SET content = ?", (bomb,))
    with pytest.raises(InfraError, match="cannot be unpacked"):
        back(store, tmp_path / "other")


def test_names_may_hold_anything(made, store, file):
    odd = [node("a\0b"), node("'; DROP TABLE hengsuan_runs; --")]
    push(store, made.run(nodes=odd, suite="\u5e73\0"))
    names = [name for (name,) in ask(file, "SELECT name FROM hengsuan_nodes ORDER BY node")]
    assert names == ["a\ufffdb", odd[1].name]
    assert held(store)[0].info.suite == "\u5e73\ufffd"


def test_runs_of_suites_in_any_script_come_back(made, store, tmp_path):
    path = made.run(id="20260101-000000-\u5feb\u901f")
    assert push(store, path) == "new"
    (found,) = back(store, tmp_path / "other")
    assert same(path, found)


def test_what_nobody_could_pull_is_not_pushed(made, store):
    with pytest.raises(InfraError, match="no name of a run"):
        push(store, made.run(id="a run"))
    assert held(store) == []


def test_a_run_of_the_first_day_of_all_is_a_run(made, store):
    assert push(store, made.run(started="0001-01-01T00:00:00+14:00")) == "new"
    assert held(store)[0].info.started == ""


def test_one_damaged_run_keeps_none_of_the_others_away(made, file, tmp_path):
    made.runs(3)
    url = f"sqlite:///{file}"
    hengsuan("results", "push", "--store", url, "--out", made.folder)
    with sqlite3.connect(file) as connection:
        connection.execute(
            "DELETE FROM hengsuan_parts WHERE uid IN "
            "(SELECT uid FROM hengsuan_runs WHERE id = 'run-000')"
        )
        connection.execute("UPDATE hengsuan_runs SET schema_version = 99 WHERE id = 'run-001'")
    words = ("results", "pull", "--store", url, "--out", tmp_path / "other")
    for times in range(2):
        found = json.loads(hengsuan(*words, "--json").stdout)
        assert (len(found["pulled"]), len(found["there"])) == (1 - times, times)
        assert found["exit"] == 2
        said = " ".join(found["problems"].values())
        assert "is damaged" in said
        assert "results of schema 99" in said
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["run-002"]
    done = hengsuan(*words)
    assert done.exit_code == 2
    assert done.stderr.count("not pulled: ") == 2


def test_a_run_that_is_named_twice_is_brought_once(made, file, tmp_path):
    made.run()
    url = f"sqlite:///{file}"
    hengsuan("results", "push", "--store", url, "--out", made.folder)
    other = tmp_path / "other"
    done = hengsuan("results", "pull", "run-000", "run-00", "--store", url, "--out", other)
    assert done.exit_code == 0
    assert [path.name for path in other.iterdir()] == ["run-000"]


def test_what_a_killed_pull_left_is_in_nobodys_way(made, store, tmp_path):
    """In a container the next one has the same number."""
    push(store, made.run())
    left = tmp_path / "other" / f".pulled-{os.getpid()}-run-000"
    left.mkdir(parents=True)
    assert [path.name for path in back(store, tmp_path / "other")] == ["run-000"]


def test_what_is_here_is_not_brought_again(made, file, tmp_path):
    made.runs(3)
    url = f"sqlite:///{file}"
    assert hengsuan("results", "push", "--store", url, "--out", made.folder).exit_code == 0
    other = tmp_path / "other"
    words = ("results", "pull", "--store", url, "--out", other)
    assert hengsuan(*words, "run-001").stdout == f"{other / 'run-001'}\n"
    (other / "run-001" / "mine").write_text("kept")
    done = hengsuan(*words, "--since", "2026-01-02")
    assert done.stdout == f"{other / 'run-002'}\n"
    assert "1 pulled, 1 were here" in done.stderr
    assert (other / "run-001" / "mine").read_text() == "kept"
    assert "unknown run in the store" in str(hengsuan(*words, "nope").exception)


def test_an_older_store_is_read_and_brought_to_the_newer_schema(made, store, file, monkeypatch):
    path = made.run()
    push(store, path)
    later = ("ALTER TABLE hengsuan_runs ADD COLUMN site TEXT",)
    now = len(migrations.STEPS)
    monkeypatch.setattr(migrations, "STEPS", [*migrations.STEPS, later])
    newer = Store(store.name)
    assert [run.info.id for run in held(newer)] == ["run-000"]
    with monkeypatch.context() as other:
        other.setattr(migrations, "READABLE", now + 1)
        with pytest.raises(UsageError, match=f"the store is of schema {now}"), newer.reading():
            pass
    assert push(newer, path) == "there"
    assert [run.info.id for run in held(newer)] == ["run-000"]
    versions = ask(file, "SELECT version FROM hengsuan_schema ORDER BY 1")
    assert versions == [(number,) for number in range(1, now + 2)]
    monkeypatch.undo()
    old = Store(store.name)
    for use in (lambda: push(old, path), lambda: held(old)):
        with pytest.raises(UsageError, match=f"schema {now + 1}; this hengsuan knows schema {now}"):
            use()


def test_a_step_that_fails_leaves_the_store_as_it_was(made, store, file, monkeypatch):
    push(store, made.run())
    broken = ("CREATE TABLE hengsuan_more (x TEXT)", "NO SQL")
    monkeypatch.setattr(migrations, "STEPS", [*migrations.STEPS, broken])
    with pytest.raises(InfraError, match="syntax error"):
        push(Store(store.name), made.run())
    monkeypatch.undo()
    assert ask(file, "SELECT name FROM sqlite_master WHERE name = 'hengsuan_more'") == []
    assert push(Store(store.name), made.folder / "run-001") == "new"


def test_the_steps_make_the_tables_that_statements_know(store, file):
    with store.writing() as connection:
        inspector = sa.inspect(connection)
        for name, table in METADATA.tables.items():
            there = [column["name"] for column in inspector.get_columns(name)]
            assert there == [column.name for column in table.columns]


def test_deleting_a_run_deletes_all_of_it(made, store):
    push(store, made.run())
    with store.writing() as connection:
        connection.execute(sa.text("DELETE FROM hengsuan_runs"))
        for name in METADATA.tables:
            assert connection.execute(sa.text(f"SELECT count(*) FROM {name}")).scalar() == 0


def test_writers_of_one_file_wait_for_each_other(made, file):
    made.runs(6)
    url = f"sqlite:///{file}"
    words = [sys.executable, "-m", "bench", "results", "push", "--out", str(made.folder)]
    writers = [
        subprocess.Popen([*words, "--store", url], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    said = [writer.communicate(timeout=120)[0] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert sum(int(text.rpartition(": ")[2].split()[0]) for text in said) == 6
    assert ask(file, "SELECT count(*) FROM hengsuan_runs") == [(6,)]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "which store?"),
        ("nonsense", "no URL of a store"),
        ("mysql://u:s3cret@h/d", "no URL of a store"),
        ("postgresql://u:s3cret@h:port/d", "no URL of a store"),
        ("postgresql://u:s3cret@h", "names no database"),
        ("sqlite://", "names no database"),
        ("sqlite:///\udcff.db", "no text in the encoding of this locale"),
        ("sqlite:///no/such/folder/x.db", "unable to open database file"),
        ("sqlite:///README.md", "file is not a database"),
        ("sqlite:///nothing.db?timeout=long", "URL cannot be used"),
        ("postgresql://u:p@s3cret@h/d", "a sign that URLs give another meaning"),
        ("postgresql://u:p@x/s3cret@h/d", "a sign that URLs give another meaning"),
    ],
)
def test_what_is_no_store_is_a_sentence(made, url, message, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    made.run()
    done = hengsuan("results", "push", "--store", url, "--out", made.folder)
    assert done.exit_code in (2, 4)
    assert message in str(done.exception)
    assert "s3cret" not in str(done.exception)


def test_a_bad_url_is_told_before_anything_is_measured(tmp_path):
    words = ("run", "quick", "--cluster", "small", "--quiet", "--out", tmp_path / "results")
    done = hengsuan(*words, "--store", "mysql://u:s3cret@h/d")
    assert done.exit_code == 2
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("given", ["option", "variable"])
def test_how_to_push_later_can_be_pasted(tmp_path, monkeypatch, given):
    """Into any shell, whatever folders are called; to the store that was meant."""
    monkeypatch.chdir(tmp_path)
    url = "sqlite:///no such/x.db?timeout=1"
    words = ["run", "quick", "--cluster", "small", "--json", "--out", "my runs"]
    if given == "variable":
        monkeypatch.setenv("HENGSUAN_STORE", url)
    else:
        words += ["--store", url]
    done = hengsuan(*words)
    assert done.exit_code == 0
    (line,) = (line for line in done.stderr.splitlines() if "; later: " in line)
    monkeypatch.delenv("HENGSUAN_STORE", raising=False)
    (tmp_path / "no such").mkdir()
    verb, *rest = shlex.split(line.partition("; later: ")[2])
    assert verb == "hengsuan"
    assert ": 1 new, " in hengsuan(*rest).stdout


@pytest.mark.parametrize(
    "url", ["postgresql://u:s3cret@127.0.0.1:1/d", "postgresql://u@127.0.0.1:1/d?password=s3cret"]
)
def test_how_to_push_later_keeps_the_password(tmp_path, url):
    words = ("run", "quick", "--cluster", "small", "--json", "--out", tmp_path)
    done = hengsuan(*words, "--store", url)
    assert done.exit_code == 0
    run = json.loads(done.stdout)["run"]
    said = f"later, with the store's URL in HENGSUAN_STORE: hengsuan results push {tmp_path / run}"
    assert said in done.stderr
    assert "s3cret" not in done.output


def test_what_is_measured_inherits_no_password(tmp_path, monkeypatch):
    monkeypatch.setenv("HENGSUAN_STORE", f"sqlite:///{tmp_path / 'x.db'}")

    def measure():
        seen.append(os.environ.get("HENGSUAN_STORE"))
        return 0, Runs(tmp_path).run()

    seen = []
    assert stored(os.environ["HENGSUAN_STORE"], measure) == 0
    assert seen == [None]
    assert ask(tmp_path / "x.db", "SELECT id FROM hengsuan_runs") == [("run-000",)]


def test_who_waits_for_long_is_told_how_far_it_is(made, file, tmp_path, monkeypatch):
    made.runs(3)
    url = f"sqlite:///{file}"
    for patience, said in ((60.0, False), (-1.0, True)):
        monkeypatch.setattr(storing, "_PATIENCE", patience)
        done = hengsuan("results", "push", "--store", url, "--out", made.folder)
        assert ("2 of 3 looked at" in done.stderr) == said
        other = tmp_path / f"other{said}"
        done = hengsuan("results", "pull", "--store", url, "--out", other)
        assert ("2 of 3 brought" in done.stderr) == said


@pytest.mark.parametrize("package", ["sqlalchemy", "psycopg"])
@pytest.mark.parametrize("words", [("results", "push"), ("results", "pull"), ("run", "quick")])
def test_packages_that_are_missing_are_named(tmp_path, package, words):
    words = ["hengsuan", *words, "--store", "postgresql://h/d", "--out", str(tmp_path)]
    script = (
        f"import sys; sys.modules[{package!r}] = None; sys.argv = {words!r}\n"
        "from bench.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 2
    assert f"a store needs the package {package}, which is not installed" in done.stderr
    assert "hengsuan[store]" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_reading_makes_no_store(file, tmp_path):
    for verb in ("pull", "list"):
        done = hengsuan("results", verb, "--store", f"sqlite:///{file}", "--out", tmp_path)
        assert done.exit_code == 2
        assert "there is no store yet" in str(done.exception)
    assert not file.exists()


def test_records_keep_no_url(monkeypatch):
    url = "postgresql://u:s3cret@h/d"
    monkeypatch.setenv("HENGSUAN_STORE", url)
    monkeypatch.setenv("HENGSUAN_OTHER", "kept")
    words = ["hengsuan", "run", "quick", "--store", url, f"--store={url}", "--quiet"]
    monkeypatch.setattr(sys, "argv", words)
    assert command_line() == ["hengsuan", "run", "quick", "--quiet"]
    variables = environment()["variables"]
    assert variables["HENGSUAN_OTHER"] == "kept"
    assert "s3cret" not in str(environment())


def test_bytes_that_are_no_text_end_no_run(monkeypatch):
    odd = os.fsdecode(b"\xff.log")
    monkeypatch.setattr(sys, "argv", ["hengsuan", "import", "osu", odd])
    monkeypatch.setenv("HENGSUAN_OTHER", odd)
    found = msgspec.json.decode(msgspec.json.encode([command_line(), environment()["variables"]]))
    assert found[0][-1] == found[1]["HENGSUAN_OTHER"] == r"\xff.log"


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk") as folder:
        yield folder


@needs_root
def test_full_disks_are_sentences(made, store, disk, tmp_path):
    small, big = made.run(), made.run(samples=os.urandom(1 << 20))
    full = Store(f"sqlite:///{disk}/store.db")
    assert push(full, small) == "new"
    with pytest.raises(InfraError, match="disk is full"):
        push(full, big)
    assert [one.info.id for one in held(full)] == ["run-000"]
    push(store, big)
    with pytest.raises(InfraError, match="No space left on device"):
        back(store, disk / "results")
    assert list((disk / "results").iterdir()) == []


@needs_root
def test_a_folder_that_cannot_be_written_is_a_sentence(made, store, disk):
    path = made.run()
    push(store, path)
    Runs(disk).run()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(InfraError, match="cannot write: Read-only file system"):
        back(store, disk)
    done = hengsuan("results", "prune", "--keep", 0, "--yes", "--out", disk)
    assert done.exit_code == 4
    assert "not deleted: " in done.stderr
    assert "cannot delete: Read-only file system" in done.stderr
    assert hengsuan("results", "list", "--out", disk).stdout.count("run-000") == 1
    # What lies there can be pushed all the same.
    assert push(store, disk / "run-000") in ("new", "there")


def test_the_documents_tell_the_tables():
    text = (Path(__file__).parents[2] / "docs" / "history.md").read_text(encoding="utf-8")
    for name, table in METADATA.tables.items():
        (line,) = (line for line in text.splitlines() if line.startswith(f"| `{name}` |"))
        told = re.findall(r"`(\w+)`", line.rpartition(" | ")[2])
        assert told == [column.name for column in table.columns]
