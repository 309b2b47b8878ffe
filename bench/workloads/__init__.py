"""The benchmarks, one file a family. Importing a declaration imports no torch."""

BUILT_IN = (
    "gemm",
    "stream",
    "operations",
    "precision",
    "corruption",
    "collective_corruption",
    "transfer",
    "launch",
    "counts",
    "collectives",
    "incast",
    "overlap",
    "pairs",
    "stability",
    "rdma",
    "train",
    "command",
    "checkpoint",
    "data",
    "storage",
    "resumable",
    "generate",
)
"""Modules of this package that register benchmarks when imported."""
