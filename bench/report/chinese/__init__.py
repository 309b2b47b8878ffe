"""What reports say in Chinese, by what they say in English: a module a subject, one table in all.

A key is a whole text, or one with slots where figures, names and other sentences stand: ``{}`` is
said in Chinese too where it is known, ``{=}`` (a name, a path) and ``{#}`` (one word, such as a
figure) stay as they are. The Chinese text takes them by number: ``{0}``. The most literal key that
fits a text says it (`bench.report.language`). No key stands twice.
"""

from __future__ import annotations

from .catalogue import CATALOGUE
from .documents import DOCUMENTS
from .findings import FINDINGS
from .gates import GATES
from .hosts import HOSTS
from .ledgers import LEDGERS
from .models import MODELS
from .pages import PAGES
from .projections import PROJECTIONS
from .reasons import REASONS
from .runs import RUNS
from .scores import SCORES
from .terminal import TERMINAL
from .topology import TOPOLOGY
from .words import WORDS

TABLES = (
    WORDS,
    PAGES,
    DOCUMENTS,
    SCORES,
    TERMINAL,
    MODELS,
    FINDINGS,
    GATES,
    PROJECTIONS,
    RUNS,
    REASONS,
    TOPOLOGY,
    LEDGERS,
    HOSTS,
    CATALOGUE,
)
