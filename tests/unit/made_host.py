"""A made tree of ``/sys``, ``/proc`` and ``/dev``: a node of two accelerators and two cards."""

from __future__ import annotations

import os

PORT = "sys/devices/pci0000:3a/0000:3a:00.0"
SWITCH = f"{PORT}/0000:3b:00.0"
OTHER = "sys/devices/pci0000:80/0000:80:01.0"

FIB = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.1.0.0/16 2 0 2
        |-- 10.1.0.0
           /16 link UNICAST
        |-- 10.1.0.7
           /32 host LOCAL
        |-- 10.1.255.255
           /32 link BROADCAST
     +-- 10.1.4.0/24 2 0 2
        |-- 10.1.4.9
           /32 host LOCAL
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.1
           /32 host LOCAL
"""
ROUTE = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t0100010A\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t0000010A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
ib0\t0004010A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
"""


def write(root, files):
    """Files below ``root`` by path."""
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(f"{text}\n")


def link(root, path, to):
    """A relative symbolic link, as the kernel makes them."""
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    relative = os.path.relpath(root / to, (root / path).parent)
    (root / path).symlink_to(relative)


def pci(root, folder, code, driver, numa, speed, width):
    """A PCI device; ``speed`` and ``width`` are (now, most)."""
    address = folder.rpartition("/")[2]
    write(
        root,
        {
            f"{folder}/class": code,
            f"{folder}/numa_node": numa,
            f"{folder}/current_link_speed": speed[0],
            f"{folder}/max_link_speed": speed[1],
            f"{folder}/current_link_width": width[0],
            f"{folder}/max_link_width": width[1],
        },
    )
    link(root, f"sys/bus/pci/devices/{address}", folder)
    if driver:
        (root / "sys/bus/pci/drivers" / driver).mkdir(parents=True, exist_ok=True)
        link(root, f"{folder}/driver", f"sys/bus/pci/drivers/{driver}")


def interface(root, name, device, files):
    """A network interface over a PCI device (None: a virtual one)."""
    folder = f"{device}/net/{name}" if device else f"sys/devices/virtual/net/{name}"
    write(root, {f"{folder}/{key}": value for key, value in files.items()})
    link(root, f"sys/class/net/{name}", folder)
    if device:
        link(root, f"{folder}/device", device)


def made_host(root):
    """Two accelerators, one beside an RDMA card below a switch, one on the other socket."""
    write(
        root,
        {
            "proc/sys/kernel/random/boot_id": "8c6d-boot",
            "proc/sys/kernel/osrelease": "6.1.0-18",
            "proc/cpuinfo": "processor : 0\nmodel name : Made CPU 9000\nmicrocode : 0x2b",
            "proc/meminfo": "MemTotal: 1056000000 kB\nMemAvailable: 900000000 kB",
            "proc/net/fib_trie": FIB,
            "proc/net/route": ROUTE,
            "proc/net/if_inet6": "fd000000000000000000000000000009 04 40 00 80     ib0\n"
            "fe800000000000000000000000000009 04 40 20 80     ib0",
            "proc/net/netstat": "IpExt: InNoRoutes InCEPkts\nIpExt: 0 40",
            "proc/net/snmp": "Tcp: RtoMin RetransSegs InErrs\nTcp: 200 7 0",
            "sys/devices/system/cpu/smt/control": "on",
            "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance",
            "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "powersave",
            "sys/devices/system/node/node0/cpulist": "0",
            "sys/devices/system/node/node0/meminfo": "Node 0 MemTotal:  528000000 kB",
            "sys/devices/system/node/node1/cpulist": "1",
            "sys/devices/system/node/node1/meminfo": "Node 1 MemTotal:  528000000 kB",
            "sys/devices/system/edac/mc/mc0/ce_count": "4",
            "sys/devices/system/edac/mc/mc0/ue_count": "0",
            "sys/module/cardnet/version": "24.10-1.1",
            "dev/kmsg": "6,1,100,-;an old line: PCIe Bus Error",
        },
    )
    fast, slow = ("32.0 GT/s PCIe", "32.0 GT/s PCIe"), ("2.5 GT/s PCIe", "32.0 GT/s PCIe")
    pci(root, PORT, "0x060400", "pcieport", 0, fast, (16, 16))
    pci(root, SWITCH, "0x060400", "pcieport", 0, fast, (16, 16))
    pci(root, f"{SWITCH}/0000:3c:00.0", "0x030200", "accel", 0, slow, (16, 16))
    pci(root, f"{SWITCH}/0000:3d:00.0", "0x020700", "cardnet", 0, fast, (8, 16))
    pci(root, OTHER, "0x060400", "pcieport", 1, fast, (16, 16))
    pci(root, f"{OTHER}/0000:81:00.0", "0x120000", "accel", 1, fast, (16, 16))
    # A card of generation 5 in a slot of generation 4: the slot is the ceiling, not a fault.
    four = ("16.0 GT/s PCIe", "16.0 GT/s PCIe")
    pci(root, "sys/devices/pci0000:00/0000:00:1c.0", "0x060400", "pcieport", 0, four, (8, 8))
    card = "sys/devices/pci0000:00/0000:00:1c.0/0000:02:00.0"
    pci(root, card, "0x020000", "cardnet", -1, ("16.0 GT/s PCIe", "32.0 GT/s PCIe"), (8, 16))
    write(root, {f"{card}/aer_dev_correctable": "RxErr 0\nBadTLP 3\nTOTAL_ERR_COR 3"})
    quiet = {f"statistics/{name}": 0 for name in ("rx_errors", "rx_dropped", "rx_packets")}
    up = {"operstate": "up", "mtu": 9000, "carrier_changes": 2, "ifindex": 2, "iflink": 2}
    interface(root, "eth0", card, {**up, **quiet, "speed": 25000, "duplex": "full"})
    hca = f"{SWITCH}/0000:3d:00.0"
    interface(root, "ib0", hca, {**up, **quiet, "speed": -1, "mtu": 2044})
    interface(root, "lo", None, {**up, "mtu": 65536})
    interface(root, "veth9", None, {**up, "iflink": 12})  # a container's: no address of ours
    rdma = f"{hca}/infiniband/rdma0"
    write(
        root,
        {
            f"{rdma}/fw_ver": "28.43.1014",
            f"{rdma}/board_id": "MADE0000001",
            f"{rdma}/ports/1/state": "4: ACTIVE",
            f"{rdma}/ports/1/phys_state": "5: LinkUp",
            f"{rdma}/ports/1/rate": "400 Gb/sec (4X NDR)",
            f"{rdma}/ports/1/link_layer": "InfiniBand",
            f"{rdma}/ports/1/counters/symbol_error": 0,
            f"{rdma}/ports/1/counters/port_xmit_wait": 100,
            f"{rdma}/ports/1/counters/port_xmit_data": 12345,
            f"{rdma}/ports/1/hw_counters/local_ack_timeout_err": 1,
        },
    )
    link(root, "sys/class/infiniband/rdma0", rdma)
    link(root, f"{rdma}/device", hca)
    return root
