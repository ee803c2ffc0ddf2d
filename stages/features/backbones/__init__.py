"""Frozen backbones: frames in, patch features out."""
