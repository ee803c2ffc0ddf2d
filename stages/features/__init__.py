"""Frozen backbones and the feature store."""
