"""``python -m bench`` is ``hengsuan``."""

from .cli import main

main()
