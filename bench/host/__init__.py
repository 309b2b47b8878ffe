"""What Linux says about this host. Standard library only.

Every reader returns None or an empty value where the host does not say (containers hide much of
``/sys``). `network`, `rdma` and `pcie` describe what is built in, `counters` and `kernel_log` what
happened to it, `watch` both around a stretch of time.
"""

from .contention import TICK, Contention, Quietness, Usage, quietness, waits
from .cores import (
    compact,
    expand,
    frequency,
    governor,
    last_level_cache,
    memory_available,
    memory_total,
    numa_nodes,
    threads,
)
from .identity import boot_id, hostname, machine_id
from .memory_places import fixed_places
from .processes import (
    die_with_parent,
    ended_by,
    process_name,
    process_tree,
    pss_tree,
    stopped,
    threads_working,
)
from .processors import cpu_model

__all__ = [
    "TICK",
    "Contention",
    "Quietness",
    "Usage",
    "boot_id",
    "compact",
    "cpu_model",
    "die_with_parent",
    "ended_by",
    "expand",
    "fixed_places",
    "frequency",
    "governor",
    "hostname",
    "last_level_cache",
    "machine_id",
    "memory_available",
    "memory_total",
    "numa_nodes",
    "process_name",
    "process_tree",
    "pss_tree",
    "quietness",
    "stopped",
    "threads",
    "threads_working",
    "waits",
]
