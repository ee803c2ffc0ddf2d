"""Naming what was found: vocabularies, CLIP, names of masks and tubes, merging by name."""
