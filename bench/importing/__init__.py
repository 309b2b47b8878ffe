"""Logs of other tools as runs: a module a format, `runs` puts together, `writing` writes."""
