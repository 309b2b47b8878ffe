"""RDMA through perftest: its tables, which card is used, and the talk between two ranks.

No RDMA device was at hand: the texts are made from the formats in perftest 4.5's own binary
(headers, column widths, MB of 2^20 bytes), and programs that print them stand in for it.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import gloo_ranks

from bench.timing import Rule
from bench.workloads import perftest, rdma
from bench.workloads.base import Unmeasurable
from bench.workloads.runner import Outcome

BANDWIDTH = """
---------------------------------------------------------------------------------------
                    RDMA_Write BW Test
 Dual-port       : OFF\t\tDevice         : rdma0
 Number of qps   : 1\t\tTransport type : IB
 Mtu             : 4096[B]
---------------------------------------------------------------------------------------
 local address: LID 0x05 QPN 0x0087 PSN 0x5b1f2e RKey 0x1ff2bf VAddr 0x007f1c2c5f5000
---------------------------------------------------------------------------------------
 #bytes     #iterations    BW peak[Gb/sec]    BW average[Gb/sec]   MsgRate[Mpps]
 1048576    2000             394.21             393.88\t\t   0.046955
---------------------------------------------------------------------------------------
"""
MEGABYTES = """
 #bytes     #iterations    BW peak[MB/sec]    BW average[MB/sec]   MsgRate[Mpps]
 65536      5000             11500.10            11400.50\t\t   0.182408
"""
LATENCY = (
    "\n #bytes #iterations    t_min[usec]    t_max[usec]  t_typical[usec]    t_avg[usec]    "
    "t_stdev[usec]   99% percentile[usec]   99.9% percentile[usec] \n"
    " 8       1000          1.65           6.02         1.71     \t       1.73        \t0.09   "
    "\t\t1.98    \t\t6.02\n"
)


def test_a_table_of_bandwidth_in_the_units_of_its_header():
    report = perftest.parse(BANDWIDTH)
    assert (report.size, report.iterations) == (1 << 20, 2000)
    assert report.values["BW average"] == pytest.approx(393.88e9 / 8)
    assert report.values["MsgRate"] == pytest.approx(46955)
    assert perftest.parse(MEGABYTES).values["BW average"] == pytest.approx(11400.5 * 2**20)


def test_a_table_of_latency():
    report = perftest.parse(LATENCY)
    assert (report.size, report.iterations) == (8, 1000)
    assert report.values["t_typical"] == pytest.approx(1.71e-6)
    assert report.values["99.9% percentile"] == pytest.approx(6.02e-6)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " Unable to find the Infiniband/RoCE device\n",
        BANDWIDTH.partition(" 1048576")[0],  # died before its result
        BANDWIDTH.replace("0.046955", ""),  # a line that was cut
    ],
)
def test_what_is_no_table_is_refused_with_what_was_printed(text):
    with pytest.raises(ValueError, match="printed no result"):
        perftest.parse(text)


def card(state="ACTIVE", **facts):
    ports = {"1": {"state": state, "rate": 4e11}}
    return {"ports": ports, **facts}


def chosen(monkeypatch, cards, named="", index=0, place=""):
    monkeypatch.setattr(rdma.rdma, "devices", lambda: cards)
    context = gloo_ranks.context(0, 2)
    monkeypatch.setattr(type(context.backend), "place", lambda self, device: place)
    return rdma._card(named, msgspec.structs.replace(context, index=index))


def test_neighbours_take_different_cards_that_are_up(monkeypatch):
    cards = {"a": card(), "b": card("DOWN"), "c": card()}
    names = [chosen(monkeypatch, cards, index=index)[0] for index in range(4)]
    assert names == ["a", "c", "a", "c"]
    assert chosen(monkeypatch, cards, named="c") == ("c", 1, 4e11)


@pytest.mark.parametrize(
    ("cards", "named", "why"),
    [
        ({}, "", "no RDMA device"),
        ({"a": card("DOWN")}, "", "no port of a is active"),
        ({"a": card(), "b": card("DOWN")}, "b", "no port of b is active"),
        ({"a": card()}, "z", "no RDMA device z on this node, which has a"),
    ],
)
def test_without_a_card_that_is_up_it_is_skipped(monkeypatch, cards, named, why):
    with pytest.raises(Unmeasurable, match=why):
        chosen(monkeypatch, cards, named)


def test_here_it_is_measured_or_skipped_with_the_reason():
    found = gloo_ranks.outcomes("rdma", {}, rule=Rule(budget=0.1, min_samples=3))
    for one in found:
        assert one.status in ("ok", "skipped")
        assert one.status == "ok" or "RDMA" in one.reason or "perftest" in one.reason


@pytest.mark.skipif(shutil.which("ib_write_bw") is None, reason="perftest is not installed")
def test_the_real_program_without_a_device_says_so():
    port = perftest.free_port()
    status, text = perftest.serve(perftest.command("ib_write_bw", "nosuch", 1, 8, 10), port)
    assert status
    assert "device" in text.lower()


# ---- two ranks with programs that print what perftest prints ----

PROGRAM = """#!{python}
import os, socket, sys
words, table = sys.argv[1:], '''{table}'''
value = lambda name: words[words.index(name) + 1]
with open(os.environ["CALLS"], "a") as calls:
    calls.write(" ".join(words) + "\\n")
if "FAIL" in os.environ:
    print(" Unable to open the port")
    sys.exit(1)
if words[-2] != "-p":
    try:
        socket.create_connection((words[-1], int(value("-p"))))
    except OSError:
        print("Couldn't connect to " + words[-1])
        sys.exit(1)
else:
    door = socket.create_server(("", int(value("-p"))))
    door.accept()
print(table.replace("SIZE", value("-s")).replace("COUNT", value("-n")))
"""


def _ranks(rank, axes, folder, rate, fails):
    """A rank of a node with a made card and made programs."""
    os.environ["PATH"] = f"{folder}:{os.environ['PATH']}"
    os.environ["CALLS"] = f"{folder}/calls{rank}"
    if fails == rank:
        os.environ["FAIL"] = "1"
    made = {"rdma0": {"ports": {"1": {"state": "ACTIVE", "rate": rate}}}}
    rdma.rdma.devices = lambda: made
    perftest.LIMIT = 6.0
    rule = Rule(budget=60.0, warmup=0.05, min_samples=3, max_samples=5)
    gloo_ranks._rank(rank, [("rdma", axes, None)], 2, rule, folder, "cpu")


def two_ranks(axes, *, rate=4e11, fails=None):
    """(outcome by rank, command lines by rank)."""
    with tempfile.TemporaryDirectory() as folder:
        for name, table, row in (
            ("ib_write_bw", BANDWIDTH, "1048576    2000 "),
            ("ib_write_lat", LATENCY, "8       1000"),
        ):
            program = Path(folder, name)
            program.write_text(
                PROGRAM.format(python=sys.executable, table=table.replace(row, "SIZE COUNT "))
            )
            program.chmod(0o755)
        gloo_ranks.ranks(_ranks, (axes, folder, rate, fails), 2)
        found = [
            msgspec.json.decode(Path(folder, str(rank)).read_bytes(), type=list[Outcome])[0]
            for rank in range(2)
        ]
        return found, [Path(folder, f"calls{rank}").read_text().splitlines() for rank in range(2)]


def test_two_ranks_run_both_sides_and_report_the_same():
    outcomes, calls = two_ranks({"size": "1MiB"})
    for one in outcomes:
        assert one.status == "ok", one.reason
        values = {value.metric: value for value in one.values}
        assert values["bandwidth"].value == pytest.approx(393.88e9 / 8)
        assert values["bandwidth"].n == len(one.seconds) >= 3
        assert values["latency"].value == pytest.approx(1.71e-6)
        assert one.reason == "card rdma0 port 1"
    timed = [line for line in calls[0] if "-n 2000 -F --report_gbits -p" in line]
    assert len(timed) >= 3
    assert all(line.startswith("-d rdma0 -i 1 -s 1048576 ") for line in timed)
    assert calls[0][-1].startswith("-d rdma0 -i 1 -s 8 -n 2000 -F -p")


def test_a_rate_that_the_port_cannot_have_is_invalid():
    for one in two_ranks({}, rate=1e11)[0]:
        assert one.status == "invalid"
    assert "393.9 Gbit/s at a port of 100 Gbit/s" in one.reason


def test_a_side_that_fails_is_named_on_both():
    with pytest.raises(Exception, match="ib_write_bw on rank 0 ended with 1: Unable to open"):
        two_ranks({}, fails=0)
