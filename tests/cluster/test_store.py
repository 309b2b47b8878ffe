"""A team's store on a real PostgreSQL: several writers, one that is killed, a server that stops."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
sys.path.insert(0, str(Path(__file__).parent))
import forked
import postgresql
from judged_runs import node
from made_runs import case
from stored_runs import Runs, changed, same, small_disk

pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed (extra 'store')")
pytest.importorskip("psycopg", reason="psycopg is not installed (extra 'store')")

import psycopg

from bench.errors import InfraError
from bench.store import migrations
from bench.store.connection import Store
from bench.store.pull import held, pull
from bench.store.push import push

pytestmark = pytest.mark.warm


@pytest.fixture(scope="module")
def server():
    with postgresql.running() as one:
        yield one


class Database:
    """A database of a test's own."""

    def __init__(self, server, name):
        self.server, self.name, self.url = server, name, server.url(name)
        with server.connect() as connection:
            connection.execute(f"CREATE DATABASE {name}")

    def ask(self, sql, *values):
        with self.server.connect(self.name) as connection:
            return connection.execute(sql, values).fetchall()

    def do(self, sql):
        with self.server.connect(self.name) as connection:
            connection.execute(sql)

    def blocked(self, count=1):
        """Wait until so many writers wait for a lock."""
        sql = (
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'hengsuan'"
            " AND wait_event_type = 'Lock'"
        )
        until = time.monotonic() + 240
        while len(self.ask(sql)) < count:
            assert time.monotonic() < until, "nobody came to write"
            time.sleep(0.05)


@pytest.fixture
def database(server, request):
    return Database(server, f"test_{abs(hash(request.node.name))}")


@pytest.fixture
def made(tmp_path):
    return Runs(tmp_path / "results")


def started(*words, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "bench", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def ended(process, code=0):
    """What it printed, once it has ended with this exit code; never a password or a traceback."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    for text in (out, err):
        assert postgresql.PASSWORD not in text
        assert postgresql.ENCODED not in text
        assert "Traceback" not in text
    return out, err


def hengsuan(*words, code=0, **environment):
    return ended(started(*words, **environment), code)


def results(verb, made, database, *words):
    return ("results", verb, *words, "--store", database.url, "--out", made.folder)


def test_runs_go_there_and_come_back(made, database, tmp_path):
    made.runs(2, samples=os.urandom(5 << 20))  # two parts, which hardly compress
    made.run(by=[1.0, 1.0, 2.0, 2.0], provenance="stand-in")
    said, _ = hengsuan(*results("push", made, database))
    assert said.endswith(": 3 new, 0 brought up to date, 0 were there\n")
    assert (
        "0 new, 0 brought up to date, 3 were there" in hengsuan(*results("push", made, database))[0]
    )
    other = tmp_path / "other"
    hengsuan("results", "pull", "--store", database.url, "--out", other)
    assert len(list(other.iterdir())) == 3
    for path in made.folder.iterdir():
        assert same(path, other / path.name)
    # What SQL asks: a metric of a node over time, of what was measured alone.
    sql = """
        SELECT r.id, n.value FROM hengsuan_node_metrics n
        JOIN hengsuan_metrics m USING (uid, case_id) JOIN hengsuan_nodes o USING (uid, node)
        JOIN hengsuan_runs r USING (uid)
        WHERE m.label = 'gemm flops' AND o.name = %s AND r.provenance = %s
          AND r.started >= '2026-01-02' ORDER BY r.started"""
    assert database.ask(sql, "gpu-1", "measured") == [("run-001", 1e14)]
    assert database.ask(sql, "gpu-1", "stand-in") == [("run-002", 5e13)]
    listed, _ = hengsuan("results", "list", "--json", "--store", database.url)
    assert [one["nodes"] for one in json.loads(listed)] == ["gpu-[0-1]"] * 3


def test_several_writers_at_once(made, database):
    made.runs(8, samples=b"x" * 100_000)
    writers = [started(*results("push", made, database)) for _ in range(4)]
    said = [ended(one)[0] for one in writers]
    new = [int(text.rpartition(": ")[2].split()[0]) for text in said]
    assert sum(new) == 8
    assert all("0 brought up to date" in text for text in said)
    assert database.ask("SELECT count(*), count(DISTINCT id) FROM hengsuan_runs") == [(8, 8)]
    assert database.ask("SELECT count(*) FROM hengsuan_files") == [(24,)]
    made_once = [(number,) for number in range(1, len(migrations.STEPS) + 1)]
    assert database.ask("SELECT version FROM hengsuan_schema ORDER BY 1") == made_once


def test_one_killed_in_the_middle_leaves_nothing(made, database, tmp_path):
    made.run()
    hengsuan(*results("push", made, database))
    path = made.run()
    with psycopg.connect(**_as_test(database)) as holder:
        holder.execute("LOCK TABLE hengsuan_parts IN SHARE MODE")
        # It is this process itself that works, and is killed.
        writer = started(*results("push", made, database, "run-001"), **{forked.COMMANDED: ""})
        database.blocked()
        # Another one that pushes it waits, and is served when the first is gone.
        second = started(*results("push", made, database, "run-001"))
        database.blocked(2)
        writer.send_signal(signal.SIGKILL)
        writer.communicate(timeout=240)
        assert database.ask("SELECT id FROM hengsuan_runs") == [("run-000",)]
        holder.rollback()
    assert "1 new" in ended(second)[0]
    assert "1 were there" in hengsuan(*results("push", made, database, "run-001"))[0]
    hengsuan("results", "pull", "run-001", "--store", database.url, "--out", tmp_path / "other")
    assert same(path, tmp_path / "other" / "run-001")


def test_two_that_bring_one_run_at_once_make_one_folder(made, database, tmp_path):
    path = made.run()
    push(Store(database.url), path)
    other = tmp_path / "other"
    with psycopg.connect(**_as_test(database)) as holder:
        holder.execute("LOCK TABLE hengsuan_parts IN ACCESS EXCLUSIVE MODE")
        words = ("results", "pull", "--store", database.url, "--out", other)
        both = [started(*words) for _ in range(2)]
        database.blocked(2)  # to both it seemed that it was not here
        holder.rollback()
    assert [ended(one)[0] for one in both] == [f"{other / path.name}\n"] * 2
    assert [one.name for one in other.iterdir()] == [path.name]
    assert same(path, other / path.name)


def test_a_run_that_goes_on_while_it_is_pushed_is_left_out(made, database):
    path = made.run()
    assert push(Store(database.url), path) == "new"
    (path / "certificates.json").write_text("[]")
    with psycopg.connect(**_as_test(database)) as holder:
        holder.execute("LOCK TABLE hengsuan_parts IN SHARE MODE")
        writer = started(*results("push", made, database, "run-000"))
        database.blocked()
        with (path / "measurements.jsonl").open("ab") as rows:
            rows.write((path / "measurements.jsonl").read_bytes().splitlines()[0] + b"\n")
        holder.rollback()
    _, err = ended(writer, 4)
    assert "it changed while it was pushed" in err
    # The store has what it had, whole.
    assert database.ask("SELECT row_count FROM hengsuan_runs") == [(8,)]
    assert database.ask("SELECT count(*) FROM hengsuan_files") == [(3,)]
    assert database.ask("SELECT count(*) FROM hengsuan_metrics") == [(2,)]
    assert push(Store(database.url), path) == "newer"


def _as_test(database):
    return {
        "host": "127.0.0.1",
        "port": database.server.port,
        "user": "bench",
        "password": postgresql.PASSWORD,
        "dbname": database.name,
    }


def test_a_server_that_stops_in_the_middle(made, database, tmp_path):
    made.runs(3)
    other = tmp_path / "other"
    push(Store(database.url), made.folder / "run-000")
    holder = psycopg.connect(**_as_test(database))
    holder.execute("LOCK TABLE hengsuan_parts IN ACCESS EXCLUSIVE MODE")
    writer = started(*results("push", made, database))
    reader = started("results", "pull", "--store", database.url, "--out", other)
    database.blocked(2)
    database.server.stop("immediate")
    try:
        _, err = ended(writer, 4)
        assert err.count("not pushed") == 1
        assert "the store cannot be used" in err
        assert "1 more run(s) were not tried: push again" in err
        _, err = ended(reader, 4)
        assert "not pulled" in err
        assert "the store cannot be used" in err
        assert list(other.iterdir()) == []
        _, err = hengsuan(*results("push", made, database), code=4)
        assert f"postgresql://bench@127.0.0.1:{database.server.port}/{database.name}" in err
        assert "Connection refused" in err
    finally:
        database.server.start()
    holder.close()
    said, _ = hengsuan(*results("push", made, database))
    assert "2 new, 0 brought up to date, 1 were there" in said


def test_a_disk_that_is_full_in_the_middle_of_a_pull(made, database, tmp_path):
    if os.geteuid():
        pytest.skip("mounting a small disk needs root")
    store = Store(database.url)
    made.run()
    made.run(samples=os.urandom(1 << 20))
    for path in made.folder.iterdir():
        push(store, path)
    small, big = held(store)
    with small_disk(tmp_path / "disk") as disk:
        assert same(made.folder / "run-000", pull(store, small, disk))
        with pytest.raises(InfraError, match="No space left on device"):
            pull(store, big, disk)
        assert [path.name for path in disk.iterdir()] == ["run-000"]
    assert same(made.folder / "run-001", pull(store, big, tmp_path / "room"))


@pytest.mark.parametrize(
    ("table", "use", "hint"),
    [
        ("hengsuan_parts", "pull", "somebody changed the store's tables"),
        ("hengsuan_metrics", "push", "somebody changed the store's tables"),
        ("hengsuan_schema", "push", "its tables are there, but not hengsuan_schema"),
    ],
)
def test_a_table_that_is_missing_is_said(made, database, tmp_path, table, use, hint):
    made.runs(2)
    push(Store(database.url), made.folder / "run-000")
    database.do(f"DROP TABLE {table}")
    with pytest.raises(InfraError, match="the store cannot be used") as caught:
        if use == "push":
            push(Store(database.url), made.folder / "run-001")
        else:
            pull(Store(database.url), held(Store(database.url))[0], tmp_path / "other")
    assert hint in caught.value.hint
    assert database.ask("SELECT id FROM hengsuan_runs") == [("run-000",)]


def test_a_run_is_pushed_at_its_end_or_later(server, database, tmp_path):
    words = ("run", "quick", "--cluster", "small", "--json", "--out", tmp_path)
    server.stop()
    try:
        out, err = hengsuan(*words, HENGSUAN_STORE=database.url)
    finally:
        server.start()
    run = json.loads(out)["run"]
    assert "not pushed" in err
    assert f"hengsuan results push {tmp_path / run}" in err
    assert "1 new" in hengsuan("results", "push", "--out", tmp_path, HENGSUAN_STORE=database.url)[0]
    out, err = hengsuan(*words, "--store", database.url)
    assert f"pushed to postgresql://bench@127.0.0.1:{server.port}/{database.name}" in err
    runs = {run, json.loads(out)["run"]}
    assert {one for (one,) in database.ask("SELECT id FROM hengsuan_runs")} == runs
    # Neither the command, nor the variables, nor anything else keeps the password.
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert b"s3cret" not in path.read_bytes()
    declared = json.loads((tmp_path / run / "run.json").read_text())
    assert "HENGSUAN_STORE" not in declared["environment"]["variables"]


def test_verdicts_are_pushed_with_their_runs(database, tmp_path):
    words = ("--cluster", "small", "--out", tmp_path)
    process = started("certify", *words, "--store", database.url)
    _, err = process.communicate(timeout=120)
    assert process.returncode in (0, 1, 3), err
    assert "pushed to" in err
    found = dict(database.ask("SELECT name, verdict FROM hengsuan_nodes"))
    assert len(found) == 4
    assert set(found.values()) <= {"accept", "reject", "inconclusive"}
    (folder,) = tmp_path.iterdir()
    said = json.loads((folder / "verdict.json").read_text())["nodes"]
    assert found == {one["node"]: one["verdict"] for one in said}


def test_a_wrong_password_is_not_repeated(made, server, database):
    made.run()
    url = server.url(database.name, password="s3cret%2Fwrong")
    _, err = hengsuan("results", "push", "--store", url, "--out", made.folder, code=4)
    assert "password authentication failed" in err
    assert "s3cret" not in err
    url = f"postgresql://bench@127.0.0.1:{server.port}/{database.name}?password=s3cret"
    _, err = hengsuan("results", "push", "--store", url, "--out", made.folder, code=4)
    assert "s3cret" not in err


def test_a_store_of_a_newer_schema_is_left_alone(made, database, tmp_path):
    made.run()
    hengsuan(*results("push", made, database))
    database.do("INSERT INTO hengsuan_schema VALUES (99, 'later')")
    made.run()
    for words in (
        results("push", made, database),
        ("results", "pull", "--store", database.url, "--out", tmp_path / "other"),
        ("results", "list", "--store", database.url),
    ):
        _, err = hengsuan(*words, code=2)
        known = len(migrations.STEPS)
        assert f"the store is of schema 99; this hengsuan knows schema {known}" in err
    assert database.ask("SELECT count(*) FROM hengsuan_runs") == [(1,)]


def long(made):
    """A run whose labels and names of nodes are longer than an index of PostgreSQL takes."""
    text = random.Random(7).randbytes(5_000).hex()  # hardly compresses
    return made.run(cases=[case(0, title=f"command {text}")], nodes=[node(f"n{text}")])


def test_labels_and_names_may_be_of_any_length(made, database, tmp_path):
    path = long(made)
    assert "1 new" in hengsuan(*results("push", made, database))[0]
    hengsuan("results", "pull", "--store", database.url, "--out", tmp_path / "other")
    assert same(path, tmp_path / "other" / path.name)
    ((label,),) = database.ask("SELECT label FROM hengsuan_metrics")
    assert len(label) > 10_000
    found = "SELECT count(*) FROM hengsuan_metrics JOIN hengsuan_nodes USING (uid) WHERE label = %s"
    assert database.ask(found, label) == [(1,)]


def test_a_store_of_the_first_schema_is_read_and_brought_up_to_date(
    made, database, tmp_path, monkeypatch
):
    made.run()
    with monkeypatch.context() as before:
        before.setattr(migrations, "STEPS", migrations.STEPS[:1])
        push(Store(database.url), made.folder / "run-000")
    (there,) = held(Store(database.url))
    assert same(made.folder / "run-000", pull(Store(database.url), there, tmp_path / "other"))
    assert database.ask("SELECT max(version) FROM hengsuan_schema") == [(1,)]
    long(made)
    writers = [started(*results("push", made, database)) for _ in range(2)]
    said = [ended(one)[0] for one in writers]
    assert sum(int(text.rpartition(": ")[2].split()[0]) for text in said) == 1
    assert database.ask("SELECT version FROM hengsuan_schema ORDER BY 1") == [(1,), (2,)]
    kinds = """
        SELECT c.relname, a.amname FROM pg_class c JOIN pg_am a ON c.relam = a.oid
        WHERE c.relname IN ('hengsuan_metrics_label', 'hengsuan_nodes_name') ORDER BY 1"""
    assert database.ask(kinds) == [
        ("hengsuan_metrics_label", "hash"),
        ("hengsuan_nodes_name", "hash"),
    ]


def test_who_may_not_write_is_told_so(made, server, database):
    made.run()
    _, err = hengsuan("results", "list", "--store", database.url, code=2)
    assert "there is no store yet" in err
    hengsuan(*results("push", made, database))
    database.do(f"CREATE ROLE {database.name} LOGIN PASSWORD '{postgresql.PASSWORD}'")
    database.do(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {database.name}")
    url = server.url(database.name, user=database.name)
    listed, _ = hengsuan("results", "list", "--store", url)
    assert "run-000" in listed
    made.run()
    _, err = hengsuan("results", "push", "--store", url, "--out", made.folder, code=4)
    assert "permission denied" in err


def test_a_run_that_went_on_is_brought_up_to_date(made, database):
    path = made.run(state="interrupted", rows=3)
    hengsuan(*results("push", made, database))
    assert database.ask("SELECT state, row_count FROM hengsuan_runs") == [("interrupted", 3)]
    whole = Runs(made.folder.parent / "whole").run()
    (path / "measurements.jsonl").write_bytes((whole / "measurements.jsonl").read_bytes())
    changed(path, state="complete")
    assert "1 brought up to date" in hengsuan(*results("push", made, database))[0]
    assert database.ask("SELECT state, row_count FROM hengsuan_runs") == [("complete", 8)]
    assert database.ask("SELECT count(*) FROM hengsuan_node_metrics") == [(4,)]
