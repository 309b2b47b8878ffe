"""Hengsuan: weigh an AI accelerator cluster before you trust it."""

__version__ = "0.1.0"
