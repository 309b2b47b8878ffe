"""The Triton source: one module an operation, imported only where Triton runs or compiles.

Everything here but modules named ``*_tma`` keeps to the language of Triton 3.0.
"""
