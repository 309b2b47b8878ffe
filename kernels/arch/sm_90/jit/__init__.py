"""Gluon source (`triton.experimental.gluon`): Triton 3.6 and later, imported when it is chosen."""
