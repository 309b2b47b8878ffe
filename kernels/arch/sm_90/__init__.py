"""Variants for Hopper: asynchronous matrix products, tile copies, registers lent between warps."""
