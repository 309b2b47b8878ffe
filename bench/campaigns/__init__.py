"""Campaigns: what to measure next, given what was found."""
