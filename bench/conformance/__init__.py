"""What a vendor runs against a plugin of its own: ``hengsuan backend check NAME``.

Checks of one device run in a process each (`process`), those of operations, collectives and
benchmarks through the local executor, as a measurement would (`measured`); `suite` knows them all.
"""
