"""Importing by the command line, and what the run that it gives says; for tests of importing."""

from __future__ import annotations

from click.testing import CliRunner

from bench.cli import cli
from bench.errors import HengsuanError
from bench.results import RunReader
from bench.runs import list_runs


def run(*words):
    """(exit code, standard output, standard error) of the command line, in this process."""
    import bench.cli as shell

    done = CliRunner().invoke(cli, [str(word) for word in words], standalone_mode=False)
    if isinstance(done.exception, HengsuanError):
        return int(done.exception.exit), done.output, str(done.exception)
    assert done.exception is None, done.exc_info
    assert shell is not None
    return done.return_value or 0, done.stdout, done.stderr


def imported(tmp_path, form, *files, code=0, options=()):
    """The only run that importing gives, read, and what was printed."""
    found, out, err = run("import", form, *files, "--out", tmp_path / "runs", *options)
    assert found == code, out + err
    (info,) = list_runs(tmp_path / "runs")
    return RunReader(info.path), out + err


def rows(reader):
    """By (benchmark, axes that say something, metric): (value, status, reason, ranks) of rows."""
    from bench.inventory import Inventory
    from bench.rounds import schedule_for

    inventory = Inventory(reader.header.nodes)
    schedules = [schedule_for(spec, inventory) for spec in reader.header.schedules]
    found = {}
    for row in reader.rows():
        case = reader.header.cases[row.case]
        axes = " ".join(str(one) for one in case.axes.values() if one not in ("", None))
        ranks = schedules[case.schedule].members(row.group)
        key = f"{case.benchmark} {axes} {case.metric}".replace("  ", " ")
        found.setdefault(key, []).append((row.value, row.status, row.reason, ranks))
    return found
