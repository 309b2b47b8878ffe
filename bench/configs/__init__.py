"""Typed loading of everything in ``configs/``, by name or by path."""

from .cluster import KINDS, Cluster, Fault, Noise
from .cluster import problems as cluster_problems
from .datasheet import datasheet, undisputed
from .facility import Facility, load_facility
from .gate import Gate, GateLine
from .labels import Labelled, label_nodes, load_labels
from .load import (
    broken_chips,
    load_chip,
    load_chips,
    load_cluster,
    load_gate,
    load_model,
    load_profile,
    load_suite,
    suite_from_text,
)
from .network import NetworkLevel, Operation
from .search import Kind, names, path_of
from .suite import PAIRINGS, PLACEMENT, RULE
from .types import (
    Chip,
    Claim,
    Entry,
    Figure,
    FigureStatus,
    ModelConfig,
    Profile,
    ProfileMetric,
    StageConfig,
    Suite,
)

__all__ = [
    "KINDS",
    "PAIRINGS",
    "PLACEMENT",
    "RULE",
    "Chip",
    "Claim",
    "Cluster",
    "Entry",
    "Facility",
    "Fault",
    "Figure",
    "FigureStatus",
    "Gate",
    "GateLine",
    "Kind",
    "Labelled",
    "ModelConfig",
    "NetworkLevel",
    "Noise",
    "Operation",
    "Profile",
    "ProfileMetric",
    "StageConfig",
    "Suite",
    "broken_chips",
    "cluster_problems",
    "datasheet",
    "label_nodes",
    "load_chip",
    "load_chips",
    "load_cluster",
    "load_facility",
    "load_gate",
    "load_labels",
    "load_model",
    "load_profile",
    "load_suite",
    "names",
    "path_of",
    "suite_from_text",
    "undisputed",
]
