"""Metrics: one file per family, one implementation each, the protocol as an argument."""
