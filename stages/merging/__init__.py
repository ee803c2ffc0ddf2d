"""Merging of slots and linking of slots across frames."""
