"""Facts, counters and the kernel's log, read from a made tree and from this machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from made_host import PORT, link, made_host, write
from made_host import pci as pci_device

from bench.host import counters, cpu_model, ethtool, network, pcie, rdma
from bench.host.facts import affinity, host_facts
from bench.host.kernel_log import KernelLog, problem


@pytest.fixture
def root(tmp_path):
    return made_host(tmp_path)


def arm(implementer, part):
    return (
        "processor\t: 0\nBogoMIPS\t: 200.00\nFeatures\t: fp asimd\n"
        f"CPU implementer\t: {implementer}\nCPU architecture: 8\nCPU variant\t: 0x1\n"
        f"CPU part\t: {part}\nCPU revision\t: 0\n\nprocessor\t: 1\nCPU part\t: 0xd08\n"
    )


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        ("model\t\t: 85\nmodel name\t: Made CPU 9000\n", "Made CPU 9000"),
        ("CPU Family\t: Made-64bit\nModel Name\t: Made-3C\nCPU MHz\t: 2200.00\n", "Made-3C"),
        (arm("0x48", "0xd01"), "TSV110 (0x48:0xd01)"),
        (arm("0x41", "0xd4f"), "Neoverse-V2 (0x41:0xd4f)"),
        (arm("0x61", "0x39"), f"{os.uname().machine} (0x61:0x039)"),
        (arm("0x41", "unknown"), os.uname().machine),
        ("processor\t: 0\n", os.uname().machine),
        ("", os.uname().machine),
    ],
)
def test_a_processor_has_its_own_name_on_every_architecture(tmp_path, cpuinfo, name):
    write(tmp_path, {"proc/cpuinfo": cpuinfo})
    assert cpu_model(tmp_path) == name


def test_interfaces_say_what_they_are_and_leave_out_what_is_unknown(root):
    found = network.interfaces(root)
    assert set(found) == {"eth0", "ib0"}
    assert found["eth0"] == {
        "kind": "physical",
        "state": "up",
        "speed": 25_000_000_000,
        "mtu": 9000,
        "duplex": "full",
        "driver": "cardnet",
        "driver_version": "24.10-1.1",
        "pci": "0000:02:00.0",
        "addresses": ["10.1.0.7"],
    }
    # The narrower network owns the address; a speed of -1 and NUMA node -1 mean unknown.
    assert found["ib0"]["addresses"] == ["10.1.4.9", "fd00::9"]
    assert "speed" not in found["ib0"]
    assert found["ib0"]["numa"] == 0


def test_a_virtual_pair_counts_where_it_leads_out(root):
    route = (root / "proc/net/route").read_text()
    write(root, {"proc/net/route": route.replace("eth0\t0000010A", "veth9\t0000010A")})
    assert network.interfaces(root)["veth9"]["kind"] == "virtual"


def test_rdma_devices_and_the_port_that_is_up(root):
    (device,) = rdma.devices(root).values()
    assert device["pci"] == "0000:3d:00.0"
    assert device["interfaces"] == ["ib0"]
    assert device["ports"]["1"] == {
        "state": "ACTIVE",
        "physical": "LinkUp",
        "rate": 400_000_000_000,
        "layer": "InfiniBand",
    }
    assert rdma.active_port(device) == (1, 4e11)
    write(root, {"sys/class/infiniband/rdma0/ports/1/state": "1: DOWN"})
    assert rdma.active_port(rdma.devices(root)["rdma0"]) is None


def test_links_are_held_against_what_both_ends_can_do(root):
    links = pcie.links(root)
    assert set(links) == {"0000:3c:00.0", "0000:3d:00.0", "0000:81:00.0", "0000:02:00.0"}
    assert pcie.degraded(links["0000:3d:00.0"]) == "x8 of x16"
    assert pcie.degraded(links["0000:02:00.0"]) == ""
    assert pcie.degraded(links["0000:3c:00.0"]) == "generation 1 of generation 5"
    assert pcie.degraded(links["0000:3c:00.0"], ("width",)) == ""
    assert pcie.degraded({"kind": "network"}) == ""


def test_the_nearest_card_of_each_device(root):
    facts = host_facts(root)
    found = affinity({0: "0000:3C:00.0", 1: "0000:81:00.0", 2: "0000:99:00.0"}, facts, root)
    assert found == {
        "0": {"nearest": ["rdma0"], "relation": "switch"},
        "1": {"nearest": ["rdma0"], "relation": "far"},
    }
    assert pcie.relation("0000:3c:00.0", "0000:02:00.0", root) == "far"


@pytest.mark.parametrize(
    ("rate", "generation"),
    [("2.5", 1), ("5.0", 2), ("8.0", 3), ("16.0", 4), ("32.0", 5), ("64.0", 6), ("128.0", 7)],
)
def test_a_generation_is_known_by_its_rate(tmp_path, rate, generation):
    """PCI Express Base Specification 7.0: GT/s of a lane."""
    speed = (f"{rate} GT/s PCIe", f"{rate} GT/s PCIe")
    pci_device(tmp_path, f"{PORT}/0000:01:00.0", "0x030200", "", 0, speed, (16, 16))
    (found,) = pcie.links(tmp_path).values()
    assert (found["generation"], found["numa"]) == (generation, 0)


def test_how_near_two_devices_are_goes_by_what_they_share(tmp_path):
    def device(place, numa):
        folder = f"sys/devices/{place}"
        write(tmp_path, {f"{folder}/numa_node": numa})
        link(tmp_path, f"sys/bus/pci/devices/{place.rpartition('/')[2]}", folder)

    device("pci0000:00/0000:00:01.0/0000:01:00.0", 0)
    device("pci0000:00/0000:00:01.0/0000:02:00.0", 0)
    device("pci0000:00/0000:00:03.0/0000:03:00.0", 0)
    device("pci0000:40/0000:40:01.0/0000:04:00.0", 0)
    device("pci0000:80/0000:80:01.0/0000:05:00.0", 1)
    device("pci0000:c0/0000:c0:01.0/0000:06:00.0", -1)
    device("pci0000:e0/0000:e0:01.0/0000:07:00.0", -1)
    others = [f"0000:0{number}:00.0" for number in range(2, 7)]
    found = [pcie.relation("0000:01:00.0", other, tmp_path) for other in others]
    assert found == ["switch", "root", "numa", "far", "far"]
    # Two of which the firmware does not say where they are need not be on one node.
    assert pcie.relation("0000:06:00.0", "0000:07:00.0", tmp_path) == "far"
    assert pcie.relation("0000:01:00.0", "0000:09:00.0", tmp_path) is None


def test_a_counter_that_is_new_or_fell_has_grown_by_all_it_says():
    before = {"eth0 rx_errors": 5, "eth0 tx_errors": 7, "eth0 collisions": 2}
    after = {"eth0 rx_errors": 9, "eth0 tx_errors": 3, "eth0 collisions": 2, "eth1 rx_errors": 4}
    assert counters.grown(before, after) == {
        "eth0 rx_errors": 4,
        "eth0 tx_errors": 3,
        "eth1 rx_errors": 4,
    }


def test_all_facts_of_a_host(root):
    facts = host_facts(root)
    assert facts["boot"] == "8c6d-boot"
    assert facts["kernel"] == "6.1.0-18"
    assert facts["cpu"] == "Made CPU 9000"
    assert facts["microcode"] == "0x2b"
    assert facts["governor"] == "performance,powersave"
    assert facts["huge_pages"] == "madvise"
    assert facts["memory"] == 1056000000 * 1024
    assert facts["numa"]["1"] == {"cpus": "1", "memory": 528000000 * 1024}
    assert facts["drivers"] == {"cardnet": "24.10-1.1"}
    assert facts["kernel_log"] == "readable"


def test_a_host_that_hides_everything_says_nothing_it_does_not_know(tmp_path):
    facts = host_facts(tmp_path)
    assert "rdma" not in facts
    assert "interfaces" not in facts
    assert "boot" not in facts
    assert facts["kernel_log"] == "No such file or directory"
    # With a /sys, no RDMA device is a fact.
    (tmp_path / "sys/class").mkdir(parents=True)
    assert host_facts(tmp_path)["rdma"] == {}


def test_counters_that_grew_and_which_of_them_are_errors(root):
    before = counters.snapshot(root)
    assert "eth0 rx_packets" not in before
    assert "rdma0/1 port_xmit_data" not in before
    assert before["0000:02:00.0 correctable:BadTLP"] == 3
    assert counters.grown(before, counters.snapshot(root)) == {}
    card = "sys/bus/pci/devices/0000:02:00.0/aer_dev_correctable"
    write(
        root,
        {
            "sys/class/net/eth0/statistics/rx_errors": 12,
            "sys/class/net/eth0/statistics/rx_dropped": 5,
            "sys/class/net/eth0/carrier_changes": 4,
            "sys/class/infiniband/rdma0/ports/1/counters/symbol_error": 9,
            "sys/class/infiniband/rdma0/ports/1/counters/port_xmit_wait": 50,
            "sys/devices/system/edac/mc/mc0/ce_count": 5,
            card: "RxErr 0\nBadTLP 4\nTOTAL_ERR_COR 4",
            "proc/net/netstat": "IpExt: InNoRoutes InCEPkts\nIpExt: 0 41",
        },
    )
    grown = counters.grown(before, counters.snapshot(root))
    assert {name: n for name, n in grown.items() if counters.is_error(name)} == {
        "eth0 rx_errors": 12,
        "eth0 carrier_changes": 2,
        "rdma0/1 symbol_error": 9,
        "memory/mc0 correctable": 1,
        "0000:02:00.0 correctable:BadTLP": 1,
    }
    # It fell: the driver was reset, and has counted 50 since.
    assert grown["rdma0/1 port_xmit_wait"] == 50
    assert grown["eth0 rx_dropped"] == 5
    assert grown["IpExt InCEPkts"] == 1


@pytest.mark.parametrize("name", ["rx_pause_ctrl_phy", "rx_ecn_mark", "rx_corrected_bits_phy"])
def test_pauses_marks_and_mended_symbols_are_no_errors(name):
    assert not counters.is_error(f"eth0 driver:{name}")


@pytest.mark.parametrize("name", ["ecc_uncorrected", "rx_crc_errors_phy", "carrier_changes"])
def test_what_cannot_be_mended_is_an_error(name):
    assert counters.is_error(f"device0 {name}")


def test_a_real_driver_s_own_counters():
    for name in network.interfaces():
        found = ethtool.statistics(name)
        assert all(key and value >= 0 for key, value in found.items())
    assert ethtool.statistics("nosuchinterface") == {}
    assert ethtool.statistics("lo") == {}


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="making an interface needs root")
def test_counters_of_a_driver_by_name():
    name = f"hs{os.getpid() % 100000}"
    made = ["ip", "link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b"]
    try:
        if subprocess.run(made, capture_output=True).returncode:
            pytest.skip("this kernel makes no virtual pair here")
    except FileNotFoundError:
        pytest.skip("iproute2 is not installed")
    try:
        other = int(Path(f"/sys/class/net/{name}b/ifindex").read_text())
        assert ethtool.statistics(f"{name}a")["peer_ifindex"] == other
    finally:
        subprocess.run(["ip", "link", "del", f"{name}a"], check=True)


def test_new_lines_of_the_kernel_log_by_what_they_are_about(root):
    log = KernelLog({"driver": r"ACCEL: fault \d+"}, root)
    assert log.take() == []
    with (root / "dev/kmsg").open("a") as file:
        file.write(
            "3,2,200,-;pcieport 0000:3a:00.0: AER: Correctable error received\n"
            " SUBSYSTEM=pci\n"
            "4,3,300,-;cardnet 0000:02:00.0 eth0: NIC Link is Down\n"
            "6,4,350,-;usb 1-1: new device\n"
            "2,5,400,-;mce: [Hardware Error]: Machine check events logged\n"
            "4,6,500,-;ACCEL: fault 79 on device 3\n"
        )
    assert log.take() == [
        ("pcie", "pcieport 0000:3a:00.0: AER: Correctable error received"),
        ("link", "cardnet 0000:02:00.0 eth0: NIC Link is Down"),
        ("memory", "mce: [Hardware Error]: Machine check events logged"),
        ("driver", "ACCEL: fault 79 on device 3"),
    ]
    assert log.take() == []
    log.close()


@pytest.mark.root
@pytest.mark.skipif(bool(problem()), reason=f"the kernel's log: {problem()}")
def test_the_real_kernel_log():
    word = f"hengsuan-test-{os.getpid()}"
    log = KernelLog({"test": word})
    assert log.take() == []
    try:
        with Path("/dev/kmsg").open("w") as file:
            file.write(f"<6>{word}: a line of a test\n")
    except OSError as error:
        pytest.skip(f"the kernel's log cannot be written: {error.strerror}")
    assert log.take() == [("test", f"{word}: a line of a test")]
    log.close()


def test_a_log_that_cannot_be_read_gives_nothing_and_says_why(tmp_path):
    assert problem(tmp_path) == "No such file or directory"
    assert KernelLog(root=tmp_path).take() == []
