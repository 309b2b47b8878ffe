"""Findings from records: pure functions of runs and configurations."""
