"""Data sets, each turned into a table of videos."""
