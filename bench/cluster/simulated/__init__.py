"""Simulated fleets: the real plan, engine, journal and analysis in virtual time.

``draws.py`` makes chance that depends on what it is asked about alone. ``faults.py`` says who is
hit by what, ``values.py`` what healthy devices give, ``noise.py`` how that scatters,
``conditions.py`` under which conditions; ``executor.py`` makes rows of all of it.
"""

from .executor import SimulatedExecutor
from .faults import Injected

__all__ = ["Injected", "SimulatedExecutor"]
